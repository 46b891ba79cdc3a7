"""`vgg-widget page`: writes an image's explorer as one HTML file."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from vgg_widget.cli.serving import add_network_options, check_layers
from vgg_widget.images import load_image, sample_image
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.page.document import check_megabytes
from vgg_widget.support.html import check_page_path
from vgg_widget.support.progress import ProgressLines


def add_page(commands: Any) -> None:
    """Add the command to those of `vgg-widget`."""
    page = commands.add_parser(
        "page", help="write an image's explorer as one HTML file, which needs no Python"
    )
    page.add_argument("image", metavar="IMAGE", help="an image file, or 'sample'")
    page.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="an .html file to write"
    )
    page.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="show only these layers, by any of their names"
    )
    page.add_argument("--title", help="the page's heading (default: the image's file name)")
    page.add_argument("--before-relu", action="store_true", help="show the maps before their ReLU")
    page.add_argument(
        "--max-megabytes",
        type=float,
        metavar="N",
        help="above this size, the largest maps lose rows and columns (default: 10, or 4 for at "
        "most five layers of different blocks)",
    )
    add_network_options(page)
    page.set_defaults(run=_write)


def _write(options: argparse.Namespace) -> int:
    # Check the options first: building the network takes seconds.
    check_page_path(options.output)
    check_megabytes(options.max_megabytes)
    check_layers("--layers", options.layers or (), options.network)
    image = sample_image() if options.image == "sample" else load_image(options.image)
    activations = FeatureExtractor(options.weights, network=options.network, size=options.size)(
        image
    )
    if activations.weights.message:
        print(activations.weights.message, file=sys.stderr)
    named = None if options.image == "sample" else Path(options.image).name
    bar = sys.stderr.isatty()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _print_warning
        written = activations.to_html(
            options.output,
            layers=options.layers,
            title=options.title or named,
            before_relu=options.before_relu,
            max_megabytes=options.max_megabytes,
            progress=bar or ProgressLines(sys.stderr, "layers", unit="layers"),
        )
    print(f"{written.path}: {written.size / 1e6:.1f} MB; open it in any browser")
    if written.halved:
        print(f"{written.halved_words} --max-megabytes allows more.")
    return 0


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning with the names of Python arguments replaced by the command's options."""
    words = re.sub(
        r"\b(layers|size|max_megabytes)=(\d?)",
        lambda one: "--" + one[1].replace("_", "-") + (one[2] and f" {one[2]}"),
        str(message),
    )
    print(f"vgg-widget: {words}", file=sys.stderr)

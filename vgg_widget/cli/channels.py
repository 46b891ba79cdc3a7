"""`vgg-widget channels`: writes optimised images of channels on one sheet or page."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from vgg_widget.activations.named_layers import layer_names
from vgg_widget.cli.serving import add_weights_option
from vgg_widget.gradients.arguments import whole_number
from vgg_widget.gradients.channel_sheet import channel_sheet, sheet_page
from vgg_widget.gradients.kept import KeptImages, folder
from vgg_widget.gradients.synthesis import ChannelMaking
from vgg_widget.gradients.synthetic_image import SyntheticImage
from vgg_widget.images import MINIMUM_SIDE
from vgg_widget.layers import VGGS, LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.rendering import checked_channel, typed_channels
from vgg_widget.support.files import atomic_write, check_writable
from vgg_widget.support.html import check_page_path
from vgg_widget.support.messages import unknown_choice
from vgg_widget.support.progress import ProgressLines, shown_progress
from vgg_widget.weights.applications import checked_network

# Number of channels computed at once; an interrupt loses only these.
_BATCH = 4


def add_channels(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    channels = commands.add_parser(
        "channels", help="write a sheet of what channels look for: images made by gradient ascent"
    )
    channels.add_argument("--layer", required=True, help="Keras, torchvision or paper name")
    channels.add_argument(
        "--channels", nargs="+", required=True, metavar="N", help="such as 0-31, or 3,17,40-45"
    )
    channels.add_argument("-o", "--output", type=Path, metavar="FILE", help="a .png file to write")
    channels.add_argument(
        "--html", type=Path, metavar="FILE", help="write them as a self-contained page"
    )
    channels.add_argument(
        "--page",
        metavar="PAGE",
        help="the page that the tiles of --html link to: a file of `vgg-widget page`, or its URL",
    )
    add_weights_option(channels)
    channels.add_argument(
        "--steps", type=int, default=256, help="steps of gradient ascent (default: 256)"
    )
    channels.add_argument(
        "--size",
        type=int,
        help="side in pixels (default: about twice the receptive field, at most 224)",
    )
    channels.add_argument("--seed", type=int, default=0, help="seed of the initial noise")
    channels.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # Check the options first: building the network takes seconds, computing may take hours.
    page = _check_targets(options)
    vgg = VGGS.get(checked_network(options.network))
    if vgg is not None:
        before_relu = [one.name for one in vgg.convolutions]
        _channels(options, _info(options.layer, vgg.layers, before_relu))
    whole_number("--steps", options.steps, least=1)
    whole_number("--seed", options.seed, least=0)
    whole_number("--size", options.size, least=MINIMUM_SIDE)
    extractor = FeatureExtractor(options.weights, network=options.network)
    info = _info(options.layer, extractor.layers, before_relu if vgg else [])
    numbers = _channels(options, info)
    if extractor.weights.message:
        print(extractor.weights.message, file=sys.stderr)
    made = _cached_or_made(extractor, info, numbers, options)
    for sentence in dict.fromkeys(one.message for one in made if one.message):
        print(sentence, file=sys.stderr)
    if options.output is not None:
        _write_sheet(made, options.output)
    if options.html is not None:
        _write_page(made, options.html, page)
    if page is not None and "://" not in page and not Path(options.page).expanduser().exists():
        print(
            f"{options.page} does not exist yet: run vgg-widget page IMAGE -o "
            f"{shlex.quote(options.page)}"
        )
    return 0


def _check_targets(options: argparse.Namespace) -> str | None:
    """Raise if a file cannot be written; return the address that the page's tiles link to."""
    output = options.output
    if output is None and options.html is None:
        raise ValueError("no file to write is given: pass -o sheet.png, --html sheet.html or both.")
    if output is not None and output.suffix.lower() != ".png":
        raise ValueError(f"--output {str(output)!r} does not end in .png: choose a name that does.")
    if options.html is not None:
        check_page_path(options.html)
    for path in filter(None, (output, options.html)):
        check_writable(path)
    page: str | None = options.page
    if page is None:
        return None
    if options.html is None:
        raise ValueError("--page needs --html: the tiles of that page link to it.")
    if page.startswith(("https://", "http://")) and "#" not in page:
        return page
    if not page.lower().endswith((".html", ".htm")):
        raise ValueError(
            f"--page {page!r} is not a page: name an .html file written by `vgg-widget page`, or a "
            "URL without a #."
        )
    between = os.path.relpath(Path(page).expanduser(), options.html.expanduser().parent)
    return quote(Path(between).as_posix())


def _info(name: str, layers: Sequence[LayerInfo], before_relu: Sequence[str]) -> LayerInfo:
    known = layer_names(layers, before_relu)
    if name not in known:
        raise ValueError(unknown_choice("--layer", name, known))
    return known[name].info


def _channels(options: argparse.Namespace, info: LayerInfo) -> tuple[int, ...]:
    numbers = typed_channels("--channels", " ".join(options.channels))
    if not numbers:
        raise ValueError("--channels names no channel: write for instance 0-31.")
    for number in numbers:
        checked_channel("--channels", number, info.name, info.channels)
    return numbers


def _cached_or_made(
    extractor: FeatureExtractor,
    info: LayerInfo,
    numbers: Sequence[int],
    options: argparse.Namespace,
) -> list[SyntheticImage]:
    """Return an image of each channel, from the cache if possible; new images are cached."""
    how = {"steps": options.steps, "size": options.size, "seed": options.seed}
    cache = KeptImages(extractor)
    kept = {number: cache.find(info.name, number, **how) for number in numbers}
    found = {number: one for number, one in kept.items() if one is not None}
    if found:
        print(f"{len(found)} of {len(numbers)} channels are cached", file=sys.stderr)
    if len(found) < len(numbers):
        _make_missing(extractor, info, numbers, options, (cache, found))
    return [found[number] for number in numbers]


def _make_missing(
    extractor: FeatureExtractor,
    info: LayerInfo,
    numbers: Sequence[int],
    options: argparse.Namespace,
    made: tuple[KeptImages, dict[int, SyntheticImage]],
) -> None:
    """Compute the missing images in batches, and cache them."""
    cache, found = made
    missing = [number for number in numbers if number not in found]
    is_kept = True
    progress = sys.stderr.isatty() or ProgressLines(sys.stderr, "steps", unit="steps")
    try:
        with shown_progress(progress, options.steps * len(missing), "steps", "step") as tell:
            for begin in range(0, len(missing), _BATCH):
                batch = missing[begin : begin + _BATCH]
                making = ChannelMaking(
                    extractor,
                    info.name,
                    batch,
                    location=None,
                    size=options.size,
                    seed=options.seed,
                    diversity=None,
                )
                for _ in range(options.steps):
                    making.step()
                    tell(len(batch))
                for one in making.images():
                    is_kept = cache.keep(one, options.size) is not None and is_kept
                    found[one.channel] = one
    except KeyboardInterrupt:
        again = shlex.join(["vgg-widget", *options.words])
        raise KeyboardInterrupt(
            f"{len(found)} of {len(numbers)} channels are cached; continue with the same command: "
            f"{again}"
            if is_kept
            else f"nothing is cached, since {folder()} cannot be written"
        ) from None


def _write_sheet(made: Sequence[SyntheticImage], path: Path) -> None:
    sheet = channel_sheet(made)
    with atomic_write(path) as draft:
        Image.fromarray(sheet).save(draft, "png", optimize=True)
    height, width = sheet.shape[:2]
    channels = "1 channel" if len(made) == 1 else f"{len(made)} channels"
    print(f"{path}: {channels}, {width} × {height} pixels")


def _write_page(made: Sequence[SyntheticImage], path: Path, page: str | None) -> None:
    with atomic_write(path) as draft:
        with draft.open("wb") as stream:
            for piece in sheet_page(made, page):
                stream.write(piece.encode("utf-8", "replace"))
        size = draft.stat().st_size
    print(f"{path}: {size / 1e6:.1f} MB; open it in any browser")

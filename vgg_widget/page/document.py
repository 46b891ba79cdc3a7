"""`write_document`: the explorer as a web page, in one file that needs nothing else.

Its other parts are in ``document.html`` and ``document.css``, and its scripts in ``document.js``,
``maps.js``, ``painter.js`` and ``zoom.js``, beside those that all pages have (`page_pieces`).
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.telling import first_layer, telling_channels
from vgg_widget.images import RGB8
from vgg_widget.layers import LayerInfo
from vgg_widget.page.geometry import unit_places
from vgg_widget.page.planes import colours
from vgg_widget.page.shell import layer_blocks, page_pieces
from vgg_widget.page.stored_maps import (
    StoredMaps,
    StoredModes,
    halved,
    maps_in_a_piece,
    packed_pieces,
    stored_maps,
    stored_modes,
)
from vgg_widget.pictures.captions import RANGES, TILE_RANGES
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, SIGNED_CMAP, find_cmap
from vgg_widget.pictures.modes import DEFAULT_MODE, DEFAULT_SOME, find_mode
from vgg_widget.pictures.rendering import layer_label
from vgg_widget.pictures.scaling import DEFAULT_SCALE, NAMED_SCALES
from vgg_widget.pictures.tiles import about_square
from vgg_widget.support.files import atomic_write
from vgg_widget.support.html import check_page_path, data_element
from vgg_widget.support.messages import briefly, megabytes
from vgg_widget.support.progress import Progress, shown_progress

MODES = ("channel", "grid", "max", "mean", "argmax", "composite", "rgb", "rainbow")
"""The modes that a page paints."""

CMAPS = (
    *("magma", "inferno", "plasma", "viridis", "cividis"),
    *("gray", "hot", "Greys", "coolwarm", "RdBu_r", "twilight"),
)
"""The colormaps that every page has."""

_MOST_MEGABYTES = 10
# As many as the explorer's filmstrip shows, and more than any mode takes by itself.
_TELLING = 8
# Maps below so many units a side are not halved: they are small already.
_LEAST_SIDE = 32
_WORKERS = 2

_HERE = files("vgg_widget.page")
_SCRIPTS = ("painter.js", "maps.js", "zoom.js", "document.js")


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """What `write_document` wrote.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its bytes.
    layers : tuple of str
        The layers on the page, in network order.
    halved : tuple of str
        Those of them whose maps have every second row and column only, for the size's sake.
    """

    path: Path
    size: int
    layers: tuple[str, ...]
    halved: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Layer:
    """One layer as it will be on the page."""

    name: str
    info: LayerInfo
    maps: StoredMaps
    modes: StoredModes
    indices: npt.NDArray[np.uint8]
    pieces: list[str]
    step: int = 1

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    def halve(self) -> None:
        self.indices, self.step = halved(self.indices), 2 * self.step
        self.pieces = packed_pieces(self.indices)

    @property
    def can_be_halved(self) -> bool:
        return self.step == 1 and min(self.indices.shape[1:]) >= _LEAST_SIDE


def document(
    activations: Activations, *, first: Mapping[str, Any] | None = None, **choices: Any
) -> str:
    """Return the page that `write_document` would write, as text."""
    text, _ = _made(activations, first or {}, **choices)
    return text


def write_document(
    activations: Activations,
    path: str | os.PathLike[str],
    *,
    first: Mapping[str, Any] | None = None,
    **choices: Any,
) -> WrittenDocument:
    """Write a page on which a person explores an image's feature maps, without a kernel.

    Parameters
    ----------
    activations : Activations
        Of the image.
    path : str or Path
        An ``.html`` file, replaced as a whole.
    first : mapping, optional
        What is on show when the page is opened, by the names of the explorer's traits.
    **choices
        As `Activations.to_html` takes them.

    Returns
    -------
    WrittenDocument
        With its size, and which layers were halved.
    """
    target = check_page_path(path)
    text, layers = _made(activations, first or {}, **choices)
    # A name may hold what no file can: half of a pair of UTF-16.
    data = text.encode("utf-8", "replace")
    with atomic_write(target) as draft:
        draft.write_bytes(data)
    names = tuple(layer.info.name for layer in layers)
    fewer = tuple(layer.info.name for layer in layers if layer.step > 1)
    return WrittenDocument(target, len(data), names, fewer)


def _made(
    activations: Activations,
    first: Mapping[str, Any],
    *,
    layers: str | Iterable[str] | None = None,
    title: str | None = None,
    before_relu: bool = False,
    max_megabytes: float = _MOST_MEGABYTES,
    progress: Progress = False,
) -> tuple[str, list[_Layer]]:
    """Return the page's text, and its layers."""
    number = isinstance(max_megabytes, int | float) and not isinstance(max_megabytes, bool)
    if not number or not 0 < max_megabytes < math.inf:
        raise ValueError(
            f"max_megabytes {briefly(max_megabytes)} is no size of a file: give a positive number, "
            f"such as {_MOST_MEGABYTES}."
        )
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title {briefly(title)} is no text: give a string, or leave it out.")
    names = _chosen(activations, layers, before_relu=before_relu)
    picture = _address(activations.image)
    with (
        shown_progress(progress, len(names), "layers", "layer") as tell,
        ThreadPoolExecutor(_WORKERS) as workers,
    ):
        stored = []
        for one in workers.map(lambda name: _stored(activations, name), names):
            stored.append(one)
            tell(1)
        spare = 1e6 * max_megabytes - len(picture) - _fixed_size(stored)
        _make_room(stored, spare)
    text = _text(activations, stored, first, picture, title)
    size = len(text.encode("utf-8", "replace"))
    if size > 1e6 * max_megabytes:
        warnings.warn(
            f"the page takes {megabytes(size)}, more than max_megabytes={max_megabytes:g}: name "
            "fewer layers=, or compute the image with a smaller size=.",
            UserWarning,
            stacklevel=4,
        )
    return text, stored


def _chosen(
    activations: Activations, layers: str | Iterable[str] | None, *, before_relu: bool
) -> list[str]:
    """Return the names of the maps to show, in network order, each once."""
    asked = [layers] if isinstance(layers, str) else [*activations] if layers is None else [*layers]
    if not asked:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    if before_relu:
        asked = [activations.before_relu(name) or name for name in asked]
    plain = {activations.plain_name(name) for name in asked}
    order = [
        name
        for info in activations.layers
        for name in (activations.before_relu(info.name), info.name)
        if name is not None
    ]
    return [name for name in order if name in plain]


def _stored(activations: Activations, name: str) -> _Layer:
    # What has no finite mean or span is shown as no number.
    with np.errstate(over="ignore", invalid="ignore"):
        maps = stored_maps(activations[name], signed=activations.signed(name))
        modes = stored_modes(activations, name)
    pieces = packed_pieces(maps.indices)
    return _Layer(name, activations.info(name), maps, modes, maps.indices, pieces)


def _fixed_size(stored: list[_Layer]) -> int:
    """Return about how many bytes a page has beside its maps: what no halving changes."""
    numbers = sum(40 * len(layer.maps.low) for layer in stored)
    return 120_000 + numbers + sum(len(layer.modes.packed()) for layer in stored)


def _make_room(stored: list[_Layer], spare: float) -> None:
    """Halve the largest maps, one layer after another, until all find room."""
    largest = sorted(stored, key=lambda layer: -math.prod(layer.indices.shape[1:]))
    for layer in largest:
        if sum(one.size for one in stored) <= spare:
            return
        if layer.can_be_halved:
            layer.halve()


def _address(image: RGB8) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(
    activations: Activations,
    stored: list[_Layer],
    first: Mapping[str, Any],
    picture: str,
    title: str | None,
) -> str:
    height, width = activations.image.shape[:2]
    name = Path(activations.name).name
    headline, _, message = activations.weights.message.partition(": ")
    fewer = [layer.info.name for layer in stored if layer.step > 1]
    heading = title or name or "What a network makes of a picture"
    words = {
        "title": html.escape(heading),
        "picture": picture,
        "width": str(width),
        "height": str(height),
        "alt": html.escape(f"the input, {name}" if name else "the input"),
        "notice": html.escape(headline),
        "message": html.escape(message),
        "weights": html.escape(activations.weights.label),
        "halved": html.escape(_halved_words(fewer)),
        "version": html.escape(sys.modules["vgg_widget"].__version__),
    }
    body = Template(_HERE.joinpath("document.html").read_text("utf-8")).substitute(words)
    data = [data_element("page", _header(activations, stored, first)), *_data(stored)]
    scripts = map(_HERE.joinpath, _SCRIPTS)
    return "".join(page_pieces(heading, body, _HERE.joinpath("document.css"), scripts, data))


def _halved_words(names: list[str]) -> str:
    if not names:
        return ""
    which = ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3}"
    which += " more layers" if len(names) > 4 else ""
    return f"To keep this file small, it has every second row and column of {which}."


def _data(stored: list[_Layer]) -> Iterator[str]:
    """Yield the maps, as elements that a browser reads when one of theirs is looked at."""
    for number, layer in enumerate(stored):
        pieces = {f"maps-{number}-{place}": piece for place, piece in enumerate(layer.pieces)}
        for name, piece in {f"modes-{number}": layer.modes.packed(), **pieces}.items():
            yield f'<script type="text/plain" id="{name}">{piece}</script>\n'


def _header(
    activations: Activations, stored: list[_Layer], first: Mapping[str, Any]
) -> dict[str, Any]:
    cmaps = [*CMAPS]
    shown = first.get("cmap")
    if shown is not None and shown not in cmaps:
        cmaps.append(shown)
    return {
        "image": list(activations.image.shape[:2]),
        "weights": activations.weights.label,
        "blocks": layer_blocks([layer.info for layer in stored]),
        "layers": [_layer_header(activations, layer, stored) for layer in stored],
        "network": _tops(activations, None),
        "cmaps": {name: base64.b64encode(colours(find_cmap(name))).decode() for name in cmaps},
        "lights": {name: base64.b64encode(_lights(name)).decode() for name in cmaps},
        "usual": [DEFAULT_CMAP, SIGNED_CMAP],
        "scales": {name: scale.gamma for name, scale in NAMED_SCALES.items()},
        "percentiles": {name: scale.percentile for name, scale in NAMED_SCALES.items()},
        "ranges": RANGES,
        "tile_ranges": TILE_RANGES,
        "phrases": {name: find_mode(name).phrase for name in MODES},
        "some": DEFAULT_SOME,
        "code": _code(activations),
        "first": _first(activations, stored, first),
    }


def _code(activations: Activations) -> str:
    """Return the Python text that computes the maps."""
    weights, (height, width) = activations.weights, activations.image.shape[:2]
    name = Path(activations.name).name
    image = repr(name) if name else "...  # put the picture here, or the path of its file"
    asked, note = {
        "file": (repr(Path(weights.path or "").name), ""),
        "model": ("model=...", "  # put your network here, and its preprocess="),
        "state_dict": ("...", "  # put your state dict here"),
    }.get(weights.source, (repr(weights.source), ""))
    return (
        f"image = {image}\n"
        f"extractor = FeatureExtractor({asked}, size=({height}, {width})){note}\n"
        "activations = extractor(image)\n"
    )


def _lights(cmap: str) -> bytes:
    """Return red, green and blue of a colormap's entries, as float32 in 0-1."""
    found = find_cmap(cmap)
    return np.asarray(found(np.arange(found.N)))[:, :3].astype("<f4").tobytes()


def _tops(activations: Activations, layer: str | None) -> list[float]:
    """Return the top of a layer's range, or the network's, after a ReLU and for both signs."""
    percentile = NAMED_SCALES["layer"].percentile
    if layer is not None:
        return [activations.top(layer, percentile, signed=activations.signed(layer))]
    return [activations.top(None, percentile, signed=signed) for signed in (False, True)]


def _layer_header(activations: Activations, layer: _Layer, stored: list[_Layer]) -> dict[str, Any]:
    channels, height, width = layer.indices.shape
    label = layer_label(activations, layer.name)
    others = [n for n, one in enumerate(stored) if one.info is layer.info and one is not layer]
    other = others[0] if others else None
    gap = 1 if min(height, width) < 64 else 2
    return {
        "name": layer.name,
        "label": label,
        # Of all units; of a halved layer the page has fewer.
        "shape": list(activations.shape(layer.name)),
        "channels": channels,
        "words": f"{label} · {' × '.join(map(str, activations.shape(layer.name)))}",
        # The place of the same layer on the other side of its ReLU.
        "other": other,
        "hasOther": other is not None,
        "stored": [height, width],
        "step": layer.step,
        "piece": maps_in_a_piece(height, width),
        "signed": activations.signed(layer.name),
        "columns": about_square(channels, (height + gap) / (width + gap)),
        "gap": gap,
        "telling": telling_channels(activations, layer.name, _TELLING).tolist(),
        "top": _tops(activations, layer.name)[0],
        **layer.maps.ranges(),
        "modes": layer.modes.maps.ranges(),
        "legend": layer.modes.legend,
        **unit_places(activations, layer.name),
    }


def _first(
    activations: Activations, stored: list[_Layer], first: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is on show when the page is opened; what it has not gives way."""
    names = [layer.name for layer in stored]
    asked = first.get("layer")
    layer = activations.plain_name(asked) if asked is not None else first_layer(activations)
    if layer not in names:
        same = [one.name for one in stored if one.info is activations.info(layer)]
        layer = same[0] if same else names[0]
        first = {name: value for name, value in first.items() if name != "location"}
    signed = activations.signed(layer)
    mode = first.get("mode", DEFAULT_MODE)
    channels = first.get("channels") or ()
    location = first.get("location")
    return {
        "layer": layer,
        "channel": first.get("channel", int(telling_channels(activations, layer, 1)[0])),
        "channels": [] if isinstance(channels, str) else list(channels),
        "mode": mode if mode in MODES else DEFAULT_MODE,
        "cmap": first.get("cmap") or (SIGNED_CMAP if signed else DEFAULT_CMAP),
        "scale": first.get("scale", DEFAULT_SCALE),
        "gamma": first.get("gamma"),
        "location": None if location is None else list(location),
        "overlay": first.get("overlay", 0.0),
    }

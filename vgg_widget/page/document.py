"""`write_document`: the explorer as a web page, in one self-contained file.

Its other parts are ``document.html``, ``document.css`` and the scripts ``document.js``,
``maps.js``, ``painter.js`` and ``zoom.js``, beside those common to all pages (`page_pieces`).
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
from dataclasses import dataclass, field
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
from vgg_widget.page.room import Shape, fitting_steps, layer_bytes, modes_step
from vgg_widget.page.shell import layer_blocks, notice_element, other_names, page_pieces
from vgg_widget.page.stored_maps import (
    StoredMaps,
    StoredModes,
    fewer,
    maps_in_a_piece,
    packed_pieces,
    stored_maps,
    stored_modes,
)
from vgg_widget.pictures.captions import NO_RANGE, RANGES, TILE_RANGES
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
"""The modes that a page can paint."""

CMAPS = (
    *("magma", "inferno", "plasma", "viridis", "cividis"),
    *("gray", "hot", "Greys", "coolwarm", "RdBu_r", "twilight"),
)
"""The colormaps on every page."""

# The default limits for a page with all layers, and for one with one layer from each of few blocks.
_MOST_MEGABYTES = 10
_FEW_MEGABYTES, _FEW_LAYERS = 4, 5
# As many as the explorer's filmstrip shows, and more than any mode chooses by default.
_TELLING = 8
# The size on the page, packed and as text, per byte of a photograph's maps; and the minimum, unless
# most of a layer is dead.
_USUAL_RATIO, _LEAST_RATIO = 0.5, 0.1
# Estimates for the rest of a page beside its maps and its image: a constant, and each channel's
# ranges.
_USUAL_REST, _REST_OF_A_CHANNEL = 150_000, 30
# The element around each piece of the maps.
_ELEMENT = len('<script type="text/plain" id="modes-00-000"></script>\n')
# The page lists the names of halved layers.
_NAMES = 1_000
_WORKERS = 2
_SMALLER = (
    "name fewer layers=, compute the image with a smaller size=, or allow more with max_megabytes="
)
_ORDINALS = {2: "second", 4: "fourth", 8: "eighth"}

_HERE = files("vgg_widget.page")
_SCRIPTS = ("painter.js", "maps.js", "zoom.js", "document.js")


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """The result of `write_document`.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its size in bytes.
    layers : tuple of str
        The layers on the page, in network order.
    halved : dict of str to int
        The step of each layer that was halved to save space: 2 if every second row and column is
        kept, 4 or 8 if every fourth or eighth is.
    """

    path: Path
    size: int
    layers: tuple[str, ...]
    halved: dict[str, int]

    @property
    def halved_words(self) -> str:
        """Which rows and columns of which layers are kept; empty if all are."""
        return _halved_words(self.halved)


@dataclass(slots=True, eq=False)
class _Layer:
    """One layer in its form for the page."""

    name: str
    info: LayerInfo
    shape: Shape
    about: dict[str, Any]
    modes: StoredModes
    indices: npt.NDArray[np.uint8]
    step: int
    pieces: list[str] = field(default_factory=list)
    packed_modes: str = ""

    def pack(self) -> None:
        self.pieces = packed_pieces(self.indices)
        self.packed_modes = self.modes.packed(modes_step(self.step))

    def thin(self, step: int) -> None:
        # A copy, because a view would keep all the other units in memory.
        self.indices = np.ascontiguousarray(fewer(self.indices, step // self.step))
        self.step = step
        self.pack()

    @property
    def size(self) -> int:
        texts = [self.packed_modes, *self.pieces]
        return sum(map(len, texts)) + _ELEMENT * len(texts)


def document(
    activations: Activations, *, first: Mapping[str, Any] | None = None, **choices: Any
) -> str:
    """Return the page of `write_document` as text."""
    text, _ = _page_and_layers(activations, first or {}, **choices)
    return text


def write_document(
    activations: Activations,
    path: str | os.PathLike[str],
    *,
    first: Mapping[str, Any] | None = None,
    **choices: Any,
) -> WrittenDocument:
    """Write a page for exploring an image's feature maps without a kernel.

    Parameters
    ----------
    activations : Activations
        The activations of the image.
    path : str or Path
        An ``.html`` file, replaced atomically.
    first : mapping, optional
        The page's first state, keyed by the names of the explorer's traits.
    **choices
        See `Activations.to_html`.

    Returns
    -------
    WrittenDocument
        With its size, and which layers were halved.
    """
    target = check_page_path(path)
    # Around the work, so that an unwritable folder is reported first.
    with atomic_write(target) as draft:
        text, layers = _page_and_layers(activations, first or {}, **choices)
        # A name may contain an unpaired UTF-16 surrogate, which no file can.
        size = draft.write_bytes(text.encode("utf-8", "replace"))
    names = tuple(layer.info.name for layer in layers)
    return WrittenDocument(target, size, names, _halved(layers))


def check_megabytes(value: Any) -> None:
    """Raise ValueError for an invalid file size, before any work."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < math.inf):
        raise ValueError(
            f"max_megabytes {briefly(value)} is not a file size: pass a positive number, such as "
            f"{_MOST_MEGABYTES}."
        )


def _page_and_layers(
    activations: Activations,
    first: Mapping[str, Any],
    *,
    layers: str | Iterable[str] | None = None,
    title: str | None = None,
    before_relu: bool = False,
    max_megabytes: float | None = None,
    progress: Progress = False,
) -> tuple[str, list[_Layer]]:
    """Return the page's text, and its layers."""
    check_megabytes(max_megabytes)
    mode = first.get("mode", DEFAULT_MODE)
    if mode not in MODES:
        _warn(
            f"mode {mode!r} needs a kernel, so the page opens with mode {DEFAULT_MODE!r} instead: "
            f"choose one of {', '.join(MODES)}, or keep a picture of it with save"
        )
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title {briefly(title)} is not text: pass a string, or leave it out.")
    names = _chosen(activations, layers, before_relu=before_relu)
    if max_megabytes is None:
        max_megabytes = _usual_megabytes(activations, names)
    picture = _address(activations.image)
    shapes = [activations.shape(name) for name in names]
    rest = _USUAL_REST + _REST_OF_A_CHANNEL * sum(channels for _, _, channels in shapes)
    if words := _size_warning(shapes, rest + len(picture), max_megabytes):
        _warn(f"{words}: {_SMALLER}")
    # Units that could not fit however well they are packed are left out from the start.
    steps = _steps(shapes, _LEAST_RATIO, 1e6 * max_megabytes - len(picture))
    with (
        shown_progress(progress, len(names), "layers", "layer") as tell,
        ThreadPoolExecutor(_WORKERS) as workers,
    ):
        stored = []
        for one in workers.map(lambda name, step: _stored(activations, name, step), names, steps):
            stored.append(one)
            tell(1)
        rest = _size(_text(activations, stored, first, picture, title)) + _NAMES
        _make_room(stored, 1e6 * max_megabytes - rest, workers)
    text = _text(activations, stored, first, picture, title, maps=_data(stored))
    size = _size(text)
    if size > 1e6 * max_megabytes:
        words = f"the page takes {megabytes(size)}, more than max_megabytes={max_megabytes:g}"
        _warn(f"{words}: {_SMALLER}")
    return text, stored


def _usual_megabytes(activations: Activations, names: list[str]) -> float:
    blocks = {activations.info(name).block for name in names}
    is_few = len(names) == len(blocks) <= _FEW_LAYERS
    return _FEW_MEGABYTES if is_few else _MOST_MEGABYTES


def _steps(shapes: list[Shape], ratio: float, room: float) -> list[int]:
    return fitting_steps(shapes, [ratio] * len(shapes), room, [1] * len(shapes))


def _size_warning(shapes: list[Shape], beside: float, max_megabytes: float) -> str:
    """Return a warning for a page that would be large, before it takes time; or ""."""
    most = 1e6 * max_megabytes
    steps = _steps(shapes, _USUAL_RATIO, most - beside)
    whole, least = (
        round(beside + _USUAL_RATIO * sum(map(layer_bytes, shapes, tried)))
        for tried in ([1] * len(shapes), steps)
    )
    if least > most:
        return f"the page takes about {megabytes(least)}, more than max_megabytes={max_megabytes:g}"
    if max(steps) > 2:
        return (
            f"the whole page would take about {megabytes(whole)}, and within max_megabytes="
            f"{max_megabytes:g} some layers keep only every {_ORDINALS[max(steps)]} row and column"
        )
    return ""


def _warn(words: str) -> None:
    warnings.warn(
        f"{words}.",
        UserWarning,
        # The line that called `to_html`: `_page_and_layers` and two other calls are in between.
        stacklevel=5,
    )


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _chosen(
    activations: Activations, layers: str | Iterable[str] | None, *, before_relu: bool
) -> list[str]:
    """Return the names of the maps to show, in network order, each once."""
    names = [layers] if isinstance(layers, str) else [*activations] if layers is None else [*layers]
    if not names:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    if before_relu:
        names = [activations.before_relu(name) or name for name in names]
    plain = {activations.plain_name(name) for name in names}
    order = [
        name
        for info in activations.layers
        for name in (activations.before_relu(info.name), info.name)
        if name is not None
    ]
    return [name for name in order if name in plain]


def _stored(activations: Activations, name: str, step: int) -> _Layer:
    # Values without a finite mean or span are shown as not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        maps = stored_maps(activations[name], signed=activations.signed(name), step=step)
        modes = stored_modes(activations, name)
    shape, info = activations.shape(name), activations.info(name)
    about = _layer_metadata(activations, name, maps)
    layer = _Layer(name, info, shape, about, modes, maps.indices, step)
    layer.pack()
    return layer


def _make_room(stored: list[_Layer], room: float, workers: ThreadPoolExecutor) -> None:
    """Halve the largest layers until all fit."""
    shapes = [layer.shape for layer in stored]
    while True:
        ratios = [layer.size / layer_bytes(layer.shape, layer.step) for layer in stored]
        steps = fitting_steps(shapes, ratios, room, [layer.step for layer in stored])
        changes = [pair for pair in zip(stored, steps, strict=True) if pair[0].step != pair[1]]
        if not changes:
            return
        # Fewer units pack slightly worse than all of them.
        list(workers.map(lambda change: change[0].thin(change[1]), changes))


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
    *,
    maps: Iterable[str] = (),
) -> str:
    height, width = activations.image.shape[:2]
    name = Path(activations.name).name
    heading = title or name or "What a network computes from an image"
    words = {
        "title": html.escape(heading),
        "picture": picture,
        "width": str(width),
        "height": str(height),
        "alt": html.escape(f"the input, {name}" if name else "the input"),
        "notice": notice_element(activations.weights),
        "weights": html.escape(activations.weights.label),
        "halved": html.escape(_halved_words(_halved(stored))),
        "version": html.escape(sys.modules["vgg_widget"].__version__),
    }
    body = Template(_HERE.joinpath("document.html").read_text("utf-8")).substitute(words)
    data = [data_element("page", _header(activations, stored, first)), *maps]
    scripts = map(_HERE.joinpath, _SCRIPTS)
    return "".join(page_pieces(heading, body, _HERE.joinpath("document.css"), scripts, data))


def _halved(stored: list[_Layer]) -> dict[str, int]:
    return {layer.info.name: layer.step for layer in stored if layer.step > 1}


def _halved_words(halved: dict[str, int]) -> str:
    parts: list[str] = []
    for step, ordinal in _ORDINALS.items():
        names = [name for name in halved if halved[name] == step]
        which = ", ".join(names)
        if len(names) > 4:
            which = f"{', '.join(names[:3])} and {len(names) - 3} more layers"
        if names:
            parts.append(f"every {ordinal} {'' if parts else 'row and column '}of {which}")
    return f"To keep this file small, it has {', '.join(parts)}." if parts else ""


def _data(stored: list[_Layer]) -> Iterator[str]:
    """Yield the maps, as elements that a browser reads when one of their maps is shown."""
    for number, layer in enumerate(stored):
        pieces = {f"maps-{number}-{place}": piece for place, piece in enumerate(layer.pieces)}
        for name, piece in {f"modes-{number}": layer.packed_modes, **pieces}.items():
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
        "layers": [_layer_header(layer, stored) for layer in stored],
        "network": _tops(activations, None),
        "cmaps": {name: base64.b64encode(colours(find_cmap(name))).decode() for name in cmaps},
        "lights": {name: base64.b64encode(_colormap_rgb(name)).decode() for name in cmaps},
        "usual": [DEFAULT_CMAP, SIGNED_CMAP],
        "scales": {name: scale.gamma for name, scale in NAMED_SCALES.items()},
        "percentiles": {name: scale.percentile for name, scale in NAMED_SCALES.items()},
        "ranges": RANGES,
        "no_range": NO_RANGE,
        "tile_ranges": TILE_RANGES,
        "phrases": {name: find_mode(name).phrase for name in MODES},
        "some": DEFAULT_SOME,
        "code": _code(activations),
        "first": _first(activations, stored, first),
    }


def _code(activations: Activations) -> str:
    """Return the Python code that computes the maps."""
    if activations.weights.source == "arrays":
        return "activations = ...  # put them here, such as Activations.load('x.npz')\n"
    weights, (height, width) = activations.weights, activations.image.shape[:2]
    name = Path(activations.name).name
    image = repr(name) if name else "...  # put the image here, or the path of its file"
    argument, note = {
        "file": (repr(Path(weights.path or "").name), ""),
        "model": ("model=...", "  # put your network here, and its preprocess="),
        "state_dict": ("...", "  # put your state dict here"),
    }.get(weights.source, (repr(weights.source), ""))
    network = "" if weights.network in ("", "vgg19") else f"network={weights.network!r}, "
    return (
        f"image = {image}\n"
        f"extractor = FeatureExtractor({argument}, {network}size=({height}, {width})){note}\n"
        "activations = extractor(image)\n"
    )


def _colormap_rgb(cmap: str) -> bytes:
    """Return red, green and blue of a colormap's entries, as float32 in 0-1."""
    found = find_cmap(cmap)
    return np.asarray(found(np.arange(found.N)))[:, :3].astype("<f4").tobytes()


def _tops(activations: Activations, layer: str | None) -> list[float]:
    """Return the top of a layer's range, or the network's tops, after a ReLU and for both signs."""
    percentile = NAMED_SCALES["layer"].percentile
    if layer is not None:
        return [activations.top(layer, percentile, signed=activations.signed(layer))]
    return [activations.top(None, percentile, signed=signed) for signed in (False, True)]


def _layer_header(layer: _Layer, stored: list[_Layer]) -> dict[str, Any]:
    channels, height, width = layer.indices.shape
    others = [n for n, one in enumerate(stored) if one.info is layer.info and one is not layer]
    gap = 1 if min(height, width) < 64 else 2
    modes = layer.modes
    step = modes_step(layer.step)
    return {
        **layer.about,
        # The index of the same layer on the other side of its ReLU.
        "other": others[0] if others else None,
        # For a halved layer, the page has fewer units than `shape` says.
        "stored": [height, width],
        "step": layer.step,
        "piece": maps_in_a_piece(height, width),
        "columns": about_square(channels, (height + gap) / (width + gap)),
        "gap": gap,
        "modes": {
            **modes.maps.ranges(),
            "stored": fewer(modes.winners, step).shape,
            "step": step,
        },
        "legend": modes.legend,
    }


def _layer_metadata(activations: Activations, name: str, maps: StoredMaps) -> dict[str, Any]:
    """Return a layer's data that do not depend on the rows and columns kept."""
    label, shape = layer_label(activations, name), activations.shape(name)
    return {
        "name": name,
        "names": other_names(activations, name),
        "label": label,
        "shape": list(shape),
        "channels": shape[-1],
        "words": f"{label} · {' × '.join(map(str, shape))}",
        "signed": activations.signed(name),
        "telling": telling_channels(activations, name, _TELLING).tolist(),
        "top": _tops(activations, name)[0],
        **maps.ranges(),
        **unit_places(activations, name),
    }


def _first(
    activations: Activations, stored: list[_Layer], first: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the page's first state; anything that the page lacks is replaced."""
    names = [layer.name for layer in stored]
    requested = first.get("layer")
    layer = activations.plain_name(requested) if requested is not None else first_layer(activations)
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

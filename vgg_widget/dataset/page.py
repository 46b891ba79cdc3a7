"""`write_page`: a web page of the strongest images, in one self-contained file.

The page is assembled from ``page.html``, ``page.css`` and ``page.js`` and the parts shared by all
pages (`page_pieces`).
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from vgg_widget.dataset.image_set import done_ahead
from vgg_widget.dataset.result import TopActivations
from vgg_widget.dataset.top_images import StrongestImages
from vgg_widget.images import RGB8, ImageError
from vgg_widget.network.streaming import READERS
from vgg_widget.page.shell import layer_blocks, notice_element, page_pieces
from vgg_widget.support.files import atomic_write
from vgg_widget.support.html import check_page_path, data_element, decimals
from vgg_widget.support.messages import briefly
from vgg_widget.support.progress import Progress, shown_progress

Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels of the network's input, half open."""
Cut: TypeAlias = tuple[int, Box | None]
"""A patch: its image's position in ``top.images``, and its box; None is the whole image."""

# In pixels; larger patches are reduced.
_LARGEST_SIDE = 80
# Pages enlarge small patches until single pixels are visible, where lossy compression would show.
_EXACT_SIDE = 24
_QUALITY = 75
# The default number of patches on a page is at most this. Nine for each channel of the first layer
# of each of VGG19's five blocks are at most 13,248, which take about 10 MB for photographs.
_MOST_PATCHES = 14_000

_HERE = files("vgg_widget.dataset")


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """The result of `write_page`.

    Parameters
    ----------
    path : Path
        The file written.
    size : int
        Its size in bytes.
    missing : mapping of str to str
        Names of images that can no longer be read, with the reasons; their patches are missing.
    layers : tuple of str
        The layers on the page, in network order.
    """

    path: Path
    size: int
    missing: Mapping[str, str]
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A layer on the page: its name, statistics, and each channel's patches."""

    name: str
    strongest: StrongestImages
    cuts: list[list[Cut]]


def write_page(
    top: TopActivations,
    path: str | os.PathLike[str],
    *,
    layers: str | Iterable[str] | None = None,
    channels: int | None = None,
    progress: Progress = False,
) -> WrittenPage:
    """Write a web page that shows the patches of any chosen layer and channel.

    The page is one file: it loads nothing, sends nothing, and opens from disk without a server. It
    contains the images' names, which for a pattern or a list are the paths as given. A patch is the
    unit's receptive field in pixels of the network's input, at most 80 on a side: lossless up to 24
    pixels on a side, lossy above.

    Parameters
    ----------
    top : TopActivations
        The result to show. Its image files must still exist unchanged.
    path : str or Path
        An ``.html`` file, replaced atomically.
    layers : str, iterable of str or None
        Layers to show, by any of their names. By default all, if they have at most 14,000 patches,
        which take about 10 MB; otherwise the first of each block, or of every second block, every
        fourth and so on. ``layers=top`` shows all: those of VGG19 with nine patches per channel
        take 50 MB.
    channels : int, optional
        Show only the first `channels` channels of each layer.
    progress : bool or callable
        As in `top_activations`; counts the images that patches are cut from.

    Returns
    -------
    WrittenPage
        The page's path, size, layers and missing images.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError, TypeError
        If an argument is invalid; `ImageError`, a ValueError, if none of the images can be read.
    OSError
        If the folder is missing or cannot be written.
    """
    check_page_path(path)
    shown = _shown(top, layers, channels)
    wanted: dict[int, set[Box | None]] = {}
    for layer in shown:
        for place, box in itertools.chain(*layer.cuts):
            wanted.setdefault(place, set()).add(box)
    with shown_progress(progress, len(wanted), "pictures") as tell:
        patches, missing = _cut_patches(top, wanted, tell)
    if wanted and not patches:
        name, sentence = next(iter(missing.items()))
        raise ImageError(
            f"none of the {len(wanted)} images for the page can be read, the first being {name!r} "
            f"({sentence.rstrip('.')})."
        )
    numbers = {place: number for number, place in enumerate(sorted(wanted))}
    with atomic_write(path) as draft:
        with draft.open("wb") as stream:
            for piece in _pieces(top, shown, patches, numbers, len(missing)):
                stream.write(piece.encode("utf-8", "replace"))
        size = draft.stat().st_size
    names = tuple(layer.name for layer in shown)
    return WrittenPage(Path(path).expanduser(), size, missing, names)


def check_channels(channels: int | None) -> None:
    """Raise ValueError for an invalid number of channels, before any work is done."""
    integer = isinstance(channels, int | np.integer) and not isinstance(channels, bool)
    if channels is not None and (not integer or channels < 1):
        raise ValueError(
            f"channels {briefly(channels)} is not a valid number of channels: give 1 or more, or "
            "leave it out for all."
        )


def _shown(
    top: TopActivations, layers: str | Iterable[str] | None, channels: int | None
) -> list[_Shown]:
    check_channels(channels)
    names = [layers] if isinstance(layers, str) else [*top] if layers is None else [*layers]
    if not names:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    chosen = [top[name] for name in names]
    # Each layer once, in network order, whichever name was given.
    shown = [
        _Shown(name, one, [_cuts(one, channel) for channel in range(len(one.images))[:channels]])
        for name, one in top.items()
        if any(one is each for each in chosen)
    ]
    return shown if layers is not None else _layers_that_fit(shown)


def _layers_that_fit(shown: list[_Shown]) -> list[_Shown]:
    """Return the layers whose patches fit on a page: all, or an even selection."""
    blocks = itertools.groupby(shown, lambda layer: layer.strongest.layer.block)
    some, fewer = shown, [next(layers) for _, layers in blocks]
    while len(some) > 1 and _patch_count(some) > _MOST_PATCHES:
        some, fewer = fewer, fewer[::2]
    return some


def _patch_count(shown: Iterable[_Shown]) -> int:
    return sum(len(set(itertools.chain(*layer.cuts))) for layer in shown)


def _cuts(strongest: StrongestImages, channel: int) -> list[Cut]:
    places = strongest.places(channel).tolist()
    if strongest.boxes is None:
        return [(place, None) for place in places]
    boxes = strongest.boxes[channel, : len(places)].tolist()
    return list(zip(places, map(tuple, boxes), strict=True))


def _cut_patches(
    top: TopActivations, wanted: Mapping[int, Iterable[Box | None]], tell: Callable[[int], object]
) -> tuple[dict[Cut, str], dict[str, str]]:
    """Cut patches out of images, reading each image once.

    Returns the patches as data URLs, and the reasons why images can no longer be read, by name.
    """
    patches: dict[Cut, str] = {}
    missing: dict[str, str] = {}

    def cut(place: int) -> dict[Cut, str]:
        pixels = top._picture(place, original=False)  # noqa: SLF001 - same package
        return {(place, box): _address(pixels, box) for box in wanted[place]}

    with closing(done_ahead(sorted(wanted), cut, 2 * READERS)) as begun:
        for place, future in begun:
            try:
                patches |= future.result()
            except (ImageError, OSError) as error:
                missing[top.images[place]] = str(error)
            tell(1)
    return patches, missing


def _address(pixels: RGB8, box: Box | None) -> str:
    """Return a patch's data URL: lossless up to 24 pixels on a side, lossy above."""
    if box is not None:
        first_row, first_column, end_row, end_column = box
        pixels = pixels[first_row:end_row, first_column:end_column]
    image = Image.fromarray(pixels)
    exact = max(image.size) <= _EXACT_SIDE
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # WebP takes half the space, but not every Pillow can write it.
    kind = "webp" if features.check("webp") else "png" if exact else "jpeg"
    image.save(buffer, kind, quality=_QUALITY, optimize=True, lossless=exact)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _pieces(
    top: TopActivations,
    shown: list[_Shown],
    patches: Mapping[Cut, str],
    numbers: Mapping[int, int],
    missing: int,
) -> Iterator[str]:
    gone = "1 image has" if missing == 1 else f"{missing:,} images have"
    gone += " changed or can no longer be read, so the patches are missing here."
    words = {
        "source": html.escape(_source(top, len(shown))),
        "missing": gone if missing else "",
        "notice": notice_element(top.weights),
    }
    body = Template(_HERE.joinpath("page.html").read_text("utf-8")).substitute(words)
    return page_pieces(
        "What excites each channel",
        body,
        _HERE.joinpath("page.css"),
        [_HERE.joinpath("page.js")],
        _data(top, shown, patches, numbers),
    )


def _data(
    top: TopActivations,
    shown: list[_Shown],
    patches: Mapping[Cut, str],
    numbers: Mapping[int, int],
) -> Iterator[str]:
    names = [layer.name for layer in shown]
    # The result's own readable layer may not be on the page.
    on_page = replace(top, strongest={name: top[name] for name in names})
    header = {
        "statistic": top.statistic,
        "first": {"layer": on_page.readable_layer, "channel": 0},
        "edges": decimals(top.histogram_edges),
        "names": [top.images[place] for place in numbers],
        "blocks": layer_blocks([layer.strongest.layer for layer in shown]),
        "layers": [
            {
                "name": layer.name,
                "words": layer.name,
                "channels": len(layer.cuts),
                "of": len(layer.strongest.images),
                "sees": layer.strongest.layer.receptive_field,
            }
            for layer in shown
        ],
    }
    yield data_element("page", header)
    # Each layer is a separate element, so that a browser parses only the displayed one.
    for number, layer in enumerate(shown):
        yield data_element(f"layer-{number}", _layer(layer, patches, numbers))


def _source(top: TopActivations, shown: int) -> str:
    good = len(top.images) - len(top.failed)
    size = top.size
    if size is None:
        sides = "images of their own size"
    elif isinstance(size, int):
        sides = f"images scaled to a shorter side of {size} pixels"
    else:
        sides = f"images resized to {size[0]} × {size[1]} pixels"
    words = [
        top.weights.label,
        f"{good:,} images",
        *([f"{len(top.failed):,} more could not be read"] if top.failed else []),
        sides,
        *([f"{shown:,} of {len(top):,} layers"] if shown < len(top) else []),
        f"the {min(top.k, good)} strongest by the map's {top.statistic}",
        # Importing the whole package here would break the import order.
        f"vgg_widget {sys.modules['vgg_widget'].__version__}",
    ]
    return " · ".join(words)


def _layer(layer: _Shown, patches: Mapping[Cut, str], numbers: Mapping[int, int]) -> dict[str, Any]:
    strongest, channels = layer.strongest, len(layer.cuts)
    # Channels share patches, since several have their maximum at the same location.
    known: dict[str, int] = {}
    cut = [
        [known.setdefault(patches[key], len(known)) if key in patches else -1 for key in cuts]
        for cuts in layer.cuts
    ]
    histogram = strongest.histogram[:channels]
    bins = _bins(histogram)
    return {
        "patches": list(known),
        "cut": cut,
        "values": [decimals(strongest.values[c, : len(cut[c])]) for c in range(channels)],
        "images": [[numbers[place] for place, _ in cuts] for cuts in layer.cuts],
        "mean": decimals(strongest.mean[:channels].astype(np.float32)),
        "active": decimals(strongest.fraction_active[:channels]),
        "counted": strongest.counted[:channels].tolist(),
        "bins": bins,
        "histogram": histogram[:, bins].tolist(),
    }


def _bins(histogram: npt.NDArray[np.int32]) -> list[int]:
    """Return the bins to draw: the used range below 0, the bin of 0, and the used range above 0.

    The many unused bins between 0 and a layer's smallest magnitudes are left out.
    """
    used = np.flatnonzero(histogram.any(axis=0))
    zero = histogram.shape[1] // 2
    chosen: list[int] = []
    for part in (used[used < zero], used[used == zero], used[used > zero]):
        if part.size:
            chosen += range(int(part[0]), int(part[-1]) + 1)
    return chosen

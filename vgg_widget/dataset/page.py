"""`write_page`: a web page of the strongest images, in one file that needs nothing else.

Its other parts are in ``page.html``, ``page.css`` and ``page.js``, beside those that all pages have
(`page_pieces`).
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
"""A patch: its picture's place in ``top.images``, and its box; None is the whole picture."""

# Pixels; a larger patch is made smaller.
_LARGEST_SIDE = 80
# A page enlarges small patches until their pixels can be told apart, and losses would smear them.
_EXACT_SIDE = 24
_QUALITY = 75
# A page by itself takes so many: nine of each channel of the first layers of VGG19's five blocks
# are 13,248 at most. Of photographs they take 10 MB or a little more.
_MOST_PATCHES = 14_000

_HERE = files("vgg_widget.dataset")


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """What `write_page` wrote.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its bytes.
    missing : mapping of str to str
        Names of pictures that could not be read any more, whose patches the page lacks, and why.
    layers : tuple of str
        The layers on the page, in network order.
    """

    path: Path
    size: int
    missing: Mapping[str, str]
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """One layer on the page: its name, numbers, and the patches of each channel to be shown."""

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
    """Write a web page on which a person chooses a layer and a channel, and sees its patches.

    The page is one file: it loads nothing, sends nothing, and works where it lies, without a
    server. It has the pictures' names, which of a pattern or a list are the paths as written. A
    patch is what the unit sees, in pixels of the network's input, at most 80 a side: exact up to 24
    pixels a side, and with small losses above.

    Parameters
    ----------
    top : TopActivations
        What to show. Its pictures have to be where they were, and unchanged.
    path : str or Path
        An ``.html`` file, replaced as a whole.
    layers : str, iterable of str or None
        Keras's or torchvision's names. By default all, if they have 14,000 patches at most, which
        take some 10 MB; else the first of each block, and of many blocks every second, fourth and
        so on. ``layers=top`` is all: those of VGG19 with nine patches a channel take 50 MB.
    channels : int, optional
        Only so many of each layer, from its first.
    progress : bool or callable
        As in `top_activations`; what is counted are pictures to cut patches from.

    Returns
    -------
    WrittenPage
        With its size, and the pictures that are missing.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError, TypeError
        If an argument is wrong; an `ImageError`, which is a ValueError, if not one of the pictures
        can be read.
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
            f"none of the {len(wanted)} pictures that the page would show can be read, beginning "
            f"with {name!r} ({sentence.rstrip('.')})."
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
    """Raise ValueError for what is no number of channels, as early as `check_page_path`."""
    integer = isinstance(channels, int | np.integer) and not isinstance(channels, bool)
    if channels is not None and (not integer or channels < 1):
        raise ValueError(
            f"channels {briefly(channels)} is no number of channels: give 1 or more, or leave it "
            "out for all."
        )


def _shown(
    top: TopActivations, layers: str | Iterable[str] | None, channels: int | None
) -> list[_Shown]:
    check_channels(channels)
    names = [layers] if isinstance(layers, str) else [*top] if layers is None else [*layers]
    if not names:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    chosen = [top[name] for name in names]
    # In network order, each once, whatever its name was.
    shown = [
        _Shown(name, one, [_cuts(one, channel) for channel in range(len(one.images))[:channels]])
        for name, one in top.items()
        if any(one is each for each in chosen)
    ]
    return shown if layers is not None else _some_of(shown)


def _some_of(shown: list[_Shown]) -> list[_Shown]:
    """Return layers whose patches a page has room for: all, or else some from first to last."""
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
    """Cut patches out of pictures, each of which is read once.

    Returns the patches as addresses of data, and why pictures cannot be read any more, by name.
    """
    patches: dict[Cut, str] = {}
    missing: dict[str, str] = {}

    def cut(place: int) -> dict[Cut, str]:
        pixels = top._picture(place, original=False)  # noqa: SLF001 - of this room
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
    """Return the data address of a patch: exact up to 24 pixels a side, with losses above."""
    if box is not None:
        first_row, first_column, end_row, end_column = box
        pixels = pixels[first_row:end_row, first_column:end_column]
    image = Image.fromarray(pixels)
    exact = max(image.size) <= _EXACT_SIDE
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Not every Pillow can write WebP, which takes half as much.
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
    gone = "1 picture has" if missing == 1 else f"{missing:,} pictures have"
    gone += " changed since, or could not be read any more, and no patches here."
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
    # The whole set's may not be on the page.
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
    # Each layer by itself: a browser then reads the one that is looked at.
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
        # An import of the whole package would go against the direction in which rooms import.
        f"vgg_widget {sys.modules['vgg_widget'].__version__}",
    ]
    return " · ".join(words)


def _layer(layer: _Shown, patches: Mapping[Cut, str], numbers: Mapping[int, int]) -> dict[str, Any]:
    strongest, channels = layer.strongest, len(layer.cuts)
    # Channels share patches: where one has its maximum, others have theirs.
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
    """Return which bins to draw: of those below 0, at 0 and above 0, from first to last in use.

    Between 0 and what a layer's values begin with lie many that no channel uses.
    """
    used = np.flatnonzero(histogram.any(axis=0))
    zero = histogram.shape[1] // 2
    chosen: list[int] = []
    for part in (used[used < zero], used[used == zero], used[used > zero]):
        if part.size:
            chosen += range(int(part[0]), int(part[-1]) + 1)
    return chosen

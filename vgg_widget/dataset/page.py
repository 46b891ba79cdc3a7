"""`write_page`: a web page of the strongest images, in one file that needs nothing else.

Its other parts are in ``page.html``, ``page.css`` and ``page.js``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.dataset.patch_files import Box, cut_patches
from vgg_widget.dataset.progress import Progress, shown_progress
from vgg_widget.dataset.result import TopActivations
from vgg_widget.dataset.strongest import StrongestImages
from vgg_widget.images import ImageError
from vgg_widget.support.files import checked_target, written_whole
from vgg_widget.support.messages import briefly

_SUFFIXES = (".html", ".htm")
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
    """

    path: Path
    size: int
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Shown:
    """One layer on the page: its first channels."""

    name: str
    strongest: StrongestImages
    channels: int

    def places(self, channel: int) -> list[int]:
        places: list[int] = self.strongest.places(channel).tolist()
        return places

    def boxes(self, channel: int) -> Iterator[tuple[int, Box | None]]:
        """Give of each of the strongest images its place and what the unit sees."""
        for rank, place in enumerate(self.places(channel)):
            if self.strongest.boxes is None:
                yield place, None
            else:
                first_row, first_column, end_row, end_column = self.strongest.boxes[
                    channel, rank
                ].tolist()
                yield place, (first_row, first_column, end_row, end_column)


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
    patch is what the unit sees, in pixels of the network's input, at most 96 a side: exact up to 24
    pixels a side, and JPEG above.

    Parameters
    ----------
    top : TopActivations
        What to show. Its pictures have to be where they were, and unchanged.
    path : str or Path
        An ``.html`` file, replaced as a whole.
    layers : str, iterable of str or None
        Keras's or torchvision's names; None for all.
    channels : int, optional
        Only so many of each layer, from its first: all channels of VGG19, nine patches of
        photographs each, take up to 150 MB.
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
        for channel in range(layer.channels):
            for place, box in layer.boxes(channel):
                wanted.setdefault(place, set()).add(box)
    with shown_progress(progress, len(wanted), "pictures") as tell:
        patches, missing = cut_patches(top, wanted, tell)
    if wanted and not patches:
        name, sentence = next(iter(missing.items()))
        raise ImageError(
            f"none of the {len(wanted)} pictures that the page would show can be read, beginning "
            f"with {name!r} ({sentence.rstrip('.')})."
        )
    numbers = {place: number for number, place in enumerate(sorted(wanted))}
    with written_whole(path) as draft:
        with draft.open("wb") as stream:
            for piece in _pieces(top, shown, patches, numbers, len(missing)):
                stream.write(piece.encode("utf-8", "replace"))
        size = draft.stat().st_size
    return WrittenPage(Path(path).expanduser(), size, missing)


def check_page_path(path: str | os.PathLike[str]) -> None:
    """Raise for what cannot be a page's path, which is better known before hours of work.

    Raises
    ------
    ValueError
        If it does not end in ``.html``.
    FileNotFoundError
        If its folder is missing.
    """
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(f"path {os.fspath(path)!r} does not end in .html: name it so.")
    checked_target(path)


def check_channels(channels: int | None) -> None:
    """Raise for what is no number of channels, as early as `check_page_path`.

    Raises
    ------
    ValueError
        If it is not 1 or more, nor None for all.
    """
    if channels is not None and (
        not isinstance(channels, int | np.integer) or isinstance(channels, bool) or channels < 1
    ):
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
    return [
        _Shown(name, one, min(len(one.images), int(channels or len(one.images))))
        for name, one in top.items()
        if any(one is each for each in chosen)
    ]


def _pieces(
    top: TopActivations,
    shown: list[_Shown],
    patches: Mapping[tuple[int, Box | None], bytes],
    numbers: Mapping[int, int],
    missing: int,
) -> Iterator[str]:
    style, script = (_HERE.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    words = {
        "style": style,
        "style_digest": _digest(style),
        "script": script,
        "script_digest": _digest(script),
        "source": html.escape(_source(top)),
        "missing": html.escape(_of_missing(missing)),
    }
    before, after = _HERE.joinpath("page.html").read_text("utf-8").split("$data\n")
    yield Template(before).substitute(words)
    yield _data("atlas", _header(top, shown, numbers))
    # Each layer by itself: a browser then reads the one that is looked at.
    for number, layer in enumerate(shown):
        yield _data(f"layer-{number}", _layer(layer, patches, numbers))
    yield Template(after).substitute(words)


def _digest(text: str) -> str:
    """Return what a page's Content-Security-Policy calls the one script or style that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(name: str, content: object) -> str:
    # Nothing in a string can then end the element, or begin a comment in it.
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _source(top: TopActivations) -> str:
    good = len(top.images) - len(top.failed)
    strength = {"max": "the map's maximum", "mean": "the map's mean"}.get(top.statistic)
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
        f"the {min(top.k, good)} strongest by {strength or top.statistic}",
        # By way of the import system's table: an import of the whole package from here would go
        # against the direction in which the rooms import each other.
        f"vgg_widget {sys.modules['vgg_widget'].__version__}",
    ]
    return " · ".join(words)


def _of_missing(count: int) -> str:
    if not count:
        return ""
    pictures = "1 picture has" if count == 1 else f"{count:,} pictures have"
    return f"{pictures} changed since, or could not be read any more, and no patches here."


def _header(top: TopActivations, shown: list[_Shown], numbers: Mapping[int, int]) -> dict[str, Any]:
    return {
        "statistic": top.statistic,
        "edges": _decimals(top.histogram_edges),
        "names": [top.images[place] for place in numbers],
        "layers": [
            {
                "name": layer.name,
                "channels": layer.channels,
                "of": len(layer.strongest.images),
                "sees": layer.strongest.layer.receptive_field,
            }
            for layer in shown
        ],
    }


def _layer(
    layer: _Shown,
    patches: Mapping[tuple[int, Box | None], bytes],
    numbers: Mapping[int, int],
) -> dict[str, Any]:
    strongest, channels = layer.strongest, range(layer.channels)
    # Channels share patches: where one has its maximum, others have theirs.
    known: dict[bytes, int] = {}
    cut = [
        [
            known.setdefault(patches[key], len(known)) if key in patches else -1
            for key in layer.boxes(channel)
        ]
        for channel in channels
    ]
    histogram = strongest.histogram[: layer.channels]
    bins = _bins(histogram)
    return {
        "patches": [_address(patch) for patch in known],
        "cut": cut,
        "values": [
            _decimals(strongest.values[channel, : len(cut[channel])]) for channel in channels
        ],
        "images": [[numbers[place] for place in layer.places(channel)] for channel in channels],
        "mean": _decimals(strongest.mean[: layer.channels].astype(np.float32)),
        "active": _decimals(strongest.fraction_active[: layer.channels]),
        "counted": strongest.counted[: layer.channels].tolist(),
        "bins": bins,
        "histogram": histogram[:, bins].tolist(),
    }


def _address(file: bytes) -> str:
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


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


def _decimals(values: npt.NDArray[np.floating[Any]]) -> list[float | None]:
    """Return numbers with as few digits as tell them apart from others; None for NaN."""
    return [float(str(value)) if np.isfinite(value) else None for value in values]

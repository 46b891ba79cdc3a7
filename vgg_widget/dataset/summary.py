"""What is known of every channel over some images, in memory that their number does not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_HALF_OCTAVES = np.arange(-32, 33) / 2

HISTOGRAM_EDGES: Floats = np.concatenate(
    [-(2.0 ** _HALF_OCTAVES[::-1]), 2.0**_HALF_OCTAVES]
).astype(np.float32)
"""Where the bins of every histogram meet, in activation units.

Powers of √2, so that no range must be known beforehand: 65 from 2⁻¹⁶ to 2¹⁶, and as many below 0.
Bin `i` counts what is at least ``HISTOGRAM_EDGES[i - 1]`` and less than ``HISTOGRAM_EDGES[i]``; the
first and last are open, and that of 0 is the one in the middle.
"""
HISTOGRAM_EDGES.flags.writeable = False

BINS = HISTOGRAM_EDGES.size + 1


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """What the network left of some images' maps: arrays of shape (images, channels).

    Parameters
    ----------
    values : ndarray of float32
        The statistic.
    peaks : ndarray of float32
        The map's maximum.
    rows, columns : ndarray of int32
        Where that is: of equal ones the first row, and there the first column.
    """

    values: Floats
    peaks: Floats
    rows: Ints
    columns: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Every channel over some images; the channels of all layers in a row.

    Parameters
    ----------
    values : ndarray of float32, shape (C, k)
        The largest statistics, largest first; of equal ones that of the earlier image. -inf where
        there are no more.
    images : ndarray of int32, shape (C, k)
        Whose they are: places in the set; -1 where there are no more.
    rows, columns : ndarray of int32, shape (C, k)
        Where the maps have their maximum.
    histogram : ndarray of int32, shape (C, `BINS`)
        Images by statistic, see `HISTOGRAM_EDGES`.
    total : ndarray of float64, shape (C,)
        Sum of the statistics.
    active : ndarray of int32, shape (C,)
        Images whose map is above 0 anywhere.
    counted : ndarray of int32, shape (C,)
        Images whose statistic is finite: those that the fields above are of.
    sizes : ndarray of int32, shape (images, 4)
        Height and width that the network saw, and those of the picture itself; 0 for a bad image.
    digests : ndarray of uint8, shape (images, 32)
        SHA-256 of each image.
    failed : tuple of (int, str)
        Places of bad images, and what is the matter with them.
    """

    values: Floats
    images: Ints
    rows: Ints
    columns: Ints
    histogram: Ints
    total: npt.NDArray[np.float64]
    active: Ints
    counted: Ints
    sizes: Ints
    digests: npt.NDArray[np.uint8]
    failed: tuple[tuple[int, str], ...]

    def shifted(self, start: int) -> Self:
        """Return the same of images that begin at another place of the set."""
        return replace(
            self,
            images=np.where(self.images < 0, self.images, self.images + np.int32(start)),
            failed=tuple((place + start, sentence) for place, sentence in self.failed),
        )


def summarised(
    reduced: Reduced,
    places: Sequence[int],
    k: int,
    *,
    sizes: Ints,
    digests: npt.NDArray[np.uint8],
    failed: tuple[tuple[int, str], ...],
) -> Summary:
    """Sum up some images.

    Parameters
    ----------
    reduced : Reduced
        Of the good images.
    places : sequence of int
        Which of all images those are, in rising order.
    k : int
        How many of the strongest to keep.
    sizes, digests, failed
        As in `Summary`, of all images.
    """
    values = reduced.values.T
    finite = np.isfinite(values)
    kept = np.where(finite, values, np.float32(-np.inf))
    order = np.argsort(-kept, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(kept, order, axis=1)
    images = np.where(np.isneginf(best), -1, np.asarray(places, np.int32)[order])
    return Summary(
        values=best,
        images=images.astype(np.int32),
        rows=np.take_along_axis(reduced.rows.T, order, axis=1),
        columns=np.take_along_axis(reduced.columns.T, order, axis=1),
        histogram=_histogram(values, finite),
        total=np.where(finite, values, np.float32(0)).sum(axis=1, dtype=np.float64),
        active=((reduced.peaks.T > 0) & finite).sum(axis=1, dtype=np.int32),
        counted=finite.sum(axis=1, dtype=np.int32),
        sizes=sizes,
        digests=digests,
        failed=failed,
    )


def _histogram(values: Floats, finite: npt.NDArray[np.bool_]) -> Ints:
    channels = len(values)
    bins = np.searchsorted(HISTOGRAM_EDGES, values, side="right")
    places = bins + np.arange(channels)[:, None] * BINS
    counts = np.bincount(places[finite], minlength=channels * BINS)
    return counts.reshape(channels, BINS).astype(np.int32)


def merged(summaries: Sequence[Summary], k: int) -> Summary:
    """Sum up images whose parts are summed up already.

    Parameters
    ----------
    summaries : sequence of Summary
        In the order of their images, so that of equal values the earlier image's comes first.
    k : int
        How many of the strongest to keep.
    """
    values = np.concatenate([one.values for one in summaries], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]

    def strongest(name: str) -> Ints:
        whole = np.concatenate([getattr(one, name) for one in summaries], axis=1)
        return np.take_along_axis(whole, order, axis=1)

    # From the first to the last: another order would round otherwise.
    total = summaries[0].total
    for one in summaries[1:]:
        total = total + one.total
    return Summary(
        values=np.take_along_axis(values, order, axis=1),
        images=strongest("images"),
        rows=strongest("rows"),
        columns=strongest("columns"),
        histogram=np.sum([one.histogram for one in summaries], axis=0, dtype=np.int32),
        total=total,
        active=np.sum([one.active for one in summaries], axis=0, dtype=np.int32),
        counted=np.sum([one.counted for one in summaries], axis=0, dtype=np.int32),
        sizes=np.concatenate([one.sizes for one in summaries]),
        digests=np.concatenate([one.digests for one in summaries]),
        failed=sum((one.failed for one in summaries), ()),
    )


_Part = TypeVar("_Part")


class MergeTree(Generic[_Part]):
    """Merges parts as they come, in a tree whose shape depends on their number alone.

    So the result is the same to the last bit, wherever and in whatever order parts are computed.
    Few are held at a time: less than `FAN` on each of the tree's levels.

    Parameters
    ----------
    merge : callable
        Of several parts, in their order.
    """

    FAN = 4

    def __init__(self, merge: Callable[[list[_Part]], _Part]) -> None:
        self._merge = merge
        self._levels: list[list[_Part]] = []

    def add(self, part: _Part) -> None:
        """Add the next part."""
        self._add(part, 0)

    def _add(self, part: _Part, level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        held = self._levels[level]
        held.append(part)
        if len(held) == self.FAN:
            self._levels[level] = []
            self._add(self._merge(held), level + 1)

    def result(self) -> _Part | None:
        """Return all that were added as one; None if there was none."""
        part: _Part | None = None
        for held in self._levels:
            # What the lower levels make comes after what was complete before.
            parts = held if part is None else [*held, part]
            if parts:
                part = parts[0] if len(parts) == 1 else self._merge(parts)
        return part

"""What is known of every channel over some images, in memory that their number does not change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_HALF_OCTAVES = np.arange(-32, 33) / 2

HISTOGRAM_EDGES: Floats = np.concatenate(
    [-(2.0 ** _HALF_OCTAVES[::-1]), 2.0**_HALF_OCTAVES]
).astype(np.float32)
"""Where the bins of every histogram meet: see `TopActivations.histogram_edges`."""
HISTOGRAM_EDGES.flags.writeable = False

BINS = HISTOGRAM_EDGES.size + 1


class Reduced(NamedTuple):
    """What the network left of some images' maps: arrays of shape (images, channels).

    The statistic, the map's maximum, and where that is: of equal ones the first row, and there the
    first column.
    """

    values: Floats
    peaks: Floats
    rows: Ints
    columns: Ints

    @classmethod
    def of_none(cls, channels: int) -> Self:
        """Return that of no images."""
        none = np.empty((0, channels))
        values, places = none.astype(np.float32), none.astype(np.int32)
        return cls(values, values, places, places)


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Every channel over some images; the channels of all layers in a row.

    Arrays of C channels: the `k` strongest `images` by `values`, strongest first, and `rows` and
    `columns` of their maxima (-1 and -inf where there are no more); `histogram` of the statistic,
    its sum in `total`, how many images are `active` anywhere, and `counted` in all of this, since
    their statistic is finite.

    Of all images: `sizes` (height and width that the network saw, and the picture's own; 0 for bad
    ones), `digests`, and places and reasons of those that `failed`.
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
    """Sum up images: `reduced` is of the good ones, at these rising places, the rest of all."""
    values = reduced.values.T
    finite = np.isfinite(values)
    kept = np.where(finite, values, np.float32(-np.inf))
    order = np.argsort(-kept, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(kept, order, axis=1)
    images = np.where(np.isneginf(best), np.int32(-1), np.asarray(places, np.int32)[order])
    return Summary(
        values=best,
        images=images,
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
    """Put summaries together, in the order of their images; of equal values the earlier is kept."""

    def joined(name: str, axis: int = 0) -> Any:
        return np.concatenate([getattr(one, name) for one in summaries], axis=axis)

    def added(name: str) -> Any:
        return np.sum([getattr(one, name) for one in summaries], axis=0, dtype=np.int32)

    order = np.argsort(-joined("values", 1), axis=1, kind="stable")[:, :k]
    best: dict[str, Any] = {
        name: np.take_along_axis(joined(name, 1), order, axis=1)
        for name in ("values", "images", "rows", "columns")
    }
    return Summary(
        **best,
        **{name: added(name) for name in ("histogram", "active", "counted")},
        # From the first to the last: another order would round otherwise.
        total=functools.reduce(np.add, [one.total for one in summaries]),
        sizes=joined("sizes"),
        digests=joined("digests"),
        failed=sum((one.failed for one in summaries), ()),
    )


_Part = TypeVar("_Part")


class MergeTree(Generic[_Part]):
    """Merges parts as they come, in a tree whose shape depends on their number alone.

    So the result is the same to the last bit, wherever and in whatever order parts are computed.
    Few are held at a time: less than `FAN` on each of the tree's levels.
    """

    FAN = 4

    def __init__(self, merge: Callable[[list[_Part]], _Part]) -> None:
        self._merge = merge
        self._levels: list[list[_Part]] = []

    def add(self, part: _Part) -> None:
        """Add the next part."""
        for level, held in enumerate(self._levels):
            held.append(part)
            if len(held) < self.FAN:
                return
            part, self._levels[level] = self._merge(held), []
        self._levels.append([part])

    def result(self) -> _Part | None:
        """Return all that were added as one; None if there was none."""
        part: _Part | None = None
        for held in self._levels:
            # What the lower levels make comes after what was complete before.
            parts = held if part is None else [*held, part]
            if parts:
                part = parts[0] if len(parts) == 1 else self._merge(parts)
        return part

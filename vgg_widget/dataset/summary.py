"""Per-channel summaries whose memory use does not depend on the number of images."""

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
"""The inner bin edges of every histogram: see `TopActivations.histogram_edges`."""
HISTOGRAM_EDGES.flags.writeable = False

BINS = HISTOGRAM_EDGES.size + 1


class Reduced(NamedTuple):
    """Some images' maps reduced to arrays of shape (images, channels).

    The statistic, the map's maximum, and the maximum's location. Of several equal maxima it is the
    one in the first row, and there in the first column.
    """

    values: Floats
    peaks: Floats
    rows: Ints
    columns: Ints

    @classmethod
    def of_none(cls, channels: int) -> Self:
        """Return the value for no images."""
        none = np.empty((0, channels))
        values, places = none.astype(np.float32), none.astype(np.int32)
        return cls(values, values, places, places)


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Per-channel results over some images; the channels of all layers are concatenated.

    Arrays over C channels: the `k` strongest `images` and their `values`, strongest first (padded
    with -1 and -inf), with the `rows` and `columns` of their maxima; the `histogram` of the
    statistic and its sum, `total`; the number of images that are `active` anywhere; and the number
    `counted`, those with a finite statistic.

    Arrays over all images: `sizes` (height and width as seen by the network, then original; 0 for
    unusable images) and `digests`. `failed` lists positions and reasons of unusable images.
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
        """Return the summary with all image positions moved by `start`."""
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
    """Summarise images: `reduced` holds those at ascending `places`, other arrays all images."""
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
    """Merge summaries in the order of their images; of equal values the earlier is kept."""

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
        # Add from first to last: another order would round differently.
        total=functools.reduce(np.add, [one.total for one in summaries]),
        sizes=joined("sizes"),
        digests=joined("digests"),
        failed=sum((one.failed for one in summaries), ()),
    )


_Part = TypeVar("_Part")


class MergeTree(Generic[_Part]):
    """Merges parts as they arrive, in a tree whose shape depends only on their number.

    The result is therefore identical to the last bit, however the parts are computed. Fewer than
    `FAN` parts are held on each level of the tree.
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
        """Return all added parts merged into one, or None if there were none."""
        part: _Part | None = None
        for held in self._levels:
            # Parts of lower levels come after those of higher levels.
            parts = held if part is None else [*held, part]
            if parts:
                part = parts[0] if len(parts) == 1 else self._merge(parts)
        return part

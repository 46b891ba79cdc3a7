"""Per-channel statistics, used by `Activations.statistics` and `Activations.rank`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_PIECE = 65_536
"""Number of values reduced at a time, chosen to fit the processor's cache."""

_SAMPLE = 20_000
"""Sample size from which a percentile is estimated."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelStatistics:
    """Per-channel statistics, each an ndarray of float32 with shape (C,) for C channels.

    Parameters
    ----------
    min, max, mean, std : ndarray
        Over the finite activations of each feature map, in activation units; 0 where none are
        finite.
    fraction_active : ndarray
        Share of locations whose activation is above 0.
    fraction_finite : ndarray
        Share of locations whose activation is neither NaN nor infinite: 1 in a sound network.
    """

    min: Floats
    max: Floats
    mean: Floats
    std: Floats
    fraction_active: Floats
    fraction_finite: Floats

    def of(self, channels: Sequence[int]) -> Self:
        """Return the statistics of the given channels, in the given order."""
        rows = (getattr(self, one.name)[list(channels)] for one in fields(self))
        return type(self)(*(_read_only(row) for row in rows))

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Which channels are 0 everywhere, shape (C,)."""
        whole = self.fraction_finite == 1
        return np.asarray((self.min == 0) & (self.max == 0) & whole)


def channel_statistics(maps: Floats, *, rectified: bool = False) -> ChannelStatistics:
    """Return the statistics of maps of shape (H, W, C), after applying a ReLU if `rectified`.

    The maps are read twice, in pieces that stay in the processor's cache. NumPy's functions called
    one after the other would allocate 100 MB for VGG19's largest layer.
    """
    locations = maps.reshape(-1, maps.shape[-1])
    count = locations.shape[-1]
    low, high = np.full(count, np.inf, np.float32), np.full(count, -np.inf, np.float32)
    # A float32 sum of 50,000 values would lose precision.
    total, squares = np.zeros(count), np.zeros(count)
    finite, active = np.zeros(count), np.zeros(count)
    for piece in _pieces(locations, rectified=rectified):
        active += _count_true(piece > 0)
        known = np.isfinite(piece)
        # Usually all values are finite, and reducing with a mask is slower than this check.
        whole = known.all()
        finite += len(piece) if whole else _count_true(known)
        where: Any = {} if whole else {"where": known}
        low = np.minimum(low, piece.min(0, initial=np.inf, **where))
        high = np.maximum(high, piece.max(0, initial=-np.inf, **where))
        total += piece.sum(0, dtype=np.float64, **where)
    none = finite == 0
    low[none] = high[none] = 0
    mean = total / np.maximum(finite, 1)
    for piece in _pieces(locations, rectified=rectified):
        apart = piece - mean
        if (finite < len(locations)).any():
            apart[~np.isfinite(piece)] = 0
        squares += np.einsum("nc,nc->c", apart, apart)
    numbers = (
        low,
        high,
        mean,
        np.sqrt(squares / np.maximum(finite, 1)),
        active / len(locations),
        finite / len(locations),
    )
    return ChannelStatistics(*(_read_only(row.astype(np.float32)) for row in numbers))


def _count_true(flags: npt.NDArray[np.bool_]) -> Floats:
    """Count the true values in each column, four times as fast as NumPy's own count."""
    numbers: Floats = np.ones(len(flags), np.float32) @ flags.astype(np.float32)
    return numbers


def _pieces(locations: Floats, *, rectified: bool) -> Iterator[Floats]:
    step = max(1, _PIECE // locations.shape[-1])
    for start in range(0, len(locations), step):
        piece = locations[start : start + step]
        yield np.maximum(piece, np.float32(0)) if rectified else piece


def spatial_entropy(maps: Floats) -> npt.NDArray[np.float64]:
    """Return the Shannon entropy, in bits, of each channel's magnitudes over its locations."""
    values = np.where(np.isfinite(maps), maps, np.float32(0)).reshape(-1, maps.shape[-1])
    magnitude = np.abs(values).astype(np.float64)
    total = magnitude.sum(axis=0)
    share = np.divide(magnitude, total, out=np.zeros_like(magnitude), where=total > 0)
    logarithm = np.log(share, out=np.zeros_like(share), where=share > 0)
    entropy: npt.NDArray[np.float64] = -(share * logarithm).sum(axis=0) / math.log(2)
    return entropy


def strongest_first(score: npt.NDArray[Any], dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return channel numbers by decreasing score, then channels scored NaN, then dead channels."""
    missing = np.isnan(score)
    falling = np.where(missing, 0, -score.astype(np.float64))
    return np.lexsort((falling, missing, dead))


def _read_only(array: Floats) -> Floats:
    array.flags.writeable = False
    return array


def top_of(values: npt.NDArray[Any] | Sequence[npt.NDArray[Any]], percentile: float) -> float:
    """Return `numpy.percentile` of the finite values above 0, or 0.0 where there are none.

    For several arrays, return the percentile of all their values, without copying all of them.
    """
    given = [values] if isinstance(values, np.ndarray) else values
    parts = [one if np.isfinite(one.max(initial=0.0)) else one[np.isfinite(one)] for one in given]
    if percentile >= 100:
        return max(float(one.max(initial=0.0)) for one in parts)
    counts = [int(np.count_nonzero(one > 0)) for one in parts]
    count = sum(counts)
    if not count:
        return 0.0
    # The percentile's position among the sorted positive values, counted from 0.
    place = (count - 1) * percentile / 100
    wanted = count - int(place)
    pairs = zip(parts, counts, strict=True)
    largest = np.concatenate([_largest(one, number, wanted) for one, number in pairs if number])
    if largest.size == 1:
        return float(largest[0])
    place -= count - largest.size
    return float(np.percentile(largest, min(100.0, 100 * place / (largest.size - 1))))


def _largest(values: npt.NDArray[Any], count: int, wanted: int) -> npt.NDArray[Any]:
    """Return at least the `wanted` largest of the `count` positive values.

    Discarding the millions of others first takes a tenth of the time of sorting all.
    """
    sample = values.reshape(-1)[:: 1 + values.size // _SAMPLE]
    sample = sample[sample > 0]
    share = 4 * wanted / count
    if sample.size and share < 0.5:
        found: npt.NDArray[Any] = values[values > np.quantile(sample, 1 - share)]
        if found.size >= wanted:
            return found
    return np.asarray(values[values > 0])

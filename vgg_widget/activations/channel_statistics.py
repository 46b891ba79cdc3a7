"""One number a channel: what `Activations.statistics` and `Activations.rank` are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Numbers that are taken together.
_PIECE = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class ChannelStatistics:
    """One number a channel, each an ndarray of float32 and shape (C,).

    Parameters
    ----------
    min, max, mean, std : ndarray
        Over all locations of the feature map whose activation is finite, in activation units; 0
        where there is none.
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

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Which channels are 0 everywhere, shape (C,)."""
        whole = self.fraction_finite == 1
        return np.asarray((self.min == 0) & (self.max == 0) & whole)


def channel_statistics(maps: Floats) -> ChannelStatistics:
    """Return min, max, mean, std and fraction active of each channel of (H, W, C) maps."""
    over = (0, 1)
    finite = np.isfinite(maps)
    rows = {name: np.zeros(maps.shape[-1], np.float32) for name in ("min", "max", "mean", "std")}
    whole: npt.NDArray[np.bool_] = np.asarray(finite.all(over))
    for channels, values in _finite_values(maps, finite, whole):
        # In float32 the sum of 50,000 values would lose digits.
        rows["min"][channels] = values.min(over)
        rows["max"][channels] = values.max(over)
        mean = values.mean(over, dtype=np.float64)
        rows["mean"][channels] = mean
        rows["std"][channels] = _std(values, mean)
    return ChannelStatistics(
        **{name: _read_only(row) for name, row in rows.items()},
        fraction_active=_read_only((maps > 0).mean(over, dtype=np.float64).astype(np.float32)),
        fraction_finite=_read_only(finite.mean(over, dtype=np.float64).astype(np.float32)),
    )


def _std(values: Floats, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the standard deviation over all but the last axis, in float64.

    In pieces that stay in the processor's cache, a third of the time of `numpy.std`, which fills
    100 MB for the largest layer of VGG19.
    """
    locations = values.reshape(-1, values.shape[-1])
    step = max(1, _PIECE // values.shape[-1])
    squares = np.zeros_like(mean)
    for start in range(0, len(locations), step):
        apart = locations[start : start + step] - mean
        squares += np.einsum("nc,nc->c", apart, apart)
    deviation: npt.NDArray[np.float64] = np.sqrt(squares / len(locations))
    return deviation


def _finite_values(
    maps: Floats, finite: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]
) -> Iterator[tuple[Any, Floats]]:
    """Give channels together where they can be, and one by one where values are missing."""
    if whole.all():
        yield slice(None), maps
        return
    if whole.any():
        yield whole, maps[..., whole]
    for channel in np.flatnonzero(~whole & finite.any((0, 1))):
        yield [channel], maps[finite[..., channel], channel][:, None, None]


def spatial_entropy(maps: Floats) -> npt.NDArray[np.float64]:
    """Return how evenly each channel's magnitude is spread over locations: Shannon entropy, bits.

    What is not finite counts as 0.
    """
    values = np.where(np.isfinite(maps), maps, np.float32(0)).reshape(-1, maps.shape[-1])
    magnitude = np.abs(values).astype(np.float64)
    total = magnitude.sum(axis=0)
    share = np.divide(magnitude, total, out=np.zeros_like(magnitude), where=total > 0)
    logarithm = np.log(share, out=np.zeros_like(share), where=share > 0)
    entropy: npt.NDArray[np.float64] = -(share * logarithm).sum(axis=0) / math.log(2)
    return entropy


def strongest_first(score: npt.NDArray[Any], dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return channel numbers by falling score; then those without one (NaN), then dead ones."""
    missing = np.isnan(score)
    falling = np.where(missing, 0, -score.astype(np.float64))
    return np.lexsort((falling, missing, dead))


def _read_only(array: Floats) -> Floats:
    array.flags.writeable = False
    return array

"""The distribution of a rendering's values over its display range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.tiles import gaps_between

# Up to `_ALL` values (a map of 256×256) all are counted; above, every n-th, about `_SOME`.
_ALL, _SOME = 1 << 16, 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of values in equal bins over a rendering's display range.

    Parameters
    ----------
    counts : ndarray of int, shape (bins,)
        Number of values in each bin, from its lower edge up to but excluding the upper edge; the
        last bin includes both.
    edges : ndarray of float, shape (bins + 1,)
        From `vmin` to `vmax`, in activation units, equally spaced (regardless of gamma).
    below, above : int
        Numbers of clipped values: below `vmin`, above `vmax`.
    step : int
        Sampling step: every `step`-th value was counted. Counts multiplied by `step` approximate
        those of all values.
    """

    counts: npt.NDArray[np.intp]
    edges: npt.NDArray[np.float64]
    below: int
    above: int
    step: int = 1


def histogram(rendering: Rendering, bins: int = 64) -> Histogram | None:
    """Count a rendering's values over its display range.

    Parameters
    ----------
    rendering : Rendering
        The result of `render`.
    bins : int
        Number of bins, at least 1.

    Returns
    -------
    Histogram or None
        NaN and the gaps between a grid's tiles are left out. Above 65,536 values, as in a grid,
        every n-th is counted: about 16,000, always the same ones. None if colours do not represent
        values over one nonempty range.

    Raises
    ------
    ValueError
        If `bins` is not a positive int.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(
            f"bins {bins!r} is not a valid number of bins: choose a whole number from 1."
        )
    vmin, vmax, values = rendering.vmin, rendering.vmax, rendering.values
    if values is None or vmin is None or vmax is None or not vmax > vmin:
        return None
    step = _step(values.shape)
    shown = values.reshape(-1)[::step]
    if rendering.tiles is not None:
        shown = shown[~gaps_between(rendering.tiles).reshape(-1)[::step]]
    # Comparing float32 values with float64 ends could report the ends themselves as clipped.
    low, high = np.float32(vmin), np.float32(vmax)
    below, above = np.count_nonzero(shown < low), np.count_nonzero(shown > high)
    # Very small and very large ranges would overflow float32.
    place = (shown.astype(np.float64) - vmin) / (vmax - vmin) * bins
    # Comparisons with NaN are false, so NaN is in no bin.
    place = place[(shown >= low) & (shown <= high)]
    counts = np.bincount(np.clip(place.astype(np.intp), 0, bins - 1), minlength=bins)
    return Histogram(counts, np.linspace(vmin, vmax, bins + 1), int(below), int(above), step)


def _step(shape: tuple[int, ...]) -> int:
    """Return a step through the flattened values that visits all columns equally often."""
    rows, columns = shape
    step = 1 if rows * columns <= _ALL else rows * columns // _SOME
    while math.gcd(step, columns) > 1:
        step += 1
    return step

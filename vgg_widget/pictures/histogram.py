"""How the values on show are distributed over their display range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.tiles import gaps_between

# All of a 256×256 image's map are counted; of more, every n-th, so that about this many are.
_ALL, _SOME = 1 << 16, 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Numbers of values in equal parts of a picture's display range.

    Parameters
    ----------
    counts : ndarray of int, shape (bins,)
        Of the values counted: from one edge up to, but without, the next; the last bin has its
        upper edge too.
    edges : ndarray of float, shape (bins + 1,)
        From `vmin` to `vmax`, in activation units, equally far apart (whatever the gamma).
    below, above : int
        Of the values counted, those that the range clips: smaller than `vmin`, larger than `vmax`.
    step : int
        Every how manieth value was counted: 1 is each. Times `step`, the numbers are near those of
        the whole picture.
    """

    counts: npt.NDArray[np.intp]
    edges: npt.NDArray[np.float64]
    below: int
    above: int
    step: int = 1


def histogram(rendering: Rendering, bins: int = 64) -> Histogram | None:
    """Count a picture's values over its display range.

    Parameters
    ----------
    rendering : Rendering
        What `render` made.
    bins : int
        Number of parts, at least 1.

    Returns
    -------
    Histogram or None
        NaN is left out, and so is what lies between the tiles of a grid. Of more than 65,536
        values, as a grid has, every n-th is counted, some 16,000 and always the same ones. None
        where colours do not stand for values over one range that is not empty.

    Raises
    ------
    ValueError
        If `bins` is no positive whole number.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins {bins!r} is no number of parts: choose a whole number from 1.")
    vmin, vmax, values = rendering.vmin, rendering.vmax, rendering.values
    if values is None or vmin is None or vmax is None or not vmax > vmin:
        return None
    step = _step(values.shape)
    shown = values.reshape(-1)[::step]
    if rendering.tiles is not None:
        shown = shown[~gaps_between(rendering.tiles).reshape(-1)[::step]]
    # float32 values against float64 ends would call the ends themselves clipped.
    low, high = np.float32(vmin), np.float32(vmax)
    below, above = np.count_nonzero(shown < low), np.count_nonzero(shown > high)
    # In float32 the smallest and largest of ranges would overflow.
    place = (shown.astype(np.float64) - vmin) / (vmax - vmin) * bins
    # Comparisons with NaN are false: it is in no bin.
    place = place[(shown >= low) & (shown <= high)]
    counts = np.bincount(np.clip(place.astype(np.intp), 0, bins - 1), minlength=bins)
    return Histogram(counts, np.linspace(vmin, vmax, bins + 1), int(below), int(above), step)


def _step(shape: tuple[int, ...]) -> int:
    """Return a step through the values, row after row, that visits all columns alike."""
    rows, columns = shape
    step = 1 if rows * columns <= _ALL else rows * columns // _SOME
    while math.gcd(step, columns) > 1:
        step += 1
    return step

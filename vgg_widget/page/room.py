"""Fits the rows and columns of each layer's maps into the space on a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

# With fewer than every eighth row and column, a map would be unrecognisable. So would a map with
# fewer units a side than half of this.
_MOST_STEP = 8
_LEAST_SIDE = 32

Shape = tuple[int, int, int]
"""Rows, columns and channels."""


def modes_step(step: int) -> int:
    """Return the step of a layer's ready-made pictures, which are few, for a step of its maps."""
    return max(1, step // 2)


def thinned(side: int, step: int) -> int:
    """Return the number of rows left of `side` if the first of each `step` is kept."""
    return math.ceil(side / step)


def layer_bytes(shape: Shape, step: int) -> int:
    """Return the size in bytes of a layer's maps and ready-made pictures before packing."""
    rows, columns, channels = shape
    of_modes = modes_step(step)
    # The largest value and the mean take a byte each, and the winner two.
    return channels * thinned(rows, step) * thinned(columns, step) + 4 * (
        thinned(rows, of_modes) * thinned(columns, of_modes)
    )


def fitting_steps(
    shapes: Sequence[Shape], ratios: Sequence[float], room: float, steps: Sequence[int]
) -> list[int]:
    """Return each layer's step between the rows and columns that are kept: 1, 2, 4 or 8.

    The layer that takes most space is halved repeatedly, until all layers fit or none can be
    halved any more.

    Parameters
    ----------
    shapes : sequence of (int, int, int)
        The shapes of the layers' maps.
    ratios : sequence of float
        Bytes on the page per byte of each layer.
    room : float
        Bytes that the page has for all layers.
    steps : sequence of int
        The steps to begin with.
    """
    found = list(steps)
    while True:
        together = zip(ratios, shapes, found, strict=True)
        sizes = [ratio * layer_bytes(shape, step) for ratio, shape, step in together]
        left = [
            n
            for n, (rows, columns, _) in enumerate(shapes)
            if found[n] < _MOST_STEP and thinned(min(rows, columns), found[n]) >= _LEAST_SIDE
        ]
        if sum(sizes) <= room or not left:
            return found
        found[max(left, key=sizes.__getitem__)] *= 2

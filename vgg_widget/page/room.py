"""How many rows and columns of each layer's maps a page has room for."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Of a map with fewer rows and columns than every eighth nobody could tell what it shows, nor of one
# of fewer units a side than half of these.
_MOST_STEP = 8
_LEAST_SIDE = 32

Shape = tuple[int, int, int]
"""Rows, columns and channels."""


def modes_step(step: int) -> int:
    """Return the step of a layer's ready-made pictures, of which there are few, by its maps'."""
    return max(1, step // 2)


def thinned(side: int, step: int) -> int:
    """Return how many of `side` rows there are, of each `step` the first."""
    return math.ceil(side / step)


def layer_bytes(shape: Shape, step: int) -> int:
    """Return how many bytes a layer's maps and ready-made pictures have before they are packed."""
    rows, columns, channels = shape
    of_modes = modes_step(step)
    # The largest value and the mean take a byte each, and the winner two.
    return channels * thinned(rows, step) * thinned(columns, step) + 4 * (
        thinned(rows, of_modes) * thinned(columns, of_modes)
    )


def fitting_steps(
    shapes: Sequence[Shape], ratios: Sequence[float], room: float, steps: Sequence[int]
) -> list[int]:
    """Return of each layer the step from one row and column that is kept to the next: 1, 2, 4 or 8.

    The layer that takes most room is halved, again and again, until all find room, or until no
    layer is left that can be halved.

    Parameters
    ----------
    shapes : sequence of (int, int, int)
        Of the layers' maps.
    ratios : sequence of float
        How many bytes of the page each layer's bytes become.
    room : float
        Bytes that the page has for all of them.
    steps : sequence of int
        Those from which to begin.
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

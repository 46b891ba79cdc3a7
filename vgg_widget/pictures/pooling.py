"""Ranges over several pictures: what each asks for by its own values is answered by all of theirs.

A mode's function looks at one picture, so nobody but the function knows which values a range is
taken from. Pictures of one layer and mode ask in the same order: what one asks at its n-th turn
belongs with what the others ask at theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pooled = Callable[[Floats], Floats]
"""One picture's values → those of every picture that is to be compared with it."""

T = TypeVar("T")


def alone(values: Floats) -> Floats:
    """Return the values as they are: those of a picture that is compared with none."""
    return values


def pooled_by_turns(count: int, make: Callable[[Sequence[Pooled]], T]) -> T:
    """Make pictures whose ranges are taken over the values of all of them.

    Parameters
    ----------
    count : int
        How many pictures.
    make : callable
        Makes all of them, given a function for each that turns its values into everybody's. It is
        called twice where any of them asks, since the last one's values are known only then.

    Returns
    -------
    object
        What `make` returned.
    """
    if count == 1:
        return make([alone])
    heard: list[list[Floats]] = [[] for _ in range(count)]
    made = make([_listener(turns) for turns in heard])
    if not any(heard):
        return made
    together = [
        np.concatenate([values.ravel() for values in turn if values is not None])
        for turn in zip_longest(*heard)
    ]
    return make([_answerer(together) for _ in range(count)])


def _listener(turns: list[Floats]) -> Pooled:
    def listen(values: Floats) -> Floats:
        turns.append(values)
        return values

    return listen


def _answerer(together: Sequence[Floats]) -> Pooled:
    turns = iter(together)
    # A function that asks more often the second time is answered with what it brings.
    return lambda values: next(turns, values)

"""`Attribution`: a map over the picture, and what it was made with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vgg_widget.support.messages import plain_number
from vgg_widget.support.provenance import Provenance

Floats = npt.NDArray[np.float32]
Location = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Completeness:
    """How far a map adds up to what it explains.

    Parameters
    ----------
    total : float
        The sum of the map, in the layer's activation.
    expected : float
        The value for the picture less the value for the baseline.
    """

    total: float
    expected: float

    @property
    def gap(self) -> float:
        """By how much of `expected` the total is off: 0 where it adds up exactly."""
        off = abs(self.total - self.expected)
        return off / abs(self.expected) if self.expected else float("inf") if off else 0.0

    def __str__(self) -> str:
        return f"{plain_number(self.total)} of {plain_number(self.expected)}"


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each pixel of the input has to do with one value; `attribute` makes it.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W)
        By input pixel, in `units`; read-only. Exactly 0 outside `box`.
    signed : bool
        Whether negative values mean something. If so, a positive one raises the value and a
        negative one lowers it.
    method : str
        As in `attribute`.
    target : str
        What is explained, in words.
    units : str
        Of `values`.
    value : float
        What is explained: the unit's activation, the sum of the map, or the class's score before
        the softmax. With random weights, theirs.
    layer : str
        The layer, by the name that was given.
    channel : int or None
        The channel; None for a class.
    location : (int, int) or None
        Row and column in the channel's map; None for its sum, and for a class.
    box : (top, left, bottom, right)
        The pixels on which the value can depend, half open.
    weights : Provenance
        The network's weights.
    colors : ndarray of float32, shape (H, W, 3), or None
        The parts of `values` that are red's, green's and blue's; None for occlusion and a class.
    completeness : Completeness or None
        Whether the map adds up to the value; None for methods that do not promise it.
    baseline : ndarray of float32, shape (H, W, 3) or (3,), or None
        The picture or colour, in RGB 0–255, that stands for "nothing there".
    samples : int
        How many pictures the network was given for it, beside the one at the baseline.
    noise : float or None
        SmoothGrad's standard deviation, in levels of 0–255.
    window, step : int or None
        Occlusion's square and the distance to the next one, in pixels.
    seed : int or None
        Of what is random; None where nothing is.
    randomised : str or None
        The layer from which on weights were shuffled.
    message : str
        What a person must know before believing the map, in a sentence; empty where there is
        nothing.
    """

    values: Floats = field(repr=False)
    signed: bool
    method: str
    target: str
    units: str
    value: float
    layer: str
    channel: int | None
    location: Location | None
    box: Box
    weights: Provenance = field(repr=False)
    colors: Floats | None = field(default=None, repr=False)
    completeness: Completeness | None = None
    baseline: Floats | None = field(default=None, repr=False)
    samples: int = 1
    noise: float | None = None
    window: int | None = None
    step: int | None = None
    seed: int | None = None
    randomised: str | None = None
    message: str = ""

    @property
    def dead(self) -> bool:
        """Whether the map is 0 everywhere; `message` says why."""
        return not self.values.any()

"""`Attribution`: a map over the image, with its settings."""

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
    """The agreement between a map's sum and the value that it explains.

    Parameters
    ----------
    total : float
        The sum of the map, in activation units.
    expected : float
        The value for the image minus the value for the baseline.
    """

    total: float
    expected: float

    @property
    def gap(self) -> float:
        """The relative error of `total`: 0 if it equals `expected`."""
        off = abs(self.total - self.expected)
        return off / abs(self.expected) if self.expected else float("inf") if off else 0.0

    def __str__(self) -> str:
        return f"{plain_number(self.total)} of {plain_number(self.expected)}"


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """The contribution of each input pixel to one value; returned by `attribute`.

    Parameters
    ----------
    values : ndarray of float32, shape (H, W)
        One number per input pixel, in `units`; read-only. Exactly 0 outside `box`.
    signed : bool
        Whether negative numbers occur. If so, positive ones raise the value and negative ones lower
        it.
    method : str
        As in `attribute`.
    target : str
        Description of the explained value.
    units : str
        Units of `values`.
    value : float
        The explained value: the unit's activation, the sum of the map, or the class's score before
        the softmax. With `randomised` weights, the value computed with them.
    layer : str
        The layer, by the given name.
    channel : int or None
        The channel; None for a class.
    location : (int, int) or None
        Row and column in the channel's map; None for its sum, and for a class.
    box : (top, left, bottom, right)
        The pixels that the value can depend on, half open.
    weights : Provenance
        The network's weights.
    colors : ndarray of float32, shape (H, W, 3), or None
        The parts of `values` due to red, green and blue; None for occlusion and for a class.
    completeness : Completeness or None
        Whether the map sums to the value; None for methods without this property.
    baseline : ndarray of float32, shape (H, W, 3) or (3,), or None
        The image or colour, in RGB 0–255, that represents the absence of a feature.
    samples : int
        Number of images that the network computed, besides the baseline.
    noise : float or None
        SmoothGrad's standard deviation, in levels of 0–255.
    window, step : int or None
        Side of the occluding square, and distance between squares, in pixels.
    seed : int or None
        Seed of random numbers; None if none were used.
    randomised : str or None
        The first layer whose weights were shuffled.
    message : str
        A warning about the interpretation of the map; empty if there is none.
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
        """Whether the map is 0 everywhere; `message` gives the reason."""
        return not self.values.any()

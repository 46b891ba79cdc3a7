"""Scales: the mapping of activations to a display range for colours.

A `Scale` is a policy (scope, percentile and gamma); a `DisplayRange` is the result of the policy
for one image, in activation units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.channel_statistics import top_of
from vgg_widget.support.messages import unknown_choice

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scale:
    """A policy for display ranges: their scope, top percentile and gamma.

    Parameters
    ----------
    scope : str
        ``"auto"`` and ``"channel"`` (the displayed image only), ``"layer"`` (all channels of its
        layer) or ``"network"`` (all layers). With ``"auto"``, a composite is also brightened.
    percentile : float
        The top of the range is this percentile (0 < p ≤ 100) of the positive values, or of the
        magnitudes if there are negative values.
    gamma : float
        Colours follow ``((value - vmin) / (vmax - vmin)) ** gamma``; below 1 lifts weak values.

    Raises
    ------
    ValueError
        If a field is outside its domain.
    """

    scope: str = "layer"
    percentile: float = 99.9
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(unknown_choice("scale", self.scope, SCOPES))
        for name in ("percentile", "gamma"):
            if not isinstance(getattr(self, name), Real):
                raise TypeError(f"{name} {getattr(self, name)!r} is not a number.")
        if not 0 < self.percentile <= 100:
            raise ValueError(
                f"percentile {self.percentile!r} is not a percentile: choose more than 0 and at "
                "most 100."
            )
        if not 0 < self.gamma < np.inf:
            raise ValueError(f"gamma {self.gamma!r} is not positive: choose 1 for none.")


SCOPES = ("auto", "channel", "layer", "network")

OWN_SCOPES = ("auto", "channel")
"""The scopes that take the range from the displayed image only."""

DEFAULT_SCALE = "auto"
"""The default scale."""

NAMED_SCALES: dict[str, Scale] = {
    # The percentile keeps a single spike from darkening the rest, and a gamma below 1 makes weak
    # activations visible.
    "auto": Scale("auto", percentile=99.5, gamma=0.6),
    # The textbook scale: up to the maximum, with nothing clipped.
    "channel": Scale("channel", percentile=100.0),
    # One outlier among millions of values must not darken all others.
    "layer": Scale("layer"),
    "network": Scale("network"),
}


def as_scale(scale: str | Scale) -> Scale:
    """Return the scale of that name, or raise ValueError; a `Scale` is returned unchanged."""
    if isinstance(scale, Scale):
        return scale
    if not isinstance(scale, str) or scale not in NAMED_SCALES:
        raise ValueError(unknown_choice("scale", scale, NAMED_SCALES))
    return NAMED_SCALES[scale]


@dataclass(frozen=True, slots=True)
class DisplayRange:
    """The activations at the two ends of the colormap.

    Parameters
    ----------
    vmin, vmax : float
        In activation units. Equal if all values are the same (a dead channel).
    gamma : float
        See `Scale`; for a range that begins below 0, gamma is applied symmetrically about its
        middle.
    """

    vmin: float
    vmax: float
    gamma: float = 1.0

    def normalise(self, values: npt.NDArray[Any]) -> Floats:
        """Map activations to 0–1, clipped; all 0 if the range is empty.

        Parameters
        ----------
        values : ndarray of float
            Activations, any shape.

        Returns
        -------
        ndarray of float32, the same shape
            For a range that begins below 0, `gamma` is applied symmetrically about its middle.
        """
        span = self.vmax - self.vmin
        if not span > 0:
            return np.zeros(values.shape, np.float32)
        unit = (values.astype(np.float32, copy=False) - np.float32(self.vmin)) / np.float32(span)
        np.clip(unit, 0, 1, out=unit)
        if self.gamma == 1:
            return unit
        if self.vmin < 0:
            signed = 2 * unit - 1
            bent: Floats = (np.sign(signed) * np.abs(signed) ** np.float32(self.gamma) + 1) / 2
            return bent
        unit **= np.float32(self.gamma)
        return unit

    def is_sound(self) -> bool:
        """Return whether the ends are finite and in order, and gamma is positive and finite."""
        span = self.vmax - self.vmin
        return 0 <= span < np.inf and abs(self.vmin) < np.inf and 0 < self.gamma < np.inf

    def clipped(self, values: npt.NDArray[Any]) -> tuple[bool, bool]:
        """Return whether any value lies below `vmin`, and whether any lies above `vmax`."""
        # Comparing float32 values with float64 ends could report the ends themselves as clipped.
        low, high = np.float32(self.vmin), np.float32(self.vmax)
        return bool((values < low).any()), bool((values > high).any())


def range_on(
    scale: Scale,
    layer: str,
    values: npt.NDArray[Any],
    over: Callable[[str | None, float], float],
    *,
    signed: bool,
) -> DisplayRange:
    """Return the display range of values on a scale.

    `over` returns a percentile over a layer's channels, or over all layers if the layer is None.
    """
    if scale.scope in OWN_SCOPES:
        top = top_of(np.abs(values) if signed else values, scale.percentile)
    else:
        top = over(layer if scale.scope == "layer" else None, scale.percentile)
    return range_up_to(top, signed=signed, gamma=scale.gamma)


def range_up_to(top: float, *, signed: bool, gamma: float = 1.0) -> DisplayRange:
    """Return the range from 0 to `top`, or from ``-top`` to `top` if `signed`."""
    return DisplayRange(-top if signed else 0.0, top, gamma)

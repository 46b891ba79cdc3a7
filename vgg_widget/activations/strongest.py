"""The strongest channels at a location."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vgg_widget.activations.mapping import Activations


@dataclass(frozen=True, slots=True)
class Strength:
    """A channel's activation at a location.

    Parameters
    ----------
    channel : int
        Channel number.
    value : float
        Its activation at the location.
    share : float
        `value` divided by the largest magnitude of any channel at the location, -1 to 1; 0 if all
        are 0.
    """

    channel: int
    value: float
    share: float


def strongest_at(
    activations: Activations, layer: str, row: int, column: int, count: int = 10
) -> tuple[Strength, ...]:
    """Return the channels with the largest activations at a location, strongest first.

    Parameters
    ----------
    activations : Activations
        Feature maps of an image.
    layer : str
        Any name of the layer.
    row, column : int
        Location in the feature map.
    count : int
        Largest number of channels to return; channels that are 0 at the location are left out.

    Raises
    ------
    LayerNameError, IndexError
        If there is no such layer or location.
    """
    values = activations.at(layer, row, column).astype(np.float64)
    most = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    order = activations.rank_at(layer, row, column)
    there = order[(values[order] != 0) & ~np.isnan(values[order])][:count]
    shares = np.where(np.isfinite(values), values / (most or 1), np.sign(values))
    return tuple(Strength(int(c), float(values[c]), float(shares[c])) for c in there)

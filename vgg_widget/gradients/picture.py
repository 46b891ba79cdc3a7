"""Coloured attributions, for display over the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vgg_widget.gradients.result import Attribution
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, KERNEL_CMAP, find_cmap
from vgg_widget.pictures.modes import RGBA8, coloured
from vgg_widget.pictures.scaling import DisplayRange, as_scale, range_up_to


@dataclass(frozen=True, slots=True, eq=False)
class AttributionPicture:
    """An attribution in colours.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (H, W, 4)
        Opaque inside the attribution's box and transparent outside. For signed attributions red
        raises the value, blue lowers it and white is 0; otherwise the colormap is magma.
    limits : DisplayRange
        The values at the ends of the colormap, in the attribution's units.
    """

    rgba: RGBA8 = field(repr=False)
    limits: DisplayRange


def attribution_pictures(found: Sequence[Attribution]) -> tuple[AttributionPicture, ...]:
    """Colour attributions over a common range.

    The range extends to the 99.5th percentile of the magnitudes inside the boxes, with a gamma of
    0.6, as in the scale ``"auto"`` for feature maps.

    Parameters
    ----------
    found : sequence of Attribution
        Attributions by the same method.

    Returns
    -------
    tuple of AttributionPicture
        One for each attribution.
    """
    scale = as_scale("auto")
    magnitudes = np.concatenate([np.abs(_box_values(one)).ravel() for one in found])
    above = magnitudes[magnitudes > 0]
    top = float(np.percentile(above, scale.percentile)) if above.size else 0.0
    limits = range_up_to(top, signed=found[0].signed, gamma=scale.gamma)
    return tuple(AttributionPicture(_coloured(one, limits), limits) for one in found)


def _box_values(one: Attribution) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    top, left, bottom, right = one.box
    part: np.ndarray[tuple[int, int], np.dtype[np.float32]] = one.values[top:bottom, left:right]
    return part


def _coloured(one: Attribution, limits: DisplayRange) -> RGBA8:
    cmap = find_cmap(KERNEL_CMAP if one.signed else DEFAULT_CMAP)
    # If all values are 0, the range is empty, but 0 must still have its usual colour.
    empty = DisplayRange(-1.0, 1.0) if one.signed else DisplayRange(0.0, 1.0)
    rgba = np.zeros((*one.values.shape, 4), np.uint8)
    top, left, bottom, right = one.box
    used = limits if limits.vmax > 0 else empty
    rgba[top:bottom, left:right] = coloured(used.normalise(_box_values(one)), cmap)
    rgba.flags.writeable = False
    return rgba

"""Feature maps in the format of one-file pages: a byte per unit, a range per channel, packed."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.channel_statistics import top_of
from vgg_widget.activations.mapping import Activations
from vgg_widget.pictures.rendering import render
from vgg_widget.pictures.scaling import NAMED_SCALES, Floats
from vgg_widget.support.html import decimals

STEPS = 254
"""The index of a channel's largest value; its least value has index 0."""

NO_NUMBER = 255
"""The index of NaN and infinite values."""

NO_CHANNEL = 65535
"""The winner at a location where no channel is active."""

# A whole piece is unpacked when one of its maps is shown.
_PIECE_BYTES = 1_000_000
_PIECE_MAPS = 64

_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class StoredMaps:
    """Some maps of one size as bytes, with the meaning of the bytes.

    Parameters
    ----------
    indices : ndarray of uint8, shape (channels, height, width)
        0 for a map's least value to `STEPS` for its largest, or `NO_NUMBER`.
    low, high : ndarray of float32
        Each map's least and largest value; the least is 0 in a layer without negative values.
    auto : ndarray of float64
        The top of each map's own range, as in the scale ``"auto"``.
    """

    indices: npt.NDArray[np.uint8]
    low: Floats
    high: Floats
    auto: npt.NDArray[np.float64]

    def ranges(self) -> dict[str, list[float | None]]:
        """Return the ranges in a form for JSON."""
        found = {"low": self.low, "high": self.high, "auto": self.auto.astype(np.float32)}
        return {name: decimals(values) for name, values in found.items()}


def stored_maps(maps: Floats, *, signed: bool, step: int = 1) -> StoredMaps:
    """Return maps as bytes, exact to 1/508 of each map's range.

    Parameters
    ----------
    maps : ndarray of float32, shape (height, width, channels)
        The maps of one layer.
    signed : bool
        Whether the layer has values of both signs.
    step : int
        The first of each `step` rows and columns is kept; ranges cover all of them.
    """
    height, width, channels = maps.shape
    # For VGG19's first layers on a large image, all channels at once would take gigabytes.
    together = max(1, _VALUES_AT_ONCE // (height * width))
    parts = [
        _stored_channels(maps[..., first : first + together], signed=signed, step=step)
        for first in range(0, channels, together)
    ]
    if len(parts) == 1:
        return parts[0]
    return StoredMaps(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.auto for part in parts]),
    )


def _stored_channels(maps: Floats, *, signed: bool, step: int) -> StoredMaps:
    values = np.ascontiguousarray(maps.transpose(2, 0, 1))
    finite = np.isfinite(values)
    whole = bool(finite.all())
    known = values if whole else np.where(finite, values, np.float32(0))
    high = known.max(axis=(1, 2))
    low = known.min(axis=(1, 2)) if signed else np.zeros_like(high)
    # The span of float32 values can overflow float32.
    span = high.astype(np.float64) - low
    factor = (STEPS / np.where(span > 0, span, np.inf)).astype(np.float32)
    scaled = (fewer(known, step) - low[:, None, None]) * factor[:, None, None]
    indices = np.rint(scaled, out=scaled).astype(np.uint8)
    if not whole:
        indices[~fewer(finite, step)] = NO_NUMBER
    percentile = NAMED_SCALES["auto"].percentile
    auto = [top_of(np.abs(one) if signed else one, percentile) for one in values]
    return StoredMaps(indices, low, high, np.array(auto))


def fewer(maps: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """Return the first of each `step` rows and columns, with unchanged values."""
    return maps[..., ::step, ::step]


def maps_in_a_piece(height: int, width: int) -> int:
    """Return how many maps of a size are packed together."""
    return max(1, min(_PIECE_MAPS, _PIECE_BYTES // (height * width)))


def packed_pieces(indices: npt.NDArray[np.uint8]) -> list[str]:
    """Return maps in packed pieces, as text; a page unpacks a piece to show one of its maps."""
    together = maps_in_a_piece(*indices.shape[1:])
    return [
        packed_text(indices[first : first + together].tobytes())
        for first in range(0, len(indices), together)
    ]


def packed_text(data: bytes) -> str:
    """Return bytes packed by zlib, in base64."""
    # Neighbouring values are similar, but apart from runs of 0 nothing repeats. Searching for runs
    # alone takes a sixth of the time of zlib's usual search, and makes maps 6 % smaller.
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return base64.b64encode(packer.compress(data) + packer.flush()).decode()


@dataclass(frozen=True, slots=True, eq=False)
class StoredModes:
    """A layer's ready-made pictures: the largest value, the mean, and the winning channel.

    Parameters
    ----------
    maps : StoredMaps
        Those of ``"max"`` and ``"mean"``, in this order.
    winners : ndarray of uint16, shape (height, width)
        The strongest channel; `NO_CHANNEL` if none is active.
    legend : list of dict
        The meaning of each colour of ``"argmax"``, as in `vgg_widget.pictures.legend`.
    """

    maps: StoredMaps
    winners: npt.NDArray[np.uint16]
    legend: list[dict[str, Any]]

    def packed(self, step: int = 1) -> str:
        """Return both maps, then the low and the high bytes of the winners, in one piece.

        The first of each `step` rows and columns is kept.
        """
        winners = fewer(self.winners, step)
        low, high = (winners & 255).astype(np.uint8), (winners >> 8).astype(np.uint8)
        maps = fewer(self.maps.indices, step)
        return packed_text(maps.tobytes() + low.tobytes() + high.tobytes())


def stored_modes(activations: Activations, layer: str) -> StoredModes:
    """Return a layer's pictures in the modes that take all channels."""
    values = [render(activations, layer, mode).values for mode in ("max", "mean")]
    maps = np.stack([one for one in values if one is not None], axis=-1)
    argmax = render(activations, layer, "argmax")
    assert argmax.values is not None
    winners = np.where(argmax.values < 0, NO_CHANNEL, argmax.values).astype(np.uint16)
    legend = [
        {
            "channel": entry.channel,
            "color": [round(255 * level) for level in entry.color],
            "words": entry.words,
        }
        for entry in argmax.legend
    ]
    return StoredModes(stored_maps(maps, signed=activations.signed(layer)), winners, legend)

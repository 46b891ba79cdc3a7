"""Legends: the channel of each colour, for modes with their own colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.scaling import Floats

# Number of levels of red, green and blue that colours are chosen from.
_LEVELS = 16
# The number of channels of VGG19's widest layers.
_FIRST = 512
# Lightness limits in thousandths: darker colours resemble the black of "no channel", paler ones the
# white background.
_DARKEST, _PALEST = 400, 950

# Matrices from linear sRGB to cone responses, and from their cube roots to lightness and two
# opponent axes: Björn Ottosson, "A perceptual color space for image processing" (2020),
# https://bottosson.github.io/posts/oklab/
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


OTHER_CHANNELS = (120, 120, 120)
"""The grey of channels without their own colour."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A colour of a rendering and its meaning.

    Parameters
    ----------
    channel : int or None
        The channel; None for a group of channels, and for locations of other channels or of none.
    color : (float, float, float)
        Red, green and blue in 0–1, as rendered where only this channel is active.
    label : str
        Text of the entry.
    share : float or None
        Share of the locations with this colour; None if colours mix.
    """

    channel: int | None
    color: tuple[float, float, float]
    label: str
    share: float | None = None

    @property
    def words(self) -> str:
        """The label, followed by the share of locations if there is one, such as ``"34%"``."""
        if self.share is None:
            return self.label
        return f"{self.label} · " + (f"{self.share:.0%}" if self.share >= 0.01 else "< 1%")


def first_entries(
    legend: tuple[LegendEntry, ...], most: int = 10
) -> tuple[tuple[LegendEntry, ...], int]:
    """Return the first `most` channels' entries, and the number of channels left out.

    Entries for other channels and for no channel are always included.
    """
    channels = [entry for entry in legend if entry.channel is not None]
    others = [entry for entry in legend if entry.channel is None]
    return (*channels[:most], *others), max(0, len(channels) - most)


def legend_of(
    channels: Sequence[int],
    colors: npt.NDArray[np.float64],
    shares: Sequence[float | None] | None = None,
) -> tuple[LegendEntry, ...]:
    """Return one entry per channel, in order; `colors` is RGB in 0–1, shape (K, 3)."""
    return tuple(
        LegendEntry(channel, tuple(color), f"channel {channel}", share)
        for channel, color, share in zip(
            channels, colors.tolist(), shares or [None] * len(channels), strict=True
        )
    )


def winners(
    channels: tuple[int, ...],
    palette: npt.NDArray[np.uint8],
    areas: npt.NDArray[np.intp],
    order: npt.NDArray[np.intp],
    locations: int,
) -> tuple[LegendEntry, ...]:
    """Return entries for the channels of `order`, all other channels, and locations of none.

    `palette`, of shape (K, 3), holds the channels' colours, and `areas` the number of locations,
    out of `locations`, at which each wins; `order` holds indices into both.
    """
    shares = (areas[order] / locations).tolist()
    found = legend_of([channels[place] for place in order], palette[order] / 255, shares)
    total = int(areas.sum())
    for count, colour, label in (
        (total - int(areas[order].sum()), OTHER_CHANNELS, "other channels"),
        (locations - total, (0, 0, 0), "no channel"),
    ):
        if count:
            red, green, blue = (level / 255 for level in colour)
            found = (*found, LegendEntry(None, (red, green, blue), label, count / locations))
    return found


def legend_of_both(
    first: tuple[LegendEntry, ...], second: tuple[LegendEntry, ...]
) -> tuple[LegendEntry, ...]:
    """Return the combined legend of two renderings of the same size, with averaged shares."""
    if any(entry.share is None for entry in (*first, *second)):
        return first
    shares: dict[str, float] = defaultdict(float)
    for entry in (*first, *second):
        shares[entry.label] += (entry.share or 0.0) / 2
    # Ties keep the order of the first rendering.
    entries = {entry.label: entry for entry in (*first, *second)}

    def place(label: str) -> tuple[bool, bool, float]:
        entry = entries[label]
        return entry.channel is None, entry.label == "no channel", -shares[label]

    return tuple(
        replace(entries[label], share=shares[label]) for label in sorted(entries, key=place)
    )


def channel_colors(channels: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return a fixed colour for each channel number, as uint8 of shape (K, 3).

    A channel's colour does not depend on the other channels. Colours come from a fixed list: each
    is the one, out of several thousand, that is farthest in the perceptual space OKLab from all
    before it and from black and white. The list repeats from number 3665 on.
    """
    choices, _ = _choices()
    numbers = np.asarray(channels, np.intp) % len(choices)
    # Computing the whole list takes ten times as long as its beginning, which usually suffices.
    count = _FIRST if numbers.max(initial=0) < _FIRST else len(choices)
    return choices[_farthest_first(count)[numbers]]


@cache
def _choices() -> tuple[npt.NDArray[np.uint8], Floats]:
    """Return colours that are neither dark nor pale, and their OKLab coordinates."""
    levels = np.linspace(0, 255, _LEVELS)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    places = _oklab(colors)
    seen = (places[:, 0] >= _DARKEST) & (places[:, 0] <= _PALEST)
    return colors[seen].astype(np.uint8), places[seen]


@cache
def _farthest_first(count: int) -> npt.NDArray[np.intp]:
    _, places = _choices()
    # Black marks locations where no channel wins, and white is the background.
    ends = _oklab(np.array([[0.0, 0, 0], [255, 255, 255]]))
    squares = (places**2).sum(axis=-1)

    def squared_distances(place: Floats) -> Floats:
        squared: Floats = squares - 2 * (places @ place) + place @ place
        return squared

    distance = np.minimum(*(squared_distances(end) for end in ends))
    found = np.empty(count, np.intp)
    for place in range(count):
        found[place] = distance.argmax()
        np.minimum(distance, squared_distances(places[found[place]]), out=distance)
    return found


def _oklab(colors: npt.NDArray[np.float64]) -> Floats:
    """Convert RGB in 0–255 to lightness and the two opponent axes, in thousandths."""
    # Rounded to integers, whose squares float32 holds exactly, so the list is the same on every
    # machine.
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: Floats = np.rint(1000 * np.cbrt(linear @ _CONES.T) @ _OPPONENTS.T).astype(np.float32)
    return lab

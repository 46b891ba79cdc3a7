"""Which colour of a picture stands for which channel, where that is no colormap's affair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One colour of a picture, and what it stands for.

    Parameters
    ----------
    channel : int or None
        The channel; None for the locations where no channel is active.
    color : (float, float, float)
        Red, green and blue in 0–1, as on the picture where the channel is alone.
    label : str
        In words.
    share : float or None
        Share of the locations that have this colour; None where colours mix.
    """

    channel: int | None
    color: tuple[float, float, float]
    label: str
    share: float | None = None

    @property
    def words(self) -> str:
        """The label, and the share of the locations where there is one, such as ``"34%"``."""
        if self.share is None:
            return self.label
        return f"{self.label} · " + (f"{self.share:.0%}" if self.share >= 0.01 else "< 1%")


def first_entries(
    legend: tuple[LegendEntry, ...], most: int = 10
) -> tuple[tuple[LegendEntry, ...], int]:
    """Return the first channels, at most `most`, and how many channels are left out.

    The entry for locations where no channel is active is always among them.
    """
    channels = [entry for entry in legend if entry.channel is not None]
    others = [entry for entry in legend if entry.channel is None]
    return (*channels[:most], *others), max(0, len(channels) - most)


def legend_of(
    channels: tuple[int, ...], colors: npt.NDArray[np.float64]
) -> tuple[LegendEntry, ...]:
    """Return an entry a channel, in their order, of RGB colours in 0–1 and shape (K, 3)."""
    return tuple(map(_entry, channels, colors.tolist()))


def winners(
    channels: tuple[int, ...],
    palette: npt.NDArray[np.uint8],
    areas: npt.NDArray[np.intp],
    locations: int,
) -> tuple[LegendEntry, ...]:
    """Return the channels that win anywhere, the one with the largest area first.

    `palette`, of shape (K, 3), holds the channels' colours, and `areas` at how many of all
    `locations` each wins. Those where none wins are black, and come last.
    """
    order = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
    ranked = [channels[place] for place in order]
    shares = (areas[order] / locations).tolist()
    found = list(map(_entry, ranked, (palette[order] / 255).tolist(), shares))
    silent = locations - int(areas.sum())
    if silent:
        found.append(LegendEntry(None, (0.0, 0.0, 0.0), "no channel", silent / locations))
    return tuple(found)


def legend_of_both(
    first: tuple[LegendEntry, ...], second: tuple[LegendEntry, ...]
) -> tuple[LegendEntry, ...]:
    """Return the legend of two pictures of one size together: each area is the mean of its two."""
    if any(entry.share is None for entry in (*first, *second)):
        return first
    both: dict[int | None, LegendEntry] = {}
    for entry in (*first, *second):
        before = both.get(entry.channel)
        share = ((before.share if before else None) or 0.0) + (entry.share or 0.0) / 2
        both[entry.channel] = replace(entry, share=share)
    ranked = sorted(both.values(), key=lambda entry: (entry.channel is None, -(entry.share or 0)))
    return tuple(ranked)


def _entry(channel: int, color: list[float], share: float | None = None) -> LegendEntry:
    red, green, blue = color
    return LegendEntry(channel, (red, green, blue), f"channel {channel}", share)

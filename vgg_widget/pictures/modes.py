"""How channels become one picture: one function a mode, in a registry.

A mode's function gets the chosen channels' maps and says what to show: a 2-D array of values, to
be coloured by the colormap over the display range, or an RGB array, or a `Picture` that says more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, hsv_to_rgb

from vgg_widget.activations.channel_statistics import top_of
from vgg_widget.pictures.groups import amounts, factorised
from vgg_widget.pictures.legend import (
    OTHER_CHANNELS,
    LegendEntry,
    channel_colors,
    legend_of,
    winners,
)
from vgg_widget.pictures.scaling import OWN_SCOPES, DisplayRange, Floats
from vgg_widget.pictures.tiles import (
    TileGrid,
    about_square,
    gaps_between,
    hatching,
    montage,
)
from vgg_widget.support.messages import unknown_choice

RGBA8 = npt.NDArray[np.uint8]
ValuesAre = Literal["activation", "channel", "difference", "distance", "mismatch"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a mode's function made, before `render` adds colours, range and title.

    Parameters
    ----------
    values : ndarray of float32, shape (h, w), or None
        In activation units; coloured by the colormap unless `rgba` is given.
    rgba : ndarray of uint8, shape (h, w, 4), or None
        Final colours.
    range : DisplayRange or None
        What the colormap's ends stand for, where it is not the scale's own answer.
    tiles : TileGrid or None
        For a grid, which channel is where.
    blank : ndarray of bool, shape (h, w), or None
        Pixels that belong to no location; they are drawn transparent.
    hatched : ndarray of bool, shape (h, w), or None
        Pixels that are drawn grey, whatever their value: lines over the tile of a dead channel.
    legend : tuple of LegendEntry
        Which colour stands for which channel, where the mode has colours of its own.
    values_are : {"activation", "channel"}
        What the values are: activations, or the number of a channel (-1 for none).
    range_words : str
        Over which range activations became colours, in words, where it is not the scale's own
        answer.
    """

    values: Floats | None = None
    rgba: RGBA8 | None = None
    range: DisplayRange | None = None
    tiles: TileGrid | None = None
    blank: npt.NDArray[np.bool_] | None = None
    hatched: npt.NDArray[np.bool_] | None = None
    legend: tuple[LegendEntry, ...] = ()
    values_are: ValuesAre = "activation"
    range_words: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A finished picture of some channels of a layer, and what it means.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (h, w, 4)
        The colours.
    values : ndarray of float32, shape (h, w), or None
        What the colours stand for; `values_are` says what they are. None where a colour is not one
        value.
    vmin, vmax : float or None
        The activations at the two ends of the colormap; None where there is no common range.
        Equal for a dead channel on its own scale.
    cmap : str or None
        The colormap's name; None where the mode has colours of its own.
    title : str
        Layer, mode and channels in words.
    layer, mode, scale : str
        As asked for; `scale` is its scope.
    channels : tuple of int
        The channels that went in.
    gamma : float
        See `vgg_widget.pictures.scaling.Scale`.
    clipped : (bool, bool)
        Whether values below `vmin` and above `vmax` are shown.
    note : str
        ``"dead"`` or ``"constant"`` where the picture holds one value only, else empty.
    tiles : TileGrid or None
        For a grid, which channel is in which tile.
    colormap : Colormap or None
        What `cmap` names.
    hidden : int
        How many dead channels were left out, as `render` was told to.
    legend : tuple of LegendEntry
        Which colour stands for which channel: for ``argmax`` the twelve channels that win at most
        locations, by area, then all others together, then the locations where none is active;
        for ``rgb`` and ``rainbow`` the channels as they were chosen; for ``groups`` the channels
        that count most in each. Empty where colours are the colormap's.
    values_are : str
        ``"activation"``, in activation units; or ``"channel"``, the number of the strongest
        channel, -1 where none is active. Of two pictures compared: a ``"difference"`` or
        ``"distance"`` in activation units; or a ``"mismatch"``, 1 where the two differ and else 0.
    range_words : str
        See `Picture`.
    """

    rgba: RGBA8
    values: Floats | None
    vmin: float | None
    vmax: float | None
    cmap: str | None
    title: str
    layer: str
    mode: str
    scale: str
    channels: tuple[int, ...]
    gamma: float = 1.0
    clipped: tuple[bool, bool] = (False, False)
    note: str = ""
    tiles: TileGrid | None = None
    colormap: Colormap | None = None
    hidden: int = 0
    legend: tuple[LegendEntry, ...] = ()
    values_are: ValuesAre = "activation"
    range_words: str = ""


Pooled = Callable[[Floats], Floats]
"""One picture's values → those of every picture that is to be compared with it."""


def alone(values: Floats) -> Floats:
    """Return the values as they are: those of a picture that is compared with none."""
    return values


@dataclass(frozen=True, slots=True, eq=False)
class ModeRequest:
    """What a mode's function may want to know beside the maps.

    Parameters
    ----------
    layer : str
        The layer's name.
    channels : tuple of int
        The maps' channel numbers, in the order of their last axis.
    cmap : Colormap
        The chosen colormap.
    scope : str
        The scale's scope: ``"auto"``, ``"channel"``, ``"layer"`` or ``"network"``.
    range_of : callable
        Values → `DisplayRange` that the chosen scale gives them.
    pooled : callable
        Values → those of every picture that this one is to be compared with, as a flat array; the
        values as they are for a picture by itself. `range_of` asks it already.
    """

    layer: str
    channels: tuple[int, ...]
    cmap: Colormap
    scope: str
    range_of: Callable[[Floats], DisplayRange]
    pooled: Pooled = alone


ModeFunction = Callable[[Floats, ModeRequest], "Picture | npt.NDArray[Any]"]
Takes = Literal["one", "all", "some"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way of seeing, as registered; see `register_mode` for the fields."""

    name: str
    function: ModeFunction = field(repr=False)
    takes: Takes
    count: int | None
    phrase: str
    uses_cmap: bool
    uses_scale: bool
    tiled: bool = False
    range_words: str = ""
    built_in: bool = False


MODES: dict[str, Mode] = {}
"""The registry, in the order in which the explorer lists it."""

DEFAULT_MODE = "channel"
"""The mode that shows one channel as it is."""

TILED_MODE = "grid"
"""The built-in mode that shows channels side by side."""

COLOURED = 12
"""How many channels of the mode ``"argmax"`` have a colour of their own."""

GROUPS = 6
"""How many groups the mode ``"groups"`` finds."""

IN_LEGEND = 2
"""How many channels of each group the legend names."""

DEFAULT_SOME = 6
"""How many channels a mode that takes some shows when none are named."""


def register_mode(
    name: str,
    *,
    takes: Takes = "all",
    count: int | None = None,
    phrase: str | None = None,
    uses_cmap: bool = True,
    uses_scale: bool = True,
    tiled: bool = False,
    range_words: str = "",
) -> Callable[[ModeFunction], ModeFunction]:
    """Add a way of seeing; it can then be named in `render` and `plot`, and is in the explorer.

    Parameters
    ----------
    name : str
        What it is called. A mode of your own can be replaced by registering it again.
    takes : {"all", "some", "one"}
        Whether the function gets all channels unless some are named, the most telling few (see
        `telling_channels`) unless others are named, or the one channel on view.
    count : int, optional
        The exact number of channels that the function needs.
    phrase : str, optional
        For titles; may hold ``{channels}`` and ``{count}``. The name by default.
    uses_cmap, uses_scale : bool
        Whether the colormap and the scale change the picture; the explorer greys them out if not.
    tiled : bool
        Whether channels lie side by side, so that they can be put in order and dead ones left out.
    range_words : str
        Over which range activations become colours where the scale is not used, in words.

    Returns
    -------
    callable
        A decorator for ``function(maps, request)``: `maps` is float32 of shape (H, W, K) and
        read-only, `request` a `ModeRequest`. It returns values of shape (h, w), RGB of shape
        (h, w, 3) as floats in 0–1 or as uint8, or a `Picture`.

    Raises
    ------
    ValueError
        If the name is a built-in mode's, or no name at all, or `takes` is not known.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, register_mode, render, sample_image
    >>> @register_mode("range", phrase="range of {count} channels")
    ... def range_over_channels(maps, request):
    ...     return maps.max(axis=-1) - maps.min(axis=-1)
    >>> activations = FeatureExtractor("random", size=64)(sample_image())
    >>> render(activations, "block2_conv1", "range").title
    'block2_conv1 · range of 128 channels'
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name {name!r} cannot name a mode: give it a word.")
    if takes not in ("all", "some", "one"):
        raise ValueError(unknown_choice("takes", takes, ("all", "some", "one")))
    if name in MODES and MODES[name].built_in:
        raise ValueError(f"name {name!r} is a built-in mode: choose another.")

    def add(function: ModeFunction) -> ModeFunction:
        fixed = function.__module__ == __name__
        chosen = takes, count, phrase or name, uses_cmap, uses_scale, tiled, range_words
        MODES[name] = Mode(name, function, *chosen, built_in=fixed)
        return function

    return add


def find_mode(name: object) -> Mode:
    """Return the mode of that name, or raise ValueError naming the nearest."""
    if not isinstance(name, str) or name not in MODES:
        raise ValueError(unknown_choice("mode", name, MODES))
    return MODES[name]


def coloured(unit: Floats, cmap: Colormap) -> RGBA8:
    """Colour values in 0–1, from the colormap's first entry to its last, as matplotlib does."""
    table = cmap(np.arange(cmap.N), bytes=True)
    rgba: RGBA8 = table.take(_entries(unit, cmap), axis=0)
    return rgba


def _entries(unit: Floats, cmap: Colormap) -> npt.NDArray[np.intp]:
    # A network of somebody's own may give NaN, which is no colour: the first entry stands for it.
    finite = np.nan_to_num(unit, copy=False) if np.isnan(unit).any() else unit
    return np.minimum((finite * np.float32(cmap.N)).astype(np.intp), cmap.N - 1)


def as_rgba(colours: npt.NDArray[Any]) -> RGBA8:
    """Give RGB(A) colours, floats in 0–1 or uint8, as uint8 RGBA."""
    if colours.dtype != np.uint8:
        colours = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    if colours.shape[-1] == 4:
        return colours
    opaque = np.full((*colours.shape[:2], 1), 255, np.uint8)
    return np.concatenate([colours, opaque], axis=-1)


@register_mode(DEFAULT_MODE, takes="one", phrase="channel {channels}")
def _channel(maps: Floats, _: ModeRequest) -> npt.NDArray[Any]:
    return maps[..., 0]


@register_mode(TILED_MODE, phrase="{count} channels", tiled=True)
def _grid(maps: Floats, request: ModeRequest) -> Picture:
    height, width, count = maps.shape
    gap = 1 if min(height, width) < 64 else 2
    columns = about_square(count, (height + gap) / (width + gap))
    tiles = TileGrid(request.channels, columns, height, width, gap)
    picture = tiled_picture(montage(maps, tiles), tiles, request)
    return replace(picture, hatched=hatching(maps, tiles))


def tiled_picture(values: Floats, tiles: TileGrid, request: ModeRequest) -> Picture:
    """Return the picture of a montage: over one range, or each tile over its own."""
    gaps = gaps_between(tiles)
    if request.scope not in OWN_SCOPES:
        return Picture(values=values, tiles=tiles, blank=gaps)
    # A colour then stands for another value in each tile.
    unit = np.zeros_like(values)
    for position in range(len(tiles.channels)):
        top, left, bottom, right = tiles.box(position)
        tile = values[top:bottom, left:right]
        unit[top:bottom, left:right] = request.range_of(tile).normalise(tile)
    rgba = coloured(unit, request.cmap)
    rgba[gaps] = 0
    return Picture(values=values, rgba=rgba, tiles=tiles)


@register_mode("max", phrase="maximum over {count} channels")
def _max(maps: Floats, _: ModeRequest) -> npt.NDArray[Any]:
    largest: Floats = maps.max(axis=-1)
    return largest


@register_mode("mean", phrase="mean over {count} channels")
def _mean(maps: Floats, _: ModeRequest) -> npt.NDArray[Any]:
    average: Floats = maps.mean(axis=-1, dtype=np.float32)
    return average


@register_mode("argmax", phrase="strongest of {count} channels", uses_cmap=False, uses_scale=False)
def _argmax(maps: Floats, request: ModeRequest) -> Picture:
    # NumPy takes NaN for the largest, and it is no activation.
    known = np.where(np.isnan(maps), -np.inf, maps) if np.isnan(maps.max()) else maps
    winner = known.argmax(axis=-1)
    numbers = np.asarray(request.channels)[winner].astype(np.float32)
    # After a ReLU a location where every channel is 0 has no winner, only a first one.
    silent = ((known == 0) | np.isneginf(known)).all(axis=-1)
    numbers[silent] = -1
    palette = channel_colors(request.channels)
    # Hundreds of colours are noise: those that win most have one, in pictures that are compared
    # the same ones.
    won = request.pooled(np.where(silent, -1, winner).astype(np.float32)).astype(np.intp)
    together = np.bincount(won[won >= 0], minlength=len(palette))
    order = np.argsort(-together, kind="stable")[: min(COLOURED, np.count_nonzero(together))]
    shown = np.full_like(palette, OTHER_CHANNELS)
    shown[order] = palette[order]
    colours = as_rgba(shown[winner])
    colours[silent] = (0, 0, 0, 255)
    areas = np.bincount(winner[~silent], minlength=len(palette))
    legend = winners(request.channels, palette, areas, order, silent.size)
    return Picture(values=numbers, rgba=colours, legend=legend, values_are="channel")


@register_mode("composite", takes="some", phrase="composite of {channels}")
def _composite(maps: Floats, request: ModeRequest) -> Picture:
    table = request.cmap(np.arange(request.cmap.N))[:, :3].astype(np.float32)
    total = np.zeros((*maps.shape[:2], 3), np.float32)
    auto = request.scope == "auto"
    for k in range(maps.shape[-1]):
        channel = maps[..., k]
        if auto:
            unit = _unit(channel, request)
        else:
            top = top_of(request.pooled(channel), 100.0)
            unit = DisplayRange(0.0, top).normalise(channel)
        total += table.take(_entries(unit, request.cmap), axis=0)
    total /= np.float32(maps.shape[-1])
    if not auto:
        return Picture(rgba=as_rgba(total), range_words="each channel over its own maximum")
    # Channels that differ are seldom bright at the same place, and their mean is dark. One factor
    # for the whole picture keeps every hue.
    brightest = top_of(request.pooled(total.max(axis=-1)), 99.5)
    total /= np.float32(brightest or 1)
    words = "each channel over its own range, and the whole made brighter"
    return Picture(rgba=as_rgba(total), range_words=words)


@register_mode(
    "rgb", takes="some", count=3, phrase="red, green, blue = {channels}", uses_cmap=False
)
def _rgb(maps: Floats, request: ModeRequest) -> Picture:
    return _lights(maps, request, np.eye(3))


@register_mode("rainbow", takes="some", phrase="a hue each for {channels}", uses_cmap=False)
def _rainbow(maps: Floats, request: ModeRequest) -> Picture:
    count = maps.shape[-1]
    hue = np.arange(count) / count
    return _lights(maps, request, hsv_to_rgb(np.stack([hue, np.ones(count), np.ones(count)], -1)))


def _lights(maps: Floats, request: ModeRequest, colours: npt.NDArray[np.float64]) -> Picture:
    """Add one light a channel, as bright as the channel is active."""
    units = np.stack([_unit(maps[..., k], request) for k in range(maps.shape[-1])], axis=-1)
    mixed: Floats = units @ colours.astype(np.float32)
    return Picture(rgba=as_rgba(mixed), legend=legend_of(request.channels, colours))


def _unit(values: Floats, request: ModeRequest) -> Floats:
    limits = request.range_of(values)
    if limits.vmin < 0:
        # As light, an activation below 0 is as dark as none.
        limits = DisplayRange(0.0, limits.vmax, limits.gamma)
    # Light of no known strength is none.
    return np.nan_to_num(limits.normalise(values), copy=False)


# A group with less of all that there is is not seen, and a channel with less of a group's largest
# does not count in it.
_LEAST, _COUNTS = 1e-5, 0.05


def _group_words(mixture: Floats, channels: Sequence[int]) -> str:
    """Name the channels that count most in a group, of those that count at all."""
    order = np.argsort(-mixture, kind="stable")
    counting = [channels[one] for one in order if mixture[one] >= _COUNTS * mixture[order[0]]]
    more = " …" if len(counting) > IN_LEGEND else ""
    return " + ".join(map(str, counting[:IN_LEGEND])) + more


@register_mode("groups", phrase="{count} channels in groups", uses_cmap=False, uses_scale=False)
def _groups(maps: Floats, request: ModeRequest) -> Picture:
    height, width, count = maps.shape
    # In pictures that are compared they are the same groups.
    every = request.pooled(maps).reshape(-1, count)
    places, mixtures = factorised(every, GROUPS)
    if len(every) > height * width:
        places = amounts(maps.reshape(-1, count), mixtures)
    found = len(mixtures)
    hue = np.arange(found) / GROUPS
    colours = hsv_to_rgb(np.stack([hue, np.full(found, 0.85), np.ones(found)], axis=-1))
    # The hue says which groups are there, and the brightness how much of all together.
    strength = places.sum(axis=-1)
    limits = DisplayRange(0.0, top_of(request.pooled(strength), 99.5), 0.6)
    shares = places / np.maximum(strength, np.float32(1e-12))[:, np.newaxis]
    lit = shares @ colours.astype(np.float32) * limits.normalise(strength)[:, np.newaxis]
    # Groups that are seen, and of each the channels that count.
    amount = np.square(places, dtype=np.float64).sum(axis=0)
    seen = amount > _LEAST * amount.sum()
    legend = tuple(
        LegendEntry(None, tuple(colour), _group_words(mixture, request.channels))
        for colour, mixture, there in zip(colours.tolist(), mixtures, seen, strict=True)
        if there
    )
    words = "all groups over one range"
    return Picture(rgba=as_rgba(lit.reshape(height, width, 3)), legend=legend, range_words=words)

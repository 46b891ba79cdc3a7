"""Modes: functions that combine channels into one image, in a registry.

A mode's function takes the chosen channels' maps and returns a 2-D array of values, which is
coloured by the colormap over the display range, or an RGB array, or a `Picture` with details.
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
    """The result of a mode's function, before `render` adds colours, range and title.

    Parameters
    ----------
    values : ndarray of float32, shape (h, w), or None
        In activation units; coloured by the colormap unless `rgba` is given.
    rgba : ndarray of uint8, shape (h, w, 4), or None
        Final colours.
    range : DisplayRange or None
        The values at the colormap's ends, if not determined by the scale.
    tiles : TileGrid or None
        For a grid, the position of each channel.
    blank : ndarray of bool, shape (h, w), or None
        Pixels outside all locations, drawn transparent.
    hatched : ndarray of bool, shape (h, w), or None
        Pixels drawn grey regardless of their value: the lines over a dead channel's tile.
    legend : tuple of LegendEntry
        The colours of channels, if the mode has its own colours.
    values_are : {"activation", "channel"}
        The meaning of the values: activations, or the number of a channel (-1 for none).
    range_words : str
        The range over which activations were coloured, in words, if not determined by the scale.
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
    """A finished image of some channels of a layer, with the meaning of its colours.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (h, w, 4)
        The colours.
    values : ndarray of float32, shape (h, w), or None
        The values that colours represent; see `values_are`. None if a colour does not represent a
        single value.
    vmin, vmax : float or None
        The activations at the ends of the colormap; None if there is no common range. Equal for a
        dead channel on its own scale.
    cmap : str or None
        The colormap's name; None if the mode has its own colours.
    title : str
        Layer, mode and channels in words.
    layer, mode, scale : str
        As requested; `scale` is the scope.
    channels : tuple of int
        The channels shown.
    gamma : float
        See `vgg_widget.pictures.scaling.Scale`.
    clipped : (bool, bool)
        Whether values below `vmin` and above `vmax` are shown.
    note : str
        ``"dead"`` or ``"constant"`` if there is only one value, otherwise empty.
    tiles : TileGrid or None
        For a grid, the channel of each tile.
    colormap : Colormap or None
        The colormap named by `cmap`.
    hidden : int
        Number of dead channels left out with ``hide_dead``.
    legend : tuple of LegendEntry
        The meaning of colours. For ``argmax``: the twelve channels that win at the most locations,
        by area, then all others together, then the locations where none is active. For ``rgb`` and
        ``rainbow``: the chosen channels. For ``groups``: the main channels of each group. Empty if
        colours come from the colormap.
    values_are : str
        ``"activation"``, in activation units; or ``"channel"``, the number of the strongest
        channel, -1 where none is active. For a comparison of two images: a ``"difference"`` or
        ``"distance"`` in activation units, or a ``"mismatch"``, 1 where the two differ and 0
        elsewhere.
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
"""Maps one image's values to those of all images that it is compared with."""


def alone(values: Floats) -> Floats:
    """Return the values unchanged, for an image that is not compared."""
    return values


@dataclass(frozen=True, slots=True, eq=False)
class ModeRequest:
    """Information for a mode's function in addition to the maps.

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
        Function from values to their `DisplayRange` on the chosen scale.
    pooled : callable
        Function from values to those of all images that this one is compared with, as a flat array;
        returns the values unchanged for a single image. `range_of` already applies it.
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
    """A registered mode; see `register_mode` for the fields."""

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
"""The registry of modes, in the order of the explorer's list."""

DEFAULT_MODE = "channel"
"""The mode that shows a single channel."""

TILED_MODE = "grid"
"""The built-in mode that shows channels side by side."""

COLOURED = 12
"""Number of channels with their own colour in the mode ``"argmax"``."""

GROUPS = 6
"""Number of groups in the mode ``"groups"``."""

IN_LEGEND = 2
"""Number of channels that the legend names for each group."""

DEFAULT_SOME = 6
"""Number of channels shown by default in modes that take some."""


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
    """Register a mode for `render`, `plot` and the explorer.

    Parameters
    ----------
    name : str
        The mode's name. Registering one of your own modes again replaces it.
    takes : {"all", "some", "one"}
        Channels passed to the function by default: all, the most informative few (see
        `telling_channels`), or the one displayed channel.
    count : int, optional
        The exact number of channels required.
    phrase : str, optional
        Text for titles, which may contain ``{channels}`` and ``{count}``. The name by default.
    uses_cmap, uses_scale : bool
        Whether the mode depends on the colormap and the scale; otherwise the explorer disables
        them.
    tiled : bool
        Whether channels are shown side by side, so that they can be sorted and dead ones hidden.
    range_words : str
        The range over which activations are coloured, in words, if the scale is not used.

    Returns
    -------
    callable
        A decorator for ``function(maps, request)``: `maps` is float32 of shape (H, W, K) and
        read-only, `request` a `ModeRequest`. It returns values of shape (h, w), RGB of shape
        (h, w, 3) as floats in 0–1 or as uint8, or a `Picture`.

    Raises
    ------
    ValueError
        If the name is empty, not a str or that of a built-in mode, or `takes` is unknown.

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
        raise ValueError(f"name {name!r} cannot name a mode: give a nonempty str.")
    if takes not in ("all", "some", "one"):
        raise ValueError(unknown_choice("takes", takes, ("all", "some", "one")))
    if name in MODES and MODES[name].built_in:
        raise ValueError(f"name {name!r} is a built-in mode: choose another name.")

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
    # A user's network may give NaN, which is shown as the first entry.
    finite = np.nan_to_num(unit, copy=False) if np.isnan(unit).any() else unit
    return np.minimum((finite * np.float32(cmap.N)).astype(np.intp), cmap.N - 1)


def as_rgba(colours: npt.NDArray[Any]) -> RGBA8:
    """Convert RGB(A) colours, floats in 0–1 or uint8, to uint8 RGBA."""
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
    """Return the picture of a montage, coloured over one range or tile by tile."""
    gaps = gaps_between(tiles)
    if request.scope not in OWN_SCOPES:
        return Picture(values=values, tiles=tiles, blank=gaps)
    # Each tile is coloured over its own range.
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
    # argmax would return NaN, which is not an activation.
    known = np.where(np.isnan(maps), -np.inf, maps) if np.isnan(maps.max()) else maps
    winner = known.argmax(axis=-1)
    numbers = np.asarray(request.channels)[winner].astype(np.float32)
    # Where every channel is 0 after a ReLU, argmax returns the first, but there is no winner.
    silent = ((known == 0) | np.isneginf(known)).all(axis=-1)
    numbers[silent] = -1
    palette = channel_colors(request.channels)
    # Hundreds of colours would look like noise, so only the most frequent winners are coloured.
    # Compared images use the same colours.
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
    # Different channels are rarely bright at the same location, so their mean is dark. Brightening
    # by a single factor preserves hues.
    brightest = top_of(request.pooled(total.max(axis=-1)), 99.5)
    total /= np.float32(brightest or 1)
    words = "each channel over its own range, and the whole made brighter"
    return Picture(rgba=as_rgba(total), range_words=words)


@register_mode(
    "rgb", takes="some", count=3, phrase="red, green, blue = {channels}", uses_cmap=False
)
def _rgb(maps: Floats, request: ModeRequest) -> Picture:
    return _blend(maps, request, np.eye(3))


@register_mode("rainbow", takes="some", phrase="a hue each for {channels}", uses_cmap=False)
def _rainbow(maps: Floats, request: ModeRequest) -> Picture:
    count = maps.shape[-1]
    hue = np.arange(count) / count
    return _blend(maps, request, hsv_to_rgb(np.stack([hue, np.ones(count), np.ones(count)], -1)))


def _blend(maps: Floats, request: ModeRequest, colours: npt.NDArray[np.float64]) -> Picture:
    """Add one coloured light per channel, with the channel's activation as its brightness."""
    units = np.stack([_unit(maps[..., k], request) for k in range(maps.shape[-1])], axis=-1)
    mixed: Floats = units @ colours.astype(np.float32)
    return Picture(rgba=as_rgba(mixed), legend=legend_of(request.channels, colours))


def _unit(values: Floats, request: ModeRequest) -> Floats:
    limits = request.range_of(values)
    if limits.vmin < 0:
        # Light cannot be negative, so activations below 0 are black.
        limits = DisplayRange(0.0, limits.vmax, limits.gamma)
    # NaN is black.
    return np.nan_to_num(limits.normalise(values), copy=False)


# Groups below this share of the total are left out of the legend, as are channels below this share
# of the group's largest.
_LEAST, _COUNTS = 1e-5, 0.05


def _group_words(mixture: Floats, channels: Sequence[int]) -> str:
    """Name a group's main channels."""
    order = np.argsort(-mixture, kind="stable")
    counting = [channels[one] for one in order if mixture[one] >= _COUNTS * mixture[order[0]]]
    more = " …" if len(counting) > IN_LEGEND else ""
    return " + ".join(map(str, counting[:IN_LEGEND])) + more


@register_mode("groups", phrase="{count} channels in groups", uses_cmap=False, uses_scale=False)
def _groups(maps: Floats, request: ModeRequest) -> Picture:
    height, width, count = maps.shape
    # Compared images share the same groups.
    every = request.pooled(maps).reshape(-1, count)
    places, mixtures = factorised(every, GROUPS)
    if len(every) > height * width:
        places = amounts(maps.reshape(-1, count), mixtures)
    found = len(mixtures)
    hue = np.arange(found) / GROUPS
    colours = hsv_to_rgb(np.stack([hue, np.full(found, 0.85), np.ones(found)], axis=-1))
    # Hue shows the proportions of the groups, and brightness their total amount.
    strength = places.sum(axis=-1)
    limits = DisplayRange(0.0, top_of(request.pooled(strength), 99.5), 0.6)
    shares = places / np.maximum(strength, np.float32(1e-12))[:, np.newaxis]
    lit = shares @ colours.astype(np.float32) * limits.normalise(strength)[:, np.newaxis]
    # The legend lists visible groups with their main channels.
    amount = np.square(places, dtype=np.float64).sum(axis=0)
    seen = amount > _LEAST * amount.sum()
    legend = tuple(
        LegendEntry(None, tuple(colour), _group_words(mixture, request.channels))
        for colour, mixture, there in zip(colours.tolist(), mixtures, seen, strict=True)
        if there
    )
    words = "all groups over one range"
    return Picture(rgba=as_rgba(lit.reshape(height, width, 3)), legend=legend, range_words=words)

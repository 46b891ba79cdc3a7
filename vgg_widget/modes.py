"""How channels become one picture: one function a mode, in a registry.

A mode's function gets the chosen channels' maps and says what to show: a 2-D array of values, to
be coloured by the colormap over the display range, or an RGB array, or a `Picture` that says more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, hsv_to_rgb

from vgg_widget.choices import unknown_choice
from vgg_widget.pooling import Pooled, alone
from vgg_widget.scaling import DisplayRange, top_of

Floats = npt.NDArray[np.float32]
RGBA8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Which channel is in which tile of a grid.

    Parameters
    ----------
    channels : tuple of int
        Channel numbers, row by row from the top left.
    columns : int
        Tiles in a row; the last row may be shorter.
    height, width : int
        Of one tile, in feature-map locations (pixels of the rendering).
    gap : int
        Pixels between tiles.
    """

    channels: tuple[int, ...]
    columns: int
    height: int
    width: int
    gap: int

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return math.ceil(len(self.channels) / self.columns)

    def box(self, position: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of a tile, half open, in pixels of the rendering."""
        row, column = divmod(position, self.columns)
        top, left = row * (self.height + self.gap), column * (self.width + self.gap)
        return top, left, top + self.height, left + self.width

    def locate(self, row: int, column: int) -> tuple[int, int, int] | None:
        """Return (channel, row, column in its map) at a pixel of the rendering, None in a gap."""
        down, across = row // (self.height + self.gap), column // (self.width + self.gap)
        position = down * self.columns + across
        if row < 0 or not 0 <= across < self.columns or position >= len(self.channels):
            return None
        top, left, bottom, right = self.box(position)
        if row >= bottom or column >= right:
            return None
        return self.channels[position], row - top, column - left


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
    """

    values: Floats | None = None
    rgba: RGBA8 | None = None
    range: DisplayRange | None = None
    tiles: TileGrid | None = None
    blank: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A finished picture of some channels of a layer, and what it means.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (h, w, 4)
        The colours.
    values : ndarray of float32, shape (h, w), or None
        What the colours stand for, in activation units (for ``argmax``: the channel's number, -1
        where no channel is active); None where a colour is not one value.
    vmin, vmax : float or None
        The activations at the two ends of the colormap; None where there is no common range.
        Equal for a dead channel on its own scale.
    cmap : str or None
        The colormap's name; None where the mode has colours of its own.
    colormap : Colormap or None
        The colormap itself.
    title : str
        Layer, mode and channels in words.
    layer, mode, scale : str
        As asked for; `scale` is its scope.
    channels : tuple of int
        The channels that went in.
    gamma : float
        See `vgg_widget.scaling.Scale`.
    clipped : (bool, bool)
        Whether values below `vmin` and above `vmax` are shown.
    note : str
        ``"dead"`` or ``"constant"`` where the picture holds one value only, else empty.
    tiles : TileGrid or None
        For a grid, which channel is in which tile.
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
        The scale's scope: ``"channel"``, ``"layer"`` or ``"network"``.
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
    built_in: bool = False


MODES: dict[str, Mode] = {}
"""The registry, in the order in which the explorer lists it."""

DEFAULT_SOME = 6
"""How many of the strongest channels a mode that takes some shows when none are named."""


def register_mode(
    name: str,
    *,
    takes: Takes = "all",
    count: int | None = None,
    phrase: str | None = None,
    uses_cmap: bool = True,
    uses_scale: bool = True,
) -> Callable[[ModeFunction], ModeFunction]:
    """Add a way of seeing; it can then be named in `render` and `plot`, and is in the explorer.

    Parameters
    ----------
    name : str
        What it is called. A mode of your own can be replaced by registering it again.
    takes : {"all", "some", "one"}
        Whether the function gets all channels unless some are named, the strongest few unless
        others are named, or the one channel on view.
    count : int, optional
        The exact number of channels that the function needs.
    phrase : str, optional
        For titles; may hold ``{channels}`` and ``{count}``. The name by default.
    uses_cmap, uses_scale : bool
        Whether the colormap and the scale change the picture; the explorer greys them out if not.

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
    >>> @register_mode("range")
    ... def range_over_channels(maps, request):
    ...     return maps.max(axis=-1) - maps.min(axis=-1)
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name {name!r} cannot name a mode: give it a word.")
    if takes not in ("all", "some", "one"):
        raise ValueError(unknown_choice("takes", takes, ("all", "some", "one")))
    if name in MODES and MODES[name].built_in:
        raise ValueError(f"name {name!r} is a built-in mode: choose another.")

    def add(function: ModeFunction) -> ModeFunction:
        own = function.__module__ == __name__
        MODES[name] = Mode(name, function, takes, count, phrase or name, uses_cmap, uses_scale, own)
        return function

    return add


def find_mode(name: object) -> Mode:
    """Return the mode of that name, or raise ValueError naming the nearest."""
    if not isinstance(name, str) or name not in MODES:
        raise ValueError(unknown_choice("mode", name, MODES))
    return MODES[name]


def coloured(unit: Floats, cmap: Colormap) -> RGBA8:
    """Colour values in 0–1, entry by entry as matplotlib's own colormaps do.

    Parameters
    ----------
    unit : ndarray of float32, shape (h, w)
        0 is the colormap's first entry, 1 its last.
    cmap : Colormap
        Any of matplotlib's.

    Returns
    -------
    ndarray of uint8, shape (h, w, 4)
    """
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


def channel_hues(channels: tuple[int, ...]) -> Floats:
    """Return a colour for each channel number that never depends on the other channels.

    Steps of the golden ratio around the hue circle keep neighbouring numbers far apart.

    Returns
    -------
    ndarray of float32, shape (K, 3)
        RGB in 0–1.
    """
    numbers = np.asarray(channels, dtype=np.float64)
    hue = (numbers * (math.sqrt(5) - 1) / 2) % 1
    saturation = 0.55 + 0.15 * (numbers % 3)
    value = 0.95 - 0.2 * ((numbers // 3) % 2)
    return hsv_to_rgb(np.stack([hue, saturation, value], axis=-1)).astype(np.float32)


@register_mode("channel", takes="one", phrase="channel {channels}")
def _channel(maps: Floats, _: ModeRequest) -> npt.NDArray[Any]:
    return maps[..., 0]


@register_mode("grid", phrase="{count} channels")
def _grid(maps: Floats, request: ModeRequest) -> Picture:
    height, width, count = maps.shape
    gap = 1 if min(height, width) < 64 else 2
    columns = _columns(count, (height + gap) / (width + gap))
    tiles = TileGrid(request.channels, columns, height, width, gap)
    if request.scope == "channel":
        # Each tile on its own range: a colour then stands for another value in each.
        limits = [request.range_of(maps[..., k]) for k in range(count)]
        unit = np.stack([limit.normalise(maps[..., k]) for k, limit in enumerate(limits)], axis=-1)
        rgba = coloured(_montage(unit, tiles), request.cmap)
        rgba[_gaps(tiles)] = 0
        return Picture(values=_montage(maps, tiles), rgba=rgba, tiles=tiles)
    return Picture(values=_montage(maps, tiles), tiles=tiles, blank=_gaps(tiles))


def _columns(count: int, shape: float) -> int:
    """Choose a number of columns that makes the grid about square and leaves few tiles empty."""
    square = math.sqrt(count * shape)
    near = range(max(1, math.ceil(0.87 * square)), max(1, math.floor(1.15 * square)) + 1)
    choices = [columns for columns in near if columns <= count] or [min(count, round(square)) or 1]
    return min(choices, key=lambda columns: (-count % columns, abs(columns - square)))


def _montage(maps: Floats, tiles: TileGrid) -> Floats:
    rows, columns, gap = tiles.rows, tiles.columns, tiles.gap
    padded = np.zeros((rows * columns, tiles.height + gap, tiles.width + gap), dtype=np.float32)
    padded[: maps.shape[-1], : tiles.height, : tiles.width] = np.moveaxis(maps, -1, 0)
    shape = (rows, columns, tiles.height + gap, tiles.width + gap)
    whole = padded.reshape(shape).swapaxes(1, 2).reshape(rows * shape[2], columns * shape[3])
    return whole[:-gap, :-gap]


def _gaps(tiles: TileGrid) -> npt.NDArray[np.bool_]:
    bottom, right = tiles.box(tiles.rows * tiles.columns - 1)[2:]
    down = np.arange(bottom) % (tiles.height + tiles.gap) >= tiles.height
    across = np.arange(right) % (tiles.width + tiles.gap) >= tiles.width
    gaps: npt.NDArray[np.bool_] = down[:, np.newaxis] | across
    if len(tiles.channels) < tiles.rows * tiles.columns:
        top, left, _, _ = tiles.box(len(tiles.channels))
        gaps[top:, left:] = True
    return gaps


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
    winner = maps.argmax(axis=-1)
    numbers = np.asarray(request.channels)[winner].astype(np.float32)
    # After a ReLU a location where every channel is 0 has no winner, only a first one.
    silent = (maps == 0).all(axis=-1)
    numbers[silent] = -1
    colours = as_rgba(channel_hues(request.channels)[winner])
    colours[silent] = (0, 0, 0, 255)
    return Picture(values=numbers, rgba=colours)


@register_mode("composite", takes="some", phrase="composite of {channels}", uses_scale=False)
def _composite(maps: Floats, request: ModeRequest) -> npt.NDArray[Any]:
    table = request.cmap(np.arange(request.cmap.N))[:, :3].astype(np.float32)
    total = np.zeros((*maps.shape[:2], 3), np.float32)
    for k in range(maps.shape[-1]):
        channel = maps[..., k]
        top = top_of(request.pooled(channel), 100.0)
        unit = DisplayRange(0.0, top).normalise(channel)
        total += table.take(_entries(unit, request.cmap), axis=0)
    return total / np.float32(maps.shape[-1])


@register_mode(
    "rgb", takes="some", count=3, phrase="red, green, blue = {channels}", uses_cmap=False
)
def _rgb(maps: Floats, request: ModeRequest) -> npt.NDArray[Any]:
    return np.stack([_unit(maps[..., k], request) for k in range(3)], axis=-1)


@register_mode("rainbow", takes="some", phrase="a hue each for {channels}", uses_cmap=False)
def _rainbow(maps: Floats, request: ModeRequest) -> npt.NDArray[Any]:
    count = maps.shape[-1]
    hue = np.arange(count) / count
    colours = hsv_to_rgb(np.stack([hue, np.ones(count), np.ones(count)], axis=-1))
    units = np.stack([_unit(maps[..., k], request) for k in range(count)], axis=-1)
    mixed: Floats = units @ colours.astype(np.float32)
    return mixed


def _unit(values: Floats, request: ModeRequest) -> Floats:
    limits = request.range_of(values)
    if limits.vmin < 0:
        # As light, an activation below 0 is as dark as none.
        limits = DisplayRange(0.0, limits.vmax, limits.gamma)
    # Light of no known strength is none.
    return np.nan_to_num(limits.normalise(values), copy=False)

"""Coordinates on the explorer's two images, and the values at a point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vgg_widget.layers import Placement, as_placement
from vgg_widget.pictures.modes import RGBA8, Rendering
from vgg_widget.support.messages import plain_number


@dataclass(frozen=True, slots=True)
class Hit:
    """A position on one of the two images, as hit by the mouse.

    Row and column refer to a pixel of the input, or to a unit of the layer's map. The channel is
    that of a single-channel map or of a grid's tile.
    """

    on: Literal["input", "map"]
    row: int
    column: int
    channel: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InputLayer:
    """An overlay on an input image: uint8 RGBA of the input's shape."""

    rgba: RGBA8


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks on the two images.

    `unit` is the row and column of a unit in the layer's map. `box` is its receptive field in input
    pixels: top, left, bottom and right, half open. `overlay` is the opacity, 0 to 1, of the overlay
    on the input: the layer's map, or for each input an image from `instead`.
    """

    unit: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    overlay: float = 0.0
    instead: tuple[InputLayer, ...] = ()


def map_extent(rendering: Rendering, place: float | Placement) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of a rendering in data coordinates.

    A feature map is placed over the input pixels that it covers, so that both images share a
    coordinate system; a grid of tiles has its own.
    """
    return extent_of(rendering.rgba.shape, _placed(rendering, place))


def extent_of(shape: tuple[int, ...], at: Placement) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of an array of `shape`, in data coordinates."""
    height, width = shape[:2]
    bottom, right = at.top + height * at.row_step, at.left + width * at.column_step
    return at.left, right, bottom, at.top


def _placed(rendering: Rendering, place: float | Placement) -> Placement:
    return Placement() if rendering.tiles else as_placement(place)


def unit_box(place: float | Placement, row: int, column: int) -> tuple[float, float, float, float]:
    """Return (left, top, width, height) of one unit of a map, in data coordinates."""
    at = as_placement(place)
    left, top = at.left + column * at.column_step, at.top + row * at.row_step
    return left, top, at.column_step, at.row_step


def unit_under(
    rendering: Rendering, place: float | Placement, x: float, y: float
) -> tuple[int, int, int | None] | None:
    """Return (row, column, channel) of the unit at a point of the map's axes.

    The channel is None unless the rendering shows a single channel or a grid. The result is None
    outside the image and between a grid's tiles.
    """
    at = _placed(rendering, place)
    row, column = math.floor((y - at.top) / at.row_step), math.floor((x - at.left) / at.column_step)
    height, width = rendering.rgba.shape[:2]
    if not (0 <= row < height and 0 <= column < width):
        return None
    if rendering.tiles is not None:
        found = rendering.tiles.locate(row, column)
        return None if found is None else (found[1], found[2], found[0])
    return row, column, rendering.channels[0] if len(rendering.channels) == 1 else None


def words_for_unit(rendering: Rendering, row: int, column: int, channel: int | None) -> str:
    """Return a unit's position and value in words; `channel` chooses a grid's tile."""
    where = unit_name(rendering, row, column, channel)
    value = unit_value(rendering, row, column, channel)
    return f"{where}: {value}" if value else where


def unit_name(rendering: Rendering, row: int, column: int, channel: int | None) -> str:
    """Return a unit's position in words, in a grid with the tile's channel."""
    where = f"row {row}, column {column}"
    tiles = rendering.tiles
    return f"channel {channel}, {where}" if tiles and channel in tiles.channels else where


def unit_value(rendering: Rendering, row: int, column: int, channel: int | None) -> str:
    """Return a unit's value in words; "" if its colour does not represent a single value."""
    if rendering.tiles is not None:
        if channel not in rendering.tiles.channels:
            return ""
        top, left, _, _ = rendering.tiles.box(rendering.tiles.channels.index(channel))
        row, column = top + row, left + column
    if rendering.values is None:
        return ""
    value = float(rendering.values[row, column])
    if rendering.values_are == "channel":
        return f"channel {value:.0f}" if value >= 0 else "no channel is active"
    return plain_number(value, 4)


def value_at(rendering: Rendering, place: float | Placement, x: float, y: float) -> str:
    """Return the position and value at a point of the map's axes in words; "" outside the map."""
    found = unit_under(rendering, place, x, y)
    return "" if found is None else words_for_unit(rendering, *found)

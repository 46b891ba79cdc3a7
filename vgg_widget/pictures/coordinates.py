"""Where things lie on the explorer's two pictures, and what is at a point of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vgg_widget.layers import Placement, as_placement
from vgg_widget.pictures.modes import RGBA8, Rendering
from vgg_widget.support.messages import plain_number


@dataclass(frozen=True, slots=True)
class Hit:
    """A place on one of the two pictures, as a mouse finds it.

    Row and column are those of a pixel of the input, or of a unit of the layer's map. The channel
    is that of a map of one channel, or of a grid's tile.
    """

    on: Literal["input", "map"]
    row: int
    column: int
    channel: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InputLayer:
    """A picture that lies on an input, pixel on pixel: uint8 RGBA of the input's shape."""

    rgba: RGBA8


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked on the two pictures.

    `unit` is the row and column of a unit in the layer's map; `box` is the top, left, bottom and
    right of the input pixels that it sees, half open; `overlay` is the opacity, 0 to 1, of what
    lies over the input: the layer's map, or a picture of `instead` for each input.
    """

    unit: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    overlay: float = 0.0
    instead: tuple[InputLayer, ...] = ()


def map_extent(rendering: Rendering, place: float | Placement) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of a rendering in data coordinates.

    A feature map lies on the input pixels that it covers, so that both pictures share one
    coordinate system; a grid of tiles has a system of its own.
    """
    return extent_of(rendering.rgba.shape, _placed(rendering, place))


def extent_of(shape: tuple[int, ...], at: Placement) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of so many rows and columns, in data coordinates."""
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

    The channel is None where the picture is not of one channel alone. The whole is None beside the
    picture and between a grid's tiles.
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
    """Say what a picture shows at a unit; `channel` chooses a grid's tile."""
    where = unit_name(rendering, row, column, channel)
    value = unit_value(rendering, row, column, channel)
    return f"{where}: {value}" if value else where


def unit_name(rendering: Rendering, row: int, column: int, channel: int | None) -> str:
    """Say where a unit is; in a grid also in whose tile."""
    where = f"row {row}, column {column}"
    tiles = rendering.tiles
    return f"channel {channel}, {where}" if tiles and channel in tiles.channels else where


def unit_value(rendering: Rendering, row: int, column: int, channel: int | None) -> str:
    """Return what a picture's colour at a unit stands for; nothing where that is no one value."""
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
    """Say in words what a point of the map's axes shows; nothing where there is nothing."""
    found = unit_under(rendering, place, x, y)
    return "" if found is None else words_for_unit(rendering, *found)

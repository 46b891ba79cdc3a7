"""The layout of channels in a grid of feature maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.scaling import Floats


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The positions of channels in a grid of tiles.

    Parameters
    ----------
    channels : tuple of int
        Channel numbers, row by row from the top left.
    columns : int
        Tiles in a row; the last row may be shorter.
    height, width : int
        Size of one tile in feature-map locations (pixels of the rendering).
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


def about_square(count: int, shape: float) -> int:
    """Choose a number of columns that makes the grid roughly square with few empty tiles.

    `shape` is a tile's height divided by its width. No tile is left empty if full rows give a
    column count within a factor of two of a square grid's.
    """
    square = math.sqrt(count * shape)
    whole = [columns for columns in range(count, 0, -1) if count % columns == 0]
    best = min(whole, key=lambda columns: round(abs(math.log(columns / square)), 6))
    if 0.5 <= best / square <= 2:
        return best
    near = range(max(1, math.ceil(0.87 * square)), max(1, math.floor(1.15 * square)) + 1)
    choices = [columns for columns in near if columns <= count] or [min(count, round(square)) or 1]
    return min(choices, key=lambda columns: (-count % columns, abs(columns - square)))


def montage(maps: Floats, tiles: TileGrid) -> Floats:
    """Arrange feature maps of shape (H, W, K) side by side, with 0 between them."""
    rows, columns, gap = tiles.rows, tiles.columns, tiles.gap
    padded = np.zeros((rows * columns, tiles.height + gap, tiles.width + gap), dtype=np.float32)
    padded[: maps.shape[-1], : tiles.height, : tiles.width] = np.moveaxis(maps, -1, 0)
    shape = (rows, columns, tiles.height + gap, tiles.width + gap)
    whole = padded.reshape(shape).swapaxes(1, 2).reshape(rows * shape[2], columns * shape[3])
    return whole[:-gap, :-gap]


def hatching(maps: Floats, tiles: TileGrid) -> npt.NDArray[np.bool_]:
    """Return the pixels of diagonal lines over the tiles of channels that are 0 everywhere."""
    rows, columns = np.indices((tiles.height, tiles.width))
    step = max(4, min(tiles.height, tiles.width) // 5)
    lines = (rows + columns) % step < max(1, step // 6)
    dead = ~maps.any(axis=(0, 1))
    return montage(np.where(dead, lines[..., np.newaxis], 0).astype(np.float32), tiles) > 0


def gaps_between(tiles: TileGrid) -> npt.NDArray[np.bool_]:
    """Return a mask of the montage's pixels outside all tiles."""
    bottom, right = tiles.box(tiles.rows * tiles.columns - 1)[2:]
    down = np.arange(bottom) % (tiles.height + tiles.gap) >= tiles.height
    across = np.arange(right) % (tiles.width + tiles.gap) >= tiles.width
    gaps: npt.NDArray[np.bool_] = down[:, np.newaxis] | across
    if len(tiles.channels) < tiles.rows * tiles.columns:
        top, left, _, _ = tiles.box(len(tiles.channels))
        gaps[top:, left:] = True
    return gaps

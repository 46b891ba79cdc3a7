"""Feature maps in the format of a page: the colormap entry of each value."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, ListedColormap

from vgg_widget.activations.mapping import Activations
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.rendering import render

MOST_ENTRIES = 256
"""Colormaps with more colours than a byte can index are left to the kernel."""

PIECE_BYTES, PIECE_PLANES = 240_000, 64
"""The approximate size of a piece of packed planes, so that it delays no other message."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A picture of a layer, without its colours.

    Parameters
    ----------
    indices : ndarray of uint8, shape (h, w)
        The index of each value's colour in the colormap, or in `table`.
    rendering : Rendering
        The result of `render`.
    table : bytes
        The plane's own colours, 4 bytes each; empty if they are the colormap's.
    channels : tuple of int
        The channel for each colour of the table, -1 for none.
    """

    indices: npt.NDArray[np.uint8]
    rendering: Rendering
    table: bytes = b""
    channels: tuple[int, ...] = ()

    @property
    def is_finite(self) -> bool:
        """Whether every value is neither NaN nor infinite."""
        values = self.rendering.values
        return values is not None and bool(np.isfinite(values).all())

    @property
    def range(self) -> tuple[float | None, float | None, float]:
        """The values of the first and the last entry, and the exponent between them."""
        return self.rendering.vmin, self.rendering.vmax, self.rendering.gamma


@lru_cache(maxsize=4)
def _index_colormap(entries: int) -> Colormap:
    """Return a colormap whose n-th colour has the red level n."""
    # Plus a quarter of a level, whichever way matplotlib rounds.
    reds = np.minimum(1, (np.arange(entries) + 0.25) / 255)
    return ListedColormap(np.stack([reds, 0 * reds, 0 * reds], axis=-1), name="numbers")


def plane(activations: Activations, layer: str, entries: int, **options: Any) -> Plane:
    """Return a picture as `render` would draw it with any colormap of `entries` colours.

    Parameters
    ----------
    activations : Activations
        The activations of the current image.
    layer : str
        See `render`.
    entries : int
        The colormap's number of colours, 1 to 256.
    **options
        Other arguments of `render`, such as ``mode`` and ``scale``, for a mode that uses a
        colormap and makes one picture of the layer's size.
    """
    made = render(activations, layer, cmap=_index_colormap(entries), **options)
    return Plane(np.ascontiguousarray(made.rgba[..., 0]), made)


def plane_of_channels(activations: Activations, layer: str, **options: Any) -> Plane | None:
    """Return a picture whose colours stand for channels, as `render` draws it.

    None if there are more colours than a byte can index.

    Parameters
    ----------
    activations : Activations
        The activations of the current image.
    layer : str
        See `render`.
    **options
        Other arguments of `render`, such as ``mode="argmax"``.
    """
    made = render(activations, layer, **options)
    if made.values is None:
        return None
    channels, first, entries = np.unique(made.values, return_index=True, return_inverse=True)
    if channels.size > MOST_ENTRIES:
        return None
    indices = entries.reshape(made.values.shape).astype(np.uint8)
    table = made.rgba.reshape(-1, 4)[first]
    return Plane(indices, made, table.tobytes(), tuple(map(int, channels)))


def packed(planes: Iterable[Plane]) -> tuple[list[Plane], bytes]:
    """Take enough planes for a piece, and return them with their indices packed by zlib.

    At least one plane is taken if there are any.
    """
    taken: list[Plane] = []
    # Level 1: the page is waiting, and this already halves the size.
    packer, pieces, size = zlib.compressobj(1), list[bytes](), 0
    for one in planes:
        taken.append(one)
        pieces += packer.compress(one.indices.tobytes()), packer.flush(zlib.Z_SYNC_FLUSH)
        size += len(pieces[-2]) + len(pieces[-1])
        if size >= PIECE_BYTES or len(taken) == PIECE_PLANES:
            break
    return taken, b"".join([*pieces, packer.flush()])


def colours(cmap: Colormap) -> bytes:
    """Return a colormap's colours, 4 bytes each: red, green, blue and opacity."""
    table: npt.NDArray[Any] = cmap(np.arange(cmap.N), bytes=True)
    return table.tobytes()

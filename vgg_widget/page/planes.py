"""Feature maps as a page keeps them: which entry of the colormap each value has."""

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
"""Colormaps with more colours than a byte can number are left to the kernel."""

PIECE_BYTES, PIECE_PLANES = 240_000, 64
"""About how large a piece of packed planes becomes, so that it holds up no other message."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A picture of a layer, without its colours.

    Parameters
    ----------
    indices : ndarray of uint8, shape (h, w)
        The entry of the colormap that each value has, or of `table`.
    rendering : Rendering
        What `render` made.
    table : bytes
        Colours of its own, 4 bytes each; empty where they are the colormap's.
    channels : tuple of int
        The channel that each colour of the table stands for, -1 for none.
    """

    indices: npt.NDArray[np.uint8]
    rendering: Rendering
    table: bytes = b""
    channels: tuple[int, ...] = ()

    @property
    def is_finite(self) -> bool:
        """Whether every value is a number that is neither NaN nor infinite."""
        values = self.rendering.values
        return values is not None and bool(np.isfinite(values).all())

    @property
    def range(self) -> tuple[float | None, float | None, float]:
        """The values of the first and the last entry, and the exponent of those between."""
        return self.rendering.vmin, self.rendering.vmax, self.rendering.gamma


@lru_cache(maxsize=4)
def _numbering(entries: int) -> Colormap:
    """Return a colormap whose n-th colour is the number n in red."""
    # A quarter of a level more, whichever way matplotlib rounds.
    reds = np.minimum(1, (np.arange(entries) + 0.25) / 255)
    return ListedColormap(np.stack([reds, 0 * reds, 0 * reds], axis=-1), name="numbers")


def plane(activations: Activations, layer: str, entries: int, **asked: Any) -> Plane:
    """Return a picture as `render` would draw it with any colormap of so many colours.

    Parameters
    ----------
    activations : Activations
        Of the image on show.
    layer : str
        As `render` takes it.
    entries : int
        How many colours the colormap has, 1 to 256.
    **asked
        Whatever else `render` takes, such as ``mode`` and ``scale``, for a mode that uses a
        colormap and makes one picture of the layer's size.
    """
    made = render(activations, layer, cmap=_numbering(entries), **asked)
    return Plane(np.ascontiguousarray(made.rgba[..., 0]), made)


def plane_of_channels(activations: Activations, layer: str, **asked: Any) -> Plane | None:
    """Return a picture whose colours stand for channels, as `render` draws it.

    None where there are more colours than a byte can number.

    Parameters
    ----------
    activations : Activations
        Of the image on show.
    layer : str
        As `render` takes it.
    **asked
        Whatever else `render` takes, such as ``mode="argmax"``.
    """
    made = render(activations, layer, **asked)
    if made.values is None:
        return None
    channels, first, entries = np.unique(made.values, return_index=True, return_inverse=True)
    if channels.size > MOST_ENTRIES:
        return None
    indices = entries.reshape(made.values.shape).astype(np.uint8)
    table = made.rgba.reshape(-1, 4)[first]
    return Plane(indices, made, table.tobytes(), tuple(map(int, channels)))


def packed(planes: Iterable[Plane]) -> tuple[list[Plane], bytes]:
    """Take planes until they make a piece, and return them, and their indices as zlib packs them.

    At least one is taken where there is one.
    """
    taken: list[Plane] = []
    # Level 1: the page waits for it, and it is half the size already.
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

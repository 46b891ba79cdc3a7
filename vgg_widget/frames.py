"""The sizes of figures, and what they become on their way to the page."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

# With its toolbar it fits beside the file browser of JupyterLab in a window of 1280 pixels.
FIGURE_INCHES = (7.7, 3.9)
PAIR_INCHES = (7.7, 6.0)
DPI = 100

Pixels = npt.NDArray[np.uint8]

# Lossless WebP takes half of PNG's time, at level 1, and two thirds of its bytes; every browser
# since 2020 tells it by its first bytes. Some builds of Pillow are without it.
_FORMAT: dict[str, Any] = (
    {"format": "webp", "lossless": True, "quality": 0, "method": 0}
    if features.check("webp")
    else {"format": "png", "compress_level": 1}
)


def whole_frame(pixels: Pixels) -> bytes:
    """Encode a drawn figure, opaque.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 4)
        The renderer's RGBA; it is left as it is.

    Returns
    -------
    bytes
        A lossless picture.
    """
    return _encoded(np.ascontiguousarray(pixels[..., :3]))


def part_of_frame(pixels: Pixels, left: int) -> bytes:
    """Encode the columns from `left` on; the page keeps what it has to the left of them.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 4)
        The renderer's RGBA.
    left : int
        The first column that is sent.

    Returns
    -------
    bytes
        A lossless picture of the figure's size, transparent to the left.
    """
    part = np.zeros_like(pixels)
    part[:, left:, :3] = pixels[:, left:, :3]
    part[:, left:, 3] = 255
    return _encoded(part)


def _encoded(pixels: Pixels) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, **_FORMAT)
        return stream.getvalue()

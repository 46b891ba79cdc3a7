"""What the other files of this room speak of: pictures, how large they may be, and their error."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB8: TypeAlias = npt.NDArray[np.uint8]

MINIMUM_SIDE = 32
"""VGG19 halves the image five times, so every side needs 2⁵ pixels."""


# A picture that is no brighter or no more opaque than this, of 255, shows next to nothing; the
# brightest of 12-bit numbers in 16 bits is 16.
NEARLY_NOTHING = 16

PICTURE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm"),
        *("ppm", "tga", "tif", "tiff", "webp"),
    )
)
"""What a folder is searched for, and what tells a path from a label."""

# An axis shorter than this is none of a picture's sides.
_SHORTEST_SIDE = 16


class ImageError(ValueError):
    """What was given as an image cannot be used as one; the message says what would do."""


def looks_like_grey_pictures(shape: tuple[int, ...]) -> bool:
    """Tell the shape (number, height, width) of several grey pictures, and of no single one."""
    return (
        len(shape) == 3
        and shape[0] not in (1, 3, 4)
        and shape[0] > 0
        and min(shape[1:]) >= _SHORTEST_SIDE
    )


def check_not_too_large(what: str, height: int, width: int) -> None:
    """Refuse more pixels than Pillow reads, before any of them takes up memory.

    Parameters
    ----------
    what : str
        How the error begins.
    height, width : int
        In pixels. At most twice ``PIL.Image.MAX_IMAGE_PIXELS``, which is 178,956,970 together
        unless somebody changed it; None there is no limit.

    Raises
    ------
    ImageError
        If it is larger.
    """
    usual = Image.MAX_IMAGE_PIXELS
    if usual is not None and height * width > 2 * usual:
        raise too_large(what, f"{height}×{width} (height×width), and {2 * usual} are read")


def too_large(what: str, pixels: str) -> ImageError:
    """Return the error of a picture of too many pixels."""
    return ImageError(f"{what} has too many pixels ({pixels}): make it smaller first.")


def check_sides(what: str, height: int, width: int, minimum_side: int) -> None:
    """Refuse a picture that is too small for the network; `ImageError` as above."""
    if min(height, width) < minimum_side:
        raise ImageError(
            f"{what} is {height}×{width} pixels (height×width), but the network needs at least "
            f"{minimum_side} a side: enlarge it first."
        )


def transparency(most: int) -> str:
    """Tell of a picture that is white all over, by the largest alpha of 255; else nothing."""
    if most > NEARLY_NOTHING:
        return ""
    if not most:
        return "wholly transparent, and so white all over"
    return f"nearly transparent: its alpha is at most {most} of 255"

"""Definitions shared by this package: image types, sizes, notes and errors."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB8: TypeAlias = npt.NDArray[np.uint8]

MINIMUM_SIDE = 32
"""VGG19 halves the image five times, so every side needs 2⁵ pixels."""


# An image whose largest brightness or opacity, out of 255, is at most this is nearly invisible.
# 12-bit values stored in 16 bits reach 16.
NEARLY_NOTHING = 16

PICTURE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm"),
        *("ppm", "tga", "tif", "tiff", "webp"),
    )
)
"""File name suffixes searched for in folders."""

# A shorter axis is not taken for a side of an image.
_SHORTEST_SIDE = 16


class ImageError(ValueError):
    """An input that cannot be used as an image; the message says what to pass instead."""


def looks_like_grey_pictures(shape: tuple[int, ...]) -> bool:
    """Return whether a shape is (number, height, width) of several grey images."""
    return (
        len(shape) == 3
        and shape[0] not in (1, 3, 4)
        and shape[0] > 0
        and min(shape[1:]) >= _SHORTEST_SIDE
    )


def check_not_too_large(what: str, height: int, width: int) -> None:
    """Raise `ImageError` for more pixels than Pillow reads, before memory is allocated.

    The limit is twice ``PIL.Image.MAX_IMAGE_PIXELS``, by default 178,956,970; None means no limit.
    `what` begins the error message.
    """
    usual = Image.MAX_IMAGE_PIXELS
    if usual is not None and height * width > 2 * usual:
        raise too_large(
            what, f"{height}×{width} (height×width), more than the limit of {2 * usual}"
        )


def too_large(what: str, pixels: str) -> ImageError:
    """Return the error for an image with too many pixels."""
    return ImageError(f"{what} has too many pixels ({pixels}): make it smaller first.")


def check_sides(what: str, height: int, width: int, minimum_side: int) -> None:
    """Raise `ImageError` for an image that is too small for the network."""
    if min(height, width) < minimum_side:
        raise ImageError(
            f"{what} is {height}×{width} pixels (height×width), but the network needs at least "
            f"{minimum_side} a side: enlarge it first."
        )


def joined(*notes: str) -> str:
    """Join the nonempty notes."""
    return " · ".join(filter(None, notes))


def transparency(most: int) -> str:
    """Return a note for a (nearly) transparent image, from its largest alpha out of 255; or ""."""
    if most > NEARLY_NOTHING:
        return ""
    if not most:
        return "fully transparent, so white everywhere"
    return f"nearly transparent: its alpha is at most {most} of 255"


def resize(image: RGB8, size: int | tuple[int, int] | None) -> RGB8:
    """Resize an image to the size that the network will see; raise ValueError for an invalid size.

    An int is the new length of the shorter side, keeping the aspect ratio; ``(height, width)`` is
    the exact size; None keeps the image's own size.
    """
    return resize_exactly(image, target_size(image, checked_size(size)))


def resize_exactly(image: RGB8, target: tuple[int, int]) -> RGB8:
    """Resize to (height, width) by Pillow's antialiased bilinear filter, as torchvision does."""
    if target == image.shape[:2]:
        return image.copy()
    resized = Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR)
    return np.array(resized)


def checked_size(size: object, minimum_side: int = MINIMUM_SIDE) -> int | tuple[int, int] | None:
    """Return `size` as plain ints, or raise ValueError naming the valid sizes."""
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size,)
    good = [
        isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= minimum_side
        for side in sides
    ]
    if isinstance(size, tuple | list) and good == [True, True]:
        return int(size[0]), int(size[1])
    if isinstance(size, int | np.integer) and good == [True]:
        return int(size)
    raise ValueError(
        f"size {size!r} cannot be used: give whole pixels of at least {minimum_side}, either "
        "one number (the shorter side) or (height, width), or None for the image's own size."
    )


def target_size(image: RGB8, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) in pixels that a checked size means for an image."""
    height, width = image.shape[:2]
    if size is None:
        return height, width
    if isinstance(size, tuple):
        return size
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))

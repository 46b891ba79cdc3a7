"""From a picture's own size to the one that the network will see."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vgg_widget.images.terms import MINIMUM_SIDE, RGB8


def resize(image: RGB8, size: int | tuple[int, int] | None) -> RGB8:
    """Bring an image to the size that the network will see.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture.
    size : int, (int, int) or None
        An int scales the shorter side to it and keeps the aspect ratio; ``(height, width)``
        resizes to exactly that; None keeps the image's own size.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        Resampled by Pillow's antialiased bilinear filter, as torchvision's transforms do.

    Raises
    ------
    ValueError
        If `size` is not one of these, or is less than 32 pixels a side.
    """
    return resize_exactly(image, target_size(image, checked_size(size)))


def resize_exactly(image: RGB8, target: tuple[int, int]) -> RGB8:
    """Resize to (height, width) pixels, whatever they are; see `resize`."""
    if target == image.shape[:2]:
        return image.copy()
    resized = Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR)
    return np.array(resized)


def checked_size(size: object, minimum_side: int = MINIMUM_SIDE) -> int | tuple[int, int] | None:
    """Return `size` as plain ints, or raise ValueError saying which sizes there are."""
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size,)
    whole = [
        int(side)
        for side in sides
        if isinstance(side, int | np.integer) and not isinstance(side, bool)
    ]
    wanted = 2 if isinstance(size, tuple | list) else 1
    if len(whole) != len(sides) or len(whole) != wanted or min(whole) < minimum_side:
        raise ValueError(
            f"size {size!r} cannot be used: give whole pixels of at least {minimum_side}, either "
            "one number (the shorter side) or (height, width), or None for the image's own size."
        )
    return whole[0] if wanted == 1 else (whole[0], whole[1])


def target_size(image: RGB8, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) in pixels that a checked size means for an image."""
    height, width = image.shape[:2]
    if size is None:
        return height, width
    if isinstance(size, tuple):
        return size
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))

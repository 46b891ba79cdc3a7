"""The sizes of figures, and their encoding for the page."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

# With the toolbar, it fits beside JupyterLab's file browser in a window of 1280 pixels.
FIGURE_INCHES = (7.7, 3.9)
PAIR_INCHES = (7.7, 6.0)
DPI = 100
# Anything narrower would be unreadable.
_NARROWEST = 320
# A scroll bar comes and goes with the height, which depends on the width: not worth a redraw.
_SLACK = 24

TOOLBAR_PIXELS = 44
"""Space for the toolbar beside the figure; without it, the toolbar would cover the figure."""
WIDEST = 1100
"""Default width of figure and toolbar on a page with enough room."""
WITH_TOOLBAR = 560
"""A narrower page has no room for the toolbar."""
MARGINS = 24
"""The space that ipympl leaves beside the figure if there is no toolbar."""

Pixels = npt.NDArray[np.uint8]

# Lossless WebP takes half the time of PNG at level 1, and two thirds of its bytes. Every browser
# since 2020 recognises it by its first bytes. Some builds of Pillow lack it.
_FORMAT: dict[str, Any] = (
    {"format": "webp", "lossless": True, "quality": 0, "method": 0}
    if features.check("webp")
    else {"format": "png", "compress_level": 1}
)


def full_width(max_width: str | None, usual: int) -> int:
    """Return a figure's width in pixels on a page with enough room.

    `max_width` is that of the explorer's layout. A value that is not in CSS pixels, such as
    ``"80%"``, is left to the page. `usual` is the default width, with the toolbar.
    """
    pixels = re.fullmatch(r"(\d+)px", max_width or "")
    return max(_NARROWEST, int(pixels[1] if pixels else usual) - TOOLBAR_PIXELS)


def fitting_width(room: int, now: int, full: int) -> int:
    """Return the width in pixels that a figure should have on a page.

    `room` is the space for figure and toolbar, in CSS pixels; 0 if no page has reported it. The
    figure keeps its width `now` if little would change; `full` is its width with enough room.
    """
    if not room:
        return now
    beside = TOOLBAR_PIXELS if has_toolbar(room) else MARGINS
    best = min(full, max(_NARROWEST, room - beside))
    # A figure that is slightly too wide would scroll.
    keep = 0 <= best - now <= _SLACK and best not in (full, _NARROWEST)
    return now if keep else best


def has_toolbar(room: int) -> bool:
    """Return whether a page of this width, or 0 if unknown, has the toolbar."""
    return not 0 < room < WITH_TOOLBAR


def whole_frame(pixels: Pixels) -> bytes:
    """Encode a drawn figure, RGBA of shape (h, w, 4), as a lossless opaque image."""
    return _encoded(np.ascontiguousarray(pixels[..., :3]))


def part_of_frame(pixels: Pixels, left: int) -> bytes:
    """Encode the columns from `left` on, as an image that is transparent to their left."""
    part = np.zeros_like(pixels)
    part[:, left:, :3] = pixels[:, left:, :3]
    part[:, left:, 3] = 255
    return _encoded(part)


def _encoded(pixels: Pixels) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, **_FORMAT)
        return stream.getvalue()

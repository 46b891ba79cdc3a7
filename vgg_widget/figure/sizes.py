"""The sizes of figures, and what they become on their way to the page."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

# With its toolbar it fits beside the file browser of JupyterLab in a window of 1280 pixels.
FIGURE_INCHES = (7.7, 3.9)
PAIR_INCHES = (7.7, 6.0)
DPI = 100
# Less would leave nothing to be seen.
_NARROWEST = 320
# A scroll bar comes and goes with the height, which goes with the width: no reason to draw anew.
_SLACK = 24

TOOLBAR_PIXELS = 44
"""What the toolbar needs beside the figure; it floats over the picture otherwise."""
WIDEST = 1100
"""How wide figure and toolbar are where there is room and nothing else is asked for."""
WITH_TOOLBAR = 560
"""A narrower page has no room for the toolbar."""
MARGINS = 24
"""What ipympl leaves beside the picture where no toolbar is."""

Pixels = npt.NDArray[np.uint8]

# Lossless WebP takes half of PNG's time, at level 1, and two thirds of its bytes; every browser
# since 2020 tells it by its first bytes. Some builds of Pillow are without it.
_FORMAT: dict[str, Any] = (
    {"format": "webp", "lossless": True, "quality": 0, "method": 0}
    if features.check("webp")
    else {"format": "png", "compress_level": 1}
)


def full_width(max_width: str | None, usual: int) -> int:
    """Return how many pixels wide a figure is where there is room.

    `max_width` is that of the explorer's layout; what is no number of CSS pixels, such as
    ``"80%"``, is left to the page. `usual` is the width, with the toolbar, where there is none.
    """
    pixels = re.fullmatch(r"(\d+)px", max_width or "")
    return max(_NARROWEST, int(pixels[1] if pixels else usual) - TOOLBAR_PIXELS)


def fitting_width(room: int, now: int, full: int) -> int:
    """Return how many pixels wide a figure is to be on a page.

    `room` is what figure and toolbar may take, in CSS pixels; 0 where no page has told. The figure
    stays as wide as it is `now` where little would change; `full` is its width where there is room.
    """
    if not room:
        return now
    beside = TOOLBAR_PIXELS if has_toolbar(room) else MARGINS
    best = min(full, max(_NARROWEST, room - beside))
    # What is too wide by a little would scroll.
    keep = 0 <= best - now <= _SLACK and best not in (full, _NARROWEST)
    return now if keep else best


def has_toolbar(room: int) -> bool:
    """Tell whether a page with so much room, 0 for one that has not told, has the toolbar."""
    return not 0 < room < WITH_TOOLBAR


def whole_frame(pixels: Pixels) -> bytes:
    """Encode a drawn figure, RGBA of shape (h, w, 4), as a lossless opaque picture."""
    return _encoded(np.ascontiguousarray(pixels[..., :3]))


def part_of_frame(pixels: Pixels, left: int) -> bytes:
    """Encode the columns from `left` on, as a picture that is transparent to the left of them."""
    part = np.zeros_like(pixels)
    part[:, left:, :3] = pixels[:, left:, :3]
    part[:, left:, 3] = 255
    return _encoded(part)


def _encoded(pixels: Pixels) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, **_FORMAT)
        return stream.getvalue()

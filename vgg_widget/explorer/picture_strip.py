"""`PictureStrip`: a row of small pictures and buttons, each of which chooses a value."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
from PIL import Image
from traitlets import Any as AnyValue
from traitlets import Bytes, List, Unicode

_HERE = files("vgg_widget.explorer")


class PictureStrip(anywidget.AnyWidget):
    """A row of small pictures and buttons, each of which chooses a value.

    An item is a dict with a ``"title"`` and optionally a ``"value"`` that its picture chooses,
    ``"buttons"`` (dicts with ``"label"``, ``"value"`` and ``"tip"``) and a ``"note"``.
    """

    # The text, not the path: anywidget keeps every widget made from a path alive.
    _esm = Unicode(_HERE.joinpath("picture_strip.js").read_text(encoding="utf-8")).tag(sync=True)
    _css = Unicode(_HERE.joinpath("picture_strip.css").read_text(encoding="utf-8")).tag(sync=True)

    label = Unicode(help="The row's name for screen readers.").tag(sync=True)
    items: Any = List(help="The row's items, from left to right.").tag(sync=True)
    pictures = List(Bytes(), help="A PNG file for each item; empty for none.").tag(sync=True)
    value = AnyValue(None, allow_none=True, help="The last chosen value.").tag(sync=True)

    def fill(self, items: list[dict[str, Any]], pictures: list[bytes]) -> None:
        """Replace all items, in one message to the page."""
        if items != self.items or pictures != self.pictures:
            with self.hold_sync():
                self.items, self.pictures = items, pictures


def thumbnail(rgba: npt.NDArray[np.uint8], side: int) -> bytes:
    """Return a picture as a PNG file whose longer side is at most `side` pixels.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (H, W, 3) or (H, W, 4)
        Smaller pictures keep their size: the page enlarges them without blurring.
    side : int
        In pixels.
    """
    image = Image.fromarray(np.ascontiguousarray(rgba[..., :3]))
    factor = -(-max(image.size) // side)
    if factor > 1:
        image = image.reduce(factor)
    with io.BytesIO() as stream:
        image.save(stream, "png", compress_level=1)
        return stream.getvalue()

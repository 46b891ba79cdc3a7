"""The ipympl canvas. Importing this module imports ipympl, so it is imported at first display."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def _keep_backend(*_: object, **__: object) -> None:
    """Stand in for `matplotlib.use` while ipympl is imported."""


# ipympl makes itself the backend when it is imported after matplotlib; a person's later inline
# plots would vanish.
_use = mpl.use
mpl.use = _keep_backend
try:
    from ipympl.backend_nbagg import Canvas, FigureManager
finally:
    mpl.use = _use

TOOLBAR_PIXELS = 44
"""What the toolbar needs beside the figure; it floats over the picture otherwise."""


class LiveCanvas(Canvas):  # type: ignore[misc]
    """An ipympl canvas that sends whole, opaque frames, and one thing at a time.

    Parameters
    ----------
    figure : Figure
        A matplotlib figure that pyplot does not know.
    """

    _png_is_old: bool

    def __init__(self, figure: Figure) -> None:
        # Widget callbacks and cells run on different threads in some kernels.
        self.lock = threading.RLock()
        super().__init__(figure)
        # Otherwise a frame drawn before the page is ready leaves it blank.
        self.syncing_data_url = False
        self.header_visible = False
        self.footer_visible = True
        self.resizable = False
        self.toolbar_visible = "visible"
        self.toolbar_position = "right"
        width, height = figure.get_size_inches() * figure.dpi
        self.layout.width = f"{int(width) + TOOLBAR_PIXELS}px"
        self.layout.min_height = f"{int(height)}px"
        self.layout.flex = "0 0 auto"

    def get_diff_image(self) -> bytes | None:
        """Return the frame as PNG, or None where the page has it already.

        ipympl would send the difference to the last frame. When a busy page misses one, stale
        rows stay on screen; a whole frame is always right, and at level 1 also cheaper to make.
        """
        if not self._png_is_old:
            return None
        pixels = np.asarray(self.get_renderer().buffer_rgba())
        self._force_full = False
        self._png_is_old = False
        self.set_image_mode("full")
        with io.BytesIO() as png:
            Image.fromarray(np.ascontiguousarray(pixels[..., :3])).save(
                png, "png", compress_level=1
            )
            return png.getvalue()

    def remember(self, png: bytes) -> None:
        """Keep a picture in the widget's state, for a page that has the state and no kernel."""
        width, height = self.figure.get_size_inches() * self.figure.dpi
        self.syncing_data_url = True
        try:
            self._size = (int(width), int(height))
            self._data_url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        finally:
            self.syncing_data_url = False

    def draw(self) -> None:
        """Draw and send at once; `draw_idle` would wait for the page to ask."""
        with self.lock:
            super().draw()

    def _handle_message(self, widget: Any, content: Any, buffers: Any) -> None:
        with self.lock:
            super()._handle_message(widget, content, buffers)


def live_canvas(figure: Figure) -> LiveCanvas:
    """Put a figure on a canvas that can be displayed, with its toolbar, outside pyplot."""
    canvas = LiveCanvas(figure)
    FigureManager(canvas, 0)
    canvas.toolbar = canvas.manager.toolbar
    return canvas

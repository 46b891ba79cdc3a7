"""The ipympl canvas. Importing this module imports ipympl, so it is imported at first display."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from vgg_widget.frames import part_of_frame, whole_frame


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


SETTLED_SECONDS = 0.3
"""How long after it was handed a frame a page has certainly decoded and shown it."""


class LiveCanvas(Canvas):  # type: ignore[misc]
    """An ipympl canvas that draws at once, and sends no more than has changed.

    ipympl asks the page before it draws, sends the difference to the last frame, and loses a frame
    that the next one overtakes in the page, difference and all: stale rows stay on screen. Here
    every frame is whole, or it holds all that can have changed since a whole one that the page is
    known to have shown; whichever frame is lost, the last one is right.

    The page is ready for a frame when it sends ``draw``, which it does once for each ``draw`` that
    it gets. One is sent after each whole frame: its answer tells that the frame has arrived, and
    lets the next zoom or pan draw without asking first.

    Parameters
    ----------
    figure : Figure
        A matplotlib figure that pyplot does not know.
    """

    _png_is_old: bool

    def __init__(self, figure: Figure) -> None:
        # Widget callbacks and cells run on different threads in some kernels.
        self.lock = threading.RLock()
        self._handling = False
        self._page_is_there = False
        self._page_is_ready = False
        self._redraw_wanted = False
        self._left: int | None = None
        self._arrived: float | None = None
        super().__init__(figure)
        # Otherwise a frame drawn before the page is ready leaves it blank.
        self.syncing_data_url = False
        # The page then draws each frame over what it has: no frame is transparent where it counts.
        self._current_image_mode = self._image_mode = "diff"
        self.header_visible = False
        self.footer_visible = True
        self.resizable = False
        self.toolbar_visible = "visible"
        self.toolbar_position = "right"
        width, height = figure.get_size_inches() * figure.dpi
        self.layout.width = f"{int(width) + TOOLBAR_PIXELS}px"
        self.layout.min_height = f"{int(height)}px"
        self.layout.flex = "0 0 auto"

    def draw(self) -> None:
        """Draw everything and send it."""
        with self.lock:
            self._redraw_wanted = False
            self._left = self._arrived = None
            super().draw()
            self.send_event("draw")

    def blit(self, bbox: Bbox | None = None) -> None:
        """Send what has been painted on the canvas to the right of `bbox`'s left edge.

        Parameters
        ----------
        bbox : Bbox, optional
            In pixels. What was painted outside is sent with the next whole frame.
        """
        with self.lock:
            settled = self._arrived is not None and (
                time.monotonic() - self._arrived > SETTLED_SECONDS
            )
            self._left = int(bbox.x0) if bbox is not None and settled else None
            super().blit(bbox)

    def draw_idle(self) -> None:
        """Draw when the page is ready for it, once for however many calls."""
        with self.lock:
            self._redraw_wanted = True
            if not self._page_is_ready:
                self.send_event("draw")
            elif not self._handling:
                self.draw()

    def get_diff_image(self) -> bytes | None:
        """Return the frame to send, or None where no page is there or has it already."""
        if not (self._png_is_old and self._page_is_there):
            return None
        pixels = np.asarray(self.get_renderer().buffer_rgba())
        self._force_full = self._png_is_old = self._page_is_ready = False
        return whole_frame(pixels) if self._left is None else part_of_frame(pixels, self._left)

    def handle_draw(self, _: Any) -> None:
        """Note that the page has had the last frame, and draw if something waits for that."""
        self._page_is_ready = True
        if self._arrived is None:
            self._arrived = time.monotonic()

    def remember(self, png: bytes) -> None:
        """Keep a picture in the widget's state, for a page that has the state and no kernel."""
        width, height = self.figure.get_size_inches() * self.figure.dpi
        self.syncing_data_url = True
        try:
            self._size = (int(width), int(height))
            self._data_url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        finally:
            self.syncing_data_url = False

    def _handle_message(self, widget: Any, content: Any, buffers: Any) -> None:
        with self.lock:
            self._page_is_there = True
            self._handling = True
            try:
                super()._handle_message(widget, content, buffers)
            finally:
                self._handling = False
            # One gesture changes limits more than once.
            if self._redraw_wanted and self._page_is_ready:
                self.draw()


def live_canvas(figure: Figure) -> LiveCanvas:
    """Put a figure on a canvas that can be displayed, with its toolbar, outside pyplot."""
    canvas = LiveCanvas(figure)
    FigureManager(canvas, 0)
    canvas.toolbar = canvas.manager.toolbar
    return canvas

"""The ipympl canvas. Importing this module imports ipympl, so it is imported at first display."""

from __future__ import annotations

import base64
import operator
import threading
import time
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from vgg_widget.figure.sizes import MARGINS, TOOLBAR_PIXELS, part_of_frame, whole_frame


def _keep_backend(*_: object, **__: object) -> None:
    """Replacement for `matplotlib.use` while ipympl is imported."""


# Imported after matplotlib, ipympl makes itself the backend; the user's later inline plots would
# vanish.
_use = mpl.use
mpl.use = _keep_backend
try:
    from ipympl.backend_nbagg import Canvas, FigureManager
finally:
    mpl.use = _use


SETTLED_SECONDS = 0.3
"""Time after which a page has certainly decoded and shown a frame that it received."""


class LiveCanvas(Canvas):  # type: ignore[misc]
    """An ipympl canvas that draws at once, and sends no more than has changed.

    ipympl asks the page before it draws, and sends the difference from the last frame. The page
    drops a frame that the next one overtakes, together with the difference: stale rows remain on
    screen. Here every frame is complete, or contains everything that can have changed since a
    complete one that the page is known to have shown. Whichever frame is lost, the last is right.

    The page is ready for a frame when it sends ``draw``. It does so once for each ``draw`` that it
    gets, except while it waits for a frame. A ``draw`` is sent after each complete frame: the
    answer confirms that the frame has arrived, and lets the next zoom or pan draw without asking.

    `lock` is held while the canvas draws, and while it handles the page's messages.
    """

    _png_is_old: bool

    def __init__(self, figure: Figure, lock: threading.RLock | None = None) -> None:
        self.guard: Callable[[Callable[[], object]], object] = operator.call
        """Runs the handling of a page's message, and shows its errors."""
        self.before_drawing: Callable[[], object] = lambda: None
        """Called before everything is redrawn."""
        self.held = False
        """Whether frames are kept back until `send_held`, since the page shows them already."""
        self.kept_back: Callable[[], object] = lambda: None
        """Called when a first frame is kept back."""
        self._kept_back = False
        # Widget callbacks and cells run on different threads in some kernels.
        self.lock = lock or threading.RLock()
        self._handling = False
        self._page_is_there = False
        self._page_is_ready = False
        self._pending_paint: Callable[[], object] | None = None
        # The first column changed since the last complete frame; None or 0: send a complete frame.
        self._left: int | None = None
        self._arrival_time: float | None = None
        self._page_waits = False
        self._pending_answers = 0
        super().__init__(figure)
        # In a desktop session, matplotlib would also print its listeners' errors.
        self.callbacks.exception_handler = None
        # Otherwise a frame drawn before the page is ready leaves it blank.
        self.syncing_data_url = False
        # The page then draws each frame over the last; no frame is transparent where it matters.
        self._current_image_mode = self._image_mode = "diff"
        self.header_visible = False
        # The explorer's own texts below replace the footer.
        self.footer_visible = False
        self.resizable = False
        self.toolbar_visible = "visible"
        self.toolbar_position = "right"
        width, height = figure.get_size_inches() * figure.dpi
        self._reserve_space(width, height)
        self.layout.flex = "0 0 auto"

    def _reserve_space(self, width: float, height: float) -> None:
        """Reserve space on the page for a figure of this size in pixels, and its toolbar."""
        beside = TOOLBAR_PIXELS if self.toolbar_visible == "visible" else MARGINS
        self.layout.width = f"{int(width) + beside}px"
        self.layout.min_height = f"{int(height)}px"

    def show_toolbar(self, *, shown: bool) -> None:
        """Show or hide the toolbar beside the figure."""
        visible = "visible" if shown else "hidden"
        if self.toolbar_visible != visible:
            self.toolbar_visible = visible
            self._reserve_space(*self.get_width_height())

    def draw(self) -> None:
        """Draw everything and send it."""
        with self.lock:
            self._pending_paint = None
            self._left = self._arrival_time = None
            if self.manager is None:
                # Closed, but the user may still hold the figure.
                return
            self.before_drawing()
            self._kept_back = False
            width, height = self.get_width_height()
            self._reserve_space(width, height)
            super().draw()
            self._request_draw()

    def blit(self, bbox: Bbox | None = None) -> None:
        """Send what has been painted on the canvas to the right of `bbox`'s left edge.

        Anything painted elsewhere is sent with the next complete frame.
        """
        with self.lock:
            if self.held:
                if not self._kept_back:
                    self._kept_back = True
                    self.kept_back()
                return
            # The frames kept back may have changed any part.
            left = 0 if bbox is None or self._kept_back else int(bbox.x0)
            self._kept_back = False
            settled = self._arrival_time is not None and (
                time.monotonic() - self._arrival_time > SETTLED_SECONDS
            )
            if left == 0:
                # A complete frame, which must arrive before smaller ones may follow it.
                self._left = self._arrival_time = None
                super().blit(bbox)
                self._request_draw()
                return
            # While the complete frame may still be lost, each later one must be complete, too.
            self._left = min(left, self._left or left) if settled else None
            super().blit(bbox)

    def send_held(self) -> None:
        """Send what was kept back, if anything."""
        with self.lock:
            if self._kept_back and self.manager is not None:
                held, self.held = self.held, False
                try:
                    self.blit()
                finally:
                    self.held = held

    def draw_idle(self) -> None:
        """Draw once the page is ready, only once for any number of calls."""
        self.paint_idle(self.draw)

    def paint_idle(self, paint: Callable[[], object]) -> None:
        """Paint once the page is ready: the last request, or a full drawing if one was requested.

        `paint` changes the canvas and sends it, like `blit`.
        """
        with self.lock:
            if self._pending_paint != self.draw:
                self._pending_paint = paint
            if not self._page_is_ready:
                self._request_draw()
            elif not self._handling:
                self._run_pending_paint()

    def _run_pending_paint(self) -> None:
        paint, self._pending_paint = self._pending_paint, None
        if paint is not None and self.manager is not None:
            paint()

    def print_figure(self, *arguments: Any, **keywords: Any) -> Any:
        """Save the figure; matplotlib meanwhile removes the canvas's manager and resolution."""
        with self.lock:
            return super().print_figure(*arguments, **keywords)

    def get_diff_image(self) -> bytes | None:
        """Return the frame to send, or None if there is no page or it has the frame already."""
        if not (self._png_is_old and self._page_is_there):
            return None
        pixels = np.asarray(self.get_renderer().buffer_rgba())
        self._force_full = self._png_is_old = self._page_is_ready = self._page_waits = False
        return part_of_frame(pixels, self._left) if self._left else whole_frame(pixels)

    def _request_draw(self) -> None:
        """Ask the page to report when it is ready; while it waits for a frame, it does not."""
        if not self._page_waits:
            self._page_waits = True
            self._pending_answers += 1
        self.send_event("draw")

    def handle_draw(self, _: Any) -> None:
        """Note that the page has received everything so far, including the last complete frame."""
        self._pending_answers = max(0, self._pending_answers - 1)
        if self._pending_answers:
            return
        self._page_is_ready = True
        if self._arrival_time is None:
            self._arrival_time = time.monotonic()

    def handle_refresh(self, event: Any) -> None:
        """Send everything to a page that was opened or has returned; it has no answer pending."""
        self.held = self._kept_back = False
        self._pending_answers, self._page_waits, self._arrival_time = 0, False, None
        super().handle_refresh(event)

    def remember(self, png: bytes) -> None:
        """Keep a picture in the widget's state, for a page with the state but without a kernel."""
        # In CSS pixels; a high-resolution screen has several pixels for each.
        width, height = self.get_width_height()
        self.syncing_data_url = True
        try:
            self._size = (int(width), int(height))
            self._data_url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        finally:
            self.syncing_data_url = False

    def _handle_message(self, widget: Any, content: Any, buffers: Any) -> None:
        with self.lock:
            if self.manager is None:
                # The canvas was closed while the message was on its way.
                return
            self._page_is_there = True
            self._handling = True
            try:
                follow = super()._handle_message
                self.guard(lambda: follow(widget, content, buffers))
            finally:
                self._handling = False
            # One gesture can change limits several times.
            if self._page_is_ready:
                self.guard(self._run_pending_paint)


def live_canvas(figure: Figure, lock: threading.RLock | None = None) -> LiveCanvas:
    """Put a figure on a canvas that can be displayed, with its toolbar, outside pyplot."""
    canvas = LiveCanvas(figure, lock)
    FigureManager(canvas, 0)
    canvas.toolbar = canvas.manager.toolbar
    # Beside a slider over channels, arrow icons would be mistaken for the next channel.
    canvas.toolbar.toolitems = [
        item for item in canvas.toolbar.toolitems if item[3] not in ("back", "forward")
    ]
    return canvas

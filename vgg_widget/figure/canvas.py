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
    """Stand in for `matplotlib.use` while ipympl is imported."""


# ipympl makes itself the backend when it is imported after matplotlib; a person's later inline
# plots would vanish.
_use = mpl.use
mpl.use = _keep_backend
try:
    from ipympl.backend_nbagg import Canvas, FigureManager
finally:
    mpl.use = _use


SETTLED_SECONDS = 0.3
"""How long after it was handed a frame a page has certainly decoded and shown it."""


class LiveCanvas(Canvas):  # type: ignore[misc]
    """An ipympl canvas that draws at once, and sends no more than has changed.

    ipympl asks the page before it draws, sends the difference to the last frame, and loses a frame
    that the next one overtakes in the page, difference and all: stale rows stay on screen. Here
    every frame is whole, or it holds all that can have changed since a whole one that the page is
    known to have shown; whichever frame is lost, the last one is right.

    The page is ready for a frame when it sends ``draw``. It does so once for each ``draw`` that it
    gets, but for those that come while it waits for a frame. One is sent after each whole frame:
    its answer tells that the frame has arrived, and lets the next zoom or pan draw without asking.

    `lock` is held while it draws, and while it does what the page asks.
    """

    _png_is_old: bool

    def __init__(self, figure: Figure, lock: threading.RLock | None = None) -> None:
        self.guard: Callable[[Callable[[], object]], object] = operator.call
        """Runs what follows a message of the page, and shows the errors of that."""
        self.before_drawing: Callable[[], object] = lambda: None
        """Called before everything is drawn anew."""
        self.held = False
        """Whether what is painted is kept back until `send_held`: the page shows it already."""
        self.kept_back: Callable[[], object] = lambda: None
        """Called when something is kept back, and nothing was before."""
        self._kept_back = False
        # Widget callbacks and cells run on different threads in some kernels.
        self.lock = lock or threading.RLock()
        self._handling = False
        self._page_is_there = False
        self._page_is_ready = False
        self._wanted: Callable[[], object] | None = None
        # The first column that changed since the last whole frame; None or 0 asks for another.
        self._left: int | None = None
        self._arrived: float | None = None
        self._page_waits = False
        self._answers_owed = 0
        super().__init__(figure)
        # matplotlib prints errors of its listeners where a desktop's window is open, too.
        self.callbacks.exception_handler = None
        # Otherwise a frame drawn before the page is ready leaves it blank.
        self.syncing_data_url = False
        # The page then draws each frame over what it has: no frame is transparent where it counts.
        self._current_image_mode = self._image_mode = "diff"
        self.header_visible = False
        # What it would say stands in the explorer's own words below.
        self.footer_visible = False
        self.resizable = False
        self.toolbar_visible = "visible"
        self.toolbar_position = "right"
        width, height = figure.get_size_inches() * figure.dpi
        self._take(width, height)
        self.layout.flex = "0 0 auto"

    def _take(self, width: float, height: float) -> None:
        """Take as much of the page as a picture of so many pixels needs, and its toolbar."""
        beside = TOOLBAR_PIXELS if self.toolbar_visible == "visible" else MARGINS
        self.layout.width = f"{int(width) + beside}px"
        self.layout.min_height = f"{int(height)}px"

    def show_toolbar(self, *, shown: bool) -> None:
        """Show the toolbar beside the picture, or hide it."""
        visible = "visible" if shown else "hidden"
        if self.toolbar_visible != visible:
            self.toolbar_visible = visible
            self._take(*self.get_width_height())

    def draw(self) -> None:
        """Draw everything and send it."""
        with self.lock:
            self._wanted = None
            self._left = self._arrived = None
            if self.manager is None:
                # Closed: a person may still hold the figure.
                return
            self.before_drawing()
            self._kept_back = False
            width, height = self.get_width_height()
            self._take(width, height)
            super().draw()
            self._ask()

    def blit(self, bbox: Bbox | None = None) -> None:
        """Send what has been painted on the canvas to the right of `bbox`'s left edge.

        What was painted elsewhere is sent with the next whole frame.
        """
        with self.lock:
            if self.held:
                if not self._kept_back:
                    self._kept_back = True
                    self.kept_back()
                return
            # What was kept back may be anywhere.
            left = 0 if bbox is None or self._kept_back else int(bbox.x0)
            self._kept_back = False
            settled = self._arrived is not None and (
                time.monotonic() - self._arrived > SETTLED_SECONDS
            )
            if left == 0:
                # A whole frame, which has to arrive before smaller ones may follow it.
                self._left = self._arrived = None
                super().blit(bbox)
                self._ask()
                return
            # While the whole frame may yet be lost, each one after it has to be whole too.
            self._left = min(left, self._left or left) if settled else None
            super().blit(bbox)

    def send_held(self) -> None:
        """Send what was kept back, if anything was."""
        with self.lock:
            if self._kept_back and self.manager is not None:
                held, self.held = self.held, False
                try:
                    self.blit()
                finally:
                    self.held = held

    def draw_idle(self) -> None:
        """Draw when the page is ready for it, once for however many calls."""
        self.paint_idle(self.draw)

    def paint_idle(self, paint: Callable[[], object]) -> None:
        """Paint when the page is ready for it; the last one asked for, unless a drawing is.

        `paint` changes the canvas and sends it, as a `blit` does.
        """
        with self.lock:
            if self._wanted != self.draw:
                self._wanted = paint
            if not self._page_is_ready:
                self._ask()
            elif not self._handling:
                self._paint_wanted()

    def _paint_wanted(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and self.manager is not None:
            wanted()

    def print_figure(self, *arguments: Any, **keywords: Any) -> Any:
        """Save the figure; meanwhile matplotlib takes the canvas's manager and resolution away."""
        with self.lock:
            return super().print_figure(*arguments, **keywords)

    def get_diff_image(self) -> bytes | None:
        """Return the frame to send, or None where no page is there or has it already."""
        if not (self._png_is_old and self._page_is_there):
            return None
        pixels = np.asarray(self.get_renderer().buffer_rgba())
        self._force_full = self._png_is_old = self._page_is_ready = self._page_waits = False
        return part_of_frame(pixels, self._left) if self._left else whole_frame(pixels)

    def _ask(self) -> None:
        """Ask the page to say when it is ready; while it waits for a frame it keeps silent."""
        if not self._page_waits:
            self._page_waits = True
            self._answers_owed += 1
        self.send_event("draw")

    def handle_draw(self, _: Any) -> None:
        """Note that the page has had all it was asked about, the last whole frame among it."""
        self._answers_owed = max(0, self._answers_owed - 1)
        if self._answers_owed:
            return
        self._page_is_ready = True
        if self._arrived is None:
            self._arrived = time.monotonic()

    def handle_refresh(self, event: Any) -> None:
        """Send everything to a page that has come, or come back; it owes no answer yet."""
        self.held = self._kept_back = False
        self._answers_owed, self._page_waits, self._arrived = 0, False, None
        super().handle_refresh(event)

    def remember(self, png: bytes) -> None:
        """Keep a picture in the widget's state, for a page that has the state and no kernel."""
        # In the page's pixels, of which a fine screen has several to one of these.
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
                # It was closed while the message was on its way.
                return
            self._page_is_there = True
            self._handling = True
            try:
                follow = super()._handle_message
                self.guard(lambda: follow(widget, content, buffers))
            finally:
                self._handling = False
            # One gesture changes limits more than once.
            if self._page_is_ready:
                self.guard(self._paint_wanted)


def live_canvas(figure: Figure, lock: threading.RLock | None = None) -> LiveCanvas:
    """Put a figure on a canvas that can be displayed, with its toolbar, outside pyplot."""
    canvas = LiveCanvas(figure, lock)
    FigureManager(canvas, 0)
    canvas.toolbar = canvas.manager.toolbar
    # Beside a slider over channels, everybody takes arrows for the next channel.
    canvas.toolbar.toolitems = [
        item for item in canvas.toolbar.toolitems if item[3] not in ("back", "forward")
    ]
    return canvas

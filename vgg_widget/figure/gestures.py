"""Mouse gestures on the figure: pointing at a position, and clicking on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vgg_widget.figure.linked_figure import LinkedFigure
from vgg_widget.pictures.coordinates import Hit

# A hand is not steady, but a drag is not a click.
_CLICK_PIXELS = 4


class Gestures:
    """Listens to a view's canvas and reports positions on its pictures.

    `pointed` gets the position under the mouse whenever that moves, None outside the pictures;
    `clicked` gets the position of a click, unless the toolbar's zoom or pan is on.
    """

    def __init__(
        self,
        view: LinkedFigure,
        pointed: Callable[[Hit | None], None],
        clicked: Callable[[Hit], None],
    ) -> None:
        self._view = view
        self._pointed = pointed
        self._clicked = clicked
        self._pressed: tuple[float, float] | None = None
        self._outside = False
        canvas: Any = view.figure.canvas
        for name, callback in (
            ("motion_notify_event", self._moved),
            ("figure_enter_event", self._entered),
            ("figure_leave_event", self._left),
            ("axes_leave_event", lambda _: self._pointed(None)),
            ("button_press_event", self._down),
            ("button_release_event", self._up),
        ):
            canvas.mpl_connect(name, callback)
        # matplotlib has its own actions for arrows and letters.
        manager: Any = canvas.manager
        if manager is not None and (handler := getattr(manager, "key_press_handler_id", None)):
            canvas.mpl_disconnect(handler)
            manager.key_press_handler_id = None

    def _busy(self) -> bool:
        """Return whether the toolbar's zoom or pan uses the mouse."""
        toolbar = self._view.figure.canvas.toolbar
        return toolbar is not None and bool(toolbar.mode)

    def _moved(self, event: Any) -> None:
        # ipympl's page delays moves but not leaving, so the last move may arrive afterwards.
        if not self._outside:
            self._pointed(None if self._busy() else self._view.hit(event))

    def _entered(self, _: Any) -> None:
        self._outside = False

    def _left(self, _: Any) -> None:
        self._outside = True
        self._pointed(None)

    def _down(self, event: Any) -> None:
        self._pressed = (event.x, event.y) if event.button == 1 and not self._busy() else None

    def _up(self, event: Any) -> None:
        pressed, self._pressed = self._pressed, None
        if pressed is None or event.button != 1:
            return
        moved = max(abs(event.x - pressed[0]), abs(event.y - pressed[1]))
        hit = self._view.hit(event)
        if moved <= _CLICK_PIXELS and hit is not None:
            self._clicked(hit)

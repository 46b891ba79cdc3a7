"""`Later`: debounced work on another thread, superseded by newer work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context

from vgg_widget.explorer.box import ExplorerBox

Superseded = threading.Event
"""An event that is set when the current work is no longer needed."""


class Later:
    """Debounced work on another thread: starts after a short pause in requests.

    The `box`, a weak reference, shows errors.
    """

    def __init__(self, box: ExplorerBox) -> None:
        self._box = box
        self._thread: threading.Thread | None = None
        self._superseded = Superseded()

    def start(self, work: Callable[[Superseded], object], rest: float) -> None:
        """Start some work after `rest` seconds, and cancel earlier work.

        The work gets an event, and should check regularly whether it is superseded.
        """
        self.cancel()
        superseded = self._superseded = Superseded()
        # Messages to the page keep the context of the cell or message that made the request. A
        # daemon, because an executor's thread would delay Python's exit until a slow disk answers.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, work, superseded, rest), daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Cancel pending work."""
        self._superseded.set()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait for pending work, and return whether it finished in time."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(
        self, work: Callable[[Superseded], object], superseded: Superseded, rest: float
    ) -> None:
        if superseded.wait(rest):
            return
        try:
            report = self._box.reporting_errors
        except ReferenceError:
            # The box has been freed.
            return
        report(work, clear=False, slow=True)(superseded)

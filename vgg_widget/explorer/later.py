"""`Later`: work on another thread, which newer work supersedes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context

from vgg_widget.explorer.box import ExplorerBox

Superseded = threading.Event
"""Set when nobody wants any more what is being worked on."""


class Later:
    """Begins work on another thread once nothing newer was asked for a moment.

    Errors are shown by the `box`, which is referred to weakly.
    """

    def __init__(self, box: ExplorerBox) -> None:
        self._box = box
        self._thread: threading.Thread | None = None
        self._superseded = Superseded()

    def start(self, work: Callable[[Superseded], object], rest: float) -> None:
        """Do some work after `rest` seconds, in place of what was asked for before.

        The work is given an event, to look now and then whether it is superseded.
        """
        self.cancel()
        superseded = self._superseded = Superseded()
        # What is sent to the page belongs to the cell or message that asked for it. A daemon: the
        # thread of an executor would hold up the end of Python until a slow disk has answered.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, work, superseded, rest), daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Let what was asked for be done no further."""
        self._superseded.set()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until what was asked for is done; return whether that came."""
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
            # It was freed meanwhile.
            return
        report(work, clear=False, slow=True)(superseded)

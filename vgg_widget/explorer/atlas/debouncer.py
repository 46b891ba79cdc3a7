"""`Debouncer`: slow work on another thread, begun when no newer request has come for a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeAlias

Read: TypeAlias = Callable[[Callable[[], bool]], Any]
"""Slow work; it gets a function that says whether its result is still wanted."""

# A slider that is dragged asks for more every few hundredths of a second.
REST_SECONDS = 0.2


class Debouncer:
    """Does what was asked for last; what has been superseded is never shown.

    Parameters
    ----------
    report : callable
        Gets a callback, and returns it so that its errors are shown, and that it holds the lock
        that those hold who ask and cancel.
    """

    def __init__(self, report: Callable[[Callable[..., object]], Callable[..., None]]) -> None:
        self._report = report
        self._last: threading.Thread | None = None
        # Of the last request.
        self._superseded = threading.Event()
        # One reads at a time.
        self._reading = threading.Lock()

    def ask(self, read: Read, show: Callable[[Future[Any]], object]) -> None:
        """Soon call `read` on another thread, and then `show` with its outcome."""
        self.cancel()
        self._superseded = threading.Event()
        # What is sent to the page belongs to the cell or message that asked for it. A daemon: the
        # thread of an executor would hold up the end of Python until a slow disk has answered.
        self._last = threading.Thread(
            target=copy_context().run,
            args=(self._run, self._superseded, REST_SECONDS, read, show),
            daemon=True,
        )
        self._last.start()

    def cancel(self) -> None:
        """Let nothing be shown of what was asked for."""
        self._superseded.set()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; return whether that came."""
        if self._last is not None:
            self._last.join(seconds)
        return self._last is None or not self._last.is_alive()

    def _run(
        self,
        superseded: threading.Event,
        rest: float,
        read: Read,
        show: Callable[[Future[Any]], object],
    ) -> None:
        if superseded.wait(rest):
            return
        outcome: Future[Any] = Future()
        with self._reading:
            try:
                outcome.set_result(read(lambda: not superseded.is_set()))
            except Exception as error:
                # Raised again where it can be shown.
                outcome.set_exception(error)
        if superseded.is_set():
            return
        self._report(lambda: None if superseded.is_set() else show(outcome))()

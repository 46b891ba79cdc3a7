"""`Debouncer`: slow work on another thread, begun when no newer request has come for a moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
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
        self._worker: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None
        # Of the last request.
        self._superseded = Event()

    def ask(self, read: Read, show: Callable[[Future[Any]], object]) -> None:
        """Soon call `read` on another thread, and then `show` with its outcome."""
        self.cancel()
        self._superseded = Event()
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "vgg-widget-patches")
        # What is sent to the page belongs to the cell or message that asked for it.
        run = copy_context().run
        self._last = self._worker.submit(run, self._run, self._superseded, REST_SECONDS, read, show)

    def cancel(self) -> None:
        """Let nothing be shown of what was asked for."""
        self._superseded.set()

    def close(self) -> None:
        """Cancel, and end the thread."""
        self.cancel()
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; return whether that came."""
        return self._last is None or not wait([self._last], seconds).not_done

    def _run(
        self, superseded: Event, rest: float, read: Read, show: Callable[[Future[Any]], object]
    ) -> None:
        if superseded.wait(rest):
            return
        outcome: Future[Any] = Future()
        try:
            outcome.set_result(read(lambda: not superseded.is_set()))
        except Exception as error:
            # Raised again where it can be shown.
            outcome.set_exception(error)
        self._report(lambda: None if superseded.is_set() else show(outcome))()

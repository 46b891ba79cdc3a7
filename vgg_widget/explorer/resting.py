"""`Resting`: slow work beside the explorer, begun when nobody has asked for other work a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from time import monotonic
from typing import TypeAlias

from vgg_widget.explorer.host import Guarding

Work: TypeAlias = Callable[[], Iterator[Callable[[], object]]]
"""Makes steps: each is slow to come by, and what it yields, which shows it, is quick."""

# A slider that is dragged asks for more every few hundredths of a second.
REST_SECONDS = 0.2


class Resting:
    """Does what was asked for last, on a thread that ends with the work.

    Other work that is asked for meanwhile takes its place at the next step, and nothing of what
    has been superseded is shown.

    Parameters
    ----------
    host : Guarding
        Shows what goes wrong.
    """

    def __init__(self, host: Guarding) -> None:
        self._host = host
        self._change = threading.Condition()
        self._work: Work | None = None
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def ask(self, work: Work) -> None:
        """Have this done soon, in place of what was asked for before."""
        with self._change:
            self._work, self._due = work, monotonic() + REST_SECONDS
            if self._thread is None:
                # What it sends belongs to the cell or message that asked for it.
                target = copy_context().run
                thread = threading.Thread(target=target, args=(self._run,), daemon=True)
                thread.start()
                self._thread = thread
            self._change.notify_all()

    def drop(self) -> None:
        """Let nothing be done any more of what was asked for."""
        with self._change:
            self._work = None
            self._change.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; return whether that came."""
        with self._change:
            return self._change.wait_for(lambda: self._thread is None, seconds)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._host.guard(lambda work=work: self._go_through(work))  # type: ignore[misc]

    def _next(self) -> Work | None:
        """Wait until nothing new was asked for a moment, and return it; None where all is done."""
        with self._change:
            while self._work is not None and (left := self._due - monotonic()) > 0:
                self._change.wait(left)
            if self._work is None:
                self._thread = None
                self._change.notify_all()
            return self._work

    def _go_through(self, work: Work) -> None:
        try:
            for show in work():
                with self._change:
                    if self._work is not work:
                        return
                    show()
        finally:
            with self._change:
                if self._work is work:
                    self._work = None

"""Controls when an interrupt, by Ctrl-C or the notebook's stop button, takes effect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# For each active `interrupts_delayed`, outermost first: the interrupts received so far, and the
# previous handler. Python handles signals on its main thread only.
_waiting: list[tuple[list[int], Any]] = []


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Delay interrupts until the end of the body, which must not be left half done.

    On threads other than the main one, where no interrupt is raised, this does nothing.
    """
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if here else None
    if not callable(before):
        # Interrupts are ignored, or end the process: there is no handler to call later.
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    _waiting.append((came, before))
    try:
        yield
    finally:
        _waiting.pop()
        signal.signal(signal.SIGINT, before)
        if came:
            before(came[0], None)


@contextmanager
def interrupts_allowed() -> Iterator[None]:
    """Raise interrupts during the body even within `interrupts_delayed`, pending ones at once.

    For code that may take long: a forward pass, and the user's own code.
    """
    if not _waiting or threading.current_thread() is not threading.main_thread():
        yield
        return
    usual, delaying = _waiting[0][1], signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, usual)
    try:
        for came, _ in _waiting:
            if came:
                number = came[0]
                came.clear()
                usual(number, None)
        yield
    finally:
        signal.signal(signal.SIGINT, delaying)

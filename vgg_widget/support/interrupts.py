"""Where an interrupt, by Ctrl-C or the notebook's stop button, takes effect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# For each `interrupts_delayed` that is entered, outermost first: the interrupts that came
# meanwhile, and the handler of before. Python handles signals on its main thread only.
_waiting: list[tuple[list[int], Any]] = []


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Raise interrupts at the end of the body only, which must not be left half done.

    On threads other than the main one, where no interrupt is raised, this does nothing.
    """
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if here else None
    if not callable(before):
        # Interrupts are ignored, or end the process: nobody would be told.
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
    """Raise interrupts during the body too, within `interrupts_delayed`, and what came before it.

    For what may take long: a forward pass, and code of the person at the notebook.
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

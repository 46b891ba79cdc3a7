"""What becomes of work that a person interrupts, by Ctrl-C or the notebook's stop button."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let an interrupt wait for the end of the body, which half done could not be begun again.

    Python raises interrupts on its main thread only; on others this does nothing.

    Raises
    ------
    KeyboardInterrupt
        At the end, if one came meanwhile.
    """
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if here else None
    if not callable(before):
        # Nobody would be told: interrupts are ignored, or end the process.
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(came[0], None)


class Undertakings:
    """What is under way on each thread: what an interrupt leaves half done is settled once.

    Parameters
    ----------
    settle : callable
        Called after an interrupt, when all that was under way on the thread has ended.
    """

    def __init__(self, settle: Callable[[], object]) -> None:
        self._settle = settle
        self._here = threading.local()

    @property
    def under_way(self) -> bool:
        """Whether this thread is inside `begun`."""
        return getattr(self._here, "under_way", False)

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Note that something is under way; an interrupt is settled by the outermost, and goes on.

        Raises
        ------
        KeyboardInterrupt
            As the body raised it.
        """
        outermost = not self.under_way
        try:
            self._here.under_way = True
            yield
        except KeyboardInterrupt:
            if outermost:
                self._settle()
            raise
        finally:
            self._here.under_way = not outermost

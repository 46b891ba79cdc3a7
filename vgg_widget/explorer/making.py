"""`Maker`: pictures that are made step by step on another thread, stopped, and gone on with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from vgg_widget.explorer.box import LOCK
from vgg_widget.explorer.later import Later, Superseded

EVERY = 16
"""After how many steps the pictures are shown."""


class Making(Protocol):
    """Pictures on the way."""

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        ...

    def step(self) -> None:
        """Change the pictures once."""

    def images(self) -> Any:
        """Return the pictures as they are."""


class Maker:
    """Makes pictures step by step, and lets whatever else is asked of the explorer go first.

    `explorer` is a weak reference.
    """

    def __init__(self, explorer: Any) -> None:
        self._explorer = explorer
        self._later = Later(explorer)
        # A step that was begun before a stop ends first.
        self._stepping = threading.Lock()
        self.running = False

    def start(self, make: Callable[[], Making], steps: int, show: Callable[[Any], object]) -> None:
        """Go on with what `make` returns, up to so many steps.

        `show` is called with the pictures now and then, and at the end, with the lock held.
        """
        self.running = True
        self._later.start(partial(self._run, make, steps, show), 0.0)

    def stop(self) -> None:
        """Do no further step."""
        self.running = False
        self._later.cancel()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until it is done or stopped; return whether that came. Without the lock."""
        return self._later.wait(seconds)

    def _run(
        self,
        make: Callable[[], Making],
        steps: int,
        show: Callable[[Any], object],
        superseded: Superseded,
    ) -> None:
        try:
            with self._stepping:
                making = make()
                # A stop came before these were shown.
                due = making.steps == steps
                while due or (making.steps < steps and self._may_go_on(superseded)):
                    if not due:
                        making.step()
                    due = making.steps % EVERY == 0 or making.steps == steps
                    if due:
                        found = making.images()
                        with LOCK:
                            if superseded.is_set():
                                return
                            self.running = making.steps < steps
                            show(found)
                        due = False
        except BaseException:
            with LOCK:
                if not superseded.is_set():
                    self.running = False
            raise

    def _may_go_on(self, superseded: Superseded) -> bool:
        """Wait until nobody else is at work."""
        # Whoever is at work holds the lock, and maps that are wished for come first.
        while self._explorer.attributing.is_busy and not superseded.wait(0.05):
            pass
        with LOCK:
            return not superseded.is_set()

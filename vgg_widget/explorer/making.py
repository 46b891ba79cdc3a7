"""`Maker`: optimises pictures step by step on another thread, with stop and resume."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from vgg_widget.explorer.box import LOCK
from vgg_widget.explorer.later import Later, Superseded

EVERY = 16
"""The number of steps after which the pictures are shown."""


class Making(Protocol):
    """Pictures being optimised."""

    @property
    def steps(self) -> int:
        """The number of steps so far."""
        ...

    def step(self) -> None:
        """Take one step."""

    def images(self) -> Any:
        """Return the current pictures."""


class Maker:
    """Optimises pictures step by step, giving way to all other requests to the explorer.

    `explorer` is a weak reference.
    """

    def __init__(self, explorer: Any) -> None:
        self._explorer = explorer
        self._later = Later(explorer)
        # Held during steps: a step in progress ends before a new run begins.
        self._stepping = threading.Lock()
        self.running = False

    def start(self, make: Callable[[], Making], steps: int, show: Callable[[Any], object]) -> None:
        """Continue the optimisation that `make` returns, up to `steps` steps.

        `show` is called with the pictures regularly and at the end, with the lock held.
        """
        self.running = True
        self._later.start(partial(self._run, make, steps, show), 0.0)

    def stop(self) -> None:
        """Stop after the current step."""
        self.running = False
        self._later.cancel()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until it is done or stopped; return whether it is. Call it without the lock."""
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
                # The last run was stopped before it showed the finished pictures.
                due = making.steps == steps
                while due or (making.steps < steps and self._wait_for_turn(superseded)):
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

    def _wait_for_turn(self, superseded: Superseded) -> bool:
        """Wait for other work to finish, and return whether to continue."""
        # Other work holds the lock, and requested attribution maps take precedence.
        while self._explorer.attributing.is_busy and not superseded.wait(0.05):
            pass
        with LOCK:
            return not superseded.is_set()

"""Progress reports: a bar, lines in a log, or the user's own function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeAlias

from vgg_widget.support.messages import briefly, plain_number

Progress: TypeAlias = bool | Callable[[int, int | None], object]


@contextmanager
def shown_progress(
    progress: Progress, total: int | None, what: str = "images", unit: str = "image"
) -> Iterator[Callable[[int], object]]:
    """Yield a function to call with the number of images, or other units, just completed.

    For `progress`, see `top_activations`; `what` is the label of the bar.
    """
    if not callable(progress) and not isinstance(progress, bool):
        raise TypeError(
            f"progress {briefly(progress)} is neither True, False nor a function of two numbers, "
            f"the {unit}s done and the total: pass one of these."
        )
    from tqdm.auto import tqdm

    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        bar.update(count)
        if callable(progress):
            progress(done, total)

    with tqdm(desc=what, unit=unit, total=total, disable=progress is not True) as bar:
        yield tell


class ProgressLines:
    """A `Progress` that prints occasional lines, for logs, where a bar would be one endless line.

    Lines are `every` seconds apart, except for the last one. The speed is that since the previous
    line, because images already in a store take no time. `clock` returns seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        what: str = "images",
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "images",
    ) -> None:
        self._stream, self._what, self._every, self._clock = stream, what, every, clock
        self._last_time, self._last_done = clock(), 0
        self._unit = unit

    def __call__(self, done: int, total: int | None) -> None:
        """Report how many images are done, and the total if it is known."""
        from tqdm import tqdm

        now = self._clock()
        seconds = now - self._last_time
        if seconds < self._every and done != total:
            return
        words = f"{self._what}: {done}" + ("" if total is None else f" of {total}")
        if seconds > 0 and done > self._last_done:
            speed = (done - self._last_done) / seconds
            words += f", {plain_number(speed)} {self._unit}/s"
            if total is not None:
                words += f", {tqdm.format_interval((total - done) / speed)} left"
        print(words, file=self._stream, flush=True)
        self._last_time, self._last_done = now, done

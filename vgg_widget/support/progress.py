"""How far it is: a bar, lines in a log, or a function of the person's own."""

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
    """Give a function to be told of a number of images, or other units, that are done.

    `progress` is that of `top_activations`; `what` stands before the bar.
    """
    if not callable(progress) and not isinstance(progress, bool):
        raise TypeError(
            f"progress {briefly(progress)} is neither True, False nor a function of the number of "
            f"{unit}s that are done and of all: pass one of these."
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
    """A `Progress` of lines now and then, for a log, in which a bar would be one endless line.

    There are `every` seconds between two lines, but for the last one. The speed is that since the
    line before, since images that are in a store already take no time. `clock` gives the seconds.
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
        self._then, self._before = clock(), 0
        self._unit = unit

    def __call__(self, done: int, total: int | None) -> None:
        """Tell how many images are done, and of how many where that is known."""
        from tqdm import tqdm

        now = self._clock()
        seconds = now - self._then
        if seconds < self._every and done != total:
            return
        words = f"{self._what}: {done}" + ("" if total is None else f" of {total}")
        if seconds > 0 and done > self._before:
            speed = (done - self._before) / seconds
            words += f", {plain_number(speed)} {self._unit}/s"
            if total is not None:
                words += f", {tqdm.format_interval((total - done) / speed)} left"
        print(words, file=self._stream, flush=True)
        self._then, self._before = now, done

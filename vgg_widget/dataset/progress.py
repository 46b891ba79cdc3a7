"""How far it is: a bar, or a function of the person's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TextIO, TypeAlias

from vgg_widget.support.messages import briefly

Progress: TypeAlias = bool | Callable[[int, int | None], object]


@contextmanager
def shown_progress(
    progress: Progress, total: int | None, what: str = "images"
) -> Iterator[Callable[[int], object]]:
    """Give a function to be told of images that are done.

    Parameters
    ----------
    progress : bool or callable
        See `top_activations`.
    total : int or None
        Images, where that is known.
    what : str
        What stands before the bar.

    Raises
    ------
    TypeError
        If `progress` is something else.
    """
    if callable(progress):
        yield _counting(progress, total)
    elif not isinstance(progress, bool):
        raise TypeError(
            f"progress {briefly(progress)} is neither True, False nor a function of the number of "
            "images that are done and of all: pass one of these."
        )
    elif not progress:
        yield lambda _: None
    else:
        from tqdm.auto import tqdm

        with closing(tqdm(desc=what, unit="image", total=total)) as bar:
            yield bar.update


def _counting(
    progress: Callable[[int, int | None], object], total: int | None
) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return tell


class ProgressLines:
    """Progress as lines now and then, for a log, in which a bar would be one endless line.

    It is a function as `top_activations` takes for `progress`. The speed is that since the last
    line: images that are in a store already take no time.

    Parameters
    ----------
    stream : text file
        Where to write.
    what : str
        How a line begins.
    every : float
        Seconds between two lines, at least; the last one comes in any case where the number of all
        is known.
    clock : callable
        Gives the time in seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        what: str = "images",
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._what, self._every, self._clock = stream, what, every, clock
        self._then, self._before = clock(), 0

    def __call__(self, done: int, total: int | None) -> None:
        """Tell how many images are done, and of how many where that is known."""
        now = self._clock()
        seconds = now - self._then
        if seconds < self._every and done != total:
            return
        words = f"{self._what}: {done}" + ("" if total is None else f" of {total}")
        speed = (done - self._before) / seconds if seconds > 0 else 0.0
        if speed > 0:
            words += f", {speed:.3g} images/s" if speed < 100 else f", {speed:.0f} images/s"
            if total is not None and done < total:
                words += f", {_duration((total - done) / speed)} left"
        print(words, file=self._stream, flush=True)
        self._then, self._before = now, done


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""How far it is: a bar, or a function of the person's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeAlias

from vgg_widget.choices import briefly

Progress: TypeAlias = bool | Callable[[int, int | None], object]


@contextmanager
def shown_progress(progress: Progress, total: int | None) -> Iterator[Callable[[int], object]]:
    """Give a function to be told of images that are done.

    Parameters
    ----------
    progress : bool or callable
        See `top_activations`.
    total : int or None
        Images, where that is known.

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

        with closing(tqdm(desc="images", unit="image", total=total)) as bar:
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

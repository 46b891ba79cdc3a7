"""Read named images ahead of the network, in bounded memory."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from vgg_widget.images import RGB8, ImageError, NamedItem, is_collection, not_several
from vgg_widget.support.messages import briefly, unknown_choice

OnError = Literal["raise", "skip"]

_Item = TypeVar("_Item")
_Name = TypeVar("_Name")
_Result = TypeVar("_Result")

READERS = 2
"""Number of threads. Pillow decodes without the GIL, but more threads would slow the network
down."""


@dataclass(frozen=True, slots=True, eq=False)
class NamedImage:
    """An image ready for the network: its path, or its position in the stream, and its pixels."""

    name: str
    pixels: RGB8


def check_stream(images: object, batch_size: object, on_error: object) -> None:
    """Raise for invalid arguments at the call, not at the first image."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(
            f"batch_size {batch_size!r} is not a valid number of images: give 1 or more."
        )
    if on_error not in ("raise", "skip"):
        raise ValueError(unknown_choice("on_error", on_error, ("raise", "skip")))
    if isinstance(images, str | os.PathLike) and Path(images).is_dir():
        raise TypeError(
            f"images {os.fspath(images)!r} is a folder: pass its files, for instance "
            f"sorted(Path({os.fspath(images)!r}).glob('*.jpg'))."
        )
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError(f"images {briefly(images)} is one image, not several: put it in a list.")
    if problem := not_several(images):
        raise TypeError(problem)
    if not is_collection(images):
        raise TypeError(f"images is a {type(images).__name__}: pass a list of images.")


def read_ahead(
    images: Iterable[NamedItem], read: Callable[[object], RGB8], ahead: int, on_error: OnError
) -> Generator[NamedImage]:
    """Read named images on other threads, in order, at most `ahead` of them in advance.

    If `read` raises a ValueError for an image, it either becomes an `ImageError` after all earlier
    images, or the image is skipped with a warning.
    """
    with ThreadPoolExecutor(READERS, "vgg_widget-read") as pool:

        def begin(_: int, named: NamedItem) -> tuple[str, Future[RGB8]]:
            name, image = named
            if isinstance(image, str | bytes | os.PathLike):
                return name, pool.submit(read, image)
            # The caller may reuse an array or open file for the next image, so read it now.
            done: Future[RGB8] = Future()
            try:
                done.set_result(read(image))
            except ValueError as error:
                done.set_exception(error)
            return name, done

        with closing(started_ahead(images, begin, ahead)) as begun:
            for name, future in begun:
                try:
                    pixels = future.result()
                except ValueError as error:
                    # A message about a file names it; one about an array does not.
                    words = str(error) if name in str(error) else f"{name}: {error}"
                    if on_error == "raise":
                        raise ImageError(words) from error
                    # `warn` would show each skipped file only once, even if a cell is run again.
                    warnings.warn_explicit(f"{words} It was left out.", UserWarning, __name__, 0)
                else:
                    yield NamedImage(name, pixels)


def started_ahead(
    images: Iterable[_Item],
    begin: Callable[[int, _Item], tuple[_Name, Future[_Result]]],
    ahead: int,
) -> Generator[tuple[_Name, Future[_Result]]]:
    """Start reading up to `ahead` images in advance; cancel those that are not consumed.

    The images are consumed in the calling thread, as needed. `begin` takes an image's position and
    the image, and returns its name and a future.
    """
    waiting: deque[tuple[_Name, Future[_Result]]] = deque()
    try:
        try:
            for place, image in enumerate(images):
                waiting.append(begin(place, image))
                if len(waiting) >= ahead:
                    yield waiting.popleft()
        except Exception:
            # The iterable itself failed: first yield the images already started.
            while waiting:
                yield waiting.popleft()
            raise
        while waiting:
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()


def batches(
    images: Iterable[NamedImage], most: Callable[[RGB8], int]
) -> Generator[list[NamedImage]]:
    """Group neighbouring images of the same size, at most `most` for each size.

    An error in `images` is raised after the images before it.
    """
    batch: list[NamedImage] = []
    try:
        for image in images:
            if batch and batch[0].pixels.shape != image.pixels.shape:
                yield batch
                batch = []
            batch.append(image)
            if len(batch) >= most(image.pixels):
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch

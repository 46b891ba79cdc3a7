"""Shards of named images from a folder, a pattern, a list or a stream."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageFile

from vgg_widget.images import (
    PICTURE_SUFFIXES,
    RGB8,
    NamedItem,
    file_bytes,
    is_collection,
    named_images,
    nameless,
    not_several,
)
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.memory import NotEnoughMemoryError
from vgg_widget.network.streaming import READERS, started_ahead
from vgg_widget.support.messages import briefly, reason

# Smallest, expected and largest numbers of images in a shard. A shard takes the network about 15
# seconds, which an interruption loses at most.
_LEAST, _EVERY, _MOST = 32, 32, 128

EMPTY = "images is empty: pass at least one image."

DIGEST_BYTES = 32
_NO_DIGEST = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image resized for the network, its original (height, width) and its SHA-256.

    The digest is that of the file, or of the original pixels if there is no file.
    """

    pixels: RGB8
    original: tuple[int, int]
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Unusable:
    """An unusable image, with the reason; its digest is zeros if it could not be read.

    `lasting` is whether the same bytes would fail again; a lack of memory may be temporary.
    """

    sentence: str
    digest: bytes
    lasting: bool


@dataclass(frozen=True, slots=True, eq=False)
class NamedSource:
    """An image of the set: its name, and its absolute path or, if in memory, its pixels."""

    name: str
    source: str | Prepared | Unusable

    @property
    def path(self) -> str:
        """The path of its file; empty for an image in memory."""
        return self.source if isinstance(self.source, str) else ""

    def digest(self) -> bytes:
        """Return the SHA-256 of its current file or of its pixels; zeros if it is unreadable."""
        return file_digest(self.source) if isinstance(self.source, str) else self.source.digest


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Images that are computed, stored and sent together; `start` is the first one's position."""

    start: int
    images: tuple[NamedSource, ...]


def image_set(images: object, extractor: FeatureExtractor) -> tuple[Generator[Shard], int | None]:
    """Return shards of the images given to `top_activations`, and the number of images.

    The caller closes the generator of shards. The number is None for a stream. Shard boundaries
    depend only on the names of images near them: adding or removing an image changes its own shard
    and rarely another.
    """
    named: Iterable[NamedItem]
    if isinstance(images, str | os.PathLike):
        named = _files(os.fspath(images))
    elif problem := not_several(images):
        raise ValueError(problem)
    elif is_collection(images):
        named = named_images(list(images) if isinstance(images, AbstractSet) else images)
    else:
        raise TypeError(
            f"images {briefly(images)} is not a set of images: pass a folder, a pattern such as "
            "'photos/*.jpg', a list of paths, or (name, image) pairs."
        )
    if not isinstance(named, list):
        return _shards(_sources(extractor, _checked_unique(named))), None
    if not named:
        raise ValueError(EMPTY)
    ordered = [*_checked_unique(named)]
    if all(name != nameless(number) for number, (name, _) in enumerate(named)):
        ordered.sort(key=lambda item: item[0])
    elif isinstance(images, AbstractSet):
        raise ValueError(
            "images is a set, which has no order, and contains an unnamed image: pass a list, or "
            "(name, image) pairs."
        )
    return _shards(_sources(extractor, ordered)), len(ordered)


def _files(given: str) -> list[NamedItem]:
    """List the images in a folder or matching a pattern."""
    path = Path(os.path.expanduser(given))  # noqa: PTH111 - Path's own can raise.
    if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
        found = [(each.relative_to(path).as_posix(), each) for each in path.rglob("*")]
        # Skip hidden files: macOS metadata has image suffixes, and Jupyter keeps hidden copies.
        found = [(name, each) for name, each in found if "/." not in f"/{name}"]
    elif glob.has_magic(given):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - like a shell
        found = [(each, Path(each)) for each in matches]
    elif os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
        raise ValueError(f"images {given!r} is one image, not several: put it in a list.")
    else:
        raise ValueError(
            f"images {given!r} was not found: pass a folder, a pattern such as 'photos/*.jpg', or "
            "a list of paths."
        )
    pictures: list[NamedItem] = [
        (name, str(each.absolute()))
        for name, each in found
        if each.suffix.lower() in PICTURE_SUFFIXES and each.is_file()
    ]
    if not pictures:
        raise ValueError(
            f"images {given!r} has no image files, whose names end in .jpg, .png, .webp and so on: "
            "pass another folder or pattern, or a list of paths."
        )
    return pictures


def _checked_unique(items: Iterable[NamedItem]) -> Iterator[NamedItem]:
    seen: set[str] = set()
    for name, image in items:
        if name in seen:
            raise ValueError(f"images has {name!r} twice: give each image a unique name.")
        seen.add(name)
        yield name, image


def _own_copy(extractor: FeatureExtractor, image: Any) -> Any:
    """Copy an image whose memory a stream may reuse, so that another thread can read it."""
    if isinstance(image, ImageFile.ImageFile):
        # A copy would lose the EXIF rotation and the storage mode, so read the image now.
        return prepared(extractor, image)
    # If copying fails, as for a damaged or closed file, reading will report the error.
    with suppress(Exception):
        if isinstance(image, np.ndarray | Image.Image):
            return image.copy()
        if hasattr(image, "__array__"):
            return np.array(image)
        if callable(getattr(image, "read", None)) and isinstance(data := image.read(), bytes):
            return data
    return image


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def done_ahead(
    items: Iterable[_Item], do: Callable[[_Item], _Result], ahead: int
) -> Generator[tuple[_Item, Future[_Result]]]:
    """Process items on other threads, up to `ahead` of them in advance."""
    with ThreadPoolExecutor(READERS, "vgg_widget-read") as pool:

        def begin(_: int, item: _Item) -> tuple[_Item, Future[_Result]]:
            return item, pool.submit(do, item)

        with closing(started_ahead(items, begin, ahead)) as begun:
            yield from begun


def _sources(extractor: FeatureExtractor, items: Iterable[NamedItem]) -> Generator[NamedSource]:
    """Resize images in memory for the network, reading ahead on other threads."""

    def source(item: NamedItem) -> NamedSource:
        name, image = item
        if not isinstance(image, str | os.PathLike):
            return NamedSource(name, prepared(extractor, image))
        given = os.fsdecode(image)
        path = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - Path's can raise.
        # A missing file is reported under the name that was given.
        return NamedSource(name, path if os.path.exists(path) else given)  # noqa: PTH110

    owned = ((name, _own_copy(extractor, image)) for name, image in items)
    with closing(done_ahead(owned, source, _LEAST)) as begun:
        for _, future in begun:
            yield future.result()


def prepared(extractor: FeatureExtractor, image: object) -> Prepared | Unusable:
    """Read an image in memory, or the file at a path, and resize it for the network.

    The digest is that of the bytes that were read.
    """
    if isinstance(image, Prepared | Unusable):
        return image
    digest = _NO_DIGEST
    try:
        if isinstance(image, str):
            data = file_bytes(image)
            digest = hashlib.sha256(data).digest()
            # Decode these bytes: the file may have changed by now.
            reading = extractor.read_bytes(data, image)
        else:
            reading = extractor.read(image)
            shape = repr(reading.pixels.shape).encode()
            digest = hashlib.sha256(shape + reading.pixels.tobytes()).digest()
        height, width, _ = reading.pixels.shape
        return Prepared(extractor.prepared(reading), (height, width), digest)
    except (ValueError, OSError, MemoryError) as error:
        # `ImageError` is a ValueError, as is an error for a size that the network cannot take.
        passing = any(
            isinstance(one, MemoryError | NotEnoughMemoryError)
            # Pillow's OSErrors about a file's content have no errno.
            or (isinstance(one, OSError) and one.errno is not None)
            for one in (error, error.__cause__)
        )
        return Unusable(str(error) or reason(error), digest, digest != _NO_DIGEST and not passing)


def file_digest(path: str) -> bytes:
    """Return the SHA-256 of a file's current content; zeros if it cannot be read."""
    # Reading the image will report the reason.
    with suppress(OSError, ValueError):
        # Reading a pipe could block forever.
        if os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
            with Path(path).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
    return _NO_DIGEST


def _shards(images: Generator[NamedSource]) -> Generator[Shard]:
    start, held = 0, list[NamedSource]()
    with closing(images):
        for image in images:
            held.append(image)
            if len(held) >= _MOST or (len(held) >= _LEAST and _ends_shard(image.name)):
                yield Shard(start, tuple(held))
                start, held = start + len(held), []
    if held:
        yield Shard(start, tuple(held))


def _ends_shard(name: str) -> bool:
    """Return whether a shard ends at this name.

    Shards cut at every n-th image would all change if one image were added.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") % _EVERY == 0

"""A folder, a pattern, a list or a stream of pictures, as named images in shards."""

from __future__ import annotations

import glob
import hashlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

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

# A shard takes the network a quarter of a minute: as much is lost by an interruption.
_LEAST, _EVERY, _MOST = 32, 32, 128

DIGEST_BYTES = 32
_NO_DIGEST = bytes(DIGEST_BYTES)

# Pillow reads a file when its image is first used, and not in two threads at once.
_pillow = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A picture of the network's size, its (height, width) before that, and a digest.

    That is SHA-256 of the file, or of the pixels as they were given where there is none.
    """

    pixels: RGB8
    original: tuple[int, int]
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Unusable:
    """A picture that cannot be used, and why; its digest is zeros where it could not be read.

    `lasting` tells whether the same bytes would be refused again: a full memory may pass.
    """

    sentence: str
    digest: bytes
    lasting: bool


@dataclass(frozen=True, slots=True, eq=False)
class NamedSource:
    """An image of the set: its name, and its absolute path or, of one in memory, its pixels."""

    name: str
    source: str | Prepared | Unusable

    @property
    def path(self) -> str:
        """Where its file lies; empty for an image in memory."""
        return self.source if isinstance(self.source, str) else ""

    def digest(self) -> bytes:
        """Return SHA-256 of its file as it is now, or of its pixels; zeros if it is unreadable."""
        return file_digest(self.source) if isinstance(self.source, str) else self.source.digest

    def prepared(self, extractor: FeatureExtractor) -> Prepared | Unusable:
        """Read it, and bring it to the network's size; the digest is that of what was read."""
        if isinstance(self.source, str):
            return prepared(extractor, self.source)
        return self.source


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Images that are computed, kept and sent together; `start` is the first one's place."""

    start: int
    images: tuple[NamedSource, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """The images, in the order of their names.

    `shards` is gone through once, and closed. Where they end depends on the names alone, and on few
    of them: an image more or less changes its own shard and seldom another. `total` is the number
    of images, where that is known, and `empty` the sentence for a set that turns out to have none.
    """

    shards: Generator[Shard]
    total: int | None
    empty: str


def image_set(images: object, extractor: FeatureExtractor) -> ImageSet:
    """Find the images that `top_activations` was given.

    Raises
    ------
    ValueError, TypeError
        If they are no images, there is none, or two have one name.
    """
    named: Iterable[NamedItem]
    empty = "images is empty: pass at least one picture."
    if isinstance(images, str | os.PathLike):
        named, empty = _files(os.fspath(images))
    elif isinstance(images, AbstractSet):
        named = [*_checked_names(images)]
    elif told := not_several(images):
        raise ValueError(told)
    elif is_collection(images):
        named = named_images(images)
    else:
        raise TypeError(
            f"images {briefly(images)} is no set of pictures: pass a folder, a pattern such as "
            "'photos/*.jpg', a list of paths, or (name, image) pairs."
        )
    if not isinstance(named, list):
        stream = ((name, _own_copy(image)) for name, image in _each_once(named))
        return ImageSet(_shards(_sources(extractor, stream)), None, empty)
    if not named:
        raise ValueError(empty)
    ordered = [*_each_once(named)]
    # Where one has no name, they stay as they are.
    if all(name != nameless(number) for number, (name, _) in enumerate(named)):
        ordered.sort(key=lambda item: item[0])
    return ImageSet(_shards(_sources(extractor, ordered)), len(ordered), empty)


def _checked_names(images: Iterable[Any]) -> Iterator[NamedItem]:
    for number, (name, image) in enumerate(named_images(images)):
        if name == nameless(number):
            raise ValueError(
                f"images is a set, which has no order, and {briefly(image)} in it has no name: "
                "pass a list, or (name, image) pairs."
            )
        yield name, image


def _files(given: str) -> tuple[list[NamedItem], str]:
    """List the files that a folder or a pattern stands for, and say what if there is none."""
    path = Path(os.path.expanduser(given))  # noqa: PTH111 - Path's own can raise.
    if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
        inside = [(each.relative_to(path), each) for each in path.rglob("*")]
        # What macOS leaves beside pictures has their endings too, and Jupyter keeps copies.
        named = [
            (name.as_posix(), each)
            for name, each in inside
            if not any(part.startswith(".") for part in name.parts)
        ]
        nothing, what = "it is empty", "a folder without a picture"
        advice = "pass a folder of pictures, or a list of their paths"
    elif glob.has_magic(given):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - as a shell has it
        named = [(each, Path(each)) for each in matches]
        nothing, what = "it fits no file", "a pattern without a picture"
        advice = "check it"
    elif os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
        raise ValueError(f"images {given!r} is one image, not several: put it in a list.")
    else:
        raise ValueError(
            f"images {given!r} was not found: pass a folder, a pattern such as 'photos/*.jpg', or "
            "a list of paths."
        )
    files = [(name, each) for name, each in named if each.is_file()]
    if files:
        nothing = "none of its files ends as pictures do (.jpg, .png, .webp and so on)"
    pictures = [
        (name, str(each.absolute()))
        for name, each in files
        if each.suffix.lower() in PICTURE_SUFFIXES
    ]
    return pictures, f"images {given!r} is {what} ({nothing}): {advice}."


def _each_once(items: Iterable[NamedItem]) -> Iterator[NamedItem]:
    seen: set[str] = set()
    for name, image in items:
        if name in seen:
            raise ValueError(f"images has {name!r} twice: give each image a name of its own.")
        seen.add(name)
        yield name, image


def _own_copy(image: Any) -> Any:
    """Copy what a stream may fill anew for its next image."""
    # What fails here, of a damaged file or a closed one, reading it will tell.
    with suppress(Exception):
        if isinstance(image, ImageFile.ImageFile):
            # Its copy would no longer be turned.
            image = ImageOps.exif_transpose(image)
    with suppress(Exception):
        if isinstance(image, np.ndarray | Image.Image):
            return image.copy()
    return image


# What can be read in another thread than the one that it was given in.
_READ_ELSEWHERE = (bytes, np.ndarray, Image.Image)


def _sources(extractor: FeatureExtractor, items: Iterable[NamedItem]) -> Generator[NamedSource]:
    """Bring images in memory to the network's size, the next ones meanwhile."""
    with ThreadPoolExecutor(READERS, "vgg_widget-read") as pool:

        def begin(_: int, item: NamedItem) -> tuple[str, Future[NamedSource]]:
            if isinstance(item[1], _READ_ELSEWHERE):
                return item[0], pool.submit(_source, extractor, *item)
            done = Future[NamedSource]()
            done.set_result(_source(extractor, *item))
            return item[0], done

        with closing(started_ahead(items, begin, _LEAST)) as begun:
            for _, future in begun:
                yield future.result()


def _source(extractor: FeatureExtractor, name: str, image: Any) -> NamedSource:
    if isinstance(image, str | os.PathLike):
        given = os.fsdecode(image)
        path = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - Path's own can raise.
        # What is not there is best named as it was written.
        return NamedSource(name, path if os.path.exists(path) else given)  # noqa: PTH110 - Path's own can raise.
    return NamedSource(name, prepared(extractor, image))


def prepared(extractor: FeatureExtractor, image: object) -> Prepared | Unusable:
    """Read an image in memory, or the file of a path, and bring it to the network's size."""
    digest = _NO_DIGEST
    try:
        if isinstance(image, str):
            data = file_bytes(image)
            digest = hashlib.sha256(data).digest()
            # Of these bytes: the file may be another by now.
            reading = extractor.read_bytes(data, image)
        else:
            with _pillow if isinstance(image, Image.Image) else nullcontext():
                reading = extractor.read(image)
            shape = repr(reading.pixels.shape).encode()
            digest = hashlib.sha256(shape + reading.pixels.tobytes()).digest()
        height, width, _ = reading.pixels.shape
        return Prepared(extractor.prepared(reading), (height, width), digest)
    except (ValueError, OSError, MemoryError) as error:
        # An `ImageError` is a ValueError; a size that the network cannot take is another.
        passing = any(
            isinstance(one, MemoryError | NotEnoughMemoryError)
            # Pillow has errors of a file's content that are OSErrors too, without a number.
            or (isinstance(one, OSError) and one.errno is not None)
            for one in (error, error.__cause__)
        )
        return Unusable(str(error) or reason(error), digest, digest != _NO_DIGEST and not passing)


def file_digest(path: str) -> bytes:
    """Return SHA-256 of a file as it is now; zeros for one that cannot be read."""
    # Reading the picture will say why.
    with suppress(OSError, ValueError):
        # A pipe would be waited for without end.
        if os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
            with Path(path).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
    return _NO_DIGEST


def _shards(images: Generator[NamedSource]) -> Generator[Shard]:
    start, held = 0, list[NamedSource]()
    with closing(images):
        for image in images:
            held.append(image)
            if len(held) >= _MOST or (len(held) >= _LEAST and _is_an_end(image.name)):
                yield Shard(start, tuple(held))
                start, held = start + len(held), []
    if held:
        yield Shard(start, tuple(held))


def _is_an_end(name: str) -> bool:
    """Choose names at which shards end; as the names stay, so do most ends.

    Were shards cut by number, an image more at the beginning would change each of them.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") % _EVERY == 0

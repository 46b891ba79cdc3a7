"""A folder, a pattern, a list or a stream of pictures, as named images in shards."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from vgg_widget.dataset.preparing import Prepared, Unusable, file_digest, prepared, prepared_file
from vgg_widget.images import (
    PICTURE_SUFFIXES,
    NamedItem,
    is_collection,
    named_images,
    nameless,
    not_several,
)
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.streaming import READERS, begun_ahead
from vgg_widget.support.messages import briefly

# A shard takes the network a quarter of a minute: as much is lost by an interruption.
_LEAST, _EVERY, _MOST = 32, 32, 128


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
        """Return SHA-256 of what it is; zeros for a file that cannot be read."""
        return file_digest(self.source) if isinstance(self.source, str) else self.source.digest

    def prepared(self, extractor: FeatureExtractor) -> Prepared | Unusable:
        """Read it, and bring it to the network's size; the digest is that of what was read."""
        if isinstance(self.source, str):
            return prepared_file(extractor, self.source)
        return self.source


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Images that are computed, kept and sent together; `start` is the first one's place."""

    start: int
    images: tuple[NamedSource, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """The images, in the order of their names.

    Parameters
    ----------
    shards : generator of Shard
        To be gone through once, and closed. Where they end depends on the names alone, and on few
        of them: an image more or less changes its own shard and seldom another.
    total : int or None
        How many images there are, where that is known.
    empty : str
        The sentence for a set that turns out to have none.
    """

    shards: Generator[Shard]
    total: int | None
    empty: str


def image_set(images: object, extractor: FeatureExtractor) -> ImageSet:
    """Find the images that are meant.

    Parameters
    ----------
    images : object
        See `top_activations`.
    extractor : FeatureExtractor
        What brings images in memory to the network's size.

    Raises
    ------
    ValueError, TypeError
        If they are no images, there is none, or two have one name.
    """
    ordered: Iterable[NamedItem]
    total: int | None = None
    empty = "images is empty: pass at least one picture."
    if isinstance(images, str | os.PathLike):
        found, empty = _files(os.fspath(images))
        ordered, total = _distinct(found), len(found)
    elif isinstance(images, AbstractSet):
        held = sorted(_distinct(_checked_names(images)), key=_name_of)
        ordered, total = held, len(held)
    elif told := not_several(images):
        raise ValueError(told)
    elif is_collection(images):
        named = named_images(images)
        if isinstance(named, list):
            ordered, total = _distinct(_by_name(named)), len(named)
        else:
            ordered = ((name, _own(image)) for name, image in _each_once(named))
    else:
        raise TypeError(
            f"images {briefly(images)} is no set of pictures: pass a folder, a pattern such as "
            "'photos/*.jpg', a list of paths, or (name, image) pairs."
        )
    if total == 0:
        raise ValueError(empty)
    return ImageSet(_shards(_sources(extractor, ordered)), total, empty)


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
    endings = "none of its files ends as pictures do (.jpg, .png, .webp and so on)"
    if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
        files = [
            each
            for each in path.rglob("*")
            if not _is_hidden(each.relative_to(path)) and each.is_file()
        ]
        there = "it is empty" if not files else endings
        names = [(each.relative_to(path).as_posix(), str(each.absolute())) for each in files]
        advice = "pass a folder of pictures, or a list of their paths"
        empty = f"images {given!r} is a folder without a picture ({there}): {advice}."
    elif glob.has_magic(given):
        matches = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - as a shell has it
        files = [each for each in matches if each.is_file()]
        names = [(str(each), str(each.absolute())) for each in files]
        there = "it fits no file" if not files else endings
        empty = f"images {given!r} is a pattern without a picture ({there}): check it."
    elif os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
        raise ValueError(f"images {given!r} is one image, not several: put it in a list.")
    else:
        raise ValueError(
            f"images {given!r} was not found: pass a folder, a pattern such as 'photos/*.jpg', or "
            "a list of paths."
        )
    pictures = [
        (name, path) for name, path in names if Path(name).suffix.lower() in PICTURE_SUFFIXES
    ]
    return sorted(pictures), empty


def _is_hidden(path: Path) -> bool:
    # What macOS leaves beside pictures has their endings too, and Jupyter keeps copies. Patterns
    # have hidden names only where those are asked for.
    return any(part.startswith(".") for part in path.parts)


def _name_of(item: NamedItem) -> str:
    return item[0]


def _by_name(items: list[NamedItem]) -> list[NamedItem]:
    """Order images by name; where one has none, they stay as they are."""
    if any(name == nameless(number) for number, (name, _) in enumerate(items)):
        return items
    return sorted(items, key=_name_of)


def _distinct(items: Iterable[NamedItem]) -> list[NamedItem]:
    return list(_each_once(items))


def _each_once(items: Iterable[NamedItem]) -> Iterator[NamedItem]:
    seen: set[str] = set()
    for name, image in items:
        if name in seen:
            raise ValueError(f"images has {name!r} twice: give each image a name of its own.")
        seen.add(name)
        yield name, image


# What can be read in another thread than the one that it was given in.
_READ_ELSEWHERE = (bytes, np.ndarray, Image.Image)


def _own(image: Any) -> Any:
    """Copy what a stream may fill anew for its next image."""
    if isinstance(image, ImageFile.ImageFile):
        # Its copy would no longer be turned. What fails here, reading the copy will tell.
        with suppress(Exception):
            image = ImageOps.exif_transpose(image)
    if isinstance(image, np.ndarray | Image.Image):
        try:
            return image.copy()
        except Exception:
            # Of a damaged file, or one that is closed, which reading it will tell.
            return image
    return image


def _sources(extractor: FeatureExtractor, items: Iterable[NamedItem]) -> Generator[NamedSource]:
    """Bring images in memory to the network's size, the next ones meanwhile."""
    with ThreadPoolExecutor(READERS, "vgg_widget-read") as pool:

        def begin(_: int, item: NamedItem) -> tuple[str, Future[NamedSource]]:
            if isinstance(item[1], _READ_ELSEWHERE):
                return item[0], pool.submit(_source, extractor, *item)
            done = Future[NamedSource]()
            done.set_result(_source(extractor, *item))
            return item[0], done

        with closing(begun_ahead(items, begin, _LEAST)) as begun:
            for _, future in begun:
                yield future.result()


def _source(extractor: FeatureExtractor, name: str, image: Any) -> NamedSource:
    if isinstance(image, str | os.PathLike):
        given = os.fsdecode(image)
        path = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - Path's own can raise.
        # What is not there is best named as it was written.
        return NamedSource(name, path if os.path.exists(path) else given)  # noqa: PTH110 - Path's own can raise.
    return NamedSource(name, prepared(extractor, image))


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

"""Pictures brought to the network's size, each with the digest of what it was made of."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vgg_widget.images import RGB8, ImageReading, file_bytes
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.memory import NotEnoughMemoryError
from vgg_widget.support.messages import reason

DIGEST_BYTES = 32
_NO_DIGEST = bytes(DIGEST_BYTES)

# Pillow reads a file when its image is first used, and not in two threads at once.
_pillow = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A picture that the network can take.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Of the network's size.
    original : (int, int)
        Height and width before that.
    digest : bytes
        SHA-256 of the file; of the pixels as they were given where there is none.
    """

    pixels: RGB8
    original: tuple[int, int]
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Unusable:
    """A picture that is none.

    Parameters
    ----------
    sentence : str
        What the matter is.
    digest : bytes
        As of `Prepared`; zeros where it could not be read.
    lasting : bool
        Whether the same bytes would be refused again. What the disk or the memory was the matter
        with may be good the next time.
    """

    sentence: str
    digest: bytes
    lasting: bool


def prepared_file(extractor: FeatureExtractor, path: str) -> Prepared | Unusable:
    """Read an image file; its digest is that of the bytes that were read."""
    digest = _NO_DIGEST
    try:
        data = file_bytes(path)
        digest = hashlib.sha256(data).digest()
        # Of these bytes: the file may be another by now.
        return _made(extractor, extractor.read_bytes(data, path), digest)
    except (ValueError, OSError, MemoryError) as error:
        return _unusable(error, digest)


def prepared(extractor: FeatureExtractor, image: object) -> Prepared | Unusable:
    """Read an image in memory."""
    digest = _NO_DIGEST
    try:
        with _pillow if isinstance(image, Image.Image) else nullcontext():
            reading = extractor.read(image)
        digest = _pixels_digest(reading.pixels)
        return _made(extractor, reading, digest)
    except (ValueError, OSError, MemoryError) as error:
        return _unusable(error, digest)


def _made(extractor: FeatureExtractor, reading: ImageReading, digest: bytes) -> Prepared:
    height, width, _ = reading.pixels.shape
    return Prepared(extractor.prepared(reading), (height, width), digest)


def _unusable(error: Exception, digest: bytes) -> Unusable:
    # An `ImageError` is a ValueError; a size that the network cannot take is another.
    lasting = digest != _NO_DIGEST and not any(
        isinstance(one, MemoryError | NotEnoughMemoryError)
        # Pillow has errors of a file's content that are OSErrors too, without a number.
        or (isinstance(one, OSError) and one.errno is not None)
        for one in (error, error.__cause__)
    )
    return Unusable(str(error) or reason(error), digest, lasting)


def _pixels_digest(pixels: RGB8) -> bytes:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def file_digest(path: str) -> bytes:
    """Return SHA-256 of a file as it is now; zeros for one that cannot be read."""
    try:
        # A pipe would be waited for without end.
        if os.path.isfile(path):  # noqa: PTH113 - Path's own can raise.
            with Path(path).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
    except (OSError, ValueError):
        # Reading the picture will say why.
        pass
    return _NO_DIGEST

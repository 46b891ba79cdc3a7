"""Images opened by Pillow: turned upright, over white, with 8 bits per colour."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from vgg_widget.images.arrays import from_array
from vgg_widget.images.terms import (
    RGB8,
    ImageError,
    check_not_too_large,
    check_sides,
    joined,
    too_large,
    transparency,
)
from vgg_widget.support.messages import reason

# An EPS file is a program, which Pillow would pass to Ghostscript, and an IPTC file may contain
# one. Of MPEG files Pillow reads only the size.
_NO_PICTURES = ("EPS", "IPTC", "MPEG")

_ORIENTATION = 0x0112
# How to turn the stored pixels, by EXIF orientation; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Raw modes for which Pillow converts the pixels to 8 bits, but not the transparent colour.
_DEPTHS_WITHOUT_KEY = ("L;2", "L;4", "RGB;16B")


# Images are read on several threads at once, where `warnings.catch_warnings` could restore another
# thread's filters. Instead each reader adds this filter, and the last one removes it. The comment
# in the pattern makes the filter unique.
_PILLOW = r"PIL\b(?#vgg_widget)"
_readers: list[str] = []
_lock = threading.Lock()


def decoded(data: bytes, what: str, minimum_side: int) -> tuple[RGB8, str]:
    """Return the image in a file's bytes, and a note on how its values were read.

    `what` begins error messages, such as ``"image 'cat.jpg'"``.
    """
    if not data:
        raise ImageError(f"{what} is empty (0 bytes): pass a picture file such as PNG or JPEG.")
    with _as_image_errors(what), Image.open(io.BytesIO(data)) as image:
        if image.format in _NO_PICTURES or isinstance(image, ImageFile.StubImageFile):
            raise UnidentifiedImageError
        return _converted(image, what, minimum_side)


def from_pillow(image: Image.Image, minimum_side: int) -> tuple[RGB8, str]:
    """Return the pixels of a PIL image, which is not changed; see `decoded`.

    For an animation, return the current frame.
    """
    name = getattr(image, "filename", "")
    what = f"image {os.fsdecode(name)!r}" if name else "image"
    with _as_image_errors(what):
        return _converted(image, what, minimum_side)


@contextmanager
def _as_image_errors(what: str) -> Iterator[None]:
    """Turn Pillow's exceptions into `ImageError` and silence its warnings."""
    with _lock:
        _readers.append(what)
        warnings.filterwarnings("ignore", module=_PILLOW)
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{what} is not in a readable image format (a web page or a Git LFS pointer may have "
            "an image's file name): pass an ordinary PNG, JPEG, GIF, WebP, TIFF or BMP file."
        ) from error
    except Image.DecompressionBombError as error:
        raise too_large(what, reason(error)) from error
    except MemoryError as error:
        raise ImageError(
            f"{what} could not be read: there is not enough memory, so make it smaller first."
        ) from error
    except Exception as error:  # Pillow may raise any exception on damaged files.
        raise ImageError(
            f"{what} could not be read to its end ({reason(error)}): it may be truncated, damaged "
            "or closed, so open it again, or save it again from its source."
        ) from error
    finally:
        with _lock:
            _readers.pop()
            if not _readers:
                ours = ("ignore", None, Warning, re.compile(_PILLOW), 0)
                kept = [each for each in warnings.filters if each != ours]
                warnings.filters[:] = kept  # type: ignore[index]


def _converted(image: Image.Image, what: str, minimum_side: int) -> tuple[RGB8, str]:
    check_not_too_large(what, image.height, image.width)
    tiles = getattr(image, "tile", None)
    if tiles and "transparency" in image.info and tiles[0][3] in _DEPTHS_WITHOUT_KEY:
        raise ImageError(
            f"{what} marks a transparent colour at a depth other than 8 bits: save it with an "
            "alpha channel."
        )
    image.load()
    note, turn = "", None
    # Damaged metadata must not prevent reading good pixels; Pillow's `exif_transpose` fails if the
    # metadata cannot be rewritten.
    with suppress(Exception):
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if turn is not None:
        # Only images as stored in a file are turned. An image derived from one, by `rotate` for
        # instance, keeps the file's EXIF data but may already be upright.
        if isinstance(image, ImageFile.ImageFile):
            image = image.transpose(turn)
        else:
            note = "EXIF orientation not applied to a copied or edited image"
    check_sides(what, image.height, image.width, minimum_side)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels, rule = _from_numbers(image, what, minimum_side)
        return pixels, joined(rule, note)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        note = joined(note, transparency(int(np.asarray(image.getchannel("A")).max())))
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB")), note


def _from_numbers(image: Image.Image, what: str, minimum_side: int) -> tuple[RGB8, str]:
    """Return a one-channel image of more than 8 bits; its range is inferred from its dtype."""
    values: npt.NDArray[Any] = np.array(image)
    # Pillow opens some 16-bit greyscale files as 32-bit integers.
    deep = image.mode == "I" and values.min() >= 0 and 255 < values.max() <= 65535
    if deep or image.mode.startswith("I;16"):
        values = values.astype(np.uint16)
    pixels, note = from_array(values, minimum_side, what)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return pixels, note

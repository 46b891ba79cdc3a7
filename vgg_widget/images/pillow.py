"""What Pillow opens as pictures: the right way up, over white, in eight bits a colour."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Callable
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

# EPS is a program, which Pillow would have Ghostscript run, and IPTC's envelope may hold one; of
# MPEG it reads the size alone.
_NO_PICTURES = ("EPS", "IPTC", "MPEG")

# What often lies under a picture's name, by its start.
_START = 64
_NO_PICTURE = {
    re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE): (
        "a web page: download the picture itself"
    ),
    re.compile(rb"version https://git-lfs"): (
        "a Git LFS pointer: get the file itself with git lfs pull"
    ),
}

_ORIENTATION = 0x0112
# How to turn what is stored, by the EXIF standard's numbers; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# From a number in a PNG file to what Pillow makes of it in a pixel, by Pillow's raw mode. A file
# may set bits above its depth, which mean nothing (PNG, section 11.3.2.1).
_IN_EIGHT_BITS: dict[str, Callable[[int], int]] = {
    "L;2": lambda value: (value & 3) * 85,
    "L;4": lambda value: (value & 15) * 17,
    "L": lambda value: value & 255,
    "RGB": lambda value: value & 255,
    "RGB;16B": lambda value: value >> 8,
}


class _Hush:
    """Keeps to itself what Pillow warns of while reading: odd metadata, and many pixels.

    Images are read on several threads at once, where the filters that one
    `warnings.catch_warnings` keeps can be another's, and stay for ever; so the first thread brings
    one filter along, and the last takes it away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        # The comment in it makes this filter like nobody else's.
        self._module = r"PIL\b(?#vgg_widget)"

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            warnings.filterwarnings("ignore", module=self._module)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ours = ("ignore", None, Warning, re.compile(self._module), 0)
                kept = [each for each in warnings.filters if each != ours]
                warnings.filters[:] = kept  # type: ignore[index]


_hush = _Hush()


def decoded(
    stream: io.BufferedReader | io.BytesIO, what: str, minimum_side: int
) -> tuple[RGB8, str]:
    """Return the picture in a file at its start, and how its values were understood.

    `what` is how an error begins, such as ``"image 'cat.jpg'"``.
    """
    start = b""
    try:
        start = stream.read(_START)
        stream.seek(0)
        with _hush, Image.open(stream) as image:
            _check_format(image)
            return _converted(image, what, minimum_side)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if not start:
            raise ImageError(
                f"{what} is empty (0 bytes): pass a picture file such as PNG or JPEG."
            ) from error
        for told, advice in _NO_PICTURE.items():
            if told.match(start):
                raise ImageError(f"{what} is in no picture format, but {advice}.") from error
        raise ImageError(
            f"{what} is in no picture format that can be read: pass an ordinary PNG, JPEG, GIF, "
            "WebP, TIFF or BMP file."
        ) from error
    except Exception as error:  # Pillow's readers raise anything at all on damaged files.
        raise _failure(
            error,
            what,
            "could not be read to its end",
            "it may be truncated or damaged, so save it again from its source",
        ) from error


def _check_format(image: Image.Image) -> None:
    if image.format in _NO_PICTURES or isinstance(image, ImageFile.StubImageFile):
        raise UnidentifiedImageError


def from_pillow(image: Image.Image, minimum_side: int) -> tuple[RGB8, str]:
    """Return the picture of a PIL image, which stays as it was; see `decoded`.

    Of an animation it is the frame that the image stands at.
    """
    name = getattr(image, "filename", "")
    what = f"image {os.fsdecode(name)!r}" if name else "image"
    try:
        with _hush:
            return _converted(image, what, minimum_side)
    except ImageError:
        raise
    except Exception as error:  # It may be of a file that is read only now, or closed.
        raise _failure(
            error,
            what,
            "could not be read from a PIL image",
            "it may be closed, or its file damaged, so open it again",
        ) from error


def _failure(error: Exception, what: str, problem: str, advice: str) -> ImageError:
    """Return what to tell of an error, with `advice` where the file is at fault."""
    if isinstance(error, Image.DecompressionBombError):
        return too_large(what, reason(error))
    if isinstance(error, MemoryError):
        advice = "there is too little memory for it, so make it smaller first"
    elif isinstance(error, OSError) and error.errno is not None:
        # Pillow's own errors of this type have no number.
        advice = "check the disk or the connection to it"
    return ImageError(f"{what} {problem} ({reason(error)}): {advice}.")


def _converted(image: Image.Image, what: str, minimum_side: int) -> tuple[RGB8, str]:
    check_not_too_large(what, image.height, image.width)
    key = _transparent_value(image)
    # Only what comes from a file as it was stored is turned. What was made of it by hand, by
    # `rotate` for instance, still carries the file's EXIF data, and may be the right way up.
    as_stored = isinstance(image, ImageFile.ImageFile)
    image.load()
    note = ""
    turn = _turn(image)
    if turn is not None:
        if as_stored:
            image = image.transpose(turn)
        else:
            note = "EXIF orientation not applied to a copied or edited image"
    check_sides(what, image.height, image.width, minimum_side)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels, rule = _from_numbers(image, what, minimum_side)
        return pixels, joined(rule, note)
    if image.has_transparency_data:
        if key != image.info.get("transparency"):
            image = image.copy()
            image.info["transparency"] = key
        image = image.convert("RGBA")
        note = joined(note, transparency(int(np.asarray(image.getchannel("A")).max())))
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB")), note


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how the EXIF data say that an image is to be turned, if at all."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Damaged metadata are no reason to refuse good pixels.
        return None


def _transparent_value(image: Image.Image) -> Any:
    """Return which grey or colour of a PNG is transparent, in the depth of its pixels.

    Pillow gives it in the file's depth. Of an image that is loaded already that is not known any
    more, and what Pillow gives stands.
    """
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    if image.format != "PNG" or not tiles:
        return key
    depth = _IN_EIGHT_BITS.get(str(tiles[0][3]))
    if depth is not None and isinstance(key, int):
        return depth(key)
    if depth is not None and isinstance(key, tuple):
        return tuple(map(depth, key))
    return key


def _from_numbers(image: Image.Image, what: str, minimum_side: int) -> tuple[RGB8, str]:
    """Return a one-channel picture of more than 8 bits, whose dtype is to tell its range."""
    values: npt.NDArray[Any] = np.array(image)
    # Pillow opens some 16-bit greyscale files as 32-bit integers.
    deep = image.mode == "I" and values.min() >= 0 and 255 < values.max() <= 65535
    if deep or image.mode.startswith("I;16"):
        values = values.astype(np.uint16)
    pixels, note = from_array(values, minimum_side, what)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return pixels, note

"""Anything a person calls an image becomes an RGB `uint8` array."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vgg_widget.images.arrays import as_array, from_array
from vgg_widget.images.pillow import decoded, from_pillow
from vgg_widget.images.terms import MINIMUM_SIDE, NEARLY_NOTHING, RGB8, ImageError, joined
from vgg_widget.support.messages import reason

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:|data:", re.IGNORECASE)

# As many pixels as Pillow reads, in 16 bits a colour.
_MOST_BYTES = 1 << 30

# What in a list makes it a list of pictures, and not a picture as a list of numbers.
_PICTURES = (str, bytes, os.PathLike, Image.Image)


@dataclass(frozen=True, slots=True)
class ImageReading:
    """An image as read, with what had to be decided on the way.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green, blue.
    note : str
        How the values were understood where there was a choice, such as
        ``"float values up to 1 read as 0–1"``; empty where there was none.
    origin : str or None
        The absolute path for an image from a file, else None.
    name : str
        The name, without a folder, of a file that was uploaded or displayed; empty for others.
    """

    pixels: RGB8
    note: str = ""
    origin: str | None = None
    name: str = ""


def load_image(source: object) -> RGB8:
    """Read an image from whatever it is.

    Parameters
    ----------
    source : str, Path, bytes, file object, PIL.Image.Image, array or tensor
        Files are read by Pillow: EXIF orientation is applied, transparency is laid over white,
        palette, grey, CMYK and 16-bit pictures are converted, an animation gives its first frame
        (a PIL image the frame that it stands at). Damaged metadata are passed over; an address
        (``https://…``) is refused and never fetched. The ``value`` of an ipywidgets
        ``FileUpload`` with one file, the ``FileUpload`` itself, an ``ipywidgets.Image`` and an
        ``IPython.display.Image`` that holds its data are taken as that file.
        The EXIF orientation of a PIL image is applied while it is what ``PIL.Image.open`` gave.
        An image that was made of it (by ``rotate``, ``transpose``, ``crop``, ``resize``,
        ``convert`` or ``copy``) still carries the same EXIF data, but may have been turned
        already: it is taken as it is, which the note tells.
        Arrays and tensors (anything with ``__array__``, Keras, TensorFlow and PyTorch tensors
        included) are grey ``(H, W)``, or have 1, 3 or 4 channels, last or first; a leading batch
        axis of length 1 is dropped. Their values are understood by this rule: bool is black and
        white, ``uint8`` is taken as it is, ``uint16`` is divided by 257, other integers must lie
        in 0–255. Floats up to 2 are read as 0–1 and larger ones as 0–255; what is beyond, as
        resampling, noise or brightening leave it, is cut off and told of in the note. Floats
        that fit neither range are refused: those with a mean taken off, from -1 to 1, with
        outliers, or so small in their range that they would be black. The range of alpha is its
        own: integers up to 1 are read as 0–1, those up to 255 as 0–255, and floats by the rule
        above.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A fresh, writable array, at least 32 pixels a side.

    Raises
    ------
    ImageError
        If it is missing, unreadable, truncated, empty, smaller than 32 pixels a side, larger than
        twice ``PIL.Image.MAX_IMAGE_PIXELS`` (179 million pixels together, unless you change it),
        or an array whose shape or values are no image's.

    Examples
    --------
    >>> import numpy as np
    >>> load_image(np.full((40, 50), 0.5)).shape
    (40, 50, 3)
    """
    return read_image(source).pixels


def read_image(source: Any, minimum_side: int = MINIMUM_SIDE) -> ImageReading:
    """Read an image as `load_image` does, and tell how its values were understood."""
    origin: str | None = None
    source, name = _unwrapped(source)
    if type(source).__module__.partition(".")[0] in ("vgg_widget", "keras"):
        # An extractor has a method `read`, as files have.
        raise ImageError(
            f"image is a {type(source).__name__}, which is no picture: pass a network as "
            "extractor= or model=, and the image of activations."
        )
    if isinstance(source, Image.Image):
        pixels, note = from_pillow(source, minimum_side)
    elif isinstance(source, bytes | bytearray) or (
        # Another buffer is an array's.
        isinstance(source, memoryview) and source.ndim == 1 and source.itemsize == 1
    ):
        what = f"image {name!r}" if name else f"image of {len(source)} bytes"
        pixels, note = decoded(bytes(source), what, minimum_side)
    elif isinstance(source, str | os.PathLike):
        origin = _existing_file(os.fspath(source))
        pixels, note = decoded(file_bytes(origin), f"image {str(source)!r}", minimum_side)
    elif callable(getattr(source, "read", None)):
        pixels, note = decoded(_stream_bytes(source), _stream_name(source), minimum_side)
    elif isinstance(source, list | tuple) and _are_several_things(source):
        kinds = ", ".join(type(thing).__name__ for thing in source[:4])
        raise ImageError(
            f"image is a {type(source).__name__} of {len(source)} ({kinds}"
            f"{', …' * (len(source) > 4)}): pass one picture alone, see two with "
            "vgg_widget.compare(a, b), or use FeatureExtractor.stream for several."
        )
    elif hasattr(source, "__array__") or isinstance(source, list | tuple | memoryview):
        pixels, note = from_array(as_array(source), minimum_side)
    else:
        raise ImageError(
            f"image is a {type(source).__name__}, which is none of path, bytes, file object, "
            "PIL image, array or tensor: pass one of those."
        )
    return ImageReading(pixels, joined(note, _darkness(pixels)), origin, Path(name).name)


def read_file_bytes(data: bytes, path: str, minimum_side: int) -> ImageReading:
    """Read an image from what `file_bytes` gave, as `read_image` does from the path."""
    pixels, note = decoded(data, f"image {path!r}", minimum_side)
    return ImageReading(pixels, joined(note, _darkness(pixels)), path)


def _darkness(pixels: RGB8) -> str:
    """Tell of a picture that is nearly black, as a mask of 0 and 1 or 12 bits in 16 are."""
    brightest = int(pixels.max())
    if not 0 < brightest <= NEARLY_NOTHING:
        return ""
    return f"nearly black: its brightest value is {brightest} of 255"


def _are_several_things(things: Sequence[object]) -> bool:
    """Tell several pictures, or one with its label, from one picture as a list of numbers."""
    if any(isinstance(thing, _PICTURES) for thing in things):
        return True
    # Three grey arrays are one picture, channels first, and one array is a batch of one.
    axes = [getattr(thing, "ndim", 0) for thing in things]
    rows = all(isinstance(thing, list | tuple) for thing in things)
    of_one_kind = (rows or min(axes, default=0) > 0 or len(set(map(type, things))) < 2) and len(
        set(axes)
    ) < 2
    return not of_one_kind or (len(axes) > 1 and min(axes) > 2) or axes == [2, 2]


def _unwrapped(source: Any) -> tuple[Any, str]:
    """Return the bytes or path of the file in a notebook's object or an upload, and its name.

    What is anything else is returned itself. A file without a name has an empty one.
    """
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(source).__mro__}
    if ("IPython", "Image") in kinds:
        # With embed=False it has the name alone, and of a file that is not there the name as data.
        held = source.data or source.filename
        if not held:
            raise ImageError(
                "image is an IPython.display.Image that holds no picture file: pass a path, the "
                "bytes of a file, or Image(filename=...)."
            )
        return held, str(source.filename or "")
    if ("ipywidgets", "Image") in kinds:
        data = bytes(source.value)
        return (os.fsdecode(data) if source.format == "url" else data), ""
    if ("ipywidgets", "FileUpload") in kinds:
        source = source.value
    files = [source] if _is_upload(source) else source
    if isinstance(files, tuple | list) and all(map(_is_upload, files)) and files != []:
        if len(files) != 1:
            raise ImageError(
                f"image holds {len(files) or 'no'} uploaded files, as a FileUpload's value: choose "
                "one file, and pass value[0]."
            )
        return files[0]["content"], str(files[0].get("name", ""))
    return source, ""


def _is_upload(value: object) -> bool:
    return isinstance(value, Mapping) and "content" in value


def _existing_file(path: str | bytes) -> str:
    """Return the absolute path of a file that there is; an address is refused, never fetched."""
    name = os.fsdecode(path)
    # Path's own functions raise for a user that there is not, and for a name that is too long.
    looked_for = str(Path(os.path.expanduser(name)).absolute())  # noqa: PTH111
    if _ADDRESS.match(name):
        raise ImageError(
            f"image {name!r:.250} is an address, not a file: download it and pass its path."
        )
    if os.path.isfile(looked_for):  # noqa: PTH113
        return looked_for
    if os.path.exists(looked_for):  # noqa: PTH110 - a pipe would be waited for without end
        raise ImageError(
            f"image {name!r:.250} is a folder, a device or a pipe ({looked_for!r:.250}): "
            "pass one file."
        )
    raise ImageError(
        f"image {name!r:.250} was not found: looked for {looked_for!r:.250}, so check the "
        "name, or pass an absolute path."
    )


def file_bytes(path: str | bytes) -> bytes:
    """Return what a picture's file holds; an `ImageError` has the system's error as its cause."""
    name = _existing_file(path)
    try:
        with Path(name).open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ImageError(
            f"image {name!r} could not be opened ({error.strerror or reason(error)}): check that "
            "you may read it, and the disk or the connection to it."
        ) from error
    if len(data) > _MOST_BYTES:
        raise ImageError(
            f"image {name!r} has more than {_MOST_BYTES >> 30} GiB, which no picture needs: save "
            "it in another format."
        )
    return data


def _stream_name(stream: Any) -> str:
    """Return what errors call a file object: by its file's name, or else by its type."""
    name = getattr(stream, "name", None)
    # A pipe's is a number.
    known = isinstance(name, str) and name
    return f"image file object {repr(name) if known else f'of type {type(stream).__name__}'}"


def _stream_bytes(stream: Any) -> bytes:
    """Return all that a file object still gives; it stays open."""
    what = _stream_name(stream)
    try:
        data = stream.read()
    except Exception as error:  # Anything can have a method `read`, and raise anything from it.
        raise ImageError(
            f"{what} could not be read ({reason(error)}): pass a file that is open with mode 'rb', "
            "or its path."
        ) from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(
            f"{what} gave {type(data).__name__}, not bytes: open the file with mode 'rb', or pass "
            "the picture itself."
        )
    if not len(data):
        raise ImageError(
            f"{what} is empty (0 bytes) or at its end, as after writing: call its seek(0) first."
        )
    return bytes(data)


def sample_image() -> RGB8:
    """Return matplotlib's own sample photograph, ``grace_hopper.jpg``.

    Returns
    -------
    ndarray of uint8, shape (600, 512, 3)
        Rear Admiral Grace Hopper before a flag, in RGB; a public-domain photograph of the United
        States Navy that ships inside matplotlib.

    Raises
    ------
    ImageError
        If this matplotlib was installed without its sample data.
    """
    from matplotlib import get_data_path

    return load_image(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")

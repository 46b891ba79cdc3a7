"""Reading a single image of any kind as an RGB `uint8` array."""

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

# Size of the largest image that Pillow reads, with 16 bits per colour.
_MOST_BYTES = 1 << 30

# Types whose presence in a list makes it a list of images, not one image as numbers.
_PICTURES = (str, bytes, os.PathLike, Image.Image)


@dataclass(frozen=True, slots=True)
class ImageReading:
    """An image as read, with notes on how its values were interpreted.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green, blue.
    note : str
        How ambiguous values were interpreted, such as ``"float values up to 1 read as 0–1"``;
        otherwise empty.
    origin : str or None
        Absolute path of an image from a file, otherwise None.
    name : str
        File name, without its folder, of an uploaded or displayed file; otherwise empty.
    """

    pixels: RGB8
    note: str = ""
    origin: str | None = None
    name: str = ""


def load_image(source: object) -> RGB8:
    """Read an image from a file, array, tensor or other object.

    Parameters
    ----------
    source : str, Path, bytes, file object, PIL.Image.Image, array or tensor
        Files are read by Pillow. The EXIF orientation is applied, transparent pixels are blended
        with white, and palette, grey, CMYK and 16-bit images are converted. For an animation the
        first frame is read (for a PIL image, its current frame). Damaged metadata are ignored. A
        URL (``https://…``) is refused, never fetched. An ipywidgets ``FileUpload`` with one file,
        its ``value``, an ``ipywidgets.Image`` and an ``IPython.display.Image`` that holds its data
        are read as the file they contain.
        A PIL image's EXIF orientation is applied only if ``PIL.Image.open`` returned the image.
        An image derived from it (by ``rotate``, ``transpose``, ``crop``, ``resize``, ``convert``
        or ``copy``) still carries the same EXIF data but may already be upright, so it is not
        turned, and the note says so.
        Arrays and tensors (anything with ``__array__``, including Keras, TensorFlow and PyTorch
        tensors) are grey ``(H, W)``, or have 1, 3 or 4 channels, last or first; a leading batch
        axis of length 1 is dropped. Values are interpreted by dtype: bool is black and white,
        ``uint8`` is used unchanged, ``uint16`` is divided by 257, and other integers must lie in
        0–255. Floats are read as 0–1 if all are at most 2, otherwise as 0–255. Values slightly
        outside the range, as left by resampling, noise or brightening, are clipped, and the note
        says so. Floats that fit neither range are refused: with a mean subtracted, from -1 to 1,
        with outliers, or so small that the image would be black. The range of alpha is
        determined separately: integers up to 1 are read as 0–1, larger ones up to 255 as 0–255,
        and floats by the rule above.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A new, writable array, at least 32 pixels on each side.

    Raises
    ------
    ImageError
        If the image is missing, unreadable, truncated, empty, smaller than 32 pixels on a side,
        larger than twice ``PIL.Image.MAX_IMAGE_PIXELS`` (179 million pixels by default), or an
        array whose shape or values cannot be an image's.

    Examples
    --------
    >>> import numpy as np
    >>> load_image(np.full((40, 50), 0.5)).shape
    (40, 50, 3)
    """
    return read_image(source).pixels


def read_image(source: Any, minimum_side: int = MINIMUM_SIDE) -> ImageReading:
    """Read an image as `load_image` does, and report how its values were interpreted."""
    origin: str | None = None
    source, name = _unwrapped(source)
    if type(source).__module__.partition(".")[0] in ("vgg_widget", "keras"):
        # An extractor has a `read` method, as files do.
        raise ImageError(
            f"image is a {type(source).__name__}, which is not an image: pass a network as "
            "extractor= or model=, and for activations their .image."
        )
    if isinstance(source, Image.Image):
        pixels, note = from_pillow(source, minimum_side)
    elif isinstance(source, bytes | bytearray) or (
        # Any other buffer is read as an array.
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
            f"image is a {type(source).__name__} of {len(source)} "
            f"({kinds}{', …' * (len(source) > 4)}): pass a single image, compare two with "
            "vgg_widget.compare(a, b), or pass several to FeatureExtractor.stream."
        )
    elif hasattr(source, "__array__") or isinstance(source, list | tuple | memoryview):
        pixels, note = from_array(as_array(source), minimum_side)
    else:
        raise ImageError(
            f"image is a {type(source).__name__}, which is not a path, bytes, file object, PIL "
            "image, array or tensor: pass one of those."
        )
    return ImageReading(pixels, joined(note, _darkness(pixels)), origin, Path(name).name)


def read_file_bytes(data: bytes, path: str, minimum_side: int) -> ImageReading:
    """Read an image from the result of `file_bytes`, as `read_image` does from the path."""
    pixels, note = decoded(data, f"image {path!r}", minimum_side)
    return ImageReading(pixels, joined(note, _darkness(pixels)), path)


def _darkness(pixels: RGB8) -> str:
    """Return a note for a nearly black image, such as a mask of 0 and 1 or 12 bits in 16; or ""."""
    brightest = int(pixels.max())
    if not 0 < brightest <= NEARLY_NOTHING:
        return ""
    return f"nearly black: its brightest value is {brightest} of 255"


def _are_several_things(things: Sequence[object]) -> bool:
    """Return whether a list holds several objects rather than the numbers of one image."""
    if any(isinstance(thing, _PICTURES) for thing in things):
        return True
    # Three grey arrays are one image, channels first, and one array is a batch of one.
    axes = [getattr(thing, "ndim", 0) for thing in things]
    rows = all(isinstance(thing, list | tuple) for thing in things)
    of_one_kind = (rows or min(axes, default=0) > 0 or len(set(map(type, things))) < 2) and len(
        set(axes)
    ) < 2
    return not of_one_kind or (len(axes) > 1 and min(axes) > 2) or axes == [2, 2]


def _unwrapped(source: Any) -> tuple[Any, str]:
    """Return the bytes or path of the file in a display object or an upload, and its name.

    Anything else is returned unchanged. The name is empty if there is none.
    """
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(source).__mro__}
    if ("IPython", "Image") in kinds:
        # With embed=False it holds only the name; if the file does not exist, the name is its data.
        held = source.data or source.filename
        if not held:
            raise ImageError(
                "image is an IPython.display.Image without image data: pass a path, the bytes of a "
                "file, or Image(filename=...)."
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
                f"image is a FileUpload's value with {len(files) or 'no'} files: choose one file, "
                "and pass value[0]."
            )
        return files[0]["content"], str(files[0].get("name", ""))
    return source, ""


def _is_upload(value: object) -> bool:
    return isinstance(value, Mapping) and "content" in value


def _existing_file(path: str | bytes) -> str:
    """Return the absolute path of an existing file; a URL is refused, never fetched."""
    name = os.fsdecode(path)
    # pathlib raises for an unknown user and for a name that is too long.
    looked_for = str(Path(os.path.expanduser(name)).absolute())  # noqa: PTH111
    if _ADDRESS.match(name):
        raise ImageError(
            f"image {name!r:.250} is a URL, not a file: download it and pass its path."
        )
    if os.path.isfile(looked_for):  # noqa: PTH113
        return looked_for
    if os.path.exists(looked_for):  # noqa: PTH110 - reading a pipe could block forever
        raise ImageError(
            f"image {name!r:.250} is a folder, a device or a pipe ({looked_for!r:.250}): "
            "pass one file."
        )
    raise ImageError(
        f"image {name!r:.250} was not found: looked for {looked_for!r:.250}, so check the "
        "name, or pass an absolute path."
    )


def file_bytes(path: str | bytes) -> bytes:
    """Return an image file's bytes, or raise `ImageError` from the operating system's error."""
    name = _existing_file(path)
    try:
        with Path(name).open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ImageError(
            f"image {name!r} could not be opened ({error.strerror or reason(error)}): check its "
            "permissions, and the disk or network drive."
        ) from error
    if len(data) > _MOST_BYTES:
        raise ImageError(
            f"image {name!r} has more than {_MOST_BYTES >> 30} GiB, the limit for an image file: "
            "save it in another format."
        )
    return data


def _stream_name(stream: Any) -> str:
    """Return a file object's name for error messages: its file's name, or its type."""
    name = getattr(stream, "name", None)
    # The name of a pipe is a number.
    known = isinstance(name, str) and name
    return f"image file object {repr(name) if known else f'of type {type(stream).__name__}'}"


def _stream_bytes(stream: Any) -> bytes:
    """Return the rest of a file object's bytes; it stays open."""
    what = _stream_name(stream)
    try:
        data = stream.read()
    except Exception as error:  # Any object can have a `read` method, which can raise anything.
        raise ImageError(
            f"{what} could not be read ({reason(error)}): pass a file that is open with mode 'rb', "
            "or its path."
        ) from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(
            f"{what} gave {type(data).__name__}, not bytes: open the file with mode 'rb', or pass "
            "the image itself."
        )
    if not len(data):
        raise ImageError(
            f"{what} is empty (0 bytes) or at its end, as after writing: call its seek(0) first."
        )
    return bytes(data)


def sample_image() -> RGB8:
    """Return matplotlib's sample photograph, ``grace_hopper.jpg``.

    Returns
    -------
    ndarray of uint8, shape (600, 512, 3)
        Rear Admiral Grace Hopper in front of a flag, in RGB; a public-domain photograph by the
        United States Navy that ships with matplotlib.

    Raises
    ------
    ImageError
        If matplotlib was installed without its sample data.
    """
    from matplotlib import get_data_path

    return load_image(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")

"""Anything a person calls an image becomes an RGB `uint8` array."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

RGB8 = npt.NDArray[np.uint8]

MINIMUM_SIDE = 32
"""VGG19 halves the image five times, so every side needs 2⁵ pixels."""

# Pillow's readers raise all of these on damaged files.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# To show these, Pillow starts another program or opens a file inside the file, which may be one.
_DRAWN_BY_PROGRAMS = ("EPS", "IPTC")

# A resampled image may overshoot its range by a little, which is no reason to refuse it.
_OVERSHOOT = 0.002

# What in a list makes it a list of pictures, and not a picture as a list of numbers.
_PICTURES = (str, bytes, os.PathLike, Image.Image)


class ImageError(ValueError):
    """What was given as an image cannot be used as one; the message says what would do."""


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
    """

    pixels: RGB8
    note: str = ""
    origin: str | None = None


def load_image(source: object) -> RGB8:
    """Read an image from whatever it is.

    Parameters
    ----------
    source : str, Path, bytes, file object, PIL.Image.Image, array or tensor
        Files are read by Pillow: EXIF orientation is applied, transparency is laid over white,
        palette, grey, CMYK and 16-bit pictures are converted, an animation gives its first frame
        (a PIL image the frame that it stands at).
        Arrays and tensors (anything with ``__array__``, Keras, TensorFlow and PyTorch tensors
        included) are grey ``(H, W)``, or have 1, 3 or 4 channels, last or first; a leading batch
        axis of length 1 is dropped. Their values are understood by this rule: bool is black and
        white, ``uint8`` is taken as it is, ``uint16`` is divided by 257, other integers must lie
        in 0–255; floats up to 1 are read as 0–1, and else up to 255 as 0–255, where an overshoot
        of 0.2 % at either end, as resampling leaves, is cut off.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A fresh, writable array, at least 32 pixels a side.

    Raises
    ------
    ImageError
        If it is missing, unreadable, truncated, empty, smaller than 32 pixels a side, or an array
        whose shape or values are no image's.

    Examples
    --------
    >>> import numpy as np
    >>> from vgg_widget import load_image
    >>> load_image(np.full((40, 50), 0.5)).shape
    (40, 50, 3)
    """
    return read_image(source).pixels


def read_image(source: object, minimum_side: int = MINIMUM_SIDE) -> ImageReading:
    """Read an image as `load_image` does, and tell how its values were understood.

    Parameters
    ----------
    source : object
        What `load_image` takes.
    minimum_side : int
        The fewest pixels that a side may have.
    """
    origin: str | None = None
    if isinstance(source, Image.Image):
        pixels, note = _from_pillow(source, "image")
    elif isinstance(source, bytes | bytearray | memoryview):
        pixels, note = _decode(io.BytesIO(bytes(source)), f"image of {len(bytes(source))} bytes")
    elif isinstance(source, str | os.PathLike):
        origin = _existing_file(os.fspath(source))
        with _opened(origin) as stream:
            pixels, note = _decode(stream, f"image {str(source)!r}")
    elif callable(getattr(source, "read", None)):
        pixels, note = _decode(_whole_stream(source), "image from a file object")
    elif isinstance(source, list | tuple) and _are_pictures(source):
        raise ImageError(
            f"image is a list of {len(source)} pictures: pass one, see two with "
            "vgg_widget.compare(a, b), or use FeatureExtractor.stream for several."
        )
    elif hasattr(source, "__array__") or isinstance(source, list | tuple):
        pixels, note = _from_array(_as_array(source))
    else:
        raise ImageError(
            f"image is a {type(source).__name__}, which is none of path, bytes, file object, "
            "PIL image, array or tensor: pass one of those."
        )
    height, width = pixels.shape[:2]
    if min(height, width) < minimum_side:
        raise ImageError(
            f"image is {height}×{width} pixels (height×width), but VGG19 needs at least "
            f"{minimum_side} a side: enlarge it first."
        )
    return ImageReading(pixels, note, origin)


def _are_pictures(source: Sequence[object]) -> bool:
    """Tell whether a list is one of pictures, and not one picture as a list of numbers."""
    if any(isinstance(item, _PICTURES) for item in source):
        return True
    # Three grey arrays are one picture, channels first, and one array is a batch of one.
    sides = [getattr(item, "ndim", 0) for item in source]
    return (len(sides) > 1 and min(sides) > 2) or sides == [2, 2]


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


def resize(image: RGB8, size: int | tuple[int, int] | None) -> RGB8:
    """Bring an image to the size that the network will see.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture.
    size : int, (int, int) or None
        An int scales the shorter side to it and keeps the aspect ratio; ``(height, width)``
        resizes to exactly that; None keeps the image's own size.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        Resampled by Pillow's antialiased bilinear filter, as torchvision's transforms do.

    Raises
    ------
    ValueError
        If `size` is not one of these, or is less than 32 pixels a side.
    """
    return resize_exactly(image, target_size(image, checked_size(size)))


def resize_exactly(image: RGB8, target: tuple[int, int]) -> RGB8:
    """Resize to (height, width) pixels, whatever they are; see `resize`."""
    if target == image.shape[:2]:
        return image.copy()
    resized = Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR)
    return np.array(resized)


def checked_size(size: object, minimum_side: int = MINIMUM_SIDE) -> int | tuple[int, int] | None:
    """Return `size` as plain ints, or raise ValueError saying which sizes there are."""
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size,)
    whole = [
        int(side)
        for side in sides
        if isinstance(side, int | np.integer) and not isinstance(side, bool)
    ]
    wanted = 2 if isinstance(size, tuple | list) else 1
    if len(whole) != len(sides) or len(whole) != wanted or min(whole) < minimum_side:
        raise ValueError(
            f"size {size!r} cannot be used: give whole pixels of at least {minimum_side}, either "
            "one number (the shorter side) or (height, width), or None for the image's own size."
        )
    return whole[0] if wanted == 1 else (whole[0], whole[1])


def target_size(image: RGB8, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) in pixels that a checked size means for an image."""
    height, width = image.shape[:2]
    if size is None:
        return height, width
    if isinstance(size, tuple):
        return size
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))


def _existing_file(path: str | bytes) -> str:
    name = os.fsdecode(path)
    if name.startswith(("http://", "https://", "file:")):
        raise ImageError(
            f"image {name!r} is an address, not a file: download it and pass its path."
        )
    if "\0" in name:
        raise ImageError(f"image path {name!r} holds a null character: pass a file's path.")
    if not name:
        raise ImageError("image '' is an empty name: pass a file's path.")
    # Path's own expanduser raises for a user that there is not.
    looked_for = Path(os.path.expanduser(name)).absolute()  # noqa: PTH111
    try:
        missing = not looked_for.exists()
    except OSError as error:
        raise ImageError(
            f"image {name[:60]!r} could not be opened ({error.strerror}): check the name."
        ) from error
    if looked_for.is_dir():
        raise ImageError(f"image {name!r} is a folder ({looked_for}): pass one file in it.")
    if missing:
        raise ImageError(
            f"image {name!r} was not found: looked for {looked_for}, so check the name, or pass "
            "an absolute path."
        )
    return str(looked_for)


def _opened(path: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(
            f"image {path!r} could not be opened ({reason}): check that you may read it."
        ) from error


def _whole_stream(stream: Any) -> io.BytesIO:
    try:
        data = stream.read()
    except UnicodeDecodeError as error:
        raise ImageError(
            "image file object is open as text: open the file with mode 'rb'."
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(
            f"image file object could not be read ({error}): pass one that is open for reading."
        ) from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(
            f"image file object gave {type(data).__name__}, not bytes: open the file with mode "
            "'rb'."
        )
    return io.BytesIO(bytes(data))


def _decode(stream: io.BufferedReader | io.BytesIO, what: str) -> tuple[RGB8, str]:
    if not stream.read(1):
        raise ImageError(f"{what} is empty (0 bytes): pass a picture file such as PNG or JPEG.")
    stream.seek(0)
    try:
        with Image.open(stream) as image:
            _require_drawn_here(image, what)
            return _from_pillow(image, what)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{what} is in no picture format that Pillow knows: pass a PNG, JPEG, GIF, WebP, TIFF "
            "or BMP file."
        ) from error
    except _DAMAGED as error:
        raise _damaged(what, error) from error


def _require_drawn_here(image: Image.Image, what: str) -> None:
    if image.format in _DRAWN_BY_PROGRAMS:
        raise ImageError(
            f"{what} is in the format {image.format}, which another program would have to draw: "
            "save it as PNG with that program."
        )


def _damaged(what: str, error: BaseException) -> ImageError:
    return ImageError(
        f"{what} could not be read to its end ({str(error) or type(error).__name__}): it may be "
        "truncated or damaged, so save it again from its source."
    )


def _from_pillow(image: Image.Image, what: str) -> tuple[RGB8, str]:
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _from_array(_numbers(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.array(image.convert("RGB")), ""
    except ImageError:
        raise
    except _DAMAGED as error:
        raise _damaged(what, error) from error


def _numbers(image: Image.Image) -> npt.NDArray[Any]:
    """Give a one-channel picture of more than 8 bits as numbers whose dtype tells their range."""
    values = np.array(image)
    if image.mode == "I" and values.min() >= 0 and 255 < values.max() <= 65535:
        # Pillow opens some 16-bit greyscale files as 32-bit integers.
        return values.astype(np.uint16)
    return values.astype(np.uint16) if image.mode.startswith("I;16") else values


def _as_array(source: Any) -> npt.NDArray[Any]:
    # A PyTorch tensor that is on a GPU or part of a graph has no __array__ until it is taken off.
    for step in ("detach", "cpu"):
        if callable(getattr(source, step, None)):
            source = getattr(source, step)()
    try:
        return np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImageError(
            f"image of type {type(source).__name__} could not be made an array ({error}): "
            "pass numbers of shape (height, width, 3)."
        ) from error


def _from_array(array: npt.NDArray[Any]) -> tuple[RGB8, str]:
    pixels = _channels_last(array)
    values, note = _to_uint8(pixels)
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    elif values.shape[-1] == 4:
        alpha = values[..., 3:].astype(np.float32) / 255
        over_white = values[..., :3] * alpha + 255 * (1 - alpha)
        values = np.rint(over_white).astype(np.uint8)
    return np.array(values, order="C"), note


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.size == 0:
        raise ImageError(f"image array of shape {shape} is empty: pass one with pixels.")
    if array.ndim == 2:
        return array[..., np.newaxis]
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):
        return array
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return np.moveaxis(array, 0, -1)
    raise ImageError(
        f"image array of shape {shape} is no picture: pass (height, width) for grey, or "
        "(height, width, 3) for RGB, (height, width, 4) for RGBA, or channels first."
    )


def _to_uint8(array: npt.NDArray[Any]) -> tuple[RGB8, str]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ""
    if array.dtype == np.uint8:
        return array, ""
    if array.dtype.kind not in "uif" and not _is_bfloat16(array.dtype):
        raise ImageError(
            f"image array has dtype {array.dtype}, which is no picture's: pass uint8, uint16, "
            "bool or float."
        )
    if array.dtype.kind not in "ui":
        # What does not fit becomes infinite, and is refused as that.
        with np.errstate(over="ignore"):
            return _float_to_uint8(array.astype(np.float64))
    if array.dtype.newbyteorder("=") == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(
            np.uint8
        ), "16-bit values read as 0–65535"
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise ImageError(
            f"image array of {array.dtype} has values from {low} to {high}: scale them to 0–255, "
            "or pass 16-bit values as uint16."
        )
    return array.astype(np.uint8), ""


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    # ml_dtypes' bfloat16, which TensorFlow and JAX give, has a kind of its own.
    return dtype.name == "bfloat16"


def _float_to_uint8(values: npt.NDArray[np.float64]) -> tuple[RGB8, str]:
    if not np.isfinite(values).all():
        bad = int(np.size(values) - np.isfinite(values).sum())
        raise ImageError(
            f"image array has {bad} values that are NaN or infinite: replace them, for instance "
            "with numpy.nan_to_num."
        )
    low, high = float(values.min()), float(values.max())
    # The largest value alone decides, so that a normalised picture is refused and not blackened.
    small = high <= 1 + _OVERSHOOT
    top, note = (
        (1.0, "float values up to 1 read as 0–1")
        if small
        else (255.0, "float values read as 0–255")
    )
    if low >= -_OVERSHOOT * top and high <= top * (1 + _OVERSHOOT):
        return np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8), note
    raise ImageError(
        f"image array of floats has values from {low:.4g} to {high:.4g}: undo any normalisation "
        "and pass them in 0–1 or 0–255."
    )

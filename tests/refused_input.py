"""Sources that cannot be used as an image, each with a pattern of the expected message."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import scipy.sparse
from PIL import Image

from tests import made_files as made
from tests.good_input import BLOCKS, DEEP_RGB, FLOATS, GREY, PICTURE, animation
from tests.made_files import encoded


@dataclass(frozen=True)
class Refused:
    """A function that makes a source in an empty folder, and a pattern of its error message."""

    name: str
    make: Callable[[Path], object]
    message: str


PNG = made.png(PICTURE)

# --- files


def _cut() -> list[Refused]:
    """Return truncated files: JPEG cut at ten places, most other formats at three."""
    unread = (
        r"could not be read to its end \(.*\): it may be truncated, damaged .* or save it again"
    )
    start = r"not in a readable image format .*: pass an ordinary PNG|" + unread
    baseline, progressive = (
        encoded(BLOCKS, "JPEG", quality=100, progressive=how) for how in (False, True)
    )
    every = {
        **{("JPEG", share): baseline for share in range(5, 100, 10)},
        **{("progressive JPEG", share): progressive for share in range(5, 100, 10)},
    }
    for kind in ("PNG", "BMP", "TIFF", "WEBP", "GIF", "TGA", "PCX", "PPM"):
        every |= {(kind, share): encoded(PICTURE, kind) for share in (10, 50, 90)}
    every |= {("animated GIF", 10): animation("GIF"), ("APNG", 10): animation("PNG")}
    every |= {("ICO", 50): made.ico((40, encoded(PICTURE[:40, :40])))}
    return [
        Refused(
            f"{kind} cut after {share} % of its bytes",
            lambda _, data=data, share=share: data[: len(data) * share // 100],  # type: ignore[misc]
            start if share <= 10 else unread,
        )
        for (kind, share), data in every.items()
    ]


def _written(data: bytes, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


FILES = [
    Refused(
        "file of zero bytes", _written(b"", "a.png"), r"a\.png' is empty \(0 bytes\): pass a pic"
    ),
    Refused("zero bytes", lambda _: b"", r"image of 0 bytes is empty \(0 bytes\): pass a picture"),
    Refused("empty file object", lambda _: io.BytesIO(), r"BytesIO is empty \(0 bytes\) or"),
    Refused(
        "text named .jpg",
        _written(b"These are no pixels.", "text.jpg"),
        r"text\.jpg' is not in a readable image format .*: pass an ordinary PNG, JPEG",
    ),
    Refused(
        "HTML",
        lambda _: b"<!doctype html><p>404",
        r"of 21 bytes is not in a readable image format \(a web page",
    ),
    Refused(
        "SVG",
        lambda _: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        r"not in a readable image format",
    ),
    Refused("PDF", lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", r"not in a readable image format"),
    Refused("HDF5", lambda _: b"\x89HDF\r\n\x1a\n" + b"\0" * 99, r"not in a readable image format"),
    Refused(
        "noise", lambda _: b"\x00\x01\x02" * 100, r"300 bytes is not in a readable image format"
    ),
    Refused("zeros", lambda _: b"\0" * 5000, r"not in a readable image format"),
    Refused(
        "a program in PostScript",
        lambda _: encoded(PICTURE, "EPS"),
        r"not in a readable image format",
    ),
    Refused(
        "png with overwritten bytes",
        lambda _: PNG[:3000] + b"\xff" * 40 + PNG[3040:],
        r"could not be read to its end .*: it may be truncated, damaged",
    ),
    Refused(
        "png whose header is damaged",
        lambda _: PNG[:16] + b"\xff" + PNG[17:],
        r"could not be read|readable image format",
    ),
    *(
        Refused(
            f"png of {depth} bits with a transparent value",
            lambda _, depth=depth, samples=samples, key=key: made.png(  # type: ignore[misc]
                samples, depth, chunks=[made.transparent(*key)]
            ),
            r"a transparent colour at a depth other than 8 bits: save it with",
        )
        for depth, samples, key in (
            (2, GREY & 3, (1,)),
            (4, GREY & 15, (5,)),
            (16, DEEP_RGB, (9, 9, 9)),
        )
    ),
    Refused(
        "png of no pixels",
        lambda _: made.png_start(0, 0),
        r"readable image format|could not be read",
    ),
    Refused(
        "tiff of doubles",
        lambda _: made.tiff(FLOATS.astype(np.float64)),
        r"not in a readable image format .*: pass an ordinary PNG",
    ),
    *(
        Refused(
            f"tiff with {value}",
            lambda _, value=value: made.tiff(np.where(GREY == 9, np.float32(value), np.float32(0))),  # type: ignore[misc]
            rf"bytes has {(GREY == 9).sum()} values that are NaN or infinite: replace them",
        )
        for value in (np.nan, np.inf, -np.inf)
    ),
    Refused(
        "tiff of negative floats",
        _written(made.tiff(FLOATS - np.float32(0.5)), "normal.tif"),
        r"normal\.tif' has float values from -0\.\d+ to 0\.\d+: undo any normalisation",
    ),
    Refused(
        "tiff of floats beyond 255",
        lambda _: made.tiff(np.full((40, 40), 300, np.float32)),
        r"float values from 300 to 300: undo any normalisation",
    ),
    Refused(
        "tiff of negative integers",
        lambda _: made.tiff(GREY.astype(np.int16) - 5),
        r"int32 values from -5 to 250: scale them to 0–255",
    ),
    Refused(
        "tiff of 32-bit integers",
        lambda _: made.tiff(np.full((40, 40), 100_000, np.int32)),
        r"int32 values from 100000 to 100000: scale them to 0–255",
    ),
    *(
        Refused(
            f"{height}×{width}, {kind}",
            lambda _, size=(width, height), kind=kind: encoded(Image.new("RGB", size), kind),  # type: ignore[misc]
            rf"bytes is {height}×{width} pixels \(height×width\), .* at least 32 a side: enlarge",
        )
        for kind in ("PNG", "JPEG", "GIF")
        for height, width in ((1, 1), (1, 5000), (5000, 1), (31, 31), (31, 200))
    ),
    Refused(
        "upright 31×200, stored 200×31",
        lambda _: encoded(Image.new("RGB", (31, 200)), "JPEG", exif=made.exif(6)),
        r"is 31×200 pixels \(height×width\)",
    ),
    Refused(
        "icon of 16×16",
        lambda _: made.ico((16, encoded(PICTURE[:16, :16]))),
        r"is 16×16 pixels .*: enlarge it first",
    ),
]

# Headers that claim 60000×60000 pixels, which would be 10 GB.
SIDE = 60_000
BOMBS = {
    "PNG": made.png_start(SIDE, SIDE) + PNG[33:],
    "JPEG": made.with_size(encoded(BLOCKS, "JPEG"), SIDE, SIDE),
    "GIF": made.with_screen(encoded(PICTURE, "GIF"), SIDE, SIDE),
    "BMP": made.bmp(PICTURE, size=(SIDE, SIDE)),
    "TIFF": made.tiff(PICTURE, size=(SIDE, SIDE)),
    "WEBP": made.webp_start(SIDE, SIDE),
    "PPM": b"P6 60000 60000 255\n" + PICTURE.tobytes(),
    "TGA": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, SIDE, SIDE, 24, 0) + b"\0" * 99,
    "ICO": made.ico((0, made.png_start(SIDE, SIDE) + PNG[33:])),
}


def _bombs() -> list[Refused]:
    large = r"has too many pixels \(Image size \(3600000000 pixels\) .*\): make it smaller first"
    return [
        Refused(
            f"{kind} that claims 60000×60000 pixels",
            lambda _, data=data: data,  # type: ignore[misc]
            # The WebP library fails before Pillow knows the size.
            large if kind != "WEBP" else rf"could not be read to its end|{large}",
        )
        for kind, data in BOMBS.items()
    ]


# --- paths and file objects


def _at_its_end(_: Path) -> io.BytesIO:
    stream = io.BytesIO(PNG)
    stream.read()
    return stream


def _as_text(folder: Path) -> io.StringIO:
    return io.StringIO("words")


def _closed_stream(folder: Path) -> object:
    with io.BytesIO(PNG) as stream:
        pass
    return stream


class _Failing:
    """A file object whose `read` raises."""

    def read(self) -> bytes:
        raise LookupError("gone\nfor ever")


class _Empty:
    """A file object whose `read` returns None, and that has no `tell`."""

    def read(self) -> None:
        return None


NAMES = [
    "cat.jpg",
    "two words.png",
    'it\'s "one".png',
    "ünï-cødé-猫-🐈.png",
    "<script>alert(1)<script>.png",
    "<img src=x onerror=alert(1)>.png",
    "a&b;{c}%20$HOME.png",
    "new\nline\tand\rmore.png",
    "-rf.png",
]
"""File names, all of which Linux and macOS allow."""

PATHS = [
    *(
        Refused(
            f"missing file {name!r}",
            lambda folder, name=name: folder / name,  # type: ignore[misc]
            r"' was not found: looked for .*, so check the name, or pass an absolute path"
            if "'" not in name
            else r" was not found: looked for",
        )
        for name in NAMES
    ),
    Refused("folder", lambda folder: folder, r"is a folder, .*\): pass one file"),
    Refused("folder as text", lambda folder: f"{folder}/", r"is a folder, .*\): pass one file"),
    Refused("no name", lambda _: "", r"image '' is a folder, .*: pass one file"),
    Refused("name with a null", lambda _: "cat\0.jpg", r"image 'cat\\x00.jpg' was not found"),
    Refused("name too long", lambda _: "a" * 300, r"image 'a+ was not found"),
    Refused(
        "name of lone surrogates", lambda _: "\ud800.png", r"image '\\ud800\.png' was not found"
    ),
    Refused("unknown user", lambda _: "~nobody-there/cat.jpg", r"nobody-there/cat\.jpg' was not"),
    *(
        Refused(f"device {path}", lambda _, path=path: path, message)  # type: ignore[misc]
        for message in [r"'/dev/null' is a folder, a device or a pipe .*: pass one"]
        # On Windows no path names a device.
        for path in ([os.devnull] if os.name == "posix" else [])
    ),
    *(
        Refused(f"address {address[:12]}", lambda _, address=address: address, message)  # type: ignore[misc]
        for message in [r"image '.{,250} is a URL, not a file: download it and pass its path"]
        for address in (
            "https://example.org/cat.jpg",
            "http://127.0.0.1:9/cat.jpg",
            "HTTP://EXAMPLE.ORG/cat.jpg",
            "ftp://example.org/cat.jpg",
            "s3://bucket/cat.jpg",
            "file:///etc/hostname",
            "data:image/png;base64," + "iVBORw0KGgo" * 1000,
            "Data:image/jpeg;charset=utf-8;base64,/9j/4AAQ",
            "data:,",
        )
    ),
    Refused("file object at its end", _at_its_end, r"at its end.*: call its seek\(0\) first"),
    Refused("file object of text", _as_text, r"gave str, not bytes: open the file with mode 'rb'"),
    Refused("closed file object", _closed_stream, r"could not be read \(.*closed.*\): pass a file"),
    Refused(
        "failing file object", lambda _: _Failing(), r"could not be read \(gone for ever\): pass"
    ),
    Refused("file object that returns None", lambda _: _Empty(), r"gave NoneType, not bytes: open"),
]

# --- PIL images


def _closed(_: Path) -> Image.Image:
    image = Image.fromarray(PICTURE)
    image.close()
    return image


def _closed_before_reading(_: Path) -> Image.Image:
    with Image.open(io.BytesIO(PNG)) as image:
        pass
    return image


def _cut_before_reading(_: Path) -> Image.Image:
    return Image.open(io.BytesIO(PNG[:3000]))


PILLOW = [
    Refused("closed PIL image", _closed, r"could not be read .*closed.*\): .* so open it again"),
    Refused(
        "PIL image closed before it was read", _closed_before_reading, r"\(.*\): .*so open it again"
    ),
    Refused(
        "PIL image of a truncated file", _cut_before_reading, r"\(.*truncated.*\): it may be trun"
    ),
    Refused(
        "PIL image of no pixels", lambda _: Image.new("RGB", (0, 40)), r"is 40×0 pixels .*enlarge"
    ),
    Refused(
        "PIL image of no integers", lambda _: Image.new("I", (0, 40)), r"is 40×0 pixels .*enlarge"
    ),
    Refused(
        "PIL image of NaN",
        lambda _: Image.fromarray(np.full((40, 40), np.nan, np.float32)),
        r"image has 1600 values that are NaN or infinite: replace them",
    ),
]

# --- arrays


class _Unwilling:
    """An object whose `__array__` raises."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise AttributeError("not\ntoday")


def _of_itself(_: Path) -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def _shapes() -> list[Refused]:
    not_images = {
        (): r"\(\)",
        (40,): r"\(40,\)",
        (40, 40, 2): r"\(40, 40, 2\)",
        (40, 40, 5): r"\(40, 40, 5\)",
        (1, 1, 40, 40, 3): r"\(1, 1, 40, 40, 3\)",
    }
    several = ((2, 40, 32, 3), (7, 3, 40, 32), (2, 40, 32), (40, 40, 40), (1, 9, 40, 41))
    empty = ((0, 40, 3), (40, 0), (0, 40, 40, 3), (1, 0, 0, 3))
    small = ((31, 40), (40, 31), (1, 1, 3), (31, 31, 4), (1, 5000, 3))
    cases = [
        (shape, rf"array of shape {message} is not an image: pass \(height, width\) for grey")
        for shape, message in not_images.items()
    ]
    cases += [
        (
            shape,
            r"is not an image: .*; for several images, pass one, such as array\[0\]",
        )
        for shape in several
    ]
    cases += [(shape, r"array of shape \(.*\) is empty: pass one with pixels") for shape in empty]
    cases += [
        (shape, rf"array is {shape[0]}×{shape[1]} pixels \(height×width\), .*: enlarge it first")
        for shape in small
    ]
    return [
        Refused(f"array of shape {shape}", lambda _, shape=shape: np.zeros(shape, np.uint8), words)  # type: ignore[misc]
        for shape, words in cases
    ]


def _numbers(values: Any) -> Callable[[Path], Any]:
    return lambda _: np.asarray(values).reshape(40, 40)


_NO_IMAGES: tuple[Any, ...] = (
    *(None, 5, 2.5, True, object, {"image": 1}, {1, 2}, range(9), iter([])),
)

ARRAYS = [
    *(
        Refused(
            f"array of {dtype}",
            lambda _, dtype=dtype: np.zeros((40, 40), dtype),  # type: ignore[misc]
            r"array has dtype \w+.*, which images cannot have: pass uint8, uint16, bool or float",
        )
        for dtype in ("c8", "c16", "O", "U3", "S3", "M8[s]", "m8[s]", "V4", "u4,f4", "u1,u1,u1")
    ),
    Refused(
        "array of eight-bit floats",
        lambda _: np.zeros((40, 40), ml_dtypes.float8_e4m3fn),
        r"dtype float8_e4m3fn, which images cannot have: pass uint8",
    ),
    *(
        Refused(
            f"array with {value} in {dtype}",
            lambda _, value=value, dtype=dtype: np.where(GREY == 9, value, 0).astype(dtype),  # type: ignore[misc]
            rf"array has {(GREY == 9).sum()} values that are NaN or infinite: replace them",
        )
        for value in (np.nan, np.inf, -np.inf)
        for dtype in ("f2", "f4", ">f8", "g")
    ),
    Refused(
        "array with a signalling NaN",
        lambda _: np.full((40, 40), 0x7F800001, np.uint32).view(np.float32),
        r"1600 values that are NaN",
    ),
    *(
        Refused(name, _numbers(values), message)
        for name, values, message in (
            (
                "normalised floats",
                np.linspace(-2.1, 2.6, 1600),
                r"from -2\.1 to 2\.6: undo any norm",
            ),
            ("floats from -1 to 1", np.linspace(-1, 1, 1600), r"float values from -1 to 1: undo"),
            # Floats up to 1 are taken as 0–1. Negative ones must be refused, not clipped to black.
            (
                "floats without a mean",
                np.linspace(-0.3, 0.7, 1600),
                r"from -0\.3 to 0\.7: undo any",
            ),
            (
                "floats up to 600",
                np.linspace(0, 600, 1600),
                r"float values from 0 to 600: undo any",
            ),
            ("floats of 1e300", np.full(1600, 1e300), r"from 1e\+300 to 1e\+300: undo any"),
            ("long doubles", np.full(1600, np.longdouble(1e300)) ** 2, r"(NaN or infin|from).*: "),
            (
                "integers up to 1599",
                np.arange(1600),
                r"int64 values from 0 to 1599: scale them to 0",
            ),
            ("integers from -5", np.arange(1600) % 256 - 5, r"int64 values from -5 to 250: scale"),
            ("bytes with a sign", np.full(1600, -1, np.int8), r"int8 values from -1 to -1: scale"),
            (
                "the largest integers",
                np.full(1600, 2**64 - 1, np.uint64),
                r"to 18446744073709551615: ",
            ),
        )
    ),
    Refused(
        "masked array",
        lambda _: np.ma.masked_array(PICTURE, PICTURE > 250),
        rf"array has {(PICTURE > 250).sum()} masked values.*: fill them",
    ),
    Refused(
        "more pixels than there is memory",
        lambda _: np.broadcast_to(np.float32(1), (SIDE, SIDE, 3)),
        r"too many pixels \(60000×60000 \(height×width\), more than the limit of 178956970\)",
    ),
    Refused(
        "ragged lists",
        lambda _: [[1, 2, 3], [4]],
        r"type list could not be converted to an array .*: pass",
    ),
    Refused(
        "recursive list", _of_itself, r"type list could not be converted to an array|not an image"
    ),
    Refused(
        "list of None",
        lambda _: [[None] * 40] * 40,
        r"dtype object, which images cannot have: pass",
    ),
    Refused(
        "list of words",
        lambda _: ["cat.jpg", "dog.jpg"],
        r"is a list of 2 \(str, str\): pass a single image",
    ),
    Refused(
        "list of pictures",
        lambda _: [PICTURE, PICTURE],
        r"is a list of 2 \(.*\): pass a single image",
    ),
    Refused(
        "sparse matrix",
        lambda _: scipy.sparse.eye_array(40),
        r"image is a dia_array, .*path, bytes, file object.*: pass one of those",
    ),
    Refused("empty list", lambda _: [], r"array of shape \(0,\) is empty: pass one with pixels"),
    Refused(
        "array that raises", lambda _: _Unwilling(), r"_Unwilling could not .* \(not today\): pass"
    ),
    *(
        Refused(
            f"{type(value).__name__} {value!r}"[:30],
            lambda _, value=value: value,  # type: ignore[misc]
            rf"image is a {type(value).__name__}, .*path, bytes, file object.*: pass one of those",
        )
        for value in _NO_IMAGES
    ),
]

REFUSED = [*_cut(), *FILES, *_bombs(), *PATHS, *PILLOW, *_shapes(), *ARRAYS]

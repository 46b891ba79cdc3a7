"""Unusual but valid pictures and arrays, each with the pixels that it must give.

The expected pixels are computed from the numbers that went into the file, by the formula of the
format's specification. `within` is the largest allowed error in levels of 255: 0 if nothing is
lost, 1 if two ways of rounding are right, 2 or 3 for JPEG, whose cosine transform and colour space
both round.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests import made_files as made
from tests.made_files import encoded

RGB8 = npt.NDArray[np.uint8]

RANDOM = np.random.default_rng(7)
PICTURE: RGB8 = RANDOM.integers(0, 256, (40, 52, 3), dtype=np.uint8)
GREY: RGB8 = RANDOM.integers(0, 256, (40, 52), dtype=np.uint8)
RGBA: RGB8 = RANDOM.integers(0, 256, (40, 52, 4), dtype=np.uint8)
RGBA[:5, ..., 3], RGBA[5:10, ..., 3] = 0, 255
INKS: RGB8 = RANDOM.integers(0, 256, (40, 52, 4), dtype=np.uint8)
DEEP: npt.NDArray[np.uint16] = RANDOM.integers(0, 65536, (40, 52), dtype=np.uint16)
DEEP[0, :4] = (0, 65535, 257, 128 * 257)
DEEP_RGB: npt.NDArray[np.uint16] = RANDOM.integers(0, 65536, (40, 52, 3), dtype=np.uint16)
DEEP_RGBA: npt.NDArray[np.uint16] = RANDOM.integers(0, 65536, (40, 52, 4), dtype=np.uint16)
FLOATS = RANDOM.random((40, 52), dtype=np.float32)
# JPEG hardly changes squares of 8×8 pixels of one colour.
BLOCKS: RGB8 = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
INK_BLOCKS: RGB8 = RANDOM.integers(0, 256, (5, 7, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
PALETTE = [(255, 0, 0), (0, 200, 10), (0, 0, 255), (30, 60, 90)]
COLORS = np.array(PALETTE, np.uint8)
INDICES: RGB8 = RANDOM.integers(0, 4, (40, 52), dtype=np.uint8)
MANY_COLORS = [(int(r), int(g), int(b)) for r, g, b in RANDOM.integers(0, 256, (256, 3))]
for _array in (PICTURE, GREY, RGBA, INKS, DEEP, DEEP_RGB, DEEP_RGBA, FLOATS, BLOCKS, INDICES):
    _array.flags.writeable = False


@dataclass(frozen=True)
class Good:
    """A function that makes a source, and the pixels that loading the source must give."""

    name: str
    make: Callable[[], object]
    expected: npt.NDArray[Any]
    within: int = 0


def as_rgb(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([grey, grey, grey], axis=-1)


def over_white(rgba: npt.NDArray[Any]) -> npt.NDArray[Any]:
    alpha = rgba[..., 3:] / 255
    blended: npt.NDArray[Any] = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))
    return blended


def on_paper(inks: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert cyan, magenta, yellow and black to RGB: what the inks leave of white."""
    inks = inks.astype(float)
    paper: npt.NDArray[Any] = np.rint((255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255)
    return paper


# How a viewer turns the stored pixels, by the EXIF standard's table of orientations.
UPRIGHT: dict[int, Callable[[RGB8], RGB8]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),  # a quarter turn clockwise
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def palette_image(indices: RGB8 = INDICES) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette([level for color in PALETTE for level in color])
    return image


# --- PNG


def _depths() -> list[Good]:
    cases = []
    for interlaced in (False, True):
        how = "interlaced" if interlaced else "plain"
        for depth in (1, 2, 4, 8):
            top = 2**depth - 1
            grey = (GREY & top).astype(np.uint8)
            cases.append(
                Good(
                    f"png grey of {depth} bits, {how}",
                    lambda grey=grey, depth=depth, interlaced=interlaced: made.png(  # type: ignore[misc]
                        grey, depth, interlaced=interlaced
                    ),
                    as_rgb(np.rint(grey * 255.0 / top)),
                )
            )
            colors = MANY_COLORS[: top + 1]
            cases.append(
                Good(
                    f"png palette of {depth} bits, {how}",
                    lambda grey=grey, depth=depth, colors=colors, interlaced=interlaced: made.png(  # type: ignore[misc]
                        grey, depth, palette=colors, interlaced=interlaced
                    ),
                    np.array(colors)[grey],
                )
            )
        for name, samples, depth, expected, within in (
            ("RGB", PICTURE, 8, PICTURE, 0),
            ("RGBA", RGBA, 8, over_white(RGBA), 1),
            ("LA", RGBA[..., 2:], 8, over_white(RGBA[..., [2, 2, 2, 3]]), 1),
            ("grey of 16 bits", DEEP, 16, as_rgb(np.rint(DEEP / 257)), 0),
            # Pillow keeps only the upper eight bits of these.
            ("RGB of 16 bits", DEEP_RGB, 16, DEEP_RGB / 257, 1),
            ("RGBA of 16 bits", DEEP_RGBA, 16, over_white(DEEP_RGBA / 257), 2),
            (
                "LA of 16 bits",
                DEEP_RGBA[..., 2:],
                16,
                over_white(DEEP_RGBA[..., [2, 2, 2, 3]] / 257),
                2,
            ),
        ):
            cases.append(
                Good(
                    f"png {name}, {how}",
                    lambda samples=samples, depth=depth, interlaced=interlaced: made.png(  # type: ignore[misc]
                        samples, depth, interlaced=interlaced
                    ),
                    expected,
                    within,
                )
            )
    return cases


def _white_where(here: npt.NDArray[Any], picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    result = np.array(picture)
    result[here] = 255
    return result


ALPHAS = np.array([255, 0, 128, 255])

PNG_TRANSPARENCY = [
    *(
        Good(
            f"png grey of {depth} bits with a transparent value",
            lambda depth=depth, value=value: made.png(  # type: ignore[misc]
                GREY & (2**depth - 1), depth, chunks=[made.transparent(value)]
            ),
            as_rgb(
                _white_where(
                    (GREY & (2**depth - 1)) == value,
                    (GREY & (2**depth - 1)) * (255 // (2**depth - 1)),
                )
            ),
        )
        for depth, value in ((1, 0), (8, 17))
    ),
    Good(
        "png grey of 16 bits with a transparent value",
        lambda: made.png(DEEP, 16, chunks=[made.transparent(128 * 257)]),
        as_rgb(_white_where(DEEP == 128 * 257, np.rint(DEEP / 257))),
    ),
    Good(
        "png RGB with a transparent colour",
        lambda: made.png(COLORS[INDICES], chunks=[made.transparent(0, 0, 255)]),
        _white_where(INDICES == 2, COLORS[INDICES]),
    ),
    Good(
        "png palette with one transparent entry",
        lambda: made.png(INDICES, 2, palette=PALETTE, chunks=[(b"tRNS", b"\xff\xff\0")]),
        _white_where(INDICES == 2, COLORS[INDICES]),
    ),
    Good(
        "png palette with an alpha for each entry",
        lambda: made.png(INDICES, 2, palette=PALETTE, chunks=[(b"tRNS", bytes(ALPHAS.tolist()))]),
        over_white(np.dstack([COLORS[INDICES], ALPHAS[INDICES]])),
        within=1,
    ),
]

PNG_METADATA = [
    Good("png with a damaged EXIF", lambda: made.png(PICTURE, chunks=[(b"eXIf", b"no")]), PICTURE),
    Good(
        "png that claims to be an animation of no frames",
        lambda: made.png(PICTURE, chunks=[(b"acTL", b"\0" * 8)]),
        PICTURE,
    ),
    Good("png without its last chunk", lambda: made.png(PICTURE)[:-12], PICTURE),
    Good("png with more after its end", lambda: made.png(PICTURE) + b"more" * 100, PICTURE),
]

# --- the other formats

JPEG_OPTIONS: dict[str, Any] = {"quality": 100, "subsampling": 0}


def _turned() -> list[Good]:
    return [
        Good(
            f"{kind} with EXIF orientation {number}",
            lambda kind=kind, number=number, options=options: encoded(  # type: ignore[misc]
                BLOCKS, kind, exif=made.exif(number), **options
            ),
            upright(BLOCKS),
            within,
        )
        for kind, options, within in (
            ("JPEG", JPEG_OPTIONS, 3),
            ("PNG", {}, 0),
            ("WEBP", {"lossless": True}, 0),
        )
        for number, upright in UPRIGHT.items()
    ] + [
        Good(
            f"TIFF with orientation {number}",
            lambda number=number: made.tiff(BLOCKS, extra={274: (3, [number])}),  # type: ignore[misc]
            upright(BLOCKS),
        )
        for number, upright in UPRIGHT.items()
    ]


CMYK_JPEG = encoded(Image.fromarray(INK_BLOCKS, "CMYK"), "JPEG", quality=100)


def _inks_of_ycck(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert stored luma, chroma (JFIF) and inverted black to inks, where 255 is full ink."""
    luma, blue, red, black = np.moveaxis(stored.astype(float), -1, 0)
    blue, red = blue - 128, red - 128
    inks = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    limited: npt.NDArray[Any] = np.clip(np.stack([*inks, 255 - black], axis=-1), 0, 255)
    return limited


JPEG = [
    Good("jpeg", lambda: encoded(BLOCKS, "JPEG", **JPEG_OPTIONS), BLOCKS, 3),
    Good(
        "jpeg, progressive",
        lambda: encoded(BLOCKS, "JPEG", progressive=True, **JPEG_OPTIONS),
        BLOCKS,
        3,
    ),
    Good(
        "jpeg, grey",
        lambda: encoded(BLOCKS[..., 0], "JPEG", quality=100),
        as_rgb(BLOCKS[..., 0]),
        2,
    ),
    # The inks are stored inverted, as by Adobe; browsers assume that even without Adobe's mark.
    Good("jpeg, CMYK with Adobe's mark", lambda: CMYK_JPEG, on_paper(INK_BLOCKS), 3),
    Good(
        "jpeg, CMYK without Adobe's mark",
        lambda: made.without_segment(CMYK_JPEG, 0xEE),
        on_paper(INK_BLOCKS),
        3,
    ),
    Good(
        "jpeg, YCCK by Adobe's mark",
        lambda: CMYK_JPEG.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"),
        on_paper(_inks_of_ycck(255 - INK_BLOCKS)),
        4,
    ),
    Good(
        "jpeg with a damaged EXIF",
        lambda: encoded(BLOCKS, "JPEG", exif=b"Exif\0\0no such thing", **JPEG_OPTIONS),
        BLOCKS,
        3,
    ),
    Good(
        "jpeg with an invalid orientation",
        lambda: encoded(BLOCKS, "JPEG", exif=made.exif(9), **JPEG_OPTIONS),
        BLOCKS,
        3,
    ),
]

TIFF = [
    Good("tiff", lambda: made.tiff(PICTURE), PICTURE),
    Good("tiff, big-endian", lambda: made.tiff(PICTURE, big_endian=True), PICTURE),
    Good("tiff, one plane after the other", lambda: made.tiff(PICTURE, planes=True), PICTURE),
    Good("tiff, white is 0", lambda: made.tiff(GREY, photometric=0), as_rgb(255 - GREY)),
    Good("tiff, RGBA", lambda: made.tiff(RGBA, extra={338: (3, [2])}), over_white(RGBA), 1),
    Good("tiff, CMYK", lambda: made.tiff(INKS, photometric=5), on_paper(INKS), 2),
    Good("tiff of 16 bits", lambda: made.tiff(DEEP), as_rgb(np.rint(DEEP / 257))),
    Good(
        "tiff of 16 bits, big-endian",
        lambda: made.tiff(DEEP, big_endian=True),
        as_rgb(np.rint(DEEP / 257)),
    ),
    Good(
        "tiff of 16 bits, nearly black",
        lambda: made.tiff(np.full((40, 52), 200, np.uint16)),
        np.ones((40, 52, 3)),
    ),
    Good("tiff, RGB of 16 bits", lambda: made.tiff(DEEP_RGB), DEEP_RGB / 257, 1),
    Good(
        "tiff of signed 16 bits in 0–255",
        lambda: made.tiff(GREY.astype(np.int16)),
        as_rgb(GREY),
    ),
    Good("tiff of 32 bits in 0–255", lambda: made.tiff(GREY.astype(np.int32)), as_rgb(GREY)),
    Good("tiff of floats in 0–1", lambda: made.tiff(FLOATS), as_rgb(np.rint(FLOATS * 255))),
    Good(
        "tiff of floats in 0–255",
        lambda: made.tiff(GREY.astype(np.float32), big_endian=True),
        as_rgb(GREY),
    ),
    Good("tiff, packed", lambda: encoded(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE),
    Good(
        "tiff of several pages",
        lambda: encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
        PICTURE,
    ),
]

FIVE_BITS: npt.NDArray[np.uint16] = RANDOM.integers(0, 32, (40, 52, 3), dtype=np.uint16)

BMP = [
    Good("bmp", lambda: made.bmp(PICTURE[..., ::-1]), PICTURE),
    Good("bmp, top down", lambda: made.bmp(PICTURE[..., ::-1], top_down=True), PICTURE),
    Good(
        "bmp of 32 bits without alpha",
        lambda: made.bmp(np.dstack([PICTURE[..., ::-1], np.zeros_like(GREY)]), 32),
        PICTURE,
    ),
    *(
        Good(
            f"bmp palette of {depth} bits",
            lambda depth=depth: made.bmp(
                GREY & (2**depth - 1), depth, palette=MANY_COLORS[: 2**depth]
            ),  # type: ignore[misc]
            np.array(MANY_COLORS)[GREY & (2**depth - 1)],
        )
        for depth in (1, 4, 8)
    ),
    Good(
        "bmp palette, run-length encoded",
        lambda: made.bmp(
            INDICES, 8, palette=PALETTE, compression=1, packed=made.run_length_encoded(INDICES)
        ),
        COLORS[INDICES],
    ),
    Good(
        "bmp of 16 bits, five for each colour",
        lambda: made.bmp(FIVE_BITS[..., 0] << 10 | FIVE_BITS[..., 1] << 5 | FIVE_BITS[..., 2], 16),
        FIVE_BITS * 255 / 31,
        1,
    ),
    Good(
        "bmp of 16 bits, six of them for green",
        lambda: made.bmp(
            FIVE_BITS[..., 0] << 11 | FIVE_BITS[..., 1] << 6 | FIVE_BITS[..., 2],
            16,
            masks=(0xF800, 0x07E0, 0x001F),
        ),
        FIVE_BITS * np.array([1, 2, 1]) * 255 / np.array([31, 63, 31]),
        1,
    ),
]


def _frames() -> list[Image.Image]:
    return [palette_image(np.full((40, 52), index, np.uint8)) for index in range(3)]


def animation(kind: str, **options: Any) -> bytes:
    first, *others = _frames() if kind == "GIF" else [one.convert("RGB") for one in _frames()]
    return encoded(first, kind, save_all=True, append_images=others, duration=50, **options)


FIRST_FRAME = np.broadcast_to(COLORS[0], (40, 52, 3))
HOLED: RGB8 = np.pad(np.zeros((20, 20), np.uint8), 16, constant_values=1)

FRAMES_AND_SIZES = [
    Good("gif", lambda: encoded(palette_image(), "GIF"), COLORS[INDICES]),
    Good("gif, animated", lambda: animation("GIF"), FIRST_FRAME),
    Good("gif, animated and cut in a later frame", lambda: animation("GIF")[:-9], FIRST_FRAME),
    Good(
        "gif with a transparent colour",
        lambda: encoded(palette_image(HOLED), "GIF", transparency=0),
        _white_where(HOLED == 0, COLORS[HOLED]),
    ),
    Good("apng", lambda: animation("PNG"), FIRST_FRAME),
    Good(
        "apng with a default image outside the animation",
        lambda: animation("PNG", default_image=True),
        FIRST_FRAME,
    ),
    Good("webp, animated", lambda: animation("WEBP", lossless=True), FIRST_FRAME),
    Good("webp", lambda: encoded(PICTURE, "WEBP", lossless=True), PICTURE),
    Good(
        "webp, RGBA",
        lambda: encoded(RGBA, "WEBP", lossless=True, exact=True),
        over_white(RGBA),
        1,
    ),
    Good(
        "ico of several sizes: the largest",
        lambda: made.ico(
            (16, encoded(np.zeros((16, 16, 4), np.uint8))),
            (64, encoded(Image.new("RGBA", (64, 64), (10, 200, 30, 255)))),
            (32, encoded(np.zeros((32, 32, 4), np.uint8))),
        ),
        np.broadcast_to(np.array([10, 200, 30]), (64, 64, 3)),
    ),
    Good("ppm", lambda: b"P6 52 40 255\n" + PICTURE.tobytes(), PICTURE),
    Good(
        "pgm of 16 bits",
        lambda: b"P5 52 40 65535\n" + DEEP.astype(">u2").tobytes(),
        as_rgb(np.rint(DEEP / 257)),
    ),
    Good("tga", lambda: encoded(PICTURE, "TGA"), PICTURE),
    Good("pcx", lambda: encoded(PICTURE, "PCX"), PICTURE),
    *(
        Good(f"{kind} of 32×32", partial(encoded, PICTURE[:32, :32], kind), PICTURE[:32, :32])
        for kind in ("PNG", "BMP", "TIFF")
    ),
]

# --- PIL images


def _pillow_modes() -> list[Good]:
    color = Image.new("RGB", (40, 40), (200, 100, 50))
    same = np.asarray(color)
    palette = Image.new("PA", (40, 40), (1, 255))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    return [
        *(
            Good(f"PIL image, {mode}", lambda mode=mode: color.convert(mode), same, 2)  # type: ignore[misc]
            for mode in ("YCbCr", "HSV", "RGBX", "RGBA")
        ),
        Good("PIL image, RGBa", lambda: color.convert("RGBA").convert("RGBa"), same, 2),
        Good("PIL image, PA", lambda: palette, same),
        # sRGB's red by CIE's formulas under D50, the white point of ICC profiles: lightness 54.3 of
        # 100, a 80.8 and b 69.9, both stored from -128. One step changes up to 5 levels of RGB.
        Good(
            "PIL image, LAB",
            lambda: Image.new("LAB", (40, 40), (138, 209, 198)),
            np.broadcast_to(np.array([255, 0, 0]), (40, 40, 3)),
            6,
        ),
        Good("PIL image, 1", lambda: Image.fromarray(GREY > 99), as_rgb((GREY > 99) * 255)),
        Good("PIL image, I;16", lambda: Image.fromarray(DEEP), as_rgb(np.rint(DEEP / 257))),
        Good(
            "PIL image, I of 16 bits",
            lambda: Image.fromarray(DEEP.astype(np.int32)),
            as_rgb(np.rint(DEEP / 257)),
        ),
        Good("PIL image, F", lambda: Image.fromarray(FLOATS), as_rgb(np.rint(FLOATS * 255))),
        Good(
            "PIL image, LA",
            lambda: Image.fromarray(RGBA[..., 2:]),
            over_white(RGBA[..., [2, 2, 2, 3]]),
            1,
        ),
        Good("PIL image, CMYK", lambda: Image.fromarray(INKS, "CMYK"), on_paper(INKS), 2),
        Good(
            "PIL image that is not loaded yet",
            lambda: Image.open(io.BytesIO(made.png(GREY, chunks=[made.transparent(5)]))),
            as_rgb(_white_where(GREY == 5, GREY)),
        ),
    ]


# --- arrays

# For each kind of number, a function that makes it from 0–127, which all kinds can hold.
HALF: RGB8 = PICTURE // 2
NUMBERS: dict[str, Callable[[RGB8], npt.NDArray[Any]]] = {
    "uint8": lambda a: a,
    "int8": lambda a: a.astype(np.int8),
    "int16": lambda a: a.astype(np.int16),
    "uint16": lambda a: a.astype(np.uint16) * 257,
    "big-endian uint16": lambda a: (a.astype(np.uint16) * 257).astype(">u2"),
    "int32": lambda a: a.astype(np.int32),
    "big-endian int32": lambda a: a.astype(">i4"),
    "uint32": lambda a: a.astype(np.uint32),
    "int64": lambda a: a.astype(np.int64),
    "uint64": lambda a: a.astype(np.uint64),
    "float16 in 0–255": lambda a: a.astype(np.float16),
    "float32 in 0–255": lambda a: a.astype(np.float32),
    "float32 in 0–1": lambda a: a.astype(np.float32) / 255,
    "float64 in 0–1": lambda a: a / 255.0,
    "big-endian float64 in 0–1": lambda a: (a / 255.0).astype(">f8"),
    "long double in 0–1": lambda a: a / np.longdouble(255),
    "bfloat16 in 0–255": lambda a: a.astype(ml_dtypes.bfloat16),
}
ORDERS: dict[str, tuple[Callable[[npt.NDArray[Any]], npt.NDArray[Any]], bool]] = {
    "HWC": (lambda a: a, False),
    "CHW": (lambda a: np.moveaxis(a, -1, 0), False),
    "1HWC": (lambda a: a[np.newaxis], False),
    "1CHW": (lambda a: np.moveaxis(a, -1, 0)[np.newaxis], False),
    "HW": (lambda a: a[..., 0], True),
    "HW1": (lambda a: a[..., :1], True),
    "1HW": (lambda a: a[..., 0][np.newaxis], True),
    "1HW1": (lambda a: a[np.newaxis, ..., :1], True),
}


def _arrays() -> list[Good]:
    return [
        Good(
            f"array of {number}, {order}",
            lambda make=make, arrange=arrange: arrange(make(HALF)),  # type: ignore[misc]
            as_rgb(HALF[..., 0]) if grey else HALF,
        )
        for number, make in NUMBERS.items()
        for order, (arrange, grey) in ORDERS.items()
    ]


ARRAYS = [
    Good("array of bool", lambda: GREY > 99, as_rgb((GREY > 99) * 255)),
    Good("array of RGBA", lambda: RGBA, over_white(RGBA)),
    Good("array of RGBA, channels first", lambda: np.moveaxis(RGBA, -1, 0), over_white(RGBA)),
    Good("array of RGBA as floats", lambda: RGBA / 255.0, over_white(RGBA)),
    Good("array of RGBA as uint16", lambda: RGBA.astype(np.uint16) * 257, over_white(RGBA)),
    Good(
        "array with negative strides",
        lambda: PICTURE[::-1, ::-1, ::-1],
        np.ascontiguousarray(PICTURE[::-1, ::-1, ::-1]),
    ),
    Good("array of every second column", lambda: as_rgb(GREY.repeat(2, 1))[:, ::2], as_rgb(GREY)),
    Good("array in Fortran's order", lambda: np.asfortranarray(PICTURE), PICTURE),
    Good(
        "array that repeats one row",
        lambda: np.broadcast_to(GREY[0], (40, 52)),
        as_rgb(GREY[[0] * 40]),
    ),
    Good("array that is read only", lambda: PICTURE, PICTURE),
    Good("array of zeros and ones as floats", lambda: (GREY > 99) * 1.0, as_rgb((GREY > 99) * 255)),
    Good(
        "array slightly above 1",
        lambda: np.where(GREY > 99, 1.001, 0),
        as_rgb((GREY > 99) * 255),
    ),
    Good(
        "array slightly below 0",
        lambda: np.where(GREY > 99, 1, -0.001),
        as_rgb((GREY > 99) * 255),
    ),
    Good("array with a mask that masks nothing", lambda: np.ma.masked_array(PICTURE), PICTURE),
    Good("memoryview of an array", lambda: PICTURE.data, PICTURE),
    Good("memoryview of bytes", lambda: memoryview(made.png(PICTURE)), PICTURE),
    Good("bytearray", lambda: bytearray(made.png(PICTURE)), PICTURE),
    Good("nested lists", PICTURE.tolist, PICTURE),
    Good("list of grey arrays, channels first", lambda: list(np.moveaxis(PICTURE, -1, 0)), PICTURE),
    Good("list of one array", lambda: [PICTURE], PICTURE),
    Good("array of 32×32", lambda: GREY[:32, :32], as_rgb(GREY[:32, :32])),
]

GOOD = [
    *_depths(),
    *PNG_TRANSPARENCY,
    *PNG_METADATA,
    *JPEG,
    *_turned(),
    *TIFF,
    *BMP,
    *FRAMES_AND_SIZES,
    *_pillow_modes(),
    *_arrays(),
    *ARRAYS,
]

"""Picture files, mostly written byte by byte from the specifications instead of by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Samples = npt.NDArray[Any]


def encoded(image: Image.Image | npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """Return a file written by Pillow, for formats that are too complex to write here."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with io.BytesIO() as buffer:
        picture.save(buffer, kind, **options)
        return buffer.getvalue()


# --- PNG (W3C, third edition)

# First column, first row, column step and row step of each pass.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_COLOR_TYPES = {1: 0, 3: 2, 2: 4, 4: 6}
PALETTE_TYPE = 3


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk: length, type, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_start(
    width: int, height: int, depth: int = 8, color: int = 2, *, interlaced: bool = False
) -> bytes:
    """Return the signature and header of a PNG."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png(
    samples: Samples,
    depth: int = 8,
    *,
    palette: Sequence[tuple[int, int, int]] = (),
    interlaced: bool = False,
    chunks: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return a PNG of samples (H, W) or (H, W, C) of `depth` bits; with a palette, of indices."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, channels = samples.shape
    color = PALETTE_TYPE if palette else _COLOR_TYPES[channels]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        _scanlines(samples[top::down, left::across], depth) for left, top, across, down in passes
    )
    entries = [(b"PLTE", bytes(level for entry in palette for level in entry))] if palette else []
    rest = [*entries, *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    start = png_start(width, height, depth, color, interlaced=interlaced)
    return start + b"".join(chunk(kind, data) for kind, data in rest)


def _scanlines(samples: Samples, depth: int) -> bytes:
    if not samples.size:
        return b""
    rows = samples.reshape(len(samples), -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        bits = rows[..., None] >> np.arange(depth - 1, -1, -1) & 1
        packed = np.packbits(bits.reshape(len(rows), -1).astype(bool), axis=1)
    # Each line begins with its filter type; 0 is no filter.
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def transparent(*values: int) -> tuple[bytes, bytes]:
    """Return the chunk that makes one grey or colour transparent, given in the file's depth."""
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


# --- TIFF (revision 6.0)

_ASCII_TYPES = {1: "B", 3: "H", 4: "I"}


def tiff(
    samples: Samples,
    *,
    big_endian: bool = False,
    photometric: int | None = None,
    planes: bool = False,
    extra: dict[int, tuple[int, Sequence[int]]] | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """Return an uncompressed TIFF of samples (H, W) or (H, W, C), in the samples' dtype.

    `photometric` is 0 (white is 0), 1 (black is 0), 2 (RGB), 5 (CMYK); `extra` are more tags;
    `size` (height, width) is what the header claims.
    """
    order: Literal[">", "<"] = ">" if big_endian else "<"
    stacked = samples[..., None] if samples.ndim == 2 else samples
    height, width, channels = stacked.shape
    claimed = size or (height, width)
    kind = {"u": 1, "b": 1, "i": 2, "f": 3}[samples.dtype.kind]
    stored = stacked.astype(samples.dtype.newbyteorder(order))
    plane_bytes = (
        [stored[..., index].tobytes() for index in range(channels)]
        if planes
        else [stored.tobytes()]
    )
    offsets = np.cumsum([8, *(len(one) for one in plane_bytes)])
    if photometric is None:
        photometric = 2 if channels >= 3 else 1
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [claimed[1]]),
        257: (4, [claimed[0]]),
        258: (3, [8 * samples.dtype.itemsize] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [int(offset) for offset in offsets[:-1]]),
        277: (3, [channels]),
        278: (4, [claimed[0]]),
        279: (4, [len(one) for one in plane_bytes]),
        284: (3, [2 if planes else 1]),
        339: (3, [kind] * channels),
        **(extra or {}),
    }
    return _tiff_file(order, b"".join(plane_bytes), tags)


def _tiff_file(order: str, pixels: bytes, tags: dict[int, tuple[int, Sequence[int]]]) -> bytes:
    directory_at = 8 + len(pixels) + len(pixels) % 2
    overflow_at = directory_at + 2 + 12 * len(tags) + 4
    entries, overflow = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}{_ASCII_TYPES[kind]}", *values)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(data) <= 4:
            entries += data.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", overflow_at + len(overflow))
            overflow += data
    mark = b"MM" if order == ">" else b"II"
    start = mark + struct.pack(f"{order}HI", 42, directory_at) + pixels + b"\0" * (len(pixels) % 2)
    return start + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0" + overflow


# --- BMP, with the header of Windows 3


def bmp(
    samples: Samples,
    depth: int = 24,
    *,
    palette: Sequence[tuple[int, int, int]] = (),
    top_down: bool = False,
    masks: Sequence[int] = (),
    compression: int = 0,
    packed: bytes | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """Return a BMP of palette indices (H, W), of BGR(A) samples, or of 16-bit numbers (H, W).

    `masks` are the bit masks of red, green and blue; `packed` are run-length encoded pixels;
    `size` (height, width) is what the header claims.
    """
    height, width = size or samples.shape[:2]
    rows = samples if top_down else samples[::-1]
    pixels = _bmp_rows(rows, depth) if packed is None else packed
    colours = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    colours += struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + 40 + len(colours)
    header = struct.pack(
        "<IiiHHIIiiII",
        40,
        width,
        -height if top_down else height,
        1,
        depth,
        3 if masks else compression,
        len(pixels),
        2835,
        2835,
        len(palette),
        0,
    )
    file_header = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return file_header + header + colours + pixels


def _bmp_rows(rows: Samples, depth: int) -> bytes:
    flat = rows.reshape(len(rows), -1)
    if depth == 16:
        packed = flat.astype("<u2").view(np.uint8)
    elif depth >= 8:
        packed = flat.astype(np.uint8)
    else:
        bits = flat[..., None] >> np.arange(depth - 1, -1, -1) & 1
        packed = np.packbits(bits.reshape(len(flat), -1).astype(bool), axis=1)
    # Rows are padded to multiples of four bytes.
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4))).tobytes()


def run_length_encoded(indices: Samples) -> bytes:
    """Encode palette indices as BMP's RLE8: count and value, row by row from the bottom."""
    data = bytearray()
    for row in indices[::-1]:
        for value in row:
            data += bytes([1, int(value)])
        data += b"\0\0"
    return bytes(data) + b"\0\1"


# --- ICO, JPEG and GIF


def ico(*files: tuple[int, bytes]) -> bytes:
    """Return an icon of PNG files, each with its side in pixels (0 stands for 256)."""
    start = struct.pack("<HHH", 0, 1, len(files))
    offset, entries = 6 + 16 * len(files), b""
    for side, data in files:
        entries += struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(data), offset)
        offset += len(data)
    return start + entries + b"".join(data for _, data in files)


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """Return a JPEG without its segments of one marker, such as Adobe's 0xEE."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        length = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += b"" if jpeg[at + 1] == marker else jpeg[at : at + length]
        at += length
    return kept + jpeg[at:]


def with_size(jpeg: bytes, height: int, width: int) -> bytes:
    """Return a JPEG whose frame header claims another size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def exif(orientation: int) -> bytes:
    """Return EXIF data with only an orientation."""
    directory = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + directory


def exif_that_cannot_be_written(orientation: int) -> bytes:
    """Return EXIF data whose width is text, which Pillow reads but cannot write."""
    entries = struct.pack("<HHI4s", 0x0100, 2, 4, b"40\0\0")
    entries += struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)


def with_screen(gif: bytes, height: int, width: int) -> bytes:
    """Return a GIF whose logical screen has another size than its first frame."""
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def webp_start(height: int, width: int) -> bytes:
    """Return an extended WebP's header that claims a size, and one frame without content."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([0x02, 0, 0, 0]) + canvas
    body += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = b"\0" * 6 + b"\x0f\0\0" * 2 + b"\0" * 4 + b"VP8L" + struct.pack("<I", 6) + b"\x2f" * 6
    body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body

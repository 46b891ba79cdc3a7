"""``.npz`` files, also of somebody else's: nothing is run, and no memory is filled."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 30
"""What the arrays of a file may take in memory, where that is more than the file itself."""

DAMAGE: tuple[type[Exception], ...] = (
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    IsADirectoryError,
    AttributeError,
    # An encrypted member; what zipfile cannot unpack and JSON too deep are kinds of it.
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file, or one that is something else, can lead to."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def opened_npz(path: str | os.PathLike[str]) -> Iterator[Callable[..., npt.NDArray[Any]]]:
    """Open a file, and give what reads an array of it by name, and if given by dtype and shape.

    A few kilobytes can hold gigabytes of zeros, and an array can claim any shape. So of each array
    the header is read first: there must be as much of it as it says, and all that are read may
    take no more than `MOST_BYTES`, or than the file if that is larger. What cannot be read raises
    one of `DAMAGE` or an OSError, now or then; its words are for the middle of a sentence.
    """
    # Opened here, since zipfile leaves a damaged file open.
    with Path(path).expanduser().open("rb") as stream, zipfile.ZipFile(stream) as archive:
        left = most = max(MOST_BYTES, os.fstat(stream.fileno()).st_size)

        def read(name: str, dtype: Any = None, shape: Any = None) -> npt.NDArray[Any]:
            nonlocal left
            member = archive.getinfo(f"{name}.npy")
            size, *declared = _declared(archive, member, name)
            if dtype is not None and declared != [dtype, shape]:
                raise ValueError(
                    f"{name!r} is {declared[0]} of shape {declared[1]}, not {np.dtype(dtype)} of "
                    f"{shape}"
                )
            if size > left:
                raise ValueError(f"its arrays take more than the {most:,} bytes that they may")
            left -= size
            with archive.open(member) as part:
                array: npt.NDArray[Any] = np.lib.format.read_array(part, allow_pickle=False)
                return array

        yield read


@contextmanager
def damage_told(path: str | os.PathLike[str], what: str, writer: str) -> Iterator[None]:
    """Raise ValueError for all that a damaged file leads to: it holds no `what` of `writer`'s."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(
            f"path {os.fspath(path)!r} holds no {what}, or is damaged ({error}): pass a file that "
            f"{writer} wrote."
        ) from error


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless a file to be written is named as one of these."""
    # Where another is written, .NPZ too, numpy adds its own, and the file asked for stays empty.
    if Path(path).suffix != ".npz":
        raise ValueError(
            f"path {os.fspath(path)!r} is no name that ends in .npz, in small letters: choose one "
            "such as maps.npz."
        )


def _declared(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str
) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return an array's bytes, dtype and shape, once it is known that they are there."""
    with archive.open(member) as part:
        header = _HEADERS.get(np.lib.format.read_magic(part))
        if header is None:
            raise ValueError(f"{name!r} is of a format that is not read")
        shape, _, dtype = header(part)
        if dtype.hasobject:
            raise ValueError(f"{name!r} holds Python objects, which could run code")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or part.tell() + size != member.file_size:
            raise ValueError(f"{name!r} says that it is {dtype} of shape {shape}, and is not")
    return size, dtype, shape

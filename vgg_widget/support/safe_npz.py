"""Safe reading of ``.npz`` files from others: runs no code, and limits memory."""

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
"""The most memory that a file's arrays may take, unless the file itself is larger."""

DAMAGE: tuple[type[Exception], ...] = (
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    IsADirectoryError,
    AttributeError,
    # An encrypted member; NotImplementedError and RecursionError are subclasses.
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file, or another kind of file, can raise."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def opened_npz(path: str | os.PathLike[str]) -> Iterator[Callable[..., npt.NDArray[Any]]]:
    """Open a file, and yield a function that reads an array by name and checks dtype and shape.

    A few kilobytes can expand to gigabytes of zeros, and an array can claim any shape. So each
    array's header is read first: the data must have the size that it states, and all arrays read
    may take no more than `MOST_BYTES`, or than the file if that is larger. Unreadable data raises
    one of `DAMAGE` or an OSError, on opening or reading; its message fits inside a sentence.
    """
    # Opened here, because zipfile leaves a damaged file open.
    with Path(path).expanduser().open("rb") as stream, zipfile.ZipFile(stream) as archive:
        left = most = max(MOST_BYTES, os.fstat(stream.fileno()).st_size)

        def read(name: str, dtype: Any = None, shape: Any = None) -> npt.NDArray[Any]:
            nonlocal left
            member = archive.getinfo(f"{name}.npy")
            size, *declared = _checked_header(archive, member, name)
            if dtype is not None and declared != [dtype, shape]:
                raise ValueError(
                    f"{name!r} is {declared[0]} of shape {declared[1]}, not {np.dtype(dtype)} of "
                    f"{shape}"
                )
            if size > left:
                raise ValueError(f"its arrays take more than the {most:,} bytes allowed")
            left -= size
            with archive.open(member) as part:
                array: npt.NDArray[Any] = np.lib.format.read_array(part, allow_pickle=False)
                return array

        yield read


@contextmanager
def damage_told(path: str | os.PathLike[str], what: str, writer: str) -> Iterator[None]:
    """Raise ValueError for any damage: the file is not a `what` that `writer` wrote."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(
            f"path {os.fspath(path)!r} holds no {what}, or is damaged ({error}): pass a file that "
            f"{writer} wrote."
        ) from error


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless the name of a file to be written ends in ``.npz``."""
    # For any other suffix, even .NPZ, numpy would append its own, leaving the named file empty.
    if Path(path).suffix != ".npz":
        raise ValueError(
            f"path {os.fspath(path)!r} does not end in .npz, in lower case: choose a name such as "
            "maps.npz."
        )


def _checked_header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str
) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return an array's size in bytes, dtype and shape, after checking that the data is there."""
    with archive.open(member) as part:
        header = _HEADERS.get(np.lib.format.read_magic(part))
        if header is None:
            raise ValueError(f"{name!r} has an unsupported format")
        shape, _, dtype = header(part)
        if dtype.hasobject:
            raise ValueError(f"{name!r} holds Python objects, which could run code")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or part.tell() + size != member.file_size:
            raise ValueError(f"{name!r} claims to be {dtype} of shape {shape}, but is not")
    return size, dtype, shape

"""Where pictures come from: notebook objects, paths and file objects, down to bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vgg_widget.images.terms import ImageError
from vgg_widget.support.messages import reason

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:|data:", re.IGNORECASE)

# As many pixels as Pillow reads, in 16 bits a colour.
_MOST_BYTES = 1 << 30


def unwrapped(source: Any) -> tuple[Any, str]:
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


def existing_file(path: str | bytes) -> str:
    """Return the absolute path of a file that there is; an address is refused, never fetched."""
    name = os.fsdecode(path)
    # Path's own functions raise for a user that there is not, and for a name that is too long.
    looked_for = str(Path(os.path.expanduser(name)).absolute())  # noqa: PTH111
    if _ADDRESS.match(name):
        raise ImageError(
            f"image {_shortly(name)} is an address, not a file: download it and pass its path."
        )
    if os.path.isfile(looked_for):  # noqa: PTH113
        return looked_for
    if os.path.exists(looked_for):  # noqa: PTH110 - a pipe would be waited for without end
        raise ImageError(
            f"image {_shortly(name)} is a folder, a device or a pipe ({_shortly(looked_for)}): "
            "pass one file."
        )
    raise ImageError(
        f"image {_shortly(name)} was not found: looked for {_shortly(looked_for)}, so check the "
        "name, or pass an absolute path."
    )


def file_bytes(path: str | bytes) -> bytes:
    """Return what a picture's file holds; an `ImageError` has the system's error as its cause."""
    name = existing_file(path)
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


def stream_name(stream: Any) -> str:
    """Return what errors call a file object: by its file's name, or else by its type."""
    name = getattr(stream, "name", None)
    # A pipe's is a number.
    known = isinstance(name, str) and name
    return f"image file object {repr(name) if known else f'of type {type(stream).__name__}'}"


def stream_bytes(stream: Any) -> bytes:
    """Return all that a file object still gives; it stays open."""
    what = stream_name(stream)
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


def _shortly(name: str) -> str:
    """Return a name's repr; an address may hold a whole picture."""
    return repr(name if len(name) <= 250 else name[:249] + "…")

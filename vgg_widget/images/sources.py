"""Where pictures come from: notebook objects, paths and file objects, down to a stream of bytes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vgg_widget.images.terms import ImageError
from vgg_widget.support.messages import reason

# What comes as an image where it is another argument's, by its type and the package of that.
_ANOTHER_ARGUMENT = {
    ("vgg_widget", "FeatureExtractor"): "pass it as extractor=",
    ("vgg_widget", "Activations"): (
        "draw them with vgg_widget.render(activations, layer), or pass their .image"
    ),
    ("keras", "Model"): "pass the picture first and the model as model=",
}

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:", re.IGNORECASE)


def unwrapped(source: Any) -> tuple[Any, str]:
    """Return the bytes or path of the file in a notebook's object or an upload, and its name.

    What is anything else is returned itself, unless it is another argument. A file without a name
    has an empty one.
    """
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(source).__mro__]
    _refuse_another_argument(source, kinds)
    if any(package == "IPython" for package, _ in kinds):
        return _displayed(source)
    if ("ipywidgets", "Image") in kinds:
        data = bytes(source.value)
        return (os.fsdecode(data) if source.format == "url" else data), ""
    if ("ipywidgets", "FileUpload") in kinds:
        source = source.value
    # ipywidgets 8 gives a tuple with a mapping a file, ipywidgets 7 one mapping by file names.
    files = [source] if isinstance(source, Mapping) and "content" in source else source
    if isinstance(files, Mapping):
        files = [
            {"name": name, **one} if isinstance(one, Mapping) else one
            for name, one in files.items()
        ]
    if not isinstance(files, list | tuple):
        return source, ""
    uploaded = [one for one in files if isinstance(one, Mapping) and "content" in one]
    names = [str(one.get("name", "")) for one in uploaded]
    if len(uploaded) == 1 == len(files):
        return uploaded[0]["content"], names[0]
    if uploaded or (not files and isinstance(source, tuple | Mapping)):
        those = f" ({_shortly(', '.join(names))})" if uploaded else ""
        raise ImageError(
            f"image holds {len(uploaded) or 'no'} uploaded files{those}, as a FileUpload's value: "
            "choose one file, and pass value[0]."
        )
    return source, ""


def _refuse_another_argument(source: Any, kinds: Sequence[tuple[str, str]]) -> None:
    advice = next((_ANOTHER_ARGUMENT[kind] for kind in kinds if kind in _ANOTHER_ARGUMENT), "")
    if advice:
        name = type(source).__name__
        article = "an" if name[0] in "AEIOU" else "a"
        raise ImageError(f"image is {article} {name}, which is no picture: {advice}.")


def _displayed(source: Any) -> tuple[Any, str]:
    """Return the file in an `IPython.display.Image`."""
    data, path, address = (getattr(source, name, None) for name in ("data", "filename", "url"))
    if isinstance(data, bytes):
        return data, str(path or "")
    # With embed=False it has the name alone, and of a file that is not there the name as data.
    if type(source).__name__ == "Image" and not address and (path or data):
        return path or data, ""
    held = f"the address {_shortly(str(address))} alone" if address else "no picture file"
    raise ImageError(
        f"image is an IPython.display.{type(source).__name__} that holds {held}: pass a path, "
        "the bytes of a file, or Image(filename=...)."
    )


def existing_file(path: str | bytes) -> str:
    """Return the absolute path of a file that there is; an address is refused, never fetched."""
    name = os.fsdecode(path)
    if name[:5].lower() == "data:":
        raise ImageError(
            f"image {_shortly(name)} is a data address, which holds a whole file: pass its bytes, "
            "base64.b64decode(address.partition(',')[2])."
        )
    if _ADDRESS.match(name):
        raise ImageError(
            f"image {_shortly(name)} is an address, not a file: download it and pass its path."
        )
    if "\0" in name:
        raise ImageError(f"image path {_shortly(name)} holds a null character: pass a file's path.")
    if not name:
        raise ImageError("image '' is an empty name: pass a file's path.")
    # Path's own expanduser raises for a user that there is not.
    looked_for = Path(os.path.expanduser(name)).absolute()  # noqa: PTH111
    try:
        missing = not looked_for.exists()
    except OSError as error:
        raise ImageError(
            f"image {_shortly(name)} could not be opened ({error.strerror}): check the name."
        ) from error
    # A name may hold what would break the line, or what no terminal can write.
    there = repr(str(looked_for))
    if missing:
        raise ImageError(
            f"image {name!r} was not found: looked for {there}, so check the name, or pass an "
            "absolute path."
        )
    if looked_for.is_dir():
        raise ImageError(f"image {name!r} is a folder ({there}): pass one file in it.")
    if not looked_for.is_file():
        # A pipe or a terminal would be waited for without end.
        raise ImageError(f"image {name!r} is a device or a pipe: pass a file's path, or its bytes.")
    return str(looked_for)


def opened(path: str) -> io.BufferedReader:
    """Open a file that there is; `ImageError` if it may not be read."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise ImageError(
            f"image {path!r} could not be opened ({error.strerror or reason(error)}): check that "
            "you may read it."
        ) from error


def stream_name(stream: Any) -> str:
    """Return what errors call a file object: by its file's name, where it has one."""
    name = getattr(stream, "name", None)
    # A pipe's is a number.
    return f"image file object {name!r}" if isinstance(name, str) and name else "image file object"


def whole_stream(stream: Any) -> io.BytesIO:
    """Return all that a file object still gives; it stays open."""
    what = stream_name(stream)
    try:
        data = stream.read()
    except UnicodeDecodeError as error:
        raise ImageError(f"{what} is open as text: open the file with mode 'rb'.") from error
    except TypeError as error:
        raise ImageError(
            f"image is a {type(stream).__name__}, whose read() is no file's ({reason(error)}): "
            "pass a path, bytes or an open file."
        ) from error
    except Exception as error:  # Anything can have a method `read`, and raise anything from it.
        failed = isinstance(error, OSError) and error.errno is not None
        advice = "check the disk or the connection to it" if failed else "pass one that is open"
        raise ImageError(f"{what} could not be read ({reason(error)}): {advice}.") from error
    if not isinstance(data, bytes | bytearray | memoryview | str | None):
        raise ImageError(
            f"image is a {type(stream).__name__}, whose read() gives a {type(data).__name__} and "
            "no bytes, as a file's would: pass the picture itself."
        )
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(
            f"{what} gave {type(data).__name__}, not bytes: open the file with mode 'rb'."
        )
    if not len(data) and _is_past_its_start(stream):
        raise ImageError(f"{what} is at its end, as after writing: call its seek(0) first.")
    return io.BytesIO(bytes(data))


def _is_past_its_start(stream: Any) -> bool:
    try:
        return bool(stream.tell() > 0)
    except Exception:  # Sockets cannot say, and others have no such method.
        return False


def _shortly(name: str) -> str:
    # An address may hold a whole picture, and a name too long is no help in full.
    return repr(name if len(name) <= 60 else name[:59] + "…")

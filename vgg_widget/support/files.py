"""Writing a file so that nobody ever finds half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written; raise FileNotFoundError if its folder is missing."""
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path {str(target)!r} lies in a folder that does not exist "
            f"({target.parent.absolute()}): make the folder first."
        )
    return target


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; it takes the name at the end.

    Where the body raises, what stood at `path` before is left as it was.
    """
    target = checked_target(path)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        # A temporary file is private; what a person saves follows their own mask.
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)

"""Writing a file so that nobody ever finds half of it."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A disk, a quota or a limit of a file's size.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STEM = 50


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written; raise OSError or ValueError where none can be."""
    target = Path(path).expanduser()
    if not os.path.isdir(target.parent):  # noqa: PTH112 - Path's own can raise.
        raise FileNotFoundError(
            f"path {str(target)!r} lies in a folder that does not exist "
            f"({target.parent.absolute()}): make the folder first."
        )
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except (OSError, ValueError) as error:
        raise _refusal(target, error) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"path {str(target)!r} is a folder: name a file in it.")
    return target


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return where a file can be written, by trying; raise as `atomic_write` would, before work."""
    target = checked_target(path)
    _draft(target).unlink()
    return target


def _refusal(target: Path, error: OSError | ValueError) -> OSError | ValueError:
    # Some errors of Unicode are no plain ValueErrors.
    kind, why = (type(error), error.strerror) if isinstance(error, OSError) else (ValueError, error)
    return kind(f"path {str(target)!r} cannot be written ({why}): choose another folder or name.")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; it takes the name at the end.

    Where the body raises, what stood at `path` before is left as it was.
    """
    target = checked_target(path)
    draft = _draft(target)
    try:
        yield draft
        # A temporary file is private; what a person saves follows their own mask.
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(target)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(
            f"path {str(target)!r} could not be written ({error.strerror}): make room, or choose "
            "another folder."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _draft(target: Path) -> Path:
    # Of a long name a part: with what is added it would be too long.
    stem = target.stem[:_STEM]
    try:
        handle, name = tempfile.mkstemp(prefix=f".{stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    os.close(handle)
    return Path(name)

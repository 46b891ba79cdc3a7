"""Atomic file writes: no reader ever finds half a file."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A full disk, an exceeded quota, or a file size limit.
_NO_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STEM = 50


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written; raise OSError or ValueError if that is impossible."""
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
    """Return where a file can be written, after trying; raises like `atomic_write`, but early."""
    target = checked_target(path)
    _draft(target).unlink()
    return target


def _refusal(target: Path, error: OSError | ValueError) -> OSError | ValueError:
    # Some Unicode errors are subclasses of ValueError that take other arguments.
    kind, why = (type(error), error.strerror) if isinstance(error, OSError) else (ValueError, error)
    return kind(f"path {str(target)!r} cannot be written ({why}): choose another folder or name.")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; it is renamed to `path` at the end.

    If the body raises, an existing file at `path` is left unchanged.
    """
    target = checked_target(path)
    draft = _draft(target)
    try:
        yield draft
        # A temporary file is private, but a saved file follows the user's umask.
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(target)
    except OSError as error:
        if error.errno not in _NO_SPACE_ERRORS:
            raise
        raise OSError(
            f"path {str(target)!r} could not be written ({error.strerror}): free some space, or "
            "choose another folder."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _draft(target: Path) -> Path:
    # Only part of a long name, because the additions would make it too long.
    stem = target.stem[:_STEM]
    try:
        handle, name = tempfile.mkstemp(prefix=f".{stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    os.close(handle)
    return Path(name)

"""Helpers for a web page in one file: its path, its data, and its Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.support.files import checked_target
from vgg_widget.support.messages import briefly

_SUFFIXES = (".html", ".htm")


def check_page_path(path: str | os.PathLike[str]) -> Path:
    """Return where a page is to be written; raise for an invalid path, before any work."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path {briefly(path)} is not a file path: pass a string or a Path.")
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(f"path {os.fspath(path)!r} does not end in .html: change its suffix.")
    return checked_target(path)


def digest_of_text(text: str) -> str:
    """Return the Content-Security-Policy source that allows exactly this script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_element(name: str, content: object) -> str:
    """Return a JSON element that a page's script reads by its id."""
    # This way, no string can end the element or begin a comment in it.
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def decimals(values: npt.NDArray[np.floating[Any]]) -> list[float | None]:
    """Return numbers with as few digits as identify them; None for NaN."""
    return [float(str(value)) if np.isfinite(value) else None for value in values]

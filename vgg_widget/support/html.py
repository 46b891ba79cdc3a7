"""A web page in one file: its name, its numbers, and what its Content-Security-Policy allows."""

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
    """Return where a page is to be written; raise for what cannot be its path, before any work."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path {briefly(path)} is no path of a file: give a string or a Path.")
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(f"path {os.fspath(path)!r} does not end in .html: name it so.")
    return checked_target(path)


def digest_of_text(text: str) -> str:
    """Return what a page's Content-Security-Policy calls the one script or style that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_element(name: str, content: object) -> str:
    """Return an element of JSON, which a page's script reads by its id."""
    # Nothing in a string can then end the element, or begin a comment in it.
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def decimals(values: npt.NDArray[np.floating[Any]]) -> list[float | None]:
    """Return numbers with as few digits as tell them apart from others; None for NaN."""
    return [float(str(value)) if np.isfinite(value) else None for value in values]

"""The style of the package's figures: a page's colours, and matplotlib's default settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""For texts with the names of files, layers or modes, whose dollar signs and backslashes are
not formulas. TeX is off, because it can read files."""

THEME_NAMES = ("auto", "light", "dark")
"""An explorer's possible themes; ``"auto"`` follows the page."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of the background, of texts and frames, and of less important texts."""

    paper: str
    ink: str
    faint: str


LIGHT = Theme(paper="#ffffff", ink="#000000", faint="#595959")
# JupyterLab's own dark background, so that the figure does not stand out as a box.
DARK = Theme(paper="#111111", ink="#e8e8e8", faint="#a6a6a6")

# The user decides how a file stores its content, and which fonts their language needs. "backend"
# and "interactive" change no picture.
_USER_CHOICES = {
    *("backend", "interactive"),
    *("pdf.compression", "pdf.fonttype", "svg.fonttype", "svg.hashsalt", "svg.id"),
    *("font.family", "font.serif", "font.sans-serif"),
    *("font.cursive", "font.fantasy", "font.monospace"),
}
_DEFAULTS: dict[Any, Any] = {
    name: value for name, value in mpl.rcParamsDefault.items() if name not in _USER_CHOICES
}
_FONT = mpl.rcParamsDefault["font.sans-serif"][0]


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's default settings, and restore the user's own afterwards.

    The main font is matplotlib's default; the user's fonts supply missing letters.
    """
    settings: Any = mpl.rcParams
    family = settings["font.family"]
    ours = _DEFAULTS | {"font.family": family if family[:1] == [_FONT] else [_FONT, *family]}
    theirs = {name: settings[name] for name, value in ours.items() if settings[name] != value}
    # Public according to its documentation. Assignment would warn of deprecated settings.
    put = settings._set  # noqa: SLF001
    for name in theirs:
        put(name, ours[name])
    try:
        yield
    finally:
        for name, value in theirs.items():
            # Keep what a cell on another thread has set meanwhile.
            if settings[name] == ours[name]:
                put(name, value)


def theme_on(page: str, background: str, chosen: str) -> Theme:
    """Return the theme of a figure on a page.

    The page is ``"light"`` or ``"dark"``, with a background that may be ``""`` if unknown;
    `chosen` is one of `THEME_NAMES`.
    """
    wanted = page if chosen == "auto" else chosen
    theme = DARK if wanted == "dark" else LIGHT
    # The figure should not stand out as a box.
    return replace(theme, paper=background) if background and wanted == page else theme

"""How the package's own figures look: the colours of a page, and matplotlib's default settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""For words that hold somebody's name of a file, layer or mode, whose dollar signs and backslashes
are no formulas, and no TeX: that can read files."""

THEME_NAMES = ("auto", "light", "dark")
"""What an explorer's theme can be; ``"auto"`` is the page's own."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of what is behind everything; of words and frames; and of what matters less."""

    paper: str
    ink: str
    faint: str


LIGHT = Theme(paper="#ffffff", ink="#000000", faint="#595959")
# JupyterLab's own dark background, so that the figure is no box on the page.
DARK = Theme(paper="#111111", ink="#e8e8e8", faint="#a6a6a6")

# How a file holds what it shows is the person's, and so are the fonts of their script. "backend"
# and "interactive" change no picture.
_THEIRS = {
    *("backend", "interactive"),
    *("pdf.compression", "pdf.fonttype", "svg.fonttype", "svg.hashsalt", "svg.id"),
    *("font.family", "font.serif", "font.sans-serif"),
    *("font.cursive", "font.fantasy", "font.monospace"),
}
_DEFAULTS: dict[Any, Any] = {
    name: value for name, value in mpl.rcParamsDefault.items() if name not in _THEIRS
}
_FONT = mpl.rcParamsDefault["font.sans-serif"][0]


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's default settings, and put the person's own back afterwards.

    Letters are of matplotlib's default font; the person's fonts have those that are not in it.
    """
    settings: Any = mpl.rcParams
    family = settings["font.family"]
    ours = _DEFAULTS | {"font.family": family if family[:1] == [_FONT] else [_FONT, *family]}
    theirs = {name: settings[name] for name, value in ours.items() if settings[name] != value}
    # Public, as its documentation says; assigning would warn of settings that are deprecated.
    put = settings._set  # noqa: SLF001
    for name in theirs:
        put(name, ours[name])
    try:
        yield
    finally:
        for name, value in theirs.items():
            # What a cell on another thread has set meanwhile stays.
            if settings[name] == ours[name]:
                put(name, value)


def theme_on(page: str, background: str, chosen: str) -> Theme:
    """Return the theme of a figure on a page.

    The page is ``"light"`` or ``"dark"``, with a background that may be ``""`` where it is not
    known; `chosen` is one of `THEME_NAMES`.
    """
    wanted = page if chosen == "auto" else chosen
    theme = DARK if wanted == "dark" else LIGHT
    # The figure is no box on the page.
    return replace(theme, paper=background) if background and wanted == page else theme

"""The colours of the figure on a light and on a dark page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

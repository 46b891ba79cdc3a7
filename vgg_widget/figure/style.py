"""matplotlib's settings while this package draws its own figures: matplotlib's own defaults.

`matplotlib.rcParams` belong to the person. Most are read when an artist is made, some at each
drawing (how text is hinted, the ticks that a colorbar makes anew), some when a file is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

# What stays as the person has it: how a file holds what it shows, and the fonts of their script.
# "backend" and "interactive" change no picture, and differ in every notebook.
_THEIRS = {
    *("backend", "interactive"),
    *("pdf.compression", "pdf.fonttype", "svg.fonttype", "svg.hashsalt", "svg.id"),
    *("font.family", "font.serif", "font.sans-serif"),
    *("font.cursive", "font.fantasy", "font.monospace"),
}
_OURS: dict[str, Any] = {
    name: value for name, value in mpl.rcParamsDefault.items() if name not in _THEIRS
}
_FONT = mpl.rcParamsDefault["font.sans-serif"][0]


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's default settings, and put the person's own back afterwards.

    Letters are of matplotlib's default font; the person's fonts have those that are not in it.
    """
    settings: Any = mpl.rcParams
    ours = dict(_OURS)
    family = settings["font.family"]
    if family[:1] != [_FONT]:
        ours["font.family"] = [_FONT, *family]
    theirs = {name: settings[name] for name in ours if settings[name] != ours[name]}
    _put({name: ours[name] for name in theirs})
    try:
        yield
    finally:
        # Not `rc_context`: that would also take back what a cell on another thread has set.
        _put({name: value for name, value in theirs.items() if settings[name] == ours[name]})


def _put(values: dict[str, Any]) -> None:
    settings: Any = mpl.rcParams
    for name, value in values.items():
        # Public, as its documentation says: assigning would warn of settings that are deprecated.
        settings._set(name, value)  # noqa: SLF001

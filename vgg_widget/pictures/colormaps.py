"""matplotlib's colormaps, by their names and as objects."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.colors import Colormap

from vgg_widget.support.messages import unknown_choice

DEFAULT_CMAP = "magma"
"""The colormap where none is chosen."""

SIGNED_CMAP = "coolwarm"
"""The explorer's for activations of both signs, where no diverging one was chosen."""

DIFFERENCE_CMAP = "RdBu_r"
"""Diverging, with white in the middle: red where the second image's activation is larger."""

DISTANCE_CMAP = "magma"
"""Sequential: for distances, which have no sign."""

KERNEL_CMAP = "RdBu_r"
"""Diverging: positive weights are red, negative ones blue, and 0 is white."""

CMAP_GROUPS = {
    "uniform": "magma inferno plasma viridis cividis",
    "one or two hues": (
        "gray bone pink copper hot afmhot gist_heat cool spring summer autumn winter Wistia binary "
        "Greys Purples Blues Greens Oranges Reds YlOrBr YlOrRd OrRd PuRd RdPu BuPu GnBu PuBu "
        "YlGnBu PuBuGn BuGn YlGn"
    ),
    "two signs": (
        "coolwarm bwr seismic RdBu PiYG PRGn BrBG PuOr RdGy RdYlBu RdYlGn Spectral berlin managua "
        "vanimo"
    ),
    "cyclic": "twilight twilight_shifted hsv",
    "categories": (
        "tab10 tab20 tab20b tab20c Paired Accent Dark2 Set1 Set2 Set3 Pastel1 Pastel2 okabe_ito "
        "petroff6 petroff8 petroff10"
    ),
}
"""Colormaps by what they serve for, as matplotlib's guide to choosing them sorts them."""

# It invents edges where the data has none; it is accepted by name but not offered.
_NOT_OFFERED = {"jet"}


def grouped_cmaps() -> dict[str, list[str]]:
    """Return the names of matplotlib's colormaps in groups, the perceptually uniform ones first.

    Reversed ones are left out: their names end in ``_r``. What is in no group, such as a
    colormap of one's own, is in the last, ``"others"``.
    """
    groups = {
        group: [name for name in names.split() if name in mpl.colormaps]
        for group, names in CMAP_GROUPS.items()
    }
    known = {name for names in groups.values() for name in names} | _NOT_OFFERED
    rest = [name for name in mpl.colormaps if {name, name.removesuffix("_r")}.isdisjoint(known)]
    own = [name for name in rest if name.removesuffix("_r") == name or name[:-2] not in rest]
    return {**groups, "others": sorted(own, key=str.lower)}


def find_cmap(cmap: str | Colormap) -> Colormap:
    """Return a colormap by its name, or raise ValueError naming the nearest."""
    if isinstance(cmap, Colormap):
        return cmap
    if not isinstance(cmap, str) or cmap not in mpl.colormaps:
        raise ValueError(unknown_choice("cmap", cmap, mpl.colormaps))
    return mpl.colormaps[cmap]


def registered_name(cmap: Colormap) -> str:
    """Return the name under which matplotlib has these colours, or raise ValueError."""
    # What is registered under another name keeps its own.
    names: tuple[str, ...] = (cmap.name, *mpl.colormaps)
    for name in names:
        if name in mpl.colormaps and mpl.colormaps[name] == cmap:
            return name
    raise ValueError(
        f"cmap is a Colormap called {cmap.name!r} that is not registered with its colours: call "
        "matplotlib.colormaps.register(cmap, name=...) with a name of your own first."
    )

"""matplotlib's colormaps, by name and as objects."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.colors import Colormap

from vgg_widget.support.messages import unknown_choice

DEFAULT_CMAP = "magma"
"""The default colormap."""

SIGNED_CMAP = "coolwarm"
"""The explorer's colormap for signed activations, unless a diverging one was chosen."""

DIFFERENCE_CMAP = "RdBu_r"
"""A diverging colormap with white in the middle: red where the second image's activation is
larger."""

DISTANCE_CMAP = "magma"
"""A sequential colormap for distances, which have no sign."""

KERNEL_CMAP = "RdBu_r"
"""A diverging colormap: positive weights are red, negative ones blue, and 0 is white."""

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
"""Colormaps by purpose, following matplotlib's guide to choosing colormaps."""

# jet shows edges that the data do not have. It is accepted by name but not offered.
_NOT_OFFERED = {"jet"}


def grouped_cmaps() -> dict[str, list[str]]:
    """Return the names of matplotlib's colormaps in groups, the perceptually uniform ones first.

    Reversed colormaps, whose names end in ``_r``, are left out. Colormaps in no group, such as your
    own, are in the last group, ``"others"``.
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
    """Return a colormap by name, or raise ValueError suggesting the nearest name."""
    if isinstance(cmap, Colormap):
        return cmap
    if not isinstance(cmap, str) or cmap not in mpl.colormaps:
        raise ValueError(unknown_choice("cmap", cmap, mpl.colormaps))
    return mpl.colormaps[cmap]


def registered_name(cmap: Colormap) -> str:
    """Return the name under which a colormap is registered, or raise ValueError."""
    # A colormap registered under another name keeps its own `name`.
    names: tuple[str, ...] = (cmap.name, *mpl.colormaps)
    for name in names:
        if name in mpl.colormaps and mpl.colormaps[name] == cmap:
            return name
    raise ValueError(
        f"cmap is a Colormap called {cmap.name!r} that is not registered with its colours: call "
        "matplotlib.colormaps.register(cmap, name=...) with a new name first."
    )

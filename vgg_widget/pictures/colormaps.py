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

SHORT_CMAPS = (
    DEFAULT_CMAP,
    "viridis",
    "inferno",
    "plasma",
    "cividis",
    "gray",
    "coolwarm",
    "twilight",
)
"""The colormaps listed first: perceptually uniform ones, grey, a diverging and a cyclic one."""


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

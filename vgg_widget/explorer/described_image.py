"""A small picture on the page, with words for who cannot see it."""

from __future__ import annotations

import ipywidgets as widgets
from traitlets import Unicode

FRAME = "1px solid var(--jp-border-color1, #9e9e9e)"
"""A border for what may be as white as the page."""


class DescribedImage(widgets.Image):  # type: ignore[misc]
    """An image with a tooltip, which is also its name for who cannot see it."""

    # The page shows no widget that has a tooltip and no description, not even an empty one.
    description = Unicode("", help="Nothing: the tooltip says it.").tag(sync=True)


def described_image(side: int, **style: str) -> DescribedImage:
    """Return an empty one, a square on the page that its picture is fitted into.

    Parameters
    ----------
    side : int
        In pixels of the page.
    **style
        More fields of its layout.
    """
    return DescribedImage(
        format="png",
        layout=widgets.Layout(
            width=f"{side}px", height=f"{side}px", margin="2px", object_fit="contain", **style
        ),
    )

"""`Panel`: a part of the explorer that unfolds under the figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


class Panel:
    """A widget that shows more about its explorer, and passes on the user's choices."""

    widget: widgets.Widget

    def __init__(self, explorer: ExplorerBase) -> None:
        # A weak reference, usually to a `LayerExplorer`: most panels use its own attributes.
        self._explorer: Any = explorer

    def show(self) -> None:
        """Update the panel to the current state; called only while the panel is open."""

    def welcome(self) -> None:
        """Do what a user expects on opening the panel."""

    def toggle(self) -> None:
        """Start or stop the panel's automatic activity."""

    def pause(self) -> None:
        """Stop the panel's automatic activity."""

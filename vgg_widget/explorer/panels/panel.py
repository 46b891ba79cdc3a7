"""`Panel`: something that unfolds under the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


class Panel:
    """A widget that shows more about its explorer, and tells it what a person chooses."""

    widget: widgets.Widget

    def __init__(self, explorer: ExplorerBase) -> None:
        # A weak reference to a `LayerExplorer`, whose own attributes most panels ask for.
        self._explorer: Any = explorer

    def show(self) -> None:
        """Bring the panel to what is on show; called only while it is open."""

    def welcome(self) -> None:
        """Do what a person expects who has just opened it."""

    def toggle(self) -> None:
        """Start what it does by itself, or stop."""

    def pause(self) -> None:
        """Stop what it does by itself."""

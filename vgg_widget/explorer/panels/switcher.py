"""The row of panel buttons, and the open panel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.panels import PanelMaker
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import display, row, set_value
from vgg_widget.support.interrupts import interrupts_allowed

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


class PanelSwitcher:
    """A row of toggle buttons, at most one of which is pressed, and the panel that it opens.

    A row of buttons takes a fifth of an accordion's height, and the Tab key reaches it.
    """

    opened = ""
    """The title of the open panel; "" if none is open."""

    def __init__(self, explorer: ExplorerBase, panels: Mapping[str, PanelMaker]) -> None:
        self._explorer = explorer
        self._makers = dict(panels)
        self._made: dict[str, Panel] = {}
        self._buttons = {title: self._button(title) for title in self._makers}
        self._stage = widgets.VBox(
            layout=widgets.Layout(display="none", margin="4px 0 0 0", width="100%")
        ).add_class("vgg-stage")
        self.widget = widgets.VBox([row(self._buttons.values(), margin="4px 0 0 0"), self._stage])

    def _button(self, title: str) -> widgets.ToggleButton:
        button = widgets.ToggleButton(description=title, layout=widgets.Layout(width="auto"))
        button.add_class("vgg-unfold")
        explorer = self._explorer
        explorer.on_change(button, lambda on: explorer.open_panel(title if on else ""))
        return button

    def pause(self) -> None:
        """Stop the open panel's playback."""
        if self.opened:
            self._explorer.reporting_errors(self._made[self.opened].pause, clear=False)()

    def play(self) -> None:
        """Start or stop the open panel's playback."""
        if self.opened:
            self._made[self.opened].toggle()

    def welcome(self) -> None:
        """Notify the open panel that the user has opened it."""
        if self.opened:
            self._made[self.opened].welcome()

    def unfold(self, title: str, titles: Collection[str]) -> None:
        """Open one panel, or none for an empty title, and show the buttons of these titles."""
        if title and title not in self._made:
            self._explorer.reporting_errors(self._make, clear=False)(title)
            if title not in self._made:
                # A panel that cannot be built stays closed.
                title = ""
        if title != self.opened:
            self.pause()
        self.opened = title
        with self._explorer.showing_controls():
            for name, button in self._buttons.items():
                display(button, shown=name in titles)
                set_value(button, name == title)
        if title:
            # Updated before it is displayed, so that no old content is visible.
            self.show()
            set_value(self._stage, (self._made[title].widget,), "children")
        display(self._stage, shown=bool(title))
        for gone in self._made.keys() - set(titles):
            if not title:
                self._stage.children = ()
            for widget in widgets_of(self._made.pop(gone).widget):
                widget.close()

    def _make(self, title: str) -> None:
        self._made[title] = self._makers[title](self._explorer)

    def show(self) -> None:
        """Update the open panel to the current state."""
        if self.opened:
            # An error in a panel is shown, but affects neither the figure nor the controls.
            self._explorer.reporting_errors(self._show_opened, clear=False)()

    def _show_opened(self) -> None:
        # A panel may compute for a while.
        with interrupts_allowed(), self._explorer.showing_controls():
            self._made[self.opened].show()

    def made(self) -> list[widgets.Widget]:
        """Return the widgets of all panels built so far, open or not."""
        return [panel.widget for panel in self._made.values()]

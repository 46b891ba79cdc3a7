"""The panels that there are, the row of their buttons, and the one that is unfolded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import ipywidgets as widgets

from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import display, row, set_value
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.support.interrupts import interrupts_allowed

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase

PanelMaker: TypeAlias = Callable[[Any], Panel]


def _of(module: str, name: str) -> PanelMaker:
    """Return what makes a panel, whose module is imported when it is first opened."""

    def make(explorer: ExplorerBase) -> Panel:
        found: PanelMaker = getattr(import_module(f"vgg_widget.explorer.panels.{module}"), name)
        return found(explorer)

    return make


PANELS: dict[str, PanelMaker] = {
    "Location": _of("location", "LocationPanel"),
    "Display": _of("display", "DisplayPanel"),
    "Circuit": _of("circuit", "CircuitPanel"),
    "Play": _of("play", "PlayPanel"),
    "Open & save": _of("files", "FilesPanel"),
}
"""The panels of every explorer, by the words on their buttons, in this order."""

SET_PANEL = "Strongest"
"""The title of the panel that explorers have too that know the strongest images of a set."""

top_images_panel = _of("top_images", "TopImagesPanel")

PAIR_PANELS: dict[str, PanelMaker] = {
    "Display": PANELS["Display"],
    "Open & save": _of("files", "PairFilesPanel"),
}
"""The panels of a comparison: the others are about one image."""


def predictions_panel(extractor: FeatureExtractor, count: int) -> PanelMaker:
    """Load the classifier, saying so first, and return what makes the panel of its predictions."""
    from vgg_widget.explorer.panels.predictions import PredictionsPanel
    from vgg_widget.predictions import predictor_for

    predictor = predictor_for(extractor)
    return lambda explorer: PredictionsPanel(explorer, predictor, count)


class PanelSwitcher:
    """A row of toggle buttons, of which at most one is pressed, and the panel that it unfolds.

    A row of buttons takes a fifth of an accordion's height, and the Tab key reaches it.
    """

    opened = ""
    """The title of the panel that is unfolded; "" where none is."""

    def __init__(self, explorer: ExplorerBase, panels: Mapping[str, PanelMaker]) -> None:
        self._explorer = explorer
        self._makers = dict(panels)
        self._made: dict[str, Panel] = {}
        self._buttons = {title: self._button(title) for title in self._makers}
        self._stage = widgets.VBox(layout=widgets.Layout(display="none", margin="4px 0 0 0"))
        self.widget = widgets.VBox([row(self._buttons.values(), margin="4px 0 0 0"), self._stage])

    def _button(self, title: str) -> widgets.ToggleButton:
        button = widgets.ToggleButton(description=title, layout=widgets.Layout(width="auto"))
        button.add_class("vgg-unfold")
        explorer = self._explorer
        explorer.on_change(button, lambda on: explorer.open_panel(title if on else ""))
        return button

    def pause(self) -> None:
        """Stop what the open panel plays."""
        if self.opened:
            self._explorer.reporting_errors(self._made[self.opened].pause, clear=False)()

    def play(self) -> None:
        """Start what the open panel plays, or stop it."""
        if self.opened:
            self._made[self.opened].toggle()

    def unfold(self, title: str, titles: Collection[str]) -> None:
        """Open one panel, or none for an empty title, and show the buttons of these titles."""
        if title and title not in self._made:
            self._explorer.reporting_errors(self._make, clear=False)(title)
            if title not in self._made:
                # What cannot be made stays folded.
                title = ""
        if title != self.opened:
            self.pause()
        self.opened = title
        with self._explorer.showing_controls():
            for name, button in self._buttons.items():
                display(button, shown=name in titles)
                set_value(button, name == title)
        if title:
            # What it is to show first, so that nothing of before is seen.
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
        """Bring the open panel to what is on show."""
        if self.opened:
            # A panel that fails is told of, and takes neither the picture nor the controls along.
            self._explorer.reporting_errors(self._show_opened, clear=False)()

    def _show_opened(self) -> None:
        # It may compute, and take its time.
        with interrupts_allowed(), self._explorer.showing_controls():
            self._made[self.opened].show()

    def made(self) -> list[widgets.Widget]:
        """Return the panels that exist, open or not."""
        return [panel.widget for panel in self._made.values()]

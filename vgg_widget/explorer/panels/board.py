"""The row of buttons under the picture, and the panel that is unfolded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets as widgets

from vgg_widget.explorer.controls import display
from vgg_widget.explorer.host import Host, Panel, Playing, ViewHost, heard
from vgg_widget.explorer.scene import Scene
from vgg_widget.explorer.trait_types import widgets_of
from vgg_widget.network.extractor import FeatureExtractor


def _location(host: Host) -> Panel:
    from vgg_widget.explorer.panels.location import LocationPanel

    return LocationPanel(host)


def _display(host: ViewHost) -> Panel:
    from vgg_widget.explorer.panels.look import LookPanel

    return LookPanel(host)


def _circuit(host: Host) -> Panel:
    from vgg_widget.explorer.panels.circuit import CircuitPanel

    return CircuitPanel(host)


def _play(host: Host) -> Panel:
    from vgg_widget.explorer.panels.play import PlayPanel

    return PlayPanel(host)


def _strongest(host: Host) -> Panel:
    from vgg_widget.explorer.panels.strongest import StrongestPanel

    return StrongestPanel(host)


def _files(host: Host) -> Panel:
    from vgg_widget.explorer.panels.files import FilesPanel

    return FilesPanel(host)


def _pair_files(host: ViewHost) -> Panel:
    from vgg_widget.explorer.panels.files import PairFilesPanel

    return PairFilesPanel(host)


PANELS: dict[str, Callable[[Host], Panel]] = {
    "Location": _location,
    "Display": _display,
    "Circuit": _circuit,
    "Play": _play,
    "Open & save": _files,
}
"""The panels of every explorer, by the words on their buttons, in this order."""

SET_PANELS: dict[str, Callable[[Host], Panel]] = {"Strongest": _strongest}
"""What explorers have too that know the strongest images of a set."""

PAIR_PANELS: dict[str, Callable[[ViewHost], Panel]] = {
    "Display": _display,
    "Open & save": _pair_files,
}
"""The panels of a comparison: the others are about one image."""


def predictions_panel(extractor: FeatureExtractor, top: int) -> Callable[[Host], Panel]:
    """Load the classifier, saying so first, and return what makes the panel of its predictions.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose weights the classifier belongs to.
    top : int
        How many classes are listed.

    Raises
    ------
    ValueError, WeightsError
        If there is no classifier for these weights, or its file cannot be had.
    """
    from vgg_widget.explorer.panels.predictions import PredictionsPanel
    from vgg_widget.predictions import predictor_for

    predictor = predictor_for(extractor)
    return lambda host: PredictionsPanel(host, predictor, top)


class Board:
    """A row of toggle buttons, of which at most one is pressed, and the panel that it unfolds.

    A row of buttons takes a fifth of an accordion's height, and the Tab key reaches it.

    Parameters
    ----------
    host : ViewHost
        Is told which panel is to be open.
    panels : mapping of str to callable
        Title → what makes the panel of that title, of the host.
    """

    def __init__(self, host: ViewHost, panels: Mapping[str, Callable[[Any], Panel]]) -> None:
        self._host = host
        self._makers = dict(panels)
        self._made: dict[str, Panel] = {}
        self._open = ""
        self._buttons = {title: self._button(title) for title in self._makers}
        self._row = widgets.HBox(
            list(self._buttons.values()),
            layout=widgets.Layout(flex_flow="row wrap", margin="4px 0 0 0"),
        )
        self._stage = widgets.VBox(layout=widgets.Layout(display="none", margin="4px 0 0 0"))
        self.widget = widgets.VBox([self._row, self._stage])

    def _button(self, title: str) -> widgets.ToggleButton:
        button = widgets.ToggleButton(description=title, layout=widgets.Layout(width="auto"))
        button.add_class("vgg-unfold")

        def told(change: dict[str, Any]) -> None:
            # Brought to what is open by `unfold`, it says what is known already.
            if change["new"] != (title == self._open):
                self._host.tell(panel=title if change["new"] else "")

        button.observe(heard(self._host, told), "value")
        return button

    def offer(self, panels: Mapping[str, Callable[[Any], Panel]]) -> None:
        """Add panels behind those that are there."""
        for title, maker in panels.items():
            if title not in self._makers:
                self._makers[title] = maker
                self._buttons[title] = self._button(title)
        self._row.children = tuple(self._buttons.values())

    def withdraw(self, titles: Iterable[str]) -> None:
        """Take panels away, folded first where one is open."""
        for title in titles:
            if title == self._open:
                self.pause()
                self._open, self._stage.children = "", ()
                display(self._stage, shown=False)
            if self._makers.pop(title, None) is None:
                continue
            button, panel = self._buttons.pop(title), self._made.pop(title, None)
            self._row.children = tuple(self._buttons.values())
            for widget in widgets_of(button, None if panel is None else panel.widget):
                widget.close()

    @property
    def titles(self) -> tuple[str, ...]:
        """What can be unfolded."""
        return tuple(self._makers)

    @property
    def opened(self) -> str:
        """The title of the panel that is unfolded; "" where none is."""
        return self._open

    def pause(self) -> None:
        """Stop what the open panel plays."""
        panel: object = self._made.get(self._open)
        if isinstance(panel, Playing):
            panel.pause()

    def unfold(self, title: str, scene: Scene) -> None:
        """Open one panel, and fold the others; an empty title folds all."""
        if title and title not in self._made:
            self._host.guard(lambda: self._make(title))
            if title not in self._made:
                # What cannot be made stays folded.
                title = ""
        if title != self._open:
            self.pause()
        self._open = title
        for name, button in self._buttons.items():
            button.value = name == title
        if title:
            # What it is to show first, so that nothing of before is seen.
            self.show(scene)
            self._stage.children = (self._made[title].widget,)
        display(self._stage, shown=bool(title))

    def _make(self, title: str) -> None:
        self._made[title] = self._makers[title](self._host)

    def play(self) -> None:
        """Start what the open panel plays, or stop it."""
        panel: object = self._made.get(self._open)
        if isinstance(panel, Playing):
            panel.toggle()

    def show(self, scene: Scene) -> None:
        """Bring the open panel to what is on show."""
        if self._open:
            # A panel that fails is told of, and takes neither the picture nor the controls along.
            panel = self._made[self._open]
            self._host.guard(lambda: panel.show(scene))

    def made(self) -> list[widgets.Widget]:
        """Return the panels that exist, open or not."""
        return [panel.widget for panel in self._made.values()]

    def forget(self) -> None:
        """Drop the activations that a panel holds."""
        for panel in self._made.values():
            vars(panel).pop("_scene", None)

"""The panel that lists the strongest channels at one location."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.activations.strongest import Strength, strongest_at
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import FITTING, display, row
from vgg_widget.pictures.rendering import layer_label
from vgg_widget.support.messages import plain_number

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

_BARS = 10
# In pixels.
_LONGEST = 170


class LocationPanel(Panel):
    """Row and column of the chosen location, and the strongest channels there."""

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self.row, self.column = (
            widgets.IntText(description=name, layout=widgets.Layout(width="130px"), style=FITTING)
            for name in ("row", "column")
        )
        self.clear = widgets.Button(description="clear", layout=widgets.Layout(width="auto"))
        self.words = widgets.HTML()
        self._lines = [_Line(explorer) for _ in range(_BARS)]
        half = _BARS // 2
        columns = [self._lines[:half], self._lines[half:]]
        self.widget = widgets.VBox(
            [
                row([self.row, self.column, self.clear]),
                self.words,
                row(widgets.VBox([line.widget for line in column]) for column in columns),
            ]
        )
        explorer.on_typed(
            lambda _: explorer.choose(location=(self.row.value, self.column.value)),
            self.row,
            self.column,
        )
        self.clear.on_click(explorer.reporting_errors(lambda _: explorer.choose(location=None)))

    def show(self) -> None:
        """Update the panel to the current state."""
        activations, settings = self._explorer.activations, self._explorer.settings
        layer = self._explorer.rendering.layer
        location: tuple[int, int] | None = settings.location
        for field, number in zip((self.row, self.column), location or (0, 0), strict=True):
            self._explorer.show_typed(field, number)
        found = strongest_at(activations, layer, *location, _BARS) if location else ()
        name = html.escape(layer_label(activations, layer))
        if location is None:
            self.words.value = (
                "Click on a picture, or give a row and a column, to choose a location. The "
                "strongest channels there are then listed here."
            )
        elif found:
            where = f"row {location[0]}, column {location[1]}"
            self.words.value = f"Strongest channels of {name} at {where}; click on one to see it."
        else:
            self.words.value = f"No channel of {name} is active there."
        for place, line in enumerate(self._lines):
            line.show(found[place] if place < len(found) else None, settings.channel)


class _Line:
    """A channel's button, its bar, which can be clicked too, and its value."""

    def __init__(self, explorer: LayerExplorer) -> None:
        self._channel = 0
        # On a narrow page it would shrink until its number is cut off.
        self.button = widgets.Button(
            layout=widgets.Layout(width="110px", height="24px", flex="0 0 auto")
        )
        self.bar = widgets.HTML(layout=widgets.Layout(width="260px", margin="0 8px"))
        self.widget = widgets.HBox(
            [self.button, self.bar], layout=widgets.Layout(align_items="center")
        )
        self.widget.add_class("vgg-line")
        self.button.on_click(
            explorer.reporting_errors(lambda _: explorer.open_channel(self._channel))
        )

    def show(self, strength: Strength | None, on_view: int) -> None:
        display(self.widget, shown=strength is not None)
        if strength is None:
            return
        self._channel = strength.channel
        self.button.description = f"channel {strength.channel}"
        self.button.button_style = "info" if strength.channel == on_view else ""
        length = round(_LONGEST * abs(strength.share))
        kind = "vgg-bar" if strength.value > 0 else "vgg-bar vgg-bar-negative"
        number = plain_number(strength.value, 4)
        self.bar.value = f'<span class="{kind}" style="width:{length}px"></span> {number}'

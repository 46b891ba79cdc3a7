"""The panel that says how activations meet colours, and what lies over the input."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import FITTING, checkbox, dropdown, row, set_value
from vgg_widget.figure.themes import THEME_NAMES
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.scaling import as_scale

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


class DisplayPanel(Panel):
    """Percentile, gamma, the side of the ReLU, overlay and theme."""

    def __init__(self, explorer: ExplorerBase) -> None:
        super().__init__(explorer)
        gap = "2px 14px 2px 0"
        self.percentile = widgets.BoundedFloatText(
            description="percentile",
            min=0.1,
            max=100,
            step=0.1,
            tooltip="percentile of the values above 0 at the top of the range",
            layout=widgets.Layout(width="160px", margin=gap),
            style=FITTING,
        )
        self.gamma = widgets.FloatLogSlider(
            description="gamma",
            min=-1,
            max=0.5,
            step=0.05,
            readout_format=".2f",
            tooltip="below 1 lifts weak activations",
            layout=widgets.Layout(width="260px", margin=gap),
            style=FITTING,
        )
        self.before_relu = checkbox("before ReLU", gap)
        self.overlay = widgets.FloatSlider(
            description="map over the input",
            min=0,
            max=1,
            step=0.05,
            readout_format=".0%",
            layout=widgets.Layout(width="330px", margin=gap),
            style=FITTING,
        )
        self.theme = dropdown("theme", THEME_NAMES, gap)
        self.widget = widgets.VBox(
            [
                row([self.percentile, self.gamma], align_items="center"),
                row([self.before_relu, self.overlay, self.theme], align_items="center"),
            ]
        )
        for name in ("before_relu", "overlay", "theme"):
            explorer.choose_with(getattr(self, name), name)
        for name in ("percentile", "gamma"):
            explorer.on_change(getattr(self, name), partial(self._chosen, name))

    def _chosen(self, name: str, value: float) -> None:
        own = getattr(as_scale(self._explorer.settings.scale), name)
        self._explorer.choose(**{name: None if math.isclose(value, own) else value})

    def show(self) -> None:
        """Bring the panel to what is on show."""
        settings = self._explorer.settings
        mode = find_mode(settings.mode)
        own = as_scale(settings.scale)
        percentile, gamma = settings.percentile, settings.gamma
        set_value(self.percentile, own.percentile if percentile is None else percentile)
        # A slider has steps, and a trait has not.
        set_value(self.gamma, min(max(own.gamma if gamma is None else gamma, 0.1), 10**0.5))
        set_value(self.before_relu, settings.before_relu)
        set_value(self.overlay, settings.overlay)
        set_value(self.theme, self._explorer.theme)
        for control in (self.percentile, self.gamma):
            set_value(control, not mode.uses_scale, "disabled")
        unsided = self._explorer.measured.before_relu(settings.layer) is None
        set_value(self.before_relu, unsided, "disabled")
        set_value(self.overlay, mode.tiled, "disabled")

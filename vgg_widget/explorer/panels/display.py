"""The panel that says how activations meet colours, and what lies over the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.explorer.controls import as_wide_as_its_words, set_value
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.figure.themes import THEME_NAMES
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.scaling import SCOPES, as_scale

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


class DisplayPanel(Panel):
    """Scale, percentile, gamma, the side of the ReLU, overlay and theme."""

    def __init__(self, explorer: ExplorerBase) -> None:
        super().__init__(explorer)
        wide = {"description_width": "max-content"}
        gap = "2px 14px 2px 0"

        def sized(width: str) -> widgets.Layout:
            return widgets.Layout(width=width, margin=gap)

        self.scale = widgets.Dropdown(
            description="scale", options=list(SCOPES), layout=as_wide_as_its_words(gap), style=wide
        )
        self.percentile = widgets.BoundedFloatText(
            description="percentile",
            min=0.1,
            max=100,
            step=0.1,
            tooltip="percentile of the values above 0 at the top of the range",
            layout=sized("160px"),
            style=wide,
        )
        self.gamma = widgets.FloatLogSlider(
            description="gamma",
            min=-1,
            max=0.5,
            step=0.05,
            readout_format=".2f",
            tooltip="below 1 lifts weak activations",
            layout=sized("260px"),
            style=wide,
        )
        self.before_relu = widgets.Checkbox(
            description="before ReLU", indent=False, layout=as_wide_as_its_words(gap)
        )
        self.overlay = widgets.FloatSlider(
            description="map over the input",
            min=0,
            max=1,
            step=0.05,
            readout_format=".0%",
            layout=sized("330px"),
            style=wide,
        )
        self.theme = widgets.Dropdown(
            description="theme",
            options=list(THEME_NAMES),
            layout=as_wide_as_its_words(gap),
            style=wide,
        )
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.scale, self.percentile, self.gamma], layout=row),
                widgets.HBox([self.before_relu, self.overlay, self.theme], layout=row),
            ]
        )
        for name in ("gamma", "before_relu", "overlay", "theme"):
            explorer.choose_with(getattr(self, name), name)
        # Each scale has a percentile of its own.
        explorer.on_change(self.scale, lambda scale: explorer.choose(scale=scale, percentile=None))
        explorer.on_change(self.percentile, self._percentile_chosen)

    def _percentile_chosen(self, percentile: float) -> None:
        own = as_scale(self.scale.value).percentile
        self._explorer.choose(percentile=None if percentile == own else percentile)

    def show(self) -> None:
        """Bring the panel to what is on show."""
        settings = self._explorer.settings
        mode = find_mode(settings.mode)
        own = as_scale(settings.scale).percentile
        set_value(self.scale, settings.scale)
        set_value(self.percentile, own if settings.percentile is None else settings.percentile)
        # A slider has steps, and a trait has not.
        set_value(self.gamma, min(max(settings.gamma, 0.1), 10**0.5))
        set_value(self.before_relu, settings.before_relu)
        set_value(self.overlay, settings.overlay)
        set_value(self.theme, self._explorer.theme)
        for control in (self.scale, self.percentile, self.gamma):
            set_value(control, not mode.uses_scale, "disabled")
        unsided = self._explorer.measured.before_relu(settings.layer) is None
        set_value(self.before_relu, unsided, "disabled")
        set_value(self.overlay, mode.tiled, "disabled")

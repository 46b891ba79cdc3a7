"""The panel that says how activations meet colours, and what lies over the input."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from vgg_widget.explorer.controls import as_wide_as_its_words
from vgg_widget.explorer.host import ViewHost, heard
from vgg_widget.explorer.scene import Scene
from vgg_widget.figure.themes import THEME_NAMES
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.scaling import SCOPES, as_scale


class LookPanel:
    """Scale, percentile, gamma, the side of the ReLU, overlay and theme."""

    title = "Display"

    def __init__(self, host: ViewHost) -> None:
        self._host = host
        self._showing = False
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
        for name in ("scale", "percentile", "gamma", "before_relu", "overlay", "theme"):
            self._listen(name)

    def _listen(self, name: str) -> None:
        def told(change: dict[str, Any]) -> None:
            if self._showing:
                return
            changes = {name: change["new"]}
            if name == "scale":
                # Each scale has a percentile of its own.
                changes["percentile"] = None
            elif name == "percentile" and change["new"] == as_scale(self.scale.value).percentile:
                changes["percentile"] = None
            self._host.tell(**changes)

        getattr(self, name).observe(heard(self._host, told), "value")

    def show(self, scene: Scene) -> None:
        """Bring the panel to what is on show."""
        choice, mode = scene.choice, find_mode(scene.choice.mode)
        own = as_scale(choice.scale).percentile
        self._showing = True
        try:
            self.scale.value = choice.scale
            self.percentile.value = own if choice.percentile is None else choice.percentile
            # A slider has steps, and a trait has not.
            self.gamma.value = min(max(choice.gamma, 0.1), 10**0.5)
            self.before_relu.value = choice.before_relu
            self.overlay.value = choice.overlay
            self.theme.value = scene.theme
        finally:
            self._showing = False
        for control in (self.scale, self.percentile, self.gamma):
            control.disabled = not mode.uses_scale
        self.before_relu.disabled = scene.activations.before_relu(choice.layer) is None
        self.overlay.disabled = mode.tiled

"""The panel of colour settings: how activations become colours, and the overlay on the input."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import (
    FITTING,
    WIDTH,
    checkbox,
    dropdown,
    paragraph,
    set_value,
    words,
)
from vgg_widget.figure.themes import THEME_NAMES
from vgg_widget.pictures.histogram import Histogram, histogram
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.scaling import as_scale
from vgg_widget.support.messages import plain_number

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase


# The histogram's height in pixels, and the style of the bars of clipped values.
_TALL = 48
_CLIPPED = ' style="fill: #d93025; fill-opacity: 1"'
# The step of the gamma slider.
_STEP = 0.05
# As wide as its grid cell.
_FILLING = partial(widgets.Layout, width="auto", min_width="0")


class DisplayPanel(Panel):
    """Percentile, gamma, the side of the ReLU, overlay and theme, and the values' histogram."""

    def __init__(self, explorer: ExplorerBase) -> None:
        super().__init__(explorer)
        self.percentile = widgets.FloatText(
            description="percentile",
            step=0.1,
            tooltip="percentile of the values above 0 at the top of the range",
            layout=_FILLING(),
            style=FITTING,
        )
        self.gamma = widgets.FloatSlider(
            description="gamma",
            min=0.1,
            max=3,
            step=_STEP,
            readout_format=".2f",
            tooltip="below 1 lifts weak activations",
            layout=_FILLING(),
            style=FITTING,
        )
        self.before_relu = checkbox("before ReLU")
        self.overlay = widgets.FloatSlider(
            description="map over the input",
            min=0,
            max=1,
            step=0.05,
            readout_format=".0%",
            layout=_FILLING(),
            style=FITTING,
        )
        self.theme = dropdown("theme", THEME_NAMES)
        self.numbers = words("vgg-words")
        self.histogram = words("vgg-words", width="100%", max_width="420px")
        fields = [self.percentile, self.gamma, self.overlay, self.before_relu, self.theme]
        columns = "repeat(auto-fit, minmax(min(260px, 100%), 1fr))"
        grid = widgets.Layout(grid_template_columns=columns, grid_gap="4px 18px", width="100%")
        self.widget = widgets.VBox(
            [widgets.GridBox(fields, layout=grid), self.numbers, self.histogram],
            layout=widgets.Layout(width="100%", max_width=WIDTH),
        )
        for name in ("before_relu", "overlay", "theme"):
            explorer.choose_with(getattr(self, name), name)
        for name in ("percentile", "gamma"):
            explorer.on_typed(partial(self._chosen, name), getattr(self, name))

    def _chosen(self, name: str, value: float) -> None:
        settings = self._explorer.settings
        own = getattr(as_scale(settings.scale), name)
        now = getattr(settings, name)
        # For a value between two steps, the page sends the nearest step back: not a user's choice.
        if name == "gamma" and abs(value - (own if now is None else now)) < _STEP / 2:
            return
        self._explorer.choose(**{name: None if math.isclose(value, own) else value})

    def show(self) -> None:
        """Update the panel to the current state."""
        settings = self._explorer.settings
        mode = find_mode(settings.mode)
        own = as_scale(settings.scale)
        percentile, gamma = settings.percentile, settings.gamma
        self._explorer.show_typed(
            self.percentile, own.percentile if percentile is None else percentile
        )
        # The slider has steps, but the trait has none.
        bent = min(max(own.gamma if gamma is None else gamma, 0.1), 3)
        if abs(self.gamma.value - bent) >= _STEP / 2:
            set_value(self.gamma, bent)
        set_value(self.before_relu, settings.before_relu)
        set_value(self.overlay, settings.overlay)
        set_value(self.theme, self._explorer.theme)
        for control in (self.percentile, self.gamma):
            set_value(control, not mode.uses_scale, "disabled")
        unsided = self._explorer.measured.before_relu(settings.layer) is None
        set_value(self.before_relu, unsided, "disabled")
        set_value(self.overlay, mode.tiled, "disabled")
        summary, rendering = self._explorer.distribution()
        set_value(self.numbers, paragraph(summary))
        found = histogram(rendering)
        set_value(self.histogram, "" if found is None else histogram_svg(found))


def histogram_svg(found: Histogram) -> str:
    """Return a histogram of the displayed values as SVG, with clipped values in red."""
    # After a ReLU most values are 0: on a linear scale a single bar would be visible.
    counts = np.log1p([found.below, *found.counts, found.above])
    heights = (_TALL * counts / max(1.0, counts.max())).round(1).tolist()
    bars = [
        f'<rect x="{place}" y="{_TALL - height:.1f}" width="1" height="{height}"'
        f"{_CLIPPED if place in (0, len(heights) - 1) else ''}></rect>"
        for place, height in enumerate(heights)
        if height
    ]
    low, high = (plain_number(edge) for edge in found.edges[[0, -1]])
    total = int(found.counts.sum()) + found.below + found.above
    clipped = f"{(found.below + found.above) / max(1, total):.1%} beyond it"
    label = f"number of values from {low} to {high}, on a logarithmic scale; {clipped}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {len(heights)} {_TALL}" '
        f'preserveAspectRatio="none" style="display: block; width: 100%; height: {_TALL}px; '
        f'fill: currentColor; fill-opacity: 0.6">{"".join(bars)}</svg>'
        '<div style="display: flex; justify-content: space-between; gap: 12px">'
        f'<span style="white-space: nowrap">{low}</span>'
        f"<span>how often each value occurs, log scale; {clipped}</span>"
        f'<span style="white-space: nowrap">{high}</span></div>'
    )

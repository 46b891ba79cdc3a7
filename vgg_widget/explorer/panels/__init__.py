"""Panels that unfold under the figure: one at a time, each built when it is first opened."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from vgg_widget.explorer.attributing import WHY_PANEL
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.network.extractor import FeatureExtractor

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase

PanelMaker: TypeAlias = Callable[[Any], Panel]


def _of(module: str, name: str) -> PanelMaker:
    """Return a function that builds a panel, and imports its module when it is first opened."""

    def make(explorer: ExplorerBase) -> Panel:
        found: PanelMaker = getattr(import_module(f"vgg_widget.explorer.panels.{module}"), name)
        return found(explorer)

    return make


PANELS: dict[str, PanelMaker] = {
    "Location": _of("location", "LocationPanel"),
    "Display": _of("display", "DisplayPanel"),
    "Circuit": _of("circuit", "CircuitPanel"),
    WHY_PANEL: _of("why", "WhyPanel"),
    "Looks for": _of("looks_for", "LooksForPanel"),
    "What is left": _of("what_is_left", "WhatIsLeftPanel"),
    "Play": _of("play", "PlayPanel"),
    "Open & save": _of("files", "FilesPanel"),
}
"""The panels of every explorer, keyed by the text on their buttons, in order."""

PAIR_PANELS: dict[str, PanelMaker] = {
    "Display": PANELS["Display"],
    "Distances": _of("distances", "DistancesPanel"),
    WHY_PANEL: PANELS[WHY_PANEL],
    "Open & save": _of("files", "PairFilesPanel"),
}
"""The panels of a comparison; the others apply to one image alone."""

SET_PANEL = "Strongest"
"""The title of an extra panel for explorers that know the strongest images of a set."""

top_images_panel = _of("top_images", "TopImagesPanel")


def predictions_panel(extractor: FeatureExtractor, count: int) -> PanelMaker:
    """Load the classifier, after announcing it, and return a function that builds its panel."""
    from vgg_widget.explorer.panels.predictions import PredictionsPanel
    from vgg_widget.predictions import predictor_for

    predictor = predictor_for(extractor)
    return lambda explorer: PredictionsPanel(explorer, predictor, count)

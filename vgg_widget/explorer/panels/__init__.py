"""What unfolds under the picture: one panel at a time, each made when it is first opened."""

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
    """Return what makes a panel, whose module is imported when it is first opened."""

    def make(explorer: ExplorerBase) -> Panel:
        found: PanelMaker = getattr(import_module(f"vgg_widget.explorer.panels.{module}"), name)
        return found(explorer)

    return make


PANELS: dict[str, PanelMaker] = {
    "Location": _of("location", "LocationPanel"),
    "Display": _of("display", "DisplayPanel"),
    "Circuit": _of("circuit", "CircuitPanel"),
    WHY_PANEL: _of("why", "WhyPanel"),
    "Play": _of("play", "PlayPanel"),
    "Open & save": _of("files", "FilesPanel"),
}
"""The panels of every explorer, by the words on their buttons, in this order."""

PAIR_PANELS: dict[str, PanelMaker] = {
    "Display": PANELS["Display"],
    WHY_PANEL: PANELS[WHY_PANEL],
    "Open & save": _of("files", "PairFilesPanel"),
}
"""The panels of a comparison: the others are about one image alone."""

SET_PANEL = "Strongest"
"""The title of the panel that explorers have too that know the strongest images of a set."""

top_images_panel = _of("top_images", "TopImagesPanel")


def predictions_panel(extractor: FeatureExtractor, count: int) -> PanelMaker:
    """Load the classifier, saying so first, and return what makes the panel of its predictions."""
    from vgg_widget.explorer.panels.predictions import PredictionsPanel
    from vgg_widget.predictions import predictor_for

    predictor = predictor_for(extractor)
    return lambda explorer: PredictionsPanel(explorer, predictor, count)

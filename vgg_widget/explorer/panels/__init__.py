"""What unfolds under the picture: one panel at a time, each made when it is first opened."""

from vgg_widget.explorer.panels.switcher import (
    PAIR_PANELS,
    PANELS,
    SET_PANEL,
    PanelMaker,
    PanelSwitcher,
    predictions_panel,
    top_images_panel,
)

__all__ = [
    "PAIR_PANELS",
    "PANELS",
    "SET_PANEL",
    "PanelMaker",
    "PanelSwitcher",
    "predictions_panel",
    "top_images_panel",
]

"""What unfolds under the picture: one panel at a time, each made when it is first opened."""

from vgg_widget.panels.board import PANELS, Board, predictions_panel

__all__ = ["PANELS", "Board", "predictions_panel"]

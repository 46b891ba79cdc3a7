"""How channels become one picture, and what goes with it: tiles, colours, legends."""

from vgg_widget.pictures.modes import ModeRequest, Picture, Rendering

__all__ = ["ModeRequest", "Picture", "Rendering"]

"""The widgets: traits, controls, panels and gestures, and the links between them."""

from vgg_widget.explorer.layer_explorer import LayerExplorer

__all__ = ["LayerExplorer"]

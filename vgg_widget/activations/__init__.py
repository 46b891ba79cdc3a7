"""What every layer computed from one image: the maps, their statistics, and files of them."""

from vgg_widget.activations.mapping import RANKINGS, Activations
from vgg_widget.activations.named_layers import LayerNameError

__all__ = ["RANKINGS", "Activations", "LayerNameError"]

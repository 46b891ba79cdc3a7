"""Every layer's feature maps of one image, with their statistics and file formats."""

from vgg_widget.activations.mapping import RANKINGS, Activations
from vgg_widget.activations.named_layers import LayerNameError

__all__ = ["RANKINGS", "Activations", "LayerNameError"]

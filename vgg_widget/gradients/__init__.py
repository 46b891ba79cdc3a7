"""Gradients: attribution of a unit's value, and images optimised for channels and layers."""

from vgg_widget.gradients.arguments import METHODS
from vgg_widget.gradients.attribution import attribute
from vgg_widget.gradients.reconstruction import PRIORS, reconstruct, reconstructions
from vgg_widget.gradients.result import Attribution, Completeness
from vgg_widget.gradients.style import content_distance, gram, style_distance
from vgg_widget.gradients.synthesis import channel_images, visualize_channel
from vgg_widget.gradients.synthetic_image import Reconstruction, SyntheticImage
from vgg_widget.gradients.unit_sum import UnitSum, explain_unit

__all__ = [
    "METHODS",
    "PRIORS",
    "Attribution",
    "Completeness",
    "Reconstruction",
    "SyntheticImage",
    "UnitSum",
    "attribute",
    "channel_images",
    "content_distance",
    "explain_unit",
    "gram",
    "reconstruct",
    "reconstructions",
    "style_distance",
    "visualize_channel",
]

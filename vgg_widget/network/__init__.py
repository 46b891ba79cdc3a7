"""The multi-output networks, VGG19 and anybody's own, and what they know of their layers."""

from vgg_widget.network.extractor import (
    FeatureExtractor,
)

__all__ = [
    "FeatureExtractor",
]

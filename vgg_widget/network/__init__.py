"""The multi-output networks, VGG19 and anybody's own, and what they know of their layers."""

import copyreg

from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import reduced

__all__ = ["FeatureExtractor"]

# Here, since an extractor's own module knows nothing of how it travels.
copyreg.pickle(FeatureExtractor, reduced)

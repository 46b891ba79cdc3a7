"""Multi-output networks (VGGs and users' own models) and the geometry of their layers."""

import copyreg

from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import reduced

__all__ = ["FeatureExtractor"]

# Registered here, since `extractor` must not depend on `portable`.
copyreg.pickle(FeatureExtractor, reduced)

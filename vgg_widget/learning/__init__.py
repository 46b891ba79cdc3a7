"""Filters learned without labels: VGG19's kernels by k-means on patches of photographs.

For each convolution in network order, on the activations of the layers already learned: draw 3×3
patches, whiten them (truncated PCA), cluster them on the sphere, and use each centroid as a filter
(Coates & Ng 2012, "Learning Feature Representations with K-means"). Each filter's response is then
scaled to a standard deviation of 1 and shifted so that about a third of it survives the ReLU (after
Krähenbühl et al. 2016, "Data-dependent Initializations of Convolutional Neural Networks",
arXiv:1511.06856).

No labels are used, so the network recognises nothing. The filters are selective and interpretable;
nothing more is claimed.

``python -m vgg_widget.learning --embedded OUT.npz`` creates the default weights shipped with the
package.
"""

from vgg_widget.learning.learn import Recipe, learn_weights, spherical_kmeans, whitening
from vgg_widget.weights.learned_weights import LearnedWeights

__all__ = ["LearnedWeights", "Recipe", "learn_weights", "spherical_kmeans", "whitening"]

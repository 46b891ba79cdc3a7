"""What is published of the VGG19 that was trained on ImageNet, and where it may lie here."""

from __future__ import annotations

from pathlib import Path

from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.remote import RemoteFile

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"

IMAGENET = RemoteFile(
    name="vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    base=_BASE,
    hash="md5:253f8cb515780f3b799900260a226db6",
    size=80_134_624,
    what="the ImageNet weights",
    title="VGG19 ImageNet weights",
    command="vgg-widget weights --download",
)
"""The convolutions, which are all that feature maps need."""

IMAGENET_TOP = RemoteFile(
    name="vgg19_weights_tf_dim_ordering_tf_kernels.h5",
    base=_BASE,
    hash="md5:cbe5617147190e668d6c5d5026f83318",
    size=574_710_816,
    what="the weights of ImageNet's classifier",
    title="VGG19 ImageNet classifier",
    command="vgg-widget weights --download --top",
)
"""The same convolutions with the classifier, the three dense layers on top of them."""

IMAGENET_NAMES = RemoteFile(
    name="imagenet_class_index.json",
    base="https://storage.googleapis.com/download.tensorflow.org/data/",
    hash="md5:c2c37ea517e94d9795004a39431a14cb",
    size=35_363,
    what="the names of ImageNet's classes",
    title="ImageNet class names",
    command="vgg-widget weights --download --top",
)
"""Keras's list of what the 1000 classes are called."""


def imagenet_provenance(path: Path) -> Provenance:
    """Return what is said of weights from a file whose hash was right."""
    return Provenance("imagenet", "ImageNet weights", str(path), IMAGENET.hash)

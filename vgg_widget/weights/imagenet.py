"""What is published of the VGG19 that was trained on ImageNet, and where it may lie here."""

from __future__ import annotations

import json
from typing import TypeAlias

from vgg_widget.weights.remote import RemoteFile

CLASSES = 1000
"""How many classes the network was trained to tell."""

Name: TypeAlias = tuple[str, str]
"""WordNet's number of a class, and what it is called."""

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


def class_names() -> tuple[Name, ...]:
    """Return the names of the classes, in the order of the classifier's outputs."""
    # Its hash is checked, so that the content needs no check.
    content = json.loads(IMAGENET_NAMES.trusted().read_text(encoding="utf-8"))
    entries = (content[str(number)] for number in range(CLASSES))
    return tuple((wordnet_id, label) for wordnet_id, label in entries)

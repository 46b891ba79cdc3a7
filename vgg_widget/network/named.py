"""Networks by name, each built once and shared by all extractors with the same weights."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vgg_widget.network.applications import built_application, numbers_digest
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.own_model import OwnNetwork
from vgg_widget.network.vgg import PREPROCESSING, VggNetwork, built_vgg
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights, find_contours, resolve, resolve_application
from vgg_widget.weights.applications import APPLICATIONS, imagenet_file
from vgg_widget.weights.remote import ADDRESS_VARIABLE, failed_downloads

# Two networks, of 80 MB each, are cached, so that switching between trained and untrained weights,
# or running a cell again, rebuilds nothing.
_KEPT = 2
_networks: OrderedDict[object, tuple[VggNetwork | OwnNetwork, Provenance]] = OrderedDict()
_networks_lock = threading.RLock()


def shared_network(
    name: str, weights: str | os.PathLike[str] | Mapping[str, Any] | ResolvedWeights
) -> tuple[VggNetwork | OwnNetwork, Provenance]:
    """Return a network with these weights, built if necessary, and their provenance."""
    source = weights
    if isinstance(weights, Mapping | list | tuple) and name not in APPLICATIONS:
        # A state dict can only be identified by reading it.
        source = resolve(weights, name)
    with _networks_lock:
        key = name, _identity(name, source)
        if key not in _networks:
            made = _of_application(name, source) if name in APPLICATIONS else _made(name, source)
            # A download may have changed the identity of the name.
            key = name, _identity(name, source)
            _networks[key] = made
            while len({id(network) for network, _ in _networks.values()}) > _KEPT:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        return _networks[key]


def _made(name: str, source: Any) -> tuple[VggNetwork | OwnNetwork, Provenance]:
    # Do not assign the weights to a variable here. Errors left over by TensorFlow's import hold
    # every calling frame, which would keep 80 MB alive until garbage collection.
    return _with_weights(
        source if isinstance(source, ResolvedWeights) else resolve(source, name),
        *keras_and_tensorflow(),
    )


def _with_weights(
    resolved: ResolvedWeights, keras: Any, tf: Any
) -> tuple[VggNetwork | OwnNetwork, Provenance]:
    preprocess = PREPROCESSING[resolved.preprocessing]
    for network, known in _networks.values():
        if known.digest == resolved.provenance.digest and network.preprocess is preprocess:
            return network, resolved.provenance
    return built_vgg(resolved, keras, tf), resolved.provenance


def _of_application(name: str, source: Any) -> tuple[VggNetwork | OwnNetwork, Provenance]:
    found = resolve_application(source, name)
    if found.path is None:
        network = built_application(APPLICATIONS[name], None)
        return network, replace(found, digest=numbers_digest(network))
    for shared, known in _networks.values():
        if (known.network, known.digest) == (name, found.digest):
            return shared, found
    return built_application(APPLICATIONS[name], Path(found.path)), found


def _identity(network: str, weights: object) -> object:
    """Return the current identity of a weights argument, which changes with its file."""
    if isinstance(weights, str) and weights in ("auto", "imagenet"):
        files = tuple(_stamp(path) for path in imagenet_file(network).locations())
        # A failed download is retried if the mirror changes or the failure is cleared, and a
        # fallback may be installed meanwhile.
        settings = os.environ.get(ADDRESS_VARIABLE), find_contours()
        return weights, files, settings, bool(failed_downloads)
    if isinstance(weights, ResolvedWeights):
        return weights.provenance, weights.preprocessing
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # `resolve` will report the invalid argument.
        return repr(weights)
    path = Path(os.path.expanduser(weights))  # noqa: PTH111 - Path's own can raise.
    return (str(path.absolute()), _stamp(path)) if os.path.isfile(path) else weights  # noqa: PTH113 - Path's own can raise.


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size

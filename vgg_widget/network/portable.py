"""Digests of extractors, and their conversion to plain data for other processes."""

from __future__ import annotations

import functools
import hashlib
import json
import pkgutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Self

import numpy as np

from vgg_widget.images import RGB8
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.graph import Call
from vgg_widget.network.own_model import OwnNetwork, unchanged
from vgg_widget.network.protocol import Network, Preprocess
from vgg_widget.network.vgg import VggNetwork
from vgg_widget.support.messages import briefly, reason
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights

# Images for comparing preprocessing functions: one with every value in every colour, three of low
# contrast (dark, medium, bright), black and white.
_EVERY_VALUE = (np.arange(256 * 3) * 7 % 256).astype(np.uint8).reshape(16, 16, 3)
_PROBES = (
    _EVERY_VALUE,
    *(_EVERY_VALUE // 32 + np.uint8(darkest) for darkest in (0, 124, 248)),
    *(np.full_like(_EVERY_VALUE, value) for value in (0, 255)),
)
_PROBE_SIZES = ((64, 64), (48, 96))


def digest_of(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of everything that an extractor's network currently computes with."""
    digest, unknown = _network_digest(extractor)
    if unknown:
        raise ValueError(
            f"{extractor.weights.label} cannot be identified uniquely, since {unknown}: use "
            "numbers, arrays and functions from imported modules, or leave store and client out."
        )
    return digest


def weights_digest(extractor: FeatureExtractor) -> str:
    """Return the digest of an extractor's weights: that of their file or of the network."""
    return extractor.weights.digest or _network_digest(extractor)[0]


def preprocessing_digest(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of a preprocessing function's results for a dozen images."""
    sizes = (extractor.size,) if isinstance(extractor.size, tuple) else _PROBE_SIZES
    made = []
    for height, width in sizes:
        rows, columns = np.arange(height) % 16, np.arange(width) % 16
        made += [_network_input(extractor, probe[np.ix_(rows, columns)]) for probe in _PROBES]
    return f"sha256:{_arrays_digest(made)}"


def _network_input(extractor: FeatureExtractor, picture: RGB8) -> Any:
    # A user's function may divide by the contrast, or raise for an image without contrast.
    with np.errstate(all="ignore"):
        try:
            return extractor.network_input(picture)
        except Exception as error:
            return np.frombuffer(type(error).__name__.encode(), np.uint8)


def _network_digest(extractor: FeatureExtractor) -> tuple[str, str]:
    """Return a digest, and a description of the first part that it leaves out, or ""."""
    network = extractor._network  # noqa: SLF001 - same package
    network.check_usable()
    if numbers := getattr(network, "numbers", None):
        # PyTorch networks include their code in the numbers.
        return f"sha256:{_arrays_digest(numbers())}", ""
    if not isinstance(network, OwnNetwork):
        return f"sha256:{_arrays_digest(network.model.weights)}", ""
    results = [one.tensor for one in network.shown]
    needed = {id(one) for one in results}
    calls: list[Call] = []
    for call in reversed(network.calls):
        if any(id(one) in needed for one in call.results):
            needed |= {id(one) for one in call.sources}
            calls.insert(0, call)
    made = {id(network.model.inputs[0]): "input"}
    unknown = ""
    for call in calls:
        weights = _arrays_digest(getattr(call.layer, "weights", ()))
        try:
            settings = _settings(call, made)
        except Exception as error:
            # A custom layer may raise anything.
            settings = ""
            why = (
                f"its layer {call.name!r} has settings that are not serialisable ({reason(error)})"
            )
            unknown = unknown or why
        content = json.dumps([type(call.layer).__name__, settings, weights])
        digest = hashlib.sha256(content.encode()).hexdigest()
        made |= {id(one): f"{digest}[{index}]" for index, one in enumerate(call.results)}
    content = json.dumps([made[id(one)] for one in results])
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}", unknown


def _settings(call: Call, made: dict[int, str]) -> str:
    """Return a layer's settings and arguments as JSON, with tensors named by their calls."""
    keras, _ = keras_and_tensorflow()
    config = {key: value for key, value in call.layer.get_config().items() if key != "name"}
    if isinstance(call.layer, keras.layers.Lambda):
        # Keras would write only the function's name, or its code with the line number.
        config["function"] = call.layer.function

    def plain(value: Any) -> Any:
        if isinstance(value, FunctionType | MethodType):
            return _function_name(value)
        # Keras writes the dtypes of arrays but not of scalars.
        return np.atleast_1d(value) if isinstance(value, np.generic) else made.get(id(value), value)

    parts = keras.tree.map_structure(plain, [config, *call.arguments])
    return json.dumps(_comparable(keras.saving.serialize_keras_object(parts)), sort_keys=True)


def _function_name(function: Any) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    found = isinstance(function, FunctionType) and _has_name(function)
    if function.__module__ == "__main__" or not found:
        raise ValueError(f"{name} is not a function of an imported module")
    return name


def _comparable(value: Any) -> Any:
    """Distinguish tuples from lists, and remove layer names, which Keras numbers consecutively."""
    if isinstance(value, dict):
        layer = "trainable" in value
        return {k: _comparable(inner) for k, inner in value.items() if not (layer and k == "name")}
    if isinstance(value, tuple):
        return ["tuple", *map(_comparable, value)]
    return [*map(_comparable, value)] if isinstance(value, list) else value


def _arrays_digest(arrays: Any) -> str:
    digest = hashlib.sha256()
    for each in arrays:
        array = np.ascontiguousarray(each)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PortableExtractor:
    """The parts of an extractor, as plain data.

    `source` is a VGG's arrays, a model as a ``.keras`` file, or the name or path of weights.
    `preprocess` is None if the weights determine it. `digest` is from `digest_of`, and
    `preprocessing` from `preprocessing_digest`, empty if `source` is a name.
    """

    source: ResolvedWeights | bytes | str = field(repr=False)
    size: int | tuple[int, int] | None
    preprocess: Preprocess | None
    provenance: Provenance
    digest: str
    preprocessing: str = ""

    def __getstate__(self) -> dict[str, Any]:
        # Dask can also pickle anonymous functions, so extractors sent to workers may have them.
        if isinstance(self.source, str) and not _has_name(self.preprocess):
            raise TypeError(
                f"an extractor of {self.provenance.label} cannot be pickled with its preprocess, "
                f"{briefly(self.preprocess)}, which another process cannot find by name: define "
                "the function or its class at the top level of a module or notebook."
            )
        return vars(self)

    def __deepcopy__(self, _: object) -> Self:
        # It is immutable, and within this process its function needs no name.
        return self

    @classmethod
    def named(cls, extractor: FeatureExtractor) -> Self:
        """Create from the name of an extractor's weights; raise TypeError if they have none."""
        weights = extractor.weights
        if weights.source in ("model", "state_dict"):
            advice = (
                "pickle the model and create FeatureExtractor(model=...) from it there"
                if weights.source == "model"
                else "save the state dict to a file and create the extractor from its path"
            )
            raise TypeError(
                f"an extractor of {weights.label} cannot be pickled or deep-copied, since its "
                f"weights have no name or path: {advice}."
            )
        name = str(weights.path) if weights.source == "file" else weights.source
        own, digest = _own_preprocess(extractor), digest_of(extractor)
        return cls(name, extractor.size, own, weights, digest)

    @classmethod
    def of(cls, extractor: FeatureExtractor) -> Self:
        """Create from an extractor; raise ValueError for a model that cannot be saved."""
        network = extractor._network  # noqa: SLF001 - same package
        digest = digest_of(extractor)
        source = (
            # With the current digest, so that a process with the file's weights does not use those.
            network.resolved(replace(extractor.weights, digest=digest))
            if isinstance(network, VggNetwork)
            else _saved(network)
        )
        preprocessing = preprocessing_digest(extractor)
        # A named Keras network is sent as a model, which does not include its preprocessing.
        of_keras = isinstance(network, OwnNetwork) and extractor.network
        own = extractor._preprocess if of_keras else _own_preprocess(extractor)  # noqa: SLF001
        return cls(source, extractor.size, own, extractor.weights, digest, preprocessing)

    def extractor(self) -> FeatureExtractor:
        """Recreate the extractor; layers of nested models get other names."""
        if isinstance(self.source, bytes):
            # Always pass a function, since a model without three channels would be refused
            # otherwise.
            given = self.preprocess or unchanged
            made = FeatureExtractor(model=_loaded(self.source), preprocess=given, size=self.size)
        else:
            made = FeatureExtractor(
                self.source,
                network=self.provenance.network,
                preprocess=self.preprocess,
                size=self.size,
            )
        if digest_of(made) != self.digest:
            raise ValueError(
                f"the extractor of {self.provenance.label} could not be recreated exactly (digest "
                f"{digest_of(made)}, not {self.digest}): restore the old file if it has changed, "
                "export modified weights to their own file, and use the same versions of "
                "vgg_widget, Keras and TensorFlow on all workers."
            )
        # Keep the message too, such as that ImageNet's weights were unavailable.
        made._weights = self.provenance  # noqa: SLF001 - same package
        return made


def reduced(extractor: FeatureExtractor) -> tuple[Any, ...]:
    """Return how to recreate an extractor, for pickle and ``copy.deepcopy``."""
    return PortableExtractor.extractor, (PortableExtractor.named(extractor),)


def _own_preprocess(extractor: FeatureExtractor) -> Preprocess | None:
    return extractor._preprocess if extractor._own_preprocess else None  # noqa: SLF001 - same package


def _has_name(function: Any) -> bool:
    """Return whether a function, or a callable's class, can be imported by its name."""
    while isinstance(function, functools.partial):
        function = function.func
    bound = getattr(function, "__self__", None)
    thing = function if isinstance(function, FunctionType) else type(bound or function)
    if thing.__module__ == "builtins":
        # None and functions in C.
        return True
    try:
        found: object = pkgutil.resolve_name(f"{thing.__module__}:{thing.__qualname__}")
    except (AttributeError, ImportError, ValueError):
        return False
    return found is thing


def _saved(network: Network) -> bytes:
    if not isinstance(network, OwnNetwork):
        raise ValueError(  # noqa: TRY004 - it is an extractor, of another kind of network
            f"model {type(network.model).__name__!r} of PyTorch cannot be sent to workers: leave "
            "client out."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            network.model.save(path)
        except Exception as error:
            # A custom layer may raise anything when saved.
            raise ValueError(
                f"model {network.name!r} cannot be sent to workers, since Keras cannot save it "
                f"({reason(error)}): give its custom layers a get_config method, or leave client "
                "out."
            ) from error
        return path.read_bytes()


def _loaded(data: bytes) -> Any:
    keras, _ = keras_and_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(data)
        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:
            # A custom layer may raise anything when loaded.
            raise ValueError(
                f"the model cannot be loaded on a worker ({reason(error)}): register its custom "
                "layers with keras.saving.register_keras_serializable in a module that workers "
                "import."
            ) from error

"""Extractors told apart by digests, and as plain data for another process."""

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

# Pictures that tell preprocessing functions apart: one with every value in every colour, three of
# low contrast (dark, middling, bright), black and white.
_EVERY_VALUE = (np.arange(256 * 3) * 7 % 256).astype(np.uint8).reshape(16, 16, 3)
_PROBES = (
    _EVERY_VALUE,
    *(_EVERY_VALUE // 32 + np.uint8(darkest) for darkest in (0, 124, 248)),
    *(np.full_like(_EVERY_VALUE, value) for value in (0, 255)),
)
_PROBE_SIZES = ((64, 64), (48, 96))


def digest_of(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of all that an extractor's network computes with now."""
    digest, unknown = _network_digest(extractor)
    if unknown:
        raise ValueError(
            f"{extractor.weights.label} cannot be told from others, since {unknown}: give it "
            "numbers, arrays and functions of imported modules, or leave store and client out."
        )
    return digest


def weights_digest(extractor: FeatureExtractor) -> str:
    """Return the digest of an extractor's weights: their file's, or of what can be compared."""
    return extractor.weights.digest or _network_digest(extractor)[0]


def preprocessing_digest(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of what a preprocessing function makes of a dozen pictures."""
    sizes = (extractor.size,) if isinstance(extractor.size, tuple) else _PROBE_SIZES
    made = []
    for height, width in sizes:
        rows, columns = np.arange(height) % 16, np.arange(width) % 16
        made += [_network_input(extractor, probe[np.ix_(rows, columns)]) for probe in _PROBES]
    return f"sha256:{_arrays_digest(made)}"


def _network_input(extractor: FeatureExtractor, picture: RGB8) -> Any:
    # A person's function may divide by the contrast, or refuse a picture without any.
    with np.errstate(all="ignore"):
        try:
            return extractor.network_input(picture)
        except Exception as error:
            return np.frombuffer(type(error).__name__.encode(), np.uint8)


def _network_digest(extractor: FeatureExtractor) -> tuple[str, str]:
    """Return a digest, and in words the first part that it leaves out; "" if there is none."""
    network = extractor._network  # noqa: SLF001 - of this room
    network.check_usable()
    if numbers := getattr(network, "numbers", None):
        # PyTorch's, whose code is among them.
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
            # Whatever a layer of a person's own has against it.
            settings = ""
            why = f"its layer {call.name!r} has settings that have no text ({reason(error)})"
            unknown = unknown or why
        told = json.dumps([type(call.layer).__name__, settings, weights])
        digest = hashlib.sha256(told.encode()).hexdigest()
        made |= {id(one): f"{digest}[{index}]" for index, one in enumerate(call.results)}
    told = json.dumps([made[id(one)] for one in results])
    return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}", unknown


def _settings(call: Call, made: dict[int, str]) -> str:
    """Return as JSON a layer's settings and arguments, with tensors by the call that made them."""
    keras, _ = keras_and_tensorflow()
    config = {key: value for key, value in call.layer.get_config().items() if key != "name"}
    if isinstance(call.layer, keras.layers.Lambda):
        # Keras writes only its name, or its code with the line that it stands in.
        config["function"] = call.layer.function

    def plain(value: Any) -> Any:
        if isinstance(value, FunctionType | MethodType):
            return _function_name(value)
        # Keras writes the dtypes of arrays, and not those of single numbers.
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
    """Tell tuples from lists, and leave out the names of layers, which Keras counts up."""
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
    """What an extractor is made of.

    `source` is the arrays of a VGG, a model as a ``.keras`` file, or the name or path of weights;
    `preprocess` is None where they decide. `digest` is that of `digest_of`, and `preprocessing`
    that of `preprocessing_digest`, empty where weights are named.
    """

    source: ResolvedWeights | bytes | str = field(repr=False)
    size: int | tuple[int, int] | None
    preprocess: Preprocess | None
    provenance: Provenance
    digest: str
    preprocessing: str = ""

    def __getstate__(self) -> dict[str, Any]:
        # Dask pickles functions without a name too, and so what is sent to workers may have them.
        if isinstance(self.source, str) and not _has_name(self.preprocess):
            raise TypeError(
                f"an extractor of {self.provenance.label} cannot be pickled with its preprocess, "
                f"{briefly(self.preprocess)}, which another process cannot find by its name: "
                "define it with def, or its class, at the top level of a module or notebook."
            )
        return vars(self)

    def __deepcopy__(self, _: object) -> Self:
        # Nothing in it changes, and in this process its function needs no name.
        return self

    @classmethod
    def named(cls, extractor: FeatureExtractor) -> Self:
        """Take only the name of an extractor's weights; raise TypeError if they have none."""
        weights = extractor.weights
        if weights.source in ("model", "state_dict"):
            advice = (
                "pickle the model and make FeatureExtractor(model=...) of it there"
                if weights.source == "model"
                else "save the state dict to a file and make the extractor of its path"
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
        """Take an extractor apart; raise ValueError for a model that cannot be saved."""
        network = extractor._network  # noqa: SLF001 - of this room
        digest = digest_of(extractor)
        source = (
            # With this digest, or a process that has the file's weights would take those.
            network.resolved(replace(extractor.weights, digest=digest))
            if isinstance(network, VggNetwork)
            else _saved(network)
        )
        preprocessing = preprocessing_digest(extractor)
        # A network of Keras's by name travels as a model, which does not know what prepares pixels.
        of_keras = isinstance(network, OwnNetwork) and extractor.network
        own = extractor._preprocess if of_keras else _own_preprocess(extractor)  # noqa: SLF001
        return cls(source, extractor.size, own, extractor.weights, digest, preprocessing)

    def extractor(self) -> FeatureExtractor:
        """Make the extractor again; layers of nested models have other names."""
        if isinstance(self.source, bytes):
            # With a function, since a model of other than three channels would be refused.
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
                f"the extractor of {self.provenance.label} did not arrive whole (digest "
                f"{digest_of(made)}, not {self.digest}): bring the old file back where it has "
                "changed, export weights that were set anew to a file of their own, and run the "
                "same versions of vgg_widget, Keras and TensorFlow on all workers."
            )
        # Its message too, such as that ImageNet's weights could not be had.
        made._weights = self.provenance  # noqa: SLF001 - of this room
        return made


def reduced(extractor: FeatureExtractor) -> tuple[Any, ...]:
    """Return how to make an extractor again, for pickle and ``copy.deepcopy``."""
    return PortableExtractor.extractor, (PortableExtractor.named(extractor),)


def _own_preprocess(extractor: FeatureExtractor) -> Preprocess | None:
    return extractor._preprocess if extractor._own_preprocess else None  # noqa: SLF001 - of this room


def _has_name(function: Any) -> bool:
    """Tell whether a function, or the class of what is called, is where its name leads."""
    while isinstance(function, functools.partial):
        function = function.func
    bound = getattr(function, "__self__", None)
    thing = function if isinstance(function, FunctionType) else type(bound or function)
    if thing.__module__ == "builtins":
        # None, and functions written in C.
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
            # Whatever a layer of a person's own has against being saved.
            raise ValueError(
                f"model {network.name!r} cannot be sent to workers, since Keras cannot save it "
                f"({reason(error)}): give its own layers a get_config, or leave client out."
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
            # Whatever a layer of a person's own has against being read.
            raise ValueError(
                f"the model cannot be read on a worker ({reason(error)}): register its own layers "
                "with keras.saving.register_keras_serializable in a module that workers import."
            ) from error

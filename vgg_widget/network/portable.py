"""An extractor as plain data, which another process makes it of again."""

from __future__ import annotations

import functools
import sys
import tempfile
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any, Self

import numpy as np

from vgg_widget.images import RGB8
from vgg_widget.network.backend import check_eager, keras_and_tensorflow
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.fingerprint import arrays_digest, graph_digest
from vgg_widget.network.own_model import OwnNetwork
from vgg_widget.network.vgg19 import Preprocess, Vgg19Network
from vgg_widget.support.messages import briefly, reason
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights

# What preprocessing is told apart by: pictures with every value in every colour and no grey, of
# few values in the dark, in the middle and in the light, and of one value; upright and lying.
_EVERY_VALUE = (np.arange(256 * 3) * 7 % 256).astype(np.uint8).reshape(16, 16, 3)
_PROBES = (
    _EVERY_VALUE,
    *(_EVERY_VALUE // 32 + np.uint8(darkest) for darkest in (0, 124, 248)),
    *(np.full_like(_EVERY_VALUE, value) for value in (0, 255)),
)
_PROBE_SIZES = ((64, 64), (48, 96))


def digest_of(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of the numbers that an extractor's network has now.

    That of a model of one's own is of all that its maps are computed by: see `graph_digest`.

    Raises
    ------
    ValueError
        If a model has settings or constants that cannot be compared.
    """
    network = extractor._network  # noqa: SLF001 - of this room
    check_eager()
    if not isinstance(network, OwnNetwork):
        return f"sha256:{arrays_digest(network.model.weights)}"
    (pixels,) = network.model.inputs
    shown = [one.tensor for one in network.shown]
    return f"sha256:{graph_digest(network.calls, pixels, shown, network.name)}"


def weights_digest(extractor: FeatureExtractor) -> str:
    """Return the digest that an extractor's weights are known by: their file's, or `digest_of`."""
    return extractor.weights.digest or digest_of(extractor)


def preprocessing_digest(extractor: FeatureExtractor) -> str:
    """Return ``"sha256:hex"`` of what the network is given for a dozen certain pictures.

    Functions cannot be compared, and what they do can: to a picture of every value, to a dark, a
    middling and a bright one of low contrast, to black and to white; each square and lying, or of
    the extractor's size where that is one.
    """
    sizes = (extractor.size,) if isinstance(extractor.size, tuple) else _PROBE_SIZES
    made = []
    for height, width in sizes:
        rows, columns = np.arange(height) % 16, np.arange(width) % 16
        made += [_given(extractor, probe[np.ix_(rows, columns)]) for probe in _PROBES]
    return f"sha256:{arrays_digest(made)}"


def _given(extractor: FeatureExtractor, picture: RGB8) -> Any:
    # A function of a person's own may divide by the contrast, or refuse a picture without any.
    with np.errstate(all="ignore"):
        try:
            return extractor.network_input(picture)
        except Exception as error:
            return np.frombuffer(type(error).__name__.encode(), np.uint8)


@dataclass(frozen=True, eq=False)
class PortableExtractor:
    """What an extractor is made of.

    Parameters
    ----------
    source : ResolvedWeights, bytes or str
        The arrays of a VGG19, a model of one's own as a ``.keras`` file, or the name or path of
        weights.
    size : int, (int, int) or None
        As `FeatureExtractor` takes it.
    preprocess : callable or None
        The person's own; None where weights or model decide.
    provenance : Provenance
        Where the weights came from.
    digest, preprocessing : str
        See `digest_of` and `preprocessing_digest`; the second is empty where weights are named.
    """

    source: ResolvedWeights | bytes | str = field(repr=False)
    size: int | tuple[int, int] | None
    preprocess: Preprocess | None
    provenance: Provenance
    digest: str
    preprocessing: str = ""

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self.source, str) and not _is_found(self.preprocess):
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
        """Take only the name of an extractor's weights, which has to lead to the same numbers.

        Raises
        ------
        TypeError
            If they have none.
        """
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
        name = weights.path if weights.source == "file" else weights.source
        assert name is not None
        own = _own_preprocess(extractor)
        return cls(name, extractor.size, own, weights, digest_of(extractor))

    @classmethod
    def of(cls, extractor: FeatureExtractor) -> Self:
        """Take an extractor apart.

        Raises
        ------
        ValueError
            If a model of one's own cannot be saved.
        """
        network = extractor._network  # noqa: SLF001 - of this room
        source: ResolvedWeights | bytes
        digest = digest_of(extractor)
        if isinstance(network, Vgg19Network):
            # By the numbers of now, or a process that has the file's would take those.
            source = network.resolved(replace(extractor.weights, digest=digest))
        else:
            source = _saved(network)
        own, preprocessing = _own_preprocess(extractor), preprocessing_digest(extractor)
        return cls(source, extractor.size, own, extractor.weights, digest, preprocessing)

    def extractor(self) -> FeatureExtractor:
        """Put it together again, in whichever process this is.

        Returns
        -------
        FeatureExtractor
            Whose outputs are in the same order; layers of nested models have other names.

        Raises
        ------
        ValueError
            If the model cannot be read here, or what has arrived is not what was sent.
        """
        if isinstance(self.source, bytes):
            # Without a function of its own, since a model that needs one would be refused.
            given = self.preprocess or OwnNetwork.preprocess
            made = FeatureExtractor(model=_loaded(self.source), preprocess=given, size=self.size)
        else:
            made = FeatureExtractor(self.source, preprocess=self.preprocess, size=self.size)
        if digest_of(made) != self.digest:
            advice = "run the same versions of vgg_widget, Keras and TensorFlow on all workers"
            if isinstance(self.source, str):
                advice = (
                    "bring the old file back where it has changed, and export weights that were "
                    "set anew to a file of their own"
                )
            raise ValueError(
                f"the extractor of {self.provenance.label} did not arrive whole (digest "
                f"{digest_of(made)}, not {self.digest}): {advice}."
            )
        # What a person was told of them, such as that ImageNet's could not be had.
        made._weights = self.provenance  # noqa: SLF001 - of this room
        return made


def reduced(extractor: FeatureExtractor) -> tuple[Any, ...]:
    """Return how an extractor is made again, as pickle and ``copy.deepcopy`` ask it."""
    return PortableExtractor.extractor, (PortableExtractor.named(extractor),)


def _own_preprocess(extractor: FeatureExtractor) -> Preprocess | None:
    return extractor._preprocess if extractor._own_preprocess else None  # noqa: SLF001 - of this room


def _is_found(function: Any) -> bool:
    """Tell whether a function, or the class of what is called, is where its name leads."""
    while isinstance(function, functools.partial):
        function = function.func
    bound = getattr(function, "__self__", None)
    thing = function if isinstance(function, FunctionType) else type(bound or function)
    if thing.__module__ == "builtins":
        # None, and functions written in C.
        return True
    try:
        found: object = attrgetter(thing.__qualname__)(sys.modules[thing.__module__])
    except (AttributeError, KeyError):
        return False
    return found is thing


def _saved(network: OwnNetwork) -> bytes:
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

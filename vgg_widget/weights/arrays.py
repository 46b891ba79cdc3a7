"""A VGG's weights, in memory or not yet read, independent of file format.

Arrays are checked before they are read, so that no file can exhaust memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import VGG19, Vgg
from vgg_widget.support.provenance import Provenance

Pair: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Arrays: TypeAlias = dict[str, Pair]
"""Convolution name to kernel (3, 3, in, out) and bias (out,), both float32, in network order."""


PREPROCESSINGS = {
    "caffe": "BGR in 0–255 minus (103.939, 116.779, 123.68), as Keras's VGG16 and VGG19",
    "torch": "RGB in 0–1 minus (.485, .456, .406), over (.229, .224, .225), as torchvision's",
}
"""The values of `ResolvedWeights.preprocessing`, with their descriptions."""


class WeightsError(Exception):
    """Unavailable or unusable weights; the message says which, why and what to do."""


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """A VGG's weights without its top, as read-only arrays, with their provenance.

    `preprocessing` is the expected input: ``"caffe"`` (Keras) is BGR minus ImageNet's mean;
    ``"torch"`` (torchvision) is RGB in 0–1, normalised by mean and standard deviation.
    """

    arrays: Arrays = field(repr=False)
    provenance: Provenance
    preprocessing: str = "caffe"


def random_arrays(seed: int = 0, vgg: Vgg = VGG19) -> Arrays:
    """Return He-normal kernels and zero biases: an untrained network.

    Their standard deviation is sqrt(2 / fan_in), fan_in = 9 * channels in, after He et al.,
    "Delving deep into rectifiers" (2015, arXiv:1502.01852), equation 10.
    """
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in vgg.kernel_shapes().items():
        kernel = generator.standard_normal(shape, dtype=np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[:3])))
        bias = np.zeros(shape[-1:], np.float32)
        kernel.flags.writeable = bias.flags.writeable = False
        arrays[name] = (kernel, bias)
    return arrays


def titled(vgg: Vgg, label: str) -> str:
    """Return a label that names the network, unless it is VGG19."""
    return label if vgg is VGG19 else f"{vgg.title}, {label}"


def arrays_digest(arrays: Arrays, start: bytes = b"") -> str:
    """Return ``"sha256:hex"`` of the numbers, kernel before bias, after the bytes `start`."""
    digest = hashlib.sha256(start)
    for array in (array for pair in arrays.values() for array in pair):
        digest.update(array.data)
    return f"sha256:{digest.hexdigest()}"


CLASSIFIER_INPUT = (7, 7, 512)
"""Rows, columns and channels of block5_pool for an image of 224×224 pixels."""

CLASSIFIER_NAMES = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
"""Dense layers: Keras's name to torchvision's. A ReLU follows all but the last."""

# The largest number of outputs of each dense layer, so that no file can exhaust memory: those of
# the VGGs, and the number of classes in all of ImageNet.
_WIDEST = (4096, 4096, 21_841)


def advice(vgg: Vgg, layer: str = "") -> str:
    """Return advice for messages on weights of a layer that do not fit."""
    if layer not in CLASSIFIER_NAMES:
        return f"choose the weights of a {vgg.title}."
    return (
        f"predictions need {vgg.title}'s classifier, so choose a file that holds it, or "
        "weights='imagenet'."
    )


def other_vgg(what: str, vgg: Vgg, other: Vgg) -> WeightsError:
    """Return the error for weights of another VGG; `what` begins the message."""
    return WeightsError(
        f"{what} are of a {other.title}, not of a {vgg.title}: pass network={other.name!r}, or "
        f"{advice(vgg)}"
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """An array that is not yet read; `read` returns a new array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], npt.NDArray[Any]]

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Stored:
        """Wrap an array that is already in memory."""
        return cls(array.shape, array.dtype, array.copy)

    @property
    def transposed(self) -> Stored:
        """The array with its axes reversed."""
        return replace(self, shape=self.shape[::-1], read=lambda: self.read().T)

    def checked(self, what: str, wanted: tuple[int, ...], vgg: Vgg) -> npt.NDArray[np.float32]:
        """Return the array as read-only float32, after checking its shape and values.

        `what` begins error messages: the source, the layer, and "has a kernel" or "has a bias".
        """
        # NumPy does not classify bfloat16 as a float type.
        if self.dtype.kind != "f" and self.dtype.name != "bfloat16":
            raise WeightsError(
                f"{what} that is not an array of floats: save the weights as floats."
            )
        if self.shape != wanted:
            raise WeightsError(
                f"{what} of shape {self.shape}, but {vgg.title} has {wanted}: {advice(vgg)}"
            )
        # Float64 values beyond float32 become infinite and are refused below.
        with np.errstate(all="ignore"):
            try:
                read = self.read()
            except (TypeError, RuntimeError) as error:
                # PyTorch's sparse and "meta" tensors.
                raise WeightsError(
                    f"{what} that cannot be read ({type(error).__name__}): save it as an ordinary "
                    "tensor."
                ) from error
            array = np.asarray(read, np.float32)
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{what} with NaN or infinite values: choose weights from before the training "
                "failed."
            )
        array.flags.writeable = False
        return array


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer's kernel and bias; `called` (``"weights 'a.h5': layer 'fc1'"``) begins messages."""

    called: str
    kernel: Stored
    bias: Stored


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """The dense layers of a VGG, in order, each with a kernel (in, out) and a bias (out,)."""

    layers: tuple[Pair, ...] = field(repr=False)
    channels_first: bool
    """Whether the first layer reads the maps flattened as (channel, row, column), as in PyTorch."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.layers[-1][1].size)


@dataclass(frozen=True, slots=True)
class StoredVgg:
    """A VGG in an open file or in memory."""

    vgg: Vgg
    layer: Callable[[str], StoredLayer]
    """Function of a layer's Keras name (``"fc1"``); raises `WeightsError` if it is missing."""
    channels_first: bool = False
    """Whether kernels are (out, in, height, width) as in PyTorch, not (height, width, in, out)."""
    preprocessing: str = "caffe"
    """A key of `PREPROCESSINGS`."""
    message: str = ""
    """A message for the user about these weights, if any."""
    label: str = ""
    """A short description, if not given by the file's name."""
    digest: str = ""
    """``"algorithm:hex"`` of the numbers, if not that of the file."""

    def convolutions(self) -> Arrays:
        """Read the convolutions; `WeightsError` names the first that does not fit the network."""
        shapes = self.vgg.kernel_shapes()
        return {name: self._convolution(name, shape) for name, shape in shapes.items()}

    def _convolution(self, name: str, shape: tuple[int, ...]) -> Pair:
        layer = self.layer(name)
        word = "weight" if self.channels_first else "kernel"
        wanted = (shape[3], shape[2], *shape[:2]) if self.channels_first else shape
        kernel = layer.kernel.checked(f"{layer.called} has a {word}", wanted, self.vgg)
        bias = layer.bias.checked(f"{layer.called} has a bias", shape[-1:], self.vgg)
        if self.channels_first:
            kernel = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
            kernel.flags.writeable = False
        return kernel, bias

    def classifier(self) -> Classifier:
        """Read the dense layers; `WeightsError` names the first that does not fit."""
        incoming, pairs = math.prod(CLASSIFIER_INPUT), []
        layers = [self.layer(name) for name in CLASSIFIER_NAMES]
        for name, layer, most in zip(CLASSIFIER_NAMES, layers, _WIDEST, strict=True):
            kernel = layer.kernel.transposed if self.channels_first else layer.kernel
            outgoing = kernel.shape[-1] if kernel.shape else 0
            if kernel.shape != (incoming, outgoing) or not 1 <= outgoing <= most:
                raise WeightsError(
                    f"{layer.called} has weights of shape {kernel.shape} (in, out), but the layer "
                    f"has {incoming} inputs and at most {most} outputs: {advice(self.vgg, name)}"
                )
            weights = kernel.checked(f"{layer.called} has weights", kernel.shape, self.vgg)
            bias = layer.bias.checked(f"{layer.called} has a bias", (outgoing,), self.vgg)
            pairs.append((weights, bias))
            incoming = outgoing
        return Classifier(tuple(pairs), self.channels_first)

"""A VGG19 that is not read yet, whatever holds it: each array is checked, and then read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights.arrays import Arrays, Pair, WeightsError

CLASSIFIER_INPUT = (7, 7, 512)
"""Rows, columns and channels of block5_pool on a picture of 224×224 pixels."""

CLASSIFIER_NAMES = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
"""Keras's name of each dense layer to torchvision's; a ReLU follows each but the last."""

# What may come out of each dense layer, so that no file can fill the memory: as many as VGG19 has,
# and as there are classes in all of ImageNet.
_WIDEST = (4096, 4096, 21_841)

ADVICE = "choose the weights of a VGG19."
CLASSIFIER_ADVICE = (
    "predictions need VGG19's classifier, so choose a file that holds it, or weights='imagenet'."
)


@dataclass(frozen=True, slots=True)
class Stored:
    """An array that is not read yet.

    Where `fresh`, what `read` gives is nobody else's, and may be kept without a copy.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], npt.NDArray[Any]]
    fresh: bool = False

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Stored:
        """Return an array that is in memory already."""
        return cls(array.shape, array.dtype, lambda: array)

    @property
    def transposed(self) -> Stored:
        """The same with its axes the other way round."""
        return replace(self, shape=self.shape[::-1], read=lambda: self.read().T)

    def checked(self, what: str, wanted: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Read it as float32, read-only, if it has this shape and holds finite numbers.

        `what` is how an error begins: the source, the layer, and "has a kernel" or "has a bias".
        """
        if self.shape != wanted:
            raise WeightsError(f"{what} of shape {self.shape} where VGG19 has {wanted}: {ADVICE}")
        # To NumPy bfloat16 is a foreign type, and no float.
        if self.dtype.kind != "f" and self.dtype.name != "bfloat16":
            raise WeightsError(f"{what} that is no array of floats: save the weights as floats.")
        # A float64 beyond float32 becomes infinite, and is refused as that.
        with np.errstate(all="ignore"):
            read = self.read()
            array = np.asarray(read, np.float32) if self.fresh else np.array(read, np.float32)
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{what} with NaN or infinite values: choose weights from before the training "
                "failed."
            )
        array.flags.writeable = False
        return array


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer's kernel and bias, and how an error begins: ``"weights 'a.h5': layer 'fc1'"``."""

    called: str
    kernel: Stored
    bias: Stored


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """The dense layers of a VGG19, in order: kernel (in, out) and bias (out,) of each."""

    layers: tuple[Pair, ...] = field(repr=False)
    channels_first: bool
    """Whether the first layer takes the maps flattened as (channel, row, column), as in PyTorch."""

    @property
    def classes(self) -> int:
        """How many classes there are to choose from."""
        return int(self.layers[-1][1].size)


@dataclass(frozen=True, slots=True)
class StoredVGG19:
    """A VGG19 in an open file or in memory."""

    layer: Callable[[str], StoredLayer]
    """From a layer's name in Keras (``"fc1"``); it raises `WeightsError` where that is missing."""
    channels_first: bool = False
    """Whether kernels are (out, in, height, width) as in PyTorch, not (height, width, in, out)."""
    preprocessing: str = "caffe"
    """A key of `PREPROCESSINGS`."""
    message: str = ""
    """What a person must know of these weights, if anything."""
    label: str = ""
    """What they are in a few words, where a file's name does not say it."""
    digest: str = ""
    """``"algorithm:hex"`` of the numbers, where it is not to be a file's."""

    def convolutions(self) -> Arrays:
        """Read the convolutions; `WeightsError` names the first that is not VGG19's."""
        return {
            name: self._convolution(name, shape) for name, shape in vgg19_kernel_shapes().items()
        }

    def _convolution(self, name: str, shape: tuple[int, ...]) -> Pair:
        layer = self.layer(name)
        word = "weight" if self.channels_first else "kernel"
        wanted = (shape[3], shape[2], *shape[:2]) if self.channels_first else shape
        kernel = layer.kernel.checked(f"{layer.called} has a {word}", wanted)
        bias = layer.bias.checked(f"{layer.called} has a bias", shape[-1:])
        if self.channels_first:
            kernel = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
            kernel.flags.writeable = False
        return kernel, bias

    def classifier(self) -> Classifier:
        """Read the dense layers; `WeightsError` names the first that does not fit."""
        incoming, pairs = math.prod(CLASSIFIER_INPUT), []
        layers = [self.layer(name) for name in CLASSIFIER_NAMES]
        for layer, most in zip(layers, _WIDEST, strict=True):
            kernel = layer.kernel.transposed if self.channels_first else layer.kernel
            outgoing = kernel.shape[-1] if kernel.shape else 0
            if kernel.shape != (incoming, outgoing) or not 1 <= outgoing <= most:
                raise WeightsError(
                    f"{layer.called} has weights of shape {kernel.shape} (in, out) where "
                    f"{incoming} go in and at most {most} come out: {CLASSIFIER_ADVICE}"
                )
            if layer.bias.shape != (outgoing,):
                raise WeightsError(
                    f"{layer.called} has a bias of shape {layer.bias.shape}, not {(outgoing,)}: "
                    f"{CLASSIFIER_ADVICE}"
                )
            pairs.append(
                (
                    kernel.checked(f"{layer.called} has weights", kernel.shape),
                    layer.bias.checked(f"{layer.called} has a bias", layer.bias.shape),
                )
            )
            incoming = outgoing
        return Classifier(tuple(pairs), self.channels_first)

"""What weights are in memory, whichever way they came: kernels and biases by layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.support.provenance import Provenance

Pair: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Arrays: TypeAlias = dict[str, Pair]
"""Convolution name to kernel (3, 3, in, out) and bias (out,), both float32, in network order."""


PREPROCESSINGS = {
    "caffe": "BGR in 0–255 minus (103.939, 116.779, 123.68), as Keras's VGG19",
    "torch": "RGB in 0–1 minus (.485, .456, .406), over (.229, .224, .225), as torchvision's",
}
"""What `ResolvedWeights.preprocessing` can be, and what it means in words."""


class WeightsError(Exception):
    """Weights cannot be had: one sentence that says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """The numbers of a VGG19 without its top (read-only arrays), and where they came from.

    `preprocessing` is what they expect of the input: ``"caffe"``, as Keras's, is BGR minus
    ImageNet's mean; ``"torch"``, as torchvision's, RGB in 0–1 normalised by mean and deviation.
    """

    arrays: Arrays = field(repr=False)
    provenance: Provenance
    preprocessing: str = "caffe"


def random_arrays(seed: int = 0) -> Arrays:
    """Return He-normal kernels and zero biases: a network that has learned nothing.

    Parameters
    ----------
    seed : int
        Seed of `numpy.random.default_rng`; the same numbers each time on one machine.

    Returns
    -------
    Arrays
        Kernels with standard deviation sqrt(2 / fan_in), fan_in = 9 * channels in, after He et
        al., "Delving deep into rectifiers" (2015, arXiv:1502.01852), equation 10.
    """
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in vgg19_kernel_shapes().items():
        kernel = generator.standard_normal(shape, dtype=np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[:3])))
        bias = np.zeros(shape[-1:], np.float32)
        kernel.flags.writeable = bias.flags.writeable = False
        arrays[name] = (kernel, bias)
    return arrays


def arrays_digest(arrays: Arrays, start: bytes = b"") -> str:
    """Return ``"sha256:hex"`` of the numbers, kernel before bias, after the bytes `start`."""
    digest = hashlib.sha256(start)
    for array in (array for pair in arrays.values() for array in pair):
        digest.update(array.data)
    return f"sha256:{digest.hexdigest()}"


ADVICE = "choose the weights of a VGG19."


@dataclass(frozen=True, slots=True)
class Stored:
    """An array that is not read yet.

    Parameters
    ----------
    shape : tuple of int
        What it will have.
    dtype : dtype
        What it will have.
    read : callable
        Gives the array.
    fresh : bool
        Whether `read` gives an array of its own, which may be kept without a copy.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], npt.NDArray[Any]]
    fresh: bool = False

    @property
    def transposed(self) -> Stored:
        """The same with its axes the other way round."""
        return replace(self, shape=self.shape[::-1], read=lambda: self.read().T)


def checked(what: str, stored: Stored, wanted: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Read one kernel or bias, checked first, so that no file can fill the memory.

    Parameters
    ----------
    what : str
        How an error begins: the source, the layer, and "has a kernel" or "has a bias".
    stored : Stored
        Any kind of float will do.
    wanted : tuple of int
        The shape that VGG19 has.

    Returns
    -------
    ndarray of float32
        Read-only, and nobody else's.

    Raises
    ------
    WeightsError
        If the shape is another, or what is in it is no finite number.
    """
    if stored.shape != wanted:
        raise WeightsError(f"{what} of shape {stored.shape} where VGG19 has {wanted}: {ADVICE}")
    # To NumPy bfloat16 is a foreign type, and no float.
    if stored.dtype.kind != "f" and stored.dtype.name != "bfloat16":
        raise WeightsError(f"{what} that is no array of floats: save the weights as floats.")
    # A float64 beyond float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        read = stored.read()
        array = np.asarray(read, np.float32) if stored.fresh else np.array(read, np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(
            f"{what} with NaN or infinite values: choose weights from before the training failed."
        )
    array.flags.writeable = False
    return array

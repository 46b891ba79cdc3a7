"""What weights are in memory, whichever way they came: kernels and biases by layer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TypeAlias

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

    Their standard deviation is sqrt(2 / fan_in), fan_in = 9 * channels in, after He et al.,
    "Delving deep into rectifiers" (2015, arXiv:1502.01852), equation 10.
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

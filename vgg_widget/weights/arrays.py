"""What weights are in memory, whichever way they came: kernels and biases by layer."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import vgg19_kernel_shapes

Pair: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Arrays: TypeAlias = dict[str, Pair]
"""Convolution name to kernel (3, 3, in, out) and bias (out,), both float32, in network order."""


class WeightsError(Exception):
    """Weights cannot be had: one sentence that says which, why, and what to do."""


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

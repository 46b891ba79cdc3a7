"""Layers and feature maps built from arrays; unknown geometry is marked as unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import Axis, LayerInfo
from vgg_widget.support.messages import briefly

Floats = npt.NDArray[np.float32]


def read_arrays(
    arrays: object, size: tuple[int, int], *, channels_last: bool
) -> tuple[list[LayerInfo], dict[str, Floats], str]:
    """Return the layers, their maps, and a message if the maps may not cover the whole image.

    `size` is the image's height and width. Raises ValueError or TypeError; see
    `Activations.from_arrays`.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"arrays is a {type(arrays).__name__}: pass a dict of layer names and arrays, "
            'such as {"conv1": array}.'
        )
    if not arrays:
        raise ValueError("arrays is empty: pass at least one layer.")
    maps = {
        _checked_name(name): _maps(f"arrays[{name!r}]", array, channels_last=channels_last)
        for name, array in arrays.items()
    }
    if channels_last:
        _check_order(maps, size)
    distorted = [name for name, one in maps.items() if not _fits_image(one.shape[:2], size)]
    message = ""
    if distorted:
        rows, columns, _ = maps[distorted[0]].shape
        message = (
            f"Other proportions: layer {distorted[0]!r} has {rows}×{columns} units, and the image "
            f"{size[0]}×{size[1]} pixels; the maps are drawn over the whole image, which may not "
            "be the region they describe."
        )
    return [_layer(name, one, size) for name, one in maps.items()], maps, message


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"arrays has the key {briefly(name)}, which is not a str: name each layer with a str."
        )
    return name


def _maps(what: str, given: Any, *, channels_last: bool) -> Floats:
    """Return a float32 copy of an array, channels last."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):
        # Ragged lists, and tensors on a GPU or in a gradient graph, end here.
        array = np.empty((), object)
    # JAX's bfloat16 is not one of NumPy's own types.
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        kind = type(given).__name__ if array.dtype == object else array.dtype.name
        raise TypeError(
            f"{what} is of type {kind}, not an array of real numbers: pass a NumPy array; for a "
            "PyTorch tensor, pass tensor.detach().cpu().numpy()."
        )
    order = "(height, width, channels)" if channels_last else "(channels, height, width)"
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 4 and array.shape[0] > 1:
        raise ValueError(
            f"{what} of shape {array.shape} holds the maps of {array.shape[0]} images: pass those "
            "of one, such as array[0]."
        )
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{what} has shape {array.shape}: pass an array of shape {order}.")
    if not channels_last:
        array = np.moveaxis(array, 0, -1)
    with np.errstate(over="ignore"):
        # Values beyond float32 become infinite, which `from_arrays` warns about.
        return np.array(array, np.float32, order="C")


def _check_order(maps: Mapping[str, Floats], size: tuple[int, int]) -> None:
    """Raise ValueError if the maps match the image's proportions only when read channels first."""
    if any(_fits_image(one.shape[:2], size) for one in maps.values()):
        return
    if all(_fits_image(one.shape[1:], size) for one in maps.values()):
        name, one = next(iter(maps.items()))
        raise ValueError(
            f"arrays[{name!r}] of shape {one.shape} seems to have its channels first, given the "
            f"image of {size[0]}×{size[1]} pixels: pass channels_last=False."
        )


def _fits_image(units: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Return whether a map has the image's proportions, within one unit along each side."""
    ranges = [
        (pixels / (count + 1), pixels / (count - 1) if count > 1 else math.inf)
        for count, pixels in zip(units, size, strict=True)
    ]
    (low, high), (other_low, other_high) = ranges
    return low <= other_high and other_low <= high


def _layer(name: str, maps: Floats, size: tuple[int, int]) -> LayerInfo:
    rows, columns, channels = maps.shape
    axes = Axis(size[0] / rows, -0.5), Axis(size[1] / columns, -0.5)
    stride = max(1, round(axes[0].stride))
    # PyTorch's "layer1.0" is in group "layer1", Keras's "base/conv1" in group "base".
    group = max(name.rpartition(mark)[0] for mark in "./")
    return LayerInfo(name, None, "map", channels, stride, group=group, axes=axes, input_size=size)

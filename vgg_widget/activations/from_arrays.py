"""Arrays from anywhere as layers with maps: what is not known of them is said to be not known."""

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
    """Return layers, their maps, and what a person must know of how they lie on the picture.

    `size` is the picture's height and width. Raises ValueError or TypeError; see
    `Activations.from_arrays`.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"arrays is a {type(arrays).__name__}: pass a dict from names of layers to arrays, "
            'such as {"conv1": array}.'
        )
    if not arrays:
        raise ValueError("arrays holds no layer: pass at least one.")
    maps = {
        _checked_name(name): _maps(f"arrays[{name!r}]", array, channels_last=channels_last)
        for name, array in arrays.items()
    }
    if channels_last:
        _check_order(maps, size)
    astray = [name for name, one in maps.items() if not _lies_over(one.shape[:2], size)]
    message = ""
    if astray:
        rows, columns, _ = maps[astray[0]].shape
        message = (
            f"Other proportions: layer {astray[0]!r} has {rows}×{columns} units, and the picture "
            f"{size[0]}×{size[1]} pixels; the maps are drawn over the whole picture, which may not "
            "be where they lie."
        )
    return [_layer(name, one, size) for name, one in maps.items()], maps, message


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"arrays has the name {briefly(name)}, which is no text: name each layer.")
    return name


def _maps(what: str, given: Any, *, channels_last: bool) -> Floats:
    """Return an array as float32, channels last, in memory of its own."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):
        # Ragged lists, and tensors that are on a GPU or part of a graph.
        array = np.empty((), object)
    # JAX's bfloat16 is a foreign type to NumPy.
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        kind = type(given).__name__ if array.dtype == object else array.dtype.name
        raise TypeError(
            f"{what} is of type {kind}, not an array of real numbers: pass a NumPy array, of a "
            "PyTorch tensor tensor.detach().cpu().numpy()."
        )
    order = "(height, width, channels)" if channels_last else "(channels, height, width)"
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 4 and array.shape[0] > 1:
        raise ValueError(
            f"{what} of shape {array.shape} holds {array.shape[0]} pictures: pass one, such as "
            "array[0]."
        )
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{what} is of shape {array.shape}: pass one of shape {order}.")
    if not channels_last:
        array = np.moveaxis(array, 0, -1)
    with np.errstate(over="ignore"):
        # What is beyond float32 becomes infinite, and is told of.
        return np.array(array, np.float32, order="C")


def _check_order(maps: Mapping[str, Floats], size: tuple[int, int]) -> None:
    """Refuse maps that lie over the picture only with their first axis as channels, all of them."""
    if any(_lies_over(one.shape[:2], size) for one in maps.values()):
        return
    if all(_lies_over(one.shape[1:], size) for one in maps.values()):
        name, one = next(iter(maps.items()))
        raise ValueError(
            f"arrays[{name!r}] of shape {one.shape} has its channels first, by the picture of "
            f"{size[0]}×{size[1]} pixels: pass channels_last=False."
        )


def _lies_over(units: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Tell whether a map has the picture's proportions, give or take a unit along each side."""
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
    # "layer1" of PyTorch's "layer1.0", "base" of Keras's "base/conv1".
    group = max(name.rpartition(mark)[0] for mark in "./")
    return LayerInfo(name, None, "map", channels, stride, group=group, axes=axes, input_size=size)

"""`FanIn`: which input channels a layer's channels are made of, and by which kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.network.graph import Call, kind_of
from vgg_widget.network.receptive_fields import keeps_channels_apart, window_of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FanIn:
    """What the channels of one layer are made of.

    Parameters
    ----------
    layer : str
        The layer's name.
    source : str or None
        The layer whose maps it reads; None for the network's input.
    kernel : ndarray of float32, shape (h, w, inputs a group, channels), or None
        Its weights; None where each channel is made of the one of the same number alone, as in a
        pool.
    bias : ndarray of float32, shape (channels,), or None
        What is added to each channel; None for nothing.
    groups : int
        The first group of output channels reads the first group of input channels, and so on: 1
        where each reads all, the number of input channels in a depthwise convolution.
    strides, dilation : (int, int)
        Down and across, in units of the input.
    padding : {"same", "valid"} or (int, int)
        Whether the input is continued with zeros, as TensorFlow does, or not at all; or with how
        many zeros above and on the left, as in PyTorch.
    activation : str
        Keras's name of the function that the layer applies to the sums, such as ``"relu"``.
    """

    layer: str
    source: str | None
    kernel: Floats | None = None
    bias: Floats | None = None
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Literal["same", "valid"] | tuple[int, int] = "same"
    activation: str = "linear"

    def inputs(self, channel: int) -> range:
        """Return the numbers of the input channels that a channel reads."""
        if self.kernel is None:
            return range(channel, channel + 1)
        _, _, size, channels = self.kernel.shape
        group = channel // (channels // self.groups)
        return range(group * size, (group + 1) * size)

    def kernels(self, channel: int) -> Floats | None:
        """Return the kernels of a channel, shape (inputs, h, w), or None where there are none."""
        if self.kernel is None:
            return None
        return np.ascontiguousarray(np.moveaxis(self.kernel[..., channel], -1, 0))

    def contributions(
        self, maps: Floats, channel: int, row: int, column: int
    ) -> npt.NDArray[np.float64] | None:
        """Return what each input adds to a channel at one location, in the order of `inputs`.

        Each is the sum over the window of kernel × map, of all `maps` that the layer reads. All of
        them and the bias together are the channel there, before any activation function. None where
        there are no kernels.
        """
        kernels = self.kernels(channel)
        if kernels is None:
            return None
        patch, _ = self.patch(maps, channel, row, column)
        total: npt.NDArray[np.float64] = np.einsum(
            "hwi,ihw->i", patch.astype(np.float64), kernels.astype(np.float64)
        )
        return total

    def patch(
        self, maps: Floats, channel: int, row: int, column: int
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return what a channel's kernels lie on at one location, and where that is no padding.

        Of all `maps` that the layer reads these are arrays of shape (h, w, inputs) and (h, w).
        Padding is zeros.
        """
        assert self.kernel is not None
        height, width, size, _ = self.kernel.shape
        rows = self._cells(0, row, height, maps.shape[0])
        columns = self._cells(1, column, width, maps.shape[1])
        down = (rows >= 0) & (rows < maps.shape[0])
        across = (columns >= 0) & (columns < maps.shape[1])
        inside = down[:, np.newaxis] & across
        numbers = self.inputs(channel)
        patch = np.zeros((height, width, size), np.float32)
        patch[np.ix_(down, across)] = maps[np.ix_(rows[down], columns[across])][
            ..., numbers.start : numbers.stop
        ]
        return patch, inside

    def _cells(self, axis: int, unit: int, size: int, count: int) -> npt.NDArray[np.int64]:
        """Return the input's index under each cell of the kernel; what is outside is padding."""
        stride, dilation = self.strides[axis], self.dilation[axis]
        if not isinstance(self.padding, str):
            return unit * stride + dilation * np.arange(size, dtype=np.int64) - self.padding[axis]
        return unit * stride + window_of(count, size, stride, dilation, self.padding)[1]


def fan_in_of(layer: Any, name: str, source: str | None) -> FanIn | None:
    """Return what a Keras layer's channels are made of, with the weights it has now.

    Rules go by the names of Keras's own classes: a class of somebody's own, whatever it inherits,
    has none. None where the layer has neither kernels nor channels that are kept apart.
    """
    if keeps_channels_apart(layer):
        return FanIn(name, source)
    # What is quantised holds other numbers than it computes with.
    if getattr(layer, "quantization_mode", None) is not None:
        return None
    groups = 1
    match kind_of(layer):
        case "Conv2D":
            kernel, groups = _array(layer.kernel), int(layer.groups)
        case "DepthwiseConv2D":
            kernel = _array(layer.kernel)
            height, width, groups, multiplier = kernel.shape
            kernel = kernel.reshape(height, width, 1, groups * multiplier)
        case "SeparableConv2D":
            # Between its two steps there is nothing but a sum.
            depthwise, pointwise = _array(layer.depthwise_kernel), _array(layer.pointwise_kernel)
            mixing = pointwise.reshape(*depthwise.shape[2:], -1)
            kernel = np.einsum("hwim,imo->hwio", depthwise, mixing)
        case "Dense":
            # On the channels of one location it is a convolution of 1×1.
            kernel = _array(layer.kernel)[np.newaxis, np.newaxis]
        case _:
            return None
    bias = getattr(layer, "bias", None)
    return FanIn(
        name,
        source,
        kernel,
        None if bias is None else _array(bias),
        groups,
        tuple(getattr(layer, "strides", (1, 1))),
        tuple(getattr(layer, "dilation_rate", (1, 1))),
        getattr(layer, "padding", "valid"),
        str(getattr(layer.activation, "__name__", type(layer.activation).__name__)),
    )


def fan_in_of_call(call: Call, name: str, known: Mapping[int, str | None]) -> FanIn:
    """Return what the result of a call in a model's graph, called `name`, is made of.

    `known` has the names of all maps by their tensor's ``id``; None names the network's input.
    """
    if any(id(source) not in known for source in call.sources):
        raise ValueError(
            f"layer {name!r} reads something that has no feature maps: choose a layer that reads "
            "another of those listed."
        )
    sources = list(dict.fromkeys(known[id(source)] for source in call.sources))
    shown = " or ".join(repr(source) for source in sources if source is not None)
    if len(sources) != 1:
        raise ValueError(
            f"layer {name!r} joins {len(sources)} layers' maps: choose {shown or 'another layer'}."
        )
    found = fan_in_of(call.layer, name, sources[0])
    if found is None:
        raise no_kernels(name, type(call.layer).__name__, shown, "Conv2D")
    return found


def no_kernels(name: str, kind: str, source: str, usual: str) -> ValueError:
    """Return the error of a layer that is not the sum of a window's products with kernels."""
    advice = f"{source}, which it reads" if source else f"a layer such as {usual}"
    why = "has no kernels"
    if "Transpose" in kind:
        why = "spreads each input over several units, so that no one window of inputs makes a unit"
    return ValueError(f"layer {name!r} ({kind}) {why}: choose {advice}.")


def _array(weights: Any) -> Floats:
    return np.asarray(weights).astype(np.float32, copy=False)

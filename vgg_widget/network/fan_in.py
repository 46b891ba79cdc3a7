"""`FanIn`: the input channels and kernels that a layer's channels are computed from."""

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
    """The inputs of a layer's channels.

    Parameters
    ----------
    layer : str
        The layer's name.
    source : str or None
        The layer whose maps it reads; None for the network's input.
    kernel : ndarray of float32, shape (h, w, inputs a group, channels), or None
        The layer's weights; None if each channel depends only on the input channel of the same
        number, as in pooling.
    bias : ndarray of float32, shape (channels,), or None
        The bias of each channel; None if there is none.
    groups : int
        Number of groups: the first group of output channels reads the first group of input
        channels, and so on. 1 if each channel reads all inputs, the number of input channels in a
        depthwise convolution.
    strides, dilation : (int, int)
        Vertical and horizontal, in units of the input.
    padding : {"same", "valid"} or (int, int)
        Zero padding as in TensorFlow, no padding, or the number of zeros above and on the left as
        in PyTorch.
    activation : str
        Keras's name of the layer's activation function, such as ``"relu"``.
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
        """Return a channel's kernels, shape (inputs, h, w), or None if there are none."""
        if self.kernel is None:
            return None
        return np.ascontiguousarray(np.moveaxis(self.kernel[..., channel], -1, 0))

    def contributions(
        self, maps: Floats, channel: int, row: int, column: int
    ) -> npt.NDArray[np.float64] | None:
        """Return each input's contribution to a channel at a location, in the order of `inputs`.

        A contribution is the sum of kernel × map over the window; `maps` are all maps that the
        layer reads. Their sum and the bias give the channel's value before any activation function.
        None if there are no kernels.
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
        """Return the input under a channel's kernels at a location, and a mask without padding.

        `maps` are all maps that the layer reads. The arrays have shapes (h, w, inputs) and (h, w).
        Padding is 0.
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
        """Return the input index under each cell of the kernel; indices outside are padding."""
        stride, dilation = self.strides[axis], self.dilation[axis]
        if not isinstance(self.padding, str):
            return unit * stride + dilation * np.arange(size, dtype=np.int64) - self.padding[axis]
        return unit * stride + window_of(count, size, stride, dilation, self.padding)[1]


def fan_in_of(layer: Any, name: str, source: str | None) -> FanIn | None:
    """Return the inputs of a Keras layer's channels, with its current weights.

    Rules are keyed by the names of Keras's own classes; custom classes have none, even if they
    inherit from these. Returns None for a layer that neither has kernels nor processes channels
    separately.
    """
    if keeps_channels_apart(layer):
        return FanIn(name, source)
    # A quantised layer stores other numbers than it computes with.
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
            # Its two steps are linear, so they combine into one kernel.
            depthwise, pointwise = _array(layer.depthwise_kernel), _array(layer.pointwise_kernel)
            mixing = pointwise.reshape(*depthwise.shape[2:], -1)
            kernel = np.einsum("hwim,imo->hwio", depthwise, mixing)
        case "Dense":
            # Applied to the channels at each location, it is a 1×1 convolution.
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
    """Return the inputs of a call's result in a model's graph; `name` is its layer name.

    `known` maps each tensor's ``id`` to the name of its maps; None means the network's input.
    """
    if any(id(source) not in known for source in call.sources):
        raise ValueError(
            f"layer {name!r} reads an input without feature maps: choose a layer that reads "
            "another listed layer."
        )
    sources = list(dict.fromkeys(known[id(source)] for source in call.sources))
    shown = " or ".join(repr(source) for source in sources if source is not None)
    if len(sources) != 1:
        raise ValueError(
            f"layer {name!r} combines the maps of {len(sources)} layers: choose "
            f"{shown or 'another layer'}."
        )
    found = fan_in_of(call.layer, name, sources[0])
    if found is None:
        raise no_kernels(name, type(call.layer).__name__, shown, "Conv2D")
    return found


def no_kernels(name: str, kind: str, source: str, usual: str) -> ValueError:
    """Return the error for a layer whose units are not sums of a window times a kernel."""
    advice = f"{source}, which it reads" if source else f"a layer such as {usual}"
    why = "has no kernels"
    if "Transpose" in kind:
        why = "spreads each input over several units, so no unit is the sum of one window of inputs"
    return ValueError(f"layer {name!r} ({kind}) {why}: choose {advice}.")


def _array(weights: Any) -> Floats:
    return np.asarray(weights).astype(np.float32, copy=False)

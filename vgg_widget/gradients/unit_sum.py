"""`explain_unit`: one unit's value as a sum of products."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by, maps_read
from vgg_widget.gradients.arguments import whole
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.rendering import checked_channel, checked_location
from vgg_widget.support.messages import plain_number

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Location = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class UnitSum:
    """A unit's value as a sum: input × kernel at each position, plus the bias.

    Parameters
    ----------
    layer : str
        The layer, by the given name.
    channel : int
        Channel number.
    location : (int, int)
        Row and column in the channel's map.
    source : str or None
        The layer that the unit reads; None for the network's input.
    inputs : tuple of int
        The channels of `source` that the unit reads, in the order of the arrays' last axis.
    names : tuple of str
        Names of the inputs, such as ``"channel 17"``; for the network's input ``"red"``,
        ``"green"``, ``"blue"`` or ``"grey"``.
    patch : ndarray of float32, shape (h, w, inputs)
        The input values under the kernel; for the network's input, preprocessed pixels. 0 in the
        padding.
    inside : ndarray of bool, shape (h, w)
        False in the padding.
    kernel : ndarray of float32, shape (h, w, inputs)
        The weights.
    contributions : ndarray of float64, shape (h, w, inputs)
        `patch` × `kernel`, exactly.
    bias : float
        The bias; 0 if the layer has none.
    total : float
        The sum of all contributions and the bias, in float64.
    activation : str
        Keras's name of the function that maps `total` to `value`, such as ``"relu"``; ``"linear"``
        if there is none, as before a ReLU.
    value : float
        The activation at the location, as the network computed it in float32.
    """

    layer: str
    channel: int
    location: Location
    source: str | None
    inputs: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    patch: Floats = field(repr=False)
    inside: npt.NDArray[np.bool_] = field(repr=False)
    kernel: Floats = field(repr=False)
    contributions: Doubles = field(repr=False)
    bias: float
    total: float
    activation: str
    value: float

    def strongest(self, count: int = 10) -> tuple[tuple[int, int, int], ...]:
        """Return the positions of the largest contributions by magnitude.

        Parameters
        ----------
        count : int
            Largest number of positions to return.

        Returns
        -------
        tuple of (row, column, input)
            Indices into `contributions`.

        Raises
        ------
        ValueError
            If `count` is not a whole number of at least 0.
        """
        count = whole("count", count, least=0)
        order = np.argsort(-np.abs(self.contributions).ravel(), kind="stable")[:count]
        places = np.unravel_index(order, self.contributions.shape)
        return tuple(
            (int(row), int(column), int(one)) for row, column, one in zip(*places, strict=True)
        )


def explain_unit(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    channel: int,
    location: Location,
) -> UnitSum:
    """Write the value of one unit as a sum of products and a bias.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network. Its current weights are used.
    activations : Activations
        The extractor's result for an image.
    layer : str
        Any name of the layer. The sum is the same before and after a ReLU.
    channel : int
        Channel number.
    location : (int, int)
        Row and column in the channel's map.

    Returns
    -------
    UnitSum
        The products, the bias and their sum in float64. The network adds in float32 and in another
        order, so its value differs by rounding.

    Raises
    ------
    ValueError
        If an argument is invalid, `activations` come from another network, or the layer has no
        kernel or reads several layers.
    TypeError
        If `extractor` or `activations` has the wrong type.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> from vgg_widget.gradients import explain_unit
    >>> extractor = FeatureExtractor("random", size=64)
    >>> activations = extractor(sample_image())
    >>> found = explain_unit(extractor, activations, "block1_conv1", 3, (20, 30))
    >>> found.contributions.shape, found.activation
    ((3, 3, 3), 'relu')
    >>> bool(abs(max(found.contributions.sum() + found.bias, 0) - found.value) < 1e-3)
    True
    """
    check_made_by(extractor, activations)
    info = activations.info(layer)
    number = checked_channel("channel", channel, layer, info.channels)
    row, column = checked_location(location, layer, activations)
    fan_in = extractor.fan_in(info.name)
    kernels = fan_in.kernels(number)
    if kernels is None:
        raise ValueError(
            f"layer {layer!r} is not a sum over a kernel, since it processes each channel "
            f"separately: pass {fan_in.source or 'a layer such as Conv2D'!r}."
        )
    maps, names = maps_read(extractor, activations, fan_in)
    patch, inside = fan_in.patch(maps, number, row, column)
    kernel = np.ascontiguousarray(np.moveaxis(kernels, 0, -1))
    # Each product of two float32 numbers is exact in float64.
    contributions = patch.astype(np.float64) * kernel
    bias = 0.0 if fan_in.bias is None else float(fan_in.bias[number])
    for array in (patch, inside, kernel, contributions):
        array.flags.writeable = False
    inputs = tuple(fan_in.inputs(number))
    before = activations.plain_name(layer) != info.name
    found = UnitSum(
        layer,
        number,
        (row, column),
        fan_in.source,
        inputs,
        tuple(names[one] for one in inputs),
        patch,
        inside,
        kernel,
        contributions,
        bias,
        float(contributions.sum()) + bias,
        "linear" if before else fan_in.activation,
        float(activations.at(layer, row, column)[number]),
    )
    _check_adds_up(found)
    return found


def _check_adds_up(found: UnitSum) -> None:
    """Raise ValueError if the network's value differs from the sum."""
    if found.activation not in ("linear", "relu"):
        return
    total = max(found.total, 0.0) if found.activation == "relu" else found.total
    # Tolerance for rounding in half precision.
    allowed = 0.01 * float(np.abs(found.contributions).sum() + abs(found.bias))
    if abs(total - found.value) > allowed:
        raise ValueError(
            f"layer {found.layer!r} has {plain_number(found.value, 4)} there, but its kernel, bias "
            f"and inputs give {plain_number(total, 4)}: remove the hook that changes the layer's "
            "input or output."
        )

"""`circuit`: the input channels that a channel is computed from, ranked by their kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.fan_in import FanIn
from vgg_widget.pictures.rendering import checked_channel, checked_location
from vgg_widget.support.messages import unknown_choice
from vgg_widget.support.provenance import same_weights

Floats = npt.NDArray[np.float32]
Location = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class CircuitInput:
    """An input channel that a channel reads.

    Parameters
    ----------
    layer : str or None
        Layer that the input channel belongs to; None for the network's input.
    channel : int
        Number of the input channel in that layer.
    name : str
        ``"channel 17"``; for the network's input ``"red"``, ``"green"``, ``"blue"``, ``"grey"``, or
        ``"input 0"`` and so on if preprocessing mixes the colours.
    strongest : (int, int) or None
        Row and column of the largest activation in its map; None if the map is constant.
    kernel : ndarray of float32, shape (h, w), or None
        The kernel's weights, by row and column; None for layers without kernels, such as pooling.
    norm : float or None
        L2 norm of the kernel.
    share : float or None
        Squared norm divided by the sum of all inputs' squared norms: 0 to 1.
    excitatory : float or None
        Sum of the positive weights divided by the sum of all magnitudes: 1 if the input can only
        raise the channel (inputs after a ReLU are never negative), 0 if it can only lower it.
    contribution : float or None
        The amount it adds to the channel at the circuit's location; None without a location or a
        kernel.
    """

    layer: str | None
    channel: int
    name: str
    strongest: Location | None
    kernel: Floats | None = field(default=None, repr=False)
    norm: float | None = None
    share: float | None = None
    excitatory: float | None = None
    contribution: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    """The inputs that a channel is computed from.

    Parameters
    ----------
    layer : str
        The channel's layer, by its name in `Activations`.
    channel : int
        Channel number.
    source : str or None
        Layer whose maps the channel reads; None for the network's input.
    inputs : tuple of CircuitInput
        The chosen inputs, in order.
    count : int
        Number of all inputs, chosen or not.
    location : (int, int) or None
        Row and column in the channel's map at which contributions are computed.
    share : float or None
        Share of all kernels' squared norms that the chosen inputs have: 0 to 1. None for layers
        without kernels, whose channels each read one input.
    top : float or None
        The largest magnitude of a weight among the chosen kernels.
    bias : float or None
        The channel's bias; 0 if the layer has none, None for layers without kernels.
    activation : float or None
        The sum of all inputs' contributions, chosen or not, and the bias: the channel's value at
        the location, before the layer's activation function.
    """

    layer: str
    channel: int
    source: str | None
    inputs: tuple[CircuitInput, ...]
    count: int
    location: Location | None = None
    share: float | None = None
    top: float | None = None
    bias: float | None = None
    activation: float | None = None


ORDERS = ("norm", "contribution")
"""The criteria by which `circuit` can choose and order inputs."""


def circuit(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    channel: int,
    k: int = 6,
    *,
    location: Location | None = None,
    by: Literal["norm", "contribution"] = "norm",
) -> Circuit:
    """Find the input channels that a channel is computed from.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network. Its current weights are used.
    activations : Activations
        The extractor's result for an image.
    layer : str
        Any name of the layer. Names before and after a ReLU refer to the same convolution.
    channel : int
        Channel number.
    k : int
        Largest number of inputs to return.
    location : (int, int), optional
        Row and column in the channel's map, to compute each input's contribution there.
    by : {"norm", "contribution"}
        Order of the inputs: by the L2 norm of their kernels, or by the magnitude of their
        contributions at the location.

    Returns
    -------
    Circuit
        For a layer that processes each channel separately, such as pooling, a single input without
        a kernel.

    Raises
    ------
    ValueError
        If an argument is invalid, `activations` come from another network, or the layer, in your
        own model, has no kernels or reads several layers.
    TypeError
        If `extractor` or `activations` has the wrong type.
    """
    check_made_by(extractor, activations)
    info = activations.info(layer)
    number = checked_channel("channel", channel, layer, info.channels)
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(
            f"k {k!r} is not a valid number of inputs: give a whole number of at least 1."
        )
    if by not in ORDERS:
        raise ValueError(unknown_choice("by", by, ORDERS))
    place = None if location is None else checked_location(location, layer, activations)
    if by == "contribution" and place is None:
        raise ValueError(
            "by 'contribution' needs a location: pass location=(row, column), or by='norm'."
        )
    fan_in = extractor.fan_in(info.name)
    maps, names = maps_read(extractor, activations, fan_in)
    numbers = fan_in.inputs(number)
    kernels = fan_in.kernels(number)
    if kernels is None:
        (same,) = numbers
        alone = CircuitInput(fan_in.source, same, names[same], _strongest(maps[..., same]))
        return Circuit(info.name, number, fan_in.source, (alone,), 1, place)
    squares = np.square(kernels, dtype=np.float64).sum(axis=(1, 2))
    total = float(squares.sum())
    added = None if place is None else fan_in.contributions(maps, number, *place)
    score = squares if by == "norm" or added is None else np.abs(added)
    # NaN comes first, since it determines the channel's values.
    chosen = np.argsort(-np.nan_to_num(score, nan=np.inf), kind="stable")[:k].tolist()
    inputs = []
    for index in chosen:
        kernel = kernels[index].copy()
        kernel.flags.writeable = False
        exact = kernel.astype(np.float64)
        inputs.append(
            CircuitInput(
                fan_in.source,
                numbers[index],
                names[numbers[index]],
                _strongest(maps[..., numbers[index]]),
                kernel,
                norm=float(squares[index]) ** 0.5,
                share=_ratio(squares[index], total),
                excitatory=_ratio(exact[exact > 0].sum(), np.abs(exact).sum()),
                contribution=None if added is None else float(added[index]),
            )
        )
    bias = 0.0 if fan_in.bias is None else float(fan_in.bias[number])
    return Circuit(
        info.name,
        number,
        fan_in.source,
        tuple(inputs),
        len(numbers),
        place,
        share=_ratio(squares[chosen].sum(), total),
        top=float(np.abs(kernels[chosen]).max()),
        bias=bias,
        activation=None if added is None else float(added.sum()) + bias,
    )


def check_made_by(extractor: FeatureExtractor, activations: Activations) -> None:
    """Raise TypeError or ValueError unless the extractor's weights computed the activations."""
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is of type {type(extractor).__name__}: pass a FeatureExtractor, such as "
            "explorer.extractor."
        )
    if not isinstance(activations, Activations):
        raise TypeError(
            f"activations is of type {type(activations).__name__}: pass the extractor's result for "
            "an image, extractor(image)."
        )
    own, theirs = extractor.weights_now(), activations.weights
    if same_weights(own, theirs):
        return
    if own.label == theirs.label and own.source == "model":
        raise ValueError(
            f"activations come from {theirs.label} with other weights than the extractor's model "
            "has now: compute them again with extractor(activations.image), or set the explorer's "
            "image again."
        )
    raise ValueError(
        f"activations come from {theirs.label}, but extractor has {own.label}: pass the "
        "extractor that computed them."
    )


def maps_read(
    extractor: FeatureExtractor, activations: Activations, fan_in: FanIn
) -> tuple[Floats, tuple[str, ...]]:
    """Return the maps that a layer reads, and their names for `CircuitInput`."""
    if fan_in.source is None:
        image = activations.image
        return extractor.network_input(image), extractor.input_names(image)
    maps = activations[fan_in.source]
    return maps, tuple(f"channel {index}" for index in range(maps.shape[-1]))


def _ratio(part: float, whole: float) -> float:
    """Return `part` / `whole`, or 0 if `whole` is 0, as for a kernel of zeros."""
    return float(part / whole) if whole else 0.0


def _strongest(values: Floats) -> Location | None:
    finite = np.where(np.isfinite(values), values, -np.inf)
    row, column = divmod(int(finite.argmax()), values.shape[1])
    return None if finite[row, column] == finite.min() else (row, column)

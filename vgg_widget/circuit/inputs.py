"""`circuit`: the input channels that a channel is made of, by the size of their kernels."""

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

Floats = npt.NDArray[np.float32]
Location = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class CircuitInput:
    """One input channel of a channel.

    Parameters
    ----------
    layer : str or None
        The layer whose map it is; None for the network's input.
    channel : int
        Its number there.
    name : str
        ``"channel 17"``; of the network's input ``"red"``, ``"green"``, ``"blue"``, ``"grey"``, or
        ``"input 0"`` and so on where the colours are mixed.
    strongest : (int, int) or None
        Row and column of the largest activation of its own map; None where that is the same
        everywhere.
    kernel : ndarray of float32, shape (h, w), or None
        The weights by which it is multiplied, down and across; None where there are none, as in a
        pool.
    norm : float or None
        The kernel's length: the root of the sum of its squared weights.
    share : float or None
        Its square over that of all inputs' kernels together: 0 to 1.
    excitatory : float or None
        The sum of the positive weights over the sum of all magnitudes: 1 where the input can only
        raise the channel (inputs after a ReLU are never negative), 0 where it can only lower it.
    contribution : float or None
        What it adds to the channel at the circuit's location; None without a location or a kernel.
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
    """What a channel is made of.

    Parameters
    ----------
    layer : str
        The channel's layer, by the name that `Activations` lists.
    channel : int
        Its number there.
    source : str or None
        The layer that it reads; None for the network's input.
    inputs : tuple of CircuitInput
        The chosen ones, first things first.
    count : int
        How many inputs there are, chosen or not.
    location : (int, int) or None
        Row and column in the channel's map where contributions are told.
    share : float or None
        The part of all kernels' squared norms that the chosen ones hold: 0 to 1. None where there
        are no kernels: then the channel is made of the one input alone.
    top : float or None
        The largest magnitude of a weight among the chosen kernels.
    bias : float or None
        What is added everywhere; 0 where the layer has none, None where there are no kernels.
    activation : float or None
        The sum of all inputs' contributions, chosen or not, and the bias: the channel at the
        location, before the layer's activation function.
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
"""What the inputs of a `circuit` can be chosen and ordered by."""


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
    """Find the input channels that a channel is made of.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose weights; they are read as they are now.
    activations : Activations
        What it made of an image.
    layer : str
        Keras's or torchvision's name. Before and after a ReLU it is the same convolution.
    channel : int
        Of that layer.
    k : int
        How many inputs; fewer where there are no more.
    location : (int, int), optional
        Row and column in the channel's map, to tell what each input adds there.
    by : {"norm", "contribution"}
        Which inputs come first: those with the largest kernels (L2 norm), or those that add or
        take away most at the location.

    Returns
    -------
    Circuit
        Of a layer that works on each channel by itself, such as a pool, the one input without a
        kernel.

    Raises
    ------
    ValueError
        If an argument is not one of these, `activations` are another network's, or the layer is
        one of a model of your own that has no kernels or reads several layers.
    TypeError
        If `extractor` or `activations` is something else.
    """
    check_made_by(extractor, activations)
    info = activations.info(layer)
    number = checked_channel("channel", channel, layer, info.channels)
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k {k!r} is no number of inputs: give a whole number of at least 1.")
    if by not in ORDERS:
        raise ValueError(unknown_choice("by", by, ORDERS))
    place = None if location is None else checked_location(location, layer, activations)
    if by == "contribution" and place is None:
        raise ValueError(
            "by 'contribution' depends on the place: pass location=(row, column), or by='norm'."
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
    chosen = np.argsort(-score, kind="stable")[:k].tolist()
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
    """Raise TypeError or ValueError unless the activations are of the extractor's weights."""
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is of type {type(extractor).__name__}: pass a FeatureExtractor, such as "
            "explorer.extractor."
        )
    if not isinstance(activations, Activations):
        raise TypeError(
            f"activations is of type {type(activations).__name__}: pass what the extractor makes "
            "of an image, extractor(image)."
        )
    own, theirs = extractor.weights_now(), activations.weights
    if own.label == theirs.label and own.source == "model":
        # A file of before knows no digest.
        if theirs.digest in ("", own.digest):
            return
        raise ValueError(
            f"activations are of {theirs.label} with other weights than the extractor's model has "
            "now: compute them again, extractor(activations.image)."
        )
    if (own.digest or own.label) != (theirs.digest or theirs.label):
        raise ValueError(
            f"activations are of {theirs.label}, and extractor has {own.label}: pass the "
            "extractor that made them."
        )


def maps_read(
    extractor: FeatureExtractor, activations: Activations, fan_in: FanIn
) -> tuple[Floats, tuple[str, ...]]:
    """Return the maps that a layer reads, and what `CircuitInput` calls each of them."""
    if fan_in.source is None:
        image = activations.image
        return extractor.network_input(image), extractor.input_names(image)
    maps = activations[fan_in.source]
    return maps, tuple(f"channel {index}" for index in range(maps.shape[-1]))


def _ratio(part: float, whole: float) -> float:
    """Return a share; 0 of nothing, since a kernel may hold zeros alone."""
    return float(part / whole) if whole else 0.0


def _strongest(values: Floats) -> Location | None:
    finite = np.where(np.isfinite(values), values, -np.inf)
    row, column = divmod(int(finite.argmax()), values.shape[1])
    return None if finite[row, column] == finite.min() else (row, column)

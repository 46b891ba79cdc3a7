"""What the rest of the package asks of a network, whichever library computes it.

It is written twice: for Keras and for PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import LayerInfo
from vgg_widget.network.fan_in import FanIn
from vgg_widget.network.network_input import NetworkInput

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Size = tuple[int, int]
Aim = Literal["mean", "unit", "content", "style"]
Preprocess = Callable[[Floats], Any]

LEAK = 0.1
"""What a unit below 0 counts of its value, where all units of a map count."""


class NoGradientError(ValueError):
    """A layer whose values do not change with the picture's by any slope."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One channel of one layer: at a place of its map, or summed over the map.

    Parameters
    ----------
    index : int
        The layer's number among the network's layers.
    rectified : bool
        Whether it is meant after its ReLU, where the network gives it before.
    channel : int
        Of that layer.
    place : (int, int) or None
        Row and column, on the pictures that the function is given; None for the sum.
    parts : ndarray of int32, shape (layers, 4)
        For a VGG, which part of each layer's map the next one needs.
    """

    index: int
    rectified: bool
    channel: int
    place: tuple[int, int] | None = None
    parts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 4), np.int32))


@dataclass(frozen=True, eq=False)
class Weights:
    """Arrays that take the place of a network's variables while something is computed."""

    variables: tuple[Any, ...] = ()
    arrays: tuple[npt.NDArray[Any], ...] = field(default=(), repr=False)


Colours = tuple[Floats, Floats]
"""How a network's input follows from a picture: ``colours @ matrix + offset``."""


class Network(Protocol):
    """A network with one output a layer: float32, shape (N, H, W, C)."""

    @property
    def model(self) -> Any:
        """What the library has for the network."""

    @property
    def input(self) -> NetworkInput:
        """Size and order of the axes of what it takes."""

    @property
    def preprocess(self) -> Preprocess:
        """From RGB 0–255 to what it takes, unless a person has another."""

    @property
    def before_relu(self) -> tuple[str, ...]:
        """The layers whose maps are given before their ReLU."""

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of one forward pass, by pixel of the image."""

    def check_usable(self) -> None:
        """Raise RuntimeError where the library cannot compute."""

    def measure(self, size: Size) -> None:
        """Find out how much memory an image takes, where that is not known and it may be much."""

    def check_size(self, size: Size) -> None:
        """Raise ValueError for a size that the network cannot take, where that costs little."""

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width)."""

    def run(self, inputs: Floats) -> tuple[tuple[LayerInfo, ...], list[Floats]]:
        """Return the layers for images of this size, and the maps of each."""

    def fan_in(self, name: str) -> FanIn:
        """Return what the channels of a layer are made of."""

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from one to another, or to the end.

        Each comes once, with two numbers, its layer's and its own there, and with its values.
        """

    def parameters(self) -> Iterable[npt.NDArray[Any]]:
        """Return the numbers that training changes, as they are now."""

    def channel_function(
        self, unit: Unit, colours: Colours, weights: Weights
    ) -> tuple[Callable[[Floats], Doubles], Callable[[Floats], tuple[Doubles, Floats]]]:
        """Return what computes the values of a unit for pictures, and them with their gradients.

        Pictures are (N, h, w, 3), RGB in 0–255. Where there is no gradient, NoGradientError or
        LookupError is raised.
        """

    def class_function(
        self, index: int, weights: Weights, *, rectified: bool
    ) -> tuple[
        Callable[[Floats], Floats],
        Callable[[Floats, Floats], tuple[Floats, Floats]],
        int | None,
    ]:
        """Return what computes the network's end, and what a layer's maps give to it.

        The first takes what the network takes. The second takes also the weights of the end's
        numbers, and gives a layer's maps and the gradient of that sum. The third is how many
        classes, or channels, the end has.
        """

    def aim_function(
        self, index: int, aim: Aim, colours: Colours, *, rectified: bool
    ) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
        """Return what tells how near pictures come to what is asked, and that with the gradient.

        Both take pictures, the numbers asked for, and how the network is shown the pictures; see
        `LayerAim.gradients`.
        """

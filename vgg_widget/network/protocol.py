"""The interface of a network to the rest of the package, independent of the library.

It is implemented for Keras and for PyTorch.
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
"""Slope of the leaky ReLU applied to values in the objective over a whole map."""


class NoGradientError(ValueError):
    """A layer through which there is no gradient with respect to the image."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A channel of a layer, at one location of its map or summed over the map.

    Parameters
    ----------
    index : int
        The layer's number among the network's layers.
    rectified : bool
        Whether to use values after the ReLU, if the network returns those before it.
    channel : int
        Channel number.
    place : (int, int) or None
        Row and column in the map of the images passed to the function; None for the sum.
    parts : ndarray of int32, shape (layers, 4)
        For a VGG, the part of each layer's map that the next layer needs.
    """

    index: int
    rectified: bool
    channel: int
    place: tuple[int, int] | None = None
    parts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 4), np.int32))


@dataclass(frozen=True, eq=False)
class Weights:
    """Arrays that temporarily replace a network's variables during a computation."""

    variables: tuple[Any, ...] = ()
    arrays: tuple[npt.NDArray[Any], ...] = field(default=(), repr=False)


Colours = tuple[Floats, Floats]
"""The matrix and offset that map an image to the network's input: ``colours @ matrix + offset``."""


class Network(Protocol):
    """A network with one output per layer: float32, shape (N, H, W, C)."""

    @property
    def model(self) -> Any:
        """The library's own model object."""

    @property
    def input(self) -> NetworkInput:
        """The size and axis order of the network's input."""

    @property
    def preprocess(self) -> Preprocess:
        """The default function from RGB 0–255 to the network's input."""

    @property
    def before_relu(self) -> tuple[str, ...]:
        """The layers whose maps are returned before their ReLU."""

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of a forward pass in bytes per image pixel."""

    def check_usable(self) -> None:
        """Raise RuntimeError if the library cannot compute here."""

    def measure(self, size: Size) -> None:
        """Measure the memory needed per pixel before a large image, if still unknown."""

    def check_size(self, size: Size) -> None:
        """Raise ValueError for an unsupported size, if that can be determined cheaply."""

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width)."""

    def run(self, inputs: Floats) -> tuple[tuple[LayerInfo, ...], list[Floats]]:
        """Return the layers for images of this size, and the maps of each."""

    def fan_in(self, name: str) -> FanIn:
        """Return the inputs and kernels of a layer's channels."""

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from `first` to `last`, or to the end.

        Each variable appears once, with two numbers (its layer's, and its own in the layer) and its
        values.
        """

    def parameters(self) -> Iterable[npt.NDArray[Any]]:
        """Return the current values of all parameters."""

    def channel_function(
        self, unit: Unit, colours: Colours, weights: Weights
    ) -> tuple[Callable[[Floats], Doubles], Callable[[Floats], tuple[Doubles, Floats]]]:
        """Return functions for a unit's values for images, and for the values with gradients.

        Images have shape (N, h, w, 3), RGB in 0–255. Without a gradient, NoGradientError or
        LookupError is raised.
        """

    def class_function(
        self, index: int, weights: Weights, *, rectified: bool
    ) -> tuple[
        Callable[[Floats], Floats],
        Callable[[Floats, Floats], tuple[Floats, Floats]],
        int | None,
    ]:
        """Return functions for the network's final output, and for its gradient at a layer.

        The first takes the network's input. The second also takes weights for the outputs, and
        returns a layer's maps and the gradient of the weighted sum. The third result is the number
        of classes, or of channels, of the final output.
        """

    def aim_function(
        self, index: int, aim: Aim, colours: Colours, *, rectified: bool
    ) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
        """Return functions for the objective of images, without and with its gradient.

        Both take images, the parameters of the objective, and a transformation of the images; see
        `LayerAim.gradients`.
        """

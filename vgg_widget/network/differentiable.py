"""Gradients with respect to a picture's colours, and of a class's score to a layer's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.images import RGB8
from vgg_widget.layers import LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.memory import check_memory, fitting
from vgg_widget.network.protocol import (
    Doubles,
    Floats,
    Network,
    NoGradientError,
    Unit,
    Weights,
)
from vgg_widget.network.vgg import WORTH_CUTTING, VggNetwork
from vgg_widget.support.interrupts import interrupts_delayed

Box = tuple[int, int, int, int]

# Beside all maps of a layer there are their gradients, and what is in between.
_MORE = 2
# Larger batches are hardly faster, and take memory.
_MOST_AT_ONCE = 4


class ChannelFunction:
    """A channel of a layer as a function of a picture's colours, with its gradient.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose network.
    activations : Activations
        What it made of the picture; nothing of it is computed again.
    layer : str
        Any of its names.
    unit : (int, (int, int) or None)
        A channel of that layer, and one unit's row and column; None for the sum over the map.
    randomised : Weights or None
        The weights that take the place of others; see `shuffled_weights`.

    Attributes
    ----------
    box : (top, left, bottom, right)
        The pixels on which the value can depend: the unit's receptive field.
    crop : (top, left, bottom, right)
        The pixels that are computed, which hold the box.
    most : int
        How many pictures of the crop's size are computed at once.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        activations: Activations,
        layer: str,
        unit: tuple[int, tuple[int, int] | None],
        randomised: Weights | None = None,
    ) -> None:
        self._network = network = extractor._network  # noqa: SLF001 - of this room
        self.layer = layer
        self.channel, self.location = unit
        self.randomised = randomised is not None
        location, layers = self.location, activations.layers
        info = activations.info(layer)
        index = layers.index(info)
        size = activations.image.shape[:2]
        rectified = activations.plain_name(layer) == info.name
        self.box, self.crop = _box_and_crop(network, layers, index, location, size)
        top, left, bottom, right = self.crop
        place: tuple[int, int] | None = None
        parts = np.zeros((0, 4), np.int32)
        if location is not None:
            down, across = info.placement.row_step, info.placement.column_step
            place = location[0] - round(top / down), location[1] - round(left / across)
            if isinstance(network, VggNetwork):
                place, parts = _parts_of_vgg(
                    layers[: index + 1], place, (bottom - top, right - left)
                )
        height, width = bottom - top, right - left
        check_memory(height, width, _MORE * network.bytes_a_pixel)
        self.most = min(_MOST_AT_ONCE, fitting(height, width, _MORE * network.bytes_a_pixel))
        matrix, offset = colours_to_input(extractor, activations.image)
        self._values, self._gradients = network.channel_function(
            Unit(index, rectified, self.channel, place, parts),
            (matrix, offset[top:bottom, left:right]),
            randomised or Weights(),
        )

    def values(self, pictures: Floats) -> Doubles:
        """Return the value for each of some pictures.

        Parameters
        ----------
        pictures : ndarray of float32, shape (N, h, w, 3)
            RGB in 0–255 within the crop; at most `most`.

        Returns
        -------
        ndarray of float64, shape (N,)
        """
        self._network.check_usable()
        with interrupts_delayed():
            return self._values(pictures)

    def gradients(self, pictures: Floats) -> tuple[Doubles, Floats]:
        """Return the value for each of some pictures, and its gradient.

        Parameters
        ----------
        pictures : ndarray of float32, shape (N, h, w, 3)
            As in `values`.

        Returns
        -------
        values : ndarray of float64, shape (N,)
        gradients : ndarray of float32, shape (N, h, w, 3)
            With respect to red, green and blue; exactly 0 outside the box.

        Raises
        ------
        NoGradientError
            If there is none.
        """
        self._network.check_usable()
        try:
            with interrupts_delayed():
                values, found = self._gradients(pictures)
        # TensorFlow's word for an operation of which it knows no derivative.
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self.layer!r} has no gradient, since its values are counted, rounded or "
                "chosen: pass a layer that it is made of, or method='occlusion'."
            ) from error
        # Beyond the field there are zeros by the chain rule, and the rounding of fast convolutions.
        outside = np.ones(found.shape[1:3], np.bool_)
        outside[self.inside] = False
        found[:, outside] = 0
        return values, found

    @property
    def inside(self) -> tuple[slice, slice]:
        """Where the box lies within the crop."""
        top, left, bottom, right = self.box
        return (
            slice(top - self.crop[0], bottom - self.crop[0]),
            slice(left - self.crop[1], right - self.crop[1]),
        )


# A part of the picture ---------------------------------------------------------------------------


def _box_and_crop(
    network: Network,
    layers: Sequence[LayerInfo],
    index: int,
    location: tuple[int, int] | None,
    size: tuple[int, int],
) -> tuple[Box, Box]:
    """Return what a unit sees, and a part of the picture of which it gets the same value."""
    whole = (0, 0, *size)
    info = layers[index]
    if location is None or info.receptive_field is None:
        return whole, whole
    box = top, left, bottom, right = info.receptive_field_box(*location, size)
    if network.input.fixed_size or top >= bottom or left >= right:
        return box, whole
    # A part that begins where every layer before has a unit, and is by a whole number of units
    # smaller than the picture, is padded at its ends as the picture is, and cut into the same
    # windows. The zeros around it are beyond what the unit sees, or around the picture too.
    down = _common_stride(one.placement.row_step for one in layers[: index + 1])
    across = _common_stride(one.placement.column_step for one in layers[: index + 1])
    crop = (
        top - top % down,
        left - left % across,
        bottom + (size[0] - bottom) % down,
        right + (size[1] - right) % across,
    )
    return box, crop if _same_geometry(network, layers[: index + 1], crop) else whole


def _parts_of_vgg(
    layers: Sequence[LayerInfo], place: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], npt.NDArray[np.int32]]:
    """Return where one unit is in the end, and the part of each layer's map that it needs.

    A unit of a late layer sees the whole picture, and little of the maps in between: a third of the
    work is left out. Maps are cut one after the other, on a picture of that size in which the unit
    is at `place`; each row is top, left, bottom, right of what the next layer is given.
    """
    places, ranges = [], []
    for unit, pixels in zip(place, size, strict=True):
        needed = [(unit, unit)]
        for info in layers[:0:-1]:
            low, high = needed[-1]
            needed.append((low - 1, high + 1) if info.kind == "conv" else (2 * low, 2 * high + 1))
        begin, end, kept = 0, pixels, []
        for info, (low, high) in zip(layers, needed[::-1], strict=True):
            if info.kind == "pool":
                begin, end = begin // 2, begin // 2 + (end - begin) // 2
            first, last = begin, end
            if info.stride >= WORTH_CUTTING and info is not layers[-1]:
                first, last = max(low, begin), min(high + 1, end)
                # Where the pools that follow have a unit.
                first -= first % (layers[-1].stride // info.stride)
            kept.append((first - begin, last - begin))
            begin, end = first, last
        places.append(unit - begin)
        ranges.append(kept)
    rows, columns = (np.array(one, np.int32) for one in ranges)
    parts = np.stack([rows[:, 0], columns[:, 0], rows[:, 1], columns[:, 1]], axis=1)
    return (places[0], places[1]), parts


def _common_stride(strides: Any) -> int:
    return math.lcm(*(Fraction(stride).limit_denominator(4096).numerator for stride in strides))


def _same_geometry(network: Network, layers: Sequence[LayerInfo], crop: Box) -> bool:
    """Tell whether each layer's units see of a part of the picture what they see of the whole."""
    top, left, bottom, right = crop
    try:
        of_part = network.layers_on((bottom - top, right - left))
    except ValueError:
        # Some models cannot take it, such as one that makes all pictures the same size.
        of_part = ()
    # Some compute other layers on a small picture.
    if [part.name for part in of_part[: len(layers)]] != [info.name for info in layers]:
        return False
    for info, part in zip(layers, of_part, strict=False):
        place = info.placement
        if place.row_step != part.placement.row_step:
            return False
        if place.column_step != part.placement.column_step:
            return False
        rows, columns = round(top / place.row_step), round(left / place.column_step)
        # As many as can differ, after maps were enlarged.
        periods = [len(axis.whole) // 2 for one in (info, part) for axis in one.axes or ()]
        for unit in range(max(periods, default=1)):
            here, there = part.whole_box(unit, unit), info.whole_box(rows + unit, columns + unit)
            if here is None or there is None:
                # Nothing that a unit with a receptive field is made of.
                break
            if here[0] < here[2] and (here[0] + top, here[2] + top) != (there[0], there[2]):
                return False
            if here[1] < here[3] and (here[1] + left, here[3] + left) != (there[1], there[3]):
                return False
    return True


# Colours -----------------------------------------------------------------------------------------


def colours_to_input(extractor: FeatureExtractor, image: RGB8) -> tuple[Floats, Floats]:
    """Return how a network's input follows from a picture: ``colours @ matrix + offset``.

    Parameters
    ----------
    extractor : FeatureExtractor
        With its preprocessing.
    image : ndarray of uint8, shape (H, W, 3)
        The picture.

    Returns
    -------
    matrix : ndarray of float32, shape (3, C)
    offset : ndarray of float32, shape (H, W, C)

    Raises
    ------
    ValueError
        If the preprocessing is another function than that.
    """
    network = extractor._network  # noqa: SLF001 - of this room

    def prepared(colours: Floats) -> Floats:
        # Copied, since many preprocessing functions change their input in place.
        # Of a picture of one colour some make NaN, and are refused below.
        with np.errstate(all="ignore"):
            given = extractor._preprocess(colours[np.newaxis].copy())  # noqa: SLF001
        maps: Floats = network.input.as_maps(network.input.fit(given, image[np.newaxis]))[0]
        return maps

    picture = image.astype(np.float32)
    offset = prepared(np.zeros_like(picture))
    slopes = []
    for colour in range(3):
        full = np.zeros_like(picture)
        full[..., colour] = 255
        slopes.append((prepared(full) - offset).astype(np.float64) / 255)
    matrix = np.array([slope.mean(axis=(0, 1)) for slope in slopes])
    found = prepared(picture)
    off = max(
        float(np.abs(picture @ matrix + offset - found).max()),
        *(
            255 * float(np.abs(slope - row).max())
            for slope, row in zip(slopes, matrix, strict=True)
        ),
    )
    # NaN is refused too.
    if not off <= 1e-4 * max(float(np.abs(found).max()), float(np.abs(offset).max())):
        raise ValueError(
            "preprocess does not make each pixel of the network's input of that pixel's colours by "
            "one sum of products, so that there is no gradient through it: make it layers at the "
            "beginning of the model instead."
        )
    return matrix.astype(np.float32), offset


# Weights in another order ------------------------------------------------------------------------


def shuffled_weights(
    extractor: FeatureExtractor, first: int, last: int | None, seed: int
) -> Weights:
    """Return the weights of some layers, the numbers of each array in a random order.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose weights; they are left as they are.
    first, last : int
        The numbers of the first and the last of the layers among `extractor.layers`. None as the
        last one goes on to the network's end.
    seed : int
        A layer's order depends on it, and not on which layer is the first.
    """
    variables, arrays = [], []
    network = extractor._network  # noqa: SLF001 - of this room
    for numbers, variable, values in network.variables(first, last):
        # Whole numbers are states of generators.
        if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
            variables.append(variable)
            order = np.random.default_rng([seed, *numbers]).permutation(values.size)
            arrays.append(values.reshape(-1)[order].reshape(values.shape))
    return Weights(tuple(variables), tuple(arrays))


# Classes -----------------------------------------------------------------------------------------


class ClassFunction:
    """From a picture through a layer's maps to the network's end, with the gradient in between.

    The end is the scores of the classes, of shape (classes,), or for a VGG the last pool, of shape
    (H, W, C), on which a classifier works that is none of TensorFlow's.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose network.
    layer : str
        Any of its names.
    randomised : Weights or None
        The weights that take the place of others.

    Attributes
    ----------
    size : int or None
        How many classes, or channels of the last pool, there are.

    Raises
    ------
    ValueError
        If the network is a model that ends in something else than one vector.
    """

    def __init__(
        self, extractor: FeatureExtractor, layer: str, randomised: Weights | None = None
    ) -> None:
        network = extractor._network  # noqa: SLF001 - of this room
        named = NamedLayers(network.layers_on(None), network.before_relu)
        info = named.info(layer)
        index = named.layers.index(info)
        rectified = named.plain_name(layer) == info.name
        self._extractor, self._layer = extractor, layer
        self._end, self._gradients, self.size = network.class_function(
            index, randomised or Weights(), rectified=rectified
        )

    def end(self, image: RGB8) -> Floats:
        """Return what is at the network's end, for a picture of the right size."""
        inputs = self._inputs(image)
        with interrupts_delayed():
            end: Floats = self._end(inputs)[0]
        return end

    def gradient(self, image: RGB8, weights: Floats) -> tuple[Floats, Floats]:
        """Return the layer's maps, and the gradient of the end's weighted sum.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            A picture of the right size.
        weights : ndarray of float32
            Of the end's shape.

        Returns
        -------
        maps, gradient : ndarray of float32, shape (h, w, C)

        Raises
        ------
        NoGradientError
            If there is none.
        """
        inputs = self._inputs(image)
        try:
            with interrupts_delayed():
                maps, gradient = self._gradients(inputs, weights[np.newaxis])
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self._layer!r} gives the classes no gradient: pass one on whose values "
                "the network's end depends, and by a slope."
            ) from error
        return maps[0], gradient[0]

    def _inputs(self, image: RGB8) -> Floats:
        self._extractor._network.check_usable()  # noqa: SLF001 - of this room
        return self._extractor._network_inputs(image[np.newaxis])  # noqa: SLF001

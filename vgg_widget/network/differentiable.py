"""Gradients of units with respect to an image, and of class scores with respect to maps."""

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

# Memory for gradients and intermediate values in addition to the maps.
_OVERHEAD = 2
# Larger batches are hardly faster but take more memory.
_MOST_AT_ONCE = 4


class ChannelFunction:
    """A layer's channel as a function of an image's colours, with its gradient.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network.
    activations : Activations
        The extractor's result for the image, which is not computed again.
    layer : str
        Any name of the layer.
    unit : (int, (int, int) or None)
        A channel, and the row and column of one unit, or None for the sum over the map.
    randomised : Weights or None
        Replacement weights; see `shuffled_weights`.

    Attributes
    ----------
    box : (top, left, bottom, right)
        The pixels that the value can depend on: the unit's receptive field.
    crop : (top, left, bottom, right)
        The pixels that are computed, which contain the box.
    most : int
        Number of images of the crop's size computed at a time.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        activations: Activations,
        layer: str,
        unit: tuple[int, tuple[int, int] | None],
        randomised: Weights | None = None,
    ) -> None:
        self._network = network = extractor._network  # noqa: SLF001 - same package
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
        check_memory(height, width, _OVERHEAD * network.bytes_a_pixel)
        self.most = min(_MOST_AT_ONCE, fitting(height, width, _OVERHEAD * network.bytes_a_pixel))
        matrix, offset = colours_to_input(extractor, activations.image)
        self._values, self._gradients = network.channel_function(
            Unit(index, rectified, self.channel, place, parts),
            (matrix, offset[top:bottom, left:right]),
            randomised or Weights(),
        )

    def values(self, pictures: Floats) -> Doubles:
        """Return the value for each image.

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
        """Return the value for each image, and its gradient.

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
            If there is no gradient.
        """
        self._network.check_usable()
        try:
            with interrupts_delayed():
                values, found = self._gradients(pictures)
        # TensorFlow raises LookupError for operations without a derivative.
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self.layer!r} has no gradient, since its values are counts, rounded "
                "numbers or indices: pass a layer that it is computed from, or method='occlusion'."
            ) from error
        # Outside the receptive field the gradient is 0, apart from rounding in fast convolutions.
        outside = np.ones(found.shape[1:3], np.bool_)
        outside[self.inside] = False
        found[:, outside] = 0
        return values, found

    @property
    def inside(self) -> tuple[slice, slice]:
        """The position of the box inside the crop."""
        top, left, bottom, right = self.box
        return (
            slice(top - self.crop[0], bottom - self.crop[0]),
            slice(left - self.crop[1], right - self.crop[1]),
        )


# A part of the image -----------------------------------------------------------------------------


def _box_and_crop(
    network: Network,
    layers: Sequence[LayerInfo],
    index: int,
    location: tuple[int, int] | None,
    size: tuple[int, int],
) -> tuple[Box, Box]:
    """Return a unit's receptive field, and a part of the image that gives it the same value."""
    whole = (0, 0, *size)
    info = layers[index]
    if location is None or info.receptive_field is None:
        return whole, whole
    box = top, left, bottom, right = info.receptive_field_box(*location, size)
    if network.input.fixed_size or top >= bottom or left >= right:
        return box, whole
    # If a part begins where every earlier layer has a unit, and is smaller than the image by a
    # whole number of units, then layers pad it and divide it into windows as they do for the image.
    # Its zero padding is outside the receptive field, or also surrounds the image.
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
    """Return the final position of a unit, and the part of each layer's map that it needs.

    A unit in a late layer sees the whole image but only small parts of the maps in between, which
    saves a third of the work. Maps are cropped one after the other, for an image of `size` in which
    the unit is at `place`; each row is the top, left, bottom and right of the part passed to the
    next layer.
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
                # Align with the units of later pools.
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
    """Return whether each layer's units see the same in a part of the image as in the whole."""
    top, left, bottom, right = crop
    try:
        of_part = network.layers_on((bottom - top, right - left))
    except ValueError:
        # Some models do not support the size, or resize all images.
        of_part = ()
    # Some models compute other layers for a small image.
    if [part.name for part in of_part[: len(layers)]] != [info.name for info in layers]:
        return False
    for info, part in zip(layers, of_part, strict=False):
        place = info.placement
        if place.row_step != part.placement.row_step:
            return False
        if place.column_step != part.placement.column_step:
            return False
        rows, columns = round(top / place.row_step), round(left / place.column_step)
        # One period of units, which may differ after maps were enlarged.
        periods = [len(axis.whole) // 2 for one in (info, part) for axis in one.axes or ()]
        for unit in range(max(periods, default=1)):
            here, there = part.whole_box(unit, unit), info.whole_box(rows + unit, columns + unit)
            if here is None or there is None:
                # A unit with a receptive field does not depend on this layer.
                break
            if here[0] < here[2] and (here[0] + top, here[2] + top) != (there[0], there[2]):
                return False
            if here[1] < here[3] and (here[1] + left, here[3] + left) != (there[1], there[3]):
                return False
    return True


# Colours -----------------------------------------------------------------------------------------


def colours_to_input(extractor: FeatureExtractor, image: RGB8) -> tuple[Floats, Floats]:
    """Return the matrix and offset that map an image to the network's input.

    Parameters
    ----------
    extractor : FeatureExtractor
        The extractor, with its preprocessing.
    image : ndarray of uint8, shape (H, W, 3)
        The image.

    Returns
    -------
    matrix : ndarray of float32, shape (3, C)
    offset : ndarray of float32, shape (H, W, C)

    Raises
    ------
    ValueError
        If the preprocessing is not of the form ``colours @ matrix + offset``.
    """
    network = extractor._network  # noqa: SLF001 - same package

    def prepared(colours: Floats) -> Floats:
        # Pass a copy, since many preprocessing functions change their input in place. Some return
        # NaN for an image of one colour and are refused below.
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
    # This also refuses NaN.
    if not off <= 1e-4 * max(float(np.abs(found).max()), float(np.abs(offset).max())):
        raise ValueError(
            "preprocess is not a linear function of each pixel's colours, so there is no gradient "
            "through it: replace it by layers at the beginning of the model."
        )
    return matrix.astype(np.float32), offset


# Shuffled weights --------------------------------------------------------------------------------


def shuffled_weights(
    extractor: FeatureExtractor, first: int, last: int | None, seed: int
) -> Weights:
    """Return the weights of some layers, with the numbers of each array in random order.

    Parameters
    ----------
    extractor : FeatureExtractor
        The extractor, whose own weights are not changed.
    first, last : int
        Indices of the first and last layer in `extractor.layers`. If `last` is None, layers up to
        the network's end are included.
    seed : int
        A layer's order depends on the seed, but not on `first`.
    """
    variables, arrays = [], []
    network = extractor._network  # noqa: SLF001 - same package
    for numbers, variable, values in network.variables(first, last):
        # Integer variables are states of random generators.
        if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
            variables.append(variable)
            order = np.random.default_rng([seed, *numbers]).permutation(values.size)
            arrays.append(values.reshape(-1)[order].reshape(values.shape))
    return Weights(tuple(variables), tuple(arrays))


# Classes -----------------------------------------------------------------------------------------


class ClassFunction:
    """The network's final output as a function of an image, with its gradient at a layer.

    The final output is the class scores, of shape (classes,), or for a VGG the last pool, of shape
    (H, W, C), the input of a classifier outside TensorFlow.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network.
    layer : str
        Any name of the layer.
    randomised : Weights or None
        Replacement weights.

    Attributes
    ----------
    size : int or None
        Number of classes, or of channels of the last pool.

    Raises
    ------
    ValueError
        If the network is a model that does not end in one vector.
    """

    def __init__(
        self, extractor: FeatureExtractor, layer: str, randomised: Weights | None = None
    ) -> None:
        network = extractor._network  # noqa: SLF001 - same package
        named = NamedLayers(network.layers_on(None), network.before_relu)
        info = named.info(layer)
        index = named.layers.index(info)
        rectified = named.plain_name(layer) == info.name
        self._extractor, self._layer = extractor, layer
        self._end, self._gradients, self.size = network.class_function(
            index, randomised or Weights(), rectified=rectified
        )

    def end(self, image: RGB8) -> Floats:
        """Return the network's final output for an image of the correct size."""
        inputs = self._inputs(image)
        with interrupts_delayed():
            end: Floats = self._end(inputs)[0]
        return end

    def gradient(self, image: RGB8, weights: Floats) -> tuple[Floats, Floats]:
        """Return the layer's maps, and the gradient of the final output's weighted sum.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            An image of the correct size.
        weights : ndarray of float32
            Weights of the shape of the final output.

        Returns
        -------
        maps, gradient : ndarray of float32, shape (h, w, C)

        Raises
        ------
        NoGradientError
            If there is no gradient.
        """
        inputs = self._inputs(image)
        try:
            with interrupts_delayed():
                maps, gradient = self._gradients(inputs, weights[np.newaxis])
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self._layer!r} has no gradient for the classes: pass a layer that the "
                "network's output depends on differentiably."
            ) from error
        return maps[0], gradient[0]

    def _inputs(self, image: RGB8) -> Floats:
        self._extractor._network.check_usable()  # noqa: SLF001 - same package
        return self._extractor._network_inputs(image[np.newaxis])  # noqa: SLF001

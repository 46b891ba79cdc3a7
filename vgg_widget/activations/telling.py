"""The layer and the channels to look at first."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations

_LOCATIONS = 2048
"""Largest number of locations that channels are compared at."""


def telling_channels(activations: Activations, layer: str, count: int = 8) -> npt.NDArray[np.intp]:
    """Return channels that respond strongly to an image and differ from one another.

    Channels are chosen one by one. Each choice has the largest ``spread * (1 - similarity)``, where
    spread is the standard deviation of the channel's activations, and similarity is its largest
    absolute correlation with a channel already chosen.

    Locations near the border, where activations depend on zero padding, are ignored, up to a
    quarter of the map on each side. Large maps are sampled at every n-th row and column, so the
    result takes milliseconds.

    Parameters
    ----------
    activations : Activations
        Feature maps of an image.
    layer : str
        Any name of the layer.
    count : int
        Number of channels to return.

    Returns
    -------
    ndarray of int, shape (min(count, C),)
        Channel numbers, in the order of choice. Constant channels come last, by number.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If `count` is less than 1.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image, telling_channels
    >>> activations = FeatureExtractor("kmeans", size=64)(sample_image())
    >>> len(telling_channels(activations, "block3_conv1", 3))
    3
    """
    if count < 1:
        raise ValueError(f"count {count!r} is not a valid number of channels: give 1 or more.")
    locations = _inner_locations(activations, layer)
    # Squares of very large activations would overflow; scaling by a power of two is exact.
    locations *= np.ldexp(np.float32(1), -np.frexp(np.abs(locations).max())[1])
    # Rounding of the float32 mean would give a constant channel a nonzero spread.
    varies = locations.max(axis=0) > locations.min(axis=0)
    locations -= locations.mean(axis=0)
    spread = np.where(varies, locations.std(axis=0), np.float32(0))
    unit = locations / np.where(spread > 0, spread, 1)
    similarity = np.zeros_like(spread)
    left = np.ones(len(spread), bool)
    chosen: list[int] = []
    for _ in range(min(count, len(spread))):
        score = np.where(left, spread * (1 - similarity), -1)
        best = int(score.argmax())
        chosen.append(best)
        left[best] = False
        correlation = unit[:, best].copy() @ unit / len(unit)
        similarity = np.maximum(similarity, np.minimum(np.abs(correlation), 1))
    return np.asarray(chosen, np.intp)


def first_layer(activations: Activations) -> str:
    """Return the layer to show first: the one whose map sides are nearest 1/4 of the image's.

    Such maps still resemble the image, and their channels respond to more than edges. Of several
    equally near layers the first is returned. Pooling layers repeat the layer before them and count
    only if the network has no other layers. For VGG19 the result is ``"block3_conv1"``.
    """
    height, width = activations.image.shape[:2]

    def distance(name: str) -> float:
        rows, columns, _ = activations.shape(name)
        return abs(math.log2(math.sqrt(rows * columns / (height * width)) * 4))

    layers = [info.name for info in activations.layers if info.kind != "pool"]
    # Rounding absorbs the effect of sides that are not multiples of the stride.
    return min(layers or list(activations), key=lambda name: round(distance(name), 1))


def _inner_locations(activations: Activations, layer: str) -> npt.NDArray[np.float32]:
    """Return activations away from the border, sampled, shape (n, C)."""
    maps, info = activations[layer], activations.info(layer)
    height, width, channels = maps.shape
    reach = 0
    if info.receptive_field is not None and info.stride:
        reach = math.ceil((info.receptive_field - 1) / 2 / info.stride)
    rows, columns = min(reach, height // 4), min(reach, width // 4)
    inner = maps[rows : height - rows, columns : width - columns]
    step = math.ceil(math.sqrt(inner.shape[0] * inner.shape[1] / _LOCATIONS))
    values = inner[::step, ::step].reshape(-1, channels)
    return np.where(np.isfinite(values), values, np.float32(0))

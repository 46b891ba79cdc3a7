"""Which channels of a layer to look at first."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations

_LOCATIONS = 2048
"""Locations enough to compare channels by."""


def telling_channels(activations: Activations, layer: str, count: int = 8) -> npt.NDArray[np.intp]:
    """Return the channels that show most of an image while differing from one another.

    They are chosen one by one. Each is the channel with the largest
    ``spread * (1 - similarity)``: its spread is the standard deviation of its activations, its
    similarity the largest absolute correlation with a channel that was chosen before.

    Locations near the border of the map, where activations depend on the zeros of the padding, do
    not count; they are at most a quarter of the map on each side. Of a large map every n-th row
    and column is read, so that the result comes in milliseconds.

    Parameters
    ----------
    activations : Activations
        Of an image.
    layer : str
        Keras's name, or torchvision's.
    count : int
        How many channels to return, at most all.

    Returns
    -------
    ndarray of int, shape (min(count, C),)
        Channel numbers, most telling first. Channels that are constant come last, by number.

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
        raise ValueError(f"count {count!r} is no number of channels: give 1 or more.")
    locations = _inner_locations(activations, layer)
    # Squares of very large activations would be infinite; a power of two changes no digit.
    locations *= np.ldexp(np.float32(1), -np.frexp(np.abs(locations).max())[1])
    # A mean in float32 would leave a constant channel some spread.
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
    """Return the layer to show first: the first whose maps are nearest 1/4 of the image's sides.

    There maps are still like pictures, and channels answer to more than edges. Pools repeat what is
    before them, and count only where there is nothing else. For VGG19 it is ``"block3_conv1"``.
    """
    height, width = activations.image.shape[:2]

    def distance(name: str) -> float:
        rows, columns, _ = activations.shape(name)
        return abs(math.log2(math.sqrt(rows * columns / (height * width)) * 4))

    layers = [info.name for info in activations.layers if info.kind != "pool"]
    # Sides that are no multiples of the stride are a little off.
    return min(layers or list(activations), key=lambda name: round(distance(name), 1))


def _inner_locations(activations: Activations, layer: str) -> npt.NDArray[np.float32]:
    """Return activations at the locations that count, shape (n, C)."""
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

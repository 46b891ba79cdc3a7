"""From one layer's feature maps to a few numbers an image and channel, in TensorFlow's graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vgg_widget.dataset.summary import Reduced
from vgg_widget.images import RGB8
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.reduced import ChosenLayer, ReducedNetwork

Statistic = Callable[[Any, Any, Any], Any]
"""From TensorFlow, the maps (N, H, W, C) and their maxima (N, C) to one number each, (N, C)."""


def _mean(tf: Any, maps: Any, _: Any) -> Any:
    # In float32 the sum of 50,000 values would lose digits; of one row's it does not.
    rows = tf.cast(tf.reduce_sum(maps, axis=2), tf.float64)
    units = tf.cast(tf.shape(maps)[1] * tf.shape(maps)[2], tf.float64)
    return tf.cast(tf.reduce_sum(rows, axis=1) / units, tf.float32)


STATISTICS: dict[str, Statistic] = {"max": lambda _tf, _maps, peaks: peaks, "mean": _mean}
"""What an image's strength in a channel can be."""


def reduction_by(statistic: str) -> Callable[[Any], Sequence[Any]]:
    """Return what makes of maps (N, H, W, C): statistic, maximum, its row and its column, (N, C).

    A map is gone through once, for the maximum of each of its rows; the rest looks at those, and
    at the row that has the largest.
    """
    _, tf = keras_and_tensorflow()
    chosen = STATISTICS[statistic]

    def reduced(maps: Any) -> list[Any]:
        of_rows = tf.reduce_max(maps, axis=2)
        peaks = tf.reduce_max(of_rows, axis=1)
        rows = tf.argmax(of_rows, axis=1, output_type=tf.int32)
        line = _lines(tf, maps, rows)
        columns = tf.argmax(line, axis=1, output_type=tf.int32)
        return [chosen(tf, maps, peaks), peaks, rows, columns]

    return reduced


def _lines(tf: Any, maps: Any, rows: Any) -> Any:
    """Return of each image and channel one row of its map: (N, W, C)."""
    count, _, width, channels = (tf.shape(maps)[axis] for axis in range(4))
    places = tf.meshgrid(tf.range(count), tf.range(width), tf.range(channels), indexing="ij")
    row = tf.broadcast_to(rows[:, None, :], tf.stack([count, width, channels]))
    return tf.gather_nd(maps, tf.stack([places[0], row, places[1], places[2]], axis=-1))


class ReducingNetwork:
    """A network that gives `Reduced` images.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose network.
    layers : sequence of ChosenLayer
        Whose channels, all in a row.
    statistic : str
        One of `STATISTICS`.
    """

    def __init__(
        self, extractor: FeatureExtractor, layers: Sequence[ChosenLayer], statistic: str
    ) -> None:
        self.extractor = extractor
        self._network = ReducedNetwork(extractor, layers, reduction_by(statistic))

    def __call__(self, images: RGB8) -> Reduced:
        """Compute images of shape (N, H, W, 3)."""
        return Reduced(*self._network(images))

    def most(self, pixels: RGB8) -> int:
        """Return how many images of this size fit into the memory at once."""
        return self._network.most(pixels)

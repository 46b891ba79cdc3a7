"""From one layer's feature maps to a few numbers an image and channel, in TensorFlow's graph."""

from __future__ import annotations

from typing import Any

from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.reduced import Reduction

STATISTICS = ("max", "mean")
"""What an image's strength in a channel can be."""


def reduction_by(statistic: str) -> Reduction:
    """Return what makes of maps (N, H, W, C) the fields of `Reduced`, each (N, C).

    A map is gone through once, for the maximum of each of its rows; the rest looks at those, and
    at the row that has the largest. That takes the processor 6 % of the network's time; a copy of
    the map after its ReLU would take as much again.
    """
    _, tf = keras_and_tensorflow()

    def reduced(maps: Any, relu: bool) -> list[Any]:
        of_rows = tf.reduce_max(maps, axis=2)
        peaks = tf.reduce_max(of_rows, axis=1)
        rows = tf.argmax(of_rows, axis=1, output_type=tf.int32)
        columns = tf.argmax(_row_of_each(tf, maps, rows), axis=1, output_type=tf.int32)
        if relu:
            # Where nothing is above 0, all is 0 after it, and the first place the largest.
            rows, columns = (tf.where(peaks > 0, place, 0) for place in (rows, columns))
            peaks = tf.where(peaks < 0, tf.zeros_like(peaks), peaks)
        values = peaks if statistic == "max" else _means(tf, tf.nn.relu(maps) if relu else maps)
        return [values, peaks, rows, columns]

    return reduced


def _means(tf: Any, maps: Any) -> Any:
    # In float32 the sum of 50,000 values would lose digits; of one row's it does not.
    rows = tf.cast(tf.reduce_sum(maps, axis=2), tf.float64)
    units = tf.cast(tf.shape(maps)[1] * tf.shape(maps)[2], tf.float64)
    return tf.cast(tf.reduce_sum(rows, axis=1) / units, tf.float32)


def _row_of_each(tf: Any, maps: Any, rows: Any) -> Any:
    """Return of each image and channel one row of its map: (N, W, C)."""
    count, height, width, channels = (tf.shape(maps, tf.int64)[axis] for axis in range(4))
    # Places in the maps as one long row: numbers with four coordinates would be looked up slowly.
    first = tf.range(count)[:, None] * height + tf.cast(rows, tf.int64)
    first = first * width * channels + tf.range(channels)
    places = first[:, None, :] + (tf.range(width) * channels)[:, None]
    return tf.gather(tf.reshape(maps, [-1]), places)

"""What is asked of a layer's maps while pictures are made for them, and its gradient.

One function is compiled for a layer and a question, for pictures of any size; the network is run
up to that layer and no further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.differentiable import NoGradientError, colours_to_input, kept_with
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.memory import check_memory, fitting
from vgg_widget.network.network_input import traced_once
from vgg_widget.support.interrupts import interrupts_delayed

Floats = npt.NDArray[np.float32]
Aim = Literal["mean", "unit", "content", "style"]

# Beside all maps there are their gradients, and what is in between.
_MORE = 2
# Larger batches are hardly faster, and take memory.
_MOST_AT_ONCE = 4
# What a unit below 0 counts of its value, where all units of a map count.
_LEAK = 0.1


class LayerAim:
    """How near pictures come to what is asked of a layer, with the gradient of that.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose network; its weights are read as they are at each call.
    layer : str
        Any of its names.
    size : (int, int)
        Height and width of the pictures.
    aim : str
        ``"mean"`` and ``"unit"``: the channels' values before the ReLU, over the map or at one
        place. ``"content"`` and ``"style"``: the squared distance to maps, and to a Gram matrix.

    Attributes
    ----------
    most : int
        How many pictures are computed at once.
    """

    def __init__(
        self, extractor: FeatureExtractor, layer: str, size: tuple[int, int], aim: Aim
    ) -> None:
        _, tf = keras_and_tensorflow()
        network = extractor._network  # noqa: SLF001 - of this room
        named = NamedLayers(network.layers_on(size), network.before_relu)
        info = named.info(layer)
        rectified = aim in ("content", "style") and named.plain_name(layer) == info.name
        index = named.layers.index(info)
        check_memory(*size, _MORE * network.bytes_a_pixel)
        self.most = min(_MOST_AT_ONCE, fitting(*size, _MORE * network.bytes_a_pixel))
        self._layer = layer
        # Of a picture of many colours: what depends on the picture is found out and refused.
        probe = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        matrix, offset = colours_to_input(extractor, probe)
        self._input = tf.constant(matrix), tf.constant(offset)
        self._values, self._gradients = kept_with(
            network, (aim, index, rectified), lambda: _compiled(network, index, aim, rectified)
        )

    def values(
        self, pictures: Floats, view: Sequence[float], asked: Sequence[npt.NDArray[Any]]
    ) -> Floats:
        """Return what `gradients` tells, without the gradient."""
        keras_and_tensorflow()
        given = np.array(view, np.float32)
        # TensorFlow makes another error of an interrupt amid its own code.
        with interrupts_delayed():
            told: Floats = np.asarray(self._values(pictures, tuple(asked), given, *self._input))
        return told

    def gradients(
        self, pictures: Floats, view: Sequence[float], asked: Sequence[npt.NDArray[Any]]
    ) -> tuple[Floats, Floats]:
        """Return what is told of each of some pictures, and the gradient of its aim.

        Parameters
        ----------
        pictures : ndarray of float32, shape (N, h, w, 3)
            RGB in 0–255; at most `most`.
        view : sequence of 8 float
            How the network is shown them: the point of a picture that is seen at (x, y) is
            ``(v0 x + v1 y + v2, v3 x + v4 y + v5)``.
        asked : sequence of ndarray
            Of ``"mean"`` the channel of each picture, of ``"unit"`` row and column too. Of
            ``"content"`` and ``"style"`` the maps, or Gram matrix, and the weight of each of its
            numbers.

        Returns
        -------
        told : ndarray of float32
            The channel's map of each picture, shape (N, H, W); or its distance, shape (N,).
        gradients : ndarray of float32, shape (N, h, w, 3)
            Uphill for values, and downhill for distances.

        Raises
        ------
        NoGradientError
            If there is none.
        """
        keras_and_tensorflow()
        try:
            given = np.array(view, np.float32)
            with interrupts_delayed():
                told, gradients = self._gradients(pictures, tuple(asked), given, *self._input)
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self._layer!r} has no gradient, since its values are counted, rounded or "
                "chosen: pass a layer that it is made of."
            ) from error
        return np.asarray(told), np.asarray(gradients)


def _compiled(network: Any, index: int, aim: Aim, rectified: bool) -> tuple[Any, Any]:
    """Return what computes what is told of pictures, alone and with the gradient of the aim.

    What is returned is kept as long as the network, and must hold it by no name.
    """
    _, tf = keras_and_tensorflow()
    run: Callable[[Any], list[tuple[Any, Any]]] = network.run_to([index])
    taken, asks = network.input, _ASKED[aim]

    def value(pictures: Any, asked: Any, view: Any, matrix: Any, offset: Any) -> tuple[Any, Any]:
        seen = tf.raw_ops.ImageProjectiveTransformV3(
            images=pictures,
            transforms=view[tf.newaxis],
            output_shape=tf.shape(pictures)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="WRAP",
        )
        inputs = tf.tensordot(seen, matrix, 1) + offset
        if taken.flat:
            inputs = inputs[..., 0]
        elif taken.channels_first:
            inputs = tf.transpose(inputs, [0, 3, 1, 2])
        ((before, after),) = run(inputs)
        found: tuple[Any, Any] = asks(after if rectified else before, asked, tf)
        return found

    def values(*given: Any) -> Any:
        return value(*given)[1]

    def gradient(pictures: Any, asked: Any, *rest: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pictures)
            aims, told = value(pictures, asked, *rest)
        found = tape.gradient(aims, pictures)
        if found is None:
            raise NoGradientError
        return told, found

    sides = taken.fixed_size or (None, None)
    specs = (
        tf.TensorSpec((None, *sides, 3), tf.float32),
        tuple(tf.TensorSpec(shape, kind) for shape, kind in _TAKEN[aim]),
        tf.TensorSpec((8,), tf.float32),
        tf.TensorSpec((3, taken.channels), tf.float32),
        tf.TensorSpec((*sides, taken.channels), tf.float32),
    )
    return traced_once(values, *specs), traced_once(gradient, *specs)


# What is asked ----------------------------------------------------------------------------------


def _mean(maps: Any, asked: Any, tf: Any) -> tuple[Any, Any]:
    values = tf.gather(maps, asked[0], axis=3, batch_dims=1)
    # Of a sum of values a channel of light and dark would have nothing but flat colours; so that
    # what lies below 0 counts little, and yet has a gradient.
    return (
        tf.reduce_mean(tf.nn.leaky_relu(values, _LEAK), axis=[1, 2]),
        values,
    )


def _unit(maps: Any, asked: Any, tf: Any) -> tuple[Any, Any]:
    channels, row, column = asked
    values = tf.gather(maps, channels, axis=3, batch_dims=1)
    return values[:, row, column], values


def _content(maps: Any, asked: Any, tf: Any) -> tuple[Any, Any]:
    wanted, weights = asked
    distance = tf.reduce_sum(weights * tf.square(maps - wanted), axis=[1, 2, 3])
    return -distance, distance


def _style(maps: Any, asked: Any, tf: Any) -> tuple[Any, Any]:
    wanted, weights = asked
    shape = tf.shape(maps)
    flat = tf.reshape(maps, [shape[0], shape[1] * shape[2], shape[3]])
    grams = tf.matmul(flat, flat, transpose_a=True)
    grams /= tf.cast(shape[1] * shape[2], tf.float32)
    distance = tf.reduce_sum(weights * tf.square(grams - wanted), axis=[1, 2])
    return -distance, distance


_ASKED: dict[Aim, Callable[[Any, Any, Any], tuple[Any, Any]]] = {
    "mean": _mean,
    "unit": _unit,
    "content": _content,
    "style": _style,
}
_CHANNELS = (None,), np.int32
_TAKEN: dict[Aim, tuple[tuple[tuple[int | None, ...], Any], ...]] = {
    "mean": (_CHANNELS,),
    "unit": (_CHANNELS, ((), np.int32), ((), np.int32)),
    "content": (((None, None, None), np.float32), ((None, None, None), np.float32)),
    "style": (((None, None), np.float32), ((None, None), np.float32)),
}

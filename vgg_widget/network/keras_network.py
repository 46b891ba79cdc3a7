"""Common base of VGGs and users' Keras models: computation with TensorFlow.

Functions are compiled once per layer and purpose, for images of any size. The network is computed
only up to that layer.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import LayerInfo
from vgg_widget.network.backend import check_eager, keras_and_tensorflow
from vgg_widget.network.network_input import NetworkInput, traced_once
from vgg_widget.network.protocol import (
    LEAK,
    Aim,
    Colours,
    Doubles,
    Floats,
    NoGradientError,
    Size,
    Unit,
    Weights,
)
from vgg_widget.support.interrupts import interrupts_delayed


class KerasNetwork(ABC):
    """A network computed by TensorFlow."""

    # Whether `run_to` takes, as a second argument, the part of each map that the next layer needs.
    cuts: ClassVar[bool] = False
    if TYPE_CHECKING:
        # Both subclasses have these as dataclass fields, which a property here would override.
        @property
        def model(self) -> Any:
            """The Keras model."""

        @property
        def input(self) -> NetworkInput:
            """The network's input."""

        @property
        def forward(self) -> Callable[[Any], list[Any]]:
            """Function from the network's input to all maps."""

    @abstractmethod
    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width)."""

    @abstractmethod
    def run_to(self, indices: Sequence[int]) -> Callable[..., list[tuple[Any, Any]]]:
        """Return a function for the maps of some layers, before and after their ReLU."""

    @abstractmethod
    def run_to_end(
        self, index: int, *, rectified: bool
    ) -> tuple[Callable[[Any], tuple[Any, Any]], Callable[[Any], Any]]:
        """Return a function for a layer's maps and the final output, and one to channels last."""

    @property
    @abstractmethod
    def end_shape(self) -> tuple[int | None, ...]:
        """The shape of the network's final output."""

    def check_usable(self) -> None:
        """Raise RuntimeError if TensorFlow cannot compute here."""
        keras_and_tensorflow()

    def measure(self, size: Size) -> None:  # noqa: B027 - nothing to do in any subclass
        """Do nothing: memory use is known from the layers' shapes."""

    def check_size(self, size: Size) -> None:
        """Raise ValueError for a size that the network does not support."""
        self.layers_on(size)

    def parameters(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the current values of all parameters."""
        check_eager()
        for variable in self.model.weights:
            # States of random generators change with each use.
            if variable.dtype not in ("uint32", "int32", "int64"):
                # Unlike read_value(), which copies them.
                yield np.asarray(variable.value.value())

    def run(self, inputs: Floats) -> tuple[tuple[LayerInfo, ...], list[Floats]]:
        """Return the layers for images of this size, and the maps of each."""
        layers = self.layers_on(self.input.size_of(inputs.shape))
        return layers, [np.asarray(maps, np.float32) for maps in self.forward(inputs)]

    def channel_function(
        self, unit: Unit, colours: Colours, weights: Weights
    ) -> tuple[Callable[[Floats], Doubles], Callable[[Floats], tuple[Doubles, Floats]]]:
        """Return functions for a unit's values for images, and for the values with gradients."""
        _, tf = keras_and_tensorflow()
        choice = unit.index, unit.rectified, unit.place is None
        compiled = kept_with(
            self,
            (*choice, *map(id, weights.variables)),
            lambda: _compiled(self, *choice, weights),
        )
        rest = (
            *(tf.constant(number, tf.int32) for number in (*(unit.place or (0, 0)), unit.channel)),
            *map(tf.constant, colours),
            tf.constant(unit.parts),
            tuple(map(tf.constant, weights.arrays)),
        )

        def values(pictures: Floats) -> Doubles:
            return np.asarray(compiled[0](pictures, *rest))

        def gradients(pictures: Floats) -> tuple[Doubles, Floats]:
            found, slopes = compiled[1](pictures, *rest)
            return np.asarray(found), np.array(slopes)

        return values, gradients

    def class_function(
        self, index: int, weights: Weights, *, rectified: bool
    ) -> tuple[
        Callable[[Floats], Floats],
        Callable[[Floats, Floats], tuple[Floats, Floats]],
        int | None,
    ]:
        """Return functions for the network's final output, and for its gradient at a layer."""
        _, tf = keras_and_tensorflow()
        compiled = kept_with(
            self,
            ("class", index, rectified, *map(id, weights.variables)),
            lambda: _compiled_to_end(self, index, weights, rectified=rectified),
        )
        arrays = tuple(map(tf.constant, weights.arrays))

        def end(inputs: Floats) -> Floats:
            return np.asarray(compiled[0](inputs, arrays))

        def gradients(inputs: Floats, end_weights: Floats) -> tuple[Floats, Floats]:
            maps, slopes = compiled[1](inputs, end_weights, arrays)
            return np.asarray(maps), np.asarray(slopes)

        return end, gradients, self.end_shape[-1]

    def aim_function(
        self, index: int, aim: Aim, colours: Colours, *, rectified: bool
    ) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
        """Return functions for the objective of images, without and with gradients."""
        _, tf = keras_and_tensorflow()
        given = tuple(map(tf.constant, colours))
        compiled = kept_with(
            self, (aim, index, rectified), lambda: _compiled_aim(self, index, aim, rectified)
        )

        def values(pictures: Floats, targets: tuple[Any, ...], view: Floats) -> Floats:
            # TensorFlow turns an interrupt inside its own code into another error.
            with interrupts_delayed():
                return np.asarray(compiled[0](pictures, targets, view, *given))

        def gradients(
            pictures: Floats, targets: tuple[Any, ...], view: Floats
        ) -> tuple[Floats, Floats]:
            with interrupts_delayed():
                results, slopes = compiled[1](pictures, targets, view, *given)
            return np.asarray(results), np.asarray(slopes)

        return values, gradients


# Compiled functions ------------------------------------------------------------------------------

# The most recently used functions of each network.
_compiled_for: weakref.WeakKeyDictionary[Any, OrderedDict[object, Any]] = (
    weakref.WeakKeyDictionary()
)
_lock = threading.RLock()
_KEPT = 8


def kept_with(network: Any, key: object, make: Callable[[], Any]) -> Any:
    """Return a network's cached object for a key, created if missing.

    The object is kept as long as the network, and must reference neither it nor any arrays.
    """
    # TensorFlow turns an interrupt inside its own code into another error, and leaves an incomplete
    # function.
    with _lock, interrupts_delayed():
        known = _compiled_for.setdefault(network, OrderedDict())
        if key not in known:
            known[key] = make()
            while len(known) > _KEPT:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]


def _with_values(variables: Sequence[Any], arrays: Sequence[Any], keras: Any) -> Any:
    """Return a context in which the variables have the values of these tensors."""
    if not variables:
        return nullcontext()
    return keras.StatelessScope(state_mapping=list(zip(variables, arrays, strict=True)))


def _as_input(pictures: Any, matrix: Any, offset: Any, taken: NetworkInput, tf: Any) -> Any:
    inputs = tf.tensordot(pictures, matrix, 1) + offset
    if taken.flat:
        return inputs[..., 0]
    return tf.transpose(inputs, [0, 3, 1, 2]) if taken.channels_first else inputs


def _with_slope(value: Callable[..., tuple[Any, Any]], tf: Any) -> Callable[..., tuple[Any, Any]]:
    """Return a function for another's second result and the gradient of its first one."""

    def gradient(pictures: Any, *rest: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pictures)
            values, results = value(pictures, *rest)
        found = tape.gradient(values, pictures)
        if found is None:
            raise NoGradientError
        return results, found

    return gradient


def _compiled(
    network: KerasNetwork, index: int, rectified: bool, summed: bool, weights: Weights
) -> tuple[Any, Any]:
    """Return compiled functions for values, and values with gradients, of image crops."""
    keras, tf = keras_and_tensorflow()
    run = network.run_to([index])
    taken, variables = network.input, weights.variables
    cut = network.cuts and not summed

    def value(pictures: Any, *rest: Any) -> Any:
        row, column, channel, matrix, offset, parts, arrays = rest
        inputs = _as_input(pictures, matrix, offset, taken, tf)
        with _with_values(variables, arrays, keras):
            ((before, after),) = run(inputs, parts) if cut else run(inputs)
        maps = (after if rectified else before)[..., channel]
        if not summed:
            return tf.cast(maps[:, row, column], tf.float64)
        return tf.reduce_sum(tf.cast(maps, tf.float64), axis=[1, 2])

    def both(*given: Any) -> tuple[Any, Any]:
        found = value(*given)
        return found, found

    sides = taken.fixed_size or (None, None)
    number = tf.TensorSpec((), tf.int32)
    specs = (
        tf.TensorSpec((None, *sides, 3), tf.float32),
        number,
        number,
        number,
        tf.TensorSpec((3, taken.channels), tf.float32),
        tf.TensorSpec((*sides, taken.channels), tf.float32),
        tf.TensorSpec((None, 4), tf.int32),
        tuple(tf.TensorSpec(array.shape, array.dtype) for array in weights.arrays),
    )
    return traced_once(value, *specs), traced_once(_with_slope(both, tf), *specs)


def _compiled_to_end(
    network: KerasNetwork, index: int, weights: Weights, *, rectified: bool
) -> tuple[Any, Any]:
    """Return compiled functions for the final output, and for a layer's maps with its gradient."""
    keras, tf = keras_and_tensorflow()
    taken, variables = network.input, weights.variables
    found, turned = network.run_to_end(index, rectified=rectified)

    def forward(inputs: Any, arrays: Any) -> Any:
        with _with_values(variables, arrays, keras):
            return found(inputs)[1]

    def gradient(inputs: Any, end_weights: Any, arrays: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            with _with_values(variables, arrays, keras):
                maps, end = found(inputs)
        slope = tape.gradient(end, maps, output_gradients=end_weights)
        if slope is None:
            raise NoGradientError
        return turned(maps), turned(slope)

    inputs = tf.TensorSpec(taken.shape(None, *(taken.fixed_size or (None, None))), tf.float32)
    arrays = tuple(tf.TensorSpec(array.shape, array.dtype) for array in weights.arrays)
    end = tf.TensorSpec(network.end_shape, tf.float32)
    return traced_once(forward, inputs, arrays), traced_once(gradient, inputs, end, arrays)


# Objectives --------------------------------------------------------------------------------------


def _compiled_aim(network: KerasNetwork, index: int, aim: Aim, rectified: bool) -> tuple[Any, Any]:
    """Return compiled functions for an objective's values, without and with its gradient."""
    _, tf = keras_and_tensorflow()
    run = network.run_to([index])
    taken, objective = network.input, _OBJECTIVES[aim]

    def value(pictures: Any, targets: Any, view: Any, matrix: Any, offset: Any) -> tuple[Any, Any]:
        seen = tf.raw_ops.ImageProjectiveTransformV3(
            images=pictures,
            transforms=view[tf.newaxis],
            output_shape=tf.shape(pictures)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="WRAP",
        )
        ((before, after),) = run(_as_input(seen, matrix, offset, taken, tf))
        found: tuple[Any, Any] = objective(after if rectified else before, targets, tf)
        return found

    def values(*given: Any) -> Any:
        return value(*given)[1]

    sides = taken.fixed_size or (None, None)
    specs = (
        tf.TensorSpec((None, *sides, 3), tf.float32),
        tuple(tf.TensorSpec(shape, kind) for shape, kind in _TARGET_SPECS[aim]),
        tf.TensorSpec((8,), tf.float32),
        tf.TensorSpec((3, taken.channels), tf.float32),
        tf.TensorSpec((*sides, taken.channels), tf.float32),
    )
    return traced_once(values, *specs), traced_once(_with_slope(value, tf), *specs)


def _mean(maps: Any, targets: Any, tf: Any) -> tuple[Any, Any]:
    values = tf.gather(maps, targets[0], axis=3, batch_dims=1)
    # Summed raw values would favour flat colours. A leaky ReLU gives values below 0 little weight
    # but keeps their gradient.
    return tf.reduce_mean(tf.nn.leaky_relu(values, LEAK), axis=[1, 2]), values


def _unit(maps: Any, targets: Any, tf: Any) -> tuple[Any, Any]:
    channels, row, column = targets
    values = tf.gather(maps, channels, axis=3, batch_dims=1)
    return values[:, row, column], values


def _content(maps: Any, targets: Any, tf: Any) -> tuple[Any, Any]:
    wanted, weights = targets
    distance = tf.reduce_sum(weights * tf.square(maps - wanted), axis=[1, 2, 3])
    return -distance, distance


def _style(maps: Any, targets: Any, tf: Any) -> tuple[Any, Any]:
    wanted, weights = targets
    shape = tf.shape(maps)
    flat = tf.reshape(maps, [shape[0], shape[1] * shape[2], shape[3]])
    grams = tf.matmul(flat, flat, transpose_a=True)
    grams /= tf.cast(shape[1] * shape[2], tf.float32)
    distance = tf.reduce_sum(weights * tf.square(grams - wanted), axis=[1, 2])
    return -distance, distance


_OBJECTIVES: dict[Aim, Callable[[Any, Any, Any], tuple[Any, Any]]] = {
    "mean": _mean,
    "unit": _unit,
    "content": _content,
    "style": _style,
}
_CHANNELS = (None,), np.int32
_TARGET_SPECS: dict[Aim, tuple[tuple[tuple[int | None, ...], Any], ...]] = {
    "mean": (_CHANNELS,),
    "unit": (_CHANNELS, ((), np.int32), ((), np.int32)),
    "content": (((None, None, None), np.float32), ((None, None, None), np.float32)),
    "style": (((None, None), np.float32), ((None, None), np.float32)),
}

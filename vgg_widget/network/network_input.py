"""A network's input: its shape, and the conversion of preprocessed images to it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.images import RGB8
from vgg_widget.network.backend import keras_and_tensorflow

Floats = npt.NDArray[np.float32]

# Weights of red, green and blue in the luma (ITU-R BT.601), as in Pillow's mode "L".
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """Shape of a network's input, by default (batch, height, width, channels)."""

    channels: int = 3
    # (batch, channels, height, width).
    channels_first: bool = False
    # (batch, height, width): grey without a channel axis.
    flat: bool = False
    # Height and width, if only one size is accepted.
    fixed_size: tuple[int, int] | None = None
    # The smallest side of an image in pixels.
    minimum_side: int = 1

    def shape(self, count: int | None, height: int | None, width: int | None) -> tuple[Any, ...]:
        """Return the input's shape for `count` images of this size."""
        if self.flat:
            return count, height, width
        if self.channels_first:
            return count, self.channels, height, width
        return count, height, width, self.channels

    def size_of(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return (height, width) of an input of that shape."""
        height, width = shape[2:] if self.channels_first else shape[1:3]
        return height, width

    def fit(self, given: Any, images: RGB8) -> Floats:
        """Convert a preprocessing function's result for `images` to the network's shape.

        The result may have the network's own layout, or be channels last. If the network takes one
        channel, three are converted to their luma. Raises ValueError for another shape or for
        non-numeric results.
        """
        count, height, width = images.shape[:3]
        wanted = self.shape(count, height, width)
        try:
            array = np.asarray(given)
        except (TypeError, ValueError, RuntimeError):
            # Ragged lists, and tensors on a GPU or in a gradient graph, end here.
            array = np.empty((), object)
        # TensorFlow's bfloat16 has its own kind.
        if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
            raise ValueError(
                f"preprocess returned a {type(given).__name__}, not an array of real numbers: "
                f"return floats of shape {wanted}."
            )
        array = array.astype(np.float32, copy=False)
        if array.shape == wanted:
            return array
        last = (count, height, width)
        if array.shape == (*last, 3) and self.channels == 1:
            array = array @ _LUMA[:, None]
        if array.shape == last and self.channels == 1:
            array = array[..., None]
        if array.shape != (*last, self.channels):
            raise ValueError(
                f"preprocess returned an array of shape {array.shape} for {count} RGB images of "
                f"{height}×{width} pixels: return an array of shape {wanted}."
            )
        if self.flat:
            return np.ascontiguousarray(array[..., 0])
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if self.channels_first else array

    def as_maps(self, inputs: Floats) -> Floats:
        """Return the result of `fit` with shape (N, H, W, channels)."""
        if self.flat:
            return inputs[..., np.newaxis]
        return np.moveaxis(inputs, 1, -1) if self.channels_first else inputs


def with_channels_last(preprocess: Callable[..., Any]) -> Callable[[Floats], Any]:
    """Return a preprocessing function that treats its input as channels last.

    Keras's functions take the layout as ``data_format``, and None means a global setting: with
    channels first they would silently treat rows of pixels as colours.
    """
    try:
        parameter = inspect.signature(preprocess).parameters.get("data_format")
    except (TypeError, ValueError):
        # Some functions in C have no signature.
        parameter = None
    if parameter is None or parameter.default is not None:
        return preprocess
    return functools.partial(preprocess, data_format="channels_last")


def traced_for(run: Callable[[Any], Any], taken: NetworkInput) -> Any:
    """Return a ``tf.function`` of a network's input, traced once, or once per size."""
    _, tf = keras_and_tensorflow()
    sides = taken.fixed_size or (None, None)
    return traced_once(run, tf.TensorSpec(taken.shape(None, *sides), tf.float32))


def traced_once(run: Callable[..., Any], *taken: Any) -> Any:
    """Return a ``tf.function`` of tensors like `taken`, traced once, or once per size."""
    _, tf = keras_and_tensorflow()

    def traced(signature: Any) -> Any:
        # Autograph would rewrite plain Python code and leave temporary files.
        compiled = tf.function(run, input_signature=signature, autograph=False)
        # TensorFlow would warn about repeated tracing, since it mistakes several extractors'
        # networks, or several image sizes, for one function.
        compiled._omit_frequent_tracing_warning = True  # noqa: SLF001 - there is no public switch
        return compiled

    compiled = traced(taken)
    try:
        compiled.get_concrete_function()
    except Exception:
        # Some layers, such as bilinear UpSampling2D, need the size, so trace once per size.
        compiled = traced(None)
    return compiled

"""What a network takes: preprocessed images are brought to its shape, or refused in a sentence."""

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

# Red, green and blue by how bright they look (ITU-R BT.601), as Pillow's "L" has it.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """Shape of a network's input: (batch, height, width, channels) unless said otherwise."""

    channels: int = 3
    # (batch, channels, height, width).
    channels_first: bool = False
    # (batch, height, width): grey without an axis for channels.
    flat: bool = False
    # Height and width, where only one is accepted.
    fixed_size: tuple[int, int] | None = None
    # The fewest pixels that a side of an image may have.
    minimum_side: int = 1

    def shape(self, count: int | None, height: int | None, width: int | None) -> tuple[Any, ...]:
        """Return the input's shape for so many images of this size."""
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
        """Bring what a preprocessing function made of `images` to the network's shape.

        It may be in the network's own shape, or channels last; where the network takes one channel,
        three are brought to their luma. ValueError tells of another shape, or of no numbers.
        """
        count, height, width = images.shape[:3]
        wanted = self.shape(count, height, width)
        try:
            array = np.asarray(given)
        except (TypeError, ValueError, RuntimeError):
            # Ragged lists, and tensors that are on a GPU or part of a graph.
            array = np.empty((), object)
        # TensorFlow's bfloat16 has a kind of its own.
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
                f"{height}×{width} pixels: return one of shape {wanted}."
            )
        if self.flat:
            return np.ascontiguousarray(array[..., 0])
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if self.channels_first else array

    def as_maps(self, inputs: Floats) -> Floats:
        """Return what `fit` made as maps of shape (N, H, W, channels)."""
        if self.flat:
            return inputs[..., np.newaxis]
        return np.moveaxis(inputs, 1, -1) if self.channels_first else inputs


def told_layout(preprocess: Callable[..., Any]) -> Callable[[Floats], Any]:
    """Return a preprocessing function that knows its input to be channels last.

    Keras's own take the layout as ``data_format=None``, which stands for a global setting: with
    channels first they would take rows of pixels for colours, and say nothing.
    """
    try:
        asked = inspect.signature(preprocess).parameters.get("data_format")
    except (TypeError, ValueError):
        # Some functions written in C have no signature.
        asked = None
    if asked is None or asked.default is not None:
        return preprocess
    return functools.partial(preprocess, data_format="channels_last")


def traced_for(run: Callable[[Any], Any], taken: NetworkInput) -> Any:
    """Return a ``tf.function`` of a network's input, traced once for all sizes, or once a size."""
    _, tf = keras_and_tensorflow()
    sides = taken.fixed_size or (None, None)
    return traced_once(run, tf.TensorSpec(taken.shape(None, *sides), tf.float32))


def traced_once(run: Callable[..., Any], *taken: Any) -> Any:
    """Return a ``tf.function`` of tensors like `taken`, traced once, or once for each size."""
    _, tf = keras_and_tensorflow()

    def traced(signature: Any) -> Any:
        # Autograph would rewrite plain Python, and leave temporary files.
        compiled = tf.function(run, input_signature=signature, autograph=False)
        # TensorFlow takes the networks of several extractors, or the sizes of several images, for
        # one function that is traced again and again, and would warn of it.
        compiled._omit_frequent_tracing_warning = True  # noqa: SLF001 - there is no public switch
        return compiled

    compiled = traced(taken)
    try:
        compiled.get_concrete_function()
    except Exception:
        # Some layers, such as bilinear UpSampling2D, must know the size: one trace a size.
        compiled = traced(None)
    return compiled

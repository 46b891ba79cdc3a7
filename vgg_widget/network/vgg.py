"""VGG networks, built from Keras layers.

TensorFlow takes seconds to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vgg_widget.images import MINIMUM_SIDE
from vgg_widget.layers import VGGS, LayerInfo, Vgg
from vgg_widget.network.backend import check_eager, keras_and_tensorflow
from vgg_widget.network.fan_in import FanIn, fan_in_of
from vgg_widget.network.keras_network import KerasNetwork
from vgg_widget.network.network_input import Floats, NetworkInput, traced_for
from vgg_widget.network.protocol import Preprocess
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights

_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess_caffe(images: Floats) -> Floats:
    """Convert RGB 0–255 to BGR minus the ImageNet mean, as Keras does, in a new array."""
    centred: Floats = images[..., ::-1] - _CAFFE_MEAN_BGR
    return centred


def preprocess_torch(images: Floats) -> Floats:
    """Convert RGB 0–255 to 0–1, normalised by mean and standard deviation, as torchvision does."""
    normalised: Floats = (images / np.float32(255) - _TORCH_MEAN) / _TORCH_STD
    return normalised


PREPROCESSING: dict[str, Preprocess] = {"caffe": preprocess_caffe, "torch": preprocess_torch}
"""Preprocessing functions, by their names in `ResolvedWeights`."""

_INPUT = NetworkInput(minimum_side=MINIMUM_SIDE)

WORTH_CUTTING = 4
"""The smallest stride, in pixels, at which computing only parts of maps saves time."""


@dataclass(frozen=True, eq=False)
class VggNetwork(KerasNetwork):
    """A built network, shared by all extractors with the same weights."""

    cuts: ClassVar[bool] = True

    vgg: Vgg
    model: Any
    forward: Callable[[Any], list[Any]] = field(repr=False)
    preprocess: Preprocess
    input: NetworkInput = _INPUT

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Names and geometry, in network order."""
        return self.vgg.layers

    @property
    def before_relu(self) -> tuple[str, ...]:
        """The layers whose maps are returned before their ReLU."""
        return tuple(info.name for info in self.vgg.convolutions)

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of a forward pass in bytes per image pixel."""
        # All maps in float32, and about as much again during the computation.
        return 8 * sum(info.channels // info.stride**2 or 1 for info in self.layers)

    def layers_on(self, _: tuple[int, int] | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry, which are the same for every size."""
        return self.layers

    def fan_in(self, name: str) -> FanIn:
        """Return the inputs and kernels of the channels of one of `layers`."""
        # Weights can be read in a forked process, too.
        check_eager()
        names = [info.name for info in self.layers]
        source = dict(zip(names[1:], names, strict=False)).get(name)
        found = fan_in_of(self.model.get_layer(name), name, source)
        assert found is not None
        return found

    def run_to(self, indices: Sequence[int]) -> Callable[..., list[tuple[Any, Any]]]:
        """Return a function for the maps of some of `layers`, before and after their ReLU.

        Later layers are not computed. The function is not compiled, so that it can be used inside
        another one. Its optional second argument is the part of each layer's map that is passed to
        the next layer: top, left, bottom and right, half open.
        """
        keras, tf = keras_and_tensorflow()
        chain = [
            (self.model.get_layer(info.name), info) for info in self.layers[: max(indices) + 1]
        ]

        def run(images: Any, parts: Any = None) -> list[tuple[Any, Any]]:
            found = list(_through(chain, images, keras, tf, parts))
            return [found[index] for index in indices]

        return run

    def run_to_end(
        self, index: int, *, rectified: bool
    ) -> tuple[Callable[[Any], tuple[Any, Any]], Callable[[Any], Any]]:
        """Return a function for the maps of one of `layers` and of the last pool, channels last."""
        run, last = self.run_to([index, len(self.layers) - 1]), int(rectified)

        def found(inputs: Any) -> tuple[Any, Any]:
            maps, end = run(inputs)
            return maps[last], end[last]

        return found, lambda maps: maps

    @property
    def end_shape(self) -> tuple[int | None, ...]:
        """The shape of the last pool, the input of a classifier outside TensorFlow."""
        return None, None, None, self.layers[-1].channels

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from `first` to `last`, or to the end.

        Each comes with two numbers (its layer's, and its own in the layer) and its values.
        """
        end = len(self.layers) if last is None else last + 1
        return [
            ((number, place), variable, np.asarray(variable))
            for number in range(first, end)
            for place, variable in enumerate(self.model.get_layer(self.layers[number].name).weights)
        ]

    def resolved(self, provenance: Provenance) -> ResolvedWeights:
        """Return the network's current weights and their preprocessing."""
        arrays = {
            info.name: tuple(self.model.get_layer(info.name).get_weights())
            for info in self.vgg.convolutions
        }
        (preprocessing,) = (
            name for name, function in PREPROCESSING.items() if function is self.preprocess
        )
        return ResolvedWeights(arrays, provenance, preprocessing)


def _through(
    chain: Sequence[tuple[Any, LayerInfo]], images: Any, keras: Any, tf: Any, parts: Any = None
) -> Iterator[tuple[Any, Any]]:
    """Yield the maps of each layer of a chain, before and after its ReLU, if any."""
    x = images
    for number, (layer, info) in enumerate(chain):
        if isinstance(layer, keras.layers.Conv2D):
            before = tf.nn.bias_add(layer.convolution_op(x, layer.kernel), layer.bias)
            x = layer.activation(before)
        else:
            before = x = layer(x)
        yield before, x
        # Earlier maps are large, and copying them would cost more than it saves.
        if parts is not None and info.stride >= WORTH_CUTTING:
            top, left, bottom, right = tf.unstack(parts[number])
            x = x[:, top:bottom, left:right]


def built_vgg(resolved: ResolvedWeights, keras: Any, tf: Any) -> VggNetwork:
    """Return a new network with these weights."""
    vgg = VGGS[resolved.provenance.network]
    # Zero initialisers avoid random numbers, whose global settings in Keras belong to the user.
    own = {"data_format": "channels_last", "dtype": "float32"}
    convolution = {"padding": "same", "activation": "relu", "kernel_initializer": "zeros", **own}
    chain = [
        keras.layers.MaxPooling2D(2, name=info.name, **own)
        if info.kind == "pool"
        else keras.layers.Conv2D(info.channels, 3, name=info.name, **convolution)
        for info in vgg.layers
    ]
    x = pixels = keras.Input((None, None, 3), dtype="float32")
    model = keras.Model(pixels, [x := layer(x) for layer in chain], name=f"{vgg.name}_layers")
    model.dtype_policy = "float32"
    for name, (kernel, bias) in resolved.arrays.items():
        model.get_layer(name).set_weights([kernel, bias])

    both = list(zip(chain, vgg.layers, strict=True))

    def forward(images: Any) -> list[Any]:
        # Maps before the ReLU are kept, since those after it can be computed from them.
        return [before for before, _ in _through(both, images, keras, tf)]

    compiled = traced_for(forward, _INPUT)
    # A network that cannot run fails here, before it is cached.
    compiled(np.zeros((1, MINIMUM_SIDE, MINIMUM_SIDE, 3), np.float32))
    return VggNetwork(vgg, model, compiled, PREPROCESSING[resolved.preprocessing])

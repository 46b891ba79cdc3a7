"""The VGG family as it is computed here: Keras's layers with weights, built once and shared.

TensorFlow takes seconds to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.images import MINIMUM_SIDE
from vgg_widget.layers import VGGS, LayerInfo, Vgg
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.fan_in import FanIn, fan_in_of
from vgg_widget.network.network_input import Floats, NetworkInput, traced_for
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights, find_contours, imagenet, resolve
from vgg_widget.weights.remote import ADDRESS_VARIABLE, failed_downloads

Preprocess = Callable[[Floats], Any]

_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess_caffe(images: Floats) -> Floats:
    """RGB 0–255 → blue, green, red minus the ImageNet mean, as Keras has it, in a new array."""
    centred: Floats = images[..., ::-1] - _CAFFE_MEAN_BGR
    return centred


def preprocess_torch(images: Floats) -> Floats:
    """RGB 0–255 → 0–1, minus the mean, over the standard deviation (torchvision's transforms)."""
    normalised: Floats = (images / np.float32(255) - _TORCH_MEAN) / _TORCH_STD
    return normalised


_PREPROCESSING: dict[str, Preprocess] = {"caffe": preprocess_caffe, "torch": preprocess_torch}

_INPUT = NetworkInput(minimum_side=MINIMUM_SIDE)

WORTH_CUTTING = 4
"""The stride, in pixels, from which on it saves time to compute parts of maps."""


@dataclass(frozen=True, eq=False)
class VggNetwork:
    """A built network, shared by all extractors with the same weights."""

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
        """The layers whose maps are given before their ReLU."""
        return tuple(info.name for info in self.vgg.convolutions)

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of one forward pass, by pixel of the image."""
        # All maps in float32, and about as much again while they are computed.
        return 8 * sum(info.channels // info.stride**2 or 1 for info in self.layers)

    def layers_on(self, _: tuple[int, int] | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry, which are the same for every size."""
        return self.layers

    def fan_in(self, name: str) -> FanIn:
        """Return what the channels of one of `layers` are made of."""
        names = [info.name for info in self.layers]
        source = dict(zip(names[1:], names, strict=False)).get(name)
        found = fan_in_of(self.model.get_layer(name), name, source)
        assert found is not None
        return found

    def run_to(self, indices: Sequence[int]) -> Callable[..., list[tuple[Any, Any]]]:
        """Return what computes some of `layers`, before and after their ReLU, and nothing later.

        It is not compiled, for who takes it into a function of their own. Its second argument, if
        there is one, says for each layer in turn which part of its map the next one is given: top,
        left, bottom and right, half open.
        """
        keras, tf = keras_and_tensorflow()
        chain = [
            (self.model.get_layer(info.name), info) for info in self.layers[: max(indices) + 1]
        ]

        def run(images: Any, parts: Any = None) -> list[tuple[Any, Any]]:
            found = list(_through(chain, images, keras, tf, parts))
            return [found[index] for index in indices]

        return run

    def variables(self, first: int, last: int | None) -> list[tuple[tuple[int, int], Any]]:
        """Return the weights from one of `layers` to another, or to the end.

        Each comes with two numbers: its layer's, and its own there.
        """
        end = len(self.layers) if last is None else last + 1
        return [
            ((number, place), variable)
            for number in range(first, end)
            for place, variable in enumerate(self.model.get_layer(self.layers[number].name).weights)
        ]

    def resolved(self, provenance: Provenance) -> ResolvedWeights:
        """Return the numbers that the network has now, and what they expect of the input."""
        arrays = {
            info.name: tuple(self.model.get_layer(info.name).get_weights())
            for info in self.vgg.convolutions
        }
        (preprocessing,) = (
            name for name, function in _PREPROCESSING.items() if function is self.preprocess
        )
        return ResolvedWeights(arrays, provenance, preprocessing)


# Weights come in 80 MB: two networks are kept, so that going back and forth between trained and
# untrained weights, or re-running a cell, builds nothing anew.
_KEPT = 2
_networks: OrderedDict[object, tuple[VggNetwork, Provenance]] = OrderedDict()
_networks_lock = threading.RLock()


def shared_vgg(
    network: str, weights: str | os.PathLike[str] | Mapping[str, Any] | ResolvedWeights
) -> tuple[VggNetwork, Provenance]:
    """Return the network with these weights, built if need be, and where they came from."""
    # Which a state dict is cannot be told without reading it.
    source = resolve(weights, network) if isinstance(weights, Mapping | list | tuple) else weights
    with _networks_lock:
        key = network, weights_identity(network, source)
        if key not in _networks:
            made = _made(network, source)
            # A download has changed what the name stands for.
            key = network, weights_identity(network, source)
            _networks[key] = made
            while len({id(network) for network, _ in _networks.values()}) > _KEPT:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        return _networks[key]


def _made(
    network: str, source: str | os.PathLike[str] | ResolvedWeights
) -> tuple[VggNetwork, Provenance]:
    # The numbers have no name here, only in a function that imports nothing. TensorFlow's import
    # leaves errors behind that hold every frame it was called from, and with a name there 80 MB,
    # until Python collects garbage.
    return _with_weights(
        source if isinstance(source, ResolvedWeights) else resolve(source, network),
        *keras_and_tensorflow(),
    )


def _with_weights(resolved: ResolvedWeights, keras: Any, tf: Any) -> tuple[VggNetwork, Provenance]:
    preprocess = _PREPROCESSING[resolved.preprocessing]
    for network, known in _networks.values():
        if known.digest == resolved.provenance.digest and network.preprocess is preprocess:
            return network, resolved.provenance
    return _built(resolved, keras, tf), resolved.provenance


def weights_identity(network: str, weights: object) -> object:
    """Say what a weights argument stands for now, so that a changed file is another network."""
    if isinstance(weights, str) and weights in ("auto", "imagenet"):
        files = tuple(_stamp(path) for path in imagenet.IMAGENET[network].locations())
        # What could not be fetched is tried again elsewhere, or when the failure is forgotten; and
        # what takes its place may be installed meanwhile.
        settings = os.environ.get(ADDRESS_VARIABLE), find_contours()
        return weights, files, settings, bool(failed_downloads)
    if isinstance(weights, ResolvedWeights):
        return weights.provenance, weights.preprocessing
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # Not ours to judge: `resolve` says what is wrong with it.
        return repr(weights)
    path = Path(os.path.expanduser(weights))  # noqa: PTH111 - Path's own can raise.
    return (str(path.absolute()), _stamp(path)) if os.path.isfile(path) else weights  # noqa: PTH113 - Path's own can raise.


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _through(
    chain: Sequence[tuple[Any, LayerInfo]], images: Any, keras: Any, tf: Any, parts: Any = None
) -> Iterator[tuple[Any, Any]]:
    """Give the maps of each layer of a chain, before and after its ReLU where it has one."""
    x = images
    for number, (layer, info) in enumerate(chain):
        if isinstance(layer, keras.layers.Conv2D):
            before = tf.nn.bias_add(layer.convolution_op(x, layer.kernel), layer.bias)
            x = layer.activation(before)
        else:
            before = x = layer(x)
        yield before, x
        # What lies before is large, and a copy of it would cost more than it saves.
        if parts is not None and info.stride >= WORTH_CUTTING:
            top, left, bottom, right = tf.unstack(parts[number])
            x = x[:, top:bottom, left:right]


def _built(resolved: ResolvedWeights, keras: Any, tf: Any) -> VggNetwork:
    vgg = VGGS[resolved.provenance.network]
    # Keras's own would first be filled with random numbers, and its global settings of these
    # belong to the user.
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
        # Before ReLU is kept, since after ReLU follows from it and not the other way round.
        return [before for before, _ in _through(both, images, keras, tf)]

    compiled = traced_for(forward, _INPUT)
    # One that cannot run fails here, before it is kept.
    compiled(np.zeros((1, MINIMUM_SIDE, MINIMUM_SIDE, 3), np.float32))
    return VggNetwork(vgg, model, compiled, _PREPROCESSING[resolved.preprocessing])

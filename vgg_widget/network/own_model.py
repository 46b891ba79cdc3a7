"""A model of somebody's own, as a network with one output a layer."""

from __future__ import annotations

import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import Axis, LayerInfo
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.fan_in import FanIn, fan_in_of_call
from vgg_widget.network.graph import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    FLAT,
    Call,
    channels_of,
    graph_of,
    kind_of,
    layouts,
    open_calls,
    scope_name,
)
from vgg_widget.network.keras_network import KerasNetwork
from vgg_widget.network.network_input import Floats, NetworkInput, traced_for
from vgg_widget.network.protocol import Size
from vgg_widget.network.receptive_fields import Reaches, Sizes, reaches_of
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.keras_file import Step, scales_before_weights

# Where geometry and memory are measured when a model accepts any size.
_PROBE_SIDE = 224


def unchanged(images: Floats) -> Floats:
    """Change nothing: what a model wants, only its owner knows."""
    return images


@dataclass(frozen=True, eq=False)
class _Shown:
    """One result of a call that has feature maps."""

    tensor: Any
    call: Call
    name: str
    group: str
    kind: str
    layout: str

    @property
    def channels(self) -> int:
        return channels_of(self.tensor, self.layout)


@dataclass(frozen=True, eq=False)
class OwnNetwork(KerasNetwork):
    """A built model with one output a layer; shared by all extractors of the same model.

    It holds the model's layers and not the model, which is freed with its last other owner.
    """

    model: Any
    # From the network's input to all maps, float32 and channels last.
    forward: Callable[[Any], list[Any]] = field(repr=False)
    name: str
    input: NetworkInput
    # Whether it changes the pixels' values before its first layers with weights.
    scales: bool
    calls: Sequence[Call] = field(repr=False)
    # Of every tensor that has rows and columns, by its ``id``.
    layouts: Mapping[int, str] = field(repr=False)
    shown: Sequence[_Shown] = field(repr=False)
    # The outputs of the model when this was built; a model that has changed has others.
    made_from: tuple[Any, ...] = field(repr=False)
    # The same, as `calls` give them.
    outputs: tuple[Any, ...] = field(repr=False)
    before_relu: tuple[str, ...] = ()
    # The fewest pixels that a side may have after resizing, where Keras's own error is of a kernel.
    smallest: int = 1
    # From RGB 0–255 to what it takes.
    preprocess: Callable[[Floats], Any] = field(repr=False, default=unchanged)

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width); by default of 224 a side."""
        # Streams ask on the threads that read their images.
        with _lock:
            return self._measured(self.input.fixed_size or size or (_PROBE_SIDE, _PROBE_SIDE))

    def fan_in(self, name: str) -> FanIn:
        """Return what the channels of one of `shown` are made of."""
        one = next(one for one in self.shown if one.name == name)
        (pixels,) = self.model.inputs
        known: dict[int, str | None] = {id(one.tensor): one.name for one in self.shown}
        if len(pixels.shape) == 4:
            known[id(pixels)] = None
        return fan_in_of_call(one.call, name, known)

    def run_to(self, indices: Sequence[int]) -> Callable[[Any], list[tuple[Any, Any]]]:
        """Return what computes some of `shown`, twice each, and nothing that they do not need.

        It is not compiled, for who takes it into a function of their own.
        """
        _, tf = keras_and_tensorflow()
        model = self._up_to([self.shown[index].tensor for index in indices])
        layouts = [self.shown[index].layout for index in indices]

        def run(images: Any) -> list[tuple[Any, Any]]:
            made = model(images, training=False)
            made = made if isinstance(made, list | tuple) else [made]
            maps = [_as_maps(*one, tf) for one in zip(made, layouts, strict=True)]
            return list(zip(maps, maps, strict=True))

        return run

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from one of `shown` to another, or to the end.

        Each comes once, with two numbers, its layer's and its own there, and with its values.
        """
        begin = self.calls.index(self.shown[first].call)
        end = len(self.calls) if last is None else self.calls.index(self.shown[last].call) + 1
        found: dict[int, tuple[tuple[int, int], Any, npt.NDArray[Any]]] = {}
        for number in range(begin, end):
            for place, variable in enumerate(self.calls[number].layer.weights):
                values = np.asarray(variable)
                found.setdefault(id(variable), ((number, place), variable, values))
        return list(found.values())

    def run_to_end(
        self,
        index: int,
        *,
        rectified: bool,  # noqa: ARG002 - as a VGG has it; these maps are given once
    ) -> tuple[Callable[[Any], tuple[Any, Any]], Callable[[Any], Any]]:
        """Return what computes one of `shown`, and the score of each class, shape (N, classes).

        Scores are those before a softmax or a sigmoid. The maps are as the model has them, since
        there is no gradient with respect to a copy; the second function makes float32 of them,
        channels last.
        """
        if len(self.outputs) != 1 or len(self.outputs[0].shape) != 2:
            shapes = " and ".join(str(tuple(end.shape[1:])) for end in self.outputs)
            raise ValueError(
                f"method 'grad_cam' needs a classifier, and model {self.name!r} ends in {shapes}: "
                "pass a model that ends in one vector of classes, or another method and a channel."
            )
        _, tf = keras_and_tensorflow()
        tensor, dense = _before_softmax(self.outputs[0], self.calls)
        model, layout = self._up_to([self.shown[index].tensor, tensor]), self.shown[index].layout

        def run(images: Any) -> tuple[Any, Any]:
            maps, scores = model(images, training=False)
            scores = tf.cast(scores, tf.float32)
            if dense is not None:
                scores = scores @ tf.cast(tf.convert_to_tensor(dense.kernel), tf.float32)
                if dense.bias is not None:
                    scores += tf.cast(tf.convert_to_tensor(dense.bias), tf.float32)
            return maps, scores

        return run, lambda maps: _as_maps(maps, layout, tf)

    @property
    def end_shape(self) -> tuple[int | None, ...]:
        """The shape of the scores."""
        return tuple(self.outputs[0].shape)

    def _up_to(self, tensors: list[Any]) -> Any:
        keras, _ = keras_and_tensorflow()
        (pixels,) = self.model.inputs
        part = keras.Model(pixels, tensors, name=scope_name(f"{self.name}_part"))
        part.dtype_policy = self.model.dtype_policy
        return part

    @cached_property
    def bytes_a_pixel(self) -> int:
        """Memory of one forward pass, by pixel of the image."""
        size = self.input.fixed_size or (_PROBE_SIDE, _PROBE_SIDE)
        sizes = zip(self.shown, self._sizes(size), strict=True)
        values = sum(units["H"] * units["W"] * one.channels for one, units in sizes)
        # All maps in float32, and about as much again while they are computed; of coarse maps that
        # is less than a byte.
        return max(1, 8 * values // (size[0] * size[1]))

    def provenance(self, *, own_preprocess: bool) -> Provenance:
        """Say whose weights these are, and what the model was fed where that is open to doubt."""
        label = f"model {self.name!r}"
        if own_preprocess:
            return Provenance("model", label, network="")
        if self.input.channels == 1:
            label += " on grey (the picture's luma)"
        message = ""
        if not self.scales:
            message = (
                f"Values 0–255: model {self.name!r} has no Rescaling, Normalization or arithmetic "
                "before its first weights and was given pixels as they are; if it was trained on "
                "others, pass its preprocess=, for instance lambda images: images / 255."
            )
        return Provenance("model", label, message=message, network="")

    def _sizes(self, size: Size) -> list[Sizes]:
        """Return rows and columns of every map, on an image of this size."""
        if min(size) < self.smallest:
            raise ValueError(
                f"size {size[0]}×{size[1]} pixels is too small for {self.name!r}, which takes "
                f"pictures of at least {self.smallest} a side: give a larger one, such as size=224."
            )
        # In a forked process this raises, where Keras might wait for ever.
        keras_and_tensorflow()
        shape = self.input.shape(self.model.inputs[0].shape[0] or 1, *size)
        try:
            made = self.model.compute_output_shape(shape)
        except Exception as error:
            # Whatever a layer says about sizes that do not suit it.
            raise failure(self.name, size, error) from error
        made = made if isinstance(made, list) else [made]
        # What some layer of a person's own does not tell is taken to be the image's.
        usual = dict(zip("HW", size, strict=True))
        return [
            {axis: shape[one.layout.index(axis)] or usual[axis] for axis in "HW"}
            for shape, one in zip(made, self.shown, strict=True)
        ]

    @cached_property
    def _measured(self) -> Callable[[Size], tuple[LayerInfo, ...]]:
        # Images of one folder come in a few sizes.
        return lru_cache(maxsize=16)(self._measure)

    def _measure(self, size: Size) -> tuple[LayerInfo, ...]:
        (pixels,) = self.model.inputs
        units = self._sizes(size)
        sizes: dict[int, Sizes] = {id(pixels): dict(zip("HW", size, strict=True))}
        sizes |= {id(one.tensor): each for one, each in zip(self.shown, units, strict=True)}
        reaches = reaches_of(self.calls, self.layouts, pixels, sizes)
        return tuple(
            layer_info(
                (one.name, one.kind, one.channels, one.group),
                reaches.get(id(one.tensor)),
                each,
                size,
            )
            for one, each in zip(self.shown, units, strict=True)
        )


def layer_info(
    told: tuple[str, str, int, str], reaches: Reaches | None, units: Sizes, size: Size
) -> LayerInfo:
    """Return a layer's geometry on an image of a size; told are name, kind, channels and group."""
    name, kind, channels, group = told
    if reaches is None:
        # Nobody knows where such a map lies: over the whole image.
        down, across = (
            Axis(pixels / max(1, units[axis]), -0.5)
            for axis, pixels in zip("HW", size, strict=True)
        )
    else:
        down, across = (
            Axis(one.stride, one.edge, one.size, one.center, one.spans, one.whole)
            for one in (reaches["H"], reaches["W"])
        )
    return LayerInfo(
        name,
        None,
        kind,
        channels,
        max(1, round(down.stride)),
        down.receptive_field,
        down.center,
        group,
        (down, across),
        size,
    )


# Models that were given before, for as long as somebody else has them.
_networks: weakref.WeakKeyDictionary[Any, OwnNetwork] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def own_network(model: Any, *, own_preprocess: bool) -> OwnNetwork:
    """Return the network of a Keras model, the same for the same model, or refuse the model."""
    graph = _checked_graph(model)
    with _lock:
        network = _networks.get(model)
        if network is None or any(
            new is not old for new, old in zip_longest(graph.outputs, network.made_from)
        ):
            _networks[model] = network = _build(graph, str(model.name))
    if network.input.channels not in (1, 3) and not own_preprocess:
        raise ValueError(
            f"model {network.name!r} takes {network.input.channels} channels, not the 3 of RGB: "
            "pass preprocess=, a function from RGB 0–255 to them."
        )
    return network


def _checked_graph(model: Any) -> Any:
    """Return a model's graph, or say why it has none and what would do."""
    if (graph := graph_of(model)) is not None:
        return graph
    keras, _ = keras_and_tensorflow()
    if isinstance(model, keras.Sequential):
        told = (
            "that has no inputs yet: begin it with keras.Input((height, width, 3)), or call it on "
            "an image once"
        )
    elif isinstance(model, keras.Model):
        told = (
            "with a call of its own, in which Keras cannot see the layers: wrap it, as in "
            "inputs = keras.Input((224, 224, 3)); model = keras.Model(inputs, model.call(inputs))"
        )
    else:
        told = (
            "and no model of Keras 3 or PyTorch: load a file with keras.models.load_model, or pass "
            "the file or state dict of a VGG19 as weights"
        )
    raise ValueError(f"model is a {type(model).__name__} {told}.")


def _checked_input(pixels: Any, name: str, layout: str) -> NetworkInput:
    shape = tuple(pixels.shape)[1:]
    sides = {"C": 1, **dict(zip(layout[1:], shape, strict=False))}
    if not layout or not sides["C"]:
        raise ValueError(
            f"model {name!r} takes inputs of shape {shape}, which are no pictures: pass one that "
            "takes (height, width, channels)."
        )
    height, width = sides["H"], sides["W"]
    if (height is None) != (width is None):
        raise ValueError(
            f"model {name!r} takes inputs of shape {shape}, with one side fixed: give its Input "
            "both sides or neither."
        )
    fixed = None if height is None or width is None else (int(height), int(width))
    return NetworkInput(int(sides["C"]), layout == CHANNELS_FIRST, layout == FLAT, fixed)


def _build(graph: Any, name: str) -> OwnNetwork:
    keras, _ = keras_and_tensorflow()
    if len(graph.inputs) != 1:
        raise ValueError(
            f"model {name!r} has {len(graph.inputs)} inputs: pass one with a single image input."
        )
    # Not in a list, or older releases of Keras warn of a picture that comes in none.
    (pixels,) = graph.inputs
    calls, ends = open_calls(graph)
    known = layouts(calls, pixels)
    taken = _checked_input(pixels, name, known.get(id(pixels), ""))
    shown = _with_maps(calls, known)
    if not shown:
        raise ValueError(
            f"model {name!r} has no layers with 4-D outputs (batch, height, width, channels): "
            "pass one with convolutions, before they are flattened."
        )
    outputs = keras.Model(pixels, [one.tensor for one in shown], name=scope_name(f"{name}_layers"))
    outputs.dtype_policy = graph.dtype_policy
    forward = _traced(outputs, name, taken, [one.layout for one in shown])
    scales = scales_before_weights(map(_step, calls))
    made_from = tuple(graph.outputs)
    return OwnNetwork(
        outputs, forward, name, taken, scales, calls, known, shown, made_from, tuple(ends)
    )


_SQUASHED = ("softmax", "sigmoid", "log_softmax")


def _before_softmax(tensor: Any, calls: Sequence[Call]) -> tuple[Any, Any]:
    """Return the tensor that holds a classifier's scores, or what a dense layer makes them of."""
    made_by = {id(result): call for call in calls for result in call.results}
    while (call := made_by.get(id(tensor))) is not None:
        kind = kind_of(call.layer)
        activation = getattr(getattr(call.layer, "activation", None), "__name__", "")
        if kind in ("Softmax", "ops.Softmax", "ops.LogSoftmax", "ops.Sigmoid") or (
            kind == "Activation" and activation in (*_SQUASHED, "linear")
        ):
            (tensor,) = call.sources
        elif kind == "Dense" and activation in _SQUASHED and not call.layer.quantization_mode:
            return call.sources[0], call.layer
        else:
            break
    return tensor, None


def _step(call: Call) -> Step:
    kinds = [kind_of(each) for each in (call.layer, *getattr(call.layer, "layers", ()))]
    # Normalization keeps what it has adapted to as weights.
    weighted = bool(getattr(call.layer, "weights", ())) and kinds[0] != "Normalization"
    return kinds, weighted


def _with_maps(calls: Sequence[Call], layouts: Mapping[int, str]) -> list[_Shown]:
    """Choose the 4-D results, and name and group them."""
    found: list[tuple[Any, Call, str]] = []
    named: list[Named] = []
    for call in calls:
        for index, tensor in enumerate(call.results):
            layout = layouts.get(id(tensor), "")
            if len(layout) == 4 and tensor.shape[layout.index("C")] is not None:
                name = call.name if len(call.results) == 1 else f"{call.name}[{index}]"
                leads = hasattr(call.layer, "kernel")
                named.append(Named(call.path, name, type(call.layer).__name__, leads))
                found.append((tensor, call, layout))
    return [
        _Shown(
            tensor,
            call,
            "/".join(filter(None, one[:2])),
            group,
            kind_of_class(one.class_name),
            layout,
        )
        for (tensor, call, layout), one, group in zip(found, named, groups(named), strict=True)
    ]


def kind_of_class(class_name: str) -> str:
    """Return a layer's kind by the name of its class: conv, pool, relu, or the name."""
    name = class_name.lower()
    return next((kind for kind in ("conv", "pool", "relu") if kind in name), name)


# Groups ------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """A call of a layer within the nested models of a path, as far as its group depends on it."""

    path: str
    name: str
    class_name: str
    # Whether it is a convolution or the like, which others are attached to.
    leads: bool


# Up to the last word for a part with its number: conv2_block1 of conv2_block1_1_conv, block_3 of
# block_3_expand, …stage_0_block_0 of ConvNeXt's. Else up to a number: conv_dw_1 of conv_dw_1_bn.
# Else the first word.
_PART = re.compile(
    r".*(?:block|stage|layer|cell|unit|module|group|level|expanded_conv)_?\d+[a-z]?(?=_|$)"
    r"|.*?_\d+(?=_|$)|[^_]*"
)


def groups(layers: Sequence[Named]) -> list[str]:
    """Return the group of each layer, in network order.

    It is the part of the name that it shares with other layers, such as ``"conv2_block1"``, after
    the nested model's name where there is one; the nested model's alone where nothing is shared;
    the layer's own name where it stands alone. A normalisation, activation or pool without a name
    of its own belongs to what came before.
    """
    parts = [_part(layer) for layer in layers]
    members = Counter((layer.path, part) for layer, part in zip(layers, parts, strict=True))
    parts_of = Counter(path for path, part in members if part)
    found: list[str] = []
    for index, (layer, part) in enumerate(zip(layers, parts, strict=True)):
        follows = index > 0 and layers[index - 1].path == layer.path
        shared = members[layer.path, part] > 1 and (not layer.path or parts_of[layer.path] > 1)
        if part and shared:
            found.append(f"{layer.path}/{part}" if layer.path else part)
        elif not part and not layer.leads and follows:
            found.append(found[-1])
        else:
            found.append(layer.path or layer.name)
    return found


def _part(layer: Named) -> str:
    """Return what a layer's name may share with others; "" where Keras made it of the class."""
    stem = re.sub(r"(_\d+)?(#\d+)?(\[\d+\])?$", "", layer.name)
    if stem.replace("_", "") == layer.class_name.lower():
        return ""
    found = _PART.match(layer.name)
    return (found and found[0]) or layer.name


# The forward pass --------------------------------------------------------------------------------


def _as_maps(maps: Any, layout: str, tf: Any) -> Any:
    return tf.cast(tf.transpose(maps, [*map(layout.index, CHANNELS_LAST)]), tf.float32)


def _traced(
    outputs: Any, name: str, taken: NetworkInput, layouts: Sequence[str]
) -> Callable[[Any], list[Any]]:
    """Compile one forward pass that gives every map as float32, channels last."""
    _, tf = keras_and_tensorflow()

    def run(images: Any) -> list[Any]:
        made = outputs(images, training=False)
        made = made if isinstance(made, list | tuple) else [made]
        return [_as_maps(one, layout, tf) for one, layout in zip(made, layouts, strict=True)]

    compiled = traced_for(run, taken)

    def forward(images: Any) -> list[Any]:
        try:
            return list(compiled(images))
        except Exception as error:
            # Whatever a layer, or TensorFlow on this machine, has against it.
            raise failure(name, taken.size_of(images.shape), error) from error

    return forward


def failure(name: str, size: Size, error: Exception) -> ValueError:
    """Say that a model failed, and in TensorFlow's words why."""
    return ValueError(
        f"model {name!r} failed on an image of {size[0]}×{size[1]} pixels ({_reason(error)}): try "
        "another size that it can take, such as size=(224, 224), or call the model itself on such "
        "an image and mend the layer that fails there."
    )


# What Keras and TensorFlow write around the sentence that matters.
_AROUND = re.compile(
    r"Graph execution error|Detected at|File |\[\[|Exception encountered|Arguments received|•"
)


def _reason(error: Exception) -> str:
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    telling = [line.strip() for line in lines if line.strip() and not _AROUND.match(line.strip())]
    return telling[0].rstrip(".")[:250] if telling else type(error).__name__

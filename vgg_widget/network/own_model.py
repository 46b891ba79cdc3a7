"""Users' Keras models, as networks with one output per layer."""

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
from vgg_widget.network.backend import check_eager, keras_and_tensorflow
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

# The side at which geometry and memory are measured if a model accepts any size.
_PROBE_SIDE = 224


def unchanged(images: Floats) -> Floats:
    """Return images unchanged, since a user's model's preprocessing is unknown."""
    return images


@dataclass(frozen=True, eq=False)
class _Shown:
    """A result of a layer's call with feature maps."""

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
    """A built model with one output per layer, shared by all extractors of the same model.

    It refers to the model's layers but not to the model, which is freed with its last other
    reference.
    """

    model: Any
    # From the network's input to all maps, float32 and channels last.
    forward: Callable[[Any], list[Any]] = field(repr=False)
    name: str
    input: NetworkInput
    # Whether the model changes pixel values before its first layers with weights.
    scales: bool
    calls: Sequence[Call] = field(repr=False)
    # Layouts of every tensor with rows and columns, by its ``id``.
    layouts: Mapping[int, str] = field(repr=False)
    shown: Sequence[_Shown] = field(repr=False)
    # The model's outputs when this was built, to detect a changed model.
    made_from: tuple[Any, ...] = field(repr=False)
    # The corresponding outputs of `calls`.
    outputs: tuple[Any, ...] = field(repr=False)
    before_relu: tuple[str, ...] = ()
    # Smallest side in pixels after resizing. Keras's own error names only a kernel.
    smallest: int = 1
    # Function from RGB 0–255 to the network's input.
    preprocess: Callable[[Floats], Any] = field(repr=False, default=unchanged)

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width), by default 224 on a side."""
        # Streams call this on the threads that read images.
        with _lock:
            return self._measured(self.input.fixed_size or size or (_PROBE_SIDE, _PROBE_SIDE))

    def fan_in(self, name: str) -> FanIn:
        """Return the inputs and kernels of the channels of one of `shown`."""
        # Weights can be read in a forked process, too.
        check_eager()
        one = next(one for one in self.shown if one.name == name)
        (pixels,) = self.model.inputs
        known: dict[int, str | None] = {id(one.tensor): one.name for one in self.shown}
        if len(pixels.shape) == 4:
            known[id(pixels)] = None
        return fan_in_of_call(one.call, name, known)

    def run_to(self, indices: Sequence[int]) -> Callable[[Any], list[tuple[Any, Any]]]:
        """Return a function for the maps of some of `shown`, each returned twice.

        Only required layers are computed. The function is not compiled, so that it can be used
        inside another one.
        """
        _, tf = keras_and_tensorflow()
        model = self._submodel([self.shown[index].tensor for index in indices])
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
        """Return the weights of the layers from `first` to `last` of `shown`, or to the end.

        Each variable appears once, with two numbers (its layer's, and its own in the layer) and its
        values.
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
        """Return a function for the maps of one of `shown` and the class scores, (N, classes).

        Scores are taken before a softmax or sigmoid. Maps are the model's own tensors, since there
        is no gradient with respect to a copy; the second function converts them to float32,
        channels last.
        """
        if len(self.outputs) != 1 or len(self.outputs[0].shape) != 2:
            shapes = " and ".join(str(tuple(end.shape[1:])) for end in self.outputs)
            raise ValueError(
                f"method 'grad_cam' needs a classifier, but model {self.name!r} ends in {shapes}: "
                "pass a model that ends in one vector of classes, or another method and a channel."
            )
        _, tf = keras_and_tensorflow()
        tensor, dense = _before_softmax(self.outputs[0], self.calls)
        model, layout = self._submodel([self.shown[index].tensor, tensor]), self.shown[index].layout

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

    def _submodel(self, tensors: list[Any]) -> Any:
        keras, _ = keras_and_tensorflow()
        (pixels,) = self.model.inputs
        part = keras.Model(pixels, tensors, name=scope_name(f"{self.name}_part"))
        part.dtype_policy = self.model.dtype_policy
        return part

    @cached_property
    def bytes_a_pixel(self) -> int:
        """Memory of a forward pass in bytes per image pixel."""
        size = self.input.fixed_size or (_PROBE_SIDE, _PROBE_SIDE)
        sizes = zip(self.shown, self._sizes(size), strict=True)
        values = sum(units["H"] * units["W"] * one.channels for one, units in sizes)
        # All maps in float32, and about as much again during the computation; for coarse maps this
        # may be less than a byte.
        return max(1, 8 * values // (size[0] * size[1]))

    def provenance(self, *, own_preprocess: bool) -> Provenance:
        """Return the provenance, with a message if the expected range of the input is doubtful."""
        label = f"model {self.name!r}"
        if own_preprocess:
            return Provenance("model", label, network="")
        if self.input.channels == 1:
            label += " on grey (the image's luma)"
        message = ""
        if not self.scales:
            message = (
                f"Values 0–255: model {self.name!r} has no Rescaling, Normalization or arithmetic "
                "before its first weights and was given unscaled pixels; if it was trained on "
                "others, pass its preprocess=, for instance lambda images: images / 255."
            )
        return Provenance("model", label, message=message, network="")

    def _sizes(self, size: Size) -> list[Sizes]:
        """Return the rows and columns of every map for an image of this size."""
        if min(size) < self.smallest:
            raise ValueError(
                f"size {size[0]}×{size[1]} pixels is too small for {self.name!r}, which needs "
                f"at least {self.smallest} pixels a side: pass a larger size, such as size=224."
            )
        # Raises in a forked process, where Keras might hang.
        keras_and_tensorflow()
        shape = self.input.shape(self.model.inputs[0].shape[0] or 1, *size)
        try:
            made = self.model.compute_output_shape(shape)
        except Exception as error:
            # A layer may raise anything for unsupported sizes.
            raise failure(self.name, size, error) from error
        made = made if isinstance(made, list) else [made]
        # If a custom layer does not report its size, assume the image's.
        usual = dict(zip("HW", size, strict=True))
        return [
            {axis: shape[one.layout.index(axis)] or usual[axis] for axis in "HW"}
            for shape, one in zip(made, self.shown, strict=True)
        ]

    @cached_property
    def _measured(self) -> Callable[[Size], tuple[LayerInfo, ...]]:
        # The images of a folder usually have only a few sizes.
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
    spec: tuple[str, str, int, str], reaches: Reaches | None, units: Sizes, size: Size
) -> LayerInfo:
    """Return a layer's geometry for an image size; `spec` is name, kind, channels and group."""
    name, kind, channels, group = spec
    if reaches is None:
        # The position of such a map is unknown: place it over the whole image.
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


# Networks of models used before, kept as long as the models are alive.
_networks: weakref.WeakKeyDictionary[Any, OwnNetwork] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def own_network(model: Any, *, own_preprocess: bool) -> OwnNetwork:
    """Return the shared network of a Keras model; raise ValueError for an unsupported model."""
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
    """Return a model's graph, or raise ValueError with the reason and advice."""
    if (graph := graph_of(model)) is not None:
        return graph
    keras, _ = keras_and_tensorflow()
    if isinstance(model, keras.Sequential):
        problem = (
            "that has no inputs yet: begin it with keras.Input((height, width, 3)), or call it on "
            "an image once"
        )
    elif isinstance(model, keras.Model):
        problem = (
            "with its own call method, in which Keras cannot see the layers: wrap it, as in inputs "
            "= keras.Input((224, 224, 3)); model = keras.Model(inputs, model.call(inputs))"
        )
    else:
        problem = (
            "that is not a model of Keras 3 or PyTorch: load a file with keras.models.load_model, "
            "or pass the file or state dict of a VGG19 as weights"
        )
    raise ValueError(f"model is a {type(model).__name__} {problem}.")


def _checked_input(pixels: Any, name: str, layout: str) -> NetworkInput:
    shape = tuple(pixels.shape)[1:]
    sides = {"C": 1, **dict(zip(layout[1:], shape, strict=False))}
    if not layout or not sides["C"]:
        raise ValueError(
            f"model {name!r} takes inputs of shape {shape}, which are not images: pass a model "
            "that takes (height, width, channels)."
        )
    height, width = sides["H"], sides["W"]
    if (height is None) != (width is None):
        raise ValueError(
            f"model {name!r} takes inputs of shape {shape}, with one side fixed: specify both "
            "sides in its Input or neither."
        )
    fixed = None if height is None or width is None else (int(height), int(width))
    return NetworkInput(int(sides["C"]), layout == CHANNELS_FIRST, layout == FLAT, fixed)


def _build(graph: Any, name: str) -> OwnNetwork:
    keras, _ = keras_and_tensorflow()
    if len(graph.inputs) != 1:
        raise ValueError(
            f"model {name!r} has {len(graph.inputs)} inputs: pass one with a single image input."
        )
    # Not passed as a list, since older releases of Keras would then warn about images outside a
    # list.
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
    """Return a classifier's score tensor, or the input of the dense layer computing it."""
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
    # Normalization stores its statistics as weights.
    weighted = bool(getattr(call.layer, "weights", ())) and kinds[0] != "Normalization"
    return kinds, weighted


def _with_maps(calls: Sequence[Call], layouts: Mapping[int, str]) -> list[_Shown]:
    """Select the 4-D results, with names and groups."""
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
    """Return a layer's kind by its class name: conv, pool, relu, or the name itself."""
    name = class_name.lower()
    return next((kind for kind in ("conv", "pool", "relu") if kind in name), name)


# Groups ------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """The parts of a layer's call that determine its group; `path` is that of its nested model."""

    path: str
    name: str
    class_name: str
    # Whether the layer has a kernel, so that others are attached to it.
    leads: bool


# Matches up to the last word for a part with its number: conv2_block1 in conv2_block1_1_conv,
# block_3 in block_3_expand, …stage_0_block_0 in ConvNeXt; otherwise up to a number: conv_dw_1 in
# conv_dw_1_bn; otherwise the first word.
_PART = re.compile(
    r".*(?:block|stage|layer|cell|unit|module|group|level|expanded_conv)_?\d+[a-z]?(?=_|$)"
    r"|.*?_\d+(?=_|$)|[^_]*"
)


def groups(layers: Sequence[Named]) -> list[str]:
    """Return the group of each layer, in network order.

    The group is the part of the name shared with other layers, such as ``"conv2_block1"``, after
    the nested model's name, if any. If nothing is shared, it is the nested model's name, or else
    the layer's own name. A normalisation, activation or pool with a default name belongs to the
    group before it.
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
    """Return the part of a layer's name that others may share; "" for Keras's default names."""
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
    """Compile a forward pass that returns every map as float32, channels last."""
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
            # A layer, or TensorFlow on this machine, may raise anything.
            raise failure(name, taken.size_of(images.shape), error) from error

    return forward


def failure(name: str, size: Size, error: Exception) -> ValueError:
    """Return the error for a failed model, with the reason in TensorFlow's words."""
    return ValueError(
        f"model {name!r} failed on an image of {size[0]}×{size[1]} pixels ({_reason(error)}): try "
        "another size that it supports, such as size=(224, 224), or call the model directly on "
        "such an image and fix the layer that fails."
    )


# Boilerplate lines in error messages of Keras and TensorFlow.
_NOISE = re.compile(
    r"Graph execution error|Detected at|File |\[\[|Exception encountered|Arguments received|•"
)


def _reason(error: Exception) -> str:
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    telling = [line.strip() for line in lines if line.strip() and not _NOISE.match(line.strip())]
    return telling[0].rstrip(".")[:250] if telling else type(error).__name__

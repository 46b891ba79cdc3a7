"""A model of somebody's own, as a network with one output a layer."""

from __future__ import annotations

import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy.typing as npt

from vgg_widget.layers import Axis, LayerInfo
from vgg_widget.network.axes import CHANNELS_FIRST, CHANNELS_LAST, FLAT, layouts, rows_last
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.fan_in import FanIn, fan_in_of_call
from vgg_widget.network.geometry import Reach
from vgg_widget.network.graph import Call, graph_of, kind_of, open_calls, scope_name
from vgg_widget.network.grouping import Named, groups
from vgg_widget.network.network_input import NetworkInput, traced_for
from vgg_widget.network.receptive_fields import Passage, Reaches, reach_after
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.keras_config import Step, done_before_weights

# Where geometry and memory are measured when a model accepts any size.
_PROBE_SIDE = 224

# Sizes whose geometry is remembered: images of one folder come in a few.
_KEPT_SIZES = 16

Size = tuple[int, int]
Shape = tuple[int, ...]


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
        return int(self.tensor.shape[self.layout.index("C")])


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A built model with one output a layer; shared by all extractors of the same model.

    It holds the model's layers and not the model, which is freed with its last other owner.

    Parameters
    ----------
    model : keras.Model
        One output for each of `shown`.
    forward : callable
        From the network's input to all maps, float32 and channels last.
    name : str
        The model's own.
    input : NetworkInput
        What it takes.
    scales : bool
        Whether it changes the pixels' values before its first layers with weights.
    calls : list of Call
        All of its layers' calls, in order.
    layouts : mapping of int to str
        The layout of every tensor that has rows and columns, by its ``id``.
    shown : list
        Those results that have feature maps.
    made_from : tuple of KerasTensor
        The outputs of the model when this was built; a model that has changed has others.
    """

    model: Any
    forward: Callable[[Any], list[Any]] = field(repr=False)
    name: str
    input: NetworkInput
    scales: bool
    calls: Sequence[Call] = field(repr=False)
    layouts: Mapping[int, str] = field(repr=False)
    shown: Sequence[_Shown] = field(repr=False)
    made_from: tuple[Any, ...] = field(repr=False)
    _measured: OrderedDict[Size, tuple[LayerInfo, ...]] = field(
        default_factory=OrderedDict, repr=False
    )

    before_relu: tuple[str, ...] = ()

    @staticmethod
    def preprocess(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Change nothing: what a model wants, only its owner knows."""
        return images

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width); by default of 224 a side.

        Raises
        ------
        ValueError
            If the model cannot take that size.
        """
        size = self.input.fixed_size or size or (_PROBE_SIDE, _PROBE_SIDE)
        # Streams ask on the threads that read their images.
        with _lock:
            layers = self._measured.get(size)
            if layers is None:
                layers = self._measured[size] = tuple(self._measure(size))
                while len(self._measured) > _KEPT_SIZES:
                    self._measured.popitem(last=False)
        return layers

    def fan_in(self, name: str) -> FanIn:
        """Return what the channels of one of `shown` are made of.

        Raises
        ------
        ValueError
            If they are not made of one layer's maps, or not by kernels.
        """
        call = next(one.call for one in self.shown if one.name == name)
        (pixels,) = self.model.inputs
        known: dict[int, str | None] = {id(one.tensor): one.name for one in self.shown}
        if len(pixels.shape) == 4:
            known[id(pixels)] = None
        found = fan_in_of_call(call, name, known)
        lies = rows_last(self.layouts[id(call.results[0])])
        return found.transposed() if lies else found

    @cached_property
    def bytes_a_pixel(self) -> int:
        """Memory of one forward pass, by pixel of the image."""
        size = self.input.fixed_size or (_PROBE_SIDE, _PROBE_SIDE)
        values = sum(
            rows * columns * shown.channels
            for shown, (rows, columns) in zip(self.shown, self._map_sizes(size), strict=True)
        )
        # All maps in float32, and about as much again while they are computed; of coarse maps that
        # is less than a byte.
        return max(1, 8 * values // (size[0] * size[1]))

    def provenance(self, *, own_preprocess: bool) -> Provenance:
        """Say whose weights these are, and what the model was fed where that is open to doubt."""
        label = f"model {self.name!r}"
        if own_preprocess:
            return Provenance("model", label)
        if self.input.channels == 1:
            label += " on grey (the picture's luma)"
        message = ""
        if not self.scales:
            message = (
                f"Values 0–255: model {self.name!r} has no Rescaling, Normalization or arithmetic "
                "before its first weights and was given pixels as they are; if it was trained on "
                "others, pass its preprocess=, for instance lambda images: images / 255."
            )
        return Provenance("model", label, message=message)

    def _shapes(self, size: Size) -> list[Shape]:
        try:
            batch = self.model.inputs[0].shape[0] or 1
            shapes = self.model.compute_output_shape(self.input.shape(batch, *size))
        except Exception as error:
            # Whatever a layer says about sizes that do not suit it.
            probe = self.model.compute_output_shape
            raise _failure(self.name, self.input, size, error, probe) from error
        return [tuple(shape) for shape in (shapes if isinstance(shapes, list) else [shapes])]

    def _map_sizes(self, size: Size) -> list[Size]:
        return [
            _rows_and_columns(shape, shown.layout, size)
            for shape, shown in zip(self._shapes(size), self.shown, strict=True)
        ]

    def _measure(self, size: Size) -> list[LayerInfo]:
        """Carry the pixels' reach through every call in turn."""
        sizes = dict(zip((id(s.tensor) for s in self.shown), self._map_sizes(size), strict=True))
        (pixels,) = self.model.inputs
        reaches: dict[int, Reaches] = {
            id(pixels): (Reach.of_pixels(size[0]), Reach.of_pixels(size[1]))
        }
        for call in self.calls:
            if not call.sources or any(id(one) not in reaches for one in call.sources):
                continue
            before = tuple(self.layouts[id(one)] for one in call.sources)
            for result in call.results:
                layout = self.layouts.get(id(result), "")
                # Where there is no axis of channels, the size is not among those that are known.
                if id(result) not in sizes and len(layout) != len(FLAT):
                    continue
                passage = Passage(
                    call,
                    tuple(reaches[id(one)] for one in call.sources),
                    sizes.get(id(result)),
                    (_channels(call.sources[0], before[0]), _channels(result, layout)),
                    before,
                    layout,
                )
                after = reach_after(passage)
                if after is not None:
                    reaches[id(result)] = after
        return [
            _layer_info(shown, reaches.get(id(shown.tensor)), sizes[id(shown.tensor)], size)
            for shown in self.shown
        ]


def _layer_info(shown: _Shown, reach: Reaches | None, units: Size, size: Size) -> LayerInfo:
    if reach is None:
        # Nobody knows where such a map lies: over the whole image.
        down, across = (Axis(size[axis] / max(1, units[axis]), -0.5) for axis in (0, 1))
    else:
        down, across = (
            Axis(_whole(one.stride), one.edge, one.size, one.center, one.spans, one.whole)
            for one in reach
        )
    return LayerInfo(
        shown.name,
        None,
        shown.kind,
        shown.channels,
        max(1, round(down.stride)),
        down.receptive_field,
        down.center,
        shown.group,
        (down, across),
        size,
    )


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _channels(tensor: Any, layout: str) -> int:
    return int(tensor.shape[layout.index("C")] or 0) if "C" in layout else 1


def _rows_and_columns(shape: Shape, layout: str, size: Size) -> Size:
    rows, columns = (shape[layout.index(letter)] for letter in "HW")
    # What some layer of a person's own does not tell is taken to be the image's.
    return rows or size[0], columns or size[1]


# Models that were given before, for as long as somebody else has them.
_networks: weakref.WeakKeyDictionary[Any, OwnNetwork] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def own_network(model: Any, *, own_preprocess: bool) -> OwnNetwork:
    """Return the network of a Keras model, the same for the same model.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential.
    own_preprocess : bool
        Whether its owner makes its input from RGB.

    Raises
    ------
    ValueError
        If the model has no graph, not exactly one input, an input that is no picture, no feature
        maps, or channels that RGB does not have.
    """
    graph = _checked_graph(model)
    with _lock:
        network = _networks.get(model)
        outputs = tuple(graph.outputs)
        if network is None or any(
            new is not old for new, old in zip_longest(outputs, network.made_from)
        ):
            _networks[model] = network = _build(graph, str(model.name))
    if network.input.channels not in (1, 3) and not own_preprocess:
        raise ValueError(
            f"model {network.name!r} takes {network.input.channels} channels, not the 3 of RGB: "
            "pass preprocess=, a function from RGB 0–255 to them."
        )
    return network


def _checked_graph(model: Any) -> Any:
    graph = graph_of(model)
    if graph is None:
        raise ValueError(f"model is a {type(model).__name__} {_without_graph(model)}.")
    return graph


def _without_graph(model: Any) -> str:
    """Say why a model has no graph, and what would do."""
    keras, _ = keras_and_tensorflow()
    if isinstance(model, keras.Sequential):
        return (
            "that has no inputs yet: begin it with keras.Input((height, width, 3)), or call it on "
            "an image once"
        )
    if isinstance(model, keras.Model):
        return (
            "with a call of its own, in which Keras cannot see the layers: wrap it, as in "
            "inputs = keras.Input((224, 224, 3)); model = keras.Model(inputs, model.call(inputs))"
        )
    return "and no Keras model: pass a functional or sequential keras.Model"


def _checked_input(graph: Any, name: str, layouts: Mapping[int, str]) -> NetworkInput:
    (pixels,) = graph.inputs
    shape = tuple(pixels.shape)[1:]
    layout = layouts.get(id(pixels), "")
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
    calls = open_calls(graph)
    known = layouts(calls, pixels)
    taken = _checked_input(graph, name, known)
    shown = _with_maps(calls, known)
    if not shown:
        raise ValueError(
            f"model {name!r} has no layers with 4-D outputs (batch, height, width, channels): "
            "pass one with convolutions, before they are flattened."
        )
    outputs = keras.Model(pixels, [one.tensor for one in shown], name=scope_name(f"{name}_layers"))
    outputs.dtype_policy = graph.dtype_policy
    return OwnNetwork(
        outputs,
        _traced(outputs, name, taken, [one.layout for one in shown]),
        name,
        taken,
        "values" in done_before_weights(map(_step, calls), [id(pixels)]),
        calls,
        known,
        shown,
        tuple(graph.outputs),
    )


def _step(call: Call) -> Step:
    kinds = tuple(kind_of(each) for each in (call.layer, *getattr(call.layer, "layers", ())))
    # Normalization keeps what it has adapted to as weights.
    weighted = bool(getattr(call.layer, "weights", ())) and kinds[0] != "Normalization"
    return Step(kinds, weighted, [*map(id, call.sources)], [*map(id, call.results)])


def _with_maps(calls: Sequence[Call], layouts: Mapping[int, str]) -> list[_Shown]:
    """Choose the 4-D results, and name and group them."""
    found: list[tuple[Any, Call, str, str]] = []
    for call in calls:
        for index, tensor in enumerate(call.results):
            layout = layouts.get(id(tensor), "")
            is_maps = len(layout) == 4 and layout[0] == "N"
            if is_maps and tensor.shape[layout.index("C")] is not None:
                name = call.name if len(call.results) == 1 else f"{call.name}[{index}]"
                found.append((tensor, call, name, layout))
    named = [
        Named(call.path, name, type(call.layer).__name__, hasattr(call.layer, "kernel"))
        for _, call, name, _ in found
    ]
    return [
        _Shown(tensor, call, f"{call.path}/{name}" if call.path else name, group, _kind(call), word)
        for (tensor, call, name, word), group in zip(found, groups(named), strict=True)
    ]


def _kind(call: Call) -> str:
    name = type(call.layer).__name__.lower()
    return next((kind for kind in ("conv", "pool", "relu") if kind in name), name)


def _traced(
    outputs: Any, name: str, taken: NetworkInput, layouts: Sequence[str]
) -> Callable[[Any], list[Any]]:
    """Compile one forward pass that gives every map as float32, channels last."""
    _, tf = keras_and_tensorflow()

    def run(images: Any) -> list[Any]:
        made = outputs(images, training=False)
        made = made if isinstance(made, list | tuple) else [made]
        return [
            tf.cast(tf.transpose(one, [*map(layout.index, CHANNELS_LAST)]), tf.float32)
            for one, layout in zip(made, layouts, strict=True)
        ]

    compiled = traced_for(run, taken)

    def forward(images: Any) -> list[Any]:
        try:
            return list(compiled(images))
        except Exception as error:
            # Whatever a layer, or TensorFlow on this machine, has against it.
            size = taken.size_of(images.shape)
            raise _failure(name, taken, size, error, lambda shape: run(tf.zeros(shape))) from error

    return forward


def _failure(
    name: str, taken: NetworkInput, size: Size, error: Exception, probe: Callable[[Shape], Any]
) -> ValueError:
    """Say why a model failed, and what to do: another size where `probe` takes an input of one."""
    reason = _reason(error)
    advice = "call the model itself on such an image, and mend the layer that fails there"
    if taken.fixed_size is None:
        with suppress(Exception):  # Then the size is not what it fails on.
            probe(taken.shape(1, _PROBE_SIDE, _PROBE_SIDE))
            advice = "choose a size that it can take, such as size=(224, 224)"
    if "NHWC" in reason and "only support" in reason:
        advice = (
            "TensorFlow has channels-first convolutions for GPUs, and for some processors through "
            "oneDNN (TF_ENABLE_ONEDNN_OPTS=1), so run it there or build it channels last"
        )
    if scope := _SCOPE.match(reason):
        reason = f"TensorFlow compiles no layer called {scope[1]}"
        advice = (
            "build the model with another name for it, of the letters A to Z, digits, '.', '_' and "
            "'-', the first a letter or digit"
        )
    return ValueError(
        f"model {name!r} failed on an image of {size[0]}×{size[1]} pixels ({reason}): {advice}."
    )


_SCOPE = re.compile("(.*) is not a valid (root )?scope name")

# What Keras and TensorFlow write around the sentence that matters.
_AROUND = re.compile(
    r"Graph execution error|Detected at|File |\[\[|Exception encountered|Arguments received|•"
)


def _reason(error: Exception) -> str:
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    telling = [line.strip() for line in lines if line.strip() and not _AROUND.match(line.strip())]
    return telling[0].rstrip(".")[:250] if telling else type(error).__name__

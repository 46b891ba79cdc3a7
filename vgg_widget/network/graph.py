"""The graph of a Keras model: its calls in order, and the axes of its tensors.

A layout has a letter for each axis: ``"NHWC"`` is (batch, rows, columns, channels), ``"NCHW"`` has
the channels first, and ``"NHW"`` has none. If a map's layout is unknown, the layout of the layers
around it is assumed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_not
from typing import Any

import numpy as np

from vgg_widget.network.backend import keras_and_tensorflow

CHANNELS_LAST, CHANNELS_FIRST, FLAT = "NHWC", "NCHW", "NHW"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or of an operation such as an addition, with its tensors.

    `path` is that of the nested models that contain the layer, such as ``"base/stem"``. A second
    call of the same layer is ``"name#2"``, and likewise for models. `arguments` are all positional
    and keyword arguments of the call, including the sources.
    """

    layer: Any
    path: str
    name: str
    sources: tuple[Any, ...]
    results: tuple[Any, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]


def kind_of(layer: Any) -> str:
    """Return the class name of a Keras layer, or ``"ops.Add"`` for an operation; otherwise ""."""
    kind = type(layer)
    if not kind.__module__.startswith("keras."):
        return ""
    return f"ops.{kind.__name__}" if ".ops." in kind.__module__ else str(kind.__name__)


def scope_name(name: str) -> str:
    """Return a name valid in Keras and TensorFlow, which do not accept spaces or all paths."""
    return re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.-]", ".", name)


# Calls -------------------------------------------------------------------------------------------


def graph_of(model: Any) -> Any | None:
    """Return the functional graph of a model, or None if Keras has none.

    A sequential model has a graph once its input is defined; a subclass with its own ``call`` has
    none.
    """
    keras, _ = keras_and_tensorflow()
    # A sequential model wraps a functional one, which is rebuilt when a layer is added.
    graph = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if graph is None or not hasattr(graph, "_nodes_by_depth"):
        return None
    known = all(type(each).call.__module__.startswith("keras.") for each in (model, graph))
    return graph if known else None


def open_calls(graph: Any) -> tuple[list[Call], list[Any]]:
    """List every call in a graph, with nested models expanded, in order of execution.

    The second result is the tensors that correspond to the graph's outputs.

    The layers are the model's own, and their existing calls are used where possible; layers of a
    nested model are called again on the tensors of the outer model.
    """
    walker = _GraphWalker(graph)
    outputs = walker.walk(graph, graph.inputs, "")
    return walker.calls, outputs


class _GraphWalker:
    def __init__(self, graph: Any) -> None:
        self.calls: list[Call] = []
        self._used: Counter[str] = Counter()
        # The layer that owns each name; those of the outermost model keep their names.
        self._named = {operation.name: operation for operation in graph.operations}

    def walk(self, graph: Any, inputs: Sequence[Any], path: str) -> list[Any]:
        """Repeat a graph's calls on these inputs, and return its outputs."""
        keras, _ = keras_and_tensorflow()
        made = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}
        for node in _in_order(graph):
            layer = node.operation
            sources = [made[id(old)] for old in node.input_tensors]
            self._used[f"{path}/{layer.name}"] += 1
            times = self._used[f"{path}/{layer.name}"]
            name = layer.name if times == 1 else f"{layer.name}#{times}"
            inner = graph_of(layer) if isinstance(layer, keras.Model) else None
            if inner is not None:
                results = self.walk(inner, sources, f"{path}/{name}" if path else name)
            else:
                results = node.outputs
                arguments, options = node.arguments.fill_in(made)
                if self._named.setdefault(layer.name, layer) is not layer:
                    results = self._call_in_model(node, sources, f"{path}/{name}")
                elif any(map(is_not, sources, node.input_tensors)):
                    results = keras.tree.flatten(layer(*arguments, **options))
                given = (tuple(arguments), dict(options))
                self.calls.append(Call(layer, path, name, tuple(sources), tuple(results), given))
            made.update({id(old): new for old, new in zip(node.outputs, results, strict=True)})
        return [made[id(old)] for old in graph.outputs]

    def _call_in_model(self, node: Any, sources: Sequence[Any], name: str) -> list[Any]:
        """Call a layer inside a separate model, since names must be unique in a Keras model."""
        keras, _ = keras_and_tensorflow()
        given = dict(zip(map(id, node.input_tensors), sources, strict=True))
        inputs = {
            key: keras.Input(batch_shape=one.shape, dtype=one.dtype) for key, one in given.items()
        }
        arguments, options = node.arguments.fill_in(inputs)
        name = scope_name(name)
        while name in self._named:
            name += "_"
        outputs = keras.tree.flatten(node.operation(*arguments, **options))
        self._named[name] = model = keras.Model([*inputs.values()], outputs, name=name)
        return list(keras.tree.flatten(model([*given.values()])))


def _in_order(graph: Any) -> list[Any]:
    """Return the calls in the order of the model's summary."""
    place = {id(layer): index for index, layer in enumerate(graph.operations)}
    levels = graph._nodes_by_depth  # noqa: SLF001 - Keras has no public name for its graph
    nodes = [(-depth, node) for depth, level in levels.items() for node in level]
    nodes.sort(key=lambda one: (one[0], place[id(one[1].operation)]))
    return [node for _, node in nodes if not node.is_input]


# Axes --------------------------------------------------------------------------------------------


def layouts(calls: Sequence[Call], pixels: Any) -> Mapping[int, str]:
    """Return the layout of every tensor with rows and columns, by its ``id``.

    In an input with four axes, channels are the last or the second axis: the one that the layers
    reading it require or, if they accept both, the one with length 1 or 3. An input that is not an
    image has no layout.
    """
    shape = pixels.shape
    if len(shape) == 3:
        return _propagated(calls, pixels, FLAT)[0]
    if len(shape) != 4:
        return {}
    ways = []
    for layout in (CHANNELS_LAST, CHANNELS_FIRST):
        found, refused = _propagated(calls, pixels, layout)
        ways.append(((refused, shape[layout.index("C")] not in (1, 3)), found))
    return min(ways, key=lambda way: way[0])[1]


def channels_of(tensor: Any, layout: str) -> int:
    """Return a tensor's number of channels; 1 if it has no channel axis."""
    return int(tensor.shape[layout.index("C")] or 0) if "C" in layout else 1


def indexed(layout: str, call: Call) -> list[tuple[str, Any]]:
    """Return the axes of a tensor, each with its index in a GetItem call.

    New axes are called ``"+"``. Empty for advanced indexing.
    """
    key = [*call.arguments[0], *call.arguments[1].values()][1]
    key = list(key) if isinstance(key, list | tuple) else [key]
    if not all(map(_is_plain, key)):
        return []
    taken = sum(each is not None and each is not ... for each in key)
    place = next((at for at, each in enumerate(key) if each is ...), len(key))
    key[place : place + 1] = [slice(None)] * (len(layout) - taken)
    letters = iter(layout)
    return [("+" if each is None else next(letters), each) for each in key]


def _is_plain(index: Any) -> bool:
    ends = (index.start, index.stop, index.step) if isinstance(index, slice) else (index,)
    return all(end is None or end is ... or isinstance(end, int | np.integer) for end in ends)


def axes_of(layer: Any, rank: int) -> list[int]:
    """Return the axes in a layer's ``axis``, counted from the front."""
    axis = getattr(layer, "axis", None)
    axes = axis if isinstance(axis, list | tuple) else [] if axis is None else [axis]
    return [int(each) % rank for each in axes]


def _propagated(calls: Sequence[Call], pixels: Any, layout: str) -> tuple[dict[int, str], int]:
    """Propagate an input's layout, and count the layers that require another one."""
    known = {id(pixels): layout}
    usual, refused = CHANNELS_LAST, 0
    for call in calls:
        required = _required_layout(call.layer)
        usual = required or usual
        sources = [source for source in call.sources if id(source) in known]
        if required:
            refused += any(known[id(one)] not in (required, FLAT) for one in sources)
        for result in call.results:
            rank = len(result.shape)
            after = required if rank == 4 else None
            if after is None and sources:
                source = min(sources, key=lambda one: len(one.shape) != rank)
                after = _after(call, known[id(source)], source.shape, result.shape)
            if after is None and rank == 4:
                after = usual
            if after is not None:
                known[id(result)] = after
    return known, refused


def _required_layout(layer: Any) -> str | None:
    """Return the layout that a layer requires."""
    # In inference, random layers change nothing, so their data_format may be arbitrary.
    if kind_of(layer).startswith("Random"):
        return None
    formats = {"channels_last": CHANNELS_LAST, "channels_first": CHANNELS_FIRST}
    return formats.get(str(getattr(layer, "data_format", None)))


def _after(call: Call, layout: str, before: Sequence[Any], after: Sequence[Any]) -> str | None:
    """Return the layout of a call's result, or None if it is not one of the three."""
    layer, kind = call.layer, kind_of(call.layer)
    gained = len(after) - len(layout)
    axes = axes_of(layer, max(len(after), len(layout)))
    if kind in TURNS:
        found = turned(layer, layout)
    elif kind == "ops.GetItem":
        kept = (axis for axis, at in indexed(layout, call) if at is None or isinstance(at, slice))
        found = "".join(kept)
    elif kind and len(axes) == abs(gained) == 1:
        (axis,) = axes
        rest = layout[axis:] if gained > 0 else layout[axis + 1 :]
        found = layout[:axis] + "+" * (gained > 0) + rest
    else:
        # Assume that unknown layers and reshapes keep axes whose lengths they keep.
        keeps_layout = kind not in ("", "Lambda", "ops.Einsum") and "Reshape" not in kind
        if gained or keeps_layout:
            return None if gained else layout
        sides = dict(zip(layout, before, strict=True))
        orders = (CHANNELS_LAST, CHANNELS_FIRST) if "C" in layout else (layout,)
        fitting = [one for one in orders if [sides[axis] for axis in one] == list(after)]
        return layout if layout in fitting else next(iter(fitting), None)
    if "C" not in found:
        found = found.replace("+", "C", 1)
    return found if found in (CHANNELS_LAST, CHANNELS_FIRST, FLAT) else None


TURNS: Mapping[str, Any] = {
    "Permute": lambda layer, array: array.transpose(0, *layer.dims),
    "ops.Transpose": lambda layer, array: array.transpose(layer.axes),
    "ops.Moveaxis": lambda layer, array: np.moveaxis(array, layer.source, layer.destination),
    "ops.Swapaxes": lambda layer, array: np.swapaxes(array, layer.axis1, layer.axis2),
}
"""Layers that permute axes, with the equivalent NumPy operation."""


def turned(layer: Any, layout: str) -> str:
    """Return the layout after a layer of `TURNS`."""
    # Give each axis its number as its length, to track its new position.
    lengths = TURNS[kind_of(layer)](layer, np.empty(range(len(layout)))).shape
    return "".join(layout[axis] for axis in lengths)

"""The graph of a Keras model: its calls in order, and the axes of its tensors.

A layout is a word with a letter for each axis: ``"NHWC"`` is (batch, rows, columns, channels).
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
    """One call of a layer, or of an operation such as an addition, by its tensors.

    The path is that of the nested models that the layer lies in, such as ``"base/stem"``. A second
    call of the same layer is ``"name#2"``, and likewise for models. The arguments are all that it
    is called with, the sources among them: those by position and those by name.
    """

    layer: Any
    path: str
    name: str
    sources: tuple[Any, ...]
    results: tuple[Any, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]


def kind_of(layer: Any) -> str:
    """Return the class of one of Keras's own layers, ``"ops.Add"`` for an operation; else ""."""
    kind = type(layer)
    if not kind.__module__.startswith("keras."):
        return ""
    return f"ops.{kind.__name__}" if ".ops." in kind.__module__ else str(kind.__name__)


def scope_name(name: str) -> str:
    """Return a name that Keras and TensorFlow take: they do not take every path, nor a space."""
    return re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.-]", ".", name)


# Calls -------------------------------------------------------------------------------------------


def graph_of(model: Any) -> Any | None:
    """Return the functional graph of a model; None where Keras knows none.

    A sequential model has one once it knows its input; a subclass with its own ``call`` has none.
    """
    keras, _ = keras_and_tensorflow()
    # A sequential model is functional inside, and made anew whenever a layer is added.
    graph = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if graph is None or not hasattr(graph, "_nodes_by_depth"):
        return None
    known = all(type(each).call.__module__.startswith("keras.") for each in (model, graph))
    return graph if known else None


def open_calls(graph: Any) -> list[Call]:
    """List every call in a graph, with nested models opened up, in order of execution.

    The layers are the model's own, and so are their calls where those can be used; a nested model's
    layers are called once more, on the tensors of the model around it.
    """
    opening = _Opening(graph)
    opening.walk(graph, graph.inputs, "")
    return opening.calls


class _Opening:
    def __init__(self, graph: Any) -> None:
        self.calls: list[Call] = []
        self._used: Counter[str] = Counter()
        # Whose name each is: those of the outermost model keep theirs.
        self._named = {operation.name: operation for operation in graph.operations}

    def walk(self, graph: Any, inputs: Sequence[Any], path: str) -> list[Any]:
        """Call what a graph calls, on these inputs, and return its outputs."""
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
                    results = self._apart(node, sources, f"{path}/{name}")
                elif any(map(is_not, sources, node.input_tensors)):
                    results = keras.tree.flatten(layer(*arguments, **options))
                given = (tuple(arguments), dict(options))
                self.calls.append(Call(layer, path, name, tuple(sources), tuple(results), given))
            made.update({id(old): new for old, new in zip(node.outputs, results, strict=True)})
        return [made[id(old)] for old in graph.outputs]

    def _apart(self, node: Any, sources: Sequence[Any], name: str) -> list[Any]:
        """Call a layer within a model of its own, since Keras has each name once in a model."""
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
    """Return the calls in the order in which the model's summary lists them."""
    place = {id(layer): index for index, layer in enumerate(graph.operations)}
    levels = graph._nodes_by_depth  # noqa: SLF001 - Keras has no public name for its graph
    nodes = [(-depth, node) for depth, level in levels.items() for node in level]
    nodes.sort(key=lambda one: (one[0], place[id(one[1].operation)]))
    return [node for _, node in nodes if not node.is_input]


# Axes --------------------------------------------------------------------------------------------


def layouts(calls: Sequence[Call], pixels: Any) -> Mapping[int, str]:
    """Return the layout of every tensor that has rows and columns, by its ``id``.

    Of an input of four axes, the last or the second holds the channels: whichever the layers that
    it comes to ask for, and where these take both, whichever has 1 or 3 of them. An input that is
    no image has none.
    """
    shape = pixels.shape
    if len(shape) == 3:
        return _followed(calls, pixels, FLAT)[0]
    if len(shape) != 4:
        return {}
    ways = []
    for layout in (CHANNELS_LAST, CHANNELS_FIRST):
        found, refused = _followed(calls, pixels, layout)
        ways.append(((refused, shape[layout.index("C")] not in (1, 3)), found))
    return min(ways, key=lambda way: way[0])[1]


def channels_of(tensor: Any, layout: str) -> int:
    """Return how many channels a tensor has: one where it has no axis for them."""
    return int(tensor.shape[layout.index("C")] or 0) if "C" in layout else 1


def indexed(layout: str, call: Call) -> list[tuple[str, Any]]:
    """Return the axes of a tensor with the index that a GetItem takes of each.

    New axes are called ``"+"``. Empty where the index is no plain one.
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
    """Return the axes that a layer's ``axis`` names, counted from the front."""
    axis = getattr(layer, "axis", None)
    axes = axis if isinstance(axis, list | tuple) else [] if axis is None else [axis]
    return [int(each) % rank for each in axes]


def _followed(calls: Sequence[Call], pixels: Any, layout: str) -> tuple[dict[int, str], int]:
    """Follow an input's layout, and count the layers that do not take what comes to them."""
    known = {id(pixels): layout}
    usual, refused = layout if len(layout) == 4 else CHANNELS_LAST, 0
    for call in calls:
        asked = _asked_for(call.layer)
        sources = [source for source in call.sources if id(source) in known]
        if asked:
            usual = asked
            before = [known[id(source)] for source in sources if len(source.shape) == 4]
            taken = [one for one in before if one.index("C") == asked.index("C")]
            refused += len(taken) < len(before)
            # It asks for the channels' place alone: rows and columns stay as they come.
            asked = taken[0] if taken else asked
        for result in call.results:
            rank = len(result.shape)
            after = asked if rank == 4 else None
            if after is None and sources:
                source = min(sources, key=lambda one: len(one.shape) != rank)
                after = _after(call, known[id(source)], source.shape, result.shape)
            if after is None and rank == 4:
                after = usual
            if after is not None:
                known[id(result)] = after
    return known, refused


def _asked_for(layer: Any) -> str | None:
    """Return the layout that a layer insists on."""
    # In inference they change nothing, and have a data_format that nobody may have thought of.
    if kind_of(layer).startswith("Random"):
        return None
    formats = {"channels_last": CHANNELS_LAST, "channels_first": CHANNELS_FIRST}
    return formats.get(str(getattr(layer, "data_format", None)))


def _after(call: Call, layout: str, before: Sequence[Any], after: Sequence[Any]) -> str | None:
    layer, kind = call.layer, kind_of(call.layer)
    if kind in TURNS:
        # Axes that are as long as their numbers tell where each has gone.
        turned = TURNS[kind](layer, np.empty(range(len(layout)))).shape
        return "".join(layout[axis] for axis in turned)
    if kind == "ops.GetItem":
        kept = (axis for axis, at in indexed(layout, call) if at is None or isinstance(at, slice))
        return _with_channels("".join(kept))
    gained = len(after) - len(layout)
    axes = axes_of(layer, max(len(after), len(layout)))
    if kind and len(axes) == abs(gained) == 1:
        (axis,) = axes
        rest = layout[axis:] if gained > 0 else layout[axis + 1 :]
        return _with_channels(layout[:axis] + "+" * (gained > 0) + rest)
    # A reshape to the sides of a picture that lies on its side would mix its rows and columns.
    return _by_shape(layout, before, after, may_turn="Reshape" not in kind)


def _with_channels(layout: str) -> str | None:
    """Take a new axis for the channels, where there were none."""
    if "C" not in layout:
        layout = layout.replace("+", "C", 1)
    return layout if {*"NHW"} <= {*layout} <= {*"NHWC"} else None


def _by_shape(
    layout: str, before: Sequence[Any], after: Sequence[Any], *, may_turn: bool
) -> str | None:
    """Look for the axes by their lengths, after what does not tell where they are."""
    sides = {"C": 1, **dict(zip(layout, before, strict=True))}
    rest = layout.replace("C", "")
    turned = rest.translate(str.maketrans("HW", "WH"))
    for order in [rest, turned] if may_turn else [rest]:
        ways = [order] if sides["C"] == 1 else []
        ways += [order[:axis] + "C" + order[axis:] for axis in range(1, 4)]
        fitting = [way for way in ways if [sides[letter] for letter in way] == list(after)]
        if layout in fitting:
            return layout
        if len(fitting) == 1:
            return fitting[0]
    return layout if len(after) == len(layout) else None


TURNS: Mapping[str, Any] = {
    "Permute": lambda layer, array: array.transpose(0, *layer.dims),
    "ops.Transpose": lambda layer, array: array.transpose(layer.axes),
    "ops.Moveaxis": lambda layer, array: np.moveaxis(array, layer.source, layer.destination),
    "ops.Swapaxes": lambda layer, array: np.swapaxes(array, layer.axis1, layer.axis2),
}
"""Layers that turn axes, and what NumPy does for each."""

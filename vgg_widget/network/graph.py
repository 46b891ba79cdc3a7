"""The graph of a Keras model with its nested models opened up, in the order of execution."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vgg_widget.network.backend import keras_and_tensorflow


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, or of an operation such as an addition.

    Parameters
    ----------
    layer : keras.Operation
        What was called.
    path : str
        The nested models that it lies in, such as ``"base/stem"``; empty outside.
    name : str
        Its name there. A second call of the same layer is ``"name#2"``, and likewise for models.
    sources, results : tuple of KerasTensor
        What goes in and what comes out.
    arguments : tuple
        All that it is called with, the sources among it: positional arguments and those by name.
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
    module = kind.__module__
    if not module.startswith("keras."):
        return ""
    return f"ops.{kind.__name__}" if ".ops." in module else str(kind.__name__)


def scope_name(name: str) -> str:
    """Return a name that Keras and TensorFlow take: they do not take every path, nor a space."""
    return re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.-]", ".", name)


def graph_of(model: Any) -> Any | None:
    """Return the functional graph of a model; None where Keras knows none.

    A sequential model has one once it knows its input. What a subclass's own ``call`` does is
    known to nobody.
    """
    keras, _ = keras_and_tensorflow()
    graph = model
    if isinstance(model, keras.Sequential):
        # It is functional inside, and made anew whenever a layer is added.
        graph = getattr(model, "_functional", None)
    if graph is None or not hasattr(graph, "_nodes_by_depth"):
        return None
    known = all(type(each).call.__module__.startswith("keras.") for each in (model, graph))
    return graph if known else None


def open_calls(graph: Any) -> list[Call]:
    """List every call in a graph from `graph_of`, nested models opened up.

    The layers are the model's own. Their calls are the model's own too where those can be used;
    a nested model's layers are called once more, on the tensors of the model around it.

    Returns
    -------
    list of Call
        In order of execution; every source is an input of the graph or the result of a call
        before.
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
            name = self._name(path, layer.name)
            inner = graph_of(layer) if isinstance(layer, keras.Model) else None
            if inner is not None:
                results = self.walk(inner, sources, f"{path}/{name}" if path else name)
            else:
                results = node.outputs
                arguments, options = node.arguments.fill_in(made)
                if self._named.setdefault(layer.name, layer) is not layer:
                    results = self._apart(node, sources, f"{path}/{name}")
                elif any(
                    new is not old for new, old in zip(sources, node.input_tensors, strict=True)
                ):
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

    def _name(self, path: str, name: str) -> str:
        self._used[f"{path}/{name}"] += 1
        times = self._used[f"{path}/{name}"]
        return name if times == 1 else f"{name}#{times}"


def _in_order(graph: Any) -> Iterator[Any]:
    """Give the calls in the order in which the model's summary lists them."""
    nodes = graph._nodes_by_depth  # noqa: SLF001 - Keras has no public name for its graph
    place = {id(layer): index for index, layer in enumerate(graph.operations)}
    for depth in sorted(nodes, reverse=True):
        for node in sorted(nodes[depth], key=lambda node: place[id(node.operation)]):
            if not node.is_input:
                yield node

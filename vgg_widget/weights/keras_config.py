"""What a Keras model does to pixels before its first layers with weights, and its saved graph."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a layer in a model's graph, from the tensors with some keys to others."""

    kinds: tuple[str, ...]
    """The class of the layer and of those it holds; empty for classes that are not Keras's own."""
    weighted: bool
    """Whether it has weights that are trained."""
    sources: Collection[Hashable]
    results: Collection[Hashable]


def done_before_weights(steps: Iterable[Step], pixels: Iterable[Hashable]) -> frozenset[str]:
    """Tell what a model does to its inputs on the way to its first layers with weights.

    ``"values"`` where they are scaled, shifted, or given to something whose class says nothing
    about it, such as a Lambda; ``"order"`` where channels may be rearranged.
    """
    done: dict[Hashable, frozenset[str]] = dict.fromkeys(pixels, frozenset())
    found: frozenset[str] = frozenset()
    for step in steps:
        before = [done[source] for source in step.sources if source in done]
        if step.weighted:
            found = found.union(*before)
        elif before and len(before) == len(step.sources):
            after = frozenset(map(_effect, step.kinds)).union(*before) - {""}
            done.update(dict.fromkeys(step.results, after))
    return found


def _effect(kind: str) -> str:
    # Keras 3 writes "ExpandDims", Keras 2 "expand_dims" after the module that has it.
    kind = kind.rpartition(".")[2].replace("_", "").lower()
    return "" if kind.startswith("random") else _EFFECTS.get(kind, "values")


def _each(kinds: str, effect: str) -> dict[str, str]:
    return dict.fromkeys(kinds.split(), effect)


_EFFECTS = {
    **_each("flip reverse roll take gather stack concatenate concat", "order"),
    # What moves, cuts, repeats or casts values.
    **_each("inputlayer identity copy cast stopgradient converttotensor pipeline getitem", ""),
    **_each("reshape permute transpose moveaxis swapaxes expanddims squeeze flatten", ""),
    **_each("split unstack repeat repeatvector tile broadcastto", ""),
    **_each("resizing resize resizebilinear resizewithpad upsampling2d centercrop", ""),
    **_each("cropping2d cropimages zeropadding2d pad padimages", ""),
    # What leaves them in 0–255.
    **_each("maxpooling2d averagepooling2d maxpool averagepool clip clipbyvalue", ""),
    **_each("mean average max min autocontrast clahe rgbtograyscale", ""),
    # What is at work in training alone.
    **_each("dropout spatialdropout2d alphadropout gaussiannoise gaussiandropout", ""),
    **_each("stochasticdepth activityregularization", ""),
    **_each("randaugment augmix cutmix mixup solarization equalization", ""),
}


def steps_of_config(config: Any) -> tuple[list[Step], list[Hashable]]:
    """Return the calls in a saved model's configuration, and the keys of inputs that are images.

    The model is functional or sequential, as Keras 2 or 3 writes it; those nested in it are opened
    up, and nothing of it is made.
    """
    graph = _Graph()
    graph.walk(config, None)
    return graph.steps, graph.images


# More than any network has; a few models that hold one another twice could ask for billions.
_MOST_CALLS = 20_000


class _Graph:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.images: list[Hashable] = []
        self._calls = 0
        self._weighted: dict[int, bool] = {}

    def walk(self, model: Any, given: Sequence[Hashable] | None) -> list[Hashable]:
        """Go through a model's calls from the tensors that it is given; None for its inputs."""
        layers = _layers(model)
        if model["class_name"] == "Sequential":
            return self._chain(layers, given)
        named = {_name(layer): layer for layer in layers}
        made: dict[tuple[str, int], list[Hashable]] = {}
        entries = list(_ends(model["config"]["input_layers"]))
        for place, (name, _) in enumerate(entries):
            made[name, 0] = [self._input(named[name])] if given is None else [given[place]]

        def results(name: str, number: int) -> list[Hashable]:
            nodes = named[name].get("inbound_nodes", [])
            # Keras counts the call that a nested model begins with, and does not write it down.
            key = name, max(0, min(number, len(nodes) - 1))
            if key not in made:
                node = nodes[key[1]]
                sources = [one for end in _sources(node, named) for one in results(*end)]
                made[key] = self._call(named[name], sources, node)
            return made[key]

        for name, layer in named.items():
            for number in range(len(layer.get("inbound_nodes", []))):
                results(name, number)
        return [one for end in _ends(model["config"]["output_layers"]) for one in results(*end)]

    def _chain(self, layers: Sequence[Any], given: Sequence[Hashable] | None) -> list[Hashable]:
        at = list(given) if given is not None else [self._input(layers[0])]
        for layer in layers:
            if layer["class_name"] != "InputLayer":
                at = self._call(layer, at, None)
        return at

    def _input(self, layer: Any) -> Hashable:
        key = object()
        # Keras 2 has a sequential model's input with its first layer; one without is an image's.
        config = layer["config"]
        shape = config.get("batch_shape") or config.get("batch_input_shape") or ()
        if len(shape) not in (1, 2):
            self.images.append(key)
        return key

    def _call(self, layer: Any, sources: list[Hashable], node: Any) -> list[Hashable]:
        self._calls += 1
        if self._calls > _MOST_CALLS:
            raise ValueError("too many calls")
        if layer["class_name"] == "Sequential" or "input_layers" in layer["config"]:
            return self.walk(layer, sources)
        inner = layer["config"].get("layers", ())
        kinds = tuple(_kind(each) for each in (layer, *inner))
        if kinds[0].lower().endswith("getitem") and re.search(r'"step": -\d', json.dumps(node)):
            kinds = ("flip",)
        if id(layer) not in self._weighted:
            # Each layer of Keras's that has weights says how they start.
            self._weighted[id(layer)] = '_initializer"' in json.dumps(layer["config"])
        key = object()
        self.steps.append(Step(kinds, self._weighted[id(layer)], sources, [key]))
        return [key]


def _layers(model: Any) -> list[Any]:
    config = model["config"]
    # The first releases of Keras 2 wrote the bare list.
    return list(config if isinstance(config, list) else config["layers"])


def _name(layer: Any) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _kind(layer: Any) -> str:
    module, name = layer.get("module"), layer["class_name"]
    # What is a person's own has its package before the name, or a module of its own.
    if ">" in name or ">" in (layer.get("registered_name") or ""):
        return ""
    if module is not None and module.partition(".")[0] not in ("keras", "tensorflow", "tf_keras"):
        return ""
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return str(layer["config"]["function"])
    return str(name)


def _ends(written: Any) -> Iterator[tuple[str, int]]:
    """Give (layer, call) of each tensor in whatever structure a model's ends are written."""
    if isinstance(written, dict):
        written = list(written.values())
    if len(written) == 3 and isinstance(written[0], str):
        yield written[0], int(written[1])
        return
    for inner in written:
        yield from _ends(inner)


def _sources(node: Any, named: Collection[str]) -> Iterator[tuple[str, int]]:
    """Give (layer, call) of each tensor that a call is given: ``[name, call, ...]`` in a node."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        if len(node) in (3, 4) and isinstance(node[0], str) and node[0] in named:
            yield node[0], int(node[1])
        for inner in node:
            yield from _sources(inner, named)

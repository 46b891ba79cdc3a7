"""What a Keras model does to pixels before its first layer with weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One layer or operation of a model."""

    kinds: tuple[str, ...]
    """Its class and those of the layers in it; empty for a class that is not Keras's own."""
    weighted: bool
    """Whether it has weights that are trained."""


def done_before_weights(steps: Iterable[Step]) -> set[str]:
    """Return what a model, whose steps come in order, does before its first layer with weights.

    ``"values"``: it scales or shifts pixels, or gives them to a class that may do anything, such
    as a Lambda. ``"order"``: it rearranges channels.
    """
    found: set[str] = set()
    for step in steps:
        if step.weighted:
            return found
        found |= {*map(_effect, step.kinds)} - {""}
    return set()


def _effect(kind: str) -> str:
    # Keras 3 writes "ExpandDims", Keras 2 "expand_dims" after the module that has it.
    kind = kind.rpartition(".")[2].replace("_", "").lower()
    if _REORDERING.fullmatch(kind):
        return "order"
    return "" if _HARMLESS.fullmatch(kind) else "values"


_REORDERING = re.compile("flip|reverse|roll|take|gather|stack|concat(enate)?")
# What moves, cuts, casts or pools pixels, and what only training does.
_HARMLESS = re.compile(
    "inputlayer|identity|cast|getitem|pipeline|reshape|permute|transpose|moveaxis|swapaxes"
    "|expanddims|squeeze|flatten|split|unstack|repeat|resizing|resize|upsampling2d|centercrop"
    "|cropping2d|zeropadding2d|pad|(max|average)pooling2d|clip(byvalue)?|rgbtograyscale"
    "|(spatial)?dropout(2d)?|gaussian(noise|dropout)|random.*|randaugment|augmix|cutmix|mixup"
)


def steps_of_config(config: Any) -> Iterator[Step]:
    """Give the layers of a saved model in the order in which they are written.

    Keras 2 and 3 write what is called first before what is called later. Models within the model
    are opened up, and nothing of it is made.
    """
    layers = config["config"]
    # The first releases of Keras 2 wrote the bare list.
    for layer in layers if isinstance(layers, list) else layers["layers"]:
        if layer["class_name"] == "Sequential" or "input_layers" in layer["config"]:
            yield from steps_of_config(layer)
            continue
        kinds = tuple(map(_kind, (layer, *layer["config"].get("layers", ()))))
        calls = json.dumps(layer.get("inbound_nodes"))
        if kinds[0].lower().endswith("getitem") and re.search(r'"step": -\d', calls):
            kinds = ("flip",)
        # Each layer of Keras's that has weights says how they start.
        yield Step(kinds, '_initializer"' in json.dumps(layer["config"]))


def _kind(layer: Any) -> str:
    module, name = layer.get("module"), str(layer["class_name"])
    # What is a person's own has its package before the name, or a module of its own.
    own = ">" in name or ">" in (layer.get("registered_name") or "")
    if own or (module or "keras").partition(".")[0] not in ("keras", "tensorflow", "tf_keras"):
        return ""
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return str(layer["config"]["function"])
    return name

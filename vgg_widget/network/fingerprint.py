"""What a model of one's own computes, as a digest: layers, settings, constants and numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import numpy as np

from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.graph import Call
from vgg_widget.support.messages import reason


def arrays_digest(arrays: Sequence[Any]) -> str:
    """Return SHA-256, as hex, of arrays or variables: their dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for each in arrays:
        array = np.ascontiguousarray(each)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def graph_digest(calls: Sequence[Call], pixels: Any, results: Sequence[Any], name: str) -> str:
    """Return SHA-256, as hex, of how some results of a graph are computed from its input.

    Each call is told by its layer's class, settings and weights, and by all of its arguments in
    their order; a tensor among those by the call that made it. Names are left out, which Keras
    counts up; and so are calls that no result needs.

    Parameters
    ----------
    calls : sequence of Call
        In order of execution.
    pixels : KerasTensor
        The input.
    results : sequence of KerasTensor
        What is computed.
    name : str
        The model's, for errors.

    Raises
    ------
    ValueError
        If a setting or a constant is something that cannot be compared.
    """
    needed = {id(one) for one in results}
    for call in reversed(calls):
        if any(id(one) in needed for one in call.results):
            needed |= {id(one) for one in call.sources}
    made: dict[int, Any] = {id(pixels): "input"}
    for call in calls:
        if not any(id(one) in needed for one in call.results):
            continue
        parts = [_settings(call.layer), *call.arguments]
        try:
            told = _told([type(call.layer).__name__, *parts], made)
        except (_CannotBeToldError, RecursionError, ValueError) as error:
            # A function that holds itself, or a cell that nothing is in yet.
            raise ValueError(
                f"model {name!r} cannot be told from others, since its layer {call.name!r} has "
                f"{reason(error)}: give it numbers and arrays, or leave store and client out."
            ) from error
        weights = arrays_digest(getattr(call.layer, "weights", ()))
        digest = hashlib.sha256(json.dumps([told, weights]).encode()).hexdigest()
        made |= {id(one): [digest, index] for index, one in enumerate(call.results)}
    return hashlib.sha256(json.dumps([made[id(one)] for one in results]).encode()).hexdigest()


class _CannotBeToldError(Exception):
    """What is in the way."""


def _settings(layer: Any) -> Any:
    keras, _ = keras_and_tensorflow()
    try:
        settings = _nameless(layer.get_config())
    except Exception as error:
        # Whatever a layer of a person's own has against it.
        return _Unknown(reason(error))
    if isinstance(layer, keras.layers.Lambda):
        # Keras writes the line and the file that it stands in, and of one with a name that alone.
        settings["function"] = layer.function
    return settings


class _Unknown:
    """Settings that nobody can tell, and why."""

    def __init__(self, why: str) -> None:
        self.why = why


def _nameless(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "name"}


def _told(value: Any, made: Mapping[int, Any]) -> Any:
    """Return what stands for a value, as JSON has it."""
    if id(value) in made:
        return ["tensor", made[id(value)]]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kinds, tell in _TELLING:
        if isinstance(value, kinds):
            return tell(value, lambda inner: _told(inner, made))
    if hasattr(value, "__array__"):
        return ["array", arrays_digest([value])]
    if isinstance(value, _Unknown):
        raise _CannotBeToldError(f"no settings ({value.why})")
    return _by_keras(value, made)


def _by_keras(value: Any, made: Mapping[int, Any]) -> Any:
    keras, tf = keras_and_tensorflow()
    if isinstance(value, tf.DType | tf.TensorShape | np.dtype):
        return [type(value).__name__, str(value)]
    if isinstance(value, keras.KerasTensor):
        raise _CannotBeToldError("a tensor of another model")
    try:
        config = keras.saving.serialize_keras_object(value)
    except Exception as error:
        raise _CannotBeToldError(f"a {type(value).__name__} ({reason(error)})") from error
    if not isinstance(config, dict):
        raise _CannotBeToldError(f"a {type(value).__name__}")
    return _told(config, made)


_Tell = Callable[[Any], Any]


def _mapping(value: Mapping[Any, Any], tell: _Tell) -> Any:
    if {"class_name", "config"} <= value.keys() and isinstance(value["config"], Mapping):
        config = value["config"]
        # Of a layer within a layer; a dtype's name is what it is.
        if "trainable" in config:
            value = {**value, "config": _nameless(config)}
    pairs = [[tell(key), tell(inner)] for key, inner in value.items() if key != "shared_object_id"]
    return ["mapping", *sorted(pairs, key=json.dumps)]


def _function(value: FunctionType, tell: _Tell) -> Any:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    read = {name: value.__globals__.get(name) for name in value.__code__.co_names}
    # Modules and functions among them are told by their names, which are in the code.
    numbers = {
        name: one for name, one in read.items() if isinstance(one, int | float | str | np.ndarray)
    }
    parts = [value.__code__, value.__defaults__, value.__kwdefaults__, cells, numbers]
    return ["function", *map(tell, parts)]


def _code(value: CodeType, tell: _Tell) -> Any:
    # Neither the file nor the line, in which a notebook's cell is another after each start.
    return ["code", value.co_code.hex(), value.co_names, value.co_varnames, tell(value.co_consts)]


_TELLING: Sequence[tuple[Any, Callable[[Any, _Tell], Any]]] = (
    ((list, tuple), lambda value, tell: [type(value).__name__, *map(tell, value)]),
    (Mapping, _mapping),
    ((set, frozenset), lambda value, tell: ["set", *sorted(map(tell, value), key=json.dumps)]),
    (slice, lambda value, tell: ["slice", *map(tell, (value.start, value.stop, value.step))]),
    (type(...), lambda _value, _tell: ["..."]),
    ((bytes, bytearray), lambda value, _tell: ["bytes", bytes(value).hex()]),
    (complex, lambda value, _tell: ["complex", value.real, value.imag]),
    (np.generic, lambda value, _tell: [str(value.dtype), value.tobytes().hex()]),
    (FunctionType, _function),
    (CodeType, _code),
    ((BuiltinFunctionType, type), lambda value, _tell: [value.__module__, value.__qualname__]),
)

"""Tests of network digests: equal for networks that compute the same, different otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.made_pictures import picture
from vgg_widget import FeatureExtractor
from vgg_widget.dataset import cluster, top_activations
from vgg_widget.dataset.computing import Job
from vgg_widget.network.portable import PortableExtractor, digest_of, weights_digest
from vgg_widget.network.reduced import chosen_layers

Build = Callable[[Any, Any], Any]


def network(build: Build) -> FeatureExtractor:
    import keras

    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, build(keras, pixels))
    for layer in model.layers:
        layer.set_weights([np.ones_like(each) for each in layer.get_weights()])
    return FeatureExtractor(model=model, size=None)


def doubled(x: Any) -> Any:
    return x * 2


def tripled(x: Any) -> Any:
    return x * 3


def scaled(factor: float) -> Any:
    def inner(x: Any) -> Any:
        return x * factor

    return inner


class Scale:
    """An object whose state decides what its method computes."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def applied(self, x: Any) -> Any:
        return x * self.factor


def nested(keras: Any, x: Any, strides: int) -> Any:
    pixels = keras.Input((None, None, 3))
    inner = keras.Model(pixels, keras.layers.AveragePooling2D(2, strides)(pixels) * 3)
    return inner(x)


def joined(x: Any, keras: Any, order: int) -> Any:
    parts = [x * 2, x + 1]
    return keras.layers.Subtract()(parts[::order])


# The two networks of a pair have equal weights, and layers of the same classes.
OTHERS: dict[str, tuple[Build, Build]] = {
    "order of operands": (lambda _, x: x - 1, lambda _, x: 1 - x),
    "order of tensors": (lambda k, x: joined(x, k, 1), lambda k, x: joined(x, k, -1)),
    "constant": (lambda _, x: x * 2, lambda _, x: x * -5),
    "whole or not": (lambda _, x: x // 2, lambda _, x: x // 2.5),
    "array": (
        lambda _, x: x * np.array([1, 2, 3], np.float32),
        lambda _, x: x * np.array([1, 2, 4], np.float32),
    ),
    "slice": (lambda _, x: x[:, ::2], lambda _, x: x[:, ::3]),
    "argument by name": (
        lambda k, x: k.ops.max(x, axis=1, keepdims=True),
        lambda k, x: k.ops.max(x, axis=2, keepdims=True),
    ),
    "setting": (
        lambda k, x: k.layers.Conv2D(2, 3, dilation_rate=1)(x),
        lambda k, x: k.layers.Conv2D(2, 3, dilation_rate=2)(x),
    ),
    "setting of a layer within": (
        lambda k, x: k.layers.TimeDistributed(k.layers.Dense(3, "relu"))(x),
        lambda k, x: k.layers.TimeDistributed(k.layers.Dense(3, "tanh"))(x),
    ),
    "setting of a nested model": (
        lambda k, x: nested(k, x, 1),
        lambda k, x: nested(k, x, 2),
    ),
    "dtype": (
        lambda k, x: k.layers.Activation("tanh", dtype="float32")(x),
        lambda k, x: k.layers.Activation("tanh", dtype="float16")(x),
    ),
    "function": (
        lambda k, x: k.layers.Lambda(doubled)(x),
        lambda k, x: k.layers.Lambda(tripled)(x),
    ),
    "precision of a number": (lambda _, x: x * np.float32(2), lambda _, x: x * np.float64(2)),
    "which tensor": (
        lambda k, x: k.layers.Concatenate()([x * 2, x + 1, x * 2]),
        lambda k, x: k.layers.Concatenate()([x * 2, x + 1, x + 1]),
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_computation_has_another_digest(what: str) -> None:
    one, other = (network(build) for build in OTHERS[what])
    assert digest_of(one) != digest_of(other)
    # Keras gives the layers of a second build other names.
    again = network(OTHERS[what][0])
    assert digest_of(one) == digest_of(again)


def test_a_store_refuses_what_differs_in_a_constant_alone(tmp_path: Path) -> None:
    def build(factor: int) -> Build:
        return lambda keras, x: keras.layers.Identity(name="last")(x * factor)

    arguments: Any = {"layers": "last", "progress": False, "store": tmp_path}
    first = top_activations(network(build(2)), [picture(1)], **arguments)
    assert first["last"].values[0, 0] == 2.0 * int(picture(1)[..., 0].max())
    with pytest.raises(ValueError, match="was created with weights"):
        top_activations(network(build(5)), [picture(1)], **arguments)


def test_a_store_refuses_layers_that_changed_their_names(tmp_path: Path) -> None:
    def build(names: tuple[str, str]) -> Build:
        def built(keras: Any, x: Any) -> Any:
            for name in names:
                x = keras.layers.Rescaling(2.0, name=name)(x)
            return x

        return built

    arguments: Any = {"layers": "b", "progress": False, "store": tmp_path}
    top_activations(network(build(("a", "b"))), [picture(1)], **arguments)
    with pytest.raises(ValueError, match=r"was created with outputs \[1\], not \[0\]"):
        top_activations(network(build(("b", "a"))), [picture(1)], **arguments)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_worker_computes_with_the_constant_that_was_sent() -> None:
    images = picture(1)[np.newaxis]
    for factor in (2, 5):
        # Only the constant differs: the requested layer has the same name.
        extractor = network(
            lambda keras, x, by=factor: keras.layers.Identity(name="last")(x * by)  # type: ignore[misc]
        )
        job = Job(chosen_layers(extractor, "last"), "max", 1, None)
        made = cluster._network(PortableExtractor.of(extractor), job)
        np.testing.assert_array_equal(
            made(images)[0][0], factor * images[0].max(axis=(0, 1)).astype(np.float32)
        )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_layers_after_the_last_map_do_not_count() -> None:
    import keras

    def build(*head: Any) -> FeatureExtractor:
        body = [keras.Input((32, 32, 3)), keras.layers.MaxPooling2D()]
        return FeatureExtractor(model=keras.Sequential([*body, *head]))

    classifier = build(keras.layers.Flatten(), keras.layers.Dense(4))
    assert digest_of(classifier) == digest_of(build())
    # The portable network has the same digest.
    assert digest_of(PortableExtractor.of(classifier).extractor()) == digest_of(classifier)


def test_a_layer_that_cannot_be_compared_is_refused_with_a_reason() -> None:
    import keras

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any, extra: Any = None) -> Any:
            return x if extra is None else x * 2

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "extra": object()}

    extractor = network(lambda _, x: Own(name="own")(x))
    with pytest.raises(
        ValueError, match=r"cannot be identified uniquely.*'own' .*object object at"
    ):
        digest_of(extractor)

    class Unconfigured(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: Any) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return x * 2

    extractor = network(lambda _, x: Unconfigured(object())(x))
    with pytest.raises(
        ValueError, match=r"'unconfigured' has settings that are not serialisable \(.*get_config"
    ):
        digest_of(extractor)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("what", ["lambda", "in a function", "of a notebook", "of an object"])
def test_a_function_without_a_module_is_refused_for_stores_and_clients_only(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = {
        "lambda": lambda y: y * 2,
        "in a function": scaled(2),
        "of a notebook": doubled,
        "of an object": Scale(2).applied,
    }
    if what == "of a notebook":
        monkeypatch.setattr(doubled, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "doubled", doubled, raising=False)
    extractor = network(lambda k, x: k.layers.Lambda(function[what], name="last")(x))
    arguments: Any = {"images": [picture(1)], "layers": "last", "progress": False}
    message = (
        r"cannot be identified uniquely, since .* layer 'last' .* is not a function of an imported "
        r"module\): use numbers, arrays and functions from imported modules, or leave store and "
        "client out"
    )
    with pytest.raises(ValueError, match=message):
        top_activations(extractor, store=tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=message):
        PortableExtractor.of(extractor)
    top = top_activations(extractor, **arguments)
    assert top["last"].values[0, 0] == 2.0 * int(picture(1)[..., 0].max())
    # The explorer compares these digests to recognise its own network.
    assert top.weights.digest == weights_digest(extractor)
    other = network(lambda k, x: k.layers.Lambda(function[what], name="last")(x[:, ::2]))
    assert top.weights.digest != weights_digest(other)

"""Tests of Keras files of fine-tuned and renamed models: right weights, and no code is run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tests.weights_server import SHAPES, keras3_without_names
from vgg_widget import FeatureExtractor, WeightsError
from vgg_widget.weights import Arrays, resolve, resolve_classifier

# Keras reads its own variables in a way that numpy 2 has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("own_networks"),
]


def headed(base: Any) -> Any:
    """Return the usual fine-tuning model: a head on the base's output."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, keras.layers.Dense(3)(pooled))


def called(base: Any) -> Any:
    """Return a model with the base as one layer, beside other convolutions."""
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Rescaling(2.0)(inputs))
    x = keras.layers.Conv2D(8, 1)(base(x, training=False))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def sequential(base: Any) -> Any:
    import keras

    layers = [keras.Input((32, 32, 3)), base, keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def twice(base: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input((32, 32, 3)), sequential(base), keras.layers.Dense(2)])


def unpacked(base: Any) -> Any:
    """Return a model of one convolution followed by the base's layers."""
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 1), *base.layers[1:]]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(3)])


def trained(base: Any) -> Any:
    """Return a model with an optimizer's state for each kernel and bias."""
    import keras

    model = headed(base)
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


MODELS: dict[str, Callable[[Any], Any]] = {
    "base": lambda base: base,
    "headed": headed,
    "called": called,
    "sequential": sequential,
    "twice": twice,
    "unpacked": unpacked,
    "trained": trained,
}


def save(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def assert_equal(given: Arrays, expected: Arrays) -> None:
    assert list(given) == list(SHAPES)
    for name in SHAPES:
        for array, wanted in zip(given[name], expected[name], strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.sampled
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("case", MODELS)
def test_vgg19_is_found_inside_a_larger_model(
    case: str, suffix: str, vgg19: Any, expected: Arrays, scratch: Path
) -> None:
    path = save(MODELS[case](vgg19), scratch / f"mine{suffix}")
    resolved = resolve(path)
    assert_equal(resolved.arrays, expected)
    assert (resolved.provenance.path, resolved.preprocessing) == (str(path), "caffe")


def own_vgg19(keras: Any, named: str = "") -> Any:
    """Return a handwritten VGG19, whose layers have Keras's default names or others."""
    layers: list[Any] = [keras.Input((32, 32, 3))]
    for number, (*_, channels) in enumerate(SHAPES.values()):
        name = {"name": f"{named}{number}"} if named else {}
        layers.append(keras.layers.Conv2D(channels, 3, padding="same", activation="relu", **name))
    return keras.Sequential(layers)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["", "my_layer"])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_layers_of_other_names_are_read_in_their_order(
    named: str, suffix: str, expected: Arrays, scratch: Path
) -> None:
    import keras

    own = own_vgg19(keras, named)
    own.set_weights([array for name in SHAPES for array in expected[name]])
    # A larger model around it, whose own convolution is not part of VGG19.
    around = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 1), own])
    for model in (own, around):
        path = save(model, scratch / f"mine{suffix}")
        assert_equal(resolve(path).arrays, expected)


def test_without_names_the_nested_model_that_fits_is_read(
    vgg19: Any, expected: Arrays, scratch: Path
) -> None:
    path = keras3_without_names(scratch / "a.weights.h5", called(vgg19))
    assert_equal(resolve(path).arrays, expected)


# Nothing in a file is executed -------------------------------------------------------------------


def rewritten(path: Path, config: bytes) -> Path:
    """Copy an archive with another configuration."""
    target = path.with_name("rewritten.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, config if member == "config.json" else old.read(member))
    return target


@pytest.mark.slow
def test_a_keras_file_runs_nothing_whatever_it_says(
    vgg19: Any, expected: Arrays, photo: npt.NDArray[np.uint8], scratch: Path
) -> None:
    import keras

    mark = scratch / "gone if it ran"
    mark.mkdir()
    where = str(mark)
    # Keras writes a lambda's code and its closure into the configuration.
    trap = lambda x: __import__("os").rmdir(where) or x  # noqa: E731
    inputs = keras.Input((32, 32, 3))
    outputs = vgg19(keras.layers.Lambda(trap)(inputs))
    path = save(keras.Model(inputs, outputs), scratch / "lambda.keras")
    mark.mkdir()
    # Verify the trap: Keras itself runs the code when told to trust the file.
    keras.models.load_model(path, safe_mode=False, compile=False)
    assert not mark.exists()
    mark.mkdir()

    assert_equal(resolve(path).arrays, expected)
    FeatureExtractor(path, size=32)(photo)
    call = {"module": "builtins", "class_name": "function", "config": f"os.rmdir({where!r})"}
    for config in (json.dumps(call).encode(), b"no JSON at all"):
        assert_equal(resolve(rewritten(path, config)).arrays, expected)
    assert mark.exists()


def zipped(path: Path, member: str, content: bytes, how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr(member, content)


BAD_ARCHIVES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "no weights": (
        lambda path: zipped(path, "config.json", b"{}"),
        ("is not a known kind of weights file", "unpack"),
    ),
    "compressed": (
        lambda path: zipped(path, "model.weights.h5", b"0" * 999, zipfile.ZIP_DEFLATED),
        ("has compressed weights", "save the model with Keras again"),
    ),
    "no HDF5": (
        lambda path: zipped(path, "model.weights.h5", b"weights" * 999),
        ("is cut short or damaged",),
    ),
    "empty member": (
        lambda path: zipped(path, "model.weights.h5", b""),
        ("is cut short or damaged",),
    ),
    "cut short": (
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(5000)),
        ("is cut short or damaged", "choose a whole file"),
    ),
    "no archive": (
        lambda path: path.write_bytes(b"weights" * 99),
        ("is not a known kind of weights file",),
    ),
    "empty": (Path.touch, ("is empty",)),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_keras_archives_are_named_in_one_sentence(case: str, scratch: Path) -> None:
    path = scratch / "mine.keras"
    make, parts = BAD_ARCHIVES[case]
    make(path)
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    message = str(caught.value)
    assert message.startswith(f"weights {str(path)!r} ")
    assert all(part in message for part in parts), message
    assert message.endswith(".")
    assert ". " not in message


def test_a_mismatch_inside_another_model_names_the_layer_and_both_shapes(scratch: Path) -> None:
    path = scratch / "mine.keras"
    inner = scratch / "inner.h5"
    with h5py.File(inner, "w") as file:
        for number, (name, shape) in enumerate(SHAPES.items()):
            wrong = (3, 3, 64, 64) if name == "block3_conv2" else shape
            group = file.create_group(f"layers/functional/layers/conv2d_{number}/vars")
            group.attrs["name"] = name
            group.create_dataset("0", wrong, "f4")
            group.create_dataset("1", wrong[-1:], "f4")
    zipped(path, "model.weights.h5", inner.read_bytes())
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    assert str(caught.value).startswith(
        f"weights {str(path)!r}: layer 'block3_conv2' has a kernel of shape (3, 3, 64, 64), but "
        "VGG19 has (3, 3, 256, 256): "
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_only_a_model_that_scales_its_pixels_gets_a_message(
    vgg19: Any, scratch: Path, suffix: str
) -> None:
    import keras

    inputs = keras.Input((32, 32, 3))
    scaled = keras.Model(inputs, vgg19(keras.layers.Rescaling(1 / 255)(inputs)))
    message = resolve(save(scaled, scratch / f"scaled{suffix}")).provenance.message
    assert "scales its pixels itself" in message
    assert "pass it as model=" in message
    plain = keras.Model(inputs, vgg19(inputs))
    assert resolve(save(plain, scratch / f"plain{suffix}")).provenance.message == ""


# Several backbones in a file ---------------------------------------------------------------------


def vgg16() -> Any:
    import keras

    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))


def side_by_side(*parts: Any) -> Any:
    """Return a model of nested backbones whose layers share names, as Keras allows."""
    import keras

    inputs = keras.Input((32, 32, 3))
    joined = keras.layers.Concatenate()([part(inputs) for part in parts])
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(joined)))


def headed_beside(vgg19: Any, other: Any) -> Any:
    """Return a model of VGG19's layers and another backbone nested beside them."""
    import keras

    both = keras.layers.Concatenate()([vgg19.output, other(vgg19.input)])
    return keras.Model(vgg19.input, keras.layers.Conv2D(2, 1)(both))


def nested_deeper(vgg19: Any, other: Any) -> Any:
    import keras

    inner = keras.Sequential([keras.Input((32, 32, 3)), vgg19], name="inner")
    return side_by_side(other, inner)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize(
    "joined",
    [
        lambda vgg19, other: side_by_side(other, vgg19),
        side_by_side,
        headed_beside,
        nested_deeper,
    ],
    ids=["second", "first", "headed", "deeper"],
)
def test_the_only_vgg19_of_several_backbones_is_read(
    joined: Callable[[Any, Any], Any], suffix: str, vgg19: Any, expected: Arrays, scratch: Path
) -> None:
    path = save(joined(vgg19, vgg16()), scratch / f"mine{suffix}")
    assert_equal(resolve(path).arrays, expected)


def twin(vgg19: Any, name: str) -> Any:
    import keras

    model = keras.applications.VGG19(
        include_top=False, weights=None, input_shape=(None, None, 3), name=name
    )
    model.set_weights(vgg19.get_weights())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_several_whole_vgg19s_are_refused_by_name(suffix: str, vgg19: Any, scratch: Path) -> None:
    model = side_by_side(twin(vgg19, "teacher"), vgg16(), twin(vgg19, "student"))
    path = save(model, scratch / f"mine{suffix}")
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    message = str(caught.value)
    assert message.startswith(f"weights {str(path)!r} hold 2 complete VGG19s, ")
    # An .h5 file names its models by their paths.
    assert all(re.search(rf"'(model_weights/)?{name}'", message) for name in ("teacher", "student"))
    assert "vgg16" not in message
    assert message.endswith("with its save_weights.")


@pytest.mark.slow
def test_several_vgg19s_without_names_are_refused_by_path(vgg19: Any, scratch: Path) -> None:
    path = keras3_without_names(scratch / "a.weights.h5", side_by_side(vgg16(), vgg19))
    assert set(resolve(path).arrays) == set(SHAPES)
    both = side_by_side(twin(vgg19, "teacher"), twin(vgg19, "student"))
    path = keras3_without_names(scratch / "b.weights.h5", both)
    with pytest.raises(WeightsError, match=r"2 complete VGG19s, 'layers/functional/layers' and"):
        resolve(path)


@pytest.mark.slow
def test_blocks_that_are_models_of_their_own(vgg19: Any, expected: Arrays, scratch: Path) -> None:
    import keras

    blocks = [
        keras.Sequential([la for la in vgg19.layers if la.name.startswith(f"block{number}")])
        for number in range(1, 6)
    ]
    whole = keras.Sequential([keras.Input((32, 32, 3)), *blocks])
    path = save(whole, scratch / "mine.weights.h5")
    assert_equal(resolve(path).arrays, expected)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_of_two_classifiers_the_one_of_vgg19_is_read(
    vgg19: Any, suffix: str, scratch: Path
) -> None:
    import keras

    def topped(base: Any, name: str) -> Any:
        inputs = keras.Input((224, 224, 3))
        x = inputs
        for layer in base.layers[1:]:
            x = layer(x)
        x = keras.layers.Flatten()(x)
        for layer, width in (("fc1", 4), ("fc2", 5), ("predictions", 3)):
            x = keras.layers.Dense(width, name=layer)(x)
        return keras.Model(inputs, x, name=name)

    parts = [topped(vgg16(), "small"), topped(vgg19, "large")]
    inputs = keras.Input((224, 224, 3))
    model = keras.Model(inputs, keras.layers.Add()([part(inputs) for part in parts]))
    path = save(model, scratch / f"mine{suffix}")
    classifier, _ = resolve_classifier(resolve(path).provenance)
    for (kernel, bias), name in zip(classifier.layers, ("fc1", "fc2", "predictions"), strict=True):
        wanted = parts[1].get_layer(name).get_weights()
        np.testing.assert_array_equal(kernel, wanted[0])
        np.testing.assert_array_equal(bias, wanted[1])

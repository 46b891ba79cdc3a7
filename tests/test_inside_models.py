"""Tests of preprocessing, axis order and repeated layer names inside a model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor
from vgg_widget.network.portable import PortableExtractor
from vgg_widget.weights import resolve

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]
# Takes the module `keras` and a tensor.
Change = Callable[[Any, Any], Any]

# Keras reads its own variables in a way that numpy 2 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    return keras


def custom_layer(keras: Any) -> Any:
    class Halved(keras.layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images / 2

    return Halved()


def adapted(keras: Any) -> Any:
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32))
    return layer


def sequential(keras: Any, *inside: Any) -> Any:
    return keras.Sequential([keras.Input((None, None, 3)), *inside], name="first")


def functional(keras: Any, change: Callable[[Any], Any]) -> Any:
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, change(inputs), name="inner")


# Preprocessing -----------------------------------------------------------------------------------

SCALES: dict[str, Change] = {
    "vgg19": lambda k, x: k.applications.vgg19.preprocess_input(x),
    "resnet_v2": lambda k, x: k.applications.resnet_v2.preprocess_input(x),
    "torch": lambda k, x: k.applications.densenet.preprocess_input(x),
    "mobilenet_v2": lambda k, x: k.applications.mobilenet_v2.preprocess_input(x),
    "divided": lambda _, x: x / 255,
    "from the right": lambda _, x: 1 - x * (1 / 255),
    "a constant for each channel": lambda _, x: x - np.array([103.9, 116.8, 123.7], np.float32),
    "ops": lambda k, x: k.ops.divide(k.ops.subtract(k.ops.cast(x, "float32"), 127.5), 127.5),
    "log": lambda k, x: k.ops.log1p(x),
    "tanh": lambda k, x: k.layers.Activation("tanh")(x),
    "one channel after the other": lambda k, x: k.ops.stack(
        [(k.ops.take(x, one, axis=-1) - 120) / 60 for one in (2, 1, 0)], axis=-1
    ),
    "of its own contrast": lambda k, x: x - k.ops.mean(x, axis=(1, 2), keepdims=True),
    "Rescaling": lambda k, x: k.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(x),
    "Normalization": lambda k, x: k.layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3)(x),
    "adapted": lambda k, x: adapted(k)(x),
    "Lambda": lambda k, x: k.layers.Lambda(lambda images: images / 255)(x),
    "custom layer": lambda k, x: custom_layer(k)(x),
    "after augmentation": lambda k, x: k.layers.Rescaling(1 / 255, name="scale")(
        k.layers.RandomRotation(0.2, name="rotate")(k.layers.RandomFlip(name="flip")(x))
    ),
    "after a change of size": lambda k, x: (
        k.layers.Resizing(16, 20)(k.layers.ZeroPadding2D(2)(x)) / 255
    ),
    "Pipeline": lambda k, x: k.layers.Pipeline(
        [k.layers.RandomFlip(name="flip"), k.layers.Rescaling(1 / 255, name="scale")]
    )(x),
    "nested": lambda k, x: sequential(
        k, k.layers.RandomFlip(name="flip"), k.layers.Rescaling(1 / 255, name="scale")
    )(x),
    "nested twice": lambda k, x: functional(
        k, sequential(k, k.layers.Rescaling(0.5, name="scale"))
    )(x),
    "nested arithmetic": lambda k, x: functional(k, k.applications.vgg19.preprocess_input)(x),
    "on one of two branches": lambda k, x: k.layers.Concatenate()([x, x / 255]),
}
KEEPS: dict[str, Change] = {
    "nothing": lambda _, x: x,
    "cast": lambda k, x: k.ops.cast(x, "float32"),
    "clipped": lambda k, x: k.ops.clip(x, 0, 255),
    "augmented": lambda k, x: k.layers.RandomContrast(0.3)(
        k.layers.RandomRotation(0.2, name="rotate")(x)
    ),
    "Pipeline": lambda k, x: k.layers.Pipeline(
        [k.layers.RandomFlip(name="flip"), k.layers.RandomZoom(0.2, name="zoom")]
    )(x),
    "nested": lambda k, x: sequential(
        k, k.layers.RandomFlip(name="flip"), k.layers.RandomTranslation(0.1, 0.1)
    )(x),
    "reversed": lambda _, x: x[..., ::-1],
    "reversed by ops": lambda k, x: k.ops.flip(x, axis=-1),
    "taken apart": lambda k, x: k.ops.stack(k.ops.unstack(x, axis=-1)[::-1], axis=-1),
    "cut": lambda k, x: k.layers.CenterCrop(20, 24)(x[:, 2:-2, ::2]),
    "another size": lambda k, x: k.ops.image.resize(k.layers.ZeroPadding2D(1)(x), (20, 24)),
    "to and fro": lambda k, x: k.ops.transpose(k.layers.Permute((3, 1, 2))(x), (0, 2, 3, 1)),
    "dropped out": lambda k, x: k.layers.Dropout(0.5)(k.layers.GaussianNoise(0.5)(x)),
    "pooled": lambda k, x: k.layers.AveragePooling2D(2)(x),
}


def beginning(keras: Any, change: Change) -> tuple[Any, Any]:
    """Return a model that begins with a change, and one that returns the changed input."""
    inputs = keras.Input((64, 75, 3))
    changed = change(keras, inputs)
    conv = keras.layers.Conv2D(2, 3, name="conv")
    return keras.Model(inputs, conv(changed), name="mine"), keras.Model(inputs, changed)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "case", [*(("scales", one) for one in SCALES), *(("keeps", o) for o in KEEPS)]
)
def test_a_model_that_keeps_its_pixels_gets_a_message(keras: Any, case: tuple[str, str]) -> None:
    kind, name = case
    model, before = beginning(keras, (SCALES if kind == "scales" else KEEPS)[name])
    # Check with Keras whether only the picture's few values, and zeros from padding, remain.
    picture = np.full((1, 64, 75, 3), (20, 110, 200), np.float32)
    if kind == "scales":
        picture[:, ::2] += 7
    values = set(np.unique(before.predict(picture, verbose=0).round(3)))
    assert (values <= {0, *np.unique(picture)}) == (kind == "keeps")
    message = FeatureExtractor(model=model).weights.message
    assert bool(message) == (kind == "keeps")
    assert not message or message.startswith("Values 0–255: model 'mine' has no Rescaling")
    assert not FeatureExtractor(model=model, preprocess=lambda x: x).weights.message


def models_that_scale_late(keras: Any) -> Iterator[Any]:
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    rescaling = layers.Rescaling(1 / 255, name="scale")
    for outputs in (
        rescaling(conv),
        layers.Conv2D(2, 3)(rescaling(conv)),
        layers.Conv2D(2, 3)(layers.Normalization(mean=0.0, variance=4.0)(conv) / 255),
        # A second output, with no weights after it.
        [conv, rescaling(inputs)],
        # A residual connection.
        layers.Conv2D(2, 3)(conv + inputs),
        layers.Conv2D(2, 3)(layers.BatchNormalization()(inputs)),
        sequential(keras, layers.Conv2D(3, 1), layers.Rescaling(2.0, name="scale"))(inputs),
    ):
        yield keras.Model(inputs, outputs)


def test_scaling_after_the_first_weights_is_not_preprocessing(keras: Any) -> None:
    for model in models_that_scale_late(keras):
        assert FeatureExtractor(model=model).weights.message.startswith("Values 0–255")


@pytest.mark.sampled
@pytest.mark.parametrize("inside", [True, False])
def test_a_model_of_keras_with_and_without_its_preprocessing(keras: Any, inside: bool) -> None:
    applications = keras.applications
    model = applications.MobileNetV3Small(
        weights=None, include_top=False, input_shape=(64, 64, 3), include_preprocessing=inside
    )
    assert bool(FeatureExtractor(model=model).weights.message) == (not inside)


# Models in files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights_file(vgg19: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a file of a whole VGG19, whose model configuration the tests replace."""
    path = tmp_path_factory.mktemp("weights") / "mine.h5"
    vgg19.save(path)
    yield path
    path.unlink()


def notice_of(weights_file: Path, model: Any, suffix: str) -> str:
    """Return the message about a file with VGG19's weights and a model's configuration."""
    small = weights_file.with_name(f"small{suffix}")
    model.save(small)
    if suffix == ".h5":
        with h5py.File(small) as source, h5py.File(weights_file, "r+") as target:
            target.attrs["model_config"] = source.attrs["model_config"]
        return resolve(weights_file).provenance.message
    path = weights_file.with_name("mine.keras")
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", source.read("config.json"))
        archive.write(weights_file, "model.weights.h5")
    message = resolve(path).provenance.message
    path.unlink()
    return message


@pytest.mark.sampled
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("case", [*(f"scales {o}" for o in SCALES), *(f"keeps {o}" for o in KEEPS)])
def test_the_message_for_a_file_says_whether_its_model_scales_pixels(
    keras: Any, weights_file: Path, case: str, suffix: str
) -> None:
    kind, name = case.split(" ", 1)
    model, _ = beginning(keras, (SCALES if kind == "scales" else KEEPS)[name])
    message = notice_of(weights_file, model, suffix)
    part = "scales its pixels itself" if kind == "scales" else ""
    assert bool(message) == bool(part)
    assert not message or f"Another input: the model in mine{suffix} {part}, but here" in message


@pytest.mark.sampled
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_scaling_after_the_first_weights_in_a_file_gives_no_message(
    keras: Any, weights_file: Path, suffix: str
) -> None:
    for model in models_that_scale_late(keras):
        assert not notice_of(weights_file, model, suffix)
    # A layer that is called twice, before and after the first weights.
    inputs = keras.Input((32, 32, 3))
    pad, scale = keras.layers.ZeroPadding2D(1), keras.layers.Rescaling(0.5, name="scale")
    conv = keras.layers.Conv2D(3, 3)
    assert not notice_of(weights_file, keras.Model(inputs, scale(conv(pad(conv(inputs))))), suffix)
    twice = conv(pad(scale(conv(pad(scale(inputs))))))
    assert "scales" in notice_of(weights_file, keras.Model(inputs, twice), suffix)


def keras_2(*layers: tuple[str, dict[str, Any], Any]) -> str:
    """Return a Keras 2 configuration of layers, each a class, settings and what it is called on."""
    written = [
        {"class_name": kind, "config": {"name": f"layer_{n}", **config}, "name": f"layer_{n}"}
        | {"inbound_nodes": [called] if called else []}
        for n, (kind, config, called) in enumerate(layers)
    ]
    ends = {
        "input_layers": [["layer_0", 0, 0]],
        "output_layers": [[f"layer_{len(layers) - 1}", 0, 0]],
    }
    return json.dumps(
        {"class_name": "Functional", "config": {"name": "m", "layers": written} | ends}
    )


def test_files_of_keras_2_get_the_same_message(weights_file: Path) -> None:
    first = ("InputLayer", {"batch_input_shape": [None, 32, 32, 3]}, None)
    conv = ("Conv2D", {"kernel_initializer": {"class_name": "Zeros", "config": {}}})

    def on(layer: int, **arguments: Any) -> Any:
        return [[f"layer_{layer}", 0, 0, arguments]]

    def function(name: str, layer: int, **arguments: Any) -> Any:
        return "TFOpLambda", {"function": name}, on(layer, **arguments)

    scales = "scales its pixels itself"
    turned = {"slice_spec": ["...", {"start": None, "stop": None, "step": -1}]}
    turn = ("SlicingOpLambda", {"function": "__operators__.getitem"}, on(0, **turned))
    inner = json.loads(keras_2(first, ("Rescaling", {"scale": 0.1}, on(0)), (*conv, on(1))))
    for layers, expected in (
        ([first, function("math.truediv", 0, y=255.0), (*conv, on(1))], scales),
        ([first, turn, function("nn.bias_add", 1, bias=[1.0] * 3), (*conv, on(2))], scales),
        ([first, turn, (*conv, on(1))], ""),
        ([first, function("cast", 0, dtype="float32"), (*conv, on(1))], ""),
        ([first, function("image.resize", 0, size=[8, 8]), (*conv, on(1))], ""),
        ([first, (*conv, on(0)), function("math.truediv", 1, y=255.0)], ""),
        (
            [
                first,
                (*conv, on(0)),
                function("__operators__.add", 1, y=["layer_0", 0, 0]),
                (*conv, on(2)),
            ],
            "",
        ),
        # A nested model; Keras 2 also counted its own first call.
        ([first, ("Functional", inner["config"], [["layer_0", 1, 0, {}]])], scales),
        ([first, (*conv, on(0)), ("Functional", inner["config"], [["layer_1", 1, 0, {}]])], ""),
        ([first, ("Scale", {}, on(0)), (*conv, on(1))], scales),
    ):
        with h5py.File(weights_file, "r+") as file:
            file.attrs["model_config"] = keras_2(*layers)
        message = resolve(weights_file).provenance.message
        assert (expected in message) if expected else not message, layers
    chain = [{"class_name": "Rescaling", "config": {"batch_input_shape": [None, 8, 8, 3]}}]
    chain += [{"class_name": conv[0], "config": conv[1]}]
    for order, scaled in ((chain, True), (chain[::-1], False)):
        with h5py.File(weights_file, "r+") as file:
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": order})
        assert (scales in resolve(weights_file).provenance.message) == scaled


def held_twice(levels: int) -> bytes:
    """Return a configuration of nested models, each of which calls its inner model twice."""
    first = ("InputLayer", {"batch_input_shape": [None, 8, 8, 3]}, None)
    inner: dict[str, Any] = json.loads(keras_2(first, ("Rescaling", {}, [["layer_0", 0, 0, {}]])))
    for _ in range(levels):
        call = ("Functional", inner["config"], [["layer_0", 0, 0, {}]])
        inner = json.loads(keras_2(first, call))
        inner["config"]["layers"][1]["inbound_nodes"] *= 2
    return json.dumps(inner).encode()


@pytest.mark.sampled
@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"no JSON",
        b'{"class_name": "Functional"}',
        b'{"class_name": "Sequential", "config": {"layers": []}}',
        # A layer that is called on itself.
        keras_2(("InputLayer", {}, None), ("Rescaling", {}, [["layer_1", 0, 0, {}]])).encode(),
        held_twice(40),
        b"[" * 100_000,
    ],
    ids=range(8),
)
def test_a_configuration_without_a_graph_is_ignored(weights_file: Path, config: bytes) -> None:
    path = weights_file.with_name("odd.keras")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.write(weights_file, "model.weights.h5")
    assert resolve(path).provenance.message == ""
    path.unlink()


# The order of channels ---------------------------------------------------------------------------


def first_maps(keras: Any, model: Any, inputs: Any) -> dict[str, Floats]:
    """Compute every layer's output with a Keras submodel."""
    called = model.operations[1:]
    whole = keras.Model(model.inputs[0], [each.output for each in called])
    made = whole.predict(inputs, verbose=0)
    names = [each.name for each in called]
    return dict(zip(names, made if isinstance(made, list) else [made], strict=True))


TURNED: dict[str, Change] = {
    "Permute": lambda k, x: k.layers.Permute((2, 3, 1))(x),
    "transpose": lambda k, x: k.ops.transpose(x, (0, 2, 3, 1)),
    "moveaxis": lambda k, x: k.ops.moveaxis(x, 1, -1),
    "two at a time": lambda k, x: k.ops.moveaxis(x, (2, 3), (1, 2)),
    "swapaxes": lambda k, x: k.ops.swapaxes(k.ops.swapaxes(x, 1, 2), 2, -1),
    "one by one": lambda k, x: k.ops.stack([x[:, 0], x[:, 1], x[:, 2]], axis=-1),
    "in two steps": lambda k, x: k.layers.Permute((1, 3, 2))(k.layers.Permute((2, 1, 3))(x)),
    "Lambda": lambda k, x: k.layers.Lambda(lambda images: k.ops.transpose(images, (0, 2, 3, 1)))(x),
    "einsum": lambda k, x: k.ops.einsum("bchw->bhwc", x),
    "scaled before": lambda k, x: k.layers.Permute((2, 3, 1))(
        k.layers.Rescaling(1 / 255, name="scale")(x)
    ),
    "scaled after": lambda k, x: k.layers.Permute((2, 3, 1))(x) / 255,
    "preprocessed": lambda k, x: k.layers.Permute((2, 3, 1))(
        k.applications.vgg19.preprocess_input(x, data_format="channels_first")
    ),
    "reversed": lambda k, x: k.layers.Permute((2, 3, 1))(x[:, ::-1]),
    "normalised": lambda k, x: k.layers.Permute((2, 3, 1))(k.layers.BatchNormalization(axis=1)(x)),
    "augmented": lambda k, x: k.layers.Permute((2, 3, 1))(
        k.layers.RandomFlip("vertical", name="flip")(x)
    ),
    "pooled": lambda k, x: k.layers.Permute((2, 3, 1))(
        k.layers.MaxPooling2D(data_format="channels_first")(x)
    ),
}


WITH_AN_INTERMEDIATE_ORDER = ("swapaxes", "in two steps")


@pytest.mark.sampled
@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 40, 56), (3, None, None)])
@pytest.mark.parametrize("case", TURNED)
def test_an_input_that_the_model_transposes(
    keras: Any, case: str, shape: tuple[int | None, ...], photo: RGB8
) -> None:
    layers = keras.layers
    if None in shape and case == "one by one":
        shape = (3, 64, 75)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="conv")(TURNED[case](keras, inputs)))
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    height, width = activations.image.shape[:2]
    assert (height, width) == (shape[1:] if shape[1] else (64, 75))
    expected = first_maps(
        keras, model, np.moveaxis(activations.image[None].astype(np.float32), -1, 1)
    )
    np.testing.assert_allclose(activations["conv"], expected["conv"][0], rtol=1e-4, atol=1e-3)
    # Maps before the transposition also have the picture's rows and columns.
    scale = 2 if case == "pooled" else 1
    for info in () if case in WITH_AN_INTERMEDIATE_ORDER else activations.layers[:-1]:
        assert activations[info.name].shape == (height // scale, width // scale, 3), info.name

    # A custom preprocess function may return either order.
    def halved(images: Floats) -> Any:
        return images / 2

    def halved_and_turned(images: Floats) -> Any:
        return np.moveaxis(images / 2, -1, 1)

    half = first_maps(keras, model, halved_and_turned(activations.image[None].astype(np.float32)))
    for preprocess in (halved, halved_and_turned):
        own = FeatureExtractor(model=model, preprocess=preprocess, size=None)(photo)
        np.testing.assert_allclose(own["conv"], half["conv"][0], rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match=r"preprocess returned an array of shape \(1, 4, "):
        FeatureExtractor(
            model=model, preprocess=lambda images: np.ones((1, 4, *images.shape[1:3])), size=None
        )(photo)


@pytest.mark.sampled
@pytest.mark.parametrize("channels", [4, 62, 64])
@pytest.mark.parametrize(
    ("turn", "axis"),
    [
        (lambda k, x: k.layers.Permute((3, 1, 2))(x), 1),
        (lambda k, x: k.ops.transpose(x, (0, 3, 1, 2)), 1),
        (lambda k, x: k.ops.moveaxis(x, -1, 1), 1),
    ],
)
def test_maps_that_the_model_transposes_are_shown_with_channels_last(
    keras: Any, turn: Change, axis: int, channels: int, photo: RGB8
) -> None:
    layers = keras.layers
    ops = keras.ops
    # With as many channels as rows, the shape alone does not tell the axes apart.
    inputs = keras.Input((64, 64, 3))
    conv = layers.Conv2D(channels, 3, name="conv")(inputs)
    turned = turn(keras, conv)
    scaled = layers.BatchNormalization(axis=axis, name="scaled")(turned * 2)
    back = ops.moveaxis(scaled, axis, -1)
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="end")(back))
    activations = FeatureExtractor(model=model)(photo)
    expected = first_maps(keras, model, activations.image[None].astype(np.float32))
    assert list(activations) == list(expected)
    names = list(activations)
    for name in names:
        of_keras = expected[name][0]
        if name in names[1:4]:  # between the two transpositions
            of_keras = np.moveaxis(of_keras, axis - 1, -1)
        np.testing.assert_allclose(activations[name], of_keras, rtol=1e-4, atol=1e-3)
        info = activations.info(name)
        assert info.channels == activations[name].shape[-1] == (2 if name == "end" else channels)
        assert info.receptive_field == (5 if name == "end" else 3)
        assert info.receptive_field_box(2, 7, (64, 64))[:2] == (2, 7)


@pytest.mark.parametrize("order", [(2, 1, 3), (1, 3, 2)])
def test_maps_in_another_axis_order_keep_the_order_of_the_model(
    keras: Any, order: tuple[int, ...], photo: RGB8
) -> None:
    layers = keras.layers
    inputs = keras.Input((32, 48, 3))
    maps = layers.Conv2D(4, (3, 5), name="conv")(inputs)
    maps = layers.Permute(order, name="turned")(maps)
    model = keras.Model(inputs, layers.Conv2D(5, (3, 1), strides=(2, 1), name="after")(maps))
    extractor = FeatureExtractor(model=model)
    activations = extractor(photo)
    expected = first_maps(keras, model, activations.image[None].astype(np.float32))
    for name, of_keras in expected.items():
        np.testing.assert_allclose(activations[name], of_keras[0], rtol=1e-4, atol=1e-3)
    known = {info.name: info.receptive_field for info in activations.layers}
    # No receptive field is known, since rows of the map are not rows of the input.
    assert (known["turned"], known["after"]) == (None, None)
    found = extractor.fan_in("after").contributions(activations["turned"], 3, 6, 2)
    assert found is not None
    assert found.sum() == pytest.approx(activations["after"][6, 2, 3], rel=1e-4)


def test_layers_with_channels_first_in_the_middle(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    first = {"data_format": "channels_first"}
    inputs = keras.Input((64, 75, 3))
    maps = layers.Conv2D(5, 3, strides=2, name="conv")(inputs)
    maps = layers.Permute((3, 1, 2), name="turned")(maps)
    maps = layers.ZeroPadding2D(1, name="padded", **first)(maps)
    maps = layers.MaxPooling2D(2, name="pooled", **first)(maps)
    maps = layers.UpSampling2D(2, name="enlarged", **first)(maps)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="squeezed", **first)(maps)
    maps = layers.Multiply(name="excited")([maps, pooled])
    model = keras.Model(inputs, layers.Permute((2, 3, 1), name="back")(maps))
    activations = FeatureExtractor(model=model, size=None)(photo)
    expected = first_maps(keras, model, photo[None].astype(np.float32))
    for name, maps in expected.items():
        upright = maps[0] if name in ("conv", "back") else np.moveaxis(maps[0], 0, -1)
        np.testing.assert_allclose(activations[name], upright, rtol=1e-4, atol=1e-3)
        assert activations.info(name).channels == 5
    known = {info.name: (info.stride, info.receptive_field) for info in activations.layers}
    assert known["turned"] == (2, 3)
    assert (known["pooled"], known["enlarged"]) == ((4, 5), (2, 5))
    assert known["squeezed"][1] is known["excited"][1] is known["back"][1] is None


def test_convolutions_with_channels_first_after_a_transposition(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    # Not every machine can compute these layers, but their names and geometry are known.
    inputs = keras.Input((64, 75, 3))
    turned = layers.Permute((3, 1, 2), name="turned")(
        layers.Rescaling(1 / 255, name="scale")(inputs)
    )
    conv = layers.Conv2D(7, 5, strides=2, data_format="channels_first", name="conv")(turned)
    # A map reshaped from a vector gets the layout that earlier layers require.
    flat = layers.Dense(6 * 7 * 5)(
        layers.GlobalAveragePooling2D(data_format="channels_first")(conv)
    )
    made = layers.Reshape((5, 6, 7), name="made")(flat)
    model = keras.Model(inputs, [conv, layers.Activation("relu", name="relu")(made)])
    layers_of = {info.name: info for info in FeatureExtractor(model=model).layers}
    assert [layers_of[name].channels for name in ("turned", "conv", "made", "relu")] == [3, 7, 5, 5]
    assert (layers_of["conv"].receptive_field, layers_of["conv"].stride) == (5, 2)
    assert layers_of["relu"].receptive_field is None


GREY: dict[str, Change] = {
    "new axis": lambda _, x: x[..., None],
    "new axis in front": lambda k, x: k.ops.moveaxis(x[:, None], 1, -1),
    "expand_dims": lambda k, x: k.ops.expand_dims(x, -1),
    "Reshape": lambda k, x: k.layers.Reshape((28, 28, 1))(x),
    "three of it": lambda k, x: k.ops.repeat(k.ops.expand_dims(x / 255, -1), 3, axis=-1),
    "stacked": lambda k, x: k.ops.stack([x, x, x], axis=-1),
}


@pytest.mark.parametrize("case", GREY)
def test_a_grey_input_without_an_axis_for_channels(keras: Any, case: str, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((28, 28))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="conv")(GREY[case](keras, inputs)))
    activations = FeatureExtractor(model=model)(photo)
    luma = activations.image @ np.array([0.299, 0.587, 0.114])
    expected = first_maps(keras, model, luma[None].astype(np.float32))
    np.testing.assert_allclose(activations["conv"], expected["conv"][0], rtol=1e-4, atol=1e-3)
    for info in activations.layers:
        assert activations[info.name].shape[:2] == ((26, 26) if info.name == "conv" else (28, 28))
        assert info.receptive_field == (3 if info.name == "conv" else 1)


def test_an_input_that_is_not_transposed_has_channels_last(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    # Three rows of an image, not three channels.
    inputs = keras.Input((3, 64, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(inputs))
    activations = FeatureExtractor(model=model)(photo)
    assert activations.image.shape == (3, 64, 3)
    assert activations["conv"].shape == (1, 62, 2)
    inputs = keras.Input((3, 32, 64))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match="takes 64 channels, not the 3 of RGB: pass preprocess="):
        FeatureExtractor(model=model)


# Names -------------------------------------------------------------------------------------------


def backbone(keras: Any, name: str, channels: int) -> Any:
    """Return a model whose layers have the same names in every model made here."""
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    maps = layers.Conv2D(3, 3, padding="same", name="block1_conv1")(inputs)
    maps = layers.Add(name="add")([maps, inputs])
    maps = layers.Conv2D(channels, 3, name="block1_conv2")(maps)
    return keras.Model(inputs, layers.MaxPooling2D(name="block1_pool")(maps), name=name)


def joined(keras: Any, order: tuple[str, ...] = ("vgg16", "vgg19")) -> Any:
    inputs = keras.Input((32, 40, 3))
    first, second = (backbone(keras, name, 4) for name in order)
    scaled = keras.layers.Rescaling(1 / 255, name="scaled")(inputs)
    total = keras.layers.Add(name="total")([first(inputs), second(scaled)])
    outputs = keras.layers.Conv2D(2, 1, name="block1_conv1")(total)
    return keras.Model(inputs, outputs, name="both")


@pytest.mark.parametrize("order", [("vgg16", "vgg19"), ("b", "a")])
def test_backbones_that_share_their_layers_names(
    keras: Any, order: tuple[str, ...], photo: RGB8
) -> None:
    model = joined(keras, order)
    written = model.to_json()
    extractor = FeatureExtractor(model=model)
    activations = extractor(photo)
    inside = ["block1_conv1", "add", "block1_conv2", "block1_pool"]
    assert sorted(activations) == sorted(
        [
            "scaled",
            "total",
            "block1_conv1",
            *(f"{one}/{name}" for one in order for name in inside),
        ]
    )
    pixels = activations.image[None].astype(np.float32)
    for one, given in zip(order, (pixels, pixels / 255), strict=True):
        for name, maps in first_maps(keras, model.get_layer(one), given).items():
            np.testing.assert_allclose(activations[f"{one}/{name}"], maps[0], rtol=1e-4, atol=1e-4)
            known = activations.info(f"{one}/{name}").receptive_field
            assert known == {"block1_conv1": 3, "add": 3, "block1_conv2": 5, "block1_pool": 6}[name]
        fan_in = extractor.fan_in(f"{one}/block1_conv2")
        assert fan_in.source == f"{one}/add"
        kernel = model.get_layer(one).get_layer("block1_conv2").get_weights()[0]
        np.testing.assert_array_equal(fan_in.kernel, kernel)
    np.testing.assert_allclose(
        activations["block1_conv1"], model.predict(pixels, verbose=0)[0], rtol=1e-4, atol=1e-4
    )
    # The model is unchanged, and a new extractor uses its current weights.
    assert model.to_json() == written
    model.set_weights([2 * one for one in model.get_weights()])
    np.testing.assert_allclose(
        FeatureExtractor(model=model)(photo)["block1_conv1"],
        model.predict(pixels, verbose=0)[0],
        rtol=1e-4,
        atol=1e-4,
    )


def test_shared_names_deep_inside_and_a_backbone_called_twice(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((40, 40, 3))
    one, other = (
        backbone(keras, "one", 3),
        keras.Sequential([keras.Input((40, 40, 3)), backbone(keras, "in", 3)]),
    )
    other.name = "other"
    again = layers.Concatenate(name="add")([one(one(inputs)), one(other(inputs))])
    model = keras.Model(inputs, again)
    activations = FeatureExtractor(model=model)(photo)
    names = [f"{part}/block1_conv2" for part in ("one", "one#2", "one#3", "other/in")]
    assert {*names, "add"} <= {*activations}
    pixels = activations.image[None].astype(np.float32)
    np.testing.assert_allclose(
        activations["add"], model.predict(pixels, verbose=0)[0], rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(
        activations["one#3/block1_pool"], one(other(pixels))[0], rtol=1e-3, atol=1e-2
    )


def test_a_model_with_shared_names_can_be_sent_to_a_process(keras: Any, photo: RGB8) -> None:
    parts = [backbone(keras, name, 3) for name in ("one", "other")]
    extractor = FeatureExtractor(model=keras.Sequential([keras.Input((40, 40, 3)), *parts]))
    arrived = PortableExtractor.of(extractor).extractor()
    for here, there in zip(extractor(photo).values(), arrived(photo).values(), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.slow
def test_vgg16_and_vgg19_in_one_model(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    applications = keras.applications
    inputs = keras.Input((64, 64, 3))
    parts = [
        make(weights=None, include_top=False, input_shape=(64, 64, 3))
        for make in (applications.VGG16, applications.VGG19)
    ]
    prepared = applications.vgg19.preprocess_input(inputs)
    both = layers.Concatenate()([part(prepared) for part in parts])
    extractor = FeatureExtractor(model=keras.Model(inputs, layers.Dense(2)(both)))
    assert not extractor.weights.message
    activations = extractor(photo)
    caffe = activations.image[None, ..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    for part, count in zip(parts, (18, 21), strict=True):
        names = [name for name in activations if name.startswith(f"{part.name}/")]
        assert len(names) == count
        expected = part(caffe)[0]
        np.testing.assert_allclose(
            activations[f"{part.name}/block5_pool"], expected, rtol=1e-3, atol=1e-3
        )
        assert activations.info(f"{part.name}/block3_conv3").receptive_field == 40

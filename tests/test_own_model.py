"""Tests of custom Keras models: order and values of layers, accepted inputs, and errors."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import Activations, FeatureExtractor, LayerExplorer, plot, render
from vgg_widget.dataset import top_activations
from vgg_widget.explorer.controls import layer_options
from vgg_widget.network.own_model import Named, groups
from vgg_widget.pictures.captions import caption
from vgg_widget.pictures.modes import MODES

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


def assert_close(got: Floats, expected: Any) -> None:
    expected = np.asarray(expected, np.float32)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-30)


def names_of(extractor: FeatureExtractor) -> list[str]:
    return [info.name for info in extractor.layers]


def alive(model: Any, seed: int = 0) -> Any:
    """Give batch normalisations random parameters, so that wrong ones would be noticed."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


# Whole models ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ResNet50", "MobileNetV3Small", "DenseNet121", "EfficientNetV2B0", "ConvNeXtTiny"]
)
def test_maps_of_keras_applications_equal_keras(keras: Any, photo: RGB8, name: str) -> None:
    make = getattr(keras.applications, name)
    model = alive(make(weights=None, include_top=False, input_shape=(None, None, 3)))
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    assert len(set(activations)) == len(activations) > 150
    # Layers have Keras's own order; those of a nested model are listed where it is called.
    in_keras = [layer.name for layer in model.layers[1:]]
    nested = {layer.name for layer in model.layers if isinstance(layer, keras.Sequential)}
    outer = [name for name in in_keras if name in activations]
    assert outer == [name for name in activations if name in in_keras]
    assert set(in_keras) - set(outer) - nested == {
        # Vectors, not maps.
        layer.name
        for layer in model.layers[1:]
        if len(layer.output.shape) != 4
    }
    # Compare with the layers' outputs in a Keras submodel.
    chosen = [*outer[::12], outer[-1]]
    direct = keras.Model(model.input, [model.get_layer(name).output for name in chosen])
    expected = direct(photo[None].astype(np.float32), training=False)
    for layer, output in zip(chosen, expected, strict=True):
        assert_close(activations[layer], np.asarray(output)[0])
    for info in activations.layers:
        assert activations[info.name].shape[-1] == info.channels
        if info.receptive_field is not None:
            rows, columns = activations[info.name].shape[:2]
            info.receptive_field_box(rows - 1, columns - 1, (64, 75))
    # Squeeze-and-excite reads the whole map; the others' receptive fields are known to the end.
    knows = activations.layers[-1].receptive_field is not None
    assert knows == (name in ("ResNet50", "DenseNet121", "ConvNeXtTiny"))


@pytest.mark.slow
def test_a_nested_base_and_augmentation_are_unpacked(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    base = alive(keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35))
    augment = keras.Sequential(
        [layers.RandomFlip(), layers.RandomRotation(0.5), layers.RandomZoom(0.5)], name="augment"
    )
    inputs = keras.Input((64, 75, 3))
    maps = base(layers.Rescaling(1 / 127.5, offset=-1)(augment(inputs)))
    dense = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, name="own")(maps)))
    model = keras.Model(inputs, dense, name="student")
    config = model.to_json()
    extractor = FeatureExtractor(model=model)
    names = names_of(extractor)
    inside = [layer.name for layer in base.layers[1:]]
    stem = f"{base.name}/"
    assert [name.removeprefix(stem) for name in names if name.startswith(stem)] == inside
    assert [name for name in names if not name.startswith(stem)][:3] == [
        "augment/random_flip",
        "augment/random_rotation",
        "augment/random_zoom",
    ]
    assert names.index("own") == len(names) - 1
    activations = extractor(photo)
    for name in ("augment/random_flip", "augment/random_zoom"):
        np.testing.assert_array_equal(activations[name], photo)
    scaled = photo[None] / np.float32(127.5) - 1
    chosen = ["Conv1", "block_3_expand_relu", "block_13_project_BN", "out_relu"]
    direct = keras.Model(base.input, [base.get_layer(name).output for name in chosen])
    for name, expected in zip(chosen, direct(scaled, training=False), strict=True):
        assert_close(activations[f"{base.name}/{name}"], np.asarray(expected)[0])
    blocks = {info.name: info.block for info in extractor.layers}
    assert blocks[f"{stem}block_3_expand_relu"] == f"{base.name}/block_3"
    assert blocks["augment/random_zoom"] == "augment"
    # The model is unchanged.
    assert model.to_json() == config
    assert model.get_layer(base.name) is base


def test_a_students_sequential_model(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((48, 60, 3)),
            layers.Rescaling(1 / 255, name="scale"),
            layers.Conv2D(5, 3, strides=2, name="a"),
            layers.BatchNormalization(name="b"),
            layers.Activation("tanh", name="c"),
            layers.Dropout(0.9, name="d"),
            layers.Flatten(),
            layers.Dense(2),
        ],
        name="fixed",
    )
    extractor = FeatureExtractor(model=alive(model), size=224)
    assert extractor.size == (48, 60)  # the model's own
    assert extractor.weights.source == "model"
    assert extractor.weights.label == "model 'fixed'"
    assert not extractor.weights.message
    activations = extractor(photo)
    assert activations.image.shape == (48, 60, 3)
    assert list(activations) == ["scale", "a", "b", "c", "d"]
    kernel, bias = model.get_layer("a").get_weights()
    patch = activations.image[12:15, 20:23].astype(np.float64) / 255
    assert_close(activations["a"][6, 10], np.tensordot(patch, kernel, 3) + bias)
    gamma, beta, mean, variance = model.get_layer("b").get_weights()
    normed = gamma * (activations["a"] - mean) / np.sqrt(variance + 1e-3) + beta
    assert_close(activations["b"], normed)
    assert_close(activations["c"], np.tanh(normed))
    np.testing.assert_array_equal(activations["d"], activations["c"])
    with pytest.raises(ValueError, match="cannot be written as code"):
        extractor.to_code()


def test_a_sequential_model_that_holds_a_functional_base(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    one = layers.Conv2D(4, 3, activation="relu", name="conv1")(inputs)
    base = keras.Model(inputs, layers.MaxPooling2D(name="pool1")(one), name="base")
    model = keras.Sequential([base, layers.Conv2D(2, 3, name="top"), layers.Flatten()])
    assert base.layers[1].output is one
    activations = FeatureExtractor(model=model, size=None)(photo)
    assert list(activations) == ["base/conv1", "base/pool1", "top"]
    pooled = base(photo[None].astype(np.float32))
    assert_close(activations["base/pool1"], pooled[0])
    assert_close(activations["top"], model.get_layer("top")(pooled)[0])
    assert activations.info("top").receptive_field == 8
    # An extractor describes layers at its own size, activations at the size of their image.
    assert activations.layers == FeatureExtractor(model=model, size=(64, 75)).layers
    assert activations.layers != FeatureExtractor(model=model).layers
    assert base.layers[1].output is one


def test_two_branches_and_operations_without_a_layer(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, padding="same", name="fine")(inputs)
    coarse = layers.Conv2D(4, 3, strides=2, padding="same", name="coarse")(inputs)
    halved = layers.AveragePooling2D(2, padding="same", name="halved")(fine)
    total = halved + 2 * coarse
    model = keras.Model(inputs, {"maps": total, "class": layers.GlobalMaxPooling2D()(total)})
    activations = FeatureExtractor(model=model, size=None)(photo)
    order = [layer.name for layer in model.layers]
    named = [name for name in activations if name in ("fine", "halved", "coarse")]
    assert named == sorted(("fine", "halved", "coarse"), key=order.index)
    last = list(activations)[-1]
    assert_close(activations[last], activations["halved"] + 2 * activations["coarse"])
    known = {info.name: info.stride for info in activations.layers}
    assert (known["fine"], known["halved"], known["coarse"], known[last]) == (1, 2, 2, 2)
    assert activations.info(last).receptive_field == 4


def test_layers_that_are_called_twice_are_listed_twice(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(3, 3, name="c")], name="twin"
    )
    shared = layers.Conv2D(3, 1, name="shared")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, shared(inner(shared(inner(inputs)))))
    activations = FeatureExtractor(model=model, size=None)(photo)
    assert list(activations) == ["twin/c", "shared", "twin#2/c", "shared#2"]
    maps = photo[None].astype(np.float32)
    for name in activations:
        maps = (inner if "twin" in name else shared)(maps)
        assert_close(activations[name], maps[0])
    assert [info.receptive_field for info in activations.layers] == [3, 3, 5, 5]


def test_a_layer_of_several_outputs(keras: Any, photo: RGB8) -> None:
    inputs = keras.Input((None, None, 3))
    left, right = keras.ops.split(keras.layers.Conv2D(4, 3, name="c")(inputs), 2, axis=-1)
    activations = FeatureExtractor(model=keras.Model(inputs, [right, left]), size=None)(photo)
    whole = activations["c"]
    parts = [name for name in activations if name != "c"]
    assert [name[-3:] for name in parts] == ["[0]", "[1]"]
    for name, expected in zip(parts, (whole[..., :2], whole[..., 2:]), strict=True):
        np.testing.assert_array_equal(activations[name], expected)


def test_layers_that_must_know_the_size(keras: Any, photo: RGB8) -> None:
    # TensorFlow's kernel for this layer accepts no size that is known only at run time.
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.UpSampling2D(interpolation="bilinear")]
    )
    extractor = FeatureExtractor(model=model, size=None)
    for image in (photo, photo[:40, :50]):
        (maps,) = extractor(image).values()
        assert_close(maps, model(image[None].astype(np.float32))[0])
        assert list(extractor.stream([image] * 3, batch_size=2))[2].image.shape == image.shape


# Layouts, sizes and dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(None, None), (40, 50)])
def test_channels_first_maps_are_shown_upright(keras: Any, photo: RGB8, size: Any) -> None:
    layers, first = keras.layers, {"data_format": "channels_first"}
    model = alive(
        keras.Sequential(
            [
                keras.Input((3, *size)),
                layers.Conv2D(4, 3, padding="same", name="a", **first),
                layers.BatchNormalization(axis=1, name="b"),
                layers.MaxPooling2D(name="c", **first),
                layers.DepthwiseConv2D(3, strides=2, name="d", **first),
                layers.Conv2DTranspose(2, 3, name="e", **first),
                layers.Softmax(axis=1, name="f"),
            ]
        )
    )
    seen: list[tuple[int, ...]] = []

    def halved(images: Floats) -> Any:
        seen.append(images.shape)
        return images / 2

    extractor = FeatureExtractor(model=model, size=None, preprocess=halved)
    activations = extractor(photo)
    height, width = activations.image.shape[:2]
    assert (height, width) == (size if size[0] else (64, 75))
    assert seen == [(1, height, width, 3)]
    maps = np.moveaxis(activations.image[None] / np.float32(2), -1, 1)
    for info, layer in zip(activations.layers, model.layers, strict=True):
        maps = layer(maps, training=False) if info.name == "b" else layer(maps)
        assert_close(activations[info.name], np.moveaxis(np.asarray(maps)[0], 0, -1))
        assert info.channels == maps.shape[1]
        assert info.receptive_field is not None
    # An array that already has the network's layout is used unchanged.
    moved = FeatureExtractor(model=model, size=None, preprocess=lambda i: np.moveaxis(i / 2, -1, 1))
    np.testing.assert_array_equal(moved(photo)["e"], activations["e"])


def mnist(keras: Any, shape: tuple[int, ...]) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            *([layers.Reshape((28, 28, 1), name="column")] if len(shape) == 2 else []),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name="digits",
    )


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28)])
def test_a_grey_model_sees_the_luma(keras: Any, photo: RGB8, shape: tuple[int, ...]) -> None:
    model = mnist(keras, shape)
    extractor = FeatureExtractor(model=model)
    assert extractor.weights.label == "model 'digits' on grey (the image's luma)"
    activations = extractor(photo)
    assert activations.image.shape == (28, 28, 3)
    red, green, blue = np.moveaxis(activations.image.astype(np.float64), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.ptp([red, green, blue], axis=0).max() > 100  # so that it matters how they are mixed
    column = grey[None, ..., None].astype(np.float32)
    assert_close(activations["first"], model.get_layer("first")(column)[0])
    assert activations.info("pool").receptive_field_box(0, 1, (28, 28)) == (0, 2, 4, 6)
    # A custom preprocess may scale all three channels, or return grey values.
    bias = model.get_layer("first").get_weights()[1]
    assert not bias.any()  # Keras's default, with which the maps scale with the input
    small = FeatureExtractor(model=model, preprocess=lambda images: images / 255)(photo)
    assert_close(small["first"], activations["first"] / 255)
    own = FeatureExtractor(model=model, preprocess=lambda images: images[..., :1])(photo)
    alone = FeatureExtractor(model=model, preprocess=lambda images: images[..., 0])(photo)
    np.testing.assert_array_equal(own["first"], alone["first"])
    assert own.weights.label == "model 'digits'"


def test_a_digit_of_28_pixels_is_not_resized(keras: Any) -> None:
    digit = (np.arange(784).reshape(28, 28) % 251).astype(np.uint8)
    model = mnist(keras, (28, 28, 1))
    explorer = LayerExplorer(digit, extractor=FeatureExtractor(model=model))
    expected = model.get_layer("first")(digit[None, ..., None].astype(np.float32))
    assert_close(explorer.activations["first"], expected[0])
    explorer.image = digit[::-1]
    assert (explorer.image[..., 0] == digit[::-1]).all()
    explorer.close()
    free = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(1, 3)])
    (small,) = FeatureExtractor(model=free, size=8)(digit).values()
    assert small.shape == (6, 6, 1)
    with pytest.raises(ValueError, match=r"size 0 cannot be used: give whole pixels of at least 1"):
        FeatureExtractor(model=free, size=0)


def test_the_message_says_which_values_a_model_without_scaling_gets(keras: Any) -> None:
    extractor = FeatureExtractor(model=mnist(keras, (28, 28, 1)))
    assert extractor.weights.message.startswith("Values 0–255: model 'digits' has no Rescaling")
    custom = FeatureExtractor(model=mnist(keras, (28, 28, 1)), preprocess=lambda images: images)
    assert not custom.weights.message


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_maps_are_float32_whatever_the_model_computes_in(
    keras: Any, photo: RGB8, policy: str
) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    maps = layers.Rescaling(1 / 255, dtype=policy)(inputs)
    maps = layers.Conv2D(4, 3, dtype=policy, name="conv")(maps)
    winner = keras.ops.argmax(maps, axis=-1, keepdims=True)
    model = keras.Model(inputs, [maps, winner])
    activations = FeatureExtractor(model=model, size=None)(photo)
    direct, numbers = model(photo[None].astype(np.float32))
    assert activations["conv"].dtype == np.float32
    # Only the same kernels round half precision identically.
    expected = np.asarray(direct.numpy(), np.float32)[0]
    assert np.abs(activations["conv"] - expected).max() <= 2e-2 * np.abs(expected).max()
    last = activations[list(activations)[-1]]
    assert last.dtype == np.float32
    assert last.shape == (62, 73, 1)
    assert (last[..., 0] == np.asarray(numbers)[0, ..., 0]).mean() > 0.9


def test_nan_and_infinite_maps_break_no_picture(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, name="ill"),
            layers.Conv2D(4, 3, name="after"),
        ],
        name="ill",
    )
    kernel = model.get_layer("ill").get_weights()[0]
    model.get_layer("ill").set_weights([kernel, np.array([0, np.nan, np.inf, 0], np.float32)])
    with pytest.warns(UserWarning, match=r"^50% of the values of layer 'ill' .* some of 1 later"):
        activations = FeatureExtractor(model=model, size=None)(photo)
    assert np.isnan(activations["ill"][..., 1]).all()
    statistics = activations.statistics("ill")
    np.testing.assert_array_equal(statistics.fraction_finite, [1, 0, 0, 1])
    first = activations["ill"][..., 0]
    assert (statistics.min[0], statistics.max[0]) == (first.min(), first.max())
    assert (statistics.min[1], statistics.max[1], statistics.std[1]) == (0, 0, 0)
    for layer in activations:
        for mode in MODES:
            for scale in ("channel", "layer", "network"):
                picture = render(activations, layer, mode, scale=scale)
                assert picture.vmax is None or np.isfinite(picture.vmax)
    words = caption(activations, render(activations, "ill", "max"))
    assert "50% of the values NaN or infinite" in words
    # Finite channels of the layer are drawn as usual.
    picture = render(activations, "ill", scale="channel")
    assert picture.vmax == pytest.approx(np.abs(first).max())
    with pytest.warns(UserWarning, match="NaN or infinite"):
        explorer = LayerExplorer(
            photo, extractor=FeatureExtractor(model=model, size=None), channel=1
        )
    explorer.layer, explorer.mode = "after", "grid"
    explorer.close()


@pytest.mark.sampled
@pytest.mark.parametrize("size", [None, 40])
@pytest.mark.parametrize("name", ["conv 2", "größe", "a#2", "a:b", "1×1", "_last one"])
def test_a_layer_name_that_tensorflow_cannot_compile(
    keras: Any, name: str, size: int | None, photo: RGB8
) -> None:
    inputs = keras.Input((size, size, 3))
    inner = keras.layers.Conv2D(2, 3, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, name=name)(inner), name="m")
    extractor = FeatureExtractor(model=model)
    for act in (
        lambda: extractor(photo),
        lambda: list(extractor.stream([photo])),
        lambda: top_activations(extractor, [photo], progress=False),
    ):
        with pytest.raises(ValueError, match=r"^model 'm' failed on an image of") as caught:
            act()
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["my model", "größe", "a:b", "_m", "-", "1×1"])
def test_a_model_may_have_any_name(keras: Any, name: str, photo: RGB8) -> None:
    inside = [keras.layers.Conv2D(2, 3, name="c"), keras.layers.ReLU(name="r")]
    inputs = keras.Input((None, None, 3))
    # Two models share layer names, so their layers are listed under the models' names.
    first, second = (
        keras.Sequential([keras.Input((None, None, 3)), *map(copied, inside)], name=f"{name}{n}")
        for n in (1, 2)
    )
    out = keras.layers.Add(name="add")([first(inputs), second(inputs)])
    model = keras.Model(inputs, out, name=name)
    activations = FeatureExtractor(model=model)(photo)
    expected = np.asarray(model(activations.image[None].astype(np.float32)))[0]
    np.testing.assert_allclose(activations["add"], expected, rtol=1e-4, atol=1e-3)
    assert activations.weights.label == f"model {name!r}"


def copied(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def all_nan(images: Any) -> Any:
    return images * np.nan


def half_infinite(images: Any) -> Any:
    images[:, : images.shape[1] // 2] = np.inf
    return images


def in_one_pixel(images: Any) -> Any:
    images[:, 0, 0, 0] = -np.inf
    return images


@pytest.mark.parametrize(
    ("prepare", "share"), [(all_nan, "100%"), (half_infinite, "50%"), (in_one_pixel, "0.021%")]
)
def test_nan_and_infinite_maps_warn_once_per_forward_pass(
    keras: Any, prepare: Any, share: str, photo: RGB8
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(2, 1, name="ill"),
        ]
    )
    extractor = FeatureExtractor(model=model, preprocess=prepare, size=None)
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"^{share} of the values of layer 'ill' ") as warned:
            activations = extractor(photo)
        assert len(warned) == 1
    with pytest.warns(UserWarning, match="NaN or infinite") as warned:
        assert len(list(extractor.stream([photo] * 3, batch_size=2))) == 3
    assert len(warned) == 2
    words = caption(activations, render(activations, "ill", "grid"))
    assert f"{share} of the values NaN or infinite" in words


def test_the_first_layer_with_nan_is_named(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inside = [layers.Conv2D(2, 3, name=name) for name in ("sound", "ill", "after", "last")]
    model = keras.Sequential([keras.Input((None, None, 3)), *inside], name="one")
    model.get_layer("ill").bias.assign([0, np.nan])
    with pytest.warns(UserWarning, match=r"^50% .* 'ill' \(model 'one'\) .* some of 2 later"):
        FeatureExtractor(model=model)(photo)


def test_vgg19_warns_of_a_nan_input(photo: RGB8) -> None:
    extractor = FeatureExtractor("random", preprocess=all_nan, size=32)
    with pytest.warns(UserWarning, match="^100% of the values of layer 'block1_conv1' "):
        extractor(photo)


# Inputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda images: images[:, ::2], r"returned an array of shape \(1, 32, 75, 3\) .* \(1, 3,"),
        (lambda images: images[..., :1], r"shape \(1, 64, 75, 1\) for 1 RGB images of 64×75"),
        (lambda images: [images, images], r"shape \(2, 1, 64, 75, 3\)"),
        (lambda _: None, r"preprocess returned a NoneType, not an array"),
        (lambda images: images.astype(object), r"preprocess returned a ndarray, not an array of"),
    ],
)
def test_what_preprocess_returns_is_checked(
    keras: Any, photo: RGB8, made: Any, message: str
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((3, None, None)), layers.Conv2D(2, 3, data_format="channels_first")]
    )
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(model=model, preprocess=made, size=None)(photo)


def test_a_model_of_four_channels_needs_a_preprocess(keras: Any, photo: RGB8) -> None:
    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(2, 3, name="a")])
    with pytest.raises(ValueError, match=r"model .* takes 4 channels, .* RGB.*: pass preprocess="):
        FeatureExtractor(model=model)

    def with_edges(images: Floats) -> Floats:
        return np.concatenate([images, images[..., :1]], axis=-1)

    activations = FeatureExtractor(model=model, preprocess=with_edges, size=None)(photo)
    assert_close(activations["a"], model(with_edges(photo[None].astype(np.float32)))[0])


def test_models_that_cannot_be_used(keras: Any) -> None:
    layers = keras.layers

    class Subclass(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2D(4, 3, name="conv")

        def call(self, inputs: Any) -> Any:
            return self.conv(inputs)

    left, right = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    sequential = keras.Sequential
    flat = [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(2)]
    subclass = Subclass()
    subclass(np.zeros((1, 32, 32, 3), np.float32))
    for model, message in (
        (sequential([layers.Conv2D(4, 3)]), r"model is a Sequential that has no inputs yet: begin"),
        (sequential([]), r"model is a Sequential that has no inputs yet: begin"),
        (subclass, r"model is a Subclass with its own call method, .*: wrap it, as in inputs"),
        ("vgg16", r"model is a str that is not a model of Keras 3 or PyTorch: load a file with"),
        (keras.Sequential, r"model is a type that is not a model of Keras 3"),
        (
            sequential([keras.Input((8,)), layers.Dense(2)]),
            r"inputs of shape \(8,\), which are not",
        ),
        (sequential(flat), r"no layers with 4-D outputs .*: pass one with convolutions"),
        (sequential([keras.Input((32, None, 3)), layers.Conv2D(1, 3)]), r"one side fixed: specify"),
        (keras.Model([left, right], layers.Add()([left, right]), name="two"), r"'two' has 2 inp"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            FeatureExtractor(model=model)
        assert str(raised.value).count(": ") >= 1
        assert "\n" not in str(raised.value)
    # The remedy that the message names works.
    inputs = keras.Input((32, 32, 3))
    wrapped = keras.Model(inputs, subclass.call(inputs))
    assert names_of(FeatureExtractor(model=wrapped)) == ["conv"]


def test_a_sequential_model_built_by_use(keras: Any, photo: RGB8) -> None:
    model = keras.Sequential([keras.layers.Conv2D(4, 3, name="a")])
    with pytest.raises(ValueError, match="no inputs yet"):
        FeatureExtractor(model=model)
    model.build((None, 64, 75, 3))
    assert list(FeatureExtractor(model=model)(photo)) == ["a"]
    model.add(keras.layers.ReLU(name="b"))
    assert list(FeatureExtractor(model=model)(photo)) == ["a", "b"]


def test_an_unsuitable_size_is_refused(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    back = layers.UpSampling2D()(layers.MaxPooling2D()(inputs))
    unet = keras.Model(inputs, layers.Concatenate()([inputs, back]), name="unet")
    extractor = FeatureExtractor(model=unet, size=None)
    message = r"model 'unet' failed on an image of 64×75 pixels \(.*75.*74.*\): try another size"
    with pytest.raises(ValueError, match=message) as raised:
        extractor(photo)
    assert "\n" not in str(raised.value)
    assert len(extractor(photo[:, :64])) == 3
    deep = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 70)], name="wide")
    with pytest.raises(ValueError, match=r"model 'wide' failed on an image of 64×75 .*: try"):
        FeatureExtractor(model=deep, size=None)(photo)


def test_a_layer_that_fails_says_why_and_what_to_do(keras: Any, photo: RGB8) -> None:
    class Broken(keras.layers.Layer):  # type: ignore[misc]
        def compute_output_shape(self, shape: Any) -> Any:
            return shape

        def call(self, x: Any) -> Any:
            import tensorflow as tf

            tf.debugging.Assert(tf.reduce_max(x) < -1e9, ["no such thing"])
            return x

    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3), Broken()]
    extractor = FeatureExtractor(model=keras.Sequential(layers, name="mine"), size=64)
    with pytest.raises(ValueError, match=r"model 'mine' failed on .*no such thing") as raised:
        extractor(photo)
    assert "fix the layer that fails" in str(raised.value)


def test_maps_that_would_fill_the_memory_are_refused(keras: Any) -> None:
    model = keras.applications.VGG16(weights=None, include_top=False)
    extractor = FeatureExtractor(model=model, size=100_000)
    with pytest.raises(ValueError, match=r"size 100000×100000 .*GB of memory.*at most \d+ for"):
        extractor(np.zeros((40, 40, 3), np.uint8))
    # VGG16's 13 convolutions and 5 pools have 15.1 million values at 224, computed by hand.
    convolutions = ((2, 64, 1), (2, 128, 2), (3, 256, 4), (3, 512, 8), (3, 512, 16))
    values = sum(
        224**2 * channels * (count / stride**2 + 1 / (2 * stride) ** 2)
        for count, channels, stride in convolutions
    )
    assert extractor._network.bytes_a_pixel == int(8 * values / 224**2)


# Sharing -----------------------------------------------------------------------------------------


def small(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(3, 3, name="c")], name="in"
    )
    return keras.Sequential([keras.Input((None, None, 3)), inner, layers.ReLU(name="r")])


def test_the_same_model_shares_one_network(keras: Any, photo: RGB8) -> None:
    model = small(keras)
    one = FeatureExtractor(model=model, size=None)
    before = one(photo)["in/c"].copy()
    other = FeatureExtractor(model=model, size=40, preprocess=lambda images: images / 2)
    assert other.model is one.model
    assert FeatureExtractor(model=small(keras)).model is not one.model
    # After training, a new extractor uses the current weights.
    model.set_weights([2 * weights for weights in model.get_weights()])
    assert_close(FeatureExtractor(model=model, size=None)(photo)["in/c"], 2 * before)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_a_deleted_model_is_freed(keras: Any, photo: RGB8, kind: str) -> None:
    model = small(keras)
    if kind == "functional":
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.ReLU()(model.layers[0](inputs)))
        del inputs
    model_reference = weakref.ref(model)
    conv = weakref.ref(next(la for la in model._flatten_layers() if la.name == "c"))
    extractor: FeatureExtractor | None = FeatureExtractor(model=model, size=None)
    assert extractor is not None
    activations = extractor(photo)
    del model
    gc.collect()
    assert model_reference() is None
    assert conv() is not None  # the extractor still computes with it
    extractor(photo)
    extractor = None
    gc.collect()
    assert conv() is None
    assert activations["in/c"].shape == (62, 73, 3)


# In the explorer and in files --------------------------------------------------------------------


def test_an_explorer_of_a_custom_model(keras: Any, photo: RGB8, tmp_path: Any) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(4, 3, name="stem_conv")(inputs)
    stem = layers.ReLU(name="stem_relu")(stem)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(stem)
    model = keras.Model(inputs, layers.Multiply(name="excite")([stem, pooled]), name="own")
    explorer = LayerExplorer(photo, extractor=FeatureExtractor(model=model, size=None))
    assert explorer.layer == "stem_conv"
    for layer in explorer.activations:
        explorer.layer = layer
    assert layer_options(explorer.activations) == [
        ("┌ stem_conv · 62 × 73 × 4", "stem_conv"),
        ("└ stem_relu · 62 × 73 × 4", "stem_relu"),
        ("╶ squeeze · 1 × 1 × 4", "squeeze"),
        ("╶ excite · 62 × 73 × 4", "excite"),
    ]
    explorer.save(tmp_path / "own.npz")
    explorer.save(tmp_path / "own.png")
    explorer.close()
    loaded = Activations.load(tmp_path / "own.npz")
    assert loaded.layers == explorer.activations.layers
    assert loaded.info("stem_conv").receptive_field_box(0, 0, (64, 75)) == (0, 0, 3, 3)
    assert loaded.info("excite").receptive_field is None
    np.testing.assert_array_equal(loaded["excite"], explorer.activations["excite"])


def test_maps_are_drawn_at_their_place_in_the_image(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(2, 5, name="inner"),  # sees 5 pixels, so that 2 are missing at each side
            layers.Conv2D(2, 3, strides=(4, 2), name="flat"),
            layers.UpSampling2D((8, 4), name="large"),
            layers.GlobalAveragePooling2D(keepdims=True, name="one"),
        ]
    )
    activations = FeatureExtractor(model=model, size=None)(photo)
    extents = {
        layer: tuple(plot(activations, layer, colorbar=False).images[0].get_extent())
        for layer in activations
    }
    import matplotlib.pyplot as plt

    plt.close("all")
    assert extents == {
        "inner": (1.5, 72.5, 61.5, 1.5),
        # Unit 0 is centred at pixel 3; 15 rows of 4 pixels and 35 columns of 2.
        "flat": (2, 72, 61, 1),
        "large": (2, 72, 61, 1),
        # Drawn over the whole image, since its receptive field is unknown.
        "one": (-0.5, 74.5, 63.5, -0.5),
    }


def test_names_are_grouped_by_block() -> None:
    def of(*names: str, path: str = "", kind: str = "Conv2D") -> list[str]:
        return groups([Named(path, name, kind, leads=True) for name in names])

    assert of("conv2_block1_1_conv", "conv2_block1_add", "conv2_block2_out", "conv2_block2_2") == [
        "conv2_block1",
        "conv2_block1",
        "conv2_block2",
        "conv2_block2",
    ]
    assert of("block_3_expand", "block_3_pad") == ["block_3"] * 2
    assert of("block4a_se_squeeze", "block4a_bn", "stem_conv", "stem_bn") == [
        "block4a",
        "block4a",
        "stem",
        "stem",
    ]
    assert of("x_stage_0_block_1_gelu", "x_stage_0_block_1_conv_1") == ["x_stage_0_block_1"] * 2
    # Keras's default names say nothing about groups.
    assert of("conv2d", "conv2d_1", "conv2d_2") == ["conv2d", "conv2d_1", "conv2d_2"]
    # A nested model's name is the prefix, and the whole group where its layers share nothing.
    assert of("block1_a", "block1_b", "block2_a", "block2_b", path="vgg") == [
        "vgg/block1",
        "vgg/block1",
        "vgg/block2",
        "vgg/block2",
    ]
    assert of("first", "second", path="base/stem") == ["base/stem"] * 2
    # Layers with default names belong to the group before them.
    mixed = [
        Named("", "stem_conv", "Conv2D", leads=True),
        Named("", "batch_normalization", "BatchNormalization", leads=False),
        Named("", "re_lu_3", "ReLU", leads=False),
        Named("", "stem_pool", "MaxPooling2D", leads=False),
        Named("", "conv2d_4", "Conv2D", leads=True),
    ]
    assert groups(mixed) == ["stem", "stem", "stem", "stem", "conv2d_4"]
    assert of("conv_dw_1", "conv_dw_1_bn", "conv_pw_1", "conv_pw_1_bn") == [
        "conv_dw_1",
        "conv_dw_1",
        "conv_pw_1",
        "conv_pw_1",
    ]


@pytest.mark.slow
def test_comparing_many_models_gives_no_retracing_warning(
    keras: Any, caplog: pytest.LogCaptureFixture
) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    with caplog.at_level("WARNING"):
        for _ in range(7):
            layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3)]
            growing = keras.layers.UpSampling2D(interpolation="bilinear")
            for model in (keras.Sequential(layers), keras.Sequential([*layers, growing])):
                FeatureExtractor(model=model, size=None)(picture)
    assert "retracing" not in caplog.text

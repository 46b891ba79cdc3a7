"""Receptive fields of any model, compared with changes of single pixels and published values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor, LayerInfo
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.network.receptive_fields import Reach

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    return keras


def positive(model: Any, seed: int = 3) -> Any:
    """Give a model weights above 0, so that no two influences cancel out."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if "normalization" not in layer.name:
            layer.set_weights([rng.uniform(0.5, 1, w.shape) for w in layer.get_weights()])
    return model


def seen(
    extractor: FeatureExtractor, layers: tuple[LayerInfo, ...], turned: Mapping[str, int]
) -> dict[str, Bools]:
    """Return which units change with each pixel: (pixel row, pixel column, unit row, column)."""
    assert layers[0].input_size is not None
    height, width = layers[0].input_size
    shape = extractor.model.inputs[0].shape
    channels = shape[turned.get("input", -1)]
    plain = np.ones((1, height, width, channels), np.float32)
    bumped = np.repeat(plain, height * width, axis=0)
    # A large change, so that the pixel is the maximum in any pool.
    bumped.reshape(-1, height * width, channels)[range(height * width), range(height * width)] = 99
    inputs = np.moveaxis(np.concatenate([plain, bumped]), -1, turned.get("input", -1))
    made = extractor.model.predict(inputs, batch_size=64, verbose=0)
    found = {}
    for info, output in zip(layers, made if isinstance(made, list) else [made], strict=True):
        maps = np.moveaxis(output, turned.get(info.name, -1), -1).astype(np.float32)
        changed = (np.abs(maps[1:] - maps[:1]) > 1e-5 * np.abs(maps[:1])).any(axis=-1)
        found[info.name] = changed.reshape(height, width, *maps.shape[1:3])
    return found


def assert_boxes_are_what_is_seen(
    model: Any, size: tuple[int, int], turned: Mapping[str, int] | None = None
) -> dict[str, LayerInfo]:
    """Compare all boxes of all layers; `turned` is the axis of channels, if not the last."""
    # Only the geometry is used, because these models take no RGB image.
    extractor = FeatureExtractor(model=positive(model), preprocess=np.asarray)
    layers = extractor._network.layers_on(size)
    for name, changed in seen(extractor, layers, turned or {}).items():
        info = next(info for info in layers if info.name == name)
        rows, columns = changed.shape[2:]
        for row in range(rows):
            for column in range(columns):
                ys, xs = np.nonzero(changed[:, :, row, column])
                box = info.receptive_field_box(row, column, size)
                if not ys.size:
                    assert box[0] == box[2] or box[1] == box[3], (name, row, column)
                    continue
                expected = (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
                assert box == expected, (name, row, column)
                whole = info.whole_box(row, column)
                assert whole is not None
                # Borders, and remainders of strides, can only make a box smaller.
                assert min(np.subtract(box, whole)[:2]) >= 0, (name, row, column)
                assert max(np.subtract(box, whole)[2:]) <= 0, (name, row, column)
        assert_nearest_units_are_found(info, (rows, columns))
        with pytest.raises(ValueError, match=rf"row {rows} is not one of the {rows} units"):
            info.receptive_field_box(rows, 0, size)
    return {info.name: info for info in layers}


def assert_nearest_units_are_found(info: LayerInfo, shape: tuple[int, int]) -> None:
    """Compare `unit_at` with a search of all units, in steps of a quarter of a pixel."""
    downs = [info.field_center(row, 0)[0] for row in range(shape[0])]
    acrosses = [info.field_center(0, column)[1] for column in range(shape[1])]
    for quarter in range(-20, 100):
        y, x = quarter / 4, 20 - quarter / 4
        row, column = info.unit_at(y, x, shape)
        assert row == int(np.argmin([abs(down - y) for down in downs]))
        assert column == int(np.argmin([abs(across - x) for across in acrosses]))


def chain(keras: Any, *layers: Any, channels: int = 2) -> Any:
    return keras.Sequential([keras.Input((None, None, channels)), *layers])


# Against every pixel -----------------------------------------------------------------------------

SIZES = [(15, 18), (16, 13)]  # no multiples of the strides, and both parities


@pytest.mark.sampled
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolutions_and_pools(keras: Any, padding: str, size: tuple[int, int]) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Conv2D(2, (3, 2), strides=(2, 1), padding=padding, activation="relu", name="a"),
        layers.BatchNormalization(name="normalization"),
        layers.MaxPooling2D(2, padding=padding, name="b"),
        layers.DepthwiseConv2D(3, padding=padding, name="c"),
        layers.AveragePooling2D((1, 2), padding=padding, name="d"),
    )
    assert_boxes_are_what_is_seen(model, size)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dilated_and_separable_convolutions(keras: Any, padding: str) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Conv2D(2, 3, dilation_rate=(2, 3), padding=padding, name="a"),
        layers.SeparableConv2D(2, (3, 1), strides=2, padding=padding, name="b"),
    )
    known = assert_boxes_are_what_is_seen(model, (15, 18))
    assert known["a"].receptive_field == 5
    assert known["a"].axes is not None
    assert known["a"].axes[1].receptive_field == 7


def test_padding_and_cropping(keras: Any) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.ZeroPadding2D(((3, 0), (1, 2)), name="a"),
        layers.Conv2D(2, 3, strides=2, name="b"),
        layers.Cropping2D(((1, 0), (0, 1)), name="c"),
        layers.Conv2D(2, 3, padding="same", name="d"),
        layers.CenterCrop(3, 4, name="e"),
    )
    known = assert_boxes_are_what_is_seen(model, (14, 15))
    # The first three rows are padding.
    assert known["a"].receptive_field_box(2, 1, (14, 15)) == (0, 0, 0, 1)
    assert known["a"].center == -3


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_enlarging(keras: Any, interpolation: str) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Conv2D(2, 3, strides=2, padding="same", name="a"),
        layers.UpSampling2D((2, 3), interpolation=interpolation, name="b"),
        layers.Conv2D(2, 3, padding="same", name="c"),
        layers.MaxPooling2D(name="d"),
    )
    known = assert_boxes_are_what_is_seen(model, (13, 9))
    assert known["b"].stride == 1
    assert known["b"].axes is not None
    assert known["b"].axes[1].stride == pytest.approx(2 / 3)
    assert known["d"].stride == 2


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("target", [(7, 11), (20, 9)])
def test_resizing_in_the_model(keras: Any, interpolation: str, target: tuple[int, int]) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Resizing(*target, interpolation=interpolation, name="a"),
        layers.Conv2D(2, 3, name="b"),
    )
    assert_boxes_are_what_is_seen(model, (13, 10))


@pytest.mark.sampled
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 2), (2, 3), (3, 1)])
def test_transposed_convolutions(keras: Any, kernel: int, stride: int, padding: str) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Conv2D(2, 3, strides=2, padding="same", name="a"),
        layers.Conv2DTranspose(
            2, kernel, strides=stride, padding=padding, use_bias=False, name="b"
        ),
        layers.Conv2D(2, 3, padding="same", name="c"),
    )
    assert_boxes_are_what_is_seen(model, (7, 10))


def test_branches_of_the_same_stride(keras: Any) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 2))
    wide = layers.Conv2D(2, 5, strides=2, padding="same", name="wide")(inputs)
    narrow = layers.Conv2D(2, 1, strides=2, name="narrow")(inputs)
    both = layers.Add(name="both")([wide, narrow])
    more = layers.Concatenate(name="more")([both, layers.MaxPooling2D(2, 1, "same")(wide)])
    product = layers.Multiply(name="product")([wide * 0.5 + narrow, both])
    model = keras.Model(inputs, layers.Concatenate(name="end")([more, product]))
    known = assert_boxes_are_what_is_seen(model, (13, 16))
    assert known["both"].receptive_field == 5
    assert known["more"].receptive_field == 7


def test_a_decoder_that_comes_back_to_the_same_stride(keras: Any) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 2))
    fine = layers.Conv2D(2, 3, padding="same", name="fine")(inputs)
    coarse = layers.MaxPooling2D(name="coarse")(fine)
    back = layers.UpSampling2D(name="back")(layers.Conv2D(2, 3, padding="same")(coarse))
    joined = layers.Concatenate(name="joined")([fine, back])
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="end")(joined))
    assert_boxes_are_what_is_seen(model, (12, 14))


def test_layers_that_look_at_one_location(keras: Any) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Rescaling(0.5, name="a"),
        layers.RandomFlip(name="b"),
        layers.Conv2D(3, 2, activation=layers.LeakyReLU(), name="c"),
        layers.Dropout(0.5, name="d"),
        layers.Dense(2, activation="softplus", name="e"),
        layers.Activation("gelu", name="f"),
        layers.PReLU(shared_axes=(1, 2), name="g"),
    )
    assert_boxes_are_what_is_seen(model, (6, 7))


POINTWISE: dict[str, Callable[[Any, Any], Any]] = {
    "vgg19": lambda k, x: k.applications.vgg19.preprocess_input(x),
    "torch": lambda k, x: k.applications.densenet.preprocess_input(x),
    "mobilenet_v2": lambda k, x: k.applications.mobilenet_v2.preprocess_input(x),
    "reversed": lambda _, x: x[..., ::-1] / 255,
    "some channels": lambda _, x: x[:, :, :, 1:],
    "one channel": lambda _, x: x[..., 1][..., None],
    "remove and add an axis": lambda k, x: k.ops.squeeze(x[..., :1], -1)[:, :, :, None],
    "unstack and stack": lambda k, x: k.ops.stack(
        [(one - 1) / 3 for one in k.ops.unstack(x, axis=3)], axis=-1
    ),
    "split and join": lambda k, x: k.ops.concatenate(k.ops.split(x, 3, axis=-1)[::-1], axis=3),
    "take": lambda k, x: k.ops.take(x, [2, 0], axis=-1),
    "flip, roll and repeat": lambda k, x: k.ops.repeat(
        k.ops.roll(k.ops.flip(x, -1), 1, axis=-1), 2, axis=-1
    ),
    "mean of the channels": lambda k, x: x + k.ops.mean(x, axis=-1, keepdims=True),
    "largest of the channels": lambda k, x: k.ops.expand_dims(k.ops.max(x, axis=-1), -1),
    "spread of the channels": lambda k, x: k.ops.std(
        x * np.array([1, 2, 3.0]), axis=[-1], keepdims=True
    ),
    "grey": lambda k, x: k.ops.image.rgb_to_grayscale(x),
    "arithmetic": lambda k, x: k.ops.sqrt(k.ops.clip(k.ops.cast(x, "float32"), 0.5, 400.0)) % 97,
    "where": lambda k, x: k.ops.where(x > 50, x, 2 * x),
    "augmented": lambda k, x: k.layers.RandomCrop(11, 14)(
        k.layers.RandomPerspective()(k.layers.RandomInvert()(k.layers.RandomGrayscale()(x)))
    ),
    "Pipeline": lambda k, x: k.layers.Pipeline(
        [k.layers.RandomFlip(name="flip"), k.layers.Rescaling(2, name="scale")]
    )(x),
    "cut": lambda _, x: x[:, 2:-1, 1:],
    "every other pixel": lambda _, x: x[:, 1::2, ::3],
    "every other pixel of one colour": lambda k, x: k.ops.stack([x[:, ::2, 1:, 0]] * 2, axis=-1),
    "another size": lambda k, x: k.ops.image.resize(x, (9, 7)) / 255,
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", POINTWISE)
def test_arithmetic_and_indexing_before_the_first_convolution(keras: Any, case: str) -> None:
    inputs = keras.Input((11, 14, 3))
    maps = POINTWISE[case](keras, inputs)
    maps = keras.layers.Conv2D(2, 3, strides=2, padding="same", name="conv")(maps)
    known = assert_boxes_are_what_is_seen(keras.Model(inputs, maps), (11, 14))
    every = {"every other pixel": 2, "every other pixel of one colour": 2}.get(case, 1)
    if case != "another size":
        assert known["conv"].stride == 2 * every
        assert known["conv"].receptive_field == 1 + 2 * every


def test_maps_that_are_transposed_inside_the_model(keras: Any) -> None:
    layers, first = keras.layers, {"data_format": "channels_first"}
    inputs = keras.Input((2, None, None))
    maps = layers.ZeroPadding2D(((2, 0), (0, 1)), name="padded", **first)(inputs)
    maps = layers.Permute((2, 3, 1), name="upright")(maps)
    maps = layers.Conv2D(4, (3, 2), strides=(2, 1), name="conv")(maps)
    maps = keras.ops.transpose(maps, (0, 3, 1, 2))
    maps = layers.MaxPooling2D((1, 2), name="pooled", **first)(maps)
    maps = layers.LayerNormalization(axis=1, name="normalization")(maps)
    maps = keras.ops.moveaxis(maps, 1, -1)
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="end")(maps))
    model.operations[4].name = "first"
    turned = {"input": 1, "padded": 1, "first": 1, "pooled": 1, "normalization": 1}
    known = assert_boxes_are_what_is_seen(model, (15, 12), turned)
    assert [info.channels for info in known.values()] == [2, 2, 4, 4, 4, 4, 4, 2]


def test_a_lambda_that_transposes_maps_to_channels_first_is_recognised(keras: Any) -> None:
    layers, inputs = keras.layers, keras.Input((64, 96, 3))
    maps = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    turned = layers.Lambda(lambda x: keras.ops.transpose(x, (0, 3, 1, 2)), name="turned")(maps)
    model = keras.Model(inputs, layers.ReLU(name="relu")(turned))
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    activations = FeatureExtractor(model=model, size=None)(picture)
    np.testing.assert_array_equal(activations["turned"], activations["conv"])
    assert activations["relu"].shape == (64, 96, 4)
    assert [activations.info(name).stride for name in ("turned", "relu")] == [1, 1]


@pytest.mark.parametrize("size", [(26, 30), (27, 29)])
def test_fields_that_no_border_touches_are_whole(keras: Any, size: tuple[int, int]) -> None:
    layers = keras.layers
    model = chain(
        keras,
        layers.Conv2D(2, 3, strides=2, name="a"),
        # Two of three neighbours see the same pixels, and the third sees others.
        layers.UpSampling2D((2, 3), interpolation="bilinear", name="b"),
        layers.Conv2D(2, 3, name="c"),
        layers.Conv2DTranspose(2, 2, strides=2, name="d"),
    )
    extractor = FeatureExtractor(model=positive(model), preprocess=np.asarray)
    for info in extractor._network.layers_on(size):
        assert info.axes is not None
        units = [len(axis.spans) // 2 for axis in info.axes]
        inside = [range(units[axis] // 3, units[axis] - units[axis] // 3) for axis in (0, 1)]
        for row, column in ((row, column) for row in inside[0] for column in inside[1]):
            box = info.receptive_field_box(row, column, size)
            assert info.whole_box(row, column) == box, (info.name, row, column)
            middle = ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
            assert info.field_center(row, column) == middle, (info.name, row, column)


# Where it is not defined -------------------------------------------------------------------------


def undefined_after(keras: Any, layer: Any) -> bool:
    inputs = keras.Input((12, 12, 4))
    before = keras.layers.Conv2D(4, 3, padding="same", name="before")(inputs)
    after = keras.layers.Conv2D(4, 3, name="after")(layer(before))
    extractor = FeatureExtractor(model=keras.Model(inputs, after), preprocess=np.asarray)
    known = {info.name: info for info in extractor.layers}
    assert known["before"].receptive_field == 3
    if known["after"].receptive_field is None:
        assert known["after"].center is None
        with pytest.raises(ValueError, match=r"receptive field of layer 'after' is not defined"):
            known["after"].receptive_field_box(0, 0, (12, 12))
        return True
    return False


def test_layers_with_and_without_a_receptive_field(keras: Any) -> None:
    layers = keras.layers

    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return super().call(inputs) + keras.ops.mean(inputs)

    def squeeze_and_excite(maps: Any) -> Any:
        pooled = layers.GlobalAveragePooling2D(keepdims=True)(maps)
        return layers.Multiply()([maps, layers.Conv2D(4, 1, activation="sigmoid")(pooled)])

    def attention(maps: Any) -> Any:
        flat = layers.Reshape((144, 4))(maps)
        return layers.Reshape((12, 12, 4))(layers.Attention()([flat, flat]))

    def dense_on_all(maps: Any) -> Any:
        return layers.Reshape((12, 12, 4))(layers.Dense(576)(layers.Flatten()(maps)))

    undefined = [
        squeeze_and_excite,
        attention,
        dense_on_all,
        Mine(),
        Conv2D(4, 3, padding="same"),
        layers.Lambda(lambda maps: maps),
        layers.GroupNormalization(2),
        layers.LayerNormalization(axis=(1, 2)),
        layers.Softmax(axis=1),
        layers.Activation(lambda maps: maps - keras.ops.mean(maps)),
        lambda maps: layers.Concatenate(axis=1)([maps, maps]),
        layers.Permute((3, 1, 2)),
        layers.Permute((2, 1, 3)),
        layers.Reshape((4, 12, 12)),
        lambda maps: layers.Permute((2, 3, 1))(layers.Reshape((4, 12, 12))(maps)),
        lambda maps: maps[:, ::-1],
        lambda maps: keras.ops.flip(maps, axis=2),
        lambda maps: keras.ops.roll(maps, 1, axis=1),
        lambda maps: keras.ops.take(maps, list(range(12)), axis=1),
        lambda maps: keras.ops.stack(keras.ops.unstack(maps, axis=1)[::-1], axis=1),
        lambda maps: maps - keras.ops.mean(maps, axis=(1, 2), keepdims=True),
        lambda maps: maps - keras.ops.max(maps, axis=(2, 3), keepdims=True),
        lambda maps: maps + keras.ops.transpose(maps, (0, 2, 1, 3)),
        layers.Pipeline([layers.RandomFlip(name="flip"), layers.Lambda(lambda maps: maps)]),
    ]
    assert [undefined_after(keras, layer) for layer in undefined] == [True] * len(undefined)
    defined = [
        layers.LayerNormalization(),
        layers.Softmax(),
        layers.UnitNormalization(),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Reshape((12, 12, 4)),
        lambda maps: layers.Add()([maps, layers.UpSampling2D()(layers.MaxPooling2D()(maps))]),
    ]
    assert [undefined_after(keras, layer) for layer in defined] == [False] * len(defined)


def test_branches_of_different_stride_have_no_common_field(keras: Any) -> None:
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    halved = layers.Conv2D(2, 3, strides=2, padding="same", name="halved")(inputs)
    cut = layers.Cropping2D(2, name="cut")(layers.Conv2D(2, 3, padding="same")(inputs))
    both = layers.Add(name="both")([halved, cut])
    known = {i.name: i for i in FeatureExtractor(model=keras.Model(inputs, both)).layers}
    assert (known["halved"].receptive_field, known["cut"].receptive_field) == (3, 3)
    assert (known["halved"].stride, known["cut"].stride) == (2, 1)
    assert known["both"].receptive_field is None
    # The position of such a map is unknown: it is stretched over the whole image.
    place = known["both"].placement
    assert (place.top, place.left, place.row_step, place.column_step) == (-0.5, -0.5, 2, 2)


# Published ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_receptive_fields_of_known_networks(keras: Any) -> None:
    # Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks"
    # (Distill, 2019), table 1: receptive field and effective stride.
    applications = keras.applications
    for make, name, field, stride in (
        (applications.VGG16, "block5_pool", 212, 32),
        (applications.MobileNet, "conv_pw_13_relu", 315, 32),
        (applications.ResNet50, "conv5_block3_out", 483, 32),
        (applications.InceptionResNetV2, "conv_7b", 3039, 32),
    ):
        model = make(weights=None, include_top=False, input_shape=(224, 224, 3))
        info = {info.name: info for info in FeatureExtractor(model=model).layers}[name]
        assert (info.receptive_field, info.stride) == (field, stride), name


def test_the_table_of_vgg19_equals_the_computed_fields(keras: Any) -> None:
    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    size = (64, 75)
    walked = FeatureExtractor(model=model)._network.layers_on(size)
    for info, known in zip(walked, FeatureExtractor("random").layers, strict=True):
        for field in ("name", "kind", "channels", "stride", "receptive_field", "center", "block"):
            assert getattr(info, field) == getattr(known, field), known.name
        rows, columns = size[0] // known.stride, size[1] // known.stride
        for row in {0, rows // 2, rows - 1}:
            for column in {0, columns // 2, columns - 1}:
                box = info.receptive_field_box(row, column, size)
                assert box == known.receptive_field_box(row, column, size), known.name


# The arithmetic ----------------------------------------------------------------------------------


def test_same_padding_puts_the_odd_pixel_at_the_end() -> None:
    # TensorFlow: at stride 2, 224 pixels need one pixel of padding, and 75 need two.
    even, odd = (Reach.of_pixels(n).window(3, 2, padding="same") for n in (224, 75))
    assert (even.center, odd.center) == (1.0, 0.0)
    assert (even.units, odd.units) == (112, 38)
    assert even.spans[:4] == (0, 3, 2, 5)
    assert odd.spans[:4] == (0, 2, 1, 4)
    assert even.spans[-2:] == (222, 224)


def test_enlarging_and_pooling_cancel_out() -> None:
    pixels = Reach.of_pixels(12)
    back = pixels.resized(24, "nearest").window(2, 2)
    assert (back.stride, back.size, back.center, back.edge) == (1, 1, 0, -0.5)
    assert len(back.low) == 1
    assert Reach.union([back, pixels]) is not None


def test_geometry_of_another_size_is_refused(keras: Any) -> None:
    model = chain(keras, keras.layers.Conv2D(2, 3, strides=2, padding="same", name="a"))
    (info,) = FeatureExtractor(model=model, preprocess=np.asarray).layers
    assert info.input_size == (224, 224)
    with pytest.raises(ValueError, match=r"'a' was measured on .* 224×224 pixels, not 64×75"):
        info.receptive_field_box(0, 0, (64, 75))


@pytest.mark.parametrize("layer", ["block1_conv1", "block3_pool", "block5_conv4"])
def test_the_units_along_an_image_are_the_nearest_to_its_pixels(layer: str) -> None:
    info = next(one for one in VGG19_LAYERS if one.name == layer)
    size = 97, 131
    shape = size[0] // info.stride, size[1] // info.stride
    rows, columns = info.units_along(size, shape)
    assert rows == [info.unit_at(row, 0, shape)[0] for row in range(size[0])]
    assert columns == [info.unit_at(0, column, shape)[1] for column in range(size[1])]
    middles = [info.field_center(row, 0)[0] for row in range(shape[0])]
    for pixel in range(size[0]):
        assert rows[pixel] == min(range(shape[0]), key=lambda row: abs(middles[row] - pixel))

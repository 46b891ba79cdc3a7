"""Tests of `circuit`: its kernels against the weights, and its sums against the network's maps."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.conftest import networks_apart
from vgg_widget import Activations, FeatureExtractor, render
from vgg_widget.circuit.inputs import Circuit, circuit
from vgg_widget.circuit.pictures import input_picture, kernel_picture, small_png

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


def everywhere(maps: Floats) -> Iterator[tuple[int, int]]:
    """Yield the corners, the middle of two edges and one location inside of the maps."""
    last_row, last_column = maps.shape[0] - 1, maps.shape[1] - 1
    yield from {
        (0, 0),
        (0, last_column),
        (last_row, 0),
        (last_row, last_column),
        (last_row // 2, 0),
        (last_row, last_column // 2),
        (last_row // 2, last_column // 2),
    }


def assert_adds_up(found: Circuit, expected: float, top: float) -> None:
    """Assert that the contributions and the bias add up to the activation, within 1e-4 of `top`."""
    assert len(found.inputs) == found.count
    contributions = [one.contribution for one in found.inputs]
    assert all(added is not None for added in contributions)
    assert found.bias is not None
    total = sum(added for added in contributions if added is not None) + found.bias
    assert total == pytest.approx(found.activation, rel=1e-6, abs=1e-9 * top)
    assert abs(total - expected) <= 1e-4 * top


# VGG19 with Keras's preprocessing -----------------------------------------------------------------


@pytest.mark.parametrize("layer", ["block1_conv1", "block1_conv2", "block3_conv1", "block5_conv4"])
def test_contributions_and_bias_are_the_activation_before_relu(
    extractor: FeatureExtractor, activations: Activations, layer: str
) -> None:
    before = activations[activations.torch_names(layer)[0]]
    for channel in (0, before.shape[-1] - 1):
        for location in everywhere(before):
            found = circuit(extractor, activations, layer, channel, 1000, location=location)
            top = np.abs(before[..., channel]).max()
            assert_adds_up(found, before[(*location, channel)], float(top))


def test_the_largest_kernels_come_first(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    kernel, bias = extractor.model.get_layer("block2_conv1").get_weights()
    norms = [np.linalg.norm(kernel[:, :, source, 10]) for source in range(64)]
    order = sorted(range(64), key=lambda source: -norms[source])
    found = circuit(extractor, activations, "block2_conv1", 10)
    assert (found.layer, found.channel, found.source, found.count) == (
        "block2_conv1",
        10,
        "block1_pool",
        64,
    )
    assert [one.channel for one in found.inputs] == order[:6]
    for one in found.inputs:
        weights = kernel[:, :, one.channel, 10]
        assert one.kernel is not None
        np.testing.assert_array_equal(one.kernel, weights)
        assert not one.kernel.flags.writeable
        assert one.layer == "block1_pool"
        assert one.name == f"channel {one.channel}"
        assert one.norm == pytest.approx(norms[one.channel])
        assert one.share == pytest.approx(norms[one.channel] ** 2 / np.square(norms).sum())
        positive = sum(float(weight) for weight in weights.ravel() if weight > 0)
        assert one.excitatory == pytest.approx(positive / np.abs(weights).sum())
        own = activations["block1_pool"][..., one.channel]
        assert one.strongest is not None
        assert own[one.strongest] == own.max()
        assert one.contribution is None
    chosen = np.square([norms[source] for source in order[:6]]).sum()
    assert found.share == pytest.approx(chosen / np.square(norms).sum())
    assert found.top == pytest.approx(np.abs(kernel[:, :, order[:6], 10]).max())
    assert found.bias == pytest.approx(bias[10])
    assert found.activation is None


@pytest.mark.parametrize("name", ["block3_conv1", "features.10", "features.11"])
def test_before_and_after_relu_it_is_the_same_convolution(
    extractor: FeatureExtractor, activations: Activations, name: str
) -> None:
    found = circuit(extractor, activations, name, 3, 2)
    expected = circuit(extractor, activations, "block3_conv1", 3)
    assert found.layer == "block3_conv1"
    assert [one.channel for one in found.inputs] == [one.channel for one in expected.inputs[:2]]
    assert found.source == "block2_pool"


def test_a_channel_of_a_pool_has_one_input(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    found = circuit(extractor, activations, "features.9", 7, location=(0, 1))
    assert found.source == "block2_conv2"
    (one,) = found.inputs
    assert (one.layer, one.channel, one.kernel, one.share) == ("block2_conv2", 7, None, None)
    assert (found.count, found.share, found.top, found.activation) == (1, None, None, None)


def test_inputs_are_sorted_by_their_contribution(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    row, column = 5, 8
    found = circuit(
        extractor, activations, "block2_conv2", 4, 5, location=(row, column), by="contribution"
    )
    # Away from the border there is no padding, so the sum is easy to write.
    kernel = extractor.model.get_layer("block2_conv2").get_weights()[0][..., 4].astype(float)
    window = activations["block2_conv1"][row - 1 : row + 2, column - 1 : column + 2]
    added = (kernel * window).sum(axis=(0, 1))
    order = np.argsort(-np.abs(added))[:5]
    assert [one.channel for one in found.inputs] == order.tolist()
    contributions = np.array([one.contribution for one in found.inputs], float)
    np.testing.assert_allclose(contributions, added[order], rtol=1e-5)
    assert (contributions < 0).any()
    plain = circuit(extractor, activations, "block2_conv2", 4, 5, location=(row, column))
    norms = [one.norm or 0 for one in plain.inputs]
    assert norms == sorted(norms, reverse=True)
    assert plain.inputs[0].contribution == pytest.approx(added[plain.inputs[0].channel], rel=1e-5)
    assert plain.activation == found.activation


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer": "block9_conv1"}, "layer 'block9_conv1' is not known: did you mean"),
        ({"channel": 64}, r"channel 64 .* has 64 channels: choose whole numbers from 0 to 63"),
        ({"k": 0}, "k 0 is not a valid number of inputs: give a whole number of at least 1"),
        ({"k": 2.5}, "k 2.5 is not a valid number"),
        ({"by": "size"}, "by 'size' is not known: choose one of 'norm', 'contribution'"),
        ({"by": "contribution"}, "by 'contribution' needs a location: pass location="),
        ({"location": (64, 0)}, r"location \(64, 0\) .* row from 0 to 63 and the column .* 74"),
        ({"location": (-1, 0)}, r"location \(-1, 0\) is not in layer 'block1_conv2'"),
        ({"location": (1,)}, r"location \(1,\) is not in layer"),
        ({"location": 3}, r"location 3 is not in layer"),
        ({"location": np.array([1.5, 2])}, r"location .* is not in layer"),
    ],
)
def test_wrong_arguments_are_refused(
    extractor: FeatureExtractor, activations: Activations, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        circuit(extractor, activations, **{"layer": "block1_conv2", "channel": 0, **arguments})


def test_a_location_may_be_an_array(extractor: FeatureExtractor, activations: Activations) -> None:
    found = circuit(extractor, activations, "block1_conv2", 0, location=np.array([1, 2]))  # type: ignore[arg-type]
    assert found.location == (1, 2)
    assert found.activation == pytest.approx(
        float(activations["features.2"][1, 2, 0]), rel=1e-4, abs=1e-4
    )


@pytest.mark.torch
def test_activations_of_other_weights_are_refused(
    activations: Activations, by_torch: FeatureExtractor
) -> None:
    with pytest.raises(ValueError, match=r"activations come from random .* but extractor has"):
        circuit(by_torch, activations, "block1_conv2", 0)


def test_fan_in_of_an_unknown_layer_raises(extractor: FeatureExtractor) -> None:
    with pytest.raises(KeyError, match="layer 'block1_convl' is not known: did you mean"):
        extractor.fan_in("block1_convl")


# The colours --------------------------------------------------------------------------------------


def brighter(image: RGB8, colour: int, row: int, column: int) -> RGB8:
    """Return a copy of the image in which one colour of one pixel is larger by 10."""
    other = image.copy()
    assert other[row, column, colour] <= 245
    other[row, column, colour] += 10
    return other


@pytest.mark.torch
@pytest.mark.parametrize("weights", ["caffe", "torch"])
def test_red_green_and_blue_are_named_correctly(
    extractor: FeatureExtractor, by_torch: FeatureExtractor, photo: RGB8, weights: str
) -> None:
    network = extractor if weights == "caffe" else by_torch
    row, column, channel = 20, 30, 5
    activations = network(photo)
    found = circuit(network, activations, "block1_conv1", channel)
    assert found.source is None
    assert sorted(one.name for one in found.inputs) == ["blue", "green", "red"]
    for number, (name, deviation) in enumerate([("red", 0.229), ("green", 0.224), ("blue", 0.225)]):
        (one,) = (one for one in found.inputs if one.name == name)
        # Keras's weights read blue, green, red; torchvision's weights read red, green, blue.
        assert one.channel == (2 - number if weights == "caffe" else number)
        # Measure how the network responds to a pixel with more of that colour.
        other = network(brighter(photo, number, row, column))
        grown = other["features.0"][row, column, channel]
        grown -= activations["features.0"][row, column, channel]
        step = 10.0 if weights == "caffe" else 10 / 255 / deviation
        assert one.kernel is not None
        assert grown == pytest.approx(step * one.kernel[1, 1], rel=1e-2, abs=1e-4)
    assert len({one.channel for one in found.inputs}) == 3


def test_inputs_of_a_custom_preprocessing(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3, name="c")])
    made = {
        "plain": None,
        "mixed": lambda images: images - images.mean(),
        "luma": lambda images: np.repeat(images.mean(-1, keepdims=True), 3, axis=-1),
        "swapped": lambda images: images[..., [1, 2, 0]],
    }
    names = {}
    for key, preprocess in made.items():
        own = FeatureExtractor(model=model, size=None, preprocess=preprocess)
        found = circuit(own, own(photo), "c", 0)
        names[key] = [name for _, name in sorted((one.channel, one.name) for one in found.inputs)]
    mixed = ["input 0", "input 1", "input 2"]
    assert names == {
        "plain": ["red", "green", "blue"],
        "mixed": mixed,
        "luma": mixed,
        "swapped": ["green", "blue", "red"],
    }
    grey = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(2, 3, name="c")])
    own = FeatureExtractor(model=grey)
    activations = own(photo)
    found = circuit(own, activations, "c", 1, location=(25, 3))
    assert [one.name for one in found.inputs] == ["grey"]
    assert_adds_up(found, activations["c"][25, 3, 1], float(np.abs(activations["c"]).max()))


# VGG19 with torchvision's preprocessing -----------------------------------------------------------


@pytest.fixture(scope="module")
def torch_model() -> Any:
    import torch

    from tests.test_torchvision import VGG

    torch.manual_seed(3)
    made = VGG()
    for module in made.features:
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1)
    return made.eval()


@pytest.fixture(scope="module")
def by_torch(torch_model: Any) -> FeatureExtractor:
    with networks_apart():
        return FeatureExtractor(dict(torch_model.state_dict()), size=None)


@pytest.mark.torch
@pytest.mark.parametrize(("layer", "index"), [("block1_conv1", 0), ("block3_conv2", 12)])
def test_each_contribution_is_pytorchs_convolution_of_one_map(
    by_torch: FeatureExtractor, torch_model: Any, photo: RGB8, layer: str, index: int
) -> None:
    import torch

    x = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = torch_model.features[:index]((x - mean[:, None, None]) / std[:, None, None])
        module = torch_model.features[index]
        assert isinstance(module, torch.nn.Conv2d)
        channel = 9
        weight = module.weight[channel]
        apart = torch.nn.functional.conv2d(x, weight[:, None], padding=1, groups=weight.shape[0])[
            0
        ].numpy()
    activations = by_torch(photo)
    top = np.abs(apart).max()
    for location in everywhere(activations[layer]):
        found = circuit(by_torch, activations, layer, channel, 1000, location=location)
        assert len(found.inputs) == weight.shape[0]
        for one in found.inputs:
            assert one.kernel is not None
            np.testing.assert_array_equal(one.kernel, weight[one.channel].detach().numpy())
            assert one.contribution is not None
            assert abs(one.contribution - apart[(one.channel, *location)]) <= 1e-4 * top
        before = activations[f"features.{index}"][(*location, channel)]
        assert_adds_up(found, before, float(top))


# Custom models ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


def with_biases(model: Any) -> Any:
    rng = np.random.default_rng(2)
    for layer in model._flatten_layers():
        if getattr(layer, "bias", None) is not None:
            weights = layer.get_weights()
            weights[-1] = rng.uniform(-1, 1, weights[-1].shape)
            layer.set_weights(weights)
    return model


LAYERS: dict[str, tuple[str, dict[str, Any], int]] = {
    # Class, arguments, and number of inputs of a channel.
    "plain": ("Conv2D", {"filters": 4, "kernel_size": 3}, 6),
    "same": ("Conv2D", {"filters": 4, "kernel_size": (3, 5), "padding": "same"}, 6),
    "strided": ("Conv2D", {"filters": 4, "kernel_size": 4, "padding": "same", "strides": 2}, 6),
    "far strides": ("Conv2D", {"filters": 4, "kernel_size": 2, "padding": "same", "strides": 5}, 6),
    "valid strides": ("Conv2D", {"filters": 4, "kernel_size": 3, "strides": (2, 3)}, 6),
    "dilated": (
        "Conv2D",
        {"filters": 4, "kernel_size": 3, "padding": "same", "dilation_rate": (2, 3)},
        6,
    ),
    "grouped": (
        "Conv2D",
        {"filters": 4, "kernel_size": 3, "padding": "same", "groups": 2},
        3,
    ),
    "pointwise": ("Conv2D", {"filters": 4, "kernel_size": 1, "use_bias": False}, 6),
    "depthwise": ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, 1),
    "multiplied": (
        "DepthwiseConv2D",
        {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 3},
        1,
    ),
    "separable": (
        "SeparableConv2D",
        {"filters": 4, "kernel_size": 3, "padding": "same", "depth_multiplier": 2},
        6,
    ),
    "dense": ("Dense", {"units": 4}, 6),
}


@pytest.mark.parametrize("case", LAYERS)
def test_kinds_of_convolutions_add_up(keras: Any, photo: RGB8, case: str) -> None:
    kind, arguments, reads = LAYERS[case]
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Rescaling(1 / 255, name="scale"),
            layers.Conv2D(6, 3, activation="tanh", name="first"),
            getattr(layers, kind)(**arguments, name="second"),
        ]
    )
    extractor = FeatureExtractor(model=with_biases(model), size=None)
    activations = extractor(photo[:33, :38])
    maps = activations["second"]
    for channel in range(maps.shape[-1]):
        for location in everywhere(maps):
            found = circuit(extractor, activations, "second", channel, 100, location=location)
            assert (found.source, found.count) == ("first", reads)
            assert_adds_up(found, maps[(*location, channel)], float(np.abs(maps).max()))


def test_groups_read_their_own_channels(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(6, 1, name="first"),
            layers.Conv2D(4, 1, groups=2, name="grouped"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
        ]
    )
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    kernel = model.get_layer("grouped").get_weights()[0]
    read = []
    for channel in range(4):
        found = circuit(extractor, activations, "grouped", channel)
        read.append(sorted(one.channel for one in found.inputs))
        for one in found.inputs:
            assert one.kernel is not None
            np.testing.assert_array_equal(one.kernel, kernel[:, :, one.channel % 3, channel])
    assert read == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    kernel = model.get_layer("depthwise").get_weights()[0]
    for channel in range(8):
        (one,) = circuit(extractor, activations, "depthwise", channel).inputs
        assert one.channel == channel // 2
        assert one.share == 1
        assert one.kernel is not None
        np.testing.assert_array_equal(one.kernel, kernel[:, :, channel // 2, channel % 2])


def test_channels_first(keras: Any, photo: RGB8) -> None:
    layers, first = keras.layers, {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((3, 32, 40)),
            layers.Conv2D(4, 3, padding="same", name="a", **first),
            layers.DepthwiseConv2D(3, strides=2, name="b", **first),
        ]
    )
    extractor = FeatureExtractor(
        model=with_biases(model), preprocess=lambda images: images[..., ::-1] / 255
    )
    activations = extractor(photo)
    for layer in ("a", "b"):
        maps = activations[layer]
        for location in everywhere(maps):
            found = circuit(extractor, activations, layer, 2, location=location)
            assert_adds_up(found, maps[(*location, 2)], float(np.abs(maps).max()))
    found = circuit(extractor, activations, "a", 0)
    assert {one.channel: one.name for one in found.inputs} == {0: "blue", 1: "green", 2: "red"}


def test_the_source_is_the_previous_layer_of_the_graph(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inner = keras.Input((None, None, 4))
    nested = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="conv")(inner))
    block = keras.Model(inner, nested, name="block")
    shared = layers.Conv2D(4, 1, name="shared")
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(4, 3, name="stem")(layers.ZeroPadding2D(name="pad")(inputs))
    inside = block(layers.ReLU(name="relu")(stem))
    total = layers.Add(name="sum")([inside, layers.Cropping2D(1, name="crop")(stem)])
    outputs = shared(shared(total))
    soft = layers.LayerNormalization(name="ln")(layers.Dropout(0.5, name="drop")(outputs))
    extractor = FeatureExtractor(model=with_biases(keras.Model(inputs, soft)), size=None)
    activations = extractor(photo)

    def source(layer: str) -> str | None:
        return circuit(extractor, activations, layer, 3 if layer != "pad" else 2).source

    assert {layer: source(layer) for layer in activations if layer not in ("sum", "ln")} == {
        "pad": None,
        "stem": "pad",
        "relu": "stem",
        "block/conv": "relu",
        "block/bn": "block/conv",
        "crop": "stem",
        "shared": "sum",
        "shared#2": "shared",
        "drop": "shared#2",
    }
    (one,) = circuit(extractor, activations, "pad", 2).inputs
    assert (one.name, one.kernel) == ("blue", None)
    (one,) = circuit(extractor, activations, "block/bn", 1).inputs
    assert (one.name, one.kernel) == ("channel 1", None)
    for layer in ("block/conv", "shared", "shared#2"):
        maps = activations[layer]
        for location in everywhere(maps):
            found = circuit(extractor, activations, layer, 1, location=location)
            assert_adds_up(found, maps[(*location, 1)], float(np.abs(maps).max()))
    with pytest.raises(
        ValueError, match="layer 'sum' combines the maps of 2 layers: choose 'block/bn' or"
    ):
        circuit(extractor, activations, "sum", 0)
    with pytest.raises(
        ValueError, match=r"layer 'ln' \(LayerNormalization\) has no kernels: choose 'drop'"
    ):
        circuit(extractor, activations, "ln", 0)


def test_layers_without_kernels_are_refused(keras: Any, photo: RGB8) -> None:
    layers = keras.layers

    class Standardised(layers.Conv2D):  # type: ignore[misc, name-defined]
        """A convolution whose output is not explained by its weights alone."""

        def call(self, inputs: Any) -> Any:
            return keras.ops.tanh(super().call(inputs))

    inputs = keras.Input((28, 28))
    maps = layers.Conv2D(3, 3, name="conv")(layers.Reshape((28, 28, 1), name="column")(inputs))
    maps = layers.Activation("softmax", name="softmax")(Standardised(3, 3, name="own")(maps))
    maps = layers.Conv2DTranspose(3, 3, name="back")(maps)
    wide = layers.Reshape((28, 28, 4), name="wide")(layers.Dense(3136)(layers.Flatten()(maps)))
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="last")(wide))
    extractor = FeatureExtractor(model=model)
    activations = extractor(photo)
    for layer, words in {
        "column": "reads an input without feature maps: choose a layer that reads another",
        "own": r"\(Standardised\) has no kernels: choose 'conv', which it reads",
        "softmax": r"\(Activation\) has no kernels: choose 'own', which it reads",
        "back": r"\(Conv2DTranspose\) spreads each input over .*: choose 'softmax', which it reads",
        "wide": "reads an input without feature maps",
    }.items():
        with pytest.raises(ValueError, match=f"layer '{layer}' {words}"):
            circuit(extractor, activations, layer, 0)
    assert circuit(extractor, activations, "conv", 0).source == "column"
    assert circuit(extractor, activations, "last", 0).source == "wide"


def test_the_current_weights_are_read(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(1, 3, name="c")])
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    held = circuit(extractor, activations, "c", 0)
    old = [one.kernel.copy() for one in held.inputs if one.kernel is not None]
    weights = np.zeros((3, 3, 3, 1), np.float32)
    weights[0, 2, 1] = -4
    model.get_layer("c").set_weights([weights, np.ones(1)])
    found = circuit(extractor, extractor(photo), "c", 0)
    assert [one.name for one in found.inputs] == ["green", "red", "blue"]
    assert [one.norm for one in found.inputs] == [4, 0, 0]
    assert [one.share for one in found.inputs] == [1, 0, 0]
    assert [one.excitatory for one in found.inputs] == [0, 0, 0]
    assert found.bias == 1
    for one, kernel in zip(held.inputs, old, strict=True):
        np.testing.assert_array_equal(np.asarray(one.kernel), kernel)
    model.get_layer("c").set_weights([0 * weights, np.zeros(1)])
    dead = circuit(extractor, extractor(photo), "c", 0)
    assert [one.share for one in dead.inputs] == [0, 0, 0]
    assert (dead.share, dead.top) == (0, 0)


# Pictures -----------------------------------------------------------------------------------------


def decoded(png: bytes) -> RGB8:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_weights_are_red_white_and_blue() -> None:
    kernel = np.array([[2, -2, 0], [1, -1, 0.0]], np.float32)
    red, green, blue = np.moveaxis(kernel_picture(kernel, 2.0)[..., :3].astype(int), -1, 0)
    assert (red[:, 0] > blue[:, 0] + 50).all()
    assert (blue[:, 1] > red[:, 1] + 50).all()
    # Colours are paler the nearer they are to 0, which is white.
    assert green[0, 0] < green[1, 0] < green[1, 2] > green[1, 1] > green[0, 1]
    assert min(red[0, 2], green[0, 2], blue[0, 2]) > 240
    # One range for all cards: the same weight has the same colour, whatever else a kernel holds.
    np.testing.assert_array_equal(
        kernel_picture(kernel[1:], 2.0)[0, 0], kernel_picture(kernel, 2.0)[1, 0]
    )
    dead = kernel_picture(np.zeros((1, 1), np.float32), 0.0)[0, 0, :3]
    assert dead.min() > 240


def test_small_pictures_have_hard_edges() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    large = decoded(small_png(pixels, 53))
    assert large.shape == (30, 50, 3)
    np.testing.assert_array_equal(large, pixels[..., :3].repeat(10, axis=0).repeat(10, axis=1))
    flat = np.full((300, 450, 3), 77, np.uint8)
    small = decoded(small_png(flat, 200))
    assert small.shape == (150, 225, 3)
    assert (small == 77).all()


def test_an_inputs_picture_is_its_map(
    extractor: FeatureExtractor, activations: Activations, photo: RGB8
) -> None:
    (one, *_) = circuit(extractor, activations, "block2_conv1", 10).inputs
    made = input_picture(one, extractor, activations, cmap="magma", scale="channel")
    expected = render(
        activations, "block1_pool", channel=one.channel, cmap="magma", scale="channel"
    )
    np.testing.assert_array_equal(made, expected.rgba)
    for one in circuit(extractor, activations, "block1_conv1", 0).inputs:
        made = input_picture(one, extractor, activations, cmap="magma", scale="layer")
        number = ["red", "green", "blue"].index(one.name)
        np.testing.assert_array_equal(made[..., number], photo[..., number])
        assert not np.delete(made, number, axis=-1).any()


def test_a_grey_input_is_drawn_grey(keras: Any, photo: RGB8) -> None:
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(2, 3, name="c")])
    extractor = FeatureExtractor(model=model)
    activations = extractor(photo)
    (one,) = circuit(extractor, activations, "c", 0).inputs
    made = input_picture(one, extractor, activations, cmap="magma", scale="layer").astype(int)
    assert np.ptp(made[..., :3], axis=-1).max() <= 1
    luma = activations.image @ np.array([0.299, 0.587, 0.114])
    assert made[..., 0].flat[luma.argmax()] == 255
    assert made[..., 0].flat[luma.argmin()] == 0


def test_an_input_with_a_nan_kernel_comes_first(photo: RGB8) -> None:
    import keras

    inputs = keras.Input((None, None, 3))
    many = keras.layers.Conv2D(9, 1, name="many")(inputs)
    few = keras.layers.Conv2D(1, 1, name="few")
    model = keras.Model(inputs, few(many))
    kernel = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 9, 1)
    kernel[0, 0, 2] = np.nan
    few.set_weights([kernel, np.zeros(1)])
    extractor = FeatureExtractor(model=model)
    with pytest.warns(UserWarning, match="NaN"):
        activations = extractor(photo)
    found = circuit(extractor, activations, "few", 0, 3)
    assert [one.channel for one in found.inputs] == [2, 8, 7]

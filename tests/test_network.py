"""Tests of the network: values of plain Keras at any size, traced once and built once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import Activations, FeatureExtractor, ImageError, WeightsError, sample_image
from vgg_widget.network.vgg import preprocess_caffe, preprocess_torch

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    return keras


@pytest.fixture(scope="module")
def plain(keras: Any, extractor: FeatureExtractor) -> Any:
    """Return Keras's own VGG19 with one output per layer and the extractor's weights."""
    base = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    base.set_weights(extractor.model.get_weights())
    outputs = [layer.output for layer in base.layers[1:]]
    assert len(outputs) == 21
    return keras.Model(base.input, outputs)


def by_plain_keras(keras: Any, plain: Any, image: RGB8) -> dict[str, Floats]:
    batch = keras.applications.vgg19.preprocess_input(image[None].astype(np.float32))
    made = plain(batch, training=False)
    names = [layer.name for layer in plain.layers[1:]]
    return {name: np.asarray(output)[0] for name, output in zip(names, made, strict=True)}


def assert_close(got: Floats, expected: Floats) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


# Values ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(96, 96), (64, 75), (33, 130)])
def test_all_outputs_equal_plain_keras(
    keras: Any, plain: Any, extractor: FeatureExtractor, shape: tuple[int, int]
) -> None:
    image = sample_image()[100 : 100 + shape[0], 150 : 150 + shape[1]]
    activations = extractor(image)
    expected = by_plain_keras(keras, plain, image)
    assert list(activations) == list(expected)
    assert len(expected) == 21
    for name, maps in expected.items():
        assert_close(activations[name], maps)


def test_before_relu_is_the_convolution_without_its_activation(
    keras: Any, plain: Any, activations: Activations
) -> None:
    import tensorflow as tf

    for name, torch_name, source in (
        ("block1_conv2", "features.2", "block1_conv1"),
        ("block3_conv1", "features.10", "block2_pool"),
        ("block5_conv4", "features.34", "block5_conv3"),
    ):
        kernel, bias = plain.get_layer(name).get_weights()
        expected = tf.nn.conv2d(activations[source][None], kernel, 1, "SAME")[0] + bias
        assert_close(activations[torch_name], expected.numpy())
        assert (activations[torch_name] < 0).any()


def test_the_model_has_one_output_per_layer(extractor: FeatureExtractor, photo: RGB8) -> None:
    model = extractor.model
    assert [info.name for info in extractor.layers] == [layer.name for layer in model.layers[1:]]
    assert len(model.outputs) == len(extractor.layers) == 21
    assert [output.shape[-1] for output in model.outputs] == [
        info.channels for info in extractor.layers
    ]
    made = model(preprocess_caffe(photo[None].astype(np.float32)))
    activations = extractor(photo)
    for info, output in zip(extractor.layers, made, strict=True):
        assert_close(activations[info.name], np.asarray(output)[0])
        rows, columns = activations[info.name].shape[:2]
        assert (rows, columns) == (64 // info.stride, 75 // info.stride)


def test_the_same_image_gives_the_same_bits(extractor: FeatureExtractor, photo: RGB8) -> None:
    first, second = extractor(photo), extractor(photo)
    for name in ("block1_conv1", "block3_conv2", "block5_pool"):
        np.testing.assert_array_equal(first[name], second[name])
        assert not np.shares_memory(first[name], second[name])


def test_a_new_size_is_not_traced_again(extractor: FeatureExtractor) -> None:
    image = sample_image()
    for side in (32, 33, 64, 71):
        extractor(image[:side, : side + 9])
    list(extractor.stream([image[:40, :40]] * 3, batch_size=2))
    assert extractor._network.forward.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]


# Preprocessing -----------------------------------------------------------------------------------


def test_preprocessing_equals_kerass(keras: Any, photo: RGB8) -> None:
    given = np.stack([photo, photo[::-1]]).astype(np.float32)
    kept = given.copy()
    for function, mode in ((preprocess_caffe, "caffe"), (preprocess_torch, "torch")):
        expected = keras.applications.imagenet_utils.preprocess_input(given.copy(), mode=mode)
        np.testing.assert_allclose(function(given), expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(given, kept)
    pixel = preprocess_caffe(np.array([[[[10, 20, 30]]]], np.float32))
    np.testing.assert_allclose(pixel[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)


def test_the_image_is_never_changed(extractor: FeatureExtractor, keras: Any) -> None:
    image = sample_image()[:64, :64].copy()
    kept = image.copy()
    in_place = FeatureExtractor(
        "random", preprocess=keras.applications.vgg19.preprocess_input, size=None
    )
    for each in (extractor, in_place):
        activations = each(image)
        np.testing.assert_array_equal(image, kept)
        np.testing.assert_array_equal(activations.image, kept)
        assert not np.shares_memory(activations.image, image)
        assert not activations.image.flags.writeable
    for name in ("block1_conv1", "block5_pool"):
        assert_close(in_place(image)[name], extractor(image)[name])


def test_a_custom_preprocess(extractor: FeatureExtractor, photo: RGB8) -> None:
    seen: list[Any] = []

    def halve(batch: Floats) -> npt.NDArray[np.float64]:
        seen.append((batch.shape, batch.dtype, batch.min(), batch.max()))
        return batch.astype(np.float64) / 2  # float64, as NumPy's own constants would give

    half = FeatureExtractor("random", preprocess=halve, size=None)
    activations = half(photo)
    assert seen == [((1, 64, 75, 3), np.float32, photo.min(), photo.max())]
    kernel, bias = extractor.model.get_layer("block1_conv1").get_weights()
    patch = photo[9:12, 19:22].astype(np.float64) / 2
    expected = np.tensordot(patch, kernel, 3) + bias  # the unit in the patch's middle
    np.testing.assert_allclose(activations["features.0"][10, 20], expected, rtol=1e-4, atol=1e-3)


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"), [(40, (40, 47)), ((50, 36), (50, 36)), (None, (64, 75))]
)
def test_size_says_what_the_network_sees(
    photo: RGB8, size: int | tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    extractor = FeatureExtractor("random", size=size)
    assert extractor.size == size
    activations = extractor(photo)
    assert activations.image.shape == (*expected, 3)
    assert activations["block1_conv1"].shape == (*expected, 64)
    assert activations["block5_pool"].shape == (expected[0] // 32, expected[1] // 32, 512)


def test_the_shorter_side_is_224_by_default() -> None:
    assert FeatureExtractor("random").size == 224


@pytest.mark.parametrize("size", [31, 0, "224", 224.0, (224,), (64, 31), True])
def test_invalid_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .* cannot be used: .*shorter side"):
        FeatureExtractor("random", size=size)


def test_a_bad_image_is_an_image_error(extractor: FeatureExtractor) -> None:
    for image in (np.zeros((5, 5)), np.full((40, 40), np.nan), "nowhere.png", None):
        with pytest.raises(ImageError, match="image"):
            extractor(image)


# Many images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_stream_equals_one_by_one(extractor: FeatureExtractor, batch_size: int) -> None:
    image = sample_image()
    images = [image[k : k + 40, k : k + 48] for k in (0, 50, 100, 150, 200)]
    images.insert(2, image[:64, :33])  # another size in between
    streamed = list(extractor.stream(images, batch_size=batch_size))
    assert len(streamed) == 6
    for one, each in zip(images, streamed, strict=True):
        alone = extractor(one)
        np.testing.assert_array_equal(each.image, one)
        assert each.weights == alone.weights
        for name in ("block1_conv1", "features.10", "block3_conv4", "block5_pool"):
            assert_close(each[name], alone[name])


def test_stream_reads_two_batches_ahead_at_most(extractor: FeatureExtractor) -> None:
    image = sample_image()[:32, :32]
    asked = 0

    def endless() -> Iterator[RGB8]:
        nonlocal asked
        while True:
            asked += 1
            yield image

    stream = extractor.stream(endless(), batch_size=3)
    for taken in range(1, 8):
        next(stream)
        # The current batch, and two that are being read.
        assert asked <= taken + 3 * 3


def test_each_streamed_image_owns_its_memory(extractor: FeatureExtractor) -> None:
    image = sample_image()
    for activations in extractor.stream([image[:32, :32], image[50:82, 50:82]], batch_size=2):
        for name in (*activations, "features.0"):
            owner = activations[name]
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            # A view of the batch would keep both images' maps alive.
            assert owner.base is None
            assert owner.size == activations[name].size, name


def test_empty_streams_and_bad_batch_sizes(extractor: FeatureExtractor) -> None:
    assert list(extractor.stream([])) == []
    for batch_size in (0, -1, 1.5, "8"):
        with pytest.raises(ValueError, match=r"batch_size .* not a valid number of images: give 1"):
            list(extractor.stream([], batch_size=batch_size))  # type: ignore[arg-type]


def test_a_bad_batch_size_is_refused_at_the_call(extractor: FeatureExtractor) -> None:
    with pytest.raises(ValueError, match=r"batch_size 0 "):
        extractor.stream([], batch_size=0)


# Sharing -----------------------------------------------------------------------------------------


def test_the_same_weights_share_one_network() -> None:
    extractor = FeatureExtractor("random")
    other = FeatureExtractor("random", size=(64, 96), preprocess=preprocess_torch)
    assert other.model is extractor.model
    assert other.layers is extractor.layers
    assert other.weights == extractor.weights


def test_random_weights_say_so(extractor: FeatureExtractor, activations: Activations) -> None:
    assert extractor.weights.source == "random"
    assert "random" in extractor.weights.label
    assert extractor.weights.path is None
    assert activations.weights == extractor.weights
    assert repr(extractor) == f"<FeatureExtractor of 21 layers, {extractor.weights.label}>"


def test_to_code_recreates_the_extractor() -> None:
    for size in (None, 96, (64, 80)):
        extractor = FeatureExtractor("random", size=size)
        code = extractor.to_code()
        again = eval(code, {"FeatureExtractor": FeatureExtractor})  # noqa: S307 - our own text
        assert again.size == size
        assert again.model is extractor.model
    own = FeatureExtractor("random", preprocess=lambda batch: batch)
    with pytest.raises(ValueError, match=r"preprocess function, which cannot be written as code"):
        own.to_code()


def test_unknown_weights(extractor: FeatureExtractor) -> None:
    with pytest.raises(WeightsError, match=r"weights 'randon' .*did you mean 'random'"):
        FeatureExtractor("randon")
    with pytest.raises(WeightsError, match=r"weights .*no-such-user"):
        FeatureExtractor("~no-such-user/vgg19.weights.h5")


@pytest.mark.parametrize("weights", [None, 3, b"random", ["random"]])
def test_weights_that_are_neither_name_nor_path(weights: Any) -> None:
    with pytest.raises(WeightsError, match=r"weights .* is neither a name nor a path: choose"):
        FeatureExtractor(weights)


# Receptive fields, seen in the network itself ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "units"),
    [
        ("block1_conv2", [(0, 0), (30, 40), (63, 74)]),
        ("block2_pool", [(0, 0), (7, 9), (15, 17)]),
        ("block3_conv2", [(0, 0), (7, 9), (15, 17)]),
    ],
)
def test_a_unit_changes_with_pixels_in_its_box_and_with_no_other(
    extractor: FeatureExtractor, photo: RGB8, layer: str, units: list[tuple[int, int]]
) -> None:
    info = next(info for info in extractor.layers if info.name == layer)
    # Read a convolution before its ReLU, whose zeros would hide changes.
    name = info.torch_name if info.kind == "conv" else layer
    assert name is not None
    before = extractor(photo)[name]
    for row, column in units:
        top, left, bottom, right = info.receptive_field_box(row, column, (64, 75))
        middle = (top + bottom) // 2, (left + right) // 2
        inside = [(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]
        outside = [
            (top - 1, middle[1]),
            (bottom, middle[1]),
            (middle[0], left - 1),
            (middle[0], right),
        ]
        for pixels, changes in (([*inside, middle], True), (outside, False)):
            for y, x in pixels:
                if not (0 <= y < 64 and 0 <= x < 75):
                    continue
                changed = photo.copy()
                changed[y, x] ^= 128  # a large change
                after = extractor(changed)[name]
                differs = bool((after[row, column] != before[row, column]).any())
                assert differs == changes, (layer, (row, column), (y, x))


# Refusals ----------------------------------------------------------------------------------------


def test_weights_with_a_model_and_a_bad_preprocess_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights 'random' and model were both given"):
        FeatureExtractor("random", model=object())
    with pytest.raises(ValueError, match=r"preprocess is a str, not a function"):
        FeatureExtractor("random", preprocess="caffe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda images: images[..., :2],
            r"shape \(1, 64, 75, 2\) for 1 RGB .*: return an array of",
        ),
        (lambda images: images[0], r"shape \(64, 75, 3\)"),
        (lambda _: None, r"preprocess returned a NoneType, not an array of real numbers"),
        (lambda _: "done", r"preprocess returned a str, not"),
        (lambda images: images.astype(complex), r"preprocess returned a ndarray, not .* real"),
    ],
)
def test_what_preprocess_returns_is_checked(photo: RGB8, made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureExtractor("random", preprocess=made, size=None)(photo)


def test_an_image_that_would_fill_the_memory_is_refused_with_a_size_that_fits() -> None:
    with pytest.raises(ValueError, match=r"GB of memory.*choose a size of at most \d+"):
        FeatureExtractor("random", size=100_000)(np.zeros((40, 40, 3), np.uint8))


def test_one_image_is_not_a_stream(extractor: FeatureExtractor) -> None:
    with pytest.raises(TypeError, match="put it in a list"):
        extractor.stream("cat.jpg")
    with pytest.raises(ImageError, match=r"list of 2 .*stream"):
        extractor(["a.jpg", "b.jpg"])


def test_another_size_shares_the_network(extractor: FeatureExtractor, photo: RGB8) -> None:
    other = extractor.at_size(32)
    assert other.model is extractor.model
    assert (other.size, extractor.size) == (32, None)
    assert other(photo).image.shape == (32, 38, 3)
    assert extractor(photo).image.shape == photo.shape
    with pytest.raises(ValueError, match="size 7 cannot be used"):
        extractor.at_size(7)


@pytest.mark.slow
def test_building_a_network_keeps_no_second_copy_of_its_weights() -> None:
    # A new process imports TensorFlow while it builds the network. The import leaves errors behind,
    # which hold the frames that they passed through, and could hold the weights with them.
    code = """
import gc, weakref
gc.disable()
from vgg_widget.network import named
made, resolve = [], named.resolve
def noting(*asked):
    found = resolve(*asked)
    made.extend(weakref.ref(kernel) for kernel, _ in found.arrays.values())
    return found
named.resolve = noting
network, _ = named.shared_network("vgg19", "random")
print(len(made), sum(kernel() is not None for kernel in made))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["16", "0"]

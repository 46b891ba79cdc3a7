"""Tests of Grad-CAM against class activation maps and gradients computed by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor, predictions
from vgg_widget.gradients import attribute, class_map
from vgg_widget.images import resize
from vgg_widget.predictions import Predictor
from vgg_widget.weights import Classifier

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


def enlarged(cam: npt.NDArray[Any], size: tuple[int, int]) -> Floats:
    """Resize a map bilinearly with Keras."""
    import keras

    given = {"interpolation": "bilinear", "data_format": "channels_last"}
    made: Floats = np.asarray(keras.ops.image.resize(cam[..., None], size, **given))[..., 0]
    return made


def assert_near(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-9)


def pooled(keras: Any, end: str = "softmax", **first: Any) -> Any:
    """Return a model with global pooling, as Zhou et al.'s class activation maps need."""
    layers = keras.layers
    shape = (3, 40, 44) if first else (None, None, 3)
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 64, offset=-2)(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem", **first)(x)
    x = layers.MaxPooling2D(2, name="half", **first)(x)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="last", **first)(x)
    x = layers.GlobalAveragePooling2D(**first)(x)
    if end == "layer":
        x = layers.Softmax()(layers.Dense(4, name="classes")(x))
    else:
        x = layers.Dense(4, activation=end, name="classes")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("end", ["softmax", "linear", "sigmoid", "layer", "first"])
def test_grad_cam_is_the_class_activation_map_with_global_pooling(
    keras: Any, photo: RGB8, end: str
) -> None:
    first = {"data_format": "channels_first"} if end == "first" else {}
    model = pooled(keras, "softmax" if first else end, **first)
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    kernel, bias = model.get_layer("classes").get_weights()
    maps = activations["last"]
    for number in range(4):
        found = attribute(extractor, activations, "last", method="grad_cam", target=number)
        # Global pooling averages over all locations.
        cam = np.maximum(maps @ kernel[:, number], 0) / (maps.shape[0] * maps.shape[1])
        score = maps.mean(axis=(0, 1)) @ kernel[:, number] + bias[number]
        assert found.value == pytest.approx(score, rel=1e-4)
        # The pool drops an odd last column, which gets its neighbour's value.
        covered = 2 * maps.shape[1]
        expected = enlarged(cam, (activations.image.shape[0], covered))
        assert_near(found.values[:, :covered], expected)
        assert not found.signed
        assert found.values.min() >= 0
        assert (found.channel, found.location, found.colors) == (None, None, None)
        assert found.units == "class score"
        assert found.target == f"class 'class {number}' at layer 'last'"
        assert found.dead == bool(found.message)
    earlier = attribute(extractor, activations, "stem", method="grad_cam", target=2)
    assert earlier.values.any()


def test_the_classifier_of_a_model_is_shuffled_with_the_rest(keras: Any, photo: RGB8) -> None:
    model = pooled(keras)
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    before = model.get_weights()
    true = attribute(extractor, activations, "last", method="grad_cam", target=1)
    found = attribute(
        extractor, activations, "last", method="grad_cam", target=1, randomised="last", seed=2
    )
    assert found.value != true.value
    assert (found.randomised, found.seed) == ("last", 2)
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_models_without_classes_and_unknown_classes_are_refused(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    maps = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3, name="c")])
    extractor = FeatureExtractor(model=maps, size=None)
    asked: dict[str, Any] = {"method": "grad_cam", "target": 0}
    with pytest.raises(
        ValueError,
        match=r"method 'grad_cam' needs a classifier, but model .* ends in .*: pass a model that",
    ):
        attribute(extractor, photo, "c", **asked)
    with pytest.raises(ValueError, match="predictions need the classifier of a VGG19, which is"):
        attribute(FeatureExtractor("random", size=64), photo, "block5_conv4", **asked)
    extractor = FeatureExtractor(model=pooled(keras), size=None)
    for target in ("tabby", 4, -1, 1.5, True):
        asked["target"] = target
        with pytest.raises(
            ValueError, match=f"target {target!r} is not a class of this model, .*0 to 3"
        ):
            attribute(extractor, photo, "last", **asked)


def test_a_layer_without_a_gradient_for_the_classes_is_refused(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(2, 3, name="stem")(inputs)
    rounded = keras.ops.round(layers.Conv2D(2, 3, name="cut")(stem))
    both = layers.Add(name="sum")([layers.Conv2D(2, 3, name="way")(stem), rounded])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(both)))
    extractor = FeatureExtractor(model=model, size=None)
    with pytest.raises(ValueError, match="layer 'cut' has no gradient for the classes: pass a"):
        attribute(extractor, photo, "cut", method="grad_cam", target=0)


# VGG19's classifier -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["keras", "pytorch"])
def small(request: pytest.FixtureRequest, extractor: FeatureExtractor) -> Predictor:
    """Return a predictor of six classes, with dense weights in Keras's or PyTorch's order."""
    generator = np.random.default_rng(0)
    sizes = [7 * 7 * 512, 20, 12, 6]
    layers = tuple(
        (
            (generator.standard_normal(pair) * np.sqrt(2 / pair[0])).astype(np.float32),
            generator.standard_normal(pair[1]).astype(np.float32),
        )
        for pair in pairwise(sizes)
    )
    names = [("n1", "tabby"), ("n2", "crane"), ("n3", "fox"), ("n4", "crane"), ("n5", "cup")]
    return Predictor(extractor, Classifier(layers, request.param), (*names, ("n6", "bee")))


@pytest.fixture
def with_classes(monkeypatch: pytest.MonkeyPatch, small: Predictor) -> Predictor:
    monkeypatch.setattr(class_map, "predictor_for", lambda _: small)
    return small


@pytest.fixture(scope="module")
def square(photo: RGB8) -> RGB8:
    return np.kron(photo[:56, :56], np.ones((4, 4, 1), np.uint8))


def dense_scores(predictor: Predictor, pool: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values: npt.NDArray[Any] = pool.astype(float)
    values = (
        values.transpose(2, 0, 1) if predictor._classifier.channels_first else values
    ).reshape(-1)
    *hidden, last = predictor._classifier.layers
    for kernel, bias in hidden:
        values = np.maximum(values @ kernel.astype(float) + bias, 0)
    scores: npt.NDArray[Any] = values @ last[0] + last[1]
    return scores


def test_a_class_of_vgg19(
    extractor: FeatureExtractor, with_classes: Predictor, square: RGB8
) -> None:
    activations = extractor(square)
    pool = activations["block5_pool"]
    scores = dense_scores(with_classes, pool)
    for number in (0, 4):
        score, slope = with_classes.score(pool, number)
        assert score == pytest.approx(scores[number], rel=1e-3, abs=1e-3)
        # The score is piecewise linear, so a small step measures its gradient.
        step = np.random.default_rng(number).standard_normal(pool.shape) * 1e-4
        up, down = (dense_scores(with_classes, pool + side * step)[number] for side in (1, -1))
        assert (slope * step).sum() == pytest.approx((up - down) / 2, rel=1e-3)
    found = attribute(extractor, activations, "block5_pool", method="grad_cam", target="tabby")
    _, slope = with_classes.score(pool, 0)
    cam = np.maximum(pool @ slope.mean(axis=(0, 1)), 0)
    assert_near(found.values, enlarged(cam, (224, 224)))
    assert found.target == "class 'tabby' at layer 'block5_pool'"
    by_number = attribute(extractor, activations, "block5_pool", method="grad_cam", target=0)
    np.testing.assert_array_equal(by_number.values, found.values)
    by_id = attribute(extractor, activations, "block5_pool", method="grad_cam", target="n1")
    np.testing.assert_array_equal(by_id.values, found.values)


@pytest.mark.sampled
def test_a_layer_before_the_last_pool(
    extractor: FeatureExtractor, with_classes: Predictor, square: RGB8
) -> None:
    activations = extractor(square)
    _, slope = with_classes.score(activations["block5_pool"], 2)
    for layer in ("block5_conv4", "features.34"):
        found = attribute(extractor, activations, layer, method="grad_cam", target="fox")
        maps = activations[layer]
        # Max pooling passes its gradient to the first maximum of each square.
        gradient = np.zeros(maps.shape)
        squares = activations["block5_conv4"].reshape(7, 2, 7, 2, -1).transpose(0, 2, 4, 1, 3)
        first = squares.reshape(7, 7, -1, 4).argmax(axis=-1)
        rows, columns, channels = np.indices(first.shape)
        places = (2 * rows + first // 2, 2 * columns + first % 2, channels)
        gradient[places] = slope
        if layer == "features.34":
            gradient *= maps > 0
        cam = np.maximum(maps @ gradient.mean(axis=(0, 1)), 0)
        assert_near(found.values, enlarged(cam, (224, 224)))


@pytest.mark.slow
def test_pixels_outside_the_classifiers_view_get_zero(
    extractor: FeatureExtractor, with_classes: Predictor, square: RGB8
) -> None:
    # The image is twice as wide as high, and the classifier sees its middle square.
    wide = np.concatenate([square[:, 112:], square, square[:, :112]], axis=1)
    found = attribute(extractor, wide, "block5_conv4", method="grad_cam", target="bee")
    alone = attribute(extractor, square, "block5_conv4", method="grad_cam", target="bee")
    assert found.values.shape == (224, 448)
    assert not found.values[:, :112].any()
    assert not found.values[:, 336:].any()
    np.testing.assert_allclose(found.values[:, 112:336], alone.values, atol=1e-4)
    assert found.value == pytest.approx(alone.value, rel=1e-4)


@pytest.mark.slow
def test_a_small_picture_is_enlarged_first(
    extractor: FeatureExtractor, with_classes: Predictor, square: RGB8
) -> None:
    # Each pixel of the small picture covers four of the enlarged one that the classifier sees.
    half = attribute(extractor, square[::2, ::2], "block5_conv4", method="grad_cam", target="bee")
    large = resize(square[::2, ::2], 224)
    seen = attribute(extractor, large, "block5_conv4", method="grad_cam", target="bee")
    assert_near(half.values, seen.values.reshape(112, 2, 112, 2).mean(axis=(1, 3)))


@pytest.mark.sampled
def test_shuffled_classes(
    extractor: FeatureExtractor, with_classes: Predictor, square: RGB8
) -> None:
    activations = extractor(square)
    asked: Any = {"method": "grad_cam", "target": "cup"}
    true = attribute(extractor, activations, "block5_conv4", **asked)
    found = attribute(extractor, activations, "block5_conv4", randomised="block5_conv4", **asked)
    again = attribute(extractor, activations, "block5_conv4", randomised="block5_conv4", **asked)
    np.testing.assert_array_equal(found.values, again.values)
    assert found.value != true.value
    # Shuffling permutes the rows and columns of the classifier's kernels.
    pool = activations["block5_pool"]
    score, slope = with_classes.score(pool, 4, shuffled=7)
    layers = tuple(
        (
            kernel[np.argsort(np.random.default_rng([7, place, 0]).permutation(kernel.shape[0]))][
                :, np.random.default_rng([7, place, 1]).permutation(kernel.shape[1])
            ],
            bias[np.random.default_rng([7, place, 1]).permutation(kernel.shape[1])],
        )
        for place, (kernel, bias) in enumerate(with_classes._classifier.layers)
    )
    by_hand = Predictor(
        extractor, replace(with_classes._classifier, layers=layers), with_classes._names
    )
    expected, slopes = by_hand.score(pool, 4)
    assert score == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(slope, slopes, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("tabbi", "target 'tabbi' is not known: did you mean 'tabby'"),
        ("crane", "target 'crane' is the name of 2 classes: pass one of the numbers 1, 3"),
        (
            6,
            "target 6 is not one of the 6 classes: pass a name such as 'tabby', or a number from 0",
        ),
        (1.5, "target 1.5 is not one of the 6 classes: pass a name"),
    ],
)
def test_an_unknown_or_ambiguous_class_is_refused(
    extractor: FeatureExtractor, with_classes: Predictor, photo: RGB8, target: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        attribute(extractor, photo, "block5_conv4", method="grad_cam", target=target)


def test_the_predictor_is_found_by_the_extractors_weights(
    extractor: FeatureExtractor, small: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    provenance = extractor.weights
    monkeypatch.setattr(predictions, "_kept", {provenance: (small._classifier, small._names)})
    picture = np.full((64, 64, 3), 90, np.uint8)
    picture[:32] = 200
    found = attribute(extractor, picture, "block5_conv4", method="grad_cam", target="n6")
    assert found.target == "class 'bee' at layer 'block5_conv4'"
    assert found.values.shape == (64, 64)

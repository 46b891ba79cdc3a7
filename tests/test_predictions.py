"""Predictions: the probabilities of Keras and PyTorch, class names, missing classifiers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pytest
from traitlets import TraitError

from tests.weights_server import HIDDEN, class_list, dense, passing_for
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, sample_image
from vgg_widget.explorer.box import widgets_of
from vgg_widget.images import resize
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.predictions import Prediction, Predictor, checked_top, looked_at, predictor_for
from vgg_widget.weights import Classifier, imagenet
from vgg_widget.weights.formats import read_classifier

pytestmark = [
    pytest.mark.usefixtures("home", "own_networks"),
    # Keras reads its own variables in a way that numpy 2 has deprecated.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture
def class_names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Put a list of classes into Keras's folder in place of the published one."""
    content = json.dumps(class_list()).encode()
    file = passing_for(imagenet.IMAGENET_NAMES, content)
    monkeypatch.setattr(imagenet, "IMAGENET_NAMES", file)
    (path, _) = file.locations()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return class_list()


def assert_probable(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    # If all probabilities were about 1/1000, those of any two networks would agree.
    assert expected.max() > 0.05
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-4


# The same probabilities as Keras and PyTorch ----------------------------------------------------


@pytest.fixture(scope="module")
def keras_model(vgg19: Any) -> Any:
    """Return Keras's VGG19 for 224×224 pixels, with Keras's names for the top's layers."""
    import keras

    base = keras.applications.VGG19(include_top=False, weights=None, input_shape=(224, 224, 3))
    for layer in VGG19_LAYERS:
        # With Kaiming's spread, the values at the top have the magnitude of the input.
        weights = vgg19.get_layer(layer.name).get_weights()
        if weights:
            spread = np.sqrt(2 / np.prod(weights[0].shape[:3])) / weights[0].std()
            base.get_layer(layer.name).set_weights([weights[0] * spread, weights[1]])
    x = keras.layers.Flatten(name="flatten")(base.output)
    for name, units in zip(("fc1", "fc2"), HIDDEN, strict=True):
        x = keras.layers.Dense(units, activation="relu", name=name)(x)
    x = keras.layers.Dense(1000, activation="softmax", name="predictions")(x)
    model = keras.Model(base.input, x)
    layers = dense(1000)
    # With logits of several tens, one class would have all the probability.
    layers[-1] = (layers[-1][0] * np.float32(0.05), layers[-1][1])
    for name, pair in zip(("fc1", "fc2", "predictions"), layers, strict=True):
        model.get_layer(name).set_weights(pair)
    return model


def by_keras(model: Any, image: RGB8) -> Floats:
    import keras

    given = keras.applications.vgg19.preprocess_input(image[None].astype(np.float32))
    return np.array(model(given, training=False)[0], np.float32)


@pytest.mark.slow
def test_a_keras_file_predicts_what_keras_does(
    keras_model: Any, class_names: dict[str, list[str]], home: Path
) -> None:
    import keras

    path = home / "mine.weights.h5"
    keras_model.save_weights(path)
    extractor = FeatureExtractor(path)
    predictor = predictor_for(extractor)
    picture = sample_image()
    square = picture[:400, :400]
    expected = by_keras(keras_model, resize(square, 224))
    activations = extractor(square)
    assert_probable(predictor.probabilities(activations), expected)
    assert_probable(predictor.probabilities(square), expected)
    assert looked_at(activations) == "the whole picture"

    # 224 × 262 pixels make 7 × 8 units, of which the middle is used.
    activations = extractor(picture.transpose(1, 0, 2))
    assert activations.image.shape == (224, 262, 3)
    expected = by_keras(keras_model, activations.image[:, 19:243])
    assert_probable(predictor.probabilities(activations), expected)
    assert_probable(predictor.probabilities(picture.transpose(1, 0, 2)), expected)
    assert looked_at(activations) == ("the middle square of the picture, 224×224 of 224×262 pixels")

    # Keras's own labels.
    monkeypatched = keras.src.applications.imagenet_utils
    before, monkeypatched.CLASS_INDEX = monkeypatched.CLASS_INDEX, class_names
    try:
        ((*decoded,),) = keras.applications.vgg19.decode_predictions(expected[None], top=7)
    finally:
        monkeypatched.CLASS_INDEX = before
    found = predictor.predict(activations, top=7)
    assert [(one.wordnet_id, one.label) for one in found] == [entry[:2] for entry in decoded]
    np.testing.assert_allclose([p.probability for p in found], [e[2] for e in decoded], atol=1e-4)
    assert found[0].index == expected.argmax()


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_torchvision_file_predicts_what_pytorch_does(suffix: str, home: Path) -> None:
    import safetensors.torch
    import torch
    from torch import nn

    from tests.torch_networks import VGG19, torch_features

    torch.manual_seed(11)
    features = torch_features(VGG19)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    layers = dense(3)
    classifier = nn.Sequential(
        nn.Linear(25088, HIDDEN[0]), nn.ReLU(), nn.Dropout(),
        nn.Linear(*HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN[1], 3),
    )  # fmt: skip
    with torch.no_grad():
        for index, (kernel, bias) in zip((0, 3, 6), layers, strict=True):
            linear = classifier[index]
            assert isinstance(linear, nn.Linear)
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
    network = nn.Sequential(features, nn.Flatten(), classifier, nn.Softmax(dim=1)).eval()
    state = {f"module.features.{key}": value for key, value in features.state_dict().items()}
    state |= {f"module.classifier.{key}": value for key, value in classifier.state_dict().items()}
    path = home / f"mine{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        safetensors.torch.save_file(state, path)

    extractor = FeatureExtractor(path, size=64)  # Predictions use 224 pixels at any size.
    predictor = predictor_for(extractor)
    picture = resize(sample_image()[:300, :300], 224)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network((x - mean[:, None, None]) / std[:, None, None])[0].numpy()
    assert_probable(predictor.probabilities(picture), expected)
    # Three classes are not ImageNet's, so no names are downloaded.
    assert [one.label for one in predictor.predict(picture, top=5)] == [
        f"class {number}" for number in np.argsort(-expected)
    ]
    assert {one.wordnet_id for one in predictor.predict(picture)} == {""}
    # An image of 64 pixels is enlarged by the same rule.
    small = extractor(picture)
    assert looked_at(small) == "the whole picture"
    assert predictor.probabilities(small).shape == (3,)


def test_the_order_of_the_flattened_maps(extractor: FeatureExtractor) -> None:
    """Only one unit has a weight, at a different index in each order."""
    maps = np.zeros((7, 7, 512), np.float32)
    maps[2, 5, 100] = 1
    for channels_first, index in ((False, (2 * 7 + 5) * 512 + 100), (True, 100 * 49 + 2 * 7 + 5)):
        kernel = np.zeros((25088, 1), np.float32)
        kernel[index] = 3
        layers = (
            (kernel, np.zeros(1, np.float32)),
            (np.ones((1, 1), np.float32), np.zeros(1, np.float32)),
            (np.array([[0, 1]], np.float32), np.zeros(2, np.float32)),
        )
        predictor = made(extractor, Classifier(layers, channels_first))
        got = predictor.probabilities(of_pool(maps, extractor))
        np.testing.assert_allclose(got[1], 1 / (1 + np.exp(-3)), rtol=1e-6)


@pytest.mark.slow
def test_a_file_of_the_real_size(extractor: FeatureExtractor, home: Path) -> None:
    """Of the file's 495 MB only four numbers are not 0, so the softmax is known by hand."""
    path = home / "top.h5"
    shapes = {"fc1": (25088, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            # Named as in the published file.
            file.create_dataset(f"{name}/{name}_W_1:0", shape, "f4")
            file.create_dataset(f"{name}/{name}_b_1:0", shape[1:], "f4")
        file["fc1/fc1_W_1:0"][(3 * 7 + 5) * 512 + 17, 4095] = 2
        file["fc1/fc1_b_1:0"][4095] = -1
        file["fc2/fc2_W_1:0"][4095, 7] = 0.5
        file["predictions/predictions_W_1:0"][7, 999] = 4
    maps = np.zeros((7, 7, 512), np.float32)
    maps[3, 5, 17] = 2
    predictor = made(extractor, read_classifier(path))
    (first, second) = predictor.predict(of_pool(maps, extractor), top=2)
    logit = 4 * (0.5 * (2 * 2 - 1))
    assert (first.index, second.index) == (999, 0)
    np.testing.assert_allclose(first.probability, np.exp(logit) / (np.exp(logit) + 999), rtol=1e-5)
    np.testing.assert_allclose(second.probability, 1 / (np.exp(logit) + 999), rtol=1e-5)


def of_pool(maps: Floats, extractor: FeatureExtractor) -> Activations:
    """Return activations of a 224×224 image that contain only the last pool."""
    image = np.zeros((224, 224, 3), np.uint8)
    return Activations(VGG19_LAYERS[-1:], {"block5_pool": maps}, image, extractor.weights)


def made(extractor: FeatureExtractor, classifier: Classifier) -> Predictor:
    names = tuple((f"n{number}", f"name_{number}") for number in range(classifier.classes))
    return Predictor(extractor, classifier, names)


@pytest.fixture
def predictor(extractor: FeatureExtractor) -> Predictor:
    return made(extractor, Classifier(tuple(dense(4)), channels_first=False))


# Arguments and results ---------------------------------------------------------------------------


def test_predictions_come_sorted_and_are_computed_once_a_picture(
    predictor: Predictor, extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = np.random.default_rng(1).random((7, 7, 512), np.float32)
    activations = of_pool(maps, extractor)
    found = predictor.predict(activations, top=1000)
    assert [type(one) for one in found] == [Prediction] * 4
    shares = [one.probability for one in found]
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose(sum(shares), 1, rtol=1e-6)
    assert {(one.index, one.wordnet_id, one.label) for one in found} == {
        (number, f"n{number}", f"name_{number}") for number in range(4)
    }
    monkeypatch.setattr(predictor, "_computed", None)
    assert predictor.predict(activations, top=2) == found[:2]


@pytest.mark.parametrize("top", [0, 1001, -5, 2.0, True, "5", None])
def test_top_is_a_whole_number_from_1_to_1000(top: object, predictor: Predictor) -> None:
    with pytest.raises(
        ValueError, match=r"^top .* is not a whole number from 1 to 1000: pass 5\.$"
    ):
        checked_top(top)
    with pytest.raises(ValueError, match=r"^top "):
        predictor.predict(sample_image(), top)  # type: ignore[arg-type]
    assert (checked_top(np.int64(1000)), checked_top(1)) == (1000, 1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((224, 255), "the whole picture"),
        ((255, 224), "the whole picture"),
        ((64, 64), "the whole picture"),
        ((448, 500), "the whole picture"),
        ((224, 256), "the middle square of the picture, 224×224 of 224×256 pixels"),
        ((100, 50), "the middle square of the picture, 224×224 of 448×224 pixels"),
    ],
)
def test_the_part_that_is_looked_at_depends_on_the_last_pool(
    shape: tuple[int, int], words: str, extractor: FeatureExtractor
) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    maps = np.zeros((shape[0] // 32, shape[1] // 32, 512), np.float32)
    shown = Activations(VGG19_LAYERS[-1:], {"block5_pool": maps}, image, extractor.weights)
    assert looked_at(shown) == words


def test_activations_of_other_weights_are_refused(
    predictor: Predictor, extractor: FeatureExtractor
) -> None:
    maps = np.zeros((7, 7, 512), np.float32)
    others = Activations(
        VGG19_LAYERS[-1:],
        {"block5_pool": maps},
        np.zeros((224, 224, 3), np.uint8),
        replace(extractor.weights, digest="sha256:0", label="other weights"),
    )
    with pytest.raises(ValueError, match="activations of other weights do not belong to"):
        predictor.predict(others)


def test_nan_and_infinite_maps_are_refused(
    predictor: Predictor, extractor: FeatureExtractor
) -> None:
    for bad in (np.nan, np.inf, 3e38):
        maps = np.full((7, 7, 512), bad, np.float32)
        with pytest.raises(ValueError, match="leads to NaN or infinite values"):
            predictor.predict(of_pool(maps, extractor))


# In the explorer --------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_explorer_lists_the_most_probable_classes(
    keras_model: Any, class_names: dict[str, list[str]], home: Path
) -> None:
    path = home / "mine.weights.h5"
    keras_model.save_weights(path)
    square = sample_image()[:400, :400]
    explorer = LayerExplorer(square, weights=path, predict=3, panel="Predictions")
    try:
        order = np.argsort(-by_keras(keras_model, resize(square, 224)))[:3]
        wanted = [class_names[str(index)][1].replace("_", " ") for index in order]
        page = " ".join(words_of(explorer))
        places = [page.index(f">{label}<") for label in wanted]
        assert places == sorted(places)
        with pytest.raises(TraitError, match=r"'Prediction'.*'Predictions'"):
            explorer.panel = "Prediction"
    finally:
        explorer.close()


def words_of(explorer: LayerExplorer) -> list[str]:
    return [w.value for w in widgets_of(explorer) if isinstance(w, widgets.HTML)]


@pytest.mark.parametrize("predict", [0, 1001, "five", 2.5])
def test_an_explorer_refuses_a_number_of_classes_before_it_loads_anything(predict: Any) -> None:
    with pytest.raises(ValueError, match=f"predict {predict!r}"):
        LayerExplorer(sample_image(), weights="random", predict=predict)


def test_an_explorer_without_a_classifier_names_weights_with_one() -> None:
    with pytest.raises(ValueError, match=r"weights=['\"]imagenet"):
        LayerExplorer(sample_image(), weights="random", predict=5)

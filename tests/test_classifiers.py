"""Tests of classifiers: read from files, downloaded for ImageNet's weights, or missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

from tests.torch_networks import VGG19, torch_features
from tests.weights_server import HIDDEN, Mirror, by_hand, class_list, dense, passing_for
from vgg_widget import FeatureExtractor, WeightsError, predictions, sample_image
from vgg_widget.predictions import predictor_for
from vgg_widget.weights import Arrays, Classifier, imagenet, remote
from vgg_widget.weights.arrays import CLASSIFIER_NAMES
from vgg_widget.weights.formats import read_classifier

pytestmark = [
    pytest.mark.usefixtures("home", "own_networks"),
    # Keras reads its own variables in a way that numpy 2 has deprecated.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

# Weights of other sources -----------------------------------------------------------------------


def state_of_vgg19() -> dict[str, Any]:
    return {f"features.{key}": value for key, value in torch_features(VGG19).state_dict().items()}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("random", "random weights (seed 0)"),
        ("kmeans", "k-means filters"),
        (state_of_vgg19, "weights from a state dict in memory"),
    ],
)
def test_weights_without_a_classifier_are_refused(
    weights: str | Callable[[], dict[str, Any]], words: str
) -> None:
    extractor = FeatureExtractor(weights if isinstance(weights, str) else weights())
    with pytest.raises(ValueError, match=r"pass weights='imagenet', or the path of") as caught:
        predictor_for(extractor)
    assert str(caught.value).startswith(
        "predictions need the classifier of a VGG19, which is not known for "
    )
    assert words in str(caught.value)


def test_a_custom_model_is_refused() -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, name="one"), keras.layers.Flatten()],
        name="mine",
    )
    with pytest.raises(ValueError, match="not known for model 'mine': pass weights='imagenet'"):
        predictor_for(FeatureExtractor(model=model))


def dense_model(*, trained: bool = False, nested: bool = False) -> Any:
    """Return a model of dense layers only, with their names in Keras's VGG19."""
    import keras

    sizes = zip(CLASSIFIER_NAMES, (*HIDDEN, 5), strict=True)
    layers = [keras.layers.Dense(units, name=name) for name, units in sizes]
    model = keras.Sequential([keras.Input((25088,)), *layers])
    for layer, pair in zip(layers, dense(5), strict=True):
        layer.set_weights(pair)
    if nested:
        model = keras.Sequential([keras.Input((25088,)), model, keras.layers.Dense(2)])
    if trained:
        model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        model.optimizer.build(model.trainable_variables)
    return model


def assert_dense(classifier: Classifier) -> None:
    for pair, wanted in zip(classifier.layers, dense(5), strict=True):
        for array, expected in zip(pair, wanted, strict=True):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == np.float32
            assert not array.flags.writeable


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("how", [{}, {"trained": True}, {"nested": True}])
def test_keras_files_of_every_kind_give_the_dense_layers(
    how: dict[str, bool], suffix: str, home: Path
) -> None:
    path = home / f"mine{suffix}"
    model = dense_model(**how)
    if suffix == ".weights.h5":
        model.save_weights(path)
    else:
        model.save(path)
    classifier = read_classifier(path)
    assert_dense(classifier)
    assert (classifier.classes, classifier.channels_first) == (5, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_torchvision_files_give_the_dense_layers(
    suffix: str, dtype: torch.dtype, home: Path
) -> None:
    path = home / f"mine{suffix}"
    state = {}
    for module, (kernel, bias) in zip(CLASSIFIER_NAMES.values(), dense(5), strict=True):
        state[f"{module}.weight"] = torch.from_numpy(kernel.T.copy()).to(dtype)
        state[f"{module}.bias"] = torch.from_numpy(bias).to(dtype)
    if suffix == ".pt":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    classifier = read_classifier(path)
    assert (classifier.classes, classifier.channels_first) == (5, True)
    if dtype != torch.bfloat16:
        assert_dense(classifier)
    for (kernel, bias), module in zip(classifier.layers, CLASSIFIER_NAMES.values(), strict=True):
        np.testing.assert_array_equal(kernel.T, state[f"{module}.weight"].float().numpy())
        np.testing.assert_array_equal(bias, state[f"{module}.bias"].float().numpy())


def test_a_tensor_without_usable_numbers_is_named(home: Path) -> None:
    path = home / "mine.pth"
    state = {
        "classifier.0.weight": torch.empty((24, 25088), device="meta"),
        "classifier.0.bias": torch.zeros(24),
        "classifier.3.weight": torch.zeros(16, 24),
        "classifier.3.bias": torch.zeros(16),
        "classifier.6.weight": torch.zeros(5, 16),
        "classifier.6.bias": torch.zeros(5),
    }
    torch.save(state, path)
    words = r"layer 'classifier\.0' \(fc1\) has weights that cannot be read"
    with pytest.raises(WeightsError, match=words):
        read_classifier(path)
    state["classifier.0.weight"] = torch.full((24, 25088), torch.nan)
    torch.save(state, path)
    with pytest.raises(WeightsError, match="has weights with NaN or infinite values"):
        read_classifier(path)


def declared(path: Path, **changes: tuple[int, ...] | None) -> Path:
    """Write a Keras file of a small classifier that declares shapes but stores no numbers."""
    shapes = {"fc1": (25088, 24), "fc2": (24, 16), "predictions": (16, 5), **changes}
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            if shape is not None:
                file.create_dataset(f"{name}/kernel", shape, "f4")
                file.create_dataset(f"{name}/bias", shape[1:2], "f4")
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fc1": None}, "layer 'fc1' is missing"),
        ({"predictions": None}, "layer 'predictions' is missing"),
        (
            {"fc1": (512, 24)},
            "'fc1' has weights of shape (512, 24) (in, out), but the layer has 25088 inputs",
        ),
        ({"fc1": (25088, 5000)}, "at most 4096 outputs"),
        (
            {"fc2": (16, 24)},
            "'fc2' has weights of shape (16, 24) (in, out), but the layer has 24 inputs",
        ),
        (
            {"predictions": (16, 0)},
            "(16, 0) (in, out), but the layer has 16 inputs and at most 21841",
        ),
        ({"predictions": (16, 5, 1)}, "'predictions' has weights of shape (16, 5, 1)"),
        ({"fc2": (24,)}, "'fc2' has weights of shape (24,)"),
    ],
)
def test_a_classifier_that_does_not_fit_is_named(
    changes: dict[str, tuple[int, ...] | None], words: str, home: Path
) -> None:
    path = declared(home / "mine.h5", **changes)
    with pytest.raises(WeightsError) as caught:
        read_classifier(path)
    message = str(caught.value)
    assert message.startswith(f"weights {str(path)!r}: layer ")
    assert words in message
    assert message.endswith("choose a file that holds it, or weights='imagenet'.")
    assert ". " not in message
    assert read_classifier(declared(home / "good.h5")).classes == 5


def test_the_missing_classifier_of_a_file_is_reported(expected: Arrays, home: Path) -> None:
    path = home / "features.safetensors"
    safetensors.torch.save_file(state_of_vgg19(), path)
    with pytest.raises(WeightsError, match=r"'classifier\.0' \(fc1\) is missing \(there is no "):
        predictor_for(FeatureExtractor(path))
    path = by_hand(home / "notop.h5", expected)
    extractor = FeatureExtractor(path)
    with pytest.raises(WeightsError, match="layer 'fc1' is missing: predictions need VGG19's"):
        predictor_for(extractor)
    path.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="have changed since the network was built"):
        predictor_for(extractor)


# ImageNet's classifier: from the first download to a damaged cache -------------------------------


@pytest.fixture
def imagenet_extractor(extractor: FeatureExtractor) -> FeatureExtractor:
    """Return an extractor whose random weights claim to be ImageNet's, which tests do not have."""
    claimed = extractor.at_size(224)
    claimed._weights = replace(extractor.weights, source="imagenet", label="ImageNet weights")
    return claimed


@pytest.fixture
def published(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Yield a server whose small classifier and list of names pass as the published files."""
    path = home / "top.h5"
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in zip(("fc1", "fc2", "predictions"), dense(1000), strict=True):
            file[f"{name}/{name}_W_1:0"], file[f"{name}/{name}_b_1:0"] = kernel, bias
    top, names = path.read_bytes(), json.dumps(class_list()).encode()
    path.unlink()
    monkeypatch.setitem(
        imagenet.IMAGENET_TOP, "vgg19", passing_for(imagenet.IMAGENET_TOP["vgg19"], top)
    )
    monkeypatch.setattr(imagenet, "IMAGENET_NAMES", passing_for(imagenet.IMAGENET_NAMES, names))
    with Mirror() as server:
        server.files = {
            imagenet.IMAGENET_TOP["vgg19"].name: top,
            imagenet.IMAGENET_NAMES.name: names,
        }
        monkeypatch.setenv(remote.ADDRESS_VARIABLE, server.url)
        yield server


def test_the_constants_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from keras.src.applications import imagenet_utils, vgg19

    monkeypatch.delenv(remote.ADDRESS_VARIABLE)
    for file, address, module in (
        (imagenet.IMAGENET["vgg19"], vgg19.WEIGHTS_PATH_NO_TOP, vgg19),
        (imagenet.IMAGENET_TOP["vgg19"], vgg19.WEIGHTS_PATH, vgg19),
        (imagenet.IMAGENET_NAMES, imagenet_utils.CLASS_INDEX_PATH, imagenet_utils),
    ):
        assert file.address() == address
        source = inspect.getsource(module)
        assert f'"{file.name}"' in source
        assert f'file_hash="{file.hash.removeprefix("md5:")}"' in source
    assert imagenet.IMAGENET_TOP["vgg19"].size == 574_710_816


def test_the_download_is_announced_and_happens_once(
    published: Mirror,
    imagenet_extractor: FeatureExtractor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []
    published.midway = lambda: calls.append(capsys.readouterr().out)
    # The announced size is the published one; the file itself is checked by its hash only.
    small, large = (
        imagenet.IMAGENET_TOP["vgg19"],
        replace(imagenet.IMAGENET_TOP["vgg19"], size=574_710_816),
    )
    monkeypatch.setitem(imagenet.IMAGENET_TOP, "vgg19", large)
    predictor = predictor_for(imagenet_extractor)
    folder = str(remote.keras_folder())
    assert calls[0].startswith("Predictions need the weights of ImageNet's classifier, ")
    assert all(part in calls[0] for part in ("once: 575 MB", folder, "0.5 GB"))
    assert calls[0].count("\n") == 1
    assert [path.rpartition("/")[2] for path in published.requests] == [
        imagenet.IMAGENET_NAMES.name,
        small.name,
    ]
    assert (remote.keras_folder() / small.name).read_bytes() == published.files[small.name]

    shared = predictor_for(imagenet_extractor.at_size(64))
    assert shared._classifier is predictor._classifier
    monkeypatch.setitem(imagenet.IMAGENET_TOP, "vgg19", small)
    monkeypatch.setattr(predictions, "_kept", {})
    capsys.readouterr()
    again = predictor_for(imagenet_extractor)  # Reading from the cache prints nothing.
    assert capsys.readouterr() == ("", "")
    assert len(published.requests) == 2
    assert again.classes == 1000
    (best,) = again.predict(sample_image(), top=1)
    assert (best.wordnet_id, best.label) == (f"n{best.index:08d}", f"made_up_{best.index}")


FAILURES = {"missing": "the server answered 404", "wrong": "its hash differs", "page": "a web page"}


@pytest.mark.parametrize("behaviour", FAILURES)
@pytest.mark.parametrize("file", ["IMAGENET_NAMES", "IMAGENET_TOP"])
def test_a_failed_download_is_reported_and_leaves_no_file(
    file: str, behaviour: str, published: Mirror, imagenet_extractor: FeatureExtractor
) -> None:
    if file == "IMAGENET_TOP":
        imagenet.IMAGENET_NAMES.download(progress=False)
    published.behaviour = behaviour
    with pytest.raises(WeightsError, match=FAILURES[behaviour]) as caught:
        predictor_for(imagenet_extractor)
    message = str(caught.value)
    wanted = getattr(imagenet, file)
    if file == "IMAGENET_TOP":
        wanted = wanted["vgg19"]
    assert message.startswith(f"{wanted.what} are not cached and could not be downloaded because ")
    for part in ("`vgg-widget weights --download --top`", wanted.address(), wanted.name):
        assert part in message
    assert not (remote.keras_folder() / imagenet.IMAGENET_TOP["vgg19"].name).exists()
    published.behaviour = "good"
    assert predictor_for(imagenet_extractor).classes == 1000


def test_without_internet(imagenet_extractor: FeatureExtractor) -> None:
    with pytest.raises(WeightsError, match="because there is no connection to the server; to try"):
        predictor_for(imagenet_extractor)


def test_a_damaged_classifier_is_named(
    published: Mirror, imagenet_extractor: FeatureExtractor
) -> None:
    predictor_for(imagenet_extractor)
    predictions._kept.clear()
    path = remote.keras_folder() / imagenet.IMAGENET_TOP["vgg19"].name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError) as caught:
        predictor_for(imagenet_extractor)
    assert f"the file {path} is damaged" in str(caught.value)
    assert "run `vgg-widget weights --download --top` to replace it." in str(caught.value)
    imagenet.IMAGENET_TOP["vgg19"].download(progress=False)
    assert path.read_bytes() == whole

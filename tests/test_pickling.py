"""`pickle` and `copy` of the package's objects: equal copies, or an error with advice."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import make_activations
from vgg_widget import (
    Activations,
    ChannelAtlas,
    FeatureExtractor,
    LayerExplorer,
    WeightsError,
    compare,
    render,
)
from vgg_widget.activations.mapping import RANKINGS
from vgg_widget.activations.strongest import strongest_at
from vgg_widget.circuit import circuit
from vgg_widget.dataset import TopActivations
from vgg_widget.layers import VGG19_CONVOLUTIONS
from vgg_widget.network.network_input import Floats
from vgg_widget.pictures.comparing import pair, render_pair
from vgg_widget.pictures.histogram import histogram
from vgg_widget.pictures.modes import MODES
from vgg_widget.pictures.scaling import DisplayRange
from vgg_widget.predictions import Prediction, Predictor
from vgg_widget.weights import Classifier, embedded_path, random_arrays
from vgg_widget.weights.learned_weights import LearnedWeights

RGB8 = npt.NDArray[np.uint8]


def pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda whole: pickle.loads(pickle.dumps(whole, protocol))  # noqa: S301 - made here


WAYS = {f"pickle {number}": pickled(number) for number in range(pickle.HIGHEST_PROTOCOL + 1)}
WAYS |= {"deepcopy": copy.deepcopy, "copy": copy.copy}


@pytest.fixture(params=WAYS)
def again(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return WAYS[request.param]


# For objects that take seconds to recreate.
few_ways = pytest.mark.parametrize("again", ["pickle 0", "pickle 5", "deepcopy"], indirect=True)


def assert_alike(found: Any, expected: Any) -> None:
    """Compare field by field, since most of these objects compare by identity."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif is_dataclass(expected):
        for each in fields(expected):
            assert_alike(getattr(found, each.name), getattr(expected, each.name))
    elif isinstance(expected, Activations):
        assert_same_activations(found, expected)
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for key in expected:
            assert_alike(found[key], expected[key])
    elif isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    else:
        assert found == expected


def assert_same_activations(found: Activations, expected: Activations) -> None:
    assert found.layers == expected.layers
    assert found.weights == expected.weights
    assert found.name == expected.name
    np.testing.assert_array_equal(found.image, expected.image)
    for layer in expected:
        for name in (layer, *expected.torch_names(layer)):
            np.testing.assert_array_equal(found[name], expected[name])
            assert found.signed(name) == expected.signed(name)
            for array in (found[name], found.of_channels(name, [0]), found.image):
                with pytest.raises(ValueError, match="read-only"):
                    array[0, 0, 0] = 1


@pytest.mark.sampled
def test_activations_survive_pickling(activations: Activations, again: Any) -> None:
    found = again(activations)
    assert found is not activations
    assert_same_activations(found, activations)
    for by in RANKINGS:
        np.testing.assert_array_equal(
            found.rank("block4_conv1", by), activations.rank("block4_conv1", by)
        )
    assert_alike(found.statistics("features.10"), activations.statistics("features.10"))
    assert found.top(None, 99.5) == activations.top(None, 99.5)
    assert_alike(render(found, "block3_conv1", "grid"), render(activations, "block3_conv1", "grid"))
    # A copy of a copy.
    assert_same_activations(again(found), activations)


def test_cached_results_are_not_pickled(again: Any) -> None:
    maps = np.random.default_rng(0).normal(size=(40, 50, 30)).astype(np.float32)
    made = make_activations(maps, before_relu=True, others={"other": -maps[:4]})
    asked = make_activations(maps, before_relu=True, others={"other": -maps[:4]})
    for layer in asked:
        asked[layer], asked.statistics(layer), asked.rank(layer, "entropy"), asked.top(layer, 99)
    found = again(asked)
    np.testing.assert_array_equal(found["conv"], np.maximum(maps, 0))
    np.testing.assert_array_equal(found["features.0"], maps)
    np.testing.assert_allclose(
        found.statistics("conv").mean, np.maximum(maps, 0).mean(axis=(0, 1)), rtol=1e-5
    )
    assert len(pickle.dumps(asked)) == len(pickle.dumps(made)) < 1.1 * 1.1 * maps.nbytes
    # The copy shares no computed maps with the original.
    assert found["conv"] is not asked["conv"]


def test_a_saved_file_and_a_copy_are_the_same(
    activations: Activations, again: Any, tmp_path: Path
) -> None:
    again(activations).save(tmp_path / "maps.npz")
    assert_same_activations(again(Activations.load(tmp_path / "maps.npz")), activations)


@pytest.mark.sampled
def test_results_survive_pickling(
    extractor: FeatureExtractor, activations: Activations, noisy_top: TopActivations, again: Any
) -> None:
    both = pair(extractor, activations.image, activations.image[::-1])
    results = [
        *(render(activations, "block3_conv1", mode) for mode in MODES),
        render(activations, "features.0", "channel", cmap="RdBu_r", channel=3),
        histogram(render(activations, "block2_conv1")),
        circuit(extractor, activations, "block2_conv1", 3, location=(1, 2)),
        extractor.fan_in("block1_conv2"),
        extractor.layers,
        extractor.weights,
        activations.statistics("block2_pool"),
        strongest_at(activations, "block3_conv1", 2, 3),
        DisplayRange(0.0, 2.0),
        Prediction(3, "n02123394", "Persian_cat", 0.5),
        LearnedWeights.load(embedded_path()),
        both,
        render_pair(both, "block2_conv1"),
    ]
    for one in results:
        assert_alike(again(one), one)
    found = again(noisy_top)
    assert_alike(found, noisy_top)
    for layer in noisy_top:
        assert_alike(found.patches(layer, 2), noisy_top.patches(layer, 2))


@pytest.mark.sampled
@few_ways
def test_a_predictor_round_trips(
    extractor: FeatureExtractor, activations: Activations, again: Any
) -> None:
    generator = np.random.default_rng(0)
    layers = tuple(
        (generator.random(size, np.float32) / np.float32(size[0]), np.zeros(size[1], np.float32))
        for size in ((7 * 7 * 512, 8), (8, 8), (8, 3))
    )
    names = tuple(("", f"class {number}") for number in range(3))
    predictor = Predictor(extractor, Classifier(layers, channels_first=False), names)
    expected = predictor.predict(activations)
    assert again(predictor).predict(activations.image) == expected


# Extractors ------------------------------------------------------------------------------------


def halved(images: Floats) -> Floats:
    return images / np.float32(2)


@pytest.fixture
def learned_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(embedded_path(), tmp_path / "mine.npz"))


@pytest.mark.sampled
@few_ways
@pytest.mark.usefixtures("own_networks")
@pytest.mark.parametrize("weights", ["random", "kmeans", "auto", "file"])
def test_an_extractor_is_pickled_as_the_name_of_its_weights(
    photo: RGB8, learned_file: Path, again: Any, weights: str
) -> None:
    extractor = FeatureExtractor(
        str(learned_file) if weights == "file" else weights, size=(40, 50), preprocess=halved
    )
    # The network of 80 MB is not pickled.
    assert len(pickle.dumps(extractor)) < 5000
    found = again(extractor)
    assert found.weights == extractor.weights
    assert found.size == (40, 50)
    assert found.layers == extractor.layers
    assert_same_activations(found(photo), extractor(photo))
    given = np.asarray(extractor(photo).image, np.float32)
    np.testing.assert_array_equal(found.network_input(found(photo).image), given / 2)


class Scaled:
    """Preprocessing as a callable object."""

    def __call__(self, images: Floats) -> Floats:
        return images / np.float32(3)

    def applied(self, images: Floats) -> Floats:
        return self(images)


def preprocessing_without_a_name() -> dict[str, Callable[[Floats], Floats]]:
    factor = np.float32(2)

    def inner(images: Floats) -> Floats:
        return images * factor

    class Inner(Scaled):
        pass

    return {
        "lambda": lambda images: images,
        "in a function": inner,
        "partial": functools.partial(inner),
        "of a class in a function": Inner(),
        "method of a class in a function": Inner().applied,
    }


@pytest.mark.sampled
@pytest.mark.parametrize("case", preprocessing_without_a_name())
@pytest.mark.parametrize("weights", ["random", "kmeans"])
def test_preprocessing_without_a_name_is_refused_with_advice(
    photo: RGB8, weights: str, case: str
) -> None:
    own = preprocessing_without_a_name()[case]
    extractor = FeatureExtractor(weights, preprocess=own, size=32)
    for protocol in (0, 2, 5):
        with pytest.raises(TypeError, match=r"^an extractor of .*, which .*: define the function"):
            pickle.dumps(extractor, protocol)
    assert_same_activations(copy.deepcopy(extractor)(photo), extractor(photo))


@pytest.mark.sampled
@pytest.mark.parametrize(
    "own", [halved, functools.partial(halved), Scaled(), Scaled().applied, np.sqrt, np.asarray]
)
def test_preprocessing_is_found_by_its_name(photo: RGB8, own: Any) -> None:
    extractor = FeatureExtractor("random", preprocess=own, size=32)
    found = pickle.loads(pickle.dumps(extractor))  # noqa: S301 - made here
    assert_same_activations(found(photo), extractor(photo))


def test_a_missing_or_changed_weights_file_is_reported(learned_file: Path) -> None:
    extractor = FeatureExtractor(learned_file)
    sent = pickle.dumps(extractor)
    learned = LearnedWeights.load(learned_file)
    last = learned.layers["block5_conv4"]
    layers = {**learned.layers, "block5_conv4": replace(last, bias=last.bias + 1)}
    LearnedWeights(layers, learned.metadata).save(learned_file)
    with pytest.raises(
        ValueError, match=r"mine\.npz.* could not be recreated exactly .*restore the old file"
    ):
        pickle.loads(sent)  # noqa: S301 - made here
    learned_file.unlink()
    with pytest.raises(WeightsError, match=r"mine\.npz' cannot be read"):
        pickle.loads(sent)  # noqa: S301 - made here


@pytest.mark.usefixtures("own_networks")
def test_modified_weights_are_not_recreated_from_their_name() -> None:
    extractor = FeatureExtractor("random")
    layer = extractor.model.get_layer("block3_conv2")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + 1])
    sent = pickle.dumps(extractor)
    assert copy.deepcopy(extractor).model is extractor.model
    layer.set_weights([kernel, bias])
    with pytest.raises(ValueError, match=r"could not be recreated exactly .*export modified"):
        pickle.loads(sent)  # noqa: S301 - made here


@pytest.mark.usefixtures("own_networks")
def test_pickling_an_extractor_without_a_name_says_what_to_do(
    exact: FeatureExtractor, photo: RGB8
) -> None:
    import torch

    state = {}
    arrays = random_arrays()
    for info in VGG19_CONVOLUTIONS:
        kernel, bias = arrays[info.name]
        state[f"{info.torch_name}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        state[f"{info.torch_name}.bias"] = torch.tensor(bias)
    for extractor, advice in (
        (exact, r"pickle the model and create FeatureExtractor\(model=\.\.\.\) from it there\.$"),
        (FeatureExtractor(state), r"save the state dict to a file .*\.$"),
    ):
        for act in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match=f"cannot be pickled or deep-copied, .*{advice}"):
                act(extractor)
        # A shallow copy shares the network, like `at_size`.
        assert_same_activations(copy.copy(extractor)(photo), extractor(photo))


def maps_elsewhere(extractor: FeatureExtractor, activations: Activations) -> Activations:
    assert multiprocessing.parent_process() is not None
    assert_same_activations(extractor(activations.image), activations)
    return extractor(activations.image[::-1])


@pytest.mark.slow
def test_another_process_computes_the_same(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(maps_elsewhere, extractor, activations).result(200)
    assert_same_activations(found, extractor(activations.image[::-1]))


# Explorers -------------------------------------------------------------------------------------


@pytest.fixture
def explorers(
    extractor: FeatureExtractor, photo: RGB8, noisy_top: TopActivations
) -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {
        "its activations and its state()": LayerExplorer(photo, extractor=extractor),
        "its pair": compare(photo, photo[::-1], extractor=extractor),
        "its top": ChannelAtlas(noisy_top),
    }
    yield made
    for one in made.values():
        one.close()


@pytest.mark.sampled
@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pickling_an_explorer_says_what_to_pickle_instead(
    explorers: dict[str, Any], act: Any
) -> None:
    for advice, explorer in explorers.items():
        with pytest.raises(TypeError, match=r"cannot be pickled or copied, since") as caught:
            act(explorer)
        assert type(explorer).__name__ in str(caught.value)
        assert str(caught.value).endswith(f"take {advice} instead.")
    explorer = explorers["its activations and its state()"]
    assert explorer.rendering is not None
    kept = pickle.loads(pickle.dumps((explorer.activations, explorer.state())))  # noqa: S301 - made here
    np.testing.assert_array_equal(
        render(kept[0], explorer.layer).rgba, render(explorer.activations, explorer.layer).rgba
    )

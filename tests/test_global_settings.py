"""Tests that Keras's settings change no map, and of errors where TensorFlow cannot run."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import networks_apart
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, compare
from vgg_widget.dataset import top_activations
from vgg_widget.learning import Recipe, learn_weights
from vgg_widget.network import named
from vgg_widget.predictions import Predictor
from vgg_widget.weights import Classifier, ResolvedWeights, resolve

RGB8 = npt.NDArray[np.uint8]

POLICIES = (
    "float32",
    "mixed_float16",
    "mixed_bfloat16",
    "float16",
    "bfloat16",
    "float64",
    "int8_from_float32",
)


@contextmanager
def settings(policy: str, floatx: str = "float32", layout: str = "channels_last") -> Iterator[None]:
    """Set Keras's global settings, and restore the defaults at the end."""
    import keras

    epsilon = keras.config.epsilon()
    try:
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(layout)
        keras.config.set_epsilon(0.1)
        keras.config.set_dtype_policy(policy)
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        keras.config.set_epsilon(epsilon)
        keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def weights() -> ResolvedWeights:
    """Return the weights of `extractor`, from which networks are created quickly."""
    return resolve("random")


def assert_same_maps(found: Activations, expected: Activations) -> None:
    assert list(found) == list(expected)
    for name in [*expected, "features.0", "features.34"]:
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


FLOATX = ("float16", "float32", "float64")
LAYOUTS = ("channels_last", "channels_first")


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [*itertools.product(POLICIES, FLOATX, LAYOUTS)], ids=" ".join)
def test_vgg19_is_the_same_under_all_settings(
    extractor: FeatureExtractor,
    activations: Activations,
    weights: ResolvedWeights,
    chosen: tuple[str, str, str],
) -> None:
    image = activations.image
    with networks_apart():
        with settings(*chosen):
            assert_same_maps(extractor(image), activations)
            made = FeatureExtractor(weights, size=None)
            assert_same_maps(made(image), activations)
        assert_same_maps(made(image), activations)
        # The cached network, which was built under the other settings.
        assert_same_maps(FeatureExtractor(weights, size=None)(image), activations)


@pytest.mark.sampled
@pytest.mark.parametrize("policy", ["mixed_float16", "float64", "int8_from_float32"])
def test_calling_the_model_directly_gives_the_same_maps(
    extractor: FeatureExtractor, activations: Activations, weights: ResolvedWeights, policy: str
) -> None:
    batch = activations.image[None].astype(np.float32)
    expected = [np.asarray(maps) for maps in extractor.model(batch)]
    with networks_apart():
        with settings(policy, "float16", "channels_first"):
            model = FeatureExtractor(weights).model
            found = [np.asarray(maps) for maps in model(batch)]
        assert [layer.name for layer in model.layers[1:]] == list(activations)
    assert {maps.dtype for maps in found} == {np.dtype(np.float32)}
    for maps, others in zip(found, expected, strict=True):
        np.testing.assert_array_equal(maps, others)


def test_names_and_maps_outlive_a_cleared_session(
    extractor: FeatureExtractor, activations: Activations, weights: ResolvedWeights
) -> None:
    import keras

    with networks_apart():
        for _ in range(2):
            keras.backend.clear_session()
            assert_same_maps(extractor(activations.image), activations)
            made = FeatureExtractor(weights, size=None)
            assert_same_maps(made(activations.image), activations)
            assert [layer.name for layer in made.model.layers[1:]] == list(activations)
            named._networks.clear()


@pytest.mark.usefixtures("own_networks")
def test_a_network_that_cannot_run_is_not_kept(
    activations: Activations, weights: ResolvedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def broken(*_: object) -> None:
        raise TypeError("no such kernel")

    with monkeypatch.context() as patch:
        patch.setattr(tf.nn, "bias_add", broken)
        with pytest.raises(TypeError, match="no such kernel"):
            FeatureExtractor(weights, size=None)
    assert_same_maps(FeatureExtractor(weights, size=None)(activations.image), activations)


SHOW = """
import hashlib, sys
import numpy as np
from vgg_widget import FeatureExtractor
image = np.load(sys.argv[1])
maps = FeatureExtractor("random", size=None)(image)
import keras
print(keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy().name)
print(hashlib.sha256(b"".join(maps[name].tobytes() for name in maps)).hexdigest())
"""


def run(code: str, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_keras_json_changes_nothing(activations: Activations, tmp_path: Path) -> None:
    chosen = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps({**chosen, "backend": "tensorflow"}))
    np.save(tmp_path / "image.npy", activations.image)
    names, digest = run(SHOW, str(tmp_path / "image.npy"), KERAS_HOME=str(tmp_path))
    assert names == "float16 channels_first float16"
    maps = b"".join(activations[name].tobytes() for name in activations)
    assert digest == hashlib.sha256(maps).hexdigest()


def test_predictions_are_the_same(
    extractor: FeatureExtractor, activations: Activations, photo: RGB8
) -> None:
    generator = np.random.default_rng(0)
    layers = []
    for incoming, outgoing in ((7 * 7 * 512, 8), (8, 8), (8, 5)):
        kernel = generator.random((incoming, outgoing), np.float32) / np.float32(incoming)
        layers.append((kernel, np.zeros(outgoing, np.float32)))
    classifier = Classifier(tuple(layers), channels_first=False)
    names = tuple(("", f"class {number}") for number in range(5))
    expected = Predictor(extractor, classifier, names).probabilities(photo)
    with settings("mixed_float16", "float64", "channels_first"):
        found = Predictor(extractor, classifier, names).probabilities(photo)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_learned_filters_are_the_same() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 64, 80, 3), np.uint8)
    recipe = Recipe(views=4, canvas=64, patches=8000)

    def learned() -> Any:
        weights = learn_weights(
            list(noise), rank=8, progress=False, through="block1_conv2", recipe=recipe
        )
        return weights.layers["block1_conv2"]

    expected = learned()
    with settings("mixed_float16", "float16", "channels_first"):
        found = learned()
    np.testing.assert_array_equal(found.kernel(), expected.kernel())
    np.testing.assert_array_equal(found.bias, expected.bias)


def test_the_strongest_of_a_set_are_the_same(extractor: FeatureExtractor, photo: RGB8) -> None:
    images = [photo, photo[::-1], photo[:, ::-1]]
    layers = ["block1_conv2", "block3_pool", "features.10"]
    expected = top_activations(extractor, images, layers, k=2, progress=False)
    with settings("mixed_bfloat16", "float64", "channels_first"):
        found = top_activations(extractor, images, layers, k=2, progress=False)
    for name in expected:
        np.testing.assert_array_equal(found[name].values, expected[name].values)
        np.testing.assert_array_equal(found[name].images, expected[name].images)


# Custom models ----------------------------------------------------------------------------------


def own_model(**layer: Any) -> Any:
    """Return a model made under the current Keras settings, unless `layer` overrides them."""
    import keras

    pixels = keras.Input((64, 75, 3), name="pixels")
    maps = keras.layers.Rescaling(1 / 255, **layer)(pixels)
    maps = keras.layers.DepthwiseConv2D(3, name="first", **layer)(maps)
    inner = keras.Sequential([keras.Input(maps.shape[1:]), keras.layers.Conv2D(4, 3, name="conv")])
    inner.get_layer("conv").dtype_policy = maps.dtype
    maps = keras.layers.Activation("relu", name="last", **layer)(inner(maps))
    return keras.Model(pixels, maps)


@pytest.mark.parametrize("made_first", [True, False])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_a_custom_model_computes_what_keras_computes(
    photo: RGB8, policy: str, made_first: bool
) -> None:
    model = own_model() if made_first else None
    with settings(policy):
        model = model or own_model()
        direct = model(photo[None].astype(np.float32))
        maps = FeatureExtractor(model=model)(photo)["last"]
    again = FeatureExtractor(model=model)(photo)["last"]
    expected = np.asarray(direct, np.float32)[0]
    assert expected.max() > 0
    # Only the same kernels round half precision identically.
    tolerance = 1e-5 if made_first or policy == "float64" else 2e-2
    for found in (maps, again):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=tolerance * expected.max())


def test_a_custom_model_works_under_a_quantised_policy(photo: RGB8) -> None:
    model = own_model()
    with settings("int8_from_float32"):
        direct = model(photo[None].astype(np.float32))
        maps = FeatureExtractor(model=model)(photo)["last"]
    np.testing.assert_allclose(maps, np.asarray(direct)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "mobilenet_v2"])
def test_keras_prepares_pictures_alike_under_all_settings(photo: RGB8, name: str) -> None:
    import keras

    prepare = getattr(keras.applications, name).preprocess_input
    model = own_model()
    expected = prepare(photo[None].astype(np.float32), data_format="channels_last")[0]
    extractor = FeatureExtractor(model=model, preprocess=prepare)
    for layout in ("channels_last", "channels_first"):
        with settings("float64", "float16", layout):
            made = FeatureExtractor(model=model, preprocess=prepare)
            for one in (extractor, made):
                np.testing.assert_array_equal(one.network_input(photo), expected)


# Where TensorFlow cannot compute -----------------------------------------------------------------


def inside_a_graph(act: Callable[[], object]) -> None:
    import tensorflow as tf

    with tf.Graph().as_default():
        act()


def inside_a_function(act: Callable[[], object]) -> None:
    import tensorflow as tf

    tf.function(act, autograph=False)()


def inside_a_data_set(act: Callable[[], object]) -> None:
    import tensorflow as tf

    def mapped(number: Any) -> Any:
        act()
        return number

    tf.data.Dataset.range(1).map(tf.autograph.experimental.do_not_convert(mapped))


def symbolic(image: Any) -> Any:
    """Return a symbolic tensor of the graph under construction."""
    import tensorflow as tf

    tensor = tf.identity(tf.constant(np.asarray(image)))
    assert not hasattr(tensor, "numpy")
    return tensor


def test_mapping_a_data_set_through_an_extractor_is_refused(
    extractor: FeatureExtractor, photo: RGB8
) -> None:
    import tensorflow as tf

    images = tf.data.Dataset.from_tensors(photo)
    for act in (
        lambda image: extractor(image)["block1_conv1"],
        lambda image: next(iter(extractor.stream([image])))["block1_conv1"],
    ):
        with pytest.raises(RuntimeError, match="does not execute eagerly here"):
            images.map(act)


@pytest.fixture(scope="module")
def own(photo: RGB8) -> FeatureExtractor:
    return FeatureExtractor(model=own_model())


@pytest.mark.sampled
@pytest.mark.parametrize("inside", [inside_a_graph, inside_a_function, inside_a_data_set])
@pytest.mark.parametrize(
    "act",
    [
        lambda given: given.extractor(given.photo),
        lambda given: given.own(given.photo),
        lambda given: list(given.extractor.stream([given.photo, given.photo])),
        # A symbolic tensor has no values that could be read as an image.
        lambda given: given.extractor(symbolic(given.photo)),
        lambda given: given.own(symbolic(given.photo)),
        lambda given: given.extractor(symbolic(given.photo / 255)),
        lambda given: given.extractor.read(symbolic(given.photo)),
        lambda given: given.extractor.stream(symbolic([given.photo, given.photo])),
        lambda given: list(given.own.stream([symbolic(given.photo)])),
        lambda given: LayerExplorer(symbolic(given.photo), extractor=given.extractor),
        lambda given: compare(symbolic(given.photo), given.photo, extractor=given.extractor),
        lambda given: top_activations(given.own, [symbolic(given.photo)], progress=False),
        lambda _: FeatureExtractor("kmeans"),
        lambda given: FeatureExtractor(model=given.own.model),
        lambda given: given.extractor.fan_in("block2_conv1"),
        lambda given: LayerExplorer(given.photo, extractor=given.extractor),
        lambda given: top_activations(given.extractor, [given.photo], progress=False),
        lambda given: top_activations(given.own, [given.photo], progress=False),
        lambda given: learn_weights([given.photo], rank=8, progress=False, through="block1_conv2"),
    ],
)
def test_without_eager_execution_a_sentence_says_so(
    extractor: FeatureExtractor, own: FeatureExtractor, photo: RGB8, inside: Any, act: Any
) -> None:
    given = SimpleNamespace(extractor=extractor, own=own, photo=photo)

    def refused() -> None:
        with pytest.raises(RuntimeError, match="does not execute eagerly") as caught:
            act(given)
        # Keep the message before TensorFlow adds lines of the user's code to it.
        messages.append(str(caught.value))

    messages: list[str] = []
    with networks_apart():
        inside(refused)
    assert len(messages) == 1
    assert_one_sentence(messages[0], "outside tf.function and tf.Graph().as_default()")
    # The extractor still works afterwards.
    assert extractor(photo)["block5_pool"].shape == (2, 2, 512)


def assert_one_sentence(message: str, advice: str) -> None:
    assert advice in message
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message


NO_EAGER = """
import tensorflow as tf
tf.compat.v1.disable_eager_execution()
import numpy as np
from vgg_widget import FeatureExtractor
for weights in ("random", "kmeans"):
    try:
        FeatureExtractor(weights)(np.full((40, 50, 3), 99, np.uint8))
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.slow
def test_with_eager_execution_switched_off_a_sentence_says_so() -> None:
    messages = run(NO_EAGER)
    assert len(messages) == 2
    for line in messages:
        assert_one_sentence(line, "restart the kernel if tf.compat.v1.disable_eager_execution()")


FORKED = """
import multiprocessing, os, signal, sys, warnings
import numpy as np
import keras
from vgg_widget import FeatureExtractor, render
from vgg_widget.circuit import circuit
from vgg_widget.dataset import top_activations

warnings.simplefilter("ignore")  # Python's own warnings about forks and threads.
image = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
pixels = keras.Input((None, None, 3))
model = keras.Model(pixels, keras.layers.Conv2D(2, 3, name="conv")(pixels))


def report(act):
    signal.alarm(60)  # Ends a process that hangs, which then prints nothing.
    try:
        print(type(act()).__name__, flush=True)
    except RuntimeError as error:
        print(error, flush=True)


def forked(act):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        report(act)
        os._exit(0)
    os.waitpid(child, 0)


def by_multiprocessing(act):
    child = multiprocessing.get_context("fork").Process(target=report, args=(act,))
    child.start()
    child.join()


if sys.argv[1] == "only keras":
    model(image[None].astype("f"))
    forked(lambda: FeatureExtractor(model=model))
    forked(lambda: FeatureExtractor("random"))
else:
    extractor = FeatureExtractor("random", size=None)
    own = FeatureExtractor(model=model, size=None)
    maps = extractor(image)
    for start in (forked, by_multiprocessing):
        start(lambda: extractor(image))
        start(lambda: own(image))
        start(lambda: next(extractor.stream([image])))
        start(lambda: FeatureExtractor("kmeans"))
        start(lambda: top_activations(extractor, [image], progress=False))
    # Code that needs no threads of TensorFlow still works.
    forked(lambda: render(maps, "block3_conv1", "grid"))
    forked(lambda: circuit(extractor, maps, "block1_conv2", 3))
    print(type(extractor(image)).__name__)
"""


@pytest.mark.slow
@pytest.mark.posix
def test_a_forked_process_says_so_and_does_not_hang() -> None:
    lines = run(FORKED, "only keras") + run(FORKED, "everything")
    assert lines[-3:] == ["Rendering", "Circuit", "Activations"]
    assert len(lines) == 2 + 2 * 5 + 3
    for line in lines[:-3]:
        assert_one_sentence(line, "multiprocessing.get_context('spawn')")


UNUSED = """
import os, sys
import numpy as np
import tensorflow
from vgg_widget import FeatureExtractor
child = os.fork()
if not child:
    print(FeatureExtractor("random", size=None)(np.full((40, 50, 3), 9, np.uint8)).name, "computed")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.slow
@pytest.mark.posix
def test_a_process_forked_before_tensorflow_has_started_computes() -> None:
    assert run(UNUSED) == [" computed"]

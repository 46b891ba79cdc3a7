"""Tests of the networks of keras.applications, with Keras itself as the reference."""

from __future__ import annotations

import inspect
import pickle
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import networks_apart
from tests.weights_server import Mirror, legacy_group
from vgg_widget import FeatureExtractor, LayerExplorer, WeightsError, sample_image
from vgg_widget.cli import main
from vgg_widget.predictions import predictor_for
from vgg_widget.weights import remote
from vgg_widget.weights.applications import APPLICATIONS, checked_network

# Keras raises this warning when it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RGB8 = npt.NDArray[np.uint8]

# Small networks, each with a special feature such as depthwise kernels, layers that Keras names by
# number, or pixels that are scaled inside the network.
SOME = ("mobilenet", "mobilenetv2", "resnet50", "inceptionv3", "efficientnetb0")

# The smallest network of each Keras module: the networks of one module share the code that builds
# and downloads them.
ONE_OF_EACH = (
    *SOME,
    *("convnexttiny", "densenet121", "efficientnetv2b0", "inceptionresnetv2", "mobilenetv3small"),
    *("nasnetmobile", "resnet50v2", "xception"),
)


@pytest.fixture(scope="module")
def model() -> Any:
    """Return Keras's MobileNet without its top; its normalization values are not just 0 and 1."""
    import keras

    made = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(96, 96, 3))
    generator = np.random.default_rng(4)
    for variable in made.weights:
        if len(variable.shape) == 1:
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return made


@pytest.fixture
def mobilenet_file(model: Any, tmp_path: Path) -> Path:
    path = tmp_path / "mine.weights.h5"
    model.save_weights(path)
    return path


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inceptionv3", "inceptionresnetv2"])
def test_an_image_too_small_for_its_network_is_refused(name: str) -> None:
    extractor = FeatureExtractor("random", network=name)
    assert extractor.at_size((75, 75))(sample_image()).layers
    with pytest.raises(
        ValueError, match=r"size 74×80 pixels is too small for .*inception"
    ) as raised:
        extractor.at_size((74, 80))(sample_image())
    assert "at least 75 pixels a side: pass a larger size, such as size=224." in str(raised.value)


# Names, addresses, hashes ------------------------------------------------------------------------


def test_every_network_of_keras_applications_is_known() -> None:
    import keras

    of_keras = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {one.title for one in APPLICATIONS.values()} | {"VGG16", "VGG19"} == of_keras


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_constants_are_those_of_keras(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.delenv(remote.ADDRESS_VARIABLE)
    one = APPLICATIONS[name]
    # The module of ResNet also builds and downloads the networks of ResNetV2.
    made_by = getattr(keras.applications, one.title).__module__.replace("resnet_v2", "resnet")
    module = sys.modules[made_by if one.module == "resnet_v2" else _module_of(one.title)]
    source = inspect.getsource(module)
    bases = [value for key, value in vars(module).items() if "BASE_WEIGHT" in key] + [
        value for key, value in vars(module).items() if key == "WEIGHTS_PATH_NO_TOP"
    ]
    assert any(one.file.address().startswith(base.rpartition("/")[0]) for base in bases)
    hashes = [
        pair[1] for key, pairs in vars(module).items() if "HASHES" in key for pair in pairs.values()
    ]
    digest = one.file.hash.partition(":")[2]
    if digest:
        assert digest in hashes or f'file_hash="{digest}"' in source
    else:
        # Keras does not check a hash of this file either.
        assert "file_hash" not in source


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_keras_requests_the_same_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    from keras.src.utils import file_utils

    asked: list[tuple[Any, ...]] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        asked.append((fname, origin, file_hash))
        raise InterruptedError

    monkeypatch.delenv(remote.ADDRESS_VARIABLE)
    monkeypatch.setattr(file_utils, "get_file", get_file)
    one = APPLICATIONS[name]
    make = getattr(keras.applications, one.title)
    side = one.side or 224
    with pytest.raises(InterruptedError):
        make(include_top=False, weights="imagenet", input_shape=(side, side, 3))
    digest = one.file.hash.partition(":")[2] or None
    assert asked == [(one.file.name, one.file.address(), digest)]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ResNet50V2", "resnet50v2"),
        ("efficientnetv2-b0", "efficientnetv2b0"),
        ("mobilenet_v3_small", "mobilenetv3small"),
        ("VGG16", "vgg16"),
    ],
)
def test_case_and_hyphens_do_not_matter(given: str, name: str) -> None:
    assert checked_network(given) == name


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="network 'resnet5' is not known: did you mean 'resnet50'"):
        FeatureExtractor(network="resnet5")
    for given in ("bananas", 3, None, ["resnet50"], ""):
        with pytest.raises(ValueError, match=r"choose one of 'vgg16', 'vgg19', .*, 'xception'"):
            FeatureExtractor(network=given)  # type: ignore[arg-type]


def _module_of(title: str) -> str:
    import keras

    return str(getattr(keras.applications, title).__module__)


# Maps --------------------------------------------------------------------------------------------


def by_keras(model: Any, title: str, image: RGB8, layers: list[str]) -> list[npt.NDArray[Any]]:
    """Return the maps of the given layers, computed by Keras with its own preprocessing."""
    import keras

    prepare = sys.modules[_module_of(title)].preprocess_input
    pixels = prepare(image[np.newaxis].astype(np.float32), data_format="channels_last")
    every = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    return [np.asarray(one)[0] for one in every(pixels, training=False)]


def assert_same_maps(extractor: FeatureExtractor, model: Any, title: str, image: RGB8) -> None:
    activations = extractor(image)
    names = [info.name for info in activations.layers]
    chosen = [*names[: len(names) - 1 : max(1, len(names) // 6)], names[-1]]
    for name, wanted in zip(chosen, by_keras(model, title, image, chosen), strict=True):
        atol = 1e-4 * np.abs(wanted).max()
        np.testing.assert_allclose(activations[name], wanted, atol=atol, err_msg=name)


def test_a_file_gives_the_maps_of_kerass_own_model(mobilenet_file: Path, model: Any) -> None:
    extractor = FeatureExtractor(mobilenet_file, network="mobilenet", size=(96, 96))
    assert_same_maps(extractor, model, "MobileNet", sample_image()[:96, :96].copy())
    assert extractor.weights.label == "MobileNet, weights file mine.weights.h5"
    assert extractor.network == "mobilenet"


@pytest.mark.sampled
@pytest.mark.parametrize("name", SOME)
def test_random_weights_and_the_networks_own_preprocessing(name: str) -> None:
    import keras

    with networks_apart():
        extractor = FeatureExtractor("random", network=name, size=(96, 96))
        again = FeatureExtractor("random", network=name, size=(96, 96))
    for one, other in zip(again.model.weights, extractor.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    title = APPLICATIONS[name].title
    model = getattr(keras.applications, title)(
        include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    model.set_weights([np.asarray(one) for one in extractor.model.weights])
    # Keras numbers unnamed layers in order of creation, so the two models have different layer
    # names: compare the output only.
    image = sample_image()[:96, :96].copy()
    activations = extractor(image)
    prepare = sys.modules[_module_of(title)].preprocess_input
    pixels = prepare(image[np.newaxis].astype(np.float32), data_format="channels_last")
    wanted = np.asarray(model(pixels, training=False))[0]
    last = activations.layers[-1].name
    np.testing.assert_allclose(activations[last], wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_network_gives_finite_maps(name: str) -> None:
    with networks_apart():
        activations = FeatureExtractor("random", network=name, size=(128, 128))(sample_image())
    for info in activations.layers:
        assert np.isfinite(activations[info.name]).all(), info.name


@pytest.mark.slow
def test_random_is_he_normal_and_always_the_same() -> None:
    with networks_apart():
        one = FeatureExtractor("random", network="mobilenet")
        kernels = {v.path: np.asarray(v) for v in one.model.weights}
    with networks_apart():
        other = FeatureExtractor("random", network="mobilenet")
        for variable in other.model.weights:
            np.testing.assert_array_equal(np.asarray(variable), kernels[variable.path])
    assert one.weights == other.weights
    (first,) = (one for path, one in kernels.items() if path == "conv1/kernel")
    assert first.std() == pytest.approx(np.sqrt(2 / 27), rel=0.1)
    (depthwise,) = (one for path, one in kernels.items() if path == "conv_dw_13/kernel")
    assert depthwise.shape == (3, 3, 1024, 1)
    assert depthwise.std() == pytest.approx(np.sqrt(2 / 9), rel=0.1)


# The user's settings -----------------------------------------------------------------------------


def test_settings_and_names_are_left_as_they_were() -> None:
    import keras

    policy = keras.config.dtype_policy()
    names = []
    for _ in range(2):
        keras.config.set_dtype_policy("mixed_float16")
        keras.config.set_image_data_format("channels_first")
        random.seed(3)
        before = random.getstate()
        try:
            with networks_apart():
                extractor = FeatureExtractor("random", network="mobilenetv2", size=(96, 96))
            assert keras.config.dtype_policy().name == "mixed_float16"
            assert keras.config.image_data_format() == "channels_first"
            assert random.getstate() == before
        finally:
            keras.config.set_dtype_policy(policy)
            keras.config.set_image_data_format("channels_last")
        names.append([info.name for info in extractor.layers])
        assert {variable.dtype for variable in extractor.model.weights} == {"float32"}
        # Layers made by the user advance the counters from which Keras numbers layers.
        keras.layers.ReLU()
        keras.layers.Add()
    assert names[0] == names[1]
    activations = extractor(sample_image())
    assert activations.shape(names[0][0]) == (48, 48, 32)


# Files -------------------------------------------------------------------------------------------


def whole(path: Path, model: Any) -> Path:
    model.save(path)
    return path


SAVED: dict[str, Callable[[Path, Any], Path]] = {
    "keras": lambda folder, model: whole(folder / "a.keras", model),
    "whole h5": lambda folder, model: whole(folder / "a.h5", model),
    "as published": lambda folder, model: legacy_group(folder / "a.h5", model),
    "another name": lambda folder, model: legacy_group(folder / "a.weights.h5", model),
}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.sampled
@pytest.mark.parametrize("saved", SAVED)
def test_every_file_format_is_read(saved: str, model: Any, tmp_path: Path) -> None:
    path = SAVED[saved](tmp_path, model)
    renamed = path.rename(tmp_path / "renamed") if saved == "keras" else path
    with networks_apart():
        extractor = FeatureExtractor(renamed, network="mobilenet")
    for variable, wanted in zip(extractor.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(wanted))


def linked(path: Path) -> None:
    other = path.with_name("other.h5")
    path.rename(other)
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.ExternalLink(str(other), "layers")


def enlarged(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("layers/conv2d/vars/9", (1 << 40,), "f4", chunks=(1024,))


def kept_outside(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_bytes(bytes(3456))
    with h5py.File(path, "r+") as file:
        shape = file["layers/conv2d/vars/0"].shape
        del file["layers/conv2d/vars/0"]
        file.create_dataset("layers/conv2d/vars/0", shape, "f4", external=[(str(secret), 0, 3456)])


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9999])


def one_less(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["layers/conv2d_3/vars/0"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (linked, "links to another file at 'layers'"),
        (
            enlarged,
            "is an array of 1,099,511,627,776 numbers, but the network has no array of more",
        ),
        (kept_outside, "that is not stored in the file itself"),
        (torn, "is cut short or damaged"),
        (one_less, "do not fit MobileNet without its top"),
        (lambda path: path.write_text("weights" * 99), "is not a known kind of weights file"),
        (Path.unlink, "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit(
    spoil: Callable[[Path], Any], words: str, mobilenet_file: Path
) -> None:
    spoil(mobilenet_file)
    with pytest.raises(WeightsError) as caught:
        FeatureExtractor(mobilenet_file, network="mobilenet")
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"weights {str(mobilenet_file)!r}")
    assert message.endswith(".")
    assert "\n" not in message


def test_weights_of_another_network_or_framework_are_refused(mobilenet_file: Path) -> None:
    with pytest.raises(WeightsError, match="do not fit MobileNetV2 without its top"):
        FeatureExtractor(mobilenet_file, network="mobilenetv2")
    with pytest.raises(WeightsError, match=r"neither a name nor a path: choose 'auto', 'imagenet'"):
        FeatureExtractor({"conv1.weight": np.zeros(3)}, network="resnet50")
    for name, only in (("kmeans", "VGG19"), ("hed", "VGG16")):
        with pytest.raises(WeightsError, match=f"weights '{name}' are available for {only} only"):
            FeatureExtractor(name, network="resnet50")


# ImageNet weights --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("home", "own_networks")
def test_offline_the_message_says_where_to_put_the_file() -> None:
    extractor = FeatureExtractor("auto", network="mobilenetv2")
    file = APPLICATIONS["mobilenetv2"].file
    provenance = extractor.weights
    assert provenance.source == "random"
    assert provenance.message.startswith(
        "Random filters, NOT ImageNet weights: MobileNetV2, random"
    )
    folder = remote.keras_folder()
    for part in (
        "there is no connection to the server",
        f"the file {file.name} from {file.address()} into the folder {folder}",
        "`vgg-widget weights --network mobilenetv2 --download`",
    ):
        assert part in provenance.message
    with pytest.raises(
        WeightsError, match="MobileNetV2's ImageNet weights are not cached and could"
    ):
        FeatureExtractor("imagenet", network="mobilenetv2")


@pytest.mark.usefixtures("own_networks")
@pytest.mark.sampled
@pytest.mark.parametrize("hashed", [True, False])
def test_imagenet_is_fetched_checked_and_kept(
    hashed: bool, model: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    content = legacy_group(home / "a.h5", model).read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    one = APPLICATIONS["mobilenet"]
    # The file has another name on the server, as NASNet's files do.
    file = replace(one.file, hash=digest if hashed else "", served="MobileNet.h5")
    monkeypatch.setitem(APPLICATIONS, "mobilenet", replace(one, file=file))
    with Mirror() as mirror:
        monkeypatch.setenv(remote.ADDRESS_VARIABLE, mirror.url)
        mirror.files = {"MobileNet.h5": content}
        mirror.behaviour = "page"
        with pytest.raises(WeightsError, match="perhaps a web page such as a network's sign-in"):
            FeatureExtractor("imagenet", network="mobilenet")
        assert not (remote.keras_folder() / file.name).exists()
        mirror.behaviour = "good"
        extractor = FeatureExtractor("imagenet", network="mobilenet")
        again = FeatureExtractor("auto", network="MobileNet", size=None)
        assert len(mirror.requests) == 2
    assert again.model is extractor.model
    assert extractor.weights.source == again.weights.source == "imagenet"
    assert extractor.weights.label == "MobileNet, ImageNet weights"
    assert extractor.weights.digest == digest
    assert (remote.keras_folder() / file.name).read_bytes() == content
    np.testing.assert_array_equal(
        np.asarray(extractor.model.weights[0]), np.asarray(model.weights[0])
    )


@pytest.mark.usefixtures("home")
def test_the_list_of_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--network", "nasnetmobile"]) == 1
    output = capsys.readouterr().out
    assert "nasnet_mobile_no_top.h5: not found" in output
    assert "NASNet-mobile-no-top.h5\n" in output
    assert "auto      is imagenet after a download, else random" in output
    assert not any(word in output for word in ("kmeans", "hed", "top       ", "PyTorch"))
    assert main(["weights", "--network", "resnet50", "--top", "--download"]) == 1
    assert "--top, --weights and --export work with vgg16 and vgg19 only" in capsys.readouterr().err


# Explorers and pickles ---------------------------------------------------------------------------


def test_an_explorer_its_state_its_code_and_a_pickle(mobilenet_file: Path, tmp_path: Path) -> None:
    image = sample_image()[:96, :96]
    explorer = LayerExplorer(image, weights=mobilenet_file, network="mobilenet", size=96)
    state = explorer.state()
    assert (state["network"], state["weights"]) == ("mobilenet", str(mobilenet_file))
    again = LayerExplorer.from_state(image, state)
    np.testing.assert_array_equal(again.main_rendering.rgba, explorer.main_rendering.rgba)
    assert f"FeatureExtractor({str(mobilenet_file)!r}, network='mobilenet'" in explorer.to_code()
    with pytest.raises(ValueError, match="predictions need the classifier of a VGG"):
        predictor_for(explorer.extractor)
    other = pickle.loads(pickle.dumps(explorer.extractor))  # noqa: S301 - its own
    assert other.network == "mobilenet"
    np.testing.assert_array_equal(
        other(image)[explorer.layer], explorer.activations[explorer.layer]
    )
    for one in (explorer, again):
        one.close()


@pytest.mark.slow
def test_a_pickled_extractor_keeps_its_preprocessing() -> None:
    from vgg_widget.network.portable import PortableExtractor

    extractor = FeatureExtractor("random", network="mobilenetv2", size=(64, 64))
    sent = pickle.loads(pickle.dumps(PortableExtractor.of(extractor)))  # noqa: S301 - its own
    image = sample_image()
    arrived = sent.extractor()
    assert arrived.weights == extractor.weights
    last = extractor.layers[-1].name
    np.testing.assert_array_equal(arrived(image)[last], extractor(image)[last])

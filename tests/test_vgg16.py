"""VGG16: layers, maps and sources of weights; files for VGG16 and VGG19 are distinguished."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import networks_apart
from tests.torch_networks import VGG16, VGG19, torch_features
from tests.weights_server import Mirror, by_hand, dense, keras3, passing_for
from vgg_widget import (
    FeatureExtractor,
    LayerExplorer,
    WeightsError,
    compare,
    sample_image,
    weights,
)
from vgg_widget.cli import main
from vgg_widget.dataset import TopActivations
from vgg_widget.gradients import attribute
from vgg_widget.layers import VGGS
from vgg_widget.predictions import predictor_for
from vgg_widget.weights import export_weights, imagenet, remote, resolve

# Keras raises this when it saves weights.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RGB8 = npt.NDArray[np.uint8]

# Name, torchvision's number, channels, stride, receptive field, centre of unit 0: computed by the
# recurrences of Dumoulin & Visin for 3×3 convolutions and 2×2 pools.
FACTS = (
    ("block1_conv1", 0, 64, 1, 3, 0.0),
    ("block1_conv2", 2, 64, 1, 5, 0.0),
    ("block1_pool", 4, 64, 2, 6, 0.5),
    ("block2_conv1", 5, 128, 2, 10, 0.5),
    ("block2_conv2", 7, 128, 2, 14, 0.5),
    ("block2_pool", 9, 128, 4, 16, 1.5),
    ("block3_conv1", 10, 256, 4, 24, 1.5),
    ("block3_conv2", 12, 256, 4, 32, 1.5),
    ("block3_conv3", 14, 256, 4, 40, 1.5),
    ("block3_pool", 16, 256, 8, 44, 3.5),
    ("block4_conv1", 17, 512, 8, 60, 3.5),
    ("block4_conv2", 19, 512, 8, 76, 3.5),
    ("block4_conv3", 21, 512, 8, 92, 3.5),
    ("block4_pool", 23, 512, 16, 100, 7.5),
    ("block5_conv1", 24, 512, 16, 132, 7.5),
    ("block5_conv2", 26, 512, 16, 164, 7.5),
    ("block5_conv3", 28, 512, 16, 196, 7.5),
    ("block5_pool", 30, 512, 32, 212, 15.5),
)


@pytest.fixture(scope="module")
def model() -> Any:
    """Return Keras's VGG16 without its top, with biases other than 0."""
    import keras

    made = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    generator = np.random.default_rng(6)
    for layer in made.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel = generator.standard_normal(kernel.shape) * np.sqrt(2 / kernel[..., 0].size)
            layer.set_weights([kernel, generator.standard_normal(bias.shape)])
    return made


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = keras3(tmp_path_factory.mktemp("vgg16") / "mine.weights.h5", model)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def from_file(file: Path) -> FeatureExtractor:
    with networks_apart():
        return FeatureExtractor(file, network="vgg16", size=None)


def test_names_and_geometry(from_file: FeatureExtractor) -> None:
    assert from_file.network == "vgg16"
    found = [
        (one.name, one.torch_name, one.channels, one.stride, one.receptive_field, one.center)
        for one in from_file.layers
    ]
    assert found == [(name, f"features.{number}", *rest) for name, number, *rest in FACTS]


def test_all_maps_are_those_of_keras(from_file: FeatureExtractor, model: Any, photo: RGB8) -> None:
    import keras

    names = [name for name, *_ in FACTS]
    every = keras.Model(model.input, [model.get_layer(name).output for name in names])
    pixels = keras.applications.vgg16.preprocess_input(
        photo[np.newaxis].astype(np.float32), data_format="channels_last"
    )
    activations = from_file(photo)
    assert list(activations) == names
    for name, batch in zip(names, every(pixels), strict=True):
        wanted = np.asarray(batch)[0]
        assert activations[name].shape == wanted.shape
        np.testing.assert_allclose(activations[name], wanted, atol=1e-4 * wanted.max())
    assert activations.weights.label == "VGG16, weights file mine.weights.h5"


def test_a_state_dict_of_torchvision_before_and_after_each_relu(photo: RGB8) -> None:
    import torch

    torch.manual_seed(1)
    features = torch_features(VGG16)
    x = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    with networks_apart():
        activations = FeatureExtractor(state, network="vgg16", size=None)(photo)
    with torch.no_grad():
        for number, module in enumerate(features):
            x = module(x)
            wanted = x[0].permute(1, 2, 0).numpy()
            got = activations[f"features.{number}"]
            np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
    assert number == 30
    np.testing.assert_array_equal(activations["conv5_3"], activations["features.28"])
    np.testing.assert_array_equal(activations["pool5"], activations["block5_pool"])


@pytest.mark.sampled
@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors"])
def test_what_is_exported_is_read_back(suffix: str, scratch: Path) -> None:
    random = resolve("random", "vgg16")
    export_weights(random.arrays, "torch", scratch / f"x{suffix}")
    again = resolve(scratch / f"x{suffix}", "vgg16")
    assert again.preprocessing == "torch"
    for name, pair in random.arrays.items():
        for array, wanted in zip(again.arrays[name], pair, strict=True):
            np.testing.assert_array_equal(array, wanted)


# Weights of the other network --------------------------------------------------------------------


def zeros(shapes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (np.broadcast_to(np.float32(0), shape), np.zeros(shape[-1:], np.float32))
        for name, shape in shapes.items()
    }


def test_a_keras_file_of_the_other_vgg_is_refused(file: Path, scratch: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve(file)
    assert str(caught.value) == (
        f"weights {str(file)!r} are of a VGG16, not of a VGG19: pass network='vgg16', or choose "
        "the weights of a VGG19."
    )
    # Each layer of VGG16 has a namesake in VGG19, mostly of the same shape.
    larger = by_hand(scratch / "larger.h5", zeros(VGGS["vgg19"].kernel_shapes()))
    with pytest.raises(WeightsError, match="are of a VGG19, not of a VGG16: pass network='vgg19'"):
        resolve(larger, "vgg16")


@pytest.mark.parametrize(("given", "asked"), [("vgg16", "vgg19"), ("vgg19", "vgg16")])
def test_a_state_dict_of_the_other_vgg_is_refused(given: str, asked: str) -> None:
    import torch

    columns = {"vgg16": VGG16, "vgg19": VGG19}[given]
    state = {
        f"features.{key}": torch.zeros(()).expand(value.shape)
        for key, value in torch_features(columns).state_dict().items()
    }
    with pytest.raises(WeightsError, match=f"a {given.upper()}, not of .* network='{given}'"):
        resolve(state, asked)


@pytest.mark.parametrize(("name", "asked"), [("kmeans", "vgg16"), ("hed", "vgg19")])
def test_named_weights_of_the_other_vgg_are_refused(name: str, asked: str) -> None:
    other = "vgg19" if asked == "vgg16" else "vgg16"
    with pytest.raises(WeightsError, match=f"weights '{name}' are of .* pass network='{other}'"):
        FeatureExtractor(name, network=asked)


def test_unknown_names_and_conflicting_arguments_are_refused(photo: RGB8) -> None:
    with pytest.raises(WeightsError, match="did you mean 'random'"):
        resolve("randon", "vgg16")
    with pytest.raises(ValueError, match=r"network 'vgg61' is not known: did you mean 'vgg1[69]'"):
        LayerExplorer(photo, network="vgg61")
    with pytest.raises(ValueError, match="network 'vgg16' and model were both given"):
        FeatureExtractor(model=object(), network="vgg16")
    extractor = FeatureExtractor("random")
    with pytest.raises(ValueError, match="network 'vgg16' and extractor were both given"):
        LayerExplorer(photo, extractor=extractor, network="vgg16")


# Where weights come from -------------------------------------------------------------------------


def test_the_constants_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from keras.src.applications import vgg16

    monkeypatch.delenv(remote.ADDRESS_VARIABLE)
    source = inspect.getsource(vgg16)
    for published, address in (
        (imagenet.IMAGENET["vgg16"], vgg16.WEIGHTS_PATH_NO_TOP),
        (imagenet.IMAGENET_TOP["vgg16"], vgg16.WEIGHTS_PATH),
    ):
        assert published.address() == address
        assert f'"{published.name}"' in source
        assert f'file_hash="{published.hash.removeprefix("md5:")}"' in source


@pytest.mark.parametrize("installed", [True, False])
def test_auto_takes_imagenet_then_contours_then_random(
    installed: bool, home: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setattr(weights, "find_contours", lambda: None)
    with Mirror() as mirror:
        monkeypatch.setenv(remote.ADDRESS_VARIABLE, mirror.url)
        content = file.read_bytes()
        published = passing_for(imagenet.IMAGENET["vgg16"], content)
        monkeypatch.setitem(imagenet.IMAGENET, "vgg16", published)
        mirror.files = {published.name: content}
        mirror.behaviour = "missing"
        fallen = resolve("auto", "vgg16").provenance
        kind, source = ("Contour", "hed") if installed else ("Random", "random")
        assert fallen.source == source
        assert fallen.message.startswith(f"{kind} filters, NOT ImageNet weights: VGG16, ")
        for part in ("404", published.address(), "`vgg-widget weights --network vgg16 --download`"):
            assert part in fallen.message
        mirror.behaviour = "good"
        remote.failed_downloads.clear()
        found = resolve("auto", "vgg16").provenance
    assert (found.source, found.label) == ("imagenet", "VGG16, ImageNet weights")
    assert found.digest == published.hash
    assert not found.message


@pytest.mark.usefixtures("home")
def test_the_list_of_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--network", "VGG16"]) == 1
    output = capsys.readouterr().out
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5: not found" in output
    assert "hed       trained on ImageNet, fine-tuned for contours" in output
    assert "download them with `vgg-widget weights --network vgg16 --download`" in output
    assert "kmeans" not in output
    # Only VGG19 has learned filters.
    assert "learned filters" not in output
    assert "safetensors" in output
    main(["weights"])
    assert "learned filters (.npz)" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_predictions_take_the_classifier_of_vgg16(
    file: Path, tmp_path: Path, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = zip(("fc1", "fc2", "predictions"), dense(1000), strict=True)
    with h5py.File(tmp_path / "top.h5", "w") as top:
        for name, (kernel, bias) in pairs:
            top[f"{name}/kernel"], top[f"{name}/bias"] = kernel, bias
    stub: Any = SimpleNamespace(
        find=lambda: tmp_path / "top.h5", trusted=lambda: tmp_path / "top.h5"
    )
    monkeypatch.setitem(imagenet.IMAGENET_TOP, "vgg16", stub)
    monkeypatch.setattr(imagenet, "class_names", lambda: [("n1", str(n)) for n in range(1000)])
    with networks_apart():
        extractor = FeatureExtractor(file, network="vgg16")
        with pytest.raises(WeightsError, match="'fc1' is missing: predictions need VGG16's"):
            predictor_for(extractor)
        published = passing_for(imagenet.IMAGENET["vgg16"], file.read_bytes())
        monkeypatch.setitem(imagenet.IMAGENET, "vgg16", published)
        folder = remote.keras_folder()
        folder.mkdir(parents=True)
        (folder / published.name).write_bytes(file.read_bytes())
        found = predictor_for(FeatureExtractor("imagenet", network="vgg16"))
        assert sum(found.probabilities(photo)) == pytest.approx(1, abs=1e-5)


# Explorer, pickle, commands, attribution ---------------------------------------------------------


def test_an_explorer_of_vgg16(photo: RGB8, capsys: pytest.CaptureFixture[str]) -> None:
    explorer = LayerExplorer(photo, weights="random", network="vgg16", size=64, layer="conv4_3")
    state, code = explorer.state(), explorer.to_code()
    assert state["network"] == "vgg16"
    assert "FeatureExtractor('random', network='vgg16', size=64)" in code
    assert "VGG16, random weights (seed 0)" in explorer._source()
    assert "FeatureExtractor('random', network='vgg16', size=(64, 75))" in explorer.to_html()
    again = LayerExplorer.from_state(photo, state)
    assert again.extractor.model is explorer.extractor.model
    np.testing.assert_array_equal(again.main_rendering.rgba, explorer.main_rendering.rgba)
    assert explorer.circuit().source == "block4_conv2"
    # Older states do not name a network.
    del state["network"]
    older = LayerExplorer.from_state(photo, state, layer="block4_conv4")
    assert older.extractor.network == "vgg19"
    pair = compare(photo, photo[::-1], weights="random", network="vgg16", size=64)
    assert pair.pair.first.weights == explorer.activations.weights
    for one in (explorer, again, older, pair):
        one.close()


def test_a_pickle_comes_back_as_vgg16(photo: RGB8) -> None:
    extractor = FeatureExtractor("random", network="vgg16", size=64)
    again = pickle.loads(pickle.dumps(extractor))  # noqa: S301 - made here
    assert (again.network, again.model) == ("vgg16", extractor.model)


def test_the_command_knows_the_layers_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["render", "sample", "--weights", "random", "--network", "vgg16", "--size", "64"]
    target = tmp_path / "x.png"
    assert main([*asked, "--layer", "block3_conv4", "-o", str(target)]) == 1
    assert "--layer 'block3_conv4' is not known: did you mean" in capsys.readouterr().err
    assert main([*asked, "--layer", "features.28", "-o", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_the_strongest_pictures_for_a_channel_of_vgg16(
    noisy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    asked = ["atlas", str(noisy_folder), "-o", str(kept), "--network", "vgg16"]
    assert main([*asked, "--weights", "random", "--size", "32", "--layers", "features.28"]) == 0
    top = TopActivations.load(kept / "top.npz")
    assert (list(top), top.weights.network) == (["features.28"], "vgg16")
    extractor = FeatureExtractor("random", network="vgg16", size=32)
    best = top["features.28"].values[7, 0]
    seen = [extractor(noisy_folder / name)["features.28"][..., 7].max() for name in top.images]
    assert best == pytest.approx(max(seen), rel=1e-4)
    assert main(["atlas", str(kept), "--html", "x.html", "--network", "vgg16"]) == 1
    assert "--network needs -o" in capsys.readouterr().err


def test_the_gradient_of_a_unit_is_that_of_the_whole_network(model: Any, file: Path) -> None:
    # Only the part of the maps that the unit needs is computed, which depends on VGG16's layers.
    import keras
    import tensorflow as tf

    with networks_apart():
        extractor = FeatureExtractor(file, network="vgg16", size=None)
    image = sample_image()[:160, :128].copy()
    activations = extractor(image)
    channel = int(activations.rank_at("block4_conv2", 9, 7)[0])
    found = attribute(extractor, activations, "block4_conv2", channel, (9, 7))
    part = keras.Model(model.input, model.get_layer("block4_conv2").output)
    pixels = tf.constant(image[np.newaxis].astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        mean = np.array([103.939, 116.779, 123.68], np.float32)
        value = part(pixels[..., ::-1] - mean)[0, 9, 7, channel]
    wanted = np.asarray(tape.gradient(value, pixels))[0]
    np.testing.assert_allclose(np.asarray(found.colors), wanted, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0

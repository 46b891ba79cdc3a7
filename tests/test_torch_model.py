"""PyTorch networks: maps equal those of separate hooks, and networks stay unchanged."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from tests.brute_force import assert_strongest
from tests.test_architecture import fresh
from tests.torch_networks import features_of, torchvision_network
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, plot, render
from vgg_widget.activations.named_layers import LayerNameError
from vgg_widget.dataset import top_activations
from vgg_widget.gradients import attribute
from vgg_widget.network import memory
from vgg_widget.network.vgg import preprocess_caffe

pytestmark = pytest.mark.torch

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


def scaled(images: Floats) -> Floats:
    return images / np.float32(255)


def tensor_of(image: RGB8) -> torch.Tensor:
    return torch.tensor(scaled(image.astype(np.float32))).permute(2, 0, 1)[None]


def by_hand(network: nn.Module, pixels: torch.Tensor) -> dict[str, Floats]:
    """Return all 4-D outputs of modules for one image, channels last, by separate hooks."""
    found: dict[str, Floats] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.dim() == 4:
                called, times = name, 1
                while called in found:
                    times += 1
                    called = f"{name}#{times}"
                found[called] = output[0].permute(1, 2, 0).clone().numpy()

        return note

    handles = [
        module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name
    ]
    training = network.training
    with torch.no_grad():
        network.eval()(pixels)
    network.train(training)
    for handle in handles:
        handle.remove()
    return found


def state_of(network: nn.Module) -> list[Any]:
    """Return the state that must not change."""
    return [
        (name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in network.named_modules()
    ] + [(name, one.requires_grad, one.grad) for name, one in network.named_parameters()]


class Small(nn.Module):
    """A chain with an in-place module that is used twice, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(6)
        self.mix = nn.Conv2d(6, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Any) -> Any:
        maps = self.relu(self.conv(images))
        maps = self.relu(self.mix(self.drop(self.norm(maps))))
        return self.head(maps.mean(dim=(2, 3)))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(3)
    return Small()


# Maps --------------------------------------------------------------------------------------------


def assert_as_by_hand(network: nn.Module, photo: RGB8, size: int) -> Activations:
    activations = FeatureExtractor(model=network, preprocess=scaled, size=size)(photo)
    expected = by_hand(network, tensor_of(activations.image))
    assert [info.name for info in activations.layers] == [*expected]
    for info in activations.layers:
        maps = expected[info.name]
        assert info.channels == maps.shape[-1]
        np.testing.assert_array_equal(activations[info.name], maps, err_msg=info.name)
    return activations


def test_resnet18_has_the_maps_that_hooks_see(photo: RGB8) -> None:
    network = torchvision_network("resnet18")
    before = state_of(network)
    activations = assert_as_by_hand(network, photo, 64)
    assert state_of(network) == before
    assert activations["layer1.0.relu#2"].any()
    info = activations.info("layer2.1.conv2")
    assert (info.kind, info.stride, info.receptive_field, info.center) == ("conv", 8, 99, 0.0)
    # After the global pool, no receptive field is defined.
    assert activations.info("avgpool").receptive_field is None
    assert [info.block for info in activations.layers[:6]] == ["conv1"] * 4 + ["layer1"] * 2
    assert "PyTorch model 'ResNet'" in activations.weights.label


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "densenet121",
        "efficientnet_b0",
        "squeezenet1_1",
        "googlenet",
        "vgg16_bn",
    ],
)
def test_networks_of_torchvision_have_the_maps_that_hooks_see(name: str, photo: RGB8) -> None:
    assert_as_by_hand(torchvision_network(name), photo, 96)


@pytest.mark.slow
def test_maps_with_their_channels_last_are_shown_upright(photo: RGB8) -> None:
    network = torchvision_network("convnext_tiny")
    activations = FeatureExtractor(model=network, preprocess=scaled, size=(64, 96))(photo)
    turned = activations["features.1.0.block.1"]
    assert turned.shape == (16, 24, 96)
    # The modules 1 and 6 only permute axes.
    np.testing.assert_array_equal(turned, activations["features.1.0.block.0"])
    assert activations["features.1.0.block.3"].shape == (16, 24, 384)
    np.testing.assert_array_equal(
        activations["features.1.0.block.5"], activations["features.1.0.block.6"]
    )
    assert activations.info("features.1.0.block.5").receptive_field == 4 + 6 * 4
    pixels = tensor_of(activations.image)
    np.testing.assert_array_equal(activations["features"], by_hand(network, pixels)["features"])


def test_the_same_weights_give_the_same_maps_in_torch_and_in_keras(
    extractor: FeatureExtractor, photo: RGB8
) -> None:
    network = features_of(extractor)
    in_keras = extractor(photo)
    in_torch = FeatureExtractor(model=network, preprocess=preprocess_caffe, size=None)(photo)
    assert len(in_torch.layers) == 37
    for number, info in enumerate(in_torch.layers):
        maps = in_keras[f"features.{number}"]
        scale = np.abs(maps).max()
        np.testing.assert_allclose(in_torch[info.name] / scale, maps / scale, atol=1e-4)
    for info in in_keras.layers:
        name = str(info.torch_name).removeprefix("features.")
        found = in_torch.info(name)
        assert (found.stride, found.receptive_field, found.center, found.kind) == (
            *(info.stride, info.receptive_field, info.center),
            info.kind,
        )


def test_what_happens_between_modules_is_not_seen(photo: RGB8) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(images)) * 2

    network = Functional()
    activations = FeatureExtractor(model=network, preprocess=scaled, size=None)(photo)
    # The output of the network itself is included.
    assert [info.name for info in activations.layers] == ["conv", "output"]
    expected = 2 * np.maximum(activations["conv"], 0)
    np.testing.assert_array_equal(activations["output"], expected)


def test_tuples_and_dicts_have_their_tensors_picked(photo: RGB8) -> None:
    class Branches(nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return images * 2, [images[:, :1], None], images.mean()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = Branches()

        def forward(self, images: torch.Tensor) -> Any:
            first, (second, _), _ = self.branches(images)
            return {"out": first + 1, "aux": second}

    activations = FeatureExtractor(model=Whole(), size=None)(photo)
    names = [info.name for info in activations.layers]
    assert names == ["branches[0]", "branches[1][0]", "output[out]", "output[aux]"]
    pixels = photo.astype(np.float32)
    np.testing.assert_array_equal(activations["output[out]"], 2 * pixels + 1)
    np.testing.assert_array_equal(activations["branches[1][0]"], pixels[..., :1])


def test_a_selection_of_layers(small: Small, photo: RGB8) -> None:
    every = FeatureExtractor(model=small, preprocess=scaled, size=None)(photo)
    some = FeatureExtractor(model=small, preprocess=scaled, size=None, layers=["relu#2", "conv"])(
        photo
    )
    assert [info.name for info in some.layers] == ["conv", "relu#2"]
    for info in some.layers:
        np.testing.assert_array_equal(some[info.name], every[info.name])
        assert some.info(info.name).axes == every.info(info.name).axes


def test_a_stream_gives_what_each_picture_gives(small: Small, photo: RGB8) -> None:
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    pictures = [photo, photo[::-1], photo[:40], photo[:, ::-1]]
    for picture, found in zip(pictures, extractor.stream(pictures, batch_size=3), strict=True):
        alone = extractor(picture)
        for info in alone.layers:
            np.testing.assert_allclose(found[info.name], alone[info.name], atol=1e-5)
            assert found.info(info.name) == info


def test_it_runs_with_the_weights_that_it_has_at_each_call(small: Small, photo: RGB8) -> None:
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    before = extractor(photo)["conv"]
    with torch.no_grad():
        small.conv.weight.mul_(2)
        assert small.conv.bias is not None
        small.conv.bias.mul_(2)
    np.testing.assert_allclose(extractor(photo)["conv"], 2 * before, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_gives_maps_of_float32(small: Small, photo: RGB8, kind: Any) -> None:
    expected = FeatureExtractor(model=small, preprocess=scaled, size=None)(photo)
    found = FeatureExtractor(model=small.to(kind), preprocess=scaled, size=None)(photo)
    for info in expected.layers:
        assert found[info.name].dtype == np.float32
        np.testing.assert_allclose(found[info.name], expected[info.name], atol=0.03)
    assert small.conv.weight.dtype == kind


def test_grey_networks_are_given_the_luma(photo: RGB8) -> None:
    activations = FeatureExtractor(model=nn.Sequential(nn.Conv2d(1, 2, 1)), size=None)(photo)
    assert "grey" in activations.weights.label
    assert activations["0"].shape == (*photo.shape[:2], 2)
    other = nn.Sequential(nn.Conv2d(4, 2, 1))
    with pytest.raises(ValueError, match="takes 4 channels, not the 3 of RGB: pass preprocess="):
        FeatureExtractor(model=other)
    extractor = FeatureExtractor(
        model=other, preprocess=lambda images: images[..., [0, 1, 2, 0]], size=None
    )
    assert extractor(photo)["0"].shape == (*photo.shape[:2], 2)


@pytest.mark.parametrize("channels", [3, 1])
def test_modules_may_be_defined_in_another_order_than_they_run(channels: int, photo: RGB8) -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(6, 2, 1)
            self.stem = nn.Conv2d(channels, 6, 3)

        def forward(self, images: torch.Tensor) -> Any:
            return self.head(self.stem(images))

    activations = FeatureExtractor(model=HeadFirst(), size=None)(photo)
    assert [info.name for info in activations.layers] == ["stem", "head"]


# Left as it was ----------------------------------------------------------------------------------


def test_modes_hooks_and_gradients_are_put_back(small: Small, photo: RGB8) -> None:
    small.train()
    small.norm.eval()
    for parameter in small.mix.parameters():
        parameter.requires_grad = False
    calls: list[int] = []
    small.conv.register_forward_hook(lambda *_: calls.append(1))
    numbers = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    before = state_of(small)
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            extractor(photo)
            assert torch.is_grad_enabled() == grad
    with torch.inference_mode():
        extractor(photo)
        assert torch.is_inference_mode_enabled()
    assert state_of(small) == before
    assert len(calls) == 3
    for name, tensor in small.state_dict().items():
        torch.testing.assert_close(tensor, numbers[name], rtol=0, atol=0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_all_is_put_back_after_an_error(small: Small, photo: RGB8, error: Any) -> None:
    extractor = FeatureExtractor(model=small.train(), preprocess=scaled, size=None)
    activations = extractor(photo)
    expected = activations["relu#2"]

    def fail(*_: Any) -> None:
        if error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        raise error("no more")

    handle = small.mix.register_forward_pre_hook(fail)
    before = state_of(small)
    refusal = pytest.raises(ValueError, match="no more") if error is RuntimeError else None
    with refusal or pytest.raises(error):
        extractor(photo)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        attribute(extractor, activations, "mix", 1, (3, 4))
    assert state_of(small) == before
    assert torch.is_grad_enabled()
    handle.remove()
    np.testing.assert_array_equal(extractor(photo)["relu#2"], expected)


def test_a_pass_on_another_thread_is_not_recorded(small: Small, photo: RGB8) -> None:
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    expected = [info.name for info in extractor(photo).layers]
    done: list[bool] = []

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread() and not done:
            done.append(True)
            thread = threading.Thread(target=small, args=(torch.zeros(1, 3, 8, 8),))
            thread.start()
            thread.join()

    small.relu.register_forward_hook(meanwhile)
    assert [info.name for info in extractor(photo).layers] == expected
    assert done


def test_a_large_first_picture_is_measured_on_a_small_one(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((1000, 1000, 3), np.uint8)
    # At half the rows and columns: four maps of 6 channels, and two of 4.
    need = 1000 * 1000 * 8 * (4 * 6 + 2 * 4) / 4
    monkeypatch.setattr(memory, "memory", lambda: int(0.99 * need / 0.7))
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    with pytest.raises(ValueError, match=r"size 1000×1000 pixels needs about 0.1 GB of memory"):
        extractor(large)
    monkeypatch.setattr(memory, "memory", lambda: int(1.01 * need / 0.7))
    assert extractor(large)["mix"].shape == (500, 500, 4)


# The explorer ------------------------------------------------------------------------------------


def test_tensorflow_is_not_imported_for_a_network_of_pytorch() -> None:
    code = """
import sys
import torch
from vgg_widget import LayerExplorer, sample_image
from vgg_widget.gradients import attribute, explain_unit
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
explorer = LayerExplorer(sample_image(), model=network, size=64)
explorer.layer, explorer.channel = "0", 2
attribute(explorer.extractor, explorer.activations, "0", 2, (3, 4))
explain_unit(explorer.extractor, explorer.activations, "0", 2, (3, 4))
print(explorer.rendering.title, [name for name in ("keras", "tensorflow") if name in sys.modules])
"""
    assert fresh(code).strip() == "0 · channel 2 []"


def test_an_explorer_of_a_network_of_pytorch(small: Small, photo: RGB8) -> None:
    explorer = LayerExplorer(photo, model=small, preprocess=scaled, size=None)
    assert explorer.layer in [info.name for info in explorer.activations.layers]
    explorer.layer = "mix"
    explorer.channel = 1
    activations = FeatureExtractor(model=small, preprocess=scaled, size=None)(photo)
    expected = render(activations, "mix", channel=1)
    shown: Any = explorer.rendering
    np.testing.assert_array_equal(shown.rgba, expected.rgba)
    explorer.location = (3, 4)
    assert explorer.circuit().source == "drop"
    explorer.attribution = "gradient"
    assert explorer.state()["weights"] == "model"
    explorer.close()
    axes = plot(activations, "relu#2", "grid", ax=Figure().subplots())
    assert axes.get_title()


def test_unscaled_input_is_reported(small: Small) -> None:
    message = FeatureExtractor(model=small).weights.message
    assert "Values 0–255: PyTorch model 'Small' was given unscaled pixels" in message
    assert not FeatureExtractor(model=small, preprocess=scaled).weights.message


# Refused -----------------------------------------------------------------------------------------


class Two(nn.Module):
    def forward(self, images: Any, mask: Any, scale: float = 1.0) -> Any:
        return images * mask * scale


class Picky(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: Any) -> Any:
        if images.shape[2:] != (32, 32):
            raise AssertionError("only 32 by 32")
        return self.conv(images)


def compiled_forward() -> nn.Module:
    network = nn.Conv2d(3, 2, 3)
    network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
    return network


def refusals() -> Iterator[tuple[str, Callable[[], Any], str]]:
    yield "two inputs", Two, r"model 'Two' has 2 inputs \(images, mask\): pass one with a single"
    yield (
        "scripted",
        lambda: torch.jit.trace(nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 8, 8)),  # type: ignore[no-untyped-call]
        r"is a scripted module, which hooks cannot observe: pass the module that it",
    )
    yield (
        "scripted in part",
        lambda: nn.Sequential(torch.jit.script(nn.Conv2d(3, 6, 3)), nn.Conv2d(6, 2, 3)),
        r"model 'Sequential' is a scripted module \('0'\), which hooks cannot observe",
    )
    yield (
        "a compiled forward",
        compiled_forward,
        r"model 'Conv2d' is a compiled module, which hooks cannot observe",
    )
    yield (
        "no input",
        type("Nothing", (nn.Module,), {"forward": lambda self: self}),
        r"model 'Nothing' has no input: pass one whose forward takes an image",
    )
    yield (
        "compiled",
        lambda: torch.compile(nn.Conv2d(3, 2, 3)),
        r"is a compiled module, which hooks cannot observe: pass the module before",
    )
    yield (
        "compiled in part",
        lambda: nn.ModuleList([nn.Conv2d(3, 2, 3), torch.compile(nn.ReLU())]),  # type: ignore[list-item]
        r"model 'ModuleList' is a compiled module \('1'\), which hooks cannot observe",
    )
    yield (
        "lazy",
        lambda: nn.Sequential(nn.LazyConv2d(4, 3)),
        r"has uninitialised parameters: call it on an image once",
    )
    yield "a size", Picky, r"model 'Picky' failed on an image of 64×75 pixels \(only 32 by 32"
    yield (
        "no maps",
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(14400, 2)),
        r"model 'Sequential' has no modules with 4-D outputs .*: pass one with convolutions",
    )
    yield (
        "quantised",
        lambda: nn.Sequential(type("Conv2d", (nn.Conv2d,), {"__module__": "x.quantized"})(3, 2, 3)),
        r"model 'Sequential' is a quantised module \('0'\), which hooks cannot observe",
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "message"), [one[1:] for one in refusals()])
def test_bad_models_are_refused_in_one_line(
    make: Callable[[], Any], message: str, photo: RGB8
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        FeatureExtractor(model=make(), size=None)(photo)
    assert "\n" not in str(raised.value)


def test_wrong_layers_and_wrong_shapes_are_refused(small: Small, photo: RGB8) -> None:
    with pytest.raises(LayerNameError, match="layers 'comv' is not known: did you mean 'conv'"):
        FeatureExtractor(model=small, layers=["comv"])
    with pytest.raises(LayerNameError, match="layers 5 is of type int, not a name"):
        FeatureExtractor(model=small, layers=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers is empty"):
        FeatureExtractor(model=small, layers=[])
    with pytest.raises(LayerNameError, match="names 'head', which has no maps"):
        FeatureExtractor(model=small, layers=["conv", "head"], size=None)(photo)
    with pytest.raises(ValueError, match=r"layers .* is for PyTorch networks only: leave it out"):
        FeatureExtractor("random", layers=["block1_conv1"])
    with pytest.raises(ValueError, match="weights 'random' and model were both given"):
        FeatureExtractor("random", model=small)
    wrong = FeatureExtractor(model=small, preprocess=lambda images: images[:, ::2], size=None)
    with pytest.raises(ValueError, match=r"preprocess returned an array of shape \(1, 32, 75, 3\)"):
        wrong(photo)
    # Channels first, as in PyTorch, is accepted as well.
    first = FeatureExtractor(
        model=small, preprocess=lambda images: scaled(images).transpose(0, 3, 1, 2), size=None
    )
    expected = FeatureExtractor(model=small, preprocess=scaled, size=None)(photo)
    np.testing.assert_array_equal(first(photo)["mix"], expected["mix"])


# Sets of pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["max", "mean"])
def test_the_strongest_of_a_set(small: Small, photo: RGB8, statistic: Any) -> None:
    extractor = FeatureExtractor(model=small, preprocess=scaled, size=None)
    pictures = [photo, photo[::-1], photo[:, ::-1] // 2, photo[:40]]
    top = top_activations(
        extractor, pictures, layers=["mix", "relu"], k=4, statistic=statistic, progress=False
    )
    for layer in ("mix", "relu"):
        maps = [extractor(picture)[layer] for picture in pictures]
        assert_strongest(top, layer, maps, statistic=statistic, exact=False)

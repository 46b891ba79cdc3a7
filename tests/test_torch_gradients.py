"""Attribution, circuits and synthesised images of PyTorch networks, compared with autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.test_torch_model import Small, scaled, state_of, tensor_of
from tests.torch_networks import torchvision_network
from vgg_widget import Activations, FeatureExtractor
from vgg_widget.circuit import circuit
from vgg_widget.gradients import attribute, explain_unit, reconstruct, visualize_channel
from vgg_widget.network.differentiable import shuffled_weights
from vgg_widget.network.portable import weights_digest
from vgg_widget.network.synthesis import LayerAim

pytestmark = pytest.mark.torch

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]
PLACE = (5, 7)


@pytest.fixture
def network() -> Small:
    torch.manual_seed(5)
    return Small().train()


@pytest.fixture
def extractor(network: Small) -> FeatureExtractor:
    return FeatureExtractor(model=network, preprocess=scaled, size=None)


@pytest.fixture
def activations(extractor: FeatureExtractor, photo: RGB8) -> Activations:
    return extractor(photo)


def gradient_by_hand(network: Small, image: RGB8, channel: int) -> tuple[float, Any]:
    """Return the value of one unit of `mix`, and its gradient by pixel levels from 0 to 255."""
    network.eval()
    pixels = tensor_of(image).requires_grad_()
    before = network.norm(torch.relu(network.conv(pixels)))
    value = network.mix(before)[0, channel, PLACE[0], PLACE[1]]
    (slope,) = torch.autograd.grad(value, pixels)
    network.train()
    return value.item(), slope[0].permute(1, 2, 0).numpy() / 255


def test_the_gradient_of_a_unit(
    network: Small, extractor: FeatureExtractor, activations: Activations
) -> None:
    before = state_of(network)
    found = attribute(extractor, activations, "mix", 2, PLACE)
    assert state_of(network) == before
    value, slope = gradient_by_hand(network, activations.image, 2)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.colors is not None
    np.testing.assert_allclose(found.colors, slope, atol=1e-7)
    assert np.abs(slope).max() > 1e-5
    assert found.box == activations.info("mix").receptive_field_box(*PLACE, (64, 75))
    with torch.inference_mode():
        again = attribute(extractor, activations, "mix", 2, PLACE)
    np.testing.assert_array_equal(again.values, found.values)


def test_the_sum_of_a_map_and_methods_that_add_up(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    found = attribute(extractor, activations, "mix", 1)
    assert found.value == pytest.approx(activations["mix"][..., 1].sum(dtype=float), rel=1e-5)
    found = attribute(
        extractor, activations, "mix", 1, PLACE, method="integrated_gradients", samples=64
    )
    assert found.completeness is not None
    assert found.completeness.gap < 0.05
    for method in ("smoothgrad", "occlusion", "gradient_x_input"):
        one = attribute(extractor, activations, "mix", 1, PLACE, method=method)
        assert one.values.any()
        top, left, bottom, right = one.box
        outside = one.values.copy()
        outside[top:bottom, left:right] = 0
        assert not outside.any()


def test_shuffled_weights_change_the_map_and_are_restored(
    network: Small, extractor: FeatureExtractor, activations: Activations
) -> None:
    numbers = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plain = attribute(extractor, activations, "mix", 2, PLACE)
    shuffled = attribute(extractor, activations, "mix", 2, PLACE, randomised="norm", seed=4)
    assert shuffled.colors is not None
    assert np.abs(shuffled.values - plain.values).max() > 1e-5
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, numbers[name], rtol=0, atol=0)
    # For comparison, another network with these weights.
    new = shuffled_weights(extractor, 2, 4, 4)
    names = ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    assert new.variables == (*names, "mix.weight", "mix.bias")
    other = Small()
    other.load_state_dict(
        numbers | dict(zip(new.variables, map(torch.tensor, new.arrays), strict=True))
    )
    _, slope = gradient_by_hand(other, activations.image, 2)
    np.testing.assert_allclose(shuffled.colors, slope, atol=1e-7)
    with pytest.raises(ValueError, match="randomised 'drop' changes nothing"):
        attribute(extractor, activations, "drop", 2, PLACE, randomised="drop")


@pytest.mark.parametrize("end", ["scores", "softmax"])
def test_grad_cam(network: Small, photo: RGB8, end: str) -> None:
    whole = network if end == "scores" else nn.Sequential(network, nn.Softmax(dim=-1))
    prefix = "" if end == "scores" else "0."
    extractor = FeatureExtractor(model=whole, preprocess=scaled, size=None)
    activations = extractor(photo)
    network.eval()
    pixels = tensor_of(photo)
    maps = network.mix(network.norm(torch.relu(network.conv(pixels)))).detach().requires_grad_()
    scores = network.head(torch.relu(maps).mean(dim=(2, 3)))[0]
    network.train()
    found = attribute(extractor, activations, f"{prefix}mix", method="grad_cam", target=3)
    assert found.value == pytest.approx(scores[3].item(), abs=1e-5)
    (slope,) = torch.autograd.grad(scores[3], maps)
    shares = slope[0].mean(dim=(1, 2))
    cam = torch.relu((maps[0] * shares[:, None, None]).sum(dim=0)).detach().numpy()
    assert found.values.max() <= cam.max() * (1 + 1e-4)
    # At the centre of each unit, the enlarged map has the unit's value.
    info = activations.info(f"{prefix}mix")
    place = info.placement
    assert (place.row_step, place.top) == (2, -1.0)
    np.testing.assert_allclose(found.values[::2, ::2], cam, atol=1e-5)
    best = attribute(extractor, activations, f"{prefix}mix", method="grad_cam")
    assert best.target == f"class 'class {int(scores.argmax())}' at layer '{prefix}mix'"


def test_modules_that_are_called_by_keyword(photo: RGB8) -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2, 4)
            self.softmax = nn.Softmax(dim=1)

        def forward(self, images: torch.Tensor) -> Any:
            return self.softmax(input=self.head(self.conv(input=images).mean(dim=(2, 3))))

    torch.manual_seed(0)
    classifier = Classifier()
    extractor = FeatureExtractor(model=classifier, preprocess=scaled, size=None)
    found = attribute(extractor, extractor(photo), "conv", method="grad_cam", target=1)
    scores = classifier.head(classifier.conv(tensor_of(photo)).mean(dim=(2, 3)))
    assert found.value == pytest.approx(scores[0, 1].item(), abs=1e-5)
    assert extractor.fan_in("conv").source is None


def test_grad_cam_needs_one_vector(photo: RGB8) -> None:
    extractor = FeatureExtractor(model=nn.Sequential(nn.Conv2d(3, 2, 3)), size=None)
    with pytest.raises(ValueError, match=r"'Sequential' ends in \(2, \d+, \d+\): pass a mod"):
        attribute(extractor, photo, "0", method="grad_cam")


@pytest.mark.slow
def test_values_without_a_gradient(photo: RGB8) -> None:
    class Signs(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images > 100).float()

    extractor = FeatureExtractor(model=nn.Sequential(Signs()), preprocess=lambda x: x, size=None)
    with pytest.raises(ValueError, match="layer '0' has no gradient, since its values are counts"):
        attribute(extractor, photo, "0", 1, (3, 4))
    found = attribute(extractor, photo, "0", 1, (3, 4), method="occlusion", window=1)
    assert found.value == float(photo[3, 4, 1] > 100)


# Circuits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Conv2d(3, 6, (3, 5), stride=(2, 3), padding=(0, 2), dilation=(2, 1)),
        nn.Conv2d(3, 6, (5, 3), padding="same", dilation=2, bias=False),
        nn.Conv2d(3, 6, 3, padding="valid", groups=3),
    ],
)
def test_a_unit_is_the_sum_of_its_products(conv: nn.Conv2d, photo: RGB8) -> None:
    network = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3, padding=2, groups=2))
    extractor = FeatureExtractor(model=network, preprocess=scaled, size=None)
    activations = extractor(photo)
    for layer, source in (("0", None), ("2", "1")):
        rows, columns, channels = activations[layer].shape
        for place in ((0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)):
            found = explain_unit(extractor, activations, layer, channels - 1, place)
            assert found.source == source
            assert found.total == pytest.approx(found.value, abs=1e-5)
    made = circuit(extractor, activations, "2", 3, location=(4, 4), by="contribution")
    assert made.activation == pytest.approx(activations.at("2", 4, 4)[3], abs=1e-5)
    assert {one.channel for one in made.inputs} == {3, 4, 5}
    first, *_, least = (abs(one.contribution or 0) for one in made.inputs)
    assert first >= least
    names = explain_unit(extractor, activations, "0", 0, (0, 0)).names
    assert set(names) <= {"red", "green", "blue"}


def test_layers_without_kernels_are_refused_with_advice(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    with pytest.raises(ValueError, match=r"'relu' is not a sum over a kernel, .*: pass 'conv'"):
        explain_unit(extractor, activations, "relu", 0, (0, 0))
    network = torchvision_network("resnet18")
    of_blocks = FeatureExtractor(model=network, size=32)
    with pytest.raises(ValueError, match=r"'layer1.0' \(BasicBlock\) has no kernels: choose 'max"):
        of_blocks.fan_in("layer1.0")
    # A sum between modules is not a layer.
    with pytest.raises(ValueError, match=r"'layer1.0.relu#2' reads an input without feature"):
        of_blocks.fan_in("layer1.0.relu#2")
    assert of_blocks.fan_in("layer1.1.conv1").source == "layer1.0"


# Synthesised images ------------------------------------------------------------------------------


def test_the_aims_of_synthesised_images(network: Small, extractor: FeatureExtractor) -> None:
    network.eval()
    rng = np.random.default_rng(1)
    pictures = rng.uniform(0, 255, (2, 24, 32, 3)).astype(np.float32)
    still = (1, 0, 0, 0, 1, 0, 0, 0)

    def mixed(given: torch.Tensor) -> torch.Tensor:
        before = network.norm(torch.relu(network.conv(given.permute(0, 3, 1, 2) / 255)))
        maps: torch.Tensor = network.mix(before)
        return maps

    given = torch.tensor(pictures, requires_grad=True)
    maps = mixed(given)
    wanted = rng.normal(size=maps[0].permute(1, 2, 0).shape).astype(np.float32)
    weights = rng.uniform(size=wanted.shape).astype(np.float32)
    gram = rng.normal(size=(4, 4)).astype(np.float32)
    even = np.ones((4, 4), np.float32)
    flat = maps.flatten(2)
    grams = flat @ flat.transpose(1, 2) / flat.shape[2]
    only = torch.stack([maps[0, 3], maps[1, 0]])
    far = (torch.tensor(weights) * (maps.permute(0, 2, 3, 1) - torch.tensor(wanted)).square()).sum(
        dim=(1, 2, 3)
    )
    apart = (grams - torch.tensor(gram)).square().sum(dim=(1, 2))
    channels = np.array([3, 0], np.int32)
    place = (np.array(4, np.int32), np.array(6, np.int32))
    cases: tuple[Any, ...] = (
        ("mean", (channels,), only, torch.where(only > 0, only, 0.1 * only).mean(dim=(1, 2))),
        ("unit", (channels, *place), only, only[:, 4, 6]),
        ("content", (wanted, weights), far, -far),
        ("style", (gram, even), apart, -apart),
    )
    network.train()
    for aim, asked, expected, value in cases:
        made = LayerAim(extractor, "mix", (24, 32), aim)
        found, slopes = made.gradients(pictures, still, asked)
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        (slope,) = torch.autograd.grad(value.sum(), given, retain_graph=True)
        np.testing.assert_allclose(slopes, slope.numpy(), rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(made.values(pictures, still, asked), found, rtol=1e-6)


def test_a_shifted_image_wraps_around(extractor: FeatureExtractor) -> None:
    pictures = np.random.default_rng(2).uniform(0, 255, (1, 24, 32, 3)).astype(np.float32)
    aim = LayerAim(extractor, "conv", (24, 32), "mean")
    channels = (np.array([1], np.int32),)
    moved = aim.values(pictures, (1, 0, 3, 0, 1, -2, 0, 0), channels)
    rolled = np.roll(pictures, (2, -3), axis=(1, 2))
    expected = aim.values(rolled, (1, 0, 0, 0, 1, 0, 0, 0), channels)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_visualisation_and_reconstruction(
    network: Small, extractor: FeatureExtractor, activations: Activations
) -> None:
    before = state_of(network)
    begun, made = (
        visualize_channel(extractor, "mix", 1, steps=steps, size=32, progress=False)
        for steps in (1, 25)
    )
    assert made.image.shape == (32, 32, 3)
    means = [extractor(one.image)["mix"][..., 1].mean() for one in (begun, made)]
    assert means[1] > means[0]
    back = reconstruct(extractor, activations, "conv", steps=12, progress=False)
    assert back.error < 1
    assert state_of(network) == before


def test_a_digest_tells_weights_apart(network: Small, extractor: FeatureExtractor) -> None:
    before = weights_digest(extractor)
    assert before == weights_digest(FeatureExtractor(model=network, preprocess=scaled))
    with torch.no_grad():
        network.mix.weight[0, 0, 0, 0] += 1
    assert weights_digest(extractor) != before


# Unusual modules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrized_convolution_has_the_kernel_it_computes_with(of: str, photo: RGB8) -> None:
    torch.manual_seed(1)
    conv = getattr(parametrizations, of)(nn.Conv2d(3, 6, 3))
    network = nn.Sequential(conv, nn.ReLU(), nn.Conv2d(6, 4, 3)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    extractor = FeatureExtractor(model=network, preprocess=scaled, size=None)
    activations = extractor(photo)
    assert activations.info("0").kind == "conv"
    assert [info.name for info in activations.layers] == ["0", "1", "2"]
    found = explain_unit(extractor, activations, "0", 1, PLACE)
    assert found.total == pytest.approx(found.value, abs=1e-5)
    assert attribute(extractor, activations, "2", 1, PLACE).value
    # Running statistics are unchanged as well.
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert network.training
    assert conv.training


def test_a_users_hook_that_changes_the_output(photo: RGB8) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    handle = network[0].register_forward_hook(lambda _module, _given, output: 10 * output)
    extractor = FeatureExtractor(model=network, preprocess=scaled, size=None)
    activations = extractor(photo)
    with torch.no_grad():
        expected = network[0](tensor_of(photo))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(activations["0"], expected)
    with pytest.raises(ValueError, match=r"layer '0' has .* but its kernel, bias and inputs give"):
        explain_unit(extractor, activations, "0", 1, PLACE)
    handle.remove()
    found = explain_unit(extractor, extractor(photo), "0", 1, PLACE)
    assert found.total == pytest.approx(found.value, abs=1e-5)


def test_a_network_that_runs_other_layers_on_a_small_picture(photo: RGB8) -> None:
    class BySize(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = nn.Conv2d(3, 3, 3, padding=1)
            self.last = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, images: torch.Tensor) -> Any:
            large = images.shape[2] > 32
            return self.last(self.second(self.first(images) if large else images))

    extractor = FeatureExtractor(model=BySize(), preprocess=scaled, size=None)
    activations = extractor(photo)
    for layer in ("second", "last"):
        found = attribute(extractor, activations, layer, 1, (20, 20))
        assert found.value == pytest.approx(activations.at(layer, 20, 20)[1], abs=1e-5)


def test_a_network_that_runs_other_layers_at_each_call_is_refused(photo: RGB8) -> None:
    class InTurn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.calls = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3), 0

        def forward(self, images: torch.Tensor) -> Any:
            self.calls += 1
            return self.one(images) if self.calls % 2 else self.other(images)

    extractor = FeatureExtractor(model=InTurn(), preprocess=scaled, size=None)
    activations = extractor(photo)
    with pytest.raises(ValueError, match="ran other modules than before, so layer 'one'"):
        attribute(extractor, activations, "one", 1)

    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3), nn.Linear(2, 4)
            self.calls = 0

        def forward(self, images: torch.Tensor) -> Any:
            self.calls += 1
            maps = self.one(images)
            return self.head((self.two(maps) if self.calls == 1 else maps).mean(dim=(2, 3)))

    extractor = FeatureExtractor(model=Once(), preprocess=scaled, size=None)
    activations = extractor(photo)
    with pytest.raises(ValueError, match="ran other modules than before, so layer 'two'"):
        attribute(extractor, activations, "two", method="grad_cam", target=1)


def test_a_digest_ignores_the_order_of_sets_in_the_code() -> None:
    def digest_with(choices: frozenset[int]) -> str:
        class Chosen(nn.Module):
            def forward(self, images: torch.Tensor) -> Any:
                return images * 2 if len(images) in {0, 8} else images

        code = Chosen.forward.__code__
        swapped = (choices if isinstance(one, frozenset) else one for one in code.co_consts)
        Chosen.forward.__code__ = code.replace(co_consts=tuple(swapped))
        return weights_digest(FeatureExtractor(model=nn.Sequential(Chosen(), nn.ReLU()), size=None))

    one, same = frozenset([0, 8]), frozenset([8, 0])
    # As a set of str can differ between two processes.
    assert list(one) != list(same)
    assert digest_with(one) == digest_with(same) != digest_with(frozenset([0, 9]))


def test_a_transposed_convolution_says_why_it_is_no_sum(photo: RGB8) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2, 2))
    extractor = FeatureExtractor(model=network, preprocess=scaled, size=None)
    activations = extractor(photo)
    with pytest.raises(ValueError, match=r"\(ConvTranspose2d\) spreads each input .*: choose '0'"):
        explain_unit(extractor, activations, "1", 0, PLACE)

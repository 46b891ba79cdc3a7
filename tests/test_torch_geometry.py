"""Receptive fields of PyTorch networks, compared with the pixels on which a unit depends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.torch_networks import torchvision_network
from vgg_widget import FeatureExtractor

pytestmark = pytest.mark.torch

RGB8 = npt.NDArray[np.uint8]
SIZE = (29, 34)


class Between(nn.Module):
    """A convolution, a function, and another convolution."""

    def __init__(self, function: Callable[[Any], Any], channels: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function
        self.last = nn.Conv2d(channels, 2, 3)

    def forward(self, images: Any) -> Any:
        return self.last(self.function(self.first(images)))


def chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *modules, nn.Conv2d(4, 2, 3))


def shuffled(maps: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = maps.shape
    groups = maps.view(count, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return groups.view(count, -1, height, width)


def split(maps: torch.Tensor) -> torch.Tensor:
    left, right = maps.chunk(2, dim=1)
    return torch.cat([left, functional.relu(right)], dim=1)


def last(maps: torch.Tensor) -> torch.Tensor:
    maps = maps.permute(0, 2, 3, 1)
    maps = functional.linear(functional.layer_norm(maps, (4,)), torch.ones(4, 4))
    return maps.permute(0, 3, 1, 2)


def in_place(maps: torch.Tensor) -> torch.Tensor:
    wider = functional.conv2d(maps, torch.ones(4, 4, 5, 5), padding=2)
    wider += maps
    return wider.relu_()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "strides, dilation, groups": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(0, 2)),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(),
        nn.Conv2d(4, 2, 2, padding="same"),
    ),
    "pools": lambda: chain(nn.AvgPool2d(3, 2, 1), nn.AvgPool2d((1, 2))),
    "maxima": lambda: chain(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1, dilation=2)),
    "pools that round up": lambda: chain(
        nn.AvgPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, ceil_mode=True)
    ),
    "maxima that round up": lambda: chain(nn.MaxPool2d(3, 2, ceil_mode=True)),
    "transposed": lambda: chain(nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)),
    "nearest": lambda: chain(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)),
    "bilinear": lambda: chain(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")),
    "padding": lambda: chain(nn.ZeroPad2d((1, 2, 1, 0))),
    "a branch in place": lambda: Between(in_place),
    "split and joined": lambda: Between(split),
    "shuffled channels": lambda: Between(shuffled),
    "channels last": lambda: Between(last),
    "cropped": lambda: Between(lambda maps: maps[..., 1:-2, 3:]),
    "every other": lambda: Between(lambda maps: maps[:, :, ::2, 1::2]),
    "the mean of the channels": lambda: Between(lambda maps: maps.mean(dim=1, keepdim=True), 1),
    "adaptive pool to the same size": lambda: chain(nn.AdaptiveAvgPool2d(SIZE)),
}


def made(network: nn.Module) -> nn.Module:
    """Give a network positive weights, so that nothing cancels out and every ReLU is open."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand(parameter.shape) + 0.1)
    return network.eval()


@pytest.fixture
def picture() -> RGB8:
    return np.random.default_rng(0).integers(1, 256, (*SIZE, 3), np.uint8)


def seen_by(network: nn.Module, image: RGB8, row: int, column: int) -> tuple[int, ...]:
    pixels = torch.tensor(image / np.float32(255)).permute(2, 0, 1)[None].requires_grad_()
    maps = network(pixels)
    (slope,) = torch.autograd.grad(maps[0, :, row, column].sum(), pixels)
    rows, columns = np.nonzero(slope[0].abs().sum(dim=0).numpy())
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


# PyTorch warns that uneven padding needs a copy.
@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_sees_the_pixels_on_which_it_depends(name: str, picture: RGB8) -> None:
    torch.manual_seed(0)
    network = made(NETWORKS[name]())
    extractor = FeatureExtractor(
        model=network, preprocess=lambda images: images / np.float32(255), size=None
    )
    activations = extractor(picture)
    info = activations.layers[-1]
    assert info.receptive_field is not None
    rows, columns = activations[info.name].shape[:2]
    for row in range(0, rows, 3):
        for column in range(0, columns, 3):
            box = info.receptive_field_box(row, column, SIZE)
            found = seen_by(network, picture, row, column)
            if name.startswith("maxima"):
                # Only one pixel of each window counts, and which one depends on the image.
                inside = [np.array(box[:2]) <= found[:2], np.array(box[2:]) >= found[2:]]
                assert np.all(inside), (row, column)
            else:
                assert box == found, (row, column)


UNDEFINED: dict[str, Callable[[], nn.Module]] = {
    "all of the map": lambda: Between(lambda maps: maps - maps.mean(dim=(2, 3), keepdim=True)),
    "a gate": lambda: Between(lambda maps: maps * functional.adaptive_avg_pool2d(maps, 1)),
    "a map by its groups": lambda: chain(nn.GroupNorm(2, 4)),
    "reflected": lambda: chain(nn.ReflectionPad2d(2)),
    "flipped": lambda: Between(lambda maps: maps.flip(2)),
    "cumulative sum": lambda: Between(lambda maps: maps.cumsum(3)),
    "rows and columns swapped": lambda: Between(lambda maps: maps.transpose(2, 3)),
    "resized": lambda: chain(nn.Upsample(size=(50, 51))),
    "written into": lambda: Between(written),
    "not a function of PyTorch's": lambda: Between(lambda maps: torch.ops.aten.flip(maps, [2])),
}


def written(maps: torch.Tensor) -> torch.Tensor:
    other = torch.zeros_like(maps)
    other[:, :, 3:] = maps[:, :, :-3]
    return other


@pytest.mark.parametrize("name", UNDEFINED)
def test_functions_without_a_rule_have_no_receptive_field(name: str, picture: RGB8) -> None:
    network = UNDEFINED[name]()
    activations = FeatureExtractor(model=network, size=None)(picture)
    assert activations.layers[0].receptive_field == 3
    after = activations.layers[-1]
    assert after.receptive_field is None
    assert after.placement.row_step == SIZE[0] / activations[after.name].shape[0]


@pytest.mark.parametrize(
    ("name", "layer", "stride", "side"),
    [
        # A convolution of 7 and a pool of 3; then four convolutions of 3 at each of four strides,
        # of which the first reads maps of the previous stride.
        ("resnet18", "layer4", 32, 11 + 5 * 2 * 4 + 4 * 2 * 8 + 4 * 2 * 16 + 3 * 2 * 32),
        # A convolution of 3, and two, two and four Fire modules with a convolution of 3 each; a
        # pool of 3 before each group.
        ("squeezenet1_1", "features", 16, 3 + 4 + 2 * 8 + 8 + 2 * 16 + 16 + 4 * 32),
    ],
)
def test_networks_of_torchvision(name: str, layer: str, stride: int, side: int) -> None:
    network = torchvision_network(name)
    info = next(one for one in FeatureExtractor(model=network, size=64).layers if one.name == layer)
    assert (info.stride, info.receptive_field) == (stride, side)


def test_receptive_fields_end_at_squeeze_and_excitation() -> None:
    layers = FeatureExtractor(model=torchvision_network("mobilenet_v3_small"), size=64).layers
    known = {one.name: one.receptive_field for one in layers}
    assert known["features.1.block.0"] == 3 + 2 * 2
    assert known["features.1.block.1.avgpool"] is None
    assert known["features.1.block.1"] is None

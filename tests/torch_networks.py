"""VGG as torchvision lays it out, which is not installed."""

from __future__ import annotations

import torch
from torch import nn

from vgg_widget import FeatureExtractor

# What torchvision calls configuration "E", and "D", which is VGG16.
VGG19 = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0)
VGG16 = (64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3, 0)


def torch_features(columns: tuple[int, ...], *, norm: bool = False) -> nn.Sequential:
    """The ``features`` of a torchvision VGG: 0 stands for a pool."""
    modules: list[nn.Module] = []
    channels = 3
    for column in columns:
        if column == 0:
            modules.append(nn.MaxPool2d(2, 2))
            continue
        modules.append(nn.Conv2d(channels, column, 3, padding=1))
        modules += [nn.BatchNorm2d(column)] if norm else []
        modules.append(nn.ReLU())
        channels = column
    return nn.Sequential(*modules)


def features_of(extractor: FeatureExtractor) -> nn.Sequential:
    """The ``features`` of torchvision's VGG19 with an extractor's weights."""
    # Without numbers of its own, which take seconds.
    with torch.device("meta"):
        network = torch_features(VGG19)
    network = network.to_empty(device="cpu")
    convolutions = [one for one in network if isinstance(one, nn.Conv2d)]
    names = [info.name for info in extractor.layers if info.kind == "conv"]
    with torch.no_grad():
        for module, name in zip(convolutions, names, strict=True):
            kernel, bias = extractor.model.get_layer(name).get_weights()
            module.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            assert module.bias is not None
            module.bias.copy_(torch.from_numpy(bias))
    return network

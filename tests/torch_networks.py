"""VGG as torchvision lays it out, which is not installed."""

from __future__ import annotations

from torch import nn

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

"""VGG in torchvision's layout, and torchvision's own networks with random weights."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from torch import nn

from vgg_widget import FeatureExtractor

# torchvision's configurations "E" (VGG19) and "D" (VGG16).
VGG19 = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0)
VGG16 = (64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3, 0)


def torch_features(columns: tuple[int, ...], *, norm: bool = False) -> nn.Sequential:
    """Return the ``features`` of a torchvision VGG; 0 stands for a pool."""
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
    """Return the ``features`` of torchvision's VGG19 with an extractor's weights."""
    # Skip the random initialisation, which takes seconds.
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


def torchvision_models() -> Any:
    """Return torchvision's networks, even if its compiled operators do not fit this PyTorch."""
    with warnings.catch_warnings():
        # It may warn about the extension that reads JPEG files.
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except RuntimeError:
            # On Linux it needs PyTorch with CUDA, for operators that no classifier uses.
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            for operator in ("nms", "qnms"):
                torch.library.define(f"torchvision::{operator}", signature)
            import torchvision
    return torchvision.models


def torchvision_network(name: str) -> nn.Module:
    """Return one of torchvision's networks, with random weights that are always the same."""
    more = {"init_weights": False} if name == "googlenet" else {}
    generator = torch.Generator().manual_seed(0)
    network: nn.Module = getattr(torchvision_models(), name)(weights=None, **more)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            # Means and variances too, so that no normalisation is the identity.
            if tensor.is_floating_point() and tensor.dim() < 2:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                spread = (2 / max(1, tensor[0].numel())) ** 0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
    return network

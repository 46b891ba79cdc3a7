"""Gradients through a PyTorch network: of channels, class scores and objectives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vgg_widget.network.graph import CHANNELS_LAST
from vgg_widget.network.protocol import (
    LEAK,
    Aim,
    Colours,
    Doubles,
    Floats,
    NoGradientError,
    Unit,
    Weights,
)
from vgg_widget.network.torch_following import tensors_in

if TYPE_CHECKING:
    from vgg_widget.network.torch_model import TorchNetwork


class _LayerReached(BaseException):
    """Ends a forward pass at the required layer; not caught by modules' own error handlers."""


def channel_function(
    network: TorchNetwork, unit: Unit, colours: Colours, weights: Weights
) -> tuple[Callable[[Floats], Doubles], Callable[[Floats], tuple[Doubles, Floats]]]:
    """Return functions for a unit's values for images, and for the values with gradients."""

    def value(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = _maps(network, unit.index, _as_input(network, pictures, colours), weights)
        only = maps[..., unit.channel].cpu().double()
        found = only.sum(dim=(1, 2)) if unit.place is None else only[(..., *unit.place)]
        return found, found

    return _with_gradient(value)


def class_function(
    network: TorchNetwork, index: int, weights: Weights
) -> tuple[
    Callable[[Floats], Floats],
    Callable[[Floats, Floats], tuple[Floats, Floats]],
    int,
]:
    """Return functions for the class scores, and for their gradient at a layer."""
    ends = network.found_on(None).ends
    if len(ends) != 1 or len(ends[0]) != 2:
        shapes = " and ".join(str(shape[1:]) for shape in ends) or "no tensor"
        raise ValueError(
            f"method 'grad_cam' needs a classifier, but model {network.name!r} ends in {shapes}: "
            "pass a model that ends in one vector of classes, or another method and a channel."
        )

    def scores(inputs: Floats) -> Floats:
        with torch.inference_mode(mode=False), torch.no_grad():
            found = _to_end(network, index, torch.tensor(inputs), weights)[1]
        end: Floats = found.float().cpu().numpy()
        return end

    def gradients(inputs: Floats, end_weights: Floats) -> tuple[Floats, Floats]:
        with torch.inference_mode(mode=False), torch.enable_grad():
            pixels = torch.tensor(inputs, requires_grad=True)
            maps, end = _to_end(network, index, pixels, weights)
            slope = _slope((end.float() * torch.tensor(end_weights).to(end.device)).sum(), maps)
            layout = network.found_on(inputs.shape[2:]).shown[index].layout
        both = (_channels_last(one.detach(), layout).cpu().numpy() for one in (maps, slope))
        seen, given = both
        return seen, given

    return scores, gradients, ends[0][1]


def aim_function(
    network: TorchNetwork, index: int, aim: Aim, colours: Colours
) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
    """Return functions for the objective of images, without and with its gradient."""

    def objective(
        pictures: torch.Tensor, targets: Any, view: Floats
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = _as_input(network, _transformed(pictures, view), colours)
        maps = _maps(network, index, inputs, Weights())
        return _OBJECTIVES[aim](maps, [torch.tensor(one, device=maps.device) for one in targets])

    return _with_gradient(objective)


def _with_gradient(
    value: Callable[..., tuple[torch.Tensor, torch.Tensor]],
) -> tuple[Callable[..., Any], Callable[..., tuple[Any, Floats]]]:
    """Return functions for another's second result, without and with the gradient of its first."""

    def values(pictures: Floats, *rest: Any) -> Any:
        with torch.inference_mode(mode=False), torch.no_grad():
            return value(torch.tensor(pictures), *rest)[1].cpu().numpy()

    def gradients(pictures: Floats, *rest: Any) -> tuple[Any, Floats]:
        with torch.inference_mode(mode=False), torch.enable_grad():
            given = torch.tensor(pictures, requires_grad=True)
            aims, results = value(given, *rest)
            slope = _slope(aims.sum(), given)
        return results.detach().cpu().numpy(), slope.cpu().numpy()

    return values, gradients


def _slope(value: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    # Not backward(), which would change the parameters' stored gradients.
    slope = None
    if value.requires_grad and of.requires_grad:
        (slope,) = torch.autograd.grad(value, of, allow_unused=True)
    if slope is None:
        raise NoGradientError
    return slope


def _as_input(network: TorchNetwork, pictures: torch.Tensor, colours: Colours) -> torch.Tensor:
    matrix, offset = map(torch.tensor, colours)
    inputs = pictures @ matrix + offset
    return network.as_input(inputs.permute(0, 3, 1, 2).contiguous())


def _channels_last(maps: torch.Tensor, layout: str) -> torch.Tensor:
    return maps.permute([layout.index(letter) for letter in CHANNELS_LAST]).float()


def _maps(
    network: TorchNetwork, index: int, inputs: torch.Tensor, weights: Weights
) -> torch.Tensor:
    """Return a layer's maps, channels last; later layers are not computed."""
    found = network.found_on((inputs.shape[2], inputs.shape[3]))
    one = found.shown[index]
    reached: list[torch.Tensor] = []
    calls = 0

    def note(name: str, _module: Any, _given: Any, output: Any) -> None:
        nonlocal calls
        if calls == one.call:
            if name == found.calls[calls]:
                reached.append(dict(tensors_in(output))[one.place])
            raise _LayerReached
        calls += 1

    with network.running(note), suppress(_LayerReached):
        network.called(inputs, weights)
    if not reached:
        raise _not_reached(network, one.name)
    return _channels_last(reached[0], one.layout)


def _not_reached(network: TorchNetwork, layer: str) -> ValueError:
    return ValueError(
        f"model {network.name!r} ran other modules than before, so layer {layer!r} was not "
        "reached: pass a model whose forward calls the same modules every time."
    )


def _to_end(
    network: TorchNetwork, index: int, pixels: torch.Tensor, weights: Weights
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a layer's unchanged maps, and the scores that the network computes from them."""
    found = network.found_on((pixels.shape[2], pixels.shape[3]))
    one = found.shown[index]
    maps: list[torch.Tensor] = []
    # The output and input of the last softmax or sigmoid.
    squashed: tuple[Any, Any] = (None, None)
    calls = 0

    def note(name: str, module: Any, given: Any, output: Any) -> Any:
        nonlocal calls, squashed
        calls += 1
        if isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Sigmoid):
            squashed = output, given[0]
        if calls - 1 != one.call or name != found.calls[one.call]:
            return None
        maps.append(dict(tensors_in(output))[one.place])
        # A later module could change the maps in place, and they would have no gradient.
        return output.clone() if isinstance(output, torch.Tensor) else None

    with network.running(note):
        output = network.called(network.as_input(pixels), weights)
    if not maps:
        raise _not_reached(network, one.name)
    ((_, end),) = tensors_in(output)
    return maps[0], squashed[1] if end is squashed[0] else end


# Objectives --------------------------------------------------------------------------------------


def _transformed(pictures: torch.Tensor, view: Floats) -> torch.Tensor:
    """Transform images; beyond an edge they wrap around."""
    height, width = pictures.shape[1:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across = float(view[0]) * x + float(view[1]) * y + float(view[2])
    down = float(view[3]) * x + float(view[4]) * y + float(view[5])
    top, left = down.floor(), across.floor()
    below, right = (down - top)[..., None], (across - left)[..., None]
    rows, columns = top.long(), left.long()

    def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return pictures[:, row % height, column % width]

    upper = at(rows, columns) * (1 - right) + at(rows, columns + 1) * right
    lower = at(rows + 1, columns) * (1 - right) + at(rows + 1, columns + 1) * right
    return upper * (1 - below) + lower * below


def _mean(maps: torch.Tensor, targets: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    values = maps[torch.arange(len(maps), device=maps.device), :, :, targets[0].long()]
    # Values below 0 have little weight but keep their gradient.
    return nn.functional.leaky_relu(values, LEAK).mean(dim=(1, 2)), values


def _unit(maps: torch.Tensor, targets: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    channels, row, column = targets
    values = maps[torch.arange(len(maps), device=maps.device), :, :, channels.long()]
    return values[:, int(row), int(column)], values


def _content(maps: torch.Tensor, targets: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    wanted, weights = targets
    distance = (weights * (maps - wanted).square()).sum(dim=(1, 2, 3))
    return -distance, distance


def _style(maps: torch.Tensor, targets: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    wanted, weights = targets
    flat = maps.flatten(1, 2)
    grams = flat.transpose(1, 2) @ flat / flat.shape[1]
    distance = (weights * (grams - wanted).square()).sum(dim=(1, 2))
    return -distance, distance


_OBJECTIVES: dict[Aim, Callable[[torch.Tensor, list[Any]], tuple[torch.Tensor, torch.Tensor]]] = {
    "mean": _mean,
    "unit": _unit,
    "content": _content,
    "style": _style,
}

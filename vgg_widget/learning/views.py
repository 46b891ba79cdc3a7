"""What filters are learned from: views of photographs, their feature maps, and patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.images import RGB8, resize
from vgg_widget.layers import LayerInfo
from vgg_widget.learning.recipe import Recipe
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.weights.learned_weights import Factors

Floats: TypeAlias = NDArray[np.float32]


def views_of(
    photographs: Sequence[RGB8], recipe: Recipe, rng: np.random.Generator
) -> Iterator[RGB8]:
    """Give the pictures to learn from, each photograph as often as any other."""
    rounds = math.ceil(recipe.views / len(photographs))
    order = np.concatenate([rng.permutation(len(photographs)) for _ in range(rounds)])
    for photograph in (photographs[index] for index in order[: recipe.views]):
        own = min(photograph.shape[:2])
        top = min(recipe.shorter[1], 1.25 * own)
        bottom = min(recipe.shorter[0], top)
        # Evenly over octaves: twice as large is as much of a difference anywhere.
        side = math.exp(rng.uniform(math.log(bottom), math.log(top)))
        view = resize(photograph, round(side))
        if rng.integers(2):
            view = view[:, ::-1]
        for axis in (0, 1):
            view = _fill(view, axis, recipe.canvas, rng)
        yield view


def _fill(view: RGB8, axis: int, side: int, rng: np.random.Generator) -> RGB8:
    """Cut or mirror an image to a length along an axis, at a random place."""
    missing = side - view.shape[axis]
    before = int(rng.integers(abs(missing) + 1))
    if missing <= 0:
        return view.take(range(before, before + side), axis=axis)
    widths = [(0, 0)] * view.ndim
    widths[axis] = (before, missing - before)
    return np.pad(view, widths, mode="symmetric")


class Stage:
    """The views' feature maps, as far as the network is learned."""

    def __init__(self, maps: list[Floats]) -> None:
        self._maps = maps
        self._pending: list[tuple[Floats, Floats]] = []

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, view: int) -> Floats:
        maps = self._maps[view]
        for kernel, bias in self._pending:
            maps = _convolve(maps, kernel, bias)
        return maps

    def convolve(self, factors: Factors, *, keep: bool) -> None:
        """Go through one more convolution; without `keep` again and again, when maps are asked."""
        # The maps before the second pool are too large to hold those of all views.
        self._pending.append((factors.kernel(), factors.bias))
        if keep:
            self._settle(lambda maps: maps)

    def pool(self) -> None:
        """Go through a 2×2 maximum pool."""
        self._settle(_pool)

    def _settle(self, then: Callable[[Floats], Floats]) -> None:
        for view in range(len(self)):
            self._maps[view] = then(self[view])
        self._pending = []


def _convolve(maps: Floats, kernel: Floats, bias: Floats) -> Floats:
    _, tf = keras_and_tensorflow()
    response = tf.nn.bias_add(tf.nn.conv2d(maps[None], kernel, 1, "SAME"), bias)
    result: Floats = tf.nn.relu(response)[0].numpy()
    return result


def _pool(maps: Floats) -> Floats:
    rows = np.maximum(maps[::2], maps[1::2])
    pooled: Floats = np.maximum(rows[:, ::2], rows[:, 1::2])
    return pooled


def draw_patches(stage: Stage, info: LayerInfo, recipe: Recipe, rng: np.random.Generator) -> Floats:
    """Draw 3×3 patches from what the layer will see, wherever no zero padding is in sight."""
    reach = ((info.receptive_field or 0) - 1) / 2
    middles = (info.center or 0) + info.stride * np.arange(recipe.canvas // info.stride)
    clear = np.flatnonzero((middles >= reach) & (middles + reach <= recipe.canvas - 1))
    if not clear.size:
        raise ValueError(
            f"recipe.canvas {recipe.canvas} is too small, since one unit of {info.name} sees "
            f"{info.receptive_field} pixels a side: give twice that."
        )
    a_view = len(clear) ** 2
    total = len(stage) * a_view
    drawn = np.sort(rng.choice(total, min(recipe.patches, total), replace=False))
    of_view = np.split(drawn, np.searchsorted(drawn, a_view * np.arange(1, len(stage))))
    patches: Floats | None = None
    start = 0
    for view, places in enumerate(of_view):
        maps = stage[view]
        channels = maps.shape[2]
        if patches is None:
            patches = np.empty((len(drawn), 9 * channels), np.float32)
        rows, columns = (clear[index] for index in divmod(places - view * a_view, len(clear)))
        block = patches[start : start + len(places)].reshape(-1, 3, 3, channels)
        for down in range(3):
            for right in range(3):
                block[:, down, right] = maps[rows + down - 1, columns + right - 1]
        start += len(places)
    assert patches is not None
    return patches

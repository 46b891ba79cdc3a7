"""Planes: data from which a page draws a channel like `render`, with any colormap."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import make_activations
from vgg_widget import Activations, render
from vgg_widget.page.planes import PIECE_BYTES, PIECE_PLANES, colours, packed, plane
from vgg_widget.pictures.colormaps import find_cmap
from vgg_widget.pictures.scaling import Scale

LAYERS = ["block1_conv1", "block3_conv1", "features.10", "block5_pool"]


def drawn(indices: npt.NDArray[np.uint8], cmap: str) -> npt.NDArray[np.uint8]:
    """Return a plane's colours, looked up in a colormap's table as on the page."""
    table = np.frombuffer(colours(find_cmap(cmap)), np.uint8).reshape(-1, 4)
    return table[indices]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network", Scale("layer", 80, 2.0)])
@pytest.mark.parametrize("cmap", ["magma", "coolwarm", "gray_r", "tab10", "Pastel2"])
def test_a_plane_in_a_table_s_colours_is_what_render_draws(
    activations: Activations, layer: str, scale: Any, cmap: str
) -> None:
    entries = find_cmap(cmap).N
    for channel in (0, 17, 63):
        truth = render(activations, layer, channel=channel, scale=scale, cmap=cmap)
        made = plane(activations, layer, entries, channel=channel, scale=scale)
        np.testing.assert_array_equal(drawn(made.indices, cmap), truth.rgba)
        assert (made.rendering.vmin, made.rendering.vmax) == (truth.vmin, truth.vmax)
        assert made.rendering.title == truth.title


@pytest.mark.parametrize("scale", ["auto", "layer"])
def test_nonfinite_values_and_dead_channels_are_drawn_as_render_does(scale: str) -> None:
    maps = np.random.default_rng(0).normal(size=(9, 7, 4)).astype(np.float32)
    maps[2:4, :, 0] = np.nan
    maps[1, 1, 1] = np.inf
    maps[..., 2] = 0
    maps[..., 3] = 5
    made = make_activations(maps)
    for channel in range(4):
        truth = render(made, "conv", channel=channel, scale=scale)
        indices = plane(made, "conv", 256, channel=channel, scale=scale).indices
        np.testing.assert_array_equal(drawn(indices, "magma"), truth.rgba)


@pytest.mark.parametrize(("side", "count"), [(224, 12), (56, 60), (7, 200)])
def test_pieces_hold_every_plane_once_and_no_piece_is_large(side: int, count: int) -> None:
    maps = np.random.default_rng(0).gamma(1, 1, (side, side, count)).astype(np.float32)
    made = make_activations(maps, stride=1)
    every = [plane(made, "conv", 256, channel=channel, scale="auto") for channel in range(count)]
    left, seen = iter(every), 0
    while True:
        taken, data = packed(left)
        if not taken:
            break
        # A piece includes the plane with which it reaches the size.
        assert len(data) < PIECE_BYTES + side * side
        assert len(taken) <= PIECE_PLANES
        indices = np.frombuffer(zlib.decompress(data), np.uint8).reshape(-1, side, side)
        assert len(indices) == len(taken)
        for one, found in zip(taken, indices, strict=True):
            assert one is every[seen]
            np.testing.assert_array_equal(found, one.indices)
            seen += 1
    assert seen == count

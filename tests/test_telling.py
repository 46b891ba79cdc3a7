"""`telling_channels`: which channels are shown first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.brute_force import most_telling
from vgg_widget import Activations, LayerInfo, telling_channels
from vgg_widget.activations.named_layers import LayerNameError

Floats = npt.NDArray[np.float32]

LAYER = "block3_conv1"
# (receptive field - 1) / 2 / stride, rounded up.
BORDER = 3


def made_of(maps: Floats, like: Activations) -> Activations:
    """Return activations of one layer whose receptive field is one location."""
    layer = LayerInfo(
        "made", None, kind="conv", channels=maps.shape[-1], stride=1, receptive_field=1
    )
    return Activations([layer], {"made": maps}, like.image, like.weights)


def test_they_are_those_of_the_definition_inside_the_border(activations: Activations) -> None:
    maps = activations[LAYER]
    inner = maps[BORDER : len(maps) - BORDER, BORDER : maps.shape[1] - BORDER]
    assert telling_channels(activations, LAYER, 6).tolist() == most_telling(inner, 6)


def test_copies_of_one_channel_are_chosen_once(activations: Activations) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0, 1, (2, 8, 8)).astype(np.float32)
    maps = np.stack([one, 3 * one, 2 * one, 0.1 * other, np.ones_like(one)], axis=-1)
    found = telling_channels(made_of(maps, activations), "made", 2)
    assert found.tolist() == [1, 3]


def test_constant_channels_come_last_and_none_twice(activations: Activations) -> None:
    maps = np.zeros((8, 8, 4), np.float32)
    maps[3, 4, 2] = 1
    maps[..., 3] = 0.1
    found = telling_channels(made_of(maps, activations), "made", 9)
    assert found.tolist() == [2, 0, 1, 3]


def test_effects_of_padding_do_not_count(activations: Activations) -> None:
    maps = np.zeros((16, 16, 2), np.float32)
    maps[0, :, 0] = 100
    maps[5:9, 5:9, 1] = 1
    layer = LayerInfo("made", None, kind="conv", channels=2, stride=1, receptive_field=3)
    made = Activations([layer], {"made": maps}, activations.image, activations.weights)
    assert telling_channels(made, "made", 1).tolist() == [1]


def test_large_maps_and_nan_have_an_answer(activations: Activations) -> None:
    maps = np.random.default_rng(1).uniform(0, 1, (300, 200, 3)).astype(np.float32)
    maps *= np.array([1, 3, 2], np.float32)
    maps[150, 100, 0] = np.nan
    maps[151, 100, 0] = np.inf
    assert telling_channels(made_of(maps, activations), "made", 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize("count", [0, -2])
def test_a_count_below_one_is_refused(activations: Activations, count: int) -> None:
    with pytest.raises(ValueError, match=f"count {count} is not a valid number of channels"):
        telling_channels(activations, LAYER, count)


def test_an_unknown_layer_is_refused(activations: Activations) -> None:
    with pytest.raises(LayerNameError, match="did you mean 'block3_conv1'"):
        telling_channels(activations, "block3_conv_1")

"""Tests of `before_relu`: layer names, toggle, layer list and colormap agree."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError

from tests.explorers import control, count_renderings
from vgg_widget import Activations, FeatureExtractor, LayerExplorer

Explore = Callable[..., LayerExplorer]

BEFORE, AFTER = "features.10", "features.11"
"""Torchvision's names for block3_conv1 before and after its ReLU."""


@pytest.fixture
def explorer(explore: Explore) -> LayerExplorer:
    return explore(layer="block3_conv1", channel=5)


def values(explorer: LayerExplorer) -> Any:
    assert explorer.rendering is not None
    return explorer.rendering.values


def checked_traits(explorer: LayerExplorer) -> tuple[str, bool]:
    """Check that the map shown agrees with `before_relu`; return `layer` and `before_relu`."""
    shown = explorer.activations[BEFORE][..., 5]
    if not explorer.before_relu:
        shown = np.maximum(shown, 0)
    assert (shown < 0).any() == explorer.before_relu
    np.testing.assert_array_equal(values(explorer), shown)
    return explorer.layer, explorer.before_relu


def test_the_toggle_shows_the_map_before_the_relu_and_back(
    explorer: LayerExplorer,
) -> None:
    after = explorer.rendering
    assert after is not None
    assert checked_traits(explorer) == ("block3_conv1", False)
    explorer.before_relu = True
    assert checked_traits(explorer) == ("block3_conv1", True)
    assert explorer.rendering is not None
    assert explorer.rendering.layer == BEFORE
    assert explorer.rendering.vmin is not None
    assert explorer.rendering.vmin == -explorer.rendering.vmax  # type: ignore[operator]
    explorer.before_relu = False
    assert checked_traits(explorer) == ("block3_conv1", False)
    np.testing.assert_array_equal(explorer.rendering.rgba, after.rgba)


def test_names_of_either_kind_and_the_toggle_agree(explorer: LayerExplorer) -> None:
    # The traits to set, in turn, and the `layer` and `before_relu` expected after each step.
    steps: list[tuple[dict[str, Any], tuple[str, bool]]] = [
        ({"layer": BEFORE}, (BEFORE, True)),
        ({"before_relu": False}, (AFTER, False)),
        ({"before_relu": True}, (BEFORE, True)),
        ({"layer": AFTER}, (AFTER, False)),
        ({"layer": "block3_conv1"}, ("block3_conv1", False)),
        ({"before_relu": True}, ("block3_conv1", True)),
        ({"layer": AFTER}, (AFTER, False)),
        ({"before_relu": True}, (BEFORE, True)),
        # Leaving a pre-ReLU name for another name also leaves the pre-ReLU side.
        ({"layer": "block3_conv1"}, ("block3_conv1", False)),
        ({"layer": BEFORE, "before_relu": True}, (BEFORE, True)),
        ({"layer": "block3_conv1", "before_relu": False}, ("block3_conv1", False)),
        ({"layer": "block3_conv1", "before_relu": True}, ("block3_conv1", True)),
    ]
    for changes, expected in steps:
        with explorer.hold_trait_notifications():
            for name, value in changes.items():
                setattr(explorer, name, value)
        assert checked_traits(explorer) == expected, changes


def test_the_side_stays_through_other_layers_and_pools(explorer: LayerExplorer) -> None:
    explorer.before_relu = True
    for layer, torch_name in (
        ("block4_conv2", "features.21"),
        ("block4_pool", None),
        ("block1_conv1", "features.0"),
    ):
        explorer.layer = layer
        assert explorer.before_relu
        maps = explorer.activations[torch_name or layer]
        np.testing.assert_array_equal(values(explorer), maps[..., 5])
    assert (values(explorer) < 0).any()


def test_a_pool_has_one_side(explore: Explore) -> None:
    explorer = explore(layer="features.18", panel="Display")
    pool = explorer.activations["block3_pool"][..., 0]
    assert control(explorer, "before ReLU").disabled
    for before in (True, False):
        explorer.before_relu = before
        assert explorer.layer == "features.18"
        np.testing.assert_array_equal(values(explorer), pool)
        assert explorer.cmap == "magma"
    explorer.layer = "block3_conv1"
    assert not control(explorer, "before ReLU").disabled


@pytest.mark.parametrize("bad", ["yes", 2, None, 0.5])
def test_a_bad_toggle_is_refused(explorer: LayerExplorer, bad: Any) -> None:
    with pytest.raises(TraitError, match=r"'before_relu' trait.*boolean"):
        explorer.before_relu = bad
    assert checked_traits(explorer) == ("block3_conv1", False)


# The constructor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"layer": "block3_conv1", "before_relu": True}, ("block3_conv1", True)),
        ({"layer": BEFORE}, (BEFORE, True)),
        ({"layer": AFTER, "before_relu": False}, (AFTER, False)),
    ],
)
def test_the_explorer_begins_on_the_requested_side(
    explore: Explore, arguments: dict[str, Any], expected: tuple[str, bool]
) -> None:
    explorer = explore(channel=5, **arguments)
    assert checked_traits(explorer) == expected
    explorer.layer = "block1_conv1"
    explorer.reset()
    assert checked_traits(explorer) == expected


def test_reset_and_back_come_back_to_the_side_that_was_on_show(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5, before_relu=True)
    explorer.open_channel(0, "features.0")
    assert (explorer.layer, explorer.before_relu) == ("features.0", True)
    explorer.back()
    assert checked_traits(explorer) == ("block3_conv1", True)
    explorer.layer = "features.0"
    explorer.reset()
    assert checked_traits(explorer) == ("block3_conv1", True)


def test_reset_and_back_come_back_to_the_colormap_that_was_on_show(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", before_relu=True, cmap="gray")
    assert explorer.cmap == "gray"
    explorer.open_channel(3, "block4_conv1")
    explorer.before_relu = False
    explorer.back()
    assert (explorer.before_relu, explorer.cmap) == (True, "gray")
    explorer.before_relu = False
    explorer.reset()
    assert (explorer.before_relu, explorer.cmap) == (True, "gray")


# The colormap ------------------------------------------------------------------------------------


def test_the_colormap_becomes_diverging_and_comes_back(explorer: LayerExplorer) -> None:
    explorer.cmap = "magma"
    explorer.before_relu = True
    assert explorer.cmap == control(explorer, "colors").value == "coolwarm"
    explorer.channel = 7
    explorer.layer = "block2_conv1"
    assert explorer.cmap == "coolwarm"
    explorer.before_relu = False
    assert explorer.cmap == control(explorer, "colors").value == "magma"
    explorer.layer = "features.5"
    assert explorer.cmap == "coolwarm"
    explorer.layer = "block2_pool"
    assert explorer.cmap == "magma"


def test_zero_is_in_the_middle_of_the_diverging_colormap(explorer: LayerExplorer) -> None:
    explorer.before_relu = True
    assert explorer.rendering is not None
    shown = explorer.rendering.values
    assert shown is not None
    red, blue = explorer.rendering.rgba[..., 0].astype(int), explorer.rendering.rgba[..., 2]
    top = np.abs(shown).max()
    assert (red > blue)[shown > 0.1 * top].all()
    assert (red < blue)[shown < -0.1 * top].all()


def test_a_colormap_that_a_person_chose_stays(explorer: LayerExplorer) -> None:
    explorer.before_relu = True
    explorer.cmap = "gray"
    explorer.channel = 3
    explorer.layer = "block1_conv2"
    assert explorer.cmap == "gray"
    explorer.before_relu = False
    assert explorer.cmap == "gray"
    # A diverging colormap suits both sides.
    explorer.cmap = "RdBu_r"
    explorer.before_relu = True
    assert explorer.cmap == "RdBu_r"
    explorer.before_relu = False
    assert explorer.cmap == "RdBu_r"
    # A colormap that is chosen together with the side stays, too.
    with explorer.hold_trait_notifications():
        explorer.before_relu = True
        explorer.cmap = "plasma"
    assert explorer.cmap == "plasma"


# The list of layers ------------------------------------------------------------------------------


def test_the_list_chooses_the_side_where_it_names_both(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5, layer_names="both")
    choice = control(explorer, "layer")
    choice.value = BEFORE
    assert checked_traits(explorer) == (BEFORE, True)
    choice.value = "block3_conv1"
    assert checked_traits(explorer) == ("block3_conv1", False)
    explorer.before_relu = True
    assert choice.value == BEFORE
    choice.value = "block3_conv1"
    assert checked_traits(explorer) == ("block3_conv1", False)
    explorer.before_relu = True
    choice.value = "block4_conv1"
    assert (explorer.layer, explorer.before_relu) == ("block4_conv1", False)
    choice.value = BEFORE
    assert checked_traits(explorer) == (BEFORE, True)


def test_the_list_of_keras_names_keeps_the_side(explore: Explore) -> None:
    explorer = explore(layer="block1_conv1", channel=5, before_relu=True)
    control(explorer, "layer").value = "block3_conv1"
    assert checked_traits(explorer) == ("block3_conv1", True)


def test_the_list_of_torchvisions_names_says_the_side(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5, layer_names="torchvision")
    choice = control(explorer, "layer")
    assert choice.value == AFTER
    explorer.before_relu = True
    assert choice.value == BEFORE
    choice.value = AFTER
    assert checked_traits(explorer) == (AFTER, False)


# Cost --------------------------------------------------------------------------------------------


def test_the_toggle_costs_no_forward_pass(
    explore: Explore, monkeypatch: pytest.MonkeyPatch, extractor: FeatureExtractor
) -> None:
    passes: list[Any] = []
    network: Any = extractor._network

    def counted(inputs: Any) -> Any:
        passes.append(inputs.shape)
        return network.forward(inputs)

    counting = copy.copy(extractor)
    counting._network = replace(network, forward=counted)
    explorer = explore(layer="block3_conv1", extractor=counting)
    assert len(passes) == 1
    renderings = count_renderings(monkeypatch)
    activations: Activations = explorer.activations
    explorer.before_relu = True
    explorer.layer = "block4_conv1"
    explorer.before_relu = False
    assert renderings == ["features.10", "features.19", "block4_conv1"]
    assert len(passes) == 1
    assert explorer.activations is activations

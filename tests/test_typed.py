"""Invalid input in a field is reported, and stays to be corrected; colormaps in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import ListedColormap

from tests.explorers import channel_number, control, problem
from vgg_widget import LayerExplorer, render

Explore = Callable[..., LayerExplorer]


def field(explorer: LayerExplorer, name: str) -> Any:
    """Return a field by its label."""
    return channel_number(explorer) if name == "channel number" else control(explorer, name)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("where", "name", "typed", "said", "right"),
    [
        ({}, "channel number", 300, "channel 300", 30),
        ({}, "channel number", -1, "channel -1", 0),
        ({"mode": "rgb"}, "channels", "3, x, 4", "is not a number or range", "3, 4, 5"),
        ({"mode": "rgb"}, "channels", "3, 4, 4000", "4000", "3, 4, 5"),
        ({"panel": "Location"}, "row", 900, "900", 2),
        ({"panel": "Display"}, "percentile", 300.0, "percentile 300", 99.0),
        ({"panel": "Open & save"}, "picture", "no such.png", "no such.png", None),
    ],
)
def test_invalid_input_is_reported_and_stays(
    explore: Explore, *, where: Any, name: str, typed: Any, said: str, right: Any
) -> None:
    explorer = explore(layer="block2_conv1", **where)
    before = explorer.rendering
    text = field(explorer, name)
    text.value = typed
    assert said in problem(explorer)
    assert text.value == typed
    assert explorer.rendering is before
    if right is not None:
        text.value = right
        assert problem(explorer) == ""
        assert text.value == right


def test_invalid_input_disappears_with_the_next_picture(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=5)
    number = field(explorer, "channel number")
    number.value = 300
    explorer.layer = "block3_conv1"
    assert number.value == 5
    assert problem(explorer) == ""
    # A channel chosen with the slider replaces invalid input, too.
    number.value = 400
    control(explorer, "channel").value = 7
    assert number.value == 7


def test_two_fields_that_belong_together_both_stay(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", panel="Location")
    row, column = field(explorer, "row"), field(explorer, "column")
    row.value = 900
    column.value = 5
    assert (row.value, column.value) == (900, 5)
    assert "900" in problem(explorer)
    row.value = 3
    assert explorer.location == (3, 5)
    assert problem(explorer) == ""


def test_a_field_is_reset_when_its_error_is_cleared(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=5, panel="Open & save")
    number = field(explorer, "channel number")
    number.value = 300
    # This changes no picture, but clears the error.
    control(explorer, "show code").click()
    assert problem(explorer) == ""
    assert number.value == 5


def test_an_echo_of_the_page_resets_a_refused_field(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=5, gamma=0.62, panel="Display")
    number = field(explorer, "channel number")
    number.value = 300
    # The page sends back the slider's nearest step, which does not count as a choice.
    control(explorer, "gamma").value = 0.6
    assert explorer.gamma == 0.62
    assert (problem(explorer), number.value) == ("", 5)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "change", [{"theme": "dark"}, {"layer_names": "torchvision"}, {"panel": "Display"}]
)
def test_a_cell_that_changes_the_appearance_resets_a_refused_field(
    explore: Explore, change: dict[str, str]
) -> None:
    explorer = explore(layer="block2_conv1", channel=5)
    number = field(explorer, "channel number")
    number.value = 300
    explorer.set_trait(*next(iter(change.items())))
    assert (problem(explorer), number.value) == ("", 5)


# Colormaps in groups


def test_colormaps_are_listed_in_groups_once_each(explore: Explore) -> None:
    options = control(explore(), "colors").options
    names = [name for _, name in options if name]
    headings = [label for label, name in options if not name]
    assert names[:5] == ["magma", "inferno", "plasma", "viridis", "cividis"]
    assert len(names) == len(set(names))
    assert headings[0] == "— uniform"
    assert len(headings) == len(set(headings)) == 6
    # All of matplotlib's colormaps except reversed ones and jet, which shows false edges.
    offered = {name for name in mpl.colormaps if not name.endswith("_r")} - {"jet"}
    assert set(names) == offered
    assert names.index("coolwarm") > names.index("gray")


def test_custom_and_reversed_colormaps_are_offered(explore: Explore) -> None:
    own = ListedColormap([(0, 0, 0), (1, 0, 0)], name="two of a test")
    mpl.colormaps.register(own)
    try:
        explorer = explore()
        cmap = control(explorer, "colors")
        explorer.cmap = "gray_r"
        assert cmap.value == "gray_r"
        cmap.value = "two of a test"
        assert explorer.cmap == "two of a test"
        expected = render(explorer.activations, explorer.layer, cmap=own, channel=explorer.channel)
        assert explorer.rendering is not None
        assert np.array_equal(explorer.rendering.rgba, expected.rgba)
    finally:
        mpl.colormaps.unregister("two of a test")


def test_a_group_heading_cannot_be_chosen(explore: Explore) -> None:
    explorer = explore(cmap="viridis")
    cmap = control(explorer, "colors")
    cmap.index = next(n for n, (_, name) in enumerate(cmap.options) if not name)
    assert explorer.cmap == cmap.value == "viridis"
    assert problem(explorer) == ""

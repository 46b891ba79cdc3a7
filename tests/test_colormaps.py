"""Tests of colormaps given as matplotlib's objects, and of the arguments channel and channels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from traitlets import TraitError

from tests.explorers import control
from vgg_widget import (
    FeatureExtractor,
    LayerExplorer,
    compare,
    plot,
    register_mode,
    render,
    telling_channels,
)
from vgg_widget.figure.animation import frames
from vgg_widget.pictures.comparing import pair, render_pair
from vgg_widget.pictures.modes import MODES

Explore = Callable[..., LayerExplorer]
LAYER = "edges"


@pytest.fixture
def dusk() -> Iterator[Colormap]:
    """Yield a custom colormap that is registered under a name other than its own.

    Packages register their colormaps in this way.
    """
    own = LinearSegmentedColormap.from_list("from_list", ["navy", "orange"])
    mpl.colormaps.register(own, name="theirs.dusk")
    yield own
    mpl.colormaps.unregister("theirs.dusk")


def known(dusk: Colormap) -> dict[str, Colormap]:
    return {
        "magma": mpl.colormaps["magma"],
        "viridis_r": mpl.colormaps["viridis"].reversed(),
        "RdBu": mpl.colormaps["RdBu"],
        "tab10": mpl.colormaps["tab10"],
        # Called "gray" before matplotlib 3.10.
        mpl.colormaps["grey"].name: mpl.colormaps["grey"],
        "theirs.dusk": dusk,
    }


def test_an_explorer_takes_a_registered_colormap(
    explore: Explore, exact: FeatureExtractor, dusk: Colormap
) -> None:
    explorer = explore(extractor=exact, layer=LAYER, channel=0)
    for name, cmap in known(dusk).items():
        explorer.choose(cmap=cmap)
        assert mpl.colormaps[explorer.cmap] == cmap
        assert explorer.cmap == name
        assert control(explorer, "colors").value == name
        assert explorer.rendering is not None
        by_hand = render(explorer.activations, LAYER, cmap=cmap)
        np.testing.assert_array_equal(explorer.rendering.rgba, by_hand.rgba)
    state = json.loads(json.dumps(explorer.state()))
    assert state["cmap"] == "theirs.dusk"
    made = explore(extractor=exact, cmap=dusk)
    assert made.cmap == "theirs.dusk"


def test_states_and_comparisons_take_a_registered_colormap(
    photo: Any, exact: FeatureExtractor, dusk: Colormap, explore: Explore
) -> None:
    state = explore(extractor=exact).state()
    again = LayerExplorer.from_state(photo, state, extractor=exact, cmap=dusk)
    assert again.cmap == "theirs.dusk"
    again.close()
    both = compare(photo, photo // 2, extractor=exact, cmap=dusk)
    assert both.cmap == "theirs.dusk"
    both.cmap = mpl.colormaps["cividis"]
    assert both.cmap == "cividis"
    both.close()


def test_functions_without_an_explorer_take_any_colormap(
    photo: Any, exact: FeatureExtractor
) -> None:
    seen = exact(photo)
    for cmap in (mpl.colormaps["magma"], ListedColormap(["black", "red", "white"])):
        table = {tuple(one) for one in cmap(np.arange(cmap.N), bytes=True)}
        for drawn in (
            render(seen, LAYER, cmap=cmap).rgba,
            render_pair(pair(exact, photo, photo), LAYER, cmap=cmap).second.rgba,
            frames(seen, layer=LAYER, cmap=cmap)[1].rgba,
            plot(seen, LAYER, ax=Figure().subplots(), cmap=cmap).images[0].get_array(),
        ):
            colours = {tuple(one) for one in np.asarray(drawn).reshape(-1, 4)}
            assert 1 < len(colours) <= len(table)
            assert colours <= table


@pytest.mark.parametrize(
    "cmap",
    [
        ListedColormap(["black", "red"], name="mine"),
        ListedColormap(["black", "red"], name="magma"),
        mpl.colormaps["viridis"].resampled(8),
        mpl.colormaps["viridis"].with_extremes(over="red"),
    ],
    ids=["own", "of a known name", "fewer colours", "another colour beyond"],
)
def test_a_colormap_that_is_not_registered_is_refused(
    explore: Explore, exact: FeatureExtractor, photo: Any, cmap: Colormap
) -> None:
    explorer = explore(extractor=exact, layer=LAYER, channel=0, cmap="magma")
    message = rf"cmap is a Colormap called '{cmap.name}' .*colormaps\.register\(cmap, name="
    for attempt in (
        lambda: setattr(explorer, "cmap", cmap),
        lambda: explore(extractor=exact, cmap=cmap),
        lambda: compare(photo, photo, extractor=exact, cmap=cmap),
    ):
        with pytest.raises(TraitError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert explorer.cmap == "magma"
    mpl.colormaps.register(cmap, name="now it is")
    try:
        explorer.choose(cmap=cmap)
        assert explorer.cmap == "now it is"
        assert explorer.rendering is not None
        by_hand = render(explorer.activations, LAYER, cmap=cmap)
        np.testing.assert_array_equal(explorer.rendering.rgba, by_hand.rgba)
    finally:
        explorer.cmap = "magma"
        mpl.colormaps.unregister("now it is")


# Channels ----------------------------------------------------------------------------------------


@pytest.fixture
def single() -> Iterator[str]:
    """Register a custom mode that shows one channel, and yield its name."""
    register_mode("negative", takes="one")(lambda maps, _: -maps[..., 0])
    yield "negative"
    del MODES["negative"]


@pytest.mark.sampled
@pytest.mark.parametrize("channels", [[4], (4,), np.array([4])])
def test_one_number_in_channels_is_the_channel_shown(
    explore: Explore, photo: Any, exact: FeatureExtractor, single: str, channels: Any
) -> None:
    for mode in ("channel", single):
        explorer = explore(extractor=exact, channels=channels, mode=mode)
        assert (explorer.channel, explorer.channels) == (4, (4,))
        both = compare(photo, photo, extractor=exact, channels=channels, mode=mode)
        assert both.channel == 4
        both.close()


def test_several_channels_are_refused_in_modes_of_one_channel(
    explore: Explore, photo: Any, exact: FeatureExtractor, single: str
) -> None:
    for mode in ("channel", single):
        message = rf"channels has 2 numbers, but mode '{mode}' shows one channel: give one"
        asked: dict[str, Any] = {"extractor": exact, "channels": (1, 4), "mode": mode}
        with pytest.raises(ValueError, match=message):
            render(exact(photo), LAYER, mode, channels=(1, 4))
        with pytest.raises(ValueError, match=message):
            render_pair(pair(exact, photo, photo), LAYER, mode, channels=(1, 4))
        # An explorer keeps the channels for modes that show several.
        explorer: Any = explore(**asked)
        first = tuple(telling_channels(explorer.activations, explorer.layer, 1).tolist())
        assert explorer.rendering.channels == first
        explorer.mode = "rainbow"
        assert explorer.rendering.channels == (1, 4)
        with closing(compare(photo, photo, **asked)) as comparison:
            both: Any = comparison.renderings
            assert both.first.channels == both.second.channels == first


@pytest.mark.parametrize("wrong", [5, np.array(5), "12", ["a"], [None], [1.5]], ids=repr)
def test_an_invalid_list_of_channels_is_refused(
    explore: Explore, photo: Any, exact: FeatureExtractor, wrong: Any
) -> None:
    with pytest.raises(TraitError, match="'channels' trait of a LayerExplorer instance expected"):
        explore(extractor=exact, channels=wrong)
    with pytest.raises(ValueError, match="channel"):
        render(exact(photo), LAYER, "channel", channels=wrong)


@pytest.mark.slow
def test_channel_and_channels_are_each_kept_for_their_modes(
    explore: Explore, exact: FeatureExtractor
) -> None:
    explorer = explore(extractor=exact, channel=2, channels=(1, 4))
    shown = []
    for mode in ("channel", "rainbow", "channel"):
        explorer.mode = mode
        assert explorer.rendering is not None
        shown.append(explorer.rendering.channels)
    assert shown == [(2,), (1, 4), (2,)]
    again = LayerExplorer.from_state(explorer.image, explorer.state(), extractor=exact)
    assert (again.channel, again.channels) == (2, (1, 4))
    again.close()


@pytest.mark.parametrize("wrong", [3, 2.5, None, ["r", "g"], b"magma"], ids=repr)
def test_an_invalid_colormap_is_refused(explore: Explore, wrong: Any) -> None:
    explorer = explore(cmap="magma")
    with pytest.raises(TraitError, match=r"^cmap .* is of type \w+, not a name: choose one of"):
        explorer.cmap = wrong
    assert explorer.cmap == "magma"
    with pytest.raises(TraitError, match=r"^cmap .* is of type \w+, not a name: choose one of"):
        explore(cmap=wrong)

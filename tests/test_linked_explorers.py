"""Tests of explorers with linked traits: after a jump of one, both show its target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError, link

from vgg_widget import ChannelAtlas, FeatureExtractor, LayerExplorer, compare, sample_image
from vgg_widget.dataset import top_activations

Explore = Callable[..., LayerExplorer]


def assert_alike(one: Any, other: Any, names: tuple[str, ...]) -> None:
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    for each in (one, other):
        first: Any = each.renderings.first if hasattr(each, "renderings") else each.rendering
        assert (first.layer, first.channels) == (each.layer, (each.channel,))


@pytest.mark.sampled
@pytest.mark.parametrize(
    "names",
    [
        ("layer", "channel"),
        ("channel", "layer"),
        ("location", "channel", "layer", "mode"),
        ("mode", "layer", "location", "cmap", "channel"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_jump_takes_a_linked_comparison_along(
    explore: Explore, names: tuple[str, ...], *, turned: bool
) -> None:
    explorer = explore(layer="block1_conv2", channel=5)
    image = explorer.image
    with closing(compare(image, image[::-1], extractor=explorer.extractor)) as comparison:
        for name in names:
            link((explorer, name), (comparison, name))
        if turned:
            walk(comparison, explorer, names)
        else:
            walk(explorer, comparison, names)


def walk(one: Any, other: Any, names: tuple[str, ...]) -> None:
    one.open_channel(411, "block4_conv2")
    assert_alike(one, other, names)
    assert one.channel == 411
    one.open_channel(7, "block1_conv1")
    assert_alike(one, other, names)
    assert one.channel == 7
    one.back()
    assert_alike(one, other, names)
    assert (one.layer, one.channel) == ("block4_conv2", 411)
    # A location keeps its place in the picture, and `back` restores the first one exactly.
    one.location = (3, 2)
    one.open_channel(3, "block2_conv1")
    assert_alike(one, other, names)
    one.back()
    assert_alike(one, other, names)
    assert one.location == (3, 2)
    with one.hold_trait_notifications():
        one.layer, one.channel, one.location = "block1_conv1", 60, (50, 3)
    assert_alike(one, other, names)
    assert (one.channel, one.location) == (60, (50, 3))
    one.layer = "block3_pool"
    # Units of block3_pool are 8 pixels apart from 3.5 on: the nearest to (50, 3) is (6, 0).
    assert one.location == (6, 0)
    assert_alike(one, other, names)
    one.location = None
    one.layer, one.channel = "block4_conv4", 500
    one.layer = "block1_pool"
    assert_alike(one, other, names)
    # A channel that the layer lacks becomes its last one, in both explorers.
    assert one.channel == 63
    one.reset()
    assert_alike(one, other, names)


def test_a_follower_is_drawn_once_per_jump(explore: Explore) -> None:
    one, other = explore(layer="block1_conv2", channel=5), explore(layer="block1_conv2", channel=5)
    for name in ("layer", "channel", "mode"):
        link((one, name), (other, name))
    seen: list[str] = []
    other.observe(lambda change: seen.append(change["new"].title), "rendering")
    one.mode = "grid"
    one.open_channel(200, "block3_conv1")
    assert seen == ["block1_conv2 · 64 channels", "block3_conv1 · channel 200"]


def test_a_follower_that_fails_does_not_affect_the_others(explore: Explore) -> None:
    one, two, three = (explore(layer="block1_conv2", channel=5) for _ in range(3))

    def fail(_: object) -> None:
        raise ZeroDivisionError("this observer fails on purpose")

    two.observe(fail, "rendering")
    for other in (two, three):
        for name in ("layer", "channel"):
            link((one, name), (other, name))
    with pytest.raises(ZeroDivisionError):
        one.open_channel(200, "block3_conv1")
    for each in (one, two, three):
        assert each.rendering is not None
        assert (each.rendering.layer, each.rendering.channels) == ("block3_conv1", (200,))
    # The next jump is followed again.
    two.unobserve(fail, "rendering")
    one.open_channel(3, "block1_conv1")
    assert [(each.layer, each.channel) for each in (two, three)] == [("block1_conv1", 3)] * 2
    with pytest.raises(TraitError, match="location"):
        one.location = (999, 0)
    assert one.location is None


def test_an_atlas_and_an_explorer_follow_each_other() -> None:
    extractor = FeatureExtractor("random", size=64)
    photographs = {"up": sample_image(), "down": sample_image()[::-1]}
    layers = ["block1_conv1", "block4_conv1"]
    top = top_activations(extractor, photographs, layers=layers, progress=False)
    atlas = ChannelAtlas(top, layer="block4_conv1", channel=400)
    explorer = LayerExplorer(sample_image(), extractor=extractor, layer=layers[1], channel=400)
    for name in ("layer", "channel"):
        link((atlas, name), (explorer, name))
    explorer.open_channel(9, "block1_conv1")
    assert (atlas.layer, atlas.channel) == ("block1_conv1", 9)
    explorer.back()
    assert (atlas.layer, atlas.channel) == ("block4_conv1", 400)
    with atlas.hold_trait_notifications():
        atlas.layer, atlas.channel = "block1_conv1", 12
    assert explorer.rendering is not None
    assert (explorer.rendering.layer, explorer.rendering.channels) == ("block1_conv1", (12,))
    np.testing.assert_array_equal(
        explorer.rendering.values, explorer.activations["block1_conv1"][..., 12]
    )
    atlas.close()
    explorer.close()


def test_a_location_that_a_linked_explorer_does_not_have_is_refused(explore: Explore) -> None:
    one, other = explore(layer="block1_conv1"), explore(layer="block5_conv1")
    link((one, "location"), (other, "location"))
    one.location = (3, 2)
    assert other.location == (3, 2)
    with pytest.raises(TraitError, match=r"location \(60, 40\) is outside layer 'block5_conv1'"):
        one.location = (60, 40)
    assert one.location == other.location == (3, 2)
    one.location = (1, 1)
    assert other.location == (1, 1)


def test_a_location_that_an_observer_sets_is_checked(explore: Explore) -> None:
    one, other = explore(layer="block1_conv1"), explore(layer="block2_conv1", location=(4, 5))

    def point(_: object) -> None:
        other.location = (5000, 1)
        other.channel = 9

    one.observe(point, "channel")
    with pytest.raises(TraitError, match=r"location \(5000, 1\) is outside layer 'block2_conv1'"):
        one.channel = 3
    assert other.location == (4, 5)
    # The rest of the change is applied.
    assert other.rendering is not None
    assert other.rendering.channels == (9,)


def test_an_explorer_that_is_not_drawn_yet_cannot_be_saved(
    explore: Explore, tmp_path: Path
) -> None:
    one, other = explore(), explore()
    path = tmp_path / "other.png"

    def keep(_: object) -> None:
        other.channel = 7
        other.save(path)

    one.observe(keep, "channel")
    with pytest.raises(RuntimeError, match=r"explorer is waiting for a linked one .*: save it"):
        one.channel = 3
    assert not path.exists()
    # The explorer can be saved once it is drawn.
    one.unobserve(keep, "channel")
    other.observe(lambda _: other.save(path), "rendering")
    one.observe(lambda _: setattr(other, "channel", 8), "channel")
    one.channel = 4
    assert path.read_bytes() == other.to_bytes(".png")


def test_a_follower_that_fails_restores_the_picture_before(explore: Explore) -> None:
    one, other = explore(), explore()
    before, maps = one.image, one.activations

    def fail(_: object) -> None:
        raise ZeroDivisionError("on purpose")

    other.observe(fail, "rendering")
    one.observe(lambda _: setattr(other, "channel", other.channel + 1), "activations")
    with pytest.raises(ZeroDivisionError):
        one.image = before[::-1]
    np.testing.assert_array_equal(one.image, before)
    assert one.activations is maps


def test_a_follower_that_waits_for_another_one_cannot_be_saved(explore: Explore) -> None:
    one, two, three = explore(), explore(), explore()
    for other in (two, three):
        link((one, "layer"), (other, "layer"))
    refused: list[str] = []

    def save(_: object) -> None:
        if three.rendering is not None and three.rendering.layer != three.layer:
            with pytest.raises(RuntimeError, match="waiting for a linked one"):
                three.to_bytes()
            refused.append("waits")

    two.observe(save, "rendering")
    one.layer = "block3_conv1"
    assert refused == ["waits"]
    assert three.rendering is not None
    assert three.rendering.layer == "block3_conv1"

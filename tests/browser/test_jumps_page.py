"""A jump to a layer with fewer channels ends on the requested one, on the page and in the kernel.

A page that gets a slider's new maximum before its new value clamps the old value, and sends the
clamped value to the kernel as if the user had moved the slider.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.made_pictures import write_pictures

from .actions import ACTION_SECONDS
from .desk import OpenNotebook
from .page import NotebookPage
from .sight import CANVAS, SHAPE, field, unharmed, wait_words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DEEP = """
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), weights="random", size=96, layer="block1_conv2", channel=5, panel="Circuit"
)
explorer
"""
PLACE = "[explorer.layer, explorer.channel]"


def assert_stays(page: NotebookPage, layer: str, channel: int, explorer: str = "explorer") -> None:
    """Assert that page and kernel agree on a channel after the kernel has handled all replies."""
    index = 0 if explorer == "explorer" else 1
    number = page.control("channel number", index).locator("input")
    expect(number).to_have_value(str(channel), timeout=1000 * ACTION_SECONDS)
    handle = page.control("channel", index).locator(".noUi-handle")
    expect(handle).to_have_attribute("aria-valuetext", str(channel))
    # By now the page has sent its replies; the kernel handles them before this request.
    assert page.ask(f"[{explorer}.layer, {explorer}.channel]") == [layer, channel]
    wait_words(page, "caption", f"channel {channel} ", index)
    page.wait_picture_equal(f"{explorer}.canvas", index)


def test_a_jump_to_a_smaller_layer_lands_on_its_channel(front_end: OpenNotebook) -> None:
    page = front_end(DEEP)
    page.ask("explorer.layer, explorer.channel = 'block3_conv1', 200\nNone")
    assert_stays(page, "block3_conv1", 200)
    # The first button of the circuit names the channel of the previous layer that it opens.
    numbered = re.compile(r"^channel \d")
    card = page.page.locator(".vgg-explorer button:visible", has_text=numbered).first
    aimed = int(card.inner_text().removeprefix("channel "))
    card.click()
    assert_stays(page, "block2_pool", aimed)
    assert aimed != 127
    for deep, channel, shallow, target in (
        ("block4_conv1", 500, "block1_conv1", 3),
        ("block5_conv4", 511, "block2_conv2", 0),
        ("block3_conv4", 128, "block1_pool", 62),
    ):
        page.ask(f"explorer.layer, explorer.channel = {deep!r}, {channel}\nNone")
        assert_stays(page, deep, channel)
        page.ask(f"explorer.open_channel({target}, {shallow!r})\nNone")
        assert_stays(page, shallow, target)
        page.ask("explorer.back()\nNone")
        assert_stays(page, deep, channel)
    page.ask("explorer.reset()\nNone")
    assert_stays(page, "block1_conv2", 5)
    unharmed(page)


def test_keys_play_and_links_land_on_their_channel(lab: OpenNotebook) -> None:
    linked = """
from traitlets import link
other = LayerExplorer(sample_image(), weights="random", size=96)
links = [link((explorer, name), (other, name)) for name in ("layer", "channel")]
other
"""
    page = lab(DEEP, linked, viewport=(1280, 1400))
    assert_stays(page, "block1_conv2", 5)
    page.ask("explorer.open_channel(411, 'block4_conv2')\nNone")
    assert_stays(page, "block4_conv2", 411)
    # A linked explorer follows the jump, the way back (Backspace), and the reset (R).
    assert_stays(page, "block4_conv2", 411, "other")
    page.click_canvas((0.93, 0.97))
    page.page.keyboard.press("Backspace")
    assert_stays(page, "block1_conv2", 5)
    assert_stays(page, "block1_conv2", 5, "other")
    page.ask("other.layer, other.channel = 'block5_conv1', 300\nNone")
    assert_stays(page, "block5_conv1", 300)
    page.page.keyboard.press("r")
    assert_stays(page, "block1_conv2", 5)
    assert_stays(page, "block1_conv2", 5, "other")

    # Playing through the layers, a channel that a layer lacks becomes its last channel.
    page.ask("explorer.layer, explorer.channel = 'block5_pool', 300\nNone")
    page.click_button("Play")
    page.select("through", "the layers")
    page.check("repeat")
    page.click_button("play")
    page.wait_value("explorer.layer", "block1_conv1")
    page.click_button("pause")
    page.wait_value("explorer.channel", 63)
    layer = page.ask("explorer.layer")
    assert_stays(page, layer, 63)
    unharmed(page)


def test_a_location_is_the_same_place_in_a_smaller_map(lab: OpenNotebook) -> None:
    page = lab(DEEP, "explorer.panel, explorer.location = 'Location', (20, 90)")
    expect(page.control("column").locator("input")).to_have_value("90")
    for layer in ("block4_conv1", "block5_pool"):
        page.ask(f"explorer.layer = {layer!r}\nNone")
        row, column = page.ask("list(explorer.location)")
        expect(page.control("row").locator("input")).to_have_value(str(row))
        expect(page.control("column").locator("input")).to_have_value(str(column))
        top, left, bottom, right = field(layer, row, column, SHAPE)
        assert top <= 20 < bottom
        assert left <= 90 < right
        assert page.ask("list(explorer.location)") == [row, column]
        assert row < page.ask(f"explorer.activations.shape({layer!r})[0]") - 1
        page.wait_picture_equal(CANVAS)
    unharmed(page)


def test_a_comparison_and_an_atlas_land_on_their_channel(lab: OpenNotebook, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 3)
    pair = """
from vgg_widget import ChannelAtlas, FeatureExtractor, compare, sample_image
from vgg_widget.dataset import top_activations
extractor = FeatureExtractor("random", size=64)
photo = sample_image()
explorer = compare(photo, photo[::-1], extractor=extractor, layer="block2_conv1", channel=100)
explorer
"""
    atlas = f"""
top = top_activations(extractor, {json.dumps(str(tmp_path / "pictures"))}, progress=False)
atlas = ChannelAtlas(top, layer="block5_conv2", channel=350)
atlas
"""
    page = lab(pair, atlas, viewport=(1400, 1400))
    assert_stays(page, "block2_conv1", 100)
    page.ask("explorer.open_channel(9, 'block1_conv1')\nNone")
    assert_stays(page, "block1_conv1", 9)
    page.ask("explorer.back()\nNone")
    assert_stays(page, "block2_conv1", 100)

    number = page.control("channel number", 1).locator("input")
    expect(number).to_have_value("350")
    page.ask(
        "with atlas.hold_trait_notifications():\n    atlas.layer, atlas.channel = 'block1_conv2', 7"
    )
    expect(number).to_have_value("7")
    assert page.ask("[atlas.layer, atlas.channel]") == ["block1_conv2", 7]
    wait_words(page, "caption", "block1_conv2 channel 7 of 64", 1)
    unharmed(page)

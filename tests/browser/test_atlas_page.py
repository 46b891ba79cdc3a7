"""Tests of a set's strongest patches on the page, in an explorer and in a `ChannelAtlas`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.made_pictures import write_pictures

from .actions import ACTION_SECONDS
from .desk import OpenNotebook
from .page import NotebookPage
from .sight import CANVAS, picture_in, unharmed, wait_words

pytestmark = pytest.mark.browser

# A page narrower than a figure with its toolbar.
NARROW = (700, 900)

SET = """
from vgg_widget import ChannelAtlas, FeatureExtractor, LayerExplorer, load_image, sample_image
from vgg_widget.dataset import TopActivations, top_activations
extractor = FeatureExtractor("random", size=64)
layers = ["block2_conv2", "block4_conv1"]
top = top_activations(extractor, {folder}, layers=layers, k=9, progress=False)
"""
EXPLORER = """
explorer = LayerExplorer(
    sample_image(), extractor=extractor, layer="block2_conv2", channel=11, top_images=top
)
explorer
"""
ATLAS = """
top.save("top.npz")
atlas = ChannelAtlas(TopActivations.load("top.npz"), layer="block2_conv2", channel=11)
atlas
"""

# Returns the name, value and pixels of a patch, cut from its file by the result's arrays.
CUT = """
import numpy as np
from PIL import Image
def _cut(layer, channel, rank):
    found = top[layer]
    place = int(found.images[channel, rank])
    first, left, last, right = found.boxes[channel, rank]
    height, width = (int(side) for side in top.seen.sizes[place, :2])
    with Image.open(top.seen.paths[place]) as picture:
        seen = picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    patch = np.asarray(seen)[first:last, left:right]
    return [top.images[place], float(found.values[channel, rank]), patch.tolist()]
"""


def assert_patches(page: NotebookPage, cards: Locator, layer: str, channel: int) -> list[str]:
    """Assert that the cards show the files' pixels, and return the files' names."""
    names, colours = [], 0
    for rank, card in enumerate(cards.all()):
        name, value, pixels = page.ask(f"{CUT}\n_cut({layer!r}, {channel}, {rank})")
        expect(card).to_contain_text(f"{value:.4g}", timeout=1000 * ACTION_SECONDS)
        expect(card).to_contain_text(Path(name).name)
        patch, shown = np.array(pixels, np.uint8), picture_in(card.locator("img"))
        # Each pixel is enlarged to a square.
        times = shown.shape[0] // patch.shape[0]
        np.testing.assert_array_equal(shown, patch.repeat(times, 0).repeat(times, 1))
        names.append(name)
        colours += len(np.unique(patch.reshape(-1, 3), axis=0))
    # Patches of few colours could be confused with one another.
    assert colours > 100
    return names


def assert_within_page(page: NotebookPage, cards: Locator, width: int) -> None:
    for card in cards.all():
        box = card.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


@pytest.mark.slow
def test_patches_are_shown_and_chosen(lab: OpenNotebook, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 40)
    page = lab(SET.format(folder=json.dumps(str(folder))), EXPLORER)
    first = page.wait_picture_equal(CANVAS)
    cards = page.page.locator(".vgg-explorer .vgg-line:visible:has(img)")
    expect(cards).to_have_count(9)
    # The panel is open from the start.
    unfold = page.page.locator(".vgg-unfold", has_text="Strongest")
    expect(unfold).to_have_attribute("aria-expanded", "true")
    assert_patches(page, cards, "block2_conv2", 11)
    cards.last.scroll_into_view_if_needed()
    page.screenshot("lab-strongest")

    # The patches are updated once the slider rests.
    page.press_slider("channel", ["ArrowRight"] * 3)
    page.wait_value("explorer.channel", 14)
    second = page.wait_picture_equal(CANVAS, unlike=first)
    expect(page.page.locator(".vgg-waiting")).to_have_count(0)
    expect(page.page.get_by_text("block2_conv2 channel 14: the 9 strongest")).to_be_visible()
    names = assert_patches(page, cards, "block2_conv2", 14)
    page.select("layer", "block4_conv1")
    expect(page.page.get_by_text("block4_conv1 channel 14: the 9 strongest")).to_be_visible()
    assert_patches(page, cards, "block4_conv1", 14)
    page.select("layer", "block2_conv2")
    expect(page.page.get_by_text("block2_conv2 channel 14: the 9 strongest")).to_be_visible()

    # A click on a picture does the same as its button, which the keyboard can reach.
    image = cards.nth(1).locator("img")
    assert (image.get_attribute("title") or "").startswith(f"{names[1]}, ")
    image.click()
    path = json.dumps(str(folder / names[1]))
    page.wait_value(f"(explorer.image.tolist() == load_image({path}).tolist())", value=True)
    page.wait_value(
        "[explorer.layer, explorer.channel, explorer.mode]", ["block2_conv2", 14, "channel"]
    )
    third = page.wait_picture_equal(CANVAS, unlike=second)
    button = cards.nth(0).locator("button")
    button.focus()
    page.page.keyboard.press("Enter")
    path = json.dumps(str(folder / names[0]))
    page.wait_value(f"(explorer.image.tolist() == load_image({path}).tolist())", value=True)
    page.wait_picture_equal(CANVAS, unlike=third)
    # The button keeps the focus.
    expect(button).to_be_focused()
    page.select("mode", "max")
    expect(page.page.get_by_text("Mode max shows several channels at once")).to_be_visible()
    expect(cards).to_have_count(0)
    page.select("mode", "channel")
    expect(cards).to_have_count(9)
    page.page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    page.page.wait_for_timeout(500)
    cards.last.scroll_into_view_if_needed()
    page.screenshot("lab-strongest-narrow")
    assert_within_page(page, cards, NARROW[0])
    unharmed(page)


@pytest.mark.slow
def test_an_atlas_can_be_browsed(lab: OpenNotebook, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 40)
    page = lab(SET.format(folder=json.dumps(str(folder))), ATLAS)
    cards = page.page.locator(".vgg-explorer .widget-vbox:visible:has(> img)")
    expect(cards).to_have_count(9)
    assert_patches(page, cards, "block2_conv2", 11)
    page.screenshot("lab-atlas")
    page.press_slider("channel", ["ArrowRight"] * 2)
    page.wait_value("atlas.channel", 13)
    wait_words(page, "caption", "block2_conv2 channel 13 of 128: over 40 images")
    expect(page.page.get_by_text("Channel 13: the images")).to_be_visible()
    expect(page.page.locator(".vgg-waiting")).to_have_count(0)
    assert_patches(page, cards, "block2_conv2", 13)
    page.select("order", "value")
    page.page.locator(".noUi-handle").first.focus()
    page.page.keyboard.press("Home")
    best = page.ask("top['block2_conv2'].values[:, 0].argmax()")
    page.wait_value("atlas.channel", best)
    page.select("layer", "block4_conv1")
    page.type_into("channel number", "300")
    wait_words(page, "caption", "block4_conv1 channel 300 of 512")
    bars = page.page.locator(".vgg-explorer svg[role=img] rect")
    counts = page.ask("[int(one) for one in top['block4_conv1'].histogram[300] if one]")
    expect(bars).to_have_count(len(counts))
    page.page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    page.page.wait_for_timeout(500)
    page.screenshot("lab-atlas-narrow")
    assert_within_page(page, cards, NARROW[0])
    unharmed(page)

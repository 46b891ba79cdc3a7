"""The panels Display, Circuit and Play under the picture, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from .actions import ACTION_SECONDS
from .desk import OpenNotebook
from .page import NotebookPage
from .sight import (
    CANVAS,
    EXPLORER,
    LAYER,
    MAP,
    center,
    leave_picture,
    picture_in,
    pixels_of,
    side_of,
    unharmed,
    wait_words,
)

pytestmark = pytest.mark.browser

# Height in pixels of the footer with the source of the numbers, in a saved picture.
FOOT = 16

# Where values are on the visible colorbar, from the canvas's top left corner.
ON_BAR = """
def _on_bar(places):
    (bar,) = [
        axes for outer in explorer.figure.axes for axes in outer.child_axes
        if axes.get_visible() and axes.get_ylabel()
    ]
    box, height = bar.get_window_extent(), explorer.figure.bbox.height
    across = (box.x0 + box.x1) / 2
    rows = [height - bar.transAxes.transform((0, place))[1] for place in places]
    ticks = [(float(tick), number.get_text()) for tick, number in
             zip(bar.lines[0].get_ydata(), bar.texts)]
    return [across, rows, ticks]
"""


def assert_scaled(page: NotebookPage, cmap: str, top: float, gamma: float = 1) -> None:
    """Assert that map and colorbar show values as colours from 0 (or -top) to top."""
    pixels, shown = pixels_of(page), side_of(page, MAP)
    values = np.array(page.ask("explorer.rendering.values.tolist()"))
    bottom = -top if values.min() < 0 else 0.0
    within = np.argwhere((values > bottom + 0.05 * top) & (values < 0.95 * top))
    chosen = within[:: max(1, len(within) // 12)]
    assert len(chosen) > 5

    def place_of(value: float) -> float:
        bent = float(np.sign(value) * abs(value / top) ** gamma)
        return (bent + 1) / 2 if bottom else bent

    places = [place_of(value) for value in values[*chosen.T]]
    across, rows, ticks = page.ask(f"{ON_BAR}\n_on_bar({places})")
    for (row, column), place, height in zip(chosen.tolist(), places, rows, strict=True):
        expected = np.array(mpl.colormaps[cmap](place, bytes=True)[:3], int)
        assert np.abs(shown.colour(pixels, *center(LAYER, row, column)) - expected).max() <= 4
        assert np.abs(pixels[round(height), round(across)].astype(int) - expected).max() <= 10
    # Each number on the bar is at the place of its activation.
    numbers = [float(label.replace(",", "")) for _, label in ticks]
    assert [tick for tick, _ in ticks] == pytest.approx([place_of(number) for number in numbers])


@pytest.mark.slow
def test_contrast_scale_and_the_side_of_the_relu(lab: OpenNotebook) -> None:
    counting = """
from vgg_widget import FeatureExtractor
passes, run = [], FeatureExtractor.__call__
FeatureExtractor.__call__ = lambda *given: passes.append(1) or run(*given)
"""
    page = lab(EXPLORER, counting, fresh=True)
    picture = page.wait_picture_equal(CANVAS)
    page.click_button("Display")
    percentile = (
        "import numpy\n"
        f"maps = explorer.activations['{LAYER}']\n"
        "def top(maps, percent): return numpy.percentile(maps[maps > 0], percent).item()\n"
    )
    assert_scaled(page, "viridis", page.ask(f"{percentile}top(maps, 99.9)"))
    page.select("range", "this picture, to the max")
    page.wait_value("explorer.scale", "channel")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert_scaled(page, "viridis", page.ask("maps[..., 7].max().item()"))
    histogram = page.page.locator("svg[aria-label^='number of values']")
    expect(histogram).to_have_attribute("aria-label", re.compile(r"; 0\.0% beyond it$"))
    page.screenshot("lab-display")

    page.type_into("percentile", "50")
    page.wait_value("explorer.percentile", 50.0)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    top = page.ask("top(maps[..., 7], 50)")
    assert_scaled(page, "viridis", top)
    beyond = page.ask(f"float((maps[..., 7] > {top}).mean())")
    assert beyond > 0.2
    expect(histogram).to_have_attribute("aria-label", re.compile(rf"; {beyond:.1%} beyond it$"))
    page.press_slider("gamma", ["ArrowLeft"] * 6)
    page.wait_value("round(explorer.gamma, 2)", 0.7)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert_scaled(page, "viridis", top, gamma=0.7)

    page.click_canvas((0.93, 0.97))
    page.page.keyboard.press("r")
    page.wait_value("[explorer.gamma, explorer.percentile, explorer.scale]", [None, None, "layer"])
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    page.page.keyboard.press("b")
    page.wait_value("[explorer.before_relu, explorer.cmap]", [True, "coolwarm"])
    before = page.wait_picture_equal(CANVAS, unlike=picture)
    maps = f"explorer.activations[explorer.activations.before_relu('{LAYER}')]"
    assert page.ask(f"({maps}.clip(0) == maps).all().item() and {maps}.min().item() < 0")
    signed = page.ask(f"top(abs({maps}), 99.9)")
    assert_scaled(page, "coolwarm", signed)
    across, (zero,), _ = page.ask("_on_bar([0.5])")
    # 0 is in the middle of the bar, and neutral grey.
    _, highest, _, lowest = side_of(page, MAP).pixels
    assert zero == pytest.approx((highest + lowest) / 2, abs=2)
    assert np.ptp(pixels_of(page)[round(zero), round(across)].astype(int)) <= 4
    page.screenshot("lab-before-relu")
    box = page.control("before ReLU").locator("input")
    expect(box).to_be_checked()
    box.uncheck()
    page.wait_value("explorer.cmap", "viridis")
    assert page.wait_picture_equal(CANVAS, unlike=before) == picture
    assert page.ask("passes") == []
    unharmed(page)


def test_a_circuit_is_walked_down_and_back(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    first = page.wait_picture_equal(CANVAS)
    page.click_button("Circuit")
    best = page.ask(
        f"kernels = explorer.extractor.model.get_layer('{LAYER}').kernel.numpy()[..., 7]\n"
        "norms = (kernels ** 2).sum((0, 1)) ** 0.5; best = (-norms).argsort()[:6]\n"
        "[best.tolist(), norms[best].tolist(), kernels[..., best[0]].tolist()]"
    )
    cards = page.page.locator(".vgg-explorer .widget-vbox:has(> img):has(> button)")
    expect(cards).to_have_count(6)
    expect(cards.locator("button")).to_have_text([f"channel {number}" for number in best[0]])
    for card, norm in zip(cards.all(), best[1], strict=True):
        assert f"norm {norm:.2g}" in card.inner_text()
        for image in card.locator("img").all():
            box = image.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) > 60
    # The colours show the signs of the weights.
    kernel = picture_in(cards.first.locator("img").first).astype(int)
    height, width = kernel.shape[:2]
    for (row, column), weight in np.ndenumerate(np.array(best[2])):
        red, _, blue = kernel[int((row + 0.5) * height / 3), int((column + 0.5) * width / 3)]
        assert (red > blue) == (weight > 0)
    # The map of the input channel, which the picture shows once that channel is opened.
    small = picture_in(cards.first.locator("img").last).astype(int)
    page.screenshot("lab-circuit")

    cards.first.locator("button").click()
    wait_words(page, "caption", f"block2_pool · 28 × 24 × 128 · channel {best[0][0]} ")
    second = page.wait_picture_equal(CANVAS, unlike=first)
    pixels, shown = pixels_of(page), side_of(page, MAP)
    height, width = small.shape[:2]
    for row, column in ((3, 4), (14, 12), (20, 7), (26, 22)):
        there = small[int((row + 0.5) * height / 28), int((column + 0.5) * width / 24)]
        # The thumbnail has the same colours and scale.
        colour = shown.colour(pixels, 4 * column + 1.5, 4 * row + 1.5)
        assert np.abs(there - colour).max() <= 8
    # A pool works on each channel separately, so its circuit has a single input channel.
    expect(page.page.get_by_text("without a kernel")).to_be_visible()
    page.click_button(f"channel {best[0][0]}")
    wait_words(page, "caption", "block2_conv2 · 56 × 48 × 128")
    third = page.wait_picture_equal(CANVAS, unlike=second)
    page.click_button("back")
    assert page.wait_picture_equal(CANVAS, unlike=third) == second
    page.click_button("back")
    assert page.wait_picture_equal(CANVAS, unlike=second) == first
    expect(page.page.get_by_role("button", name="back", exact=True)).to_be_enabled()

    # With a location chosen, each card gives its contribution there.
    page.click_canvas(side_of(page, MAP).point(*center(LAYER, 9, 5)))
    expect(cards.first).to_contain_text("adds ")
    total = page.ask(f"explorer.activations['{LAYER}'][9, 5, 7].item()")
    expect(page.page.get_by_text(f"add up to {total:.3g}")).to_be_visible()
    # The first layer's inputs are the colours of the image.
    page.select("layer", "┌ block1_conv1")
    expect(cards).to_have_count(6)
    expect(cards.locator("button:visible")).to_have_text(["red", "green", "blue"])
    unharmed(page)


def wait_channel(page: NotebookPage, first: int) -> None:
    """Wait until the caption names channel `first` or a later one."""
    page.page.wait_for_function(
        "first => / channel (\\d+)/.exec("
        "document.querySelector('.vgg-caption').innerText)[1] >= first",
        arg=first,
        timeout=1000 * ACTION_SECONDS,
    )


@pytest.mark.slow
def test_it_plays_follows_the_slider_and_saves_a_gif(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(EXPLORER)
    first = page.wait_picture_equal(CANVAS)
    page.click_button("Play")
    page.click_button("play")
    wait_channel(page, 10)
    # Playing continues from where the slider is dragged to.
    page.drag_slider("channel", 0.5)
    wait_channel(page, 131)
    page.click_button("pause")
    expect(page.page.get_by_role("button", name="play", exact=True)).to_be_visible()
    page.wait_value("explorer.panel", "Play")
    page.page.wait_for_timeout(300)
    channel = page.ask("explorer.channel")
    assert 131 <= channel < 180
    paused = page.wait_picture_equal(CANVAS, unlike=first)
    page.page.wait_for_timeout(700)
    assert page.ask("explorer.channel") == channel
    assert page.wait_picture_equal(CANVAS) == paused
    assert page.control("channel number").locator("input").input_value() == str(channel)

    page.select("through", "the layers")
    page.select("speed", "10 a second")
    page.click_button("play")
    wait_words(page, "caption", "block5_pool · 3 × 3 × 512")
    expect(page.page.get_by_role("button", name="play", exact=True)).to_be_visible()
    page.wait_picture_equal(CANVAS, unlike=paused)
    leave_picture(page)
    with page.page.expect_download() as download:
        page.click_button("save as GIF")
    gif = tmp_path / "walk.gif"
    download.value.save_as(gif)
    assert download.value.suggested_filename.endswith(".gif")
    shown = page.wait_picture_equal(CANVAS)
    with Image.open(gif) as picture:
        assert getattr(picture, "n_frames", 1) == 21
        durations, frames = [], []
        for number in range(21):
            picture.seek(number)
            durations.append(picture.info["duration"])
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    assert set(durations) == {100}
    # The last frame equals the picture on the page, except for the palette and the footer.
    height, width, _ = frames[-1].shape
    assert (width, height - shown.height) == (shown.width, FOOT)
    kernels = pixels_of(page, painted=False)
    assert np.abs(frames[-1][: shown.height] - kernels)[:-FOOT].mean() < 3
    assert np.abs(frames[-1] - frames[0])[:-FOOT].mean() > 3
    expect(page.page.get_by_role("button", name="save as GIF")).to_be_enabled()
    # Opening another panel pauses it.
    page.select("through", "the channels of this layer")
    page.click_button("play")
    wait_channel(page, channel + 2)
    page.click_button("Display")
    page.page.wait_for_timeout(300)
    resting = page.ask("explorer.channel")
    page.page.wait_for_timeout(500)
    assert page.ask("explorer.channel") == resting
    unharmed(page)

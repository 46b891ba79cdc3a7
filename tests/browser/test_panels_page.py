"""What unfolds under the picture, as a person uses it: each panel's gestures, in a real browser."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

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
    HINT,
    INPUT,
    LAYER,
    MAP,
    RGB8,
    assert_framed,
    center,
    field,
    leave_picture,
    picture_in,
    pixels_of,
    side_of,
    unharmed,
    wait_words,
    words,
)

pytestmark = pytest.mark.browser

# Where a value is on the colorbar on show, from the top left corner of the canvas.
ON_BAR = """
def _on_bar(values):
    (bar,) = [
        axes for axes in explorer.figure.axes if axes.get_visible() and axes.get_ylabel()
    ]
    box, height = bar.get_window_extent(), explorer.figure.bbox.height
    across = (box.x0 + box.x1) / 2
    rows = [height - bar.transData.transform((0, value))[1] for value in values]
    ticks = [(float(tick), label.get_text()) for tick, label in
             zip(bar.get_yticks(), bar.get_yticklabels())]
    return [across, rows, ticks]
"""
RED = (217, 48, 37)


def clipped(pixels: RGB8) -> int:
    """Count the pixels that mark what the colours cut off."""
    return int((np.abs(pixels.astype(int) - RED).max(axis=-1) <= 4).sum())


def assert_scaled(page: NotebookPage, cmap: str, top: float, gamma: float = 1) -> None:
    """Assert that map and colorbar show values as colours from 0 (or -top) to top."""
    pixels, shown = pixels_of(page), side_of(page, MAP)
    values = np.array(page.ask("explorer.rendering.values.tolist()"))
    bottom = -top if values.min() < 0 else 0.0
    within = np.argwhere((values > bottom + 0.05 * top) & (values < 0.95 * top))
    chosen = within[:: max(1, len(within) // 12)]
    assert len(chosen) > 5
    across, rows, ticks = page.ask(f"{ON_BAR}\n_on_bar({values[*chosen.T].tolist()})")
    for (row, column), height in zip(chosen.tolist(), rows, strict=True):
        value = values[row, column]
        bent = np.sign(value) * abs(value / top) ** gamma
        place = (bent + 1) / 2 if bottom else bent
        expected = np.array(mpl.colormaps[cmap](place, bytes=True)[:3], int)
        assert np.abs(shown.colour(pixels, *center(LAYER, row, column)) - expected).max() <= 4
        assert np.abs(pixels[round(height), round(across)].astype(int) - expected).max() <= 10
    # The bar's numbers are activations.
    assert [float(label.replace("−", "-")) for _, label in ticks] == pytest.approx(
        [tick for tick, _ in ticks]
    )


def test_contrast_scale_and_the_side_of_the_relu(lab: OpenNotebook) -> None:
    counting = """
from vgg_widget import FeatureExtractor
passes, run = [], FeatureExtractor.__call__
FeatureExtractor.__call__ = lambda *given: passes.append(1) or run(*given)
"""
    page = lab(EXPLORER, counting)
    picture = page.wait_picture_equal(CANVAS)
    page.click_button("Display")
    percentile = (
        "import numpy\n"
        f"maps = explorer.activations['{LAYER}']\n"
        "def top(maps, percent): return numpy.percentile(maps[maps > 0], percent).item()\n"
    )
    assert_scaled(page, "viridis", page.ask(f"{percentile}top(maps, 99.9)"))
    page.select("scale", "channel")
    page.wait_value("explorer.scale", "channel")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert_scaled(page, "viridis", page.ask("maps[..., 7].max().item()"))
    assert clipped(pixels_of(page)) == 0
    page.screenshot("lab-display")

    page.type_into("percentile", "50")
    page.wait_value("explorer.percentile", 50.0)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    top = page.ask("top(maps[..., 7], 50)")
    assert_scaled(page, "viridis", top)
    assert clipped(pixels_of(page)) > 20
    page.press_slider("gamma", ["ArrowLeft"] * 6)
    page.wait_value("round(numpy.log10(explorer.gamma), 2).item()", -0.3)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert_scaled(page, "viridis", top, gamma=10**-0.3)

    page.click_canvas((0.93, 0.97))
    page.page.keyboard.press("r")
    page.wait_value("[explorer.gamma, explorer.percentile, explorer.scale]", [1.0, None, "layer"])
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    page.page.keyboard.press("b")
    page.wait_value("[explorer.before_relu, explorer.cmap]", [True, "coolwarm"])
    before = page.wait_picture_equal(CANVAS, unlike=picture)
    maps = f"explorer.activations[explorer.activations.before_relu('{LAYER}')]"
    assert page.ask(f"({maps}.clip(0) == maps).all().item() and {maps}.min().item() < 0")
    signed = page.ask(f"top(abs({maps}), 99.9)")
    assert_scaled(page, "coolwarm", signed)
    across, (zero,), _ = page.ask("_on_bar([0])")
    # The middle of the bar, in the map's neutral grey.
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
    # The signs of the weights are to be seen.
    kernel = picture_in(cards.first.locator("img").first).astype(int)
    height, width = kernel.shape[:2]
    for (row, column), weight in np.ndenumerate(np.array(best[2])):
        red, _, blue = kernel[int((row + 0.5) * height / 3), int((column + 0.5) * width / 3)]
        assert (red > blue) == (weight > 0)
    # The input's own map, as the picture shows it once it is opened.
    small = picture_in(cards.first.locator("img").last).astype(int)
    page.screenshot("lab-circuit")

    cards.first.locator("button").click()
    wait_words(page, "caption", f"block2_pool · 28 × 24 × 128 · channel {best[0][0]} ")
    second = page.wait_picture_equal(CANVAS, unlike=first)
    pixels, shown = pixels_of(page), side_of(page, MAP)
    height, width = small.shape[:2]
    for row, column in ((3, 4), (14, 12), (20, 7), (26, 22)):
        there = small[int((row + 0.5) * height / 28), int((column + 0.5) * width / 24)]
        # A small picture has the same colours on the same scale.
        colour = shown.colour(pixels, 4 * column + 1.5, 4 * row + 1.5)
        assert np.abs(there - colour).max() <= 8
    # A pool works on each channel alone: one way down from here.
    expect(page.page.get_by_text("without a kernel")).to_be_visible()
    page.click_button(f"channel {best[0][0]}")
    wait_words(page, "caption", "block2_conv2 · 56 × 48 × 128")
    third = page.wait_picture_equal(CANVAS, unlike=second)
    page.click_button("back")
    assert page.wait_picture_equal(CANVAS, unlike=third) == second
    page.click_button("back")
    assert page.wait_picture_equal(CANVAS, unlike=second) == first
    expect(page.page.get_by_role("button", name="back", exact=True)).to_be_disabled()

    # With a location chosen, each says what it adds there.
    page.click_canvas(side_of(page, MAP).point(*center(LAYER, 9, 5)))
    expect(cards.first).to_contain_text("adds ")
    total = page.ask(f"explorer.activations['{LAYER}'][9, 5, 7].item()")
    expect(page.page.get_by_text(f"add up to {total:.3g}")).to_be_visible()
    # The first layer reads the picture itself.
    page.select("layer", "┌ block1_conv1")
    expect(cards).to_have_count(6)
    expect(cards.locator("button:visible")).to_have_text(["red", "green", "blue"])
    unharmed(page)


def wait_channel(page: NotebookPage, first: int) -> None:
    """Wait until the page's words are about this channel, or one after it."""
    page.page.wait_for_function(
        "first => / channel (\\d+) /.exec("
        "document.querySelector('.vgg-caption').innerText)[1] >= first",
        arg=first,
        timeout=1000 * ACTION_SECONDS,
    )


def test_it_plays_pauses_follows_and_becomes_a_gif(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(EXPLORER)
    first = page.wait_picture_equal(CANVAS)
    page.click_button("Play")
    page.click_button("play")
    wait_channel(page, 10)
    # Who moves the slider meanwhile is followed.
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
    # Its last frame is what the page shows, but for the palette and the line at the foot.
    assert frames[-1].shape == (shown.height, shown.width, 3)
    above = int(0.94 * shown.height)
    assert np.abs(frames[-1] - pixels_of(page))[:above].mean() < 3
    assert np.abs(frames[-1] - frames[0])[:above].mean() > 3
    expect(page.page.get_by_role("button", name="save as GIF")).to_be_enabled()
    # Another panel makes it rest.
    page.select("through", "the channels of this layer")
    page.click_button("play")
    wait_channel(page, channel + 2)
    page.click_button("Display")
    page.page.wait_for_timeout(300)
    resting = page.ask("explorer.channel")
    page.page.wait_for_timeout(500)
    assert page.ask("explorer.channel") == resting
    unharmed(page)


def read(page: NotebookPage, button: str) -> tuple[str, bytes]:
    """Press a button that saves, and return the name and content of what is downloaded."""
    with page.page.expect_download() as download:
        page.click_button(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_a_picture_is_opened_and_everything_taken_away(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(EXPLORER, "explorer.location = (9, 5)")
    first = page.wait_picture_equal(CANVAS)
    page.click_button("Open & save")

    name, png = read(page, "save PNG")
    assert name == f"{LAYER}-channel7.png"
    with Image.open(io.BytesIO(png)) as saved:
        same = np.asarray(saved.convert("RGB"))
    # The line at the foot apart, what is seen is what is saved, marks and all.
    above = int(0.94 * first.height)
    assert (same[:above] == pixels_of(page)[:above]).all()
    assert_framed(same, side_of(page, INPUT), field(LAYER, 9, 5, (112, 96)))
    name, svg = read(page, "save SVG")
    assert name == f"{LAYER}-channel7.svg"
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    name, pdf = read(page, "save PDF")
    assert name == f"{LAYER}-channel7.pdf"
    assert pdf.startswith(b"%PDF-")
    assert b"%%EOF" in pdf[-32:]
    page.click_button("save arrays (.npz)")
    arrays = page.server.notebooks / f"{LAYER}-channel7.npz"
    expect(page.page.get_by_text(f"Saved as {arrays}.")).to_be_visible()
    assert page.ask(
        "import vgg_widget\n"
        f"again = vgg_widget.Activations.load({json.dumps(str(arrays))})\n"
        "all((again[name] == explorer.activations[name]).all() for name in explorer.activations)"
    )

    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    code = page.ask("explorer.to_code()")
    page.click_button("copy code")
    page.page.wait_for_function(
        "async code => await navigator.clipboard.readText() === code",
        arg=code,
        timeout=1000 * ACTION_SECONDS,
    )
    page.click_button("show code")
    area = page.page.locator(".vgg-explorer textarea:visible")
    expect(area).to_have_value(code)
    page.screenshot("lab-files")
    page.click_button("show code")
    expect(area).to_have_count(0)

    # A wrong path is told, and nothing is lost.
    page.type_into("picture", "/nowhere/cat.jpg")
    told = wait_words(page, "problem", "/nowhere/cat.jpg")
    assert told.count(".") <= 3
    assert page.wait_picture_equal(CANVAS) == first
    page.type_into("channel number", "8")
    wait_words(page, "caption", "channel 8 ")
    expect(words(page, "problem")).to_be_hidden()
    page.wait_picture_equal(CANVAS, unlike=first)
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, np.newaxis], 120, axis=1)
    Image.fromarray(ramp).save(page.server.notebooks / "a ramp.png")
    Image.fromarray(ramp.T).save(tmp_path / "wide.png")
    page.type_into("picture", "a ramp.png")
    page.wait_value("list(explorer.image.shape)", [200, 120, 3])
    second = page.wait_picture_equal(CANVAS, unlike=first)
    page.type_into("picture", str(tmp_path / "wide.png"))
    page.wait_value("list(explorer.image.shape)", [120, 200, 3])
    wide = page.wait_picture_equal(CANVAS, unlike=second)
    # Its own pixels are on show.
    shown, pixels = side_of(page, INPUT), pixels_of(page)
    greys = [shown.colour(pixels, x, 48) for x in (8, 40, 80, 120, 150)]
    expected = [200 * (x + 0.5) / 160 for x in (8, 40, 80, 120, 150)]
    assert all(np.ptp(grey) == 0 for grey in greys)
    assert [int(grey[0]) for grey in greys] == pytest.approx(expected, abs=4)

    page.select("mode", "max")
    page.select("colormap", "magma")
    page.wait_picture_equal(CANVAS, unlike=wide)
    page.click_button("reset")
    wait_words(page, "caption", "channel 7 ")
    wait_words(page, "place", HINT)
    page.wait_value(
        "[explorer.mode, explorer.cmap, explorer.location]", ["channel", "viridis", None]
    )
    page.wait_picture_equal(CANVAS)
    # Still the last picture.
    assert page.ask("list(explorer.image.shape)") == [120, 200, 3]
    unharmed(page)


def corner(page: NotebookPage) -> list[int]:
    found = pixels_of(page)[1, 1].tolist()
    assert isinstance(found, list)
    return found


def test_the_open_panel_is_remembered_and_the_theme_followed(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.wait_picture_equal(CANVAS)
    assert not page.control("gamma").is_visible()
    page.click_button("Display")
    expect(page.control("gamma")).to_be_visible()
    # Who runs the cell again goes on where he was.
    page.run_all()
    light = page.wait_picture_equal(CANVAS)
    expect(page.control("gamma")).to_be_visible()
    expect(page.page.get_by_role("button", name="Display")).to_have_attribute(
        "aria-expanded", "true"
    )
    assert corner(page) == [255, 255, 255]

    change = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"
    page.page.evaluate(change, "JupyterLab Dark")
    try:
        page.wait_value("explorer.canvas.figure.get_facecolor()[0] < 0.2", value=True)
        dark = page.wait_picture_equal(CANVAS, unlike=light)
        assert corner(page) == [17, 17, 17]
        page.screenshot("lab-dark")
        # Words and frames are light there, and the pictures the same.
        assert (pixels_of(page)[:, -60:].min(axis=-1) > 200).sum() > 20
        # A theme of one's own is stronger than the page's.
        page.select("theme", "light")
        assert page.wait_picture_equal(CANVAS, unlike=dark) == light
        page.select("theme", "auto")
        assert page.wait_picture_equal(CANVAS, unlike=light) == dark
        # Another channel, painted without drawing all, keeps the colours.
        page.type_into("channel number", "8")
        wait_words(page, "caption", "channel 8 ")
        page.wait_picture_equal(CANVAS, unlike=dark)
        assert corner(page) == [17, 17, 17]
    finally:
        page.page.evaluate(change, "JupyterLab Light")
    page.wait_value("explorer.canvas.figure.get_facecolor()[0]", 1.0)
    page.wait_picture_equal(CANVAS, unlike=dark)
    assert corner(page) == [255, 255, 255]
    page.click_button("Display")
    expect(page.control("gamma")).to_be_hidden()
    page.run_all()
    page.wait_picture_equal(CANVAS)
    expect(page.control("gamma")).to_be_hidden()
    unharmed(page)

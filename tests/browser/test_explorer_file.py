"""The explorer as a single HTML file in a real browser, without kernel, server or network."""

from __future__ import annotations

import base64
import io
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import hsv_to_rgb
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, expect

from tests.explorers import field_of
from vgg_widget import (
    Activations,
    FeatureExtractor,
    LayerInfo,
    render,
    sample_image,
    telling_channels,
)
from vgg_widget.cli import main
from vgg_widget.images import RGB8
from vgg_widget.page.document import MODES
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.colormaps import find_cmap

from .desk import launch

pytestmark = pytest.mark.browser

PIXELS = """() => {
  const map = document.getElementById("map");
  const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
  let letters = "";
  for (const byte of data) letters += String.fromCharCode(byte);
  return [map.height, map.width, btoa(letters)];
}"""
# The frame's pixels on the input, in fractions of its width and height.
YELLOW = """() => {
  const marks = document.querySelector("#input .marks");
  const { width, height } = marks;
  const { data } = marks.getContext("2d").getImageData(0, 0, width, height);
  const found = [];
  for (let n = 0; n < width * height; n++)
    if (data[4 * n] > 200 && data[4 * n + 1] > 200)
      found.push([(n % width) / width, Math.floor(n / width) / height]);
  return found;
}"""
DONE = "main#explorer[aria-busy='false']"
GAMMA = {"auto": 0.6, "channel": 1.0, "layer": 1.0, "network": 1.0}


def picture_of(found: tuple[int, int, str]) -> RGB8:
    """Return the RGBA pixels that `PIXELS` encodes."""
    rows, columns, letters = found
    return np.frombuffer(base64.b64decode(letters), np.uint8).reshape(rows, columns, 4)


class Opened:
    """A saved page in the browser, with its requests and its errors."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.path = path
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.set_viewport_size({"width": 1280, "height": 1000})
        self.page.goto(path.as_uri())
        expect(self.page.locator(DONE)).to_be_visible()

    def _on_console(self, message: ConsoleMessage) -> None:
        # The tests themselves cause the warning about canvas readback.
        if message.type in ("error", "warning") and "readback" not in message.text:
            self.errors.append(message.text)

    def show(self, title: str, **traits: object) -> RGB8:
        """Set the address, wait for the picture with this title, and return its pixels."""
        query = "&".join(f"{name}={value}" for name, value in traits.items())
        self.page.evaluate(f"location.hash = '{query}'")
        return self.pixels(title)

    def pixels(self, title: str) -> RGB8:
        """Wait for the picture with this title, and return its pixels."""
        expect(self.page.locator("#title")).to_have_text(title)
        expect(self.page.locator(DONE)).to_be_visible()
        return picture_of(self.page.evaluate(PIXELS))

    def place_text(self) -> str:
        return self.page.locator("#place").inner_text()


@pytest.fixture(scope="module")
def browser(
    chromium: tuple[Playwright, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    context = launch(*chromium, tmp_path_factory.mktemp("profile"))
    context.set_offline(True)
    yield context
    context.close()


@pytest.fixture(scope="module")
def small(photo: RGB8) -> Activations:
    """Return picture-like maps (k-means) of a photo whose sides are not multiples of 32."""
    return FeatureExtractor("kmeans", size=None)(photo)


@pytest.fixture(scope="module")
def opened(
    browser: BrowserContext, small: Activations, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    path = tmp_path_factory.mktemp("page of a cat") / "my cat.html"
    small.to_html(path, title="A cat")
    page = Opened(browser, path)
    yield page
    assert page.errors == []
    assert {address.partition("#")[0] for address in page.requests if address[:5] != "data:"} == {
        path.as_uri()
    }
    page.page.close()


def share(values: npt.NDArray[Any], low: float, high: float, gamma: float) -> npt.NDArray[Any]:
    """Return values as shares of a range with a gamma, see docs/explanation/scales.md."""
    if high <= low:
        return np.zeros(values.shape)
    unit = np.clip((values - low) / (high - low), 0, 1)
    if low < 0:
        return (np.sign(2 * unit - 1) * np.abs(2 * unit - 1) ** gamma + 1) / 2
    return np.asarray(unit**gamma)


def assert_colours(
    pixels: RGB8,
    values: npt.NDArray[Any],
    limits: tuple[float | None, float | None],
    gamma: float,
    *,
    cmap: str = "magma",
    signed: bool = False,
    high: float | None = None,
) -> None:
    """Assert that each pixel has the colour of a value within half a step of the true one.

    A step is one level of the quantized map in the file. `high` is the maximum of the whole map, if
    `values` are only a part of it.
    """
    colormap = find_cmap(cmap)
    table = colormap(np.arange(colormap.N), bytes=True)
    low = float(values.min()) if signed else 0.0
    half = (float(values.max() if high is None else high) - low) / 508 * 1.0001
    first, last = (
        np.minimum(
            (share(values + by, limits[0] or 0, limits[1] or 0, gamma) * colormap.N + nudge).astype(
                int
            ),
            colormap.N - 1,
        )
        for by, nudge in ((-half, -1e-3), (half, 1e-3))
    )
    right = np.zeros(values.shape, bool)
    for entry in range(int((last - first).max()) + 1):
        right |= (table[np.minimum(first + entry, last)] == pixels).all(axis=-1)
    assert right.all(), f"{np.count_nonzero(~right)} of {right.size} pixels differ"


def test_every_layers_channels_have_the_colours_of_their_values(
    opened: Opened, small: Activations
) -> None:
    for place, layer in enumerate(small):
        count = small.shape(layer)[-1]
        # A telling channel, and one of the last, which are in the last piece of the maps.
        for channel in (int(telling_channels(small, layer, 1)[0]), count - 1 - place):
            scale = ["auto", "channel", "layer", "network"][place % 4]
            pixels = opened.show(
                f"{layer} · channel {channel}",
                layer=layer, channel=channel, mode="channel", scale=scale, cmap="magma",
            )  # fmt: skip
            made = render(small, layer, channel=channel, scale=scale)
            assert made.values is not None
            assert_colours(pixels, made.values, (made.vmin, made.vmax), GAMMA[scale])


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_the_colours_of_max_and_mean(opened: Opened, small: Activations, mode: str) -> None:
    for layer in ("block1_conv1", "block3_conv1", "block5_pool"):
        for scale, cmap in (("auto", "viridis"), ("layer", "gray"), ("network", "hot")):
            made = render(small, layer, mode, scale=scale)
            assert made.values is not None
            pixels = opened.show(made.title, layer=layer, mode=mode, scale=scale, cmap=cmap)
            limits = made.vmin, made.vmax
            assert_colours(pixels, made.values, limits, GAMMA[scale], cmap=cmap)


def test_argmax_equals_render_to_the_byte(opened: Opened, small: Activations) -> None:
    for layer in ("block1_conv1", "block3_conv1", "block4_conv2"):
        made = render(small, layer, "argmax")
        np.testing.assert_array_equal(
            opened.show(made.title, layer=layer, mode="argmax"), made.rgba
        )
        listed = opened.page.locator("#bar").get_attribute("aria-label")
        assert listed == f"colours: {', '.join(entry.words for entry in made.legend)}"


@pytest.mark.parametrize("scale", ["auto", "network"])
def test_a_grid_has_every_tile_and_hatches_dead_channels(
    opened: Opened, small: Activations, scale: str
) -> None:
    layer = "block4_conv1"
    made = render(small, layer, "grid", scale=scale)
    assert made.tiles is not None
    pixels = opened.show(made.title, layer=layer, mode="grid", scale=scale)
    assert pixels.shape == made.rgba.shape
    np.testing.assert_array_equal(pixels[..., 3], made.rgba[..., 3])
    dead = 0
    for channel in made.tiles.channels:
        top, left, bottom, right = made.tiles.box(channel)
        tile, values = pixels[top:bottom, left:right], small[layer][..., channel]
        if not values.any():
            dead += 1
            np.testing.assert_array_equal(tile, made.rgba[top:bottom, left:right])
            continue
        limits = render(small, layer, channel=channel, scale=scale)
        assert_colours(tile, values, (limits.vmin, limits.vmax), GAMMA[scale])
    caption = opened.page.locator("#caption").inner_text()
    assert ("channels dead" in caption) == bool(dead)
    if dead:
        assert f"{dead} of 512 channels dead" in caption


@pytest.mark.parametrize("mode", ["rgb", "rainbow", "composite"])
@pytest.mark.parametrize("scale", ["auto", "layer"])
def test_mixes_add_the_same_colours(
    opened: Opened, small: Activations, mode: str, scale: str
) -> None:
    layer = "block2_conv2"
    made = render(small, layer, mode, scale=scale, cmap="magma")
    pixels = opened.show(made.title, layer=layer, mode=mode, scale=scale, cmap="magma")
    maps = small[layer][..., list(made.channels)]
    high = maps.max(axis=(0, 1))
    ends = [render(small, layer, channel=c, scale=scale).vmax or 0 for c in made.channels]
    # Each intensity lies between those of the values half a step below and half a step above.
    bounds = []
    for by in (-1, 1):
        values = maps + by * high / 508
        if mode == "composite":
            values = np.rint(maps / high * 254) / 254 * high
            ends = ends if scale == "auto" else high.tolist()
        gamma = GAMMA[scale]
        units = [share(values[..., k], 0, end, gamma) for k, end in enumerate(ends)]
        if mode == "composite":
            table = find_cmap("magma")(np.arange(256))[:, :3]
            total = np.mean([table[np.minimum((u * 256).astype(int), 255)] for u in units], axis=0)
            strongest = total.max(axis=-1)
            total /= np.percentile(strongest[strongest > 0], 99.5) if scale == "auto" else 1
        else:
            hues = np.arange(len(ends)) / len(ends)
            ones = np.ones(len(ends))
            rainbow = hsv_to_rgb(np.stack([hues, ones, ones], axis=-1))
            total = np.stack(units, axis=-1) @ (rainbow if mode == "rainbow" else np.eye(3))
        bounds.append(255 * np.clip(total, 0, 1))
    beyond = 1.01
    assert (pixels[..., :3] >= bounds[0] - beyond).all()
    assert (pixels[..., :3] <= bounds[1] + beyond).all()
    # On average the picture equals that of `render`.
    assert np.abs(pixels.astype(int) - made.rgba).mean() < 1


def test_values_and_fields_under_the_mouse_both_ways_and_a_click_that_keeps_them(
    opened: Opened, small: Activations
) -> None:
    page, layer, channel = opened.page, "block2_pool", 5
    opened.show(f"{layer} · channel {channel}", layer=layer, channel=channel)
    assert "Point at a picture" in opened.place_text()
    height, width = small.image.shape[:2]
    for row, column in ((0, 0), (7, 11), (15, 17)):
        box = page.locator("#output").bounding_box()
        assert box is not None
        at = (4 * column + 2) / width, (4 * row + 2) / height
        page.mouse.move(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"])
        expect(page.locator("#place")).to_contain_text(f"row {row}, column {column}: ≈ ")
        words = opened.place_text()
        found = re.fullmatch(
            r"row \d+, column \d+: ≈ ([\d.,]+) · sees input rows (\d+)–(\d+), columns (\d+)–(\d+)",
            words,
        )
        assert found is not None, words
        values = small[layer][..., channel]
        # The page writes four significant digits.
        near = 0.002 * values.max() + 5e-4 * values[row, column]
        assert abs(float(found[1].replace(",", "")) - values[row, column]) <= near
        top, left, bottom, right = field_of(layer, row, column, (height, width))
        assert [int(found[n]) for n in (2, 3, 4, 5)] == [top, bottom - 1, left, right - 1]
        # The receptive field is framed on the input.
        framed = page.evaluate(YELLOW)
        across, down = np.array(framed).T
        assert across.min() == pytest.approx(left / width, abs=0.02)
        assert down.max() == pytest.approx(bottom / height, abs=0.02)
    box = page.locator("#input").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    unit = small.info(layer).unit_at(32, 37, small.shape(layer)[:2])
    red, green, blue = small.image[32, 37]
    expect(page.locator("#place")).to_contain_text(
        f"input row 32, column 37: RGB {red}, {green}, {blue} · "
        f"nearest unit row {unit[0]}, column {unit[1]}: ≈ "
    )
    page.mouse.move(2, 2)
    expect(page.locator("#place")).to_contain_text(f"location: row {unit[0]}, column {unit[1]}: ")
    assert page.url.endswith(f"location={unit[0]},{unit[1]}")
    # On another layer the location becomes the nearest unit.
    page.get_by_label("layer", exact=True).select_option("block3_conv2")
    y, x = small.info(layer).field_center(*unit)
    there = small.info("block3_conv2").unit_at(y, x, small.shape("block3_conv2")[:2])
    expect(page.locator("#place")).to_contain_text(f"location: row {there[0]}, column {there[1]}: ")
    page.keyboard.press("Escape")
    expect(page.locator("#place")).to_contain_text("Point at a picture")


def test_keys_controls_and_the_address(opened: Opened, small: Activations) -> None:
    page = opened.page
    opened.show("block3_conv1 · channel 7", layer="block3_conv1", channel=7)
    page.locator("#title").click()
    for key, title in (
        ("ArrowRight", "block3_conv1 · channel 8"),
        ("ArrowLeft", "block3_conv1 · channel 7"),
        ("ArrowDown", "block3_conv2 · channel 7"),
        ("g", "block3_conv2 · 256 channels"),
        ("g", "block3_conv2 · channel 7"),
        ("ArrowUp", "block3_conv1 · channel 7"),
    ):
        page.keyboard.press(key)
        opened.pixels(title)
    page.go_back()
    opened.pixels("block3_conv2 · channel 7")
    page.go_forward()
    opened.pixels("block3_conv1 · channel 7")
    page.get_by_role("button", name="block5_conv2", exact=False).first.click()
    opened.pixels("block5_conv2 · channel 7")
    page.get_by_role("button", name="Strongest").click()
    opened.pixels("block5_conv2 · maximum over 512 channels")
    page.get_by_label("more modes").select_option("rainbow")
    page.get_by_role("textbox", name="channels").fill("3, 17 99")
    page.get_by_role("textbox", name="channels").press("Enter")
    opened.pixels("block5_conv2 · a hue each for 3, 17, 99")
    expect(page.get_by_label("colors")).to_be_disabled()
    assert "mode=rainbow" in page.url
    assert "channels=3,17,99" in page.url
    # An address restores its view, and its invalid parts fall back to defaults.
    address = page.url
    # Every JavaScript object has properties with the names of this mode, colormap and range.
    page.goto(opened.path.as_uri() + "#mode=toString&cmap=constructor&scale=valueOf")
    opened.pixels(f"block3_conv1 · channel {int(telling_channels(small, 'block3_conv1', 1)[0])}")
    page.goto(opened.path.as_uri() + "#layer=nowhere&channel=1e9&mode=%3Cimg%3E&gamma=-1")
    first = int(telling_channels(small, "block3_conv1", 1)[0])
    opened.pixels(f"block3_conv1 · channel {first}")
    page.goto(address)
    page.reload()
    opened.pixels("block5_conv2 · a hue each for 3, 17, 99")
    page.locator("#title").click()
    page.keyboard.press("r")
    opened.pixels(f"block3_conv1 · channel {first}")
    page.get_by_label("channel, as a number").fill("12")
    opened.pixels("block3_conv1 · channel 12")
    page.get_by_label("channel", exact=True).press("ArrowRight")
    opened.pixels("block3_conv1 · channel 13")
    # The address is updated once the steps stop.
    page.wait_for_url("**&channel=13&**")
    page.get_by_role("button", name="all 256").click()
    opened.pixels("block3_conv1 · 256 channels")
    page.locator("#output").click(position={"x": 3, "y": 3})
    opened.pixels("block3_conv1 · channel 0")


def color_at(opened: Opened, frame: str, row: float, column: float) -> list[int]:
    """Return the colour on screen at a point of a frame, in fractions of its height and width."""
    box = opened.page.locator(frame).bounding_box()
    assert box is not None
    with Image.open(io.BytesIO(opened.page.locator(frame).screenshot())) as image:
        seen = np.asarray(image.convert("RGB"))
    place = int(row * box["height"] + box["y"] % 1), int(column * box["width"] + box["x"] % 1)
    return [int(level) for level in seen[place]]


def test_zoom_enlarges_input_and_map_together(opened: Opened, small: Activations) -> None:
    page, layer, channel = opened.page, "block3_conv1", 7
    pixels = opened.show(f"{layer} · channel {channel}", layer=layer, channel=channel)
    height, width = small.image.shape[:2]
    page.locator("#title").click()
    page.keyboard.press("+")
    page.keyboard.press("+")
    # A quarter of each side is visible now, around the middle; the frame keeps its size.
    for row, column in ((0.1, 0.2), (0.5, 0.5), (0.9, 0.7)):
        y, x = (0.375 + row / 4) * height, (0.375 + column / 4) * width
        seen = color_at(opened, "#output", row, column)
        unit = int((y - 0.5 - 1.5 + 2) // 4), int((x - 0.5 - 1.5 + 2) // 4)
        assert seen == pixels[unit][:3].tolist()
        assert color_at(opened, "#input", row, column) == small.image[int(y), int(x)].tolist()
        box = page.locator("#output").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])
        expect(page.locator("#place")).to_contain_text(f"row {unit[0]}, column {unit[1]}: ≈ ")
    # A drag moves both pictures and is not a click.
    box = page.locator("#input").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"])
    page.mouse.down()
    for part in (0.7, 0.5, 0.3):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + part * box["height"])
    page.mouse.up()
    page.mouse.move(2, 2)
    expect(page.locator("#place")).to_contain_text("Point at a picture")
    y, x = (0.375 + 0.125 + 0.05) * height, (0.375 + 0.125 + 0.05) * width
    assert color_at(opened, "#input", 0.2, 0.2) == small.image[int(y), int(x)].tolist()
    unit = int((y - 0.5 - 1.5 + 2) // 4), int((x - 0.5 - 1.5 + 2) // 4)
    assert color_at(opened, "#output", 0.2, 0.2) == pixels[unit][:3].tolist()
    # The keyboard moves by a quarter of the visible part.
    page.keyboard.press("Shift+ArrowRight")
    y, x = (0.375 + 0.125 + 0.05) * height, (0.375 + 0.125 + 0.05 + 0.0625) * width
    assert color_at(opened, "#input", 0.2, 0.2) == small.image[int(y), int(x)].tolist()
    # The wheel alone scrolls the page; with Ctrl it zooms, at most out to the whole input.
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.keyboard.down("Control")
    page.mouse.wheel(0, 4000)
    page.keyboard.up("Control")
    farther = page.get_by_role("button", name="zoom out")
    expect(farther).to_have_attribute("aria-disabled", "true")
    # The whole input is drawn with smoothing again.
    assert color_at(opened, "#input", 0.01, 0.01) == pytest.approx(small.image[0, 0], abs=4)
    page.get_by_role("button", name="zoom in").click()
    page.locator("#whole").click()
    expect(farther).to_have_attribute("aria-disabled", "true")


def test_the_text_under_a_resting_mouse_is_about_the_picture_on_show(
    opened: Opened, small: Activations
) -> None:
    page = opened.page
    opened.show("block1_conv2 · channel 3", layer="block1_conv2", channel=3)
    page.locator("#title").click()
    box = page.locator("#output").bounding_box()
    assert box is not None
    # The last row of this layer; the next layer has fewer rows.
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.99 * box["height"])
    expect(page.locator("#place")).to_contain_text("row 63, column 37: ")
    page.keyboard.press("ArrowDown")
    opened.pixels("block1_pool · channel 3")
    expect(page.locator("#place")).to_contain_text("row 31, column 18: ")
    page.keyboard.press("g")
    opened.pixels(render(small, "block1_pool", "grid").title)
    expect(page.locator("#place")).to_contain_text("channel ")
    page.keyboard.press("g")
    opened.pixels("block1_pool · channel 3")
    expect(page.locator("#place")).to_contain_text(re.compile(r"^row 31, column 18: "))
    page.mouse.move(2, 2)


def test_backspace_never_leaves_the_page_and_cleared_channels_stay_cleared(
    browser: BrowserContext, small: Activations, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.html"
    text = small.to_html(layers=["block2_conv1", "block3_conv1"])
    assert isinstance(text, str)
    path.write_text(text.replace('"channels":[],"mode"', '"channels":[1,2,3],"mode"'), "utf-8")
    opened = Opened(browser, path)
    page = opened.page
    page.get_by_role("button", name="Mix").click()
    opened.pixels("block3_conv1 · red, green, blue = 1, 2, 3")
    page.get_by_role("textbox", name="channels").fill("")
    page.get_by_role("textbox", name="channels").press("Enter")
    telling = ", ".join(map(str, telling_channels(small, "block3_conv1", 3)))
    opened.pixels(f"block3_conv1 · red, green, blue = {telling}")
    page.reload()
    opened.pixels(f"block3_conv1 · red, green, blue = {telling}")
    page.locator("#title").click()
    for _ in range(5):
        page.keyboard.press("Backspace")
    opened.pixels("block3_conv1 · channel " + str(telling_channels(small, "block3_conv1", 1)[0]))
    assert opened.errors == []
    page.close()


def test_the_map_over_the_input(opened: Opened, small: Activations) -> None:
    layer, channel = "block2_conv1", 3
    pixels = opened.show(f"{layer} · channel {channel}", layer=layer, channel=channel)
    opened.page.locator("#title").click()
    # A zoomed input is not smoothed. This zoom shows the half around the middle.
    opened.page.keyboard.press("+")
    opened.page.keyboard.press("o")
    opened.page.wait_for_url("**&overlay=0.5**")
    height, width = small.image.shape[:2]

    def seen(row: int, column: int) -> npt.NDArray[Any]:
        at = 2 * (2 * row + 0.5) / height - 0.5, 2 * (2 * column + 0.5) / width - 0.5
        return np.array(color_at(opened, "#input", *at))

    for row, column in ((9, 11), (20, 25), (15, 20)):
        mixed = (pixels[row, column, :3].astype(int) + small.image[2 * row, 2 * column]) / 2
        assert np.abs(seen(row, column) - mixed).max() <= 1
    opened.page.keyboard.press("o")
    np.testing.assert_array_equal(seen(9, 11), small.image[18, 22])
    opened.page.keyboard.press("0")


@pytest.mark.slow
def test_it_plays_and_saves_a_picture(opened: Opened, small: Activations, tmp_path: Path) -> None:
    page, layer = opened.page, "block2_conv1"
    opened.show(f"{layer} · channel 126", layer=layer, channel=126)
    page.get_by_role("button", name="play").click()
    for channel in (127, 0, 1):
        expect(page.locator("#title")).to_have_text(f"{layer} · channel {channel}")
    page.locator("#title").click()
    page.keyboard.press("p")
    stopped = page.locator("#title").inner_text()
    page.wait_for_timeout(500)
    assert page.locator("#title").inner_text() == stopped
    opened.show(f"{layer} · channel 5", layer=layer, channel=5, scale="layer", cmap="gray")
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename == "block2_conv1-channel-5.png"
    download.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as image:
        saved = np.asarray(image.convert("RGB"))
    # The saved picture is twice as large as on screen. This half has the map's pixels.
    frame, around = (page.locator(one).bounding_box() for one in ("#output", "#pictures"))
    assert frame is not None
    assert around is not None
    pixels = opened.pixels(f"{layer} · channel 5")
    height, width = small.image.shape[:2]
    for row, column in ((3, 4), (20, 30)):
        x = frame["x"] - around["x"] + 8 + (2 * column + 1) / width * frame["width"]
        y = frame["y"] - around["y"] + 8 + (2 * row + 1) / height * frame["height"]
        assert saved[round(2 * y), round(2 * x)].tolist() == pixels[row, column, :3].tolist()
    # The other half has the input's pixels.
    left = page.locator("#input").bounding_box()
    assert left is not None
    x = left["x"] - around["x"] + 8 + 40.5 / width * left["width"]
    y = left["y"] - around["y"] + 8 + 33.5 / height * left["height"]
    assert saved[round(2 * y), round(2 * x)] == pytest.approx(small.image[33, 40], abs=6)
    assert "Saved as" in opened.place_text()


def test_the_code_reproduces_the_picture(opened: Opened, small: Activations) -> None:
    page, layer = opened.page, "block3_conv2"
    page.locator("#title").click()
    chosen: list[dict[str, Any]] = [
        {"mode": "channel", "channel": 9, "cmap": "gray", "scale": "layer"},
        {"mode": "max", "gamma": 0.8},
        {"mode": "argmax", "gamma": 0.8},
        {"mode": "composite", "channels": "3,5,9", "gamma": 0.4},
        {"mode": "rainbow", "scale": "network", "gamma": 0.5},
        {"mode": "grid", "cmap": "viridis"},
    ]
    for traits in chosen:
        drawn = render(small, layer, **{"channel": 0, **title_arguments(traits)})
        pixels = opened.show(drawn.title, layer=layer, **traits)
        page.keyboard.press("c")
        code = page.locator("#code").inner_text()
        assert "image = ...  # put the image here, or the path of its file" in code
        names: dict[str, Any] = {"photo": small.image}
        code = code.replace("image = ...", "image = photo").replace("\nplot(", "\naxes = plot(")
        exec(code, names)  # noqa: S102
        image = names["axes"].images[0]
        again = image.to_rgba(image.get_array(), bytes=True)
        plt.close("all")
        assert again.shape == pixels.shape
        assert np.abs(again[..., :3].astype(int) - pixels[..., :3]).mean() < 1, traits


def title_arguments(traits: dict[str, Any]) -> dict[str, Any]:
    """Return the traits that decide a picture's title, as arguments of `render`."""
    found: dict[str, Any] = {name: traits[name] for name in ("mode", "channel") if name in traits}
    if "channels" in traits:
        found["channels"] = [int(channel) for channel in traits["channels"].split(",")]
    return found


def test_typed_channels_and_locations_are_applied_or_refused(
    opened: Opened, small: Activations
) -> None:
    page, layer = opened.page, "block3_conv1"
    opened.show(f"{layer} · a hue each for 3, 5", layer=layer, mode="rainbow", channels="3,5,3")
    field = page.get_by_role("textbox", name="channels")
    expect(field).to_have_value("3, 5")
    for words, sentence in (
        ("3, 9999", "“9999” is not a channel of this layer: type numbers from 0 to 255."),
        ("-1", "“-1” is not a channel of this layer"),
        ("3.7 4", "“3.7” is not a channel of this layer"),
    ):
        field.fill(words)
        field.press("Enter")
        expect(page.locator("#place")).to_contain_text(sentence)
        # The refused text stays, to be corrected, and so does the picture.
        expect(field).to_have_value(words)
        opened.pixels(f"{layer} · a hue each for 3, 5")
    page.get_by_role("button", name="Mix").click()
    field.fill("3 5")
    field.press("Enter")
    expect(page.locator("#place")).to_have_text("Mix needs three channels, but these are 2.")
    field.fill(" ".join(map(str, range(60))))
    page.get_by_label("more modes").select_option("rainbow")
    field.fill(" ".join(map(str, range(60))))
    field.press("Enter")
    opened.pixels(f"{layer} · a hue each for 0, 1, 2, 3, 4, 5, 6, …")
    # A long list is at most as high as the picture.
    frame, bar = (page.locator(one).bounding_box() for one in ("#output", "#bar"))
    assert frame is not None
    assert bar is not None
    assert bar["height"] <= frame["height"] + 1
    opened.show(f"{layer} · channel 4", layer=layer, mode="channel", channel=4)
    page.get_by_label("row", exact=True).fill("7")
    page.get_by_label("column", exact=True).fill("99")
    page.get_by_label("column", exact=True).press("Enter")
    value = float(small[layer][7, 17, 4])
    expect(page.locator("#place")).to_contain_text("location: row 7, column 17: ≈ ")
    said = float(opened.place_text().split("≈ ")[1].split(" ")[0].replace(",", ""))
    assert said == pytest.approx(value, abs=0.002 * float(small[layer][..., 4].max()))
    page.get_by_label("row", exact=True).fill("")
    page.get_by_label("row", exact=True).press("Enter")
    expect(page.locator("#place")).to_contain_text("Point at a picture")


def test_a_link_to_something_missing_shows_a_message(opened: Opened, small: Activations) -> None:
    page = opened.page
    first = int(telling_channels(small, "block3_conv1", 1)[0])
    for address, sentence in (
        ("layer=block9_conv2&channel=17", "This page has no layer “block9_conv2”."),
        ("layer=features.10&mode=max", "This page has no layer “features.10”."),
        ("layer=block3_conv1&mode=strongest", "This page has no mode “strongest”."),
        ("layer=block3_conv1&mode=groups", "This page has no mode “groups”."),
    ):
        page.goto(f"{opened.path.as_uri()}#{address}")
        expect(page.locator("#place")).to_have_text(f"{sentence} It shows the nearest match.")
        assert "block9" not in page.url
        assert "strongest" not in page.url
        assert "groups" not in page.url
    opened.pixels(f"block3_conv1 · channel {first}")
    page.goto(f"{opened.path.as_uri()}#layer=block2_conv1&channel=9999&location=500,3")
    expect(page.locator("#place")).to_contain_text(
        "This page has no channel 9999 in block2_conv1, and no location 500,3 in block2_conv1. "
        "It shows the nearest match. location: row 31, column 3: "
    )
    assert "channel=127&" in page.url
    # A link with only a layer shows no message, however few channels the layer has.
    telling = int(telling_channels(small, "block1_conv1", 1)[0])
    page.goto(f"{opened.path.as_uri()}#layer=block1_conv1")
    opened.pixels(f"block1_conv1 · channel {telling}")
    expect(page.locator("#place")).to_contain_text(re.compile("^Point at a picture"))
    # Torchvision's and the papers' names of a layer open it as well.
    for name in ("features.11", "relu3_1"):
        opened.show("block3_conv1 · channel 4", layer=name, channel=4)
        expect(page.locator("#place")).to_contain_text("Point at a picture")


def test_the_largest_channel_at_a_location_is_opened(opened: Opened, small: Activations) -> None:
    page, layer = opened.page, "block3_conv1"
    at = small.at(layer, 7, 9)
    winner, largest = int(at.argmax()), float(at.max())
    for mode in ("max", "argmax"):
        title = render(small, layer, mode).title
        opened.show(title, layer=layer, mode=mode, location="7,9")
        said = re.search(r"≈ ([\d.]+), of channel (\d+)", opened.place_text())
        assert said is not None, opened.place_text()
        assert float(said[1]) == pytest.approx(largest, abs=0.003 * float(small[layer].max()))
        assert int(said[2]) == winner
        page.get_by_role("button", name=f"open channel {winner}").click()
        opened.pixels(f"{layer} · channel {winner}")
    # The arrow keys select a tile of a grid, and Enter opens it.
    opened.show(render(small, layer, "grid").title, layer=layer, mode="grid", channel=41)
    page.locator("#title").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    most = float(small[layer][..., 43].max())
    expect(page.locator("#place")).to_contain_text("channel 43, from 0 to ")
    said = re.search(r"to ([\d.,]+): Enter opens it", opened.place_text())
    assert said is not None
    assert float(said[1].replace(",", "")) == pytest.approx(most, rel=1e-3)
    page.keyboard.press("Enter")
    opened.pixels(f"{layer} · channel 43")


def test_backspace_goes_back_over_consecutive_steps_at_once(opened: Opened) -> None:
    page = opened.page
    opened.show("block3_conv1 · channel 7", layer="block3_conv1", channel=7)
    page.locator("#title").click()
    page.keyboard.press("o")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    opened.pixels("block3_conv1 · channel 10")
    page.wait_for_url("**channel=10**")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**channel=11**")
    page.keyboard.press("Backspace")
    opened.pixels("block3_conv1 · channel 7")
    assert "overlay=0.5" in page.url
    page.keyboard.press("Backspace")
    expect(page.locator("#over")).to_be_hidden()
    assert "overlay" not in page.url


def test_printed_text_is_dark_in_the_dark_theme(opened: Opened) -> None:
    page = opened.page
    opened.show("block3_conv1 · channel 9", layer="block3_conv1", channel=9, mode="channel")
    page.emulate_media(color_scheme="dark")
    darkest = """() => {
      const bar = document.querySelector("#bar");
      const { data } = bar.getContext("2d").getImageData(30, 0, bar.width - 30, bar.height);
      const inked = [...data.keys()].filter((n) => n % 4 === 3 && data[n] > 200);
      return Math.min(...inked.map((n) => data[n - 3]));
    }"""
    deadline = time.monotonic() + 5
    while page.evaluate(darkest) < 150 and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    assert page.evaluate(darkest) > 150
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(darkest) < 60
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(darkest) > 150
    page.emulate_media(color_scheme="light")


def test_narrow_screens_the_dark_theme_and_disabled_scripts(
    opened: Opened, browser: BrowserContext, small: Activations
) -> None:
    page = opened.page
    opened.show("block3_conv1 · channel 9", layer="block3_conv1", channel=9)
    page.set_viewport_size({"width": 400, "height": 800})
    wide = page.evaluate(
        "[...document.querySelectorAll('*')].map(one => one.getBoundingClientRect().right)"
    )
    assert max(wide) <= 400
    page.set_viewport_size({"width": 1280, "height": 1000})
    colours = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 22)"}
    assert page.title() == "A cat"
    page.get_by_text("Practice filters").click()
    expect(page.get_by_text("They were not trained to recognise anything.")).to_be_visible()
    other = browser.new_page()
    session = browser.new_cdp_session(other)
    session.send("Emulation.setScriptExecutionDisabled", {"value": True})
    other.goto(opened.path.as_uri())
    expect(other.get_by_text("JavaScript is turned off here")).to_be_visible()
    expect(other.get_by_alt_text("the input")).to_be_visible()
    expect(other.locator("#made")).to_contain_text(small.weights.label)
    other.close()


def test_colours_before_the_relu_have_both_signs(
    browser: BrowserContext, small: Activations, tmp_path: Path
) -> None:
    path = tmp_path / "signed.html"
    small.to_html(path, layers=["block1_conv2", "block2_conv1"], before_relu=True)
    page = Opened(browser, path)
    made = render(small, "features.5", channel=3, cmap="coolwarm")
    pixels = page.show(made.title, layer="features.5", channel=3)
    assert made.values is not None
    limits = made.vmin, made.vmax
    assert_colours(pixels, made.values, limits, 0.6, cmap="coolwarm", signed=True)
    expect(page.page.get_by_role("button", name="before its ReLU")).to_be_hidden()
    assert page.errors == []
    page.page.close()


def test_switching_between_both_sides_of_a_relu(
    browser: BrowserContext, small: Activations, tmp_path: Path
) -> None:
    path = tmp_path / "both.html"
    small.to_html(path, layers=["block2_conv1", "features.5"])
    page = Opened(browser, path)
    page.show("block2_conv1 · channel 3", layer="block2_conv1", channel=3)
    page.page.locator("#title").click()
    page.page.keyboard.press("b")
    page.pixels(render(small, "features.5", channel=3).title)
    page.page.get_by_role("button", name="before its ReLU").click()
    page.pixels("block2_conv1 · channel 3")
    # The diverging colormap is only for the side that has both signs.
    assert "cmap=magma" in page.page.url
    page.page.locator("#title").click()
    page.page.keyboard.press("ArrowUp")
    page.page.keyboard.press("ArrowDown")
    page.pixels("block2_conv1 · channel 3")
    assert page.errors == []
    page.page.close()


@pytest.mark.parametrize(("most", "step"), [(0.27, 2), (0.05, 4)])
def test_the_kept_values_of_halved_maps_are_right(
    browser: BrowserContext,
    small: Activations,
    tmp_path: Path,
    most: float,
    step: int,
) -> None:
    path = tmp_path / "halved.html"
    layer = "block1_conv1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if step > 2 else "error")
        small.to_html(path, layers=layer, max_megabytes=most)
    page = Opened(browser, path)
    made = render(small, layer, channel=2)
    assert made.values is not None
    pixels = page.show(made.title, layer=layer, channel=2)
    limits, high = (made.vmin, made.vmax), float(made.values.max())
    assert_colours(pixels, made.values[::step, ::step], limits, 0.6, high=high)
    words = f"every {'second' if step == 2 else 'fourth'} row and column of {layer}"
    expect(page.page.get_by_text(words)).to_be_visible()
    height, width = small.image.shape[:2]

    def says_at(row: float, column: float, words: str) -> None:
        box = page.page.locator("#output").bounding_box()
        assert box is not None
        at = box["x"] + column / width * box["width"], box["y"] + row / height * box["height"]
        page.page.mouse.move(*at)
        expect(page.page.locator("#place")).to_contain_text(words)

    says_at(11.5, 22.5, f"row {11 - 11 % step}, column {22 - 22 % step}: ≈ ")
    # The maps of the modes max and argmax are stored at a higher resolution.
    finer = step // 2
    strongest = render(small, layer, "max")
    assert strongest.values is not None
    pixels = page.show(strongest.title, layer=layer, mode="max")
    limits, high = (strongest.vmin, strongest.vmax), float(strongest.values.max())
    assert_colours(pixels, strongest.values[::finer, ::finer], limits, 0.6, high=high)
    says_at(11.5, 23.5, f"row {11 - 11 % finer}, column {23 - 23 % finer}: ≈ ")
    won = render(small, layer, "argmax")
    pixels = page.show(won.title, layer=layer, mode="argmax")
    np.testing.assert_array_equal(pixels, won.rgba[::finer, ::finer])
    assert page.errors == []
    page.page.close()


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&=#ü–,"


def test_odd_layers_under_odd_names_in_every_mode(
    browser: BrowserContext, photo: RGB8, small: Activations, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    maps = {
        HOSTILE: rng.normal(size=(5, 7, 3)).astype(np.float32),
        "wide": np.maximum(rng.normal(size=(1, 1, 2048)), 0).astype(np.float32),
        "no numbers": np.full((4, 3, 1), np.nan, np.float32),
        "constant": np.full((2, 2, 2), -3, np.float32),
        "huge": np.full((3, 3, 4), np.finfo(np.float32).max, np.float32),
    }
    maps["huge"][0, 0] = np.inf
    infos = [LayerInfo(name, None, "odd", one.shape[-1], 16) for name, one in maps.items()]
    odd = Activations(infos, maps, photo, replace(small.weights, label=HOSTILE), name=HOSTILE)
    path = tmp_path / "odd.html"
    odd.to_html(path)
    page = Opened(browser, path)
    modes = ["channel", "grid", "max", "mean", "argmax", "composite", "rgb", "rainbow"]
    for layer in maps:
        for mode in modes:
            # A mode falls back to one channel where the layer has fewer than it needs.
            falls_back = mode == "rgb" and maps[layer].shape[-1] < 3
            with np.errstate(all="ignore"):
                made = render(odd, layer, "channel" if falls_back else mode, scale="channel")
            pixels = page.show(
                made.title, layer=quote(layer), mode=mode, channel=0, scale="channel", cmap="magma"
            )
            assert pixels.shape == made.rgba.shape
            if layer in ("wide", "no numbers", "constant"):
                np.testing.assert_array_equal(pixels, made.rgba)
    expect(page.page.locator("#source")).to_contain_text(HOSTILE)
    expect(page.page.locator("main img")).to_have_count(1)
    page.page.locator("#output").hover()
    expect(page.page.locator("#place")).to_contain_text("row 1, column 2")
    assert page.errors == []
    page.page.close()


def test_files_under_odd_names(browser: BrowserContext, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\"' & ü – %23 #1?.png"
    Image.fromarray(sample_image()).save(tmp_path / name)
    path = tmp_path / f"{name}.html"
    words = ["page", str(tmp_path / name), "-o", str(path), "--weights", "random", "--size", "32"]
    assert main([*words, "--layers", "block1_conv1", "block5_pool"]) == 0
    page = Opened(browser, path)
    assert page.page.title() == name
    expect(page.page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.page.locator("main img")).to_have_count(1)
    page.page.get_by_label("layer", exact=True).select_option("block5_pool")
    page.page.wait_for_url("**#layer=block5_pool&**")
    assert page.page.url.startswith(f"{path.as_uri()}#")
    page.page.go_back()
    expect(page.page.locator("#title")).to_contain_text("block1_conv1")
    assert page.errors == []
    page.page.close()


def test_the_smallest_picture(browser: BrowserContext, photo: RGB8, tmp_path: Path) -> None:
    tiny = FeatureExtractor("kmeans", size=None)(photo[:32, :32])
    path = tmp_path / "tiny.html"
    tiny.to_html(path)
    page = Opened(browser, path)
    for layer in ("block1_conv1", "block4_conv1", "block5_pool"):
        for mode in MODES:
            made = render(tiny, layer, mode, channel=3)
            pixels = page.show(made.title, layer=layer, mode=mode, channel=3, cmap="magma")
            assert pixels.shape == made.rgba.shape
            assert np.abs(pixels.astype(int) - made.rgba).mean() < 2
    # For a dead channel too, the text under the picture equals the kernel's.
    dead = int(np.flatnonzero(~tiny["block5_pool"].any(axis=(0, 1)))[0])
    page.show(f"block5_pool · channel {dead}", layer="block5_pool", channel=dead, mode="channel")
    said = source_line(tiny, render(tiny, "block5_pool", channel=dead))
    assert said.endswith("nothing above 0")
    expect(page.page.get_by_text(f"weights: {said}", exact=True)).to_be_visible()
    page.show("block5_pool · channel 3", layer="block5_pool", channel=3, mode="channel")
    page.page.locator("#output").hover()
    expect(page.page.locator("#place")).to_contain_text(
        re.compile("^row 0, column 0: .* sees input rows 0–31, columns 0–31$")
    )
    assert page.errors == []
    page.page.close()


def test_a_custom_network_without_receptive_fields_and_with_2048_channels(
    browser: BrowserContext, photo: RGB8, tmp_path: Path
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 75, 3))
    seen = keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="seen")(inputs)
    whole = keras.layers.GlobalAveragePooling2D(keepdims=True, name="whole")(seen)
    mixed = keras.layers.Multiply(name="mixed")([seen, whole])
    flat = keras.layers.Flatten()(keras.layers.AveragePooling2D(8, name="small")(mixed))
    dense = keras.layers.Dense(7 * 7 * 8, name="dense")(flat)
    shaped = keras.layers.Reshape((7, 7, 8), name="shaped")(dense)
    wide = keras.layers.Conv2D(2048, 1, activation="relu", name="wide")(shaped)
    model = keras.Model(inputs, wide, name="mine")
    own = FeatureExtractor(model=model, preprocess=lambda x: x / 255, size=None)(photo)
    assert own.info("wide").receptive_field is None
    assert own.shape("wide") == (7, 7, 2048)
    path = tmp_path / "own.html"
    own.to_html(path)
    opened = Opened(browser, path)
    page = opened.page
    for layer in own:
        made = render(own, layer, channel=0, cmap="magma")
        pixels = opened.show(made.title, layer=layer, channel=0, cmap="magma", mode="channel")
        assert pixels.shape == made.rgba.shape
        assert np.abs(pixels.astype(int) - made.rgba).mean() < 2
    opened.show("wide · channel 5", layer="wide", channel=5, mode="channel")
    # A unit with an unknown receptive field still has a position and a value.
    page.locator("#output").hover()
    value = float(own["wide"][3, 3, 5])
    expect(page.locator("#place")).to_have_text(re.compile(r"^row 3, column 3: ≈ [\d.e-]+$"))
    said = float(opened.place_text().partition("≈ ")[2])
    assert said == pytest.approx(value, abs=0.002 * float(own["wide"][..., 5].max()))
    assert page.evaluate(YELLOW) == []
    # Open channels with the slider's End key, a thumbnail, and a tile of the grid.
    page.get_by_label("channel", exact=True).press("End")
    opened.pixels("wide · channel 2047")
    thumbnails = page.locator("#strip button")
    expect(thumbnails).to_have_count(8)
    thumbnails.nth(2).click()
    opened.pixels(f"wide · channel {telling_channels(own, 'wide', 3)[2]}")
    page.get_by_role("button", name="all 2048").click()
    made = render(own, "wide", "grid")
    assert made.tiles is not None
    assert opened.pixels(made.title).shape == made.rgba.shape
    box = page.locator("#output").bounding_box()
    assert box is not None
    top, left, bottom, right = made.tiles.box(1500)
    page.mouse.click(
        box["x"] + (left + right) / 2 / made.rgba.shape[1] * box["width"],
        box["y"] + (top + bottom) / 2 / made.rgba.shape[0] * box["height"],
    )
    opened.pixels("wide · channel 1500")
    assert opened.errors == []
    page.close()

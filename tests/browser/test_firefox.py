"""The main walkthrough in Firefox: the same pictures, numbers and texts as in Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from vgg_widget import FeatureExtractor, render, telling_channels
from vgg_widget.images import RGB8

from .conftest import FAILED, _keep
from .desk import VIEWPORT
from .firefox import ADVICE, NO_DRIVER, Firefox, find_firefox
from .firefox_page import FileTab, FirefoxPage
from .painting import (
    DIV,
    assert_painted,
    assert_says_no_value_of_another_channel,
    assert_shows,
    busy,
    expected,
    free,
    wait_painting,
)
from .server import start_server
from .sight import (
    CANVAS,
    EXPLORER,
    HINT,
    INPUT,
    LAYER,
    MAP,
    SHAPE,
    assert_framed,
    center,
    field,
    leave_picture,
    number_after,
    pixels_of,
    side_of,
    unharmed,
    unit_cell,
    value,
    wait_framed,
    wait_words,
    words,
)
from .test_explorer_file import DONE, GAMMA, PIXELS, assert_colours, picture_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@contextmanager
def started(home: Path) -> Iterator[Firefox]:
    if find_spec("marionette_driver") is None:
        pytest.fail(NO_DRIVER)
    path = find_firefox()
    if path is None:
        pytest.fail(ADVICE)
    firefox = Firefox(path, home, VIEWPORT)
    try:
        yield firefox
    finally:
        firefox.stop()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirefoxPage]:
    """Open JupyterLab in Firefox, and record what an empty notebook logs."""
    home = tmp_path_factory.mktemp("firefox")
    with started(home / "browser") as firefox:
        server = start_server("lab", home / "server")
        try:
            page = FirefoxPage(firefox, server)
            page.show("firefox.ipynb", ["1 + 1"])
            page.run_all()
            page.baseline = frozenset(page.console_errors())
            yield page
        finally:
            server.stop()


@pytest.fixture
def page(notebook: FirefoxPage, request: pytest.FixtureRequest) -> Iterator[FirefoxPage]:
    """Show a small explorer in the notebook."""
    notebook.turn([EXPLORER])
    notebook.run_all()
    assert notebook.errors(stderr=False) == []
    yield notebook
    if request.node.stash.get(FAILED, False):
        _keep(notebook, f"firefox-{request.node.name}")


def test_the_main_walkthrough(page: FirefoxPage) -> None:
    whole = page.wait_picture_equal(CANVAS)
    assert_painted(page)
    seen, shown = side_of(page, INPUT), side_of(page, MAP)
    here = shown.point(*center(LAYER, 9, 5))

    page.hover_canvas(here)
    place = wait_words(page, "place", "row 9, column 5: ")
    assert number_after(place, "column 5:") == pytest.approx(value(page, LAYER, 9, 5, 7), rel=1e-3)
    assert "sees input rows 26–49, columns 10–33" in place
    wait_framed(page, seen, field(LAYER, 9, 5, SHAPE))
    wait_framed(page, shown, unit_cell(LAYER, 9, 5))
    leave_picture(page)
    wait_words(page, "place", HINT)
    wait_framed(page, seen, None)
    assert page.wait_picture_equal(CANVAS) == whole

    page.click_canvas(here)
    page.wait_value("explorer.location", [9, 5])
    leave_picture(page)
    assert wait_words(page, "place", "location: ") == f"location: {place}"
    wait_framed(page, seen, field(LAYER, 9, 5, SHAPE))
    wait_framed(page, shown, unit_cell(LAYER, 9, 5))
    page.click_canvas(here)
    page.wait_value("explorer.location", None)
    leave_picture(page)

    # Keys go to the clicked picture or to the focused slider.
    page.page.keyboard.press("ArrowRight")
    wait_words(page, "caption", "channel 8 ")
    assert_painted(page)
    page.press_slider("channel", ["ArrowRight", "ArrowRight"])
    wait_words(page, "caption", "channel 10 ")
    page.drag_slider("channel", 0.9)
    handle = page.control("channel").locator(".noUi-handle").first
    channel = round(float(handle.get_attribute("aria-valuenow") or -1))
    assert 220 <= channel <= 240
    page.wait_value("explorer.channel", channel)
    wait_words(page, "caption", f"channel {channel} ")
    page.wait_picture_equal(CANVAS, unlike=whole)
    assert_painted(page)

    page.select("layer", "└ block5_pool")
    wait_words(page, "caption", "block5_pool · 3 × 3 × 512 · ")
    deep = page.wait_picture_equal(CANVAS, unlike=whole)
    page.select("layer", f"┌ {LAYER}")
    page.select("mode", "max")
    wait_words(page, "caption", f"{LAYER} · 28 × 24 × 256 · all 256 channels")
    assert page.mode_shown() == page.ask("explorer.mode") == "max"
    strongest = page.wait_picture_equal(CANVAS, unlike=deep)

    page.select("mode", "grid")
    grid = page.wait_picture_equal(CANVAS, unlike=strongest)
    top, left, _, _ = page.ask("explorer.rendering.tiles.box(100)")
    page.click_canvas(side_of(page, MAP).point(left + 2, top + 5))
    wait_words(page, "caption", f"{LAYER} · 28 × 24 × 256 · channel 100 ")
    assert page.ask("[explorer.mode, explorer.channel]") == ["channel", 100]
    leave_picture(page)
    page.wait_picture_equal(CANVAS, unlike=grid)
    assert_painted(page)

    page.page.keyboard.press("r")
    wait_words(page, "caption", f"{LAYER} · 28 × 24 × 256 · channel 7 ")
    leave_picture(page)
    wait_words(page, "place", HINT)
    assert page.wait_picture_equal(CANVAS) == whole
    unharmed(page)


def test_the_page_paints_and_answers_while_the_kernel_has_other_work(page: FirefoxPage) -> None:
    wait_painting(page)
    maps, inputs = side_of(page, MAP), side_of(page, INPUT)
    truths = {channel: expected(page, channel) for channel in (8, 9, 77)}
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    assert_shows(page, maps, truths[8])
    page.press_slider("channel", "ArrowRight")
    assert_shows(page, maps, truths[9])
    page.type_into("channel number", "77")
    assert_shows(page, maps, truths[77])
    page.hover_canvas(maps.point(*center(LAYER, 20, 6)))
    pixels = pixels_of(page)
    assert_framed(pixels, inputs, field(LAYER, 20, 6, SHAPE))
    assert_framed(pixels, maps, unit_cell(LAYER, 20, 6))
    said = words(page, "place").inner_text()
    assert said.startswith("row 20, column 6: ")
    assert re.search("[≈≥≤]", said)
    free(page)
    # The kernel then draws the painted channel, and sends the exact value under the mouse.
    page.wait_value("explorer.channel", 77)
    page.wait_picture_equal(CANVAS)
    place = wait_words(page, "place", "row 20, column 6: ")
    exact = value(page, LAYER, 20, 6, 77)
    assert number_after(place, "column 6:") == pytest.approx(exact, rel=1e-3)
    leave_picture(page)
    assert_painted(page)
    unharmed(page)


def test_no_exact_value_of_another_channel_is_said(page: FirefoxPage) -> None:
    assert_says_no_value_of_another_channel(page)


def test_a_missing_channel_shows_an_error_and_keeps_the_picture(page: FirefoxPage) -> None:
    whole = page.wait_picture_equal(CANVAS)
    page.type_into("channel number", "300")
    problem = wait_words(page, "problem", "channel 300")
    assert "256" in problem
    assert page.ask("[explorer.layer, explorer.channel]") == [LAYER, 7]
    assert page.wait_picture_equal(CANVAS) == whole
    assert_painted(page)
    page.type_into("channel number", "8")
    wait_words(page, "caption", "channel 8 ")
    page.wait_picture_equal(CANVAS, unlike=whole)
    assert_painted(page)
    unharmed(page)


def test_the_pages_theme_is_followed(page: FirefoxPage) -> None:
    light = page.wait_picture_equal(CANVAS)
    page.change_theme("JupyterLab Dark")
    try:
        dark = page.wait_picture_equal(CANVAS, unlike=light)
        assert pixels_of(page)[0, 0].tolist() == [17, 17, 17]
        assert_painted(page)
    finally:
        page.change_theme("JupyterLab Light")
    page.wait_picture_equal(CANVAS, unlike=dark)
    assert pixels_of(page)[0, 0].tolist() == [255, 255, 255]
    assert_painted(page)
    unharmed(page)


def test_the_explorer_as_a_file(photo: RGB8, tmp_path: Path) -> None:
    """The saved page works without kernel, server or network."""
    activations = FeatureExtractor("kmeans", size=None)(photo)
    layer = "block3_conv1"
    channel = int(telling_channels(activations, layer, 1)[0])
    path = tmp_path / "a cat's <page> #1 ü.html"
    activations.to_html(path, title="A cat")
    with started(tmp_path / "browser") as firefox:
        tab = FileTab(firefox)

        def pixels(title: str) -> RGB8:
            said = "document.getElementById('title').textContent"
            there = f"document.querySelector({json.dumps(DONE)}) !== null"
            tab.wait_for_function(f"{said} === {json.dumps(title)} && {there}", timeout=30_000)
            return picture_of(tab.evaluate(PIXELS))

        def assert_is_channel(number: int, scale: str = "auto") -> None:
            made = render(activations, layer, channel=number, scale=scale)
            assert made.values is not None
            limits = made.vmin, made.vmax
            assert_colours(pixels(f"{layer} · channel {number}"), made.values, limits, GAMMA[scale])

        tab.open(path)
        assert tab.evaluate("document.title") == "A cat"
        assert_is_channel(channel)
        tab.locator("#title").click()
        tab.keyboard.press("ArrowRight")
        assert_is_channel(channel + 1)
        # The middle of the unit in row 6, column 10.
        tab.locator("#output").scroll_into_view_if_needed()
        box = tab.locator("#output").bounding_box()
        height, width = activations.image.shape[:2]
        across, down = 4 * 10.5 / width, 4 * 6.5 / height
        tab.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        words = tab.locator("#place").inner_text()
        found = re.match(r"row 6, column 10: ≈ ([\d.]+) · sees input rows ", words)
        assert found is not None, words
        values = activations[layer][..., channel + 1]
        near = 0.002 * values.max() + 5e-4 * values[6, 10]
        assert abs(float(found[1]) - values[6, 10]) <= near
        tab.mouse.move(2, 2)

        tab.locator("[data-mode=max]").click()
        made = render(activations, layer, "max")
        assert made.values is not None
        assert_colours(pixels(made.title), made.values, (made.vmin, made.vmax), GAMMA["auto"])
        address = tab.evaluate("location.href")
        assert address.startswith(path.as_uri() + "#")
        asked = set(address.partition("#")[2].split("&"))
        assert {f"layer={layer}", f"channel={channel + 1}", "mode=max"} <= asked
        tab.locator("#more").select_option(index=2)
        won = render(activations, layer, "argmax")
        np.testing.assert_array_equal(pixels(won.title), won.rgba)
        tab.driver.go_back()
        pixels(made.title)
        tab.driver.go_back()
        assert_is_channel(channel + 1)
        # A link to a channel, opened from an empty page.
        tab.driver.navigate("about:blank")
        tab.driver.navigate(f"{path.as_uri()}#layer={layer}&channel=9&scale=layer")
        assert_is_channel(9, "layer")
        # The page requested nothing beside its own file, and logged no errors.
        asked_for = tab.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        assert [one for one in asked_for if not one.startswith("data:")] == []
        assert firefox.complaints() == []

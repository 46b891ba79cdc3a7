"""The strips of thumbnails, the mode buttons, and the layout around the picture."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from .desk import OpenNotebook
from .page import NotebookPage
from .sight import CANVAS, EXPLORER, LAYER, picture_in, unharmed

pytestmark = pytest.mark.browser


def is_pressed(button: Locator) -> None:
    expect(button).to_have_attribute("aria-pressed", "true")


def is_not_pressed(button: Locator) -> None:
    expect(button).to_have_attribute("aria-pressed", "false")


def height_on_page(page: NotebookPage) -> float:
    """Return the height of the picture's canvas in CSS pixels."""
    box = page.picture_canvas().bounding_box()
    assert box is not None
    return box["height"]


def test_layers_and_channels_are_a_click_away(front_end: OpenNotebook) -> None:
    page = front_end(EXPLORER)
    kind = page.server.front_end
    picture = page.wait_picture_equal(CANVAS)
    network, film = page.page.locator(".vgg-network"), page.page.locator(".vgg-channels")
    images = network.locator("img")
    expect(images).to_have_count(6)
    assert all(images.evaluate_all("all => all.map((one) => one.complete && one.naturalWidth)"))
    # VGG19 has 16 convolutions and 5 pools.
    expect(network.locator(".vgg-strip-button")).to_have_count(21)
    page.screenshot(f"{kind}-first-screen")

    here, there = (page.strip_button("network", name) for name in (LAYER, "block4_conv2"))
    is_pressed(here)
    there.click()
    page.wait_value("explorer.layer", "block4_conv2")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    is_pressed(there)
    is_not_pressed(here)
    layer = page.control("layer").locator("select")
    assert "block4_conv2" in layer.evaluate("s => s.options[s.selectedIndex].text")
    page.select("layer", "block2_pool")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    is_pressed(page.strip_button("network", "block2_pool"))
    is_not_pressed(there)

    telling = page.ask(
        "from vgg_widget import telling_channels\n"
        "telling_channels(explorer.activations, 'block2_pool', 8).tolist()"
    )
    titles = film.locator(".vgg-strip-title")
    expect(titles).to_have_text([str(channel) for channel in telling])
    expected = page.ask(
        "from vgg_widget import render\n"
        f"render(explorer.activations, 'block2_pool', channel={telling[2]}, cmap='viridis')"
        ".rgba[..., :3].tolist()"
    )
    third = page.strip_button("channels", telling[2])
    assert np.abs(picture_in(third.locator("img")).astype(int) - np.array(expected)).max() <= 6
    third.click()
    page.wait_value("explorer.channel", telling[2])
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    is_pressed(third)
    number = page.control("channel number").locator("input")
    expect(number).to_have_value(str(telling[2]))

    page.click_button("all 128 ▸")
    page.wait_value("explorer.mode", "grid")
    page.wait_picture_equal(CANVAS, unlike=picture)
    assert page.mode_shown() == "grid"
    expect(film).to_be_hidden()
    page.select("mode", "channel")
    expect(film).to_be_visible()
    page.wait_picture_equal(CANVAS)
    unharmed(page)


def test_strips_are_used_without_a_mouse(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    picture = page.wait_picture_equal(CANVAS)
    button = page.strip_button("network", "block5_pool")
    button.focus()
    page.page.keyboard.press("Tab")
    # It is the last button of the strip, so Tab leaves the strip.
    expect(button).not_to_be_focused()
    page.page.keyboard.press("Shift+Tab")
    expect(button).to_be_focused()
    page.page.keyboard.press("Enter")
    page.wait_value("explorer.layer", "block5_pool")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    expect(button).to_be_focused()
    first = page.page.locator(".vgg-channels button").first
    channel = int(page.page.locator(".vgg-channels .vgg-strip-title").first.inner_text())
    first.focus()
    page.page.keyboard.press("Space")
    page.wait_value("explorer.channel", channel)
    page.wait_picture_equal(CANVAS, unlike=picture)
    expect(first).to_be_focused()
    unharmed(page)


def test_a_lower_picture_makes_the_page_shorter(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    before = page.wait_picture_equal(CANVAS)
    upright = height_on_page(page)
    # The line right under the figure: thumbnails below it change their height later.
    words = page.page.locator(".vgg-place")
    under = words.bounding_box()
    page.ask("explorer.image = explorer.image[: len(explorer.image) // 2]\nNone")
    lower = page.wait_picture_equal(CANVAS, unlike=before)
    assert (lower.width, lower.height < before.height) == (before.width, True)
    # The page resizes its canvas a moment later.
    expect(page.picture_canvas()).to_have_js_property("height", lower.height)
    shorter = height_on_page(page)
    assert shorter < 0.75 * upright
    nearer = words.bounding_box()
    assert under is not None
    assert nearer is not None
    assert under["y"] - nearer["y"] == pytest.approx(upright - shorter, abs=4)
    unharmed(page)


def test_nothing_moves_when_an_error_is_shown(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.mode = 'composite'\nNone")
    page.wait_picture_equal(CANVAS)
    line, error = page.page.locator(".vgg-place"), page.page.locator(".vgg-problem")
    field = page.control("channels")
    field.scroll_into_view_if_needed()
    before = page.picture_canvas().bounding_box(), field.bounding_box()
    expect(line).to_be_visible()
    page.type_into("channels", "1, 999")
    expect(error).to_contain_text("choose whole numbers from 0 to 255")
    expect(line).to_be_hidden()
    canvas, under = page.picture_canvas().bounding_box(), field.bounding_box()
    assert canvas == before[0]
    assert under is not None
    assert before[1] is not None
    # An error of two lines may be slightly higher than the line that it replaces.
    assert under["y"] == pytest.approx(before[1]["y"], abs=30)
    page.type_into("channels", "1, 9")
    expect(error).to_be_hidden()
    expect(line).to_be_visible()


@pytest.mark.sampled
@pytest.mark.parametrize("width", [700, 1280])
def test_a_narrow_page_has_the_strips_buttons(lab: OpenNotebook, width: int) -> None:
    page = lab(EXPLORER, viewport=(width, 1000))
    page.wait_picture_equal(CANVAS)
    page.screenshot(f"lab-first-screen-{width}")
    buttons = page.page.locator(".vgg-network .vgg-strip-button")
    for button in [*buttons.all(), *page.page.locator(".vgg-channels button").all()]:
        box = button.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
    assert page.page.locator(".vgg-network img:visible").count() == (0 if width == 700 else 6)

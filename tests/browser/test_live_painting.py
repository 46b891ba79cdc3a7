"""Painting on the page: at once, byte for byte as the kernel draws, or left to the kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from .desk import OpenNotebook
from .painting import (
    ASKED_OF_SHOWN,
    DIV,
    assert_painted,
    assert_says_no_value_of_another_channel,
    assert_shows,
    busy,
    count_asked,
    drawn,
    expected,
    free,
    truth_of,
    wait_loaded,
    wait_painting,
)
from .sight import (
    CANVAS,
    EXPLORER,
    INPUT,
    LAYER,
    MAP,
    SHAPE,
    assert_framed,
    center,
    field,
    pixels_of,
    side_of,
    unharmed,
    unit_cell,
    wait_framed,
    wait_words,
    words,
)

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_step_is_painted_while_the_kernel_is_busy(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    side, truth, other = side_of(page, MAP), expected(page, 8), expected(page, 200)
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    assert_shows(page, side, truth)
    handle = page.page.locator(".vgg-explorer .noUi-handle").first
    assert handle.get_attribute("aria-valuenow") in ("8", "8.0")
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("ArrowLeft")
    assert handle.get_attribute("aria-valuenow") in ("6", "6.0")
    free(page)
    page.wait_value("explorer.channel", 6)
    page.wait_picture_equal(CANVAS)
    assert_painted(page)
    # A channel set by a cell is painted as well.
    page.ask("setattr(explorer, 'channel', 200)")
    page.page.wait_for_timeout(300)
    assert_shows(page, side, other)
    unharmed(page)


@pytest.mark.parametrize("width", [1280, pytest.param(700, marks=pytest.mark.slow)])
def test_what_is_painted_is_what_the_kernel_draws(lab: OpenNotebook, width: int) -> None:
    page = lab(EXPLORER, viewport=(width, 1000))
    for changes in (
        {},
        {"layer": "block1_conv2", "scale": "auto", "channel": 60},
        {"layer": "block5_pool", "cmap": "tab10"},
        {"layer": "block2_conv1", "gamma": 2.0, "cmap": "gray_r", "channel": 3},
        {"before_relu": True, "theme": "dark", "scale": "channel"},
        {"theme": "light", "location": [3, 4]},
    ):
        page.ask(f"explorer.choose(**{changes!r})" if changes else "None")
        if "location" in changes:
            page.ask("explorer.choose(location=None)")
        assert_painted(page)
        page.ask("explorer.choose(channel=explorer.channel + 1)")
        page.page.wait_for_timeout(150)
        assert_painted(page)
    page.ask("explorer._view.view = ((10, 60.5), (70.25, 20))\nexplorer.canvas.draw()")
    assert_painted(page)
    unharmed(page)


@pytest.mark.slow
def test_a_slider_drag_needs_no_kernel_frame_until_it_stops(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    counting = """
frames, _send = [], explorer.canvas.send
def _counted(content, buffers=None):
    if buffers:
        frames.append(explorer.channel)
    _send(content, buffers)
explorer.canvas.send = _counted
0
"""
    page.ask(f"exec({counting!r}, globals())")
    page.control("channel").scroll_into_view_if_needed()
    track = page.control("channel").locator(".noUi-base").bounding_box()
    grip = page.control("channel").locator(".noUi-handle").first.bounding_box()
    assert track is not None
    assert grip is not None
    mouse, middle = page.page.mouse, grip["y"] + grip["height"] / 2
    mouse.move(grip["x"] + grip["width"] / 2, middle)
    mouse.down()
    for share in (0.9, 0.1, 0.8):
        mouse.move(track["x"] + share * track["width"], middle, steps=50)
    mouse.up()
    handle = page.page.locator(".vgg-explorer .noUi-handle").first
    last = round(float(handle.get_attribute("aria-valuenow") or -1))
    assert last > 100
    page.wait_value("explorer.channel", last)
    page.page.wait_for_timeout(700)
    # Frames of the last channel, and of one where a busy machine made the mouse pause.
    assert page.ask("len(frames)") <= 2 * 3
    assert page.ask("frames[-1]") == last
    page.wait_picture_equal(CANVAS)
    assert_painted(page)
    unharmed(page)


def test_what_the_page_cannot_know_comes_from_the_kernel(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    for change in ({"mode": "grid"}, {"mode": "channel", "overlay": 0.5}):
        page.ask(f"explorer.choose(**{change!r})")
        page.wait_picture_equal(CANVAS)
        page.page.wait_for_timeout(400)
        seen, truth = pixels_of(page), drawn(page)
        np.testing.assert_array_equal(seen, truth)
        assert page.ask("explorer.canvas.held") is False
    page.ask("explorer.choose(overlay=0.0)")
    assert_painted(page)
    # A line that the user has plotted is not painted over.
    line = "explorer.figure.axes[1].plot([10, 60], [10, 60], color='red', linewidth=5)"
    page.ask(f"[{line}, explorer.canvas.draw(), 0][-1]")
    page.wait_picture_equal(CANVAS)
    page.page.wait_for_timeout(400)
    np.testing.assert_array_equal(pixels_of(page), drawn(page))
    unharmed(page)


def test_the_mouse_is_answered_while_the_kernel_has_other_work(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    maps, inputs = side_of(page, MAP), side_of(page, INPUT)
    exact = page.ask(f"explorer.activations['{LAYER}'][20, 6, 7].item()")
    busy(page)
    page.hover_canvas(maps.point(*center(LAYER, 20, 6)))
    pixels = pixels_of(page)
    assert_framed(pixels, inputs, field(LAYER, 20, 6, SHAPE))
    assert_framed(pixels, maps, unit_cell(LAYER, 20, 6))
    place = page.page.locator(".vgg-place").first
    words = place.inner_text()
    assert words.startswith("row 20, column 6: ")
    top, left, bottom, right = field(LAYER, 20, 6, SHAPE)
    assert f"sees input rows {top}–{bottom - 1}, columns {left}–{right - 1}" in words
    page.hover_canvas((0.99, 0.99))
    assert "row 20" not in place.inner_text()
    free(page)
    page.hover_canvas(maps.point(*center(LAYER, 20, 6)))
    page.wait_value("0", 0)
    # Once the mouse rests, the kernel sends the exact value.
    page.page.wait_for_function(
        "document.querySelector('.vgg-place').innerText.includes('column 6: ') && "
        "!document.querySelector('.vgg-place').innerText.includes('≈')"
    )
    said = float(place.inner_text().split(": ")[1].split(" ·")[0].replace(",", ""))
    assert said == pytest.approx(exact, rel=1e-3)
    unharmed(page)


@pytest.mark.slow
def test_a_page_keeps_no_more_than_its_budget(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    # One layer's maps take 256 × 28 × 24 bytes, so the budget has no room for a second layer.
    page.ask("explorer.page_budget = 0.2")
    wait_painting(page)
    count_asked(page)
    page.ask("explorer.layer = 'block3_conv2'")
    wait_painting(page)
    assert page.ask(ASKED_OF_SHOWN) > 0
    page.ask("[asked.clear(), setattr(explorer, 'layer', 'block3_conv1')]")
    wait_painting(page)
    assert page.ask(ASKED_OF_SHOWN) > 0, "both layers were cached"
    assert_painted(page)
    page.ask("explorer.page_budget = 24")
    for layer in ("block3_conv2", "block3_conv1"):
        page.ask(f"explorer.layer = {layer!r}")
        wait_painting(page)
    page.ask("[asked.clear(), setattr(explorer, 'layer', 'block3_conv2')]")
    wait_painting(page)
    assert page.ask(ASKED_OF_SHOWN) == 0, "a cached layer was requested again"
    page.ask("explorer.page_budget = 0")
    page.page.wait_for_timeout(800)
    assert page.ask("explorer.canvas.held") is False
    np.testing.assert_array_equal(pixels_of(page), drawn(page))
    unharmed(page)


def test_thumbnails_and_the_number_field_are_answered_on_the_page(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    side, truth = side_of(page, MAP), expected(page, 77)
    button = page.page.locator(".vgg-channels button[data-value]").nth(3)
    chosen = int(button.get_attribute("data-value") or -1)
    other = expected(page, chosen)
    busy(page)
    button.click()
    assert_shows(page, side, other)
    page.type_into("channel number", "77")
    assert_shows(page, side, truth)
    # A channel that does not exist is left to the kernel, which shows an error.
    page.type_into("channel number", "300")
    assert_shows(page, side, truth)
    free(page)
    wait_words(page, "problem", "channel 300")
    assert page.ask("explorer.channel") == 77
    page.wait_picture_equal(CANVAS)
    assert_painted(page)
    unharmed(page)


def test_layers_are_on_the_page_before_the_kernel_answers(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("from vgg_widget import render")
    wait_loaded(page)
    side = side_of(page, MAP)
    shared: dict[str, object] = {"cmap": "viridis", "scale": "layer"}
    down = truth_of(page, "block3_conv2", channel=7, **shared)
    twice = truth_of(page, "block3_conv3", channel=7, **shared)
    up = truth_of(page, "block2_conv2", channel=7, **shared)
    page.page.locator(DIV).first.focus()
    caption = page.page.locator(".vgg-caption").first
    busy(page)
    page.page.keyboard.press("ArrowDown")
    assert_shows(page, side, down, "block3_conv2")
    assert "block3_conv2" in caption.inner_text()
    page.page.keyboard.press("ArrowDown")
    assert_shows(page, side, twice, "block3_conv3")
    page.page.locator(".vgg-network button[data-value='\"block2_conv2\"']").last.click()
    assert_shows(page, side, up, "block2_conv2")
    assert "block2_conv2" in caption.inner_text()
    # The page has the other channels of this layer, too.
    page.page.locator(DIV).first.focus()
    page.page.keyboard.press("ArrowRight")
    assert "channel 8" in caption.inner_text()
    free(page)
    page.wait_value("explorer.layer", "block2_conv2")
    page.wait_value("explorer.channel", 8)
    assert_painted(page)

    unharmed(page)


@pytest.mark.slow
def test_modes_and_ranges_are_on_the_page_before_the_kernel_answers(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("from vgg_widget import render")
    side = side_of(page, MAP)
    page.ask("explorer.layer = 'block2_conv2'")
    actions: dict[str, tuple[Callable[[], object], str, str]] = {
        "a mode": (lambda: page.click_button("Strongest"), "block2_conv2", "layer"),
        "a layer": (lambda: page.select("layer", "block3_pool"), "block3_pool", "layer"),
        "a range": (lambda: page.select("range", "this picture"), "block3_pool", "auto"),
        "fixed colors": (lambda: page.select("more", "argmax"), "block3_pool", "auto"),
    }
    for name, (act, layer, scale) in actions.items():
        wait_loaded(page)
        mode = "argmax" if name == "fixed colors" else "max"
        truth = truth_of(page, layer, mode=mode, cmap="viridis", scale=scale)
        busy(page)
        act()
        assert_shows(page, side, truth, layer)
        free(page)
        page.wait_value("[explorer.layer, explorer.mode]", [layer, mode])
        assert_painted(page)
    unharmed(page)


@pytest.mark.slow
def test_a_location_stays_marked_while_the_page_paints(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.location = 20, 6")
    wait_painting(page)
    maps, inputs = side_of(page, MAP), side_of(page, INPUT)
    wait_framed(page, maps, unit_cell(LAYER, 20, 6))
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    pixels = pixels_of(page)
    assert_framed(pixels, inputs, field(LAYER, 20, 6, SHAPE))
    assert_framed(pixels, maps, unit_cell(LAYER, 20, 6))
    place = page.page.locator(".vgg-place").first
    assert place.inner_text().startswith("location: row 20, column 6: ≈")
    # The unit under the mouse is marked instead, until the mouse leaves.
    page.hover_canvas(maps.point(*center(LAYER, 3, 9)))
    wait_framed(page, maps, unit_cell(LAYER, 3, 9))
    page.hover_canvas((0.99, 0.99))
    wait_framed(page, maps, unit_cell(LAYER, 20, 6))
    free(page)
    page.wait_value("explorer.channel", 8)
    wait_framed(page, inputs, field(LAYER, 20, 6, SHAPE))
    exact = page.ask(f"explorer.activations['{LAYER}'][20, 6, 8].item()")
    page.page.wait_for_function("!document.querySelector('.vgg-place').innerText.includes('≈')")
    said = float(place.inner_text().split(": ")[2].split(" ·")[0].replace(",", ""))
    assert said == pytest.approx(exact, rel=1e-3)
    # A click chooses another location, and tells the kernel at once.
    page.click_canvas(maps.point(*center(LAYER, 12, 8)))
    page.wait_value("explorer.location", [12, 8])
    page.hover_canvas((0.99, 0.99))
    wait_framed(page, maps, unit_cell(LAYER, 12, 8))
    wait_framed(page, inputs, field(LAYER, 12, 8, SHAPE))
    unharmed(page)


@pytest.mark.slow
def test_playing_goes_on_while_the_kernel_has_other_work(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.panel = 'Play'")
    wait_painting(page)
    page.click_button("play")
    page.wait_value("explorer.channel > 9", value=True)
    handle = page.page.locator(".vgg-explorer .noUi-handle").first
    busy(page)
    before = float(handle.get_attribute("aria-valuenow") or 0)
    page.page.wait_for_timeout(1500)
    after = float(handle.get_attribute("aria-valuenow") or 0)
    assert after >= before + 3
    free(page)
    page.click_button("pause")
    page.ask("import ipywidgets\nNone")
    clocks = (
        "[one for one in ipywidgets.Widget.widgets.values() if isinstance(one, ipywidgets.Play)]"
    )
    page.wait_value(f"[one.playing for one in {clocks}]", [False])
    page.page.wait_for_timeout(800)
    channel = page.ask("explorer.channel")
    assert float(handle.get_attribute("aria-valuenow") or 0) == channel
    assert_painted(page)
    # No channel is skipped after the playback settings have changed.
    page.page.get_by_role("checkbox", name="repeat").check()
    page.page.get_by_role("checkbox", name="repeat").uncheck()
    seen = "[one for one in shown if one > 20]"
    watch = "shown = []\nexplorer.observe(lambda change: shown.append(change['new']), 'channel')"
    page.ask(f"{watch}\nexplorer.channel = 20\nNone")
    page.click_button("play")
    page.wait_value(f"len({seen}) > 5", value=True)
    page.click_button("pause")
    found = page.ask(seen)
    assert found == [*range(21, 21 + len(found))]
    # Playing stops at the last channel.
    page.ask("explorer.channel = 252")
    page.click_button("play")
    page.wait_value("explorer.channel", 255)
    page.page.wait_for_timeout(600)
    assert page.ask("explorer.channel") == 255
    assert page.page.get_by_role("button", name="play", exact=True).count() == 1
    unharmed(page)


@pytest.mark.slow
def test_no_exact_value_of_another_channel_is_said(lab: OpenNotebook) -> None:
    assert_says_no_value_of_another_channel(lab(EXPLORER))


@pytest.mark.slow
def test_a_channel_set_in_the_kernel_is_not_undone_by_the_next_click(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    button = page.page.locator(".vgg-channels button[data-value]").nth(2)
    first = int(button.get_attribute("data-value") or -1)
    page.page.locator(DIV).first.focus()
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    page.wait_value("explorer.channel", 10)
    page.ask(f"explorer.channel = {first}\nNone")
    page.page.wait_for_timeout(400)
    button.click()
    page.page.wait_for_timeout(600)
    assert page.ask("explorer.channel") == first
    unharmed(page)


@pytest.mark.slow
def test_what_only_the_kernel_knows_is_dimmed_until_it_arrives(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.panel = 'Display'")
    wait_painting(page)
    stage = page.page.locator(".vgg-stage").first
    opacity = "stage => Number(getComputedStyle(stage).opacity)"
    assert stage.evaluate(opacity) == 1
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    page.page.wait_for_timeout(500)
    assert stage.evaluate(opacity) < 0.6
    # The thumbnail of channel 7 is no longer pressed.
    pressed = page.page.locator(".vgg-channels button[aria-pressed='true']")
    assert pressed.evaluate_all("all => all.map((one) => one.dataset.value)") in ([], ["8"])
    assert page.control("channel number").locator("input").input_value() == "8"
    free(page)
    page.wait_value("explorer.channel", 8)
    page.page.wait_for_timeout(500)
    assert stage.evaluate(opacity) == 1
    unharmed(page)


@pytest.mark.slow
def test_a_step_works_if_the_next_layer_has_no_unit_under_the_mouse(lab: OpenNotebook) -> None:
    page = lab(EXPLORER.replace(LAYER, "block3_conv4"))
    wait_loaded(page)
    page.hover_canvas(side_of(page, MAP).point(*center("block3_conv4", 26, 22)))
    page.page.wait_for_timeout(700)
    page.page.locator(DIV).first.focus()
    page.page.keyboard.press("ArrowDown")
    page.wait_value("explorer.layer", "block3_pool")
    # The kernel forgets the mouse position with the layer, but still sends the exact value.
    wait_words(page, "place", "row 13, column 11: ")
    page.page.wait_for_function("!document.querySelector('.vgg-place').innerText.includes('≈')")
    assert page.page.locator(".vgg-behind").count() == 0
    unharmed(page)


@pytest.mark.slow
def test_a_step_back_restores_the_texts_while_the_kernel_is_busy(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_loaded(page)
    page.page.locator(DIV).first.focus()
    busy(page)
    for there, back in (("ArrowRight", "ArrowLeft"), ("ArrowDown", "ArrowUp")):
        page.page.keyboard.press(there)
        page.page.keyboard.press(back)
        caption = words(page, "caption").inner_text()
        assert LAYER in caption
        assert caption.endswith("channel 7")
        assert page.page.locator(".vgg-number input").input_value() == "7"
        chosen = page.control("layer").locator("select")
        assert LAYER in chosen.evaluate("list => list.options[list.selectedIndex].text")
    free(page)
    unharmed(page)


@pytest.mark.slow
def test_a_step_after_a_key_for_the_kernel_starts_from_its_result(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.open_channel(200)")
    page.wait_value("explorer.channel", 200)
    wait_painting(page)
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("Backspace")
    page.page.keyboard.press("ArrowRight")
    free(page)
    wait_words(page, "caption", "channel 8 ")
    page.wait_value("explorer.channel", 8)
    assert_painted(page)
    unharmed(page)


@pytest.mark.slow
def test_a_key_for_the_kernel_does_not_overtake_earlier_steps(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    wait_painting(page)
    page.page.locator(DIV).first.focus()
    busy(page)
    # The first step is under way and the second waits for it; the key must not overtake it.
    for key in ("ArrowRight", "ArrowRight", "r"):
        page.page.keyboard.press(key)
    free(page)
    page.wait_value("explorer.channel", 7)
    wait_words(page, "caption", "channel 7 ")
    page.page.wait_for_timeout(500)
    assert page.ask("explorer.channel") == 7
    unharmed(page)


@pytest.mark.slow
def test_choices_made_while_playing_leave_nothing_dimmed(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.ask("explorer.panel = 'Play'")
    wait_loaded(page)
    page.select("through", "the layers")
    page.select("speed", "20 a second")
    page.page.get_by_role("checkbox", name="repeat").check()
    page.click_button("play")
    page.page.wait_for_timeout(1500)
    page.select("layer", "├ block4_conv2")
    page.page.wait_for_timeout(300)
    page.click_button("Strongest")
    page.page.wait_for_timeout(700)
    page.click_button("pause")
    page.page.wait_for_timeout(2500)
    layer, mode = page.ask("[explorer.layer, explorer.mode]")
    assert mode == "max"
    assert page.page.locator(".vgg-behind").count() == 0
    assert f"{layer} · " in words(page, "caption").inner_text()
    assert "all " in words(page, "caption").inner_text()
    assert_painted(page)
    unharmed(page)

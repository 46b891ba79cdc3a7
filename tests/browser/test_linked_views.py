"""The linked pictures: pointing, clicking, keys, and the marks and texts that they show."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .desk import OpenNotebook
from .sight import (
    CANVAS,
    EXPLORER,
    HINT,
    INPUT,
    LAYER,
    MAP,
    SHAPE,
    Side,
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

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    "front_end",
    ["lab", *(pytest.param(one, marks=pytest.mark.slow) for one in ("notebook7", "voila"))],
    indirect=True,
)
def test_the_main_walkthrough(front_end: OpenNotebook) -> None:
    page = front_end(EXPLORER)
    whole = page.wait_picture_equal(CANVAS)
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
    page.wait_value("explorer.location", None)
    wait_framed(page, seen, None)
    assert page.wait_picture_equal(CANVAS) == whole

    page.click_canvas(here)
    page.wait_value("explorer.location", [9, 5])
    leave_picture(page)
    assert wait_words(page, "place", "location: ") == f"location: {place}"
    wait_framed(page, seen, field(LAYER, 9, 5, SHAPE))

    page.click_button("Location")
    ranked = page.ask(
        f"at = explorer.activations['{LAYER}'][9, 5]; best = (-at).argsort(kind='stable')[:10]\n"
        "[best.tolist(), at[best].tolist()]"
    )
    bars = page.page.locator(".vgg-explorer button", has_text=re.compile(r"^channel \d"))
    expect(bars).to_have_text([f"channel {number}" for number in ranked[0]])
    numbers = page.page.locator(".widget-html:has(.vgg-bar)").all_inner_texts()
    assert [float(text) for text in numbers] == pytest.approx(ranked[1], rel=1e-3)
    drawn = page.page.locator(".vgg-bar")
    lengths = drawn.evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect().width)")
    strongest = lengths[0] / ranked[1][0]
    assert strongest * max(ranked[1]) > 100
    assert lengths == pytest.approx([strongest * one for one in ranked[1]], abs=1)
    page.screenshot(f"{page.server.front_end}-location")
    drawn.nth(2).click()
    wait_words(page, "caption", f"channel {ranked[0][2]} ")
    page.wait_picture_equal(CANVAS)
    wait_framed(page, seen, field(LAYER, 9, 5, SHAPE))

    # Keys go to the clicked picture.
    page.click_canvas(here)
    page.wait_value("explorer.location", None)
    page.page.keyboard.press("Backspace")
    wait_words(page, "caption", "channel 7 ")
    page.page.keyboard.press("ArrowRight")
    wait_words(page, "caption", "channel 8 ")
    page.page.keyboard.press("ArrowDown")
    wait_words(page, "caption", "block3_conv2 · ")
    page.page.keyboard.press("g")
    wait_words(page, "caption", "all 256 channels")
    page.page.keyboard.press("g")
    wait_words(page, "caption", "block3_conv2 · 28 × 24 × 256 · channel 8 ")
    page.page.keyboard.press("r")
    wait_words(page, "caption", f"{LAYER} · 28 × 24 × 256 · channel 7 ")
    leave_picture(page)
    wait_words(page, "place", HINT)
    assert page.wait_picture_equal(CANVAS) == whole
    unharmed(page)


@pytest.mark.slow
def test_pointing_and_clicking_on_both_pictures(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.wait_picture_equal(CANVAS)
    seen, shown = side_of(page, INPUT), side_of(page, MAP)

    # On the input, the text gives the pixel's colour and the value of the nearest unit.
    page.hover_canvas(seen.point(61, 40))
    place = wait_words(page, "place", "input row 40, column 61: RGB ")
    red, green, blue = page.ask("explorer.activations.image[40, 61].tolist()")
    # This layer's fields are centred every 4 pixels from 1.5 on: 10 × 4 + 1.5, 15 × 4 + 1.5.
    assert f"RGB {red}, {green}, {blue} · nearest unit row 10, column 15: " in place
    expected = value(page, LAYER, 10, 15, 7)
    assert number_after(place, "column 15:") == pytest.approx(expected, rel=1e-3)
    wait_framed(page, seen, field(LAYER, 10, 15, SHAPE))
    page.click_canvas(seen.point(61, 40))
    page.wait_value("explorer.location", [10, 15])
    wait_framed(page, seen, field(LAYER, 10, 15, SHAPE))

    # At the border the text says that the field is clipped.
    page.hover_canvas(shown.point(*center(LAYER, 0, 23)))
    place = wait_words(page, "place", "row 0, column 23: ")
    assert "sees input rows 0–13, columns 82–95" in place
    assert "24 × 24 field is clipped by the border (10 px above it, 10 px right of it)" in place
    wait_framed(page, seen, field(LAYER, 0, 23, SHAPE))
    # Beside the pictures, text and marks are those of the chosen location again.
    page.hover_canvas((0.93, 0.5))
    wait_words(page, "place", "location: row 10, column 15: ")
    page.wait_picture_equal(CANVAS)
    wait_framed(page, seen, field(LAYER, 10, 15, SHAPE))

    page.click_button("Location")
    page.type_into("row", "20")
    page.wait_value("explorer.location", [20, 15])
    page.type_into("column", "3")
    wait_words(page, "place", "location: row 20, column 3: ")
    wait_framed(page, seen, field(LAYER, 20, 3, SHAPE))
    wait_framed(page, shown, unit_cell(LAYER, 20, 3))
    # The location keeps its place on the image when the layer changes.
    page.select("layer", "└ block5_pool")
    wait_words(page, "place", "location: row 2, column 0: ")
    page.wait_picture_equal(CANVAS)
    wait_framed(page, seen, field("block5_pool", 2, 0, SHAPE))
    page.select("layer", f"┌ {LAYER}")
    page.click_button("clear")
    wait_words(page, "place", HINT)
    page.wait_value("explorer.location", None)
    expect(page.page.get_by_text("Click on a picture, or give a row and a column")).to_be_visible()
    page.wait_picture_equal(CANVAS)
    wait_framed(page, seen, None)
    wait_framed(page, shown, None)

    # A second click on the location clears it; a drag is not a click.
    here = shown.point(*center(LAYER, 5, 6))
    page.click_canvas(here)
    page.wait_value("explorer.location", [5, 6])
    page.drag_on_canvas(here, shown.point(*center(LAYER, 12, 12)))
    wait_words(page, "place", "row 12, column 12: ")
    assert page.ask("explorer.location") == [5, 6]
    page.click_canvas(here)
    page.wait_value("explorer.location", None)

    # While the toolbar's zoom or pan is active, the mouse selects no location.
    for tool in ("Zoom to rectangle", "Left button pans"):
        page.click_toolbar(tool)
        page.hover_canvas(here)
        page.click_canvas(here)
        page.page.wait_for_timeout(300)
        assert page.ask("explorer.location") is None
        assert HINT in words(page, "place").inner_text()
        page.click_toolbar(tool)
    page.click_canvas(here)
    page.wait_value("explorer.location", [5, 6])
    unharmed(page)


def test_keys_belong_to_the_figure_and_letters_to_text_fields(lab: OpenNotebook) -> None:
    page = lab(EXPLORER, "explorer.location = (9, 5)")
    first = page.wait_picture_equal(CANVAS)
    keys, traits = page.page.keyboard, "[explorer.layer, explorer.channel, explorer.before_relu]"
    cells = page.page.locator(".jp-Cell").count()
    page.click_canvas((0.93, 0.97))
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown", "b"):
        keys.press(key)
    page.wait_value(traits, ["block3_conv2", 8, True])
    # The caption uses the name in the dropdown, although only torchvision names that side.
    layer = "block3_conv2 before ReLU (features.12)"
    wait_words(page, "caption", f"{layer} · 28 × 24 × 256 · channel 8 ")
    assert page.control("channel number").locator("input").input_value() == "8"
    keys.press("b")
    keys.press("ArrowUp")
    keys.press("ArrowUp")
    page.wait_value(traits, ["block2_pool", 8, False])
    keys.press("Escape")
    wait_words(page, "place", HINT)
    # ArrowLeft at the first channel does not raise.
    page.type_into("channel number", "0")
    page.wait_value("explorer.channel", 0)
    page.click_canvas((0.93, 0.97))
    keys.press("ArrowLeft")
    keys.press("r")
    page.wait_value(traits, [LAYER, 7, False])
    page.wait_picture_equal(CANVAS)

    # In text fields letters are text and arrows move the cursor.
    page.click_button("Open & save")
    field_of_path = page.control("picture").locator("input")
    field_of_path.click()
    keys.type("bogr")
    keys.press("ArrowLeft")
    keys.press("Backspace")
    assert field_of_path.input_value() == "bor"
    page.wait_value("[explorer.overlay, explorer.mode]", [0.0, "channel"])
    assert page.ask(traits) == [LAYER, 7, False]
    field_of_path.fill("")
    # Letters select the options of a dropdown.
    page.control("more").locator("select").focus()
    keys.press("r")
    page.wait_value("explorer.mode", "rainbow")
    # No key inserted or cut a cell of the notebook.
    assert page.page.locator(".jp-Cell").count() == cells
    # Tab moves the focus off the picture.
    canvas = page.page.locator(".jupyter-matplotlib-canvas-div")
    canvas.focus()
    keys.press("Tab")
    expect(canvas).not_to_be_focused()
    assert first.width == page.canvas_rows().width
    unharmed(page)


@pytest.mark.slow
def test_two_explorers_do_not_disturb_each_other(lab: OpenNotebook) -> None:
    second = f"""
other = LayerExplorer(sample_image(), weights="random", size=96, layer="{LAYER}", channel=7)
other
"""
    page = lab(EXPLORER, second)
    first = page.wait_picture_equal(CANVAS)
    beside = page.wait_picture_equal("other.canvas", index=1)
    here = side_of(page, MAP).point(*center(LAYER, 9, 5))
    page.click_canvas(here, index=1)
    page.wait_value("other.location", [9, 5])
    wait_words(page, "place", "row 9, column 5: ", index=1)
    for key in ("ArrowRight", "ArrowDown", "o"):
        page.page.keyboard.press(key)
    wait_words(page, "caption", "block3_conv2 · 28 × 24 × 256 · channel 8 ", index=1)
    page.wait_value("[other.layer, other.channel, other.overlay]", ["block3_conv2", 8, 0.5])
    leave_picture(page, index=1)
    page.click_button("Display", index=1)
    expect(page.control("gamma")).to_have_count(1)
    page.wait_picture_equal("other.canvas", index=1, unlike=beside)
    assert page.ask("[explorer.layer, explorer.channel, explorer.location]") == [LAYER, 7, None]
    assert page.ask("[explorer.overlay, explorer.panel, other.panel]") == [0.0, "", "Display"]
    assert page.wait_picture_equal(CANVAS) == first
    assert HINT in words(page, "place").inner_text()

    page.hover_canvas(here)
    wait_words(page, "place", "row 9, column 5: ")
    seen, shown = side_of(page, INPUT), side_of(page, MAP)
    wait_framed(page, seen, field(LAYER, 9, 5, SHAPE))
    # Closing the other explorer does not change this one.
    page.ask("other.close()\nNone")
    expect(page.page.locator(".jupyter-matplotlib-canvas-div")).to_have_count(1)
    leave_picture(page)
    wait_framed(page, shown, None)
    assert page.wait_picture_equal(CANVAS) == first
    page.click_canvas(here)
    page.wait_value("explorer.location", [9, 5])
    leave_picture(page)
    wait_framed(page, shown, unit_cell(LAYER, 9, 5))
    unharmed(page)


def test_quick_actions_end_on_the_right_picture(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    first = page.wait_picture_equal(CANVAS)
    seen, shown = side_of(page, INPUT), side_of(page, MAP)

    def sweep(side: Side) -> None:
        page.hover_canvas(side.point(8, 8))
        box = page.picture_canvas().bounding_box()
        assert box is not None
        across, down = side.point(88, 100)
        page.page.mouse.move(
            box["x"] + across * box["width"], box["y"] + down * box["height"], steps=40
        )

    sweep(shown)
    page.drag_slider("channel", 0.9)
    sweep(seen)
    page.drag_slider("channel", 0.2)
    for _ in range(5):
        page.press_slider("channel", "ArrowRight")
        sweep(shown)
    page.hover_canvas(shown.point(*center(LAYER, 17, 11)))
    channel = page.ask("explorer.channel")
    assert 45 <= channel <= 66
    place = wait_words(page, "place", "row 17, column 11: ")
    wait_words(page, "caption", f"channel {channel} ")
    page.wait_picture_equal(CANVAS, unlike=first)
    expected = value(page, LAYER, 17, 11, channel)
    assert number_after(place, "column 11:") == pytest.approx(expected, rel=1e-3)
    wait_framed(page, seen, field(LAYER, 17, 11, SHAPE))
    wait_framed(page, shown, unit_cell(LAYER, 17, 11))
    leave_picture(page)
    wait_words(page, "place", HINT)
    page.wait_value("explorer._pointing.marks().box", None)
    swept = page.wait_picture_equal(CANVAS)
    assert_framed(pixels_of(page), seen, None)
    # A full redraw changes nothing: no marks or intermediate channels are left.
    page.ask("explorer.figure.canvas.draw()\nNone")
    assert page.wait_picture_equal(CANVAS) == swept
    unharmed(page)

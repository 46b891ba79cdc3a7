"""Tests of a comparison of two images on the page, used by mouse and keyboard."""

from __future__ import annotations

import pytest

from .desk import OpenNotebook

pytestmark = pytest.mark.browser

CELL = """
import numpy as np
from vgg_widget import compare, sample_image
photo = sample_image()
comparison = compare(photo, photo[:, ::-1] // 2, weights="random", size=96, layer="block2_conv1")
comparison
"""
CANVAS = "comparison.canvas"


@pytest.mark.slow
def test_a_comparison_is_used_like_an_explorer(lab: OpenNotebook) -> None:
    page = lab(CELL, viewport=(1400, 1050))
    picture = page.wait_picture_equal(CANVAS)
    assert not picture.blank
    page.screenshot("comparison-first")

    page.select("layer", "┌ block3_conv1 · 28 × 24 × 256")
    page.wait_value("comparison.layer", "block3_conv1")
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    page.drag_slider("channel", 0.5)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert 100 <= page.ask("comparison.channel") <= 156

    # Pointing at the second image's map marks the location and shows the values of both images.
    page.hover_canvas((0.5, 0.75))
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    place = page.page.locator(".vgg-place")
    place.get_by_text("difference").wait_for()
    assert page.ask("comparison.location") is None
    page.click_canvas((0.5, 0.75))
    page.wait_value("comparison.location is None", value=False)
    row, column = page.ask("comparison.location")
    one, other = page.ask(
        "[float(each[comparison.layer][(*comparison.location, comparison.channel)])"
        " for each in (comparison.pair.first, comparison.pair.second)]"
    )
    expected = f"row {row}, column {column}: first {one:.4g}, second {other:.4g}"
    place.get_by_text(expected).wait_for()

    # The click has given the canvas the focus.
    before = page.ask("comparison.channel")
    page.page.keyboard.press("ArrowRight")
    page.wait_value("comparison.channel", before + 1)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    page.select("range", "both pictures, to the max")
    page.wait_value("comparison.scale", "channel")
    page.wait_picture_equal(CANVAS, unlike=picture)
    page.screenshot("comparison-located")
    assert page.errors() == []
    assert page.console_errors() == []


def test_another_picture_can_be_opened_and_a_zoom_applies_to_all_axes(lab: OpenNotebook) -> None:
    page = lab(CELL, viewport=(1400, 1050))
    picture = page.wait_picture_equal(CANVAS)
    page.ask("from PIL import Image\nImage.fromarray(photo[:300]).save('wide.png')\nNone")
    page.click_button("Open & save")
    page.type_into("second picture", "wide.png")
    page.page.get_by_text("second (wide.png)").wait_for()
    page.page.get_by_text("second image made 50% narrower").wait_for()
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    page.type_into("first picture", "missing.png")
    page.page.get_by_text("'missing.png' was not found").wait_for()
    assert page.wait_picture_equal(CANVAS) == picture
    page.screenshot("comparison-open")
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas((0.1, 0.15), (0.2, 0.3))
    page.wait_picture_equal(CANVAS, unlike=picture)
    limits = page.ask("[axes.get_xlim() for axes in comparison.figure.axes[:5]]")
    assert limits[0][0] > 0
    assert limits == [limits[0]] * 5
    assert page.errors() == []
    assert page.console_errors() == []

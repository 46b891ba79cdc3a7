"""Painting in other front ends, on high-DPI screens, in two views, and with odd frames."""

from __future__ import annotations

import numpy as np
import pytest

from .desk import OpenNotebook
from .page import NotebookPage
from .painting import (
    DIV,
    assert_painted,
    assert_shows,
    busy,
    drawn,
    expected,
    free,
    truth_of,
    wait_loaded,
    wait_painting,
)
from .sight import (
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
)

pytestmark = pytest.mark.browser


def assert_steps_painted(page: NotebookPage, line: int = 2) -> None:
    """Assert that the page paints steps and pointing while the kernel is busy.

    `line` is the width of a frame in pixels.
    """
    page.ask("from vgg_widget import render\nNone")
    wait_loaded(page)
    maps, inputs = side_of(page, MAP), side_of(page, INPUT)
    channel = expected(page, 8)
    layer = truth_of(page, "block3_conv2", channel=8, cmap="viridis", scale="layer")
    page.page.locator(DIV).first.focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    assert_shows(page, maps, channel)
    page.hover_canvas(maps.point(*center(LAYER, 20, 6)))
    pixels = pixels_of(page)
    assert_framed(pixels, inputs, field(LAYER, 20, 6, SHAPE), line)
    assert_framed(pixels, maps, unit_cell(LAYER, 20, 6), line)
    assert page.page.locator(".vgg-place").first.inner_text().startswith("row 20, column 6: ")
    page.hover_canvas((0.99, 0.99))
    page.page.keyboard.press("ArrowDown")
    assert_shows(page, maps, layer, "block3_conv2")
    free(page)
    page.wait_value("[explorer.layer, explorer.channel]", ["block3_conv2", 8])
    assert_painted(page)
    unharmed(page)


@pytest.mark.slow
@pytest.mark.parametrize("front_end", ["voila", "notebook7"], indirect=True)
def test_every_front_end_paints(front_end: OpenNotebook) -> None:
    assert_steps_painted(front_end(EXPLORER))


@pytest.mark.parametrize(("ratio", "line"), [(1.25, 2), (2, 4)])
@pytest.mark.slow
def test_high_dpi_painting_is_exact_to_the_byte(lab: OpenNotebook, ratio: float, line: int) -> None:
    page = lab(EXPLORER, run=False, fresh=True)
    screen = {"width": 1280, "height": 900, "deviceScaleFactor": ratio, "mobile": False}
    session = page.page.context.new_cdp_session(page.page)
    session.send("Emulation.setDeviceMetricsOverride", screen)
    page.run_all()
    assert page.page.evaluate("devicePixelRatio") == ratio
    assert_painted(page)
    assert pixels_of(page).shape[1] == round(ratio * page.ask("explorer._view.width"))
    assert_steps_painted(page, line)


@pytest.mark.slow
def test_two_views_show_the_same_and_share_what_they_keep(lab: OpenNotebook) -> None:
    page = lab(EXPLORER, "explorer")
    wait_painting(page)
    assert page.page.locator("canvas.vgg-painted").count() == 2
    side, truth = side_of(page, MAP), expected(page, 8)
    page.page.locator(DIV).nth(1).focus()
    busy(page)
    page.page.keyboard.press("ArrowRight")
    for view in (0, 1):
        pixels = pixels_of(page, view)
        for row, column in ((2, 3), (14, 20)):
            found = side.colour(pixels, *center(LAYER, row, column))
            assert found.tolist() == truth[row, column].tolist()
    free(page)
    page.wait_value("explorer.channel", 8)
    assert_painted(page)
    unharmed(page)


ODD_FRAMES = {
    "doubled": "[send(one, data), send(one, data)]",
    "one late": "[send(*late.pop()) if late else None, late.append((one, data))]",
    "swapped": "[late.append((one, data)), late[1:] and [send(*late.pop()) for _ in 'ab']]",
    "dropped": "None",
}


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(frames, marks=[] if frames == "swapped" else pytest.mark.slow)
        for frames in ODD_FRAMES
    ],
)
def test_lost_late_or_swapped_frames_end_on_the_right_picture(
    lab: OpenNotebook, frames: str
) -> None:
    page = lab(EXPLORER)
    page.ask("from vgg_widget import render\nNone")
    wait_loaded(page)
    side = side_of(page, MAP)
    shared: dict[str, object] = {"cmap": "viridis", "scale": "layer"}
    odd = f"""
send, late = explorer.canvas.send, []
def _send(one, buffers=None):
    data = buffers
    {ODD_FRAMES[frames]} if buffers else send(one)
explorer.canvas.send = _send
"""
    page.ask(f"exec({odd!r}, globals())")
    page.page.locator(DIV).first.focus()
    for key, layer, channel in (
        ("ArrowDown", "block3_conv2", 7),
        ("ArrowDown", "block3_conv3", 7),
        ("ArrowRight", "block3_conv3", 8),
        ("ArrowUp", "block3_conv2", 8),
    ):
        page.page.keyboard.press(key)
        truth = truth_of(page, layer, channel=channel, **shared)
        page.wait_value("[explorer.layer, explorer.channel]", [layer, channel])
        for wait in (0, 300, 500):
            page.page.wait_for_timeout(wait)
            assert_shows(page, side, truth, layer)
    # Once frames arrive normally, a mode that the page does not paint shows the kernel's frame.
    page.ask("setattr(explorer.canvas, 'send', send)")
    page.ask("setattr(explorer, 'mode', 'rgb')")
    page.page.wait_for_timeout(1800)
    np.testing.assert_array_equal(pixels_of(page), drawn(page))
    unharmed(page)

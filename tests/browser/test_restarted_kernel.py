"""What remains of an explorer after a restart of its kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .desk import OpenNotebook
from .page import OPEN_SECONDS, NotebookPage
from .painting import DIV, wait_loaded
from .picture import Picture
from .sight import CANVAS, EXPLORER, decoded, unharmed, words

pytestmark = pytest.mark.browser


# Toggles Settings > Save Widget State Automatically.
KEEP_WIDGETS = """jupyterapp.commands.execute(
  "@jupyter-widgets/jupyterlab-manager:saveWidgetState")"""
SAVE = "jupyterapp.commands.execute('docmanager:save')"
SHOWN = "document.querySelector('.jupyter-matplotlib-canvas-div canvas')?.width > 300"


def test_the_picture_stays_on_the_open_page_and_in_the_file(lab: OpenNotebook) -> None:
    page, _, before = restarted(lab, "test_the_picture_stays*.ipynb")
    page.press_slider("channel", "ArrowRight")
    page.page.keyboard.press("s")
    # Longer than the page waits before it sends what it wants to know.
    page.page.wait_for_timeout(2000)
    assert page.canvas_rows() == before
    assert page.console_errors() == []


@pytest.mark.slow
def test_a_reopened_page_shows_the_picture_and_its_cell_restores_the_explorer(
    lab: OpenNotebook,
) -> None:
    page, first, before = restarted(lab, "test_a_reopened_page*.ipynb")
    page.page.reload()
    page.page.wait_for_function(SHOWN, timeout=1000 * OPEN_SECONDS)
    page.page.wait_for_function("harness.idle()", timeout=1000 * OPEN_SECONDS)
    page.screenshot("restarted-kernel")
    assert page.canvas_rows() == before

    page.run_all()
    assert page.wait_picture_equal(CANVAS) == first
    page.press_slider("channel", "ArrowRight")
    page.wait_value("explorer.channel", 8)
    assert page.wait_picture_equal(CANVAS, unlike=first) == before
    unharmed(page)


def restarted(lab: OpenNotebook, name: str) -> tuple[NotebookPage, Picture, Picture]:
    """Go to the next channel, save the notebook with its widgets, and restart the kernel.

    `name` is a glob pattern of the notebook's file. Returns the page, and its picture before and
    after the step.
    """
    page = lab(EXPLORER, fresh=True)
    first = page.wait_picture_equal(CANVAS)
    page.press_slider("channel", "ArrowRight")
    page.wait_value("explorer.channel", 8)
    before = page.wait_picture_equal(CANVAS, unlike=first)
    page.page.evaluate(KEEP_WIDGETS)
    # The page encodes the picture a moment after the last frame.
    page.page.wait_for_timeout(1000)
    page.page.evaluate(SAVE)
    # The command is a toggle: restore it for the next test.
    page.page.evaluate(KEEP_WIDGETS)
    (path,) = page.server.notebooks.glob(name)
    assert_kept(path)
    page.page.evaluate("harness.kernel().restart()")
    page.page.wait_for_function("harness.idle()")
    return page, first, before


def assert_kept(path: Path) -> None:
    """Assert that the notebook file contains a picture of both input image and feature map."""
    (cell,) = json.loads(path.read_text(encoding="utf-8"))["cells"]
    # The messages about loading TensorFlow are empty by now.
    *messages, output = cell["outputs"]
    assert not any("".join(one["data"]["text/plain"]) for one in messages)
    pixels = decoded("," + output["data"]["image/png"])
    half = pixels.shape[1] // 2
    for side in (pixels[:, :half], pixels[:, half:]):
        assert len({tuple(colour) for colour in side.reshape(-1, 3).tolist()}) > 100


@pytest.mark.slow
def test_nothing_is_painted_ahead_of_a_restarted_kernel(
    lab: OpenNotebook,
) -> None:
    page = lab(EXPLORER, fresh=True)
    wait_loaded(page)
    page.page.evaluate("harness.kernel().restart()")
    page.page.wait_for_timeout(3000)
    page.page.locator(DIV).first.focus()
    for key in ("ArrowDown", "ArrowRight"):
        page.page.keyboard.press(key)
        page.page.wait_for_timeout(500)
        assert page.page.locator(".vgg-behind").count() == 0
        assert "block3_conv1" in words(page, "caption").inner_text()

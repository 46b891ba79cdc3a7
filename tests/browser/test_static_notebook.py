"""The static page of an explorer in a notebook: in JupyterLab, and offline in its HTML export."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Frame, Page, Playwright, Request

from vgg_widget import FeatureExtractor, render, sample_image
from vgg_widget.images import RGB8

from .desk import OpenNotebook, launch
from .test_explorer_file import DONE, PIXELS, assert_colours

pytestmark = pytest.mark.browser

LAYER = "block3_conv1"
CELL = f"""
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), weights="random", size=64, layer="{LAYER}", channel=3, scale="channel"
)
explorer.show_static(layers="{LAYER}", title="A page")
explorer.close()
"""
SAVE = "jupyterapp.commands.execute('docmanager:save')"


@pytest.mark.slow
def test_the_page_lives_in_a_notebook_and_in_its_html(
    lab: OpenNotebook, chromium: tuple[Playwright, str], tmp_path: Path
) -> None:
    page = lab(CELL, fresh=True)
    step_through(framed(page.page))
    page.page.evaluate(SAVE)
    assert page.console_errors() == []

    (path,) = page.server.notebooks.glob("test_the_page_lives*.ipynb")
    saved: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    text, _ = HTMLExporter().from_notebook_node(saved)  # type: ignore[no-untyped-call]
    converted = tmp_path / "saved.html"
    converted.write_text(text, encoding="utf-8")
    context = launch(*chromium, tmp_path / "profile")
    try:
        context.set_offline(True)
        reader = context.new_page()
        asked: list[str] = []

        def record(request: Request) -> None:
            if request.frame.parent_frame is not None and not request.url.startswith("data:"):
                asked.append(request.url)

        reader.on("request", record)
        # Offline, the template's scripts for formulas never load.
        reader.goto(converted.as_uri(), wait_until="domcontentloaded")
        frame = framed(reader)
        step_through(frame)
        assert asked == []
        with reader.expect_download() as saved:
            frame.locator("#modes button").first.press("s")
        assert saved.value.suggested_filename.endswith(".png")
        # The page cannot access the notebook.
        assert frame.evaluate("self.origin") == "null"
    finally:
        context.close()


def framed(page: Page) -> Frame:
    element = page.wait_for_selector("iframe[srcdoc]")
    assert element is not None
    frame = element.content_frame()
    assert frame is not None
    return frame


def step_through(frame: Frame) -> None:
    """Assert that the page shows channel 3, and channel 4 after a key press."""
    activations = FeatureExtractor("random", size=64)(sample_image())
    for channel in (3, 4):
        made = render(activations, LAYER, channel=channel, scale="channel")
        assert made.values is not None
        limits = made.vmin, made.vmax
        frame.wait_for_selector(f"#title:text-is('{made.title}')")
        assert_colours(pixels(frame), made.values, limits, 1.0)
        frame.locator("#slider").press("ArrowRight")


def pixels(frame: Frame) -> RGB8:
    frame.wait_for_selector(DONE)
    rows, columns, letters = frame.evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(letters), np.uint8).reshape(rows, columns, 4)

"""Opening images, saving files, and following the theme of the page, in a real browser."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

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
    assert_framed,
    field,
    pixels_of,
    side_of,
    unharmed,
    wait_words,
    words,
)

pytestmark = pytest.mark.browser


def read(page: NotebookPage, button: str) -> tuple[str, bytes]:
    """Click a save button, and return the name and the content of the downloaded file."""
    with page.page.expect_download() as download:
        page.click_button(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_an_image_is_opened_and_everything_is_saved(lab: OpenNotebook, tmp_path: Path) -> None:
    # A budget of 0 makes the kernel draw everything: the page paints text in another font.
    page = lab(EXPLORER, "explorer.page_budget = 0\nexplorer.location = (9, 5)")
    first = page.wait_picture_equal(CANVAS)
    page.click_button("Open & save")

    name, png = read(page, "save PNG")
    assert name == f"{LAYER}-channel7.png"
    with Image.open(io.BytesIO(png)) as saved:
        same = np.asarray(saved.convert("RGB"))
    # Apart from the footer, the saved image equals the picture on show, marks included.
    above = int(0.94 * first.height)
    assert (same[:above] == pixels_of(page, painted=False)[:above]).all()
    assert_framed(same, side_of(page, INPUT), field(LAYER, 9, 5, (112, 96)))
    name, svg = read(page, "save SVG")
    assert name == f"{LAYER}-channel7.svg"
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - trusted
    name, pdf = read(page, "save PDF")
    assert name == f"{LAYER}-channel7.pdf"
    assert pdf.startswith(b"%PDF-")
    assert b"%%EOF" in pdf[-32:]
    page.click_button("save arrays (.npz)")
    arrays = page.server.notebooks / "activations.npz"
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
    expect(area).to_be_enabled()
    expect(area).not_to_be_editable()
    page.screenshot("lab-files")
    page.click_button("show code")
    expect(area).to_have_count(0)

    # A wrong path shows an error and keeps the picture.
    page.type_into("picture", "/nowhere/cat.jpg")
    # The wrong path stays in the field, to be corrected.
    expect(page.page.get_by_label("picture", exact=True)).to_have_value("/nowhere/cat.jpg")
    message = wait_words(page, "problem", "/nowhere/cat.jpg")
    assert message.count(".") <= 3
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
    # The input shows the pixels of the new image.
    shown, pixels = side_of(page, INPUT), pixels_of(page)
    greys = [shown.colour(pixels, x, 48) for x in (8, 40, 80, 120, 150)]
    expected = [200 * (x + 0.5) / 160 for x in (8, 40, 80, 120, 150)]
    assert all(np.ptp(grey) == 0 for grey in greys)
    assert [int(grey[0]) for grey in greys] == pytest.approx(expected, abs=4)

    page.select("mode", "max")
    page.select("colors", "magma")
    page.wait_picture_equal(CANVAS, unlike=wide)
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas(shown.point(30, 20), shown.point(90, 70))
    page.click_toolbar("Zoom to rectangle")
    page.click_button("reset")
    wait_words(page, "caption", "channel 7 ")
    wait_words(page, "place", HINT)
    page.wait_value(
        "[explorer.mode, explorer.cmap, explorer.location]", ["channel", "viridis", None]
    )
    page.wait_picture_equal(CANVAS)
    # Reset undoes the zoom and keeps the last opened image.
    assert page.ask("[*explorer.figure.axes[0].get_xlim()]") == [-0.5, 159.5]
    assert page.ask("list(explorer.image.shape)") == [120, 200, 3]
    unharmed(page)


def corner(page: NotebookPage) -> list[int]:
    found = pixels_of(page)[1, 1].tolist()
    assert isinstance(found, list)
    return found


@pytest.mark.slow
def test_the_open_panel_is_remembered_and_the_theme_followed(lab: OpenNotebook) -> None:
    page = lab(EXPLORER)
    page.wait_picture_equal(CANVAS)
    assert not page.control("gamma").is_visible()
    page.click_button("Display")
    expect(page.control("gamma")).to_be_visible()
    # Running the cell again keeps the panel open.
    page.run_all()
    light = page.wait_picture_equal(CANVAS)
    expect(page.control("gamma")).to_be_visible()
    expect(page.page.get_by_role("button", name="Display")).to_have_attribute(
        "aria-expanded", "true"
    )
    assert corner(page) == [255, 255, 255]

    page.change_theme("JupyterLab Dark")
    try:
        page.wait_value("explorer.canvas.figure.get_facecolor()[0] < 0.2", value=True)
        dark = page.wait_picture_equal(CANVAS, unlike=light)
        assert corner(page) == [17, 17, 17]
        page.screenshot("lab-dark")
        # Text is light on the dark background.
        assert (pixels_of(page)[:, -60:].min(axis=-1) > 200).sum() > 20
        # The theme dropdown overrides the page's theme.
        page.select("theme", "light")
        assert page.wait_picture_equal(CANVAS, unlike=dark) == light
        page.select("theme", "auto")
        assert page.wait_picture_equal(CANVAS, unlike=light) == dark
        # A channel that is painted without a full redraw keeps the theme.
        page.type_into("channel number", "8")
        wait_words(page, "caption", "channel 8 ")
        page.wait_picture_equal(CANVAS, unlike=dark)
        assert corner(page) == [17, 17, 17]
    finally:
        page.change_theme("JupyterLab Light")
    page.wait_value("explorer.canvas.figure.get_facecolor()[0]", 1.0)
    page.wait_picture_equal(CANVAS, unlike=dark)
    assert corner(page) == [255, 255, 255]
    page.click_button("Display")
    expect(page.control("gamma")).to_be_hidden()
    page.run_all()
    page.wait_picture_equal(CANVAS)
    expect(page.control("gamma")).to_be_hidden()
    unharmed(page)

"""Tests of the page of strongest images, opened as a file in a browser and used by keyboard."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, expect

from tests.brute_force import exact_extractor, read
from tests.made_pictures import write_pictures
from vgg_widget.dataset import TopActivations, top_activations, write_page

from .desk import launch

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=alert(1)>"
PIXELS = """image => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""


@pytest.fixture(scope="module")
def browser(
    chromium: tuple[Playwright, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    context = launch(*chromium, tmp_path_factory.mktemp("profile"))
    yield context
    context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set")
    write_pictures(path / "pictures", 30)
    return path


@pytest.fixture(scope="module")
def top(folder: Path) -> TopActivations:
    pairs = [(name, folder / "pictures" / name) for name in picture_names(folder)]
    # The strongest picture of several channels, with a name that contains markup.
    bright = np.full((48, 40, 3), 255, np.uint8)
    bright[::2, ::3] = (0, 255, 0)
    Image.fromarray(bright).save(folder / "bright.png")
    return top_activations(
        exact_extractor(), [*pairs, (HOSTILE, folder / "bright.png")], k=5, progress=False
    )


def picture_names(folder: Path) -> list[str]:
    pictures = folder / "pictures"
    return sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))


def shown(page: Page) -> list[Any]:
    """Return the pixels of the patches on the page."""
    images = page.locator("#patches img").all()
    found = []
    for image in images:
        data = image.evaluate(PIXELS)
        found.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
    return found


def assert_shows(page: Page, top: TopActivations, folder: Path, layer: str, channel: int) -> None:
    """Assert that the page shows a channel's results, with patches cut from the image files."""
    expect(page.locator("#said")).to_contain_text(f"{layer}, channel {channel}: its 5 strongest")
    strongest = top[layer]
    names = [top.images[place] for place in strongest.images[channel]]
    captions = page.locator("#patches figcaption > span:not(.value)").all_inner_texts()
    assert captions == names
    values = page.locator("#patches .value").all_inner_texts()
    np.testing.assert_allclose(
        [float(value.replace(",", "")) for value in values], strongest.values[channel], rtol=5e-4
    )
    boxes = top.boxes(layer, channel)
    for patch, name, (first, left, end, right) in zip(shown(page), names, boxes, strict=True):
        whole = read(folder, "bright.png" if name == HOSTILE else f"pictures/{name}")
        np.testing.assert_array_equal(patch, whole[first:end, left:right])
    counts = strongest.histogram[channel]
    titles = page.locator("#histogram rect title").all_text_contents()
    drawn = [int(title.rpartition(": ")[2].removesuffix(" images")) for title in titles]
    assert [count for count in drawn if count] == counts[counts > 0].tolist()
    assert page.locator("#table tr").count() == np.count_nonzero(counts)
    tallest = page.locator("#histogram rect").nth(int(np.argmax(drawn)))
    heights = [float(bar.get_attribute("height") or 0) for bar in page.locator("rect").all()]
    assert float(tallest.get_attribute("height") or 0) == max(heights)
    share = float(page.locator("#active").inner_text().partition("%")[0])
    assert share == pytest.approx(100 * strongest.fraction_active[channel], abs=0.06)
    mean = page.locator("#mean").inner_text().replace(",", "")
    assert float(mean) == pytest.approx(strongest.mean[channel], rel=5e-4)


@pytest.mark.slow
def test_a_layer_and_a_channel_by_keyboard_from_a_file(
    browser: BrowserContext, top: TopActivations, folder: Path, tmp_path: Path
) -> None:
    path = write_page(top, tmp_path / "my atlas.html").path
    requested: list[str] = []
    problems: list[str] = []
    page = browser.new_page()

    def record_problem(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            problems.append(message.text)

    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", record_problem)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(path.as_uri())
    assert_shows(page, top, folder, "edges", 0)
    expect(page.locator("#waiting")).to_have_count(0)

    page.keyboard.press("Tab")
    expect(page.locator("#notice summary")).to_be_focused()
    # A button for each layer, then the dropdown.
    for layer in top:
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=layer, exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("layer", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert_shows(page, top, folder, "half", 0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(page.get_by_label("channel", exact=True)).to_be_focused()
    page.keyboard.press("ArrowRight")
    assert_shows(page, top, folder, "corners", 1)
    page.keyboard.press("Tab")
    expect(page.get_by_label("channel, as a number")).to_be_focused()
    page.keyboard.type("3")
    assert_shows(page, top, folder, "corners", 3)
    # An invalid channel changes nothing, and is corrected when the field loses the focus.
    page.keyboard.press("Control+A")
    page.keyboard.type("99")
    assert_shows(page, top, folder, "corners", 3)
    page.keyboard.press("Tab")
    expect(page.get_by_label("channel, as a number")).to_have_value("3")
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    assert_shows(page, top, folder, "corners", 2)
    # The URL contains the layer and the channel, for bookmarks.
    page.wait_for_url("**/my%20atlas.html#layer=corners&channel=2")
    page.keyboard.press("ArrowUp")
    assert_shows(page, top, folder, "half", 2)
    page.go_back()
    assert_shows(page, top, folder, "corners", 2)
    page.reload()
    assert_shows(page, top, folder, "corners", 2)
    # From a layer with more channels to one with fewer, also from a URL in the former format.
    page.goto(path.as_uri() + "#half/5")
    assert_shows(page, top, folder, "half", 5)
    page.get_by_role("button", name="corners", exact=True).click()
    assert_shows(page, top, folder, "corners", 4)

    where = next(
        (layer, channel)
        for layer in top
        for channel, row in enumerate(top[layer].images)
        if top.images.index(HOSTILE) in row
    )
    page.goto(f"{path.as_uri()}#layer={where[0]}&channel={where[1]}")
    assert_shows(page, top, folder, *where)
    assert page.title() == "What excites each channel"

    colours = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours[scheme] = page.evaluate(
            "['backgroundColor', 'color'].map(one => getComputedStyle(document.body)[one])"
        )
    assert colours["light"] == ["rgb(255, 255, 255)", "rgb(27, 27, 27)"]
    assert colours["dark"] == ["rgb(22, 22, 22)", "rgb(232, 232, 232)"]
    page.set_viewport_size({"width": 400, "height": 900})
    wide = page.evaluate(
        "[...document.querySelectorAll('*')].map(one => one.getBoundingClientRect().right)"
    )
    assert max(wide) <= 400

    assert problems == []
    assert {address.partition("#")[0] for address in requested if address[:5] != "data:"} == {
        path.as_uri()
    }

    session = browser.new_cdp_session(page)
    session.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.reload()
    expect(page.get_by_text("JavaScript is turned off here")).to_be_visible()
    expect(page.locator("#source")).to_contain_text(top.weights.label)
    expect(page.get_by_label("layer", exact=True)).to_be_hidden()
    page.close()

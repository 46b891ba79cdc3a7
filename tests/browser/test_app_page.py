"""Tests of `vgg-widget app` in a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, Playwright, Request, expect

from .actions import CANVAS, Actions, Point
from .desk import launch
from .page import HARNESS, SCREENSHOTS
from .server import FOLDERS, KERNEL_ENVIRONMENT
from .sight import RGB8, decoded

pytestmark = pytest.mark.browser

LOADING_SECONDS = 120.0
# Submits a form as another site can: with the cookie's value if it can read that, else a guess.
FORGERY = """
(address) => {
  const value = document.cookie.match(/_xsrf=([^;]*)/)?.[1] ?? "2|guess";
  document.body.innerHTML = '<form method="post"><input name="_xsrf"></form>';
  const form = document.querySelector("form");
  form.action = address;
  form.elements._xsrf.value = value;
  form.submit();
}
"""
NAME = "street & <sea>.png"


# Returns the background colour that is visible behind the explorer.
VISIBLE_BACKGROUND = """() => {
  const clear = "rgba(0, 0, 0, 0)";
  let element = document.querySelector(".vgg-explorer");
  const colour = () => getComputedStyle(element).backgroundColor;
  while (colour() === clear) element = element.parentElement;
  return colour();
}"""


class Visit(Actions):
    """A tab that shows the app.

    Parameters
    ----------
    context
        The browser.
    address
        The URL of the app.
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        super().__init__(context.new_page())
        self.errors: list[str] = []
        self.outside: set[str] = set()
        """The URLs on other machines that the page requests."""
        self.refused: set[str] = set()
        """The URLs that the browser blocked because of the page's Content-Security-Policy."""
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_init_script(path=HARNESS)
        self.page.goto(address, wait_until="commit")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            self.outside.add(request.url)

    def _failed(self, request: Request) -> None:
        if request.failure == "csp":
            self.refused.add(request.url)

    def words(self, kind: str) -> Locator:
        """Return a line of the explorer's text."""
        return self.page.locator(f".vgg-{kind}")

    def wait(self) -> None:
        """Wait until the explorer shows a picture."""
        canvas = self.page.locator(f"{CANVAS} canvas").first
        canvas.wait_for(timeout=1000 * LOADING_SECONDS)
        self.page.wait_for_function(
            "canvas => !harness.picture(canvas).blank",
            arg=canvas.element_handle(),
            timeout=1000 * LOADING_SECONDS,
        )

    def checksum(self) -> int:
        """Return a checksum of the current picture."""
        return int(self.picture_canvas().evaluate("canvas => harness.picture(canvas).crc"))

    def wait_changed(self, before: int) -> int:
        """Wait until the picture has changed, and return its checksum."""
        self.page.wait_for_function(
            "([canvas, crc]) => harness.picture(canvas).crc !== crc",
            arg=[self.picture_canvas().element_handle(), before],
            timeout=1000 * LOADING_SECONDS,
        )
        return self.checksum()

    def kernel(self) -> str:
        """Return the id of the page's kernel, known before the kernel has computed anything."""
        config = self.page.locator("#jupyter-config-data")
        config.wait_for(state="attached", timeout=1000 * LOADING_SECONDS)
        return str(json.loads(config.text_content() or "")["kernelId"])

    def close(self) -> None:
        """Close the tab as a user does, so that the page gets its unload events."""
        self.page.close(run_before_unload=True)

    def wait_colour(self, point: Point, level: int) -> None:
        """Wait until the picture has this grey at a point, in fractions from its top left."""
        self.page.wait_for_function(
            "([canvas, [x, y], level]) => canvas.getContext('2d')"
            ".getImageData(x * canvas.width, y * canvas.height, 1, 1).data[0] === level",
            arg=[self.picture_canvas().element_handle(), list(point), level],
        )

    def pixels(self) -> RGB8:
        """Return the pixels of the canvas as RGB."""
        return decoded(self.picture_canvas().evaluate("canvas => canvas.toDataURL()"))

    def resize(self, width: int) -> tuple[float, float]:
        """Set the window's width; return the left and right edges of the redrawn figure."""
        self.page.set_viewport_size({"width": width, "height": 900})
        # The page reports its width with a delay, and the figure is then redrawn.
        self.page.wait_for_timeout(1500)
        box = self.page.locator(".jupyter-matplotlib").bounding_box()
        assert box is not None
        return box["x"], box["x"] + box["width"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[str]:
    """Serve the app for a half black, half white picture in its own process; yield its URL."""
    halves = np.zeros((96, 96, 3), np.uint8)
    halves[:, 48:] = 255
    Image.fromarray(halves).save(tmp_path / NAME)
    folders = {name: str(tmp_path / folder) for name, folder in FOLDERS.items()}
    inherited = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "BROWSER")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vgg_widget", "app", NAME, "--weights", "random", "--size", "96"],
        cwd=tmp_path,
        env=inherited | folders | KERNEL_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    try:
        while "Ctrl-C" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", output)
        assert found is not None, output
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest.strip().endswith("Stopping Voila …")
    assert "403 POST" not in rest


@pytest.fixture
def browser(chromium: tuple[Playwright, str], tmp_path: Path) -> Iterator[BrowserContext]:
    """Start a Chromium with a new profile."""
    context = launch(*chromium, tmp_path / "profile")
    yield context
    context.close()


def save_screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"app-{name}.png")


def kernel_exists(app: str, kernel: str) -> bool:
    """Return whether the app's server has a kernel with this id."""
    base, query = app.split("?")
    try:
        urllib.request.urlopen(f"{base}api/kernels/{kernel}?{query}", timeout=30).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


def wait_ended(app: str, kernel: str) -> None:
    """Wait until a kernel has ended, in much less time than idle kernels are kept."""
    deadline = time.monotonic() + 60
    while kernel_exists(app, kernel):
        assert time.monotonic() < deadline, "the kernel of a closed page keeps running"
        time.sleep(0.2)


@pytest.mark.slow
def test_closing_a_page_ends_its_kernel_and_no_other_site_can_end_one(
    app: str, browser: BrowserContext
) -> None:
    visit = Visit(browser, app)
    visit.wait()
    first = visit.kernel()
    address = f"{app.partition('?')[0]}voila/api/shutdown/{first}"
    # A browser shares a host's cookies between all of its ports.
    for site in ("http://127.0.0.1:9/", "http://localhost:9/", "https://evil.example/"):
        browser.route(site, lambda route: route.fulfill(body="", content_type="text/html"))
        page = browser.new_page()
        page.goto(site)
        assert ("_xsrf=" in page.evaluate("document.cookie")) == ("127" in site)
        with page.expect_response(address) as answer:
            page.evaluate(FORGERY, address)
        assert answer.value.status == 404
    assert kernel_exists(app, first)

    visit.page.reload(wait_until="commit")
    wait_ended(app, first)
    visit.wait()
    second = visit.kernel()
    before = visit.checksum()
    visit.press_slider("channel", "ArrowRight")
    visit.wait_changed(before)

    # A page that is closed while it is loading ends its kernel, too.
    early = Visit(browser, app)
    third = early.kernel()
    early.close()
    wait_ended(app, third)
    assert kernel_exists(app, second)
    visit.close()
    wait_ended(app, second)


@pytest.mark.slow
def test_a_visit(app: str, browser: BrowserContext, tmp_path: Path) -> None:
    visit = Visit(browser, app)
    loading = visit.page.locator("#loading_text")
    expect(loading).to_have_text(
        f"Loading TensorFlow and computing all layers of {NAME} …", timeout=30_000
    )
    save_screenshot(visit.page, "loading")
    visit.wait()
    expect(visit.page).to_have_title(f"{NAME} · VGG19 explorer")
    expect(visit.words("caption")).to_contain_text("block3_conv1")
    start = re.search(r"channel (\d+)", visit.words("caption").inner_text())
    assert start is not None
    channel = int(start[1])
    assert "page_content" not in visit.page.content()
    assert visit.page.locator(".jp-InputArea, .cm-content").count() == 0

    # The figure has no resize handle in its corner, which would distort the picture. A zoom, here
    # to a part of the input's black half, does not add one.
    assert visit.handle() == 0
    visit.click_toolbar("Zoom to rectangle")
    visit.drag_on_canvas((0.06, 0.4), (0.12, 0.5))
    visit.wait_colour((0.37, 0.5), 0)
    assert visit.handle() == 0
    save_screenshot(visit.page, "zoomed")
    visit.click_toolbar("Reset original view")
    visit.wait_colour((0.37, 0.5), 255)
    visit.click_toolbar("Zoom to rectangle")

    # The figure is as wide as the page, up to a maximum width, and centred.
    for width in (700, 1000, 1600):
        left, right = visit.resize(width)
        save_screenshot(visit.page, str(width))
        assert abs(left - (width - right)) < 24
        assert right - left > min(width, 1244) - 48
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.page.evaluate(overflow) == 0

    # Another tab has its own kernel.
    other = Visit(browser, f"{app}&theme=dark")
    first = visit.checksum()
    visit.press_slider("channel", "ArrowRight")
    second = visit.wait_changed(first)
    expect(visit.words("caption")).to_contain_text(f"channel {channel + 1}")
    other.wait()
    expect(other.words("caption")).to_contain_text(f"channel {channel}")
    other.resize(1280)
    save_screenshot(other.page, "dark")
    # The figure has the page's background colour.
    page_colour = other.page.evaluate(VISIBLE_BACKGROUND)
    corner = other.pixels()[1, 1].tolist()
    assert page_colour == f"rgb({', '.join(map(str, corner))})"
    assert max(corner) < 60
    assert visit.pixels()[1, 1].tolist() == [255, 255, 255]
    other.page.close()

    # This picture exceeds the 10 MB that such servers accept by default.
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    noise[:, :1000] = (200, 0, 0)
    noise[:1000, 1000:, 0] = 0
    Image.fromarray(noise).save(tmp_path / "large.bmp")
    assert (tmp_path / "large.bmp").stat().st_size > 11_000_000
    visit.upload("other picture", tmp_path / "large.bmp")
    visit.wait_changed(second)
    pixels = visit.pixels()
    height, width = pixels.shape[:2]
    assert pixels[height // 2, width // 10].tolist() == [200, 0, 0]

    # VS Code saves files itself and notices only clicks that reach the body.
    visit.page.evaluate(
        "document.body.addEventListener('click', ({ target }) => "
        "{ if (target.download) window.heard = [target.download, target.protocol]; })"
    )
    visit.click_button("Open & save")
    with visit.page.expect_download() as download:
        visit.click_button("save PNG")
    with Image.open(download.value.path()) as saved:
        assert saved.format == "PNG"
    name = f"block3_conv1-channel{channel + 1}.png"
    assert visit.page.evaluate("window.heard") == [name, "blob:"]
    assert visit.page.locator("body > a[download]").count() == 0

    # A page that has lost its kernel says so, even after Voila has started another one.
    lost = visit.page.locator("#vgg-lost")
    expect(lost).to_be_hidden()
    kernel = visit.page.evaluate("harness.kernel().id")
    found = subprocess.run(["pgrep", "-f", f"kernel-{kernel}"], stdout=subprocess.PIPE, check=True)
    os.kill(int(found.stdout), signal.SIGKILL)
    expect(lost).to_contain_text("Python has ended", timeout=30_000)
    visit.page.wait_for_function("harness.idle()", timeout=60_000)
    expect(lost).to_be_in_viewport(ratio=1)
    save_screenshot(visit.page, "lost")
    assert visit.errors == []
    assert visit.outside == visit.refused

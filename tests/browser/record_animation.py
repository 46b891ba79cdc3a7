"""Record the README's animation: ``record_animation.py docs/explorer.webp``."""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import CDPSession, Locator, sync_playwright
from skimage import data

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.chromium import ensure_chromium
from tests.browser.desk import Desk
from tests.browser.page import NotebookPage
from tests.browser.painting import wait_loaded
from tests.browser.sight import MAP, side_of

CELL = """
from vgg_widget import LayerExplorer

explorer = LayerExplorer("cat.jpg", weights="kmeans")
explorer
"""
WINDOW = (1070, 900)
WIDTH = 962
SHARPNESS = 2
"""Pixels of the animation per CSS pixel, for high-density screens."""
STEP_MS = 70
Place = tuple[float, float]

# A mouse pointer, in pixels from its tip.
ARROW = [(0, 0), (0, 17), (4, 13.5), (7, 20), (9.8, 18.8), (6.8, 12.4), (12, 12.4)]
# The pointer is drawn at this scale and then reduced, for smooth lines.
SCALE = 4


class Recorder:
    """Moves the mouse on a notebook's page and records a frame of each step.

    Parameters
    ----------
    page
        The page, with the whole explorer in view.
    chromium
        A Chrome DevTools Protocol session for that page.
    """

    def __init__(self, page: NotebookPage, chromium: CDPSession) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []
        """How long each frame is shown, in milliseconds."""
        self.mouse: Place = (640, 120)
        self.chromium = chromium
        cell = page.page.locator(".jp-Cell").first.bounding_box()
        last = page.page.locator(".vgg-channels").first.bounding_box()
        assert cell is not None
        assert last is not None
        self.clip = {
            "x": cell["x"],
            "y": cell["y"],
            "width": WIDTH,
            "height": last["y"] + last["height"] + 8 - cell["y"],
            "scale": 1,
        }

    def frame(self, milliseconds: int = STEP_MS, *, pressed: bool = False) -> None:
        """Record what the page shows now as a frame."""
        self.page.page.wait_for_timeout(60)
        answer = self.chromium.send("Page.captureScreenshot", {"format": "png", "clip": self.clip})
        taken = Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")
        self._draw_pointer(taken, pressed=pressed)
        self.frames.append(taken)
        self.durations.append(milliseconds)

    def move(self, place: Place, steps: int, *, pressed: bool = False) -> None:
        """Move the mouse to a place on the page, easing in and out."""
        start = self.mouse
        for step in range(1, steps + 1):
            part = step / steps
            part = part * part * (3 - 2 * part)
            self.mouse = (
                start[0] + part * (place[0] - start[0]),
                start[1] + part * (place[1] - start[1]),
            )
            self.page.page.mouse.move(*self.mouse)
            self.frame(pressed=pressed)

    def click(self, target: Locator, steps: int, hold: int) -> None:
        """Click an element, and show the result for `hold` milliseconds."""
        self.move(middle(target), steps)
        before = self.page.canvas_rows()
        self.page.page.mouse.down()
        self.frame(2 * STEP_MS, pressed=True)
        self.page.page.mouse.up()
        self.page.wait_picture_equal("explorer.canvas", unlike=before)
        # The channels below the slider are updated later.
        self.page.page.wait_for_timeout(1500)
        self.frame(hold)

    def save(self, target: str) -> None:
        """Save all frames as an animated WebP that loops forever."""
        first, *others = self.frames
        first.save(
            target,
            save_all=True,
            append_images=others,
            duration=self.durations,
            loop=0,
            quality=80,
            method=4,
            minimize_size=True,
        )

    def _draw_pointer(self, image: Image.Image, *, pressed: bool) -> None:
        side = 48
        pointer = Image.new("RGBA", (side * SCALE, side * SCALE))
        draw = ImageDraw.Draw(pointer)
        tip = side / 2
        if pressed:
            ring = [(tip - 14) * SCALE, (tip - 14) * SCALE, (tip + 14) * SCALE, (tip + 14) * SCALE]
            draw.ellipse(ring, fill=(25, 118, 210, 90), outline=(25, 118, 210, 220), width=SCALE)
        arrow = [((tip + x) * SCALE, (tip + y) * SCALE) for x, y in ARROW]
        draw.polygon(arrow, fill="black")
        draw.line([*arrow, arrow[0], arrow[1]], fill="white", width=int(1.6 * SCALE), joint="curve")
        pointer = pointer.resize((side * SHARPNESS, side * SHARPNESS), Image.Resampling.LANCZOS)
        x, y = self.mouse[0] - self.clip["x"] - tip, self.mouse[1] - self.clip["y"] - tip
        image.paste(pointer, (round(SHARPNESS * x), round(SHARPNESS * y)), pointer)


def middle(target: Locator) -> Place:
    """Return the middle of an element on the page."""
    box = target.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def on_map(page: NotebookPage, across: float, down: float) -> Place:
    """Return where a point of the feature map, in fractions from its top left, is on the page."""
    side, box = side_of(page, MAP), page.picture_canvas().bounding_box()
    assert box is not None
    left, top, right, bottom = (pixels / SHARPNESS for pixels in side.pixels)
    return box["x"] + left + across * (right - left), box["y"] + top + down * (bottom - top)


def act(recorder: Recorder) -> None:
    """Drag the slider, point at the map, select another layer and jump to a channel."""
    page = recorder.page
    recorder.frame(900)
    slider = page.control("channel")
    track = slider.locator(".noUi-base").bounding_box()
    assert track is not None
    handle = middle(slider.locator(".noUi-handle").first)
    recorder.move(handle, 8)
    page.page.mouse.down()
    recorder.frame(2 * STEP_MS, pressed=True)
    for fraction, steps in ((0.45, 22), (222 / 255, 16)):
        recorder.move((track["x"] + fraction * track["width"], handle[1]), steps, pressed=True)
    page.page.mouse.up()
    page.wait_picture_equal("explorer.canvas")
    recorder.frame(500)
    for (across, down), steps in (((0.3, 0.35), 8), ((0.62, 0.4), 12), ((0.5, 0.75), 10)):
        recorder.move(on_map(page, across, down), steps)
    recorder.frame(600)
    recorder.click(page.strip_button("network", "block4_conv1"), 10, 700)
    recorder.click(page.page.locator(".vgg-channels button").nth(4), 10, 1500)


def main(target: str) -> None:
    """Record the explorer in JupyterLab and save the animation as `target`."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        desk = Desk("lab", Path(home), playwright, ensure_chromium())
        try:
            cat = Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]
            cat.save(desk.server.notebooks / "cat.jpg", quality=95)
            page = desk.open(WINDOW)
            # Playwright's own screenshots have only one pixel per CSS pixel.
            chromium = page.page.context.new_cdp_session(page.page)
            width, height = WINDOW
            chromium.send(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "mobile": False, "deviceScaleFactor": SHARPNESS},
            )
            page.show("explorer.ipynb", [CELL.strip()])
            page.run_all()
            page.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
            # Without the sidebar the page is wider, and the figure grows a moment later.
            page.wait_value("explorer.figure.bbox.width > 1500", value=True)
            page.wait_picture_equal("explorer.canvas")
            wait_loaded(page)
            recorder = Recorder(page, chromium)
            act(recorder)
            recorder.save(target)
            page.close()
        finally:
            desk.leave()


if __name__ == "__main__":
    main(sys.argv[1])

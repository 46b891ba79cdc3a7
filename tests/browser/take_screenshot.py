"""Take the README's picture: ``python tests/browser/take_screenshot.py docs/explorer.png``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.chromium import ensure_chromium
from tests.browser.desk import Desk

CELL = """
from vgg_widget import LayerExplorer, sample_image

explorer = LayerExplorer(sample_image(), weights="kmeans")
explorer
"""


def main(target: str) -> None:
    """Write the picture of a notebook that has run, as a person sees it in JupyterLab."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        desk = Desk("lab", Path(home), playwright, ensure_chromium())
        try:
            page = desk.open((1240, 1160))
            page.show("explorer.ipynb", [CELL.strip()])
            page.run_all()
            page.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
            # The page has more room then, and the figure takes it a moment later.
            page.wait_value("explorer.figure.bbox.width > 900", value=True)
            page.wait_picture_equal("explorer.canvas")
            page.page.screenshot(path=target)
            page.close()
        finally:
            desk.leave()


if __name__ == "__main__":
    main(sys.argv[1])

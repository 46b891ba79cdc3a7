"""The explorer as one file: its size, and the time to write it, to open it and to step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.benchmarks.conftest import Book
from tests.benchmarks.targets import FILE
from tests.browser.chromium import ensure_chromium
from tests.browser.desk import launch
from vgg_widget import Activations

ROUNDS = 15
# Records when the first picture is shown, in milliseconds since the start of the navigation.
WATCH = """new MutationObserver(() => {
  const explorer = document.getElementById("explorer");
  if (!window.firstPicture && explorer?.getAttribute("aria-busy") === "false")
    window.firstPicture = performance.now();
}).observe(document, { attributes: true, childList: true, subtree: true });"""
# Presses a key and gives the seconds until the new picture.
STEP = """(key) => new Promise((done) => {
  const explorer = document.getElementById("explorer");
  const begun = performance.now();
  new MutationObserver((_, observer) => {
    if (explorer.getAttribute("aria-busy") !== "false") return;
    observer.disconnect();
    done((performance.now() - begun) / 1000);
  }).observe(explorer, { attributes: true });
  document.dispatchEvent(new KeyboardEvent("keydown", { key }));
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = launch(playwright, ensure_chromium(), Path(profile))
        yield context
        context.close()


def opened(browser: BrowserContext, path: Path) -> tuple[Page, float]:
    """Open a page, and return it with the seconds to its first picture."""
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(path.as_uri())
    page.wait_for_function("window.firstPicture")
    return page, page.evaluate("window.firstPicture") / 1000


def steps(page: Page, *keys: str) -> list[float]:
    """Press keys in turn, and return the seconds that each step takes."""
    found: list[float] = []
    for number in range(ROUNDS):
        found.append(page.evaluate(STEP, keys[number % len(keys)]))
        page.wait_for_timeout(60)
    return found


def bench_a_file(book: Book, seen: Activations, browser: BrowserContext, tmp_path: Path) -> None:
    taken, path = [], tmp_path / "page.html"
    for _ in range(3):
        begun = time.perf_counter()
        written = seen.to_html(path)
        taken.append(time.perf_counter() - begun)
    book.note(FILE, "written, all layers", taken)
    book.note(FILE, "size, all layers", written.size / 1e6, "MB")
    some = [name for name in seen if name.endswith("_conv1")]
    few = seen.to_html(tmp_path / "few.html", layers=some)
    book.note(FILE, "size, one layer of each block", few.size / 1e6, "MB")
    first = []
    for _ in range(5):
        page, seconds = opened(browser, path)
        first.append(seconds)
        page.close()
    book.note(FILE, "opened → first picture", first)
    page, _ = opened(browser, path)
    book.note(FILE, "key → another channel", steps(page, "ArrowRight"))
    book.note(FILE, "key → another layer", steps(page, "ArrowDown", "ArrowUp"))
    book.note(FILE, "key → a grid of 256 maps, and back", steps(page, "g"))
    page.close()

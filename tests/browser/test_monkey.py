"""Random acts at two linked explorers: `make monkey` for many, with a seed of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Playwright

from .desk import Desk, OpenNotebook
from .monkey import CELL, NAMES, Monkey
from .page import NotebookPage
from .relay import Relay

pytestmark = pytest.mark.browser

ACTS = int(os.environ.get("MONKEY_ACTS", "100"))
SEED = int(os.environ.get("MONKEY_SEED", "1"))
# How many acts there are from one pause to the next.
BETWEEN = 10


# A server on another continent, over a line of 20 megabits a second.
FAR = partial(Relay, delay=0.075, rate=20e6 / 8)


@pytest.fixture
def far_page(chromium: tuple[Playwright, str], tmp_path: Path) -> Iterator[NotebookPage]:
    """Open a page that is far from its server."""
    desk = Desk("lab", tmp_path, *chromium, road=FAR)
    try:
        page = desk.open((1280, 1700))
        page.show("monkey.ipynb", [CELL, *NAMES])
        page.run_all()
        yield page
        page.close()
    finally:
        desk.leave()


@pytest.mark.slow
@pytest.mark.timeout(60 + 4 * ACTS)
def test_a_monkey_finds_nothing_wrong(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(CELL, *NAMES, viewport=(1280, 1700), fresh=True)
    let_monkey(page, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(120 + 8 * ACTS)
def test_nor_does_one_far_away(far_page: NotebookPage, tmp_path: Path) -> None:
    let_monkey(far_page, tmp_path)


def let_monkey(page: NotebookPage, tmp_path: Path) -> None:
    """Let a monkey act on a page, and look at what it has done at every pause."""
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, np.newaxis], 120, axis=1)
    for name, picture in (("good.png", ramp.T), ("tall.png", ramp)):
        Image.fromarray(picture).save(page.server.notebooks / name)
    good, bad = tmp_path / "upload.png", tmp_path / "bad.jpg"
    Image.fromarray(ramp[::2]).save(good)
    for place in (bad, page.server.notebooks / bad.name):
        place.write_text("<script>console.error('ran')</script>", encoding="utf-8")

    monkey = Monkey(page, SEED, [good, bad])
    try:
        monkey.look()
        for number in range(1, ACTS + 1):
            monkey.act()
            if number % BETWEEN == 0 or number == ACTS:
                monkey.look()
    except Exception as error:
        story = "\n".join(f"{number:4}  {act}" for number, act in enumerate(monkey.done, start=1))
        raise AssertionError(f"MONKEY_SEED={SEED}, after these acts:\n{story}\n{error}") from error
    finally:
        monkey_told = sum("not there" not in act for act in monkey.done)
        print(f"MONKEY_SEED={SEED}: {len(monkey.done)} acts, of which {monkey_told} were possible")

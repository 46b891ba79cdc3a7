"""Random actions on two linked explorers; `make monkey` runs more of them, with a new seed."""

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
# Actions from one check to the next.
CHECK_EVERY = 10


# A server on another continent, over a connection of 20 Mbit/s.
FAR = partial(Relay, delay=0.075, rate=20e6 / 8)


@pytest.fixture
def far_page(chromium: tuple[Playwright, str], tmp_path: Path) -> Iterator[NotebookPage]:
    """Open a page whose server is behind a slow connection."""
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
    run_monkey(page, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(120 + 8 * ACTS)
def test_a_monkey_far_away_finds_nothing_wrong(far_page: NotebookPage, tmp_path: Path) -> None:
    run_monkey(far_page, tmp_path)


def run_monkey(page: NotebookPage, tmp_path: Path) -> None:
    """Perform random actions on a page, and check the result after every `CHECK_EVERY` of them."""
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
            if number % CHECK_EVERY == 0 or number == ACTS:
                monkey.look()
    except Exception as error:
        story = "\n".join(f"{number:4}  {act}" for number, act in enumerate(monkey.done, start=1))
        raise AssertionError(f"MONKEY_SEED={SEED}, after:\n{story}\n{error}") from error
    finally:
        possible = sum("not there" not in act for act in monkey.done)
        print(f"MONKEY_SEED={SEED}: {len(monkey.done)} actions, {possible} of them possible")

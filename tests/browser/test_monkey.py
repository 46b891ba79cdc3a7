"""Random acts at two linked explorers: `make monkey` for many, with a seed of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .desk import OpenNotebook
from .monkey import CELL, NAMES, Monkey

pytestmark = pytest.mark.browser

ACTS = int(os.environ.get("MONKEY_ACTS", "100"))
SEED = int(os.environ.get("MONKEY_SEED", "1"))
# How many acts there are from one pause to the next.
BETWEEN = 10


@pytest.mark.slow
@pytest.mark.timeout(60 + 4 * ACTS)
def test_a_monkey_finds_nothing_wrong(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(CELL, *NAMES, viewport=(1280, 1700), fresh=True)
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

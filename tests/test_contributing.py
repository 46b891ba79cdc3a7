"""CONTRIBUTING.md tells how to add a mode in ten lines and its test: both are run as they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.test_modes
import vgg_widget.pictures.modes
from vgg_widget import Activations, LayerExplorer
from vgg_widget.pictures.modes import MODES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def blocks() -> Iterator[list[str]]:
    """What stands in Python under "Add a mode"; the modes are as before afterwards."""
    before = dict(MODES)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Add a mode\n")
    yield re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    MODES.clear()
    MODES.update(before)


def run(code: str, place: object) -> dict[str, Any]:
    """Run code at the end of a module, and return its names; the module stays as it is."""
    names = dict(vars(place))
    exec(code, names)  # noqa: S102 - our own page
    return names


def test_a_mode_and_its_test_take_ten_lines_as_they_are_described(
    blocks: list[str], activations: Activations, explore: Callable[..., LayerExplorer]
) -> None:
    mode, test = blocks
    lines = [line for block in blocks for line in block.splitlines() if line]
    assert len(lines) <= 10
    before = set(MODES)
    run(mode, vgg_widget.pictures.modes)
    (added,) = set(MODES) - before
    checks = {
        name: found
        for name, found in run(test, tests.test_modes).items()
        if name.startswith("test_") and name not in vars(tests.test_modes)
    }
    ((name, check),) = checks.items()
    assert added in name
    check(activations)
    rendering = explore(mode=added).rendering
    assert rendering is not None
    assert rendering.mode == added


def test_the_test_described_can_fail(blocks: list[str], activations: Activations) -> None:
    mode, test = blocks
    run(mode.replace("np.median", "np.mean"), vgg_widget.pictures.modes)
    names = run(test, tests.test_modes)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        names["test_median"](activations)

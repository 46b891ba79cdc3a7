"""Tests that run the code of CONTRIBUTING.md for adding a mode, a panel and a weights format."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.test_modes
import vgg_widget.pictures.modes
from tests.explorers import control, words
from tests.weights_server import dense
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, WeightsError
from vgg_widget.cli.command import main
from vgg_widget.explorer.panels import PANELS
from vgg_widget.pictures.modes import MODES
from vgg_widget.predictions import predictor_for
from vgg_widget.weights import random_arrays, resolve
from vgg_widget.weights.arrays import CLASSIFIER_NAMES
from vgg_widget.weights.formats import FORMATS

ROOT = Path(__file__).parents[1]


def code_under(heading: str) -> list[str]:
    """Return the Python code blocks under a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"## {heading}\n")
    return re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)


@pytest.fixture
def blocks() -> Iterator[list[str]]:
    """Yield the Python code blocks under "Add a mode", and restore the modes afterwards."""
    before = dict(MODES)
    yield code_under("Add a mode")
    MODES.clear()
    MODES.update(before)


@pytest.fixture
def numpy_format() -> Iterator[None]:
    """Run the code under "Add a weights format", and restore the formats afterwards."""
    before = list(FORMATS)
    (block,) = code_under("Add a weights format")
    exec(block, {"__name__": "mine"})  # noqa: S102 - our own page
    yield
    FORMATS[:] = before


def run(code: str, place: object) -> dict[str, Any]:
    """Run code as if it stood at the end of a module, and return its names.

    The module itself is not changed.
    """
    names = dict(vars(place))
    exec(code, names)  # noqa: S102 - our own page
    return names


def test_the_described_mode_and_its_test_work_and_take_ten_lines(
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


def test_the_described_test_can_fail(blocks: list[str], activations: Activations) -> None:
    mode, test = blocks
    run(mode.replace("np.median", "np.mean"), vgg_widget.pictures.modes)
    names = run(test, tests.test_modes)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        names["test_median"](activations)


@pytest.mark.usefixtures("home", "own_networks", "numpy_format")
def test_a_weights_format_is_one_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Any
) -> None:
    arrays = random_arrays(seed=3)
    top = dict(zip(CLASSIFIER_NAMES, dense(5), strict=True))
    path = tmp_path / "mine"
    parts: dict[str, Any] = {
        f"{name}_{part}": array
        for name, pair in {**arrays, **top}.items()
        for part, array in zip(("kernel", "bias"), pair, strict=True)
    }
    with path.open("wb") as file:
        np.savez(file, **parts)
    resolved = resolve(path)
    for name, pair in arrays.items():
        for array, wanted in zip(resolved.arrays[name], pair, strict=True):
            np.testing.assert_array_equal(array, wanted)
    assert resolved.provenance.label == "weights file mine"
    assert len(predictor_for(FeatureExtractor(path)).predict(photo)) == 5
    assert main(["weights", "--weights", str(path)]) == 0
    assert main(["weights"]) == 1
    printed = capsys.readouterr().out
    assert "weights: weights file mine\n" in printed
    assert re.search(r"your own file of Keras .* or NumPy \(\.npz\)\n", printed)
    path.write_bytes(bytes(range(255, 0, -1)))
    with pytest.raises(WeightsError, match=r"choose one of Keras .* or NumPy \(\.npz\)\."):
        resolve(path)


def test_a_panel_is_one_class_and_one_line(
    explore: Callable[..., LayerExplorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = code_under("Add a panel")
    monkeypatch.setitem(PANELS, "Shape", run(block, builtins)["ShapePanel"])
    explorer = explore(layer="block2_conv1", panel="Shape")
    assert "height 32, width 37, 128 channels" in words(explorer)
    explorer.layer = "block1_conv1"
    assert "height 64, width 75, 64 channels" in words(explorer)
    control(explorer, "deepest layer").click()
    assert explorer.layer == "block5_pool"
    assert "height 2, width 2, 512 channels" in words(explorer)
    control(explorer, "Shape").value = False
    assert explorer.panel == ""


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("hide_dead", {"controls.py"}),
        # controls.py resets them when another scale is chosen, since each scale has its own.
        ("percentile", {"display.py", "controls.py"}),
        ("gamma", {"display.py", "controls.py"}),
    ],
)
def test_a_setting_is_one_field_and_its_control(name: str, controls: set[str]) -> None:
    def named(node: ast.AST) -> bool:
        return name in (getattr(node, "attr", ""), getattr(node, "arg", "")) or (
            isinstance(node, ast.Constant) and node.value == name
        )

    files = (ROOT / "vgg_widget" / "explorer").rglob("*.py")
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    places = {one for one, tree in trees.items() if any(map(named, ast.walk(tree)))}
    assert places == {"settings.py", *controls}

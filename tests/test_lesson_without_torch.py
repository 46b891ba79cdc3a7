"""Tests that the lesson on Keras and PyTorch runs without PyTorch or safetensors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

LESSON = Path(__file__).parents[1] / "notebooks" / "04-keras-and-pytorch.ipynb"

# A None in `sys.modules` would confuse libraries that look there for packages with tensors.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

missing = sys.argv[1].split(",")

class WithoutThem(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutThem

import matplotlib
matplotlib.use("Agg")
exec(compile(sys.stdin.read(), "lesson", "exec"), {})
"""

# The parts of the lesson that are skipped without each package.
SKIPPED = {
    "torch": (
        "VGG19 in PyTorch, and its 37 outputs against Keras's",
        "a picture of both libraries' maps",
        "a .pth file (the state dict in memory takes its place)",
    ),
    "safetensors": ("writing and reading a .safetensors file",),
}
NAMES = {"torch": "PyTorch", "safetensors": "safetensors"}


def run_without(missing: tuple[str, ...], folder: Path) -> str:
    """Run the lesson's cells on a small picture; return what they print."""
    cells = nbformat.read(LESSON, as_version=4).cells  # type: ignore[no-untyped-call]
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    code.insert(code.index(parameters.source) + 1, 'weights, size = "random", 64')
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(missing)],
        input="\n".join(code),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def largest_difference(printed: str, between: str) -> float:
    found = re.search(f"{between}.*largest relative difference (\\S+)", printed)
    assert found is not None, printed
    return float(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("missing", [("torch",), ("safetensors",)], ids="+".join)
def test_the_lesson_says_what_it_skips_and_does_the_rest(
    missing: tuple[str, ...], tmp_path: Path
) -> None:
    printed = run_without(missing, tmp_path)
    for package, parts in SKIPPED.items():
        name = NAMES[package]
        notice = f"{name} is not installed (pip install 'vgg-widget[{package}]'): parts of this"
        assert (notice in printed) == (package in missing)
        skipped = re.findall(
            f"^Skipped, since {name} is not installed: (.*)\\.$", printed, re.MULTILINE
        )
        assert tuple(skipped) == (parts if package in missing else ())
    # Keras's own VGG19 still reads the exported Keras file.
    assert largest_difference(printed, "Keras's own VGG19") < 1e-4
    if "torch" not in missing:
        # The state dict is made by hand where the file cannot be written.
        assert largest_difference(printed, "PyTorch against Keras, 37 outputs") < 1e-4
    assert not list(tmp_path.iterdir())

"""A saved notebook shows the explorer's picture without a kernel."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from vgg_widget import FeatureExtractor, render, sample_image

CELL = """
from vgg_widget import LayerExplorer, sample_image
LayerExplorer(sample_image(), weights="random", size=64, layer="block2_pool", mode="max",
              cmap="gray", scale="channel")
"""
COMPARISON = """
from vgg_widget import compare
compare(sample_image(), sample_image()[::-1], weights="random", size=64, layer="block2_pool",
        mode="max", cmap="gray", scale="channel")
"""


@pytest.mark.slow
def test_a_saved_notebook_shows_the_picture_with_and_without_widget_state(tmp_path: Path) -> None:
    path = tmp_path / "saved.ipynb"
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in (CELL, COMPARISON)]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    convert(path, "--execute", "--to", "notebook", "--inplace")
    saved = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    activations = FeatureExtractor("random", size=64)(sample_image())
    expected = render(activations, "block2_pool", "max", cmap="gray", scale="channel").rgba
    greys = {tuple(map(int, colour[:3])) for colour in expected.reshape(-1, 4)}

    # GitHub and nbviewer show the output's image; a page that loads widgets uses their state.
    for cell in saved.cells:
        (output,) = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        assert len(greys & colours(output.data["image/png"])) > len(greys) / 2
    (output,) = [o for o in saved.cells[0].outputs if "image/png" in o.get("data", {})]
    assert greys <= colours(output.data["image/png"])
    state = saved.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    canvases = [m["state"] for m in state.values() if m["model_name"] == "MPLCanvasModel"]
    kept = [colours(one["_data_url"].removeprefix("data:image/png;base64,")) for one in canvases]
    assert len(kept) == 2
    assert any(greys <= found for found in kept)

    del saved.metadata["widgets"]
    nbformat.write(saved, path)  # type: ignore[no-untyped-call]
    convert(path, "--to", "html")
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]*src="data:image/png;base64,\s*([^"]+)"', page)
    assert len(pictures) == 2
    assert greys <= colours(pictures[0])


def convert(path: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "jupyter", "nbconvert", *arguments, path.name]
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True)


def colours(png: str) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        pixels = np.array(image.convert("RGB")).reshape(-1, 3)
    return {tuple(map(int, colour)) for colour in np.unique(pixels, axis=0)}

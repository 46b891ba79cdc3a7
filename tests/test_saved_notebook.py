"""A saved notebook shows the explorer's picture where no kernel is."""

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


@pytest.mark.slow
def test_nbconvert_shows_the_picture(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "saved.ipynb")  # type: ignore[no-untyped-call]
    jupyter = [sys.executable, "-m", "jupyter", "nbconvert"]
    for arguments in (["--execute", "--to", "notebook", "--inplace"], ["--to", "html"]):
        subprocess.run([*jupyter, *arguments, "saved.ipynb"], cwd=tmp_path, check=True)
    page = (tmp_path / "saved.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 1
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as image:
        drawn = {tuple(colour) for colour in np.array(image.convert("RGB")).reshape(-1, 3)}
    activations = FeatureExtractor("random", size=64)(sample_image())
    expected = render(activations, "block2_pool", "max", cmap="gray", scale="channel").rgba
    assert {tuple(colour[:3]) for colour in expected.reshape(-1, 4)} <= drawn

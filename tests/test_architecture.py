"""Tests of the structure of the package: imports, public names, file sizes and unsafe calls."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import vgg_widget
from tests.explorers import control
from vgg_widget import LayerExplorer
from vgg_widget.explorer import controls

PACKAGE = Path(vgg_widget.__file__).parent


def fresh(code: str) -> str:
    """Run code in a new Python process and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = json.loads(
        fresh("import vgg_widget, json, sys; print(json.dumps(sorted(sys.modules)))")
    )
    assert "vgg_widget.explorer.layer_explorer" in loaded
    assert "vgg_widget.dataset" not in loaded
    for heavy in (
        "anywidget",
        "tensorflow",
        "keras",
        "ipympl",
        "matplotlib.pyplot",
        "matplotlib.figure",
        "pooch",
        "h5py",
        "torch",
        "safetensors",
    ):
        assert heavy not in loaded


def test_the_public_names_are_those_of_the_interface() -> None:
    assert set(vgg_widget.__all__) == {
        "Activations",
        "ChannelAtlas",
        "FeatureExtractor",
        "ImageError",
        "LayerExplorer",
        "LayerInfo",
        "WeightsError",
        "compare",
        "load_image",
        "plot",
        "register_mode",
        "render",
        "sample_image",
        "telling_channels",
    }
    assert all(getattr(vgg_widget, name).__doc__ for name in vgg_widget.__all__)


def test_the_package_has_few_parts() -> None:
    names = {path.stem for path in PACKAGE.iterdir()} - {"__init__", "__main__", "__pycache__"}
    # "data" holds weights, and "py" is the stem of py.typed: neither is code.
    assert len(names - {"data", "py"}) <= 16


@pytest.mark.sampled
@pytest.mark.parametrize(
    "code",
    [
        "from vgg_widget.scaling import DisplayRange, Scale",
        "import vgg_widget.scaling as old, vgg_widget.pictures.scaling as new; assert old is new",
        "import vgg_widget.comparing; vgg_widget.comparing.pair, vgg_widget.comparing.render_pair",
        "from vgg_widget.animation import FigureFrames, frames, save_gif, write_gif",
        "from vgg_widget.modes import MODES, ModeRequest, Picture, Rendering, find_mode",
        "from vgg_widget.modes.legend import LegendEntry",
        "from vgg_widget.modes.tiles import TileGrid",
        "from vgg_widget.histogram import Histogram, histogram",
        "from vgg_widget.provenance import Provenance",
    ],
)
def test_imports_of_earlier_releases_still_work(code: str) -> None:
    fresh(code)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_file_has_at_most_700_lines(path: Path) -> None:
    # A longer file probably has more than one purpose.
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 700


def test_a_slider_step_runs_code_of_few_files(
    explore: Callable[..., LayerExplorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block3_conv1", channel=10)
    slider = control(explorer, "channel")
    slider.value = 11
    listed: list[object] = []
    monkeypatch.setattr(controls, "layer_options", lambda *given: listed.append(given))
    changed: list[str] = []
    explorer.observe(lambda change: changed.append(change["name"]))
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        slider.value = 12
    finally:
        sys.setprofile(None)
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (12,)
    of_explorer = {file for file in files if Path(file).is_relative_to(PACKAGE / "explorer")}
    assert len(of_explorer) <= 8, sorted(of_explorer)
    assert sorted(changed) == ["channel", "rendering"]
    assert not listed


def test_nothing_is_evaluated_or_unpickled() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path


def test_importing_ipympl_keeps_the_users_backend() -> None:
    code = (
        "import matplotlib; matplotlib.use('svg'); import vgg_widget.figure.canvas; "
        "print(matplotlib.get_backend()); matplotlib.use('agg'); print(matplotlib.get_backend())"
    )
    assert fresh(code).split() == ["svg", "agg"]

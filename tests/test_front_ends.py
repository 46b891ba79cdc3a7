"""Tests of the explorer in front ends other than Jupyter's: Colab and JupyterLite."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anywidget._util
import pytest

from vgg_widget import Activations, LayerExplorer

VIEW = "application/vnd.jupyter.widget-view+json"
URL = "https://ssl.gstatic.com/colaboratory-static/widgets/manager.min.js"


class Colab(ModuleType):
    """A stub of `google.colab.output`, whose widget manager has a URL once it is enabled."""

    def __init__(self) -> None:
        super().__init__("google.colab.output")
        self.enabled = 0
        self._widgets = SimpleNamespace(_installed_url=None)

    def enable_custom_widget_manager(self) -> None:
        self.enabled += 1
        self._widgets._installed_url = URL


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Colab]:
    """Install a stub of Colab's package, which Colab's kernels import when they start."""
    output = Colab()
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    once = anywidget._util.enable_custom_widget_manager_once
    once.cache_clear()
    yield output
    once.cache_clear()


def test_colabs_custom_widget_manager_is_enabled_once(
    colab: Colab, explore: Callable[..., LayerExplorer]
) -> None:
    shown = [explore(), explore()]
    for explorer in [*shown, shown[0]]:
        _, metadata = explorer._repr_mimebundle_()
        # Colab's own display hook writes the same metadata.
        assert metadata == {VIEW: {"colab": {"custom_widget_manager": {"url": URL}}}}
    assert colab.enabled == 1


def test_outside_colab_the_bundle_has_no_metadata_for_it(
    explore: Callable[..., LayerExplorer],
) -> None:
    bundle = explore()._repr_mimebundle_()
    assert {VIEW, "image/png", "text/plain"} == set(bundle)


def test_importing_does_not_enable_colabs_widget_manager() -> None:
    code = (
        "import sys\n"
        "from types import ModuleType\n"
        "enabled = []\n"
        "output = ModuleType('google.colab.output')\n"
        "output.enable_custom_widget_manager = lambda: enabled.append(1)\n"
        "sys.modules['google.colab.output'] = output\n"
        "import vgg_widget\n"
        "import vgg_widget.explorer.helper\n"
        "assert enabled == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_jupyterlite_shows_activations_computed_elsewhere(
    activations: Activations, tmp_path: Path
) -> None:
    activations.save(tmp_path / "x.npz")
    code = (
        "import sys\n"
        # Pyodide has no TensorFlow.
        "sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "import matplotlib; matplotlib.use('Agg')\n"
        "import matplotlib.pyplot, vgg_widget\n"
        "sys.platform = 'emscripten'\n"
        "activations = vgg_widget.Activations.load(sys.argv[1])\n"
        "rendering = vgg_widget.render(activations, 'block3_conv1', 'max')\n"
        "vgg_widget.plot(activations, 'block3_conv1', 'grid').figure.canvas.draw()\n"
        "print(float(rendering.values.sum()))\n"
        "try:\n"
        "    vgg_widget.FeatureExtractor('random')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.npz")],
        check=True,
        capture_output=True,
        text=True,
    )
    total, message = done.stdout.splitlines()
    expected = activations["block3_conv1"].max(axis=-1).sum()
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    assert message.startswith("TensorFlow does not run in JupyterLite: compute elsewhere")

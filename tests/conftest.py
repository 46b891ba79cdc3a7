"""Fixtures and helpers for several test files, and a check for leaks after each test."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pooch
import pytest
from hypothesis import HealthCheck, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import vgg_widget.network.named
from tests.brute_force import exact_extractor
from tests.made_pictures import HOSTILE, LAYER, OTHER, K, write_with_noise
from vgg_widget import (
    Activations,
    FeatureExtractor,
    LayerExplorer,
    LayerInfo,
    predictions,
    sample_image,
)
from vgg_widget.dataset import TopActivations, top_activations
from vgg_widget.explorer.atlas import patch_cards
from vgg_widget.explorer.base import ExplorerBase
from vgg_widget.explorer.helper import PageHelper
from vgg_widget.figure.feature_figure import FeatureFigure, new_figure
from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import Arrays, remote

mpl.use("Agg")

# A process that a shell starts in the background (`make test &`) ignores interrupts, and so do its
# children. The tests send interrupts to themselves and to such children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# With or without internet, and whatever the user's caches contain, the tests and their child
# processes see the same: no weights, and a server that cannot be reached.
_caches = tempfile.mkdtemp(prefix="vgg-widget-tests-")
atexit.register(shutil.rmtree, _caches, ignore_errors=True)
os.environ["KERAS_HOME"] = _caches
os.environ["XDG_CACHE_HOME"] = _caches
os.environ["VGG_WIDGET_WEIGHTS_URL"] = "http://127.0.0.1:9/nobody"
# TensorFlow enables oneDNN only on some CPUs. Without it, convolutions with channels first do not
# work on a CPU.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Use the same examples every time, so that a result depends on the code alone. Set no deadlines,
# because a busy machine is not a failure.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "wide", settings.get_profile("house"), derandomize=False, max_examples=1000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]

# The first two lessons stand for the others. Lesson 06 learns filters, which takes long, and the
# gallery draws what other tests compute too.
QUICK_NOTEBOOKS = ("01-quickstart.ipynb", "02-three-ways-to-see-a-layer.ipynb")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this system cannot run, and mark as slow what only `make test-all` runs.

    Besides the tests that are marked as slow in their files, these are most notebooks, and seven
    of eight variants of the tests marked as sampled.
    """
    if sys.platform == "win32":
        # Windows has no fork, no resource limits, no shell, and no interrupt for one process.
        posix_only = [item for item in items if item.get_closest_marker("posix")]
        config.hook.pytest_deselected(items=posix_only)
        items[:] = [item for item in items if not item.get_closest_marker("posix")]
    sampled: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.timeout(600))
            if item.path.name not in QUICK_NOTEBOOKS:
                item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("sampled"):
            sampled.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for test, variants in sampled.items():
        # The first variant is often the simplest, so start at an arbitrary but fixed one.
        first = zlib.crc32(test.encode()) % min(8, len(variants))
        for number, item in enumerate(variants):
            if number % 8 != first:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_page_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what earlier pages reported, and which panel an earlier test opened."""
    monkeypatch.setattr(PageHelper, "_last_reports", {})
    monkeypatch.setattr(ExplorerBase, "remembered_panel", "")


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test that leaves a pyplot figure or a widget behind."""
    from ipywidgets.widgets.widget import _instances as widgets

    before = set(widgets)
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    figures = list(pyplot.get_fignums()) if pyplot is not None else []
    if pyplot is not None:
        pyplot.close("all")
    left = [widgets[key] for key in set(widgets) - before]
    assert not figures, f"{len(figures)} pyplot figures were left open"
    assert not left, f"{len(left)} widgets left open: {sorted({type(w).__name__ for w in left})}"


@pytest.fixture(scope="session")
def extractor() -> FeatureExtractor:
    """VGG19 with seeded random weights, on images of any size."""
    return FeatureExtractor("random", size=None)


@pytest.fixture(scope="session")
def photo() -> RGB8:
    """A crop of a photograph, 64×75 pixels: not square, and the width is no multiple of 32."""
    piece = sample_image()[60:380:5, 100:475:5].copy()
    piece.flags.writeable = False
    assert piece.shape == (64, 75, 3)
    return piece


@pytest.fixture(scope="session")
def activations(extractor: FeatureExtractor, photo: RGB8) -> Activations:
    """The activations of `photo` in `extractor`."""
    return extractor(photo)


@pytest.fixture(scope="session")
def exact() -> FeatureExtractor:
    """A small network whose values are integers, so that the order of addition does not matter."""
    return exact_extractor()


@pytest.fixture(scope="session")
def noisy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve small pictures, and one of noise with a hostile file name."""
    path = tmp_path_factory.mktemp("noisy")
    write_with_noise(path, 12, HOSTILE)
    return path


@pytest.fixture(scope="session")
def noisy_top(extractor: FeatureExtractor, noisy_folder: Path) -> TopActivations:
    """The strongest images of `noisy_folder` for every channel of two layers."""
    return top_activations(extractor, noisy_folder, layers=[LAYER, OTHER], k=K, progress=False)


@pytest.fixture
def pictures_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that receives the name of a set's picture each time the picture is read."""
    names: list[str] = []
    real = TopActivations._picture

    def noted(top: TopActivations, place: int, **more: Any) -> Any:
        names.append(top.images[place])
        return real(top, place, **more)

    monkeypatch.setattr(TopActivations, "_picture", noted)
    return names


@pytest.fixture
def rest_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the seconds without requests after which patches are read."""
    return lambda seconds: monkeypatch.setattr(patch_cards, "REST_SECONDS", seconds)


@pytest.fixture
def shown() -> FeatureFigure:
    """The explorer's figure on a canvas without a page."""
    figure = new_figure()
    FigureCanvasAgg(figure)
    return FeatureFigure(figure)


@pytest.fixture
def explore(
    extractor: FeatureExtractor, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., LayerExplorer]]:
    """Return a function that makes explorers of `photo`; they are closed after the test."""
    # Do not open the panel that another test opened.
    monkeypatch.setattr(LayerExplorer, "remembered_panel", "")
    made: list[LayerExplorer] = []

    def build(image: object = None, **arguments: Any) -> LayerExplorer:
        # The layer and channel shown first depend on the picture; other tests cover that.
        if "extractor" not in arguments and "model" not in arguments:
            arguments = {"layer": "block1_conv1", "channel": 0, **arguments}
        arguments.setdefault("extractor", extractor)
        made.append(LayerExplorer(photo if image is None else image, **arguments))
        return made[-1]

    yield build
    for explorer in made:
        explorer.close()


@contextmanager
def networks_apart() -> Iterator[None]:
    """Use an empty network cache, so that the shared network of `extractor` is not evicted."""
    kept = vgg_widget.network.named._networks
    vgg_widget.network.named._networks = OrderedDict()
    try:
        yield
    finally:
        vgg_widget.network.named._networks = kept


@pytest.fixture
def own_networks() -> Iterator[None]:
    with networks_apart():
        yield


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Empty caches for one test, no address outside this machine, no memory of downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv(remote.ADDRESS_VARIABLE, "http://127.0.0.1:9/nobody/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(remote, "failed_downloads", {})
    monkeypatch.setattr(predictions, "_kept", {})
    yield tmp_path
    shutil.rmtree(tmp_path)  # Some of these tests write 80 MB.


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder for files of 80 MB, deleted after the test; pytest would keep it for days."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def vgg19() -> Any:
    """Keras's own VGG19 without its top, with random biases."""
    import keras

    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    generator = np.random.default_rng(5)
    for name in vgg19_kernel_shapes():  # Biases that are all zero would compare equal in any order.
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel, generator.standard_normal(bias.shape)])
    return model


@pytest.fixture(scope="session")
def expected(vgg19: Any) -> Arrays:
    """The kernels and biases of `vgg19`."""
    return {name: tuple(vgg19.get_layer(name).get_weights()) for name in vgg19_kernel_shapes()}


def pixels_of(figure: Figure, *, redraw: bool = True) -> RGB8:
    """Return a figure's pixels as RGB; without `redraw`, those that its canvas already has."""
    canvas = FigureCanvasAgg(figure) if redraw else figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    if redraw:
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def numbers_on(bar: Any) -> dict[float, float]:
    """Return the numbers beside an explorer's colorbar, by their position from 0 to 1."""
    upright = bar.bbox.height > bar.bbox.width
    (marks,) = bar.lines
    found = {}
    for number, *mark in zip(bar.texts, *marks.get_data(), strict=False):
        assert number.get_position() == tuple(mark)
        found[mark[int(upright)]] = float(number.get_text().replace(",", ""))
    assert not any(number.get_text() for number in bar.texts[len(found) :])
    return found


def make_activations(
    maps: Floats,
    *,
    before_relu: bool = False,
    others: dict[str, Floats] | None = None,
    stride: int = 1,
    label: str = "made by a test",
) -> Activations:
    """Make activations of a layer "conv" (torchvision: features.0) with these maps, and others."""
    layers = [LayerInfo("conv", "features.0", "conv", maps.shape[-1], stride, 3, 0.0)]
    every = {"conv": maps, **(others or {})}
    layers += [
        LayerInfo(name, None, "conv", other.shape[-1], stride)
        for name, other in (others or {}).items()
    ]
    side = (maps.shape[0] * stride, maps.shape[1] * stride)
    rows, columns = np.mgrid[: side[0], : side[1]]
    image = np.stack([rows * 3 % 256, columns * 5 % 256, (rows + columns) % 256], axis=-1)
    return Activations(
        layers,
        every,
        image.astype(np.uint8),
        Provenance("model", label),
        before_relu=("conv",) if before_relu else (),
    )

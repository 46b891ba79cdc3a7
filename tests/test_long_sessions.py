"""Tests of long sessions: closed explorers are freed, and several threads share an explorer.

``make soak`` runs more rounds; SESSION_ROUNDS sets their number.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import comm
import ipywidgets as widgets
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget import _instances
from traitlets import TraitError

from tests.explorers import assert_as_drawn_whole, assert_consistent, page_of, problem, with_class
from vgg_widget import FeatureExtractor, LayerExplorer
from vgg_widget.explorer.comparison import Comparison, compare
from vgg_widget.explorer.panels import PANELS

ROUNDS = int(os.environ.get("SESSION_ROUNDS", "8"))
Explore = Callable[..., LayerExplorer]


def figures() -> int:
    from matplotlib.figure import Figure

    # `isinstance` reads `__class__`, at which some objects of other packages warn.
    return sum(issubclass(type(one), Figure) for one in gc.get_objects())


def count() -> dict[str, int]:
    """Count the objects that a session may accumulate."""
    gc.collect()
    files = Path("/proc/self/fd")
    return {
        "widgets": len(_instances),
        "comms": len(comm.get_comm_manager().comms),
        "threads": threading.active_count(),
        "figures": figures(),
        "files": len(list(files.iterdir())) if files.is_dir() else 0,
    }


def memory() -> float:
    """Return this process's resident memory in MB, or 0 where the system does not report it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024


def parts(explorer: Any) -> dict[str, ref[Any]]:
    parts = {
        "explorer": explorer,
        "activations": explorer.measured,
        "figure": explorer.figure,
        "canvas": explorer.canvas,
        "page": page_of(explorer),
        "controls": explorer._controls,
    }
    return {name: ref(part) for name, part in parts.items()}


def plain(extractor: FeatureExtractor, picture: Any) -> Any:
    return LayerExplorer(picture, extractor=extractor)


def displayed(extractor: FeatureExtractor, picture: Any) -> Any:
    explorer = LayerExplorer(picture, extractor=extractor, theme="dark")
    bundle = explorer._repr_mimebundle_()
    assert "image/png" in (bundle[0] if isinstance(bundle, tuple) else bundle)
    return explorer


def unfolded(extractor: FeatureExtractor, picture: Any) -> Any:
    explorer = LayerExplorer(picture, extractor=extractor, layer="block2_conv1")
    for title in PANELS:
        explorer.panel = title
    return explorer


def two(extractor: FeatureExtractor, picture: Any) -> Any:
    return compare(picture, picture[::-1], extractor=extractor, panel="Open & save")


def from_state(extractor: FeatureExtractor, picture: Any) -> Any:
    first = LayerExplorer(picture, extractor=extractor, mode="grid", panel="Location")
    state = json.loads(json.dumps(first.state()))
    first.close()
    return LayerExplorer.from_state(picture, state, extractor=extractor)


def after_an_error(extractor: FeatureExtractor, picture: Any) -> Any:
    faults: list[dict[str, Any]] = [{"layer": "block9"}, {"panel": "none"}, {"order": "location"}]
    for wrong in faults:
        with pytest.raises(TraitError) as caught:
            LayerExplorer(picture, extractor=extractor, **wrong)
        caught.value.__traceback__ = None
    return LayerExplorer(picture, extractor=extractor)


SESSION = """
from pathlib import Path
import numpy as np
from vgg_widget import LayerExplorer

for number in range(16):
    picture = np.random.default_rng(number).integers(0, 256, (96, 96, 3), np.uint8)
    explorer = LayerExplorer(picture, weights="kmeans", size=None)
    explorer.layer = "block3_conv1"
    explorer.mode = "grid"
    explorer.close()
    print(memory())
"""

KINDS = [plain, displayed, unfolded, two, from_state, after_an_error]


@pytest.mark.slow
def test_closed_explorers_are_freed(extractor: FeatureExtractor, photo: Any) -> None:
    for make in KINDS:
        # Fill caches that stay: fonts, colormaps, a thread of TensorFlow.
        make(extractor, photo).close()
    before, held = count(), memory()
    megabytes = 0.0
    for number in range(ROUNDS):
        explorer = KINDS[number % len(KINDS)](extractor, photo)
        measured = explorer.measured
        megabytes += sum(maps.nbytes for maps in measured.values()) / 1e6
        known = parts(explorer)
        explorer.close()
        del explorer, measured
        gc.collect()
        left = [name for name, part in known.items() if part() is not None]
        assert not left, f"{KINDS[number % len(KINDS)].__name__} left {', '.join(left)}"
    assert count() == before
    # An allocator keeps fragments, but activations that were not freed would take all of this.
    assert memory() - held < 20 + megabytes / 2


@pytest.mark.sampled
@pytest.mark.parametrize("make", KINDS)
def test_a_closed_explorer_is_freed_with_its_last_variable(
    extractor: FeatureExtractor, photo: Any, make: Callable[..., Any]
) -> None:
    # Fill caches that stay.
    make(extractor, photo).close()
    gc.collect()
    # Python's collector counts objects, not bytes, and closed explorers are too few to start it.
    gc.disable()
    try:
        explorer = make(extractor, photo)
        known = parts(explorer)
        explorer.close()
        del explorer
        assert known["explorer"]() is None
        assert known["activations"]() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_memory_does_not_grow_with_closed_explorers() -> None:
    code = inspect.getsource(memory) + SESSION
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *later = [float(line) for line in done.stdout.split()]
    # An explorer of a 96×96 picture has maps of 12 MB, and as much again in its figure.
    assert max(later) < first + 80


@pytest.mark.slow
def test_earlier_pictures_are_freed(explore: Explore, photo: Any) -> None:
    explorer = explore(layer="block2_conv1")
    for title in PANELS:
        explorer.panel = title
    explorer.image = photo[::-1]
    before, held, last = count(), memory(), ref(explorer.activations)
    for number in range(ROUNDS):
        explorer.image = np.roll(photo, number, axis=1)
        explorer.channel = number % 64
        gc.collect()
        assert last() is None
        last = ref(explorer.activations)
    assert count() == before
    megabytes = sum(maps.nbytes for maps in explorer.activations.values()) / 1e6
    assert memory() - held < 20 + ROUNDS * megabytes / 2


@pytest.mark.slow
def test_one_call_frees_the_explorers_of_a_cell_run_again(
    extractor: FeatureExtractor, photo: Any
) -> None:
    own = widgets.IntSlider()
    known = []
    for _ in range(3):
        # Each run binds the name to another explorer, and leaves the old one open.
        explorer: Any = LayerExplorer(photo, extractor=extractor)
        comparison: Any = compare(photo, photo, extractor=extractor)
        known += [parts(explorer)["activations"], parts(comparison)["activations"]]
    gc.collect()
    assert all(part() is not None for part in known)
    kept = explorer
    del explorer, comparison
    Comparison.close_all()
    gc.collect()
    assert [part() is not None for part in known] == [False] * 4 + [True, False]
    assert kept.closed
    # An explorer that a variable still holds keeps its arrays.
    assert kept.activations["block1_conv1"].shape[-1] == 64
    assert own.comm is not None
    for widget in (own.style, own.layout, own):
        widget.close()


def test_a_cell_run_many_times_frees_its_explorers(extractor: FeatureExtractor, photo: Any) -> None:
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.user_ns.update(LayerExplorer=LayerExplorer, extractor=extractor, photo=photo)
    before = len(_instances)
    counts = []
    for number in range(50 if ROUNDS > 50 else 5):
        cell = (
            "LayerExplorer.close_all()\n"
            f"explorer = LayerExplorer(photo[:32, :32], extractor=extractor, channel={number})"
        )
        shell.run_cell(cell).raise_error()
        counts.append(len(_instances) - before)
    assert len(set(counts)) == 1
    assert shell.user_ns["explorer"].channel == number
    shell.run_cell("LayerExplorer.close_all()").raise_error()
    assert len(_instances) == before
    InteractiveShell.clear_instance()


# --- displayed twice, and after closing


def test_displayed_twice_and_after_it_was_closed(explore: Explore) -> None:
    explorer = explore()
    first, second = explorer._repr_mimebundle_(), explorer._repr_mimebundle_()
    one, other = (made[0] if isinstance(made, tuple) else made for made in (first, second))
    assert one == other
    explorer.channel = 5
    assert_as_drawn_whole(explorer)
    explorer.close()
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    data, _ = shell.display_formatter.format(explorer)
    assert data == {"text/plain": "explorer is closed: make a new LayerExplorer."}
    assert repr(explorer) == "<LayerExplorer: closed>"
    InteractiveShell.clear_instance()


def test_a_comparison_displayed_after_it_was_closed(
    extractor: FeatureExtractor, photo: Any
) -> None:
    comparison = compare(photo, photo, extractor=extractor)
    comparison.close()
    assert comparison._repr_mimebundle_() == {
        "text/plain": "comparison is closed: call compare again."
    }


@pytest.mark.parametrize("kind", [LayerExplorer, Comparison])
def test_shift_tab_shows_the_arguments(kind: Any) -> None:
    network = ["extractor", "model", "preprocess", "weights", "network", "size"]
    names = [*network, "layer", "channel", "mode", "cmap", "scale", "layout"]
    images = ["image"] if kind is LayerExplorer else ["first", "second"]
    if kind is LayerExplorer:
        names[-1:] = ["predict", "top_images", "layout"]
    assert list(inspect.signature(kind).parameters) == [*images, *names]
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.user_ns["kind"] = kind
    found = (
        shell.object_inspect("kind")["init_definition"]
        or shell.object_inspect("kind")["definition"]
    )
    assert "cmap: 'str' = 'magma'" in found
    InteractiveShell.clear_instance()

    class Mine(kind):  # type: ignore[misc]
        def __init__(self, folder: str) -> None:
            raise NotImplementedError

    assert list(inspect.signature(Mine).parameters) == ["folder"]


# --- threads


def in_threads(*works: Callable[[], object]) -> None:
    """Run functions at once, the last in this thread; fail on an error or a deadlock."""
    errors: list[BaseException] = []

    def caught(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(work,), daemon=True) for work in works[:-1]]
    for thread in threads:
        thread.start()
    caught(works[-1])
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "deadlocked threads"
    assert errors == []


@pytest.fixture
def fast_switches() -> Iterator[None]:
    """Switch between threads a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.usefixtures("fast_switches")
def test_callbacks_on_other_threads_and_cells_at_once(
    explore: Explore, photo: Any, tmp_path: Path
) -> None:
    explorer = explore(layer="block2_conv1")
    texts: list[str] = []
    with_class(explorer, "vgg-problem").observe(lambda change: texts.append(change["new"]), "value")
    layers = ["block1_conv1", "block2_conv1", "block4_pool"]

    def by_page(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(12):
            act = generator.choice(["channel", "layer", "mode", "cmap"])
            value: Any = {
                "channel": generator.randrange(64),
                "layer": generator.choice(layers),
                "mode": generator.choice(["channel", "max", "grid"]),
                "cmap": generator.choice(["viridis", "gray"]),
            }[act]
            explorer.reporting_errors(partial(explorer.choose, **{act: value}))()

    def by_cells() -> None:
        generator = random.Random(9)
        for number in range(6):
            explorer.channel = generator.randrange(64)
            explorer.image = np.roll(photo, number + 1, axis=0)
            explorer.save(tmp_path / "picture.png")
            with explorer.hold_trait_notifications():
                explorer.layer, explorer.mode = layers[number % 3], "channel"

    in_threads(lambda: by_page(1), lambda: by_page(2), lambda: by_page(3), by_cells)
    assert not any(texts)
    np.testing.assert_array_equal(explorer.image, np.roll(photo, 6, axis=0))
    assert_consistent(explorer)
    assert problem(explorer) == ""


def test_closing_while_it_computes(
    explore: Explore, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    computing, real = threading.Event(), LayerExplorer._compute

    def compute(self: LayerExplorer, readings: Any) -> Any:
        computing.set()
        # Give the other thread time to arrive and wait.
        closer.join(0.3)
        return real(self, readings)

    monkeypatch.setattr(LayerExplorer, "_compute", compute)

    def close() -> None:
        computing.wait(20)
        explorer.close()

    closer = threading.Thread(target=close, daemon=True)
    closer.start()
    explorer.image = photo[::-1]
    closer.join(60)
    assert not closer.is_alive()
    assert explorer.closed
    # The computation in progress is finished, and later calls are refused.
    np.testing.assert_array_equal(explorer.image, photo[::-1])
    with pytest.raises(RuntimeError, match="explorer is closed: make a new LayerExplorer"):
        explorer.image = photo
    explorer.reporting_errors(lambda: explorer.choose(channel=3))()
    assert explorer.channel == 0


@pytest.mark.parametrize("name", ["channel", "rendering", "activations", "layer"])
def test_closing_in_an_observer(explore: Explore, photo: Any, name: str) -> None:
    explorer = explore()
    explorer.observe(lambda _: explorer.close(), name)
    if name == "activations":
        explorer.image = photo[::-1]
    elif name == "layer":
        explorer.reporting_errors(lambda: explorer.choose(layer="block3_conv1", channel=200))()
    else:
        explorer.channel = 5
    assert explorer.closed
    assert explorer.canvas.manager is None

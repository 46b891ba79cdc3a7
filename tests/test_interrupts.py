"""Tests of interrupts: reported at any stage, nothing half changed, and the next step works."""

from __future__ import annotations

import gc
import io
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from PIL import Image

from tests.explorers import (
    assert_as_drawn_whole,
    assert_consistent,
    below,
    click,
    control,
    made_panel,
    on_canvas,
    page_of,
    point,
    press,
    problem,
)
from tests.weights_server import Mirror, passing_for
from vgg_widget import Activations, FeatureExtractor, LayerExplorer
from vgg_widget.explorer.comparison import Comparison, compare
from vgg_widget.figure.color_bars import ColorBars
from vgg_widget.figure.feature_figure import FeatureFigure
from vgg_widget.figure.linked_figure import LinkedFigure
from vgg_widget.network import backend, named, vgg
from vgg_widget.pictures.modes import find_mode
from vgg_widget.support.interrupts import interrupts_delayed
from vgg_widget.weights import imagenet

Explore = Callable[..., LayerExplorer]


@contextmanager
def interrupted(owner: object, name: str, *, at: str = "before") -> Iterator[list[object]]:
    """Send an interrupt at the first call of a function, before or after it does its work.

    Where interrupts are delayed, the function does its work in either case.
    """
    real, calls = getattr(owner, name), list[object]()

    def once(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1 and at == "before":
            signal.raise_signal(signal.SIGINT)
        result = real(*arguments, **keywords)
        if len(calls) == 1 and at == "after":
            signal.raise_signal(signal.SIGINT)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, once)
        yield calls
        assert calls, f"{name} was not called"


def assert_whole(explorer: LayerExplorer) -> None:
    """Assert that traits, picture, canvas and controls agree, and that the lock is free."""
    assert_consistent(explorer)
    controls = [one for one in below(explorer) if hasattr(one, "disabled")]
    colormap = control(explorer, "colors")
    assert colormap.disabled == (not find_mode(explorer.mode).uses_cmap)
    assert not any(one.disabled for one in controls if one is not colormap)
    free: list[bool] = []

    def ask() -> None:
        free.append(explorer._lock.acquire(timeout=10))
        explorer._lock.release()

    other = threading.Thread(target=ask)
    other.start()
    other.join(20)
    assert free == [True]


def assert_reported(explorer: LayerExplorer) -> None:
    assert problem(explorer) == (
        f"Interrupted: still showing layer {explorer.layer} in mode {explorer.mode}, as the "
        "controls say; try again, or choose something else."
    )


def assert_next_works(explorer: LayerExplorer, image: Any) -> None:
    # Leave the grid, which looks the same for every channel.
    control(explorer, "mode").value = "channel"
    before = on_canvas(explorer)
    control(explorer, "channel").value = (explorer.channel + 5) % 64
    assert explorer.channel == control(explorer, "channel").value
    assert problem(explorer) == ""
    assert (on_canvas(explorer) != before).any()
    assert_whole(explorer)
    explorer.image = image[::-1]
    np.testing.assert_array_equal(explorer.image, image[::-1])
    assert_whole(explorer)
    assert problem(explorer) == ""


# The stages of a choice; another picture goes through all of `WITH_IMAGES`.
STAGES = {
    "rendering": ("vgg_widget.explorer.layer_explorer.render", "before"),
    "before drawing": ("vgg_widget.figure.linked_figure.map_extent", "before"),
    "amid drawing": ("vgg_widget.figure.color_bars.ColorBars.update", "before"),
    "after drawing": ("vgg_widget.figure.linked_figure.LinkedFigure._update", "after"),
    "words": ("vgg_widget.explorer.controls.Controls.say", "before"),
    "controls": ("vgg_widget.explorer.controls.Controls.show", "before"),
}
WITH_IMAGES = {
    "reading": ("vgg_widget.network.extractor.read_image", "before"),
    "forward pass": ("vgg_widget.network.extractor.FeatureExtractor._network_inputs", "before"),
    "computed": ("vgg_widget.explorer.layer_explorer.LayerExplorer._compute", "after"),
    "images": ("vgg_widget.figure.linked_figure.LinkedFigure._show_images", "before"),
    **STAGES,
}


def place(path: str) -> tuple[object, str]:
    owner, _, name = path.rpartition(".")
    return pkgutil.resolve_name(owner), name


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("stage", "by"),
    [
        *((stage, by) for stage in STAGES for by in ("a cell", "a control")),
        *((stage, by) for stage in ("rendering", "amid drawing") for by in ("several", "a jump")),
    ],
)
def test_an_interrupted_choice_is_complete_or_undone(
    explore: Explore, photo: Any, stage: str, by: str
) -> None:
    explorer = explore(layer="block2_conv1", channel=3)
    path, at = STAGES[stage]

    def several() -> None:
        with explorer.hold_trait_notifications():
            explorer.layer, explorer.mode = "block3_conv2", "grid"

    acts: dict[str, Callable[[], None]] = {
        "a cell": lambda: setattr(explorer, "layer", "block3_conv2"),
        "a control": lambda: setattr(control(explorer, "layer"), "value", "block3_conv2"),
        "several": several,
        "a jump": lambda: explorer.open_channel(7, "block3_conv2"),
    }
    # A control's callback does not pass the interrupt on, since Jupyter would only log it.
    passed_on = nullcontext() if by == "a control" else pytest.raises(KeyboardInterrupt)
    with interrupted(*place(path), at=at), passed_on:
        acts[by]()
    assert_whole(explorer)
    assert_reported(explorer)
    # An interrupt while rendering undoes the choice; a later one does not.
    assert explorer.layer == ("block2_conv1" if stage == "rendering" else "block3_conv2")
    assert explorer.can_go_back == (by == "a jump" and stage != "rendering")
    assert_next_works(explorer, photo)


def test_an_interrupted_layer_change_keeps_a_valid_channel(explore: Explore, photo: Any) -> None:
    explorer = explore(layer="block3_conv1", channel=200)
    path = "vgg_widget.explorer.base.ExplorerBase._set_traits"
    with interrupted(*place(path)), pytest.raises(KeyboardInterrupt):
        explorer.layer = "block1_conv1"
    assert (explorer.layer, explorer.channel) == ("block1_conv1", 63)
    assert_whole(explorer)
    assert_reported(explorer)
    assert_next_works(explorer, photo)


@pytest.mark.slow
def test_another_explorer_at_work_changes_nothing(explore: Explore, photo: Any) -> None:
    explorer, other = explore(layer="block2_conv1", channel=3), explore()
    asked = threading.Event()

    def work() -> None:
        asked.set()
        with other.hold_trait_notifications():
            time.sleep(0.5)

    thread = threading.Thread(target=work)
    with pytest.MonkeyPatch.context() as patch:

        def strike(*given: Any) -> None:
            patch.undo()
            thread.start()
            asked.wait(10)
            signal.raise_signal(signal.SIGINT)
            ColorBars.update(*given)

        patch.setattr(ColorBars, "update", strike)
        control(explorer, "layer").value = "block3_conv2"
    thread.join(10)
    assert_reported(explorer)
    assert_whole(explorer)
    assert_next_works(explorer, photo)


@pytest.mark.sampled
@pytest.mark.parametrize("stage", WITH_IMAGES)
@pytest.mark.parametrize("by", ["a cell", "an upload"])
def test_an_interrupted_picture_change_is_complete_or_undone(
    explore: Explore, photo: Any, stage: str, by: str, tmp_path: Path
) -> None:
    explorer = explore(layer="block2_conv1", channel=3)
    other = np.ascontiguousarray(photo[:48, ::-1])
    before = explorer.activations
    path, at = WITH_IMAGES[stage]
    with interrupted(*place(path), at=at):
        if by == "a cell":
            with pytest.raises(KeyboardInterrupt):
                explorer.image = other
        else:
            file = io.BytesIO()
            Image.fromarray(other).save(file, "png")
            upload = {"name": "a.png", "type": "image/png", "last_modified": datetime.now(tz=UTC)}
            content = memoryview(file.getvalue())
            control(explorer, "other picture").value = (
                {**upload, "content": content, "size": len(content)},
            )
    assert_whole(explorer)
    assert_reported(explorer)
    early = stage in ("rendering", "reading", "forward pass", "computed")
    assert (explorer.activations is before) == early
    np.testing.assert_array_equal(explorer.image, photo if early else other)
    assert_next_works(explorer, photo)


def test_an_interrupted_observer_leaves_the_explorer_whole(explore: Explore, photo: Any) -> None:
    explorer = explore()

    called: list[str] = []

    def slow(change: dict[str, Any]) -> None:
        called.append(change["name"])
        raise KeyboardInterrupt

    for name, trait, value in (
        ("channel", "channel", 1),
        ("rendering", "channel", 2),
        ("activations", "image", photo[:, ::-1]),
    ):
        # The observer is not called again to undo the change.
        explorer.observe(slow, name)
        with pytest.raises(KeyboardInterrupt):
            setattr(explorer, trait, value)
        explorer.unobserve(slow, name)
        assert_whole(explorer)
        assert_reported(explorer)
    assert called == ["channel", "rendering", "activations"]
    assert explorer.channel == 2
    np.testing.assert_array_equal(explorer.image, photo[:, ::-1])
    assert_next_works(explorer, photo)


@pytest.mark.parametrize("by", ["a cell", "a control"])
def test_an_interrupted_panel_is_built_or_folded(explore: Explore, photo: Any, by: str) -> None:
    from vgg_widget.explorer.panels.circuit import CircuitPanel

    explorer = explore(layer="block2_conv1")
    for stage in ("__init__", "show"):
        with interrupted(CircuitPanel, stage):
            if by == "a control":
                control(explorer, "Circuit").value = True
            else:
                with pytest.raises(KeyboardInterrupt):
                    explorer.panel = "Circuit"
        assert_whole(explorer)
        assert_reported(explorer)
        assert control(explorer, "Circuit").value == (explorer.panel == "Circuit")
        explorer.panel = ""
    explorer.panel = "Circuit"
    assert problem(explorer) == ""
    # An interrupt of an open panel's computation belongs to the step that caused it.
    with interrupted(CircuitPanel, "show"), pytest.raises(KeyboardInterrupt):
        explorer.channel = 9
    assert_whole(explorer)
    assert_reported(explorer)
    assert_next_works(explorer, photo)


def test_interrupted_mouse_and_key_callbacks_are_reported(
    explore: Explore, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1")
    with interrupted(FeatureFigure, "mark", at="after"):
        point(explorer, "map", 3, 4)
    assert_reported(explorer)
    with interrupted(LinkedFigure, "hit"):
        click(explorer, "map", 3, 3)
    assert_reported(explorer)
    monkeypatch.setattr(page_of(explorer), "send", lambda *_: None)
    with interrupted(explorer._pointing, "_step_layer"):
        press(explorer, "ArrowDown")
    assert_reported(explorer)
    assert_whole(explorer)
    assert_next_works(explorer, photo)


def test_saving_leaves_no_half_file(explore: Explore, photo: Any, tmp_path: Path) -> None:
    explorer = explore()
    for name, owner in (("picture.png", LinkedFigure), ("maps.npz", Activations)):
        path = tmp_path / name
        path.write_bytes(b"before")
        with interrupted(owner, "save"), pytest.raises(KeyboardInterrupt):
            explorer.save(path)
        assert path.read_bytes() == b"before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["maps.npz", "picture.png"]
    assert_whole(explorer)
    assert_next_works(explorer, photo)


def test_an_interrupt_stops_playing(explore: Explore, photo: Any) -> None:
    explorer = explore(panel="Play")
    control(explorer, "play").click()
    clock = made_panel(explorer, "Play").clock
    with interrupted(*place(STAGES["rendering"][0])):
        clock.value += 1
    assert not clock.playing
    assert_reported(explorer)
    clock.value += 1
    assert_reported(explorer)
    assert_next_works(explorer, photo)


def test_an_interrupted_comparison_is_complete_or_undone(
    extractor: FeatureExtractor, photo: Any
) -> None:
    comparison = compare(photo, photo[::-1], extractor=extractor, layer="block2_conv1")
    before = comparison.pair
    with (
        interrupted(Comparison, "_render"),
        pytest.raises(KeyboardInterrupt),
    ):
        comparison.first = photo[:, ::-1]
    assert comparison.pair is before
    np.testing.assert_array_equal(comparison.first, photo)
    with interrupted(LinkedFigure, "_show_images"), pytest.raises(KeyboardInterrupt):
        comparison.images = photo[:, ::-1], photo
    np.testing.assert_array_equal(comparison.second, photo)
    assert_reported(comparison)
    assert_as_drawn_whole(comparison)
    control(comparison, "channel").value = 3
    assert comparison.renderings is not None
    assert comparison.renderings.first.channels == (3,)
    assert problem(comparison) == ""
    comparison.close()


MAKING = {
    **WITH_IMAGES,
    "figure": ("vgg_widget.figure.linked_figure.new_figure", "before"),
    "canvas": ("vgg_widget.figure.canvas.live_canvas", "after"),
    "building": ("vgg_widget.explorer.base.ExplorerBase._fit_page", "after"),
    "box": ("ipywidgets.VBox.__init__", "after"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("stage", MAKING)
def test_interrupted_construction_leaves_nothing_behind(
    extractor: FeatureExtractor, photo: Any, stage: str
) -> None:
    path, at = MAKING[stage]
    before = set(_instances)
    with interrupted(*place(path), at=at), pytest.raises(KeyboardInterrupt):
        LayerExplorer(photo, extractor=extractor, panel="Circuit")
    if stage not in ("canvas", "building", "box"):
        assert set(_instances) == before
    for key in set(_instances) - before:
        _instances[key].close()
    gc.collect()
    explorer = LayerExplorer(photo, extractor=extractor, channel=1)
    assert_whole(explorer)
    assert problem(explorer) == ""
    explorer.close()


# --- the real signal, which may arrive anywhere in the interpreter


def test_an_interrupt_waits_for_work_that_cannot_be_repeated() -> None:
    done: list[int] = []

    def work() -> None:
        with interrupts_delayed():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before
    with interrupts_delayed():
        done.append(3)
    assert done == [1, 3]


def test_other_threads_and_ignored_interrupts_go_on() -> None:
    done: list[int] = []

    def work() -> None:
        with interrupts_delayed():
            done.append(1)

    other = threading.Thread(target=work)
    other.start()
    other.join(10)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work()
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [1, 1]


def test_widgets_are_built_and_closed_whole(
    extractor: FeatureExtractor, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pressing the stop button repeatedly leaves no widget behind."""
    before = set(_instances)
    real = widgets.Widget.open
    opened: list[int] = []

    def struck(widget: widgets.Widget) -> None:
        opened.append(1)
        real(widget)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(widgets.Widget, "open", struck)
        with pytest.raises(KeyboardInterrupt):
            LayerExplorer(photo, extractor=extractor)
        assert set(_instances) == before
        allowed = opened.copy()

        def struck_later(widget: widgets.Widget) -> None:
            opened.append(1)
            real(widget)
            # Wait until the box exists, so that the other widgets are being made.
            if len(opened) > len(allowed) + 4:
                signal.raise_signal(signal.SIGINT)

        patch.setattr(widgets.Widget, "open", struck_later)
        with pytest.raises(KeyboardInterrupt):
            LayerExplorer(photo, extractor=extractor)
    assert len(opened) > 30
    assert set(_instances) == before
    explorer = LayerExplorer(photo, extractor=extractor)
    close = widgets.Widget.close

    def struck_at_the_end(widget: widgets.Widget) -> None:
        was_open = widget.comm is not None
        close(widget)
        if was_open:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(widgets.Widget, "close", struck_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        explorer.close()
    assert set(_instances) == before


def test_several_interrupts_do_not_stop_the_drawing(explore: Explore, photo: Any) -> None:
    explorer = explore(layer="block2_conv1")
    real = LinkedFigure._update
    struck: list[int] = []

    def strike(figure: LinkedFigure, *arguments: Any, **keywords: Any) -> None:
        struck.append(1)
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        real(figure, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinkedFigure, "_update", strike)
        with pytest.raises(KeyboardInterrupt):
            explorer.layer = "block3_conv1"
    assert len(struck) == 1
    assert_whole(explorer)
    assert_reported(explorer)
    assert_next_works(explorer, photo)


def test_an_interrupt_while_closing_waits_for_the_end(
    extractor: FeatureExtractor, photo: Any
) -> None:
    before = set(_instances)
    explorer = LayerExplorer(photo, extractor=extractor)
    canvas, figure, real = explorer.canvas, explorer.figure, explorer.canvas.close

    def struck(_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        real()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(canvas), "close", struck)
        with pytest.raises(KeyboardInterrupt):
            explorer.close()
    assert explorer.closed
    assert figure.axes == []
    assert canvas.manager is None
    assert set(_instances) == before


def test_a_cells_own_work_within_a_hold_can_be_interrupted(explore: Explore, photo: Any) -> None:
    explorer = explore()
    done: list[int] = []

    def work() -> None:
        with explorer.hold_trait_notifications():
            explorer.channel = 5
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == []
    assert_whole(explorer)
    assert_reported(explorer)
    assert_next_works(explorer, photo)


def test_an_error_after_an_interrupt_is_shown(
    explore: Explore, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1")

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(explorer.canvas, "draw", fail)
        with interrupted(*place(STAGES["rendering"][0])):
            control(explorer, "channel").value = 9
    assert "on purpose" in problem(explorer)
    assert explorer.channel == 0
    assert_next_works(explorer, photo)


# --- networks and files


def test_the_import_of_tensorflow_is_not_left_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def struck() -> Iterator[None]:
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(backend, "quiet_log", struck)
    backend._import_once.cache_clear()
    imported: list[object] = []
    import tensorflow as tf

    constant = tf.constant

    def noted(*given: object) -> Any:
        imported.append(given)
        return constant(*given)

    monkeypatch.setattr(tf, "constant", noted)
    with pytest.raises(KeyboardInterrupt):
        backend.keras_and_tensorflow()
    assert imported == [(0,)]
    monkeypatch.undo()
    assert backend.keras_and_tensorflow()[1] is tf


@pytest.mark.sampled
@pytest.mark.usefixtures("own_networks")
@pytest.mark.parametrize(
    ("module", "stage"), [(named, "resolve"), (named, "built_vgg"), (vgg, "traced_for")]
)
def test_a_network_that_was_not_finished_is_not_kept(photo: Any, module: Any, stage: str) -> None:
    with interrupted(module, stage), pytest.raises(KeyboardInterrupt):
        LayerExplorer(photo, weights="random")
    assert named._networks == {}
    explorer = LayerExplorer(photo, weights="random", size=64)
    assert explorer.activations["block5_conv4"].max() > 0
    assert_whole(explorer)
    explorer.close()


def test_a_download_leaves_nothing_and_is_begun_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mirror() as mirror:
        monkeypatch.setenv("VGG_WIDGET_WEIGHTS_URL", mirror.url)
        file = passing_for(imagenet.IMAGENET["vgg19"], mirror.payload)
        mirror.midway = lambda: signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            file.download_once()
        assert [one for one in home.rglob("*") if one.is_file()] == []
        mirror.midway = lambda: None
        path = file.download_once()
        assert path.read_bytes() == mirror.payload
        assert [one for one in home.rglob("*") if one.is_file()] == [path]


def test_a_stream_ends_its_readers(extractor: FeatureExtractor, photo: Any) -> None:
    before = threading.active_count()
    with interrupted(FeatureExtractor, "_network_inputs"), pytest.raises(KeyboardInterrupt):
        list(extractor.stream([photo] * 9, batch_size=2))
    gc.collect()
    assert threading.active_count() == before
    assert len(list(extractor.stream([photo] * 3, batch_size=2))) == 3


# --- the tests themselves


def test_a_program_that_a_test_starts_can_be_interrupted() -> None:
    code = "import signal; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1:] == ["KeyboardInterrupt"]


@pytest.mark.posix
@pytest.mark.slow
def test_the_tests_pass_when_run_in_the_background() -> None:
    # `make test &` in a script, `nohup` and some services start programs that ignore interrupts.
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "pytest", "-q"]
    names = ("an_interrupt_waits_for_work_that_cannot_be_repeated", "a_program_that_a_test_starts")
    chosen = ["-p", "no:cacheprovider", __file__, "-k", " or ".join(names)]
    done = subprocess.run([*ignoring, *chosen], capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout

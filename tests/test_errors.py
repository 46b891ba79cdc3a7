"""Tests of errors in callbacks: each is shown below the controls, and everything still works."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.explorers import (
    click,
    control,
    let_paint,
    made_panels,
    page_of,
    page_says,
    point,
    press,
    problem,
    words,
)
from vgg_widget import FeatureExtractor, LayerExplorer, register_mode
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.comparison import compare
from vgg_widget.explorer.errors import ErrorMessage
from vgg_widget.explorer.panels import PANELS
from vgg_widget.pictures.modes import MODES

Explore = Callable[..., LayerExplorer]


def parts(explorer: LayerExplorer) -> tuple[str, str]:
    """Return the sentence of the shown error and the text of its details, which may be empty."""
    found = re.fullmatch(
        r'(.*?)(?:<details class="vgg-details"><summary>details</summary><pre [^<>]*>(.*)</pre>'
        r"</details>)?",
        problem(explorer),
        re.DOTALL,
    )
    assert found is not None
    sentence, details = found[1], found[2] or ""
    # The text of an error is escaped.
    assert "<" not in sentence + details
    assert (explorer._controls.problem.layout.display is None) == bool(sentence)
    return html.unescape(sentence), html.unescape(details)


def fail(*_: object) -> Any:
    raise ZeroDivisionError("failing <b>on purpose</b>")


@pytest.fixture
def failing_mode() -> Iterator[list[Any]]:
    """Register a mode that raises the first error of a list, unless it is empty; yield the list."""
    errors: list[Any] = []

    @register_mode("failing")
    def _failing(maps: Any, _: object) -> Any:
        if errors:
            raise errors[0]
        return maps.max(axis=-1)

    yield errors
    del MODES["failing"]


def assert_works(explorer: LayerExplorer) -> None:
    """Assert that the next action takes effect, is rendered, and clears the error."""
    slider = control(explorer, "channel")
    slider.value = 5 if explorer.channel != 5 else 6
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (slider.value,)
    assert parts(explorer) == ("", "")


def test_an_expected_error_is_one_sentence_without_details(explore: Explore) -> None:
    explorer = explore()
    control(explorer, "channels").value = "3, cat"
    sentence, details = parts(explorer)
    assert sentence.startswith(
        "channels 'cat' is not a number or range: write for instance 0, 5-8,"
    )
    assert details == ""
    assert_works(explorer)
    explorer.panel = "Open & save"
    control(explorer, "picture").value = "none/such.png"
    sentence, details = parts(explorer)
    assert re.match(r"image 'none/such.png' was not found: .*", sentence)
    assert details == ""
    assert_works(explorer)


def test_a_file_that_cannot_be_written_is_an_expected_error(
    explore: Explore, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    explorer = explore()
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    tmp_path.joinpath("gone").rmdir()
    explorer.panel = "Open & save"
    assert "Arrays cannot be saved: " in words(explorer)
    control(explorer, "save arrays (.npz)").click()
    sentence, details = parts(explorer)
    assert "No such file" in sentence or "does not exist" in sentence
    assert details == ""
    monkeypatch.chdir(tmp_path)
    control(explorer, "save arrays (.npz)").click()
    assert parts(explorer) == ("", "")
    assert len(list(tmp_path.glob("*.npz"))) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("no <script>alert(1)</script> & division"),
        ValueError("two\nlines"),
        OSError(5, "gone"),
        KeyError("x"),
        RuntimeError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_custom_mode_that_raises_is_named_with_its_lines(
    explore: Explore, failing_mode: list[Any], error: Exception
) -> None:
    explorer = explore(layer="block2_conv1", channel=3)
    before = explorer.rendering
    failing_mode.append(error)
    modes = control(explorer, "mode")
    modes.value = "failing"
    sentence, details = parts(explorer)
    message = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
    assert message in sentence
    assert "mode 'failing' failed on layer 'block2_conv1'" in sentence
    assert "\n" not in sentence
    # The details show the failing line, like the traceback of a cell.
    assert "raise errors[0]" in details
    assert str(error) in details
    assert (explorer.mode, modes.value, explorer.rendering) == ("channel", "channel", before)
    assert_works(explorer)
    failing_mode.clear()
    explorer.mode = "failing"
    assert explorer.rendering is not None
    assert explorer.rendering.values is not None
    np.testing.assert_allclose(
        explorer.rendering.values, explorer.activations["block2_conv1"].max(axis=-1)
    )


def test_in_a_cell_the_same_error_is_an_ordinary_traceback(
    explore: Explore, failing_mode: list[Any]
) -> None:
    explorer = explore()
    failing_mode.append(ZeroDivisionError("mine"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        explorer.mode = "failing"
    assert parts(explorer) == ("", "")
    assert explorer.mode == "channel"


def test_an_error_in_a_users_observer_is_reported(explore: Explore) -> None:
    explorer = explore()
    explorer.observe(fail, "channel")
    control(explorer, "channel").value = 4
    sentence, details = parts(explorer)
    assert "ZeroDivisionError: failing <b>on purpose</b>" in sentence
    assert "in fail" in details
    explorer.unobserve(fail, "channel")
    assert_works(explorer)


def test_an_error_of_a_linked_explorer_is_shown(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1")
    other = explore(layer="block1_conv1")
    explorer.observe(lambda change: setattr(other, "channel", change["new"]), "channel")
    control(explorer, "channel").value = 100
    assert "channel 100 is not in layer 'block1_conv1'" in parts(explorer)[0]
    assert other.channel == 0
    assert_works(explorer)


def test_an_error_on_another_thread_is_shown(explore: Explore) -> None:
    # Some kernels run the callbacks of widgets in another thread.
    explorer = explore()
    explorer.observe(fail, "channel")
    escaped: list[Any] = []
    hook, threading.excepthook = threading.excepthook, escaped.append
    try:
        thread = threading.Thread(target=lambda: setattr(control(explorer, "channel"), "value", 4))
        thread.start()
        thread.join(20)
    finally:
        threading.excepthook = hook
    assert escaped == []
    assert "on purpose" in parts(explorer)[0]
    explorer.unobserve(fail, "channel")
    assert_works(explorer)


# --- the page


def test_an_error_in_a_mouse_callback_is_shown(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1")
    with monkeypatch.context() as patch:
        patch.setattr(explorer._view, "mark", fail)
        point(explorer, "map", 3, 4)
        assert "on purpose" in parts(explorer)[0]
    # The mouse may move over the picture on its way to the details, which must not clear the error.
    point(explorer, "map", 5, 6)
    assert "on purpose" in parts(explorer)[0]
    click(explorer, "map", 5, 6)
    # The units of this layer are two pixels apart.
    assert (explorer.location, parts(explorer)) == ((3, 2), ("", ""))
    with monkeypatch.context() as patch:
        patch.setattr(explorer._view, "hit", fail)
        click(explorer, "map", 3, 3)
        assert "on purpose" in parts(explorer)[0]
    assert_works(explorer)


def test_an_error_in_a_users_canvas_listener(explore: Explore) -> None:
    explorer = explore()
    connection = explorer.canvas.mpl_connect("motion_notify_event", fail)
    point(explorer, "map", 3, 4)
    sentence, details = parts(explorer)
    assert "on purpose" in sentence
    assert "in fail" in details
    explorer.canvas.mpl_disconnect(connection)
    assert_works(explorer)


def test_an_error_of_a_delayed_drawing_is_shown(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    canvas = explorer.canvas
    # The page is not ready yet: the next drawing waits until the page reports that it is.
    canvas.draw()
    with monkeypatch.context() as patch:
        patch.setattr(canvas, "draw", fail)
        canvas.draw_idle()
        let_paint(explorer)
        assert "on purpose" in parts(explorer)[0]
    assert_works(explorer)


def test_an_error_in_a_key_callback_is_shown(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1")
    sent: list[Any] = []
    monkeypatch.setattr(page_of(explorer), "send", lambda *message: sent.append(message[0]))
    with monkeypatch.context() as patch:
        patch.setattr(explorer._pointing, "_step_layer", fail)
        press(explorer, "ArrowDown")
    assert "on purpose" in parts(explorer)[0]
    press(explorer, "ArrowDown")
    assert (explorer.layer, parts(explorer)) == ("block2_conv2", ("", ""))
    # The page holds the next key back until the last one is answered.
    assert sent == [{"kind": "answered"}] * 2


def test_an_error_in_a_message_of_the_page_is_shown(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    page = page_of(explorer)
    page_of(explorer).copy("text", fail)
    page._handle_custom_msg({"kind": "copied", "number": 0, "ok": True}, [])
    assert "on purpose" in parts(explorer)[0]
    assert_works(explorer)
    page._handle_custom_msg({}, [])
    assert "KeyError: 'kind'" in parts(explorer)[0]
    assert_works(explorer)
    page._handle_custom_msg({"kind": "failed", "doing": "download", "message": "Error: <i>"}, [])
    sentence, details = parts(explorer)
    assert sentence.startswith("the page could not download (Error: <i>): reload it, or use")
    assert details == ""
    assert_works(explorer)
    with monkeypatch.context() as patch:
        patch.setattr(type(explorer._view), "theme", property(fail, fail))
        page.theme = "dark"
        assert "on purpose" in parts(explorer)[0]
    with monkeypatch.context() as patch:
        patch.setattr("vgg_widget.explorer.base.fitting_width", fail)
        page.room = 400
        assert "on purpose" in parts(explorer)[0]
    assert_works(explorer)


def test_an_answer_of_the_page_does_not_clear_an_error(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    sent: list[Any] = []
    monkeypatch.setattr(page_of(explorer), "send", lambda *message: sent.append(message[0]))
    press(explorer, "c")
    control(explorer, "channels").value = "3, cat"
    (number,) = [message["number"] for message in sent if message["kind"] == "copy"]
    page_says(explorer, kind="copied", number=number, ok=True)
    assert parts(explorer)[0].startswith("channels 'cat' is not a number")
    assert_works(explorer)


def test_observers_that_jump_reset_and_close_do_no_harm(explore: Explore) -> None:
    explorer = explore(layer="block1_conv1")
    explorer.open_channel(3, "block2_conv1")

    def reset(change: dict[str, Any]) -> None:
        if change["new"] == "block1_conv1":
            explorer.reset()

    explorer.observe(reset, "layer")
    explorer.back()
    assert (explorer.layer, explorer.can_go_back) == ("block1_conv1", False)
    explorer.channel = 5
    explorer.observe(lambda _: explorer.close(), "channel")
    explorer.reset()
    assert explorer.closed


def test_an_observer_that_fails_while_it_is_closed_leaves_nothing_open(explore: Explore) -> None:
    explorer, other = explore(), explore()
    figure = explorer.figure
    explorer.observe(lambda _: explorer.to_bytes())
    with pytest.raises(RuntimeError, match="is closed"):
        LayerExplorer.close_all()
    assert figure.axes == []
    assert (explorer.closed, other.closed) == (True, True)


# --- panels


@pytest.mark.sampled
@pytest.mark.parametrize("title", list(PANELS))
def test_a_panel_that_cannot_be_made_stays_folded(
    explore: Explore, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    explorer._switcher._makers[title] = fail
    button = control(explorer, title)
    button.value = True
    assert "on purpose" in parts(explorer)[0]
    assert not button.value
    assert_works(explorer)
    # Pressing the button again makes another attempt.
    explorer._switcher._makers[title] = PANELS[title]
    button.value = True
    assert (parts(explorer), explorer._switcher.opened) == (("", ""), title)
    other = next(name for name in PANELS if name != title)
    control(explorer, other).value = True
    assert (explorer.panel, control(explorer, other).value) == (other, True)


def own(callback: Any) -> bool:
    return str(getattr(callback, "__module__", "")).startswith("vgg_widget.")


def callbacks_of(explorer: Any) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the callbacks of the package on the explorer's widgets, including its panels."""
    inside = widgets_of(*explorer.children, *made_panels(explorer))
    for widget in inside:
        what = f"{type(widget).__name__} {getattr(widget, 'description', '')!r}"
        for name, kinds in widget._trait_notifiers.items():
            for callback in kinds.get("change", []):
                if own(callback):
                    yield f"{what} {name}", callback
        for kind in ("_click_handlers", "_msg_callbacks"):
            for callback in getattr(widget, kind).callbacks if hasattr(widget, kind) else ():
                if own(callback):
                    yield f"{what} {kind}", callback


class Poison:
    """An argument that fails on every use in a callback."""

    def __getattribute__(self, name: str) -> object:
        raise ZeroDivisionError("failing <b>on purpose</b>")

    def __getitem__(self, name: object) -> object:
        raise ZeroDivisionError("failing <b>on purpose</b>")


@pytest.mark.slow
def test_no_callback_lets_an_error_escape(
    explore: Explore,
    extractor: FeatureExtractor,
    photo: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)  # One of the callbacks is that of a button that saves a file.
    explorer = explore()
    for title in PANELS:
        explorer.panel = title
    comparison = compare(photo, photo, extractor=extractor, panel="Open & save")
    comparison.panel = "Display"
    monkeypatch.setattr(page_of(explorer), "send", lambda *_: None)
    monkeypatch.setattr(page_of(comparison), "send", lambda *_: None)
    for one in (explorer, comparison):
        callbacks = list(callbacks_of(one))
        assert len(callbacks) > 15
        for what, callback in callbacks:
            if what.endswith("_msg_callbacks"):
                callback(None, {"kind": "no such"}, [])
                callback(None, {"type": "no such"}, [])
            elif what.startswith("PageHelper "):
                callback({"name": "theme", "new": "light"})
            else:
                callback(Poison())
    explorer.mode = "channel"  # One of the buttons opens the grid, whatever its argument.
    assert_works(explorer)
    comparison.close()


@pytest.mark.slow
def test_an_error_while_restoring_the_controls_is_shown_too(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    explorer.observe(fail, "channel")
    with monkeypatch.context() as patch:
        patch.setattr(explorer, "_refresh_controls", lambda: int("lost"))
        control(explorer, "channel").value = 4
    sentence, details = parts(explorer)
    assert "on purpose" in sentence
    assert "on purpose" in details
    assert "invalid literal for int" in details
    explorer.unobserve(fail, "channel")
    assert_works(explorer)


def test_a_nested_action_does_not_clear_the_error_of_the_outer_one(explore: Explore) -> None:
    explorer = explore()

    def two() -> None:
        explorer.reporting_errors(fail, clear=False)()
        explorer.reporting_errors(lambda: None)()

    explorer.reporting_errors(two)()
    assert "on purpose" in parts(explorer)[0]
    explorer.reporting_errors(lambda: None)()
    assert parts(explorer) == ("", "")


def test_the_sentence_shortens_a_long_error_and_the_details_are_complete() -> None:
    words = f"first {'x' * 1000}\nsecond"
    complaint = ErrorMessage.of(MemoryError(words))
    assert len(complaint.sentence) < 500
    assert "MemoryError: first xxx" in complaint.sentence
    assert words in complaint.details

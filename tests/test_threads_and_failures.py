"""Explorers that several threads change, panels that fail, and extreme values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.figure import Figure
from traitlets import TraitError, link

from tests.conftest import make_activations
from tests.explorers import problem
from vgg_widget import LayerExplorer, render
from vgg_widget.activations.strongest import strongest_at
from vgg_widget.explorer.panels import PANELS
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.pictures.histogram import histogram

Explore = Callable[..., LayerExplorer]


def test_an_assignment_during_anothers_change_is_applied_or_refused(explore: Explore) -> None:
    explorer = explore(channel=7)
    inside, errors = threading.Event(), list[str]()

    def assign() -> None:
        inside.wait(10)
        try:
            explorer.channel = 9999
        except TraitError as error:
            errors.append(str(error))
        explorer.channel = 5

    other = threading.Thread(target=assign)
    other.start()
    with explorer.hold_trait_notifications():
        explorer.mode = "max"
        inside.set()
        # Long enough for the other thread to reach the assignment, and to wait.
        other.join(0.3)
        assert explorer.channel == 7
        explorer.mode = "channel"
    other.join(10)
    assert "channel 9999" in errors[0]
    assert explorer.rendering is not None
    assert (explorer.channel, explorer.rendering.channels) == (5, (5,))


def test_linked_explorers_that_two_threads_move_do_not_wait_for_each_other(
    explore: Explore,
) -> None:
    one, other = explore(), explore()
    meeting = threading.Barrier(2, timeout=1)

    def meet(_: object) -> None:
        # If possible, each thread changes its own explorer before either changes the linked one.
        with suppress(threading.BrokenBarrierError):
            meeting.wait()

    one.observe(meet, "layer")
    other.observe(meet, "mode")
    for name in ("layer", "mode"):
        link((one, name), (other, name))
    threads = [
        threading.Thread(target=setattr, args=order, daemon=True)
        for order in ((one, "layer", "block2_conv1"), (other, "mode", "max"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    for explorer in (one, other):
        assert explorer.rendering is not None
        shown = explorer.rendering.layer, explorer.rendering.mode
        assert shown == (explorer.layer, explorer.mode) == ("block2_conv1", "max")


class Broken(Panel):
    """A panel that fails whenever it is updated."""

    def __init__(self, explorer: Any) -> None:
        super().__init__(explorer)
        self.widget = widgets.HTML()
        self.shown = 0

    def show(self) -> None:
        self.shown += 1
        self._explorer.reporting_errors(self.fail)()

    def fail(self) -> None:
        raise ZeroDivisionError("this panel fails on purpose")


def test_a_failing_panel_is_reported_and_breaks_nothing_else(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Broken] = []

    def build(explorer: Any) -> Broken:
        made.append(Broken(explorer))
        return made[-1]

    monkeypatch.setitem(PANELS, "Broken", build)
    explorer = explore()
    explorer.panel = "Broken"
    assert "this panel fails on purpose" in problem(explorer)
    assert made[0].shown < 5
    explorer.channel = 3
    assert "this panel fails on purpose" in problem(explorer)
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (3,)
    explorer.panel = ""
    explorer.channel = 4
    assert problem(explorer) == ""


def test_back_restores_the_place_that_a_jump_made_coarser(explore: Explore) -> None:
    explorer = explore(layer="block1_conv1", location=(10, 10))
    explorer.open_channel(3, "block5_conv1")
    assert explorer.location == (0, 0)
    explorer.back()
    assert (explorer.layer, explorer.location) == ("block1_conv1", (10, 10))


def test_a_jump_to_the_displayed_channel_does_not_count(explore: Explore) -> None:
    explorer = explore(channel=5)
    explorer.open_channel(9)
    explorer.open_channel(5)
    explorer.open_channel(5)
    explorer.back()
    assert explorer.channel == 9
    explorer.back()
    assert explorer.channel == 5
    assert not explorer.can_go_back


def test_maps_before_a_relu_start_with_a_diverging_colormap(explore: Explore) -> None:
    explorer = explore(before_relu=True)
    assert explorer.cmap == "coolwarm"
    explorer.before_relu = False
    assert explorer.cmap == "magma"
    explorer.cmap = "viridis"
    explorer.before_relu = True
    explorer.cmap = "viridis"
    again = LayerExplorer.from_state(explorer.image, explorer.state(), extractor=explorer.extractor)
    assert (again.before_relu, again.cmap) == (True, "viridis")
    again.close()


def test_a_colormap_chosen_in_a_mode_without_one_is_kept(explore: Explore) -> None:
    explorer = explore(mode="rgb")
    explorer.cmap = "magma"
    explorer.before_relu = True
    explorer.before_relu = False
    assert explorer.cmap == "magma"


def test_nan_wins_nowhere() -> None:
    maps = np.zeros((2, 3, 4), np.float32)
    maps[..., 2] = 1
    maps[..., 1] = np.nan
    maps[0, 0] = np.nan
    picture = render(make_activations(maps), "conv", "argmax")
    assert picture.values is not None
    assert picture.values.tolist() == [[-1, 2, 2], [2, 2, 2]]
    assert [entry.channel for entry in picture.legend] == [2, None]
    assert [entry.share for entry in picture.legend] == pytest.approx([5 / 6, 1 / 6])


@pytest.mark.parametrize("top", [3.7e-38, 1.0, 3e38])
def test_ranges_of_every_size_have_a_histogram(top: float) -> None:
    maps = np.linspace(0, top, 60, dtype=np.float64).astype(np.float32).reshape(6, 10, 1)
    found = histogram(render(make_activations(maps), "conv", scale="channel"), bins=6)
    assert found is not None
    assert found.counts.sum() == 60
    assert (found.below, found.above) == (0, 0)
    np.testing.assert_allclose(found.counts, 10, atol=1)


def test_infinite_values_are_the_strongest_and_hide_no_others() -> None:
    maps = np.zeros((1, 1, 5), np.float32)
    maps[0, 0] = (0.5, np.inf, np.nan, 2, 0)
    found = strongest_at(make_activations(maps), "conv", 0, 0)
    assert [one.channel for one in found] == [1, 3, 0]
    assert [one.share for one in found] == [1, 1, 0.25]
    assert found[0].value == np.inf


def test_a_message_of_the_page_waits_until_the_explorer_is_made(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = list[threading.Thread]()
    view_on = LayerExplorer._new_view

    def interrupted(self: LayerExplorer, figure: Figure) -> Any:
        # From here on the page knows the canvas, and can request a frame. Some kernels handle this
        # on another thread, and drawing a figure that is half made would fail.
        message = {"type": "refresh"}
        sender = threading.Thread(target=lambda: self._canvas._handle_message(None, message, []))
        pages.append(sender)
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()
        return view_on(self, figure)

    monkeypatch.setattr(LayerExplorer, "_new_view", interrupted)
    explorer = explore()
    pages[0].join(10)
    assert not pages[0].is_alive()
    assert explorer.canvas._page_is_there

"""Tests of an explorer's keys, of jumps and going back, and of its circuit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError

from tests.explorers import axes_of, count_renderings, on_canvas, page_of, page_says, press, problem
from vgg_widget import LayerExplorer, register_mode
from vgg_widget.circuit.inputs import circuit
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.mouse_and_keys import KEYS
from vgg_widget.pictures.modes import MODES

Explore = Callable[..., LayerExplorer]


def seen(explorer: LayerExplorer) -> dict[str, Any]:
    return {name: explorer.state()[name] for name in ("layer", "channel", "mode", "location")}


def test_the_page_listens_for_every_key_and_each_is_explained(explore: Explore) -> None:
    explorer = explore()
    assert page_of(explorer).wanted == list(KEYS)
    assert all(KEYS.values())


def test_arrows_step_channels_and_stop_at_both_ends(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=1)
    press(explorer, "ArrowLeft")
    assert explorer.channel == 0
    press(explorer, "ArrowLeft")
    assert explorer.channel == 0
    press(explorer, "ArrowRight", "ArrowRight")
    assert explorer.channel == 2
    explorer.channel = 126
    press(explorer, "ArrowRight", "ArrowRight", "ArrowRight")
    assert explorer.channel == 127
    assert problem(explorer) == ""


def test_arrows_step_layers_and_stop_at_both_ends(explore: Explore) -> None:
    explorer = explore(layer="block1_conv2")
    press(explorer, "ArrowUp", "ArrowUp")
    assert explorer.layer == "block1_conv1"
    press(explorer, "ArrowDown", "ArrowDown")
    assert explorer.layer == "block1_pool"
    explorer.layer = "block5_conv4"
    press(explorer, "ArrowDown", "ArrowDown")
    assert explorer.layer == "block5_pool"
    assert problem(explorer) == ""


def test_arrows_keep_torchvisions_names(explore: Explore) -> None:
    explorer = explore(layer="features.5")
    assert explorer.before_relu
    press(explorer, "ArrowDown")
    assert (explorer.layer, explorer.before_relu) == ("features.7", True)
    press(explorer, "ArrowDown")
    assert explorer.layer == "features.9"  # a pool
    explorer.layer = "features.11"
    press(explorer, "ArrowUp")
    assert explorer.layer == "features.9"
    press(explorer, "ArrowUp")
    assert (explorer.layer, explorer.before_relu) == ("features.8", False)


def test_arrows_keep_the_side_of_the_relu(explore: Explore) -> None:
    explorer = explore(layer="block2_conv2", before_relu=True)
    press(explorer, "ArrowDown", "ArrowDown")
    assert (explorer.layer, explorer.before_relu) == ("block3_conv1", True)
    assert explorer.rendering is not None
    assert explorer.rendering.layer == "features.10"


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["grid", "max", "mean", "argmax", "composite", "rgb", "rainbow"])
def test_sideways_arrows_do_nothing_in_modes_of_many_channels(
    explore: Explore, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1", channel=5, mode=mode)
    renderings = count_renderings(monkeypatch)
    press(explorer, "ArrowLeft", "ArrowRight", "ArrowRight")
    assert (explorer.channel, renderings) == (5, [])
    press(explorer, "ArrowDown")
    assert explorer.layer == "block2_conv2"


def test_sideways_arrows_work_in_a_custom_mode_of_one_channel(explore: Explore) -> None:
    try:

        @register_mode("one of mine", takes="one")
        def mine(maps: Any, _: Any) -> Any:
            return maps[..., 0]

        explorer = explore(mode="one of mine")
        press(explorer, "ArrowRight")
        assert explorer.channel == 1
    finally:
        MODES.pop("one of mine", None)


def test_letters_toggle(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=4)
    first = on_canvas(explorer)
    states = []
    for key in "bbggoo":
        press(explorer, key)
        states.append((explorer.before_relu, explorer.mode, explorer.overlay))
    assert states == [
        (True, "channel", 0.0),
        (False, "channel", 0.0),
        (False, "grid", 0.0),
        (False, "channel", 0.0),
        (False, "channel", 0.5),
        (False, "channel", 0.0),
    ]
    explorer.canvas.draw()
    np.testing.assert_array_equal(on_canvas(explorer), first)


def test_escape_clears_the_location(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(3, 3))
    press(explorer, "Escape")
    assert explorer.location is None
    press(explorer, "Escape")
    assert explorer.location is None
    assert problem(explorer) == ""


def test_r_resets_everything_but_the_picture(explore: Explore, photo: Any) -> None:
    explorer = explore(
        layer="block3_conv1", channel=4, location=(2, 3), gamma=0.5, overlay=0.25, cmap="magma"
    )
    first = explorer.state()
    shown = on_canvas(explorer)
    explorer.choose(
        layer="block1_conv1",
        location=(60, 70),
        mode="grid",
        order="max",
        hide_dead=True,
        scale="network",
        percentile=50.0,
        gamma=2.0,
        overlay=0.0,
        before_relu=True,
        channels=(1, 2),
    )
    explorer.open_channel(3)
    axes_of(explorer, "map").set(xlim=(10, 20), ylim=(20, 10))
    press(explorer, "r")
    assert explorer.state() == first
    assert not explorer.can_go_back
    assert explorer._view.view == ((-0.5, 74.5), (63.5, -0.5))
    np.testing.assert_array_equal(on_canvas(explorer), shown)
    # A reset keeps the current picture.
    explorer.image = photo[:34, :34]
    explorer.channel = 0
    press(explorer, "r")
    assert (explorer.channel, explorer.location) == (4, (2, 3))
    assert explorer.activations.image.shape == (34, 34, 3)


def test_reset_restores_a_location_without_moving_it(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", location=(5, 6))
    explorer.choose(layer="block3_conv1", location=(5, 6))
    explorer.choose(location=(4, 4))
    explorer.choose(location=(5, 6))
    explorer.reset()
    assert (explorer.layer, explorer.location) == ("block2_conv1", (5, 6))


def test_an_unknown_key_does_nothing(explore: Explore) -> None:
    explorer = explore()
    before = explorer.state()
    for key in ("x", "Enter", "", "B"):
        page_says(explorer, kind="key", key=key)
    assert explorer.state() == before


def test_a_key_after_closing_does_no_harm(explore: Explore) -> None:
    explorer = explore(channel=3)
    page: Any = explorer.children[-1]
    explorer.close()
    for key in KEYS:
        page._handle_custom_msg({"kind": "key", "key": key}, [])
    assert (explorer.layer, explorer.channel, explorer.mode) == ("block1_conv1", 3, "channel")


# Jumps -------------------------------------------------------------------------------------------


def test_a_jump_and_back_again(explore: Explore) -> None:
    explorer = explore(layer="block4_conv1", mode="composite", channels=(3, 400), cmap="magma")
    picture = explorer.rendering
    assert picture is not None
    explorer.open_channel(17)
    assert seen(explorer) == {
        "layer": "block4_conv1",
        "channel": 17,
        "mode": "channel",
        "location": None,
    }
    explorer.open_channel(60, "block1_conv1")
    explorer.open_channel(2, "features.0")
    assert explorer.before_relu
    jumps = []
    while explorer.can_go_back:
        press(explorer, "Backspace")
        jumps.append((explorer.layer, explorer.channel, explorer.mode, explorer.before_relu))
    assert jumps == [
        ("block1_conv1", 60, "channel", False),
        ("block4_conv1", 17, "channel", False),
        ("block4_conv1", 0, "composite", False),
    ]
    assert explorer.channels == (3, 400)
    assert explorer.cmap == "magma"
    assert explorer.rendering is not None
    np.testing.assert_array_equal(explorer.rendering.rgba, picture.rgba)
    press(explorer, "Backspace")
    assert problem(explorer) == ""


def test_a_location_follows_jumps_forward_and_back(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(9, 9))
    # 1.5 + 4 * 9 = 37.5 is halfway between 0.5 + 2 * 18 and 0.5 + 2 * 19: the first is chosen.
    explorer.open_channel(1, "block2_conv1")
    assert explorer.location == (18, 18)
    explorer.location = (30, 2)
    explorer.back()
    # 60.5 is 1.5 + 4 * 14.75, 4.5 is 1.5 + 4 * 0.75.
    assert (explorer.layer, explorer.location) == ("block3_conv1", (15, 1))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64,), "channel 64 is not in layer 'block1_conv1'.*from 0 to 63"),
        ((0, "block9_conv1"), "layer 'block9_conv1' is not known: did you mean"),
        ((64, "block1_conv2"), "channel 64 is not in layer"),
        (("three",), "'channel' trait"),
    ],
)
def test_a_bad_jump_is_refused_and_not_remembered(
    explore: Explore, arguments: Any, message: str
) -> None:
    explorer = explore(channel=3)
    before = explorer.state()
    with pytest.raises(TraitError, match=message):
        explorer.open_channel(*arguments)
    assert explorer.state() == before
    assert not explorer.can_go_back


def test_a_jump_to_the_current_channel_is_not_remembered(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=3)
    explorer.open_channel(3)
    explorer.open_channel(np.int64(3), "block2_conv1")  # type: ignore[arg-type]
    assert not explorer.can_go_back


@pytest.mark.slow
def test_a_hundred_jumps_are_remembered_and_the_oldest_forgotten(explore: Explore) -> None:
    explorer = explore(layer="block4_conv1", channel=0)
    for channel in range(1, 131):
        explorer.open_channel(channel)
    steps = 0
    while explorer.can_go_back:
        explorer.back()
        steps += 1
    assert (steps, explorer.channel) == (100, 30)


def test_an_observer_of_a_jump_may_go_back(explore: Explore) -> None:
    explorer = explore(layer="block1_conv1", channel=0)
    explorer.open_channel(1)
    explorer.open_channel(2, "block1_conv2")

    def hesitate(change: dict[str, Any]) -> None:
        if change["new"] == 9:
            explorer.back()

    explorer.observe(hesitate, "channel")
    explorer.open_channel(9, "block3_conv1")
    shown = []
    while explorer.can_go_back:
        explorer.back()
        shown.append((explorer.layer, explorer.channel))
    # No earlier step is skipped.
    assert shown[-2:] == [("block1_conv1", 1), ("block1_conv1", 0)]


# The circuit -------------------------------------------------------------------------------------


def test_the_circuit_is_that_of_the_selected_channel(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", channel=7, location=(3, 4))
    found = explorer.circuit()
    expected = circuit(
        explorer.extractor, explorer.activations, "block2_conv1", 7, 6, location=(3, 4)
    )
    assert [one.channel for one in found.inputs] == [one.channel for one in expected.inputs]
    # The contributions add up to the activation before the ReLU.
    assert found.activation == pytest.approx(
        float(explorer.activations["features.5"][3, 4, 7]), rel=1e-4
    )
    kernels = explorer.extractor.model.get_layer("block2_conv1").get_weights()[0][..., 7]
    norms = np.sqrt((kernels.astype(np.float64) ** 2).sum(axis=(0, 1)))
    assert [one.channel for one in explorer.circuit(3).inputs] == np.argsort(-norms)[:3].tolist()
    explorer.location = None
    assert explorer.circuit(1).activation is None
    with pytest.raises(ValueError, match="k "):
        explorer.circuit(0)


def test_the_circuit_of_a_layer_without_kernels_is_one_channel(explore: Explore) -> None:
    explorer = explore(layer="block1_pool", channel=9)
    (one,) = explorer.circuit().inputs
    assert (one.layer, one.channel, one.kernel) == ("block1_conv2", 9, None)


def test_the_grid_key_goes_back_to_the_mode_before(explore: Explore) -> None:
    explorer = explore(mode="max")
    press(explorer, "g")
    assert explorer.mode == "grid"
    press(explorer, "g")
    assert explorer.mode == "max"


def test_play_unfolds_its_panel_and_stops_again(explore: Explore) -> None:
    explorer = explore()
    press(explorer, "p")
    assert explorer.panel == "Play"
    (clock,) = [widget for widget in widgets_of(explorer) if isinstance(widget, widgets.Play)]
    assert clock.playing
    press(explorer, "p")
    assert not clock.playing
    assert explorer.panel == "Play"


def test_the_picture_and_its_code_are_sent_to_the_page(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(mode="max")
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(page_of(explorer), "download", lambda *given: sent.append(given))
    monkeypatch.setattr(page_of(explorer), "copy", lambda *given: sent.append(given))
    press(explorer, "s", "c")
    (name, png), (code, _) = sent
    assert name == "block1_conv1-max.png"
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
    assert code == explorer.to_code()

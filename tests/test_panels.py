"""The panel switcher, and the panels Location, Display and Open & save: widgets and traits."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from matplotlib import pyplot as plt
from traitlets import TraitError

from tests.conftest import make_activations
from tests.explorers import (
    below,
    control,
    count_messages,
    made_panel,
    made_panels,
    on_canvas,
    page_of,
    page_says,
    press,
    problem,
    words,
)
from tests.standin import Scene, StandIn, show
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, render
from vgg_widget.activations.strongest import strongest_at
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.panels.display import DisplayPanel
from vgg_widget.explorer.panels.files import FilesPanel
from vgg_widget.explorer.panels.location import LocationPanel
from vgg_widget.explorer.panels.play import PlayPanel
from vgg_widget.explorer.settings import DisplaySettings

Explore = Callable[..., LayerExplorer]

TITLES = [
    "Location",
    "Display",
    "Circuit",
    "Why",
    "Looks for",
    "What is left",
    "Play",
    "Open & save",
]


# The switcher ------------------------------------------------------------------------------------


def open_panels(explorer: LayerExplorer) -> list[str]:
    """Return the titles of the pressed buttons."""
    return [
        one.description
        for one in below(explorer)
        if isinstance(one, widgets.ToggleButton) and one.value
    ]


def panel_buttons(explorer: LayerExplorer) -> list[str]:
    """Return the titles of the visible panel buttons."""
    return [
        one.description
        for one in below(explorer)
        if isinstance(one, widgets.ToggleButton) and one.layout.display != "none"
    ]


def unfolded(explorer: LayerExplorer) -> bool:
    return bool(explorer._switcher._stage.layout.display != "none")


def test_no_panel_is_made_before_it_is_opened(explore: Explore) -> None:
    explorer = explore()
    assert explorer.panel == ""
    assert panel_buttons(explorer) == TITLES
    before = set(_instances)
    assert made_panels(explorer) == []
    assert not unfolded(explorer)
    explorer.channel = 3
    explorer.panel = "Location"
    assert len(made_panels(explorer)) == 1
    made = set(_instances) - before
    assert len(made) > 10
    # Reopening shows the same widgets.
    explorer.panel = ""
    explorer.panel = "Location"
    assert set(_instances) - before == made


def test_one_panel_is_open_at_a_time(explore: Explore) -> None:
    explorer = explore()
    assert panel_buttons(explorer) == TITLES
    for title in TITLES:
        control(explorer, title).value = True
        assert explorer.panel == title
        assert open_panels(explorer) == [title]
        assert unfolded(explorer)
        assert len(explorer._switcher._stage.children) == 1
    explorer.panel = "Display"
    assert open_panels(explorer) == ["Display"]
    control(explorer, "Display").value = False
    assert (explorer.panel, open_panels(explorer), unfolded(explorer)) == ("", [], False)


def test_an_unknown_panel_is_refused_and_the_nearest_named(explore: Explore) -> None:
    explorer = explore(panel="Display")
    bads: list[tuple[Any, str]] = [
        ("Circuits", "panel 'Circuits' is not known: did you mean 'Circuit'"),
        ("xyz", "panel 'xyz' is not known: choose one of '', 'Location', 'Display'"),
        (3, "'panel' trait"),
    ]
    for bad, said in bads:
        with pytest.raises(TraitError, match=said):
            explorer.panel = bad
        assert (explorer.panel, open_panels(explorer)) == ("Display", ["Display"])
    with pytest.raises(TraitError, match="did you mean 'Location'"):
        explore(panel="location")


def test_a_panel_that_a_person_opened_is_opened_again(explore: Explore) -> None:
    explorer = explore()
    # A panel opened from code is not remembered.
    explorer.panel = "Location"
    assert explore().panel == ""
    control(explorer, "Display").value = True
    assert explore().panel == "Display"
    assert explore(panel="").panel == ""
    assert explore(panel="Circuit").panel == "Circuit"
    control(explorer, "Display").value = False
    assert explore().panel == ""


def test_folding_stops_play(explore: Explore) -> None:
    explorer = explore(panel="Play")
    clock = next(one for one in below(explorer) if isinstance(one, widgets.Play))
    folds: list[Callable[[], None]] = [
        lambda: setattr(explorer, "panel", ""),
        lambda: setattr(explorer, "panel", "Display"),
        lambda: setattr(control(explorer, "Play"), "value", False),
    ]
    for fold in folds:
        explorer.panel = "Play"
        control(explorer, "play").click()
        assert clock.playing
        explorer.channel += 1
        assert clock.playing
        fold()
        assert not clock.playing


# Traits and controls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "description", "value", "after"),
    [
        ("scale", "range", "network", "layer"),
        ("percentile", "percentile", 80.0, 95.0),
        ("gamma", "gamma", 0.5, 1.2),
        ("before_relu", "before ReLU", True, False),
        ("overlay", "map over the input", 0.6, 0.0),
        ("theme", "theme", "dark", "light"),
    ],
)
def test_display_controls_and_traits_follow_each_other(
    explore: Explore, trait: str, description: str, value: Any, after: Any
) -> None:
    start = {"gamma": 1.2} if trait == "gamma" else {"scale": "layer"}
    explorer = explore(layer="block3_conv1", panel="Display", **start)
    shown = control(explorer, description)
    before = on_canvas(explorer)
    setattr(explorer, trait, value)
    assert shown.value == value
    shown.value = after
    assert getattr(explorer, trait) == after
    if trait != "percentile":
        explorer.canvas.draw()
        np.testing.assert_array_equal(on_canvas(explorer), before)
    assert problem(explorer) == ""
    # A change made while the panel is folded appears when it reopens.
    explorer.panel = ""
    setattr(explorer, trait, value)
    explorer.panel = "Display"
    assert shown.value == value


def test_gamma_and_percentile_mean_what_the_scale_says(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=6, scale="channel")
    explorer.choose(percentile=90.0, gamma=0.5)
    shown = explorer.activations["block3_conv1"][..., 6]
    top = np.percentile(shown[shown > 0].astype(np.float64), 90)
    assert explorer.rendering is not None
    assert explorer.rendering.vmax == pytest.approx(top, rel=1e-6)
    assert (explorer.rendering.gamma, explorer.rendering.clipped) == (0.5, (False, True))
    explorer.percentile = None
    assert explorer.rendering.vmax == pytest.approx(float(shown.max()))


@pytest.mark.parametrize(("scale", "own"), [("auto", (99.5, 0.6)), ("layer", (99.9, 1.0))])
def test_a_scales_defaults_do_not_count_as_choices(
    explore: Explore, scale: str, own: tuple[float, float]
) -> None:
    explorer: Any = explore(panel="Display", scale=scale)
    controls = control(explorer, "percentile"), control(explorer, "gamma")
    assert tuple(one.value for one in controls) == pytest.approx(own)
    assert (explorer.percentile, explorer.gamma) == (None, None)
    assert explorer.rendering.gamma == own[1]
    explorer.gamma, explorer.percentile = 2.0, 50.0
    assert tuple(one.value for one in controls) == pytest.approx((50.0, 2.0))
    # Setting the controls back to the scale's defaults clears the choices.
    controls[0].value, controls[1].value = own
    assert (explorer.percentile, explorer.gamma) == (None, None)
    assert explorer.rendering.gamma == own[1]
    # A scale chosen in the dropdown brings its defaults; set from code, it keeps the choices.
    explorer.gamma, explorer.percentile = 2.0, 50.0
    control(explorer, "range").value = "channel"
    assert (explorer.percentile, explorer.gamma) == (None, None)
    assert tuple(one.value for one in controls) == pytest.approx((100.0, 1.0))
    explorer.gamma = 2.0
    explorer.scale = scale
    assert explorer.gamma == 2.0
    explorer.gamma = None
    assert controls[1].value == pytest.approx(own[1])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("trait", "bad", "said"),
    [
        (
            "percentile",
            0,
            r"^percentile 0.0 is not a percentile: choose more than 0 and at most 100",
        ),
        ("percentile", 100.5, "percentile 100.5"),
        ("percentile", -3, "percentile -3"),
        ("percentile", float("nan"), "percentile nan"),
        ("percentile", "high", "'percentile' trait.*not the str 'high'"),
        ("gamma", 0, r"^gamma 0.0 is not positive: choose 1 for none"),
        ("gamma", -1.0, "gamma -1.0"),
        ("gamma", float("inf"), "gamma inf"),
        ("gamma", float("nan"), "gamma nan"),
        ("gamma", "much", "'gamma' trait.*not the str 'much'"),
        ("theme", "drak", "'theme' trait.*'auto', 'light', 'dark'"),
        ("theme", None, "'theme' trait"),
        ("scale", "layers", "did you mean 'layer'"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(
    explore: Explore, trait: str, bad: Any, said: str
) -> None:
    explorer = explore(panel="Display")
    before, picture = explorer.state(), on_canvas(explorer)
    with pytest.raises(TraitError, match=said) as caught:
        setattr(explorer, trait, bad)
    assert "\n" not in str(caught.value)
    assert explorer.state() == before
    np.testing.assert_array_equal(on_canvas(explorer), picture)


def test_the_constructor_takes_every_trait(explore: Explore) -> None:
    given = {
        "layer": "block3_conv1",
        "channel": 3,
        "channels": (1, 2),
        "mode": "grid",
        "cmap": "inferno",
        "scale": "network",
        "before_relu": True,
        "order": "location",
        "hide_dead": True,
        "percentile": 97.5,
        "gamma": 0.75,
        "location": (2, 3),
        "overlay": 0.5,
        "layer_names": "both",
        "theme": "dark",
        "panel": "Location",
    }
    explorer = explore(**given)
    assert {name: getattr(explorer, name) for name in given} == given
    with pytest.raises(TypeError, match="'overlays' is not known: did you mean 'overlay'"):
        explore(overlays=0.5)
    with pytest.raises(TypeError, match="'locaton' is not known: did you mean 'location'"):
        explore(locaton=(0, 0))
    with pytest.raises(TypeError, match="did you mean 'percentile'"):
        explore(percentil=3)


def test_a_theme_is_the_pages_own_unless_one_is_chosen(explore: Explore) -> None:
    explorer = explore()
    light = on_canvas(explorer)[0, 0].tolist()
    page_of(explorer).theme = "dark"
    dark = on_canvas(explorer)[0, 0].tolist()
    assert (light, dark) == ([255] * 3, [17] * 3)
    explorer.theme = "light"
    assert on_canvas(explorer)[0, 0].tolist() == light
    page_of(explorer).theme = "light"
    explorer.theme = "dark"
    assert on_canvas(explorer)[0, 0].tolist() == dark
    explorer.theme = "auto"
    assert on_canvas(explorer)[0, 0].tolist() == light


# Messages ----------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("title", TITLES)
def test_the_same_scene_again_sends_nothing(
    explore: Explore, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block3_conv1", location=(3, 4), panel=title)
    explorer.channel = 4
    sent = count_messages(monkeypatch)
    explorer._switcher.show()
    explorer._switcher.show()
    explorer._refresh_controls()
    explorer.choose(layer="block3_conv1", channel=4, location=(3, 4), panel=title, overlay=0.0)
    assert sent == []
    explorer.channel = 5
    assert sent != []


def test_a_folded_panel_gets_no_messages(explore: Explore, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = explore(layer="block3_conv1", location=(3, 4), panel="Location")
    explorer.panel = ""
    sent = count_messages(monkeypatch)
    explorer.location = (5, 5)
    explorer.channel = 9
    kinds = {kind for kind, _ in sent}
    assert "ButtonModel" not in kinds
    assert "Button" not in kinds
    assert "Layout" not in kinds


# Closing -----------------------------------------------------------------------------------------


def test_close_with_every_panel_made_leaves_nothing(
    extractor: FeatureExtractor, photo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LayerExplorer, "remembered_panel", "")
    before = set(_instances)
    explorer = LayerExplorer(photo, extractor=extractor, layer="block3_conv1", location=(2, 2))
    for title in TITLES:
        explorer.panel = title
    control(explorer, "show code").click()
    explorer.theme = "dark"
    explorer.panel = "Play"
    control(explorer, "play").click()
    held: list[weakref.ref[Any]] = [
        weakref.ref(explorer),
        weakref.ref(explorer.figure),
        weakref.ref(explorer.canvas),
        weakref.ref(page_of(explorer)),
        *(weakref.ref(panel) for panel in made_panels(explorer)),
    ]
    explorer.close()
    explorer.close()
    assert set(_instances) == before
    assert plt.get_fignums() == []
    with pytest.raises(RuntimeError, match="closed"):
        explorer.location = (1, 1)
    del explorer
    gc.collect()
    assert [reference() for reference in held] == [None] * len(held)


# Single panels -----------------------------------------------------------------------------------


@pytest.fixture
def made() -> Activations:
    maps = np.zeros((3, 4, 12), np.float32)
    maps[1, 2] = [0, 5, 0, 2.5, 5, 1, 0, 0.125, 4, 3, 2, 1.5]
    return make_activations(maps, before_relu=True, others={"<b>wide": np.ones((2, 2, 3), "f4")})


@pytest.fixture
def host() -> StandIn:
    return StandIn()


@pytest.fixture
def build(
    host: StandIn, made: Activations, extractor: FeatureExtractor
) -> Iterator[Callable[..., Any]]:
    panels: list[Any] = []

    def build(kind: Any, **choice: Any) -> Any:
        panel = kind(host)
        panels.append(panel)

        def see(**changes: Any) -> None:
            chosen = DisplaySettings(**{"layer": "conv", **choice, **changes})
            picture = render(made, chosen.layer_in(made), **chosen.for_render())
            show(panel, Scene(chosen, made, picture, extractor))

        see()
        return panel, see

    yield build
    for panel in panels:
        for widget in widgets_of(panel.widget):
            widget.close()


def lines(panel: LocationPanel) -> list[tuple[str, str]]:
    """Return the label of each visible button, and the text beside it."""
    return [
        (line.button.description, line.bar.value.rpartition("</span> ")[2])
        for line in panel._lines
        if line.widget.layout.display != "none"
    ]


def test_the_strongest_channels_are_listed_and_open(build: Any, host: StandIn) -> None:
    panel, show = build(LocationPanel, location=(1, 2), channel=4)
    assert lines(panel) == [
        ("channel 1", "5"),
        ("channel 4", "5"),
        ("channel 8", "4"),
        ("channel 9", "3"),
        ("channel 3", "2.5"),
        ("channel 10", "2"),
        ("channel 11", "1.5"),
        ("channel 5", "1"),
        ("channel 7", "0.125"),
    ]
    widths = [int(line.bar.value.split("width:")[1].split("px")[0]) for line in panel._lines[:9]]
    shares = np.array([5, 5, 4, 3, 2.5, 2, 1.5, 1, 0.125]) / 5
    assert max(widths) > 100
    assert widths == pytest.approx(shares * max(widths), abs=0.6)
    assert [line.button.button_style for line in panel._lines[:3]] == ["", "info", ""]
    panel._lines[2].button.click()
    assert host.asked == [(None, 8)]
    show(location=(0, 0))
    assert lines(panel) == []
    assert "No channel of conv is active there" in panel.words.value
    show(location=None)
    assert lines(panel) == []
    assert "Click on a picture" in panel.words.value


def test_row_and_column_are_set_by_numbers(build: Any, host: StandIn) -> None:
    panel, show = build(LocationPanel)
    # Without a mouse, these fields are the only way to choose a location.
    assert not panel.row.disabled
    assert not panel.column.disabled
    panel.row.value = 2
    panel.column.value = 3
    assert host.asked == [{"location": (2, 0)}, {"location": (2, 3)}]
    host.asked.clear()
    show(location=(1, 2))
    assert (panel.row.value, panel.column.value) == (1, 2)
    assert host.asked == []
    panel.row.value = 2
    assert host.asked == [{"location": (2, 2)}]
    show(location=(2, 2))
    panel.clear.click()
    assert host.asked[-1] == {"location": None}
    # Disabling a focused button would lose the keyboard focus.
    assert not panel.clear.disabled
    count = len(host.asked)
    show(location=(0, 3))
    show(layer="<b>wide", location=(1, 1))
    show(location=None)
    show(location=(2, 3))
    assert len(host.asked) == count


def test_a_layers_name_is_escaped_in_the_list(build: Any) -> None:
    panel, _ = build(LocationPanel, layer="<b>wide", location=(0, 0))
    assert "&lt;b&gt;wide" in panel.words.value
    assert "<b>" not in panel.words.value


def test_the_strongest_are_those_with_the_largest_values() -> None:
    maps = np.zeros((1, 2, 40), np.float32)
    maps[0, 0] = np.random.default_rng(4).normal(size=40)
    maps[0, 1, :3] = [np.nan, -2, 1]
    made = make_activations(maps)
    found = strongest_at(made, "conv", 0, 0, 7)
    assert [one.channel for one in found] == np.argsort(-maps[0, 0])[:7].tolist()
    most = np.abs(maps[0, 0]).max()
    assert [one.share for one in found] == pytest.approx(np.sort(maps[0, 0])[::-1][:7] / most)
    # NaN is left out; a value below 0 counts, and comes last.
    assert [(one.channel, one.value, one.share) for one in strongest_at(made, "conv", 0, 1)] == [
        (2, 1.0, 0.5),
        (1, -2.0, -1.0),
    ]
    with pytest.raises(IndexError, match="row 1 is outside"):
        strongest_at(made, "conv", 1, 0)


def test_the_display_panel_shows_the_scales_defaults_unless_others_are_chosen(build: Any) -> None:
    panel, show = build(DisplayPanel)
    assert panel.percentile.value == 99.5
    assert panel.gamma.value == pytest.approx(0.6)
    show(scale="layer")
    assert (panel.percentile.value, panel.gamma.value) == (99.9, 1)
    show(scale="channel")
    assert (panel.percentile.value, panel.gamma.value) == (100, 1)
    show(scale="channel", percentile=50.0, gamma=0.5)
    assert (panel.percentile.value, panel.gamma.value) == (50, 0.5)
    show(mode="argmax")
    assert [one.disabled for one in (panel.percentile, panel.gamma)] == [True] * 2
    show()
    assert [one.disabled for one in (panel.percentile, panel.gamma)] == [False] * 2


def test_the_display_panel_reports_choices_but_not_updates(build: Any, host: StandIn) -> None:
    panel, show = build(DisplayPanel)
    show(scale="channel", percentile=3.0, gamma=0.02, overlay=1.0, before_relu=True)
    assert host.asked == []
    assert panel.gamma.value == 0.1  # the slider's minimum
    panel.overlay.value = 0.5
    panel.percentile.value = 12.5
    panel.percentile.value = 100  # the scale's default
    panel.gamma.value = 0.5
    panel.gamma.value = 1  # the scale's default
    panel.theme.value = "dark"
    panel.before_relu.value = False
    assert host.asked == [
        {"overlay": 0.5},
        {"percentile": 12.5},
        {"percentile": None},
        {"gamma": 0.5},
        {"gamma": None},
        {"theme": "dark"},
        {"before_relu": False},
    ]
    show(layer="<b>wide")
    assert panel.before_relu.disabled


def test_files_panel_hands_over_each_kind(build: Any, host: StandIn) -> None:
    panel, show = build(FilesPanel)
    assert "&lt;here&gt;.npz" in panel.plan.value
    for kind in ("PNG", "SVG", "PDF"):
        control(panel.widget, f"save {kind}").click()
    assert host.asked == [("download", ".png"), ("download", ".svg"), ("download", ".pdf")]
    control(panel.widget, "save arrays (.npz)").click()
    assert host.asked[-1] == "save arrays"
    assert "&lt;here&gt;.npz" in panel.words.value
    panel.copy.click()
    assert host.asked[-1] == ("copy", "print('the code')")
    panel.reset.click()
    assert host.asked[-1] == "reset"
    panel.code.click()
    assert (panel.text.value, panel.text.layout.display) == ("print('the code')", None)
    panel.code.click()
    assert (panel.text.value, panel.text.layout.display) == ("", "none")
    panel.code.click()
    show(channel=1)  # the code belonged to the previous picture
    assert (panel.text.value, panel.text.layout.display) == ("", "none")
    assert host.errors == []


def test_the_same_path_can_be_opened_again(build: Any, host: StandIn) -> None:
    panel, _ = build(FilesPanel)
    field = control(panel.widget, "picture")
    field.value = "a cat.png"
    assert field.value == ""
    field.value = "a cat.png"
    assert host.asked == [{"image": "a cat.png"}] * 2


def test_the_code_can_be_reached_by_keyboard(build: Any) -> None:
    panel, _ = build(FilesPanel)
    panel.code.click()
    assert not panel.text.disabled
    assert panel.text.description == "code"


def test_the_files_panel_says_whether_the_code_was_copied(build: Any, host: StandIn) -> None:
    panel, _ = build(FilesPanel)
    panel.copy.click()
    assert "The code is copied." in panel.words.value
    assert panel.text.layout.display == "none"
    host.can_copy = False
    panel.copy.click()
    assert "did not let the code be copied" in panel.words.value
    assert (panel.text.value, panel.text.layout.display) == ("print('the code')", None)


def test_a_copy_that_the_browser_refuses_is_reported(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore()
    sent: list[Any] = []
    monkeypatch.setattr(page_of(explorer), "send", sent.append)
    for ok, reported in ((True, ""), (False, "did not let the code be copied")):
        press(explorer, "c")
        number = [message["number"] for message in sent if message["kind"] == "copy"][-1]
        page_says(explorer, kind="copied", number=number, ok=ok)
        assert reported in problem(explorer)
        assert bool(problem(explorer)) == (not ok)


def test_the_message_about_a_saved_file_disappears_with_another_image(
    build: Any, made: Activations, extractor: FeatureExtractor
) -> None:
    panel, see = build(FilesPanel)
    panel.arrays.click()
    see(channel=1)
    assert "Saved as" in panel.words.value
    other = make_activations(np.ones((3, 4, 12), np.float32))
    show(panel, Scene(DisplaySettings("conv"), other, render(other, "conv"), extractor))
    assert panel.words.value == ""


def test_a_path_is_opened_and_a_wrong_path_is_reported(
    explore: Explore, photo: Any, tmp_path: Path
) -> None:
    from PIL import Image

    explorer = explore(panel="Open & save", layer="block2_conv1")
    field = control(explorer, "picture")
    field.value = str(tmp_path / "none.png")
    assert "none.png" in problem(explorer)
    assert np.array_equal(explorer.image, photo)
    Image.fromarray(photo[::-1]).save(tmp_path / "cat.png")
    field.value = str(tmp_path / "cat.png")
    assert np.array_equal(explorer.image, photo[::-1])
    assert problem(explorer) == ""


def test_arrays_are_saved_beside_the_notebook(
    explore: Explore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = explore(panel="Open & save", layer="block2_conv1", channel=3)
    button = control(explorer, "save arrays (.npz)")
    found = re.search(r"saved as activations\.npz, about ([\d.]+) MB, in (\S+)\.<", words(explorer))
    assert found is not None
    assert found[0].removesuffix("<") in button.tooltip
    assert found[2] == str(tmp_path)
    button.click()
    (path,) = tmp_path.iterdir()
    assert float(found[1]) == pytest.approx(path.stat().st_size / 1e6, rel=0.06)
    # The next file has another name.
    assert "saved as activations-2.npz, about" in words(explorer)
    assert path.name == "activations.npz"
    assert str(path) in words(explorer)
    loaded = Activations.load(path)
    assert list(loaded) == list(explorer.activations)
    for name in loaded:
        np.testing.assert_array_equal(loaded[name], explorer.activations[name])


def test_arrays_have_their_pictures_name_and_replace_nothing(
    explore: Explore, photo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(photo).save(tmp_path / "pictures" / "cat.v2.png")
    explorer = explore(panel="Open & save")
    control(explorer, "picture").value = "pictures/cat.v2.png"
    assert "saved as cat.v2-activations.npz, about" in words(explorer)
    names = ["cat.v2-activations.npz", "cat.v2-activations-2.npz", "cat.v2-activations-3.npz"]
    (tmp_path / names[0]).write_text("an existing file")
    for name in names[1:]:
        control(explorer, "save arrays (.npz)").click()
        assert name in words(explorer)
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == sorted(names)
    assert (tmp_path / names[0]).read_text() == "an existing file"


def test_downloads_reach_the_page(explore: Explore, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = explore(panel="Open & save", layer="block2_conv1", mode="max")
    given: list[Any] = []
    monkeypatch.setattr(
        page_of(explorer), "send", lambda content, buffers=None: given.append((content, buffers))
    )
    control(explorer, "save SVG").click()
    ((content, buffers),) = given
    assert content == {"kind": "download", "name": "block2_conv1-max.svg"}
    assert bytes(buffers[0]).startswith(b"<?xml")
    control(explorer, "copy code").click()
    assert given[-1][0]["text"] == explorer.to_code()


def test_a_failed_change_is_reported_and_the_controls_are_kept(explore: Explore) -> None:
    explorer = explore(panel="Location", layer="block3_conv1", location=(3, 3))
    panel: LocationPanel = made_panel(explorer, "Location")
    explorer.reporting_errors(lambda: explorer.choose(location=(99, 0)))()
    assert "location (99, 0) is outside" in problem(explorer)
    assert (panel.row.value, panel.column.value) == (3, 3)
    panel.row.value = 5
    assert explorer.location == (5, 3)
    assert problem(explorer) == ""


def test_play_through_the_explorer_shows_one_channel_after_another(explore: Explore) -> None:
    explorer = explore(panel="Play", mode="max")
    panel: PlayPanel = made_panel(explorer, "Play")
    seen: list[Any] = []
    explorer.observe(lambda change: seen.append(change["new"].title), "rendering")
    panel.play.click()
    for _ in range(3):
        panel.clock.set_state({"value": panel.clock.value + 1})
    assert seen == [f"block1_conv1 · channel {number}" for number in (1, 2, 3)]

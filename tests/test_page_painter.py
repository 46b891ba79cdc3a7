"""What the kernel tells a page that paints by itself, and what it hears from it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import ListedColormap
from traitlets import TraitError

from tests.explorers import control
from vgg_widget import LayerExplorer
from vgg_widget.pictures.coordinates import Hit
from vgg_widget.support.messages import plain_number

Explore = Callable[..., LayerExplorer]


class Page:
    """Plays the page to an explorer: its canvas and its helper."""

    def __init__(self, explorer: LayerExplorer) -> None:
        self.explorer = explorer
        self.frames: list[int] = []
        self.answers: list[tuple[dict[str, Any], list[bytes]]] = []
        explorer.canvas.send = self._framed
        explorer._page.send = lambda content, buffers=None: self.answers.append(
            (content, buffers or [])
        )
        self.draws({"type": "initialized"})
        self.draws({"type": "draw"})

    def _framed(self, _: object, buffers: list[bytes] | None = None) -> None:
        if buffers:
            self.frames.append(sum(map(len, buffers)))

    def draws(self, message: dict[str, Any]) -> None:
        self.explorer.canvas._handle_message(self.explorer.canvas, message, [])

    def says(self, **message: Any) -> None:
        self.explorer._page._hear(self.explorer._page, message, [])

    @property
    def scene(self) -> dict[str, Any]:
        scene: dict[str, Any] = self.explorer._page.scene
        return scene

    def planes(self) -> dict[int, tuple[np.ndarray[Any, Any], dict[str, Any]]]:
        """Ask for all planes of the scene, piece by piece."""
        found: dict[int, tuple[np.ndarray[Any, Any], dict[str, Any]]] = {}
        album, start = self.scene["album"], self.scene["channel"]
        while len(found) < self.scene["count"]:
            self.says(kind="planes", album=album, start=start, after=len(found))
            told, (data,) = self.answers.pop()
            indices = np.frombuffer(zlib.decompress(data), np.uint8)
            indices = indices.reshape(-1, *self.scene["shape"])
            for one, plane in zip(indices, told["planes"], strict=True):
                assert plane["channel"] not in found
                found[plane["channel"]] = one, plane
        return found

    def paints(self) -> None:
        """Ask for the scene, and paint from now on."""
        self.says(kind="scene")
        assert self.scene["album"]
        self.says(kind="painting", scene=self.scene["number"])
        assert self.explorer.canvas.held


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "features.10"])
@pytest.mark.parametrize("options", [{}, {"scale": "layer"}, {"gamma": 2.0, "cmap": "gray"}])
def test_a_page_can_paint_every_channel_to_the_byte(
    explore: Explore, layer: str, options: dict[str, Any]
) -> None:
    explorer = explore(layer=layer, channel=5, **options)
    page = Page(explorer)
    page.says(kind="scene")
    scene, planes = page.scene, page.planes()
    assert sorted(planes) == list(range(scene["count"]))
    table = np.frombuffer(scene["colours"], np.uint8).reshape(-1, 4)
    rows, columns = (np.frombuffer(scene[name], np.uint16) for name in ("rows", "columns"))
    top, left = scene["top"], scene["left"]
    for channel in (5, 0, 31, 63):
        explorer.channel = channel
        indices, told = planes[channel]
        painted = table[indices[np.ix_(rows, columns)]]
        for row, column, source in scene["odd"]:
            painted[row, column] = table[indices.ravel()[source]]
        drawn = np.asarray(explorer.canvas.get_renderer().buffer_rgba())
        mine = drawn[top : top + len(rows), left : left + len(columns)]
        np.testing.assert_array_equal(painted[..., :3], mine[..., :3])
        assert told["title"] == explorer.figure.axes[1].get_title()
        made = explorer.rendering
        assert made is not None
        assert told["range"] == (made.vmin, made.vmax, made.gamma)
        assert tuple(told["clipped"]) == made.clipped
        assert told["label"] == explorer._view._bars[0]._shown.long_axis.get_label_text().split(
            "\n"
        )


def test_the_channel_on_show_comes_first_and_its_neighbours_next(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=100)
    page = Page(explorer)
    page.says(kind="scene")
    first = list(page.planes())[:5]
    assert first[0] == 100
    assert set(first) == {98, 99, 100, 101, 102}


def test_while_the_page_paints_no_frame_is_sent_before_the_steps_rest(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    page.frames.clear()
    for channel in range(4, 12):
        control(explorer, "channel").value = channel
    assert page.frames == []
    # The page is told once that there is something to ask for.
    assert [told for told, _ in page.answers] == [{"kind": "kept"}]
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (11,)
    page.says(kind="rested")
    assert len(page.frames) == 1
    # The frame is the figure as it would be drawn at once.
    drawn = np.asarray(explorer.canvas.get_renderer().buffer_rgba()).copy()
    explorer.canvas.draw()
    again = np.asarray(explorer.canvas.get_renderer().buffer_rgba())
    np.testing.assert_array_equal(drawn, again)
    page.frames.clear()
    page.says(kind="rested")
    assert page.frames == [], "nothing has changed since"


CHANGES: dict[str, Callable[[LayerExplorer], object]] = {
    "a layer": lambda one: setattr(one, "layer", "block3_conv2"),
    "a mode": lambda one: setattr(one, "mode", "max"),
    "a scale": lambda one: setattr(one, "scale", "layer"),
    "a percentile": lambda one: setattr(one, "percentile", 90.0),
    "before the ReLU": lambda one: setattr(one, "before_relu", True),
    "an overlay": lambda one: setattr(one, "overlay", 0.5),
    "a location": lambda one: setattr(one, "location", (3, 4)),
    "a theme": lambda one: setattr(one, "theme", "dark"),
    "a picture": lambda one: setattr(one, "image", one.image[::-1]),
    "a zoom": lambda one: (one.figure.axes[1].set_xlim(10, 30), one.canvas.draw()),
    "a width": lambda one: setattr(one._page, "room", 500),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_else_changes_ends_the_scene_before_its_frame(
    explore: Explore, change: str
) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    number = page.scene["number"]
    order: list[str] = []
    explorer._page.observe(lambda _: order.append("scene"), "scene")
    page.frames.clear()
    framed = explorer.canvas.send

    def send(content: object, buffers: list[bytes] | None = None) -> None:
        framed(content, buffers)
        if buffers:
            order.append("frame")

    explorer.canvas.send = send
    CHANGES[change](explorer)
    page.draws({"type": "draw"})
    assert page.scene["album"] == 0
    assert page.scene["number"] > number
    assert order[0] == "scene"
    assert page.frames, "the page shows what was there before"
    # What a page says of the scene before is too late.
    page.says(kind="painting", scene=number)
    assert not explorer.canvas.held


def test_a_channel_alone_leaves_the_scene_as_it_is(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    scene = page.scene
    explorer.channel = 9
    explorer.panel = "Display"
    assert page.scene == scene


@pytest.mark.parametrize(
    "settings",
    [{"mode": "grid"}, {"mode": "max"}, {"mode": "rgb"}, {"overlay": 0.4}, {"location": (1, 2)}],
)
def test_what_the_page_cannot_know_is_the_kernels(
    explore: Explore, settings: dict[str, Any]
) -> None:
    explorer = explore(layer="block3_conv1", **settings)
    page = Page(explorer)
    page.says(kind="scene")
    assert page.scene["album"] == 0


def test_a_colormap_of_more_colours_than_a_byte_can_number_is_the_kernels(
    explore: Explore,
) -> None:
    many = mpl.colormaps["magma"].resampled(1024)
    many.name = "many"
    mpl.colormaps.register(many)
    try:
        page = Page(explore(layer="block3_conv1", cmap="many"))
        page.says(kind="scene")
        assert page.scene["album"] == 0
    finally:
        mpl.colormaps.unregister("many")


def test_a_line_of_ones_own_over_the_picture_is_not_painted_over(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    explorer.figure.axes[1].plot([10, 40], [10, 30], color="red")
    explorer.canvas.draw()
    page.says(kind="scene")
    assert page.scene["album"] == 0


def test_planes_of_another_picture_are_not_sent(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    album = page.scene["album"]
    explorer.image = explorer.image[::-1]
    page.answers.clear()
    page.says(kind="planes", album=album, start=3, after=0)
    assert page.answers == []
    page.says(kind="planes", album=999, start=0, after=0)
    assert page.answers == []


def test_the_album_of_a_layer_is_the_same_when_it_comes_back(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    first = page.scene["album"]
    explorer.layer = "block3_conv2"
    page.says(kind="scene")
    assert page.scene["album"] not in (0, first)
    explorer.layer = "block3_conv1"
    # Another colormap is another table.
    explorer.cmap = "gray"
    page.says(kind="scene")
    assert page.scene["album"] == first


def test_a_page_that_is_loaded_anew_gets_frames_and_asks_again(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    page.draws({"type": "refresh"})
    assert not explorer.canvas.held
    page.frames.clear()
    explorer.channel = 4
    assert page.frames


def test_units_and_fields_are_those_of_the_layer(explore: Explore) -> None:
    explorer = explore(layer="block4_pool", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    scene, info = page.scene, explorer.activations.info("block4_pool")
    height, width = explorer.activations.image.shape[:2]
    rows, columns = scene["shape"]
    assert scene["image"] == [height, width]
    for row in range(rows):
        for column in range(columns):
            box = info.receptive_field_box(row, column, (height, width))
            (top, bottom) = scene["fields"]["rows"][row]
            (left, right) = scene["fields"]["columns"][column]
            assert (top, left, bottom, right) == box
    for row in range(0, height, 7):
        for column in range(0, width, 5):
            found = scene["units"][0][row], scene["units"][1][column]
            assert found == info.unit_at(row, column, (rows, columns))


def test_a_closed_explorer_says_nothing(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    explorer.close()
    page.frames.clear()
    page.answers.clear()
    for message in (
        {"kind": "scene"},
        {"kind": "rested"},
        {"kind": "planes", "album": 1, "start": 0, "after": 0},
    ):
        page.says(**message)
    assert page.frames == []
    assert page.answers == []


def test_how_much_a_page_may_keep_is_said_to_it(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", page_budget=3.5)
    page = Page(explorer)
    assert explorer._page.budget == 3.5
    page.paints()
    explorer.page_budget = 0
    assert explorer._page.budget == 0
    assert page.scene["album"] == 0
    for wrong in (-1, "much", None, math.inf, math.nan):
        with pytest.raises(TraitError):
            explorer.page_budget = wrong
    assert explorer.page_budget == 0


def test_a_page_is_told_to_forget_what_belongs_to_another_picture(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    first = page.scene["album"]
    assert page.scene["since"] <= first
    explorer.layer = "block3_conv2"
    assert page.scene["since"] <= first
    explorer.image = explorer.image[::-1]
    assert page.scene["since"] > first
    page.says(kind="scene")
    assert page.scene["album"] >= page.scene["since"]


def test_a_figure_of_another_width_has_titles_and_numbers_of_its_own(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    wide = page.scene["album"], page.planes()[3][1]
    explorer._page.room = 430
    page.says(kind="scene")
    narrow = page.scene["album"], page.planes()[3][1]
    assert narrow[0] != wide[0]
    assert len(narrow[1]["label"]) > len(wide[1]["label"])
    assert narrow[1]["title"] == explorer.figure.axes[1].get_title()


def test_a_colormap_that_is_not_opaque_is_the_kernels(explore: Explore) -> None:
    glass = ListedColormap([(1, 0, 0, 0.5), (0, 1, 0, 1)], name="glass")
    mpl.colormaps.register(glass)
    try:
        page = Page(explore(layer="block3_conv1", cmap="glass"))
        page.says(kind="scene")
        assert page.scene["album"] == 0
    finally:
        mpl.colormaps.unregister("glass")


def test_the_kernel_says_what_is_under_the_mouse_whenever_it_is_asked(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    explorer._pointing.point(Hit("map", 2, 5, 3))
    for number in (7, 8):
        page.answers.clear()
        page.says(kind="where", number=number)
        ((told, _),) = page.answers
        assert (told["kind"], told["number"]) == ("words", number)
        value = explorer.activations["block3_conv1"][2, 5, 3]
        assert told["text"].startswith(f"row 2, column 5: {plain_number(value, 4)}")


def test_values_that_are_no_numbers_are_told(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    assert all(told["finite"] for _, told in page.planes().values())

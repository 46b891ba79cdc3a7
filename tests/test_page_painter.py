"""`PagePainter`: data and answers for a page that paints, and the page's reports."""

from __future__ import annotations

import io
import math
import time
import zlib
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import ListedColormap
from PIL import Image
from traitlets import TraitError

from tests.explorers import control
from vgg_widget import LayerExplorer
from vgg_widget.pictures.coordinates import Hit
from vgg_widget.support.messages import plain_number

Explore = Callable[..., LayerExplorer]
Message = dict[str, Any]


class Page:
    """A stub of the page, with an explorer's canvas and helper."""

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
        self.explorer._page._on_message(self.explorer._page, message, [])

    @property
    def scene(self) -> dict[str, Any]:
        scene: dict[str, Any] = self.explorer._page.scene
        return scene

    def album(self, name: int | None = None) -> dict[str, Any]:
        """Return the scene's entry for an album, by default the current one."""
        wanted = self.scene["album"] if name is None else name
        (found,) = (one for one in self.scene["albums"] if one["name"] == wanted)
        return dict(found)

    def planes(self, name: int | None = None) -> dict[int, tuple[np.ndarray[Any, Any], Message]]:
        """Request all planes of an album, piece by piece."""
        found: dict[int, tuple[np.ndarray[Any, Any], Message]] = {}
        album, start = self.album(name), self.scene["channel"]
        while len(found) < album["count"]:
            self.says(kind="planes", album=album["name"], start=start, after=len(found))
            parameters, (data, *tables) = self.answers.pop()
            if parameters["never"]:
                return {}
            indices = np.frombuffer(zlib.decompress(data), np.uint8)
            indices = indices.reshape(-1, *album["shape"])
            for one, plane, table in zip(indices, parameters["planes"], tables, strict=True):
                assert plane["channel"] not in found
                found[plane["channel"]] = one, plane | {"table": table}
        return found

    def sheet(self, name: int) -> Message:
        """Request the positions of the units of an album's layer."""
        count = self.album(name)["count"]
        self.says(kind="planes", album=name, start=0, after=count, sheet=True)
        parameters, _ = self.answers.pop()
        assert parameters["figure"] == self.scene["figure"]
        return dict(parameters["sheet"])

    def painted(
        self, indices: np.ndarray[Any, Any], sheet: Message, own: bytes = b""
    ) -> np.ndarray[Any, Any]:
        """Return the colours in which the page paints a map on the canvas."""
        table = np.frombuffer(own or self.scene["colours"], np.uint8).reshape(-1, 4)
        painted: np.ndarray[Any, Any] = table[indices[np.ix_(sheet["rows"], sheet["columns"])]]
        for row, column, source in sheet["odd"]:
            painted[row, column] = table[indices.ravel()[source]]
        return painted[..., :3].copy()

    def drawn(self, sheet: Message) -> np.ndarray[Any, Any]:
        """Return the colours that the kernel drew at the same position."""
        drawn: np.ndarray[Any, Any] = np.asarray(self.explorer.canvas.get_renderer().buffer_rgba())
        rows = slice(sheet["top"], sheet["top"] + len(sheet["rows"]))
        columns = slice(sheet["left"], sheet["left"] + len(sheet["columns"]))
        return drawn[rows, columns, :3].copy()

    def paints(self) -> None:
        """Request the scene, and report that the page paints from now on."""
        self.says(kind="scene")
        assert self.scene["album"]
        self.says(kind="painting", scene=self.scene["number"])
        assert self.explorer.canvas.held


def own_model(
    explore: Explore,
    size: tuple[int, int],
    then: Callable[[Any, Any], Any],
    biases: tuple[float, ...] = (0, 1, 2),
) -> LayerExplorer:
    """Explore noise with a model: a convolution "first", layers of `then`, and a ReLU "last"."""
    from keras import Input, Model, layers

    inputs = Input((*size, 3))
    first = layers.Conv2D(3, 3, padding="same", name="first")(inputs)
    model = Model(inputs, layers.Activation("relu", name="last")(then(layers, first)))
    kernel = np.random.default_rng(2).normal(size=(3, 3, 3, 3)).astype(np.float32)
    model.set_weights([kernel, np.array(biases, np.float32)])
    picture = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    return explore(picture, extractor=None, model=model, size=None, preprocess=lambda x: x / 255)


@pytest.mark.sampled
@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "features.10"])
@pytest.mark.parametrize("options", [{}, {"scale": "layer"}, {"gamma": 2.0, "cmap": "gray"}])
def test_a_page_can_paint_every_channel_to_the_byte(
    explore: Explore, layer: str, options: dict[str, Any]
) -> None:
    explorer = explore(layer=layer, channel=5, **options)
    page = Page(explorer)
    page.says(kind="scene")
    planes, sheet = page.planes(), page.scene["sheet"]
    assert sorted(planes) == list(range(page.album()["count"]))
    for channel in (5, 0, 31, 63):
        explorer.channel = channel
        indices, parameters = planes[channel]
        np.testing.assert_array_equal(page.painted(indices, sheet), page.drawn(sheet))
        assert parameters["title"] == explorer.figure.axes[1].get_title()
        assert parameters["caption"] == explorer._controls.caption.value
        made = explorer.rendering
        assert made is not None
        assert parameters["range"] == (made.vmin, made.vmax, made.gamma)
        assert tuple(parameters["clipped"]) == made.clipped
        words = explorer._view._bars[0]._shown.ax.get_ylabel()
        assert parameters["label"] == words.split("\n")


CHOICES: dict[str, tuple[str, Callable[[LayerExplorer], object]]] = {
    "a layer of the strip": ("network", lambda one: setattr(one, "layer", "block2_conv2")),
    "a layer of the list": ("layer", lambda one: setattr(one, "layer", "block4_pool")),
    "the strongest": ("mode", lambda one: setattr(one, "mode", "max")),
    "the winning channel": ("more", lambda one: setattr(one, "mode", "argmax")),
    "the mean": ("more", lambda one: setattr(one, "mode", "mean")),
    "a range": ("scale", lambda one: setattr(one, "scale", "layer")),
}


@pytest.mark.sampled
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("zoomed", [False, True])
def test_a_page_can_paint_what_a_choice_leads_to(
    explore: Explore, choice: str, zoomed: bool
) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    if zoomed:
        explorer.figure.axes[1].set_xlim(20, 61)
        explorer.canvas.draw()
    page.says(kind="scene")
    control, change = CHOICES[choice]
    chosen, before = dict(page.scene["chosen"][control]), page.scene
    known = {name: (page.planes(name), page.sheet(name)) for name in set(chosen.values())}
    change(explorer)
    # The page knew the next album in advance, and painted what the kernel draws.
    shown = explorer._page.shown["album"]
    assert shown in chosen.values()
    planes, sheet = known[shown]
    indices, parameters = planes[5 if len(planes) > 1 else 0]
    assert page.scene["next"] == shown
    page.says(kind="scene")
    assert page.scene["figure"] == before["figure"]
    assert page.scene["sheet"] == sheet
    painted = page.painted(indices, sheet, parameters["table"])
    np.testing.assert_array_equal(painted, page.drawn(sheet))
    legend = explorer._view._legend
    said = {words for words, *_ in parameters["list"]}
    assert said == {text.get_text() for text in legend.axes.texts} - {""}
    assert parameters["title"] == explorer.figure.axes[1].get_title()
    assert parameters["caption"] == explorer._controls.caption.value
    assert parameters["source"] == explorer._controls.source.value


@pytest.mark.slow
@pytest.mark.parametrize("names", ["keras", "both", "torchvision"])
def test_every_entry_of_the_layer_list_leads_to_the_kernels_album(
    explore: Explore, names: str
) -> None:
    explorer = explore(layer="block3_conv1", channel=200, layer_names=names, before_relu=True)
    page = Page(explorer)
    page.says(kind="scene")
    lines = [words for words, _ in control(explorer, "layer").options]
    leads = page.scene["chosen"]["layer"]
    first = control(explorer, "layer").value
    for words in lines:
        control(explorer, "layer").value = first
        page.says(kind="scene")
        assert page.scene["chosen"]["layer"] == leads
        control(explorer, "layer").label = words
        if words in leads:
            assert explorer._page.shown["album"] == leads[words]
        else:
            # After a ReLU the colormap changes, so the kernel draws the picture.
            assert explorer.cmap != "RdBu_r"


def test_the_nearest_albums_come_first(explore: Explore) -> None:
    page = Page(explore(layer="block3_conv1", channel=5))
    page.says(kind="scene")
    layers = list(page.explorer.activations)
    away = [
        abs(layers.index(one["layer"]) - layers.index("block3_conv1"))
        for one in page.scene["albums"]
    ]
    assert away == sorted(away)
    assert set(layers) == {one["layer"] for one in page.scene["albums"]}


def test_choices_are_sent_again_if_they_lead_to_other_albums(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    page.paints()
    page.says(kind="marks", scene=page.scene["number"])
    before = page.scene["chosen"]["mode"]["Strongest"]
    explorer.channels = 0, 5
    assert page.scene["album"] == 0, "the page would keep the old choices"
    page.says(kind="scene")
    assert page.scene["chosen"]["mode"]["Strongest"] != before
    explorer.mode = "max"
    assert explorer._page.shown["album"] == page.scene["next"] != before


def test_a_new_layout_is_another_figure(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    explorer._page.room = 500
    page.says(kind="scene")
    first = page.scene["figure"]
    # On a narrow page the list of channels makes the figure higher, and everything moves.
    explorer.mode = "argmax"
    assert page.scene["next"] == 0
    page.says(kind="scene")
    assert page.scene["figure"] != first
    (name,) = (page.scene["chosen"]["network"]["block2_conv2"],)
    ((indices, parameters),) = page.planes(name).values()
    sheet = page.sheet(name)
    explorer.layer = "block2_conv2"
    painted = page.painted(indices, sheet, parameters["table"])
    np.testing.assert_array_equal(painted, page.drawn(sheet))


def test_a_zoom_from_code_is_noticed_before_the_next_layer(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    page.says(kind="scene")
    first = page.scene["figure"]
    explorer.figure.axes[1].set_xlim(20, 61)
    explorer.layer = "block3_conv2"
    assert page.scene["next"] == 0
    page.says(kind="scene")
    assert page.scene["figure"] != first


def test_a_layer_that_is_not_in_view_is_not_asked_for_again(explore: Explore) -> None:
    # The pooled maps cover 64 of the 90 columns.
    explorer = own_model(explore, (72, 90), lambda layers, maps: layers.MaxPooling2D(32)(maps))
    page = Page(explorer)
    explorer.figure.axes[1].set_xlim(82, 89)
    explorer.canvas.draw()
    page.says(kind="scene")
    deep = page.scene["chosen"]["network"]["last"]
    page.says(kind="planes", album=deep, start=0, after=0, sheet=True)
    parameters, _ = page.answers.pop()
    assert parameters["never"]
    near = page.scene["chosen"]["network"]["first"]
    page.says(kind="planes", album=near, start=0, after=0, sheet=True)
    assert not page.answers.pop()[0]["never"]


def test_a_second_page_of_the_kernel_does_not_keep_the_first_from_painting(
    explore: Explore,
) -> None:
    page = Page(explore(layer="block3_conv1"))
    # Each page counts its own choices.
    page.says(kind="scene", turn=0)
    page.says(kind="scene", turn=5)
    assert page.scene["album"]
    assert page.scene["turn"] == 5


def test_if_a_page_cannot_paint_the_kernel_draws_for_all_pages(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    page.paints()
    page.says(kind="marks", scene=page.scene["number"])
    page.says(kind="cannot", scene=page.scene["number"])
    assert not explorer.canvas.held
    assert not page.scene["paintable"]
    page.says(kind="scene")
    assert page.scene["album"] == 0
    # At another width the page may paint.
    explorer._page.room = 600
    assert page.scene["paintable"]
    page.paints()


def test_the_page_does_not_request_grids(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", mode="grid")
    assert not explorer._page.scene["paintable"]
    explorer.mode = "max"
    assert explorer._page.scene["paintable"]


@pytest.mark.slow
def test_a_sheet_belongs_to_the_current_figure(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5)
    page = Page(explorer)
    page.says(kind="scene")
    other, first = page.scene["chosen"]["network"]["block2_conv1"], page.scene["figure"]
    before = page.sheet(other)
    explorer.figure.axes[1].set_xlim(10, 30)
    explorer.canvas.draw()
    # The page gets no sheet until it has the scene of the zoomed figure, and then another one.
    page.says(kind="planes", album=other, start=0, after=0, sheet=True)
    assert page.answers.pop()[0]["sheet"] is None
    page.says(kind="scene")
    assert page.scene["figure"] != first
    assert page.sheet(other) != before


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
    # The page is told once that a frame is held back.
    assert [parameters for parameters, _ in page.answers] == [{"kind": "kept"}]
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (11,)
    page.says(kind="rested")
    assert len(page.frames) == 1
    # The frame equals a redraw of the whole figure.
    drawn = np.asarray(explorer.canvas.get_renderer().buffer_rgba()).copy()
    explorer.canvas.draw()
    again = np.asarray(explorer.canvas.get_renderer().buffer_rgba())
    np.testing.assert_array_equal(drawn, again)
    page.frames.clear()
    page.says(kind="rested")
    assert page.frames == [], "nothing has changed since"


def test_held_back_changes_come_with_the_next_frame(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    page.draws({"type": "draw"})
    seen = np.array(explorer.canvas.get_renderer().buffer_rgba())[..., :3]
    sent: list[bytes] = []
    explorer.canvas.send = lambda _, buffers=None: sent.extend(buffers or [])
    explorer.location = 3, 4
    page.draws({"type": "draw"})
    assert sent == [], "the page draws the mark itself"
    # This long after a complete frame, a part of the figure would be sent, had the location's box
    # on the input not been held back.
    later = time.monotonic() + 60
    monkeypatch.setattr("vgg_widget.figure.canvas.time.monotonic", lambda: later)
    explorer.mode = "rainbow"
    for data in sent:
        with Image.open(io.BytesIO(bytes(data))) as frame:
            rgba = np.asarray(frame.convert("RGBA"))
        seen[rgba[..., 3] > 0] = rgba[rgba[..., 3] > 0, :3]
    drawn = np.asarray(explorer.canvas.get_renderer().buffer_rgba())
    np.testing.assert_array_equal(seen, drawn[..., :3])


CHANGES: dict[str, Callable[[LayerExplorer], object]] = {
    "a layer": lambda one: setattr(one, "layer", "block3_conv2"),
    "a mode": lambda one: setattr(one, "mode", "max"),
    "a mode of many colours": lambda one: setattr(one, "mode", "rgb"),
    "a scale": lambda one: setattr(one, "scale", "layer"),
    "a percentile": lambda one: setattr(one, "percentile", 90.0),
    "before the ReLU": lambda one: setattr(one, "before_relu", True),
    "an overlay": lambda one: setattr(one, "overlay", 0.5),
    "a theme": lambda one: setattr(one, "theme", "dark"),
    "a picture": lambda one: setattr(one, "image", one.image[::-1]),
    "a zoom": lambda one: (one.figure.axes[1].set_xlim(10, 30), one.canvas.draw()),
    "a width": lambda one: setattr(one._page, "room", 500),
}


@pytest.mark.sampled
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
    assert page.frames, "the page still shows the previous picture"
    # A report about the previous scene is ignored.
    page.says(kind="painting", scene=number)
    assert not explorer.canvas.held


def test_a_channel_alone_leaves_the_scene_as_it_is(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.paints()
    scene = page.scene
    explorer.channel = 9
    explorer.location = 3, 4
    explorer.panel = "Display"
    assert page.scene == scene
    shown = dict(explorer._page.shown)
    assert "channel 9" in shown.pop("words")["caption"]
    assert shown == {
        "album": scene["album"],
        "channel": 9,
        "location": [3, 4],
    }


def test_frames_have_no_marks_while_the_page_draws_them(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)

    def shown() -> np.ndarray[Any, Any]:
        return np.array(explorer.canvas.get_renderer().buffer_rgba())[..., :3]

    explorer.canvas.draw()
    bare = shown()
    explorer.location = 3, 4
    page.draws({"type": "draw"})
    marked, file = shown(), explorer.to_bytes(".png")
    assert (bare != marked).any()
    page.paints()
    page.says(kind="marks", scene=page.scene["number"])
    page.draws({"type": "draw"})
    np.testing.assert_array_equal(shown(), bare)
    assert explorer.to_bytes(".png") == file, "the saved file lacks the location"
    # Once the page cannot paint, the kernel draws the mark again.
    explorer.mode = "rgb"
    explorer.mode = "channel"
    np.testing.assert_array_equal(shown(), marked)


@pytest.mark.parametrize(
    "settings",
    [{"mode": "grid"}, {"mode": "rainbow"}, {"mode": "rgb"}, {"overlay": 0.4}],
)
def test_what_the_page_cannot_know_comes_from_the_kernel(
    explore: Explore, settings: dict[str, Any]
) -> None:
    explorer = explore(layer="block3_conv1", **settings)
    page = Page(explorer)
    page.says(kind="scene")
    assert page.scene["album"] == 0


def test_a_colormap_of_more_than_256_colours_is_drawn_by_the_kernel(explore: Explore) -> None:
    many = mpl.colormaps["magma"].resampled(1024)
    many.name = "many"
    mpl.colormaps.register(many)
    try:
        page = Page(explore(layer="block3_conv1", cmap="many"))
        page.says(kind="scene")
        assert page.scene["album"] == 0
    finally:
        mpl.colormaps.unregister("many")


def test_a_users_line_over_the_picture_is_not_painted_over(explore: Explore) -> None:
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
    # Another colormap changes only the table of colours.
    explorer.cmap = "gray"
    page.says(kind="scene")
    assert page.scene["album"] == first


def test_a_reloaded_page_gets_frames_again(explore: Explore) -> None:
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
    sheet, info = page.scene["sheet"], explorer.activations.info("block4_pool")
    height, width = explorer.activations.image.shape[:2]
    rows, columns = page.album()["shape"]
    for row in range(rows):
        for column in range(columns):
            box = info.receptive_field_box(row, column, (height, width))
            (top, bottom) = sheet["fields"]["rows"][row]
            (left, right) = sheet["fields"]["columns"][column]
            assert (top, left, bottom, right) == box
    for row in range(0, height, 7):
        for column in range(0, width, 5):
            found = sheet["units"][0][row], sheet["units"][1][column]
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


def test_the_page_budget_is_sent_to_the_page(explore: Explore) -> None:
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


def test_a_page_is_told_to_forget_albums_of_another_image(explore: Explore) -> None:
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


def test_a_colormap_that_is_not_opaque_is_drawn_by_the_kernel(explore: Explore) -> None:
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
        ((parameters, _),) = page.answers
        assert (parameters["kind"], parameters["number"]) == ("words", number)
        value = explorer.activations["block3_conv1"][2, 5, 3]
        assert parameters["text"].startswith(f"row 2, column 5: {plain_number(value, 4)}")


def test_finite_values_are_reported_as_finite(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=3)
    page = Page(explorer)
    page.says(kind="scene")
    assert all(parameters["finite"] for _, parameters in page.planes().values())


def test_a_network_of_many_layers_is_stepped_through_all_the_same(explore: Explore) -> None:
    def many(layers: Any, maps: Any) -> Any:
        for number in range(31):
            maps = layers.ReLU(name=f"relu{number}")(maps)
        return maps

    explorer = own_model(explore, (16, 16), many)
    strip = explorer._controls.network.widget
    # The strip has no room for buttons, but the page still chooses layers through it.
    strip.set_state({"value": "relu7"})
    assert explorer.layer == "relu7"
    explorer.layer = "relu3"
    strip.set_state({"value": "relu7"})
    assert explorer.layer == "relu7"


def test_channels_with_nonfinite_values_are_reported(explore: Explore) -> None:
    with pytest.warns(UserWarning, match="NaN or infinite"):
        explorer = own_model(explore, (24, 24), lambda _, maps: maps, biases=(0, np.nan, 1))
    page = Page(explorer)
    page.says(kind="scene")
    page.explorer.layer = "first"
    page.says(kind="scene")
    finite = {channel: parameters["finite"] for channel, (_, parameters) in page.planes().items()}
    assert finite == {0: True, 1: False, 2: True}

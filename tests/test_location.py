"""Tests of `location`: accepted values, changes of layer and image, grid order and mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError

from tests.explorers import (
    CENTER,
    STRIDE,
    caption_words,
    click,
    control,
    field_of,
    hover,
    let_paint,
    mouse,
    on_canvas,
    place_words,
    point,
    problem,
)
from vgg_widget import FeatureExtractor, LayerExplorer
from vgg_widget.pictures.coordinates import Hit

Explore = Callable[..., LayerExplorer]

SIZE = (64, 75)
"""Height and width of `photo`; the width is not a multiple of 32."""


# The trait ---------------------------------------------------------------------------------------


def test_a_location_is_a_pair_of_plain_numbers_or_none(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=np.array([6, 7]))
    assert explorer.location == (6, 7)
    given: list[tuple[Any, tuple[int, int] | None]] = [
        ((3, 4), (3, 4)),
        ([15, 17], (15, 17)),
        (np.array([2, 5]), (2, 5)),
        ((np.int64(1), np.uint8(0)), (1, 0)),
        (None, None),
    ]
    for value, kept in given:
        explorer.location = value
        assert explorer.location == kept
        assert kept is None or [type(number) for number in explorer.location] == [int, int]


BAD: list[tuple[Any, str]] = [
    # 64×75 pixels give 16×18 units of 4 pixels.
    ((16, 0), r"location \(16, 0\) is outside layer 'block3_conv1'.*up to \(15, 17\)"),
    ((0, 18), r"16 rows and 18 columns: choose up to \(15, 17\)"),
    ((-1, 0), r"location \(-1, 0\) is outside"),
    ((1, 2, 3), r"'location' trait.*\(row, column\) pair of whole numbers"),
    ((1,), "pair of whole numbers"),
    ((), "pair of whole numbers"),
    ("12", r"'location' trait.*not the str '12'"),
    (("1", "2"), "pair of whole numbers"),
    ((1.0, 2.0), "pair of whole numbers"),
    ((True, False), "pair of whole numbers"),
    (np.array([1.5, 2]), "pair of whole numbers"),
    (7, "pair of whole numbers"),
    ((None, 3), "pair of whole numbers"),
]


def test_a_bad_location_is_refused_in_a_sentence_and_changes_nothing(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(2, 3))
    before = on_canvas(explorer)
    for bad, message in BAD:
        with pytest.raises(TraitError, match=message) as caught:
            explorer.location = bad
        assert "\n" not in str(caught.value)
        assert explorer.location == (2, 3)
        let_paint(explorer)
        np.testing.assert_array_equal(on_canvas(explorer), before)


@pytest.mark.parametrize(("bad", "message"), [BAD[0], BAD[6]])
def test_no_explorer_is_made_at_a_bad_location(explore: Explore, bad: Any, message: str) -> None:
    with pytest.raises(TraitError, match=message):
        explore(layer="block3_conv1", location=bad)


def test_a_location_of_the_layer_that_is_chosen_with_it(explore: Explore) -> None:
    explorer = explore(layer="block5_conv1")
    with explorer.hold_trait_notifications():
        explorer.location = (63, 74)
        explorer.layer = "block1_conv1"
    assert (explorer.layer, explorer.location) == ("block1_conv1", (63, 74))
    # The other way round, the location is one of the small map, not of the large one.
    with explorer.hold_trait_notifications():
        explorer.location = (3, 1)
        explorer.layer = "block5_conv1"
    assert (explorer.layer, explorer.location) == ("block5_conv1", (3, 1))
    with pytest.raises(TraitError, match=r"\(9, 9\) is outside layer 'block4_conv1'"):
        explorer.choose(layer="block4_conv1", location=(9, 9))
    assert (explorer.layer, explorer.location) == ("block5_conv1", (3, 1))
    assert explorer.rendering is not None
    assert explorer.rendering.layer == "block5_conv1"


# Following the layer and the picture -------------------------------------------------------------


def same_place(before: str, location: tuple[int, int], after: str) -> list[tuple[int, int]]:
    """Return all units of `after` whose centre is nearest to that of a unit of `before`."""
    candidates = []
    for index, size in zip(location, SIZE, strict=True):
        middle = CENTER[STRIDE[before]] + index * STRIDE[before]
        units = np.arange(size // STRIDE[after])
        distance = np.abs(CENTER[STRIDE[after]] + units * STRIDE[after] - middle)
        candidates.append(np.flatnonzero(distance == distance.min()).tolist())
    return [(row, column) for row in candidates[0] for column in candidates[1]]


@pytest.mark.parametrize(
    ("start", "layers"),
    [((33, 41), list(STRIDE)), ((63, 74), [*reversed(STRIDE)]), ((0, 1), [*STRIDE][::-4])],
)
def test_a_location_keeps_its_place_in_the_image_when_the_layer_changes(
    explore: Explore, start: tuple[int, int], layers: list[str]
) -> None:
    explorer = explore(layer="block1_conv1", location=start)
    for layer in ["block1_conv1", *layers]:
        before, location = explorer.layer, explorer.location
        assert location is not None
        explorer.layer = layer
        assert explorer.location in same_place(before, location, layer)


def test_a_location_follows_torchvisions_names_and_stays_at_a_relu(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(5, 6))
    explorer.layer = "features.10"
    assert explorer.location == (5, 6)
    explorer.before_relu = False
    assert explorer.location == (5, 6)
    # Centres: 1.5 + 4 * 5 = 21.5 is 3.5 + 8 * 2.25, 1.5 + 4 * 6 = 25.5 is 3.5 + 8 * 2.75.
    explorer.layer = "features.20"
    assert explorer.location == (2, 3)


def test_on_a_smaller_picture_a_location_becomes_the_nearest_unit(
    explore: Explore, photo: Any
) -> None:
    explorer = explore(layer="block3_conv1", location=(15, 17))
    explorer.image = photo[:40, :34]
    assert explorer.activations.shape("block3_conv1")[:2] == (10, 8)
    assert explorer.location == (9, 7)
    let_paint(explorer)
    before = on_canvas(explorer)
    explorer.canvas.draw()
    np.testing.assert_array_equal(before, on_canvas(explorer))
    # It stays there when the large picture comes back.
    explorer.image = photo
    assert explorer.location == (9, 7)


def test_a_grid_in_the_order_of_a_location_survives_a_smaller_picture(
    explore: Explore, photo: Any
) -> None:
    explorer = explore(layer="block3_conv1", mode="grid", location=(15, 17), order="location")
    explorer.image = photo[:40, :34]
    assert (explorer.location, explorer.order) == ((9, 7), "location")
    values = explorer.activations["block3_conv1"][9, 7]
    assert explorer.rendering is not None
    by_hand = sorted(range(256), key=lambda channel: -values[channel])
    assert [values[c] for c in explorer.rendering.channels[:20]] == [
        values[c] for c in by_hand[:20]
    ]


def test_an_observer_that_fails_on_a_smaller_picture_leaves_the_location(
    explore: Explore, photo: Any
) -> None:
    explorer = explore(layer="block3_conv1", location=(15, 17))

    def fail(_: Any) -> None:
        if explorer.activations.image.shape[0] < 64:
            raise ZeroDivisionError("on purpose")

    explorer.observe(fail, "rendering")
    with pytest.raises(ZeroDivisionError):
        explorer.image = photo[:40, :34]
    assert explorer.location == (15, 17)
    assert explorer.activations.shape("block3_conv1")[:2] == (16, 18)


# The order of a grid -----------------------------------------------------------------------------


def test_a_grid_is_ordered_by_a_location_only_where_there_is_one(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", mode="grid")
    with pytest.raises(TraitError, match=r"^order 'location' sorts by .* set location first"):
        explorer.order = "location"
    assert explorer.order == "index"
    with pytest.raises(TraitError, match="set location first"):
        explore(mode="grid", order="location")
    assert "location" not in control(explorer, "order").options
    with explorer.hold_trait_notifications():
        explorer.order = "location"
        explorer.location = (4, 9)
    assert "location" in control(explorer, "order").options
    values = explorer.activations["block2_conv1"][4, 9]
    assert explorer.rendering is not None
    shown = [float(values[channel]) for channel in explorer.rendering.channels]
    alive = explorer.activations["block2_conv1"].max(axis=(0, 1)) > 0
    assert shown[: int(alive.sum())] == sorted(values[alive].tolist(), reverse=True)
    explorer.location = None
    assert explorer.order == control(explorer, "order").value == "index"
    assert explorer.rendering.channels == tuple(range(128))


@pytest.mark.parametrize(
    ("bad", "message"),
    [("sparse", "did you mean 'sparsity'"), ("", "choose one of 'index'"), (3, "'order' trait")],
)
def test_a_bad_order_is_refused(explore: Explore, bad: Any, message: str) -> None:
    explorer = explore(mode="grid", order="max")
    with pytest.raises(TraitError, match=message):
        explorer.order = bad
    assert explorer.order == "max"


@pytest.mark.parametrize("order", ["max", "mean", "std"])
def test_a_grid_is_sorted_by_its_order(explore: Explore, order: str) -> None:
    explorer = explore(layer="block4_conv1", mode="grid", order=order)
    maps = explorer.activations["block4_conv1"].astype(np.float64)
    score = getattr(maps, order)(axis=(0, 1))
    assert explorer.rendering is not None
    shown = score[list(explorer.rendering.channels)]
    assert (np.diff(shown) <= 1e-5 * score.max()).all()


def test_dead_channels_are_hidden_and_counted(explore: Explore) -> None:
    explorer = explore(layer="block5_pool", mode="grid", hide_dead=True)
    dead = int((explorer.activations["block5_pool"] == 0).all(axis=(0, 1)).sum())
    assert dead > 0
    assert explorer.rendering is not None
    assert len(explorer.rendering.channels) == 512 - dead
    caption = caption_words(explorer)
    assert f"{dead} dead channels hidden" in caption
    explorer.hide_dead = False
    assert len(explorer.rendering.channels) == 512
    assert f"{dead} of 512 channels dead" in caption_words(explorer)
    assert "hidden" not in caption_words(explorer)
    bad: Any = "yes"
    with pytest.raises(TraitError, match="'hide_dead' trait"):
        explorer.hide_dead = bad


# A mouse -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["block1_conv1", "block3_conv2", "block4_pool", "block5_conv4"])
def test_a_click_on_the_map_chooses_that_unit_and_another_clears_it(
    explore: Explore, layer: str
) -> None:
    explorer = explore(layer=layer)
    stride = STRIDE[layer]
    row, column = SIZE[0] // stride - 1, SIZE[1] // (2 * stride)
    for dx, dy in ((0, 0), (stride - 1, 0), (0, stride - 1)):
        click(explorer, "map", column * stride + dx, row * stride + dy)
        assert explorer.location == (row, column)
        click(explorer, "map", column * stride + dx, row * stride + dy)
        assert explorer.location is None


def test_a_click_on_the_input_chooses_the_unit_centred_there(explore: Explore) -> None:
    explorer = explore(layer="block4_conv1")
    # Centres are at 3.5, 11.5, 19.5 …; pixels beyond the last unit belong to it.
    for (x, y), unit in {
        (0, 0): (0, 0),
        (11, 3): (0, 1),
        (7, 8): (1, 0),
        (70, 60): (7, 8),
        (74, 63): (7, 8),
    }.items():
        click(explorer, "input", x, y)
        assert explorer.location == unit
        # A second click clears the location.
        click(explorer, "input", x, y)
        assert explorer.location is None


def test_a_click_on_a_tile_opens_its_channel(explore: Explore) -> None:
    explorer = explore(layer="block5_conv1", mode="grid", order="max")
    assert explorer.rendering is not None
    assert explorer.rendering.tiles is not None
    tiles, ranked = explorer.rendering.tiles, explorer.rendering.channels
    top, left, _, right = tiles.box(37)
    click(explorer, "map", left + 1, top + 2)
    assert (explorer.mode, explorer.channel, explorer.location) == ("channel", ranked[37], None)
    ways_back = [explorer.can_go_back]
    explorer.back()
    assert explorer.rendering.channels == ranked
    assert [*ways_back, explorer.can_go_back] == [True, False]
    click(explorer, "map", right, top)  # between tiles
    assert explorer.rendering.channels == ranked
    # Centres are at 7.5, 23.5, 39.5.
    click(explorer, "input", 40, 30)
    assert explorer.rendering.channels == ranked
    assert explorer.location == (1, 2)


def test_a_drag_or_the_toolbars_zoom_chooses_nothing(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1")
    mouse(explorer, "button_press", "map", 10, 10)
    mouse(explorer, "button_release", "map", 40, 40)
    assert explorer.location is None
    explorer.canvas.toolbar.zoom()
    click(explorer, "map", 30, 30)
    point(explorer, "map", 30, 30)
    assert explorer.location is None
    assert "sees input rows" not in place_words(explorer)
    explorer.canvas.toolbar.zoom()
    click(explorer, "map", 30, 30)
    assert explorer.location == (7, 7)


@pytest.mark.parametrize(("layer", "unit"), [("block2_conv1", (20, 13)), ("block3_conv1", (8, 8))])
def test_the_status_line_says_value_position_and_field(
    explore: Explore, layer: str, unit: tuple[int, int]
) -> None:
    explorer = explore(layer=layer, channel=3)
    row, column = unit
    value = explorer.activations[layer][row, column, 3]
    top, left, bottom, right = field_of(layer, row, column, SIZE)
    expected = (
        f"row {row}, column {column}: {value:.4g} · "
        f"sees input rows {top}–{bottom - 1}, columns {left}–{right - 1}"
    )
    point(explorer, "map", column * STRIDE[layer], row * STRIDE[layer])
    assert place_words(explorer) == expected
    assert bottom - top == right - left  # whole: nothing is clipped
    assert explorer.location is None
    explorer.location = unit
    hover(explorer, None)
    assert place_words(explorer) == f"location: {expected}"


def test_the_status_line_says_how_much_of_a_field_each_border_clips(explore: Explore) -> None:
    explorer = explore(layer="block3_conv4")
    # 48 pixels around 1.5 + 4 * n: unit 0 starts at -22; the last row's unit, at 61.5, ends at 85.
    point(explorer, "map", 0, 0)
    assert place_words(explorer).endswith(
        "sees input rows 0–25, columns 0–25: its 48 × 48 field is clipped by the border "
        "(22 px above it, 22 px left of it)"
    )
    point(explorer, "map", 4 * 17, 4 * 15)
    # Columns: 1.5 + 68 = 69.5, from 46 to 93 of 75.
    assert place_words(explorer).endswith(
        "sees input rows 38–63, columns 46–74: its 48 × 48 field is clipped by the border "
        "(22 px below it, 19 px right of it)"
    )


def test_over_the_input_the_status_line_says_pixel_and_nearest_unit(
    explore: Explore, photo: Any
) -> None:
    explorer = explore(layer="block2_conv1", channel=1)
    point(explorer, "input", 31, 22)
    red, green, blue = photo[22, 31]
    # Centres are at 0.5 + 2 n: rows 22 and columns 31 are nearest to units 11 and 15.
    value = explorer.activations["block2_conv1"][11, 15, 1]
    assert place_words(explorer).startswith(
        f"input row 22, column 31: RGB {red}, {green}, {blue} · "
        f"nearest unit row 11, column 15: {value:.4g} · sees input rows 18–27"
    )


def test_a_tile_says_its_channel(explore: Explore) -> None:
    explorer = explore(layer="block4_conv1", mode="grid", order="max")
    assert explorer.rendering is not None
    assert explorer.rendering.tiles is not None
    channel = explorer.rendering.channels[11]
    top, left, _, _ = explorer.rendering.tiles.box(11)
    point(explorer, "map", left + 2, top + 5)
    value = explorer.activations["block4_conv1"][5, 2, channel]
    assert place_words(explorer).startswith(f"channel {channel}, row 5, column 2: {value:.4g} · ")


def test_a_hovered_unit_is_forgotten_with_its_picture(explore: Explore, photo: Any) -> None:
    explorer = explore(layer="block2_conv1", location=(3, 3))
    for change in ({"layer": "block4_conv1"}, {"mode": "grid"}, {"image": photo[:50]}):
        hover(explorer, Hit("map", 1, 2))
        assert "row 1, column 2" in place_words(explorer)
        for name, value in change.items():
            setattr(explorer, name, value)
        assert explorer.location is not None
        row, column = explorer.location
        assert place_words(explorer).startswith(f"location: row {row}, column {column}"), change


def test_a_hovered_unit_stays_while_channels_change(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", location=(3, 3))
    hover(explorer, Hit("map", 1, 2))
    maps = explorer.activations["block2_conv1"]
    for channel in (4, 5, 60):
        explorer.channel = channel
        value = maps[1, 2, channel]
        assert place_words(explorer).startswith(f"row 1, column 2: {value:.4g} · ")
    explorer.mode = "max"
    assert place_words(explorer).startswith(f"row 1, column 2: {maps[1, 2].max():.4g} · ")


def test_a_hovered_unit_that_the_next_layer_lacks_is_forgotten(explore: Explore) -> None:
    # Row 60 of the first layer is no row of the last.
    explorer = explore(layer="block1_conv1")
    hover(explorer, Hit("map", 60, 70))
    explorer.layer = "block5_conv4"
    assert "row 60" not in place_words(explorer)
    assert problem(explorer) == ""


@pytest.mark.parametrize("location", [None, (1, 2)])
@pytest.mark.parametrize("on", ["map", "input"])
def test_a_move_that_arrives_after_the_mouse_has_left_is_ignored(
    explore: Explore, on: str, location: tuple[int, int] | None
) -> None:
    explorer = explore(layer="block3_conv1", location=location)
    let_paint(explorer)
    untouched, words = on_canvas(explorer), place_words(explorer)

    mouse(explorer, "figure_enter", on, 5, 6)
    point(explorer, on, 5, 6)
    let_paint(explorer)
    assert place_words(explorer) != words
    assert (on_canvas(explorer) != untouched).any()

    # The page sends a leave event at once, but delays all moves within 33 ms but the first.
    mouse(explorer, "figure_leave", on, 5, 6)
    for column in (7, 8):
        point(explorer, on, column, 6)
    let_paint(explorer)
    assert place_words(explorer) == words
    np.testing.assert_array_equal(on_canvas(explorer), untouched)

    mouse(explorer, "figure_enter", on, 8, 6)
    point(explorer, on, 8, 6)
    assert place_words(explorer) != words


# Models without receptive fields -----------------------------------------------------------------


@pytest.fixture(scope="module")
def strange() -> FeatureExtractor:
    """Return a network of a layer with a wide zero border, and of layers after its global mean."""
    import keras

    inputs = keras.Input((24, 24, 3))
    padded = keras.layers.ZeroPadding2D(6, name="padded")(inputs)
    whole = keras.layers.GlobalAveragePooling2D(keepdims=True, name="whole")(padded)
    scaled = keras.layers.Rescaling(2.0, name="twice")(whole)
    return FeatureExtractor(model=keras.Model(inputs, [padded, scaled]))


def test_a_unit_without_a_field_says_so_and_marks_itself_only(
    explore: Explore, strange: FeatureExtractor, photo: Any
) -> None:
    explorer = explore(photo[:24, :24], extractor=strange, layer="twice", location=(0, 0))
    assert place_words(explorer).endswith("its receptive field is not defined")
    marking = explorer._pointing.marks()
    assert (marking.unit, marking.box) == ((0, 0), None)
    point(explorer, "input", 5, 7)
    assert "nearest unit row 0, column 0" in place_words(explorer)
    assert problem(explorer) == ""


def test_a_unit_that_sees_the_border_alone_says_so(
    explore: Explore, strange: FeatureExtractor, photo: Any
) -> None:
    explorer = explore(photo[:24, :24], extractor=strange, layer="padded", location=(2, 9))
    assert explorer.activations.shape("padded")[:2] == (36, 36)
    assert place_words(explorer).endswith("sees nothing of the picture, only the border around it")
    assert explorer._pointing.marks().box is None
    explorer.location = (6, 9)
    assert place_words(explorer).endswith("sees input rows 0–0, columns 3–3")
    assert explorer._pointing.marks().box == (0, 3, 1, 4)

"""Tests of the explorer's figure: its pixels, colorbar, view, pointer messages and files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import MouseButton, MouseEvent, NavigationToolbar2
from matplotlib.figure import Figure
from PIL import Image

from tests.conftest import make_activations, numbers_on, pixels_of
from tests.explorers import above_foot
from vgg_widget import Activations, render
from vgg_widget.figure.color_bars import color_norm
from vgg_widget.figure.feature_figure import FeatureFigure, static_figure
from vgg_widget.pictures.coordinates import map_extent, value_at
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import Scale

RGB8 = npt.NDArray[np.uint8]

ZOOM = ((7.5, 23.5), (19.5, 3.5))


@pytest.fixture
def made() -> Activations:
    """Return two layers of an image of 32×40 pixels.

    The 8×10 maps of the first have both signs before the ReLU, and its last channel is dead.
    """
    random = np.random.default_rng(11)
    maps = random.normal(size=(8, 10, 5)).astype(np.float32)
    maps[..., 4] = 0
    wide = random.random((4, 5, 30)).astype(np.float32) * 100
    return make_activations(maps, before_relu=True, others={"wide": wide}, stride=4)


def pixels(figure: Figure) -> RGB8:
    """Return the pixels of the canvas without redrawing it."""
    return pixels_of(figure, redraw=False)


def color_at(figure: Figure, axes: Axes, x: float, y: float) -> list[int]:
    """Return the colour on the canvas at a point in data coordinates."""
    across, up = axes.transData.transform((x, y))
    picture = pixels(figure)
    color: list[int] = picture[int(picture.shape[0] - up), int(across)].tolist()
    return color


def bars(figure: Figure) -> list[Any]:
    inner = [axes for outer in figure.axes for axes in (outer, *outer.child_axes)]
    return [axes for axes in inner if axes.get_visible() and hasattr(axes, "_colorbar")]


# What is drawn -----------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["channel", "max", "argmax", "composite", "rgb"])
def test_every_location_has_its_colour_on_the_canvas(
    made: Activations, shown: FeatureFigure, mode: str
) -> None:
    picture = render(made, "conv", mode, channel=2, channels=(0, 1, 2))
    shown.show(picture, made.image, 4)
    drawn = pixels(shown.figure)
    for row in range(8):
        for column in range(10):
            # A location covers 4×4 pixels of the image; this is their centre.
            point = shown.map_axes.transData.transform((column * 4 + 1.5, row * 4 + 1.5))
            color = drawn[int(drawn.shape[0] - point[1]), int(point[0])]
            np.testing.assert_array_equal(color, picture.rgba[row, column, :3])


def test_the_image_is_drawn_beside_the_map_pixel_by_pixel(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    drawn = pixels(shown.figure)
    for row in range(32):
        for column in range(40):
            point = shown.input_axes.transData.transform((column, row))
            color = drawn[int(drawn.shape[0] - point[1]), int(point[0])]
            np.testing.assert_array_equal(color, made.image[row, column])


def test_the_tiles_of_a_small_grid_are_drawn_at_their_boxes(
    made: Activations, shown: FeatureFigure
) -> None:
    picture = render(made, "conv", "grid")
    shown.show(picture, made.image, 4)
    assert picture.tiles is not None
    for position in range(5):
        top, left, bottom, right = picture.tiles.box(position)
        for row, column in ((top, left), (bottom - 1, right - 1), (top + 3, left + 4)):
            color = color_at(shown.figure, shown.map_axes, column, row)
            assert color == picture.rgba[row, column, :3].tolist()


def test_a_map_lies_on_the_pixels_that_it_covers() -> None:
    # 2×2 units of 32 pixels cover 64×64 of an image of 64×75.
    maps = np.ones((2, 2, 1), np.float32)
    made = make_activations(maps)
    assert map_extent(render(made, "conv"), 32) == (-0.5, 63.5, 63.5, -0.5)
    assert map_extent(render(make_activations(np.ones((3, 4, 5), np.float32)), "conv"), 1) == (
        -0.5,
        3.5,
        2.5,
        -0.5,
    )


def test_both_pictures_share_the_images_frame(made: Activations, shown: FeatureFigure) -> None:
    image = np.zeros((35, 43, 3), np.uint8)  # not a multiple of the stride
    shown.show(render(made, "conv"), image, 4)
    assert shown.view == ((-0.5, 42.5), (34.5, -0.5))
    assert shown.input_axes.get_xlim() == (-0.5, 42.5)
    assert shown.input_axes.get_ylim() == (34.5, -0.5)
    assert shown.input_axes.get_title() == "input · 35 × 43"


def test_titles_call_a_dead_channel_dead(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv", channel=4), made.image, 4)
    assert shown.map_axes.get_title() == "conv · channel 4 (dead)"
    shown.show(render(made, "conv", channel=1), made.image, 4)
    assert shown.map_axes.get_title() == "conv · channel 1"


# The colorbar ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "extend"),
    [
        ({"layer": "conv", "channel": 0, "scale": "channel"}, "neither"),
        ({"layer": "conv", "channel": 0, "scale": Scale("channel", 80)}, "max"),
        ({"layer": "features.0", "channel": 0, "scale": Scale("channel", 60)}, "both"),
        ({"layer": "wide", "mode": "max", "scale": Scale("layer", 98)}, "max"),
        ({"layer": "wide", "mode": "mean", "cmap": "plasma", "scale": "layer"}, "neither"),
        ({"layer": "wide", "mode": "mean"}, "max"),
    ],
)
def test_the_colorbar_is_in_activation_units_and_marks_clipping(
    made: Activations, shown: FeatureFigure, options: dict[str, object], extend: str
) -> None:
    picture = render(made, **options)  # type: ignore[arg-type]
    shown.show(picture, made.image, 4)
    (bar,) = bars(shown.figure)
    assert bar.get_ylabel().startswith("activation")
    assert bar._colorbar.extend == extend
    assert picture.vmin is not None
    assert picture.vmax is not None
    across = picture.vmax - picture.vmin
    for place, value in numbers_on(bar).items():
        share = (value - picture.vmin) / across
        assert place == pytest.approx(share**picture.gamma)
    # A value's colour on the bar is its colour in the picture.
    assert picture.values is not None
    inside = (picture.values > picture.vmin) & (picture.values < picture.vmax)
    row, column = np.argwhere(inside)[len(np.argwhere(inside)) // 2]
    place = ((float(picture.values[row, column]) - picture.vmin) / across) ** picture.gamma
    on_bar = np.array(color_at(shown.figure, bar, 0.5, place), dtype=int)
    assert np.abs(on_bar - picture.rgba[row, column, :3]).max() <= 4


def test_no_colorbar_where_colours_are_not_values(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    assert len(bars(shown.figure)) == 1
    for mode, options in (
        ("argmax", {}),
        ("composite", {}),
        ("rgb", {}),
        ("rainbow", {}),
        ("grid", {"scale": "channel"}),
        ("channel", {"channel": 4, "scale": "channel"}),  # dead: an empty range
    ):
        shown.show(render(made, "conv", mode, **options), made.image, 4)
        assert bars(shown.figure) == [], mode
    shown.show(render(made, "conv"), made.image, 4)
    assert len(bars(shown.figure)) == 1


def test_after_many_changes_the_figure_equals_a_new_one(
    made: Activations, shown: FeatureFigure
) -> None:
    for step in range(12):
        scale = Scale(("channel", "layer")[step % 2], 50 + 2 * step, 1 + step % 3 / 2)
        layer = ("conv", "features.0", "wide")[step % 3]
        mode = ("channel", "grid", "rgb", "max")[step % 4]
        shown.show(render(made, layer, mode, scale=scale, cmap="magma"), made.image, 4, f"{step}")
    picture = render(made, "features.0", channel=1, scale=Scale("channel", 60))
    shown.show(picture, made.image, 4, "the end")
    fresh = static_figure(picture, made.image, 4, "the end")
    np.testing.assert_array_equal(pixels(shown.figure), pixels_of(fresh))
    assert len(shown.figure.axes) == len(fresh.axes)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_norm_is_the_power_of_the_share_of_the_range(made: Activations, gamma: float) -> None:
    after = render(made, "conv", channel=0, scale=Scale("channel", 100, gamma))
    assert after.vmax is not None
    values = np.linspace(0, after.vmax, 9)
    np.testing.assert_allclose(color_norm(after)(values), (values / after.vmax) ** gamma)
    before = render(made, "features.0", channel=0, scale=Scale("channel", 100, gamma))
    assert before.vmax is not None
    values = np.linspace(-before.vmax, before.vmax, 9)
    share = values / before.vmax
    expected = (np.sign(share) * np.abs(share) ** gamma + 1) / 2
    np.testing.assert_allclose(color_norm(before)(values), expected, atol=1e-12)


@pytest.mark.parametrize("layer", ["conv", "features.0"])
@pytest.mark.parametrize("percentile", [60, 100])
def test_dragging_the_colorbar_does_not_change_its_range(
    made: Activations, shown: FeatureFigure, layer: str, percentile: float
) -> None:
    toolbar = NavigationToolbar2(shown.figure.canvas)
    picture = render(made, layer, scale=Scale("channel", percentile))
    shown.show(picture, made.image, 4)
    (bar,) = bars(shown.figure)
    toolbar.pan()
    box = bar.get_window_extent()
    x, y = round((box.x0 + box.x1) / 2), round((box.y0 + box.y1) / 2)
    before = numbers_on(bar)
    drag(shown.figure, (x, y), (x, y + 60))
    assert numbers_on(bar) == before


def drag(figure: Figure, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Press, move and release the left button, at points of the canvas."""
    for name, (x, y) in (
        ("button_press_event", start),
        ("motion_notify_event", end),
        ("button_release_event", end),
    ):
        event = MouseEvent(name, figure.canvas, x, y, MouseButton.LEFT)
        # Not an argument, since matplotlib before 3.10 knows no such attribute.
        held = [MouseButton.LEFT] if name == "motion_notify_event" else []
        event.buttons = frozenset(held)  # type: ignore[attr-defined]
        figure.canvas.callbacks.process(name, event)


# The view ----------------------------------------------------------------------------------------


def test_a_zoom_stays_on_the_same_part_of_the_image(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.view = ZOOM
    assert (shown.input_axes.get_xlim(), shown.input_axes.get_ylim()) == ZOOM
    shown.show(render(made, "wide"), made.image, 8)
    assert shown.view == ZOOM
    shown.show(render(made, "conv", "max", cmap="gray"), made.image, 4)
    assert shown.view == ZOOM
    # In the zoomed view, row 2, column 4 of the 8×10 map is drawn at its own place.
    picture = render(made, "conv", channel=1)
    shown.show(picture, made.image, 4)
    color = color_at(shown.figure, shown.map_axes, 4 * 4 + 1.5, 2 * 4 + 1.5)
    assert color == picture.rgba[2, 4, :3].tolist()


def test_zooming_either_picture_zooms_both(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.input_axes.set(xlim=ZOOM[0], ylim=ZOOM[1])
    assert shown.view == ZOOM


def test_a_grid_has_its_own_view_and_the_zoom_is_restored_afterwards(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.view = ZOOM
    grid = render(made, "wide", "grid")
    shown.show(grid, made.image, 8)
    height, width = grid.rgba.shape[:2]
    assert shown.view == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    assert shown.input_axes.get_xlim() == (-0.5, 39.5)  # the input shows the whole image
    shown.view = ((0.0, 5.0), (5.0, 0.0))  # zooming the grid does not zoom the image
    assert shown.input_axes.get_xlim() == (-0.5, 39.5)
    shown.show(render(made, "wide", "grid", cmap="gray"), made.image, 8)
    assert shown.view == ((0.0, 5.0), (5.0, 0.0))
    shown.show(render(made, "conv"), made.image, 4)
    assert shown.view == ZOOM
    assert (shown.input_axes.get_xlim(), shown.input_axes.get_ylim()) == ZOOM


def test_another_image_resets_the_zoom(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.view = ZOOM
    shown.show(render(made, "conv"), np.zeros((64, 48, 3), np.uint8), 4)
    assert shown.view == ((-0.5, 47.5), (63.5, -0.5))


def test_another_image_resets_the_zoom_behind_a_grid(
    made: Activations, shown: FeatureFigure
) -> None:
    other = np.zeros((32, 40, 3), np.uint8)
    shown.show(render(made, "conv"), made.image, 4)
    shown.view = ZOOM
    shown.show(render(made, "conv", "grid"), made.image, 4)
    shown.show(render(made, "conv", "grid"), other, 4)
    shown.show(render(made, "conv"), other, 4)
    assert shown.view == ((-0.5, 39.5), (31.5, -0.5))


def test_home_shows_the_whole_current_picture(made: Activations, shown: FeatureFigure) -> None:
    toolbar = NavigationToolbar2(shown.figure.canvas)
    shown.show(render(made, "conv"), made.image, 4)
    whole = ((-0.5, 39.5), (31.5, -0.5))
    toolbar.zoom()
    box = shown.map_axes.get_window_extent()
    left, low = round(box.x0), round(box.y0)
    drag(shown.figure, (left + 30, low + 30), (left + 130, low + 130))
    zoomed = shown.view
    assert zoomed != whole
    # The zoom applies to both pictures, and stays when the layer changes.
    assert (shown.input_axes.get_xlim(), shown.input_axes.get_ylim()) == zoomed
    shown.show(render(made, "wide"), made.image, 8)
    assert shown.view == zoomed
    toolbar.home()
    assert shown.view == whole
    assert (shown.input_axes.get_xlim(), shown.input_axes.get_ylim()) == whole
    toolbar.back()
    assert shown.view == zoomed
    grid = render(made, "wide", "grid")
    shown.show(grid, made.image, 8)
    height, width = grid.rgba.shape[:2]
    shown.view = ((0.0, 5.0), (5.0, 0.0))
    toolbar.home()
    assert shown.view == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    shown.show(render(made, "conv"), made.image, 4)
    assert shown.view == zoomed
    toolbar.home()
    assert shown.view == whole


# Messages of the pointer -------------------------------------------------------------------------


def test_the_pointer_over_the_map_reads_its_value(made: Activations, shown: FeatureFigure) -> None:
    maps = made["conv"]
    shown.show(render(made, "conv", channel=1), made.image, 4)
    for row, column in ((0, 0), (3, 4), (7, 9)):
        words = f"row {row}, column {column}: {maps[row, column, 1]:.4g}"
        for dx in (0.0, 1.5, 3.0):
            assert shown.map_axes.format_coord(column * 4 + dx, row * 4 + dx) == words
    for x, y in ((-0.6, 3), (40, 3), (3, -1), (3, 32)):
        assert shown.map_axes.format_coord(x, y) == ""


def test_the_pointer_over_the_image_reads_its_colour(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    red, green, blue = made.image[5, 7]
    expected = f"row 5, column 7: RGB {red}, {green}, {blue}"
    assert shown.input_axes.format_coord(7.4, 4.6) == expected
    assert shown.input_axes.format_coord(40, 5) == ""


def test_the_pointer_over_a_grid_reads_the_channel(made: Activations) -> None:
    picture = render(made, "wide", "grid")
    assert picture.tiles is not None
    top, left, _, right = picture.tiles.box(7)
    value = made["wide"][2, 3, 7]
    words = value_at(picture, 8, left + 3, top + 2)
    assert words == f"channel 7, row 2, column 3: {value:.4g}"
    assert value_at(picture, 8, right, top) == ""  # in the gap


def test_the_pointer_over_argmax_reads_the_winner(made: Activations) -> None:
    picture = render(made, "wide", "argmax")
    winner = int(made["wide"][1, 2].argmax())
    assert value_at(picture, 8, 2 * 8, 1 * 8) == f"row 1, column 2: channel {winner}"
    silent = render(make_activations(np.zeros((2, 2, 3), np.float32)), "conv", "argmax")
    assert value_at(silent, 1, 0, 0) == "row 0, column 0: no channel is active"
    mixed = render(made, "wide", "rgb")
    assert value_at(mixed, 8, 0, 0) == "row 0, column 0"


# Files -------------------------------------------------------------------------------------------


def test_a_png_has_the_shown_view_and_leaves_the_canvas_unchanged(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.view = ZOOM
    shown.figure.canvas.draw()
    before, dpi = pixels(shown.figure), shown.figure.dpi
    file = io.BytesIO()
    shown.save(file, "png", "made by a test")
    with Image.open(file) as saved:
        drawn = np.asarray(saved.convert("RGB"))
    # The file has an additional line at the bottom, for which the screen has no room.
    foot = above_foot(shown)
    # On a figure of another height, edges of colours move by a fraction of a pixel.
    assert np.abs(drawn[:foot].astype(int) - before[:foot]).max() <= 4
    assert drawn.shape[0] > before.shape[0]
    assert (drawn[before.shape[0] :] != drawn[0, 0]).any()
    assert shown.figure.dpi == dpi
    assert shown.view == ZOOM
    np.testing.assert_array_equal(pixels(shown.figure), before)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("suffix", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_each_file_format_is_written(
    made: Activations, shown: FeatureFigure, suffix: str, starts: bytes, tmp_path: Path
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    path = tmp_path / f"picture.{suffix}"
    shown.save(path, suffix, "made by a test")
    data = path.read_bytes()
    assert data.startswith(starts)
    if suffix == "svg":
        assert b"made by a test" in data
    assert plt.get_fignums() == []


def test_the_static_figure_is_the_same_picture_and_unknown_to_pyplot(made: Activations) -> None:
    picture = render(made, "conv", "max")
    figure = static_figure(picture, made.image, 4, "made by a test")
    assert plt.get_fignums() == []
    pixels_of(figure)
    assert color_at(figure, figure.axes[1], 4 * 4 + 1.5, 2 * 4 + 1.5) == (
        picture.rgba[2, 4, :3].tolist()
    )


def test_a_walk_through_the_channels_adds_no_artists(
    made: Activations, shown: FeatureFigure
) -> None:
    def walk() -> int:
        for channel in (0, 1, 2, 3, 4, 0):
            for mode in ("channel", "grid", "rgb"):
                shown.show(render(made, "conv", mode, channel=channel), made.image, 4)
        return len(shown.figure.findobj())

    first = walk()
    assert walk() == first


def test_a_rendering_without_values_needs_no_range(shown: FeatureFigure) -> None:
    rgba = np.full((4, 4, 4), 200, np.uint8)
    own = Rendering(rgba, None, None, None, None, "own", "conv", "own", "layer", (0,))
    shown.show(own, np.zeros((32, 32, 3), np.uint8), 8)
    assert color_at(shown.figure, shown.map_axes, 16, 16)[0] > 150

"""Tests of marks and overlay: right pixels, and the same pixels as in a full redraw."""

from __future__ import annotations

import io
import random
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from PIL import Image
from traitlets import TraitError

from tests.conftest import make_activations, pixels_of
from tests.explorers import (
    STRIDE,
    above_foot,
    assert_as_drawn_whole,
    axes_of,
    control,
    count_renderings,
    field_of,
    hover,
    let_paint,
    on_canvas,
    whole_drawings,
)
from vgg_widget import Activations, LayerExplorer, render
from vgg_widget.figure.feature_figure import FeatureFigure
from vgg_widget.pictures.coordinates import Hit, Marks
from vgg_widget.pictures.scaling import Scale

Explore = Callable[..., LayerExplorer]
RGB8 = npt.NDArray[np.uint8]

YELLOW = (0xFF, 0xE1, 0x4D)
SIZE = (64, 75)
ZOOM = ((8.5, 30.0), (40.2, 3.0))


def at(axes: Axes, picture: RGB8, x: float, y: float) -> list[int]:
    """Return the colour on the canvas at a point in data coordinates."""
    across, up = axes.transData.transform((x, y))
    color: list[int] = picture[int(picture.shape[0] - up), int(across)].tolist()
    return color


def box_drawn(axes: Axes, picture: RGB8) -> tuple[float, float, float, float]:
    """Return top, left, bottom and right of some axes' yellow box in data coordinates."""
    frame = axes.get_window_extent()
    height = picture.shape[0]
    # A pixel's position is its centre. The line may run just outside the axes.
    yellow = np.abs(picture.astype(int) - YELLOW).max(axis=-1) <= 2
    rows, columns = np.nonzero(yellow)
    near = (columns > frame.x0 - 3) & (columns < frame.x1 + 3)
    rows, columns = rows[near], columns[near]
    assert rows.size
    back = axes.transData.inverted()
    left, top = back.transform((columns.min() + 0.5, height - rows.min() - 0.5))
    right, bottom = back.transform((columns.max() + 0.5, height - rows.max() - 0.5))
    return top, left, bottom, right


# The receptive field -----------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("layer", "unit"),
    [
        ("block1_conv2", (30, 40)),  # whole: 5×5 pixels
        ("block2_conv1", (20, 30)),
        ("block3_conv1", (8, 9)),
        ("block3_conv1", (0, 0)),  # clipped above and at the left
        ("block3_conv4", (15, 17)),  # clipped below and at the right, where pools drop pixels
        ("block4_conv1", (7, 0)),
    ],
)
def test_the_box_is_the_pixels_that_the_unit_sees(
    explore: Explore, layer: str, unit: tuple[int, int]
) -> None:
    explorer = explore(layer=layer)
    with whole_drawings(explorer) as drawings:
        explorer.location = unit
        let_paint(explorer)
    assert drawings == []
    picture = on_canvas(explorer)
    top, left, bottom, right = field_of(layer, *unit, SIZE)
    # The box spans the outer edges of the first and last pixels; the line has a width.
    expected = (top - 0.5, left - 0.5, bottom - 0.5, right - 0.5)
    assert box_drawn(axes_of(explorer, "input"), picture) == pytest.approx(expected, abs=0.4)
    stride = STRIDE[layer]
    row, column = unit
    expected = (
        row * stride - 0.5,
        column * stride - 0.5,
        (row + 1) * stride - 0.5,
        (column + 1) * stride - 0.5,
    )
    assert box_drawn(axes_of(explorer, "map"), picture) == pytest.approx(expected, abs=0.4)


def test_a_field_that_is_the_whole_picture_frames_it(explore: Explore) -> None:
    explorer = explore(layer="block5_conv4", location=(1, 2))
    assert field_of("block5_conv4", 1, 2, SIZE) == (0, 0, 64, 75)
    let_paint(explorer)
    drawn = box_drawn(axes_of(explorer, "input"), on_canvas(explorer))
    assert drawn == pytest.approx((-0.5, -0.5, 63.5, 74.5), abs=0.5)


def test_clearing_a_location_restores_the_canvas(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", overlay=0.4)
    before = on_canvas(explorer)
    explorer.location = (4, 4)
    let_paint(explorer)
    assert not np.array_equal(on_canvas(explorer), before)
    explorer.location = None
    let_paint(explorer)
    np.testing.assert_array_equal(on_canvas(explorer), before)


# The overlay -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_the_overlay_is_a_mixture_of_input_and_map(explore: Explore, alpha: float) -> None:
    explorer = explore(layer="block3_conv1", channel=9)
    renderings = explorer.rendering
    explorer.overlay = alpha
    let_paint(explorer)
    picture = on_canvas(explorer)
    assert explorer.rendering is renderings
    assert renderings is not None
    image, axes = explorer.activations.image.astype(float), axes_of(explorer, "input")
    for y in range(1, 64, 9):
        for x in range(2, 72, 7):
            on_map = renderings.rgba[y // 4, x // 4, :3]
            expected = (1 - alpha) * image[y, x] + alpha * on_map
            assert np.abs(np.array(at(axes, picture, x, y)) - expected).max() <= 2
    # 18 units of 4 pixels end before the last three columns of 75.
    for x in (72, 73, 74):
        assert at(axes, picture, x, 30) == image[30, x].astype(int).tolist()


def test_the_overlay_follows_the_channel(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", overlay=0.5)
    with whole_drawings(explorer) as drawings:
        explorer.channel = 11
    assert drawings == []
    assert explorer.rendering is not None
    expected = (
        explorer.activations.image[20, 31].astype(float) + (explorer.rendering.rgba[10, 15, :3])
    ) / 2
    color = at(axes_of(explorer, "input"), on_canvas(explorer), 31, 20)
    assert np.abs(np.array(color) - expected).max() <= 2
    assert_as_drawn_whole(explorer)


def test_an_overlay_is_not_drawn_with_its_axes(explore: Explore) -> None:
    """Matplotlib before 3.11 draws an animated image with its axes, so it would be mixed twice."""
    explorer = explore(layer="block2_conv1", overlay=0.5)
    before = on_canvas(explorer)
    (overlay,) = (one for one in axes_of(explorer, "input").images if one.get_animated())
    canvas: Any = explorer.figure.canvas
    overlay.draw(canvas.get_renderer())
    np.testing.assert_array_equal(on_canvas(explorer), before)


def test_a_grid_is_not_laid_over_the_input(explore: Explore) -> None:
    explorer = explore(layer="block2_conv1", mode="grid", overlay=0.8, panel="Display")
    color = at(axes_of(explorer, "input"), on_canvas(explorer), 31, 20)
    # Beside a grid the input is small, and its pixels are smoothed a little.
    plain = explorer.activations.image[20, 31].astype(int)
    assert np.abs(plain - color).max() <= 4
    assert control(explorer, "map over the input").disabled
    explorer.mode = "max"
    assert not control(explorer, "map over the input").disabled
    over = at(axes_of(explorer, "input"), on_canvas(explorer), 31, 20)
    assert np.abs(plain - over).max() > 20


@pytest.mark.parametrize("bad", [-0.01, -1, 1.01, 2, float("nan"), float("inf"), "half", None])
def test_a_bad_opacity_is_refused_in_a_sentence(explore: Explore, bad: Any) -> None:
    explorer = explore(overlay=0.25)
    before = on_canvas(explorer)
    with pytest.raises(TraitError, match="overlay") as caught:
        explorer.overlay = bad
    if isinstance(bad, float | int):
        assert str(caught.value) == (
            f"overlay {float(bad)!r} is not an opacity: choose from 0 (none) to 1."
        )
    assert explorer.overlay == 0.25
    let_paint(explorer)
    np.testing.assert_array_equal(on_canvas(explorer), before)


# Cost --------------------------------------------------------------------------------------------


def test_marks_render_nothing_and_draw_no_figure(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block3_conv1", panel="Location")
    renderings = count_renderings(monkeypatch)
    seen: list[Any] = []
    explorer.observe(seen.append, "rendering")
    with whole_drawings(explorer) as drawings:
        for place in ((0, 0), (5, 5), None, (15, 17), (5, 6)):
            explorer.location = place
            let_paint(explorer)
        for opacity in (0.5, 0.2, 0.0, 1.0):
            explorer.overlay = opacity
            let_paint(explorer)
        for spot in (Hit("map", 2, 2), Hit("input", 60, 70), None):
            hover(explorer, spot)
    assert (renderings, drawings, seen) == ([], [], [])
    assert_as_drawn_whole(explorer)


# The same pixels as a full redraw ----------------------------------------------------------------


def random_step(explorer: LayerExplorer, chance: random.Random) -> None:
    rows, columns, _ = explorer.activations.shape(explorer.layer)

    def place() -> tuple[int, int]:
        return chance.randrange(rows), chance.randrange(columns)

    steps: dict[str, tuple[int, Callable[[], Any]]] = {
        "channel": (4, lambda: chance.randrange(64)),
        "location": (3, lambda: chance.choice([place(), place(), None])),
        "overlay": (2, lambda: chance.choice([0.0, 0.3, 0.7, 1.0])),
        "layer": (1, lambda: chance.choice(["block1_conv1", "block2_conv2", "block4_pool"])),
        "mode": (1, lambda: chance.choice(["channel", "max", "argmax", "rgb", "grid"])),
        "gamma": (1, lambda: chance.choice([0.5, 1.0, 2.0])),
        "percentile": (1, lambda: chance.choice([None, 80.0])),
        "theme": (1, lambda: chance.choice(["light", "dark"])),
        "before_relu": (1, lambda: not explorer.before_relu),
    }
    kind = chance.choice([*(name for name in steps for _ in range(steps[name][0])), *"hhhzs"])
    if kind == "h":
        spots = (Hit("map", *place()), Hit("input", chance.randrange(64), 70), None)
        explorer._pointing.point(chance.choice(spots))
    elif kind == "z":
        explorer._view.view = chance.choice([ZOOM, ((-0.5, 74.5), (63.5, -0.5))])
        explorer.canvas.draw_idle()
    elif kind == "s":
        explorer.choose(
            channel=chance.randrange(64), overlay=chance.choice([0.0, 0.5]), location=place()
        )
    else:
        setattr(explorer, kind, steps[kind][1]())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_after_any_steps_the_canvas_equals_a_full_redraw(explore: Explore, seed: int) -> None:
    explorer = explore(layer="block2_conv1")
    chance = random.Random(seed)
    for _ in range(8):
        for _ in range(chance.randrange(1, 6)):
            random_step(explorer, chance)
            if chance.random() < 0.5:
                let_paint(explorer)
        assert_as_drawn_whole(explorer)


def test_steps_with_marks_and_histogram_equal_a_full_redraw(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(15, 17), overlay=0.6, percentile=90.0)
    with whole_drawings(explorer) as drawings:
        for channel in (3, 4, 3, 200):
            explorer.channel = channel
            let_paint(explorer)
    assert drawings == []
    assert_as_drawn_whole(explorer)
    explorer.overlay = 0.0
    with whole_drawings(explorer) as drawings:
        for channel in (3, 4, 3):
            explorer.channel = channel
            hover(explorer, Hit("map", 2, 2))
            hover(explorer, None)
    assert_as_drawn_whole(explorer)


@pytest.fixture
def made() -> Activations:
    maps = np.random.default_rng(3).normal(size=(8, 10, 6)).astype(np.float32)
    return make_activations(maps, before_relu=True, stride=4)


def test_marks_on_a_canvas_without_a_page_are_painted_at_once(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.mark(Marks((1, 2), (0, 0, 9, 9)))  # nothing is shown yet
    shown.show(render(made, "conv"), made.image, 4)
    clean = pixels_of(shown.figure, redraw=False)
    for marking in (
        Marks((1, 2), (0, 3, 12, 17)),
        Marks((7, 9), None, 0.5),
        Marks(None, (0, 0, 32, 40), 1.0),
        Marks(),
    ):
        shown.mark(marking)
        painted = pixels_of(shown.figure, redraw=False)
        shown.figure.canvas.draw()
        np.testing.assert_array_equal(painted, pixels_of(shown.figure, redraw=False))
        assert np.array_equal(painted, clean) == (marking == Marks())


def test_marks_at_another_resolution(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.mark(Marks((1, 2), (0, 3, 12, 17), 0.5))
    shown.figure.set_dpi(150)
    for channel in (1, 2):
        marking = Marks((1, 2), (0, 3, 12, 17), 0.5)
        shown.show(render(made, "conv", channel=channel), made.image, 4, marks=marking)
        shown.mark(Marks((3, 4), (2, 3, 12, 17), 0.5))
        painted = pixels_of(shown.figure, redraw=False)
        shown.figure.canvas.draw()
        np.testing.assert_array_equal(painted, pixels_of(shown.figure, redraw=False))


# Files -------------------------------------------------------------------------------------------


def unpacked(pdf: bytes) -> bytes:
    """Return the decompressed streams of a PDF."""
    return b"".join(
        zlib.decompressobj().decompress(packed)
        for packed in re.findall(rb"stream\n(.*?)\nendstream", pdf, re.DOTALL)
        if packed[:1] == b"x"
    )


def test_a_saved_picture_has_the_marks(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=2)
    plain = {suffix: explorer.to_bytes(suffix) for suffix in (".png", ".svg", ".pdf")}
    explorer.location, explorer.overlay = (8, 9), 0.5
    let_paint(explorer)
    screen = on_canvas(explorer)
    marked = {suffix: explorer.to_bytes(suffix) for suffix in plain}
    saved = np.asarray(Image.open(io.BytesIO(marked[".png"])).convert("RGB"))
    # The file has the same pixels, and the line at the foot, for which the screen has no room.
    foot = above_foot(explorer)
    np.testing.assert_array_equal(saved[:foot], screen[:foot])
    assert box_drawn(axes_of(explorer, "input"), saved[: len(screen)]) == pytest.approx(
        np.array(field_of("block3_conv1", 8, 9, SIZE)) - 0.5, abs=0.4
    )
    assert b"#ffe14d" in marked[".svg"].lower()
    assert b"#ffe14d" not in plain[".svg"].lower()
    stroke = rb"1\s0\.88235\d*\s0\.30196\d*\sRG"
    assert re.search(stroke, unpacked(marked[".pdf"]))
    assert not re.search(stroke, unpacked(plain[".pdf"]))
    np.testing.assert_array_equal(on_canvas(explorer), screen)
    assert_as_drawn_whole(explorer)


@pytest.mark.parametrize("scale", ["layer", Scale("channel", 70, 0.5)])
def test_a_saved_picture_without_a_line_equals_the_screen(
    made: Activations, shown: FeatureFigure, scale: str | Scale
) -> None:
    shown.show(render(made, "features.0", scale=scale), made.image, 4)
    screen = pixels_of(shown.figure, redraw=False)
    with io.BytesIO() as stream:
        shown.save(stream, "png", "")
        saved = np.asarray(Image.open(stream).convert("RGB"))
    np.testing.assert_array_equal(saved, screen)

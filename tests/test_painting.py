"""Partial repainting of a figure: the canvas equals a redraw of the whole figure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from tests.conftest import make_activations, pixels_of
from vgg_widget import Activations, render
from vgg_widget.figure.feature_figure import FeatureFigure
from vgg_widget.layers import Placement

VIEWS = {
    "whole": None,
    "zoomed": ((7.3, 23.6), (19.2, 3.4)),
    "one corner": ((-20.0, 11.7), (9.1, -30.0)),
    "far out": ((-60.5, 140.2), (120.0, -70.3)),
    "beside it": ((100.0, 120.0), (90.0, 60.0)),
}


@pytest.fixture
def made() -> Activations:
    """Return two layers of a 40×32 image, as high as any list beside it; channel 4 is dead."""
    random = np.random.default_rng(3)
    maps = random.normal(size=(10, 8, 6)).astype(np.float32)
    maps[..., 4] = 0
    other = random.random((5, 4, 9)).astype(np.float32) * 100
    return make_activations(maps, before_relu=True, others={"wide": other}, stride=4)


@contextmanager
def no_whole_drawing(shown: FeatureFigure) -> Iterator[None]:
    draws: list[object] = []
    connection = shown.figure.canvas.mpl_connect("draw_event", draws.append)
    yield
    shown.figure.canvas.mpl_disconnect(connection)
    assert draws == []


def assert_as_drawn_whole(shown: FeatureFigure) -> None:
    on_canvas = pixels_of(shown.figure, redraw=False)
    shown.figure.canvas.draw()
    np.testing.assert_array_equal(on_canvas, pixels_of(shown.figure, redraw=False))


@pytest.mark.sampled
@pytest.mark.parametrize("view", VIEWS)
def test_steps_give_the_pixels_of_a_whole_drawing(
    made: Activations, shown: FeatureFigure, view: str
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    if limits := VIEWS[view]:
        shown.view = limits
    shown.figure.canvas.draw()
    steps = [
        ("conv", "channel", 1, "viridis", "layer"),
        ("conv", "channel", 4, "viridis", "layer"),
        ("features.0", "channel", 2, "coolwarm", "layer"),
        ("wide", "channel", 3, "viridis", "channel"),
        ("conv", "argmax", 0, "viridis", "layer"),
        ("wide", "composite", 0, "magma", "layer"),
        ("features.0", "rgb", 0, "viridis", "network"),
        ("conv", "channel", 1, "viridis", "layer"),
        ("conv", "max", 0, "viridis", "layer"),
    ]
    for last in range(1, len(steps) + 1):
        # The second time uses what the first one cached.
        with no_whole_drawing(shown):
            for layer, mode, channel, cmap, scale in steps[:last] * 2:
                picture = render(made, layer, mode, channel=channel, cmap=cmap, scale=scale)
                shown.show(picture, made.image, 8 if layer == "wide" else 4)
        assert_as_drawn_whole(shown)


def test_a_grid_is_repainted_too(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv", "grid", scale="layer"), made.image, 4)
    with no_whole_drawing(shown):
        shown.show(render(made, "conv", "grid", cmap="gray", scale="layer"), made.image, 4)
        shown.show(render(made, "conv", "grid", scale="network"), made.image, 4)
    assert_as_drawn_whole(shown)


def test_a_grid_is_drawn_completely_when_its_colorbar_appears(
    made: Activations, shown: FeatureFigure
) -> None:
    # With "auto" each tile has its own range, and no colorbar takes space from the tiles.
    for scale in ("auto", "layer", "auto"):
        shown.show(render(made, "conv", "grid", scale=scale), made.image, 4)
        assert_as_drawn_whole(shown)


def test_another_resolution_is_painted_at_that_resolution(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.show(render(made, "conv", channel=1), made.image, 4)
    shown.figure.set_dpi(150)
    shown.width = 600
    for channel in (2, 3):
        shown.show(render(made, "conv", channel=channel), made.image, 4)
        drawn = pixels_of(shown.figure, redraw=False)
        # Six inches at 150 dots per inch; the height depends on the picture.
        assert drawn.shape[1] == 900
        assert drawn.shape[0] == pytest.approx(150 * shown.figure.get_size_inches()[1], abs=1)
    assert_as_drawn_whole(shown)


def test_what_a_person_adds_to_the_figure_stays_on_it(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.map_axes.plot([3, 30], [3, 25], color="red", linewidth=5)
    shown.figure.text(0.5, 0.5, "mine", fontsize=30, color="magenta")
    for channel in (1, 2, 3):
        shown.show(render(made, "conv", channel=channel), made.image, 4)
        on_canvas = pixels_of(shown.figure, redraw=False)
        assert (on_canvas == (255, 0, 0)).all(axis=-1).sum() > 100
        assert (on_canvas == (255, 0, 255)).all(axis=-1).sum() > 100
    assert_as_drawn_whole(shown)


def test_what_a_person_changes_elsewhere_appears_with_the_next_step(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    shown.input_axes.set_title("my cat")
    shown.show(render(made, "conv", channel=1), made.image, 4)
    assert_as_drawn_whole(shown)
    shown.figure.set_facecolor("lightyellow")
    shown.show(render(made, "conv", channel=2), made.image, 4)
    shown.show(render(made, "conv", channel=3), made.image, 4)
    assert pixels_of(shown.figure, redraw=False)[0, 0].tolist() == [255, 255, 224]
    assert_as_drawn_whole(shown)


@pytest.mark.slow
def test_a_title_longer_than_the_side_leaves_nothing_behind(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv"), made.image, 4)
    # A mode sets the text of the title; a user calls `set_title`.
    for write in (shown.map_axes.title.set_text, shown.map_axes.set_title):
        write("a very long title " * 20)
        shown.figure.canvas.draw()
        for channel in (1, 2):
            shown.show(render(made, "conv", channel=channel), made.image, 4)
        assert_as_drawn_whole(shown)


def test_a_transparent_figure_keeps_no_ghosts(made: Activations, shown: FeatureFigure) -> None:
    shown.figure.patch.set_alpha(0)
    for channel in (0, 1, 4, 2):
        shown.show(render(made, "conv", channel=channel), made.image, 4)
        assert_as_drawn_whole(shown)


def test_dollar_signs_in_names_are_literal(made: Activations, shown: FeatureFigure) -> None:
    picture = render(made, "conv")
    shown.show(replace(picture, title="$x^$ and $_$"), made.image, 4, "a$_$b.pth")
    assert_as_drawn_whole(shown)


def test_a_large_grid_shows_the_mean_of_its_pixels(shown: FeatureFigure) -> None:
    random = np.random.default_rng(8)
    # Smooth like feature maps, so that all sound filters give about the same result.
    coarse = random.random((9, 9, 16)).astype(np.float32)
    maps = np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)
    made = make_activations(maps)
    picture = render(made, "conv", "grid", scale="channel")
    shown.show(picture, made.image, 1)
    box = shown.map_axes.get_window_extent()
    height = shown.figure.bbox.height
    rows, columns = (
        slice(round(height - box.y1), round(height - box.y0)),
        slice(round(box.x0), round(box.x1)),
    )
    drawn = pixels_of(shown.figure, redraw=False)[rows, columns].astype(float)
    opaque = Image.new("RGBA", picture.rgba.shape[1::-1], "white")
    opaque.alpha_composite(Image.fromarray(picture.rgba))
    size = (drawn.shape[1], drawn.shape[0])
    expected = np.asarray(opaque.convert("RGB").resize(size, Image.Resampling.BOX), float)
    assert np.abs(drawn - expected)[3:-3, 3:-3].mean() < 6
    # Zoomed in on a corner of a tile, each of its pixels has its own colour.
    shown.view = ((-0.5, 59.5), (59.5, -0.5))
    shown.figure.canvas.draw()
    zoomed = pixels_of(shown.figure, redraw=False)
    point = shown.map_axes.transData.transform((10, 10))
    color = zoomed[int(height - point[1]), int(point[0])]
    assert color.tolist() == picture.rgba[10, 10, :3].tolist()


def test_pixels_that_matplotlib_rounds_otherwise_are_copied_too(shown: FeatureFigure) -> None:
    # At this size matplotlib takes another row for five pixels of the last column.
    maps = np.random.default_rng(4).random((262, 224, 3), np.float32)
    made = make_activations(maps, stride=1)
    shown.show(render(made, "conv", channel=0), made.image, 1)
    for channel in (1, 2):
        with no_whole_drawing(shown):
            shown.show(render(made, "conv", channel=channel), made.image, 1)
        assert_as_drawn_whole(shown)
    enlargement = shown.enlargement((262, 224), Placement())
    assert enlargement is not None
    assert len(enlargement.odd) < 20
    # Before 3.11 it takes the same row for all pixels.
    assert len(enlargement.odd) > 0 or mpl.__version_info__ < (3, 11)

"""Tests of the colorbar and the legend, which are drawn beside or below the map."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tests.conftest import make_activations, numbers_on, pixels_of
from vgg_widget import Activations, render
from vgg_widget.figure.color_bars import color_norm
from vgg_widget.figure.feature_figure import FeatureFigure, new_figure
from vgg_widget.figure.themes import DARK
from vgg_widget.pictures.legend import LegendEntry
from vgg_widget.pictures.scaling import Scale

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture
def made() -> Activations:
    random = np.random.default_rng(17)
    maps = random.normal(size=(40, 40, 4)).astype(np.float32)
    maps[..., 3] = 0
    return make_activations(maps, before_relu=True)


def bar_of(figure: Figure) -> Any:
    inner = [axes for outer in figure.axes for axes in outer.child_axes]
    (bar,) = [axes for axes in inner if axes.get_visible() and hasattr(axes, "_colorbar")]
    return bar


@pytest.mark.sampled
@pytest.mark.parametrize("top", [0.004, 0.9, 12.4, 137.0, 8200.0])
@pytest.mark.parametrize("scale", ["auto", "channel", "layer", Scale("channel", 100, 2.0)])
@pytest.mark.parametrize("width", [7.7, 4.3])
def test_a_colorbar_has_three_to_five_ticks_where_their_colours_are(
    top: float, scale: Any, width: float
) -> None:
    maps = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16, 1)
    made = make_activations(maps, stride=4)
    figure = new_figure((width, 3.9))
    FigureCanvasAgg(figure)
    view = FeatureFigure(figure)
    rendering = render(made, "conv", scale=scale, channel=0)
    view.show(rendering, made.image, 4)
    pixels = pixels_of(figure, redraw=False)
    bar = bar_of(figure)
    numbers = numbers_on(bar)
    assert 3 <= len(numbers) <= 5
    assert len({*numbers.values()}) == len(numbers)
    assert rendering.colormap is not None
    assert rendering.vmax is not None
    for place, value in numbers.items():
        # At each tick, the colorbar has the colour that the picture has for the tick's value.
        x, y = bar.transData.transform((place, 0.5) if width < 5 else (0.5, place))
        inside = (
            np.clip(x, *np.add(bar.bbox.intervalx, (2, -2))),
            np.clip(y, *np.add(bar.bbox.intervaly, (2, -2))),
        )
        seen = pixels[int(figure.bbox.height - inside[1]), int(inside[0])]
        share = (value / rendering.vmax) ** rendering.gamma
        near = [rendering.colormap(min(1.0, max(0.0, share + by))) for by in (-0.04, 0, 0.04)]
        low, high = np.min(near, axis=0)[:3] * 255, np.max(near, axis=0)[:3] * 255
        assert (seen >= low - 6).all()
        assert (seen <= high + 6).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 3, [0, 1, 2, 3]),
        (0, 1234, [0, 500, 1000]),
        (0, 2e-5, [0, 1e-5, 2e-5]),
        (-6, 6, [-5, 0, 5]),
        # Narrow ranges far from 0, which a custom mode may have.
        (100, 100.5, [100, 100.2, 100.4]),
        (1000, 1000.4, [1000, 1000.1, 1000.2, 1000.3, 1000.4]),
    ],
)
def test_the_numbers_of_a_colorbar_are_written_out(
    low: float, high: float, said: list[float], made: Activations, shown: FeatureFigure
) -> None:
    rendering = replace(render(made, "conv", scale="layer"), vmin=low, vmax=high)
    shown.show(rendering, made.image, 4)
    numbers = numbers_on(bar_of(shown.figure))
    assert [*numbers.values()] == pytest.approx(said, rel=1e-9)
    assert [*numbers] == pytest.approx((np.array(said) - low) / (high - low))


@pytest.mark.slow
def test_a_step_with_another_range_changes_the_numbers_on_the_canvas(
    made: Activations, shown: FeatureFigure
) -> None:
    random = np.random.default_rng(3)
    maps = random.gamma(1, 1, (20, 20, 4)).astype(np.float32) * [1, 1, 30, 2000]
    made = make_activations(maps.astype(np.float32), stride=4)
    seen = []
    # Some steps share the range of the layer. All steps are repeated with another colormap.
    steps = [(0, "auto"), (2, "auto"), (3, "auto"), (3, "layer"), (0, "layer"), (0, "auto")]
    for number, (channel, scale) in enumerate(2 * steps):
        cmap = "magma" if number < len(steps) else "gray"
        rendering = render(made, "conv", channel=channel, scale=scale, cmap=cmap)
        shown.show(rendering, made.image, 4)
        (_, top) = [*numbers_on(bar_of(shown.figure)).items()][-1]
        assert rendering.vmax is not None
        assert 0.6 * rendering.vmax < top <= rendering.vmax
        painted = pixels_of(shown.figure, redraw=False)
        assert (painted == pixels_of(shown.figure)).all()
        bar = bar_of(shown.figure)
        across, up = np.rint(bar.get_window_extent().get_points())[1].astype(int)
        beside = painted[len(painted) - up : -10, across + 2 :]
        seen.append(beside.tobytes())
    assert len({*seen[:4]}) == 4, "different ranges were painted with the same numbers"
    assert seen[5] == seen[0]
    assert seen[:6] == seen[6:], "another colormap changed the numbers"


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("auto", "this picture's own range · gamma 0.6"),
        ("channel", "this picture's own range up to its maximum"),
        ("layer", "one range for the layer"),
        ("network", "one range for the network"),
        (Scale("layer", 99, 0.5), "one range for the layer · gamma 0.5"),
    ],
)
def test_the_label_of_a_colorbar_names_its_range(
    scale: Any, words: str, made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv", scale=scale, channel=0), made.image, 4)
    assert bar_of(shown.figure).get_ylabel() == f"activation\n{words}"


def test_the_colorbar_lies_below_the_map_where_there_is_no_room_beside_it(
    made: Activations, shown: FeatureFigure
) -> None:
    shown.show(render(made, "conv", channel=0), made.image, 4)

    def boxes() -> tuple[Any, Any]:
        pixels_of(shown.figure)
        return bar_of(shown.figure).get_position(), shown.map_axes.get_position()

    bar, picture = boxes()
    assert bar.x0 > picture.x1
    assert bar.height > bar.width
    shown.width = 430
    bar, picture = boxes()
    assert bar.y1 < picture.y0
    assert (bar.x0, bar.x1) == pytest.approx((picture.x0, picture.x1), abs=0.025)
    label = bar_of(shown.figure).xaxis.label.get_window_extent()
    assert label.y0 >= 0, "the label below the colorbar is cut off"
    # A step repaints only the map's side of the figure, which includes the colorbar.
    shown.show(render(made, "conv", channel=1), made.image, 4)
    painted = pixels_of(shown.figure, redraw=False)
    assert (painted == pixels_of(shown.figure)).all()
    shown.width = 770
    bar, picture = boxes()
    assert bar.x0 > picture.x1
    assert bar.height > bar.width


@pytest.mark.sampled
@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.6, 1.0, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("width", [430, 770, 1056])
@pytest.mark.parametrize("layer", ["conv", "features.0"])
def test_numbers_of_a_colorbar_do_not_meet_and_stay_on_their_side(
    made: Activations, shown: FeatureFigure, gamma: float, width: int, layer: str
) -> None:
    shown.show(render(made, layer, channel=0), made.image, 4)
    shown.width = width
    for channel in (1, 0, 2):
        scale = Scale("auto", 99.5, gamma)
        shown.show(render(made, layer, channel=channel, scale=scale), made.image, 4)
        painted = pixels_of(shown.figure, redraw=False)
        assert (painted == pixels_of(shown.figure)).all(), "a step leaves old pixels behind"
        bar = bar_of(shown.figure)
        words = [number for number in bar.texts if number.get_text()]
        assert len(words) >= 2
        boxes = [number.get_window_extent() for number in words]
        axis = bar.yaxis if bar.bbox.height > bar.bbox.width else bar.xaxis
        boxes.append(axis.label.get_window_extent())
        for box in boxes:
            assert shown.figure.bbox.x1 >= box.x1
            assert box.x0 > shown.map_axes.bbox.x0 - 4
        assert not any(box.overlaps(other) for box, other in combinations(boxes, 2))


@pytest.mark.parametrize("width", [770, 1056])
def test_the_colorbar_of_a_flat_picture_lies_below_it(shown: FeatureFigure, width: int) -> None:
    maps = np.random.default_rng(1).random((5, 150, 4), np.float32)
    made = make_activations(maps, stride=4)
    shown.show(render(made, "conv", channel=0), made.image, 4)
    shown.width = width
    pixels_of(shown.figure)
    bar = bar_of(shown.figure)
    assert bar.get_position().y1 < shown.map_axes.get_position().y0
    assert bar.bbox.width > 20 * bar.bbox.height
    assert bar.xaxis.label.get_window_extent().y0 >= 0
    shown.show(render(made, "conv", "argmax"), made.image, 4)
    assert shown.figure.get_size_inches()[1] < 2.3, "the legend makes the figure too tall"
    assert len(listed(shown)) == 4


def test_a_picture_without_values_has_no_colorbar(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "features.0", "rgb"), made.image, 4)
    inner = [axes for outer in shown.figure.axes for axes in outer.child_axes]
    assert not any(axes.get_visible() for axes in inner)


def test_a_theme_colours_the_words_of_a_colorbar(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv", channel=0), made.image, 4)
    shown.theme = DARK
    bar = bar_of(shown.figure)
    assert to_rgb(bar.yaxis.label.get_color()) == to_rgb(DARK.ink)


def listed(shown: FeatureFigure) -> list[tuple[tuple[float, ...] | None, str]]:
    """Return the colour and the text of each visible line of the legend."""
    legend = shown._legend
    if not legend.axes.get_visible():
        return []
    lines: list[Any] = []
    for swatch, words in zip(legend._swatches, legend._words, strict=True):
        colour = swatch.get_facecolor()[:3] if swatch.get_visible() else None
        if colour is not None or words.get_text():
            lines.append((colour, words.get_text()))
    return lines


def winning(areas: list[int], silent: int = 0) -> Activations:
    """Return one column of locations, in which each channel wins as many as `areas` says."""
    maps = np.zeros((sum(areas) + silent, 1, len(areas)), np.float32)
    row = 0
    for channel, area in enumerate(areas):
        maps[row : row + area, 0, channel] = 1
        row += area
    return make_activations(maps)


def test_the_winners_are_listed_by_area_with_their_colours(shown: FeatureFigure) -> None:
    made = winning([10, 50, 0, 30], silent=10)
    picture = render(made, "conv", "argmax")
    shown.show(picture, made.image, 1)
    lines = listed(shown)
    assert [words for _, words in lines] == ["1 · 50%", "3 · 30%", "0 · 10%", "none · 10%"]
    first = {1: 10, 3: 60, 0: 0, None: 90}
    for (colour, _), row in zip(lines, first.values(), strict=True):
        assert colour is not None
        assert np.rint(255 * np.array(colour)).tolist() == picture.rgba[row, 0, :3].tolist()
    assert shown._legend._heading.get_text() == "channel · area"


@pytest.mark.parametrize("count", [12, 13, 40])
def test_twelve_winners_are_listed_and_all_others_in_one_line(
    shown: FeatureFigure, count: int
) -> None:
    areas = list(range(count, 0, -1))
    made = winning(areas, silent=9)
    shown.show(render(made, "conv", "argmax"), made.image, 1)
    lines = listed(shown)
    assert [words.split(" ·")[0] for _, words in lines[:12]] == [str(n) for n in range(12)]
    others, silent = sum(areas[12:]) / (sum(areas) + 9), 9 / (sum(areas) + 9)
    share = f"{others:.0%}" if others >= 0.01 else "< 1%"
    expected = [f"others · {share}"] if count > 12 else []
    assert [words for _, words in lines[12:]] == [*expected, f"none · {silent:.0%}"]
    if count > 12:
        assert lines[12][0] == pytest.approx((120 / 255,) * 3)
    assert shown._legend._rest.get_text() == ""
    # In mode "rainbow" all channels have colours, and the legend lists the first twelve.
    shown.show(render(made, "conv", "rainbow", channels=range(count)), made.image, 1)
    assert len(listed(shown)) == 12
    assert shown._legend._rest.get_text() == (f"and {count - 12} more" if count > 12 else "")
    # A shorter legend leaves no lines of a longer one.
    few = winning([3, 1])
    shown.show(render(few, "conv", "argmax"), few.image, 1)
    assert [words for _, words in listed(shown)] == ["0 · 75%", "1 · 25%"]
    assert shown._legend._rest.get_text() == ""


@pytest.mark.parametrize("layer", ["conv", "features.0"])
def test_a_norm_with_a_gamma_can_be_pickled(layer: str, made: Activations) -> None:
    norm: Any = color_norm(render(made, layer, scale=Scale("layer", 99, 0.6)))
    places = np.linspace(norm.vmin or 0, norm.vmax or 1, 9)
    again = pickle.loads(pickle.dumps(norm))  # noqa: S301 - made here
    np.testing.assert_array_equal(again(places), norm(places))


def test_the_legend_of_lights_has_the_chosen_order(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv", "rgb", channels=(2, 0, 1)), made.image, 1)
    assert listed(shown) == [
        ((1.0, 0.0, 0.0), "channel 2"),
        ((0.0, 1.0, 0.0), "channel 0"),
        ((0.0, 0.0, 1.0), "channel 1"),
    ]
    assert shown._legend._heading.get_text() == ""
    shown.show(render(made, "conv"), made.image, 1)
    assert listed(shown) == []


def test_swatches_are_drawn_in_their_colours(shown: FeatureFigure) -> None:
    made = winning([4, 3, 2])
    picture = render(made, "conv", "argmax")
    shown.show(picture, made.image, 1)
    drawn = pixels_of(shown.figure, redraw=False)
    beside = int(shown.map_axes.get_window_extent().x1) + 2
    right = drawn[:, beside:].reshape(-1, 3)
    for row in (0, 4, 7):
        colour = picture.rgba[row, 0, :3]
        assert (right == colour).all(axis=1).sum() > 50


def test_a_narrow_page_has_the_whole_legend_below_the_map(shown: FeatureFigure) -> None:
    made = winning([*range(40, 0, -1)], silent=9)
    shown.show(render(made, "conv", "argmax"), made.image, 1)
    lines = listed(shown)
    assert len(lines) == 14
    shown.width = 430
    assert listed(shown) == lines
    pixels_of(shown.figure)
    boxes = [one.get_window_extent() for one in shown._legend._words if one.get_text()]
    assert min(box.y0 for box in boxes) >= 0
    assert max(box.y1 for box in boxes) < shown.map_axes.bbox.y0


@pytest.mark.parametrize(("height", "width"), [(2, 7), (4, 4), (7, 4)])
def test_lines_of_a_legend_do_not_overlap_for_pictures_of_any_shape(
    shown: FeatureFigure, height: int, width: int
) -> None:
    maps = np.zeros((height, width, 13), np.float32)
    places = [*np.ndindex(height, width)]
    for channel in range(13):
        maps[(*places[channel], channel)] = 1
    made = make_activations(maps, stride=4)
    shown.show(render(made, "conv", "argmax"), made.image, 4)
    pixels_of(shown.figure)
    legend = shown._legend
    lines = [legend._heading, *(one for one in legend._words if one.get_text())]
    assert len(lines) >= 13
    boxes = [line.get_window_extent() for line in lines]
    for box, other in combinations(boxes, 2):
        apart = box.padded(-1)
        assert not apart.overlaps(other.padded(-1)), "lines of the legend overlap"
    assert min(box.y0 for box in boxes) >= 0
    swatches = [one.get_window_extent() for one in legend._swatches if one.get_visible()]
    for box in swatches:
        assert box.width == pytest.approx(box.height, abs=1.5)


def test_the_text_of_a_legend_is_not_a_formula(shown: FeatureFigure) -> None:
    entries = (LegendEntry(0, (1.0, 0.0, 0.0), "$x^$ and $_$"),)
    shown._legend.show(entries)
    shown.figure.canvas.draw()
    assert listed(shown) == [((1.0, 0.0, 0.0), "$x^$ and $_$")]

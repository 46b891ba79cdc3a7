"""What stands beside the map: the histogram by the colorbar, and the list of winners."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tests.conftest import make_activations, pixels_of
from vgg_widget import Activations, render
from vgg_widget.figure.color_bars import color_norm
from vgg_widget.figure.feature_figure import FeatureFigure
from vgg_widget.figure.themes import DARK
from vgg_widget.pictures.legend import LegendEntry
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import Scale

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]

GREY, RED = (0x59,) * 3, (0xD9, 0x30, 0x25)


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


def strips(shown: FeatureFigure, color: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """How many pixels of a colour are in each row of the canvas, beside the colorbar."""
    picture = pixels_of(shown.figure, redraw=False).astype(int)
    width = picture.shape[1]
    # From the map's right edge to the colorbar's left one, and its outline.
    beside = picture[:, int(0.852 * width) : int(0.8985 * width)]
    found: npt.NDArray[np.intp] = (beside == color).all(axis=-1).sum(axis=1)
    return found


def row_of(shown: FeatureFigure, value: float) -> float:
    """The row of the canvas at the height of a value on the colorbar."""
    bar = bar_of(shown.figure)
    up = bar.transData.transform((0.5, value))[1]
    return float(shown.figure.bbox.height - up)


def longest(shown: FeatureFigure) -> float:
    """Pixels of the longest bar there can be: from 0.25 to 2.3 widths of the colorbar away."""
    return float(2.05 * 0.018 * shown.figure.bbox.width)


@pytest.mark.parametrize(
    ("layer", "scale"),
    [
        ("conv", "channel"),
        ("conv", Scale("channel", 100, 0.5)),
        ("conv", Scale("channel", 90, 2.0)),
        ("features.0", "channel"),
        ("features.0", Scale("channel", 100, 0.5)),
        ("features.0", Scale("channel", 80, 2.0)),
    ],
)
def test_bars_are_as_long_as_the_logarithm_of_their_counts_and_as_high_as_their_values(
    made: Activations, shown: FeatureFigure, layer: str, scale: str | Scale
) -> None:
    picture = render(made, layer, channel=1, scale=scale)
    shown.show(picture, made.image, 1)
    assert picture.values is not None
    assert picture.vmin is not None
    assert picture.vmax is not None
    counts, edges = np.histogram(picture.values, 64, (picture.vmin, picture.vmax))
    low = int((picture.values < np.float32(picture.vmin)).sum())
    high = int((picture.values > np.float32(picture.vmax)).sum())
    most = max(int(counts.max()), low, high)
    lengths = np.log1p(counts) / np.log1p(most) * longest(shown)
    drawn = strips(shown, GREY)
    checked = 0
    for length, below, above in zip(lengths, edges, edges[1:], strict=False):
        top, bottom = row_of(shown, above), row_of(shown, below)
        # Rows that lie in this bar alone; where gamma presses bars together there may be none.
        rows = drawn[int(np.ceil(top + 0.5)) : int(np.floor(bottom - 0.5))]
        checked += rows.size
        assert (np.abs(rows - length) <= 1.5).all()
    assert checked > 100
    # Nothing stands above or below the colorbar's ends.
    assert drawn[: int(row_of(shown, picture.vmax)) - 2].sum() == 0
    assert drawn[int(row_of(shown, picture.vmin)) + 2 :].sum() == 0


@pytest.mark.parametrize(
    ("layer", "scale"),
    [("conv", Scale("channel", 70)), ("features.0", Scale("channel", 60, 0.5))],
)
def test_what_is_clipped_stands_red_beside_the_arrows(
    made: Activations, shown: FeatureFigure, layer: str, scale: Scale
) -> None:
    picture = render(made, layer, channel=2, scale=scale)
    shown.show(picture, made.image, 1)
    assert picture.values is not None
    assert picture.vmin is not None
    assert picture.vmax is not None
    counts, _ = np.histogram(picture.values, 64, (picture.vmin, picture.vmax))
    low = int((picture.values < np.float32(picture.vmin)).sum())
    high = int((picture.values > np.float32(picture.vmax)).sum())
    most = max(int(counts.max()), low, high)
    red = strips(shown, RED)
    top, bottom = row_of(shown, picture.vmax), row_of(shown, picture.vmin)
    arrow = 0.05 * (bottom - top)
    for count, begin in ((high, top - arrow), (low, bottom)):
        rows = red[int(np.ceil(begin + 1)) : int(np.floor(begin + arrow - 1))]
        length = np.log1p(count) / np.log1p(most) * longest(shown)
        assert rows.size > 5
        assert (np.abs(rows - length) <= 1.5).all()
    assert red[int(top) + 2 : int(bottom) - 2].sum() == 0
    assert (low > 0) == (layer == "features.0")


def test_nothing_is_red_where_nothing_is_clipped(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv", scale="channel"), made.image, 1)
    assert strips(shown, RED).sum() == 0
    assert strips(shown, GREY).sum() > 0


def test_no_histogram_where_colours_are_no_values(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 1)
    pictures: list[Rendering] = [
        render(made, "conv", "argmax"),
        render(made, "conv", "rgb"),
        render(made, "conv", "composite"),
        render(made, "conv", "grid", scale="channel"),
        render(made, "conv", channel=3, scale="channel"),  # dead: an empty range
    ]
    for picture in pictures:
        shown.show(picture, made.image, 1)
        assert not any(patch.get_visible() for bars in shown._bars for patch in bars.histograms)
        assert strips(shown, RED).sum() == 0
    shown.show(render(made, "conv", "max"), made.image, 1)
    assert strips(shown, GREY).sum() > 0


def test_a_theme_has_its_own_grey(made: Activations, shown: FeatureFigure) -> None:
    shown.show(render(made, "conv"), made.image, 1)
    shown.theme = DARK
    assert strips(shown, GREY).sum() == 0
    faint = tuple(round(255 * part) for part in to_rgb(DARK.faint))
    assert strips(shown, faint).sum() > 0
    paper = [round(255 * part) for part in to_rgb(DARK.paper)]
    assert pixels_of(shown.figure, redraw=False)[0, 0].tolist() == paper


# The legend --------------------------------------------------------------------------------------


def listed(shown: FeatureFigure) -> list[tuple[tuple[float, ...] | None, str]]:
    """Colour and words of each line of the list that is to be seen."""
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
    """Channels that win so many locations each, one column of locations."""
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
    assert [words for _, words in lines] == ["1 · 50%", "3 · 30%", "0 · 10%", "no channel · 10%"]
    first = {1: 10, 3: 60, 0: 0, None: 90}
    for (colour, _), row in zip(lines, first.values(), strict=True):
        assert colour is not None
        assert np.rint(255 * np.array(colour)).tolist() == picture.rgba[row, 0, :3].tolist()
    assert shown._legend._heading.get_text() == "channel · area"


@pytest.mark.parametrize("count", [12, 13, 40])
def test_twelve_are_listed_and_all_others_together(shown: FeatureFigure, count: int) -> None:
    areas = list(range(count, 0, -1))
    made = winning(areas, silent=9)
    shown.show(render(made, "conv", "argmax"), made.image, 1)
    lines = listed(shown)
    assert [words.split(" ·")[0] for _, words in lines[:12]] == [str(n) for n in range(12)]
    others, silent = sum(areas[12:]) / (sum(areas) + 9), 9 / (sum(areas) + 9)
    share = f"{others:.0%}" if others >= 0.01 else "< 1%"
    expected = [f"other channels · {share}"] if count > 12 else []
    assert [words for _, words in lines[12:]] == [*expected, f"no channel · {silent:.0%}"]
    if count > 12:
        assert lines[12][0] == pytest.approx((120 / 255,) * 3)
    assert shown._legend._rest.get_text() == ""
    # Lights are all in colour, and as many are listed.
    shown.show(render(made, "conv", "rainbow", channels=range(count)), made.image, 1)
    assert len(listed(shown)) == 12
    assert shown._legend._rest.get_text() == (f"and {count - 12} more" if count > 12 else "")
    # A shorter list leaves nothing of a longer one.
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


def test_lights_are_listed_as_they_were_chosen(made: Activations, shown: FeatureFigure) -> None:
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


@pytest.mark.parametrize(("height", "width"), [(2, 7), (4, 4), (7, 4)])
def test_lines_of_a_legend_do_not_meet_whatever_the_pictures_shape(
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
    for upper, lower in pairwise(boxes):
        assert upper.y0 >= lower.y1 - 1, "lines of the legend lie over one another"
    assert boxes[-1].y0 >= 0
    swatches = [one.get_window_extent() for one in legend._swatches if one.get_visible()]
    for box in swatches:
        assert box.width == pytest.approx(box.height, abs=1.5)


def test_words_of_a_legend_are_no_formula(shown: FeatureFigure) -> None:
    entries = (LegendEntry(0, (1.0, 0.0, 0.0), "$x^$ and $_$"),)
    shown._legend.show(entries)
    shown.figure.canvas.draw()
    assert listed(shown) == [((1.0, 0.0, 0.0), "$x^$ and $_$")]

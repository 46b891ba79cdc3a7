"""Tests of modes that show many channels, and of the map over the input, on the page."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest

from .desk import OpenNotebook
from .sight import (
    CANVAS,
    EXPLORER,
    INPUT,
    LAYER,
    MAP,
    RGB8,
    SHAPE,
    Side,
    assert_framed,
    center,
    field,
    leave_picture,
    number_after,
    pixels_of,
    side_of,
    unharmed,
    value,
    wait_framed,
    wait_words,
    words,
)

pytestmark = pytest.mark.browser


def tile_point(grid: Side, row: int, column: int) -> tuple[float, float]:
    """Return the canvas point of a grid's pixel, which is one unit of the axes wide."""
    return grid.point(grid.limits[0] + column + 0.5, grid.limits[1] + row + 0.5)


@pytest.mark.slow
def test_a_grid_is_read_sorted_opened_and_zoomed(lab: OpenNotebook) -> None:
    page = lab(EXPLORER, "explorer.layer, explorer.mode = 'block5_conv1', 'grid'")
    by_index = page.wait_picture_equal(CANVAS)
    layer, shown, seen = "block5_conv1", side_of(page, MAP), side_of(page, INPUT)
    maxima = "maps = explorer.activations['block5_conv1']; most = maps.max((0, 1))"
    strongest, dead, first_dead = page.ask(
        f"{maxima}\n[most.argmax().item(), (most == 0).sum().item(), (most == 0).argmax().item()]"
    )
    assert dead > 0

    page.hover_canvas(tile_point(shown, 3, 4))
    place = wait_words(page, "place", "channel 0, row 3, column 4: ")
    assert number_after(place, "column 4:") == pytest.approx(value(page, layer, 3, 4, 0), rel=1e-3)
    top, left, _, _ = page.ask("explorer.rendering.tiles.box(511)")
    page.hover_canvas(tile_point(shown, top + 5, left + 2))
    wait_words(page, "place", "channel 511, row 5, column 2: ")
    wait_words(page, "caption", f"{dead} of 512 channels dead")

    page.select("order", "max")
    page.wait_picture_equal(CANVAS, unlike=by_index)
    page.hover_canvas(tile_point(shown, 3, 4))
    wait_words(page, "place", f"channel {strongest}, row 3, column 4: ")
    page.click_canvas(tile_point(shown, 3, 4))
    wait_words(page, "caption", f"{layer} · 7 × 6 × 512 · channel {strongest} ")
    page.wait_value("[explorer.mode, explorer.channel]", ["channel", strongest])
    assert page.control("channel number").locator("input").input_value() == str(strongest)
    page.page.keyboard.press("Backspace")
    wait_words(page, "caption", "all 512 channels")
    page.select("order", "index")
    leave_picture(page)
    page.wait_value("explorer.order", "index")
    page.wait_picture_equal(CANVAS)

    # Hidden channels are counted, and a live channel takes the place of the first dead one.
    page.check("hide dead")
    wait_words(page, "caption", f"{dead} dead channels hidden")
    page.wait_picture_equal(CANVAS, unlike=by_index)
    shown = side_of(page, MAP)
    top, left, _, _ = page.ask(f"explorer.rendering.tiles.box({first_dead})")
    page.hover_canvas(tile_point(shown, top + 3, left + 2))
    alive = page.ask(f"{maxima}\nmost.nonzero()[0][{first_dead}].item()")
    wait_words(page, "place", f"channel {alive}, row 3, column 2: ")
    page.check("hide dead", checked=False)
    wait_words(page, "caption", f"{dead} of 512 channels dead")
    page.wait_value("explorer.hide_dead", value=False)
    shown = side_of(page, MAP)

    # After a click on the input, the channels can be sorted by their values at that location.
    page.click_canvas(seen.point(40, 60))
    page.wait_value("explorer.location", [3, 2])
    located = page.wait_picture_equal(CANVAS)
    assert_framed(pixels_of(page), seen, field(layer, 3, 2, SHAPE))
    page.select("order", "location")
    page.wait_picture_equal(CANVAS, unlike=located)
    there = page.ask(f"{maxima}\nmaps[3, 2].argmax().item()")
    page.hover_canvas(tile_point(shown, 3, 2))
    place = wait_words(page, "place", f"channel {there}, row 3, column 2: ")
    assert number_after(place, "column 2:") == pytest.approx(
        value(page, layer, 3, 2, there), rel=1e-3
    )

    # After zooming in, each value is a sharp square in its colour of the colormap.
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas(tile_point(shown, 0, 0), tile_point(shown, 15, 13))
    leave_picture(page)
    page.wait_value("explorer.figure.axes[1].get_xlim()[1] < 20", value=True)
    page.wait_picture_equal(CANVAS)
    page.screenshot("lab-grid-zoomed")
    tile, top = page.ask(f"{maxima}\n[maps[..., {there}].tolist(), explorer.rendering.vmax]")
    near, pixels, corner = side_of(page, MAP), pixels_of(page), shown.limits[0]
    colours = mpl.colormaps["viridis"](np.array(tile) / top, bytes=True)[..., :3].astype(int)
    # The first row and column are cut off by the edge of the view.
    for row, column in itertools.product(range(1, 7), range(1, 6)):
        left, upper = map(round, near.pixel(corner + column, corner + row))
        right, lower = map(round, near.pixel(corner + column + 1, corner + row + 1))
        square = pixels[upper + 2 : lower - 2, left + 2 : right - 2].astype(int)
        assert square.shape[0] > 10
        assert np.abs(square - colours[row, column]).max() <= 2
    unharmed(page)


@pytest.mark.slow
def test_argmax_has_a_legend_of_the_winners(lab: OpenNotebook) -> None:
    page = lab(EXPLORER, "explorer.mode = 'argmax'")
    page.wait_picture_equal(CANVAS)
    page.screenshot("lab-argmax-legend")
    shown, pixels = side_of(page, MAP), pixels_of(page)
    winners, areas, places = page.ask(
        f"import numpy\nmaps = explorer.activations['{LAYER}']; won = maps.argmax(-1)\n"
        "areas = numpy.bincount(won[maps.max(-1) > 0], minlength=256)\n"
        "best = (-areas).argsort(kind='stable')[:4]\n"
        "[best.tolist(), areas[best].tolist(),"
        " [numpy.argwhere(won == one)[0].tolist() for one in best]]"
    )
    assert min(areas) > 0
    heights = []
    for row, column in places:
        colour = shown.colour(pixels, *center(LAYER, row, column))
        beside = pixels[:, round(shown.pixels[2]) + 4 :].astype(int)
        swatch = np.argwhere((beside == colour).all(axis=-1))
        # The legend has a square in the colour of the map, large enough to notice.
        assert len(swatch) > 80
        heights.append(swatch[:, 0].mean())
    assert heights == sorted(heights)
    for winner, place in zip(winners, places, strict=True):
        page.hover_canvas(shown.point(*center(LAYER, *place)))
        wait_words(page, "place", f"row {place[0]}, column {place[1]}: channel {winner} ·")
    unharmed(page)


ODD = f"""
import numpy
from vgg_widget import LayerExplorer
picture = numpy.random.default_rng(1).integers(0, 200, (100, 83, 3), dtype=numpy.uint8)
explorer = LayerExplorer(picture, weights="random", size=None, layer="{LAYER}", channel=7)
explorer
"""


@pytest.mark.slow
def test_the_map_lies_over_the_input_by_its_stride(lab: OpenNotebook) -> None:
    page = lab(ODD)
    plain = page.wait_picture_equal(CANVAS)
    seen, shown, before = side_of(page, INPUT), side_of(page, MAP), pixels_of(page)
    # 100 × 83 pixels make 25 × 20 units of 4 × 4 pixels; no unit covers columns 80 to 82.
    assert page.ask(f"explorer.activations.shape('{LAYER}')") == [25, 20, 256]
    assert f"{25} × {20} × 256" in words(page, "caption").inner_text()

    def assert_blended(opacity: float, before: RGB8) -> None:
        pixels = pixels_of(page)
        for row, column in ((0, 0), (0, 19), (24, 0), (24, 19), (11, 7), (3, 14)):
            x, y = center(LAYER, row, column)
            colour = shown.colour(before, x, y)
            for dx, dy in ((-1.5, -1.5), (1.5, -1.5), (-1.5, 1.5), (0.5, 1.5)):
                beneath = seen.colour(before, x + dx, y + dy)
                mixed = opacity * colour + (1 - opacity) * beneath
                assert np.abs(seen.colour(pixels, x + dx, y + dy) - mixed).max() <= 3
        for row in range(0, 100, 7):
            assert (seen.colour(pixels, 81.5, row) == seen.colour(before, 81.5, row)).all()

    page.page.locator(".jupyter-matplotlib-canvas-div").focus()
    page.page.keyboard.press("o")
    page.wait_value("explorer.overlay", 0.5)
    half = page.wait_picture_equal(CANVAS, unlike=plain)
    assert_blended(0.5, before)
    page.screenshot("lab-overlay")
    page.click_button("Display")
    page.press_slider("map over the input", "End")
    page.wait_value("explorer.overlay", 1.0)
    full = page.wait_picture_equal(CANVAS, unlike=half)
    assert_blended(1.0, before)
    # Another channel is overlaid at once.
    page.type_into("channel number", "8")
    wait_words(page, "caption", "channel 8 ")
    page.wait_picture_equal(CANVAS, unlike=full)
    before = np.where(np.arange(before.shape[1])[:, None] < seen.pixels[2], before, pixels_of(page))
    assert_blended(1.0, before)
    page.page.locator(".jupyter-matplotlib-canvas-div").focus()
    page.page.keyboard.press("o")
    page.type_into("channel number", "7")
    page.wait_value("[explorer.overlay, explorer.channel]", [0.0, 7])
    assert page.wait_picture_equal(CANVAS) == plain

    # The last unit's field is clipped at the picture's last row and column, not at the map's.
    page.hover_canvas(shown.point(*center(LAYER, 24, 19)))
    wait_words(page, "place", "sees input rows 86–99, columns 66–82")
    wait_framed(page, seen, field(LAYER, 24, 19, (100, 83)))
    unharmed(page)

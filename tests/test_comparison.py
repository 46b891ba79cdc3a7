"""Tests of `Comparison`, which shows two images with one set of controls, without a browser."""

from __future__ import annotations

import base64
import gc
import html
import io
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
import traitlets
from ipywidgets.widgets.widget import _instances
from matplotlib.image import AxesImage
from PIL import Image

from tests.conftest import make_activations, numbers_on
from tests.explorers import below, control, filled, with_class
from vgg_widget import FeatureExtractor, ImageError, LayerExplorer, compare
from vgg_widget.explorer.comparison import Comparison
from vgg_widget.explorer.helper import PageHelper
from vgg_widget.pictures.comparing import Pair, render_pair
from vgg_widget.pictures.histogram import histogram
from vgg_widget.pictures.legend import LegendEntry, legend_of_both

RGB8 = npt.NDArray[np.uint8]
Make = Callable[..., Comparison]

LAYER = "block2_conv1"
# The order of the axes of the figure.
FIRST_INPUT, SECOND_INPUT, FIRST, SECOND, DIFFERENCE = range(5)


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor("random", size=48)


@pytest.fixture(scope="module")
def other(photo: RGB8) -> RGB8:
    """Return the photograph, mirrored and darkened."""
    return (photo[:, ::-1] // 2).copy()


@pytest.fixture
def make(
    extractor: FeatureExtractor, photo: RGB8, other: RGB8, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    # Forget what the pages of other tests have sent and which panel they opened.
    monkeypatch.setattr(PageHelper, "_last_reports", {})
    monkeypatch.setattr(Comparison, "remembered_panel", "")
    made: list[Comparison] = []

    def build(first: object = None, second: object = None, **arguments: Any) -> Comparison:
        first = photo if first is None else first
        second = other if second is None else second
        usual = {"extractor": extractor, "layer": LAYER, "channel": 0}
        made.append(compare(first, second, **{**usual, **arguments}))
        return made[-1]

    yield build
    for comparison in made:
        comparison.close()


def words(comparison: Comparison) -> str:
    texts = [w.value for w in below(comparison) if isinstance(w, widgets.HTML)]
    return html.unescape("\n".join(texts))


def drawn(comparison: Comparison) -> RGB8:
    return np.array(comparison.canvas.get_renderer().buffer_rgba())


def on_axes(comparison: Comparison, number: int) -> RGB8:
    """Return the pixels of the picture on one axes of the figure."""
    pictures = [a for a in comparison.figure.axes[number].get_images() if not a.get_animated()]
    assert len(pictures) == 1
    assert isinstance(pictures[0], AxesImage)
    return np.asarray(pictures[0].get_array())


def values(comparison: Comparison, which: str) -> npt.NDArray[np.float32]:
    found = getattr(comparison.renderings, which).values
    assert found is not None
    return np.asarray(found)


def mouse(comparison: Comparison, kind: str, number: int, x: float, y: float) -> None:
    """Send a mouse event of the page at a point in the coordinates of an axes."""
    canvas = comparison.canvas
    across, up = comparison.figure.axes[number].transData.transform((x, y))
    event = {"x": across, "y": canvas.get_renderer().height - up, "button": 0, "buttons": 0}
    canvas._handle_message(canvas, {"type": kind, "modifiers": [], **event}, [])


def click(comparison: Comparison, number: int, x: float, y: float) -> None:
    for kind in ("button_press", "button_release"):
        mouse(comparison, kind, number, x, y)
    # On a page, the mouse then leaves the figure for the controls.
    comparison.canvas._handle_message(
        comparison.canvas,
        {"type": "figure_leave", "modifiers": [], "x": 0, "y": 0, "button": 0, "buttons": 0},
        [],
    )


def marks_on(comparison: Comparison, number: int) -> set[tuple[float, float, float, float]]:
    """Return left, top, width and height of the visible rectangles on an axes."""
    return {
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in comparison.figure.axes[number].patches
        if patch.get_visible() and isinstance(patch, mpl.patches.Rectangle)
    }


# What is shown ------------------------------------------------------------------------------------


def test_both_maps_and_their_difference_are_shown_at_once(
    make: Make, extractor: FeatureExtractor, photo: RGB8, other: RGB8
) -> None:
    comparison = make(channel=3)
    first, second = extractor(photo)[LAYER][..., 3], extractor(other)[LAYER][..., 3]
    assert isinstance(comparison, widgets.VBox)
    np.testing.assert_array_equal(values(comparison, "first"), first)
    np.testing.assert_array_equal(values(comparison, "second"), second)
    np.testing.assert_array_equal(values(comparison, "difference"), second - first)
    for number, image in ((FIRST_INPUT, extractor(photo)), (SECOND_INPUT, extractor(other))):
        np.testing.assert_array_equal(on_axes(comparison, number), image.image)
    np.testing.assert_array_equal(comparison.images[0], photo)
    np.testing.assert_array_equal(comparison.images[1], other)


@pytest.mark.parametrize("scale", ["auto", "channel", "layer"])
def test_one_range_over_both_images_pooled(
    make: Make, extractor: FeatureExtractor, photo: RGB8, other: RGB8, scale: str
) -> None:
    comparison = make(channel=3, scale=scale)
    maps = [extractor(image)[LAYER].astype(np.float64) for image in (photo, other)]
    gamma = 1.0
    if scale == "channel":
        top = max(each[..., 3].max() for each in maps)
    elif scale == "auto":
        shown = np.concatenate([each[..., 3].ravel() for each in maps])
        top, gamma = np.percentile(shown[shown > 0], 99.5), 0.6
    else:
        pooled = np.concatenate([each.ravel() for each in maps])
        top = np.percentile(pooled[pooled > 0], 99.9)
    for number, each in ((FIRST, maps[0]), (SECOND, maps[1])):
        unit = np.clip(each[..., 3] / top, 0, 1) ** gamma
        expected = mpl.colormaps["magma"](unit, bytes=True)
        off = np.abs(on_axes(comparison, number).astype(int) - expected)
        # Rounding may move a value on the border of two of a colormap's 256 entries into either.
        assert off.max() <= 4
        assert (off > 0).mean() < 0.02
    assert f"both from 0 to {top:.3g}" in words(comparison)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "choice",
    [
        {"mode": "max", "cmap": "magma"},
        {"mode": "grid", "order": "max", "channels": (1, 2, 5, 9)},
        {"mode": "argmax"},
        {"mode": "composite", "channels": (2, 3)},
        {"layer": "features.5", "channel": 7},
        {"percentile": 60.0, "gamma": 0.5},
    ],
    ids=str,
)
def test_every_axes_shows_the_pixels_of_its_rendering(
    make: Make, tmp_path: Path, choice: dict[str, Any]
) -> None:
    comparison = make()
    for name, value in choice.items():
        setattr(comparison, name, value)
    shown = comparison.renderings
    assert shown is not None
    for number, picture in (
        (FIRST, shown.first),
        (SECOND, shown.second),
        (DIFFERENCE, shown.difference),
    ):
        np.testing.assert_array_equal(on_axes(comparison, number), picture.rgba)
    # The script of `to_code` runs without the widget.
    done = _run(_filled(comparison, tmp_path))
    for number, name in ((FIRST, "first"), (SECOND, "second"), (DIFFERENCE, "difference")):
        np.testing.assert_array_equal(done[name], on_axes(comparison, number))


def _filled(comparison: Comparison, folder: Path) -> str:
    """Save the two pictures, and return the script of `to_code` with their paths."""
    code = comparison.to_code()
    for name in ("first", "second"):
        path = folder / f"{name}.png"
        Image.fromarray(getattr(comparison, name)).save(path)
        code = filled(code, name, path)
    return code


def _run(code: str) -> dict[str, RGB8]:
    """Run a script in this process, which has built the network, and return its three pictures."""
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    found = names["renderings"]
    return {name: getattr(found, name).rgba for name in ("first", "second", "difference")}


@pytest.mark.slow
def test_the_code_runs_in_a_fresh_process(make: Make, tmp_path: Path) -> None:
    comparison = make(mode="mean", scale="network")
    text = _filled(comparison, tmp_path)
    text += "import numpy\nnumpy.save('x.npy', renderings.difference.rgba)\n"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), on_axes(comparison, DIFFERENCE))


def test_every_step_leaves_the_pixels_of_a_complete_redraw(make: Make) -> None:
    comparison = make(location=(4, 5))
    whole: list[object] = []
    comparison.canvas.mpl_connect("draw_event", whole.append)
    for channel in (1, 2, 1, 9):
        comparison.channel = channel
    assert whole == []
    stepped = drawn(comparison)
    comparison.canvas.draw()
    np.testing.assert_array_equal(stepped, drawn(comparison))
    comparison.mode = "grid"
    comparison.cmap = "magma"
    stepped = drawn(comparison)
    comparison.canvas.draw()
    np.testing.assert_array_equal(stepped, drawn(comparison))


def test_the_colorbars_are_in_activations_and_in_differences(make: Make) -> None:
    comparison = make(channel=3, scale="channel")
    bars = {
        axes.get_ylabel(): numbers_on(axes)
        for outer in comparison.figure.axes
        for axes in outer.child_axes
        if axes.get_visible()
    }
    first, second = values(comparison, "first"), values(comparison, "second")
    top, apart = max(first.max(), second.max()), np.abs(second - first).max()
    both = "activation, both\none range for both pictures"
    assert [*bars[both]] == pytest.approx([value / top for value in bars[both].values()])
    its_own = bars["difference\nthe difference's own range"]
    places = [(value + apart) / (2 * apart) for value in its_own.values()]
    assert [*its_own] == pytest.approx(places)
    assert min(its_own.values()) < 0 < max(its_own.values())
    comparison.mode = "argmax"
    inner = [axes for outer in comparison.figure.axes for axes in outer.child_axes]
    left = [axes for axes in inner if axes.get_ylabel() in bars]
    assert len(left) == 2
    assert not any(axes.get_visible() for axes in left)


def test_the_shared_histogram_counts_both_images() -> None:
    first, second = np.zeros((2, 4, 4, 1), np.float32)
    first[0, 0, 0], second[:2, :, 0] = 1, 1
    both = Pair.of(make_activations(first), make_activations(second))
    for mode in ("channel", "grid"):
        found = histogram(render_pair(both, "conv", mode, scale="layer").both)
        assert found is not None
        # The two images have 23 zeros and 9 ones.
        assert (found.counts[0], found.counts[-1], found.counts.sum()) == (23, 9, 32)


def test_display_counts_both_images(make: Make) -> None:
    comparison = make(channel=3, panel="Display")
    shown = with_class(comparison, "vgg-stage")
    assert "both pictures together" in words(shown)
    counted = np.concatenate([values(comparison, one).ravel() for one in ("first", "second")])
    top = np.percentile(counted[counted > 0].astype(float), 99.5)
    clipped = (counted > np.float32(top)).mean()
    assert f"{clipped:.1%} beyond it" in words(shown)


def test_a_legend_of_two_pictures_has_the_mean_of_their_areas() -> None:
    red, blue, black = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)
    first = (
        LegendEntry(3, red, "channel 3", 0.7),
        LegendEntry(None, black, "no channel", 0.3),
    )
    second = (LegendEntry(8, blue, "channel 8", 0.9), LegendEntry(3, red, "channel 3", 0.1))
    found = legend_of_both(first, second)
    assert [(entry.channel, entry.color) for entry in found] == [
        (8, blue),
        (3, red),
        (None, black),
    ]
    assert [entry.share for entry in found] == pytest.approx([0.45, 0.4, 0.15])
    grey = LegendEntry(None, (0.5, 0.5, 0.5), "other channels", 0.1)
    found = legend_of_both((*first, grey), (*second, replace(grey, share=0.9)))
    assert [(entry.label, entry.share) for entry in found[2:]] == [
        ("other channels", 0.5),
        ("no channel", 0.15),
    ]
    equal = [(LegendEntry(number, red, f"channel {number}", 1.0),) for number in (0, 1)]
    assert [entry.channel for entry in legend_of_both(*equal)] == [0, 1]
    unshared = (LegendEntry(3, red, "channel 3"),)
    assert legend_of_both(unshared, unshared) == unshared


# Links --------------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("trait", "description", "value"),
    [
        ("layer", "layer", "block3_conv2"),
        ("mode", "mode", "max"),
        ("cmap", "colors", "viridis"),
        ("scale", "range", "network"),
        ("channel", "channel", 17),
        ("before_relu", "before ReLU", True),
        ("gamma", "gamma", 0.5),
    ],
)
def test_a_trait_moves_its_control_and_a_control_its_trait(
    make: Make, trait: str, description: str, value: Any
) -> None:
    comparison = make(panel="Display")
    before, first = getattr(comparison, trait), drawn(comparison)
    # For a gamma of None, the control shows the gamma of the scale.
    shown = control(comparison, description).value
    setattr(comparison, trait, value)
    assert control(comparison, description).value == pytest.approx(value)
    assert not np.array_equal(drawn(comparison), first)
    control(comparison, description).value = shown
    assert getattr(comparison, trait) == before
    np.testing.assert_array_equal(drawn(comparison), first)


def test_a_zoom_is_the_same_on_all_five(make: Make) -> None:
    comparison = make()
    axes = comparison.figure.axes[:5]
    for moved, limits in ((DIFFERENCE, (5, 20)), (SECOND_INPUT, (8, 30)), (FIRST, (2, 40))):
        axes[moved].set(xlim=limits, ylim=(limits[1], limits[0]))
        assert {each.get_xlim() for each in axes} == {limits}
        assert {each.get_ylim() for each in axes} == {limits[::-1]}
    comparison.mode = "grid"
    axes[DIFFERENCE].set(xlim=(3, 9))
    assert axes[FIRST].get_xlim() == axes[SECOND].get_xlim() == (3, 9)
    assert axes[FIRST_INPUT].get_xlim() == axes[SECOND_INPUT].get_xlim() != (3, 9)


@pytest.mark.parametrize("number", [FIRST, SECOND, DIFFERENCE])
def test_a_click_marks_the_unit_on_the_maps_and_its_field_on_both_images(
    make: Make, number: int
) -> None:
    comparison = make(channel=3)
    # Unit (7, 4) of a layer of stride 2 is at input row 14.5, column 8.5.
    click(comparison, number, 8.5, 14.5)
    assert comparison.location == (7, 4)
    for map_number in (FIRST, SECOND, DIFFERENCE):
        assert marks_on(comparison, map_number) == {(7.5, 13.5, 2, 2)}
    # The receptive field of block2_conv1 is 10 pixels wide: the unit's 2 and 4 on either side.
    for input_number in (FIRST_INPUT, SECOND_INPUT):
        assert marks_on(comparison, input_number) == {(3.5, 9.5, 10, 10)}
    first, second = values(comparison, "first")[7, 4], values(comparison, "second")[7, 4]
    said = f"first {first:.4g}, second {second:.4g}, difference {second - first:.4g}"
    assert f"location: row 7, column 4: {said}" in words(comparison)
    click(comparison, number, 8.5, 14.5)
    assert "location: row" not in words(comparison)
    assert marks_on(comparison, FIRST) == set()


def test_the_overlay_lies_over_each_input_as_its_own_map(make: Make) -> None:
    comparison = make(channel=3, panel="Display")
    control(comparison, "map over the input").value = 0.4
    assert comparison.overlay == 0.4
    for number, map_number in ((FIRST_INPUT, FIRST), (SECOND_INPUT, SECOND)):
        over = [a for a in comparison.figure.axes[number].get_images() if a.get_animated()]
        assert [(a.get_visible(), a.get_alpha()) for a in over] == [(True, 0.4)]
        np.testing.assert_array_equal(over[0].get_array(), on_axes(comparison, map_number))


def test_hovering_shows_the_values_of_both_pictures(make: Make) -> None:
    comparison = make(channel=3)
    mouse(comparison, "motion_notify", SECOND, 8.5, 14.5)
    first, second = values(comparison, "first")[7, 4], values(comparison, "second")[7, 4]
    assert f"row 7, column 4: first {first:.4g}, second {second:.4g}" in words(comparison)
    assert comparison.location is None
    mouse(comparison, "motion_notify", SECOND_INPUT, 8, 14)
    colours = [
        ", ".join(map(str, image[14, 8]))
        for image in (comparison.pair.first.image, comparison.pair.second.image)
    ]
    said = f"input row 14, column 8: RGB {colours[0]} and RGB {colours[1]}"
    assert said in words(comparison)
    comparison.mode = "argmax"
    mouse(comparison, "motion_notify", SECOND, 8.5, 14.5)
    winners = [
        maps[LAYER][7, 4].argmax() for maps in (comparison.pair.first, comparison.pair.second)
    ]
    assert f"first channel {winners[0]}, second channel {winners[1]} ·" in words(comparison)
    comparison.mode, comparison.channels = "composite", (1, 2)
    mouse(comparison, "motion_notify", FIRST, 8.5, 14.5)
    apart = comparison.pair.second[LAYER][7, 4, 1:3] - comparison.pair.first[LAYER][7, 4, 1:3]
    assert f"column 4: distance {np.sqrt((apart**2).sum()):.4g} ·" in words(comparison)
    for kind in ("figure_leave", "motion_notify"):
        mouse(comparison, kind, SECOND, 8.5, 14.5)
        assert "row 7, column 4" not in words(comparison)


@pytest.mark.slow
def test_a_tile_of_any_grid_opens_its_channel(make: Make) -> None:
    comparison = make(mode="grid", channels=(3, 8))
    assert comparison.renderings is not None
    tiles = comparison.renderings.difference.tiles
    assert tiles is not None
    top, left, _, _ = tiles.box(1)
    click(comparison, DIFFERENCE, left + 1, top + 1)
    assert (comparison.mode, comparison.channel) == ("channel", 8)
    comparison.back()
    assert (comparison.mode, comparison.channels) == ("grid", (3, 8))


def test_keys_do_what_they_do_in_the_explorer(make: Make) -> None:
    comparison = make(location=(3, 3))
    page: Any = comparison.children[-1]
    for key, trait, value in (
        ("ArrowRight", "channel", 1),
        ("ArrowDown", "layer", "block2_conv2"),
        ("b", "before_relu", True),
        ("o", "overlay", 0.5),
        ("g", "mode", "grid"),
        ("Escape", "location", None),
        ("r", "layer", LAYER),
    ):
        page._handle_custom_msg({"kind": "key", "key": key}, [])
        assert getattr(comparison, trait) == value
    assert comparison.location == (3, 3)


def test_the_figure_follows_the_theme_of_the_page(make: Make) -> None:
    comparison = make()
    light = drawn(comparison)[0, 0, 0]
    comparison.children[-1].theme = "dark"
    assert drawn(comparison)[0, 0, 0] < 50 < light
    comparison.theme = "light"
    assert drawn(comparison)[0, 0, 0] == light


# Other images -------------------------------------------------------------------------------------


def test_either_picture_can_be_replaced(
    make: Make, extractor: FeatureExtractor, photo: RGB8, other: RGB8
) -> None:
    comparison = make(channel=3)
    third = np.ascontiguousarray(photo[::-1])
    comparison.second = third
    np.testing.assert_array_equal(comparison.first, photo)
    np.testing.assert_array_equal(comparison.second, third)
    np.testing.assert_array_equal(values(comparison, "first"), extractor(photo)[LAYER][..., 3])
    np.testing.assert_array_equal(values(comparison, "second"), extractor(third)[LAYER][..., 3])
    comparison.first = other
    np.testing.assert_array_equal(values(comparison, "first"), extractor(other)[LAYER][..., 3])
    comparison.images = (third, photo)
    np.testing.assert_array_equal(values(comparison, "second"), extractor(photo)[LAYER][..., 3])
    np.testing.assert_array_equal(on_axes(comparison, FIRST_INPUT), extractor(third).image)


def test_the_files_and_a_change_of_shape_are_named(make: Make, tmp_path: Path, photo: RGB8) -> None:
    for name, pixels in (("<b>cat.png", photo), ("dog.png", photo[:32])):
        Image.fromarray(pixels).save(tmp_path / name)
    comparison = make(tmp_path / "<b>cat.png", tmp_path / "dog.png", panel="Open & save")
    said = words(comparison)
    assert "first (<b>cat.png): min 0" in said
    assert "second (dog.png): min 0" in said
    # 64×75 has an aspect ratio of 1.17, and 32×75 twice that.
    assert "second image made 50% narrower to have the first's shape: 32 × 75" in said
    raw = [w.value for w in below(comparison) if isinstance(w, widgets.HTML)]
    assert not any("<b>cat" in text for text in raw)
    control(comparison, "second picture").value = str(tmp_path / "<b>cat.png")
    np.testing.assert_array_equal(comparison.second, photo)
    assert "made" not in words(comparison)
    assert f"load_image({str(tmp_path / '<b>cat.png')!r})" in comparison.to_code()


def test_an_uploaded_picture_is_shown_and_a_bad_one_reported(
    make: Make, photo: RGB8, other: RGB8
) -> None:
    comparison = make(panel="Open & save")
    with io.BytesIO() as stream:
        Image.fromarray(photo[::-1]).save(stream, "png")
        content = stream.getvalue()
    upload = control(comparison, "other first picture")
    file = {"name": "x.png", "type": "image/png", "size": 1, "last_modified": datetime.now(tz=UTC)}
    upload.value = ({**file, "content": memoryview(content)},)
    np.testing.assert_array_equal(comparison.first, photo[::-1])
    upload.value = ({**file, "content": memoryview(b"no picture")},)
    np.testing.assert_array_equal(comparison.first, photo[::-1])
    np.testing.assert_array_equal(comparison.second, other)
    assert "readable image format" in words(comparison)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("second", "no/such.png", "was not found"),
        ("first", b"", "is empty"),
        ("images", (np.zeros((40, 40)), b"x"), "readable image format"),
        ("images", np.zeros((2, 40, 40, 3)), "not a pair of images: pass two"),
        ("images", ("one.png",), "not a pair of images: pass two"),
        ("channel", 128, "from 0 to 127"),
        ("layer", "block2_conv9", "did you mean 'block2_conv"),
        ("mode", "gird", "did you mean 'grid'"),
        ("location", (24, 0), "has 24 rows and 28 columns"),
        ("panel", "Circuit", "choose one of '', 'Display', 'Distances', 'Why', 'Open & save'"),
    ],
)
def test_an_error_loses_nothing(make: Make, name: str, value: object, advice: str) -> None:
    comparison = make(channel=3)
    pair, renderings, picture = comparison.pair, comparison.renderings, drawn(comparison)
    images = comparison.images
    with pytest.raises((ValueError, traitlets.TraitError), match=re.escape(advice)):
        setattr(comparison, name, value)
    assert comparison.pair is pair
    assert comparison.renderings is renderings
    assert all(a is b for a, b in zip(comparison.images, images, strict=True))
    np.testing.assert_array_equal(drawn(comparison), picture)
    comparison.channel = 4
    assert not np.array_equal(drawn(comparison), picture)


def test_an_observer_that_fails_leaves_the_old_pair(make: Make, photo: RGB8) -> None:
    comparison = make(location=(23, 3))
    pair, before = comparison.pair, drawn(comparison)

    def fail(change: Any) -> None:
        if change["new"] is not pair:
            raise ZeroDivisionError("on purpose")

    comparison.observe(fail, "pair")
    with pytest.raises(ZeroDivisionError):
        comparison.first = photo[:50, :40]
    assert comparison.pair is pair
    assert comparison.location == (23, 3)
    np.testing.assert_array_equal(comparison.first, photo)
    np.testing.assert_array_equal(drawn(comparison), before)


def test_a_location_outside_a_smaller_picture_is_moved_inside(photo: RGB8) -> None:
    own = FeatureExtractor("random", size=None)
    comparison = compare(photo, photo, extractor=own, layer=LAYER, mode="grid", location=(31, 3))
    explorer = LayerExplorer(photo, extractor=own, layer=LAYER, mode="grid", location=(31, 3))
    try:
        for view in (comparison, explorer):
            view.order = "location"
        comparison.first = explorer.image = photo[:40]
        assert comparison.location == explorer.location == (19, 3)
        assert marks_on(comparison, FIRST_INPUT) == {(1.5, 33.5, 10, 6)}
        strongest = comparison.pair.pooled[LAYER][19, 3].argsort()[::-1]
        assert comparison.renderings is not None
        top = comparison.renderings.first.channels[0]
        assert comparison.pair.first[LAYER][19, 3, top] == max(
            comparison.pair.first[LAYER][19, 3, strongest]
        )
    finally:
        comparison.close()
        explorer.close()


def test_a_list_of_two_pictures_is_sent_to_compare(
    photo: RGB8, other: RGB8, extractor: FeatureExtractor
) -> None:
    pairs: list[object] = [
        ["a.png", "b.png"],
        [photo, other],
        (photo, other[:40]),
        [photo[..., 0], other[..., 0]],
        [Image.fromarray(photo), Image.fromarray(other)],
    ]
    for images in pairs:
        with pytest.raises(ImageError, match=r"of 2 \(.*\): .*vgg_widget\.compare\(a, b\)"):
            LayerExplorer(images, extractor=extractor)
    # These are single pictures: a batch of one, channels first, and nested lists of numbers.
    for picture in ([photo], [photo[..., k] for k in range(3)], photo.tolist()):
        np.testing.assert_array_equal(extractor.read(picture).pixels, photo)


# Saving and closing -------------------------------------------------------------------------------


def test_the_saved_picture_is_the_shown_one(make: Make, tmp_path: Path) -> None:
    comparison = make(channel=3, location=(5, 5))
    path = tmp_path / "pair.png"
    comparison.save(path)
    saved = np.array(Image.open(path))[..., :3]
    # The line of text at the bottom of the saved picture is left out.
    np.testing.assert_array_equal(saved[:575], drawn(comparison)[:575, :, :3])
    comparison.save(tmp_path / "pair.svg")
    assert b"<svg" in (tmp_path / "pair.svg").read_bytes()
    comparison.save(tmp_path / "pair.pdf")
    assert (tmp_path / "pair.pdf").read_bytes().startswith(b"%PDF")
    before = set(tmp_path.iterdir())
    with pytest.raises(
        ValueError, match=r"'\.npz': choose \.png, \.svg or \.pdf for the picture\."
    ):
        comparison.save(tmp_path / "pair.npz")
    assert set(tmp_path.iterdir()) == before


def test_a_saved_notebook_holds_the_picture(make: Make) -> None:
    comparison = make()
    bundle = comparison._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))))
    np.testing.assert_array_equal(picture[:575, :, :3], drawn(comparison)[:575, :, :3])


def test_closing_releases_everything(extractor: FeatureExtractor, photo: RGB8, other: RGB8) -> None:
    before = set(_instances)
    comparison = compare(photo, other, extractor=extractor)
    for panel in ("Display", "Open & save"):
        comparison.panel = panel
    held: list[weakref.ref[Any]] = [
        weakref.ref(thing)
        for thing in (comparison, comparison.pair.first, comparison.pair.pooled, comparison.figure)
    ]
    assert len(set(_instances) - before) > 10
    comparison.close()
    comparison.close()
    assert set(_instances) == before
    with pytest.raises(RuntimeError, match="comparison is closed: call compare again"):
        comparison.first = photo
    assert repr(comparison) == "<Comparison: closed>"
    del comparison
    gc.collect()
    assert all(reference() is None for reference in held)


def test_a_bad_argument_makes_no_comparison(make: Make) -> None:
    alive = set(_instances)
    with pytest.raises(traitlets.TraitError, match="did you mean 'viridis'"):
        make(cmap="virdis")
    with pytest.raises(TypeError, match="argument 'chanel' is not known: did you mean 'channel'"):
        make(chanel=3)
    with pytest.raises(ImageError, match="was not found"):
        make("no/such.png")
    assert set(_instances) == alive

"""Tests of comparing two images: their shared range and channels, and their difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.conftest import Floats, make_activations
from vgg_widget import Activations, FeatureExtractor, register_mode, render, telling_channels
from vgg_widget.images import ImageReading
from vgg_widget.pictures.captions import pair_caption
from vgg_widget.pictures.comparing import Pair, pair, render_pair
from vgg_widget.pictures.legend import channel_colors, legend_of_both
from vgg_widget.pictures.modes import MODES, ModeRequest, Picture, Rendering
from vgg_widget.pictures.scaling import DisplayRange, Scale
from vgg_widget.support.provenance import Provenance

RGB8 = npt.NDArray[np.uint8]

MODES_WITH_A_RANGE = ["channel", "max", "mean", "grid"]


@pytest.fixture(scope="module")
def other(photo: RGB8) -> RGB8:
    """Return the photograph, mirrored and darkened."""
    return (photo[:, ::-1] // 2).copy()


@pytest.fixture(scope="module")
def both(extractor: FeatureExtractor, photo: RGB8, other: RGB8) -> Pair:
    return pair(extractor, photo, other)


@pytest.fixture
def made() -> Pair:
    """Return a pair with 6×5 maps of 4 channels and a second, stronger layer "deep".

    The first layer is three times as strong in the second image.
    """
    random = np.random.default_rng(7)
    first, second = (random.normal(size=(6, 5, 4)).astype(np.float32) for _ in range(2))
    deep, other = (10 * random.random((3, 2, 2)).astype(np.float32) for _ in range(2))
    return Pair.of(
        make_activations(first, before_relu=True, others={"deep": deep}),
        make_activations(3 * second, before_relu=True, others={"deep": other}),
    )


@pytest.fixture
def own_modes() -> Iterator[None]:
    kept = dict(MODES)
    yield
    MODES.clear()
    MODES.update(kept)


def drawn(values: npt.NDArray[np.floating], low: float, high: float, cmap: str) -> RGB8:
    """Return the colours of matplotlib for values in the range from `low` to `high`."""
    unit = np.clip((values.astype(float) - low) / (high - low), 0, 1)
    rgba: RGB8 = mpl.colormaps[cmap](unit, bytes=True)
    return rgba


def values_of(picture: Rendering) -> npt.NDArray[Any]:
    assert picture.values is not None
    return picture.values.astype(np.float64)


def assert_close(rgba: RGB8, expected: RGB8, levels: int = 4) -> None:
    # Rounding may move a value on the border of two of a colormap's 256 entries into either.
    off = np.abs(rgba.astype(int) - expected.astype(int))
    assert off.max() <= levels
    assert (off > 0).mean() < 0.02


# The two images ----------------------------------------------------------------------------------


def test_each_image_has_the_activations_that_it_has_alone(
    extractor: FeatureExtractor, both: Pair, photo: RGB8, other: RGB8
) -> None:
    for mine, image in ((both.first, photo), (both.second, other)):
        alone = extractor(image)
        np.testing.assert_array_equal(mine.image, image)
        for layer in ("block1_conv1", "features.10", "block3_conv1", "block5_pool"):
            np.testing.assert_array_equal(mine[layer], alone[layer])
        assert mine.weights == extractor.weights
    assert both.note == ""


def test_a_second_image_of_another_shape_is_resized_to_the_first(
    extractor: FeatureExtractor, photo: RGB8
) -> None:
    wide = np.ascontiguousarray(np.tile(photo, (1, 2, 1))[:40])
    found = pair(extractor, photo, wide)
    squeezed = np.array(Image.fromarray(wide).resize((75, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found.second.image, squeezed)
    # The aspect ratio changes from 3.75 (40×150) to 1.17 (64×75), which is 69% less.
    assert found.note == (
        "second image made 69% narrower to have the first's shape: 40 × 150 became 64 × 75"
    )
    assert [found.first.shape(n) for n in found.first] == [
        found.second.shape(n) for n in found.second
    ]
    back = pair(extractor, wide, photo)
    assert back.note == (
        "second image made 220% wider to have the first's shape: 64 × 75 became 40 × 150"
    )


def test_equal_aspect_ratios_are_not_reported_as_distortion(photo: RGB8) -> None:
    extractor = FeatureExtractor("random", size=(32, 48))
    double = photo.repeat(2, axis=0).repeat(2, axis=1)
    found = pair(extractor, photo, double[:-1])
    assert found.note == ""
    assert found.first.image.shape == found.second.image.shape == (32, 48, 3)


def test_distortion_is_measured_at_the_size_that_the_network_sees() -> None:
    wide, square = np.zeros((100, 200, 3), np.uint8), np.zeros((100, 100, 3), np.uint8)
    both_sides = FeatureExtractor("random", size=(64, 64))
    assert pair(both_sides, wide, square).note == ""
    # The 200 columns and the 100 rows both become 64, which halves the aspect ratio.
    assert pair(both_sides, square, wide).note == (
        "second image made 50% narrower to have the first's shape: 100 × 200 became 64 × 64"
    )


def test_image_readings_keep_their_names(extractor: FeatureExtractor, photo: RGB8) -> None:
    one, two = ImageReading(photo, origin="/a.png"), ImageReading(photo[:60], origin="/b.png")
    found = pair(extractor, one, two)
    assert (found.first.name, found.second.name) == ("/a.png", "/b.png")


def test_the_pair_takes_no_more_memory_than_its_two_parts(both: Pair) -> None:
    for name in ("block1_pool", "features.0"):
        for part in (both.first, both.second):
            assert np.shares_memory(part[name], both.pooled[name])


def test_activations_of_other_sizes_or_layers_are_refused(made: Pair) -> None:
    small = make_activations(
        np.ones((2, 2, 4), np.float32), others={"deep": np.ones((1, 1, 2), np.float32)}
    )
    with pytest.raises(ValueError, match=r"second has another image size than first, \(2, 2\)"):
        Pair.of(made.first, small)
    with pytest.raises(ValueError, match="second has another set of layers"):
        Pair.of(made.first, make_activations(np.ones((6, 5, 4), np.float32)))


def test_two_networks_with_equal_layer_names_are_refused() -> None:
    maps = np.ones((6, 5, 4), np.float32)
    one = make_activations(maps, label="a")
    with pytest.raises(
        ValueError, match="second has another set of weights than first, b instead of"
    ):
        Pair.of(one, make_activations(maps, label="b"))
    with pytest.raises(
        ValueError, match=r"second has another set of map shapes than first, \[\(6, 5, 3\)\] inst"
    ):
        Pair.of(one, make_activations(maps[..., :3], label="a"))


def test_weights_that_were_trained_further_are_refused() -> None:
    def made_of(digest: str) -> Activations:
        one = make_activations(np.ones((6, 5, 4), np.float32))
        weights = Provenance("model", "my own", digest=digest)
        return Activations(one.layers, dict(one), one.image, weights)

    with pytest.raises(
        ValueError, match=r"set of weights .* my own \(sha256:2\) instead of my own"
    ):
        Pair.of(made_of("sha256:1"), made_of("sha256:2"))


# One range ---------------------------------------------------------------------------------------


def tops(pair: Pair, layer: str, shown: tuple[Rendering, Rendering]) -> dict[str, float]:
    """Return the top of the range of each scale, computed over both images."""

    def top(arrays: list[npt.NDArray[Any]], percentile: float) -> float:
        values = np.concatenate([array.ravel() for array in arrays]).astype(np.float64)
        if layer.startswith("features"):
            values = np.abs(values)
        return float(np.percentile(values[values > 0], percentile))

    activations = (pair.first, pair.second)
    found = {
        "auto": top([values_of(shown[0]), values_of(shown[1])], 99.5),
        "channel": top([values_of(shown[0]), values_of(shown[1])], 100),
        "layer": top([a[layer] for a in activations], 99.9),
    }
    if not layer.startswith("features"):
        found["network"] = top([a[name] for a in activations for name in a], 99.9)
    return found


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "features.10"])
@pytest.mark.parametrize("mode", ["channel", "max", "mean"])
def test_both_are_drawn_over_one_range(both: Pair, layer: str, mode: str) -> None:
    pictures = render_pair(both, layer, mode, channel=3)
    for scale, top in tops(both, layer, (pictures.first, pictures.second)).items():
        found = render_pair(both, layer, mode, channel=3, scale=scale)
        low = -top if layer == "features.10" else 0
        for picture, activations in ((found.first, both.first), (found.second, both.second)):
            assert picture.vmax == pytest.approx(top, rel=1e-6)
            assert picture.vmin == pytest.approx(low, rel=1e-6)
            alone = render(activations, layer, mode, channel=3)
            np.testing.assert_array_equal(values_of(picture), values_of(alone))
            bent = np.clip(np.abs(values_of(picture)) / top, 0, 1)
            bent = np.sign(values_of(picture)) * bent ** (0.6 if scale == "auto" else 1)
            assert_close(picture.rgba, drawn(bent, low / top, 1, "magma"))
            assert (picture.layer, picture.mode, picture.scale) == (layer, mode, scale)


@pytest.mark.parametrize("scale", ["auto", "layer"])
@pytest.mark.parametrize("coloured", [0, 1])
def test_colours_made_by_a_mode_do_not_affect_the_range_of_the_other_picture(
    made: Pair, coloured: int, scale: str
) -> None:
    own = (made.first, made.second)[coloured]["conv"]

    @register_mode("mixed")
    def _mixed(maps: Any, _: object) -> Any:
        red = np.zeros((*maps.shape[:2], 3), np.uint8)
        return red if np.array_equal(maps, own) else maps.max(axis=-1)

    try:
        found = render_pair(made, "conv", "mixed", scale=scale)
    finally:
        del MODES["mixed"]
    pictures = (found.first, found.second)
    assert (pictures[coloured].vmin, pictures[coloured].clipped) == (None, (False, False))
    other = (made.first, made.second)[1 - coloured]
    values = other["conv"].max(axis=-1)
    own_top = np.percentile(values[values > 0].astype(np.float64), 99.5)
    top = own_top if scale == "auto" else made.pooled.top("conv", 99.9)
    assert pictures[1 - coloured].vmax == pytest.approx(top)
    np.testing.assert_array_equal(values_of(pictures[1 - coloured]), other["conv"].max(axis=-1))


def test_a_shared_range_pools_values_and_not_maxima() -> None:
    first = make_activations(np.full((2, 50, 1), 1, np.float32))
    second = make_activations(np.linspace(2, 101, 100).reshape(2, 50, 1).astype(np.float32))
    found = render_pair(Pair.of(first, second), "conv", scale=Scale("channel", 50))
    # The median of a hundred ones and of 2 to 101 lies between 1 and 2.
    assert found.first.vmax == found.second.vmax == 1.5
    assert found.clipped == (False, True)
    assert found.first.clipped == (False, False)


def test_percentile_and_gamma_apply_to_both(made: Pair) -> None:
    found = render_pair(made, "conv", scale=Scale("layer", 60, 0.5), cmap="magma")
    values = np.concatenate([made.first["conv"].ravel(), made.second["conv"].ravel()])
    top = np.percentile(values[values > 0].astype(float), 60)
    for picture in (found.first, found.second):
        assert picture.vmax == pytest.approx(top, rel=1e-6)
        bent = np.clip(values_of(picture) / top, 0, 1) ** 0.5
        assert_close(picture.rgba, drawn(bent, 0, 1, "magma"))


def test_a_sign_of_either_image_extends_the_range_of_both() -> None:
    plus = make_activations(np.ones((2, 2, 1), np.float32), before_relu=True)
    minus = make_activations(np.full((2, 2, 1), -3, np.float32), before_relu=True)
    found = render_pair(Pair.of(plus, minus), "features.0", scale="channel")
    assert (found.first.vmin, found.first.vmax) == (-3, 3)
    assert (found.second.vmin, found.second.vmax) == (-3, 3)


def test_a_channel_in_a_grid_has_one_range_in_both(made: Pair) -> None:
    found = render_pair(made, "conv", "grid", scale="channel")
    for picture, activations in ((found.first, made.first), (found.second, made.second)):
        assert picture.tiles is not None
        for position, channel in enumerate(picture.tiles.channels):
            top, left, bottom, right = picture.tiles.box(position)
            peak = max(a["conv"][..., channel].max() for a in (made.first, made.second))
            expected = drawn(activations["conv"][..., channel], 0, peak, "magma")
            np.testing.assert_array_equal(picture.rgba[top:bottom, left:right], expected)


def test_grids_have_one_order(made: Pair) -> None:
    found = render_pair(made, "conv", "grid", order="max")
    peaks = [max(a["conv"][..., k].max() for a in (made.first, made.second)) for k in range(4)]
    expected = tuple(sorted(range(4), key=lambda k: -peaks[k]))
    for picture in (found.first, found.second, found.difference):
        assert picture.channels == expected
        assert picture.tiles is not None
        assert picture.tiles.channels == expected


def test_the_strongest_channels_are_chosen_over_both() -> None:
    first = np.zeros((2, 2, 9), np.float32)
    second = first.copy()
    first[0, 0] = [9, 8, 7, 6, 5, 4, 3, 2, 1]
    second[1, 1] = [0, 0, 0, 0, 0, 0, 20, 30, 10]
    both = Pair.of(make_activations(first), make_activations(second))
    for mode, expected in (
        ("rgb", (7, 6, 8)),
        ("rainbow", (7, 6, 8, 0, 1, 2)),
        ("composite", (7, 6, 8, 0, 1, 2)),
    ):
        found = render_pair(both, "conv", mode, channels="strongest")
        assert found.first.channels == found.second.channels == expected
        assert found.difference.channels == expected


def test_composite_divides_by_the_maximum_over_both(both: Pair) -> None:
    channels = (5, 60, 33)
    found = render_pair(
        both, "block2_conv1", "composite", channels=channels, cmap="plasma", scale="layer"
    )
    for picture, activations in ((found.first, both.first), (found.second, both.second)):
        total = np.zeros((*activations["block2_conv1"].shape[:2], 3))
        for k in channels:
            peak = max(a["block2_conv1"][..., k].max() for a in (both.first, both.second))
            total += mpl.colormaps["plasma"](activations["block2_conv1"][..., k] / peak)[..., :3]
        assert np.abs(picture.rgba[..., :3] - 255 * total / 3).max() <= 0.51


def test_composite_is_brightened_by_one_factor_for_both(both: Pair) -> None:
    channels, layer = (5, 60, 33), "block2_conv1"
    found = render_pair(both, layer, "composite", channels=channels, scale="auto")
    halves = [a[layer].astype(float) for a in (both.first, both.second)]
    mixed = [np.zeros((*half.shape[:2], 3)) for half in halves]
    for k in channels:
        every = np.concatenate([half[..., k].ravel() for half in halves])
        top = np.percentile(every[every > 0], 99.5)
        for place, half in enumerate(halves):
            unit = np.clip(half[..., k] / top, 0, 1) ** 0.6
            mixed[place] += mpl.colormaps["magma"](unit)[..., :3] / len(channels)
    brightest = np.concatenate([mix.max(axis=-1).ravel() for mix in mixed])
    factor = 1 / np.percentile(brightest, 99.5)
    assert factor > 1.1
    for picture, mix in zip((found.first, found.second), mixed, strict=True):
        off = np.abs(picture.rgba[..., :3] - 255 * np.clip(factor * mix, 0, 1))
        # Rounding may move a value on the border of two of the colormap's entries into either.
        assert np.percentile(off, 99) <= 0.51
        assert off.max() <= 4


def test_the_most_telling_channels_are_chosen_over_both(both: Pair) -> None:
    found = render_pair(both, "block2_conv1", "rgb")
    expected = telling_channels(both.pooled, "block2_conv1", 3)
    for picture in (found.first, found.second, found.difference):
        assert list(picture.channels) == expected.tolist()


def test_argmax_colours_the_same_twelve_in_both(both: Pair) -> None:
    layer = "block3_conv1"
    found = render_pair(both, layer, "argmax")
    numbers = np.concatenate([values_of(found.first), values_of(found.second)]).astype(int)
    areas = np.bincount(numbers[numbers >= 0])
    twelve = sorted(range(len(areas)), key=lambda k: (-areas[k], k))[:12]
    shown = 0
    for picture in (found.first, found.second):
        for winner in np.unique(values_of(picture)[values_of(picture) >= 0]).astype(int):
            colours = {tuple(c) for c in picture.rgba[values_of(picture) == winner].tolist()}
            own = (*channel_colors((winner,))[0].tolist(), 255)
            assert colours == {own if winner in twelve else (120, 120, 120, 255)}
            shown += winner not in twelve
        listed = [entry.channel for entry in picture.legend if entry.channel is not None]
        assert listed == twelve
        assert [e.label for e in picture.legend if e.channel is None] == ["other channels"]
        assert sum(entry.share or 0 for entry in picture.legend) == pytest.approx(1)
    assert shown
    both_legends = legend_of_both(found.first.legend, found.second.legend)
    assert sorted(e.channel for e in both_legends[:12] if e.channel is not None) == sorted(twelve)
    assert [e.label for e in both_legends[12:]] == ["other channels"]
    grey = sum(areas) - sum(areas[twelve])
    assert both_legends[-1].share == pytest.approx(grey / numbers.size)


@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network"])
def test_a_tile_is_hatched_where_the_channel_is_dead_and_never_in_a_difference(
    scale: str,
) -> None:
    alive = np.random.default_rng(3).uniform(0.5, 1, (8, 9, 4)).astype(np.float32)
    first, second = alive.copy(), alive.copy()
    first[..., 1] = 0
    first[..., 2] = second[..., 2] = 0
    pictures = render_pair(
        Pair.of(make_activations(first), make_activations(second)), "conv", "grid", scale=scale
    )
    grey = (128, 128, 128, 255)

    def hatched(picture: Rendering) -> list[int]:
        assert picture.tiles is not None
        found = []
        for position, channel in enumerate(picture.tiles.channels):
            top, left, bottom, right = picture.tiles.box(position)
            pixels = picture.rgba[top:bottom, left:right].reshape(-1, 4)
            if (pixels == grey).all(axis=-1).any():
                found.append(channel)
        return found

    assert hatched(pictures.first) == [1, 2]
    assert hatched(pictures.second) == [2]
    assert hatched(pictures.difference) == []


@pytest.mark.parametrize("scale", ["channel", "layer"])
def test_rgb_has_the_same_ranges_in_both(both: Pair, scale: str) -> None:
    found = render_pair(both, "block2_conv1", "rgb", channels=(1, 2, 3), scale=scale)
    halves = [a["block2_conv1"] for a in (both.first, both.second)]
    everything = np.concatenate([half.ravel() for half in halves]).astype(float)
    for picture, maps in ((found.first, halves[0]), (found.second, halves[1])):
        for place, channel in enumerate((1, 2, 3)):
            top = max(half[..., channel].max() for half in halves)
            if scale == "layer":
                top = np.percentile(everything[everything > 0], 99.9)
            light = 255 * np.clip(maps[..., channel] / top, 0, 1)
            assert np.abs(picture.rgba[..., place] - light).max() <= 0.51


@pytest.mark.usefixtures("own_modes")
def test_a_custom_mode_renders_each_image_separately(made: Pair) -> None:
    @register_mode("rest")
    def rest(maps: Floats, _: ModeRequest) -> Floats:
        # The mean of the picture would differ if both images were rendered as one picture.
        averages: Floats = maps.mean(axis=-1) - maps.mean()
        return averages

    @register_mode("own range")
    def own_range(maps: Floats, _: ModeRequest) -> Picture:
        values = maps.max(axis=-1)
        return Picture(values, range=DisplayRange(float(values.min()), float(values.max())))

    found = render_pair(made, "conv", "rest", scale="channel")
    expected = [a["conv"].mean(axis=-1) - a["conv"].mean() for a in (made.first, made.second)]
    for picture, values in zip((found.first, found.second), expected, strict=True):
        np.testing.assert_allclose(values_of(picture), values, rtol=1e-6)
        assert picture.vmax == pytest.approx(max(part.max() for part in expected))
    found = render_pair(made, "conv", "own range")
    peaks = [a["conv"].max(axis=-1) for a in (made.first, made.second)]
    for picture in (found.first, found.second):
        assert picture.vmin == min(part.min() for part in peaks)
        assert picture.vmax == max(part.max() for part in peaks)


# What differs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["block2_conv1", "features.10"])
@pytest.mark.parametrize("mode", MODES_WITH_A_RANGE)
def test_the_difference_is_the_second_minus_the_first(both: Pair, layer: str, mode: str) -> None:
    every = np.abs(both.second[layer].astype(float) - both.first[layer])
    for scale, percentile in (("auto", 99.5), ("channel", 100), ("layer", 99.9)):
        if mode == "grid" and scale != "layer":
            continue  # each tile has its own range
        found = render_pair(both, layer, mode, channel=7, scale=scale)
        values = values_of(found.second) - values_of(found.first)
        over = every if scale == "layer" else np.abs(values)
        top = np.percentile(over[over > 0], percentile)
        difference = found.difference
        np.testing.assert_allclose(values_of(difference), values, rtol=1e-5, atol=1e-6)
        assert difference.vmax == pytest.approx(top, rel=1e-5)
        assert difference.vmin == pytest.approx(-top, rel=1e-5)
        shown = found.first.rgba[..., 3] == 255
        bent = np.sign(values) * np.clip(np.abs(values) / top, 0, 1) ** difference.gamma
        assert difference.gamma == (0.6 if scale == "auto" else 1)
        expected = drawn(bent, -1, 1, "RdBu_r")
        expected[~shown] = 0
        assert_close(difference.rgba, expected)
        assert difference.cmap == "RdBu_r"
        assert difference.clipped == (bool((values < -top).any()), bool((values > top).any()))
        assert difference.title == f"{found.first.title} · second − first"


def test_the_differences_of_a_network_have_one_range(both: Pair) -> None:
    apart = [
        np.abs(both.second[name].astype(float) - both.first[name]).ravel() for name in both.first
    ]
    every = np.concatenate(apart)
    top = np.percentile(every[every > 0], 99.9)
    for layer in ("block1_conv1", "block4_conv2"):
        difference = render_pair(both, layer, scale="network").difference
        assert difference.vmax == pytest.approx(top, rel=1e-5)


def test_more_is_red_and_less_is_blue_and_equal_is_neither() -> None:
    first = make_activations(np.array([[[1], [1], [1]]], np.float32))
    second = make_activations(np.array([[[4], [1], [0]]], np.float32))
    difference = render_pair(Pair.of(first, second), "conv", scale="channel").difference
    more, equal, less = difference.rgba[0, :, :3].astype(int)
    assert more[0] > more[2] + 50
    assert less[2] > less[0] + 20
    assert np.ptp(equal) <= 3
    assert equal.min() > 240


def test_tiles_of_differences_each_over_their_own_range(made: Pair) -> None:
    difference = render_pair(made, "conv", "grid", scale="channel").difference
    tiles = difference.tiles
    assert tiles is not None
    inside = np.zeros(difference.rgba.shape[:2], bool)
    for position, channel in enumerate(tiles.channels):
        top, left, bottom, right = tiles.box(position)
        inside[top:bottom, left:right] = True
        values = made.second["conv"][..., channel] - made.first["conv"][..., channel]
        most = np.abs(values).max()
        expected = drawn(values, -most, most, "RdBu_r")
        np.testing.assert_array_equal(difference.rgba[top:bottom, left:right], expected)
    assert (difference.rgba[~inside] == 0).all()
    assert (difference.vmin, difference.vmax) == (None, None)


@pytest.mark.parametrize("mode", [*MODES_WITH_A_RANGE, "argmax", "composite", "rgb", "rainbow"])
@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network"])
def test_an_image_does_not_differ_from_itself(made: Pair, mode: str, scale: str) -> None:
    same = Pair.of(made.first, made.first)
    for layer in ("conv", "features.0"):
        found = render_pair(same, layer, mode, scale=scale)
        np.testing.assert_array_equal(found.first.rgba, found.second.rgba)
        difference = found.difference
        assert difference.note == "no difference"
        shown = difference.rgba[difference.rgba[..., 3] == 255]
        assert len({tuple(color) for color in shown}) == 1
        if mode in MODES_WITH_A_RANGE:
            assert shown[0, :3].min() > 240  # white, the middle of the colormap


def test_channels_that_are_dead_in_both_do_not_differ() -> None:
    dead = make_activations(np.zeros((3, 3, 2), np.float32))
    for scale in ("auto", "channel", "layer", "network"):
        found = render_pair(Pair.of(dead, dead), "conv", scale=scale)
        assert found.first.note == found.second.note == "dead"
        assert found.difference.note == "no difference"
        assert found.difference.rgba[..., :3].min() > 240


def test_locations_with_different_winners_are_counted(both: Pair) -> None:
    layer = "block3_conv1"
    difference = render_pair(both, layer, "argmax").difference
    height, width, _ = both.first.shape(layer)
    expected = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            one, two = (a.at(layer, row, column).tolist() for a in (both.first, both.second))
            expected[row, column] = one.index(max(one)) != two.index(max(two))
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(difference.values, expected)
    colours = {tuple(color) for color in difference.rgba.reshape(-1, 4)}
    assert len(colours) == 2
    assert difference.title == f"{layer} · strongest channel differs at {expected.mean():.1%}"
    assert (difference.vmin, difference.cmap) == (None, None)


def test_the_range_in_a_caption_ignores_the_gaps_between_tiles() -> None:
    maps = np.random.default_rng(5).random((4, 4, 3)).astype(np.float32)
    pair = Pair.of(make_activations(maps), make_activations(maps + 2))
    found = render_pair(pair, "conv", "grid")
    assert found.difference.values is not None
    assert found.difference.values.min() == 0  # the gaps between the tiles
    assert pair_caption(pair, found, ("", "")).endswith("difference 2 to 2")


@pytest.mark.parametrize("mode", ["channel", "grid"])
def test_the_caption_of_nan_is_undefined(mode: str) -> None:
    maps = np.full((4, 4, 2), np.nan, np.float32)
    pair = Pair.of(make_activations(maps), make_activations(maps))
    words = pair_caption(pair, render_pair(pair, "conv", mode), ("", ""))
    assert words.endswith("difference undefined")


@pytest.mark.parametrize("mode", ["argmax", "composite", "rgb", "rainbow"])
def test_a_difference_has_no_legend(made: Pair, mode: str) -> None:
    channels = (2, 0, 1)
    found = render_pair(made, "conv", mode, channels=channels)
    assert found.difference.legend == ()
    alone = render(made.first, "conv", mode, channels=channels).legend
    if mode == "argmax":
        # The order follows the areas in both images.
        assert len(found.first.legend) == len(alone)
        assert set(found.first.legend) == set(alone)
    else:
        assert found.first.legend == alone


@pytest.mark.parametrize("mode", ["composite", "rgb", "rainbow"])
@pytest.mark.parametrize("layer", ["block3_conv1", "features.10"])
def test_mixed_colours_differ_by_the_distance_of_their_channels(
    both: Pair, layer: str, mode: str
) -> None:
    found = render_pair(both, layer, mode, channels=(3, 10, 4), scale="channel")
    total = np.zeros(both.first.shape(layer)[:2])
    for channel in (3, 10, 4):
        apart = both.second[layer][..., channel].astype(float) - both.first[layer][..., channel]
        total += apart**2
    difference = found.difference
    np.testing.assert_allclose(values_of(difference), np.sqrt(total), rtol=1e-5)
    assert difference.vmin == 0
    assert difference.vmax == pytest.approx(np.sqrt(total).max(), rel=1e-5)
    assert_close(difference.rgba, drawn(np.sqrt(total), 0, np.sqrt(total).max(), "magma"))
    assert difference.title == f"{layer} · Euclidean distance over 3 channels"


@pytest.mark.parametrize("mode", ["channel", "grid", "max", "mean", "rgb", "composite"])
def test_values_that_are_not_finite_do_not_affect_the_range(mode: str) -> None:
    first, second = np.random.default_rng(2).random((2, 4, 4, 3)).astype(np.float32)
    first[0, 0] = np.nan
    first[1, 1] = second[1, 1] = np.inf
    second[2, 2] = -np.inf
    pair = Pair.of(make_activations(first), make_activations(second))
    scales = ["layer"] if mode == "grid" else ["auto", "layer"]
    for scale in scales:
        found = render_pair(pair, "conv", mode, scale=scale)
        assert found.difference.vmax is not None
        assert 0 < found.difference.vmax < 2


def test_a_bad_argument_is_named_as_in_render(made: Pair) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"mode": "chanel"}, "did you mean 'channel'"),
        ({"channel": 4}, "choose whole numbers from 0 to 3"),
        ({"scale": "layr"}, "did you mean 'layer'"),
        ({"mode": "grid", "order": "maks"}, "did you mean 'max'"),
    ]
    for options, message in bad:
        with pytest.raises(ValueError, match=message):
            render_pair(made, "conv", **options)
    with pytest.raises(KeyError, match="did you mean 'conv'"):
        render_pair(made, "cnv")


def test_differences_are_available_as_arrays(made: Pair) -> None:
    expected = made.second["features.0"] - made.first["features.0"]
    np.testing.assert_array_equal(made.difference("features.0"), expected)
    top = np.percentile(np.abs(expected.astype(float)), 80)
    assert made.largest_difference("features.0", 80) == pytest.approx(top, rel=1e-6)
    assert made.largest_difference("conv") == pytest.approx(
        np.abs(made.second["conv"] - made.first["conv"]).max()
    )

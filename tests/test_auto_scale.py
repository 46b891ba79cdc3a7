"""Tests of the scale "auto": each picture has its own range, with weak activations brightened."""

from __future__ import annotations

import colorsys
import inspect
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure

from tests.conftest import Floats, make_activations
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, load_image, plot, render
from vgg_widget.figure.animation import frames
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import NAMED_SCALES, Scale, as_scale

BEFORE_RELU = "features.10"


def own_top(values: npt.NDArray[Any]) -> float:
    """Return the 99.5th percentile of the positive values."""
    flat = values.astype(np.float64).ravel()
    return float(np.percentile(flat[flat > 0], 99.5))


def lifted(values: npt.NDArray[Any], top: float) -> npt.NDArray[np.float64]:
    """Return the values divided by `top`, clipped to 0–1, and raised to the power 0.6."""
    unit: npt.NDArray[np.float64] = np.clip(values.astype(np.float64) / top, 0, 1) ** 0.6
    return unit


def assert_colours(
    rgba: npt.NDArray[np.uint8], unit: npt.NDArray[np.float64], cmap: str = "magma"
) -> None:
    off = np.abs(rgba.astype(int) - mpl.colormaps[cmap](unit, bytes=True).astype(int))
    # Rounding may move a value on the border of two of a colormap's 256 entries into either.
    assert off.max() <= 4
    assert (off > 0).mean() < 0.01


def assert_rgb(made: Rendering, expected: npt.NDArray[np.float64], levels: float = 0.51) -> None:
    assert (made.rgba[..., 3] == 255).all()
    off = np.abs(made.rgba[..., :3] - 255 * np.clip(expected, 0, 1))
    assert off.max() <= levels


# The default ------------------------------------------------------------------------------------


def test_auto_is_the_default_scale() -> None:
    assert as_scale("auto") == NAMED_SCALES["auto"] == Scale("auto", 99.5, 0.6)
    assert list(NAMED_SCALES) == ["auto", "channel", "layer", "network"]
    for function in (render, LayerExplorer):
        parameters = inspect.signature(function).parameters
        assert (parameters["scale"].default, parameters["cmap"].default) == ("auto", "magma")


@pytest.mark.parametrize("mode", ["channel", "grid", "max", "mean", "composite", "rgb", "rainbow"])
def test_a_picture_without_a_scale_is_the_one_with_auto(
    activations: Activations, mode: str
) -> None:
    named = render(activations, "block2_conv1", mode, cmap="magma", scale="auto")
    np.testing.assert_array_equal(render(activations, "block2_conv1", mode).rgba, named.rgba)


# Formulas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "features.11"])
@pytest.mark.parametrize("mode", ["channel", "max", "mean"])
def test_colours_cover_the_range_of_the_picture(
    activations: Activations, layer: str, mode: str
) -> None:
    maps = activations[layer]
    shown = {"channel": maps[..., 9], "max": maps.max(axis=-1), "mean": maps.mean(axis=-1)}[mode]
    made = render(activations, layer, mode, channel=9)
    top = own_top(shown)
    assert made.vmin == 0
    assert made.vmax == pytest.approx(top, rel=1e-5)
    assert made.gamma == 0.6
    assert made.scale == "auto"
    assert made.clipped == (False, bool((shown > top).any()))
    assert_colours(made.rgba, lifted(shown, top))


def test_before_a_relu_both_halves_are_lifted_alike(activations: Activations) -> None:
    shown = activations[BEFORE_RELU][..., 4].astype(np.float64)
    assert shown.min() < 0 < shown.max()
    made = render(activations, BEFORE_RELU, channel=4, cmap="coolwarm")
    top = own_top(np.abs(shown))
    assert made.vmax == pytest.approx(top, rel=1e-5)
    assert made.vmin == -made.vmax  # type: ignore[operator]
    unit = (np.sign(shown) * lifted(np.abs(shown), top) + 1) / 2
    assert_colours(made.rgba, unit, "coolwarm")


@pytest.mark.parametrize("layer", ["block2_conv2", BEFORE_RELU])
def test_each_tile_of_a_grid_has_its_own_range(activations: Activations, layer: str) -> None:
    maps = activations[layer].astype(np.float64)
    made = render(activations, layer, "grid", cmap="coolwarm")
    assert made.tiles is not None
    assert (made.vmin, made.vmax) == (None, None)
    for position in (0, 17, 64, 127):
        top, left, bottom, right = made.tiles.box(position)
        values = maps[..., made.tiles.channels[position]]
        unit = lifted(np.abs(values), own_top(np.abs(values)))
        if layer == BEFORE_RELU:
            unit = (np.sign(values) * unit + 1) / 2
        assert_colours(made.rgba[top:bottom, left:right], unit, "coolwarm")


def test_each_light_of_rgb_and_rainbow_has_its_own_range(activations: Activations) -> None:
    maps, channels = activations["block2_conv1"], (5, 60, 33)
    units = [lifted(maps[..., k], own_top(maps[..., k])) for k in channels]
    made = render(activations, "block2_conv1", "rgb", channels=channels)
    assert_rgb(made, np.stack(units, axis=-1))
    light = np.zeros((*maps.shape[:2], 3))
    for place, unit in enumerate(units):
        light += unit[..., np.newaxis] * colorsys.hsv_to_rgb(place / 3, 1, 1)
    assert_rgb(render(activations, "block2_conv1", "rainbow", channels=channels), light)


def test_a_composite_is_the_mean_of_coloured_channels_made_brighter(
    activations: Activations,
) -> None:
    maps, channels = activations["block2_conv1"], (5, 60, 33)
    mean = np.zeros((*maps.shape[:2], 3))
    for k in channels:
        mean += mpl.colormaps["magma"](lifted(maps[..., k], own_top(maps[..., k])))[..., :3] / 3
    brightest = np.percentile(mean.max(axis=-1), 99.5)
    assert brightest < 0.95
    made = render(activations, "block2_conv1", "composite", channels=channels)
    off = np.abs(made.rgba[..., :3] - 255 * np.clip(mean / brightest, 0, 1))
    assert np.percentile(off, 99) <= 0.51
    assert off.max() <= 4
    assert made.values is None


def test_one_spike_does_not_darken_the_rest() -> None:
    maps = np.ones((20, 20, 3), np.float32)
    maps[..., 1] = 0.5
    maps[7, 8] = 1000
    made = make_activations(maps)
    for mode in ("channel", "max", "composite", "rgb"):
        channels = None if mode == "channel" else (0, 1, 2)
        dark = render(made, "conv", mode, channels=channels, scale="channel").rgba[0, 0, :3].max()
        assert dark < 30
        assert render(made, "conv", mode, channels=channels).rgba[0, 0, :3].max() > 200


# Dead tiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network"])
@pytest.mark.parametrize("side", [3, 8, 40])
def test_dead_tiles_are_hatched_on_every_scale(scale: str, side: int) -> None:
    maps = np.random.default_rng(0).uniform(0.1, 1, (side, side + 2, 6)).astype(np.float32)
    maps[..., [1, 4]] = 0
    maps[..., 2] *= 1e-6
    made = render(make_activations(maps), "conv", "grid", scale=scale, cmap="viridis")
    assert made.tiles is not None
    step = max(4, side // 5)
    width = max(1, step // 6)
    for position in range(6):
        top, left, bottom, right = made.tiles.box(position)
        tile = made.rgba[top:bottom, left:right]
        grey = (tile == (128, 128, 128, 255)).all(axis=-1)
        if position not in (1, 4):
            assert not grey.any()
            continue
        rows, columns = np.mgrid[:side, : side + 2]
        np.testing.assert_array_equal(grey, (rows + columns) % step < width)
        first = mpl.colormaps["viridis"](0, bytes=True)
        np.testing.assert_array_equal(tile[~grey], np.broadcast_to(first, tile[~grey].shape))
    top, left, bottom, right = made.tiles.box(1)
    assert made.values is not None
    assert not made.values[top:bottom, left:right].any()  # hatching does not change the values


def test_a_single_dead_channel_is_not_hatched() -> None:
    made = render(make_activations(np.zeros((9, 9, 2), np.float32)), "conv")
    assert len(np.unique(made.rgba.reshape(-1, 4), axis=0)) == 1
    assert made.note == "dead"


# "strongest" ------------------------------------------------------------------------------------


def by_maximum(maps: Floats, count: int) -> tuple[int, ...]:
    peaks = maps.reshape(-1, maps.shape[-1]).max(axis=0).tolist()
    return tuple(sorted(range(len(peaks)), key=lambda k: -peaks[k])[:count])


@pytest.mark.parametrize(("mode", "count"), [("composite", 6), ("rgb", 3), ("rainbow", 6)])
def test_the_strongest_have_the_largest_maximum(
    activations: Activations, mode: str, count: int
) -> None:
    made = render(activations, "block3_conv1", mode, channels="strongest")
    expected = by_maximum(activations["block3_conv1"], count)
    assert made.channels == expected
    assert made.channels != render(activations, "block3_conv1", mode).channels
    axes = plot(activations, "block3_conv1", mode, channels="strongest", ax=Figure().add_subplot())
    assert ", ".join(map(str, expected)) in axes.get_title()


@pytest.mark.parametrize("mode", ["grid", "max", "mean", "argmax"])
def test_modes_of_all_channels_show_all_when_asked_for_the_strongest(
    activations: Activations, mode: str
) -> None:
    made = render(activations, "block1_conv1", mode, channels="strongest")
    assert made.channels == tuple(range(64))


@pytest.mark.parametrize("word", ["strong", "Strongest", "", "telling", "3"])
@pytest.mark.parametrize("mode", ["channel", "composite", "max"])
def test_another_word_for_channels_is_refused(
    activations: Activations, mode: str, word: str
) -> None:
    refused = rf"channels '{word}' is not a list of numbers: write .* or 'strongest'"
    with pytest.raises(ValueError, match=refused):
        render(activations, "block1_conv1", mode, channels=word)
    with pytest.raises(ValueError, match=refused):
        plot(activations, "block1_conv1", mode, channels=word)
    with pytest.raises(ValueError, match=f"channels '{word}' is not a list"):
        frames(activations, "layers", mode=mode, channels=word)


# Brightness -------------------------------------------------------------------------------------

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")


@pytest.fixture(scope="module", params=PHOTOGRAPHS)
def seen(request: pytest.FixtureRequest) -> Activations:
    from skimage import data

    return FeatureExtractor("kmeans")(load_image(getattr(data, request.param)()))


def bright(made: Rendering) -> float:
    """Return the share of opaque pixels above a quarter of full luminance (Rec. 709 of sRGB)."""
    drawn = made.rgba[made.rgba[..., 3] == 255][:, :3] / 255
    return float((drawn @ (0.2126, 0.7152, 0.0722) > 0.25).mean())


@pytest.mark.sampled
@pytest.mark.parametrize("layer", ["block1_conv1", "block3_conv1", "block5_conv1"])
def test_every_mode_shows_something_without_a_setting(seen: Activations, layer: str) -> None:
    least = {"mean": 0.35, "max": 0.30, "grid": 0.07, "composite": 0.05}
    pictures = {mode: render(seen, layer, mode) for mode in least}
    for mode, share in least.items():
        assert bright(pictures[mode]) >= share, mode
    values, top = pictures["max"].values, pictures["max"].vmax
    assert values is not None
    assert top is not None
    assert (values > top).mean() <= 0.03

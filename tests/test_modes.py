"""Tests of each mode against its formula, and of legends, grids, ranges, captions and errors."""

from __future__ import annotations

import colorsys
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.colors import ListedColormap

from tests.conftest import make_activations
from vgg_widget import Activations, render, telling_channels
from vgg_widget.pictures.captions import activity, caption, source_line
from vgg_widget.pictures.legend import channel_colors, first_entries
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import Scale
from vgg_widget.pictures.tiles import TileGrid
from vgg_widget.support.messages import plain_number

Floats = npt.NDArray[np.float32]

BUILT_IN = ["channel", "grid", "max", "mean", "argmax", "composite", "rgb", "rainbow", "groups"]
LAYERS = ["block1_conv2", "block3_conv1", "block5_pool", "features.10", "features.11"]
AT: dict[str, Any] = {"mode": "grid", "order": "location"}
BEFORE_RELU = "features.10"


def colours(unit: npt.NDArray[Any], cmap: str) -> npt.NDArray[np.uint8]:
    """Return the colours that matplotlib itself gives to values from 0 to 1."""
    rgba: npt.NDArray[np.uint8] = mpl.colormaps[cmap](unit, bytes=True)
    return rgba


def assert_rgb(rendering: Rendering, expected: npt.NDArray[Any], levels: float = 0.51) -> None:
    """Compare colours with RGB in 0–1, up to rounding to one of 256 levels."""
    assert rendering.rgba.dtype == np.uint8
    assert rendering.rgba.shape == (*expected.shape[:2], 4)
    assert (rendering.rgba[..., 3] == 255).all()
    difference = np.abs(rendering.rgba[..., :3] - 255 * np.clip(expected, 0, 1))
    assert difference.max() <= levels


def lively(activations: Activations, layer: str, count: int = 1) -> tuple[int, ...]:
    """Return the channels with the most distinct values, since dead ones would prove little."""
    maps = activations[layer]
    different = [np.unique(maps[..., k]).size for k in range(maps.shape[-1])]
    return tuple(sorted(range(len(different)), key=lambda k: -different[k])[:count])


# The textbook formulas, on real activations ------------------------------------------------------


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "block5_pool", "features.11"])
@pytest.mark.parametrize("cmap", ["gray", "viridis"])
def test_channel_shows_the_channel_unchanged(
    activations: Activations, layer: str, cmap: str
) -> None:
    for channel in (0, activations[layer].shape[-1] - 1, *lively(activations, layer, 3)):
        own = activations[layer][..., channel]
        made = render(activations, layer, "channel", channel=channel, cmap=cmap, scale="channel")
        np.testing.assert_array_equal(made.rgba, colours(own / own.max(), cmap))
        assert made.values is not None
        np.testing.assert_array_equal(made.values, own)
        assert (made.vmin, made.vmax) == (0.0, own.max())
        assert made.channels == (channel,)
        assert made.clipped == (False, False)


def test_channel_in_grey_is_the_activation_in_256_shades(activations: Activations) -> None:
    (channel,) = lively(activations, "block2_conv1")
    own = activations["block2_conv1"][..., channel]
    made = render(activations, "block2_conv1", channel=channel, cmap="gray", scale="channel")
    grey = np.minimum(np.floor(own / own.max() * 256), 255)
    assert np.unique(grey).size > 100
    # In bytes, matplotlib's own "gray" is one level low at 24 of its 256 entries.
    assert np.abs(made.rgba[..., :3].astype(int) - grey[..., None]).max() <= 1


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [None, (7,), (4, 0, 9)])
def test_max_and_mean_over_channels(
    activations: Activations, layer: str, channels: tuple[int, ...] | None
) -> None:
    maps = activations[layer]
    chosen = maps if channels is None else np.stack([maps[..., k] for k in channels], axis=-1)
    rows, columns, count = chosen.shape
    largest, total = chosen[..., 0].copy(), np.zeros((rows, columns))
    for k in range(count):
        largest = np.where(chosen[..., k] > largest, chosen[..., k], largest)
        total += chosen[..., k]
    for mode, expected, tolerance in (("max", largest, 0), ("mean", total / count, 1e-5)):
        made = render(activations, layer, mode, channels=channels, cmap="viridis", scale="layer")
        assert made.values is not None
        assert made.values.dtype == np.float32
        np.testing.assert_allclose(
            made.values, expected, rtol=tolerance, atol=tolerance * np.abs(maps).max()
        )
        assert made.channels == (channels or tuple(range(count)))
        assert made.vmin is not None
        assert made.vmax is not None
        unit = np.clip((made.values - made.vmin) / (made.vmax - made.vmin), 0, 1)
        # A value on the boundary of two colormap entries may round to either.
        off = np.abs(made.rgba.astype(int) - colours(unit, "viridis").astype(int))
        assert off.max() <= 4
        assert (off > 0).mean() < 0.01


@pytest.mark.sampled
@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "features.10", "features.11"])
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("cmap", ["viridis", "gray", "twilight"])
def test_composite_is_the_mean_of_coloured_channels(
    activations: Activations, layer: str, count: int, cmap: str
) -> None:
    channels = lively(activations, layer, count)
    paint = mpl.colormaps[cmap]
    coloured = []
    for k in channels:
        channel = activations[layer][..., k]
        coloured.append(paint(channel / channel.max())[..., :3])
    made = render(activations, layer, "composite", channels=channels, cmap=cmap, scale="channel")
    assert_rgb(made, np.mean(coloured, axis=0))
    assert made.values is None
    assert (made.vmin, made.vmax) == (None, None)


def strongest(activations: Activations, layer: str, count: int) -> tuple[int, ...]:
    peaks = activations[layer].reshape(-1, activations[layer].shape[-1]).max(axis=0)
    return tuple(sorted(range(peaks.size), key=lambda k: -peaks[k])[:count])


@pytest.mark.parametrize(("mode", "count"), [("composite", 6), ("rgb", 3), ("rainbow", 6)])
@pytest.mark.parametrize("channels", [None, ()])
def test_the_most_telling_channels_are_shown_unless_named(
    activations: Activations, mode: str, count: int, channels: tuple[int, ...] | None
) -> None:
    made = render(activations, "block3_conv1", mode, channels=channels)
    assert list(made.channels) == telling_channels(activations, "block3_conv1", count).tolist()
    strong = render(activations, "block3_conv1", mode, channels="strongest")
    assert strong.channels == strongest(activations, "block3_conv1", count)
    named = render(activations, "block3_conv1", mode, channels=made.channels)
    np.testing.assert_array_equal(made.rgba, named.rgba)


@pytest.mark.parametrize("layer", LAYERS)
def test_argmax_tells_which_channel_wins(activations: Activations, layer: str) -> None:
    maps = activations[layer]
    made = render(activations, layer, "argmax")
    assert made.values is not None
    for row in range(0, maps.shape[0], 3):
        for column in range(0, maps.shape[1], 3):
            vector = activations.at(layer, row, column).tolist()
            silent = not any(vector)
            expected = -1 if silent else vector.index(max(vector))
            assert made.values[row, column] == expected
    # Each winner has one colour.
    winners = np.unique(made.values)
    colour_of = {w: {tuple(c) for c in made.rgba[made.values == w]} for w in winners}
    assert all(len(found) == 1 for found in colour_of.values())
    assert (made.cmap, made.vmin, made.vmax) == (None, None, None)


def test_argmax_among_chosen_channels_and_where_none_is_active() -> None:
    maps = np.zeros((2, 2, 5), np.float32)
    maps[0, 0] = (9, 1, 2, 3, 0)
    maps[0, 1] = (9, 5, 0, 0, 1)
    maps[1, 0] = (9, 0, 0, 0, 0.5)
    made = render(make_activations(maps), "conv", "argmax", channels=(1, 3, 4))
    assert made.values is not None
    assert made.values.tolist() == [[3, 1], [4, -1]]
    assert made.rgba[1, 1].tolist() == [0, 0, 0, 255]
    assert made.rgba[:, :, :3].reshape(4, 3)[:3].max(axis=1).min() > 80  # winners are in colour


def test_a_channel_keeps_its_colour_whichever_others_are_chosen() -> None:
    maps = np.zeros((3, 3, 12), np.float32)
    maps[..., 7] = 1
    made = make_activations(maps)
    all_of_them = render(made, "conv", "argmax").rgba
    few = render(made, "conv", "argmax", channels=(2, 7)).rgba
    np.testing.assert_array_equal(all_of_them, few)
    colour = {}
    for k in range(12):
        one = np.zeros((3, 3, 12), np.float32)
        one[..., k] = 1
        colour[k] = tuple(render(make_activations(one), "conv", "argmax").rgba[0, 0].tolist())
    assert len(set(colour.values())) == 12


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1"])
def test_rgb_is_three_channels_as_light(activations: Activations, layer: str) -> None:
    maps = activations[layer]
    channels = lively(activations, layer, 3)
    own = np.stack([maps[..., k] / maps[..., k].max() for k in channels], axis=-1)
    assert_rgb(render(activations, layer, "rgb", channels=channels, scale="channel"), own)
    top = np.percentile(maps[maps > 0], 99.9)
    shared = np.stack([maps[..., k] / top for k in channels], axis=-1)
    assert_rgb(render(activations, layer, "rgb", channels=channels, scale="layer"), shared)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rainbow_adds_each_channels_hue_by_its_activation(
    activations: Activations, count: int
) -> None:
    maps, channels = activations["block1_conv2"], lively(activations, "block1_conv2", count)
    top = np.percentile(maps[maps > 0], 99.9)
    for scale, tops in (
        ("channel", [maps[..., k].max() for k in channels]),
        ("layer", [top] * len(channels)),
    ):
        light = np.zeros((*maps.shape[:2], 3))
        for place, k in enumerate(channels):
            hue = colorsys.hsv_to_rgb(place / len(channels), 1, 1)
            light += np.clip(maps[..., k] / tops[place], 0, 1)[..., None] * hue
        made = render(activations, "block1_conv2", "rainbow", channels=channels, scale=scale)
        assert_rgb(made, light)


@pytest.mark.parametrize("mode", ["rgb", "rainbow", "groups"])
def test_negative_activations_give_no_light(activations: Activations, mode: str) -> None:
    maps = activations[BEFORE_RELU]
    channels = (0, 1, 2)
    made = render(activations, BEFORE_RELU, mode, channels=channels, scale="layer")
    dark = (maps[..., list(channels)] <= 0).all(axis=-1)
    assert dark.any()
    assert (made.rgba[dark][:, :3] == 0).all()


# Which colour is which channel --------------------------------------------------------------------


@pytest.mark.parametrize("layer", [*LAYERS, "block4_conv1"])
def test_the_legend_of_argmax_counts_the_pixels(activations: Activations, layer: str) -> None:
    made = render(activations, layer, "argmax")
    pixels = [tuple(pixel) for pixel in made.rgba.reshape(-1, 4).tolist()]
    assert made.values is not None
    numbers = made.values.ravel().tolist()
    # Count each winner's pixels in the picture alone.
    areas = {number: numbers.count(number) for number in set(numbers)}
    order = sorted((n for n in areas if n >= 0), key=lambda n: (-areas[n], n))
    expected = [(f"channel {number:.0f}", [number]) for number in order[:12]]
    if order[12:]:
        expected.append(("other channels", order[12:]))
    if -1 in areas:
        expected.append(("no channel", [-1]))
    assert [entry.label for entry in made.legend] == [label for label, _ in expected]
    for entry, (_, of) in zip(made.legend, expected, strict=True):
        assert entry.share == sum(areas[number] for number in of) / len(pixels)
        color = tuple(round(255 * part) for part in entry.color)
        assert {color} == {pixels[numbers.index(number)][:3] for number in of}
        assert all(type(part) is float for part in entry.color)
    assert sum(entry.share or 0 for entry in made.legend) == pytest.approx(1)


def test_the_legend_ends_with_the_share_of_no_channel() -> None:
    maps = np.zeros((2, 5, 3), np.float32)
    maps[0, 0, 2] = maps[0, 1, 2] = maps[1, 1, 0] = 1
    made = render(make_activations(maps), "conv", "argmax")
    assert [(e.channel, e.share, e.words) for e in made.legend] == [
        (2, 0.2, "channel 2 · 20%"),
        (0, 0.1, "channel 0 · 10%"),
        (None, 0.7, "no channel · 70%"),
    ]
    assert made.legend[-1].color == (0, 0, 0)


def test_the_legends_of_rgb_and_rainbow_are_the_chosen_channels(activations: Activations) -> None:
    layer, channels = "block2_conv1", (9, 3, 77)
    legend = render(activations, layer, "rgb", channels=channels).legend
    assert [(e.channel, e.color) for e in legend] == [
        (9, (1, 0, 0)),
        (3, (0, 1, 0)),
        (77, (0, 0, 1)),
    ]
    legend = render(activations, layer, "rainbow", channels=(5, 1, 8, 2)).legend
    assert [entry.words for entry in legend] == ["channel 5", "channel 1", "channel 8", "channel 2"]
    for place, entry in enumerate(legend):
        assert entry.color == pytest.approx(colorsys.hsv_to_rgb(place / 4, 1, 1))
        assert entry.share is None
    # Where only one channel is active, the pixel has that channel's colour.
    maps = np.zeros((2, 2, 4), np.float32)
    maps[0, 0, 2] = 1
    made = render(make_activations(maps), "conv", "rainbow", channels=(0, 1, 2), scale="channel")
    assert made.rgba[0, 0, :3].tolist() == [round(255 * part) for part in made.legend[2].color]


@pytest.mark.parametrize("mode", ["channel", "grid", "max", "mean", "composite"])
def test_modes_with_a_colormap_have_no_legend(activations: Activations, mode: str) -> None:
    assert render(activations, "block2_conv1", mode).legend == ()


def test_a_view_shows_the_first_entries_and_where_no_channel_wins() -> None:
    maps = np.zeros((4, 16, 12), np.float32)
    for channel in range(12):
        maps[channel // 4, : 12 - channel, channel] = 1 + channel
    maps[3] = 0
    legend = render(make_activations(maps), "conv", "argmax").legend
    shown, left_out = first_entries(legend, 2)
    assert [entry.channel for entry in shown] == [legend[0].channel, legend[1].channel, None]
    assert left_out == len(legend) - 3 > 0
    assert first_entries(legend[:2], 2) == (legend[:2], 0)


def test_the_colours_of_any_two_channels_can_be_told_apart() -> None:
    from skimage import color

    palette = channel_colors(tuple(range(512)))
    assert channel_colors((511, 7)).tolist() == [palette[511].tolist(), palette[7].tolist()]
    # Black marks where no channel wins.
    lab = color.rgb2lab(np.concatenate([palette, [[0, 0, 0]]])[None] / 255)[0]
    difference = color.deltaE_ciede2000(lab[:, None], lab[None])  # type: ignore[no-untyped-call]
    difference[np.diag_indices(513)] = np.inf
    # In CIEDE2000, a difference of 1 is just noticeable side by side. The 64 channels of the first
    # block are far apart; of the 512 of the last two, no two are alike and few are similar.
    assert difference[:64, :64].min() > 5
    assert difference.min() > 1.5
    assert (difference < 5).mean() < 0.003
    assert difference[-1, :-1].min() > 20
    assert len(np.unique(channel_colors(tuple(range(2048))), axis=0)) == 2048


# The grid ----------------------------------------------------------------------------------------


def hatched(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Draw grey lines from lower left to upper right, about five across the shorter side."""
    drawn = tile.copy()
    step = max(4, min(tile.shape[:2]) // 5)
    for row in range(tile.shape[0]):
        for column in range(tile.shape[1]):
            if (row + column) % step < max(1, step // 6):
                drawn[row, column] = (128, 128, 128, 255)
    return drawn


@pytest.mark.parametrize("layer", LAYERS)
def test_every_tile_of_the_grid_is_its_channel(activations: Activations, layer: str) -> None:
    maps = activations[layer]
    made = render(activations, layer, "grid")
    assert made.tiles is not None
    assert made.values is not None
    assert made.tiles.channels == tuple(range(maps.shape[-1]))
    seen = np.zeros(made.rgba.shape[:2], int)
    for position, channel in enumerate(made.tiles.channels):
        top, left, bottom, right = made.tiles.box(position)
        seen[top:bottom, left:right] += 1
        np.testing.assert_array_equal(made.values[top:bottom, left:right], maps[..., channel])
        expected = render(activations, layer, "channel", channel=channel).rgba
        if not maps[..., channel].any():
            expected = hatched(expected)
        np.testing.assert_array_equal(made.rgba[top:bottom, left:right], expected)
    assert seen.max() == 1  # no two tiles overlap
    assert (made.rgba[seen == 0] == 0).all()  # gaps are transparent
    assert (made.rgba[seen == 1][:, 3] == 255).all()
    # The grid is about as high as wide; 512 tiles are 32 by 16. Each tile counts with its gap.
    height, width = (side + made.tiles.gap for side in made.rgba.shape[:2])
    assert 0.5 <= height / width <= 2


def test_every_pixel_of_the_grid_is_located(activations: Activations) -> None:
    maps = activations["block4_pool"]
    made = render(activations, "block4_pool", "grid", order="mean")
    assert made.tiles is not None
    assert made.values is not None
    assert made.tiles.channels == tuple(activations.rank("block4_pool", "mean").tolist())
    for row in range(-1, made.rgba.shape[0] + 1):
        for column in range(-1, made.rgba.shape[1] + 1):
            found = made.tiles.locate(row, column)
            inside = 0 <= row < made.rgba.shape[0] and 0 <= column < made.rgba.shape[1]
            opaque = inside and made.rgba[row, column, 3] == 255
            assert (found is not None) == opaque, (row, column)
            if found is not None:
                channel, y, x = found
                assert made.values[row, column] == maps[y, x, channel]


def test_a_grid_by_channel_gives_each_tile_its_own_range(activations: Activations) -> None:
    maps = activations["block2_conv2"]
    made = render(activations, "block2_conv2", "grid", scale="channel", cmap="magma")
    assert made.tiles is not None
    assert (made.vmin, made.vmax) == (None, None)
    for position in (0, 17, 127):
        top, left, bottom, right = made.tiles.box(position)
        channel = maps[..., made.tiles.channels[position]]
        np.testing.assert_array_equal(
            made.rgba[top:bottom, left:right], colours(channel / channel.max(), "magma")
        )


@pytest.mark.parametrize("order", ["max", "std", "sparsity", "entropy"])
def test_the_grids_order_is_the_rank_of_the_chosen_channels(
    activations: Activations, order: str
) -> None:
    rank = activations.rank("block2_conv1", order).tolist()
    assert render(activations, "block2_conv1", "grid", order=order).channels == tuple(rank)
    few = render(activations, "block2_conv1", "grid", order=order, channels=(9, 3, 77))
    assert few.channels == tuple(sorted((9, 3, 77), key=rank.index))
    unsorted = render(activations, "block2_conv1", "grid", channels=(9, 3, 77))
    assert unsorted.channels == (9, 3, 77)


@pytest.mark.parametrize("layer", ["block4_conv1", "features.19"])
def test_a_grid_in_the_order_of_a_location(activations: Activations, layer: str) -> None:
    maps = activations[layer]
    made = render(activations, layer, "grid", order="location", location=(3, 5))
    dead = {k for k in range(maps.shape[-1]) if not maps[..., k].any()}
    alive = [k for k in range(maps.shape[-1]) if k not in dead]
    expected = sorted(alive, key=lambda k: -maps[3, 5, k])  # ties by channel number
    assert list(made.channels[: len(alive)]) == expected
    assert list(made.channels[len(alive) :]) == sorted(dead)
    place: Any = np.array([3, 5])
    few = render(activations, layer, "grid", channels=(8, 2, 5), order="location", location=place)
    assert list(few.channels) == [k for k in made.channels if k in (8, 2, 5)]


def test_at_a_location_nan_comes_before_dead_channels() -> None:
    maps = np.zeros((2, 2, 5), np.float32)
    maps[0, 1] = (0, 4, np.nan, -1, 6)
    made = make_activations(maps)
    assert made.rank_at("conv", 0, 1).tolist() == [4, 1, 3, 2, 0]


@pytest.fixture
def half_dead() -> Activations:
    """Return maps of which channels 1, 4 and 5 are 0, and channel 2 is 0 except for one NaN."""
    maps = np.random.default_rng(2).random((4, 5, 6)).astype(np.float32)
    maps[..., [1, 2, 4, 5]] = 0
    maps[0, 0, 2] = np.nan
    return make_activations(maps)


def test_dead_channels_are_left_out_of_a_grid_and_counted(half_dead: Activations) -> None:
    made = render(half_dead, "conv", "grid", hide_dead=True)
    assert made.channels == (0, 2, 3)
    assert made.tiles is not None
    assert made.tiles.channels == (0, 2, 3)
    assert made.hidden == 3
    assert "channels 0, 2, 3" in caption(half_dead, made)
    assert caption(half_dead, made).endswith("3 dead channels hidden")
    some = render(half_dead, "conv", "grid", channels=(4, 3), hide_dead=True)
    assert (some.channels, some.hidden) == ((3,), 1)
    assert caption(half_dead, some).endswith("1 dead channel hidden")
    shown = render(half_dead, "conv", "grid")
    assert (shown.hidden, len(shown.channels)) == (0, 6)
    assert caption(half_dead, shown).endswith("3 of 6 channels dead")
    strongest = render(half_dead, "conv", "grid", order="max", hide_dead=True)
    rank = half_dead.rank("conv", "max").tolist()
    assert list(strongest.channels) == [k for k in rank if k in (0, 2, 3)]


def test_a_layer_of_dead_channels_alone_is_still_shown() -> None:
    made = make_activations(np.zeros((3, 3, 4), np.float32))
    picture = render(made, "conv", "grid", hide_dead=True)
    assert (picture.channels, picture.hidden) == ((0, 1, 2, 3), 0)
    assert caption(made, picture).endswith("all of them dead")


def test_other_modes_leave_no_channel_out(half_dead: Activations) -> None:
    for mode in ("max", "mean", "argmax", "rainbow", "channel"):
        plain = render(half_dead, "conv", mode, channel=4)
        made = render(half_dead, "conv", mode, channel=4, hide_dead=True, order="location")
        assert made.hidden == 0
        np.testing.assert_array_equal(made.rgba, plain.rgba)


@given(
    count=st.integers(1, 40),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    gap=st.integers(0, 3),
    columns=st.integers(1, 12),
)
def test_tiles_lie_side_by_side(
    count: int, height: int, width: int, gap: int, columns: int
) -> None:
    tiles = TileGrid(tuple(range(100, 100 + count)), columns, height, width, gap)
    assert tiles.rows == -(-count // columns)
    for position in range(count):
        top, left, bottom, right = tiles.box(position)
        assert (bottom - top, right - left) == (height, width)
        assert tiles.locate(top, left) == (100 + position, 0, 0)
        assert tiles.locate(bottom - 1, right - 1) == (100 + position, height - 1, width - 1)
        if gap:
            assert tiles.locate(bottom, left) is None
            assert tiles.locate(top, right) is None
        if position % columns:
            assert left - gap == tiles.box(position - 1)[3]
        if position >= columns:
            assert top - gap == tiles.box(position - columns)[2]
    assert tiles.locate(0, -1) is None
    assert tiles.locate(-1, 0) is None
    assert tiles.locate(tiles.rows * (height + gap), 0) is None


# Ranges ------------------------------------------------------------------------------------------


def test_ranges_after_relu_start_at_0(activations: Activations) -> None:
    maps = activations["block3_conv2"]
    (channel,) = lively(activations, "block3_conv2")
    tops = {
        "channel": maps[..., channel].max(),
        "layer": np.percentile(maps[maps > 0], 99.9),
        "network": np.percentile(np.concatenate([m[m > 0] for m in activations.values()]), 99.9),
    }
    assert len({float(top) for top in tops.values()}) == 3
    for scale, top in tops.items():
        made = render(activations, "block3_conv2", channel=channel, scale=scale)
        assert made.vmin == 0
        assert made.vmax == pytest.approx(top, rel=1e-6)
        assert made.scale == scale
        assert made.vmax is not None
        assert made.clipped == (False, bool((maps[..., channel] > made.vmax).any()))


def test_ranges_before_relu_are_symmetric(activations: Activations) -> None:
    maps = activations[BEFORE_RELU]
    channel = int((maps.max(axis=(0, 1)) + maps.min(axis=(0, 1))).argmin())
    assert maps[..., channel].max() < -maps[..., channel].min()
    everything = np.concatenate([m[m > 0] for m in activations.values()])
    tops = {
        "channel": np.abs(maps[..., channel]).max(),
        "layer": np.percentile(np.abs(maps), 99.9),
        "network": np.percentile(everything, 99.9),
    }
    for scale, top in tops.items():
        made = render(activations, BEFORE_RELU, channel=channel, scale=scale, cmap="coolwarm")
        assert made.vmax == pytest.approx(top, rel=1e-6)
        assert made.vmin == -made.vmax  # type: ignore[operator]
        unit = np.clip((maps[..., channel] / np.float32(top) + 1) / 2, 0, 1)
        off = np.abs(made.rgba.astype(int) - colours(unit, "coolwarm").astype(int))
        assert off.max() <= 4


def test_the_same_layer_has_the_same_range_whatever_the_channel(activations: Activations) -> None:
    for layer in ("block3_conv1", BEFORE_RELU):
        for scale in ("layer", "network"):
            ranges = {
                (made.vmin, made.vmax)
                for made in (
                    *(render(activations, layer, channel=k, scale=scale) for k in (0, 8, 99)),
                    render(activations, layer, "max", scale=scale),
                    render(activations, layer, "grid", scale=scale),
                )
            }
            assert len(ranges) == 1


def test_custom_scales_set_percentile_and_gamma(activations: Activations) -> None:
    (channel,) = lively(activations, "block2_conv1")
    own = activations["block2_conv1"][..., channel]
    halved = Scale("channel", 90, 0.5)
    made = render(activations, "block2_conv1", channel=channel, scale=halved, cmap="gray")
    top = np.percentile(own[own > 0], 90)
    assert made.vmax == pytest.approx(top, rel=1e-6)
    assert made.gamma == 0.5
    assert made.clipped == (False, True)
    expected = np.clip(own / top, 0, 1) ** 0.5
    assert np.abs(made.rgba[..., 0] - 255 * expected).max() <= 2.01


def test_a_colormap_object_can_be_passed(activations: Activations) -> None:
    two = ListedColormap(["#000000", "#ff0000"], name="two")
    (channel,) = lively(activations, "block1_conv1")
    made = render(activations, "block1_conv1", channel=channel, cmap=two, scale="channel")
    own = activations["block1_conv1"][..., channel]
    np.testing.assert_array_equal(made.rgba[..., 0] == 255, own >= own.max() / 2)
    assert made.cmap == "two"


@pytest.mark.parametrize("cmap", ["viridis_r", "tab10", "twilight", "gist_ncar", "Set1"])
def test_names_of_matplotlibs_colormaps(activations: Activations, cmap: str) -> None:
    (channel,) = lively(activations, "block1_conv1")
    own = activations["block1_conv1"][..., channel]
    made = render(activations, "block1_conv1", channel=channel, cmap=cmap, scale="channel")
    np.testing.assert_array_equal(made.rgba, colours(own / own.max(), cmap))


# Dead, constant, negative ------------------------------------------------------------------------


def special(kind: str) -> Activations:
    """Return six channels; the first, or each where the kind begins with "all", is of that kind."""
    values = np.random.default_rng(5).random((6, 7, 6)).astype(np.float32) * 4
    level = {"dead": 0.0, "constant": 2.5, "negative": -2.5}[kind.removeprefix("all ")]
    values[..., slice(None) if kind.startswith("all") else 0] = level
    return make_activations(values, before_relu=kind.endswith("negative"))


@pytest.mark.parametrize(
    "kind", ["dead", "all dead", "constant", "all constant", "negative", "all negative"]
)
@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network", Scale("layer", 50, 2.0)])
@pytest.mark.parametrize("mode", BUILT_IN)
def test_flat_channels_give_flat_finite_pictures(kind: str, scale: str | Scale, mode: str) -> None:
    with np.errstate(all="raise"):
        for layer in ("conv", "features.0"):
            channels = (0,) if mode == "channel" else (0, 1, 2)
            made = render(special(kind), layer, mode, scale=scale, channels=channels)
            if made.values is not None:
                assert np.isfinite(made.values).all()
            if made.vmin is not None and made.vmax is not None:
                assert np.isfinite([made.vmin, made.vmax]).all()
            assert made.rgba.dtype == np.uint8
            if mode == "channel" or (kind.startswith("all") and mode != "grid"):
                assert len(np.unique(made.rgba.reshape(-1, 4), axis=0)) == 1
            if made.tiles is not None:
                top, left, bottom, right = made.tiles.box(0)
                tile = made.rgba[top:bottom, left:right].reshape(-1, 4)
                # Only a dead channel is hatched, no other flat one.
                flat = special(kind)[layer][..., 0]
                assert len(np.unique(tile, axis=0)) == (1 if flat.any() else 2)


def test_a_dead_channel_has_the_colormaps_first_colour_and_is_called_dead() -> None:
    first = colours(np.zeros(1), "magma")[0]
    for scale in ("auto", "channel", "layer", "network"):
        made = render(special("dead"), "conv", channel=0, scale=scale)
        np.testing.assert_array_equal(made.rgba, np.broadcast_to(first, (6, 7, 4)))
        assert made.note == "dead"
        assert render(special("dead"), "conv", channel=1, scale=scale).note == ""
    assert "dead" in caption(special("dead"), render(special("dead"), "conv"))
    # An empty range from 0 to 0 is not written.
    source = source_line(special("dead"), render(special("dead"), "conv"))
    assert source.endswith(" · conv · mode channel · nothing above 0")


def test_a_constant_channel_is_called_constant() -> None:
    made = render(special("constant"), "conv", channel=0)
    assert made.note == "constant"
    assert "constant" in caption(special("constant"), made)
    # A channel below 0 everywhere is dead after ReLU, but not before it.
    assert render(special("negative"), "conv", channel=0).note == "dead"
    assert render(special("negative"), "features.0", channel=0).note == "constant"


def test_a_dead_channel_adds_the_colormaps_first_colour_to_a_composite() -> None:
    made = special("dead")
    alive = made["conv"][..., 1]
    paint = mpl.colormaps["viridis"]
    expected = (paint(alive / alive.max())[..., :3] + paint(0.0)[:3]) / 2
    for scale in ("channel", "layer", "network"):
        picture = render(made, "conv", "composite", channels=(0, 1), cmap="viridis", scale=scale)
        assert_rgb(picture, expected)


@given(
    maps=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(3, 9)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    ),
    mode=st.sampled_from(BUILT_IN),
    scale=st.sampled_from(["auto", "channel", "layer", "network"]),
    layer=st.sampled_from(["conv", "features.0"]),
)
def test_any_activations_give_a_picture(maps: Floats, mode: str, scale: str, layer: str) -> None:
    made = make_activations(maps, before_relu=True)
    kept = maps.copy()
    with np.errstate(all="raise", under="ignore"):
        picture = render(made, layer, mode, scale=scale)
    assert picture.rgba.dtype == np.uint8
    assert picture.rgba.shape[2] == 4
    if mode != "grid":
        assert picture.rgba.shape[:2] == maps.shape[:2]
    if picture.vmin is not None and picture.vmax is not None:
        assert picture.vmin == (-picture.vmax if (made[layer] < 0).any() else 0)
    np.testing.assert_array_equal(maps, kept)


@given(
    maps=hnp.arrays(
        np.float32, (4, 5, 3), elements=st.floats(0, 1e6, width=32, allow_subnormal=False)
    )
)
def test_a_larger_activation_is_never_darker_in_grey(maps: Floats) -> None:
    made = make_activations(maps)
    for scale in ("auto", "channel", "layer", "network"):
        picture = render(made, "conv", channel=1, cmap="gray", scale=scale)
        order = np.argsort(maps[..., 1], axis=None, kind="stable")
        assert (np.diff(picture.rgba[..., 0].ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("mode", BUILT_IN)
@pytest.mark.parametrize("channels", [1, 3])
def test_layers_of_few_channels(mode: str, channels: int) -> None:
    maps = np.random.default_rng(1).random((5, 4, channels)).astype(np.float32)
    made = make_activations(maps)
    if mode == "rgb" and channels < 3:
        with pytest.raises(ValueError, match=r"mode 'rgb'.*3"):
            render(made, "conv", mode)
        return
    picture = render(made, "conv", mode)
    assert set(picture.channels) <= set(range(channels))
    assert picture.rgba[..., 3].max() == 255


# Nothing changes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", BUILT_IN)
@pytest.mark.parametrize("layer", ["conv", "features.0", "one"])
def test_render_never_changes_its_input(mode: str, layer: str) -> None:
    random = np.random.default_rng(2)
    maps = random.normal(size=(5, 6, 7)).astype(np.float32)
    three = random.random((5, 6, 3)).astype(np.float32)
    kept = maps.copy(), three.copy()
    made = make_activations(maps, before_relu=True, others={"one": three})
    for scale in ("auto", "channel", "layer", Scale("network", 90, 0.5)):
        picture = render(made, layer, mode, scale=scale)
        # Changing the picture must not change the activations either.
        picture.rgba[:] = 7
        if picture.values is not None and picture.values.flags.writeable:
            picture.values[:] = 7
    np.testing.assert_array_equal(maps, kept[0])
    np.testing.assert_array_equal(three, kept[1])
    untouched = make_activations(kept[0], before_relu=True, others={"one": kept[1]})
    again = render(untouched, layer, mode).rgba
    np.testing.assert_array_equal(render(made, layer, mode).rgba, again)


# Words -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_titles_say_layer_mode_and_channels(activations: Activations) -> None:
    def title(mode: str, **options: Any) -> str:
        return render(activations, "block3_conv1", mode, **options).title

    assert title("channel", channel=17) == "block3_conv1 · channel 17"
    assert title("grid") == "block3_conv1 · 256 channels"
    assert title("max", channels=(1, 2)) == "block3_conv1 · maximum over 2 channels"
    assert title("rgb", channels=(5, 2, 9)) == "block3_conv1 · red, green, blue = 5, 2, 9"
    many = title("composite", channels=range(30))
    assert "0, 1, 2" in many
    assert "…" in many
    assert len(many) < 70


def test_caption_says_shape_and_channels_and_activity_the_numbers(activations: Activations) -> None:
    (channel,) = lively(activations, "block3_conv1")
    picture = render(activations, "block3_conv1", channel=channel)
    own = activations["block3_conv1"][..., channel]
    assert caption(activations, picture) == f"block3_conv1 · 16 × 18 × 256 · channel {channel}"
    assert activity(activations, picture) == " · ".join(
        [
            f"min {own.min():.3g}",
            f"mean {own.mean():.3g}",
            f"max {own.max():.3g}",
            f"{(own > 0).mean():.0%} active",
        ]
    )
    chosen = activations["block1_conv1"][..., [4, 2]]
    picture = render(activations, "block1_conv1", "max", channels=(4, 2))
    assert "channels 4, 2" in caption(activations, picture)
    assert f"mean {chosen.mean():.3g}" in activity(activations, picture)
    assert "all 64 channels" in caption(activations, render(activations, "block1_conv1", "grid"))


def test_source_line_says_weights_layer_mode_and_scale(activations: Activations) -> None:
    def words(mode: str, scale: str | Scale, **more: Any) -> str:
        made = render(activations, "block3_conv1", mode, scale=scale, **more)
        line = source_line(activations, made)
        start = f"{activations.weights.label} · block3_conv1 · mode {mode}"
        assert line.startswith(start)
        if made.vmax is not None:
            assert f", 0 to {plain_number(made.vmax)}" in line
            line = line.replace(f", 0 to {plain_number(made.vmax)}", "")
        return line.removeprefix(start)

    for mode in ("channel", "max", "mean"):
        assert words(mode, "auto") == " · this picture's own range · gamma 0.6"
        assert words(mode, "channel") == " · this picture's own range up to its maximum"
    for mode in ("max", "grid", "rgb"):
        assert words(mode, "layer") == " · one range for the layer"
        assert words(mode, "network") == " · one range for the network"
    for mode in ("grid", "rgb", "rainbow"):
        assert words(mode, "auto") == " · each channel over its own range · gamma 0.6"
        own = " · each channel over its own range up to its maximum"
        assert words(mode, "channel") == own
    brighter = " · each channel over its own range, and the whole made brighter · gamma 0.6"
    assert words("composite", "auto") == brighter
    # These colours do not use gamma.
    textbook = " · each channel over its own maximum"
    assert words("composite", Scale("layer", gamma=0.5)) == textbook
    assert words("argmax", "auto") == ""
    assert words("max", Scale("layer", gamma=0.5)) == " · one range for the layer · gamma 0.5"


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "block3_conv9"}, r"layer 'block3_conv9' .*did you mean 'block3_conv"),
        ({"mode": "chanel"}, r"mode 'chanel' .*did you mean 'channel'\?"),
        ({"mode": "xyz"}, r"mode 'xyz' .*choose one of 'channel', 'grid'"),
        ({"mode": None}, r"mode None "),
        ({"cmap": "virids"}, r"cmap 'virids' .*did you mean 'viridis'\?"),
        ({"cmap": 3}, r"cmap 3 "),
        ({"scale": "layers"}, r"scale 'layers' .*did you mean 'layer'\?"),
        ({"channel": 64}, r"channel 64 .*'block1_conv1'.* 64 channels: .*0 to 63"),
        ({"channel": -1}, r"channel -1 .*0 to 63"),
        ({"channel": 1.5}, r"channel 1\.5 .*whole numbers"),
        ({"channel": True}, r"channel True .*whole numbers"),
        ({"channel": "3"}, r"channel '3' .*whole numbers"),
        ({"channels": (64,)}, r"channels 64 .*0 to 63"),
        ({"channels": ["4"]}, r"channels '4' .*whole"),
        ({"channels": 5}, r"channels 5 is not a list of numbers"),
        ({"channels": (3, 4)}, r"channels has 2 numbers.*'channel' shows one channel: give one"),
        ({"channels": range(64)}, r"channels has 64 .*shows one channel: .* such as 'grid'"),
        ({"mode": "max", "channels": (3, 64)}, r"channels 64 .*0 to 63"),
        ({"mode": "max", "channels": (3, "4")}, r"channels '4' .*whole"),
        ({"mode": "rgb", "channels": (3, 4)}, r"channels has 2 numbers.*'rgb' takes exactly 3"),
        ({"mode": "rgb", "channels": (1, 2, 3, 4)}, r"channels has 4 .*exactly 3"),
        ({"order": "locaton"}, r"order 'locaton' .*did you mean 'location'\?"),
        (
            AT,
            r"no location was given .*64 × 75: pass location=\(row, column\), the row from 0 to 63",
        ),
        ({**AT, "location": (64, 0)}, r"location \(64, 0\) is not in .*column from 0 to 74"),
        ({**AT, "location": (0, -1)}, r"location \(0, -1\) "),
        ({**AT, "location": (0, 1.5)}, r"location \(0, 1\.5\) "),
        ({**AT, "location": (0, True)}, r"location \(0, True\) "),
        ({**AT, "location": (1, 2, 3)}, r"location \(1, 2, 3\) "),
        ({**AT, "location": 5}, r"location 5 "),
        ({**AT, "location": "12"}, r"location '12' "),
    ],
)
def test_each_bad_argument_is_named_with_a_remedy(
    activations: Activations, options: dict[str, Any], message: str
) -> None:
    arguments = {"layer": "block1_conv1", **options}
    with pytest.raises(ValueError, match=message) as caught:
        render(activations, **arguments)
    assert "\n" not in str(caught.value)


def test_a_bad_order_is_named_by_the_arguments_own_name(activations: Activations) -> None:
    with pytest.raises(ValueError, match=r"order 'maxx' .*did you mean 'max'\?"):
        render(activations, "block1_conv1", "grid", order="maxx")


def test_a_bad_order_is_refused_in_every_mode(activations: Activations) -> None:
    with pytest.raises(ValueError, match=r"'maxx' .*did you mean 'max'\?"):
        render(activations, "block1_conv1", "channel", order="maxx")


def test_one_number_for_channels_is_refused(activations: Activations) -> None:
    with pytest.raises((TypeError, ValueError), match=r"channels 5 "):
        render(activations, "block1_conv1", "max", channels=5)  # type: ignore[arg-type]


def test_numpy_numbers_and_iterators_are_channels(activations: Activations) -> None:
    made = render(activations, "block1_conv1", channel=np.int64(3))  # type: ignore[arg-type]
    assert made.channels == (3,)
    assert type(made.channels[0]) is int
    made = render(activations, "block1_conv1", "max", channels=iter(np.array([3, 5])))
    assert made.channels == (3, 5)


@pytest.mark.parametrize("channels", [[101], (101,), {101}, np.array([101]), iter([101])])
def test_one_number_in_channels_is_a_channel(activations: Activations, channels: Any) -> None:
    made = render(activations, "block2_conv1", "channel", channels=channels)
    assert made.channels == (101,)
    np.testing.assert_array_equal(made.values, activations["block2_conv1"][..., 101])


def test_the_same_arguments_serve_every_mode(activations: Activations) -> None:
    shown = {
        mode: render(activations, "block2_conv1", mode, channel=7, channels=(3, 9, 4)).channels
        for mode in BUILT_IN
    }
    assert shown == {mode: (7,) if mode == "channel" else (3, 9, 4) for mode in BUILT_IN}


@pytest.mark.parametrize("channels", [None, (), [], np.array([])])
def test_empty_channels_show_the_first_channel(activations: Activations, channels: Any) -> None:
    assert render(activations, "block2_conv1", channels=channels).channels == (0,)

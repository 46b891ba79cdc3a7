"""`plot`: pictures on plain axes, as matplotlib itself would draw them."""

from __future__ import annotations

import io
import pickle
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tests.conftest import make_activations, pixels_of
from vgg_widget import Activations, plot, render
from vgg_widget.pictures.modes import MODES
from vgg_widget.pictures.scaling import Scale

RGB8 = npt.NDArray[np.uint8]


def square_axes() -> Axes:
    """Return axes of exactly 160×160 pixels, 20 pixels from the left and the bottom."""
    figure = Figure(figsize=(2, 2), dpi=100)
    return figure.add_axes((0.1, 0.1, 0.8, 0.8))


def drawn(ax: Axes) -> RGB8:
    """Return the pixels of the whole figure."""
    assert isinstance(ax.figure, Figure)
    return pixels_of(ax.figure)


def inside(ax: Axes) -> RGB8:
    """Return the pixels within `square_axes`."""
    return drawn(ax)[20:180, 20:180]


@pytest.fixture
def made() -> Activations:
    random = np.random.default_rng(4)
    maps = random.normal(size=(8, 8, 12)).astype(np.float32)
    maps[..., 3] = 0
    return make_activations(maps, before_relu=True, stride=4)


@pytest.mark.parametrize("mode", sorted(set(MODES) - {"grid"}))
def test_every_location_is_a_square_of_its_colour(made: Activations, mode: str) -> None:
    ax = square_axes()
    assert plot(made, "conv", mode, ax=ax, colorbar=False) is ax
    picture = render(made, "conv", mode)
    # 160 pixels for 8 locations: 20 pixels each; the frame of the axes covers the outermost.
    expected = picture.rgba[..., :3].repeat(20, axis=0).repeat(20, axis=1)
    np.testing.assert_array_equal(inside(ax)[2:-2, 2:-2], expected[2:-2, 2:-2])


@pytest.mark.parametrize("layer", ["conv", "features.0"])
@pytest.mark.parametrize("cmap", ["viridis", "gray", "coolwarm"])
def test_it_is_what_imshow_draws(made: Activations, layer: str, cmap: str) -> None:
    plotted, plain = square_axes(), square_axes()
    plot(made, layer, ax=plotted, channel=1, cmap=cmap, scale="channel", colorbar=False)
    values = made[layer][..., 1]
    top = np.abs(values).max()
    low = -top if layer == "features.0" else 0
    plain.imshow(values, cmap=cmap, vmin=low, vmax=top, interpolation="nearest")
    plain.set(xticks=[], yticks=[])
    difference = np.abs(inside(plotted).astype(int) - inside(plain).astype(int))
    # A value on the border of two of the 256 entries may get either colour.
    assert difference.max() <= 6
    assert (difference > 0).mean() < 0.05


def test_a_grid_at_one_pixel_a_location_is_the_rendering() -> None:
    maps = np.random.default_rng(0).random((15, 15, 4)).astype(np.float32)
    made = make_activations(maps)
    picture = render(made, "conv", "grid")
    height, width = picture.rgba.shape[:2]
    assert (height, width) == (31, 31)  # 2×2 tiles and one pixel between them
    figure = Figure(figsize=(1, 1), dpi=62)
    ax = figure.add_axes((0, 0, 1, 1))
    plot(made, "conv", "grid", ax=ax, colorbar=False)
    ax.set_axis_off()
    ax.set_title("")
    expected = picture.rgba.repeat(2, axis=0).repeat(2, axis=1)
    opaque = expected[..., 3] == 255
    np.testing.assert_array_equal(drawn(ax)[opaque], expected[opaque][:, :3])
    assert (drawn(ax)[~opaque] == 255).all()  # the gap is transparent


def test_the_picture_lies_on_the_pixels_that_it_covers(made: Activations) -> None:
    ax = square_axes()
    ax.imshow(np.zeros((35, 34, 3)))
    plot(made, "conv", ax=ax)
    assert list(ax.images[-1].get_extent()) == [-0.5, 31.5, 31.5, -0.5]


def test_title_and_pointer(made: Activations) -> None:
    ax = plot(made, "conv", ax=square_axes(), channel=2)
    assert ax.get_title() == "conv · channel 2"
    value = made["conv"][3, 5, 2]
    assert ax.format_coord(5 * 4 + 1, 3 * 4 + 2) == f"row 3, column 5: {value:.4g}"
    assert plot(made, "conv", ax=square_axes(), channel=3).get_title().endswith("(dead)")
    title = plot(made, "features.0", ax=square_axes()).get_title()
    assert title == "conv before ReLU (features.0) · channel 0"


def test_a_plotted_figure_can_be_pickled(made: Activations) -> None:
    figure = Figure()
    ax = plot(made, "conv", channel=1, ax=figure.subplots())
    again = pickle.loads(pickle.dumps(figure))  # noqa: S301 - made here
    assert again.axes[0].format_coord(9.0, 5.0) == ax.format_coord(9.0, 5.0) != ""
    np.testing.assert_array_equal(pixels_of(again), pixels_of(figure))


# The colorbar ------------------------------------------------------------------------------------


def bar_of(ax: Axes) -> Any:
    (bar,) = [other for other in ax.figure.axes if hasattr(other, "_colorbar")]
    return bar._colorbar


@pytest.mark.parametrize(
    ("options", "extend"),
    [
        ({"layer": "conv", "scale": "channel"}, "neither"),
        ({"layer": "conv", "scale": Scale("channel", 80)}, "max"),
        ({"layer": "features.0", "scale": Scale("channel", 60, 0.5)}, "both"),
        ({"layer": "conv", "mode": "grid", "scale": Scale("layer", 90)}, "max"),
    ],
)
def test_the_colorbar_is_in_activation_units(
    made: Activations, options: dict[str, Any], extend: str
) -> None:
    ax = plot(made, ax=square_axes(), **options)
    picture = render(made, **options)
    bar = bar_of(ax)
    assert bar.extend == extend
    assert bar.ax.get_ylabel() == "activation"
    assert bar.ax.get_ylim() == pytest.approx((picture.vmin, picture.vmax))
    assert picture.values is not None
    assert picture.vmin is not None
    assert picture.vmax is not None
    hatched = 0
    for value, color in zip(
        picture.values.ravel(), picture.rgba.reshape(-1, 4).astype(int), strict=True
    ):
        if color.tolist() == [128, 128, 128, 255]:
            # A line over the tile of a dead channel.
            assert value == 0
            hatched += 1
        elif color[3] == 255 and picture.vmin <= value <= picture.vmax:
            on_bar = bar.cmap(bar.norm(value), bytes=True)
            assert np.abs(np.array(on_bar, dtype=int) - color).max() <= 6
    assert (hatched > 0) == (picture.mode == "grid")


def test_no_colorbar_without_a_range_or_if_switched_off(made: Activations) -> None:
    for mode in ("argmax", "composite", "rgb", "rainbow"):
        # A legend adds no axes.
        assert plot(made, "conv", mode, ax=square_axes()).figure.axes[1:] == []
    for options in ({"colorbar": False}, {"channel": 3, "scale": "channel"}):
        ax = plot(made, "conv", ax=square_axes(), **options)
        assert ax.figure.axes[1:] == []


@pytest.mark.parametrize("levels", [2, 5])
def test_a_custom_colormap_colours_picture_and_colorbar(made: Activations, levels: int) -> None:
    own = ListedColormap([(k / levels, 0, 0.5) for k in range(levels)], name="one of mine")
    coarse = mpl.colormaps["viridis"].resampled(levels)  # the name of a colormap with other colours
    for cmap in (own, coarse):
        ax = plot(made, "conv", ax=square_axes(), cmap=cmap, scale="channel")
        used = {tuple(color) for color in render(made, "conv", cmap=cmap).rgba.reshape(-1, 4)}
        mappable = bar_of(ax).mappable
        assert isinstance(mappable, ScalarMappable)
        on_bar = mappable.get_cmap()(np.linspace(0, 1, 50), bytes=True)
        assert used <= {tuple(color) for color in on_bar}


# The legend --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["argmax", "rgb", "rainbow"])
def test_a_legend_beside_the_axes_lists_the_channels_of_the_colours(
    made: Activations, mode: str
) -> None:
    ax = plot(made, "conv", mode, ax=square_axes())
    entries = render(made, "conv", mode).legend
    legend = ax.get_legend()
    assert legend is not None
    patches, texts = legend.get_patches(), [text.get_text() for text in legend.get_texts()]
    assert [patch.get_facecolor()[:3] for patch in patches[:3]] == [e.color for e in entries[:3]]
    assert texts[:3] == [entry.words for entry in entries[:3]]
    drawn(ax)
    assert legend.get_window_extent().x0 > ax.get_window_extent().x1
    assert plot(made, "conv", mode, ax=square_axes(), colorbar=False).get_legend() is None


def test_a_long_legend_says_how_many_it_leaves_out() -> None:
    maps = np.random.default_rng(0).random((12, 12, 30)).astype(np.float32)
    made = make_activations(maps)
    legend = plot(made, "conv", "argmax", ax=square_axes()).get_legend()
    assert legend is not None
    areas = np.sort(np.bincount(maps.argmax(axis=-1).ravel()))[::-1]
    texts = [text.get_text() for text in legend.get_texts()]
    # Twelve channels have a colour; ten of them are listed.
    assert len(texts) == 12
    assert texts[-2:] == [f"other channels · {areas[12:].sum() / areas.sum():.0%}", "and 2 more"]


def test_a_legend_fits_on_a_new_figure(made: Activations) -> None:
    ax = plot(made, "conv", "argmax")
    drawn(ax)
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x1 <= ax.figure.bbox.x1
    plt.close("all")


# Figures and axes --------------------------------------------------------------------------------


def test_without_axes_it_makes_a_pyplot_figure(made: Activations) -> None:
    assert plt.get_fignums() == []
    ax = plot(made, "conv")
    assert plt.get_fignums() == [ax.figure.number]  # type: ignore[union-attr]
    assert plt.gcf() is ax.figure
    plt.close("all")


def test_with_axes_no_pyplot_figure_is_made(made: Activations) -> None:
    plot(made, "conv", ax=square_axes())
    assert plt.get_fignums() == []


def test_only_the_given_axes_are_drawn_on(made: Activations) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    plot(made, "conv", ax=right, colorbar=False)
    assert not left.images
    assert len(right.images) == 1
    assert len(figure.axes) == 2


def test_axes_in_a_subfigure(made: Activations) -> None:
    figure = Figure(layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]
    ax = plot(made, "conv", ax=left.subplots())
    assert len(left.axes) == 2
    assert not right.axes
    assert ax.figure is left


def test_a_bad_argument_draws_nothing(made: Activations) -> None:
    for options, message in (
        ({"mode": "chanel"}, "did you mean 'channel'"),
        ({"channel": 12}, "choose whole numbers from 0 to 11"),
        ({"cmap": "virids"}, "did you mean 'viridis'"),
        ({"scale": "layr"}, "did you mean 'layer'"),
    ):
        ax = square_axes()
        with pytest.raises(ValueError, match=message):
            plot(made, "conv", ax=ax, **options)
        assert not ax.images
        with pytest.raises(ValueError, match=message):
            plot(made, "conv", **options)
        assert plt.get_fignums() == []


def test_an_unknown_argument_is_named(made: Activations) -> None:
    with pytest.raises(TypeError, match="chanel"):
        plot(made, "conv", ax=square_axes(), chanel=3)


def test_every_option_of_render_is_passed_on(made: Activations) -> None:
    options: dict[str, Any] = {
        "channels": (5, 3, 1, 7),
        "cmap": "magma",
        "scale": "network",
        "order": "location",
        "location": (2, 3),
        "hide_dead": True,
    }
    ax = square_axes()
    plot(made, "conv", "grid", ax=ax, colorbar=False, **options)
    picture = render(made, "conv", "grid", **options)
    assert picture.hidden == 1
    np.testing.assert_array_equal(ax.images[0].get_array(), picture.rgba)


def test_an_image_instead_of_activations_is_refused() -> None:
    with pytest.raises(TypeError, match=r"activations is a str: .*FeatureExtractor\(\)\(image\)"):
        plot("cat.jpg", "block1_conv1")  # type: ignore[arg-type]


def test_the_channel_may_be_named_in_either_way(made: Activations) -> None:
    one = plot(made, "conv", ax=square_axes(), colorbar=False, channel=7)
    other = plot(made, "conv", ax=square_axes(), colorbar=False, channels=[7])
    np.testing.assert_array_equal(inside(one), inside(other))
    ax = square_axes()
    with pytest.raises(ValueError, match=r"channels has 2 numbers.*shows one channel"):
        plot(made, "conv", ax=ax, channels=[7, 8])
    assert not ax.images


@pytest.mark.parametrize(
    ("ax", "message"),
    [
        (
            Figure(),
            r"ax is a Figure: pass plain matplotlib axes",
        ),
        (Figure().subfigures(), r"ax is a SubFigure: pass plain matplotlib axes"),
        (Figure().subplots(1, 2), r"ax is a ndarray: .*one alone, as in axes\.flat\[0\]"),
        (list(Figure().subplots(1, 2)), r"ax is a list: pass plain matplotlib axes"),
        (Figure().add_gridspec(1, 1)[0], r"ax is a SubplotSpec: pass plain matplotlib axes"),
        (plt, r"ax is a module: pass plain matplotlib axes"),
        (7, r"ax is a int: pass plain matplotlib axes"),
    ],
)
def test_objects_other_than_axes_are_refused_with_advice(
    made: Activations, ax: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        plot(made, "conv", ax=ax)
    assert "\n" not in str(caught.value)
    assert not plt.get_fignums()


def removed_axes() -> Any:
    axes = Figure().subplots()
    axes.remove()
    return axes


@pytest.mark.parametrize(
    ("ax", "message"),
    [
        (removed_axes(), r"^ax was removed from its figure: pass plain matplotlib axes"),
        (
            Figure().add_subplot(projection="polar"),
            r"^ax of projection 'polar' is not linear: pass",
        ),
        (Figure().add_subplot(projection="3d"), r"^ax of projection '3d' is not linear: pass"),
        (
            Figure().add_subplot(projection="aitoff"),
            r"^ax of projection 'aitoff' is not linear: pass",
        ),
        (
            Figure().add_subplot(yscale="log"),
            r"^ax of projection 'rectilinear' is not linear: pass",
        ),
    ],
)
def test_axes_that_cannot_show_a_picture_are_refused(
    made: Activations, ax: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plot(made, "conv", ax=ax)
    assert not ax.images


@pytest.mark.parametrize(
    "axes",
    [
        lambda figure: figure.add_subplot(),
        lambda figure: figure.add_subplot(xlim=(3, 9)).inset_axes((0, 0, 0.5, 0.5)),
        lambda figure: figure.subplots().twinx(),
        lambda figure: figure.subfigures().subplots(),
    ],
)
def test_other_axes_are_drawn_on(made: Activations, axes: Any) -> None:
    figure = Figure()
    assert plot(made, "conv", ax=axes(figure), colorbar=False).images
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("release", [(3, 9, 4), (3, 11, 0)])
def test_gaps_darken_no_edge_of_a_tile(
    monkeypatch: pytest.MonkeyPatch, release: tuple[int, ...]
) -> None:
    if mpl.__version_info__ >= (3, 11):
        # A newer matplotlib can draw in the way that older ones require, but not vice versa.
        monkeypatch.setattr(mpl, "__version_info__", release)
    maps = np.random.default_rng(4).random((50, 50, 12), np.float32)
    alive = make_activations(maps, stride=4)
    red = ListedColormap(["#ff0000"])
    assert set(np.unique(render(alive, "conv", "grid", cmap=red).rgba[..., 3])) == {0, 255}
    ax = square_axes()
    plot(alive, "conv", "grid", ax=ax, cmap=red, colorbar=False)
    ax.set_axis_off()
    ax.set_title("")
    red_part, green, blue = np.moveaxis(inside(ax).astype(int), -1, 0)
    # On white, transparent red still has full red: a·(1, 0, 0) + (1 - a)·(1, 1, 1).
    assert red_part.min() >= 254
    np.testing.assert_array_equal(green, blue)
    assert ((green > 20) & (green < 235)).any()

"""Tests of what an explorer shows first, of `channels`, of gamma, and of a grid's rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from traitlets import TraitError

from tests.conftest import make_activations
from vgg_widget import (
    Activations,
    FeatureExtractor,
    LayerExplorer,
    LayerInfo,
    compare,
    load_image,
    render,
    telling_channels,
)
from vgg_widget.activations.telling import first_layer
from vgg_widget.explorer.comparison import Comparison
from vgg_widget.explorer.export import read_state
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.pictures.tiles import about_square
from vgg_widget.support.provenance import Provenance

RGB8 = npt.NDArray[np.uint8]
Look = Callable[..., LayerExplorer]


@pytest.fixture
def look(extractor: FeatureExtractor, photo: RGB8) -> Iterator[Look]:
    """Return a function that makes explorers, by default with no layer or channel given."""
    made: list[LayerExplorer] = []

    def build(image: object = photo, **arguments: Any) -> LayerExplorer:
        made.append(LayerExplorer(image, **{"extractor": extractor, **arguments}))
        return made[-1]

    yield build
    for explorer in made:
        explorer.close()


@pytest.fixture
def together(extractor: FeatureExtractor, photo: RGB8) -> Iterator[Callable[..., Comparison]]:
    made: list[Comparison] = []

    def build(**arguments: Any) -> Comparison:
        mirrored = np.ascontiguousarray(photo[:, ::-1])
        made.append(compare(photo, mirrored, extractor=extractor, **arguments))
        return made[-1]

    yield build
    for comparison in made:
        comparison.close()


# The first layer and channel --------------------------------------------------------------------


def sided(*layers: tuple[str, str, int, int]) -> Activations:
    """Return activations of a 64×64 image for layers given as (name, kind, rows, columns)."""
    infos = [LayerInfo(name, None, kind, 2, 64 // rows) for name, kind, rows, _ in layers]
    maps = {name: np.ones((rows, columns, 2), np.float32) for name, _, rows, columns in layers}
    return Activations(infos, maps, np.zeros((64, 64, 3), np.uint8), Provenance("model", "made"))


@pytest.mark.parametrize("side", [64, 75, 100, 224])
def test_vgg19_begins_at_its_third_block(extractor: FeatureExtractor, side: int) -> None:
    picture = np.zeros((side, side + 31, 3), np.uint8)
    assert first_layer(extractor(picture)) == "block3_conv1"


@pytest.mark.parametrize(
    ("layers", "first"),
    [
        ([("a", "conv", 64, 64), ("b", "conv", 32, 32), ("c", "conv", 16, 16)], "c"),
        ([("a", "conv", 64, 64), ("b", "conv", 16, 16), ("c", "conv", 16, 16)], "b"),
        ([("a", "conv", 64, 64), ("b", "conv", 15, 16), ("c", "conv", 8, 8)], "b"),
        ([("a", "conv", 32, 32), ("pool", "pool", 16, 16), ("b", "conv", 8, 8)], "a"),
        ([("p", "pool", 32, 32), ("q", "pool", 8, 16)], "q"),
        ([("a", "conv", 64, 64)], "a"),
    ],
)
def test_a_custom_model_begins_at_the_layer_nearest_a_quarter_of_the_image(
    layers: list[tuple[str, str, int, int]], first: str
) -> None:
    assert first_layer(sided(*layers)) == first


def test_an_explorer_begins_at_the_most_telling_channel(look: Look) -> None:
    explorer = look()
    assert explorer.layer == "block3_conv1"
    best = telling_channels(explorer.activations, "block3_conv1", 1)[0]
    assert explorer.channel == best
    assert type(explorer.channel) is int
    assert (explorer.mode, explorer.scale, explorer.cmap) == ("channel", "auto", "magma")
    assert explorer.channels == ()
    assert explorer.rendering is not None
    expected = render(explorer.activations, "block3_conv1", channel=best)
    np.testing.assert_array_equal(explorer.rendering.rgba, expected.rgba)


def test_a_comparison_begins_where_an_explorer_of_the_first_does(
    together: Callable[..., Comparison], look: Look
) -> None:
    comparison, explorer = together(), look()
    assert comparison.layer == explorer.layer == "block3_conv1"
    assert comparison.channel == explorer.channel
    assert (comparison.scale, comparison.cmap) == ("auto", "magma")


def test_an_explorer_of_a_small_model_begins_at_its_own_layer(look: Look) -> None:
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="fine"),
            keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu", name="coarse"),
            keras.layers.Conv2D(7, 3, strides=2, padding="same", activation="relu", name="last"),
        ]
    )
    own = FeatureExtractor(model=model, preprocess=lambda pixels: pixels / 255, size=32)
    explorer = look(extractor=own)
    assert explorer.layer == "coarse"
    assert explorer.channel == telling_channels(explorer.activations, "coarse", 1)[0]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("given", "layer", "channel"),
    [
        ({"layer": "block1_conv1", "channel": 0}, "block1_conv1", 0),
        ({"layer": "block5_conv1", "channel": 7}, "block5_conv1", 7),
        ({"channel": 0}, "block3_conv1", 0),
        ({"layer": "block2_conv2"}, "block2_conv2", None),
        ({"layer": "block2_conv2", "channels": (9,)}, "block2_conv2", 9),
        ({"layer": "block2_conv2", "channels": (9,), "mode": "max"}, "block2_conv2", None),
        ({"layer": "block2_conv2", "channels": "strongest"}, "block2_conv2", None),
        ({"layer": "block2_conv2", "channel": 4, "channels": (9,)}, "block2_conv2", 4),
    ],
)
def test_given_arguments_override_the_first_choice(
    look: Look, given: dict[str, Any], layer: str, channel: int | None
) -> None:
    explorer = look(**given)
    telling = telling_channels(explorer.activations, layer, 1)[0]
    assert (explorer.layer, explorer.channel) == (layer, telling if channel is None else channel)
    for name, value in given.items():
        assert getattr(explorer, name) == value


def test_before_a_relu_the_first_channel_follows_the_values_shown(look: Look) -> None:
    explorer = look(layer="block2_conv1", before_relu=True)
    assert explorer.channel == telling_channels(explorer.activations, "features.5", 1)[0]


@pytest.mark.sampled
@pytest.mark.parametrize(
    "given", [{}, {"layer": "block1_conv2", "channel": 3}, {"channels": "strongest"}, {"gamma": 2}]
)
def test_reset_restores_the_first_state(look: Look, given: dict[str, Any]) -> None:
    explorer = look(**given)
    first, picture = explorer.state(), explorer.rendering
    explorer.choose(
        layer="block4_conv1", channel=1, channels=(1, 2, 3), mode="rgb", scale="layer", gamma=0.5
    )
    explorer.cmap = "plasma"
    explorer.reset()
    assert explorer.state() == first
    assert picture is not None
    assert explorer.rendering is not None
    np.testing.assert_array_equal(explorer.rendering.rgba, picture.rgba)


def test_another_picture_keeps_the_layer_and_the_channel(look: Look, photo: RGB8) -> None:
    explorer = look()
    shown = explorer.layer, explorer.channel
    explorer.image = np.ascontiguousarray(photo[::-1] // 3)
    assert (explorer.layer, explorer.channel) == shown


@pytest.mark.parametrize("photograph", ["astronaut", "chelsea", "coffee"])
def test_the_first_map_is_neither_too_dark_nor_too_bright(photograph: str) -> None:
    from skimage import data

    activations = FeatureExtractor("kmeans")(load_image(getattr(data, photograph)()))
    layer = first_layer(activations)
    channel = telling_channels(activations, layer, 1)[0]
    made = render(activations, layer, channel=int(channel))
    luminance = made.rgba[..., :3] / 255 @ (0.2126, 0.7152, 0.0722)
    assert 0.05 <= (luminance > 0.25).mean() <= 0.90


# The trait `channels` and its value "strongest" -------------------------------------------------


@pytest.mark.parametrize(("mode", "count"), [("composite", 6), ("rgb", 3), ("rainbow", 6)])
def test_strongest_shows_the_strongest_channels_of_each_layer(
    look: Look, mode: str, count: int
) -> None:
    explorer = look(mode=mode, channels="strongest")
    for layer in ("block3_conv1", "block1_conv1"):
        explorer.layer = layer
        assert explorer.channels == "strongest"
        assert explorer.rendering is not None
        expected = explorer.activations.rank(layer, "max")[:count].tolist()
        assert list(explorer.rendering.channels) == expected
    explorer.channels = ()
    assert explorer.rendering is not None
    assert list(explorer.rendering.channels) == (
        telling_channels(explorer.activations, "block1_conv1", count).tolist()
    )
    explorer.channels = "strongest"
    assert explorer.rendering is not None
    assert list(explorer.rendering.channels) == expected


def test_modes_that_ignore_channels_keep_the_value_strongest(look: Look) -> None:
    explorer = look(layer="block1_conv1", channels="strongest")
    for mode, shown in (("channel", (explorer.channel,)), ("grid", tuple(range(64)))):
        explorer.mode = mode
        assert explorer.channels == "strongest"
        assert explorer.rendering is not None
        assert explorer.rendering.channels == shown


@pytest.mark.sampled
@pytest.mark.parametrize("bad", ["strong", "1, 2", "STRONGEST", ["strongest"]])
@pytest.mark.parametrize("mode", ["channel", "rainbow"])
def test_any_other_word_is_refused(look: Look, bad: Any, mode: str) -> None:
    explorer = look(mode=mode)
    with pytest.raises(TraitError, match=r"channel numbers, such as .* or 'strongest'"):
        explorer.channels = bad
    assert explorer.channels == ()
    with pytest.raises(TraitError):
        explorer.set_trait("location", "strongest")


@pytest.mark.slow
def test_a_state_and_a_script_keep_the_value_strongest(look: Look, photo: RGB8) -> None:
    explorer = look(mode="rgb", channels="strongest")
    state = json.loads(json.dumps(explorer.state()))
    assert state["channels"] == "strongest"
    again = LayerExplorer.from_state(photo, state, extractor=explorer.extractor)
    try:
        assert again.channels == "strongest"
        assert again.rendering is not None
        assert explorer.rendering is not None
        assert again.rendering.channels == explorer.rendering.channels
    finally:
        again.close()
    assert "channels='strongest'" in explorer.to_code()
    explorer.channels = ()
    assert "channels" not in explorer.to_code()


def test_two_pictures_share_the_strongest_of_both(together: Callable[..., Comparison]) -> None:
    comparison = together(mode="rgb", channels="strongest")
    expected = comparison.pair.pooled.rank(comparison.layer, "max")[:3].tolist()
    assert comparison.renderings is not None
    for made in (comparison.renderings.first, comparison.renderings.second):
        assert list(made.channels) == expected


# Defaults of gamma and scale --------------------------------------------------------------------


def test_gamma_is_the_scales_default_until_it_is_chosen(look: Look) -> None:
    explorer = look()
    assert explorer.gamma is None
    own = {"auto": 0.6, "channel": 1.0, "layer": 1.0, "network": 1.0}
    for scale, gamma in own.items():
        explorer.scale = scale
        assert explorer.rendering is not None
        assert (explorer.gamma, explorer.rendering.gamma) == (None, gamma)
    explorer.gamma = 0.4
    for scale in own:
        explorer.scale = scale
        assert explorer.rendering is not None
        assert explorer.rendering.gamma == 0.4


def test_a_state_of_an_older_version_keeps_its_meaning(look: Look, photo: RGB8) -> None:
    settings = {"layer": "block1_conv1", "channel": 0, "channels": [], "mode": "composite"}
    before = {
        "version": 1,
        **settings,
        "cmap": "viridis",
        "scale": "layer",
        "gamma": 1.0,
        "percentile": None,
        "usual_cmap": "viridis",
    }
    explorer = LayerExplorer.from_state(photo, before, extractor=look().extractor)
    try:
        assert (explorer.scale, explorer.gamma, explorer.cmap) == ("layer", 1.0, "viridis")
        assert (explorer.layer, explorer.channel) == ("block1_conv1", 0)
        assert explorer.rendering is not None
        assert explorer.rendering.gamma == 1.0
    finally:
        explorer.close()
    assert read_state(before, {})["gamma"] == 1.0


def test_a_chosen_gamma_of_1_stays_chosen(look: Look) -> None:
    explorer = look(gamma=1)
    assert explorer.gamma == 1.0
    assert explorer.rendering is not None
    assert explorer.rendering.gamma == 1.0
    assert "gamma=1.0" in explorer.to_code()
    assert "gamma" not in look().to_code()


def test_full_scale_is_a_name_unless_percentile_or_gamma_is_chosen() -> None:
    assert DisplaySettings().full_scale == "auto"
    chosen = DisplaySettings(percentile=90.0).full_scale
    assert not isinstance(chosen, str)
    assert (chosen.scope, chosen.percentile, chosen.gamma) == ("auto", 90.0, 0.6)


# Whole rows of a grid ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "columns"),
    [
        (1, {1}),
        (2, {1, 2}),
        (64, {8}),
        (100, {10}),
        (128, {8, 16}),
        (256, {16}),
        (512, {16, 32}),
        (6, {2, 3}),
        (96, {8, 12}),
    ],
)
def test_square_tiles_fill_whole_rows(count: int, columns: set[int]) -> None:
    assert about_square(count, 1.0) in columns


@pytest.mark.parametrize("count", [7, 13, 31, 61, 127, 251, 509])
def test_a_prime_number_of_tiles_leaves_few_empty(count: int) -> None:
    columns = about_square(count, 1.0)
    rows = -(-count // columns)
    assert 0.5 <= rows / columns <= 2
    # No grid that is as nearly square leaves fewer tiles empty.
    alike = [n for n in range(1, count + 1) if 0.87 <= n / count**0.5 <= 1.15]
    assert rows * columns - count == min(-count % n for n in alike) < columns


@pytest.mark.parametrize("shape", [0.5, 0.75, 1.0, 4 / 3, 2.0])
@pytest.mark.parametrize("count", [3, 12, 30, 64, 97, 100, 128, 192, 256, 384, 512, 1000])
def test_a_grid_is_at_most_four_times_as_long_as_wide(count: int, shape: float) -> None:
    columns = about_square(count, shape)
    rows = -(-count // columns)
    assert 1 <= columns <= count
    # `shape` is a tile's height divided by its width.
    assert 0.24 <= rows * shape / columns <= 4.1
    # No column at the right is empty.
    assert -(-count // rows) <= columns
    whole = [n for n in range(1, count + 1) if count % n == 0]
    square = (count * shape) ** 0.5
    if any(square / 2 <= n <= 2 * square for n in whole):
        assert count % columns == 0


def test_a_layers_grid_has_whole_rows() -> None:
    for count in (64, 128, 256, 512):
        maps = np.ones((2, 2, count), np.float32)
        tiles = render(make_activations(maps), "conv", "grid").tiles
        assert tiles is not None
        assert tiles.rows * tiles.columns == count

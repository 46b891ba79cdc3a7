"""Tests of the first screen: network strip, mode buttons, range, filmstrip and figure."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.brute_force import most_telling
from tests.conftest import make_activations
from tests.explorers import (
    CENTER,
    FIELD,
    STRIDE,
    assert_consistent,
    below,
    control,
    count_messages,
    count_renderings,
    on_canvas,
    with_class,
    words,
)
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, register_mode, render
from vgg_widget.explorer.picture_strip import PictureStrip, thumbnail
from vgg_widget.figure.feature_figure import FeatureFigure, new_figure
from vgg_widget.pictures import MODES

RGB8 = npt.NDArray[np.uint8]
Explore = Callable[..., LayerExplorer]

# VGG19's blocks: the number of convolutions before the pool, and the number of channels.
BLOCKS = {1: (2, 64), 2: (2, 128), 3: (4, 256), 4: (4, 512), 5: (4, 512)}
LAYERS = {
    number: [*(f"block{number}_conv{n}" for n in range(1, count + 1)), f"block{number}_pool"]
    for number, (count, _) in BLOCKS.items()
}
LAYER = "block3_conv1"


def strip(explorer: Any, name: str) -> PictureStrip:
    """Return the row of pictures ``"network"`` or ``"channels"``."""
    found = with_class(explorer, f"vgg-{name}")
    assert isinstance(found, PictureStrip)
    return found


def is_shown(root: Any, widget: Any) -> bool:
    """Tell whether neither a widget nor any of its containers is hidden."""
    if root is widget:
        return True
    return any(
        child.layout.display != "none" and is_shown(child, widget)
        for child in getattr(root, "children", ())
    )


def picture_in(data: bytes) -> RGB8:
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def inner(activations: Activations, layer: str) -> npt.NDArray[np.float32]:
    """Return a layer's maps without the border that padding affects, by VGG19's geometry."""
    maps = activations[layer]
    reach = -(-(FIELD[layer] - 1) // (2 * STRIDE[layer]))
    top, left = min(reach, maps.shape[0] // 4), min(reach, maps.shape[1] // 4)
    return maps[top : maps.shape[0] - top, left : maps.shape[1] - left]


def auto_picture(values: npt.NDArray[np.float32], cmap: str) -> RGB8:
    """Colour a map over its own range, as the scale ``"auto"`` does."""
    top = np.percentile(values[values > 0].astype(np.float64), 99.5)
    unit = np.clip(values / top, 0, 1) ** 0.6
    colours: RGB8 = mpl.colormaps[cmap](unit, bytes=True)[..., :3]
    return colours


def assert_same_colours(found: RGB8, expected: RGB8) -> None:
    assert found.shape == expected.shape
    # A value on the boundary of two colormap entries may round to either.
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 6


# Thumbnails --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 4), (40, 7, 3), (1, 1, 4), (112, 112, 3)])
def test_a_small_picture_keeps_every_pixel(shape: tuple[int, int, int]) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    assert np.array_equal(picture_in(thumbnail(rgba, 112)), rgba[..., :3])


@pytest.mark.parametrize("side", [8, 16])
def test_a_large_picture_is_averaged_down(side: int) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (32, 24, 3), np.uint8)
    factor = 32 // side
    cells = rgb.reshape(32 // factor, factor, 24 // factor, factor, 3).astype(float)
    found = picture_in(thumbnail(rgb, side))
    assert found.shape == (side, side * 3 // 4, 3)
    assert np.abs(found - cells.mean(axis=(1, 3))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("shape", [(113, 50), (50, 113), (224, 225), (1000, 3), (1, 5000)])
def test_no_thumbnail_exceeds_the_given_side(shape: tuple[int, int]) -> None:
    found = picture_in(thumbnail(np.zeros((*shape, 3), np.uint8), 112))
    assert max(found.shape) <= 112
    assert min(found.shape[:2]) >= 1


def test_a_row_is_filled_in_one_message_and_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    row = PictureStrip(label="of a test")
    try:
        sent = count_messages(monkeypatch)
        black = thumbnail(np.zeros((2, 2, 3), np.uint8), 8)
        items, pictures = [{"title": "3", "value": 3}], [black]
        row.fill(items, pictures)
        assert [sorted(message["state"]) for _, message in sent] == [["items", "pictures"]]
        row.fill([dict(items[0])], list(pictures))
        assert len(sent) == 1
    finally:
        row.layout.close()
        row.close()


# The network -------------------------------------------------------------------------------------


def test_every_layer_has_a_button_in_its_block(explore: Explore) -> None:
    picture, *blocks = strip(explore(), "network").items
    assert "value" not in picture
    assert [block["title"] for block in blocks] == [f"block {number}" for number in BLOCKS]
    for number, block in zip(BLOCKS, blocks, strict=True):
        count, channels = BLOCKS[number]
        buttons = block["buttons"]
        assert [one["value"] for one in buttons] == LAYERS[number]
        labels = [*(str(n) for n in range(1, count + 1)), "pool"]
        assert [one["label"] for one in buttons] == labels
        # The photograph is 64 × 75, and every pool halves, rounding down.
        here, after = (
            f"{64 >> halved} × {75 >> halved} × {channels}" for halved in (number - 1, number)
        )
        assert (block["value"], block["note"]) == (LAYERS[number][0], here)
        assert block["tip"] == f"{LAYERS[number][0]} · {here}"
        shapes = [*(here for _ in range(count)), after]
        tips = [f"{name} · {shape}" for name, shape in zip(LAYERS[number], shapes, strict=True)]
        assert [one["tip"] for one in buttons] == tips


def test_strip_and_dropdown_stay_in_step(explore: Explore, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = explore()
    network, layers = strip(explorer, "network"), control(explorer, "layer")
    rendered = count_renderings(monkeypatch)
    assert network.value == layers.value == "block1_conv1"
    network.value = "block4_pool"
    assert explorer.layer == layers.value == "block4_pool"
    layers.value = "block2_conv2"
    assert explorer.layer == network.value == "block2_conv2"
    explorer.layer = "block5_conv4"
    assert network.value == layers.value == "block5_conv4"
    assert rendered == ["block4_pool", "block2_conv2", "block5_conv4"]
    assert_consistent(explorer)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("names", "start", "listed", "before_relu"),
    [
        ("torchvision", "features.1", "features.11", False),
        ("torchvision", "features.0", "features.10", True),
        ("paper", "relu1_1", "relu3_1", False),
        ("paper", "conv1_1", "conv3_1", True),
        ("keras", "features.1", "block3_conv1", False),
    ],
)
def test_the_strip_keeps_the_naming_and_the_side_of_the_relu(
    explore: Explore, names: str, start: str, listed: str, before_relu: bool
) -> None:
    explorer = explore(layer=start, layer_names=names)
    network = strip(explorer, "network")
    assert network.value == "block1_conv1"
    network.value = LAYER
    assert control(explorer, "layer").value == listed
    assert explorer.before_relu is before_relu
    assert explorer.rendering is not None
    assert explorer.rendering.values is not None
    assert bool((explorer.rendering.values < 0).any()) is before_relu
    assert network.value == LAYER


@pytest.mark.parametrize(("count", "shown"), [(30, True), (31, False)])
def test_a_network_of_many_layers_has_the_dropdown_alone(
    photo: RGB8, count: int, shown: bool
) -> None:
    import keras

    layers = [
        keras.layers.Conv2D(1, 1, name=f"layer{number}", kernel_initializer="ones")
        for number in range(count)
    ]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    explorer = LayerExplorer(photo, model=model, size=32)
    try:
        network = strip(explorer, "network")
        assert is_shown(explorer, network) is shown
        values = [one["value"] for item in network.items for one in item.get("buttons", ())]
        assert values == ([f"layer{number}" for number in range(count)] if shown else [])
        control(explorer, "layer").value = "layer7"
        assert explorer.layer == "layer7"
    finally:
        explorer.close()


def test_a_block_shows_its_first_layers_most_telling_channel(
    explore: Explore, activations: Activations, photo: RGB8
) -> None:
    explorer = explore()
    for cmap in ("magma", "viridis"):
        explorer.cmap = cmap
        first, *blocks = [picture_in(data) for data in strip(explorer, "network").pictures]
        assert np.array_equal(first, photo)
        for number, found in zip(BLOCKS, blocks, strict=True):
            layer = LAYERS[number][0]
            maps = activations[layer]
            if number == 1:
                # Only every second row and column of a large map is compared.
                channel = inner(activations, layer)[::2, ::2].std(axis=(0, 1)).argmax()
            else:
                (channel,) = most_telling(inner(activations, layer), 1)
            assert_same_colours(found, auto_picture(maps[..., channel], cmap))


def test_a_block_shows_the_selected_layer(explore: Explore) -> None:
    explorer = explore(layer="block3_conv3")
    network = strip(explorer, "network")
    activations = explorer.activations
    for layer in ("block3_conv3", "block3_pool", "block5_conv4", "block5_pool"):
        explorer.layer = layer
        number = int(layer[5])
        block = network.items[number]
        rows, columns, count = activations[layer].shape
        assert (block["value"], block["note"]) == (layer, f"{rows} × {columns} × {count}")
        (channel,) = most_telling(inner(activations, layer), 1)
        expected = auto_picture(activations[layer][..., channel], explorer.cmap)
        assert_same_colours(picture_in(network.pictures[number]), expected)
        # The other blocks show their first layer again.
        others = [one["value"] for one in network.items[1:] if one is not block]
        assert others == [f"block{n}_conv1" for n in BLOCKS if n != number]


def test_another_image_changes_the_strip(explore: Explore, photo: RGB8) -> None:
    explorer = explore()
    network = strip(explorer, "network")
    before = list(network.pictures)
    explorer.image = photo[:32, ::-1]
    assert np.array_equal(picture_in(network.pictures[0]), photo[:32, ::-1])
    assert all(one != other for one, other in zip(before, network.pictures, strict=True))
    assert network.items[1]["note"] == "32 × 75 × 64"


def test_thumbnails_are_remade_only_when_they_change(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer=LAYER)
    made: list[object] = []

    def counted(rgba: RGB8, side: int) -> bytes:
        made.append(rgba)
        return thumbnail(rgba, side)

    monkeypatch.setattr("vgg_widget.explorer.overview.thumbnail", counted)
    explorer.channel = 5
    control(explorer, "channel").value = 6
    explorer.location = (2, 3)
    explorer.scale = "layer"
    explorer.mode = "max"
    assert made == []
    explorer.mode = "channel"
    assert made == []
    # Another layer changes the filmstrip, but not the network strip.
    explorer.layer = "block2_conv1"
    assert len(made) == 8
    explorer.cmap = "gray"
    assert len(made) == 8 + 6 + 8


# Channels ----------------------------------------------------------------------------------------


def test_the_filmstrip_shows_the_most_telling_channels(
    explore: Explore, activations: Activations
) -> None:
    explorer = explore(layer=LAYER)
    film = strip(explorer, "channels")
    expected = most_telling(inner(activations, LAYER), 8)
    assert [item["value"] for item in film.items] == expected
    assert [item["title"] for item in film.items] == [str(channel) for channel in expected]
    for channel, data in zip(expected, film.pictures, strict=True):
        picture = auto_picture(activations[LAYER][..., channel], "magma")
        assert_same_colours(picture_in(data), picture)
    assert "8 channels that differ most here" in words(explorer)
    explorer.layer = "block4_conv1"
    expected = most_telling(inner(activations, "block4_conv1"), 8)
    assert [item["value"] for item in film.items] == expected


def test_a_click_on_the_filmstrip_shows_its_channel(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer=LAYER)
    film = strip(explorer, "channels")
    third, fourth = (film.items[place]["value"] for place in (2, 3))
    rendered = count_renderings(monkeypatch)
    film.value = third
    assert explorer.channel == control(explorer, "channel").value == third
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (third,)
    control(explorer, "channel").value = fourth
    assert film.value == explorer.channel == fourth
    assert rendered == [LAYER, LAYER]
    assert_consistent(explorer)


def test_all_channels_are_a_click_away(explore: Explore) -> None:
    explorer = explore(layer=LAYER)
    film = strip(explorer, "channels")
    assert is_shown(explorer, film)
    every = control(explorer, "all 256 ▸")
    every.click()
    assert explorer.mode == control(explorer, "mode").value == "grid"
    assert explorer.rendering is not None
    assert explorer.rendering.channels == tuple(range(256))
    for mode in ("grid", "max", "mean", "argmax", "composite", "rgb", "rainbow"):
        explorer.mode = mode
        assert not is_shown(explorer, film), mode
    explorer.layer = "block1_conv2"
    explorer.mode = "channel"
    assert is_shown(explorer, film)
    assert every.description == "all 64 ▸"


def test_the_page_says_what_a_click_does_and_how_to_go_back(explore: Explore) -> None:
    explorer = explore(mode="grid", layer=LAYER)
    assert "click on a tile to open its channel" in words(explorer)
    back = control(explorer, "◂ back")
    explorer.open_channel(17)
    assert "click to keep a location" in words(explorer)
    assert is_shown(explorer, back)
    back.click()
    assert (explorer.mode, explorer.can_go_back) == ("grid", False)
    explorer.mode = "channel"
    assert not is_shown(explorer, back)


def test_a_layer_of_few_channels_shows_them_all(exact: FeatureExtractor, photo: RGB8) -> None:
    explorer = LayerExplorer(photo, extractor=exact, layer="corners")
    try:
        film = strip(explorer, "channels")
        assert sorted(item["value"] for item in film.items) == [0, 1, 2, 3, 4]
        assert control(explorer, "all 5 ▸").description
    finally:
        explorer.close()


# Modes -------------------------------------------------------------------------------------------

BUTTONS = {"channel": "One channel", "grid": "All", "max": "Strongest", "rgb": "Mix"}
OTHERS = ("mean", "argmax", "composite", "rainbow", "groups")


@pytest.mark.slow
def test_every_mode_has_a_button_or_is_one_of_the_others(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(layer="block2_conv1")
    modes = control(explorer, "mode")
    assert dict(modes.buttons.options) == {words: mode for mode, words in BUTTONS.items()}
    assert {mode for _, mode in modes.more.options} == {"", *OTHERS}
    rendered = count_renderings(monkeypatch)
    for mode in (*BUTTONS, *OTHERS, *BUTTONS):
        if mode == explorer.mode:
            continue
        before = len(rendered)
        modes.value = mode
        assert explorer.mode == modes.value == mode
        assert len(rendered) == before + 1
        assert modes.buttons.value == (mode if mode in BUTTONS else None)
        assert modes.more.value == ("" if mode in BUTTONS else mode)
    for mode in (*OTHERS, *BUTTONS):
        explorer.mode = mode
        assert modes.value == mode


def test_the_placeholder_of_the_other_modes_changes_nothing(explore: Explore) -> None:
    explorer = explore(mode="mean")
    modes = control(explorer, "mode")
    before = on_canvas(explorer)
    modes.more.value = ""
    assert explorer.mode == modes.value == "mean"
    assert np.array_equal(on_canvas(explorer), before)


def test_a_registered_mode_is_one_of_the_others(explore: Explore) -> None:
    early = explore()
    try:

        @register_mode("spread")
        def _spread(maps: Any, _: object) -> Any:
            return maps.max(axis=-1) - maps.min(axis=-1)

        late = explore()
        early.channel = 3
        for explorer in (early, late):
            modes = control(explorer, "mode")
            assert "spread" in modes.options
            modes.value = "spread"
            assert explorer.mode == modes.value == "spread"
            assert modes.buttons.value is None
            assert explorer.rendering is not None
            assert "spread" in explorer.rendering.title
    finally:
        del MODES["spread"]


# The range ---------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("scale", ["auto", "channel", "layer", "network"])
def test_the_range_is_chosen_beside_the_picture(explore: Explore, scale: str) -> None:
    explorer: Any = explore(layer=LAYER, channel=4, scale="layer" if scale == "auto" else "auto")
    control(explorer, "range").value = scale
    assert explorer.scale == scale
    maps = explorer.activations
    over = {
        "auto": [maps[LAYER][..., 4]],
        "channel": [maps[LAYER][..., 4]],
        "layer": [maps[LAYER]],
        "network": [maps[name] for name in maps],
    }[scale]
    values = np.concatenate([one[one > 0] for one in over]).astype(np.float64)
    percentile = {"auto": 99.5, "channel": 100}.get(scale, 99.9)
    assert explorer.rendering.vmax == pytest.approx(np.percentile(values, percentile), rel=1e-3)
    assert explorer.rendering.gamma == (0.6 if scale == "auto" else 1)


def test_choosing_a_range_resets_percentile_and_gamma(explore: Explore) -> None:
    explorer: Any = explore(percentile=80.0, gamma=2.0)
    ranges = control(explorer, "range")
    for scale, gamma in (("channel", 1), ("auto", 0.6), ("network", 1)):
        explorer.choose(percentile=80.0, gamma=2.0)
        ranges.value = scale
        assert (explorer.percentile, explorer.gamma) == (None, None)
        assert explorer.rendering.gamma == gamma
    # Setting the trait changes nothing else, and the control follows.
    explorer.gamma = 2.0
    explorer.scale = "layer"
    assert (ranges.value, explorer.gamma) == ("layer", 2.0)


# The figure --------------------------------------------------------------------------------------

SHAPES = {"landscape": (24, 48), "square": (32, 32), "portrait": (48, 32)}


def pixel_boxes(view: FeatureFigure) -> tuple[Any, Any]:
    """Return the boxes of the input and the map, in pixels."""
    return view.input_axes.get_window_extent(), view.map_axes.get_window_extent()


def of_shape(height: int, width: int, channels: int = 3) -> Activations:
    maps = np.random.default_rng(5).random((height, width, channels)).astype(np.float32)
    return make_activations(maps)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("mode", ["channel", "grid"])
def test_input_and_map_keep_their_shapes_and_do_not_overlap(
    shape: tuple[int, int], mode: str
) -> None:
    made = of_shape(*shape, channels=8)
    view = FeatureFigure(new_figure())
    rendering = render(made, "conv", mode)
    view.show(rendering, made.image, 1)
    of_input, of_map = pixel_boxes(view)
    wide, high = view.figure.bbox.size
    for box in (of_input, of_map):
        assert 0 <= box.x0 < box.x1 <= wide
        assert 0 <= box.y0 < box.y1 <= high
    assert of_input.x1 < of_map.x0
    rows, columns = rendering.rgba.shape[:2]
    assert of_input.height / of_input.width == pytest.approx(shape[0] / shape[1], rel=0.02)
    assert of_map.height / of_map.width == pytest.approx(rows / columns, rel=0.02)
    assert of_input.y1 == pytest.approx(of_map.y1, abs=1)
    if mode == "channel":
        assert of_input.y0 == pytest.approx(of_map.y0, abs=1)
    # Only text takes room above and below.
    assert high - max(of_input.height, of_map.height) < 80


def test_the_figure_height_follows_the_picture() -> None:
    heights = {}
    view = FeatureFigure(new_figure())
    width = float(view.figure.bbox.width)
    for name, shape in SHAPES.items():
        made = of_shape(*shape)
        view.show(render(made, "conv"), made.image, 1)
        assert view.figure.bbox.width == width
        heights[name] = view.figure.bbox.height
    assert heights["landscape"] < heights["square"] < heights["portrait"]
    # Even a tall portrait fits on the screen.
    made = of_shape(96, 16)
    view.show(render(made, "conv"), made.image, 1)
    assert view.figure.bbox.height < 0.8 * width


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("conv · channel 0", "conv · channel 0"),
        (f"conv · {'several words ' * 4}· second − first", "conv · second − first"),
        ("x" * 80, None),
        (f"conv · {'x' * 80}", None),
    ],
)
def test_a_long_title_is_shortened_and_never_made_smaller(title: str, shown: str | None) -> None:
    made = of_shape(24, 24, channels=2)
    view = FeatureFigure(new_figure())
    view.show(render(made, "conv", channel=0), made.image, 1)
    size = view.map_axes.title.get_fontsize()
    view.show(replace(render(made, "conv", channel=0), title=title), made.image, 1)
    found = view.map_axes.title.get_text()
    assert view.map_axes.title.get_fontsize() == size
    if shown is None:
        assert found.endswith("…")
        assert title.startswith(found.removesuffix("…"))
    else:
        assert found == shown
    extent = view.map_axes.title.get_window_extent()
    assert extent.x1 <= view.figure.bbox.width


def test_a_grid_takes_three_quarters_of_the_width_or_more() -> None:
    made = of_shape(24, 24, channels=64)
    view = FeatureFigure(new_figure())
    view.show(render(made, "conv", "grid"), made.image, 1)
    of_input, of_map = pixel_boxes(view)
    assert 0.75 <= of_map.width / (of_map.width + of_input.width) < 0.9
    view.show(render(made, "conv"), made.image, 1)
    of_input, of_map = pixel_boxes(view)
    assert of_map.width == pytest.approx(of_input.width, rel=0.3)


def test_another_image_or_mode_gives_the_canvas_another_height(
    explore: Explore, photo: RGB8
) -> None:
    explorer = explore(layer=LAYER)
    wide, high = explorer.canvas.get_width_height()
    explorer.image = photo[:40]
    lower = explorer.canvas.get_width_height()
    assert lower[0] == wide
    assert lower[1] < high
    explorer.image = photo
    assert explorer.canvas.get_width_height() == (wide, high)
    explorer.mode = "grid"
    assert_consistent(explorer)
    explorer.mode = "channel"
    assert explorer.canvas.get_width_height() == (wide, high)
    assert_consistent(explorer)


@pytest.mark.slow
def test_marks_follow_a_change_of_the_image_shape(explore: Explore, photo: RGB8) -> None:
    explorer = explore(layer=LAYER, location=(3, 4))
    explorer.image = photo[:, :40]
    explorer.location = (5, 6)
    assert_consistent(explorer)
    assert CENTER[STRIDE[LAYER]] == 1.5


# The layout of the page --------------------------------------------------------------------------


def test_the_network_is_above_the_picture_and_channels_are_under_it(explore: Explore) -> None:
    explorer = explore()
    order = [*below(explorer)]

    def place(widget: Any) -> int:
        return next(number for number, one in enumerate(order) if one is widget)

    modes = control(explorer, "mode")
    in_order = [
        with_class(explorer, "vgg-notice"),
        strip(explorer, "network"),
        control(explorer, "layer"),
        modes.buttons,
        control(explorer, "colors"),
        control(explorer, "range"),
        explorer.canvas,
        control(explorer, "channel"),
        strip(explorer, "channels"),
        with_class(explorer, "vgg-caption"),
    ]
    places = [place(one) for one in in_order]
    assert places == sorted(places)


def test_an_error_replaces_the_status_line(explore: Explore) -> None:
    explorer = explore(mode="composite")
    error, line = with_class(explorer, "vgg-problem"), with_class(explorer, "vgg-place")
    assert not is_shown(explorer, error)
    assert is_shown(explorer, line)
    control(explorer, "channels").value = "1, 999"
    assert is_shown(explorer, error)
    assert not is_shown(explorer, line)
    children = list(explorer.children)
    assert children.index(line) == children.index(error) + 1
    control(explorer, "channels").value = "1, 9"
    assert not is_shown(explorer, error)
    assert is_shown(explorer, line)


def test_the_notice_is_one_line_with_details(explore: Explore) -> None:
    notice = with_class(explore(), "vgg-notice").value
    summary, _, details = notice.partition("</summary>")
    assert "<b>These weights are random</b>" in summary
    assert summary.endswith("details")
    assert "the network is untrained." in details
    assert "`" not in details
    assert not any(len(word) > 100 for word in details.split())

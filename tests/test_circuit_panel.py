"""Tests of the circuit panel without a browser: its cards, its buttons and its table of sums."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.explorers import made_panel
from tests.standin import Scene, StandIn, show
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, render
from vgg_widget.circuit.inputs import circuit
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.panels.circuit import CircuitPanel, InputCard
from vgg_widget.explorer.settings import DisplaySettings


@pytest.fixture
def host() -> StandIn:
    return StandIn()


@pytest.fixture
def panel(host: StandIn) -> Iterator[CircuitPanel]:
    made = CircuitPanel(host)  # type: ignore[arg-type]
    yield made
    for widget in widgets_of(made.widget):
        widget.close()


@pytest.fixture(scope="module")
def scene(extractor: FeatureExtractor, activations: Activations) -> Scene:
    settings = DisplaySettings("block2_conv1", 10)
    return Scene(settings, activations, render(activations, "block2_conv1", channel=10), extractor)


def at(scene: Scene, **changes: Any) -> Scene:
    return replace(scene, settings=replace(scene.settings, **changes))


def visible_cards(panel: CircuitPanel) -> list[InputCard]:
    return [card for card in panel.cards if card.widget.layout.display != "none"]


def picture(widget: Any) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(bytes(widget.value))) as opened:
        return np.asarray(opened.convert("RGB"))


def test_a_card_for_each_of_the_largest_kernels(
    panel: CircuitPanel, scene: Scene, extractor: FeatureExtractor, activations: Activations
) -> None:
    assert not visible_cards(panel)
    show(panel, scene)
    kernel = extractor.model.get_layer("block2_conv1").get_weights()[0][..., 10]
    squares = np.square(kernel).sum(axis=(0, 1))
    order = np.argsort(-squares)[:6]
    cards = visible_cards(panel)
    assert [card.button.description for card in cards] == [f"channel {n}" for n in order]
    words = panel.heading.value
    assert "block2_conv1 channel 10 reads all 64 channels of block1_pool" in words
    assert f"{squares[order].sum() / squares.sum():.0%} of the sum of squares" in words
    assert "Red weights are positive, blue ones negative" in words
    for card, number in zip(cards, order, strict=True):
        share = squares[number] / squares.sum()
        assert f"norm {squares[number] ** 0.5:.2g} · {share:.0%}" in card.numbers.value
        assert f"channel {number} of block1_pool" in card.map.tooltip
        assert f"kernel 3 × 3 from channel {number}" in card.kernel.tooltip
        # ipywidgets' front end reads the length of the description before it sets a tooltip.
        assert card.map.get_state()["description"] == card.kernel.get_state()["description"] == ""
        # Each cell of the kernel is a square of one colour: red above 0, blue below.
        cells = picture(card.kernel)
        side = cells.shape[0] // 3
        for row, column in np.ndindex(3, 3):
            cell = cells[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert (cell == cell[0, 0]).all()
            red, _, blue = cell[0, 0].astype(int)
            weight = kernel[row, column, number]
            if abs(weight) > 0.1 * np.abs(kernel[..., order]).max():
                assert np.sign(red - blue) == np.sign(weight)
        expected = render(activations, "block1_pool", channel=int(number)).rgba[..., :3]
        shown = picture(card.map)
        times = shown.shape[0] // expected.shape[0]
        np.testing.assert_array_equal(shown[::times, ::times], expected)


def test_maps_have_the_colormap_and_scale_of_the_explorer(
    panel: CircuitPanel, scene: Scene, activations: Activations
) -> None:
    show(panel, at(scene, cmap="magma", scale="channel"))
    found = circuit(scene.extractor, activations, "block2_conv1", 10)
    expected = render(
        activations,
        "block1_pool",
        channel=found.inputs[0].channel,
        cmap="magma",
        scale="channel",
    ).rgba[..., :3]
    shown = picture(panel.cards[0].map)
    times = shown.shape[0] // expected.shape[0]
    np.testing.assert_array_equal(shown[::times, ::times], expected)


@pytest.mark.parametrize(
    ("changes", "cmap"),
    [
        # The inputs are values after a ReLU: a diverging colormap for values before it is replaced.
        ({"before_relu": True, "cmap": "coolwarm"}, "magma"),
        ({"before_relu": False, "cmap": "coolwarm"}, "coolwarm"),
        ({"before_relu": True, "cmap": "plasma"}, "plasma"),
    ],
)
def test_maps_have_the_percentile_and_gamma_of_the_explorer_and_a_fitting_colormap(
    panel: CircuitPanel, scene: Scene, activations: Activations, changes: Any, cmap: str
) -> None:
    show(panel, at(scene, scale="layer", percentile=90.0, gamma=0.5, **changes))
    number = int(panel.cards[0].button.description.removeprefix("channel "))
    values = activations["block1_pool"]
    top = np.percentile(values[values > 0], 90)
    unit = np.clip(values[..., number] / top, 0, 1) ** 0.5
    expected = np.rint(255 * mpl.colormaps[cmap](unit)[..., :3])
    shown = picture(panel.cards[0].map)
    times = shown.shape[0] // expected.shape[0]
    # Rounding may select the neighbouring entry of the colormap.
    assert np.abs(shown[::times, ::times] - expected).max() <= 6


def test_buttons_lead_to_an_input_and_back(
    panel: CircuitPanel, host: StandIn, scene: Scene, activations: Activations
) -> None:
    show(panel, scene)
    found = circuit(scene.extractor, activations, "block2_conv1", 10)
    for card in panel.cards:
        card.button.click()
    assert host.asked == [("block1_pool", one.channel) for one in found.inputs]
    host.asked.clear()
    show(panel, at(scene, layer="block1_pool", channel=3))
    (card,) = visible_cards(panel)
    card.button.click()
    panel.back.click()
    assert host.asked == [("block1_conv2", 3), "back"]
    show(panel, scene)
    # Disabling a button that has the focus would lose the keyboard focus.
    assert not panel.back.disabled
    assert len(visible_cards(panel)) == 6


def test_a_pool_has_one_input_and_no_kernel(panel: CircuitPanel, scene: Scene) -> None:
    show(panel, at(scene, layer="block1_pool", channel=3))
    words = (
        "block1_pool channel 3 is computed from channel 3 of block1_conv2 alone, without a kernel."
    )
    assert words in panel.heading.value
    (card,) = visible_cards(panel)
    assert card.kernel.layout.display == "none"
    assert card.numbers.value == ""
    show(panel, scene)
    assert card.kernel.layout.display != "none"


def test_the_first_layer_reads_the_colours_of_the_picture(
    panel: CircuitPanel, host: StandIn, scene: Scene
) -> None:
    show(panel, at(scene, layer="features.0", channel=3))
    assert "features.0 channel 3 reads the 3 channels of the picture" in panel.heading.value
    cards = visible_cards(panel)
    assert sorted(card.button.description for card in cards) == ["blue", "green", "red"]
    for card in cards:
        # There is no layer below, so the buttons do nothing.
        assert not card.button.disabled
        card.button.click()
    assert host.asked == []


def test_with_a_location_each_card_says_what_it_adds(
    panel: CircuitPanel, scene: Scene, activations: Activations
) -> None:
    before = activations["features.5"][0, 7, 10]
    show(panel, at(scene, location=(0, 7)))
    assert "At (0, 7) all inputs and the bias" in panel.heading.value
    assert f"add up to {before:.3g}, before any" in panel.heading.value
    found = circuit(scene.extractor, activations, "block2_conv1", 10, location=(0, 7))
    for card, one in zip(panel.cards, found.inputs, strict=True):
        assert one.contribution is not None
        assert f"adds {one.contribution:+.2g}<" in card.numbers.value
    show(panel, scene)
    assert "adds" not in "".join(card.numbers.value for card in panel.cards)


def test_in_modes_of_several_channels_it_says_so(panel: CircuitPanel, scene: Scene) -> None:
    show(panel, at(scene, mode="max", channels=(1, 2)))
    assert "block2_conv1 channel 10 reads" in panel.heading.value
    assert "Mode max shows several; this is about one of them" in panel.heading.value
    show(panel, scene)
    assert "Mode" not in panel.heading.value


def test_a_layer_without_kernels_is_reported_and_the_panel_still_works(
    panel: CircuitPanel, scene: Scene, photo: npt.NDArray[np.uint8]
) -> None:
    import keras

    inputs = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(2, 3, name="a>b")(inputs)
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(conv))
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    show(panel, scene)
    rendering = render(activations, "norm")
    show(panel, Scene(DisplaySettings("norm", 0), activations, rendering, extractor))
    assert not visible_cards(panel)
    assert "layer &#x27;norm&#x27; (LayerNormalization) has no kernels" in panel.heading.value
    # Names of the user's layers are escaped.
    assert "a&gt;b" in panel.heading.value
    assert "a>b" not in panel.heading.value
    show(panel, Scene(DisplaySettings("a>b", 1), activations, rendering, extractor))
    assert len(visible_cards(panel)) == 3
    assert "a>b" not in panel.heading.value


def test_showing_the_same_again_sends_nothing(panel: CircuitPanel, scene: Scene) -> None:
    show(panel, scene)
    sent: list[str] = []
    for widget in widgets_of(panel.widget):
        widget.observe(lambda change: sent.append(change["name"]))
    before = widgets_of(panel.widget)
    show(panel, scene)
    assert sent == []
    assert widgets_of(panel.widget) == before


# The sum -----------------------------------------------------------------------------------------


def lines_of(markup: str) -> list[tuple[str, list[list[float]], float]]:
    """Return each line of the table: its text, the numbers of its small tables, and its sum."""
    found = []
    for row in re.findall(r"<tr[^>]*><th scope=\"row\".*?vgg-adds\">[^<]*</td></tr>", markup):
        words = re.search(r"<th[^>]*>([^<]*)</th>", row)
        assert words is not None
        cells = [
            [float(one) for one in re.findall(r"<td[^>]*>(-?[0-9.]+)</td>", table)]
            for table in re.findall(r"<table class=\"vgg-cells\">(.*?)</table>", row)
        ]
        adds = re.findall(r"vgg-adds\">([^<]*)<", row)[-1]
        found.append((words[1], cells, float(adds.replace(",", ""))))
    return found


def test_a_location_shows_the_sum_that_gives_its_value(
    panel: CircuitPanel, scene: Scene, extractor: FeatureExtractor, activations: Activations
) -> None:
    show(panel, scene)
    assert not panel.sum.value
    show(panel, at(scene, location=(3, 4)))
    lines = lines_of(panel.sum.value)
    kernel, bias = extractor.model.get_layer("block2_conv1").get_weights()
    patch = np.pad(activations["block1_pool"], ((1, 1), (1, 1), (0, 0)))[3:6, 4:7]
    adds = (patch.astype(np.float64) * kernel[..., 10]).sum(axis=(0, 1))
    order = np.argsort(-adds, kind="stable")
    named = [one for one in lines if one[1]]
    assert [one[0] for one in named] == [f"channel {n}" for n in (*order[:5], *order[-5:])]
    for (_, (read, weights), part), number in zip(named, (*order[:5], *order[-5:]), strict=True):
        np.testing.assert_allclose(read, patch[..., number].ravel(), rtol=0, atol=2e-3 * max(read))
        largest = np.abs(kernel[..., number, 10]).max()
        np.testing.assert_allclose(
            weights, kernel[..., number, 10].ravel(), rtol=0, atol=1e-3 * largest
        )
        assert part == pytest.approx(adds[number], rel=1e-3)
    words = {one[0]: one[2] for one in lines}
    raising, lowering = int((adds > 0).sum()) - 5, int((adds < 0).sum()) - 5
    of_raising = words[f"{raising} more that raise it"]
    assert of_raising == pytest.approx(adds[order[5 : 5 + raising]].sum(), rel=1e-3)
    assert f"{lowering} more that lower it" in words
    total = adds.sum() + bias[10]
    assert words["sum, in float64"] == pytest.approx(total, rel=1e-6)
    assert words["after the ReLU"] == pytest.approx(max(0, total), rel=1e-6)
    shown = words["displayed, summed by the network in float32"]
    assert shown == pytest.approx(float(activations["block2_conv1"][3, 4, 10]), rel=1e-6)
    # All lines but the totals add up to the sum.
    parts = [one[2] for one in lines[:-3]]
    assert sum(parts) == pytest.approx(total, abs=2e-3 * np.abs(parts).max())


def test_the_first_layer_is_summed_over_the_preprocessed_pixels(
    panel: CircuitPanel, scene: Scene, activations: Activations
) -> None:
    from keras.applications.vgg19 import preprocess_input

    show(panel, at(scene, layer="block1_conv1", channel=2, location=(0, 0)))
    inputs = preprocess_input(activations.image.astype(np.float32)[np.newaxis])[0]
    patch = np.pad(inputs, ((1, 1), (1, 1), (0, 0)))[:3, :3]
    # Keras's order is blue, green, red.
    for name, cells, _ in lines_of(panel.sum.value)[:3]:
        number = ["blue", "green", "red"].index(name)
        np.testing.assert_allclose(cells[0], patch[..., number].ravel(), atol=0.05)
    assert 'class="vgg-padding"' in panel.sum.value


def test_before_the_relu_the_sum_is_the_value_itself(panel: CircuitPanel, scene: Scene) -> None:
    show(panel, at(scene, location=(3, 4), before_relu=True))
    words = [one[0] for one in lines_of(panel.sum.value)]
    assert "after the ReLU" not in words


def test_a_pool_shows_no_sum(panel: CircuitPanel, scene: Scene) -> None:
    show(panel, at(scene, layer="block2_pool", location=(1, 1)))
    assert not panel.sum.value


@pytest.mark.parametrize("count", [3, 9])
def test_nan_weights_are_named_and_no_share_is_nan(count: int, photo: Any) -> None:
    import keras

    inputs = keras.Input((None, None, 3))
    few = keras.layers.Conv2D(1, 1, name="few")
    model = keras.Model(inputs, few(keras.layers.Conv2D(count, 1, name="many")(inputs)))
    kernel = np.ones((1, 1, count, 1), np.float32)
    kernel[0, 0, 2] = np.nan
    few.set_weights([kernel, np.zeros(1)])
    with pytest.warns(UserWarning, match="NaN"):
        explorer = LayerExplorer(photo, model=model, layer="few", panel="Circuit")
    try:
        words = made_panel(explorer, "Circuit").heading.value
        assert "some are NaN or infinite." in words
        assert "nan%" not in words
    finally:
        explorer.close()

"""The explorer's attributions: the map over the input, the panel "Why", and the trait."""

from __future__ import annotations

import gc
import html
import io
import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import ref

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from traitlets import TraitError

from tests.explorers import (
    control,
    hover,
    let_paint,
    made_panel,
    on_canvas,
    press,
    problem,
)
from tests.test_grad_cam import pooled
from vgg_widget import FeatureExtractor, LayerExplorer, compare
from vgg_widget.explorer import attributing
from vgg_widget.gradients import METHODS, Attribution, attribute
from vgg_widget.pictures.coordinates import Hit

Explore = Callable[..., LayerExplorer]
RGB8 = npt.NDArray[np.uint8]

UNIT: dict[str, Any] = {"layer": "block3_conv1", "channel": 10, "location": (7, 6)}
UNITS_METHODS = METHODS[:-1]


@pytest.fixture
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributing, "REST_SECONDS", 0.0)


@pytest.fixture
def active(explore: Explore) -> dict[str, Any]:
    """Return the unit with the largest value, so that its gradient is not 0."""
    explorer = explore(layer="block3_conv1")
    # Only units whose whole receptive field lies in the image.
    maps = explorer.activations["block3_conv1"][4:-4, 4:-4]
    row, column, channel = np.unravel_index(maps.argmax(), maps.shape)
    return {
        "layer": "block3_conv1",
        "channel": int(channel),
        "location": (int(row) + 4, int(column) + 4),
    }


def wait_for_map(explorer: Any) -> None:
    """Wait until the map that the page requested is painted."""
    assert explorer.attributing.wait(60)
    let_paint(explorer)


def has_map(explorer: LayerExplorer) -> bool:
    return explorer.attributed is not None


def shown_map(explorer: LayerExplorer) -> Attribution:
    found = explorer.attributed
    assert found is not None
    return found


def canvas_of(explorer: Any) -> RGB8:
    let_paint(explorer)
    return on_canvas(explorer)


def card_pictures(explorer: Any) -> list[RGB8]:
    """Return the images of the panel's visible cards."""
    pictures = []
    for card in made_panel(explorer, "Why").cards:
        if card.widget.layout.display != "none":
            with Image.open(io.BytesIO(bytes(card.picture.value))) as opened:
                pictures.append(np.asarray(opened.convert("RGB")))
    return pictures


def panel_words(explorer: Any) -> str:
    return html.unescape(str(made_panel(explorer, "Why").words.value))


# The map over the input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.sampled) for m in UNITS_METHODS]
)
def test_the_map_is_that_of_attribute_at_the_location(
    explore: Explore, active: dict[str, Any], method: str
) -> None:
    explorer = explore(**active, attribution=method)
    expected = attribute(
        explorer.extractor,
        explorer.activations,
        active["layer"],
        active["channel"],
        active["location"],
        method=method,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(shown_map(explorer).values, expected.values)
    assert shown_map(explorer).values.any()


def test_the_map_covers_only_the_receptive_field(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    plain = canvas_of(explorer)
    explorer.attribution = "gradient"
    shown = canvas_of(explorer)
    found = shown_map(explorer)
    axes = explorer._view.input_axes
    top, left, bottom, right = found.box
    # A pixel of the image covers several of the canvas: compare the middle of each.
    values = found.values / np.abs(found.values).max()
    changed = 0
    for row in range(0, found.values.shape[0], 3):
        for column in range(0, found.values.shape[1], 3):
            across, up = axes.transData.transform((column, row))
            y, x = int(plain.shape[0] - up), int(across)
            inside = top + 2 <= row < bottom - 2 and left + 2 <= column < right - 2
            outside = row < top - 3 or row > bottom + 2 or column < left - 3 or column > right + 2
            if outside:
                np.testing.assert_array_equal(shown[y, x], plain[y, x])
            if inside and abs(values[row, column]) > 0.3:
                red, _, blue = (shown[y, x].astype(int) - 0.2 * plain[y, x]).tolist()
                assert np.sign(red - blue) == np.sign(values[row, column])
                changed += 1
    assert changed > 3
    explorer.attribution = None
    assert explorer.overlay == 0
    np.testing.assert_array_equal(canvas_of(explorer), plain)


@pytest.mark.slow
def test_the_opacity_is_the_overlays(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    plain = canvas_of(explorer)
    explorer.attribution = "gradient"
    usual = canvas_of(explorer)
    explorer.overlay = 0.8
    np.testing.assert_array_equal(canvas_of(explorer), usual)
    explorer.overlay = 0.3
    assert (canvas_of(explorer) != usual).any()
    # Without attribution and overlay, the figure is as before.
    explorer.choose(attribution=None, overlay=0.0)
    np.testing.assert_array_equal(canvas_of(explorer), plain)


def test_it_follows_location_channel_layer_side_and_picture(
    explore: Explore, active: dict[str, Any], photo: RGB8
) -> None:
    explorer = explore(**active, attribution="gradient")
    before = shown_map(explorer)
    for changes in (
        {"channel": 3},
        {"location": (2, 3)},
        {"before_relu": True},
        {"layer": "block2_conv1"},
        {"location": None},
    ):
        explorer.choose(**changes)
        found = shown_map(explorer)
        assert found is not before
        settings = explorer.settings
        assert (found.layer, found.channel, found.location) == (
            settings.layer_in(explorer.activations),
            settings.channel,
            settings.location,
        )
        before = found
    assert before.box == (0, 0, *explorer.activations.image.shape[:2])
    explorer.image = photo[:, ::-1]
    np.testing.assert_array_equal(
        shown_map(explorer).values,
        attribute(explorer.extractor, explorer.activations, found.layer, explorer.channel).values,
    )


def test_the_trait_is_in_the_state_and_the_code(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active, attribution="occlusion")
    state = json.loads(json.dumps(explorer.state()))
    assert state["attribution"] == "occlusion"
    again = LayerExplorer.from_state(explorer.image, state, extractor=explorer.extractor)
    try:
        np.testing.assert_array_equal(shown_map(again).values, shown_map(explorer).values)
        made: dict[str, Any] = {}
        # The code has a placeholder for an image made in memory.
        code = explorer.to_code()
        code = "\n".join(line for line in code.splitlines() if not line.startswith("image = "))
        exec(  # noqa: S102 - the explorer's own text
            code.replace("activations = extractor(image)", "activations = given"),
            {"given": explorer.activations},
            made,
        )
        np.testing.assert_array_equal(made["found"].values, shown_map(explorer).values)
    finally:
        again.close()
        plt.close("all")
    explorer.reset()
    assert explorer.attribution == "occlusion"


def test_bad_values_are_refused_and_nothing_changes(explore: Explore) -> None:
    explorer = explore(**UNIT)
    with pytest.raises(TraitError, match="attribution 'gradent' is not known: did you mean"):
        explorer.attribution = "gradent"
    with pytest.raises(TraitError, match="attribution_class"):
        explorer.attribution_class = 1.5
    assert explorer.attribution is None
    assert not problem(explorer)
    with pytest.raises(TraitError, match="attribution 'grad_cam' cannot be shown: "):
        explorer.attribution = "grad_cam"
    assert explorer.attribution is None
    assert explorer.overlay == 0


# The panel ---------------------------------------------------------------------------------------


def test_a_key_shows_and_hides_both_panel_and_map(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    assert (explorer.panel, explorer.attribution) == ("Why", "gradient")
    wait_for_map(explorer)
    seen, shown = card_pictures(explorer)
    top, left, bottom, right = shown_map(explorer).box
    expected = explorer.activations.image[top:bottom, left:right]
    times = seen.shape[0] // expected.shape[0]
    np.testing.assert_array_equal(seen[::times, ::times], expected)
    red, blue = (shown[::times, ::times, index].astype(int) for index in (0, 2))
    values = shown_map(explorer).values[top:bottom, left:right]
    strong = np.abs(values) > 0.3 * np.abs(values).max()
    assert (np.sign(red - blue)[strong] == np.sign(values)[strong]).mean() > 0.9
    said = panel_words(explorer)
    assert "100% of the map lies in the receptive field, 24 × 24 pixels." in said
    press(explorer, "w")
    assert (explorer.panel, explorer.attribution, explorer.overlay) == ("", None, 0.0)


def test_opening_the_panel_by_hand_shows_a_map(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    control(explorer, "Why").value = True
    assert explorer.attribution == "gradient"
    wait_for_map(explorer)
    assert len(card_pictures(explorer)) == 2
    control(made_panel(explorer, "Why").widget, "method").value = ""
    assert explorer.attribution is None
    assert not card_pictures(explorer)
    assert "Choose a method" in panel_words(explorer)


def test_a_panel_that_code_opens_changes_nothing(explore: Explore) -> None:
    explorer = explore(**UNIT, panel="Why")
    assert explorer.attribution is None
    assert "Choose a method" in panel_words(explorer)


def test_a_sum_over_the_map_says_how_to_explain_one_unit(
    explore: Explore, active: dict[str, Any]
) -> None:
    explorer = explore(layer=active["layer"], channel=active["channel"], panel="Why")
    explorer.attribution = "gradient"
    assert "sum of the map" in panel_words(explorer)
    assert "Click on a picture to explain one unit." in panel_words(explorer)
    explorer.location = active["location"]
    assert "sum of the map" not in panel_words(explorer)
    assert "Click on a picture" not in panel_words(explorer)


def test_the_panel_says_how_to_explain_a_unit_that_is_0(explore: Explore) -> None:
    explorer = explore(**UNIT, panel="Why")
    maps = explorer.activations["block3_conv1"][..., 10]
    row, column = np.argwhere(maps == 0)[0]
    explorer.choose(location=(int(row), int(column)), attribution="gradient")
    assert "press b" in panel_words(explorer)
    press(explorer, "b")
    wait_for_map(explorer)
    assert shown_map(explorer).value < 0
    assert shown_map(explorer).values.any()
    assert "press b" not in panel_words(explorer)


def test_a_map_with_shuffled_weights_stands_beside_the_true_one(
    explore: Explore, active: dict[str, Any]
) -> None:
    explorer = explore(**active, panel="Why", attribution="gradient")
    choice = control(made_panel(explorer, "Why").widget, "randomised from")
    offered = [value for _, value in choice.options if value]
    names = list(explorer.activations)
    assert offered == names[: names.index("block3_conv1") + 1][::-1]
    choice.value = "block2_conv1"
    wait_for_map(explorer)
    (shuffled,) = explorer.attributing.randomised_maps
    assert shuffled is not None
    expected = attribute(
        explorer.extractor,
        explorer.activations,
        # After a ReLU most units would be 0.
        "features.10",
        active["channel"],
        active["location"],
        randomised="block2_conv1",
    )
    np.testing.assert_array_equal(shuffled.values, expected.values)
    assert len(card_pictures(explorer)) == 3
    # Weights behind the displayed layer have no influence on it.
    explorer.layer = "block1_conv2"
    assert not explorer.attributing.randomised_maps
    assert choice.value == ""


def test_integrated_gradients_say_what_they_add_up_to(
    explore: Explore, active: dict[str, Any]
) -> None:
    explorer = explore(**active, panel="Why", attribution="integrated_gradients")
    assert f"The map adds up to {shown_map(explorer).completeness}" in panel_words(explorer)


# Computing on another thread ---------------------------------------------------------------------


class Slow:
    """A stub of `attribute`, which waits until `may_go_on` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        self.ended: list[type[BaseException] | None] = []
        self.fails: Exception | None = None
        monkeypatch.setattr("vgg_widget.gradients.attribute", self)

    def fail(self) -> None:
        if self.fails is not None:
            raise self.fails

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.threads.append(threading.current_thread())
        self.begun.set()
        try:
            assert self.may_go_on.wait(30)
            self.fail()
            # As after each batch of images.
            if callable(keywords["progress"]):
                keywords["progress"](1, 25)
            found = attribute(*arguments, **keywords)
        except BaseException as error:
            self.ended.append(type(error))
            raise
        self.ended.append(None)
        return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(monkeypatch)


def thread_of(explorer: Any) -> threading.Thread:
    """Return the thread that computes, or is about to."""
    found: threading.Thread = explorer.attributing._later._thread
    return found


def status(explorer: Any) -> str:
    return str(made_panel(explorer, "Why").status.value)


def test_requests_of_the_page_are_computed_on_another_thread(
    explore: Explore, active: dict[str, Any], slow: Slow
) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    assert slow.begun.wait(30)
    assert slow.threads[0] is not threading.main_thread()
    assert not has_map(explorer)
    assert "Computing" in status(explorer)
    # No map of another unit lies over the input, and the explorer responds.
    assert not explorer._view._marks.instead
    first = thread_of(explorer)
    press(explorer, "ArrowRight")
    assert explorer.channel == active["channel"] + 1
    slow.may_go_on.set()
    wait_for_map(explorer)
    first.join(30)
    assert shown_map(explorer).channel == active["channel"] + 1
    # The outdated computation was cancelled.
    assert slow.ended.count(None) == 1
    assert len(slow.ended) == 2
    assert not status(explorer)


def test_another_image_cancels_the_map_and_gets_its_own(
    explore: Explore, active: dict[str, Any], slow: Slow, photo: RGB8
) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    assert slow.begun.wait(30)
    late = thread_of(explorer)
    slow.may_go_on.set()
    explorer.image = photo[::-1]
    late.join(30)
    wait_for_map(explorer)
    expected = attribute(
        explorer.extractor,
        explorer.activations,
        active["layer"],
        active["channel"],
        active["location"],
    )
    np.testing.assert_array_equal(shown_map(explorer).values, expected.values)


def test_maps_of_a_picture_that_is_gone_are_freed(
    explore: Explore, active: dict[str, Any], photo: RGB8
) -> None:
    explorer = explore(**active, attribution="gradient")
    values = ref(shown_map(explorer).values)
    explorer.image = photo[::-1]
    gc.collect()
    assert values() is None


def test_an_uploaded_image_gets_its_own_map(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    wait_for_map(explorer)
    with io.BytesIO() as stream:
        Image.fromarray(np.ascontiguousarray(explorer.image[::-1])).save(stream, "png")
        file = {
            "name": "x.png",
            "type": "image/png",
            "size": 1,
            "content": stream.getvalue(),
            "last_modified": datetime.now(tz=UTC),
        }
    control(explorer, "other picture").value = (file,)
    wait_for_map(explorer)
    expected = attribute(
        explorer.extractor,
        explorer.activations,
        active["layer"],
        active["channel"],
        active["location"],
    )
    np.testing.assert_array_equal(shown_map(explorer).values, expected.values)


def test_closing_cancels_the_computation(
    explore: Explore, active: dict[str, Any], slow: Slow
) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    assert slow.begun.wait(30)
    explorer.close()
    slow.may_go_on.set()
    assert explorer.attributing.wait(30)
    assert None not in slow.ended


def test_an_unexpected_error_is_reported_and_the_map_can_be_requested_again(
    explore: Explore, active: dict[str, Any], slow: Slow
) -> None:
    explorer = explore(**active)
    slow.may_go_on.set()
    slow.fails = MemoryError("no room for this")
    press(explorer, "w")
    wait_for_map(explorer)
    assert "no room for this" in problem(explorer)
    assert not status(explorer)
    slow.fails = None
    press(explorer, "w", "w")
    wait_for_map(explorer)
    assert has_map(explorer)


def test_a_picture_that_is_saved_has_the_map(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active)
    press(explorer, "w")
    asked_by_page = explorer.to_bytes(".png")
    wait_for_map(explorer)
    assert asked_by_page == explorer.to_bytes(".png")
    again = explore(**active, attribution="gradient")
    assert again.to_bytes(".png") == asked_by_page


def test_it_follows_a_resting_mouse_and_returns_to_the_location(
    explore: Explore, active: dict[str, Any]
) -> None:
    explorer = explore(**active, attribution="gradient")
    of_location = shown_map(explorer)
    hover(explorer, Hit("map", 3, 4, active["channel"]))
    wait_for_map(explorer)
    assert shown_map(explorer).location == (3, 4)
    assert explorer.location == active["location"]
    hover(explorer, None)
    assert shown_map(explorer) is of_location


def test_a_mouse_that_moves_or_has_left_changes_nothing(
    explore: Explore, active: dict[str, Any], slow: Slow
) -> None:
    slow.may_go_on.set()
    explorer = explore(**active, attribution="gradient")
    of_location = shown_map(explorer)
    slow.may_go_on.clear()
    hover(explorer, Hit("map", 3, 4, active["channel"]))
    assert slow.begun.wait(30)
    assert shown_map(explorer) is of_location
    hover(explorer, None)
    late = thread_of(explorer)
    slow.may_go_on.set()
    late.join(30)
    assert shown_map(explorer) is of_location
    # A change from code is about the location, wherever the mouse rests.
    hover(explorer, Hit("map", 3, 4, active["channel"]))
    explorer.choose(layer="block5_conv1", attribution="gradient_x_input")
    assert shown_map(explorer).location == explorer.location
    # A grid's tile belongs to another channel.
    explorer.mode = "grid"
    hover(explorer, Hit("map", 0, 0, 3))
    wait_for_map(explorer)
    assert shown_map(explorer).location == explorer.location


def test_an_interrupt_leaves_what_was_on_show(
    explore: Explore, active: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(**active)
    before = canvas_of(explorer)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vgg_widget.gradients.attribute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            explorer.attribution = "gradient"
    assert explorer.attribution is None
    np.testing.assert_array_equal(canvas_of(explorer), before)
    explorer.attribution = "gradient"


# Other networks, two pictures, a class -----------------------------------------------------------


@pytest.fixture
def own(keras: Any) -> Any:
    """Return a model of two branches: one ends in a classifier, the other has no gradient."""
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    which = keras.ops.argmax(stem, axis=-1, keepdims=True)
    which = layers.Lambda(lambda x: keras.ops.cast(x, "float32"), name="which")(which)
    pool = layers.GlobalAveragePooling2D()(stem)
    return keras.Model(inputs, [layers.Dense(3, name="classes")(pool), which])


def test_a_layer_without_a_gradient_is_reported(own: Any, photo: RGB8, explore: Explore) -> None:
    explorer = explore(
        photo, extractor=None, model=own, size=32, layer="which", location=(3, 3), panel="Why"
    )
    with pytest.raises(
        TraitError, match=r"'gradient' cannot be shown: .*has no gradient.*occlusion"
    ):
        explorer.attribution = "gradient"
    assert explorer.attribution is None
    explorer.layer = "stem"
    explorer.attribution = "gradient"
    # Choosing such a layer later is not an error.
    explorer.layer = "which"
    assert explorer.attribution == "gradient"
    assert not has_map(explorer)
    assert "has no gradient" in panel_words(explorer)
    explorer.attribution = "occlusion"


def test_a_class_is_the_most_probable_until_another_is_named(
    keras: Any, photo: RGB8, explore: Explore
) -> None:
    model = pooled(keras)
    explorer = explore(
        photo, extractor=None, model=model, layer="last", panel="Why", attribution="grad_cam"
    )
    scores = np.asarray(model(explorer.activations.image[None].astype(np.float32)))[0]
    assert shown_map(explorer).target.startswith(f"class 'class {scores.argmax()}'")
    field = control(made_panel(explorer, "Why").widget, "class")
    assert field.layout.display != "none"
    field.value = "2"
    wait_for_map(explorer)
    assert explorer.attribution_class == 2
    expected = attribute(
        explorer.extractor, explorer.activations, "last", method="grad_cam", target=2
    )
    np.testing.assert_array_equal(shown_map(explorer).values, expected.values)
    field.value = "tabby"
    wait_for_map(explorer)
    assert "target 'tabby' is not a class of this model" in panel_words(explorer)
    explorer.attribution_class = None
    with pytest.raises(TraitError, match=r"'grad_cam' cannot be shown: target 99 is not a class"):
        explorer.attribution_class = 99
    assert explorer.attribution_class is None


def test_grad_cam_is_not_offered_without_a_classifier(explore: Explore) -> None:
    explorer = explore(**UNIT, panel="Why")
    method = control(made_panel(explorer, "Why").widget, "method")
    assert [value for _, value in method.options] == ["", *UNITS_METHODS]


def test_two_pictures_have_a_map_each_over_one_range(
    extractor: FeatureExtractor, photo: RGB8, active: dict[str, Any]
) -> None:
    both = compare(
        photo, photo[:, ::-1], extractor=extractor, **active, attribution="gradient", panel="Why"
    )
    try:
        for found, one in zip(both.attributed, (both.pair.first, both.pair.second), strict=True):
            assert found is not None
            expected = attribute(
                extractor, one, active["layer"], active["channel"], active["location"]
            )
            np.testing.assert_array_equal(found.values, expected.values)
        assert len(card_pictures(both)) == 4
        shown, other = both._view._marks.instead
        first, second = both.attributed
        assert first is not None
        assert second is not None
        # The same value has the same colour in both.
        cmap = mpl.colormaps["RdBu_r"]
        inside = np.concatenate([np.abs(one.values)[one.values != 0] for one in (first, second)])
        top = float(np.percentile(inside, 99.5))
        for rgba, found in ((shown.rgba, first), (other.rgba, second)):
            row, column = np.unravel_index(found.values.argmax(), found.values.shape)
            share = min(1.0, float(found.values[row, column]) / top) ** 0.6
            expected_colour = np.array(cmap((share + 1) / 2)[:3]) * 255
            assert np.abs(rgba[row, column, :3] - expected_colour).max() <= 3
        lines = both.to_code().splitlines()
        assert sum("attribute(extractor, both." in line for line in lines) == 2
    finally:
        both.close()


def test_an_html_page_has_no_attribution_overlay(explore: Explore, active: dict[str, Any]) -> None:
    explorer = explore(**active, attribution="gradient")
    page = explorer.to_html(layers="block3_conv1")
    (overlay,) = re.findall(r'"overlay":\s*([0-9.]+)', page)
    assert float(overlay) == 0

"""Tests of the panels that compute images: "Looks for" and "What is left"."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.conftest import networks_apart
from tests.explorers import control, made_panel, problem, words
from vgg_widget import FeatureExtractor, LayerExplorer, telling_channels
from vgg_widget.explorer.panels import looks_for, what_is_left
from vgg_widget.gradients import channel_images, kept, reconstruct, visualize_channel
from vgg_widget.gradients.reconstruction import ReconstructionMaking
from vgg_widget.gradients.synthesis import ChannelMaking

Explore = Callable[..., LayerExplorer]
RGB8 = npt.NDArray[np.uint8]

LAYER = "block2_conv1"
STEPS = 32


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take few steps, and store images in this test's own folder."""
    monkeypatch.setattr(looks_for, "_STEPS", STEPS)
    monkeypatch.setattr(what_is_left, "_STEPS", STEPS)
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "channels")
    monkeypatch.setattr(kept, "reconstructions_folder", lambda: tmp_path / "reconstructions")
    return tmp_path / "channels"


def picture(card: Any) -> RGB8:
    with Image.open(io.BytesIO(bytes(card.picture.value))) as opened:
        return np.asarray(opened.convert("RGB"))


def assert_shows(card: Any, image: RGB8) -> None:
    """Assert that a card shows these pixels, each enlarged to a square."""
    shown = picture(card)
    times = shown.shape[0] // image.shape[0]
    assert times >= 1
    np.testing.assert_array_equal(shown[::times, ::times], image)


def open_looks_for(explore: Explore, **more: Any) -> tuple[LayerExplorer, Any]:
    explorer = explore(**{"layer": LAYER, "channel": 5, "panel": "Looks for", **more})
    return explorer, made_panel(explorer, "Looks for")


def on_show(panel: Any) -> list[Any]:
    return [card for card in panel.cards if card.widget.layout.display != "none"]


# What a channel looks for ------------------------------------------------------------------------


def test_a_click_makes_what_visualize_channel_makes(explore: Explore) -> None:
    explorer, panel = open_looks_for(explore)
    assert "to which channel 5 of block2_conv1 responds" in words(panel.widget)
    assert not on_show(panel)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    expected = visualize_channel(explorer.extractor, LAYER, 5, steps=STEPS, progress=False)
    (card,) = on_show(panel)
    assert isinstance(expected.image, np.ndarray)
    assert_shows(card.made, expected.image)
    assert f"made: {expected.activation:.3g}" in card.made.line.value
    assert "An optimised picture is a hypothesis" in words(panel.widget)
    # The real patch is the receptive field of the strongest unit on this picture.
    maps = explorer.activations[LAYER][..., 5]
    row, column = (int(n) for n in np.unravel_index(maps.argmax(), maps.shape))
    top, left, bottom, right = explorer.activations.info(LAYER).receptive_field_box(
        row, column, explorer.activations.image.shape[:2]
    )
    assert_shows(card.real, explorer.activations.image[top:bottom, left:right])
    assert f"strongest on this picture: {maps.max():.3g}" in card.real.line.value


def test_a_mode_of_several_channels_says_which_channel_it_is_about(explore: Explore) -> None:
    explorer, panel = open_looks_for(explore, mode="groups")
    assert "this is about channel 5.)" in words(panel.widget)
    explorer.mode = "channel"
    assert "this is about" not in words(panel.widget)


def test_stopping_and_resuming_gives_the_same_image(explore: Explore) -> None:
    explorer, panel = open_looks_for(explore)
    made: list[int] = []
    real = panel._images_made

    def stop_first(wish: Any, images: Any) -> None:
        made.append(images[0].steps)
        real(wish, images)
        if len(made) == 1:
            panel.toggle()

    panel._images_made = stop_first
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert made == [16]
    assert panel.button.description == "resume"
    control(panel.widget, "resume").click()
    assert panel.maker.wait(120)
    assert made == [16, 32]
    expected = visualize_channel(explorer.extractor, LAYER, 5, steps=STEPS, progress=False)
    assert isinstance(expected.image, np.ndarray)
    assert_shows(on_show(panel)[0].made, expected.image)


def test_a_finished_image_is_cached_and_shown_again_at_once(
    explore: Explore, few_steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, panel = open_looks_for(explore)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    before = picture(on_show(panel)[0].made)
    (file,) = few_steps.iterdir()
    monkeypatch.setattr(looks_for, "ChannelMaking", lambda *_, **__: pytest.fail("made again"))
    _, again = open_looks_for(explore)
    np.testing.assert_array_equal(picture(on_show(again)[0].made), before)
    # A damaged file is ignored.
    file.write_bytes(b"\x89PNG damaged")
    _, third = open_looks_for(explore)
    assert not on_show(third)


class Held:
    """A stub of `making.step` that waits in step number `at` until `may_end` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, making: Any, at: int = 1) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.steps = 0
        real = making.step

        def step(making: Any) -> None:
            self.steps += 1
            if self.steps == at:
                self.begun.set()
                assert self.may_end.wait(60)
            real(making)

        monkeypatch.setattr(making, "step", step)


@pytest.mark.parametrize("end", ["channel", "panel", "close"])
def test_another_channel_folding_and_closing_stop_the_computation(
    explore: Explore, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    explorer, panel = open_looks_for(explore)
    held = Held(monkeypatch, ChannelMaking)
    control(panel.widget, "start").click()
    assert held.begun.wait(60)
    if end == "close":
        explorer.close()
    else:
        explorer.choose(**{end: 6 if end == "channel" else ""})
    held.may_end.set()
    assert panel.maker.wait(120)
    assert held.steps == 1
    assert not panel.maker.running


def test_a_stop_in_the_last_step_loses_nothing(
    explore: Explore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, panel = open_looks_for(explore)
    held = Held(monkeypatch, ChannelMaking, at=STEPS)
    control(panel.widget, "start").click()
    assert held.begun.wait(60)
    control(panel.widget, "stop").click()
    held.may_end.set()
    assert panel.maker.wait(120)
    control(panel.widget, "resume").click()
    assert panel.maker.wait(120)
    assert held.steps == STEPS
    assert not panel.maker.running
    assert panel.another.layout.display != "none"


def test_the_cache_depends_on_network_and_preprocessing(photo: RGB8) -> None:
    extractor = FeatureExtractor("random", size=32)
    made = visualize_channel(extractor, LAYER, 5, steps=2, progress=False)
    assert kept.KeptImages(extractor).keep(made) is not None
    found = kept.KeptImages(FeatureExtractor("random")).find(LAYER, 5, steps=2)
    assert found is not None
    np.testing.assert_array_equal(found.image, made.image)
    assert (found.activation, found.history, found.box) == (
        made.activation,
        made.history,
        made.box,
    )
    for other in (
        FeatureExtractor("kmeans", size=32),
        FeatureExtractor("random", preprocess=lambda image: image / 255, size=32),
    ):
        assert kept.KeptImages(other).find(LAYER, 5, steps=2) is None
    again = kept.KeptImages(extractor)
    for asked in ({"steps": 3}, {"steps": 2, "seed": 1}, {"steps": 2, "size": 48}):
        assert again.find(LAYER, 5, **asked) is None


def test_a_model_that_is_trained_further_gets_new_images(
    explore: Explore, photo: RGB8, few_steps: Path
) -> None:
    import keras

    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="a")])
    extractor = FeatureExtractor(model=model, size=32)
    explorer, panel = open_looks_for(
        explore, image=photo, extractor=extractor, layer="a", channel=1
    )
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    before = picture(on_show(panel)[0].made)
    (file,) = few_steps.iterdir()
    model.weights[0].assign(-model.weights[0].numpy())
    explorer.image = photo[::-1].copy()
    assert not on_show(panel)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert (picture(on_show(panel)[0].made) != before).any()
    assert len(list(few_steps.iterdir())) == 2
    assert file.exists()
    # An image finished while the model is trained belongs to neither network.
    control(panel.widget, "another seed").click()
    model.weights[0].assign(2 * model.weights[0].numpy())
    assert panel.maker.wait(120)
    assert len(list(few_steps.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("Looks for", "has NaN or infinite values or gradients"),
        # TensorFlow's ReLU turns NaN into 0.
        ("What is left", "is 0 wherever it is to be matched|has NaN or infinite values"),
    ],
)
def test_weights_of_nan_are_reported(
    explore: Explore, photo: RGB8, title: str, sentence: str
) -> None:
    with networks_apart():
        extractor = FeatureExtractor("random", size=32)
    kernels = extractor.model.get_layer("block1_conv2")
    kernels.set_weights([np.full_like(one, np.nan) for one in kernels.get_weights()])
    with pytest.warns(UserWarning, match="are NaN or infinite"):
        explorer = explore(photo, extractor=extractor, layer=LAYER, channel=5, panel=title)
    panel = made_panel(explorer, title)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert re.search(sentence, problem(explorer))
    assert not panel.maker.running
    assert panel.button.description == "start"


def test_an_inactive_channel_has_no_patch_of_the_picture(explore: Explore) -> None:
    explorer, panel = open_looks_for(explore)
    before = explorer.activations["features.5"]
    never = int(before.max(axis=(0, 1)).argmin())
    assert before[..., never].max() <= 0
    explorer.channel = never
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    (card,) = on_show(panel)
    assert card.real.widget.layout.display == "none"


@pytest.mark.slow
def test_the_strips_channels_are_made_together(explore: Explore) -> None:
    explorer, panel = open_looks_for(explore)
    control(panel.widget, "8 channels that differ most").click()
    assert panel.button.description == "stop"
    assert panel.maker.wait(240)
    numbers = telling_channels(explorer.activations, LAYER, 8).tolist()
    assert [card.button.description for card in on_show(panel)] == [
        f"channel {number}" for number in numbers
    ]
    *_, expected = channel_images(explorer.extractor, LAYER, numbers, steps=STEPS)
    for card, one in zip(on_show(panel), expected, strict=True):
        assert_shows(card.made, one.image)
    on_show(panel)[3].button.click()
    assert explorer.channel == numbers[3]
    # All cards stay, and the chosen one can be shown alone.
    assert len(on_show(panel)) == 8
    control(panel.widget, "only this channel").click()
    (card,) = on_show(panel)
    assert_shows(card.made, expected[3].image)
    assert not panel.maker.running
    explorer.back()


def test_another_seed_gives_another_image(explore: Explore) -> None:
    _, panel = open_looks_for(explore)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    before = picture(on_show(panel)[0].made)
    control(panel.widget, "another seed").click()
    assert panel.maker.wait(120)
    assert (picture(on_show(panel)[0].made) != before).any()


def test_the_strongest_patches_of_a_set_are_shown(
    explore: Explore, photo: RGB8, tmp_path: Path
) -> None:
    from vgg_widget.dataset import top_activations

    extractor = FeatureExtractor("random", size=32)
    for number, pixels in enumerate((photo, photo[:, ::-1], photo[::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{number}.png")
    top = top_activations(extractor, sorted(tmp_path.glob("*.png")), k=2, progress=False)
    explorer = explore(photo, extractor=extractor, layer=LAYER, channel=5, top_images=top)
    explorer.panel = "Looks for"
    panel = made_panel(explorer, "Looks for")
    shown = [one for one in panel.patches if one.widget.layout.display != "none"]
    assert len(shown) == len(top[LAYER].places(5)) == 2
    for rank, card in enumerate(shown):
        assert_shows(card, top.patch(LAYER, 5, rank))


# What is left of the picture ---------------------------------------------------------------------


def open_what_is_left(explore: Explore, **more: Any) -> tuple[LayerExplorer, Any]:
    explorer = explore(**{"layer": LAYER, "channel": 3, "panel": "What is left", **more})
    return explorer, made_panel(explorer, "What is left")


@pytest.mark.parametrize(
    ("of", "asked"),
    [
        ("all", {}),
        pytest.param("channel", {"channels": [3]}, marks=pytest.mark.slow),
        pytest.param("location", {"location": (6, 7)}, marks=pytest.mark.slow),
        pytest.param("style", {"match": "style"}, marks=pytest.mark.slow),
    ],
)
def test_a_click_makes_what_reconstruct_makes(explore: Explore, of: str, asked: Any) -> None:
    explorer, panel = open_what_is_left(explore, location=(6, 7))
    panel.which.value = of
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    expected = reconstruct(
        explorer.extractor, explorer.activations, LAYER, steps=STEPS, progress=False, **asked
    )
    assert_shows(panel.given, explorer.activations.image)
    assert_shows(panel.made, expected.image)
    assert expected.caption.split(":")[0] in words(panel.widget)
    assert panel.button.layout.display == "none"


def test_another_picture_hides_the_image(explore: Explore, photo: RGB8) -> None:
    explorer, panel = open_what_is_left(explore)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert panel.made.widget.layout.display != "none"
    explorer.image = photo[::-1]
    assert panel.made.widget.layout.display == "none"
    assert_shows(panel.given, explorer.activations.image)
    assert panel.button.description == "start"


def test_a_finished_reconstruction_is_cached_and_shown_again_at_once(
    explore: Explore, photo: RGB8, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer, panel = open_what_is_left(explore)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    before, text = picture(panel.made), words(panel.widget)
    (file,) = (tmp_path / "reconstructions").iterdir()
    monkeypatch.setattr(what_is_left, "ReconstructionMaking", lambda *_, **__: pytest.fail("again"))
    # Another picture hides the image, and the first picture shows it again.
    explorer.image = photo[::-1]
    assert panel.made.widget.layout.display == "none"
    explorer.image = photo
    np.testing.assert_array_equal(picture(panel.made), before)
    assert words(panel.widget) == text
    _, again = open_what_is_left(explore)
    np.testing.assert_array_equal(picture(again.made), before)
    assert again.button.layout.display == "none"
    # It is not shown for another choice of what to match.
    again.which.value = "style"
    assert again.made.widget.layout.display == "none"
    # A damaged file is ignored.
    file.write_bytes(file.read_bytes()[:200])
    _, third = open_what_is_left(explore)
    assert third.made.widget.layout.display == "none"
    assert third.button.description == "start"


def test_reconstructions_are_cached_by_maps_network_and_arguments(
    extractor: FeatureExtractor, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = extractor(photo)
    row, column = np.argwhere(activations[LAYER][..., 3])[0].tolist()
    how: dict[str, Any] = {"channels": (3, 5), "location": (row, column), "match": "content"}
    how |= {"prior": "none", "steps": 2, "seed": 1}
    made = reconstruct(extractor, activations, LAYER, progress=False, **how)
    assert kept.KeptReconstructions(extractor, activations).keep(made) is not None
    same = kept.KeptReconstructions(extractor, extractor(photo))
    found = same.find(LAYER, **how)
    assert found is not None
    np.testing.assert_array_equal(found.image, made.image)
    assert found.caption == made.caption
    assert (found.history, found.box) == (made.history, made.box)
    for other in (
        {"channels": (3, 6)},
        {"location": (row + 1, column)},
        {"match": "style"},
        {"prior": "photographs"},
        {"steps": 3},
        {"seed": 0},
    ):
        assert same.find(LAYER, **{**how, **other}) is None
    assert same.find("features.5", **how) is None
    # A change of one pixel by one level makes another image.
    changed = photo.copy()
    changed[0, 0, 0] ^= 1
    assert kept.KeptReconstructions(extractor, extractor(changed)).find(LAYER, **how) is None
    whole = FeatureExtractor("random", preprocess=lambda image: image / 255, size=None)
    assert kept.KeptReconstructions(whole, activations).find(LAYER, **how) is None
    # The oldest file is deleted when the folder is too large.
    (file,) = kept.reconstructions_folder().iterdir()
    os.utime(file, (0, 0))
    monkeypatch.setattr(kept, "MOST_BYTES", int(1.5 * file.stat().st_size))
    later = reconstruct(extractor, activations, LAYER, progress=False, **{**how, "seed": 2})
    assert same.keep(later) is not None
    assert not file.exists()
    assert same.find(LAYER, **{**how, "seed": 2}) is not None


def test_a_picture_chosen_during_a_computation_gets_its_own_image(
    explore: Explore, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer, panel = open_what_is_left(explore)
    begun, may_go_on = threading.Event(), threading.Event()
    real = ReconstructionMaking

    def slowly(*arguments: Any, **keywords: Any) -> Any:
        begun.set()
        assert may_go_on.wait(60)
        return real(*arguments, **keywords)

    monkeypatch.setattr(what_is_left, "ReconstructionMaking", slowly)
    control(panel.widget, "start").click()
    assert begun.wait(60)
    explorer.image = photo[::-1]
    may_go_on.set()
    assert panel.maker.wait(120)
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    expected = reconstruct(
        explorer.extractor, explorer.activations, LAYER, steps=STEPS, progress=False
    )
    assert_shows(panel.made, expected.image)


def test_matching_a_location_needs_a_chosen_location(explore: Explore) -> None:
    _, panel = open_what_is_left(explore)
    panel.which.value = "location"
    assert "No location is chosen" in words(panel.widget)
    assert panel.button.layout.display == "none"


def test_a_reconstruction_that_fails_is_reported(explore: Explore) -> None:
    explorer, panel = open_what_is_left(explore)
    dead = np.flatnonzero(~explorer.activations[LAYER].any(axis=(0, 1)))
    explorer.channel = int(dead[0])
    panel.which.value = "channel"
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert "is 0 wherever it is to be matched" in problem(explorer)
    assert not panel.maker.running
    assert panel.button.description == "start"
    explorer.channel = 3
    control(panel.widget, "start").click()
    assert panel.maker.wait(120)
    assert panel.made.widget.layout.display != "none"

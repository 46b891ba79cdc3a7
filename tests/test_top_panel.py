"""The Strongest panel, whose patches are compared with slices of the images."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.explorers import (
    below,
    control,
    count_messages,
    field_of,
    made_panel,
    made_panels,
    patch_words,
    patches,
    patches_on_show,
    problem,
)
from tests.made_pictures import HOSTILE, LAYER, OTHER, K, picture
from vgg_widget import FeatureExtractor, LayerExplorer, load_image
from vgg_widget.dataset import TopActivations, top_activations
from vgg_widget.explorer.atlas.patch_cards import Patch, PatchCard
from vgg_widget.explorer.box import widgets_of

RGB8 = npt.NDArray[np.uint8]
Explore = Callable[..., LayerExplorer]


def pixels(card: PatchCard) -> RGB8:
    with Image.open(io.BytesIO(bytes(card.picture.value))) as image:
        return np.asarray(image.convert("RGB"))


def by_hand(
    extractor: FeatureExtractor, folder: Path, layer: str, channel: int
) -> list[tuple[float, str, RGB8]]:
    """Return value, name and patch of the strongest images, each computed alone."""
    found = []
    for path in sorted(folder.glob("*.png")):
        image = load_image(path)
        maps = extractor(image)[layer][..., channel]
        row, column = np.unravel_index(int(maps.argmax()), maps.shape)
        first, left, last, right = field_of(layer, int(row), int(column), image.shape[:2])
        found.append((float(maps.max()), path.name, image[first:last, left:right]))
    return sorted(found, key=lambda one: -one[0])[:K]


@pytest.mark.parametrize("channel", [3, 17])
def test_it_shows_the_pixels_that_excite_the_channel_most(
    explore: Explore,
    extractor: FeatureExtractor,
    noisy_folder: Path,
    noisy_top: TopActivations,
    channel: int,
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=channel)
    expected = by_hand(extractor, noisy_folder, LAYER, channel)
    assert explorer.panel == "Strongest"
    cards = patches_on_show(explorer)
    assert len(cards) == K
    for card, (value, name, patch) in zip(cards, expected, strict=True):
        assert card.button is not None
        assert card.button.description == name
        assert card.button.tooltip == f"Look at {name}"
        assert card.picture.tooltip.startswith(f"{name}, {value:.4g}: rows ")
        assert f">{value:.4g}<" in card.value.value
        shown = pixels(card)
        times = shown.shape[0] // patch.shape[0]
        np.testing.assert_array_equal(shown, patch.repeat(times, 0).repeat(times, 1))
    assert f"{LAYER} channel {channel}: the {K} strongest of 13 images" in patch_words(explorer)


def test_a_click_makes_the_patchs_picture_the_image(
    explore: Explore, noisy_folder: Path, noisy_top: TopActivations
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3, cmap="magma")
    card = patches_on_show(explorer)[1]
    assert card.button is not None
    name = card.button.description
    before = [one.button.description for one in patches_on_show(explorer) if one.button]
    card.button.click()
    np.testing.assert_array_equal(explorer.image, load_image(noisy_folder / name))
    assert (explorer.layer, explorer.channel, explorer.mode) == (LAYER, 3, "channel")
    assert explorer.cmap == "magma"
    # The location is that of the patch's unit, where the image's map is largest.
    maps = explorer.activations[LAYER][..., 3]
    row, column = np.unravel_index(maps.argmax(), maps.shape)
    assert explorer.location == (int(row), int(column))
    # The channel is the same, and so are its patches.
    assert [one.button.description for one in patches_on_show(explorer) if one.button] == before
    assert problem(explorer) == ""


def test_a_click_on_a_patch_of_the_channel_before_opens_its_picture(
    explore: Explore,
    noisy_folder: Path,
    noisy_top: TopActivations,
    rest_for: Callable[[float], None],
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    card = patches_on_show(explorer)[0]
    assert card.button is not None
    name = card.button.description
    cards = made_panel(explorer, "Strongest").patches
    assert cards.settled
    rest_for(600)
    explorer.layer = OTHER
    assert not cards.settled
    card.button.click()
    np.testing.assert_array_equal(explorer.image, load_image(noisy_folder / name))
    # The patch's unit belongs to another layer.
    assert explorer.location is None
    assert problem(explorer) == ""
    rest_for(0)
    explorer.layer = LAYER
    assert patches(explorer).settled


def test_another_channel_or_layer_has_other_patches(
    explore: Explore, extractor: FeatureExtractor, noisy_folder: Path, noisy_top: TopActivations
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    patches(explorer)
    for layer, channel in ((LAYER, 4), (OTHER, 9), ("features.11", 10)):
        explorer.layer, explorer.channel = layer, channel
        expected = by_hand(extractor, noisy_folder, layer.replace("features.11", OTHER), channel)
        texts = [card.value.value for card in patches_on_show(explorer)]
        assert all(
            f">{value:.4g}<" in text for text, (value, *_) in zip(texts, expected, strict=True)
        )
    # Before the ReLU, the panel shows the strongest patches after it.
    explorer.before_relu = True
    assert f"{OTHER} channel 10" in patch_words(explorer)
    assert len(patches_on_show(explorer)) == K


def test_a_dragged_slider_reads_the_pictures_of_its_last_channel_alone(
    explore: Explore,
    noisy_top: TopActivations,
    pictures_read: list[str],
    rest_for: Callable[[float], None],
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    patches(explorer)
    assert len(pictures_read) == K
    pictures_read.clear()
    rest_for(600)
    for channel in range(4, 39):
        explorer.channel = channel
    assert pictures_read == []
    rest_for(0)
    explorer.channel = 39
    wanted = noisy_top[LAYER].places(39).tolist()
    assert "channel 39" in patch_words(explorer)
    assert "vgg-waiting" not in patches(explorer).row._dom_classes
    assert pictures_read == [noisy_top.images[place] for place in wanted]
    # Images that have been read are cached.
    pictures_read.clear()
    explorer.channel = 3
    assert "channel 3:" in patch_words(explorer)
    assert pictures_read == []


@pytest.mark.slow
def test_an_unexpected_error_is_reported_only_for_the_displayed_channel(
    explore: Explore, noisy_top: TopActivations, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    cards = patches(explorer)
    reading, go_on = threading.Event(), threading.Event()

    def fail(*_: object) -> Any:
        reading.set()
        assert go_on.wait(30)
        raise RuntimeError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(type(noisy_top), "patch", fail)
        explorer.channel = 6
        assert reading.wait(30)
        patch.undo()
        explorer.channel = 7
        go_on.set()
        assert "channel 7" in patch_words(explorer)
        assert problem(explorer) == ""
    with monkeypatch.context() as patch:
        patch.setattr(type(noisy_top), "patch", fail)
        explorer.channel = 8
        assert cards.wait(30)
        assert "on purpose" in problem(explorer)
    # The row is no longer faint.
    assert "vgg-waiting" not in cards.row._dom_classes


def test_a_step_sends_no_patch_before_the_slider_rests(
    explore: Explore,
    noisy_top: TopActivations,
    monkeypatch: pytest.MonkeyPatch,
    rest_for: Callable[[float], None],
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    row = patches(explorer).row
    sent = count_messages(monkeypatch)
    rest_for(600)
    explorer.channel = 4
    explorer.channel = 5
    step = [kind for kind, _ in sent]
    # The row becomes faint, once, and nothing else in the panel changes.
    assert "vgg-waiting" in row._dom_classes
    assert step.count("HBox") == 1
    assert "DescribedImage" not in step
    assert "Button" not in step
    rest_for(0)
    explorer.channel = 6
    assert len(patches_on_show(explorer)) == K
    assert [kind for kind, _ in sent].count("DescribedImage") == K
    sent.clear()
    explorer.cmap = "magma"
    patches(explorer)
    assert "DescribedImage" not in [kind for kind, _ in sent]


def test_a_folded_panel_reads_nothing(
    explore: Explore, noisy_top: TopActivations, pictures_read: list[str]
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, panel="")
    explorer.channel = 5
    assert explorer.panel == ""
    assert pictures_read == []
    assert made_panels(explorer) == []
    control(explorer, "Strongest").value = True
    assert len(patches_on_show(explorer)) == K


def test_modes_of_several_channels_say_what_to_do(
    explore: Explore, noisy_top: TopActivations
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, mode="max")
    assert "Mode max shows several channels at once: choose mode channel" in patch_words(explorer)
    assert patches(explorer).row.layout.display == "none"
    explorer.mode = "channel"
    assert "channel 0" in patch_words(explorer)
    assert len(patches_on_show(explorer)) == K
    assert patches(explorer).row.layout.display is None


def test_a_layer_that_the_set_does_not_hold(explore: Explore, noisy_top: TopActivations) -> None:
    explorer = explore(top_images=noisy_top, layer="block1_conv1")
    expected = f"Layer block1_conv1 is not in this set, which contains {LAYER}, {OTHER}: choose one"
    assert expected in patch_words(explorer)
    explorer.layer = LAYER
    assert len(patches_on_show(explorer)) == K


def test_other_weights_are_reported(
    explore: Explore, noisy_top: TopActivations, noisy_folder: Path, photo: RGB8
) -> None:
    other = replace(
        noisy_top, weights=replace(noisy_top.weights, digest="sha256:0", label="somebody's")
    )
    explorer = explore(top_images=other, layer=LAYER)
    assert "This set was computed with somebody&#x27;s, but this explorer" in patch_words(explorer)
    assert patches(explorer).row.layout.display == "none"
    explorer.channel = 7
    assert problem(explorer) == ""


def test_custom_models_are_distinguished(explore: Explore, noisy_folder: Path) -> None:
    import keras

    def made(seed: int) -> FeatureExtractor:
        start = keras.initializers.RandomNormal(seed=seed)
        conv = keras.layers.Conv2D(3, 3, activation="relu", kernel_initializer=start, name="a")
        model = keras.Sequential([keras.Input((None, None, 3)), conv], name="same")
        return FeatureExtractor(model=model, size=None)

    one, another = made(1), made(2)
    top = top_activations(one, noisy_folder, k=2, progress=False)
    assert len(patches_on_show(explore(top_images=top, extractor=one))) == 2
    assert "whose channels differ" in patch_words(explore(top_images=top, extractor=another))
    explorer = explore(top_images=top, extractor=one)
    kernel = one.model.weights[0]
    kernel.assign(kernel.numpy() * 2)
    explorer.image = np.zeros((40, 40, 3), np.uint8)
    assert "whose channels differ" in patch_words(explorer)


def test_another_size_is_reported(explore: Explore, noisy_top: TopActivations) -> None:
    extractor = FeatureExtractor("random", size=64)
    explorer = explore(top_images=noisy_top, layer=LAYER, extractor=extractor)
    assert "computed at size None, and this explorer&#x27;s is 64: values differ" in patch_words(
        explorer
    )
    assert len(patches_on_show(explorer)) == K


def test_a_missing_picture_is_named_and_the_others_are_shown(
    explore: Explore, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    for number in range(6):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    top = top_activations(extractor, tmp_path, layers=LAYER, k=3, progress=False)
    first, second = (top.images[place] for place in top[LAYER].places(3)[:2])
    (tmp_path / first).rename(tmp_path / "away")
    explorer = explore(top_images=top, layer=LAYER, channel=3)
    gone, *rest = patches_on_show(explorer)
    assert f"{first}&#x27; was not found" in patches(explorer).problem.value
    assert gone.picture.layout.display == "none"
    assert gone.button is not None
    assert gone.button.description == first
    assert [card.picture.layout.display for card in rest] == [None, None]
    before = explorer.image
    gone.button.click()
    assert "was not found" in problem(explorer)
    assert explorer.image is before
    # A click on the card of a changed image does not open it.
    Image.new("RGB", (40, 40)).save(tmp_path / second)
    changed = rest[0].button
    assert changed is not None
    changed.click()
    assert f"{second}&#x27; has changed" in problem(explorer)
    assert explorer.image is before
    explorer.channel = 4
    patches(explorer)
    explorer.channel = 3
    assert "There is no patch for 1 more either" in patches(explorer).problem.value
    # The missing image is back.
    (tmp_path / "away").rename(tmp_path / first)
    explorer.channel = 4
    patches(explorer)
    explorer.channel = 3
    assert f"{second}&#x27; has changed" in patches(explorer).problem.value
    assert patches_on_show(explorer)[0].picture.layout.display is None


def test_images_that_were_given_in_memory(
    explore: Explore, extractor: FeatureExtractor, photo: RGB8
) -> None:
    images = {"up": photo, "down": photo[::-1]}
    top = top_activations(extractor, images, layers=LAYER, k=5, progress=False)
    explorer = explore(top_images=top, layer=LAYER)
    cards = patches_on_show(explorer)
    assert sorted(card.button.description for card in cards if card.button) == ["down", "up"]
    assert "was given in memory and is not stored" in patches(explorer).problem.value
    assert cards[0].button is not None
    cards[0].button.click()
    assert "was given in memory and is not stored" in problem(explorer)


def test_no_name_is_markup(explore: Explore, noisy_top: TopActivations) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER)
    texts = []
    for channel in range(0, 128, 8):
        explorer.channel = channel
        texts += [card.button.description for card in patches_on_show(explorer) if card.button]
        for widget in below(patches(explorer).widget):
            assert "<script" not in str(getattr(widget, "value", ""))
    assert HOSTILE in texts
    card = PatchCard(explorer, None)
    card.show(Patch(1.0, f'"{HOSTILE}', "", "", 0, (0, 0)))
    assert "<script" not in card.value.value
    assert "&quot;&lt;script&gt;" in card.value.value
    for widget in widgets_of(card.widget):
        widget.close()


def test_an_unexpected_error_is_reported_under_the_controls(
    explore: Explore, noisy_top: TopActivations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[Patch]:
        raise ArithmeticError("on purpose")

    monkeypatch.setattr("vgg_widget.explorer.atlas.patch_cards.strong_patches", fail)
    explorer = explore(top_images=noisy_top, layer=LAYER)
    patches(explorer)
    assert "An unexpected error (ArithmeticError: on purpose" in problem(explorer)
    monkeypatch.undo()
    explorer.channel = 1
    assert len(patches_on_show(explorer)) == K

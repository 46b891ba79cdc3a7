"""Tests of `ChannelAtlas`, compared with the arrays of its result and slices of the pictures."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError

import vgg_widget
from tests.explorers import below, channel_number, control, words
from tests.made_pictures import LAYER, OTHER, K, picture
from vgg_widget import ChannelAtlas, FeatureExtractor, load_image
from vgg_widget.dataset import TopActivations, top_activations
from vgg_widget.explorer.atlas.histogram import bars_of, histogram_svg, ticks_of
from vgg_widget.explorer.box import widgets_of
from vgg_widget.support.messages import plain_number

MakeAtlas = Callable[..., ChannelAtlas]


@pytest.fixture(scope="module")
def top(noisy_top: TopActivations, tmp_path_factory: pytest.TempPathFactory) -> TopActivations:
    """Return the result as loaded from a file, without a network."""
    path = tmp_path_factory.mktemp("saved") / "top.npz"
    noisy_top.save(path)
    return TopActivations.load(path)


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ((3, 31, 32, 60), "two"),
        ((3, None, 60), "one"),
        ((3, 5), "zero"),
        ((40,), "zero"),
    ],
)
def test_it_opens_on_a_layer_with_readable_patches(
    top: TopActivations, atlas_of: MakeAtlas, fields: tuple[int | None, ...], first: str
) -> None:
    one = top[LAYER]
    names = ("zero", "one", "two", "three")
    seen = {
        name: replace(one, layer=replace(one.layer, name=name, receptive_field=field))
        for name, field in zip(names, fields, strict=False)
    }
    of_several = replace(top, strongest=seen, aliases={})
    assert atlas_of(of_several).layer == of_several.readable_layer == first
    assert atlas_of(of_several, layer="zero").layer == "zero"


@pytest.fixture
def atlas_of() -> Iterator[MakeAtlas]:
    made: list[ChannelAtlas] = []

    def make(*given: Any, **more: Any) -> ChannelAtlas:
        made.append(ChannelAtlas(*given, **more))
        return made[-1]

    yield make
    for atlas in made:
        atlas.close()


def cards(atlas: ChannelAtlas) -> list[Any]:
    assert atlas._cards is not None
    assert atlas._cards.wait(30)
    return [one for one in atlas._cards.cards if one.widget.layout.display != "none"]


def slider(atlas: ChannelAtlas) -> Any:
    (found,) = [one for one in below(atlas) if isinstance(one, widgets.IntSlider)]
    return found


def number(atlas: ChannelAtlas) -> Any:
    return channel_number(atlas)


def test_it_shows_patches_values_names_and_statistics(
    atlas_of: MakeAtlas, top: TopActivations, noisy_folder: Path
) -> None:
    atlas = atlas_of(top, layer=LAYER, channel=17)
    strongest = top[LAYER]
    shown = cards(atlas)
    assert len(shown) == K
    for rank, card in enumerate(shown):
        name = top.images[strongest.images[17, rank]]
        first, left, last, right = strongest.boxes[17, rank]  # type: ignore[index]
        patch = load_image(noisy_folder / name)[first:last, left:right]
        with Image.open(io.BytesIO(bytes(card.picture.value))) as image:
            pixels = np.asarray(image.convert("RGB"))
        times = pixels.shape[0] // patch.shape[0]
        np.testing.assert_array_equal(pixels, patch.repeat(times, 0).repeat(times, 1))
        assert card.button is None
        assert f">{strongest.values[17, rank]:.4g}<" in card.value.value
        assert name.replace("<", "&lt;").replace(">", "&gt;") in card.value.value
    text = words(atlas)
    assert f"{LAYER} channel 17 of 128: over 13 images the map&#x27;s maximum is " in text
    assert f"{strongest.mean[17]:.4g} on average" in text
    assert f"{strongest.fraction_active[17]:.1%} of them activate it; random weights" in text


def test_controls_and_traits_move_each_other(atlas_of: MakeAtlas, top: TopActivations) -> None:
    atlas = atlas_of(top)
    assert (atlas.layer, atlas.channel, atlas.order) == (LAYER, 0, "number")
    slider(atlas).value = 40
    assert (atlas.channel, number(atlas).value) == (40, 40)
    number(atlas).value = 7
    assert (atlas.channel, slider(atlas).value) == (7, 7)
    atlas.channel = 100
    assert (slider(atlas).value, number(atlas).value) == (100, 100)
    control(atlas, "layer").value = OTHER
    assert (atlas.layer, atlas.channel, slider(atlas).max) == (OTHER, 100, 255)
    atlas.channel = 200
    # A layer with fewer channels shows its last.
    atlas.layer = LAYER
    assert (atlas.channel, slider(atlas).max, number(atlas).value) == (127, 127, 127)
    assert control(atlas, "layer").value == LAYER
    # "features.11" is torchvision's name of the same layer.
    with atlas.hold_trait_notifications():
        atlas.layer, atlas.channel = "features.11", 255
    assert (atlas.layer, atlas.channel) == (OTHER, 255)
    assert f"{OTHER} channel 255 of 256" in words(atlas)
    cards(atlas)
    assert "Channel 255: the images that activate it most" in words(atlas)


@pytest.mark.parametrize("order", ["value", "fraction active"])
def test_the_slider_goes_through_channels_in_order(
    atlas_of: MakeAtlas, top: TopActivations, order: str
) -> None:
    atlas = atlas_of(top, channel=5)
    control(atlas, "order").value = order
    assert (atlas.order, atlas.channel, number(atlas).value) == (order, 5, 5)
    strongest = top[LAYER]
    by = strongest.values[:, 0] if order == "value" else strongest.fraction_active
    seen = []
    for place in range(128):
        slider(atlas).value = place
        assert number(atlas).value == atlas.channel
        seen.append(atlas.channel)
    assert sorted(seen) == list(range(128))
    pairs = [(-by[channel], channel) for channel in seen]
    assert pairs == sorted(pairs)


def test_without_the_pictures_it_says_so_and_shows_the_rest(
    atlas_of: MakeAtlas, extractor: FeatureExtractor
) -> None:
    images = {name: picture(number) for number, name in enumerate(("one", "two", "three"))}
    top = top_activations(extractor, images, layers=LAYER, k=2, progress=False)
    atlas = atlas_of(top, channel=3)
    shown = cards(atlas)
    assert [card.picture.layout.display for card in shown] == ["none", "none"]
    for rank, card in enumerate(shown):
        assert top.images[top[LAYER].images[3, rank]] in card.value.value
        assert f"{top[LAYER].values[3, rank]:.4g}" in card.value.value
    assert "was given in memory and is not stored" in words(atlas)
    assert "<svg" in words(atlas)
    assert atlas.to_bytes().startswith(b"\x89PNG")


def test_the_histogram_has_a_bar_for_each_bin(atlas_of: MakeAtlas, top: TopActivations) -> None:
    atlas = atlas_of(top, channel=17)
    (markup,) = re.findall(r"<svg.*?</svg>", words(atlas), re.DOTALL)
    tree = ET.fromstring(markup)  # noqa: S314 - our own
    titles = [title.text for title in tree.iter("title")]
    numbers = [text.text for text in tree.iter("text")]
    assert numbers[-1] == str(top[LAYER].histogram[17].max())
    assert all(np.log2(float(text or 0)) % 1 == 0 for text in numbers[:-1] if text != "0")
    counts = top[LAYER].histogram[17]
    assert sum(int(re.findall(r"(\d+) image", title or "")[0]) for title in titles) == 13
    assert len(titles) == np.count_nonzero(counts)
    heights = {float(rect.attrib["height"]) for rect in tree.iter("rect")}
    assert max(heights) == 90
    # Where a bar's title gives its range, the bar counts the images of that bin.
    for title in titles:
        found = re.fullmatch(r"([\d.e+-]+) to ([\d.e+-]+): (\d+) images?", title or "")
        if found:
            low, high, count = float(found[1]), float(found[2]), int(found[3])
            edges = top.histogram_edges
            index = int(np.argmin(np.abs(edges - low)))
            assert edges[index + 1] == pytest.approx(high, rel=0.01)
            assert counts[index + 1] == count


def test_bars_cover_zero_and_the_range_of_the_values(top: TopActivations) -> None:
    edges = top.histogram_edges
    counts = np.zeros(edges.size + 1, np.int32)
    assert bars_of(counts, edges) == []
    for value, images in ((0.0, 4), (1.5, 2), (4.0, 1), (-3.0, 5), (1e9, 3)):
        counts[np.searchsorted(edges, np.float32(value), side="right")] += images
    bars = bars_of(counts, edges)
    assert [bar.count for bar in bars if bar.count] == [5, 4, 2, 1, 3]
    assert sum(bar.of_zero for bar in bars) == 1
    first, zero = bars[0], bars[1]
    assert first.low <= -3 < first.high
    assert zero.of_zero
    assert bars[2].low <= 1.5 < bars[2].high
    assert bars[-1].high == np.inf
    # The axis has a gap on either side of the bar of zeros; all other bars touch.
    places = [bar.place for bar in bars]
    assert places == [0, 2, *range(4, 4 + len(bars) - 2)]
    assert (2.5, "0") in ticks_of(bars)
    assert len(ticks_of(bars)) <= 12


@pytest.mark.parametrize(
    ("first", "count", "zeros"),
    [(0.125, 6, 0), (0.125, 6, 9), (-4096, 40, 9), (2.0**-13, 16, 0), (-65536, 1, 0)],
)
def test_the_numbers_of_the_histogram_are_placed_correctly_and_not_cut_off(
    top: TopActivations, first: float, count: int, zeros: int
) -> None:
    edges = top.histogram_edges
    counts = np.zeros(edges.size + 1, np.int32)
    start = np.searchsorted(edges, first, side="right")
    counts[start : start + count] = (np.arange(count) + 1) * 200003
    counts[np.searchsorted(edges, 0)] = zeros
    tree = ET.fromstring(histogram_svg(bars_of(counts, edges), "images"))  # noqa: S314 - our own
    # The left edge and the middle of each bar, by what its title begins with.
    bars: dict[str, tuple[float, float]] = {}
    for rect in tree.iter("rect"):
        x, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        begins = re.split(":| to ", rect.findtext("title") or "")[0]
        bars[begins] = x - 0.5, x + width / 2
    assert len(bars) == count + bool(zeros)
    *ticks, most = tree.iter("text")
    assert ticks[0].text == plain_number(first)
    assert most.text == f"{count * 200003:,}"
    tallest = plain_number(edges[start + count - 2])
    expected = [bars[tick.text or ""][tick.text == "0"] for tick in ticks] + [bars[tallest][1]]
    left, _, room, _ = map(float, tree.attrib["viewBox"].split())
    for text, place in zip((*ticks, most), expected, strict=True):
        x = float(text.attrib["x"])
        # Positions are written with one decimal.
        assert x == pytest.approx(place, abs=0.11)
        assert text.attrib["text-anchor"] == "middle"
        # A digit of 11 pixels is no wider than 7.
        half = 7 * len(text.text or "") / 2
        assert left + half <= x <= left + room - half


def test_a_channel_without_finite_values_has_no_histogram_and_no_heading(
    atlas_of: MakeAtlas,
) -> None:
    import keras

    scaled = keras.layers.Conv2D(2, 1, use_bias=False, name="scaled")
    model = keras.Sequential([keras.Input((None, None, 3)), scaled])
    # The first channel is infinite for a picture that is not black.
    scaled.set_weights([np.broadcast_to(np.array([3e38, 1], np.float32), (1, 1, 3, 2))])
    images = [np.full((8, 8, 3), value, np.uint8) for value in (40, 10)]
    extractor = FeatureExtractor(model=model, size=None)
    atlas = atlas_of(top_activations(extractor, images, k=2, progress=False), channel=0)
    for _ in range(2):
        assert cards(atlas) == []
        assert "scaled channel 0 of 2: its maximum is finite on none of the images" in words(atlas)
        assert "Number of images" not in words(atlas)
        assert "<svg" not in words(atlas)
        assert atlas.to_bytes().startswith(b"\x89PNG")
        atlas.channel = 1
        assert len(cards(atlas)) == 2
        assert "Number of images by the map&#x27;s maximum" in words(atlas)
        assert "<svg" in words(atlas)
        atlas.channel = 0


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"layer": "block9"}, TraitError, "layer 'block9' is not in this result"),
        ({"channel": 128}, TraitError, "channel 128 is not in layer 'block2_conv1'"),
        (
            {"order": "size"},
            TraitError,
            "expected any of ['number', 'value', 'fraction active'], not the str 'size'",
        ),
        ({"chanel": 1}, TypeError, "argument 'chanel' is not known: did you mean 'channel'"),
    ],
)
def test_a_wrong_layer_channel_or_order_is_refused(
    atlas_of: MakeAtlas, top: TopActivations, arguments: Any, kind: Any, sentence: str
) -> None:
    with pytest.raises(kind, match=re.escape(sentence)):
        ChannelAtlas(top, **arguments)
    atlas = atlas_of(top, channel=4)
    name, value = next(iter(arguments.items()))
    if kind is TraitError:
        with pytest.raises(TraitError, match=re.escape(sentence)):
            setattr(atlas, name, value)
    assert (atlas.layer, atlas.channel, atlas.order) == (LAYER, 4, "number")


def test_anything_but_a_result_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^top 'top\.npz' is not a TopActivations: pass a result"):
        ChannelAtlas("top.npz")  # type: ignore[arg-type]


def test_a_saved_notebook_shows_a_picture_of_it(atlas_of: MakeAtlas, top: TopActivations) -> None:
    atlas = atlas_of(top, channel=17)
    bundle = atlas._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    # The colours of the strongest patch appear in the picture.
    with Image.open(io.BytesIO(bytes(cards(atlas)[0].picture.value))) as patch:
        wanted = {tuple(colour) for colour in np.asarray(patch).reshape(-1, 3).tolist()}
    shown = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert len(wanted & shown) >= 0.8 * len(wanted)


def test_closed_it_leaves_nothing(top: TopActivations) -> None:
    atlas = ChannelAtlas(top)
    inside = widgets_of(atlas)
    atlas.close()
    atlas.close()
    assert atlas.closed
    assert repr(atlas) == "<ChannelAtlas: closed>"
    assert atlas._repr_mimebundle_() == {"text/plain": "atlas is closed: make a new ChannelAtlas."}
    assert all(widget.comm is None for widget in inside)
    assert atlas._cards is not None
    assert atlas._cards.wait(30)
    with pytest.raises(RuntimeError, match="atlas is closed: make a new ChannelAtlas"):
        atlas.channel = 3
    with pytest.raises(RuntimeError, match="atlas is closed"):
        atlas.to_bytes()


def test_an_error_of_an_observer_is_shown_on_the_page(
    atlas_of: MakeAtlas, top: TopActivations
) -> None:
    atlas = atlas_of(top)

    def fail(_: object) -> None:
        raise ArithmeticError("mine <b>")

    atlas.observe(fail, "channel")
    slider(atlas).value = 9
    assert "An unexpected error (ArithmeticError: mine &lt;b&gt;)" in words(atlas)
    atlas.unobserve(fail, "channel")
    slider(atlas).value = 10
    assert "An unexpected error" not in words(atlas)
    assert atlas.channel == 10


def test_the_atlas_is_a_public_name_of_the_package() -> None:
    assert "ChannelAtlas" in dir(vgg_widget)
    with pytest.raises(AttributeError, match="has no attribute 'ChanelAtlas'"):
        vgg_widget.ChanelAtlas  # type: ignore[attr-defined]  # noqa: B018

"""Tests of the panel Distances, which shows how far apart two pictures are at each layer."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.explorers import control, made_panel, problem, words
from vgg_widget import Activations, FeatureExtractor, compare
from vgg_widget.explorer.comparison import Comparison
from vgg_widget.explorer.panels import distances
from vgg_widget.gradients import content_distance, gram, style_distance

RGB8 = npt.NDArray[np.uint8]
Make = Callable[..., Comparison]

PANEL = "Distances"


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor("random", size=48)


@pytest.fixture
def make(extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(Comparison, "remembered_panel", "")
    made: list[Comparison] = []

    def build(first: object, second: object, **arguments: Any) -> Comparison:
        usual = {"extractor": extractor, "layer": "block2_conv1", "panel": PANEL}
        made.append(compare(first, second, **{**usual, **arguments}))
        return made[-1]

    yield build
    for comparison in made:
        comparison.close()


def shown_distances(comparison: Comparison) -> dict[str, tuple[float, float]]:
    """Return the content and style distances of each layer, read from the panel's text."""
    panel = made_panel(comparison, PANEL)
    assert panel.wait()
    found = {}
    for name, line in panel._lines.items():
        text = html.unescape(re.sub("<[^>]*>", " ", line.bars.value)).split()
        assert text[::2] == ["content", "style"]
        found[name] = float(text[1]), float(text[3])
    return found


def lengths(comparison: Comparison, layer: str) -> list[float]:
    """Return the lengths of the two bars of a layer, in percent."""
    value = made_panel(comparison, PANEL)._lines[layer].bars.value
    return [float(one) for one in re.findall(r"width:([\d.]+)%", value)]


def by_hand(first: Activations, second: Activations, layer: str) -> tuple[float, float]:
    """Return both distances, computed from their formulas in NumPy."""
    maps = [one[layer].astype(np.float64) for one in (first, second)]
    flat = [one.reshape(-1, one.shape[-1]) for one in maps]
    grams = [np.einsum("mi,mj->ij", one, one) / len(one) for one in flat]
    content, style = (
        np.sqrt(np.sum((a - b) ** 2) / (np.sum(a**2) + np.sum(b**2))) for a, b in (maps, grams)
    )
    return float(content), float(style)


def test_each_layer_has_both_distances(make: Make, photo: RGB8) -> None:
    comparison = make(photo, photo[::-1].copy() // 2)
    first, second = comparison.pair.first, comparison.pair.second
    found = shown_distances(comparison)
    assert list(found) == [info.name for info in first.layers]
    for layer, numbers in found.items():
        assert numbers == pytest.approx(by_hand(first, second, layer), abs=6e-4)
        assert lengths(comparison, layer) == pytest.approx([100 * n for n in numbers], abs=0.1)
    text = words(made_panel(comparison, PANEL).widget)
    assert "√(Σ (F − P)² / (Σ F² + Σ P²))" in text
    assert "Gatys et al. 2016" in text


def test_the_functions_follow_their_formulas(extractor: FeatureExtractor, photo: RGB8) -> None:
    # The layer has more locations than are processed at once.
    large = extractor.at_size((80, 96))
    first, second = large(photo), large(photo[:, ::-1])
    layer = "block1_conv1"
    pair = [one[layer].astype(np.float64) for one in (first, second)]
    content, style = by_hand(first, second, layer)
    assert content_distance(first, second, layer, relative=True) == pytest.approx(content)
    assert style_distance(first, second, layer, relative=True) == pytest.approx(style)
    assert content_distance(first, second, layer) == pytest.approx(
        np.sum((pair[0] - pair[1]) ** 2) / 2
    )
    grams = [np.einsum("hwi,hwj->ij", one, one) / (80 * 96) for one in pair]
    np.testing.assert_allclose(gram(first, layer), grams[0], rtol=1e-9)
    assert style_distance(first, second, layer) == pytest.approx(
        np.sum((grams[0] - grams[1]) ** 2) / (4 * 64**2)
    )


def test_the_same_picture_has_no_distance(make: Make, photo: RGB8) -> None:
    comparison = make(photo, photo.copy())
    assert set(shown_distances(comparison).values()) == {(0.0, 0.0)}
    assert lengths(comparison, "block1_conv1") == [0.0, 0.0]


def test_a_mirror_keeps_the_style_and_not_the_content(make: Make, photo: RGB8) -> None:
    found = shown_distances(make(photo, photo[:, ::-1].copy()))
    content, style = found["block1_conv1"]
    # The style distance is not 0, since the filters are not mirrored.
    assert style < 0.1
    assert content > 0.3


def test_for_arrays_the_panel_does_not_mention_the_relu(make: Make, photo: RGB8) -> None:
    maps = np.random.default_rng(0).uniform(0, 1, (12, 14, 3)).astype(np.float32)
    pair = [Activations.from_arrays({"map": each}, photo) for each in (maps, maps[::-1].copy())]
    comparison = make(*pair, extractor=None, layer="map")
    assert shown_distances(comparison)["map"] == pytest.approx(
        by_hand(pair[0], pair[1], "map"), abs=6e-4
    )
    said = words(made_panel(comparison, PANEL).widget)
    assert "at each layer: 0 is the same" in said
    assert "ReLU" not in said
    of_network = words(made_panel(make(photo, photo[::-1].copy()), PANEL).widget)
    assert "at each layer, after its ReLU: 0 is" in of_network


def test_the_current_layer_is_marked_and_a_click_shows_another(make: Make, photo: RGB8) -> None:
    comparison = make(photo, photo[::-1].copy())
    panel = made_panel(comparison, PANEL)

    def pressed() -> list[str]:
        return [name for name, line in panel._lines.items() if line.button.value]

    assert pressed() == ["block2_conv1"]
    button = control(panel.widget, "block4_conv2")
    button.value = True
    assert comparison.layer == "block4_conv2"
    assert pressed() == ["block4_conv2"]
    # Clicking the pressed button again keeps it pressed.
    button.value = False
    assert comparison.layer == "block4_conv2"
    assert pressed() == ["block4_conv2"]
    comparison.layer = "block1_pool"
    assert pressed() == ["block1_pool"]
    assert not problem(comparison)


def test_a_layer_before_its_relu_is_marked_too(make: Make, photo: RGB8) -> None:
    comparison = make(photo, photo[::-1].copy(), layer_names="torchvision", before_relu=True)
    panel = made_panel(comparison, PANEL)
    control(panel.widget, "block3_conv1").value = True
    assert comparison.settings.before_relu
    assert [n for n, line in panel._lines.items() if line.button.value] == ["block3_conv1"]


@pytest.mark.slow
def test_distances_are_computed_once_for_a_pair(
    make: Make, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def noted(first: Activations, second: Activations, layer: str, *, relative: bool) -> float:
        computed.append(layer)
        return content_distance(first, second, layer, relative=relative)

    monkeypatch.setattr(distances, "content_distance", noted)
    comparison = make(photo, photo[::-1].copy())
    before = shown_distances(comparison)
    assert sorted(computed) == sorted(before)
    comparison.layer, comparison.channel = "block1_conv1", 3
    comparison.panel = ""
    comparison.panel = PANEL
    assert shown_distances(comparison) == before
    assert len(computed) == len(before)
    # For another pair, all distances are computed again.
    comparison.second = photo[:, ::-1].copy()
    after = shown_distances(comparison)
    assert len(computed) == 2 * len(before)
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("ended", ["folded", "closed"])
def test_folded_away_or_closed_it_computes_no_further(
    make: Make, photo: RGB8, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def held(*given: Any, **more: Any) -> float:
        begun.set()
        assert may_go_on.wait(60)
        return content_distance(*given, **more)

    monkeypatch.setattr(distances, "content_distance", held)
    comparison = make(photo, photo[::-1].copy())
    panel = made_panel(comparison, PANEL)
    assert begun.wait(60)
    if ended == "folded":
        comparison.panel = ""
    else:
        comparison.close()
    may_go_on.set()
    assert panel.wait()
    assert len(panel._missing) == len(panel._lines)
    if ended == "folded":
        # When the panel is unfolded, it continues.
        comparison.panel = PANEL
        assert len(shown_distances(comparison)) == len(panel._lines)
        assert not panel._missing


def test_a_failing_layer_does_not_affect_the_others(
    make: Make, photo: RGB8, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def failing(first: Activations, second: Activations, layer: str, *, relative: bool) -> float:
        asked.append(layer)
        if layer == "block3_conv1":
            raise ValueError("first has NaN.")
        return content_distance(first, second, layer, relative=relative)

    monkeypatch.setattr(distances, "content_distance", failing)
    comparison = make(photo, photo[::-1].copy())
    panel = made_panel(comparison, PANEL)
    assert panel.wait()
    assert "first has NaN." in problem(comparison)
    said = {name: line.bars.value for name, line in panel._lines.items()}
    assert [name for name, one in said.items() if "could not be computed" in one] == [
        "block3_conv1"
    ]
    assert all("vgg-bar" in one for name, one in said.items() if name != "block3_conv1")
    # The failed layer is not computed again at every change.
    comparison.layer = "block1_conv1"
    comparison.panel = ""
    comparison.panel = PANEL
    assert panel.wait()
    assert len(asked) == len(said)
    # With another pair, the failed layer is computed again.
    monkeypatch.setattr(distances, "content_distance", content_distance)
    comparison.second = photo[:, ::-1].copy()
    assert panel.wait()
    assert all("vgg-bar" in line.bars.value for line in panel._lines.values())

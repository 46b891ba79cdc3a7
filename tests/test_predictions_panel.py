"""The Predictions panel: its table, and its updates when the image changes."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import numpy.typing as npt
import pytest

from tests.standin import Scene, StandIn, show
from vgg_widget import Activations, FeatureExtractor, render
from vgg_widget.explorer.panels.predictions import PredictionsPanel
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.predictions import Predictor
from vgg_widget.weights import Classifier

Floats = npt.NDArray[np.float32]


class Reader(HTMLParser):
    """The text that a screen reader reads from a table, and the widths of its bars."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.caption, self.rows, self.bars = "", list[list[str]](), list[float]()
        self._within: list[str] = []
        self._hidden = 0
        self.feed(page)
        self.close()
        assert not self._within, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag in ("table", "caption", "tbody", "tr", "th", "td", "div")
        self._within.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "th":
            assert given["scope"] == "row"
            self.rows[-1].append(str(given["title"]))
        self._hidden += tag == "td" and given.get("aria-hidden") == "true"
        style = str(given.get("style"))
        if tag == "div" and "width: " in style.replace("min-width", ""):
            assert self._hidden
            self.bars.append(float(style.partition(" width: ")[2].partition("%")[0]))

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop() == tag
        self._hidden -= bool(self._hidden and tag == "td")

    def handle_data(self, data: str) -> None:
        if self._within[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1].append(data)


LABELS = (("n01", "great_white_shark"), ("n02", "<b>cat</b> & dog"), ("", "class 2"), ("n3", "x"))


def with_logits(extractor: FeatureExtractor, *logits: float) -> Predictor:
    """Return a predictor whose logits are the given ones, times the maps' first value."""
    first = np.zeros((25088, 1), np.float32)
    first[0] = 1
    one = np.ones((1, 1), np.float32)
    last = np.array([logits], np.float32)
    layers = tuple((kernel, np.zeros(kernel.shape[1], np.float32)) for kernel in (first, one, last))
    return Predictor(extractor, Classifier(layers, channels_first=False), LABELS)


def scene(extractor: FeatureExtractor, first: float) -> Scene:
    maps = np.zeros((7, 7, 512), np.float32)
    maps[0, 0, 0] = first
    image = np.zeros((224, 224, 3), np.uint8)
    activations = Activations(VGG19_LAYERS[-1:], {"block5_pool": maps}, image, extractor.weights)
    settings = DisplaySettings("block5_pool", 0, (), "channel", "viridis", "layer")
    return Scene(settings, activations, render(activations, "block5_pool"), extractor)


@pytest.fixture
def host() -> StandIn:
    return StandIn()


@pytest.fixture
def panel(host: StandIn, extractor: FeatureExtractor) -> Iterator[PredictionsPanel]:
    predictor = with_logits(extractor, 0, float(np.log(6)), float(np.log(2)), -9)
    made = PredictionsPanel(host, predictor, count=4)  # type: ignore[arg-type]
    yield made
    for widget in (made.widget.layout, made.widget.style, made.widget):
        widget.close()


def test_a_row_says_class_and_percentage_and_has_a_bar(
    panel: PredictionsPanel, extractor: FeatureExtractor
) -> None:
    show(panel, scene(extractor, 1))
    table = Reader(panel.widget.value)
    # The exponentials of the logits are 6, 2, 1 and almost 0: about 9 in total.
    assert table.rows == [
        ["n02", "<b>cat</b> & dog", "66.7 %"],
        ["2", "class 2", "22.2 %"],
        ["n01", "great white shark", "11.1 %"],
        ["n3", "x", "below 0.1 %"],
    ]
    np.testing.assert_allclose(table.bars, [66.67, 22.22, 11.11, 0], atol=0.02)
    assert table.caption == ("VGG19 looked at the whole picture: the 4 most probable of 4 classes.")


def test_it_changes_with_the_picture_and_with_nothing_else(
    panel: PredictionsPanel, host: StandIn, extractor: FeatureExtractor
) -> None:
    shown = scene(extractor, 1)
    sent: list[str] = []
    panel.widget.observe(lambda change: sent.append(change["new"]), "value")
    show(panel, shown)
    before = len(sent)
    other_colours = DisplaySettings("block5_pool", 7, (), "channel", "magma", "layer")
    show(panel, Scene(other_colours, shown.activations, shown.rendering, extractor))
    assert len(sent) == before
    show(panel, scene(extractor, 0))
    assert [row[-1] for row in Reader(panel.widget.value).rows] == ["25.0 %"] * 4
    assert host.errors == []


def test_an_error_leaves_no_predictions_of_another_picture(
    panel: PredictionsPanel, host: StandIn, extractor: FeatureExtractor
) -> None:
    good = scene(extractor, 1)
    show(panel, good)
    words = panel.widget.value
    broken = scene(extractor, 1)
    maps = np.full((7, 7, 512), np.nan, np.float32)
    lost = Activations(
        VGG19_LAYERS[-1:], {"block5_pool": maps}, broken.activations.image, extractor.weights
    )
    show(panel, Scene(broken.settings, lost, broken.rendering, extractor))
    assert panel.widget.value == ""
    assert len(host.errors) == 1
    assert "NaN or infinite" in host.errors[0]
    show(panel, good)
    assert panel.widget.value == words


def test_a_wrong_top_is_refused_at_once(host: StandIn, extractor: FeatureExtractor) -> None:
    with pytest.raises(ValueError, match="count 0 is not a whole number from 1 to 1000"):
        PredictionsPanel(host, with_logits(extractor, 0, 1), count=0)  # type: ignore[arg-type]

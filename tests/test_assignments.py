"""Tests of assigning attributes of an explorer: which can be set, and which raise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as widgets
import pytest
from traitlets import TraitError, Unicode

from vgg_widget import FeatureExtractor, LayerExplorer
from vgg_widget.explorer.comparison import Comparison, compare

Explore = Callable[..., LayerExplorer]


@pytest.fixture
def comparison(extractor: FeatureExtractor, photo: Any) -> Iterator[Comparison]:
    made = compare(photo, photo[::-1], extractor=extractor)
    yield made
    made.close()


STAYS = "of this explorer cannot be changed: make a new LayerExplorer with"
READ = "of this explorer cannot be set: set one of its traits instead."


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("layr", "block2_conv1", "LayerExplorer has no trait 'layr': did you mean 'layer'?"),
        ("chanel", 3, "LayerExplorer has no trait 'chanel': did you mean 'channel'?"),
        ("images", (1, 2), "LayerExplorer has no trait 'images': did you mean 'image'?"),
        ("qqqq", 1, "LayerExplorer has no trait 'qqqq': see LayerExplorer.class_traits()."),
        ("size", 64, f"size {STAYS} size=64."),
        ("weights", "random", f"weights {STAYS} weights='random'."),
        ("figure", None, f"figure {READ}"),
        ("closed", True, f"closed {READ}"),
        ("reset", True, "reset of this explorer cannot be set: call it, as in reset(…)."),
        ("state", {}, "state of this explorer cannot be set: call it, as in state(…)."),
        ("colour", 1, "LayerExplorer has no trait 'colour': "),
    ],
)
def test_a_name_that_is_no_trait_is_refused_in_a_sentence(
    explore: Explore, name: str, value: object, sentence: str
) -> None:
    explorer = explore()
    before = explorer.state()
    with pytest.raises(AttributeError, match=f"^{re.escape(sentence)}"):
        setattr(explorer, name, value)
    assert name not in vars(explorer)
    assert explorer.state() == before


def test_the_number_of_classes_is_set_only_at_construction(explore: Explore) -> None:
    explorer = explore()
    before = explorer.state()
    with pytest.raises(TraitError, match="make a new LayerExplorer with predict=5"):
        explorer.top_images = 5
    with pytest.raises(AttributeError, match="predict of this explorer cannot be changed"):
        explorer.predict = 5
    assert explorer.state() == before


def test_the_extractor_cannot_be_replaced(explore: Explore, extractor: FeatureExtractor) -> None:
    explorer = explore()
    with pytest.raises(AttributeError, match="extractor of this explorer cannot be changed"):
        explorer.extractor = extractor  # type: ignore[misc]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("secnd", "Comparison has no trait 'secnd': did you mean 'second'?"),
        ("mod", "Comparison has no trait 'mod': did you mean 'mode'?"),
        ("size", "size of this comparison cannot be changed: call compare again"),
        ("weights", "weights of this comparison cannot be changed: call compare"),
    ],
)
def test_a_comparison_refuses_alike(comparison: Comparison, name: str, sentence: str) -> None:
    with pytest.raises(AttributeError, match=f"^{re.escape(sentence)}"):
        setattr(comparison, name, 7)


def test_attributes_of_ipywidgets_and_traitlets_can_be_assigned(explore: Explore) -> None:
    explorer = explore()
    explorer.box_style = "info"
    before, layout = explorer.layout, widgets.Layout(width="500px")
    explorer.layout = layout
    before.close()
    explorer.tooltip = "mine"
    explorer._anything = 1
    assert (explorer.box_style, explorer.layout) == ("info", layout)
    assert (explorer.tooltip, explorer._anything) == ("mine", 1)
    with pytest.raises(TraitError, match="read-only"):
        explorer.activations = explorer.activations
    explorer.add_traits(mine=Unicode("a"))
    explorer.mine = "b"
    assert explorer.mine == "b"


class Mine(LayerExplorer):
    """A user's subclass of the explorer with a trait, an attribute and a property."""

    note = Unicode("")
    seen: object = None

    @property
    def half(self) -> int:
        return int(self.channel) // 2

    @half.setter
    def half(self, value: int) -> None:
        self.channel = 2 * value


def test_a_subclass_can_assign_the_attributes_it_declares(
    extractor: FeatureExtractor, photo: Any
) -> None:
    explorer = Mine(photo, extractor=extractor)
    explorer.note, explorer.seen, explorer.half = "x", [1], 4
    assert (explorer.note, explorer.seen, explorer.channel) == ("x", [1], 8)
    with pytest.raises(AttributeError, match=r"Mine has no trait 'nte': did you mean 'note'\?"):
        explorer.nte = 1
    explorer.close()

"""Tests of the VGG paper's layer names, which tutorials on style transfer use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from traitlets import TraitError

from tests.explorers import control
from vgg_widget import FeatureExtractor, LayerExplorer, compare, plot, render, sample_image
from vgg_widget.circuit import circuit
from vgg_widget.cli.command import main
from vgg_widget.dataset import TopActivations, top_activations

Explore = Callable[..., LayerExplorer]

# Convolutions of each block: Simonyan & Zisserman 2015, table 1, column E.
BLOCKS = {1: 2, 2: 2, 3: 4, 4: 4, 5: 4}
CONVOLUTIONS = [(block, number + 1) for block, count in BLOCKS.items() for number in range(count)]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor("random", size=64)


@pytest.fixture(scope="module")
def activations(extractor: FeatureExtractor) -> Any:
    return extractor(sample_image())


def test_every_layer_has_the_papers_names(activations: Any) -> None:
    for block, number in CONVOLUTIONS:
        after = activations[f"block{block}_conv{number}"]
        before = activations[f"conv{block}_{number}"]
        assert (before < 0).any()
        np.testing.assert_array_equal(np.maximum(before, 0), after)
        np.testing.assert_array_equal(activations[f"relu{block}_{number}"], after)
    for block in BLOCKS:
        np.testing.assert_array_equal(
            activations[f"pool{block}"], activations[f"block{block}_pool"]
        )


@pytest.mark.parametrize("name", ["conv3_5", "relu6_1", "pool0", "conv1-1", "norm1_1"])
def test_other_names_are_refused(activations: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"layer '{name}' is not known: "):
        render(activations, name)


def test_every_function_accepts_the_papers_names(
    extractor: FeatureExtractor, activations: Any, tmp_path: Path
) -> None:
    plain = render(activations, "block4_conv2", channel=9)
    np.testing.assert_array_equal(render(activations, "relu4_2", channel=9).rgba, plain.rgba)
    before = render(activations, "conv4_2", channel=9)
    np.testing.assert_array_equal(before.rgba, render(activations, "features.21", channel=9).rgba)
    assert before.title == "conv4_2 before ReLU · channel 9"
    axes = Figure().subplots()
    plot(activations, "pool3", "max", ax=axes)
    pool = render(activations, "block3_pool", "max").rgba
    np.testing.assert_array_equal(axes.images[0].get_array(), pool)
    np.testing.assert_array_equal(
        activations.rank("relu2_1", by="max"), activations.rank("block2_conv1", by="max")
    )
    found = circuit(extractor, activations, "conv3_1", 5)
    assert [one.channel for one in found.inputs] == [
        one.channel for one in circuit(extractor, activations, "block3_conv1", 5).inputs
    ]

    for names in (
        ("conv1_1", "relu1_1", "features.0", "features.1", "block1_conv1"),
        ("conv3_1", "relu3_1", "features.10", "features.11", "block3_conv1"),
        ("pool3", "features.18", "block3_pool"),
    ):
        *others, keras_name = (extractor.fan_in(name) for name in names)
        for other in others:
            assert (other.layer, other.source) == (names[-1], keras_name.source)
            if keras_name.kernel is not None:
                np.testing.assert_array_equal(other.kernel, keras_name.kernel)
    with pytest.raises(ValueError, match=r"layer 'pool6' is not known: did you mean 'pool\d'"):
        extractor.fan_in("pool6")

    photographs = {"up": sample_image(), "down": sample_image()[::-1]}
    top = top_activations(extractor, photographs, layers=["conv2_1", "pool2"], progress=False)
    top.save(tmp_path / "top.npz")
    for result in (top, TopActivations.load(tmp_path / "top.npz")):
        np.testing.assert_array_equal(result["conv2_1"].values, result["features.5"].values)
        np.testing.assert_array_equal(result["pool2"].values, result["block2_pool"].values)

    photo = sample_image()
    with closing(
        compare(photo, photo[::-1], extractor=extractor, layer="relu1_2", channel=0)
    ) as comparison:
        assert comparison.renderings is not None
        shown = comparison.renderings.first.values
    np.testing.assert_array_equal(shown, activations["block1_conv2"][..., 0])


def test_the_command_accepts_the_papers_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["render", "sample", "--weights", "random", "--size", "64", "--mode", "mean"]
    for layer in ("conv2_2", "relu2_2", "pool2"):
        path = tmp_path / f"{layer}.svg"
        assert main([*words, "--layer", layer, "-o", str(path)]) == 0
        assert layer in path.read_text(encoding="utf-8")
    assert main([*words, "--layer", "conv2_9", "-o", str(tmp_path / "none.svg")]) != 0
    assert "--layer 'conv2_9' is not known" in capsys.readouterr().err


def test_an_explorer_keeps_to_the_papers_names(explore: Explore) -> None:
    explorer = explore(layer="conv3_1", channel=5)

    def shown() -> tuple[str, bool, bool]:
        assert explorer.rendering is not None
        assert explorer.rendering.title.startswith(explorer.layer)
        values = explorer.rendering.values
        assert values is not None
        return explorer.layer, explorer.before_relu, bool((values < 0).any())

    assert shown() == ("conv3_1", True, True)
    explorer.before_relu = False
    assert shown() == ("relu3_1", False, False)
    explorer.before_relu = True
    assert shown() == ("conv3_1", True, True)
    # A jump to a layer by its Keras name keeps the naming and the side of the current layer.
    explorer.open_channel(7, "block2_conv2")
    assert shown() == ("conv2_2", True, True)
    explorer.open_channel(7, "block2_pool")
    assert explorer.layer == "pool2"
    explorer.back()
    explorer.back()
    assert shown() == ("conv3_1", True, True)
    with closing(LayerExplorer.from_state(explorer.image, explorer.state())) as again:
        assert again.layer == "conv3_1"
        assert again.rendering is not None
        assert explorer.rendering is not None
        np.testing.assert_array_equal(again.rendering.rgba, explorer.rendering.rgba)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("layer", "before", "shown"),
    [
        ("conv3_1", False, "relu3_1"),
        ("relu3_1", True, "conv3_1"),
        ("features.10", False, "features.11"),
        ("features.11", True, "features.10"),
        ("block3_conv1", True, "block3_conv1"),
        ("pool3", True, "pool3"),
    ],
)
def test_an_explicit_side_of_the_relu_overrides_the_layers_name(
    explore: Explore, layer: str, before: bool, shown: str
) -> None:
    made: Any = explore(layer=layer, before_relu=before)
    moved: Any = explore(layer="block1_conv1", before_relu=not before)
    with moved.hold_trait_notifications():
        moved.layer, moved.before_relu = layer, before
    for explorer in (made, moved):
        assert (explorer.layer, explorer.before_relu) == (shown, before)
        values = explorer.rendering.values
        assert values is not None
        assert bool((values < 0).any()) == (before and layer != "pool3")


@pytest.mark.slow
def test_the_list_shows_the_papers_names(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", channel=5, layer_names="paper")
    listed = control(explorer, "layer")
    names = [name for _, name in listed.options]
    assert names[:3] == ["conv1_1", "relu1_1", "conv1_2"]
    assert len(names) == 2 * len(CONVOLUTIONS) + len(BLOCKS)
    assert listed.value == "relu3_1"
    listed.value = "conv4_4"
    assert (explorer.layer, explorer.before_relu) == ("conv4_4", True)
    listed.value = "pool5"
    listed.value = "relu4_4"
    assert (explorer.layer, explorer.before_relu) == ("relu4_4", False)


@pytest.mark.parametrize("layer", [3, 3.0, None, ["conv1_1"], {"pool1"}, b"conv1_1"])
def test_a_layer_that_is_not_a_string_is_refused(
    explore: Explore,
    extractor: FeatureExtractor,
    activations: Any,
    layer: Any,
) -> None:
    message = r"^layer .* is of type \w+, not a name: choose one of"
    with pytest.raises(ValueError, match=message) as one:
        render(activations, layer)
    assert str(one.value).count(". ") == 0
    for ask in (
        activations.__getitem__,
        activations.rank,
        lambda name: activations.rank(name, "entropy"),
        activations.statistics,
        lambda name: activations.statistics(name, [0]),
        activations.info,
        activations.shape,
        activations.signed,
        lambda name: activations.at(name, 0, 0),
        lambda name: activations.rank_at(name, 0, 0),
        lambda name: activations.of_channels(name, [0]),
        extractor.fan_in,
        lambda name: circuit(extractor, activations, name, 0),
    ):
        with pytest.raises(ValueError, match=message):
            ask(layer)
    if layer is not None:
        with pytest.raises(ValueError, match=message):
            activations.top(layer, 99)
    explorer = explore()
    before = explorer.rendering
    with pytest.raises(TraitError, match=r"^layer .* is of type \w+, not a name: choose one of"):
        explorer.layer = layer
    with pytest.raises(TraitError, match=r"^mode .* is of type \w+, not a name: choose one of"):
        explorer.mode = layer
    assert explorer.rendering is before


@pytest.mark.parametrize("layers", [3, [3], [["conv1_1"]]])
def test_layers_of_a_set_that_are_not_strings_are_refused(
    extractor: FeatureExtractor, layers: Any
) -> None:
    with pytest.raises(ValueError, match=r"^layers .* is of type \w+, not a name: choose one of"):
        top_activations(extractor, [sample_image()], layers=layers, progress=False)
    top = top_activations(extractor, [sample_image()], layers="pool1", progress=False)
    with pytest.raises(
        ValueError, match=r"^layer .* is not in this result .*\(block1_pool\): choose"
    ):
        top[layers]

"""Tests of `Activations.from_arrays`, and of explorers of activations without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from traitlets import TraitError

from tests.explorers import words
from vgg_widget import (
    Activations,
    FeatureExtractor,
    ImageError,
    LayerExplorer,
    compare,
    plot,
    render,
    sample_image,
)
from vgg_widget.dataset import TopActivations

RGB8 = npt.NDArray[np.uint8]

NO_NETWORK = "explorer was made from activations and has no network"


def maps() -> dict[str, npt.NDArray[Any]]:
    generator = np.random.default_rng(8)
    return {
        "early": generator.random((48, 64, 4)),
        "layer1.0": generator.normal(size=(24, 32, 6)),
        "layer1.1": generator.random((12, 16, 8)).astype(np.float16),
    }


@pytest.fixture
def image() -> RGB8:
    return sample_image()[:96, :128].copy()


@pytest.fixture
def made(image: RGB8) -> Activations:
    return Activations.from_arrays(maps(), image, label="a simulator")


# Arrays ------------------------------------------------------------------------------------------


def test_values_are_copied_and_read_only(image: RGB8) -> None:
    given = maps()
    made = Activations.from_arrays(given, image, label="a simulator")
    given["early"][:] = 7
    for name, array in maps().items():
        np.testing.assert_array_equal(made[name], array.astype(np.float32))
        assert made[name].dtype == np.float32
        assert not made[name].flags.writeable
    np.testing.assert_array_equal(made.image, image)
    assert (made.weights.source, made.weights.label) == ("arrays", "a simulator")
    assert made.weights.message == ""
    assert made.signed("layer1.0")
    assert not made.signed("early")


def test_channels_first_and_batches_of_one(made: Activations, image: RGB8) -> None:
    turned = {name: np.moveaxis(array, -1, 0)[np.newaxis] for name, array in maps().items()}
    other = Activations.from_arrays(turned, image, channels_last=False)
    for name in made:
        np.testing.assert_array_equal(other[name], made[name])


@pytest.mark.torch
def test_tensors_of_other_frameworks(image: RGB8) -> None:
    import tensorflow as tf
    import torch

    generator = np.random.default_rng(3)
    array = generator.random((12, 16, 5), np.float32)
    found = Activations.from_arrays(
        {
            "torch": torch.from_numpy(array),
            "tensorflow": tf.constant(array),
            "bfloat16": tf.cast(array, tf.bfloat16).numpy(),
            "counts": (array * 9).astype(np.int64),
            "yes": array > 0.5,
        },
        image,
    )
    np.testing.assert_array_equal(found["torch"], array)
    np.testing.assert_array_equal(found["tensorflow"], array)
    np.testing.assert_allclose(found["bfloat16"], array, rtol=2**-8)
    np.testing.assert_array_equal(found["counts"], np.floor(array * 9))
    np.testing.assert_array_equal(found["yes"], array > 0.5)
    attached = torch.ones(12, 16, 5, requires_grad=True)
    with pytest.raises(TypeError, match=r"arrays\['a'\] is of type Tensor.*detach"):
        Activations.from_arrays({"a": attached}, image)


def test_unknown_geometry_stays_undefined(made: Activations, image: RGB8) -> None:
    assert [info.stride for info in made.layers] == [2, 4, 8]
    assert {info.torch_name for info in made.layers} == {None}
    assert [info.block for info in made.layers] == ["early", "layer1", "layer1"]
    info = made.info("layer1.0")
    assert info.receptive_field is None
    with pytest.raises(ValueError, match=r"field of layer 'layer1\.0' is not defined"):
        info.receptive_field_box(0, 0, (96, 128))
    # A unit is located at the centre of its part of the picture.
    assert info.field_center(0, 0) == (1.5, 1.5)
    assert info.unit_at(95, 127, (24, 32)) == (23, 31)


@pytest.mark.parametrize(
    ("arrays", "kind", "expected"),
    [
        ([np.zeros((3, 3, 3))], TypeError, "arrays is a list: pass a dict"),
        ({}, ValueError, "arrays is empty: pass at least one layer"),
        ({3: np.zeros((3, 3, 3))}, TypeError, "arrays has the key 3, which is not a str"),
        ({"": np.zeros((3, 3, 3))}, TypeError, "arrays has the key '', which is not a str"),
        ({"a": np.zeros((3, 3))}, ValueError, r"has shape \(3, 3\): pass an array of"),
        ({"a": np.zeros((5, 3, 3, 3))}, ValueError, "maps of 5 images: pass those of one"),
        ({"a": np.zeros((0, 3, 3))}, ValueError, r"has shape \(0, 3, 3\)"),
        ({"a": np.zeros((3, 3, 3), complex)}, TypeError, "is of type complex128, not an array of"),
        ({"a": np.array([["x"]])}, TypeError, r"is of type str\d+, not an array of real numbers"),
        ({"a": [[1], [1, 2]]}, TypeError, "is of type list, not an array of real numbers"),
        ({"a": None}, TypeError, "is of type NoneType"),
        (
            {"a": np.zeros((9, 48, 64)), "b": np.zeros((512, 12, 16))},
            ValueError,
            r"arrays\['a'\] of shape \(9, 48, 64\) seems to have its channels first, .*_last=False",
        ),
    ],
)
def test_bad_arrays_are_refused(
    arrays: Any, kind: type[Exception], expected: str, image: RGB8
) -> None:
    with pytest.raises(kind, match=expected) as caught:
        Activations.from_arrays(arrays, image)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    with pytest.raises(ImageError):
        Activations.from_arrays(maps(), "no/such/picture.png")


def test_nan_and_infinity_warn(image: RGB8) -> None:
    array = np.ones((12, 16, 2))
    array[0, 0, 0], array[0, 1, 0] = np.nan, 1e300
    with pytest.warns(UserWarning, match=r"0\.52% of the values of arrays\['a'\] are NaN or inf"):
        made = Activations.from_arrays({"a": array}, image)
    assert np.isnan(made["a"][0, 0, 0])
    assert np.isinf(made["a"][0, 1, 0])
    assert render(made, "a").rgba.shape[:2] == (12, 16)


def test_an_image_of_other_proportions_is_accepted_with_a_message(image: RGB8) -> None:
    # A picture twice as large has the same proportions; maps may round their sides down.
    for other in (image.repeat(2, axis=0).repeat(2, axis=1), image[:95, :127]):
        assert Activations.from_arrays(maps(), other).weights.message == ""
    made = Activations.from_arrays(maps(), image[:, :96])
    assert made.weights.message.startswith(
        "Other proportions: layer 'early' has 48×64 units, and the image 96×96 pixels;"
    )
    assert made.info("early").covered(48, 64) == (96, 96)


def test_saving_and_loading_restores_the_activations(made: Activations, tmp_path: Path) -> None:
    made.save(tmp_path / "x.npz")
    again = Activations.load(tmp_path / "x.npz")
    assert again.layers == made.layers
    assert again.weights == made.weights
    for name in made:
        np.testing.assert_array_equal(again[name], made[name])


def test_plot_to_html_rank_and_to_xarray_accept_arrays(made: Activations, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    axes = plot(made, "layer1.0", "grid", ax=Figure().subplots())
    assert "layer1.0" in axes.get_title()
    assert made.to_html(tmp_path / "x.html").size > 10_000
    assert "activations = ...  # put them here, such as Activations.load" in made.to_html()
    assert made.rank("early").size == 4
    assert set(made.to_xarray().data_vars) == {"early", "layer1.0", "layer1.1"}


# Explorers ---------------------------------------------------------------------------------------


@pytest.fixture
def explorer(made: Activations) -> Any:
    with_panels = LayerExplorer(made)
    yield with_panels
    with_panels.close()


def test_tensorflow_is_not_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from vgg_widget import Activations, LayerExplorer, compare\n"
        "maps = {'a': np.random.rand(32, 32, 5)}\n"
        "one = Activations.from_arrays(maps, np.zeros((64, 64, 3), np.uint8))\n"
        "explorer = LayerExplorer(one)\n"
        "for panel in ('Location', 'Display', 'Circuit', 'Play', 'Open & save'):\n"
        "    explorer.panel = panel\n"
        "compare(one, one)\n"
        "print(sorted({'tensorflow', 'keras', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_an_explorer_shows_what_render_does(explorer: LayerExplorer, made: Activations) -> None:
    assert explorer.activations is made
    assert explorer.layer == "layer1.0"
    explorer.choose(layer="early", mode="mean")
    np.testing.assert_array_equal(
        explorer.main_rendering.rgba, render(made, "early", "mean", cmap=explorer.cmap).rgba
    )
    explorer.location = (3, 4)
    assert "a simulator" in explorer._source()
    assert explorer.unit_words(3, 4, None)


@pytest.mark.parametrize(
    "act",
    [
        lambda explorer, _: explorer.extractor,
        lambda explorer, _: explorer.circuit(),
        lambda explorer, image: setattr(explorer, "image", image),
    ],
)
def test_methods_that_need_a_network_raise(
    act: Callable[[LayerExplorer, RGB8], Any], explorer: LayerExplorer, image: RGB8
) -> None:
    before = explorer.rendering
    with pytest.raises(ValueError, match=NO_NETWORK):
        act(explorer, image)
    assert explorer.rendering is before


def test_panels_that_need_a_network_say_so(
    explorer: LayerExplorer, noisy_top: TopActivations, made: Activations
) -> None:
    for panel in ("Circuit", "Looks for", "What is left"):
        explorer.panel = panel
        assert NO_NETWORK in words(explorer)
    explorer.panel = "Why"
    with pytest.raises(TraitError, match=NO_NETWORK):
        explorer.attribution = "gradient"
    explorer.top_images = noisy_top
    explorer.panel = "Strongest"
    assert NO_NETWORK in words(explorer)
    with pytest.raises(ValueError, match=NO_NETWORK):
        LayerExplorer(made, predict=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights", "random"), ("network", "vgg16"), ("size", 64), ("preprocess", abs)],
)
def test_network_arguments_are_refused_with_activations(
    name: str, value: Any, made: Activations
) -> None:
    with pytest.raises(ValueError, match=f"{name} .* was given with activations, .* computed"):
        LayerExplorer(made, **{name: value})


def test_other_activations_replace_the_current_ones(
    explorer: LayerExplorer, made: Activations
) -> None:
    other = Activations.from_arrays(
        {name: 2 * array for name, array in maps().items()}, made.image, label="a simulator"
    )
    explorer.choose(layer="early", channel=2)
    explorer.image = other
    assert explorer.activations is other
    assert (explorer.layer, explorer.channel) == ("early", 2)
    np.testing.assert_array_equal(explorer.main_rendering.values, other["early"][..., 2])


def test_state_and_code(explorer: LayerExplorer, made: Activations) -> None:
    explorer.choose(layer="early", channel=3, cmap="viridis")
    state = explorer.state()
    assert not {"weights", "size", "network"} & set(state)
    again = LayerExplorer.from_state(made, state)
    np.testing.assert_array_equal(again.main_rendering.rgba, explorer.main_rendering.rgba)
    again.close()
    code = explorer.to_code()
    assert "FeatureExtractor" not in code
    assert "activations = ...  # a simulator: put Activations.load('x.npz') here\n" in code
    namespace: dict[str, Any] = {}
    # Leave out the last line, which draws with pyplot.
    drawn = code.replace("activations = ...", "activations = given").rpartition("axes = ")[0]
    exec(drawn, {"given": made}, namespace)  # noqa: S102 - the code under test
    np.testing.assert_array_equal(namespace["rendering"].rgba, explorer.main_rendering.rgba)


def test_activations_together_with_their_extractor(
    extractor: FeatureExtractor, photo: RGB8, activations: Activations, made: Activations
) -> None:
    explorer = LayerExplorer(activations, extractor=extractor, layer="block2_conv1", channel=1)
    assert explorer.activations is activations
    assert explorer.circuit().source == "block1_pool"
    assert "FeatureExtractor('random', size=None)" in explorer.to_code()
    state = explorer.state()
    explorer.image = photo[:40]
    assert explorer.activations.image.shape == (40, 75, 3)
    explorer.close()
    alone = LayerExplorer.from_state(activations, state)
    assert alone.before_relu is False
    alone.layer_names = "paper"
    alone.close()
    with pytest.raises(ValueError, match="activations come from a simulator, but extractor has"):
        LayerExplorer(made, extractor=extractor)


def test_a_loaded_file_shows_maps_before_a_relu(activations: Activations, tmp_path: Path) -> None:
    activations.save(tmp_path / "x.npz")
    explorer = LayerExplorer(Activations.load(tmp_path / "x.npz"), layer="conv3_1")
    # The map before the ReLU has both signs.
    vmin = explorer.main_rendering.vmin
    assert vmin is not None
    assert vmin < 0
    explorer.close()


def test_arrays_have_no_names_of_torchvision(explorer: LayerExplorer) -> None:
    with pytest.raises(TraitError, match="each layer of this network has just one name"):
        explorer.layer_names = "torchvision"


def test_activations_of_two_images_are_compared(made: Activations, image: RGB8) -> None:
    doubled = {name: 2 * array for name, array in maps().items()}
    other = Activations.from_arrays(doubled, image, label="a simulator")
    comparison = compare(made, other, layer="early", channel=1)
    renderings = comparison.renderings
    assert renderings is not None
    assert renderings.difference.values is not None
    np.testing.assert_allclose(
        np.asarray(renderings.difference.values), np.asarray(made["early"][..., 1]), rtol=1e-6
    )
    assert "both = Pair.of(first, second)" in comparison.to_code()
    comparison.first = other
    assert comparison.renderings is not None
    assert not np.any(comparison.renderings.difference.values)
    with pytest.raises(ValueError, match=NO_NETWORK):
        comparison.second = image
    comparison.close()
    with pytest.raises(ValueError, match="first and second are activations and an image"):
        compare(made, image)
    fewer = Activations.from_arrays({"early": maps()["early"]}, image, label="a simulator")
    with pytest.raises(ValueError, match="second has another set of layers than first"):
        compare(made, fewer)

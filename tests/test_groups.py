"""Tests of factorising channels into groups, against scikit-learn, and of the mode "groups"."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.text import Text

from tests.conftest import make_activations
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, plot, render
from vgg_widget.pictures.comparing import Pair, render_pair
from vgg_widget.pictures.groups import amounts, factorised

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]


def residual(values: Floats, places: Floats, mixtures: Floats) -> float:
    return float(np.linalg.norm(values - places @ mixtures) / np.linalg.norm(values))


def as_matrix(activations: Activations, layer: str) -> Floats:
    maps = activations[layer]
    return maps.reshape(-1, maps.shape[-1])


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv1", "block5_conv1"])
def test_the_residual_is_not_larger_than_scikit_learns(
    activations: Activations, layer: str
) -> None:
    from sklearn.decomposition import NMF

    values = as_matrix(activations, layer)
    reference = NMF(6, init="nndsvd", max_iter=500, tol=1e-5)
    expected = residual(values, reference.fit_transform(values), reference.components_)
    places, mixtures = factorised(values, 6)
    assert residual(values, places, mixtures) <= 1.02 * expected
    assert places.min() >= 0
    assert mixtures.min() >= 0
    assert np.linalg.norm(mixtures, axis=1) == pytest.approx(1, abs=1e-5)
    energy = (places**2).sum(axis=0)
    assert (np.diff(energy) <= 0).all()


def test_the_factors_of_a_product_are_recovered() -> None:
    generator = np.random.default_rng(0)
    places = np.eye(4, dtype=np.float32)[generator.integers(4, size=60)]
    places *= generator.uniform(1, 2, (60, 1)).astype(np.float32)
    # Each channel belongs to one group, which makes the factorisation unique.
    mixtures = np.repeat(np.eye(4, dtype=np.float32), 3, axis=1)
    mixtures *= generator.uniform(1, 2, 12).astype(np.float32)
    found = factorised(places @ mixtures, 4)
    assert residual(places @ mixtures, *found) < 2e-2
    # At each location, one group dominates.
    assert (np.sort(found[0], axis=1)[:, -2] < 0.1 * found[0].max()).all()


def test_the_factorisation_is_deterministic(activations: Activations) -> None:
    values = as_matrix(activations, "block2_conv1")
    one, other = factorised(values, 6), factorised(values.copy(), 6)
    for first, second in zip(one, other, strict=True):
        assert first.tobytes() == second.tobytes()


def test_large_maps_are_factorised_from_a_sample_of_locations() -> None:
    generator = np.random.default_rng(1)
    mixtures = generator.uniform(0, 1, (3, 8)).astype(np.float32)
    values = generator.uniform(0, 1, (20_000, 3)).astype(np.float32) @ mixtures
    found = factorised(values, 3)
    assert found[0].shape == (20_000, 3)
    assert residual(values, *found) < 0.05
    assert residual(values, amounts(values, found[1]), found[1]) < 0.05


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((12, 5), np.float32),
        np.ones((12, 5), np.float32),
        np.full((1, 1), 3, np.float32),
        -np.ones((12, 5), np.float32),
        np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3]], np.float32),
    ],
)
def test_degenerate_matrices_are_factorised(values: Floats) -> None:
    places, mixtures = factorised(values, 6)
    assert np.isfinite(places).all()
    assert np.isfinite(mixtures).all()
    known = np.maximum(np.where(np.isfinite(values), values, 0), 0)
    assert places @ mixtures == pytest.approx(known, abs=0.1)


# The mode -----------------------------------------------------------------------------------------


def two_halves() -> Floats:
    """Return maps whose channels 0, 2 and 4 are active on the left, the others on the right."""
    maps = np.zeros((8, 10, 6), np.float32)
    maps[:, :5, ::2] = [3, 2, 1]
    maps[:, 5:, 1::2] = [1, 2, 4]
    return maps


def test_places_where_the_same_channels_are_active_have_one_hue() -> None:
    made = render(make_activations(two_halves()), "conv", "groups")
    left, right = made.rgba[2, 2, :3].astype(int), made.rgba[2, 7, :3].astype(int)
    assert (made.rgba[:, :5, :3] == left).all()
    assert (made.rgba[:, 5:, :3] == right).all()
    assert np.abs(left - right).max() > 100
    # A label names the channels of a group, the strongest first.
    labels = [entry.label for entry in made.legend]
    assert labels == ["5 + 3 …", "0 + 2 …"]
    assert np.argmax(right) == np.argmax(made.legend[0].color)
    assert made.values is None
    assert made.title == "conv · 6 channels in groups"


def test_some_channels_before_a_relu_and_dead_ones(activations: Activations) -> None:
    made = render(activations, "features.10", "groups", channels=[7, 3, 9, 200])
    named = {int(one) for entry in made.legend for one in entry.label.split(" …")[0].split(" + ")}
    assert named <= {7, 3, 9, 200}
    assert made.rgba.shape == (16, 18, 4)
    dead = render(make_activations(np.zeros((4, 4, 3), np.float32)), "conv", "groups")
    assert (dead.rgba[..., :3] == 0).all()
    assert dead.legend == ()


def test_two_pictures_have_the_same_groups() -> None:
    one, other = two_halves(), two_halves()[:, ::-1].copy()
    both = Pair.of(make_activations(one), make_activations(other), "")
    found = render_pair(both, "conv", "groups")
    first, second = found.first, found.second
    assert [entry.label for entry in first.legend] == [entry.label for entry in second.legend]
    assert np.abs(first.rgba.astype(int) - second.rgba[:, ::-1]).max() <= 2


def test_plots_and_the_explorer_show_groups(
    explore: Any, activations: Activations, extractor: FeatureExtractor
) -> None:
    explorer: LayerExplorer = explore(layer="block2_conv1", mode="groups")
    expected = render(activations, "block2_conv1", "groups")
    assert explorer.rendering is not None
    np.testing.assert_array_equal(explorer.rendering.rgba, expected.rgba)
    labels = [entry.label for entry in expected.legend]
    texts: list[Any] = explorer.figure.findobj(match=Text)
    drawn = [text.get_text() for text in texts]
    assert all(any(label in one for one in drawn) for label in labels)
    assert "groups" in explorer.to_code()
    axes = plot(activations, "block2_conv1", "groups")
    try:
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == labels
    finally:
        import matplotlib.pyplot as plt

        plt.close("all")

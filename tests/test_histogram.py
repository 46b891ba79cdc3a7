"""Tests of the histogram of a rendering, against NumPy and counts by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_activations
from vgg_widget import Activations, render
from vgg_widget.pictures.histogram import Histogram, histogram
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import Scale

Floats = npt.NDArray[np.float32]


def counted(rendering: Rendering, bins: int = 64) -> Histogram:
    made = histogram(rendering, bins)
    assert made is not None
    return made


@pytest.mark.parametrize("layer", ["block2_conv1", "features.10"])
@pytest.mark.parametrize("mode", ["channel", "max", "mean"])
@pytest.mark.parametrize("scale", ["layer", Scale("channel", 80, 0.5)])
def test_the_histogram_agrees_with_numpys_over_the_display_range(
    activations: Activations, layer: str, mode: str, scale: str | Scale
) -> None:
    rendering = render(activations, layer, mode, channel=7, scale=scale)
    assert rendering.values is not None
    assert rendering.vmin is not None
    assert rendering.vmax is not None
    made = counted(rendering, 20)
    ends = (rendering.vmin, rendering.vmax)
    counts, edges = np.histogram(rendering.values, 20, ends)
    np.testing.assert_allclose(made.edges, edges)
    # A value on a bin edge may be counted on either side.
    assert np.abs(np.cumsum(made.counts - counts)).max() <= 2
    assert made.below == (rendering.values < np.float32(ends[0])).sum()
    assert made.above == (rendering.values > np.float32(ends[1])).sum()
    assert made.counts.sum() + made.below + made.above == rendering.values.size
    assert (made.below > 0, made.above > 0) == rendering.clipped
    assert made.step == 1


def test_ends_belong_to_the_bins_and_nan_to_none() -> None:
    maps = np.array([[0, 0.5, 1, 1.5], [4, np.nan, np.inf, 3.99]], np.float32)[..., None]
    rendering = render(make_activations(maps), "conv", scale=Scale("channel", 100))
    assert (rendering.vmin, rendering.vmax) == (0, 4)
    made = counted(rendering, 4)
    assert made.counts.tolist() == [2, 2, 0, 2]
    assert (made.below, made.above) == (0, 1)
    assert made.edges.tolist() == [0, 1, 2, 3, 4]


@given(
    channels=st.integers(1, 7),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    scale=st.sampled_from(["layer", "network"]),
)
def test_a_grid_is_counted_without_its_gaps(
    channels: int, shape: tuple[int, int], scale: str
) -> None:
    maps = 1 + np.random.default_rng(channels).random((*shape, channels)).astype(np.float32)
    made = counted(render(make_activations(maps), "conv", "grid", scale=scale), 8)
    assert made.counts.sum() + made.above == maps.size
    assert made.counts[0] == 0  # no activation is below 1, and a gap is 0


def test_a_large_grid_is_sampled_evenly() -> None:
    # Every column and channel has distinct values, so omitting some would be noticed.
    rows, columns, channels = np.mgrid[:64, :64, :64].astype(np.float32)
    maps = 1 + columns + 64 * channels + rows / 64
    rendering = render(make_activations(maps), "conv", "grid", scale=Scale("layer", 100))
    made = counted(rendering, 64)
    assert made.step > 1
    assert 10_000 < made.counts.sum() < 40_000
    share = made.counts / made.counts.sum()
    np.testing.assert_allclose(share, 1 / 64, rtol=0.1)  # a bin holds one channel
    again = counted(rendering, 64)
    assert again.counts.tolist() == made.counts.tolist()


def test_no_histogram_for_renderings_without_one_range(activations: Activations) -> None:
    for mode in ("argmax", "composite", "rgb", "rainbow"):
        assert histogram(render(activations, "block2_conv1", mode)) is None
    assert histogram(render(activations, "block2_conv1", "grid", scale="channel")) is None
    dead = make_activations(np.zeros((3, 3, 2), np.float32))
    assert histogram(render(dead, "conv", scale="channel")) is None


@pytest.mark.parametrize("bins", [0, -3, 2.5, True, "10"])
def test_a_bad_number_of_bins_is_named(activations: Activations, bins: int) -> None:
    rendering = render(activations, "block2_conv1")
    with pytest.raises(
        ValueError, match=rf"bins {bins!r} is not a valid number of bins: choose a whole"
    ):
        histogram(rendering, bins)

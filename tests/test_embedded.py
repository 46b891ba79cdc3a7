"""Tests of the filters that the package ships: their arrays, provenance and licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor, LayerExplorer, WeightsError, sample_image
from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights import embedded_path, resolve
from vgg_widget.weights.learned_weights import LearnedWeights


def test_the_shipped_file_is_complete_and_small_and_describes_itself() -> None:
    assert embedded_path().stat().st_size <= 10_000_000
    resolved = resolve("kmeans")
    assert {n: kernel.shape for n, (kernel, _) in resolved.arrays.items()} == vgg19_kernel_shapes()
    for kernel, bias in resolved.arrays.values():
        assert kernel.dtype == bias.dtype == np.float32
        assert np.isfinite(kernel).all()
        # No filter is zero everywhere.
        assert (np.abs(kernel).sum(axis=(0, 1, 2)) > 0).all()
    provenance = resolved.provenance
    assert provenance.source == "kmeans"
    assert "ImageNet" not in provenance.label
    assert "without labels from 6 photographs" in provenance.message
    assert "not trained to recognise anything" in provenance.message


def test_the_sheet_names_every_photograph_with_its_licence_and_the_digest() -> None:
    learned = LearnedWeights.load(embedded_path())
    sheet = embedded_path().with_name("vgg19_kmeans.md").read_text(encoding="utf-8")
    assert learned.digest in sheet
    assert f"seed {learned.metadata['seed']}" in sheet
    for source in learned.metadata["sources"]:
        assert Path(source["file"]).name in sheet
        assert source["licence"] in sheet
        # The filters were not learned from the sample image.
        assert "hopper" not in source["file"]
    assert len(learned.metadata["sources"]) == learned.metadata["photographs"]


def test_the_filters_are_the_default_without_internet_and_say_so() -> None:
    explorer = LayerExplorer(sample_image(), size=64)
    try:
        assert explorer.activations.weights.source == "kmeans"
        message = explorer.activations.weights.message
        for part in ("NOT ImageNet", "not trained", "vgg-widget weights --download", "models"):
            assert part in message
        assert "FeatureExtractor('kmeans', size=64)" in explorer.to_code()
        assert explorer.state()["weights"] == "kmeans"
    finally:
        explorer.close()


def kurtosis(maps: npt.NDArray[Any]) -> float:
    """Return the median over living channels of E[(x - mean)⁴] / variance²."""
    flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    flat = flat[:, flat.std(axis=0) > 0]
    deviation = flat - flat.mean(axis=0)
    return float(np.median((deviation**4).mean(axis=0) / flat.var(axis=0) ** 2))


@pytest.mark.slow
def test_the_filters_are_more_selective_than_random_ones_and_all_alive() -> None:
    learned = FeatureExtractor("kmeans")(sample_image())
    random = FeatureExtractor("random")(sample_image())
    for layer in ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"):
        assert kurtosis(learned[layer]) > 1.5 * kurtosis(random[layer]), layer
        assert (learned.statistics(layer).max > 0).all(), layer


def test_a_file_of_learned_weights_is_read_and_an_incomplete_one_refused(tmp_path: Path) -> None:
    whole = LearnedWeights.load(embedded_path())
    path = tmp_path / "mine.npz"
    whole.save(path)
    resolved = resolve(path)
    assert resolved.provenance.source == "file"
    assert "mine.npz" in resolved.provenance.label
    assert "not ImageNet weights" in resolved.provenance.message
    assert np.array_equal(resolved.arrays["block5_conv4"][0], whole.kernels()["block5_conv4"][0])

    first = dict(list(whole.layers.items())[:3])
    LearnedWeights(first, whole.metadata).save(path)
    with pytest.raises(WeightsError, match=r"no filters for layer 'block2_conv2'"):
        resolve(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(WeightsError, match=r"mine\.npz.* is not a known kind of weights file"):
        resolve(path)
    with pytest.raises(WeightsError, match="No such file or directory\\): check the path"):
        resolve(tmp_path / "none.npz")

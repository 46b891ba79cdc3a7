"""Tests that activations of other weights are refused where their network is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from vgg_widget import Activations, FeatureExtractor, LayerExplorer, compare
from vgg_widget.circuit import circuit
from vgg_widget.gradients import attribute, content_distance, explain_unit, reconstruct
from vgg_widget.network.parameters import parameters_digest
from vgg_widget.pictures.comparing import Pair

pytestmark = pytest.mark.torch

RGB8 = npt.NDArray[np.uint8]


def of_torch() -> Any:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))


def of_keras() -> Any:
    import keras

    convolutions = (keras.layers.Conv2D(n, 3, name=f"conv{n}") for n in (4, 2))
    return keras.Sequential([keras.Input((None, None, 3)), *convolutions], name="net")


def extractor_of(model: Any) -> FeatureExtractor:
    return FeatureExtractor(model=model, preprocess=lambda images: images / 255, size=None)


def trained(model: Any) -> None:
    if isinstance(model, nn.Module):
        # Old code writes to `data`, which PyTorch's own version counter does not count.
        next(model.parameters()).data[0, 0, 0, 0] += 0.01
    else:
        kernel = model.weights[0].numpy()
        kernel[0, 0, 0, 0] += 0.01
        model.weights[0].assign(kernel)


@pytest.fixture(params=[of_torch, of_keras])
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    made: Callable[[], Any] = request.param
    return made


def test_activations_of_another_network_of_the_same_architecture(
    make: Callable[[], Any], photo: RGB8, tmp_path: Path
) -> None:
    one, other = extractor_of(make()), extractor_of(make())
    activations = one(photo)
    layer = activations.layers[-1].name
    activations.save(tmp_path / "a.npz")
    loaded = Activations.load(tmp_path / "a.npz")
    again = next(one.stream([photo]))
    for known in (activations, loaded, again):
        assert attribute(one, known, layer, 1, (3, 4)).value
        for refused in (
            lambda known=known: attribute(other, known, layer, 1, (3, 4)),
            lambda known=known: explain_unit(other, known, layer, 1, (3, 4)),
            lambda known=known: circuit(other, known, layer, 1),
            lambda known=known: reconstruct(other, known, layer, steps=1, progress=False),
            lambda known=known: LayerExplorer(known, extractor=other),
        ):
            with pytest.raises(ValueError, match="with other weights than the extractor's model"):
                refused()
    with pytest.raises(ValueError, match="second has another set of weights than first"):
        compare(activations, other(photo))
    # Files of earlier versions have no digest; only the label counts.
    old = replace(activations.weights, digest="")
    maps = {name: activations[name] for name in activations}
    known = Activations(activations.layers, maps, activations.image, old)
    assert attribute(other, known, layer, 1, (3, 4)).value
    assert Pair.of(known, other(photo)).second.weights.digest
    assert content_distance(known, activations, layer) == 0
    words = rf"second comes from .* \({other(photo).weights.digest}\).*, but first from "
    with pytest.raises(ValueError, match=words):
        content_distance(activations, other(photo), layer)


def test_a_model_of_keras_without_eager_execution(photo: RGB8) -> None:
    import tensorflow as tf

    extractor = extractor_of(of_keras())
    activations = extractor(photo)
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match="does not execute eagerly"):
        circuit(extractor, activations, "conv2", 1)


def test_a_model_that_is_trained_further(make: Callable[[], Any], photo: RGB8) -> None:
    model = make()
    extractor = extractor_of(model)
    activations = extractor(photo)
    layer = activations.layers[-1].name
    trained(model)
    with pytest.raises(ValueError, match="compute them again with extractor") as raised:
        attribute(extractor, activations, layer, 1, (3, 4))
    assert "\n" not in str(raised.value)
    again = extractor(activations.image)
    assert explain_unit(extractor, again, layer, 1, (3, 4)).total == pytest.approx(
        again.at(layer, 3, 4)[1], abs=1e-4
    )


def test_counters_that_a_forward_pass_changes_are_not_weights(photo: RGB8) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)
            self.calls: torch.Tensor
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, images: Any) -> Any:
            self.calls += 1
            return self.conv(images)

    extractor = extractor_of(Counting())
    activations = extractor(photo)
    assert attribute(extractor, activations, "conv", 1, (3, 4)).value
    assert extractor(photo).weights == activations.weights


def test_the_digest_of_parameters() -> None:
    numbers = np.random.default_rng(0).random((40, 5, 7, 7), np.float32)
    known = parameters_digest([numbers])
    assert known == parameters_digest([numbers.copy()])
    changed = numbers.copy()
    changed[-1, -1, -1, -1] = np.nextafter(changed[-1, -1, -1, -1], 2, dtype=np.float32)
    early = numbers.copy()
    early[0, 0, 0, 0] = -early[0, 0, 0, 0]
    others = (changed, early, numbers[::-1], numbers.reshape(-1), numbers.astype(np.float64))
    digests = {parameters_digest([one]) for one in (*others, numbers[:39])} | {known}
    assert len(digests) == 7
    assert parameters_digest([]) == ""
    assert parameters_digest([np.zeros(()), np.zeros((0, 3))]).startswith("sums:")

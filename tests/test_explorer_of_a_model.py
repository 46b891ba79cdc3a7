"""Tests of custom models that are given directly to the explorer and the comparison."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from vgg_widget import FeatureExtractor, LayerExplorer, compare, sample_image


def test_an_explorer_and_a_comparison_take_the_model_itself() -> None:
    import keras

    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="edges"),
            keras.layers.MaxPooling2D(name="half"),
        ]
    )
    image = sample_image()

    def half(images: Any) -> Any:
        return images / 255 - 0.5

    by_hand = model.predict(half(np.float32(image))[np.newaxis], verbose=0)[0]
    with closing(LayerExplorer(image, model=model, preprocess=half, size=None)) as explorer:
        assert explorer.layer == "edges"
        np.testing.assert_allclose(explorer.activations["half"], by_hand, rtol=1e-4, atol=1e-5)
        with pytest.raises(AttributeError, match=r"model of this explorer cannot be changed"):
            explorer.model = model
        state = explorer.state()
    with pytest.raises(ValueError, match=r"pass model=\.\.\. or extractor=\.\.\. as well"):
        LayerExplorer.from_state(image, state)
    again = LayerExplorer.from_state(image, state, model=model, preprocess=half)
    with closing(again):
        np.testing.assert_allclose(again.activations["half"], by_hand, rtol=1e-4, atol=1e-5)
    pair = compare(image, image[::-1], model=model, preprocess=half, size=None)
    with closing(pair):
        np.testing.assert_allclose(pair.pair.first["half"], by_hand, rtol=1e-4, atol=1e-5)


def test_arguments_that_the_extractor_has_are_refused() -> None:
    extractor = FeatureExtractor("random", size=64)
    both: dict[str, Any] = {
        "model": object(),
        "preprocess": len,
        "size": 96,
        "weights": "random",
    }
    for name, value in both.items():
        with pytest.raises(
            ValueError, match=rf"^{name} .* and extractor were both given: leave {name}"
        ):
            LayerExplorer(sample_image(), extractor=extractor, **{name: value})
    with pytest.raises(TypeError, match=r"did you mean 'model'\?"):
        LayerExplorer(sample_image(), modell=object())
    import keras

    with pytest.raises(TypeError, match=r"as model=\."):
        LayerExplorer(sample_image(), extractor=keras.Sequential())

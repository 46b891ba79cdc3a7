"""What is said of an attribution: why it is 0, what is stale; and where an interrupt ends it."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import Activations, FeatureExtractor
from vgg_widget.gradients import METHODS, attribute
from vgg_widget.network.differentiable import ChannelFunction

RGB8 = npt.NDArray[np.uint8]
OF_UNITS = METHODS[:-1]


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


@pytest.mark.parametrize("method", OF_UNITS)
def test_a_map_of_zeros_says_why(
    extractor: FeatureExtractor, activations: Activations, method: Any
) -> None:
    row, column, channel = np.argwhere(activations["block2_conv1"] == 0)[0]
    asked: Any = (extractor, activations, "block2_conv1", int(channel), (int(row), int(column)))
    # Nothing is hidden, and nothing is on the way.
    more: dict[str, Any] = {"noise": 0, "samples": 2} if method == "smoothgrad" else {}
    if "gradients" in method or method == "occlusion":
        more["baseline"] = activations.image
    found = attribute(*asked, method=method, **more)
    assert found.dead
    assert found.message.startswith(
        "the image equals the baseline wherever this value depends on it, so there is nothing "
        if "baseline" in more
        else "layer 'block2_conv1' is 0 here after its ReLU, through which there is no gradient: "
    )


def test_a_unit_that_no_square_wakes(extractor: FeatureExtractor, activations: Activations) -> None:
    before = activations["features.5"]
    row, column, channel = (int(place) for place in np.unravel_index(before.argmin(), before.shape))
    colour = activations.image[2 * row, 2 * column]
    found = attribute(
        extractor,
        activations,
        "block2_conv1",
        channel,
        (row, column),
        method="occlusion",
        baseline=colour,
        window=1,
    )
    assert found.message == (
        "layer 'block2_conv1' is 0 here after its ReLU, and stays so: pass 'features.5', which is "
        "the same before the ReLU."
    )


def test_steps_and_dead_units_of_ones_own_model_are_told_apart(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    extractor = FeatureExtractor(model=keras.Model(inputs, [x, keras.ops.sign(x)]), size=None)
    activations = extractor(photo)
    steps = next(info.name for info in extractor.layers if info.name != "stem")
    row, column, channel = (int(place) for place in np.argwhere(activations["stem"] > 1)[0])
    asked: Any = (extractor, activations, steps, channel, (row, column))
    for method in OF_UNITS[:-1]:
        found = attribute(*asked, method=method)
        assert found.message == (
            "no small change of a pixel changes this value: method='occlusion' makes larger ones."
        )
    row, column, channel = (int(place) for place in np.argwhere(activations["stem"] == 0)[0])
    found = attribute(extractor, activations, "stem", channel, (row, column))
    assert found.message.startswith("layer 'stem' is 0 here, and no small change of a pixel ")
    assert found.message.endswith("as after a ReLU: pass a location where it is not 0.")


@pytest.mark.parametrize("method", OF_UNITS)
@pytest.mark.parametrize("location", [(4, 5), None])
def test_activations_of_a_file_without_a_digest_are_compared_with_the_network(
    keras: Any, photo: RGB8, location: Any, method: Any
) -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, name="c")])
    extractor = FeatureExtractor(model=model, size=None)
    computed = extractor(photo)
    # As earlier versions saved them; with a digest they are refused.
    weights = replace(computed.weights, digest="")
    maps = {name: computed[name] for name in computed}
    activations = Activations(computed.layers, maps, computed.image, weights)
    asked: Any = (extractor, activations, "c", 1, location)
    assert not attribute(*asked, method=method).message
    model.set_weights([2 * array for array in model.get_weights()])
    found = attribute(*asked, method=method)
    channel = activations["c"][..., 1]
    expected = channel.sum() if location is None else channel[4, 5]
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.message.startswith("the network gives ")
    assert found.message.endswith("since its weights have changed: pass the image again.")
    again = attribute(extractor, photo, "c", 1, location, method=method)
    assert again.value == pytest.approx(2 * found.value, rel=1e-3)
    assert not again.message
    if found.completeness is not None:
        # It is the network's of now, as the map is.
        assert found.completeness.gap < 0.01


def test_an_interrupt_waits_until_tensorflow_is_out_of_its_own_code(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    function = ChannelFunction(extractor, activations, "features.2", (1, (4, 5)))
    top, left, bottom, right = function.crop
    pictures = activations.image[np.newaxis, top:bottom, left:right].astype(np.float32)
    done = []

    def interrupted(name: str) -> Any:
        compiled = getattr(function, name)

        def run(*given: Any) -> Any:
            # TensorFlow would make a TypeError of it here.
            signal.raise_signal(signal.SIGINT)
            done.append(name)
            return compiled(*given)

        return run

    for name, asked in (("_values", function.values), ("_gradients", function.gradients)):
        setattr(function, name, interrupted(name))
        with pytest.raises(KeyboardInterrupt):
            asked(pictures)
    assert done == ["_values", "_gradients"]

"""Tests of the messages of attributions that are 0 or stale, and of interrupts."""

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
def test_an_attribution_of_zeros_explains_itself(
    extractor: FeatureExtractor, activations: Activations, method: Any
) -> None:
    row, column, channel = np.argwhere(activations["block2_conv1"] == 0)[0]
    asked: Any = (extractor, activations, "block2_conv1", int(channel), (int(row), int(column)))
    # With the image itself as baseline, occlusion changes no pixel and the path has no length.
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


def test_occlusion_of_a_dead_unit_suggests_the_layer_before_the_relu(
    extractor: FeatureExtractor, activations: Activations
) -> None:
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


def test_step_functions_and_dead_units_of_a_model_have_different_messages(
    keras: Any, photo: RGB8
) -> None:
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
    # Earlier versions saved activations without a digest; with a digest, stale ones are refused.
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
        # The map and its completeness both belong to the network's present weights.
        assert found.completeness.gap < 0.01


def test_an_interrupt_waits_until_tensorflow_returns(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    function = ChannelFunction(extractor, activations, "features.2", (1, (4, 5)))
    top, left, bottom, right = function.crop
    pictures = activations.image[np.newaxis, top:bottom, left:right].astype(np.float32)
    done = []

    def interrupted(name: str) -> Any:
        compiled = getattr(function, name)

        def run(*given: Any) -> Any:
            # TensorFlow would turn a KeyboardInterrupt raised here into a TypeError.
            signal.raise_signal(signal.SIGINT)
            done.append(name)
            return compiled(*given)

        return run

    for name, asked in (("_values", function.values), ("_gradients", function.gradients)):
        setattr(function, name, interrupted(name))
        with pytest.raises(KeyboardInterrupt):
            asked(pictures)
    assert done == ["_values", "_gradients"]


def test_values_that_are_not_finite_are_refused(keras: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(2, 3, padding="same", name="conv")
    model = keras.Model(inputs, conv(inputs))
    conv.set_weights([np.full((3, 3, 3, 2), np.nan), np.zeros(2)])
    pixels = np.full((8, 8, 3), 90, np.uint8)
    with pytest.warns(UserWarning, match="NaN"):
        made = FeatureExtractor(model=model)(pixels)
    for method in OF_UNITS:
        with pytest.raises(ValueError, match=r"layer 'conv' has NaN .* nothing can be attributed"):
            attribute(FeatureExtractor(model=model), made, "conv", 0, (4, 4), method=method)


def test_nan_elsewhere_in_a_channel_is_no_change_of_the_weights(keras: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    logarithm = keras.layers.Activation(keras.ops.log, name="logarithm")
    model = keras.Model(inputs, logarithm(inputs))
    pixels = np.full((8, 8, 3), 90, np.uint8)
    pixels[0] = 0
    extractor = FeatureExtractor(model=model)
    with pytest.warns(UserWarning, match="infinite"):
        made = extractor(pixels)
    found = attribute(extractor, made, "logarithm", 0, (4, 4))
    assert found.message == ""
    assert found.value == pytest.approx(np.log(90))
    assert found.values[4, 4] == pytest.approx(1 / 90)
    with pytest.raises(ValueError, match=r"infinite for the baseline, .* pass another baseline="):
        attribute(extractor, made, "logarithm", 0, (4, 4), method="integrated_gradients")
    with pytest.raises(ValueError, match=r"'occlusion' makes, .*: pass another baseline=\."):
        attribute(extractor, made, "logarithm", 0, (4, 4), method="occlusion", baseline=(0, 0, 0))

"""`explain_unit`: the products that a unit sums, by hand and compared with the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import Activations, FeatureExtractor
from vgg_widget.circuit import circuit
from vgg_widget.gradients import explain_unit

RGB8 = npt.NDArray[np.uint8]


@pytest.mark.parametrize("layer", ["block1_conv1", "features.2", "block3_conv1", "features.34"])
def test_the_products_and_the_bias_are_the_value(
    extractor: FeatureExtractor, activations: Activations, layer: str
) -> None:
    rows, columns, _ = activations.shape(layer)
    for location in {(0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)}:
        for channel in (0, 3):
            found = explain_unit(extractor, activations, layer, channel, location)
            assert found.contributions.dtype == np.float64
            np.testing.assert_array_equal(
                found.contributions, found.patch.astype(float) * found.kernel.astype(float)
            )
            total = found.contributions.sum() + found.bias
            assert total == found.total
            assert found.activation == ("linear" if layer.startswith("features") else "relu")
            expected = max(total, 0.0) if found.activation == "relu" else total
            size = np.abs(found.contributions).sum()
            assert abs(found.value - expected) <= 1e-6 * size
            assert found.value == activations[layer][(*location, channel)]
            assert not found.patch[~found.inside].any()
            # The circuit has the same numbers, summed over the window.
            other = circuit(extractor, activations, layer, channel, 1000, location=location)
            by_input = dict(zip(found.inputs, found.contributions.sum(axis=(0, 1)), strict=True))
            for one in other.inputs:
                assert one.contribution == pytest.approx(by_input[one.channel], abs=1e-9 * size)


def test_the_first_layer_by_hand(extractor: FeatureExtractor, activations: Activations) -> None:
    row, column = 20, 30
    found = explain_unit(extractor, activations, "block1_conv1", 3, (row, column))
    assert found.source is None
    assert found.names == ("blue", "green", "red")
    around = activations.image[row - 1 : row + 2, column - 1 : column + 2]
    pixels = around[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    np.testing.assert_array_equal(found.patch, pixels)
    kernel, bias = extractor.model.get_layer("block1_conv1").get_weights()
    np.testing.assert_array_equal(found.kernel, kernel[..., 3])
    assert found.bias == bias[3]
    assert found.inside.all()
    strongest = found.strongest(4)
    sizes = [abs(found.contributions[place]) for place in strongest]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == np.abs(found.contributions).max()
    corner = explain_unit(extractor, activations, "block1_conv1", 3, (0, 0))
    assert corner.inside.tolist() == [[False] * 3, [False, True, True], [False, True, True]]
    assert not corner.patch.flags.writeable


def test_custom_layers(photo: RGB8) -> None:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh", name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, name="depth")(x)
    x = layers.SeparableConv2D(5, 3, activation="relu", name="parts")(x)
    both = layers.Add(name="sum")([x, x])
    last = layers.MaxPooling2D(name="pool")(both)
    extractor = FeatureExtractor(model=keras.Model(inputs, last), size=None)
    activations = extractor(photo)
    functions: dict[str, Any] = {
        "linear": lambda total: total,
        "relu": lambda total: max(total, 0.0),
        "tanh": np.tanh,
    }
    for layer in ("stem", "depth", "parts"):
        for location in ((0, 0), (10, 12)):
            found = explain_unit(extractor, activations, layer, 2, location)
            expected = functions[found.activation](found.total)
            assert found.value == pytest.approx(expected, rel=1e-4, abs=1e-4)
    depth = explain_unit(extractor, activations, "depth", 2, (4, 4))
    assert (depth.inputs, depth.names, depth.source) == ((2,), ("channel 2",), "stem")
    with pytest.raises(
        ValueError, match=r"layer 'pool' is not a sum over a kernel, .*: pass 'sum'"
    ):
        explain_unit(extractor, activations, "pool", 0, (0, 0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer": "block9_conv1"}, "layer 'block9_conv1' is not known: did you mean"),
        ({"channel": 64}, "channel 64 is not in layer 'block1_conv2', which has 64 channels: choo"),
        ({"location": (64, 0)}, r"location \(64, 0\) is not in layer 'block1_conv2'.*: pass"),
        ({"location": None}, "no location was given for layer 'block1_conv2'.*: pass location="),
        (
            {"layer": "block1_pool"},
            "layer 'block1_pool' is not a sum over a kernel, .*: pass 'block",
        ),
    ],
)
def test_bad_arguments_are_refused(
    extractor: FeatureExtractor, activations: Activations, arguments: dict[str, Any], words: str
) -> None:
    asked: dict[str, Any] = {"layer": "block1_conv2", "channel": 0, "location": (3, 3), **arguments}
    with pytest.raises(ValueError, match=words):
        explain_unit(extractor, activations, **asked)


def test_arguments_of_wrong_types_are_refused(
    extractor: FeatureExtractor, activations: Activations, photo: RGB8
) -> None:
    with pytest.raises(
        TypeError, match=r"activations is of type ndarray: pass .*extractor\(image\)"
    ):
        explain_unit(extractor, photo, "block1_conv1", 0, (3, 3))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="extractor is of type Activations: pass a FeatureExtractor"
    ):
        circuit(activations, extractor, "block1_conv1", 0)  # type: ignore[arg-type]
    found = explain_unit(extractor, activations, "block1_conv1", 0, (3, 3))
    assert found.strongest(0) == ()
    for count in (-1, 1.5):
        with pytest.raises(
            ValueError, match=f"count {count} is not a whole number of at least 0: pass"
        ):
            found.strongest(count)  # type: ignore[arg-type]

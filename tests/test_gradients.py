"""Tests of attribution against finite differences, PyTorch and brute force."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import networks_apart
from vgg_widget import Activations, FeatureExtractor, ImageError, sample_image
from vgg_widget.gradients import METHODS, Attribution, attribute
from vgg_widget.network.differentiable import ChannelFunction

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]
OF_UNITS = METHODS[:-1]
FEW: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 3},
    "integrated_gradients": {"samples": 3},
    "occlusion": {"window": 20},
}


@pytest.fixture(scope="module")
def keras() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras


@pytest.fixture(scope="module")
def smooth(keras: Any) -> FeatureExtractor:
    """Return a small smooth network, whose gradients finite differences approximate well."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(6, 3, padding="same", activation="tanh", name="one"),
            layers.AveragePooling2D(2, name="half"),
            layers.Conv2D(5, 3, padding="same", activation="softplus", name="two"),
        ]
    )
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.linspace(-0.3, 0.4, bias.size)])
    return FeatureExtractor(model=model, size=None)


def relative(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Return the largest difference relative to the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def outside(found: Attribution) -> Floats:
    """Return the map with the values in its box set to 0."""
    left_over = found.values.copy()
    top, left, bottom, right = found.box
    left_over[top:bottom, left:right] = 0
    return left_over


# The gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", [None, (0, 0), (3, 4), (7, 8)])
def test_a_gradient_agrees_with_finite_differences(
    keras: Any, smooth: FeatureExtractor, location: tuple[int, int] | None
) -> None:
    picture = np.random.default_rng(0).integers(30, 220, (16, 18, 3), np.uint8)
    activations = smooth(picture)
    # The same network in float64.
    exact = keras.models.clone_model(
        smooth.model,
        clone_function=lambda layer: layer.__class__.from_config(
            {**layer.get_config(), "dtype": "float64"}
        ),
    )
    exact.set_weights(smooth.model.get_weights())

    def value(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        maps = np.asarray(exact(pixels, training=False)[-1])[..., 2]
        return maps.sum(axis=(1, 2)) if location is None else maps[:, location[0], location[1]]

    found = attribute(smooth, activations, "two", 2, location)
    assert found.colors is not None
    pixels = np.random.default_rng(1).permutation(picture.size)[:60]
    steps = np.zeros((60, picture.size))
    steps[np.arange(60), pixels] = 0.5
    steps = steps.reshape(60, *picture.shape)
    slopes = value(picture + steps) - value(picture - steps)
    assert np.abs(found.colors.ravel()[pixels] - slopes).max() <= 1e-4 * np.abs(slopes).max()
    np.testing.assert_allclose(found.values, found.colors.sum(axis=-1), rtol=1e-3, atol=1e-9)
    assert found.units == "activation per level of 255"
    expected = float(value(picture[None].astype(float))[0])
    assert found.value == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def by_torch(extractor: FeatureExtractor) -> Any:
    """Return the feature layers of torchvision's VGG19 with the extractor's weights."""
    from tests.torch_networks import features_of

    return features_of(extractor)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "index", "location"),
    [
        ("features.10", 10, (8, 9)),
        ("features.10", 10, (0, 17)),
        ("block3_conv1", 11, (5, 3)),
        ("block2_pool", 9, None),
        ("features.16", 16, (6, 4)),
    ],
)
def test_a_gradient_agrees_with_pytorchs(
    extractor: FeatureExtractor,
    activations: Activations,
    by_torch: Any,
    *,
    name: str,
    index: int,
    location: tuple[int, int] | None,
) -> None:
    import torch

    pixels = torch.from_numpy(activations.image.astype(np.float32)).requires_grad_()
    mean = torch.tensor([103.939, 116.779, 123.68])
    maps = by_torch[: index + 1]((pixels.flip(-1) - mean).permute(2, 0, 1)[None])[0]
    # Choose the most active channel, whose gradient is not zero.
    spot = maps.sum(dim=(1, 2)) if location is None else maps[:, location[0], location[1]]
    channel = int(spot.argmax())
    spot[channel].backward()
    assert pixels.grad is not None
    found = attribute(extractor, activations, name, channel, location)
    assert found.colors is not None
    assert relative(found.colors, pixels.grad.numpy()) < 1e-4
    assert found.value == pytest.approx(spot[channel].item(), rel=1e-4)
    other = attribute(extractor, activations, f"features.{index}", channel, location)
    np.testing.assert_array_equal(other.values, found.values)


def test_a_negative_value_is_explained_with_its_sign(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    before = activations["features.5"]
    location = (5, 6)
    channel = int(before[location].argmin())
    assert before[(*location, channel)] < 0
    found = attribute(extractor, activations, "features.5", channel, location)
    assert found.value == before[(*location, channel)]
    # A small step along the gradient raises the value towards 0.
    step = np.where(found.values > 0, 2, np.where(found.values < 0, -2, 0))[..., None]
    moved = np.clip(activations.image.astype(int) + step, 0, 255).astype(np.uint8)
    assert extractor(moved)["features.5"][(*location, channel)] > found.value
    # After its ReLU the value is 0, and the message says so.
    dead = attribute(extractor, activations, "block2_conv1", channel, location)
    assert dead.dead
    assert dead.value == 0
    assert dead.message == (
        "layer 'block2_conv1' is 0 here after its ReLU, through which there is no gradient: pass "
        "'features.5', which is the same before the ReLU."
    )
    assert not found.dead
    assert not found.message


# A part of the picture ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", OF_UNITS)
@pytest.mark.parametrize("layer", ["features.2", "features.7", "block2_pool", "features.12"])
def test_it_is_exactly_zero_outside_the_receptive_field(
    extractor: FeatureExtractor, activations: Activations, layer: str, method: Any
) -> None:
    rows, columns, _ = activations.shape(layer)
    info = activations.info(layer)
    for location in ((rows // 2, columns // 3), (0, 0), (rows - 1, columns - 1)):
        channel = int(activations.rank_at(layer, *location)[0])
        found = attribute(
            extractor, activations, layer, channel, location, method=method, **FEW.get(method, {})
        )
        assert found.box == info.receptive_field_box(*location, activations.image.shape[:2])
        assert not outside(found).any()
        assert found.values.shape == activations.image.shape[:2]
        assert found.values.dtype == np.float32
        assert not found.values.flags.writeable
        assert not found.dead


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    ["features.12", "features.2", "features.7", "block2_pool", "features.21", "features.30"],
)
def test_a_part_gives_what_the_whole_picture_gives(
    extractor: FeatureExtractor, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No side is a multiple of 32, and for features.21 both exceed its receptive field.
    picture = sample_image()[:147, :250]
    activations = extractor(picture if layer == "features.21" else picture[:90, :140])
    rows, columns, _ = activations.shape(layer)
    size = activations.image.shape[:2]
    for location in ((rows // 2, columns // 2), (0, columns - 1), (rows - 1, 1)):
        channel = int(activations.rank_at(layer, *location)[0])
        part = ChannelFunction(extractor, activations, layer, (channel, location))
        assert layer == "features.30" or part.crop != (0, 0, *size)
        found = attribute(extractor, activations, layer, channel, location)
        computed = part.values(
            activations.image[
                None, part.crop[0] : part.crop[2], part.crop[1] : part.crop[3]
            ].astype(np.float32)
        )
        assert computed[0] == pytest.approx(found.value, rel=1e-4)
        with monkeypatch.context() as patch:
            patch.setattr("vgg_widget.network.differentiable._same_geometry", lambda *_: False)
            patch.setattr("vgg_widget.network.differentiable.WORTH_CUTTING", 1000)
            whole = ChannelFunction(extractor, activations, layer, (channel, location))
            assert whole.crop == (0, 0, *size)
            expected = attribute(extractor, activations, layer, channel, location)
        away = np.linalg.norm(found.values - expected.values) / np.linalg.norm(expected.values)
        # Rounding near 0 can switch a ReLU on in one computation and off in the other.
        assert away < (1e-5 if layer < "features.20" else 1e-2)


# The other methods --------------------------------------------------------------------------------


def test_smoothgrad_without_noise_is_the_gradient(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    arguments: Any = (extractor, activations, "features.10", 3, (8, 9))
    plain = attribute(*arguments)
    found = attribute(*arguments, method="smoothgrad", noise=0, samples=4)
    assert relative(found.values, plain.values) < 1e-5
    assert (found.samples, found.noise, found.seed) == (4, 0, 0)


def test_smoothgrad_is_the_mean_over_noisy_pictures_and_the_same_for_a_seed(
    smooth: FeatureExtractor,
) -> None:
    picture = np.random.default_rng(0).integers(30, 220, (16, 18, 3), np.uint8)
    arguments: Any = (smooth, smooth(picture), "two", 2, (3, 4))
    found = attribute(*arguments, method="smoothgrad", samples=5, noise=0.1, seed=7)
    spread = 0.1 * float(np.ptp(picture))
    assert found.noise == pytest.approx(spread)
    function = ChannelFunction(smooth, arguments[1], "two", (2, (3, 4)))
    generator = np.random.default_rng(7)
    top, left, bottom, right = function.crop
    gradients = [
        function.gradients(
            (picture + np.float32(spread) * generator.standard_normal(picture.shape, np.float32))[
                None, top:bottom, left:right
            ].astype(np.float32)
        )[1][0]
        for _ in range(5)
    ]
    assert found.colors is not None
    part = found.colors[top:bottom, left:right]
    assert relative(part, np.mean(gradients, axis=0)) < 1e-5
    again = attribute(*arguments, method="smoothgrad", samples=5, noise=0.1, seed=7)
    np.testing.assert_array_equal(again.values, found.values)
    other = attribute(*arguments, method="smoothgrad", samples=5, noise=0.1, seed=8)
    assert not np.array_equal(other.values, found.values)


@pytest.mark.parametrize("baseline", [None, (40, 90, 200), "picture"])
def test_integrated_gradients_add_up(smooth: FeatureExtractor, baseline: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 18, 3), np.uint8)
    if baseline == "picture":
        baseline = picture[::-1]
    activations = smooth(picture)
    for location in (None, (3, 4)):
        found = attribute(
            smooth,
            activations,
            "two",
            2,
            location,
            method="integrated_gradients",
            baseline=baseline,
        )
        base = np.zeros(3) if baseline is None else np.asarray(baseline)
        base_map = smooth(np.broadcast_to(base, picture.shape).astype(np.uint8))["two"][..., 2]
        base_value = float(base_map.sum()) if location is None else float(base_map[location])
        assert found.completeness is not None
        assert found.completeness.expected == pytest.approx(found.value - base_value, rel=1e-4)
        assert found.completeness.total == pytest.approx(float(found.values.sum()), rel=1e-4)
        assert found.completeness.gap < 0.01
        assert found.samples == 50
        np.testing.assert_array_equal(np.asarray(found.baseline), base.astype(np.float32))
        assert not found.message


def test_integrated_gradients_of_a_relu_network_add_up_with_more_samples(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    channel = int(activations.rank_at("features.7", 9, 8)[0])
    arguments: Any = (extractor, activations, "features.7", channel, (9, 8))
    few = attribute(*arguments, method="integrated_gradients", samples=2)
    many = attribute(*arguments, method="integrated_gradients", samples=600)
    assert few.completeness is not None
    assert many.completeness is not None
    assert many.completeness.gap < 0.01
    assert few.completeness.gap > 0.05
    assert few.message.startswith("the map adds up to ")
    assert few.message.endswith(": pass more samples.")


def test_gradient_times_input_is_the_product(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    arguments: Any = (extractor, activations, "features.5", 3, (8, 9))
    gradient = attribute(*arguments).colors
    assert gradient is not None
    for baseline in (None, (100, 110, 120)):
        found = attribute(*arguments, method="gradient_x_input", baseline=baseline)
        from_baseline = activations.image - np.array(baseline or (0, 0, 0), np.float32)
        np.testing.assert_allclose(
            found.values, (gradient * from_baseline).sum(axis=-1), rtol=1e-4, atol=1e-4
        )
        assert found.units == "activation"


@pytest.mark.parametrize(
    ("network", "location", "window", "step"),
    [
        ("extractor", (4, 5), 3, None),
        ("smooth", (3, 5), 4, 2),
        ("smooth", (0, 8), None, None),
        ("smooth", None, 7, 5),
    ],
)
def test_occlusion_is_the_mean_loss_from_hiding_pixels(
    request: pytest.FixtureRequest,
    network: str,
    location: tuple[int, int] | None,
    window: int | None,
    step: int | None,
) -> None:
    extractor = request.getfixturevalue(network)
    layer, channel = ("features.5" if network == "extractor" else "two"), 3
    side = 64 if network == "extractor" else 17
    image = np.random.default_rng(0).integers(0, 256, (side, side + 2, 3), np.uint8)
    colour = (128, 20, 250)
    found = attribute(
        extractor,
        image,
        layer,
        channel,
        location,
        method="occlusion",
        window=window,
        step=step,
        baseline=colour,
    )
    side = window or -(-max(found.box[2] - found.box[0], found.box[3] - found.box[1]) // 7)
    assert (found.window, found.step) == (side, step or side)

    def value(picture: RGB8) -> float:
        maps = extractor(picture)[layer][..., channel].astype(float)
        return float(maps.sum()) if location is None else float(maps[location])

    whole = value(image)
    lost, times = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    top, left, bottom, right = found.box
    count = 0
    for row in range(top, bottom, step or side):
        for column in range(left, right, step or side):
            here = (slice(row, min(row + side, bottom)), slice(column, min(column + side, right)))
            hidden = image.copy()
            hidden[here] = colour
            lost[here] += whole - value(hidden)
            times[here] += 1
            count += 1
    expected = lost / np.maximum(times, 1)
    assert count == found.samples
    assert np.abs(found.values - expected).max() <= 1e-4 * np.abs(expected).max()
    assert found.colors is None


# Shuffled weights ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_maps_of_randomised_weights_lose_similarity_layer_by_layer(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    layer, location = "features.12", (8, 9)
    weights = [array.copy() for array in extractor.model.get_weights()]
    channel = int(activations.rank_at(layer, *location)[0])
    arguments: Any = (extractor, activations, layer, channel, location)
    true = attribute(*arguments)
    top, left, bottom, right = true.box
    names = ["block3_conv2", "block3_conv1", "block2_conv1", "block1_conv1"]
    maps = [attribute(*arguments, randomised=name) for name in names]
    alike = [
        abs(np.corrcoef(one.values[top:bottom, left:right].ravel(),
                        true.values[top:bottom, left:right].ravel())[0, 1])
        for one in maps
    ]  # fmt: skip
    assert max(alike) < 0.5
    assert alike[-1] < 0.2
    for one, name in zip(maps, names, strict=True):
        assert (one.randomised, one.seed) == (name, 0)
        assert not outside(one).any()
    again = attribute(*arguments, randomised=names[0])
    np.testing.assert_array_equal(again.values, maps[0].values)
    assert again.value == maps[0].value != true.value
    other = attribute(*arguments, randomised=names[0], seed=1)
    assert not np.array_equal(other.values, again.values)
    # The network's weights, gradients and maps have not changed.
    for array, before in zip(extractor.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(attribute(*arguments).values, true.values)
    np.testing.assert_array_equal(extractor(activations.image)[layer], activations[layer])


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_randomised_methods_work_with_the_shuffled_network(
    extractor: FeatureExtractor, activations: Activations, method: Any
) -> None:
    from vgg_widget.network.differentiable import shuffled_weights

    index = activations.layers.index(activations.info("block2_conv1"))
    new = shuffled_weights(extractor, index, index, 3)
    with networks_apart():
        state = {
            info.name: tuple(extractor.model.get_layer(info.name).get_weights())
            for info in extractor.layers
            if info.kind == "conv"
        }
        kernel, bias = new.arrays
        assert sorted(kernel.ravel()) == sorted(state["block2_conv1"][0].ravel())
        state["block2_conv1"] = (kernel, bias)
        import keras

        model = keras.models.clone_model(extractor.model)
        for name, pair in state.items():
            model.get_layer(name).set_weights(pair)
        by_hand = FeatureExtractor(model=model, preprocess=extractor._preprocess, size=None)
        expected = attribute(by_hand, activations.image, "block2_conv1", 5, (9, 9), method=method)
    found = attribute(
        extractor,
        activations,
        "block2_conv1",
        5,
        (9, 9),
        method=method,
        randomised="block2_conv1",
        seed=3,
    )
    assert expected.values.any()
    assert relative(found.values, expected.values) < 1e-4
    assert found.value == pytest.approx(expected.value, rel=1e-4)


# Arguments ----------------------------------------------------------------------------------------


def test_a_picture_gives_the_same_map_as_its_activations(
    extractor: FeatureExtractor, activations: Activations, photo: RGB8
) -> None:
    found = attribute(extractor, photo, "features.5", 3, (8, 9))
    expected = attribute(extractor, activations, "features.5", 3, (8, 9))
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.value == expected.value
    with pytest.raises(ImageError):
        attribute(extractor, "nowhere.png", "features.5", 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "gradients"}, "method 'gradients' is not known: did you mean"),
        ({"layer": "block9"}, "layer 'block9' is not known: did you mean"),
        ({"channel": 64}, "channel 64 is not in layer 'block1_conv2', which has 64 channels: cho"),
        (
            {"channel": None},
            "channel None is not one of the 64 channels of layer 'block1_conv2': pas",
        ),
        ({"location": (64, 0)}, r"location \(64, 0\) is not in layer 'block1_conv2'.*: pass"),
        ({"target": "tabby"}, "target 'tabby' is not used by method 'gradient': leave it out, or"),
        ({"samples": 5}, "samples 5 is not used by method 'gradient': leave it out, or pass"),
        ({"noise": 1}, "noise 1 is not used by method 'gradient': leave it out, or pass method="),
        ({"window": 1}, "window 1 is not used by method 'gradient': leave it out, or pass"),
        ({"step": 1}, "step 1 is not used by method 'gradient': leave it out, or pass"),
        ({"baseline": 0}, "baseline 0 is not used by method 'gradient': leave it out, or pass"),
        ({"seed": -1}, "seed -1 is not a whole number of at least 0: pass one, or leave it out"),
        ({"seed": 1.5}, "seed 1.5 is not a whole number of at least 0: pass one"),
        ({"randomised": "block1"}, "randomised 'block1' is not known: did you mean"),
        (
            {"randomised": "block2_conv1"},
            "randomised 'block2_conv1' comes after layer 'block1_conv2', .*: pass that layer, or",
        ),
        (
            {"layer": "block1_pool", "randomised": "block1_pool"},
            "randomised 'block1_pool' changes nothing, since no layer .*: pass an earlier layer",
        ),
        (
            {"method": "smoothgrad", "samples": 0},
            "samples 0 is not a whole number of at least 1: pass one, or leave it out",
        ),
        (
            {"method": "smoothgrad", "noise": -1},
            "noise -1 is not a valid share of .*: pass a number from 0",
        ),
        (
            {"method": "smoothgrad", "noise": 1e38},
            r"noise 1e\+38 is not a valid share of .*: pass a number",
        ),
        (
            {"method": "smoothgrad", "noise": "much"},
            "noise 'much' is not a valid share .*: pass a number",
        ),
        (
            {"method": "occlusion", "window": 0},
            "window 0 is not a whole number of at least 1: pass",
        ),
        (
            {"method": "occlusion", "step": True},
            "step True is not a whole number of at least 1: pass",
        ),
        (
            {"method": "occlusion", "baseline": (0, 0)},
            r"baseline \(0, 0\) is neither a colour nor an image: pass red, green and blue",
        ),
        ({"method": "occlusion", "baseline": "grey"}, "baseline 'grey' is neither a colour nor an"),
        (
            {"method": "integrated_gradients", "baseline": (0, 0, np.nan)},
            "baseline .* is neither a colour nor an image: pass red",
        ),
        (
            {"method": "integrated_gradients", "baseline": np.zeros((75, 64, 3))},
            r"baseline of shape \(75, 64, 3\) is neither a colour .* of shape \(64, 75, 3\)",
        ),
        (
            {"method": "occlusion", "baseline": np.full((64, 75, 3), 300)},
            r"baseline of shape \(64, 75, 3\), from 300 to 300, is neither a colour .* from 0",
        ),
        ({"method": "grad_cam"}, "channel 3 is not used by method 'grad_cam': leave it out"),
        (
            {"method": "grad_cam", "channel": None, "target": "tabby"},
            "predictions need the classifier of a VGG19, .*: pass weights='imagenet', or",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(
    extractor: FeatureExtractor, activations: Activations, arguments: dict[str, Any], words: str
) -> None:
    asked: dict[str, Any] = {"layer": "block1_conv2", "channel": 3, **arguments}
    with pytest.raises(ValueError, match=words) as caught:
        attribute(extractor, activations, **asked)
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "\n" not in message


def test_arguments_of_a_wrong_type_or_network_are_refused(
    extractor: FeatureExtractor, activations: Activations, smooth: FeatureExtractor
) -> None:
    with pytest.raises(TypeError, match="extractor is of type str: pass a FeatureExtractor"):
        attribute("vgg19", activations, "block1_conv2", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="progress 'yes' is neither True, False nor a function"):
        attribute(extractor, activations, "block1_conv2", 3, progress="yes")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"activations come from random .* but extractor has model"
    ):
        attribute(smooth, activations, "two", 3)


# Progress and interrupts --------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "total"), [("smoothgrad", 20), ("occlusion", 42)])
def test_progress_is_reported(
    extractor: FeatureExtractor, activations: Activations, method: Any, total: int
) -> None:
    reported: list[tuple[int, int | None]] = []
    more: dict[str, Any] = {"samples": 20} if method == "smoothgrad" else {"window": 11}
    attribute(
        extractor,
        activations,
        "features.5",
        3,
        method=method,
        progress=lambda done, of: reported.append((done, of)),
        **more,
    )
    assert reported[-1] == (total, total)
    assert len(reported) > 2
    assert [done for done, _ in reported] == sorted(done for done, _ in reported)


def test_an_interrupt_leaves_everything_usable(
    extractor: FeatureExtractor, activations: Activations
) -> None:
    arguments: Any = (extractor, activations, "features.12", 3, (8, 9))
    expected = attribute(*arguments, randomised="block3_conv1").values

    def interrupt(done: int, _: int | None) -> None:
        if done >= 8:
            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        attribute(
            *arguments,
            method="smoothgrad",
            samples=500,
            randomised="block3_conv1",
            progress=interrupt,
        )
    np.testing.assert_array_equal(attribute(*arguments, randomised="block3_conv1").values, expected)
    np.testing.assert_array_equal(
        extractor(activations.image)["block3_conv2"], activations["block3_conv2"]
    )


def test_the_batch_size_follows_the_memory(
    extractor: FeatureExtractor, activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: Any = (extractor, activations, "features.5", 3)
    expected = attribute(*arguments, method="smoothgrad", samples=5)
    reported: list[int] = []
    monkeypatch.setattr("vgg_widget.network.differentiable.fitting", lambda *_: 2)
    found = attribute(
        *arguments, method="smoothgrad", samples=5, progress=lambda done, _: reported.append(done)
    )
    assert reported == [2, 4, 5]
    assert relative(found.values, expected.values) < 1e-5
    monkeypatch.setattr("vgg_widget.network.memory.memory", lambda: 1 << 20)
    with pytest.raises(ValueError, match=r"size 64×75 pixels needs about .* GB of memory"):
        attribute(*arguments)


# Custom models ------------------------------------------------------------------------------------


def slopes(
    extractor: FeatureExtractor, picture: RGB8, layer: str, channel: int, location: Any
) -> npt.NDArray[Any]:
    """Return the gradient from one eager tape over the model itself."""
    import tensorflow as tf

    network = extractor._network
    index = [info.name for info in extractor.layers].index(layer)
    pixels = tf.Variable(extractor.network_input(picture)[None])
    taken = network.input
    with tf.GradientTape() as tape:
        given = pixels
        if taken.flat:
            given = pixels[..., 0]
        elif taken.channels_first:
            given = tf.transpose(pixels, [0, 3, 1, 2])
        made = network.model(given, training=False)
        maps = made[index] if isinstance(made, list | tuple) else made
        if network.shown[index].layout == "NCHW":  # type: ignore[attr-defined]
            maps = tf.transpose(maps, [0, 2, 3, 1])
        picked = maps[0, ..., channel]
        value = tf.reduce_sum(picked if location is None else picked[location[0], location[1]])
    found: Floats = np.asarray(tape.gradient(value, pixels))[0]
    return found


def branches(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Input((None, None, 4))
    nested = layers.BatchNormalization(name="bn")(
        layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inner)
    )
    block = keras.Model(inner, nested, name="block")
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    short = layers.Conv2D(4, 1, strides=2, padding="same", name="short")(stem)
    total = layers.Add(name="sum")([block(stem), short])
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    return keras.Model(inputs, shared(shared(total)))


def channels_first(keras: Any) -> Any:
    layers = keras.layers
    first = {"data_format": "channels_first"}
    inputs = keras.Input((3, 40, 44))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem", **first)(inputs)
    x = layers.MaxPooling2D(name="half", **first)(x)
    return keras.Model(inputs, layers.Conv2D(4, 3, name="shared", **first)(x))


def grey(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((28, 28))
    x = layers.Reshape((28, 28, 1))(inputs)
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(x)
    return keras.Model(inputs, layers.Conv2D(4, 3, name="shared")(x))


@pytest.mark.sampled
@pytest.mark.parametrize("make", [branches, channels_first, grey])
def test_attribution_in_custom_models(keras: Any, photo: RGB8, make: Any) -> None:
    model = make(keras)
    extractor = FeatureExtractor(model=model, size=None)
    activations = extractor(photo)
    picture = activations.image
    luma = np.array([0.299, 0.587, 0.114])
    for layer in ("stem", "shared", *(["block/bn", "shared#2"] if make is branches else [])):
        rows, columns, _ = activations.shape(layer)
        for location in ((rows // 2, columns // 2), (0, 0), (rows - 1, columns - 2), None):
            found = attribute(extractor, activations, layer, 1, location)
            expected = slopes(extractor, picture, layer, 1, location)
            if make is grey:
                expected = expected * luma
            assert found.colors is not None
            assert np.abs(found.colors - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-9)
            assert not outside(found).any()
            for method in OF_UNITS[1:] if location == (0, 0) else ():
                more = FEW.get(method, {})
                one = attribute(extractor, activations, layer, 1, location, method=method, **more)
                assert not outside(one).any()
    if make is branches:
        part = ChannelFunction(extractor, activations, "block/bn", (1, (10, 10)))
        assert part.crop != (0, 0, *picture.shape[:2])
        before = model.get_weights()
        true = attribute(extractor, activations, "block/bn", 1, (10, 10)).values
        other = attribute(extractor, activations, "block/bn", 1, (10, 10), randomised="stem").values
        assert abs(np.corrcoef(true.ravel(), other.ravel())[0, 1]) < 0.9
        for array, old in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(array, old)


def test_a_layer_without_a_gradient_is_refused(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    which = keras.ops.argmax(stem, axis=-1, keepdims=True)
    rounded = keras.ops.round(stem)
    extractor = FeatureExtractor(model=keras.Model(inputs, [which, rounded]), size=None)
    activations = extractor(photo)
    names = [info.name for info in extractor.layers if info.name != "stem"]
    assert len(names) == 2
    for name in names:
        with pytest.raises(ValueError, match=f"layer '{name}' has no gradient, since .*: pass a"):
            attribute(extractor, activations, name, 0, (5, 5))
        found = attribute(extractor, activations, name, 0, (5, 5), method="occlusion", window=1)
        assert found.samples == 9


def test_preprocessing_with_a_gradient_and_without(keras: Any, photo: RGB8) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 3, activation="tanh", name="c")]
    )
    mean = np.random.default_rng(0).uniform(100, 150, (*photo.shape[:2], 3)).astype(np.float32)
    swapped = FeatureExtractor(
        model=model, size=None, preprocess=lambda images: (images - mean)[..., [2, 0, 1]] / 64
    )
    activations = swapped(photo)
    found = attribute(swapped, activations, "c", 1, (20, 30))
    expected = slopes(swapped, photo, "c", 1, (20, 30))[..., [1, 2, 0]] / 64
    assert found.colors is not None
    assert relative(found.colors, expected) < 1e-4

    def standardised(images: Floats) -> Floats:
        scaled: Floats = (images - images.mean()) / images.std()
        return scaled

    own = FeatureExtractor(model=model, size=None, preprocess=standardised)
    with pytest.raises(
        ValueError, match=r"preprocess is not a linear function .*: replace it by layers"
    ):
        attribute(own, photo, "c", 1, (20, 30))


@pytest.mark.sampled
@pytest.mark.parametrize("policy", ["mixed_float16", "float64", "mixed_bfloat16"])
def test_global_settings_change_nothing(
    extractor: FeatureExtractor, activations: Activations, policy: str
) -> None:
    from tests.test_global_settings import settings

    arguments: Any = (extractor, activations, "features.5", 7, (8, 9))
    expected = attribute(*arguments).values
    other = attribute(*arguments, randomised="block1_conv2").values
    from vgg_widget.network import keras_network

    with settings(policy, "float16", "channels_first"):
        keras_network._compiled_for.clear()
        np.testing.assert_array_equal(attribute(*arguments).values, expected)
        np.testing.assert_array_equal(
            attribute(*arguments, randomised="block1_conv2").values, other
        )


@pytest.mark.slow
def test_a_network_is_freed_with_what_was_compiled_for_it(keras: Any, photo: RGB8) -> None:
    def used() -> weakref.ref[Any]:
        model = keras.Sequential(
            [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, name="c")]
        )
        extractor = FeatureExtractor(model=model, size=None)
        assert not attribute(extractor, photo, "c", 0, (5, 5)).dead
        return weakref.ref(extractor._network)

    network = used()
    # The first collection frees the model, and with it the last reference to its network.
    gc.collect()
    gc.collect()
    assert network() is None

"""Images that activate a channel, checked with kernels and real patches; the canvas."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import networks_apart
from vgg_widget import Activations, FeatureExtractor, sample_image
from vgg_widget.gradients import SyntheticImage, channel_images, reconstruct, visualize_channel
from vgg_widget.gradients.canvas import COLOR_COVARIANCE, Canvas, total_variation_gradient
from vgg_widget.network.synthesis import LayerAim

STILL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
Doubles = npt.NDArray[np.float64]
RGB8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def learned() -> Iterator[FeatureExtractor]:
    """Return an extractor whose filters are selective, as random ones hardly are."""
    with networks_apart():
        yield FeatureExtractor("kmeans")


def made(
    extractor: FeatureExtractor, layer: str, channel: Any, **more: Any
) -> tuple[SyntheticImage, ...]:
    found = visualize_channel(extractor, layer, channel, progress=False, **more)
    return found if isinstance(found, tuple) else (found,)


# Results ------------------------------------------------------------------------------------------


def test_a_unit_of_the_first_layer_likes_its_kernel_best(extractor: FeatureExtractor) -> None:
    kernels = extractor.model.get_layer("block1_conv1").get_weights()[0]
    for found in made(extractor, "conv1_1", range(0, 64, 8), location=(15, 15), steps=60):
        assert found.box == (14, 14, 17, 17)
        patch = found.image[14:17, 14:17].astype(float) - 127.5
        # The network takes BGR.
        kernel = kernels[..., ::-1, found.channel]
        assert np.corrcoef(patch.ravel(), kernel.ravel())[0, 1] >= 0.95
        outside = found.image.copy()
        outside[14:17, 14:17] = 128
        assert (outside == 128).all()


def photographs_of(*names: str) -> list[RGB8]:
    """Return the sample image, and some images of scikit-image."""
    from skimage import data

    return [sample_image(), *(getattr(data, name)() for name in names)]


def strongest_of_patches(
    extractor: FeatureExtractor, layer: str, channels: Sequence[int], side: int
) -> list[float]:
    """Return each channel's largest value in 1,000 patches, half of them real and half noise."""
    generator = np.random.default_rng(1)
    photographs = photographs_of("astronaut", "chelsea")
    aim = LayerAim(extractor, layer, (side, side), "mean")
    values: dict[int, list[float]] = {channel: [] for channel in channels}
    for number in range(500 // aim.most):
        photo = photographs[number % 3]
        corners = [
            [generator.integers(length - side) for length in photo.shape[:2]]
            for _ in range(aim.most)
        ]
        real = np.stack([photo[top : top + side, left : left + side] for top, left in corners])
        noise = generator.integers(0, 256, real.shape, np.uint8)
        for channel, found in values.items():
            asked = (np.full(aim.most, channel, np.int32),)
            found += [
                float(aim.values(one.astype(np.float32), STILL, asked).max())
                for one in (real, noise)
            ]
    return [max(found) for found in values.values()]


@pytest.mark.parametrize(
    ("layer", "side", "location", "tested"),
    [
        ("block2_conv2", 16, None, [40]),
        pytest.param("block2_conv2", 16, None, [2, 40, 77], marks=pytest.mark.slow),
        pytest.param("block2_conv2", 16, (8, 8), [2, 40, 77], marks=pytest.mark.slow),
        pytest.param("block3_conv1", 24, None, [2, 40, 77], marks=pytest.mark.slow),
        pytest.param("block3_conv1", 24, (8, 8), [2, 40, 77], marks=pytest.mark.slow),
    ],
)
def test_it_exceeds_the_best_of_a_thousand_patches_and_grows_with_steps(
    learned: FeatureExtractor,
    layer: str,
    side: int,
    location: tuple[int, int] | None,
    tested: list[int],
) -> None:
    channels = [2, 40, 77]
    found = list(channel_images(learned, layer, channels, steps=32, location=location))
    made_of = dict(zip(channels, zip(*found, strict=True), strict=True))
    for channel, stages in made_of.items():
        assert [one.channel for one in stages] == [channel] * 2
        assert [one.steps for one in stages] == [16, 32]
        assert stages[0].history[0] < stages[0].activation < stages[1].activation
        assert len(stages[1].history) == 32
    best = strongest_of_patches(learned, layer, tested, side)
    for channel, strongest in zip(tested, best, strict=True):
        last = made_of[channel][-1]
        assert last.activation > strongest > last.history[0], channel


def test_the_reported_activation_is_that_of_the_image(extractor: FeatureExtractor) -> None:
    whole, unit = (
        made(extractor, "block2_conv1", 5, steps=4, size=(48, 64), **more)[0]
        for more in ({}, {"location": (20, 3)})
    )
    for found in (whole, unit):
        maps = extractor(found.image)["features.5"][..., 5]
        assert found.image.shape == (48, 64, 3)
        assert found.image.dtype == np.uint8
        assert not found.image.flags.writeable
        assert found.activation == pytest.approx(maps[found.location], rel=1e-4)
        assert found.weights == extractor.weights
    assert whole.activation == pytest.approx(extractor(whole.image)["features.5"][..., 5].max())
    assert (unit.location, unit.one_unit, whole.one_unit) == ((20, 3), True, False)
    assert "hypothesis" in whole.caption
    assert "random weights (seed 0)" in whole.caption


def test_a_channel_that_starts_dead_is_optimised_too(extractor: FeatureExtractor) -> None:
    """For a layer after the ReLU, the values before the ReLU are maximised."""
    dead = [
        channel
        for channel in range(64)
        if not extractor(np.full((32, 32, 3), 128, np.uint8))["block1_conv2"][..., channel].any()
    ][:3]
    assert dead
    for found in made(extractor, "block1_conv2", dead, steps=24):
        assert found.activation > 0
        assert np.abs(found.image - 127.5).mean() > 40


# Repeatability and progress -----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    extractor: FeatureExtractor,
) -> None:
    again, first, other = (
        made(extractor, "block2_conv2", 3, steps=6, seed=seed)[0] for seed in (0, 0, 1)
    )
    assert again.image.tobytes() == first.image.tobytes()
    assert again.history == first.history
    assert other.image.tobytes() != first.image.tobytes()


def test_several_channels_and_variants_give_several_images(extractor: FeatureExtractor) -> None:
    channels = np.array([9, 4, 7])
    found = made(extractor, "block1_conv2", channels, steps=5, diversity=2)
    assert [(one.channel, one.variant) for one in found] == [
        *((9, 0), (9, 1), (4, 0), (4, 1)),
        *((7, 0), (7, 1)),
    ]
    assert len({one.image.tobytes() for one in found}) == 6
    # Each equals the image computed alone, except for rounding.
    alone = made(extractor, "block1_conv2", 4, steps=5)[0]
    assert np.abs(found[2].image.astype(int) - alone.image).mean() < 1
    assert isinstance(
        visualize_channel(extractor, "pool1", 4, steps=1, progress=False, diversity=1), tuple
    )


def test_intermediate_images_are_yielded_and_an_optimisation_can_be_resumed(
    extractor: FeatureExtractor,
) -> None:
    whole = made(extractor, "block1_conv2", 4, steps=10)[0]
    coming = channel_images(extractor, "block1_conv2", 4, steps=10, every=4)
    first = next(coming)[0]
    # Another computation runs in between.
    made(extractor, "block1_conv2", 5, steps=2)
    rest = [images[0] for images in coming]
    assert [first.steps, *(one.steps for one in rest)] == [4, 8, 10]
    assert rest[-1].image.tobytes() == whole.image.tobytes()
    endless = channel_images(extractor, "block1_conv2", 4, steps=None, every=1)
    assert [images[0].steps for images in islice(endless, 3)] == [1, 2, 3]


def test_an_interrupt_leaves_everything_usable(extractor: FeatureExtractor) -> None:
    expected = made(extractor, "block1_conv2", 4, steps=3)[0]

    def stop(done: int, _: int | None) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        visualize_channel(extractor, "block1_conv2", 4, steps=3, progress=stop)
    again = made(extractor, "block1_conv2", 4, steps=3)[0]
    assert again.image.tobytes() == expected.image.tobytes()


def test_the_network_is_left_as_it_was(
    extractor: FeatureExtractor, photo: RGB8, activations: Activations
) -> None:
    made(extractor, "block2_conv1", 4, steps=2)
    assert np.array_equal(extractor(photo)["block5_pool"], activations["block5_pool"])


# Sizes and models ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "side"),
    [("block1_conv1", 32), ("block2_conv2", 32), ("block3_conv4", 96), ("block5_conv4", 224)],
)
def test_the_size_follows_from_what_a_unit_sees(
    extractor: FeatureExtractor, layer: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Aim:
        most = 1

        def __init__(self, *given: Any) -> None:
            asked.append(given[1:3])

    monkeypatch.setattr("vgg_widget.gradients.synthesis.LayerAim", Aim)
    channel_images(extractor, layer, 0)
    assert asked == [(layer, (side, side))]


def test_one_unit_needs_no_run_of_the_whole_network(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> None:
        pytest.fail("the whole network was run")

    monkeypatch.setattr(type(extractor._network), "run", run)
    (found,) = made(extractor, "block2_conv1", 5, location=(23, 31), size=(48, 64), steps=2)
    assert found.location == (23, 31)
    with pytest.raises(ValueError, match=r"whose maps are 24 × 32: pass location=\(row, column\)"):
        made(extractor, "block2_conv1", 5, location=(24, 0), size=(48, 64), steps=2)


def test_custom_models(keras_model: Any) -> None:
    found = made(FeatureExtractor(model=keras_model), "two", 1, steps=20)[0]
    assert found.image.shape == (20, 24, 3)
    assert found.activation > found.history[0]


@pytest.fixture(scope="module")
def keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((20, 24, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu", name="one"),
            keras.layers.Conv2D(3, 3, name="two"),
        ]
    )


def test_a_layer_without_a_gradient_is_refused() -> None:
    import keras

    pixels = keras.Input((16, 16, 3))
    counted = keras.layers.Lambda(keras.ops.round, name="counted")(pixels)
    extractor = FeatureExtractor(model=keras.Model(pixels, counted))
    with pytest.raises(ValueError, match=r"layer 'counted' has no gradient"):
        made(extractor, "counted", 0, steps=1)


def padded_model() -> Any:
    """Return a model whose first and last units see only padding, with one more layer after it."""
    import keras

    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.ZeroPadding2D(6),
            keras.layers.Conv2D(4, 3, name="padded"),
            keras.layers.Conv2D(2, 1, name="mixed"),
        ]
    )


def test_a_unit_that_sees_nothing_is_refused() -> None:
    extractor = FeatureExtractor(model=padded_model())
    message = r"location \(0, 25\) of layer 'padded' sees no pixel of the image, only padding: pass"
    with pytest.raises(ValueError, match=message):
        made(extractor, "padded", 0, location=(0, 25), steps=1)
    activations = extractor(sample_image())
    with pytest.raises(ValueError, match=message):
        reconstruct(extractor, activations, "padded", location=(0, 25), progress=False)
    # The map as a whole sees the image.
    assert made(extractor, "padded", 0, steps=2)[0].image.std() > 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_with_nan_or_infinity_are_refused_in_a_sentence(bad: float) -> None:
    extractor = FeatureExtractor(model=padded_model())
    layer = extractor.model.get_layer("padded")
    kernels, bias = layer.get_weights()
    # The values of other channels are still finite, but their gradients are not.
    kernels[0, 0, 0, 3] = bad
    layer.set_weights([kernels, bias])
    with pytest.warns(UserWarning, match="are NaN or infinite"):
        activations = extractor(sample_image())
    for name in ("padded", "mixed"):
        message = f"layer '{name}' has NaN or infinite values or gradients, so no step"
        with pytest.raises(ValueError, match=message):
            made(extractor, name, 0, steps=2)
        with pytest.raises(ValueError, match=f"layer '{name}' has NaN or infinite values"):
            reconstruct(extractor, activations, name, channels=[0], progress=False)


def test_a_value_without_any_gradient_is_reported() -> None:
    import keras

    pixels = keras.Input((16, 16, 3))
    constant = keras.layers.Lambda(lambda x: x * 0 + 3.0, name="constant")(pixels)
    extractor = FeatureExtractor(model=keras.Model(pixels, constant))
    (found,) = made(extractor, "constant", 0, steps=2)
    assert found.activation == 3
    assert "had no gradient at any step, so the image is still the initial noise" in found.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "block9"}, "layer 'block9' is not known"),
        ({"channel": 64}, "channel 64 is not in layer 'block1_conv2', which has 64 channels"),
        ({"channel": [1, -1]}, "channel -1 is not in"),
        ({"channel": []}, r"channel \[\] names no channel: pass at least one"),
        ({"channel": "3"}, "channel '3' is not in"),
        ({"location": (99, 0)}, r"location \(99, 0\) is not in layer"),
        ({"steps": 0}, "steps 0 is not a whole number of at least 1"),
        ({"size": 8}, "size 8"),
        ({"seed": -1}, "seed -1 is not a whole number of at least 0"),
        ({"diversity": 0}, "diversity 0 is not a whole number of at least 1"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    extractor: FeatureExtractor, arguments: dict[str, Any], message: str
) -> None:
    given = {"layer": "block1_conv2", "channel": 0, "steps": 1, "progress": False, **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        visualize_channel(extractor, **given)
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


def test_arguments_of_wrong_types_are_refused(extractor: FeatureExtractor) -> None:
    with pytest.raises(TypeError, match="extractor is a str: pass a FeatureExtractor"):
        visualize_channel("random", "block1_conv1", 0)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="progress 'yes' is neither"):
        visualize_channel(extractor, "block1_conv1", 0, progress="yes")  # type: ignore[call-overload]


def test_a_size_that_a_model_does_not_take_is_refused(keras_model: Any) -> None:
    extractor = FeatureExtractor(model=keras_model)
    with pytest.raises(ValueError, match="size 32 is not the 20×24 pixels that this model needs"):
        visualize_channel(extractor, "two", 0, size=32)


# The canvas ---------------------------------------------------------------------------------------


def test_colours_are_those_of_photographs() -> None:
    """Recompute the numbers in the code."""
    photographs = photographs_of("astronaut", "coffee", "chelsea", "rocket")
    found = np.mean([np.cov(one[..., :3].reshape(-1, 3).T) for one in photographs], axis=0)
    assert found == pytest.approx(COLOR_COVARIANCE, abs=0.06)


@pytest.mark.parametrize("natural", [True, False])
def test_noise_on_the_canvas_has_the_colours_and_waves_of_photographs(natural: bool) -> None:
    canvas = Canvas([(seed,) for seed in range(40)], (32, 48), rate=0.1, natural=natural)
    levels = canvas.pictures().astype(float) - 127.5
    covariance = np.cov(levels.reshape(-1, 3).T)
    expected = COLOR_COVARIANCE if natural else np.eye(3) * np.trace(COLOR_COVARIANCE) / 3
    assert covariance / np.trace(covariance) == pytest.approx(
        expected / np.trace(expected), abs=0.04
    )
    power = np.abs(np.fft.fft2(levels, axes=(1, 2))).mean(axis=(0, 3))
    ratio = power[0, 3] / power[0, 12]
    assert ratio == pytest.approx(4 if natural else 1, rel=0.35)


@pytest.mark.parametrize(("contrast", "likeness"), [(None, 0.75), (30.0, 0.99)])
def test_a_step_goes_along_the_gradient_of_the_pictures(
    contrast: float | None, likeness: float
) -> None:
    """The best image for a linear function is known: its slope, or only black and white."""
    generator = np.random.default_rng(3)
    canvas = Canvas([(0,), (1,)], (9, 12), rate=0.1, natural=False, contrast=contrast)
    wanted = generator.standard_normal((2, 9, 12, 3)).astype(np.float32)
    before = (canvas.pictures() * wanted).sum(axis=(1, 2, 3))
    for _ in range(300):
        canvas.step(wanted)
    after = canvas.pictures()
    assert ((after * wanted).sum(axis=(1, 2, 3)) > before).all()
    assert after.min() >= 0
    assert after.max() <= 255
    for one, other in zip(after, wanted, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > likeness


def test_a_canvas_has_the_contrast_that_is_asked_for_in_its_box() -> None:
    box = (2, 3, 12, 20)
    canvas = Canvas([(0,)], (32, 32), rate=0.1, contrast=20, box=box)
    part = canvas.pictures()[0, 2:12, 3:20].astype(float) - 127.5
    unbent = 127.5 * np.arctanh(part / 127.5)
    assert np.sqrt(np.mean(unbent**2)) == pytest.approx(20, rel=1e-4)


def test_without_a_gradient_nothing_moves() -> None:
    canvas = Canvas([(0,)], (8, 8), rate=0.1)
    before = canvas.pictures().copy()
    canvas.step(np.zeros((1, 8, 8, 3), np.float32))
    assert np.array_equal(canvas.pictures(), before)


def test_total_variation_is_a_gradient() -> None:
    picture = np.random.default_rng(4).uniform(0, 255, (1, 5, 6, 3))

    def variation(levels: Doubles) -> float:
        steps = [np.diff(levels, axis=axis) for axis in (1, 2)]
        return sum(float(np.sqrt(step**2 + 4).sum()) for step in steps)

    found = total_variation_gradient(picture.astype(np.float32))
    for place in [(0, 0, 0, 0), (0, 2, 3, 1), (0, 4, 5, 2)]:
        more, less = picture.copy(), picture.copy()
        more[place] += 1e-3
        less[place] -= 1e-3
        slope = (variation(more) - variation(less)) / 2e-3
        assert found[place] == pytest.approx(slope, abs=1e-3)

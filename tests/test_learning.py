"""Tests of learning filters without labels, against scikit-learn, formulas and statistics."""

from __future__ import annotations

import importlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_widget.images import ImageError, sample_image
from vgg_widget.layers import VGG19_CONVOLUTIONS, vgg19_kernel_shapes
from vgg_widget.learning import Recipe, learn_weights, spherical_kmeans, whitening
from vgg_widget.learning.embedded import EMBEDDED_PHOTOGRAPHS, main
from vgg_widget.weights.learned_weights import (
    Factors,
    LearnedWeights,
    rounded,
    unrounded,
    without,
)

THROUGH = "block2_conv1"
RECIPE = Recipe(views=4, canvas=96, shorter=(48, 96), patches=4_000, rounds=5)
CAFFE_MEAN = np.array([103.939, 116.779, 123.68])


def scene(seed: int, side: int = 96) -> np.ndarray[Any, Any]:
    """Return a picture of random discs, with regions, edges in all directions and texture."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:side, :side]
    picture = np.full((side, side, 3), rng.uniform(0, 255, 3))
    for _ in range(40):
        row, column = rng.uniform(0, side, 2)
        inside = (down - row) ** 2 + (right - column) ** 2 < rng.uniform(4, side / 4) ** 2
        picture[inside] = rng.uniform(0, 255, 3)
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


SCENES = [scene(seed) for seed in range(3)]


def learn(**changes: Any) -> LearnedWeights:
    arguments: dict[str, Any] = {
        "rank": 48,
        "progress": False,
        "through": THROUGH,
        "recipe": RECIPE,
    }
    arguments |= changes
    return learn_weights(arguments.pop("images", SCENES), **arguments)


@pytest.fixture(scope="module")
def learned() -> LearnedWeights:
    return learn()


def maps_of(
    weights: LearnedWeights, image: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return each convolution's map after ReLU, convolved by scipy instead of TensorFlow."""
    scipy_signal = importlib.import_module("scipy.signal")
    maps = image[..., ::-1].astype(np.float64) - CAFFE_MEAN
    found = {}
    block = "block1"
    for name, (kernel, bias) in weights.kernels().items():
        if name.split("_")[0] != block:
            block = name.split("_")[0]
            height, width, channels = maps.shape
            maps = maps.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
        flipped = kernel[::-1, ::-1].astype(np.float64)
        summed = [
            sum(
                scipy_signal.convolve2d(maps[..., incoming], flipped[..., incoming, out], "same")
                for incoming in range(maps.shape[2])
            )
            for out in range(len(bias))
        ]
        maps = np.maximum(np.stack(summed, axis=-1) + bias, 0)
        found[name] = maps
    return found


@pytest.mark.slow
def test_a_seed_always_gives_the_same_bits_and_another_seed_others(learned: LearnedWeights) -> None:
    again, other = learn(), learn(seed=1)
    assert again.digest == learned.digest
    assert other.digest != learned.digest
    for name, (kernel, bias) in learned.kernels().items():
        assert np.array_equal(kernel, again.kernels()[name][0])
        assert np.array_equal(bias, again.kernels()[name][1])


@pytest.mark.slow
def test_batches_and_labelled_images_give_the_same_weights(learned: LearnedWeights) -> None:
    many = np.stack(SCENES)
    as_pairs = list(zip(SCENES, "abc", strict=True))
    for images in (many, (many, [0, 1, 2]), as_pairs, iter([many[:2], many[2:]])):
        assert learn(images=images).digest == learned.digest
    with pytest.raises(ImageError, match="several parts that may be the image"):
        learn(images=[tuple(SCENES)])


def test_kernels_are_those_of_vgg19(learned: LearnedWeights) -> None:
    shapes = vgg19_kernel_shapes()
    names = [info.name for info in VGG19_CONVOLUTIONS]
    assert list(learned.layers) == names[: names.index(THROUGH) + 1]
    for name, (kernel, bias) in learned.kernels().items():
        assert kernel.shape == shapes[name]
        assert bias.shape == shapes[name][3:]
        assert kernel.dtype == bias.dtype == np.float32
        assert np.isfinite(kernel).all()
        assert np.isfinite(bias).all()


@pytest.mark.slow
def test_every_channel_is_alive_and_selective_on_the_training_images() -> None:
    weights = learn(through="block1_conv2")
    maps = [maps_of(weights, image) for image in SCENES]
    for name in weights.layers:
        values = np.concatenate([one[name].reshape(-1, 64) for one in maps])
        active = (values > 0).mean(axis=0)
        assert (active > 0.02).all(), name
        assert 0.2 < active.mean() < 0.5, name


def test_response_has_unit_deviation_and_a_third_is_active() -> None:
    # Take all patches of one view, the photograph itself, so that the test has the same patches.
    side, image = 64, scene(7, 64)
    recipe = Recipe(views=1, canvas=side, shorter=(side, side), patches=10**6, rounds=3)
    weights = learn(images=[image], through="block1_conv1", recipe=recipe)
    kernel, bias = weights.kernels()["block1_conv1"]
    maps = image[..., ::-1].astype(np.float64) - CAFFE_MEAN
    windows = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), axis=(0, 1))
    responses = []
    # The seed decides whether the view is mirrored, so one of the two must fit.
    for seen in (windows, np.lib.stride_tricks.sliding_window_view(maps[:, ::-1], (3, 3), (0, 1))):
        patches = seen.transpose(0, 1, 3, 4, 2).reshape(-1, 27)
        responses.append(patches @ kernel.reshape(27, 64).astype(np.float64))
    errors = [np.abs(response.std(axis=0) - 1).max() for response in responses]
    response = responses[int(np.argmin(errors))]
    # int8 has an error of at most 1/254 of its column's largest number.
    assert min(errors) < 0.02
    active = (response + bias > 0).mean(axis=0)
    assert np.abs(active - 0.35).max() < 0.01


def test_filters_do_not_see_the_padding(learned: LearnedWeights) -> None:
    for name, part in learned.layers.items():
        kernel = part.kernel().reshape(9, -1, len(part.bias)).astype(np.float64)
        mean = part.blind.reshape(9, -1).astype(np.float64)
        if name == "block1_conv1":
            assert not mean.any()
            continue
        answer = np.einsum("pc,pco->po", mean, kernel)
        lengths = np.linalg.norm(mean, axis=1)[:, None] * np.linalg.norm(kernel, axis=1)
        assert np.abs(answer / lengths).max() < 1e-5


@pytest.mark.parametrize("size", [27, pytest.param(1300, marks=pytest.mark.slow)])
def test_whitening_against_scikit_learn(size: int) -> None:
    decomposition = importlib.import_module("sklearn.decomposition")
    rng = np.random.default_rng(0)
    # The spectrum must fall, since any rotation fits where eigenvalues are equal.
    inner = min(size, 40)
    axes = np.linalg.qr(rng.standard_normal((size, inner)))[0].T
    patches = rng.standard_normal((2_000, inner)) * np.geomspace(10, 1, inner) @ axes
    patches = (patches - patches.mean(axis=0)).astype(np.float32)
    rank = 12
    found = patches @ whitening(patches, rank, rng, floor=0.0)
    expected = decomposition.PCA(rank, whiten=True, svd_solver="full").fit_transform(patches)
    signs = np.sign((found * expected).sum(axis=0))
    assert np.allclose(found * signs, expected, atol=0.02)
    assert np.allclose(found.T @ found / len(found), np.eye(rank), atol=1e-3)


def test_whitening_floor_is_a_share_of_the_largest_variance() -> None:
    rng = np.random.default_rng(1)
    patches = (rng.standard_normal((5_000, 6)) * [8, 5, 3, 1, 0.1, 0]).astype(np.float32)
    patches -= patches.mean(axis=0)
    white = patches @ whitening(patches, 6, rng, floor=0.01)
    variances = np.sort(np.linalg.eigvalsh(np.cov(patches.T, bias=True)))[::-1]
    expected = variances / (variances + 0.01 * variances[0])
    assert np.allclose(white.var(axis=0), expected, atol=1e-3)


def test_spherical_kmeans_against_scikit_learn() -> None:
    cluster = importlib.import_module("sklearn.cluster")
    rng = np.random.default_rng(2)
    hubs = rng.standard_normal((10, 8))
    points = hubs[rng.integers(10, size=3_000)] + 0.6 * rng.standard_normal((3_000, 8))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)

    def objective(centroids: np.ndarray[Any, Any]) -> float:
        centroids = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
        return float((points @ centroids.T).max(axis=1).mean())

    expected = cluster.KMeans(20, n_init=5, random_state=0).fit(points).cluster_centers_
    found = spherical_kmeans(points, 20, rng, rounds=30)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert objective(found) > objective(expected) - 0.01


def test_a_centroid_without_members_is_restarted() -> None:
    rng = np.random.default_rng(3)
    # Most points have one of two directions, so several centroids begin at the same point.
    points = np.repeat(np.eye(6, dtype=np.float32), [300, 300, 2, 2, 2, 2], axis=0)
    centroids = spherical_kmeans(points, 6, rng, rounds=10)
    assert (points @ centroids.T).max(axis=1).min() > 0.999


def test_learned_filters_have_fewer_twins_than_kmeans_alone() -> None:
    def twins(surplus: float) -> float:
        recipe = Recipe(**{**as_dict(RECIPE), "surplus": surplus})
        weights = learn(through="block1_conv1", recipe=recipe)
        kernel = weights.kernels()["block1_conv1"][0].reshape(27, 64)
        kernel = kernel / np.linalg.norm(kernel, axis=0)
        alike = kernel.T @ kernel
        np.fill_diagonal(alike, 0)
        return float(alike.max(axis=0).mean())

    assert twins(1.5) < twins(1.0)


def as_dict(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in Recipe.__slots__}


@pytest.mark.parametrize(("storage", "error"), [("float16", 2**-11), ("int8", 1 / 254)])
def test_rounding_errors_stay_within_the_stated_bound(storage: Any, error: float) -> None:
    rng = np.random.default_rng(4)
    matrix = (rng.standard_normal((90, 12)) * np.geomspace(1e-4, 1e3, 12)).astype(np.float32)
    matrix[:, 3] = 0
    numbers, scale = rounded(matrix, storage)
    assert numbers.dtype == storage
    bound = error * np.abs(matrix).max(axis=0) * (1 + 1e-5)
    assert (np.abs(unrounded(numbers, scale) - matrix) <= bound).all()


def test_factors_reproduce_the_kernel_within_float16() -> None:
    rng = np.random.default_rng(5)
    projection = rng.standard_normal((36, 10)).astype(np.float32)
    centroids = rng.standard_normal((10, 7)).astype(np.float32)
    blind = np.zeros(36, np.float32)
    part = Factors(
        *rounded(projection, "float16"),
        *rounded(centroids, "float16"),
        blind,
        np.zeros(7, np.float32),
    )
    exact = (projection.astype(np.float64) @ centroids).reshape(3, 3, 4, 7)
    # Each of the two factors in every product has a relative error of 2⁻¹¹.
    bound = 2 * 2**-11 * (np.abs(projection) @ np.abs(centroids)).reshape(exact.shape) * 1.01
    assert (np.abs(part.kernel() - exact) <= bound).all()


def test_the_function_without_removes_a_direction() -> None:
    rng = np.random.default_rng(6)
    patches = rng.standard_normal((50, 45)).astype(np.float32)
    before = patches.copy()
    direction = rng.standard_normal(45).astype(np.float32)
    direction[:5] = 0
    without(patches, direction)
    assert np.abs((patches * direction).reshape(50, 9, 5).sum(axis=2)).max() < 1e-5
    assert np.array_equal(patches[:, :5], before[:, :5])


def test_saved_and_loaded_is_the_same(learned: LearnedWeights, tmp_path: Path) -> None:
    path = learned.save(tmp_path / "learned.npz")
    loaded = LearnedWeights.load(path)
    assert loaded.digest == learned.digest
    assert loaded.metadata == json.loads(json.dumps(dict(learned.metadata)))
    for name, (kernel, bias) in learned.kernels().items():
        assert np.array_equal(kernel, loaded.kernels()[name][0])
        assert np.array_equal(bias, loaded.kernels()[name][1])
    assert loaded.save(tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["again.npz", "learned.npz"]


def test_metadata_say_how_the_weights_were_made(learned: LearnedWeights, tmp_path: Path) -> None:
    from PIL import Image

    assert learned.metadata["photographs"] == 3
    assert learned.metadata["seed"] == 0
    assert learned.metadata["rank"] == 48
    assert "k-means" in learned.metadata["method"]
    file = tmp_path / "discs.png"
    Image.fromarray(SCENES[0]).save(file)
    weights = learn(images=[str(file), SCENES[1]], through="block1_conv1")
    assert weights.metadata["sources"] == ["discs.png", "images[1]"]


def test_the_digest_depends_on_the_numbers_alone(learned: LearnedWeights) -> None:
    renamed = LearnedWeights(learned.layers, {"seed": 99})
    assert renamed.digest == learned.digest
    assert learned.digest.startswith("sha256:")
    name, part = next(iter(learned.layers.items()))
    bias = part.bias + np.float32(1)
    changed = replace(part, bias=bias)
    assert LearnedWeights({**learned.layers, name: changed}).digest != learned.digest


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"images": []}, ValueError, "images is empty"),
        ({"images": SCENES[0]}, ValueError, "put it in a list"),
        ({"images": "photo.jpg"}, ValueError, "put it in a list"),
        ({"images": [SCENES[0], "missing.png"]}, ImageError, r"images\[1\]: .*missing\.png"),
        (
            {"images": [np.full((96, 96, 3), (10, 200, 30), np.uint8)]},
            ImageError,
            r"images\[0\] has a single colour",
        ),
        ({"through": "block5_conv4"}, ImageError, r"images\[0\] is 96×96 .* sees 252×252"),
        ({"through": "block9_conv1"}, ValueError, "through 'block9_conv1' is not known"),
        ({"rank": 0}, ValueError, "rank 0 cannot be used"),
        ({"rank": 2.5}, ValueError, r"rank 2\.5 cannot be used"),
        ({"seed": -1}, ValueError, "seed -1 cannot be used"),
        (
            {"recipe": Recipe(views=1, canvas=96, shorter=(48, 96), patches=200)},
            ValueError,
            "patches with contrast for block1_conv1, which needs",
        ),
        (
            {"recipe": Recipe(views=300, canvas=12), "through": "block2_conv2"},
            ValueError,
            r"recipe\.canvas 12 is too small",
        ),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        learn(**changes)
    assert "\n" not in str(caught.value)


def test_a_picture_almost_of_one_colour_gives_too_few_patches() -> None:
    flat = np.full((400, 400, 3), 90, np.uint8)
    flat[40, 40] = 255
    with pytest.raises(ValueError, match="patches with contrast for block1_conv1"):
        learn(images=[flat])


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no learned weights"):
        LearnedWeights.load(path)


def test_missing_damaged_and_misnamed_files_are_refused(
    learned: LearnedWeights, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a file"):
        LearnedWeights.load(tmp_path / "missing.npz")
    for name in ("learned.h5", "learned.NPZ", ".npz"):
        with pytest.raises(ValueError, match=r"does not end in \.npz"):
            learned.save(tmp_path / name)
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="holds no learned weights"):
        LearnedWeights.load(tmp_path / "arrays.npz")
    # A file cut in the middle, and one that lacks an entry.
    whole = learned.save(tmp_path / "learned.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="holds no learned weights"):
        LearnedWeights.load(tmp_path / "cut.npz")
    with (
        zipfile.ZipFile(tmp_path / "learned.npz") as archive,
        zipfile.ZipFile(tmp_path / "less.npz", "w") as less,
    ):
        for name in archive.namelist()[1:]:
            less.writestr(name, archive.read(name))
    with pytest.raises(ValueError, match="holds no learned weights"):
        LearnedWeights.load(tmp_path / "less.npz")


def test_the_sample_image_is_not_learned_from() -> None:
    sample = sample_image()
    for photograph in EMBEDDED_PHOTOGRAPHS:
        pixels = photograph.read()
        assert min(pixels.shape[:2]) >= VGG19_CONVOLUTIONS[-1].receptive_field
        assert pixels.shape != sample.shape or not np.array_equal(pixels, sample)
        assert photograph.licence
        assert photograph.stated


def test_the_command_requires_an_output(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--embedded" in capsys.readouterr().err

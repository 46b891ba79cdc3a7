"""Tests of `top_activations`, compared with plain loops over maps that Keras computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.brute_force import (
    assert_same,
    assert_strongest,
    exact_model,
    maps_of,
    read,
)
from tests.made_pictures import picture, write_pictures
from vgg_widget import FeatureExtractor, ImageError
from vgg_widget.dataset import TopActivations, top_activations
from vgg_widget.layers import VGG19_CONVOLUTIONS
from vgg_widget.weights import random_arrays

COUNT = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 240 pictures, with other files, hidden files and a linked folder."""
    path = tmp_path_factory.mktemp("set") / "pictures"
    write_pictures(path, COUNT)
    (path / "notes.txt").write_text("no image", encoding="utf-8")
    (path / "._000.png").write_bytes(b"what macOS leaves")
    (path / "more" / ".ipynb_checkpoints").mkdir()
    Image.fromarray(picture(1)).save(path / "more" / ".ipynb_checkpoints" / "001-checkpoint.png")
    # Linked folders are not searched, since one may contain its own parent folder.
    (path / "linked").symlink_to(path / "more")
    return path


@pytest.fixture(scope="module")
def top(exact: FeatureExtractor, folder: Path) -> TopActivations:
    return top_activations(exact, folder, k=7, progress=False)


@pytest.fixture(scope="module")
def pictures(folder: Path, top: TopActivations) -> list[Any]:
    return [read(folder, name) for name in top.images]


@pytest.mark.sampled
@pytest.mark.parametrize("layer", ["edges", "half", "corners"])
def test_strongest_images_are_those_of_plain_loops(
    top: TopActivations, pictures: list[Any], layer: str
) -> None:
    assert len(top.images) == COUNT
    assert list(top.images) == sorted(top.images)
    assert_strongest(top, layer, maps_of(exact_model(), pictures, layer))


def test_the_mean_as_statistic(exact: FeatureExtractor, folder: Path, pictures: list[Any]) -> None:
    top = top_activations(exact, folder, "corners", 4, "mean", progress=False)
    assert list(top) == ["corners"]
    maps = maps_of(exact_model(), pictures, "corners")
    assert_strongest(top, "corners", maps, statistic="mean")


def plain_vgg19(convolutions: int) -> Any:
    """Return the first convolutions of VGG19 in plain Keras, with the package's random weights."""
    import keras

    layers: list[Any] = [keras.Input((None, None, 3))]
    infos = VGG19_CONVOLUTIONS[:convolutions]
    for info, after in zip(infos, VGG19_CONVOLUTIONS[1:], strict=False):
        layers.append(
            keras.layers.Conv2D(info.channels, 3, padding="same", activation="relu", name=info.name)
        )
        if after.block != info.block:
            layers.append(keras.layers.MaxPooling2D())
    model = keras.Sequential(layers)
    for info in infos:
        model.get_layer(info.name).set_weights(random_arrays()[info.name])
    return model


@pytest.mark.slow
def test_vgg19_by_its_own_names_and_torchvisions(folder: Path, top: TopActivations) -> None:
    from keras.applications.vgg19 import preprocess_input

    chosen = ["features.7", "block1_conv1", "block2_conv1", "features.5", "features.6"]
    names = list(top.images)[::5]
    extractor = FeatureExtractor("random", size=(32, 32))
    found = top_activations(
        extractor, [folder / name for name in names], chosen, k=3, progress=False
    )
    # Two names of the same maps give one entry; the maps before a ReLU are another entry.
    assert list(found) == ["block1_conv1", "features.5", "block2_conv1", "features.7"]
    assert found["features.6"] is found["block2_conv1"]
    model, small = plain_vgg19(4), []
    for name in names:
        image = Image.fromarray(read(folder, name)).resize((32, 32), Image.Resampling.BILINEAR)
        small.append(preprocess_input(np.array(image, np.float32)))
    for layer in ("block1_conv1", "block2_conv1"):
        assert_strongest(found, layer, maps_of(model, small, layer), exact=False)
    import keras

    last = model.get_layer("block2_conv1")
    before = [
        np.asarray(keras.ops.conv(one[None], *last.get_weights()[:1], padding="same"))[0]
        for one in maps_of(model, small, model.layers[2].name)
    ]
    assert_strongest(found, "features.5", before, exact=False)


def test_boxes_and_patches_show_where_the_map_is_largest(
    top: TopActivations, pictures: list[Any]
) -> None:
    strongest = top["corners"]
    boxes = top.boxes("corners", 2)
    patches = top.patches("corners", 2)
    for rank, place in enumerate(strongest.images[2]):
        # Two 3×3 convolutions around a pool, the second without padding, see 8 pixels at stride 2.
        row, column = 2 * int(strongest.rows[2, rank]), 2 * int(strongest.columns[2, rank])
        top_, left = max(0, row - 1), max(0, column - 1)
        height, width, _ = pictures[place].shape
        bottom, right = min(height, row + 7), min(width, column + 7)
        assert boxes[rank].tolist() == [top_, left, bottom, right]
        np.testing.assert_array_equal(patches[rank], pictures[place][top_:bottom, left:right])


def test_boxes_and_patches_of_resized_pictures(tmp_path: Path) -> None:
    image = np.zeros((100, 60, 3), np.uint8)
    image[70:90, 10:30] = 255
    Image.fromarray(image).save(tmp_path / "one.png")
    extractor = FeatureExtractor("random", size=(50, 40))
    top = top_activations(extractor, tmp_path, "block1_conv2", k=1, progress=False)
    (box,), (original,) = (top.boxes("block1_conv2", 5, original=on) for on in (False, True))
    assert original.tolist() == [
        box[0] * 2,
        int(box[1] * 1.5),
        box[2] * 2,
        int(np.ceil(box[3] * 1.5)),
    ]
    (patch,) = top.patches("block1_conv2", 5, original=True)
    np.testing.assert_array_equal(
        patch, image[original[0] : original[2], original[1] : original[3]]
    )
    resized = np.asarray(Image.fromarray(image).resize((40, 50), Image.Resampling.BILINEAR))
    (patch,) = top.patches("block1_conv2", 5)
    np.testing.assert_array_equal(patch, resized[box[0] : box[2], box[1] : box[3]])
    Image.fromarray(image[::-1]).save(tmp_path / "one.png")
    with pytest.raises(ImageError, match=r"one\.png' has changed"):
        top.patches("block1_conv2", 5)
    (tmp_path / "one.png").unlink()
    with pytest.raises(ImageError, match=r"one\.png' was not found"):
        top.patches("block1_conv2", 5)


def test_values_that_are_not_finite_are_left_out() -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 1, name="scaled", use_bias=False)]
    )
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[..., 0] = 3e38  # Infinite for a picture that is not black.
    kernel[..., 1] = -1
    model.get_layer("scaled").set_weights([kernel])
    images = [np.full((8, 8, 3), value, np.uint8) for value in (40, 0, 10)]
    top = top_activations(FeatureExtractor(model=model, size=None), images, k=2, progress=False)
    found = top["scaled"]
    assert found.counted.tolist() == [1, 3]
    assert found.images.tolist() == [[1, -1], [1, 2]]
    np.testing.assert_array_equal(found.values, [[0, np.nan], [0, -30]])
    assert found.mean.tolist() == [0, -50]
    assert found.fraction_active.tolist() == [0, 0]
    assert top.boxes("scaled", 0).tolist() == [[0, 0, 1, 1]]


def test_what_is_saved_is_loaded(top: TopActivations, tmp_path: Path) -> None:
    path = tmp_path / "top.npz"
    top.save(path)
    again = TopActivations.load(path)
    assert_same(top, again)
    assert repr(again) == repr(top)
    assert (again.weights, again.k, again.size) == (top.weights, 7, None)
    for one, other in zip(top.patches("half", 1), again.patches("half", 1), strict=True):
        np.testing.assert_array_equal(one, other)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"holds no saved top activations, or is damaged"):
        TopActivations.load(path)
    np.savez(path, header=np.array([pytest.fail], object))
    with pytest.raises(ValueError, match=r"holds Python objects, which could run code"):
        TopActivations.load(path)
    with pytest.raises(ValueError, match=r"does not end in \.npz"):
        top.save(tmp_path / "top.json")


def test_progress_is_a_bar_or_a_function(
    exact: FeatureExtractor, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [picture(number) for number in range(20)] + [np.zeros((8, 8, 7))]
    calls: list[tuple[int, int | None]] = []
    top_activations(exact, images, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (21, 21)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert capsys.readouterr().err == ""
    top_activations(exact, iter(images), progress=True)
    assert "21image" in capsys.readouterr().err


def test_a_picture_is_read_once_for_its_patch(
    exact: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two reads, a file replaced in between could be shown after another was checked."""
    path = tmp_path / "one.png"
    Image.fromarray(picture(1)).save(path)
    top = top_activations(exact, tmp_path, progress=False)
    times: list[Path] = []
    plain_open = Path.open

    def noted(opened: Path, *how: Any, **more: Any) -> Any:
        times.append(opened)
        return plain_open(opened, *how, **more)

    monkeypatch.setattr(Path, "open", noted)
    top.patch("edges", 0, 0)
    assert times == [path]
    path.write_bytes(path.read_bytes() + b"more")
    times.clear()
    with pytest.raises(ImageError, match=r"one\.png' has changed"):
        top.patch("edges", 0, 0)
    assert times == [path]


def test_unknown_layers_and_channels_raise(top: TopActivations) -> None:
    with pytest.raises(KeyError, match="layer 'edge' is not in this result"):
        top["edge"]
    with pytest.raises(IndexError, match="channel 6 is not in layer 'edges'"):
        top.boxes("edges", 6)
    assert not top["edges"].values.flags.writeable


def test_a_map_that_is_zero_everywhere_has_its_maximum_at_the_first_place() -> None:
    # A grey image has no edges. With random filters, about half of its maps are below 0 before
    # their ReLU, and so 0 everywhere after it.
    grey = [np.full((32, 32, 3), 130, np.uint8)]
    extractor = FeatureExtractor("random", size=None)
    top = top_activations(extractor, grey, ["block2_conv1", "features.5"], 1, progress=False)
    after, before = top["block2_conv1"], top["features.5"]
    none = (before.values < 0).ravel()
    assert 0 < none.sum() < none.size
    assert not after.values[none].any()
    assert not after.rows[none].any()
    assert not after.columns[none].any()
    assert before.rows[none].any()
    for part in ("values", "rows", "columns"):
        np.testing.assert_array_equal(getattr(after, part)[~none], getattr(before, part)[~none])


def test_nan_in_vgg19_does_not_become_zero() -> None:
    """A picture whose maps are NaN is not counted, although its maps pass a ReLU."""

    def prepare(images: Any) -> Any:
        return np.where(images.max(axis=(1, 2, 3), keepdims=True) > 200, np.nan, images)

    images = [np.full((32, 32, 3), value, np.uint8) for value in (10, 255, 30)]
    extractor = FeatureExtractor("random", preprocess=prepare, size=None)
    for statistic in ("max", "mean"):
        top = top_activations(extractor, images, "block1_conv1", 3, statistic, progress=False)
        found = top["block1_conv1"]
        assert set(found.counted.tolist()) == {2}
        assert set(found.images.ravel().tolist()) == {-1, 0, 2}
        assert np.isfinite(found.mean).all()


def test_a_layer_that_is_not_needed_is_not_computed() -> None:
    import keras

    ran: list[str] = []

    class Noted(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            import tensorflow as tf

            def noted(values: Any) -> Any:
                ran.append(self.name)
                return values

            # A stateless operation is left out by TensorFlow if its result is not needed.
            made = tf.numpy_function(noted, [x], tf.float32, stateful=False)
            return tf.ensure_shape(made, x.shape)

    names = ("first", "second")
    model = keras.Sequential([keras.Input((None, None, 3)), *(Noted(name=name) for name in names)])
    extractor = FeatureExtractor(model=model, size=None)
    top_activations(extractor, [picture(1)], "second", progress=False)
    assert ran == ["first", "second"]
    ran.clear()
    top_activations(extractor, [picture(1)], "first", progress=False)
    assert ran == ["first"]

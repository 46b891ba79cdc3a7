"""Tests of reading images: sources, unchanged inputs, notes, errors and resizing.

The pixels read from each kind of file or array, and refused input, are tested in test_bad_input.py.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import get_data_path
from PIL import Image

from tests import made_files as made
from tests.good_input import DEEP, GREY, PICTURE, RGB8, animation
from vgg_widget import ImageError, load_image, sample_image
from vgg_widget.images import read_image, resize

PNG = made.png(PICTURE)


def assert_same(loaded: RGB8, expected: npt.NDArray[Any], within: int = 0) -> None:
    assert loaded.dtype == np.uint8
    assert loaded.shape == expected.shape
    assert np.abs(loaded.astype(int) - expected.astype(int)).max() <= within


# Sources -----------------------------------------------------------------------------------------


@pytest.fixture
def png_file(tmp_path: Path) -> Path:
    path = tmp_path / "picture 1 ü.png"
    path.write_bytes(PNG)
    return path


def test_from_a_path_as_text_and_as_an_object(png_file: Path) -> None:
    assert_same(load_image(str(png_file)), PICTURE)
    assert_same(load_image(png_file), PICTURE)
    assert read_image(png_file).origin == str(png_file)


def test_from_a_relative_path_and_from_home(
    png_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(png_file.parent)
    assert_same(load_image(png_file.name), PICTURE)
    assert read_image(png_file.name).origin == str(png_file)
    monkeypatch.setenv("HOME", str(png_file.parent))
    monkeypatch.setenv("USERPROFILE", str(png_file.parent))
    assert_same(load_image(f"~/{png_file.name}"), PICTURE)


def test_from_bytes() -> None:
    assert_same(load_image(PNG), PICTURE)
    assert read_image(PNG).origin is None


def test_from_a_file_object_which_stays_open(png_file: Path) -> None:
    with png_file.open("rb") as stream:
        assert_same(load_image(stream), PICTURE)
        assert not stream.closed
    buffer = io.BytesIO(PNG)
    assert_same(load_image(buffer), PICTURE)
    assert not buffer.closed


def test_from_pillow() -> None:
    assert_same(load_image(Image.fromarray(PICTURE)), PICTURE)


class TorchLike:
    """A stub of a PyTorch tensor with a gradient on a GPU: an array after detach() and cpu()."""

    def __init__(self, values: npt.NDArray[Any], *, bound: bool = True, far: bool = True) -> None:
        self.values, self.bound, self.far = values, bound, far

    def detach(self) -> TorchLike:
        return TorchLike(self.values, bound=False, far=self.far)

    def cpu(self) -> TorchLike:
        return TorchLike(self.values, bound=self.bound, far=False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        if self.bound:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.far:
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return np.array(self.values, dtype=dtype)


def test_from_a_torch_like_tensor_channels_first_in_0_to_1() -> None:
    tensor = TorchLike(np.moveaxis(PICTURE, -1, 0).astype(np.float32) / 255)
    assert_same(load_image(tensor), PICTURE)


@pytest.mark.slow
def test_from_keras_and_tensorflow_tensors() -> None:
    import keras
    import tensorflow as tf

    assert_same(load_image(tf.constant(PICTURE)), PICTURE)
    assert_same(load_image(tf.constant(PICTURE, tf.float32)[tf.newaxis] / 255), PICTURE)
    assert_same(load_image(tf.Variable(PICTURE.astype(np.float32))), PICTURE)
    assert_same(load_image(keras.ops.convert_to_tensor(PICTURE)), PICTURE)
    # bfloat16 has 8 significant bits, so values in 0–1 may be off by one level.
    half = tf.cast(tf.constant(PICTURE, tf.float32) / 255, tf.bfloat16)
    assert_same(load_image(half), PICTURE, within=1)


def test_sample_image_is_matplotlibs_photograph() -> None:
    path = Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"
    sample = sample_image()
    assert sample.shape == (600, 512, 3)
    assert_same(sample, matplotlib.image.imread(path))
    sample[:] = 0
    assert sample_image().max() > 200  # each call returns a new array


@pytest.mark.slow
def test_from_pytorch_tensors() -> None:
    import torch

    first = torch.from_numpy(np.moveaxis(PICTURE, -1, 0).copy())
    for tensor in (
        first,
        first[None],
        first.to(torch.bfloat16),
        (first.double() / 255).requires_grad_(),
        first.permute(1, 2, 0),
    ):
        assert_same(load_image(tensor), PICTURE)
    for bad, message in (
        (torch.zeros(40, 40).to_sparse(), r"type Tensor could not .* Sparse .*: pass"),
        (torch.zeros(40, 40, device="meta"), r"type Tensor could not .*no data!\): pass"),
        (torch.zeros(40, 40, dtype=torch.complex64), r"dtype complex64, which images cannot have"),
        (torch.full((40, 40), float("nan")), r"1600 values that are NaN"),
        (torch.zeros(2, 3, 40, 40), r"shape \(2, 3, 40, 40\) is not an image"),
    ):
        refused(bad, message)


# Unchanged inputs --------------------------------------------------------------------------------


def test_a_pillow_image_is_not_changed() -> None:
    with Image.open(io.BytesIO(animation("GIF"))) as frames:
        frames.seek(2)
        load_image(frames)
        assert frames.tell() == 2
    grey = made.png(GREY, chunks=[made.transparent(5)])
    with Image.open(io.BytesIO(grey)) as keyed:
        load_image(keyed)
        assert keyed.info["transparency"] == 5
    with Image.open(io.BytesIO(made.encoded(PICTURE, exif=made.exif(6)))) as turned:
        assert load_image(turned).shape == (52, 40, 3)
        assert turned.size == (52, 40)
        assert turned.getexif()[0x0112] == 6
        np.testing.assert_array_equal(np.asarray(turned), PICTURE)


def test_rows_of_lists_and_tuples_are_one_picture() -> None:
    rows = [tuple(row) if place % 2 else row for place, row in enumerate(GREY.tolist())]
    np.testing.assert_array_equal(load_image(rows), load_image(GREY))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_although_the_exif_data_cannot_be_written(orientation: int) -> None:
    plain = load_image(made.encoded(PICTURE, exif=made.exif(orientation)))
    odd = made.encoded(PICTURE, exif=made.exif_that_cannot_be_written(orientation))
    np.testing.assert_array_equal(load_image(odd), plain)


# Arrays ------------------------------------------------------------------------------------------


def test_uint16_rounds_to_the_nearest_of_256_levels() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(load_image(every)[..., 0], np.rint(every / 257))


@pytest.mark.parametrize(
    ("top", "note"),
    [
        (0.0, "float values up to 1 read as 0–1"),
        (1.0, "float values up to 1 read as 0–1"),
        (255.0, "float values read as 0–255"),
    ],
)
def test_the_note_says_how_floats_were_read(top: float, note: str) -> None:
    values = np.linspace(0, top, 40 * 40).reshape(40, 40)
    reading = read_image(values)
    assert reading.note == note
    scale = 255 if note.endswith("0–1") else 1
    np.testing.assert_array_equal(reading.pixels[..., 0], np.rint(values * scale))


def test_the_note_says_how_16_bits_were_read() -> None:
    for source in (DEEP, made.png(DEEP, 16), made.tiff(DEEP)):
        assert read_image(source).note == "16-bit values read as 0–65535"


def test_the_note_is_empty_when_the_range_is_certain() -> None:
    for source in (PICTURE, GREY > 5, PNG, PICTURE.astype(int)):
        assert read_image(source).note == ""


# Errors ------------------------------------------------------------------------------------------


def refused(source: object, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        load_image(source)
    sentence = str(caught.value)
    assert "image" in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_a_missing_file_says_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    looked_for = tmp_path / "cat.jpg"
    refused("cat.jpg", rf"'cat\.jpg' was not found.*{looked_for}.*check the name")
    refused(looked_for, rf"was not found.*{looked_for}")


def test_a_file_without_read_permission(png_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(io, "open", denied)
    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr("builtins.open", denied)
    refused(png_file, r"could not be opened \(Permission denied\): check its permissions")


def test_the_error_for_a_file_opened_as_text_suggests_mode_rb(png_file: Path) -> None:
    with png_file.open(encoding="utf-8") as stream:
        refused(stream, r"mode 'rb'")


# Resizing ----------------------------------------------------------------------------------------


def test_an_int_scales_the_shorter_side_and_keeps_the_aspect() -> None:
    tall, wide = np.zeros((600, 512, 3), np.uint8), np.zeros((100, 250, 3), np.uint8)
    assert resize(tall, 224).shape == (262, 224, 3)  # 600 * 224 / 512 = 262.5, rounded to even
    assert resize(wide, 40).shape == (40, 100, 3)
    assert resize(wide, 200).shape == (200, 500, 3)


def test_a_pair_is_height_and_width() -> None:
    assert resize(np.zeros((600, 512, 3), np.uint8), (64, 96)).shape == (64, 96, 3)


@given(st.integers(32, 300), st.integers(32, 300), st.integers(32, 120))
def test_the_shorter_side_is_exactly_the_size(height: int, width: int, size: int) -> None:
    shape = resize(np.zeros((height, width, 3), np.uint8), size).shape
    assert min(shape[:2]) == size
    assert abs(max(shape[:2]) - size * max(height, width) / min(height, width)) <= 0.5


def test_none_and_the_same_size_keep_every_pixel_in_a_new_array() -> None:
    for size in (None, 40, (40, 52)):
        kept = resize(PICTURE, size)
        assert_same(kept, PICTURE)
        assert not np.shares_memory(kept, PICTURE)


def test_resampling_is_pillows_bilinear_and_leaves_the_image() -> None:
    before = PICTURE.copy()
    expected = Image.fromarray(PICTURE).resize((33, 35), Image.Resampling.BILINEAR)
    assert_same(resize(PICTURE, (35, 33)), np.asarray(expected))
    np.testing.assert_array_equal(PICTURE, before)


def test_shrinking_averages_rather_than_picks() -> None:
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    small = resize(np.dstack([board] * 3).astype(np.uint8), 32)
    assert (np.abs(small.astype(int) - 127) < 20).all()


@pytest.mark.parametrize(
    "size", [0, 31, -5, 224.0, "224", True, (64,), (64, 20), (64, 64, 3), (64, None), ()]
)
def test_invalid_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .* cannot be used: .*at least 32.*shorter side"):
        resize(PICTURE, size)


def test_numpy_integers_are_sizes() -> None:
    assert resize(PICTURE, np.int64(64)).shape == (64, 83, 3)  # type: ignore[arg-type]

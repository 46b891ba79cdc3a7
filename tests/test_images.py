"""Images: whatever a person passes, the right pixels come out, or one sentence that helps."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import get_data_path
from PIL import Image

from vgg_widget import ImageError, load_image, sample_image
from vgg_widget.images import read_image, resize

RGB8 = npt.NDArray[np.uint8]

RANDOM = np.random.default_rng(7)
PICTURE: RGB8 = RANDOM.integers(0, 256, (40, 52, 3), dtype=np.uint8)
GREY: RGB8 = RANDOM.integers(0, 256, (40, 52), dtype=np.uint8)
for _array in (PICTURE, GREY):
    _array.flags.writeable = False


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **options)
        return buffer.getvalue()


PNG = encoded(Image.fromarray(PICTURE))


def grey_as_rgb(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([grey, grey, grey], axis=-1)


def assert_same(loaded: RGB8, expected: npt.NDArray[Any], within: int = 0) -> None:
    assert loaded.dtype == np.uint8
    assert loaded.shape == expected.shape
    assert np.abs(loaded.astype(int) - expected.astype(int)).max() <= within


# Where it comes from -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_from_bytes(kind: Callable[[bytes], object]) -> None:
    assert_same(load_image(kind(PNG)), PICTURE)
    assert read_image(kind(PNG)).origin is None


def test_from_a_file_object_which_stays_open(png_file: Path) -> None:
    with png_file.open("rb") as stream:
        assert_same(load_image(stream), PICTURE)
        assert not stream.closed
    buffer = io.BytesIO(PNG)
    assert_same(load_image(buffer), PICTURE)
    assert not buffer.closed


def test_from_pillow() -> None:
    assert_same(load_image(Image.fromarray(PICTURE)), PICTURE)


def test_from_nested_lists() -> None:
    assert_same(load_image(PICTURE.tolist()), PICTURE)


class TorchLike:
    """As a PyTorch tensor with a gradient on a GPU: an array only after detach() and cpu()."""

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
    # bfloat16 holds 8 bits of fraction, so 0–1 comes back within one or two levels.
    half = tf.cast(tf.constant(PICTURE, tf.float32) / 255, tf.bfloat16)
    assert_same(load_image(half), PICTURE, within=1)


def test_sample_image_is_matplotlibs_photograph() -> None:
    path = Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"
    sample = sample_image()
    assert sample.shape == (600, 512, 3)
    assert_same(sample, matplotlib.image.imread(path))
    sample[:] = 0
    assert sample_image().max() > 200  # the next person gets a fresh one


# What is in a file -------------------------------------------------------------------------------


# What a viewer does to the stored pixels, by the EXIF standard's table of orientations.
UPRIGHT: dict[int, Callable[[RGB8], RGB8]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),  # a quarter turn clockwise
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    image = Image.fromarray(PICTURE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(image, kind, exif=exif.tobytes(), **options)
    assert_same(load_image(data), UPRIGHT[orientation](PICTURE))


def test_exif_orientation_of_a_jpeg() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    halves = np.zeros((40, 60, 3), np.uint8)
    halves[:, 30:] = (250, 0, 0)  # stored on the right, so it stands below when upright
    data = encoded(Image.fromarray(halves), "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)
    upright = load_image(data)
    assert upright.shape == (60, 40, 3)
    assert upright[:29].max() < 20
    assert (np.abs(upright[31:].astype(int) - (250, 0, 0)) < 12).all()


def over_white(rgba: npt.NDArray[Any]) -> npt.NDArray[Any]:
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))


RGBA: RGB8 = RANDOM.integers(0, 256, (40, 52, 4), dtype=np.uint8)
RGBA[:5, ..., 3], RGBA[5:10, ..., 3] = 0, 255


def test_transparency_is_laid_over_white() -> None:
    for source in (encoded(Image.fromarray(RGBA)), Image.fromarray(RGBA), RGBA):
        loaded = load_image(source)
        assert_same(loaded, over_white(RGBA), within=1)
        assert (loaded[:5] == 255).all()
        np.testing.assert_array_equal(loaded[5:10], RGBA[5:10, :, :3])


def test_grey_with_transparency() -> None:
    alpha = RGBA[..., 3]
    image = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha)))
    expected = over_white(np.dstack([grey_as_rgb(GREY), alpha]))
    assert_same(load_image(encoded(image)), expected, within=1)


PALETTE = [(255, 0, 0), (0, 200, 10), (0, 0, 255), (30, 60, 90)]
INDICES: RGB8 = RANDOM.integers(0, 4, (40, 52), dtype=np.uint8)


def palette_image(indices: RGB8 = INDICES) -> Image.Image:
    image = Image.fromarray(indices, "L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([level for color in PALETTE for level in color])
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_becomes_its_colours(kind: str) -> None:
    expected = np.array(PALETTE)[INDICES]
    assert_same(load_image(encoded(palette_image(), kind)), expected)


def test_a_palette_with_a_transparent_entry() -> None:
    expected = np.array(PALETTE)[INDICES]
    expected[INDICES == 2] = 255
    assert_same(load_image(encoded(palette_image(), transparency=2)), expected)
    # One alpha for each entry, as PNG allows.
    alphas = np.array([255, 0, 128, 255])
    expected = over_white(np.dstack([np.array(PALETTE)[INDICES], alphas[INDICES]]))
    data = encoded(palette_image(), transparency=bytes(alphas.tolist()))
    assert_same(load_image(data), expected, within=1)


def test_cmyk_becomes_rgb() -> None:
    inks = RANDOM.integers(0, 256, (40, 52, 4), dtype=np.uint8).astype(float)
    image = Image.fromarray(inks.astype(np.uint8), "CMYK")
    paper = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert_same(load_image(encoded(image, "TIFF")), np.rint(paper), within=2)
    # JPEG stores the inks inverted, and loses a little.
    flat = Image.new("CMYK", (48, 48), (0, 255, 255, 0))
    red = load_image(encoded(flat, "JPEG", quality=95))
    assert (np.abs(red.astype(int) - (255, 0, 0)) < 8).all()


DEEP = RANDOM.integers(0, 65536, (40, 52), dtype=np.uint16)
DEEP[0, :4] = (0, 65535, 257, 128 * 257)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_shades(kind: str) -> None:
    reading = read_image(encoded(Image.fromarray(DEEP), kind))
    assert_same(reading.pixels, grey_as_rgb(np.rint(DEEP / 257)))
    assert reading.pixels[0, :4, 0].tolist() == [0, 255, 1, 128]
    assert "16-bit" in reading.note


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = np.full((40, 52), 200, np.uint16)  # 200 of 65535 is nearly black
    for kind in ("PNG", "TIFF"):
        assert load_image(encoded(Image.fromarray(dark), kind)).max() == 1


def test_a_float_tiff() -> None:
    values = RANDOM.random((40, 52), dtype=np.float32)
    reading = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert_same(reading.pixels, grey_as_rgb(np.rint(values * 255)))
    assert reading.note == "float values up to 1 read as 0–1"


def test_a_1_bit_picture_is_black_and_white() -> None:
    bits = GREY > 100
    assert_same(load_image(encoded(Image.fromarray(bits))), grey_as_rgb(bits * 255))


def test_a_grey_picture_has_three_equal_channels() -> None:
    assert_same(load_image(encoded(Image.fromarray(GREY))), grey_as_rgb(GREY))
    with_value = encoded(Image.fromarray(GREY), transparency=17)
    expected = np.where(GREY == 17, 255, GREY)
    assert_same(load_image(with_value), grey_as_rgb(expected))


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": 1})])
def test_an_animation_gives_its_first_frame(kind: str, options: dict[str, Any]) -> None:
    frames = [palette_image(np.full((40, 52), index, np.uint8)) for index in range(3)]
    if kind != "GIF":
        frames = [frame.convert("RGB") for frame in frames]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3  # type: ignore[attr-defined]
    assert_same(load_image(data), np.broadcast_to(PALETTE[0], (40, 52, 3)))


def test_a_pillow_image_is_left_as_it_was() -> None:
    frames = [palette_image(np.full((40, 52), index, np.uint8)) for index in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as animation:
        animation.seek(2)
        load_image(animation)
        assert animation.tell() == 2
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encoded(Image.fromarray(PICTURE), exif=exif.tobytes()))) as turned:
        assert load_image(turned).shape == (52, 40, 3)
        assert turned.size == (52, 40)
        assert turned.getexif()[0x0112] == 6
        np.testing.assert_array_equal(np.asarray(turned), PICTURE)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA"])
def test_other_pillow_modes_give_the_colour_that_pillow_gives(mode: str) -> None:
    color = Image.new("RGB", (40, 40), (200, 100, 50))
    if mode == "LAB":
        image = Image.new("LAB", (40, 40), (150, 160, 170))
        expected = np.asarray(image.convert("RGB"))
    elif mode == "PA":
        image = Image.new("PA", (40, 40), (1, 255))
        image.putpalette([0, 0, 0, 200, 100, 50])
        expected = np.asarray(color)
    else:
        image = color.convert("RGBA").convert(mode) if mode == "RGBa" else color.convert(mode)
        expected = np.asarray(color)
    assert_same(load_image(image), expected, within=2)


# Arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(PICTURE, PICTURE, id="RGB"),
        pytest.param(PICTURE[np.newaxis], PICTURE, id="a batch of one"),
        pytest.param(np.moveaxis(PICTURE, -1, 0), PICTURE, id="channels first"),
        pytest.param(np.moveaxis(PICTURE, -1, 0)[None], PICTURE, id="batch, channels first"),
        pytest.param(GREY, grey_as_rgb(GREY), id="grey"),
        pytest.param(GREY[..., None], grey_as_rgb(GREY), id="grey with a channel axis"),
        pytest.param(GREY[None], grey_as_rgb(GREY), id="grey, channel first"),
        pytest.param(GREY > 99, grey_as_rgb((GREY > 99) * 255), id="bool"),
        pytest.param(PICTURE[::-1, ::-1, ::-1], PICTURE[::-1, ::-1, ::-1], id="negative strides"),
        pytest.param(PICTURE.transpose(1, 0, 2), PICTURE.transpose(1, 0, 2), id="transposed"),
        pytest.param(np.asfortranarray(PICTURE), PICTURE, id="Fortran order"),
        pytest.param(PICTURE.astype(np.int64), PICTURE, id="int64 in 0–255"),
        pytest.param(PICTURE.astype(">i4"), PICTURE, id="big-endian integers"),
        pytest.param(PICTURE.astype(np.uint16) * 257, PICTURE, id="uint16"),
        pytest.param((PICTURE.astype(np.uint16) * 257).astype(">u2"), PICTURE, id="big-endian u2"),
        pytest.param(PICTURE.astype(np.float64), PICTURE, id="float in 0–255"),
        pytest.param(PICTURE.astype(np.float32) / 255, PICTURE, id="float in 0–1"),
        pytest.param(PICTURE.astype(">f8") / 255, PICTURE, id="big-endian float"),
        pytest.param(PICTURE.astype(np.float16), PICTURE, id="half floats"),
        pytest.param(PICTURE.astype(ml_dtypes.bfloat16), PICTURE, id="bfloat16"),
        pytest.param(RGBA / 255.0, over_white(RGBA), id="float RGBA"),
        pytest.param(RGBA.astype(np.uint16) * 257, over_white(RGBA), id="uint16 RGBA"),
    ],
)
def test_arrays(array: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    kept = array.copy()
    loaded = load_image(array)
    assert_same(loaded, expected)
    assert loaded.flags.writeable
    assert not np.shares_memory(loaded, array)
    np.testing.assert_array_equal(array, kept)


def test_uint16_rounds_to_the_nearest_of_256_levels() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(load_image(every)[..., 0], np.rint(every / 257))


@pytest.mark.parametrize(
    ("top", "note"),
    [
        (0.0, "float values up to 1 read as 0–1"),
        (1.0, "float values up to 1 read as 0–1"),
        (1.01, "float values read as 0–255"),
        (255.0, "float values read as 0–255"),
    ],
)
def test_the_rule_for_floats_is_told(top: float, note: str) -> None:
    values = np.linspace(0, top, 40 * 40).reshape(40, 40)
    reading = read_image(values)
    assert reading.note == note
    scale = 255 if note.endswith("0–1") else 1
    np.testing.assert_array_equal(reading.pixels[..., 0], np.rint(values * scale))


def test_the_rule_is_not_told_where_nothing_was_decided() -> None:
    for source in (PICTURE, GREY > 5, PNG, PICTURE.astype(int)):
        assert read_image(source).note == ""


def test_a_little_overshoot_is_clipped() -> None:
    values = np.linspace(-0.001, 1.001, 40 * 40).reshape(40, 40)
    loaded = load_image(values)
    assert (loaded[0, 0, 0], loaded[-1, -1, 0]) == (0, 255)


# What cannot be used -----------------------------------------------------------------------------


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


def test_other_paths_that_are_no_files(tmp_path: Path) -> None:
    refused(tmp_path, rf"is a folder \('{tmp_path}'\): pass one file")
    refused("https://example.org/cat.jpg", r"is an address, not a file: download it")
    refused("cat\0.jpg", r"null character: pass")


def test_a_name_too_long_for_the_disk() -> None:
    refused("a" * 300, r"image 'aaa.*(not found|could not be opened)")


def test_a_home_of_nobody() -> None:
    refused("~no-such-user-here/cat.jpg", r"no-such-user-here/cat\.jpg")


def test_an_empty_name_is_not_the_working_folder() -> None:
    refused("", r"image '' (?!is a folder)")


def test_a_file_that_may_not_be_read(png_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(io, "open", denied)
    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr("builtins.open", denied)
    refused(png_file, r"could not be opened \(Permission denied\): check that you may read it")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    refused(path, r"empty\.png' is empty \(0 bytes\): pass a picture")
    refused(b"", r"is empty \(0 bytes\)")
    refused(io.BytesIO(), r"is empty \(0 bytes\)")


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are no pixels.")
    refused(path, r"notes\.txt' is in no picture format.*pass a PNG")
    refused(b"\x00\x01\x02" * 100, r"300 bytes is in no picture format")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file(kind: str, share: float) -> None:
    data = encoded(Image.fromarray(PICTURE), kind)
    with pytest.raises(ImageError, match=r"truncated or damaged|no picture format"):
        load_image(data[: int(len(data) * share)])


def test_a_truncated_png_says_so(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    path.write_bytes(PNG[: len(PNG) // 2])
    refused(path, r"half\.png' could not be read to its end.*truncated or damaged.*save it again")


def test_a_damaged_png() -> None:
    middle = len(PNG) // 2
    refused(PNG[:middle] + b"\xff" * 40 + PNG[middle + 40 :], r"truncated or damaged")


def test_a_file_that_claims_to_be_enormous() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    refused(PNG[:8] + chunk + PNG[33:], r"could not be read.*decompression bomb")


def test_file_objects_that_give_no_bytes(png_file: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("words")
    with words.open(encoding="utf-8") as stream:
        refused(stream, r"gave str, not bytes: open the file with mode 'rb'")
    with png_file.open("rb") as closed:
        pass
    refused(closed, r"file object could not be read.*open for reading")


def test_a_picture_opened_as_text_is_told_the_mode(png_file: Path) -> None:
    with png_file.open(encoding="utf-8") as stream:
        refused(stream, r"mode 'rb'")


@pytest.mark.parametrize("source", [None, 5, 2.5, object(), {"image": 1}, {1, 2}])
def test_what_is_no_image_at_all(source: object) -> None:
    refused(source, rf"image is a {type(source).__name__}, .*path, bytes, file object.*: pass")


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((), r"shape \(\)"),
        ((40,), r"shape \(40,\)"),
        ((40, 40, 2), r"shape \(40, 40, 2\)"),
        ((40, 40, 5), r"shape \(40, 40, 5\)"),
        ((40, 40, 40), r"shape \(40, 40, 40\)"),
        ((2, 40, 40, 3), r"shape \(2, 40, 40, 3\)"),
        ((1, 1, 40, 40, 3), r"shape \(1, 1, 40, 40, 3\)"),
        ((0, 40, 3), r"shape \(0, 40, 3\) is empty"),
        ((40, 0), r"shape \(40, 0\) is empty"),
        ((0, 40, 40, 3), r"\(0, 40, 40, 3\)"),
    ],
)
def test_shapes_that_are_no_picture(shape: tuple[int, ...], told: str) -> None:
    refused(np.zeros(shape, np.uint8), told + r".*: pass")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(bad: float) -> None:
    values = np.zeros((40, 40, 3), np.float32)
    values[3, 4] = bad
    refused(values, r"image array has 3 values that are NaN or infinite: replace them")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.linspace(-2.1, 2.6, 1600), r"from -2\.1 to 2\.6: undo any normalisation"),
        (np.linspace(0, 300, 1600), r"from 0 to 300: undo"),
        (np.linspace(-1, 1, 1600), r"from -1 to 1: undo"),
        (np.arange(1600), r"int64 values from 0 to 1599: scale them to 0–255"),
        (np.arange(1600) % 256 - 5, r"int64 values from -5 to 250: scale"),
        (np.full(1600, 1e300), r"from 1e\+300 to 1e\+300"),
        (np.full(1600, np.longdouble(1e300)) ** 2, r"image array"),
    ],
)
def test_values_outside_every_range(values: npt.NDArray[Any], told: str) -> None:
    refused(values.reshape(40, 40), told)


def test_floats_up_to_1_with_negative_ones_are_not_read_as_a_black_picture() -> None:
    # By the rule, floats up to 1 are 0–1; -0.3 is outside that, as after taking the mean away.
    refused(np.linspace(-0.3, 0.7, 1600).reshape(40, 40), r"from -0\.3 to 0\.7: undo")


@pytest.mark.parametrize("dtype", ["complex128", "object", "U3", "S3", "M8[s]", "u4,f4"])
def test_dtypes_that_are_no_pictures(dtype: str) -> None:
    refused(np.zeros((40, 40), dtype), r"dtype .* no picture's: pass uint8")


def test_ragged_lists() -> None:
    refused([[1, 2, 3], [4]], r"type list could not be made an array.*: pass numbers")


@pytest.mark.parametrize("shape", [(31, 40), (40, 31), (1, 1, 3), (31, 31, 4)])
def test_images_under_32_pixels_a_side(shape: tuple[int, ...]) -> None:
    refused(np.zeros(shape, np.uint8), rf"{shape[0]}×{shape[1]} pixels.*at least 32.*enlarge it")
    assert load_image(np.zeros((32, 32), np.uint8)).shape == (32, 32, 3)


def test_a_small_file_is_refused_too() -> None:
    refused(encoded(Image.new("RGB", (31, 200))), r"200×31 pixels \(height×width\)")


# Properties --------------------------------------------------------------------------------------

SIDES = st.integers(32, 48)
PICTURES = st.tuples(SIDES, SIDES, st.just(3)).flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@given(PICTURES)
def test_any_picture_comes_back_from_png(picture: RGB8) -> None:
    assert_same(load_image(encoded(Image.fromarray(picture))), picture)
    assert_same(load_image(picture), picture)


@given(PICTURES.filter(lambda picture: bool(picture.max() > 1)), st.sampled_from(["f4", ">f8"]))
def test_any_picture_comes_back_from_floats(picture: RGB8, dtype: str) -> None:
    assert_same(load_image(picture.astype(dtype) / np.float32(255)), picture)
    assert_same(load_image(picture.astype(dtype)), picture)


ANY_DTYPE = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.unicode_string_dtypes(),
    hnp.byte_string_dtypes(),
)
ANY_SHAPE = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES, st.integers(0, 5)),
    st.tuples(st.integers(0, 5), SIDES, SIDES),
)


@given(hnp.arrays(ANY_DTYPE, ANY_SHAPE))
def test_any_array_is_a_picture_or_refused(array: npt.NDArray[Any]) -> None:
    kept = array.tobytes()
    try:
        loaded = load_image(array)
    except ImageError as error:
        assert str(error).startswith("image ")  # noqa: PT017 - either outcome is right
    else:
        assert loaded.dtype == np.uint8
        assert loaded.ndim == 3
        assert loaded.shape[2] == 3
        assert min(loaded.shape[:2]) >= 32
        assert loaded.flags.writeable
        assert not np.shares_memory(loaded, array)
    assert array.tobytes() == kept


@given(st.binary(max_size=200), st.integers(0, len(PNG) - 1))
def test_any_bytes_are_a_picture_or_refused(noise: bytes, start: int) -> None:
    for data in (noise, PNG[:start] + noise + PNG[start + len(noise) :]):
        try:
            loaded = load_image(data)
        except ImageError as error:
            assert "image" in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert loaded.shape[2] == 3


# To the network's size ---------------------------------------------------------------------------


def test_an_int_scales_the_shorter_side_and_keeps_the_aspect() -> None:
    tall, wide = np.zeros((600, 512, 3), np.uint8), np.zeros((100, 250, 3), np.uint8)
    assert resize(tall, 224).shape == (262, 224, 3)  # 600 * 224 / 512 = 262.5, to even
    assert resize(wide, 40).shape == (40, 100, 3)
    assert resize(wide, 200).shape == (200, 500, 3)


def test_a_pair_is_height_and_width() -> None:
    assert resize(np.zeros((600, 512, 3), np.uint8), (64, 96)).shape == (64, 96, 3)


@given(st.integers(32, 300), st.integers(32, 300), st.integers(32, 120))
def test_the_shorter_side_is_exactly_the_size(height: int, width: int, size: int) -> None:
    shape = resize(np.zeros((height, width, 3), np.uint8), size).shape
    assert min(shape[:2]) == size
    assert abs(max(shape[:2]) - size * max(height, width) / min(height, width)) <= 0.5


def test_none_and_the_same_size_keep_every_pixel_in_an_array_of_its_own() -> None:
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
    small = resize(grey_as_rgb(board).astype(np.uint8), 32)
    assert (np.abs(small.astype(int) - 127) < 20).all()


@pytest.mark.parametrize(
    "size", [0, 31, -5, 224.0, "224", True, (64,), (64, 20), (64, 64, 3), (64, None), ()]
)
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .* cannot be used: .*at least 32.*shorter side"):
        resize(PICTURE, size)


def test_numpy_integers_are_sizes() -> None:
    assert resize(PICTURE, np.int64(64)).shape == (64, 83, 3)  # type: ignore[arg-type]

"""Tests of images from other tools: resampled floats, rotated photos, uploads and masks."""

from __future__ import annotations

import copy
import importlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from scipy import ndimage

from tests import made_files as made
from tests.explorers import caption_words
from vgg_widget import (
    FeatureExtractor,
    ImageError,
    LayerExplorer,
    compare,
    load_image,
    sample_image,
)
from vgg_widget.dataset import top_activations
from vgg_widget.images import read_image

RGB8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

PHOTO = sample_image()[100:400, 100:400].copy()
UNIT: Floats = PHOTO / 255.0


def tf_resize(values: Floats, method: str) -> Any:
    import tensorflow as tf

    return tf.image.resize(values, (140, 170), method=method)


def torch_resize(values: Floats, mode: str) -> Any:
    import torch

    planes = torch.tensor(values).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(planes, size=(410, 333), mode=mode)


def noisy(values: Floats, sigma: float) -> Floats:
    top = 255 if values.max() > 2 else 1
    return values + np.random.default_rng(0).normal(0, sigma * top, values.shape)


PRODUCERS: dict[str, Callable[[Floats], Any]] = {
    "tf bicubic": lambda values: tf_resize(values, "bicubic"),
    "tf lanczos3": lambda values: tf_resize(values, "lanczos3"),
    "tf lanczos5": lambda values: tf_resize(values, "lanczos5"),
    "tf mitchellcubic": lambda values: tf_resize(values, "mitchellcubic"),
    "torch bicubic": lambda values: torch_resize(values, "bicubic"),
    "scipy zoom up": lambda values: ndimage.zoom(values, (1.7, 1.4, 1)),
    "scipy zoom down, order 5": lambda values: ndimage.zoom(values, (0.4, 0.6, 1), order=5),
    "brightness × 1.1": lambda values: values * 1.1,
    "brightness × 1.4": lambda values: values * 1.4,
    "contrast × 1.3": lambda values: (values - values.mean()) * 1.3 + values.mean(),
    "noise of 1 %": lambda values: noisy(values, 0.01),
    "noise of 8 %": lambda values: noisy(values, 0.08),
    "float16": lambda values: (values * 1.05).astype(np.float16),
}


def expected_pixels(values: Any, top: float) -> Any:
    """Return the expected pixels: clipped to the range, scaled to 0–255 and rounded."""
    values = np.asarray(values, np.float64)
    values = np.moveaxis(values[0], 0, -1) if values.ndim == 4 else values
    return np.rint(np.clip(values / top, 0, 1) * 255)


@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("producer", PRODUCERS)
def test_floats_a_little_beyond_their_range_keep_their_brightness(producer: str, top: int) -> None:
    values = PRODUCERS[producer](UNIT * top)
    reading = read_image(values)
    np.testing.assert_allclose(reading.pixels, expected_pixels(values, top), atol=1)
    low, high = float(np.asarray(values).min()), float(np.asarray(values).max())
    if low < -0.01 * top or high > 1.01 * top:
        assert reading.note.endswith(f"read as 0–{top}, the rest clipped")
        assert f"from {low:.3g} to {high:.3g} " in reading.note


def test_the_caption_says_that_values_were_clipped(explore: Callable[..., LayerExplorer]) -> None:
    explorer = explore()
    explorer.image = UNIT * 1.2
    assert "float values from 0 to 1.2 read as 0–1, the rest clipped" in (caption_words(explorer))


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


OTHER_RANGES = {
    "ImageNet's mean and deviation": (UNIT - MEAN) / STD,
    "the same of a bright picture": (UNIT / 2 + 0.5 - MEAN) / STD,
    "its own mean and deviation": (UNIT - UNIT.mean()) / UNIT.std(),
    "from -1 to 1": UNIT * 2 - 1,
    "a printed page from -1 to 1": np.where(np.indices(UNIT.shape)[1] % 70, 1.0, -1.0),
    "a picture without contrast, less its mean": (UNIT - UNIT.mean()) / 10,
    "a dark one in 0-255": UNIT * 12,
    "from -0.5 to 0.5": UNIT - 0.5,
    "less the mean in 0-255": PHOTO - np.array([123.7, 116.8, 103.9]),
    "divided by 255 twice": UNIT / 255,
    "from 0 to 3": UNIT * 3,
    "from 0 to 10": UNIT * 10,
    "twice as bright": UNIT * 2,
    "one outlier of 40": np.where(np.arange(UNIT.size).reshape(UNIT.shape) == 9, 40, UNIT),
    "hot pixels of 255": np.where(np.arange(UNIT.size).reshape(UNIT.shape) % 99, UNIT, 255),
    "12 bits as floats": UNIT * 4095,
}


@pytest.mark.parametrize("values", OTHER_RANGES.values(), ids=OTHER_RANGES)
def test_another_range_is_refused_with_what_to_do(values: Floats) -> None:
    with pytest.raises(ImageError, match=r"float values from .* to .*: undo any normalis") as error:
        load_image(values)
    assert "pass values in 0–1 or 0–255 (a nearly black image as uint8)" in str(error.value)


def test_rounding_errors_around_0_are_black() -> None:
    spectrum = np.fft.fft2(np.zeros((40, 50)) + 1e-18 * UNIT[:40, :50, 0])
    assert load_image(np.fft.ifft2(spectrum).real - 1e-18).max() == 0


@pytest.mark.parametrize("top", [10.0**power for power in range(-6, 4)])
@pytest.mark.parametrize("low", [-1.0, -0.3, -0.05, 0.0])
def test_no_float_picture_turns_black_without_a_note(top: float, low: float) -> None:
    values = np.linspace(low, top, 40 * 50).reshape(40, 50)
    try:
        reading = read_image(values)
    except ImageError:
        return
    assert reading.pixels.max() > 1
    assert reading.pixels.max() > 16 or "nearly black" in reading.note


@pytest.mark.parametrize(
    ("source", "brightest"),
    [
        ((PHOTO > 90).astype(np.uint8), 1),
        ((PHOTO[..., 0] > 90).astype(np.int64), 1),
        ((PHOTO >> 5).astype(np.uint8), 7),
        (PHOTO.astype(np.uint16) << 4, 16),
        (PHOTO.astype(np.uint16) << 2, 4),
        (UNIT / 50, 5),
    ],
)
def test_a_nearly_black_picture_gets_a_note(source: Any, brightest: int) -> None:
    note = read_image(source).note
    assert f"nearly black: its brightest value is {brightest} of 255" in note


def test_a_dark_mask_in_a_file_gets_a_note_and_a_black_picture_does_not(tmp_path: Path) -> None:
    Image.fromarray((PHOTO[..., 0] > 90).astype(np.uint8)).save(tmp_path / "mask.png")
    assert "nearly black: its brightest value is 1 of 255" in read_image(tmp_path / "mask.png").note
    for good in (np.zeros((40, 40), np.uint8), PHOTO, PHOTO // 8):
        assert read_image(good).note == ""


@pytest.mark.parametrize("kind", ["array", "big-endian array", "channels first", "PIL", "PNG"])
@pytest.mark.parametrize("brightest", [1, 2, 100, 128])
def test_16_bits_that_round_to_black_get_a_note(kind: str, brightest: int, tmp_path: Path) -> None:
    values = ((PHOTO[..., 0] > 90) * brightest).astype(np.uint16)
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    image.save(tmp_path / "mask.png")
    source = {
        "array": np.dstack([values] * 3),
        "big-endian array": values.astype(">u2"),
        "channels first": values[np.newaxis],
        "PIL": image,
        "PNG": tmp_path / "mask.png",
    }[kind]
    reading = read_image(source)
    assert not reading.pixels.any()
    assert f"nearly black: its brightest value is {brightest} of 65535" in reading.note
    assert "nearly" not in read_image(np.zeros((40, 50), np.uint16)).note


# Transparency ------------------------------------------------------------------------------------

ALPHA = np.linspace(0, 1, PHOTO[..., 0].size).reshape(PHOTO.shape[:2]).round()
ALPHA[:, :9] = 0.4
CUT_OUT = ALPHA.round()


def over_white(alpha: Floats) -> Floats:
    return np.rint(PHOTO * alpha[..., None] + 255 * (1 - alpha[..., None]))


WITH_ALPHA: dict[str, tuple[Any, Any, str]] = {
    "uint8 and a mask": (PHOTO, CUT_OUT.astype(np.uint8), "values up to 1 read as 0–1"),
    "int64 and a mask": (PHOTO.astype(np.int64), CUT_OUT.astype(int), "values up to 1 read as 0–1"),
    "16 bits and a mask": (
        PHOTO.astype(np.uint16) * 257,
        CUT_OUT.astype(np.uint16),
        "values up to 1 read as 0–1",
    ),
    "16 bits and 8 bits": (
        PHOTO.astype(np.uint16) * 257,
        (ALPHA * 255).astype(np.uint16),
        "values up to 255 read as 0–255",
    ),
    "floats to 255 and to 1": (PHOTO * 1.0, ALPHA, "float values up to 1 read as 0–1"),
    "float32 to 255 and to 1": (
        PHOTO.astype(np.float32),
        ALPHA.astype(np.float32),
        "float values up to 1 read as 0–1",
    ),
    "floats to 1 and to 255": (UNIT, ALPHA * 255, "float values read as 0–255"),
    "uint8 as usual": (PHOTO, (ALPHA * 255).astype(np.uint8), ""),
    "floats to 1 as usual": (UNIT, ALPHA, ""),
    "floats to 255 as usual": (PHOTO * 1.0, ALPHA * 255, ""),
}


@pytest.mark.parametrize("case", WITH_ALPHA)
@pytest.mark.parametrize("first", [False, True])
def test_alpha_has_its_own_range(case: str, first: bool) -> None:
    colors, alpha, rule = WITH_ALPHA[case]
    array = np.dstack([colors, alpha])
    reading = read_image(np.moveaxis(array, -1, 0) if first else array)
    opacity = CUT_OUT if "a mask" in case else ALPHA
    np.testing.assert_allclose(reading.pixels, over_white(opacity), atol=1)
    assert reading.note.partition("alpha: ")[2] == rule
    np.testing.assert_array_equal(read_image(colors).pixels, PHOTO)
    assert reading.note.startswith(read_image(colors).note)


@pytest.mark.parametrize("colors", [PHOTO, PHOTO.astype(np.int32), PHOTO * 1.0, UNIT])
@pytest.mark.parametrize("opaque", [1, 255])
def test_an_opaque_picture_keeps_its_pixels(colors: Any, opaque: int) -> None:
    alpha = np.full(colors.shape[:2], opaque, colors.dtype)
    np.testing.assert_array_equal(load_image(np.dstack([colors, alpha])), PHOTO)


def test_a_transparent_picture_gets_a_note(tmp_path: Path) -> None:
    for most, words in ((0, "fully transparent"), (1, "alpha is at most 1 of 255"), (17, "")):
        rgba = np.dstack([PHOTO, (CUT_OUT * most).astype(np.uint8)])
        Image.fromarray(rgba).save(tmp_path / f"{most}.png")
        sources: list[Any] = [Image.fromarray(rgba), tmp_path / f"{most}.png"]
        if most != 1:
            sources += [rgba, rgba / 255.0, rgba.astype(np.uint16) * 257]
        for source in sources:
            reading = read_image(source)
            assert words in reading.note
            assert ("transparent" in reading.note) == bool(words)
            assert reading.pixels.min() >= 254 - most
    Image.new("LA", (50, 40), (9, 0)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").note == "fully transparent, so white everywhere"


# EXIF --------------------------------------------------------------------------------------------


def opened(number: int, kind: str = "PNG") -> Image.Image:
    stream = io.BytesIO()
    Image.fromarray(PHOTO[:60, :90]).save(stream, kind, exif=made.exif(number), lossless=True)
    return Image.open(stream)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_applied_once_to_opened_images(number: int, kind: str) -> None:
    upright = np.asarray(ImageOps.exif_transpose(opened(number, kind)))
    np.testing.assert_array_equal(load_image(opened(number, kind)), upright)
    loaded = opened(number, kind)
    loaded.load()
    np.testing.assert_array_equal(load_image(loaded), upright)
    np.testing.assert_array_equal(load_image(ImageOps.exif_transpose(loaded)), upright)
    ImageOps.exif_transpose(loaded, in_place=True)
    np.testing.assert_array_equal(load_image(loaded), upright)
    smaller = opened(number, kind)
    smaller.thumbnail((50, 50))
    np.testing.assert_array_equal(load_image(smaller), np.asarray(ImageOps.exif_transpose(smaller)))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "rotate": lambda image: image.rotate(270, expand=True),
    "rotate by 90": lambda image: image.rotate(90, expand=True),
    "transpose": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    "mirror": ImageOps.mirror,
    "crop": lambda image: image.crop((5, 5, 80, 50)),
    "resize": lambda image: image.resize((64, 48)),
    "copy": lambda image: image.copy(),
    "Python's copy": copy.copy,
    "grey": lambda image: image.convert("L"),
    "convert and rotate": lambda image: image.convert("RGBA").rotate(180),
}


@pytest.mark.parametrize("number", [2, 3, 6, 8])
@pytest.mark.parametrize("change", EDITS)
def test_edited_copies_are_used_without_rotation(change: str, number: int) -> None:
    image = EDITS[change](opened(number))
    reading = read_image(image)
    np.testing.assert_array_equal(reading.pixels, np.asarray(image.convert("RGB")))
    assert reading.note == "EXIF orientation not applied to a copied or edited image"


@pytest.mark.parametrize("number", [1, 2, 3, 6, 8])
def test_a_deep_copy_of_an_opened_image_is_rotated(number: int) -> None:
    reading = read_image(copy.deepcopy(opened(number)))
    upright = ImageOps.exif_transpose(opened(number))
    np.testing.assert_array_equal(reading.pixels, np.asarray(upright))
    assert reading.note == ""


def test_pictures_of_a_stream_are_rotated_like_single_ones() -> None:
    extractor = FeatureExtractor("random", size=None)
    made_of = [opened(6), opened(6).rotate(270, expand=True), opened(6).convert("L"), opened(3)]
    expected = [load_image(image).shape for image in made_of]
    assert expected == [(90, 60, 3), (90, 60, 3), (60, 90, 3), (60, 90, 3)]
    for images in (made_of, iter(made_of), (image for image in made_of)):
        top = top_activations(extractor, images, ["block1_pool"], k=1, progress=False)
        assert top.seen.sizes.tolist() == [[*shape[:2], *shape[:2]] for shape in expected]


# Values that are not one image -------------------------------------------------------------------


def torch_pair() -> Any:
    import torch

    return [torch.as_tensor(PHOTO), torch.tensor(3)]


def tf_batch(of: int) -> Any:
    import tensorflow as tf

    return next(iter(tf.data.Dataset.from_tensor_slices((PHOTO[None], [3])).batch(of)))


PAIRS: dict[str, tuple[Callable[[], Any], str]] = {
    "a label": (lambda: (PHOTO, 1), r"a tuple of 2 \(ndarray, int\)"),
    "a label in an array": (lambda: (PHOTO, np.array(1)), r"a tuple of 2 \(ndarray, ndarray\)"),
    "a row of labels": (lambda: [PHOTO, np.eye(9)[0]], r"a list of 2 \(ndarray, ndarray\)"),
    "a mask": (lambda: (PHOTO, PHOTO[..., 0]), r"a tuple of 2 \(ndarray, ndarray\)"),
    "a text": (lambda: (PHOTO, "cat"), r"a tuple of 2 \(ndarray, str\)"),
    "nothing": (lambda: (PHOTO, None), r"a tuple of 2 \(ndarray, NoneType\)"),
    "boxes": (lambda: (PHOTO, {"boxes": []}), r"a tuple of 2 \(ndarray, dict\)"),
    "a name": (lambda: ("cat", PHOTO), r"a tuple of 2 \(str, ndarray\)"),
    "grey and a label": (lambda: (PHOTO[..., 0], 3), r"a tuple of 2 \(ndarray, int\)"),
    "Pillow's and a label": (lambda: (Image.fromarray(PHOTO), 3), r"a tuple of 2 \(Image, int\)"),
    "a list and a label": (lambda: (PHOTO.tolist(), 3), r"a tuple of 2 \(list, int\)"),
    "six values": (
        lambda: (PHOTO, *range(5)),
        r"a tuple of 6 \(ndarray, int, int, int, …\)",
    ),
    "PyTorch's": (torch_pair, r"a list of 2 \(Tensor, Tensor\)"),
    "TensorFlow's": (lambda: tf_batch(1), r"a tuple of 2 \(EagerTensor, EagerTensor\)"),
}


@pytest.mark.parametrize(("make", "expected"), PAIRS.values(), ids=PAIRS)
def test_a_picture_with_a_label_or_other_value_is_refused(
    make: Callable[[], Any], expected: str
) -> None:
    for ask in (load_image, FeatureExtractor("random", size=64)):
        with pytest.raises(ImageError, match=rf"^image is {expected}: pass a single image, "):
            ask(make())


class Camera:
    """A stub of OpenCV's captures and rasterio's files, whose `read` returns no bytes."""

    def read(self) -> tuple[bool, RGB8]:
        return True, PHOTO


class Shelf:
    """A stub of zip files, whose `read` needs a name."""

    def read(self, name: str) -> bytes:
        return name.encode()


def keras_models() -> list[Any]:
    import keras

    line = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(2, 3)])
    return [line, keras.Model(line.inputs, line.outputs)]


def test_the_error_names_the_type_of_what_is_not_an_image() -> None:
    extractor = FeatureExtractor("random", size=64)
    sentences: list[tuple[Any, str]] = [
        *(
            (
                wrong,
                f"image is a {type(wrong).__name__}, which is not an image: pass a network as extr",
            )
            for wrong in (extractor, *keras_models())
        ),
        (Camera(), "image file object of type Camera gave tuple, not bytes: open the file with"),
    ]
    for source, sentence in sentences:
        for ask in (
            load_image,
            extractor,
            lambda image: LayerExplorer(image, extractor=extractor),
            lambda image: compare(PHOTO, image, extractor=extractor),
        ):
            with pytest.raises(ImageError) as caught:
                ask(source)
            assert sentence in str(caught.value)
    # Unlike an explorer, these do not accept activations.
    activations = extractor(PHOTO)
    for ask in (load_image, extractor):
        with pytest.raises(ImageError, match=r"^image is a Activations, which is not an image: "):
            ask(activations)
    with pytest.raises(ImageError, match=r"^image file object of type Shelf could not be read "):
        load_image(Shelf())


# Objects in notebooks ----------------------------------------------------------------------------


def png(pixels: RGB8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_an_upload_is_read_like_its_file() -> None:
    data = png(PHOTO)
    value: Any
    whole = {"name": "cat.png", "type": "image/png", "size": len(data), "content": data}
    for content in (data, memoryview(data)):
        one = {**whole, "content": content}
        for value in ((one,), [one], one):
            np.testing.assert_array_equal(load_image(value), PHOTO)
    with pytest.raises(ImageError, match=r"is a FileUpload's value with 2 files: choose one file"):
        load_image((whole, whole))
    with pytest.raises(ImageError, match=r"is a FileUpload's value with no files: choose one file"):
        load_image(())


def test_real_upload_and_image_widgets_are_read() -> None:
    import ipywidgets

    button = ipywidgets.FileUpload()
    button.set_state(
        {
            "value": [
                {
                    "name": "cat.png",
                    "type": "image/png",
                    "size": 1,
                    "last_modified": 0,
                    "content": memoryview(png(PHOTO)),
                }
            ]
        }
    )
    np.testing.assert_array_equal(load_image(button.value), PHOTO)
    np.testing.assert_array_equal(load_image(button.value[0]), PHOTO)
    np.testing.assert_array_equal(load_image(button), PHOTO)
    shown = ipywidgets.Image(value=png(PHOTO), format="png")
    np.testing.assert_array_equal(load_image(shown), PHOTO)
    nothing, address = ipywidgets.FileUpload(), ipywidgets.Image(value=b"", format="url")
    with pytest.raises(ImageError, match=r"^image is a FileUpload's value with no files"):
        load_image(nothing)
    address.value = b"https://example.org/cat.png"
    with pytest.raises(ImageError, match=r"^image 'https://example.org/cat.png' is a URL"):
        load_image(address)
    address.format, address.value = "png", b""
    with pytest.raises(ImageError, match=r"^image of 0 bytes is empty"):
        load_image(address)
    from vgg_widget.explorer.box import widgets_of

    for top in (button, shown, nothing, address):
        for widget in widgets_of(top):
            widget.close()


def test_a_displayed_image_is_read_or_refused(tmp_path: Path) -> None:
    # IPython has no type annotations.
    display: Any = importlib.import_module("IPython.display")
    (tmp_path / "cat.png").write_bytes(png(PHOTO))
    for shown in (
        display.Image(data=png(PHOTO)),
        display.Image(filename=str(tmp_path / "cat.png")),
        display.Image(str(tmp_path / "cat.png"), width=20),
        display.Image(filename=str(tmp_path / "cat.png"), embed=False),
    ):
        np.testing.assert_array_equal(load_image(shown), PHOTO)
    with pytest.raises(ImageError, match=r"IPython\.display\.Image without image data:"):
        load_image(display.Image(url="https://example.org/cat.png"))
    with pytest.raises(ImageError, match=r"^image 'dog\.png' was not found: looked for"):
        load_image(display.Image("dog.png"))
    with pytest.raises(ImageError, match=r"image is a HTML, which is not a path, bytes"):
        load_image(display.HTML("<b>cat</b>"))


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "file object": lambda path: path.open("rb"),
    "PIL image": Image.open,
    "upload": lambda path: ({"name": path.name, "content": memoryview(path.read_bytes())},),
    "displayed": lambda path: importlib.import_module("IPython.display").Image(filename=str(path)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("small.png", png(PHOTO[:20, :40]), r"is 20×40 pixels .* the network needs at least 32 a"),
        ("cut.png", png(PHOTO)[:4000], r"could not be read .*: it may be .*damaged or closed, so"),
        (
            "page.jpg",
            b"\n<!DOCTYPE html><title>404",
            r"is not in a readable image format \(a web page .*: pass",
        ),
        (
            "notes.png",
            b"These are no pixels.",
            r"is not in a readable image format .*: pass an ordi",
        ),
        (
            "large.png",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n",
            r"is not in a readable image format .*Git LFS pointer.*: pass",
        ),
    ],
)
def test_an_error_names_the_file_however_it_is_passed(
    way: str, name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    if way == "PIL image" and name not in ("small.png", "cut.png"):
        # Pillow cannot open such a file.
        way = "path"
    source = WAYS[way](tmp_path / name)
    try:
        with pytest.raises(ImageError, match=rf"{name}' {expected}") as caught:
            load_image(source)
    finally:
        if way in ("file object", "PIL image"):
            source.close()
    assert re.fullmatch(r"image .+: .+\.", str(caught.value))


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (MemoryError(), "not enough memory, so make it smaller"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("broken data stream"), "damaged or closed, so"),
    ],
)
def test_the_advice_follows_the_kind_of_error(
    fault: Exception, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(png(PHOTO))

    def fail(*_: object) -> Any:
        raise fault

    with Image.open(path) as unread, monkeypatch.context() as patched:
        patched.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
        patched.setattr("PIL.ImageFile.ImageFile.load", fail)
        for source in (path, path.read_bytes(), unread):
            with pytest.raises(ImageError, match=advice) as caught:
                load_image(source)
            assert caught.value.__cause__ is fault


def test_a_file_object_whose_disk_fails_is_not_said_to_be_closed() -> None:
    class Failing(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ImageError, match=r"could not be read .*Input/output error.*: pass"):
        load_image(Failing())


@pytest.mark.slow
def test_a_tensorflow_tensor_is_read_without_a_warning() -> None:
    code = (
        "import numpy as np, tensorflow as tf; from vgg_widget import load_image;"
        "print(load_image(tf.fill((40, 50, 3), 0.5)).mean())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "128.0\n"
    assert "deprecat" not in done.stderr.lower()

"""`FeatureExtractor.stream`: order, names, errors, reading ahead, and bounded memory."""

from __future__ import annotations

import gc
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence

from vgg_widget import Activations, FeatureExtractor, ImageError

RGB8 = npt.NDArray[np.uint8]


def noise(height: int, width: int, seed: int) -> RGB8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    """Return three good images of two sizes, with a bad one in second place."""
    for number, side in ((0, 40), (2, 40), (3, 50)):
        Image.fromarray(noise(side, 36, number)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    return [tmp_path / f"{number}.png" for number in range(4)]


def test_files_keep_their_order_and_names_whatever_their_size(
    extractor: FeatureExtractor, folder: list[Path]
) -> None:
    good = [folder[0], folder[2], folder[3]]
    streamed = list(extractor.stream(good, batch_size=2))
    assert [one.name for one in streamed] == [str(path) for path in good]
    for one, number in zip(streamed, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(one.image, noise(50 if number == 3 else 40, 36, number))
        alone = extractor(folder[number])
        for layer in ("block1_conv1", "block5_pool"):
            np.testing.assert_allclose(one[layer], alone[layer], rtol=1e-4, atol=1e-3)


def test_a_bad_image_is_named_and_ends_the_stream(
    extractor: FeatureExtractor, folder: list[Path]
) -> None:
    stream = extractor.stream(folder, batch_size=1)
    assert next(stream).name == str(folder[0])
    with pytest.raises(ImageError, match=r"1\.png"):
        next(stream)


def test_a_bad_image_is_named_and_left_out(extractor: FeatureExtractor, folder: list[Path]) -> None:
    with pytest.warns(UserWarning, match=r"1\.png.*left out"):
        streamed = list(extractor.stream(folder, batch_size=3, on_error="skip"))
    assert [Path(one.name).name for one in streamed] == ["0.png", "2.png", "3.png"]


def test_an_array_is_named_by_its_place(extractor: FeatureExtractor) -> None:
    images = [noise(32, 32, 0), np.zeros((32, 32, 7)), noise(32, 32, 1)]
    with pytest.warns(UserWarning, match=r"^images\[1\]: "):
        streamed = list(extractor.stream(images, on_error="skip"))
    assert [one.name for one in streamed] == ["images[0]", "images[2]"]
    with pytest.raises(ImageError, match=r"^images\[1\]: "):
        list(extractor.stream(images))


def test_bad_images_alone_give_nothing_but_warnings(extractor: FeatureExtractor) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(extractor.stream([b"no", b"nor this"], on_error="skip")) == []
    assert [str(warning.message)[:9] for warning in caught] == ["images[0]", "images[1]"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"on_error": "ignore"}, "on_error 'ignore'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": True}, "batch_size True"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    extractor: FeatureExtractor, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        extractor.stream([], **arguments)


def test_images_that_are_no_collection_are_refused_at_the_call(extractor: FeatureExtractor) -> None:
    with pytest.raises(TypeError, match="images is a int"):
        extractor.stream(3)  # type: ignore[arg-type]


def test_pictures_are_read_while_the_network_runs(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, threads = FeatureExtractor.read, set()
    second = threading.Event()

    def noted(self: FeatureExtractor, image: Any) -> Any:
        threads.add(threading.current_thread())
        if image is images[1]:
            second.set()
        return read(self, image)

    images = []
    for seed in range(3):
        with io.BytesIO() as png:
            Image.fromarray(noise(32, 32, seed)).save(png, "png")
            images.append(png.getvalue())
    monkeypatch.setattr(FeatureExtractor, "read", noted)
    stream = extractor.stream(images, batch_size=1)
    next(stream)
    # The second image is read before it is requested.
    assert second.wait(10)
    assert threading.current_thread() not in threads
    stream.close()  # type: ignore[attr-defined]


def test_a_stream_that_is_left_ends_its_threads_and_takes_no_more(
    extractor: FeatureExtractor,
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[RGB8]:
        while True:
            taken.append(len(taken))
            yield noise(32, 32, taken[-1])

    before = threading.active_count()
    for activations in extractor.stream(endless(), batch_size=2):
        assert isinstance(activations, Activations)
        break
    gc.collect()
    assert threading.active_count() == before
    assert len(taken) <= 2 + 2 * 2 + 2


def test_an_error_in_the_callers_iterable_is_raised_unchanged(extractor: FeatureExtractor) -> None:
    def broken() -> Iterator[RGB8]:
        yield noise(32, 32, 0)
        raise RuntimeError("the camera is gone")

    stream = extractor.stream(broken(), on_error="skip")
    assert next(stream).name == "images[0]"
    with pytest.raises(RuntimeError, match="the camera is gone"):
        next(stream)


def test_a_buffer_that_is_reused_for_each_image_is_read_in_time(
    extractor: FeatureExtractor,
) -> None:
    buffer = np.zeros((32, 32, 3), np.uint8)

    def camera() -> Iterator[RGB8]:
        for value in (10, 60, 110, 160, 210):
            buffer[:] = value
            yield buffer

    streamed = list(extractor.stream(camera(), batch_size=2))
    assert [int(one.image[0, 0, 0]) for one in streamed] == [10, 60, 110, 160, 210]


def test_the_frames_of_an_animation_are_streamed(
    extractor: FeatureExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "animated.gif"
    frames = [Image.new("RGB", (32, 32), (value, 0, 0)) for value in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as animation:
        streamed = list(extractor.stream(ImageSequence.Iterator(animation), batch_size=2))
    assert [int(one.image[0, 0, 0]) for one in streamed] == [0, 100, 200]


def test_each_stream_warns_of_skipped_images(extractor: FeatureExtractor) -> None:
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            list(extractor.stream([b"no picture"], on_error="skip"))
        assert len(caught) == 1


def test_a_folder_is_refused_with_advice(extractor: FeatureExtractor, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"is a folder: pass its files, .*glob"):
        extractor.stream(tmp_path)  # type: ignore[arg-type]


def test_a_batch_is_no_larger_than_the_memory(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = FeatureExtractor._compute

    def noted(self: FeatureExtractor, batch: Any) -> Any:
        sizes.append(len(batch))
        return compute(self, batch)

    one = 32 * 32 * extractor._network.bytes_a_pixel
    monkeypatch.setattr("vgg_widget.network.memory.memory", lambda: int(3.5 * one / 0.7))
    monkeypatch.setattr(FeatureExtractor, "_compute", noted)
    list(extractor.stream([noise(32, 32, seed) for seed in range(7)], batch_size=5))
    assert sizes == [3, 3, 1]


def test_a_network_of_very_coarse_maps_is_streamed() -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(1, 4, strides=16, name="coarse")]
    )
    streamed = list(FeatureExtractor(model=model, size=None).stream([noise(64, 48, 1)] * 3))
    assert [one["coarse"].shape for one in streamed] == [(4, 3, 1)] * 3


def test_progress_counts_every_image(
    extractor: FeatureExtractor, capsys: pytest.CaptureFixture[str]
) -> None:
    list(extractor.stream([noise(32, 32, seed) for seed in range(5)], progress=True))
    assert "5/5" in capsys.readouterr().err

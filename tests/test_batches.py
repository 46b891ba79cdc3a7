"""Tests of image sets given as batches, with labels, or as TensorFlow, PyTorch or Keras data."""

from __future__ import annotations

import warnings
from collections import UserDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.brute_force import assert_same, assert_strongest, exact_model, maps_of
from tests.test_dataset_store import Counted, computed
from vgg_widget import FeatureExtractor, ImageError
from vgg_widget.dataset import top_activations

__all__ = ["computed"]

COUNT = 7
LABELS = np.arange(COUNT)
ONE_HOT = np.eye(COUNT, 10, dtype=np.float32)
RGB8 = npt.NDArray[np.uint8]


def photographs(count: int = COUNT, height: int = 40, width: int = 48) -> RGB8:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


PHOTOGRAPHS = photographs()
CHANNELS_FIRST = np.ascontiguousarray(np.moveaxis(PHOTOGRAPHS, -1, 1))
PILLOW = [Image.fromarray(one) for one in PHOTOGRAPHS]


def in_batches(of: int, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    for start in range(0, COUNT, of):
        yield tuple(array[start : start + of] for array in arrays)


def tf_data(*arrays: Any) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


def tf_tensor(array: Any) -> Any:
    import tensorflow as tf

    return tf.constant(array)


def tf_dicts(**arrays: Any) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays)


def loader(*arrays: Any, of: int = 2, **options: Any) -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*map(torch.as_tensor, arrays)), batch_size=of, **options)


class Indexed:
    """A data set like PyTorch's: no `__iter__`, and no IndexError beyond the end."""

    def __init__(self, *columns: Any) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, place: int) -> Any:
        assert place < COUNT
        return tuple(column[place] for column in self.columns)


class Rows(Indexed):
    def __getitem__(self, place: int) -> Any:
        return {"image": PHOTOGRAPHS[place], "label": place, "mask": PHOTOGRAPHS[place, ..., 0]}


def loader_of(dataset: Any, **options: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(dataset, **options)


def keras_sequence(of: int) -> Any:
    import keras

    class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return (COUNT + of - 1) // of

        def __getitem__(self, place: int) -> Any:
            part = slice(place * of, (place + 1) * of)
            return PHOTOGRAPHS[part].astype(np.float32), ONE_HOT[part]

    return Sequence()


def keras_generator() -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    # This iterator starts again after the last batch.
    return ImageDataGenerator().flow(PHOTOGRAPHS, LABELS, batch_size=3, shuffle=False)


def one_by_one(items: Any) -> Iterator[Any]:
    yield from items


COLLECTIONS: dict[str, Callable[[], Any]] = {
    "tf.data": lambda: tf_data(PHOTOGRAPHS),
    "tf.data in batches": lambda: tf_data(PHOTOGRAPHS).batch(2),
    "tf.data in one batch": lambda: tf_data(PHOTOGRAPHS).batch(64),
    "tf.data in batches of one": lambda: tf_data(PHOTOGRAPHS).batch(1, drop_remainder=True),
    "tf.data with labels": lambda: tf_data(PHOTOGRAPHS, LABELS),
    "tf.data with labels in batches": lambda: tf_data(PHOTOGRAPHS, LABELS).batch(3),
    "tf.data with rows of labels": lambda: tf_data(PHOTOGRAPHS, ONE_HOT),
    "tf.data with rows of labels in batches": lambda: tf_data(PHOTOGRAPHS, ONE_HOT).batch(4),
    "tf.data with labels and weights": lambda: tf_data(PHOTOGRAPHS, ONE_HOT, LABELS).batch(4),
    "tf.data with texts": lambda: tf_data(PHOTOGRAPHS, np.array(list("abcdefg"))).batch(4),
    "tf.data with numbers": lambda: tf_data(PHOTOGRAPHS).enumerate(),
    "tf.data of dicts": lambda: tf_dicts(image=PHOTOGRAPHS, label=LABELS),
    "tf.data of dicts in batches": lambda: tf_dicts(label=ONE_HOT, image=PHOTOGRAPHS).batch(2),
    "tf.data of dicts with labels": lambda: (
        tf_dicts(image=PHOTOGRAPHS).map(lambda one: (one, 3)).batch(2)
    ),
    "tf.data of other dicts": lambda: tf_dicts(pixels=PHOTOGRAPHS, label=LABELS).batch(2),
    "NumPy of tf.data": lambda: tf_data(PHOTOGRAPHS, LABELS).batch(2).as_numpy_iterator(),
    "a DataLoader": lambda: loader(CHANNELS_FIRST),
    "a DataLoader with labels": lambda: loader(CHANNELS_FIRST, LABELS, of=3),
    "a DataLoader of floats": lambda: loader(CHANNELS_FIRST.astype(np.float32) / 255, ONE_HOT),
    "a DataLoader of floats to 255": lambda: loader(PHOTOGRAPHS.astype(np.float64), LABELS),
    "a DataLoader without batches": lambda: loader(CHANNELS_FIRST, LABELS, of=None),  # type: ignore[arg-type]
    "a DataLoader of dicts": lambda: loader_of(Rows(), batch_size=3),
    "a DataLoader of Pillow images": lambda: loader_of(
        Indexed(PILLOW, LABELS),
        batch_size=3,
        collate_fn=lambda rows: tuple(zip(*rows, strict=True)),
    ),
    "a PyTorch data set": lambda: Indexed(PILLOW, LABELS),
    "a data set without labels": lambda: Indexed(CHANNELS_FIRST),
    "Keras's PyDataset": lambda: keras_sequence(2),
    "Keras's ImageDataGenerator": keras_generator,
    "an array": lambda: PHOTOGRAPHS,
    "an array of batches": lambda: PHOTOGRAPHS[:, np.newaxis],
    "an array and labels": lambda: (PHOTOGRAPHS, LABELS[:, np.newaxis]),
    "an array and a list of labels": lambda: [CHANNELS_FIRST, LABELS.tolist()],
    "lists of images and labels": lambda: (PILLOW, LABELS.tolist()),
    "a batch that is a dict": lambda: {"label": LABELS, "image": PHOTOGRAPHS},
    "a list of batches": lambda: [part for (part,) in in_batches(3, PHOTOGRAPHS)],
    "a list of batches and images": lambda: [PHOTOGRAPHS[:2], *PILLOW[2:4], PHOTOGRAPHS[4:]],
    "a list of pairs": lambda: list(zip(PHOTOGRAPHS, LABELS, strict=True)),
    "a list of pairs with lists": lambda: [[one, [2, 3]] for one in PHOTOGRAPHS],
    "labels first": lambda: list(zip(LABELS.tolist(), PILLOW, strict=True)),
    "no labels": lambda: [(one, None) for one in PHOTOGRAPHS],
    "images with boxes": lambda: [(one, {"boxes": ONE_HOT}) for one in CHANNELS_FIRST],
    "images with class names": lambda: [(one, "cat") for one in PHOTOGRAPHS],
    "a deque of dicts": lambda: deque(UserDict(image=one, mask=one) for one in PILLOW),
    "columns of dicts": lambda: [{"image": PILLOW[:4], "label": [1] * 4}, {"image": PILLOW[4:]}],
    "a generator of batches": lambda: one_by_one([PHOTOGRAPHS[:5], CHANNELS_FIRST[5:]]),
    "a generator of labelled batches": lambda: in_batches(2, PHOTOGRAPHS, LABELS),
    "a generator of pairs": lambda: one_by_one(zip(PHOTOGRAPHS, LABELS, strict=True)),
    "a picture as a list, with a label": lambda: [(one.tolist(), 3) for one in PHOTOGRAPHS],
}


@pytest.mark.sampled
@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_every_image_is_computed_under_its_number(
    exact: FeatureExtractor, make: Callable[[], Any]
) -> None:
    names = [f"images[{number}]" for number in range(COUNT)]
    maps = maps_of(exact_model(), list(PHOTOGRAPHS), "edges")
    top = top_activations(exact, make(), "edges", k=COUNT, progress=False)
    assert list(top.images) == names
    assert not top.failed
    assert_strongest(top, "edges", maps)
    streamed = list(exact.stream(make(), batch_size=3))
    assert [one.name for one in streamed] == names
    for one, expected, photograph in zip(streamed, maps, PHOTOGRAPHS, strict=True):
        np.testing.assert_array_equal(one.image, photograph)
        np.testing.assert_array_equal(one["edges"], expected)


def test_a_remainder_dropped_by_tensorflow_is_not_read(exact: FeatureExtractor) -> None:
    dataset = tf_data(PHOTOGRAPHS, LABELS).batch(2, drop_remainder=True)
    top = top_activations(exact, dataset, "edges", progress=False)
    assert len(top.images) == 6
    assert_strongest(top, "edges", maps_of(exact_model(), list(PHOTOGRAPHS[:6]), "edges"))


@pytest.mark.parametrize("label_mode", ["int", "categorical", "binary", None])
def test_a_folder_read_by_keras(
    exact: FeatureExtractor, tmp_path: Path, label_mode: str | None
) -> None:
    import keras

    for number, image in enumerate(PILLOW):
        (tmp_path / "cd"[number > 3]).mkdir(exist_ok=True)
        image.save(tmp_path / "cd"[number > 3] / f"{number}.png")
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, label_mode=label_mode, batch_size=3, image_size=(40, 48), shuffle=False
    )
    top = top_activations(exact, dataset, "edges", progress=False)
    assert_strongest(top, "edges", maps_of(exact_model(), list(PHOTOGRAPHS), "edges"))


def test_grey_batches_with_an_axis_for_channels(exact: FeatureExtractor) -> None:
    grey = PHOTOGRAPHS[..., :1]
    maps = maps_of(exact_model(), list(np.repeat(grey, 3, axis=-1)), "edges")
    for batches in ([grey], loader(np.moveaxis(grey, -1, 1), LABELS), tf_data(grey).batch(2)):
        top = top_activations(exact, batches, "edges", progress=False)
        assert_strongest(top, "edges", maps)


def test_names_are_kept_and_numbered_within_a_batch(
    exact: FeatureExtractor, tmp_path: Path
) -> None:
    path = str(tmp_path / "a.png")
    PILLOW[0].save(path)
    images = [
        ("one", PHOTOGRAPHS[0]),
        ("batch", PHOTOGRAPHS[:2]),
        ("batch of one", PHOTOGRAPHS[:1]),
        ("labelled", (PHOTOGRAPHS[0], 3)),
        (path, 5),
        ("a file", Path(path)),
    ]
    names = ["one", "batch[0]", "batch[1]", "batch of one", "labelled", path, "a file"]
    assert [one.name for one in exact.stream(images)] == names
    assert [one.name for one in exact.stream(iter(images))] == names
    for given in (images, iter(images)):
        top = top_activations(exact, given, "edges", progress=False)
        assert sorted(top.images) == sorted(names)
        assert not top.failed
    mapping = {"b": PHOTOGRAPHS[0], "a": PHOTOGRAPHS[:2]}
    assert [one.name for one in exact.stream(mapping)] == ["b", "a[0]", "a[1]"]
    assert top_activations(exact, mapping, progress=False).images == ("a[0]", "a[1]", "b")


one, two = PHOTOGRAPHS[:2]
GREY = np.ascontiguousarray(PHOTOGRAPHS[..., 0])
FLAT = PHOTOGRAPHS.reshape(COUNT, -1)
REFUSED: dict[str, tuple[Any, str]] = {
    "two pictures": (
        (one, two),
        "several parts that may be the image .ndarray of shape .40, 48",
    ),
    "two Pillow images": ([PILLOW[0], PILLOW[1]], "several parts that may be the image .Image"),
    "three pictures": ((one, two, one), "several parts"),
    "a picture and a mask": ((one, one[..., 0]), "several parts"),
    "batches of two": ((PHOTOGRAPHS, PHOTOGRAPHS), "several parts"),
    "batches and masks": ((PHOTOGRAPHS, PHOTOGRAPHS[..., 0]), "several parts"),
    "two pictures with a label": (((one, two), 1), "several parts"),
    "a dict of two pictures": ({"left": one, "right": two}, "several parts"),
    "two files": (["a.png", "b.png"], "several parts"),
    "labels alone": (
        (LABELS, None),
        "no image .ndarray of shape .7,., NoneType.: pass only the images",
    ),
    "a dict without a picture": ({"label": 3}, "no image .int"),
    "rows of pixels": (
        (FLAT, LABELS),
        r"shape \(7, 5760\) with 7 labels, which may be one image",
    ),
    "grey ones": ((PHOTOGRAPHS[..., 0], LABELS), r"with 7 labels.*\(number, height, width, 1\)"),
    "four grey ones": ((PHOTOGRAPHS[:4, ..., 0], LABELS[:4]), "4 labels, which may be one image"),
    "grey ones in a dict": (
        {"image": GREY[:3], "label": LABELS[:3]},
        r"ndarray of shape \(3, 40, 48\) with 3 labels, which may be one image or 3",
    ),
    "grey ones in a dict with rows of labels": (
        {"label": ONE_HOT[:4], "image": GREY[:4]},
        "4 labels, which may be one image or 4",
    ),
    "grey ones in another dict": (
        {"pixels": GREY[:4], "classes": list("abcd")},
        "4 labels, which may be one image or 4",
    ),
    "grey ones and texts": ((GREY[:3], ["cat", "dog", "cat"]), "3 labels, which may be one"),
    "grey ones alone": (GREY, r"shape \(7, 40, 48\), which looks like 7 grey images: give it"),
    "two grey ones": (GREY[:2], r"2 grey images: give it the shape \(2, 40, 48, 1\)"),
    "grey ones with a name": (("cats", GREY[:5]), r"5 grey images: give it the shape \(5, 40, "),
    "clips": (PHOTOGRAPHS[np.newaxis, np.newaxis], "which is neither an image nor a batch"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("item", "words"), REFUSED.values(), ids=REFUSED)
def test_an_ambiguous_batch_is_refused_before_it_is_computed(
    exact: FeatureExtractor, item: Any, words: str
) -> None:
    taken: list[int] = []

    def many(first: int) -> Iterator[Any]:
        for number in range(200):
            taken.append(number)
            yield item if number == first else PHOTOGRAPHS[0]

    for place in (0, 2):
        with pytest.raises(ImageError, match=rf"^images\[{place}\] .*{words}"):
            top_activations(exact, many(place), progress=False)
        for on_error in ("raise", "skip"):
            # An ambiguous item is not a faulty image, so "skip" must not leave it out.
            stream = exact.stream(many(place), on_error=on_error)
            assert [next(stream).name for _ in range(place)] == [
                f"images[{number}]" for number in range(place)
            ]
            with pytest.raises(ImageError, match=rf"^images\[{place}\] .*{words}"):
                next(stream)
    assert max(taken) == 2
    with pytest.raises(ImageError, match=words):
        top_activations(exact, [one, item], progress=False)


@pytest.mark.sampled
@pytest.mark.parametrize("of", [2, 3, 4, 5])
def test_grey_batches_without_labels_are_refused(exact: FeatureExtractor, of: int) -> None:
    many = np.concatenate([GREY, GREY])
    for batches in (
        tf_data(many).batch(of),
        tf_data(many[:3]).batch(5),
        tf_data(many).batch(of).prefetch(1),
        tf_dicts(image=many).batch(of),
        loader(many, of=of),
        loader_of(list(many), batch_size=of),
        [many[:4], many[4:8], many[8:10]],
    ):
        message = r"which looks like \d+ grey images: give it the shape \(\d, 40, 48, 1\)"
        with pytest.raises(ImageError, match=message):
            top_activations(exact, batches, progress=False)
        with pytest.raises(ImageError, match=message):
            list(exact.stream(batches))


def test_grey_batches_of_two_columns_are_refused(exact: FeatureExtractor) -> None:
    for number in (3, 4, 7):
        grey, labels = GREY[:number], LABELS[:number]
        texts = list("abcdefg")[:number]
        for images in ((grey, labels), {"image": grey, "label": labels}, [grey, texts]):
            with pytest.raises(ImageError, match=f"{number} labels, which may be one image"):
                top_activations(exact, images, progress=False)


def test_pictures_with_channels_first_are_not_taken_for_grey_batches(
    exact: FeatureExtractor,
) -> None:
    few = CHANNELS_FIRST[:2]
    alpha = [np.concatenate([one, one[:1]]) for one in few]
    mixed = [few[0], alpha[0], few[0][:1], few[1]]
    for images, count in (
        (list(few), 2),
        (tf_data(few), 2),
        (iter(mixed), 4),
        (loader_of(list(few), batch_size=None), 2),
        (loader_of([few[0]], batch_size=4, collate_fn=list), 1),
        ([{"image": few[0], "label": 3, "box": [1, 2, 3]}], 1),
        ([{"image": few[0], "file": "a.png", "boxes": np.zeros((3, 4))}], 1),
        ([{"image": few[0], "boxes": np.zeros((2, 4))}, {"image": few[1]}], 2),
    ):
        assert len(top_activations(exact, images, progress=False).images) == count


def test_a_path_may_be_named_and_a_label_be_a_number(
    exact: FeatureExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "no suffix"
    PILLOW[0].save(path, "PNG")
    PILLOW[0].save(tmp_path / "a.jpg")
    named = [("a", str(path)), ("b.jpg", str(tmp_path / "a.jpg")), (str(path), np.int64(3))]
    assert [one.name for one in exact.stream(named)] == ["a", "b.jpg", str(path)]
    # The second of two strings is read as the path of a picture, never as a label.
    with pytest.raises(ValueError, match="image 'cat' was not found"):
        top_activations(exact, [(str(path), "cat")], progress=False)
    with pytest.raises(ImageError, match="image 'cat' was not found"):
        list(exact.stream({str(path): "cat"}))


def test_an_array_that_is_not_a_set_is_refused_with_what_it_looks_like(
    exact: FeatureExtractor,
) -> None:
    import torch

    from vgg_widget.learning import learn_weights

    cases = {
        r"looks like 7 grey images: give it the shape \(7, 40, 48, 1\)": (
            *(GREY, torch.as_tensor(GREY), tf_tensor(GREY)),
        ),
        r"images is one image, not several: put it in a list": (CHANNELS_FIRST[0], GREY[0]),
    }
    for words, given in cases.items():
        for images in given:
            for ask in (
                lambda images: top_activations(exact, images, progress=False),
                exact.stream,
                learn_weights,
            ):
                with pytest.raises((ValueError, TypeError), match=words):
                    ask(images)


def test_a_single_picture_cannot_be_streamed(exact: FeatureExtractor) -> None:
    import torch

    for picture in (one, torch.as_tensor(one), one[..., 0], PILLOW[0]):
        with pytest.raises(TypeError, match="is one image, not several: put it in a list"):
            exact.stream(picture)  # type: ignore[arg-type]


def test_few_images_are_read_ahead(exact: FeatureExtractor) -> None:
    many = photographs(600, 32, 32)
    batches = 0

    def endless() -> Iterator[RGB8]:
        nonlocal batches
        while True:
            batches += 1
            yield many[:5]

    stream = exact.stream(endless(), batch_size=2)
    assert [next(stream).name for _ in range(30)][-1] == "images[29]"
    stream.close()  # type: ignore[attr-defined]
    assert 5 * batches <= 30 + 3 * 2 + 5
    ahead: list[int] = []
    batches = 0

    def counted() -> Iterator[tuple[RGB8, npt.NDArray[Any]]]:
        nonlocal batches
        for start in range(0, len(many), 5):
            batches += 1
            yield many[start : start + 5], np.zeros(5)

    def report(done: int, total: int | None) -> None:
        ahead.append(5 * batches - done)

    assert len(top_activations(exact, counted(), progress=report).images) == 600
    # A shard of at most 128 images, 32 images read ahead of the next shard, and one batch of 5.
    assert max(ahead) <= 128 + 32 + 5


def test_all_batches_may_share_one_buffer(exact: FeatureExtractor) -> None:
    buffer = np.empty((2, 40, 48, 3), np.uint8)

    def camera() -> Iterator[tuple[RGB8, list[int]]]:
        for start in range(0, 6, 2):
            buffer[:] = PHOTOGRAPHS[start : start + 2]
            yield buffer, [0, 1]

    maps = maps_of(exact_model(), list(PHOTOGRAPHS[:6]), "edges")
    assert_strongest(top_activations(exact, camera(), "edges", progress=False), "edges", maps)
    for streamed, expected in zip(exact.stream(camera(), batch_size=4), maps, strict=True):
        np.testing.assert_array_equal(streamed["edges"], expected)


def test_other_batches_of_the_same_images_resume_from_the_kept_shards(
    exact: FeatureExtractor, tmp_path: Path, computed: Counted
) -> None:
    many = photographs(300, 32, 32)

    def run(images: Any) -> Any:
        return top_activations(exact, images, progress=False, store=tmp_path / "store")

    computed.interrupt_after = 200
    with pytest.raises(KeyboardInterrupt):
        run(tf_data(many, np.zeros(300)).batch(7))
    computed.interrupt_after = None
    begun = computed.since()
    first = run(loader(np.ascontiguousarray(np.moveaxis(many, -1, 1)), np.zeros(300), of=11))
    # Only an unfinished shard, which has at most 128 images, is computed again.
    assert computed.since() <= 300 - begun + 128
    for again in (list(many), many, tf_data(many), (many, np.zeros((300, 4)))):
        assert_same(first, run(again))
    assert computed.since() == 0


@pytest.mark.parametrize(("count", "bad", "warns"), [(10, 1, False), (10, 2, True), (9, 1, True)])
def test_more_than_a_tenth_of_bad_images_warn_once(
    exact: FeatureExtractor, tmp_path: Path, count: int, bad: int, warns: bool
) -> None:
    images: list[Any] = [PHOTOGRAPHS[number % COUNT] for number in range(count)]
    images[3 : 3 + bad] = [np.full((40, 48, 3), np.nan)] * bad
    for given in (images, iter(images), images):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            top = top_activations(exact, given, progress=False, store=tmp_path / "store")
        assert len(top.failed) == bad
        words = [str(each.message) for each in caught if each.category is UserWarning]
        assert len(words) == len(caught) == warns
        for sentence in words:
            assert sentence.startswith(f"{bad} of {count} images could not be used")
            assert "fix or remove those in .failed, the first being images[3]: " in sentence
            assert "NaN or infinite: replace them" in sentence


def test_a_file_is_named_once_in_the_warning(exact: FeatureExtractor, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    PILLOW[0].save(tmp_path / "b.png")
    with pytest.warns(UserWarning, match="^1 of 2 images") as caught:
        top_activations(exact, sorted(tmp_path.glob("*.png")), progress=False)
    assert str(caught[0].message).count("a.png") == 1

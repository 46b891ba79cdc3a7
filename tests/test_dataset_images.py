"""Tests of the images of a set: which are found, their names and order, and invalid input."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests import made_files as made
from tests.brute_force import assert_same, assert_strongest, exact_model, maps_of, read
from tests.good_input import GREY
from tests.made_pictures import picture, write_pictures
from vgg_widget import FeatureExtractor, ImageError
from vgg_widget.dataset import top_activations


def test_the_same_images_can_be_given_in_many_ways(exact: FeatureExtractor, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    some = write_pictures(folder, 90)
    paths = [folder / name for name in some]
    shuffled = random.Random(4).sample(paths, len(paths))
    first = top_activations(exact, paths, k=3, progress=False)
    assert_same(first, top_activations(exact, set(paths), k=3, progress=False))
    assert first.images == tuple(sorted(map(str, paths)))
    assert_same(first, top_activations(exact, shuffled, k=3, progress=False))
    pairs = [(name, picture(int(Path(name).stem))) for name in some]
    by_pairs = top_activations(exact, pairs, k=3, progress=False)
    assert by_pairs.images == tuple(some)
    assert_same(by_pairs, top_activations(exact, dict(pairs[::-1]), k=3, progress=False))

    def stream() -> Iterator[Any]:
        # All images of one shape share a buffer, which is filled anew for each.
        buffer: dict[tuple[int, ...], Any] = {}
        for name, image in pairs:
            kept = buffer.setdefault(image.shape, np.empty_like(image))
            kept[:] = image
            yield name, kept

    assert_same(by_pairs, top_activations(exact, stream(), k=3, progress=False))
    for layer in first:
        np.testing.assert_array_equal(first[layer].values, by_pairs[layer].values)
        np.testing.assert_array_equal(first[layer].images, by_pairs[layer].images)
    with pytest.raises(ImageError, match=r"was given in memory and is not stored"):
        by_pairs.patches("edges", 0)
    pattern = top_activations(exact, str(folder / "more" / "01*.png"), k=3, progress=False)
    assert [Path(name).name for name in pattern.images] == [f"{n:03}.png" for n in range(11, 20, 2)]


def test_frames_of_one_file_are_separate_images(exact: FeatureExtractor, tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(number)).convert("L") for number in (0, 2, 3)]
    frames = [frame.resize((40, 40)) for frame in frames]
    frames[0].save(tmp_path / "frames.gif", save_all=True, append_images=frames[1:])
    plain = [np.stack([np.asarray(frame)] * 3, axis=-1) for frame in frames]
    with Image.open(tmp_path / "frames.gif") as image:
        # The iterator yields the same object each time, moved to the next frame.
        top = top_activations(exact, ImageSequence.Iterator(image), "edges", 3, progress=False)
    assert_strongest(top, "edges", maps_of(exact_model(), plain, "edges"))


def test_images_in_memory_are_read_in_other_threads(
    exact: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: dict[str, threading.Thread] = {}
    real = FeatureExtractor.read

    def noted(extractor: FeatureExtractor, image: Any) -> Any:
        readers[type(image).__name__] = threading.current_thread()
        return real(extractor, image)

    monkeypatch.setattr(FeatureExtractor, "read", noted)
    Image.fromarray(picture(1)).save(tmp_path / "one.png")
    data = (tmp_path / "one.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        # `image` has not been decoded yet, and is given twice.
        images = [picture(1), data, image, image, io.BytesIO(data)]
        top = top_activations(exact, images, "edges", progress=False)
    assert not top.failed
    assert_strongest(top, "edges", maps_of(exact_model(), [picture(1)] * 5, "edges"))
    # Two threads cannot read one open file at once, so the main thread reads it.
    assert readers.pop("PngImageFile") is threading.main_thread()
    assert set(readers) == {"ndarray", "bytes"}
    assert threading.main_thread() not in readers.values()
    assert not any("vgg_widget-read" in thread.name for thread in threading.enumerate())


def test_a_png_that_is_refused_alone_is_refused_in_a_set(exact: FeatureExtractor) -> None:
    two_bits = made.png(GREY & 3, 2, chunks=[made.transparent(1)])
    with Image.open(io.BytesIO(two_bits)) as image, pytest.warns(UserWarning, match="1 of 2"):
        top = top_activations(exact, [picture(1), image], "edges", progress=False)
    (sentence,) = top.failed.values()
    assert "marks a transparent colour" in sentence


def test_without_names_images_stay_in_their_order(exact: FeatureExtractor) -> None:
    images = [picture(number) for number in (9, 5, 7, 5)]
    top = top_activations(exact, images, "edges", k=9, progress=False)
    assert top.images == ("images[0]", "images[1]", "images[2]", "images[3]")
    # k is larger than the set, so all images are listed; of equal images, the earlier comes first.
    assert_strongest(top, "edges", maps_of(exact_model(), images, "edges"))
    for order in top["edges"].images.tolist():
        assert order.index(1) + 1 == order.index(3)


def test_bad_images_are_named_and_the_others_are_computed(
    exact: FeatureExtractor, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "set", 40)
    (tmp_path / "set" / "003.png").write_bytes(b"no picture")
    whole = (tmp_path / "set" / "004.png").read_bytes()
    (tmp_path / "set" / "004.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "set" / "005.jpg").write_bytes(b"")
    names = sorted([*names, "003.png", "005.jpg"])
    top = top_activations(exact, tmp_path / "set", k=3, progress=False)
    assert list(top.images) == names
    assert list(top.failed) == ["003.png", "004.png", "005.jpg"]
    assert "readable image format" in top.failed["003.png"]
    assert "truncated, damaged" in top.failed["004.png"]
    assert "is empty (0 bytes)" in top.failed["005.jpg"]
    assert "3 bad" in repr(top)
    maps = iter(
        maps_of(
            exact_model(),
            [read(tmp_path / "set", name) for name in names if name not in top.failed],
            "half",
        )
    )
    assert_strongest(top, "half", [None if name in top.failed else next(maps) for name in names])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 0}, "k 0 is not a valid number of images"),
        ({"k": True}, "k True is not a valid number"),
        ({"statistic": "maks"}, "statistic 'maks' is not known: did you mean 'max'"),
        ({"layers": ["edge"]}, "layers 'edge' is not known: did you mean 'edges'"),
        ({"layers": []}, "layers is empty"),
        ({"images": []}, "images is empty"),
        ({"images": iter(())}, "images is empty"),
        ({"images": 3}, "images 3 is not a set of images"),
        ({"images": "no/such"}, "'no/such' was not found"),
        ({"images": "no/such/*.png"}, "has no image files"),
        ({"images": [("a", b""), ("a", b"")]}, "images has 'a' twice"),
        ({"images": [picture(1), ("a", b""), ("a", b"")]}, "images has 'a' twice"),
        ({"images": picture(1)}, "images is one image, not several: put it in a list"),
        ({"images": picture(1)[..., 0]}, "images is one image, not several: put it in a list"),
        ({"images": Image.fromarray(picture(1))}, "images is one image, not several: put it in"),
        ({"images": {1: picture(1)}}, "images has the key 1, which is not a str"),
        (
            {"images": {b"a", b"b"}},
            "images is a set, which has no order, and contains an unnamed image",
        ),
        (
            {"images": [b"no", b"nor this"]},
            "none of the 2 images can be used, the first being 'images.0",
        ),
        ({"progress": 3}, "progress 3 is neither"),
        ({"client": "localhost"}, "client is a str: pass a dask.distributed.Client"),
    ],
)
def test_wrong_arguments_are_refused(
    exact: FeatureExtractor, arguments: dict[str, Any], words: str
) -> None:
    given = {"images": [picture(1)], "progress": False, **arguments}
    with pytest.raises((ValueError, TypeError), match=words):
        top_activations(exact, **given)


def test_a_duplicate_name_is_refused_before_anything_is_computed(
    exact: FeatureExtractor,
) -> None:
    pairs = [*[(f"{number}", picture(1)) for number in range(200)], ("199", picture(1))]
    calls: list[int] = []
    with pytest.raises(ValueError, match="images has '199' twice"):
        top_activations(exact, pairs, progress=lambda done, _: calls.append(done))
    assert max(calls, default=0) == 0
    # The names of a stream are not known beforehand.
    with pytest.raises(ValueError, match="images has '199' twice"):
        top_activations(exact, iter(pairs), progress=lambda done, _: calls.append(done))
    assert max(calls) > 0


def test_hidden_folders_are_searched_only_if_they_are_named(
    exact: FeatureExtractor, tmp_path: Path
) -> None:
    hidden = tmp_path / ".hidden"
    hidden.mkdir()
    Image.fromarray(picture(1)).save(hidden / "one.png")
    for given in (hidden, str(hidden / "*.png"), str(tmp_path / ".*" / "*.png")):
        assert len(top_activations(exact, given, "edges", progress=False).images) == 1
    with pytest.raises(ValueError, match="has no image files"):
        top_activations(exact, tmp_path, "edges", progress=False)


def test_an_array_of_pictures_is_a_set(exact: FeatureExtractor) -> None:
    images = np.stack([picture(1), picture(1)])
    assert len(top_activations(exact, images, "edges", progress=False).images) == 2


def test_folders_without_pictures(exact: FeatureExtractor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no image files"):
        top_activations(exact, tmp_path)
    (tmp_path / "notes.txt").write_text("none", encoding="utf-8")
    with pytest.raises(ValueError, match=r"image files, whose names end in \.jpg"):
        top_activations(exact, tmp_path)
    with pytest.raises(ValueError, match="is one image, not several"):
        top_activations(exact, tmp_path / "notes.txt")
    with pytest.raises(TypeError, match="extractor is a str"):
        top_activations("random", tmp_path)  # type: ignore[arg-type]

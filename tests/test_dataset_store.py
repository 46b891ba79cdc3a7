"""Tests of the store: finished work is reused, and never mixed with other settings."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.brute_force import assert_same, exact_extractor, exact_model
from tests.made_pictures import picture, write_pictures
from vgg_widget import FeatureExtractor
from vgg_widget.dataset import top_activations
from vgg_widget.dataset.image_set import image_set
from vgg_widget.network import memory
from vgg_widget.network.reduced import ReducedNetwork

COUNT = 230


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write_pictures(tmp_path / "set", COUNT)
    yield tmp_path / "set"
    shutil.rmtree(tmp_path)


class Counted:
    """Counts the images that the network computes, and can interrupt it after a number of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        self.interrupt_after: int | None = None
        real = ReducedNetwork.__call__

        def counted(network: ReducedNetwork, images: Any) -> Any:
            if self.interrupt_after is not None and self.images >= self.interrupt_after:
                raise KeyboardInterrupt
            self.images += len(images)
            return real(network, images)

        monkeypatch.setattr(ReducedNetwork, "__call__", counted)

    def since(self) -> int:
        found, self.images = self.images, 0
        return found


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


class Bomb:
    """Fails the test if it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def shard_sizes(extractor: FeatureExtractor, folder: Path) -> list[int]:
    shards, _ = image_set(folder, extractor)
    return [len(shard.images) for shard in shards]


def test_a_second_call_computes_nothing(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted
) -> None:
    first = top_activations(exact, folder, k=4, progress=False, store=tmp_path / "store")
    assert computed.since() == COUNT
    calls: list[int] = []
    again = top_activations(
        # Another model with the same weights counts as the same network.
        FeatureExtractor(model=exact_model(), size=None),
        folder,
        k=4,
        progress=lambda done, _: calls.append(done),
        store=str(tmp_path / "store"),
    )
    assert computed.since() == 0
    assert calls[-1] == COUNT
    assert_same(first, again)
    assert_same(first, top_activations(exact, folder, k=4, progress=False))


def test_after_an_interrupt_only_the_rest_is_computed(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted
) -> None:
    sizes = shard_sizes(exact, folder)
    assert len(sizes) > 3
    computed.interrupt_after = sizes[0] + sizes[1] + 10
    with pytest.raises(KeyboardInterrupt):
        top_activations(exact, folder, progress=False, store=tmp_path / "store")
    computed.interrupt_after = None
    computed.since()
    assert not list((tmp_path / "store").glob(".*"))
    resumed = top_activations(exact, folder, progress=False, store=tmp_path / "store")
    assert computed.since() == COUNT - sizes[0] - sizes[1]
    assert_same(resumed, top_activations(exact, folder, progress=False))


def test_a_changed_image_has_its_shard_computed_again(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted
) -> None:
    def run() -> Any:
        return top_activations(exact, folder, progress=False, store=tmp_path / "store")

    before = run()
    sizes = shard_sizes(exact, folder)
    file = folder / before.images[0]
    stamp = file.stat()
    # The changed file has the same size and the same times.
    other = bytearray(file.read_bytes())
    other[other.index(b"IDAT") + 12] ^= 0x55
    file.write_bytes(other)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    computed.since()
    after = run()
    assert computed.since() == sizes[0] - len(after.failed)
    assert_same(after, top_activations(exact, folder, progress=False))
    # A new image changes its own shard, and a few others if the ends of shards move.
    Image.fromarray(picture(3)).save(folder / "0000.png")
    computed.since()
    more = run()
    assert computed.since() < COUNT / 2
    assert len(more.images) == COUNT + 1
    assert_same(more, top_activations(exact, folder, progress=False))


def failing(error: Exception, opened: Any = None) -> Any:
    """Return a replacement of `Path.open` that fails with `error` for one file.

    For EMFILE the call itself fails, for other errors the reading of the file.
    """

    class Failing(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise error

    def open_or_not(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name != "004.png":
            return opened(path, *arguments, **options)
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise error
        return Failing()

    return open_or_not


@pytest.mark.sampled
@pytest.mark.parametrize("what", ["EIO", "EMFILE", "memory", "missing"])
def test_a_momentary_failure_is_reported_and_not_cached(
    exact: FeatureExtractor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computed: Counted,
    what: str,
) -> None:
    names = write_pictures(tmp_path / "set", 6)
    file = tmp_path / "set" / "004.png"
    # This file is permanently bad, which is kept in the store.
    (tmp_path / "set" / "005.png").write_bytes(b"no picture")

    def run() -> Any:
        paths = [(name, tmp_path / "set" / name) for name in [*names, "005.png"]]
        with pytest.warns(UserWarning, match="of 7 images could not be used"):
            return top_activations(exact, paths, progress=False, store=tmp_path / "store")

    with monkeypatch.context() as patched:
        if what == "memory":
            Image.new("RGB", (90, 90)).save(file)
            patched.setattr(memory, "memory", lambda: 400_000)
        elif what == "missing":
            file.rename(tmp_path / "elsewhere")
        else:
            number = getattr(errno, what)
            error = OSError(number, os.strerror(number))
            patched.setattr(Path, "open", failing(error, Path.open))
        first = run()
    assert list(first.failed) == ["004.png", "005.png"]
    assert not list((tmp_path / "store").glob("shard-*"))
    if what == "missing":
        (tmp_path / "elsewhere").rename(file)
    computed.since()
    second = run()
    assert computed.since() == 6
    assert list(second.failed) == ["005.png"]
    # A failure that follows from the bytes of a file is kept.
    assert_same(second, run())
    assert computed.since() == 0


def test_a_file_that_changes_before_decoding_is_stored_under_its_decoded_bytes(
    exact: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changing.png"
    hashed = "vgg_widget.dataset.image_set.file_digest"

    def changing(name: str) -> bytes:
        digest = hashlib.sha256(Path(name).read_bytes()).digest()
        Image.fromarray(picture(7)).save(path)
        return digest

    def run(store: Path | None) -> Any:
        return top_activations(exact, [path], progress=False, store=store)

    Image.fromarray(picture(3)).save(path)
    before = run(None)
    with monkeypatch.context() as patched:
        patched.setattr(hashed, changing)
        changed = run(tmp_path / "store")
    assert_same(changed, run(None))
    assert_same(changed, run(tmp_path / "store"))
    Image.fromarray(picture(3)).save(path)
    assert_same(before, run(tmp_path / "store"))


def test_kept_work_belongs_to_the_bytes_that_were_decoded(
    exact: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changing.png"
    real = FeatureExtractor.read_bytes

    def changing(extractor: FeatureExtractor, data: bytes, name: str) -> Any:
        # Another program replaces the file between its reading and its decoding.
        Image.fromarray(picture(7)).save(path)
        return real(extractor, data, name)

    def run(store: Path | None) -> Any:
        return top_activations(exact, [path], progress=False, store=store)

    Image.fromarray(picture(3)).save(path)
    before = run(None)
    with monkeypatch.context() as patched:
        patched.setattr(FeatureExtractor, "read_bytes", changing)
        assert_same(before, run(tmp_path / "store"))
    now = run(tmp_path / "store")
    assert_same(now, run(None))
    Image.fromarray(picture(3)).save(path)
    assert_same(before, run(tmp_path / "store"))


@pytest.mark.sampled
@pytest.mark.parametrize("damage", ["half", "empty", "other", "pickle"])
def test_a_damaged_shard_is_computed_again(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted, damage: str
) -> None:
    store = tmp_path / "store"
    first = top_activations(exact, folder, progress=False, store=store)
    shards = sorted(store.glob("shard-*.npz"))
    if damage == "half":
        shards[0].write_bytes(shards[0].read_bytes()[: shards[0].stat().st_size // 2])
    elif damage == "empty":
        shards[0].write_bytes(b"")
    elif damage == "other":
        np.savez(shards[0], header=np.array("{}"))
    else:
        np.savez(shards[0], header=np.array([Bomb()], object))
    computed.since()
    assert_same(first, top_activations(exact, folder, progress=False, store=store))
    assert computed.since() in shard_sizes(exact, folder)
    # The damaged shard has been replaced.
    top_activations(exact, folder, progress=False, store=store)
    assert computed.since() == 0


def test_a_shard_under_the_wrong_name_is_not_used(exact: FeatureExtractor, tmp_path: Path) -> None:
    pictures = [[picture(number + first) for number in range(5)] for first in (0, 5)]
    sets = [
        top_activations(exact, some, progress=False, store=tmp_path / f"store{number}")
        for number, some in enumerate(pictures)
    ]
    (mine,), (other,) = ((tmp_path / f"store{n}").glob("shard-*.npz") for n in (0, 1))
    shutil.copy(other, mine)
    assert_same(
        sets[0], top_activations(exact, pictures[0], progress=False, store=tmp_path / "store0")
    )


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 3}, "was created with k 9, not 3: use the same setting, or pass another folder"),
        ({"statistic": "mean"}, "was created with statistic 'max', not 'mean'"),
        ({"layers": "half"}, "was created with layers .* not .'half'.:"),
        ({"extractor": "weights"}, "was created with weights 'sha256:.*', not 'sha256:"),
        ({"extractor": "preprocess"}, "was created with preprocessing 'sha256:.*', not 'sha256:"),
        ({"extractor": "contrast"}, "was created with preprocessing"),
        ({"extractor": "dark"}, "was created with preprocessing"),
        ({"extractor": "lying"}, "was created with preprocessing"),
        ({"extractor": "size"}, r"was created with size None, not \[32, 32\]"),
    ],
)
def test_other_arguments_are_refused(
    exact: FeatureExtractor, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    images = [picture(number) for number in range(5)]
    store = tmp_path / "store"
    top_activations(exact, images, progress=False, store=store)

    def stretched(images: Any) -> Any:
        spread = images.max() - images.min()
        return images if spread > 9 else images / spread

    def lifted(images: Any) -> Any:
        return images if images.max() else images + 1

    def turned(images: Any) -> Any:
        return images if images.shape[1] == images.shape[2] else images[:, ::-1]

    def prepared(function: Any) -> FeatureExtractor:
        return FeatureExtractor(model=exact_model(), size=None, preprocess=function)

    others = {
        "contrast": lambda: prepared(stretched),
        "dark": lambda: prepared(lifted),
        "lying": lambda: prepared(turned),
        "weights": lambda: exact_extractor(1),
        "preprocess": lambda: prepared(lambda images: images[..., ::-1]),
        "size": lambda: exact.at_size((32, 32)),
    }
    given = {"extractor": exact, **change}
    if isinstance(given["extractor"], str):
        given["extractor"] = others[given["extractor"]]()
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(ValueError, match=words):
        top_activations(images=images, progress=False, store=store, **given)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_further_trained_weights_are_refused(tmp_path: Path) -> None:
    model = exact_model()
    extractor = FeatureExtractor(model=model, size=None)
    top_activations(extractor, [picture(1)], progress=False, store=tmp_path)
    layer = model.get_layer("edges")
    layer.set_weights([weights + 1 for weights in layer.get_weights()])
    with pytest.raises(ValueError, match="was created with weights"):
        top_activations(extractor, [picture(1)], progress=False, store=tmp_path)


def test_folders_that_are_not_a_store_are_refused(
    exact: FeatureExtractor, folder: Path, tmp_path: Path
) -> None:
    images = [picture(1)]
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=r"holds files but no manifest\.json of a store"):
        top_activations(exact, images, progress=False, store=folder)
    assert sorted(folder.rglob("*")) == before
    with pytest.raises(ValueError, match="is a file: pass a folder"):
        top_activations(exact, images, progress=False, store=folder / "000.png")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("[1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has a damaged manifest\.json"):
        top_activations(exact, images, progress=False, store=tmp_path / "bad")


def test_two_threads_can_use_one_store(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted
) -> None:
    found: list[Any] = []

    def run() -> None:
        found.append(top_activations(exact, folder, k=4, progress=False, store=tmp_path / "store"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert_same(*found)
    computed.since()
    run()
    assert computed.since() == 0
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["k"] == 4


def test_a_store_serves_several_sets(
    exact: FeatureExtractor, folder: Path, tmp_path: Path, computed: Counted
) -> None:
    paths = sorted(folder.rglob("*.png"))
    random.Random(0).shuffle(paths)
    for part in (paths[:60], paths[60:], paths[:60]):
        top_activations(exact, part, progress=False, store=tmp_path / "store")
    assert computed.since() == COUNT

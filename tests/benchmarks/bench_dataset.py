"""A set of images: against the bare network, on one and two workers, and the cost of merging."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.benchmarks.conftest import Book
from tests.benchmarks.targets import BARE, BESIDE, MERGING, SET, SHARD, THOUSAND, WORKERS
from tests.local_cluster import local_client
from vgg_widget import FeatureExtractor, sample_image
from vgg_widget.dataset import image_set, top_activations
from vgg_widget.dataset.computing import BATCH, Job, computed_shard
from vgg_widget.dataset.image_set import Shard
from vgg_widget.dataset.summary import MergeTree, Reduced, Summary, merged, summarised
from vgg_widget.network.reduced import chosen_layers

RGB8 = npt.NDArray[np.uint8]

# The shard is small, so that it and the bare network, on as many images, alternate often.
IMAGES, ROUNDS = 32, 9
PHOTOGRAPH = (500, 375)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of JPEG files of an ordinary size, each a photograph shifted by another amount."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(IMAGES):
        piece = np.roll(sample_image(), (number * 7, number * 13), axis=(0, 1))
        Image.fromarray(piece).resize(PHOTOGRAPH).save(folder / f"{number:03}.jpg", quality=90)
    return folder


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock time of a call and the processor time of this process, in seconds."""
    before, start = _processor(), time.perf_counter()
    work()
    return time.perf_counter() - start, _processor() - before


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bench_beside_the_bare_network(book: Book, photographs: Path, square: RGB8) -> None:
    """Alternate both, so that other load on the machine affects both alike."""
    extractor = FeatureExtractor("random", size=(224, 224))
    job = Job(chosen_layers(extractor, None), "max", 9, None)
    network = job.network(extractor)
    whole = [
        one for shard in image_set.image_set(photographs, extractor)[0] for one in shard.images
    ]
    inputs = extractor._network_inputs(np.stack([square] * BATCH))

    def bare() -> None:
        for _ in range(IMAGES // BATCH):
            _ = [np.asarray(output) for output in extractor._network.forward(inputs)]  # type: ignore[attr-defined]

    def ours() -> None:
        computed_shard(network, job, Shard(0, tuple(whole)), lambda _: None)

    bare()
    ours()
    turns = [(spent(bare), spent(ours)) for _ in range(ROUNDS)]
    book.note(SET, BARE, [IMAGES / seconds for (seconds, _), _ in turns], "/s")
    book.note(SET, SHARD, [IMAGES / s for _, (s, _) in turns], "/s")
    book.note(SET, "processors, bare network, an image", [c / IMAGES for (_, c), _ in turns])
    book.note(SET, "processors, a shard, an image", [c / IMAGES for _, (_, c) in turns])
    book.note(SET, BESIDE, [theirs / own - 1 for (_, own), (_, theirs) in turns], "")


@pytest.mark.parametrize("workers", [1, 2])
def bench_workers(
    book: Book, photographs: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use shards of eight images, so that two workers get equal shares of the 32 images."""
    monkeypatch.setattr(image_set, "_LEAST", 8)
    monkeypatch.setattr(image_set, "_MOST", 8)
    extractor = FeatureExtractor("random", size=(224, 224))
    with local_client(workers) as client:

        def run(count: int = IMAGES) -> Any:
            pictures = sorted(photographs.iterdir())[:count]
            return top_activations(extractor, pictures, client=client, progress=False)

        # Warm up: the workers import TensorFlow and build the network.
        run(2 * BATCH * workers)
        seconds = [spent(run)[0] for _ in range(2)]
    name = "1 worker" if workers == 1 else f"{workers} workers"
    book.note(WORKERS, name, [IMAGES / one for one in seconds], "/s")


def bench_merging(book: Book) -> None:
    """Merge a thousand shards of all 21 layers in this process, with a `MergeTree`."""
    shards, k = 1000, 9
    extractor = FeatureExtractor("random")
    job = Job(chosen_layers(extractor, None), "max", k, None)
    rng = np.random.default_rng(0)
    shape = (IMAGES, job.channels)
    some = []
    for _ in range(8):
        values = rng.exponential(100, shape).astype(np.float32)
        places = rng.integers(0, 224, shape, np.int32)
        some.append(
            summarised(
                Reduced(values, values, places, places),
                range(IMAGES),
                k,
                sizes=np.full((IMAGES, 4), 224, np.int32),
                digests=np.zeros((IMAGES, 32), np.uint8),
                failed=(),
            )
        )
    taken = {"seconds": 0.0, "merges": 0.0}

    def merge(parts: list[Summary]) -> Summary:
        before = time.perf_counter()
        made = merged(parts, k)
        taken["seconds"] += time.perf_counter() - before
        taken["merges"] += 1
        return made

    tree = MergeTree[Summary](merge)
    for number in range(shards):
        tree.add(some[number % len(some)].shifted(number * IMAGES))
    whole = tree.result()
    assert whole is not None
    assert len(whole.sizes) == shards * IMAGES
    book.note(MERGING, THOUSAND, taken["seconds"])
    book.note(MERGING, "one merge of four", taken["seconds"] / taken["merges"])
    arrays = [getattr(whole, name) for name in ("values", "images", "rows", "columns", "histogram")]
    book.note(MERGING, "a summary, whatever it is of", sum(a.nbytes for a in arrays) / 1e6, "MB")

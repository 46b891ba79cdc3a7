"""Computation of one shard: images are read ahead, computed in batches, reduced and summarised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgg_widget.dataset.image_set import (
    DIGEST_BYTES,
    NamedSource,
    Prepared,
    Shard,
    Unusable,
    done_ahead,
    prepared,
)
from vgg_widget.dataset.store import Store
from vgg_widget.dataset.summary import Reduced, Summary, summarised
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.extractor import FeatureExtractor, is_torch_module
from vgg_widget.network.reduced import ChosenLayer, ReducedNetwork, Reduction

STATISTICS = ("max", "mean")
"""The measures of an image's strength in a channel."""

BATCH = 8
"""Images in one forward pass. A larger batch is no faster on a CPU and takes more memory."""

# Largest number of images waiting for a full batch of their size.
_WAITING = 4 * BATCH


@dataclass(frozen=True, slots=True)
class Job:
    """The settings of every shard's computation; `k` and `statistic` as in `top_activations`."""

    layers: tuple[ChosenLayer, ...]
    statistic: str
    k: int
    store: Store | None

    @property
    def channels(self) -> int:
        """Number of channels in all layers together."""
        return sum(layer.info.channels for layer in self.layers)

    def network(self, extractor: FeatureExtractor) -> ReducedNetwork:
        """Return the network that computes the job."""
        reduction = _array_reduction_by if is_torch_module(extractor.model) else _reduction_by
        return ReducedNetwork(extractor, self.layers, reduction(self.statistic))


def computed_shard(
    network: ReducedNetwork, job: Job, shard: Shard, tell: Callable[[int], object]
) -> Summary:
    """Return a shard's summary, from the store if it is there.

    `tell` is called with the number of images finished since its last call.
    """
    store = job.store
    if store is None:
        return _computed(network, job, shard, tell)[0].shifted(shard.start)
    names = [image.name for image in shard.images]
    # Digests of the contents: files with the same size and time may still differ.
    key = store.key(names, [image.digest() for image in shard.images])
    summary = store.read(key, job.channels, job.k, len(names))
    if summary is None:
        summary, lasting = _computed(network, job, shard, tell)
        if lasting:
            # Use the digests of the bytes that were computed: files may have changed since the
            # lookup.
            key = store.key(names, [digest.tobytes() for digest in summary.digests])
            store.write(key, summary)
    else:
        tell(len(names))
    # In the store, image positions are counted from the start of the shard.
    return summary.shifted(shard.start)


def _computed(
    network: ReducedNetwork, job: Job, shard: Shard, tell: Callable[[int], object]
) -> tuple[Summary, bool]:
    """Return a shard's summary, and whether the same bytes would give the same summary again."""
    count = len(shard.images)
    sizes = np.zeros((count, 4), np.int32)
    digests = np.zeros((count, DIGEST_BYTES), np.uint8)
    failed: dict[int, Unusable] = {}
    places: list[int] = []
    parts = [Reduced.of_none(job.channels)]

    def good(
        read: Iterable[tuple[NamedSource, Future[Prepared | Unusable]]],
    ) -> Iterator[tuple[int, Prepared]]:
        for place, (_, future) in enumerate(read):
            picture = future.result()
            digests[place] = np.frombuffer(picture.digest, np.uint8)
            if isinstance(picture, Unusable):
                failed[place] = picture
                tell(1)
            else:
                sizes[place] = *picture.pixels.shape[:2], *picture.original
                yield place, picture

    # Close explicitly, since an interrupt's traceback would keep the reading threads alive.
    extractor = network.extractor
    with closing(
        done_ahead(shard.images, lambda image: prepared(extractor, image.source), 2 * BATCH)
    ) as read:
        for batch in _batches(good(read), network):
            parts.append(Reduced(*network(np.stack([picture.pixels for _, picture in batch]))))
            places += [place for place, _ in batch]
            tell(len(batch))
    order = np.argsort(places)
    reduced = Reduced(*(np.concatenate(arrays)[order] for arrays in zip(*parts, strict=True)))
    sentences = tuple((place, picture.sentence) for place, picture in failed.items())
    summary = summarised(
        reduced, sorted(places), job.k, sizes=sizes, digests=digests, failed=sentences
    )
    return summary, all(picture.lasting for picture in failed.values())


def _batches(
    ready: Iterator[tuple[int, Prepared]], network: ReducedNetwork
) -> Iterator[list[tuple[int, Prepared]]]:
    """Group images of the same size into batches.

    Batches depend only on the sizes and their order, so a shard's batches are always the same.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, Prepared]]] = {}
    for place, picture in ready:
        shape = picture.pixels.shape
        batch = waiting.setdefault(shape, [])
        batch.append((place, picture))
        if len(batch) >= min(BATCH, network.most(picture.pixels)):
            yield waiting.pop(shape)
        elif sum(map(len, waiting.values())) >= _WAITING:
            yield waiting.pop(max(waiting, key=lambda one: len(waiting[one])))
    yield from waiting.values()


def _reduction_by(statistic: str) -> Reduction:
    """Return a function from maps of shape (N, H, W, C) to the fields of `Reduced`, each (N, C).

    Each map is read once, to find the maximum of each row; the remaining steps use these maxima and
    the row with the largest. On a CPU this takes 6 % of the network's time; copying the maps after
    their ReLU would take as much again.
    """
    _, tf = keras_and_tensorflow()

    def reduced(maps: Any, relu: bool) -> list[Any]:
        of_rows = tf.reduce_max(maps, axis=2)
        peaks = tf.reduce_max(of_rows, axis=1)
        rows = tf.argmax(of_rows, axis=1, output_type=tf.int32)
        columns = tf.argmax(_gather_rows(tf, maps, rows), axis=1, output_type=tf.int32)
        if relu:
            # If nothing is above 0, the map after the ReLU is 0 everywhere, and its first maximum
            # is at (0, 0).
            rows, columns = (tf.where(peaks > 0, place, 0) for place in (rows, columns))
            peaks = tf.where(peaks < 0, tf.zeros_like(peaks), peaks)
        values = peaks if statistic == "max" else _means(tf, tf.nn.relu(maps) if relu else maps)
        return [values, peaks, rows, columns]

    return reduced


def _array_reduction_by(statistic: str) -> Reduction:
    """Return the equivalent of `_reduction_by` for NumPy arrays."""

    def reduced(maps: Any, relu: bool) -> list[Any]:
        count, _, width, channels = maps.shape
        maps = np.maximum(maps, 0) if relu else maps
        in_a_row = maps.reshape(count, -1, channels)
        places = in_a_row.argmax(axis=1)
        peaks = np.take_along_axis(in_a_row, places[:, np.newaxis], axis=1)[:, 0]
        means = in_a_row.mean(axis=1, dtype=np.float64).astype(np.float32)
        rows, columns = (each.astype(np.int32) for each in np.divmod(places, width))
        return [peaks if statistic == "max" else means, peaks, rows, columns]

    return reduced


def _means(tf: Any, maps: Any) -> Any:
    # A float32 sum of 50,000 values would lose precision; the sum of one row does not.
    rows = tf.cast(tf.reduce_sum(maps, axis=2), tf.float64)
    units = tf.cast(tf.shape(maps)[1] * tf.shape(maps)[2], tf.float64)
    return tf.cast(tf.reduce_sum(rows, axis=1) / units, tf.float32)


def _gather_rows(tf: Any, maps: Any, rows: Any) -> Any:
    """Return one row of each image's and channel's map, shape (N, W, C)."""
    count, height, width, channels = (tf.shape(maps, tf.int64)[axis] for axis in range(4))
    # Indices into the flattened maps: gathering by four coordinates would be slow.
    first = tf.range(count)[:, None] * height + tf.cast(rows, tf.int64)
    first = first * width * channels + tf.range(channels)
    places = first[:, None, :] + (tf.range(width) * channels)[:, None]
    return tf.gather(tf.reshape(maps, [-1]), places)

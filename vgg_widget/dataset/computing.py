"""One shard: read ahead of the network, computed in batches, and summed up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vgg_widget.dataset.image_set import NamedSource, Shard
from vgg_widget.dataset.preparing import DIGEST_BYTES, Prepared, Unusable
from vgg_widget.dataset.reduction import ReducingNetwork
from vgg_widget.dataset.store import Store
from vgg_widget.dataset.summary import Reduced, Summary, summarised
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.reduced import ChosenLayer
from vgg_widget.network.streaming import READERS, begun_ahead

BATCH = 8
"""Images in one forward pass. More is no faster on a processor, and takes more memory."""

# How many may wait until there is a whole batch of their size.
_WAITING = 4 * BATCH

_Ready: TypeAlias = tuple[int, Prepared]


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of every shard.

    Parameters
    ----------
    layers : tuple of ChosenLayer
        Whose channels.
    statistic : str
        What strength is.
    k : int
        How many of the strongest to keep.
    store : Store or None
        Where finished shards are kept.
    """

    layers: tuple[ChosenLayer, ...]
    statistic: str
    k: int
    store: Store | None

    @property
    def channels(self) -> int:
        """How many there are, of all layers together."""
        return sum(layer.info.channels for layer in self.layers)

    def network(self, extractor: FeatureExtractor) -> ReducingNetwork:
        """Return what computes it."""
        return ReducingNetwork(extractor, self.layers, self.statistic)


def computed_shard(
    network: ReducingNetwork, job: Job, shard: Shard, tell: Callable[[int], object]
) -> Summary:
    """Return what is asked of a shard, from the store where it is there already.

    Parameters
    ----------
    network : ReducingNetwork
        Of the job.
    job : Job
        What is asked.
    shard : Shard
        The images.
    tell : callable
        Called with a number of images, whenever so many more are done.
    """
    store = job.store
    if store is None:
        return _computed(network, job, shard, tell).summary.shifted(shard.start)
    names = [image.name for image in shard.images]
    # Of the bytes: what has the same size and time need not be the same picture.
    key = store.key(names, [image.digest() for image in shard.images])
    summary = store.read(key, job.channels, job.k, len(names))
    if summary is None:
        made = _computed(network, job, shard, tell)
        summary = made.summary
        if made.lasting:
            # By what was computed, which may have changed since it was looked for.
            key = store.key(names, [digest.tobytes() for digest in summary.digests])
            store.write(key, summary)
    else:
        tell(len(names))
    # In the store it is of images that begin at 0, wherever they are in the set by now.
    return summary.shifted(shard.start)


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    """A shard's summary, and whether the same bytes would give it again."""

    summary: Summary
    lasting: bool


def _computed(
    network: ReducingNetwork, job: Job, shard: Shard, tell: Callable[[int], object]
) -> _Computed:
    count = len(shard.images)
    sizes = np.zeros((count, 4), np.int32)
    digests = np.zeros((count, DIGEST_BYTES), np.uint8)
    failed: list[tuple[int, Unusable]] = []
    parts: list[Reduced] = []
    places: list[int] = []

    def good(pictures: Iterator[tuple[int, Prepared | Unusable]]) -> Iterator[_Ready]:
        for place, picture in pictures:
            digests[place] = np.frombuffer(picture.digest, np.uint8)
            if isinstance(picture, Unusable):
                failed.append((place, picture))
                tell(1)
            else:
                sizes[place] = *picture.pixels.shape[:2], *picture.original
                yield place, picture

    # Closed, since an interrupt's traceback would keep its threads.
    with closing(_read(network.extractor, shard.images)) as pictures:
        for batch in _batches(good(pictures), network):
            parts.append(network(np.stack([picture.pixels for _, picture in batch])))
            places += [place for place, _ in batch]
            tell(len(batch))
    reduced = _in_order(parts, np.array(places, np.intp), job.channels)
    sentences = tuple((place, picture.sentence) for place, picture in failed)
    summary = summarised(
        reduced, sorted(places), job.k, sizes=sizes, digests=digests, failed=sentences
    )
    return _Computed(summary, all(picture.lasting for _, picture in failed))


def _read(
    extractor: FeatureExtractor, images: tuple[NamedSource, ...]
) -> Generator[tuple[int, Prepared | Unusable]]:
    """Give pictures in their order, the next ones read meanwhile."""
    with ThreadPoolExecutor(READERS, "vgg_widget-read") as pool:

        def begin(place: int, image: NamedSource) -> tuple[int, Future[Prepared | Unusable]]:
            return place, pool.submit(image.prepared, extractor)

        with closing(begun_ahead(images, begin, 2 * BATCH)) as begun:
            for place, future in begun:
                yield place, future.result()


def _batches(ready: Iterator[_Ready], network: ReducingNetwork) -> Iterator[list[_Ready]]:
    """Put pictures of one size together, which in a folder lie between those of others.

    It depends on the sizes and their order alone, so that a shard's batches are always the same.
    """
    waiting: dict[tuple[int, ...], list[_Ready]] = {}
    count = 0
    for place, picture in ready:
        shape = picture.pixels.shape
        batch = waiting.setdefault(shape, [])
        batch.append((place, picture))
        count += 1
        if len(batch) < min(BATCH, network.most(picture.pixels)):
            if count < _WAITING:
                continue
            shape = max(waiting, key=lambda one: len(waiting[one]))
        count -= len(waiting[shape])
        yield waiting.pop(shape)
    yield from waiting.values()


def _in_order(parts: list[Reduced], places: np.ndarray, channels: int) -> Reduced:
    """Put batches together, in the order of the images."""
    if not parts:
        none = np.empty((0, channels))
        whole, numbers = none.astype(np.float32), none.astype(np.int32)
        return Reduced(whole, whole, numbers, numbers)
    order = np.argsort(places)
    fields = ("values", "peaks", "rows", "columns")
    return Reduced(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in fields))

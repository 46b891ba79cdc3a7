"""Shards computed on a Dask cluster: one task each, with results merged in a tree of tasks."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakSet

from vgg_widget.dataset.computing import Job, computed_shard
from vgg_widget.dataset.image_set import Shard
from vgg_widget.dataset.summary import MergeTree, Summary, merged
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import PortableExtractor
from vgg_widget.network.reduced import ReducedNetwork

# Number of shards submitted ahead per worker thread: enough to keep workers busy, but no more,
# since images in memory are sent along with their shards.
_AHEAD = 4

# The network in a worker's process, reused by the next shard of the same job.
_networks: dict[tuple[Any, ...], ReducedNetwork] = {}
# One shard at a time: TensorFlow has its own threads, and memory suffices for one batch.
_lock = threading.Lock()


def check_client(client: object) -> None:
    """Raise TypeError or ValueError unless `client` is None or a usable, synchronous client."""
    if client is None:
        return
    # Compare names, since distributed may not be installed.
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(client).__mro__}
    if "distributed.client.Client" not in names:
        raise TypeError(
            f"client is a {type(client).__name__}: pass a dask.distributed.Client, or leave it out."
        )
    if client.asynchronous:  # type: ignore[attr-defined]
        raise ValueError("client is asynchronous: pass one created without asynchronous=True.")
    # A client that has lost its scheduler reconnects, and a waiting client has no workers yet.
    if client.status not in ("running", "connecting"):  # type: ignore[attr-defined]
        raise ValueError(
            f"client is {client.status}: connect a new one to the cluster."  # type: ignore[attr-defined]
        )


def computed_by_cluster(
    client: Any,
    extractor: FeatureExtractor,
    job: Job,
    shards: Iterable[Shard],
    tell: Callable[[int], object],
) -> Summary | None:
    """Return the merged summary of all shards, or None if there are none.

    Shards of a lost worker are recomputed by others. Workers must reach the images and the store
    under the same paths.
    """
    import dask
    from distributed import as_completed

    name = f"vgg_widget-{uuid.uuid4().hex}"
    numbers = itertools.count()
    begun: WeakSet[Any] = WeakSet()

    def submit(task: Callable[..., Any], *arguments: Any) -> Any:
        key = f"{name}-{task.__name__.strip('_')}-{next(numbers)}"
        future = client.submit(task, *arguments, key=key, pure=False)
        begun.add(future)
        return future

    tree = MergeTree[Any](lambda parts: submit(merged, parts, job.k))
    running: Any = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]
    images: dict[Any, int] = {}

    def finish_one() -> None:
        future = next(running)
        if future.status != "finished":
            # Raise the error now, not after all other shards have run.
            future.result()
        tell(images.pop(future.key))

    # Dask would warn about large arguments. The weights, 80 MB, are passed as a task's argument,
    # not with `scatter`, so that they are sent again if a worker is lost.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
        try:
            portable = submit(_extractor, PortableExtractor.of(extractor))
            for shard in shards:
                while running.count() >= _AHEAD * max(1, sum(client.nthreads().values())):
                    finish_one()
                future = submit(_shard, portable, job, shard)
                images[future.key] = len(shard.images)
                running.add(future)
                tree.add(future)
            whole = tree.result()
            while running.count():
                finish_one()
            return None if whole is None else whole.result()
        except BaseException:
            # A stored traceback would keep the tasks running.
            client.cancel(list(begun), force=True)
            raise


def _extractor(portable: PortableExtractor) -> PortableExtractor:
    return portable


def _shard(portable: PortableExtractor, job: Job, shard: Shard) -> Summary:
    with _lock:
        return computed_shard(_network(portable, job), job, shard, lambda _: None)


def _network(portable: PortableExtractor, job: Job) -> ReducedNetwork:
    """Return a job's network, built once per process."""
    key = (portable.digest, portable.size, portable.preprocessing, job.layers, job.statistic)
    if key not in _networks:
        _networks.clear()
        _networks[key] = job.network(portable.extractor())
    return _networks[key]

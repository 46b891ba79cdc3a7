"""Shards on the workers of a Dask cluster: one task each, results merged in a tree of tasks."""

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

# Shards that the scheduler knows of at a time, for each of its workers' threads: enough to have
# the next at hand, and no more, since pictures in memory travel with them.
_AHEAD = 4

# The network of a worker's process, which the next shard of the same job needs again.
_networks: dict[tuple[Any, ...], ReducedNetwork] = {}
# One shard at a time: TensorFlow has threads of its own, and memory is for one batch.
_lock = threading.Lock()


def check_client(client: object) -> None:
    """Raise TypeError or ValueError for what is no client that waits for its results."""
    if client is None:
        return
    # Without importing distributed, which may not be installed.
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(client).__mro__}
    if "distributed.client.Client" not in names:
        raise TypeError(
            f"client is a {type(client).__name__}: pass a dask.distributed.Client, or leave it out."
        )
    if client.asynchronous:  # type: ignore[attr-defined]
        raise ValueError("client is asynchronous: pass one made without asynchronous=True.")
    # One that has lost its scheduler tries to find it again; one that waits has no workers yet.
    if client.status not in ("running", "connecting"):  # type: ignore[attr-defined]
        raise ValueError(
            f"client is {client.status}: make a new one of the cluster."  # type: ignore[attr-defined]
        )


def computed_by_cluster(
    client: Any,
    extractor: FeatureExtractor,
    job: Job,
    shards: Iterable[Shard],
    tell: Callable[[int], object],
) -> Summary | None:
    """Return what is asked of all shards, merged; None where there are none.

    A worker that is lost has its shards done again by others. The paths of pictures and store have
    to be those of the workers.
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
            # Here, and not when everything else has been tried.
            future.result()
        tell(images.pop(future.key))

    # Dask would warn of arguments that are large. Weights go as one, 80 MB, and not by `scatter`:
    # what a lost worker had of them is then sent again.
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
            # A traceback that somebody keeps would keep them running.
            client.cancel(list(begun), force=True)
            raise


def _extractor(portable: PortableExtractor) -> PortableExtractor:
    return portable


def _shard(portable: PortableExtractor, job: Job, shard: Shard) -> Summary:
    with _lock:
        return computed_shard(_network(portable, job), job, shard, lambda _: None)


def _network(portable: PortableExtractor, job: Job) -> ReducedNetwork:
    """Return a job's network, built once a process."""
    key = (portable.digest, portable.size, portable.preprocessing, job.layers, job.statistic)
    if key not in _networks:
        _networks.clear()
        _networks[key] = job.network(portable.extractor())
    return _networks[key]

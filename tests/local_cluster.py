"""A Dask cluster on this machine, which listens only on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import distributed

# Its constructors have no type annotations.
_distributed: Any = distributed


@contextmanager
def local_client(workers: int, *, processes: bool = True) -> Iterator[Any]:
    """Yield a client of some workers of one thread each, in other processes or in this one."""
    with (
        _distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            # Workers in this process need no address.
            host="127.0.0.1" if processes else None,
            dashboard_address=None,
            # The HTTP server that runs without a dashboard would use a fixed port.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=50,
        ) as cluster,
        # Not the default client, so that only code that receives it uses it.
        _distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client

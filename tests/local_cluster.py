"""A Dask cluster on this machine, which listens on 127.0.0.1 alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import distributed

# Its constructors carry no types.
_distributed: Any = distributed


@contextmanager
def local_client(workers: int, *, processes: bool = True) -> Iterator[Any]:
    """Give a client of so many workers of one thread, in processes of their own or in this one."""
    with (
        _distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            # Within a process there is no address.
            host="127.0.0.1" if processes else None,
            dashboard_address=None,
            # What is served without a dashboard would have a fixed port.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=50,
        ) as cluster,
        # One that nothing finds that it was not given to.
        _distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client

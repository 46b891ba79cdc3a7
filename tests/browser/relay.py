"""A relay that adds the latency and the bandwidth of a long distance to a local connection."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
# Small, so that data sent all at once arrives gradually.
PIECE_BYTES = 16 * 1024
STOP_SECONDS = 10.0


class _Direction:
    """One direction, shared by all connections: calculates when data comes out of it."""

    def __init__(self, delay: float, rate: float) -> None:
        self._delay, self._rate = delay, rate
        self._free = -math.inf
        self.passed = 0

    def enter(self, now: float, size: int) -> float:
        """Take in `size` bytes at the time `now`; return the time at which the last comes out."""
        self.passed += size
        # A piece waits until earlier ones are sent, not until they arrive: the delay does not
        # reduce the rate.
        self._free = max(now, self._free) + size / self._rate
        return self._free + self._delay


class Relay:
    """Forwards data between a browser and a server on this machine, with a delay.

    It listens on 127.0.0.1 only and runs on its own thread, from `start` to `stop` or within
    ``with``. Bytes come out unchanged and in order, each at least `delay` after it came in.

    Parameters
    ----------
    port
        The server's port on 127.0.0.1.
    delay
        Latency in seconds, each way: half a round trip.
    rate
        Maximum bytes per second, each way, for all connections together.

    Examples
    --------
    >>> with Relay(8888, delay=0.075, rate=20e6 / 8) as relay:
    ...     browser.open(relay.url)
    """

    def __init__(self, port: int, delay: float = 0.0, rate: float = math.inf) -> None:
        self._target = port
        self._down, self._up = _Direction(delay, rate), _Direction(delay, rate)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._port = 0
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the server through the relay."""
        return f"http://{HOST}:{self._port}"

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self._port

    @property
    def received(self) -> int:
        """Bytes received from the server for the browser, since the start or `reset`."""
        return self._down.passed

    @property
    def sent(self) -> int:
        """Bytes received from the browser for the server, since the start or `reset`."""
        return self._up.passed

    def reset(self) -> None:
        """Set `received` and `sent` to 0."""
        self._down.passed = self._up.passed = 0

    def start(self) -> None:
        """Start to listen on a free port."""
        self._thread.start()
        if not self._started.wait(STOP_SECONDS) or not self._port:
            raise RuntimeError("The relay could not listen on 127.0.0.1.")

    def stop(self) -> None:
        """Close all connections, dropping data in transit, and end the thread."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._listen())
        finally:
            # Also after a failure, so that `start` does not wait until its timeout.
            self._started.set()

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connect, HOST, 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open)

    async def _connect(
        self, from_browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [to_browser]
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self._target)
            writers.append(to_server)
            # If one direction fails, the other one is cancelled.
            async with asyncio.TaskGroup() as both:
                both.create_task(_forward(from_browser, to_server, self._up))
                both.create_task(_forward(from_server, to_browser, self._down))
            for writer in writers:
                writer.close()
                await writer.wait_closed()
        except* (OSError, asyncio.CancelledError):
            # An end has disconnected, as browsers do, or the relay is stopped: drop the rest.
            for writer in writers:
                writer.transport.abort()
        finally:
            self._open.discard(task)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction
) -> None:
    """Forward data until the end of what is read, and then end what is written."""
    loop = asyncio.get_running_loop()
    in_transit: deque[bytes] = deque()
    ended = loop.create_future()

    def release() -> None:
        # Timers for the same time may fire in any order: always send the oldest piece.
        piece = in_transit.popleft()
        if not piece and not ended.done():
            ended.set_result(None)
        elif not writer.is_closing():
            writer.write(piece)

    while True:
        piece = await reader.read(PIECE_BYTES)
        in_transit.append(piece)
        loop.call_at(direction.enter(loop.time(), len(piece)), release)
        if not piece:
            break
    await ended
    # End only this direction: the other one may continue.
    writer.write_eof()

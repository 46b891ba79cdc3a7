"""A road between a browser and its server that is as long and as narrow as one to a far place."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
# Small, so that what comes in one go at one end arrives bit by bit at the other.
PIECE_BYTES = 16 * 1024
STOP_SECONDS = 10.0


class _Way:
    """One direction, which all connections share: when what enters it now comes out of it."""

    def __init__(self, delay: float, rate: float) -> None:
        self._delay, self._rate = delay, rate
        self._free = -math.inf
        self.passed = 0

    def enter(self, now: float, size: int) -> float:
        """Take in so many bytes at a time; return the time at which the last one comes out."""
        self.passed += size
        # Pieces wait for those before them, not for those to arrive: the delay limits no rate.
        self._free = max(now, self._free) + size / self._rate
        return self._free + self._delay


class Relay:
    """Stands between a browser and a server on this machine, and takes its time.

    It listens on 127.0.0.1 alone and runs on a thread of its own, from `start` to `stop` or within
    ``with``. Bytes come out in order and unchanged, each so long after it came in.

    Parameters
    ----------
    port
        The server's port on 127.0.0.1.
    delay
        Seconds from one end to the other, each way: half a round trip.
    rate
        Bytes a second at most, each way, of all connections together.

    Examples
    --------
    >>> with Relay(8888, delay=0.075, rate=20e6 / 8) as relay:
    ...     browser.open(relay.url)
    """

    def __init__(self, port: int, delay: float = 0.0, rate: float = math.inf) -> None:
        self._target = port
        self._down, self._up = _Way(delay, rate), _Way(delay, rate)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._port = 0
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address at which the server is found through the relay."""
        return f"http://{HOST}:{self._port}"

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self._port

    @property
    def received(self) -> int:
        """Bytes that came from the server for the browser, since the start or `reset`."""
        return self._down.passed

    @property
    def sent(self) -> int:
        """Bytes that came from the browser for the server, since the start or `reset`."""
        return self._up.passed

    def reset(self) -> None:
        """Count from 0 again."""
        self._down.passed = self._up.passed = 0

    def start(self) -> None:
        """Listen, on a free port."""
        self._thread.start()
        if not self._started.wait(STOP_SECONDS) or not self._port:
            raise RuntimeError("The relay could not listen on 127.0.0.1.")

    def stop(self) -> None:
        """End all connections, with what is still under way, and the thread."""
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
            # Nobody waits in vain where it could not listen.
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

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [back]
        try:
            far, onwards = await asyncio.open_connection(HOST, self._target)
            writers.append(onwards)
            # Where one direction breaks, the other ends too.
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(near, onwards, self._up))
                both.create_task(_carry(far, back, self._down))
            for writer in writers:
                writer.close()
                await writer.wait_closed()
        except* (OSError, asyncio.CancelledError):
            # Either end has gone, as browsers do, or the relay is stopped: nobody reads the rest.
            for writer in writers:
                writer.transport.abort()
        finally:
            self._open.discard(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
    """Carry what is read, to the end of it, and then end what is written."""
    loop = asyncio.get_running_loop()
    under_way: deque[bytes] = deque()
    ended = loop.create_future()

    def release() -> None:
        # The first that came in, whichever of two timers of one time is called first.
        piece = under_way.popleft()
        if not piece and not ended.done():
            ended.set_result(None)
        elif not writer.is_closing():
            writer.write(piece)

    while True:
        piece = await reader.read(PIECE_BYTES)
        under_way.append(piece)
        loop.call_at(way.enter(loop.time(), len(piece)), release)
        if not piece:
            break
    await ended
    # The other direction may go on.
    writer.write_eof()

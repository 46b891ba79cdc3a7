from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.browser.relay import HOST, Relay

Serve = Callable[[socket.socket], None]


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """Serve each connection on its own thread; yield the port."""
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with closing(connection):
            serve(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    with socket.create_server((HOST, 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        # Closing the socket alone does not end `accept`.
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in threads:
        thread.join()


def connected(relay: Relay) -> socket.socket:
    return socket.create_connection((HOST, relay.port), timeout=20)


def echo(connection: socket.socket) -> None:
    while piece := connection.recv(65536):
        connection.sendall(piece)


def answer_at_the_end(connection: socket.socket) -> None:
    """Answer once the client has closed its direction of the connection."""
    connection.sendall(read_all(connection)[::-1])


def test_bytes_arrive_unchanged_and_in_order_both_ways() -> None:
    data = random.Random(1).randbytes(700_000)
    with (
        serving(answer_at_the_end) as port,
        Relay(port, delay=0.02, rate=20e6) as relay,
        connected(relay) as near,
    ):
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)
        assert read_all(near) == data[::-1]


def test_connections_are_kept_apart() -> None:
    with serving(echo) as port, Relay(port) as relay:
        several = [connected(relay) for _ in range(20)]
        for number, one in enumerate(several):
            one.sendall(bytes([number]) * 1000)
        for number, one in enumerate(several):
            assert read(one, 1000) == bytes([number]) * 1000
            one.close()


def test_a_round_trip_takes_the_delay_twice() -> None:
    with serving(echo) as port, Relay(port, delay=0.05) as relay, connected(relay) as near:
        for _ in range(2):
            began = time.monotonic()
            near.sendall(b"?")
            assert read(near, 1) == b"?"
            assert time.monotonic() - began >= 0.1


def test_the_rate_is_that_of_all_connections_together() -> None:
    with serving(echo) as port, Relay(port, rate=1e6) as relay:
        several = [connected(relay) for _ in range(2)]
        began = time.monotonic()
        for one in several:
            one.sendall(bytes(100_000))
        for one in several:
            assert len(read(one, 100_000)) == 100_000
            one.close()
        assert time.monotonic() - began >= 0.2


def test_what_passes_is_counted() -> None:
    def twice(connection: socket.socket) -> None:
        connection.sendall(2 * read_all(connection))

    with serving(twice) as port, Relay(port, delay=0.01) as relay:
        for _ in range(2):
            with connected(relay) as near:
                near.sendall(bytes(30_000))
                near.shutdown(socket.SHUT_WR)
                assert len(read_all(near)) == 60_000
        assert (relay.sent, relay.received) == (60_000, 120_000)
        relay.reset()
        assert (relay.sent, relay.received) == (0, 0)


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with Relay(port) as relay, connected(relay) as near:
        assert near.recv(1) == b""


def test_it_ends_with_connections_open_and_bytes_under_way() -> None:
    with serving(read_all_and_forget) as port:
        with Relay(port, delay=60) as relay:
            near = connected(relay)
            near.sendall(b"never")
            while not relay.sent:
                time.sleep(0.005)
        with near:
            assert near.recv(1) == b""
        assert not [thread for thread in threading.enumerate() if thread.name == "relay"]


def read_all_and_forget(connection: socket.socket) -> None:
    read_all(connection)

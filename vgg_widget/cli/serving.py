"""A Jupyter server in a process of its own, for this machine alone, until it is told to stop."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess  # nosec B404  # Jupyter is a program of its own
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

ADDRESS = "127.0.0.1"
"""Where every server listens: no other machine reaches it."""

_START_SECONDS = 120
_STOP_SECONDS = 15
# Each ends the server in order; a closed terminal sends SIGHUP, which Windows has not.
_STOPS = [signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGHUP", None)])]


@dataclass(frozen=True)
class Program:
    """A program of Jupyter's that serves a page.

    Parameters
    ----------
    name : str
        What it is called in messages.
    arguments : sequence of str
        What Python is to run, from ``-m`` on. It listens on `port` of `ADDRESS`, and takes its
        token from the environment.
    environment : mapping of str to str
        What it finds in its environment beside what is in this process's.
    port : int
        As `usable_port` returned it.
    page : str
        The path and query of what a person is to open.
    alive : str
        A path that answers once it serves, and starts nothing.
    advice : str
        What a person does on the page.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    port: int
    page: str
    alive: str
    advice: str


def usable_port(port: int) -> int:
    """Return a port that a server can listen on.

    Parameters
    ----------
    port : int
        Which one; 0 for any free one.

    Raises
    ------
    ValueError
        If it is no port.
    OSError
        If it is taken, or not for everybody.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is no port: choose one from 1024 to 65535, or 0 for any.")
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As servers do: a connection of before, which the system still remembers, is no reason
            # against a port. On Windows it would take one that is in use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise OSError(
                f"port {port} cannot be used ({error.strerror}): choose another one, or 0 for any."
            ) from error
        return int(probe.getsockname()[1])


def serve(program: Program, *, browser: bool) -> int:
    """Run a program, say where its page is, and wait until it is told to stop.

    Parameters
    ----------
    program : Program
        What serves.
    browser : bool
        Whether to open a browser, where there is one.

    Returns
    -------
    int
        0 once stopped by Ctrl-C or a termination signal; the program's own code where it ends by
        itself.

    Raises
    ------
    OSError
        If it does not start.
    """
    token = secrets.token_urlsafe(24)
    # In the environment, so that other users do not see it in the list of processes.
    environment = {**os.environ, **program.environment, "JUPYTER_TOKEN": token}
    # A flag and no exception: one that is raised while Python collects garbage is lost, and with it
    # the only wish to stop.
    told: list[int] = []
    previous = {stop: signal.signal(stop, lambda number, _: told.append(number)) for stop in _STOPS}
    # In a session of its own: Ctrl-C reaches this process alone, which ends the server in order.
    server = subprocess.Popen(  # noqa: S603  # nosec B603  # our own words, no shell
        # Jupyter's own warnings are not for the person who runs this.
        [sys.executable, "-Wignore::DeprecationWarning", *program.arguments],
        env=environment,
        start_new_session=True,
    )
    try:
        address = f"http://{ADDRESS}:{program.port}"
        if not _answers(server, _with_token(address + program.alive, token), told):
            if told:
                return 0
            raise OSError(
                f"{program.name} did not start on port {program.port}: see its messages above."
            )
        _announce(program, _with_token(address + program.page, token), browser=browser)
        # In steps: a signal that another thread takes would not wake an endless wait.
        while not told and server.poll() is None:
            time.sleep(0.2)
        return 0 if told else server.returncode
    finally:
        with suppress(OSError):
            # The terminal may be gone.
            print(f"\nStopping {program.name} …", flush=True)
        _stop(server)
        for stop, handler in previous.items():
            signal.signal(stop, handler)


def _with_token(address: str, token: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}token={token}"


def _announce(program: Program, page: str, *, browser: bool) -> None:
    print(f"\n    {page}\n", flush=True)
    if "SSH_CONNECTION" in os.environ:
        forward = f"{program.port}:{ADDRESS}:{program.port}"
        print(f"From your own machine, first: ssh -L {forward} THIS-HOST")
    print(f"{program.advice} Ctrl-C here stops it all.", flush=True)
    if browser and _has_browser():
        import webbrowser

        webbrowser.open(page)


def _has_browser() -> bool:
    """Tell whether a browser would open in a window of its own.

    Over SSH and in containers Python may find a text browser, which would take over the terminal.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _answers(server: subprocess.Popen[bytes], address: str, told: list[int]) -> bool:
    limit = time.monotonic() + _START_SECONDS
    # A proxy that the environment names knows nothing of this machine's own addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not told and server.poll() is None and time.monotonic() < limit:
        try:
            with opener.open(address, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        _end(server)
    if sys.platform != "win32":
        # What the server has started and not waited for, such as its search for npm.
        with suppress(OSError):
            os.killpg(server.pid, signal.SIGKILL)


def _end(server: subprocess.Popen[bytes]) -> None:
    # The server ends its kernels on an interrupt, which Windows has not for another process.
    server.terminate() if sys.platform == "win32" else server.send_signal(signal.SIGINT)
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

"""Run a local Jupyter server until it is stopped."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgg_widget.activations.named_layers import layer_names
from vgg_widget.images import load_image
from vgg_widget.layers import VGGS
from vgg_widget.network.extractor import DEFAULT_NETWORK
from vgg_widget.support.messages import unknown_choice
from vgg_widget.weights.applications import checked_network

ADDRESS = "127.0.0.1"
"""The address on which every server listens; other machines cannot reach it."""

_STOP_SECONDS = 15
# Signals that shut the server down cleanly. A closed terminal sends SIGHUP, which Windows lacks.
_STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGHUP", None)])]


@dataclass(frozen=True)
class Program:
    """A Jupyter application that serves a page on a port from `usable_port`.

    `make` builds the application with the token that protects its page, and `stop` ends it and its
    kernels. `environment` is set in this process. `page` is the path of the page to open, and
    `advice` the instructions printed for it.
    """

    name: str
    make: Callable[[str], Any]
    stop: Callable[[Any], object]
    environment: Mapping[str, str]
    port: int
    page: str
    advice: str


def add_server_options(command: argparse.ArgumentParser) -> None:
    """Add the options common to the demo and the app."""
    command.add_argument(
        "image", nargs="?", metavar="IMAGE", help="an image file (default: a sample photograph)"
    )
    command.add_argument(
        "--port", type=int, default=0, help="the server's port (default: any free port)"
    )
    command.add_argument("--no-browser", action="store_true", help="only print the address")


def add_weights_option(command: argparse.ArgumentParser) -> None:
    """Add the options of all commands that compute."""
    command.add_argument(
        "--weights",
        default="auto",
        help="auto, imagenet, kmeans, hed, random, or the path of a file",
    )
    add_network_option(command)


def add_network_options(command: argparse.ArgumentParser) -> None:
    """Add the options of all commands that read images."""
    add_weights_option(command)
    command.add_argument(
        "--size", type=int, default=224, help="length of the image's shorter side in pixels"
    )


def add_network_option(command: argparse.ArgumentParser) -> None:
    """Add the option that chooses the network."""
    command.add_argument(
        "--network", default=DEFAULT_NETWORK, help="vgg19, vgg16, or one of keras.applications"
    )


def check_layers(argument: str, layers: Iterable[str], network: str) -> None:
    """Raise ValueError for an unknown layer of a VGG before building it, which takes seconds."""
    vgg = VGGS.get(checked_network(network))
    if vgg is None:
        return
    known = layer_names(vgg.layers, [info.name for info in vgg.convolutions])
    for name in layers:
        if name not in known:
            raise ValueError(unknown_choice(argument, name, known))


def checked_picture(image: str | None) -> str | None:
    """Return an image's absolute path, or None for the sample; raise if it cannot be read."""
    if image is None:
        return None
    path = str(Path(image).expanduser().absolute())
    load_image(path)
    return path


def notebook_of(*cells: tuple[str, list[dict[str, Any]]], **metadata: Any) -> dict[str, Any]:
    """Return a notebook of cells, each given as source and outputs."""
    from nbformat import v4

    make: Any = v4
    made = [
        make.new_code_cell(source, outputs=outputs, id=f"explorer{number or ''}")
        for number, (source, outputs) in enumerate(cells)
    ]
    notebook: dict[str, Any] = make.new_notebook(
        cells=made, metadata={"language_info": {"name": "python"}, **metadata}
    )
    return notebook


def usable_port(port: int) -> int:
    """Return a port that a server can listen on: the given one, or any free one for 0."""
    if not 0 <= port <= 65535:
        raise ValueError(
            f"port {port} is not a valid port: choose one from 1024 to 65535, or 0 for any."
        )
    with socket.socket() as probe:
        if sys.platform != "win32":
            # As servers do, accept a port with lingering old connections. On Windows this option
            # would accept a port in use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise OSError(
                f"port {port} cannot be used ({error.strerror}): choose another one, or 0 for any."
            ) from error
        return int(probe.getsockname()[1])


def serve(program: Program, *, browser: bool) -> int:
    """Run a program, print its page's address and open it; return 0 once it is stopped.

    Ctrl-C, a termination signal or closing the terminal stops it.
    """
    from tornado.ioloop import IOLoop, PeriodicCallback

    # Jupyter's deprecation warnings do not concern the user.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.update(program.environment)
    token = secrets.token_urlsafe(24)
    server = program.make(token)
    loop = IOLoop.current()
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        if not received:
            received.append(number)
            with suppress(OSError):
                # The terminal may be gone.
                print(f"\nStopping {program.name} …", flush=True)
            loop.add_callback_from_signal(program.stop, server)
            # Force the exit if the clean shutdown hangs.
            last = threading.Timer(_STOP_SECONDS, os._exit, (1,))
            last.daemon = True
            last.start()

    # Handlers stay installed: a second Ctrl-C must not interrupt the shutdown.
    for number in _STOP_SIGNALS:
        signal.signal(number, stop)
    # Wake the loop regularly: a signal received by another thread would not.
    PeriodicCallback(lambda: None, 200).start()
    loop.add_callback(_announce, program, token, browser=browser)
    server.start()
    return 0


def _announce(program: Program, token: str, *, browser: bool) -> None:
    page = f"http://{ADDRESS}:{program.port}{program.page}?token={token}"
    print(f"\n    {page}\n", flush=True)
    if "SSH_CONNECTION" in os.environ:
        forward = f"{program.port}:{ADDRESS}:{program.port}"
        print(f"First, on your own machine: ssh -L {forward} THIS-HOST")
    print(f"{program.advice} Ctrl-C here stops the server.", flush=True)
    # Over SSH or without a display, Python may find a text browser, which would take over the
    # terminal.
    display = sys.platform in ("win32", "darwin") or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    )
    if browser and display and "SSH_CONNECTION" not in os.environ:
        # `open` may block until the browser is closed, and the page must be served meanwhile.
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

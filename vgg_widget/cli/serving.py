"""A server of Jupyter's for this machine alone, until it is told to stop."""

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
"""Where every server listens: no other machine reaches it."""

# Each ends the server in order; a closed terminal sends SIGHUP, which Windows has not.
_STOP_SECONDS = 15
_STOPS = [signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGHUP", None)])]


@dataclass(frozen=True)
class Program:
    """An application of Jupyter's that serves a page on a port from `usable_port`.

    `make` builds the application from the token that its page asks for, and `stop` ends it and its
    kernels. `environment` is set in this process. `page` is the path of what a person opens, and
    `advice` what they do there.
    """

    name: str
    make: Callable[[str], Any]
    stop: Callable[[Any], object]
    environment: Mapping[str, str]
    port: int
    page: str
    advice: str


def add_server_options(command: argparse.ArgumentParser) -> None:
    """Add what the demo and the app have in common."""
    command.add_argument("image", nargs="?", metavar="IMAGE", help="a picture file; else a sample")
    command.add_argument("--port", type=int, default=0, help="the server's port; else any free one")
    command.add_argument("--no-browser", action="store_true", help="only print the address")


def add_weights_option(command: argparse.ArgumentParser) -> None:
    """Add what all commands that compute have in common."""
    command.add_argument(
        "--weights", default="auto", help="auto, imagenet, kmeans, hed, random or your own file"
    )
    add_network_option(command)


def add_network_options(command: argparse.ArgumentParser) -> None:
    """Add what all commands that look at pictures have in common."""
    add_weights_option(command)
    command.add_argument("--size", type=int, default=224, help="pixels of the shorter side")


def add_network_option(command: argparse.ArgumentParser) -> None:
    """Add the choice of a network, which the weights are of."""
    command.add_argument(
        "--network", default=DEFAULT_NETWORK, help="vgg19, vgg16, or one of keras.applications"
    )


def check_layers(argument: str, layers: Iterable[str], network: str) -> None:
    """Refuse what is no layer of a VGG, before that is built, which takes seconds."""
    vgg = VGGS.get(checked_network(network))
    if vgg is None:
        return
    known = layer_names(vgg.layers, [info.name for info in vgg.convolutions])
    for name in layers:
        if name not in known:
            raise ValueError(unknown_choice(argument, name, known))


def checked_picture(image: str | None) -> str | None:
    """Return the absolute path of a picture, None for the sample; raise for what is no picture."""
    if image is None:
        return None
    path = str(Path(image).expanduser().absolute())
    load_image(path)
    return path


def notebook_of(*cells: tuple[str, list[dict[str, Any]]], **metadata: Any) -> dict[str, Any]:
    """Return a notebook of cells, each a source with its outputs."""
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
    """Return a port that a server can listen on: the one that is given, or for 0 any free one."""
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
    """Run a program, say where its page is and open it in a browser; return 0 once it is stopped.

    Ctrl-C, a termination signal and the closing of the terminal stop it.
    """
    from tornado.ioloop import IOLoop, PeriodicCallback

    # Jupyter's own warnings are not for the person who runs this.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.update(program.environment)
    token = secrets.token_urlsafe(24)
    server = program.make(token)
    loop = IOLoop.current()
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        if not told:
            told.append(number)
            with suppress(OSError):
                # The terminal may be gone.
                print(f"\nStopping {program.name} …", flush=True)
            loop.add_callback_from_signal(program.stop, server)
            # Where the orderly end hangs, this one does not.
            last = threading.Timer(_STOP_SECONDS, os._exit, (1,))
            last.daemon = True
            last.start()

    # For good: a second Ctrl-C would interrupt the end of this process too.
    for number in _STOPS:
        signal.signal(number, stop)
    # A signal that another thread takes would not wake the loop.
    PeriodicCallback(lambda: None, 200).start()
    loop.add_callback(_announce, program, token, browser=browser)
    server.start()
    return 0


def _announce(program: Program, token: str, *, browser: bool) -> None:
    page = f"http://{ADDRESS}:{program.port}{program.page}?token={token}"
    print(f"\n    {page}\n", flush=True)
    if "SSH_CONNECTION" in os.environ:
        forward = f"{program.port}:{ADDRESS}:{program.port}"
        print(f"From your own machine, first: ssh -L {forward} THIS-HOST")
    print(f"{program.advice} Ctrl-C here stops it all.", flush=True)
    # Over SSH, and without a display, Python may find a text browser, which would take over the
    # terminal.
    display = sys.platform in ("win32", "darwin") or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    )
    if browser and display and "SSH_CONNECTION" not in os.environ:
        # Some browsers are waited for until they are closed, and the page is served meanwhile.
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

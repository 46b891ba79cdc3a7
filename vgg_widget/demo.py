"""`vgg-widget demo`: JupyterLab on a notebook whose one cell shows the explorer."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess  # nosec B404  # JupyterLab is a program of its own
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from vgg_widget.images import load_image

_START_SECONDS = 120
_STOP_SECONDS = 15
# Each ends the server in order; a closed terminal sends SIGHUP, which Windows has not.
_STOPS = [signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGHUP", None)])]
_NOTEBOOK = "vgg19-explorer.ipynb"


def run_demo(image: str | None = None, *, port: int = 0, browser: bool = True) -> int:
    """Serve the demo notebook in JupyterLab until interrupted.

    Parameters
    ----------
    image : str, optional
        Path of a picture; matplotlib's sample photograph by default.
    port : int
        The server's port on 127.0.0.1; 0 takes a free one.
    browser : bool
        Whether to open a browser, where there is one.

    Returns
    -------
    int
        0 once stopped by Ctrl-C or a termination signal; the server's own code where it fails.

    Raises
    ------
    ImageError
        If the picture cannot be used.
    ImportError
        If JupyterLab is not installed.
    OSError
        If JupyterLab does not start.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(
            "JupyterLab is not installed: run pip install 'vgg-widget[demo]'."
        )
    path = None if image is None else str(Path(image).expanduser().absolute())
    if path is not None:
        load_image(path)
    print("Computing the first picture …", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="vgg-widget-demo-"))
    (folder / _NOTEBOOK).write_text(json.dumps(demo_notebook(path), indent=1), encoding="utf-8")
    return _serve(folder, port or _free_port(), browser=browser and _has_browser())


def demo_notebook(path: str | None) -> dict[str, Any]:
    """Return the notebook: one cell, and its picture as it will be, rendered beforehand.

    Parameters
    ----------
    path : str or None
        Absolute path of the picture, None for the sample photograph.

    Returns
    -------
    dict
        In nbformat 4.5.
    """
    from vgg_widget.explorer.layer_explorer import LayerExplorer
    from vgg_widget.images import sample_image

    explorer = LayerExplorer(sample_image() if path is None else path)
    try:
        picture = explorer._repr_mimebundle_()["image/png"]
    finally:
        explorer.close()
    if path is None:
        source = (
            "from vgg_widget import LayerExplorer, sample_image\n\nLayerExplorer(sample_image())"
        )
    else:
        source = f"from vgg_widget import LayerExplorer\n\nLayerExplorer({path!r})"
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": picture, "text/plain": ["VGG19 explorer: run the cell"]},
    }
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "explorer",
        "execution_count": None,
        "metadata": {},
        "source": source.splitlines(keepends=True),
        "outputs": [output],
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "cells": [cell],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _has_browser() -> bool:
    """Tell whether a browser would open in a window of its own.

    Over SSH and in containers Python may find a text browser, which would take over the terminal.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _own_settings(folder: Path) -> dict[str, str]:
    """Return the environment in which JupyterLab neither reads nor changes the person's own."""
    places = {
        "JUPYTER_CONFIG_DIR": folder / ".jupyter",
        "JUPYTERLAB_SETTINGS_DIR": folder / ".jupyter" / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / ".jupyter" / "workspaces",
    }
    page = places["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    # It would ask about news, over the notebook.
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    page.write_text(json.dumps(news), encoding="utf-8")
    return {name: str(place) for name, place in places.items()}


def _serve(folder: Path, port: int, *, browser: bool) -> int:
    token = secrets.token_urlsafe(24)
    command = [
        sys.executable,
        # Of Jupyter's own, and not for the person who runs this.
        "-Wignore::DeprecationWarning",
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.answer_yes=True",
        "--ServerApp.log_level=ERROR",
        "--LabApp.log_level=ERROR",
        "--no-browser",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    # In the environment, so that other users do not see it in the list of processes.
    environment = {**os.environ, **_own_settings(folder), "JUPYTER_TOKEN": token}
    # A flag and no exception: one that is raised while Python collects garbage is lost, and with it
    # the only wish to stop.
    told: list[int] = []
    previous = {stop: signal.signal(stop, lambda number, _: told.append(number)) for stop in _STOPS}
    # In a session of its own: Ctrl-C reaches this process alone, which ends the server in order.
    server = subprocess.Popen(  # noqa: S603  # nosec B603  # our own words, no shell
        command, env=environment, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        if not _answers(server, f"{address}/api?token={token}", told):
            if told:
                return 0
            raise OSError(f"JupyterLab did not start on port {port}: see its messages above.")
        page = f"{address}/lab/tree/{_NOTEBOOK}?token={token}"
        print(f"\n    {page}\n", flush=True)
        if "SSH_CONNECTION" in os.environ:
            print(f"From your own machine, first: ssh -L {port}:127.0.0.1:{port} THIS-HOST")
        print("On that page, click into the cell and press Shift+Enter. Ctrl-C here stops it all.")
        sys.stdout.flush()
        if browser:
            import webbrowser

            webbrowser.open(page)
        # In steps: a signal that another thread takes would not wake an endless wait.
        while not told and server.poll() is None:
            time.sleep(0.2)
        return 0 if told else server.returncode
    finally:
        with suppress(OSError):
            # The terminal may be gone.
            print("\nStopping JupyterLab …", flush=True)
        _stop(server)
        for stop, handler in previous.items():
            signal.signal(stop, handler)
        with suppress(OSError):
            print(f"The notebook is kept in {folder}", flush=True)


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

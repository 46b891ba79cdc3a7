"""`vgg-widget demo`: JupyterLab on a notebook whose one cell shows the explorer."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from vgg_widget.cli.serving import ADDRESS, Program, serve, usable_port
from vgg_widget.images import load_image

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
    ValueError, OSError
        If the port cannot be used, or JupyterLab does not start.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(
            "JupyterLab is not installed: run pip install 'vgg-widget[demo]'."
        )
    path = None if image is None else str(Path(image).expanduser().absolute())
    if path is not None:
        load_image(path)
    port = usable_port(port)
    print("Computing the first picture …", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="vgg-widget-demo-"))
    (folder / _NOTEBOOK).write_text(json.dumps(demo_notebook(path), indent=1), encoding="utf-8")
    program = Program(
        name="JupyterLab",
        make=lambda token: _jupyterlab(folder, port, token),
        stop=lambda server: server.stop(from_signal=True),
        environment=_own_settings(folder),
        port=port,
        page=f"/lab/tree/{_NOTEBOOK}",
        advice="On that page, click into the cell and press Shift+Enter.",
    )
    try:
        return serve(program, browser=browser)
    finally:
        with suppress(OSError):
            # The terminal may be gone.
            print(f"The notebook is kept in {folder}", flush=True)


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
        picture = base64.b64encode(explorer.to_bytes()).decode()
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


def _jupyterlab(folder: Path, port: int, token: str) -> Any:
    from jupyterlab.labapp import LabApp
    from traitlets.config import Config

    server = {
        "root_dir": str(folder),
        "ip": ADDRESS,
        "port": port,
        "port_retries": 0,
        "open_browser": False,
        "log_level": "ERROR",
        "allow_root": True,
    }
    settings = {
        "ServerApp": server,
        "LabApp": {"log_level": "ERROR"},
        "IdentityProvider": {"token": token},
    }
    return LabApp.initialize_server(config=Config(settings))  # type: ignore[no-untyped-call]

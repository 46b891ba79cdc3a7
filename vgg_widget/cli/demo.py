"""`vgg-widget demo`: opens JupyterLab with a notebook whose cells show the explorer."""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from vgg_widget.cli.serving import (
    ADDRESS,
    Program,
    add_server_options,
    checked_picture,
    notebook_of,
    serve,
    usable_port,
)
from vgg_widget.weights import find_contours

_NOTEBOOK = "vgg19-explorer.ipynb"


def add_demo(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    demo = commands.add_parser("demo", help="open JupyterLab with a notebook of the explorer")
    add_server_options(demo)
    demo.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(
            "JupyterLab is not installed: run pip install 'vgg-widget[demo]'."
        )
    path = checked_picture(options.image)
    port = usable_port(options.port)
    print("Computing the first image …", flush=True)
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
        return serve(program, browser=not options.no_browser)
    finally:
        with suppress(OSError):
            # The terminal may be gone.
            print(f"The notebook is kept in {folder}", flush=True)


def demo_notebook(path: str | None) -> dict[str, Any]:
    """Return a notebook for an image or the sample, with outputs rendered in advance.

    A second cell shows the image with trained VGG16 filters, if they are installed.
    """
    argument = "sample_image()" if path is None else repr(path)
    imports = "from vgg_widget import LayerExplorer, sample_image\n\n"
    cells = [(f"{imports}LayerExplorer({argument})", [_shown(path, "VGG19")])]
    if find_contours() is not None:
        comment = "# Trained filters: on ImageNet, then fine-tuned to find contours\n"
        trained = {"network": "vgg16", "weights": "hed"}
        more = "".join(f", {name}={value!r}" for name, value in trained.items())
        output = _shown(path, "VGG16", **trained)
        cells.append((f"{comment}LayerExplorer({argument}{more})", [output]))
    return notebook_of(
        *cells,
        kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
    )


def _shown(path: str | None, title: str, **arguments: Any) -> dict[str, Any]:
    """Return a cell's output: the image that an explorer shows first."""
    from vgg_widget.explorer.layer_explorer import LayerExplorer
    from vgg_widget.images import sample_image

    explorer = LayerExplorer(sample_image() if path is None else path, **arguments)
    try:
        picture = base64.b64encode(explorer.to_bytes()).decode()
    finally:
        explorer.close()
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": picture, "text/plain": f"{title} explorer: run the cell"},
    }


def _own_settings(folder: Path) -> dict[str, str]:
    """Return environment variables that keep JupyterLab away from the user's own settings."""
    places = {
        "JUPYTER_CONFIG_DIR": folder / ".jupyter",
        "JUPYTERLAB_SETTINGS_DIR": folder / ".jupyter" / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / ".jupyter" / "workspaces",
    }
    page = places["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    # Otherwise a question about news would cover the notebook.
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    page.write_text(json.dumps(news), encoding="utf-8")
    return {name: str(place) for name, place in places.items()}


def _jupyterlab(folder: Path, port: int, token: str) -> Any:
    from jupyterlab.labapp import LabApp
    from traitlets.config import Config

    settings = {
        "ServerApp": {
            "root_dir": str(folder),
            "ip": ADDRESS,
            "port": port,
            "port_retries": 0,
            "open_browser": False,
            "log_level": "ERROR",
            "allow_root": True,
        },
        "LabApp": {"log_level": "ERROR"},
        "IdentityProvider": {"token": token},
    }
    return LabApp.initialize_server(config=Config(settings))

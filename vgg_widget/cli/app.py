"""The page served by Voila from a generated notebook, with its own settings."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from vgg_widget.cli.serving import (
    ADDRESS,
    Program,
    add_network_options,
    add_server_options,
    checked_picture,
    notebook_of,
    serve,
    usable_port,
)
from vgg_widget.images import MINIMUM_SIDE, checked_size
from vgg_widget.network.extractor import DEFAULT_NETWORK
from vgg_widget.weights import resolve, resolve_application
from vgg_widget.weights.applications import APPLICATIONS, checked_network, network_title

IDLE_SECONDS = 900
"""How long a visitor's kernel is kept after its page disappears without notice."""

_CHECK_SECONDS = 60
# A photograph is uploaded as one message; tornado's own limit is 10 MB.
_UPLOAD_BYTES = 200 * 2**20
_NAME = "vgg-widget"
# The page may load and reach only this server. Voila's default page would fetch icons, which it
# already has, from a CDN, and hang on networks that drop requests.
_CONTENT_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:* data: blob:; frame-ancestors 'self'"
)
# Only the explorer's extensions: other installed ones would delay the page or fail on it.
_EXTENSIONS = [
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager8",
    "anywidget",
    "jupyter-matplotlib",
]


def add_app(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    app = commands.add_parser("app", help="serve the explorer as a page, without code")
    add_server_options(app)
    app.add_argument(
        "--theme", choices=("light", "dark"), default="light", help="how the page looks"
    )
    add_network_options(app)
    app.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("voila") is None:
        raise ModuleNotFoundError("Voila is not installed: run pip install 'vgg-widget[app]'.")
    checked_size(options.size, MINIMUM_SIDE)
    path = checked_picture(options.image)
    port = usable_port(options.port)
    # Download weights once, here, not while each visitor waits.
    network = checked_network(options.network)
    named = (
        resolve_application(options.weights, network)
        if network in APPLICATIONS
        else resolve(options.weights, network).provenance
    )
    weights = options.weights
    if named.source == "file" and named.path is not None:
        # Visitors' kernels run in another folder, so the path must be absolute.
        weights = str(Path(named.path).absolute())
    with tempfile.TemporaryDirectory(prefix="vgg-widget-app-") as name:
        folder = Path(name)
        notebook = folder / f"{_NAME}.ipynb"
        content = app_notebook(path, weights, options.size, network)
        notebook.write_text(json.dumps(content), encoding="utf-8")
        program = Program(
            name="Voila",
            make=lambda token: _voila(notebook, _settings(port, options.theme, token)),
            # Voila ends its kernels once its loop has stopped.
            stop=lambda server: server.ioloop.stop(),
            environment=_environment(folder),
            port=port,
            page="/",
            advice="Open that address in a browser.",
        )
        return serve(program, browser=not options.no_browser)


def app_notebook(
    path: str | None, weights: str, size: int, network: str = DEFAULT_NETWORK
) -> dict[str, Any]:
    """Return the notebook that Voila runs for each visitor; its code is not shown."""
    name = None if path is None else Path(path).name
    more = "" if network == DEFAULT_NETWORK else f", network={network!r}"
    source = (
        "from vgg_widget.cli.app_page import page_content\n\n"
        f"page_content({path!r}, weights={weights!r}, size={size!r}{more})"
    )
    return notebook_of(
        (source, []),
        kernelspec={"name": _NAME, "display_name": "Python 3", "language": "python"},
        title=" · ".join(filter(None, [name, f"{network_title(network)} explorer"])),
        loading="Loading TensorFlow and computing all layers of "
        f"{'a sample photograph' if name is None else name} …",
    )


def _voila(notebook: Path, settings: dict[str, Any]) -> Any:
    from traitlets.config import Config
    from voila.app import Voila

    server: Any = Voila(config=Config(settings))
    server.initialize([str(notebook)])
    return server


def _settings(port: int, theme: str, token: str) -> dict[str, Any]:
    return {
        "Voila": {
            "ip": ADDRESS,
            "port": port,
            "port_retries": 0,
            "token": token,
            "open_browser": False,
            "log_level": "ERROR",
            # Read neither the user's settings nor a voila.py in the current folder.
            "config_file_paths": [],
            # With jupyter_server's default, tornado would warn that the timeout exceeds the
            # interval.
            "tornado_settings": {
                "websocket_max_message_size": _UPLOAD_BYTES,
                "ws_ping_timeout": 30_000,
                "headers": {"Content-Security-Policy": _CONTENT_POLICY},
            },
        },
        "VoilaConfiguration": {
            "template": _NAME,
            "allow_template_override": "NO",
            "theme": theme,
            "extension_allowlist": _EXTENSIONS,
            "prelaunch_hook": _read_token,
        },
        "VoilaExecutor": {
            "cell_error_instruction": "See the terminal in which vgg-widget runs for details."
        },
        "MappingKernelManager": {
            "cull_idle_timeout": IDLE_SECONDS,
            "cull_interval": _CHECK_SECONDS,
        },
    }


def _read_token(request: Any, **_: object) -> None:
    """Set the XSRF protection cookie, as a side effect of reading the token.

    A page asks the server to end its kernel when it is closed. Without this cookie, which Voila's
    handler does not set, the request is refused.
    """
    _ = request.xsrf_token


def _environment(folder: Path) -> dict[str, str]:
    """Write the page's template and kernel spec; return the environment that locates them."""
    # Use this Python, whatever kernels are installed, and silence its message about local
    # connections.
    kernel = {
        "argv": [
            *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            "--IPKernelApp.log_level=ERROR",
        ],
        "display_name": "Python 3",
        "language": "python",
    }
    template = folder / "data" / "voila" / "templates" / _NAME
    template.mkdir(parents=True)
    for file in files("vgg_widget.cli").joinpath("template").iterdir():
        (template / file.name).write_bytes(file.read_bytes())
    kernels = folder / "data" / "kernels" / _NAME
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    paths = [str(folder / "data"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {"JUPYTER_CONFIG_DIR": str(folder), "JUPYTER_PATH": os.pathsep.join(paths)}

"""Start and stop the notebook servers that the browser tests open."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FrontEnd = Literal["lab", "notebook", "voila"]

START_SECONDS = 90.0
STOP_SECONDS = 10.0
LOG_LINES = 40

# Folders for Jupyter's state, so that none of the user's files are read or written.
FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
    "MPLCONFIGDIR": "matplotlib",
    "KERAS_HOME": "keras",
}
# Weights cannot be downloaded, as on a machine without internet: nothing listens on the discard
# port.
KERNEL_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "VGG_WIDGET_WEIGHTS_URL": "http://127.0.0.1:9/vgg19",
}
# The announcements extension opens a dialog over the notebook on the first start. The others come
# with the grading tools of the course assignment, which students do not have.
DISABLED_EXTENSIONS = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyter/nbgrader",
    "ipylab",
    "jupyterlab-jupytext",
)
DISABLED_SERVER_EXTENSIONS = (
    "jupyterlab_jupytext",
    *(
        f"nbgrader.server_extensions.{name}"
        for name in ("assignment_list", "course_list", "formgrader", "validate_assignment")
    ),
)


@dataclass(frozen=True)
class Server:
    """A running notebook server."""

    front_end: FrontEnd
    url: str
    token: str
    notebooks: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """The port of its `url`."""
        return int(self.url.rpartition(":")[2])

    def notebook_url(self, name: str) -> str:
        """Return the URL that opens the notebook `name`."""
        place = {"lab": "lab/tree", "notebook": "notebooks", "voila": "voila/render"}
        query = "reset&" if self.front_end == "lab" else ""
        return f"{self.url}/{place[self.front_end]}/{name}?{query}token={self.token}"

    def end_kernel(self, kernel: str) -> None:
        """Shut down the kernel with this id, to free its memory before the next test."""
        request = urllib.request.Request(
            f"{self.url}/api/kernels/{kernel}",
            method="DELETE",
            headers={"Authorization": f"token {self.token}"},
        )
        urllib.request.urlopen(request, timeout=30).close()

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def stop(self) -> None:
        """Stop the server and the kernels it started."""
        _end(self.process)


def start_server(
    front_end: FrontEnd, home: Path, settings: Mapping[str, Mapping[str, object]] | None = None
) -> Server:
    """Start a server on 127.0.0.1 and return it once it answers.

    Parameters
    ----------
    front_end
        JupyterLab, Jupyter Notebook or Voila.
    home
        An empty folder for the server's state, notebooks and log.
    settings
        JupyterLab settings by plugin, such as ``@jupyterlab/apputils-extension:kernels-settings``.

    Raises
    ------
    RuntimeError
        If the server exits or does not answer in time; the message contains the end of its log.
    """
    notebooks, log = home / "notebooks", home / "server.log"
    notebooks.mkdir(parents=True)
    token, port = secrets.token_hex(16), _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(front_end, notebooks, port, token),
            cwd=notebooks,
            env=_environment(home, settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(front_end, f"http://127.0.0.1:{port}", token, notebooks, log, process)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _command(front_end: FrontEnd, notebooks: Path, port: int, token: str) -> list[str]:
    python = [sys.executable, "-m"]
    if front_end == "voila":
        address = [f"--token={token}", "--Voila.ip=127.0.0.1", f"--Voila.port={port}"]
        options = ["--no-browser", "--show_tracebacks=True"]
        return [*python, "voila", *options, *address, str(notebooks)]
    app = "LabApp" if front_end == "lab" else "JupyterNotebookApp"
    return [
        *python,
        "jupyterlab" if front_end == "lab" else "notebook",
        "--no-browser",
        "--allow-root",
        f"--ServerApp.root_dir={notebooks}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--{app}.expose_app_in_browser=True",
        # Do not contact other machines or start language servers, which no test needs.
        "--LabApp.extension_manager=readonly",
        "--LanguageServerManager.autodetect=False",
        "--log-level=WARN",
    ]


def _environment(home: Path, settings: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Create the server's folders and settings, and return its environment."""
    folders = {name: home / folder for name, folder in FOLDERS.items()}
    for folder in folders.values():
        folder.mkdir()
    _write(
        folders["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json",
        {"disabledExtensions": dict.fromkeys(DISABLED_EXTENSIONS, True)},
    )
    _write(
        folders["JUPYTER_CONFIG_DIR"] / "jupyter_server_config.json",
        {"ServerApp": {"jpserver_extensions": dict.fromkeys(DISABLED_SERVER_EXTENSIONS, False)}},
    )
    for plugin, values in settings.items():
        package, name = plugin.split(":")
        place = folders["JUPYTERLAB_SETTINGS_DIR"] / package / f"{name}.jupyterlab-settings"
        _write(place, values)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON", "MPL"))
    }
    return inherited | {name: str(folder) for name, folder in folders.items()} | KERNEL_ENVIRONMENT


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(server: Server) -> None:
    """Wait until the server answers; raise if it exits or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{server.url}/?token={server.token}", timeout=5).close()
        except urllib.error.HTTPError:
            return  # An HTTP error is an answer, too.
        except OSError:
            pass
        else:
            return
        code = server.process.poll()
        if code is not None or time.monotonic() > deadline:
            end = f"ended with code {code}" if code is not None else "did not answer in time"
            raise RuntimeError(f"The {server.front_end} server {end}:\n{server.log_tail()}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a server that leads its own session, and the kernels it started."""
    if sys.platform == "win32":
        process.terminate()
        process.wait(STOP_SECONDS)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue

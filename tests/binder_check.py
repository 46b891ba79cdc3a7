"""Build and try the Binder image as far as possible without a container: `make binder-check`.

repo2docker generates the Dockerfile that mybinder.org would build from the repository. The steps of
the Dockerfile that come from this repository run here in a new virtual environment, on top of the
Jupyter releases that repo2docker installs first. JupyterLab of that environment opens the notebook
of the README's badge, and a browser runs it, while the memory of server and kernel is measured.

This is a script and not a test, because it takes some minutes, needs the package registry, and each
step depends on the one before. `test_binder.py` checks what needs no build.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.chromium import ensure_chromium
from tests.browser.desk import ARGUMENTS
from tests.browser.page import NotebookPage
from tests.browser.server import Server, _free_port, _wait
from tests.weights_server import Mirror
from vgg_widget.weights import imagenet
from vgg_widget.weights.remote import ADDRESS_VARIABLE

ROOT = Path(__file__).parents[1]
QUICKSTART = "notebooks/01-quickstart.ipynb"
CELL = """
from vgg_widget import LayerExplorer, sample_image

explorer = LayerExplorer(sample_image())
explorer
"""
UNREACHABLE = "http://127.0.0.1:9/nobody"
# 1 GB as counted by JupyterHub, which sets Binder's limits.
LIMIT_BYTES = 2**30
SAMPLE_SECONDS = 0.05
STEP_SECONDS = 1800
NOTIFICATIONS = "@jupyterlab/apputils-extension:notification"

# Conda packages that have another name on PyPI. A part of a package has the package's version.
PIP_NAMES = {
    "jupyterhub-base": "jupyterhub",
    "jupyterhub-singleuser": "jupyterhub",
    "nbconvert-core": "nbconvert",
    "python-fastjsonschema": "fastjsonschema",
}


def main() -> None:
    """Run all steps, and stop at the first that fails."""
    with tempfile.TemporaryDirectory(prefix="vgg-widget-binder-") as name:
        folder = Path(name)
        tree = _checked_out(folder / "repository")
        dockerfile = _dockerfile(tree)
        python, steps = _python_version(dockerfile), _repository_steps(dockerfile)
        print(f"The Dockerfile uses Python {python} and runs from here: {'; '.join(steps)}")
        prefix = folder / "environment"
        _base_environment(prefix, python)
        before = _installed(prefix)
        home = folder / "home"
        home.mkdir()
        environment = _environment(prefix, home)
        for step in steps:
            said = _run(
                ["bash", "-c", step], cwd=tree, env=environment | {ADDRESS_VARIABLE: UNREACHABLE}
            )
        _check_installed(before, _installed(prefix))
        assert "continuing without ImageNet's weights" in said, said
        assert "the explorer works, with k-means filters" in said, said
        print("postBuild succeeds, and says so, if the weights cannot be downloaded")
        _check_bad_mirror(tree, environment, home)
        _drop_cached_files(prefix)
        peaks = _try_quickstart(folder, tree, prefix, environment)
    for name, peak in peaks.items():
        print(f"Memory of server and kernel with {name}: {peak}")
    assert max(peak.total for peak in peaks.values()) < LIMIT_BYTES, "Binder's 1 GB is not enough"


def _run(command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output; if it fails, print the output and exit."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(command)} failed with code {done.returncode}")
    return done.stdout


def _checked_out(tree: Path) -> Path:
    """Copy all files that git does not ignore, with uncommitted changes; return the folder."""
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def _dockerfile(tree: Path) -> str:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug"]
    return _run([*command, "--user-name", "jovyan", "--user-id", "1000", str(tree)])


def _python_version(dockerfile: str) -> str:
    """Return the Python version that repo2docker uses, such as ``"3.11"``."""
    found = re.search(r"Building conda environment for python=([0-9.]+)", dockerfile)
    assert found, dockerfile
    asked = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert asked == f"python-{found[1]}", f"{asked} became {found[1]}"
    return found[1]


def _repository_steps(dockerfile: str) -> list[str]:
    """Return the commands that the Dockerfile runs because of this repository, in order."""
    _, mark, rest = dockerfile.partition("# Run pre-assemble scripts!")
    assert mark, dockerfile
    steps = [line.removeprefix("RUN ") for line in rest.splitlines() if line.startswith("RUN ")]
    assert len([step for step in steps if "binder/requirements.txt" in step]) == 1, steps
    assert steps[-1] == "./binder/postBuild", steps
    return steps


def _base_environment(prefix: Path, python: str) -> None:
    """Make a virtual environment with the packages that repo2docker installs first.

    repo2docker installs them with conda; here pip installs the same releases.
    """
    interpreter = shutil.which(f"python{python}") or sys.executable
    have = _run([interpreter, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]).strip()
    if have != python:
        sys.exit(f"Binder uses Python {python}, not {have} as here: install python{python}.")
    found = importlib.util.find_spec("repo2docker.buildpacks.conda")
    assert found is not None
    assert found.origin is not None
    recipes = Path(found.origin).parent
    asked = (recipes / f"environment.py-{python}.yml").read_text(encoding="utf-8")
    names = set(re.findall(r"^- ([\w-]+)", asked, re.MULTILINE)) - {
        "conda-forge",
        "nodejs",
        "python",
    }
    lock = (recipes / f"environment.py-{python}-linux-64.lock").read_text(encoding="utf-8")
    files = re.findall(r"/([a-z][\w.-]*)-([0-9][0-9.]*)-[^-/]+\.(?:conda|tar\.bz2)", lock)
    releases = {PIP_NAMES.get(name, name): version for name, version in files}
    constraints = prefix.with_name("constraints.txt")
    lines = [f"{name}=={version}" for name, version in releases.items()]
    constraints.write_text("\n".join(lines), encoding="utf-8")
    _run([interpreter, "-m", "venv", str(prefix)])
    install = [str(prefix / "bin" / "python"), "-m", "pip", "install", "-c", str(constraints)]
    _run([*install, *sorted(PIP_NAMES.get(name, name) for name in names)])
    print(f"Base: JupyterLab {releases['jupyterlab']}, ipywidgets {releases['ipywidgets']}")


def _installed(prefix: Path) -> dict[str, str]:
    command = [str(prefix / "bin" / "python"), "-m", "pip", "list", "--format", "json"]
    listed = json.loads(_run(command, env={**os.environ, "PIP_NO_INPUT": "1"}))
    return {package["name"].lower(): package["version"] for package in listed}


def _check_installed(before: dict[str, str], after: dict[str, str]) -> None:
    """Assert that no installed package changed, and that TensorFlow is tensorflow-cpu."""
    changed = {name: after.get(name) for name in before if after.get(name) != before[name]}
    assert not changed, f"binder/requirements.txt changed what repo2docker had installed: {changed}"
    names = {name.replace("_", "-") for name in after}
    assert {"tensorflow-cpu", "vgg-widget"} <= names
    assert "tensorflow" not in names


def _environment(prefix: Path, home: Path) -> dict[str, str]:
    """Return the variables that the Dockerfile sets, with a separate home folder."""
    kept = ("PIP_", "SSL_", "REQUESTS_", "LANG", "LC_", "http_proxy", "https_proxy", "no_proxy")
    inherited = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    return inherited | {
        "HOME": str(home),
        "KERNEL_PYTHON_PREFIX": str(prefix),
        "NB_PYTHON_PREFIX": str(prefix),
        "PATH": f"{prefix / 'bin'}:/usr/bin:/bin",
    }


def _check_bad_mirror(tree: Path, environment: dict[str, str], home: Path) -> None:
    """Assert that postBuild requests the weights, and keeps no file with a wrong hash."""
    with Mirror() as mirror:
        variables = {ADDRESS_VARIABLE: mirror.url, "no_proxy": "127.0.0.1"}
        said = _run(["./binder/postBuild"], cwd=tree, env=environment | variables)
    assert f"/models/{imagenet.IMAGENET['vgg19'].name}" in mirror.requests
    assert "its hash differs" in said, said
    assert not list((home / ".keras").rglob("*.h5"))
    print("postBuild requests ImageNet's weights, and keeps no file with a wrong hash")


def _drop_cached_files(prefix: Path) -> None:
    """Drop the environment's files, which have just been written, from the page cache.

    A process maps more pages of a library that is still in the cache than of one that is read when
    needed, as in an image built elsewhere. For TensorFlow the difference is 100 MB.
    """
    for path in prefix.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _try_quickstart(
    folder: Path, tree: Path, prefix: Path, environment: dict[str, str]
) -> dict[str, Peak]:
    """Run the explorer's cell, then the whole notebook; return the peak memory of each."""
    peaks: dict[str, Peak] = {}
    with (
        _jupyterlab(folder, tree, prefix, environment) as server,
        sync_playwright() as playwright,
    ):
        settings = _ask(server, f"lab/api/settings/{NOTIFICATIONS}")["schema"]["properties"]
        assert settings["fetchNews"]["default"] == "false"
        assert settings["checkForUpdates"]["default"] is False
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=ensure_chromium(), headless=False, args=ARGUMENTS
        )
        for name, content in (("the explorer", [CELL]), ("the notebook", tree / QUICKSTART)):
            with _memory_of(server.process.pid) as peaks[name]:
                page = NotebookPage(context.new_page(), server)
                page.show(f"{name.split()[-1]}.ipynb", content)
                # Neither news nor any other dialog may cover the notebook.
                assert page.page.locator(".jp-Dialog, .Toastify__toast").count() == 0
                page.run_all()
                assert not page.errors(stderr=False), page.errors(stderr=False)
                page.wait_picture_equal("explorer.canvas")
                assert page.ask("explorer.extractor.weights.source") == "kmeans"
                page.close()
        context.close()
    print("JupyterLab runs the quickstart, and the page shows the kernel's picture")
    return peaks


@contextmanager
def _jupyterlab(
    folder: Path, tree: Path, prefix: Path, environment: dict[str, str]
) -> Iterator[Server]:
    token, port, log = secrets.token_hex(16), _free_port(), folder / "server.log"
    command = [
        str(prefix / "bin" / "jupyter-lab"),
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=tree / "notebooks",
            env=environment | {ADDRESS_VARIABLE: UNREACHABLE, "CUDA_VISIBLE_DEVICES": "-1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server("lab", f"http://127.0.0.1:{port}", token, tree / "notebooks", log, process)
    try:
        _wait(server)
        yield server
    finally:
        server.stop()


def _ask(server: Server, path: str) -> Any:
    headers = {"Authorization": f"token {server.token}"}
    request = urllib.request.Request(f"{server.url}/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@dataclass
class Peak:
    """The peak memory of the server and all processes below it, in bytes.

    `total` is what JupyterLab shows on Binder: each process's own pages, and its share of the pages
    that several processes map (Pss). It includes pages of files, mostly TensorFlow's code, which
    the system drops before it kills a process for lack of memory. `own` is the rest.
    """

    total: int = 0
    own: int = 0
    kernel: int = 0

    def __str__(self) -> str:
        total, own, kernel = (
            f"{number / 1e6:.0f} MB" for number in (self.total, self.own, self.kernel)
        )
        return f"{total}, of which {kernel} in the kernel; {own} without pages of files"


@contextmanager
def _memory_of(server: int) -> Iterator[Peak]:
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            found = [_pages(number) for number in (server, *_descendants(server))]
            totals = [own + files for own, files in found]
            peak.total = max(peak.total, sum(totals))
            peak.own = max(peak.own, sum(own for own, _ in found))
            peak.kernel = max(peak.kernel, *totals[1:], 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _pages(process: int) -> tuple[int, int]:
    """Return a process's own bytes and its share of file pages; zeros if it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    found = re.findall(r"^Pss_(Anon|File|Shmem): +(\d+) kB", text, re.MULTILINE)
    kilobytes = {name: int(number) for name, number in found}
    own = kilobytes.get("Anon", 0) + kilobytes.get("Shmem", 0)
    return 1024 * own, 1024 * kilobytes.get("File", 0)


def _descendants(process: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            numbers = [int(number) for number in children.read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for number in numbers:
            found += [number, *_descendants(number)]
    return found


if __name__ == "__main__":
    main()

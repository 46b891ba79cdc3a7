"""Find a Chromium for the browser tests, or install one: `python tests/browser/chromium.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = ("Chromium.app/Contents/MacOS/Chromium", "Google Chrome.app/Contents/MacOS/Google Chrome")
WINDOWS = ("Chromium/Application/chrome.exe", "Google/Chrome/Application/chrome.exe")
INSTALL_SECONDS = 900

ASK_PLAYWRIGHT = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
)
ADVICE = (
    "No Chromium was found and none could be installed: install Chromium or Google Chrome "
    "(on Debian `apt-get install chromium`) so that it is on the PATH."
)


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome that runs, or None."""
    return next((path for path in _candidates() if _runs(path)), None)


def ensure_chromium() -> str:
    """Return the path of a Chromium; install one if none is found.

    Raises
    ------
    RuntimeError
        If none is found and none can be installed; the message says what to do.
    """
    if path := find_chromium():
        return path
    for commands in (_playwright(), _apt("chromium")):
        # Only the last command must succeed: a failed `update` may still leave usable lists.
        if any([_succeeds(command) for command in commands][-1:]) and (path := find_chromium()):
            return path
    raise RuntimeError(ADVICE)


def _candidates() -> Iterator[str]:
    """Yield paths at which Chromium may be installed, those that are cheap to find first."""
    yield from filter(None, map(shutil.which, NAMES))
    places: list[Path] = []
    if sys.platform == "darwin":
        roots = [Path("/Applications"), Path.home() / "Applications"]
        places = [root / name for root in roots for name in MAC]
    elif sys.platform == "win32":
        variables = ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData")
        roots = [Path(os.environ[name]) for name in variables if name in os.environ]
        places = [root / name for root in roots for name in WINDOWS]
    yield from (str(place) for place in places if place.is_file())
    # In a separate process: Playwright's sync API cannot be started twice in one process.
    answer = subprocess.run(
        [sys.executable, "-c", ASK_PLAYWRIGHT], capture_output=True, text=True, check=False
    )
    if (bundled := answer.stdout.strip()) and Path(bundled).is_file():
        yield bundled


def _runs(path: str) -> bool:
    """Return whether the program at `path` starts."""
    # On Windows `--version` opens a window. Elsewhere it fails for a stub that only
    # recommends another package, and for a browser that lacks system libraries.
    return sys.platform == "win32" or _succeeds([path, "--version"], quiet=True)


def _playwright() -> list[list[str]]:
    """Return the command that installs Playwright's own Chromium."""
    return [[sys.executable, "-m", "playwright", "install", "chromium"]]


def _apt(package: str) -> list[list[str]]:
    """Return the commands that install a Debian package, or none if apt cannot be used."""
    if not shutil.which("apt-get"):
        return []
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not root and not shutil.which("sudo"):
        return []
    apt = [*([] if root else ["sudo", "-n"]), "apt-get"]
    return [[*apt, "update"], [*apt, "install", "-y", package]]


def _succeeds(command: list[str], *, quiet: bool = False) -> bool:
    """Return whether a command succeeds; its output goes to stderr unless `quiet`."""
    output = subprocess.DEVNULL if quiet else sys.stderr
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        print(ensure_chromium())
    except RuntimeError as error:
        sys.exit(str(error))

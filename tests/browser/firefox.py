"""Find or install Firefox (`python -m tests.browser.firefox`), and start it for the tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser.chromium import _apt, _runs, _succeeds

NAMES = ("firefox-esr", "firefox")
MAC = Path("/Applications/Firefox.app/Contents/MacOS/firefox")
START_SECONDS = 90.0
STOP_SECONDS = 20.0
# The limit for a script in the page, such as a request to a kernel that is loading TensorFlow.
SCRIPT_SECONDS = 300.0

ADVICE = (
    "No Firefox was found and none could be installed: install Firefox "
    "(on Debian `apt-get install firefox-esr`) so that it is on the PATH."
)
NO_DRIVER = (
    "Firefox's driver is not installed: run `make firefox` or "
    "`pip install --editable '.[firefox]'`."
)

# The driver's own defaults already turn off updates, telemetry, safe browsing and the like.
PREFERENCES: dict[str, object] = {
    "marionette.port": 0,
    # With this protection, a page that reads its canvas's pixels gets noise.
    "privacy.resistFingerprinting": False,
    # Requests to other machines go to a proxy at the discard port, where nothing listens.
    "network.proxy.type": 1,
    **{
        f"network.proxy.{kind}{what}": value
        for kind in ("http", "ssl", "socks")
        for what, value in (("", "127.0.0.1"), ("_port", 9))
    },
    "network.dns.disabled": True,
    "messaging-system.rsexperimentloader.enabled": False,
    "services.settings.server": "data:,",
    # Write the messages that a page logs and the errors that it throws to the browser's output.
    "devtools.console.stdout.content": True,
    "devtools.console.stdout.chrome": False,
    "browser.dom.window.dump.enabled": True,
}
# Skips messages of Firefox's own components, whose first line has only the component's name, as in
# "console.error: RSLoader: ".
_COMPLAINT = re.compile(
    r"console\.error: (?!\w+: *$)(.*)|JavaScript error: (?:http|file:)[^ ]*, line \d+: (.*)"
)


def find_firefox() -> str | None:
    """Return the path of a Firefox that runs, or None."""
    return next((path for path in _candidates() if _runs(path)), None)


def ensure_firefox() -> str:
    """Return the path of a Firefox; install one if none is found.

    Raises
    ------
    RuntimeError
        If none is found and none can be installed; the message says what to do.
    """
    if path := find_firefox():
        return path
    # Only the last command must succeed: a failed `update` may still leave usable lists.
    succeeded = [_succeeds(command) for command in _apt("firefox-esr")]
    if any(succeeded[-1:]) and (path := find_firefox()):
        return path
    raise RuntimeError(ADVICE)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    if MAC.is_file():
        yield str(MAC)


class Firefox:
    """A headless Firefox with a new profile and without access to other machines.

    Parameters
    ----------
    path
        The path of the executable.
    home
        An empty folder for its profile and its log.
    viewport
        Width and height of its pages, in pixels.
    """

    def __init__(self, path: str, home: Path, viewport: tuple[int, int]) -> None:
        # Imported here because no other test needs the driver. Its dependencies emit
        # deprecation warnings.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from marionette_driver.marionette import Marionette

        profile, self._log = home / "profile", home / "firefox.log"
        profile.mkdir(parents=True)
        preferences = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in PREFERENCES.items()
        )
        (profile / "user.js").write_text("".join(preferences), encoding="utf-8")
        # System access lets the driver use the browser's own windows, for example resize them.
        options = ["--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [path, *options, "--profile", str(profile)],
                env=os.environ | {"HOME": str(home), "MOZ_CRASHREPORTER_DISABLE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.driver: Any = Marionette(port=self._port(profile))
            self.driver.start_session()
            self.driver.timeout.script = SCRIPT_SECONDS
            self._resize(*viewport)
        except BaseException:
            self.stop()
            raise

    def complaints(self) -> list[str]:
        """Return the errors that pages have logged or thrown so far."""
        found = map(_COMPLAINT.match, self._lines())
        return [match[1] or f"pageerror: {match[2]}" for match in found if match]

    def stop(self) -> None:
        """Stop the browser."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def _port(self, profile: Path) -> int:
        """Wait until Firefox listens for the driver, and return the port."""
        file, deadline = profile / "MarionetteActivePort", time.monotonic() + START_SECONDS
        while not (file.is_file() and (text := file.read_text(encoding="utf-8"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Firefox did not start:\n" + "\n".join(self._lines()[-40:]))
            time.sleep(0.1)
        return int(text)

    def _resize(self, width: int, height: int) -> None:
        """Resize the window so that its pages have this size."""
        edges = self.driver.execute_script(
            "return [outerWidth - innerWidth, outerHeight - innerHeight]"
        )
        self.driver.set_window_rect(width=width + edges[0], height=height + edges[1])


if __name__ == "__main__":
    try:
        print(ensure_firefox())
    except RuntimeError as error:
        sys.exit(str(error))

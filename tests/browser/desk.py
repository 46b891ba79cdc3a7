"""A front end that can open notebooks: its server, its browser and its usual console errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from playwright.sync_api import BrowserContext, Playwright

from .page import NotebookPage, VoilaPage
from .relay import Relay
from .server import FrontEnd, start_server

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    # Voila loads fonts from the internet: without DNS, the page is the same on every machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
Viewport = tuple[int, int]
VIEWPORT = (1280, 900)


def launch(playwright: Playwright, chromium: str, profile: Path) -> BrowserContext:
    """Start a Chromium with its own profile and without access to other machines."""
    return playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium, headless=False, args=ARGUMENTS
    )


class OpenNotebook(Protocol):
    """The function that the fixture of a front end returns."""

    def __call__(
        self,
        *cells: str,
        file: Path | None = None,
        viewport: Viewport = VIEWPORT,
        run: bool = True,
        allow_errors: bool = False,
        fresh: bool = False,
    ) -> NotebookPage:
        """Open a notebook with these cells, or a copy of `file`, and `run` it.

        A cell that raises fails the test, unless `allow_errors`. The page and its kernel may be
        reused from another test, unless `fresh`. Tests that change the page itself, its scripts
        or its styles need a fresh page.
        """


class Desk:
    """One front end with its own browser.

    Parameters
    ----------
    front_end
        JupyterLab, Jupyter Notebook or Voila.
    home
        An empty folder for the files of the server and the browser.
    playwright
        A started Playwright.
    chromium
        The path of a Chromium.
    settings
        JupyterLab settings by plugin, for `start_server`.
    road
        Creates a relay to the server's port; the browser then connects through the relay.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        home: Path,
        playwright: Playwright,
        chromium: str,
        settings: Mapping[str, Mapping[str, object]] | None = None,
        *,
        road: Callable[[int], Relay] | None = None,
    ) -> None:
        self.baseline: list[str] = []
        """The console errors that a front end logs for any notebook.

        Notebook 7 cannot read ``schema`` of undefined (in Firefox: ``t.plugins[W.id] is
        undefined``); Voila cannot find a federated module.
        """
        self.context: BrowserContext | None = None
        self.free: NotebookPage | None = None
        """A page left open by a finished test, for the next test to reuse."""
        self.relay: Relay | None = None
        self.server = start_server(front_end, home / "server", settings)
        try:
            if road is not None:
                self.relay = road(self.server.port)
                self.relay.start()
                self.server = replace(self.server, url=self.relay.url)
            # Cookies ignore ports: in a shared browser, each server would get the others' cookies.
            self.context = launch(playwright, chromium, home / "profile")
            page = self.open()
            page.show("baseline.ipynb", ["1 + 1"])
            page.run_all()
            self.baseline = page.console_errors()
            page.close()
        except BaseException:
            self.leave()
            raise

    def open(self, viewport: Viewport = VIEWPORT) -> NotebookPage:
        """Return a new, empty page."""
        kind = VoilaPage if self.server.front_end == "voila" else NotebookPage
        assert self.context is not None
        page = self.context.new_page()
        page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
        return kind(page, self.server, self.baseline)

    def turn(self, cells: Sequence[str], viewport: Viewport) -> NotebookPage | None:
        """Show cells on the free page and return it, or return None if no page is free."""
        page, self.free = self.free, None
        if page is not None:
            page.page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
            page.turn(cells)
        return page

    def leave(self) -> None:
        """Close the browser, and stop the relay and the server."""
        try:
            if self.context:
                self.context.close()
        finally:
            if self.relay:
                self.relay.stop()
            self.server.stop()

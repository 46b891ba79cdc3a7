"""A front end ready to open notebooks: its server, its browser and its console's baseline."""

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
    # Voila fetches fonts from afar: with and without a network a test sees the same page.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
Viewport = tuple[int, int]
VIEWPORT = (1280, 900)


def launch(playwright: Playwright, chromium: str, profile: Path) -> BrowserContext:
    """Start a Chromium with a profile of its own, which sees this machine alone."""
    return playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium, headless=False, args=ARGUMENTS
    )


class OpenNotebook(Protocol):
    """What a front end's fixture gives to a test."""

    def __call__(
        self,
        *cells: str,
        file: Path | None = None,
        viewport: Viewport = VIEWPORT,
        run: bool = True,
        allow_errors: bool = False,
        fresh: bool = False,
    ) -> NotebookPage:
        """Open a notebook of these cells, or a copy of `file`, and run it.

        A cell that raises fails the test, unless `allow_errors`. The page and its kernel may have
        served another test before, unless `fresh`: which a test needs that changes the page
        itself, its scripts or its styles.
        """


class Desk:
    """One front end with a browser of its own.

    Parameters
    ----------
    front_end
        JupyterLab, Jupyter Notebook or Voila.
    home
        A fresh folder for what server and browser write.
    playwright
        Playwright, started.
    chromium
        The path of a Chromium.
    settings
        JupyterLab settings by plugin, for `start_server`.
    road
        Makes a relay to the server's port, through which the browser then reaches the server.
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
        """The console errors of a notebook that does nothing.

        Notebook 7 cannot read ``schema`` of undefined, which Firefox words as ``t.plugins[W.id] is
        undefined``; Voila fails to find a federated module.
        """
        self.context: BrowserContext | None = None
        self.free: NotebookPage | None = None
        """A page whose test is over, for the next one."""
        self.relay: Relay | None = None
        self.server = start_server(front_end, home / "server", settings)
        try:
            if road is not None:
                self.relay = road(self.server.port)
                self.relay.start()
                self.server = replace(self.server, url=self.relay.url)
            # Cookies know no port: with one browser for all, a server would get another's.
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
        """Open an empty page."""
        kind = VoilaPage if self.server.front_end == "voila" else NotebookPage
        assert self.context is not None
        page = self.context.new_page()
        page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
        return kind(page, self.server, self.baseline)

    def turn(self, cells: Sequence[str], viewport: Viewport) -> NotebookPage | None:
        """Show cells on the page that is free, or return None where none is."""
        page, self.free = self.free, None
        if page is not None:
            page.page.set_viewport_size({"width": viewport[0], "height": viewport[1]})
            page.turn(cells)
        return page

    def leave(self) -> None:
        """Close the browser and end the server."""
        try:
            if self.context:
                self.context.close()
        finally:
            if self.relay:
                self.relay.stop()
            self.server.stop()

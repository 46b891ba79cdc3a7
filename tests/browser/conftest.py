"""Fixtures that open notebooks in JupyterLab, Jupyter Notebook and Voila.

``lab``, ``notebook7`` and ``voila`` each return a function that opens a notebook with the given
cells and runs it. ``front_end`` is parametrized over these three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from .chromium import ADVICE, find_chromium
from .desk import VIEWPORT, Desk, OpenNotebook, Viewport
from .page import SCREENSHOTS, NotebookPage
from .server import FrontEnd

FAILED = pytest.StashKey[bool]()
Desks = Callable[[FrontEnd], Desk]


# Not session-scoped: while Playwright is running, `asyncio.run` fails in all other tests.
@pytest.fixture(scope="package")
def chromium() -> Iterator[tuple[Playwright, str]]:
    """Start Playwright; yield it and the path of a Chromium."""
    path = find_chromium()
    if path is None:
        pytest.fail(ADVICE)
    with sync_playwright() as playwright:
        yield playwright, path


@pytest.fixture(scope="package")
def desks(
    chromium: tuple[Playwright, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desks]:
    """Yield a function that returns the `Desk` of a front end and starts it on first use."""
    ready: dict[FrontEnd, Desk] = {}

    def desk(front_end: FrontEnd) -> Desk:
        if front_end not in ready:
            ready[front_end] = Desk(front_end, tmp_path_factory.mktemp(front_end), *chromium)
        return ready[front_end]

    yield desk
    for each in ready.values():
        each.leave()


def _opener(
    front_end: FrontEnd, desks: Desks, request: pytest.FixtureRequest
) -> Iterator[OpenNotebook]:
    desk = desks(front_end)
    test = re.sub(r"\W+", "-", request.node.name).strip("-")
    opened: list[NotebookPage] = []
    reusable: list[NotebookPage] = []

    def open_notebook(
        *cells: str,
        file: Path | None = None,
        viewport: Viewport = VIEWPORT,
        run: bool = True,
        allow_errors: bool = False,
        fresh: bool = False,
    ) -> NotebookPage:
        # Voila runs a notebook only when it is opened.
        fresh = fresh or file is not None or front_end == "voila"
        page = None if fresh else desk.turn(cells, viewport)
        if page is None:
            page = desk.open(viewport)
            page.show(f"{test}-{len(opened) + 1}.ipynb", file or cells)
        opened.append(page)
        if not fresh:
            reusable.append(page)
        if run:
            page.run_all()
            if not allow_errors and (errors := page.errors(stderr=False)):
                pytest.fail(f"The notebook's cells raised: {errors}")
        return page

    yield open_notebook
    failed = request.node.stash.get(FAILED, False)
    for number, page in enumerate(opened, start=1):
        if page in reusable and desk.free is None and not failed:
            desk.free = page
            continue
        try:
            if failed:
                _keep(page, f"{test}-{front_end}-{number}")
        finally:
            page.close()


def _keep(page: NotebookPage, name: str) -> None:
    """Save a screenshot, the console and the server's log, to explain a failure."""
    log = [*page.console, "", "--- server", page.server.log_tail()]
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / f"{name}.log").write_text("\n".join(log), encoding="utf-8")
    page.screenshot(name)


@pytest.fixture
def lab(desks: Desks, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Open a notebook in JupyterLab."""
    yield from _opener("lab", desks, request)


@pytest.fixture
def notebook7(desks: Desks, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Open a notebook in Jupyter Notebook."""
    yield from _opener("notebook", desks, request)


@pytest.fixture
def voila(desks: Desks, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Open a notebook in Voila."""
    yield from _opener("voila", desks, request)


@pytest.fixture(
    params=[
        "lab",
        pytest.param("notebook7", marks=pytest.mark.slow),
        pytest.param("voila", marks=pytest.mark.slow),
    ]
)
def front_end(request: pytest.FixtureRequest) -> OpenNotebook:
    """Open a notebook in each front end in turn; without slow tests, only in JupyterLab."""
    opener: OpenNotebook = request.getfixturevalue(request.param)
    return opener


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record a failure for the teardown of the fixtures."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report

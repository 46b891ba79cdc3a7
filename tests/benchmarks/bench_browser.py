"""From a key to new pixels, and a dragged slider, in a real JupyterLab: four drawers in one page.

    python -m tests.benchmarks.bench_browser [--rounds 25] [--modes channel,max] [--no-drag]
                                             [--comms shell,subshell]

In a minute: ``--rounds 6 --modes channel --comms shell``.

Drawers take turns, so that whatever else the machine does meets all alike. In the mode `channel`
an arrow key moves the channel's slider; in the others another layer of the same block is chosen.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Playwright, sync_playwright

from tests.benchmarks import figures
from tests.benchmarks.figures import FOLDER, ROOT, Figure
from tests.benchmarks.targets import (
    GRID_BLOCK1,
    IMAGE,
    MODES,
    OURS,
    RAW,
    STOCK,
    SUBSHELL,
    drag,
    keys,
)
from tests.browser.chromium import ensure_chromium
from tests.browser.desk import Desk
from tests.browser.page import NotebookPage

DRAWERS = {"stock": STOCK, "explorer": OURS, "image": IMAGE, "raw": RAW}
"""What the page calls a drawer, and what the table does."""

# JupyterLab's own setting is a subshell of the kernel where there is one.
COMMS: dict[str, tuple[str, dict[str, dict[str, object]]]] = {
    "shell": (
        "",
        {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}},
    ),
    "subshell": (SUBSHELL, {}),
}
CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.benchmarks.drawers import Bench
bench = Bench()
bench.box
"""

WARM_UP = 3
STEP_SECONDS = 5.0
# Between two steps: the page answers the last frame, and a person lifts the finger.
PAUSE_MS = 100
DRAG_SECONDS, EVENTS_A_SECOND = 3.0, 60
# There, back, and nearly there again: it ends where every event is another channel.
SWEEP_SECONDS = 1.1


class StuckError(Exception):
    """A drawer did not answer; the message names it."""


@contextmanager
def at_most(seconds: float, doing: str) -> Iterator[None]:
    """Fail when a page does not answer, which Playwright waits for without end."""

    def stop(*_: object) -> None:
        raise StuckError(f"{doing}: the page has not answered for {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Error as error:
        raise StuckError(f"{doing}: {error.message}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Stage:
    """A page with the four drawers.

    Parameters
    ----------
    page
        A notebook page, with `latency.js` in it and all cells run.
    """

    def __init__(self, page: NotebookPage) -> None:
        self._notebook = page
        self._page = page.page

    def prepare(self, mode: str, layer: str) -> None:
        """Show a mode and layer in all drawers."""
        with at_most(30, f"preparing {mode}"):
            self._notebook.ask(f"bench.prepare({mode!r}, {layer!r})\nNone")
            self._quiet()

    def key(self, drawer: str, key: str) -> float:
        """Press a key on the channel's slider; return the milliseconds to new pixels."""
        self._page.locator(f".drawer-{drawer} .noUi-handle").first.focus()
        self._page.keyboard.press(key)
        return self._elapsed(drawer)

    def choose(self, drawer: str) -> float:
        """Choose the other layer; return the milliseconds to new pixels."""
        self._page.evaluate(f"latency.choose('{drawer}')")
        return self._elapsed(drawer)

    def drag(self, drawer: str) -> dict[str, Any]:
        """Drag the channel's slider; return how the drawer followed."""
        how = f"'{drawer}', {DRAG_SECONDS}, {EVENTS_A_SECOND}, {SWEEP_SECONDS}"
        self._page.evaluate(f"latency.drag({how})")
        self._quiet(still=900, limit=15_000)
        moves, frames = (self._page.evaluate(f"latency.{what}()") for what in ("moves", "frames"))
        shown = [frame["at"] for frame in frames if frame["drawer"] == drawer]
        during = [at for at in shown if moves[0] <= at <= moves[-1]]
        seconds = (moves[-1] - moves[0]) / 1000
        truth = self._notebook.ask(f"bench.truth({drawer!r})")
        picture = self._page.evaluate(f"latency.shown('{drawer}')")
        return {
            "events": len(moves) / seconds,
            "frames": len(during) / seconds,
            "after": max(0.0, (shown[-1] if shown else float("inf")) - moves[-1]),
            "right": all(picture[part] == value for part, value in truth.items()),
        }

    def pause(self) -> None:
        """Let the page come to rest."""
        self._page.wait_for_timeout(PAUSE_MS)

    def _quiet(self, still: int = 400, limit: int = 10_000) -> None:
        self._page.evaluate(f"latency.quiet({still}, {limit})")

    def _elapsed(self, drawer: str) -> float:
        return float(self._page.evaluate(f"latency.elapsed('{drawer}', {1000 * STEP_SECONDS})"))


def redraws(stage: Stage, mode: str, rounds: int, comms: str) -> Iterator[Figure]:
    """Measure key → new pixels, drawer after drawer, round after round."""
    block = "block1" if mode in ("channel", GRID_BLOCK1) else "block3"
    stage.prepare("grid" if mode == GRID_BLOCK1 else mode, f"{block}_conv1")
    times: dict[str, list[float]] = {drawer: [] for drawer in DRAWERS}
    for number in range(rounds + WARM_UP):
        for drawer, measured in times.items():
            with at_most(STEP_SECONDS + 10, f"{mode}, {DRAWERS[drawer]}, step {number}"):
                if mode == "channel":
                    key = "ArrowLeft" if number % 2 else "ArrowRight"
                    spent = stage.key(drawer, key)
                else:
                    spent = stage.choose(drawer)
                stage.pause()
            if number >= WARM_UP:
                measured.append(spent)
    medians = ", ".join(f"{DRAWERS[d]} {statistics.median(t):.0f}" for d, t in times.items())
    print(f"{mode}{comms}: {medians} ms", flush=True)
    for drawer, measured in times.items():
        yield Figure.of(keys(mode, comms), DRAWERS[drawer], measured, "ms")


def drags(stage: Stage, comms: str) -> Iterator[Figure]:
    """Measure how each drawer follows a slider that is dragged."""
    stage.prepare("channel", "block1_conv1")
    for drawer, name in DRAWERS.items():
        with at_most(60, f"drag, {name}"):
            found = stage.drag(drawer)
        print(
            f"drag{comms}, {name}: {found['frames']:.0f} frames/s, the last one "
            f"{found['after']:.0f} ms after the last event, right: {found['right']}",
            flush=True,
        )
        group = drag(comms)
        yield Figure(group, f"{name}: events", found["events"], "/s")
        yield Figure(group, f"{name}: frames", found["frames"], "/s")
        yield Figure(group, f"{name}: last event → last frame", found["after"], "ms")
        yield Figure(group, f"{name}: in the end the value's picture", float(found["right"]), "")


def measure(
    playwright: Playwright, chosen: argparse.Namespace, comms: str, modes: Sequence[str]
) -> Iterator[Figure]:
    """Start JupyterLab with one kind of comms, and measure what was chosen."""
    words, settings = COMMS[comms]
    with tempfile.TemporaryDirectory() as home:
        print(f"starting JupyterLab, comms over the {comms}", flush=True)
        desk = Desk("lab", Path(home), playwright, ensure_chromium(), settings)
        try:
            page = desk.open((1280, 2400))
            page.page.add_init_script(path=Path(__file__).with_name("latency.js"))
            page.show("bench.ipynb", [CELL])
            page.page.evaluate("latency.listenRaw()")
            page.run_all()
            if wrong := [*page.errors(), *page.console_errors()]:
                raise RuntimeError(f"the drawers' cell went wrong: {wrong}")
            stage = Stage(page)
            for mode in modes:
                yield from redraws(stage, mode, chosen.rounds, words)
            if chosen.drag:
                yield from drags(stage, words)
            page.close()
        finally:
            desk.leave()


def main() -> int:
    """Measure, print as it goes, and save."""
    assert __doc__ is not None
    every = (*MODES, GRID_BLOCK1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="steps of each drawer and mode")
    parser.add_argument("--modes", default=",".join(every), help="of: %(default)s")
    parser.add_argument("--comms", default="shell,subshell", help="of: %(default)s")
    parser.add_argument("--no-drag", dest="drag", action="store_false")
    parser.add_argument("--json", type=Path, default=FOLDER / "browser.json")
    chosen = parser.parse_args()
    modes, kinds = chosen.modes.split(","), chosen.comms.split(",")
    if unknown := (set(modes) - set(every)) | (set(kinds) - set(COMMS)):
        parser.error(f"{', '.join(sorted(unknown))}: choose modes of {every}, comms of {[*COMMS]}")
    found: list[Figure] = []
    try:
        with sync_playwright() as playwright:
            for comms in kinds:
                # The kinds differ in how a message is queued, whatever picture it asks for.
                some = modes if comms == "shell" else [m for m in modes if m == "channel"]
                found += measure(playwright, chosen, comms, some)
    finally:
        figures.save(found, chosen.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

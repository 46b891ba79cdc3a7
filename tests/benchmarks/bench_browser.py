"""Measure key → new pixels and a dragged slider, for four drawers in one JupyterLab page.

    python -m tests.benchmarks.bench_browser [--rounds 25] [--modes channel,max] [--no-drag]
                                             [--comms shell,subshell] [--places near,far]

A run of a few minutes: ``--rounds 6 --modes channel --comms shell``.

The drawers take turns, so that other load on the machine affects all of them alike. In the mode
`channel` an arrow key moves the channel's slider; in other modes another layer of the same block is
chosen. With the mode `channel` come four more measurements: the mouse on another unit, another
layer, a step for which the page has no maps yet, and the first picture. From near and far the
browser reaches the server through a relay, which counts the bytes from the kernel.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Playwright, sync_playwright

from tests.benchmarks import figures
from tests.benchmarks.figures import FOLDER, ROOT, Figure
from tests.benchmarks.targets import (
    FAR,
    GRID_BLOCK1,
    IMAGE,
    MODES,
    ONE_FRAME,
    OURS,
    RAW,
    STOCK,
    SUBSHELL,
    cell,
    drag,
    hover,
    keys,
    layers,
    unprepared,
)
from tests.browser.chromium import ensure_chromium
from tests.browser.desk import Desk
from tests.browser.page import NotebookPage
from tests.browser.relay import Relay

DRAWERS = {"stock": STOCK, "explorer": OURS, "image": IMAGE, "raw": RAW}
"""The names of the drawers in the page and in the table."""

# By default JupyterLab uses a subshell, if the kernel supports subshells.
COMMS: dict[str, tuple[str, dict[str, dict[str, object]]]] = {
    "shell": (
        "",
        {"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}},
    ),
    "subshell": (SUBSHELL, {}),
}


@dataclass(frozen=True)
class Place:
    """A distance between browser and server.

    Parameters
    ----------
    words : str
        Appended to the names of the table's groups.
    delay, rate : float
        See `Relay`.
    rest_ms : int
        Time for what follows a step that the page has painted: the kernel's frame and words.
    """

    words: str
    delay: float
    rate: float
    rest_ms: int


PLACES = {"near": Place("", 0.0, math.inf, 700), "far": Place(FAR, 0.075, 20e6 / 8, 1200)}

_SETUP = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.benchmarks.drawers import Bench, first
"""
CELL = f"{_SETUP}\nbench = Bench()\nbench.box"
FIRST_CELLS = (_SETUP, "first('stock')", "first('explorer')")
CANVAS = ".jupyter-matplotlib-canvas-div"

WARM_UP = 3
STEP_SECONDS = 5.0
# Pause between two steps: the page acknowledges the last frame, and a user releases the key.
PAUSE_MS = 100
PAINTING_SECONDS = 30.0
# JupyterLab's own traffic within a rest stays below this.
QUIET_BYTES = 20_000
# The mouse alternates between these places, in fractions of the map. Both move on by `FURTHER`
# after each round trip.
PLACES_ON_MAP = ((0.3, 0.3), (0.6, 0.5))
FURTHER = 0.02
FIRST_ROUNDS, FIRST_SECONDS = 3, 30.0
DRAG_SECONDS, EVENTS_A_SECOND = 3.0, 60
# Seconds from one end to the other, so fast that every event selects another channel. The drag goes
# there and back twice, and nearly there again.
SWEEP_SECONDS = 0.65

Times = dict[str, float]
"""Milliseconds, by the name of the line in the table."""
Act = Callable[[int], Times]
"""Takes the number of a round; performs one step and returns what it measured."""


class StuckError(Exception):
    """A page did not answer; the message names the step."""


@contextmanager
def at_most(seconds: float, doing: str) -> Iterator[None]:
    """Fail if a page does not answer in time; Playwright alone would wait forever."""

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
        A notebook page that has loaded `latency.js` and run all cells.
    relay
        The relay between the page and its server.
    rest_ms
        See `Place`.
    """

    def __init__(self, page: NotebookPage, relay: Relay, rest_ms: int) -> None:
        self._notebook = page
        self._page = page.page
        self._relay = relay
        self._rest_ms = rest_ms

    def prepare(self, mode: str, layer: str) -> None:
        """Show a mode and layer in all drawers."""
        with at_most(30 + PAINTING_SECONDS, f"preparing {mode}"):
            self._notebook.ask(f"bench.prepare({mode!r}, {layer!r})\nNone")
            self._quiet()
            if mode == "channel":
                self.settle()

    def settle(self) -> None:
        """Wait until the explorer's page can paint channels itself, and everything is at rest."""
        deadline = time.monotonic() + PAINTING_SECONDS
        while not self._notebook.ask("bench.page_paints()"):
            if time.monotonic() > deadline:
                print("the explorer's page does not paint by itself", flush=True)
                break
            self._page.wait_for_timeout(50)
        self.rest()

    def key(self, drawer: str, key: str) -> float:
        """Press a key on the channel's slider; return the milliseconds to new pixels."""
        self._page.locator(f".drawer-{drawer} .noUi-handle").first.focus()
        self._page.keyboard.press(key)
        return self._elapsed(drawer)

    def key_on_picture(self, drawer: str, key: str) -> float:
        """Press a key on the picture; return the milliseconds to new pixels."""
        self._page.locator(f".drawer-{drawer} {CANVAS}").focus()
        self._page.keyboard.press(key)
        return self._elapsed(drawer)

    def choose(self, drawer: str) -> float:
        """Choose the other layer; return the milliseconds to new pixels."""
        self._page.evaluate(f"latency.choose('{drawer}')")
        return self._elapsed(drawer)

    def map_box(self, drawer: str) -> list[int]:
        """Return the left, top, right and bottom edge of the map on the drawer's canvas."""
        box: list[int] = self._notebook.ask(f"bench.map_box({drawer!r})")
        return box

    def point(self, drawer: str, x: float, y: float) -> None:
        """Move the mouse to a pixel of the drawer's canvas."""
        canvas = self._page.locator(f".drawer-{drawer} {CANVAS} canvas").first
        place = canvas.bounding_box()
        assert place is not None
        self._page.evaluate("latency.arm()")
        self._page.mouse.move(place["x"] + x, place["y"] + y)

    def pointed(self, drawer: str, what: str) -> float:
        """Return the milliseconds from the mouse's move to new ``"pixels"`` or ``"words"``."""
        return self._elapsed(drawer, what)

    def leave(self) -> None:
        """Move the mouse off the drawers, and wait."""
        self._page.mouse.move(0, 0)
        self.rest()

    def unprepare(self) -> None:
        """Leave the explorer's page without maps for its range, and wait for the kernel's frame."""
        self._page.evaluate("latency.begin()")
        self._notebook.ask("bench.other_maps()\nNone")
        self._elapsed("explorer")
        # The colorbar may arrive after the map.
        self._quiet(still=50)

    def drag(self, drawer: str) -> dict[str, Any]:
        """Drag the channel's slider; return measurements of how the drawer kept up."""
        how = f"'{drawer}', {DRAG_SECONDS}, {EVENTS_A_SECOND}, {SWEEP_SECONDS}"
        self._relay.reset()
        self._page.evaluate(f"latency.drag({how})")
        # The kernel sends its own frame only after the page's steps have stopped.
        self._quiet(still=self._rest_ms + 300, limit=15_000)
        bytes_sent = self._relay.received
        moves, frames = (self._page.evaluate(f"latency.{what}()") for what in ("moves", "frames"))
        shown = [frame["at"] for frame in frames if frame["drawer"] == drawer]
        during = [at for at in shown if moves[0] <= at <= moves[-1]]
        seconds = (moves[-1] - moves[0]) / 1000
        truth = self._notebook.ask(f"bench.truth({drawer!r})")
        box = self.map_box(drawer) if drawer == "explorer" else None
        picture = self._page.evaluate(f"box => latency.shown('{drawer}', box)", box)
        return {
            "events": len(moves) / seconds,
            "pictures": len(during) / seconds,
            "after": max(0.0, (shown[-1] if shown else float("inf")) - moves[-1]),
            "right": all(picture[part] == value for part, value in truth.items()),
            "bytes": bytes_sent,
        }

    def frame_bytes(self) -> int:
        """Return the size in bytes of a whole frame of the explorer."""
        size: int = self._notebook.ask("bench.frame_bytes()")
        return size

    def run_first(self, drawer: str) -> float:
        """Run the cell that makes a drawer; return the milliseconds to its picture."""
        number = FIRST_CELLS.index(f"first('{drawer}')")
        self._page.evaluate(f"latency.run({number})")
        spent = self._elapsed(f"first_{drawer}", seconds=FIRST_SECONDS)
        # After the first picture, a page that paints channels itself still fetches maps.
        before = -QUIET_BYTES
        while self._relay.received - before >= QUIET_BYTES:
            before = self._relay.received
            self.rest()
        return spent

    def pause(self) -> None:
        """Wait for the pause between two steps."""
        self._page.wait_for_timeout(PAUSE_MS)

    def rest(self) -> None:
        """Wait until page and kernel have finished what follows a painted step."""
        self._page.wait_for_timeout(self._rest_ms)

    def _quiet(self, still: int = 400, limit: int = 10_000) -> None:
        self._page.evaluate(f"latency.quiet({still}, {limit})")

    def _elapsed(self, drawer: str, what: str = "pixels", seconds: float = STEP_SECONDS) -> float:
        limit = 1000 * seconds
        return float(self._page.evaluate(f"latency.elapsed('{drawer}', {limit}, '{what}')"))


def in_turn(
    group: str, acts: Sequence[Act], rounds: int, warm_up: int = 1, seconds: float = 0.0
) -> Iterator[Figure]:
    """Run the acts in turn, round after round, and yield a figure for each name.

    An act may take `seconds` longer than a plain step.
    """
    times: dict[str, list[float]] = {}
    for number in range(rounds + warm_up):
        for act in acts:
            with at_most(STEP_SECONDS + 10 + seconds, f"{group}, step {number}"):
                spent = act(number)
            if number >= warm_up:
                for name, milliseconds in spent.items():
                    times.setdefault(name, []).append(milliseconds)
    medians = ", ".join(f"{name} {statistics.median(t):.0f}" for name, t in times.items())
    print(f"{group}: {medians} ms", flush=True)
    for name, measured in times.items():
        yield Figure.of(group, name, measured, "ms")


def redraws(stage: Stage, mode: str, rounds: int, where: str) -> Iterator[Figure]:
    """Measure key → new pixels."""

    def step(drawer: str, number: int) -> Times:
        if mode == "channel":
            spent = stage.key(drawer, "ArrowLeft" if number % 2 else "ArrowRight")
        else:
            spent = stage.choose(drawer)
        if mode == "channel" and drawer == "explorer":
            # Wait for the kernel's own frame too, which must not slow down the next drawer.
            stage.rest()
        else:
            stage.pause()
        return {DRAWERS[drawer]: spent}

    block = "block1" if mode in ("channel", GRID_BLOCK1) else "block3"
    stage.prepare("grid" if mode == GRID_BLOCK1 else mode, f"{block}_conv1")
    steps = [partial(step, drawer) for drawer in DRAWERS]
    for figure in in_turn(keys(mode, where), steps, rounds, WARM_UP):
        yield figure
        if mode == "channel" and figure.name == OURS:
            yield Figure(figure.group, f"{OURS}, the worst", figure.high or 0, "ms")


def hovers(stage: Stage, rounds: int, where: str) -> Iterator[Figure]:
    """Measure the mouse's move to another unit → the unit's frame, and the words about it."""
    stage.prepare("channel", "block1_conv1")
    boxes = {drawer: stage.map_box(drawer) for drawer in ("stock", "explorer")}

    def point(drawer: str, number: int) -> Times:
        left, top, right, bottom = boxes[drawer]
        across, down = (at + FURTHER * (number // 2) for at in PLACES_ON_MAP[number % 2])
        stage.point(drawer, left + across * (right - left), top + down * (bottom - top))
        spent = {f"{DRAWERS[drawer]}: value": stage.pointed(drawer, "words")}
        if drawer == "explorer":
            spent[f"{OURS}: frame"] = stage.pointed(drawer, "pixels")
        stage.rest()
        return spent

    # Finish one drawer before the next: between them the mouse would cross the page.
    for drawer in boxes:
        yield from in_turn(hover(where), [partial(point, drawer)], rounds)
        stage.leave()


def layer_steps(stage: Stage, rounds: int, where: str) -> Iterator[Figure]:
    """Measure another layer → new pixels, after the page has had time to fetch its maps."""

    def choose(drawer: str, _: int) -> Times:
        if drawer != "explorer":
            spent = {DRAWERS[drawer]: stage.choose(drawer)}
            stage.pause()
            return spent
        stage.settle()
        there = stage.choose(drawer)
        stage.settle()
        back = stage.key_on_picture(drawer, "ArrowUp")
        stage.rest()
        return {OURS: there, f"{OURS}, by a key": back}

    stage.prepare("channel", "block3_conv2")
    stage.prepare("channel", "block3_conv1")
    steps = [partial(choose, drawer) for drawer in DRAWERS]
    beside = 2 * PAINTING_SECONDS
    yield from in_turn(layers(where), steps, rounds, seconds=beside)


def unprepared_steps(stage: Stage, rounds: int, where: str) -> Iterator[Figure]:
    """Measure a step to another channel while the explorer's page has no maps for it."""

    def step(drawer: str, number: int) -> Times:
        if drawer == "explorer":
            stage.unprepare()
        spent = {DRAWERS[drawer]: stage.key(drawer, "ArrowLeft" if number % 2 else "ArrowRight")}
        if drawer == "explorer":
            stage.settle()
        else:
            stage.pause()
        return spent

    stage.prepare("channel", "block1_conv1")
    steps = [partial(step, drawer) for drawer in DRAWERS]
    yield from in_turn(unprepared(where), steps, rounds, seconds=PAINTING_SECONDS)


def drags(stage: Stage, where: str) -> Iterator[Figure]:
    """Measure how each drawer keeps up with a dragged slider."""
    stage.prepare("channel", "block1_conv1")
    group = drag(where)
    for drawer, name in DRAWERS.items():
        with at_most(60, f"drag, {name}"):
            found = stage.drag(drawer)
        print(
            f"drag{where}, {name}: {found['pictures']:.0f} pictures/s, the last one "
            f"{found['after']:.0f} ms after the last event, right: {found['right']}, "
            f"{found['bytes'] / 1000:.0f} kB from the kernel",
            flush=True,
        )
        yield Figure(group, f"{name}: events", found["events"], "/s")
        yield Figure(group, f"{name}: pictures", found["pictures"], "/s")
        yield Figure(group, f"{name}: last event → last picture", found["after"], "ms")
        yield Figure(group, f"{name}: in the end the value's picture", float(found["right"]), "")
        yield Figure(group, f"{name}: bytes from the kernel", found["bytes"] / 1000, "kB")
        if drawer == "explorer":
            # The frame of the last picture, the one that the kernel sends.
            yield Figure(group, ONE_FRAME, stage.frame_bytes() / 1000, "kB")


def first_pictures(stage: Stage, where: str) -> Iterator[Figure]:
    """Measure cell → first picture, after all `FIRST_CELLS` have run once."""

    def run(drawer: str, _: int) -> Times:
        return {DRAWERS[drawer]: stage.run_first(drawer)}

    cells = [partial(run, drawer) for drawer in ("stock", "explorer")]
    yield from in_turn(cell(where), cells, FIRST_ROUNDS, seconds=FIRST_SECONDS + PAINTING_SECONDS)


def measure(
    playwright: Playwright, chosen: argparse.Namespace, place: Place, comms: str, modes: list[str]
) -> Iterator[Figure]:
    """Start JupyterLab with one kind of comms, and yield the chosen measurements from a place."""
    words, settings = COMMS[comms]
    where = place.words or words
    road = partial(Relay, delay=place.delay, rate=place.rate)
    with tempfile.TemporaryDirectory() as home:
        print(f"starting JupyterLab, comms over the {comms}{place.words}", flush=True)
        desk = Desk("lab", Path(home), playwright, ensure_chromium(), settings, road=road)
        assert desk.relay is not None
        try:
            page = desk.open((1280, 2400))
            page.page.add_init_script(path=Path(__file__).with_name("latency.js"))
            stage = Stage(page, desk.relay, place.rest_ms)
            page.show("bench.ipynb", [CELL])
            page.page.evaluate("latency.listenRaw()")
            run_cells(page)
            for mode in modes:
                yield from redraws(stage, mode, chosen.rounds, where)
            if "channel" in modes and comms == "shell":
                # Half as many rounds, because the page rests between two of these steps.
                some = math.ceil(chosen.rounds / 2)
                yield from hovers(stage, some, where)
                yield from layer_steps(stage, some, where)
                yield from unprepared_steps(stage, some, where)
            if chosen.drag:
                yield from drags(stage, where)
            if "channel" in modes and comms == "shell":
                page.turn(FIRST_CELLS)
                run_cells(page)
                yield from first_pictures(stage, where)
            page.close()
        finally:
            desk.leave()


def run_cells(page: NotebookPage) -> None:
    """Run all cells; raise if one of them fails."""
    page.run_all()
    if wrong := [*page.errors(), *page.console_errors()]:
        raise RuntimeError(f"the drawers' cells went wrong: {wrong}")


def main() -> int:
    """Run the chosen measurements, print each one, and save all."""
    assert __doc__ is not None
    every = (*MODES, GRID_BLOCK1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="steps of each drawer and mode")
    parser.add_argument("--modes", default=",".join(every), help="of: %(default)s")
    parser.add_argument("--comms", default="shell,subshell", help="of: %(default)s")
    parser.add_argument("--places", default=",".join(PLACES), help="of: %(default)s")
    parser.add_argument("--no-drag", dest="drag", action="store_false")
    parser.add_argument("--json", type=Path, default=FOLDER / "browser.json")
    chosen = parser.parse_args()
    modes, kinds, places = (
        which.split(",") for which in (chosen.modes, chosen.comms, chosen.places)
    )
    for given, known in ((modes, every), (kinds, COMMS), (places, PLACES)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: choose of {', '.join(known)}")
    found: list[Figure] = []
    try:
        with sync_playwright() as playwright:
            # The kind of comms changes how a message is queued, and the place how long it takes, in
            # every mode alike. So one mode is enough for the subshell and for far.
            channel = [mode for mode in modes if mode == "channel"]
            if "near" in places:
                for comms in kinds:
                    some = modes if comms == "shell" else channel
                    found += measure(playwright, chosen, PLACES["near"], comms, some)
            if "far" in places:
                found += measure(playwright, chosen, PLACES["far"], "shell", channel)
    finally:
        figures.save(found, chosen.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A notebook open in a browser: what a person does there, and what a test reads there."""

from __future__ import annotations

import ast
import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from playwright.sync_api import ConsoleMessage, Page

from .actions import Actions
from .picture import KERNEL_CODE, Picture
from .server import Server

SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"
HARNESS = Path(__file__).with_name("harness.js")

OPEN_SECONDS = 90.0
RUN_SECONDS = 180.0

# The names under which an answer waits in the kernel; `default` is for numpy's numbers.
ANSWER = """
_answer_json = __import__("json").dumps(_answer, default=lambda value: value.tolist())
"""
COMM_CELL = """
def _answer_over_comm(comm, message):
    import traceback
    names = get_ipython().user_ns
    try:
        exec(message["content"]["data"]["code"], names)
        comm.send({"text": repr(names["_answer_json"])})
    except BaseException:
        comm.send({"error": traceback.format_exc()})

get_ipython().kernel.comm_manager.register_target("harness", _answer_over_comm)
"""


# What a cell can leave behind in a kernel: widgets, names, and what the package remembers of them.
AFRESH = """
import sys, ipywidgets
ipywidgets.Widget.close_all()
if "vgg_widget" in sys.modules:
    from vgg_widget import LayerExplorer
    from vgg_widget.explorer.comparison import Comparison
    from vgg_widget.explorer.helper import PageHelper
    PageHelper._seen.clear()
    LayerExplorer.remembered_panel = Comparison.remembered_panel = ""
get_ipython().reset(new_session=False)
None
"""


# How wide the page has told explorers that they are.
ROOMS = """
import ipywidgets
from vgg_widget.explorer.helper import PageHelper
[w.room for w in ipywidgets.widget._instances.values() if isinstance(w, PageHelper)]
"""


# Voila has a panel for each cell whose value is a widget.
WIDGETS_ARE_THERE = """
[...document.querySelectorAll(".lm-Panel.jp-OutputArea-output")].every((panel) => {
  const widget = panel.querySelector(".jupyter-widgets");
  return widget && (!widget.matches(".vgg-explorer") || widget.clientWidth);
})
"""


# What asyncio says of a message that was under way when ipykernel ended a subshell, as JupyterLab
# asks whenever the last of a target's comms closes: some time later, in whatever cell then runs.
ENDED_SUBSHELL = re.compile(
    r"Task was destroyed but it is pending!\n"
    r"task: <Task pending [^\n]*Kernel\.shell_main[^\n]*(\n|$)"
    r"|[^\n]+ RuntimeWarning: coroutine 'Kernel\.shell_main' was never awaited\n"
    r"(  [^\n]*\n)?(RuntimeWarning: Enable tracemalloc [^\n]*(\n|$))?"
)


class KernelError(Exception):
    """The code asked of the kernel raised; the message is its traceback."""


class NotebookPage(Actions):
    """A notebook in JupyterLab or Jupyter Notebook.

    Parameters
    ----------
    page
        A fresh Playwright page.
    server
        The server to open the notebook from.
    baseline
        The console errors that an empty notebook logs in this front end too.
    """

    first_cells: ClassVar[Sequence[str]] = ()
    asking: ClassVar[str] = "harness.ask"

    def __init__(self, page: Page, server: Server, baseline: Iterable[str] = ()) -> None:
        super().__init__(page)
        self.server = server
        self.baseline = frozenset(baseline)
        self.console: list[str] = []
        """Every message of the page's console, and every uncaught error."""
        self._errors: list[str] = []
        self._kernel = ""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._on_error(f"pageerror: {error}"))
        page.add_init_script(path=HARNESS)

    def show(self, name: str, content: Sequence[str] | Path) -> None:
        """Save cells, or a copy of a notebook file, as `name`; open it; wait for its kernel.

        Take a new name for each test: the same path gets its running kernel back.
        """
        notebook = _notebook(content)
        notebook["cells"][:0] = [_cell(source) for source in self.first_cells]
        (self.server.notebooks / name).write_text(json.dumps(notebook), encoding="utf-8")
        # Voila answers only when the notebook has run.
        self.page.goto(self.server.notebook_url(name), timeout=1000 * RUN_SECONDS)
        self._wait("window.jupyterapp?.restored?.then(() => true)", OPEN_SECONDS)
        self._wait("harness.idle()", OPEN_SECONDS)
        self._kernel = self.page.evaluate("harness.listen()")

    def turn(self, cells: Sequence[str]) -> None:
        """Put other cells in place of those there are, in a kernel that has forgotten them.

        Quicker by a page and a kernel than `show`, with TensorFlow imported and networks built.
        """
        self.ask(AFRESH)
        self.page.mouse.move(0, 0)
        self.page.evaluate("cells => harness.turn(cells)", [_cell(source) for source in cells])
        self._wait("harness.idle()", OPEN_SECONDS)
        self.console.clear()
        self._errors.clear()

    def run_all(self, seconds: float = RUN_SECONDS) -> None:
        """Run every cell and wait until all are done; a cell that raises ends the run."""
        self.page.evaluate("harness.runAll()")
        self._wait("harness.ran()", seconds)
        if failure := self.page.evaluate("harness.failure()"):
            raise RuntimeError(f"The front end could not run the cells: {failure}")
        self._let_fit()

    def _let_fit(self, seconds: float = 20.0) -> None:
        """Wait until the kernel has heard how wide each explorer on show is."""
        deadline = time.monotonic() + seconds
        while True:
            widths = self.page.locator(".vgg-explorer").evaluate_all(
                "boxes => boxes.map((box) => Math.floor(box.clientWidth)).filter(Boolean)"
            )
            if not widths or not set(widths) - set(self.ask(ROOMS)):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"No explorer heard that it is {widths} pixels wide.")
            self.page.wait_for_timeout(50)

    def errors(self, *, stderr: bool = True) -> list[str]:
        """Return what went wrong in the kernel, in cells and in callbacks.

        Parameters
        ----------
        stderr
            Whether what was printed on stderr counts, beside exceptions.
        """
        outputs = self._outputs() + self.page.evaluate("harness.strays()")
        found = [text for output in outputs if (text := _error(output, stderr=stderr))]
        # A page that was left says goodbye to its widgets, now and then to the next kernel.
        return [text for text in found if not text.startswith("No such comm")]

    def ask(self, code: str, seconds: float = 60.0) -> Any:
        """Run code in the kernel and return the JSON value of its last expression.

        Code that ends in no expression answers with what it assigned to ``_answer``.
        """
        answer = self._evaluate(f"{self.asking}({json.dumps(_question(code))})", seconds)
        if "error" in answer:
            raise KernelError(answer["error"])
        return json.loads(ast.literal_eval(answer["text"]))

    def wait_value(self, code: str, value: object, seconds: float = 30.0) -> None:
        """Wait until `code` has this JSON value in the kernel."""
        deadline = time.monotonic() + seconds
        while (found := self.ask(code)) != value:
            if time.monotonic() > deadline:
                raise AssertionError(f"{code} is {found!r} instead of {value!r} after {seconds} s")
            self.page.wait_for_timeout(30)

    def canvas_rows(self, index: int = 0) -> Picture:
        """Return what the page shows on its `index`-th ipympl canvas."""
        return Picture.of(self.picture_canvas(index).evaluate("canvas => harness.picture(canvas)"))

    def kernel_rows(self, expression: str) -> Picture:
        """Return what the ipympl canvas named by a Python expression has drawn in the kernel."""
        return Picture.of(self.ask(f"{KERNEL_CODE}\n_picture({expression})"))

    def wait_picture_equal(
        self,
        expression: str,
        index: int = 0,
        *,
        unlike: Picture | None = None,
        seconds: float = 20.0,
    ) -> Picture:
        """Wait until the page shows, row by row, what the canvas has drawn in the kernel.

        Parameters
        ----------
        expression
            A Python expression for the ipympl canvas in the kernel.
        index
            Which canvas on the page.
        unlike
            A picture taken before an action, which the new one must differ from: right after
            an action page and kernel still agree on the old one.
        """
        deadline = time.monotonic() + seconds
        while True:
            truth, shown = self.kernel_rows(expression), self.canvas_rows(index)
            difference = shown.difference(truth)
            if shown == unlike:
                difference = difference or "it has not changed"
            if not difference:
                return shown
            if time.monotonic() > deadline:
                raise AssertionError(f"The picture on the page is not {expression}'s: {difference}")
            self.page.wait_for_timeout(30)

    def console_errors(self, baseline: Iterable[str] | None = None) -> list[str]:
        """Return the errors in the page's console that an empty notebook does not log too."""
        known = self.baseline if baseline is None else frozenset(baseline)
        return [error for error in self._errors if error not in known]

    def screenshot(self, name: str) -> Path:
        """Save the window as ``.screenshots/NAME.png``."""
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        """Close the page and end its kernel."""
        self.page.close()
        if self._kernel:
            self.server.end_kernel(self._kernel)

    def _outputs(self) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = self.page.evaluate("harness.outputs()")
        return outputs

    def _wait(self, condition: str, seconds: float) -> None:
        self.page.wait_for_function(condition, timeout=1000 * seconds)

    def _evaluate(self, promise: str, seconds: float) -> Any:
        """Return what a promise in the page resolves to, in bounded time."""
        return self.page.evaluate(f"harness.within({1000 * seconds}, {promise})")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            # Only the place tells one resource that failed to load from another.
            failed = message.text.startswith("Failed to load resource")
            self._on_error(f"{message.text} {message.location['url']}" if failed else message.text)
        else:
            self.console.append(f"{message.type}: {message.text}")

    def _on_error(self, text: str) -> None:
        self.console.append(f"error: {text}")
        # Ids and names differ from page to page; an error is the same without them.
        self._errors.append(re.sub(r"\b[0-9a-f-]{32,36}\b|[\w-]+\.ipynb", "...", text))


class VoilaPage(NotebookPage):
    """A notebook served by Voila, which has run when it is open.

    Voila executes no code for a page; a first cell lets the kernel answer over a comm instead.
    """

    first_cells = (COMM_CELL,)
    asking = "harness.askOverComm"

    def run_all(self, seconds: float = RUN_SECONDS) -> None:
        """Wait until the kernel is idle: Voila has run the cells."""
        self._wait("harness.ran()", seconds)
        # Widgets come to their places a moment after.
        self._wait(WIDGETS_ARE_THERE, seconds)
        self._let_fit()

    def _outputs(self) -> list[dict[str, Any]]:
        shown = self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")
        return [_voila_output(text.strip()) for text in shown.all_inner_texts()]


def _notebook(content: Sequence[str] | Path) -> dict[str, Any]:
    """Return a notebook of code cells with these sources, or the one in a file."""
    if isinstance(content, Path):
        notebook: dict[str, Any] = json.loads(content.read_text(encoding="utf-8"))
        return notebook
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "cells": [_cell(source) for source in content],
    }


def _cell(source: str) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:8],
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source.strip("\n"),
    }


def _question(code: str) -> str:
    """Return code that leaves its last expression's value in the kernel as JSON."""
    tree = ast.parse(code)
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        name = ast.Name("_answer", ast.Store())
        tree.body[-1] = ast.copy_location(ast.Assign([name], last.value), last)
    return f"{ast.unparse(ast.fix_missing_locations(tree))}\n{ANSWER}"


def _error(output: Mapping[str, Any], *, stderr: bool) -> str:
    """Return what an output says went wrong, or nothing."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    if stderr and output["output_type"] == "stream" and output["name"] == "stderr":
        return ENDED_SUBSHELL.sub("", "".join(output["text"])).strip()
    return ""


def _voila_output(text: str) -> dict[str, str]:
    """Return the output that Voila shows as this text: it marks errors no other than stderr."""
    if "Traceback (most recent call last)" not in text:
        return {"output_type": "stream", "name": "stderr", "text": text}
    name, _, value = text.splitlines()[-1].partition(": ")
    return {"output_type": "error", "ename": name, "evalue": value}

"""A notebook open in a browser: how tests run it and read its state."""

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

# Stores the value of `_answer` in the kernel as JSON; `default` converts NumPy values.
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


# Removes what cells leave behind in a kernel: widgets, names and the package's class attributes.
RESET = """
import sys, ipywidgets
ipywidgets.Widget.close_all()
if "vgg_widget" in sys.modules:
    from vgg_widget import LayerExplorer
    from vgg_widget.explorer.comparison import Comparison
    from vgg_widget.explorer.helper import PageHelper
    PageHelper._last_reports.clear()
    LayerExplorer.remembered_panel = Comparison.remembered_panel = ""
get_ipython().reset(new_session=False)
None
"""


# The widths that the page has reported for the explorers.
REPORTED_WIDTHS = """
import ipywidgets
from vgg_widget.explorer.helper import PageHelper
[w.room for w in ipywidgets.widget._instances.values() if isinstance(w, PageHelper)]
"""


# Whether every widget is displayed: Voila has a panel for each cell whose value is a widget.
WIDGETS_ARE_THERE = """
[...document.querySelectorAll(".lm-Panel.jp-OutputArea-output")].every((panel) => {
  const widget = panel.querySelector(".jupyter-widgets");
  return widget && (!widget.matches(".vgg-explorer") || widget.clientWidth);
})
"""


# asyncio's warning about a message that was being handled when ipykernel ended a subshell, which
# JupyterLab requests whenever the last comm of a target closes. The warning comes some time later,
# in the output of the cell that is running by then.
ENDED_SUBSHELL = re.compile(
    r"Task was destroyed but it is pending!\n"
    r"task: <Task pending [^\n]*Kernel\.shell_main[^\n]*(\n|$)"
    r"|[^\n]+ RuntimeWarning: coroutine 'Kernel\.shell_main' was never awaited\n"
    r"(  [^\n]*\n)?(RuntimeWarning: Enable tracemalloc [^\n]*(\n|$))?"
)


class KernelError(Exception):
    """Raised when code run by `ask` fails; the message is its traceback."""


class NotebookPage(Actions):
    """A notebook in JupyterLab or Jupyter Notebook.

    Parameters
    ----------
    page
        A new Playwright page.
    server
        The server to open the notebook from.
    baseline
        Console errors to ignore, because this front end logs them for any notebook.
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
        """Save cells, or a copy of a notebook file, as `name`, open it and wait for its kernel.

        Use a new name for each test: a path whose kernel is running gets that kernel again.
        """
        notebook = _notebook(content)
        notebook["cells"][:0] = [_cell(source) for source in self.first_cells]
        (self.server.notebooks / name).write_text(json.dumps(notebook), encoding="utf-8")
        # Voila responds only when the notebook has run.
        self.page.goto(self.server.notebook_url(name), timeout=1000 * RUN_SECONDS)
        self._wait("window.jupyterapp?.restored?.then(() => true)", OPEN_SECONDS)
        self._wait("harness.idle()", OPEN_SECONDS)
        self._kernel = self.page.evaluate("harness.listen()")

    def turn(self, cells: Sequence[str]) -> None:
        """Replace the cells and reset the kernel.

        This is faster than `show`, because the page and the kernel are reused, with TensorFlow
        imported and networks built.
        """
        self.ask(RESET)
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
        self._wait_widths()

    def _wait_widths(self, seconds: float = 20.0) -> None:
        """Wait until the page has reported the width of each visible explorer to the kernel."""
        deadline = time.monotonic() + seconds
        while True:
            widths = self.page.locator(".vgg-explorer").evaluate_all(
                "boxes => boxes.map((box) => Math.floor(box.clientWidth)).filter(Boolean)"
            )
            if not widths or not set(widths) - set(self.ask(REPORTED_WIDTHS)):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"The widths {widths} were not all reported to the kernel.")
            self.page.wait_for_timeout(50)

    def errors(self, *, stderr: bool = True) -> list[str]:
        """Return the errors of cells and callbacks in the kernel.

        Parameters
        ----------
        stderr
            Whether to include text printed to stderr, in addition to exceptions.
        """
        outputs = self._outputs() + self.page.evaluate("harness.strays()")
        found = [text for output in outputs if (text := _error(output, stderr=stderr))]
        # When a page is left, its messages that close widgets sometimes reach the next kernel.
        return [text for text in found if not text.startswith("No such comm")]

    def ask(self, code: str, seconds: float = 60.0) -> Any:
        """Run code in the kernel and return the JSON value of its last expression.

        If the code does not end in an expression, return what it assigned to ``_answer``.
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
        """Return the picture on the page's `index`-th ipympl canvas."""
        return Picture.of(self.picture_canvas(index).evaluate("canvas => harness.picture(canvas)"))

    def kernel_rows(self, expression: str) -> Picture:
        """Return the picture that the ipympl canvas `expression` has drawn in the kernel."""
        return Picture.of(self.ask(f"{KERNEL_CODE}\n_picture({expression})"))

    def wait_picture_equal(
        self,
        expression: str,
        index: int = 0,
        *,
        unlike: Picture | None = None,
        seconds: float = 20.0,
    ) -> Picture:
        """Wait until the page shows what the canvas has drawn in the kernel, and return it.

        Parameters
        ----------
        expression
            A Python expression for the ipympl canvas in the kernel.
        index
            The index of the canvas on the page.
        unlike
            A picture taken before an action, from which the new one must differ. Right after
            the action, page and kernel still agree on the old one.
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
        """Return the errors in the page's console that are not in the baseline."""
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
        """Return what a promise in the page resolves to; raise after a timeout."""
        return self.page.evaluate(f"harness.within({1000 * seconds}, {promise})")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            # Only the URL distinguishes one resource that failed to load from another.
            failed = message.text.startswith("Failed to load resource")
            self._on_error(f"{message.text} {message.location['url']}" if failed else message.text)
        else:
            self.console.append(f"{message.type}: {message.text}")

    def _on_error(self, text: str) -> None:
        self.console.append(f"error: {text}")
        # Ids and names differ between pages: remove them, so that the same errors compare equal.
        self._errors.append(re.sub(r"\b[0-9a-f-]{32,36}\b|[\w-]+\.ipynb", "...", text))


class VoilaPage(NotebookPage):
    """A notebook served by Voila, which has run by the time it is open.

    Voila does not execute code for a page, so an extra first cell makes the kernel answer over a
    comm.
    """

    first_cells = (COMM_CELL,)
    asking = "harness.askOverComm"

    def run_all(self, seconds: float = RUN_SECONDS) -> None:
        """Wait until the kernel is idle, that is, Voila has run the cells."""
        self._wait("harness.ran()", seconds)
        # The widgets are inserted a moment later.
        self._wait(WIDGETS_ARE_THERE, seconds)
        self._wait_widths()

    def _outputs(self) -> list[dict[str, Any]]:
        shown = self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")
        return [_voila_output(text.strip()) for text in shown.all_inner_texts()]


def _notebook(content: Sequence[str] | Path) -> dict[str, Any]:
    """Return a notebook with code cells of these sources, or the notebook in a file."""
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
    """Return code that also stores the value of its last expression in the kernel as JSON."""
    tree = ast.parse(code)
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        name = ast.Name("_answer", ast.Store())
        tree.body[-1] = ast.copy_location(ast.Assign([name], last.value), last)
    return f"{ast.unparse(ast.fix_missing_locations(tree))}\n{ANSWER}"


def _error(output: Mapping[str, Any], *, stderr: bool) -> str:
    """Return the error in an output, or an empty string."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    if stderr and output["output_type"] == "stream" and output["name"] == "stderr":
        return ENDED_SUBSHELL.sub("", "".join(output["text"])).strip()
    return ""


def _voila_output(text: str) -> dict[str, str]:
    """Return the output for a text that Voila shows; errors are not marked apart from stderr."""
    if "Traceback (most recent call last)" not in text:
        return {"output_type": "stream", "name": "stderr", "text": text}
    name, _, value = text.splitlines()[-1].partition(": ")
    return {"output_type": "error", "ename": name, "evalue": value}

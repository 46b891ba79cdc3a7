"""The test harness: errors in a notebook are reported."""

from __future__ import annotations

import pytest

from .desk import OpenNotebook

pytestmark = pytest.mark.browser


def test_errors_are_caught(front_end: OpenNotebook) -> None:
    # Voila's first comm message fails if ipywidgets is not imported in the kernel.
    page = front_end("import ipywidgets\n1 / 0", allow_errors=True)
    assert page.errors() == ["ZeroDivisionError: division by zero"]
    page.page.evaluate("console.error('ours')")
    assert page.console_errors() == ["ours"]
    assert page.ask("a = 20\na + 1") == 21


ENDED_SUBSHELL = """
import asyncio, functools, gc, sys, threading
from ipykernel.utils import _async_in_context

def leave_a_message_behind():
    answer = _async_in_context(functools.partial(get_ipython().kernel.shell_main, "ended"))
    loop = asyncio.new_event_loop()
    loop.create_task(answer([]))
    loop.call_soon(loop.stop)
    loop.run_forever()

thread = threading.Thread(target=leave_a_message_behind)
thread.start()
thread.join()
gc.collect()
print("ours", file=sys.stderr)
"""


def test_warnings_of_ipykernel_are_not_counted_as_errors(lab: OpenNotebook) -> None:
    page = lab(ENDED_SUBSHELL)
    assert "Task was destroyed" in page.page.locator(".jp-OutputArea-output").first.inner_text()
    assert page.errors() == ["ours"]

"""The harness itself: what goes wrong in a notebook is seen."""

from __future__ import annotations

import pytest

from .desk import OpenNotebook

pytestmark = pytest.mark.browser


def test_errors_are_caught(front_end: OpenNotebook) -> None:
    # Without ipywidgets in the kernel, Voila's own first message finds no one there.
    page = front_end("import ipywidgets\n1 / 0", allow_errors=True)
    assert page.errors() == ["ZeroDivisionError: division by zero"]
    page.page.evaluate("console.error('ours')")
    assert page.console_errors() == ["ours"]
    assert page.ask("a = 20\na + 1") == 21

"""A line in a notebook's cell while TensorFlow loads, which takes some seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def loading_line(*, needed: bool = True) -> Iterator[None]:
    """Show in the cell that TensorFlow is loading, and remove the line at the end.

    Nothing is shown if TensorFlow is not needed or already loaded, or outside a notebook.

    Yields
    ------
    None
    """
    notebook = sys.modules.get("IPython")
    shell = None if notebook is None else notebook.get_ipython()
    if not needed or "tensorflow" in sys.modules or not hasattr(shell, "kernel"):
        yield
        return
    from IPython.display import display

    words = "Loading TensorFlow and computing all layers …"
    line: Any = display({"text/plain": words}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        line.update({"text/plain": ""}, raw=True)

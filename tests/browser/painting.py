"""Compare what the page has painted itself with what the kernel has drawn."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np

from .page import NotebookPage
from .sight import (
    LAYER,
    MAP,
    RGB8,
    Side,
    center,
    number_after,
    pixels_of,
    side_of,
    unharmed,
    value,
    wait_words,
    words,
)

DIV = ".jupyter-matplotlib-canvas-div"
_BUFFER = """
def _buffer(canvas):
    import base64, zlib, numpy
    # Without the lock, the buffer may contain half a drawing.
    with canvas.lock:
        rgba = numpy.asarray(canvas.get_renderer().buffer_rgba())
        rgb = numpy.array(rgba[..., :3], order="C")
    return [rgb.shape, base64.b64encode(zlib.compress(rgb.tobytes())).decode()]
"""


def drawn(page: NotebookPage, canvas: str = "explorer.canvas") -> RGB8:
    """Return the pixels that the kernel has drawn on a canvas."""
    shape, data = page.ask(f"{_BUFFER}\n_buffer({canvas})")
    return np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8).reshape(shape)


def wait_painting(page: NotebookPage) -> None:
    """Wait until the page has everything it needs to paint without the kernel."""
    page.wait_value("explorer.canvas.held", value=True)


def assert_painted(page: NotebookPage) -> None:
    """Assert that the page paints the map itself, byte for byte as the kernel has drawn it."""
    wait_painting(page)
    above = page.page.locator("canvas.vgg-painted").first
    first = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, 1).data]"
    assert any(above.evaluate(first)), "nothing is painted"
    left, top, right, bottom = (round(edge) for edge in side_of(page, MAP).pixels)
    inside = slice(top + 1, bottom - 1), slice(left + 1, right - 1)
    np.testing.assert_array_equal(pixels_of(page)[inside], drawn(page)[inside])


ASKED_OF_SHOWN = "sum(one['album'] == explorer._page.scene['album'] for one in asked)"
_COUNTING = """
import time
asked, _hear, last = [], explorer._page.listeners["planes"], [time.monotonic()]
def _count(data):
    _hear(data)
    asked.append(data)
    last[0] = time.monotonic()
explorer._page.listeners["planes"] = _count
"""


def count_asked(page: NotebookPage) -> None:
    """Record the page's requests for planes from now on, in the kernel's list `asked`."""
    page.ask(f"exec({_COUNTING!r}, globals())")


def wait_loaded(page: NotebookPage) -> None:
    """Wait until the page has loaded all planes that it keeps: no request for 2.5 seconds."""
    wait_painting(page)
    if not page.ask("'asked' in globals()"):
        count_asked(page)
    # The first request may come with a delay.
    page.ask("last[0] = time.monotonic()\nNone")
    page.wait_value("time.monotonic() - last[0] > 2.5", value=True, seconds=120)


_BUSY = """
import contextlib, time
from pathlib import Path
with explorer._lock if {locked} else contextlib.nullcontext():
    _until = time.monotonic() + 60
    while not Path("go-on").exists() and time.monotonic() < _until:
        time.sleep(0.02)
Path("go-on").unlink(missing_ok=True)
"""


def busy(page: NotebookPage, *, locked: bool = True) -> None:
    """Block the kernel's main thread until `free`; if `locked`, hold the explorer's lock, too."""
    code = _BUSY.format(locked=locked)
    # Voila does not execute code for a page; the kernel answers over a comm.
    asked = f"{code}\n_answer_json = 'null'"
    run = (
        f"harness.askOverComm({json.dumps(asked)})"
        if page.asking == "harness.askOverComm"
        else f"harness.kernel().requestExecute({{ code: {json.dumps(code)} }}).done"
    )
    page.page.evaluate(
        f"() => {{ window.answered = false; {run}.then(() => {{ window.answered = true; }}); }}"
    )
    page.page.wait_for_timeout(300)


def free(page: NotebookPage) -> None:
    """Unblock the kernel, having asserted that it was still blocked."""
    assert not page.page.evaluate("window.answered"), "the kernel was no longer blocked"
    (page.server.notebooks / "go-on").touch()


def expected(page: NotebookPage, channel: int) -> RGB8:
    """Return the colours of `render` for a channel, with the explorer's other settings."""
    code = (
        "from vgg_widget import render\n"
        "render(explorer.activations, explorer.settings.layer_in(explorer.measured), "
        f"**(explorer.settings.for_render() | dict(channel={channel}))).rgba[..., :3].tolist()"
    )
    return np.array(page.ask(code), np.uint8)


def truth_of(page: NotebookPage, layer: str, **asked: object) -> RGB8:
    """Return the colours of `render` for another layer or mode."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    rgb = page.ask(f"render(explorer.activations, {layer!r}, {arguments}).rgba[..., :3]")
    return np.array(rgb, np.uint8)


def assert_shows(page: NotebookPage, side: Side, truth: RGB8, layer: str = LAYER) -> None:
    """Assert that the page shows the colours `truth` at the units of a layer."""
    pixels = pixels_of(page)
    for row, column in np.ndindex(truth.shape[:2]):
        found = side.colour(pixels, *center(layer, row, column))
        assert found.tolist() == truth[row, column].tolist(), (layer, row, column)


def assert_says_no_value_of_another_channel(page: NotebookPage) -> None:
    """Assert that a step while a cell runs shows an approximate value, then the exact one."""
    wait_painting(page)
    here = side_of(page, MAP).point(*center(LAYER, 20, 6))
    # The cell blocks the main thread, which handles the first step; the text does not need it.
    busy(page, locked=False)
    page.page.locator(DIV).first.focus()
    page.page.keyboard.press("ArrowRight")
    page.hover_canvas(here)
    page.page.wait_for_timeout(1500)
    said = words(page, "place").inner_text()
    free(page)
    assert re.search("^row 20, column 6: [≈≥≤]", said), said
    place = wait_words(page, "place", "row 20, column 6: ")
    exact = value(page, LAYER, 20, 6, 8)
    assert np.isclose(number_after(place, "column 6:"), exact, rtol=1e-3), (place, exact)
    assert not np.isclose(value(page, LAYER, 20, 6, 7), exact, rtol=1e-3)
    unharmed(page)

"""What the page has painted by itself, and what the kernel has drawn."""

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
    # Amid a drawing there is half a picture.
    with canvas.lock:
        rgba = numpy.asarray(canvas.get_renderer().buffer_rgba())
        rgb = numpy.array(rgba[..., :3], order="C")
    return [rgb.shape, base64.b64encode(zlib.compress(rgb.tobytes())).decode()]
"""


def drawn(page: NotebookPage, canvas: str = "explorer.canvas") -> RGB8:
    """Return what the kernel has drawn on a canvas."""
    shape, data = page.ask(f"{_BUFFER}\n_buffer({canvas})")
    return np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8).reshape(shape)


def wait_painting(page: NotebookPage) -> None:
    """Wait until the page has all that it needs to paint by itself."""
    page.wait_value("explorer.canvas.held", value=True)


def assert_painted(page: NotebookPage) -> None:
    """Assert that the page paints the map itself, and to the byte what the kernel has drawn."""
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
def _count(told):
    _hear(told)
    asked.append(told)
    last[0] = time.monotonic()
explorer._page.listeners["planes"] = _count
"""


def count_asked(page: NotebookPage) -> None:
    """Note what the page asks for from now on."""
    page.ask(f"exec({_COUNTING!r}, globals())")


def wait_loaded(page: NotebookPage) -> None:
    """Wait until the page has asked for all that it wants to keep."""
    wait_painting(page)
    if not page.ask("'asked' in globals()"):
        count_asked(page)
    # It takes a moment to begin.
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
    """Keep the kernel's main thread, and where `locked` all of the explorer, until it is `free`."""
    code = _BUSY.format(locked=locked)
    # Voila executes no code for a page, and answers over a comm.
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
    """Let the kernel go on, which has not answered until now."""
    assert not page.page.evaluate("window.answered"), "the kernel may have answered"
    (page.server.notebooks / "go-on").touch()


def expected(page: NotebookPage, channel: int) -> RGB8:
    """What `render` gives for a channel, with the explorer's other settings."""
    code = (
        "from vgg_widget import render\n"
        "render(explorer.activations, explorer.settings.layer_in(explorer.measured), "
        f"**(explorer.settings.for_render() | dict(channel={channel}))).rgba[..., :3].tolist()"
    )
    return np.array(page.ask(code), np.uint8)


def truth_of(page: NotebookPage, layer: str, **asked: object) -> RGB8:
    """Return the colours that `render` gives a picture of another layer or mode."""
    words = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    rgb = page.ask(f"render(explorer.activations, {layer!r}, {words}).rgba[..., :3]")
    return np.array(rgb, np.uint8)


def assert_shows(page: NotebookPage, side: Side, truth: RGB8, layer: str = LAYER) -> None:
    """Assert that the page shows a picture of a layer, where its units are."""
    pixels = pixels_of(page)
    for row, column in np.ndindex(truth.shape[:2]):
        found = side.colour(pixels, *center(layer, row, column))
        assert found.tolist() == truth[row, column].tolist(), (layer, row, column)


def assert_says_no_value_of_another_channel(page: NotebookPage) -> None:
    """Step and point while a cell runs: until the kernel has followed, the page says the value."""
    wait_painting(page)
    here = side_of(page, MAP).point(*center(LAYER, 20, 6))
    # A cell has the kernel's main thread, through which the first step has to go; words need not.
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

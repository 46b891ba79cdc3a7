"""The kernel's part of a redraw: computing, drawing and encoding, and how many bytes it sends."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tests.benchmarks.conftest import Book
from tests.benchmarks.drawers import Stock, drawn_on
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, plot
from vgg_widget.explorer.box import widgets_of
from vgg_widget.figure.canvas import SETTLED_SECONDS
from vgg_widget.figure.sizes import DPI, FIGURE_INCHES, part_of_frame, whole_frame

SERVER = "frames on the server"
ENCODING = "encoding a frame"
ONE_PICTURE = "512 channels in one picture"


class Page:
    """Stand-in for the page of an ipympl canvas: asks for frames, and counts their bytes.

    Parameters
    ----------
    canvas : Canvas
        An ipympl canvas that is not displayed.
    """

    def __init__(self, canvas: Any) -> None:
        self._canvas = canvas
        self.bytes = 0
        canvas.send = self._receive
        canvas._handle_message(canvas, {"type": "initialized"}, [])
        self.answer()

    def _receive(self, _: object, buffers: list[bytes] | None = None) -> None:
        self.bytes = sum(len(buffer) for buffer in buffers or ()) or self.bytes

    def answer(self) -> None:
        """Acknowledge the last frame, and wait until the canvas is sure that the page shows it."""
        self._canvas._handle_message(self._canvas, {"type": "draw"}, [])
        time.sleep(1.2 * SETTLED_SECONDS)


@pytest.fixture
def explorer(extractor: FeatureExtractor, square: npt.NDArray[np.uint8]) -> Iterator[LayerExplorer]:
    made = LayerExplorer(square, extractor=extractor)
    yield made
    made.close()


@pytest.fixture
def stock(seen: Activations) -> Iterator[Stock]:
    made = Stock(seen)
    yield made
    for widget in (*widgets_of(made.box), made.canvas, made.canvas.toolbar):
        widget.close()


@pytest.mark.parametrize("what", ["whole figure", "step", "another layer"])
def bench_explorer(what: str, stopwatch: Book, explorer: LayerExplorer) -> None:
    page = Page(explorer.canvas)
    channels, layers = itertools.cycle([1, 0]), itertools.cycle(["block1_conv2", "block1_conv1"])
    work: dict[str, Callable[[], object]] = {
        "whole figure": explorer.canvas.draw,
        "step": lambda: setattr(explorer, "channel", next(channels)),
        "another layer": lambda: setattr(explorer, "layer", next(layers)),
    }
    stopwatch.time(SERVER, f"explorer: {what}", work[what], rounds=10, setup=page.answer)
    stopwatch.note(SERVER, f"explorer: {what}, bytes sent", page.bytes / 1e3, "kB")


def bench_stock(stopwatch: Book, stock: Stock) -> None:
    page = Page(stock.canvas)
    channels = itertools.cycle([1, 0])

    def step() -> None:
        stock.channel.value = next(channels)
        # ipympl calls this when the page has answered `draw_idle`.
        stock.canvas.handle_draw({})

    stopwatch.time(SERVER, "stock idiom: step, drawn and sent", step, rounds=10)
    stopwatch.note(SERVER, "stock idiom: bytes sent", page.bytes / 1e3, "kB")


def saved(pixels: npt.NDArray[np.uint8], **how: Any) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, **how)
        return stream.getvalue()


ENCODINGS: dict[str, Callable[[npt.NDArray[np.uint8]], bytes]] = {
    "RGBA PNG, level 6 (ipympl)": lambda rgba: saved(rgba, format="png"),
    "RGB PNG, level 1": lambda rgba: saved(rgba[..., :3], format="png", compress_level=1),
    "RGB WebP, lossless": lambda rgba: saved(
        rgba[..., :3], format="webp", lossless=True, quality=0, method=0
    ),
    "the explorer's whole frame": whole_frame,
    "the explorer's right half alone": lambda rgba: part_of_frame(rgba, rgba.shape[1] // 2),
}


@pytest.mark.parametrize("name", ENCODINGS)
def bench_encoding(name: str, stopwatch: Book, explorer: LayerExplorer) -> None:
    pixels = drawn_on(explorer.canvas, channels=4).copy()
    encode = ENCODINGS[name]
    stopwatch.time(ENCODING, name, lambda: encode(pixels), rounds=15)
    stopwatch.note(ENCODING, f"{name}: size", len(encode(pixels)) / 1e3, "kB")


@pytest.mark.parametrize(("name", "rounds"), [("512 axes", 1), ("one montage, one artist", 5)])
def bench_many_channels(name: str, rounds: int, stopwatch: Book, seen: Activations) -> None:
    """Draw block4_conv1 as tutorials do (one axes for each channel) and as the mode `grid` does."""

    def draw() -> None:
        figure = Figure(figsize=FIGURE_INCHES, dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        if name == "512 axes":
            for number, axes in enumerate(figure.subplots(16, 32).flat):
                axes.imshow(seen["block4_conv1"][..., number])
                axes.set_axis_off()
        else:
            plot(seen, "block4_conv1", "grid", ax=figure.add_subplot())
        canvas.draw()  # type: ignore[no-untyped-call]

    stopwatch.time(ONE_PICTURE, name, draw, rounds=rounds)

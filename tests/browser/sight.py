"""Read what an explorer shows on a page, and find points on its two pictures.

Pixels are read from the page's own canvas. Receptive fields are computed here from VGG19's
published architecture, without the package.
"""

from __future__ import annotations

import base64
import io
import re
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator

from .actions import ACTION_SECONDS
from .page import NotebookPage

RGB8 = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

LAYER = "block3_conv1"
EXPLORER = f"""
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), weights="random", size=96, layer="{LAYER}", channel=7, cmap="viridis",
    scale="layer",
)
explorer
"""
"""A cell that shows a small explorer."""
SHAPE = (112, 96)
"""Height and width of the input of its network."""
CANVAS = "explorer.canvas"

INPUT, MAP = 0, 1
YELLOW = (255, 225, 77)
HINT = "Point at a picture"

# The number of 3×3 convolutions in each block of VGG19, before its 2×2 pooling.
_CONVOLUTIONS = (2, 2, 4, 4, 4)
# A line of 1.4 points is two pixels wide and aligned to whole pixels.
_LINE_PIXELS = 2

_SIDE = """
def _side(axes):
    box, height = axes.get_window_extent(), axes.figure.bbox.height
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    return dict(
        pixels=[box.x0, height - box.y1, box.x1, height - box.y0],
        limits=[left, top, right, bottom],
        size=[axes.figure.bbox.width, height],
    )
"""


@dataclass(frozen=True)
class Side:
    """The position of one of the figure's axes on the canvas.

    Parameters
    ----------
    pixels
        Left, top, right and bottom, in pixels of the canvas from its top left corner.
    limits
        The same edges in data coordinates.
    size
        Width and height of the canvas in pixels.
    """

    pixels: tuple[float, float, float, float]
    limits: tuple[float, float, float, float]
    size: tuple[float, float]

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Return the canvas pixel of a point in data coordinates."""
        (left, top, right, bottom), (x0, y0, x1, y1) = self.pixels, self.limits
        across, down = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
        return left + across * (right - left), top + down * (bottom - top)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return a point in data coordinates in fractions of the canvas, for the mouse."""
        across, down = self.pixel(x, y)
        # The browser rounds the mouse position down to whole pixels.
        return (across + 0.5) / self.size[0], (down + 0.5) / self.size[1]

    def colour(self, pixels: RGB8, x: float, y: float) -> npt.NDArray[np.int64]:
        """Return the colour of the canvas at a point in data coordinates."""
        across, down = self.pixel(x, y)
        colour: npt.NDArray[np.int64] = pixels[int(down), int(across)].astype(np.int64)
        return colour


def side_of(page: NotebookPage, axes: int, explorer: str = "explorer") -> Side:
    """Return the position of an explorer's axes with this index, such as `INPUT` or `MAP`."""
    found = page.ask(f"{_SIDE}\n_side({explorer}.figure.axes[{axes}])")
    return Side(tuple(found["pixels"]), tuple(found["limits"]), tuple(found["size"]))


# Returns a figure as it is visible: ipympl's picture, with the page's own painting over it.
_SEEN = """canvas => {
  const seen = document.createElement("canvas");
  [seen.width, seen.height] = [canvas.width, canvas.height];
  const above = canvas.parentElement.querySelectorAll("canvas.vgg-painted");
  for (const one of [canvas, ...above])
    if (one.width && one.height) seen.getContext("2d").drawImage(one, 0, 0);
  return seen.toDataURL();
}"""


def pixels_of(page: NotebookPage, index: int = 0, *, painted: bool = True) -> RGB8:
    """Return what the page's `index`-th figure shows, uint8 of shape (height, width, 3).

    The picture is the kernel's and, if `painted`, what the page has painted over it.
    """
    canvas = page.picture_canvas(index)
    return decoded(canvas.evaluate(_SEEN if painted else "canvas => canvas.toDataURL()"))


def picture_in(image: Locator) -> RGB8:
    """Return the pixels of an image on the page, uint8 of shape (height, width, 3)."""
    drawn = """image => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL();
    }"""
    return decoded(image.evaluate(drawn))


def decoded(url: str) -> RGB8:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def value(page: NotebookPage, layer: str, row: int, column: int, channel: int) -> float:
    """Return an activation of the explorer's image from the kernel."""
    answer = page.ask(f"explorer.activations['{layer}'][{row}, {column}, {channel}].item()")
    assert isinstance(answer, float)
    return answer


def first_field(layer: str) -> tuple[int, int, int]:
    """Return the first and last input row of the receptive field of unit 0, and the layer's stride.

    Each 3×3 convolution adds a unit of its input on either side, each 2×2 pooling one at the end.
    A pooling doubles the stride. Negative rows are padding.
    """
    block, part = re.fullmatch(r"block(\d)_(?:conv(\d)|pool)", layer).groups()  # type: ignore[union-attr]
    first, last, stride = 0, 0, 1
    for number, convolutions in enumerate(_CONVOLUTIONS[: int(block)], start=1):
        here = number == int(block)
        steps = int(part) if here and part else convolutions
        first, last = first - steps * stride, last + steps * stride
        if not (here and part):
            last, stride = last + stride, 2 * stride
    return first, last, stride


def field(layer: str, row: int, column: int, shape: tuple[int, int]) -> Box:
    """Return a unit's receptive field in the input as top, left, bottom, right (half-open)."""
    first, last, stride = first_field(layer)
    (top, bottom), (left, right) = (
        (max(0, first + stride * index), min(count, last + stride * index + 1))
        for index, count in zip((row, column), shape, strict=True)
    )
    return top, left, bottom, right


def center(layer: str, row: int, column: int) -> tuple[float, float]:
    """Return x and y of the middle of a unit's receptive field, in input pixels."""
    first, last, stride = first_field(layer)
    middle = (first + last) / 2
    return middle + stride * column, middle + stride * row


def unit_cell(layer: str, row: int, column: int) -> Box:
    """Return the input pixels that a unit covers: one stride, around the middle of its field."""
    x, y = center(layer, row, column)
    stride = first_field(layer)[2]
    top, left = round(y - (stride - 1) / 2), round(x - (stride - 1) / 2)
    return top, left, top + stride, left + stride


def wait_framed(page: NotebookPage, side: Side, box: Box | None) -> None:
    """Wait until `assert_framed` holds: either the page or the kernel may draw the frame."""
    deadline = time.monotonic() + ACTION_SECONDS
    while True:
        try:
            assert_framed(pixels_of(page), side, box)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            page.page.wait_for_timeout(50)
        else:
            return


def assert_framed(pixels: RGB8, side: Side, box: Box | None, line: int = _LINE_PIXELS) -> None:
    """Assert that a yellow frame is drawn around `box` and nowhere else.

    Its line is `line` pixels wide. If `box` is None, assert that there is no frame.
    """
    left, top, right, bottom = (round(edge) for edge in side.pixels)
    yellow = np.abs(pixels.astype(int) - YELLOW).max(axis=-1) <= 10
    near_axes = np.zeros_like(yellow)
    near_axes[top - 2 : bottom + 2, left - 2 : right + 2] = True
    yellow &= near_axes
    if box is None:
        assert not yellow.any(), f"{yellow.sum()} pixels of a frame remain"
        return
    x0, y0 = side.pixel(box[1] - 0.5, box[0] - 0.5)
    x1, y1 = side.pixel(box[3] - 0.5, box[2] - 0.5)
    lines = np.zeros_like(yellow)
    inner = line + 1
    rows, columns = (
        slice(round(y0) + inner, round(y1) - inner),
        slice(round(x0) + inner, round(x1) - inner),
    )
    for name, edge in (("top", y0), ("bottom", y1)):
        band = slice(max(0, round(edge) - line), round(edge) + line + 1)
        lines[band] = True
        assert yellow[band, columns].any(axis=0).all(), f"no whole line at the {name}, row {edge}"
    for name, edge in (("left", x0), ("right", x1)):
        band = slice(max(0, round(edge) - line), round(edge) + line + 1)
        lines[:, band] = True
        assert yellow[rows, band].any(axis=1).all(), f"no whole line at the {name}, column {edge}"
    assert not (yellow & ~lines).any(), "there is yellow outside the frame"


def words(page: NotebookPage, kind: str, index: int = 0) -> Locator:
    """Return a line of an explorer's text: ``"place"``, ``"caption"`` or ``"problem"``."""
    return page.page.locator(f".vgg-{kind}").nth(index)


def wait_words(page: NotebookPage, kind: str, text: str, index: int = 0) -> str:
    """Wait until a line of an explorer's text contains `text`, and return the line."""
    line, deadline = words(page, kind, index), time.monotonic() + ACTION_SECONDS
    while True:
        # With a space at the end, "channel 8 " can end the line and is not found in "channel 80".
        found = " ".join((line.text_content() or "").split()) + " "
        # The page shows an approximate value until the kernel has sent the exact one.
        if text in found and not re.search("[≈≥≤]", found):
            return line.inner_text()
        assert time.monotonic() < deadline, f"the line says {found!r}, not {text!r}"
        page.page.wait_for_timeout(30)


def number_after(text: str, before: str) -> float:
    """Return the number that follows `before` in a text."""
    found = re.search(re.escape(before) + r"\s*(-?[\d.]+(?:e[+-]?\d+)?)", text)
    assert found is not None, f"no number follows {before!r} in {text!r}"
    return float(found[1])


def leave_picture(page: NotebookPage, index: int = 0) -> None:
    """Move the mouse off the figure, to the text below it."""
    words(page, "source", index).hover()


def unharmed(page: NotebookPage) -> None:
    """Assert that there were no errors on the page or in the kernel, displayed or not."""
    # With messages, since pytest explains assertions only in test files.
    assert not page.errors(), page.errors()
    assert not page.console_errors(), page.console_errors()

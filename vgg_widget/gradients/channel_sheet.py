"""Sheets of optimised images of a layer's channels, as an image or a web page."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlencode

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vgg_widget.gradients.synthetic_image import SyntheticImage
from vgg_widget.images import RGB8
from vgg_widget.page.shell import notice, notice_element, page_pieces
from vgg_widget.pictures.tiles import TileGrid, about_square
from vgg_widget.support.messages import plain_number

_HYPOTHESIS = (
    "An optimised picture is a hypothesis about what a channel looks for: compare it with real "
    "images. Each tile shows the channel's number, and its largest value on the image, before a "
    "ReLU."
)
# In pixels of the sheet: minimal sizes with room for the text of a tile and of the sheet.
_LEAST_SIDE, _LEAST_WIDTH = 96, 560
_MARGIN, _GAP, _WORDS = 16, 12, 36
_LARGE, _SMALL, _LINE = 18, 13, 19
_BLACK, _QUIET, _WHITE = (27, 27, 27), (90, 90, 90), (255, 255, 255)

_HERE = files("vgg_widget.gradients")


def channel_sheet(images: Sequence[SyntheticImage]) -> RGB8:
    """Draw images of one layer's channels side by side, each with its channel number.

    Parameters
    ----------
    images : sequence of SyntheticImage
        At least one image; all of the same layer and size.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The sheet. Small images are enlarged by a whole factor, without interpolation.
    """
    large, bold, small = _font(_LARGE, "-Bold"), _font(_SMALL, "-Bold"), _font(_SMALL)
    height, width = images[0].image.shape[:2]
    times = -(-_LEAST_SIDE // min(height, width))
    height, width = times * height, times * width
    square = about_square(len(images), (height + _WORDS) / width)
    # A few tiles fill the minimal width.
    columns = max(square, min(len(images), (_LEAST_WIDTH + _GAP) // (width + _GAP)))
    channels = tuple(one.channel for one in images)
    tiles = TileGrid(channels, columns, height + _WORDS, width, _GAP)
    room = max(_LEAST_WIDTH, columns * (width + _GAP) - _GAP)
    words = [*_wrapped(_title(images), large, room)]
    head = [(line, large, _BLACK) for line in words]
    for text in (_method_words(images), *filter(None, [notice(images[0].weights)[0]]), _HYPOTHESIS):
        head += [(line, small, _QUIET) for line in _wrapped(text, small, room)]
    first = _MARGIN + len(words) * (_LARGE + 8) + (len(head) - len(words)) * _LINE + _GAP
    bottom = first + tiles.box(len(images) - 1)[2]
    sheet = Image.new("RGB", (room + 2 * _MARGIN, bottom + _MARGIN), _WHITE)
    draw = ImageDraw.Draw(sheet)
    down = _MARGIN
    for line, font, color in head:
        draw.text((_MARGIN, down), line, color, font)
        down += _LARGE + 8 if font is large else _LINE
    for place, one in enumerate(images):
        top, left, _, _ = tiles.box(place)
        top, left = top + first, left + _MARGIN
        pixels = np.repeat(np.repeat(one.image, times, axis=0), times, axis=1)
        sheet.paste(Image.fromarray(pixels), (left, top))
        draw.text((left, top + height + 3), str(one.channel), _BLACK, bold)
        draw.text((left, top + height + 18), _activation_words(one), _QUIET, small)
    return np.asarray(sheet)


def sheet_page(images: Sequence[SyntheticImage], page: str | None = None) -> Iterator[str]:
    """Yield a self-contained web page of the images, in pieces.

    Parameters
    ----------
    images : sequence of SyntheticImage
        As for `channel_sheet`.
    page : str or None
        URL, absolute or relative to this page, of a page written by `to_html`; each tile then links
        to its channel there.
    """
    title = html.escape(_title(images))
    about = html.escape(_method_words(images))
    tiles = "".join(_tile(one, page) for one in images)
    leads = " Click on one to see the channel's map of an image." if page else ""
    body = (
        f'<h1>{title}</h1>\n<p class="quiet">{about}</p>\n{notice_element(images[0].weights)}'
        f"<main>\n<p>{html.escape(_HYPOTHESIS)}{leads}</p>\n"
        f'<ol id="channels">{tiles}</ol>\n</main>'
    )
    return page_pieces(_title(images), body, _HERE.joinpath("channel_sheet.css"), [], [])


def _tile(one: SyntheticImage, page: str | None) -> str:
    height, width = one.image.shape[:2]
    with io.BytesIO() as stream:
        Image.fromarray(np.asarray(one.image)).save(stream, "png", optimize=True)
        data = base64.b64encode(stream.getvalue()).decode()
    inner = (
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="made for channel {one.channel}"><b aria-hidden="true">{one.channel}</b>'
    )
    if page is not None:
        place = urlencode({"layer": one.layer, "channel": one.channel})
        inner = f'<a href="{html.escape(page)}#{html.escape(place)}">{inner}</a>'
    return f"<li>{inner}<span>{_activation_words(one)}</span></li>\n"


def _title(images: Sequence[SyntheticImage]) -> str:
    which = f"channel {images[0].channel}" if len(images) == 1 else f"{len(images)} channels"
    return f"What {which} of {images[0].layer} look{'s' * (len(images) == 1)} for"


def _method_words(images: Sequence[SyntheticImage]) -> str:
    """Return how the images were computed."""
    one = images[0]
    height, width = one.image.shape[:2]
    # Importing the whole package here would break the import order.
    version = sys.modules["vgg_widget"].__version__
    made = [
        one.weights.label,
        f"{one.steps} steps from noise (seed {one.seed})",
        f"{height} × {width} pixels",
        f"vgg_widget {version}",
    ]
    return " · ".join(made)


def _activation_words(one: SyntheticImage) -> str:
    return "no gradient" if one.message else f"reaches {plain_number(one.activation)}"


def _font(size: int, kind: str = "") -> ImageFont.FreeTypeFont:
    # matplotlib's own font, which covers most alphabets and is always installed with matplotlib.
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{kind}.ttf"
    return ImageFont.truetype(str(path), size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, room: int) -> Iterator[str]:
    """Yield the lines of a wrapped text; a word wider than `room` gets its own line."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".lstrip()
        if line and font.getlength(longer) > room:
            yield line
            longer = word
        line = longer
    yield line

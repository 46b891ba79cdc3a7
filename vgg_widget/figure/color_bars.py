"""The explanation of the colours beside or below a picture: a colorbar, or a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import FuncNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKRIGHT
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from vgg_widget.figure.themes import LIGHT, PLAIN, Theme
from vgg_widget.pictures.captions import range_words
from vgg_widget.pictures.legend import LegendEntry, first_entries
from vgg_widget.pictures.modes import Rendering
from vgg_widget.support.messages import plain_number

# The ends of a colorbar that get an arrow, because values beyond them are shown.
_EXTEND = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}
SHOWN = 12
"""The maximum number of listed channels; a line below counts the others."""

# Short forms of labels in a list with areas.
_SHORT = {"other channels": "others", "no channel": "none", "channel ": ""}
# For the label beside a colorbar, in 8 points.
_LETTERS_PER_INCH = 16.5
# For a bar's numbers, in 8 points: an em in inches, and the length of a tick mark, in points.
_LETTER_INCHES, _TICK = 0.07, 3.5
_MOST_NUMBERS = 6
# Closer to an end of a horizontal bar than this share of it, a number is aligned with that end.
_NEAR_END = 0.06
# In inches: the line spacing of the list, and the width of a column.
_LINE, _COLUMN = 0.165, 0.98


def color_norm(rendering: Rendering) -> Normalize:
    """Return the matplotlib norm for a rendering's colours."""
    vmin, vmax, gamma = rendering.vmin or 0.0, rendering.vmax or 0.0, rendering.gamma
    if gamma == 1:
        return Normalize(vmin, vmax)
    if vmin >= 0:
        return PowerNorm(gamma, vmin, vmax)
    middle, half = (vmin + vmax) / 2, (vmax - vmin) / 2
    forward = partial(_signed_power, middle=middle, half=half, power=gamma)
    inverse = partial(_signed_root, middle=middle, half=half, power=gamma)
    return FuncNorm((forward, inverse), vmin, vmax)


# At module level, so that a figure can be pickled.
def _signed_power(
    values: npt.ArrayLike, middle: float, half: float, power: float
) -> npt.NDArray[Any]:
    share = (np.asarray(values) - middle) / half
    result: npt.NDArray[Any] = np.sign(share) * np.abs(share) ** power
    return result


def _signed_root(
    powers: npt.ArrayLike, middle: float, half: float, power: float
) -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = np.sign(powers) * np.abs(powers) ** (1 / power) * half + middle
    return result


def has_color_scale(rendering: Rendering) -> bool:
    """Return whether the colours stand for values over a range that is not empty."""
    return (
        rendering.colormap is not None
        and rendering.vmin is not None
        and rendering.vmax is not None
        and rendering.vmax > rendering.vmin
    )


def add_colorbar(figure: Figure, rendering: Rendering, ax: Axes) -> Colorbar:
    """Add a colorbar in activation units beside axes, with the range in its label."""
    mappable = ScalarMappable(color_norm(rendering), rendering.colormap)
    bar = figure.colorbar(mappable, extend=_EXTEND[rendering.clipped], ax=ax)
    bar.locator = _locator()
    points = float(bar.ax.yaxis.label.get_fontsize())
    length = float(ax.get_window_extent().height / figure.dpi)
    bar.set_label(_label("activation", range_words(rendering), length, points))
    # Panning a colorbar would change its limits, but not the picture's.
    bar.ax.set_navigate(False)
    # Later ticks copy the first one.
    ticks = (bar.ax.yaxis.get_major_ticks(1)[0], bar.ax.yaxis.get_minor_ticks(1)[0])
    for text in (bar.ax.yaxis.label, bar.ax.yaxis.offsetText, *(tick.label2 for tick in ticks)):
        text.set_usetex(False)
    return bar


def _locator() -> MaxNLocator:
    return MaxNLocator(nbins=4, min_n_ticks=3, steps=[1, 2, 2.5, 5, 10])


def _label(name: str, words: str, length: float, points: float) -> str:
    """Return a label and the range's text, in lines that fit into `length` inches."""
    letters = _LETTERS_PER_INCH * 8 / points * length
    for lines in ([words], words.split(" · ")):
        if words and max(map(len, lines)) <= letters:
            return "\n".join([name, *lines])
    return name


def ticks_of(
    rendering: Rendering, min_distance: Callable[[str, str], float]
) -> tuple[list[float], list[str]]:
    """Return the positions on a colorbar, from 0 to 1, of up to five values, and the values.

    `min_distance` returns the smallest distance between two numbers; closer ones are left out.
    """
    low, high = rendering.vmin or 0.0, rendering.vmax or 0.0
    values = [float(value) for value in _locator().tick_values(low, high) if low <= value <= high]
    if len(values) < 2:
        # Rounded numbers cannot show so small a range.
        values = [low, high]
    # A step has two digits; far from 0, more are needed to distinguish neighbouring values.
    largest = max(map(abs, values))
    digits = 3 + math.floor(math.log10(largest / (values[1] - values[0])) + 1e-9)
    found: list[tuple[float, str]] = []
    for place, value in zip(np.asarray(color_norm(rendering)(values)), values, strict=True):
        words = plain_number(value, digits)
        if not found or place - found[-1][0] >= min_distance(found[-1][1], words):
            found.append((float(place), words))
    return [place for place, _ in found], [words for _, words in found]


class ColorBars:
    """One colorbar, in the four shapes that it can have, vertical or horizontal.

    A colorbar's arrows and orientation cannot be changed later, so each variant is made when it is
    first shown, and kept. The variants have common axes of their own, since new axes on the figure
    would clear the toolbar's history. `place` is left, bottom, width and height, as fractions of
    the figure.

    The coordinates go from 0 to 1 for every range, so that another range changes only the
    numbers: making a new colorbar takes 10 ms.
    """

    def __init__(
        self,
        figure: Figure,
        place: tuple[float, float, float, float],
        label: str,
    ) -> None:
        self._figure = figure
        self._label = label
        self.axes = figure.add_axes(place)
        """The invisible axes that contain all variants."""
        self.axes.set_axis_off()
        self.axes.set_navigate(False)
        self._bars: dict[tuple[str, bool], Colorbar] = {}
        self._shown: Colorbar | None = None
        self._shown_range: Hashable = None
        self._theme = LIGHT
        self.arrange(place)

    def arrange(self, place: tuple[float, float, float, float]) -> None:
        """Move the colorbar; it is horizontal if the place is wider than high."""
        width, height = self._figure.get_size_inches()
        across, up = place[2] * width, place[3] * height
        self._upright, self._length = bool(up >= across), float(max(across, up))
        self.axes.set_position(place)

    def _bar(self, extend: str) -> Colorbar:
        kind = extend, self._upright
        if kind not in self._bars:
            # Each takes 15 ms, of 60 for a figure.
            axes = self.axes.inset_axes((0, 0, 1, 1))
            bar = self._bars[kind] = self._figure.colorbar(
                ScalarMappable(Normalize(0, 1)),
                cax=axes,
                extend=extend,
                orientation="vertical" if self._upright else "horizontal",
                ticks=[],
            )
            bar.ax.set_navigate(False)
            # matplotlib's own ticks take 8 ms to draw, because it measures their labels.
            marks = Line2D([], [], ls="", ms=_TICK, mew=0.8, transform=axes.transAxes, zorder=3)
            marks.set(marker=TICKRIGHT if self._upright else TICKDOWN, clip_on=False)
            axes.add_artist(marks)
            right, up = ((_TICK + 3) / 72, 0.0) if self._upright else (0.0, -(_TICK + 3) / 72)
            beyond = ScaledTranslation(right, up, self._figure.dpi_scale_trans)
            for _ in range(_MOST_NUMBERS):
                number = axes.text(0, 0, "", fontsize=8, transform=axes.transAxes + beyond, **PLAIN)
                number.set(va="center_baseline" if self._upright else "top")
            self._color(bar)
        return self._bars[kind]

    @property
    def key(self) -> Hashable:
        """The current appearance except for the numbers; None if nothing is shown."""
        if self._shown is None:
            return None
        # matplotlib returns a new colormap at every look-up, and none is hashable.
        colours = self._shown.cmap(np.arange(self._shown.cmap.N), bytes=True).tobytes()
        axis = _long_axis(self._shown)
        words = axis.get_label_text(), axis.labelpad
        return self._shown.extend, self._upright, colours, words

    @property
    def numbers(self) -> Hashable:
        """What determines the current numbers; None if nothing is shown."""
        return self._shown_range

    @property
    def moving(self) -> tuple[Artist, ...]:
        """The artists that draw the numbers and tick marks."""
        return () if self._shown is None else (*self._shown.ax.lines, *self._shown.ax.texts)

    def words_for(self, rendering: Rendering) -> tuple[list[tuple[float, str]], list[str]]:
        """Return a rendering's numbers with positions from 0 to 1, and the label's lines."""
        numbers: list[tuple[float, str]] = []
        if has_color_scale(rendering):
            numbers += zip(*ticks_of(rendering, self._min_distance), strict=True)
        label = _label(self._label, range_words(rendering), self._length, 8)
        return numbers, label.split("\n")

    def update(self, rendering: Rendering) -> None:
        """Show a rendering's colorbar, if it has one."""
        shown, shown_range = None, None
        if has_color_scale(rendering):
            shown = self._bar(_EXTEND[rendering.clipped])
            shown_range = (rendering.vmin, rendering.vmax, rendering.gamma)
        for bar in self._bars.values():
            if bar.ax.get_visible() != (bar is shown):
                bar.ax.set_visible(bar is shown)
        # An equal colormap is no change; a different one rebuilds the bar.
        if shown is not None and rendering.colormap not in (None, shown.cmap):
            shown.mappable.set_cmap(rendering.colormap)
        if shown is not None and (shown is not self._shown or shown_range != self._shown_range):
            # After an interrupt, the numbers are written again.
            self._shown_range = None
            self._write_numbers(shown, rendering)
        if shown is not None:
            self._write_words(shown, range_words(rendering))
        self._shown, self._shown_range = shown, shown_range

    def _write_numbers(self, bar: Colorbar, rendering: Rendering) -> None:
        places, words = ticks_of(rendering, self._min_distance)
        zeros = [0.0] * len(places)
        (marks,) = bar.ax.lines
        marks.set_data(*(([1.0] * len(places), places) if self._upright else (places, zeros)))
        for number, place, text in zip_longest(bar.ax.texts, places, words):
            number.set_text(text or "")
            if text and self._upright:
                number.set(position=(1, place))
            elif text:
                # A step does not repaint the area left of the bar.
                ends = "left" if place < _NEAR_END else "right" if place > 1 - _NEAR_END else ""
                number.set(position=(place, 0), ha=ends or "center")

    def _min_distance(self, before: str, after: str) -> float:
        """Return the minimum distance between two numbers, as a share of the bar."""
        letters = 1.9 if self._upright else 1 + (len(before) + len(after)) / 2
        return _LETTER_INCHES * letters / self._length

    def _write_words(self, bar: Colorbar, range_text: str) -> None:
        """Write the label, beyond the numbers."""
        longest = max(len(number.get_text()) for number in bar.ax.texts)
        beyond = 72 * _LETTER_INCHES * longest if self._upright else 8
        _long_axis(bar).labelpad = _TICK + 4 + beyond
        # A step does not repaint the area left of a horizontal bar.
        start: Any = {} if self._upright else {"loc": "left"}
        bar.set_label(_label(self._label, range_text, self._length, 8), fontsize=8, **start)

    def apply_theme(self, theme: Theme) -> None:
        """Apply a theme's colours."""
        self._theme = theme
        for bar in self._bars.values():
            self._color(bar)

    def _color(self, bar: Colorbar) -> None:
        bar.ax.lines[0].set_color(self._theme.ink)
        for words in (*bar.ax.texts, _long_axis(bar).label):
            words.set_color(self._theme.ink)
        bar.outline.set_edgecolor(self._theme.ink)


def _long_axis(bar: Colorbar) -> Axis:
    """Return the axis along a colorbar, as `Colorbar.long_axis` does since matplotlib 3.10."""
    return bar.ax.yaxis if bar.orientation == "vertical" else bar.ax.xaxis


def list_height(entries: Sequence[LegendEntry], width: float | None = None) -> float:
    """Return the height of a list of entries in inches.

    The lines form one column or, given a `width` in inches, as many columns as fit.
    """
    others = sum(entry.channel is None for entry in entries)
    channels = len(entries) - others
    heading = any(entry.share is not None for entry in entries)
    lines = min(SHOWN, channels) + others + heading + (channels > SHOWN)
    columns = 1 if width is None else max(1, int(width / _COLUMN))
    return math.ceil(lines / columns) * _LINE


LIST_POINTS, SWATCH, BESIDE_SWATCH = 8, 0.11, 0.18
"""Of a list: the font size in points; the size of a colour and its text's offset, in inches."""


@dataclass(frozen=True, slots=True)
class ListLine:
    """A line of a list: its text, its colour, and its position.

    A heading has no colour. The position is in inches from the list's top left corner.
    """

    words: str
    color: tuple[float, float, float] | None
    left: float
    middle: float


class LegendList:
    """Colours with labels, in as many columns as fit, made once and updated in place.

    `place` is its left, bottom, width and height, as fractions of the figure.
    """

    def __init__(self, figure: Figure, place: tuple[float, float, float, float]) -> None:
        self._figure = figure
        self.axes = figure.add_axes(place, visible=False)
        self.axes.set_axis_off()
        self.axes.set_navigate(False)
        self._entries: tuple[LegendEntry, ...] = ()
        self._heading = self.axes.text(0, 0, "", fontsize=LIST_POINTS, va="center")
        self._rest = self.axes.text(0, 0, "", fontsize=LIST_POINTS, va="center")
        # Other channels, and no channel, also have a line.
        self._swatches = [Rectangle((0, 0), SWATCH, SWATCH, lw=0) for _ in range(SHOWN + 2)]
        self._words = []
        for swatch in self._swatches:
            self.axes.add_patch(swatch)
            self._words.append(self.axes.text(0, 0, "", fontsize=LIST_POINTS, va="center", **PLAIN))
        self.arrange(place)

    def arrange(self, place: tuple[float, float, float, float]) -> None:
        """Move the list; the line height does not change."""
        width, height = self._figure.get_size_inches()
        self.axes.set_position(place)
        # Its coordinates are inches from the top left corner.
        self._size = place[2] * width, place[3] * height
        self.axes.set(xlim=(0, self._size[0]), ylim=(self._size[1], 0))
        self._fill()

    def show(self, entries: Sequence[LegendEntry]) -> None:
        """List the first of these entries; no entries hide the list."""
        entries = tuple(entries)
        if entries != self._entries:
            self._entries = entries
            self._fill()

    def lines(self, entries: Sequence[LegendEntry]) -> list[ListLine]:
        """Return the lines of a list of entries in the available space."""
        lines = max(1, int(self._size[1] / _LINE))
        room = lines * max(1, int(self._size[0] / _COLUMN))
        shares = any(entry.share is not None for entry in entries)
        others = sum(entry.channel is None for entry in entries)
        # The heading takes a line, and so does the count of channels that are left out.
        room -= shares + others
        most = min(SHOWN, room)
        most -= len(entries) - others > most == room
        listed, rest = first_entries(tuple(entries), max(1, most))
        # The column is narrow; the heading explains the numbers.
        short = _SHORT if shares else {}
        texts: list[tuple[str, Any]] = [("channel · area", None)] if shares else []
        for entry in listed:
            words = entry.words
            for long, brief in short.items():
                words = words.replace(long, brief)
            texts.append((words, entry.color))
        texts += [(f"and {rest} more", None)] if rest else []
        return [
            ListLine(words, color, number // lines * _COLUMN, (number % lines + 0.5) * _LINE)
            for number, (words, color) in enumerate(texts)
        ]

    def _fill(self) -> None:
        self.axes.set_visible(bool(self._entries))
        lines = self.lines(self._entries)
        coloured = [line for line in lines if line.color is not None]
        for number, (swatch, words) in enumerate(zip(self._swatches, self._words, strict=True)):
            swatch.set_visible(number < len(coloured))
            if number < len(coloured):
                line = coloured[number]
                swatch.set_xy((line.left, line.middle - SWATCH / 2))
                swatch.set_facecolor(line.color)
                words.set_text(line.words)
                words.set_position((line.left + BESIDE_SWATCH, line.middle))
            else:
                words.set_text("")
        for text, at in ((self._heading, 0), (self._rest, -1)):
            plain = lines[at] if lines and lines[at].color is None else None
            text.set_text(plain.words if plain else "")
            if plain:
                text.set_position((plain.left, plain.middle))

    def apply_theme(self, theme: Theme) -> None:
        """Apply a theme's colours."""
        for words in self.axes.texts:
            words.set_color(theme.ink)

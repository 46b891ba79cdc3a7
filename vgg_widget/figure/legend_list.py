"""What the colours of a picture stand for, where they are no scale: a list beside it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vgg_widget.figure.themes import LIGHT, PLAIN, Theme
from vgg_widget.pictures.legend import LegendEntry, first_entries

SHOWN = 12
"""How many channels are listed at most; how many there are beyond them is said below."""

# Of the height of the axes: from line to line, and the side of a swatch.
_LINE, _SWATCH = 0.064, 0.04


class LegendList:
    """A column of colours with words, made once and filled anew.

    `place` is its left, bottom, width and height, as fractions of the figure.
    """

    def __init__(self, figure: Figure, place: tuple[float, float, float, float]) -> None:
        self.axes = figure.add_axes(place, visible=False)
        self.axes.set_axis_off()
        self.axes.set_navigate(False)
        self._column: Axes | None = None
        self._entries: tuple[LegendEntry, ...] = ()
        self._theme = LIGHT
        width, height = figure.get_size_inches()
        self._across = _SWATCH * place[3] * height / (place[2] * width)

    def _fill(self) -> None:
        """Make the lines, which most figures never need."""
        # In axes of their own within `axes`, to which somebody else's artists may be added.
        self._column = column = self.axes.inset_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0, 1))
        column.set_axis_off()
        column.set_navigate(False)
        self._heading = column.text(0, 1, "", fontsize=8, va="top")
        self._rest = column.text(0, 0, "", fontsize=8, va="top")
        self._swatches = []
        self._words = []
        for line in range(SHOWN + 1):
            top = 1 - (line + 1) * _LINE
            swatch = Rectangle((0, top - _SWATCH), self._across, _SWATCH, linewidth=0)
            self._swatches.append(column.add_patch(swatch))
            words = column.text(
                self._across + 0.07, top - _SWATCH / 2, "", fontsize=8, va="center", **PLAIN
            )
            self._words.append(words)
        self.apply_theme(self._theme)

    def show(self, entries: Sequence[LegendEntry]) -> None:
        """List the first of these entries; none hides the list."""
        entries = tuple(entries)
        if entries == self._entries:
            return
        if self._column is None:
            self._fill()
        self._entries = entries
        self.axes.set_visible(bool(entries))
        shares = any(entry.share is not None for entry in entries)
        self._heading.set_text("channel · area" if shares else "")
        listed, rest = first_entries(entries, SHOWN)
        for line, (swatch, words) in enumerate(zip(self._swatches, self._words, strict=True)):
            swatch.set_visible(line < len(listed))
            if line < len(listed):
                swatch.set_facecolor(listed[line].color)
                words.set_text(_words(listed[line]))
            else:
                words.set_text("")
        self._rest.set_y(1 - (len(listed) + 1) * _LINE)
        self._rest.set_text(f"and {rest} more" if rest else "")

    def apply_theme(self, theme: Theme) -> None:
        """Take on a theme's colours."""
        self._theme = theme
        for words in () if self._column is None else self._column.texts:
            words.set_color(theme.ink)


def _words(entry: LegendEntry) -> str:
    if entry.share is None or entry.channel is None:
        return entry.words
    # The column is narrow; the line above it says what the numbers are.
    return entry.words.removeprefix("channel ")

"""What the colours stand for, beside a picture: a colorbar and its histogram, or a list."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import FuncNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from vgg_widget.figure.themes import LIGHT, PLAIN, Theme
from vgg_widget.pictures.histogram import histogram
from vgg_widget.pictures.legend import LegendEntry, first_entries
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.scaling import DisplayRange

# Which ends of a colorbar get an arrow, since values beyond them are shown.
_EXTEND = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}
# What the histogram takes beside the colorbar, in widths of that: from its foot to its longest bar.
_FOOT, _REACH = -0.25, -2.3
# matplotlib's own length of a colorbar's arrow, in lengths of the bar.
_ARROW = 0.05
_CLIPPED_COLOUR = "#d93025"

SHOWN = 12
"""How many channels are listed at most; how many there are beyond them is said below."""

# Of the height of the axes: from line to line, and the side of a swatch.
_LINE, _SWATCH = 0.064, 0.04


def color_norm(rendering: Rendering) -> Normalize:
    """Return the matplotlib norm that a rendering's colours follow."""
    vmin, vmax, gamma = rendering.vmin or 0.0, rendering.vmax or 0.0, rendering.gamma
    if gamma == 1:
        return Normalize(vmin, vmax)
    if vmin >= 0:
        return PowerNorm(gamma, vmin, vmax)
    return FuncNorm((partial(_bent, power=gamma), partial(_bent, power=1 / gamma)), vmin, vmax)


# Here, so that a figure can be pickled.
def _bent(values: npt.ArrayLike, power: float) -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = np.sign(values) * np.abs(values) ** power
    return result


def has_color_scale(rendering: Rendering) -> bool:
    """Tell whether the colours stand for values over a range that is not empty."""
    return (
        rendering.colormap is not None
        and rendering.vmin is not None
        and rendering.vmax is not None
        and rendering.vmax > rendering.vmin
    )


def add_colorbar(figure: Figure, rendering: Rendering, **where: Any) -> Colorbar:
    """Add a colorbar in activation units; `where` is ``cax=`` or ``ax=``."""
    mappable = ScalarMappable(color_norm(rendering), rendering.colormap)
    extend = _EXTEND[rendering.clipped]
    bar = figure.colorbar(mappable, extend=extend, label="activation", **where)
    # Panning a colorbar would change its limits, and not the picture's.
    bar.ax.set_navigate(False)
    # Further ticks are made like the first one.
    ticks = (bar.ax.yaxis.get_major_ticks(1)[0], bar.ax.yaxis.get_minor_ticks(1)[0])
    for text in (bar.ax.yaxis.label, bar.ax.yaxis.offsetText, *(tick.label2 for tick in ticks)):
        text.set_usetex(False)
    return bar


class ColorBars:
    """One colorbar, in the four shapes that it can have, with a histogram on its left.

    The arrows of a colorbar cannot be changed once it is made: each of the four is made when it is
    first shown, and kept. They stand in axes of their own, since new axes of the figure would clear
    the toolbar's history. `place` is left, bottom, width and height, as fractions of the figure.
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
        """What all four stand in, nothing to be seen itself."""
        self.axes.set_axis_off()
        self.axes.set_navigate(False)
        self.histograms = (_patch(self.axes), _patch(self.axes))
        """The animated artists that show how often each value is on the picture: as many as the
        range shows, and as it clips."""
        self._bars: dict[str, Colorbar] = {}
        self._keys: dict[str, Hashable] = {}
        self._theme = LIGHT

    def _bar(self, extend: str) -> Colorbar:
        if extend not in self._bars:
            # 15 ms each, of a figure's 60.
            axes = self.axes.inset_axes((0, 0, 1, 1))
            bar = self._bars[extend] = self._figure.colorbar(
                ScalarMappable(Normalize(0, 1)), cax=axes, extend=extend, extendfrac=_ARROW
            )
            bar.ax.tick_params(labelsize=8)
            bar.set_label(self._label, fontsize=8)
            bar.ax.set_navigate(False)
            self._color(bar)
        return self._bars[extend]

    @staticmethod
    def key(rendering: Rendering) -> Hashable:
        """Name the colorbar that belongs to a rendering; None where it has none."""
        if not has_color_scale(rendering) or rendering.colormap is None:
            return None
        # matplotlib hands out a new colormap at every look-up, and none is hashable.
        colours = rendering.colormap(np.arange(rendering.colormap.N), bytes=True).tobytes()
        return (rendering.vmin, rendering.vmax, rendering.gamma, rendering.clipped, colours)

    def count(self, rendering: Rendering) -> None:
        """Bring the histogram to a rendering; it is painted with the marks."""
        found = histogram(rendering) if has_color_scale(rendering) else None
        for patch in self.histograms:
            patch.set_visible(found is not None)
        if found is None:
            return
        bars, clipped = self.histograms
        # Most of a map is 0 after a ReLU: on a linear scale there would be one bar.
        counts = np.log1p([*found.counts, found.below, found.above, 1])
        across = _FOOT + counts / counts.max() * (_REACH - _FOOT)
        limits = DisplayRange(rendering.vmin or 0.0, rendering.vmax or 0.0, rendering.gamma)
        bars.set_data(across[:-3], limits.normalise(found.edges), _FOOT)
        below, above = np.where(counts[-3:-1] > 0, across[-3:-1], np.nan)
        clipped.set_data([below, np.nan, above], [-_ARROW, 0, 1, 1 + _ARROW], _FOOT)
        # A bar with arrows is shorter than one without.
        beside = self._bar(_EXTEND[rendering.clipped]).ax.transAxes
        for patch in self.histograms:
            patch.set_transform(beside)

    def update(self, rendering: Rendering, key: Hashable) -> None:
        """Show the bar of a rendering, whose `key` this is."""
        extend = _EXTEND[rendering.clipped]
        shown = self._bar(extend) if key else None
        for bar in self._bars.values():
            if bar.ax.get_visible() != (bar is shown):
                bar.ax.set_visible(bar is shown)
        # Any change of its mappable makes a colorbar anew, which takes 10 ms.
        if shown is not None and self._keys.get(extend) != key:
            assert rendering.colormap is not None
            self._keys[extend] = key
            with shown.mappable.callbacks.blocked():
                shown.mappable.set_cmap(rendering.colormap)
            shown.mappable.set_norm(color_norm(rendering))

    def apply_theme(self, theme: Theme) -> None:
        """Take on a theme's colours."""
        self._theme = theme
        for bar in self._bars.values():
            self._color(bar)
        bars, clipped = self.histograms
        bars.set_facecolor(theme.faint)
        clipped.set_facecolor(_CLIPPED_COLOUR)

    def _color(self, bar: Colorbar) -> None:
        bar.ax.tick_params(colors=self._theme.ink)
        bar.ax.yaxis.label.set_color(self._theme.ink)
        bar.outline.set_edgecolor(self._theme.ink)


def _patch(axes: Axes) -> StepPatch:
    patch = StepPatch(
        [_FOOT],
        [0, 1],
        orientation="horizontal",
        baseline=_FOOT,
        fill=True,
        transform=axes.transAxes,
        linewidth=0,
        antialiased=False,
        animated=True,
    )
    axes.add_patch(patch)
    # `add_patch` clips to the axes, and this stands beside them.
    patch.set_clip_path(None)
    patch.set_clip_on(False)
    return patch


class LegendList:
    """A column of colours with words, made once and filled anew.

    `place` is its left, bottom, width and height, as fractions of the figure.
    """

    def __init__(self, figure: Figure, place: tuple[float, float, float, float]) -> None:
        self.axes = figure.add_axes(place, visible=False, xlim=(0, 1), ylim=(0, 1))
        self.axes.set_axis_off()
        self.axes.set_navigate(False)
        self._entries: tuple[LegendEntry, ...] = ()
        self._heading = self.axes.text(0, 1, "", fontsize=8, va="top")
        self._rest = self.axes.text(0, 0, "", fontsize=8, va="top")
        self._swatches = []
        self._words = []
        width, height = figure.get_size_inches()
        across = _SWATCH * place[3] * height / (place[2] * width)
        # Other channels, and none, have a line too.
        for line in range(SHOWN + 2):
            top = 1 - (line + 1) * _LINE
            swatch = Rectangle((0, top - _SWATCH), across, _SWATCH, linewidth=0)
            self._swatches.append(self.axes.add_patch(swatch))
            words = self.axes.text(
                across + 0.07, top - _SWATCH / 2, "", fontsize=8, va="center", **PLAIN
            )
            self._words.append(words)

    def show(self, entries: Sequence[LegendEntry]) -> None:
        """List the first of these entries; none hides the list."""
        entries = tuple(entries)
        if entries == self._entries:
            return
        self._entries = entries
        self.axes.set_visible(bool(entries))
        shares = any(entry.share is not None for entry in entries)
        self._heading.set_text("channel · area" if shares else "")
        listed, rest = first_entries(entries, SHOWN)
        for line, (swatch, words) in enumerate(zip(self._swatches, self._words, strict=True)):
            swatch.set_visible(line < len(listed))
            if line < len(listed):
                swatch.set_facecolor(listed[line].color)
                # The column is narrow; the line above it says what the numbers are.
                said = listed[line].words
                words.set_text(said.removeprefix("channel ") if shares else said)
            else:
                words.set_text("")
        self._rest.set_y(1 - (len(listed) + 1) * _LINE)
        self._rest.set_text(f"and {rest} more" if rest else "")

    def apply_theme(self, theme: Theme) -> None:
        """Take on a theme's colours."""
        for words in self.axes.texts:
            words.set_color(theme.ink)

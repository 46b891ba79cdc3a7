"""The matplotlib side: an input image beside a rendering, made once and updated in place.

It is handed renderings and computes none. Everything here works on any canvas, ipympl's or Agg.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vgg_widget.color_bars import ColorBars
from vgg_widget.coordinates import Marking, Spot, map_extent, unit_under, value_at
from vgg_widget.frames import DPI, FIGURE_INCHES
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement
from vgg_widget.legend_list import LegendList
from vgg_widget.marks import Marks
from vgg_widget.modes import Rendering
from vgg_widget.painting import SidePainter
from vgg_widget.reduced_image import ReducedImage
from vgg_widget.themes import LIGHT, Theme

View = tuple[tuple[float, float], tuple[float, float]]

# Left, bottom, width and height, as fractions of the figure; the histogram stands between the
# map and the bar.
_INPUT = (0.012, 0.055, 0.408, 0.865)
_MAP = (0.442, 0.055, 0.408, 0.865)
_BAR = (0.899, 0.055, 0.018, 0.865)
_LEGEND = (0.862, 0.055, 0.135, 0.865)
# As many letters of this size are as wide as the axes.
_TITLE_POINTS, _TITLE_LETTERS = 9.5, 44


def title_of(rendering: Rendering) -> str:
    """Return the title, with a dead or constant picture called so."""
    return f"{rendering.title} ({rendering.note})" if rendering.note else rendering.title


class FeatureFigure:
    """The input image, the picture on show, and its colorbar, on one figure.

    Parameters
    ----------
    figure : Figure
        An empty figure; its canvas is drawn on at every `show`.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._input_axes = figure.add_axes(_INPUT)
        self._map_axes = figure.add_axes(_MAP)
        self._bars = ColorBars(figure, _BAR)
        self._legend = LegendList(figure, _LEGEND)
        blank = np.zeros((1, 1, 4), np.uint8)
        self._input = self._picture(self._input_axes, blank)
        self._map = self._picture(self._map_axes, blank)
        self._source = figure.text(0.012, 0.014, "", fontsize=7.5, parse_math=False)
        self._rendering: Rendering | None = None
        self._image: RGB8 | None = None
        self._place: float | Placement = Placement()
        self._marking = Marking()
        self._kept_view: View | None = None
        # A file, layer or mode of somebody's may have dollar signs in its name.
        self._map_axes.title.set(fontsize=_TITLE_POINTS, parse_math=False)
        self._marks = Marks(figure, self._input_axes, self._map_axes, self._bars.histograms)
        beside = (*self._bars.axes, self._legend.axes)
        self._painter = SidePainter(figure, self._map_axes, self._map, beside, self._marks)
        self._theme = LIGHT
        self._wear(LIGHT)
        self._map_axes.format_coord = self._describe_map  # type: ignore[method-assign]
        self._input_axes.format_coord = self._describe_input  # type: ignore[method-assign]
        for mine, other in (
            (self._map_axes, self._input_axes),
            (self._input_axes, self._map_axes),
        ):
            mine.callbacks.connect(
                "xlim_changed", lambda axes, other=other: self._follow(axes, other)
            )
            mine.callbacks.connect(
                "ylim_changed", lambda axes, other=other: self._follow(axes, other)
            )

    @staticmethod
    def _picture(axes: Axes, blank: npt.NDArray[np.uint8]) -> AxesImage:
        axes.set(xticks=[], yticks=[])
        # Ours to word: matplotlib would append the colour's four numbers to the coordinates.
        picture = ReducedImage(axes, interpolation="nearest")
        picture.set_data(blank)
        picture.set_extent((-0.5, 0.5, 0.5, -0.5))
        axes.add_image(picture)
        axes.set_aspect("equal")
        picture.set_mouseover(False)
        return picture

    @property
    def map_axes(self) -> Axes:
        """The axes that hold the picture of the layer."""
        return self._map_axes

    @property
    def input_axes(self) -> Axes:
        """The axes that hold the input image."""
        return self._input_axes

    @property
    def width(self) -> int:
        """Pixels across; another width draws it anew, as high in proportion."""
        return round(float(self.figure.get_size_inches()[0]) * DPI)

    @width.setter
    def width(self, pixels: int) -> None:
        inches = pixels / DPI
        self.figure.set_size_inches(inches, inches * FIGURE_INCHES[1] / FIGURE_INCHES[0])
        self.figure.canvas.draw()

    @property
    def theme(self) -> Theme:
        """The figure's colours; another theme draws it anew."""
        return self._theme

    @theme.setter
    def theme(self, theme: Theme) -> None:
        if theme != self._theme:
            self._theme = theme
            self._wear(theme)
            self.figure.canvas.draw()

    def _wear(self, theme: Theme) -> None:
        self.figure.set_facecolor(theme.paper)
        self._source.set_color(theme.faint)
        for axes in (self._input_axes, self._map_axes):
            axes.set_facecolor(theme.paper)
            axes.title.set_color(theme.ink)
            for spine in axes.spines.values():
                spine.set_edgecolor(theme.ink)
        self._bars.wear(theme)
        self._legend.wear(theme)

    def show(
        self,
        rendering: Rendering,
        image: RGB8,
        place: float | Placement,
        source: str = "",
        marking: Marking | None = None,
    ) -> None:
        """Show another rendering, and draw.

        Parameters
        ----------
        rendering : Rendering
            What to show.
        image : ndarray of uint8, shape (H, W, 3)
            The picture as the network saw it.
        place : Placement or float
            Where the layer's map lies on the image; a number is its stride, from the corner.
        source : str
            A line at the foot that says where the numbers come from, for a picture that is taken
            away; beside a live figure that is said in a widget.
        marking : Marking, optional
            What is marked on the two pictures; nothing by default.
        """
        before, same_image = self._rendering, image is self._image
        same_rest = same_image and source == self._source.get_text()
        side_alone = same_rest and self._painter.ready()
        if (
            before is not None
            and same_image
            and before.tiles is None
            and rendering.tiles is not None
        ):
            self._kept_view = self.view
        marking = marking or Marking()
        if self._changes_input(marking):
            side_alone = False
        self._rendering, self._image, self._place = rendering, image, place
        self._marking = marking
        if not same_image:
            self._kept_view = None
            height, width = image.shape[:2]
            self._input.set_data(image)
            self._input.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
            self._input.set_interpolation("auto")
            self._input_axes.set_title(f"input · {height} × {width}", fontsize=_TITLE_POINTS)
        self._map.set_data(rendering.rgba)
        self._map.set_extent(map_extent(rendering, place))
        # A grid is mostly smaller on screen than in pixels; leaving rows out would distort it.
        self._map.set_interpolation("auto" if rendering.tiles else "nearest")
        self._entitle(title_of(rendering))
        self._source.set_text(source)
        self._marks.set(marking, rendering, place)
        self._bars.count(rendering)
        if not same_image or self._frame(before) != self._frame(rendering):
            self._reset_view(self._kept_view if same_image and rendering.tiles is None else None)
            side_alone = False
        bar, one = ColorBars.key(rendering), len(rendering.channels) == 1
        backdrop = (bar, rendering.legend, one or title_of(rendering))
        if side_alone and self._painter.knows(backdrop):
            # The bar's own artists may wait until the frame is on its way.
            self._painter.paint(backdrop, title_moves=one)
            self._update_beside(rendering, bar)
            self._painter.settle()
        else:
            self._update_beside(rendering, bar)
            if side_alone:
                self._painter.paint(backdrop, title_moves=one)
            else:
                self.figure.canvas.draw()
        if (toolbar := self.figure.canvas.toolbar) is not None:
            # What it says of the place under the mouse was said of the picture before.
            toolbar.set_message("")

    def _entitle(self, words: str) -> None:
        title = self._map_axes.title
        title.set_text(words)
        # Beyond its axes stands the colorbar, or the legend.
        title.set_fontsize(min(_TITLE_POINTS, _TITLE_POINTS * _TITLE_LETTERS / max(1, len(words))))

    def mark(self, marking: Marking) -> None:
        """Mark something else on the same pictures, as soon as the page is ready for a frame."""
        if self._rendering is None or marking == self._marking:
            return
        self._marking = marking
        self._marks.set(marking, self._rendering, self._place)
        paint_idle = getattr(self.figure.canvas, "paint_idle", None)
        if paint_idle is None:
            self._marks.repaint()
        else:
            paint_idle(self._marks.repaint)

    def _changes_input(self, marking: Marking) -> bool:
        """Tell whether marks on the input come, go or move, which a side alone does not repaint."""
        return marking.box != self._marking.box or bool(marking.overlay) != bool(
            self._marking.overlay
        )

    def spot(self, event: Any) -> Spot | None:
        """Return the place on a picture where a mouse event of matplotlib's happened.

        None beside the pictures, and between a grid's tiles.
        """
        if self._rendering is None or self._image is None or event.xdata is None:
            return None
        if event.inaxes is self._map_axes:
            found = unit_under(self._rendering, self._place, event.xdata, event.ydata)
            return None if found is None else Spot("map", *found)
        if event.inaxes is self._input_axes:
            row, column = math.floor(event.ydata + 0.5), math.floor(event.xdata + 0.5)
            if 0 <= row < self._image.shape[0] and 0 <= column < self._image.shape[1]:
                return Spot("input", row, column)
        return None

    @staticmethod
    def _frame(rendering: Rendering | None) -> object:
        """Name the coordinate system that a rendering lives in: the image's, or its own tiles'."""
        return None if rendering is None else rendering.tiles or "image"

    @property
    def view(self) -> View:
        """The map's limits (x, y) on show, in data coordinates."""
        return self._map_axes.get_xlim(), self._map_axes.get_ylim()

    @view.setter
    def view(self, limits: View) -> None:
        self._map_axes.set(xlim=limits[0], ylim=limits[1])

    def home(self) -> None:
        """Show the whole of both pictures, as the toolbar's home does."""
        if self._rendering is not None:
            self._reset_view(None)
            self.figure.canvas.draw()

    def _reset_view(self, kept: View | None) -> None:
        """Show the whole frame and make it the toolbar's home; then go back to a kept zoom."""
        assert self._rendering is not None
        assert self._image is not None
        height, width = self._image.shape[:2]
        whole: View = ((-0.5, width - 0.5), (height - 0.5, -0.5))
        self._input_axes.set(xlim=whole[0], ylim=whole[1])
        if self._rendering.tiles is not None:
            left, right, bottom, top = map_extent(self._rendering, self._place)
            self.view = ((left, right), (bottom, top))
        else:
            self.view = whole
        toolbar = getattr(self.figure.canvas, "toolbar", None)
        if toolbar is not None:
            toolbar.update()
            toolbar.push_current()
        if kept is not None and kept != self.view:
            self.view = kept
            if toolbar is not None:
                toolbar.push_current()

    def _follow(self, moved: Axes, other: Axes) -> None:
        """Show the same part of the image in both axes, where they share its coordinates."""
        if self._rendering is None or self._rendering.tiles is not None:
            return
        if (other.get_xlim(), other.get_ylim()) != (moved.get_xlim(), moved.get_ylim()):
            other.set_xlim(moved.get_xlim(), emit=False)
            other.set_ylim(moved.get_ylim(), emit=False)

    def _update_beside(self, rendering: Rendering, bar: Hashable) -> None:
        self._bars.update(rendering, bar)
        self._legend.show(rendering.legend)

    def _describe_map(self, x: float, y: float) -> str:
        return value_at(self._rendering, self._place, x, y) if self._rendering else ""

    def _describe_input(self, x: float, y: float) -> str:
        row, column = math.floor(y + 0.5), math.floor(x + 0.5)
        image = self._image
        if image is None or not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]):
            return ""
        red, green, blue = image[row, column]
        return f"row {row}, column {column}: RGB {red}, {green}, {blue}"

    def save(self, path: Any, suffix: str, source: str) -> None:
        """Write what is on show as PNG, SVG or PDF, without touching the figure on screen.

        Parameters
        ----------
        path : str, Path or file object
            Where to.
        suffix : str
            ``"png"``, ``"svg"`` or ``"pdf"``.
        source : str
            The line at the foot.
        """
        assert self._rendering is not None
        assert self._image is not None
        # Saving the live figure would change its resolution under the canvas that shows it.
        twin = FeatureFigure(new_figure())
        twin.show(self._rendering, self._image, self._place, source, self._marking)
        twin.view = self.view
        twin.figure.savefig(path, format=suffix)


def static_figure(
    rendering: Rendering, image: RGB8, place: float | Placement, source: str
) -> Figure:
    """Return a figure as the explorer shows it, with the line at the foot; see `show`."""
    figure = new_figure()
    FeatureFigure(figure).show(rendering, image, place, source)
    return figure


def new_figure() -> Figure:
    """Return an empty figure of the explorer's size that pyplot does not know."""
    return Figure(figsize=FIGURE_INCHES, dpi=DPI, facecolor="white")

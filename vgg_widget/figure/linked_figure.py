"""Input images beside pictures of a layer on one figure, made once and updated in place.

It is handed renderings and computes none. Everything here works on any canvas, ipympl's or Agg.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vgg_widget.figure.color_bars import ColorBars
from vgg_widget.figure.frames import DPI, FIGURE_INCHES
from vgg_widget.figure.legend_list import LegendList
from vgg_widget.figure.marks import MarksPainter
from vgg_widget.figure.painting import SidePainter
from vgg_widget.figure.reduced_image import ReducedImage
from vgg_widget.figure.style import own_style
from vgg_widget.figure.themes import LIGHT, PLAIN, Theme
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement
from vgg_widget.pictures.coordinates import Hit, Marks, map_extent, unit_under, value_at
from vgg_widget.pictures.legend import LegendEntry
from vgg_widget.pictures.modes import Rendering

View = tuple[tuple[float, float], tuple[float, float]]
Box = tuple[float, float, float, float]

# As many letters of this size are as wide as an inch of the axes.
_TITLE_POINTS, _LETTERS_PER_INCH = 9.5, 12


def title_of(rendering: Rendering) -> str:
    """Return the title, with a dead or constant picture called so."""
    return f"{rendering.title} ({rendering.note})" if rendering.note else rendering.title


class LinkedFigure:
    """Input images, pictures of one layer, and their colorbars, whose zoom and marks are linked.

    All are in the coordinates of the input's pixels; grids are in pixels of their own.

    Parameters
    ----------
    figure : Figure
        An empty figure; its canvas is drawn on at every change.
    inputs, maps : sequence of (float, float, float, float)
        Left, bottom, width and height of each, as fractions of the figure. The inputs stand left
        of all maps; an input and the map of the same number belong together.
    bars : mapping of str to (float, float, float, float)
        What each colorbar is labelled, and where it is.
    legend : (float, float, float, float)
        Where that is.
    """

    inches = FIGURE_INCHES
    """Width and height of the figure that `save` writes."""

    @own_style()
    def __init__(
        self,
        figure: Figure,
        inputs: Sequence[Box],
        maps: Sequence[Box],
        bars: Mapping[str, Box],
        legend: Box,
    ) -> None:
        self.figure = figure
        self._inputs = tuple(self._picture(figure.add_axes(place)) for place in inputs)
        self._maps = tuple(self._picture(figure.add_axes(place)) for place in maps)
        # As many as are as wide as each map.
        self._fractions = [place[2] for place in maps]
        self._letters = self._letters_over(self.inches[0])
        self._bars = tuple(ColorBars(figure, place, label) for label, place in bars.items())
        self._legend = LegendList(figure, legend)
        self._source = figure.text(0.012, 0.014, "", fontsize=7.5, **PLAIN)
        self._renderings: tuple[Rendering, ...] = ()
        self._images: tuple[RGB8, ...] = ()
        self._place: float | Placement = Placement()
        self._marking = Marks()
        self._kept_view: View | None = None
        # Whether the last update came to its end.
        self._whole = False
        for picture in self._maps:
            picture.axes.title.set(fontsize=_TITLE_POINTS, **PLAIN)
        input_axes = [picture.axes for picture in self._inputs]
        map_axes = [picture.axes for picture in self._maps]
        histograms = [patch for bars in self._bars for patch in bars.histograms]
        self._marks = MarksPainter(figure, input_axes, map_axes, histograms)
        beside = (*(bars.axes for bars in self._bars), self._legend.axes)
        self._painter = SidePainter(figure, self._maps, beside, self._marks)
        self._theme = LIGHT
        self._wear(LIGHT)
        for number, axes in enumerate(input_axes):
            axes.format_coord = self._describing_input(number)  # type: ignore[method-assign]
        for number, axes in enumerate(map_axes):
            axes.format_coord = self._describing_map(number)  # type: ignore[method-assign]
        for axes in (*input_axes, *map_axes):
            axes.callbacks.connect("xlim_changed", self._follow)
            axes.callbacks.connect("ylim_changed", self._follow)

    @staticmethod
    def _picture(axes: Axes) -> AxesImage:
        axes.set(xticks=[], yticks=[])
        # Ours to word: matplotlib would append the colour's four numbers to the coordinates.
        picture = ReducedImage(axes, interpolation="nearest")
        picture.set_data(np.zeros((1, 1, 4), np.uint8))
        picture.set_extent((-0.5, 0.5, 0.5, -0.5))
        axes.add_image(picture)
        axes.set_aspect("equal")
        picture.set_mouseover(False)
        return picture

    @property
    def width(self) -> int:
        """Pixels across; another width draws it anew, as high in proportion."""
        return round(float(self.figure.get_size_inches()[0]) * DPI)

    @width.setter
    @own_style()
    def width(self, pixels: int) -> None:
        inches = pixels / DPI
        self.figure.set_size_inches(inches, inches * self.inches[1] / self.inches[0])
        self._letters = self._letters_over(inches)
        for picture, letters in zip(self._maps, self._letters, strict=True):
            self._entitle(picture.axes, picture.axes.get_title(), letters)
        self.figure.canvas.draw()

    def _letters_over(self, inches: float) -> list[int]:
        """Return how many letters fit over each map of a figure of that width."""
        return [round(_LETTERS_PER_INCH * inches * fraction) for fraction in self._fractions]

    @property
    def theme(self) -> Theme:
        """The figure's colours; another theme draws it anew."""
        return self._theme

    @theme.setter
    @own_style()
    def theme(self, theme: Theme) -> None:
        if theme != self._theme:
            self._wear(theme)
            self._theme = theme
            self.figure.canvas.draw()

    def _wear(self, theme: Theme) -> None:
        self.figure.set_facecolor(theme.paper)
        self._source.set_color(theme.faint)
        for picture in (*self._inputs, *self._maps):
            axes = picture.axes
            axes.set_facecolor(theme.paper)
            axes.title.set_color(theme.ink)
            for spine in axes.spines.values():
                spine.set_edgecolor(theme.ink)
        for bars in self._bars:
            bars.wear(theme)
        self._legend.wear(theme)

    def _scales(self) -> Sequence[Rendering]:
        """Return what each colorbar says the colours of."""
        return self._renderings

    def _legend_entries(self) -> tuple[LegendEntry, ...]:
        """Return what the legend lists."""
        return self._renderings[0].legend

    def _titles(self) -> Sequence[str]:
        """Return the words over each map."""
        return [title_of(rendering) for rendering in self._renderings]

    def _input_titles(self) -> Sequence[str]:
        """Return the words over each input."""
        return [f"input · {image.shape[0]} × {image.shape[1]}" for image in self._images]

    @own_style()
    def _update(
        self,
        renderings: tuple[Rendering, ...],
        images: tuple[RGB8, ...],
        place: float | Placement,
        source: str = "",
        marking: Marks | None = None,
    ) -> None:
        """Show other renderings, and draw; each image is as the network saw it.

        Where the inputs stay as they are, the side of the maps alone is painted and sent.
        """
        before = self._renderings[0] if self._renderings else None
        rendering = renderings[0]
        same_images = (
            self._whole
            and len(images) == len(self._images)
            and all(image is old for image, old in zip(images, self._images, strict=True))
        )
        self._whole = False
        same_rest = same_images and source == self._source.get_text()
        side_alone = same_rest and self._painter.ready()
        if (
            before is not None
            and same_images
            and before.tiles is None
            and rendering.tiles is not None
        ):
            self._kept_view = self.view
        marking = marking or Marks()
        if self._changes_input(marking):
            side_alone = False
        self._renderings, self._images, self._place = renderings, images, place
        self._marking = marking
        if not same_images:
            self._kept_view = None
            self._show_images()
        titles = self._titles()
        for picture, shown, title, letters in zip(
            self._maps, renderings, titles, self._letters, strict=True
        ):
            picture.set_data(shown.rgba)
            picture.set_extent(map_extent(shown, place))
            # A grid is mostly smaller on screen than in pixels; leaving rows out would distort it.
            picture.set_interpolation("auto" if shown.tiles else "nearest")
            self._entitle(picture.axes, title, letters)
        self._source.set_text(source)
        self._marks.set(marking, renderings, place)
        scales = self._scales()
        for bars, shown in zip(self._bars, scales, strict=True):
            bars.count(shown)
        if not same_images or self._frame(before) != self._frame(rendering):
            self._reset_view(self._kept_view if same_images and rendering.tiles is None else None)
            side_alone = False
        keys = tuple(ColorBars.key(shown) for shown in scales)
        one = len(rendering.channels) == 1
        backdrop = (keys, self._legend_entries(), one or tuple(titles))
        if side_alone and self._painter.knows(backdrop):
            # The bar's own artists may wait until the frame is on its way.
            self._painter.paint(backdrop, title_moves=one)
            self._update_beside(scales, keys)
            self._painter.settle()
        else:
            self._update_beside(scales, keys)
            if side_alone:
                self._painter.paint(backdrop, title_moves=one)
            else:
                self.figure.canvas.draw()
        if (toolbar := self.figure.canvas.toolbar) is not None:
            # What it says of the place under the mouse was said of the picture before.
            toolbar.set_message("")
        self._whole = True

    def _show_images(self) -> None:
        for picture, image, title in zip(
            self._inputs, self._images, self._input_titles(), strict=True
        ):
            height, width = image.shape[:2]
            picture.set_data(image)
            picture.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
            picture.set_interpolation("auto")
            picture.axes.set_title(title, fontsize=_TITLE_POINTS)

    @staticmethod
    def _entitle(axes: Axes, words: str, letters: int) -> None:
        axes.title.set_text(words)
        # Beyond its axes stands another picture, the colorbar, or the legend.
        axes.title.set_fontsize(min(_TITLE_POINTS, _TITLE_POINTS * letters / max(1, len(words))))

    def _update_beside(self, scales: Sequence[Rendering], keys: Sequence[Any]) -> None:
        for bars, shown, key in zip(self._bars, scales, keys, strict=True):
            bars.update(shown, key)
        self._legend.show(self._legend_entries())

    def mark(self, marking: Marks) -> None:
        """Mark something else on the same pictures, as soon as the page is ready for a frame."""
        if not self._renderings or marking == self._marking:
            return
        self._marking = marking
        self._marks.set(marking, self._renderings, self._place)
        paint_idle = getattr(self.figure.canvas, "paint_idle", None)
        if paint_idle is None:
            self._marks.repaint()
        else:
            paint_idle(self._marks.repaint)

    def _changes_input(self, marking: Marks) -> bool:
        """Tell whether marks on the input come, go or move, which a side alone does not repaint."""
        return marking.box != self._marking.box or bool(marking.overlay) != bool(
            self._marking.overlay
        )

    def spot(self, event: Any) -> Hit | None:
        """Return the place on a picture where a mouse event of matplotlib's happened.

        None beside the pictures, and between a grid's tiles.
        """
        if not self._renderings or event.xdata is None:
            return None
        for picture, rendering in zip(self._maps, self._renderings, strict=True):
            if event.inaxes is picture.axes:
                found = unit_under(rendering, self._place, event.xdata, event.ydata)
                return None if found is None else Hit("map", *found)
        for picture, image in zip(self._inputs, self._images, strict=True):
            if event.inaxes is picture.axes:
                pixel = _pixel(image, event.xdata, event.ydata)
                return None if pixel is None else Hit("input", *pixel)
        return None

    @staticmethod
    def _frame(rendering: Rendering | None) -> object:
        """Name the coordinate system that a rendering lives in: the image's, or its own tiles'."""
        if rendering is None:
            return None
        tiles = rendering.tiles
        # In another order the same tiles are at the same places.
        return (len(tiles.channels), tiles.columns, tiles.height, tiles.width) if tiles else "image"

    @property
    def view(self) -> View:
        """The maps' limits (x, y) on show, in data coordinates."""
        axes = self._maps[0].axes
        return axes.get_xlim(), axes.get_ylim()

    @view.setter
    def view(self, limits: View) -> None:
        self._maps[0].axes.set(xlim=limits[0], ylim=limits[1])

    def home(self) -> None:
        """Show the whole of all pictures, as the toolbar's home does."""
        if self._renderings:
            self._reset_view(None)
            self.figure.canvas.draw()

    def _reset_view(self, kept: View | None) -> None:
        """Show the whole frame and make it the toolbar's home; then go back to a kept zoom."""
        rendering = self._renderings[0]
        height, width = self._images[0].shape[:2]
        whole: View = ((-0.5, width - 0.5), (height - 0.5, -0.5))
        self._inputs[0].axes.set(xlim=whole[0], ylim=whole[1])
        if rendering.tiles is not None:
            left, right, bottom, top = map_extent(rendering, self._place)
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

    def _follow(self, moved: Axes) -> None:
        """Show the same part in all axes that share the coordinates of the one that moved."""
        if not self._renderings:
            return
        limits = moved.get_xlim(), moved.get_ylim()
        for axes in self._linked_with(moved):
            if (axes.get_xlim(), axes.get_ylim()) != limits:
                axes.set_xlim(limits[0], emit=False)
                axes.set_ylim(limits[1], emit=False)

    def _linked_with(self, moved: Axes) -> list[Axes]:
        inputs = [picture.axes for picture in self._inputs]
        maps = [picture.axes for picture in self._maps]
        if self._renderings[0].tiles is None:
            return [*inputs, *maps]
        return inputs if moved in inputs else maps

    def _describing_map(self, number: int) -> Any:
        def describe(x: float, y: float) -> str:
            if not self._renderings:
                return ""
            return value_at(self._renderings[number], self._place, x, y)

        return describe

    def _describing_input(self, number: int) -> Any:
        def describe(x: float, y: float) -> str:
            pixel = _pixel(self._images[number], x, y) if self._images else None
            if pixel is None:
                return ""
            row, column = pixel
            red, green, blue = self._images[number][row, column]
            return f"row {row}, column {column}: RGB {red}, {green}, {blue}"

        return describe

    @own_style()
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
        # Saving the live figure would change its resolution under the canvas that shows it.
        twin = self._twin(source)
        twin.view = self.view
        twin.figure.savefig(path, format=suffix)

    def _twin(self, source: str) -> LinkedFigure:
        """Return another figure that shows the same, with a line at the foot."""
        raise NotImplementedError


def _pixel(image: npt.NDArray[Any], x: float, y: float) -> tuple[int, int] | None:
    """Return row and column of the image's pixel at a point in its coordinates."""
    row, column = math.floor(y + 0.5), math.floor(x + 0.5)
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return (row, column) if inside else None


class _OwnFigure(Figure):
    """A figure that is drawn in `own_style`, on whatever canvas and whoever asks for it."""

    @own_style()
    def draw(self, renderer: Any) -> None:
        super().draw(renderer)


@own_style()
def new_figure(inches: tuple[float, float] = FIGURE_INCHES) -> Figure:
    """Return an empty figure, of the explorer's size by default, that pyplot does not know."""
    return _OwnFigure(figsize=inches, dpi=DPI, facecolor="white")

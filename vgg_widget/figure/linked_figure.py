"""Input images beside pictures of a layer on one figure, made once and updated in place.

This module receives renderings and computes none. It works on any canvas, ipympl's or Agg.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from vgg_widget.figure.color_bars import ColorBars, LegendList
from vgg_widget.figure.painting import MarksPainter, SidePainter
from vgg_widget.figure.sizes import DPI, FIGURE_INCHES
from vgg_widget.figure.themes import LIGHT, PLAIN, Theme, own_style
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement
from vgg_widget.pictures.coordinates import Hit, Marks, map_extent, unit_under, value_at
from vgg_widget.pictures.legend import LegendEntry
from vgg_widget.pictures.modes import Rendering

View = tuple[tuple[float, float], tuple[float, float]]
Box = tuple[float, float, float, float]
"""Left, bottom, width and height, as fractions of the figure."""

# The number of letters of this size per inch.
_TITLE_POINTS, _LETTERS_PER_INCH = 9.5, 13.8

# The name of "auto" before matplotlib 3.10; later releases still accept it.
SMOOTH = "antialiased"

# Letters in the source line at the bottom of a figure of the usual width.
_SOURCE_LETTERS = 132


def title_of(rendering: Rendering) -> str:
    """Return the title, with a note on a dead or constant picture."""
    return f"{rendering.title} ({rendering.note})" if rendering.note else rendering.title


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents to be arranged.

    `image` is the inputs' height divided by their width; `grid` is the same for a grid of tiles.
    `bare` is whether neither colorbar nor list explains the colours, `listed` the entries of that
    list, and `source` whether there is a line at the bottom.
    """

    image: float = 1.0
    grid: float | None = None
    bare: bool = False
    listed: tuple[LegendEntry, ...] = ()
    source: bool = False


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Positions: the figure's height in inches, and boxes on it."""

    height: float
    inputs: tuple[Box, ...]
    maps: tuple[Box, ...]
    bars: tuple[Box, ...]
    legend: Box


class LinkedFigure:
    """Input images, pictures of one layer, and their colorbars, with linked zoom and marks.

    All use the coordinates of the input's pixels; grids use their own pixels. A subclass defines
    the arrangement and a `show` method.

    Parameters
    ----------
    figure : Figure
        An empty figure; its canvas is redrawn at every change.
    """

    inches: tuple[float, float] = FIGURE_INCHES
    """Width and height of the figure that `save` writes."""
    # The label of each colorbar.
    bar_labels: Sequence[str]

    @own_style()
    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._arranged = boxes = self._arrange(figure.get_size_inches()[0], Contents())
        self._inputs = tuple(_picture_on(figure.add_axes(box)) for box in boxes.inputs)
        self._maps = tuple(_picture_on(figure.add_axes(box)) for box in boxes.maps)
        self._bars = tuple(
            ColorBars(figure, box, label)
            for label, box in zip(self.bar_labels, boxes.bars, strict=True)
        )
        self._legend = LegendList(figure, boxes.legend)
        self._source = figure.text(0.012, 0.014, "", fontsize=7.5, **PLAIN)
        self._renderings: tuple[Rendering, ...] = ()
        self._images: tuple[RGB8, ...] = ()
        self._place: float | Placement = Placement()
        self._marks = Marks()
        self._kept_view: View | None = None
        # Whether the last update was completed.
        self._update_completed = False
        for picture in (*self._inputs, *self._maps):
            picture.axes.title.set(fontsize=_TITLE_POINTS, ha="left", x=0, **PLAIN)
        input_axes = [picture.axes for picture in self._inputs]
        map_axes = [picture.axes for picture in self._maps]
        self._marks_painter = MarksPainter(figure, input_axes, map_axes)
        beside = (*(bars.axes for bars in self._bars), self._legend.axes)
        self._side_painter = SidePainter(figure, self._maps, beside, self._marks_painter)
        self._theme = LIGHT
        self._apply_theme(LIGHT)
        for describe, group in (
            (self._describe_input, input_axes),
            (self._describe_map, map_axes),
        ):
            for number, axes in enumerate(group):
                axes.format_coord = partial(describe, number)  # type: ignore[method-assign]
                axes.callbacks.connect("xlim_changed", self._sync_limits)
                axes.callbacks.connect("ylim_changed", self._sync_limits)

    # --- overridden by subclasses

    def _arrange(self, width: float, shown: Contents) -> Arrangement:
        """Return all positions on a figure of a width in inches.

        The inputs are left of all maps; an input and the map of the same number belong together.
        """
        raise NotImplementedError

    def _scales(self) -> Sequence[Rendering]:
        """Return the rendering that each colorbar describes."""
        return self._renderings

    def _legend_entries(self) -> tuple[LegendEntry, ...]:
        """Return the entries of the legend."""
        return self._renderings[0].legend

    def _input_titles(self) -> Sequence[str]:
        """Return the title of each input."""
        return [f"input · {image.shape[0]} × {image.shape[1]}" for image in self._images]

    # --- size and colours

    @property
    def width(self) -> int:
        """The width in pixels; setting it redraws the figure, with a height to fit."""
        return round(float(self.figure.get_size_inches()[0]) * DPI)

    @width.setter
    @own_style()
    def width(self, pixels: int) -> None:
        if self._place_all(pixels / DPI) and self._renderings:
            self._update_beside()
            self._title_all()
        self.figure.canvas.draw()

    def _place_all(self, width: float) -> bool:
        """Arrange everything on a figure of a width in inches; return whether anything moved."""
        boxes = self._arrange(width, self._contents())
        size = [*map(float, self.figure.get_size_inches())]
        if boxes == self._arranged and np.allclose(size, (width, boxes.height)):
            return False
        self.figure.set_size_inches(width, boxes.height)
        for pictures, places in ((self._inputs, boxes.inputs), (self._maps, boxes.maps)):
            for picture, place in zip(pictures, places, strict=True):
                picture.axes.set_position(place)
        for bars, place in zip(self._bars, boxes.bars, strict=True):
            bars.arrange(place)
        self._legend.arrange(boxes.legend)
        self._side_painter.arranged()
        # Set last, so that after an interrupt the arrangement is repeated.
        self._arranged = boxes
        return True

    def _contents(self) -> Contents:
        if not self._renderings:
            return Contents()
        return self._contents_of(self._renderings[0], tuple(self._legend_entries()))

    def _contents_of(self, rendering: Rendering, listed: tuple[LegendEntry, ...]) -> Contents:
        height, across = self._images[0].shape[:2]
        grid = None
        if rendering.tiles is not None:
            left, right, bottom, top = map_extent(rendering, self._place)
            grid = abs(bottom - top) / abs(right - left)
        # A dead channel has no colorbar but keeps its space, since the next one may have one.
        bare = rendering.vmin is None and not listed
        return Contents(height / across, grid, bare, listed, bool(self._source.get_text()))

    def _title_all(self) -> None:
        words = [*self._input_titles(), *map(title_of, self._renderings)]
        for picture, title in zip((*self._inputs, *self._maps), words, strict=True):
            self._set_title(picture.axes, title)

    def _set_title(self, axes: Axes, words: str) -> None:
        axes.title.set_text(self._fitting_title(axes, words))

    def _fitting_title(self, axes: Axes, words: str) -> str:
        # Beyond its axes there is another picture, or the edge.
        across = self.figure.get_size_inches()[0] * self._side_painter.title_room(axes)
        letters = int(_LETTERS_PER_INCH * across)
        first, *others = words.split(" · ")
        if len(words) > letters and others:
            # Half a size would be meaningless; the caption has the parts that are left out.
            words = first if others[-1][:1].isdigit() else f"{first} · {others[-1]}"
        return f"{words[: letters - 1]}…" if len(words) > letters else words

    @property
    def theme(self) -> Theme:
        """The figure's colours; setting another theme redraws it."""
        return self._theme

    @theme.setter
    @own_style()
    def theme(self, theme: Theme) -> None:
        if theme != self._theme:
            self._apply_theme(theme)
            self._theme = theme
            self.figure.canvas.draw()

    def _apply_theme(self, theme: Theme) -> None:
        self.figure.set_facecolor(theme.paper)
        self._source.set_color(theme.faint)
        for picture in (*self._inputs, *self._maps):
            axes = picture.axes
            axes.set_facecolor(theme.paper)
            axes.title.set_color(theme.ink)
        for bars in self._bars:
            bars.apply_theme(theme)
        self._legend.apply_theme(theme)

    # --- content

    @own_style()
    def _update(
        self,
        renderings: tuple[Rendering, ...],
        images: tuple[RGB8, ...],
        place: float | Placement,
        source: str = "",
        marks: Marks | None = None,
    ) -> None:
        """Show other renderings, and draw; each image is as the network saw it.

        If the inputs are unchanged, only the side of the maps is painted and sent.
        """
        marks = marks or Marks()
        rendering, before = renderings[0], self._renderings[0] if self._renderings else None
        same_images = self._update_completed and [*map(id, images)] == [*map(id, self._images)]
        self._update_completed = False
        same_inputs = (
            same_images
            and source == self._source.get_text()
            and marks.box == self._marks.box
            and bool(marks.overlay) == bool(self._marks.overlay)
        )
        # Checked before anything is changed.
        side_alone = same_inputs and self._side_painter.ready()
        if same_images and before and not before.tiles and rendering.tiles:
            self._kept_view = self.view
        self._renderings, self._images, self._place = renderings, images, place
        self._marks = marks
        if not same_images:
            self._kept_view = None
            self._show_images()
        titles = [title_of(shown) for shown in renderings]
        same_frame = same_images and _frame(before) == _frame(rendering)
        self._source.set(text=source, fontsize=7.5 * min(1, _SOURCE_LETTERS / max(1, len(source))))
        if self._place_all(float(self.figure.get_size_inches()[0])):
            side_alone = False
        self._title_all()
        for picture, shown in zip(self._maps, renderings, strict=True):
            picture.set_data(shown.rgba)
            picture.set_extent(map_extent(shown, place))
            # A grid usually has more pixels than the screen: dropping rows would distort it.
            picture.set_interpolation(SMOOTH if shown.tiles else "nearest")
        self._marks_painter.set(marks, renderings, place)
        if not same_frame:
            self._reset_view(self._kept_view if same_images and rendering.tiles is None else None)
            side_alone = False
        numbers = [bars.numbers for bars in self._bars]
        self._update_beside()
        if side_alone:
            self._paint_side(titles, numbers)
        else:
            self.figure.canvas.draw()
        if (toolbar := self.figure.canvas.toolbar) is not None:
            # Its text about the unit under the mouse refers to the previous picture.
            toolbar.set_message("")
        self._update_completed = True

    def _paint_side(self, titles: list[str], numbers: list[Hashable]) -> None:
        """Paint the side of the maps; `numbers` are the colorbars' previous numbers."""
        one = len(self._renderings[0].channels) == 1
        moving: list[Artist] = [picture.axes.title for picture in self._maps] if one else []
        backdrop: list[Hashable] = [self._legend_entries(), one or tuple(titles)]
        for bars, before in zip(self._bars, numbers, strict=True):
            # Drawing the numbers takes 8 ms, so unchanged ones belong to the backdrop, drawn once.
            same = bars.numbers == before
            backdrop.append((bars.key, same and before))
            if not same:
                moving.extend(bars.moving)
        self._side_painter.paint(tuple(backdrop), moving)

    def _show_images(self) -> None:
        for picture, image in zip(self._inputs, self._images, strict=True):
            height, width = image.shape[:2]
            picture.set_data(image)
            picture.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
            picture.set_interpolation(SMOOTH)

    def _update_beside(self) -> None:
        for bars, shown in zip(self._bars, self._scales(), strict=True):
            bars.update(shown)
        self._legend.show(self._legend_entries())

    def mark(self, marks: Marks) -> None:
        """Change the marks on the same pictures, as soon as the page is ready for a frame."""
        if not self._renderings or marks == self._marks:
            return
        self._marks = marks
        self._marks_painter.set(marks, self._renderings, self._place)
        self._repaint_marks()

    def _repaint_marks(self) -> None:
        paint_idle = getattr(self.figure.canvas, "paint_idle", None)
        if paint_idle is None:
            self._marks_painter.repaint()
        else:
            paint_idle(self._marks_painter.repaint)

    # --- positions

    def hit(self, event: Any) -> Hit | None:
        """Return the position on a picture at which a matplotlib mouse event occurred.

        None outside the pictures, and between a grid's tiles.
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

    def _describe_map(self, number: int, x: float, y: float) -> str:
        if not self._renderings:
            return ""
        return value_at(self._renderings[number], self._place, x, y)

    def _describe_input(self, number: int, x: float, y: float) -> str:
        pixel = _pixel(self._images[number], x, y) if self._images else None
        if pixel is None:
            return ""
        red, green, blue = self._images[number][pixel]
        return f"row {pixel[0]}, column {pixel[1]}: RGB {red}, {green}, {blue}"

    # --- zoom

    @property
    def view(self) -> View:
        """The maps' current limits (x, y), in data coordinates."""
        axes = self._maps[0].axes
        return axes.get_xlim(), axes.get_ylim()

    @view.setter
    def view(self, limits: View) -> None:
        self._maps[0].axes.set(xlim=limits[0], ylim=limits[1])

    def home(self) -> None:
        """Show all pictures in full, like the toolbar's home button."""
        if self._renderings:
            self._reset_view(None)
            self.figure.canvas.draw()

    def _reset_view(self, kept: View | None) -> None:
        """Show the full view and make it the toolbar's home; then restore a kept zoom."""
        rendering = self._renderings[0]
        height, width = self._images[0].shape[:2]
        whole: View = ((-0.5, width - 0.5), (height - 0.5, -0.5))
        self._inputs[0].axes.set(xlim=whole[0], ylim=whole[1])
        if rendering.tiles is not None:
            left, right, bottom, top = map_extent(rendering, self._place)
            whole = ((left, right), (bottom, top))
        self.view = whole
        toolbar: Any = getattr(self.figure.canvas, "toolbar", None)
        if toolbar is not None:
            toolbar.update()
            toolbar.push_current()
        if kept is not None and kept != self.view:
            self.view = kept
            if toolbar is not None:
                toolbar.push_current()

    def _sync_limits(self, moved: Axes) -> None:
        """Show the same part in all axes that share coordinates with those that moved."""
        if not self._renderings:
            return
        inputs = [picture.axes for picture in self._inputs]
        maps = [picture.axes for picture in self._maps]
        if self._renderings[0].tiles is None:
            linked = [*inputs, *maps]
        else:
            linked = inputs if moved in inputs else maps
        limits = moved.get_xlim(), moved.get_ylim()
        for axes in linked:
            if (axes.get_xlim(), axes.get_ylim()) != limits:
                axes.set_xlim(limits[0], emit=False)
                axes.set_ylim(limits[1], emit=False)

    def close(self) -> None:
        """Empty the figure and release all pictures.

        matplotlib figures refer to themselves, so Python frees them only later, at a time that
        depends on the number of objects, not on bytes.
        """
        self.figure.clear()
        self._renderings, self._images, self._inputs, self._maps = (), (), (), ()
        self._side_painter.forget()
        self._marks_painter.forget()

    # --- export

    @own_style()
    def save(self, path: Any, suffix: str, source: str) -> None:
        """Write the current figure as PNG, SVG or PDF, without changing the one on screen.

        `suffix` is ``"png"``, ``"svg"`` or ``"pdf"``; `source` is the line at the bottom.
        """
        # Saving the live figure would change its resolution while a canvas shows it.
        twin = type(self)(new_figure(self.inches))
        shown = self._renderings, self._images, self._place
        twin._update(*shown, source, self._marks)  # noqa: SLF001 - of this class
        twin.view = self.view
        twin.figure.savefig(path, format=suffix)


def _frame(rendering: Rendering | None) -> object:
    """Identify a rendering's coordinate system: the image's, or that of its tiles."""
    if rendering is None:
        return None
    tiles = rendering.tiles
    # In another order, the tiles are at the same positions.
    return (len(tiles.channels), tiles.columns, tiles.height, tiles.width) if tiles else "image"


def _pixel(image: npt.NDArray[Any], x: float, y: float) -> tuple[int, int] | None:
    """Return row and column of the image pixel at a point in the image's coordinates."""
    row, column = math.floor(y + 0.5), math.floor(x + 0.5)
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return (row, column) if inside else None


def _picture_on(axes: Axes) -> AxesImage:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    picture = ReducedImage(axes, interpolation="nearest")
    picture.set_data(np.zeros((1, 1, 4), np.uint8))
    picture.set_extent((-0.5, 0.5, 0.5, -0.5))
    axes.add_image(picture)
    axes.set_aspect("equal")
    # matplotlib would append the colour's four numbers to the coordinates.
    picture.set_mouseover(False)
    return picture


class BlendedImage(AxesImage):
    """An RGBA image whose resampled colours are weighted by opacity, in every matplotlib release.

    Before 3.11 matplotlib averages colours and opacities separately, so the black of transparent
    pixels, such as the gaps of a grid, darkens the edges beside them.
    """

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the drawn pixels and their position, as `AxesImage` does."""
        pixels: Any = self._A  # type: ignore[has-type]
        copied = unsampled or self.get_interpolation() == "nearest"
        if mpl.__version_info__ >= (3, 11) or copied or pixels.shape[-1] < 4:
            return super().make_image(renderer, magnification, unsampled)
        opacity = pixels[..., 3:]
        if opacity.min() == 255:
            return super().make_image(renderer, magnification, unsampled)
        try:
            self._A = np.rint(pixels[..., :3] * (opacity / 255)).astype(np.uint8)
            drawn, left, bottom, transform = super().make_image(renderer, magnification)
            self._A = opacity.repeat(3, axis=-1)
            opacities = super().make_image(renderer, magnification)[0]
        finally:
            self._A = pixels
        if drawn is not None:
            weight = np.maximum(opacities[..., :1], 1) / 255
            drawn[..., :3] = np.minimum(np.rint(drawn[..., :3] / weight), 255)
            drawn[..., 3] = opacities[..., 0]
        return drawn, left, bottom, transform


class ReducedImage(BlendedImage):
    """An RGBA image that is drawn from a smaller copy while that is sharp enough.

    matplotlib filters every pixel at every drawing: 0.2 s for a grid of 4 million pixels, of which
    the screen shows a hundredth. Each pixel of the copy is the mean of a square of pixels, weighted
    by opacity. Zoomed in, the image is drawn from its own pixels again.
    """

    # The original, the number of its pixels per pixel of the copy along a side, and the copy.
    _copy: tuple[Any, int, Any] = (None, 1, None)

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the drawn pixels and their position, as `AxesImage` does."""
        pixels: Any = self._A
        factor = self._factor(pixels, magnification)
        if factor < 2 or unsampled or self.get_interpolation() == "nearest":
            return super().make_image(renderer, magnification, unsampled)
        if self._copy[0] is not pixels or self._copy[1] != factor:
            copy = np.asarray(Image.fromarray(np.asarray(pixels)).reduce(factor))
            self._copy = pixels, factor, copy
        self._A = self._copy[2]
        try:
            return super().make_image(renderer, magnification, unsampled)
        finally:
            self._A = pixels

    def _factor(self, pixels: Any, magnification: float) -> int:
        """Return the number of image pixels per screen pixel along a side."""
        left, right, bottom, top = self.get_extent()
        corners = self.axes.transData.transform([(left, bottom), (right, top)])
        across, down = np.maximum(1, np.abs(corners[1] - corners[0]) * magnification)
        height, width = pixels.shape[:2]
        return int(min(width / across, height / down))


class _OwnFigure(Figure):
    """A figure that is always drawn in `own_style`, on any canvas."""

    @own_style()
    def draw(self, renderer: Any) -> None:
        super().draw(renderer)


@own_style()
def new_figure(inches: tuple[float, float] = FIGURE_INCHES) -> Figure:
    """Return an empty figure, by default of the explorer's size, unknown to pyplot."""
    return _OwnFigure(figsize=inches, dpi=DPI, facecolor="white")

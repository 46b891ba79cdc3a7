"""The matplotlib side: an input image beside a rendering, made once and updated in place.

It is handed renderings and computes none. Everything here works on any canvas, ipympl's or Agg.
"""

from __future__ import annotations

import io
import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import FuncNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage

from vgg_widget.frames import DPI, FIGURE_INCHES
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement, as_placement
from vgg_widget.modes import Rendering
from vgg_widget.painting import SidePainter
from vgg_widget.reduced_image import ReducedImage

# Which ends of a colorbar get an arrow, since values beyond them are shown.
_EXTEND = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}

View = tuple[tuple[float, float], tuple[float, float]]


def color_norm(rendering: Rendering) -> Normalize:
    """Return the matplotlib norm that a rendering's colours follow."""
    vmin, vmax, gamma = rendering.vmin or 0.0, rendering.vmax or 0.0, rendering.gamma
    if gamma == 1:
        return Normalize(vmin, vmax)
    if vmin >= 0:
        return PowerNorm(gamma, vmin, vmax)

    def bend(values: npt.ArrayLike) -> npt.NDArray[Any]:
        bent: npt.NDArray[Any] = np.sign(values) * np.abs(values) ** gamma
        return bent

    def unbend(values: npt.ArrayLike) -> npt.NDArray[Any]:
        straight: npt.NDArray[Any] = np.sign(values) * np.abs(values) ** (1 / gamma)
        return straight

    return FuncNorm((bend, unbend), vmin, vmax)


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
    return bar


def map_extent(rendering: Rendering, place: float | Placement) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of a rendering in data coordinates.

    A feature map lies on the input pixels that it covers, so that both pictures share one
    coordinate system; a grid of tiles has a system of its own.
    """
    height, width = rendering.rgba.shape[:2]
    at = _placed(rendering, place)
    bottom, right = at.top + height * at.row_step, at.left + width * at.column_step
    return at.left, right, bottom, at.top


def _placed(rendering: Rendering, place: float | Placement) -> Placement:
    return Placement() if rendering.tiles else as_placement(place)


def title_of(rendering: Rendering) -> str:
    """Return the title, with a dead or constant picture called so."""
    return f"{rendering.title} ({rendering.note})" if rendering.note else rendering.title


def value_at(rendering: Rendering, place: float | Placement, x: float, y: float) -> str:
    """Say in words what a point of the map's axes shows."""
    at = _placed(rendering, place)
    row, column = math.floor((y - at.top) / at.row_step), math.floor((x - at.left) / at.column_step)
    height, width = rendering.rgba.shape[:2]
    if not (0 <= row < height and 0 <= column < width):
        return ""
    where = f"row {row}, column {column}"
    if rendering.tiles is not None:
        found = rendering.tiles.locate(row, column)
        if found is None:
            return ""
        where = "channel {}, row {}, column {}".format(*found)
    if rendering.values is None:
        return where
    value = float(rendering.values[row, column])
    if rendering.mode == "argmax":
        return f"{where}: " + (f"channel {value:.0f}" if value >= 0 else "no channel is active")
    return f"{where}: {value:.4g}"


def _bar_key(rendering: Rendering) -> Hashable:
    """Name the colorbar that belongs to a rendering."""
    if not has_color_scale(rendering) or rendering.colormap is None:
        return None
    # matplotlib hands out a new colormap at every look-up, and none is hashable.
    colours = rendering.colormap(np.arange(rendering.colormap.N), bytes=True).tobytes()
    return (rendering.vmin, rendering.vmax, rendering.gamma, rendering.clipped, colours)


class FeatureFigure:
    """The input image, the picture on show, and its colorbar, on one figure.

    Parameters
    ----------
    figure : Figure
        An empty figure; its canvas is drawn on at every `show`.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        grid = figure.add_gridspec(
            1,
            3,
            width_ratios=(1, 1, 0.045),
            left=0.012,
            right=0.905,
            top=0.92,
            bottom=0.055,
            wspace=0.05,
        )
        self._input_axes = figure.add_subplot(grid[0])
        self._map_axes = figure.add_subplot(grid[1])
        # The arrows of a colorbar cannot be changed once it is made, and new axes would clear the
        # toolbar's history: all four are there, and one is shown.
        self._bars = {extend: self._colorbar(grid[2], extend) for extend in _EXTEND.values()}
        blank = np.zeros((1, 1, 4), np.uint8)
        self._input = self._picture(self._input_axes, blank)
        self._map = self._picture(self._map_axes, blank)
        self._source = figure.text(0.012, 0.014, "", fontsize=7.5, color="0.35", parse_math=False)
        self._rendering: Rendering | None = None
        self._image: RGB8 | None = None
        self._place: float | Placement = Placement()
        self._bar_keys: dict[str, Hashable] = {}
        self._kept_view: View | None = None
        # A file, layer or mode of somebody's may have dollar signs in its name.
        self._map_axes.title.set(fontsize=9.5, parse_math=False)
        bars = [bar.ax for bar in self._bars.values()]
        self._painter = SidePainter(figure, self._map_axes, self._map, bars)
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

    def _colorbar(self, place: SubplotSpec, extend: str) -> Colorbar:
        axes = self.figure.add_subplot(place, visible=False)
        bar = self.figure.colorbar(ScalarMappable(Normalize(0, 1)), cax=axes, extend=extend)
        bar.ax.tick_params(labelsize=8)
        bar.set_label("activation", fontsize=8)
        bar.ax.set_navigate(False)
        return bar

    @property
    def map_axes(self) -> Axes:
        """The axes that hold the picture of the layer."""
        return self._map_axes

    @property
    def input_axes(self) -> Axes:
        """The axes that hold the input image."""
        return self._input_axes

    def show(
        self, rendering: Rendering, image: RGB8, place: float | Placement, source: str = ""
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
        self._rendering, self._image, self._place = rendering, image, place
        if not same_image:
            self._kept_view = None
            height, width = image.shape[:2]
            self._input.set_data(image)
            self._input.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
            self._input.set_interpolation("auto")
            self._input_axes.set_title(f"input · {height} × {width}", fontsize=9.5)
        self._map.set_data(rendering.rgba)
        self._map.set_extent(map_extent(rendering, place))
        # A grid is mostly smaller on screen than in pixels; leaving rows out would distort it.
        self._map.set_interpolation("auto" if rendering.tiles else "nearest")
        self._map_axes.title.set_text(title_of(rendering))
        self._source.set_text(source)
        if not same_image or self._frame(before) != self._frame(rendering):
            self._reset_view(self._kept_view if same_image and rendering.tiles is None else None)
            side_alone = False
        bar, one = _bar_key(rendering), len(rendering.channels) == 1
        backdrop = (bar, one or title_of(rendering))
        if side_alone and self._painter.knows(backdrop):
            # The bar's own artists may wait until the frame is on its way.
            self._painter.paint(backdrop, title_moves=one)
            self._update_bar(rendering, bar)
            self._painter.settle()
        else:
            self._update_bar(rendering, bar)
            if side_alone:
                self._painter.paint(backdrop, title_moves=one)
            else:
                self.figure.canvas.draw()
        if (toolbar := self.figure.canvas.toolbar) is not None:
            # What it says of the place under the mouse was said of the picture before.
            toolbar.set_message("")

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

    def _update_bar(self, rendering: Rendering, key: Hashable) -> None:
        shown = _EXTEND[rendering.clipped] if key else None
        for extend, bar in self._bars.items():
            if bar.ax.get_visible() != (extend == shown):
                bar.ax.set_visible(extend == shown)
            # Any change of its mappable makes a colorbar anew, which takes 10 ms.
            if extend == shown and self._bar_keys.get(extend) != key:
                self._bar_keys[extend] = key
                with bar.mappable.callbacks.blocked():
                    bar.mappable.set_cmap(rendering.colormap or "viridis")
                bar.mappable.set_norm(color_norm(rendering))

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
        twin.show(self._rendering, self._image, self._place, source)
        twin.view = self.view
        twin.figure.savefig(path, format=suffix)

    def png(self, source: str) -> bytes:
        """Return what is on show as PNG bytes."""
        with io.BytesIO() as buffer:
            self.save(buffer, "png", source)
            return buffer.getvalue()


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

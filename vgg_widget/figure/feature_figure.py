"""The explorers' figures: input images beside pictures of a layer, with their colorbars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from vgg_widget.figure.color_bars import BESIDE_SWATCH, LIST_POINTS, SWATCH, list_height
from vgg_widget.figure.linked_figure import (
    Arrangement,
    Box,
    Contents,
    LinkedFigure,
    new_figure,
    title_of,
)
from vgg_widget.figure.painting import Enlargement
from vgg_widget.figure.sizes import PAIR_INCHES
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement
from vgg_widget.pictures.comparing import PairRendering
from vgg_widget.pictures.coordinates import Marks, extent_of
from vgg_widget.pictures.legend import LegendEntry, legend_of_both
from vgg_widget.pictures.modes import Rendering

__all__ = ["FeatureFigure", "PairFigure", "new_figure", "static_figure", "title_of"]


# In inches: the left margin, the gap between input and map, the space for colorbar or list beside
# the map, or below it on a narrow page; above the pictures for titles, and at the bottom.
_MARGIN, _GAP, _BESIDE, _BELOW = 0.08, 0.2, 1.1, 0.84
_HEAD, _FOOT, _SOURCE = 0.3, 0.08, 0.24
# A portrait as wide as a landscape, or a square grid, would not fit on the screen.
_TALLEST = 5.2
HIGHEST = _HEAD + _TALLEST + _SOURCE
"""The maximum height of a figure with a line at the bottom, in inches."""
# Below this width there is no room beside the map.
_NARROW = 5.6
# Nor is there room beside a map that is lower than this.
_FLAT = 1.3
# The input's share of the figure's width beside a grid, which needs the space.
_THUMBNAIL = 0.14


@dataclass(frozen=True, slots=True)
class OnCanvas:
    """Positions in a `FeatureFigure` on its canvas, in pixels from the top left corner.

    Boxes are left, top, right and bottom. A scale is the pixel of coordinate 0 and the pixels
    per unit, first horizontally, then vertically. `points` is the number of pixels per typographic
    point; the remaining fields are in points.
    """

    map: Box
    input: Box
    map_scale: Box
    input_scale: Box
    bar: Box
    title: tuple[float, float]
    title_room: float
    points: float
    list_points: float = LIST_POINTS
    swatch: float = SWATCH * 72
    beside_swatch: float = BESIDE_SWATCH * 72


class FeatureFigure(LinkedFigure):
    """The input image, the current picture, and its colorbar, on one figure."""

    bar_labels = ("activation",)

    def _arrange(self, width: float, shown: Contents) -> Arrangement:
        boxes = self._boxes(width, shown, narrow=width < _NARROW)
        # Beside a flat picture there is no space for numbers and labels.
        flat = boxes.maps[0][3] * boxes.height < _FLAT and not shown.bare
        return self._boxes(width, shown, narrow=True) if flat else boxes

    @staticmethod
    def _boxes(width: float, shown: Contents, *, narrow: bool) -> Arrangement:
        """Arrange everything, with colorbar or list below the map if `narrow`."""
        beside = _MARGIN if narrow or (shown.bare and shown.grid) else _BESIDE
        room = width - _MARGIN - _GAP - beside
        across = _THUMBNAIL * width if shown.grid else room / 2
        other = room - across
        shape = shown.grid or shown.image
        tall = min(max(across * shown.image, other * shape), _TALLEST)
        across, other = min(across, tall / shown.image), min(other, tall / shape)
        under = 0.0
        listed = tall
        if narrow and not shown.bare:
            under = list_height(shown.listed, other) + 0.1 if shown.listed else _BELOW
        elif shown.listed:
            listed = max(tall, list_height(shown.listed))
        below = (_SOURCE if shown.source else _FOOT) + listed - tall + under
        height = below + tall + _HEAD
        left = _MARGIN + across + _GAP
        right = left + other

        def box(x: float, top: float, wide: float, high: float) -> Box:
            """Return a box whose top is this far below that of the pictures."""
            bottom = below + tall - top - high
            return x / width, bottom / height, wide / width, high / height

        lower = other * shape + 0.08
        return Arrangement(
            height,
            inputs=(box(_MARGIN, 0, across, across * shown.image),),
            maps=(box(left, 0, other, other * shape),),
            bars=(
                box(left, lower, other, 0.12)
                if narrow
                else box(right + 0.12, 0, 0.14, other * shape),
            ),
            legend=(
                box(left, lower, other, max(0.05, under - 0.05))
                if narrow
                else box(right + 0.1, 0, _BESIDE - 0.1, listed)
            ),
        )

    @property
    def map_axes(self) -> Axes:
        """The axes of the layer's picture."""
        return self._maps[0].axes

    @property
    def input_axes(self) -> Axes:
        """The axes of the input image."""
        return self._inputs[0].axes

    def enlargement(self, shape: tuple[int, int], place: Placement) -> Enlargement | None:
        """Return where the pixels of a map would be drawn; None if that is not known exactly.

        `shape` is the map's rows and columns, and `place` its position on the input.
        """
        return self._side_painter.enlargement(shape, extent_of(shape, place))

    def on_canvas(self) -> OnCanvas | None:
        """Return all positions on the canvas; None for a grid."""
        if self._renderings[0].tiles is not None:
            return None
        # Agg has whole rows, and counts them from the bottom.
        height = int(self.figure.bbox.height)
        title = self.map_axes.title
        across, up = title.get_transform().transform(title.get_position())

        def box(axes: Axes) -> Box:
            left, bottom, right, top = axes.bbox.extents
            return float(left), height - float(top), float(right), height - float(bottom)

        def scale(axes: Axes) -> Box:
            (x, y), (right, down) = axes.transData.transform([(0, 0), (1, 1)])
            return float(x), float(right - x), height - float(y), float(y - down)

        return OnCanvas(
            box(self.map_axes),
            box(self.input_axes),
            scale(self.map_axes),
            scale(self.input_axes),
            box(self._bars[0].axes),
            (float(across), height - float(up)),
            self._side_painter.title_room(self.map_axes) * float(self.figure.bbox.width),
            float(self.figure.dpi) / 72,
        )

    def show_frames(self, *, shown: bool) -> None:
        """Paint the frames for the mouse position and the location, or leave them to the page.

        Frames that return appear with the next drawing, which is a full one.
        """
        if self._marks_painter.frames_shown == shown:
            return
        self._marks_painter.frames_shown = shown
        if shown:
            self._side_painter.arranged()
        else:
            self._repaint_marks()

    @property
    def is_drawn(self) -> bool:
        """Whether the canvas shows the figure's current state."""
        return self._side_painter.ready()

    def keeps_places(self, rendering: Rendering) -> bool:
        """Return whether showing this rendering would leave all positions unchanged."""
        if not self._renderings or rendering.tiles is not None:
            return False
        width = float(self.figure.get_size_inches()[0])
        shown = self._contents_of(rendering, rendering.legend)
        return self._arrange(width, shown) == self._arranged

    def list_for(self, rendering: Rendering) -> list[tuple[str, str, float, float]]:
        """Return the lines of a rendering's list: text, colour or "", and position on the canvas.

        The position is that of the line's left end and vertical middle, in pixels from the top
        left corner.
        """
        height, dpi = int(self.figure.bbox.height), float(self.figure.dpi)
        left, _, _, top = self._legend.axes.bbox.extents
        return [
            (
                line.words,
                "" if line.color is None else to_hex(line.color),
                float(left) + dpi * line.left,
                height - float(top) + dpi * line.middle,
            )
            for line in self._legend.lines(rendering.legend)
        ]

    def words_for(self, rendering: Rendering) -> tuple[str, list[tuple[float, str]], list[str]]:
        """Return a rendering's title, and the numbers and label of its colorbar."""
        title = self._fitting_title(self.map_axes, title_of(rendering))
        return title, *self._bars[0].words_for(rendering)

    def show(
        self,
        rendering: Rendering,
        image: RGB8,
        place: float | Placement,
        source: str = "",
        marks: Marks | None = None,
    ) -> None:
        """Show another rendering, and draw.

        `image` is as the network saw it. `place` is the position of the layer's map on it, or its
        stride from the corner. `source` is a line at the bottom about the origin of the numbers,
        for an exported picture; beside a live figure a widget shows it.
        """
        self._update((rendering,), (image,), place, source, marks)


def static_figure(
    rendering: Rendering, image: RGB8, place: float | Placement, source: str
) -> Figure:
    """Return a figure as the explorer shows it, with the line at the bottom; see `show`."""
    figure = new_figure()
    FeatureFigure(figure).show(rendering, image, place, source)
    return figure


# Three columns of two: the images, their maps, and the difference above the two colorbars.
_WIDTH, _HEIGHT = 0.316, 0.43
_LEFT, _MIDDLE, _RIGHT = 0.012, 0.340, 0.672
_UPPER, _LOWER = 0.523, 0.038


class PairFigure(LinkedFigure):
    """Two images, the same picture of each on one scale, and their difference."""

    inches = PAIR_INCHES
    bar_labels = ("activation, both", "difference")

    def _arrange(self, width: float, _: Contents) -> Arrangement:
        return Arrangement(
            height=width * PAIR_INCHES[1] / PAIR_INCHES[0],
            inputs=((_LEFT, _UPPER, _WIDTH, _HEIGHT), (_LEFT, _LOWER, _WIDTH, _HEIGHT)),
            maps=(
                (_MIDDLE, _UPPER, _WIDTH, _HEIGHT),
                (_MIDDLE, _LOWER, _WIDTH, _HEIGHT),
                (_RIGHT, _UPPER, _WIDTH, _HEIGHT),
            ),
            bars=((0.690, 0.06, 0.018, 0.38), (0.856, 0.06, 0.018, 0.38)),
            legend=(0.680, 0.038, 0.135, 0.43),
        )

    def show(
        self,
        renderings: PairRendering,
        images: tuple[RGB8, RGB8],
        place: float | Placement,
        source: str = "",
        marks: Marks | None = None,
    ) -> None:
        """Show another pair of renderings, and draw; see `FeatureFigure.show`.

        Marks are the same on both images, and on all three maps.
        """
        three = renderings.first, renderings.second, renderings.difference
        self._update(three, images, place, source, marks)

    def _scales(self) -> Sequence[Rendering]:
        return PairRendering(*self._renderings).both, self._renderings[2]

    def _legend_entries(self) -> tuple[LegendEntry, ...]:
        return legend_of_both(self._renderings[0].legend, self._renderings[1].legend)

    def _input_titles(self) -> Sequence[str]:
        height, width = self._images[0].shape[:2]
        return [f"{which} input · {height} × {width}" for which in ("first", "second")]

"""What lies over the pictures, repainted without drawing them: overlay, field, location.

All of it is animated, in matplotlib's sense: a drawing of the figure leaves it out, and it is
painted over the finished drawing. A file gets it all the same, since saving draws everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from vgg_widget.figure.style import own_style
from vgg_widget.layers import Placement
from vgg_widget.pictures.coordinates import Marks, map_extent, unit_box
from vgg_widget.pictures.modes import Rendering

# Seen on any picture: a bright line on a dark one.
_LINES = (("black", 3.2), ("#ffe14d", 1.4))


class MarksPainter:
    """Paints `Marks`, and the histograms beside colorbars, over a drawn figure.

    The left edge of the leftmost map parts the figure into two sides. The map of the same number
    lies over each input. `others` are more animated artists of the right side.
    """

    def __init__(
        self,
        figure: Figure,
        inputs: Sequence[Axes],
        maps: Sequence[Axes],
        others: Sequence[Artist] = (),
    ) -> None:
        self._figure = figure
        self._overlays = tuple(_overlay(axes) for axes in inputs)
        self._boxes = tuple(line for axes in inputs for line in _rectangles(axes))
        self._units = tuple(line for axes in maps for line in _rectangles(axes))
        self._on_left = (*self._overlays, *self._boxes)
        self._on_right = (*self._units, *others)
        self._left: Any = None
        self._right: Any = None
        self._edge = min(axes.get_position(original=True).x0 for axes in maps)
        figure.canvas.mpl_connect("draw_event", self._drawn_whole)

    def set(
        self, marking: Marks, renderings: Sequence[Rendering], place: float | Placement
    ) -> None:
        """Take over what is to be marked; nothing is painted yet."""
        in_tiles = renderings[0].tiles is not None
        unit = None if in_tiles else marking.unit
        for rectangle in self._units:
            rectangle.set_visible(unit is not None)
            if unit is not None:
                rectangle.set_bounds(*unit_box(place, *unit))
        for rectangle in self._boxes:
            rectangle.set_visible(marking.box is not None)
            if marking.box is not None:
                top, left, bottom, right = marking.box
                rectangle.set_bounds(left - 0.5, top - 0.5, right - left, bottom - top)
        shown = marking.overlay > 0 and not in_tiles
        # There may be maps that belong to no one input.
        for overlay, rendering in zip(self._overlays, renderings, strict=False):
            overlay.set_visible(shown)
            if shown:
                overlay.set_data(rendering.rgba)
                overlay.set_extent(map_extent(rendering, place))
                overlay.set_alpha(marking.overlay)

    def over_side(self, box: Bbox) -> Bbox:
        """Paint the marks over the right side, which has been painted anew without them.

        Return what has changed, in pixels.
        """
        canvas: Any = self._figure.canvas
        self._right = canvas.copy_from_bbox(box)
        if not self._overlays[0].get_visible():
            self._paint(self._on_right)
            return box
        # An overlay is the same map: the left side changes with the right one.
        canvas.restore_region(self._left)
        self._paint((*self._on_left, *self._on_right))
        return Bbox.from_extents(0, 0, box.x1, box.y1)

    @own_style()
    def repaint(self) -> None:
        """Paint the marks alone, and send that; nothing before the first drawing."""
        if self._left is None:
            return
        canvas: Any = self._figure.canvas
        canvas.restore_region(self._left)
        canvas.restore_region(self._right)
        self._paint((*self._on_left, *self._on_right))
        canvas.blit(None)

    def _drawn_whole(self, _: object) -> None:
        canvas: Any = self._figure.canvas
        if canvas.is_saving() or not hasattr(canvas, "copy_from_bbox"):
            return
        width, height = canvas.get_width_height(physical=True)
        edge = side_edge(self._edge, width)
        self._left = canvas.copy_from_bbox(Bbox.from_extents(0, 0, edge, height))
        self._right = canvas.copy_from_bbox(Bbox.from_extents(edge, 0, width, height))
        self._paint((*self._on_left, *self._on_right))

    def _paint(self, artists: Sequence[Artist]) -> None:
        for artist in artists:
            if artist.get_visible() and artist.axes is not None:
                artist.axes.draw_artist(artist)


# An axes' frame is drawn half outside it.
_MARGIN_PIXELS = 4


def side_edge(fraction: float, width: int) -> int:
    """Return the first column of the right side, whose axes begin at a fraction of the width."""
    return int(fraction * width) - _MARGIN_PIXELS


def _overlay(axes: Axes) -> AxesImage:
    overlay = AxesImage(axes, interpolation="nearest", animated=True, zorder=0.5)
    overlay.set_data([[0.0]])
    overlay.set_mouseover(False)
    overlay.set_visible(False)
    axes.add_image(overlay)
    for spine in axes.spines.values():
        # Below the pictures, as in a file: the overlay would be painted over a drawn frame.
        spine.set_zorder(-1)
    return overlay


def _rectangles(axes: Axes) -> tuple[Rectangle, ...]:
    made = []
    for colour, width in _LINES:
        line = Rectangle(
            (0, 0), 1, 1, fill=False, edgecolor=colour, linewidth=width, animated=True, zorder=3
        )
        line.set_visible(False)
        axes.add_patch(line)
        made.append(line)
    return tuple(made)

"""Repaint the side of a figure that has changed, and leave the rest as it was drawn.

Drawing a figure is mostly axes, colorbar and text; the pixels that a new channel changes are one
image. What each part costs, and what is saved, is measured by `tests/benchmarks/bench_frame.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, IdentityTransform, TransformedBbox

from vgg_widget.figure.marks import MarksPainter, side_edge

# Colorbars with and without arrows alternate from channel to channel; 0.6 MB each.
_KEPT = 6

# As little-endian RGBA: the colour behind the numbers that `_find_enlargement` draws; their alpha.
_WHITE, _OPAQUE = 0x00FFFFFF, 0xFF000000

RGBA8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Enlargement:
    """Which pixel of a picture is on which pixel of the canvas.

    The picture begins at `top` and `left` on the canvas, in pixels; `rows` holds the picture's row
    for each row of the canvas from there on, and so does `columns`.
    """

    top: int
    left: int
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]

    def put(self, picture: RGBA8, canvas: RGBA8) -> None:
        """Copy a picture, both of shape (h, w, 4), onto the canvas."""
        bottom, right = self.top + self.rows.size, self.left + self.columns.size
        # Pixels are moved as one number each, which is faster than four.
        whole = np.ascontiguousarray(picture).view(np.uint32)[..., 0]
        pixels = whole.take(self.rows, axis=0).take(self.columns, axis=1)
        canvas.view(np.uint32)[self.top : bottom, self.left : right, 0] = pixels


class SidePainter:
    """Paints pictures, their titles and the colorbars beside them, up to the right edge.

    Whatever else changes on the figure, by whomever, makes the next drawing a whole one.

    What changes with every step is `pictures` and the titles of their axes; the left edge of the
    leftmost bounds the side. `neighbours` are other axes on this side, painted as long as they are
    visible. On a canvas that is not of Agg's family it is never `ready`.
    """

    def __init__(
        self,
        figure: Figure,
        pictures: Sequence[AxesImage],
        neighbours: Sequence[Axes],
        marks: MarksPainter,
    ) -> None:
        self._figure = figure
        self._pictures = tuple(pictures)
        self._axes = tuple(picture.axes for picture in pictures)
        self._neighbours = tuple(neighbours)
        self._marks = marks
        self._backdrops: OrderedDict[Hashable, Any] = OrderedDict()
        self._enlargements: dict[tuple[float, ...], Enlargement | None] = {}
        self._drawn = False
        self._clips = tuple(self._title_place(axes) for axes in self._axes)
        self._left = min(axes.get_position(original=True).x0 for axes in self._axes)
        for axes, clip in zip(self._axes, self._clips, strict=True):
            for spine in axes.spines.values():
                # Below the picture, or it would have to be painted again over each new one.
                spine.set_zorder(-1)
            axes.title.set_clip_box(clip)
            axes.title.set_clip_on(True)
        self._known = self._count()
        figure.canvas.mpl_connect("draw_event", self._drawn_whole)

    def _title_place(self, axes: Axes) -> TransformedBbox:
        """Return what a title may cover: what stands on either side has a place of its own."""
        mine = axes.get_position(original=True)
        others = (other.get_position(original=True) for other in (*self._axes, *self._neighbours))
        # What is wholly below or above it leaves a title its room.
        beside = (other.x0 for other in others if other.y0 < mine.y1 and other.y1 > mine.y0)
        right = min((edge for edge in beside if edge > mine.x0), default=1)
        place = Bbox.from_extents(mine.x0, 0, right, 1)
        return TransformedBbox(place, self._figure.transFigure)

    def ready(self) -> bool:
        """Tell whether the canvas shows the figure as it is; ask before anything is changed."""
        figure = self._figure
        for axes, clip in zip(self._axes, self._clips, strict=True):
            if axes.title.clipbox is not clip:
                # `Axes.set_title` forgets it, and the title may have run over the left side.
                axes.title.set_clip_box(clip)
        return (
            self._drawn
            and not figure.stale
            # What is not opaque cannot be painted over.
            and to_rgba(figure.get_facecolor())[3] == 1
            and self._count() == self._known
            and hasattr(figure.canvas, "copy_from_bbox")
        )

    def knows(self, backdrop: Hashable) -> bool:
        """Tell whether a backdrop is kept, so that `paint` will not draw its artists."""
        return backdrop in self._backdrops

    def paint(self, backdrop: Hashable, *, title_moves: bool) -> None:
        """Paint this side and send it.

        `backdrop` names what lies behind and beside the pictures, so that it is drawn once only.
        The titles are part of it unless they are others with every step.
        """
        canvas: Any = self._figure.canvas
        box = self._box()
        region = self._backdrops.get(backdrop)
        if region is None:
            self._paint_backdrop(box)
            if not title_moves:
                self._paint_titles()
            region = self._backdrops[backdrop] = canvas.copy_from_bbox(box)
            while len(self._backdrops) > _KEPT:
                self._backdrops.popitem(last=False)
        else:
            self._backdrops.move_to_end(backdrop)
            canvas.restore_region(region)
        self._paint_pictures(region)
        if title_moves:
            self._paint_titles()
        self.settle()
        canvas.blit(self._marks.over_side(box))

    def _paint_titles(self) -> None:
        for axes in self._axes:
            axes.draw_artist(axes.title)

    def settle(self) -> None:
        """Note that the canvas shows what the artists of this side say, changed as they are."""
        for artist in (self._figure, *self._axes, *self._pictures, *self._neighbours):
            artist.stale = False

    def _paint_backdrop(self, box: Bbox) -> None:
        self._blank(box)
        for axes in self._axes:
            for artist in (axes.patch, *axes.spines.values()):
                axes.draw_artist(artist)
        for axes in self._neighbours:
            if axes.get_visible():
                self._figure.draw_artist(axes)

    def _blank(self, box: Bbox, colour: Any = None) -> None:
        blank = Rectangle(
            (box.x0, box.y0),
            box.width,
            box.height,
            transform=IdentityTransform(),
            facecolor=self._figure.get_facecolor() if colour is None else colour,
            antialiased=False,
        )
        blank.set_figure(self._figure)
        self._figure.draw_artist(blank)

    def _paint_pictures(self, behind: Any) -> None:
        """Do what drawing the pictures would do, without matplotlib's resampling where it can be.

        That takes ten times as long, and more when the step before was a while ago.
        """
        canvas: Any = self._figure.canvas
        colours: list[RGBA8] = [np.asarray(picture.get_array()) for picture in self._pictures]
        # A picture's number, shape and place decide where its pixels come to lie.
        keys = [
            (number, *rgba.shape, *picture.get_extent())
            for number, (picture, rgba) in enumerate(zip(self._pictures, colours, strict=True))
        ]
        missing = [key for key in keys if key not in self._enlargements]
        if missing:
            for key in missing:
                self._enlargements[key] = self._find_enlargement(self._pictures[int(key[0])])
            canvas.restore_region(behind)
        for key, picture, rgba in zip(keys, self._pictures, colours, strict=True):
            enlargement = self._enlargements[key]
            if enlargement is None or rgba[..., 3].min() < 255:
                picture.axes.draw_artist(picture)
            else:
                enlargement.put(rgba, np.asarray(canvas.buffer_rgba()))

    def _find_enlargement(self, picture: AxesImage) -> Enlargement | None:
        """Let matplotlib draw a picture whose colours are its pixels' numbers, and read those.

        Returns None where pixels are mixed, and not just copied.
        """
        rgba: RGBA8 = np.asarray(picture.get_array())
        height, width = rgba.shape[:2]
        if picture.get_interpolation() != "nearest" or height * width > _WHITE:
            return None
        numbers = np.arange(height * width, dtype="<u4") | np.uint32(_OPAQUE)
        self._blank(self._box(), "white")
        picture.set_data(numbers.view(np.uint8).reshape(height, width, 4))
        picture.axes.draw_artist(picture)
        picture.set_data(rgba)
        canvas: Any = self._figure.canvas
        left = int(self._box().x0)
        side = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, left:])
        found = side.view("<u4")[..., 0] & _WHITE
        painted = found != _WHITE
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        if not rows.size:
            return None
        found = found[np.ix_(rows, columns)].astype(np.intp)
        from_rows, from_columns = found[:, 0] // width, found[0] % width
        if not np.array_equal(found, from_rows[:, np.newaxis] * width + from_columns):
            return None
        return Enlargement(int(rows[0]), left + int(columns[0]), from_rows, from_columns)

    def _box(self) -> Bbox:
        """Return this side in whole pixels."""
        width, height = self._figure.canvas.get_width_height(physical=True)
        left = side_edge(self._left, width)
        return Bbox.from_extents(left, 0, width, height)

    def _count(self) -> tuple[int, ...]:
        # Somebody's own line over the picture would vanish under the next one.
        own = tuple(len(artist.get_children()) for artist in (self._figure, *self._axes))
        # A colorbar of another shape is ours, and comes when it is first needed.
        beside = (len(axes.get_children()) - len(axes.child_axes) for axes in self._neighbours)
        return (*own, *beside)

    def _drawn_whole(self, _: object) -> None:
        # Another size, resolution or face colour, or an axis that somebody has changed.
        self._backdrops.clear()
        self._enlargements.clear()
        self._drawn = True

"""Repaint the side of a figure that has changed, with its marks, and leave the rest.

Drawing a figure is mostly axes, colorbar and text, but a new channel changes the pixels of one
image only. `tests/benchmarks/bench_frame.py` measures what each part costs, and what is saved.

Marks (overlay, field, location) are animated, in matplotlib's sense: drawing the figure leaves
them out, and they are painted over the finished drawing. Files still contain them, since saving
draws everything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, IdentityTransform, TransformedBbox

from vgg_widget.figure.themes import own_style
from vgg_widget.layers import Placement
from vgg_widget.pictures.coordinates import Marks, extent_of, map_extent, unit_box
from vgg_widget.pictures.modes import RGBA8, Rendering

Extent = tuple[float, float, float, float]

# Visible on any picture: a bright line on a dark one.
_LINES = (("black", 3.2), ("#ffe14d", 1.4))
# An edge of the axes may lie within a pixel.
_MARGIN_PIXELS = 4
# Colorbars with and without arrows alternate from channel to channel; 0.6 MB each.
_KEPT = 6
# As little-endian RGBA: the background for the numbers in `_find_enlargement`; their alpha.
_WHITE, _OPAQUE = 0x00FFFFFF, 0xFF000000


class MarksPainter:
    """Paints `Marks` over a drawn figure.

    The left edge of the leftmost map divides the figure into two sides. Each input is overlaid
    with the map of the same number.
    """

    def __init__(self, figure: Figure, inputs: Sequence[Axes], maps: Sequence[Axes]) -> None:
        self._figure = figure
        self._overlays = tuple(_overlay(axes) for axes in inputs)
        self._boxes = tuple(line for axes in inputs for line in _rectangles(axes))
        self._units = tuple(line for axes in maps for line in _rectangles(axes))
        self._on_left = (*self._overlays, *self._boxes)
        self._on_right = self._units
        self._left: Any = None
        self._right: Any = None
        self._maps = tuple(maps)
        self.frames_shown = True
        """Whether frames around the mouse position and the location are painted here.

        A file contains them in any case.
        """
        figure.canvas.mpl_connect("draw_event", self._on_full_draw)

    def side(self) -> Bbox:
        """Return the right side in whole pixels."""
        width, height = self._figure.canvas.get_width_height(physical=True)
        edge = min(axes.get_position(original=True).x0 for axes in self._maps)
        return Bbox.from_extents(int(edge * width) - _MARGIN_PIXELS, 0, width, height)

    def set(self, marks: Marks, renderings: Sequence[Rendering], place: float | Placement) -> None:
        """Set the marks; nothing is painted yet."""
        in_tiles = renderings[0].tiles is not None
        unit = None if in_tiles else marks.unit
        for rectangle in self._units:
            rectangle.set_visible(unit is not None)
            if unit is not None:
                rectangle.set_bounds(*unit_box(place, *unit))
        for rectangle in self._boxes:
            rectangle.set_visible(marks.box is not None)
            if marks.box is not None:
                top, left, bottom, right = marks.box
                rectangle.set_bounds(left - 0.5, top - 0.5, right - left, bottom - top)
        shown = marks.overlay > 0 and not (in_tiles and not marks.instead)
        # Some maps may not belong to a single input.
        for number, overlay in enumerate(self._overlays):
            overlay.set_visible(shown)
            if shown:
                overlay.set_alpha(marks.overlay)
                if marks.instead:
                    rgba = marks.instead[number].rgba
                    overlay.set_data(rgba)
                    overlay.set_extent(extent_of(rgba.shape, Placement()))
                else:
                    overlay.set_data(renderings[number].rgba)
                    overlay.set_extent(map_extent(renderings[number], place))

    def over_side(self, box: Bbox) -> Bbox:
        """Paint the marks over the right side, which was just repainted without them.

        Return the changed area, in pixels.
        """
        canvas: Any = self._figure.canvas
        self._right = canvas.copy_from_bbox(box)
        if not self._overlays[0].get_visible():
            self._paint(self._on_right)
            return box
        # The overlay shows the same map, so the left side changes along with the right.
        canvas.restore_region(self._left)
        self._paint((*self._on_left, *self._on_right))
        return Bbox.from_extents(0, 0, box.x1, box.y1)

    @own_style()
    def repaint(self) -> None:
        """Repaint and send only the marks; does nothing before the first drawing."""
        if self._left is None:
            return
        canvas: Any = self._figure.canvas
        canvas.restore_region(self._left)
        canvas.restore_region(self._right)
        self._paint((*self._on_left, *self._on_right))
        canvas.blit(None)

    def forget(self) -> None:
        """Release what was painted."""
        self._left = self._right = None
        self._overlays = self._boxes = self._units = self._on_left = self._on_right = ()

    def _on_full_draw(self, _: object) -> None:
        canvas: Any = self._figure.canvas
        if canvas.is_saving() or not hasattr(canvas, "copy_from_bbox"):
            return
        side = self.side()
        self._left = canvas.copy_from_bbox(Bbox.from_extents(0, 0, side.x0, side.y1))
        self._right = canvas.copy_from_bbox(side)
        self._paint((*self._on_left, *self._on_right))

    def _paint(self, artists: Sequence[Artist]) -> None:
        for artist in artists:
            left_out = isinstance(artist, Rectangle) and not self.frames_shown
            if artist.get_visible() and artist.axes is not None and not left_out:
                if isinstance(artist, _Overlay):
                    artist.paint()
                else:
                    artist.axes.draw_artist(artist)


class _Overlay(AxesImage):
    """An animated image; matplotlib before 3.11 would draw it along with its axes."""

    def draw(self, renderer: Any) -> None:
        """Draw only into a file: on the canvas, `paint` draws the image."""
        if self.axes.figure.canvas.is_saving():
            super().draw(renderer)

    def paint(self) -> None:
        """Draw onto the canvas."""
        canvas: Any = self.axes.figure.canvas
        super().draw(canvas.get_renderer())


def _overlay(axes: Axes) -> _Overlay:
    overlay = _Overlay(axes, interpolation="nearest", animated=True, zorder=0.5)
    overlay.set_data([[0.0]])
    overlay.set_mouseover(False)
    overlay.set_visible(False)
    axes.add_image(overlay)
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


@dataclass(frozen=True, slots=True, eq=False)
class Enlargement:
    """The mapping from canvas pixels to the pixels of a picture.

    The picture begins at `top` and `left` on the canvas, in pixels. `rows` holds the picture's row
    for each row of the canvas from there on, and `columns` likewise. matplotlib rounds a few pixels
    differently: for each of them, `odd` holds the row and column from there on, and the index of
    the picture's pixel, counted row by row; shape (n, 3).
    """

    top: int
    left: int
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    odd: npt.NDArray[np.intp]

    def put(self, picture: RGBA8, canvas: RGBA8) -> None:
        """Copy a picture, both of shape (h, w, 4), onto the canvas."""
        bottom, right = self.top + self.rows.size, self.left + self.columns.size
        # Each pixel is moved as a single number, which is faster than four.
        whole = np.ascontiguousarray(picture).view(np.uint32)[..., 0]
        pixels = whole.take(self.rows, axis=0).take(self.columns, axis=1)
        rows, columns, sources = self.odd.T
        pixels[rows, columns] = whole.ravel()[sources]
        canvas.view(np.uint32)[self.top : bottom, self.left : right, 0] = pixels


class SidePainter:
    """Paints pictures, their titles and the colorbars beside them, up to the right edge.

    Any other change on the figure makes the next drawing a complete one.

    Every step changes `pictures` and the titles of their axes. `neighbours` are other axes on this
    side, painted while they are visible. On a canvas outside the Agg family it is never `ready`.
    """

    def __init__(
        self,
        figure: Figure,
        pictures: Sequence[AxesImage],
        neighbours: Sequence[Axes],
        marks_painter: MarksPainter,
    ) -> None:
        self._figure = figure
        self._pictures = tuple(pictures)
        self._axes = tuple(picture.axes for picture in pictures)
        self._neighbours = tuple(neighbours)
        self._marks_painter = marks_painter
        self._backdrops: OrderedDict[Hashable, Any] = OrderedDict()
        self._enlargements: dict[tuple[float, ...], Enlargement | None] = {}
        self._drawn = False
        self._clips: tuple[TransformedBbox, ...] = ()
        for axes in self._axes:
            axes.title.set_clip_on(True)
        self.arranged()
        self._known_counts = self._count_artists()
        figure.canvas.mpl_connect("draw_event", self._on_full_draw)

    def arranged(self) -> None:
        """Adopt the current positions of the axes, before the whole figure is drawn."""
        self._clips = tuple(self._title_place(axes) for axes in self._axes)
        for axes, clip in zip(self._axes, self._clips, strict=True):
            axes.title.set_clip_box(clip)
        self._drawn = False

    def title_room(self, axes: Axes) -> float:
        """Return the maximum length of a title, as a fraction of the figure's width."""
        return float(self._title_place(axes).width) / float(self._figure.bbox.width)

    def _title_place(self, axes: Axes) -> TransformedBbox:
        """Return the area for a title, excluding the neighbours on either side."""
        mine = axes.get_position(original=True)
        # A zoomed picture may be lower, with its title beside the list or the colorbar.
        others = (other.get_position(original=True) for other in (*self._axes, *self._neighbours))
        # Anything completely below or above does not limit the title.
        beside = (other.x0 for other in others if other.y0 < mine.y1 and other.y1 > mine.y0)
        right = min((edge for edge in beside if edge > mine.x0), default=1)
        place = Bbox.from_extents(mine.x0, 0, right, 1)
        return TransformedBbox(place, self._figure.transFigure)

    def ready(self) -> bool:
        """Return whether the canvas shows the figure's current state; call before any change."""
        figure = self._figure
        for axes, clip in zip(self._axes, self._clips, strict=True):
            if axes.title.clipbox is not clip:
                # `Axes.set_title` resets the clip box, and the title may cover the left side.
                axes.title.set_clip_box(clip)
        return (
            self._drawn
            and not figure.stale
            # A transparent background cannot be painted over.
            and to_rgba(figure.get_facecolor())[3] == 1
            and self._count_artists() == self._known_counts
            and hasattr(figure.canvas, "copy_from_bbox")
        )

    def paint(self, backdrop: Hashable, moving: Sequence[Artist]) -> None:
        """Paint this side and send it.

        `moving` are artists that change with every step, for example titles and the numbers of a
        colorbar. `backdrop` identifies everything else behind and beside the pictures, so that it
        is drawn only once.
        """
        canvas: Any = self._figure.canvas
        box = self._marks_painter.side()
        region = self._backdrops.get(backdrop)
        if region is None:
            self._paint_backdrop(box, moving)
            region = self._backdrops[backdrop] = canvas.copy_from_bbox(box)
            while len(self._backdrops) > _KEPT:
                self._backdrops.popitem(last=False)
        else:
            self._backdrops.move_to_end(backdrop)
            canvas.restore_region(region)
        self._paint_pictures(region)
        for artist in moving:
            self._figure.draw_artist(artist)
        self._clear_stale()
        canvas.blit(self._marks_painter.over_side(box))

    def _clear_stale(self) -> None:
        """Note that the canvas shows the current state of this side's artists."""
        for artist in (self._figure, *self._axes, *self._pictures, *self._neighbours):
            artist.stale = False

    def _paint_backdrop(self, box: Bbox, moving: Sequence[Artist]) -> None:
        self._paint_background(box)
        for axes in self._axes:
            axes.draw_artist(axes.patch)
            if axes.title not in moving:
                axes.draw_artist(axes.title)
        hidden = [artist for artist in moving if artist.get_visible()]
        try:
            for artist in hidden:
                artist.set_visible(False)
            for axes in self._neighbours:
                if axes.get_visible():
                    self._figure.draw_artist(axes)
        finally:
            for artist in hidden:
                artist.set_visible(True)

    def _paint_background(self, box: Bbox, colour: Any = None) -> None:
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

    def enlargement(self, shape: tuple[int, int], extent: Extent) -> Enlargement | None:
        """Return the mapping of pixels if another picture replaced the first one.

        That picture has `shape` rows and columns, and an `extent`: left, right, bottom, top. None
        if the canvas cannot determine it. The canvas does not change.
        """
        if not self.ready() or not self._pictures:
            return None
        picture = self._pictures[0]
        canvas: Any = self._figure.canvas
        shown, place = picture.get_array(), picture.get_extent()
        picture.set_data(np.full((*shape, 4), 255, np.uint8))
        picture.set_extent(extent)
        try:
            key = self._key(0)
            if key not in self._enlargements:
                before = canvas.copy_from_bbox(self._figure.bbox)
                self._enlargements[key] = self._find_enlargement(picture)
                canvas.restore_region(before)
        finally:
            picture.set_data(shown)
            picture.set_extent(place)
            self._clear_stale()
        return self._enlargements[key]

    def _key(self, number: int) -> tuple[float, ...]:
        # A picture's number, shape and extent determine where its pixels are drawn.
        picture = self._pictures[number]
        return (number, *np.asarray(picture.get_array()).shape, *picture.get_extent())

    def _paint_pictures(self, behind: Any) -> None:
        """Draw the pictures, without matplotlib's resampling if possible.

        Resampling takes ten times as long, and more if the previous step was a while ago.
        """
        canvas: Any = self._figure.canvas
        colours: list[RGBA8] = [np.asarray(picture.get_array()) for picture in self._pictures]
        keys = [self._key(number) for number in range(len(colours))]
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
        """Let matplotlib draw a picture whose colours encode pixel numbers, and read those.

        Returns None if pixels are mixed instead of copied.
        """
        rgba: RGBA8 = np.asarray(picture.get_array())
        height, width = rgba.shape[:2]
        if picture.get_interpolation() != "nearest" or height * width > _WHITE:
            return None
        numbers = np.arange(height * width, dtype="<u4") | np.uint32(_OPAQUE)
        side = self._marks_painter.side()
        self._paint_background(side, "white")
        picture.set_data(numbers.view(np.uint8).reshape(height, width, 4))
        picture.axes.draw_artist(picture)
        picture.set_data(rgba)
        canvas: Any = self._figure.canvas
        left = int(side.x0)
        pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, left:])
        found = pixels.view("<u4")[..., 0] & _WHITE
        painted = found != _WHITE
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        if not rows.size:
            return None
        found = found[np.ix_(rows, columns)].astype(np.intp)
        from_rows, from_columns = found[:, 0] // width, found[0] % width
        # A mixed colour encodes a pixel far away; a few others are rounded differently.
        off = np.abs(found // width - from_rows[:, np.newaxis]) > 1
        off |= np.abs(found % width - from_columns) > 1
        odd = np.argwhere(found != from_rows[:, np.newaxis] * width + from_columns)
        if off.any() or len(odd) > found.size // 100:
            return None
        odd = np.column_stack([odd, found[tuple(odd.T)]])
        return Enlargement(int(rows[0]), left + int(columns[0]), from_rows, from_columns, odd)

    def _count_artists(self) -> tuple[int, ...]:
        # A user's own line over the picture would vanish under the next one.
        own = tuple(len(artist.get_children()) for artist in (self._figure, *self._axes))
        # A colorbar of another shape is our own, and is made when it is first needed.
        beside = (len(axes.get_children()) - len(axes.child_axes) for axes in self._neighbours)
        return (*own, *beside)

    def _on_full_draw(self, _: object) -> None:
        # Another size, resolution or face colour, or axes that a user has changed.
        self._backdrops.clear()
        self._enlargements.clear()
        self._drawn = True

    def forget(self) -> None:
        """Release what was painted."""
        self._backdrops.clear()
        self._pictures = ()

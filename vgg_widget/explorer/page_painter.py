"""What the page gets to paint the explorer's picture by itself, and what it tells of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from matplotlib.colors import to_hex

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.page.planes import MOST_ENTRIES, colours, packed, plane
from vgg_widget.pictures.colormaps import find_cmap
from vgg_widget.pictures.modes import DEFAULT_MODE
from vgg_widget.pictures.scaling import Scale

if TYPE_CHECKING:
    from vgg_widget.explorer.helper import PageHelper
    from vgg_widget.explorer.layer_explorer import LayerExplorer
    from vgg_widget.explorer.mouse_and_keys import MouseAndKeys
    from vgg_widget.figure.canvas import LiveCanvas
    from vgg_widget.figure.feature_figure import FeatureFigure, OnCanvas


@dataclass(frozen=True, slots=True)
class Album:
    """Planes that belong together: a layer's channels, over ranges by one rule.

    Their titles and numbers have room on a figure so many pixels wide.
    """

    layer: str
    scale: str | Scale
    entries: int
    width: int


class PagePainter:
    """Lets the page paint channels before the kernel has answered.

    The page keeps the planes of a layer (an album), and a scene: what goes where on the canvas.
    It asks for both after the first picture, piece by piece. Whatever else is drawn on the figure
    ends the scene before it is sent, so that the page never paints on what has changed. As long as
    the page paints, frames of other channels are sent when the steps rest.

    `explorer` is a weak reference.
    """

    def __init__(
        self,
        explorer: LayerExplorer,
        view: FeatureFigure,
        canvas: LiveCanvas,
        page: PageHelper,
        pointing: MouseAndKeys,
    ) -> None:
        self._explorer, self._view, self._canvas, self._page = explorer, view, canvas, page
        self._pointing = pointing
        self._scenes, self._names = count(1), count(1)
        self._of: Callable[[], Activations | None] = lambda: None
        self._albums: dict[Album, int] = {}
        # Albums with lower names are of another picture.
        self._since = 0
        self._wanted: object = None
        canvas.before_drawing = self.end_scene
        canvas.kept_back = lambda: page.send({"kind": "kept"})
        page.listeners |= {
            "scene": self._show_scene,
            "planes": self._send_planes,
            "painting": self._page_paints,
            "marks": self._page_marks,
            "where": self._say_where,
            "rested": lambda _: canvas.send_held(),
        }

    def before(self, settings: DisplaySettings, activations: Activations) -> None:
        """Take over what will be on show next, before it is drawn."""
        if self._of() is not activations:
            self._of = ref(activations)
            self._albums.clear()
            self._since = next(self._names)
        wanted = id(activations), self._album(settings, activations)
        if wanted != self._wanted:
            self._wanted = wanted
            self.end_scene()

    def end_scene(self) -> None:
        """Tell the page that the figure is no more what it was."""
        self._canvas.held = self._pointing.page_marks = False
        self._page.scene = {"number": next(self._scenes), "album": 0, "since": self._since}

    def _album(self, settings: DisplaySettings, activations: Activations) -> Album | None:
        # The kernel draws an overlay, and the frames of a location, on the input as well.
        if settings.mode != DEFAULT_MODE or settings.overlay or settings.location is not None:
            return None
        cmap = find_cmap(settings.cmap)
        # What is not opaque would let the picture before show through.
        if cmap.N > MOST_ENTRIES or set(colours(cmap)[3::4]) != {255}:
            return None
        layer = settings.layer_in(activations)
        return Album(layer, settings.full_scale, cmap.N, self._view.width)

    def _show_scene(self, _: dict[str, Any]) -> None:
        explorer = self._explorer
        album = self._album(explorer.settings, explorer.measured)
        if album is None or self._page.scene["album"]:
            return
        places = self._view.on_canvas()
        if places is None:
            return
        name = self._albums.setdefault(album, next(self._names))
        # Another dict: traits tell of nothing that is changed in place.
        self._page.scene = self._page.scene | {"album": name} | self._describe(album, places)

    def _describe(self, album: Album, places: OnCanvas) -> dict[str, Any]:
        activations, settings = self._explorer.measured, self._explorer.settings
        rows, columns, channels = activations.shape(album.layer)
        height, width = activations.image.shape[:2]
        info = activations.info(album.layer)
        enlargement = places.enlargement
        fields: dict[str, Any] = {}
        if info.receptive_field is not None:
            down = [info.receptive_field_box(row, 0, (height, width)) for row in range(rows)]
            across = [info.receptive_field_box(0, at, (height, width)) for at in range(columns)]
            fields = {
                "rows": [[top, bottom] for top, _, bottom, _ in down],
                "columns": [[left, right] for _, left, _, right in across],
            }
        place = info.placement
        return {
            "count": channels,
            "channel": settings.channel,
            "shape": [rows, columns],
            "image": [height, width],
            "size": list(self._canvas.get_width_height(physical=True)),
            "colours": colours(find_cmap(settings.cmap)),
            "top": enlargement.top,
            "left": enlargement.left,
            "rows": enlargement.rows.astype(np.uint16).tobytes(),
            "columns": enlargement.columns.astype(np.uint16).tobytes(),
            "odd": enlargement.odd.tolist(),
            "places": {
                name: value for name, value in asdict(places).items() if name != "enlargement"
            },
            "paper": to_hex(self._view.figure.get_facecolor()),
            "ink": self._view.theme.ink,
            "placement": [place.left, place.top, place.column_step, place.row_step],
            "fields": fields,
            "units": [
                [info.unit_at(row, 0, (rows, columns))[0] for row in range(height)],
                [info.unit_at(0, at, (rows, columns))[1] for at in range(width)],
            ],
        }

    def _send_planes(self, asked: dict[str, Any]) -> None:
        found = [album for album, name in self._albums.items() if name == asked["album"]]
        activations = self._explorer.measured
        if not found or self._of() is not activations:
            return
        (album,) = found
        start = int(asked["start"])
        channels = range(activations.info(album.layer).channels)
        order = sorted(channels, key=lambda channel: abs(channel - start))
        planes, data = packed(
            plane(activations, album.layer, channel, album.scale, album.entries)
            for channel in islice(order, int(asked["after"]), None)
        )
        if not planes:
            return
        told = []
        for one in planes:
            made = one.rendering
            title, numbers, label = self._view.words_for(made)
            told.append(
                {
                    "channel": made.channels[0],
                    "title": title,
                    "numbers": numbers,
                    "label": label,
                    "finite": one.is_finite,
                    "clipped": made.clipped,
                    "range": one.range,
                }
            )
        answer = {name: asked[name] for name in ("album", "start", "after")}
        self._page.send({"kind": "planes", **answer, "planes": told}, [data])

    def _say_where(self, asked: dict[str, Any]) -> None:
        # The widget's own text is not sent again where it is the same.
        words = self._pointing.words()
        self._page.send({"kind": "words", "number": asked["number"], "text": words})

    def _page_paints(self, told: dict[str, Any]) -> None:
        scene = self._page.scene
        if scene["album"] and scene["number"] == told["scene"]:
            self._canvas.held = True

    def _page_marks(self, told: dict[str, Any]) -> None:
        if self._canvas.held and self._page.scene["number"] == told["scene"]:
            self._pointing.page_marks = True
            # What the kernel has marked goes.
            self._pointing.refresh()

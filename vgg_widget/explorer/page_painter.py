"""Sends the page the data to paint pictures by itself, and handles its reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any
from weakref import ref

from matplotlib.colors import to_hex

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.parts import paragraph
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.page.geometry import unit_places
from vgg_widget.page.planes import MOST_ENTRIES, Plane, colours, packed, plane, plane_of_channels
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.colormaps import find_cmap
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering, find_mode
from vgg_widget.pictures.scaling import Scale

if TYPE_CHECKING:
    from vgg_widget.explorer.controls import Controls
    from vgg_widget.explorer.helper import PageHelper
    from vgg_widget.explorer.layer_explorer import LayerExplorer
    from vgg_widget.explorer.mouse_and_keys import MouseAndKeys
    from vgg_widget.figure.canvas import LiveCanvas
    from vgg_widget.figure.feature_figure import FeatureFigure

_PAINTED = (DEFAULT_MODE, "max", "mean", "argmax")
"""Modes whose picture is one map with at most 256 colours."""


@dataclass(frozen=True, slots=True)
class Album:
    """Planes that belong together: a layer's channels, or its single picture in another mode.

    Their ranges follow one rule, their titles and numbers fit a figure of this width in pixels,
    and their colormaps have the same number of colours.
    """

    layer: str
    mode: str
    channels: tuple[int, ...] | str
    scale: str | Scale
    entries: int
    width: int

    def planes(self, activations: Activations, channels: Iterable[int]) -> Iterator[Plane]:
        """Yield the planes of some channels; in another mode, the only plane."""
        mode = find_mode(self.mode)
        for channel in channels:
            options: dict[str, Any] = {"mode": self.mode}
            if mode.takes == "one":
                options["channel"] = channel
            elif self.channels:
                options["channels"] = self.channels
            if mode.uses_cmap:
                yield plane(activations, self.layer, self.entries, scale=self.scale, **options)
            elif (found := plane_of_channels(activations, self.layer, **options)) is not None:
                yield found

    def count(self, activations: Activations) -> int:
        """Return the number of planes."""
        return activations.info(self.layer).channels if self.mode == DEFAULT_MODE else 1


def _same_albums(one: DisplaySettings, other: DisplaySettings) -> bool:
    """Return whether the same choices lead to the same albums from both settings."""
    return replace(one, channel=0, location=None) == replace(other, channel=0, location=None)


class PagePainter:
    """Lets the page paint pictures before the kernel answers.

    The page keeps planes (an album for each layer, mode and range), and a scene: the layout of
    the canvas, and the album that each choice leads to. It requests them piece by piece after the
    first picture. Any drawing on the figure ends the scene before it is sent, so that the page
    never paints on an outdated figure. If the next picture belongs to an album of the same
    figure, the page paints on. While it paints, frames of other channels are sent only when the
    steps pause.

    `explorer` is a weak reference.
    """

    def __init__(
        self,
        explorer: LayerExplorer,
        view: FeatureFigure,
        page: PageHelper,
        pointing: MouseAndKeys,
        controls: Controls,
    ) -> None:
        canvas: LiveCanvas = explorer.canvas
        self._explorer, self._view, self._canvas, self._page = explorer, view, canvas, page
        self._pointing, self._controls = pointing, controls
        self._scenes, self._names = count(1), count(1)
        # Changes whenever anything on the figure moves, other than the map's own pixels.
        self._figures = count(1)
        self._figure = next(self._figures)
        self._activations_ref: Callable[[], Activations | None] = lambda: None
        self._albums: dict[Album, int] = {}
        # Albums with lower numbers belong to another image.
        self._since = 0
        self._shown: Album | None = None
        self._settings: DisplaySettings | None = None
        # The figure on which a page reported that it cannot paint.
        self._unpaintable_figure = 0
        self._announced = self._needs_drawing = False
        canvas.before_drawing = self._before_drawing
        canvas.kept_back = lambda: page.send({"kind": "kept"})
        page.listeners |= {
            "scene": self._show_scene,
            "planes": self._send_planes,
            "painting": self._on_painting,
            "cannot": self._on_cannot_paint,
            "marks": self._on_marks,
            "where": self._send_pointer_text,
            "rested": lambda _: canvas.send_held(),
        }

    # --- announcing a drawing

    @contextmanager
    def drawing(
        self, settings: DisplaySettings, activations: Activations, rendering: Rendering
    ) -> Iterator[None]:
        """Announce the next picture before it is drawn, and tell the page when it is.

        Yields
        ------
        None
        """
        self._announce(settings, activations, rendering)
        self._announced = True
        try:
            yield
            if self._needs_drawing:
                # Nothing was redrawn, but the page no longer draws the marks.
                self._canvas.draw()
        finally:
            self._announced = False
        self.tell()

    def _announce(
        self, settings: DisplaySettings, activations: Activations, rendering: Rendering
    ) -> None:
        same_image = self._activations_ref() is activations
        if not same_image:
            self._activations_ref = ref(activations)
            self._albums.clear()
            self._since = next(self._names)
        before, self._settings = self._settings, settings
        left, self._shown = self._shown, self._album(settings, activations)
        album = self._shown
        if before is not None and same_image and _same_albums(before, settings) and album == left:
            return
        if (
            (album is not None and left is not None)
            and (before is not None and before.cmap == settings.cmap and same_image)
            and (self._view.is_drawn and self._view.keeps_places(rendering))
        ):
            # Only the map, its title and the colorbar or list beside it change.
            self._close(self._name(album))
        else:
            self.end_scene()

    def _before_drawing(self) -> None:
        if not self._announced:
            self.end_scene()
        self._needs_drawing = False

    def end_scene(self) -> None:
        """Tell the page that the figure has changed."""
        self._figure = next(self._figures)
        self._close(0)

    def _close(self, following: int) -> None:
        self._needs_drawing = self._needs_drawing or self._pointing.page_marks
        self._canvas.held = self._pointing.page_marks = False
        # The drawing that follows restores the marks.
        self._view.show_frames(shown=True)
        self._page.scene = {
            "number": next(self._scenes),
            "album": 0,
            "next": following,
            "since": self._since,
            "paintable": self._shown is not None and self._figure != self._unpaintable_figure,
        }

    def _album(self, settings: DisplaySettings, activations: Activations) -> Album | None:
        # An overlay also covers the input, so the kernel draws it.
        if settings.mode not in _PAINTED or settings.overlay or settings.attribution:
            return None
        cmap = find_cmap(settings.cmap)
        # A colour that is not opaque would let the previous picture show through.
        if cmap.N > MOST_ENTRIES or set(colours(cmap)[3::4]) != {255}:
            return None
        mode, layer = find_mode(settings.mode), settings.layer_in(activations)
        channels = () if mode.takes == "one" else settings.channels
        scale, entries = (settings.full_scale, cmap.N) if mode.uses_cmap else ("", 0)
        return Album(layer, mode.name, channels, scale, entries, self._view.width)

    def _name(self, album: Album) -> int:
        return self._albums.setdefault(album, next(self._names))

    # --- requests from the page

    def _show_scene(self, request: dict[str, Any]) -> None:
        explorer = self._explorer
        scene, turn = self._page.scene, int(request.get("turn", 0))
        if scene["album"]:
            if turn > scene["turn"]:
                # Another page has asked before.
                self._page.scene = scene | {"turn": turn}
            return
        album = self._album(explorer.settings, explorer.measured)
        places = (
            None
            if album is None or self._figure == self._unpaintable_figure
            else self._view.on_canvas()
        )
        if album is None or places is None:
            return
        sheet = self._sheet(album)
        if sheet is None:
            return
        self._shown = album
        # A new dict, because traits do not notice changes in place.
        self._page.scene = self._page.scene | {
            "album": self._name(album),
            "next": 0,
            "turn": turn,
            "figure": self._figure,
            "channel": explorer.settings.channel,
            "image": list(explorer.measured.image.shape[:2]),
            "size": list(self._canvas.get_width_height(physical=True)),
            "colours": colours(find_cmap(explorer.settings.cmap)),
            "places": asdict(places),
            "paper": to_hex(self._view.figure.get_facecolor()),
            "ink": self._view.theme.ink,
            "sheet": sheet,
            **self._choices(),
        }
        self.tell()

    def _choices(self) -> dict[str, Any]:
        """Return the album that each choice leads to, and those albums, nearest first."""
        explorer, settings = self._explorer, self._explorer.settings
        activations = explorer.measured
        layers = list(activations)
        strip = (
            ("network", name, {"layer": settings.name_of(name, activations)}) for name in layers
        )
        chosen: dict[str, dict[str, int]] = {}
        found: dict[int, Album] = {}
        for control, words, changes in (*strip, *self._controls.choices()):
            requested = replace(settings, **changes).fitted_to(
                activations, settings, explorer.usual_cmap
            )
            # Reading all values of all layers takes a second: too long without a request.
            too_much = requested.scale == "network" != settings.scale
            album = None if too_much else self._album(requested, activations)
            if album is not None and requested.cmap == settings.cmap:
                found[self._name(album)] = album
                chosen.setdefault(control, {})[words] = self._name(album)
        here = layers.index(activations.info(settings.layer).name)

        def nearness(name: int) -> tuple[int, int]:
            album = found[name]
            away = abs(layers.index(activations.info(album.layer).name) - here)
            return away, album.count(activations)

        albums = []
        for name in sorted(found, key=nearness):
            album = found[name]
            rows, columns, _ = activations.shape(album.layer)
            every, one = album.count(activations), album.mode == DEFAULT_MODE
            albums.append(
                {
                    "name": name,
                    "layer": album.layer,
                    "count": every,
                    "one": one,
                    "shape": [rows, columns],
                }
            )
        return {"chosen": chosen, "layers": layers, "albums": albums}

    def _sheet(self, album: Album) -> dict[str, Any] | None:
        """Return where the units of an album's layer are, on the canvas and in the image."""
        activations = self._explorer.measured
        rows, columns, _ = activations.shape(album.layer)
        info = activations.info(album.layer)
        enlargement = self._view.enlargement((rows, columns), info.placement)
        if enlargement is None:
            return None
        return {
            "top": enlargement.top,
            "left": enlargement.left,
            "rows": enlargement.rows.tolist(),
            "columns": enlargement.columns.tolist(),
            "odd": enlargement.odd.tolist(),
            **unit_places(activations, album.layer),
        }

    def _send_planes(self, request: dict[str, Any]) -> None:
        found = [album for album, name in self._albums.items() if name == request["album"]]
        activations = self._explorer.measured
        if not found or self._activations_ref() is not activations:
            return
        (album,) = found
        start = int(request["start"])
        order = sorted(range(album.count(activations)), key=lambda channel: abs(channel - start))
        after = int(request["after"])
        planes, data = packed(album.planes(activations, islice(order, after, None)))
        # Too many colours, or a different layout: asking again is useless.
        missing = not planes and after < len(order)
        never = missing or not all(self._view.keeps_places(one.rendering) for one in planes[:1])
        answer = {name: request[name] for name in ("album", "start", "after")}
        # A sheet is valid for the current scene's figure, once that is drawn.
        wanted = bool(request.get("sheet")) and bool(self._page.scene["album"])
        later = wanted and not self._view.is_drawn
        sheet = self._sheet(album) if wanted and not later else None
        never = never or (wanted and not later and sheet is None)
        self._page.send(
            {
                "kind": "planes",
                **answer,
                "planes": [] if never else [self._plane_data(one) for one in planes],
                "never": never,
                "figure": self._figure if sheet else 0,
                "sheet": sheet,
                "later": later,
            },
            [data, *(one.table for one in planes)],
        )

    def _plane_data(self, one: Plane) -> dict[str, Any]:
        made = one.rendering
        title, numbers, label = self._view.words_for(made)
        # Colours that stand for channels have a list instead of a colorbar.
        listed = self._view.list_for(made) if one.channels else []
        return {
            "channels": one.channels,
            "list": listed,
            "channel": made.channels[0] if made.mode == DEFAULT_MODE else 0,
            "title": title,
            "numbers": [] if listed else numbers,
            "label": label,
            "caption": paragraph(self._explorer.caption_of(made)),
            "source": paragraph(f"weights: {source_line(self._explorer.measured, made)}"),
            "finite": one.is_finite,
            "clipped": made.clipped,
            "range": one.range,
        }

    def _send_pointer_text(self, request: dict[str, Any]) -> None:
        # The text widget does not send the same text again.
        words = self._pointing.words()
        self._page.send({"kind": "words", "number": request["number"], "text": words})

    # --- reports from the page

    def _on_painting(self, report: dict[str, Any]) -> None:
        scene = self._page.scene
        if scene["album"] and scene["number"] == report["scene"]:
            self._canvas.held = True

    def _on_cannot_paint(self, report: dict[str, Any]) -> None:
        # Another page of this kernel may have a finer screen, or another size.
        if self._page.scene["album"] and self._page.scene["number"] == report["scene"]:
            self._unpaintable_figure = self._figure
            self._announced = True
            try:
                self._close(0)
                self._canvas.draw()
            finally:
                self._announced = False

    def _on_marks(self, report: dict[str, Any]) -> None:
        if self._canvas.held and self._page.scene["number"] == report["scene"]:
            self._pointing.page_marks = True
            self._view.show_frames(shown=False)

    def tell(self) -> None:
        """Tell the page the current state, once all of it is displayed."""
        settings = self._explorer.settings
        self._page.shown = {
            "album": 0 if self._shown is None else self._name(self._shown),
            "channel": settings.channel,
            "location": settings.location and list(settings.location),
            "words": self._controls.page_values(),
        }

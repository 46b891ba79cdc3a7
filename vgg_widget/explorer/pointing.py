"""What pointing, clicking and the keyboard mean to an explorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vgg_widget.explorer.controls import Controls
from vgg_widget.explorer.fitting import named_alike
from vgg_widget.explorer.host import ViewHost
from vgg_widget.explorer.scene import Scene
from vgg_widget.pictures.coordinates import Hit, Marks
from vgg_widget.pictures.modes import find_mode

if TYPE_CHECKING:
    from vgg_widget.figure.linked_figure import LinkedFigure

KEYS = {
    "ArrowLeft": "previous channel",
    "ArrowRight": "next channel",
    "ArrowUp": "previous layer",
    "ArrowDown": "next layer",
    "Backspace": "back to what was on show before a jump",
    "Escape": "no location",
    "b": "before or after the ReLU",
    "c": "copy the code that makes the picture",
    "g": "grid, and back",
    "o": "map over the input, and back",
    "p": "play, and stop",
    "r": "reset",
    "s": "save the picture",
}
"""The keys of an explorer, as JavaScript names them, and what they do."""

_OVERLAY = 0.5


class Pointing:
    """Links the place under the mouse, the chosen location and the keys to an explorer.

    Parameters
    ----------
    scene : callable
        Returns what is on show.
    view : LinkedFigure
        Where places are marked.
    controls : Controls
        Which say what is there.
    host : ViewHost
        Is told what a person chose.
    unit_words : callable
        Says what is there; gets row, column and, in a grid, the tile's channel of a unit of the
        layer on show.
    pixel_words : callable
        Says what is there; gets row and column of a pixel of the input.
    """

    def __init__(
        self,
        scene: Callable[[], Scene],
        view: LinkedFigure,
        controls: Controls,
        host: ViewHost,
        *,
        unit_words: Callable[[int, int, int | None], str],
        pixel_words: Callable[[int, int], str],
    ) -> None:
        self._scene = scene
        self._view = view
        self._controls = controls
        self._host = host
        self._unit_words = unit_words
        self._pixel_words = pixel_words
        self._spot: Hit | None = None
        self._clicked: Hit | None = None
        self._without_grid = "channel"

    def point(self, spot: Hit | None) -> None:
        """Show what is under the mouse; what is at the chosen location where there is nothing."""
        if spot != self._spot:
            self._spot = spot
            self._host.guard(self._pointed)

    def _pointed(self) -> None:
        self.refresh()
        self._controls.locate(self.words())

    def forget(self) -> None:
        """Take the mouse to be elsewhere: its place was on another picture."""
        self._spot = None

    def refresh(self) -> None:
        """Mark what is to be marked now."""
        self._view.mark(self.marking())

    def click(self, spot: Hit) -> None:
        """Choose the place of a click; a grid's tile is opened, and the same place let go."""
        choice = self._scene().choice
        tiled = find_mode(choice.mode).tiled
        if tiled and spot.on == "map" and spot.channel is not None:
            channel = spot.channel
            self._host.do(lambda: self._host.open_channel(channel))
            return
        unit = self._unit(spot)
        # Many pixels of the input belong to one unit: a click beside the last is no second one.
        again = unit == choice.location and (spot.on == "map" or spot == self._clicked)
        self._clicked = spot
        self._host.tell(location=None if again else unit)

    def press(self, key: str) -> None:
        """Do what a key of `KEYS` stands for."""
        host = self._host
        meanings: dict[str, Callable[[], object]] = {
            "ArrowLeft": lambda: self._step_channel(-1),
            "ArrowRight": lambda: self._step_channel(1),
            "ArrowUp": lambda: self._step_layer(-1),
            "ArrowDown": lambda: self._step_layer(1),
            "Backspace": lambda: host.do(host.back),
            "Escape": lambda: host.tell(location=None),
            "b": lambda: host.tell(before_relu=not self._scene().choice.before_relu),
            "c": lambda: host.do(lambda: host.copy(host.to_code())),
            "g": self._turn_grid,
            "o": lambda: host.tell(overlay=0.0 if self._scene().choice.overlay else _OVERLAY),
            "p": lambda: host.do(host.play),
            "r": lambda: host.do(host.reset),
            "s": lambda: host.do(lambda: host.download(".png")),
        }
        if key in meanings:
            meanings[key]()

    def _turn_grid(self) -> None:
        mode = self._scene().choice.mode
        if mode == "grid":
            self._host.tell(mode=self._without_grid)
        else:
            self._without_grid = mode
            self._host.tell(mode="grid")

    def _step_channel(self, step: int) -> None:
        scene = self._scene()
        count = scene.activations.info(scene.choice.layer).channels
        channel = scene.choice.channel + step
        if find_mode(scene.choice.mode).takes == "one" and 0 <= channel < count:
            self._host.tell(channel=channel)

    def _step_layer(self, step: int) -> None:
        scene = self._scene()
        activations, choice, names = scene.activations, scene.choice, list(scene.activations)
        here = activations.info(choice.layer).name
        place = names.index(here) + step
        if not 0 <= place < len(names):
            return
        self._host.tell(layer=named_alike(names[place], choice, activations))

    def _unit(self, spot: Hit) -> tuple[int, int]:
        if spot.on == "map":
            return spot.row, spot.column
        scene = self._scene()
        activations, layer = scene.activations, scene.choice.layer
        rows, columns, _ = activations.shape(layer)
        return activations.info(layer).unit_at(spot.row, spot.column, (rows, columns))

    def marking(self) -> Marks:
        """Return the marks of the place under the mouse, or else of the chosen location."""
        scene = self._scene()
        choice = scene.choice
        unit = choice.location if self._spot is None else self._unit(self._spot)
        return Marks(unit, None if unit is None else self._seen_by(*unit), choice.overlay)

    def _seen_by(self, row: int, column: int) -> tuple[int, int, int, int] | None:
        """Return the input pixels that a unit sees; None where it sees none, or nobody knows."""
        scene = self._scene()
        info = scene.activations.info(scene.choice.layer)
        if info.receptive_field is None:
            return None
        height, width = scene.activations.image.shape[:2]
        top, left, bottom, right = box = info.receptive_field_box(row, column, (height, width))
        return box if top < bottom and left < right else None

    def words(self) -> str:
        """Say what is at that place; nothing where there is none."""
        spot = self._spot
        unit = self._scene().choice.location if spot is None else self._unit(spot)
        if unit is None:
            return ""
        words = self._unit_words(*unit, None if spot is None else spot.channel)
        if spot is None:
            return f"location: {words}"
        if spot.on == "input":
            pixel = self._pixel_words(spot.row, spot.column)
            return f"input row {spot.row}, column {spot.column}: {pixel} · nearest unit {words}"
        return words

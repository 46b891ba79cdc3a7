"""What pointing, clicking and the keyboard mean to an explorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_widget.captions import place_words
from vgg_widget.controls import Controls
from vgg_widget.coordinates import Marking, Spot
from vgg_widget.explorer_actions import ExplorerActions
from vgg_widget.host import Host
from vgg_widget.modes import find_mode

if TYPE_CHECKING:
    from vgg_widget.figure import FeatureFigure

KEYS = {
    "ArrowLeft": "previous channel",
    "ArrowRight": "next channel",
    "ArrowUp": "previous layer",
    "ArrowDown": "next layer",
    "Backspace": "back to what was on show before a jump",
    "Escape": "no location",
    "b": "before or after the ReLU",
    "g": "grid, and back",
    "o": "map over the input, and back",
    "r": "reset",
}
"""The keys of an explorer, as JavaScript names them, and what they do."""

_OVERLAY = 0.5


class Pointing:
    """Links the place under the mouse, the chosen location and the keys to an explorer.

    Parameters
    ----------
    explorer : ExplorerActions
        Whose traits are read.
    view : FeatureFigure
        Where places are marked.
    controls : Controls
        Which say what is there.
    host : Host
        Is told what a person chose.
    """

    def __init__(
        self, explorer: ExplorerActions, view: FeatureFigure, controls: Controls, host: Host
    ) -> None:
        self._explorer = explorer
        self._view = view
        self._controls = controls
        self._host = host
        self._spot: Spot | None = None

    def point(self, spot: Spot | None) -> None:
        """Show what is under the mouse; what is at the chosen location where there is nothing."""
        if spot != self._spot:
            self._spot = spot
            self._host.do(self._pointed)

    def _pointed(self) -> None:
        self.refresh()
        self._controls.locate(self.words())

    def forget(self) -> None:
        """Take the mouse to be elsewhere: its place was on another picture."""
        self._spot = None

    def refresh(self) -> None:
        """Mark what is to be marked now."""
        self._view.mark(self.marking())

    def click(self, spot: Spot) -> None:
        """Choose the place of a click; a grid's tile is opened, and the same place let go."""
        explorer = self._explorer
        tiled = find_mode(explorer.mode).tiled
        if tiled and spot.on == "map" and spot.channel is not None:
            channel = spot.channel
            self._host.do(lambda: explorer.open_channel(channel))
            return
        unit = self._unit(spot)
        self._host.tell(location=None if unit == explorer.location else unit)

    def press(self, key: str) -> None:
        """Do what a key of `KEYS` stands for."""
        if key in ("ArrowLeft", "ArrowRight"):
            self._step_channel(-1 if key == "ArrowLeft" else 1)
        elif key in ("ArrowUp", "ArrowDown"):
            self._step_layer(-1 if key == "ArrowUp" else 1)
        elif key == "Backspace":
            self._host.do(self._host.back)
        elif key == "Escape":
            self._host.tell(location=None)
        elif key == "b":
            self._host.tell(before_relu=not self._explorer.before_relu)
        elif key == "g":
            self._host.tell(mode="channel" if self._explorer.mode == "grid" else "grid")
        elif key == "o":
            self._host.tell(overlay=0.0 if self._explorer.overlay else _OVERLAY)
        elif key == "r":
            self._host.do(self._host.reset)

    def _step_channel(self, step: int) -> None:
        explorer = self._explorer
        count = explorer.activations.info(explorer.layer).channels
        channel = explorer.channel + step
        if find_mode(explorer.mode).takes == "one" and 0 <= channel < count:
            self._host.tell(channel=channel)

    def _step_layer(self, step: int) -> None:
        explorer = self._explorer
        activations, names = explorer.activations, list(explorer.activations)
        here = activations.info(explorer.layer).name
        place = names.index(here) + step
        if not 0 <= place < len(names):
            return
        layer = names[place]
        if explorer.layer != here:
            # Whoever speaks torchvision goes on in torchvision's names.
            before = activations.before_relu(layer) if explorer.before_relu else None
            layer = before or activations.torch_names(layer)[-1]
        self._host.tell(layer=layer)

    def _unit(self, spot: Spot) -> tuple[int, int]:
        if spot.on == "map":
            return spot.row, spot.column
        activations, layer = self._explorer.activations, self._explorer.layer
        rows, columns, _ = activations.shape(layer)
        return activations.info(layer).unit_at(spot.row, spot.column, (rows, columns))

    def marking(self) -> Marking:
        """Return the marks of the place under the mouse, or else of the chosen location."""
        explorer = self._explorer
        unit = explorer.location if self._spot is None else self._unit(self._spot)
        box = None
        info = explorer.activations.info(explorer.layer)
        if unit is not None and info.receptive_field is not None:
            height, width = explorer.activations.image.shape[:2]
            box = info.receptive_field_box(*unit, (height, width))
        return Marking(unit, box, explorer.overlay)

    def words(self) -> str:
        """Say what is at that place; nothing where there is none."""
        explorer, spot = self._explorer, self._spot
        unit = explorer.location if spot is None else self._unit(spot)
        rendering = explorer.rendering
        if unit is None or rendering is None:
            return ""
        channel = None if spot is None else spot.channel
        words = place_words(explorer.activations, rendering, *unit, channel)
        if spot is None:
            return f"location: {words}"
        if spot.on == "input":
            red, green, blue = explorer.activations.image[spot.row, spot.column]
            pixel = f"input row {spot.row}, column {spot.column}: RGB {red}, {green}, {blue}"
            return f"{pixel} · nearest unit {words}"
        return words

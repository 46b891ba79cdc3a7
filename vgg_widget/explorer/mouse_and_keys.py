"""How an explorer responds to pointing, clicking and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vgg_widget.explorer.attributing import WHY_PANEL
from vgg_widget.explorer.settings import ATTRIBUTION_OPACITY
from vgg_widget.pictures.coordinates import Hit, Marks
from vgg_widget.pictures.modes import DEFAULT_MODE, TILED_MODE, find_mode

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase
    from vgg_widget.figure.linked_figure import LinkedFigure

KEYS = {
    "ArrowLeft": "previous channel",
    "ArrowRight": "next channel",
    "ArrowUp": "previous layer",
    "ArrowDown": "next layer",
    "Backspace": "back to the view before a jump",
    "Escape": "clear the location",
    "b": "before or after the ReLU",
    "c": "copy the code that makes the picture",
    "g": "grid on or off",
    "o": "map over the input, on or off",
    "p": "play or stop",
    "r": "reset",
    "s": "save the picture",
    "w": "why: the pixels that the value comes from, on or off",
}
"""The keys of an explorer, as JavaScript names them, with their actions."""

_OVERLAY = 0.5


class MouseAndKeys:
    """Links the position under the mouse, the chosen location and the keys to an explorer."""

    def __init__(self, explorer: ExplorerBase, view: LinkedFigure) -> None:
        self._explorer = explorer
        self._view = view
        self._hit: Hit | None = None
        self._clicked: Hit | None = None
        self.page_marks = False
        """Whether the page itself marks the unit under the mouse."""
        self._mode_before_grid = DEFAULT_MODE
        # The attribution method that was turned off last.
        self._method: str | None = None

    def point(self, hit: Hit | None) -> None:
        """Show the values under the mouse, or else those at the chosen location."""
        if hit != self._hit:
            self._hit = hit
            self.refresh()
            # A tile of a grid belongs to another channel.
            on_unit = hit is not None and not find_mode(self._explorer.settings.mode).tiled
            self._explorer.attributing.point(self._unit(hit) if on_unit and hit else None)
            self._explorer.show_status(self.words())

    def forget(self) -> None:
        """Forget the mouse position, which belonged to another picture."""
        self._hit = None

    def refresh(self) -> None:
        """Update the marks."""
        self._view.mark(self.marks())

    def click(self, hit: Hit) -> None:
        """Choose the clicked location; open a clicked tile; clear a location clicked again."""
        explorer, settings = self._explorer, self._explorer.settings
        if find_mode(settings.mode).tiled and hit.on == "map" and hit.channel is not None:
            explorer.open_channel(hit.channel)
            return
        unit = self._unit(hit)
        # Many input pixels belong to one unit: a click on a neighbouring pixel keeps the location.
        again = unit == settings.location and (hit.on == "map" or hit == self._clicked)
        self._clicked = hit
        explorer.choose(location=None if again else unit)

    def press(self, key: str) -> None:
        """Perform the action of a key in `KEYS`."""
        explorer, settings = self._explorer, self._explorer.settings
        meanings: dict[str, Callable[[], object]] = {
            "ArrowLeft": lambda: self._step_channel(-1),
            "ArrowRight": lambda: self._step_channel(1),
            "ArrowUp": lambda: self._step_layer(-1),
            "ArrowDown": lambda: self._step_layer(1),
            "Backspace": explorer.back,
            "Escape": lambda: explorer.choose(location=None),
            "b": lambda: explorer.choose(before_relu=not settings.before_relu),
            "c": lambda: explorer.copy_code(self._code_copied),
            "g": self._toggle_grid,
            "o": lambda: explorer.choose(overlay=0.0 if settings.overlay else _OVERLAY),
            "p": explorer.play,
            "r": explorer.reset,
            "s": lambda: explorer.download(".png"),
            "w": self._toggle_why,
        }
        if key in meanings:
            meanings[key]()

    def _code_copied(self, ok: bool) -> None:
        if not ok:
            raise OSError(
                'The browser did not let the code be copied: use "show code" under "Open & save" '
                "instead."
            )
        self._explorer.show_status("The code is on the clipboard.")

    def _toggle_grid(self) -> None:
        mode = self._explorer.settings.mode
        if find_mode(mode).tiled:
            self._explorer.choose(mode=self._mode_before_grid)
        else:
            self._mode_before_grid = mode
            self._explorer.choose(mode=TILED_MODE)

    def _toggle_why(self) -> None:
        explorer = self._explorer
        shown = explorer.settings.attribution
        if shown is None and self._method is not None:
            explorer.choose(attribution=self._method)
        if shown is None or explorer.panel != WHY_PANEL:
            explorer.open_panel(WHY_PANEL)
            return
        self._method = shown
        explorer.choose(attribution=None)
        explorer.open_panel("")

    def _step_channel(self, step: int) -> None:
        settings = self._explorer.settings
        count = self._explorer.measured.info(settings.layer).channels
        channel = settings.channel + step
        if find_mode(settings.mode).takes == "one" and 0 <= channel < count:
            self._explorer.choose(channel=channel)

    def _step_layer(self, step: int) -> None:
        settings, activations = self._explorer.settings, self._explorer.measured
        names = list(activations)
        place = names.index(activations.info(settings.layer).name) + step
        if 0 <= place < len(names):
            self._explorer.choose(layer=settings.name_of(names[place], activations))

    def _unit(self, hit: Hit) -> tuple[int, int]:
        if hit.on == "map":
            return hit.row, hit.column
        activations, layer = self._explorer.measured, self._explorer.settings.layer
        rows, columns, _ = activations.shape(layer)
        return activations.info(layer).unit_at(hit.row, hit.column, (rows, columns))

    def marks(self) -> Marks:
        """Return the marks for the position under the mouse, or else the chosen location."""
        settings = self._explorer.settings
        hit = None if self.page_marks else self._hit
        unit = settings.location if hit is None else self._unit(hit)
        field = None if unit is None else self._field(*unit)
        if settings.attribution is None:
            return Marks(unit, field, settings.overlay)
        # Until the attribution is ready, the layer's own map would be mistaken for it.
        instead = self._explorer.attributing.over_inputs
        opacity = settings.overlay or ATTRIBUTION_OPACITY
        return Marks(unit, field, opacity if instead else 0.0, instead)

    def _field(self, row: int, column: int) -> tuple[int, int, int, int] | None:
        """Return the input pixels that a unit sees; None if it sees none or they are unknown."""
        activations = self._explorer.measured
        info = activations.info(self._explorer.settings.layer)
        if info.receptive_field is None:
            return None
        height, width = activations.image.shape[:2]
        top, left, bottom, right = box = info.receptive_field_box(row, column, (height, width))
        return box if top < bottom and left < right else None

    def words(self) -> str:
        """Describe the marked unit; return an empty text if there is none."""
        hit = self._hit
        unit = self._explorer.settings.location if hit is None else self._unit(hit)
        if unit is None:
            return ""
        words: str = self._explorer.unit_words(*unit, None if hit is None else hit.channel)
        if hit is None:
            return f"location: {words}"
        if hit.on == "input":
            pixel = self._explorer.pixel_words(hit.row, hit.column)
            return f"input row {hit.row}, column {hit.column}: {pixel} · nearest unit {words}"
        return words

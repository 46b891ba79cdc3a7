"""The panel of predictions: the most probable classes, each with a bar."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import ref

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import WIDTH, words
from vgg_widget.layers import VGGS
from vgg_widget.predictions import Prediction, Predictor, checked_top, looked_at

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer


class PredictionsPanel(Panel):
    """The most probable classes of the current image, 1 to 1000 of them.

    The predictor was loaded in the calling thread, with its download's progress in the cell.
    """

    def __init__(self, explorer: LayerExplorer, predictor: Predictor, count: int = 5) -> None:
        super().__init__(explorer)
        self._predictor = predictor
        self._count = checked_top(count, "count")
        self._shown: ref[Activations] | None = None
        # A single widget for all rows needs only one message per image.
        self.widget = words(width="100%", max_width=WIDTH, max_height="420px", overflow="auto")

    def show(self) -> None:
        """Show the classes of an image; its layer, channel and colours change nothing."""
        activations = self._explorer.activations
        if self._shown is not None and self._shown() is activations:
            return
        # Predictions for another image must not stay beside this one.
        self._shown = None
        self.widget.value = ""
        count, classes = self._count, self._predictor.classes
        caption = (
            f"{VGGS[activations.weights.network].title} looked at {looked_at(activations)}: the "
            f"{min(count, classes)} most probable of {classes} classes."
        )
        self.widget.value = _table(self._predictor.predict(activations, count), caption)
        self._shown = ref(activations)


_TEXT = "color: var(--jp-ui-font-color1, currentColor)"
_CELL = "padding: 2px 8px; border: 0; text-align: left"
_RAIL = (
    "height: 0.8em; min-width: 3em; background: var(--jp-layout-color2, rgba(128, 128, 128, 0.25))"
)


def _table(predictions: Sequence[Prediction], caption: str) -> str:
    # Screen readers announce a table row's class and number; the bar adds nothing.
    rows = "".join(_row(prediction) for prediction in predictions)
    return (
        f'<table style="width: 100%; border-collapse: collapse; line-height: 1.45; {_TEXT}">'
        f'<caption style="caption-side: top; text-align: left; padding: 2px 8px; {_TEXT}">'
        f"{html.escape(caption)}</caption><tbody>{rows}</tbody></table>"
    )


def _row(prediction: Prediction) -> str:
    label = html.escape(prediction.label.replace("_", " "))
    number = html.escape(prediction.wordnet_id or str(prediction.index))
    percent = 100 * prediction.probability
    # 0.0 % would mean that the class is impossible.
    percentage = f"{percent:.1f} %" if percent >= 0.1 else "below 0.1 %"
    return (
        f'<tr><th scope="row" title="{number}" style="{_CELL}; font-weight: normal; '
        f'overflow-wrap: break-word; width: 40%">{label}</th>'
        f'<td aria-hidden="true" style="{_CELL}"><div style="{_RAIL}">'
        f'<div style="height: 100%; width: {percent:.2f}%; '
        'background: var(--jp-brand-color1, #1976d2)"></div></div></td>'
        f'<td style="{_CELL}; text-align: right; white-space: nowrap; width: 1%">'
        f"{percentage}</td></tr>"
    )

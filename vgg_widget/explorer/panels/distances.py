"""The panel of distances between two images at each layer, in content and in style."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import ipywidgets as widgets

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer import parts
from vgg_widget.explorer.box import LOCK
from vgg_widget.explorer.later import Later, Superseded
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.gradients import content_distance, style_distance
from vgg_widget.pictures.comparing import Pair

if TYPE_CHECKING:
    from vgg_widget.explorer.comparison import Comparison

# In CSS pixels; the height fits VGG19's 21 layers.
_BUTTON, _MOST_HEIGHT = 130, 640
_SCALE = (
    "How far apart the two pictures are at each layer{where}: 0 is the same, 1 is nothing in "
    "common. Click on a layer to see it."
)
_FORMULAS = (
    "Content compares the maps F and P location by location, √(Σ (F − P)² / (Σ F² + Σ P²)). Style "
    "compares their Gram matrices in the same way: which channels are active together, wherever "
    "that is. Both are those of Gatys et al. 2016, divided so that layers can be compared."
)


class DistancesPanel(Panel):
    """A button for each layer, with two bars and their numbers.

    The distances take seconds. They are computed on another thread, once for each pair, while the
    panel is open.
    """

    def __init__(self, explorer: Comparison) -> None:
        super().__init__(explorer)
        self._later = Later(explorer)
        self._busy = False
        self._activations_ref: Callable[[], Activations | None] = lambda: None
        self._lines = {info.name: _Line(explorer, info.name) for info in explorer.pair.first.layers}
        # The layers still to be computed for the current pair.
        self._missing = list(self._lines)
        explanation = parts.words("vgg-words", width="100%", max_width=parts.WIDTH)
        # Arrays, and many users' models, have no side before a ReLU.
        both = any(map(explorer.pair.first.before_relu, self._lines))
        scale = _SCALE.format(where=", after its ReLU" if both else "")
        explanation.value = parts.paragraph(scale) + parts.paragraph(_FORMULAS)
        # Aligned with the bars, to the right of the buttons and their margins.
        head = parts.words("vgg-words", margin=f"4px 0 0 {_BUTTON + 4}px", max_width=parts.WIDTH)
        head.value = _HEAD
        layout = widgets.Layout(
            width="100%", max_width=parts.WIDTH, max_height=f"{_MOST_HEIGHT}px", overflow="auto"
        )
        lines = widgets.VBox([one.widget for one in self._lines.values()], layout=layout)
        self.widget = widgets.VBox([explanation, head, lines], layout=widgets.Layout(width="100%"))
        # A closed widget has no comm any more.
        self.widget.observe(lambda _: self._later.cancel(), "comm")

    def show(self) -> None:
        """Mark the current layer, and compute the pair's missing distances."""
        pair: Pair = self._explorer.pair
        if self._activations_ref() is not pair.first:
            # Distances between two other images must not stay.
            self.pause()
            self._activations_ref = ref(pair.first)
            self._missing = list(self._lines)
            for line in self._lines.values():
                line.say(None)
        on_show = pair.first.info(self._explorer.settings.layer).name
        for name, line in self._lines.items():
            parts.set_value(line.button, name == on_show)
        if self._missing and not self._busy:
            self._busy = True
            # The current layer comes first.
            layers = sorted(self._missing, key=lambda name: name != on_show)
            self._later.start(partial(self._compute, pair, layers), 0.0)

    def pause(self) -> None:
        """Stop computing; known distances stay."""
        self._later.cancel()
        self._busy = False

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until all is computed; return whether it is. Call it without the lock."""
        return self._later.wait(seconds)

    def _compute(self, pair: Pair, layers: list[str], superseded: Superseded) -> None:
        failed: Exception | None = None
        for name in layers:
            found: tuple[float, ...] | None = None
            try:
                found = tuple(
                    distance(pair.first, pair.second, name, relative=True)
                    for distance in (content_distance, style_distance)
                )
            except Exception as error:
                # For example NaN at one layer: the others still get their distances.
                failed = failed or error
            with LOCK:
                if superseded.is_set():
                    return
                self._lines[name].say(found or ())
                self._missing.remove(name)
        if failed is not None:
            raise failed


class _Line:
    """A layer's button, pressed while the layer is displayed, and its distances."""

    def __init__(self, explorer: Comparison, layer: str) -> None:
        self._explorer: Any = explorer
        self._layer = layer
        self.button = widgets.ToggleButton(
            description=layer,
            layout=widgets.Layout(width=f"{_BUTTON}px", height="24px", flex="0 0 auto"),
        )
        self.bars = parts.words(flex="1 1 0", min_width="0")
        self.widget = widgets.HBox(
            [self.button, self.bars], layout=widgets.Layout(align_items="center")
        )
        self.widget.add_class("vgg-line")
        explorer.on_change(self.button, lambda _: self._chosen())

    def _chosen(self) -> None:
        explorer = self._explorer
        explorer.choose(layer=explorer.settings.name_of(self._layer, explorer.measured))
        # After a second press it is still the current layer.
        with explorer.showing_controls():
            parts.set_value(self.button, value=True)

    def say(self, distances: tuple[float, ...] | None) -> None:
        """Show both distances; nothing for None, and a text if they are empty."""
        markup = ""
        if distances is not None:
            markup = "".join(map(_bar, ("content", "style"), distances)) or _NONE
        parts.set_value(self.bars, f'<div class="vgg-distances">{markup}</div>')


_NONE = '<span style="grid-column: 1 / -1">could not be computed</span>'
_HEAD = '<div class="vgg-distances vgg-head"><span>content</span><span>style</span></div>'


def _bar(what: str, distance: float) -> str:
    # Before a ReLU there are distances beyond 1.
    share = min(distance, 1.0)
    bar = f'<span class="vgg-bar" style="width:{100 * share:.1f}%"></span>'
    return (
        f'<span class="vgg-rail" aria-hidden="true">{bar}</span>'
        f'<span><span class="vgg-unseen">{html.escape(what)} </span>{distance:.3f}</span>'
    )

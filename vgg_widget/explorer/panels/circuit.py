"""The circuit of the channel on show: which channels it is made of, each one step down."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.circuit.inputs import Circuit, CircuitInput
from vgg_widget.circuit.pictures import input_picture, kernel_picture, small_png
from vgg_widget.explorer.controls import paragraph
from vgg_widget.explorer.described_image import FRAME, described_image
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, SIGNED_CMAP
from vgg_widget.pictures.modes import find_mode

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

_CARDS = 6

# Of a card and what is in it, on the page; six cards with their margins are as wide as the figure.
_CARD, _MAP, _KERNEL = 124, 112, 72

_NUMBERS = "line-height: 1.35; text-align: center; white-space: nowrap; font-size: 92%"


class CircuitPanel(Panel):
    """Shows the inputs with the largest kernels of the channel on show."""

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self.heading = widgets.HTML(layout=widgets.Layout(margin="0", flex="1 1 300px"))
        self.heading.add_class("vgg-words")
        self.back = widgets.Button(
            description="back",
            tooltip="Back to the layer and channel before",
            layout=widgets.Layout(width="auto", flex="0 0 auto"),
        )
        # Never disabled, nor are the cards' buttons: the keyboard's focus would be lost with it.
        self.back.on_click(explorer.reporting_errors(lambda _: explorer.back()))
        self.cards = tuple(InputCard(explorer) for _ in range(_CARDS))
        row = widgets.Layout(flex_flow="row wrap", width="100%", max_width="770px")
        top = widgets.HBox([self.heading, self.back], layout=row)
        cards = widgets.HBox([card.widget for card in self.cards], layout=row)
        self.widget = widgets.VBox([top, cards], layout=widgets.Layout(width="100%"))

    def show(self) -> None:
        """Show what the channel on show is made of."""
        settings = self._explorer.settings
        try:
            found = self._explorer.circuit(_CARDS)
        except ValueError as error:
            # A layer without kernels is no mistake of whoever looks at it.
            self._say(str(error))
            for card in self.cards:
                card.hide()
            return
        one = find_mode(settings.mode).takes == "one"
        several = f" (Mode {settings.mode} shows several; this is about one of them.)"
        self._say(f"{_words(found, settings.layer)}{'' if one else several}")
        for number, card in enumerate(self.cards):
            if number < len(found.inputs):
                card.show(found, found.inputs[number])
            else:
                card.hide()

    def _say(self, words: str) -> None:
        self.heading.value = paragraph(words)


class InputCard:
    """One input: its kernel, its map, their numbers, and a button that opens its channel."""

    def __init__(self, explorer: LayerExplorer) -> None:
        self._explorer = explorer
        self._way: tuple[int, str] | None = None
        # A kernel is white where it is 0, which a light page is too.
        self.kernel = described_image(_KERNEL, border=FRAME)
        self.map = described_image(_MAP)
        self.numbers = widgets.HTML(layout=widgets.Layout(margin="0", width="100%"))
        self.button = widgets.Button(layout=widgets.Layout(width=f"{_MAP}px", margin="2px 0"))
        self.button.on_click(explorer.reporting_errors(self._pressed))
        self.widget = widgets.VBox(
            [self.kernel, self.map, self.numbers, self.button],
            layout=widgets.Layout(
                display="none", width=f"{_CARD}px", margin="2px", align_items="center"
            ),
        )

    def show(self, whole: Circuit, one: CircuitInput) -> None:
        """Show one input of a circuit."""
        source = "the picture" if one.layer is None else one.layer
        self._way = None if one.layer is None else (one.channel, one.layer)
        explorer = self._explorer
        picture = input_picture(
            one,
            explorer.extractor,
            explorer.activations,
            cmap=self._cmap(one),
            scale=explorer.settings.full_scale,
        )
        self.map.value = small_png(picture, 2 * _MAP)
        self.map.tooltip = f"{one.name} of {source}, on this image"
        self._show_kernel(whole, one, source)
        self.numbers.value = "".join(
            f'<div style="{_NUMBERS}">{html.escape(line)}</div>' for line in _numbers(one)
        )
        with self.button.hold_sync():
            self.button.description = one.name
            self.button.tooltip = f"{'Part of' if self._way is None else 'Go down to'} {source}"
        self.widget.layout.display = None

    def _show_kernel(self, whole: Circuit, one: CircuitInput, source: str) -> None:
        if one.kernel is not None and whole.top is not None:
            self.kernel.value = small_png(kernel_picture(one.kernel, whole.top), 2 * _KERNEL)
            self.kernel.tooltip = (
                f"kernel {' × '.join(map(str, one.kernel.shape))} from {one.name} of {source}: "
                f"weights {one.kernel.min():.2g} to {one.kernel.max():.2g}, "
                f"{one.excitatory:.0%} of their sum of magnitudes positive"
            )
        self.kernel.layout.display = None if one.kernel is not None else "none"

    def hide(self) -> None:
        """Take the card off the page."""
        self.widget.layout.display = "none"

    def _pressed(self, _: object) -> None:
        if self._way is not None:
            self._explorer.open_channel(*self._way)

    def _cmap(self, one: CircuitInput) -> str:
        """Return the explorer's colormap, or a sequential one for a map with nothing below 0."""
        settings = self._explorer.settings
        if one.layer is None or not settings.before_relu or settings.cmap != SIGNED_CMAP:
            return settings.cmap
        signed = bool((self._explorer.activations[one.layer] < 0).any())
        return settings.cmap if signed else DEFAULT_CMAP


def _words(found: Circuit, layer: str) -> str:
    source = "the picture" if found.source is None else found.source
    if found.share is None or found.top is None:
        return (
            f"{layer} channel {found.channel} is made of {found.inputs[0].name} of {source} alone, "
            "without a kernel."
        )
    if len(found.inputs) < found.count:
        which = (
            f"reads all {found.count} channels of {source}"
            f"; these {len(found.inputs)} have the largest kernels, "
            f"{found.share:.0%} of the sum of squares."
        )
    else:
        names = "channel" if found.count == 1 else f"{found.count} channels"
        which = f"reads the {names} of {source}, shown below."
    words = (
        f"{layer} channel {found.channel} {which} Red weights are positive, blue ones negative, "
        f"up to {found.top:.2g}."
    )
    if found.location is not None and found.activation is not None:
        words += (
            f" At {found.location} all inputs and the bias ({found.bias:.3g}) add up to "
            f"{found.activation:.3g}, before any activation function."
        )
    return words


def _numbers(one: CircuitInput) -> list[str]:
    if one.norm is None or one.share is None:
        return []
    lines = [f"norm {one.norm:.2g} · {one.share:.0%}"]
    if one.contribution is not None:
        lines.append(f"adds {one.contribution:+.2g}")
    return lines

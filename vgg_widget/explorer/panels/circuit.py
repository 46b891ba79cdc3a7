"""The circuit of the current channel: the channels one layer down that it is computed from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.circuit.inputs import Circuit, CircuitInput
from vgg_widget.circuit.pictures import input_picture, kernel_picture, small_png
from vgg_widget.explorer import parts
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.panels.sum_table import sum_table
from vgg_widget.gradients import explain_unit
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, SIGNED_CMAP
from vgg_widget.pictures.modes import find_mode
from vgg_widget.support.messages import plain_number, plain_range

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

_CARDS = 6
# In CSS pixels.
_KERNEL = 72


class CircuitPanel(Panel):
    """Shows the inputs with the largest kernels of the current channel."""

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self.heading = parts.words("vgg-words", flex="1 1 300px")
        self.back = parts.button("back", "Back to the layer and channel before")
        # Like the cards' buttons never disabled, because it would lose the keyboard's focus.
        self.back.on_click(explorer.reporting_errors(lambda _: explorer.back()))
        self.cards = tuple(InputCard(explorer) for _ in range(_CARDS))
        top = parts.row([self.heading, self.back], width="100%", max_width=parts.WIDTH)
        cards = parts.row([one.widget for one in self.cards], width="100%", max_width=parts.WIDTH)
        self.sum = parts.words("vgg-words", width="100%", max_width=parts.WIDTH, overflow="auto")
        self.widget = widgets.VBox([top, cards, self.sum], layout=widgets.Layout(width="100%"))

    def show(self) -> None:
        """Show the inputs of the current channel."""
        settings = self._explorer.settings
        try:
            found = self._explorer.circuit(_CARDS)
        except ValueError as error:
            # A layer without kernels is not the user's mistake.
            self.heading.value = parts.paragraph(str(error))
            parts.set_value(self.sum, "")
            for one in self.cards:
                parts.display(one.widget, shown=False)
            return
        one_channel = find_mode(settings.mode).takes == "one"
        several = f" (Mode {settings.mode} shows several; this is about one of them.)"
        words = _words(found, settings.layer)
        self.heading.value = parts.paragraph(words if one_channel else words + several)
        for number, one in enumerate(self.cards):
            there = number < len(found.inputs)
            if there:
                one.show(found, found.inputs[number])
            parts.display(one.widget, shown=there)
        parts.set_value(self.sum, self._sum(found))

    def _sum(self, found: Circuit) -> str:
        """Return the sum behind the value at the location, as HTML; "" if there is none."""
        explorer, settings = self._explorer, self._explorer.settings
        if found.location is None or found.share is None:
            return ""
        layer = settings.layer_in(explorer.activations)
        return sum_table(
            explain_unit(
                explorer.extractor, explorer.activations, layer, found.channel, found.location
            )
        )


class InputCard:
    """One input: its kernel, its map, their numbers, and a button that opens its channel."""

    def __init__(self, explorer: LayerExplorer) -> None:
        self._explorer = explorer
        self._target: tuple[int, str] | None = None
        # A kernel's zeros are white, as is a light page.
        self.kernel = parts.described_image(_KERNEL, border=parts.FRAME)
        self.map = parts.described_image(parts.CARD_PICTURE)
        self.numbers = parts.words(width="100%")
        self.button = parts.card_button()
        self.button.on_click(explorer.reporting_errors(self._pressed))
        self.widget = parts.card([self.kernel, self.map, self.numbers, self.button])

    def show(self, whole: Circuit, one: CircuitInput) -> None:
        """Show one input of a circuit."""
        source = "the picture" if one.layer is None else one.layer
        self._target = None if one.layer is None else (one.channel, one.layer)
        explorer = self._explorer
        picture = input_picture(
            one,
            explorer.extractor,
            explorer.activations,
            cmap=self._cmap(one),
            scale=explorer.settings.full_scale,
        )
        self.map.value = small_png(picture, 2 * parts.CARD_PICTURE)
        self.map.tooltip = f"{one.name} of {source}, on this image"
        self._show_kernel(whole, one, source)
        self.numbers.value = "".join(map(parts.card_line, _numbers(one)))
        with self.button.hold_sync():
            self.button.description = one.name
            self.button.tooltip = f"{'Part of' if self._target is None else 'Go down to'} {source}"

    def _show_kernel(self, whole: Circuit, one: CircuitInput, source: str) -> None:
        if one.kernel is not None and whole.top is not None:
            self.kernel.value = small_png(kernel_picture(one.kernel, whole.top), 2 * _KERNEL)
            self.kernel.tooltip = (
                f"kernel {' × '.join(map(str, one.kernel.shape))} from {one.name} of {source}: "
                f"weights {plain_range(one.kernel.min(), one.kernel.max(), 2)}, "
                f"{one.excitatory:.0%} of their sum of magnitudes positive"
            )
        parts.display(self.kernel, shown=one.kernel is not None)

    def _pressed(self, _: object) -> None:
        if self._target is not None:
            self._explorer.open_channel(*self._target)

    def _cmap(self, one: CircuitInput) -> str:
        """Return the explorer's colormap, or a sequential one for a map without negative values."""
        settings = self._explorer.settings
        if one.layer is None or not settings.before_relu or settings.cmap != SIGNED_CMAP:
            return settings.cmap
        signed = bool((self._explorer.activations[one.layer] < 0).any())
        return settings.cmap if signed else DEFAULT_CMAP


def _words(found: Circuit, layer: str) -> str:
    source = "the picture" if found.source is None else found.source
    if found.share is None or found.top is None:
        return (
            f"{layer} channel {found.channel} is computed from {found.inputs[0].name} of {source} "
            "alone, without a kernel."
        )
    if len(found.inputs) < found.count:
        share = f", {found.share:.0%} of the sum of squares" if math.isfinite(found.share) else ""
        which = (
            f"reads all {found.count} channels of {source}; these {len(found.inputs)} have the "
            f"largest kernels{share}."
        )
    else:
        names = "channel" if found.count == 1 else f"{found.count} channels"
        which = f"reads the {names} of {source}, shown below."
    # NaN and infinite weights come first, so they are among those shown.
    limit = "; some are NaN or infinite"
    if math.isfinite(found.top):
        limit = f", up to {plain_number(found.top, 2)}"
    words = (
        f"{layer} channel {found.channel} {which} Red weights are positive, blue ones negative"
        f"{limit}."
    )
    if found.bias is not None and found.activation is not None:
        words += (
            f" At {found.location} all inputs and the bias ({plain_number(found.bias)}) add up to "
            f"{plain_number(found.activation)}, before any activation function."
        )
    return words


def _numbers(one: CircuitInput) -> list[str]:
    if one.norm is None or one.share is None:
        return []
    share = f" · {one.share:.0%}" if math.isfinite(one.share) else ""
    lines = [f"norm {plain_number(one.norm, 2)}{share}"]
    if one.contribution is not None:
        adds = plain_number(one.contribution, 2)
        lines.append(f"adds {adds}" if one.contribution < 0 else f"adds +{adds}")
    return lines

"""The panel that shows what a channel looks for: an image optimised to activate it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from vgg_widget.activations.telling import telling_channels
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.explorer import parts
from vgg_widget.explorer.atlas.patch_cards import STATISTIC_WORDS
from vgg_widget.explorer.making import Maker
from vgg_widget.explorer.overview import MOST_CHANNELS
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.gradients.kept import KeptImages
from vgg_widget.gradients.synthesis import ChannelMaking
from vgg_widget.gradients.synthetic_image import SyntheticImage
from vgg_widget.images import RGB8, ImageError
from vgg_widget.network.portable import weights_digest
from vgg_widget.pictures.modes import find_mode
from vgg_widget.support.messages import plain_number
from vgg_widget.support.provenance import Provenance

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

_STEPS = 256
# The number of a set's strongest patches shown.
_PATCHES = 3
# The side of a single picture, and of one of eight in a row.
_SIDE, _SMALL = 196, 104
# The number of stopped optimisations that can be resumed, and of images kept in memory.
_MAKINGS_KEPT, _IMAGES_KEPT = 4, 128


class _Wish(NamedTuple):
    """The channels to make images for, and the seed to begin from."""

    layer: str
    channels: tuple[int, ...]
    seed: int


class LooksForPanel(Panel):
    """Starts on a click, shows the images as they develop, stops and resumes."""

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self.maker = Maker(explorer)
        self._kept: KeptImages | None = None
        self._makings: dict[_Wish, ChannelMaking] = {}
        # None for images that the cache does not have.
        self._images: dict[tuple[str, int, int], SyntheticImage | None] = {}
        self._seeds: dict[tuple[str, tuple[int, ...]], int] = {}
        self._running: _Wish | None = None
        self._weights: Provenance | None = None
        self._digest = ""
        self._patches_of: tuple[Any, _Wish | None] = None, None
        self.button = parts.button("start", "Make a picture that the channel responds to strongly")
        self._together = False
        self.strip = parts.button("channels that differ most")
        self.another = parts.button("another seed", "Start from other noise")
        self.first = parts.button("first seed", "Show the picture made from the first noise")
        self.words = parts.words("vgg-words", width="100%", max_width=parts.WIDTH)
        self.cards = tuple(_Card(explorer) for _ in range(MOST_CHANNELS))
        self.patches = tuple(parts.PictureCard(_SIDE) for _ in range(_PATCHES))
        every = [*(one.widget for one in self.cards), *(one.widget for one in self.patches)]
        self.widget = widgets.VBox(
            [
                parts.wide_row([self.button, self.strip, self.another, self.first]),
                self.words,
                parts.row(every, width="100%", max_width=parts.WIDTH),
            ],
            layout=widgets.Layout(width="100%"),
        )
        reporting = explorer.reporting_errors
        self.button.on_click(reporting(lambda _: self.toggle()))
        self.another.on_click(reporting(lambda _: self._begin(self._wish().seed + 1)))
        self.first.on_click(reporting(lambda _: self._begin(0)))
        self.strip.on_click(reporting(lambda _: self._switch()))
        # A closed widget has no comm any more.
        self.widget.observe(lambda _: self.maker.stop(), "comm")

    # --- requests

    def toggle(self) -> None:
        """Start, stop or resume."""
        if self.maker.running:
            self.pause()
        else:
            self._start(self._wish())
        self.show()

    def pause(self) -> None:
        """Stop; `toggle` resumes."""
        self.maker.stop()

    def _switch(self) -> None:
        """Make those of the channels that differ most, or go back to the channel on show."""
        self._together = not self._together
        if self._together:
            self._start(self._wish())
        self.show()

    def _begin(self, seed: int) -> None:
        wish = self._wish()
        self._seeds[wish.layer, wish.channels] = seed
        self._start(self._wish())
        self.show()

    def _wish(self) -> _Wish:
        explorer = self._explorer
        settings, activations = explorer.settings, explorer.activations
        layer = activations.info(settings.layer).name
        channels = (settings.channel,)
        if self._together:
            found = telling_channels(activations, settings.layer_in(activations), MOST_CHANNELS)
            channels = tuple(found.tolist())
        return _Wish(layer, channels, self._seeds.get((layer, channels), 0))

    def _missing(self, wish: _Wish) -> tuple[int, ...]:
        """Return the channels without a finished image."""
        found = {channel: self._image(wish.layer, channel, wish.seed) for channel in wish.channels}
        return tuple(channel for channel, one in found.items() if one is None or one.steps < _STEPS)

    def _start(self, wish: _Wish) -> None:
        if not self._missing(wish):
            return
        self._running = wish
        # The current weights' dict: other weights begin with a new one.
        make = partial(self._making, self._makings, wish, self._missing(wish))
        self.maker.start(make, _STEPS, partial(self._made, wish))

    def _making(
        self, makings: dict[_Wish, ChannelMaking], wish: _Wish, channels: tuple[int, ...]
    ) -> ChannelMaking:
        # Runs on the other thread, since compiling takes a moment.
        if wish not in makings:
            makings[wish] = ChannelMaking(
                self._explorer.extractor,
                wish.layer,
                channels,
                location=None,
                size=None,
                seed=wish.seed,
                diversity=None,
            )
            while len(makings) > _MAKINGS_KEPT:
                del makings[next(iter(makings))]
        return makings[wish]

    def _made(self, wish: _Wish, images: tuple[SyntheticImage, ...]) -> None:
        for one in images:
            self._remember((one.layer, one.channel, one.seed), one)
        if images[0].steps == _STEPS:
            # A model that was trained meanwhile made something between two networks.
            with suppress(ValueError):
                check_made_by(self._explorer.extractor, self._explorer.activations)
                for one in images:
                    self._cache().keep(one)
            self._makings.pop(wish, None)
        # A closed panel is paused, so this panel is open.
        with self._explorer.showing_controls():
            self.show()

    def _remember(self, key: tuple[str, int, int], one: SyntheticImage | None) -> None:
        self._images[key] = one
        while len(self._images) > _IMAGES_KEPT:
            del self._images[next(iter(self._images))]

    def _cache(self) -> KeptImages:
        # Computing the digest of a user's own model takes a moment.
        if self._kept is None:
            self._kept = KeptImages(self._explorer.extractor)
        return self._kept

    def _image(self, layer: str, channel: int, seed: int) -> SyntheticImage | None:
        key = layer, channel, seed
        if key not in self._images:
            self._remember(key, self._cache().find(layer, channel, steps=_STEPS, seed=seed))
        return self._images[key]

    # --- display

    def show(self) -> None:
        """Show the images made so far for the current channels."""
        explorer = self._explorer
        try:
            check_made_by(explorer.extractor, explorer.activations)
        except ValueError as error:
            self._show_nothing(str(error))
            return
        if self._weights != explorer.activations.weights:
            # A user's own model was trained: its earlier images do not apply.
            self.pause()
            self._weights = explorer.activations.weights
            self._makings, self._images, self._kept, self._digest = {}, {}, None, ""
        wish = self._wish()
        if self.maker.running and self._running != wish:
            # Those channels are no longer displayed; the optimisation can be resumed later.
            self.pause()
        images = [self._image(wish.layer, channel, wish.seed) for channel in wish.channels]
        self._show_buttons(wish)
        self.words.value = "".join(map(parts.paragraph, self._lines(wish, images)))
        for number, card in enumerate(self.cards):
            if number < len(images):
                card.show(wish, number, images[number])
            else:
                card.hide()
        self._show_patches(wish)

    def _show_nothing(self, why: str) -> None:
        self.pause()
        self.words.value = parts.paragraph(why)
        for control in (self.button, self.strip, self.another, self.first):
            parts.display(control, shown=False)
        for card in self.cards:
            card.hide()
        for patch in self.patches:
            patch.hide()
        self._patches_of = None, None

    def _show_buttons(self, wish: _Wish) -> None:
        words = "start"
        if self.maker.running:
            words = "stop"
        elif wish in self._makings and self._makings[wish].steps:
            words = "resume"
        done = not self._missing(wish)
        parts.set_value(self.button, words, "description")
        # Hidden instead of disabled, so that the focus moves on.
        parts.display(self.button, shown=not done)
        parts.display(self.another, shown=done)
        parts.display(self.first, shown=wish.seed > 0)
        count = min(MOST_CHANNELS, self._explorer.activations.info(wish.layer).channels)
        words, tip = f"{count} channels that differ most", "Make a picture for each of them"
        if self._together:
            words, tip = "only this channel", "Show the picture of the channel on show by itself"
        parts.set_value(self.strip, words, "description")
        parts.set_value(self.strip, tip, "tooltip")
        parts.display(self.strip, shown=self._together or count > 1)

    def _lines(self, wish: _Wish, images: list[SyntheticImage | None]) -> list[str]:
        there = [one for one in images if one is not None]
        lines = []
        if self.maker.running:
            steps = [one.steps for one in there if one.steps < _STEPS]
            lines.append(f"{min(steps, default=0)} of {_STEPS} steps …")
        elif not there:
            of = (
                f"channel {wish.channels[0]}" if len(wish.channels) == 1 else "each of the channels"
            )
            lines.append(
                f"Press start to make a picture, from noise, to which {of} of {wish.layer} "
                "responds as strongly as possible."
            )
        if there:
            lines.append(
                "An optimised picture is a hypothesis about what a channel looks for: compare it "
                "with what the channel responds to most on this picture, and with the value there."
            )
            lines += dict.fromkeys(one.message for one in there if one.message)
        if len(wish.channels) == 1 and find_mode(self._explorer.settings.mode).takes != "one":
            lines.append(
                f"(The mode shows several channels; this is about channel {wish.channels[0]}.)"
            )
        return lines

    def _show_patches(self, wish: _Wish) -> None:
        """Show a single channel's strongest patches in a set, if there is one."""
        top, channel = self._explorer.top_images, wish.channels[0]
        shown, of = self._patches_of
        if shown is top and of == wish:
            return
        self._patches_of = top, wish
        patches: list[RGB8] = []
        # If there are none, the set's own panel says why.
        there = top is not None and len(wish.channels) == 1 and wish.layer in top
        if there:
            # Computing the digest of a user's own model takes a moment.
            self._digest = self._digest or weights_digest(self._explorer.extractor)
            if top.weights.digest == self._digest:
                patches = _patches(top, wish.layer, channel)
        for rank, card in enumerate(self.patches):
            if rank >= len(patches):
                card.hide()
                continue
            value = plain_number(float(top[wish.layer].values[channel, rank]))
            words = f"patch {rank + 1} of the set for channel {channel}"
            card.show(patches[rank], words, f"in the set: {STATISTIC_WORDS[top.statistic]} {value}")


class _Card:
    """The image made for a channel, and the patch of the current image that activates it most."""

    def __init__(self, explorer: LayerExplorer) -> None:
        self._explorer: Any = explorer
        self._channel = 0
        self.made, self.real = parts.PictureCard(_SIDE), parts.PictureCard(_SIDE)
        self._pair = widgets.Box([self.made.widget, self.real.widget])
        self.button = parts.card_button()
        self.button.on_click(
            explorer.reporting_errors(lambda _: explorer.open_channel(self._channel))
        )
        layout = widgets.Layout(display="none", align_items="center")
        self.widget = widgets.VBox([self._pair, self.button], layout=layout)

    def hide(self) -> None:
        parts.display(self.widget, shown=False)

    def show(self, wish: _Wish, number: int, made: SyntheticImage | None) -> None:
        """Show one of the requested channels, or hide the card if it has no image yet."""
        parts.display(self.widget, shown=made is not None)
        if made is None:
            return
        layer, channel = wish.layer, wish.channels[number]
        self._channel = channel
        alone = len(wish.channels) == 1
        # Side by side, or stacked if there are many.
        parts.set_value(self._pair.layout, "row" if alone else "column", "flex_flow")
        for one in (self.made, self.real):
            one.resize(_SIDE if alone else _SMALL)
        self.made.show(made.image, made.caption, f"made: {plain_number(made.activation)}")
        activations = self._explorer.activations
        # On the same side of the ReLU as the made image.
        before = activations.before_relu(layer) or layer
        place = best_unit(activations, before, channel)
        value = float(activations.at(before, *place)[channel])
        patch, where = _seen(activations, layer, place)
        if patch is None or not value > 0:
            # A channel that is never active has no strongest patch.
            self.real.hide()
        else:
            words = f"what channel {channel} responds to most on this picture, {where}"
            line = "strongest on this picture" if alone else "here"
            self.real.show(patch, words, f"{line}: {plain_number(value)}")
        parts.display(self.button, shown=not alone)
        parts.set_value(self.button, f"channel {channel}", "description")


def best_unit(activations: Any, layer: str, channel: int) -> tuple[int, int]:
    """Return row and column of a channel's largest value."""
    only = activations.of_channels(layer, [channel])[..., 0]
    row, column = np.unravel_index(int(np.nan_to_num(only, nan=-np.inf).argmax()), only.shape)
    return int(row), int(column)


def _seen(activations: Any, layer: str, place: tuple[int, int]) -> tuple[RGB8 | None, str]:
    """Return the part of the image that a unit sees, and its position; None if unknown."""
    info = activations.info(layer)
    if info.receptive_field is None:
        return None, ""
    top, left, bottom, right = info.receptive_field_box(*place, activations.image.shape[:2])
    if top >= bottom or left >= right:
        return None, ""
    where = f"rows {top} to {bottom - 1} and columns {left} to {right - 1}"
    return activations.image[top:bottom, left:right], where


def _patches(top: Any, layer: str, channel: int) -> list[RGB8]:
    try:
        return list(top.patches(layer, channel))[:_PATCHES]
    except (ImageError, ValueError, IndexError):
        return []

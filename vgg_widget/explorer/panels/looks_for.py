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


class _Request(NamedTuple):
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
        self._makings: dict[_Request, ChannelMaking] = {}
        # None for images that the cache does not have.
        self._images: dict[tuple[str, int, int], SyntheticImage | None] = {}
        self._seeds: dict[tuple[str, tuple[int, ...]], int] = {}
        self._running: _Request | None = None
        self._weights: Provenance | None = None
        self._digest = ""
        self._patches_of: tuple[Any, _Request | None] = None, None
        self.button = parts.button("start", "Make a picture that the channel responds to strongly")
        self._showing_several = False
        self.several_button = parts.button("channels that differ most")
        self.another = parts.button("another seed", "Start from other noise")
        self.first = parts.button("first seed", "Show the picture made from the first noise")
        self.words = parts.words("vgg-words", width="100%", max_width=parts.WIDTH)
        self.cards = tuple(_Card(explorer) for _ in range(MOST_CHANNELS))
        self.patches = tuple(parts.PictureCard(_SIDE) for _ in range(_PATCHES))
        every = [*(one.widget for one in self.cards), *(one.widget for one in self.patches)]
        self.widget = widgets.VBox(
            [
                parts.wide_row([self.button, self.several_button, self.another, self.first]),
                self.words,
                parts.row(every, width="100%", max_width=parts.WIDTH),
            ],
            layout=widgets.Layout(width="100%"),
        )
        reporting = explorer.reporting_errors
        self.button.on_click(reporting(lambda _: self.toggle()))
        self.another.on_click(reporting(lambda _: self._restart(self._current_request().seed + 1)))
        self.first.on_click(reporting(lambda _: self._restart(0)))
        self.several_button.on_click(reporting(lambda _: self._toggle_several()))
        # A closed widget has no comm any more.
        self.widget.observe(lambda _: self.maker.stop(), "comm")

    # --- requests

    def toggle(self) -> None:
        """Start, stop or resume."""
        if self.maker.running:
            self.pause()
        else:
            self._start(self._current_request())
        self.show()

    def pause(self) -> None:
        """Stop; `toggle` resumes."""
        self.maker.stop()

    def _toggle_several(self) -> None:
        """Make images for the channels that differ most, or return to the current channel."""
        self._showing_several = not self._showing_several
        if self._showing_several:
            self._start(self._current_request())
        self.show()

    def _restart(self, seed: int) -> None:
        request = self._current_request()
        self._seeds[request.layer, request.channels] = seed
        self._start(self._current_request())
        self.show()

    def _current_request(self) -> _Request:
        explorer = self._explorer
        settings, activations = explorer.settings, explorer.activations
        layer = activations.info(settings.layer).name
        channels = (settings.channel,)
        if self._showing_several:
            found = telling_channels(activations, settings.layer_in(activations), MOST_CHANNELS)
            channels = tuple(found.tolist())
        return _Request(layer, channels, self._seeds.get((layer, channels), 0))

    def _missing(self, request: _Request) -> tuple[int, ...]:
        """Return the channels without a finished image."""
        found = {
            channel: self._image(request.layer, channel, request.seed)
            for channel in request.channels
        }
        return tuple(channel for channel, one in found.items() if one is None or one.steps < _STEPS)

    def _start(self, request: _Request) -> None:
        if not self._missing(request):
            return
        self._running = request
        # The current weights' dict: other weights begin with a new one.
        make = partial(self._making, self._makings, request, self._missing(request))
        self.maker.start(make, _STEPS, partial(self._images_made, request))

    def _making(
        self, makings: dict[_Request, ChannelMaking], request: _Request, channels: tuple[int, ...]
    ) -> ChannelMaking:
        # Runs on the other thread, since compiling takes a moment.
        if request not in makings:
            makings[request] = ChannelMaking(
                self._explorer.extractor,
                request.layer,
                channels,
                location=None,
                size=None,
                seed=request.seed,
                diversity=None,
            )
            while len(makings) > _MAKINGS_KEPT:
                del makings[next(iter(makings))]
        return makings[request]

    def _images_made(self, request: _Request, images: tuple[SyntheticImage, ...]) -> None:
        for one in images:
            self._remember((one.layer, one.channel, one.seed), one)
        if images[0].steps == _STEPS:
            # If a model was trained meanwhile, its image belongs to neither network.
            with suppress(ValueError):
                check_made_by(self._explorer.extractor, self._explorer.activations)
                for one in images:
                    self._cache().keep(one)
            self._makings.pop(request, None)
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
            self._patches_of = None, None
        request = self._current_request()
        if self.maker.running and self._running != request:
            # Those channels are no longer displayed; the optimisation can be resumed later.
            self.pause()
        images = [self._image(request.layer, channel, request.seed) for channel in request.channels]
        self._show_buttons(request)
        self.words.value = "".join(map(parts.paragraph, self._lines(request, images)))
        for number, card in enumerate(self.cards):
            if number < len(images):
                card.show(request, number, images[number])
            else:
                card.hide()
        self._show_patches(request)

    def _show_nothing(self, why: str) -> None:
        self.pause()
        self.words.value = parts.paragraph(why)
        for control in (self.button, self.several_button, self.another, self.first):
            parts.display(control, shown=False)
        for card in self.cards:
            card.hide()
        for patch in self.patches:
            patch.hide()
        self._patches_of = None, None

    def _show_buttons(self, request: _Request) -> None:
        words = "start"
        if self.maker.running:
            words = "stop"
        elif request in self._makings and self._makings[request].steps:
            words = "resume"
        done = not self._missing(request)
        parts.set_value(self.button, words, "description")
        # Hidden instead of disabled, so that the focus moves on.
        parts.display(self.button, shown=not done)
        parts.display(self.another, shown=done)
        parts.display(self.first, shown=request.seed > 0)
        count = min(MOST_CHANNELS, self._explorer.activations.info(request.layer).channels)
        words, tip = f"{count} channels that differ most", "Make a picture for each of them"
        if self._showing_several:
            words, tip = "only this channel", "Show only the current channel's picture"
        parts.set_value(self.several_button, words, "description")
        parts.set_value(self.several_button, tip, "tooltip")
        parts.display(self.several_button, shown=self._showing_several or count > 1)

    def _lines(self, request: _Request, images: list[SyntheticImage | None]) -> list[str]:
        there = [one for one in images if one is not None]
        lines = []
        if self.maker.running:
            steps = [one.steps for one in there if one.steps < _STEPS]
            lines.append(f"{min(steps, default=0)} of {_STEPS} steps …")
        elif not there:
            of = (
                f"channel {request.channels[0]}"
                if len(request.channels) == 1
                else "each of the channels"
            )
            lines.append(
                f"Press start to make a picture, from noise, to which {of} of {request.layer} "
                "responds as strongly as possible."
            )
        if there:
            lines.append(
                "An optimised picture is a hypothesis about what a channel looks for: compare it "
                "with the part of your picture to which the channel responds most, and compare "
                "the two values."
            )
            lines += dict.fromkeys(one.message for one in there if one.message)
        if len(request.channels) == 1 and find_mode(self._explorer.settings.mode).takes != "one":
            lines.append(
                f"(The mode shows several channels; this is about channel {request.channels[0]}.)"
            )
        return lines

    def _show_patches(self, request: _Request) -> None:
        """Show a single channel's strongest patches in a set, if there is one."""
        top, channel = self._explorer.top_images, request.channels[0]
        shown, of = self._patches_of
        if shown is top and of == request:
            return
        self._patches_of = top, request
        patches: list[RGB8] = []
        # If there are none, the set's own panel says why.
        there = top is not None and len(request.channels) == 1 and request.layer in top
        if there:
            # Computing the digest of a user's own model takes a moment.
            self._digest = self._digest or weights_digest(self._explorer.extractor)
            if top.weights.digest == self._digest:
                patches = _patches(top, request.layer, channel)
        for rank, card in enumerate(self.patches):
            if rank >= len(patches):
                card.hide()
                continue
            value = plain_number(float(top[request.layer].values[channel, rank]))
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

    def show(self, request: _Request, number: int, made: SyntheticImage | None) -> None:
        """Show one of the requested channels, or hide the card if it has no image yet."""
        parts.display(self.widget, shown=made is not None)
        if made is None:
            return
        layer, channel = request.layer, request.channels[number]
        self._channel = channel
        alone = len(request.channels) == 1
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
        patch, where = _visible_patch(activations, layer, place)
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


def _visible_patch(activations: Any, layer: str, place: tuple[int, int]) -> tuple[RGB8 | None, str]:
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

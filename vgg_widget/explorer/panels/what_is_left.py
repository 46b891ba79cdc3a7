"""The panel that shows what a layer retains of the image: one that looks the same to it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import proxy, ref

import ipywidgets as widgets

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.explorer import parts
from vgg_widget.explorer.making import Maker
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.gradients.kept import KeptReconstructions
from vgg_widget.gradients.reconstruction import ReconstructionMaking
from vgg_widget.gradients.synthetic_image import Reconstruction

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

_STEPS = 200
# Two beside each other on a page of 640 pixels.
_SIDE = 236
# Each holds a layer's maps.
_MAKINGS_KEPT = 2
_TARGETS = (
    ("all channels", "all"),
    ("this channel", "channel"),
    ("the location", "location"),
    ("its style", "style"),
)


class _Request(NamedTuple):
    """What the made image should have in common with the current one."""

    layer: str
    channels: tuple[int, ...] | None
    location: tuple[int, int] | None
    match: Any

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `reconstruct` after the layer."""
        given = {"channels": self.channels, "location": self.location, "match": self.match}
        return {**given, "prior": "photographs", "steps": _STEPS, "seed": 0}


class WhatIsLeftPanel(Panel):
    """Starts on a click, shows the image as it develops, stops and resumes."""

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self.maker = Maker(explorer)
        self._activations_ref: Any = lambda: None
        self._makings: dict[_Request, ReconstructionMaking] = {}
        self._kept: KeptReconstructions | None = None
        # None for images that the cache does not have.
        self._images: dict[_Request, Reconstruction | None] = {}
        self._running: _Request | None = None
        self.button = parts.button("start", "Make a picture that looks the same to the layer")
        self.which = parts.dropdown("of", _TARGETS, "2px 10px")
        self.words = parts.words("vgg-words", width="100%", max_width=parts.WIDTH)
        self.given, self.made = parts.PictureCard(_SIDE), parts.PictureCard(_SIDE)
        self.widget = widgets.VBox(
            [
                parts.wide_row([self.button, self.which]),
                self.words,
                parts.row([self.given.widget, self.made.widget], width="100%"),
            ],
            layout=widgets.Layout(width="100%"),
        )
        self.button.on_click(explorer.reporting_errors(lambda _: self.toggle()))
        explorer.on_change(self.which, lambda _: self.show())
        # A closed widget has no comm any more.
        self.widget.observe(lambda _: self.maker.stop(), "comm")

    def toggle(self) -> None:
        """Start, stop or resume."""
        if self.maker.running:
            self.pause()
        else:
            request = self._running = self._current_request()
            # The current image's dict: another image begins with a new one.
            make = partial(self._making, self._makings, request, self._explorer.activations)
            self.maker.start(make, _STEPS, partial(self._image_made, request))
        self.show()

    def pause(self) -> None:
        """Stop; `toggle` resumes."""
        self.maker.stop()

    def _current_request(self) -> _Request:
        settings, which = self._explorer.settings, self.which.value
        layer = settings.layer_in(self._explorer.activations)
        channels = (settings.channel,) if which == "channel" else None
        location = settings.location if which == "location" else None
        return _Request(layer, channels, location, "style" if which == "style" else "content")

    def _making(
        self,
        makings: dict[_Request, ReconstructionMaking],
        request: _Request,
        activations: Activations,
    ) -> ReconstructionMaking:
        if request not in makings:
            makings[request] = ReconstructionMaking(
                self._explorer.extractor,
                activations,
                request.layer,
                **request.arguments(),
            )
            while len(makings) > _MAKINGS_KEPT:
                del makings[next(iter(makings))]
        return makings[request]

    def _image_made(self, request: _Request, made: Reconstruction) -> None:
        self._images[request] = made
        if made.steps == _STEPS:
            # If a model was trained meanwhile, its image belongs to neither network.
            with suppress(ValueError):
                check_made_by(self._explorer.extractor, self._explorer.activations)
                self._cache().keep(made)
            self._makings.pop(request, None)
        # A closed panel is paused, so this panel is open.
        with self._explorer.showing_controls():
            self.show()

    def _cache(self) -> KeptReconstructions:
        # Computing the digest of a user's own model takes a moment.
        if self._kept is None:
            explorer = self._explorer
            # A closed explorer's activations are freed without waiting for the garbage collector.
            activations: Any = proxy(explorer.activations)
            self._kept = KeptReconstructions(explorer.extractor, activations)
        return self._kept

    def _image(self, request: _Request) -> Reconstruction | None:
        if self._lacks_location(request):
            return None
        if request not in self._images:
            self._images[request] = self._cache().find(request.layer, **request.arguments())
        return self._images[request]

    def _lacks_location(self, request: _Request) -> bool:
        return self.which.value == "location" and request.location is None

    def show(self) -> None:
        """Show the image made so far for the current layer."""
        activations = self._explorer.activations
        if self._activations_ref() is not activations:
            # Images made from another input do not apply to this one.
            self.pause()
            self._activations_ref = ref(activations)
            self._makings, self._images, self._kept = {}, {}, None
        self.given.show(activations.image, "the input, as the network sees it", "input")
        try:
            check_made_by(self._explorer.extractor, activations)
        except ValueError as error:
            self.words.value = parts.paragraph(str(error))
            for control in (self.button, self.which):
                parts.display(control, shown=False)
            self.made.hide()
            return
        request = self._current_request()
        if self.maker.running and self._running != request:
            self.pause()
        made = self._image(request)
        self._show_button(request, made)
        self.words.value = "".join(map(parts.paragraph, self._lines(request, made)))
        parts.display(self.which, shown=True)
        if made is None:
            self.made.hide()
        else:
            self.made.show(made.image, made.caption, f"what is left at {made.layer}")

    def _show_button(self, request: _Request, made: Reconstruction | None) -> None:
        words = "start"
        if self.maker.running:
            words = "stop"
        elif request in self._makings and self._makings[request].steps:
            words = "resume"
        parts.set_value(self.button, words, "description")
        done = made is not None and made.steps >= _STEPS
        parts.display(self.button, shown=not (self._lacks_location(request) or done))

    def _lines(self, request: _Request, made: Reconstruction | None) -> list[str]:
        if self._lacks_location(request):
            return ["No location is chosen: click on a picture, or choose all channels."]
        lines = []
        if self.maker.running:
            lines.append(f"{made.steps if made else 0} of {_STEPS} steps …")
        if made is None:
            if not lines:
                lines.append(
                    "Press start to make a picture, from noise, with nearly the same maps at "
                    f"{request.layer}: it shows what is left of the input at this layer."
                )
            return lines
        lines.append(made.caption)
        return lines

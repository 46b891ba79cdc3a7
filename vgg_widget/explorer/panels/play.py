"""Playback: steps through the channels of the current layer, or the layers; also as a GIF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import WIDTH, button, checkbox, dropdown, row, status, words
from vgg_widget.pictures.modes import DEFAULT_MODE, find_mode

if TYPE_CHECKING:
    from vgg_widget.explorer.layer_explorer import LayerExplorer

# Frames per second. Beyond 20, a page shows no more frames, and those of a GIF become uneven.
_SPEEDS = (0.5, 1, 2, 5, 10, 20)
_DEFAULT_SPEED = 5
# Ticks of the page's clock: enough for three years.
_ENDLESS = 2**31 - 1
# The number of progress texts, since each one is a message to the page.
_STEPS = 20


class PlayPanel(Panel):
    """Plays through channels or layers, as fast as the kernel keeps up.

    The page's clock counts ticks, and each tick advances from the current state. So a user can
    move a slider or change the layer meanwhile, and nothing has to be set on the page. The
    ``Play`` widget sends one message at a time and drops ticks while the kernel is busy: playback
    slows down, but skips no channel.
    """

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self._previous: object = None
        self._page_stepped = False
        self._frames = 0
        # The widget's own buttons have only icons, which a screen reader cannot name.
        self.clock = widgets.Play(max=_ENDLESS, layout=widgets.Layout(display="none"))
        walks = [("the channels of this layer", "channels"), ("the layers", "layers")]
        self.over = dropdown("through", walks)
        self.play = button("play", "Show one after another")
        self.start = button("from the start", "Go to the first channel or layer")
        speeds = [(f"{speed:g} a second", speed) for speed in _SPEEDS]
        self.speed = dropdown("speed", speeds, value=_DEFAULT_SPEED)
        self.repeat = checkbox("repeat")
        self.save = button("save as GIF", "Draw all of them, and save them as an animated GIF")
        self.words = words(margin="2px 4px")
        playing = [self.over, self.play, self.start, self.speed, self.repeat]
        self.widget = widgets.VBox(
            [
                row(playing, align_items="center", max_width=WIDTH),
                row([self.save, self.words], align_items="center", max_width=WIDTH),
                self.clock,
            ],
            layout=widgets.Layout(width="100%"),
        )
        reporting = explorer.reporting_errors
        self.clock.observe(reporting(self._ticked, clear=False), "value")
        self.clock.observe(reporting(self._playing_changed, clear=False), "playing")
        for control in (self.speed, self.over, self.repeat):
            control.observe(reporting(self._options_changed, clear=False), "value")
        self.play.on_click(reporting(lambda _: self.toggle()))
        self.start.on_click(reporting(lambda _: self._go_to_start()))
        self.save.on_click(reporting(lambda _: self._save(), slow=True))
        self._options_changed()

    def show(self) -> None:
        """Continue from the current state."""
        self._describe()

    def pause(self) -> None:
        """Stop playing at the current position."""
        self.clock.playing = False

    @property
    def seconds(self) -> float:
        """How long each frame is shown."""
        return 1 / float(self.speed.value)

    def _places(self) -> tuple[Sequence[Any], Any]:
        """Return the sequence to play, and the current position in it."""
        settings, activations = self._explorer.settings, self._explorer.activations
        info = activations.info(settings.layer)
        if self.over.value == "channels":
            return range(info.channels), settings.channel
        return list(activations), info.name

    def _ticked(self, _: dict[str, Any]) -> None:
        if not self.clock.playing:
            # A last tick was already on its way.
            return
        places, here = self._places()
        if self._page_stepped:
            self._page_stepped, self._previous = False, None
            if here == places[-1] and not self.repeat.value:
                self.pause()
            return
        if here == self._previous or len(places) < 2:
            # The last step was refused, or there is nothing to step through.
            self.pause()
            return
        started, self._previous = self._previous is not None, here
        index = places.index(here)
        last = index == len(places) - 1
        if last and started and not self.repeat.value:
            self.pause()
            return
        self._go(places[0 if last else index + 1])
        if index + 1 == len(places) - 1 and not self.repeat.value:
            self.pause()

    def _played(self) -> None:
        # The page has stepped by itself, and shows the result.
        self._page_stepped = True

    def _go(self, place: Any) -> None:
        explorer, settings = self._explorer, self._explorer.settings
        if self.over.value == "layers":
            explorer.choose(layer=settings.name_of(place, explorer.activations))
        elif find_mode(settings.mode).takes == "one":
            explorer.choose(channel=place)
        else:
            # A mode that shows many channels at once would look the same at each step.
            explorer.choose(channel=place, mode=DEFAULT_MODE)

    def toggle(self) -> None:
        """Start or stop playing."""
        self.clock.playing = not self.clock.playing

    def _playing_changed(self, _: dict[str, Any]) -> None:
        self._previous, self._page_stepped = None, False
        self.play.description = "pause" if self.clock.playing else "play"

    def _go_to_start(self) -> None:
        places, here = self._places()
        self._previous = None
        if here != places[0]:
            self._go(places[0])

    def _options_changed(self, _: object = None) -> None:
        self._previous = None
        self.clock.interval = round(1000 * self.seconds)
        self._explorer.page_plays(
            self.clock, self.over.value, self._played, repeat=self.repeat.value
        )
        self._describe()

    def _describe(self) -> None:
        self._frames = len(self._places()[0])
        self._say(f"{self._frames} frames of {self.seconds:g} s")

    def _save(self) -> None:
        self.pause()
        over, settings = self.over.value, self._explorer.settings
        if over == "channels" and find_mode(settings.mode).takes != "one":
            self._explorer.choose(mode=DEFAULT_MODE)
        self._say(f"Drawing {self._frames} frames …")
        try:
            self._explorer.download_animation(over, self.seconds, self._frame_drawn)
        finally:
            self._describe()

    def _frame_drawn(self, done: int, total: int) -> None:
        if done == total:
            self._say("Saving …")
        elif done * _STEPS // total != (done - 1) * _STEPS // total:
            self._say(f"Drawn {done} of {total} frames …")

    def _say(self, text: str) -> None:
        self.words.value = status(text)

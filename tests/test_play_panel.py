"""The Play panel: press its widgets, and tick its clock as a page does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_activations
from tests.standin import Scene, StandIn, show
from vgg_widget import Activations, FeatureExtractor, render
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.panels.play import PlayPanel
from vgg_widget.explorer.settings import DisplaySettings


@pytest.fixture
def made() -> Activations:
    random = np.random.default_rng(3)
    return make_activations(
        random.random((4, 4, 5)).astype(np.float32),
        others={
            "wide": random.random((2, 2, 8)).astype(np.float32),
            "one": random.random((2, 2, 1)).astype(np.float32),
        },
    )


class Explorer(StandIn):
    """A stub that displays each choice, like the explorer."""

    def __init__(self, activations: Activations, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.requests: list[dict[str, Any]] = []
        self.downloads: list[tuple[str, float]] = []
        self.during: list[tuple[bool, str]] = []
        self.deaf = self.failing = False
        self.page_knows: tuple[str, bool] = ("", False)
        self.played: Callable[[], object] = lambda: None
        self._activations, self._extractor = activations, extractor
        self.settings = DisplaySettings("conv", 0)
        self._see()
        self.panel = PlayPanel(self)  # type: ignore[arg-type]
        show(self.panel, self.scene)

    def _see(self) -> None:
        now = self.settings
        picture = render(self._activations, now.layer, now.mode, channel=now.channel)
        self.shows(Scene(now, self._activations, picture, self._extractor))

    def choose(self, **changes: Any) -> None:
        self.requests.append(changes)
        if not self.deaf:
            self.settings = replace(self.settings, **changes)
            count = self._activations.info(self.settings.layer).channels
            self.settings = replace(self.settings, channel=min(self.settings.channel, count - 1))
            self._see()
            show(self.panel, self.scene)

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        self.downloads.append((over, seconds))
        self.during.append((self.panel.save.disabled, self.panel.words.value))
        for done in range(1, 101):
            progress(done, 100)
            self.during.append((self.panel.save.disabled, self.panel.words.value))
            if self.failing and done == 50:
                raise ValueError("the disk is full")

    def page_plays(
        self, _: object, over: str, played: Callable[[], object], *, repeat: bool
    ) -> None:
        self.page_knows, self.played = (over, repeat), played

    def page_goes_on(self, channel: int) -> None:
        """Step to a channel on the page, then tick its clock."""
        self.choose(channel=channel)
        self.played()
        self.page_ticks()

    def page_ticks(self, times: int = 1, lost: int = 0) -> None:
        """Tick the page's clock; `lost` ticks before each one never reach the kernel."""
        clock = self.panel.clock
        for _ in range(times):
            if clock.playing:
                clock.set_state({"value": clock.value + 1 + lost})

    @property
    def channels(self) -> list[int]:
        return [changes["channel"] for changes in self.requests if "channel" in changes]


@pytest.fixture
def explorer(made: Activations, extractor: FeatureExtractor) -> Iterator[Explorer]:
    found = Explorer(made, extractor)
    yield found
    for widget in widgets_of(found.panel.widget):
        widget.close()


def test_it_plays_to_the_last_channel_and_stops(explorer: Explorer) -> None:
    panel = explorer.panel
    assert panel.play.description == "play"
    panel.play.click()
    assert panel.play.description == "pause"
    explorer.page_ticks(20)
    assert explorer.requests == [{"channel": 1}, {"channel": 2}, {"channel": 3}, {"channel": 4}]
    assert not panel.clock.playing
    assert panel.play.description == "play"


def test_from_the_last_channel_it_starts_over(explorer: Explorer) -> None:
    explorer.choose(channel=4)
    explorer.panel.play.click()
    explorer.page_ticks(2)
    assert explorer.channels == [4, 0, 1]


def test_it_repeats_if_asked(explorer: Explorer) -> None:
    explorer.panel.repeat.value = True
    explorer.panel.play.click()
    explorer.page_ticks(7)
    assert explorer.channels == [1, 2, 3, 4, 0, 1, 2]


def test_a_page_that_paints_goes_on_by_itself(explorer: Explorer) -> None:
    explorer.panel.play.click()
    for channel in (1, 2, 3):
        explorer.page_goes_on(channel)
    # No channel is skipped or repeated.
    assert explorer.channels == [1, 2, 3]
    assert explorer.panel.clock.playing
    # The page may stop painting at any time.
    explorer.page_ticks()
    assert explorer.channels == [1, 2, 3, 4]
    assert not explorer.panel.clock.playing


def test_it_stops_when_the_page_reaches_the_end(explorer: Explorer) -> None:
    explorer.panel.play.click()
    explorer.page_goes_on(4)
    assert not explorer.panel.clock.playing
    assert explorer.channels == [4]
    explorer.panel.repeat.value = True
    explorer.panel.play.click()
    explorer.page_goes_on(0)
    assert explorer.panel.clock.playing


def test_a_tick_after_the_pause_does_not_end_the_next_play(explorer: Explorer) -> None:
    explorer.choose(channel=3)
    explorer.panel.play.click()
    explorer.page_goes_on(4)
    explorer.played()
    explorer.panel.play.click()
    explorer.page_ticks()
    assert explorer.panel.clock.playing
    assert explorer.channels[-1] == 0


def test_the_page_knows_what_is_played(explorer: Explorer) -> None:
    assert explorer.page_knows == ("channels", False)
    explorer.panel.over.value = "layers"
    explorer.panel.repeat.value = True
    assert explorer.page_knows == ("layers", True)


def test_pausing_keeps_the_channel(explorer: Explorer) -> None:
    explorer.panel.play.click()
    explorer.page_ticks(2)
    explorer.panel.play.click()
    # This tick was already on its way.
    explorer.panel.clock.set_state({"value": explorer.panel.clock.value + 1})
    assert explorer.settings.channel == 2
    explorer.panel.play.click()
    explorer.page_ticks(1)
    assert explorer.settings.channel == 3


def test_a_slow_kernel_leaves_no_channel_out(explorer: Explorer) -> None:
    explorer.panel.play.click()
    explorer.page_ticks(3, lost=4)
    assert explorer.channels == [1, 2, 3]


def test_it_continues_from_a_moved_slider(explorer: Explorer) -> None:
    explorer.choose(layer="wide")
    explorer.panel.play.click()
    explorer.page_ticks(2)
    explorer.choose(channel=5)
    explorer.page_ticks(1)
    assert explorer.settings.channel == 6
    explorer.choose(channel=1)
    explorer.page_ticks(2)
    assert explorer.settings.channel == 3


def test_a_layer_with_fewer_channels_while_it_plays(explorer: Explorer) -> None:
    explorer.choose(layer="wide", channel=6)
    explorer.panel.repeat.value = True
    explorer.panel.play.click()
    explorer.page_ticks(1)
    explorer.choose(layer="conv")  # its last channel is 4
    explorer.page_ticks(3)
    assert explorer.channels[-3:] == [0, 1, 2]
    explorer.choose(layer="one")
    explorer.page_ticks(1)
    assert explorer.channels[-1] == 2  # no step: there is only one channel
    assert not explorer.panel.clock.playing


def test_through_the_layers(explorer: Explorer) -> None:
    explorer.panel.over.value = "layers"
    explorer.choose(mode="grid")
    explorer.panel.play.click()
    explorer.page_ticks(9)
    assert explorer.requests[1:] == [{"layer": "wide"}, {"layer": "one"}]
    assert explorer.settings.mode == "grid"
    assert not explorer.panel.clock.playing


def test_through_the_layers_from_torchvisions_name(explorer: Explorer) -> None:
    explorer.panel.over.value = "layers"
    explorer.choose(layer="features.0")
    explorer.panel.play.click()
    explorer.page_ticks(1)
    assert explorer.settings.layer == "wide"


def test_channels_are_shown_one_by_one_whatever_the_mode(explorer: Explorer) -> None:
    explorer.choose(mode="max")
    explorer.panel.play.click()
    explorer.page_ticks(2)
    assert explorer.requests[1:] == [{"channel": 1, "mode": "channel"}, {"channel": 2}]


def test_it_stops_if_a_step_has_no_effect(explorer: Explorer) -> None:
    # The step was refused, or the panel is folded and no longer updated.
    explorer.deaf = True
    explorer.panel.play.click()
    explorer.page_ticks(10)
    assert len(explorer.requests) == 1
    assert not explorer.panel.clock.playing
    explorer.deaf = False
    explorer.panel.play.click()
    explorer.page_ticks(2)
    assert explorer.settings.channel == 2


def test_from_the_start(explorer: Explorer) -> None:
    explorer.choose(channel=3)
    explorer.panel.start.click()
    assert explorer.settings.channel == 0
    explorer.panel.start.click()
    assert len(explorer.requests) == 2
    explorer.panel.over.value = "layers"
    explorer.choose(layer="one")
    explorer.panel.start.click()
    assert explorer.settings.layer == "conv"


def test_the_speed_sets_the_clocks_interval(explorer: Explorer) -> None:
    panel = explorer.panel
    assert panel.clock.interval == 200
    panel.speed.value = 20
    assert panel.clock.interval == 50
    panel.speed.value = 0.5
    assert panel.clock.interval == 2000
    assert "5 frames of 2 s" in panel.words.value


def test_a_step_sends_the_clock_nothing_back(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer.panel.repeat.value = True
    explorer.panel.play.click()
    sent: list[Any] = []
    for widget in widgets_of(explorer.panel.widget):
        monkeypatch.setattr(widget, "send_state", lambda key=None: sent.append(key))
    explorer.page_ticks(12)
    assert len(explorer.requests) == 12
    assert sent == []
    explorer.panel.speed.value = 1
    assert sent  # messages are recorded


@pytest.mark.parametrize("over", ["channels", "layers"])
def test_saving_as_gif(explorer: Explorer, over: str) -> None:
    panel = explorer.panel
    panel.over.value = over
    panel.speed.value = 10
    panel.play.click()
    panel.save.click()
    assert explorer.downloads == [(over, 0.1)]
    assert not panel.clock.playing
    # Disabling a focused button would lose the keyboard focus.
    assert not any(disabled for disabled, _ in explorer.during)
    said = [words for _, words in explorer.during]
    count = {"channels": 5, "layers": 3}[over]
    assert f"Drawing {count} frames" in said[0]
    assert any("Drawn 50 of 100 frames" in words for words in said)
    assert "Saving" in said[-1]
    assert len(set(said)) < 25  # each text is a message to the page
    assert f"{count} frames of 0.1 s" in panel.words.value


def test_the_gif_of_channels_is_what_playing_shows(explorer: Explorer) -> None:
    explorer.choose(mode="grid")
    explorer.panel.save.click()
    assert explorer.settings.mode == "channel"
    explorer.choose(mode="grid")
    explorer.panel.over.value = "layers"
    explorer.panel.save.click()
    assert explorer.settings.mode == "grid"


def test_a_failed_save_is_reported_and_can_be_repeated(explorer: Explorer) -> None:
    explorer.failing = True
    explorer.panel.save.click()
    assert explorer.errors == ["the disk is full"]
    assert "5 frames" in explorer.panel.words.value
    explorer.failing = False
    explorer.panel.save.click()
    assert len(explorer.downloads) == 2


def test_every_control_has_a_description(explorer: Explorer) -> None:
    panel = explorer.panel
    for control in (panel.over, panel.play, panel.start, panel.speed, panel.repeat, panel.save):
        assert control.description.isascii()
        assert len(control.description) > 3
    assert panel.clock.layout.display == "none"  # its buttons have only icons

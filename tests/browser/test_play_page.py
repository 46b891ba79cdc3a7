"""The Play panel on a real page: its clock runs in the browser."""

from __future__ import annotations

import pytest

from .desk import OpenNotebook

pytestmark = pytest.mark.browser

PANEL = """
from dataclasses import replace
import time
import ipywidgets as widgets
import numpy as np
from vgg_widget import Activations, LayerInfo
from vgg_widget.explorer.panels.play import PlayPanel
from vgg_widget.support.provenance import Provenance
from vgg_widget.explorer.settings import DisplaySettings

maps = np.random.default_rng(0).random((4, 4, 40)).astype(np.float32)
layer = LayerInfo("conv", None, "conv", 40, 1)
activations = Activations(
    [layer], {"conv": maps}, np.zeros((4, 4, 3), np.uint8), Provenance("model", "test")
)
slider = widgets.IntSlider(description="channel", max=39)

class Explorer:
    seen, busy = [], 0
    activations = activations
    @property
    def settings(self):
        return DisplaySettings("conv", slider.value)
    def choose(self, channel):
        self.seen.append(channel)
        time.sleep(self.busy)
        slider.value = channel
    def reporting_errors(self, callback, **_):
        return callback
    def page_plays(self, *_, **__):
        pass

host = Explorer()
panel = PlayPanel(host)

def show(_=None):
    panel.show()

slider.observe(show, "value")
show()
widgets.VBox([slider, panel.widget])
"""


def test_it_plays_pauses_and_follows_the_slider(front_end: OpenNotebook) -> None:
    page = front_end(PANEL)
    page.select("speed", "20 a second")
    page.click_button("play")
    page.wait_value("slider.value > 5", value=True)
    track = page.control("channel").locator(".noUi-base")
    box = track.bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    page.wait_value("(slider.value, panel.clock.playing)", [39, False])
    seen = page.ask("host.seen")
    # One jump, to the slider's new position; otherwise one channel at a time.
    jumps = [place for place in range(1, len(seen)) if seen[place] != seen[place - 1] + 1]
    assert len(jumps) == 1
    assert seen[0] == 1
    assert 25 < seen[jumps[0]] < 33
    page.click_button("play")
    page.wait_value("slider.value in range(2, 30)", value=True)
    page.click_button("pause")
    page.wait_value("panel.clock.playing", value=False)
    stopped = page.ask("slider.value")
    page.page.wait_for_timeout(400)
    assert page.ask("slider.value") == stopped
    assert page.page.get_by_role("button", name="play", exact=True).is_visible()
    page.screenshot(f"{page.server.front_end}-play-panel")


@pytest.mark.slow
def test_a_slow_kernel_is_not_overrun(front_end: OpenNotebook) -> None:
    page = front_end(PANEL)
    page.ask("setattr(host, 'busy', 0.3)")
    page.select("speed", "20 a second")
    page.click_button("play")
    page.wait_value("len(host.seen) >= 4", value=True)
    page.click_button("pause")
    page.wait_value("panel.clock.playing", value=False)
    seen = page.ask("host.seen")
    # No step is skipped, and after the pause at most the one under way arrives.
    assert seen == list(range(1, len(seen) + 1))
    page.page.wait_for_timeout(800)
    assert page.ask("len(host.seen)") <= len(seen) + 1

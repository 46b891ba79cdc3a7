"""The harness itself, on a stand-in for the explorer."""

from __future__ import annotations

from .desk import OpenNotebook

STAND_IN = """
import ipywidgets, numpy
from ipympl.backend_nbagg import Canvas, FigureManager
from matplotlib.figure import Figure

class FullCanvas(Canvas):
    def get_diff_image(self):
        self._force_full = True
        return super().get_diff_image()

def explorer():
    figure = Figure(figsize=(4, 3))
    canvas = FullCanvas(figure)
    FigureManager(canvas, 0)
    canvas.syncing_data_url = False
    image = figure.subplots().imshow(numpy.eye(50))
    layer = ipywidgets.Dropdown(options=["block1", "block2"], description="Layer")
    channel = ipywidgets.IntSlider(description="Channel", max=40)

    def redraw(change):
        image.set_data(numpy.roll(numpy.eye(50), channel.value, axis=1))
        canvas.draw()

    channel.observe(redraw, "value")
    box = ipywidgets.VBox([layer, channel, canvas])
    box.layer, box.channel, box.canvas = layer, channel, canvas
    return box
"""
SHOW = "box = explorer()\nbox"


def test_page_shows_what_the_kernel_drew(front_end: OpenNotebook) -> None:
    page = front_end(STAND_IN, SHOW)
    before = page.wait_picture_equal("box.canvas")
    assert not before.blank
    page.drag_slider("Channel", 0.5)
    page.wait_picture_equal("box.canvas", unlike=before)
    assert 15 <= page.ask("box.channel.value") <= 25
    page.select("Layer", "block2")
    page.wait_value("box.layer.value", "block2")
    page.type_into("Channel", "7")
    page.wait_value("box.channel.value", 7)
    assert page.errors() == []
    assert page.console_errors() == []


def test_arrow_keys_move_the_second_explorer_only(lab: OpenNotebook) -> None:
    page = lab(STAND_IN, SHOW, "other = explorer()\nother", viewport=(1000, 700))
    page.wait_picture_equal("box.canvas")
    before = page.wait_picture_equal("other.canvas", index=1)
    page.press_slider("Channel", ["ArrowRight"] * 3, index=1)
    page.wait_value("[box.channel.value, other.channel.value]", [0, 3])
    page.wait_picture_equal("other.canvas", index=1, unlike=before)


def test_toolbar_zooms(lab: OpenNotebook) -> None:
    page = lab(STAND_IN, SHOW)
    before = page.wait_picture_equal("box.canvas")
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas((0.4, 0.4), (0.6, 0.6))
    page.wait_picture_equal("box.canvas", unlike=before)
    assert page.ask("box.canvas.figure.axes[0].get_xlim()[0] > 0")


def test_errors_are_caught(front_end: OpenNotebook) -> None:
    # Without ipywidgets in the kernel, Voila's own first message finds no one there.
    page = front_end("import ipywidgets\n1 / 0", allow_errors=True)
    assert page.errors() == ["ZeroDivisionError: division by zero"]
    page.page.evaluate("console.error('ours')")
    assert page.console_errors() == ["ours"]
    assert page.ask("a = 20\na + 1") == 21

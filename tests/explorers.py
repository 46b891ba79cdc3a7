"""Helpers for tests of the explorer: find controls, read the canvas, count renderings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pytest

import vgg_widget
from vgg_widget import LayerExplorer
from vgg_widget.explorer.atlas.patch_cards import PatchCard, PatchCards
from vgg_widget.explorer.helper import PageHelper
from vgg_widget.pictures.coordinates import Hit

RGB8 = npt.NDArray[np.uint8]

# VGG19's layers in input pixels: stride, centre of unit 0 by stride, and side of a receptive field.
STRIDE = {
    **{f"block1_conv{n}": 1 for n in (1, 2)},
    **{f"block2_conv{n}": 2 for n in (1, 2)},
    **{f"block3_conv{n}": 4 for n in (1, 2, 3, 4)},
    **{f"block4_conv{n}": 8 for n in (1, 2, 3, 4)},
    **{f"block5_conv{n}": 16 for n in (1, 2, 3, 4)},
    **{f"block{n}_pool": 2**n for n in (1, 2, 3, 4, 5)},
}
CENTER = {1: 0.0, 2: 0.5, 4: 1.5, 8: 3.5, 16: 7.5, 32: 15.5}
FIELD = {
    "block1_conv1": 3,
    "block1_conv2": 5,
    "block1_pool": 6,
    "block2_conv1": 10,
    "block2_conv2": 14,
    "block2_pool": 16,
    **{f"block3_conv{n}": 16 + 8 * n for n in (1, 2, 3, 4)},
    **{f"block4_conv{n}": 52 + 16 * n for n in (1, 2, 3, 4)},
    **{f"block5_conv{n}": 124 + 32 * n for n in (1, 2, 3, 4)},
    "block3_pool": 52,
    "block4_pool": 124,
    "block5_pool": 268,
}


def field_of(layer: str, row: int, column: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return top, left, bottom, right of a unit's receptive field in an image, by these tables."""
    stride, side = STRIDE[layer], FIELD[layer]
    ends = []
    for index, count in zip((row, column), size, strict=True):
        first = CENTER[stride] + index * stride - (side - 1) / 2
        ends.append((max(0, int(first)), min(count, int(first) + side)))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def below(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


class Modes:
    """The buttons of the usual modes and the dropdown of the others, as one control."""

    def __init__(self, root: Any) -> None:
        (self.buttons,) = (
            one
            for one in below(root)
            if isinstance(one, widgets.ToggleButtons) and "One channel" in one._options_labels
        )
        (self.more,) = (one for one in below(root) if getattr(one, "tooltip", "") == "more")

    @property
    def options(self) -> tuple[str, ...]:
        both = (*self.buttons._options_values, *self.more._options_values)
        return tuple(one for one in both if one)

    @property
    def value(self) -> str:
        # One of the two has the mode as its value; the other's value is empty.
        (value,) = {self.buttons.value, self.more.value} - {None, ""}
        return str(value)

    @value.setter
    def value(self, mode: str) -> None:
        owner = self.buttons if mode in self.buttons._options_values else self.more
        owner.value = mode


def control(root: Any, description: str) -> Any:
    """Return the control with a description; for "mode", both mode controls as one."""
    if description == "mode":
        return Modes(root)
    found = [one for one in below(root) if getattr(one, "description", None) == description]
    assert len(found) == 1, description
    return found[0]


def channel_number(root: Any) -> Any:
    """Return the number field beside the channel slider."""
    return next(one for one in below(root) if getattr(one, "tooltip", "") == "channel number")


def words(root: Any) -> str:
    return "\n".join(one.value for one in below(root) if isinstance(one, widgets.HTML))


def with_class(root: Any, name: str) -> Any:
    """Return the only widget that has a CSS class."""
    (found,) = (one for one in below(root) if name in getattr(one, "_dom_classes", ()))
    return found


def filled(code: str, name: str, path: Path) -> str:
    """Replace the placeholder for a picture made in memory by the picture's path."""
    assert f"\n{name} = ...  # made in memory: " in code
    return code.replace(f"\n{name} = ...", f"\n{name} = {str(path)!r}")


def problem(explorer: Any) -> str:
    return str(with_class(explorer, "vgg-problem").value)


def caption_words(explorer: Any) -> str:
    return str(with_class(explorer, "vgg-caption").value)


def place_words(explorer: Any) -> str:
    words = str(with_class(explorer, "vgg-place").value)
    return words.removeprefix("<div>").removesuffix("</div>")


def page_of(explorer: Any) -> PageHelper:
    """Return the explorer's page helper, through which a test acts as the page."""
    (found,) = (one for one in below(explorer) if isinstance(one, PageHelper))
    return found


def page_says(explorer: Any, **content: object) -> None:
    """Send the explorer a message from its page."""
    page_of(explorer)._handle_custom_msg(content, [])


def press(explorer: Any, *keys: str) -> None:
    """Send the messages that the page sends for key presses."""
    for key in keys:
        assert key in page_of(explorer).wanted
        page_says(explorer, kind="key", key=key)


def axes_of(explorer: LayerExplorer, on: str) -> Any:
    """Return matplotlib's axes of the "input" or of the "map"."""
    return explorer._view.map_axes if on == "map" else explorer._view.input_axes


def made_panel(explorer: Any, title: str) -> Any:
    """Return a panel that has been unfolded."""
    return explorer._switcher._made[title]


def made_panels(explorer: Any) -> list[Any]:
    """Return the widgets of all panels that have been unfolded."""
    return list(explorer._switcher.made())


def on_canvas(explorer: LayerExplorer) -> RGB8:
    """Return the pixels of the canvas as RGB, without drawing."""
    return np.array(explorer.canvas.get_renderer().buffer_rgba())[..., :3]


def above_foot(explorer: Any) -> int:
    """Return the number of pixel rows from the figure's top to the lowest picture's lower edge."""
    figure = explorer.figure
    lowest = min(axes.get_position().y0 for axes in figure.axes if axes.get_visible())
    return int((1 - lowest) * figure.bbox.height)


def let_paint(explorer: LayerExplorer) -> None:
    """Act as a page that asks for frames, until everything pending is painted."""
    canvas = explorer.canvas
    for _ in range(20):
        canvas._handle_message(canvas, {"type": "draw"}, [])


def assert_as_drawn_whole(explorer: LayerExplorer) -> None:
    """Assert that the canvas equals a full redraw of the figure, which it holds afterwards."""
    let_paint(explorer)
    before = on_canvas(explorer)
    explorer.figure.canvas.draw()
    np.testing.assert_array_equal(before, on_canvas(explorer))


def picture_of(explorer: LayerExplorer) -> RGB8:
    """Return the RGBA picture that `render` gives for the explorer's traits."""
    return vgg_widget.render(
        explorer.activations,
        explorer.layer,
        explorer.mode,
        channel=explorer.channel,
        channels=explorer.channels or None,
        cmap=explorer.cmap,
        scale=explorer.scale,
    ).rgba


def assert_consistent(explorer: LayerExplorer) -> None:
    """Assert that traits, rendering, figure and controls agree."""
    picture, view = picture_of(explorer), explorer._view
    assert explorer.rendering is not None
    np.testing.assert_array_equal(explorer.rendering.rgba, picture)
    np.testing.assert_array_equal(view._maps[0].get_array(), picture)
    np.testing.assert_array_equal(view._inputs[0].get_array(), explorer.activations.image)
    assert_as_drawn_whole(explorer)
    assert control(explorer, "layer").value == explorer.layer
    assert control(explorer, "mode").value == explorer.mode
    slider = control(explorer, "channel")
    assert slider.value == explorer.channel
    assert slider.max == explorer.activations[explorer.layer].shape[-1] - 1
    assert channel_number(explorer).value == slider.value
    assert explorer.rendering.title.split(" ")[0] in caption_words(explorer)


@contextmanager
def whole_drawings(explorer: LayerExplorer) -> Iterator[list[object]]:
    """Yield a list that receives an event for each drawing of the whole figure."""
    drawings: list[object] = []
    connection = explorer.canvas.mpl_connect("draw_event", drawings.append)
    yield drawings
    explorer.canvas.mpl_disconnect(connection)


def count_renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives the layer of each `render` call by an explorer."""
    calls: list[str] = []
    real = vgg_widget.render

    def render(activations: Any, layer: str, *arguments: Any, **keywords: Any) -> Any:
        calls.append(layer)
        return real(activations, layer, *arguments, **keywords)

    monkeypatch.setattr("vgg_widget.explorer.layer_explorer.render", render)
    return calls


def count_messages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that receives every widget's messages instead of the page."""
    sent: list[Any] = []

    def send(widget: widgets.Widget, message: Any, buffers: Any = None) -> None:
        sent.append((type(widget).__name__, message))

    monkeypatch.setattr(widgets.Widget, "_send", send)
    return sent


# --- the panel of the strongest patches


def patches(explorer: LayerExplorer) -> PatchCards:
    """Return the panel's cards, after waiting until they are up to date."""
    panel = made_panel(explorer, "Strongest")
    assert panel.patches.wait(30)
    return panel.patches  # type: ignore[no-any-return]


def patches_on_show(explorer: LayerExplorer) -> list[PatchCard]:
    return [one for one in patches(explorer).cards if one.widget.layout.display != "none"]


def patch_words(explorer: LayerExplorer) -> str:
    return str(patches(explorer).words.value)


# --- a mouse


def mouse(explorer: LayerExplorer, kind: str, on: str, x: float, y: float) -> None:
    """Send the message of ipympl's page for a mouse event, at a position in data coordinates."""
    canvas = explorer.canvas
    across, up = axes_of(explorer, on).transData.transform((x, y))
    message = {
        "type": kind,
        "x": across,
        "y": canvas.get_renderer().height - up,
        "button": 0,
        "buttons": 1 if kind == "button_press" else 0,
        "modifiers": [],
    }
    canvas._handle_message(canvas, message, [])


def point(explorer: LayerExplorer, on: str, x: float, y: float) -> None:
    """Move the mouse to a position on the input or the map, in data coordinates."""
    mouse(explorer, "motion_notify", on, x, y)


def click(explorer: LayerExplorer, on: str, x: float, y: float) -> None:
    """Press and release the left button at a position on the input or the map."""
    mouse(explorer, "button_press", on, x, y)
    mouse(explorer, "button_release", on, x, y)


def hover(explorer: LayerExplorer, spot: Hit | None) -> None:
    """Move the mouse to a unit or pixel, or off the pictures if None."""
    explorer._pointing.point(spot)
    let_paint(explorer)

"""A monkey that performs random acts on two linked explorers, reproducible from a seed.

Each act is chosen before the page is inspected, so the n-th act depends on the seed alone. An act
whose control is not visible is skipped.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from .actions import MODE_BUTTONS
from .page import SCREENSHOTS, NotebookPage
from .painting import drawn
from .picture import Picture
from .sight import MAP, YELLOW, pixels_of, side_of

CELL = """
import traitlets
from vgg_widget import LayerExplorer, sample_image
one = LayerExplorer(sample_image(), weights="random", size=64, layer="block3_conv1")
other = LayerExplorer(sample_image()[::-1], extractor=one.extractor, layer="block3_conv1")
link = traitlets.link((one, "layer"), (other, "layer"))
_compared = []
"""
NAMES = ("one", "other")
# The timeout for a control that was visible a moment ago.
SHORT_TIMEOUT_MS = 2000

# Runs in the kernel: returns what is wrong with an explorer's drawing, or an empty string.
CHECK = """
def _wrong(explorer, folder):
    import numpy as np
    from PIL import Image
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from vgg_widget import LayerExplorer, render
    from vgg_widget.pictures.scaling import Scale

    activations, layer = explorer.activations, explorer.layer
    side = activations.before_relu if explorer.before_relu else activations.after_relu
    top, gamma = {"auto": (99.5, 0.6), "channel": (100.0, 1.0)}.get(explorer.scale, (99.9, 1.0))
    scale = Scale(explorer.scale, explorer.percentile or top, explorer.gamma or gamma)
    tiled = dict(order=explorer.order, location=explorer.location, hide_dead=explorer.hide_dead)
    expected = render(
        activations, side(layer) or layer, explorer.mode, channel=explorer.channel,
        channels=explorer.channels or None, cmap=explorer.cmap, scale=scale,
        **(tiled if explorer.mode == "grid" else {}),
    )
    if not np.array_equal(expected.rgba, explorer.rendering.rgba):
        return "the rendering does not match the traits"

    # Another explorer with the same state, which draws its figure in one go. It is closed at the
    # next check: anywidget logs an error if a model is closed before the page has loaded it.
    while _compared:
        _compared.pop().close()
    fresh = LayerExplorer.from_state(
        explorer.image, explorer.state(), extractor=explorer.extractor
    )
    _compared.append(fresh)
    figure, fresh_figure = explorer.figure, fresh.figure
    fresh_figure.set_dpi(figure.dpi)
    fresh._view.width = explorer._view.width
    # While the page marks the location, the kernel draws no frames.
    fresh._view.show_frames(shown=not explorer._pointing.page_marks)
    for axes, fresh_axes in zip(figure.axes[:2], fresh_figure.axes[:2]):
        fresh_axes.set_xlim(axes.get_xlim())
        fresh_axes.set_ylim(axes.get_ylim())
    drawn = np.array(explorer.canvas.get_renderer().buffer_rgba())
    FigureCanvasAgg(fresh_figure).draw()
    whole = np.array(fresh_figure.canvas.get_renderer().buffer_rgba())
    if drawn.shape != whole.shape:
        return f"the canvas is {drawn.shape} instead of {whole.shape}"
    rows, columns = np.nonzero((drawn != whole).any(axis=-1))
    if len(rows):
        Image.fromarray(np.vstack([drawn, whole])).save(folder + "/monkey-drawn-expected.png")
        return (
            f"{len(rows)} pixels differ, rows {rows.min()} to {rows.max()}, columns "
            f"{columns.min()} to {columns.max()}"
        )
    return ""
"""
# Stops all players, so that the picture does not change while it is checked.
STOP = """
import ipywidgets
for _player in list(ipywidgets.Widget.widgets.values()):
    if isinstance(_player, ipywidgets.Play):
        _player.playing = False
None
"""
SETTINGS = (
    "one.layer = 'block5_pool'",
    "other.layer = 'features.0'",
    "one.channel = 5",
    "one.mode, one.channels = 'rgb', (1, 2, 3)",
    "other.location = (1, 1)",
    "one.location = None",
    "one.image = sample_image()[:, ::-1]",
    "other.image = sample_image()[::2, ::3]",
    "one.overlay = 0.4",
    "other.before_relu = True",
    "one.percentile, one.gamma = 90, 0.5",
    "one.reset()",
    "other.back()",
    "one.open_channel(2)",
    "one.to_code()",
    "other.layer_names = 'both'",
    "one.channel = 10**6",
    "one.layer = 'block9_conv1'",
    "one.image = b'no picture'",
)
TEXTS = {
    "channels": ("3, 5-6", "0 1 2", "1, 999", "x", "", "7-3", "4"),
    "channel number": ("7", "63", "9999", "-1", ""),
    "picture": ("good.png", "tall.png", "bad.jpg", "/nowhere/cat.jpg"),
    "row": ("0", "3", "999"),
    "column": ("0", "2", "-5"),
}
DROPDOWNS = ("layer", "more", "colors", "order", "range", "through", "speed", "theme")
SLIDERS = ("channel", "percentile", "gamma", "map over the input")
BOXES = ("hide dead", "before ReLU", "repeat")
PANELS = ("Location", "Display", "Circuit", "Play", "Open & save")
BUTTONS = (
    *("clear", "reset", "back", "show code", "copy code", "play", "from the start"),
    *MODE_BUTTONS.values(),
)
STRIPS = ("network", "channels")
KEYS = (
    *("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"),
    *("b", "c", "g", "o", "p", "r", "Escape", "Backspace"),
)


class Monkey:
    """Performs random acts on a page that shows both explorers of `CELL`.

    Parameters
    ----------
    page
        The page.
    seed
        Determines the sequence of acts.
    files
        Files to upload, readable pictures and others.
    """

    def __init__(self, page: NotebookPage, seed: int, files: list[Path]) -> None:
        self.page, self.files = page, files
        self.chance = random.Random(seed)
        self.done: list[str] = []
        """Descriptions of all acts, including those that were skipped."""
        self._acts: dict[Callable[[], str], int] = {
            self._drag: 4,
            self._choose: 8,
            self._check: 2,
            self._type: 4,
            self._unfold: 2,
            self._push: 2,
            self._point: 3,
            self._click: 4,
            self._zoom: 2,
            self._home: 2,
            self._strip: 4,
            self._keys: 6,
            self._upload: 1,
            self._cell: 5,
            self._change_while_dragging: 2,
        }

    def act(self) -> None:
        """Perform one act, or skip it if it is not possible now."""
        act = self.chance.choices(list(self._acts), list(self._acts.values()))[0]
        self.at = self.chance.randrange(2)
        try:
            words = act()
        except PlaywrightTimeoutError:
            # A change of mode or panel removed the control before it was used.
            words = "too late"
        self.done.append(f"{NAMES[self.at]}: {words}")

    def look(self) -> None:
        """Wait until nothing changes, and assert that both pictures match the explorers' traits."""
        self.page.page.mouse.move(2, 2)
        for index, name in enumerate(NAMES):
            wrong = self._wrong(name, index)
            if wrong:
                # Keys are sent one by one: a slow kernel may have been checked between two of them.
                self.page.page.wait_for_timeout(2000)
                wrong = self._wrong(name, index)
            assert wrong == "", f"{name}: {wrong}"
        errors = self.page.errors(stderr=False) + self.page.console_errors()
        assert not errors, errors

    def _wrong(self, name: str, index: int) -> str:
        self._still(name, index)
        wrong = self.page.ask(f"{CHECK}\n_wrong({name}, {str(SCREENSHOTS)!r})")
        assert isinstance(wrong, str)
        return wrong or self._wrong_on_page(name, index)

    def _wrong_on_page(self, name: str, index: int) -> str:
        """Return what is wrong on the page, whether it was painted there or drawn by the kernel."""
        seen, truth = pixels_of(self.page, index), drawn(self.page, f"{name}.canvas")
        if seen.shape != truth.shape:
            return f"the page shows {seen.shape} instead of {truth.shape}"
        unlike = (seen != truth).any(axis=-1)
        if self.page.ask(f"{name}._pointing.page_marks"):
            # The page draws the frames then, and the kernel does not.
            near_frame = (np.abs(seen.astype(int) - YELLOW).max(axis=-1) <= 10) | ~seen.any(axis=-1)
            unlike &= ~near_frame
        if self.page.ask(f"{name}.canvas.held"):
            # The page draws the text and the colorbar itself, so compare only the map.
            left, top, right, bottom = (
                round(edge) for edge in side_of(self.page, MAP, name).pixels
            )
            inside = np.zeros_like(unlike)
            inside[top + 1 : bottom - 1, left + 1 : right - 1] = True
            unlike &= inside
        return f"{unlike.sum()} pixels on the page differ from the kernel's" if unlike.any() else ""

    def _still(self, name: str, index: int) -> None:
        """Wait until page and kernel agree on the same picture twice, 200 ms apart."""
        before: Picture | None = None
        for _ in range(40):
            # Stop each time, since a key press that starts a player may still arrive.
            self.page.ask(STOP)
            now = self.page.wait_picture_equal(f"{name}.canvas", index)
            if now == before:
                return
            before = now
            self.page.page.wait_for_timeout(200)
        raise AssertionError(f"the picture of {name} keeps changing")

    def _fraction(self) -> float:
        return self.chance.uniform(0.05, 0.95)

    def _spot(self) -> tuple[float, float]:
        return self._fraction(), self._fraction()

    def _shown(self, control: Locator) -> bool:
        return bool(control.count() and control.is_visible() and control.is_enabled())

    def _of(self, selector: str) -> Locator:
        """Return the current explorer's elements for a selector, visible or not."""
        return self.page.page.locator(".vgg-explorer").nth(self.at).locator(selector)

    def _field(self, label: str, inside: str) -> Locator:
        text = json.dumps(label)
        return self._of(
            f".lm-Widget:not(.widget-box):is(:has(> .widget-label:text-is({text})),"
            f" :has(> .widget-label-basic > span:text-is({text})), :has(> [title={text}]))"
            f" {inside}"
        ).first

    def _drag(self) -> str:
        label, ends = self.chance.choice(SLIDERS), [self._fraction() for _ in range(4)]
        words = f"drag {label} to {', '.join(f'{end:.2f}' for end in ends)}"
        return words if self._drag_over(label, ends) else f"not there: {words}"

    def _drag_over(self, label: str, ends: Sequence[float], meanwhile: str = "") -> bool:
        """Drag a slider to each of `ends`, and return whether it was visible.

        The code `meanwhile` is run in the kernel after the first of them.
        """
        handle, track = self._field(label, ".noUi-handle"), self._field(label, ".noUi-base")
        if not self._shown(handle):
            return False
        handle.scroll_into_view_if_needed()
        handle_box, track_box = handle.bounding_box(), track.bounding_box()
        if handle_box is None or track_box is None:
            return False
        mouse, height = self.page.page.mouse, track_box["y"] + track_box["height"] / 2
        mouse.move(
            handle_box["x"] + handle_box["width"] / 2, handle_box["y"] + handle_box["height"] / 2
        )
        mouse.down()
        for end in ends:
            mouse.move(track_box["x"] + end * track_box["width"], height, steps=4)
            if meanwhile:
                self._send(meanwhile)
                meanwhile = ""
        mouse.up()
        return True

    def _choose(self) -> str:
        label, fraction = self.chance.choice(DROPDOWNS), self._fraction()
        select = self._field(label, "select")
        if not self._shown(select):
            return f"not there: {label}"
        count = select.locator("option").count()
        index = int(fraction * count)
        select.select_option(index=index, timeout=SHORT_TIMEOUT_MS)
        return f"choose option {index} of {count} of {label}"

    def _check(self) -> str:
        label = self.chance.choice(BOXES)
        box = self._of("label").filter(has_text=label).locator("input[type=checkbox]")
        if not self._shown(box):
            return f"not there: {label}"
        box.click(timeout=SHORT_TIMEOUT_MS)
        return f"tick {label}"

    def _type(self) -> str:
        label = self.chance.choice(list(TEXTS))
        text = self.chance.choice(TEXTS[label])
        field = self._field(label, "input")
        words = f"type {text!r} into {label}"
        if not self._shown(field):
            return f"not there: {words}"
        field.fill(text, timeout=SHORT_TIMEOUT_MS)
        field.press("Enter", timeout=SHORT_TIMEOUT_MS)
        return words

    def _unfold(self) -> str:
        return self._press_button(self.chance.choice(PANELS))

    def _push(self) -> str:
        return self._press_button(self.chance.choice(BUTTONS))

    def _press_button(self, name: str) -> str:
        exactly = re.compile(rf"^\s*{re.escape(name)}\s*$")
        button = self._of("button.widget-button, button.widget-toggle-button").filter(
            has_text=exactly
        )
        if not self._shown(button.first):
            return f"not there: {name}"
        button.first.click(timeout=SHORT_TIMEOUT_MS)
        return f"click {name}"

    def _point(self) -> str:
        spots = [self._spot() for _ in range(5)]
        for spot in spots:
            self.page.hover_canvas(spot, self.at)
        return f"point at {spots}"

    def _click(self) -> str:
        spot = self._spot()
        self.page.click_canvas(spot, self.at)
        return f"click at {spot}"

    def _zoom(self) -> str:
        tool = self.chance.choice(("Zoom to rectangle", "Left button pans"))
        start, end = self._spot(), self._spot()
        self.page.click_toolbar(tool, self.at)
        self.page.drag_on_canvas(start, end, self.at)
        self.page.click_toolbar(tool, self.at)
        return f"{tool} from {start} to {end}"

    def _home(self) -> str:
        self.page.click_toolbar("Reset original view", self.at)
        return "Reset original view"

    def _strip(self) -> str:
        strip, fraction = self.chance.choice(STRIPS), self._fraction()
        buttons = self._of(f".vgg-{strip} button")
        count = buttons.count()
        button = buttons.nth(int(fraction * count))
        if not self._shown(button):
            return f"not there: {strip}"
        button.click(timeout=SHORT_TIMEOUT_MS)
        return f"click {int(fraction * count)} of {count} of {strip}"

    def _keys(self) -> str:
        keys = self.chance.choices(KEYS, k=self.chance.randint(1, 6))
        self.page.page.locator(".jupyter-matplotlib-canvas-div").nth(self.at).focus()
        for key in keys:
            self.page.page.keyboard.press(key)
        return f"press {' '.join(keys)}"

    def _upload(self) -> str:
        path = self.chance.choice(self.files)
        with self.page.page.expect_file_chooser() as chooser:
            self._of("button.widget-upload").filter(has_text="other picture").first.click()
        chooser.value.set_files(path)
        return f"upload {path.name}"

    def _cell(self) -> str:
        setting = self.chance.choice(SETTINGS)
        self._send(setting)
        return f"run {setting}"

    def _send(self, setting: str) -> None:
        """Run code in the kernel without waiting for it."""
        code = (
            "try:\n"
            f"    {setting}\n"
            "except (TypeError, ValueError, traitlets.TraitError):\n"
            "    pass\n"
            "_answer_json = ''"
        )
        self.page.page.evaluate("code => { harness.ask(code); }", code)

    def _change_while_dragging(self) -> str:
        setting, fraction = self.chance.choice(SETTINGS[:12]), self._fraction()
        words = f"drag the channel while {setting}"
        dragged = self._drag_over("channel", (fraction, 1 - fraction), meanwhile=setting)
        return words if dragged else f"not there: {words}"

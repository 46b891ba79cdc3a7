"""A monkey at two linked explorers: random acts from a seed, so that a run can be had again.

Each act is chosen before it is known what the page shows: which act comes n-th depends on the seed
alone. One whose control is not on show is left out.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator
from playwright.sync_api import TimeoutError as TooLate

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
# For how long a control is looked for that was there a moment ago, in milliseconds.
HURRY = 2000

# What is wrong with what an explorer has drawn, in the kernel: an empty text where nothing is.
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
        return "the rendering is not that of the traits"

    # Another explorer of the same state, which comes to its figure in one go. It is closed at the
    # next look: anywidget logs an error for a model that is gone before the page has met it.
    while _compared:
        _compared.pop().close()
    fresh = LayerExplorer.from_state(
        explorer.image, explorer.state(), extractor=explorer.extractor
    )
    _compared.append(fresh)
    mine, theirs = explorer.figure, fresh.figure
    theirs.set_dpi(mine.dpi)
    fresh._view.width = explorer._view.width
    # The page marks the location where it paints.
    fresh._view.show_frames(shown=not explorer._pointing.page_marks)
    for here, there in zip(mine.axes[:2], theirs.axes[:2]):
        there.set_xlim(here.get_xlim())
        there.set_ylim(here.get_ylim())
    drawn = np.array(explorer.canvas.get_renderer().buffer_rgba())
    FigureCanvasAgg(theirs).draw()
    whole = np.array(theirs.canvas.get_renderer().buffer_rgba())
    if drawn.shape != whole.shape:
        return f"the canvas is {drawn.shape} instead of {whole.shape}"
    rows, columns = np.nonzero((drawn != whole).any(axis=-1))
    if len(rows):
        Image.fromarray(np.vstack([drawn, whole])).save(folder + "/monkey-has-and-should-have.png")
        return (
            f"{len(rows)} pixels differ, rows {rows.min()} to {rows.max()}, columns "
            f"{columns.min()} to {columns.max()}"
        )
    return ""
"""
# Nothing plays on while a picture is looked at.
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
    """Acts on a page that shows both explorers of `CELL`.

    Parameters
    ----------
    page
        Where they are.
    seed
        What it does follows from this.
    files
        Pictures to upload, good and bad.
    """

    def __init__(self, page: NotebookPage, seed: int, files: list[Path]) -> None:
        self.page, self.files = page, files
        self.chance = random.Random(seed)
        self.done: list[str] = []
        """What it did, and what it left out."""
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
            self._change_under_the_hand: 2,
        }

    def act(self) -> None:
        """Do one thing, or leave it out where it is not to be done now."""
        act = self.chance.choices(list(self._acts), list(self._acts.values()))[0]
        self.at = self.chance.randrange(2)
        try:
            words = act()
        except TooLate:
            # Between its being there and its being used, it went with another mode or panel.
            words = "too late"
        self.done.append(f"{NAMES[self.at]}: {words}")

    def look(self) -> None:
        """Wait until all is still, and assert that both pictures are those of the traits."""
        self.page.page.mouse.move(2, 2)
        for index, name in enumerate(NAMES):
            wrong = self._wrong(name, index)
            if wrong:
                # Keys are handed over one by one: a slow kernel may have been between two of them.
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
        """Say what is wrong with what a person sees, painted by the page or drawn by the kernel."""
        seen, truth = pixels_of(self.page, index), drawn(self.page, f"{name}.canvas")
        if seen.shape != truth.shape:
            return f"the page shows {seen.shape} instead of {truth.shape}"
        unlike = (seen != truth).any(axis=-1)
        if self.page.ask(f"{name}._pointing.page_marks"):
            # The kernel's frames have no marks then.
            near_frame = (np.abs(seen.astype(int) - YELLOW).max(axis=-1) <= 10) | ~seen.any(axis=-1)
            unlike &= ~near_frame
        if self.page.ask(f"{name}.canvas.held"):
            # Words and colorbar are the page's own drawing.
            left, top, right, bottom = (
                round(edge) for edge in side_of(self.page, MAP, name).pixels
            )
            inside = np.zeros_like(unlike)
            inside[top + 1 : bottom - 1, left + 1 : right - 1] = True
            unlike &= inside
        return f"{unlike.sum()} pixels on the page are not the kernel's" if unlike.any() else ""

    def _still(self, name: str, index: int) -> None:
        """Return when page and kernel agree on a picture twice, a while apart."""
        before: Picture | None = None
        for _ in range(40):
            # Each time, since a key that plays may still be on its way.
            self.page.ask(STOP)
            now = self.page.wait_picture_equal(f"{name}.canvas", index)
            if now == before:
                return
            before = now
            self.page.page.wait_for_timeout(200)
        raise AssertionError(f"the picture of {name} goes on changing")

    def _fraction(self) -> float:
        return self.chance.uniform(0.05, 0.95)

    def _spot(self) -> tuple[float, float]:
        return self._fraction(), self._fraction()

    def _shown(self, control: Locator) -> bool:
        return bool(control.count() and control.is_visible() and control.is_enabled())

    def _of(self, selector: str) -> Locator:
        """Return what this explorer has of something, whether it is on show or not."""
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
        """Drag a slider from place to place, and return whether it was there to be dragged."""
        handle, track = self._field(label, ".noUi-handle"), self._field(label, ".noUi-base")
        if not self._shown(handle):
            return False
        handle.scroll_into_view_if_needed()
        held, along = handle.bounding_box(), track.bounding_box()
        if held is None or along is None:
            return False
        mouse, height = self.page.page.mouse, along["y"] + along["height"] / 2
        mouse.move(held["x"] + held["width"] / 2, held["y"] + held["height"] / 2)
        mouse.down()
        for end in ends:
            mouse.move(along["x"] + end * along["width"], height, steps=4)
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
        select.select_option(index=index, timeout=HURRY)
        return f"choose option {index} of {count} of {label}"

    def _check(self) -> str:
        label = self.chance.choice(BOXES)
        box = self._of("label").filter(has_text=label).locator("input[type=checkbox]")
        if not self._shown(box):
            return f"not there: {label}"
        box.click(timeout=HURRY)
        return f"tick {label}"

    def _type(self) -> str:
        label = self.chance.choice(list(TEXTS))
        text = self.chance.choice(TEXTS[label])
        field = self._field(label, "input")
        words = f"type {text!r} into {label}"
        if not self._shown(field):
            return f"not there: {words}"
        field.fill(text, timeout=HURRY)
        field.press("Enter", timeout=HURRY)
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
        button.first.click(timeout=HURRY)
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
        button.click(timeout=HURRY)
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
        """Run code in the kernel, and go on at once."""
        code = (
            "try:\n"
            f"    {setting}\n"
            "except (TypeError, ValueError, traitlets.TraitError):\n"
            "    pass\n"
            "_answer_json = ''"
        )
        self.page.page.evaluate("code => { harness.ask(code); }", code)

    def _change_under_the_hand(self) -> str:
        setting, fraction = self.chance.choice(SETTINGS[:12]), self._fraction()
        words = f"drag the channel while {setting}"
        there = self._drag_over("channel", (fraction, 1 - fraction), meanwhile=setting)
        return words if there else f"not there: {words}"

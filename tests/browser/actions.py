"""User actions on ipywidgets and an ipympl canvas in a page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Locator, Page

Point = tuple[float, float]

# Returns by how many pixels the text of each checkbox, or the longest option of each dropdown,
# overflows.
_OVERFLOW = """controls => controls.map((control) => {
  if (control.matches("label"))
    return [control.innerText, control.scrollWidth - control.clientWidth];
  const style = getComputedStyle(control);
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.font = style.font;
  const widths = [...control.options].map(({ text }) => context.measureText(text).width);
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return [control.value, Math.max(...widths) + padding - control.clientWidth];
})"""

ACTION_SECONDS = 15.0

# The texts of the mode buttons; the dropdown "more" lists the modes without a button.
MODE_BUTTONS = {"channel": "One channel", "grid": "All", "max": "Strongest", "rgb": "Mix"}

CANVAS = ".jupyter-matplotlib-canvas-div"
TOOLBAR = ".jupyter-matplotlib-toolbar"


class Actions:
    """Find and operate a page's controls by their visible or accessible label.

    If several controls have the same label, `index` selects one of them.

    Parameters
    ----------
    page
        The Playwright page that shows the widgets.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(1000 * ACTION_SECONDS)

    def control(self, label: str, index: int = 0) -> Locator:
        """Return the `index`-th control on the page with this label, description or tooltip."""
        text = json.dumps(label)
        marks = (
            f":has(> .widget-label:text-is({text}))",
            f":has(> .widget-label-basic > span:text-is({text}))",
            # ipywidgets puts a tooltip on the label or on the field, depending on the control.
            f":has(> [title={text}])",
            f":has(> .widget-label-basic > [title={text}])",
            f":has(> [aria-label={text}])",
            f"[title={text}]",
        )
        widget = ".lm-Widget:not(.widget-box)"
        return self.page.locator(", ".join(widget + mark for mark in marks)).nth(index)

    def select(self, label: str, option: str, index: int = 0) -> None:
        """Select a Dropdown's option by its text, or by a substring that only one option has.

        The label ``"mode"`` selects a mode by its button, or in the dropdown "more" if it has none.
        """
        if label == "mode":
            if option in MODE_BUTTONS:
                self.mode_button(option, index).click()
                return
            label = "more"
        select = self.control(label, index).locator("select")
        select.scroll_into_view_if_needed()
        # ipywidgets replaces each space in an option with a non-breaking space.
        texts = [" ".join(t.split()) for t in select.locator("option").all_text_contents()]
        found = [text for text in texts if text == option] or [t for t in texts if option in t]
        assert len(found) == 1, f"{len(found)} options of {label} contain {option!r}: {texts}"
        select.select_option(index=texts.index(found[0]))

    def mode_button(self, mode: str, index: int = 0) -> Locator:
        """Return the button of a mode in `MODE_BUTTONS`."""
        buttons = self.page.locator(".widget-toggle-buttons").filter(has_text="One channel")
        return buttons.nth(index).get_by_role("button", name=MODE_BUTTONS[mode], exact=True)

    def mode_shown(self, index: int = 0) -> str:
        """Return the mode that is selected in the mode buttons or in the dropdown beside them."""
        more = self.control("more", index).locator("select")
        selected = [str(more.evaluate("s => s.options[s.selectedIndex].text"))]
        selected += [
            mode
            for mode in MODE_BUTTONS
            if self.mode_button(mode, index).get_attribute("aria-pressed") == "true"
        ]
        # The dropdown shows "more …" while a button is pressed.
        (mode,) = (name for name in selected if not name.startswith("more"))
        return mode.replace("\xa0", " ")

    def strip_button(self, strip: str, value: object, index: int = 0) -> Locator:
        """Return the button for a value in the picture strip ``"network"`` or ``"channels"``.

        If both a picture and a text button have the value, return the last of them.
        """
        row = self.page.locator(f".vgg-{strip}").nth(index)
        return row.locator(f"button[data-value={json.dumps(json.dumps(value))}]").last

    def press_slider(self, label: str, keys: str | Iterable[str], index: int = 0) -> None:
        """Focus a slider's handle and press keys, such as ``"ArrowRight"``.

        This works in JupyterLab and Voila only: Notebook 7 intercepts the arrow keys.
        """
        self.control(label, index).locator(".noUi-handle").first.focus()
        for key in [keys] if isinstance(keys, str) else keys:
            self.page.keyboard.press(key)

    def drag_slider(self, label: str, fraction: float, index: int = 0) -> None:
        """Drag a slider's handle to a fraction of its track."""
        control = self.control(label, index)
        handle, track = control.locator(".noUi-handle").first, control.locator(".noUi-base")
        handle.scroll_into_view_if_needed()
        self._drag(self._at(handle, (0.5, 0.5)), self._at(track, (fraction, 0.5)))

    def type_into(self, label: str, text: str, index: int = 0) -> None:
        """Replace the text of a text field, or of a slider's number field, and press Enter."""
        field = self.control(label, index).locator("input, textarea, [contenteditable=true]").last
        field.click()
        field.press("ControlOrMeta+a")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")

    def click_button(self, name: str, index: int = 0) -> None:
        """Click a button, or one of several ToggleButtons, by its exact accessible name."""
        self.page.get_by_role("button", name=name, exact=True).nth(index).click()

    def check(self, label: str, checked: bool = True, index: int = 0) -> None:
        """Set or clear a Checkbox."""
        self.control(label, index).locator("input[type=checkbox]").set_checked(checked)

    def upload(self, button: str, files: Path | list[Path], index: int = 0) -> None:
        """Upload files with the FileUpload whose button contains this text."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("button.widget-upload").filter(has_text=button).nth(index).click()
        chooser.value.set_files(files)

    def click_toolbar(self, title: str, index: int = 0) -> None:
        """Click the button of the canvas's toolbar whose tooltip starts with `title`."""
        # The toolbar may be visible only while the mouse is over the figure.
        self.hover_canvas((0.5, 0.5), index)
        figure = self.page.locator(".jupyter-matplotlib").nth(index)
        figure.locator(f"{TOOLBAR} button[title^={json.dumps(title)}]").click()

    def change_theme(self, name: str) -> None:
        """Select a JupyterLab theme and wait until the splash screen is gone."""
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name
        )
        self.page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def picture_canvas(self, index: int = 0) -> Locator:
        """Return a figure's canvas with the picture; another one above it gets mouse events."""
        return self.page.locator(CANVAS).nth(index).locator("canvas").first

    def hover_canvas(self, point: Point, index: int = 0) -> None:
        """Move the mouse to a point of the canvas, in fractions from its top left corner."""
        self.picture_canvas(index).scroll_into_view_if_needed()
        self.page.mouse.move(*self._at(self.picture_canvas(index), point))

    def click_canvas(self, point: Point, index: int = 0) -> None:
        """Click a point of the canvas, in fractions from its top left corner."""
        self.hover_canvas(point, index)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag_on_canvas(self, start: Point, end: Point, index: int = 0) -> None:
        """Drag between two points of the canvas, in fractions from its top left corner."""
        canvas = self.picture_canvas(index)
        canvas.scroll_into_view_if_needed()
        self._drag(self._at(canvas, start), self._at(canvas, end))

    def handle(self, index: int = 0) -> int:
        """Return the alpha of ipympl's resize handle in a figure's corner: 0 if there is none."""
        corner = (
            "canvas => canvas.getContext('2d')"
            ".getImageData(canvas.width - 4, canvas.height - 4, 1, 1).data[3]"
        )
        return int(self.page.locator(CANVAS).nth(index).locator("canvas").last.evaluate(corner))

    def cut_words(self) -> list[str]:
        """Return the explorers' dropdowns and checkboxes whose text is cut off."""
        texts = ".vgg-explorer :is(.widget-dropdown select, .widget-checkbox label):visible"
        found = self.page.locator(texts).evaluate_all(_OVERFLOW)
        # Browsers round widths to whole pixels.
        return [name for name, overflow in found if overflow > 1]

    def _at(self, element: Locator, point: Point) -> Point:
        box = element.bounding_box()
        assert box is not None, "the element is not visible"
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    def _drag(self, start: Point, end: Point) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=10)
        self.page.mouse.up()

"""The explorer's helper on the page: keys, names for screen readers, theme, clipboard, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from .desk import OpenNotebook
from .page import NotebookPage

pytestmark = pytest.mark.browser

# A stub of an explorer: a box with its widgets, which computes nothing.
STAND_INS = """
import time
from types import SimpleNamespace
import ipywidgets as widgets
from matplotlib.figure import Figure
from vgg_widget.figure.canvas import live_canvas
from vgg_widget.explorer.helper import PageHelper

KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Escape", "Backspace", "b", "o"]

def stand_in(delay=0):
    def on_key(key):
        time.sleep(delay)
        pressed.append(key)
    pressed = []
    parts = dict(
        canvas=live_canvas(Figure((4, 1.5))),
        slider=widgets.IntSlider(20, description="channel", readout=False),
        unnamed=widgets.IntSlider(20, tooltip="opacity"),
        number=widgets.BoundedIntText(5, tooltip="channel number"),
        choice=widgets.Dropdown(description="layer", options=["one", "two", "three"]),
        radio=widgets.RadioButtons(description="kind", options=["red", "green", "blue"]),
        text=widgets.Text(description="channels"),
        button=widgets.Button(description="Reset"),
        unfold=widgets.ToggleButton(description="Circuit").add_class("vgg-unfold"),
        play=widgets.Play(),
        problem=widgets.HTML().add_class("vgg-problem"),
        caption=widgets.HTML("channel 7").add_class("vgg-caption"),
        place=widgets.HTML("a location").add_class("vgg-place"),
        notice=widgets.HTML("<b>NOT</b> ImageNet weights").add_class("vgg-notice"),
        page=PageHelper(on_key, keys=KEYS, description="Input image and feature map"),
    )
    box = widgets.VBox(list(parts.values())).add_class("vgg-explorer")
    return SimpleNamespace(box=box, pressed=pressed, **parts)
"""
ONE = f"{STAND_INS}\none = stand_in()\none.box"
CANVAS = ".jupyter-matplotlib-canvas-div"

# The accessible name of the focused element; covers only the kinds of controls used here.
FOCUSED = """() => {
  const at = document.activeElement;
  const group = at.closest(".widget-radio")?.querySelector(".widget-label");
  const label = group ?? at.labels?.[0] ?? at;
  return at.getAttribute("aria-label") ?? label.textContent.trim();
}"""
# The colours of an element's text, background and outline.
COLOURS = """(element) => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const pixel = (...layers) => {
    for (const layer of layers) {
      context.fillStyle = layer;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = [];
  for (let at = element; at; at = at.parentElement)
    behind.unshift(getComputedStyle(at).backgroundColor);
  const { color, outlineColor } = getComputedStyle(element);
  return [pixel(color), pixel("white", ...behind), pixel(outlineColor)];
}"""


def opened(front_end: OpenNotebook, *cells: str, fresh: bool = False) -> NotebookPage:
    """Open the cells, and wait until the helpers have attached themselves to their boxes."""
    page = front_end(*cells, fresh=fresh)
    page.page.wait_for_selector(f"{CANVAS}[role]")
    return page


def cells_of(page: NotebookPage) -> Any:
    """Return the notebook's cells, the number of the selected one, and the mode."""
    return page.page.evaluate(
        "() => { const { content } = window.jupyterapp.shell.currentWidget; return ["
        "content.model.sharedModel.cells.map(({ id, cell_type }) => `${id} ${cell_type}`),"
        "content.activeCellIndex, content.mode] }"
    )


def press(page: NotebookPage, *keys: str) -> None:
    for key in keys:
        page.page.keyboard.press(key)


def test_keys_on_the_picture_reach_python(front_end: OpenNotebook) -> None:
    page = opened(front_end, ONE, "'another cell'", "'and one more'")
    page.click_canvas((0.5, 0.5))
    keys = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Escape", "Backspace", "b", "o"]
    press(page, *keys)
    page.wait_value("one.pressed", keys)
    # Keys also work on a button and with Caps Lock, but not with Shift or in a chord.
    page.click_button("Reset")
    press(page, "ArrowRight", "Shift+ArrowRight", "Shift+O", "Alt+b")
    page.page.keyboard.down("O")
    page.page.keyboard.up("O")
    page.wait_value("one.pressed", [*keys, "ArrowRight", "o"])
    assert page.errors() == []
    assert page.console_errors() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab", "notebook7"])
def test_the_notebook_takes_no_key_of_the_explorer(
    name: str, request: pytest.FixtureRequest
) -> None:
    page = opened(request.getfixturevalue(name), ONE, "'another cell'", "'and one more'")
    page.click_canvas((0.5, 0.5))
    before = cells_of(page)
    assert before[1:] == [0, "command"]
    for focus in (CANVAS, "button:text('Reset')", ".noUi-handle", "select"):
        page.page.locator(f".vgg-explorer {focus}").first.focus()
        letters = ["x", "b", "a", "c", "v", "z", "y", "m", "j", "k", "d", "d", "0", "0", "1"]
        press(page, *letters, "Shift+M", "Shift+L", "Shift+V", "Shift+ArrowDown", "Space")
        press(page, "ArrowDown", "ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft")
        assert cells_of(page) == before, focus
    # The notebook takes keys again once the focus is elsewhere.
    page.page.locator(".jp-Cell").nth(1).locator(".jp-InputPrompt").first.click()
    press(page, "b")
    assert len(cells_of(page)[0]) == len(before[0]) + 1
    assert page.console_errors() == []


@pytest.mark.slow
def test_chords_and_shift_enter_work_as_usual(lab: OpenNotebook) -> None:
    page = opened(lab, f"runs = globals().get('runs', 0) + 1\n{ONE}", "'another cell'")
    page.page.evaluate(
        "window.jupyterapp.shell.currentWidget.content.model.sharedModel"
        ".insertCell(2, { cell_type: 'code', source: 'added = 1' })"
    )
    dirty = "window.jupyterapp.shell.currentWidget.context.model.dirty"
    for focus in (CANVAS, "button:text('Reset')"):
        page.page.evaluate(f"{dirty} = true")
        page.page.locator(f".vgg-explorer {focus}").focus()
        press(page, "x")
        # JupyterLab ignores a save while it still makes the previous save's checkpoint.
        for _ in range(20):
            press(page, "Control+s")
            page.page.wait_for_timeout(500)
            if not page.page.evaluate(dirty):
                break
        assert not page.page.evaluate(dirty), focus
    assert page.ask("one.pressed") == []
    page.page.locator(CANVAS).focus()
    press(page, "Shift+Enter")
    page.wait_value("runs", 2)
    assert cells_of(page)[1] == 1
    assert page.console_errors() == []


@pytest.mark.slow
def test_controls_keep_the_keys_that_they_need(front_end: OpenNotebook) -> None:
    page = opened(front_end, ONE, "'another cell'", "'and one more'")
    page.press_slider("channel", ["ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"])
    page.wait_value("one.slider.value", 22)
    page.page.locator(".vgg-explorer select").focus()
    press(page, "ArrowDown", "ArrowDown", "ArrowUp")
    page.wait_value("one.choice.value", "two")
    press(page, "o")
    page.wait_value("one.choice.value", "one")
    page.page.locator(".vgg-explorer [type=radio]").first.focus()
    press(page, "ArrowDown", "ArrowDown")
    page.wait_value("one.radio.value", "blue")
    number = page.control("channel number").locator("input")
    number.focus()
    press(page, "ArrowUp", "ArrowUp", "Tab")
    page.wait_value("one.number.value", 7)
    page.control("channels").locator("input").focus()
    press(page, "b", "o", "x", "ArrowLeft", "Backspace", "d", "d")
    page.wait_value("one.text.value", "bddx")
    assert page.ask("one.pressed") == []
    # A slider leaves letters to the explorer.
    page.press_slider("channel", "o")
    page.wait_value("one.pressed", ["o"])
    assert page.console_errors() == []


@pytest.mark.slow
def test_a_held_key_does_not_run_ahead_of_a_slow_kernel(lab: OpenNotebook) -> None:
    page = opened(lab, STAND_INS + "\none = stand_in(delay=0.2)\none.box")
    page.click_canvas((0.5, 0.5))
    for _ in range(40):  # Each `down` after the first is a repeat.
        page.page.keyboard.down("ArrowRight")
    page.page.keyboard.up("ArrowRight")
    page.page.wait_for_timeout(600)
    # Repeats that arrive while the kernel handles a key are dropped.
    held = page.ask("len(one.pressed)")
    assert 1 <= held <= 8
    page.page.wait_for_timeout(400)
    assert page.ask("len(one.pressed)") == held
    # Single presses are neither lost nor reordered.
    press(page, "ArrowLeft", "ArrowRight", "b", "ArrowLeft", "ArrowLeft")
    page.wait_value(
        f"one.pressed[{held}:]", ["ArrowLeft", "ArrowRight", "b", "ArrowLeft", "ArrowLeft"]
    )


def test_screen_readers_get_names_and_updates(front_end: OpenNotebook) -> None:
    page = opened(front_end, ONE)
    picture = page.page.get_by_role("application", name="Input image and feature map")
    assert picture.get_attribute("tabindex") == "0"
    caption = page.page.get_by_role("status").filter(has_text="channel 7")
    assert caption.get_attribute("aria-live") == "polite"
    assert picture.get_attribute("aria-describedby") == caption.get_attribute("id")
    page.ask("one.caption.value = 'channel 8'\nNone")
    page.page.get_by_role("status").filter(has_text="channel 8").wait_for()
    page.ask("one.problem.value = 'no such layer'\nNone")
    page.page.get_by_role("alert").filter(has_text="no such layer").wait_for()
    page.ask("one.page.description = 'Two pictures'\nNone")
    page.page.get_by_role("application", name="Two pictures").wait_for()

    for role, name in (
        ("slider", "channel"),
        ("slider", "opacity"),
        ("spinbutton", "channel number"),
        ("combobox", "layer"),
        ("textbox", "channels"),
        ("button", "Play"),
        ("button", "Stop"),
        ("button", "Reset original view"),
        ("button", "Reset"),
    ):
        found: Any = page.page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        assert found.count() == 1, (role, name)
    page.click_button("Play")
    page.page.get_by_role("button", name="Pause", exact=True).click()
    unfold = page.page.get_by_role("button", name="Circuit")
    assert unfold.get_attribute("aria-expanded") == "false"
    unfold.click()
    page.page.locator("button[aria-expanded=true]").wait_for()
    page.ask("one.unfold.value = False\nNone")
    page.page.locator("button[aria-expanded=false]").wait_for()
    # Controls that are added later are named too.
    page.ask("one.box.children += (widgets.IntSlider(description='gamma'),)\nNone")
    page.page.get_by_role("slider", name="gamma").wait_for()
    assert page.console_errors() == []


def test_tab_reaches_everything_and_leaves_the_picture(front_end: OpenNotebook) -> None:
    page = opened(front_end, ONE)
    page.page.locator(CANVAS).focus()
    reached = []
    for _ in range(25):
        press(page, "Tab")
        reached.append(page.page.evaluate(FOCUSED))
    expected = {"Reset original view", "Play", "Stop", "channel", "opacity", "channel number"}
    assert expected | {"layer", "kind", "channels", "Reset", "Circuit"} <= set(reached)
    page.page.locator(CANVAS).focus()
    press(page, "Shift+Tab")
    assert not page.page.evaluate(f"document.activeElement.matches('{CANVAS}')")


def test_a_place_is_announced_for_keys_but_not_for_the_mouse(front_end: OpenNotebook) -> None:
    page = opened(front_end, ONE)
    place = page.page.locator(".vgg-place[role=status]")
    expect(place).to_have_attribute("aria-live", "polite")
    page.page.locator(CANVAS).hover()
    expect(place).to_have_attribute("aria-live", "off")
    page.page.locator(CANVAS).focus()
    press(page, "ArrowRight")
    expect(place).to_have_attribute("aria-live", "polite")
    assert page.console_errors() == []


@pytest.mark.slow
def test_the_theme_is_reported_at_first_and_after_changes(lab: OpenNotebook) -> None:
    page = opened(lab, ONE, fresh=True)
    assert page.ask("one.page.theme") == "light"
    page.change_theme("JupyterLab Dark")
    page.wait_value("one.page.theme", "dark")
    page.change_theme("JupyterLab Light")
    page.wait_value("one.page.theme", "light")
    # Other front ends' themes: Colab's, VS Code's, and pages with nothing but a text colour.
    for script, theme in (
        ("delete document.body.dataset.jpThemeLight; html.setAttribute('theme', 'dark')", "dark"),
        ("html.setAttribute('theme', 'light')", "light"),
        ("document.body.dataset.vscodeThemeKind = 'vscode-high-contrast'", "dark"),
        ("document.body.dataset.vscodeThemeKind = 'vscode-high-contrast-light'", "light"),
        ("delete document.body.dataset.vscodeThemeKind", "light"),
        (
            "box.parentElement.style.color = 'oklch(0.9 0 0)'; html.removeAttribute('theme')",
            "dark",
        ),
        ("box.parentElement.style.color = '#333'; html.lang = 'en'", "light"),
    ):
        page.page.evaluate(
            "script => new Function('html', 'box', script)("
            "document.documentElement, document.querySelector('.vgg-explorer'))",
            script,
        )
        page.wait_value("one.page.theme", theme)
    assert page.console_errors() == []


def test_a_dark_page_is_known_from_the_start(lab: OpenNotebook) -> None:
    page = lab(ONE, run=False)
    page.change_theme("JupyterLab Dark")
    page.run_all()
    page.wait_value("one.page.theme", "dark")
    # JupyterLab would keep the dark theme for the next test.
    page.change_theme("JupyterLab Light")


def contrast(one: list[int], other: list[int]) -> float:
    """Return the contrast ratio of WCAG 2.2, "relative luminance"."""

    def luminance(colour: list[int]) -> float:
        parts = [part / 255 for part in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_words_and_focus_can_be_seen_in_light_and_dark(lab: OpenNotebook) -> None:
    page = opened(lab, ONE, "one.problem.value = 'no such layer'")
    page.page.locator(CANVAS).focus()
    press(page, "Shift+Tab", "Tab")  # Browsers show the focus outline only after Tab.
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.change_theme(theme)
        for part in ("notice", "problem", "caption"):
            words = page.page.locator(f".vgg-{part} .widget-html-content")
            text, behind, _ = words.evaluate(COLOURS)
            assert contrast(text, behind) >= 4.5, (theme, part)
        page.page.locator(CANVAS).focus()
        _, behind, outline = page.page.locator(CANVAS).evaluate(COLOURS)
        assert contrast(outline, behind) >= 3, theme
        page.screenshot(f"page-helper-{theme[11:].lower()}")
    assert page.console_errors() == []


@pytest.mark.slow
@pytest.mark.parametrize("secure", [True, False])
def test_text_is_copied(lab: OpenNotebook, secure: bool) -> None:
    page = opened(lab, ONE, fresh=True)
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not secure:  # As on a page loaded over plain HTTP.
        page.page.evaluate(
            "() => { window.read = () => clipboard.readText(); const { clipboard } = navigator;"
            "Object.defineProperty(navigator, 'clipboard', { value: undefined }) }"
        )
    page.page.locator(CANVAS).focus()
    text = "a = 'ä'\nb = 1\n" * 100
    page.ask(f"answers = []\none.page.copy({text!r}, answers.append)\nNone")
    page.wait_value("answers", [True])
    read = "navigator.clipboard.readText()" if secure else "read()"
    assert page.page.evaluate(read) == text
    # Copying does not move the focus.
    assert page.page.evaluate(f"document.activeElement.matches('{CANVAS}')")
    assert page.console_errors() == []


@pytest.mark.slow
def test_a_refused_copy_is_reported(lab: OpenNotebook) -> None:
    page = opened(lab, ONE, fresh=True)
    page.page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(Error('no'));"
        "document.execCommand = () => false }"
    )
    page.ask("answers = []\none.page.copy('x', answers.append)\nNone")
    page.wait_value("answers", [False])
    assert page.console_errors() == []


def test_bytes_are_downloaded_as_a_file(front_end: OpenNotebook, tmp_path: Path) -> None:
    page = opened(front_end, ONE)
    page.page.locator(CANVAS).focus()
    with page.page.expect_download() as waiting:
        page.ask("one.page.download('maps – 1.npz', bytes(range(256)) * 40_000)\nNone")
    waiting.value.save_as(tmp_path / "file")
    assert waiting.value.suggested_filename == "maps – 1.npz"
    assert (tmp_path / "file").read_bytes() == bytes(range(256)) * 40_000
    assert page.console_errors() == []


def test_explorers_on_one_page_are_independent(lab: OpenNotebook) -> None:
    # The second explorer is on the page twice.
    page = opened(lab, ONE, "other = stand_in()\nother.box", "other.box")
    page.page.wait_for_function(f"document.querySelectorAll('{CANVAS}[role]').length === 3")
    for index in (0, 1, 2, 1):
        page.click_canvas((0.5, 0.5), index)
        press(page, "ArrowRight")
    page.wait_value("len(other.pressed)", 3)
    assert page.ask("one.pressed") == ["ArrowRight"]
    ids = page.page.locator(".vgg-caption").evaluate_all("all => all.map(({ id }) => id)")
    assert len(set(ids)) == 3
    with page.page.expect_download():
        page.ask("other.page.download('once.txt', b'once')\nNone")
    later: list[object] = []
    page.page.on("download", lambda download: later.append(download))  # noqa: PLW0108
    page.page.wait_for_timeout(300)
    assert later == []
    assert page.console_errors() == []


def test_a_closed_explorer_ignores_keys(lab: OpenNotebook) -> None:
    page = opened(lab, ONE, "other = stand_in()\nother.box")
    page.page.wait_for_function(f"document.querySelectorAll('{CANVAS}[role]').length === 2")
    page.ask("one.page.close()\nNone")
    page.page.wait_for_timeout(300)
    page.click_canvas((0.5, 0.5), 0)
    press(page, "ArrowRight")
    page.click_canvas((0.5, 0.5), 1)
    press(page, "ArrowLeft")
    page.wait_value("other.pressed", ["ArrowLeft"])
    assert page.ask("one.pressed") == []
    assert page.errors() == []
    assert page.console_errors() == []

"""How JupyterLab and Voila show an error in a callback, and what the user can do next."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from .desk import OpenNotebook
from .page import NotebookPage
from .sight import CANVAS, EXPLORER, HINT, leave_picture, unharmed, wait_words

pytestmark = pytest.mark.browser

FAILING = f"""
from vgg_widget import register_mode

def deeper(maps, depth):
    return deeper(maps, depth - 1) if depth else maps / (1 // depth)

@register_mode("mine")
def mine(maps, request):
    return deeper(maps, 9)
{EXPLORER}
"""

# The minimum contrast ratio of text in WCAG 2.2, success criterion 1.4.3.
CONTRAST = 4.5
# The contrast by WCAG's relative luminance, over the backgrounds of all ancestors.
CONTRAST_OF = """element => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const behind = [];
  for (let one = element; one; one = one.parentElement) behind.unshift(one);
  context.fillStyle = "white";
  context.fillRect(0, 0, 1, 1);
  for (const one of behind) {
    context.fillStyle = getComputedStyle(one).backgroundColor;
    context.fillRect(0, 0, 1, 1);
  }
  const luminance = () => {
    const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const paper = luminance();
  context.fillStyle = getComputedStyle(element).color;
  context.fillRect(0, 0, 1, 1);
  const ink = luminance();
  return (Math.max(paper, ink) + 0.05) / (Math.min(paper, ink) + 0.05);
}"""


# Fails only for blobs without a type, which are downloads: the canvas's frames have a type.
NO_ROOM = """() => {
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    if (!blob.type) throw new Error("no room");
    return make(blob);
  };
}"""


def assert_readable(*elements: Locator) -> None:
    for element in elements:
        assert element.evaluate(CONTRAST_OF) >= CONTRAST


def tab_to(page: NotebookPage, selector: str) -> None:
    """Press Tab until an element that matches the selector has the focus."""
    for _ in range(12):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


@pytest.mark.parametrize(
    "front_end", ["lab", pytest.param("voila", marks=pytest.mark.slow)], indirect=True
)
def test_an_error_is_shown_unfolded_and_disappears_with_the_next_action(
    front_end: OpenNotebook,
) -> None:
    page = front_end(FAILING, fresh=True)
    kind = page.server.front_end
    first = page.wait_picture_equal(CANVAS)
    problem = page.page.locator(".vgg-problem")
    expect(problem).to_be_hidden()

    page.select("mode", "mine")
    expect(problem).to_contain_text("ZeroDivisionError")
    expect(problem).to_contain_text("mode 'mine' failed on layer 'block3_conv1'")
    expect(problem).to_contain_text("continue with something else")
    # Screen readers announce the error at once, but not the folded traceback.
    expect(problem).to_have_attribute("role", "alert")
    lines = problem.locator("pre")
    expect(lines).to_be_hidden()
    # The controls and the canvas still show the last good picture.
    assert page.ask("[explorer.mode, explorer.channel]") == ["channel", 7]
    assert page.mode_shown() == "channel"
    assert page.wait_picture_equal(CANVAS) == first

    # Unfold and scroll the traceback with the keyboard.
    page.control("colors").locator("select").focus()
    tab_to(page, ".vgg-details > summary")
    page.page.keyboard.press("Enter")
    expect(lines).to_be_visible()
    expect(lines).to_contain_text("return deeper(maps, 9)")
    expect(lines).to_contain_text("ZeroDivisionError: integer division or modulo by zero")
    page.page.keyboard.press("Tab")
    expect(lines).to_be_focused()
    page.page.keyboard.press("End")
    page.page.keyboard.press("ArrowUp")
    page.page.wait_for_function("() => document.querySelector('.vgg-details pre').scrollTop > 0")
    assert page.ask("[explorer.layer, explorer.channel]") == ["block3_conv1", 7]
    page.screenshot(f"{kind}-error")
    assert problem.evaluate("box => box.scrollWidth <= box.clientWidth")
    summary = problem.locator("summary")
    assert_readable(problem, summary, lines)
    if kind == "lab":
        page.change_theme("JupyterLab Dark")
        try:
            page.wait_value("explorer.canvas.figure.get_facecolor()[0] < 0.2", value=True)
            page.page.wait_for_timeout(300)
            page.screenshot(f"{kind}-error-dark")
            assert_readable(problem, summary, lines)
        finally:
            page.change_theme("JupyterLab Light")
        page.wait_value("explorer.canvas.figure.get_facecolor()[0]", 1.0)
    # Hovering over the pictures does not dismiss the traceback.
    page.hover_canvas((0.6, 0.5))
    wait_words(page, "place", "row")
    expect(lines).to_be_visible()

    # The next action works and dismisses the error.
    page.press_slider("channel", "ArrowRight")
    expect(problem).to_be_hidden()
    page.wait_value("explorer.channel", 8)
    leave_picture(page)
    wait_words(page, "place", HINT)
    second = page.wait_picture_equal(CANVAS, unlike=first)

    # An expected error shows its message without a traceback.
    page.click_button("Open & save")
    page.type_into("picture", "no such <b>.png")
    expect(problem).to_contain_text("image 'no such <b>.png' was not found")
    expect(problem.locator("details")).to_have_count(0)
    assert page.wait_picture_equal(CANVAS) == second
    # A failure in the browser is shown as well.
    page.page.evaluate(NO_ROOM)
    page.click_button("save PNG")
    expect(problem).to_contain_text("the page could not save the file (Error: no room)")

    # Errors in key and mouse callbacks are shown, too; no cell output has their tracebacks.
    fail = "def fail(*_): raise MemoryError('none left')\n"
    page.ask(f"{fail}keep = explorer._pointing._toggle_grid, explorer._view.hit\n0")
    page.ask("explorer._pointing._toggle_grid = explorer._view.hit = fail\n0")
    page.click_canvas((0.65, 0.4))
    expect(problem).to_contain_text("MemoryError: none left")
    # A mouse still on the picture would send another event after the step.
    leave_picture(page)
    page.page.keyboard.press("ArrowRight")
    page.wait_value("explorer.channel", 9)
    expect(problem).to_be_hidden()
    page.page.keyboard.press("g")
    expect(problem).to_contain_text("MemoryError: none left")
    page.ask("explorer._pointing._toggle_grid, explorer._view.hit = keep\n0")
    page.page.keyboard.press("g")
    page.wait_value("explorer.mode", "grid")
    expect(problem).to_be_hidden()
    page.wait_picture_equal(CANVAS, unlike=second)
    # None of these errors reached the cells' outputs or the browser's console.
    unharmed(page)

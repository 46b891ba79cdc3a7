"""A notebook open in Firefox, with the interface that `page.py` and `sight.py` expect.

Playwright drives only its own build of Firefox. The classes here imitate Playwright's page and
locators as far as the main walkthrough needs them, so that it shares all actions and checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from playwright.sync_api import Locator, Page

from .actions import ACTION_SECONDS
from .firefox import Firefox
from .page import NotebookPage
from .server import Server

# The key codes of the WebDriver protocol, which the driver uses.
KEYS = {
    "Backspace": "\ue003",
    "Tab": "\ue004",
    "Enter": "\ue007",
    "ControlOrMeta": "\ue009",
    "Escape": "\ue00c",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}

# Evaluates in the page: objects made in the driver's sandbox are not of the page's classes.
_EVALUATE = """
const [expression, given, done] = arguments;
const found = window.eval(`async (given) => {
  const found = (${expression});
  return typeof found === "function" ? await found(JSON.parse(given)) : await found;
}`);
found(given).then((value) => done({ value }), (error) => done({ error: String(error) }));
"""
# Evaluates in the driver's sandbox, for pages that forbid `eval`.
_EVALUATE_IN_SANDBOX = """
const [given, done] = arguments;
const found = (%s);
Promise.resolve(typeof found === "function" ? found(JSON.parse(given)) : found)
  .then((value) => done({ value }), (error) => done({ error: String(error) }));
"""
_ON_FIRST = """async given => {
  const end = performance.now() + %(patience)d;
  for (;;) {
    const [one] = %(all)s;
    if (one) return await (%(function)s)(one, given);
    if (performance.now() > end) throw Error("there is no such element");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""
_BOX = """element => {
  const { x, y, width, height } = element.getBoundingClientRect();
  return { x, y, width, height };
}"""
# Finds the widgets of `Actions.control`, some of whose selectors only Playwright understands.
_LABELLED = """[...document.querySelectorAll(".lm-Widget:not(.widget-box)")].filter((widget) => {
  const text = %s;
  const says = (selector) =>
    [...widget.querySelectorAll(selector)].some((one) => one.textContent.trim() === text);
  const titled = (selector) => widget.querySelector(`${selector}[title=${JSON.stringify(text)}]`);
  return widget.title === text || says(":scope > .widget-label")
    || says(":scope > .widget-label-basic > span") || titled(":scope > ")
    || titled(":scope > .widget-label-basic > ")
    || widget.querySelector(`:scope > [aria-label=${JSON.stringify(text)}]`);
})"""


class Found:
    """Elements of a page, looked up again for every operation.

    Parameters
    ----------
    tab
        The page.
    elements
        A JavaScript expression for an array of the elements.
    """

    def __init__(self, tab: Tab, elements: str) -> None:
        self._tab, self._elements = tab, elements

    def locator(self, selector: str) -> Found:
        inside = f"[...one.querySelectorAll({json.dumps(selector)})]"
        return Found(self._tab, f"{self._elements}.flatMap((one) => {inside})")

    def get_by_role(self, role: str, *, name: str, exact: bool) -> Found:
        assert exact, "only exact names are supported"
        named = f"(one.ariaLabel || one.textContent.trim()) === {json.dumps(name)}"
        return self.locator(role)._of(f".filter((one) => {named})")

    def filter(self, *, has_text: str) -> Found:
        return self._of(f".filter((one) => one.textContent.includes({json.dumps(has_text)}))")

    def nth(self, index: int) -> Found:
        return self._of(f".slice({index}).slice(0, 1)")

    @property
    def first(self) -> Found:
        return self.nth(0)

    @property
    def last(self) -> Found:
        return self._of(".slice(-1)")

    def count(self) -> int:
        return int(self.evaluate_all("all => all.length"))

    def evaluate_all(self, function: str) -> Any:
        return self._tab.evaluate(f"({function})({self._elements})")

    def all_text_contents(self) -> list[str]:
        texts: list[str] = self.evaluate_all("all => all.map((one) => one.textContent)")
        return texts

    def evaluate(self, function: str, given: object = None) -> Any:
        """Wait for an element, and return the value of a JavaScript function of the first one."""
        parts = {"patience": 1000 * ACTION_SECONDS, "all": self._elements, "function": function}
        return self._tab.evaluate(_ON_FIRST % parts, given)

    def inner_text(self) -> str:
        return str(self.evaluate("one => one.innerText"))

    def text_content(self) -> str:
        return str(self.evaluate("one => one.textContent"))

    def get_attribute(self, name: str) -> str | None:
        value: str | None = self.evaluate("(one, name) => one.getAttribute(name)", name)
        return value

    def bounding_box(self) -> dict[str, float]:
        box: dict[str, float] = self.evaluate(_BOX)
        return box

    def scroll_into_view_if_needed(self) -> None:
        self.evaluate("one => one.scrollIntoView({ block: 'nearest' })")

    def hover(self) -> None:
        self.scroll_into_view_if_needed()
        box = self.bounding_box()
        self._tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def click(self) -> None:
        self.hover()
        self._tab.mouse.down()
        self._tab.mouse.up()

    def focus(self) -> None:
        self.evaluate("one => one.focus()")

    def press(self, key: str) -> None:
        self.focus()
        self._tab.keyboard.press(key)

    def select_option(self, *, index: int) -> None:
        """Click an option through the driver, as the open list is not part of the page."""
        self._tab.driver.execute_script(
            f"return {self._elements}[0].options[{index}]", sandbox=None
        ).click()

    def _of(self, chosen: str) -> Found:
        return Found(self._tab, self._elements + chosen)


class Mouse:
    """The mouse, in pixels from the page's top left corner."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._at = (0.0, 0.0)

    def move(self, x: float, y: float, *, steps: int = 1) -> None:
        pointer, (x0, y0) = self._pointer(), self._at
        for step in range(1, steps + 1):
            share = step / steps
            # Rounded down, as in Chromium.
            pointer.pointer_move(int(x0 + share * (x - x0)), int(y0 + share * (y - y0)))
        pointer.perform()
        self._at = (x, y)

    def down(self) -> None:
        self._pointer().pointer_down().perform()

    def up(self) -> None:
        self._pointer().pointer_up().perform()

    def _pointer(self) -> Any:
        return self._driver.actions.sequence("pointer", "mouse", {"pointerType": "mouse"})


class Keyboard:
    """The keyboard, with Playwright's key names."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def press(self, keys: str) -> None:
        names = [KEYS.get(name, name) for name in keys.split("+")]
        typing = self._driver.actions.sequence("key", "keyboard")
        for name in names:
            typing.key_down(name)
        for name in reversed(names):
            typing.key_up(name)
        typing.perform()

    def type(self, text: str) -> None:
        self._driver.actions.sequence("key", "keyboard").send_keys(text).perform()


class Tab:
    """The page that Firefox shows."""

    def __init__(self, firefox: Firefox) -> None:
        self.driver = firefox.driver
        self.mouse, self.keyboard = Mouse(self.driver), Keyboard(self.driver)
        self._script = ""

    def on(self, event: str, handler: object) -> None:
        """Ignore the handler: `FirefoxPage.console_errors` reads the browser's log."""

    def set_default_timeout(self, milliseconds: float) -> None:
        """Do nothing: `Found` waits for `ACTION_SECONDS`."""

    def add_init_script(self, *, path: Path) -> None:
        self._script = path.read_text(encoding="utf-8")

    def goto(self, url: str, *, timeout: float) -> None:
        self.driver.timeout.page_load = timeout / 1000
        self.driver.navigate(url)
        self.driver.execute_script("window.eval(arguments[0])", [self._script], sandbox=None)

    def evaluate(self, expression: str, given: object = None) -> Any:
        answer = self.driver.execute_async_script(
            _EVALUATE, [expression, json.dumps(given)], sandbox=None
        )
        if "error" in answer:
            raise RuntimeError(f"{answer['error']}, in {expression}")
        return answer["value"]

    def wait_for_timeout(self, milliseconds: float) -> None:
        self.evaluate("ms => new Promise((resolve) => setTimeout(resolve, ms))", milliseconds)

    def wait_for_function(self, condition: str, *, timeout: float) -> None:
        self.evaluate(
            f"""async timeout => {{
              for (const end = performance.now() + timeout; !(await ({condition}));) {{
                if (performance.now() > end) throw Error(`not true after ${{timeout}} ms`);
                await new Promise((resolve) => setTimeout(resolve, 50));
              }}
            }}""",
            timeout,
        )

    def wait_for_selector(self, selector: str, *, state: str) -> None:
        there = f"document.querySelector({json.dumps(selector)}) !== null"
        wanted = {"attached": "true", "detached": "false"}[state]
        self.wait_for_function(f"({there}) === {wanted}", timeout=1000 * ACTION_SECONDS)

    def locator(self, selector: str) -> Found:
        return Found(self, "[document]").locator(selector)

    def get_by_role(self, role: str, *, name: str, exact: bool) -> Found:
        return Found(self, "[document]").get_by_role(role, name=name, exact=exact)

    def screenshot(self, *, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            self.driver.save_screenshot(file, full=False)


class FileTab(Tab):
    """The page of a file, whose Content-Security-Policy forbids `eval`."""

    def open(self, path: Path) -> None:
        self.driver.navigate(path.as_uri())

    def evaluate(self, expression: str, given: object = None) -> Any:
        answer = self.driver.execute_async_script(
            _EVALUATE_IN_SANDBOX % expression, [json.dumps(given)], sandbox=None
        )
        if "error" in answer:
            raise RuntimeError(f"{answer['error']}, in {expression}")
        return answer["value"]


class FirefoxPage(NotebookPage):
    """A notebook in JupyterLab, in Firefox."""

    def __init__(self, firefox: Firefox, server: Server) -> None:
        self._firefox = firefox
        self._complaints_read = 0
        self._tab = Tab(firefox)
        super().__init__(cast("Page", self._tab), server)

    def turn(self, cells: Sequence[str]) -> None:
        super().turn(cells)
        self._complaints_read = len(self._firefox.complaints())

    def console_errors(self, baseline: Iterable[str] | None = None) -> list[str]:
        complaints = self._firefox.complaints()
        for text in complaints[self._complaints_read :]:
            self._on_error(text)
        self._complaints_read = len(complaints)
        return super().console_errors(baseline)

    def control(self, label: str, index: int = 0) -> Locator:
        return cast("Locator", Found(self._tab, _LABELLED % json.dumps(label)).nth(index))

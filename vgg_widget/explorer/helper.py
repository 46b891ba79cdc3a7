"""The explorer's helper on the page, for what ipywidgets cannot do.

It handles keys, names for screen readers, the page's theme, the clipboard, downloads, and pictures
painted by the page. The other half is in ``helper.js``, ``helper.css`` and ``live_*.js``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from itertools import count
from typing import Any, ClassVar

import anywidget
import ipywidgets as widgets
from traitlets import Dict, Enum, Float, Int, List, Unicode

from vgg_widget.page.scripts import joined

ROOT_CLASS = "vgg-explorer"
"""The CSS class of the box that a `PageHelper` serves: its nearest ancestor with the class."""

_HERE = files("vgg_widget.explorer")


class PageHelper(anywidget.AnyWidget):
    """An invisible widget that serves its nearest ancestor with the class `ROOT_CLASS`.

    In that box it handles ipympl's canvas, ``vgg-caption`` (announced when it changes),
    ``vgg-problem`` (announced at once) and ``vgg-unfold`` (toggle buttons that open panels).

    `on_key` gets each of `keys`, named as in JavaScript's ``KeyboardEvent.key``, that the user
    presses in the box, unless a control needs it. While it runs, a held key does not repeat.
    `description` is the canvas's name for screen readers. `report` wraps the callback for the
    page's other messages, so that its errors are shown.
    """

    # The text, not the path: anywidget keeps every widget made from a path alive.
    _esm = Unicode(
        joined(
            files("vgg_widget.page").joinpath("painter.js"),
            *map(
                _HERE.joinpath, ("live_albums.js", "live_mouse.js", "live_painter.js", "helper.js")
            ),
        )
    ).tag(sync=True)
    _css = Unicode(_HERE.joinpath("helper.css").read_text(encoding="utf-8")).tag(sync=True)

    # ipywidgets already uses `keys` for something else.
    wanted = List(Unicode(), help="Keys to handle, as in KeyboardEvent.key.").tag(sync=True)
    description = Unicode(help="The canvas's name for screen readers.").tag(sync=True)
    figure = Unicode(help="Model ID of ipympl's canvas.").tag(sync=True)
    controls = Dict(help="Model IDs of the controls that the page updates itself.").tag(sync=True)
    scene: Any = Dict(
        {"number": 0, "album": 0, "next": 0, "since": 0, "paintable": False},
        help="The layout of the canvas; album 0 if it is about to change.",
    ).tag(sync=True)
    shown: Any = Dict(
        {"album": 0, "channel": 0, "location": None},
        help="The kernel's current state, texts and panels included.",
    ).tag(sync=True)
    playing: Any = Dict(
        {"clock": "", "over": "channels", "repeat": False},
        help="Model ID of the clock that plays, and what it steps over.",
    ).tag(sync=True)
    budget = Float(24.0, help="Megabytes of maps that the page may keep.").tag(sync=True)
    theme = Enum(
        ("light", "dark"), "light", help="The page's theme, reported by the page on each change."
    ).tag(sync=True)

    background = Unicode(
        help="The page's colour behind the explorer, as in #111111; '' before the page reports it."
    ).tag(sync=True)

    room = Int(
        help="Width of the box in CSS pixels, reported by the page on each change; 0 before that."
    ).tag(sync=True)

    # The last page's reports: the next explorer in this kernel is usually on the same page.
    _last_reports: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        on_key: Callable[[str], object],
        *,
        keys: Iterable[str] = (),
        description: str = "",
        canvas: widgets.Widget | None = None,
        controls: Mapping[str, widgets.Widget] | None = None,
        report: Callable[[Callable[..., object]], Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(
            wanted=list(keys),
            description=description,
            figure="" if canvas is None else canvas.model_id,
            controls={name: one.model_id for name, one in (controls or {}).items()},
            layout=widgets.Layout(display="none"),
            **self._last_reports,
        )
        self.observe(self._store_report, ["theme", "background", "room"])
        self._on_key = on_key
        self._dispatch = report(self._dispatch_message) if report else self._dispatch_message
        self.listeners: dict[str, Callable[[dict[str, Any]], object]] = {}
        """Handlers of the page's other messages, by their kind."""
        self._numbers = count()
        self._copies: dict[int, Callable[[bool], object]] = {}
        self.on_msg(self._on_message)

    def copy(self, text: str, then: Callable[[bool], object] | None = None) -> None:
        """Copy text to the clipboard of the page's user.

        `then` is called with whether the browser allowed it, once it has answered.
        """
        number = next(self._numbers)
        if then is not None:
            self._copies[number] = then
        self.send({"kind": "copy", "number": number, "text": text})

    def download(self, name: str, data: bytes) -> None:
        """Save data as a file on the computer of the page's user."""
        self.send({"kind": "download", "name": name}, [data])

    def _store_report(self, change: dict[str, Any]) -> None:
        self._last_reports[change["name"]] = change["new"]

    def _on_message(self, _: widgets.Widget, content: dict[str, Any], __: list[memoryview]) -> None:
        if content.get("kind") != "key":
            self._dispatch(content)
            return
        try:
            self._on_key(content.get("key", ""))
        finally:
            # The page holds the next key back until it receives this.
            self.send({"kind": "answered"})

    def _dispatch_message(self, content: dict[str, Any]) -> None:
        if content["kind"] == "copied":
            then = self._copies.pop(content["number"], None)
            if then is not None:
                then(bool(content["ok"]))
        elif content["kind"] in self.listeners:
            self.listeners[content["kind"]](content)
        elif content["kind"] == "failed":
            raise OSError(
                f"the page could not {content['doing']} ({content['message']}): reload it, or use "
                "the explorer's methods in a cell."
            )

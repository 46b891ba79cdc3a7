"""The explorer's helper on the page, for what ipywidgets cannot do.

Keys, names for screen readers, the page's theme, the clipboard and downloads, and pictures that the
page paints. Its other half is in ``helper.js``, ``helper.css`` and the scripts named ``live_…``.
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
"""The CSS class of the box that a `PageHelper` serves: the nearest one that it is in."""

_HERE = files("vgg_widget.explorer")


class PageHelper(anywidget.AnyWidget):
    """An invisible widget that serves the box with the class `ROOT_CLASS` that it is a child of.

    Of the box's parts it knows the canvas of ipympl, ``vgg-caption`` (announced when it changes),
    ``vgg-problem`` (announced at once) and ``vgg-unfold`` (toggle buttons that open panels).

    `on_key` gets each of `keys`, named as in JavaScript's ``KeyboardEvent.key``, that a person
    presses in the box, except where a control needs it; while it runs, a held key is not repeated.
    `description` is what a screen reader says of the `canvas`. `report` gets the callback for the
    page's other messages, and returns it so that its errors are shown.
    """

    # The text, not the path: anywidget would hold on to every widget made from a path.
    _esm = Unicode(
        joined(
            files("vgg_widget.page").joinpath("painter.js"),
            *map(
                _HERE.joinpath, ("live_albums.js", "live_mouse.js", "live_painter.js", "helper.js")
            ),
        )
    ).tag(sync=True)
    _css = Unicode(_HERE.joinpath("helper.css").read_text(encoding="utf-8")).tag(sync=True)

    # ipywidgets has `keys` itself, for something else.
    wanted = List(Unicode(), help="Keys that are taken, as in KeyboardEvent.key.").tag(sync=True)
    description = Unicode(help="What a screen reader says of the canvas.").tag(sync=True)
    figure = Unicode(help="Identity of ipympl's canvas among the page's widgets.").tag(sync=True)
    controls = Dict(help="Identities of the controls that the page answers itself.").tag(sync=True)
    scene: Any = Dict(
        {"number": 0, "album": 0, "next": 0, "since": 0, "paintable": False},
        help="Where everything is on the canvas; album 0 where that is about to change.",
    ).tag(sync=True)
    shown: Any = Dict(
        {"album": 0, "channel": 0, "location": None},
        help="What the kernel has on show, words and panels included.",
    ).tag(sync=True)
    playing: Any = Dict(
        {"clock": "", "over": "channels", "repeat": False},
        help="Identity of the clock that plays, and through what it goes.",
    ).tag(sync=True)
    budget = Float(24.0, help="Megabytes of maps that the page may keep.").tag(sync=True)
    theme = Enum(
        ("light", "dark"), "light", help="How the page looks; it tells, and tells again on change."
    ).tag(sync=True)

    background = Unicode(
        help="The page's colour behind the explorer, as in #111111; '' as long as no page has told."
    ).tag(sync=True)

    room = Int(
        help="CSS pixels that the box is wide, 0 as long as no page has told; it tells again."
    ).tag(sync=True)

    # What the last page told: the next explorer in this kernel is mostly on the same one.
    _seen: ClassVar[dict[str, Any]] = {}

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
            **self._seen,
        )
        self.observe(self._see, ["theme", "background", "room"])
        self._on_key = on_key
        self._follow = report(self._follow_message) if report else self._follow_message
        self.listeners: dict[str, Callable[[dict[str, Any]], object]] = {}
        """What is done with other messages of the page, by their kind."""
        self._numbers = count()
        self._copies: dict[int, Callable[[bool], object]] = {}
        self.on_msg(self._hear)

    def copy(self, text: str, then: Callable[[bool], object] | None = None) -> None:
        """Put text on the clipboard of whoever looks at the page.

        `then` is called with whether the browser allowed it, once it has answered.
        """
        number = next(self._numbers)
        if then is not None:
            self._copies[number] = then
        self.send({"kind": "copy", "number": number, "text": text})

    def download(self, name: str, data: bytes) -> None:
        """Save data as a file on the computer of whoever looks at the page."""
        self.send({"kind": "download", "name": name}, [data])

    def _see(self, change: dict[str, Any]) -> None:
        self._seen[change["name"]] = change["new"]

    def _hear(self, _: widgets.Widget, content: dict[str, Any], __: list[memoryview]) -> None:
        if content.get("kind") != "key":
            self._follow(content)
            return
        try:
            self._on_key(content.get("key", ""))
        finally:
            # The page holds the next key back until now.
            self.send({"kind": "answered"})

    def _follow_message(self, content: dict[str, Any]) -> None:
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

"""The panel that opens another picture, and takes away what is on show."""

from __future__ import annotations

import html
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.controls import display, upload_button
from vgg_widget.explorer.host import Host, ViewHost, heard
from vgg_widget.explorer.scene import Scene

PICTURES = ("PNG", "SVG", "PDF")


class _OpenAndSave:
    """Paths to open; buttons for the picture, the activations and the code.

    Parameters
    ----------
    host : ViewHost
        Does what a person asks for.
    opens : mapping of str to str
        What stands beside each path's field, and the trait that is set to the path.
    uploads : bool
        Whether there is an upload button beside each field.
    arrays : callable, optional
        Saves the activations and returns where.
    """

    title = "Open & save"

    def __init__(
        self,
        host: ViewHost,
        opens: Mapping[str, str],
        *,
        uploads: bool = False,
        arrays: Callable[[], Path] | None = None,
    ) -> None:
        self._host = host
        # Not the activations themselves, which a folded panel would keep in memory.
        self._shown: weakref.ref[Activations] | None = None
        self.paths: list[widgets.Text] = []
        rows = [self._opening(words, name, uploads) for words, name in opens.items()]
        self.pictures = [self._button(f"save {kind}", self._download(kind)) for kind in PICTURES]
        saves = list(self.pictures)
        if arrays is not None:
            self.arrays = self._button("save arrays (.npz)", self._saving(arrays))
            saves.append(self.arrays)
        self.copy = self._button("copy code", self._copy_code)
        self.code = self._button("show code", self._show_code)
        self.reset = self._button("reset", host.reset)
        self.words = widgets.HTML()
        self.text = widgets.Textarea(
            description="code",
            tooltip="code that makes the same picture",
            layout=widgets.Layout(width="98%", height="160px", display="none"),
            style={"description_width": "max-content"},
        )
        # Read only, which ipywidgets has no name for: a disabled text takes no focus, and could be
        # neither scrolled nor selected by keyboard.
        self.text.add_class("vgg-code")
        rows[-1].append(self.reset)
        rows.append([*saves, self.copy, self.code])
        wrapped = widgets.Layout(flex_flow="row wrap", align_items="center")
        lines = [widgets.HBox(row, layout=wrapped) for row in rows]
        self.widget = widgets.VBox([*lines, self.words, self.text])

    def _opening(self, words: str, name: str, upload: bool) -> list[widgets.Widget]:
        path = widgets.Text(
            description=words,
            placeholder="path of a picture on the notebook's machine, then Enter",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 300px", max_width="560px"),
            style={"description_width": "max-content"},
        )

        def typed(change: dict[str, Any]) -> None:
            if change["new"]:
                # Emptied, so that the same path can be opened again: the file may be another one.
                path.value = ""
                self._host.tell(**{name: change["new"]})

        path.observe(heard(self._host, typed), "value")
        self.paths.append(path)
        return [path, upload_button(self._host, f"other {words}", name)] if upload else [path]

    def _button(self, words: str, action: Any) -> widgets.Button:
        button = widgets.Button(description=words, layout=widgets.Layout(width="auto"))
        button.on_click(lambda _: self._host.do(action))
        return button

    def _download(self, kind: str) -> Any:
        return lambda: self._host.download(f".{kind.lower()}")

    def _saving(self, arrays: Callable[[], Path]) -> Callable[[], None]:
        def save() -> None:
            self._say(f"Saved as {arrays()}.")

        return save

    def _copy_code(self) -> None:
        code = self._host.to_code()

        def copied(ok: bool) -> None:
            if ok:
                self._say("The code is copied.")
            else:
                self._say("The browser did not let the code be copied: select it below.")
                self._unfold(code)

        self._host.copy(code, copied)

    def _say(self, words: str) -> None:
        self.words.value = f'<span role="status">{html.escape(words)}</span>' if words else ""

    def _show_code(self) -> None:
        if self.text.layout.display is None:
            self._fold()
        else:
            self._unfold(self._host.to_code())

    def _unfold(self, code: str) -> None:
        self.text.value = code
        display(self.text, shown=True)

    def _fold(self) -> None:
        self.text.value = ""
        display(self.text, shown=False)

    def show(self, scene: Scene) -> None:
        """Bring the panel to what is on show."""
        if self._shown is None or self._shown() is not scene.activations:
            # What was saved was of another picture.
            self._shown = weakref.ref(scene.activations)
            self._say("")
        # The code is of one picture, and this may be another.
        self._fold()


class FilesPanel(_OpenAndSave):
    """What an explorer opens and takes away.

    Parameters
    ----------
    host : Host
        Does what a person asks for.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host, {"picture": "image"}, arrays=host.save_arrays)
        (self.path,) = self.paths


class PairFilesPanel(_OpenAndSave):
    """What a comparison opens and takes away.

    Parameters
    ----------
    host : ViewHost
        Does what a person asks for.
    """

    def __init__(self, host: ViewHost) -> None:
        opens = {"first picture": "first", "second picture": "second"}
        super().__init__(host, opens, uploads=True)

"""The panel that opens another image, and saves the current picture."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import ipywidgets as widgets

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.controls import upload_button
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.parts import FITTING, display, paragraph, row, set_value, status
from vgg_widget.support.messages import megabytes, reason

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase

PICTURES = ("PNG", "SVG", "PDF")


class FilesPanel(Panel):
    """Paths to open; buttons for the picture, the activations and the code."""

    # The label of each path field, and the attribute that it sets.
    _path_fields: ClassVar[dict[str, str]] = {"picture": "image"}
    # An explorer already has an upload button among its controls.
    _uploads = False

    def __init__(self, explorer: ExplorerBase) -> None:
        super().__init__(explorer)
        # A weak reference, since a closed panel must not keep the activations in memory.
        self._shown: weakref.ref[Activations] | None = None
        rows = [self._path_row(words, name) for words, name in self._path_fields.items()]
        self.pictures = [
            self._button(f"save {kind}", partial(self._download, kind)) for kind in PICTURES
        ]
        self.copy = self._button("copy code", self._copy_code)
        self.code = self._button("show code", self._show_code)
        # A bound method would keep the explorer alive.
        self.reset = self._button("reset", lambda: explorer.reset())  # noqa: PLW0108
        self.plan = widgets.HTML()
        self.words = widgets.HTML()
        self.text = widgets.Textarea(
            description="code",
            tooltip="code that makes the same picture",
            layout=widgets.Layout(width="98%", height="160px", display="none"),
            style=FITTING,
        )
        # Read-only, which ipywidgets does not support: a disabled text takes no focus, so the
        # keyboard could neither scroll nor select it.
        self.text.add_class("vgg-code")
        rows[-1].append(self.reset)
        rows.append([*self.pictures, *self._more_buttons(), self.copy, self.code])
        lines = [row(line, align_items="center") for line in rows]
        self.widget = widgets.VBox([*lines, self.plan, self.words, self.text])

    def _more_buttons(self) -> list[widgets.Button]:
        self.arrays = self._button("save arrays (.npz)", self._save_arrays)
        return [self.arrays]

    def _path_row(self, words: str, name: str) -> list[widgets.Widget]:
        path = widgets.Text(
            description=words,
            placeholder="path of an image on the notebook's computer, then Enter",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 300px", max_width="560px"),
            style=FITTING,
        )

        def typed(text: str) -> None:
            if text:
                self._explorer.choose(**{name: text})
                # Emptied, so that the same path can be opened again if the file has changed.
                path.value = ""

        self._explorer.on_change(path, typed)
        upload = [upload_button(self._explorer, f"other {words}", name)] if self._uploads else []
        return [path, *upload]

    def _button(self, words: str, action: Callable[[], object]) -> widgets.Button:
        button = widgets.Button(description=words, layout=widgets.Layout(width="auto"))
        button.on_click(self._explorer.reporting_errors(lambda _: action()))
        return button

    def _download(self, kind: str) -> None:
        self._explorer.download(f".{kind.lower()}")

    def _save_arrays(self) -> None:
        self._show_message(f"Saved as {self._explorer.save_arrays()}.")
        self._show_plan()

    def _show_plan(self) -> None:
        """Show where "save arrays" would write, and how much."""
        try:
            path = self._explorer.arrays_path()
        except OSError as error:
            plan = f"Arrays cannot be saved: {reason(error)}."
        else:
            size = megabytes(self._explorer.measured.nbytes)
            plan = f"Arrays would be saved as {path.name}, about {size}, in {path.parent}."
        set_value(self.plan, paragraph(plan))
        set_value(self.arrays, plan, "tooltip")

    def _copy_code(self) -> None:
        def copied(ok: bool) -> None:
            if ok:
                self._show_message("The code is copied.")
            else:
                self._show_message("The browser did not let the code be copied: select it below.")
                self._set_code(self._explorer.to_code())

        self._explorer.copy_code(copied)

    def _show_message(self, words: str) -> None:
        self.words.value = status(words)

    def _show_code(self) -> None:
        folded = self.text.layout.display == "none"
        self._set_code(self._explorer.to_code() if folded else "")

    def _set_code(self, code: str) -> None:
        self.text.value = code
        display(self.text, shown=bool(code))

    def show(self) -> None:
        """Update the panel to the current state."""
        measured = self._explorer.measured
        if self._shown is None or self._shown() is not measured:
            # The last message was about another image.
            self._shown = weakref.ref(measured)
            self._show_message("")
        self._show_plan()
        # The displayed code may belong to another picture.
        self._set_code("")


class PairFilesPanel(FilesPanel):
    """The files panel of a comparison, which opens two images and saves no arrays."""

    _path_fields: ClassVar[dict[str, str]] = {"first picture": "first", "second picture": "second"}
    _uploads = True

    def _more_buttons(self) -> list[widgets.Button]:
        return []

    def _show_plan(self) -> None:
        pass

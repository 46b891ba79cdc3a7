"""The panel that opens another picture, and takes away what is on show."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets

from vgg_widget.controls import display
from vgg_widget.host import Host
from vgg_widget.scene import Scene

PICTURES = ("PNG", "SVG", "PDF")


class FilesPanel:
    """A path to open; buttons for the picture, the activations and the code."""

    title = "Open & save"

    def __init__(self, host: Host) -> None:
        self._host = host
        self.path = widgets.Text(
            description="picture",
            placeholder="path of a picture on the notebook's machine, then Enter",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 300px", max_width="560px"),
            style={"description_width": "max-content"},
        )
        self.path.observe(self._typed, "value")
        self.pictures = [self._button(f"save {kind}", self._download(kind)) for kind in PICTURES]
        self.arrays = self._button("save arrays (.npz)", self._save_arrays)
        self.copy = self._button("copy code", lambda: host.copy(host.to_code()))
        self.code = self._button("show code", self._show_code)
        self.reset = self._button("reset", host.reset)
        self.words = widgets.HTML()
        self.text = widgets.Textarea(
            disabled=True, layout=widgets.Layout(width="98%", height="160px", display="none")
        )
        self.text.tooltip = "code that makes the same picture"
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.path, self.reset], layout=row),
                widgets.HBox([*self.pictures, self.arrays, self.copy, self.code], layout=row),
                self.words,
                self.text,
            ]
        )

    def _button(self, words: str, action: Any) -> widgets.Button:
        button = widgets.Button(description=words, layout=widgets.Layout(width="auto"))
        button.on_click(lambda _: self._host.do(action))
        return button

    def _download(self, kind: str) -> Any:
        return lambda: self._host.download(f".{kind.lower()}")

    def _save_arrays(self) -> None:
        self.words.value = f"Saved as {html.escape(str(self._host.save_arrays()))}."

    def _show_code(self) -> None:
        if self.text.value:
            self._fold()
        else:
            self.text.value = self._host.to_code()
            display(self.text, shown=True)

    def _fold(self) -> None:
        self.text.value = ""
        display(self.text, shown=False)

    def _typed(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self._host.tell(image=change["new"])

    def show(self, _: Scene) -> None:
        """Bring the panel to what is on show."""
        # The code is of one picture, and this may be another.
        self._fold()

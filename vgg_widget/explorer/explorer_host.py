"""An explorer of one image, as its panels see it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_widget.explorer.explorer_actions import ExplorerActions
from vgg_widget.explorer.linked_host import LinkedHost
from vgg_widget.support.interrupts import Undertakings

if TYPE_CHECKING:
    # It brings anywidget along, which only what is displayed needs.
    from vgg_widget.explorer.page import Page


class ExplorerHost(LinkedHost):
    """What `Host` promises, for one explorer; see `LinkedHost`."""

    def __init__(
        self,
        explorer: ExplorerActions,
        page: Page,
        refresh: Callable[[], None],
        undertakings: Undertakings,
    ) -> None:
        super().__init__(explorer, page, refresh, undertakings)
        self._one = explorer

    def play(self) -> None:
        """Unfold the panel that plays, and start it, or stop it."""
        if self._one.panel != "Play":
            self.tell(panel="Play")
        self.board.play()

    def save_arrays(self) -> Path:
        """Write the activations beside the notebook, and return where."""
        first = Path.cwd() / self._one.file_name(".npz")
        later = (first.with_stem(f"{first.stem}-{number}") for number in count(2))
        # What a person saved before, under the same picture's name, is theirs.
        path = next(path for path in chain([first], later) if not path.exists())
        self._one.save(path)
        return path

    def look_at(self, path: str, location: tuple[int, int] | None) -> None:
        """Make a file the image, and mark a unit of the layer on show, if one is given."""

        def look() -> None:
            self._one.image = path
            if location is not None:
                self._one.location = location

        self.do(look)

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        """Hand the page a GIF that runs through the channels or the layers."""
        data = self._one.to_gif(over, seconds, progress=progress)
        self._page.download(f"{self._one.file_name(f'-{over}')}.gif", data)

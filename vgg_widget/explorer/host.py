"""What controls and panels may ask of the explorer that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ipywidgets as widgets

from vgg_widget.explorer.scene import Scene


class Guarding(Protocol):
    """What shows errors to a person."""

    def guard(self, action: Callable[[], object]) -> None:
        """Run what nobody asked for, such as what follows a mouse; an error is shown."""

    def do(self, action: Callable[[], object]) -> None:
        """Run something a person asked for; an error is shown, and an earlier one taken away."""


class ViewHost(Guarding, Protocol):
    """An explorer or a comparison, as its controls and panels see it."""

    def tell(self, **changes: Any) -> None:
        """Set traits in one go; an error is shown under the controls, and nothing is lost."""

    def do(self, action: Callable[[], object]) -> None:
        """Run something a person asked for; an error is shown under the controls.

        What was shown of an earlier one is taken away.
        """

    def guard(self, action: Callable[[], object]) -> None:
        """Run what nobody asked for, such as what follows a mouse; errors are shown as by `do`.

        What is shown of an earlier one stays, since it may be read just now.
        """

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show one channel, and remember what was on show before."""

    def back(self) -> None:
        """Show what was on show before the last `open_channel`; nothing where there is none."""

    def to_code(self) -> str:
        """Return Python text that makes the picture on show."""

    def copy(self, text: str, then: Callable[[bool], object] | None = None) -> None:
        """Put text on the clipboard of the page.

        `then` is called with whether the browser allowed it; without it, a refusal is shown under
        the controls.
        """

    def download(self, suffix: str) -> None:
        """Hand the picture on show to the page as a file to keep."""

    def play(self) -> None:
        """Start playing, or stop; nothing where there is nothing that plays."""

    def reset(self) -> None:
        """Show what was on show at first."""


def heard(host: Guarding, callback: Callable[..., object]) -> Callable[..., None]:
    """Return a callback for a widget, whose errors are shown under the controls.

    ipywidgets would write them to a log that nobody has open.

    Parameters
    ----------
    host : Guarding
        Shows them.
    callback : callable
        Gets what the widget gives.
    """

    def told(*given: object) -> None:
        host.guard(lambda: callback(*given))

    return told


class Host(ViewHost, Protocol):
    """An explorer of one image, as its panels see it."""

    def save_arrays(self) -> Path:
        """Write the activations beside the notebook, and return where."""

    def look_at(self, path: str, location: tuple[int, int] | None) -> None:
        """Make a file the image, and mark a unit of the layer on show, if one is given."""

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        """Hand the page a GIF that runs through the channels or the layers."""


@runtime_checkable
class Playing(Protocol):
    """A panel that does something by itself, and is to stop when it is folded."""

    def toggle(self) -> None:
        """Start, or stop."""

    def pause(self) -> None:
        """Stop."""


class Panel(Protocol):
    """Something that unfolds under the picture."""

    title: str
    """The word on the button that unfolds it."""
    widget: widgets.Widget

    def show(self, scene: Scene) -> None:
        """Bring the panel to what is on show; called only while it is open."""

"""`Host`: what a panel may ask of the explorer that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Host(Protocol):
    """The explorer, as a panel sees it."""

    def tell(self, **changes: Any) -> None:
        """Set traits, all in one go; an error is shown, and nothing is lost."""
        ...

    def do(self, action: Callable[[], object]) -> None:
        """Run something; an error is shown, and nothing is lost."""
        ...

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        """Hand the page a GIF of all channels of the layer, or of all layers, as they are shown.

        Parameters
        ----------
        over : {"channels", "layers"}
            What changes from frame to frame.
        seconds : float
            That each frame is shown.
        progress : callable
            Called with how many frames are drawn, and how many there are.
        """
        ...

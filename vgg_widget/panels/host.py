"""`Host`: what a panel may ask of the explorer that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Host(Protocol):
    """The explorer, as a panel sees it."""

    @property
    def can_go_back(self) -> bool:
        """Whether a channel was left by `open_channel`."""
        ...

    def tell(self, **changes: Any) -> None:
        """Set traits, all in one go; an error is shown, and nothing is lost."""
        ...

    def do(self, action: Callable[[], object]) -> None:
        """Run something; an error is shown, and nothing is lost."""
        ...

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show a channel, and remember the one that was on show."""
        ...

    def back(self) -> None:
        """Show the channel that was left last."""
        ...
    """An explorer, as its panels see it."""

    def tell(self, **changes: Any) -> None:
        """Set traits, all in one go; an error is shown under the controls."""

    def do(self, action: Callable[[], object]) -> None:
        """Run something; an error is shown under the controls."""

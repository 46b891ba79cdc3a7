"""`Host`: what a panel may ask of the explorer that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Host(Protocol):
    """An explorer, as its panels see it."""

    def tell(self, **changes: Any) -> None:
        """Set traits, all in one go; an error is shown under the controls."""

    def do(self, action: Callable[[], object]) -> None:
        """Run something; an error is shown under the controls."""

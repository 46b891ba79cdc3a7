"""An explorer's host for tests of one panel: notes what it is asked, and does none of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class StandIn:
    """What a panel sees of an explorer."""

    def __init__(self) -> None:
        self.can_copy = True
        self.asked: list[Any] = []
        self.errors: list[str] = []

    def tell(self, **changes: Any) -> None:
        self.asked.append(changes)

    def do(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self.errors.append(str(error))

    guard = do

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        self.asked.append((layer, channel))

    def back(self) -> None:
        self.asked.append("back")

    def play(self) -> None:
        self.asked.append("play")

    def reset(self) -> None:
        self.asked.append("reset")

    def to_code(self) -> str:
        return "print('the code')"

    def copy(self, text: str, then: Callable[[bool], object] | None = None) -> None:
        self.asked.append(("copy", text))
        if then is not None:
            then(self.can_copy)

    def download(self, suffix: str) -> None:
        self.asked.append(("download", suffix))

    def look_at(self, path: str, location: tuple[int, int] | None) -> None:
        self.asked.append(("look at", path, location))

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        self.asked.append(("animation", over, seconds))
        progress(1, 1)

    def save_arrays(self) -> Path:
        self.asked.append("save arrays")
        return Path("<here>.npz")

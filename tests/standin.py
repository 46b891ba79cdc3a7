"""A stub of the explorer for tests of one panel: shows a scene, and records requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgg_widget import Activations, FeatureExtractor
from vgg_widget.circuit.inputs import Circuit, circuit
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.pictures.modes import Rendering


@dataclass(frozen=True)
class Scene:
    """The settings, activations and picture that an explorer shows."""

    settings: DisplaySettings
    activations: Activations
    rendering: Rendering
    extractor: FeatureExtractor
    theme: str = "auto"
    top_images: Any = None


class StandIn:
    """The part of an explorer that panels use; `asked` records what they request."""

    def __init__(self) -> None:
        self.can_copy = True
        self.asked: list[Any] = []
        self.errors: list[str] = []
        self.showing = False

    def shows(self, scene: Scene) -> Any:
        self.__dict__.update(vars(scene), measured=scene.activations)
        self.scene = scene

    def reporting_errors(self, callback: Callable[..., object], **_: bool) -> Callable[..., None]:
        def reported(*given: object) -> None:
            try:
                callback(*given)
            except Exception as error:
                self.errors.append(str(error))

        return reported

    def on_typed(self, callback: Callable[[Any], object], *fields: Any) -> None:
        for field in fields:
            self.on_change(field, callback)

    def on_change(self, control: Any, callback: Callable[[Any], object]) -> None:
        report = self.reporting_errors(callback)
        control.observe(lambda change: self.showing or report(change["new"]), "value")

    @contextmanager
    def showing_controls(self) -> Iterator[None]:
        before, self.showing = self.showing, True
        yield
        self.showing = before

    def choose(self, **changes: Any) -> None:
        self.asked.append(changes)

    @staticmethod
    def show_typed(field: Any, value: object) -> None:
        field.value = value

    def distribution(self) -> tuple[str, Rendering]:
        return "how active they are", self.scene.rendering

    def choose_with(self, control: Any, name: str) -> None:
        self.on_change(control, lambda value: self.choose(**{name: value}))

    def circuit(self, k: int) -> Circuit:
        of, settings = self.scene, self.scene.settings
        where = settings.layer, settings.channel
        return circuit(of.extractor, of.activations, *where, k, location=settings.location)

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        self.asked.append((layer, channel))

    def back(self) -> None:
        self.asked.append("back")

    def reset(self) -> None:
        self.asked.append("reset")

    def to_code(self) -> str:
        return "print('the code')"

    def copy_code(self, then: Callable[[bool], object]) -> None:
        self.asked.append(("copy", self.to_code()))
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

    def arrays_path(self) -> Path:
        return Path("/notebooks/<here>.npz")

    def save_arrays(self) -> Path:
        self.asked.append("save arrays")
        return Path("<here>.npz")


def show(panel: Panel, scene: Scene) -> None:
    """Make a panel show a new scene of its explorer, as the panel switcher does."""
    explorer: StandIn = panel._explorer
    explorer.shows(scene)
    with explorer.showing_controls():
        report = explorer.reporting_errors(panel.show)
        report()

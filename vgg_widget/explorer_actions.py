"""What an explorer can be asked to do, beside what its traits say."""

from __future__ import annotations

import io
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgg_widget.animation import (
    DEFAULT_SECONDS,
    FigureFrames,
    Progress,
    frames,
    save_gif,
    write_gif,
)
from vgg_widget.captions import source_line
from vgg_widget.circuit import Circuit, circuit
from vgg_widget.explorer_traits import CHOICES, ExplorerTraits
from vgg_widget.files import written_whole
from vgg_widget.fitting import placed
from vgg_widget.images import ImageReading
from vgg_widget.network import FeatureExtractor
from vgg_widget.scene import Choice
from vgg_widget.state import script, write_state

if TYPE_CHECKING:
    from vgg_widget.figure import FeatureFigure

# Further back than anybody remembers.
_STEPS_BACK = 100


class ExplorerActions(ExplorerTraits):
    """Jumps, and what can be taken away."""

    remembered_panel = ""
    """The panel that a person opened last, which the next explorer opens with."""

    # Made by the explorer's constructor.
    _lock: threading.RLock
    _extractor: FeatureExtractor
    _reading: ImageReading
    _view: FeatureFigure
    _first: Choice
    _history: list[Choice]

    def _choice(self) -> Choice:
        return Choice(**{name: getattr(self, name) for name in CHOICES})

    def _choose(self, **changes: Any) -> None:
        """Set traits in one go, which is one picture."""
        with self.hold_trait_notifications():
            for name, value in changes.items():
                setattr(self, name, value)

    def _restore(self, choice: Choice) -> None:
        """Show what was on show before, to which nothing is fitted any more."""
        raise NotImplementedError

    # --- jumps

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show one channel, of this layer or of another one; `back` returns.

        Parameters
        ----------
        channel : int
            Its number.
        layer : str, optional
            Keras's or torchvision's name; by default the layer on show.

        Raises
        ------
        TraitError
            If there is no such layer or channel.
        """
        with self._lock:
            before = self._choice()
            # Whoever is told of the channel is told of the way back too.
            self._history.append(before)
            try:
                self._choose(layer=layer or self.layer, channel=channel, mode="channel")
            finally:
                if self._choice() == before:
                    self._history.remove(before)
                del self._history[:-_STEPS_BACK]

    def back(self) -> None:
        """Show what was on show before the last `open_channel`; nothing where there is none."""
        with self._lock:
            if self._history:
                last, now = self._history.pop(), self._choice()
                names = ("layer", "channel", "channels", "mode", "before_relu", "cmap")
                choice = replace(now, **{name: getattr(last, name) for name in names})
                self._restore(placed(choice, now, self.activations))

    @property
    def can_go_back(self) -> bool:
        """Whether `back` has something to go back to."""
        return bool(self._history)

    def reset(self) -> None:
        """Show the whole of what was on show at first, of the image that is on show now."""
        with self._lock:
            self._restore(placed(self._first, None, self.activations))
            self._history.clear()
            self._view.home()

    def circuit(self, k: int = 6) -> Circuit:
        """Return the input channels that the channel on show is mostly made of.

        Parameters
        ----------
        k : int
            How many at most, those with the largest kernels first.

        Returns
        -------
        Circuit
            See `vgg_widget.circuit.circuit`; with a `location`, also what each adds there.

        Raises
        ------
        ValueError
            If the layer reads its input through no kernel that can be shown.
        """
        return circuit(
            self._extractor, self.activations, self.layer, self.channel, k, location=self.location
        )

    # --- to take away

    def state(self) -> dict[str, Any]:
        """Return a JSON-able dict from which `from_state` makes the same explorer.

        Returns
        -------
        dict
            The traits, the size and the weights as a name or path; not the image.
        """
        looks = {"layer_names": self.layer_names, "theme": self.theme, "panel": self.panel}
        return write_state(self._choice(), looks, self._extractor)

    def to_code(self) -> str:
        """Return Python text that makes the same picture without a widget.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which has no text.
        """
        return script(self._reading, self.activations, self._extractor.to_code(), self._choice())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture (``.png``, ``.svg``, ``.pdf``) or the activations (``.npz``).

        Parameters
        ----------
        path : str or Path
            Replaced as a whole.

        Raises
        ------
        ValueError
            If the suffix is none of these.
        OSError
            If the folder is missing or cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".npz":
            self.activations.save(path)
            return
        kind = checked_suffix(suffix, os.fspath(path))
        with self._lock, written_whole(path) as draft:
            self._require_open()
            self._view.save(draft, kind, self._source())

    def save_animation(
        self,
        path: str | os.PathLike[str],
        over: str = "channels",
        seconds: float = DEFAULT_SECONDS,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Write an animated GIF of a walk through the channels of this layer, or the layers.

        Parameters
        ----------
        path : str or Path
            Ends in ``.gif``; replaced as a whole.
        over : {"channels", "layers"}
            What changes from frame to frame. Of channels each is shown alone.
        seconds : float
            That each frame is shown, from 0.02.
        progress : callable, optional
            Called with the number of frames drawn, and of all, after each.

        Raises
        ------
        ValueError
            If an argument is wrong, or the mode shows several channels at once and channels are
            to be gone through.
        OSError
            If the folder is missing or cannot be written.
        """
        self._require_open()
        save_gif(path, self._walk(over), seconds, progress=progress)

    def to_gif(
        self,
        over: str = "channels",
        seconds: float = DEFAULT_SECONDS,
        *,
        progress: Progress | None = None,
    ) -> bytes:
        """Return the bytes of what `save_animation` writes."""
        self._require_open()
        with io.BytesIO() as stream:
            write_gif(stream, self._walk(over), seconds, progress=progress)
            return stream.getvalue()

    def _walk(self, over: str) -> FigureFrames:
        choice = self._choice()
        asked = {"channel": choice.channel, "channels": choice.channels, **choice.as_render()}
        if over == "channels":
            layer = choice.layer_in(self.activations)
            return FigureFrames(frames(self.activations, over, layer=layer, **_alone(asked)))
        # A location belongs to one layer, and another one's grid has no such place.
        if asked.pop("location", None) is not None:
            asked["order"] = "index"
        layers = [
            replace(choice, layer=name).layer_in(self.activations) for name in self.activations
        ]
        return FigureFrames(frames(self.activations, over, layers=layers, **asked))

    def to_bytes(self, suffix: str = ".png") -> bytes:
        """Return the picture as the bytes of a file.

        Parameters
        ----------
        suffix : str
            ``".png"``, ``".svg"`` or ``".pdf"``.
        """
        with self._lock, io.BytesIO() as stream:
            self._require_open()
            self._view.save(stream, checked_suffix(suffix), self._source())
            return stream.getvalue()

    def file_name(self, suffix: str) -> str:
        """Return a name for a file of what is on show, such as ``block3_conv1-max.png``."""
        layer = re.sub(r"[^\w.]+", "_", self.layer)
        what = (
            f"channel{self.channel}" if self.mode == "channel" else re.sub(r"\W+", "_", self.mode)
        )
        return f"{layer}-{what}{suffix}"

    def _source(self) -> str:
        assert self.rendering is not None
        return source_line(self.activations, self.rendering)


def _alone(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what `frames` needs to go through all channels, of what `render` is given."""
    return {name: value for name, value in asked.items() if name not in ("channel", "channels")}


def checked_suffix(suffix: str, path: str = "") -> str:
    """Return what matplotlib calls the kind of file that a suffix stands for."""
    if suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(
            f"path {path or suffix!r} ends in {suffix!r}: choose .png, .svg or .pdf for the "
            "picture, or .npz for the activations."
        )
    return suffix[1:]

"""What an explorer of one image can be asked to do, beside what its traits say."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from traitlets import Instance, observe, validate

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import Circuit, circuit
from vgg_widget.explorer.explorer_traits import LOOKS
from vgg_widget.explorer.linked_view import LinkedView
from vgg_widget.explorer.panels import SET_PANELS
from vgg_widget.explorer.scene import Scene
from vgg_widget.explorer.state import script, write_state
from vgg_widget.explorer.trait_types import ImageSetResult
from vgg_widget.figure.animation import (
    DEFAULT_SECONDS,
    FigureFrames,
    Progress,
    frames,
    save_gif,
    write_gif,
)
from vgg_widget.pictures.modes import Rendering


class ExplorerActions(LinkedView):
    """What can be asked about one image's activations, and what can be taken away of them."""

    _kept = "its activations and its state()"
    activations = Instance(Activations, read_only=True, help="All feature maps of the image.")
    rendering = Instance(Rendering, read_only=True, allow_none=True, help="The picture on show.")
    top = ImageSetResult(
        help="Strongest images of a set, of which a panel shows those of the channel; or None.",
    )

    # How many classes are predicted, where any are.
    _classes: int | None = None
    _also_saved = ", or .npz for the activations"

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

    # --- the strongest images of a set

    @validate("top")
    def _valid_top(self, proposal: dict[str, Any]) -> Any:
        if self._whole is not None:
            self._require_open()
        return proposal["value"]

    @observe("top")
    def _top_given(self, change: dict[str, Any]) -> None:
        with self._at_work():
            if self._whole is None or self._closed:
                return
            if self.top is None and self.panel in SET_PANELS:
                self.panel = ""
            elif change["old"] is None and not self.panel:
                (self.panel,) = SET_PANELS
            self._unfold()

    def _panel_titles(self) -> tuple[str, ...]:
        more = () if self.top is None else tuple(SET_PANELS)
        return (*super()._panel_titles(), *more)

    def _first_panel(self) -> str:
        (own,) = SET_PANELS
        return super()._first_panel() or ("" if self.top is None else own)

    def _unfold(self) -> None:
        if self.top is None:
            self._board.withdraw(SET_PANELS)
        else:
            self._board.offer(SET_PANELS)
        super()._unfold()

    def _scene(self) -> Scene:
        return replace(super()._scene(), top=self.top)

    # --- to take away

    def state(self) -> dict[str, Any]:
        """Return a JSON-able dict from which `from_state` makes the same explorer.

        Returns
        -------
        dict
            The traits, the size and the weights as a name or path; not the image, and not `top`.
        """
        with self._lock:
            looks: dict[str, Any] = {name: getattr(self, name) for name in LOOKS}
            if self.panel in SET_PANELS:
                # It opens by itself where there is a set, which no state holds.
                del looks["panel"]
            if self._classes is not None:
                looks["top"] = self._classes
            return write_state(self._choice(), looks, self._usual_cmap, self._extractor)

    def to_code(self) -> str:
        """Return Python text that makes the same picture without a widget.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which has no text.
        """
        return script(
            self._readings[0], self.activations, self._extractor.to_code(), self._choice()
        )

    def file_name(self, suffix: str) -> str:
        """Return a name for a file of what is on show, or of the whole picture's activations.

        Parameters
        ----------
        suffix : str
            ``".npz"`` for the activations, such as ``cat-activations.npz``.
        """
        if suffix != ".npz":
            return super().file_name(suffix)
        origin = self._readings[0].origin
        return "activations.npz" if origin is None else f"{Path(origin).stem}-activations.npz"

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
        if Path(path).suffix.lower() == ".npz":
            self.activations.save(path)
        else:
            super().save(path)

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
        asked = choice.as_render()
        if over == "channels":
            # All of them, whichever is on show.
            for name in ("channel", "channels"):
                asked.pop(name, None)
            layer = choice.layer_in(self.activations)
            return FigureFrames(frames(self.activations, over, layer=layer, **asked))
        # A location belongs to one layer, and another one's grid has no such place.
        if asked.pop("location", None) is not None:
            asked["order"] = "index"
        layers = [
            replace(choice, layer=name).layer_in(self.activations) for name in self.activations
        ]
        return FigureFrames(frames(self.activations, over, layers=layers, **asked))

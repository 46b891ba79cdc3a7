"""What explorers and comparisons can be asked to do, beside what their traits say."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vgg_widget.explorer.explorer_traits import CHOICES, LOOKS, ExplorerTraits
from vgg_widget.explorer.fitting import named_alike, placed
from vgg_widget.explorer.linked_changes import LOCK, followers_wait, is_behind
from vgg_widget.explorer.scene import Choice
from vgg_widget.explorer.trait_types import as_trait_error, check_assignable
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.support.files import written_whole
from vgg_widget.support.interrupts import Undertakings

if TYPE_CHECKING:
    from vgg_widget.figure.linked_figure import LinkedFigure

# What is held back together, and told of together.
_TOGETHER = frozenset((*CHOICES, *LOOKS))

MADE_WITH = ("extractor", "model", "preprocess", "weights", "size")
"""What a constructor takes for good."""

# Further back than anybody remembers.
_STEPS_BACK = 100


class LinkedActions(ExplorerTraits):
    """Jumps, and what can be taken away."""

    remembered_panel = ""
    """The panel that a person opened last, which the next one opens with."""

    # Arguments of a subclass's own constructor.
    _more_arguments: tuple[str, ...] = ()

    _lock: ClassVar[threading.RLock] = LOCK

    # Made by the constructor.
    _undertakings: Undertakings
    _extractor: FeatureExtractor
    _view: LinkedFigure
    _first: Choice
    _history: list[Choice]

    def __setattr__(self, name: str, value: object) -> None:
        # Cells and callbacks run on different threads in some kernels: while one holds back
        # notifications, an assignment of another's would be told of to nobody.
        if name in _TOGETHER:
            with self._at_work(), followers_wait(self):
                super().__setattr__(name, value)
            return
        # What begins with an underscore is ipywidgets' own, or ours.
        if not name.startswith("_"):
            made_with = (*MADE_WITH, *self._more_arguments)
            check_assignable(self, name, value, made_with, (self._what, self._instead))
        super().__setattr__(name, value)

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Tell of changes at the end, as traitlets does; other threads and followers wait."""
        with self._at_work(), followers_wait(self), super().hold_trait_notifications():
            yield

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Let other threads wait; what an interrupt leaves half done is settled at the end."""
        if "_undertakings" not in self.__dict__:
            # The constructor has not come so far.
            yield
            return
        with self._lock, self._undertakings.begun():
            yield

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
        with self._at_work():
            before = self._choice()
            # Whoever is told of the channel is told of the way back too.
            self._history.append(before)
            try:
                named = self.layer
                if layer is not None:
                    named = as_trait_error(named_alike, layer, before, self._measured)
                self._choose(layer=named, channel=channel, mode="channel")
            finally:
                if self._choice() == before:
                    self._history = [one for one in self._history if one is not before]
                del self._history[:-_STEPS_BACK]

    def back(self) -> None:
        """Show what was on show before the last `open_channel`; nothing where there is none."""
        with self._at_work():
            self._require_open()
            if self._history:
                last, now = self._history[-1], self._choice()
                names = ("layer", "channel", "channels", "mode", "before_relu", "cmap")
                choice = replace(now, **{name: getattr(last, name) for name in names})
                there = placed(replace(last, layer=now.layer), last, self._measured)
                if now.location == there.location:
                    # What the jump made of it; a deeper layer knows places less exactly.
                    choice = replace(choice, location=last.location)
                    now = choice
                self._restore(placed(choice, now, self._measured))
                self._history.pop()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def can_go_back(self) -> bool:
        """Whether `back` has something to go back to."""
        return bool(self._history)

    def reset(self) -> None:
        """Show what was on show at first, and the whole of it, of what is looked at now."""
        with self._at_work():
            self._require_open()
            self._restore(placed(self._first, None, self._measured))
            self._history.clear()
            self._view.home()

    # --- to take away

    def to_code(self) -> str:
        """Return Python text that makes the same picture without a widget."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as ``.png``, ``.svg`` or ``.pdf``.

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
        kind = self._checked_suffix(Path(path).suffix.lower(), os.fspath(path))
        with self._lock, written_whole(path) as draft:
            self._require_drawn()
            self._view.save(draft, kind, self._source())

    def to_bytes(self, suffix: str = ".png") -> bytes:
        """Return the picture as the bytes of a file.

        Parameters
        ----------
        suffix : str
            ``".png"``, ``".svg"`` or ``".pdf"``.
        """
        with self._lock:
            self._require_drawn()
            return self._bytes(suffix)

    def _bytes(self, suffix: str) -> bytes:
        with io.BytesIO() as stream:
            self._view.save(stream, self._checked_suffix(suffix), self._source())
            return stream.getvalue()

    def _require_drawn(self) -> None:
        self._require_open()
        if is_behind(self):
            raise RuntimeError(
                f"{self._what} waits for another one to tell of all its changes, and what was set "
                "here is not drawn yet: save it afterwards, or when its rendering changes."
            )

    def file_name(self, suffix: str) -> str:
        """Return a name for a file of what is on show, such as ``block3_conv1-max.png``."""
        layer = re.sub(r"[^\w.]+", "_", self.layer)
        what = (
            f"channel{self.channel}" if self.mode == "channel" else re.sub(r"\W+", "_", self.mode)
        )
        return f"{layer}-{what}{suffix}"

    # What a path may also end in, and what is saved then.
    _also_saved = ""

    def _checked_suffix(self, suffix: str, path: str = "") -> str:
        """Return what matplotlib calls the kind of file that a suffix stands for."""
        if suffix not in (".png", ".svg", ".pdf"):
            ending = f"ends in {suffix!r}" if suffix else "has no suffix"
            raise ValueError(
                f"path {path or suffix!r} {ending}: choose .png, .svg or .pdf for the "
                f"picture{self._also_saved}."
            )
        return suffix[1:]

    def _source(self) -> str:
        """Say where the picture's numbers come from."""
        raise NotImplementedError

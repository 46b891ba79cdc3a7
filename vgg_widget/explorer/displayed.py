"""`Displayed`: how an explorer comes into a notebook, and is taken away again."""

from __future__ import annotations

import base64
import inspect
import threading
from typing import Any, ClassVar, NoReturn
from weakref import WeakSet

import ipywidgets as widgets

from vgg_widget.explorer.linked_actions import LinkedActions
from vgg_widget.explorer.trait_types import widgets_of
from vgg_widget.support.interrupts import interrupts_wait

# The parts of an explorer that refer to it.
_PARTS = (
    "_undertakings",
    "_host",
    "_controls",
    "_board",
    "_pointing",
    "_gestures",
    "_page",
    "_canvas",
)


def _nothing(*_: object) -> None:
    """Do nothing, in the place of what an explorer did before it was closed."""


class NotCopied:
    """What is neither pickled nor copied: a widget is one with its page, and with its kernel."""

    # The words for what of it can be.
    _kept: ClassVar[str]

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied, since it belongs to a page: "
            f"take {self._kept} instead."
        )

    def __copy__(self) -> NoReturn:
        self.__reduce__()

    def __deepcopy__(self, _: object) -> NoReturn:
        self.__reduce__()


class Displayed(NotCopied, LinkedActions, widgets.VBox):  # type: ignore[misc]
    """A box that knows how it is shown, also where no kernel is, and which of its kind are open."""

    # What stands until the constructor has come so far.
    _canvas: Any = None
    _board: Any = None
    _page: Any = None

    _open: ClassVar[WeakSet[Displayed]] = WeakSet()
    # Explorers may be made on several threads.
    _open_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        # Python, and with it Shift+Tab in a notebook, finds that of traitlets' `__new__`, which
        # takes anything.
        own = inspect.signature(cls.__init__)
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])

    def _note_open(self) -> None:
        self._closed = False
        with self._open_lock:
            self._open.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.layer}, {self.mode}"
        return f"<{type(self).__name__}: {state}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self._closed:
            return {"text/plain": self._closed_words}
        # A saved notebook shows this where no kernel is: on GitHub, nbviewer and in nbconvert.
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        with self._lock:
            png = self._bytes(".png")
            self._canvas.remember(png)
            bundle["image/png"] = base64.b64encode(png).decode()
        # In Colab anywidget turns on the manager of widgets that are not ipywidgets' own, and says
        # where that is; Colab says so itself only for what is shown by `display`.
        helper: Any = self._page._repr_mimebundle_()
        return (bundle, helper[1]) if helper[1] else bundle

    def close(self) -> None:
        """Take it off the page and free its widgets and figure; closing twice does no harm.

        Its activations are freed with the last variable that holds it or them.
        """
        if self._closed:
            return
        with self._lock, interrupts_wait():
            self._closed = True
            # ipywidgets closes no children, layouts or styles, and keeps what is not closed.
            panels = [] if self._board is None else self._board.made()
            for widget in widgets_of(self, self._canvas, self._page, *panels):
                if widget is not self:
                    widget.close()
            if self._canvas is not None:
                self._canvas.manager = None
                self._canvas.figure.clear()
            super().close()
            # ipywidgets lets nobody ask a closed widget how it is shown.
            del self._repr_mimebundle_
            with self._open_lock:
                self._open.discard(self)
            self._let_go()

    def _let_go(self) -> None:
        """Drop the parts that refer to the explorer, so that its last variable frees it.

        Otherwise it would stay, with all of its maps, until Python next looks for cycles.
        """
        self.set_trait("children", ())
        if self._page is not None:
            self._page.unobserve_all()
        if self._board is not None:
            self._board.forget()
        for part in (getattr(self, name, None) for name in _PARTS):
            for name, value in list(getattr(part, "__dict__", {}).items()):
                if value is self:
                    setattr(part, name, None)
                elif getattr(value, "__self__", None) is self:
                    # A message of the page may be on its way.
                    setattr(part, name, _nothing)

    @classmethod
    def close_all(cls) -> None:
        """Close every explorer and comparison of this kernel, on whichever page it is shown.

        Other widgets stay, unlike with ``close_all`` of ipywidgets' own. An explorer that is not
        closed keeps its activations, 65 MB at 224×224, even if its cell was run again and no
        variable holds it any more.
        """
        with cls._open_lock:
            found = list(cls._open)
        for one in found:
            one.close()

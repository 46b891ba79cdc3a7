"""`ExplorerBox`: what all widgets of this room share, from the lock to the closing."""

from __future__ import annotations

import base64
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NoReturn
from weakref import WeakMethod, proxy

import ipywidgets as widgets
from traitlets import TraitType

from vgg_widget.explorer.errors import ErrorMessage
from vgg_widget.explorer.parts import display, set_value
from vgg_widget.support.interrupts import interrupts_allowed, interrupts_delayed
from vgg_widget.support.messages import briefly, nearest, unknown_choice

# One lock for all: two linked explorers would each hold their own and wait for the other's, where
# a cell changes one of them and the page the other.
LOCK = threading.RLock()

# A link between traits hands over one trait at a time. Half way through a jump, the follower would
# fit its old channel to the new layer, and the link would hand that channel back. So the box that
# leads is noted here, and the boxes that have to catch up after all of its changes.
_leader: list[ExplorerBox] = []
_behind: dict[ExplorerBox, None] = {}


class ExplorerBox(widgets.VBox):  # type: ignore[misc]
    """A box of controls and pictures that shows its errors and cleans up after itself."""

    # What a sentence calls it, how another one is had, and what can be pickled in its place.
    _what: ClassVar[str]
    _instead: ClassVar[str]
    _kept: ClassVar[str]

    _lock: ClassVar[threading.RLock] = LOCK

    # The traits that a person may set while it is open, one thread at a time.
    _settable: ClassVar[frozenset[str]] = frozenset()

    # What stands until the constructor has come so far.
    _closed = True
    _built = False
    # Until it is open it counts as closed; this is for what was open before.
    _ended = False
    _problem: Any = None
    _page: Any = None
    # How many changes and callbacks are under way; whoever counts holds the lock.
    _depth = 0
    # Callbacks of any box's page that are under way; whoever counts holds the lock, which is all
    # boxes' too.
    _answers: ClassVar[int] = 0
    # The fields that hold what could not be followed, until something else is shown.
    _refused: tuple[widgets.Widget, ...] = ()
    showing = False
    """Whether controls are being brought to what is shown, which is nobody's choice."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        # Python, and with it Shift+Tab in a notebook, finds that of traitlets' `__new__`, which
        # takes anything.
        own = inspect.signature(cls.__init__)
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])

    # --- one change at a time

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let other threads, followers and interrupts wait until a change is complete."""
        with self._lock:
            outermost = not self._depth
            self._depth += 1
            try:
                with interrupts_delayed(), self._leading():
                    yield
            except KeyboardInterrupt:
                if outermost:
                    self._after_interrupt()
                raise
            finally:
                self._depth -= 1

    def _after_interrupt(self) -> None:
        with self._lock, interrupts_delayed():
            try:
                self._show_interrupted()
            except Exception as error:
                self.show_error(ErrorMessage.of(error))

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._settable:
            # Cells and callbacks run on different threads in some kernels: while one holds back
            # notifications, an assignment of another's would be told of to nobody.
            with self._changing():
                self._require_open()
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    def set_trait(self, name: str, value: Any) -> None:
        """Set a trait, as traitlets does, also a read-only one; not once the box is closed."""
        if self._ended and name in self._settable:
            self._require_open()
        super().set_trait(name, value)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Tell of changes at the end; an interrupt waits, unlike in `hold_trait_notifications`."""
        with self._changing(), super().hold_trait_notifications():
            yield

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Tell of changes at the end, as traitlets does; other threads and followers wait."""
        with self._holding(), self._interruptible():
            yield

    def _interruptible(self) -> AbstractContextManager[None]:
        # An interrupt amid the building would leave widgets that nobody holds.
        return interrupts_allowed() if self._built else nullcontext()

    def notify_change(self, change: Any) -> None:
        """Tell observers of a change, as traitlets does; theirs can be interrupted."""
        with self._interruptible():
            super().notify_change(change)

    def _show_interrupted(self) -> None:
        """Bring everything to what is on show, and say that an interrupt ended the rest."""

    def _say_interrupted(self, shown: str) -> None:
        self.show_error(
            ErrorMessage(
                f"Interrupted: what is on show is {shown}, as the controls say; ask again, or for "
                "something else."
            )
        )

    @contextmanager
    def _leading(self) -> Iterator[None]:
        """Let linked boxes wait until this one has told of everything that the body changes."""
        if _leader:
            yield
            return
        # Each follower catches up, also where another one fails.
        with ExitStack() as stack:
            _leader.append(self)
            try:
                yield
            finally:
                _leader.clear()
                for follower in reversed(_behind):
                    stack.callback(ExplorerBox._follow, follower)

    def _follow(self) -> None:
        # It may have caught up with another one's changes by now.
        if self._is_behind:
            del _behind[self]
            self._catch_up()

    def _catch_up(self) -> None:
        """Show what another box told of, now that it has told of everything."""

    @property
    def _follows(self) -> bool:
        """Whether another box is telling of changes, of which this one may know only some."""
        return bool(_leader) and _leader[0] is not self

    def _waits(self) -> bool:
        """Tell whether this box changes nothing by itself yet; `_catch_up` is called later."""
        if self._follows:
            _behind[self] = None
        return self._follows

    @property
    def _is_behind(self) -> bool:
        """Whether this box was told of changes that it does not show yet."""
        return self in _behind

    # --- callbacks of the page

    def reporting_errors(
        self, callback: Callable[..., object], *, clear: bool = True, slow: bool = False
    ) -> Callable[..., None]:
        """Return a callback whose errors are shown under the controls.

        ipywidgets would write them to a log that nobody has open. Once the box is closed, the
        callback does nothing.

        Parameters
        ----------
        callback : callable
            Gets what the widget gives.
        clear : bool
            Whether to take an earlier error away first. False for what nobody asked for, such as
            what follows the mouse: the error may be being read.
        slow : bool
            Whether other threads go on meanwhile, since the callback may take seconds.
        """
        # The widget that keeps the callback is not to keep the box.
        report = WeakMethod(self._report)

        def reported(*given: object) -> None:
            call = report()
            if call is not None:
                call(partial(callback, *given), clear, slow)

        return reported

    def _report(self, act: Callable[[], object], clear: bool, slow: bool) -> None:
        with nullcontext() if slow else self._lock:
            if self._closed:
                return
            outermost = slow or not self._depth
            if clear and outermost:
                self.show_error(None)
            self._depth += not slow
            ExplorerBox._answers += not slow
            try:
                act()
                if clear and outermost and self._refused:
                    # No error is told of them any more.
                    self._refused = ()
                    self._refresh_controls()
            except Exception as error:
                with self._lock:
                    message = ErrorMessage.of(error)
                    if outermost:
                        message = self._refreshed(message)
                    self.show_error(message)
            except KeyboardInterrupt:
                # In a cell, it ends the cell; Jupyter would write a callback's to a log.
                if not outermost:
                    raise
                self._after_interrupt()
            finally:
                self._depth -= not slow
                ExplorerBox._answers -= not slow

    @property
    def answers_page(self) -> bool:
        """Whether a page has asked for what is being done, and waits for it."""
        return ExplorerBox._answers > 0

    def on_change(self, control: widgets.Widget, callback: Callable[[Any], object]) -> None:
        """Call back with a control's new value when a person changes it; errors are shown.

        Nothing is called while the box itself brings its controls to what it shows.
        """
        box = proxy(self)

        def changed(change: dict[str, Any]) -> None:
            # The lock is held: on another thread, the showing is over by now.
            if not box.showing:
                callback(change["new"])

        control.observe(self.reporting_errors(changed), "value")

    def on_typed(self, callback: Callable[[Any], object], *fields: widgets.Widget) -> None:
        """Call back with what a person types into a field; errors are shown.

        What cannot be followed stays in all of the `fields`, which belong together, to be
        corrected: see `show_typed`.
        """
        box: Any = proxy(self)

        def typed(value: object) -> None:
            # Forgotten as soon as it is followed: see `_report`.
            box._refused = fields  # noqa: SLF001 - of this class
            callback(value)

        for field in fields:
            self.on_change(field, typed)

    def show_typed(self, field: widgets.Widget, value: object) -> None:
        """Bring a field to what is on show, unless it holds what is to be corrected."""
        if field not in self._refused:
            set_value(field, value)

    @contextmanager
    def showing_controls(self) -> Iterator[None]:
        """Bring controls to what is shown: what happens to them is no person's choice.

        Yields
        ------
        None
        """
        before, self.showing = self.showing, True
        try:
            yield
        finally:
            self.showing = before

    def _refreshed(self, message: ErrorMessage) -> ErrorMessage:
        """Bring the controls back; where that fails too, the message gets the details."""
        try:
            self._refresh_controls()
        except Exception as another:
            # Its traceback tells of the first one too.
            return replace(message, details=ErrorMessage.of(another).details)
        return message

    def _refresh_controls(self) -> None:
        """Bring the controls to what is on show, after an order that could not be followed."""

    def show_error(self, message: ErrorMessage | None) -> None:
        """Show what went wrong, under the controls; None takes it away."""
        words = "" if message is None else message.as_html()
        set_value(self._problem, words)
        display(self._problem, shown=bool(words))

    # --- how it comes into a notebook, and is taken away again

    def _still_picture(self) -> bytes:
        """Return what is on show as PNG, for where no kernel is."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        with self._lock:
            if self._closed:
                return {"text/plain": self._closed_words}
            bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
            # GitHub, nbviewer and nbconvert show the picture.
            bundle["image/png"] = base64.b64encode(self._still_picture()).decode()
            # In Colab anywidget turns on the manager of widgets that are not ipywidgets' own, and
            # says where that is; Colab says so itself only for what is shown by `display`.
            helper: Any = self._page._repr_mimebundle_()
            return (bundle, helper[1]) if helper[1] else bundle

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def _closed_words(self) -> str:
        return f"{self._what} is closed: {self._instead}."

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(self._closed_words)

    def _check_layout(self, layout: dict[str, Any], own: set[str]) -> None:
        """Raise TypeError, naming the nearest argument, if a keyword is no field of a Layout."""
        known = [name for name in widgets.Layout.class_trait_names() if not name.startswith("_")]
        for name in layout:
            if name not in known:
                raise TypeError(unknown_choice("argument", name, [*sorted(own), *sorted(known)]))

    def _close_with(self, *more: widgets.Widget | None) -> None:
        """Close the box, all that it holds, and more widgets that belong to it."""
        # From here on, an interrupt waits for the end.
        self._closed, self._built, self._ended = True, False, True
        # ipywidgets closes no children, layouts or styles, and keeps what is not closed.
        for widget in widgets_of(self, *more):
            if widget is not self:
                widget.close()
        try:
            # Observers of all traits are told, and theirs may fail.
            super().close()
        finally:
            # ipywidgets lets nobody ask a closed widget how it is shown.
            self.__dict__.pop("_repr_mimebundle_", None)

    def __reduce__(self, *_: object) -> NoReturn:
        # A widget is one with its page and its kernel.
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied, since it belongs to a page: "
            f"take {self._kept} instead."
        )

    __copy__ = __deepcopy__ = __reduce__


def widgets_of(*roots: widgets.Widget | None) -> list[widgets.Widget]:
    """Return widgets and all that they hold: children, layouts, styles, toolbar."""
    found: dict[int, widgets.Widget] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, widgets.Widget) and id(item) not in found:
            found[id(item)] = item
            waiting.extend(item.trait_values(sync=True).values())
    return list(found.values())


def check_assignable(
    widget: Any, name: str, value: object, made_with: Iterable[str], words: tuple[str, str]
) -> None:
    """Raise AttributeError where an assignment to a widget's attribute would have no effect.

    `made_with` are the constructor's arguments that hold for good; the words say what the widget
    is called, and how another one is had.
    """
    kind, (what, instead) = type(widget), words
    found = getattr(kind, name, None)
    if isinstance(found, TraitType) or getattr(found, "fset", None) is not None:
        return
    if name in made_with:
        problem = f"is what this {what} was made with, and stays so: {instead} with {name}="
        raise AttributeError(f"{name} {problem}{briefly(value)}.")
    ours = str(getattr(found, "__module__", "")).startswith("vgg_widget.")
    if isinstance(found, property) or ours:
        advice = f"call it, as in {name}(…)" if callable(found) else "set one of its traits instead"
        raise AttributeError(f"{name} of this {what} cannot be set: {advice}.")
    if not hasattr(kind, name):
        near = nearest([*kind.class_traits(), *_settable_properties(kind)], name)
        advice = f"did you mean {near!r}?" if near else f"see {kind.__name__}.class_traits()."
        raise AttributeError(f"{kind.__name__} has no trait {name!r}: {advice}")


def _settable_properties(kind: type) -> list[str]:
    found = {name: value for one in kind.__mro__ for name, value in vars(one).items()}
    return [name for name, value in found.items() if getattr(value, "fset", None) is not None]

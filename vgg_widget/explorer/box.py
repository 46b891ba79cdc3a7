"""`ExplorerBox`: the base of all widgets of this package, from locking to closing."""

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

# One lock for all explorers. With a lock each, two linked explorers could deadlock if a cell
# changes one of them while the page changes the other.
LOCK = threading.RLock()

# A link between traits passes on one trait at a time. Half-way through a jump, the follower would
# fit its old channel to the new layer, and the link would pass that channel back. So
# `_leader` records the box that changes, and `_behind` those that must follow after all changes.
_leader: list[ExplorerBox] = []
_behind: dict[ExplorerBox, None] = {}


class ExplorerBox(widgets.VBox):  # type: ignore[misc]
    """A box of controls and figures that shows its errors and cleans up after itself."""

    # Words for messages: what the box is called, how to get another, and what can be pickled.
    _noun: ClassVar[str]
    _advice: ClassVar[str]
    _picklable: ClassVar[str]

    _lock: ClassVar[threading.RLock] = LOCK

    # The traits that can be set while the box is open, one thread at a time.
    _settable: ClassVar[frozenset[str]] = frozenset()

    # Defaults until the constructor has run.
    _closed = True
    _built = False
    # `_closed` is also true before the box opens; this is true only after `close`.
    _ended = False
    _problem: Any = None
    _page: Any = None
    # The number of changes and callbacks in progress, guarded by the lock.
    _depth = 0
    # The number of page callbacks in progress in any box, guarded by the shared lock.
    _callbacks_in_progress: ClassVar[int] = 0
    # The fields whose input was rejected, until something else is shown.
    _rejected_fields: tuple[widgets.Widget, ...] = ()
    showing = False
    """Whether controls are being updated by the box itself, not by the user."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        # Otherwise Python, and Shift+Tab in a notebook, show the signature of traitlets' `__new__`,
        # which accepts anything.
        own = inspect.signature(cls.__init__)
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])

    # --- one change at a time

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Make other threads, followers and interrupts wait until a change is complete."""
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
                self._recover_from_interrupt()
            except Exception as error:
                self.show_error(ErrorMessage.of(error))

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._settable:
            # Some kernels run cells and callbacks on different threads. While one thread holds
            # notifications back, observers would miss an assignment by another.
            with self._changing():
                self._require_open()
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    def set_trait(self, name: str, value: Any) -> None:
        """Set a trait, even a read-only one, as in traitlets; raises once the box is closed."""
        if self._ended and name in self._settable:
            self._require_open()
        super().set_trait(name, value)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Notify at the end; interrupts wait, unlike in `hold_trait_notifications`."""
        with self._changing(), super().hold_trait_notifications():
            yield

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Notify at the end, as in traitlets; other threads and followers wait."""
        with self._holding(), self._interruptible():
            yield

    def _interruptible(self) -> AbstractContextManager[None]:
        # An interrupt during construction would leave widgets without an owner.
        return interrupts_allowed() if self._built else nullcontext()

    def notify_change(self, change: Any) -> None:
        """Notify observers, as in traitlets; their code can be interrupted."""
        with self._interruptible():
            super().notify_change(change)

    def _recover_from_interrupt(self) -> None:
        """Restore everything to the current state, and report the interrupt."""

    def _report_interrupt(self, shown: str) -> None:
        self.show_error(
            ErrorMessage(
                f"Interrupted: still showing {shown}, as the controls say; try again, or choose "
                "something else."
            )
        )

    @contextmanager
    def _leading(self) -> Iterator[None]:
        """Make linked boxes wait until this one has announced all changes of the body."""
        if _leader:
            yield
            return
        # Every follower catches up, even if another one fails.
        with ExitStack() as stack:
            _leader.append(self)
            try:
                yield
            finally:
                _leader.clear()
                for follower in reversed(_behind):
                    stack.callback(ExplorerBox._update_if_behind, follower)

    def _update_if_behind(self) -> None:
        # It may already have caught up with another box's changes.
        if self._is_behind:
            del _behind[self]
            self._apply_deferred()

    def _apply_deferred(self) -> None:
        """Show the changes announced by another box, now that they are complete."""

    @property
    def _is_following(self) -> bool:
        """Whether another box is announcing changes, which this one may only partly know."""
        return bool(_leader) and _leader[0] is not self

    def _defer_to_leader(self) -> bool:
        """Return whether this box must wait for another one; `_apply_deferred` is called later."""
        if self._is_following:
            _behind[self] = None
        return self._is_following

    @property
    def _is_behind(self) -> bool:
        """Whether this box has been told of changes that it does not show yet."""
        return self in _behind

    # --- callbacks from the page

    def reporting_errors(
        self, callback: Callable[..., object], *, clear: bool = True, slow: bool = False
    ) -> Callable[..., None]:
        """Return a callback whose errors are shown under the controls.

        ipywidgets would write them to a log that the user does not see. Once the box is closed,
        the callback does nothing.

        Parameters
        ----------
        callback : callable
            Receives the widget's arguments.
        clear : bool
            Whether to remove an earlier error first. False for callbacks that the user did not
            trigger on purpose, such as mouse moves: the user may be reading the error.
        slow : bool
            Whether other threads may run meanwhile, because the callback may take seconds.
        """
        # The widget that holds the callback must not keep the box alive.
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
            ExplorerBox._callbacks_in_progress += not slow
            try:
                act()
                if clear and outermost and self._rejected_fields:
                    # The error message for these fields is gone.
                    self._rejected_fields = ()
                    self._refresh_controls()
            except Exception as error:
                with self._lock:
                    message = ErrorMessage.of(error)
                    if outermost:
                        message = self._restore_after_error(message)
                    self.show_error(message)
            except KeyboardInterrupt:
                # In a cell it ends the cell. Jupyter would write a callback's interrupt to a log.
                if not outermost:
                    raise
                self._after_interrupt()
            finally:
                self._depth -= not slow
                ExplorerBox._callbacks_in_progress -= not slow

    @property
    def answers_page(self) -> bool:
        """Whether the current work answers a request from the page."""
        return ExplorerBox._callbacks_in_progress > 0

    def on_change(self, control: widgets.Widget, callback: Callable[[Any], object]) -> None:
        """Call back with a control's new value when the user changes it; errors are shown.

        The callback is not called while the box itself updates its controls.
        """
        box = proxy(self)

        def changed(change: dict[str, Any]) -> None:
            # The lock is held, so an update on another thread has finished.
            if not box.showing:
                callback(change["new"])

        control.observe(self.reporting_errors(changed), "value")

    def on_typed(self, callback: Callable[[Any], object], *fields: widgets.Widget) -> None:
        """Call back with what the user types into a field; errors are shown.

        Rejected input stays in all of the `fields`, which belong together, for the user to
        correct: see `show_typed`.
        """
        box: Any = proxy(self)

        def typed(value: object) -> None:
            # Cleared once the callback succeeds: see `_report`.
            box._rejected_fields = fields  # noqa: SLF001 - of this class
            callback(value)

        for field in fields:
            self.on_change(field, typed)

    def show_typed(self, field: widgets.Widget, value: object) -> None:
        """Update a field to the current value, unless it holds input to be corrected."""
        if field not in self._rejected_fields:
            set_value(field, value)

    @contextmanager
    def showing_controls(self) -> Iterator[None]:
        """Update the controls without treating their changes as the user's choices.

        Yields
        ------
        None
        """
        before, self.showing = self.showing, True
        try:
            yield
        finally:
            self.showing = before

    def _restore_after_error(self, message: ErrorMessage) -> ErrorMessage:
        """Restore the controls; if that fails too, the message gets the details."""
        try:
            self._refresh_controls()
        except Exception as another:
            # Its traceback includes the first error too.
            return replace(message, details=ErrorMessage.of(another).details)
        return message

    def _refresh_controls(self) -> None:
        """Reset the controls to the current state after a rejected change."""

    def show_error(self, message: ErrorMessage | None) -> None:
        """Show an error under the controls; None removes it."""
        words = "" if message is None else message.as_html()
        set_value(self._problem, words)
        display(self._problem, shown=bool(words))

    # --- display and closing

    def _static_png(self) -> bytes:
        """Return the current picture as PNG, for viewers without a kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        with self._lock:
            if self._closed:
                return {"text/plain": self._closed_words}
            bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
            # GitHub, nbviewer and nbconvert show this image.
            bundle["image/png"] = base64.b64encode(self._static_png()).decode()
            # In Colab, anywidget enables the manager for third-party widgets and provides its
            # address. Colab itself does so only for output shown by `display`.
            helper: Any = self._page._repr_mimebundle_()
            return (bundle, helper[1]) if helper[1] else bundle

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def _closed_words(self) -> str:
        return f"{self._noun} is closed: {self._advice}."

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(self._closed_words)

    def _check_layout(self, layout: dict[str, Any], own: set[str]) -> None:
        """Raise TypeError, suggesting the nearest name, for a keyword that Layout does not have."""
        known = [name for name in widgets.Layout.class_trait_names() if not name.startswith("_")]
        for name in layout:
            if name not in known:
                raise TypeError(unknown_choice("argument", name, [*sorted(own), *sorted(known)]))

    def _close_with(self, *more: widgets.Widget | None) -> None:
        """Close the box, all widgets in it, and other widgets that belong to it."""
        # From here on, interrupts wait until the end.
        self._closed, self._built, self._ended = True, False, True
        # ipywidgets closes no children, layouts or styles, and keeps every open widget alive.
        for widget in widgets_of(self, *more):
            if widget is not self:
                widget.close()
        try:
            # Closing notifies observers of all traits, and an observer may fail.
            super().close()
        finally:
            # ipywidgets sets this method to None on closing, but ours says how to go on.
            self.__dict__.pop("_repr_mimebundle_", None)

    def __reduce__(self, *_: object) -> NoReturn:
        # A widget is tied to its page and its kernel.
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied, since it belongs to a page: "
            f"take {self._picklable} instead."
        )

    __copy__ = __deepcopy__ = __reduce__


def widgets_of(*roots: widgets.Widget | None) -> list[widgets.Widget]:
    """Return widgets and everything they contain: children, layouts, styles, toolbar."""
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
    """Raise AttributeError if assigning to a widget's attribute would have no effect.

    `made_with` lists the constructor arguments that cannot be changed later; `words` says what
    the widget is called, and how to get another one.
    """
    kind, (what, instead) = type(widget), words
    found = getattr(kind, name, None)
    if isinstance(found, TraitType) or getattr(found, "fset", None) is not None:
        return
    if name in made_with:
        advice = f"{instead} with {name}={briefly(value)}"
        raise AttributeError(f"{name} of this {what} cannot be changed: {advice}.")
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

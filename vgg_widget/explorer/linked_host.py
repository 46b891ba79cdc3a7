"""An explorer as its controls and panels see it: orders from a person, errors to a person."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vgg_widget.explorer.complaints import Complaint
from vgg_widget.explorer.controls import Controls
from vgg_widget.explorer.linked_actions import LinkedActions
from vgg_widget.explorer.panels import Board
from vgg_widget.support.interrupts import Undertakings

if TYPE_CHECKING:
    # It brings anywidget along, which only what is displayed needs.
    from vgg_widget.explorer.page import Page


class LinkedHost:
    """What `ViewHost` promises, for one explorer or comparison.

    Parameters
    ----------
    explorer : LinkedActions
        Whose traits are set.
    page : Page
        Where things to take away are handed over.
    refresh : callable
        Brings the controls back to what is on show, after an order that could not be followed.
    undertakings : Undertakings
        The explorer's, which settle what an interrupt leaves.
    """

    # Set when they are made, since they are given this.
    controls: Controls
    board: Board

    def __init__(
        self,
        explorer: LinkedActions,
        page: Page,
        refresh: Callable[[], None],
        undertakings: Undertakings,
    ) -> None:
        # None once it is closed, when an order may still be on its way.
        self._explorer: Any = explorer
        self._undertakings = undertakings
        self._page = page
        self._refresh = refresh
        self._restoring = False
        # Of each thread, whether it is at an order, which may bring others about.
        self._orders = threading.local()

    @property
    def _closed(self) -> bool:
        return self._explorer is None or self._explorer.closed

    def tell(self, **changes: Any) -> None:
        """Set traits in one go; an error is shown under the controls, and nothing is lost."""
        if "panel" in changes and not self._closed:
            # Whoever runs the cell again finds the panel open that was open.
            type(self._explorer).remembered_panel = changes["panel"]
        self.do(lambda: self._set(changes))

    def _set(self, changes: Mapping[str, Any]) -> None:
        explorer = self._explorer
        with explorer.hold_trait_notifications():
            for name in filter(explorer.has_trait, changes):
                setattr(explorer, name, changes[name])
        # Another picture takes itself back where somebody's observer fails, which it cannot do
        # while notifications are held.
        for name in changes:
            if not explorer.has_trait(name):
                setattr(explorer, name, changes[name])

    def do(self, action: Callable[[], object]) -> None:
        """Run something a person asked for; an error is shown until the next order."""
        if self._closed:
            return
        first = not getattr(self._orders, "under_way", False)
        if first:
            self.controls.complain(None)
        try:
            self._orders.under_way = True
            self.guard(action)
        finally:
            self._orders.under_way = not first

    def guard(self, action: Callable[[], object]) -> None:
        """Run what nobody asked for; an error is shown under the controls."""
        if self._closed:
            return
        inner = self._undertakings.under_way
        try:
            with self._undertakings.begun():
                self._run(action)
        except KeyboardInterrupt:
            # It ends what was under way as a whole: in a cell that is the cell. Of a callback's,
            # which Jupyter would write to a log, everything is said by now.
            if inner:
                raise

    def _run(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            # An error in a callback is lost unless it is shown on the page.
            complaint = Complaint.of(error)
            try:
                self._restore_controls()
            except Exception as another:
                # Its traceback tells of the first one too.
                complaint = replace(complaint, details=Complaint.of(another).details)
            self.controls.complain(complaint)

    def tell_of_interrupt(self, mend: Callable[[], object]) -> None:
        """Say that an interrupt ended what was under way, once what it left is mended."""

        def mended() -> None:
            mend()
            explorer = self._explorer
            self.controls.complain(
                Complaint(
                    f"Interrupted: what is on show is layer {explorer.layer} in mode "
                    f"{explorer.mode}, as the controls say; ask again, or for something else."
                )
            )

        self._run(mended)

    def _restore_controls(self) -> None:
        # What fails may be the open panel, which is shown again by this.
        if self._restoring:
            return
        try:
            self._restoring = True
            self._refresh()
        finally:
            self._restoring = False

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show one channel, and remember what was on show before."""
        self._explorer.open_channel(channel, layer)

    def back(self) -> None:
        """Show what was on show before the last `open_channel`."""
        self._explorer.back()

    def to_code(self) -> str:
        """Return Python text that makes the picture on show."""
        code: str = self._explorer.to_code()
        return code

    def copy(self, text: str, then: Callable[[bool], object] | None = None) -> None:
        """Put text on the clipboard of the page, and tell whether the browser allowed it."""
        self._page.copy(text, then or self._copied)

    def _copied(self, ok: bool) -> None:
        if ok:
            self.controls.locate("The code is on the clipboard.")
        else:
            self.controls.complain(
                Complaint(
                    'The browser did not let the code be copied: use "show code" under '
                    '"Open & save" instead.'
                )
            )

    def download(self, suffix: str) -> None:
        """Hand the picture on show to the page as a file to keep."""
        name = self._explorer.file_name(suffix)
        self._page.download(name, self._explorer.to_bytes(suffix))
        self.controls.locate(f"{name} is where your browser keeps downloads.")

    def play(self) -> None:
        """Start playing, or stop; nothing where there is nothing that plays."""

    def reset(self) -> None:
        """Show what was on show at first."""
        self._explorer.reset()

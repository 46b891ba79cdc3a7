"""`Attributing`: computes attribution maps, which explain the current value, when needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from traitlets import TraitError

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.box import LOCK
from vgg_widget.explorer.later import Later, Superseded
from vgg_widget.explorer.settings import CLASS_METHOD, DisplaySettings
from vgg_widget.pictures.coordinates import InputLayer
from vgg_widget.support.interrupts import interrupts_allowed
from vgg_widget.support.progress import Progress
from vgg_widget.weights import WeightsError

if TYPE_CHECKING:
    from vgg_widget.gradients.result import Attribution

# After this pause the mouse counts as resting.
REST_SECONDS = 0.25
# The interval between progress reports to the page.
_TOLD_SECONDS = 0.25
# Enough to keep the location's own maps while the mouse is elsewhere.
_KEPT = 8

COMPUTING = "Computing …"

WHY_PANEL = "Why"
"""The title of the panel that shows the maps."""


class Wish(NamedTuple):
    """One map: the identity of its activations, and the arguments of `attribute`."""

    of: int
    layer: str
    channel: int | None
    location: tuple[int, int] | None
    method: Any
    target: str | int | None
    randomised: str | None


class _SupersededError(Exception):
    """Ends a computation whose result is no longer needed."""


class Attributing:
    """Computes the maps that `attribution` asks for.

    A map requested by code is ready when the assignment returns. A map requested by the page is
    computed on another thread, so that the explorer stays responsive; the next request cancels it.

    `explorer` is a weak reference. All methods must be called with the explorers' lock held.
    """

    def __init__(self, explorer: Any) -> None:
        self._explorer = explorer
        self._later = Later(explorer)
        # For the current activations, and for those about to become current.
        self._known: dict[Wish, Attribution | str] = {}
        # Kept alive, since known maps are keyed by the identity of their activations.
        self._each: tuple[Activations, ...] = ()
        self._prepared: tuple[Activations, ...] = ()
        self._settings: DisplaySettings | None = None
        # The displayed maps, and those requested last, which may still be in progress.
        self._wishes: tuple[Wish, ...] = ()
        self._asked: tuple[Wish, ...] = ()
        self._over: tuple[InputLayer, ...] = ()
        self.randomised: str | None = None
        """The layer from which on weights are shuffled for a second map; None for no such map."""
        self.progress = ""
        """The progress as text; empty if nothing is being computed."""

    # --- results

    @property
    def maps(self) -> tuple[Attribution | None, ...]:
        """The map of each image; None if it is not ready or cannot be computed."""
        return tuple(self._map(wish) for wish in self._wishes if not wish.randomised)

    @property
    def randomised_maps(self) -> tuple[Attribution | None, ...]:
        """The maps with shuffled weights; empty if not requested."""
        return tuple(self._map(wish) for wish in self._wishes if wish.randomised)

    def _map(self, wish: Wish) -> Attribution | None:
        found = self._known.get(wish)
        return None if isinstance(found, str) else found

    @property
    def problem(self) -> str:
        """Why a map cannot be computed, as a sentence; empty if it can."""
        found = [self._known.get(wish) for wish in self._wishes]
        return next((one for one in found if isinstance(one, str)), "")

    @property
    def over_inputs(self) -> tuple[InputLayer, ...]:
        """The overlay of each input; empty while one is missing."""
        return self._over

    @property
    def is_busy(self) -> bool:
        """Whether a map is being computed, or is about to be."""
        return any(wish not in self._known for wish in self._asked)

    # --- requests

    def prepare(
        self, settings: DisplaySettings, each: Sequence[Activations], *, strict: bool
    ) -> None:
        """Compute the requested maps in this thread, unless the request came from the page.

        The displayed maps stay. Raises TraitError if a map cannot be computed and `strict` is true.
        """
        if settings.attribution is None or self._explorer.answers_page:
            return
        self._forget_all_but(self._each)
        self._prepared = tuple(each)
        for wish in self._wished(settings, each, settings.location):
            with interrupts_allowed():
                found = self._compute(wish, each)
            if isinstance(found, str) and strict:
                del self._known[wish]
                raise TraitError(f"attribution {settings.attribution!r} cannot be shown: {found}")

    def follow(self, settings: DisplaySettings, each: Sequence[Activations]) -> None:
        """Adopt the current state; missing maps are computed later."""
        self._each, self._settings, self._prepared = tuple(each), settings, ()
        if settings.attribution is None:
            self._known.clear()
        self._forget_all_but(self._each)
        self._ask(settings.location)

    def point(self, unit: tuple[int, int] | None) -> None:
        """Explain the unit under the mouse once it rests, or else the location."""
        settings = self._settings
        if settings is not None and settings.attribution not in (None, CLASS_METHOD):
            before = self._wishes
            self._ask(unit or settings.location, pointing=True)
            if self._wishes != before:
                self._explorer.show_attribution()

    def randomise_from(self, layer: str | None) -> None:
        """Also request maps with the weights from a layer on shuffled; None for no such maps."""
        self.randomised = layer
        if self._settings is not None:
            self._ask(self._settings.location)
            self._explorer.show_attribution()

    def finish(self) -> None:
        """Compute missing maps in this thread."""
        missing = [wish for wish in self._wishes if wish not in self._known]
        if missing:
            for wish in missing:
                with interrupts_allowed():
                    self._compute(wish, self._each)
            self.cancel()
            self._asked = self._wishes
            self._lay_over()
            self._explorer.show_attribution()

    def cancel(self) -> None:
        """Cancel pending work."""
        self._later.cancel()
        self._asked, self.progress = (), ""

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait for pending work and return whether it finished. Call it without the lock."""
        return self._later.wait(seconds)

    def _forget_all_but(self, kept: Sequence[Activations]) -> None:
        known = {id(one) for one in kept}
        self._known = {wish: found for wish, found in self._known.items() if wish.of in known}

    def _wished(
        self,
        settings: DisplaySettings,
        each: Sequence[Activations],
        location: tuple[int, int] | None,
    ) -> tuple[Wish, ...]:
        if settings.attribution is None:
            return ()
        layer = settings.layer_in(each[0])
        what: dict[str, Any] = {
            "layer": layer,
            "channel": settings.channel,
            "location": location,
            "method": settings.attribution,
            "target": None,
        }
        if settings.attribution == CLASS_METHOD:
            what |= {"channel": None, "location": None, "target": settings.attribution_class}
        wishes = [Wish(of=id(one), randomised=None, **what) for one in each]
        first = self.randomised
        if first is not None and _comes_first(each[0], first, layer):
            if settings.attribution != CLASS_METHOD:
                # With shuffled weights most units are 0 after their ReLU and have no gradient.
                what["layer"] = each[0].before_relu(layer) or layer
            wishes += [Wish(of=id(one), randomised=first, **what) for one in each]
        return tuple(wishes)

    def _ask(self, location: tuple[int, int] | None, *, pointing: bool = False) -> None:
        assert self._settings is not None
        wishes = self._wished(self._settings, self._each, location)
        if wishes == self._asked:
            return
        self.cancel()
        self._asked = wishes
        missing = [wish for wish in wishes if wish not in self._known]
        # While the mouse moves, the previous maps stay.
        if not (missing and pointing):
            self._wishes = wishes
            self._lay_over()
        if missing:
            self.progress = "" if pointing else COMPUTING
            self._later.start(partial(self._work, wishes, missing, self._each), REST_SECONDS)

    def _lay_over(self) -> None:
        found = [one for one in self.maps if one is not None]
        if not found or len(found) < len(self._each):
            self._over = ()
            return
        from vgg_widget.gradients.picture import attribution_pictures

        self._over = tuple(InputLayer(one.rgba) for one in attribution_pictures(found))

    # --- computation

    def _work(
        self,
        wishes: tuple[Wish, ...],
        missing: list[Wish],
        each: Sequence[Activations],
        superseded: Superseded,
    ) -> None:
        told = 0.0

        def tell(done: int, total: int | None) -> None:
            nonlocal told
            if superseded.is_set():
                raise _SupersededError
            now = time.monotonic()
            if now - told >= _TOLD_SECONDS and done != total:
                told = now
                self._show(superseded, wishes, f"{done} of {total} pictures computed …")

        try:
            for wish in missing:
                found = self._made(wish, each, tell)
                with LOCK:
                    if not superseded.is_set():
                        self._keep(wish, found)
                done = wish is missing[-1]
                self._show(superseded, wishes, "" if done else COMPUTING)
        except _SupersededError:
            return
        except BaseException:
            # The error is shown under the controls, and the work is cancelled.
            with LOCK:
                if not superseded.is_set():
                    self.cancel()
                    self._explorer.show_attribution()
            raise

    def _show(self, superseded: Superseded, wishes: tuple[Wish, ...], progress: str) -> None:
        with LOCK:
            if superseded.is_set():
                raise _SupersededError
            self._wishes, self.progress = wishes, progress
            self._lay_over()
            self._explorer.show_attribution()

    def _compute(self, wish: Wish, each: Sequence[Activations]) -> Attribution | str:
        if wish not in self._known:
            self._keep(wish, self._made(wish, each))
        return self._known[wish]

    def _made(
        self, wish: Wish, each: Sequence[Activations], progress: Progress = False
    ) -> Attribution | str:
        from vgg_widget.gradients import attribute

        try:
            return attribute(
                self._explorer.extractor,
                next(one for one in each if id(one) == wish.of),
                wish.layer,
                wish.channel,
                wish.location,
                method=wish.method,
                target=wish.target,
                randomised=wish.randomised,
                progress=progress,
            )
        except (ValueError, WeightsError) as error:
            # A layer without a gradient is not the user's mistake.
            return str(error)

    def _keep(self, wish: Wish, found: Attribution | str) -> None:
        self._known[wish] = found
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]


def _comes_first(activations: Activations, first: str, layer: str) -> bool:
    layers = activations.layers
    return first in activations and layers.index(activations.info(first)) <= layers.index(
        activations.info(layer)
    )

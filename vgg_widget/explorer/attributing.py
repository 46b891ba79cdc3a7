"""`Attributing`: the maps that say why the value on show is what it is, computed when due."""

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

# A mouse that rests is not on its way elsewhere.
REST_SECONDS = 0.25
# The page hears this often how far it is.
_TOLD_SECONDS = 0.25
# The location's own maps are among them while the mouse is elsewhere.
_KEPT = 8

COMPUTING = "Computing …"

WHY_PANEL = "Why"
"""The title of the panel that shows the maps."""


class Wish(NamedTuple):
    """One map: of which activations, by their identity, and what `attribute` is asked for."""

    of: int
    layer: str
    channel: int | None
    location: tuple[int, int] | None
    method: Any
    target: str | int | None
    randomised: str | None


class _SupersededError(Exception):
    """Ends what nobody wants any more."""


class Attributing:
    """Computes what `attribution` asks for.

    What code asks for is there when its assignment returns. What the page asks for is computed on
    another thread, so that the explorer answers meanwhile, and the next wish ends it.

    `explorer` is a weak reference. All methods are called while the explorers' lock is held.
    """

    def __init__(self, explorer: Any) -> None:
        self._explorer = explorer
        self._later = Later(explorer)
        # Of the activations on show, and of those that are about to be.
        self._known: dict[Wish, Attribution | str] = {}
        # Held, since what is known is told apart by their identity.
        self._each: tuple[Activations, ...] = ()
        self._prepared: tuple[Activations, ...] = ()
        self._settings: DisplaySettings | None = None
        # What is shown, and what was asked for last, which may be on its way.
        self._wishes: tuple[Wish, ...] = ()
        self._asked: tuple[Wish, ...] = ()
        self._over: tuple[InputLayer, ...] = ()
        self.randomised: str | None = None
        """The layer from which on weights are shuffled for a second map; None for none."""
        self.progress = ""
        """How far what is computed is, in words; empty where nothing is."""

    # --- what is there

    @property
    def maps(self) -> tuple[Attribution | None, ...]:
        """The map of each image; None as long as it is not there, or cannot be."""
        return tuple(self._map(wish) for wish in self._wishes if not wish.randomised)

    @property
    def randomised_maps(self) -> tuple[Attribution | None, ...]:
        """The same with shuffled weights; empty where none are asked for."""
        return tuple(self._map(wish) for wish in self._wishes if wish.randomised)

    def _map(self, wish: Wish) -> Attribution | None:
        found = self._known.get(wish)
        return None if isinstance(found, str) else found

    @property
    def problem(self) -> str:
        """Why a map cannot be had, in a sentence; empty where it can."""
        found = [self._known.get(wish) for wish in self._wishes]
        return next((one for one in found if isinstance(one, str)), "")

    @property
    def over_inputs(self) -> tuple[InputLayer, ...]:
        """What lies over each input; empty as long as one is missing."""
        return self._over

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed, or is about to be."""
        return any(wish not in self._known for wish in self._asked)

    # --- what is asked for

    def prepare(
        self, settings: DisplaySettings, each: Sequence[Activations], *, strict: bool
    ) -> None:
        """Compute what settings ask for, in this thread; nothing where the page has asked.

        What is on show stays. Raises TraitError where a map cannot be had and `strict` is true.
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
        """Take over what is on show; what is missing of its maps is computed later."""
        self._each, self._settings, self._prepared = tuple(each), settings, ()
        if settings.attribution is None:
            self._known.clear()
        self._forget_all_but(self._each)
        self._ask(settings.location)

    def point(self, unit: tuple[int, int] | None) -> None:
        """Explain the unit under the mouse once that rests; the location where there is none."""
        settings = self._settings
        if settings is not None and settings.attribution not in (None, CLASS_METHOD):
            before = self._wishes
            self._ask(unit or settings.location, pointing=True)
            if self._wishes != before:
                self._explorer.show_attribution()

    def randomise_from(self, layer: str | None) -> None:
        """Ask for maps with the weights from a layer on shuffled too; None for none."""
        self.randomised = layer
        if self._settings is not None:
            self._ask(self._settings.location)
            self._explorer.show_attribution()

    def finish(self) -> None:
        """Compute in this thread what is missing."""
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
        """Let nothing be computed any more."""
        self._later.cancel()
        self._asked, self.progress = (), ""

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until what was asked for is there; return whether that came. Without the lock."""
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
                # With other weights most units are 0 after their ReLU, where there is no gradient.
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
        # While a mouse is on its way, what was there stays.
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

    # --- how it is computed

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
            # It is told under the controls; nothing is computed any more.
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
            # A layer without a gradient is no mistake of whoever looks at it.
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

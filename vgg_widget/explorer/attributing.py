"""`Attributing`: the maps that say why the value on show is what it is, computed when due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from traitlets import TraitError

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.box import LOCK
from vgg_widget.explorer.later import Later, Superseded
from vgg_widget.explorer.settings import CLASS_METHOD, DisplaySettings
from vgg_widget.pictures.coordinates import InputLayer
from vgg_widget.pictures.modes import find_mode
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
_KEPT = 16

COMPUTING = "Computing …"

WHY_PANEL = "Why"
"""The title of the panel that shows the maps."""


class Wish(NamedTuple):
    """One map: of which image, and what `attribute` is asked for."""

    image: int
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
        self._known: dict[Wish, Attribution | str] = {}
        self._layers: dict[tuple[Wish, ...], tuple[InputLayer, ...]] = {}
        self._of: tuple[Any, ...] = ()
        self._settings: DisplaySettings | None = None
        self._pointed: tuple[int, int] | None = None
        # What is shown, and what was asked for last, which may be on its way.
        self._wishes: tuple[Wish, ...] = ()
        self._asked: tuple[Wish, ...] = ()
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
        wishes = tuple(wish for wish in self._wishes if not wish.randomised)
        found = [one for one in map(self._map, wishes) if one is not None]
        if not wishes or len(found) < len(wishes):
            return ()
        if wishes not in self._layers:
            from vgg_widget.gradients.picture import attribution_pictures

            # The same objects for the same wishes: nothing is painted again.
            pictures = attribution_pictures(found)
            self._layers = {wishes: tuple(InputLayer(one.rgba) for one in pictures)}
        return self._layers[wishes]

    # --- what is asked for

    def prepare(
        self, settings: DisplaySettings, each: Sequence[Activations], *, strict: bool
    ) -> None:
        """Compute what settings ask for, in this thread; nothing where the page has asked.

        Raises TraitError where it cannot be had and `strict` is true.
        """
        if settings.attribution is None or self._explorer.answers_page:
            return
        self._keep_to(each)
        for wish in self._wished(settings):
            with interrupts_allowed():
                found = self._compute(wish, each)
            if isinstance(found, str) and strict:
                del self._known[wish]
                raise TraitError(f"attribution {settings.attribution!r} cannot be shown: {found}")

    def follow(self, settings: DisplaySettings, each: Sequence[Activations]) -> None:
        """Take over what is on show; what is missing of its maps is computed later."""
        self._keep_to(each)
        self._settings = settings
        self._ask()

    def point(self, unit: tuple[int, int] | None) -> None:
        """Take the unit under the mouse instead of the location, once the mouse rests."""
        settings = self._settings
        if settings is None or settings.attribution in (None, CLASS_METHOD):
            return
        pointed = None if find_mode(settings.mode).tiled else unit
        if pointed != self._pointed:
            self._pointed = pointed
            self._ask(pointing=True)
            self._explorer.show_attribution()

    def randomise_from(self, layer: str | None) -> None:
        """Ask for maps with the weights from a layer on shuffled too; None for none."""
        self.randomised = layer
        self._ask()
        self._explorer.show_attribution()

    def finish(self) -> None:
        """Compute in this thread what is missing."""
        each = self._explorer.each_measured
        missing = [wish for wish in self._wishes if wish not in self._known]
        if missing:
            self.cancel()
            self._asked = self._wishes
            for wish in missing:
                with interrupts_allowed():
                    self._compute(wish, each)
            self._explorer.show_attribution()

    def cancel(self) -> None:
        """Let nothing be computed any more."""
        self._later.cancel()
        self._asked, self.progress = (), ""

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until what was asked for is there; return whether that came. Without the lock."""
        return self._later.wait(seconds)

    def _keep_to(self, each: Sequence[Activations]) -> None:
        known = [one() for one in self._of]
        if len(known) != len(each) or any(
            one is not other for one, other in zip(known, each, strict=True)
        ):
            self._known.clear()
            self._layers.clear()
            self._of = tuple(map(ref, each))
            self._pointed = None

    def _wished(self, settings: DisplaySettings) -> tuple[Wish, ...]:
        if settings.attribution is None:
            return ()
        activations = self._of[0]()
        layer = settings.layer_in(activations)
        what: dict[str, Any] = {
            "layer": layer,
            "channel": settings.channel,
            "location": self._pointed or settings.location,
            "method": settings.attribution,
            "target": None,
        }
        if settings.attribution == CLASS_METHOD:
            what |= {"channel": None, "location": None, "target": settings.attribution_class}
        first = self.randomised
        if first is not None and not _comes_first(activations, first, layer):
            first = None
        numbers = range(len(self._of))
        wishes = [Wish(image=number, randomised=None, **what) for number in numbers]
        if first is not None:
            # With other weights most units are 0 after their ReLU, where there is no gradient.
            what["layer"] = activations.before_relu(layer) or layer
            wishes += [Wish(image=number, randomised=first, **what) for number in numbers]
        return tuple(wishes)

    def _ask(self, *, pointing: bool = False) -> None:
        assert self._settings is not None
        wishes = self._wished(self._settings)
        if wishes == self._asked:
            return
        self.cancel()
        self._asked = wishes
        missing = [wish for wish in wishes if wish not in self._known]
        # While a mouse is on its way, what was there stays.
        if not (missing and pointing):
            self._wishes = wishes
        if missing:
            self.progress = "" if pointing else COMPUTING
            each = [one() for one in self._of]
            self._later.start(partial(self._work, wishes, missing, each), REST_SECONDS)

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
                show(f"{done} of {total} pictures computed …")

        def show(progress: str) -> None:
            with LOCK:
                if superseded.is_set():
                    raise _SupersededError
                self._wishes, self.progress = wishes, progress
                self._explorer.show_attribution()

        try:
            for wish in missing:
                found = self._made(wish, each, tell)
                with LOCK:
                    if superseded.is_set():
                        return
                    self._keep(wish, found)
                show("" if wish is missing[-1] else COMPUTING)
        except _SupersededError:
            return

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
                each[wish.image],
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

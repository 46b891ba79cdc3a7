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
_PROGRESS_SECONDS = 0.25
# Enough to keep the location's own maps while the mouse is elsewhere.
_MOST_RESULTS = 8

COMPUTING = "Computing …"

WHY_PANEL = "Why"
"""The title of the panel that shows the maps."""


class Request(NamedTuple):
    """One map: the identity of its activations, and the arguments of `attribute`."""

    activations_id: int
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
        self._results: dict[Request, Attribution | str] = {}
        # Kept alive, since results are keyed by the identity of their activations.
        self._each: tuple[Activations, ...] = ()
        self._prepared: tuple[Activations, ...] = ()
        self._settings: DisplaySettings | None = None
        # The displayed maps, and those requested last, which may still be in progress.
        self._displayed: tuple[Request, ...] = ()
        self._requested: tuple[Request, ...] = ()
        self._overlays: tuple[InputLayer, ...] = ()
        self.randomised: str | None = None
        """The layer from which on weights are shuffled for a second map; None for no such map."""
        self.progress = ""
        """The progress as text; empty if nothing is being computed."""

    # --- results

    @property
    def maps(self) -> tuple[Attribution | None, ...]:
        """The map of each image; None if it is not ready or cannot be computed."""
        return tuple(self._map(request) for request in self._displayed if not request.randomised)

    @property
    def randomised_maps(self) -> tuple[Attribution | None, ...]:
        """The maps with shuffled weights; empty if not requested."""
        return tuple(self._map(request) for request in self._displayed if request.randomised)

    def _map(self, request: Request) -> Attribution | None:
        found = self._results.get(request)
        return None if isinstance(found, str) else found

    @property
    def problem(self) -> str:
        """Why a map cannot be computed, as a sentence; empty if it can."""
        found = [self._results.get(request) for request in self._displayed]
        return next((one for one in found if isinstance(one, str)), "")

    @property
    def over_inputs(self) -> tuple[InputLayer, ...]:
        """The overlay of each input; empty while one is missing."""
        return self._overlays

    @property
    def is_busy(self) -> bool:
        """Whether a map is being computed, or is about to be."""
        return any(request not in self._results for request in self._requested)

    # --- requests

    def prepare(
        self, settings: DisplaySettings, each: Sequence[Activations], *, strict: bool
    ) -> None:
        """Compute the requested maps in this thread, unless the request came from the page.

        The displayed maps stay. Raises TraitError if a map cannot be computed and `strict` is true.
        """
        if settings.attribution is None or self._explorer.answers_page:
            return
        self._keep_only(self._each)
        self._prepared = tuple(each)
        for request in self._requests_for(settings, each, settings.location):
            with interrupts_allowed():
                found = self._compute(request, each)
            if isinstance(found, str) and strict:
                del self._results[request]
                raise TraitError(f"attribution {settings.attribution!r} cannot be shown: {found}")

    def follow(self, settings: DisplaySettings, each: Sequence[Activations]) -> None:
        """Adopt the current state; missing maps are computed later."""
        self._each, self._settings, self._prepared = tuple(each), settings, ()
        if settings.attribution is None:
            self._results.clear()
        self._keep_only(self._each)
        self._request(settings.location)

    def point(self, unit: tuple[int, int] | None) -> None:
        """Explain the unit under the mouse once it rests, or else the location."""
        settings = self._settings
        if settings is not None and settings.attribution not in (None, CLASS_METHOD):
            before = self._displayed
            self._request(unit or settings.location, pointing=True)
            if self._displayed != before:
                self._explorer.show_attribution()

    def randomise_from(self, layer: str | None) -> None:
        """Also request maps with the weights from a layer on shuffled; None for no such maps."""
        self.randomised = layer
        if self._settings is not None:
            self._request(self._settings.location)
            self._explorer.show_attribution()

    def finish(self) -> None:
        """Compute missing maps in this thread."""
        missing = [request for request in self._displayed if request not in self._results]
        if missing:
            for request in missing:
                with interrupts_allowed():
                    self._compute(request, self._each)
            self.cancel()
            self._requested = self._displayed
            self._update_overlays()
            self._explorer.show_attribution()

    def cancel(self) -> None:
        """Cancel pending work."""
        self._later.cancel()
        self._requested, self.progress = (), ""

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait for pending work and return whether it finished. Call it without the lock."""
        return self._later.wait(seconds)

    def _keep_only(self, kept: Sequence[Activations]) -> None:
        known = {id(one) for one in kept}
        self._results = {
            request: found
            for request, found in self._results.items()
            if request.activations_id in known
        }

    def _requests_for(
        self,
        settings: DisplaySettings,
        each: Sequence[Activations],
        location: tuple[int, int] | None,
    ) -> tuple[Request, ...]:
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
        requests = [Request(activations_id=id(one), randomised=None, **what) for one in each]
        first = self.randomised
        if first is not None and _is_at_or_before(each[0], first, layer):
            if settings.attribution != CLASS_METHOD:
                # With shuffled weights most units are 0 after their ReLU and have no gradient.
                what["layer"] = each[0].before_relu(layer) or layer
            requests += [Request(activations_id=id(one), randomised=first, **what) for one in each]
        return tuple(requests)

    def _request(self, location: tuple[int, int] | None, *, pointing: bool = False) -> None:
        assert self._settings is not None
        requests = self._requests_for(self._settings, self._each, location)
        if requests == self._requested:
            return
        self.cancel()
        self._requested = requests
        missing = [request for request in requests if request not in self._results]
        # While the mouse moves, the previous maps stay.
        if not (missing and pointing):
            self._displayed = requests
            self._update_overlays()
        if missing:
            self.progress = "" if pointing else COMPUTING
            self._later.start(partial(self._run, requests, missing, self._each), REST_SECONDS)

    def _update_overlays(self) -> None:
        found = [one for one in self.maps if one is not None]
        if not found or len(found) < len(self._each):
            self._overlays = ()
            return
        from vgg_widget.gradients.picture import attribution_pictures

        self._overlays = tuple(InputLayer(one.rgba) for one in attribution_pictures(found))

    # --- computation

    def _run(
        self,
        requests: tuple[Request, ...],
        missing: list[Request],
        each: Sequence[Activations],
        superseded: Superseded,
    ) -> None:
        reported = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal reported
            if superseded.is_set():
                raise _SupersededError
            now = time.monotonic()
            if now - reported >= _PROGRESS_SECONDS and done != total:
                reported = now
                self._show(superseded, requests, f"{done} of {total} pictures computed …")

        try:
            for request in missing:
                found = self._attribute(request, each, report)
                with LOCK:
                    if not superseded.is_set():
                        self._keep(request, found)
                done = request is missing[-1]
                self._show(superseded, requests, "" if done else COMPUTING)
        except _SupersededError:
            return
        except BaseException:
            # The error is shown under the controls, and the work is cancelled.
            with LOCK:
                if not superseded.is_set():
                    self.cancel()
                    self._explorer.show_attribution()
            raise

    def _show(self, superseded: Superseded, requests: tuple[Request, ...], progress: str) -> None:
        with LOCK:
            if superseded.is_set():
                raise _SupersededError
            self._displayed, self.progress = requests, progress
            self._update_overlays()
            self._explorer.show_attribution()

    def _compute(self, request: Request, each: Sequence[Activations]) -> Attribution | str:
        if request not in self._results:
            self._keep(request, self._attribute(request, each))
        return self._results[request]

    def _attribute(
        self, request: Request, each: Sequence[Activations], progress: Progress = False
    ) -> Attribution | str:
        from vgg_widget.gradients import attribute

        try:
            return attribute(
                self._explorer.extractor,
                next(one for one in each if id(one) == request.activations_id),
                request.layer,
                request.channel,
                request.location,
                method=request.method,
                target=request.target,
                randomised=request.randomised,
                progress=progress,
            )
        except (ValueError, WeightsError) as error:
            # A layer without a gradient is not the user's mistake.
            return str(error)

    def _keep(self, request: Request, found: Attribution | str) -> None:
        self._results[request] = found
        while len(self._results) > _MOST_RESULTS:
            del self._results[next(iter(self._results))]


def _is_at_or_before(activations: Activations, first: str, layer: str) -> bool:
    layers = activations.layers
    return first in activations and layers.index(activations.info(first)) <= layers.index(
        activations.info(layer)
    )

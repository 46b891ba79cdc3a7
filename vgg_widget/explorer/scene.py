"""What an explorer shows, as plain values: what its controls, panels and figure are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vgg_widget.activations.mapping import Activations
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.modes import Rendering, find_mode
from vgg_widget.pictures.scaling import Scale, as_scale

if TYPE_CHECKING:
    # Who looks at one image needs none of it.
    from vgg_widget.dataset.result import TopActivations


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of the traits that say what an explorer shows, comparable and hashable.

    The fields are the traits of the same names; see `ExplorerTraits`.
    """

    layer: str
    channel: int = 0
    channels: tuple[int, ...] = ()
    mode: str = "channel"
    cmap: str = "viridis"
    scale: str = "layer"
    before_relu: bool = False
    order: str = "index"
    hide_dead: bool = False
    percentile: float | None = None
    gamma: float = 1.0
    location: tuple[int, int] | None = None
    overlay: float = 0.0

    @property
    def policy(self) -> str | Scale:
        """The scale as `render` takes it: its name, unless something else than that was chosen."""
        if self.percentile is None and self.gamma == 1:
            return self.scale
        named = as_scale(self.scale)
        percentile = named.percentile if self.percentile is None else self.percentile
        return Scale(self.scale, percentile, self.gamma)

    def layer_in(self, activations: Activations) -> str:
        """Return the name of the maps on show: those before the ReLU, where they are asked for."""
        named_before = activations.plain_name(self.layer) != activations.info(self.layer).name
        if named_before or not self.before_relu:
            return self.layer
        return activations.before_relu(self.layer) or self.layer

    def as_render(self) -> dict[str, Any]:
        """Return the keyword arguments of `render` that matter in this mode."""
        mode = find_mode(self.mode)
        arguments: dict[str, Any] = {"mode": self.mode}
        if mode.takes == "one":
            arguments["channel"] = self.channel
        elif self.channels:
            arguments["channels"] = self.channels
        if mode.uses_cmap:
            arguments["cmap"] = self.cmap
        if mode.uses_scale:
            arguments["scale"] = self.policy
        if mode.tiled:
            if self.order == "location":
                arguments["location"] = self.location
            if self.order != "index":
                arguments["order"] = self.order
            if self.hide_dead:
                arguments["hide_dead"] = True
        return arguments


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is on show, and what it comes from.

    Parameters
    ----------
    choice : Choice
        What was asked for.
    activations : Activations
        Of the image.
    rendering : Rendering
        The picture; its `layer` is the name of the maps on show.
    extractor : FeatureExtractor
        The network.
    theme : str
        As chosen: ``"auto"``, ``"light"`` or ``"dark"``.
    top : TopActivations or None
        The set of images whose strongest are shown beside.
    """

    choice: Choice
    activations: Activations
    rendering: Rendering
    extractor: FeatureExtractor
    theme: str = "auto"
    top: TopActivations | None = None


class Whole(NamedTuple):
    """What belongs together: pictures as read, what was computed of them, and what is shown of it.

    It is exchanged as one, so that an interrupt finds this or that, and nothing in between.
    """

    readings: tuple[ImageReading, ...]
    computed: Any
    rendered: Any
    choice: Choice

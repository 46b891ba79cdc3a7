"""`Scene`: what the explorer shows, as one value that is handed to whoever shows part of it."""

from __future__ import annotations

from dataclasses import dataclass

from vgg_widget.activations import Activations
from vgg_widget.modes import Rendering
from vgg_widget.network import FeatureExtractor


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of the explorer's traits, as far as panels ask for them."""

    layer: str
    channel: int
    channels: tuple[int, ...] = ()
    mode: str = "channel"
    cmap: str = "viridis"
    scale: str = "layer"
    location: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is on show.

    Parameters
    ----------
    choice : Choice
        The traits' values.
    activations : Activations
        All maps of the image.
    rendering : Rendering
        The picture.
    extractor : FeatureExtractor
        The network.
    """

    choice: Choice
    activations: Activations
    rendering: Rendering
    extractor: FeatureExtractor

"""`Scene`: what the explorer shows, as one value that is handed to whoever shows part of it."""
"""`Scene`: everything that is on show in an explorer, as its panels are told it."""

from __future__ import annotations

from dataclasses import dataclass

from vgg_widget.activations import Activations
from vgg_widget.controls import Choice
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
@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What an explorer shows.

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
        The values of its traits.
    activations : Activations
        Of the picture on show.
    rendering : Rendering
        What is drawn.
    extractor : FeatureExtractor
        What computed the activations.
    """

    choice: Choice
    activations: Activations
    rendering: Rendering
    extractor: FeatureExtractor

"""`Scene`: everything that is on show in an explorer, as its panels are told it."""

from __future__ import annotations

from dataclasses import dataclass

from vgg_widget.activations import Activations
from vgg_widget.controls import Choice
from vgg_widget.modes import Rendering
from vgg_widget.network import FeatureExtractor


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What an explorer shows.

    Parameters
    ----------
    choice : Choice
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

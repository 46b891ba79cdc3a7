"""What explorers have in place of a network where they are given activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import (
    NETWORK_DEFAULTS,
    FeatureExtractor,
    extractor_for,
    is_torch_module,
)
from vgg_widget.support.messages import briefly

_NO_NETWORK = (
    "explorer was made of activations and has no network, which other pictures, circuits, "
    "attributions, pictures made by gradients and predictions need: make it of the picture, or "
    "pass extractor= with the one that made the activations."
)


def are_computed(images: Sequence[object]) -> bool:
    """Tell whether activations were given in place of images."""
    return all(isinstance(one, Activations) for one in images)


def network_for(
    images: Sequence[object], extractor: FeatureExtractor | None = None, **arguments: Any
) -> FeatureExtractor | None:
    """Return the network of an explorer's arguments; None for activations alone."""
    if not are_computed(images):
        if any(isinstance(one, Activations) for one in images):
            raise ValueError(
                "first and second are activations and a picture: pass the activations of both, or "
                "both pictures."
            )
        return extractor_for(extractor, **arguments)
    for name, value in arguments.items():
        usual = NETWORK_DEFAULTS[name]
        if not (value is usual or (isinstance(value, str | int) and value == usual)):
            raise ValueError(
                f"{name} {briefly(value)} was given with activations, which are computed already: "
                f"leave {name} out, or pass the picture in their place."
            )
    if extractor is not None:
        extractor = extractor_for(extractor)
        for one in images:
            assert isinstance(one, Activations)
            check_made_by(extractor, one)
    return extractor


def needs_keras(
    images: Sequence[object],
    extractor: FeatureExtractor | None = None,
    model: Any = None,
    **_: Any,
) -> bool:
    """Return whether an explorer of these arguments imports Keras."""
    network = extractor.model if isinstance(extractor, FeatureExtractor) else model
    return not (are_computed(images) or is_torch_module(network))


def needed(extractor: FeatureExtractor | None) -> FeatureExtractor:
    """Return the network, or raise ValueError that says what to do about there being none."""
    if extractor is None:
        raise ValueError(_NO_NETWORK)
    return extractor


def readings_of(
    images: Sequence[object], extractor: FeatureExtractor | None
) -> tuple[ImageReading, ...]:
    """Return what is read of images; of activations, the pictures that they are of."""
    readings = []
    known = are_computed(images)
    for one in images:
        if isinstance(one, Activations) and known:
            readings.append(ImageReading(one.image, name=Path(one.name).name))
        else:
            read = one if isinstance(one, ImageReading) else needed(extractor).read(one)
            readings.append(read)
    return tuple(readings)

"""Explorers of activations, which have no network."""

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
    "explorer was made from activations and has no network: for other images, circuits, "
    "attributions, optimised images and predictions, make it from the image, or pass extractor= "
    "with the network that computed the activations."
)


def are_computed(images: Sequence[object]) -> bool:
    """Return whether activations were given in place of images."""
    return all(isinstance(one, Activations) for one in images)


def network_for(
    images: Sequence[object], extractor: FeatureExtractor | None = None, **arguments: Any
) -> FeatureExtractor | None:
    """Return the network that an explorer's arguments describe; None for activations alone."""
    if not are_computed(images):
        if any(isinstance(one, Activations) for one in images):
            raise ValueError(
                "first and second are activations and an image: pass the activations of both, or "
                "both images."
            )
        return extractor_for(extractor, **arguments)
    for name, value in arguments.items():
        usual = NETWORK_DEFAULTS[name]
        if not (value is usual or (isinstance(value, str | int) and value == usual)):
            raise ValueError(
                f"{name} {briefly(value)} was given with activations, which are computed already: "
                f"leave {name} out, or pass the image instead of them."
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
    """Return whether an explorer with these arguments imports Keras."""
    network = extractor.model if isinstance(extractor, FeatureExtractor) else model
    return not (are_computed(images) or is_torch_module(network))


def needed(extractor: FeatureExtractor | None) -> FeatureExtractor:
    """Return the network, or raise ValueError that says how to get one."""
    if extractor is None:
        raise ValueError(_NO_NETWORK)
    return extractor


def readings_of(
    images: Sequence[object], extractor: FeatureExtractor | None
) -> tuple[ImageReading, ...]:
    """Return the images as read; for activations, the images that they belong to."""
    readings = []
    known = are_computed(images)
    for one in images:
        if isinstance(one, Activations) and known:
            readings.append(ImageReading(one.image, name=Path(one.name).name))
        else:
            read = one if isinstance(one, ImageReading) else needed(extractor).read(one)
            readings.append(read)
    return tuple(readings)

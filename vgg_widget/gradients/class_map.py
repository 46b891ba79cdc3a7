"""Grad-CAM: the locations in a layer's maps that support a class."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.layers import LayerInfo, is_index
from vgg_widget.network.differentiable import ClassFunction, shuffled_weights
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.predictions import predictor_for
from vgg_widget.support.messages import briefly

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """A class's map over the image, its score before the softmax, and its name."""

    values: Doubles = field(repr=False)
    score: float
    name: str


def class_map(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    target: str | int | None,
    randomised: tuple[int | None, int],
) -> ClassMap:
    """Return the Grad-CAM of a class at a layer, over the image's pixels.

    If `target` is None, the most probable class with the unshuffled weights is used. `randomised`
    is the number of the first layer whose weights are shuffled, or None, and the seed.
    """
    first, seed = randomised
    own_model = extractor.weights.source == "model"
    predictor = None if own_model else predictor_for(extractor)
    if predictor is not None and target is None:
        target = predictor.predict(activations, 1)[0].index
    number = None
    if predictor is not None and target is not None:
        number = predictor.index_of(target)
    weights = None
    if first is not None:
        weights = shuffled_weights(extractor, first, None, seed)
    function = ClassFunction(extractor, layer, weights)
    if predictor is None:
        if target is None:
            target = int(ClassFunction(extractor, layer).end(activations.image).argmax())
        index = _checked_target(target, function.size)
        image, box = activations.image, (0.0, 0.0, *map(float, activations.image.shape[:2]))
        one_hot = np.zeros(function.size or 0, np.float32)
        one_hot[index] = 1
        maps, gradient = function.gradient(image, one_hot)
        score, name = float(function.end(image)[index]), f"class {index}"
    else:
        assert number is not None
        image, box = predictor.picture_seen(activations)
        known = image is activations.image and weights is None
        pool = activations[activations.layers[-1].name] if known else function.end(image)
        score, slope = predictor.score(pool, number, None if weights is None else seed)
        maps, gradient = function.gradient(image, slope)
        name = predictor.label_of(number)
    shares = gradient.mean(axis=(0, 1), dtype=np.float64)
    cam = np.maximum(maps @ shares, 0)
    seen = image.shape[:2]
    info = activations.info(layer)
    down, across = (
        _between_units(
            activations.image.shape[axis],
            _places(info, axis, cam.shape[axis]),
            (box[axis], box[axis + 2]),
            seen[axis],
        )
        for axis in (0, 1)
    )
    return ClassMap(down @ cam @ across.T, score, name)


def _places(info: LayerInfo, axis: int, units: int) -> Doubles:
    """Return the coordinate of each unit of a map, in pixels of the network's input."""
    place = info.placement
    edge, step = ((place.top, place.row_step), (place.left, place.column_step))[axis]
    places: Doubles = float(edge) + (np.arange(units, dtype=np.float64) + 0.5) * float(step)
    return places


def _between_units(pixels: int, places: Doubles, ends: tuple[float, float], seen: int) -> Doubles:
    """Return the interpolation weights of units for pixels, shape (pixels, units).

    Interpolation between units is linear. The network sees the part of the image between `ends`,
    resized to `seen` pixels.
    """
    first, end = ends
    centers = np.arange(pixels) + 0.5
    given = (centers - first) / (end - first) * seen - 0.5
    counts: Doubles = np.stack(
        [np.interp(given, places, one) for one in np.eye(len(places))], axis=1
    )
    # Pixels outside the classifier's input contribute nothing.
    counts[(centers < first) | (centers > end)] = 0
    return counts


def _checked_target(target: object, classes: int | None) -> int:
    if classes is None or not is_index(target, classes):
        which = "" if classes is None else f" from 0 to {classes - 1}"
        raise ValueError(
            f"target {briefly(target)} is not a class of this model, whose classes have no names: "
            f"pass a number{which}."
        )
    return int(target)

"""`attribute`: the pixels that determine a unit's value or a class's score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.named_layers import LayerNameError
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.gradients.arguments import GAP, Choices, Method, check_finite, checked_choices
from vgg_widget.gradients.class_map import class_map
from vgg_widget.gradients.methods import (
    between,
    mean_gradient,
    noisy,
    occlusion,
    windows_over,
)
from vgg_widget.gradients.result import Attribution, Completeness
from vgg_widget.network.differentiable import ChannelFunction, shuffled_weights
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.rendering import checked_channel, checked_location
from vgg_widget.support.messages import plain_number
from vgg_widget.support.progress import Progress, shown_progress

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Location = tuple[int, int]

# Default number of occlusion squares along the longer side of the receptive field.
_WINDOWS = 7
# Tolerated difference between two computations of a value, even in float16, as a share of the
# channel's largest value.
_ROUNDING = 0.05
_SAME = (
    "the image equals the baseline wherever this value depends on it, so there is nothing to "
    "attribute: pass another baseline=."
)
_NOTHING = "nothing can be attributed"
# For methods that change the image.
_REMEDIES = {
    "smoothgrad": "less noise=",
    "integrated_gradients": "another baseline=",
    "occlusion": "another baseline=",
}
_UNITS = {"gradient": "activation per level of 255", "smoothgrad": "activation per level of 255"}


def attribute(
    extractor: FeatureExtractor,
    image: object,
    layer: str,
    channel: int | None = None,
    location: Location | None = None,
    *,
    method: Method = "gradient",
    target: str | int | None = None,
    baseline: object = None,
    samples: int | None = None,
    noise: float | None = None,
    window: int | None = None,
    step: int | None = None,
    seed: int = 0,
    randomised: str | None = None,
    progress: Progress = False,
) -> Attribution:
    """Compute how each pixel of an image contributes to one value.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network. Its current weights are used and never changed.
    image : Activations or object
        The extractor's activations for an image, or anything that `load_image` takes, which needs
        an additional forward pass.
    layer : str
        Any name of the layer. Names before a ReLU refer to signed values: a positive pixel raises a
        negative value towards 0, a negative pixel lowers it further. After a ReLU a value of 0 has
        no gradient: the map is `dead`, and `message` names the layer before the ReLU.
    channel : int
        Channel number; omitted for ``"grad_cam"``.
    location : (int, int), optional
        Row and column of one unit in the channel's map; without it, the sum over the map is
        explained. For one unit only its receptive field is computed, where that gives the same
        result, and the attribution is exactly 0 outside.
    method : str
        One of `METHODS`; see the notes.
    target : str or int, optional
        The class, for ``"grad_cam"``: a name such as ``"tabby"``, a WordNet id, or the class's
        number; by default the most probable class. The VGGs use the classifier of `predictor_for`;
        your own model must end in one vector of classes, which have no names.
    baseline : (float, float, float) or array of shape (H, W, 3), optional
        The colour or image, in RGB 0–255, that represents the absence of a feature. Black by
        default for ``"gradient_x_input"`` and ``"integrated_gradients"``, grey (128) for
        ``"occlusion"``.
    samples : int, optional
        Number of images to average over: by default 25 for ``"smoothgrad"``, 50 for
        ``"integrated_gradients"``.
    noise : float, optional
        SmoothGrad's standard deviation as a share of the image's range of values, from 0 to 10;
        0.15 by default. An image of a single colour gets no noise.
    window, step : int, optional
        Side of the occluding square, and distance between squares, in pixels. By default seven
        adjacent squares cover the longer side of the receptive field. If the step is larger than
        the window, pixels in between are 0.
    seed : int
        Seed of SmoothGrad's noise and of `randomised`. The same seed gives the same result.
    randomised : str, optional
        Shuffle the weights first: the numbers in each array of weights, from this layer up to
        `layer` (for a class, up to the end), are put in random order. A method that depends on what
        the network has learned then gives a different map.
    progress : bool or callable
        True shows a progress bar; a function is called with the number of finished images and the
        total.

    Returns
    -------
    Attribution
        The map, with all settings.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If an argument is invalid, the layer has no gradient, the network has no classifier,
        `preprocess` is not differentiable, or values or gradients are NaN or infinite.
    ImageError
        If the image cannot be used.
    WeightsError
        If the classifier is unavailable.
    TypeError
        If `progress` is neither a bool nor a function.

    Notes
    -----
    Let f be the value, x the image in RGB 0–255 and b the baseline. A pixel's number is the sum
    over its three colours c (see ``colors``), so it describes an equal change of all three;
    ``abs(colors).max(axis=-1)`` is the quantity shown by Simonyan et al.

    - ``"gradient"``: ∂f/∂x_c, in activation per level of 255 (Simonyan et al. 2013, "Deep Inside
      Convolutional Networks", arXiv:1312.6034).
    - ``"gradient_x_input"``: (x_c − b_c) ∂f/∂x_c, in activation (Shrikumar et al. 2016, "Not Just a
      Black Box", arXiv:1605.01713).
    - ``"smoothgrad"``: the mean of ∂f/∂x_c over images with normal noise, in activation per level
      (Smilkov et al. 2017, arXiv:1706.03825).
    - ``"integrated_gradients"``: (x_c − b_c) times the mean of ∂f/∂x_c on the straight line from b
      to x, by the midpoint rule, in activation (Sundararajan et al. 2017, "Axiomatic Attribution
      for Deep Networks", arXiv:1703.01365). The map sums to f(x) − f(b), given enough samples; see
      ``completeness``.
    - ``"occlusion"``: f(x) minus f of the image with a square set to the baseline, in activation;
      the mean where several squares cover a pixel (Zeiler & Fergus 2014, "Visualizing and
      Understanding Convolutional Networks", arXiv:1311.2901). It needs no gradient.
    - ``"grad_cam"``: ReLU(Σ_k α_k A_k) of the layer's maps A_k, with α_k the mean over locations of
      the gradient of the class's score (before the softmax); linearly interpolated between units,
      in units of the score, not signed (Selvaraju et al. 2017, arXiv:1610.02391).

    `randomised` is the cascading test of Adebayo et al. 2018, "Sanity Checks for Saliency Maps"
    (arXiv:1810.03292), with shuffled weights, so that activations keep their magnitude. In the
    VGGs' classifier, the inputs and outputs of each layer are shuffled.

    An interrupt leaves the network and the activations unchanged.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> from vgg_widget.gradients import attribute
    >>> extractor = FeatureExtractor("random", size=64)
    >>> activations = extractor(sample_image())
    >>> found = attribute(extractor, activations, "features.10", 3, (8, 9))
    >>> found.values.shape, found.box, found.units
    ((75, 64), (22, 26, 46, 50), 'activation per level of 255')
    """
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is of type {type(extractor).__name__}: pass a FeatureExtractor, such as "
            "explorer.extractor."
        )
    chosen = checked_choices(
        method,
        channel=channel,
        location=location,
        target=target,
        baseline=baseline,
        samples=samples,
        noise=noise,
        window=window,
        step=step,
        seed=seed,
    )
    activations = _activations_of(extractor, image)
    info = activations.info(layer)
    first = None if randomised is None else _first_randomised(activations, randomised, layer)
    if method == "grad_cam":
        return _class_attribution(
            extractor, activations, layer, chosen, (first, randomised), progress=progress
        )
    if channel is None:
        raise ValueError(
            f"channel None is not one of the {info.channels} channels of layer {layer!r}: pass a "
            f"whole number from 0 to {info.channels - 1}."
        )
    number = checked_channel("channel", channel, layer, info.channels)
    place = None if location is None else checked_location(location, layer, activations)
    shuffled = None
    if first is not None:
        last = activations.layers.index(info)
        shuffled = shuffled_weights(extractor, first, last, chosen.seed)
        if not shuffled.variables:
            raise ValueError(
                f"randomised {randomised!r} changes nothing, since no layer from it to {layer!r} "
                "has weights: pass an earlier layer."
            )
    function = ChannelFunction(extractor, activations, layer, (number, place), shuffled)
    return _unit_attribution(function, activations, chosen, randomised, progress)


def _activations_of(extractor: FeatureExtractor, image: object) -> Activations:
    if not isinstance(image, Activations):
        return extractor(image)
    check_made_by(extractor, image)
    return image


def _first_randomised(activations: Activations, name: str, layer: str) -> int:
    """Return the number of the first layer whose weights are shuffled."""
    try:
        first = activations.layers.index(activations.info(name))
    except LayerNameError as error:
        raise LayerNameError(str(error).replace("layer", "randomised", 1)) from None
    if first > activations.layers.index(activations.info(layer)):
        raise ValueError(
            f"randomised {name!r} comes after layer {layer!r}, on which it has no influence: pass "
            "that layer, or an earlier one."
        )
    return first


def _class_attribution(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    chosen: Choices,
    randomised: tuple[int | None, str | None],
    *,
    progress: Progress,
) -> Attribution:
    first, name = randomised
    seed = None if first is None else chosen.seed
    with shown_progress(progress, 1, "pictures", "picture") as tell:
        found = class_map(extractor, activations, layer, chosen.target, (first, chosen.seed))
        tell(1)
    check_finite(layer, found.values, np.array(found.score), so=_NOTHING)
    return Attribution(
        _read_only(found.values),
        signed=False,
        method=chosen.method,
        target=f"class {found.name!r} at layer {layer!r}",
        units="class score",
        value=found.score,
        layer=layer,
        channel=None,
        location=None,
        box=(0, 0, *activations.image.shape[:2]),
        weights=activations.weights,
        seed=seed,
        randomised=name,
        message="" if found.values.any() else f"nothing in layer {layer!r} speaks for this class.",
    )


def _unit_attribution(
    function: ChannelFunction,
    activations: Activations,
    chosen: Choices,
    randomised: str | None,
    progress: Progress,
) -> Attribution:
    method, layer, size = chosen.method, function.layer, activations.image.shape[:2]
    top, left, bottom, right = function.crop
    picture = activations.image[top:bottom, left:right].astype(np.float32)
    made_with: dict[str, Any] = {}
    baseline, completeness = chosen.baseline_for(size), None
    nothing = picture
    if baseline is not None:
        made_with["baseline"] = _read_only(baseline)
        nothing = np.broadcast_to(baseline, (*size, 3))[top:bottom, left:right]
    parts: Doubles | None = None
    if method == "occlusion":
        rows, columns = function.inside
        longer = max(rows.stop - rows.start, columns.stop - columns.start, 1)
        window = chosen.window or math.ceil(longer / _WINDOWS)
        step = chosen.step or window
        windows = windows_over(function.inside, window, step)
        made_with |= {"window": window, "step": step, "samples": len(windows)}
        with shown_progress(progress, len(windows), "pictures", "picture") as tell:
            now = _value_of(function, picture)
            values = occlusion(function, (picture, nothing), windows, now, tell)
    else:
        pictures = iter([picture])
        made_with["samples"] = chosen.samples
        if method == "smoothgrad":
            spread = chosen.noise * float(np.ptp(activations.image))
            pictures = noisy(picture, size, (top, left), spread, chosen.seed)
            made_with |= {"noise": spread, "seed": chosen.seed}
        elif method == "integrated_gradients":
            pictures = between(nothing, picture, chosen.samples)
        with shown_progress(progress, chosen.samples, "pictures", "picture") as tell:
            mean, parts = mean_gradient(function, pictures, chosen.samples, tell)
        one = method in ("gradient", "gradient_x_input")
        now = mean if one else _value_of(function, picture)
        if baseline is not None:
            parts *= picture - nothing
        if method == "integrated_gradients":
            completeness = _completeness(function, parts, now, nothing)
        values = parts.sum(axis=-1)
    if randomised is not None:
        made_with["seed"] = chosen.seed
    _check_computed(layer, method, values, now)
    place = function.location
    value, message = now, ""
    if not function.randomised:
        value, message = _shown_value(function, activations, now)
    if not values.any():
        seen = function.inside
        alike = nothing is not picture and np.array_equal(picture[seen], nothing[seen])
        message = message or (_SAME if alike else _dead_reason(activations, layer, value, method))
    return Attribution(
        _padded(values, function.crop, size),
        signed=True,
        method=method,
        target=f"layer {layer!r}, channel {function.channel}, "
        + ("sum of the map" if place is None else f"location {place}"),
        units=_UNITS.get(method, "activation"),
        value=value,
        layer=layer,
        channel=function.channel,
        location=place,
        box=function.box,
        weights=activations.weights,
        colors=None if parts is None else _padded(parts, function.crop, size),
        completeness=completeness,
        randomised=randomised,
        message=message or _completeness_note(completeness),
        **made_with,
    )


def _value_of(function: ChannelFunction, picture: Floats) -> float:
    return float(function.values(picture[np.newaxis])[0])


def _check_computed(layer: str, method: Method, values: Doubles, now: float) -> None:
    """Raise ValueError for a map that is not finite; `now` is the value for the image itself."""
    if method in _REMEDIES and math.isfinite(now) and not np.isfinite(values).all():
        raise ValueError(
            f"layer {layer!r} is NaN or infinite for some of the images that {method!r} makes, so "
            f"{_NOTHING}: pass {_REMEDIES[method]}."
        )
    check_finite(layer, values, np.array(now), so=_NOTHING)


def _completeness(
    function: ChannelFunction, parts: Doubles, now: float, nothing: Floats
) -> Completeness:
    """Compare the parts' sum with a value's difference from that of the baseline, `nothing`."""
    start = _value_of(function, nothing)
    if math.isfinite(now) and not math.isfinite(start):
        raise ValueError(
            f"layer {function.layer!r} is NaN or infinite for the baseline, so {_NOTHING}: pass "
            "another baseline=."
        )
    return Completeness(float(parts.sum()), now - start)


def _shown_value(
    function: ChannelFunction, activations: Activations, now: float
) -> tuple[float, str]:
    """Return the value from the activations, and a message if the network now gives another."""
    only = activations.of_channels(function.layer, [function.channel])[..., 0]
    if function.location is not None:
        sizes = np.abs(only)
        value = float(only[function.location])
        usual = float(sizes.max(initial=0, where=np.isfinite(sizes)))
    else:
        value, usual = (float(each.sum(dtype=np.float64)) for each in (only, np.abs(only)))
    if abs(now - value) <= _ROUNDING * max(usual, abs(now)):
        return value, ""
    return value, (
        f"the network gives {plain_number(now)} now, but gave {plain_number(value)} when the "
        "activations were computed, since its weights have changed: pass the image again."
    )


def _completeness_note(found: Completeness | None) -> str:
    off = found is not None and found.gap > GAP
    return f"the map adds up to {found}: pass more samples." if off else ""


def _dead_reason(activations: Activations, layer: str, value: float, method: Method) -> str:
    """Return the reason why a map is 0 everywhere, with advice."""
    before = activations.before_relu(layer)
    hidden = method == "occlusion"
    if value == 0 and before not in (None, activations.plain_name(layer)):
        why = "and stays so" if hidden else "through which there is no gradient"
        return (
            f"layer {layer!r} is 0 here after its ReLU, {why}: pass {before!r}, which is the same "
            "before the ReLU."
        )
    if hidden:
        return "hiding a square changes this value nowhere: pass another window= or baseline=."
    if value == 0:
        return (
            f"layer {layer!r} is 0 here, and no small change of a pixel changes that, as after a "
            "ReLU: pass a location where it is not 0."
        )
    return "no small change of a pixel changes this value: method='occlusion' makes larger ones."


def _padded(part: Doubles, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Floats:
    """Return a part's numbers at their position in the image, with 0 around them."""
    top, left, bottom, right = crop
    whole = np.zeros((*size, *part.shape[2:]), np.float32)
    whole[top:bottom, left:right] = part
    return _read_only(whole)


def _read_only(array: npt.NDArray[Any]) -> Floats:
    made: Floats = np.ascontiguousarray(array, np.float32)
    made.flags.writeable = False
    return made

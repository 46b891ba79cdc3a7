"""Style as co-activation of channels: Gram matrices, and distances between two images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.support.messages import briefly
from vgg_widget.support.provenance import weights_words

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Numbers = Floats | Doubles

# Number of locations processed at a time.
_AT_ONCE = 4096


def gram(activations: Activations, layer: str) -> Doubles:
    """Return the Gram matrix of a layer: how strongly its channels are active together.

    Parameters
    ----------
    activations : Activations
        Feature maps of one image.
    layer : str
        Any name of the layer.

    Returns
    -------
    ndarray of float64, shape (C, C)
        In squared activation units; independent of locations.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If values are NaN or infinite.
    TypeError
        If `activations` has another type.

    Notes
    -----
    With F the maps as a matrix of C channels × M locations, the result is ``F @ F.T / M``: the Gram
    matrix of Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks" (CVPR),
    divided by the number of locations, so that images of different sizes can be compared. PyTorch
    recipes divide by C × M, or not at all.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> from vgg_widget.gradients import gram
    >>> activations = FeatureExtractor("random", size=64)(sample_image())
    >>> gram(activations, "block2_conv1").shape
    (128, 128)
    """
    _check(activations, "activations")
    return _gram(_finite(activations, layer, "activations"))


def _gram(maps: Floats) -> Doubles:
    flat = maps.reshape(-1, maps.shape[-1])
    found: Doubles = np.zeros((flat.shape[1],) * 2)
    # Computed in pieces, since float64 takes twice the memory.
    for begin in range(0, len(flat), _AT_ONCE):
        piece = flat[begin : begin + _AT_ONCE].astype(np.float64)
        found += piece.T @ piece
    return found / len(flat)


def content_distance(
    first: Activations, second: Activations, layer: str, *, relative: bool = False
) -> float:
    """Return the distance between two images' maps of a layer, location by location.

    Parameters
    ----------
    first, second : Activations
        Activations of two images of the same size, from one network.
    layer : str
        Any name of the layer.
    relative : bool
        Whether to normalise, so that layers can be compared; see the notes.

    Returns
    -------
    float
        0 for equal maps.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If the maps differ in shape or come from two networks, or have NaN or infinite values.
    TypeError
        If one is not an `Activations`.

    Notes
    -----
    Gatys et al. 2016, equation 1: ½ Σ (F − P)², over all locations and channels, in squared
    activation units. It grows with the image's size. The relative distance is √(Σ (F − P)² / (Σ F²
    + Σ P²)), in 0–1 after a ReLU, where 1 means that no unit is active in both.
    """
    _check_pair(first, second, layer)
    one, other = _finite(first, layer, "first"), _finite(second, layer, "second")
    if one.shape != other.shape:
        raise ValueError(
            f"second has maps of {other.shape[0]} × {other.shape[1]} units at layer {layer!r}, but "
            f"first has {one.shape[0]} × {one.shape[1]}: use images of the same size, or "
            "style_distance."
        )
    return _distance(one, other, 0.5, relative=relative)


def style_distance(
    first: Activations, second: Activations, layer: str, *, relative: bool = False
) -> float:
    """Return the distance between two images' Gram matrices of a layer, ignoring locations.

    Parameters
    ----------
    first, second : Activations
        Activations of two images of any size, from one network.
    layer : str
        Any name of the layer.
    relative : bool
        Whether to normalise, so that layers can be compared; see the notes.

    Returns
    -------
    float
        0 for equal Gram matrices, such as those of maps with permuted locations.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If the maps come from two networks, or have NaN or infinite values.
    TypeError
        If one is not an `Activations`.

    Notes
    -----
    Gatys et al. 2016, equation 4: E = 1 / (4 C² M²) Σ (G − A)², with Gram matrices that are sums
    over M locations. Here they are means (`gram`), so the distance is 1 / (4 C²) Σ (G − A)²: the
    same number for images of equal size. The relative distance is √(Σ (G − A)² / (Σ G² + Σ A²)), in
    0–1 after a ReLU.
    """
    _check_pair(first, second, layer)
    one, other = _gram(_finite(first, layer, "first")), _gram(_finite(second, layer, "second"))
    return _distance(one, other, 0.25 / len(one) ** 2, relative=relative)


def _distance(one: Numbers, other: Numbers, factor: float, *, relative: bool) -> float:
    square, both = 0.0, 0.0
    # Computed row by row, since float64 takes twice the memory.
    for mine, theirs in zip(one, other, strict=True):
        first, second = mine.astype(np.float64), theirs.astype(np.float64)
        square += float(np.sum((first - second) ** 2))
        both += float(np.sum(first**2) + np.sum(second**2))
    if not relative:
        return factor * square
    # Two dead maps are equal.
    return float(np.sqrt(square / both)) if both else 0.0


def _check(activations: object, argument: str) -> None:
    if not isinstance(activations, Activations):
        raise TypeError(
            f"{argument} is a {type(activations).__name__}: pass an extractor's result for an "
            "image, FeatureExtractor()(image)."
        )


def _finite(activations: Activations, layer: str, argument: str) -> Floats:
    """Return a layer's maps, or raise ValueError if they contain NaN or infinite values."""
    maps = activations[layer]
    if not np.isfinite(maps).all():
        raise ValueError(
            f"{argument} has NaN or infinite values at layer {layer!r}, so nothing can be computed "
            "from them: check the weights, or the preprocess function."
        )
    return maps


def _check_pair(first: Activations, second: Activations, layer: str) -> None:
    _check(first, "first")
    _check(second, "second")
    one, other = first.info(layer).channels, second.info(layer).channels
    mine, theirs = weights_words(first.weights, second.weights)
    if one != other or mine != theirs:
        raise ValueError(
            f"second comes from {briefly(theirs)}, but first from {briefly(mine)}: compare two "
            "images in the same network."
        )

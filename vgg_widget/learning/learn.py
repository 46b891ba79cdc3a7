"""`learn_weights`: from photographs to kernels, one convolution after another."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.images import RGB8, ImageError, named_images, not_several, read_image
from vgg_widget.layers import VGG19_CONVOLUTIONS, VGG19_LAYERS, LayerInfo
from vgg_widget.learning.clustering import least_alike, spherical_kmeans, whitening
from vgg_widget.learning.recipe import Recipe
from vgg_widget.learning.views import Stage, draw_patches, views_of
from vgg_widget.network.vgg19 import preprocess_caffe
from vgg_widget.support.messages import unknown_choice
from vgg_widget.weights.learned_weights import (
    Factors,
    LearnedWeights,
    rounded,
    unrounded,
    without,
)

Floats: TypeAlias = NDArray[np.float32]

# Below this a clustering says little, and a threshold at a quantile less.
_PATCHES_A_CENTROID = 4
# What contrast is none, beside the largest.
_FLAT = 1e-3
_RANKS = (8, 512)


def learn_weights(
    images: Iterable[Any],
    *,
    rank: int = 208,
    seed: int = 0,
    progress: bool = True,
    through: str = "block5_conv4",
    recipe: Recipe | None = None,
) -> LearnedWeights:
    """Learn VGG19's filters from photographs, without labels.

    Parameters
    ----------
    images : iterable
        Photographs: anything that `load_image` takes; batches and labels as
        `vgg_widget.dataset.top_activations` takes them. Half a dozen varied ones will do.
    rank : int
        Dimensions kept of each layer's patches, 8 to 512: more see finer differences, and take
        more room and time.
    seed : int
        The same photographs, numbers and seed give the same weights, bit by bit on one machine.
    progress : bool
        Whether to show a bar, one step a layer.
    through : str
        Name of the last convolution to learn.
    recipe : Recipe, optional
        The method's other numbers.

    Returns
    -------
    LearnedWeights
        ``.save(path)`` writes a file for ``FeatureExtractor(weights=path)``.

    Raises
    ------
    ImageError
        If one of the images is none, is smaller than what one unit of the last layer sees, or is
        of a single colour; or an item may be understood in several ways.
    ValueError
        If there are no images, too few patches of any contrast, or an argument is out of range.

    Examples
    --------
    >>> weights = learn_weights(["cat.jpg", "street.jpg", "tree.jpg"])  # doctest: +SKIP
    >>> weights.save("mine.npz")  # doctest: +SKIP
    """
    _check_arguments(rank, seed, through)
    recipe = recipe or Recipe()
    last = next(info for info in VGG19_CONVOLUTIONS if info.name == through)
    photographs, names = _read_photographs(images, last)
    layers = VGG19_LAYERS[: VGG19_LAYERS.index(last) + 1]

    from tqdm.auto import tqdm

    views = views_of(photographs, recipe, np.random.default_rng([seed, 0]))
    stage = Stage([preprocess_caffe(view.astype(np.float32)) for view in views])
    learned: dict[str, Factors] = {}
    with tqdm(layers, desc="learning filters", unit="layer", disable=not progress) as bar:
        for index, info in enumerate(bar, start=1):
            bar.set_postfix_str(info.name)
            if info.kind == "conv":
                rng = np.random.default_rng([seed, index])
                patches = draw_patches(stage, info, recipe, rng)
                learned[info.name] = _learn_layer(patches, info, rank, recipe, rng)
                # Freed before the maps of the next layer are made.
                del patches
                if info is not last:
                    stage.convolve(learned[info.name], keep=info.stride >= 4)
            else:
                stage.pool()
    about = {
        "method": "k-means on whitened patches, layer by layer, without labels",
        # By way of the import system's table, against the direction of the rooms' imports.
        "version": sys.modules["vgg_widget"].__version__,
        "rank": rank,
        "seed": seed,
        "photographs": len(photographs),
        "sources": names,
        "recipe": asdict(recipe),
    }
    return LearnedWeights(learned, about)


def _check_arguments(rank: Any, seed: Any, through: str) -> None:
    low, high = _RANKS
    if not _is_whole(rank) or not low <= rank <= high:
        raise ValueError(f"rank {rank!r} cannot be used: give a whole number from {low} to {high}.")
    if not _is_whole(seed) or seed < 0:
        raise ValueError(f"seed {seed!r} cannot be used: give a whole number, 0 or more.")
    names = [info.name for info in VGG19_CONVOLUTIONS]
    if through not in names:
        raise ValueError(unknown_choice("through", through, names))


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _read_photographs(images: Iterable[Any], last: LayerInfo) -> tuple[list[RGB8], list[str]]:
    """Read the photographs, and name each by its file or its place; refuse what cannot teach."""
    if told := not_several(images):
        raise ValueError(told)
    photographs: list[RGB8] = []
    names: list[str] = []
    for index, (name, image) in enumerate(named_images(images)):
        try:
            reading = read_image(image)
        except ImageError as error:
            raise ImageError(f"images[{index}]: {error}") from error
        height, width = reading.pixels.shape[:2]
        if min(height, width) < (last.receptive_field or 0):
            raise ImageError(
                f"images[{index}] is {height}×{width} pixels (height×width), but one unit of "
                f"{last.name} sees {last.receptive_field}×{last.receptive_field}: give a larger "
                "photograph."
            )
        if not np.ptp(reading.pixels, axis=(0, 1)).any():
            raise ImageError(
                f"images[{index}] is of a single colour, from which no filter can be learned: "
                "leave it out."
            )
        photographs.append(reading.pixels)
        names.append(Path(reading.origin).name if reading.origin else name)
    if not photographs:
        raise ValueError("images is empty: give a few photographs, best half a dozen varied ones.")
    return photographs, names


def _learn_layer(
    patches: Floats, info: LayerInfo, rank: int, recipe: Recipe, rng: np.random.Generator
) -> Factors:
    """Learn one convolution's filters; changes `patches`."""
    mean: Floats = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
    patches -= mean
    # Filters blind to the mean answer to zeros as they answer to the mean, so that the padding
    # around a map is less of an edge to them. The network's input has zeros for its mean already.
    blind = np.zeros_like(mean) if info is VGG19_LAYERS[0] else mean
    without(patches, blind)
    contrast = np.sqrt(np.einsum("ij,ij->i", patches, patches))
    # Where nearly all is flat, the median says nothing, and what is beneath the noise is flat too.
    clear = contrast > max(recipe.contrast * np.median(contrast), _FLAT * contrast.max())
    surplus = math.ceil(recipe.surplus * info.channels)
    needed = max(_PATCHES_A_CENTROID * surplus, rank)
    if np.count_nonzero(clear) < needed:
        raise ValueError(
            f"images gave {np.count_nonzero(clear)} patches with contrast for {info.name}, which "
            f"needs {needed}: give more varied photographs, or a recipe with more views."
        )
    projection = rounded(whitening(patches, rank, rng, floor=recipe.floor), recipe.storage)
    white = patches @ unrounded(*projection)
    directions = white[clear]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = spherical_kmeans(directions, surplus, rng, rounds=recipe.rounds)

    def threshold(response: NDArray[Any]) -> Floats:
        top: Floats = np.quantile(response, 1 - recipe.active, axis=0).astype(np.float32)
        return top

    # A quarter of the patches tells twins as well as all.
    response = white[::4] @ found.T
    found = found[least_alike(np.maximum(response - threshold(response), 0), info.channels)]
    found /= (white @ found.T).std(axis=0)[:, None]
    centroids = rounded(found.T, recipe.storage)
    response = white @ unrounded(*centroids)
    factors = Factors(*projection, *centroids, blind, -threshold(response))
    to_mean = mean @ factors.kernel().reshape(mean.size, -1)
    return replace(factors, bias=factors.bias - to_mean)

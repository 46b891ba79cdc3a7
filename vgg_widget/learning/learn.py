"""`learn_weights`: learns kernels from photographs, one convolution after another."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.images import RGB8, ImageError, named_images, not_several, read_image, resize
from vgg_widget.layers import VGG19_CONVOLUTIONS, VGG19_LAYERS, LayerInfo, vgg19_kernel_shapes
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.vgg import preprocess_caffe
from vgg_widget.support.messages import unknown_choice
from vgg_widget.weights.learned_weights import (
    Factors,
    LearnedWeights,
    Storage,
    rounded,
    unrounded,
    without,
)

Floats: TypeAlias = NDArray[np.float32]

# Up to this size, computing all eigenvectors is faster than searching for the largest.
_EXACT_PCA = 1200
# With fewer patches per centroid, clusters and quantile thresholds are unreliable.
_PATCHES_A_CENTROID = 4
# Patches below this share of the largest contrast are flat.
_FLAT = 1e-3


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of the method, in order of use.

    Parameters
    ----------
    views : int
        Number of images that patches are drawn from: photographs at random scales and positions,
        half of them mirrored.
    canvas : int
        Side of a view in pixels. A photograph that does not fill it is continued by reflection, so
        that units away from the border see no zero padding.
    shorter : (int, int)
        Range of a photograph's shorter side in a view, in pixels. No photograph is enlarged by more
        than a factor of 1.25.
    patches : int
        Largest number of 3×3 patches per layer.
    contrast : float
        Patches below this share of the median contrast are excluded from clustering.
    floor : float
        Share of the largest variance that is added to every variance, so that whitening does not
        amplify noise.
    surplus : float
        Number of centroids found, as a multiple of those needed; the most similar ones are dropped.
    rounds : int
        Number of k-means iterations.
    active : float
        Share of the patches to which a filter responds after the ReLU.
    storage : {"int8", "float16"}
        Number format of the factors; later layers learn from the output of the rounded factors.
    """

    views: int = 18
    canvas: int = 640
    shorter: tuple[int, int] = (192, 512)
    patches: int = 12_000
    contrast: float = 0.5
    floor: float = 0.001
    surplus: float = 1.5
    rounds: int = 15
    active: float = 0.35
    storage: Storage = "int8"


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
        Photographs: anything that `load_image` takes; batches and labels as in
        `vgg_widget.dataset.top_activations`. About six varied photographs suffice.
    rank : int
        Number of dimensions kept for each layer's patches, 8 to 512. Larger values capture finer
        differences but take more space and time.
    seed : int
        The same photographs, parameters and seed give bit-identical weights on the same machine.
    progress : bool
        Whether to show a progress bar with one step per layer.
    through : str
        Name of the last convolution to learn.
    recipe : Recipe, optional
        The method's other parameters.

    Returns
    -------
    LearnedWeights
        ``.save(path)`` writes a file for ``FeatureExtractor(weights=path)``.

    Raises
    ------
    ImageError
        If an image cannot be read, is smaller than the receptive field of the last layer, or has a
        single colour; or an item is ambiguous.
    ValueError
        If there are no images, too few patches have contrast, or an argument is out of range.

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

    views = _views_of(photographs, recipe, np.random.default_rng([seed, 0]))
    stage = _Stage([preprocess_caffe(view.astype(np.float32)) for view in views])
    learned: dict[str, Factors] = {}
    with tqdm(layers, desc="learning filters", unit="layer", disable=not progress) as bar:
        for index, info in enumerate(bar, start=1):
            bar.set_postfix_str(info.name)
            if info.kind == "conv":
                rng = np.random.default_rng([seed, index])
                patches = _draw_patches(stage, info, recipe, rng)
                learned[info.name] = _learn_layer(patches, info, rank, recipe, rng)
                # Free the memory before computing the next layer's maps.
                del patches
                if info is not last:
                    stage.convolve(learned[info.name], keep=info.stride >= 4)
            else:
                stage.settle(pool=True)
    about = {
        "method": "k-means on whitened patches, layer by layer, without labels",
        # Looked up in `sys.modules`, since importing the package would break the import order.
        "version": sys.modules["vgg_widget"].__version__,
        "rank": rank,
        "seed": seed,
        "photographs": len(photographs),
        "sources": names,
        "recipe": asdict(recipe),
    }
    return LearnedWeights(learned, about)


def _check_arguments(rank: Any, seed: Any, through: str) -> None:
    if not isinstance(rank, numbers.Integral) or not 8 <= int(rank) <= 512:
        raise ValueError(f"rank {rank!r} cannot be used: give a whole number from 8 to 512.")
    if not isinstance(seed, numbers.Integral) or int(seed) < 0:
        raise ValueError(f"seed {seed!r} cannot be used: give a whole number, 0 or more.")
    names = [info.name for info in VGG19_CONVOLUTIONS]
    if through not in names:
        raise ValueError(unknown_choice("through", through, names))


def _read_photographs(images: Iterable[Any], last: LayerInfo) -> tuple[list[RGB8], list[str]]:
    """Read the photographs and their names; raise for those that nothing can be learned from."""
    if problem := not_several(images):
        raise ValueError(problem)
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
                f"images[{index}] has a single colour, from which no filter can be learned: leave "
                "it out."
            )
        photographs.append(reading.pixels)
        names.append(Path(reading.origin).name if reading.origin else name)
    if not photographs:
        raise ValueError("images is empty: give a few photographs, ideally about six varied ones.")
    return photographs, names


def _views_of(
    photographs: Sequence[RGB8], recipe: Recipe, rng: np.random.Generator
) -> Iterator[RGB8]:
    """Yield the views to learn from, using all photographs equally often."""
    rounds = math.ceil(recipe.views / len(photographs))
    order = np.concatenate([rng.permutation(len(photographs)) for _ in range(rounds)])
    for photograph in (photographs[index] for index in order[: recipe.views]):
        own = min(photograph.shape[:2])
        top = min(recipe.shorter[1], 1.25 * own)
        bottom = min(recipe.shorter[0], top)
        # Sizes are uniform on a logarithmic scale, since ratios of size matter.
        side = math.exp(rng.uniform(math.log(bottom), math.log(top)))
        view = resize(photograph, round(side))
        if rng.integers(2):
            view = view[:, ::-1]
        for axis in (0, 1):
            view = _fill(view, axis, recipe.canvas, rng)
        yield view


def _fill(view: RGB8, axis: int, side: int, rng: np.random.Generator) -> RGB8:
    """Crop an image or extend it by reflection along an axis, at a random position."""
    missing = side - view.shape[axis]
    before = int(rng.integers(abs(missing) + 1))
    if missing <= 0:
        return view.take(range(before, before + side), axis=axis)
    widths = [(0, 0)] * view.ndim
    widths[axis] = (before, missing - before)
    return np.pad(view, widths, mode="symmetric")


class _Stage:
    """The views' feature maps at the last learned layer."""

    def __init__(self, maps: list[Floats]) -> None:
        self._maps = maps
        self._pending: list[tuple[Floats, Floats]] = []

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, view: int) -> Floats:
        _, tf = keras_and_tensorflow()
        maps = self._maps[view]
        for kernel, bias in self._pending:
            response = tf.nn.bias_add(tf.nn.conv2d(maps[None], kernel, 1, "SAME"), bias)
            maps = tf.nn.relu(response)[0].numpy()
        return maps

    def convolve(self, factors: Factors, *, keep: bool) -> None:
        """Apply one more convolution: now if `keep`, otherwise each time the maps are read."""
        # Before the second pooling layer, maps are too large to be stored for all views.
        self._pending.append((factors.kernel(), factors.bias))
        if keep:
            self.settle()

    def settle(self, *, pool: bool = False) -> None:
        """Apply pending convolutions, then 2×2 max pooling if `pool`."""
        for view in range(len(self)):
            maps = self[view]
            if pool:
                rows = np.maximum(maps[::2], maps[1::2])
                maps = np.maximum(rows[:, ::2], rows[:, 1::2])
            self._maps[view] = maps
        self._pending = []


def _draw_patches(
    stage: _Stage, info: LayerInfo, recipe: Recipe, rng: np.random.Generator
) -> Floats:
    """Draw 3×3 patches of the layer's input, away from zero padding."""
    reach = ((info.receptive_field or 0) - 1) / 2
    middles = (info.center or 0) + info.stride * np.arange(recipe.canvas // info.stride)
    clear = np.flatnonzero((middles >= reach) & (middles + reach <= recipe.canvas - 1))
    if not clear.size:
        raise ValueError(
            f"recipe.canvas {recipe.canvas} is too small, since one unit of {info.name} sees "
            f"{info.receptive_field} pixels a side: give at least twice that."
        )
    a_view = len(clear) ** 2
    total = len(stage) * a_view
    drawn = np.sort(rng.choice(total, min(recipe.patches, total), replace=False))
    of_view = np.split(drawn, np.searchsorted(drawn, a_view * np.arange(1, len(stage))))
    channels = vgg19_kernel_shapes()[info.name][2]
    patches = np.empty((len(drawn), 3, 3, channels), np.float32)
    start = 0
    for view, places in enumerate(of_view):
        rows, columns = (clear[index] for index in divmod(places - view * a_view, len(clear)))
        windows = np.lib.stride_tricks.sliding_window_view(stage[view], (3, 3), axis=(0, 1))
        block = windows[rows - 1, columns - 1]
        patches[start : start + len(places)] = block.transpose(0, 2, 3, 1)
        start += len(places)
    return patches.reshape(len(drawn), -1)


def _learn_layer(
    patches: Floats, info: LayerInfo, rank: int, recipe: Recipe, rng: np.random.Generator
) -> Factors:
    """Learn one convolution's filters; changes `patches`."""
    mean: Floats = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
    patches -= mean
    # Filters orthogonal to the mean respond to zeros as they respond to the mean, so the zero
    # padding around a map looks less like an edge. The mean of the network's input is already zero.
    blind = np.zeros_like(mean) if info is VGG19_LAYERS[0] else mean
    without(patches, blind)
    contrast = np.sqrt(np.einsum("ij,ij->i", patches, patches))
    # If nearly all patches are flat, the median is meaningless, so patches below the noise level
    # are excluded too.
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

    # A quarter of the patches suffices to find similar filters.
    response = white[::4] @ found.T
    found = found[_least_alike(np.maximum(response - threshold(response), 0), info.channels)]
    found /= (white @ found.T).std(axis=0)[:, None]
    centroids = rounded(found.T, recipe.storage)
    response = white @ unrounded(*centroids)
    factors = Factors(*projection, *centroids, blind, -threshold(response))
    to_mean = mean @ factors.kernel().reshape(mean.size, -1)
    return replace(factors, bias=factors.bias - to_mean)


# Clustering: numpy alone ------------------------------------------------------------------------


def whitening(
    patches: Floats, rank: int, rng: np.random.Generator, *, floor: float = 0.001
) -> Floats:
    """Return the projection onto principal components of equal variance.

    Parameters
    ----------
    patches : (n, d) float32 array
        Patches minus their mean.
    rank : int
        Number of components to keep, in order of variance; at most `d`.
    rng : numpy.random.Generator
        For the randomised search that is used where `d` is large (Halko et al. 2011,
        arXiv:0909.4061).
    floor : float
        Share of the largest variance that is added to each variance before division.

    Returns
    -------
    (d, rank) float32 array
        ``patches @ projection`` has uncorrelated columns, with unit variance except for the floor.
    """
    count, size = patches.shape
    rank = min(rank, size)
    if size <= _EXACT_PCA:
        basis = np.eye(size, dtype=np.float32)
        reduced = patches
    else:
        basis = rng.standard_normal((size, min(rank + 20, size)), np.float32)
        for _ in range(3):
            basis, _ = np.linalg.qr(patches.T @ (patches @ basis))
        reduced = patches @ basis
    values, vectors = np.linalg.eigh((reduced.T @ reduced).astype(np.float64) / count)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    # Directions without variance carry no information; this only avoids division by zero.
    spread = np.sqrt(np.maximum(values + floor * values[0], 1e-12 * values[0]))
    projection: Floats = basis @ (vectors / spread).astype(np.float32)
    return projection


def spherical_kmeans(
    directions: Floats, count: int, rng: np.random.Generator, *, rounds: int = 15
) -> Floats:
    """Cluster unit vectors by the angle between them.

    Parameters
    ----------
    directions : (n, d) float32 array
        Vectors of length 1.
    count : int
        Number of centroids, at most `n`.
    rng : numpy.random.Generator
        Chooses the initial centroids.
    rounds : int
        Number of iterations.

    Returns
    -------
    (count, d) float32 array
        Centroids of length 1. A centroid that loses all its vectors is reset to one of the vectors
        farthest from any centroid.
    """
    centroids = directions[rng.choice(len(directions), count, replace=False)]
    for _ in range(rounds):
        similarity = directions @ centroids.T
        nearest = similarity.argmax(axis=1)
        members = np.bincount(nearest, minlength=count)
        order = np.argsort(nearest, kind="stable")
        kept = np.flatnonzero(members)
        starts = (np.cumsum(members) - members)[kept]
        centroids[kept] = np.add.reduceat(directions[order], starts, axis=0)
        lost = np.flatnonzero(members == 0)
        worst = np.argsort(similarity.max(axis=1), kind="stable")[: len(lost)]
        centroids[lost] = directions[worst]
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return centroids


def _least_alike(responses: Floats, count: int) -> NDArray[np.intp]:
    """Return the ascending indices of columns with low mutual correlation.

    `responses` has one row per patch and one column per candidate. One of the most correlated pair
    is dropped until `count` are left.
    """
    centred = responses - responses.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    alike = np.abs(centred.T @ centred)
    np.fill_diagonal(alike, -1)
    chosen = np.ones(len(alike), bool)
    for _ in range(len(alike) - count):
        pair = np.unravel_index(alike.argmax(), alike.shape)
        # Drop the one of the pair that is more similar to a third column.
        second = [np.partition(alike[one], -2)[-2] for one in pair]
        dropped = pair[int(np.argmax(second))]
        chosen[dropped] = False
        alike[dropped] = alike[:, dropped] = -1
    return np.flatnonzero(chosen)

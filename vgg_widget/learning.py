"""Filters learned without labels: VGG19's kernels by k-means on patches of photographs.

For each convolution in network order, on the activations of the layers already learned: draw 3×3
patches, whiten them (truncated PCA), cluster them on the sphere, and let each centroid be a filter
(Coates & Ng 2012, "Learning Feature Representations with K-means"). Each filter's response is then
scaled to a standard deviation of 1 and shifted so that about a third of it survives the ReLU
(after Krähenbühl et al. 2016, "Data-dependent Initializations of Convolutional Neural Networks",
arXiv:1511.06856).

Nothing is told what it sees, so nothing is recognised: such filters are selective and readable,
which is all that is claimed for them.

``python -m vgg_widget.learning --embedded OUT.npz`` makes the default that the package ships.
"""

from __future__ import annotations

import argparse
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.choices import unknown_choice
from vgg_widget.factorised import Factors, LearnedWeights, Rounded, Storage, without
from vgg_widget.images import RGB8, ImageError, read_image, resize
from vgg_widget.layers import VGG19_CONVOLUTIONS, VGG19_LAYERS, LayerInfo
from vgg_widget.network import preprocess_caffe

Floats: TypeAlias = NDArray[np.float32]

# Below this a clustering says little, and a threshold at a quantile less.
_PATCHES_A_CENTROID = 4
# Up to here all eigenvectors cost less than looking for the largest.
_EXACT_PCA = 1200
_RANKS = (8, 512)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of the method, in the order of their use.

    Parameters
    ----------
    views : int
        How many pictures the patches are drawn from: photographs at random scales and places,
        half of them mirrored.
    canvas : int
        Side of a view, in pixels. A photograph that does not fill it goes on as in mirrors, so
        that units far from the frame see photograph and no zero padding.
    shorter : (int, int)
        The range of a photograph's shorter side in a view, in pixels; beyond 1.25 times its own
        size none is enlarged.
    patches : int
        At most so many 3×3 patches a layer.
    contrast : float
        Patches below this share of the median contrast take no part in the clustering.
    floor : float
        Share of the largest variance that is added to every one, so that whitening does not
        enlarge noise.
    surplus : float
        So many times the centroids that are needed are found; those most alike others are dropped.
    rounds : int
        Rounds of k-means.
    active : float
        Share of the patches to which a filter responds after the ReLU.
    storage : {"int8", "float16"}
        How the factors are rounded; later layers learn from what the rounded ones say.
    """

    views: int = 20
    canvas: int = 640
    shorter: tuple[int, int] = (192, 512)
    patches: int = 24_000
    contrast: float = 0.5
    floor: float = 0.003
    surplus: float = 1.5
    rounds: int = 15
    active: float = 0.35
    storage: Storage = "int8"


def learn_weights(
    images: Sequence[Any],
    *,
    rank: int = 192,
    seed: int = 0,
    progress: bool = True,
    through: str = "block5_conv4",
    recipe: Recipe | None = None,
) -> LearnedWeights:
    """Learn VGG19's filters from photographs, without labels.

    Parameters
    ----------
    images : sequence
        Photographs: anything that `load_image` takes. Half a dozen varied ones will do.
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
        of a single colour.
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

    views = _views(photographs, recipe, np.random.default_rng([seed, 0]))
    stage = _Stage([preprocess_caffe(view.astype(np.float32)) for view in views])
    learned: dict[str, Factors] = {}
    with tqdm(layers, desc="learning filters", unit="layer", disable=not progress) as bar:
        for index, info in enumerate(bar, start=1):
            bar.set_postfix_str(info.name)
            if info.kind == "conv":
                rng = np.random.default_rng([seed, index])
                patches = _draw_patches(stage, info, recipe, rng)
                learned[info.name] = _learn_layer(patches, info, rank, recipe, rng)
                # Freed before the maps of the next layer are made.
                del patches
                if info is not last:
                    stage.convolve(learned[info.name], keep=info.stride >= 4)
            else:
                stage.pool()
    about = {
        "method": "k-means on whitened patches, layer by layer, without labels",
        "version": _version(),
        "rank": rank,
        "seed": seed,
        "photographs": len(photographs),
        "sources": names,
        "recipe": asdict(recipe),
    }
    return LearnedWeights(learned, about)


def _check_arguments(rank: object, seed: object, through: str) -> None:
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


def _version() -> str:
    try:
        return metadata.version("vgg-widget")
    except metadata.PackageNotFoundError:
        return "unknown"


def _read_photographs(images: Sequence[Any], last: LayerInfo) -> tuple[list[RGB8], list[str]]:
    """Read the photographs, and name each by its file or its place; refuse what cannot teach."""
    if isinstance(images, str | bytes | Path) or getattr(images, "ndim", 4) < 4:
        raise ValueError("images is one image, not several: put it in a list.")
    photographs: list[RGB8] = []
    names: list[str] = []
    for index, image in enumerate(images):
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
        names.append(Path(reading.origin).name if reading.origin else f"images[{index}]")
    if not photographs:
        raise ValueError("images is empty: give a few photographs, best half a dozen varied ones.")
    return photographs, names


def _views(photographs: Sequence[RGB8], recipe: Recipe, rng: np.random.Generator) -> Iterator[RGB8]:
    """Give the pictures to learn from, each photograph as often as any other."""
    rounds = math.ceil(recipe.views / len(photographs))
    order = np.concatenate([rng.permutation(len(photographs)) for _ in range(rounds)])
    for photograph in (photographs[index] for index in order[: recipe.views]):
        own = min(photograph.shape[:2])
        top = min(recipe.shorter[1], 1.25 * own)
        bottom = min(recipe.shorter[0], top)
        # Evenly over octaves: twice as large is as much of a difference anywhere.
        side = math.exp(rng.uniform(math.log(bottom), math.log(top)))
        view = resize(photograph, round(side))
        if rng.integers(2):
            view = view[:, ::-1]
        for axis in (0, 1):
            view = _fill(view, axis, recipe.canvas, rng)
        yield view


def _fill(view: RGB8, axis: int, side: int, rng: np.random.Generator) -> RGB8:
    """Cut or mirror an image to a length along an axis, at a random place."""
    missing = side - view.shape[axis]
    before = int(rng.integers(abs(missing) + 1))
    if missing <= 0:
        return view.take(range(before, before + side), axis=axis)
    widths = [(0, 0)] * view.ndim
    widths[axis] = (before, missing - before)
    return np.pad(view, widths, mode="symmetric")


class _Stage:
    """The views' feature maps, as far as the network is learned."""

    def __init__(self, maps: list[Floats]) -> None:
        self._maps = maps
        self._pending: list[tuple[Floats, Floats]] = []

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, view: int) -> Floats:
        maps = self._maps[view]
        for kernel, bias in self._pending:
            maps = _convolve(maps, kernel, bias)
        return maps

    def convolve(self, factors: Factors, *, keep: bool) -> None:
        """Go through one more convolution; without `keep` again and again, when maps are asked."""
        # The maps before the second pool are too large to hold those of all views.
        self._pending.append((factors.kernel(), factors.bias))
        if keep:
            self._settle(lambda maps: maps)

    def pool(self) -> None:
        """Go through a 2×2 maximum pool."""
        self._settle(_pool)

    def _settle(self, then: Callable[[Floats], Floats]) -> None:
        for view in range(len(self)):
            self._maps[view] = then(self[view])
        self._pending = []


def _convolve(maps: Floats, kernel: Floats, bias: Floats) -> Floats:
    import tensorflow as tf

    result: Floats = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(maps[None], kernel, 1, "SAME"), bias))[0].numpy()
    return result


def _pool(maps: Floats) -> Floats:
    rows = np.maximum(maps[::2], maps[1::2])
    pooled: Floats = np.maximum(rows[:, ::2], rows[:, 1::2])
    return pooled


def _draw_patches(
    stage: _Stage, info: LayerInfo, recipe: Recipe, rng: np.random.Generator
) -> Floats:
    """Draw 3×3 patches from what the layer will see, wherever no zero padding is in sight."""
    assert info.center is not None and info.receptive_field is not None
    middles = info.center + info.stride * np.arange(recipe.canvas // info.stride)
    reach = (info.receptive_field - 1) / 2
    clear = np.flatnonzero((middles >= reach) & (middles + reach <= recipe.canvas - 1))
    if not clear.size:
        raise ValueError(
            f"recipe.canvas {recipe.canvas} is too small, since one unit of {info.name} sees "
            f"{info.receptive_field} pixels a side: give twice that."
        )
    a_view = len(clear) ** 2
    total = len(stage) * a_view
    drawn = np.sort(rng.choice(total, min(recipe.patches, total), replace=False))
    of_view = np.split(drawn, np.searchsorted(drawn, a_view * np.arange(1, len(stage))))
    patches: Floats | None = None
    start = 0
    for view, places in enumerate(of_view):
        maps = stage[view]
        channels = maps.shape[2]
        if patches is None:
            patches = np.empty((len(drawn), 9 * channels), np.float32)
        rows, columns = (clear[index] for index in divmod(places - view * a_view, len(clear)))
        block = patches[start : start + len(places)].reshape(-1, 3, 3, channels)
        for down in range(3):
            for right in range(3):
                block[:, down, right] = maps[rows + down - 1, columns + right - 1]
        start += len(places)
    assert patches is not None
    return patches


def _learn_layer(
    patches: Floats, info: LayerInfo, rank: int, recipe: Recipe, rng: np.random.Generator
) -> Factors:
    """Learn one convolution's filters; changes `patches`."""
    mean: Floats = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
    patches -= mean
    # Filters blind to the mean answer to zeros as they answer to the mean, so that the padding
    # around a map is no edge to them. The network's input has zeros for its mean already.
    blind = np.zeros_like(mean) if info is VGG19_LAYERS[0] else mean
    without(patches, blind)
    contrast = np.sqrt(np.einsum("ij,ij->i", patches, patches))
    clear = contrast > recipe.contrast * np.median(contrast)
    surplus = math.ceil(recipe.surplus * info.channels)
    needed = max(_PATCHES_A_CENTROID * surplus, rank)
    if np.count_nonzero(clear) < needed:
        raise ValueError(
            f"images gave {np.count_nonzero(clear)} patches with contrast for {info.name}, which "
            f"needs {needed}: give more varied photographs, or a recipe with more views."
        )
    projection = Rounded.of(whitening(patches, rank, rng, floor=recipe.floor), recipe.storage)
    white = patches @ projection.matrix()
    directions = white[clear]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = spherical_kmeans(directions, surplus, rng, rounds=recipe.rounds)

    def threshold(response: Floats) -> Floats:
        return np.quantile(response, 1 - recipe.active, axis=0).astype(np.float32)

    # A quarter of the patches tells twins as well as all.
    response = white[::4] @ found.T
    found = found[_least_alike(np.maximum(response - threshold(response), 0), info.channels)]
    found /= (white @ found.T).std(axis=0)[:, None]
    centroids = Rounded.of(found.T, recipe.storage)
    response = white @ centroids.matrix()
    factors = Factors(projection, centroids, blind, -threshold(response))
    to_mean = mean @ factors.kernel().reshape(mean.size, -1)
    return replace(factors, bias=factors.bias - to_mean)


def whitening(
    patches: Floats, rank: int, rng: np.random.Generator, *, floor: float = 0.003
) -> Floats:
    """Return the projection onto principal components of equal variance.

    Parameters
    ----------
    patches : (n, d) float32 array
        Patches minus their mean.
    rank : int
        Components to keep, those of the largest variance; at most `d`.
    rng : numpy.random.Generator
        For the randomised search that is used where `d` is large (Halko et al. 2011,
        arXiv:0909.4061).
    floor : float
        Share of the largest variance that is added to each before division.

    Returns
    -------
    (d, rank) float32 array
        ``patches @ projection`` has uncorrelated columns, of unit variance but for the floor.
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
    # Nothing is learned from a direction without variance, whatever it is divided by.
    spread = np.sqrt(np.maximum(values + floor * values[0], 1e-12 * values[0]))
    return basis @ (vectors / spread).astype(np.float32)


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
        Chooses the vectors to begin with.
    rounds : int
        How often vectors are assigned and centroids moved.

    Returns
    -------
    (count, d) float32 array
        Centroids of length 1. One that loses all its vectors begins again at one of those that
        are served worst.
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
    """Choose columns so that no two correlate much: drop one of the most alike pair, repeatedly."""
    centred = responses - responses.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    alike = np.abs(centred.T @ centred)
    np.fill_diagonal(alike, -1)
    chosen = np.ones(len(alike), bool)
    for _ in range(len(alike) - count):
        pair = np.unravel_index(alike.argmax(), alike.shape)
        # Of the two, the one that has another near relative besides.
        second = [np.partition(alike[one], -2)[-2] for one in pair]
        dropped = pair[int(np.argmax(second))]
        chosen[dropped] = False
        alike[dropped] = alike[:, dropped] = -1
    return np.flatnonzero(chosen)


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph that another package carries, and on what terms.

    Parameters
    ----------
    package, file : str
        Where it lies in which installed package.
    author, licence : str
        As the package states them.
    stated : str
        Where the package states them.
    """

    package: str
    file: str
    author: str
    licence: str
    stated: str

    def read(self) -> RGB8:
        """Return its pixels from the installed package; nothing is downloaded."""
        try:
            data = (resources.files(self.package) / self.file).read_bytes()
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise ImageError(
                f"photograph {self.file} of {self.package} is not installed: run "
                "pip install scikit-image scikit-learn."
            ) from error
        return read_image(data).pixels


_SKIMAGE_SAYS = "docstring of skimage.data."
_SKLEARN_SAYS = "sklearn/datasets/images/README.txt"

EMBEDDED_PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph(
        "skimage", "data/astronaut.png", "NASA",
        "no known copyright restrictions, public domain", f"{_SKIMAGE_SAYS}astronaut",
    ),
    Photograph(
        "skimage", "data/coffee.png", "Rachel Michetti (courtesy of Pikolo Espresso Bar)",
        "CC0", f"{_SKIMAGE_SAYS}coffee",
    ),
    Photograph(
        "skimage", "data/chelsea.png", "Stefan van der Walt", "CC0", f"{_SKIMAGE_SAYS}chelsea"
    ),
    Photograph(
        "skimage", "data/rocket.jpg", "SpaceX", "public domain", f"{_SKIMAGE_SAYS}rocket"
    ),
    Photograph(
        "sklearn", "datasets/images/china.jpg", "danielbuechele (flickr.com)",
        "CC BY 2.0", _SKLEARN_SAYS,
    ),
    Photograph(
        "sklearn", "datasets/images/flower.jpg", "vultilion (flickr.com)",
        "CC BY 2.0", _SKLEARN_SAYS,
    ),
)
"""What the embedded default is learned from; the sample image is not among them."""


def learn_embedded(*, seed: int = 0, progress: bool = True) -> LearnedWeights:
    """Learn the default that the package ships, from `EMBEDDED_PHOTOGRAPHS`."""
    weights = learn_weights(
        [photograph.read() for photograph in EMBEDDED_PHOTOGRAPHS], seed=seed, progress=progress
    )
    sources = [asdict(photograph) for photograph in EMBEDDED_PHOTOGRAPHS]
    return replace(weights, metadata={**weights.metadata, "sources": sources})


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the embedded default: the command behind ``make learned-weights``."""
    parser = argparse.ArgumentParser(prog="python -m vgg_widget.learning", description=main.__doc__)
    parser.add_argument("--embedded", metavar="OUT.npz", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    weights = learn_embedded(seed=chosen.seed)
    target = weights.save(chosen.embedded)
    print(f"{target}: {target.stat().st_size:,} bytes, {weights.digest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Groups of channels that are active together, found by factorising a layer's maps.

Non-negative matrix factorisation of the maps as a matrix with one row per location and one column
per channel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.scaling import Floats

# Number of rounds, after which the residual hardly changes, and updates per round: a product of
# large matrices costs as much as many updates (Gillis & Glineur 2012, "Accelerated multiplicative
# updates and hierarchical ALS algorithms for nonnegative matrix factorization").
_ROUNDS, _UPDATES = 20, 4
# Extra directions, and iterations, for the randomised singular value decomposition.
_OVERSAMPLING, _ITERATIONS = 4, 6
# Number of evenly sampled locations from which the mixtures are found.
_SAMPLED_LOCATIONS = 4096
_TINY = np.float32(1e-12)


# Underflow to 0 is harmless here.
@np.errstate(under="ignore")
def factorised(values: Floats, count: int) -> tuple[Floats, Floats]:
    """Factorise a non-negative matrix into non-negative factors, ``places @ mixtures``.

    Minimises the sum of squared errors, as in Lee & Seung 1999, "Learning the parts of objects by
    non-negative matrix factorization". The deterministic initialisation follows Boutsidis &
    Gallopoulos 2008, "SVD based initialization: A head start for nonnegative matrix factorization",
    and the updates Cichocki & Phan 2009, "Fast local algorithms for large scale nonnegative matrix
    and tensor factorizations" (HALS).

    Parameters
    ----------
    values : ndarray of float32, shape (places, channels)
        Negative values count as 0.
    count : int
        Number of mixtures, limited by the number of locations and channels.

    Returns
    -------
    places : ndarray of float32, shape (places, count)
        Amount of each mixture at each location.
    mixtures : ndarray of float32, shape (count, channels)
        Mixtures of length 1, in order of the part they explain; zeros for one that explains
        nothing.
    """
    whole = _positive(values)
    count = min(count, *whole.shape)
    # Scale to avoid overflow in products of large numbers.
    largest = np.float32(whole.max(initial=0))
    if largest < _TINY:
        return np.zeros((len(whole), count), np.float32), np.zeros(
            (count, whole.shape[1]), np.float32
        )
    whole = whole / largest
    step = -(-len(whole) // _SAMPLED_LOCATIONS)
    some = np.ascontiguousarray(whole[::step])
    places, mixtures = _initial_factors(some, count)
    for _ in range(_ROUNDS):
        _update(places, some @ mixtures.T, mixtures @ mixtures.T)
        _update(mixtures.T, (places.T @ some).T, places.T @ places)
    if step > 1:
        places = np.repeat(places, step, axis=0)[: len(whole)]
        _update(places, whole @ mixtures.T, mixtures @ mixtures.T)
    lengths = np.sqrt(np.sum(mixtures**2, axis=1))
    places, mixtures = places * lengths, mixtures / np.maximum(lengths, _TINY)[:, np.newaxis]
    order = np.argsort(-np.sum(places**2, axis=0), kind="stable")
    return np.ascontiguousarray(places[:, order] * largest), np.ascontiguousarray(mixtures[order])


@np.errstate(under="ignore")
def amounts(values: Floats, mixtures: Floats) -> Floats:
    """Return the amounts of known mixtures at each location, as `factorised` does."""
    whole = _positive(values)
    found = np.zeros((len(whole), len(mixtures)), np.float32)
    products, squares = whole @ mixtures.T, mixtures @ mixtures.T
    for _ in range(_ROUNDS):
        _update(found, products, squares)
    return found


def _positive(values: Floats) -> Floats:
    # A user's network may give NaN or infinite values.
    return np.maximum(np.nan_to_num(values, nan=0, posinf=0, neginf=0), 0)


def _update(factor: Floats, products: Floats, squares: Floats) -> None:
    """Optimise each column of a factor in turn, with the other factor fixed."""
    for k in [*range(factor.shape[1])] * _UPDATES:
        rest = products[:, k] - factor @ squares[:, k] + factor[:, k] * squares[k, k]
        np.maximum(rest / np.maximum(squares[k, k], _TINY), 0, out=factor[:, k])


def _initial_factors(values: Floats, count: int) -> tuple[Floats, Floats]:
    """Return initial factors: the larger of each singular pair's positive and negative parts."""
    left, sizes, right = _truncated_svd(values, count)
    places = np.zeros((len(values), count), np.float32)
    mixtures = np.zeros((count, values.shape[1]), np.float32)
    for k in range(count):
        parts = [
            (np.maximum(sign * left[:, k], 0), np.maximum(sign * right[k], 0)) for sign in (1, -1)
        ]
        lengths = [[np.linalg.norm(part) for part in pair] for pair in parts]
        best = int(lengths[1][0] * lengths[1][1] > lengths[0][0] * lengths[0][1])
        (column, row), (down, across) = parts[best], lengths[best]
        size = np.sqrt(sizes[k] * down * across)
        places[:, k] = size * column / max(down, _TINY)
        mixtures[k] = size * row / max(across, _TINY)
    # Replace zeros by small values, since a mixture that is 0 everywhere could never grow.
    mean = np.sqrt(values.mean() / max(count, 1))
    for factor in (places, mixtures):
        factor[factor < 1e-6 * mean] = np.float32(1e-2) * mean
    return places, mixtures


def _truncated_svd(values: Floats, count: int) -> tuple[Floats, npt.NDArray[np.float32], Floats]:
    """Return the largest singular values and vectors, by subspace iteration from a fixed start.

    Computing all of them would take longer than everything else.
    """
    wanted = min(count + _OVERSAMPLING, *values.shape)
    found = np.random.default_rng(0).standard_normal((values.shape[1], wanted), np.float32)
    for _ in range(_ITERATIONS):
        found, _ = np.linalg.qr(values.T @ (values @ found))
    left, sizes, right = np.linalg.svd(values @ found, full_matrices=False)
    return left[:, :count], sizes[:count], (right @ found.T)[:count]

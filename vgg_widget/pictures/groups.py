"""Channels that are active together: a layer's maps as few maps, each of its own mixture.

Non-negative matrix factorisation of the maps as a matrix, a row a place and a column a channel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.scaling import Floats

# Rounds, after which the residual hardly changes, and updates in each: a product of large matrices
# takes as long as many updates (Gillis & Glineur 2012, "Accelerated multiplicative updates and
# hierarchical ALS algorithms for nonnegative matrix factorization").
_ROUNDS, _UPDATES = 20, 4
# Directions beside those that are wanted, and rounds, until they are found.
_MORE, _TURNS = 4, 6
# From so many places, evenly taken, the mixtures are found.
_PLACES = 4096
_TINY = np.float32(1e-12)


# What is too small for a number is as good as 0.
@np.errstate(under="ignore")
def factorised(values: Floats, count: int) -> tuple[Floats, Floats]:
    """Write a matrix that is nowhere negative as a product of two such: ``places @ mixtures``.

    Lee & Seung 1999, "Learning the parts of objects by non-negative matrix factorization", for the
    smallest sum of squares. The beginning is that of Boutsidis & Gallopoulos 2008, "SVD based
    initialization: A head start for nonnegative matrix factorization", in which nothing is random,
    and the updates those of Cichocki & Phan 2009, "Fast local algorithms for large scale
    nonnegative matrix and tensor factorizations" (HALS).

    Parameters
    ----------
    values : ndarray of float32, shape (places, channels)
        What is below 0 counts as 0.
    count : int
        How many mixtures; fewer where there are not as many places or channels.

    Returns
    -------
    places : ndarray of float32, shape (places, count)
        How much of each mixture is at each place.
    mixtures : ndarray of float32, shape (count, channels)
        Each of length 1, the one that explains most first; 0 for one that explains nothing.
    """
    whole = _positive(values)
    count = min(count, *whole.shape)
    # Products of large numbers would be none.
    largest = np.float32(whole.max(initial=0))
    if largest < _TINY:
        return np.zeros((len(whole), count), np.float32), np.zeros(
            (count, whole.shape[1]), np.float32
        )
    whole = whole / largest
    apart = -(-len(whole) // _PLACES)
    some = np.ascontiguousarray(whole[::apart])
    places, mixtures = _beginning(some, count)
    for _ in range(_ROUNDS):
        _update(places, some @ mixtures.T, mixtures @ mixtures.T)
        _update(mixtures.T, (places.T @ some).T, places.T @ places)
    if apart > 1:
        places = np.repeat(places, apart, axis=0)[: len(whole)]
        _update(places, whole @ mixtures.T, mixtures @ mixtures.T)
    lengths = np.sqrt(np.sum(mixtures**2, axis=1))
    places, mixtures = places * lengths, mixtures / np.maximum(lengths, _TINY)[:, np.newaxis]
    order = np.argsort(-np.sum(places**2, axis=0), kind="stable")
    return np.ascontiguousarray(places[:, order] * largest), np.ascontiguousarray(mixtures[order])


@np.errstate(under="ignore")
def amounts(values: Floats, mixtures: Floats) -> Floats:
    """Return how much of mixtures that are known is at each place, as `factorised` does."""
    whole = _positive(values)
    found = np.zeros((len(whole), len(mixtures)), np.float32)
    products, squares = whole @ mixtures.T, mixtures @ mixtures.T
    for _ in range(_ROUNDS):
        _update(found, products, squares)
    return found


def _positive(values: Floats) -> Floats:
    # A network of somebody's own may give what is no number, or not finite.
    return np.maximum(np.nan_to_num(values, nan=0, posinf=0, neginf=0), 0)


def _update(factor: Floats, products: Floats, squares: Floats) -> None:
    """Give each column of a factor in turn its best values, for the other factor as it is."""
    for k in [*range(factor.shape[1])] * _UPDATES:
        rest = products[:, k] - factor @ squares[:, k] + factor[:, k] * squares[k, k]
        np.maximum(rest / np.maximum(squares[k, k], _TINY), 0, out=factor[:, k])


def _beginning(values: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the larger of the positive and the negative part of each singular pair."""
    left, sizes, right = _singular(values, count)
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
    # What is 0 can grow all the same, but for a mixture that is 0 throughout.
    mean = np.sqrt(values.mean() / max(count, 1))
    for factor in (places, mixtures):
        factor[factor < 1e-6 * mean] = np.float32(1e-2) * mean
    return places, mixtures


def _singular(values: Floats, count: int) -> tuple[Floats, npt.NDArray[np.float32], Floats]:
    """Return the largest singular values and vectors, by turns of a subspace that begins fixed.

    All of them would take longer than everything else.
    """
    wanted = min(count + _MORE, *values.shape)
    found = np.random.default_rng(0).standard_normal((values.shape[1], wanted), np.float32)
    for _ in range(_TURNS):
        found, _ = np.linalg.qr(values.T @ (values @ found))
    left, sizes, right = np.linalg.svd(values @ found, full_matrices=False)
    return left[:, :count], sizes[:count], (right @ found.T)[:count]

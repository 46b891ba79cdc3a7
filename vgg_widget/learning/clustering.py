"""Whitening, k-means on the sphere, and a choice of what differs: numpy alone."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Up to here all eigenvectors cost less than looking for the largest.
_EXACT_PCA = 1200

Floats: TypeAlias = NDArray[np.float32]


def whitening(
    patches: Floats, rank: int, rng: np.random.Generator, *, floor: float = 0.001
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


def least_alike(responses: Floats, count: int) -> NDArray[np.intp]:
    """Return rising numbers of columns, of which no two correlate much.

    `responses` has a row a patch and a column a candidate. Of the most correlated pair one is
    dropped, until `count` are left.
    """
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

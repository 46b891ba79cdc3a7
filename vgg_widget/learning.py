"""Filters learned without labels: VGG19's kernels by k-means on patches of photographs.

For each convolution in network order, on the activations of the layers already learned: draw 3×3
patches, whiten them (truncated PCA), cluster them on the sphere, and let each centroid be a filter
(Coates & Ng 2012, "Learning Feature Representations with K-means"). Each filter's response is then
scaled to a standard deviation of 1 and shifted so that a third of it survives the ReLU, after
Krähenbühl et al. 2016, "Data-dependent Initializations of Convolutional Neural Networks".

No label is seen, so nothing is recognised: the filters are selective, which is all that is claimed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgg_widget.choices import unknown_choice
from vgg_widget.factorised import Factors, LearnedWeights
from vgg_widget.layers import VGG19_CONVOLUTIONS, VGG19_LAYERS, LayerInfo

Floats = NDArray[np.float32]

CAFFE_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of the method, in the order in which they are used."""

    views: int = 20
    canvas: int = 640
    shorter: tuple[int, int] = (192, 512)
    patches: int = 24_000
    contrast: float = 0.5
    centre_padding: bool = True
    rank: int = 160
    floor: float = 0.003
    surplus: float = 1.5
    rounds: int = 15
    active: float = 0.35
    valid: bool = True


def learn_weights(
    images: Sequence[Any],
    *,
    rank: int = 160,
    seed: int = 0,
    progress: bool = True,
    recipe: Recipe | None = None,
    through: str = "block5_conv4",
    sources: Sequence[str] = (),
) -> LearnedWeights:
    recipe = recipe or Recipe(rank=rank)
    photographs = list(images)
    rng = np.random.default_rng([seed, 0])
    views = list(_views(photographs, recipe, rng))
    from tqdm.auto import tqdm
    maps = views
    layers: dict[str, Factors] = {}
    pending: list[Factors] = []
    bar = tqdm(VGG19_LAYERS, disable=not progress)
    for index, info in enumerate(VGG19_LAYERS):
        bar.set_description(info.name)
        if info.kind == "conv":
            factors = _learn_layer(maps, pending, info, recipe, np.random.default_rng([seed, index + 1]))
            layers[info.name] = factors
            if info.stride < 4:
                pending.append(factors)
            else:
                k, b = factors.kernel(), factors.bias
                for i in range(len(maps)):
                    maps[i] = _convolve(maps[i], k, b)
        else:
            for i in range(len(maps)):
                maps[i] = _pool(_through(maps[i], pending))
            pending = []
        bar.update()
        if info.name == through:
            break
    bar.close()
    return LearnedWeights(layers, {"seed": seed, "photographs": len(photographs), **asdict(recipe)})


def _views(photographs, recipe, rng):
    order = np.concatenate([rng.permutation(len(photographs)) for _ in range(-(-recipe.views // len(photographs)))])
    for which in order[: recipe.views]:
        photo = photographs[which]
        h, w = photo.shape[:2]
        low, high = recipe.shorter
        high = min(high, 1.25 * min(h, w))
        side = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        s = side / min(h, w)
        im = Image.fromarray(photo).resize((round(w * s), round(h * s)), Image.Resampling.BICUBIC)
        a = np.asarray(im)
        if rng.integers(2):
            a = a[:, ::-1]
        out = []
        for axis in (0, 1):
            n = a.shape[axis]
            if n < recipe.canvas:
                extra = recipe.canvas - n
                before = int(rng.integers(extra + 1))
                pad = [(0, 0)] * 3
                pad[axis] = (before, extra - before)
                a = np.pad(a, pad, mode="symmetric")
            else:
                start = int(rng.integers(n - recipe.canvas + 1))
                a = np.take(a, range(start, start + recipe.canvas), axis=axis)
        x = a[..., ::-1].astype(np.float32) - np.array(CAFFE_MEAN, np.float32)
        yield x


def _convolve(maps, kernel, bias):
    import tensorflow as tf
    y = tf.nn.conv2d(maps[None], kernel, 1, "SAME")
    return tf.nn.relu(tf.nn.bias_add(y, bias))[0].numpy()


def _pool(m):
    h, w = m.shape[0] // 2 * 2, m.shape[1] // 2 * 2
    m = m[:h, :w]
    return np.maximum(np.maximum(m[::2, ::2], m[1::2, ::2]), np.maximum(m[::2, 1::2], m[1::2, 1::2]))


def _through(m, pending):
    for f in pending:
        m = _convolve(m, f.kernel(), f.bias)
    return m


def _learn_layer(maps, pending, info, recipe, rng):
    import time
    t0 = time.time()
    x = _draw(maps, pending, info, recipe, rng)
    t1 = time.time()
    n, d = x.shape
    mean = x.mean(0, dtype=np.float64).astype(np.float32)
    x -= mean
    if recipe.centre_padding and d > 27:
        m = mean.reshape(9, -1)
        m = m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-12)
        c = d // 9
        for p in range(9):
            part = x[:, p * c:(p + 1) * c]
            part -= (part @ m[p])[:, None] * m[p]
    norms = np.sqrt(np.einsum("ij,ij->i", x, x))
    keep = norms > recipe.contrast * np.median(norms)
    projection = whitening(x, recipe.rank, recipe.floor, rng).astype(np.float16)
    t2 = time.time()
    white = x @ projection.astype(np.float32)
    del x
    count = info.channels
    unit = white[keep]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    centroids = spherical_kmeans(unit, round(count * recipe.surplus), recipe.rounds, rng)
    response = white @ centroids.T
    response /= response.std(0)
    if recipe.surplus > 1:
        thr = np.quantile(response[:6000], 1 - recipe.active, axis=0)
        kept = _least_alike(np.maximum(response - thr, 0), count)
        centroids = centroids[kept]
    spread = (white @ centroids.T).std(0)
    directions = (centroids / spread[:, None]).T.astype(np.float16)
    response = white @ directions.astype(np.float32)
    thr = np.quantile(response, 1 - recipe.active, axis=0)
    kernel_mean = mean @ (projection.astype(np.float32) @ directions.astype(np.float32))
    bias = (-kernel_mean - thr).astype(np.float32)
    print(info.name, n, f"draw {t1-t0:.1f} pca {t2-t1:.1f} rest {time.time()-t2:.1f}", flush=True)
    return Factors(projection, directions, bias)


def _draw(maps, pending, info, recipe, rng):
    side = recipe.canvas
    units = side // info.stride
    centers = info.center + np.arange(units) * info.stride
    reach = (info.receptive_field - 1) / 2 
    inside = np.flatnonzero((centers - reach >= 0) & (centers + reach <= side - 1))
    if not recipe.valid:
        inside = np.arange(1, units - 1)
    k = len(inside)
    total = len(maps) * k * k
    chosen = np.sort(rng.choice(total, min(recipe.patches, total), replace=False))
    out = None
    at = 0
    for v, start in enumerate(maps):
        mine = chosen[(chosen >= v * k * k) & (chosen < (v + 1) * k * k)] - v * k * k
        m = _through(start, pending)
        c = m.shape[2]
        if out is None:
            out = np.empty((len(chosen), 9 * c), np.float32)
        r, q = inside[mine // k], inside[mine % k]
        for p in range(9):
            out[at:at + len(mine), p * c:(p + 1) * c] = m[r + p // 3 - 1, q + p % 3 - 1]
        at += len(mine)
    return out


def whitening(x, rank, floor, rng, oversample=20, iterations=3):
    n, d = x.shape
    rank = min(rank, d)
    if d <= 1200:
        values, vectors = np.linalg.eigh((x.T @ x).astype(np.float64) / n)
        values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    else:
        q = rng.standard_normal((d, rank + oversample), np.float32)
        for _ in range(iterations):
            q = np.linalg.qr(x.T @ (x @ q))[0]
        b = x @ q
        values, small = np.linalg.eigh((b.T @ b).astype(np.float64) / n)
        values, small = values[::-1][:rank], small[:, ::-1][:, :rank]
        vectors = q @ small
    return (vectors / np.sqrt(values + floor * values[0])).astype(np.float32)


def spherical_kmeans(unit, count, rounds, rng):
    c = unit[rng.choice(len(unit), count, replace=False)]
    for _ in range(rounds):
        sim = unit @ c.T
        label = sim.argmax(1)
        best = sim[np.arange(len(unit)), label]
        order = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[order], np.arange(count))
        sizes = np.bincount(label, minlength=count)
        sums = np.zeros_like(c)
        alive = np.flatnonzero(sizes)
        sums[alive] = np.add.reduceat(unit[order], starts[alive], axis=0)
        dead = np.flatnonzero(sizes == 0)
        if len(dead):
            sums[dead] = unit[np.argsort(best, kind="stable")[: len(dead)]]
        c = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return c


def _least_alike(response, count):
    r = response - response.mean(0)
    r /= np.maximum(np.linalg.norm(r, axis=0), 1e-12)
    corr = np.abs(r.T @ r)
    np.fill_diagonal(corr, 0)
    left = list(range(len(corr)))
    alive = np.ones(len(corr), bool)
    for _ in range(len(corr) - count):
        i, j = np.unravel_index(corr.argmax(), corr.shape)
        a = np.partition(corr[i], -2)[-2]
        b = np.partition(corr[j], -2)[-2]
        drop = i if a >= b else j
        corr[drop] = 0
        corr[:, drop] = 0
        alive[drop] = False
    return np.flatnonzero(alive)

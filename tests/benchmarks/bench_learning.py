"""Compare filters learned without labels with random ones, layer by layer.

    python tests/benchmarks/bench_learning.py [--seeds 5] [--digits 1797] [--through block5_conv4]
                                              [--learned FILE ...] [--json out.json]

Both networks are VGG19. One has He-normal random kernels and zero biases, with seeds 0, 1, …; the
other has the filters that ``learn_embedded(seed=…)`` learns from photographs, or those of the given
files. Every number is the mean over the seeds, followed by the smallest and largest.

These figures are measured for each convolution, from its maps after the ReLU, on a photograph that
is not used for learning (matplotlib's ``grace_hopper.jpg``, shorter side 224):

kurtosis
    The median over alive channels of E[(x - mean)⁴] / variance² (3 for a normal distribution). It
    is large if a channel responds strongly at few locations.
|corr|
    The mean over all pairs of alive channels of |Pearson's r| between their maps.
alive
    The share of channels whose map is not constant: its standard deviation is above 10⁻⁶ of the
    layer's.
twins
    The share of alive channels that have |r| > 0.95 with another channel.
active
    The share of values above 0.
unframed
    The median over channels of Pearson's r between the photograph's map and the same locations of
    a second map. For that, the photograph is surrounded by its own mirror image, 256 pixels on each
    side. The value is 1 if the zero padding at the border changes nothing.

This figure is measured for the last convolution of each block:

probe
    The accuracy of a linear classifier for scikit-learn's 8×8 digits, bilinearly enlarged to 64×64
    with equal R, G and B. The features are each channel's mean over locations, standardised. The
    classifier is scikit-learn's LogisticRegression with its defaults, except for max_iter=1000. It
    is trained on one half of the digits and tested on the other, stratified, with the same halves
    every time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgg_widget.images import resize, sample_image
from vgg_widget.layers import VGG19_LAYERS, LayerInfo
from vgg_widget.learning.embedded import learn_embedded
from vgg_widget.network.vgg import preprocess_caffe
from vgg_widget.weights import random_arrays
from vgg_widget.weights.learned_weights import LearnedWeights

Floats = NDArray[np.float32]
Kernels = Mapping[str, tuple[Floats, Floats]]
MARGIN = 256
TWINS = 0.95


def forward(
    pictures: NDArray[Any], kernels: Kernels, layers: tuple[LayerInfo, ...]
) -> Iterator[tuple[LayerInfo, Floats]]:
    """Yield each convolution with its maps after the ReLU, (N, H, W, C)."""
    import tensorflow as tf

    maps = tf.constant(preprocess_caffe(pictures.astype(np.float32)))
    for info in layers:
        if info.kind == "conv":
            kernel, bias = kernels[info.name]
            maps = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(maps, kernel, 1, "SAME"), bias))
            yield info, maps.numpy()
        else:
            maps = tf.nn.max_pool2d(maps, 2, 2, "VALID")


def correlations(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return Pearson's r of each column with the column of the same index."""
    one, other = (part - part.mean(axis=0) for part in (one, other))
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    return np.asarray((one * other).sum(axis=0) / np.maximum(lengths, 1e-12))


def describe(maps: Floats) -> dict[str, float]:
    """Return one layer's figures on one photograph."""
    values = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    spread = values.std(axis=0)
    alive = spread > 1e-6 * values.std()
    scores = (values[:, alive] - values[:, alive].mean(axis=0)) / spread[alive]
    alike = np.abs(scores.T @ scores / len(scores))
    np.fill_diagonal(alike, 0)
    return {
        "kurtosis": float(np.median((scores**4).mean(axis=0))),
        "|corr|": float(alike.sum() / (len(alike) * (len(alike) - 1))),
        "alive": float(alive.mean()),
        "twins": float((alike.max(axis=0) > TWINS).mean()),
        "active": float((values > 0).mean()),
    }


def on_the_photograph(
    kernels: Kernels, layers: tuple[LayerInfo, ...]
) -> dict[str, dict[str, float]]:
    """Return every layer's figures on the photograph that is not used for learning."""
    picture = resize(sample_image(), 224)
    figures = {i.name: describe(maps[0]) for i, maps in forward(picture[None], kernels, layers)}
    # Crop to multiples of the deepest stride, so that both grids of units lie on the same pixels.
    inner = picture[: picture.shape[0] // 32 * 32, : picture.shape[1] // 32 * 32]
    around = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    mirrored = np.pad(inner, around, mode="symmetric")
    both = zip(
        forward(inner[None], kernels, layers),
        forward(mirrored[None], kernels, layers),
        strict=True,
    )
    for (info, framed), (_, free) in both:
        start, (height, width) = MARGIN // info.stride, framed.shape[1:3]
        same = free[0, start : start + height, start : start + width]
        flat = [part.reshape(-1, info.channels) for part in (framed[0], same)]
        figures[info.name]["unframed"] = float(np.median(correlations(*flat)))
    return figures


def probe(kernels: Kernels, layers: tuple[LayerInfo, ...], count: int) -> dict[str, float]:
    """Return the linear classifier's accuracy on each block's last convolution."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    small = (digits.images[:count] * (255 / 16)).astype(np.uint8)
    large = [Image.fromarray(digit).resize((64, 64), Image.Resampling.BILINEAR) for digit in small]
    pictures = np.repeat(np.stack([np.asarray(image) for image in large])[..., None], 3, axis=-1)
    last = {info.block: info.name for info in layers if info.kind == "conv"}
    pooled: dict[str, list[Floats]] = {name: [] for name in last.values()}
    for start in range(0, count, 32):
        for info, maps in forward(pictures[start : start + 32], kernels, layers):
            if info.name in pooled:
                pooled[info.name].append(maps.mean(axis=(1, 2)))
    accuracy = {}
    for name, parts in pooled.items():
        train, test, names, expected = train_test_split(
            np.concatenate(parts),
            digits.target[:count],
            test_size=0.5,
            random_state=0,
            stratify=digits.target[:count],
        )
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        accuracy[name] = float(classifier.fit(train, names).score(test, expected))
    return accuracy


def measure(
    kernels: Kernels, layers: tuple[LayerInfo, ...], digits: int
) -> dict[str, dict[str, float]]:
    """Return all figures, layer by layer."""
    figures = on_the_photograph(kernels, layers)
    if digits:
        for name, accuracy in probe(kernels, layers, digits).items():
            figures[name]["probe"] = accuracy
    return figures


def table(title: str, runs: list[dict[str, dict[str, float]]]) -> str:
    """Return the runs' means with their ranges, as lines of text."""
    columns = ("kurtosis", "|corr|", "alive", "twins", "active", "unframed", "probe")
    lines = [
        f"{title} (mean, smallest–largest)",
        "layer".ljust(14) + "".join(f"{c:>20}" for c in columns),
    ]
    for layer in runs[0]:
        cells = []
        for column in columns:
            values = [run[layer][column] for run in runs if column in run[layer]]
            digits = 1 if column == "kurtosis" else 3
            cells.append(
                f"{np.mean(values):.{digits}f} {min(values):.{digits}f}–{max(values):.{digits}f}"
                if values
                else ""
            )
        lines.append(layer.ljust(14) + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def not_better(random: list[Any], learned: list[Any]) -> Iterator[str]:
    """Yield the figures whose mean is not better for learned than for random filters."""
    larger = {
        "kurtosis": True,
        "|corr|": False,
        "alive": True,
        "twins": False,
        "unframed": True,
        "probe": True,
    }
    for layer in random[0]:
        for column, up in larger.items():
            if column in random[0][layer]:
                before, after = (
                    float(np.mean([run[layer][column] for run in runs]))
                    for runs in (random, learned)
                )
                if after == before and column in ("alive", "twins"):
                    continue
                if (after > before) is not up:
                    yield f"{layer}: {column} {before:.3f} → {after:.3f}"


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--digits", type=int, default=1797, help="0: no linear probe")
    parser.add_argument("--through", default="block5_conv4", help="the last layer to measure")
    parser.add_argument("--learned", type=Path, nargs="*", help="files instead of learning anew")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    names = [info.name for info in VGG19_LAYERS]
    layers = VGG19_LAYERS[: names.index(chosen.through) + 1]

    def learn(seed: int) -> LearnedWeights:
        start = time.perf_counter()
        weights = learn_embedded(seed=seed)
        print(f"learned with seed {seed} in {time.perf_counter() - start:.0f} s", flush=True)
        return weights

    seeds = range(chosen.seeds)
    made: dict[str, Iterator[Kernels]] = {
        "random": (random_arrays(seed) for seed in seeds),
        "learned": (LearnedWeights.load(path).kernels() for path in chosen.learned)
        if chosen.learned
        else (learn(seed).kernels() for seed in seeds),
    }
    results = {
        name: [measure(kernels, layers, chosen.digits) for kernels in networks]
        for name, networks in made.items()
    }
    for name, runs in results.items():
        print(table(f"{name}, {len(runs)} seeds", runs), end="\n\n")
    worse = list(not_better(results["random"], results["learned"]))
    print("Not better than random:", *(worse or ["nothing"]), sep="\n  ")
    if chosen.json:
        chosen.json.write_text(json.dumps({**results, "not better": worse}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

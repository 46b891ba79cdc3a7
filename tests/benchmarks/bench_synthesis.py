"""Synthetic images: the cost of a step, of a whole image, of a reconstruction and of groups."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.bench_forward import take_turns
from tests.benchmarks.conftest import Book
from tests.benchmarks.processes import in_fresh_process
from tests.benchmarks.targets import (
    BARE_STEP,
    GROUPS,
    LEFT,
    MADE,
    MADE_MEMORY,
    PLAIN_ADAM,
    SKLEARN,
    STEP,
    WITH_PRIOR,
)
from vgg_widget import Activations, FeatureExtractor, sample_image
from vgg_widget.gradients import reconstruct, visualize_channel
from vgg_widget.gradients.synthesis import ChannelMaking
from vgg_widget.network.vgg import preprocess_caffe
from vgg_widget.pictures.groups import factorised

RGB8 = npt.NDArray[np.uint8]


def bare_step(extractor: FeatureExtractor, layer: str, side: int) -> Callable[[], Any]:
    """Return a compiled pass forward to a layer and back to the pixels, with nothing else."""
    import tensorflow as tf

    names = [info.name for info in extractor.layers]
    layers = [extractor.model.get_layer(name) for name in names[: names.index(layer) + 1]]

    def gradient(pictures: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pictures)
            x = pictures
            for one in layers:
                x = one(x)
            value = tf.reduce_mean(x[..., 0])
        return tape.gradient(value, pictures)

    signature = [tf.TensorSpec((None, None, None, 3))]
    compiled = tf.function(gradient, autograph=False, input_signature=signature)
    noise = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)
    inputs = preprocess_caffe(noise)
    return lambda: compiled(inputs).numpy()


def bench_steps(book: Book, extractor: FeatureExtractor) -> None:
    for layer, side in (("block3_conv1", 96), ("block4_conv1", 160), ("block5_conv1", 224)):
        making = ChannelMaking(extractor, layer, 7, size=side)
        passes = {
            f"{layer}, {side} px": making.step,
            f"{layer}, {side} px: {BARE_STEP}": bare_step(extractor, layer, side),
        }
        for name, seconds in take_turns(passes, {}).items():
            book.note(STEP, name, seconds)


def bench_pictures(book: Book, extractor: FeatureExtractor) -> None:
    for layer, side, steps in (("block3_conv1", 96, 128), ("block5_conv1", 224, 256)):
        before = time.perf_counter()
        visualize_channel(extractor, layer, 7, size=side, steps=steps, progress=False)
        seconds = time.perf_counter() - before
        book.note(MADE, f"{layer}, {side} px, {steps} steps", seconds)
    book.note(MADE, MADE_MEMORY, in_fresh_process("synthesis")["peak"], "MB")


def bench_reconstruction(book: Book) -> None:
    extractor = FeatureExtractor("kmeans", size=(96, 96))
    activations = extractor(sample_image())
    for layer in ("block2_conv2", "block3_conv1"):
        bare = bare_step(extractor, layer, 96)
        bare()
        before = time.perf_counter()
        found = reconstruct(extractor, activations, layer, progress=False)
        between = time.perf_counter()
        # The time of 300 plain steps of Adam, without Adam's own updates.
        for _ in range(300):
            bare()
        after = time.perf_counter()
        book.note(LEFT, f"{layer}: {WITH_PRIOR}", between - before)
        book.note(LEFT, f"{layer}: {PLAIN_ADAM}", after - between)
        book.note(LEFT, f"{layer}: error at the layer", found.error, "")
        assert found.pixel_rms is not None
        book.note(LEFT, f"{layer}: difference in pixels", found.pixel_rms, "levels")


def bench_groups(book: Book, seen: Activations) -> None:
    from sklearn.decomposition import NMF

    maps = seen["block4_conv1"]
    # The maps of two images in one array, like those of a panorama.
    values = np.concatenate([maps, maps[::-1, ::-1]]).reshape(-1, maps.shape[-1])
    passes = {
        "vgg_widget": lambda: factorised(values, 6),
        SKLEARN: lambda: NMF(6, init="nndsvd", max_iter=200, tol=1e-3).fit(values),
    }
    for name, seconds in take_turns(passes, {}).items():
        book.note(GROUPS, name, seconds)

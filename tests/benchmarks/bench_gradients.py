"""The cost of attribution, against a forward pass of all layers and plain TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.bench_forward import take_turns
from tests.benchmarks.conftest import Book
from tests.benchmarks.targets import ATTRIBUTION, ONCE, PLAIN, UNIT
from vgg_widget import Activations, FeatureExtractor
from vgg_widget.gradients import attribute, class_map
from vgg_widget.network.vgg import preprocess_caffe
from vgg_widget.predictions import Predictor
from vgg_widget.weights import Classifier

RGB8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# A unit that sees the whole image, so that no crop makes it cheaper.
LAYER, LOCATION = "block5_conv4", (7, 7)


def by_hand(extractor: FeatureExtractor, channel: int) -> Callable[[Floats], tuple[Any, Any]]:
    """Return a compiled function with one gradient tape, written for this layer only."""
    import tensorflow as tf

    layers = [extractor.model.get_layer(info.name) for info in extractor.layers]
    names = [info.name for info in extractor.layers]
    row, column = LOCATION

    def gradient(pictures: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pictures)
            x = pictures
            for layer in layers[: names.index(LAYER) + 1]:
                x = layer(x)
            values = x[:, row, column, channel]
        return values, tape.gradient(values, pictures)

    signature = [tf.TensorSpec((None, None, None, 3))]
    compiled = tf.function(gradient, autograph=False, input_signature=signature)
    return lambda inputs: tuple(one.numpy() for one in compiled(inputs))


def dense(extractor: FeatureExtractor) -> Predictor:
    """Return a predictor as large as ImageNet's, with constant weights."""
    sizes = (25088, 4096, 4096, 1000)
    layers = tuple(
        (np.full((incoming, outgoing), 1e-3, np.float32), np.zeros(outgoing, np.float32))
        for incoming, outgoing in pairwise(sizes)
    )
    names = tuple((f"n{number}", f"class {number}") for number in range(1000))
    return Predictor(extractor, Classifier(layers, channels_first=False), names)


def bench_attribution(
    book: Book, extractor: FeatureExtractor, square: RGB8, seen: Activations, monkeypatch: Any
) -> None:
    """Run all in turn, so that other load on the machine affects all alike."""
    channel = int(seen.rank_at(LAYER, *LOCATION)[0])
    network, plain = extractor._network, by_hand(extractor, channel)
    inputs = preprocess_caffe(square[np.newaxis].astype(np.float32))
    predictor = dense(extractor)
    monkeypatch.setattr(class_map, "predictor_for", lambda _: predictor)

    def of_unit(method: Any, **more: Any) -> Callable[[], object]:
        return lambda: attribute(extractor, seen, LAYER, channel, LOCATION, method=method, **more)

    def many() -> object:
        return [plain(np.repeat(inputs, count, axis=0)) for count in (8, 8, 8, 1)]

    passes = {
        ONCE: lambda: [np.asarray(output) for output in network.forward(inputs)],  # type: ignore[attr-defined]
        "gradient": of_unit("gradient"),
        f"gradient: {PLAIN}": lambda: plain(inputs),
        "grad_cam": lambda: attribute(extractor, seen, LAYER, method="grad_cam", target=5),
    }
    long = {
        "smoothgrad, 25": of_unit("smoothgrad"),
        f"smoothgrad, 25: {PLAIN}": many,
        "integrated gradients, 50": of_unit("integrated_gradients"),
        "occlusion": of_unit("occlusion"),
    }
    for name, seconds in take_turns(passes, long).items():
        book.note(ATTRIBUTION, name, seconds)
    # A unit for which a crop is enough.
    middle, place = "block3_conv1", (28, 28)
    number = int(seen.rank_at(middle, *place)[0])
    parts: dict[str, Callable[[], Any]] = {ONCE: passes[ONCE]}
    for method in ("gradient", "smoothgrad", "integrated_gradients", "occlusion"):
        parts[method] = partial(attribute, extractor, seen, middle, number, place, method=method)
    for name, seconds in take_turns(parts, {}).items():
        book.note(UNIT, name, seconds)

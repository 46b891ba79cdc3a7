"""All 21 outputs of one image from the same weights, by vgg_widget, Keras and other libraries."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.benchmarks import peers
from tests.benchmarks.conftest import Book
from tests.benchmarks.processes import in_fresh_process
from tests.benchmarks.targets import DIFFERENCE, FIRST, FORWARD, LOOP, NETWORK, ONNX, RETRACES
from vgg_widget import Activations, FeatureExtractor
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.network.vgg import preprocess_caffe
from vgg_widget.weights import Arrays

RGB8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def inputs(square: RGB8) -> Floats:
    return preprocess_caffe(square[np.newaxis].astype(np.float32))


KERAS = "one Keras model of 21 outputs, eager"
FLOOR = "floor: as many operations in matrix products"
LIBRARIES: dict[str, Callable[[Arrays], peers.Pass]] = {
    "PyTorch": peers.pytorch,
    ONNX: peers.onnx_runtime,
    "OpenVINO": peers.openvino,
}
WARM_UP, ROUNDS, LONG_EVERY = 2, 13, 5


def largest_difference(outputs: list[Any], seen: Activations) -> float:
    """Return the largest difference in any layer, relative to that layer's largest value."""
    found = []
    for output, info in zip(outputs, VGG19_LAYERS, strict=True):
        ours, maps = seen[info.name], np.asarray(output)[0]
        if maps.shape != ours.shape:
            maps = maps.transpose(1, 2, 0)
        found.append(float(np.abs(maps - ours).max() / np.abs(maps).max()))
    return max(found)


def bench_forward(
    book: Book, extractor: FeatureExtractor, square: RGB8, inputs: Floats, seen: Activations
) -> None:
    """Run all in turn, so that other load on the machine affects all alike."""
    model, network = extractor.model, extractor._network
    arrays = peers.arrays_of(model)

    def ours() -> list[Any]:
        return [np.asarray(output) for output in network.forward(inputs)]  # type: ignore[attr-defined]

    passes: dict[str, Callable[[], Any]] = {
        "vgg_widget: image → Activations": lambda: extractor(square),
        NETWORK: ours,
        FLOOR: peers.matrix_products(),
    }
    libraries = {name: make for name, make in LIBRARIES.items() if is_installed(name)}
    for name, make in {KERAS: lambda _: peers.keras_at_once(model), **libraries}.items():
        passes[name] = checked(make(arrays), inputs, seen)
    book.note(FORWARD, DIFFERENCE, largest_difference(passes[KERAS](), seen), "")
    loops = {
        name: checked(peers.keras_one_by_one(model, predict=predict), inputs, seen)
        for name, predict in ((LOOP, False), ("the same with predict", True))
    }
    for name, seconds in take_turns(passes, loops).items():
        book.note(FORWARD, name, seconds)


def is_installed(library: str) -> bool:
    needed = {"PyTorch": ["torch"], ONNX: ["onnx", "onnxruntime"], "OpenVINO": ["onnx", "openvino"]}
    return all(importlib.util.find_spec(module) for module in needed[library])


def checked(run: peers.Pass, inputs: Floats, seen: Activations) -> Callable[[], list[Any]]:
    """Check that a pass gives the same maps as `seen`; return a function that runs it."""
    assert largest_difference(run(inputs), seen) < 1e-4
    return lambda: run(inputs)


def take_turns(
    passes: Mapping[str, Callable[[], Any]], long: Mapping[str, Callable[[], Any]]
) -> dict[str, list[float]]:
    """Time the functions in turn; the `long` ones, which take seconds, in fewer rounds."""
    spent: dict[str, list[float]] = {name: [] for name in (*passes, *long)}
    for number in range(WARM_UP + ROUNDS):
        some = {**passes, **long} if number % LONG_EVERY == WARM_UP else passes
        for name, run in some.items():
            # Threads of the previous library keep looking for work for some milliseconds.
            time.sleep(0.05)
            before = time.perf_counter()
            made = run()
            seconds = time.perf_counter() - before
            del made
            if number >= WARM_UP:
                spent[name].append(seconds)
    return spent


def bench_new_sizes(book: Book, extractor: FeatureExtractor, square: RGB8) -> None:
    """Count how often new sizes make TensorFlow trace the graph, which takes half a second."""
    extractor(square)
    forward = extractor._network.forward  # type: ignore[attr-defined]
    before = forward.experimental_get_tracing_count()
    for height, width in ((64, 64), (96, 75), (224, 96)):
        extractor(square[:height, :width])
    for _ in extractor.stream([square[:64, :96]] * 3, batch_size=3):
        pass
    again = forward.experimental_get_tracing_count() - before
    book.note(FORWARD, RETRACES, float(again), "")
    assert again == 0


def bench_first_call(book: Book) -> None:
    found = [in_fresh_process("first_call") for _ in range(2)]
    book.note(FIRST, "building the network, random weights", [one["build"] for one in found])
    book.note(FIRST, "first", [one["first"] for one in found])
    book.note(FIRST, "warm", [one["warm"] for one in found])

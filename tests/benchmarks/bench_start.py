"""Start-up times (imports, the first picture, a second explorer) and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Book
from tests.benchmarks.peers import arrays_of
from tests.benchmarks.processes import in_fresh_process
from tests.benchmarks.targets import EXPLORERS, LARGE, START, STREAM
from vgg_widget import FeatureExtractor
from vgg_widget.weights import export_weights

pytestmark = pytest.mark.usefixtures("settled_caches")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def bench_imports(book: Book) -> None:
    in_fresh_process("imports")
    for name, work, times in (
        ("import vgg_widget, beyond matplotlib and ipywidgets", "imports", 5),
        ("import tensorflow", "import_tensorflow", 2),
    ):
        book.note(START, name, [in_fresh_process(work)["seconds"] for _ in range(times)])


@pytest.fixture
def weights_file(extractor: FeatureExtractor, scratch: Path) -> str:
    """The path of a Keras weights file as large as ImageNet's."""
    path = scratch / "vgg19.weights.h5"
    export_weights(arrays_of(extractor.model), "caffe", path)
    return str(path)


@pytest.mark.parametrize("name", ["random", "kmeans", "a Keras file"])
def bench_cell(name: str, book: Book, weights_file: str) -> None:
    weights = weights_file if name == "a Keras file" else name
    found = [in_fresh_process("start", weights) for _ in range(2)]
    book.note(START, f"cell to first picture, {name}", [one["cell"] for one in found])
    book.note(START, f"… of which the constructor, {name}", [one["constructor"] for one in found])
    if name == "kmeans":
        for line, key in (
            ("second explorer to its picture", "second constructor"),
            ("second explorer, displayed by its cell", "second cell"),
            ("its forward pass", "forward"),
        ):
            book.note(START, line, [one[key] for one in found])


@linux_only
def bench_memory_of_explorers(book: Book) -> None:
    found = in_fresh_process("explorers")
    for name, key in (
        ("peak of Jupyter's kernel, TensorFlow and one explorer", "peak"),
        ("activations of an image", "activations"),
        ("each further image", "further"),
        ("returned to the system by close(), an image", "given back"),
        ("each of as many again, after close()", "again"),
    ):
        book.note(EXPLORERS, name, found[key], "MB")


@linux_only
def bench_memory_of_stream(book: Book) -> None:
    found = in_fresh_process("stream")
    for number in (50, 100, 200):
        book.note(STREAM, f"after {number} images", found[str(number)], "MB")
    book.note(STREAM, "peak", found["peak"], "MB")


@linux_only
def bench_memory_at_1024(book: Book) -> None:
    found = in_fresh_process("large")
    book.note(LARGE, "peak of one explorer", found["peak"], "MB")
    book.note(LARGE, "activations", found["activations"], "MB")
    book.note(LARGE, "seconds to its picture, network built", found["seconds"])

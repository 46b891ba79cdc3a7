"""`render` in every mode, on the layer with the most pixels and one with the most channels."""

from __future__ import annotations

import pytest

from tests.benchmarks.conftest import Book
from tests.benchmarks.targets import MODES
from vgg_widget import Activations, render


@pytest.mark.parametrize("layer", ["block1_conv1", "block4_conv1"])
@pytest.mark.parametrize("mode", MODES)
def bench_render(mode: str, layer: str, stopwatch: Book, seen: Activations) -> None:
    stopwatch.time(f"render, {layer}", mode, lambda: render(seen, layer, mode), rounds=9)

"""Time per pixel and per image, which is constant if the cost is linear."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest

from tests.benchmarks.conftest import Book
from tests.benchmarks.targets import IMAGES, PIXELS
from vgg_widget import FeatureExtractor, sample_image
from vgg_widget.images import resize_exactly


@pytest.mark.parametrize(("side", "rounds"), [(224, 9), (448, 5), (896, 3)])
def bench_pixels(side: int, rounds: int, book: Book, extractor: FeatureExtractor) -> None:
    image = resize_exactly(sample_image(), (side, side))
    extractor(image)
    spent = []
    for _ in range(rounds):
        before = time.perf_counter()
        extractor(image)
        spent.append(time.perf_counter() - before)
    book.note(PIXELS, f"{side} × {side}, a megapixel", [s / (side**2 / 1e6) for s in spent])


@pytest.mark.parametrize(("count", "rounds"), [(1, 9), (10, 3), (100, 1)])
def bench_images(
    count: int,
    rounds: int,
    book: Book,
    extractor: FeatureExtractor,
    square: npt.NDArray[np.uint8],
) -> None:
    """Stream with the default batch size and keep no result, like a loop over a folder."""
    spent = []
    for _ in range(rounds):
        before = time.perf_counter()
        assert sum(1 for _ in extractor.stream([square] * count)) == count
        spent.append((time.perf_counter() - before) / count)
    book.note(IMAGES, f"{count} image{'s' * (count > 1)}, each", spent)

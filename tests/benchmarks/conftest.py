"""Fixtures for the benchmarks: a photograph, its maps, and the book that collects figures."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.benchmarks import figures
from tests.benchmarks.figures import FOLDER, Figure
from vgg_widget import Activations, FeatureExtractor, sample_image
from vgg_widget.images import resize_exactly

# Scripts that contain no tests.
collect_ignore = ["bench_browser.py", "bench_learning.py"]

FIGURES = pytest.StashKey[list[Figure]]()


class Book:
    """Collects figures.

    Parameters
    ----------
    benchmark
        pytest-benchmark's fixture.
    pages
        The list that figures are appended to.
    """

    def __init__(self, benchmark: Any, pages: list[Figure]) -> None:
        self._benchmark = benchmark
        self._pages = pages

    def time(
        self,
        group: str,
        name: str,
        work: Callable[[], object],
        *,
        rounds: int,
        setup: Callable[[], None] | None = None,
    ) -> None:
        """Time a function after one warm-up call, and add the figure."""
        self._benchmark.group, self._benchmark.name = group, name
        # Collect the garbage of earlier benchmarks before the clock starts.
        gc.collect()
        self._benchmark.pedantic(work, rounds=rounds, warmup_rounds=1, setup=setup)
        self._pages.append(Figure.of(group, name, self._benchmark.stats.stats.data))

    def note(self, group: str, name: str, values: float | list[float], unit: str = "s") -> None:
        """Add a figure that was measured in another way."""
        if isinstance(values, list):
            self._pages.append(Figure.of(group, name, values, unit))
        else:
            self._pages.append(Figure(group, name, values, unit))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    if found := session.config.stash[FIGURES]:
        figures.save(found, FOLDER / "python.json")


@pytest.fixture
def book(request: pytest.FixtureRequest) -> Book:
    """A book for benchmarks that do not use pytest-benchmark."""
    return Book(None, request.config.stash[FIGURES])


@pytest.fixture
def stopwatch(benchmark: Any, request: pytest.FixtureRequest) -> Book:
    """A book that can also time one function."""
    return Book(benchmark, request.config.stash[FIGURES])


@pytest.fixture(scope="session")
def square() -> npt.NDArray[np.uint8]:
    """A photograph of 224×224 pixels."""
    return resize_exactly(sample_image(), (224, 224))


@pytest.fixture(scope="session")
def seen(extractor: FeatureExtractor, square: npt.NDArray[np.uint8]) -> Activations:
    """All feature maps of `square`."""
    return extractor(square)


@pytest.fixture(scope="session")
def settled_caches() -> None:
    """Have matplotlib list its fonts, once for each machine, before a start is timed."""
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], check=True)

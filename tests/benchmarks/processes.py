"""Measurements that need a fresh process: start-up times and memory.

    python -m tests.benchmarks.processes start kmeans

Each function returns a dict of numbers, seconds or megabytes (10⁶ bytes), which is printed as JSON.
Memory is read from Linux's ``/proc``.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import ROOT

Numbers = dict[str, float]

LIMIT_SECONDS = 280.0
FURTHER, SECONDS = 4, 9


def in_fresh_process(name: str, *arguments: str) -> Numbers:
    """Run one of this module's functions in a new process.

    Raises
    ------
    RuntimeError
        If it fails; the message is what it printed on stderr.
    """
    command = [sys.executable, "-m", "tests.benchmarks.processes", name, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(arguments)} failed: {done.stderr}")
    found: Numbers = json.loads(done.stdout.splitlines()[-1])
    return found


def imports() -> Numbers:
    """Import the package after ipywidgets and matplotlib, which notebooks with widgets import."""
    import ipywidgets
    import matplotlib as mpl

    before = time.perf_counter()
    import vgg_widget

    assert ipywidgets.__version__
    assert mpl.__version__
    assert vgg_widget.__all__
    return {"seconds": time.perf_counter() - before}


def import_tensorflow() -> Numbers:
    """Import TensorFlow."""
    before = time.perf_counter()
    import tensorflow as tf

    assert tf.__version__
    return {"seconds": time.perf_counter() - before}


def first_call() -> Numbers:
    """Build the network, call it once, then seven more times."""
    import keras
    import tensorflow as tf

    from vgg_widget import FeatureExtractor, sample_image

    assert keras.__version__
    tf.constant(0)
    image = sample_image()
    extractor, build = _timed(lambda: FeatureExtractor("random", size=(224, 224)))
    _, first = _timed(lambda: extractor(image))
    warm = statistics.median(_timed(lambda: extractor(image))[1] for _ in range(7))
    return {"build": build, "first": first, "warm": warm}


def start(weights: str) -> Numbers:
    """Run the cell ``LayerExplorer(image)`` after ``import tensorflow``, then more such cells."""
    import numpy as np
    import tensorflow as tf

    from vgg_widget import LayerExplorer, sample_image

    assert tf.__version__
    image = sample_image()
    explorer, constructor = _timed(lambda: LayerExplorer(image, weights=weights, size=(224, 224)))
    # Jupyter calls this for a cell's last value; then the widget is on the page.
    _, display = _timed(explorer._repr_mimebundle_)
    forwards, seconds, displays = [], [], []
    for turn in range(SECONDS):
        other = np.roll(image, 40 * turn + 20, axis=1)
        # Alternate, so that other load on the machine affects both alike.
        forwards.append(_timed(partial(explorer.extractor, other))[1])
        second, spent = _timed(partial(LayerExplorer, other, weights=weights, size=(224, 224)))
        seconds.append(spent)
        displays.append(_timed(second._repr_mimebundle_)[1])
        second.close()
    return {
        "constructor": constructor,
        "cell": constructor + display,
        "forward": statistics.median(forwards),
        "second constructor": statistics.median(seconds),
        "second cell": statistics.median(seconds) + statistics.median(displays),
    }


def explorers() -> Numbers:
    """Make one explorer and four on other images, close the four, and make as many again."""
    import ipykernel.ipkernel

    from vgg_widget import LayerExplorer, sample_image

    assert ipykernel.ipkernel
    image = sample_image()
    first = LayerExplorer(image, weights="kmeans", size=(224, 224))
    first._repr_mimebundle_()
    peak = _memory("VmHWM")
    held = sum(first.activations[name].nbytes for name in first.activations) / 1e6
    # Make and close one more, so that memory kept for reuse is not counted as a cost of the next.
    LayerExplorer(image[::-1], weights="kmeans", size=(224, 224)).close()
    gc.collect()
    before = _memory("VmRSS")
    with_more, after = _some_more(image)
    again, _ = _some_more(image)
    return {
        "peak": peak,
        "activations": held,
        "further": (with_more - before) / FURTHER,
        "given back": (with_more - after) / FURTHER,
        "again": (again - with_more) / FURTHER,
    }


def _some_more(image: Any) -> tuple[float, float]:
    """Make four explorers on other images; return the memory before and after closing them."""
    import numpy as np

    from vgg_widget import LayerExplorer

    more = [
        LayerExplorer(np.roll(image, 40 * number, axis=1), weights="kmeans", size=(224, 224))
        for number in range(1, FURTHER + 1)
    ]
    with_more = _memory("VmRSS")
    while more:
        more.pop().close()
    gc.collect()
    return with_more, _memory("VmRSS")


def stream() -> Numbers:
    """Stream 200 images."""
    import numpy as np

    from vgg_widget import FeatureExtractor, sample_image

    image = sample_image()
    extractor = FeatureExtractor("random", size=(224, 224))
    images = (np.roll(image, number, axis=1) for number in range(200))
    found = {}
    for number, activations in enumerate(extractor.stream(images), start=1):
        assert activations["block5_pool"].shape == (7, 7, 512)
        if number in (50, 100, 200):
            found[str(number)] = _memory("VmRSS")
    return {**found, "peak": _memory("VmHWM")}


def large() -> Numbers:
    """Make an explorer on an image of 1024×1024 pixels, and select another layer."""
    from vgg_widget import LayerExplorer, sample_image

    explorer, seconds = _timed(
        lambda: LayerExplorer(sample_image(), weights="random", size=(1024, 1024))
    )
    explorer.layer = "block3_conv1"
    held = sum(explorer.activations[name].nbytes for name in explorer.activations) / 1e6
    return {"peak": _memory("VmHWM"), "activations": held, "seconds": seconds}


def synthesis() -> Numbers:
    """Synthesise images for four channels of a deep layer, for six steps."""
    from vgg_widget import FeatureExtractor
    from vgg_widget.gradients import visualize_channel

    extractor = FeatureExtractor("random")
    channels = range(4)
    visualize_channel(extractor, "block5_conv1", channels, size=224, steps=6, progress=False)
    return {"peak": _memory("VmHWM")}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    before = time.perf_counter()
    made = work()
    return made, time.perf_counter() - before


def _memory(field: str) -> float:
    """Return this process's memory now (``VmRSS``) or at most so far (``VmHWM``), in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / 1e6
    raise RuntimeError(f"this system's /proc has no {field}: measure memory on Linux.")


WORK: dict[str, Callable[..., Numbers]] = {
    work.__name__: work
    for work in (imports, import_tensorflow, first_call, start, explorers, stream, large, synthesis)
}

if __name__ == "__main__":
    print(json.dumps(WORK[sys.argv[1]](*sys.argv[2:])))

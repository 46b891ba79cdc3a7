"""Small valid seeds for each target: pictures, arrays, weights and states."""

from __future__ import annotations

import importlib.util
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from tests.fuzz.targets import SMALL_SHAPES, first_byte, mended, zipped
from tests.good_input import GOOD
from vgg_widget.weights import Arrays
from vgg_widget.weights.learned_weights import Factors, LearnedWeights, rounded

_LONGEST = 20_000


def images() -> dict[str, bytes]:
    """Return the small picture files of `tests/good_input.py`."""
    made = {case.name: case.make() for case in GOOD if not case.name.startswith(("array", "PIL"))}
    return {
        name: bytes(data)
        for name, data in made.items()
        if isinstance(data, bytes) and len(data) <= _LONGEST
    }


def arrays() -> dict[str, bytes]:
    """Return descriptions of arrays in the format that `targets.array` reads."""
    numbers = bytes(range(1, 100))
    return {
        f"{dtype!r} {shape!r}": b"%s\n%s\n%s" % (dtype, shape, numbers)
        for dtype in (b"u1", b"?", b"<u2", b">u2", b"<i4", b"<f4", b">f8", b"<f2", b"c8", b"O")
        for shape in (b"40,1,40,1", b"40,1,40,-1,3,1", b"3,1,40,1,40,1", b"1,1,40,1,40,1,4,1")
    }


def some_weights(seed: int = 0) -> Arrays:
    """Return random kernels and biases of `SMALL_SHAPES`."""
    generator = np.random.default_rng(seed)
    return {
        name: (
            generator.standard_normal(shape, dtype=np.float32),
            generator.standard_normal(shape[-1:], dtype=np.float32),
        )
        for name, shape in SMALL_SHAPES.items()
    }


def _torch_names(weights: Arrays) -> dict[str, npt.NDArray[Any]]:
    named = {}
    for index, (kernel, bias) in zip((0, 2), weights.values(), strict=True):
        named[f"features.{index}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        named[f"features.{index}.bias"] = bias
    return named


def _safetensors(weights: Arrays) -> bytes:
    from safetensors.numpy import save

    return bytes(save(_torch_names(weights)))


def _pytorch(weights: Arrays) -> bytes:
    import torch

    with io.BytesIO() as buffer:
        state = {name: torch.from_numpy(one) for name, one in _torch_names(weights).items()}
        torch.save({"state_dict": state, "epoch": 3}, buffer)
        return buffer.getvalue()


def _hdf5(weights: Arrays, paths: Callable[[int, str], tuple[str, str]]) -> bytes:
    with io.BytesIO() as buffer:
        with h5py.File(buffer, "w") as file:
            for index, (name, pair) in enumerate(weights.items()):
                for path, values in zip(paths(index, name), pair, strict=True):
                    file[path] = values
        return buffer.getvalue()


def _legacy(_: int, name: str) -> tuple[str, str]:
    return f"{name}/{name}/kernel:0", f"{name}/{name}/bias:0"


def _numbered(index: int, _: str) -> tuple[str, str]:
    layer = f"layers/conv2d_{index}" if index else "layers/conv2d"
    return f"{layer}/vars/0", f"{layer}/vars/1"


def _npz(weights: Arrays) -> bytes:
    layers = {}
    for name, (kernel, bias) in weights.items():
        rows = kernel.shape[2] * 9
        projection = rounded(np.eye(rows, dtype=np.float32))
        centroids = rounded(kernel.reshape(rows, -1), "float16")
        layers[name] = Factors(*projection, *centroids, np.zeros(rows, np.float32), bias.copy())
    with tempfile.TemporaryDirectory() as folder:
        path = LearnedWeights(layers, {"photographs": 6}).save(Path(folder) / "w.npz")
        # Uncompressed, so that a changed byte changes one number and not all that follows.
        return mended(path.read_bytes())


def weights_files(weights: Arrays) -> dict[str, bytes]:
    """Return the same weights in every kind of file, by suffix; .pth only if torch is installed."""
    legacy, numbered = _hdf5(weights, _legacy), _hdf5(weights, _numbered)
    pytorchs = {".pth": _pytorch(weights)} if importlib.util.find_spec("torch") else {}
    return {
        ".safetensors": _safetensors(weights),
        ".h5": legacy,
        ".weights.h5": numbered,
        ".keras": zipped({"config.json": b"{}", "model.weights.h5": numbered}),
        ".npz": _npz(weights),
        **pytorchs,
    }


def weights() -> dict[str, bytes]:
    """Return weights files in the format that `targets.weights` reads."""
    files = weights_files(some_weights())
    return {
        f"{suffix}{' mended' * mend}": first_byte(suffix, mend=mend) + data
        for suffix, data in files.items()
        for mend in (False, True)
    }


STATES: list[dict[str, Any]] = [
    {},
    {"layer": "features.10", "channel": 3, "mode": "grid", "order": "max", "hide_dead": True},
    {"mode": "rgb", "channels": [0, 1, 2], "cmap": "magma", "scale": "network"},
    {"mode": "composite", "channels": [], "before_relu": True, "cmap": "coolwarm"},
    {"location": [3, 4], "order": "location", "mode": "grid", "overlay": 0.5},
    {
        "layer": "block3_pool",
        "percentile": 99.5,
        "gamma": 0.5,
        "theme": "dark",
        "panel": "",
        "layer_names": "keras",
    },
    {"usual_cmap": "plasma", "size": [64, 64], "weights": "random", "version": 1},
]
"""Valid changes to the first state of an explorer of `targets.untrained`."""


def states() -> dict[str, bytes]:
    """Return `STATES` in the format that `targets.state` reads."""
    lines = ["\n".join(f"{key}={json.dumps(one[key])}" for key in one) for one in STATES]
    return {str(number): line.encode() for number, line in enumerate(lines)}


SEEDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "image": images,
    "array": arrays,
    "weights": weights,
    "state": states,
}


def write_seeds(target: str, folder: Path) -> None:
    """Write a target's seeds into a folder, one file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(SEEDS[target]().values()):
        (folder / f"{number:03}").write_bytes(data)

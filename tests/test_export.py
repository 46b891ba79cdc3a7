"""Tests of exported weights, which PyTorch, Keras and this package can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor, WeightsError
from vgg_widget.weights import Arrays, export_weights, resolve

# Keras reads its own variables in a way that numpy 2 has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("own_networks"),
]

SUFFIXES = [".safetensors", ".weights.h5"]


@pytest.mark.torch
def test_pytorch_reads_the_safetensors_file(expected: Arrays, scratch: Path) -> None:
    import safetensors.torch
    import torch

    path = scratch / "x.safetensors"
    export_weights(expected, "caffe", path)
    state = safetensors.torch.load_file(path)
    numbers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    assert set(state) == {f"features.{n}.{part}" for n in numbers for part in ("weight", "bias")}
    for number, (kernel, bias) in zip(numbers, expected.values(), strict=True):
        weight = state[f"features.{number}.weight"]
        assert weight.is_contiguous()
        assert weight.dtype == torch.float32
        np.testing.assert_array_equal(weight.numpy(), np.einsum("hwio->oihw", kernel))
        np.testing.assert_array_equal(state[f"features.{number}.bias"].numpy(), bias)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata == {"format": "pt", "vgg_widget.preprocessing": "caffe"}


def test_keras_reads_the_keras_file(expected: Arrays, scratch: Path) -> None:
    import keras

    path = scratch / "x.weights.h5"
    export_weights(expected, "caffe", path)
    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(None, None, 3))
    model.load_weights(path)
    for name, pair in expected.items():
        for array, wanted in zip(model.get_layer(name).get_weights(), pair, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("preprocessing", ["caffe", "torch"])
def test_exported_weights_give_the_same_maps(
    preprocessing: str,
    suffix: str,
    expected: Arrays,
    photo: npt.NDArray[np.uint8],
    scratch: Path,
) -> None:
    first, second = scratch / "a.safetensors", scratch / f"b{suffix}"
    export_weights(expected, preprocessing, first)
    read = resolve(first)
    export_weights(read.arrays, read.preprocessing, second)
    assert resolve(second).preprocessing == preprocessing
    # Compute one unit by hand with the chosen preprocessing.
    patch = photo[9:12, 19:22].astype(np.float64)
    if preprocessing == "caffe":
        patch = patch[..., ::-1] - [103.939, 116.779, 123.68]
    else:
        patch = (patch / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    kernel, bias = expected["block1_conv1"]
    by_hand = np.tensordot(patch, kernel, 3) + bias
    for path in (first, second):
        unit = FeatureExtractor(path, size=None)(photo)["features.0"][10, 20]
        np.testing.assert_allclose(unit, by_hand, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x", "x.pth"])
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not end in .safetensors or .weights.h5: choose a"):
        export_weights({}, "caffe", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_safetensors_the_other_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        WeightsError, match=r"vgg-widget\[safetensors\]'`, or choose .weights.h5\.$"
    ):
        export_weights({}, "caffe", tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.posix
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_what_was_there(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("an older file")
    code = (
        "import resource, sys\n"
        "from vgg_widget.weights import WeightsError, export_weights, random_arrays\n"
        "arrays = random_arrays()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "try: export_weights(arrays, 'caffe', sys.argv[1])\n"
        "except WeightsError as error: print(error)"
    )
    command: list[Any] = [sys.executable, "-c", code, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"path {str(path)!r} could not be written (")
    assert "File too large" in done.stdout
    assert done.stdout.endswith("free some space, or choose another folder.\n")
    assert done.stdout.count("\n") == 1
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]

"""Files in torchvision's layout: PyTorch's own, and safetensors.

Nothing read is ever executed: of a pickle, PyTorch rebuilds tensors and plain containers only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.support.messages import reason
from vgg_widget.weights.arrays import Arrays, Stored, WeightsError
from vgg_widget.weights.classifier import Classifier
from vgg_widget.weights.state_dicts import (
    Tensors,
    mappings_in,
    read_convolutions,
    read_dense_layers,
)

PREPROCESSING_KEY = "vgg_widget.preprocessing"
"""Where an exported safetensors file says what its numbers expect of the input."""

# CVE-2025-32434: in the releases before, `weights_only=True` did not keep a file from running code.
_SAFE_TORCH = (2, 6)


def read_torch(path: Path) -> tuple[Arrays, str, str]:
    """Read a file that ``torch.save`` wrote and that holds what `read_state_dict` takes.

    Returns
    -------
    (Arrays, str, str)
        And their preprocessing, ``"torch"``; and what `read_state_dict` says.

    Raises
    ------
    WeightsError
        As `read_state_dict`; also if PyTorch is missing, or the file holds more than tensors.
    """
    asked = f"weights {str(path)!r}"
    arrays, message = read_convolutions(asked, path.name, _torch_mappings(asked, path))
    return arrays, "torch", message


def read_torch_classifier(path: Path) -> Classifier:
    """Read the dense layers of a file that `read_torch` takes, by their numbers 0, 3 and 6.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds no classifier of VGG19's making.
    """
    asked = f"weights {str(path)!r}"
    return read_dense_layers(asked, _torch_mappings(asked, path))


def _torch_mappings(asked: str, path: Path) -> list[Tensors]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{asked} needs PyTorch to be read: run `pip install 'vgg-widget[torch]'`, or save "
            "the weights as .safetensors where PyTorch is."
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise WeightsError(
            f"{asked} is not safe to open with PyTorch {torch.__version__}, in which a file can "
            "run code: run `pip install 'torch>=2.6'`, or save the weights as .safetensors."
        )
    if _is_packed(path):
        raise WeightsError(
            f"{asked} has compressed members, which PyTorch does not write: save the state dict "
            "with torch.save again."
        )
    try:
        # Mapped into memory, the 500 MB of the classifier are never read. That takes a path, of
        # which PyTorch believes the name that it is of safetensors.
        mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"
        with path.open("rb") as stream:
            source = path if mapped else stream
            state = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # The unpickler passes on whatever a damaged stream leads to.
        torn = isinstance(error, EOFError | RuntimeError)
        problem = (
            "is cut short or damaged: choose a whole PyTorch file"
            if torn
            else "holds more than tensors, which could run code, and was not loaded: save only "
            "model.state_dict() with torch.save"
        )
        raise WeightsError(f"{asked} {problem}.") from error
    if not isinstance(state, Mapping | list | tuple) or not (mappings := mappings_in(state)):
        raise WeightsError(
            f"{asked} holds a {type(state).__name__}, not a state dict: save model.state_dict()."
        )
    return mappings


def _is_packed(path: Path) -> bool:
    """Tell whether a zip archive has compressed members, which a few bytes can make enormous."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except zipfile.BadZipFile:
        # An old file, or a damaged one, of which PyTorch tells.
        return False


def read_safetensors(path: Path) -> tuple[Arrays, str, str]:
    """Read a safetensors file with names that `read_state_dict` knows.

    Returns
    -------
    (Arrays, str, str)
        And their preprocessing, ``"torch"`` unless the file's metadata says otherwise; and what
        `read_state_dict` says.

    Raises
    ------
    WeightsError
        As `read_state_dict`; also if the package safetensors is missing.
    """
    asked = f"weights {str(path)!r}"
    with _safetensors(asked, path) as (tensors, metadata):
        arrays, message = read_convolutions(asked, path.name, [tensors])
        return arrays, metadata.get(PREPROCESSING_KEY, "torch"), message


def read_safetensors_classifier(path: Path) -> Classifier:
    """Read the dense layers of a file that `read_safetensors` takes.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds no classifier of VGG19's making.
    """
    asked = f"weights {str(path)!r}"
    with _safetensors(asked, path) as (tensors, _):
        return read_dense_layers(asked, [tensors])


@contextmanager
def _safetensors(asked: str, path: Path) -> Iterator[tuple[Tensors, dict[str, str]]]:
    try:
        import ml_dtypes  # noqa: F401 - Keras brings it; with it NumPy knows bfloat16.
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise WeightsError(
            f"{asked} needs the package safetensors to be read: run "
            "`pip install 'vgg-widget[safetensors]'`."
        ) from error
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = Tensors(dict.fromkeys(file.keys()), _from_safetensors(file))
            yield tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{asked} is cut short or damaged ({reason(error)}): choose a whole safetensors file."
        ) from error


_SAFETENSORS_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16"}


def _from_safetensors(file: Any) -> Callable[[str], Stored]:
    def stored(key: str) -> Stored:
        piece = file.get_slice(key)
        dtype = np.dtype(_SAFETENSORS_DTYPES.get(piece.get_dtype(), "V"))
        return Stored(tuple(piece.get_shape()), dtype, lambda: file.get_tensor(key), fresh=True)

    return stored

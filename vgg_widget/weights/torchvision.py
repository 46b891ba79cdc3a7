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
from vgg_widget.weights.arrays import Arrays, WeightsError
from vgg_widget.weights.state_dicts import TORCH_NAMES, Tensors, mappings_in, vgg19_in
from vgg_widget.weights.stored import Stored, StoredVGG19

PREPROCESSING_KEY = "vgg_widget.preprocessing"
"""Where an exported safetensors file says what its numbers expect of the input."""

# CVE-2025-32434: in the releases before, `weights_only=True` did not keep a file from running code.
_SAFE_TORCH = (2, 6)


def torch_vgg19(asked: str, path: Path) -> StoredVGG19:
    """Find VGG19 in a file that ``torch.save`` wrote; `asked` is how an error begins."""
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
    return vgg19_in(asked, path.name, mappings)


def _is_packed(path: Path) -> bool:
    """Tell whether a zip archive has compressed members, which a few bytes can make enormous."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except zipfile.BadZipFile:
        # An old file, or a damaged one, of which PyTorch tells.
        return False


@contextmanager
def opened_safetensors(asked: str, path: Path) -> Iterator[StoredVGG19]:
    """Open a safetensors file; `asked` is how an error begins."""
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
            preprocessing = (file.metadata() or {}).get(PREPROCESSING_KEY, "torch")
            yield vgg19_in(asked, path.name, [tensors], preprocessing)
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


def write_safetensors(arrays: Arrays, preprocessing: str, path: Path) -> None:
    """Write a state dict of torchvision's VGG19 without its classifier."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise WeightsError(
            "a .safetensors file needs the package safetensors: run "
            "`pip install 'vgg-widget[safetensors]'`, or choose .weights.h5."
        ) from error
    tensors = {}
    for name, (kernel, bias) in arrays.items():
        # (height, width, in, out) → (out, in, height, width)
        tensors[f"{TORCH_NAMES[name]}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"{TORCH_NAMES[name]}.bias"] = bias
    try:
        # Other programs ask for the format before they read on.
        save_file(tensors, path, {"format": "pt", PREPROCESSING_KEY: preprocessing})
    except SafetensorError as error:
        raise OSError(str(error)) from error

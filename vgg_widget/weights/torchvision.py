"""VGG19 in torchvision's layout: a PyTorch file, a safetensors file, or a state dict in memory.

Nothing read is ever executed: of a pickle, PyTorch rebuilds tensors and plain containers only.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vgg_widget.choices import reason
from vgg_widget.layers import VGG19_CONVOLUTIONS, vgg19_kernel_shapes
from vgg_widget.weights.arrays import ADVICE, Arrays, Stored, WeightsError, checked, first_bytes
from vgg_widget.weights.classifier import (
    CLASSIFIER_ADVICE,
    CLASSIFIER_NAMES,
    Classifier,
    checked_classifier,
)

PREPROCESSING_KEY = "vgg_widget.preprocessing"
"""Where an exported safetensors file says what its numbers expect of the input."""

# What training loops call the state dict that they save beside the optimizer's.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_FIRST = "features.0.weight"

TORCH_NAMES = {info.name: str(info.torch_name) for info in VGG19_CONVOLUTIONS}
"""Keras's name of each convolution to torchvision's."""


# CVE-2025-32434: in the releases before, `weights_only=True` did not keep a file from running code.
_SAFE_TORCH = (2, 6)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The named tensors of a file or mapping, none of which is read yet."""

    keys: Collection[str]
    stored: Callable[[str], Stored]

    def get(self, layer: str, key: str, advice: str) -> Stored:
        """Return a tensor of a layer; `WeightsError`, now or when it is read, if it is none."""
        if key not in self.keys:
            raise WeightsError(f"{layer} is missing (there is no {key!r}): {advice}")
        part = key.rpartition(".")[2]

        def guarded(step: Callable[[], _T]) -> _T:
            try:
                return step()
            except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
                # Sparse tensors, tensors without data ("meta"), and what is no array at all.
                raise WeightsError(
                    f"{layer} has a {part} that cannot be read ({type(error).__name__}): {advice}"
                ) from error

        stored = guarded(lambda: self.stored(key))
        return replace(stored, read=lambda: guarded(stored.read))


def read_state_dict(state: Mapping[Any, Any]) -> Arrays:
    """Read a state dict in memory, such as ``torchvision.models.vgg19(...).state_dict()``.

    Parameters
    ----------
    state : mapping of str to tensor or array
        torchvision's names, also behind a prefix (``"module."``, ``"model."``), or those of its
        ``features`` alone (``"0.weight"``); or a checkpoint that holds such a mapping under
        ``"state_dict"``, ``"model_state_dict"`` or ``"model"``. Other entries are ignored.

    Returns
    -------
    Arrays
        Copies.

    Raises
    ------
    WeightsError
        If it is not a VGG19 without batch normalisation; the sentence names the first layer that
        differs.
    """
    return _arrays("weights (a state dict)", _in_mapping(state))


def read_torch(path: Path) -> tuple[Arrays, str]:
    """Read a ``.pth`` or ``.pt`` file that holds what `read_state_dict` takes.

    Returns
    -------
    (Arrays, str)
        And their preprocessing, ``"torch"``.

    Raises
    ------
    WeightsError
        As `read_state_dict`; also if PyTorch is missing, or the file holds more than tensors.
    """
    asked = f"weights {str(path)!r}"
    return _arrays(asked, _torch_tensors(asked, path)), "torch"


def read_torch_classifier(path: Path) -> Classifier:
    """Read ``classifier.0``, ``.3`` and ``.6`` of a file that `read_torch` takes.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds no classifier of VGG19's making.
    """
    asked = f"weights {str(path)!r}"
    return _classifier(asked, _torch_tensors(asked, path))


def _torch_tensors(asked: str, path: Path) -> _Tensors:
    start = first_bytes(asked, path)
    # torch.save writes a zip archive; before PyTorch 1.6 it wrote bare pickles of protocol 2.
    if not start.startswith((b"PK", b"\x80")):
        problem = "is not a PyTorch file" if start else "is empty"
        raise WeightsError(f"{asked} {problem}: choose one that torch.save wrote.")
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
        with warnings.catch_warnings():
            # That it is a TorchScript archive; it is refused below.
            warnings.simplefilter("ignore")
            # Mapped into memory, the 500 MB of the classifier are never read.
            mapped = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # The unpickler passes on whatever a damaged stream leads to.
        torn = isinstance(error, EOFError | RuntimeError) and "TorchScript" not in str(error)
        problem = (
            "is cut short or damaged: choose a whole PyTorch file"
            if torn
            else "holds more than tensors, which could run code, and was not loaded: save only "
            "model.state_dict() with torch.save"
        )
        raise WeightsError(f"{asked} {problem}.") from error
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{asked} holds a {type(state).__name__}, not a state dict: save model.state_dict()."
        )
    return _in_mapping(state)


def _is_packed(path: Path) -> bool:
    """Tell whether a zip archive has compressed members, which a few bytes can make enormous."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except zipfile.BadZipFile:
        # An old file, or a damaged one, of which PyTorch tells.
        return False


def read_safetensors(path: Path) -> tuple[Arrays, str]:
    """Read a ``.safetensors`` file with the names that `read_state_dict` knows.

    Returns
    -------
    (Arrays, str)
        And their preprocessing: ``"torch"`` unless the file's metadata says otherwise.

    Raises
    ------
    WeightsError
        As `read_state_dict`; also if the package safetensors is missing.
    """
    asked = f"weights {str(path)!r}"
    with _safetensors(asked, path) as (tensors, metadata):
        return _arrays(asked, tensors), metadata.get(PREPROCESSING_KEY, "torch")


def read_safetensors_classifier(path: Path) -> Classifier:
    """Read ``classifier.0``, ``.3`` and ``.6`` of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds no classifier of VGG19's making.
    """
    asked = f"weights {str(path)!r}"
    with _safetensors(asked, path) as (tensors, _):
        return _classifier(asked, tensors)


@contextmanager
def _safetensors(asked: str, path: Path) -> Iterator[tuple[_Tensors, dict[str, str]]]:
    first_bytes(asked, path)
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
            tensors = _Tensors(set(file.keys()), _from_safetensors(file))
            yield tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{asked} is cut short or damaged, or is not a safetensors file ({reason(error)}): "
            "choose a whole one."
        ) from error


_SAFETENSORS_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16"}


def _from_safetensors(file: Any) -> Callable[[str], Stored]:
    def stored(key: str) -> Stored:
        piece = file.get_slice(key)
        dtype = np.dtype(_SAFETENSORS_DTYPES.get(piece.get_dtype(), "V"))
        return Stored(tuple(piece.get_shape()), dtype, lambda: file.get_tensor(key), fresh=True)

    return stored


def _in_mapping(state: Mapping[Any, Any]) -> _Tensors:
    for _ in _WRAPPERS:  # Not for ever: a mapping can hold itself.
        inner = (state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping))
        state = next(inner, state)

    def stored(key: str) -> Stored:
        value = state[key]
        is_float = getattr(value, "is_floating_point", None)
        if is_float is None:
            array = np.asarray(value)
            return Stored(array.shape, array.dtype, lambda: array)
        # A PyTorch tensor, on whichever device and of whichever float, part of a graph or not.
        dtype = np.dtype("f4" if is_float() else "V")
        return Stored(tuple(value.shape), dtype, lambda: value.detach().cpu().float().numpy())

    return _Tensors({key for key in state if isinstance(key, str)}, stored)


def _arrays(asked: str, tensors: _Tensors) -> Arrays:
    keys = tensors.keys
    stem = _stem(asked, keys)
    if any(key.startswith(stem) and key.endswith(".running_mean") for key in keys):
        raise WeightsError(
            f"{asked} has batch normalisation (is it a vgg19_bn?), which VGG19 has not: choose "
            "the weights of torchvision's vgg19."
        )
    arrays: Arrays = {}
    for name, (height, width, incoming, outgoing) in vgg19_kernel_shapes().items():
        module = TORCH_NAMES[name]
        layer = f"{asked}: layer {module!r} ({name})"
        parts = []
        for part, wanted in (
            ("weight", (outgoing, incoming, height, width)),
            ("bias", (outgoing,)),
        ):
            key = f"{stem}{module.removeprefix('features.')}.{part}"
            parts.append(checked(f"{layer} has a {part}", tensors.get(layer, key, ADVICE), wanted))
        # (out, in, height, width) → (height, width, in, out)
        kernel = np.ascontiguousarray(parts[0].transpose(2, 3, 1, 0))
        kernel.flags.writeable = False
        arrays[name] = (kernel, parts[1])
    return arrays


def _classifier(asked: str, tensors: _Tensors) -> Classifier:
    stem = _stem(asked, tensors.keys).removesuffix("features.")
    layers = []
    for name, module in CLASSIFIER_NAMES.items():
        layer = f"{asked}: layer {module!r} ({name})"
        weight, bias = (
            tensors.get(layer, f"{stem}{module}.{part}", CLASSIFIER_ADVICE)
            for part in ("weight", "bias")
        )
        # (out, in) → (in, out)
        layers.append((module, weight.transposed, bias))
    return checked_classifier(asked, layers, channels_first=True)


def _stem(asked: str, keys: Collection[str]) -> str:
    """Return what stands before the modules' numbers, such as ``"module.features."``."""
    ends = [key for key in keys if key == _FIRST or key.endswith(f".{_FIRST}")]
    if len(ends) > 1:
        raise WeightsError(
            f"{asked} holds several networks ({', '.join(map(repr, sorted(ends)))}): pass the "
            "state dict of one."
        )
    if ends:
        return ends[0].removesuffix("0.weight")
    return "" if "0.weight" in keys else "features."

"""Find a VGG in a state dict with torchvision's layout, in memory or in a file.

Layers are recognised by their numbers and shapes. The prefix before the numbers, such as
``"module.features."``, and the containers around the state dict may be anything. Nothing read is
executed: from a pickle, PyTorch rebuilds only tensors and plain containers.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.layers import VGGS, Vgg
from vgg_widget.support.messages import reason
from vgg_widget.weights.arrays import (
    CLASSIFIER_INPUT,
    CLASSIFIER_NAMES,
    Arrays,
    Stored,
    StoredLayer,
    StoredVgg,
    WeightsError,
    advice,
    other_vgg,
)

PREPROCESSING_KEY = "vgg_widget.preprocessing"
"""Metadata key of an exported safetensors file that names its preprocessing."""

# CVE-2025-32434: before this release, `weights_only=True` did not prevent a file from running code.
_SAFE_TORCH = (2, 6)

# Largest nesting depth of containers around a state dict.
_DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Tensors:
    """The named tensors of a mapping, and the keys that lead to it in a checkpoint."""

    stored: Mapping[str, Stored]
    place: tuple[str, ...] = ()

    def name(self, key: str) -> str:
        """Return a key or prefix, preceded by the keys that lead to the mapping."""
        return ".".join((*self.place, key))

    def shape(self, key: str) -> tuple[int, ...]:
        """Return a tensor's shape, or () if there is no such tensor."""
        return self.stored[key].shape if key in self.stored else ()


def mappings_in(thing: Any) -> list[Tensors]:
    """Return the mappings in a checkpoint, the outermost first."""
    found: list[Tensors] = []
    level: list[tuple[tuple[str, ...], Any]] = [((), thing)]
    seen = {id(thing)}  # A container can contain itself.
    for _ in range(_DEEPEST):
        inner = []
        for place, one in level:
            if isinstance(one, Mapping):
                stored = {key: _stored(each) for key, each in one.items() if isinstance(key, str)}
                found.append(Tensors(stored, place))
            for key, value in one.items() if isinstance(one, Mapping) else enumerate(one):
                if isinstance(value, Mapping | list | tuple) and id(value) not in seen:
                    seen.add(id(value))
                    inner.append(((*place, str(key)), value))
        level = inner
    return found


def _stored(value: Any) -> Stored:
    if not hasattr(value, "is_floating_point"):
        return Stored.of(np.asarray(value) if hasattr(value, "__array__") else np.empty((), object))
    # A PyTorch tensor may be on any device, of any float type, and in a gradient graph.
    dtype = np.dtype("f4" if value.is_floating_point() else "V")
    return Stored(tuple(value.shape), dtype, lambda: value.detach().cpu().float().numpy().copy())


def torch_names(vgg: Vgg) -> dict[str, str]:
    """Return torchvision's name of each convolution by Keras's name."""
    return {info.name: str(info.torch_name) for info in vgg.convolutions}


def _shapes_in_torch(vgg: Vgg) -> dict[str, tuple[int, ...]]:
    """Return the names after the prefix, such as ``"0.weight"``, with their shapes in a network."""
    wanted: dict[str, tuple[int, ...]] = {}
    names = torch_names(vgg)
    for name, (height, width, incoming, outgoing) in vgg.kernel_shapes().items():
        number = names[name].removeprefix("features.")
        wanted[f"{number}.weight"] = (outgoing, incoming, height, width)
        wanted[f"{number}.bias"] = (outgoing,)
    return wanted


@dataclass(frozen=True, slots=True)
class _Modules:
    """The numbered modules of a mapping under one prefix, such as ``"module.features."``."""

    tensors: Tensors
    prefix: str

    @property
    def name(self) -> str:
        return self.tensors.name(self.prefix).rstrip(".") or "0.weight"

    def shape(self, end: str) -> tuple[int, ...]:
        return self.tensors.shape(self.prefix + end)

    def likeness(self, vgg: Vgg) -> int:
        """Count the tensors that a network also has, and count those with matching shapes again."""
        wanted = _shapes_in_torch(vgg)
        there = [end for end in wanted if self.prefix + end in self.tensors.stored]
        return sum(1 + (self.shape(end) == wanted[end]) for end in there)

    def is_whole(self, vgg: Vgg) -> bool:
        return self.likeness(vgg) == 2 * len(_shapes_in_torch(vgg))

    def other_network(self, vgg: Vgg) -> str:
        """Return words on how the network differs from the requested one, if recognisable."""
        if f"{self.prefix}1.running_mean" in self.tensors.stored:
            return f" belong to a network with batch normalisation, not to plain {vgg.title}"
        count = sum(len(self.shape(f"{number}.weight")) == 4 for number in range(99))
        if count in (0, len(vgg.convolutions)):
            return ""
        there = f"{vgg.title} has {len(vgg.convolutions)}"
        return f" belong to a network of {count} convolutions, but {there}"

    def layer(self, what: str, name: str, vgg: Vgg) -> StoredLayer:
        """Return a layer by Keras's name."""
        module = torch_names(vgg).get(name) or CLASSIFIER_NAMES[name]
        called = f"{what}: layer {module!r} ({name})"
        parts = []
        for part in ("weight", "bias"):
            key = f"{self.prefix}{module.rpartition('.')[2]}.{part}"
            if key not in self.tensors.stored:
                missing = self.tensors.name(key)
                raise WeightsError(
                    f"{called} is missing (there is no {missing!r}): {advice(vgg, name)}"
                )
            parts.append(self.tensors.stored[key])
        return StoredLayer(called, *parts)


def vgg_in(
    what: str, mappings: Sequence[Tensors], vgg: Vgg, preprocessing: str = "torch"
) -> StoredVgg:
    """Find the VGG and its dense layers in some mappings; `what` begins error messages."""
    modules = [
        _Modules(tensors, prefix)
        for tensors in mappings
        for prefix in dict.fromkeys(map(_prefix, tensors.stored))
        if prefix is not None
    ]
    whole = [one for one in modules if one.is_whole(vgg)]
    if len(whole) > 1:
        names = ", ".join(repr(one.name) for one in whole)
        raise WeightsError(f"{what} holds several networks ({names}): pass the state dict of one.")
    for other in VGGS.values():
        if not whole and any(one.is_whole(other) for one in modules):
            raise other_vgg(what, vgg, other)
    # If nothing resembles a VGG, errors refer to the usual prefix.
    usual = _Modules(mappings[0], "features.")
    nearest = max(modules, key=lambda one: one.likeness(vgg), default=usual)
    # Fewer than two matching layers may be a coincidence.
    features = nearest if nearest.likeness(vgg) >= 8 else usual
    subject = what if whole else f"{what}{features.other_network(vgg)}"
    incoming = (math.prod(CLASSIFIER_INPUT),)
    dense = [one for one in modules if one.shape("0.weight")[1:] == incoming] or [
        _Modules(features.tensors, f"{features.prefix.removesuffix('features.')}classifier.")
    ]

    def layer(name: str) -> StoredLayer:
        if name not in CLASSIFIER_NAMES:
            return features.layer(subject, name, vgg)
        if len(dense) > 1:
            names = ", ".join(repr(one.name) for one in dense)
            raise WeightsError(f"{what} holds several classifiers ({names}): save a file of one.")
        return dense[0].layer(what, name, vgg)

    return StoredVgg(vgg, layer, channels_first=True, preprocessing=preprocessing)


def _prefix(key: str) -> str | None:
    module, _, part = key.rpartition(".")
    prefix = module.rstrip("0123456789")
    return prefix if part in ("weight", "bias") and prefix != module else None


def torch_vgg(what: str, path: Path, vgg: Vgg) -> StoredVgg:
    """Find a VGG in a file written by ``torch.save``; `what` begins error messages."""
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{what} can only be read with PyTorch: run `pip install 'vgg-widget[torch]'`, or save "
            "the weights as .safetensors on a machine with PyTorch."
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise WeightsError(
            f"{what} is not safe to open with PyTorch {torch.__version__}, in which a file can "
            "run code: run `pip install 'torch>=2.6'`, or save the weights as .safetensors."
        )
    if _is_packed(path):
        raise WeightsError(
            f"{what} has compressed members, which PyTorch does not write: save the state dict "
            "with torch.save again."
        )
    try:
        # With memory mapping, the classifier's 500 MB are never read. Mapping needs a path, and
        # PyTorch would read any path named .safetensors as that format.
        mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"
        with path.open("rb") as stream:
            source = path if mapped else stream
            state = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # The unpickler may raise any exception on a damaged stream.
        torn = isinstance(error, EOFError | RuntimeError)
        problem = (
            "is cut short or damaged: choose a whole PyTorch file"
            if torn
            else "holds more than tensors, which could run code, and was not loaded: save only "
            "model.state_dict() with torch.save"
        )
        raise WeightsError(f"{what} {problem}.") from error
    if not isinstance(state, Mapping | list | tuple) or not (mappings := mappings_in(state)):
        raise WeightsError(
            f"{what} holds a {type(state).__name__}, not a state dict: save model.state_dict()."
        )
    return vgg_in(what, mappings, vgg)


def _is_packed(path: Path) -> bool:
    """Return whether a zip archive has compressed members, which could expand enormously."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except zipfile.BadZipFile:
        # An old or a damaged file; PyTorch reports the latter.
        return False


@contextmanager
def opened_safetensors(what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
    """Open a safetensors file; `what` begins error messages."""
    try:
        import ml_dtypes  # noqa: F401 - Installed with Keras; adds bfloat16 to NumPy.
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise WeightsError(
            f"{what} can only be read with the package safetensors: run `pip install "
            "'vgg-widget[safetensors]'`."
        ) from error
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = Tensors({key: _stored_in(file, key) for key in file.keys()})  # noqa: SIM118 - no dict
            preprocessing = (file.metadata() or {}).get(PREPROCESSING_KEY, "torch")
            yield vgg_in(what, [tensors], vgg, preprocessing)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{what} is cut short or damaged ({reason(error)}): choose a whole safetensors file."
        ) from error


_SAFETENSORS_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16"}


def _stored_in(file: Any, key: str) -> Stored:
    piece = file.get_slice(key)
    dtype = np.dtype(_SAFETENSORS_DTYPES.get(piece.get_dtype(), "V"))
    return Stored(tuple(piece.get_shape()), dtype, lambda: file.get_tensor(key))


def write_safetensors(arrays: Arrays, preprocessing: str, path: Path) -> None:
    """Write a state dict of torchvision's VGG without its classifier."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise WeightsError(
            "a .safetensors file needs the package safetensors: run "
            "`pip install 'vgg-widget[safetensors]'`, or choose .weights.h5."
        ) from error
    tensors = {}
    # The same layer has different numbers in VGG16 and VGG19.
    names = next(torch_names(vgg) for vgg in VGGS.values() if [*vgg.kernel_shapes()] == [*arrays])
    for name, (kernel, bias) in arrays.items():
        # (height, width, in, out) → (out, in, height, width)
        tensors[f"{names[name]}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"{names[name]}.bias"] = bias
    try:
        # Other programs check the format in the metadata.
        save_file(tensors, path, {"format": "pt", PREPROCESSING_KEY: preprocessing})
    except SafetensorError as error:
        raise OSError(str(error)) from error

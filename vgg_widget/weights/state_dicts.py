"""VGG19 among the named tensors of a state dict in torchvision's layout, in memory or in a file.

The layers are known by their numbers and shapes. What stands before the numbers, such as
``"module.features."``, and what the state dict lies in are whatever a training loop made of them.
Nothing read is ever executed: of a pickle, PyTorch rebuilds tensors and plain containers only.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vgg_widget.layers import VGG19_BLOCKS, VGG19_CONVOLUTIONS, vgg19_kernel_shapes
from vgg_widget.support.messages import reason
from vgg_widget.weights.arrays import (
    ADVICE,
    CLASSIFIER_ADVICE,
    CLASSIFIER_INPUT,
    CLASSIFIER_NAMES,
    Arrays,
    Stored,
    StoredLayer,
    StoredVGG19,
    WeightsError,
    arrays_digest,
)

TORCH_NAMES = {info.name: str(info.torch_name) for info in VGG19_CONVOLUTIONS}
"""Keras's name of each convolution to torchvision's."""

PREPROCESSING_KEY = "vgg_widget.preprocessing"
"""Where an exported safetensors file says what its numbers expect of the input."""

# CVE-2025-32434: in the releases before, `weights_only=True` did not keep a file from running code.
_SAFE_TORCH = (2, 6)

# How many containers may lie in each other around a state dict.
_DEEPEST = 5

# Words for weights that are the mean of those of many training steps.
_AVERAGES = {"ema", "swa", "avg", "average", "averaged", "teacher", "momentum", "polyak", "shadow"}
_AVERAGES |= {
    word
    for what in ("model", "net", "network", "params", "weights", "state")
    for word in (f"ema{what}", f"{what}ema", f"swa{what}", f"{what}swa")
}
_GRADIENTS = {"grad", "grads", "gradient", "gradients"}

# How PyTorch's own average, AveragedModel, counts what it is made of, beside its "module.".
_COUNT = "n_averaged"

# How VGG19 may be kept otherwise, and what to do.
_OTHER_FORMS = {
    r"(^|\.)conv[1-5]_[1-4]\.(weight|bias)$": (
        "are named as in the VGG papers ({key!r}), not by torchvision's numbers "
        "('features.0.weight'): rename them in a state dict, and where they are Caffe's, pass "
        "preprocess=keras.applications.vgg19.preprocess_input"
    ),
    r"(^|\D)\d+\.((weight|bias)_(orig|g|v)$|parametrizations\.)": (
        "are pruned or normalised ({key!r}): remove that first (torch.nn.utils.prune.remove, "
        "remove_weight_norm, remove_spectral_norm or parametrize.remove_parametrizations), and "
        "pass the state dict then"
    ),
    r"(^|\.)slice\d\.\d+\.(weight|bias)$": (
        "are those of a network cut into slices ({key!r}), as LPIPS has a VGG16: pass the state "
        "dict of a whole VGG19"
    ),
}

# The networks of the paper that VGG19 is of, by their convolutions' channels.
_VGGS = {
    tuple(
        channels
        for count, (_, channels) in zip(counts, VGG19_BLOCKS, strict=True)
        for _ in range(count)
    ): name
    for name, counts in (
        ("VGG11", (1, 1, 2, 2, 2)),
        ("VGG13", (2, 2, 2, 2, 2)),
        ("VGG16", (2, 2, 3, 3, 3)),
        ("VGG19", (2, 2, 4, 4, 4)),
    )
}

# What reading sparse tensors, tensors without data ("meta") and what is no array leads to.
_UNREADABLE = (TypeError, ValueError, RuntimeError, NotImplementedError)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Tensors:
    """The named tensors of one mapping, none of which is read yet, and the keys it lies under."""

    keys: Collection[str]
    stored: Callable[[str], Stored]
    place: tuple[str, ...] = ()

    def name(self, key: str) -> str:
        """Return a key, or the beginning of one, with those that the mapping lies under."""
        return ".".join((*self.place, key))

    def shape(self, key: str) -> tuple[int, ...]:
        """Return a tensor's shape; that of no tensor is empty."""
        try:
            return self.stored(key).shape if key in self.keys else ()
        except _UNREADABLE:
            return ()

    def get(self, layer: str, key: str, advice: str) -> Stored:
        """Return a tensor of a layer; `WeightsError`, now or when it is read, if it is none."""
        if key not in self.keys:
            raise WeightsError(f"{layer} is missing (there is no {self.name(key)!r}): {advice}")
        part = key.rpartition(".")[2]

        def guarded(step: Callable[[], _T]) -> _T:
            try:
                return step()
            except _UNREADABLE as error:
                raise WeightsError(
                    f"{layer} has a {part} that cannot be read ({type(error).__name__}): save it "
                    "as an ordinary tensor."
                ) from error

        stored = guarded(lambda: self.stored(key))
        return replace(stored, read=lambda: guarded(stored.read))


def mappings_in(thing: Any) -> list[Tensors]:
    """Return the mappings in a checkpoint, the outermost first."""
    found: list[Tensors] = []
    level: list[tuple[tuple[str, ...], Any]] = [((), thing)]
    seen: dict[int, Any] = {}  # A container can hold itself.
    for _ in range(_DEEPEST):
        inner = []
        for place, one in level:
            if id(one) in seen:
                continue
            seen[id(one)] = one
            if isinstance(one, Mapping):
                found.append(_in_mapping(one, place))
            items = one.items() if isinstance(one, Mapping) else enumerate(one)
            inner += [
                ((*place, key if isinstance(key, str) else str(number)), value)
                for number, (key, value) in enumerate(items)
                if isinstance(value, Mapping | list | tuple)
            ]
        level = inner
    return found


def _in_mapping(state: Mapping[Any, Any], place: tuple[str, ...]) -> Tensors:
    def stored(key: str) -> Stored:
        value = state[key]
        is_float = getattr(value, "is_floating_point", None)
        if is_float is None:
            return Stored.of(np.asarray(value))
        # A PyTorch tensor, on whichever device and of whichever float, part of a graph or not.
        dtype = np.dtype("f4" if is_float() else "V")
        return Stored(tuple(value.shape), dtype, lambda: value.detach().cpu().float().numpy())

    return Tensors(dict.fromkeys(key for key in state if isinstance(key, str)), stored, place)


@dataclass(frozen=True, slots=True)
class _Modules:
    """The numbered modules of a mapping behind one prefix, such as ``"module.features."``."""

    tensors: Tensors
    prefix: str

    @property
    def name(self) -> str:
        return self.tensors.name(self.prefix).rstrip(".") or "0.weight"

    @property
    def words(self) -> set[str]:
        found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", self.name)
        return {word.lower() for word in found}

    @property
    def is_average(self) -> bool:
        """Whether these are the mean of the weights of many training steps."""
        keys = self.tensors.keys
        counted = (key.removesuffix(_COUNT) for key in keys if key.endswith(_COUNT))
        averaged = any(self.prefix.startswith(f"{place}module.") for place in counted)
        return averaged or not _AVERAGES.isdisjoint(self.words)

    def shape(self, end: str) -> tuple[int, ...]:
        return self.tensors.shape(self.prefix + end)

    def likeness(self) -> int:
        """Count the tensors that VGG19 has too, and again those of its shapes."""
        wanted = _vgg19_shapes()
        there = [end for end in wanted if self.prefix + end in self.tensors.keys]
        return sum(1 + (self.shape(end) == wanted[end]) for end in there)

    def layer(self, what: str, name: str) -> StoredLayer:
        """Return a layer by Keras's name."""
        module = TORCH_NAMES.get(name) or CLASSIFIER_NAMES[name]
        advice = ADVICE if name in TORCH_NAMES else CLASSIFIER_ADVICE
        called = f"{what}: layer {module!r} ({name})"
        key = self.prefix + module.rpartition(".")[2]
        weight, bias = (
            self.tensors.get(called, f"{key}.{part}", advice) for part in ("weight", "bias")
        )
        return StoredLayer(called, weight, bias)


def _vgg19_shapes() -> dict[str, tuple[int, ...]]:
    """Return what stands behind a prefix, such as ``"0.weight"``, with its shape in VGG19."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, (height, width, incoming, outgoing) in vgg19_kernel_shapes().items():
        number = TORCH_NAMES[name].removeprefix("features.")
        wanted[f"{number}.weight"] = (outgoing, incoming, height, width)
        wanted[f"{number}.bias"] = (outgoing,)
    return wanted


def vgg19_in(
    what: str, source: str, mappings: Sequence[Tensors], preprocessing: str = "torch"
) -> StoredVGG19:
    """Find the one VGG19 in some mappings, and the dense layers that belong to it.

    `what` is how an error begins; `source` is for the message, which says which network was taken
    where there was a choice.
    """
    modules = _numbered_modules(mappings)
    whole = [one for one in modules if _is_whole(one)]
    # A training loop may keep the gradients beside the weights.
    whole = [one for one in whole if _GRADIENTS.isdisjoint(one.words)] or whole
    plain = [one for one in whole if not one.is_average]
    message = ""
    if whole:
        features, *others = plain or whole
        _check_same(what, features, others)
        message = _choice(source, whole, plain)
    elif form := _other_form(mappings):
        raise WeightsError(f"{what} {form}.")
    else:
        features = _nearest(mappings, modules)
    dense = _dense_modules(modules, features, whole)

    def layer(name: str) -> StoredLayer:
        if name in TORCH_NAMES:
            return features.layer(what if whole else f"{what}{_what_else(features)}", name)
        if len(dense) > 1:
            names = ", ".join(repr(one.name) for one in dense)
            raise WeightsError(f"{what} holds several classifiers ({names}): save a file of one.")
        return dense[0].layer(what, name)

    return StoredVGG19(layer, channels_first=True, preprocessing=preprocessing, message=message)


def _numbered_modules(mappings: Sequence[Tensors]) -> list[_Modules]:
    """Return each mapping with each prefix in it."""
    return [
        _Modules(tensors, prefix)
        for tensors in mappings
        for prefix in dict.fromkeys(map(_prefix, tensors.keys))
        if prefix is not None
    ]


def _prefix(key: str) -> str | None:
    module, _, part = key.rpartition(".")
    prefix = module.rstrip("0123456789")
    return prefix if part in ("weight", "bias") and prefix != module else None


def _is_whole(modules: _Modules) -> bool:
    return all(modules.shape(end) == shape for end, shape in _vgg19_shapes().items())


def _check_same(what: str, first: _Modules, others: Sequence[_Modules]) -> None:
    """Refuse several networks; one has two names where a module is a part of two others."""

    def digest(modules: _Modules) -> str:
        network = StoredVGG19(lambda name: modules.layer(what, name), channels_first=True)
        return arrays_digest(network.convolutions())

    own = digest(first) if others else ""
    if any(digest(other) != own for other in others):
        names = ", ".join(repr(one.name) for one in (first, *others))
        raise WeightsError(f"{what} holds several networks ({names}): pass the state dict of one.")


def _choice(source: str, whole: Sequence[_Modules], plain: Sequence[_Modules]) -> str:
    """Say which network was taken of itself and its moving averages, if there are any."""
    averages = [repr(one.name) for one in whole if one not in plain]
    if not averages:
        return ""
    if not plain:
        return f"{source} holds a moving average alone, {averages[0]}, which was taken."
    several = "averages" if len(averages) > 1 else "average"
    return (
        f"{source} holds several networks: {plain[0].name!r} was taken, and not the moving "
        f"{several} {', '.join(averages)}."
    )


def _other_form(mappings: Sequence[Tensors]) -> str:
    """Say in which other form the layers of a VGG are kept, if they are, and what to do."""
    for pattern, what in _OTHER_FORMS.items():
        for tensors in mappings:
            found = [key for key in tensors.keys if re.search(pattern, key)]
            # Fewer are what any network may have by chance.
            if len(found) >= 8:
                return what.format(key=tensors.name(found[0]))
    return ""


def _nearest(mappings: Sequence[Tensors], modules: Sequence[_Modules]) -> _Modules:
    """Return what is most like VGG19, or where it usually is if nothing is."""
    usual = _Modules(mappings[0], "features.")
    best = max(modules, key=_Modules.likeness, default=usual)
    # Less than two layers is what any network may have by chance.
    return best if best.likeness() >= 4 else usual


def _what_else(modules: _Modules) -> str:
    """Say which network of the VGG paper it is instead, if it is one."""
    part = re.compile(re.escape(modules.prefix) + r"(\d{1,3})\.(weight|running_mean)")
    own = [found for found in map(part.fullmatch, modules.tensors.keys) if found]
    shapes = {int(one[1]): modules.tensors.shape(one[0]) for one in own if one[2] == "weight"}
    channels = tuple(shapes[number][0] for number in sorted(shapes) if len(shapes[number]) == 4)
    name = _VGGS.get(channels)
    if any(one[2] == "running_mean" for one in own):
        known = f"{name.lower()}_bn, a {name}" if name else "a network"
        return f" are of {known} with batch normalisation, not of plain VGG19"
    return f" are of {name}, not of VGG19" if name not in (None, "VGG19") else ""


def _dense_modules(
    modules: Sequence[_Modules], features: _Modules, whole: Sequence[_Modules]
) -> list[_Modules]:
    """Return the dense layers nearest to the convolutions; several where they are equally near."""
    incoming = (math.prod(CLASSIFIER_INPUT),)
    found = [one for one in modules if one.shape("0.weight")[1:] == incoming]
    if not found:
        usual = f"{features.prefix.removesuffix('features.')}classifier."
        return [_Modules(features.tensors, usual)]
    home = (features if whole else found[0]).name.split(".")

    def nearness(one: _Modules) -> tuple[int, int]:
        parts = one.name.split(".")
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(home, parts, strict=False))
        return len(list(pairs)), -len(parts)

    best = max(map(nearness, found))
    return [one for one in found if nearness(one) == best]


def torch_vgg19(what: str, path: Path) -> StoredVGG19:
    """Find VGG19 in a file that ``torch.save`` wrote; `what` is how an error begins."""
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{what} needs PyTorch to be read: run `pip install 'vgg-widget[torch]'`, or save "
            "the weights as .safetensors where PyTorch is."
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
        raise WeightsError(f"{what} {problem}.") from error
    if not isinstance(state, Mapping | list | tuple) or not (mappings := mappings_in(state)):
        raise WeightsError(
            f"{what} holds a {type(state).__name__}, not a state dict: save model.state_dict()."
        )
    return vgg19_in(what, path.name, mappings)


def _is_packed(path: Path) -> bool:
    """Tell whether a zip archive has compressed members, which a few bytes can make enormous."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except zipfile.BadZipFile:
        # An old file, or a damaged one, of which PyTorch tells.
        return False


@contextmanager
def opened_safetensors(what: str, path: Path) -> Iterator[StoredVGG19]:
    """Open a safetensors file; `what` is how an error begins."""
    try:
        import ml_dtypes  # noqa: F401 - Keras brings it; with it NumPy knows bfloat16.
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise WeightsError(
            f"{what} needs the package safetensors to be read: run "
            "`pip install 'vgg-widget[safetensors]'`."
        ) from error
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = Tensors(dict.fromkeys(file.keys()), _from_safetensors(file))
            preprocessing = (file.metadata() or {}).get(PREPROCESSING_KEY, "torch")
            yield vgg19_in(what, path.name, [tensors], preprocessing)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{what} is cut short or damaged ({reason(error)}): choose a whole safetensors file."
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

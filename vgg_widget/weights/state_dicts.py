"""VGG19 among the named tensors of a state dict in torchvision's layout.

The layers are known by their numbers and shapes. What stands before the numbers, such as
``"module.features."``, and what the state dict lies in are whatever a training loop made of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np

from vgg_widget.layers import VGG19_BLOCKS, VGG19_CONVOLUTIONS, vgg19_kernel_shapes
from vgg_widget.weights.arrays import WeightsError, arrays_digest
from vgg_widget.weights.stored import (
    ADVICE,
    CLASSIFIER_ADVICE,
    CLASSIFIER_INPUT,
    CLASSIFIER_NAMES,
    Stored,
    StoredLayer,
    StoredVGG19,
)

TORCH_NAMES = {info.name: str(info.torch_name) for info in VGG19_CONVOLUTIONS}
"""Keras's name of each convolution to torchvision's."""

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

    def layer(self, asked: str, name: str) -> StoredLayer:
        """Return a layer by Keras's name."""
        module = TORCH_NAMES.get(name) or CLASSIFIER_NAMES[name]
        advice = ADVICE if name in TORCH_NAMES else CLASSIFIER_ADVICE
        called = f"{asked}: layer {module!r} ({name})"
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
    asked: str, source: str, mappings: Sequence[Tensors], preprocessing: str = "torch"
) -> StoredVGG19:
    """Find the one VGG19 in some mappings, and the dense layers that belong to it.

    `asked` is how an error begins; `source` is for the message, which says which network was taken
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
        _check_same(asked, features, others)
        message = _choice(source, whole, plain)
    elif form := _other_form(mappings):
        raise WeightsError(f"{asked} {form}.")
    else:
        features = _nearest(mappings, modules)
    dense = _dense_modules(modules, features, whole)

    def layer(name: str) -> StoredLayer:
        if name in TORCH_NAMES:
            return features.layer(asked if whole else f"{asked}{_what_else(features)}", name)
        if len(dense) > 1:
            names = ", ".join(repr(one.name) for one in dense)
            raise WeightsError(f"{asked} holds several classifiers ({names}): save a file of one.")
        return dense[0].layer(asked, name)

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


def _check_same(asked: str, first: _Modules, others: Sequence[_Modules]) -> None:
    """Refuse several networks; one has two names where a module is a part of two others."""

    def digest(modules: _Modules) -> str:
        network = StoredVGG19(lambda name: modules.layer(asked, name), channels_first=True)
        return arrays_digest(network.convolutions())

    own = digest(first) if others else ""
    if any(digest(other) != own for other in others):
        names = ", ".join(repr(one.name) for one in (first, *others))
        raise WeightsError(f"{asked} holds several networks ({names}): pass the state dict of one.")


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

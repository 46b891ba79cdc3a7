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
from vgg_widget.weights.arrays import (
    ADVICE,
    Arrays,
    Stored,
    WeightsError,
    arrays_digest,
    checked,
)
from vgg_widget.weights.classifier import (
    CLASSIFIER_ADVICE,
    CLASSIFIER_INPUT,
    CLASSIFIER_NAMES,
    Classifier,
    checked_classifier,
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


def read_state_dict(state: Mapping[Any, Any] | Sequence[Any]) -> tuple[Arrays, str]:
    """Read a state dict in memory, such as ``torchvision.models.vgg19(...).state_dict()``.

    Parameters
    ----------
    state : mapping of str to tensor or array, or a list that holds one
        The numbers of torchvision's layers behind any prefix or none (``"features.0.weight"``,
        ``"module.features.0.weight"``, ``"0.weight"``); or a checkpoint that holds such a mapping
        a few mappings or lists deep. Other entries are ignored.

    Returns
    -------
    (Arrays, str)
        Copies; and a sentence that says which network was taken where there was a choice.

    Raises
    ------
    WeightsError
        If there is no VGG19 without batch normalisation, or several; the sentence names the first
        layer that differs in what is nearest.
    """
    return read_convolutions("weights (a state dict)", "the state dict", mappings_in(state))


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
            array = np.asarray(value)
            return Stored(array.shape, array.dtype, lambda: array)
        # A PyTorch tensor, on whichever device and of whichever float, part of a graph or not.
        dtype = np.dtype("f4" if is_float() else "V")
        return Stored(tuple(value.shape), dtype, lambda: value.detach().cpu().float().numpy())

    return Tensors(dict.fromkeys(key for key in state if isinstance(key, str)), stored, place)


def read_convolutions(asked: str, source: str, mappings: Sequence[Tensors]) -> tuple[Arrays, str]:
    """Read the one VGG19 that is in some mappings.

    Parameters
    ----------
    asked : str
        How an error begins: the source.
    source : str
        The source in a few words.
    mappings : sequence of Tensors
        At least one.

    Returns
    -------
    (Arrays, str)
        And a sentence that says which network was taken where there was a choice.

    Raises
    ------
    WeightsError
        If there is none, or there are several.
    """
    whole, plain = _networks(mappings)
    if not whole:
        if form := _other_form(mappings):
            raise WeightsError(f"{asked} {form}.")
        tensors, stem = _nearest(mappings)
        return _arrays(f"{asked}{_what_else(tensors, stem)}", tensors, stem), ""
    first, *others = plain or whole
    arrays = _arrays(asked, *first)
    # Where a module is a part of two others, the same network has two names.
    digest = arrays_digest(arrays) if others else ""
    if any(arrays_digest(_arrays(asked, *other)) != digest for other in others):
        names = ", ".join(repr(_called(*one)) for one in (first, *others))
        raise WeightsError(f"{asked} holds several networks ({names}): pass the state dict of one.")
    averages = [repr(_called(*one)) for one in whole if one not in plain]
    if not averages:
        return arrays, ""
    if not plain:
        return arrays, f"{source} holds a moving average alone, {averages[0]}, which was taken."
    several = "averages" if len(averages) > 1 else "average"
    return arrays, (
        f"{source} holds several networks: {_called(*first)!r} was taken, and not the moving "
        f"{several} {', '.join(averages)}."
    )


_Network = tuple[Tensors, str]
"""A mapping, and what stands before the numbers of modules in it."""


def _networks(mappings: Sequence[Tensors]) -> tuple[list[_Network], list[_Network]]:
    """Return all whole VGG19s, and those of them that are no moving averages."""
    wanted = _wanted()
    whole = [
        (tensors, stem)
        for tensors, stem in _candidates(mappings)
        if all(tensors.shape(stem + end) == shape for end, shape in wanted.items())
    ]
    # A training loop may keep the gradients beside the weights.
    whole = [one for one in whole if _GRADIENTS.isdisjoint(_words(one))] or whole
    return whole, [one for one in whole if not _is_average(one)]


def _wanted() -> dict[str, tuple[int, ...]]:
    """Return what stands behind a stem, such as ``"0.weight"``, with the shapes that VGG19 has."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, (height, width, incoming, outgoing) in vgg19_kernel_shapes().items():
        number = TORCH_NAMES[name].removeprefix("features.")
        wanted[f"{number}.weight"] = (outgoing, incoming, height, width)
        wanted[f"{number}.bias"] = (outgoing,)
    return wanted


def _candidates(mappings: Sequence[Tensors]) -> list[_Network]:
    """Return each mapping with each stem in it, which is what stands before modules' numbers."""
    return [
        (tensors, stem)
        for tensors in mappings
        for stem in dict.fromkeys(map(_stem, tensors.keys))
        if stem is not None
    ]


def _stem(key: str) -> str | None:
    module, _, part = key.rpartition(".")
    stem = module.rstrip("0123456789")
    return stem if part in ("weight", "bias") and stem != module else None


def _called(tensors: Tensors, stem: str) -> str:
    return tensors.name(stem).rstrip(".") or "0.weight"


def _words(network: _Network) -> set[str]:
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", _called(*network))
    return {word.lower() for word in found}


def _is_average(network: _Network) -> bool:
    tensors, stem = network
    counted = (key.removesuffix(_COUNT) for key in tensors.keys if key.endswith(_COUNT))
    averaged = any(stem.startswith(f"{place}module.") for place in counted)
    return averaged or not _AVERAGES.isdisjoint(_words(network))


def _other_form(mappings: Sequence[Tensors]) -> str:
    """Say in which other form the layers of a VGG are kept, if they are, and what to do."""
    for pattern, what in _OTHER_FORMS.items():
        for tensors in mappings:
            found = [key for key in tensors.keys if re.search(pattern, key)]
            # Fewer are what any network may have by chance.
            if len(found) >= 8:
                return what.format(key=tensors.name(found[0]))
    return ""


def _nearest(mappings: Sequence[Tensors]) -> _Network:
    """Return what is most like VGG19, or where it is usually found if nothing is."""
    wanted = _wanted()

    def likeness(one: _Network) -> int:
        tensors, stem = one
        there = [end for end in wanted if stem + end in tensors.keys]
        return sum(1 + (tensors.shape(stem + end) == wanted[end]) for end in there)

    best = max(_candidates(mappings), key=likeness, default=(mappings[0], ""))
    # Less than two layers is what any network may have by chance.
    return best if likeness(best) >= 4 else (mappings[0], "features.")


def _what_else(tensors: Tensors, stem: str) -> str:
    """Say which network of the VGG paper it is instead, if it is one."""
    part = re.compile(re.escape(stem) + r"(\d{1,3})\.(weight|running_mean)")
    own = [found for found in map(part.fullmatch, tensors.keys) if found]
    shapes = {int(one[1]): tensors.shape(one[0]) for one in own if one[2] == "weight"}
    channels = tuple(shapes[number][0] for number in sorted(shapes) if len(shapes[number]) == 4)
    name = _VGGS.get(channels)
    if any(one[2] == "running_mean" for one in own):
        known = f"{name.lower()}_bn, a {name}" if name else "a network"
        return f" are of {known} with batch normalisation, not of plain VGG19"
    return f" are of {name}, not of VGG19" if name not in (None, "VGG19") else ""


def _arrays(asked: str, tensors: Tensors, stem: str) -> Arrays:
    wanted = _wanted()
    arrays: Arrays = {}
    for name in vgg19_kernel_shapes():
        module = TORCH_NAMES[name]
        layer = f"{asked}: layer {module!r} ({name})"
        parts = []
        for part in ("weight", "bias"):
            end = f"{module.removeprefix('features.')}.{part}"
            stored = tensors.get(layer, stem + end, ADVICE)
            parts.append(checked(f"{layer} has a {part}", stored, wanted[end]))
        # (out, in, height, width) → (height, width, in, out)
        kernel = np.ascontiguousarray(parts[0].transpose(2, 3, 1, 0))
        kernel.flags.writeable = False
        arrays[name] = (kernel, parts[1])
    return arrays


def read_dense_layers(asked: str, mappings: Sequence[Tensors]) -> Classifier:
    """Read the three dense layers that go with the convolutions, by their numbers 0, 3 and 6.

    Raises
    ------
    WeightsError
        If there are none of VGG19's making.
    """
    tensors, stem = _dense_stem(asked, mappings)
    layers = []
    for name, module in CLASSIFIER_NAMES.items():
        layer = f"{asked}: layer {module!r} ({name})"
        weight, bias = (
            tensors.get(
                layer, f"{stem}{module.removeprefix('classifier.')}.{part}", CLASSIFIER_ADVICE
            )
            for part in ("weight", "bias")
        )
        # (out, in) → (in, out)
        layers.append((module, weight.transposed, bias))
    return checked_classifier(asked, layers, channels_first=True)


def _dense_stem(asked: str, mappings: Sequence[Tensors]) -> _Network:
    """Return what stands before the numbers of the dense layers that are on the convolutions."""
    incoming = (math.prod(CLASSIFIER_INPUT),)
    found = [
        (tensors, stem)
        for tensors, stem in _candidates(mappings)
        if tensors.shape(f"{stem}0.weight")[1:] == incoming
    ]
    if not found:
        tensors, stem = _nearest(mappings)
        return tensors, f"{stem.removesuffix('features.')}classifier."
    if len(found) == 1:
        return found[0]
    whole, plain = _networks(mappings)
    home = _called(*(plain or whole or found)[0]).split(".")

    def nearness(one: _Network) -> tuple[int, int]:
        parts = _called(*one).split(".")
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(home, parts, strict=False))
        return sum(1 for _ in pairs), -len(parts)

    best = max(map(nearness, found))
    nearest = [one for one in found if nearness(one) == best]
    if len(nearest) > 1:
        names = ", ".join(repr(_called(*one)) for one in nearest)
        raise WeightsError(f"{asked} holds several classifiers ({names}): save a file of one.")
    return nearest[0]

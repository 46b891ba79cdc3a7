"""A PyTorch module as a network with one output per layer, observed with hooks.

The unmodified module runs in inference mode without gradients, with its current weights at each
call. Afterwards each of its modules is back in its previous mode, and no hook remains.
"""

from __future__ import annotations

import inspect
import itertools
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.utils.weak import WeakTensorKeyDictionary

from vgg_widget.activations.named_layers import LayerNameError
from vgg_widget.layers import LayerInfo
from vgg_widget.network import torch_gradients
from vgg_widget.network.fan_in import FanIn, no_kernels
from vgg_widget.network.graph import CHANNELS_LAST
from vgg_widget.network.network_input import Floats, NetworkInput
from vgg_widget.network.own_model import failure, kind_of_class, layer_info, unchanged
from vgg_widget.network.protocol import Aim, Colours, Doubles, Preprocess, Size, Unit, Weights
from vgg_widget.network.torch_following import Following, tensors_in
from vgg_widget.support.interrupts import interrupts_allowed, interrupts_delayed
from vgg_widget.support.messages import unknown_choice
from vgg_widget.support.provenance import Provenance

# The side at which geometry is measured before anything is computed.
_PROBE_SIDE = 224
# Assumed memory use before any forward pass: that of ResNet50. Before a first image larger than
# this, a small one is measured.
_BYTES_A_PIXEL = 6472
_LARGE = 400 * 400
_SMALL_SIDE = 64
# The images of a folder usually have only a few sizes.
_SIZES = 16

OUTPUT = "output"
"""The name of the network's own result, if no module returns the same tensor."""

# Concurrent threads would restore each other's changes.
_running = threading.RLock()


_NOWHERE = LayerInfo("", None, "", 0, 1)


@dataclass(frozen=True, eq=False)
class Shown:
    """A 4-D result of a module's call."""

    name: str
    # Its position among the call's results, such as "[0]"; "" if it is the only one.
    place: str
    # The index of the call, in the order in which calls end.
    call: int
    # The layer whose maps the module reads; None for the pixels, "" for anything else.
    source: str | None
    layout: str = ""
    info: LayerInfo = _NOWHERE


@dataclass(frozen=True, eq=False)
class Found:
    """The results of a forward pass: layers, modules in order of execution, and output shapes."""

    shown: tuple[Shown, ...]
    calls: tuple[str, ...]
    # Shapes of the tensors that the network itself returns.
    ends: tuple[tuple[int, ...], ...]


class TorchNetwork:
    """A PyTorch module as a network.

    Parameters
    ----------
    module : torch.nn.Module
        The module, which is checked here.
    layers : collection of str, optional
        Names of the layers to include; all by default.
    """

    before_relu: tuple[str, ...] = ()

    def __init__(
        self, module: Any, layers: Collection[str] | None = None, *, own_preprocess: bool = True
    ) -> None:
        self.model = module
        self.preprocess: Preprocess = unchanged
        self.name = type(module).__name__
        _check_module(module, self.name)
        self._chosen = _checked_layers(layers, dict(module.named_modules()))
        channels = _channels_taken(module)
        if channels not in (1, 3) and not own_preprocess:
            raise ValueError(
                f"model {self.name!r} takes {channels} channels, not the 3 of RGB: pass "
                "preprocess=, a function from RGB 0–255 to them."
            )
        self.input = NetworkInput(channels, channels_first=True)
        self._measured: OrderedDict[Size, Found] = OrderedDict()

    # --- the network protocol

    def check_usable(self) -> None:
        """Do nothing: PyTorch can compute wherever it can be imported."""

    def measure(self, size: Size) -> None:
        """Compute a small image before a first large one, to measure memory use."""
        if not self._measured and size[0] * size[1] > _LARGE:
            # If the network does not support the small size, ignore the error.
            with suppress(ValueError):
                self.found_on((_SMALL_SIDE, _SMALL_SIDE))

    def check_size(self, size: Size) -> None:
        """Do nothing: only a forward pass shows whether a size is supported."""

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of a forward pass in bytes per image pixel; an estimate before the first pass."""
        if not self._measured:
            return _BYTES_A_PIXEL
        found = next(reversed(self._measured.values()))
        places = [(one.info.channels, one.info.placement) for one in found.shown]
        values = sum(count / (place.row_step * place.column_step) for count, place in places)
        # All maps in float32, and about as much again during the computation.
        return max(1, round(8 * values))

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width), by default any known size."""
        return tuple(one.info for one in self.found_on(size).shown)

    def found_on(self, size: Size | None) -> Found:
        """Return the results of a forward pass for this size, run on a black image if necessary."""
        with _running:
            if size is None and self._measured:
                return next(reversed(self._measured.values()))
            size = size or (_PROBE_SIDE, _PROBE_SIDE)
            if size not in self._measured:
                self._pass(np.zeros(self.input.shape(1, *size), np.float32), keep=False)
            return self._measured[size]

    def run(self, inputs: Floats) -> tuple[tuple[LayerInfo, ...], list[Floats]]:
        """Return the layers for images of this size, and the maps of each."""
        found, maps = self._pass(inputs, keep=True)
        return tuple(one.info for one in found.shown), maps

    def fan_in(self, name: str) -> FanIn:
        """Return the inputs and kernels of a layer's channels, with its current weights."""
        found = self.found_on(None)
        one = next(one for one in found.shown if one.name == name)
        module = self.model.get_submodule(found.calls[one.call])
        if one.source == "":
            raise ValueError(
                f"layer {name!r} reads an input without feature maps: choose a layer that reads "
                "another listed layer."
            )
        made = _fan_in_of(module, name, one.source)
        if made is None:
            kind = type_before_parametrizations(module).__name__
            raise no_kernels(name, kind, repr(one.source) if one.source else "", "Conv2d")
        return made

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from `first` to `last`, or to the end.

        Each weight appears once, by name, with two numbers (its module's, and its own in the
        module) and its values.
        """
        found = self.found_on(None)
        begin = found.shown[first].call
        end = len(found.calls) if last is None else found.shown[last].call + 1
        # The calls of submodules end before their parent's.
        held = f"{found.calls[begin]}."
        while begin > 0 and (held == "." or found.calls[begin - 1].startswith(held)):
            begin -= 1
        known: dict[int, tuple[tuple[int, int], Any, npt.NDArray[Any]]] = {}
        for number in range(begin, end):
            path = found.calls[number]
            module = self.model.get_submodule(path)
            own = itertools.chain(
                module.named_parameters(path, recurse=False),
                module.named_buffers(path, recurse=False),
            )
            for place, (name, tensor) in enumerate(own):
                if tensor.is_floating_point() and id(tensor) not in known:
                    known[id(tensor)] = (number, place), name, _as_array(tensor)
        return list(known.values())

    def channel_function(
        self, unit: Unit, colours: Colours, weights: Weights
    ) -> tuple[Callable[[Floats], Doubles], Callable[[Floats], tuple[Doubles, Floats]]]:
        """Return functions for a unit's values for images, and for the values with gradients."""
        return torch_gradients.channel_function(self, unit, colours, weights)

    def class_function(
        self,
        index: int,
        weights: Weights,
        *,
        rectified: bool,  # noqa: ARG002 - as the protocol has it; these maps are given once
    ) -> tuple[
        Callable[[Floats], Floats],
        Callable[[Floats, Floats], tuple[Floats, Floats]],
        int | None,
    ]:
        """Return functions for the class scores, and for their gradient at a layer."""
        return torch_gradients.class_function(self, index, weights)

    def aim_function(
        self,
        index: int,
        aim: Aim,
        colours: Colours,
        *,
        rectified: bool,  # noqa: ARG002
    ) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
        """Return functions for the objective of images, without and with gradients."""
        return torch_gradients.aim_function(self, index, aim, colours)

    def parameters(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the current values of all parameters."""
        # Buffers are left out: some count forward passes.
        return map(_as_array, self.model.parameters())

    def numbers(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the network's code, settings and weights as arrays, for a digest."""
        lines = [repr(self.model)]
        for module in self.model.modules():
            code = getattr(type(module).forward, "__code__", None)
            constants = (
                one for one in getattr(code, "co_consts", ()) if not hasattr(one, "co_code")
            )
            # The order in a set differs between processes.
            settled = [
                sorted(map(repr, one)) if isinstance(one, frozenset) else one for one in constants
            ]
            steps = getattr(code, "co_code", b""), getattr(code, "co_names", ())
            lines.append(repr((type(module).__module__, type(module).__qualname__, settled, steps)))
        yield np.frombuffer("\n".join(lines).encode(), np.uint8)
        for name, tensor in self.model.state_dict().items():
            yield np.frombuffer(name.encode(), np.uint8)
            if isinstance(tensor, torch.Tensor):
                yield _as_array(tensor)

    def provenance(self, *, own_preprocess: bool) -> Provenance:
        """Return the provenance, with a message that the expected range of the input is unknown."""
        label = f"PyTorch model {self.name!r}"
        if own_preprocess:
            return Provenance("model", label, network="")
        if self.input.channels == 1:
            label += " on grey (the image's luma)"
        message = (
            f"Values 0–255: PyTorch model {self.name!r} was given unscaled pixels; if it was "
            "trained on others, as most are, pass its preprocess=, for instance lambda images: "
            "images / 255."
        )
        return Provenance("model", label, message=message, network="")

    # --- the forward pass

    def _pass(self, inputs: Floats, *, keep: bool) -> tuple[Found, list[Floats]]:
        size = self.input.size_of(inputs.shape)
        # Tensors of inference mode do not count in-place changes, so switch it off.
        with _running, torch.inference_mode(mode=False), torch.no_grad():
            known = self._measured.get(size)
            pixels = self.as_input(torch.tensor(np.ascontiguousarray(inputs)))
            following = Following(self.model, pixels, measured=known is not None)
            recorder = _Recorder(pixels, following, size, self._chosen, keep=keep)
            with self.running(recorder.note, following):
                output = self.called(pixels)
            found = recorder.found(output)
            self._check_found(found)
            if known is not None and _are_alike(known, found):
                # Keep the known receptive fields, which were not computed again.
                found = known
            self._measured[size] = found
            self._measured.move_to_end(size)
            while len(self._measured) > _SIZES:
                self._measured.popitem(last=False)
        return found, recorder.maps

    def as_input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Move pixels to the device and precision of the module's parameters."""
        held = itertools.chain(self.model.parameters(), self.model.buffers())
        like = next((tensor for tensor in held if tensor.is_floating_point()), pixels)
        return pixels.to(like.device, like.dtype)

    @contextmanager
    def running(self, note: Note, *contexts: Any) -> Iterator[None]:
        """Run modules in inference mode, passing each result to `note`, then restore all.

        `note` is called with the module's name, the module, its arguments and its result.
        """
        noted = _on_this_thread(note)
        with _running, interrupts_delayed(), ExitStack() as stack:
            for name, module in self.model.named_modules():
                stack.callback(setattr, module, "training", module.training)
                # Not eval(), which a module may override.
                module.training = False
                hook = module.register_forward_hook(partial(noted, name), with_kwargs=True)
                stack.callback(hook.remove)
            for context in contexts:
                stack.enter_context(context)
            with interrupts_allowed():
                yield

    def called(self, pixels: torch.Tensor, weights: Weights | None = None) -> Any:
        """Return the module's output for an input, with some of its weights replaced."""
        try:
            if weights is None or not weights.variables:
                return self.model(pixels)
            arrays = (torch.from_numpy(array).to(pixels) for array in weights.arrays)
            numbers = dict(zip(weights.variables, arrays, strict=True))
            return torch.func.functional_call(self.model, numbers, (pixels,))
        except Exception as error:
            # A user's module may raise anything.
            raise failure(self.name, self.input.size_of(pixels.shape), error) from error

    def _check_found(self, found: Found) -> None:
        if not found.shown and not self._chosen:
            raise ValueError(
                f"model {self.name!r} has no modules with 4-D outputs (batch, channels, height, "
                "width): pass one with convolutions that are modules, such as nn.Conv2d."
            )
        names = {one.name for one in found.shown}
        missing = [name for name in self._chosen if name not in names]
        if missing:
            raise LayerNameError(
                f"layers names {missing[0]!r}, which has no maps (batch, channels, height, width) "
                f"in model {self.name!r}: leave it out."
            )


Note = Callable[[str, Any, Any, Any], Any]


def _on_this_thread(note: Note) -> Callable[..., Any]:
    """Return a hook that ignores calls of the same module on other threads."""
    thread = threading.get_ident()

    def hook(name: str, module: Any, given: Any, options: dict[str, Any], output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        # A module may be called with its input by keyword.
        return note(name, module, (*given, *options.values()), output)

    return hook


class _Recorder:
    """Records the results of the modules in one forward pass, call by call."""

    def __init__(
        self,
        pixels: torch.Tensor,
        following: Following,
        size: Size,
        chosen: Collection[str],
        *,
        keep: bool,
    ) -> None:
        self._following, self._size, self._chosen, self._keep = following, size, chosen, keep
        self._count = len(pixels)
        self._times: Counter[str] = Counter()
        # The layer that returned each tensor, and the tensor's version at that time.
        self._made: Any = WeakTensorKeyDictionary()
        self._made[pixels] = (None, pixels._version)  # noqa: SLF001 - there is no public count
        # The previous result, which a module often returns as its own.
        self._last: tuple[Any, int, Any] = (None, 0, None)
        self._calls: list[str] = []
        self._shown: list[Shown] = []
        self.maps: list[Floats] = []

    def note(self, name: str, module: Any, given: Any, output: Any) -> None:
        """Record a module's result; see `TorchNetwork.running`."""
        self._times[name] += 1
        times = self._times[name]
        source = self._source_of(module, given, output)
        for place, tensor in tensors_in(output):
            # The network itself has an empty name; a result of its last module belongs to that
            # module.
            if self._is_map(tensor) and (name or tensor is not self._last[0]):
                called = f"{name or OUTPUT}{f'#{times}' if times > 1 else ''}{place}"
                if not self._chosen or called in self._chosen:
                    self._show(Shown(called, place, len(self._calls), source), name, module, tensor)
        self._calls.append(name)

    def found(self, output: Any) -> Found:
        """Return everything recorded, with the network's own result."""
        ends = tuple(tuple(tensor.shape) for _, tensor in tensors_in(output))
        return Found(tuple(self._shown), tuple(self._calls), ends)

    def _is_map(self, tensor: torch.Tensor) -> bool:
        plain = tensor.layout == torch.strided and not tensor.is_complex()
        return tensor.dim() == 4 and len(tensor) == self._count and tensor.numel() > 0 and plain

    def _source_of(self, module: Any, given: Any, output: Any) -> str | None:
        """Return the layer whose maps a module read, or "" if they are not a layer's."""
        read = given[0] if given else None
        if not isinstance(read, torch.Tensor):
            return ""
        made, version = self._made.get(read, ("", 0))
        # An in-place module has read the tensor before changing it.
        written = read is output and getattr(module, "inplace", False)
        return made if version + written == read._version else ""  # noqa: SLF001

    def _show(self, one: Shown, name: str, module: Any, tensor: torch.Tensor) -> None:
        seen = self._following.seen(tensor)
        sides = dict(zip(seen.layout, tensor.shape, strict=True))
        last = self._shown[-1].info if self._shown else None
        info = layer_info(
            (one.name, _kind(module), sides["C"], _group(name, module, last)),
            seen.reaches,
            sides,
            self._size,
        )
        self._shown.append(replace(one, layout=seen.layout, info=info))
        version = tensor._version  # noqa: SLF001
        self._made[tensor] = (one.name, version)
        if self._keep:
            self.maps.append(self._copied(tensor, seen.layout))
        self._last = (tensor, version, self.maps[-1] if self.maps else None)

    def _copied(self, tensor: torch.Tensor, layout: str) -> Floats:
        before, version, maps = self._last
        if before is tensor and version == tensor._version:  # noqa: SLF001
            known: Floats = maps
            return known
        axes = [layout.index(letter) for letter in CHANNELS_LAST]
        # Always copy, since later modules may change the tensor in place.
        made = torch.empty([tensor.shape[axis] for axis in axes], dtype=torch.float32, device="cpu")
        copied: Floats = made.copy_(tensor.detach().permute(axes)).numpy()
        return copied


def _are_alike(one: Found, other: Found) -> bool:
    return [(each.name, each.info.channels) for each in one.shown] == [
        (each.name, each.info.channels) for each in other.shown
    ]


def _kind(module: Any) -> str:
    name = type_before_parametrizations(module).__name__
    parts = (part for part, _ in module.named_children() if part != "parametrizations")
    return name.lower() if any(parts) else kind_of_class(name)


# Matches up to the first part of a name with a number, such as "layer1" or "features.3"; otherwise
# the first part.
_PART = re.compile(r"[^\d]*\d+[^.]*|[^.]+")


def _group(name: str, module: Any, last: LayerInfo | None) -> str:
    """Return a layer's group, a part of its name; `last` is the layer before it.

    A container, whose call ends after its layers, belongs to their group; a separate normalisation,
    activation or pool belongs to the group before it.
    """
    found = _PART.match(name)
    part = found[0] if found else name
    if last is None:
        return part or OUTPUT
    held = not name or last.name.startswith(f"{name}.")
    leads = any(len(one.shape) > 1 for one in module.parameters(recurse=False))
    return last.group if held or (part == name and not leads) else part


def _as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    plain = tensor.detach().cpu()
    array: npt.NDArray[Any] = (plain if plain.dtype in _OF_NUMPY else plain.float()).numpy()
    return array


# NumPy has no bfloat16 and no types below half precision.
_OF_NUMPY = frozenset(
    {
        *(torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.bool),
    }
)


# Kernels -----------------------------------------------------------------------------------------

# PyTorch modules in which each channel depends only on the input channel of the same number.
_CHANNELWISE = {
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.LPPool2d),
    *(nn.BatchNorm2d, nn.InstanceNorm2d, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.ZeroPad2d, nn.Upsample),
}


def _fan_in_of(module: Any, name: str, source: str | None) -> FanIn | None:
    """Return the inputs of a standard PyTorch module's channels; None for other modules."""
    # A module with parametrizations, such as weight_norm, gets a class of its own.
    kind = type_before_parametrizations(module)
    if kind in _CHANNELWISE:
        return FanIn(name, source)
    if kind is not nn.Conv2d or module.padding_mode != "zeros":
        return None
    # Typed as Any: each attribute is a pair of numbers.
    of: Any = module
    padding: Any = of.padding
    if padding == "same":
        # An odd zero is added at the end.
        sides = zip(module.dilation, module.kernel_size, strict=True)
        padding = tuple(dilation * (size - 1) // 2 for dilation, size in sides)
    weight, bias = _weight_and_bias(module)
    kernel = weight.detach().float().cpu().numpy()
    return FanIn(
        name,
        source,
        np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)),
        None if bias is None else bias.detach().float().cpu().numpy().copy(),
        module.groups,
        of.stride,
        of.dilation,
        padding,
    )


def _weight_and_bias(module: Any) -> tuple[Any, Any]:
    """Return both in inference mode, since accesses in training update a spectral norm."""
    modes = [(one, one.training) for one in module.modules()]
    with _running, interrupts_delayed(), torch.no_grad():
        try:
            for one, _ in modes:
                one.training = False
            return module.weight, module.bias
        finally:
            for one, mode in modes:
                one.training = mode


# Checks ------------------------------------------------------------------------------------------


def _check_module(module: Any, name: str) -> None:
    """Raise ValueError for a module that hooks cannot observe, or with several inputs."""
    for path, one in module.named_modules():
        where = f" ({path!r})" if path else ""
        if isinstance(one, torch.jit.ScriptModule):
            raise ValueError(  # noqa: TRY004 - the type is right, but not the way it was created
                f"model {name!r} is a scripted module{where}, which hooks cannot observe: pass "
                "the module that it was created from."
            )
        compiled = getattr(one, "_compiled_call_impl", None) is not None
        compiled |= hasattr(one.forward, "_torchdynamo_orig_callable")
        if compiled or type(one).__name__ == "OptimizedModule":
            raise ValueError(
                f"model {name!r} is a compiled module{where}, which hooks cannot observe: pass the "
                "module before torch.compile."
            )
        if ".quantized" in type(one).__module__:
            raise ValueError(
                f"model {name!r} is a quantised module{where}, which hooks cannot observe: pass "
                "the module before it was quantised."
            )
    held = list(itertools.chain(module.parameters(), module.buffers()))
    if any(nn.parameter.is_lazy(one) or one.is_meta for one in held):
        raise ValueError(
            f"model {name!r} has uninitialised parameters: call it on an image once, or load its "
            "weights, before you pass it."
        )
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return
    needed = [
        one.name
        for one in signature.parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if not any(one.kind is not one.KEYWORD_ONLY for one in signature.parameters.values()):
        raise ValueError(f"model {name!r} has no input: pass one whose forward takes an image.")
    if len(needed) > 1:
        raise ValueError(
            f"model {name!r} has {len(needed)} inputs ({', '.join(needed)}): pass one with a "
            "single image input, such as a wrapper that supplies the other inputs."
        )


def _checked_layers(layers: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Return the chosen names, after checking that each begins with a module's name."""
    if layers is None:
        return ()
    several = isinstance(layers, Iterable) and not isinstance(layers, str)
    chosen = tuple(layers) if several else (layers,)
    if not chosen:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    known = [name or OUTPUT for name in names]
    for name in chosen:
        module = re.sub(r"(#\d+)?(\[.*\])?$", "", name) if isinstance(name, str) else name
        if module not in known:
            raise LayerNameError(unknown_choice("layers", name, known))
    return chosen


def _channels_taken(module: Any) -> int:
    """Return the likely number of input channels; 3 if there is no convolution."""
    found = [one.in_channels for one in module.modules() if isinstance(one, nn.Conv2d)]
    # The order of definition may differ from the order of execution.
    for usual in (*found[:1], 3, 1):
        if usual in (1, 3) and usual in found:
            return int(usual)
    return int(found[0]) if found else 3

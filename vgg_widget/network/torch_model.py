"""A PyTorch module as a network with one output a layer: the module as it is, with hooks.

It runs as in inference, without gradients, with the weights that it has at each call. Afterwards
each of its modules is in the mode it was in, and no hook of ours stays.
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

# Where geometry is measured when nothing has been computed yet.
_PROBE_SIDE = 224
# What ResNet50 takes of memory, for a first picture of fewer pixels, when no map is known.
_BYTES_A_PIXEL = 6472
_LARGE = 400 * 400
_SMALL_SIDE = 64
# Images of one folder come in a few sizes.
_SIZES = 16

OUTPUT = "output"
"""What the network's own result is called, where no module of its gives that tensor."""

# Two threads would put back what the other one has changed.
_running = threading.RLock()


_NOWHERE = LayerInfo("", None, "", 0, 1)


@dataclass(frozen=True, eq=False)
class Shown:
    """One 4-D result of a call of a module."""

    name: str
    # Where it is among the call's results, such as "[0]"; "" where it is the only one.
    place: str
    # The call's number, in the order in which calls end.
    call: int
    # The layer whose maps the module reads: None for the pixels, "" for what is no layer's.
    source: str | None
    layout: str = ""
    info: LayerInfo = _NOWHERE


@dataclass(frozen=True, eq=False)
class Found:
    """What a forward pass found: its layers, the modules in order of execution, and its result."""

    shown: tuple[Shown, ...]
    calls: tuple[str, ...]
    # Shapes of the tensors that the network itself gives.
    ends: tuple[tuple[int, ...], ...]


class TorchNetwork:
    """A PyTorch module as it is.

    Parameters
    ----------
    module : torch.nn.Module
        It is checked here.
    layers : collection of str, optional
        Names of the layers that are shown; all without.
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

    # --- what is asked of any network

    def check_usable(self) -> None:
        """Do nothing: PyTorch computes wherever it can be imported."""

    def measure(self, size: Size) -> None:
        """Compute a small image, where nothing was computed before and this one is large."""
        if not self._measured and size[0] * size[1] > _LARGE:
            # A network that takes other sizes alone tells so when it is given this one.
            with suppress(ValueError):
                self.found_on((_SMALL_SIDE, _SMALL_SIDE))

    def check_size(self, size: Size) -> None:
        """Do nothing: only a forward pass tells which sizes a module takes."""

    @property
    def bytes_a_pixel(self) -> int:
        """Memory of one forward pass, by pixel of the image: a guess before the first."""
        if not self._measured:
            return _BYTES_A_PIXEL
        found = next(reversed(self._measured.values()))
        places = [(one.info.channels, one.info.placement) for one in found.shown]
        values = sum(count / (place.row_step * place.column_step) for count, place in places)
        # All maps in float32, and about as much again while they are computed.
        return max(1, round(8 * values))

    def layers_on(self, size: Size | None) -> tuple[LayerInfo, ...]:
        """Return names and geometry for an image of (height, width); by default any known size."""
        return tuple(one.info for one in self.found_on(size).shown)

    def found_on(self, size: Size | None) -> Found:
        """Return what a forward pass finds on an image of this size, black if there was none."""
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
        """Return what the channels of a layer are made of, with the weights it has now."""
        found = self.found_on(None)
        one = next(one for one in found.shown if one.name == name)
        module = self.model.get_submodule(found.calls[one.call])
        if one.source == "":
            raise ValueError(
                f"layer {name!r} reads something that has no feature maps: choose a layer that "
                "reads another of those listed."
            )
        made = _fan_in_of(module, name, one.source)
        if made is None:
            kind = type_before_parametrizations(module).__name__
            raise no_kernels(name, kind, repr(one.source) if one.source else "", "Conv2d")
        return made

    def variables(
        self, first: int, last: int | None
    ) -> list[tuple[tuple[int, int], Any, npt.NDArray[Any]]]:
        """Return the weights of the layers from one to another, or to the end.

        Each comes once, by its name, with two numbers, its module's and its own there, and with
        its values.
        """
        found = self.found_on(None)
        begin = found.shown[first].call
        end = len(found.calls) if last is None else found.shown[last].call + 1
        # What a module holds ends before it.
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
        """Return what computes the values of a unit for pictures, and them with gradients."""
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
        """Return what computes the scores of classes, and what a layer's maps give to them."""
        return torch_gradients.class_function(self, index, weights)

    def aim_function(
        self,
        index: int,
        aim: Aim,
        colours: Colours,
        *,
        rectified: bool,  # noqa: ARG002
    ) -> tuple[Callable[..., Floats], Callable[..., tuple[Floats, Floats]]]:
        """Return what tells how near pictures come to what is asked, and that with gradients."""
        return torch_gradients.aim_function(self, index, aim, colours)

    def parameters(self) -> Iterator[npt.NDArray[Any]]:
        """Give the parameters as they are now."""
        # No buffers, some of which count forward passes.
        return map(_as_array, self.model.parameters())

    def numbers(self) -> Iterator[npt.NDArray[Any]]:
        """Give what the network computes with, as arrays: its code, its settings, its numbers."""
        told = [repr(self.model)]
        for module in self.model.modules():
            code = getattr(type(module).forward, "__code__", None)
            settled = [one for one in getattr(code, "co_consts", ()) if not hasattr(one, "co_code")]
            steps = getattr(code, "co_code", b""), getattr(code, "co_names", ())
            told.append(repr((type(module).__module__, type(module).__qualname__, settled, steps)))
        yield np.frombuffer("\n".join(told).encode(), np.uint8)
        for name, tensor in self.model.state_dict().items():
            yield np.frombuffer(name.encode(), np.uint8)
            if isinstance(tensor, torch.Tensor):
                yield _as_array(tensor)

    def provenance(self, *, own_preprocess: bool) -> Provenance:
        """Say whose weights these are, and what the network was fed where that is open to doubt."""
        label = f"PyTorch model {self.name!r}"
        if own_preprocess:
            return Provenance("model", label, network="")
        if self.input.channels == 1:
            label += " on grey (the picture's luma)"
        message = (
            f"Values 0–255: PyTorch model {self.name!r} was given pixels as they are; if it was "
            "trained on others, as most are, pass its preprocess=, for instance "
            "lambda images: images / 255."
        )
        return Provenance("model", label, message=message, network="")

    # --- the forward pass

    def _pass(self, inputs: Floats, *, keep: bool) -> tuple[Found, list[Floats]]:
        size = self.input.size_of(inputs.shape)
        # Not as tensors of an inference mode, of which nobody counts how often they are written to.
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
                # With receptive fields, which were not followed again.
                found = known
            self._measured[size] = found
            self._measured.move_to_end(size)
            while len(self._measured) > _SIZES:
                self._measured.popitem(last=False)
        return found, recorder.maps

    def as_input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bring pixels to the device and the precision of the module's numbers."""
        held = itertools.chain(self.model.parameters(), self.model.buffers())
        like = next((tensor for tensor in held if tensor.is_floating_point()), pixels)
        return pixels.to(like.device, like.dtype)

    @contextmanager
    def running(self, note: Note, *contexts: Any) -> Iterator[None]:
        """Have the modules as in inference, and each result noted; put all back at the end.

        `note` is called with a module's name, the module, its arguments and its result.
        """
        noted = _on_this_thread(note)
        with _running, interrupts_delayed(), ExitStack() as stack:
            for name, module in self.model.named_modules():
                stack.callback(setattr, module, "training", module.training)
                # Not eval(), in which a module may do more.
                module.training = False
                stack.callback(module.register_forward_hook(partial(noted, name)).remove)
            for context in contexts:
                stack.enter_context(context)
            with interrupts_allowed():
                yield

    def called(self, pixels: torch.Tensor, weights: Weights | None = None) -> Any:
        """Return what the module makes of an input, with some of its numbers replaced."""
        try:
            if weights is None or not weights.variables:
                return self.model(pixels)
            arrays = (torch.from_numpy(array).to(pixels) for array in weights.arrays)
            numbers = dict(zip(weights.variables, arrays, strict=True))
            return torch.func.functional_call(self.model, numbers, (pixels,))
        except Exception as error:
            # Whatever a module of a person's own has against it.
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
                f"layers names {missing[0]!r}, which gives no maps (batch, channels, height, "
                f"width) of model {self.name!r}: leave it out."
            )


Note = Callable[[str, Any, Any, Any], Any]


def _on_this_thread(note: Note) -> Note:
    """Leave out what another thread makes of the same module meanwhile."""
    thread = threading.get_ident()
    return lambda *given: note(*given) if threading.get_ident() == thread else None


class _Recorder:
    """What the modules of one forward pass give, call by call."""

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
        # By the tensor, the layer that gave it and how often it had been written to by then.
        self._made: Any = WeakTensorKeyDictionary()
        self._made[pixels] = (None, pixels._version)  # noqa: SLF001 - there is no public count
        # The result before, which a module often hands on as its own.
        self._last: tuple[Any, int, Any] = (None, 0, None)
        self._calls: list[str] = []
        self._shown: list[Shown] = []
        self.maps: list[Floats] = []

    def note(self, name: str, module: Any, given: Any, output: Any) -> None:
        """Note a module's result; see `TorchNetwork.running`."""
        self._times[name] += 1
        times = self._times[name]
        source = self._source_of(module, given, output)
        for place, tensor in tensors_in(output):
            # The module's own name is empty; what its last part gives is that part's.
            if self._is_map(tensor) and (name or tensor is not self._last[0]):
                called = f"{name or OUTPUT}{f'#{times}' if times > 1 else ''}{place}"
                if not self._chosen or called in self._chosen:
                    self._show(Shown(called, place, len(self._calls), source), name, module, tensor)
        self._calls.append(name)

    def found(self, output: Any) -> Found:
        """Return all that was found, the network's own result among it."""
        ends = tuple(tuple(tensor.shape) for _, tensor in tensors_in(output))
        return Found(tuple(self._shown), tuple(self._calls), ends)

    def _is_map(self, tensor: torch.Tensor) -> bool:
        plain = tensor.layout == torch.strided and not tensor.is_complex()
        return tensor.dim() == 4 and len(tensor) == self._count and tensor.numel() > 0 and plain

    def _source_of(self, module: Any, given: Any, output: Any) -> str | None:
        """Return the layer whose maps a module was given; "" where they are no layer's."""
        read = given[0] if given else None
        if not isinstance(read, torch.Tensor):
            return ""
        made, version = self._made.get(read, ("", 0))
        # A module that writes over what it reads has read what was there.
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
        # Always a copy, since what follows may write over it.
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


# Up to the first part of a name with a number, such as "layer1" or "features.3"; else the first.
_PART = re.compile(r"[^\d]*\d+[^.]*|[^.]+")


def _group(name: str, module: Any, last: LayerInfo | None) -> str:
    """Return the group of a layer that comes after another one: a part of its name.

    What holds layers, and ends after them, belongs to them; a normalisation, activation or pool
    that stands alone belongs to what came before.
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


# NumPy has no bfloat16, nor anything smaller than half precision.
_OF_NUMPY = frozenset(
    {
        *(torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.bool),
    }
)


# Kernels -----------------------------------------------------------------------------------------

# Where each channel is made of the one of the same number alone, among PyTorch's own modules.
_APART = {
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.LPPool2d),
    *(nn.BatchNorm2d, nn.InstanceNorm2d, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.ZeroPad2d, nn.Upsample),
}


def _fan_in_of(module: Any, name: str, source: str | None) -> FanIn | None:
    """Return what the channels of one of PyTorch's own modules are made of; None for others."""
    # That of a module with parametrizations, such as weight_norm, is made for it alone.
    kind = type_before_parametrizations(module)
    if kind in _APART:
        return FanIn(name, source)
    if kind is not nn.Conv2d or module.padding_mode != "zeros":
        return None
    # Of whichever kind: two numbers each.
    of: Any = module
    padding: Any = of.padding
    if padding == "same":
        # The odd one at the end.
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
    """Read both as in inference: in training a spectral norm is estimated again at each reading."""
    modes = [(one, one.training) for one in module.modules()]
    with _running, interrupts_delayed(), torch.no_grad():
        try:
            for one, _ in modes:
                one.training = False
            return module.weight, module.bias
        finally:
            for one, mode in modes:
                one.training = mode


# What is refused ---------------------------------------------------------------------------------


def _check_module(module: Any, name: str) -> None:
    """Raise ValueError for a module that hooks do not see into, or that takes no single picture."""
    for path, one in module.named_modules():
        where = f" ({path!r})" if path else ""
        if isinstance(one, torch.jit.ScriptModule):
            raise ValueError(  # noqa: TRY004 - it is of the right type, and made in another way
                f"model {name!r} is a scripted module{where}, into which hooks may not see: pass "
                "the module that it was made of."
            )
        compiled = getattr(one, "_compiled_call_impl", None) is not None
        compiled |= hasattr(one.forward, "_torchdynamo_orig_callable")
        if compiled or type(one).__name__ == "OptimizedModule":
            raise ValueError(
                f"model {name!r} is a compiled module{where}, into which hooks may not see: pass "
                "the module before torch.compile."
            )
        if ".quantized" in type(one).__module__:
            raise ValueError(
                f"model {name!r} is a quantised module{where}, into which hooks may not see: pass "
                "the module before it was quantised."
            )
    held = list(itertools.chain(module.parameters(), module.buffers()))
    if any(nn.parameter.is_lazy(one) or one.is_meta for one in held):
        raise ValueError(
            f"model {name!r} has parameters without numbers yet: call it on an image once, or "
            "load its weights, before you pass it."
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
            "single image input, such as a module that calls it with the others."
        )


def _checked_layers(layers: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Return the chosen names, each of which begins with the name of a module."""
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
    """Return how many channels the network probably takes; 3 where no convolution tells."""
    found = [one.in_channels for one in module.modules() if isinstance(one, nn.Conv2d)]
    # They may be defined in another order than that in which they run.
    for usual in (*found[:1], 3, 1):
        if usual in (1, 3) and usual in found:
            return int(usual)
    return int(found[0]) if found else 3

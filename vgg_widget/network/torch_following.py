"""Tracking of layouts and receptive fields through PyTorch functions.

All functions that a network calls are tracked while it runs, inside and between its modules, so no
graph is needed. A function without a rule sees the whole map, or an unknown part of it, and after
it receptive fields are undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from vgg_widget.network.graph import CHANNELS_FIRST
from vgg_widget.network.receptive_fields import Reach, Reaches


@dataclass(frozen=True, eq=False)
class Seen:
    """The layout and receptive fields of a tensor computed from the pixels."""

    # A letter for each axis, such as "NCHW"; empty if unknown.
    layout: str = ""
    reaches: Reaches | None = None


_UNKNOWN = Seen()


def tensors_in(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors in tuples, lists and dicts, each with its position, such as ``"[0]"``."""
    if isinstance(value, torch.Tensor):
        yield "", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from ((f"[{key}]{place}", one) for place, one in tensors_in(inner))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from ((f"[{number}]{place}", one) for place, one in tensors_in(inner))


class Following(TorchFunctionMode):
    """A context that tracks the tensors computed from the pixels by each function.

    Parameters
    ----------
    module : torch.nn.Module
        The module, whose parameters, buffers and other tensors do not depend on the pixels.
    pixels : Tensor
        The network's input, channels first.
    measured : bool
        Whether receptive fields are already known; then only layouts are tracked.
    """

    def __init__(self, module: Any, pixels: torch.Tensor, *, measured: bool) -> None:
        super().__init__()
        reaches = (
            None
            if measured
            else dict(zip("HW", map(Reach.of_pixels, pixels.shape[2:]), strict=True))
        )
        # None for a tensor that does not depend on the pixels.
        self._known: Any = WeakTensorKeyDictionary()
        self._known[pixels] = Seen(CHANNELS_FIRST, reaches)
        for each in module.modules():
            for held in (each._parameters, each._buffers, vars(each)):  # noqa: SLF001 - public iterators build names
                self._known.update({t: None for t in held.values() if isinstance(t, torch.Tensor)})
        self._usual = CHANNELS_FIRST

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        # Look up the sources before the call, which may change them in place.
        sources = self._sources((args, given))
        made = func(*args, **given)
        name = str(getattr(func, "__name__", "")).strip("_")
        if name == "setitem" and sources:
            self._known[args[0]] = _UNKNOWN
        for _, result in tensors_in(made):
            found = _after(Call(func, name, args, given, sources, result))
            self._known[result] = found
            if found is not None and len(found.layout) == 4 and name in _TELLING:
                self._usual = found.layout
        return made

    def seen(self, tensor: torch.Tensor) -> Seen:
        """Return what is known of a tensor with four axes, at least its probable layout."""
        found = self._known.get(tensor, _UNKNOWN) or _UNKNOWN
        return found if len(found.layout) == 4 else Seen(self._usual)

    def _sources(self, given: Any) -> list[tuple[torch.Tensor, Seen]]:
        found = [(tensor, self._known.get(tensor, _UNKNOWN)) for _, tensor in tensors_in(given)]
        return [(tensor, seen) for tensor, seen in found if seen is not None]


@dataclass(frozen=True, eq=False)
class Call:
    """A result of a function's call."""

    function: Any
    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    # The arguments that are computed from the pixels.
    sources: Sequence[tuple[torch.Tensor, Seen]]
    result: torch.Tensor

    def given(self, place: int, name: str, usual: Any = None) -> Any:
        """Return an argument by position or name."""
        return self.args[place] if len(self.args) > place else self.options.get(name, usual)

    @property
    def alone(self) -> Seen:
        """What is known of the only source; unknown if there are several."""
        return self.sources[0][1] if len(self.sources) == 1 else _UNKNOWN

    def on_channels(self, axes: Any) -> bool:
        """Return whether axes, given by number, are channel axes."""
        layout = self.alone.layout
        numbers = axes if isinstance(axes, list | tuple) else [axes]
        return bool(layout) and all(
            isinstance(axis, int) and layout[axis] == "C" for axis in numbers
        )


def _after(call: Call) -> Seen | None:
    if not call.sources:
        return None
    rule = _RULES.get(call.name)
    try:
        return _kept(call) if rule is None else rule(call)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError):
        # An unexpected form of call.
        return _UNKNOWN


def _kept(call: Call) -> Seen:
    """Keep the layout of a source with the result's shape, but no receptive fields."""
    layouts = [seen.layout for tensor, seen in call.sources if tensor.shape == call.result.shape]
    return Seen(next(filter(None, layouts), ""))


def _pair(value: Any) -> tuple[int, int]:
    down, across = (value[0], value[-1]) if isinstance(value, list | tuple) else (value, value)
    return int(down), int(across)


def _along(
    call: Call, change: Callable[..., Reach | None], *settings: tuple[Any, Any]
) -> Reaches | None:
    """Apply `change` to each axis of channels-first maps, with its number of units and settings."""
    before = call.alone
    if before.layout != CHANNELS_FIRST or before.reaches is None or call.result.dim() != 4:
        return None
    found = {}
    for axis, letter in enumerate("HW"):
        units = call.result.shape[2 + axis]
        reach = change(before.reaches[letter], units, *(pair[axis] for pair in settings))
        if reach is None or reach.units != units:
            return None
        found[letter] = reach
    return found


def _window(reach: Reach, units: int, *how: int) -> Reach:
    """Return the reach after a window with a size, stride, dilation and leading zeros."""
    kernel, stride, dilation, before = how
    # Padding or cropping at the end follows from the number of units.
    after = (units - 1) * stride + (kernel - 1) * dilation + 1 - reach.units - before
    return reach.padded(before, after).window(kernel, stride, dilation)


def _convolution(call: Call) -> Seen:
    kernel = _pair(tuple(call.given(1, "weight").shape[2:]))
    stride, dilation = _pair(call.given(3, "stride", 1)), _pair(call.given(5, "dilation", 1))
    padding = call.given(4, "padding", 0)
    if padding == "same":
        # An odd zero is added at the end.
        sides = zip(dilation, kernel, strict=True)
        before = _pair([step * (size - 1) // 2 for step, size in sides])
    else:
        before = (0, 0) if padding == "valid" else _pair(padding)
    return Seen(CHANNELS_FIRST, _along(call, _window, kernel, stride, dilation, before))


def _max_pool(call: Call) -> Seen:
    return _pool(call, _pair(call.given(4, "dilation", 1)))


def _pool(call: Call, dilation: tuple[int, int] = (1, 1)) -> Seen:
    kernel = _pair(call.given(1, "kernel_size"))
    stride = _pair(call.given(2, "stride") or kernel)
    padding = _pair(call.given(3, "padding", 0))
    return Seen(CHANNELS_FIRST, _along(call, _window, kernel, stride, dilation, padding))


def _adaptive_pool(call: Call) -> Seen:
    def change(reach: Reach, units: int) -> Reach | None:
        size, rest = divmod(reach.units, units)
        # A unit that sees the whole map has no receptive field.
        return None if rest or (units == 1 and size > 1) else reach.window(size, size)

    return Seen(CHANNELS_FIRST, _along(call, change))


def _transposed(call: Call) -> Seen:
    kernel = _pair(tuple(call.given(1, "weight").shape[2:]))
    stride, padding = _pair(call.given(3, "stride", 1)), _pair(call.given(4, "padding", 0))
    dilation = _pair(call.given(7, "dilation", 1))

    def change(reach: Reach, units: int, *how: int) -> Reach:
        kernel, stride, dilation, cut = how
        whole = (reach.units - 1) * stride + (kernel - 1) * dilation + 1
        made = reach.transposed(whole, kernel, stride, dilation, "valid")
        return made.padded(-cut, units - whole + cut)

    return Seen(CHANNELS_FIRST, _along(call, change, kernel, stride, dilation, padding))


def _resize(call: Call) -> Seen:
    mode = call.given(3, "mode", "nearest")
    plain = not call.given(4, "align_corners") and not call.given(6, "antialias", usual=False)

    def change(reach: Reach, units: int) -> Reach | None:
        # Other enlargements sample at other positions.
        known = plain and mode in ("nearest", "bilinear") and units % reach.units == 0
        return reach.resized(units, mode) if known else None

    return Seen(CHANNELS_FIRST, _along(call, change))


def _padding(call: Call) -> Seen:
    left, right, top, bottom = (*call.given(1, "pad"), 0, 0)[:4]
    if call.given(2, "mode", "constant") != "constant":
        return Seen(CHANNELS_FIRST)

    def change(reach: Reach, _: int, ends: tuple[int, int]) -> Reach:
        return reach.padded(*ends)

    return Seen(CHANNELS_FIRST, _along(call, change, ((top, bottom), (left, right))))


def _elementwise(call: Call) -> Seen:
    layout = _kept(call).layout
    reaches = [seen.reaches for _, seen in call.sources]
    joined: dict[str, Reach] = {}
    for letter in "HW":
        each = [one[letter] for one in reaches if one is not None]
        union = Reach.union(each) if len(each) == len(reaches) else None
        if union is None:
            return Seen(layout)
        joined[letter] = union
    return Seen(layout, joined)


def _batch_norm(call: Call) -> Seen:
    # With the image's own statistics, each unit depends on the whole image.
    return _kept(call) if call.given(5, "training", usual=False) else _elementwise(call)


def _join(call: Call) -> Seen:
    layouts = {seen.layout for _, seen in call.sources}
    axis = call.given(1, "dim", 0)
    if len(layouts) != 1 or not (layout := layouts.pop()):
        return _UNKNOWN
    return Seen(layout, _elementwise(call).reaches if layout[axis] == "C" else None)


def _split(call: Call) -> Seen:
    same = call.on_channels(call.given(2, "dim", 0))
    return Seen(call.alone.layout, call.alone.reaches if same else None)


def _last_axis(call: Call) -> Seen:
    reaches = call.alone.reaches if call.on_channels(-1) else None
    return Seen(call.alone.layout if call.result.dim() == len(call.alone.layout) else "", reaches)


def _layer_norm(call: Call) -> Seen:
    return _last_axis(call) if len(call.given(1, "normalized_shape")) == 1 else _kept(call)


def _softmax(call: Call) -> Seen:
    same = call.on_channels(call.given(1, "dim"))
    return Seen(call.alone.layout, call.alone.reaches if same else None)


def _across_channels(call: Call) -> Seen:
    """Keep the reach for a reduction over channels that keeps the axis."""
    same = call.on_channels(call.given(1, "dim")) and call.result.dim() == len(call.alone.layout)
    return call.alone if same else _UNKNOWN


def _permute(call: Call) -> Seen:
    # Give each axis its number as its length, to track its new position.
    layout = call.alone.layout
    lengths = call.function(torch.empty(tuple(range(len(layout)))), *call.args[1:], **call.options)
    return Seen("".join(layout[axis] for axis in lengths.shape), call.alone.reaches)


def _reshape(call: Call) -> Seen:
    """Keep the reach for a reshape that only splits or joins channels."""
    before, after = call.sources[0][0].shape, call.result.shape
    same = before[0] == after[0] and before[-2:] == after[-2:] and len(after) >= 4
    if not same or not call.alone.layout.endswith("HW"):
        return _UNKNOWN
    return Seen("N" + "C" * (len(after) - 3) + "HW", call.alone.reaches)


def _part(call: Call) -> Seen:
    """Crop like an index such as ``maps[:, 1:-1, ::2]``."""
    layout, reaches = call.alone.layout, call.alone.reaches
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if ... in index:
        place = index.index(...)
        full = (slice(None),) * (len(layout) - len(index) + 1)
        index = (*index[:place], *full, *index[place + 1 :])
    if not layout or not all(isinstance(one, slice) for one in index) or reaches is None:
        return Seen(layout if call.result.dim() == len(layout) else "")
    cut = dict(reaches)
    for letter, one in zip(layout, index, strict=False):
        if letter in cut:
            start, stop, step = one.indices(cut[letter].units)
            cut[letter] = cut[letter].padded(-start, stop - cut[letter].units).window(1, step)
    return Seen(layout, cut)


_NAMES: Mapping[Callable[[Call], Seen], str] = {
    _convolution: "conv2d",
    _max_pool: "max_pool2d max_pool2d_with_indices",
    _pool: "avg_pool2d",
    _adaptive_pool: "adaptive_avg_pool2d adaptive_max_pool2d",
    _transposed: "conv_transpose2d",
    _resize: "interpolate",
    _padding: "pad",
    _batch_norm: "batch_norm",
    _join: "cat concat concatenate",
    _split: "chunk split tensor_split",
    _last_axis: "linear",
    _layer_norm: "layer_norm rms_norm",
    _softmax: "softmax log_softmax",
    _across_channels: "mean sum max min amax amin std var",
    _permute: "permute transpose swapaxes swapdims movedim moveaxis",
    _reshape: "view reshape flatten unflatten",
    _part: "getitem",
    # The middle lines are active only in training.
    _elementwise: """
        relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign prelu rrelu threshold
        hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink sigmoid logsigmoid tanh
        dropout dropout1d dropout2d alpha_dropout feature_alpha_dropout local_response_norm
        clone contiguous detach to float half double bfloat16 type type_as cpu cuda requires_grad
        abs neg exp log sqrt rsqrt square reciprocal sign floor ceil round clamp clamp_min clamp_max
        clip pow rpow lerp where maximum minimum fmod remainder
        add sub mul div true_divide multiply divide subtract addcmul addcdiv
        iadd isub imul itruediv idiv radd rsub rmul rtruediv rdiv truediv
    """,
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}

# Functions whose layout is assumed for tensors with an unknown layout.
_TELLING = frozenset({"conv2d", "batch_norm", "max_pool2d", "avg_pool2d", "linear", "layer_norm"})

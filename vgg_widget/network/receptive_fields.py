"""Receptive fields, and the effect of each kind of Keras layer on them.

Rules are keyed by the names of Keras's own classes; custom classes have none, even if they inherit
from these. A layer without a rule sees the whole map, or an unknown part of it, and after it
receptive fields are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vgg_widget.network.graph import (
    FLAT,
    TURNS,
    Call,
    axes_of,
    channels_of,
    indexed,
    kind_of,
    turned,
)

Ints = npt.NDArray[np.int64]
# Function from units to the units of the previous map that they read, with a mask of existing ones.
Taps = Callable[[Ints], tuple[Ints, npt.NDArray[np.bool_] | bool]]

# Bound of an empty interval, beyond any pixel.
_NOWHERE = 1 << 40


@dataclass(frozen=True, eq=False)
class Reach:
    """The exact receptive fields of a map's units along one axis.

    For a chain of convolutions and pools this is the arithmetic of Dumoulin & Visin
    (arXiv:1603.07285); for branches, that of Araujo, Norris & Sim, "Computing Receptive Fields of
    Convolutional Neural Networks" (Distill, 2019).
    """

    # First and last input coordinates seen by units 0 to P - 1 in an image without borders; unit i
    # + P sees the same, shifted by `shift` pixels. P is 1 unless maps were enlarged on the way,
    # after which neighbouring units may see the same pixels.
    low: Ints
    high: Ints
    shift: int
    # First and last input pixels seen by each unit of this map, taking borders and padding into
    # account; first > last if a unit sees only padding.
    first: Ints
    last: Ints

    @classmethod
    def of_pixels(cls, count: int) -> Self:
        """Return the reach of the input itself: each pixel sees itself."""
        pixels = np.arange(count, dtype=np.int64)
        zero = np.zeros(1, np.int64)
        return cls(zero, zero, 1, pixels, pixels)

    @classmethod
    def union(cls, reaches: Sequence[Self]) -> Self | None:
        """Return the union over several branches, or None if their strides differ."""
        one = reaches[0]
        if any(other.units != one.units or other.stride != one.stride for other in reaches):
            return None
        period = math.lcm(*(len(reach.low) for reach in reaches))
        ends = [reach.without_borders(np.arange(period)) for reach in reaches]
        low = np.minimum.reduce([low for low, _ in ends])
        high = np.maximum.reduce([high for _, high in ends])
        first = np.minimum.reduce([reach.first for reach in reaches])
        last = np.maximum.reduce([reach.last for reach in reaches])
        return cls(*_shortest(low, high, one.shift * period // len(one.low)), first, last)

    @property
    def units(self) -> int:
        """Number of units along the axis."""
        return len(self.first)

    @property
    def stride(self) -> float:
        """Average distance between units in input pixels; an integer unless maps are enlarged."""
        stride, rest = divmod(self.shift, len(self.low))
        return self.shift / len(self.low) if rest else stride

    @property
    def size(self) -> int:
        """Size of the receptive field in input pixels; the largest if units differ."""
        seen = self.high - self.low + 1
        return int(seen[self._sees()].max(initial=0))

    @property
    def center(self) -> float:
        """Input coordinate of the centre of unit 0's receptive field, ignoring borders."""
        if not self._sees()[0]:
            return self.edge + self.stride / 2
        return float(self.low[0] + self.high[0]) / 2

    @property
    def edge(self) -> float:
        """Input coordinate of the map's first edge when placed over the image."""
        middles = (self.low + self.high) / 2 - self.stride * np.arange(len(self.low))
        return float(middles[self._sees()].mean()) - self.stride / 2

    @property
    def spans(self) -> tuple[int, ...]:
        """First pixel and last pixel + 1 of each unit in turn; both 0 if it sees none."""
        return _spans(self.first, self.last)

    @property
    def whole(self) -> tuple[int, ...]:
        """The spans in an image without borders, for one period of units."""
        return _spans(self.low, self.high)

    def _sees(self) -> npt.NDArray[np.bool_]:
        return self.low <= self.high

    def window(
        self, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "valid"
    ) -> Self:
        """Return the reach after a convolution or a pool."""
        units, cells = window_of(self.units, kernel, stride, dilation, padding)
        return self._through(lambda i: (i[:, None] * stride + cells, True), units, down=stride)

    def transposed(self, units: int, kernel: int, stride: int, dilation: int, padding: str) -> Self:
        """Return the reach after a transposed convolution with this many output units.

        A transposed convolution is a convolution's gradient: a unit sees the units that the
        convolution in the opposite direction would pass its value to.
        """
        wide = (kernel - 1) * dilation + 1
        excess = (self.units - 1) * stride + wide - units
        before = max(excess, 0) // 2 if padding == "same" else 0

        def taps(i: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
            steps = i[:, None] + before - dilation * np.arange(kernel)
            return steps // stride, steps % stride == 0

        return self._through(taps, units, up=stride)

    def padded(self, before: int, after: int) -> Self:
        """Return the reach after zero padding; negative numbers crop."""
        return self._through(lambda i: (i[:, None] - before, True), self.units + before + after)

    def resized(self, units: int, interpolation: str) -> Self:
        """Return the reach after a ``"nearest"`` or ``"bilinear"`` resize to this many units.

        Samples are at the centres of units (half-pixel centres), without antialiasing, as in
        ``tf.image.resize``.
        """
        old, new = self.units, units

        def taps(i: Ints) -> tuple[Ints, bool]:
            if interpolation == "nearest":
                return (2 * i[:, None] + 1) * old // (2 * new), True
            place = (2 * i[:, None] + 1) * old - new
            # A sample at a unit's centre does not depend on its neighbour.
            return np.concatenate([place // (2 * new), -(-place // (2 * new))], axis=1), True

        return self._through(taps, units, down=old, up=new)

    def _through(self, taps: Taps, units: int, down: int = 1, up: int = 1) -> Self:
        """Return the reach after a layer whose unit i reads ``taps(i)``, near i * down / up."""
        period = len(self.low) * up // math.gcd(down, len(self.low) * up)
        shift = self.shift * period * down // (up * len(self.low))
        low, high = _extremes(*taps(np.arange(period)), self.without_borders)
        first, last = _extremes(*taps(np.arange(max(0, units))), self._within_borders)
        return type(self)(*_shortest(low, high, shift), first, last)

    def without_borders(self, index: Ints) -> tuple[Ints, Ints]:
        """Return the first and last input coordinates seen by units in an image without borders."""
        turns, phase = np.divmod(index, len(self.low))
        return self.low[phase] + turns * self.shift, self.high[phase] + turns * self.shift

    def _within_borders(self, index: Ints) -> tuple[Ints, Ints]:
        inside = (index >= 0) & (index < self.units)
        index = np.where(inside, index, 0)
        first = np.where(inside, self.first[index], _NOWHERE)
        return first, np.where(inside, self.last[index], -_NOWHERE)


def window_of(
    units: int, kernel: int, stride: int, dilation: int, padding: str
) -> tuple[int, Ints]:
    """Return the number of output units, and the input units under the kernel for unit 0.

    TensorFlow's ``"same"`` padding depends on the number of units, with any extra zero at the end,
    so the result depends on the image's size.
    """
    wide = (kernel - 1) * dilation + 1
    made, before = (units - wide) // stride + 1, 0
    if padding == "same":
        made = -(-units // stride)
        before = max((made - 1) * stride + wide - units, 0) // 2
    return made, dilation * np.arange(kernel, dtype=np.int64) - before


def _spans(first: Ints, last: Ints) -> tuple[int, ...]:
    ends = np.stack([first, last + 1], axis=-1)
    ends[first > last] = 0
    return tuple(ends.ravel().tolist())


def _shortest(low: Ints, high: Ints, shift: int) -> tuple[Ints, Ints, int]:
    """Reduce to the shortest period, so that equal strides compare equal."""
    period = len(low)
    index = np.arange(period)
    for short in range(1, period):
        step, rest = divmod(shift * short, period)
        if period % short or rest:
            continue
        turns = index // short * step
        repeats = [ends[index % short] + turns == ends for ends in (low, high)]
        if np.all(repeats):
            return low[:short], high[:short], step
    return low, high, shift


def _extremes(
    index: Ints,
    present: npt.NDArray[np.bool_] | bool,
    look_up: Callable[[Ints], tuple[Ints, Ints]],
) -> tuple[Ints, Ints]:
    low, high = look_up(index)
    present = present & (low <= high)
    return (
        np.where(present, low, _NOWHERE).min(axis=1, initial=_NOWHERE),
        np.where(present, high, -_NOWHERE).max(axis=1, initial=-_NOWHERE),
    )


# Rules -------------------------------------------------------------------------------------------

Reaches = Mapping[str, Reach]
"""Reaches along rows, ``"H"``, and columns, ``"W"``."""

Sizes = Mapping[str, int]
"""Numbers of rows, ``"H"``, and columns, ``"W"``."""


@dataclass(frozen=True, eq=False)
class Passage:
    """The parts of a result of a layer's call that determine its geometry."""

    call: Call
    result: Any
    # The reaches of each input map, and its layout.
    sources: tuple[Reaches, ...]
    before: tuple[str, ...]
    # The layout of the result, and its size if known in advance.
    after: str
    size: Sizes | None

    def along(self, change: Callable[..., Reach], *settings: Any) -> Reaches:
        """Apply `change` to each axis, with its element of every pair of settings."""
        pairs = [one if isinstance(one, tuple | list) else (one, one) for one in settings]
        return {
            axis: change(self.sources[0][axis], *(pair[place] for pair in pairs))
            for place, axis in enumerate("HW")
        }

    def to_size(self, change: Callable[..., Reach], *settings: Any) -> Reaches | None:
        """Apply `change` to each axis, with the number of output units as the first argument."""
        if self.size is None:
            return None
        return self.along(change, (self.size["H"], self.size["W"]), *settings)


Rule = Callable[[Any, Passage], Reaches | None]


def reaches_of(
    calls: Sequence[Call],
    layouts: Mapping[int, str],
    pixels: Any,
    sizes: Mapping[int, Sizes],
) -> Mapping[int, Reaches]:
    """Propagate the reach through every call in turn, as far as receptive fields are defined.

    Layouts, sizes (of the input and of feature maps) and reaches are keyed by tensors' ``id``.
    """
    of_pixels = {axis: Reach.of_pixels(count) for axis, count in sizes[id(pixels)].items()}
    reaches: dict[int, Reaches] = {id(pixels): of_pixels}
    for call in calls:
        if not call.sources or any(id(one) not in reaches for one in call.sources):
            continue
        sources = tuple(reaches[id(one)] for one in call.sources)
        before = tuple(layouts[id(one)] for one in call.sources)
        for result in call.results:
            after = layouts.get(id(result), "")
            size = sizes.get(id(result))
            # A tensor without a channel axis is not a feature map, and its size is unknown.
            if size is None and len(after) != len(FLAT):
                continue
            seen = _after(Passage(call, result, sources, before, after, size))
            if seen is not None:
                reaches[id(result)] = seen
    return reaches


def _after(passage: Passage) -> Reaches | None:
    layer = passage.call.layer
    rule = _rule(layer)
    # Softmax combines the last axis, which holds the channels unless these come first.
    if rule is None or not _acts_alone(layer, or_on_channels=passage.after[-1:] == "C"):
        return None
    if len({*passage.before, passage.after}) > 1 and rule not in _LAYOUT_CHANGING:
        return None
    after = rule(layer, passage)
    # If the number of units differs, the rule does not apply to this layer.
    if after is None or passage.size not in (None, {axis: after[axis].units for axis in "HW"}):
        return None
    return after


def keeps_channels_apart(layer: Any) -> bool:
    """Return whether each channel depends only on the input channel of the same number."""
    return _rule(layer) in _CHANNELWISE and _acts_alone(layer)


def _rule(layer: Any) -> Rule | None:
    kind = kind_of(layer)
    # In inference, random layers pass their input on, or change its size.
    return _elementwise if kind.startswith("Random") else _RULES.get(kind)


def _acts_alone(layer: Any, *, or_on_channels: bool = False) -> bool:
    """Return whether a layer's activation function acts on each value, or location, separately."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return True
    name = str(getattr(activation, "__name__", type(activation).__name__)).lower()
    on_channels = "softmax" in name or name in ("sparsemax", "glu")
    known = str(getattr(activation, "__module__", "")).startswith(("keras.", "tensorflow."))
    return known and (or_on_channels or not on_channels)


def _convolution(layer: Any, passage: Passage) -> Reaches:
    settings = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    return passage.along(Reach.window, *settings)


def _pool(layer: Any, passage: Passage) -> Reaches:
    return passage.along(Reach.window, layer.pool_size, layer.strides, 1, layer.padding)


def _transposed(layer: Any, passage: Passage) -> Reaches | None:
    settings = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    return passage.to_size(Reach.transposed, *settings)


def _padding(layer: Any, passage: Passage) -> Reaches:
    return passage.along(lambda reach, ends: reach.padded(*ends), layer.padding)


def _cropping(layer: Any, passage: Passage) -> Reaches:
    return passage.along(lambda reach, ends: reach.padded(-ends[0], -ends[1]), layer.cropping)


def _center_crop(_: Any, passage: Passage) -> Reaches | None:
    def cropped(reach: Reach, units: int) -> Reach:
        over = reach.units - units
        # A map that is too small is enlarged, for which there is no rule.
        return reach.padded(-(over // 2), over // 2 - over) if over >= 0 else reach

    return passage.to_size(cropped)


def _resize(layer: Any, passage: Passage) -> Reaches | None:
    options = ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias")
    plain = not any(getattr(layer, name, False) for name in options)
    known = plain and layer.interpolation in ("nearest", "bilinear")
    return passage.to_size(Reach.resized, layer.interpolation) if known else None


def _elementwise(_: Any, passage: Passage) -> Reaches:
    return passage.sources[0]


def _merge(_: Any, passage: Passage) -> Reaches | None:
    joined = {axis: Reach.union([one[axis] for one in passage.sources]) for axis in "HW"}
    found = {axis: reach for axis, reach in joined.items() if reach is not None}
    return found if len(found) == 2 else None


def _along_channels(layer: Any, passage: Passage) -> Reaches | None:
    """Merge the reaches if a layer only acts on, or joins, the channels at each location."""
    # A removed axis belongs to the source's layout, an added one to the result's.
    layout = max(passage.before[0], passage.after, key=len)
    axes = {layout[axis] for axis in axes_of(layer, len(layout))}
    return _merge(layer, passage) if axes == {"C"} else None


def _dense(_: Any, passage: Passage) -> Reaches | None:
    # Dense acts on the last axis, whatever it is.
    return passage.sources[0] if passage.after[-1] == "C" else None


def _reshape(_: Any, passage: Passage) -> Reaches | None:
    """Keep the reach if a reshape preserves the order of axes."""
    before = channels_of(passage.call.sources[0], passage.before[0])
    stays = passage.before[0] == passage.after or before == 1
    same = before == channels_of(passage.result, passage.after)
    return passage.sources[0] if stays and same else None


def _permute(layer: Any, passage: Passage) -> Reaches | None:
    return passage.sources[0] if turned(layer, passage.before[0]) == passage.after else None


def _part(_: Any, passage: Passage) -> Reaches | None:
    """Crop like an index such as ``maps[:, 1:-1, ::2]``, or select channels."""
    ends = dict(indexed(passage.before[0], passage.call))
    if not ends:
        return None
    cut = {}
    for axis, reach in passage.sources[0].items():
        start, stop, step = ends[axis].indices(reach.units)
        if step < 1 or stop <= start:
            return None
        cut[axis] = reach.padded(-start, stop - reach.units).window(1, step)
    return cut


def _pipeline(layer: Any, passage: Passage) -> Reaches | None:
    return passage.sources[0] if {*map(_rule, layer.layers)} <= {_elementwise} else None


_NAMES: Mapping[Rule, str] = {
    _convolution: "Conv2D DepthwiseConv2D SeparableConv2D",
    _pool: "MaxPooling2D AveragePooling2D",
    _transposed: "Conv2DTranspose",
    _padding: "ZeroPadding2D",
    _cropping: "Cropping2D",
    _center_crop: "CenterCrop",
    _resize: "UpSampling2D Resizing ops.Resize",
    _along_channels: """
        Concatenate ops.Concatenate ops.Stack ops.Split ops.Unstack
        ops.Flip ops.Roll ops.Take ops.Repeat ops.ExpandDims ops.Squeeze
        ops.Mean ops.Sum ops.Max ops.Min ops.Std ops.Var ops.Argmax
        LayerNormalization RMSNormalization UnitNormalization Softmax ops.Softmax ops.LogSoftmax
    """,
    _merge: """
        Add Subtract Multiply Average Maximum Minimum CustomScaleLayer
        ops.Add ops.Subtract ops.Multiply ops.Divide ops.TrueDivide
        ops.Maximum ops.Minimum ops.Power ops.Mod ops.FloorDivide ops.Where
        ops.Greater ops.GreaterEqual ops.Less ops.LessEqual
    """,
    _dense: "Dense",
    _reshape: "Reshape ops.Reshape",
    _permute: " ".join(TURNS),
    _part: "ops.GetItem",
    _pipeline: "Pipeline",
    # Normalisations use fixed statistics in inference. The middle lines are active only in
    # training, as are all layers called Random….
    _elementwise: """
        BatchNormalization Normalization Rescaling LayerScale
        Activation ReLU LeakyReLU PReLU ELU Identity
        Dropout SpatialDropout2D AlphaDropout GaussianNoise GaussianDropout
        StochasticDepth ActivityRegularization RandAugment AugMix CutMix
        MixUp Solarization Equalization
        ops.Relu ops.Relu6 ops.LeakyRelu ops.Elu ops.Selu ops.Gelu ops.Silu
        ops.Sigmoid ops.HardSigmoid ops.HardSilu ops.Softplus ops.Tanh
        ops.Abs ops.Absolute ops.Negative ops.Square ops.Sqrt ops.Exp
        ops.Rsqrt ops.Reciprocal ops.Sign ops.Floor ops.Ceil ops.Round
        ops.Log ops.Log1p ops.Log10 ops.Clip ops.Cast ops.StopGradient ops.RGBToGrayscale
    """,
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}

# Rules for layers that change the layout.
_LAYOUT_CHANGING = {_along_channels, _reshape, _permute, _part}
_CHANNELWISE = {_pool, _padding, _cropping, _center_crop, _resize, _elementwise}

"""What a Keras layer does to receptive fields: a rule for each kind that has one.

A layer without a rule sees the whole map, or something that cannot be told from outside; after it
receptive fields are not defined. Rules go by the names of Keras's own classes, so that a class of
somebody's own, whatever it inherits, has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vgg_widget.network.axes import TURNS, axes_of, indexed, rows_last
from vgg_widget.network.geometry import Reach
from vgg_widget.network.graph import Call, kind_of

Reaches = tuple[Reach, Reach]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Passage:
    """One call of a layer, as far as geometry depends on it.

    Parameters
    ----------
    call : Call
        Of a layer, or of an operation such as an addition.
    sources : tuple of (Reach, Reach)
        Rows and columns of each map that goes in.
    size : (int, int) or None
        Rows and columns of the map that comes out; None where that is not known beforehand.
    channels : (int, int)
        Channels of the first map that goes in, and of what comes out.
    before : tuple of str
        The layout of each map that goes in: see `axes`.
    after : str
        That of what comes out.
    """

    call: Call
    sources: tuple[Reaches, ...]
    size: Size | None
    channels: tuple[int, int]
    before: tuple[str, ...]
    after: str

    @property
    def layer(self) -> Any:
        """What was called."""
        return self.call.layer


def reach_after(passage: Passage) -> Reaches | None:
    """Return what the units see after a layer, rows and columns; None where not defined."""
    rule = _rule(passage.layer)
    activation = getattr(passage.layer, "activation", None)
    if rule is None or not (activation is None or _acts_on_units(activation, passage)):
        return None
    # Rows that have become channels, or pictures of the batch, are not what a rule takes them for.
    orders = {layout.replace("C", "") for layout in (*passage.before, passage.after)}
    if not orders <= {"NHW", "NWH"}:
        return None
    moving = rule in _MOVING
    if len({*passage.before, passage.after}) > 1 and not moving:
        return None
    # A window's first side lies along the first axis, which may be the columns.
    lies = not moving and rows_last(passage.after)
    after = rule(_turned(passage) if lies else passage)
    if after is not None and lies:
        after = after[::-1]
    # A rule that counts other units than there are is not this layer's rule.
    if after is None or passage.size not in (None, (after[0].units, after[1].units)):
        return None
    return after


def _turned(passage: Passage) -> Passage:
    size = passage.size and passage.size[::-1]
    return replace(passage, sources=tuple(one[::-1] for one in passage.sources), size=size)


def keeps_channels_apart(layer: Any) -> bool:
    """Tell whether each channel is made of the one of the same number alone, as in a pool."""
    if _rule(layer) not in (
        _pool,
        _padding,
        _cropping,
        _center_crop,
        _resize,
        _unit_by_unit,
        _turn,
    ):
        return False
    activation = getattr(layer, "activation", None)
    return activation is None or (
        _is_known(activation) and not _takes_last_axis_together(activation)
    )


def _rule(layer: Any) -> Callable[[Passage], Reaches | None] | None:
    kind = kind_of(layer)
    # In inference they give what they are given, or maps of another size.
    return _unit_by_unit if kind.startswith("Random") else _RULES.get(kind)


def _acts_on_units(activation: Any, passage: Passage) -> bool:
    """Tell whether an activation function looks at one location at a time."""
    # Those take the last axis together, which are the channels unless these come first.
    together = _takes_last_axis_together(activation)
    return _is_known(activation) and not (together and passage.after[-1] != "C")


def _is_known(activation: Any) -> bool:
    return str(getattr(activation, "__module__", "")).startswith(("keras.", "tensorflow."))


def _takes_last_axis_together(activation: Any) -> bool:
    name = str(getattr(activation, "__name__", type(activation).__name__)).lower()
    return "softmax" in name or name in ("sparsemax", "glu")


def _pair(value: Any) -> tuple[int, int]:
    down, across = value if isinstance(value, tuple | list) else (value, value)
    return int(down), int(across)


def _windows(passage: Passage, kernel: Any, dilation: Any = 1) -> Reaches:
    layer = passage.layer
    kernels, strides, dilations = _pair(kernel), _pair(layer.strides), _pair(dilation)
    ((down, across),) = passage.sources
    return (
        down.window(kernels[0], strides[0], dilations[0], layer.padding),
        across.window(kernels[1], strides[1], dilations[1], layer.padding),
    )


def _convolution(passage: Passage) -> Reaches:
    return _windows(passage, passage.layer.kernel_size, passage.layer.dilation_rate)


def _pool(passage: Passage) -> Reaches:
    return _windows(passage, passage.layer.pool_size)


def _transposed(passage: Passage) -> Reaches | None:
    layer, ((down, across),) = passage.layer, passage.sources
    if passage.size is None:
        return None
    kernels, strides = _pair(layer.kernel_size), _pair(layer.strides)
    dilations, (rows, columns) = _pair(layer.dilation_rate), passage.size
    return (
        down.transposed(kernels[0], strides[0], dilations[0], layer.padding, rows),
        across.transposed(kernels[1], strides[1], dilations[1], layer.padding, columns),
    )


def _padding(passage: Passage) -> Reaches:
    ((down, across),) = passage.sources
    (top, bottom), (left, right) = passage.layer.padding
    return down.padded(top, bottom), across.padded(left, right)


def _cropping(passage: Passage) -> Reaches:
    ((down, across),) = passage.sources
    (top, bottom), (left, right) = passage.layer.cropping
    return down.padded(-top, -bottom), across.padded(-left, -right)


def _center_crop(passage: Passage) -> Reaches | None:
    ((down, across),) = passage.sources
    if passage.size is None:
        return None
    over = down.units - passage.size[0], across.units - passage.size[1]
    if min(over) < 0:
        return None
    top, left = over[0] // 2, over[1] // 2
    return down.padded(-top, top - over[0]), across.padded(-left, left - over[1])


def _resize(passage: Passage) -> Reaches | None:
    layer, ((down, across),) = passage.layer, passage.sources
    way = layer.interpolation
    keeps_shape = getattr(layer, "crop_to_aspect_ratio", False)
    keeps_shape = keeps_shape or getattr(layer, "pad_to_aspect_ratio", False)
    if way not in ("nearest", "bilinear") or keeps_shape or getattr(layer, "antialias", False):
        return None
    if passage.size is None:
        return None
    rows, columns = passage.size
    return down.resized(rows, way), across.resized(columns, way)


def _unit_by_unit(passage: Passage) -> Reaches:
    return passage.sources[0]


def _merge(passage: Passage) -> Reaches | None:
    downs, acrosses = zip(*passage.sources, strict=True)
    down, across = Reach.union(downs), Reach.union(acrosses)
    return None if down is None or across is None else (down, across)


def _along_channels(passage: Passage) -> Reaches | None:
    """Keep what is done to the channels of one location, and joins several maps by them."""
    # An axis that goes is one of the source's, and one that comes of the result's.
    layout = max(passage.before[0], passage.after, key=len)
    axes = axes_of(passage.layer, len(layout))
    return _merge(passage) if axes and {layout[axis] for axis in axes} == {"C"} else None


def _dense(passage: Passage) -> Reaches | None:
    # It works on the last axis, whatever that is.
    return passage.sources[0] if passage.after[-1] == "C" else None


def _reshape(passage: Passage) -> Reaches | None:
    """Keep what a reshape leaves in its order."""
    ((down, across),) = passage.sources
    stays = passage.before[0] == passage.after or passage.channels[0] == 1
    same = passage.size in (None, (down.units, across.units))
    return (down, across) if stays and same and len({*passage.channels}) == 1 else None


def _turn(passage: Passage) -> Reaches:
    return passage.sources[0]


def _part(passage: Passage) -> Reaches | None:
    """Cut as an index does: ``maps[:, 1:-1, ::2]``, or some channels."""
    ends = dict(indexed(passage.before[0], passage.call) or ())
    cut = []
    for letter, reach in zip("HW", passage.sources[0], strict=True):
        start, stop, step = ends[letter].indices(reach.units)
        if step < 1 or stop <= start:
            return None
        cut.append(reach.padded(-start, stop - reach.units).window(1, step))
    return cut[0], cut[1]


def _pipeline(passage: Passage) -> Reaches | None:
    inner = {_rule(each) for each in passage.layer.layers}
    return passage.sources[0] if inner <= {_unit_by_unit} else None


def _named(rule: Callable[[Passage], Reaches | None], names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, Callable[[Passage], Reaches | None]] = {
    **_named(_convolution, "Conv2D DepthwiseConv2D SeparableConv2D"),
    **_named(_pool, "MaxPooling2D AveragePooling2D"),
    **_named(_transposed, "Conv2DTranspose"),
    **_named(_padding, "ZeroPadding2D"),
    **_named(_cropping, "Cropping2D"),
    **_named(_center_crop, "CenterCrop"),
    **_named(_resize, "UpSampling2D Resizing ops.Resize"),
    **_named(_along_channels, "Concatenate ops.Concatenate ops.Stack ops.Split ops.Unstack"),
    **_named(_along_channels, "ops.Flip ops.Roll ops.Take ops.Repeat ops.ExpandDims ops.Squeeze"),
    **_named(_along_channels, "ops.Mean ops.Sum ops.Max ops.Min ops.Std ops.Var ops.Argmax"),
    **_named(_along_channels, "LayerNormalization RMSNormalization UnitNormalization Softmax"),
    **_named(_along_channels, "ops.Softmax ops.LogSoftmax"),
    **_named(_merge, "Add Subtract Multiply Average Maximum Minimum CustomScaleLayer"),
    **_named(_merge, "ops.Add ops.Subtract ops.Multiply ops.Divide ops.TrueDivide"),
    **_named(_merge, "ops.Maximum ops.Minimum ops.Power ops.Mod ops.FloorDivide ops.Where"),
    **_named(_merge, "ops.Greater ops.GreaterEqual ops.Less ops.LessEqual"),
    **_named(_dense, "Dense"),
    **_named(_reshape, "Reshape ops.Reshape"),
    **dict.fromkeys(TURNS, _turn),
    **_named(_part, "ops.GetItem"),
    **_named(_pipeline, "Pipeline"),
    # With the statistics of training fixed, each value is scaled by itself.
    **_named(_unit_by_unit, "BatchNormalization Normalization Rescaling LayerScale"),
    **_named(_unit_by_unit, "Activation ReLU LeakyReLU PReLU ELU Identity"),
    # What works in training alone, beside everything that is called Random….
    **_named(_unit_by_unit, "Dropout SpatialDropout2D AlphaDropout GaussianNoise GaussianDropout"),
    **_named(_unit_by_unit, "StochasticDepth ActivityRegularization RandAugment AugMix CutMix"),
    **_named(_unit_by_unit, "MixUp Solarization Equalization"),
    **_named(_unit_by_unit, "ops.Relu ops.Relu6 ops.LeakyRelu ops.Elu ops.Selu ops.Gelu ops.Silu"),
    **_named(_unit_by_unit, "ops.Sigmoid ops.HardSigmoid ops.HardSilu ops.Softplus ops.Tanh"),
    **_named(_unit_by_unit, "ops.Abs ops.Absolute ops.Negative ops.Square ops.Sqrt ops.Exp"),
    **_named(_unit_by_unit, "ops.Rsqrt ops.Reciprocal ops.Sign ops.Floor ops.Ceil ops.Round"),
    **_named(_unit_by_unit, "ops.Log ops.Log1p ops.Log10 ops.Clip ops.Cast ops.StopGradient"),
    **_named(_unit_by_unit, "ops.RGBToGrayscale"),
}

# Those that take rows and columns from one layout to another.
_MOVING = (_along_channels, _reshape, _turn, _part)

"""`LayerInfo`: a layer's names, the size of its maps, and the input pixels that a unit sees.

Pure geometry: no weights, no activations, no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import TypeGuard

import numpy as np


def is_index(number: object, count: int) -> TypeGuard[int]:
    """Return whether a number is an index into `count` items."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    return whole and 0 <= int(number) < count  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class Placement:
    """The position of a map's units when it is laid over the input image.

    Parameters
    ----------
    top, left : float
        Input coordinates (pixel centres are whole numbers) of the map's corner.
    row_step, column_step : float
        Input pixels per unit.
    """

    top: float = -0.5
    left: float = -0.5
    row_step: float = 1
    column_step: float = 1


def as_placement(stride: float | Placement) -> Placement:
    """Return the placement of a map with a given stride that begins at the image's corner.

    A `Placement` is returned unchanged.
    """
    if isinstance(stride, Placement):
        return stride
    return Placement(row_step=stride, column_step=stride)


@dataclass(frozen=True, slots=True)
class Axis:
    """The geometry of a layer along one axis, on an image of one size.

    Parameters
    ----------
    stride : float
        Input pixels from one unit to the next.
    edge : float
        Input coordinate of the map's first edge.
    receptive_field : int or None
        Input pixels from the first to the last that a unit sees, ignoring borders; the largest
        number, if units differ; None if it is not defined.
    center : float or None
        Input coordinate of the middle of what unit 0 sees, ignoring borders.
    spans : tuple of int
        First pixel and last pixel + 1 that each unit sees, in turn, clipped to the image; empty
        if that is not defined.
    whole : tuple of int
        The same for an image without borders, for the first units. Later units repeat the same
        spans, as many strides further on. One unit, two numbers, unless maps were enlarged on the
        way. Empty if it is not defined; both 0 for a unit that sees nothing of any image.
    """

    stride: float
    edge: float
    receptive_field: int | None = None
    center: float | None = None
    spans: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", tuple(self.spans))
        object.__setattr__(self, "whole", tuple(self.whole))

    def whole_span(self, index: int) -> tuple[int, int] | None:
        """Return first pixel and last pixel + 1 that a unit would see without borders."""
        if not self.whole:
            return None
        units = len(self.whole) // 2
        turns, phase = divmod(index, units)
        first, end = self.whole[2 * phase : 2 * phase + 2]
        moved = round(turns * units * self.stride) if first < end else 0
        return first + moved, end + moved

    def middle(self, index: int) -> float:
        """Return the input coordinate in the middle of what a unit would see without borders.

        If the unit sees nothing, or that is not defined, return the middle of the unit itself.
        """
        first, end = self.whole_span(index) or (0, 0)
        return (first + end - 1) / 2 if first < end else self.edge + (index + 0.5) * self.stride

    def nearest(self, coordinate: float, units: int) -> int:
        """Return the index of the unit with the nearest `middle`; of equal ones, the first."""
        return self.nearest_to_each([coordinate], units)[0]

    def nearest_to_each(self, coordinates: Sequence[float], units: int) -> list[int]:
        """Return the `nearest` unit for each coordinate."""
        middles = np.array([self.middle(index) for index in range(units)])
        away = np.abs(middles - np.asarray(coordinates, float)[:, np.newaxis])
        nearest: list[int] = away.argmin(axis=1).tolist()
        return nearest


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """Name and geometry of one layer's feature maps.

    Parameters
    ----------
    name : str
        Keras name, such as ``"block3_conv1"``.
    torch_name : str or None
        Name of the same module in torchvision, such as ``"features.10"``; None if it has none.
    kind : str
        ``"conv"``, ``"relu"``, ``"pool"``, or a Keras layer's class name in lower case.
    channels : int
        Number of feature maps.
    stride : int
        Input pixels from one unit to the next.
    receptive_field : int or None
        Side of the square of input pixels that one unit sees; None if it is not defined.
    center : float or None
        Input coordinate (pixel centres are whole numbers) of the centre of unit 0's receptive
        field, the same for rows and columns; None if it is not defined.
    group : str
        The group of a layer in a model of your own; empty for VGG19's.
    axes : (Axis, Axis) or None
        For a model of your own, the geometry along rows and columns on an image of `input_size`.
        The three numbers above are then those along the rows, with the stride rounded to a whole
        number of at least 1. None for VGG19, whose geometry is the same for all sizes.
    input_size : (int, int) or None
        Height and width in pixels for which `axes` is valid.

    Notes
    -----
    Side, stride and centre follow the recurrences of Dumoulin & Visin, "A guide to convolution
    arithmetic for deep learning" (arXiv:1603.07285): a layer with kernel ``k``, stride ``s`` and
    padding ``p`` on top of ``(side, stride, center)`` gives ``side + (k - 1) * stride``,
    ``s * stride`` and ``center + ((k - 1) / 2 - p) * stride``.
    """

    name: str
    torch_name: str | None
    kind: str
    channels: int
    stride: int
    receptive_field: int | None = None
    center: float | None = None
    group: str = ""
    axes: tuple[Axis, Axis] | None = None
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        # Files contain lists and dicts.
        if self.axes is not None:
            axes = tuple(axis if isinstance(axis, Axis) else Axis(**axis) for axis in self.axes)
            object.__setattr__(self, "axes", axes)
        if self.input_size is not None:
            object.__setattr__(self, "input_size", tuple(self.input_size))

    @property
    def block(self) -> str:
        """The layer's group: for VGG19, the part of its name before the underscore."""
        return self.group or self.name.split("_", 1)[0]

    @property
    def placement(self) -> Placement:
        """The position of the layer's maps on the input image."""
        if self.axes is None:
            return as_placement(self.stride)
        down, across = self.axes
        return Placement(down.edge, across.edge, down.stride, across.stride)

    def covered(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the input pixels (height, width) that a map with this many units covers.

        Pools round down, so this can be less than the image.
        """
        place = self.placement
        return round(rows * place.row_step), round(columns * place.column_step)

    def receptive_field_box(
        self, row: int, column: int, size: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """Return the input pixels that a unit sees.

        Parameters
        ----------
        row, column : int
            The unit's position in the feature map.
        size : (int, int)
            The input image's height and width, in pixels.

        Returns
        -------
        (top, left, bottom, right) : tuple of int
            Half open, in input pixels, clipped to the image; all 0 along an axis where the unit
            sees nothing but padding.

        Raises
        ------
        ValueError
            If the layer's receptive field is not defined, the unit is outside the map, or `axes`
            are for another size.
        """
        if self.receptive_field is None or self.center is None:
            raise ValueError(
                f"the receptive field of layer {self.name!r} is not defined: "
                "choose a layer built of convolutions and pools only."
            )
        if self.input_size not in (None, tuple(size)):
            raise ValueError(
                f"layer {self.name!r} was measured on an image of {self.input_size[0]}×"
                f"{self.input_size[1]} pixels, not {size[0]}×{size[1]}: use activations.info for "
                "that image."
            )
        ends: list[tuple[int, int]] = []
        for name, axis, index, pixels in zip(
            ("row", "column"), self._both_axes(), (row, column), size, strict=True
        ):
            units = len(axis.spans) // 2 if axis.spans else pixels // self.stride
            if not is_index(index, units):
                raise ValueError(
                    f"{name} {index!r} is not one of the {units} units of layer {self.name!r} on "
                    f"an image of {size[0]}×{size[1]} pixels: choose a whole number from 0 to "
                    f"{units - 1}."
                )
            if axis.spans:
                ends.append((axis.spans[2 * index], axis.spans[2 * index + 1]))
            else:
                first, end = axis.whole_span(index) or (0, 0)
                ends.append((max(0, first), min(pixels, end)))
        (top, bottom), (left, right) = ends
        return top, left, bottom, right

    def whole_box(self, row: int, column: int) -> tuple[int, int, int, int] | None:
        """Return the pixels that a unit would see in an image without borders.

        The part beyond `receptive_field_box` is padding, or pixels that pools and strides leave
        over.

        Parameters
        ----------
        row, column : int
            The unit's position in the feature map.

        Returns
        -------
        (top, left, bottom, right) : tuple of int, or None
            Half open, in input pixels, negative above and left of the image; both ends 0 along an
            axis where the unit sees nothing. None if the receptive field is not defined.
        """
        both = self._both_axes()
        down, across = both[0].whole_span(row), both[1].whole_span(column)
        if down is None or across is None:
            return None
        return down[0], across[0], down[1], across[1]

    def field_center(self, row: int, column: int) -> tuple[float, float]:
        """Return the centre of what a unit would see in an image without borders.

        Parameters
        ----------
        row, column : int
            The unit's position in the feature map.

        Returns
        -------
        (y, x) : tuple of float
            Input coordinates (pixel centres are whole numbers). If the receptive field is not
            defined, the middle of the unit when the map is laid over the image.
        """
        down, across = self._both_axes()
        return down.middle(row), across.middle(column)

    def unit_at(self, y: float, x: float, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the unit whose receptive field is centred nearest a point of the input image.

        Parameters
        ----------
        y, x : float
            Input coordinates (pixel centres are whole numbers); points outside the image also have
            a nearest unit.
        shape : (int, int)
            Rows and columns of the feature map.

        Returns
        -------
        (row, column) : tuple of int
            Of two equally near units, the upper or left one. For the centres, see `field_center`.

        Raises
        ------
        ValueError
            If the map has no units.
        """
        if min(shape) < 1:
            raise ValueError(
                f"shape {tuple(shape)} has no units: pass the rows and columns of the feature map."
            )
        down, across = self._both_axes()
        return down.nearest(y, shape[0]), across.nearest(x, shape[1])

    def units_along(
        self, size: tuple[int, int], shape: tuple[int, int]
    ) -> tuple[list[int], list[int]]:
        """Return `unit_at`'s row for each row of an image, and its column for each column.

        Parameters
        ----------
        size : (int, int)
            The image's height and width, in pixels.
        shape : (int, int)
            Rows and columns of the feature map.
        """
        down, across = self._both_axes()
        return (
            down.nearest_to_each(range(size[0]), shape[0]),
            across.nearest_to_each(range(size[1]), shape[1]),
        )

    def _both_axes(self) -> tuple[Axis, Axis]:
        if self.axes is not None:
            return self.axes
        place = self.placement
        whole: tuple[int, ...] = ()
        if self.receptive_field is not None and self.center is not None:
            reach = (self.receptive_field - 1) / 2
            whole = ceil(self.center - reach), floor(self.center + reach) + 1
        axis = Axis(place.row_step, place.top, self.receptive_field, self.center, whole=whole)
        return axis, axis


def _walk(blocks: Iterable[tuple[int, int]]) -> Iterable[LayerInfo]:
    side, stride, center, index = 1, 1, 0.0, 0
    for block, (convolutions, channels) in enumerate(blocks, start=1):
        for convolution in range(1, convolutions + 1):
            side += 2 * stride
            name = f"block{block}_conv{convolution}"
            yield LayerInfo(name, f"features.{index}", "conv", channels, stride, side, center)
            # torchvision counts the ReLU as a module of its own.
            index += 2
        side += stride
        center += stride / 2
        stride *= 2
        name = f"block{block}_pool"
        yield LayerInfo(name, f"features.{index}", "pool", channels, stride, side, center)
        index += 1


@dataclass(frozen=True, slots=True)
class Vgg:
    """A network of the VGG family without its top: names and geometry of its layers.

    Parameters
    ----------
    name : str
        The name for `FeatureExtractor`, such as ``"vgg16"``.
    title : str
        The usual spelling.
    blocks : tuple of (int, int)
        Convolutions and channels of each block (Simonyan & Zisserman 2015, table 1).
    """

    name: str
    title: str
    blocks: tuple[tuple[int, int], ...]
    layers: tuple[LayerInfo, ...] = field(init=False, repr=False)
    """Convolutions and pools, in network order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(_walk(self.blocks)))

    @property
    def convolutions(self) -> tuple[LayerInfo, ...]:
        """The convolutions alone."""
        return tuple(info for info in self.layers if info.kind == "conv")

    def kernel_shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Return each convolution's kernel shape (height, width, channels in, channels out)."""
        shapes, incoming = {}, 3
        for info in self.convolutions:
            shapes[info.name] = (3, 3, incoming, info.channels)
            incoming = info.channels
        return shapes


VGG16 = Vgg("vgg16", "VGG16", ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)))
"""Column D of the paper's table: 13 convolutions and 5 pools."""

VGG19 = Vgg("vgg19", "VGG19", ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)))
"""Column E: 16 convolutions and 5 pools."""

VGGS = {vgg.name: vgg for vgg in (VGG16, VGG19)}
"""The available networks of the family, by name."""

VGG19_LAYERS = VGG19.layers
VGG19_CONVOLUTIONS = VGG19.convolutions
vgg19_kernel_shapes = VGG19.kernel_shapes

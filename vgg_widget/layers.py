"""`LayerInfo`: what a layer is called, how large its maps are, and which input pixels a unit sees.

Pure geometry: no weights, no activations, no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

VGG19_BLOCKS: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
"""Convolutions and channels of each block (Simonyan & Zisserman 2015, table 1, column E)."""


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """Name and geometry of one layer's feature maps.

    Parameters
    ----------
    name : str
        Keras's name, such as ``"block3_conv1"``.
    torch_name : str or None
        torchvision's name of the same module, such as ``"features.10"``; None where there is none.
    kind : str
        ``"conv"``, ``"relu"``, ``"pool"``, or a Keras layer's class name in lower case.
    channels : int
        Number of feature maps.
    stride : int
        Input pixels from one unit to the next.
    receptive_field : int or None
        Side of the square of input pixels that one unit sees; None where it is not defined.
    center : float or None
        Input coordinate (pixel centres are whole numbers) of the centre of unit 0's receptive
        field, the same for rows and columns; None where it is not defined.

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

    @property
    def block(self) -> str:
        """The group the layer belongs to: what stands before the first underscore of its name."""
        return self.name.split("_", 1)[0]

    def covered(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the input pixels (height, width) that a map of this many units stands for.

        Pools round down, so this can be less than the image.
        """
        return rows * self.stride, columns * self.stride

    def receptive_field_box(
        self, row: int, column: int, size: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """Return the input pixels that a unit sees.

        Parameters
        ----------
        row, column : int
            The unit's place in the feature map.
        size : (int, int)
            The input image's height and width, in pixels.

        Returns
        -------
        (top, left, bottom, right) : tuple of int
            Half open, in input pixels, clipped to the image.

        Raises
        ------
        ValueError
            If the layer's receptive field is not defined, or the unit is outside the map.
        """
        if self.receptive_field is None or self.center is None:
            raise ValueError(
                f"the receptive field of layer {self.name!r} is not defined: "
                "choose a layer built of convolutions and pools only."
            )
        for axis, index, pixels in (("row", row, size[0]), ("column", column, size[1])):
            units = pixels // self.stride
            if not 0 <= index < units:
                raise ValueError(
                    f"{axis} {index} is outside the {units} units of layer {self.name!r} "
                    f"on an image of {size[0]}×{size[1]} pixels: choose 0 to {units - 1}."
                )
        center, reach = self.center, (self.receptive_field - 1) / 2

        def span(index: int, pixels: int) -> tuple[int, int]:
            middle = center + index * self.stride
            return max(0, math.ceil(middle - reach)), min(pixels, math.floor(middle + reach) + 1)

        top, bottom = span(row, size[0])
        left, right = span(column, size[1])
        return top, left, bottom, right


def _walk_vgg19() -> Iterable[LayerInfo]:
    side, stride, center, index = 1, 1, 0.0, 0
    for block, (convolutions, channels) in enumerate(VGG19_BLOCKS, start=1):
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


VGG19_LAYERS: tuple[LayerInfo, ...] = tuple(_walk_vgg19())
"""The 16 convolutions and 5 pools of VGG19 without its top, in network order."""

VGG19_CONVOLUTIONS: tuple[LayerInfo, ...] = tuple(
    info for info in VGG19_LAYERS if info.kind == "conv"
)


def vgg19_kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Return each convolution's kernel shape (height, width, channels in, channels out)."""
    shapes, incoming = {}, 3
    for info in VGG19_CONVOLUTIONS:
        shapes[info.name] = (3, 3, incoming, info.channels)
        incoming = info.channels
    return shapes

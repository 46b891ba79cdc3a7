"""Small images of a circuit: its kernels, and the maps that they read."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap
from PIL import Image

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import CircuitInput
from vgg_widget.network.extractor import COLOURS, FeatureExtractor
from vgg_widget.pictures.colormaps import KERNEL_CMAP, find_cmap
from vgg_widget.pictures.modes import coloured
from vgg_widget.pictures.rendering import render
from vgg_widget.pictures.scaling import DisplayRange, Scale

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def kernel_picture(kernel: Floats, top: float) -> Pixels:
    """Colour the weights of a kernel; full red and full blue represent the magnitude `top`."""
    # A kernel of zeros is white, not at one end of the colormap.
    limits = DisplayRange(-top, top) if top > 0 else DisplayRange(-1.0, 1.0)
    return coloured(limits.normalise(kernel), find_cmap(KERNEL_CMAP))


def input_picture(
    one: CircuitInput,
    extractor: FeatureExtractor,
    activations: Activations,
    *,
    cmap: str | Colormap,
    scale: str | Scale,
) -> Pixels:
    """Draw the map of a circuit's input, as an array with 3 or 4 bytes per pixel.

    A layer's channel is drawn by `render`. A channel of the network's input is drawn in its own
    colour: red, green or blue. If preprocessing mixes the colours, it is drawn in shades of grey,
    from the smallest to the largest value.
    """
    if one.layer is not None:
        return render(activations, one.layer, channel=one.channel, cmap=cmap, scale=scale).rgba
    if one.name in COLOURS:
        number = COLOURS.index(one.name)
        part = np.zeros_like(activations.image)
        part[..., number] = activations.image[..., number]
        return part
    values = extractor.network_input(activations.image)[..., one.channel]
    limits = DisplayRange(float(values.min()), float(values.max()))
    return coloured(limits.normalise(values), find_cmap("gray"))


def small_png(pixels: Pixels, side: int) -> bytes:
    """Return the PNG of an opaque image, scaled so that its longer side is near `side` pixels.

    A smaller image is enlarged by the largest whole factor that fits, with hard pixel edges. A
    larger image is reduced by a whole factor, averaging squares of pixels, and may remain slightly
    larger than `side`.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    longer = max(picture.size)
    if longer <= side:
        times = side // longer
        picture = picture.resize(
            (picture.width * times, picture.height * times), Image.Resampling.NEAREST
        )
    else:
        picture = picture.reduce(max(1, longer // side))
    with io.BytesIO() as stream:
        picture.save(stream, "png", compress_level=1)
        return stream.getvalue()

"""See what every layer of a CNN computes from an image, in a notebook."""

import sys
from typing import TYPE_CHECKING, Any

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.telling import telling_channels
from vgg_widget.explorer.comparison import compare
from vgg_widget.explorer.layer_explorer import LayerExplorer
from vgg_widget.figure import animation
from vgg_widget.figure.plotting import plot
from vgg_widget.images import ImageError, load_image, sample_image
from vgg_widget.layers import LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures import comparing, histogram, legend, modes, scaling, tiles
from vgg_widget.pictures.modes import register_mode
from vgg_widget.pictures.rendering import render
from vgg_widget.support import provenance
from vgg_widget.weights import WeightsError

if TYPE_CHECKING:
    from vgg_widget.explorer.atlas.channel_atlas import ChannelAtlas

__version__ = "1.0.0"

# Notebooks written for earlier releases import from these names.
sys.modules |= {
    f"{__name__}.{name}": module
    for name, module in {
        "animation": animation,
        "comparing": comparing,
        "histogram": histogram,
        "modes": modes,
        "modes.legend": legend,
        "modes.tiles": tiles,
        "provenance": provenance,
        "scaling": scaling,
    }.items()
}

__all__ = [
    "Activations",
    "ChannelAtlas",
    "FeatureExtractor",
    "ImageError",
    "LayerExplorer",
    "LayerInfo",
    "WeightsError",
    "compare",
    "load_image",
    "plot",
    "register_mode",
    "render",
    "sample_image",
    "telling_channels",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# With `__getattr__` in view, a type checker would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Imported on demand: only work with a set of images needs it.
        if name == "ChannelAtlas":
            from vgg_widget.explorer.atlas.channel_atlas import ChannelAtlas

            return ChannelAtlas
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

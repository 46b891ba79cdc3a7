"""`compare`: two images side by side under one set of controls, and their difference."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Instance

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.base import ExplorerBase
from vgg_widget.explorer.panels import PAIR_PANELS
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.figure.sizes import DPI, PAIR_INCHES, TOOLBAR_PIXELS
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import DEFAULT_NETWORK, DEFAULT_SIZE, FeatureExtractor
from vgg_widget.network.protocol import Preprocess
from vgg_widget.pictures.captions import pair_caption, pair_place_words
from vgg_widget.pictures.colormaps import DEFAULT_CMAP
from vgg_widget.pictures.comparing import Pair, PairRendering, pair, render_pair
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering
from vgg_widget.pictures.scaling import DEFAULT_SCALE
from vgg_widget.support.messages import briefly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgg_widget.figure.feature_figure import PairFigure
    from vgg_widget.gradients.result import Attribution


class Comparison(ExplorerBase):
    """Two images seen through one network; `compare` makes one.

    Parameters
    ----------
    first : object
        Any input of `load_image`; or `Activations`, if `second` is one too, from the same
        network and size.
    second : object
        The same. It is resized to the size at which the network saw the first image; the caption
        says so if that changes its shape.
    extractor, model, preprocess, weights, network, size, layer, channel, mode, cmap, scale
        See `LayerExplorer`. A scale covers both images; the default layer and channel are
        those of the first image.
    **layout
        Any other trait, such as ``location``, ``before_relu``, ``overlay`` or ``theme``
        (``Comparison.class_traits()`` lists them); and fields of `ipywidgets.Layout`.

    Raises
    ------
    ImageError, WeightsError
        If an image or the weights cannot be used.
    TraitError
        If a layer, mode, colormap, scale or channel does not exist.
    """

    pair = Instance(Pair, read_only=True, help="All feature maps of both images.")
    renderings = Instance(
        PairRendering, read_only=True, allow_none=True, help="The three current pictures."
    )

    _noun, _advice = "comparison", "call compare again"
    _picklable = "its pair"
    _offered_panels = PAIR_PANELS
    _computed_trait, _rendered_trait = "pair", "renderings"
    _inches = PAIR_INCHES
    pictured = "both pictures"
    # At this width the figure is as high as the screen.
    _widest = int(PAIR_INCHES[0] * DPI) + TOOLBAR_PIXELS
    _description = "Two input images, beside each a picture of the layer, and their difference"
    _busy_words = "Computing all layers of both images …"

    def __init__(
        self,
        first: object,
        second: object,
        *,
        extractor: FeatureExtractor | None = None,
        model: Any = None,
        preprocess: Preprocess | None = None,
        weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
        network: str = DEFAULT_NETWORK,
        size: int | tuple[int, int] | None = DEFAULT_SIZE,
        layer: str | None = None,
        channel: int | None = None,
        mode: str = DEFAULT_MODE,
        cmap: str = DEFAULT_CMAP,
        scale: str = DEFAULT_SCALE,
        **layout: Any,
    ) -> None:
        super().__init__(
            (first, second),
            {
                "extractor": extractor,
                "weights": weights,
                "network": network,
                "size": size,
                "model": model,
                "preprocess": preprocess,
            },
            {"layer": layer, "channel": channel, "mode": mode, "cmap": cmap, "scale": scale},
            layout,
        )

    @property
    def images(self) -> tuple[Any, Any]:
        """Both images before resizing, uint8 RGB of shape (H, W, 3).

        Set it to two inputs of `load_image`; if either fails, the current images stay. `first`
        and `second` set one of them.
        """
        return self.first, self.second

    @images.setter
    def images(self, sources: object) -> None:
        if not isinstance(sources, list | tuple) or len(sources) != 2:
            raise ValueError(
                f"images {briefly(sources)} is not a pair of images: pass two, such as "
                '("a.jpg", "b.jpg").'
            )
        self._look_at(*sources)

    @property
    def first(self) -> Any:
        """The first image; see `images`."""
        return self._readings[0].pixels

    @first.setter
    def first(self, source: object) -> None:
        self._look_at(source, self._other(source, 1))

    @property
    def second(self) -> Any:
        """The second image; see `images`."""
        return self._readings[1].pixels

    @second.setter
    def second(self, source: object) -> None:
        self._look_at(self._other(source, 0), source)

    def _other(self, source: object, number: int) -> object:
        """Return the image that stays: its activations if `source` is activations too."""
        computed = isinstance(source, Activations)
        return (self.pair.first, self.pair.second)[number] if computed else self._readings[number]

    @property
    def attributed(self) -> tuple[Attribution | None, ...]:
        """The map that `attribution` asks for, for both images; None if it is not available."""
        return self.attributing.maps or (None, None)

    @property
    def predicts(self) -> bool:
        """Whether a class can be explained; always False, since there is no classifier."""
        return False

    # --- the interface that `ExplorerBase` requires

    def _compute(self, readings: tuple[ImageReading, ...]) -> Pair:
        return pair(self.extractor, *readings)

    @staticmethod
    def _combine(first: Activations, second: Activations) -> Pair:
        return Pair.of(first, second)

    @staticmethod
    def _each_of(computed: Any) -> Any:
        return computed.first, computed.second

    def _render(self, settings: DisplaySettings, computed: Pair) -> PairRendering:
        return render_pair(computed, settings.layer_in(computed.first), **settings.for_render())

    def _new_view(self, figure: Figure) -> PairFigure:
        from vgg_widget.figure.feature_figure import PairFigure

        return PairFigure(figure)

    @property
    def _inputs(self) -> tuple[Any, Any]:
        return self.pair.first.image, self.pair.second.image

    def distribution(self) -> tuple[str, Rendering]:
        """Return which pictures the histogram counts, and its source."""
        shown = self.renderings
        assert shown is not None
        return "both pictures together", shown.both

    def _caption(self) -> str:
        assert self.renderings is not None
        one, other = self._readings
        return pair_caption(self.pair, self.renderings, (one.note, other.note))

    def unit_words(self, row: int, column: int, channel: int | None) -> str:
        """Describe a unit in both pictures; `channel` is that of a grid's tile."""
        assert self.renderings is not None
        return pair_place_words(self.pair, self.renderings, row, column, channel)

    def pixel_words(self, row: int, column: int) -> str:
        """Return the colours of a pixel in both inputs as text."""
        return " and ".join(
            "RGB " + ", ".join(map(str, image[row, column])) for image in self._inputs
        )


def compare(first: object, second: object, **arguments: Any) -> Comparison:
    """Compare two images side by side: their maps on one scale, and the difference.

    Parameters
    ----------
    first, second : object
        Any inputs of `load_image`, or two `Activations`.
    **arguments
        See `LayerExplorer` and `Comparison`.

    Returns
    -------
    Comparison
        An ipywidgets box with the traits and controls of an explorer; `pair` and `renderings`
        hold what it shows.

    Examples
    --------
    >>> comparison = compare("cat.jpg", "dog.jpg", weights="random", size=64, mode="mean")
    >>> comparison.renderings.difference.title
    'block3_conv1 · mean over 256 channels · second − first'
    """
    return Comparison(first, second, **arguments)

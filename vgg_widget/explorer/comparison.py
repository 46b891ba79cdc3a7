"""`compare`: two images side by side under one set of controls, and what differs."""

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
    """See two images through one network; `compare` makes one.

    Parameters
    ----------
    first : object
        Anything that `load_image` takes; or `Activations`, if `second` is such too, of the same
        network and size.
    second : object
        The same; brought to the size that the network saw the first in, and the caption says so
        where that changes its shape.
    extractor, model, preprocess, weights, network, size, layer, channel, mode, cmap, scale
        As for `LayerExplorer`. A scale is over both images; the layer and the channel that come
        first are those of the first image.
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
        PairRendering, read_only=True, allow_none=True, help="The three pictures on show."
    )

    _what, _instead = "comparison", "call compare again"
    _kept = "its pair"
    _offered_panels = PAIR_PANELS
    _computed_trait, _rendered_trait = "pair", "renderings"
    _inches = PAIR_INCHES
    pictured = "both pictures"
    # As high as a screen.
    _widest = int(PAIR_INCHES[0] * DPI) + TOOLBAR_PIXELS
    _description = "Two input pictures, beside each a picture of the layer, and what differs"
    _busy_words = "Computing all layers of both pictures …"

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
        """Both pictures, uint8 RGB of shape (H, W, 3), as they were before resizing.

        Set it to two of anything that `load_image` takes; if one cannot be used, those on show
        stay. `first` and `second` are each alone.
        """
        return self.first, self.second

    @images.setter
    def images(self, sources: object) -> None:
        if not isinstance(sources, list | tuple) or len(sources) != 2:
            raise ValueError(
                f"images {briefly(sources)} is no pair of pictures: pass two, such as "
                '("a.jpg", "b.jpg").'
            )
        self._look_at(*sources)

    @property
    def first(self) -> Any:
        """The first picture; see `images`."""
        return self._readings[0].pixels

    @first.setter
    def first(self, source: object) -> None:
        self._look_at(source, self._other(source, 1))

    @property
    def second(self) -> Any:
        """The second picture; see `images`."""
        return self._readings[1].pixels

    @second.setter
    def second(self, source: object) -> None:
        self._look_at(self._other(source, 0), source)

    def _other(self, source: object, number: int) -> object:
        """Return the picture that stays; beside activations, what was computed of it."""
        computed = isinstance(source, Activations)
        return (self.pair.first, self.pair.second)[number] if computed else self._readings[number]

    @property
    def attributed(self) -> tuple[Attribution | None, ...]:
        """The maps that `attribution` asks for, of both pictures; None what is not there."""
        return self.attributing.maps or (None, None)

    @property
    def predicts(self) -> bool:
        """Whether the classifier is there, so that a class can be explained: never."""
        return False

    # --- what `ExplorerBase` asks

    def _compute(self, readings: tuple[ImageReading, ...]) -> Pair:
        return pair(self.extractor, *readings)

    @staticmethod
    def _together(first: Activations, second: Activations) -> Pair:
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
        """Return that both pictures are counted, and what a histogram is of."""
        shown = self.renderings
        assert shown is not None
        return "both pictures together", shown.both

    def _caption(self) -> str:
        assert self.renderings is not None
        one, other = self._readings
        return pair_caption(self.pair, self.renderings, (one.note, other.note))

    def unit_words(self, row: int, column: int, channel: int | None) -> str:
        """Say what is at a unit in both pictures; `channel` is that of a grid's tile."""
        assert self.renderings is not None
        return pair_place_words(self.pair, self.renderings, row, column, channel)

    def pixel_words(self, row: int, column: int) -> str:
        """Say which colours a pixel of both inputs has."""
        return " and ".join(
            "RGB " + ", ".join(map(str, image[row, column])) for image in self._inputs
        )


def compare(first: object, second: object, **arguments: Any) -> Comparison:
    """See two images side by side: their maps over one range, and the difference.

    Parameters
    ----------
    first, second : object
        Anything that `load_image` takes, or the `Activations` of two.
    **arguments
        As for `LayerExplorer`; see `Comparison`.

    Returns
    -------
    Comparison
        An ipywidgets box with the traits and controls of an explorer; `pair` and `renderings` are
        what it shows.

    Examples
    --------
    >>> comparison = compare("cat.jpg", "dog.jpg", weights="random", size=64, mode="mean")
    >>> comparison.renderings.difference.title
    'block3_conv1 · mean over 256 channels · second − first'
    """
    return Comparison(first, second, **arguments)

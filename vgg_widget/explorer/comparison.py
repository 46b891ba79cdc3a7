"""`compare`: two images side by side under one set of controls, over one range, and what differs.

Like the explorer, it computes no feature map and draws nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from traitlets import Instance

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.linked_view import LinkedView
from vgg_widget.explorer.panels import PAIR_PANELS
from vgg_widget.explorer.scene import Choice
from vgg_widget.explorer.state import pair_script
from vgg_widget.figure.frames import PAIR_INCHES
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import DEFAULT_SIZE, FeatureExtractor
from vgg_widget.network.vgg19 import Preprocess
from vgg_widget.pictures.captions import pair_caption, pair_place_words, source_line
from vgg_widget.pictures.comparing import Pair, PairRendering, pair, render_pair
from vgg_widget.pictures.coordinates import Marks
from vgg_widget.pictures.modes import Rendering
from vgg_widget.support.messages import briefly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgg_widget.figure.pair_figure import PairFigure


class Comparison(LinkedView):
    """See two images through one network; `compare` makes one.

    Parameters
    ----------
    first : object
        Anything that `load_image` takes.
    second : object
        The same; brought to the size that the network saw the first in, and the caption says so
        where that changes its shape.
    extractor, model, preprocess, weights, size, layer, channel, mode, cmap, scale
        As for `LayerExplorer`. A scale is over both images.
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
    _computed_trait, _shown_trait = "pair", "renderings"
    _inches = PAIR_INCHES
    _description = "Two input pictures, beside each a picture of the layer, and what differs"
    _busy_words = "Computing all layers of both pictures …"
    _view: PairFigure

    def __init__(
        self,
        first: object,
        second: object,
        *,
        extractor: FeatureExtractor | None = None,
        model: Any = None,
        preprocess: Preprocess | None = None,
        weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
        size: int | tuple[int, int] | None = DEFAULT_SIZE,
        layer: str = "block1_conv1",
        channel: int | None = None,
        mode: str = "channel",
        cmap: str = "viridis",
        scale: str = "layer",
        **layout: Any,
    ) -> None:
        super().__init__(
            (first, second),
            extractor=extractor,
            model=model,
            preprocess=preprocess,
            weights=weights,
            size=size,
            layer=layer,
            channel=channel,
            mode=mode,
            cmap=cmap,
            scale=scale,
            layout=layout,
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
        self._look_at(source, self._readings[1])

    @property
    def second(self) -> Any:
        """The second picture; see `images`."""
        return self._readings[1].pixels

    @second.setter
    def second(self, source: object) -> None:
        self._look_at(self._readings[0], source)

    def to_code(self) -> str:
        """Return Python text that makes the same pictures without a widget.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which has no text.
        """
        one, other = self._readings
        extractor = self._extractor.to_code()
        return pair_script((one, other), self.pair, extractor, self._choice())

    # --- what `LinkedView` asks

    def _choose_panels(self) -> dict[str, Callable[[Any], Any]]:
        return dict(PAIR_PANELS)

    def _compute(self, readings: tuple[ImageReading, ...]) -> Pair:
        one, other = readings
        return pair(self._extractor, one, other)

    @staticmethod
    def _measured_in(computed: Pair) -> Activations:
        return computed.first

    def _render(self, choice: Choice, computed: Pair) -> PairRendering:
        return render_pair(computed, choice.layer_in(computed.first), **choice.as_render())

    def _three(self) -> PairRendering:
        assert self.renderings is not None
        return self.renderings

    def _main_rendering(self) -> Rendering:
        return self._three().first

    def _view_on(self, figure: Figure) -> PairFigure:
        from vgg_widget.figure.pair_figure import PairFigure

        return PairFigure(figure)

    def _draw_on_view(self, choice: Choice, marking: Marks) -> None:
        place = self._measured.info(choice.layer).placement
        images = self.pair.first.image, self.pair.second.image
        self._view.show(self._three(), images, place, marking=marking)

    def _caption(self) -> str:
        notes = [reading.note for reading in self._readings]
        return pair_caption(self.pair, self._three(), (notes[0], notes[1]))

    def _source(self) -> str:
        return source_line(self.pair.first, self._three().first)

    def _unit_words(self, row: int, column: int, channel: int | None) -> str:
        return pair_place_words(self.pair, self._three(), row, column, channel)

    def _pixel_words(self, row: int, column: int) -> str:
        images = self.pair.first.image, self.pair.second.image
        return " and ".join(
            "RGB " + ", ".join(str(level) for level in np.asarray(image[row, column]))
            for image in images
        )


def compare(first: object, second: object, **arguments: Any) -> Comparison:
    """See two images side by side: their maps over one range, and the difference.

    Parameters
    ----------
    first, second : object
        Anything that `load_image` takes.
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
    'block1_conv1 · mean over 64 channels · second − first'
    """
    return Comparison(first, second, **arguments)

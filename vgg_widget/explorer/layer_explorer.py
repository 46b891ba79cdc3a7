"""`LayerExplorer`: one image, and what every layer makes of it.

It computes no feature map and draws nothing: it asks for renderings and hands them to the figure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.explorer_actions import ExplorerActions
from vgg_widget.explorer.explorer_host import ExplorerHost
from vgg_widget.explorer.linked_host import LinkedHost
from vgg_widget.explorer.panels import PANELS, predictions_panel
from vgg_widget.explorer.scene import Choice
from vgg_widget.explorer.state import read_state
from vgg_widget.explorer.trait_types import is_top_activations
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import DEFAULT_SIZE, FeatureExtractor
from vgg_widget.network.vgg19 import Preprocess
from vgg_widget.pictures.captions import caption, place_words, source_line
from vgg_widget.pictures.coordinates import Marks
from vgg_widget.pictures.modes import Rendering
from vgg_widget.pictures.rendering import render
from vgg_widget.predictions import checked_top

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgg_widget.explorer.page import Page
    from vgg_widget.figure.feature_figure import FeatureFigure


class LayerExplorer(ExplorerActions):
    """See what every layer of a network makes of a picture.

    Parameters
    ----------
    image : object
        Anything that `load_image` takes.
    extractor : FeatureExtractor, optional
        The network to use, instead of making one from the arguments that follow.
    model : keras.Model, optional
        A model of your own instead of VGG19; see `FeatureExtractor`.
    preprocess : callable, optional
        From RGB, float32 in 0–255, to the network's input; see `FeatureExtractor`.
    weights : str, Path or mapping
        A name, a file of Keras's or torchvision's, or a state dict; see `FeatureExtractor`.
    size : int, (int, int) or None
        See `FeatureExtractor`.
    layer : str
        The layer on show; a model of your own starts at its first.
    channel : int, optional
        The channel on show in the mode ``"channel"``: 0 by default, or the one that ``channels``
        names. Each of the two is kept for the modes that show it.
    mode : str
        ``"channel"``, ``"grid"``, ``"max"``, ``"mean"``, ``"argmax"``, ``"composite"``,
        ``"rgb"``, ``"rainbow"`` or one that `register_mode` added.
    cmap : str or Colormap
        Any colormap that matplotlib knows, by its name or as it is registered.
    scale : str
        ``"channel"``, ``"layer"`` or ``"network"``.
    **layout
        Any other trait, such as ``channels``, ``location``, ``before_relu``, ``overlay`` or
        ``theme`` (``LayerExplorer.class_traits()`` lists them, `help` describes them); and fields
        of `ipywidgets.Layout`, such as ``width="700px"``; with a ``max_width="1200px"`` the figure
        grows so far where the page has room. ``top=5`` adds a panel with the five most probable
        classes; it needs the classifier's file, which is 575 MB for ImageNet. ``top=`` what
        `vgg_widget.dataset.top_activations` returned adds a panel with the patches that the
        channel on show answers to most; for both, set ``explorer.top`` afterwards.

    Raises
    ------
    ImageError, WeightsError
        If the image or the weights cannot be used.
    TraitError
        If a layer, mode, colormap, scale or channel does not exist.

    Examples
    --------
    >>> from vgg_widget import LayerExplorer, sample_image
    >>> explorer = LayerExplorer(sample_image(), weights="random", size=64, mode="max")
    >>> explorer.layer = "block3_conv1"
    >>> explorer.rendering.title
    'block3_conv1 · maximum over 256 channels'
    """

    _computed_trait, _shown_trait = "activations", "rendering"
    _more_arguments = ("top",)
    _description = "Input picture, and beside it a picture of the layer"
    _busy_words = "Computing all layers of the new picture …"
    _upload = "image"
    _view: FeatureFigure

    def __init__(
        self,
        image: object,
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
        top = layout.get("top")
        if top is not None and not is_top_activations(top):
            # Before anything is downloaded.
            layout["top"] = checked_top(top)
        super().__init__(
            (image,),
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
    def image(self) -> Any:
        """The picture, uint8 RGB of shape (H, W, 3), as it was before resizing.

        Set it to anything that `load_image` takes to look at another one; if that cannot be used,
        the one on show stays.
        """
        return self._readings[0].pixels

    @image.setter
    def image(self, source: object) -> None:
        self._look_at(source)

    @classmethod
    def from_state(cls, image: object, state: dict[str, Any], **more: Any) -> Self:
        """Make an explorer that shows what another one showed.

        Parameters
        ----------
        image : object
            Anything that `load_image` takes.
        state : dict
            What `state` returned, also after a round trip through JSON.
        **more
            Arguments of the constructor that take the place of what `state` says; ``extractor``
            or ``model`` is needed where the state is of a model of your own, ``weights`` where it
            is of a state dict.

        Raises
        ------
        ValueError, TraitError
            If `state` is no such dict; the sentence names the key.
        WeightsError
            If the weights that it names cannot be had.
        """
        asked = read_state(state, more)
        explorer = cls(image, **asked)
        # The default colormap of maps before a ReLU may have been chosen, and left, on purpose.
        if "cmap" in asked and explorer.cmap != asked["cmap"]:
            explorer.cmap = asked["cmap"]
        explorer._usual_cmap = str(state.get("usual_cmap", explorer._usual_cmap))
        return explorer

    # --- what `LinkedView` asks

    def _choose_panels(self, top: Any = None) -> dict[str, Callable[[Any], Any]]:
        self._classes = top if isinstance(top, int) else None
        panels = dict(PANELS)
        if self._classes is None:
            self.top = top
        else:
            panels["Predictions"] = predictions_panel(self._extractor, self._classes)
        return panels

    def _compute(self, readings: tuple[ImageReading, ...]) -> Activations:
        return self._extractor(readings[0])

    @staticmethod
    def _measured_in(computed: Activations) -> Activations:
        return computed

    def _render(self, choice: Choice, computed: Activations) -> Rendering:
        return render(computed, choice.layer_in(computed), **choice.as_render())

    def _main_rendering(self) -> Rendering:
        assert self.rendering is not None
        return self.rendering

    def _view_on(self, figure: Figure) -> FeatureFigure:
        # matplotlib's figures take longer to import than all the rest here.
        from vgg_widget.figure.feature_figure import FeatureFigure

        return FeatureFigure(figure)

    def _host_for(self, page: Page) -> LinkedHost:
        return ExplorerHost(self, page, self._refresh, self._undertakings)

    def _draw_on_view(self, choice: Choice, marking: Marks) -> None:
        place = self.activations.info(choice.layer).placement
        self._view.show(self._main_rendering(), self.activations.image, place, marking=marking)

    def _caption(self) -> str:
        words = caption(self.activations, self._main_rendering())
        note = self._readings[0].note
        return f"{words} · {note}" if note else words

    def _source(self) -> str:
        return source_line(self.activations, self._main_rendering())

    def _unit_words(self, row: int, column: int, channel: int | None) -> str:
        return place_words(self.activations, self._main_rendering(), row, column, channel)

    def _pixel_words(self, row: int, column: int) -> str:
        red, green, blue = self.activations.image[row, column]
        return f"RGB {red}, {green}, {blue}"

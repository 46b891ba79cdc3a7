"""`LayerExplorer`: one image, and what every layer computes from it."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload
from weakref import proxy

from traitlets import CFloat, Instance, TraitError, observe, validate

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import Circuit, circuit
from vgg_widget.explorer.base import LOOKS, MADE_WITH, ExplorerBase
from vgg_widget.explorer.export import read_state, write_state
from vgg_widget.explorer.panels import SET_PANEL, PanelMaker, predictions_panel, top_images_panel
from vgg_widget.explorer.settings import (
    SETTINGS,
    DisplaySettings,
    ImageSetResult,
    Snapshot,
    is_top_activations,
)
from vgg_widget.figure import animation
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import DEFAULT_NETWORK, DEFAULT_SIZE, FeatureExtractor
from vgg_widget.network.protocol import Preprocess
from vgg_widget.pictures.captions import activity, caption, place_words
from vgg_widget.pictures.colormaps import DEFAULT_CMAP
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering
from vgg_widget.pictures.rendering import render
from vgg_widget.pictures.scaling import DEFAULT_SCALE
from vgg_widget.predictions import checked_top

if TYPE_CHECKING:
    import ipywidgets as widgets
    from matplotlib.figure import Figure

    from vgg_widget.dataset.result import TopActivations
    from vgg_widget.figure.feature_figure import FeatureFigure
    from vgg_widget.gradients.result import Attribution
    from vgg_widget.page.document import WrittenDocument
    from vgg_widget.support.progress import Progress

_TOP_IS_RENAMED = (
    "top of LayerExplorer is now two arguments: predict=5 for classes that the network predicts, "
    "and top_images for a result of vgg_widget.dataset.top_activations."
)


class LayerExplorer(ExplorerBase):
    """Explore what every layer of a network computes from an image.

    Parameters
    ----------
    image : object
        Any input of `load_image`; or `Activations`, for example from `Activations.load` or
        `Activations.from_arrays`, which are shown without a network.
    extractor : FeatureExtractor, optional
        The network to use, instead of one built from the arguments that follow. For activations,
        the network that computed them.
    model : keras.Model or torch.nn.Module, optional
        A model of your own instead of a VGG; see `FeatureExtractor`.
    preprocess : callable, optional
        Converts RGB, float32 in 0–255, to the network's input; see `FeatureExtractor`.
    weights : str, Path or mapping
        A name, a Keras or torchvision file, or a state dict; see `FeatureExtractor`.
    network : str
        ``"vgg19"`` or ``"vgg16"``; see `FeatureExtractor`.
    size : int, (int, int) or None
        See `FeatureExtractor`.
    layer : str, optional
        The layer to show; by default the first whose maps come closest to a quarter of the
        image's sides, ``"block3_conv1"`` for a VGG.
    channel : int, optional
        The channel to show in the mode ``"channel"``; by default the one in ``channels``, or the
        first of `telling_channels`. ``channel`` and ``channels`` are kept independently, for the
        modes that use them.
    mode : str
        ``"channel"``, ``"grid"``, ``"max"``, ``"mean"``, ``"argmax"``, ``"composite"``,
        ``"rgb"``, ``"rainbow"``, ``"groups"`` or one that `register_mode` added.
    cmap : str or Colormap
        Any registered matplotlib colormap, or its name.
    scale : str
        ``"auto"``, ``"channel"``, ``"layer"`` or ``"network"``; see `render`.
    predict : int, optional
        Adds a panel with this many of the most probable classes, 1 to 1000. It needs the
        classifier's file, which is 575 MB for ImageNet.
    top_images : TopActivations, optional
        A result of `vgg_widget.dataset.top_activations`; adds a panel with the patches that
        activate the current channel most.
    **layout
        Any other trait, such as ``channels``, ``location``, ``before_relu``, ``overlay`` or
        ``theme`` (``LayerExplorer.class_traits()`` lists them, `help` describes them); and fields
        of `ipywidgets.Layout`, such as ``width="700px"``. With ``max_width="1200px"``, for
        example, the figure grows up to that width if the page has room.

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

    activations = Instance(Activations, read_only=True, help="All feature maps of the image.")
    rendering = Instance(Rendering, read_only=True, allow_none=True, help="The current picture.")
    top_images = ImageSetResult(
        help="Strongest images of a set; a panel shows those of the current channel; or None.",
    )

    page_budget = CFloat(
        24.0,
        min=0,
        help=(
            "Megabytes of maps that the page keeps for this explorer, to paint channels and layers "
            "before the kernel has drawn them; 0 for none. It is not part of the state."
        ),
    )

    _noun, _advice = "explorer", "make a new LayerExplorer"
    _picklable = "its activations and its state()"
    _made_with = (*MADE_WITH, "predict")
    _computed_trait, _rendered_trait = "activations", "rendering"
    _description = "Input image, and beside it a picture of the layer"
    _busy_words = "Computing all layers of the new image …"
    _upload = "image"
    _saves_activations = True
    _settable = frozenset((*SETTINGS, *LOOKS, "top_images"))
    # Built with the figure.
    _painter: Any = None

    def __init__(
        self,
        image: object,
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
        predict: int | None = None,
        top_images: TopActivations | None = None,
        **layout: Any,
    ) -> None:
        top = layout.pop("top", None)
        if top is not None:
            warnings.warn(_TOP_IS_RENAMED, FutureWarning, stacklevel=2)
            if is_top_activations(top):
                top_images = top
            else:
                predict = top
        # Checked before anything is downloaded.
        self._classes = None if predict is None else checked_top(predict, "predict")
        self.set_trait("top_images", top_images)
        self.page_budget = layout.pop("page_budget", self.page_budget)
        super().__init__(
            (image,),
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
    def image(self) -> Any:
        """The image before resizing, uint8 RGB of shape (H, W, 3).

        Set it to any input of `load_image`, or to `Activations`, to explore another image. If
        that fails, the current image stays.
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
            Any input of `load_image`.
        state : dict
            A result of `state`, possibly after a round trip through JSON.
        **more
            Constructor arguments that override the state. ``extractor`` or ``model`` is needed if
            the state comes from a model of your own, ``weights`` if it comes from a state dict.

        Raises
        ------
        ValueError, TraitError
            If `state` is not such a dict; the message names the key.
        WeightsError
            If the weights that it names are not available.
        """
        arguments = read_state(state, more, computed=isinstance(image, Activations))
        try:
            explorer = cls(image, **arguments)
        except TraitError:
            # The state may have been saved at a layer without attribution: retry without it.
            if arguments.pop("attribution", None) is None:
                raise
            explorer = cls(image, **arguments)
        # The user may have deliberately replaced the default colormap for maps before a ReLU.
        if "cmap" in arguments and explorer.cmap != arguments["cmap"]:
            explorer.cmap = arguments["cmap"]
        explorer._usual_cmap = str(state.get("usual_cmap", explorer._usual_cmap))
        return explorer

    # --- the interface that `ExplorerBase` requires

    def _available_panels(self) -> dict[str, PanelMaker]:
        panels = super()._available_panels()
        if self._classes is not None:
            panels["Predictions"] = predictions_panel(self.extractor, self._classes)
        return {**panels, SET_PANEL: top_images_panel}

    def _compute(self, readings: tuple[ImageReading, ...]) -> Activations:
        return self.extractor(readings[0])

    @staticmethod
    def _combine(activations: Activations) -> Activations:
        return activations

    @staticmethod
    def _each_of(computed: Any) -> Any:
        return (computed,)

    def _render(self, settings: DisplaySettings, computed: Activations) -> Rendering:
        return render(computed, settings.layer_in(computed), **settings.for_render())

    def _new_view(self, figure: Figure) -> FeatureFigure:
        # Importing matplotlib's figures takes longer than all other imports here.
        from vgg_widget.figure.feature_figure import FeatureFigure

        return FeatureFigure(figure)

    def _build(self) -> None:
        super()._build()
        # Importing the page's own widgets takes a moment.
        from vgg_widget.explorer.page_painter import PagePainter

        explorer: Any = proxy(self)
        self._page.budget = self.page_budget
        parts = self._view, self._page, self._pointing, self._controls
        self._painter = PagePainter(explorer, *parts)

    def _publish(self, snapshot: Snapshot) -> None:
        before, now = self._snapshot, snapshot.settings
        # The page paints a change of the channel alone.
        step = (
            before is not None
            and before.computed is snapshot.computed
            and replace(before.settings, channel=now.channel) == now
        )
        if self._painter is None:
            super()._publish(snapshot)
        elif step:
            super()._publish(snapshot)
            words = self._controls.page_values()
            self._page.shown = self._page.shown | {"channel": now.channel, "words": words}
        else:
            with self._painter.drawing(now, snapshot.computed, snapshot.rendered):
                super()._publish(snapshot)

    @property
    def _inputs(self) -> Any:
        return self.activations.image

    def _caption(self) -> str:
        return self.caption_of(self.main_rendering)

    @property
    def attributed(self) -> Attribution | None:
        """The map that `attribution` asks for; None if there is none or it is being computed."""
        return next(iter(self.attributing.maps), None)

    @property
    def predicts(self) -> bool:
        """Whether the classifier is available, so that a class can be explained."""
        return self._classes is not None

    @property
    def usual_cmap(self) -> str:
        """The colormap last used for maps after a ReLU."""
        return self._usual_cmap

    def caption_of(self, rendering: Rendering) -> str:
        """Return the caption for a rendering of the current image."""
        words = caption(self.activations, rendering)
        note = self._readings[0].note
        return f"{words} · {note}" if note else words

    def distribution(self) -> tuple[str, Rendering]:
        """Return a text on how active the current channels are, and the histogram's source."""
        rendering = self.main_rendering
        return f"current channels: {activity(self.measured, rendering)}", rendering

    def unit_words(self, row: int, column: int, channel: int | None) -> str:
        """Describe a unit of the current layer; `channel` is that of a grid's tile."""
        return place_words(self.activations, self.main_rendering, row, column, channel)

    def pixel_words(self, row: int, column: int) -> str:
        """Return the colour of an input pixel as text."""
        red, green, blue = self.activations.image[row, column]
        return f"RGB {red}, {green}, {blue}"

    def page_plays(
        self, clock: widgets.Play, over: str, played: Callable[[], object], *, repeat: bool
    ) -> None:
        """Let the page advance by itself with each tick of a clock, whenever it can paint.

        It steps `over` the channels or the layers, and calls `played` before each such tick.
        """
        self._page.playing = {"clock": clock.model_id, "over": over, "repeat": repeat}
        self._page.listeners["played"] = lambda _: played()

    # --- analyses

    def circuit(self, k: int = 6) -> Circuit:
        """Return the input channels that contribute most to the current channel.

        Parameters
        ----------
        k : int
            How many at most, largest kernels first.

        Returns
        -------
        Circuit
            See `vgg_widget.circuit.circuit`. If `location` is set, also each contribution there.

        Raises
        ------
        ValueError
            If the layer has no kernel that can be shown.
        """
        return circuit(
            self.extractor, self.activations, self.layer, self.channel, k, location=self.location
        )

    @property
    def top(self) -> Any:
        """The former name of `top_images`."""
        return self.top_images

    @top.setter
    def top(self, value: Any) -> None:
        warnings.warn(_TOP_IS_RENAMED, FutureWarning, stacklevel=4)
        self.top_images = value

    @validate("page_budget")
    def _valid_page_budget(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not math.isfinite(value):
            raise TraitError(
                f"page_budget {value} is not a size in megabytes: choose 0 or more, such as 24."
            )
        return value

    @observe("page_budget")
    def _page_budget_changed(self, _: dict[str, Any]) -> None:
        with self._changing():
            if self._snapshot is not None and not self._closed:
                self._page.budget = self.page_budget
                self._canvas.draw()

    @observe("top_images")
    def _top_images_changed(self, change: dict[str, Any]) -> None:
        with self._changing():
            if self._snapshot is None or self._closed:
                return
            if self.top_images is None and self.panel == SET_PANEL:
                self.panel = ""
            elif change["old"] is None and not self.panel:
                self.panel = SET_PANEL
            self._unfold()

    def _panel_titles(self) -> tuple[str, ...]:
        titles = super()._panel_titles()
        if self.top_images is None:
            return tuple(title for title in titles if title != SET_PANEL)
        return titles

    def _first_panel(self) -> str:
        return super()._first_panel() or ("" if self.top_images is None else SET_PANEL)

    # --- used by panels and keys

    def look_at(self, path: str, location: tuple[int, int] | None) -> None:
        """Explore an image file, and mark a unit of the current layer if one is given."""
        self.image = path
        if location is not None:
            self.location = location

    def save_arrays(self) -> Path:
        """Write the activations beside the notebook, and return the path."""
        path = self.arrays_path()
        self.save(path)
        return path

    def arrays_path(self) -> Path:
        """Return where `save_arrays` would write: a path that does not exist yet.

        Raises
        ------
        OSError
            If the working directory no longer exists.
        """
        first = Path.cwd() / self.file_name(".npz")
        later = (first.with_stem(f"{first.stem}-{number}") for number in count(2))
        # A file that the user saved earlier for the same image is never overwritten.
        return next(path for path in chain([first], later) if not path.exists())

    def download_animation(
        self, over: str, seconds: float, progress: Callable[[int, int], object]
    ) -> None:
        """Send the browser a GIF that runs through the channels or the layers."""
        data = self.to_gif(over, seconds, progress=progress)
        self._page.download(f"{self.file_name(f'-{over}')}.gif", data)

    # --- export

    def state(self) -> dict[str, Any]:
        """Return a JSON-able dict from which `from_state` makes the same explorer.

        Returns
        -------
        dict
            The traits, the size, and the weights as a name or path. The image and `top_images`
            are not included.
        """
        with self._lock:
            more: dict[str, Any] = {name: getattr(self, name) for name in LOOKS}
            if self.panel == SET_PANEL:
                # This panel opens by itself if there is a set, which no state contains.
                del more["panel"]
            if self._classes is not None:
                more["predict"] = self._classes
            more["usual_cmap"] = self._usual_cmap
            return write_state(self._requested(), self._extractor, more)

    @overload
    def to_html(
        self,
        path: None = None,
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> str: ...

    @overload
    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> WrittenDocument: ...

    def to_html(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> str | WrittenDocument:
        """Write this explorer as a web page: one file that needs no kernel.

        The page opens with the current layer, channel or channels, mode, colormap, scale, gamma,
        location, and side of the ReLU, and offers the other layers and channels. What a page
        cannot show, such as an overlay of an attribution or a percentile, is left out. In place of
        the mode ``"groups"`` or one of your own, it opens with one channel and warns.

        Parameters
        ----------
        path : str or Path, optional
            An ``.html`` file, replaced atomically; if omitted, the page is returned as text.
        layers, title, max_megabytes, progress
            See `Activations.to_html`.

        Returns
        -------
        WrittenDocument or str
            The page's path, its size, and which layers were halved; or the page itself.

        Raises
        ------
        LayerNameError, ValueError, TypeError, OSError
            See `Activations.to_html`.
        """
        from vgg_widget.page.document import document, write_document

        self._require_open()
        settings = self._requested()
        first = {**asdict(settings), "layer": settings.layer_in(self.activations)}
        if settings.attribution is not None:
            # The overlay here is the attribution, but a page has only the layer's maps.
            first["overlay"] = 0.0
        choices: dict[str, Any] = {
            "first": first,
            "layers": layers,
            "title": title,
            "before_relu": settings.shows_before_relu(self.activations),
            "max_megabytes": max_megabytes,
            "progress": progress,
        }
        if path is None:
            return document(self.activations, **choices)
        return write_document(self.activations, path, **choices)

    def show_static(
        self,
        *,
        height: int | None = None,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> None:
        """Show the page of `to_html` in this cell, for readers of the notebook without a kernel.

        The saved notebook contains the page, and grows by its size. An open notebook, nbviewer
        and nbconvert's HTML show the page. Viewers that show no HTML, such as GitHub and a PDF,
        show the current picture instead.

        Parameters
        ----------
        height : int, optional
            Height of the frame, in CSS pixels from 200 to 4000; 900 by default. The frame is as
            wide as the cell.
        layers, title, max_megabytes, progress
            See `Activations.to_html`. Few `layers` keep the notebook small.

        Raises
        ------
        LayerNameError, ValueError, TypeError
            If an argument is wrong.

        Examples
        --------
        >>> from vgg_widget import LayerExplorer, sample_image
        >>> explorer = LayerExplorer(sample_image(), weights="random", size=64)
        >>> explorer.show_static(layers="block3_conv1", title="Grace Hopper")
        <Grace Hopper: a page of ... MB, which a notebook shows>
        """
        from IPython.display import display

        from vgg_widget.page.frame import DEFAULT_HEIGHT, FramedPage, checked_height

        checked = checked_height(DEFAULT_HEIGHT if height is None else height)
        page = self.to_html(
            layers=layers, title=title, max_megabytes=max_megabytes, progress=progress
        )
        name = title or Path(self.activations.name).name or "Feature maps of a picture"
        framed = FramedPage(page, name, checked, self.to_bytes(".png"))
        display(framed)  # type: ignore[no-untyped-call]

    def save_animation(
        self,
        path: str | os.PathLike[str],
        over: str = "channels",
        seconds: float = animation.DEFAULT_SECONDS,
        *,
        progress: animation.Progress | None = None,
    ) -> None:
        """Write an animated GIF that steps through this layer's channels, or the layers.

        Parameters
        ----------
        path : str or Path
            Must end in ``.gif``; replaced atomically.
        over : {"channels", "layers"}
            What changes from frame to frame. Each channel is shown alone.
        seconds : float
            How long each frame is shown, at least 0.02.
        progress : callable, optional
            Called after each frame with the number drawn so far and the total.

        Raises
        ------
        ValueError
            If an argument is wrong, or if `over` is ``"channels"`` and the mode shows several
            channels at once.
        OSError
            If the folder is missing or cannot be written.
        """
        self._require_open()
        animation.save_gif(path, self._walk(over), seconds, progress=progress)

    def to_gif(
        self,
        over: str = "channels",
        seconds: float = animation.DEFAULT_SECONDS,
        *,
        progress: animation.Progress | None = None,
    ) -> bytes:
        """Return the bytes that `save_animation` would write."""
        self._require_open()
        with io.BytesIO() as stream:
            animation.write_gif(stream, self._walk(over), seconds, progress=progress)
            return stream.getvalue()

    def _walk(self, over: str) -> animation.FigureFrames:
        settings = self._requested()
        options = settings.for_render()
        if over == "channels":
            # All channels, not only the current ones.
            for name in ("channel", "channels"):
                options.pop(name, None)
            layer = settings.layer_in(self.activations)
            return animation.FigureFrames(
                animation.frames(self.activations, over, layer=layer, **options)
            )
        # A location belongs to one layer; another layer's grid may not have it.
        if options.pop("location", None) is not None:
            options["order"] = "index"
        layers = [
            replace(settings, layer=name).layer_in(self.activations) for name in self.activations
        ]
        return animation.FigureFrames(
            animation.frames(self.activations, over, layers=layers, **options)
        )

"""`LayerExplorer`: traits, controls and the links between them.

It computes no feature map and draws nothing: it asks for renderings and hands them to the figure.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import ipywidgets as widgets
from traitlets import observe

from vgg_widget.activations import Activations
from vgg_widget.captions import caption, source_line
from vgg_widget.controls import Choice, Controls, parse_channels
from vgg_widget.explorer_traits import ExplorerTraits
from vgg_widget.files import written_whole
from vgg_widget.images import ImageReading
from vgg_widget.modes import Rendering, find_mode
from vgg_widget.network import DEFAULT_SIZE, FeatureExtractor, extractor_for
from vgg_widget.rendering import render
from vgg_widget.state import CHOICES, read_state, script, write_state
from vgg_widget.traits import check_layout, widgets_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LayerExplorer(ExplorerTraits, widgets.VBox):  # type: ignore[misc]
    """See what every layer of a network makes of a picture.

    Parameters
    ----------
    image : object
        Anything that `load_image` takes.
    extractor : FeatureExtractor, optional
        The network to use, instead of making one from `weights` and `size`; for a model of your
        own ``FeatureExtractor(model=...)``.
    weights : str, Path or mapping
        A name, a file of Keras's or torchvision's, or a state dict; see `FeatureExtractor`.
    size : int, (int, int) or None
        See `FeatureExtractor`.
    layer : str
        The layer on show; a model of your own starts at its first.
    channel : int
        The channel on show in the mode ``"channel"``.
    mode : str
        ``"channel"``, ``"grid"``, ``"max"``, ``"mean"``, ``"argmax"``, ``"composite"``,
        ``"rgb"``, ``"rainbow"`` or one that `register_mode` added.
    cmap : str
        Any colormap that matplotlib knows.
    scale : str
        ``"channel"``, ``"layer"`` or ``"network"``.
    **layout
        Fields of `ipywidgets.Layout`, such as ``width="700px"``; or ``channels``, or
        ``layer_names``: ``"keras"``, ``"torchvision"`` or ``"both"``, as layers are listed.

    Raises
    ------
    ImageError, WeightsError
        If the image or the weights cannot be used.
    TraitError
        If a layer, mode, colormap, scale or channel does not exist.

    Examples
    --------
    >>> explorer = LayerExplorer(sample_image(), weights="random")  # doctest: +SKIP
    >>> explorer.layer = "block3_conv1"  # doctest: +SKIP
    """

    # What stands until the constructor has come so far.
    _canvas: Any = None

    def __init__(
        self,
        image: object,
        *,
        extractor: FeatureExtractor | None = None,
        weights: str | os.PathLike[str] | Mapping[str, Any] = "auto",
        size: int | tuple[int, int] | None = DEFAULT_SIZE,
        layer: str = "block1_conv1",
        channel: int = 0,
        mode: str = "channel",
        cmap: str = "viridis",
        scale: str = "layer",
        **layout: Any,
    ) -> None:
        channels, layer_names = layout.pop("channels", ()), layout.pop("layer_names", "keras")
        check_layout(layout, {"extractor", "weights", "size", "layer_names", *CHOICES})
        self._lock = threading.RLock()
        self._shown: Choice | None = None
        self._extractor = extractor_for(extractor, weights, size)
        self._reading = self._extractor.read(image)
        self.set_trait("activations", self._extractor(self._reading))
        names = [info.name for info in self.activations.layers]
        if layer == "block1_conv1" and layer not in names:
            # The default is VGG19's; somebody's own model begins at its own first layer.
            layer = names[0]
        super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
        self._closed = False
        try:
            with self.hold_trait_notifications():
                self.layer = layer
                self.channel = channel
                self.channels = channels
                self.mode = mode
                self.cmap = cmap
                self.scale = scale
                self.layer_names = layer_names
            self.set_trait("rendering", self._render(self._choice(), self.activations))
            self._build()
        except BaseException:
            # Half an explorer would stay in the widget registry for ever.
            self.close()
            raise

    def _build(self) -> None:
        """Make controls, figure and canvas, once what they show is known to be good."""
        # matplotlib's figures take longer to import than all the rest here.
        from vgg_widget.canvas import live_canvas
        from vgg_widget.figure import FeatureFigure, new_figure

        self._controls = Controls(self._told)
        self._canvas = live_canvas(new_figure())
        self._lock = self._canvas.lock
        self._view = FeatureFigure(self._canvas.figure)
        controls = self._controls
        # On a page narrower than the figure, the figure scrolls and the controls stay.
        stage = widgets.Box(
            [self._canvas], layout=widgets.Layout(overflow="auto", max_width="100%")
        )
        self.children = (
            controls.notice,
            *controls.rows,
            controls.problem,
            stage,
            controls.caption,
        )
        self._shown = self._choice()
        self._draw(self._shown)

    @property
    def image(self) -> Any:
        """The picture, uint8 RGB of shape (H, W, 3), as it was before resizing.

        Set it to anything that `load_image` takes to look at another one; if that cannot be used,
        the one on show stays.
        """
        return self._reading.pixels

    @image.setter
    def image(self, source: object) -> None:
        with self._lock:
            self._require_open()
            with self._controls.busy("Computing all layers of the new picture …"):
                reading = self._extractor.read(source)
                activations = self._extractor(reading)
                rendering = self._render(self._choice(), activations)
            before = self._reading, self.activations, self.rendering
            try:
                self._publish(reading, activations, rendering)
            except BaseException:
                # Somebody's observer failed: what was there before is there again.
                self._publish(*before)
                raise

    def _publish(
        self, reading: ImageReading, activations: Activations, rendering: Rendering | None
    ) -> None:
        self._reading = reading
        with self.hold_trait_notifications():
            self.set_trait("activations", activations)
            self.set_trait("rendering", rendering)
        # An observer may have chosen something else meanwhile, which is drawn already.
        if self.rendering is rendering and not self._closed:
            self._draw(self._choice())

    @property
    def extractor(self) -> FeatureExtractor:
        """The network that computes the feature maps."""
        return self._extractor

    @property
    def figure(self) -> Figure:
        """The matplotlib figure on show."""
        return self._view.figure

    @property
    def canvas(self) -> Any:
        """The ipympl canvas that shows the figure."""
        return self._canvas

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.layer}, {self.mode}"
        return f"<LayerExplorer: {state}>"

    # --- from traits to the picture

    @observe(*CHOICES)
    def _changed(self, _: dict[str, Any]) -> None:
        with self._lock:
            # Several traits changed in one go are one picture; and who observes the picture may
            # change a trait again, which comes back here.
            while self._shown not in (None, self._choice()) and not self._closed:
                fitted = self._fitted(self._choice())
                with self.hold_trait_notifications():
                    self.channel, self.channels = fitted.channel, fitted.channels
                if self._shown != fitted:
                    self._show(fitted)

    @observe("layer_names")
    def _renamed(self, _: dict[str, Any]) -> None:
        with self._lock:
            if self._shown is not None and not self._closed:
                self._show_controls(self._shown)

    def _choice(self) -> Choice:
        return Choice(**{name: getattr(self, name) for name in CHOICES})

    def _fitted(self, choice: Choice) -> Choice:
        """Keep the channels where the layer and mode have them, and else the nearest thing."""
        count = self.activations.info(choice.layer).channels
        channels = tuple(number for number in choice.channels if number < count)
        wanted = find_mode(choice.mode).count
        if wanted is not None and channels and len(channels) != wanted:
            channels = channels[:wanted] if len(channels) > wanted else ()
        return Choice(
            choice.layer,
            min(choice.channel, count - 1),
            channels,
            choice.mode,
            choice.cmap,
            choice.scale,
        )

    @staticmethod
    def _render(choice: Choice, activations: Activations) -> Rendering:
        return render(
            activations,
            choice.layer,
            choice.mode,
            channel=choice.channel,
            channels=choice.channels,
            cmap=choice.cmap,
            scale=choice.scale,
        )

    def _show(self, choice: Choice) -> None:
        """Render and draw a choice; where that fails, take the traits back and raise."""
        before = self._shown
        try:
            rendering = self._render(choice, self.activations)
        except Exception:
            assert before is not None
            with self.hold_trait_notifications():
                for name in CHOICES:
                    setattr(self, name, getattr(before, name))
            self._show_controls(before)
            raise
        self._shown = choice
        try:
            self.set_trait("rendering", rendering)
        finally:
            # Also where somebody's observer failed; one may have chosen something else meanwhile.
            if self.rendering is rendering and not self._closed:
                self._draw(choice)

    def _draw(self, choice: Choice) -> None:
        rendering = self.rendering
        assert rendering is not None
        activations = self.activations
        # The picture before the words: whatever is sent first is on the page first.
        place = activations.info(choice.layer).placement
        self._view.show(rendering, activations.image, place)
        self._show_controls(choice)
        self._controls.complain("")
        words = caption(activations, rendering)
        if self._reading.note:
            words += f" · {self._reading.note}"
        source = source_line(activations, rendering)
        self._controls.say(words, f"weights: {source}", activations.weights.message)

    def _show_controls(self, choice: Choice) -> None:
        count = self.activations.info(choice.layer).channels
        self._controls.offer(self.activations, self.layer_names, choice.layer)
        self._controls.show(choice, find_mode(choice.mode), count)

    # --- from controls to traits

    def _told(self, name: str, value: Any) -> None:
        """Do what a person asked with a control; an error is told under the controls."""
        try:
            if name == "channels":
                value = parse_channels(value)
            setattr(self, name, value)
        except Exception as error:
            # An error in a callback is lost unless it is shown on the page.
            if self._shown is not None:
                self._show_controls(self._shown)
            self._controls.complain(str(error) or type(error).__name__)

    # --- to take away

    def state(self) -> dict[str, Any]:
        """Return a JSON-able dict from which `from_state` makes the same explorer.

        Returns
        -------
        dict
            The traits, the size and the weights as a name or path; not the image.
        """
        return write_state(self._choice(), self.layer_names, self._extractor)

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
            is needed where the state is of a model of your own, ``weights`` where it is of a
            state dict.

        Raises
        ------
        ValueError
            If `state` is no such dict.
        """
        return cls(image, **read_state(state, more))

    def to_code(self) -> str:
        """Return Python text that makes the same picture without a widget.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which has no text.
        """
        return script(self._reading, self.activations, self._extractor.to_code(), self._choice())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture (``.png``, ``.svg``, ``.pdf``) or the activations (``.npz``).

        Parameters
        ----------
        path : str or Path
            Replaced as a whole.

        Raises
        ------
        ValueError
            If the suffix is none of these.
        OSError
            If the folder is missing or cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".npz":
            self.activations.save(path)
            return
        if suffix not in (".png", ".svg", ".pdf"):
            raise ValueError(
                f"path {os.fspath(path)!r} ends in {suffix!r}: choose .png, .svg or .pdf for the "
                "picture, or .npz for the activations."
            )
        with self._lock, written_whole(path) as draft:
            self._require_open()
            self._view.save(draft, suffix[1:], self._source())

    def _source(self) -> str:
        assert self.rendering is not None
        return source_line(self.activations, self.rendering)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # A saved notebook shows this where no kernel is: on GitHub, nbviewer and in nbconvert.
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        if not self._closed:
            with self._lock:
                png = self._view.png(self._source())
                self._canvas.remember(png)
                bundle["image/png"] = base64.b64encode(png).decode()
        return bundle

    def close(self) -> None:
        """Take it off the page and free its widgets and figure; closing twice does no harm.

        Its activations are freed with the last variable that holds it or them.
        """
        if self._closed:
            return
        with self._lock:
            self._closed = True
            # ipywidgets closes no children, layouts or styles, and keeps what is not closed.
            for widget in widgets_of(self):
                if widget is not self:
                    widget.close()
            if self._canvas is not None:
                self._canvas.manager = None
                self._canvas.figure.clear()
            super().close()

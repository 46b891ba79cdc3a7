"""`LayerExplorer`: traits, controls and the links between them.

It computes no feature map and draws nothing: it asks for renderings and hands them to the figure.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import ipywidgets as widgets
from traitlets import TraitError, observe, validate

from vgg_widget.activations import Activations
from vgg_widget.captions import caption, source_line
from vgg_widget.choices import unknown_choice
from vgg_widget.controls import Controls
from vgg_widget.explorer_actions import ExplorerActions
from vgg_widget.explorer_host import ExplorerHost
from vgg_widget.explorer_traits import CHOICES, LOOKS
from vgg_widget.fitting import fitted
from vgg_widget.images import ImageReading
from vgg_widget.modes import Rendering
from vgg_widget.network import DEFAULT_SIZE, FeatureExtractor, extractor_for
from vgg_widget.panels import PANELS, Board, predictions_panel
from vgg_widget.pointing import KEYS, Pointing
from vgg_widget.rendering import render
from vgg_widget.scene import Choice, Scene
from vgg_widget.state import read_state
from vgg_widget.themes import DARK, LIGHT, Theme
from vgg_widget.traits import check_layout, widgets_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LayerExplorer(ExplorerActions, widgets.VBox):  # type: ignore[misc]
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
        Any other trait, such as ``channels``, ``location``, ``before_relu``, ``overlay`` or
        ``theme`` (``LayerExplorer.class_traits()`` lists them, `help` describes them); and fields
        of `ipywidgets.Layout`, such as ``width="700px"``. ``top=5`` adds a panel with the five
        most probable classes; it needs the classifier's file, which is 575 MB for ImageNet.

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
        traits = {name: layout.pop(name) for name in (*CHOICES, *LOOKS) if name in layout}
        top = layout.pop("top", None)
        check_layout(layout, {"extractor", "weights", "size", "top", *CHOICES, *LOOKS})
        self._lock = threading.RLock()
        self._shown: Choice | None = None
        self._history = []
        self._extractor = extractor_for(extractor, weights, size)
        self._panels = dict(PANELS)
        if top is not None:
            self._panels["Predictions"] = predictions_panel(self._extractor, top)
        self._reading = self._extractor.read(image)
        self.set_trait("activations", self._extractor(self._reading))
        names = [info.name for info in self.activations.layers]
        if layer == "block1_conv1" and layer not in names:
            # The default is VGG19's; somebody's own model begins at its own first layer.
            layer = names[0]
        super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
        self._closed = False
        if self.remembered_panel in self._panels:
            traits.setdefault("panel", self.remembered_panel)
        try:
            self._choose(layer=layer, channel=channel, mode=mode, cmap=cmap, scale=scale, **traits)
            self._usual_cmap = self.cmap
            self._first = self._fitted(self._choice())
            self._choose(**asdict(self._first))
            self.set_trait("rendering", self._render(self._first, self.activations))
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
        from vgg_widget.gestures import Gestures
        from vgg_widget.page import Page

        self._canvas = live_canvas(new_figure())
        self._lock = self._canvas.lock
        self._view = FeatureFigure(self._canvas.figure)
        # The caption, which changes with every step, is read after it.
        description = "Input picture, and beside it a picture of the layer"
        self._page = Page(self._press, keys=KEYS, description=description)
        host = ExplorerHost(self, self._page, self._refresh)
        self._controls = controls = host.controls = Controls(host)
        self._board = Board(host, self._panels)
        self._pointing = Pointing(self, self._view, controls, host)
        # matplotlib holds its listeners by weak references.
        self._gestures = Gestures(self._view, self._pointing.point, self._pointing.click)
        self._page.observe(lambda _: self._wear(), "theme")
        self._view.theme = self._colours()
        # On a page narrower than the figure, the figure scrolls and the controls stay.
        stage = widgets.Box(
            [self._canvas], layout=widgets.Layout(overflow="auto", max_width="100%")
        )
        self.add_class("vgg-explorer")
        self.children = (
            controls.notice,
            *controls.rows,
            controls.problem,
            stage,
            controls.caption,
            controls.place,
            controls.source,
            self._board.widget,
            self._page,
        )
        self._shown = self._first
        self._draw(self._shown)
        self._board.unfold(self.panel, self._scene())

    def _press(self, key: str) -> None:
        self._pointing.press(key)

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
                choice = self._fitted(self._choice())
                self._choose(**asdict(choice))
                if self._shown != choice:
                    self._show(choice)

    @observe(*LOOKS)
    def _looked(self, _: dict[str, Any]) -> None:
        with self._lock:
            if self._shown is not None and not self._closed:
                self._wear()
                self._show_controls(self._shown)
                self._board.unfold(self.panel, self._scene())

    @validate("panel")
    def _valid_panel(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        title = str(proposal["value"])
        if title and title not in self._panels:
            raise TraitError(unknown_choice("panel", title, ("", *self._panels)))
        return title

    def _fitted(self, choice: Choice) -> Choice:
        return fitted(choice, self._shown, self.activations, self._usual_cmap)

    @staticmethod
    def _render(choice: Choice, activations: Activations) -> Rendering:
        return render(activations, choice.layer_in(activations), **choice.as_render())

    def _show(self, choice: Choice) -> None:
        """Render and draw a choice; where that fails, take the traits back and raise."""
        before = self._shown
        assert before is not None
        try:
            same = self._asked(before) == self._asked(choice)
            rendering = self.rendering if same else self._render(choice, self.activations)
        except Exception:
            self._choose(**asdict(before))
            self._refresh()
            raise
        self._shown = choice
        if same:
            self._pointing.refresh()
            self._show_around(choice)
            return
        try:
            self.set_trait("rendering", rendering)
        finally:
            # Also where somebody's observer failed; one may have chosen something else meanwhile.
            if self.rendering is rendering and not self._closed:
                self._draw(choice)

    def _asked(self, choice: Choice) -> tuple[str, dict[str, Any]]:
        return choice.layer_in(self.activations), choice.as_render()

    def _draw(self, choice: Choice) -> None:
        rendering = self.rendering
        assert rendering is not None
        activations = self.activations
        if not (choice.before_relu and activations.before_relu(choice.layer)):
            self._usual_cmap = choice.cmap
        self._pointing.forget()
        # The picture before the words: whatever is sent first is on the page first.
        place = activations.info(choice.layer).placement
        marking = self._pointing.marking()
        self._view.show(rendering, activations.image, place, marking=marking)
        self._show_around(choice)

    def _show_around(self, choice: Choice) -> None:
        """Bring words, controls and the open panel to what is on show."""
        rendering, activations = self.rendering, self.activations
        assert rendering is not None
        words = caption(activations, rendering)
        if self._reading.note:
            words += f" · {self._reading.note}"
        source = source_line(activations, rendering)
        self._controls.say(words, f"weights: {source}", activations.weights.message)
        self._controls.locate(self._pointing.words())
        self._controls.complain("")
        self._show_controls(choice)
        self._board.show(self._scene())

    def _show_controls(self, choice: Choice) -> None:
        count = self.activations.info(choice.layer).channels
        shown = choice.layer_in(self.activations)
        self._controls.offer(self.activations, self.layer_names, shown)
        self._controls.show(choice, count)

    def _refresh(self) -> None:
        """Bring the controls back to what is on show, whatever they say."""
        if self._shown is not None:
            self._show_controls(self._shown)
            self._board.unfold(self.panel, self._scene())

    def _scene(self) -> Scene:
        assert self.rendering is not None
        assert self._shown is not None
        return Scene(
            self._shown, self.activations, self.rendering, self._extractor, theme=self.theme
        )

    def _colours(self) -> Theme:
        wanted = self._page.theme if self.theme == "auto" else self.theme
        return DARK if wanted == "dark" else LIGHT

    def _wear(self) -> None:
        with self._lock:
            if not self._closed:
                self._view.theme = self._colours()

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

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # A saved notebook shows this where no kernel is: on GitHub, nbviewer and in nbconvert.
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        if not self._closed:
            with self._lock:
                png = self.to_bytes(".png")
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
            made = [self, *self._board.made()] if self._canvas is not None else [self]
            for widget in widgets_of(*made):
                if widget is not self:
                    widget.close()
            if self._canvas is not None:
                self._canvas.manager = None
                self._canvas.figure.clear()
            super().close()

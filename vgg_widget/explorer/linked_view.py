"""`LinkedView`: traits, controls and a figure, and the links between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from traitlets import TraitError, observe

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.controls import Controls
from vgg_widget.explorer.displayed import Displayed
from vgg_widget.explorer.explorer_traits import CHOICES, LOOKS
from vgg_widget.explorer.fitting import fitted
from vgg_widget.explorer.host import heard
from vgg_widget.explorer.linked_actions import MADE_WITH
from vgg_widget.explorer.linked_changes import waits
from vgg_widget.explorer.linked_host import LinkedHost
from vgg_widget.explorer.panels import Board
from vgg_widget.explorer.pointing import KEYS, Pointing
from vgg_widget.explorer.scene import Choice, Scene, Whole
from vgg_widget.explorer.trait_types import check_layout
from vgg_widget.figure.frames import FIGURE_INCHES, fitting_width, full_width
from vgg_widget.figure.themes import DARK, LIGHT, Theme
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import FeatureExtractor, extractor_for
from vgg_widget.network.vgg19 import Preprocess
from vgg_widget.pictures.modes import Rendering, find_mode
from vgg_widget.support.interrupts import Undertakings, interrupts_wait

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vgg_widget.explorer.page import Page
    from vgg_widget.figure.linked_figure import LinkedFigure
    from vgg_widget.pictures.coordinates import Marks


class LinkedView(Displayed):
    """One figure with controls; a subclass says what is computed, rendered, drawn and said.

    Parameters
    ----------
    images : tuple of object
        Anything that `load_image` takes, each.
    extractor, model, preprocess, weights, size, layer, channel, mode, cmap, scale
        As for `LayerExplorer`.
    layout : dict
        Other keyword arguments, as for `LayerExplorer`.
    """

    # A subclass names its traits for what is computed and for what is on show, the figure's size,
    # and what a screen reader says of it.
    _computed_trait: str
    _shown_trait: str
    _inches = FIGURE_INCHES
    _description: str
    _busy_words: str
    # The trait that an upload beside the other controls sets; "" for none.
    _upload = ""
    # Until the constructor has come so far.
    _board: Board
    _whole: Whole | None = None
    _under_mouse: object = None

    def __init__(
        self,
        images: tuple[object, ...],
        *,
        extractor: FeatureExtractor | None,
        model: Any,
        preprocess: Preprocess | None,
        weights: str | os.PathLike[str] | Mapping[str, Any],
        size: int | tuple[int, int] | None,
        layer: str,
        channel: int | None,
        mode: str,
        cmap: str,
        scale: str,
        layout: dict[str, Any],
    ) -> None:
        traits = {name: layout.pop(name) for name in (*CHOICES, *LOOKS) if name in layout}
        more = {name: layout.pop(name) for name in self._more_arguments if name in layout}
        own = {*MADE_WITH, *self._more_arguments, *CHOICES, *LOOKS}
        check_layout(layout, own)
        self._undertakings = Undertakings(self._settle)
        self._history = []
        self._extractor = extractor_for(extractor, weights, size, model, preprocess)
        self._panels = self._choose_panels(**more)
        readings = tuple(self._extractor.read(image) for image in images)
        self.set_trait(self._computed_trait, self._compute(readings))
        names = [info.name for info in self._measured.layers]
        if layer == "block1_conv1" and layer not in names:
            # The default is VGG19's; somebody's own model begins at its own first layer.
            layer = names[0]
        traits.setdefault("panel", self._first_panel())
        chosen = {"layer": layer, "mode": mode, "cmap": cmap, "scale": scale}
        try:
            with self._undertakings.begun():
                # What is interrupted here would be in the widget registry, and nowhere else.
                with interrupts_wait():
                    self._note_open()
                    super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
                self._choose(**chosen, channel=0 if channel is None else channel, **traits)
                if channel is None and len(self.channels) == 1 and find_mode(mode).takes == "one":
                    self.channel = self.channels[0]
                self._usual_cmap = self.cmap
                self._first = self._fitted(self._choice())
                if "before_relu" in traits:
                    # It was asked for by itself, whatever the layer's name says of it.
                    asked = replace(self._first, before_relu=traits["before_relu"])
                    self._first = fitted(asked, self._first, self._measured, self.cmap)
                self._choose(**asdict(self._first))
                self.set_trait(self._shown_trait, self._render(self._first, self._computed))
                # The page knows of each widget as soon as it is made, and what it says comes on
                # another thread in some kernels: it waits until all are there.
                with self._lock:
                    with interrupts_wait():
                        self._build()
                    self._whole = Whole(readings, self._computed, self._rendered, self._first)
                    self._draw(self._first)
                    self._unfold()
        except BaseException:
            # Half an explorer would stay in the widget registry for ever.
            self.close()
            raise

    # --- what a subclass says

    def _choose_panels(self) -> dict[str, Callable[[Any], Any]]:
        """Return what makes each panel, by its title."""
        raise NotImplementedError

    def _compute(self, readings: tuple[ImageReading, ...]) -> Any:
        """Return what the network makes of the images."""
        raise NotImplementedError

    @staticmethod
    def _measured_in(computed: Any) -> Activations:
        """Return those activations of what was computed that traits must fit."""
        raise NotImplementedError

    def _render(self, choice: Choice, computed: Any) -> Any:
        """Return the picture that a choice makes of what was computed."""
        raise NotImplementedError

    def _main_rendering(self) -> Rendering:
        """Return the rendering that panels are told of."""
        raise NotImplementedError

    def _view_on(self, figure: Figure) -> LinkedFigure:
        """Return the view that draws on an empty figure."""
        raise NotImplementedError

    def _host_for(self, page: Page) -> LinkedHost:
        """Return what controls and panels ask."""
        return LinkedHost(self, page, self._refresh, self._undertakings)

    def _draw_on_view(self, choice: Choice, marking: Marks) -> None:
        """Draw what is on show."""
        raise NotImplementedError

    def _caption(self) -> str:
        """Say what is on show."""
        raise NotImplementedError

    def _unit_words(self, row: int, column: int, channel: int | None) -> str:
        """Say what is at a unit of the layer on show; `channel` is that of a grid's tile."""
        raise NotImplementedError

    def _pixel_words(self, row: int, column: int) -> str:
        """Say which colours a pixel of the input has."""
        raise NotImplementedError

    @property
    def _measured(self) -> Activations:
        return self._measured_in(self._computed)

    @property
    def _computed(self) -> Any:
        return getattr(self, self._computed_trait)

    @property
    def _rendered(self) -> Any:
        return getattr(self, self._shown_trait)

    @property
    def _readings(self) -> tuple[ImageReading, ...]:
        assert self._whole is not None
        return self._whole.readings

    @property
    def _shown(self) -> Choice | None:
        return None if self._whole is None else self._whole.choice

    # --- the parts

    def _build(self) -> None:
        """Make controls, figure and canvas, once what they show is known to be good."""
        # matplotlib's figures take longer to import than all the rest here.
        from vgg_widget.explorer.page import Page
        from vgg_widget.figure.canvas import live_canvas
        from vgg_widget.figure.gestures import Gestures
        from vgg_widget.figure.linked_figure import new_figure

        self._canvas = live_canvas(new_figure(self._inches), self._lock)
        self._view = self._view_on(self._canvas.figure)
        # The caption, which changes with every step, is read after it.
        self._page = Page(
            self._press,
            keys=KEYS,
            description=self._description,
            canvas=self._canvas,
            guard=self._guard,
        )
        self._host = host = self._host_for(self._page)
        self._controls = controls = host.controls = Controls(
            host, upload=self._upload, max_width=self.layout.max_width
        )
        self._board = host.board = Board(host, self._panels)
        self._pointing = Pointing(
            self._scene,
            self._view,
            controls,
            host,
            unit_words=self._unit_words,
            pixel_words=self._pixel_words,
        )
        # matplotlib holds its listeners by weak references.
        self._gestures = Gestures(self._view, self._pointing.point, self._pointing.click)
        self._canvas.guard = self._guard
        self._page.observe(heard(host, lambda _: self._wear()), "theme")
        self._page.observe(heard(host, lambda _: self._fit()), "room")
        self._full_width = full_width(self.layout.max_width, self._view.width)
        self._wear()
        self._fit()
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

    def _press(self, key: str) -> None:
        self._pointing.press(key)

    def _guard(self, action: Callable[[], object]) -> None:
        self._host.guard(action)

    def _look_at(self, *images: object) -> None:
        """Read and compute other images; where that fails, those on show stay.

        An `ImageReading` is taken as it is.
        """
        with self._at_work():
            self._require_open()
            with self._controls.busy(self._busy_words):
                readings = tuple(
                    image if isinstance(image, ImageReading) else self._extractor.read(image)
                    for image in images
                )
                computed = self._compute(readings)
                # A location of a large picture may be none of a small one.
                measured = self._measured_in(computed)
                choice = fitted(self._choice(), self._shown, measured, self._usual_cmap)
                whole = Whole(readings, computed, self._render(choice, computed), choice)
            before = Whole(self._readings, self._computed, self._rendered, self._choice())
            try:
                self._publish(whole)
            except Exception:
                # Somebody's observer failed: what was there before is there again.
                self._publish(before)
                raise

    def _publish(self, whole: Whole) -> None:
        self._whole = whole
        with self.hold_trait_notifications():
            self.set_trait(self._computed_trait, whole.computed)
            self.set_trait(self._shown_trait, whole.rendered)
            self._choose(**asdict(whole.choice))
            self._draw(whole.choice)

    def _settle(self) -> None:
        """Make everything whole again after an interrupt, wherever that was, and say so."""
        # Another explorer may be at work on another thread; another interrupt ends the waiting.
        with self._lock:
            if self._whole is not None and not self._closed:
                with interrupts_wait():
                    self._host.tell_of_interrupt(self._mend)

    def _mend(self) -> None:
        assert self._whole is not None
        self._board.pause()
        # A panel whose making was interrupted stays folded.
        self.panel = self._board.opened
        self._publish(self._whole)
        self._wear()
        self._refresh()
        # Marks and zooms, too, may be half drawn.
        self.figure.canvas.draw()

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

    # --- from traits to the picture

    @observe(*CHOICES)
    def _changed(self, _: object) -> None:
        with self._at_work():
            if waits(self, self._catch_up):
                return
            # Several traits changed in one go are one picture; and who observes the picture may
            # change a trait again, which comes back here.
            while self._shown not in (None, self._choice()) and not self._closed:
                choice = self._fitted(self._choice())
                self._choose(**asdict(choice))
                if self._shown != choice:
                    self._show(choice)

    def _catch_up(self) -> None:
        """Show what another explorer told of, now that it has told of everything."""
        with self._at_work():
            before = self._shown
            if before is None or self._closed:
                return
            if before.layer == self.layer and before.location != self.location:
                try:
                    self._check_location(self.location)
                except TraitError:
                    self.location = before.location
                    raise
            self._changed(None)

    @observe(*LOOKS)
    def _looked(self, _: dict[str, Any]) -> None:
        with self._at_work():
            if self._shown is not None and not self._closed:
                self._controls.complain(None)
                self._wear()
                self._show_controls(self._shown)
                self._unfold()

    def _panel_titles(self) -> tuple[str, ...]:
        return tuple(self._panels)

    def _first_panel(self) -> str:
        """Return the title of the panel that is open at first, where none is asked for."""
        return self.remembered_panel if self.remembered_panel in self._panel_titles() else ""

    def _unfold(self) -> None:
        self._board.unfold(self.panel, self._scene())

    def _fitted(self, choice: Choice) -> Choice:
        return fitted(choice, self._shown, self._measured, self._usual_cmap)

    def _show(self, choice: Choice) -> None:
        """Render and draw a choice; where that fails, take the traits back and raise."""
        before = self._shown
        assert before is not None
        try:
            same = self._asked(before) == self._asked(choice)
            rendered = self._rendered if same else self._render(choice, self._computed)
        except BaseException:
            self._choose(**asdict(before))
            self._refresh()
            raise
        assert self._whole is not None
        self._whole = self._whole._replace(rendered=rendered, choice=choice)
        self._note_usual_cmap(choice)
        if same:
            self._pointing.refresh()
            self._show_around(choice)
            return
        # Whoever is told of the picture finds it drawn, and can save it.
        with self.hold_trait_notifications():
            self.set_trait(self._shown_trait, rendered)
            self._draw(choice)

    def _restore(self, choice: Choice) -> None:
        # By the time that anybody is told of the traits, what they say is on show.
        with self.hold_trait_notifications():
            self._choose(**asdict(choice))
            self._show(choice)

    def _asked(self, choice: Choice) -> tuple[str, dict[str, Any]]:
        return choice.layer_in(self._measured), choice.as_render()

    def _draw(self, choice: Choice) -> None:
        self._note_usual_cmap(choice)
        picture = self._main_rendering()
        under = (self._computed, choice.layer, picture.tiles)
        # The mouse is still on the same unit, of another channel or in another mode.
        if under != self._under_mouse:
            self._under_mouse = under
            self._pointing.forget()
        # The picture before the words: whatever is sent first is on the page first.
        self._draw_on_view(choice, self._pointing.marking())
        self._show_around(choice)

    def _note_usual_cmap(self, choice: Choice) -> None:
        if not (choice.before_relu and self._measured.before_relu(choice.layer)):
            self._usual_cmap = choice.cmap

    def _show_around(self, choice: Choice) -> None:
        """Bring words, controls and the open panel to what is on show."""
        message = self._measured.weights.message
        self._controls.say(self._caption(), f"weights: {self._source()}", message)
        self._controls.locate(self._pointing.words())
        self._controls.complain(None)
        self._show_controls(choice)
        self._board.show(self._scene())

    def _show_controls(self, choice: Choice) -> None:
        count = self._measured.info(choice.layer).channels
        shown = choice.layer_in(self._measured)
        self._controls.offer(self._measured, self.layer_names, shown)
        self._controls.show(choice, count)

    def _refresh(self) -> None:
        """Bring the controls back to what is on show, whatever they say."""
        if self._shown is not None:
            self._show_controls(self._shown)
            self._unfold()

    def _scene(self) -> Scene:
        assert self._shown is not None
        return Scene(
            self._shown, self._measured, self._main_rendering(), self._extractor, theme=self.theme
        )

    def _colours(self) -> Theme:
        wanted = self._page.theme if self.theme == "auto" else self.theme
        return DARK if wanted == "dark" else LIGHT

    def _fit(self) -> None:
        with self._lock:
            width = fitting_width(self._page.room, self._view.width, self._full_width)
            if not self._closed and width != self._view.width:
                self._view.width = width

    def _wear(self) -> None:
        with self._lock:
            if not self._closed:
                self._view.theme = self._colours()

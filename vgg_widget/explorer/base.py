"""`ExplorerBase`: traits, controls and a figure, and the links between them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet, proxy

import ipywidgets as widgets
from traitlets import Enum, TraitError, Unicode, observe, validate

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.telling import first_layer, telling_channels
from vgg_widget.explorer.attributing import WHY_PANEL, Attributing
from vgg_widget.explorer.box import ExplorerBox, check_assignable
from vgg_widget.explorer.computed import are_computed, needed, needs_keras, network_for, readings_of
from vgg_widget.explorer.controls import LAYER_NAMES, Controls
from vgg_widget.explorer.export import check_suffix, name_of_arrays, name_of_picture, script
from vgg_widget.explorer.loading import loading_line
from vgg_widget.explorer.mouse_and_keys import KEYS, MouseAndKeys
from vgg_widget.explorer.panels import PANELS, PanelMaker
from vgg_widget.explorer.panels.switcher import PanelSwitcher
from vgg_widget.explorer.settings import (
    SETTINGS,
    DisplaySettings,
    Snapshot,
    as_trait_error,
    check_layer_names,
    check_location,
    check_setting,
    setting_traits,
)
from vgg_widget.figure.sizes import FIGURE_INCHES, WIDEST, fitting_width, full_width, has_toolbar
from vgg_widget.figure.themes import THEME_NAMES, theme_on
from vgg_widget.images import ImageReading
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering, find_mode
from vgg_widget.support.files import atomic_write
from vgg_widget.support.interrupts import interrupts_allowed
from vgg_widget.support.messages import unknown_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = ("layer_names", "theme", "panel")
"""The traits that say what stands around the picture."""

MADE_WITH = ("extractor", "model", "preprocess", "weights", "network", "size")
"""What a constructor takes for good."""

# Further back than anybody remembers.
_STEPS_BACK = 100


class ExplorerBase(ExplorerBox):
    """One figure with controls.

    A subclass says what is computed (`_compute`, `_together`), what is drawn of it (`_render`),
    what of either is each image's (`_each_of`), and what is said (`_new_view`, `_inputs`,
    `_caption`, `unit_words`, `pixel_words`). Its constructor passes the images, what
    `network_for` takes, the settings and other keyword arguments. No channel is the first to see.
    """

    vars().update(setting_traits())
    layer_names = Enum(
        LAYER_NAMES,
        "keras",
        help="Whose names the layers are listed by: keras, torchvision, both of them, paper.",
    )
    theme = Enum(
        THEME_NAMES, "auto", help="Colours of the figure: light, dark, or auto, as the page has."
    )
    panel = Unicode(help="Title of the panel that is unfolded; '' where all are folded.")

    remembered_panel = ""
    """The panel that a person opened last, which the next one opens with."""

    # A subclass's traits for what is computed and for what is on show, its figure's size, what a
    # screen reader says of it, and what it says while it computes.
    _computed_trait: ClassVar[str]
    _rendered_trait: ClassVar[str]
    _inches, _widest = FIGURE_INCHES, WIDEST
    pictured = "this picture"
    """What is on show, as the list of ranges calls it."""
    _description: ClassVar[str]
    _busy_words: ClassVar[str]
    # The trait that an upload beside the other controls sets; "" for none.
    _upload = ""
    _saves_activations = False
    _offered_panels: Mapping[str, PanelMaker] = PANELS
    # Arguments that stay what they were.
    _made_with: tuple[str, ...] = MADE_WITH

    _settable = frozenset((*SETTINGS, *LOOKS))

    # What stands until the constructor has come so far.
    _snapshot: Snapshot | None = None
    _canvas: Any = None
    _view: Any = None
    _switcher: Any = None
    _under_mouse: object = None

    _open: ClassVar[WeakSet[ExplorerBase]] = WeakSet()

    def __init__(
        self,
        images: tuple[object, ...],
        network: dict[str, Any],
        settings: dict[str, Any],
        layout: dict[str, Any],
    ) -> None:
        given = {name: layout.pop(name) for name in (*SETTINGS, *LOOKS) if name in layout}
        self._check_layout(layout, {*self._made_with, *SETTINGS, *LOOKS})
        self._history: list[DisplaySettings] = []
        self._attributing = Attributing(proxy(self))
        with loading_line(needed=needs_keras(images, **network)):
            self._extractor = network_for(images, **network)
            self._panels = self._available_panels()
            readings, computed = self._taken(images)
        try:
            with self._changing():
                self._closed = False
                self._open.add(self)
                super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
                self.set_trait(self._computed_trait, computed)
                given.setdefault("panel", self._first_panel())
                self._first = self._first_settings({**settings, **given})
                with interrupts_allowed():
                    rendered = self._render(self._first, computed)
                self._attributing.prepare(self._first, self._each_of(computed), strict=True)
                self._build()
                self._publish(Snapshot(readings, computed, rendered, self._first))
                self._unfold()
        except BaseException:
            # Half an explorer would stay in the widget registry for ever.
            self.close()
            raise

    def _first_settings(self, given: dict[str, Any]) -> DisplaySettings:
        """Set the traits that were given, and return what they stand for."""
        if given["layer"] is None:
            given["layer"] = first_layer(self.measured)
        if (channel := given.pop("channel")) is not None:
            given["channel"] = channel
        self.choose(**given)
        if channel is None:
            one = len(self.channels) == 1 and find_mode(self.mode).takes == "one"
            shown = self._asked().layer_in(self.measured)
            found = self.channels if one else telling_channels(self.measured, shown, 1).tolist()
            self.channel = found[0]
        self._usual_cmap: str = self.cmap
        return self._asked().fitted_first(self.measured, given.get("before_relu"))

    # --- what is on show

    @property
    def settings(self) -> DisplaySettings:
        """What is chosen about the picture on show."""
        assert self._snapshot is not None
        return self._snapshot.settings

    @property
    def measured(self) -> Activations:
        """The activations that the settings must fit: the image's, or the first image's."""
        return self.each_measured[0]

    @property
    def each_measured(self) -> tuple[Activations, ...]:
        """The activations of each image."""
        each: tuple[Activations, ...] = self._each_of(getattr(self, self._computed_trait))
        return each

    @property
    def main_rendering(self) -> Rendering:
        """The picture on show, or the first image's."""
        rendering: Rendering = self._each_of(getattr(self, self._rendered_trait))[0]
        return rendering

    @property
    def _readings(self) -> tuple[ImageReading, ...]:
        assert self._snapshot is not None
        return self._snapshot.readings

    @property
    def extractor(self) -> FeatureExtractor:
        """The network that computes the feature maps; ValueError where there is none."""
        return needed(self._extractor)

    @property
    def figure(self) -> Figure:
        """The matplotlib figure on show."""
        figure: Figure = self._view.figure
        return figure

    @property
    def attributing(self) -> Attributing:
        """What computes `attribution`."""
        return self._attributing

    @property
    def canvas(self) -> Any:
        """The ipympl canvas that shows the figure."""
        return self._canvas

    # --- the parts

    def _available_panels(self) -> dict[str, PanelMaker]:
        """Return what makes each panel, by its title."""
        return dict(self._offered_panels)

    def _build(self) -> None:
        """Make controls, figure and canvas, once what they show is known to be good."""
        # matplotlib's figures take longer to import than all the rest here.
        from vgg_widget.explorer.helper import ROOT_CLASS, PageHelper
        from vgg_widget.figure.canvas import live_canvas
        from vgg_widget.figure.gestures import Gestures
        from vgg_widget.figure.linked_figure import new_figure

        # The parts refer to their explorer weakly, so that it is freed with its last variable.
        explorer: Any = proxy(self)
        self._canvas = live_canvas(new_figure(self._inches), self._lock)
        self._canvas.guard = lambda act: explorer.reporting_errors(act, clear=False)()
        self._view = self._new_view(self._canvas.figure)
        self._controls = Controls(explorer, upload=self._upload, max_width=self.layout.max_width)
        self._problem = self._controls.problem
        self._switcher = PanelSwitcher(explorer, self._panels)
        self._pointing = MouseAndKeys(explorer, self._view)
        # matplotlib holds its listeners by weak references.
        self._gestures = Gestures(self._view, self._pointing.point, self._pointing.click)
        # The caption, which changes with every step, is read after the description.
        self._page = PageHelper(
            self.reporting_errors(self._pointing.press),
            keys=KEYS,
            description=self._description,
            canvas=self._canvas,
            controls=self._controls.on_page(),
            report=partial(self.reporting_errors, clear=False),
        )
        # The method itself would hold the explorer.
        follow = self.reporting_errors(lambda _: ExplorerBase._fit_page(explorer), clear=False)
        self._page.observe(follow, ["theme", "background", "room"])
        self._full_width = full_width(self.layout.max_width, self._widest)
        self._fit_page()
        # On a page narrower than the figure, the figure scrolls and the controls stay.
        scrolling = widgets.Layout(overflow="auto", max_width="100%")
        stage = widgets.Box([self._canvas], layout=scrolling)
        self.add_class(ROOT_CLASS)
        self.children = (*self._controls.around(stage), self._switcher.widget, self._page)
        self._built = True

    def _fit_page(self) -> None:
        """Give the figure the page's colours, and make it as wide as the page has room."""
        page = self._page
        theme = theme_on(page.theme, page.background, self.theme)
        width = fitting_width(page.room, self._view.width, self._full_width)
        with self._changing():
            self._view.theme = theme
            self._canvas.show_toolbar(shown=has_toolbar(page.room))
            if width != self._view.width:
                self._view.width = width

    # --- from traits to the picture

    def __setattr__(self, name: str, value: object) -> None:
        # What begins with an underscore is ipywidgets' own, or ours; traitlets replaces its own
        # method while it holds notifications.
        if not name.startswith("_") and name != "notify_change":
            check_assignable(self, name, value, self._made_with, (self._what, self._instead))
        super().__setattr__(name, value)

    @validate(*SETTINGS)
    def _valid_setting(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        # The layer that a link's location belongs to may come after it.
        if name != "location" or not self._follows:
            as_trait_error(check_setting, name, value, self._asked(), self.measured)
        return str(value) if isinstance(value, str) else value

    @validate("panel")
    def _valid_panel(self, proposal: dict[str, Any]) -> str:
        title, known = str(proposal["value"]), self._panel_titles()
        if title and title not in known:
            raise TraitError(unknown_choice("panel", title, ("", *known)))
        return title

    @validate("layer_names")
    def _valid_layer_names(self, proposal: dict[str, Any]) -> str:
        return check_layer_names(str(proposal["value"]), self.measured)

    def choose(self, **changes: Any) -> None:
        """Set traits in one go, which is one picture; then what is no trait, such as an image."""
        with self._holding():
            for name in filter(self.has_trait, changes):
                setattr(self, name, changes[name])
        # An image takes itself back where an observer fails, but not while notifications are held.
        for name, value in changes.items():
            if not self.has_trait(name):
                setattr(self, name, value)

    def choose_with(self, control: widgets.Widget, name: str) -> None:
        """Let a control set the trait of a name."""
        explorer: Any = proxy(self)
        self.on_change(control, lambda value: explorer.choose(**{name: value}))

    def _asked(self) -> DisplaySettings:
        """Return what the traits say."""
        return DisplaySettings(**{name: getattr(self, name) for name in SETTINGS})

    @observe(*SETTINGS)
    def _settings_changed(self, _: object = None) -> None:
        with self._changing():
            if self._waits():
                return
            # Several traits changed in one go are one picture; and who observes the picture may
            # change a trait again, which comes back here.
            while self._snapshot and not self._closed and self._asked() != self.settings:
                self._update()

    def _catch_up(self) -> None:
        if self._snapshot is None or self._closed:
            return
        with self._changing():
            before, asked = self.settings, self._asked()
            if before.layer == asked.layer and before.location != asked.location:
                try:
                    check_location(asked.location, asked, self.measured)
                except TraitError:
                    self.location = before.location
                    raise
            self._settings_changed()

    def _update(self) -> None:
        """Show what the traits ask for; where that fails, take the traits back and raise."""
        try:
            self._show(self._asked().fitted_to(self.measured, self.settings, self._usual_cmap))
        except BaseException:
            # Drawn or not, the traits say what is on show.
            if self._asked() != self.settings:
                self._set_traits(self.settings)
                self._refresh_controls()
            raise

    def _show(self, settings: DisplaySettings) -> None:
        """Render and publish; what is rendered already is not rendered again."""
        assert self._snapshot is not None
        before, rendered = self._snapshot.settings, self._snapshot.rendered
        if settings.attribution is not None:
            strict = settings.explained != before.explained
            self._attributing.prepare(settings, self.each_measured, strict=strict)
        now, then = (one.layer_in(self.measured) for one in (settings, before))
        if now != then or settings.for_render() != before.for_render():
            with interrupts_allowed():
                rendered = self._render(settings, self._snapshot.computed)
        self._publish(self._snapshot._replace(rendered=rendered, settings=settings))

    def _publish(self, snapshot: Snapshot) -> None:
        """Make a snapshot what is on show: in the traits, on the figure and around it."""
        before, self._snapshot = self._snapshot, snapshot
        if not snapshot.settings.shows_before_relu(self._each_of(snapshot.computed)[0]):
            self._usual_cmap = snapshot.settings.cmap
        if snapshot.settings.attribution or (before and before.settings.attribution):
            self._attributing.follow(snapshot.settings, self._each_of(snapshot.computed))
        # Whoever is told of the picture or the traits finds them drawn, and can save them.
        with self._holding():
            for name, value in (
                (self._computed_trait, snapshot.computed),
                (self._rendered_trait, snapshot.rendered),
            ):
                if getattr(self, name) is not value:
                    self.set_trait(name, value)
            self._set_traits(snapshot.settings)
            if before is not None and snapshot.rendered is before.rendered:
                self._pointing.refresh()
            else:
                self._draw_picture()
            self._show_around()

    def _set_traits(self, settings: DisplaySettings) -> None:
        changed = {
            name: value for name, value in asdict(settings).items() if getattr(self, name) != value
        }
        if changed:
            self.choose(**changed)

    def _draw_picture(self) -> None:
        layer = self.settings.layer
        under = (getattr(self, self._computed_trait), layer, self.main_rendering.tiles)
        # The mouse is still on the same unit, of another channel or in another mode.
        if under != self._under_mouse:
            self._under_mouse = under
            self._pointing.forget()
        # The picture before the words: whatever is sent first is on the page first.
        rendered = getattr(self, self._rendered_trait)
        placement = self.measured.info(layer).placement
        self._view.show(rendered, self._inputs, placement, marks=self._pointing.marks())

    def _show_around(self) -> None:
        """Bring words, controls and the open panel to what is on show."""
        self._refused = ()
        message = self.measured.weights.message
        self._controls.say(self._caption(), f"weights: {self._source()}", message)
        self._controls.show(self.settings, self.measured, self.layer_names)
        self.show_status(self._pointing.words())
        self.show_error(None)
        if self._switcher.opened:
            self._switcher.show()

    def _refresh_controls(self) -> None:
        """Bring the controls back to what is on show, whatever they say."""
        if self._snapshot is not None:
            self._controls.show(self.settings, self.measured, self.layer_names)
            self._unfold()

    def _look_at(self, *images: object) -> None:
        """Show other images, or what was read of them; where that fails, those on show stay."""
        with self._lock:
            self._require_open()
            before = self._snapshot
            try:
                with self._changing():
                    found = self._snapshot_of(images)
                    self._require_open()
                    self._publish(found)
            except Exception:
                # An observer or a follower failed: what was there before is there again.
                if before and self._snapshot is not before and not self._closed:
                    self._publish(before)
                raise

    def _snapshot_of(self, images: tuple[object, ...]) -> Snapshot:
        with self._controls.busy(self._busy_words), interrupts_allowed():
            readings, computed = self._taken(images)
            # A location of a large picture may be none of a small one.
            measured = self._each_of(computed)[0]
            settings = self._asked().fitted_to(measured, self.settings, self._usual_cmap)
            self._attributing.prepare(settings, self._each_of(computed), strict=False)
            return Snapshot(readings, computed, self._render(settings, computed), settings)

    def _taken(self, images: Any) -> tuple[tuple[ImageReading, ...], Any]:
        """Return what is read of images, and what is computed of them, or was before."""
        read, known = readings_of(images, self._extractor), are_computed(images)
        return read, self._together(*images) if known else self._compute(read)

    def _show_interrupted(self) -> None:
        if self._snapshot is None or self._closed:
            return
        self._switcher.pause()
        self._refused = ()
        # A panel that could not be made stays folded.
        opened = self._switcher.opened
        self.panel = opened if opened in self._panel_titles() else ""
        self._set_traits(self.settings)
        self._fit_page()
        self._refresh_controls()
        # A mark or a zoom may be half drawn.
        self._canvas.draw()
        self._say_interrupted(f"layer {self.layer} in mode {self.mode}")

    # --- around the picture

    @observe(*LOOKS)
    def _looks_changed(self, _: dict[str, Any]) -> None:
        with self._changing():
            if self._snapshot is not None and not self._closed:
                self._refused = ()
                self.show_error(None)
                self._fit_page()
                self._refresh_controls()

    def _panel_titles(self) -> tuple[str, ...]:
        return tuple(self._panels)

    def _first_panel(self) -> str:
        """Return the title of the panel that is open at first, where none is asked for."""
        return self.remembered_panel if self.remembered_panel in self._panel_titles() else ""

    def _unfold(self) -> None:
        self._switcher.unfold(self.panel, self._panel_titles())

    def show_attribution(self) -> None:
        """Show what there is of the attribution by now, over the input and in its panel."""
        if self._snapshot is not None and not self._closed:
            self._pointing.refresh()
            if self._switcher.opened == WHY_PANEL:
                self._switcher.show()

    def show_status(self, words: str) -> None:
        """Say something in the line below the caption, such as what is under the mouse."""
        self._controls.show_status(words)

    def play(self) -> None:
        """Unfold the panel that plays, if there is one, and start it, or stop it."""
        if "Play" in self._panel_titles():
            if self.panel != "Play":
                self.open_panel("Play")
            self._switcher.play()

    def open_panel(self, title: str) -> None:
        """Unfold a panel for a person; whoever runs the cell again finds it open."""
        type(self).remembered_panel = title
        if title == self.panel:
            # It could not be made the last time.
            self._unfold()
        self.panel = title
        self._switcher.welcome()

    # --- jumps

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show one channel, of this layer or of another one; `back` returns.

        Parameters
        ----------
        channel : int
            Its number.
        layer : str, optional
            Keras's or torchvision's name; by default the layer on show.

        Raises
        ------
        TraitError
            If there is no such layer or channel.
        """
        with self._changing():
            before = self._asked()
            # Whoever is told of the channel is told of the way back too.
            self._history.append(before)
            try:
                named = self.layer
                if layer is not None:
                    named = as_trait_error(before.name_of, layer, self.measured)
                self.choose(layer=named, channel=channel, mode=DEFAULT_MODE)
            finally:
                if self._asked() == before:
                    self._forget(before)
                del self._history[:-_STEPS_BACK]

    def back(self) -> None:
        """Show what was on show before the last `open_channel`; nothing where there is none."""
        with self._changing():
            self._require_open()
            if not self._history:
                return
            last = self._history[-1]
            self._show(self._asked().returned_to(last, self.measured))
            self._forget(last)

    def _forget(self, step: DisplaySettings) -> None:
        # Whoever was told of it may have gone back, too, or reset it: it may be the last no more.
        self._history = [one for one in self._history if one is not step]

    @property
    def can_go_back(self) -> bool:
        """Whether `back` has something to go back to."""
        return bool(self._history)

    def reset(self) -> None:
        """Show what was on show at first, and the whole of it, of what is looked at now."""
        with self._changing():
            self._require_open()
            self._attributing.randomised = None
            self._show(self._first.placed(None, self.measured))
            self._history.clear()
            if not self._closed:
                self._view.home()

    # --- to take away

    def to_code(self) -> str:
        """Return Python text that makes the same picture, or pictures, without a widget.

        An image is named by its path, and one that was uploaded by its file's name. For one that
        was made in memory stands ``...``, and a comment says what to put there.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which has no text.
        """
        return script(self._readings, self.measured, self._extractor, self._asked())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture (``.png``, ``.svg``, ``.pdf``) or the activations (``.npz``).

        Parameters
        ----------
        path : str or Path
            Replaced as a whole. A comparison writes pictures only.

        Raises
        ------
        ValueError
            If the suffix is none of these.
        OSError
            If the folder is missing or cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".npz" and self._saves_activations:
            self.measured.save(path)
            return
        data = self._file(suffix, os.fspath(path))
        with atomic_write(path) as draft:
            draft.write_bytes(data)

    def to_bytes(self, suffix: str = ".png") -> bytes:
        """Return the picture as the bytes of a file.

        Parameters
        ----------
        suffix : str
            ``".png"``, ``".svg"`` or ``".pdf"``.
        """
        return self._file(suffix, suffix)

    def _file(self, suffix: str, path: str) -> bytes:
        check_suffix(suffix, path, arrays=self._saves_activations)
        with self._lock:
            self._require_open()
            self._attributing.finish()
            if self._is_behind:
                raise RuntimeError(
                    f"{self._what} waits for another one to tell of all its changes, and what was "
                    "set here is not drawn yet: save it afterwards, or when its rendering changes."
                )
            return self._picture(suffix[1:])

    def _picture(self, kind: str) -> bytes:
        with io.BytesIO() as stream:
            self._view.save(stream, kind, self._source())
            return stream.getvalue()

    def file_name(self, suffix: str) -> str:
        """Return a name for a file of what is on show, such as ``block3_conv1-max.png``.

        That of activations, which end in ``.npz``, says the picture: ``cat-activations.npz``.
        """
        if suffix == ".npz" and self._saves_activations:
            return name_of_arrays(self._readings[0])
        return f"{name_of_picture(self._asked())}{suffix}"

    def _source(self) -> str:
        """Say where the picture's numbers come from."""
        return source_line(self.measured, self.main_rendering)

    def download(self, suffix: str) -> None:
        """Hand the picture on show to the page, as a file for the browser's downloads."""
        self._page.download(name := self.file_name(suffix), self.to_bytes(suffix))
        self.show_status(f"{name} is where your browser keeps downloads.")

    def copy_code(self, then: Callable[[bool], object]) -> None:
        """Put `to_code` on the clipboard; `then` is called with whether the browser allowed it."""
        self._page.copy(self.to_code(), then)

    # --- how it comes into a notebook, and is taken away again

    def __repr__(self) -> str:
        said = "closed" if self._closed else f"{self.layer}, {self.mode}"
        return f"<{type(self).__name__}: {said}>"

    def _still_picture(self) -> bytes:
        self._canvas.remember(png := self._picture("png"))
        return png

    def close(self) -> None:
        """Take it off the page and free its widgets and figure; closing twice does no harm.

        Its activations are freed with the last variable that holds it or them.
        """
        with self._changing():
            if self._closed:
                return
            panels = [] if self._switcher is None else self._switcher.made()
            self._attributing.cancel()
            try:
                self._close_with(self._canvas, self._page, *panels)
            finally:
                self._open.discard(self)
                if self._canvas is not None:
                    self._canvas.manager = None
                if self._view is not None:
                    self._view.close()

    @classmethod
    def close_all(cls) -> None:
        """Close every explorer and comparison of this kernel, on whichever page it is shown.

        Other widgets stay, unlike with ipywidgets' own ``close_all``. One that is not closed keeps
        its activations, 65 MB at 224×224, even if no variable holds it any more.
        """
        with cls._lock, ExitStack() as stack:
            for one in list(cls._open):
                stack.callback(one.close)

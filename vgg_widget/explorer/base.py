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
"""Traits that control the layer names, the figure's colours and the open panel."""

MADE_WITH = ("extractor", "model", "preprocess", "weights", "network", "size")
"""Constructor arguments that cannot be changed later."""

# More steps than a person would want to go back.
_STEPS_BACK = 100


class ExplorerBase(ExplorerBox):
    """A figure with controls.

    A subclass computes (`_compute`, `_combine`), renders (`_render`), splits either by image
    (`_each_of`), and provides figure, inputs and texts (`_new_view`, `_inputs`, `_caption`,
    `unit_words`, `pixel_words`). Its constructor passes the images, the arguments of
    `network_for`, settings and keyword arguments; a missing channel is chosen automatically.
    """

    vars().update(setting_traits())
    layer_names = Enum(
        LAYER_NAMES,
        "keras",
        help="Naming scheme for the layers: keras, torchvision, both of them, paper.",
    )
    theme = Enum(
        THEME_NAMES, "auto", help="Colours of the figure: light, dark, or auto to match the page."
    )
    panel = Unicode(help="Title of the open panel; '' if all are closed.")

    remembered_panel = ""
    """The panel that the user opened last; the next explorer opens with it."""

    # Set by each subclass: the traits that hold its activations and its rendering, the size of
    # its figure, its description for screen readers, and its text while computing.
    _computed_trait: ClassVar[str]
    _rendered_trait: ClassVar[str]
    _inches, _widest = FIGURE_INCHES, WIDEST
    pictured = "this picture"
    """What the figure shows, as named in the list of scales."""
    _description: ClassVar[str]
    _busy_words: ClassVar[str]
    # The trait that an upload control sets; "" for no upload control.
    _upload = ""
    _saves_activations = False
    _offered_panels: Mapping[str, PanelMaker] = PANELS
    # Arguments that cannot be changed later.
    _made_with: tuple[str, ...] = MADE_WITH

    _settable = frozenset((*SETTINGS, *LOOKS))

    # Defaults until the constructor has run.
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
            readings, computed = self._read_and_compute(images)
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
            # A half-built explorer would stay in the widget registry forever.
            self.close()
            raise

    def _first_settings(self, given: dict[str, Any]) -> DisplaySettings:
        """Set the given traits, and return the settings that result."""
        if given["layer"] is None:
            given["layer"] = first_layer(self.measured)
        if (channel := given.pop("channel")) is not None:
            given["channel"] = channel
        self.choose(**given)
        if channel is None:
            one = len(self.channels) == 1 and find_mode(self.mode).takes == "one"
            shown = self._requested().layer_in(self.measured)
            found = self.channels if one else telling_channels(self.measured, shown, 1).tolist()
            self.channel = found[0]
        self._usual_cmap: str = self.cmap
        return self._requested().fitted_first(self.measured, given.get("before_relu"))

    # --- current state

    @property
    def settings(self) -> DisplaySettings:
        """The settings of the current rendering."""
        assert self._snapshot is not None
        return self._snapshot.settings

    @property
    def measured(self) -> Activations:
        """The activations that the settings must fit: those of the first or only image."""
        return self.each_measured[0]

    @property
    def each_measured(self) -> tuple[Activations, ...]:
        """The activations of each image."""
        each: tuple[Activations, ...] = self._each_of(getattr(self, self._computed_trait))
        return each

    @property
    def main_rendering(self) -> Rendering:
        """The current rendering; with two images, that of the first."""
        rendering: Rendering = self._each_of(getattr(self, self._rendered_trait))[0]
        return rendering

    @property
    def _readings(self) -> tuple[ImageReading, ...]:
        assert self._snapshot is not None
        return self._snapshot.readings

    @property
    def extractor(self) -> FeatureExtractor:
        """The network that computes the feature maps; raises ValueError if there is none."""
        return needed(self._extractor)

    @property
    def figure(self) -> Figure:
        """The displayed matplotlib figure."""
        figure: Figure = self._view.figure
        return figure

    @property
    def attributing(self) -> Attributing:
        """The object that computes `attribution`."""
        return self._attributing

    @property
    def canvas(self) -> Any:
        """The ipympl canvas that shows the figure."""
        return self._canvas

    # --- the parts

    def _available_panels(self) -> dict[str, PanelMaker]:
        """Return the function that builds each panel, keyed by its title."""
        return dict(self._offered_panels)

    def _build(self) -> None:
        """Build controls, figure and canvas, after their content has been checked."""
        # Importing matplotlib's figures takes longer than all other imports here.
        from vgg_widget.explorer.helper import ROOT_CLASS, PageHelper
        from vgg_widget.figure.canvas import live_canvas
        from vgg_widget.figure.gestures import Gestures
        from vgg_widget.figure.linked_figure import new_figure

        # The parts hold weak references, so that the explorer is freed with its last variable.
        explorer: Any = proxy(self)
        self._canvas = live_canvas(new_figure(self._inches), self._lock)
        self._canvas.guard = lambda act: explorer.reporting_errors(act, clear=False)()
        self._view = self._new_view(self._canvas.figure)
        self._controls = Controls(explorer, upload=self._upload, max_width=self.layout.max_width)
        self._problem = self._controls.problem
        self._switcher = PanelSwitcher(explorer, self._panels)
        self._pointing = MouseAndKeys(explorer, self._view)
        # matplotlib holds its callbacks by weak references.
        self._gestures = Gestures(self._view, self._pointing.point, self._pointing.click)
        # The description comes first, because the caption changes with every step.
        self._page = PageHelper(
            self.reporting_errors(self._pointing.press),
            keys=KEYS,
            description=self._description,
            canvas=self._canvas,
            controls=self._controls.on_page(),
            report=partial(self.reporting_errors, clear=False),
        )
        # A bound method would keep the explorer alive.
        follow = self.reporting_errors(lambda _: ExplorerBase._fit_page(explorer), clear=False)
        self._page.observe(follow, ["theme", "background", "room"])
        self._full_width = full_width(self.layout.max_width, self._widest)
        self._fit_page()
        # On a page narrower than the figure, only the figure scrolls, not the controls.
        scrolling = widgets.Layout(overflow="auto", max_width="100%")
        stage = widgets.Box([self._canvas], layout=scrolling)
        self.add_class(ROOT_CLASS)
        self.children = (*self._controls.around(stage), self._switcher.widget, self._page)
        self._built = True

    def _fit_page(self) -> None:
        """Give the figure the page's colours, and fit its width to the page."""
        page = self._page
        theme = theme_on(page.theme, page.background, self.theme)
        width = fitting_width(page.room, self._view.width, self._full_width)
        with self._changing():
            self._view.theme = theme
            self._canvas.show_toolbar(shown=has_toolbar(page.room))
            if width != self._view.width:
                self._view.width = width

    # --- from traits to the figure

    def __setattr__(self, name: str, value: object) -> None:
        # Names with an underscore belong to ipywidgets or to us. traitlets replaces
        # notify_change while it holds notifications.
        if not name.startswith("_") and name != "notify_change":
            check_assignable(self, name, value, self._made_with, (self._noun, self._advice))
        super().__setattr__(name, value)

    @validate(*SETTINGS)
    def _valid_setting(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        # A link may set the location before the layer that it belongs to.
        if name != "location" or not self._is_following:
            as_trait_error(check_setting, name, value, self._requested(), self.measured)
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
        """Set several traits with a single redraw, then properties such as the image."""
        with self._holding():
            for name in filter(self.has_trait, changes):
                setattr(self, name, changes[name])
        # A failing observer restores the previous image, but not while notifications are held.
        for name, value in changes.items():
            if not self.has_trait(name):
                setattr(self, name, value)

    def choose_with(self, control: widgets.Widget, name: str) -> None:
        """Make a control set the trait called `name`."""
        explorer: Any = proxy(self)
        self.on_change(control, lambda value: explorer.choose(**{name: value}))

    def _requested(self) -> DisplaySettings:
        """Return the settings that the traits ask for."""
        return DisplaySettings(**{name: getattr(self, name) for name in SETTINGS})

    @observe(*SETTINGS)
    def _settings_changed(self, _: object = None) -> None:
        with self._changing():
            if self._defer_to_leader():
                return
            # Several traits set together need one redraw. An observer of the rendering may change
            # a trait again, which calls this method again.
            while self._snapshot and not self._closed and self._requested() != self.settings:
                self._update()

    def _apply_deferred(self) -> None:
        if self._snapshot is None or self._closed:
            return
        with self._changing():
            before, requested = self.settings, self._requested()
            if before.layer == requested.layer and before.location != requested.location:
                try:
                    check_location(requested.location, requested, self.measured)
                except TraitError:
                    self.location = before.location
                    raise
            self._settings_changed()

    def _update(self) -> None:
        """Show what the traits ask for; on failure, restore the traits and raise."""
        try:
            self._show(self._requested().fitted_to(self.measured, self.settings, self._usual_cmap))
        except BaseException:
            # Whether drawn or not, the traits must describe the displayed picture.
            if self._requested() != self.settings:
                self._set_traits(self.settings)
                self._refresh_controls()
            raise

    def _show(self, settings: DisplaySettings) -> None:
        """Render and publish; an unchanged picture is not rendered again."""
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
        """Make a snapshot current: in the traits, on the figure and around it."""
        before, self._snapshot = self._snapshot, snapshot
        if not snapshot.settings.shows_before_relu(self._each_of(snapshot.computed)[0]):
            self._usual_cmap = snapshot.settings.cmap
        if snapshot.settings.attribution or (before and before.settings.attribution):
            self._attributing.follow(snapshot.settings, self._each_of(snapshot.computed))
        # Observers of the rendering or the traits find the figure drawn, and can save it.
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
        # If only the channel or the mode changes, the mouse is still over the same unit.
        if under != self._under_mouse:
            self._under_mouse = under
            self._pointing.forget()
        # The figure comes before the texts: what is sent first arrives first.
        rendered = getattr(self, self._rendered_trait)
        placement = self.measured.info(layer).placement
        self._view.show(rendered, self._inputs, placement, marks=self._pointing.marks())

    def _show_around(self) -> None:
        """Update the texts, the controls and the open panel to the current settings."""
        self._rejected_fields = ()
        message = self.measured.weights.message
        self._controls.say(self._caption(), f"weights: {self._source()}", message)
        self._controls.show(self.settings, self.measured, self.layer_names)
        self.show_status(self._pointing.words())
        self.show_error(None)
        if self._switcher.opened:
            self._switcher.show()

    def _refresh_controls(self) -> None:
        """Reset the controls to the current settings."""
        if self._snapshot is not None:
            self._controls.show(self.settings, self.measured, self.layer_names)
            self._unfold()

    def _look_at(self, *images: object) -> None:
        """Show other images, or images already read; on failure, keep the current ones."""
        with self._lock:
            self._require_open()
            before = self._snapshot
            try:
                with self._changing():
                    found = self._snapshot_of(images)
                    self._require_open()
                    self._publish(found)
            except Exception:
                # An observer or a follower failed: restore the previous snapshot.
                if before and self._snapshot is not before and not self._closed:
                    self._publish(before)
                raise

    def _snapshot_of(self, images: tuple[object, ...]) -> Snapshot:
        with self._controls.busy(self._busy_words), interrupts_allowed():
            readings, computed = self._read_and_compute(images)
            # A location in a large image may not exist in a small one.
            measured = self._each_of(computed)[0]
            settings = self._requested().fitted_to(measured, self.settings, self._usual_cmap)
            self._attributing.prepare(settings, self._each_of(computed), strict=False)
            return Snapshot(readings, computed, self._render(settings, computed), settings)

    def _read_and_compute(self, images: Any) -> tuple[tuple[ImageReading, ...], Any]:
        """Return the images as read, and their activations, computed if necessary."""
        read, known = readings_of(images, self._extractor), are_computed(images)
        return read, self._combine(*images) if known else self._compute(read)

    def _recover_from_interrupt(self) -> None:
        if self._snapshot is None or self._closed:
            return
        self._switcher.pause()
        self._rejected_fields = ()
        # A panel that could not be built stays closed.
        opened = self._switcher.opened
        self.panel = opened if opened in self._panel_titles() else ""
        self._set_traits(self.settings)
        self._fit_page()
        self._refresh_controls()
        # A mark or a zoom may be only partly drawn.
        self._canvas.draw()
        self._report_interrupt(f"layer {self.layer} in mode {self.mode}")

    # --- around the figure

    @observe(*LOOKS)
    def _appearance_changed(self, _: dict[str, Any]) -> None:
        with self._changing():
            if self._snapshot is not None and not self._closed:
                self._rejected_fields = ()
                self.show_error(None)
                self._fit_page()
                self._refresh_controls()

    def _panel_titles(self) -> tuple[str, ...]:
        return tuple(self._panels)

    def _first_panel(self) -> str:
        """Return the title of the panel to open at first, if the user chose none."""
        return self.remembered_panel if self.remembered_panel in self._panel_titles() else ""

    def _unfold(self) -> None:
        self._switcher.unfold(self.panel, self._panel_titles())

    def show_attribution(self) -> None:
        """Show the attribution computed so far, over the input and in its panel."""
        if self._snapshot is not None and not self._closed:
            self._pointing.refresh()
            if self._switcher.opened == WHY_PANEL:
                self._switcher.show()

    def show_status(self, words: str) -> None:
        """Show a text in the line below the caption, such as the value under the mouse."""
        self._controls.show_status(words)

    def play(self) -> None:
        """Open the Play panel, if there is one, and start or stop it."""
        if "Play" in self._panel_titles():
            if self.panel != "Play":
                self.open_panel("Play")
            self._switcher.play()

    def open_panel(self, title: str) -> None:
        """Open a panel for the user, and remember it for the next explorer."""
        type(self).remembered_panel = title
        if title == self.panel:
            # Building it failed the last time.
            self._unfold()
        self.panel = title
        self._switcher.welcome()

    # --- jumps

    def open_channel(self, channel: int, layer: str | None = None) -> None:
        """Show one channel of this layer or of another one; `back` returns.

        Parameters
        ----------
        channel : int
            Its index.
        layer : str, optional
            A Keras or torchvision name; by default the current layer.

        Raises
        ------
        TraitError
            If the layer or the channel does not exist.
        """
        with self._changing():
            before = self._requested()
            # Observers of the channel can already go back.
            self._history.append(before)
            try:
                named = self.layer
                if layer is not None:
                    named = as_trait_error(before.name_of, layer, self.measured)
                self.choose(layer=named, channel=channel, mode=DEFAULT_MODE)
            finally:
                if self._requested() == before:
                    self._forget(before)
                del self._history[:-_STEPS_BACK]

    def back(self) -> None:
        """Undo the last `open_channel`; does nothing if there was none."""
        with self._changing():
            self._require_open()
            if not self._history:
                return
            last = self._history[-1]
            self._show(self._requested().returned_to(last, self.measured))
            self._forget(last)

    def _forget(self, step: DisplaySettings) -> None:
        # An observer may have gone back or reset already: the step may no longer be the last.
        self._history = [one for one in self._history if one is not step]

    @property
    def can_go_back(self) -> bool:
        """Whether `back` has a step to undo."""
        return bool(self._history)

    def reset(self) -> None:
        """Restore the first settings and the full view, for the current image."""
        with self._changing():
            self._require_open()
            self._attributing.randomised = None
            self._show(self._first.placed(None, self.measured))
            self._history.clear()
            if not self._closed:
                self._view.home()

    # --- export

    def to_code(self) -> str:
        """Return Python code that makes the same plot, or plots, without a widget.

        The code names an image by its path, and an uploaded image by its file name. For an image
        that was made in memory the code has ``...``, and a comment says what to put there.

        Raises
        ------
        ValueError
            If the network is a model or state dict of your own, which code cannot name.
        """
        return script(self._readings, self.measured, self._extractor, self._requested())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture (``.png``, ``.svg``, ``.pdf``) or the activations (``.npz``).

        Parameters
        ----------
        path : str or Path
            Replaced atomically. A comparison saves pictures only.

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
        """Return the picture as the content of a file.

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
                    f"{self._noun} is waiting for a linked one to report all its changes, and what "
                    "was set here is not drawn yet: save it later, or when its rendering changes."
                )
            return self._picture(suffix[1:])

    def _picture(self, kind: str) -> bytes:
        with io.BytesIO() as stream:
            self._view.save(stream, kind, self._source())
            return stream.getvalue()

    def file_name(self, suffix: str) -> str:
        """Return a file name for the current picture, such as ``block3_conv1-max.png``.

        The name for activations (``.npz``) comes from the image: ``cat-activations.npz``.
        """
        if suffix == ".npz" and self._saves_activations:
            return name_of_arrays(self._readings[0])
        return f"{name_of_picture(self._requested())}{suffix}"

    def _source(self) -> str:
        """Return which weights and which data the picture's numbers come from."""
        return source_line(self.measured, self.main_rendering)

    def download(self, suffix: str) -> None:
        """Send the current picture to the browser as a download."""
        self._page.download(name := self.file_name(suffix), self.to_bytes(suffix))
        self.show_status(f"{name} is in your browser's downloads folder.")

    def copy_code(self, then: Callable[[bool], object]) -> None:
        """Copy `to_code` to the clipboard; `then` gets whether the browser allowed it."""
        self._page.copy(self.to_code(), then)

    # --- display and closing

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.layer}, {self.mode}"
        return f"<{type(self).__name__}: {state}>"

    def _static_png(self) -> bytes:
        self._canvas.remember(png := self._picture("png"))
        return png

    def close(self) -> None:
        """Remove it from the page and free its widgets and figure; closing twice does no harm.

        The activations are freed with the last variable that holds them or the explorer.
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
        """Close every explorer and comparison of this kernel, on all pages.

        Other widgets stay, unlike with ipywidgets' own ``close_all``. An explorer that is not
        closed keeps its activations, 65 MB at 224×224, even if no variable refers to it any more.
        """
        with cls._lock, ExitStack() as stack:
            for one in list(cls._open):
                stack.callback(one.close)

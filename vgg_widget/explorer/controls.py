"""The explorer's controls: they report a name and a value, and display the settings."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

import ipywidgets as widgets

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer import parts
from vgg_widget.explorer.settings import DisplaySettings, is_before_relu
from vgg_widget.layers import LayerInfo
from vgg_widget.pictures.colormaps import grouped_cmaps
from vgg_widget.pictures.modes import MODES, Mode, find_mode
from vgg_widget.pictures.rendering import ORDERS, STRONGEST, typed_channels

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase

# The modes that have a button, and its label.
_BUTTONS = {"channel": "One channel", "grid": "All", "max": "Strongest", "rgb": "Mix"}
_TIPS = (
    "each channel by itself",
    "all channels side by side",
    "the largest value over the channels, at each location",
    "three channels as red, green and blue",
)
_NO_MODE = ("more …", "")
_HINT = "Point at a picture to read its values; click to keep a location."
_TILE_HINT = "Point at a picture to read its values; click on a tile to open its channel."

LAYER_NAMES = ("keras", "torchvision", "both", "paper")
"""Naming schemes for the list of layers; "both" lists Keras's and torchvision's names."""


def layer_options(activations: Activations, names: str = "keras") -> list[tuple[str, str]]:
    """Return (label, name) for each layer, with shapes and a bracket around each block.

    `names` is one of `LAYER_NAMES`. torchvision and the papers also name maps before a ReLU.
    """
    rows = [
        (info, *row) for info in activations.layers for row in _names_of(activations, info, names)
    ]
    layers = [info for info, _, _ in rows]
    options = []
    for index, (info, label, name) in enumerate(rows):
        height, width, channels = activations.shape(info.name)
        shape = f"{height} × {width} × {channels}"
        options.append((f"{_bracket(layers, index)} {label} · {shape}", name))
    return options


def _names_of(activations: Activations, info: LayerInfo, names: str) -> list[tuple[str, str]]:
    if names != "both":
        return [(name, name) for name in activations.names_in(names, info.name)]
    *before, after = activations.torch_names(info.name)
    # In this order, since a closed dropdown shows only the beginning of a label.
    rows = [(f"{name} before ReLU · {info.name}", name) for name in before]
    return [*rows, (f"{after} · {info.name}", info.name)]


def _bracket(layers: Sequence[LayerInfo], index: int) -> str:
    block = layers[index].block
    first = index == 0 or layers[index - 1].block != block
    last = index == len(layers) - 1 or layers[index + 1].block != block
    return {(True, True): "╶", (True, False): "┌", (False, True): "└"}.get((first, last), "├")


def cmap_options() -> list[tuple[str, str]]:
    """Return (label, name) for each colormap; a group's heading has the name ""."""
    options = []
    for group, names in grouped_cmaps().items():
        if names:
            options += [(f"— {group}", ""), *((name, name) for name in names)]
    return options


def parse_channels(text: str) -> tuple[int, ...] | str:
    """Parse channel numbers as a user types them, ``"0, 5-8 12"``, or the word ``"strongest"``.

    Raises
    ------
    ValueError
        If a part is neither a number nor a range.
    """
    if text.strip().lower() == STRONGEST:
        return STRONGEST
    return typed_channels("channels", text, f", {STRONGEST}, or nothing for the default")


class Controls:
    """The rows of controls and the texts of an explorer.

    `upload` is the attribute to set when the user uploads an image; "" for no upload button.
    `max_width`, in CSS, replaces the default width, that of the figure with its toolbar.
    """

    def __init__(
        self, explorer: ExplorerBase, upload: str = "image", max_width: str | None = None
    ) -> None:
        # Importing the page's own widgets takes a moment.
        from vgg_widget.explorer.overview import Filmstrip, NetworkStrip

        self._explorer = explorer
        self.network, self.filmstrip = NetworkStrip(explorer), Filmstrip(explorer)
        self._listed: dict[str, str] = {}
        self._listed_of: Callable[[], Activations | None] = lambda: None
        self._listed_by = ""
        self._hint = _HINT
        width = max_width or parts.WIDTH
        self.layer = parts.dropdown("layer", [], "2px 10px 2px 0")
        self.mode = widgets.ToggleButtons(
            options=[(words, mode) for mode, words in _BUTTONS.items()],
            tooltips=[*_TIPS],
            layout=widgets.Layout(width="max-content", margin="2px 6px 2px 0"),
            style={"button_width": "auto"},
        )
        self.more = parts.dropdown("", [_NO_MODE], "2px 10px 2px 0", tooltip="more")
        self.cmap = parts.dropdown("colors", cmap_options(), "2px 10px 2px 0")
        # The values that determine the display range, by the scale's name.
        ranges = [
            (explorer.pictured, "auto"),
            (f"{explorer.pictured}, to the max", "channel"),
            ("the layer", "layer"),
            ("the network", "network"),
        ]
        self.scale = parts.dropdown("range", ranges, "2px 10px 2px 0")
        self.order = parts.dropdown("order", ORDERS, "2px 10px 2px 0")
        self.hide_dead = parts.checkbox("hide dead")
        self.slider, self.box = parts.channel_controls("1 1 260px", "560px")
        self.box.add_class("vgg-number")
        self.channels = widgets.Text(
            description="channels",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 260px", max_width="640px", margin="2px 10px 2px 0"),
            style=parts.FITTING,
        )
        self.caption = parts.words("vgg-caption", max_width=width, margin="6px 0 0 0")
        self.source = parts.words("vgg-source", max_width=width)
        self.place = parts.words("vgg-place", max_width=width, min_height="20px")
        self.notice = parts.words("vgg-notice", max_width=width)
        self.problem = parts.words("vgg-problem", max_width=width)
        # An error replaces this line, so that the page does not move.
        place = self.place
        instead = explorer.reporting_errors(
            lambda change: parts.display(place, shown=change["new"] == "none"), clear=False
        )
        self.problem.layout.observe(instead, "display")
        uploads = [upload_button(explorer, "other picture", upload)] if upload else []
        self.rows = [
            parts.wide_row([self.layer, *uploads], width),
            parts.wide_row([self.mode, self.more, self.cmap, self.scale], width),
            parts.wide_row(
                [self.slider, self.box, self.channels, self.order, self.hide_dead], width
            ),
        ]
        for name in ("order", "hide_dead"):
            explorer.choose_with(getattr(self, name), name)
        for control in (self.mode, self.more):
            explorer.on_change(control, self._mode_chosen)
        explorer.on_change(self.scale, lambda scale: explorer.choose(**_with_own_defaults(scale)))
        explorer.on_change(self.cmap, self._cmap_chosen)
        explorer.choose_with(self.slider, "channel")
        explorer.on_typed(lambda number: explorer.choose(channel=number), self.box)
        explorer.on_change(self.layer, lambda layer: explorer.choose(**self._chosen_by(layer)))
        explorer.on_typed(
            lambda text: explorer.choose(channels=parse_channels(text)), self.channels
        )

    def _cmap_chosen(self, cmap: str) -> None:
        # A heading is not a colormap.
        self._explorer.choose(cmap=cmap or self._explorer.cmap)
        parts.set_value(self.cmap, self._explorer.cmap)

    def _mode_chosen(self, mode: str | None) -> None:
        # A mode in the list leaves no button pressed; a mode with a button, nothing selected.
        if mode:
            self._explorer.choose(mode=mode)
        self._show_mode(self._explorer.mode)

    def _show_mode(self, mode: str) -> None:
        # New modes may have been registered.
        others = [name for name in (*MODES, mode) if name not in _BUTTONS]
        options = (_NO_MODE, *((name, name) for name in dict.fromkeys(others)))
        parts.set_value(self.mode, mode if mode in _BUTTONS else None)
        with self.more.hold_sync():
            parts.set_value(self.more, options, "options")
            parts.set_value(self.more, "" if mode in _BUTTONS else mode)

    def _chosen_by(self, layer: str) -> dict[str, Any]:
        explorer, chosen = self._explorer, dict[str, Any](layer=layer)
        # Keras's names do not imply a side of the ReLU.
        if explorer.layer_names != "keras":
            chosen["before_relu"] = is_before_relu(layer, explorer.measured)
        return chosen

    def around(self, stage: widgets.Widget) -> tuple[widgets.Widget, ...]:
        """Return all rows and texts in order, with the figure's stage among them."""
        return (
            self.notice,
            self.network.widget,
            *self.rows[:-1],
            stage,
            self.problem,
            self.place,
            self.rows[-1],
            self.filmstrip.widget,
            self.caption,
            self.source,
        )

    def on_page(self) -> dict[str, widgets.Widget]:
        """Return the controls that the page can update before the kernel does."""
        names = ("layer", "mode", "more", "scale", "slider", "box", "caption", "source")
        controls: dict[str, widgets.Widget] = {name: getattr(self, name) for name in names}
        return controls | {"network": self.network.widget, "filmstrip": self.filmstrip.strip}

    def page_values(self) -> dict[str, Any]:
        """Return the values of those controls that the page updates while painting."""
        names = ("caption", "source", "box")
        values: dict[str, Any] = {name: getattr(self, name).value for name in names}
        strips = {"network": self.network.widget.value, "filmstrip": self.filmstrip.strip.value}
        return values | strips | {"layer": self.layer.index}

    def choices(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the name of a list, one of its lines, and the settings that the line chooses."""
        for words, layer in self.layer.options:
            yield "layer", words, self._chosen_by(layer)
        for name in ("mode", "more"):
            for words, mode in getattr(self, name).options:
                if mode:
                    yield name, words, {"mode": mode}
        for words, scale in self.scale.options:
            yield "scale", words, _with_own_defaults(scale)

    def show(self, settings: DisplaySettings, activations: Activations, names: str) -> None:
        """Update every control to the settings; `names` is one of `LAYER_NAMES`."""
        mode = find_mode(settings.mode)
        self._hint = _TILE_HINT if mode.tiled else _HINT
        count = activations.info(settings.layer).channels
        with self._explorer.showing_controls():
            self.network.show(settings, activations)
            self.filmstrip.show(settings, activations)
            self._show_layer(settings, activations, names)
            self._show_mode(settings.mode)
            parts.set_value(self.scale, settings.scale)
            # The current colormap may not be in the list.
            parts.set_choice(self.cmap, cmap_options(), settings.cmap)
            some = settings.location is not None
            orders = [one for one in ORDERS if some or one != "location"]
            parts.set_choice(self.order, orders, settings.order)
            parts.set_value(self.hide_dead, settings.hide_dead)
            parts.set_number(self.slider, settings.channel, count)
            self._explorer.show_typed(self.box, settings.channel)
            chosen = settings.channels
            words = chosen if isinstance(chosen, str) else ", ".join(map(str, chosen))
            self._explorer.show_typed(self.channels, words)
        parts.set_value(self.channels, self._default_words(mode), "placeholder")
        for control, shown in (
            (self.slider, mode.takes == "one"),
            (self.box, mode.takes == "one"),
            (self.channels, mode.takes != "one"),
            (self.order, mode.tiled),
            (self.hide_dead, mode.tiled),
        ):
            parts.display(control, shown=shown)
        parts.set_value(self.cmap, not mode.uses_cmap, "disabled")
        parts.set_value(self.scale, not mode.uses_scale, "disabled")

    def _show_layer(self, settings: DisplaySettings, activations: Activations, names: str) -> None:
        # The list depends on the image and the naming scheme; a channel step changes neither.
        if self._listed_of() is not activations or self._listed_by != names:
            self._listed_of, self._listed_by = ref(activations), names
            options = layer_options(activations, names)
            self._listed = {activations.plain_name(name): name for _, name in options}
        else:
            options = self.layer.options
        shown = settings.layer_in(activations)
        # Keras has no name for maps before a ReLU: the convolution's name is shown instead.
        name = self._listed.get(activations.plain_name(shown))
        # In one message; otherwise the page would report the first layer in between.
        with self.layer.hold_sync():
            parts.set_value(self.layer, tuple(options), "options")
            parts.set_value(self.layer, name or self._listed[activations.after_relu(shown)])

    @staticmethod
    def _default_words(mode: Mode) -> str:
        if mode.takes == "all":
            return "all (or type numbers, such as 0, 5-8, 12)"
        few = f"the most telling {mode.count}" if mode.count else "the most telling few"
        return f"{few} (or type numbers, such as 0, 5, 12)"

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        """Show a text and disable the controls meanwhile."""
        before = self.caption.value
        controls = [control for row in self.rows for control in row.children]
        states = [control.disabled for control in controls]
        try:
            self.caption.value = parts.paragraph(words)
            for control in controls:
                control.disabled = True
            yield
        except BaseException:
            self.caption.value = before
            raise
        finally:
            for control, state in zip(controls, states, strict=True):
                control.disabled = state

    def say(self, caption: str, source: str, notice: str) -> None:
        """Show the texts under the picture, and the notice above it if there is one."""
        parts.set_value(self.caption, parts.paragraph(caption))
        parts.set_value(self.source, parts.paragraph(source))
        headline, _, rest = notice.partition(": ")
        summary = f"<b>{html.escape(headline)}</b>"
        if rest:
            summary = (
                f'<details class="vgg-details"><summary>{summary} · details</summary>'
                f"<div>{_prose(rest)}</div></details>"
            )
        parts.set_value(self.notice, summary)
        parts.display(self.notice, shown=bool(notice))

    def show_status(self, words: str) -> None:
        """Describe the unit under the mouse, or at the chosen location."""
        parts.set_value(self.place, parts.paragraph(words or self._hint))


def _with_own_defaults(scale: str) -> dict[str, Any]:
    # Each scale has its own percentile and gamma.
    return {"scale": scale, "percentile": None, "gamma": None}


def _prose(text: str) -> str:
    """Return text as HTML, with code marked up and long addresses shortened."""
    words = re.sub(r"(https?://[^/\s]+/)\S{30,}/([^/\s:,;)]+)", r"\1…/\2", text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words))


def upload_button(explorer: ExplorerBase, words: str, name: str) -> widgets.FileUpload:
    """Return a button that sets an attribute to an image from the user's computer."""
    button = widgets.FileUpload(
        accept="image/*",
        multiple=False,
        description=words,
        # ipywidgets adds the number of files to the description, so the page shows the tooltip.
        tooltip=words,
        layout=widgets.Layout(width="auto"),
    ).add_class("vgg-upload")

    def uploaded(files: Any) -> None:
        if files:
            file = {"name": files[0]["name"], "content": bytes(files[0]["content"])}
            # Emptied, so that the same file can be chosen again and is kept only once.
            button.value = ()
            explorer.choose(**{name: file})

    explorer.on_change(button, uploaded)
    return button

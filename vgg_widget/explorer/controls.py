"""The explorer's controls: what they tell (a name and a value) and what they are told."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

import ipywidgets as widgets
import matplotlib as mpl

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.settings import DisplaySettings, is_before_relu
from vgg_widget.figure.sizes import DPI, FIGURE_INCHES
from vgg_widget.layers import LayerInfo
from vgg_widget.pictures.colormaps import SHORT_CMAPS
from vgg_widget.pictures.modes import MODES, Mode, find_mode
from vgg_widget.pictures.rendering import ORDERS

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase

# jet invents edges where the data has none; it is accepted by name but not offered.
_NOT_OFFERED = {"jet", "jet_r"}


LAYER_NAMES = ("keras", "torchvision", "both", "paper")
"""Whose names layers can be listed by; both are Keras's and torchvision's."""


def layer_options(activations: Activations, names: str = "keras") -> list[tuple[str, str]]:
    """Return (label, name) for each layer, drawn as one bracket a block, with shapes.

    Parameters
    ----------
    activations : Activations
        Whose layers.
    names : str
        One of `LAYER_NAMES`; torchvision and the papers also name what is before a ReLU.
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
    # In this order, since a closed dropdown shows how a label begins.
    rows = [(f"{name} before ReLU · {info.name}", name) for name in before]
    return [*rows, (f"{after} · {info.name}", info.name)]


def _bracket(layers: Sequence[LayerInfo], index: int) -> str:
    block = layers[index].block
    first = index == 0 or layers[index - 1].block != block
    last = index == len(layers) - 1 or layers[index + 1].block != block
    return {(True, True): "╶", (True, False): "┌", (False, True): "└"}.get((first, last), "├")


def cmap_options() -> list[str]:
    """Return the short list, then every other name that matplotlib knows, but for jet."""
    others = sorted(set(mpl.colormaps) - set(SHORT_CMAPS) - _NOT_OFFERED, key=str.lower)
    return [*SHORT_CMAPS, *others]


def parse_channels(text: str) -> tuple[int, ...]:
    """Read channel numbers as a person types them: ``"0, 5-8 12"``.

    Raises
    ------
    ValueError
        If something is no number or range.
    """
    numbers: list[int] = []
    for word in re.split(r"[,;\s]+", re.sub(r"\s*([-–])\s*", r"\1", text.strip())):
        if not word:
            continue
        match = re.fullmatch(r"(\d{1,6})(?:[-–](\d{1,6}))?", word)
        if match is None:
            raise ValueError(
                f"channels {word!r} is no number or range: write for instance 0, 5-8, 12, or "
                "nothing for the default."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"channels {word!r} runs backwards: write {last}-{first}.")
        numbers.extend(range(first, last + 1) if last - first < 10_000 else (first, last))
    return tuple(dict.fromkeys(numbers))


class Controls:
    """The row of controls and the texts of an explorer.

    Parameters
    ----------
    explorer : ExplorerBase
        Gets what a person chose.
    upload : str
        The trait that is set to a picture that a person uploads; "" for no such button here.
    max_width : str, optional
        In CSS; by default as wide as the figure and its toolbar usually are.
    """

    def __init__(
        self, explorer: ExplorerBase, upload: str = "image", max_width: str | None = None
    ) -> None:
        self._explorer = explorer
        # What the list of layers was made of; the activations are freed with their explorer.
        self._listed: ref[Activations] | None = None
        self._listed_by = ""
        # What the list of colormaps was made for.
        self._cmaps: tuple[str, int, str] | None = None
        # Whether each layer in the list is before its ReLU; None where the list does not say.
        self._sides: dict[str, bool] | None = None
        wide = {"description_width": "max-content"}

        def dropdown(description: str, options: list[Any]) -> widgets.Dropdown:
            return widgets.Dropdown(
                description=description,
                options=options,
                layout=as_wide_as_its_words("2px 10px 2px 0"),
                style=wide,
            )

        self.layer = dropdown("layer", [])
        self.mode = dropdown("mode", list(MODES))
        self.cmap = dropdown("colormap", cmap_options())
        self.order = dropdown("order", list(ORDERS))
        self.hide_dead = widgets.Checkbox(
            description="hide dead", indent=False, layout=as_wide_as_its_words()
        )
        self.slider = widgets.IntSlider(
            description="channel",
            readout=False,
            layout=widgets.Layout(flex="1 1 260px", max_width="560px", margin="2px 6px 2px 0"),
            style=wide,
        )
        self.box = widgets.BoundedIntText(
            tooltip="channel number", layout=widgets.Layout(width="72px")
        )
        self.channels = widgets.Text(
            description="channels",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 260px", max_width="640px", margin="2px 10px 2px 0"),
            style=wide,
        )
        bare = {"margin": "0"}
        self.caption = widgets.HTML(layout=widgets.Layout(**bare))
        self.source = widgets.HTML(layout=widgets.Layout(**bare))
        self.place = widgets.HTML(layout=widgets.Layout(**bare, min_height="20px"))
        self.notice = widgets.HTML(layout=widgets.Layout(**bare))
        self.problem = widgets.HTML(layout=widgets.Layout(**bare))
        for widget in (self.caption, self.source, self.place, self.notice, self.problem):
            widget.layout.max_width = max_width or _WIDTH
        for name in ("caption", "source", "place", "notice", "problem"):
            getattr(self, name).add_class(f"vgg-{name}")
        row = widgets.Layout(
            flex_flow="row wrap",
            align_items="center",
            width="100%",
            max_width=max_width or _WIDTH,
        )
        uploads = [upload_button(explorer, "other picture", upload)] if upload else []
        for button in uploads:
            button.layout.margin = "2px 0 2px auto"
        self.rows = (
            widgets.HBox([self.layer, self.mode, self.cmap, *uploads], layout=row),
            widgets.HBox(
                [self.slider, self.box, self.channels, self.order, self.hide_dead], layout=row
            ),
        )
        for name, control in (
            ("mode", self.mode),
            ("cmap", self.cmap),
            ("order", self.order),
            ("hide_dead", self.hide_dead),
            ("channel", self.slider),
            ("channel", self.box),
        ):
            explorer.choose_with(control, name)
        explorer.on_change(self.layer, self._layer_chosen)
        explorer.on_change(
            self.channels, lambda text: explorer.choose(channels=parse_channels(text))
        )

    def _layer_chosen(self, layer: str) -> None:
        side = {} if self._sides is None else {"before_relu": self._sides[layer]}
        self._explorer.choose(layer=layer, **side)

    def show(self, settings: DisplaySettings, activations: Activations, names: str) -> None:
        """Bring every control to what the explorer shows.

        Parameters
        ----------
        settings : DisplaySettings
            What is on show.
        activations : Activations
            Whose layers are listed.
        names : str
            By which of `LAYER_NAMES`.
        """
        mode = find_mode(settings.mode)
        count = activations.info(settings.layer).channels
        with self._explorer.showing_controls():
            self._show_layer(settings, activations, names)
            # A mode may be registered since, and a colormap set that is not offered.
            _offer(self.mode, MODES, settings.mode)
            if self._cmaps != (settings.cmap, len(mpl.colormaps), self.cmap.value):
                _offer(self.cmap, cmap_options(), settings.cmap)
                self._cmaps = settings.cmap, len(mpl.colormaps), settings.cmap
            some = settings.location is not None
            _offer(self.order, [one for one in ORDERS if some or one != "location"], settings.order)
            set_value(self.hide_dead, settings.hide_dead)
            for number in (self.slider, self.box):
                set_number(number, settings.channel, count)
            set_value(self.channels, ", ".join(map(str, settings.channels)))
        set_value(self.channels, self._default_words(mode), "placeholder")
        for control, shown in (
            (self.slider, mode.takes == "one"),
            (self.box, mode.takes == "one"),
            (self.channels, mode.takes != "one"),
            (self.order, mode.tiled),
            (self.hide_dead, mode.tiled),
        ):
            display(control, shown=shown)
        set_value(self.cmap, not mode.uses_cmap, "disabled")

    def _show_layer(self, settings: DisplaySettings, activations: Activations, names: str) -> None:
        with self.layer.hold_sync():
            if (
                self._listed is None
                or self._listed() is not activations
                or self._listed_by != names
            ):
                self._listed, self._listed_by = ref(activations), names
                options = layer_options(activations, names)
                self._sides = (
                    None
                    if names == "keras"
                    else {name: is_before_relu(name, activations) for _, name in options}
                )
                self._names = {activations.plain_name(name): name for _, name in options}
                set_value(self.layer, tuple(options), "options")
            shown = settings.layer_in(activations)
            # Keras has no name for what is before a ReLU: the convolution stands for it.
            name = self._names.get(activations.plain_name(shown))
            set_value(self.layer, name or self._names[activations.after_relu(shown)])

    @staticmethod
    def _default_words(mode: Mode) -> str:
        if mode.takes == "all":
            return "all (or type for instance 0, 5-8, 12)"
        few = f"the strongest {mode.count}" if mode.count else "the strongest few"
        return f"{few} (or type for instance 0, 5, 12)"

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        """Say what is going on, and take no orders meanwhile."""
        before = self.caption.value
        controls = [control for row in self.rows for control in row.children]
        states = [control.disabled for control in controls]
        try:
            self.caption.value = paragraph(words)
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
        """Show the words under the picture, and the notice above it where there is one."""
        set_value(self.caption, paragraph(caption))
        set_value(self.source, paragraph(source))
        headline, _, rest = notice.partition(": ")
        words = html.escape(rest)
        fold = f"<summary>why, and what to do</summary><div>{words}</div>" if rest else ""
        details = f'<details class="vgg-details">{fold}</details>' if fold else ""
        set_value(self.notice, f"<b>{html.escape(headline)}</b>{details}")
        display(self.notice, shown=bool(notice))

    def show_status(self, words: str) -> None:
        """Say what is under the mouse, or at the chosen location."""
        set_value(self.place, paragraph(words or _HINT))


# As wide as the figure and its toolbar usually are.
_WIDTH = f"{int(FIGURE_INCHES[0] * DPI) + 44}px"
_HINT = "Point at a picture to read its values; click to keep a location."


def upload_button(explorer: ExplorerBase, words: str, name: str) -> widgets.FileUpload:
    """Return a button that sets an attribute to a picture from the person's computer."""
    button = widgets.FileUpload(
        accept="image/*", multiple=False, description=words, layout=widgets.Layout(width="auto")
    )

    def uploaded(files: Any) -> None:
        if files:
            content = bytes(files[0]["content"])
            # Emptied, so that the same file can be chosen again, and is kept once only.
            button.value = ()
            explorer.choose(**{name: content})

    explorer.on_change(button, uploaded)
    return button


def as_wide_as_its_words(margin: str | None = None) -> widgets.Layout:
    """Return the layout of a dropdown or checkbox that shows its longest words in any font.

    Where the page is narrower than that, it is as wide as the page.

    Parameters
    ----------
    margin : str, optional
        In CSS; by default that of every control.
    """
    return widgets.Layout(width="max-content", min_width="0", margin=margin)


def set_number(control: widgets.IntSlider | widgets.BoundedIntText, value: int, count: int) -> None:
    """Set a control to one of the numbers from 0 to `count` - 1, and its maximum to the last."""
    # At no time is the value above the maximum, here or on the page: it would be cut off, and a
    # page sends what it cuts off back, as if a person had chosen it. `hold_sync` would not do: it
    # sends both in an order that differs from run to run, and the page takes one after the other.
    if count > control.max:
        set_value(control, count - 1, "max")
    set_value(control, value)
    set_value(control, count - 1, "max")


def set_value(control: widgets.Widget, value: object, name: str = "value") -> None:
    """Set a widget's trait, unless it is that already."""
    if getattr(control, name) != value:
        setattr(control, name, value)


def _offer(control: widgets.Dropdown, options: Iterable[str], value: str) -> None:
    """Choose a value in a list, which is brought to these options, and to the value besides."""
    offered = tuple(options)
    offered = offered if value in offered else (*offered, value)
    with control.hold_sync():
        if offered != tuple(control.options):
            control.options = offered
        set_value(control, value)


def display(control: widgets.DOMWidget, *, shown: bool) -> None:
    """Show or hide a widget, which keeps its place."""
    set_value(control.layout, None if shown else "none", "display")


def paragraph(words: str) -> str:
    """Return words as markup that holds no other."""
    # Names of files and layers are a person's own text, never markup.
    return f"<div>{html.escape(words)}</div>"

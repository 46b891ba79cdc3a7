"""The explorer's controls: what they tell (a name and a value) and what they are told."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl

from vgg_widget.activations import Activations
from vgg_widget.frames import DPI, FIGURE_INCHES
from vgg_widget.layers import LayerInfo
from vgg_widget.modes import MODES, Mode
from vgg_widget.rendering import SHORT_CMAPS
from vgg_widget.scaling import SCOPES

# jet invents edges where the data has none; it is accepted by name but not offered.
_NOT_OFFERED = {"jet", "jet_r"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What an explorer shows: the values of its traits, comparable and hashable."""

    layer: str
    channel: int
    channels: tuple[int, ...]
    mode: str
    cmap: str
    scale: str


LAYER_NAMES = ("keras", "torchvision", "both")
"""Whose names layers can be listed by."""


def layer_options(activations: Activations, names: str = "keras") -> list[tuple[str, str]]:
    """Return (label, name) for each layer, drawn as one bracket a block, with shapes.

    Parameters
    ----------
    activations : Activations
        Whose layers.
    names : str
        One of `LAYER_NAMES`; torchvision also has a name for what is before a ReLU.
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
    torch_names = activations.torch_names(info.name)
    if names == "keras" or not torch_names:
        return [(info.name, info.name)]
    if names == "torchvision":
        return [(name, name) for name in torch_names]
    *before, after = torch_names
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
    tell : callable
        Called with a trait's name and the value that a person chose.
    """

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        self._tell = tell
        self._listeners: dict[widgets.Widget, Callable[[dict[str, Any]], None]] = {}
        wide = {"description_width": "max-content"}

        def dropdown(description: str, options: list[Any], width: str) -> widgets.Dropdown:
            return widgets.Dropdown(
                description=description,
                options=options,
                layout=widgets.Layout(width=width, margin="2px 10px 2px 0"),
                style=wide,
            )

        self.layer = dropdown("layer", [], "285px")
        self.mode = dropdown("mode", list(MODES), "150px")
        self.cmap = dropdown("colormap", cmap_options(), "175px")
        self.scale = dropdown("scale", list(SCOPES), "125px")
        self.slider = widgets.IntSlider(
            description="channel",
            readout=False,
            layout=widgets.Layout(flex="1 1 260px", max_width="560px", margin="2px 6px 2px 0"),
            style=wide,
        )
        self.box = widgets.BoundedIntText(layout=widgets.Layout(width="72px"))
        self.channels = widgets.Text(
            description="channels",
            continuous_update=False,
            layout=widgets.Layout(flex="1 1 260px", max_width="640px"),
            style=wide,
        )
        self.upload = widgets.FileUpload(
            accept="image/*",
            multiple=False,
            description="other picture",
            layout=widgets.Layout(width="auto", margin="2px 0 2px auto"),
        )
        self.box.tooltip = "channel number"
        self.caption = widgets.HTML(layout=widgets.Layout(margin="0"))
        self.notice = widgets.HTML(layout=widgets.Layout(margin="0"))
        self.problem = widgets.HTML(layout=widgets.Layout(margin="0"))
        row = widgets.Layout(
            flex_flow="row wrap", align_items="center", width="100%", max_width=_WIDTH
        )
        self.rows = (
            widgets.HBox([self.layer, self.mode, self.cmap, self.scale], layout=row),
            widgets.HBox([self.slider, self.box, self.channels, self.upload], layout=row),
        )
        for name in ("layer", "mode", "cmap", "scale"):
            self._listen(getattr(self, name), name)
        self._listen(self.slider, "channel")
        self._listen(self.box, "channel")
        self._listen(self.channels, "channels")
        self.upload.observe(self._uploaded, "value")

    def _listen(self, control: widgets.Widget, name: str) -> None:
        def told(change: dict[str, Any]) -> None:
            self._tell(name, change["new"])

        self._listeners[control] = told
        control.observe(told, "value")

    def _uploaded(self, change: dict[str, Any]) -> None:
        files = change["new"]
        if files:
            content = bytes(files[0]["content"])
            # Emptied, so that the same file can be chosen again, and is kept once only.
            self.upload.value = ()
            self._tell("image", content)

    def offer(self, activations: Activations, names: str, layer: str) -> None:
        """List the layers of an image by their names, with their shapes; choose one."""
        options = layer_options(activations, names)
        listed = {activations.plain_name(name): name for _, name in options}
        if activations.plain_name(layer) not in listed:
            options.append((f"{layer} before ReLU", layer))
        value = listed.get(activations.plain_name(layer), layer)
        self._offer(self.layer, options, value)

    def _offer(self, control: widgets.Dropdown, options: list[Any], value: str) -> None:
        # A dropdown with new options chooses the first of them by itself, and a layer may be
        # listed by another name than it was asked for by: nobody's wish, so that nobody is told.
        told = self._listeners[control]
        control.unobserve(told, "value")
        try:
            with control.hold_sync():
                if options != list(control.options):
                    control.options = options
                control.value = value
        finally:
            control.observe(told, "value")

    def show(self, choice: Choice, mode: Mode, count: int) -> None:
        """Bring every control to what the explorer shows.

        Parameters
        ----------
        choice : Choice
            The traits' values.
        mode : Mode
            Which controls matter.
        count : int
            Channels of the layer.
        """
        for control, value, known in (
            (self.mode, choice.mode, list(MODES)),
            (self.cmap, choice.cmap, cmap_options()),
        ):
            # A mode may be registered since, and a colormap set that is not offered.
            self._offer(control, known if value in known else [*known, value], value)
        self.scale.value = choice.scale
        for number in (self.slider, self.box):
            # A smaller maximum would fire a value of its own.
            with number.hold_trait_notifications():
                number.max = count - 1
                number.value = choice.channel
        self.channels.value = ", ".join(map(str, choice.channels))
        self.channels.placeholder = self._default_words(mode)
        one = mode.takes == "one"
        self._display(self.slider, shown=one)
        self._display(self.box, shown=one)
        self._display(self.channels, shown=not one)
        self.cmap.disabled = not mode.uses_cmap
        self.scale.disabled = not mode.uses_scale

    @staticmethod
    def _default_words(mode: Mode) -> str:
        if mode.takes == "all":
            return "all (or type for instance 0, 5-8, 12)"
        few = f"the strongest {mode.count}" if mode.count else "the strongest few"
        return f"{few} (or type for instance 0, 5, 12)"

    @staticmethod
    def _display(control: widgets.DOMWidget, *, shown: bool) -> None:
        control.layout.display = None if shown else "none"

    @contextmanager
    def busy(self, words: str) -> Iterator[None]:
        """Say what is going on, and take no orders meanwhile."""
        before = self.caption.value
        controls = (
            self.layer,
            self.mode,
            self.cmap,
            self.scale,
            self.slider,
            self.box,
            self.channels,
            self.upload,
        )
        states = [control.disabled for control in controls]
        self.caption.value = _paragraph(words, "")
        for control in controls:
            control.disabled = True
        try:
            yield
        except BaseException:
            self.caption.value = before
            raise
        finally:
            for control, state in zip(controls, states, strict=True):
                control.disabled = state

    def say(self, caption: str, source: str, notice: str) -> None:
        """Show the words under the picture, and the notice above it where there is one."""
        # In one widget: the page works through each message before it shows the picture.
        small = _paragraph(source, "opacity: 0.7; font-size: 85%")
        self.caption.value = _paragraph(caption, "") + small
        headline, colon, rest = notice.partition(": ")
        banner = f"<b>{html.escape(headline + colon)}</b>{html.escape(rest)}"
        self.notice.value = f'<div style="line-height: 1.45; {_BANNER}">{banner}</div>'
        self._display(self.notice, shown=bool(notice))

    def complain(self, sentence: str) -> None:
        """Show an error in one sentence; an empty one takes it away."""
        self.problem.value = _paragraph(sentence, _ERROR) if sentence else ""
        self._display(self.problem, shown=bool(sentence))


# As wide as the figure and its toolbar.
_WIDTH = f"{int(FIGURE_INCHES[0] * DPI) + 44}px"
_BANNER = (
    "overflow-wrap: anywhere; background: #fff3cd; color: #664d03; "
    "border-left: 4px solid #ffb300; padding: 4px 10px; "
    f"box-sizing: border-box; max-width: {_WIDTH}"
)
_ERROR = (
    "background: #fdecea; color: #8c1d18; border-left: 4px solid #d93025; padding: 4px 10px; "
    f"box-sizing: border-box; max-width: {_WIDTH}"
)


def _paragraph(words: str, style: str) -> str:
    # Names of files and layers are a person's own text, never markup.
    text = html.escape(words)
    return f'<div style="line-height: 1.45; overflow-wrap: anywhere; {style}">{text}</div>'

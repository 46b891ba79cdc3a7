"""Small widgets that the controls and panels are made of, and what sets them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as widgets
from traitlets import Unicode

from vgg_widget.circuit.pictures import small_png
from vgg_widget.figure.sizes import WIDEST
from vgg_widget.images import RGB8

WIDTH = f"{WIDEST}px"
"""As wide as the figure and its toolbar are where there is room."""

CARD_PICTURE = 112
"""The side of a card's picture, in pixels of the page."""

FRAME = "1px solid var(--jp-border-color1, #9e9e9e)"
"""A border for what may be as white as the page."""

# A description is as wide as its words in whatever font.
FITTING = {"description_width": "max-content"}


class DescribedImage(widgets.Image):  # type: ignore[misc]
    """An image with a tooltip, which is also its name for who cannot see it."""

    # The page shows no widget that has a tooltip and no description, not even an empty one.
    description = Unicode("", help="Nothing: the tooltip says it.").tag(sync=True)


def described_image(side: int, **style: str) -> DescribedImage:
    """Return an empty image, a square on the page that its picture is fitted into."""
    size = f"{side}px"
    layout = widgets.Layout(width=size, height=size, margin="2px", object_fit="contain", **style)
    return DescribedImage(format="png", layout=layout)


def fitting_layout(margin: str | None = None) -> widgets.Layout:
    """Return the layout of a dropdown or checkbox that shows its longest words in any font.

    Where the page is narrower than that, it is as wide as the page.
    """
    return widgets.Layout(width="max-content", min_width="0", margin=margin)


def dropdown(
    description: str, options: Sequence[Any], margin: str | None = None, **more: Any
) -> widgets.Dropdown:
    """Return a dropdown that is as wide as its words."""
    return widgets.Dropdown(
        description=description,
        options=list(options),
        layout=fitting_layout(margin),
        style=FITTING,
        **more,
    )


def checkbox(description: str, margin: str | None = None) -> widgets.Checkbox:
    """Return a checkbox that is as wide as its words."""
    return widgets.Checkbox(description=description, indent=False, layout=fitting_layout(margin))


def button(description: str, tooltip: str | None = None) -> widgets.Button:
    """Return a button that is as wide as its words, and stays so."""
    layout = widgets.Layout(width="auto", flex="0 0 auto")
    return widgets.Button(description=description, tooltip=tooltip, layout=layout)


def words(css_class: str | None = None, **layout: str | None) -> widgets.HTML:
    """Return an empty text without a margin."""
    text = widgets.HTML(layout=widgets.Layout(**{"margin": "0", **layout}))
    return text.add_class(css_class) if css_class else text


def row(children: Iterable[widgets.Widget], **layout: str) -> widgets.HBox:
    """Return widgets in a row that wraps."""
    return widgets.HBox(list(children), layout=widgets.Layout(flex_flow="row wrap", **layout))


def wide_row(children: Iterable[widgets.Widget], max_width: str = WIDTH) -> widgets.HBox:
    """Return controls in a row as wide as the figure."""
    return row(children, align_items="center", width="100%", max_width=max_width)


def channel_controls(
    flex: str, max_width: str, margin: str | None = None
) -> tuple[widgets.IntSlider, widgets.IntText]:
    """Return a slider over channels, and a field for the number, with a margin."""
    layout = widgets.Layout(flex=flex, max_width=max_width, margin="2px 6px 2px 0")
    slider = widgets.IntSlider(description="channel", readout=False, layout=layout, style=FITTING)
    # With bounds, the page would make 255 of 300 without a word.
    number = widgets.IntText(
        tooltip="channel number", layout=widgets.Layout(width="72px", margin=margin)
    )
    return slider, number


def card(children: Iterable[widgets.Widget]) -> widgets.VBox:
    """Return widgets below one another, hidden at first; six of them fill a row."""
    layout = widgets.Layout(
        display="none", width=f"{CARD_PICTURE + 12}px", margin="2px", align_items="center"
    )
    return widgets.VBox(list(children), layout=layout)


def card_line(text: str, style: str = "", title: str = "") -> str:
    """Return a line of a card's text as markup."""
    css = f"line-height: 1.35; text-align: center; white-space: nowrap; font-size: 92%{style}"
    tooltip = f' title="{html.escape(title)}"' if title else ""
    return f'<div style="{css}"{tooltip}>{html.escape(text)}</div>'


def card_button() -> widgets.Button:
    """Return a button as wide as a card's picture, without words."""
    return widgets.Button(layout=widgets.Layout(width=f"{CARD_PICTURE}px", margin="2px 0"))


class PictureCard:
    """A picture that fills a square, and a line under it; hidden at first."""

    def __init__(self, side: int) -> None:
        self._side = side
        self.picture = described_image(side, border=FRAME)
        self.line = words(width="100%")
        self.widget = widgets.VBox(
            [self.picture, self.line],
            layout=widgets.Layout(display="none", margin="2px", align_items="center"),
        )
        self.resize(side)

    def show(self, pixels: RGB8, tooltip: str, line: str) -> None:
        """Show a picture, what a screen reader says of it, and the line."""
        with self.picture.hold_sync():
            self.picture.value = small_png(pixels, 2 * self._side)
            self.picture.tooltip = tooltip
        self.line.value = card_line(line, "; white-space: normal")
        display(self.widget, shown=True)

    def resize(self, side: int) -> None:
        """Make it another square; what is shown next fits it."""
        self._side = side
        for name in ("width", "height"):
            set_value(self.picture.layout, f"{side}px", name)
        # A long line wraps, so that what stands in columns stays there.
        set_value(self.widget.layout, f"{side + 12}px", "width")

    def hide(self) -> None:
        """Take it off the page."""
        display(self.widget, shown=False)


def paragraph(text: str) -> str:
    """Return words as markup that holds no other."""
    # Names of files and layers are a person's own text, never markup.
    return f"<div>{html.escape(text)}</div>"


def status(text: str) -> str:
    """Return words as markup that a screen reader reads out."""
    return f'<span role="status">{html.escape(text)}</span>' if text else ""


def set_value(control: widgets.Widget, value: object, name: str = "value") -> None:
    """Set a widget's trait, unless it is that already."""
    if getattr(control, name) != value:
        setattr(control, name, value)


def set_number(control: widgets.IntSlider, value: int, count: int) -> None:
    """Set a slider to one of the numbers from 0 to `count` - 1, and its maximum to the last."""
    # At no time is the value above the maximum, here or on the page: it would be cut off, and a
    # page sends what it cuts off back, as if a person had chosen it. `hold_sync` would not do: it
    # sends both in an order that differs from run to run, and the page takes one after the other.
    if count > control.max:
        set_value(control, count - 1, "max")
    set_value(control, value)
    set_value(control, count - 1, "max")


def set_choice(control: widgets.Dropdown, options: Iterable[Any], value: str) -> None:
    """Choose a value in a list, which is brought to these options, and to the value besides.

    An option is a value, or a pair of its words and itself.
    """
    offered = tuple(options)
    values = [one[1] if isinstance(one, tuple) else one for one in offered]
    offered = offered if value in values else (*offered, (value, value))
    with control.hold_sync():
        set_value(control, offered, "options")
        set_value(control, value)


def display(control: widgets.DOMWidget, *, shown: bool) -> None:
    """Show or hide a widget, which keeps its place."""
    set_value(control.layout, None if shown else "none", "display")

"""Small widgets that the controls and panels are built from, and functions that set them."""

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
"""The full width of the figure with its toolbar, as CSS."""

CARD_PICTURE = 112
"""The side of a card's picture, in CSS pixels."""

FRAME = "1px solid var(--jp-border-color1, #9e9e9e)"
"""A border for pictures that may be as white as the page."""

# The description is as wide as its text in any font.
FITTING = {"description_width": "max-content"}


class DescribedImage(widgets.Image):  # type: ignore[misc]
    """An image whose tooltip is also its name for screen readers."""

    # The page shows tooltips only on widgets with a description trait, even an empty one.
    description = Unicode("", help="Always empty: the tooltip describes the image.").tag(sync=True)


def described_image(side: int, **style: str) -> DescribedImage:
    """Return an empty square image widget that fits its picture into the square."""
    size = f"{side}px"
    layout = widgets.Layout(width=size, height=size, margin="2px", object_fit="contain", **style)
    return DescribedImage(format="png", layout=layout)


def fitting_layout(margin: str | None = None) -> widgets.Layout:
    """Return the layout of a dropdown or checkbox that shows its longest text in any font.

    On a narrower page it is as wide as the page.
    """
    return widgets.Layout(width="max-content", min_width="0", margin=margin)


def dropdown(
    description: str, options: Sequence[Any], margin: str | None = None, **more: Any
) -> widgets.Dropdown:
    """Return a dropdown that is as wide as its text."""
    return widgets.Dropdown(
        description=description,
        options=list(options),
        layout=fitting_layout(margin),
        style=FITTING,
        **more,
    )


def checkbox(description: str, margin: str | None = None) -> widgets.Checkbox:
    """Return a checkbox that is as wide as its text."""
    return widgets.Checkbox(description=description, indent=False, layout=fitting_layout(margin))


def button(description: str, tooltip: str | None = None) -> widgets.Button:
    """Return a button that is always as wide as its text."""
    layout = widgets.Layout(width="auto", flex="0 0 auto")
    return widgets.Button(description=description, tooltip=tooltip, layout=layout)


def words(css_class: str | None = None, **layout: str | None) -> widgets.HTML:
    """Return an empty text widget without a margin."""
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
    """Return a slider over channels, and a field for the channel number, with a margin."""
    layout = widgets.Layout(flex=flex, max_width=max_width, margin="2px 6px 2px 0")
    slider = widgets.IntSlider(description="channel", readout=False, layout=layout, style=FITTING)
    # With bounds, the page would silently turn 300 into 255.
    number = widgets.IntText(
        tooltip="channel number", layout=widgets.Layout(width="72px", margin=margin)
    )
    return slider, number


def card(children: Iterable[widgets.Widget]) -> widgets.VBox:
    """Return widgets stacked vertically, hidden at first; six cards fill a row."""
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
    """Return a button as wide as a card's picture, without a label."""
    return widgets.Button(layout=widgets.Layout(width=f"{CARD_PICTURE}px", margin="2px 0"))


class PictureCard:
    """A picture that fills a square, with a line of text below; hidden at first."""

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
        """Show a picture, its text for screen readers, and the line."""
        with self.picture.hold_sync():
            self.picture.value = small_png(pixels, 2 * self._side)
            self.picture.tooltip = tooltip
        self.line.value = card_line(line, "; white-space: normal")
        display(self.widget, shown=True)

    def resize(self, side: int) -> None:
        """Change the side of the square, for the next picture."""
        self._side = side
        for name in ("width", "height"):
            set_value(self.picture.layout, f"{side}px", name)
        # A long line wraps, so that columns stay aligned.
        set_value(self.widget.layout, f"{side + 12}px", "width")

    def hide(self) -> None:
        """Remove the card from the page."""
        display(self.widget, shown=False)


def paragraph(text: str) -> str:
    """Return text as an escaped HTML paragraph."""
    # File and layer names are the user's own text, never markup.
    return f"<div>{html.escape(text)}</div>"


def status(text: str) -> str:
    """Return text as HTML that a screen reader announces."""
    return f'<span role="status">{html.escape(text)}</span>' if text else ""


def set_value(control: widgets.Widget, value: object, name: str = "value") -> None:
    """Set a widget's trait, if it changes."""
    if getattr(control, name) != value:
        setattr(control, name, value)


def set_number(control: widgets.IntSlider, value: int, count: int) -> None:
    """Set a slider's value, and its range to 0 to `count` - 1."""
    # The value must never exceed the maximum, here or on the page: the page would clamp it and
    # send the clamped value back as if the user had chosen it. `hold_sync` does not help: it sends
    # both in an order that differs between runs, and the page applies them one after the other.
    if count > control.max:
        set_value(control, count - 1, "max")
    set_value(control, value)
    set_value(control, count - 1, "max")


def set_choice(control: widgets.Dropdown, options: Iterable[Any], value: str) -> None:
    """Set a dropdown's options and its value, which is added to the options if missing.

    An option is a value, or a pair of its label and the value.
    """
    offered = tuple(options)
    values = [one[1] if isinstance(one, tuple) else one for one in offered]
    offered = offered if value in values else (*offered, (value, value))
    with control.hold_sync():
        set_value(control, offered, "options")
        set_value(control, value)


def display(control: widgets.DOMWidget, *, shown: bool) -> None:
    """Show or hide a widget without moving it in its box."""
    set_value(control.layout, None if shown else "none", "display")

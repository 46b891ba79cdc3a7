"""The traits of explorers: what one can be asked to show, and which answers it takes."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from traitlets import Bool, Enum, HasTraits, TraitError, Unicode, validate

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.controls import LAYER_NAMES
from vgg_widget.explorer.linked_changes import follows
from vgg_widget.explorer.scene import Choice
from vgg_widget.explorer.trait_types import (
    ChannelNumbers,
    ColormapName,
    Location,
    Name,
    RealNumber,
    WholeNumber,
    as_trait_error,
)
from vgg_widget.figure.themes import THEME_NAMES
from vgg_widget.pictures.colormaps import find_cmap
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.rendering import ORDERS, checked_channel, choose_channels
from vgg_widget.pictures.scaling import Scale, as_scale
from vgg_widget.support.messages import unknown_choice

CHOICES = tuple(field.name for field in fields(Choice))
"""The traits that say what an explorer shows."""

LOOKS = ("layer_names", "theme", "panel")
"""The traits that say what stands around the picture."""


class ExplorerTraits(HasTraits):
    """What an explorer or a comparison shows, each trait checked against its activations."""

    layer = Name(
        "block1_conv1", help="Name of the layer on show; Keras's, torchvision's or the paper's."
    )
    channel = WholeNumber(0, help="Channel on show in mode 'channel'; from 0.")
    channels = ChannelNumbers(
        help="Channels that the other modes show, as a tuple of ints; () is the mode's default. "
        "In mode 'channel' they wait for another mode."
    )
    mode = Name("channel", help="How channels become one picture; a registered mode's name.")
    cmap = ColormapName(
        "viridis", help="Name of a matplotlib colormap; a registered Colormap becomes its name."
    )
    scale = Unicode("layer", help="What the display range is taken over: channel, layer, network.")
    before_relu = Bool(
        help="Whether activations are shown before the layer's ReLU, where those are kept."
    )
    order = Unicode("index", help="How a grid is ordered; see `render`. 'location' needs one.")
    hide_dead = Bool(help="Whether a grid leaves out channels that are 0 everywhere.")
    percentile = RealNumber(
        None,
        allow_none=True,
        help="Percentile of the positive values at the top of the range; None: the scale's own.",
    )
    gamma = RealNumber(1.0, help="Exponent of the colours; below 1 lifts weak activations.")
    location = Location(
        help="Row and column of a unit of the map, whose receptive field is marked; or None."
    )
    overlay = RealNumber(0.0, help="Opacity of the map over the input, 0 (not there) to 1.")
    layer_names = Enum(
        LAYER_NAMES,
        "keras",
        help="Whose names the layers are listed by: keras, torchvision, both of them, paper.",
    )
    theme = Enum(
        THEME_NAMES, "auto", help="Colours of the figure: light, dark, or auto, as the page has."
    )
    panel = Unicode(help="Title of the panel that is unfolded; '' where all are folded.")

    # In the sentence that says that it is closed.
    _what, _instead = "explorer", "make a new LayerExplorer"
    # What stands until the constructor has come so far.
    _closed = True

    @property
    def _measured(self) -> Activations:
        """The activations whose layers and sizes the traits must fit."""
        raise NotImplementedError

    @validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        as_trait_error(self._measured.info, proposal["value"])
        return str(proposal["value"])

    @validate("channel")
    def _valid_channel(self, proposal: dict[str, Any]) -> int:
        self._require_open()
        count = self._measured.info(self.layer).channels
        number = proposal["value"]
        return int(as_trait_error(checked_channel, "channel", number, self.layer, count))

    @validate("channels")
    def _valid_channels(self, proposal: dict[str, Any]) -> tuple[int, ...]:
        self._require_open()
        mode = find_mode(self.mode)
        if proposal["value"] and mode.takes != "one":
            as_trait_error(
                choose_channels, self._measured, self.layer, mode, channels=proposal["value"]
            )
        count = self._measured.info(self.layer).channels
        for number in proposal["value"]:
            as_trait_error(checked_channel, "channels", number, self.layer, count)
        return tuple(proposal["value"])

    @validate("mode", "cmap", "scale")
    def _valid_name(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        check = {"mode": find_mode, "cmap": find_cmap, "scale": as_scale}[proposal["trait"].name]
        as_trait_error(check, proposal["value"])
        return str(proposal["value"])

    @validate("order")
    def _valid_order(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        order = str(proposal["value"])
        if order not in ORDERS:
            raise TraitError(unknown_choice("order", order, ORDERS))
        if order == "location" and self.location is None:
            raise TraitError(
                "order 'location' sorts by the value at a location, and none is chosen: set "
                "location first, or click on a picture."
            )
        return order

    @validate("location")
    def _valid_location(self, proposal: dict[str, Any]) -> tuple[int, int] | None:
        self._require_open()
        place: tuple[int, int] | None = proposal["value"]
        # The layer that a link's location belongs to may come after it.
        if not follows(self):
            self._check_location(place)
        return place

    def _check_location(self, place: tuple[int, int] | None) -> None:
        rows, columns, _ = self._measured.shape(self.layer)
        if place is not None and not (0 <= place[0] < rows and 0 <= place[1] < columns):
            raise TraitError(
                f"location {place} is outside layer {self.layer!r}, which has {rows} rows and "
                f"{columns} columns: choose up to ({rows - 1}, {columns - 1})."
            )

    @validate("percentile", "gamma")
    def _valid_policy(self, proposal: dict[str, Any]) -> float | None:
        self._require_open()
        value: float | None = proposal["value"]
        if value is not None:
            as_trait_error(Scale, **{proposal["trait"].name: value})
        return value

    @validate("overlay")
    def _valid_overlay(self, proposal: dict[str, Any]) -> float:
        self._require_open()
        value = float(proposal["value"])
        if not 0 <= value <= 1 or math.isnan(value):
            raise TraitError(f"overlay {value!r} is no opacity: choose from 0 (none) to 1.")
        return value

    def _panel_titles(self) -> tuple[str, ...]:
        """Return the titles of the panels that there are."""
        raise NotImplementedError

    @validate("panel")
    def _valid_panel(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        title, known = str(proposal["value"]), self._panel_titles()
        if title and title not in known:
            raise TraitError(unknown_choice("panel", title, ("", *known)))
        return title

    @validate("layer_names")
    def _valid_names(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        value = str(proposal["value"])
        if value != "keras" and not any(info.torch_name for info in self._measured.layers):
            raise TraitError(
                f"layer_names {value!r} is for VGG19, and this network's layers have one name "
                "each: leave it at 'keras'."
            )
        return value

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(self._closed_words)

    @property
    def _closed_words(self) -> str:
        return f"{self._what} is closed: {self._instead}."

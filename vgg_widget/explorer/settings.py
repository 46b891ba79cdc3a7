"""`DisplaySettings`: all choices that determine what an explorer shows.

Each setting is one field: its default, its trait, its help and its check. The explorers' traits,
`state`, `to_code`, `back` and `reset` are derived from the fields.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import Colormap
from traitlets import Bool, CFloat, Int, TraitError, TraitType, Unicode

from vgg_widget.activations.mapping import Activations
from vgg_widget.images import ImageReading
from vgg_widget.pictures.colormaps import (
    DEFAULT_CMAP,
    SIGNED_CMAP,
    find_cmap,
    registered_name,
)
from vgg_widget.pictures.modes import DEFAULT_MODE, find_mode
from vgg_widget.pictures.rendering import (
    ORDERS,
    STRONGEST,
    checked_channel,
    choose_channels,
    nearest_channels,
)
from vgg_widget.pictures.scaling import DEFAULT_SCALE, Scale, as_scale
from vgg_widget.support.messages import briefly, unknown_choice

# The colormaps that matplotlib's documentation lists as diverging.
_DIVERGING_NAMES = {
    *("PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral"),
    *("coolwarm", "bwr", "seismic", "berlin", "managua", "vanimo"),
}


CLASS_METHOD = "grad_cam"
"""The attribution that explains a class, not a unit."""

ATTRIBUTION_OPACITY = 0.8
"""Default opacity of an attribution over the input."""


# --- trait types that ipywidgets and traitlets lack


class Name(Unicode[str, str]):
    """A text trait whose validator also receives other types, and says what to choose."""

    def validate(self, _: Any, value: Any) -> Any:
        """Return the value."""
        return value


class WholeNumber(Int[int, int]):
    """An int trait that also accepts NumPy integers, such as those from `Activations.rank`."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return a plain int."""
        return super().validate(obj, int(value) if isinstance(value, np.integer) else value)


class ColormapName(Unicode[str, Any]):
    """A trait that holds a colormap's name and also accepts a registered `Colormap`."""

    def validate(self, _: Any, value: Any) -> Any:
        """Return the name."""
        return as_trait_error(registered_name, value) if isinstance(value, Colormap) else value


class ChannelNumbers(TraitType[tuple[int, ...] | str, Iterable[int] | str]):
    """A trait that holds a tuple of ints, set from any iterable of whole numbers, or one word."""

    info_text = f"channel numbers, such as (0, 5, 12), or {STRONGEST!r}"
    default_value = ()

    def validate(self, obj: Any, value: Any) -> tuple[int, ...] | str:
        """Return a tuple of plain ints, or the word."""
        if isinstance(value, str) and value == STRONGEST:
            return STRONGEST
        return _whole_numbers(self, obj, value)


class Location(TraitType[tuple[int, int] | None, Iterable[int] | None]):
    """A trait that holds None or a (row, column) pair of ints."""

    info_text = "None or a (row, column) pair of whole numbers, such as (12, 30)"
    default_value = None

    def validate(self, obj: Any, value: Any) -> tuple[int, int] | None:
        """Return a pair of plain ints, or None."""
        if value is None:
            return None
        pair = _whole_numbers(self, obj, value)
        if len(pair) != 2:
            self.error(obj, value)
        return pair[0], pair[1]


def _whole_numbers(trait: TraitType[Any, Any], obj: Any, value: Any) -> tuple[int, ...]:
    """Return a tuple of plain ints, or raise the trait's error."""
    try:
        numbers = tuple(value)
    except TypeError:
        trait.error(obj, value)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers):
        trait.error(obj, value)
    return tuple(int(number) for number in numbers)


class ClassName(TraitType[str | int | None, str | int | None]):
    """A trait that holds None, a class's name or its number."""

    info_text = "None, a class's name such as 'tabby', or its number"
    default_value = None

    def validate(self, obj: Any, value: Any) -> str | int | None:
        """Return a plain int or str, or None."""
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return int(value)
        if value is not None and not isinstance(value, str):
            self.error(obj, value)
        return None if value is None else str(value)


class ImageSetResult(TraitType[Any, Any]):
    """A trait that holds None or a `TopActivations`."""

    info_text = "None or a result of vgg_widget.dataset.top_activations"
    default_value = None

    def validate(self, _: Any, value: Any) -> Any:
        """Return the value."""
        if value is not None and not is_top_activations(value):
            raise TraitError(
                f"{self.name} {briefly(value)} is not a TopActivations: set a result of "
                "vgg_widget.dataset.top_activations, or None; for classes, make a new "
                "LayerExplorer with predict=5."
            )
        return value


def is_top_activations(value: object) -> bool:
    """Return whether a value is a `TopActivations`."""
    # Imported here, because an explorer of a single image does not need that package.
    from vgg_widget.dataset.result import TopActivations

    return isinstance(value, TopActivations)


def as_trait_error(check: Any, *arguments: Any, **keywords: Any) -> Any:
    """Call a check, and turn its ValueError into the TraitError that a trait must raise."""
    try:
        return check(*arguments, **keywords)
    except ValueError as error:
        raise TraitError(str(error)) from error


# --- checks: each gets the value, the other settings and the activations


def _check_layer(value: Any, _: DisplaySettings, activations: Activations) -> None:
    activations.info(value)


def _check_channel(value: int, settings: DisplaySettings, activations: Activations) -> None:
    count = activations.info(settings.layer).channels
    checked_channel("channel", value, settings.layer, count)


def _check_channels(
    value: tuple[int, ...] | str, settings: DisplaySettings, activations: Activations
) -> None:
    mode = find_mode(settings.mode)
    if value and mode.takes != "one":
        choose_channels(activations, settings.layer, mode, channels=value)
    if isinstance(value, str):
        return
    count = activations.info(settings.layer).channels
    for number in value:
        checked_channel("channels", number, settings.layer, count)


def _check_order(value: str, settings: DisplaySettings, _: Activations) -> None:
    if value not in ORDERS:
        raise ValueError(unknown_choice("order", value, ORDERS))
    if value == "location" and settings.location is None:
        raise ValueError(
            "order 'location' sorts by the value at a location, but no location is set: set "
            "location first, or click on a picture."
        )


def check_location(
    value: tuple[int, int] | None, settings: DisplaySettings, activations: Activations
) -> None:
    """Raise TraitError if the layer has no unit at a location."""
    rows, columns, _ = activations.shape(settings.layer)
    if value is not None and not (0 <= value[0] < rows and 0 <= value[1] < columns):
        raise TraitError(
            f"location {value} is outside layer {settings.layer!r}, which has {rows} rows and "
            f"{columns} columns: choose up to ({rows - 1}, {columns - 1})."
        )


def _check_overlay(value: float, _: DisplaySettings, __: Activations) -> None:
    if not 0 <= value <= 1 or math.isnan(value):
        raise ValueError(f"overlay {value!r} is not an opacity: choose from 0 (none) to 1.")


def _check_attribution(value: Any, _: DisplaySettings, __: Activations) -> None:
    from vgg_widget.gradients.arguments import METHODS

    if value is not None and value not in METHODS:
        raise ValueError(unknown_choice("attribution", value, METHODS))


def _setting(
    default: Any, trait: type[TraitType[Any, Any]], check: Any = None, *, words: str
) -> Any:
    """Return a field of `DisplaySettings`; the explorers have a trait of the same name."""
    return field(default=default, metadata={"trait": trait, "check": check, "help": words})


@dataclass(frozen=True, slots=True)
class DisplaySettings:
    """The values of an explorer's traits, comparable and hashable."""

    layer: str = _setting(
        "block1_conv1",
        Name,
        _check_layer,
        words="Name of the current layer, in Keras's, torchvision's or the papers' naming.",
    )
    channel: int = _setting(
        0, WholeNumber, _check_channel, words="Channel shown in mode 'channel'; from 0."
    )
    channels: tuple[int, ...] | str = _setting(
        (),
        ChannelNumbers,
        _check_channels,
        words="Channels shown in the other modes, as a tuple of ints; () is the mode's default, "
        "'strongest' those with the largest maximum. Mode 'channel' keeps them for other modes.",
    )
    mode: str = _setting(
        DEFAULT_MODE,
        Name,
        lambda value, *_: find_mode(value),
        words="How channels are combined into one picture; a registered mode's name.",
    )
    cmap: str = _setting(
        DEFAULT_CMAP,
        ColormapName,
        lambda value, *_: find_cmap(value),
        words="Name of a matplotlib colormap; a registered Colormap becomes its name.",
    )
    scale: str = _setting(
        DEFAULT_SCALE,
        Unicode,
        lambda value, *_: as_scale(value),
        words="Values that determine the display range: auto, channel, layer, network.",
    )
    before_relu: bool = _setting(
        default=False,
        trait=Bool,
        words="Whether to show activations before the layer's ReLU, if those are kept.",
    )
    order: str = _setting(
        "index",
        Unicode,
        _check_order,
        words="Order of a grid; see `render`. 'location' needs a location.",
    )
    hide_dead: bool = _setting(
        default=False, trait=Bool, words="Whether a grid leaves out channels that are 0 everywhere."
    )
    percentile: float | None = _setting(
        None,
        CFloat,
        lambda value, *_: value is None or Scale(percentile=value),
        words="Percentile of the positive values at the top of the range; None: the scale's own.",
    )
    gamma: float | None = _setting(
        None,
        CFloat,
        lambda value, *_: value is None or Scale(gamma=value),
        words="Exponent of the colours, below 1 to lift weak activations; None: the scale's own.",
    )
    location: tuple[int, int] | None = _setting(
        None,
        Location,
        check_location,
        words="Row and column of a unit of the map whose receptive field is marked; or None.",
    )
    overlay: float = _setting(
        0.0,
        CFloat,
        _check_overlay,
        words="Opacity of the map over the input, 0 to 1. At 0 the layer's own map is hidden, "
        "and an attribution has 0.8.",
    )
    attribution: str | None = _setting(
        None,
        Name,
        _check_attribution,
        words="Method of `attribute` whose map lies over the input: the pixels that the value at "
        "the location comes from, or without a location the channel's sum. None: the layer's map.",
    )
    attribution_class: str | int | None = _setting(
        None,
        ClassName,
        words="Class that the attribution 'grad_cam' explains, by its name or number; None: the "
        "most probable one.",
    )

    # --- arguments for `render`

    @property
    def full_scale(self) -> str | Scale:
        """The scale as `render` takes it: a name, unless percentile or gamma is set."""
        if self.percentile is None and self.gamma is None:
            return self.scale
        named = as_scale(self.scale)
        percentile = named.percentile if self.percentile is None else self.percentile
        return Scale(self.scale, percentile, named.gamma if self.gamma is None else self.gamma)

    def layer_in(self, activations: Activations) -> str:
        """Return the name of the displayed maps: before the ReLU, if requested and available."""
        if not self.before_relu or is_before_relu(self.layer, activations):
            return self.layer
        return activations.before_relu(self.layer) or self.layer

    def shows_before_relu(self, activations: Activations) -> bool:
        """Return whether the displayed maps are those before a ReLU."""
        return self.before_relu and activations.before_relu(self.layer) is not None

    def for_render(self) -> dict[str, Any]:
        """Return the keyword arguments of `render` that matter in this mode."""
        mode = find_mode(self.mode)
        arguments: dict[str, Any] = {"mode": self.mode}
        if mode.takes == "one":
            arguments["channel"] = self.channel
        elif self.channels:
            arguments["channels"] = self.channels
        if mode.uses_cmap:
            arguments["cmap"] = self.cmap
        if mode.uses_scale:
            arguments["scale"] = self.full_scale
        if mode.tiled:
            if self.order == "location":
                arguments["location"] = self.location
            if self.order != "index":
                arguments["order"] = self.order
            if self.hide_dead:
                arguments["hide_dead"] = True
        return arguments

    @property
    def explained(self) -> tuple[str | None, str | int | None]:
        """The method and the class of the attribution."""
        return self.attribution, self.attribution_class

    # --- adjusting settings

    def fitted_to(
        self, activations: Activations, before: DisplaySettings | None, usual_cmap: str
    ) -> DisplaySettings:
        """Return the nearest settings that the layer and mode can show.

        `before` holds the current settings, None at first; `usual_cmap` is the colormap last used
        for maps after a ReLU.
        """
        fitted = _with_side(self, before, activations)
        fitted = _with_cmap(fitted, before, activations, usual_cmap)
        fitted = fitted.placed(before, activations)
        count = activations.info(fitted.layer).channels
        channel, channels = nearest_channels(
            find_mode(fitted.mode), count, fitted.channel, fitted.channels
        )
        no_location = fitted.location is None and fitted.order == "location"
        order = "index" if no_location else fitted.order
        return replace(fitted, channel=channel, channels=channels, order=order)

    def fitted_first(self, activations: Activations, before_relu: bool | None) -> DisplaySettings:
        """Return the nearest valid settings for a new explorer."""
        first = self.fitted_to(activations, None, self.cmap)
        if before_relu is None:
            return first
        # The argument takes precedence over the side that the layer's name implies.
        requested = replace(first, before_relu=before_relu)
        return requested.fitted_to(activations, first, self.cmap)

    def placed(self, before: DisplaySettings | None, activations: Activations) -> DisplaySettings:
        """Keep the location at the same image position when the layer changes.

        `before` holds the current settings; None to take the location as given.
        """
        if self.location is None:
            return self
        rows, columns, _ = activations.shape(self.layer)
        row, column = self.location
        if before and self.layer != before.layer and self.location == before.location:
            y, x = activations.info(before.layer).field_center(row, column)
            row, column = activations.info(self.layer).unit_at(y, x, (rows, columns))
        return replace(self, location=(min(row, rows - 1), min(column, columns - 1)))

    def returned_to(self, last: DisplaySettings, activations: Activations) -> DisplaySettings:
        """Undo a jump to another layer or channel from the settings `last`; all else stays."""
        jumped = ("layer", "channel", "channels", "mode", "before_relu", "cmap")
        there = replace(self, **{name: getattr(last, name) for name in jumped})
        if self.location == replace(last, layer=self.layer).placed(last, activations).location:
            # The jump moved the location: restore it exactly, since deeper layers are coarser.
            there = replace(there, location=last.location)
            return there.placed(there, activations)
        return there.placed(self, activations)

    def name_of(self, layer: str, activations: Activations) -> str:
        """Return another layer's name in the naming scheme of this one, on the same ReLU side.

        A name that is not a Keras name is returned unchanged.
        """
        if layer != activations.info(layer).name:
            return layer
        names = activations.names_in(activations.scheme_of(self.layer), layer)
        if not names:
            return layer
        return names[0] if self.before_relu else names[-1]

    def named_on_side(self, activations: Activations) -> DisplaySettings:
        """Choose the layer's name, in its naming scheme, for the requested side of the ReLU."""
        layer = activations.info(self.layer).name
        return replace(self, layer=self.name_of(layer, activations))


SETTINGS = tuple(field.name for field in fields(DisplaySettings))
"""The traits that determine the displayed picture."""


def setting_traits() -> dict[str, TraitType[Any, Any]]:
    """Return a new trait for each field of `DisplaySettings`, keyed by its name."""
    return {
        one.name: one.metadata["trait"](
            one.default,
            help=one.metadata["help"],
            **({"allow_none": True} if one.default is None else {}),
        )
        for one in fields(DisplaySettings)
    }


def check_setting(
    name: str, value: Any, settings: DisplaySettings, activations: Activations
) -> None:
    """Raise ValueError or TraitError if a setting's value does not fit the other settings."""
    check = DisplaySettings.__dataclass_fields__[name].metadata["check"]
    if check is not None:
        check(value, settings, activations)


def check_layer_names(value: str, activations: Activations) -> str:
    """Return a naming scheme; raise TraitError if the network's layers have no such names."""
    if value != "keras" and not any(info.torch_name for info in activations.layers):
        raise TraitError(
            f"layer_names {value!r} is only for VGGs, and each layer of this network has just one "
            "name: leave it at 'keras'."
        )
    return value


def is_before_relu(layer: str, activations: Activations) -> bool:
    """Return whether a layer's name refers to activations before a ReLU."""
    return activations.plain_name(layer) != activations.info(layer).name


def _with_side(
    settings: DisplaySettings, before: DisplaySettings | None, activations: Activations
) -> DisplaySettings:
    """Keep the layer's name and the side of its ReLU consistent.

    Names of torchvision and the papers imply a side. A Keras name is that of a convolution; its
    maps are shown on the side chosen last, unless another name implied that side.
    """
    layer = settings.layer
    has_sides = activations.before_relu(layer) is not None
    named_before = is_before_relu(layer, activations)
    named_after = not named_before and layer != activations.info(layer).name
    name_says_it = named_before or (named_after and has_sides)
    if before is not None and layer == before.layer:
        contradicts = named_after if settings.before_relu else named_before
        if has_sides and contradicts:
            return settings.named_on_side(activations)
        return settings
    left_before = before is not None and is_before_relu(before.layer, activations)
    if not (left_before or name_says_it):
        return settings
    side_changed = before is not None and settings.before_relu != before.before_relu
    if side_changed and has_sides and settings.before_relu != named_before:
        return settings.named_on_side(activations)
    return replace(settings, before_relu=named_before)


def _with_cmap(
    settings: DisplaySettings,
    before: DisplaySettings | None,
    activations: Activations,
    usual: str,
) -> DisplaySettings:
    """Give maps before a ReLU a diverging colormap, and restore the usual one after it."""
    signed = settings.shows_before_relu(activations)
    if before is None:
        # The default was not chosen by the user.
        unsuited = signed and settings.cmap == DEFAULT_CMAP
        return replace(settings, cmap=SIGNED_CMAP) if unsuited else settings
    if settings.cmap != before.cmap or signed == before.shows_before_relu(activations):
        return settings
    if signed and settings.cmap.removesuffix("_r") not in _DIVERGING_NAMES:
        return replace(settings, cmap=SIGNED_CMAP)
    if not signed and settings.cmap == SIGNED_CMAP:
        return replace(settings, cmap=usual)
    return settings


class Snapshot(NamedTuple):
    """The current state: images as read, their activations, the rendering and its settings."""

    readings: tuple[ImageReading, ...]
    computed: Any
    rendered: Any
    settings: DisplaySettings

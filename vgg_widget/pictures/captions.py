"""The words beside a picture: what it shows, and where its numbers come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vgg_widget.activations.mapping import Activations
from vgg_widget.pictures.comparing import DISTANCE_CMAP, Pair, PairRendering
from vgg_widget.pictures.coordinates import unit_name, unit_value, words_for_unit
from vgg_widget.pictures.modes import Floats, Rendering, find_mode
from vgg_widget.pictures.rendering import layer_label
from vgg_widget.support.messages import percent


def caption(activations: Activations, rendering: Rendering) -> str:
    """Say which channels of which layer are on show, and how active they are.

    Returns
    -------
    str
        Layer, shape (height × width × channels), channels, then the smallest, mean and largest
        activation of these channels and the share of locations where they are active, and how
        many channels are dead.
    """
    parts = [*_what(activations, rendering), *_numbers(activations, rendering)]
    if rendering.hidden:
        parts.append(_hidden(rendering))
    return " · ".join(parts)


def _what(activations: Activations, rendering: Rendering) -> list[str]:
    rows, columns, count = activations.shape(rendering.layer)
    chosen = rendering.channels
    if len(chosen) == 1:
        who = f"channel {chosen[0]}"
    elif len(chosen) == count:
        who = f"all {count} channels"
    elif len(chosen) <= 8:
        who = "channels " + ", ".join(map(str, chosen))
    else:
        who = f"{len(chosen)} channels"
    layer = layer_label(activations, rendering.layer)
    return [layer, f"{rows} × {columns} × {count}", who]


def _numbers(activations: Activations, rendering: Rendering) -> list[str]:
    chosen = rendering.channels
    statistics = activations.statistics(rendering.layer, chosen)
    active = float(statistics.fraction_active.mean())
    parts = [
        f"min {_short(statistics.min.min())}",
        f"mean {_short(statistics.mean.mean())}",
        f"max {_short(statistics.max.max())}",
        f"{active:.0%} active",
    ]
    missing = 1 - float(statistics.fraction_finite.mean())
    if missing:
        parts.append(f"{percent(missing)} of the values NaN or infinite")
    dead = int(statistics.dead.sum())
    if len(chosen) > 1 and dead:
        parts.append("all of them dead" if dead == len(chosen) else f"{dead} of them dead")
    elif rendering.note:
        parts.append(rendering.note)
    return parts


def _hidden(rendering: Rendering) -> str:
    return f"{rendering.hidden} dead channel{'s' * (rendering.hidden > 1)} hidden"


def pair_caption(pair: Pair, renderings: PairRendering, notes: tuple[str, str]) -> str:
    """Say what is on show of two images, how active each is, and over which range both are drawn.

    Parameters
    ----------
    pair : Pair
        Of both images.
    renderings : PairRendering
        What is on show.
    notes : (str, str)
        How each image's values were understood; empty where there was no choice.
    """
    first, difference = renderings.first, renderings.difference
    parts = [", ".join(_what(pair.first, first))]
    if first.vmin is not None and first.vmax is not None:
        parts.append(f"both from {_short(first.vmin)} to {_short(first.vmax)}")
    if first.hidden:
        parts.append(_hidden(first))
    shown = (pair.first, first), (pair.second, renderings.second)
    for which, (activations, rendering), note in zip(_WHICH, shown, notes, strict=True):
        name = f" ({Path(activations.name).name})" if activations.name else ""
        numbers = [*_numbers(activations, rendering), *([note] if note else [])]
        parts.append(f"{which}{name}: {', '.join(numbers)}")
    if first.mode != "argmax":
        values = _finite_values(difference)
        extent = f"{_short(values.min())} to {_short(values.max())}" if values.size else "undefined"
        parts.append(f"{_apart(difference)} {extent}")
    if pair.note:
        parts.append(pair.note)
    return " · ".join(parts)


_WHICH = ("first", "second")


def _finite_values(rendering: Rendering) -> Floats:
    """Return the numbers on show, in any order: those between a grid's tiles are none of them."""
    values = rendering.values
    if values is None:
        return np.empty(0, np.float32)
    shown = np.isfinite(values)
    if rendering.tiles is not None:
        shown &= rendering.tiles.hold(*np.indices(values.shape))
    return values[shown]


def _apart(difference: Rendering) -> str:
    return "distance" if difference.cmap == DISTANCE_CMAP else "difference"


def place_words(
    activations: Activations, rendering: Rendering, row: int, column: int, channel: int | None
) -> str:
    """Say what is at a unit of the map on show, and which input pixels it sees.

    Parameters
    ----------
    activations : Activations
        Of the image.
    rendering : Rendering
        What is on show.
    row, column : int
        The unit's place in the layer's map.
    channel : int or None
        In a grid, whose tile.

    Returns
    -------
    str
        Value and position, then rows and columns of the receptive field, both ends included, and
        what of it lies beyond the image.
    """
    here = words_for_unit(rendering, row, column, channel)
    return f"{here} · {_field_words(activations, rendering.layer, row, column)}"


def pair_place_words(
    pair: Pair, renderings: PairRendering, row: int, column: int, channel: int | None
) -> str:
    """Say what both images have at a unit, how far that is apart, and what the unit sees.

    The arguments are those of `place_words`, of a pair.
    """
    first, difference = renderings.first, renderings.difference
    named = dict(zip(_WHICH, (first, renderings.second), strict=True))
    if first.mode != "argmax":
        named[_apart(difference)] = difference
    values = {name: unit_value(shown, row, column, channel) for name, shown in named.items()}
    words = ", ".join(f"{name} {value}" for name, value in values.items() if value)
    where = unit_name(first, row, column, channel)
    seen = _field_words(pair.first, first.layer, row, column)
    return f"{where}: {words} · {seen}" if words else f"{where} · {seen}"


def _field_words(activations: Activations, layer: str, row: int, column: int) -> str:
    info = activations.info(layer)
    size = activations.image.shape[0], activations.image.shape[1]
    if info.receptive_field is None:
        return "its receptive field is not defined"
    top, left, bottom, right = info.receptive_field_box(row, column, size)
    if top == bottom or left == right:
        return "sees nothing of the picture, only the border around it"
    seen = f"sees input rows {top}–{bottom - 1}, columns {left}–{right - 1}"
    whole = info.whole_box(row, column)
    if whole is None:
        return seen
    # Strides may leave rows of the image itself over, which no border has clipped.
    beyond = {
        "above": -whole[0],
        "left of": -whole[1],
        "below": whole[2] - size[0],
        "right of": whole[3] - size[1],
    }
    cut = ", ".join(f"{count} px {side} it" for side, count in beyond.items() if count > 0)
    if not cut:
        return seen
    tall, wide = whole[2] - whole[0], whole[3] - whole[1]
    return f"{seen}: its {tall} × {wide} field is clipped by the border ({cut})"


def source_line(activations: Activations, rendering: Rendering) -> str:
    """Say where a picture's numbers come from: weights, layer, mode, scale."""
    layer = layer_label(activations, rendering.layer)
    parts = [activations.weights.label, layer, f"mode {rendering.mode}"]
    if rendering.vmin is not None and rendering.vmax is not None:
        limits = f"{_short(rendering.vmin)} to {_short(rendering.vmax)}"
        parts.append(f"scale {rendering.scale} ({limits})")
    elif find_mode(rendering.mode).uses_scale:
        parts.append(f"scale {rendering.scale}")
    elif rendering.mode == "composite":
        parts.append("each channel over its own maximum")
    return " · ".join(parts)


def _short(value: float) -> str:
    return f"{float(value):.3g}"

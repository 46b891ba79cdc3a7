"""Captions: what a rendering shows, and the source of its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vgg_widget.activations.mapping import Activations
from vgg_widget.pictures.comparing import Pair, PairRendering
from vgg_widget.pictures.coordinates import unit_name, unit_value, words_for_unit
from vgg_widget.pictures.modes import MODES, Rendering
from vgg_widget.pictures.rendering import layer_label
from vgg_widget.pictures.tiles import gaps_between
from vgg_widget.support.messages import percent, plain_number, plain_range


def caption(activations: Activations, rendering: Rendering) -> str:
    """Return a caption with the layer, the channels, and notes on dead or invalid ones."""
    shown, notes = _subject(activations, rendering), _notes(activations, rendering)
    return " · ".join([*shown, *notes, *_hidden(rendering)])


def activity(activations: Activations, rendering: Rendering) -> str:
    """Return the displayed channels' minimum, mean, maximum and active share in words."""
    return " · ".join(_numbers(activations, rendering))


def _subject(activations: Activations, rendering: Rendering) -> list[str]:
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
    return [
        f"min {plain_number(statistics.min.min())}",
        f"mean {plain_number(statistics.mean.mean())}",
        f"max {plain_number(statistics.max.max())}",
        f"{active:.0%} active",
    ]


def _notes(activations: Activations, rendering: Rendering) -> list[str]:
    chosen, parts = rendering.channels, []
    statistics = activations.statistics(rendering.layer, chosen)
    missing = 1 - float(statistics.fraction_finite.mean())
    if missing:
        parts.append(f"{percent(missing)} of the values NaN or infinite")
    dead = int(statistics.dead.sum())
    if len(chosen) > 1 and dead:
        parts.append(
            "all of them dead" if dead == len(chosen) else f"{dead} of {len(chosen)} channels dead"
        )
    elif rendering.note:
        parts.append(rendering.note)
    return parts


def _hidden(rendering: Rendering) -> list[str]:
    if not rendering.hidden:
        return []
    return [f"{rendering.hidden} dead channel{'s' * (rendering.hidden > 1)} hidden"]


def pair_caption(pair: Pair, renderings: PairRendering, notes: tuple[str, str]) -> str:
    """Return a caption for two images: the channels, their range, and each image's activity.

    `notes` are the two images' reading notes, possibly empty.
    """
    first, difference = renderings.first, renderings.difference
    parts = [", ".join(_subject(pair.first, first))]
    if first.vmin is not None and first.vmax is not None:
        extent = plain_range(first.vmin, first.vmax)
        parts.append(NO_RANGE if first.vmin == first.vmax else f"both from {extent}")
    parts += _hidden(first)
    for which, activations, rendering, note in (
        ("first", pair.first, first, notes[0]),
        ("second", pair.second, renderings.second, notes[1]),
    ):
        name = f" ({Path(activations.name).name})" if activations.name else ""
        numbers = [*_numbers(activations, rendering), *_notes(activations, rendering)]
        numbers += [note] if note else []
        parts.append(f"{which}{name}: {', '.join(numbers)}")
    if difference.values_are != "mismatch":
        assert difference.values is not None
        shown = np.isfinite(difference.values)
        if difference.tiles is not None:
            shown &= ~gaps_between(difference.tiles)
        values = difference.values[shown]
        extent = plain_range(values.min(), values.max()) if values.size else "undefined"
        parts.append(f"{difference.values_are} {extent}")
    if pair.note:
        parts.append(pair.note)
    return " · ".join(parts)


def place_words(
    activations: Activations, rendering: Rendering, row: int, column: int, channel: int | None
) -> str:
    """Return the value of a unit of the displayed map, and its receptive field, in words.

    In a grid, `channel` names the tile.
    """
    here = words_for_unit(rendering, row, column, channel)
    return f"{here} · {_field_words(activations, rendering.layer, row, column)}"


def pair_place_words(
    pair: Pair, renderings: PairRendering, row: int, column: int, channel: int | None
) -> str:
    """Return both images' values at a unit, their difference and its receptive field, in words."""
    first, difference = renderings.first, renderings.difference
    named: dict[str, Rendering] = {"first": first, "second": renderings.second}
    if difference.values_are != "mismatch":
        named[difference.values_are] = difference
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
    # Only report sides clipped by the border; strides may also leave image rows unused.
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
    """Return the source of a rendering's numbers: weights, layer, mode and scale."""
    layer = layer_label(activations, rendering.layer)
    parts = [activations.weights.label, layer, f"mode {rendering.mode}"]
    words = range_words(rendering)
    if rendering.vmin is not None and rendering.vmax is not None:
        first, *gamma = words.split(" · ")
        if rendering.vmin == rendering.vmax:
            return " · ".join([*parts, NO_RANGE])
        extent = plain_range(rendering.vmin, rendering.vmax)
        words = " · ".join([", ".join(filter(None, [first, extent])), *gamma])
    return " · ".join(filter(None, [*parts, words]))


NO_RANGE = "nothing above 0"
"""The words in place of a range for an image of dead channels."""

RANGES = {
    "auto": "this picture's own range",
    "channel": "this picture's own range up to its maximum",
    "layer": "one range for the layer",
    "network": "one range for the network",
}
TILE_RANGES = {
    "auto": "each channel over its own range",
    "channel": "each channel over its own range up to its maximum",
}
"""The words used for a grid, where they differ."""


def range_words(rendering: Rendering) -> str:
    """Return the words for the range over which activations were coloured; "" if no scale applies.

    Parameters
    ----------
    rendering : Rendering
        The result of `render`.
    """
    mode = MODES.get(rendering.mode)
    if mode is not None and not mode.uses_scale:
        return mode.range_words
    if mode is None and not rendering.range_words:
        return ""
    words = rendering.range_words or RANGES[rendering.scale]
    if rendering.scale == "channel" and rendering.clipped[1] and not rendering.range_words:
        # A user's own percentile.
        words = RANGES["auto"]
    if not rendering.range_words and rendering.vmin is None:
        words = TILE_RANGES.get(rendering.scale, words)
    # A mode that normalises by the maximum itself applies no gamma.
    follows = rendering.scale == "auto" or rendering.vmin is not None or not rendering.range_words
    bent = rendering.gamma != 1 and follows
    return f"{words} · gamma {rendering.gamma:g}" if bent else words

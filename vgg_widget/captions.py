"""The words beside a picture: what it shows, and where its numbers come from."""

from __future__ import annotations

from vgg_widget.activations import Activations
from vgg_widget.coordinates import words_for_unit
from vgg_widget.modes import Rendering, find_mode


def caption(activations: Activations, rendering: Rendering) -> str:
    """Say which channels of which layer are on show, and how active they are.

    Returns
    -------
    str
        Layer, shape (height × width × channels), channels, then the smallest, mean and largest
        activation of these channels and the share of locations where they are active, and how
        many channels are dead.
    """
    rows, columns, count = activations.shape(rendering.layer)
    chosen = list(rendering.channels)
    statistics = activations.statistics(rendering.layer)
    if len(chosen) == 1:
        who = f"channel {chosen[0]}"
    elif len(chosen) == count:
        who = f"all {count} channels"
    elif len(chosen) <= 8:
        who = "channels " + ", ".join(map(str, chosen))
    else:
        who = f"{len(chosen)} channels"
    active = float(statistics.fraction_active[chosen].mean())
    parts = [
        rendering.layer,
        f"{rows} × {columns} × {count}",
        who,
        f"min {_short(statistics.min[chosen].min())}",
        f"mean {_short(statistics.mean[chosen].mean())}",
        f"max {_short(statistics.max[chosen].max())}",
        f"{active:.0%} active",
    ]
    missing = 1 - float(statistics.fraction_finite[chosen].mean())
    if missing:
        parts.append(f"{missing:.2g} of the values NaN or infinite")
    dead = int(statistics.dead[chosen].sum())
    if len(chosen) > 1 and dead:
        parts.append("all of them dead" if dead == len(chosen) else f"{dead} of them dead")
    elif rendering.note:
        parts.append(rendering.note)
    if rendering.hidden:
        parts.append(f"{rendering.hidden} dead channel{'s' * (rendering.hidden > 1)} hidden")
    return " · ".join(parts)


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
    info = activations.info(rendering.layer)
    here = words_for_unit(rendering, row, column, channel)
    size = activations.image.shape[0], activations.image.shape[1]
    if info.receptive_field is None:
        return f"{here} · its receptive field is not defined"
    top, left, bottom, right = info.receptive_field_box(row, column, size)
    seen = f"sees input rows {top}–{bottom - 1}, columns {left}–{right - 1}"
    whole = info.whole_box(row, column)
    if whole is None:
        return f"{here} · {seen}"
    # Strides may leave rows of the image itself over, which no border has clipped.
    beyond = {
        "above": -whole[0],
        "left of": -whole[1],
        "below": whole[2] - size[0],
        "right of": whole[3] - size[1],
    }
    cut = ", ".join(f"{count} px {side} it" for side, count in beyond.items() if count > 0)
    if not cut:
        return f"{here} · {seen}"
    tall, wide = whole[2] - whole[0], whole[3] - whole[1]
    return f"{here} · {seen}: its {tall} × {wide} field is clipped by the border ({cut})"


def source_line(activations: Activations, rendering: Rendering) -> str:
    """Say where a picture's numbers come from: weights, layer, mode, scale."""
    parts = [activations.weights.label, rendering.layer, f"mode {rendering.mode}"]
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

"""The words beside a picture: what it shows, and where its numbers come from."""

from __future__ import annotations

from vgg_widget.activations import Activations
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

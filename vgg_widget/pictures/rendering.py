"""`render`: renders a layer as arrays, for all views."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.colors import Colormap

from vgg_widget.activations.mapping import RANKINGS, Activations
from vgg_widget.activations.telling import telling_channels
from vgg_widget.layers import is_index
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, find_cmap
from vgg_widget.pictures.modes import (
    DEFAULT_MODE,
    DEFAULT_SOME,
    TILED_MODE,
    Mode,
    ModeRequest,
    Picture,
    Pooled,
    Rendering,
    alone,
    as_rgba,
    coloured,
    find_mode,
)
from vgg_widget.pictures.scaling import (
    DEFAULT_SCALE,
    OWN_SCOPES,
    DisplayRange,
    Floats,
    Scale,
    as_scale,
    range_on,
)
from vgg_widget.support.messages import unknown_choice

ORDERS = (*RANKINGS, "location")
"""The orders of a grid: those of `Activations.rank`, and by the value at a location."""


HATCHING = (128, 128, 128, 255)
"""The colour of the lines over dead channels: grey, which differs from colours of the colormap."""

STRONGEST = "strongest"
"""Value of `channels` that selects those with the largest maximum."""


def render(
    activations: Activations,
    layer: str,
    mode: str = DEFAULT_MODE,
    *,
    channel: int | None = None,
    channels: Iterable[int] | str | None = None,
    cmap: str | Colormap = DEFAULT_CMAP,
    scale: str | Scale = DEFAULT_SCALE,
    order: str = "index",
    location: tuple[int, int] | None = None,
    hide_dead: bool = False,
) -> Rendering:
    """Render a layer as an image. The arguments are not changed.

    Parameters
    ----------
    activations : Activations
        The result of `FeatureExtractor` for an image.
    layer : str
        Any name of the layer: Keras's (after the ReLU), torchvision's or the papers'.
    mode : str
        ``"channel"``, ``"grid"``, ``"max"``, ``"mean"``, ``"argmax"``, ``"composite"``, ``"rgb"``,
        ``"rainbow"``, ``"groups"``, or a mode added with `register_mode`.
    channel : int, optional
        The channel for the mode ``"channel"``; 0 by default. Other modes ignore it, so that the
        same arguments work for every mode.
    channels : iterable of int, optional
        The channels for the other modes. If None or empty, ``grid``, ``max``, ``mean``, ``argmax``
        and ``groups`` use all channels; ``composite`` and ``rainbow`` use the first six from
        `telling_channels`, and ``rgb`` the first three. ``"strongest"`` uses the same number, but
        those with the largest maximum. In the mode ``"channel"``, if `channel` is not given, a
        single number here selects the channel, and several are refused.
    cmap : str or Colormap
        A matplotlib colormap or its name.
    scale : str or Scale
        The values from which the display range is computed: ``"auto"`` and ``"channel"`` use this
        image only (in a grid, each tile separately), ``"layer"`` all channels of the layer,
        ``"network"`` all layers. The range of ``"auto"`` extends to the 99.5th percentile of the
        positive values, with a gamma of 0.6 that lifts weak values; that of ``"channel"`` extends
        to the maximum, without gamma; the others extend to the 99.9th percentile. ``composite``
        divides each channel by its own maximum on all scales except ``"auto"``.
    order : str
        Order of a grid: ``"index"``, ``"max"``, ``"mean"``, ``"std"``, ``"sparsity"`` or
        ``"entropy"``, as in `Activations.rank`, or ``"location"`` for the value at `location`,
        strongest first.
    location : (int, int), optional
        Row and column in the feature map, for the order ``"location"``.
    hide_dead : bool
        Leave dead channels (0 everywhere) out of a grid; ``hidden`` of the result is their number.
        If all channels are dead, all are shown.

    Returns
    -------
    Rendering
        Colours, values, range and title.

    Raises
    ------
    ValueError
        If a name is unknown (the nearest is suggested), a channel is out of range, `channels` names
        several for a mode that shows one, or a required location is missing or outside the map.
    TypeError
        If `activations` has another type, such as an image.
    """
    if not isinstance(activations, Activations):
        raise TypeError(
            f"activations is a {type(activations).__name__}: pass an extractor's result for an "
            "image, FeatureExtractor()(image)."
        )
    options = RenderOptions(mode, channel, channels, cmap, scale, order, location, hide_dead)
    return render_alike((activations,), activations, layer, options)[0]


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The arguments of `render` other than activations and layer, with their defaults."""

    mode: str = DEFAULT_MODE
    channel: int | None = None
    channels: Iterable[int] | str | None = None
    cmap: str | Colormap = DEFAULT_CMAP
    scale: str | Scale = DEFAULT_SCALE
    order: str = "index"
    location: tuple[int, int] | None = None
    hide_dead: bool = False


def render_alike(
    shown: Sequence[Activations], together: Activations, layer: str, options: RenderOptions
) -> tuple[Rendering, ...]:
    """Render each of `shown` for comparison: with the same channels, order and range.

    `together` holds the activations of all of them. It ranks the channels and determines the ranges
    over a layer and the network. A location refers to the first.
    """
    mode, requested_scale = find_mode(options.mode), as_scale(options.scale)
    cmap = find_cmap(options.cmap)
    # Modes without a scale use a fixed one, since the explorer disables the control.
    scale = requested_scale if mode.uses_scale else as_scale("channel")
    if options.order not in ORDERS:
        raise ValueError(unknown_choice("order", options.order, ORDERS))
    requested = choose_channels(
        together, layer, mode, channel=options.channel, channels=options.channels
    )
    chosen = requested
    if mode.tiled:
        ranked = shown[0] if options.order == "location" else together
        chosen = _arranged(ranked, layer, requested, options.order, options.location)
        chosen = _without_dead(together, layer, chosen) if options.hide_dead else chosen
    # Use the sign of the whole layer, so that its channels can be compared.
    signed = together.signed(layer)
    over = partial(together.top, signed=signed)

    def request(pooled: Pooled) -> ModeRequest:
        def range_of(values: Floats) -> DisplayRange:
            own = pooled(values) if scale.scope in OWN_SCOPES else values
            return range_on(scale, layer, own, over, signed=signed)

        return ModeRequest(layer, chosen, cmap, scale.scope, range_of, pooled)

    pictures = _pictures(mode, [one.of_channels(layer, chosen) for one in shown], request)
    limits = _common_range(pictures, request(alone))
    return tuple(
        Rendering(
            layer=layer,
            mode=mode.name,
            channels=chosen,
            hidden=len(requested) - len(chosen),
            scale=requested_scale.scope,
            gamma=limits.gamma if limits else scale.gamma,
            cmap=cmap.name if mode.uses_cmap else None,
            colormap=cmap if mode.uses_cmap else None,
            title=_title(layer_label(together, layer), chosen, mode),
            **appearance(picture, limits, cmap),
        )
        for picture in pictures
    )


def _pictures(
    mode: Mode, parts: Sequence[Floats], request: Callable[[Pooled], ModeRequest]
) -> list[Picture]:
    """Render each part with the mode, taking ranges over the values of all parts.

    Only the mode's function knows the values it takes ranges of, and it asks for them in the same
    order for each part. The first round records these values, and the second is answered with the
    combined values of all parts. A third round follows if the answers change later requests.
    """
    if len(parts) == 1:
        return [_picture(mode, parts[0], request(alone))]
    together: list[Floats] = []
    for _ in range(3):
        made: list[Picture] = []
        recorded: list[list[Floats]] = []
        for maps in parts:
            turns: list[Floats] = []
            recorded.append(turns)
            made.append(_picture(mode, maps, request(partial(_pool_values, iter(together), turns))))
        before, together = together, [np.concatenate(turn) for turn in zip(*recorded, strict=False)]
        if len(before) == len(together) and all(map(_equal, before, together)):
            break
    return made


def _pool_values(answers: Iterator[Floats], turns: list[Floats], values: Floats) -> Floats:
    """Record the values, and return those of all parts, or the values if none are known yet."""
    turns.append(values.ravel())
    return next(answers, values)


def _equal(one: Floats, other: Floats) -> bool:
    return np.array_equal(one, other, equal_nan=True)


def _common_range(pictures: Sequence[Picture], request: ModeRequest) -> DisplayRange | None:
    """Return the range of the pictures that are not yet coloured, or None."""
    pictures = [picture for picture in pictures if picture.rgba is None]
    if not pictures:
        return None
    ranges = [picture.range for picture in pictures if picture.range is not None]
    if ranges:
        low, high = min(one.vmin for one in ranges), max(one.vmax for one in ranges)
        return DisplayRange(low, high, ranges[0].gamma)
    values = [picture.values for picture in pictures if picture.values is not None]
    return request.range_of(np.concatenate([part.ravel() for part in values]))


def choose_channels(
    activations: Activations,
    layer: str,
    mode: Mode,
    *,
    channel: int | None = None,
    channels: Iterable[int] | str | None = None,
) -> tuple[int, ...]:
    """Return the channels that a mode would show; raise ValueError if it cannot show them."""
    count = activations.info(layer).channels
    strongest = isinstance(channels, str) and channels == STRONGEST
    named = requested_channels(mode, channel, None if strongest else channels)
    if mode.takes == "one":
        argument = "channels" if channel is None else "channel"
        return (checked_channel(argument, named[0] if named else 0, layer, count),)
    if named:
        chosen = tuple(checked_channel("channels", number, layer, count) for number in named)
        if mode.count is not None and len(chosen) != mode.count:
            raise ValueError(
                f"channels has {len(chosen)} numbers, but mode {mode.name!r} takes exactly "
                f"{mode.count}: give {mode.count}, or none for the most informative."
            )
        return chosen
    if mode.takes == "all":
        return tuple(range(count))
    wanted = mode.count or DEFAULT_SOME
    if mode.count is not None and count < mode.count:
        raise ValueError(
            f"mode {mode.name!r} takes {mode.count} channels, but layer {layer!r} has {count}: "
            "choose another mode or layer."
        )
    if strongest:
        return tuple(activations.rank(layer, "max")[:wanted].tolist())
    return tuple(telling_channels(activations, layer, wanted).tolist())


def requested_channels(
    mode: Mode, channel: int | None, channels: Iterable[int] | str | None
) -> tuple[int, ...]:
    """Return the channels named for a mode; empty if the mode chooses."""
    named: tuple[int, ...] | None
    try:
        named = () if channels is None or isinstance(channels, str) else tuple(channels)
    except TypeError:
        named = None
    if named is None or isinstance(channels, str):
        raise ValueError(
            f"channels {channels!r} is not a list of numbers: write for instance (0, 5), or "
            f"{STRONGEST!r}."
        )
    if mode.takes != "one":
        return named
    if channel is not None:
        return (channel,)
    if len(named) > 1:
        raise ValueError(
            f"channels has {len(named)} numbers, but mode {mode.name!r} shows one channel: give "
            f"one, or choose a mode that shows several, such as {TILED_MODE!r}."
        )
    return named


def _arranged(
    activations: Activations,
    layer: str,
    chosen: tuple[int, ...],
    order: str,
    location: tuple[int, int] | None,
) -> tuple[int, ...]:
    if order == "index":
        # Keep the order in which channels were named.
        return chosen
    if order == "location":
        rank = activations.rank_at(layer, *checked_location(location, layer, activations))
    else:
        rank = activations.rank(layer, order)
    place = {int(channel): place for place, channel in enumerate(rank)}
    return tuple(sorted(chosen, key=place.__getitem__))


def _without_dead(activations: Activations, layer: str, chosen: tuple[int, ...]) -> tuple[int, ...]:
    dead = activations.statistics(layer).dead
    # Dead channels are more informative than an empty image.
    return tuple(channel for channel in chosen if not dead[channel]) or chosen


def layer_label(activations: Activations, layer: str) -> str:
    """Return a layer's display name, which marks maps before a ReLU."""
    plain, name = activations.plain_name(layer), activations.info(layer).name
    if plain == name:
        return layer
    # torchvision's numbers need Keras's name beside them; the papers' names do not.
    return f"{name} before ReLU ({layer})" if layer == plain else f"{layer} before ReLU"


def checked_location(location: object, layer: str, activations: Activations) -> tuple[int, int]:
    """Return a location as two plain ints, or raise ValueError naming the valid range."""
    rows, columns, _ = activations.shape(layer)
    return location_within(location, layer, rows, columns)


def location_within(location: object, layer: str, rows: int, columns: int) -> tuple[int, int]:
    """As `checked_location`, for a layer with maps of this many rows and columns."""
    pair = tuple(location) if isinstance(location, Iterable) else ()
    if len(pair) != 2 or not (is_index(pair[0], rows) and is_index(pair[1], columns)):
        what = "no location was given for"
        if location is not None:
            what = f"location {location!r} is not in"
        raise ValueError(
            f"{what} layer {layer!r}, whose maps are {rows} × {columns}: pass location=(row, "
            f"column), the row from 0 to {rows - 1} and the column from 0 to {columns - 1}."
        )
    return int(pair[0]), int(pair[1])


def nearest_channels(
    mode: Mode, count: int, channel: int, channels: Sequence[int] | str
) -> tuple[int, tuple[int, ...] | str]:
    """Return `channel` and `channels` as a layer of `count` channels can show them.

    A channel beyond the last becomes the last. Channels that do not exist are removed from
    `channels`; if too few remain for the mode, the result is empty, so that the mode chooses. A
    string is returned unchanged.
    """
    if isinstance(channels, str):
        return min(channel, count - 1), channels
    left = tuple(number for number in channels if number < count)
    if mode.count is not None:
        left = left[: mode.count] if len(left) >= mode.count else ()
    return min(channel, count - 1), left


def checked_channel(argument: str, number: object, layer: str, count: int) -> int:
    """Return a channel number as a plain int, or raise ValueError naming the valid range."""
    if not is_index(number, count):
        raise ValueError(
            f"{argument} {number!r} is not in layer {layer!r}, which has {count} channels: "
            f"choose whole numbers from 0 to {count - 1}."
        )
    return int(number)


def typed_channels(argument: str, text: str, others: str = "") -> tuple[int, ...]:
    """Parse typed channel numbers such as ``"0, 5-8 12"``, dropping duplicates.

    Raises ValueError for anything else; `others` names further accepted words for its message.
    """
    numbers: list[int] = []
    for word in re.split(r"[,;\s]+", re.sub(r"\s*([-–])\s*", r"\1", text.strip())):
        if not word:
            continue
        match = re.fullmatch(r"(\d{1,6})(?:[-–](\d{1,6}))?", word)
        if match is None:
            raise ValueError(
                f"{argument} {word!r} is not a number or range: write for instance 0, 5-8, "
                f"12{others}."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{argument} {word!r} runs backwards: write {last}-{first}.")
        numbers.extend(range(first, last + 1) if last - first < 10_000 else (first, last))
    return tuple(dict.fromkeys(numbers))


def _picture(mode: Mode, maps: Floats, request: ModeRequest) -> Picture:
    try:
        made = mode.function(maps, request)
    except Exception as error:
        if not mode.built_in:
            error.add_note(f"mode {mode.name!r} failed on layer {request.layer!r}")
        raise
    if isinstance(made, Picture):
        if made.values is None and made.rgba is None:
            raise ValueError(
                f"mode {mode.name!r} returned a Picture with neither values nor rgba: set one of "
                "them."
            )
        if made.range is not None and not made.range.is_sound():
            raise ValueError(
                f"mode {mode.name!r} returned a Picture with the range {made.range.vmin!r} to "
                f"{made.range.vmax!r} and gamma {made.range.gamma!r}: give finite numbers, the "
                "smaller end first, and a positive gamma."
            )
        return made
    made = np.asarray(made)
    if made.ndim == 2:
        return Picture(values=made.astype(np.float32, copy=False))
    if made.ndim == 3 and made.shape[-1] in (3, 4):
        return Picture(rgba=as_rgba(made))
    raise ValueError(
        f"mode {mode.name!r} returned an array of shape {made.shape}: return (h, w) values, "
        "(h, w, 3) colours, or a Picture."
    )


def appearance(
    picture: Picture, limits: DisplayRange | None, cmap: Colormap | None
) -> dict[str, Any]:
    """Return the fields of a `Rendering` for a picture, with its values coloured.

    Range and colormap may be None if the picture already has colours.
    """
    values, rgba = picture.values, picture.rgba
    note = ""
    if rgba is not None:
        limits = None
    else:
        assert values is not None
        assert limits is not None
        assert cmap is not None
        rgba = coloured(limits.normalise(values), cmap)
        if picture.blank is not None:
            rgba[picture.blank] = 0
        low, high = float(values.min()), float(values.max())
        if low == high:
            note = "dead" if high == 0 else "constant"
    if picture.hatched is not None and picture.hatched.any():
        rgba = rgba.copy()
        rgba[picture.hatched] = HATCHING
    return {
        "rgba": rgba,
        "values": values,
        "vmin": limits.vmin if limits else None,
        "vmax": limits.vmax if limits else None,
        "clipped": limits.clipped(values) if limits and values is not None else (False, False),
        "note": note,
        "tiles": picture.tiles,
        "legend": picture.legend,
        "values_are": picture.values_are,
        "range_words": picture.range_words or ("the mode's own range" if picture.range else ""),
    }


def _title(label: str, channels: tuple[int, ...], mode: Mode) -> str:
    numbers = [str(number) for number in channels]
    if len(numbers) > 8:
        numbers = [*numbers[:7], "…"]
    # The phrase is written by the mode's author; str.format would fail on other braces.
    phrase = mode.phrase.replace("{channels}", ", ".join(numbers))
    return f"{label} · {phrase.replace('{count}', str(len(channels)))}"

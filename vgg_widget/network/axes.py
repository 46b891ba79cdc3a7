"""Which axes of a tensor are rows, columns and channels, followed through a model's graph.

A layout is a word with a letter for each axis: ``"NHWC"`` is (batch, rows, columns, channels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vgg_widget.network.graph import Call, kind_of

CHANNELS_LAST, CHANNELS_FIRST, FLAT = "NHWC", "NCHW", "NHW"


def layouts(calls: Sequence[Call], pixels: Any) -> Mapping[int, str]:
    """Return the layout of every tensor in a graph that has rows and columns.

    Parameters
    ----------
    calls : sequence of Call
        In order of execution.
    pixels : KerasTensor
        The input. Of four axes, its last or its second holds the channels: whichever the layers
        that it comes to ask for, and where these take both, whichever has 1 or 3 of them.

    Returns
    -------
    mapping of int to str
        By the tensor's ``id``; empty for an input that is no image.
    """
    shape = pixels.shape
    if len(shape) == 3:
        return _followed(calls, pixels, FLAT)[0]
    if len(shape) != 4:
        return {}
    ways = []
    for layout in (CHANNELS_LAST, CHANNELS_FIRST):
        found, refused = _followed(calls, pixels, layout)
        ways.append(((refused, shape[layout.index("C")] not in (1, 3)), found))
    return min(ways, key=lambda way: way[0])[1]


def rows_last(layout: str) -> bool:
    """Tell whether columns come before rows, as in a picture that lies on its side."""
    return layout.index("W") < layout.index("H")


def indexed(layout: str, call: Call) -> list[tuple[str, Any]] | None:
    """Return the axes of a tensor with the index that a GetItem takes of each.

    New axes are called ``"+"``. None where the index is no plain one.
    """
    key = [*call.arguments[0], *call.arguments[1].values()][1]
    key = list(key) if isinstance(key, list | tuple) else [key]
    if any(not _is_plain(each) for each in key):
        return None
    taken = sum(each is not None and each is not ... for each in key)
    whole: list[Any] = [slice(None)] * (len(layout) - taken)
    place = next((at for at, each in enumerate(key) if each is ...), len(key))
    key[place : place + 1] = whole
    letters = iter(layout)
    return [("+" if each is None else next(letters), each) for each in key]


def _is_plain(index: Any) -> bool:
    if isinstance(index, slice):
        return all(
            end is None or isinstance(end, int) for end in (index.start, index.stop, index.step)
        )
    return index is None or index is ... or isinstance(index, int | np.integer)


def axes_of(layer: Any, rank: int) -> list[int]:
    """Return the axes that a layer's ``axis`` names, counted from the front."""
    axis = getattr(layer, "axis", None)
    axes = axis if isinstance(axis, list | tuple) else [] if axis is None else [axis]
    return [int(each) % rank for each in axes]


def _followed(calls: Sequence[Call], pixels: Any, layout: str) -> tuple[dict[int, str], int]:
    """Follow an input's layout, and count the layers that do not take what comes to them."""
    known = {id(pixels): layout}
    usual, refused = layout if len(layout) == 4 else CHANNELS_LAST, 0
    for call in calls:
        asked = _asked_for(call.layer)
        sources = [source for source in call.sources if id(source) in known]
        if asked:
            usual = asked
            before = [known[id(source)] for source in sources if len(source.shape) == 4]
            taken = [one for one in before if one.index("C") == asked.index("C")]
            refused += len(taken) < len(before)
            # It asks for the channels' place alone: rows and columns stay as they come.
            asked = taken[0] if taken else asked
        for result in call.results:
            rank = len(result.shape)
            after = asked if rank == 4 else None
            if after is None and sources:
                source = min(sources, key=lambda one: len(one.shape) != rank)
                after = _after(call, known[id(source)], source.shape, result.shape)
            if after is None and rank == 4:
                after = usual
            if after is not None:
                known[id(result)] = after
    return known, refused


def _asked_for(layer: Any) -> str | None:
    """Return the layout that a layer insists on."""
    # In inference they change nothing, and have a data_format that nobody may have thought of.
    if kind_of(layer).startswith("Random"):
        return None
    formats = {"channels_last": CHANNELS_LAST, "channels_first": CHANNELS_FIRST}
    return formats.get(str(getattr(layer, "data_format", None)))


def _after(call: Call, layout: str, before: Sequence[Any], after: Sequence[Any]) -> str | None:
    layer, kind = call.layer, kind_of(call.layer)
    if kind in _TURNS:
        # Axes that are as long as their numbers tell where each has gone.
        turned = _TURNS[kind](layer, np.empty(range(len(layout)))).shape
        return "".join(layout[axis] for axis in turned)
    if kind == "ops.GetItem":
        pairs = indexed(layout, call)
        kept = "".join(letter for letter, at in pairs or () if not _is_number(at))
        return _with_channels(kept)
    gained = len(after) - len(layout)
    axes = axes_of(layer, max(len(after), len(layout)))
    if kind and len(axes) == abs(gained) == 1:
        (axis,) = axes
        rest = layout[axis:] if gained > 0 else layout[axis + 1 :]
        return _with_channels(layout[:axis] + "+" * (gained > 0) + rest)
    # A reshape to the sides of a picture that lies on its side would mix its rows and columns.
    return _by_shape(layout, before, after, may_turn="Reshape" not in kind)


def _is_number(index: Any) -> bool:
    return index is not None and not isinstance(index, slice)


def _with_channels(layout: str) -> str | None:
    """Take a new axis for the channels, where there were none."""
    if "C" not in layout:
        layout = layout.replace("+", "C", 1)
    return layout if {*"NHW"} <= {*layout} <= {*"NHWC"} else None


def _by_shape(
    layout: str, before: Sequence[Any], after: Sequence[Any], *, may_turn: bool
) -> str | None:
    """Look for the axes by their lengths, after what does not tell where they are."""
    sides = {"C": 1, **dict(zip(layout, before, strict=True))}
    rest = layout.replace("C", "")
    for order in [rest, _turned(rest)] if may_turn else [rest]:
        ways = [order] if sides["C"] == 1 else []
        ways += [order[:axis] + "C" + order[axis:] for axis in range(1, 4)]
        fitting = [way for way in ways if [sides[letter] for letter in way] == list(after)]
        if layout in fitting:
            return layout
        if len(fitting) == 1:
            return fitting[0]
    return layout if len(after) == len(layout) else None


def _turned(layout: str) -> str:
    return layout.translate(str.maketrans("HW", "WH"))


_TURNS = {
    "Permute": lambda layer, array: array.transpose(0, *layer.dims),
    "ops.Transpose": lambda layer, array: array.transpose(layer.axes),
    "ops.Moveaxis": lambda layer, array: np.moveaxis(array, layer.source, layer.destination),
    "ops.Swapaxes": lambda layer, array: np.swapaxes(array, layer.axis1, layer.axis2),
}
TURNS = frozenset(_TURNS)

"""The sum that a unit's value is, as a table: what each input reads, its kernel, what it adds."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np

from vgg_widget.gradients import UnitSum
from vgg_widget.support.messages import plain_number

# Inputs by themselves on either side of 0; all others are one line on each side.
_EACH_SIDE = 5
# A kernel with more cells a side is too wide for a table.
_WIDEST = 5
_DIGITS = 4


def sum_table(found: UnitSum) -> str:
    """Return a unit's sum as markup, the largest parts of either sign in lines of their own.

    The lines add up to the value on show, but for the rounding that the last lines tell.
    """
    added = found.contributions.sum(axis=(0, 1))
    order = np.argsort(-added, kind="stable").tolist()
    raising = [one for one in order if added[one] > 0]
    lowering = [one for one in order if added[one] < 0]
    rows = [_row(found, one, added[one]) for one in raising[:_EACH_SIDE]]
    rows += _rest(raising[_EACH_SIDE:], added, "that raise it")
    rows += _rest(lowering[:-_EACH_SIDE], added, "that lower it")
    rows += [_row(found, one, added[one]) for one in lowering[-_EACH_SIDE:]]
    none = len(order) - len(raising) - len(lowering)
    if none:
        rows.append(_line(f"{none} more that add nothing", "0"))
    rows.append(_line("bias", _signed(found.bias)))
    rows.append(_line("sum, in float64", plain_number(found.total, 7), strong=True))
    if found.activation == "relu":
        rows.append(_line("after the ReLU", plain_number(max(found.total, 0.0), 7), strong=True))
    elif found.activation != "linear":
        rows.append(_line(f"then {found.activation}", plain_number(found.value, 7), strong=True))
    shown = plain_number(found.value, 7)
    rows.append(_line("on show, which the network adds up in float32", shown))
    source = "the preprocessed picture" if found.source is None else found.source
    caption = (
        f"{found.layer} channel {found.channel} at row {found.location[0]}, column "
        f"{found.location[1]}, as a sum over {source}"
    )
    cells = ["input", *(["it reads", "× kernel"] if _shows_cells(found) else []), "adds"]
    *others, last = (f'<th scope="col">{cell}</th>' for cell in cells)
    head = "".join(others) + last.replace("<th", '<th class="vgg-adds"')
    return (
        f'<table class="vgg-sum"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _shows_cells(found: UnitSum) -> bool:
    return bool(max(found.kernel.shape[:2]) <= _WIDEST)


def _row(found: UnitSum, one: int, adds: float) -> str:
    cells = ""
    if _shows_cells(found):
        patch, kernel = found.patch[..., one], found.kernel[..., one]
        cells = f"<td>{_grid(patch, found.inside)}</td><td>{_grid(kernel)}</td>"
    name = html.escape(found.names[one])
    return f'<tr><th scope="row">{name}</th>{cells}<td class="vgg-adds">{_signed(adds)}</td></tr>'


def _rest(numbers: list[int], added: Any, which: str) -> list[str]:
    if not numbers:
        return []
    return [_line(f"{len(numbers)} more {which}", _signed(float(added[numbers].sum())))]


def _line(words: str, number: str, *, strong: bool = False) -> str:
    kind = ' class="vgg-total"' if strong else ""
    return (
        f'<tr{kind}><th scope="row" colspan="3">{html.escape(words)}</th>'
        f'<td class="vgg-adds">{number}</td></tr>'
    )


def _grid(numbers: Any, inside: Any = None) -> str:
    """Return a small table of numbers, all to the same place; what is padding is faint."""
    rows: list[str] = []
    top = float(np.abs(numbers).max())
    places = max(0, _DIGITS - 1 - math.floor(math.log10(top))) if 0 < top < math.inf else 0
    for row, column in np.ndindex(numbers.shape):
        padding = inside is not None and not inside[row, column]
        kind = ' class="vgg-padding" title="padding"' if padding else ""
        cell = f"<td{kind}>{float(numbers[row, column]) + 0.0:.{places}f}</td>"
        if column == 0:
            rows.append("")
        rows[-1] += cell
    return '<table class="vgg-cells">' + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _signed(number: float) -> str:
    words = plain_number(number, _DIGITS)
    return f"+{words}" if number > 0 else words

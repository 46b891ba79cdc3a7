"""A unit's value as a sum, in a table: each input's values, its kernel, its contribution."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np

from vgg_widget.gradients import UnitSum
from vgg_widget.support.messages import plain_number

# Inputs with a line of their own on either side of 0; all others share one line on each side.
_EACH_SIDE = 5
# A kernel with more cells a side is too wide for a table.
_WIDEST = 5
# Significant digits of the largest number in a patch or kernel, and of the largest contribution.
_DIGITS, _DIGITS_ADDED = 4, 6
_MOST_PLACES = 9


def sum_table(found: UnitSum) -> str:
    """Return a unit's sum as HTML, with the largest parts of either sign on lines of their own.

    All lines are rounded to the same decimal place; apart from this, they add up to the sum.
    """
    added = found.contributions.sum(axis=(0, 1))
    order = np.argsort(-added, kind="stable").tolist()
    # Infinity and NaN come first, since no number is larger.
    raising = [one for one in order if not np.isfinite(added[one])]
    raising += [one for one in order if np.isfinite(added[one]) and added[one] > 0]
    lowering = [one for one in order if np.isfinite(added[one]) and added[one] < 0]
    places = _places(np.append(added, found.bias), _DIGITS_ADDED)
    rows = [_row(found, one, added[one], places) for one in raising[:_EACH_SIDE]]
    rows += _rest(raising[_EACH_SIDE:], added, "that raise it", places)
    rows += _rest(lowering[:-_EACH_SIDE], added, "that lower it", places)
    rows += [_row(found, one, added[one], places) for one in lowering[-_EACH_SIDE:]]
    none = len(order) - len(raising) - len(lowering)
    if none:
        rows.append(_line(f"{none} more that add nothing", "0"))
    rows.append(_line("bias", _signed(found.bias, places)))
    rows.append(_line("sum, in float64", plain_number(found.total, 7), strong=True))
    if found.activation == "relu":
        rows.append(_line("after the ReLU", plain_number(max(found.total, 0.0), 7), strong=True))
    elif found.activation != "linear":
        rows.append(_line(f"then {found.activation}", plain_number(found.value, 7), strong=True))
    shown = plain_number(found.value, 7)
    rows.append(_line("displayed, summed by the network in float32", shown))
    source = "the preprocessed picture" if found.source is None else found.source
    caption = (
        f"{found.layer} channel {found.channel} at row {found.location[0]}, column "
        f"{found.location[1]}, as a sum over {source}"
    )
    head = '<th scope="col" colspan="3">input</th>'
    if _shows_cells(found):
        cells = ("input", "it reads", "× kernel")
        head = "".join(f'<th scope="col">{cell}</th>' for cell in cells)
    head += '<th scope="col" class="vgg-adds">adds</th>'
    return (
        f'<table class="vgg-sum"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _shows_cells(found: UnitSum) -> bool:
    return bool(max(found.kernel.shape[:2]) <= _WIDEST)


def _row(found: UnitSum, one: int, adds: float, places: int | None) -> str:
    # As wide as the lines without cells.
    cells, across = "", ' colspan="3"'
    if _shows_cells(found):
        across = ""
        patch, kernel = found.patch[..., one], found.kernel[..., one]
        cells = f"<td>{_grid(patch, found.inside)}</td><td>{_grid(kernel)}</td>"
    name = html.escape(found.names[one])
    adding = f'<td class="vgg-adds">{_signed(adds, places)}</td>'
    return f'<tr><th scope="row"{across}>{name}</th>{cells}{adding}</tr>'


def _rest(numbers: list[int], added: Any, which: str, places: int | None) -> list[str]:
    if not numbers:
        return []
    rest = _signed(float(added[numbers].sum()), places)
    return [_line(f"{len(numbers)} more {which}", rest)]


def _line(words: str, number: str, *, strong: bool = False) -> str:
    kind = ' class="vgg-total"' if strong else ""
    return (
        f'<tr{kind}><th scope="row" colspan="3">{html.escape(words)}</th>'
        f'<td class="vgg-adds">{number}</td></tr>'
    )


def _grid(numbers: Any, inside: Any = None) -> str:
    """Return a small table of numbers, rounded to the same decimal place, with faint padding."""
    rows: list[str] = []
    places = _places(numbers, _DIGITS)
    for row, column in np.ndindex(numbers.shape):
        padding = inside is not None and not inside[row, column]
        kind = ' class="vgg-padding" title="padding"' if padding else ""
        cell = f"<td{kind}>{_to_place(float(numbers[row, column]), places)}</td>"
        if column == 0:
            rows.append("")
        rows[-1] += cell
    return '<table class="vgg-cells">' + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _places(numbers: Any, digits: int) -> int | None:
    """Return the decimals that give the largest number `digits` digits; None for exponents."""
    finite = np.abs(numbers[np.isfinite(numbers)])
    top = float(finite.max()) if finite.size else 0.0
    if top == 0:
        return 0
    places = digits - 1 - math.floor(math.log10(top))
    return max(0, places) if places <= _MOST_PLACES else None


def _to_place(number: float, places: int | None) -> str:
    # Adding 0 turns -0 into 0.
    words = plain_number(number, 3) if places is None else f"{number + 0.0:.{places}f}"
    return words if math.isfinite(number) else plain_number(number)


def _signed(number: float, places: int | None) -> str:
    words = _to_place(number, places)
    return f"+{words}" if number > 0 else words

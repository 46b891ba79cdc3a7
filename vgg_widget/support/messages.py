"""Wording of errors and of numbers: the nearest name, reasons in a sentence, "1,230"."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

import numpy as np


def unknown_choice(argument: str, value: object, options: Iterable[str]) -> str:
    """Return a sentence that `value` is not an option, with advice.

    The advice is the nearest option if one is near, else the list of options.
    """
    names = list(options)
    near = nearest(names, value) if isinstance(value, str) else None
    if near is not None:
        advice = f"did you mean {near!r}?"
    elif len(names) <= 12:
        advice = f"choose one of {', '.join(map(repr, names))}."
    else:
        advice = f"choose one of the {len(names)} names from {names[0]!r} to {names[-1]!r}."
    what = "not known" if isinstance(value, str) else f"of type {type(value).__name__}, not a name"
    return f"{argument} {briefly(value)} is {what}: {advice}"


def nearest(names: Sequence[str], value: object) -> str | None:
    """Return the name most similar to a value, or None if none is similar."""
    return next(iter(difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)), None)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 layer" or "2 layers"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def briefly(value: object) -> str:
    """Return a value's repr for a sentence, or its type if the repr is too long."""
    words = repr(value)
    return words if len(words) <= 200 else f"of type {type(value).__name__}"


def plain_number(value: float, digits: int = 3) -> str:
    """Return a number in its usual notation: ``"0.0123"``, ``"-4.5"``, ``"1,230"``, ``"∞"``.

    It is rounded to `digits` significant digits. From ten million on, and below a ten-thousandth,
    it has an exponent.
    """
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    # Adding 0 turns -0 into 0.
    words = f"{value + 0.0:.{digits}g}"
    rounded = float(words)
    # With two digits, the format would give even 170 an exponent.
    if not min(1000, 10**digits) <= abs(rounded) < 1e7:
        return words
    return f"{rounded:,.{max(0, digits - len(str(int(abs(rounded)))))}f}"


def plain_range(low: float, high: float, digits: int = 3) -> str:
    """Return two numbers in the notation of `plain_number`: ``"0 to 1,230"``."""
    return f"{plain_number(low, digits)} to {plain_number(high, digits)}"


def megabytes(size: int) -> str:
    """Return a number of bytes with two digits: ``"65 MB"``, ``"0.41 MB"``."""
    return f"{plain_number(size / 1e6, 2)} MB"


def percent(share: float) -> str:
    """Return a share as a percentage with two digits: ``"100%"``, ``"0.0031%"``."""
    return f"{np.format_float_positional(100 * share, 2, fractional=False, trim='-')}%"


def reason(error: BaseException) -> str:
    """Return an exception's message as part of a one-line sentence, or else its type."""
    words = " ".join(str(error).split()).rstrip(".")
    plain = "".join(letter if letter.isprintable() else "?" for letter in words)
    if not plain:
        return type(error).__name__
    return plain if len(plain) <= 200 else plain[:199] + "…"

"""Tests of how messages write numbers, and that no other code rounds them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import vgg_widget
from vgg_widget.support.messages import plain_number, plain_range


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.25, "0.25"),
        (-0.012345, "-0.0123"),
        (0.00012345, "0.000123"),
        (12.345, "12.3"),
        (999.4, "999"),
        (999.6, "1,000"),
        (1234.5, "1,230"),
        (-98765, "-98,800"),
        (1_234_567, "1,230,000"),
        (9_994_999, "9,990,000"),
        (9_999_999, "1e+07"),
        (1.234e-7, "1.23e-07"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_numbers_are_written_without_needless_exponents(value: float, words: str) -> None:
    assert plain_number(value) == words


def test_more_or_fewer_digits() -> None:
    assert plain_number(1234.56, 4) == "1,235"
    assert plain_number(1234.56, 2) == "1,200"
    assert plain_number(1234.56, 5) == "1,234.6"
    assert plain_number(999.996, 5) == "1,000.0"
    assert plain_number(12, 5) == "12"
    # Python's own format would write file sizes from 100 on with an exponent.
    assert [plain_number(value, 2) for value in (99.6, 167, 987)] == ["100", "170", "990"]
    assert plain_range(-0.5, 12345) == "-0.5 to 12,300"


def test_nothing_else_rounds_numbers_to_digits() -> None:
    """Python's own format writes 1230 to three digits as 1.23e+03."""
    own = re.compile(r":[-+,]?\.\d+g\}")
    root = Path(vgg_widget.__file__).parent
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in sorted(root.rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if own.search(line)
    ]
    assert found == []

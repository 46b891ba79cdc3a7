"""Tests of merging: the summaries of any parts give the summary of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_widget.dataset.summary import BINS, MergeTree, Reduced, Summary, merged, summarised


def summary_of(values: Any, start: int, k: int) -> Summary:
    count = len(values)
    numbers = np.broadcast_to(np.arange(start, start + count)[:, None], values.shape)
    return summarised(
        Reduced(values, values, numbers.astype(np.int32), -numbers.astype(np.int32)),
        range(count),
        k,
        sizes=np.full((count, 4), start, np.int32),
        digests=np.zeros((count, 32), np.uint8),
        failed=((0, f"bad {start}"),),
    ).shifted(start)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(0, 2**31),
)
def test_the_tree_gives_the_summary_of_one_list(parts: list[int], k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values give many ties; some values are not finite.
    values = rng.choice(np.array([-2, 0, 0.5, 1, 7, np.inf, np.nan], np.float32), (sum(parts), 3))
    tree = MergeTree[Summary](lambda some: merged(some, k))
    start = 0
    for count in parts:
        tree.add(summary_of(values[start : start + count], start, k))
        start += count
    whole = tree.result()
    assert whole is not None
    for channel in range(3):
        column = values[:, channel]
        finite = [place for place in range(start) if np.isfinite(column[place])]
        order = sorted(finite, key=lambda place: (-column[place], place))[:k]
        missing = min(k, start) - len(order)
        assert whole.images[channel].tolist() == order + [-1] * missing
        assert whole.values[channel].tolist() == [*column[order], *[-np.inf] * missing]
        assert whole.rows[channel, : len(order)].tolist() == order
        assert (-whole.columns[channel, : len(order)]).tolist() == order
        assert whole.counted[channel] == len(finite)
        assert whole.total[channel] == column[finite].sum()
        assert whole.active[channel] == np.count_nonzero(column[finite] > 0)
        assert whole.histogram[channel].sum() == len(finite)
        assert whole.histogram[channel, BINS // 2] == np.count_nonzero(column[finite] == 0)
    assert len(whole.sizes) == len(whole.digests) == start
    firsts = np.cumsum([0, *parts[:-1]]).tolist()
    assert whole.failed == tuple((first, f"bad {first}") for first in firsts)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65])
def test_the_shape_of_the_tree_depends_only_on_the_number_of_parts(count: int) -> None:
    def grouped(parts: list[str]) -> list[str]:
        """Group neighbours in fours, level by level."""
        while len(parts) > 1:
            fours = [parts[first : first + 4] for first in range(0, len(parts), 4)]
            parts = [four[0] if len(four) == 1 else f"({' '.join(four)})" for four in fours]
        return parts

    held = most = 0

    def merge(parts: list[str]) -> str:
        nonlocal held
        held -= len(parts) - 1
        return f"({' '.join(parts)})"

    tree = MergeTree[str](merge)
    for number in range(count):
        held += 1
        tree.add(str(number))
        most = max(most, held)
    assert tree.result() == grouped([str(number) for number in range(count)])[0]
    # At most three parts are held on each of four levels.
    assert most <= 3 * 4


def test_an_empty_tree_has_no_result() -> None:
    assert MergeTree[int](sum).result() is None

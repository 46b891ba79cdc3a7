from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.figures import Figure, load, save
from tests.benchmarks.targets import (
    FAR,
    FORWARD,
    IMAGE,
    LOOP,
    NETWORK,
    ONE_FRAME,
    ONNX,
    OURS,
    RETRACES,
    STOCK,
    drag,
    keys,
)


def forward(network: float, *others: Figure) -> list[Figure]:
    return [Figure(FORWARD, ONNX, 0.2), Figure(FORWARD, NETWORK, network), *others]


def line(table: str, name: str) -> list[str]:
    found = [text for text in table.splitlines() if text.startswith(f"| {name} ")]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].strip("|").split("|")]


@pytest.mark.parametrize(("seconds", "measured", "met"), [(0.22, "1.1", "yes"), (0.3, "1.5", "NO")])
def test_a_target_is_a_ratio_of_two_figures(seconds: float, measured: str, met: str) -> None:
    found = line(report.table(forward(seconds)), NETWORK)
    assert found[3:] == ["≤ 1.15 × ONNX Runtime", measured, met]
    assert len(report.unmet(forward(seconds))) == (met == "NO")


def test_a_target_from_below_and_an_absolute_one() -> None:
    table = report.table(forward(0.2, Figure(FORWARD, LOOP, 4.0), Figure(FORWARD, RETRACES, 1, "")))
    assert line(table, LOOP)[4:] == ["20", "yes"]
    assert line(table, RETRACES)[3:] == ["≤ 0", "1", "NO"]


def test_a_missing_peer_leaves_its_target_open() -> None:
    table = report.table([Figure(FORWARD, NETWORK, 0.2)])
    assert line(table, NETWORK)[5] == "not measured"
    assert line(table, LOOP)[1] == "not measured"
    assert report.unmet([Figure(FORWARD, NETWORK, 0.2)]) == []


def test_a_figure_is_the_median_with_its_range() -> None:
    table = report.table([Figure.of("a group", "a line", [0.03, 0.01, 0.02])])
    assert line(table, "a line")[1] == "20 ms (10–30)"


def test_near_and_far_figures_are_compared_with_their_own_peers() -> None:
    figures = [
        Figure(keys("channel", where), name, value, "ms")
        for where, times in (("", 1), (FAR, 4))
        for name, value in ((STOCK, 200 * times), (OURS, 5), (IMAGE, 50 * times))
    ]
    table = report.table(figures)
    near, far = table.split(f"**{keys('channel', FAR)}**")
    assert line(near, OURS)[2:] == [f"0.025 × {STOCK}, 0.1 × {IMAGE}", "≤ 16", "5", "yes"]
    assert line(far, OURS)[2] == f"0.00625 × {STOCK}, 0.025 × {IMAGE}"


def test_each_line_of_a_drag_is_compared_with_a_line_of_its_kind() -> None:
    group = drag(FAR)
    figures = [
        Figure(group, ONE_FRAME, 200, "kB"),
        Figure(group, f"{STOCK}: pictures", 5, "/s"),
        Figure(group, f"{STOCK}: bytes from the kernel", 1000, "kB"),
        Figure(group, f"{OURS}: pictures", 50, "/s"),
        Figure(group, f"{OURS}: bytes from the kernel", 500, "kB"),
        Figure(group, f"{OURS}: in the end the value's picture", 1, ""),
    ]
    table = report.table(figures)
    assert line(table, f"{OURS}: pictures")[2:] == [f"10 × {STOCK}", "≥ 40", "50", "yes"]
    found = line(table, f"{OURS}: bytes from the kernel")
    assert found[2:] == [f"0.5 × {STOCK}", f"≤ 2 × {ONE_FRAME}", "2.5", "NO"]
    assert line(table, f"{OURS}: in the end the value's picture")[2] == ""
    assert line(table, ONE_FRAME)[2] == ""


def test_saved_figures_are_loaded_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "figures.json"
    figures = forward(0.25, Figure.of("a group", "a line", [1.0, 3.0, 2.0], "kB"))
    save(figures, path)
    assert load(path) == figures
    assert json.loads(path.read_text(encoding="utf-8"))["machine"]["cores"] >= 1


def test_a_page_says_when_and_where_and_what_was_missed(tmp_path: Path) -> None:
    path = tmp_path / "python.json"
    save(forward(0.3), path)
    made = json.loads(path.read_text(encoding="utf-8"))
    text = report.page([path])
    assert f"Measured on {made['made'][:10]}: {made['machine']['cores']} cores" in text
    assert f"numpy {made['packages']['numpy']}" in text
    missed = text.partition("## Missed targets")[2].partition("## Figures")[0]
    assert missed.strip() == f"- {FORWARD}: {NETWORK} 1.5, not ≤ 1.15 × ONNX Runtime"
    assert line(text, NETWORK)[3:] == ["≤ 1.15 × ONNX Runtime", "1.5", "NO"]

"""Print the table of a benchmark run: figures, ratios, targets and whether these are met.

python -m tests.benchmarks.report .benchmarks/python.json .benchmarks/browser.json
                                  [--page docs/speed-figures.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.figures import Figure, load
from tests.benchmarks.targets import REFERENCES, TARGETS, Target

Known = Mapping[tuple[str, str], Figure]
Row = tuple[str, str, str, str, str, str]

HEAD: Row = ("", "figure", "ratio", "target", "measured", "met")


def rows(figures: Iterable[Figure]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the groups in the order of measurement, each with its lines."""
    known = {(figure.group, figure.name): figure for figure in figures}
    for group in dict.fromkeys(group for group, _ in known):
        lines: list[Row] = []
        for figure in known.values():
            if figure.group != group:
                continue
            first = figure.name, written(figure), ratio(figure, known)
            targets = [t for t in TARGETS if (t.group, t.name) == (group, figure.name)]
            judged = [judge(target, known) for target in targets] or [("", "", "")]
            lines.append((*first, *judged[0]))
            lines += [("", "", "", *more) for more in judged[1:]]
        for target in TARGETS:
            if target.group == group and (group, target.name) not in known:
                lines.append((target.name, "not measured", "", in_words(target), "", ""))
        yield group, lines


def written(figure: Figure) -> str:
    """Format a figure with its unit and, if measured several times, its range."""
    unit, times = ("ms", 1000) if figure.unit == "s" and figure.value < 0.1 else (figure.unit, 1)
    text = f"{number(figure.value * times)} {unit}".strip()
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return text
    return f"{text} ({number(figure.low * times)}–{number(figure.high * times)})"


def number(value: float) -> str:
    """Format a number with three digits, or all that stand before the decimal point."""
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(figure: Figure, known: Known) -> str:
    """Return a figure's ratio to its group's reference; if there are several, name each."""
    names = REFERENCES.get(figure.group, ())
    _, mark, kind = figure.name.partition(": ")
    found = []
    for name in names:
        alike = known.get((figure.group, name)) or known.get((figure.group, name + mark + kind))
        if alike is not None and figure.unit and alike.unit == figure.unit and alike.value:
            times = f"{number(figure.value / alike.value)} ×"
            found.append(times if len(names) == 1 else f"{times} {name}")
    return ", ".join(found)


def judge(target: Target, known: Known) -> tuple[str, str, str]:
    """Return a target in words, what was measured, and whether it is met."""
    words, value = in_words(target), known[target.group, target.name].value
    if target.of is not None:
        if target.of not in known or not known[target.of].value:
            return words, "", "not measured"
        value /= known[target.of].value
    met = value >= target.limit if target.at_least else value <= target.limit
    return words, number(value), "yes" if met else "NO"


def in_words(target: Target) -> str:
    """Return a target's limit in words."""
    words = f"{'≥' if target.at_least else '≤'} {target.limit:g}"
    if target.of is not None:
        group, name = target.of
        words += f" × {name}" if group == target.group else f" × {name}, {group}"
    return words if target.aim is None else f"{words} (aim {target.aim:g})"


def table(figures: Iterable[Figure]) -> str:
    """Return all groups as one aligned Markdown table."""
    lines = [HEAD]
    for group, found in rows(figures):
        lines += [(f"**{group}**", "", "", "", "", ""), *found]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    texts = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    texts.insert(1, "| " + " | ".join("-" * max(width, 3) for width in widths) + " |")
    return "\n".join(texts)


def unmet(figures: Iterable[Figure]) -> list[str]:
    """Return the targets that were measured and missed, one line each."""
    known = {(figure.group, figure.name): figure for figure in figures}
    missed = []
    for target in TARGETS:
        if (target.group, target.name) in known:
            words, measured, met = judge(target, known)
            if met == "NO":
                missed.append(f"{target.group}: {target.name} {measured}, not {words}")
    return missed


def page(files: Sequence[Path]) -> str:
    """Return the documentation page with all figures, and where and when they were measured."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    figures = [figure for path in files for figure in load(path)]
    missed = "\n".join(f"- {line}" for line in unmet(figures) or ["nothing"])
    machine = contents[0]["machine"]
    days = " and ".join(dict.fromkeys(content["made"][:10] for content in contents))
    packages = {
        name: version for content in contents for name, version in content["packages"].items()
    }
    versions = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
    measured = (
        f"Measured on {days}: {machine['cores']} cores ({machine['processor']}), Python "
        f"{machine['python']}, {versions}."
    )
    return f"""# All figures

`make bench` writes this page.
[How speed is measured](explanation/measuring-speed.md) explains what each line means.

{measured}

## Missed targets

{missed}

## Figures

{_bare(table(figures))}
"""


def _bare(table: str) -> str:
    """Return a table without the padding of its cells, so that a new run changes few lines."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    rows[1] = ["---"] * len(HEAD)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main() -> int:
    """Print the table of the files' figures, or write the page."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="what the benchmarks wrote")
    parser.add_argument("--page", type=Path, help="write this page of the documentation as well")
    given = parser.parse_args()
    figures = [figure for path in given.files for figure in load(path)]
    print(table(figures))
    print("\nMissed:", *(unmet(figures) or ["nothing"]), sep="\n  ")
    if given.page is not None:
        given.page.write_text(page(given.files), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

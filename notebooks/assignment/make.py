"""Write an assignment's notebooks, for students and teachers, from its one source.

``python make.py`` reads every ``source/*.py`` (Jupytext's percent format) and writes

* ``instructor/NAME.ipynb``: with solutions and all tests; nbgrader's source notebook,
* ``student/NAME.ipynb``: the same without solutions and hidden tests; what students get,
* ``otter/NAME.ipynb``: the master notebook of ``otter assign``.

The first line of a cell states its role: ``# %% role="hidden" task="q2" points=1``. README.md
explains the roles.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

HERE = Path(__file__).parent

REQUIREMENTS = ("vgg-widget",)
"""Packages for otter's grading image; the address of your own wheel works too."""

NBGRADER_SCHEMA = 3

ROLES = ("", "given", "solution", "public", "hidden", "answer")
GRADED = ("public", "hidden", "answer")
TESTS = ("public", "hidden")

# nbgrader's own wording, so that the students' notebook equals the one it would release.
CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
MORE_TESTS = "# More is checked here when your work is graded."


class SourceError(ValueError):
    """Invalid assignment source; the message says where."""


@dataclass(frozen=True)
class Cell:
    """A cell of the source.

    Parameters
    ----------
    kind : {"markdown", "code"}
        Type of the notebook's cell.
    text : str
        Source of the cell.
    role : str
        One of `ROLES`; empty for plain text.
    task : str
        Task that the cell belongs to, or empty.
    points : float
        Points for tests and written answers.
    identity : str
        Cell id, unique and reproducible; also nbgrader's ``grade_id``.
    """

    kind: str
    text: str
    role: str
    task: str
    points: float
    identity: str


def read_source(path: Path) -> tuple[Cell, ...]:
    """Read an assignment's source.

    Raises
    ------
    SourceError
        If a cell's role or points are invalid, a test is not a function followed by its call, or
        the cells of a task are not adjacent.
    """
    cells = []
    counts: dict[str, int] = {}
    for number, cell in enumerate(jupytext.read(path, fmt="py:percent").cells, start=1):
        role, task = cell.metadata.get("role", ""), cell.metadata.get("task", "")
        stem = "-".join(filter(None, (task, role))) or "text"
        counts[stem] = counts.get(stem, 0) + 1
        # A solution has its task's name, since graders list that name.
        alone = role in ("solution", "answer")
        identity = task if alone else f"{stem}-{counts[stem]}"
        points = cell.metadata.get("points", 0)
        cells.append(Cell(cell.cell_type, cell.source, role, task, points, identity))
        _check(cells[-1], f"{path.name}, cell {number}")
    _check_together(cells, path.name)
    return tuple(cells)


def _check(cell: Cell, where: str) -> None:
    if cell.role not in ROLES:
        raise SourceError(f"{where}: role {cell.role!r} is not one of {', '.join(ROLES[1:])}.")
    if cell.role not in ("", "given") and not cell.task:
        raise SourceError(f'{where}: a cell with role {cell.role!r} needs a task="…".')
    if (cell.role in GRADED) != (cell.points > 0):
        raise SourceError(f"{where}: points are for {', '.join(GRADED)} cells, and more than 0.")
    expected = "markdown" if cell.role in ("", "answer") else "code"
    if cell.kind != expected:
        raise SourceError(f"{where}: a cell with role {cell.role!r} is a {expected} cell.")
    if cell.role in TESTS and not _test_name(cell):
        raise SourceError(
            f"{where}: a test is one function and its call, def check_…(…): … check_…(…)."
        )
    if cell.role == "solution" and "# BEGIN SOLUTION" not in cell.text:
        raise SourceError(f"{where}: nothing is between # BEGIN SOLUTION and # END SOLUTION.")


def _test_name(cell: Cell) -> str:
    # otter keeps only the function and passes its arguments by name; nbgrader runs the call.
    match = re.fullmatch(r"def (\w+)\((.*?)\):\n(?:(?: .*)?\n)+\1\(\2\)", cell.text)
    return match[1] if match else ""


def _check_together(cells: Sequence[Cell], where: str) -> None:
    runs = [task for task, _ in groupby(cells, key=lambda cell: cell.task) if task]
    names = [_test_name(cell) for cell in cells if cell.role in TESTS]
    identities = [cell.identity for cell in cells]
    for what, found in (("task", runs), ("test", names), ("solution of task", identities)):
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise SourceError(
                f"{where}: {what} {twice[0]!r} appears twice: keep its cells together."
            )


# --- nbgrader: instructors and students


def instructor_notebook(cells: Sequence[Cell]) -> Any:
    """Return nbgrader's source notebook: complete, and runs from top to bottom."""
    return _notebook([_for_nbgrader(cell, _whole(cell)) for cell in cells])


def student_notebook(cells: Sequence[Cell]) -> Any:
    """Return the students' notebook, without solutions and hidden tests."""
    made = [_for_nbgrader(cell, _stripped(cell)) for cell in cells]
    for cell in made:
        if "nbgrader" in cell.metadata:
            cell.metadata["deletable"] = False
            if cell.metadata["nbgrader"]["locked"]:
                cell.metadata["editable"] = False
    return _notebook(made)


def _whole(cell: Cell) -> str:
    if cell.role != "hidden":
        return cell.text
    return f"{MORE_TESTS}\n### BEGIN HIDDEN TESTS\n{cell.text}\n### END HIDDEN TESTS"


def _stripped(cell: Cell) -> str:
    if cell.role == "hidden":
        return MORE_TESTS
    if cell.role == "answer":
        return TEXT_STUB
    if cell.role != "solution":
        return cell.text
    region = re.compile(r"^( *)# BEGIN SOLUTION\n.*?^ *# END SOLUTION$", re.DOTALL | re.MULTILINE)
    return region.sub(lambda match: re.sub("^", match[1], CODE_STUB, flags=re.MULTILINE), cell.text)


def _for_nbgrader(cell: Cell, text: str) -> Any:
    metadata: dict[str, Any] = {}
    if cell.role:
        metadata["nbgrader"] = {
            "cell_type": cell.kind,
            "grade": cell.role in GRADED,
            "grade_id": cell.identity,
            "locked": cell.role in ("given", *TESTS),
            "schema_version": NBGRADER_SCHEMA,
            "solution": cell.role in ("solution", "answer"),
            "task": False,
        }
        if cell.role in GRADED:
            metadata["nbgrader"]["points"] = cell.points
    new = new_code_cell if cell.kind == "code" else new_markdown_cell
    return new(text, id=cell.identity, metadata=metadata)  # type: ignore[no-untyped-call]


# --- otter


def otter_notebook(cells: Sequence[Cell]) -> Any:
    """Return the master notebook of ``otter assign``."""
    made = [_raw(_otter_config(), "config")]
    for task, group in groupby(cells, key=lambda cell: cell.task):
        inside = list(group)
        made += _otter_question(task, inside) if task else map(_plain, inside)
    return _notebook(made)


def _otter_config() -> str:
    lines = [
        "# ASSIGNMENT CONFIG",
        # A test in a function may print, and defines no global names.
        "tests:",
        "    ok_format: false",
        # PDF export needs LaTeX or a browser, which a student's computer may lack.
        "export_cell:",
        "    pdf: false",
        "    run_tests: true",
        "requirements:",
        *(f"    - {requirement}" for requirement in REQUIREMENTS),
    ]
    return "\n".join(lines)


def _otter_question(task: str, cells: Sequence[Cell]) -> Iterator[Any]:
    manual = [cell for cell in cells if cell.role == "answer"]
    graded = manual or [cell for cell in cells if cell.role in GRADED]
    points = sum(cell.points for cell in graded)
    config = (
        f"# BEGIN QUESTION\nname: {task}\nmanual: {str(bool(manual)).lower()}\npoints: {points}"
    )
    yield _raw(config, f"{task}-begin")
    blocks = {"solution": "SOLUTION", "answer": "SOLUTION", "public": "TESTS", "hidden": "TESTS"}
    for block, group in groupby(cells, key=lambda cell: blocks.get(cell.role, "")):
        inside = list(group)
        if not block:
            yield from map(_plain, inside)
            continue
        name = f"{inside[0].identity}-{block.lower()}"
        yield _raw(f"# BEGIN {block}", f"{name}-begin")
        yield from map(_otter_test if block == "TESTS" else _plain, inside)
        yield _raw(f"# END {block}", f"{name}-end")
    yield _raw("# END QUESTION", f"{task}-end")


def _otter_test(cell: Cell) -> Any:
    hidden = str(cell.role == "hidden").lower()
    config = (
        f'""" # BEGIN TEST CONFIG\npoints: {cell.points}\nhidden: {hidden}\n""" # END TEST CONFIG'
    )
    return new_code_cell(f"{config}\n{cell.text}", id=cell.identity)  # type: ignore[no-untyped-call]


def _plain(cell: Cell) -> Any:
    new = new_code_cell if cell.kind == "code" else new_markdown_cell
    return new(cell.text, id=cell.identity)  # type: ignore[no-untyped-call]


def _raw(text: str, identity: str) -> Any:
    return new_raw_cell(text, id=identity)  # type: ignore[no-untyped-call]


# --- files


def _notebook(cells: Sequence[Any]) -> Any:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return new_notebook(cells=list(cells), metadata=metadata)  # type: ignore[no-untyped-call]


VERSIONS = {
    "instructor": instructor_notebook,
    "student": student_notebook,
    "otter": otter_notebook,
}


def make(source: Path, output: Path) -> None:
    """Write the three notebooks of a source, in folders of `output`.

    Raises
    ------
    SourceError
        As for `read_source`; nothing is written in that case.
    """
    cells = read_source(source)
    for folder, version in VERSIONS.items():
        path = output / folder / f"{source.stem}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(version(cells), path)  # type: ignore[no-untyped-call]
    total = sum(cell.points for cell in cells)
    manual = sum(cell.points for cell in cells if cell.role == "answer")
    print(f"{source.stem}: {total:g} points, {manual:g} of them graded by hand")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write the assignments' notebooks.")
    parser.add_argument("source", nargs="*", type=Path, help="source/*.py unless named")
    parser.add_argument("--output", type=Path, default=HERE, help="a folder (default: this one)")
    arguments = parser.parse_args()
    try:
        for source in arguments.source or sorted((HERE / "source").glob("*.py")):
            make(source, arguments.output)
    except SourceError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()

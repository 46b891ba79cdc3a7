"""Tests of the course assignment: its notebooks come from one source, and both graders agree."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

import vgg_widget
from tests.assignment_answers import (
    ESSAY_POINTS,
    FULL,
    HARD_CODED,
    HARD_CODED_POINTS,
    MISTAKEN,
    MISTAKEN_POINTS,
    NONE,
    RIGHT,
    Answers,
    Points,
)

REPOSITORY = Path(vgg_widget.__file__).parents[1]
FOLDER = REPOSITORY / "notebooks" / "assignment"
NAME = "feature_maps"

# The answers of each student, and the points that both graders must give for them.
SUBMISSIONS: dict[str, tuple[Answers, Points]] = {
    "right": (RIGHT, FULL),
    "mistaken": (MISTAKEN, MISTAKEN_POINTS),
    "hard-coded": (HARD_CODED, HARD_CODED_POINTS),
}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """Return the module that writes the notebooks, loaded from its path outside any package."""
    spec = importlib.util.spec_from_file_location("assignment_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return notebook


def grade_id(cell: Any) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def filled(answers: Answers) -> Any:
    """Return the student notebook with these answers filled in."""
    notebook = read(FOLDER / "student" / f"{NAME}.ipynb")
    places = {grade_id(cell): cell for cell in notebook.cells}
    for task, answer in answers.items():
        places[task].source = answer
    return notebook


# --- one source


def test_the_notebooks_are_what_the_source_makes(maker: ModuleType, tmp_path: Path) -> None:
    maker.make(FOLDER / "source" / f"{NAME}.py", tmp_path)
    for version in ("instructor", "student", "otter"):
        made = (tmp_path / version / f"{NAME}.ipynb").read_text(encoding="utf-8")
        kept = (FOLDER / version / f"{NAME}.ipynb").read_text(encoding="utf-8")
        assert made == kept, f"{version}/{NAME}.ipynb is out of date: run `make assignment`"


def test_students_see_no_solution_and_no_hidden_test() -> None:
    student = (FOLDER / "student" / f"{NAME}.ipynb").read_text(encoding="utf-8")
    instructor = (FOLDER / "instructor" / f"{NAME}.ipynb").read_text(encoding="utf-8")
    secrets = (
        *("maps.max(axis=-1)", "np.argmax(activations.at(", "side += (kernel - 1) * jump"),
        *("features.10", "np.mean(before <= 0)", "np.flatnonzero(", "brightest_at = np."),
        *("check_maximum_of_any_maps", "check_every_layer", "BEGIN HIDDEN", "SOLUTION"),
        *("weighted sum of the pixels", "One point for each"),
    )
    for secret in secrets:
        assert secret in instructor
        assert secret not in student, secret
    assert student.count("raise NotImplementedError()") == 8  # q6 has two places.
    assert student.count("YOUR ANSWER HERE") == 1


def test_the_points_in_the_text_are_those_of_the_checks() -> None:
    cells = read(FOLDER / "instructor" / f"{NAME}.ipynb").cells
    worth: Counter[str] = Counter()
    for cell in cells:
        if "points" in cell.metadata.get("nbgrader", {}):
            worth[grade_id(cell).split("-")[0]] += cell.metadata.nbgrader.points
    titles = [cell.source.splitlines()[0] for cell in cells if cell.source.startswith("## ")]
    promised = {f"q{n}": int(title.split("(")[1].split()[0]) for n, title in enumerate(titles, 1)}
    assert promised == worth == {**FULL, "q8": ESSAY_POINTS}
    assert "20 points together" in cells[0].source
    assert sum(worth.values()) == 20


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('# %% role="solved" task="q1"\nx = 1\n', "cell 1: role 'solved' is not one of given, "),
        ('# %% role="public" points=1\nx = 1\n', "needs a task"),
        ('# %% role="public" task="q1"\nx = 1\n', "points are for public, hidden, answer"),
        (
            '# %% role="hidden" task="q1" points=2\nassert x\n',
            "a test is one function and its call",
        ),
        ('# %% role="answer" task="q1" points=2\nx = 1\n', "is a markdown cell"),
        ('# %% role="solution" task="q1"\nx = 1\n', "between # BEGIN SOLUTION and # END"),
        (
            "".join(f'# %% [markdown] task="{task}"\n# Text.\n\n' for task in ("q1", "q2", "q1")),
            "task 'q1' appears twice",
        ),
    ],
)
def test_an_invalid_source_is_refused(
    maker: ModuleType, tmp_path: Path, source: str, words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(maker.SourceError, match=r"mine\.py") as caught:
        maker.make(path, tmp_path)
    assert words in str(caught.value)
    assert not (tmp_path / "student").exists()


# --- the checks themselves, in this process


@pytest.fixture(scope="module")
def given() -> Iterator[dict[str, Any]]:
    """Yield the variables of a notebook after its given cells have been run."""
    from matplotlib import pyplot as plt

    names: dict[str, Any] = {}
    for cell in read(FOLDER / "instructor" / f"{NAME}.ipynb").cells:
        if "given" in grade_id(cell):
            exec(cell.source, names)  # noqa: S102 - a notebook's cells are run
    plt.close("all")
    yield names
    names["explorer"].close()


def marks(given: dict[str, Any], answers: Answers | None) -> Points:
    """Run the teacher's notebook and return the points by task.

    `answers` replaces the teacher's solutions; None keeps them.
    """
    names = {
        **given,
        "explorer": vgg_widget.LayerExplorer(given["photograph"], extractor=given["extractor"]),
    }
    points: Counter[str] = Counter(dict.fromkeys(FULL, 0))
    for cell in read(FOLDER / "instructor" / f"{NAME}.ipynb").cells:
        settings = cell.metadata.get("nbgrader")
        if cell.cell_type != "code" or settings is None or "given" in grade_id(cell):
            continue
        source = cell.source
        if settings.solution and answers is not None:
            source = answers.get(grade_id(cell), "raise NotImplementedError")
        own = names["explorer"]
        try:
            exec(source, names)  # noqa: S102 - a notebook's cells are run
        except Exception:
            assert answers is not None
            continue
        if names["explorer"] is not own:
            own.close()
        points[grade_id(cell).split("-")[0]] += settings.get("points", 0)
    names["explorer"].close()
    return dict(points)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param(None, FULL, id="the teacher's"),
        pytest.param({}, NONE, id="empty"),
        *(pytest.param(*submission, id=name) for name, submission in SUBMISSIONS.items()),
    ],
)
def test_the_checks_give_the_points(
    given: dict[str, Any], answers: Answers | None, expected: Points
) -> None:
    assert marks(given, answers) == expected


# --- the commands of nbgrader and otter


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return environment variables that keep graders and kernels out of the home folder."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    return {
        **kept,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        # nbgrader runs `alembic` by its bare name, which PATH must find.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(REPOSITORY),
    }


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


READ_GRADES = """
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps([
        [one.student.id, grade.name, grade.auto_score, grade.needs_manual_grade]
        for one in book.assignment_submissions("feature_maps")
        for notebook in one.notebooks for grade in notebook.grades
    ]))
"""

# Does what a teacher does on nbgrader's page for manual grading.
GRADE_BY_HAND = """
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    book.find_grade("q8", "feature_maps", "feature_maps", "right").manual_score = 3
    book.db.commit()
"""


def nbgrader_marks(environment: dict[str, str], course: Path) -> tuple[dict[str, Points], Any]:
    """Release a course and autograde its submissions with nbgrader.

    Return the points by task of each student, and the answers that need manual grading.
    """
    (course / "source" / NAME).mkdir(parents=True)
    shutil.copy(FOLDER / "instructor" / f"{NAME}.ipynb", course / "source" / NAME)
    run(environment, course, "nbgrader", "generate_assignment", NAME)
    released = read(course / "release" / NAME / f"{NAME}.ipynb")
    for cell in released.cells:
        cell.metadata.get("nbgrader", {}).pop("checksum", None)
    assert released == read(FOLDER / "student" / f"{NAME}.ipynb")
    for student, (answers, _) in SUBMISSIONS.items():
        folder = course / "submitted" / student / NAME
        folder.mkdir(parents=True)
        nbformat.write(tampered(filled(answers)), folder / f"{NAME}.ipynb")  # type: ignore[no-untyped-call]
    run(environment, course, "nbgrader", "autograde", NAME, "--Execute.timeout=300")
    points = {student: dict(NONE) for student in SUBMISSIONS}
    waiting = set()
    for student, name, score, by_hand in json.loads(
        run(environment, course, sys.executable, "-c", READ_GRADES)
    ):
        if by_hand:
            waiting.add((student, name))
        elif name != "q8":
            points[student][name.split("-")[0]] += score
    return points, waiting


def tampered(notebook: Any) -> Any:
    """Remove the assertions of a visible check, as a student could."""
    (check,) = [cell for cell in notebook.cells if grade_id(cell) == "q2-public-1"]
    check.source = "pass"
    return notebook


def otter_marks(
    environment: dict[str, str], folder: Path, workers: ThreadPoolExecutor
) -> dict[str, Points]:
    """Build otter's versions of the assignment, and return the points by task of each student."""
    master = folder / "master" / f"{NAME}.ipynb"
    master.parent.mkdir(parents=True)
    shutil.copy(FOLDER / "otter" / f"{NAME}.ipynb", master)
    # `otter assign` grades the teacher's solutions, and fails unless they get full marks.
    run(environment, folder, "otter", "assign", str(master), "dist")
    (autograder,) = (folder / "dist" / "autograder").glob("*-autograder_*.zip")
    handed_in = {student: filled(answers) for student, (answers, _) in SUBMISSIONS.items()}
    # One student uses otter's version of the notebook, the others the version for both graders.
    handed_in["right"] = filled_in_otters_version(folder / "dist" / "student")

    def grade(student: str) -> tuple[str, Points]:
        place = folder / "graded" / student
        place.mkdir(parents=True)
        nbformat.write(handed_in[student], place / f"{NAME}.ipynb")  # type: ignore[no-untyped-call]
        run(environment, place, "otter", "run", "-a", str(autograder), f"{NAME}.ipynb")
        results = json.loads((place / "results.json").read_text(encoding="utf-8"))["tests"]
        return student, {test["name"]: test["score"] for test in results if "score" in test}

    return dict(workers.map(grade, handed_in))


def filled_in_otters_version(folder: Path) -> Any:
    """Return the student notebook of `otter assign`, filled in with the right answers."""
    notebook = read(folder / f"{NAME}.ipynb")
    text = json.dumps(notebook)
    assert "features.10" not in text
    assert "check_every_layer" not in text
    places = [c for c in notebook.cells if "otter_answer_cell" in c.metadata.get("tags", [])]
    for cell, answer in zip(places, RIGHT.values(), strict=True):
        cell.source = answer
    return notebook


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_both_graders_give_the_points(environment: dict[str, str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as nbgrader, ThreadPoolExecutor(1) as workers:
        course = nbgrader.submit(nbgrader_marks, environment, tmp_path / "course")
        by_otter = otter_marks(environment, tmp_path / "otter", workers)
        by_nbgrader, waiting = course.result()

    expected = {student: points for student, (_, points) in SUBMISSIONS.items()}
    assert by_nbgrader == expected
    assert by_otter == expected

    # Text needs manual grading, except where its cell is unchanged, which is worth nothing.
    assert waiting == {(student, "q8") for student in ("right", "mistaken")}
    run(environment, tmp_path / "course", sys.executable, "-c", GRADE_BY_HAND)
    run(environment, tmp_path / "course", "nbgrader", "export")
    with (tmp_path / "course" / "grades.csv").open(encoding="utf-8", newline="") as file:
        totals = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert totals == {
        student: sum(points.values()) + (ESSAY_POINTS if student == "right" else 0)
        for student, points in expected.items()
    }

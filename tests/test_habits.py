"""Tests that the repository's files agree about version, address, licence and tools."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import vgg_widget
from tests.notebook_outputs import main as check_notebooks

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
CITATION = yaml.safe_load(text("CITATION.cff"))


def test_one_version_everywhere() -> None:
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE
    )
    version, day = released[0]
    assert version == vgg_widget.__version__ == CITATION["version"]
    assert day == CITATION["date-released"].isoformat()
    # hatchling reads the version from the package.
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]


def test_the_changelog_follows_its_format() -> None:
    headings = re.findall(r"^#{1,3} .*$", text("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["# Changelog", "## [Unreleased]"]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {heading[4:] for heading in headings if heading.startswith("### ")} <= kinds
    dates = re.findall(r"^## \[\d.*\] - (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    assert dates == sorted(dates, reverse=True)


def test_one_address_everywhere_and_once_in_each_file() -> None:
    address = PROJECT["urls"]["Repository"]
    owner_and_name = address.removeprefix("https://github.com/")
    assert CITATION["repository-code"] == address
    badge = re.search(r"\[!\[launch binder\]\([^)]*\)\]\(([^)]*)\)", text("README.md"))
    assert badge is not None
    assert badge[1] == (
        f"https://mybinder.org/v2/gh/{owner_and_name}/HEAD"
        "?urlpath=lab/tree/notebooks/01-quickstart.ipynb"
    )
    for name in ("CITATION.cff", "README.md"):
        assert text(name).count(owner_and_name) == 1, name
    owner, name = owner_and_name.split("/")
    assert PROJECT["urls"] == {
        "Documentation": f"https://{owner}.github.io/{name}/",
        "Repository": address,
        "Issues": f"{address}/issues",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
    }


def test_one_licence_everywhere() -> None:
    assert PROJECT["license"] == CITATION["license"] == "BSD-3-Clause"
    licence = " ".join(text("LICENSE").split())
    assert licence.startswith("BSD 3-Clause License Copyright (c) ")
    # The last clause distinguishes the licence from BSD-2-Clause.
    for clause in (
        "1. Redistributions of source code must retain",
        "2. Redistributions in binary form must reproduce",
        "3. Neither the name of the copyright holder nor the names of its contributors",
    ):
        assert clause in licence


def test_the_citation_has_what_the_format_asks_for() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert all("name" in author for author in CITATION["authors"])


def recipe(target: str) -> str:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", text("Makefile"), re.MULTILINE)
    assert found is not None, f"the Makefile has no target {target}"
    return found[1]


def workflow(name: str = "tests") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(f".github/workflows/{name}.yml"))
    return found


def test_the_workflow_runs_make_targets_with_read_only_permissions() -> None:
    jobs = workflow()["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    made = {command.split()[1] for command in commands if command.startswith("make ")}
    assert made == {
        *("check", "coverage", "test", "test-all", "test-matrix", "docs", "binder-check"),
    }
    for target in made:
        assert recipe(target)
    # Systems without `make` run the same tests.
    tests = jobs["elsewhere"]["steps"][-1]["run"].removeprefix("python -m ")
    assert tests in recipe("check")
    assert "--cov-report=xml" in recipe("coverage")
    assert workflow()["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used), used


def test_the_workflows_pythons_are_the_oldest_and_binders() -> None:
    jobs = workflow()["jobs"]
    oldest, newest = jobs["check"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert newest > oldest
    assert jobs["elsewhere"]["strategy"]["matrix"]["python"] == [oldest, newest]
    (binders,) = [
        step["with"]["python-version"]
        for step in jobs["binder"]["steps"]
        if "setup-python" in step.get("uses", "")
    ]
    assert text("binder/runtime.txt").strip() == f"python-{binders}"


def test_a_release_is_checked_before_it_is_published_and_needs_no_password() -> None:
    release = workflow("release")
    # YAML reads `on` as true.
    assert release[True] == {"push": {"tags": ["v*"]}}  # type: ignore[index]
    jobs = release["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["announce"]["needs"] == "publish"
    assert release["permissions"] == {"contents": "read"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["announce"]["permissions"] == {"contents": "write"}
    assert "permissions" not in jobs["build"]
    commands = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    for part in ("tests/release_notes.py", "-m build", "twine check --strict", "dist/*.whl"):
        assert part in commands
    (publishing,) = [step for step in jobs["publish"]["steps"] if "pypi" in step["uses"]]
    assert "with" not in publishing
    assert "secrets." not in text(".github/workflows/release.yml")


def test_issue_forms_and_dependabot_settings_are_valid() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            continue
        assert form["name"]
        assert form["description"]
        fields = [field["id"] for field in form["body"]]
        assert len(set(fields)) == len(fields)
        for field in form["body"]:
            assert field["type"] in {"dropdown", "input", "textarea"}
            assert field["attributes"]["label"]
    assert {path.stem for path in forms} == {"bug", "config", "question", "wrong-picture"}
    updates = yaml.safe_load(text(".github/dependabot.yml"))["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions"}
    assert {update["schedule"]["interval"] for update in updates} == {"monthly"}


def test_the_documentation_of_main_is_published() -> None:
    pages = workflow("pages")
    assert pages[True]["push"] == {"branches": ["main"]}  # type: ignore[index]
    assert "make docs" in [step.get("run") for step in pages["jobs"]["publish"]["steps"]]


def test_a_commit_is_checked_by_what_make_lint_runs() -> None:
    hooks = {
        hook["id"]: hook
        for repository in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
        for hook in repository["hooks"]
    }
    assert hooks["lint"]["entry"].endswith(" lint")
    script = hooks["notebooks"]["entry"].split()[-1]
    for tool in (
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "lint-imports",
        "codespell",
        script,
    ):
        assert tool in recipe("lint")


def test_a_notebook_with_outputs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = '{"cell_type": "code", "execution_count": null, "outputs": [%s]}'
    clean, full, gallery = (tmp_path / name for name in ("a.ipynb", "b.ipynb", "gallery.ipynb"))
    clean.write_text('{"cells": [%s]}' % (cell % ""), encoding="utf-8")
    for path in (full, gallery):
        path.write_text('{"cells": [%s]}' % (cell % '{"text": "1"}'), encoding="utf-8")
    assert check_notebooks([str(clean), str(gallery)]) == 0
    assert capsys.readouterr().out == ""
    assert check_notebooks([str(clean), str(full)]) == 1
    assert f"{full}: cell 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_an_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    build += ["--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"vgg_widget-{vgg_widget.__version__}-")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = tmp_path / "program.py"
    program.write_text(
        "from vgg_widget import Activations, render\n"
        'found = Activations.load("cat.npz")\n'
        "reveal_type(found)\n"
        'reveal_type(render(found, "block1_conv1").rgba)\n'
        'render(found, "block1_conv1", mode=3)\n',
        encoding="utf-8",
    )
    checked = subprocess.run(
        # Run without this repository's settings and outside its folder.
        [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", "cache", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": "", "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert 'Revealed type is "vgg_widget.activations.mapping.Activations"' in checked
    assert "numpy.uint8" in checked or "unsignedinteger" in checked
    assert 'Argument "mode" to "render" has incompatible type "int"; expected "str"' in checked

"""Tests of Binder's configuration that do not build the image; `make binder-check` builds it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bound(specifiers: SpecifierSet, operator: str) -> Version:
    """Return the version that follows this operator in a requirement."""
    (found,) = [one.version for one in specifiers if one.operator == operator]
    return Version(found)


def by_name(lines: list[str]) -> dict[str, SpecifierSet]:
    requirements = [Requirement(line) for line in lines]
    return {one.name: one.specifier for one in requirements}


def installed_by_binder() -> dict[str, SpecifierSet]:
    text = (BINDER / "requirements.txt").read_text(encoding="utf-8")
    return by_name([line for line in text.splitlines() if line and not line.startswith("#")])


def test_binder_installs_what_the_package_depends_on_and_no_second_tensorflow() -> None:
    package = by_name(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["demo"])
    binder = installed_by_binder()
    assert set(binder) == set(package) - {"tensorflow"} | {"tensorflow-cpu"}
    for name, specifiers in binder.items():
        least = bound(package[name.removesuffix("-cpu")], ">=")
        assert least <= bound(specifiers, ">=") < bound(specifiers, "<"), name


def test_requirements_name_no_file_so_that_binder_can_cache_them() -> None:
    # If a line names a file ("-r", "-c", "." or "-e ."), repo2docker copies the whole repository
    # before it installs, and every change of a file invalidates the cached layer.
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("-", "."))]


def test_the_package_supports_binders_python() -> None:
    name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
    assert name == "python"
    assert re.fullmatch(r"3\.\d+", version)
    assert version in SpecifierSet(PROJECT["requires-python"])


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder of stubs for `python` and `vgg-widget`.

    They log their calls, and fail when a call matches the shell pattern `FAILS`.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "vgg-widget"):
        program = folder / name
        program.write_text(
            "#!/bin/sh\n"
            f'echo {name} "$@" >> {tmp_path}/calls\n'
            f'case "$*" in *sys.prefix*) echo {tmp_path}/prefix ;; esac\n'
            f'case "{name} $*" in $FAILS) exit 1 ;; esac\n',
            encoding="utf-8",
        )
        program.chmod(0o755)
    return folder


def post_build(programs: Path, fails: str) -> tuple[int, str, list[str]]:
    """Run postBuild and return its exit status, its output and the calls of the stubs."""
    assert os.access(BINDER / "postBuild", os.X_OK)
    done = subprocess.run(
        [BINDER / "postBuild"],
        cwd=ROOT,
        env={"PATH": f"{programs}:/usr/bin:/bin", "FAILS": fails},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = (programs.parent / "calls").read_text(encoding="utf-8").splitlines()
    return done.returncode, done.stdout + done.stderr, calls


@pytest.mark.posix
def test_a_build_runs_every_step_in_order(programs: Path) -> None:
    code, said, calls = post_build(programs, fails="nothing")
    assert (code, said) == (0, "")
    assert [call.split(" -c ")[0] for call in calls] == [
        "python -m pip install --no-cache-dir --no-deps .",
        "vgg-widget weights --download",
        "python",
        "python -",
    ]
    settings = programs.parent / "prefix" / "share" / "jupyter" / "lab" / "settings"
    overrides = json.loads((settings / "overrides.json").read_text(encoding="utf-8"))
    assert overrides["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


@pytest.mark.posix
def test_a_failed_download_of_weights_does_not_stop_the_build(programs: Path) -> None:
    code, said, calls = post_build(programs, fails="vgg-widget*")
    assert code == 0
    assert "continuing without ImageNet's weights" in said
    assert calls[-1] == "python -"


@pytest.mark.posix
@pytest.mark.parametrize(("fails", "last"), [("python -m pip*", 1), ("python -", 4)])
def test_a_build_ends_at_the_first_error(programs: Path, fails: str, last: int) -> None:
    code, _, calls = post_build(programs, fails=fails)
    assert code != 0
    assert len(calls) == last

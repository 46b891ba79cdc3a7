"""Run the tests with other versions than those of `make test`: `make test-matrix`.

A row is an environment and the tests that run in it; ONLY=lowest runs one row. Its files are kept
in ``.matrix``: pip's requirements and output, the environment, and the tests' report. Releases of
ipykernel differ in the threads that callbacks run on. The ipykernel rows install another release on
top of the environment of `make test`, and run the tests about threads, some in a real JupyterLab.
The rows for the lowest versions and for other Pythons run the quick tests.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".matrix"
KERNELS = {
    "ipykernel-6": "ipykernel==6.*",
    "ipykernel-7.1": "ipykernel==7.1.*",
    "ipykernel-newest": "ipykernel",
}
ROWS = (*KERNELS, "lowest", "oldest-python", "newest-python")
ABOUT_THREADS = (
    "tests/test_threads_and_failures.py",
    "tests/browser/test_monkey.py",
    "tests/browser/test_linked_views.py::test_quick_actions_end_on_the_right_picture",
)
# Enough to find what an old or new release lacks. The others are slow or drive a browser.
QUICK = ("-n", "2", "-m", "not browser and not slow")
# The extras that the quick tests need. `torch` is not one of them, because its lower bound has no
# CPU-only build; `test` has the release that the tests were written with.
EXTRAS = ("app", "demo", "docs", "learn", "safetensors", "test", "xarray")
TOLD = ("ipykernel", "tensorflow", "keras", "numpy", "matplotlib", "ipywidgets", "torch")
_VERSIONS = re.compile(r"^Available versions: (.*)$", re.MULTILINE)
# On Linux, PyTorch installs gigabytes of CUDA unless its version ends in +cpu.
CPU_SUFFIX = "+cpu" if sys.platform == "linux" else ""


@dataclass(frozen=True)
class Environment:
    """An interpreter, folders that come before its own packages, packages it lacks, and a note."""

    python: Path
    before: tuple[Path, ...] = ()
    lacks: tuple[str, ...] = ()
    note: str = ""

    def variables(self) -> dict[str, str]:
        """Return environment variables that put the folders and the repository on Python's path."""
        path = [str(folder) for folder in (*self.before, ROOT)]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """Return the versions that the environment's processes find, without absent packages."""
        code = (
            "import importlib.metadata as m, json, platform, sys\n"
            "have = {d.metadata['Name'].lower(): None for d in m.distributions()}\n"
            "found = {name: m.version(name) for name in sys.argv[1:] if name in have}\n"
            "print(json.dumps({'Python': platform.python_version()} | found))"
        )
        done = subprocess.run(
            [str(self.python), "-c", code, *names],
            env=self.variables(),
            cwd=KEPT,
            check=True,
            capture_output=True,
            text=True,
        )
        versions: dict[str, str] = json.loads(done.stdout)
        return versions


@dataclass(frozen=True)
class Outcome:
    """The result of a row."""

    row: str
    passed: bool
    result: str
    versions: Mapping[str, str] = field(default_factory=dict)


class NotPreparedError(Exception):
    """An environment could not be made; the message says why."""


def floors(project: Mapping[str, Any], extras: Iterable[str]) -> dict[str, str]:
    """Return the lowest version that a project allows for each of its dependencies.

    Parameters
    ----------
    project : mapping
        The table ``[project]`` of a pyproject.toml.
    extras : iterable of str
        The names of the optional dependencies to include.

    Raises
    ------
    ValueError
        If a requirement has neither a lower bound nor an exact version or series (``==``).
    """
    lowest: dict[str, str] = {}
    for text in _requirements(project, extras):
        required = Requirement(text)
        operators = {each.operator: each.version for each in required.specifier}
        if "==" in operators:
            continue
        if ">=" not in operators:
            raise ValueError(f"requirement {text!r} has no lower bound: write {text}>=….")
        name = canonicalize_name(required.name)
        lowest[name] = max(lowest.get(name, "0"), operators[">="], key=Version)
    return lowest


def needs(package: str, folder: Path) -> list[Path]:
    """Return the test files that cannot be imported without a package.

    They import the package at module level, directly or through another file of the folder.
    """
    imports = {path: _imported(path) for path in sorted(folder.glob("*.py"))}
    wanting = {package}
    while True:
        found = [path for path, names in imports.items() if names & wanting]
        modules = {f"{folder.name}.{path.stem}" for path in found}
        if modules <= wanting:
            return [path for path in found if path.name.startswith("test_")]
        wanting |= modules


def _imported(path: Path) -> set[str]:
    """Return the modules that a file imports at module level, and each part of their names."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names | {part for name in names for part in name.split(".")}


def counted(report: Path) -> str:
    """Return how many tests of a JUnit report passed, failed and were skipped, in words."""
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 (pytest's own)
    total, failed, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "failures", "errors", "skipped")
    )
    words = [f"{total - failed - errors - skipped} passed"]
    words += [
        f"{number} {what}"
        for number, what in ((failed, "failed"), (errors, "errors"), (skipped, "skipped"))
        if number
    ]
    return ", ".join(words)


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a text table of the rows with their results and versions."""
    lines = []
    for each in outcomes:
        versions = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        lines.append((each.row, "passed" if each.passed else "FAILED", each.result, versions))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]
        )
        for line in lines
    )


def _requirements(project: Mapping[str, Any], extras: Iterable[str]) -> list[str]:
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(text for extra in extras for text in optional[extra])]


def _interpreters(wanted: SpecifierSet) -> dict[Version, Path]:
    """Return the interpreters of this machine that the project supports, oldest first.

    Those that TensorFlow has no release for are left out: the package cannot be installed there.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [Path(sys.executable)]
    for minor in range(30):
        places += [Path(found)] if (found := shutil.which(f"python3.{minor}")) else []
        places += sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python3.{minor}"))
    found_at: dict[Version, Path] = {}
    code = "import ensurepip, platform, venv; print(platform.python_version())"
    for place in places:
        # A file of this name may be no interpreter, or one that cannot make environments.
        asked = _said(str(place), "-c", code)
        if asked.strip() and Version(asked) in wanted:
            found_at.setdefault(Version(asked), place)
    return {
        version: found_at[version]
        for version in sorted(found_at)
        if _offered("tensorflow", version)
    }


def _offered(package: str, python: Version) -> list[str]:
    """Return the versions of a package that have a build for a Python, newest first."""
    options = ["--only-binary=:all:", f"--python-version={python.major}.{python.minor}"]
    said = _said(sys.executable, "-m", "pip", "index", "versions", package, *options)
    versions = _VERSIONS.search(said)
    return versions[1].split(", ") if versions else []


def _said(*command: str) -> str:
    """Return the standard output of a command, or an empty string if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout


def _install(python: Path, row: str, lines: Iterable[str], *options: str) -> None:
    """Install a row's requirements with pip, and keep pip's output in a log."""
    wanted, log = KEPT / f"{row}.txt", KEPT / f"{row}.log"
    wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "--progress-bar=off", *options]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [*command, f"--requirement={wanted}"],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise NotPreparedError(f"pip failed ({log}): {errors[0]}")


def _over_this_one(row: str) -> Environment:
    """Install an ipykernel on top of the environment of `make test`, whose versions are kept."""
    folder = KEPT / row
    listed = _said(sys.executable, "-m", "pip", "list", "--format=freeze", "--exclude=ipykernel")
    held = KEPT / f"{row}.held.txt"
    held.write_text(listed, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    options = (f"--target={folder}", f"--constraint={held}")
    _install(Path(sys.executable), row, [KERNELS[row]], *options)
    return Environment(Path(sys.executable), before=(folder,))


def _of_its_own(row: str, project: Mapping[str, Any]) -> Environment:
    """Make or update the environment for the lowest versions, or for another Python."""
    pythons = _interpreters(SpecifierSet(project["requires-python"]))
    if not pythons:
        raise NotPreparedError(
            "no Python here has a TensorFlow on the package index, or the index does not answer"
        )
    version = max(pythons) if row == "newest-python" else min(pythons)
    if row != "lowest" and pythons[version] == Path(sys.executable):
        return Environment(Path(sys.executable), note="the environment of make test")
    wanted = [Requirement(text) for text in _requirements(project, EXTRAS)]
    torch = next(each for each in wanted if each.name == "torch")
    lacks: tuple[str, ...] = ()
    if not any(
        each.endswith(CPU_SUFFIX) and each in torch.specifier for each in _offered("torch", version)
    ):
        lacks = ("torch",)
        # torchvision requires exactly this release of torch.
        wanted = [each for each in wanted if each.name not in ("torch", "torchvision")]
    pins = floors(project, EXTRAS) if row == "lowest" else {}
    lines = {
        f"{canonicalize_name(each.name)}=={pins[canonicalize_name(each.name)]}"
        if canonicalize_name(each.name) in pins
        else str(each)
        for each in wanted
    }
    folder = KEPT / row
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists() or _said(str(python), "--version").split()[-1] != str(version):
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([str(pythons[version]), "-m", "venv", str(folder)], check=False)
        if made.returncode:
            raise NotPreparedError(f"{pythons[version]} cannot make an environment in {folder}")
    newest = () if pins else ("--upgrade", "--upgrade-strategy=eager")
    _install(python, row, ["--editable=.", *sorted(lines)], *newest)
    return Environment(python, lacks=lacks)


def _tests(row: str, environment: Environment) -> list[str]:
    """Return the arguments of pytest for a row."""
    if row in KERNELS:
        return list(ABOUT_THREADS)
    tests = list(QUICK)
    if row == "lowest":
        # Old releases may call what newer dependencies deprecate; that is no fault of this code.
        tests += ["-W", "ignore::DeprecationWarning"]
    for package in environment.lacks:
        tests[tests.index("-m") + 1] += f" and not {package}"
        tests += [f"--ignore={path}" for path in needs(package, ROOT / "tests")]
    return tests


def run(row: str, project: Mapping[str, Any]) -> Outcome:
    """Prepare a row's environment and run its tests in it."""
    print(f"== {row}: preparing {KEPT / row}", flush=True)
    try:
        environment = _over_this_one(row) if row in KERNELS else _of_its_own(row, project)
    except NotPreparedError as error:
        return Outcome(row, passed=False, result=str(error))
    versions = environment.versions(TOLD)
    tests, report = _tests(row, environment), KEPT / f"{row}.xml"
    print(f"== {row}: {versions}\n   pytest {' '.join(tests)}", flush=True)
    report.unlink(missing_ok=True)
    command = [str(environment.python), "-m", "pytest", "-q", *tests, f"--junitxml={report}"]
    done = subprocess.run(command, cwd=ROOT, env=environment.variables(), check=False)
    result = counted(report) if report.exists() else f"pytest ended with {done.returncode}"
    for package in environment.lacks:
        files = ", ".join(path.name for path in needs(package, ROOT / "tests"))
        result += f"; without {package}: left out {files} and the tests with that mark"
    result += f"; {environment.note}" if environment.note else ""
    return Outcome(row, passed=done.returncode == 0, result=result, versions=versions)


def main() -> int:
    """Run the rows that the command line names, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"one of {', '.join(ROWS)}")
    rows = parser.parse_args().rows or ROWS
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"no row is called {unknown[0]!r}: choose from {', '.join(ROWS)}.")
    KEPT.mkdir(exist_ok=True)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    outcomes = [run(row, settings["project"]) for row in rows]
    print(table(outcomes))
    return int(not all(each.passed for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())

"""Tests of what `make test-matrix` reads from pyproject.toml, the tests and their reports."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import matrix
from tests.matrix import EXTRAS, ROOT, Outcome, counted, floors, needs

PROJECT: dict[str, Any] = {
    "requires-python": ">=3.11",
    "dependencies": ["numpy>=1.26", "import_linter[all]>=2.1,<3; python_version > '3'"],
    "optional-dependencies": {
        "app": ["numpy>=1.9", "voila>=0.5.8"],
        "test": ["torch==2.13.*", "numpy>=2.0"],
        "other": ["onnx"],
    },
}


def test_floors_are_the_highest_of_the_lower_bounds() -> None:
    assert floors(PROJECT, ["app"]) == {"numpy": "1.26", "import-linter": "2.1", "voila": "0.5.8"}
    # 2.0 is higher than 1.26, and a requirement of one version or series has no floor.
    assert floors(PROJECT, ["app", "test"])["numpy"] == "2.0"
    assert "torch" not in floors(PROJECT, ["test"])


def test_a_requirement_without_a_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="'onnx' has no lower bound"):
        floors(PROJECT, ["other"])


def test_every_requirement_of_the_project_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = floors(project, project["optional-dependencies"])
    assert {"tensorflow", "keras", "numpy", "pytest", "voila"} <= set(found)
    assert set(EXTRAS) <= set(project["optional-dependencies"])


def test_files_that_import_a_package_at_their_top_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    for name, code in {
        "test_plain.py": "import numpy\n\ndef test_it():\n    import torch\n",
        "test_itself.py": "import torch\n",
        "test_part.py": "from torch.nn import Linear\n",
        "test_bridge.py": "import safetensors.torch\n",
        "networks.py": "from torch import nn\n",
        "test_network.py": "from tests.networks import VGG\n",
        "test_network_of_another.py": "from tests.test_network import VGG\n",
    }.items():
        (folder / name).write_text(code, encoding="utf-8")
    names = {path.stem for path in needs("torch", folder)}
    assert names == {
        "test_itself",
        "test_part",
        "test_bridge",
        "test_network",
        "test_network_of_another",
    }


@pytest.mark.slow
def test_a_report_is_counted_like_pytests_summary(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert not 'so'\n"
        "def test_broken(nobody): pass\n"
        "@pytest.mark.skip(reason='as an example')\n"
        "def test_left(): pass\n",
        encoding="utf-8",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--junitxml={report}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed, 1 skipped, 1 error" in done.stdout
    assert counted(report) == "1 passed, 1 failed, 1 errors, 1 skipped"


def test_one_failed_row_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {
        "lowest": Outcome("lowest", passed=False, result="pip failed: no numpy 1.0"),
        "ipykernel-6": Outcome(
            "ipykernel-6", passed=True, result="11 passed", versions={"ipykernel": "6.31.0"}
        ),
    }
    monkeypatch.setattr(matrix, "KEPT", tmp_path)
    monkeypatch.setattr(matrix, "run", lambda row, _: outcomes[row])
    for rows, status in ((["ipykernel-6"], 0), (["ipykernel-6", "lowest"], 1)):
        monkeypatch.setattr(sys, "argv", ["matrix.py", *rows])
        assert matrix.main() == status
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].split() == ["ipykernel-6", "passed", "11", "passed", "ipykernel", "6.31.0"]
    assert lines[1].startswith("lowest       FAILED  pip failed: no numpy 1.0")
    monkeypatch.setattr(sys, "argv", ["matrix.py", "lwest"])
    with pytest.raises(SystemExit):
        matrix.main()
    assert "no row is called 'lwest': choose from ipykernel-6" in capsys.readouterr().err


@pytest.mark.slow
def test_a_machine_without_a_package_index_fails_its_row_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(matrix, "KEPT", tmp_path)
    monkeypatch.setattr(matrix, "_offered", lambda *_: [])
    outcome = matrix.run("oldest-python", {**PROJECT, "requires-python": ">=3.11"})
    assert not outcome.passed
    assert "no Python here has a TensorFlow" in outcome.result

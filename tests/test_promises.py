"""Every test that docs/promises.md names exists, and each promise has one that `make test` runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "promises.md"
NAMED = re.compile(r"`((?:\w+/)*test_\w+\.py)::(test_\w+)`")


def test_every_named_test_exists() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    for file in sorted({file for file, _ in named}):
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing = {name for where, name in named if where == file} - there
        assert not missing, f"{file} has no {', '.join(sorted(missing))}"


def test_every_promise_has_a_quick_test() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    promises = [line for line in lines if line.startswith("| ") and "---" not in line]
    promises = [line for line in promises if not line.startswith("| promise |")]
    assert len(promises) > 20
    for line in promises:
        tests = line.strip("|").rpartition("|")[2]
        named = NAMED.findall(tests)
        assert any(not is_slow(*test) for test in named) or "make lint" in tests, line


def is_slow(file: str, name: str) -> bool:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    (found,) = (one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name)
    marks = [ast.unparse(mark) for mark in found.decorator_list]
    of_module = [ast.unparse(one) for one in tree.body if isinstance(one, ast.Assign)]
    return "pytest.mark.slow" in marks or any(
        line.startswith("pytestmark") and "pytest.mark.slow" in line for line in of_module
    )

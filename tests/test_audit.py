"""Tests of how `make audit` interprets the output of pip-audit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.audit import verdict

GOOD = {"name": "numpy", "version": "2.4", "vulns": []}
BAD = {
    "name": "pillow",
    "version": "10.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-7"], "fix_versions": ["10.1"]}],
}
UNKNOWN = {"name": "mine", "skip_reason": "Dependency not found on PyPI"}


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("text", "complaint", "status", "said"),
    [
        (answer(GOOD), "", 0, "asked about 1 packages."),
        (answer(GOOD, UNKNOWN), "", 0, "asked about 1 packages, 1 more are not known"),
        (answer(GOOD, BAD), "Found 1 known vulnerability", 1, "fixed in 10.1"),
        (answer(UNKNOWN), "", 0, "could not ask"),
        ("", "requests.exceptions.ConnectionError: Failed to resolve 'x'", 0, "could not ask"),
        ("", "timed out after 300 seconds", 0, "could not ask"),
        ("", "No module named pip_audit", 2, "pip-audit failed: No module named pip_audit"),
        ("", "", 2, "pip-audit failed"),
        ("[]", "usage: pip-audit", 2, "pip-audit failed"),
    ],
)
def test_a_vulnerability_fails_and_an_unreachable_service_does_not(
    text: str, complaint: str, status: int, said: str
) -> None:
    found, lines = verdict(text, complaint, {})
    assert found == status
    assert said in "\n".join(lines)


@pytest.mark.parametrize("number", ["PYSEC-2026-1", "CVE-2026-7"])
def test_a_listed_exception_passes_with_its_reason(number: str) -> None:
    status, lines = verdict(answer(GOOD, BAD), "", {number: "only for FLI files"})
    assert status == 0
    assert "let pass: only for FLI files" in lines[0]
    status, _ = verdict(answer(GOOD, BAD), "", {"CVE-1": "another"})
    assert status == 1

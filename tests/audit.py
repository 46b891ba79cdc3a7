"""Check the installed packages for known vulnerabilities: `make audit`, a part of `make lint`.

If the vulnerability service cannot be reached, print a message and succeed. A finding fails, unless
``[tool.audit.exceptions]`` in pyproject.toml lists it with a reason.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 300
_UNREACHED = re.compile(
    r"ConnectionError|Failed to connect|Max retries exceeded|Failed to resolve|timed? ?out|"
    r"ProxyError|ServiceUnavailable|50[0-4] Server Error",
    re.IGNORECASE,
)


def verdict(answer: str, complaint: str, exceptions: Mapping[str, str]) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print.

    Parameters
    ----------
    answer, complaint : str
        pip-audit's standard output, which is JSON, and its standard error.
    exceptions : mapping of str to str
        Vulnerabilities that do not fail, such as ``"CVE-2025-1"``, each with its reason.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["it printed nothing"])[-1]
        if _UNREACHED.search(complaint):
            return 0, [
                f"audit: could not ask for known vulnerabilities ({last}); there may be some."
            ]
        return 2, [f"audit: pip-audit failed: {last}"]
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        # A mirror of the index may serve packages without their vulnerability data.
        return 0, ["audit: could not ask for known vulnerabilities: the index has no data."]
    lines, status = [], 0
    for package in asked:
        for found in package["vulns"]:
            numbers = [found["id"], *found.get("aliases", ())]
            why = next((exceptions[number] for number in numbers if number in exceptions), None)
            what = f"audit: {package['name']} {package['version']}: {', '.join(numbers)}"
            if why is None:
                status = 1
                fixed = " or ".join(found.get("fix_versions", ())) or "no version yet"
                lines.append(f"{what}, fixed in {fixed}")
            else:
                lines.append(f"{what}, let pass: {why}")
    left = len(packages) - len(asked)
    unknown = f", {left} more are not known to the index" if left else ""
    return status, [*lines, f"audit: asked about {len(asked)} packages{unknown}."]


def main() -> int:
    """Audit this interpreter's environment."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable"]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        answer, complaint = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        answer, complaint = "", f"timed out after {SECONDS} seconds"
    project = Path(__file__).parent.parent / "pyproject.toml"
    settings = tomllib.loads(project.read_text(encoding="utf-8"))
    status, lines = verdict(answer, complaint, settings["tool"]["audit"]["exceptions"])
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())

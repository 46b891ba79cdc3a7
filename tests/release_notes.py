"""Print the section of CHANGELOG.md for a tag: ``python tests/release_notes.py v1.2.3``.

The workflow `release` uses it as the text of the GitHub release. A tag that does not name the
package's version, or a version without a section, is an error. The script needs only Python,
because it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def package_version(source: str) -> str:
    """Return the version that the source of `vgg_widget/__init__.py` assigns."""
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise ValueError('vgg_widget/__init__.py has no line __version__ = "…": write one.')
    return found[1]


def section_of(changelog: str, version: str) -> str:
    """Return a version's section of a changelog, without the heading."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    begun = re.split(heading, changelog, maxsplit=1, flags=re.MULTILINE)
    text = re.split(r"^## |^\[[^\]]+\]: ", begun[-1], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if len(begun) == 1 or not text:
        raise ValueError(
            f"CHANGELOG.md has no section for {version}: write one, '## [{version}] - <date>'."
        )
    return f"{text}\n"


def release_notes(tag: str, source: str, changelog: str) -> str:
    """Return the notes of the release that a tag such as ``"v1.2.3"`` names."""
    version = package_version(source)
    if tag != f"v{version}":
        raise ValueError(f"tag {tag!r} is not that of version {version}: tag it 'v{version}'.")
    return section_of(changelog, version)


def main(arguments: list[str]) -> int:
    """Print the notes, or the error; return the exit status."""
    if len(arguments) != 1:
        print("pass one tag, such as v1.2.3.", file=sys.stderr)
        return 2
    source, changelog = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("vgg_widget/__init__.py", "CHANGELOG.md")
    )
    try:
        print(release_notes(arguments[0], source, changelog), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

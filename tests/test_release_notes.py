"""The text of a GitHub release is a section of the CHANGELOG, and a wrong tag is refused."""

from __future__ import annotations

import pytest

import vgg_widget
from tests.release_notes import main, package_version, release_notes

SOURCE = '"""A package."""\n\n__version__ = "1.2.3"\n'
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Not yet.

## [1.2.3] - 2026-12-01

### Added

- A lamp.
- See [the lamp].

## [1.2.2] - 2026-11-01

### Fixed

- A fuse.

[the lamp]: https://example.org/lamp
"""


def test_the_section_of_the_tags_version_is_the_text() -> None:
    wanted = "### Added\n\n- A lamp.\n- See [the lamp].\n"
    assert release_notes("v1.2.3", SOURCE, CHANGELOG) == wanted
    older = SOURCE.replace("1.2.3", "1.2.2")
    assert release_notes("v1.2.2", older, CHANGELOG) == "### Fixed\n\n- A fuse.\n"


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "v1.2.30", "v1.2.2", ""])
def test_a_tag_of_another_version_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not that of version 1\.2\.3: tag it 'v1\.2\.3'\.$"):
        release_notes(tag, SOURCE, CHANGELOG)


@pytest.mark.parametrize(
    "changelog",
    [
        CHANGELOG.replace("[1.2.3]", "[1.2.4]"),
        # No date; an empty section; a version that matches if a dot means any character.
        CHANGELOG.replace("[1.2.3] - 2026-12-01", "[1.2.3]"),
        CHANGELOG.replace("### Added\n\n- A lamp.\n- See [the lamp].\n", ""),
        CHANGELOG.replace("[1.2.3]", "[1x2x3]"),
    ],
)
def test_a_version_without_a_section_is_refused(changelog: str) -> None:
    with pytest.raises(ValueError, match=r"has no section for 1\.2\.3: write one"):
        release_notes("v1.2.3", SOURCE, changelog)


def test_a_package_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="has no line __version__"):
        package_version("version = 3\n")


def test_the_command_reads_this_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"v{vgg_widget.__version__}"]) == 0
    assert "\n### Added\n" in capsys.readouterr().out
    assert main(["v0.0.0"]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert main([]) == 2
    assert "such as v1.2.3" in capsys.readouterr().err

"""Tests of `atomic_write`: a file is written completely or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vgg_widget.support.files import atomic_write


def test_the_file_appears_only_at_the_end_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    with atomic_write(target) as draft:
        draft.write_bytes(b"half")
        assert not target.exists()
        assert draft.suffix == ".png"
        assert draft.parent == tmp_path  # a move across file systems would not be atomic
        draft.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_failure_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(target) as draft:
            draft.write_bytes(b"half of the new")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_the_file_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.png") as draft:
            draft.write_bytes(b"x")
        assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027  # reading the mask did not change it
    finally:
        os.umask(before)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "a.png"
    with (
        pytest.raises(FileNotFoundError, match=r"nowhere.*does not exist.*make the folder first"),
        atomic_write(target),
    ):
        pass
    assert not target.parent.exists()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with atomic_write("~/a.txt") as draft:
        draft.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_plain_name_lands_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_write("a.txt") as draft:
        draft.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_near_the_maximum_length(tmp_path: Path) -> None:
    name = "ü" * 123 + ".html"
    with atomic_write(tmp_path / name) as draft:
        draft.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]

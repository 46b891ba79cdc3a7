"""Tests of the site's explorers without a kernel: pictures, links and when pages are made."""

from __future__ import annotations

import html
import importlib.util
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

import vgg_widget
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.page.document import MODES

EXTENSION = Path(vgg_widget.__file__).parent.parent / "docs" / "_ext" / "live_pages.py"


@pytest.fixture(scope="module")
def live() -> Any:
    spec = importlib.util.spec_from_file_location("live_pages", EXTENSION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up a class's module in `sys.modules`.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_ten_free_pictures(live: Any) -> None:
    assert len({one.name for one in live.PICTURES}) == 10
    for one in live.PICTURES:
        assert any(words in one.source for words in ("CC0", "public domain", "package's licence"))
        pixels = live.picture(one.name)
        assert pixels.ndim == 3
        assert min(pixels.shape[:2]) >= 224
        assert pixels.std() > 10


def test_every_link_leads_to_a_view_of_the_page(live: Any) -> None:
    channels = {info.name: info.channels for info in VGG19_LAYERS}
    for one in live.PICTURES:
        assert len(one.places) >= 2
        for words, place in one.places:
            asked = {name: value for name, (value,) in parse_qs(place, strict_parsing=True).items()}
            assert words
            assert asked.pop("layer") in live.LAYERS
            assert asked.pop("mode") in MODES
            assert int(asked.pop("channel", 0)) < channels[parse_qs(place)["layer"][0]]
            assert asked == {}


def test_a_page_is_made_once_and_again_when_the_package_changes(
    live: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board,) = (one for one in live.PICTURES if one.name == "checkerboard")
    page = tmp_path / "pages" / "checkerboard.html"
    live.make_pages(page.parent, [board], ["block3_conv1"])
    assert page.stat().st_size < 4e6
    # A copy of the page still names the picture's source.
    heading = html.escape(f"{board.title} ({board.source})")
    assert f"<h1>{heading}</h1>" in page.read_text("utf-8")
    assert page.with_suffix(".png").stat().st_size < 100_000
    page.write_text("kept")
    live.make_pages(page.parent, [board], ["block3_conv1"])
    assert page.read_text() == "kept"
    monkeypatch.setattr(live, "_digest", lambda: "of another package")
    live.make_pages(page.parent, [board], ["block3_conv1"])
    assert page.read_text("utf-8").startswith("<!doctype html>")

"""The Python half of `PageHelper`; browser tests cover its JavaScript."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vgg_widget
from vgg_widget.explorer.helper import PageHelper

Sent = list[tuple[dict[str, Any], list[bytes] | None]]
MakePage = Callable[..., PageHelper]


@pytest.fixture
def page_of() -> Iterator[MakePage]:
    made: list[PageHelper] = []

    def make(on_key: Callable[[str], object] = str, **more: Any) -> PageHelper:
        made.append(PageHelper(on_key, **more))
        return made[-1]

    yield make
    for page in made:
        page.layout.close()
        page.close()


def sent_by(page: PageHelper, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Collect the messages that a helper sends to the page."""
    sent: Sent = []
    monkeypatch.setattr(page, "send", lambda content, buffers=None: sent.append((content, buffers)))
    return sent


def hear(page: PageHelper, content: dict[str, Any]) -> None:
    """Deliver a message from the page."""
    page._handle_custom_msg(content, [])


def test_a_key_is_answered_after_its_callback(
    page_of: MakePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    sent: Sent = []
    page = page_of(lambda key: seen.append((key, list(sent))))
    monkeypatch.setattr(page, "send", lambda content: sent.append((content, None)))
    hear(page, {"kind": "key", "key": "ArrowLeft"})
    assert seen == [("ArrowLeft", [])]
    assert sent == [({"kind": "answered"}, None)]


def test_a_key_is_answered_even_if_its_callback_fails(
    page_of: MakePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of({}.__getitem__)
    sent = sent_by(page, monkeypatch)
    with pytest.raises(KeyError, match="b"):
        page._on_message(page, {"kind": "key", "key": "b"}, [])
    assert sent == [({"kind": "answered"}, None)]


def test_the_callback_of_copy_gets_the_first_answer_only(
    page_of: MakePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of()
    sent = sent_by(page, monkeypatch)
    calls: list[object] = []
    page.copy("first", lambda ok: calls.append(("first", ok)))
    page.copy("second", lambda ok: calls.append(("second", ok)))
    page.copy("no callback")
    assert [content["text"] for content, _ in sent] == ["first", "second", "no callback"]
    numbers = [content["number"] for content, _ in sent]
    # Answers arrive in any order, and from every tab that shows the notebook.
    for number, ok in ((1, False), (1, True), (2, True), (0, True)):
        hear(page, {"kind": "copied", "number": numbers[number], "ok": ok})
    assert calls == [("second", False), ("first", True)]


def test_a_download_is_sent_as_bytes(page_of: MakePage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of()
    sent = sent_by(page, monkeypatch)
    page.download("picture.png", b"\x89PNG")
    assert sent == [({"kind": "download", "name": "picture.png"}, [b"\x89PNG"])]


def test_a_helper_is_invisible_and_sends_its_script_and_style(page_of: MakePage) -> None:
    page = page_of(keys=("o", "ArrowLeft"), description="what is shown")
    state = page.get_state()
    assert page.layout.display == "none"
    assert (state["wanted"], state["description"]) == (["o", "ArrowLeft"], "what is shown")
    folder = Path(vgg_widget.__file__).parent / "explorer"
    script = state["_esm"]
    # A single module, joined from files that have their own tests.
    assert [line[:14] for line in re.findall("^(?:im|ex)port .*", script, re.MULTILINE)] == [
        "export default"
    ]
    own = (folder / "helper.js").read_text(encoding="utf-8")
    assert script.endswith(own[own.index("const ROOT") :])
    for function in ("function paintMap(", "function livePainter("):
        assert script.count(function) == 1
    assert state["_css"] == (folder / "helper.css").read_text(encoding="utf-8")


def test_a_closed_helper_is_freed() -> None:
    page = PageHelper(str)
    gone = weakref.ref(page)
    page.layout.close()
    page.close()
    del page
    gc.collect()
    assert gone() is None

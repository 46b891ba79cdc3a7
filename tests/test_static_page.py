"""`show_static`: the explorer's page in a cell's output, its name and size, errors."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.test_explorer_page_file import HOSTILE
from vgg_widget import LayerExplorer
from vgg_widget.activations.named_layers import LayerNameError

LAYER = "block5_pool"


class Elements(HTMLParser):
    """The elements of a cell's output, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of everything that is displayed."""
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    return displayed


def test_a_cell_holds_the_page_byte_for_byte(
    explore: Callable[..., LayerExplorer], cell: list[Any]
) -> None:
    explorer = explore(layer="block3_conv1", mode="max")
    explorer.show_static(height=640, layers=LAYER, title=HOSTILE)
    bundle = json.loads(json.dumps(cell[0]._repr_mimebundle_(include=None, exclude=None)))
    output = Elements(bundle["text/html"])
    ((tag, attributes),) = output.found
    assert tag == "iframe"
    # Neither a file nor a notebook can hold half of a UTF-16 surrogate pair.
    page, title = (
        text.encode("utf-8", "replace").decode()
        for text in (explorer.to_html(layers=LAYER, title=HOSTILE), HOSTILE)
    )
    assert attributes["srcdoc"] == page
    assert attributes["title"] == title
    # Without the notebook's origin, the page's script cannot access the notebook.
    assert str(attributes["sandbox"]).split() == ["allow-scripts", "allow-downloads"]
    # The page can copy its code to the clipboard.
    assert attributes["allow"] == "clipboard-write"
    assert "width: 100%; height: 640px" in str(attributes["style"])
    # JupyterLab shows this text where it removes frames from untrusted output.
    assert output.words.endswith("trust this notebook.")
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200


def test_the_frame_is_named_after_its_title_or_its_image(
    explore: Callable[..., LayerExplorer], photo: np.ndarray, tmp_path: Path, cell: list[Any]
) -> None:
    Image.fromarray(photo).save(tmp_path / "cat.jpg")
    explorer = explore(tmp_path / "cat.jpg")
    explorer.show_static(layers=LAYER)
    explorer.show_static(layers=LAYER, title="A cat")
    explore().show_static(layers=LAYER)
    found = [Elements(one._repr_mimebundle_()["text/html"]).found[0][1] for one in cell]
    assert [attributes["title"] for attributes in found] == [
        "cat.jpg",
        "A cat",
        "Feature maps of a picture",
    ]


def test_without_a_notebook_a_line_describes_the_page(
    explore: Callable[..., LayerExplorer], capsys: pytest.CaptureFixture[str]
) -> None:
    explore().show_static(layers=LAYER, title="A cat")
    assert capsys.readouterr().out.startswith("<A cat: a page of 0.")


@pytest.mark.parametrize("height", [0, 199, 4001, -5, 900.0, "900", True, float("nan")])
def test_an_invalid_height_is_refused_before_any_work(
    explore: Callable[..., LayerExplorer], cell: list[Any], height: Any
) -> None:
    explorer = explore()

    def work(*_: object) -> None:
        pytest.fail("layers were stored")

    sentence = r"height .+ is not a frame height: choose whole pixels from 200 to 4000, such as 900"
    with pytest.raises(ValueError, match=sentence):
        explorer.show_static(height=height, progress=work)
    assert cell == []


def test_unknown_layers_and_closed_explorers_are_refused(
    explore: Callable[..., LayerExplorer], cell: list[Any]
) -> None:
    explorer = explore()
    with pytest.raises(LayerNameError, match="layer 'blok1_conv1' is not known: did you mean"):
        explorer.show_static(layers="blok1_conv1")
    explorer.close()
    with pytest.raises(RuntimeError, match="explorer is closed: make a new"):
        explorer.show_static()
    assert cell == []

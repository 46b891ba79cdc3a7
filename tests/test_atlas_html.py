"""Tests of the HTML page of strongest images: its numbers, patches, size and security."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

import vgg_widget
from tests.brute_force import exact_extractor, read
from tests.made_pictures import picture, write_pictures
from vgg_widget import FeatureExtractor, ImageError
from vgg_widget.dataset import TopActivations, top_activations, write_page

COUNT = 30
HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=alert(1)>&amp;.png"


class Page(HTMLParser):
    """The tags of an HTML file and the text that follows each of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: list[str] = []
        self.inside = False
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.content.append("")
        self.inside = True

    def handle_endtag(self, _: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.content[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.tags, self.content, strict=True)
        return [(attributes, text) for (name, attributes), text in pairs if name == tag]

    def words(self, name: str) -> str:
        pairs = zip(self.tags, self.content, strict=True)
        (found,) = (text for (_, attributes), text in pairs if attributes.get("id") == name)
        return found

    def layers(self) -> dict[str, dict[str, Any]]:
        names = [layer["name"] for layer in json.loads(self.words("page"))["layers"]]
        return {name: json.loads(self.words(f"layer-{i}")) for i, name in enumerate(names)}


def pixels(address: str) -> tuple[str, np.ndarray]:
    head, _, data = address.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return head, np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set") / "pictures"
    write_pictures(path, COUNT)
    (path / "bad.png").write_bytes(b"no picture")
    return path


@pytest.fixture(scope="module")
def top(folder: Path) -> TopActivations:
    return top_activations(exact_extractor(), folder, k=4, progress=False)


@pytest.fixture(scope="module")
def page(top: TopActivations, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "atlas.html"
    written = write_page(top, path)
    assert (written.path, written.missing, written.layers) == (path, {}, (*top,))
    assert written.size == path.stat().st_size
    return Page(path)


def test_the_page_has_the_numbers_of_the_result(top: TopActivations, page: Page) -> None:
    names = json.loads(page.words("page"))["names"]
    layers = page.layers()
    assert list(layers) == list(top) == ["edges", "half", "corners"]
    for name, layer in layers.items():
        found = top[name]
        for channel in range(len(found.images)):
            np.testing.assert_array_equal(
                np.array(layer["values"][channel], np.float32), found.values[channel]
            )
            shown = [names[number] for number in layer["images"][channel]]
            assert shown == [top.images[place] for place in found.images[channel]]
            counts = np.zeros_like(found.histogram[channel])
            counts[layer["bins"]] = layer["histogram"][channel]
            np.testing.assert_array_equal(counts, found.histogram[channel])
        np.testing.assert_allclose(layer["mean"], found.mean, rtol=1e-6)
        assert layer["active"] == found.fraction_active.tolist()
        assert layer["counted"] == [COUNT] * len(found.images)
    np.testing.assert_array_equal(
        np.array(json.loads(page.words("page"))["edges"], np.float32), top.histogram_edges
    )


def test_small_patches_are_the_pixels_of_the_files(
    top: TopActivations, page: Page, folder: Path
) -> None:
    names = json.loads(page.words("page"))["names"]
    for name, layer in page.layers().items():
        assert len(layer["patches"]) == len(set(layer["patches"])), "a patch is stored twice"
        for channel, cut in enumerate(layer["cut"]):
            for rank, number in enumerate(cut):
                whole = read(folder, names[layer["images"][channel][rank]])
                first, left, end, right = top.boxes(name, channel)[rank]
                head, patch = pixels(layer["patches"][number])
                assert head == "data:image/webp"
                np.testing.assert_array_equal(patch, whole[first:end, left:right])


def wide_extractor() -> FeatureExtractor:
    """Return a network whose layers have receptive fields of 41 and 161 pixels."""
    import keras

    ones = keras.initializers.Ones()
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(1, 41, strides=8, name="wide", kernel_initializer=ones),
            keras.layers.Conv2D(1, 16, strides=8, name="wider", kernel_initializer=ones),
        ]
    )
    return FeatureExtractor(model=model, size=None)


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_large_patches_are_small_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "jpeg":
        monkeypatch.setattr(features, "check", lambda feature: feature != "webp")
    y, x = np.mgrid[:200, :180]
    smooth = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "smooth.png")
    top = top_activations(wide_extractor(), [tmp_path / "smooth.png"], progress=False)
    layers = Page(write_page(top, tmp_path / "atlas.html").path).layers()
    head, patch = pixels(layers["wide"]["patches"][0])
    first, left, end, right = top.boxes("wide", 0)[0]
    assert head == f"data:image/{kind}"
    difference = patch.astype(int) - smooth[first:end, left:right]
    assert abs(difference).max() < 12
    head, patch = pixels(layers["wider"]["patches"][0])
    first, left, end, right = top.boxes("wider", 0)[0]
    assert (end - first, right - left) == (161, 161)
    assert (head, patch.shape) == (f"data:image/{kind}", (80, 80, 3))
    # Scaling keeps the positions of the centre and the corners.
    for row, column in ((40, 40), (4, 4), (4, 75)):
        there = smooth[first + row * 161 // 80, left + column * 161 // 80]
        assert abs(patch[row, column].astype(int) - there).max() < 12


def test_without_a_receptive_field_the_whole_picture_is_shown(
    top: TopActivations, folder: Path, tmp_path: Path
) -> None:
    strongest = replace(top["edges"], boxes=None)
    whole = replace(top, strongest={"edges": strongest})
    page = Page(write_page(whole, tmp_path / "atlas.html").path)
    names, layer = json.loads(page.words("page"))["names"], page.layers()["edges"]
    for number, cut in zip(layer["images"][3], layer["cut"][3], strict=True):
        kept, original = pixels(layer["patches"][cut])[1], read(folder, names[number])
        assert kept.shape == original.shape


def test_the_page_says_where_its_numbers_come_from(top: TopActivations, page: Page) -> None:
    source = page.words("source")
    for words in (
        top.weights.label,
        f"{COUNT} images",
        "1 more could not be read",
        "images of their own size",
        "the 4 strongest by the map's max",
        f"vgg_widget {vgg_widget.__version__}",
    ):
        assert words in source
    assert page.words("missing") == ""
    assert "JavaScript is turned off here: allow it" in page.words("waiting")


def test_names_are_text_and_nothing_else_can_run(folder: Path, tmp_path: Path) -> None:
    pairs = [(HOSTILE, folder / "000.png"), ("<!--<script>", folder / "more" / "001.png")]
    top = top_activations(exact_extractor(), pairs, k=2, progress=False)
    weights = replace(top.weights, label=f"weights {HOSTILE}")
    page = Page(write_page(replace(top, weights=weights), tmp_path / "atlas.html").path)
    assert set(json.loads(page.words("page"))["names"]) == {HOSTILE, "<!--<script>"}
    assert HOSTILE in page.words("source")
    assert not page.of("img")
    scripts = page.of("script")
    kinds = [attributes.get("type") for attributes, _ in scripts]
    assert kinds == ["application/json"] * 4 + [None]
    assert str(folder) not in page.text, "the page contains the path of the pictures"
    # The policy lets a browser run only the script with this digest, and load no resources.
    (policy,) = (
        str(attributes["content"])
        for attributes, _ in page.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for rule, text in (
        ("script-src", scripts[-1][1]),
        ("style-src", page.of("style")[0][1]),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href", "action"):
            assert attributes.get(name) in (None, "data:,")


def test_its_script_makes_no_markup_and_opens_no_connection() -> None:
    ways = [
        files("vgg_widget.dataset").joinpath("page.js"),
        files("vgg_widget.page").joinpath("shell.js"),
    ]
    script = "".join(way.read_text(encoding="utf-8") for way in ways)
    for way in (
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("),
        *("fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon", "https:"),
    ):
        assert way not in script
    assert re.findall(r"http:[^\"]+", script) == ["http://www.w3.org/2000/svg"]


def test_fewer_layers_and_channels(top: TopActivations, tmp_path: Path) -> None:
    path = tmp_path / "atlas.html"
    page = Page(write_page(top, path, layers=["corners", "edges"], channels=2).path)
    layers = page.layers()
    assert list(layers) == ["edges", "corners"]
    assert [len(layer["values"]) for layer in layers.values()] == [2, 2]
    data = json.loads(page.words("page"))["layers"]
    assert [(layer["channels"], layer["of"]) for layer in data] == [(2, 6), (2, 5)]
    used = {number for layer in layers.values() for each in layer["images"] for number in each}
    assert used == set(range(len(json.loads(page.words("page"))["names"])))
    whole = Page(write_page(top, path, layers="half", channels=99).path).layers()
    assert len(whole["half"]["values"]) == 6


def listed_layers(page: Page) -> list[str]:
    return [layer["name"] for layer in json.loads(page.words("page"))["layers"]]


def test_without_webp_small_patches_are_exact_too(
    top: TopActivations, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "webp")
    other = Page(write_page(top, tmp_path / "atlas.html").path)
    for name, layer in page.layers().items():
        again = other.layers()[name]
        assert again["cut"] == layer["cut"]
        for one, two in zip(layer["patches"], again["patches"], strict=True):
            assert two.startswith("data:image/png")
            np.testing.assert_array_equal(pixels(one)[1], pixels(two)[1])


def test_with_too_many_patches_only_some_layers_are_shown_unless_named(
    top: TopActivations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "atlas.html"
    patches = {
        name: len(
            {
                (*box, one.images[c, rank])
                for c, boxes in enumerate(one.boxes.tolist())
                for rank, box in enumerate(boxes)
            }
        )
        for name, one in top.items()
        if one.boxes is not None
    }
    for most, expected in (
        (sum(patches.values()), ["edges", "half", "corners"]),
        (sum(patches.values()) - 1, ["edges", "corners"]),
        (1, ["edges"]),
    ):
        monkeypatch.setattr("vgg_widget.dataset.page._MOST_PATCHES", most)
        written = write_page(top, path)
        page = Page(written.path)
        assert listed_layers(page) == list(written.layers) == expected
        words = f"{len(expected)} of 3 layers"
        assert (words in page.words("source")) == (len(expected) < 3)
        assert listed_layers(Page(write_page(top, path, layers=top).path)) == list(top)


@pytest.mark.slow
def test_a_page_of_nineteen_photographs_is_small(tmp_path: Path) -> None:
    from skimage import data

    names = ["astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "grass", "gravel"]
    for name in names:
        photograph = getattr(data, name)()
        # Pieces of one photograph are as different as separate photographs.
        for number, part in enumerate(np.array_split(photograph, 3, axis=1)):
            Image.fromarray(part).save(tmp_path / f"{name}{number}.png")
    paths = sorted(tmp_path.glob("*.png"))[:19]
    top = top_activations(FeatureExtractor("kmeans"), paths, progress=False)
    written = write_page(top, tmp_path / "atlas.html")
    blocks = range(1, 6)
    assert written.layers == tuple(f"block{block}_conv1" for block in blocks)
    assert written.size < 10e6
    # It opens on a layer whose patches show recognisable things.
    assert json.loads(Page(written.path).words("page"))["first"]["layer"] == "block4_conv1"


@pytest.fixture
def moved(folder: Path, tmp_path: Path) -> tuple[TopActivations, Path]:
    """Return a result of pictures in the test's temporary folder, and that folder."""
    names = [name for name in sorted(path.name for path in folder.glob("*.png")) if name != "bad"]
    for name in names[:4]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return top_activations(exact_extractor(), tmp_path, k=9, progress=False), tmp_path


def test_missing_and_changed_pictures_are_named(moved: tuple[TopActivations, Path]) -> None:
    top, place = moved
    gone, changed = top.images[0], top.images[1]
    (place / gone).unlink()
    Image.fromarray(picture(99)).save(place / changed)
    written = write_page(top, place / "atlas.html")
    assert list(written.missing) == [gone, changed]
    assert "was not found" in written.missing[gone]
    assert "has changed" in written.missing[changed]
    page = Page(written.path)
    assert page.words("missing").startswith("2 images have changed or")
    names, layer = json.loads(page.words("page"))["names"], page.layers()["edges"]
    for cut, images in zip(layer["cut"], layer["images"], strict=True):
        lacking = {names[image] for image, one in zip(images, cut, strict=True) if one < 0}
        assert lacking == {gone, changed}


def test_without_any_readable_picture_the_old_page_is_kept(
    moved: tuple[TopActivations, Path],
) -> None:
    top, place = moved
    path = place / "atlas.html"
    path.write_text("old", encoding="utf-8")
    for name in top.images:
        (place / name).unlink()
    with pytest.raises(ImageError, match=rf"none of the {len(top.images)} images .* can be read"):
        write_page(top, path)
    assert path.read_text(encoding="utf-8") == "old"
    in_memory = top_activations(exact_extractor(), [picture(1)], progress=False)
    with pytest.raises(ImageError, match="was given in memory and is not stored"):
        write_page(in_memory, path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "atlas.pdf"}, r"path 'atlas.pdf' does not end in \.html"),
        ({"path": "no/such/atlas.html"}, "make the folder first"),
        ({"layers": "edge"}, "layer 'edge' is not in this result"),
        ({"layers": []}, "layers is empty"),
        ({"channels": 0}, "channels 0 is not a valid number of channels"),
        ({"channels": True}, "channels True is not a valid number"),
        ({"channels": "all"}, "channels 'all' is not a valid number"),
    ],
)
def test_wrong_arguments_are_refused(
    top: TopActivations, arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, OSError), match=words):
        write_page(top, **{"path": tmp_path / "atlas.html", **arguments})
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_pictures_read(top: TopActivations, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    write_page(
        top,
        tmp_path / "atlas.html",
        layers="corners",
        progress=lambda done, total: calls.append((done, total)),
    )
    used = len(set(top["corners"].images.ravel().tolist()))
    assert calls == [(done, used) for done in range(1, used + 1)]

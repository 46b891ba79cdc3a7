"""Tests of the explorer as one HTML file: its content, precision, size and errors."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.brute_force import exact_extractor
from tests.explorers import field_of
from tests.test_atlas_html import Page
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, LayerInfo, sample_image
from vgg_widget.activations.named_layers import LayerNameError
from vgg_widget.cli import main
from vgg_widget.support.provenance import Provenance

HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=alert(1)>\"'&ü–\ud800"


def saved(activations: Activations, path: Path, **choices: Any) -> Page:
    target = path / "page.html"
    activations.to_html(target, **choices)
    return Page(target)


def header(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.words("page"))
    return found


def unpacked(page: Page, number: int) -> np.ndarray:
    """Return the maps of a layer as bytes of shape (channels, height, width), from all pieces."""
    layer = header(page)["layers"][number]
    pieces = -(-len(layer["low"]) // layer["piece"])
    texts = [page.words(f"maps-{number}-{place}") for place in range(pieces)]
    data = b"".join(zlib.decompress(base64.b64decode(text, validate=True)) for text in texts)
    return np.frombuffer(data, np.uint8).reshape(-1, *layer["stored"])


def test_every_value_is_in_it_to_a_508th_of_its_channels_range(
    activations: Activations, tmp_path: Path
) -> None:
    page = saved(activations, tmp_path)
    layers = header(page)["layers"]
    assert [layer["name"] for layer in layers] == list(activations)
    for number, layer in enumerate(layers):
        maps = activations[layer["name"]].transpose(2, 0, 1)
        indices = unpacked(page, number)
        assert indices.shape == maps.shape
        high = maps.max(axis=(1, 2))
        np.testing.assert_allclose(layer["high"], high, rtol=1e-6)
        assert not any(layer["low"])
        values = indices / 254 * high[:, None, None]
        assert (np.abs(values - maps) <= high[:, None, None] / 507.9).all()


def test_ranges_winners_and_fields_match_numpy(activations: Activations, tmp_path: Path) -> None:
    page = saved(activations, tmp_path)
    data = header(page)
    positive = [maps[maps > 0] for maps in activations.values()]
    assert data["network"][0] == pytest.approx(np.percentile(np.concatenate(positive), 99.9), 1e-5)
    for number, layer in enumerate(data["layers"]):
        maps = activations[layer["name"]]
        rows, columns, channels = maps.shape
        assert layer["shape"] == [rows, columns, channels]
        assert layer["top"] == pytest.approx(np.percentile(positive[number], 99.9), 1e-5)
        for channel in range(0, channels, 37):
            one = maps[..., channel]
            top = np.percentile(one[one > 0], 99.5) if one.any() else 0
            assert layer["auto"][channel] == pytest.approx(top, 1e-5)
        packed = zlib.decompress(base64.b64decode(page.words(f"modes-{number}")))
        largest, mean, low, high = np.frombuffer(packed, np.uint8).reshape(4, rows, columns)
        for indices, by_hand, place in ((largest, maps.max(-1), 0), (mean, maps.mean(-1), 1)):
            end = layer["modes"]["high"][place]
            np.testing.assert_allclose(indices / 254 * end, by_hand, atol=end / 507)
        winners = low + 256 * high.astype(int)
        np.testing.assert_array_equal(winners, np.where(maps.any(-1), maps.argmax(-1), 65535))
        height, width = activations.image.shape[:2]
        top_left = field_of(layer["name"], rows - 1, columns - 1, (height, width))
        (top, bottom), (left, right) = layer["fields"]["rows"][-1], layer["fields"]["columns"][-1]
        assert (top, left, bottom, right) == top_left


def test_it_is_one_file_that_runs_its_own_script_alone(
    activations: Activations, tmp_path: Path
) -> None:
    named = Activations(
        activations.layers,
        {name: activations[activations.before_relu(name) or name] for name in activations},
        activations.image,
        replace(activations.weights, label=HOSTILE, message=f"{HOSTILE}: {HOSTILE}"),
        name=f"/secret/folder/{HOSTILE.replace('/', '')}",
    )
    page = saved(named, tmp_path, layers="block5_conv1", title=HOSTILE)
    (policy,) = (
        attributes["content"]
        for attributes, _ in page.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "unsafe-" not in policy
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    runs = [text for attributes, text in page.of("script") if "type" not in attributes]
    assert len(runs) == 1
    assert "innerHTML" not in runs[0]
    assert "fetch(" not in runs[0]
    (picture,) = (attributes for attributes, _ in page.of("img"))
    assert str(picture["src"]).startswith("data:image/png;base64,")
    assert page.words("waiting")
    # The page has no web address, and not the path of the picture.
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "secret" not in page.text


def test_custom_layers_without_fields_and_with_both_signs(
    photo: np.ndarray, tmp_path: Path
) -> None:
    activations = exact_extractor()(photo)
    page = saved(activations, tmp_path)
    number = list(activations).index("corners")
    layer = header(page)["layers"][number]
    maps = activations["corners"].transpose(2, 0, 1)
    assert layer["signed"]
    low, high = (np.asarray(layer[name])[:, None, None] for name in ("low", "high"))
    values = low + unpacked(page, number) / 254 * (high - low)
    assert (np.abs(values - maps) <= (high - low) / 507.9).all()
    infos = [replace(info, receptive_field=None, axes=None) for info in activations.layers]
    odd = {name: maps.copy() for name, maps in activations.items()}
    odd["edges"][0, :3, 0] = np.nan, np.inf, -np.inf
    data = Activations(infos, odd, activations.image, activations.weights)
    page = saved(data, tmp_path)
    assert header(page)["layers"][0]["fields"] == {}
    assert unpacked(page, 0)[0, 0, :3].tolist() == [255, 255, 255]


def test_before_the_relu(activations: Activations, tmp_path: Path) -> None:
    page = saved(activations, tmp_path, layers="block3_conv1", before_relu=True)
    (layer,) = header(page)["layers"]
    maps = activations["features.10"].transpose(2, 0, 1)
    low, high = (np.asarray(layer[name])[:, None, None] for name in ("low", "high"))
    np.testing.assert_allclose(low[:, 0, 0], maps.min(axis=(1, 2)), rtol=1e-6)
    values = low + unpacked(page, 0) / 254 * (high - low)
    assert (np.abs(values - maps) <= (high - low) / 507.9).all()


def test_maps_that_do_not_fit_are_halved_and_the_page_says_so(
    activations: Activations, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    whole = activations.to_html(path)
    assert whole.halved == {}
    assert whole.size == path.stat().st_size
    small = activations.to_html(path, max_megabytes=whole.size * 0.85e-6)
    assert small.size <= whole.size * 0.85
    assert set(small.halved.values()) == {2}
    # The largest layers are halved, which are the first ones.
    assert set(small.halved) == set(list(activations)[: len(small.halved)])
    page = Page(path)
    assert page.words("halved") == small.halved_words
    assert "every second row and column of block1_conv1" in small.halved_words
    assert_every(2, page, activations, "block1_conv1")
    assert_every(1, page, activations, "block5_pool")
    with pytest.warns(UserWarning, match=r"more than max_megabytes=0.05: name fewer layers="):
        activations.to_html(path, max_megabytes=0.05)


def assert_every(step: int, page: Page, activations: Activations, name: str) -> None:
    """Assert that a page has every `step`-th row and column of a layer with their values."""
    number = list(activations).index(name)
    layer = header(page)["layers"][number]
    assert layer["step"] == step
    maps = activations[name].transpose(2, 0, 1)[:, ::step, ::step]
    high = np.asarray(layer["high"])[:, None, None]
    assert (np.abs(unpacked(page, number) / 254 * high - maps) <= high / 507.9).all()
    # The maps of the other modes are few, so they are halved once less.
    fewer = layer["modes"]["step"]
    assert fewer == max(1, step // 2)
    packed = zlib.decompress(base64.b64decode(page.words(f"modes-{number}")))
    largest, _, low, high = np.frombuffer(packed, np.uint8).reshape(4, *layer["modes"]["stored"])
    by_hand = activations[name][::fewer, ::fewer]
    end = layer["modes"]["high"][0]
    np.testing.assert_allclose(largest / 254 * end, by_hand.max(-1), atol=end / 507)
    winners = np.where(by_hand.any(-1), by_hand.argmax(-1), 65535)
    np.testing.assert_array_equal(low + 256 * high.astype(int), winners)


def test_a_larger_picture_is_halved_again_until_it_fits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"fine": (200, 260, 16), "coarse": (50, 65, 16), "deep": (8, 8, 64)}
    maps = {name: np.maximum(rng.normal(size=size), 0) for name, size in sizes.items()}
    infos = [LayerInfo(name, None, "odd", size[-1], 1) for name, size in sizes.items()]
    odd = Activations(
        infos,
        {name: one.astype(np.float32) for name, one in maps.items()},
        np.zeros((200, 260, 3), np.uint8),
        Provenance("random", "none"),
    )
    path = tmp_path / "page.html"
    with pytest.warns(UserWarning, match="some layers keep only every fourth row and column"):
        written = odd.to_html(path, max_megabytes=0.28)
    assert written.size <= 280_000
    assert written.halved["fine"] in (4, 8)
    assert "deep" not in written.halved
    for name in maps:
        assert_every(written.halved.get(name, 1), Page(path), odd, name)


def test_a_large_page_is_warned_of_before_any_work(
    activations: Activations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Maps as VGG19 makes of 1000 × 1000 pixels, broadcast from one number to save memory.
    infos = [replace(info, axes=None) for info in activations.layers]
    side = {info.name: 1000 // int(info.stride) for info in infos}
    maps = {
        info.name: np.broadcast_to(np.float32(1), (side[info.name], side[info.name], info.channels))
        for info in infos
    }
    image = np.zeros((1000, 1000, 3), np.uint8)
    large = Activations(infos, maps, image, activations.weights)
    calls: list[object] = []
    # The tests turn warnings into errors, so the work ends at the warning.
    sentence = (
        r"the whole page would take about 170 MB, and within max_megabytes=10 some layers keep "
        r"only every eighth row and column: name fewer layers=, compute the image with a smaller "
        r"size=, or allow more with max_megabytes=\."
    )
    with pytest.raises(UserWarning, match=sentence):
        large.to_html(tmp_path / "page.html", progress=lambda *now: calls.append(now))
    assert calls == []
    assert list(tmp_path.iterdir()) == []
    call = ["page", "sample", "-o", str(tmp_path / "page.html"), "--weights", "random"]
    assert main([*call, "--size", "64", "--max-megabytes", "0.3"]) == 0
    said = capsys.readouterr()
    first, progress = (said.err.index(word) for word in ("vgg-widget: the ", "layers: "))
    assert first < progress
    assert "name fewer --layers, compute the image with a smaller --size, or" in said.err
    assert "To keep this file small, it has every " in said.out


def test_the_returned_text_is_that_of_a_file(activations: Activations, tmp_path: Path) -> None:
    text = activations.to_html(layers=["conv5_1", "block1_pool"], title="Two")
    path = tmp_path / "page.HTM"
    written = activations.to_html(path, layers=["conv5_1", "block1_pool"], title="Two")
    assert path.read_text(encoding="utf-8") == text
    # Layers are in network order; "conv5_1" names the layer before its ReLU.
    assert written.layers == ("block1_pool", "block5_conv1")
    assert '"features.28"' in text


def test_the_page_opens_with_the_state_of_the_explorer(
    explore: Callable[..., LayerExplorer], tmp_path: Path
) -> None:
    explorer = explore(layer="block2_conv1", channel=17, mode="max", cmap="Wistia", scale="layer")
    explorer.gamma, explorer.location, explorer.overlay = 0.8, (3, 4), 0.25
    explorer.to_html(tmp_path / "page.html")
    data = header(Page(tmp_path / "page.html"))
    assert "Wistia" in data["cmaps"]
    assert data["first"] == {
        "layer": "block2_conv1",
        "channel": 17,
        "channels": [],
        "mode": "max",
        "cmap": "Wistia",
        "scale": "layer",
        "gamma": 0.8,
        "location": [3, 4],
        "overlay": 0.25,
    }
    explorer.before_relu = True
    explorer.to_html(tmp_path / "page.html")
    assert header(Page(tmp_path / "page.html"))["first"]["layer"] == "features.5"
    with pytest.raises(ValueError, match=r"page.png' does not end in .html: change its suffix"):
        explorer.to_html(tmp_path / "page.png")


def test_a_mode_that_needs_a_kernel_warns(
    explore: Callable[..., LayerExplorer], tmp_path: Path
) -> None:
    explorer = explore(layer="block5_conv1", mode="groups")
    with pytest.warns(UserWarning, match="mode 'groups' needs a kernel, so the") as caught:
        explorer.to_html(tmp_path / "page.html", layers="block5_conv1")
    # The warning points to the line of the caller.
    assert caught[0].filename == __file__
    page = header(Page(tmp_path / "page.html"))
    assert page["first"]["mode"] == "channel"
    assert "groups" not in page["phrases"]


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (
            {"path": "page.png"},
            ValueError,
            "path '.*page.png' does not end in .html: change its suffix",
        ),
        ({"path": 3}, TypeError, "path 3 is not a file path: pass a string or a Path"),
        ({"path": "folder.html"}, IsADirectoryError, "folder.html' is a folder: name a file in it"),
        ({"path": f"{'x' * 300}.html"}, OSError, r"x.html' cannot be written \(File name too long"),
        ({"path": "none/page.html"}, FileNotFoundError, "folder that does not exist .*: make the"),
        ({"layers": "blok1_conv1"}, LayerNameError, "layer 'blok1_conv1' is not known: did you"),
        ({"layers": []}, ValueError, "layers is empty: name at least one"),
        ({"title": 3}, TypeError, "title 3 is not text: pass a string"),
        ({"max_megabytes": 0}, ValueError, "max_megabytes 0 is not a file size: pass"),
        ({"max_megabytes": float("nan")}, ValueError, "max_megabytes nan is not a file size"),
        ({"max_megabytes": "10"}, ValueError, "max_megabytes '10' is not a file size"),
        ({"progress": 1}, TypeError, "progress 1 is neither .* layers done"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    activations: Activations,
    tmp_path: Path,
    arguments: dict[str, Any],
    kind: type[Exception],
    sentence: str,
) -> None:
    (tmp_path / "folder.html").mkdir()
    arguments = dict(arguments)
    path = arguments.pop("path", "page.html")
    calls: list[object] = []
    if "progress" not in arguments:
        arguments["progress"] = lambda *now: calls.append(now)
    with pytest.raises(kind, match=sentence):
        activations.to_html(path if path == 3 else tmp_path / path, **arguments)
    assert [one.name for one in tmp_path.iterdir()] == ["folder.html"]
    # The error is raised before any work.
    assert calls == []


def test_a_full_disk_keeps_the_old_file(
    activations: Activations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def write_some(draft: Path, data: bytes) -> int:
        with draft.open("wb") as stream:
            stream.write(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_some)
    sentence = r"page.html' could not be written \(No space left on device\): free some space"
    with pytest.raises(OSError, match=sentence):
        activations.to_html(path, layers="block5_pool")
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written_is_reported_before_any_work(
    activations: Activations,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The error is simulated, since root may write to every folder.
    def refuse(**_: object) -> tuple[int, str]:
        raise PermissionError(errno.EACCES, "Permission denied", "a name that nobody gave")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    path, calls = tmp_path / "page.html", list[object]()
    with pytest.raises(PermissionError) as caught:
        activations.to_html(path, progress=lambda *now: calls.append(now))
    assert str(caught.value) == (
        f"path '{path}' cannot be written (Permission denied): choose another folder or name."
    )
    assert calls == []
    assert main(["page", "sample", "-o", str(path), "--weights", "random", "--size", "32"]) == 1
    assert capsys.readouterr().err.endswith(f"vgg-widget: {caught.value}\n")


def test_the_command_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.html"
    call = ["page", "sample", "-o", str(path), "--weights", "random", "--size", "64"]
    assert main([*call, "--layers", "block1_conv1", "relu5_1", "--title", "A <b> cat"]) == 0
    said = capsys.readouterr()
    assert re.search(r"cat.html: 0.\d MB; open it in any browser", said.out)
    assert "layers: 2 of 2" in said.err
    page = Page(path)
    assert [layer["name"] for layer in header(page)["layers"]] == ["block1_conv1", "block5_conv1"]
    assert "<title>A &lt;b&gt; cat</title>" in page.text
    assert main([*call[:3], str(tmp_path / "cat.png")]) == 1
    assert "does not end in .html" in capsys.readouterr().err
    assert main([*call, "--max-megabytes", "nan"]) == 1
    assert "max_megabytes nan is not a file size" in capsys.readouterr().err
    assert main([*call, "--layers", "block9"]) == 1
    assert "--layers 'block9' is not known" in capsys.readouterr().err


def test_progress_is_reported(activations: Activations) -> None:
    calls: list[tuple[int, int | None]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        activations.to_html(
            layers=["block4_pool", "block5_pool"], progress=lambda *now: calls.append(now)
        )
    assert calls == [(1, 2), (2, 2)]


def test_a_page_of_one_layer_of_each_block_is_small(tmp_path: Path) -> None:
    activations = FeatureExtractor("random", size=(224, 262))(sample_image())
    some = [name for name in activations if name.endswith("_conv2")]
    assert activations.to_html(tmp_path / "some.html", layers=some).size < 4e6
    one = activations.to_html(tmp_path / "more.html", layers=["block1_conv1", "block1_conv2"])
    assert 4e6 < one.size < 10e6
    assert not one.halved


def test_a_page_has_no_paths_of_the_computer_that_wrote_it(tmp_path: Path) -> None:
    # Without internet, the message names the folder for the weights.
    activations = FeatureExtractor("auto", size=32)(sample_image())
    assert remote_folder() in activations.weights.message
    text = activations.to_html(layers="block5_pool")
    for place in (remote_folder(), str(Path.home()), str(Path.cwd()), "keras/models"):
        assert place not in text
    assert "They were not trained to recognise anything." in text


def remote_folder() -> str:
    return str(Path(os.environ["KERAS_HOME"]) / "models")

"""Tests of the command line: its files, its output and its exit status."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.weights_server import Mirror, passing_for
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, render, sample_image
from vgg_widget.cli.command import main
from vgg_widget.cli.demo import demo_notebook
from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.weights import imagenet, resolve
from vgg_widget.weights.remote import ADDRESS_VARIABLE


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a cat.png"
    Image.fromarray(sample_image()[:200, :150]).save(path)
    return path


def test_render_writes_the_picture_that_was_asked_for(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.png"
    words = ["--layer", "block2_pool", "--mode", "max", "--cmap", "gray", "--scale", "channel"]
    assert main(["render", str(picture), *words, "--weights", "random", "--size", "64",
                 "-o", str(target)]) == 0  # fmt: skip
    output = capsys.readouterr()
    assert output.out.strip() == str(target)
    assert "random" in output.err
    with Image.open(target) as image:
        drawn = np.array(image.convert("RGB"))
    activations = FeatureExtractor("random", size=64)(picture)
    expected = render(activations, "block2_pool", "max", cmap="gray", scale="channel")
    # 16 × 21 locations over some 270 × 356 pixels: every grey of the map is found in the drawing.
    greys = {tuple(colour[:3]) for colour in expected.rgba.reshape(-1, 4)}
    assert greys <= {tuple(colour) for colour in drawn.reshape(-1, 3)}


def test_by_default_render_draws_what_the_explorer_shows_first(
    picture: Path, tmp_path: Path
) -> None:
    with closing(LayerExplorer(picture, weights="random", size=64)) as explorer:
        first = explorer.layer, explorer.channel
    assert first == ("block3_conv1", explorer.channel)
    drawn: list[bytes] = []
    for words in (
        [],
        ["--layer", first[0]],
        ["--layer", first[0], "--channel", str(first[1])],
        ["--layer", first[0], "--channel", str(first[1] ^ 1)],
    ):
        target = tmp_path / f"{len(drawn)}.png"
        asked = ["render", str(picture), "--weights", "random", "--size", "64", "-o", str(target)]
        assert main([*asked, *words]) == 0
        drawn.append(target.read_bytes())
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


def test_channel_and_channels_both_choose_one_channel_and_several_are_refused(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.png"
    asked = ["render", str(picture), "--weights", "random", "--size", "32", "-o", str(target)]

    def written(*words: str) -> bytes:
        assert main([*asked, *words]) == 0
        return target.read_bytes()

    assert written("--channels", "7") == written("--channel", "7") != written()
    assert main([*asked, "--channels", "7", "8"]) == 1
    assert "channels has 2 numbers, but mode 'channel' shows one" in capsys.readouterr().err


def test_a_grid_can_be_sorted_and_leave_out_dead_channels(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FeatureExtractor("random", size=32)
    made = network(picture)
    before = {info.name: made[info.name].copy() for info in made.layers}
    before["block1_conv1"][..., :60] = 0
    half_dead = Activations(made.layers, before, made.image, made.weights)
    monkeypatch.setattr(
        "vgg_widget.cli.command.FeatureExtractor", lambda *_, **__: lambda _: half_dead
    )
    drawn: list[bytes] = []
    asked = ["render", str(picture), "--layer", "block1_conv1", "--mode", "grid"]
    for options in ([], ["--hide-dead"], ["--hide-dead", "--order", "entropy"]):
        target = tmp_path / f"{len(drawn)}.png"
        assert main([*asked, *options, "-o", str(target)]) == 0
        drawn.append(target.read_bytes())
    assert len(set(drawn)) == 3


def test_an_order_that_the_command_does_not_offer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["render", "sample", "--order", "location", "-o", str(tmp_path / "a.png")])
    assert ended.value.code == 2
    assert "invalid choice: 'location'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "order of the channels in a grid: index, max, mean, std, sparsity, entropy" in words


@pytest.mark.slow
def test_all_layers_writes_one_picture_a_layer(picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"
    words = ["--all-layers", str(folder), "--mode", "mean", "--weights", "random", "--size", "64"]
    assert main(["render", str(picture), *words]) == 0
    assert {path.name for path in folder.iterdir()} == {f"{i.name}_mean.png" for i in VGG19_LAYERS}
    sizes = set()
    for path in folder.iterdir():
        with Image.open(path) as image:
            sizes.add(image.size)
    # All layers have pictures of one size, whose height follows the shape of the image.
    ((width, height),) = sizes
    with Image.open(picture) as image:
        shape = image.height / image.width
    assert width == 770
    assert height == pytest.approx(0.41 * 770 * shape + 54, abs=12)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["render", "no.png", "-o", "x.png"], "was not found: looked for"),
        (["render", "sample", "-o", "x.jpeg"], "choose one of .png, .svg, .pdf"),
        (["render", "sample", "-o", "x.png", "--layer", "block9_conv1"], "did you mean"),
        (["render", "sample", "-o", "x.png", "--weights", "none.h5"], "none.h5"),
        (["render", "sample", "-o", "x.png", "--size", "8"], "at least 32"),
        (["render", "sample", "-o", "none/x.png", "--weights", "random"], "make the folder first"),
        (
            ["render", "sample", "-o", "x.png", "--weights", "random", "--mode", "maxx"],
            "did you mean 'max'",
        ),
        (
            ["render", "sample", "-o", "x.png", "--weights", "random", "--channel", "256"],
            "from 0 to 255",
        ),
        (["demo", "no.png"], "was not found"),
        (["demo", "--port", "70000"], "port 70000 is not a valid port"),
        (["app", "no.png"], "was not found"),
        (["app", "--size", "8"], "at least 32"),
        (["app", "--weights", "kmean"], "did you mean 'kmeans'"),
        (["app", "--port", "70000"], "choose one from 1024 to 65535"),
        (["weights", "--export", "x.npz"], "does not end in .safetensors or .weights.h5"),
        (["weights", "--weights", "none.pth"], "none.pth' cannot be read"),
        (["weights", "--weights", "kmean"], "did you mean 'kmeans'"),
        (
            ["weights", "--weights", "random", "--export", "none/x.safetensors"],
            "make the folder first",
        ),
    ],
)
def test_an_error_is_one_line_and_leaves_no_files(
    words: list[str],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("vgg-widget: ")
    assert advice in errors[-1]
    assert list(tmp_path.iterdir()) == []


def test_weights_says_where_files_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main(["weights"]) == 1
    output = capsys.readouterr().out
    assert str(tmp_path / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5") in output
    assert "not found" in output
    # Nothing listens on the discard port of this machine.
    monkeypatch.setenv("VGG_WIDGET_WEIGHTS_URL", "http://127.0.0.1:9/")
    assert main(["weights", "--download"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text("utf-8")
    version = re.search(r"^version: (.+)$", citation, re.MULTILINE)
    assert version is not None
    assert capsys.readouterr().out == f"vgg-widget {version[1]}\n"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """Yield a server whose payload passes as the ImageNet file, and use an empty cache."""
    with Mirror() as server:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        monkeypatch.setenv(ADDRESS_VARIABLE, server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setitem(
            imagenet.IMAGENET, "vgg19", passing_for(imagenet.IMAGENET["vgg19"], server.payload)
        )
        yield server


def test_weights_lists_checks_and_downloads(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = imagenet.IMAGENET["vgg19"].locations()

    assert main(["weights"]) == 1
    printed = capsys.readouterr().out
    for line in (
        f"{first}: not found\n",
        f"{second}: not found\n",
        f"downloaded from {mirror.url}{imagenet.IMAGENET['vgg19'].name}\n",
        "download them with `vgg-widget weights --download`\n",
    ):
        assert line in printed
    assert all(
        source in printed for source in ("imagenet ", "kmeans ", "random ", "auto ", "a path ")
    )

    mirror.behaviour = "page"
    assert main(["weights", "--download"]) == 1
    assert "perhaps a web page" in capsys.readouterr().err
    assert not first.exists()
    mirror.behaviour = "good"
    assert main(["weights", "--download"]) == 0
    assert f"{first}: 0.2 MB, md5 correct" in capsys.readouterr().out
    assert first.read_bytes() == mirror.payload

    first.write_bytes(mirror.payload[:-1] + b"?")
    assert main(["weights"]) == 1
    printed = capsys.readouterr().out
    assert (
        f"{first}: 0.2 MB, damaged: its hash is not {imagenet.IMAGENET['vgg19'].hash}\n" in printed
    )
    first.write_bytes(mirror.payload[:-1])
    assert main(["weights"]) == 1
    assert f"damaged: it should have {len(mirror.payload):,} bytes" in capsys.readouterr().out
    assert main(["weights", "--download"]) == 0
    assert first.read_bytes() == mirror.payload

    # A wrong address does not hide the cached files.
    monkeypatch.setenv(ADDRESS_VARIABLE, "ftp://lab.example/")
    capsys.readouterr()
    assert main(["weights"]) == 0
    output = capsys.readouterr().out
    assert "md5 correct" in output
    assert ADDRESS_VARIABLE in output


def test_weights_downloads_the_classifier_only_on_request(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = (
        passing_for(file, mirror.payload)
        for file in (imagenet.IMAGENET_NAMES, imagenet.IMAGENET_TOP["vgg19"])
    )
    monkeypatch.setattr(imagenet, "IMAGENET_NAMES", small)
    monkeypatch.setitem(imagenet.IMAGENET_TOP, "vgg19", large)
    asked = [
        imagenet.IMAGENET["vgg19"].name,
        imagenet.IMAGENET_NAMES.name,
        imagenet.IMAGENET_TOP["vgg19"].name,
    ]
    assert main(["weights", "--top"]) == 1
    assert "--top needs --download" in capsys.readouterr().err
    assert main(["weights", "--download"]) == 0
    (top, _), (names, _) = (
        imagenet.IMAGENET_TOP["vgg19"].locations(),
        imagenet.IMAGENET_NAMES.locations(),
    )
    output = capsys.readouterr().out
    assert f"{top}: not found\n" in output
    assert f"{names}: not found\n" in output
    assert main(["weights", "--download", "--top"]) == 0
    output = capsys.readouterr().out
    assert f"{top}: 0.2 MB, md5 correct\n" in output
    assert f"{names}: 0.2 MB, md5 correct\n" in output
    assert [path.rpartition("/")[2] for path in mirror.requests] == asked


def test_weights_reports_a_folder_in_place_of_the_file(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = imagenet.IMAGENET["vgg19"].locations()
    first.mkdir(parents=True)
    assert main(["weights"]) == 1
    assert f"{first}: cannot be read (Is a directory)" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_weights_exports_the_chosen_weights(
    suffix: str, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scratch / f"random{suffix}"
    assert main(["weights", "--weights", "random", "--export", str(target)]) == 0
    output = capsys.readouterr()
    assert "untrained" in output.err
    assert str(target) in output.out
    assert main(["weights", "--weights", str(target)]) == 0
    printed = capsys.readouterr().out
    assert f"weights file {target.name}" in printed
    assert hashlib.sha256(target.read_bytes()).hexdigest() in printed
    assert "BGR in 0–255 minus (103.939, 116.779, 123.68)" in printed
    for name, pair in resolve("random").arrays.items():
        for array, read in zip(pair, resolve(target).arrays[name], strict=True):
            np.testing.assert_array_equal(read, array)


def test_weights_exports_imagenets_by_default(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.behaviour = "missing"
    target = tmp_path / "imagenet.safetensors"
    assert main(["weights", "--export", str(target)]) == 1
    assert "the server answered 404" in capsys.readouterr().err
    assert not target.exists()


def test_the_demo_notebook_shows_its_picture_before_it_is_run(picture: Path) -> None:
    read: Any = nbformat.reads
    notebook = read(json.dumps(demo_notebook(str(picture))), as_version=4)
    nbformat.validate(notebook)
    cell, trained = notebook.cells
    assert cell.source.endswith(f"LayerExplorer({str(picture)!r})")
    more = "network='vgg16', weights='hed'"
    assert trained.source.endswith(f"\nLayerExplorer({str(picture)!r}, {more})")
    assert trained.outputs[0].data["image/png"] != cell.outputs[0].data["image/png"]
    data = cell.outputs[0].data["image/png"]
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    # Input and map each take two fifths of the width, and the image is a third taller than wide.
    assert shown.width == 770
    assert 770 * 0.4 * 4 / 3 < shown.height < 550
    assert len(shown.convert("RGB").getcolors(1 << 20) or []) > 100
    assert "LayerExplorer(sample_image())" in demo_notebook(None)["cells"][0]["source"]


@pytest.mark.posix
@pytest.mark.slow
def test_the_demo_serves_its_notebook_and_stops_at_ctrl_c(picture: Path, tmp_path: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("DISPLAY", "BROWSER")},
        "TMPDIR": str(tmp_path),
        "http_proxy": "http://127.0.0.1:9",
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    demo = subprocess.Popen(
        [sys.executable, "-m", "vgg_widget", "demo", str(picture)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    lines: list[str] = []
    try:
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        address = next(word for line in lines for word in line.split() if word.startswith("http:"))
        assert "press Shift+Enter" in lines[-1]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert page.status == 200
        contents = address.replace("/lab/tree/", "/api/contents/")
        with urllib.request.urlopen(contents, timeout=30) as answer:
            assert b"image/png" in answer.read()
    finally:
        demo.send_signal(signal.SIGINT)
        # A second Ctrl-C must not leave the server running.
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, "".join(lines) + rest
    assert "Traceback" not in rest
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)

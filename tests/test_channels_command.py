"""Tests of `vgg-widget channels`: its files, its cache and its output."""

from __future__ import annotations

import base64
import html
import io
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vgg_widget import FeatureExtractor
from vgg_widget.cli import channels
from vgg_widget.cli.command import main
from vgg_widget.gradients import SyntheticImage, kept, visualize_channel
from vgg_widget.gradients.synthesis import ChannelMaking

RGB8 = npt.NDArray[np.uint8]

LAYER = "block1_conv2"
NETWORK = ["--layer", LAYER, "--weights", "random", "--steps", "3"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, in which the cache is placed as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(channels, "folder", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that collects the channels of each joint computation."""
    asked: list[tuple[int, ...]] = []
    real: Callable[..., None] = ChannelMaking.__init__

    def noted(self: Any, extractor: Any, layer: str, channel: Any, **more: Any) -> None:
        asked.append(tuple(channel))
        real(self, extractor, layer, channel, **more)

    monkeypatch.setattr(ChannelMaking, "__init__", noted)
    return asked


def made(*numbers: int, **how: Any) -> tuple[SyntheticImage, ...]:
    """Return the images that `visualize_channel` makes of these channels."""
    asked = {"steps": 3, "progress": False, **how}
    found = visualize_channel(FeatureExtractor("random"), LAYER, numbers, **asked)
    assert isinstance(found, tuple)
    return found


def assert_shows(path: str, images: tuple[SyntheticImage, ...]) -> None:
    """Assert that a sheet shows these images, enlarged by whole factors, row by row."""
    with Image.open(path) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    places = []
    for one in images:
        times = -(-96 // one.image.shape[0])
        tile = one.image.repeat(times, axis=0).repeat(times, axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], tile.shape[1], axis=1)
        rows, columns = np.nonzero((windows == tile[0, :, 0]).all(axis=2))
        there = [
            (row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if np.array_equal(sheet[row : row + len(tile), column : column + len(tile)], tile)
        ]
        assert len(there) == 1, one.channel
        places += there
    assert places == sorted(places)


def on_page(path: str) -> list[tuple[RGB8, str, str]]:
    """Return the picture, the text and the link target of each tile of a page."""
    text = Path(path).read_text(encoding="utf-8")
    found = []
    for tile in re.findall(r"<li>.*?</li>", text, re.DOTALL):
        data = re.search(r'src="data:image/png;base64,([^"]+)"', tile)
        assert data is not None
        with Image.open(io.BytesIO(base64.b64decode(data[1]))) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        leads = re.search(r'<a href="([^"]*)"', tile)
        words = " ".join(re.sub("<[^>]*>", " ", tile).split())
        found.append((pixels, words, html.unescape(leads[1]) if leads else ""))
    return found


def test_a_sheet_and_a_page_have_what_visualize_channel_makes(
    capsys: pytest.CaptureFixture[str], computed: list[tuple[int, ...]]
) -> None:
    # "conv1_2" names the layer before its ReLU, which has the same channels.
    asked = ["--layer", "conv1_2", *NETWORK[2:], "--channels", "3,5-7", "60"]
    assert main(["channels", *asked, "-o", "a.png", "--html", "a.html", "--page", "c.html"]) == 0
    assert computed == [(3, 5, 6, 7), (60,)]
    output = capsys.readouterr()
    assert "steps: 15 of 15" in output.err
    assert output.out.splitlines()[0].startswith("a.png: 5 channels, ")
    assert "c.html does not exist yet: run vgg-widget page IMAGE -o c.html" in output.out
    images = (*made(3, 5, 6, 7), *made(60))
    assert_shows("a.png", images)
    tiles = on_page("a.html")
    for (pixels, words, leads), one in zip(tiles, images, strict=True):
        np.testing.assert_array_equal(pixels, one.image)
        assert words == f"{one.channel} reaches {one.activation:.3g}"
        assert leads == f"c.html#layer={LAYER}&channel={one.channel}"
    # The same command again computes nothing, since all of its images are cached.
    del computed[:]
    Path("c.html").touch()
    before = Path("a.png").read_bytes(), Path("a.html").read_bytes()
    assert main(["channels", *asked, "-o", "a.png", "--html", "a.html", "--page", "c.html"]) == 0
    assert not computed
    assert (Path("a.png").read_bytes(), Path("a.html").read_bytes()) == before
    output = capsys.readouterr()
    assert "5 of 5 channels are cached" in output.err
    assert "not exist yet" not in output.out


def test_steps_size_and_seed_are_those_of_visualize_channel(
    computed: list[tuple[int, ...]],
) -> None:
    words = ["channels", *NETWORK, "--channels", "9", "--size", "40", "--seed", "2", "-o", "a.png"]
    assert main(words) == 0
    assert main([*words, "--steps", "4"]) == 0
    # The cached image was made with another number of steps, so it is not used.
    assert computed == [(9,), (9,)]
    assert_shows("a.png", made(9, steps=4, size=40, seed=2))


def test_an_interrupt_says_how_many_are_cached_and_how_to_continue(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    computed: list[tuple[int, ...]],
) -> None:
    step = ChannelMaking.step
    steps: list[int] = []

    def interrupt_the_fifth(self: ChannelMaking) -> None:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(ChannelMaking, "step", interrupt_the_fifth)
    assert main(["channels", *NETWORK, "--channels", "0-5", "-o", "my sheet.png"]) == 130
    output = capsys.readouterr().err.splitlines()[-1]
    assert output.startswith("vgg-widget: interrupted: 4 of 6 channels are cached; continue ")
    assert not Path("my sheet.png").exists()
    assert [path.name for path in Path().iterdir()] == ["cache"]
    again = shlex.split(output[output.index("vgg-widget channels") :])
    assert main(again[1:]) == 0
    assert computed == [(0, 1, 2, 3), (4, 5), (4, 5)]
    assert_shows("my sheet.png", (*made(0, 1, 2, 3), *made(4, 5)))


def kept_image(number: int) -> SyntheticImage:
    found = kept.KeptImages(FeatureExtractor("random")).find(LAYER, number, steps=60)
    assert found is not None
    return found


@pytest.mark.posix
@pytest.mark.slow
def test_ctrl_c_keeps_finished_images_and_the_same_command_continues(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "home"))
    cache = work / "home" / "vgg_widget" / "channels"
    steps = ["--steps", "60"]
    words = ["channels", *NETWORK, *steps, "--channels", "0-11", "-o", "sheet.png"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vgg_widget", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ends = time.monotonic() + 120
        # The names of unfinished files begin with a dot.
        while not list(cache.glob("[!.]*.png")):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert output == ""
    found = re.search(r"interrupted: (\d+) of 12 channels are cached; ", errors.splitlines()[-1])
    assert found is not None
    written = {path: path.stat().st_mtime_ns for path in cache.glob("[!.]*")}
    assert 0 < len(written) < 12
    assert len(written) - int(found[1]) in (0, 1)
    monkeypatch.setattr(kept, "folder", lambda: cache)
    assert main(words) == 0
    assert all(path.stat().st_mtime_ns == before for path, before in written.items())
    assert len(list(cache.iterdir())) == 12
    # The sheet also has the images that the other process computed.
    assert_shows("sheet.png", tuple(kept_image(number) for number in range(12)))
    (expected,) = made(0, steps=60)
    difference = kept_image(0).image.astype(int) - expected.image
    assert np.abs(difference).mean() < 1


def test_an_interrupt_says_when_nothing_can_be_cached(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "cache").write_text("no folder")
    words = ["channels", *NETWORK, "--channels", "4", "-o", "a.png"]
    assert main(words) == 0
    assert_shows("a.png", made(4))
    step = ChannelMaking.step
    batches: list[int] = []

    def interrupt_the_second(self: ChannelMaking) -> None:
        if self.steps == 0:
            batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(ChannelMaking, "step", interrupt_the_second)
    assert main([*words[:-3], "0-4", *words[-2:]]) == 130
    output = capsys.readouterr().err.splitlines()[-1]
    assert (
        output
        == f"vgg-widget: interrupted: nothing is cached, since {work / 'cache'} cannot be written"
    )


def test_the_page_runs_nothing_and_its_links_are_what_was_named(work: Path) -> None:
    (work / "sheets").mkdir()
    hostile = 'a "b" & <c>#.html'
    words = ["channels", *NETWORK, "--channels", "1", "--html", "sheets/s.html"]
    for page, leads in (
        (hostile, "../a%20%22b%22%20%26%20%3Cc%3E%23.html"),
        ("javascript:alert(1).html", "../javascript%3Aalert%281%29.html"),
        ("sheets/cat.html", "cat.html"),
        ("https://example.org/cat/?a=1&b=2", "https://example.org/cat/?a=1&b=2"),
    ):
        assert main([*words, "--page", page]) == 0
        ((_, _, address),) = on_page("sheets/s.html")
        assert address == f"{leads}#layer={LAYER}&channel=1"
    assert main(words) == 0
    ((_, _, address),) = on_page("sheets/s.html")
    assert address == ""
    text = Path("sheets/s.html").read_text(encoding="utf-8")
    assert "<script" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "script-src" not in policy[1]
    # The page loads nothing over the network.
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no file to write is given: pass -o sheet.png, --html sheet.html or both."),
        (["-o", "a.jpg"], "--output 'a.jpg' does not end in .png: choose a name that does."),
        (["--html", "a.png"], "path 'a.png' does not end in .html: change its suffix."),
        (["-o", "no/a.png"], "path 'no/a.png' lies in a folder that does not exist "),
        (["-o", "a.png", "--layer", "block9"], "--layer 'block9' is not known: "),
        (["-o", "a.png", "--channels", "64"], "--channels 64 is not in layer 'block1_conv2', "),
        (["-o", "a.png", "--channels", "5-3"], "--channels '5-3' runs backwards: write 3-5."),
        (["-o", "a.png", "--channels", "strongest"], "--channels 'strongest' is not a number or "),
        (
            ["-o", "a.png", "--channels", ","],
            "--channels names no channel: write for instance 0-31.",
        ),
        (["-o", "a.png", "--steps", "0"], "--steps 0 is not a whole number of at least 1: "),
        (["-o", "a.png", "--seed", "-1"], "--seed -1 is not a whole number of at least 0: "),
        (["-o", "a.png", "--size", "8"], "--size 8 is not a whole number of at least 32: "),
        (["-o", "a.png", "--page", "c.html"], "--page needs --html: "),
        (
            ["--html", "a.html", "--page", "c.jpg"],
            "--page 'c.jpg' is not a page: name an .html file",
        ),
        (["--html", "a.html", "--page", "http://a/#b"], "--page 'http://a/#b' is not a page: "),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    words: list[str],
    sentence: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(channels, "FeatureExtractor", lambda *_: pytest.fail("it was computed"))
    assert main(["channels", *NETWORK, "--channels", "0", *words]) == 1
    assert capsys.readouterr().err.startswith(f"vgg-widget: {sentence}")
    assert not list(work.iterdir())


def test_a_folder_without_permission_is_refused_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vgg_widget.support.files.tempfile.mkstemp", refuse)
    monkeypatch.setattr(channels, "FeatureExtractor", lambda *_: pytest.fail("it was computed"))
    for option in ("-o", "--html"):
        name = "a.png" if option == "-o" else "a.html"
        assert main(["channels", *NETWORK, "--channels", "0", option, name]) == 1
        assert capsys.readouterr().err == (
            f"vgg-widget: path '{name}' cannot be written (Permission denied): choose another "
            "folder or name.\n"
        )


def test_a_channel_without_a_gradient_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = replace(made(2)[0], activation=0.0, message="layer 'x' was 0 at every step.")
    monkeypatch.setattr(kept.KeptImages, "find", lambda *_, **__: dead)
    assert main(["channels", *NETWORK, "--channels", "2", "--html", "a.html"]) == 0
    ((_, words, _),) = on_page("a.html")
    assert words == "2 no gradient"
    assert capsys.readouterr().err.endswith("layer 'x' was 0 at every step.\n")

"""Tests of `vgg-widget atlas`: its files, its output and its exit status."""

from __future__ import annotations

import io
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.brute_force import assert_same
from tests.local_cluster import local_client
from tests.made_pictures import write_pictures
from vgg_widget import FeatureExtractor
from vgg_widget.cli import atlas
from vgg_widget.cli.command import main
from vgg_widget.dataset import TopActivations, image_set
from vgg_widget.network.reduced import ReducedNetwork
from vgg_widget.support.progress import ProgressLines

COUNT = 20
LAYERS = ["block1_conv2", "features.5"]
NETWORK = ["--weights", "random", "--size", "32"]
CHOSEN = ["--layers", *LAYERS, "--k", "3", *NETWORK]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, which has pictures in ``my set``."""
    write_pictures(tmp_path / "my set", COUNT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "_LEAST", 4)
    monkeypatch.setattr(image_set, "_MOST", 4)


def test_it_finds_what_excites_each_channel(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    output = capsys.readouterr()
    assert "images: 20 of 20" in output.err
    assert "untrained" in output.err
    lines = output.out.splitlines()
    assert lines[0] == "kept/top.npz: the 3 strongest of 20 images for 192 channels"
    # The printed code loads the result, and the printed command writes a page of it.
    assert lines[2:4] == [
        "    from vgg_widget.dataset import TopActivations",
        "    top = TopActivations.load('kept/top.npz')",
    ]
    assert lines[4] == "to write a page: vgg-widget atlas kept --html atlas.html"
    assert main(shlex.split(lines[4].partition(": ")[2])[1:]) == 0
    assert "atlas.html: 0." in capsys.readouterr().out

    top = TopActivations.load("kept/top.npz")
    assert (list(top), top.k, top.statistic, top.size) == (LAYERS, 3, "max", 32)
    extractor = FeatureExtractor("random", size=32)
    maps = [extractor(work / "my set" / name) for name in top.images]
    for layer in LAYERS:
        peaks = np.stack([one[layer].max(axis=(0, 1)) for one in maps])
        np.testing.assert_allclose(
            top[layer].values, -np.sort(-peaks, axis=0)[:3].T, rtol=1e-4, atol=1e-3
        )


def test_finished_work_is_not_computed_again(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["atlas", "my set", "-o", "kept", "--statistic", "mean", *CHOSEN]
    assert main(command) == 0
    first = TopActivations.load("kept/top.npz")
    Path("kept/top.npz").unlink()

    def compute(*_: Any) -> None:
        raise AssertionError("it was computed again")

    monkeypatch.setattr(ReducedNetwork, "__call__", compute)
    assert main([*command, "--html", "atlas.html", "--channels", "2"]) == 0
    assert_same(first, TopActivations.load("kept/top.npz"))
    assert first.statistic == "mean"
    output = capsys.readouterr()
    assert "images: 9 of 9" in output.err
    assert "atlas.html: 0." in output.out
    page = Path("atlas.html").read_text(encoding="utf-8")
    assert "the 3 strongest by the map&#x27;s mean" in page
    assert '"channels":2,"of":64' in page
    # Another statistic in the same folder would mix different numbers.
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 1
    assert "was created with statistic 'mean', not 'max'" in capsys.readouterr().err


@pytest.mark.usefixtures("_small_shards")
def test_an_interrupt_says_how_to_continue(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["atlas", "my set", "-o", "whole", *CHOSEN]) == 0
    compute = ReducedNetwork.__call__
    calls: list[int] = []
    interrupted: list[bool] = []

    def interrupt_after_two_shards(self: ReducedNetwork, images: Any) -> Any:
        if not interrupted and len(list(Path("kept").glob("shard-*"))) == 2:
            interrupted.append(True)
            raise KeyboardInterrupt
        calls.append(len(images))
        return compute(self, images)

    monkeypatch.setattr(ReducedNetwork, "__call__", interrupt_after_two_shards)
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 130
    output = capsys.readouterr().err.splitlines()[-1]
    assert output.startswith("vgg-widget: interrupted: finished work is kept in kept; continue ")
    shards = {path: path.stat().st_mtime_ns for path in Path("kept").glob("shard-*")}
    assert len(shards) == 2
    assert not Path("kept/top.npz").exists()

    again = shlex.split(output[output.index("vgg-widget atlas") :])
    assert again[2] == "my set"
    assert main(again[1:]) == 0
    assert sum(calls) == COUNT
    assert all(path.stat().st_mtime_ns == written for path, written in shards.items())
    assert_same(TopActivations.load("whole/top.npz"), TopActivations.load("kept/top.npz"))


def test_an_interrupted_run_moves_the_earlier_result_away(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(work / "other", 3)
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    # A refused run leaves the result unchanged.
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN, "--statistic", "mean"]) == 1
    before = Path("kept/top.npz").read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReducedNetwork, "__call__", interrupt)
    assert main(["atlas", "other", "-o", "kept", *CHOSEN]) == 130
    assert main(["atlas", "kept", "--html", "page.html"]) == 1
    assert "holds no top.npz, the result of a finished store" in capsys.readouterr().err
    assert Path("kept/top-previous.npz").read_bytes() == before


@pytest.mark.posix
@pytest.mark.slow
def test_ctrl_c_keeps_finished_shards_and_shows_no_traceback(work: Path) -> None:
    write_pictures(work / "many", 300)
    command = [sys.executable, "-m", "vgg_widget", "atlas", "many", "-o", "kept", *NETWORK]
    # At size 32 the command could finish before the interrupt.
    command[-1] = "96"
    process = subprocess.Popen(
        command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        ends = time.monotonic() + 120
        while not list((work / "kept").glob("shard-*")):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "is kept in kept" in errors.splitlines()[-1]
    assert output == ""
    assert not (work / "kept" / "top.npz").exists()


def test_bad_files_are_named_at_the_end(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        (work / "my set" / f"bad-{number}.png").write_bytes(b"no picture")
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    output = capsys.readouterr()
    lines = output.err.splitlines()
    start = lines.index("7 of 27 images could not be used:")
    assert all(f"bad-{number}.png" in lines[start + 1 + number] for number in range(5))
    assert "not in a readable image format" in lines[start + 1]
    assert lines[start + 6] == "    and 2 more: top.failed"
    assert lines[start + 7].startswith("Fix or remove them and run the same command again")
    assert len(lines) == start + 8
    assert "Warning" not in output.err
    assert "3 strongest of 20 images" in output.out
    assert list(TopActivations.load("kept/top.npz").failed) == [f"bad-{n}.png" for n in range(7)]


def test_a_page_of_a_finished_store_needs_no_network(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0

    def build(*_: Any, **__: Any) -> None:
        raise AssertionError("it built a network")

    monkeypatch.setattr(atlas, "FeatureExtractor", build)
    words = ["--layers", "block1_conv2", "--channels", "3"]
    for source in ("kept", "kept/top.npz"):
        Path("page.html").unlink(missing_ok=True)
        assert main(["atlas", source, "--html", "page.html", *words]) == 0
        page = Path("page.html").read_text(encoding="utf-8")
        output = page.partition('id="page">')[2].partition("</script>")[0]
        assert [layer["name"] for layer in json.loads(output)["layers"]] == ["block1_conv2"]
    assert "layers" not in capsys.readouterr().out
    # If a page has no room for all layers, the command says which it shows and how to choose.
    with monkeypatch.context() as small:
        small.setattr("vgg_widget.dataset.page._MOST_PATCHES", 9)
        assert main(["atlas", "kept", "--html", "page.html"]) == 0
        output = capsys.readouterr().out
        assert f"it shows 1 of {len(LAYERS)} layers ({LAYERS[0]}): choose others with" in output
        assert main(["atlas", "kept", "--html", "page.html", "--layers", "all"]) == 0
        assert "it shows" not in capsys.readouterr().out
    capsys.readouterr()
    monkeypatch.setattr(atlas, "_LARGE", 100)
    (work / "my set" / "000.png").unlink()
    assert main(["atlas", "kept", "--html", "page.html"]) == 0
    errors = capsys.readouterr().err
    assert "patches are missing on the page: 1, the first being" in errors
    assert "'000.png'" in errors
    assert "page.html is large and slow to open: show fewer layers with --layers" in errors


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["no", "-o", "kept", *NETWORK], "images 'no' was not found"),
        (["empty", "-o", "kept", *NETWORK], "has no image files"),
        (["my set"], "'my set' holds no top.npz"),
        (["my set", "--html", "x.html"], "give a folder for the results with -o"),
        (["my set/*.png"], "give a folder for the results with -o"),
        (["my set", "-o", "kept", "--layers", "block9", *NETWORK], "did you mean 'block"),
        (["my set", "-o", "kept", "--k", "0", *NETWORK], "k 0 is not a valid number of images"),
        (["my set", "-o", "kept", "--size", "8", "--weights", "random"], "at least 32"),
        (["my set", "-o", "kept", "--weights", "kmean"], "did you mean 'kmeans'"),
        (["my set", "-o", "my set", *NETWORK], "holds files but no manifest.json of a store"),
        (["my set", "-o", "kept", "--html", "x.pdf"], "does not end in .html"),
        (["my set", "-o", "kept", "--html", "no/x.html"], "make the folder first"),
        (["my set", "-o", "kept", "--channels", "3"], "--channels needs --html"),
        (["my set", "-o", "kept", "--scheduler", "tcp://127.0.0.1:9"], "does not answer"),
        (["my set", "-o", "kept", "--scheduler", "odd://here"], "does not answer"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_files(
    words: list[str],
    advice: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (work / "empty").mkdir()
    monkeypatch.setattr(atlas, "_TIMEOUT", 0.5)
    assert main(["atlas", *words]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("vgg-widget: ")
    assert advice in errors[-1]
    assert sorted(path.name for path in work.iterdir()) == ["empty", "my set"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ([], "name a page to write with --html"),
        (["--html", "x.html", "--k", "2"], "--k needs -o: 'kept' is already finished"),
        (["--html", "x.html", "--weights", "random"], "--weights needs -o"),
        (["--html", "x.html", "--statistic", "mean"], "--statistic needs -o"),
        (["--html", "x.html", "--scheduler", "tcp://127.0.0.1:9"], "--scheduler needs -o"),
        (
            ["--html", "x.html", "--layers", "conv"],
            "layer 'conv' is not in this result",
        ),
        (["--html", "x.html", "--channels", "0"], "channels 0 is not a valid number of channels"),
    ],
)
def test_options_of_a_computation_are_refused_for_a_finished_store(
    words: list[str], advice: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    assert main(["atlas", "kept", *words]) == 1
    assert advice in capsys.readouterr().err.splitlines()[-1]
    assert not Path("x.html").exists()


@pytest.mark.parametrize("words", [["--stat", "mean"], ["--weight", "random"]])
def test_abbreviated_options_are_refused(
    words: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    with pytest.raises(SystemExit) as ended:
        main(["atlas", "kept", "--html", "x.html", *words])
    assert ended.value.code == 2
    assert f"unrecognized arguments: {words[0]}" in capsys.readouterr().err
    assert not Path("x.html").exists()


def test_a_damaged_result_is_reported(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept").mkdir()
    Path("kept/top.npz").write_bytes(b"nothing")
    assert main(["atlas", "kept", "--html", "x.html"]) == 1
    assert "holds no saved top activations, or is damaged" in capsys.readouterr().err


def test_without_dask_the_extra_is_named(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["atlas", "my set", "-o", "kept", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "run pip install 'vgg-widget[dask]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_cluster_is_found_by_the_address_of_its_scheduler(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["atlas", "my set", "-o", "here", *CHOSEN]) == 0
    with local_client(1) as client:
        address = client.scheduler.address
        command = ["atlas", "my set", "-o", "there", *CHOSEN, "--scheduler", address]
        assert main(command) == 0
        assert_same(TopActivations.load("here/top.npz"), TopActivations.load("there/top.npz"))
        assert len(list(Path("there").glob("shard-*"))) == 1
        client.cluster.scale(0)
        monkeypatch.setattr(atlas, "_TIMEOUT", 0.5)
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
        capsys.readouterr()
        assert main(command) == 1
    errors = capsys.readouterr().err
    assert f"has no workers: start some with `dask worker {address}`" in errors


def test_a_terminal_shows_a_progress_bar(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["atlas", "my set", "-o", "kept", *CHOSEN]) == 0
    errors = capsys.readouterr().err
    assert "20/20" in errors
    assert "image/s]" in errors
    assert "images: 20 of 20" not in errors


def test_progress_without_a_terminal_is_a_line_every_few_seconds() -> None:
    now = [100.0]
    stream = io.StringIO()
    lines = ProgressLines(stream, every=10, clock=lambda: now[0])
    for seconds, done in ((1, 400), (10, 440), (19, 460), (20, 480), (3680, 600), (3681, 5000)):
        now[0] = 100.0 + seconds
        lines(done, 5000)
    assert stream.getvalue().splitlines() == [
        "images: 440 of 5000, 44 images/s, 01:43 left",
        "images: 480 of 5000, 4 images/s, 18:50 left",
        "images: 600 of 5000, 0.0328 images/s, 37:16:40 left",
        "images: 5000 of 5000, 4,400 images/s, 00:00 left",
    ]
    stream = io.StringIO()
    unknown = ProgressLines(stream, "pictures", every=10, clock=lambda: now[0])
    now[0] += 20
    unknown(30, None)
    unknown(31, None)
    assert stream.getvalue() == "pictures: 30, 1.5 images/s\n"

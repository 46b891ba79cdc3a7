"""Weights: each source gives the right numbers; a failure gives a sentence, and leaves no files."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from tests.weights_server import BAD_FILES, KERAS_FILES, SHAPES, Mirror, by_hand, passing_for
from vgg_widget import FeatureExtractor, weights
from vgg_widget.weights import (
    Arrays,
    WeightsError,
    imagenet,
    remote,
    resolve,
)
from vgg_widget.weights.remote import keras_folder

# Keras reads its own variables in a way that numpy 2 has deprecated.
pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NAME = imagenet.IMAGENET["vgg19"].name


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with Mirror() as server:
        monkeypatch.setenv(remote.ADDRESS_VARIABLE, server.url)
        yield server


def fetch(mirror: Mirror, *, progress: bool = False) -> Path:
    return passing_for(imagenet.IMAGENET["vgg19"], mirror.payload).download(progress=progress)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def assert_equal(given: Arrays, expected: Arrays) -> None:
    assert list(given) == list(SHAPES)
    for name, shape in SHAPES.items():
        for array, wanted in zip(given[name], expected[name], strict=True):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, wanted)
        assert [array.shape for array in given[name]] == [shape, shape[-1:]]


# Random weights


def test_random_is_he_normal_and_always_the_same() -> None:
    first, second = resolve("random"), resolve("random")
    assert_equal(first.arrays, second.arrays)
    digest = hashlib.sha256()
    for name, (kernel, bias) in first.arrays.items():
        spread = np.sqrt(2 / (9 * SHAPES[name][2]))
        # Four standard errors of the standard deviation, and of the mean.
        assert abs(kernel.std() / spread - 1) < 4 / np.sqrt(2 * kernel.size)
        assert abs(kernel.mean()) < 4 * spread / np.sqrt(kernel.size)
        assert not bias.any()
        digest.update(kernel.tobytes() + bias.tobytes())
    assert first.provenance == second.provenance
    assert first.provenance.digest == f"sha256:{digest.hexdigest()}"
    assert (first.provenance.source, first.provenance.path) == ("random", None)
    assert first.provenance.label == "random weights (seed 0)"
    assert first.provenance.message == "These weights are random: the network is untrained."
    assert first.preprocessing == "caffe"
    assert not any(array.flags.writeable for array in first.arrays["block3_conv1"])
    assert len(repr(first)) < 300
    other = weights.random_arrays(seed=1)["block1_conv1"][0]
    assert not np.array_equal(other, first.arrays["block1_conv1"][0])


def test_importing_it_is_light() -> None:
    slow = ("tensorflow", "keras", "h5py", "pooch", "tqdm", "requests", "torch", "safetensors")
    code = f"import sys, vgg_widget.weights; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Keras files


@pytest.mark.sampled
@pytest.mark.parametrize("layout", KERAS_FILES)
def test_keras_files_give_what_keras_holds(
    layout: str, vgg19: Any, expected: Arrays, home: Path
) -> None:
    name, write = KERAS_FILES[layout]
    path = write(home / name, vgg19)
    resolved = resolve(path)
    assert_equal(resolved.arrays, expected)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    provenance = resolved.provenance
    assert (provenance.source, provenance.path, provenance.digest) == ("file", str(path), digest)
    assert (provenance.label, provenance.message) == (f"weights file {name}", "")
    assert resolved.preprocessing == "caffe"


def test_files_of_earlier_keras_versions(
    expected: Arrays, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(home / "tf2_weights", expected)
    monkeypatch.chdir(home)  # A bare name and a path with ~ mean the file, too.
    assert_equal(resolve("tf2_weights").arrays, expected)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert_equal(resolve("~/tf2_weights").arrays, expected)


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named_in_one_sentence(case: str, home: Path) -> None:
    path = home / "mine.h5"
    make, parts = BAD_FILES[case]
    make(path)
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    assert_sentence(caught.value, f"weights {str(path)!r}", *parts)


def assert_sentence(error: WeightsError, *parts: str) -> None:
    message = str(error)
    assert all(part in message for part in parts), message
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert ". " not in message


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ("kmean", ("weights 'kmean' is not known", "did you mean 'kmeans'?")),
        ("imagnet", ("did you mean 'imagenet'?",)),
        ("", ("weights '' is not known",)),
        ("vgg19.pth", ("vgg19.pth' cannot be read (No such file", "check the path")),
        (Path("VGG19.SafeTensors"), ("VGG19.SafeTensors' cannot be read (No such file",)),
        ([0.5] * 99, ("weights of type list is neither",)),
        (Path("random"), ("No such file",)),
        ("~nobody-at-all/a.h5", ("No such file",)),
        ("a\0.h5", ("cannot be read", "null")),
        (
            None,
            ("weights None is neither a name nor a path", "'auto', 'imagenet', 'kmeans', 'random'"),
        ),
        (7, ("weights 7 is neither",)),
    ],
)
def test_unknown_sources_are_refused_with_advice(asked: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve(asked)
    assert_sentence(caught.value, *parts)


# The ImageNet file: folders, addresses, downloads


def test_places_and_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = home / "cache" / "vgg_widget" / NAME
    assert imagenet.IMAGENET["vgg19"].locations() == (home / "keras" / "models" / NAME, own)
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert keras_folder() == home / ".keras" / "models"
    monkeypatch.delenv(remote.ADDRESS_VARIABLE)
    assert imagenet.IMAGENET["vgg19"].address() == (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    for base in ("http://lab.example/vgg", "http://lab.example/vgg/"):
        monkeypatch.setenv(remote.ADDRESS_VARIABLE, base)
        assert imagenet.IMAGENET["vgg19"].address() == f"http://lab.example/vgg/{NAME}"
    monkeypatch.setitem(imagenet.IMAGENET, "vgg19", replace(imagenet.IMAGENET["vgg19"], size=5))
    own.parent.mkdir(parents=True)
    own.write_bytes(b"1234")
    assert imagenet.IMAGENET["vgg19"].find() is None
    own.write_bytes(b"12345")
    assert imagenet.IMAGENET["vgg19"].find() == own


@pytest.mark.sampled
@pytest.mark.parametrize(
    "base",
    ["file:///etc", "ftp://a/b", "lab.example/vgg", "https://", "http://[", "http://me:pw@a/"],
)
def test_other_addresses_are_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.ADDRESS_VARIABLE, base)
    with pytest.raises(WeightsError) as caught:
        resolve("imagenet")
    assert_sentence(caught.value, remote.ADDRESS_VARIABLE, "http or https", "unset it")
    assert "pw" not in str(caught.value)
    assert remote.ADDRESS_VARIABLE in resolve("auto").provenance.message


def test_a_download_takes_its_name_at_the_end(mirror: Mirror, home: Path) -> None:
    folder = keras_folder()
    seen: list[list[str]] = []
    mirror.midway = lambda: seen.append(names(folder))
    path = fetch(mirror)
    assert path == folder / NAME
    assert path.read_bytes() == mirror.payload
    assert path.stat().st_mode & 0o044 == 0o044 or os.name == "nt"
    assert [(len(files), NAME in files) for files in seen] == [(1, False)]
    assert names(folder) == [NAME]
    mirror.behaviour = "missing"
    assert fetch(mirror) == path
    assert mirror.requests == [f"/models/{NAME}"]
    assert names(home) == ["keras"]


FAILURES = {
    "missing": "the server answered 404",
    "page": "perhaps a web page",
    "redirect": "perhaps a web page",
    "half": "the connection broke half-way",
    "wrong": "its hash differs",
    "silent": "did not answer in time",
    "stall": "no connection",
    "hangup": "no connection",
}


@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_failed_download_leaves_nothing_behind(
    behaviour: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_SECONDS", 0.3)
    folder = keras_folder()
    mirror.behaviour = behaviour
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        fetch(mirror)
    assert time.monotonic() - start < 15
    assert_sentence(
        caught.value, FAILURES[behaviour], imagenet.IMAGENET["vgg19"].address(), str(folder)
    )
    assert caught.value.__cause__ is not None or "page" in str(caught.value)
    assert names(folder) == []

    old = folder / NAME
    old.write_bytes(b"an older file")
    with pytest.raises(WeightsError):
        fetch(mirror)
    assert (names(folder), old.read_bytes()) == ([NAME], b"an older file")

    mirror.behaviour = "unmeasured"
    assert fetch(mirror) == old
    assert (names(folder), old.read_bytes()) == ([NAME], mirror.payload)


def test_a_slow_server_is_waited_for_as_long_as_it_sends(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The timeout applies to each piece; all of them together take longer.
    monkeypatch.setattr(remote, "READ_SECONDS", 1.2)
    mirror.behaviour = "slow"
    start = time.monotonic()
    assert fetch(mirror).read_bytes() == mirror.payload
    assert time.monotonic() - start > 1.2


def test_a_server_that_speaks_no_tls(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.ADDRESS_VARIABLE, mirror.url.replace("http:", "https:"))
    with pytest.raises(WeightsError) as caught:
        fetch(mirror)
    assert_sentence(caught.value, "no secure connection could be made")
    assert names(keras_folder()) == []


FETCH = """
from dataclasses import replace
from vgg_widget.weights import imagenet, WeightsError
fetch = lambda digest: replace(imagenet.IMAGENET["vgg19"], hash=digest).download(progress=False)
"""


def test_two_processes_at_once_both_get_the_whole_file(mirror: Mirror, home: Path) -> None:
    both = threading.Barrier(2)
    mirror.midway = lambda: both.wait(timeout=100)
    digest = hashlib.sha256(mirror.payload).hexdigest()
    code = f"{FETCH}print(fetch('sha256:{digest}'))"
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate(timeout=120)[0].strip() for process in processes}
    path = keras_folder() / NAME
    assert paths == {str(path)}
    assert path.read_bytes() == mirror.payload
    assert names(keras_folder()) == [NAME]
    assert len(mirror.requests) == 2


@pytest.mark.posix
def test_a_disk_with_room_for_half_the_file(mirror: Mirror, home: Path) -> None:
    old = keras_folder() / NAME
    old.parent.mkdir(parents=True)
    old.write_bytes(b"an older file")
    code = (
        "import resource\n"
        f"{FETCH}"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(mirror.payload) // 2},) * 2)\n"
        "try: fetch('sha256:0')\n"
        "except WeightsError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=-1, text=True, check=True)
    assert "the file could not be written ([Errno 27] File too large)" in done.stdout
    assert (names(old.parent), old.read_bytes()) == ([NAME], b"an older file")
    assert fetch(mirror).read_bytes() == mirror.payload


def test_without_a_server(home: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve("imagenet")
    assert_sentence(
        caught.value, "no connection", "http://127.0.0.1:9/nobody/", str(home / "keras" / "models")
    )


def test_a_full_disk(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(_: object, __: str, output: str, ___: object) -> None:
        Path(output).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", write_some)
    with pytest.raises(WeightsError) as caught:
        fetch(mirror)
    assert_sentence(caught.value, "No space left on device", str(keras_folder()))
    assert names(keras_folder()) == []


def test_folders_that_cannot_be_written(
    mirror: Mirror, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not even root can make a folder below a file.
    (home / "keras").touch()
    own = fetch(mirror)
    assert own == home / "cache" / "vgg_widget" / NAME
    (home / "keras").unlink()
    assert fetch(mirror) == own
    assert len(mirror.requests) == 1
    (home / "keras").touch()
    monkeypatch.setattr(pooch, "os_cache", lambda name: home / "keras" / name)
    with pytest.raises(WeightsError) as caught:
        fetch(mirror)
    assert_sentence(caught.value, str(keras_folder()), "cannot be written", "KERAS_HOME")


def test_the_bar_shows_and_pooch_is_quiet(
    mirror: Mirror, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = pooch.get_logger()
    heard: list[Any] = []
    monkeypatch.setattr(logger, "level", 7)
    monkeypatch.setattr(logger, "handle", heard.append)
    monkeypatch.setattr(remote, "BAR_SECONDS", 0)
    fetch(mirror, progress=True)
    assert (heard, logger.level) == ([], 7)
    assert "VGG19 ImageNet weights: 100%" in capfd.readouterr().err
    (keras_folder() / NAME).unlink()
    fetch(mirror)
    assert capfd.readouterr() == ("", "")


def test_a_failed_download_leaves_no_empty_progress_bar(
    mirror: Mirror, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror.behaviour = "missing"
    with pytest.raises(WeightsError, match="404"):
        fetch(mirror, progress=True)
    assert capfd.readouterr() == ("", "")


# What "auto" does


def test_auto_falls_back_loudly_and_waits_only_once(mirror: Mirror) -> None:
    mirror.behaviour = "missing"
    with ThreadPoolExecutor(2) as pool:
        both = [resolved.provenance for resolved in pool.map(resolve, ["auto", "auto"])]
    assert len(mirror.requests) == 1
    assert both[0] == both[1]
    assert both[0].source == "kmeans"
    for part in (
        "Practice filters, NOT ImageNet weights: k-means filters (learned without labels from 6",
        "404",
        f"the file {NAME} from {mirror.url}{NAME}",
        f"into the folder {keras_folder()}",
        "run `vgg-widget weights --download`",
    ):
        assert part in both[0].message
    with pytest.raises(WeightsError, match="404"):
        resolve("imagenet")
    assert len(mirror.requests) == 2


def test_a_failed_download_keeps_no_reference_to_its_callers() -> None:
    def ask() -> weakref.ref[Any]:
        numbers = np.zeros(3)  # In an explorer: the 80 MB of fallback filters.
        with pytest.raises(WeightsError, match="no connection"):
            imagenet.IMAGENET["vgg19"].download()
        return weakref.ref(numbers)

    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


def test_imagenet_from_the_first_request_to_a_damaged_cache(
    mirror: Mirror, expected: Arrays, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real file names its datasets like this.
    source = by_hand(home / "real.h5", expected, "{name}_W_1:0", "{name}_b_1:0")
    good = mirror.payload = source.read_bytes()
    source.unlink()
    monkeypatch.setitem(imagenet.IMAGENET, "vgg19", passing_for(imagenet.IMAGENET["vgg19"], good))
    mirror.behaviour = "half"
    assert resolve("auto").provenance.source == "kmeans"
    mirror.behaviour = "good"
    resolved = resolve("imagenet")
    assert_equal(resolved.arrays, expected)
    assert remote.failed_downloads == {}
    path = keras_folder() / NAME
    provenance = resolved.provenance
    assert (provenance.source, provenance.path) == ("imagenet", str(path))
    assert (provenance.label, provenance.message) == ("ImageNet weights", "")
    assert provenance.digest == imagenet.IMAGENET["vgg19"].hash

    mirror.behaviour = "missing"  # The file exists now: no request is sent.
    assert resolve("auto").provenance == provenance
    assert len(mirror.requests) == 2

    damaged = good[:-1] + bytes([good[-1] ^ 1])
    path.write_bytes(damaged)
    with pytest.raises(WeightsError) as caught:
        resolve("imagenet")
    assert_sentence(caught.value, f"the file {path} is damaged", "weights --download")
    fallen = resolve("auto").provenance
    assert (fallen.source, path.read_bytes() == damaged) == ("kmeans", True)
    assert f"The cached file {path} is damaged" in fallen.message
    remote.failed_downloads.clear()
    mirror.behaviour = "good"
    assert resolve("auto").provenance == provenance
    assert names(keras_folder()) == [NAME]


@pytest.mark.slow
@pytest.mark.usefixtures("own_networks")
def test_a_good_file_in_the_second_folder_is_used_once_it_exists(
    home: Path, expected: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = by_hand(home / "real.h5", expected)
    good = source.read_bytes()
    monkeypatch.setitem(imagenet.IMAGENET, "vgg19", passing_for(imagenet.IMAGENET["vgg19"], good))
    first, second = imagenet.IMAGENET["vgg19"].locations()
    for path in (first, second):
        path.parent.mkdir(parents=True)
    # As in a shared cache with a damaged file, which a student cannot replace.
    first.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert FeatureExtractor("auto").weights.source == "kmeans"
    source.rename(second)
    extractor = FeatureExtractor("auto")
    assert (extractor.weights.source, extractor.weights.path) == ("imagenet", str(second))

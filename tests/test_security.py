"""What untrusted files, names and URLs cannot do, observed by their effects outside."""

from __future__ import annotations

import ast
import io
import os
import pickle
import socket
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import h5py
import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import pytest
import requests
from matplotlib.text import Text
from PIL import EpsImagePlugin, Image

from tests.conftest import make_activations
from tests.explorers import problem
from tests.weights_server import Mirror, declare, passing_for
from vgg_widget import (
    Activations,
    FeatureExtractor,
    ImageError,
    LayerExplorer,
    WeightsError,
    load_image,
    plot,
    register_mode,
)
from vgg_widget.cli.command import main
from vgg_widget.cli.demo import demo_notebook
from vgg_widget.explorer.box import widgets_of
from vgg_widget.explorer.comparison import compare
from vgg_widget.explorer.panels import PANELS
from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.pictures.modes import MODES
from vgg_widget.support import safe_npz
from vgg_widget.weights import embedded_path, imagenet, remote, resolve
from vgg_widget.weights.applications import APPLICATIONS
from vgg_widget.weights.learned_weights import Factors, LearnedWeights

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
MARKUP = "<img src=x onerror=alert(1)>&\"'"
CODE = "'\"\"\"\n); open('canary', 'w')#\n\\'$x^{$"


@pytest.fixture
def unused_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Yield a server that answers each request with a picture; it must not get any."""
    with Mirror() as server:
        stream = io.BytesIO()
        Image.new("RGB", (40, 40)).save(stream, "png")
        server.payload = stream.getvalue()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert requests.get(server.url + "cat.png", timeout=10).content == server.payload
        server.requests.clear()
        monkeypatch.chdir(tmp_path)
        yield server


# --- addresses


@pytest.mark.parametrize(
    "scheme", ["http:", "HTTP:", "https:", "ftp:", "s3:", ""], ids=lambda one: one or "none"
)
def test_no_address_is_fetched(scheme: str, unused_server: Mirror, photo: Any) -> None:
    address = f"{scheme}{unused_server.url.removeprefix('http:')}cat"
    with pytest.raises(ImageError, match=r"URL|not found"):
        load_image(f"{address}.png")
    for suffix in (".png", ".h5", ".weights.h5", ".keras", ".pth", ".safetensors", ".npz"):
        with pytest.raises(WeightsError):
            FeatureExtractor(address + suffix)
    for load in (Activations.load, LearnedWeights.load):
        with pytest.raises(OSError, match=r"No such file|is not a file"):
            load(f"{address}.npz")
    assert main(["render", f"{address}.png", "-o", "x.png"]) == 1
    assert not Path("x.png").exists()
    assert unused_server.requests == []


def test_no_control_and_no_state_fetches_an_address(
    explore: Callable[..., LayerExplorer], unused_server: Mirror, photo: Any
) -> None:
    explorer = explore()
    before = explorer.image
    with pytest.raises(ImageError, match=r"is a URL, not a file: download it and pass"):
        explorer.image = f"{unused_server.url}cat.png"
    explorer.panel = "Open & save"
    field = next(
        one for one in widgets_of(explorer) if getattr(one, "placeholder", "").startswith("path of")
    )
    field.value = f"{unused_server.url}cat.png"
    assert "is a URL, not a file" in problem(explorer)
    assert explorer.image is before
    state = {**explorer.state(), "weights": f"{unused_server.url}cat.h5"}
    with pytest.raises(WeightsError):
        LayerExplorer.from_state(photo, state)
    assert unused_server.requests == []


def test_without_a_download_no_connection_is_opened(
    photo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: asked.append(where))
    explorer = LayerExplorer(photo, weights="kmeans", size=32)
    for title in ("", *PANELS):
        explorer.panel = title
    explorer.location, explorer.mode = (3, 4), "grid"
    explorer.save(tmp_path / "a.svg")
    explorer.activations.save(tmp_path / "a.npz")
    explorer.to_code()
    LayerExplorer.from_state(photo, explorer.state()).close()
    explorer.close()
    assert asked == []


def test_a_file_address_opens_no_file(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.new("RGB", (40, 40)).save(path)
    load_image(path)
    for address in (path.as_uri(), f"file:{path}", f"FILE://localhost{path}"):
        with pytest.raises(ImageError, match=r"URL|not found"):
            load_image(address)
        with pytest.raises(WeightsError):
            resolve(address)


def test_what_is_downloaded_has_a_known_hash_and_an_address_with_https() -> None:
    published = [*imagenet.IMAGENET.values(), *imagenet.IMAGENET_TOP.values()]
    published += [one.file for one in APPLICATIONS.values()]
    assert len(published) == 4 + 38
    hashless = [file for file in published if not file.hash]
    # Keras has no hash for these either.
    assert [file.title.split()[0] for file in hashless] == ["MobileNet", "MobileNetV2"]
    for file in [imagenet.IMAGENET_NAMES, *published]:
        assert file.base.startswith("https://")
        if file in hashless:
            continue
        algorithm, _, digest = file.hash.partition(":")
        assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[algorithm]
        assert file.size is None or file.size > 0


class Elsewhere(requests.adapters.HTTPAdapter):
    """A stub of an HTTPS server, which redirects to `location`."""

    location = ""

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response.request = 302, request.url, request
        response.headers["Location"] = self.location
        response.raw = io.BytesIO()
        return response


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("{url}x?secret=1", "the server redirects to http://127.0.0.1, which is not https"),
        ("//127.0.0.1:1/x", "cannot be used (TooManyRedirects)"),
        ("file:///etc/hostname", "the server redirects to file://, which is not https"),
    ],
)
def test_a_download_with_https_stays_with_https(
    location: str, said: str, unused_server: Mirror, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.ADDRESS_VARIABLE, "https://mirror.example/vgg")
    monkeypatch.setattr(Elsewhere, "location", location.format(url=unused_server.url))
    session_init = requests.Session.__init__

    def begin(session: requests.Session) -> None:
        session_init(session)
        session.mount("https://", Elsewhere())

    monkeypatch.setattr(requests.Session, "__init__", begin)
    with pytest.raises(WeightsError) as caught:
        passing_for(imagenet.IMAGENET["vgg19"], unused_server.payload).download(progress=False)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert unused_server.requests == []
    assert [path for path in home.rglob("*") if path.is_file()] == []


# --- files that would run code


class Trap:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._mark,))


def test_learned_weights_with_a_pickle_run_nothing(tmp_path: Path) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "x.npz"
    trap = np.empty(1, object)
    trap[0] = Trap(mark)
    pickle.loads(pickle.dumps(trap))  # noqa: S301 - shows that the trap works
    assert mark.exists()
    mark.unlink()
    with np.load(embedded_path()) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name in ("metadata", next(iter(arrays))):
        np.savez(path, **{**arrays, name: trap})
        with pytest.raises(WeightsError, match="Python objects, which could run code"):
            resolve(path)
    assert not mark.exists()


def program(folder: Path, name: str, mark: Path) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def iptc(inside: bytes) -> bytes:
    """Wrap a picture in IPTC's format: fields, each with a header of 5 bytes."""
    fields = [
        ((3, 60), bytes([1, 1])),
        ((3, 65), bytes([1])),
        ((3, 20), struct.pack(">H", 64)),
        ((3, 30), struct.pack(">H", 64)),
        ((3, 120), bytes([1])),
        ((8, 10), inside),
    ]
    return b"".join(
        b"\x1c" + bytes(number) + struct.pack(">H", len(content)) + content
        for number, content in fields
    )


@pytest.mark.posix
def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, folder = tmp_path / "it ran", tmp_path / "bin"
    folder.mkdir()
    program(folder, "gs", mark)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    # Pillow itself would run Ghostscript, which interprets the file.
    with Image.open(io.BytesIO(EPS)) as picture, pytest.raises(OSError, match="cannot identify"):
        picture.load()
    assert mark.exists()
    mark.unlink()
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    for name, content in (("a.eps", EPS), ("b.png", EPS), ("c.iim", iptc(EPS))):
        (tmp_path / name).write_bytes(content)
        for source in (tmp_path / name, content):
            with pytest.raises(ImageError):
                load_image(source)
    with pytest.raises(ImageError, match=r"not in a readable image format .*: pass an"):
        load_image(EPS)
    assert not mark.exists()


def test_a_keras_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "in" / "model.keras"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../canary", str(tmp_path / "canary"), "config.json"):
            archive.writestr(name, "{}")
        archive.write(declare(tmp_path / "small.h5", block1_conv1=None), "model.weights.h5")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WeightsError, match="'block1_conv1' is missing"):
        resolve(path)
    assert sorted(tmp_path.rglob("*")) == before


# --- files that would fill the memory

MOST = 40_000_000
"""In bytes; each of these files asks for more."""


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def npy(shape: tuple[int, ...], descr: str = "<f4", body: bytes = b"") -> bytes:
    """Return an array's header in NumPy's format, version 1.0, followed by `body`."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, bytes]:
    """Return the members of a file of activations."""
    path = tmp_path / "good.npz"
    make_activations(np.ones((4, 5, 3), np.float32)).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", ["header.npy", "image.npy", "maps/conv.npy"])
@pytest.mark.parametrize(
    "member",
    [
        npy((1 << 16, 1 << 16, 3)),
        npy((1 << 40,), "|u1"),
        npy((-1, 5, 3)),
        npy((4, 5, 3), body=bytes(7)),
        npy((), "<U1000000000"),
        npy((4,), "|O", b"\x80\x04N."),
        b"\x93NUMPY\x09\x00",
    ],
    ids=["48 GB", "1 TB", "negative", "short", "text", "objects", "version"],
)
@pytest.mark.usefixtures("little_memory")
def test_an_array_smaller_than_its_header_claims_is_refused_before_memory_is_allocated(
    name: str, member: bytes, saved: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in {**saved, name: member}.items():
            archive.writestr(each, content)
    with pytest.raises(ValueError, match=r"holds no saved activations, or is damaged \("):
        Activations.load(path)


@pytest.mark.usefixtures("little_memory")
def test_data_that_unpack_to_more_than_the_limit_are_refused_unread(
    saved: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_npz, "MOST_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    zeros = npy((5000, 4000, 3), body=bytes(240_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in saved.items():
            if name != "maps/conv.npy":
                archive.writestr(name, content)
        with archive.open("maps/conv.npy", "w") as part:
            part.write(zeros)
            for _ in range(999):
                part.write(bytes(240_000))
    assert path.stat().st_size < 400_000
    with pytest.raises(ValueError, match="take more than the 1,048,576 bytes allowed"):
        Activations.load(path)


def test_a_large_file_of_activations_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrays are saved uncompressed, so they are no larger than the file.
    monkeypatch.setattr(safe_npz, "MOST_BYTES", 100)
    path = tmp_path / "large.npz"
    maps = np.arange(40 * 50 * 3, dtype=np.float32).reshape(40, 50, 3)
    make_activations(maps).save(path)
    np.testing.assert_array_equal(Activations.load(path)["conv"], maps)


@pytest.mark.usefixtures("little_memory")
def test_factors_are_not_multiplied_into_a_matrix_that_vgg19_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "thin.npz"
    long = np.ones((9 * 20_000, 1), np.int8), np.ones(1, np.float32)
    wide = np.ones((1, 50_000), np.int8), np.ones(50_000, np.float32)
    factors = Factors(*long, *wide, np.zeros(9 * 20_000, np.float32), np.zeros(50_000, np.float32))
    # 36 GB as a kernel.
    LearnedWeights({"block1_conv1": factors}).save(path)
    with pytest.raises(
        WeightsError, match=r"'block1_conv1' has a kernel of shape \(3, 3, 20000, 50000\)"
    ):
        resolve(path)


def test_a_chunk_larger_than_its_array_is_refused(tmp_path: Path) -> None:
    path = declare(tmp_path / "chunk.h5")
    with h5py.File(path, "r+") as file:
        del file["block1_conv1/bias"]
        file.create_dataset(
            "block1_conv1/bias",
            data=np.zeros(64, np.float32),
            maxshape=(None,),
            chunks=(1 << 23,),
            compression="gzip",
        )
    with pytest.raises(
        WeightsError, match=r"bias stored in chunks of \(8388608,\), larger than the array"
    ):
        resolve(path)


@pytest.mark.torch
def test_a_pytorch_file_is_not_unpacked(tmp_path: Path) -> None:
    import torch

    path, packed = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    with pytest.raises(WeightsError, match="compressed members, which PyTorch does not write"):
        resolve(packed)


@pytest.mark.parametrize("length", [1 << 62, 1 << 30, 100_000_000])
def test_a_safetensors_header_longer_than_its_file(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(WeightsError, match="cut short or damaged"):
        resolve(path)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def test_pictures_that_claim_or_unpack_to_too_much() -> None:
    stream = io.BytesIO()
    Image.new("P", (40, 40)).save(stream, "gif")
    gif = stream.getvalue()
    # The logical screen's width and height follow the signature.
    with pytest.raises(ImageError, match="decompression bomb"):
        load_image(gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:])
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "png")
    png = stream.getvalue()
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    with pytest.raises(ImageError, match="could not be read"):
        load_image(png[:33] + text + png[33:])


# --- names


class Tags(HTMLParser):
    """A parser that refuses every element and attribute that the package does not write."""

    allowed = frozenset(
        {"b", "div", "span", "details", "summary", "pre", "table", "caption", "thead", "tbody"}
        | {"tr", "th", "td", "svg", "rect"}
    )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed, self.get_starttag_text()
        names = {name for name, _ in attrs}
        drawn = {"viewbox", "preserveaspectratio", "x", "y", "width", "height", "fill"}
        usual = {"style", "class", "role", "scope", "colspan", "title", "tabindex"}
        assert names <= usual | drawn | {name for name in names if name.startswith("aria-")}


def assert_no_markup(root: Any) -> str:
    """Check everything that a page would render as HTML, and return it."""
    page = []
    for widget in widgets_of(root, *root._switcher.made()):
        assert not getattr(widget, "description_allow_html", False)
        if isinstance(widget, widgets.HTML | widgets.HTMLMath):
            page.append(widget.value)
    text = "\n".join(page)
    Tags().feed(text)
    assert "<img" not in text
    return text


@pytest.fixture
def hostile_mode() -> Iterator[str]:
    name = f"{CODE}{MARKUP}"

    @register_mode(name, phrase=name)
    def _strongest(maps: Any, _: object) -> Any:
        return maps.max(axis=-1)

    mpl.colormaps.register(mpl.colormaps["magma"].copy(), name=name)
    yield name
    del MODES[name]
    mpl.colormaps.unregister(name)


@pytest.fixture
def hostile(hostile_mode: str, tmp_path: Path) -> Iterator[LayerExplorer]:
    """Yield an explorer with a hostile name wherever a user can give one."""
    import keras

    inputs = keras.Input((32, 32, 3))
    # Of the characters of markup, TensorFlow allows only this one in a layer's name.
    name = "b.o>i"
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, activation="relu", name=name)(inputs))
    path = tmp_path / f"{MARKUP}$x^{{$.png"
    Image.effect_noise((40, 36), 90).convert("RGB").save(path)
    extractor = FeatureExtractor(model=model, size=None)
    explorer = LayerExplorer(path, extractor=extractor, mode=hostile_mode, cmap=hostile_mode)
    yield explorer
    explorer.close()


def test_no_name_is_markup(hostile: LayerExplorer, tmp_path: Path) -> None:
    for title in ("", *PANELS):
        hostile.panel = title
        hostile.location = (3, 4)
        said = assert_no_markup(hostile)
        assert "&lt;img src=x onerror=alert(1)&gt;" in said
    # Text that an error quotes is escaped, too.
    hostile.reporting_errors(lambda: hostile.choose(layer=f"no {MARKUP}"))()
    assert "&lt;img" in problem(hostile)
    hostile.reporting_errors(lambda: hostile.choose(image=str(tmp_path / f"no {MARKUP}")))()
    assert "&lt;img" in problem(hostile)
    hostile.reporting_errors(lambda: {}[MARKUP])()  # type: ignore[index]
    assert "<details" in problem(hostile)
    assert_no_markup(hostile)


def test_no_name_of_a_weights_file_is_markup(tmp_path: Path, photo: Any) -> None:
    path = tmp_path / f"{MARKUP}.npz"
    path.write_bytes(embedded_path().read_bytes())
    explorer = LayerExplorer(photo, weights=path, size=32)
    assert "&lt;img src=x" in assert_no_markup(explorer)
    explorer.close()


@pytest.mark.torch
def test_no_name_in_a_weights_file_is_markup(tmp_path: Path, photo: Any) -> None:
    import torch

    shapes = {
        f"{number}.{part}": shape
        for number, kernel in zip(CONVOLUTIONS, vgg19_kernel_shapes().values(), strict=True)
        for part, shape in (("weight", [kernel[3], kernel[2], 3, 3]), ("bias", [kernel[3]]))
    }
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    other = {key: value + 1 for key, value in state.items()}
    torch.save({MARKUP: state, f"{MARKUP} ema": other}, tmp_path / "a.pth")
    explorer = LayerExplorer(photo, weights="random", size=32)
    explorer.reporting_errors(lambda: FeatureExtractor(tmp_path / "a.pth"))()
    page = assert_no_markup(explorer)
    assert "holds several networks" in page
    assert "&lt;img src=x" in page
    explorer.close()


def test_no_name_is_markup_beside_two_pictures(extractor: FeatureExtractor, tmp_path: Path) -> None:
    path = tmp_path / f"{MARKUP}.png"
    Image.effect_noise((40, 36), 90).save(path)
    comparison = compare(path, path, extractor=extractor, panel="Open & save")
    assert "&lt;img src=x" in assert_no_markup(comparison)
    assert_safe(comparison.to_code(), {str(path)})
    comparison.close()


def test_a_picture_as_svg_holds_no_script_and_no_link(hostile: LayerExplorer) -> None:
    root = ET.fromstring(hostile.to_bytes(".svg"))  # noqa: S314 - our own
    link = "{http://www.w3.org/1999/xlink}href"
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject", "a", "iframe"}
        assert not [name for name in element.attrib if name.startswith("on")]
        target = element.get(link, element.get("href", "#"))
        assert target.startswith(("#", "data:image/png;base64,"))


def test_no_name_is_a_formula_or_tex(hostile: LayerExplorer) -> None:
    with mpl.rc_context({"text.usetex": True}):
        axes = plot(hostile.activations, hostile.layer, hostile.mode)
    figures = (hostile.figure, axes.figure)
    named: list[Text] = []
    for figure in figures:
        assert figure is not None
        # matplotlib's type stub does not know that a class is allowed here.
        found: Any = figure.findobj(Text)
        named += [text for text in found if "b.o>i" in text.get_text()]
    assert len(named) >= 2
    assert not any(text.get_usetex() or text.get_parse_math() for text in named)
    mpl.pyplot.close("all")


def assert_safe(code: str, constants: set[str]) -> None:
    """Check that code calls only expected functions, and has each constant as one string."""
    tree = ast.parse(code)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls <= {
        *("load_image", "FeatureExtractor", "extractor", "dict", "render", "plot", "Scale"),
        *("pair", "render_pair"),
    }
    assert {type(node) for node in tree.body} <= {ast.Assign, ast.ImportFrom}
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert constants <= strings


def test_no_name_is_code(hostile: LayerExplorer, hostile_mode: str, tmp_path: Path) -> None:
    # A custom model has no code, so the hostile names are those of files.
    path = tmp_path / f"{CODE.replace('/', '')}.npz"
    path.write_bytes(embedded_path().read_bytes())
    picture = tmp_path / f"{CODE.replace('/', '')}.png"
    Image.effect_noise((40, 36), 90).save(picture)
    explorer = LayerExplorer(picture, weights=path, size=32, mode=hostile_mode, cmap=hostile_mode)
    explorer.gamma = 0.5
    names = {str(path), str(picture), hostile_mode}
    assert_safe(explorer.to_code(), names)
    explorer.mode = "channel"
    assert_safe(explorer.to_code(), names)
    state = explorer.state()
    assert (state["weights"], state["cmap"]) == (str(path), hostile_mode)
    explorer.close()


def test_no_name_is_code_in_the_notebook_of_the_demo(tmp_path: Path) -> None:
    path = tmp_path / f"{CODE.replace('/', '')}{MARKUP}.png"
    Image.effect_noise((40, 36), 90).save(path)
    notebook = demo_notebook(str(path))
    tree = ast.parse("".join(notebook["cells"][0]["source"]))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(call.func) for call in calls] == ["LayerExplorer"]
    assert ast.literal_eval(calls[0].args[0]) == str(path)
    data = notebook["cells"][0]["outputs"][0]["data"]
    assert set(data) == {"image/png", "text/plain"}


def test_the_page_turns_no_message_into_markup() -> None:
    script = files("vgg_widget.explorer").joinpath("helper.js").read_text(encoding="utf-8")
    for way in (
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("),
        *("fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon", "http:", "https:"),
    ):
        assert way not in script

"""What is promised of arbitrary input, as functions of bytes that raise where it is not kept.

Each of `TARGETS` takes any bytes. Hypothesis and the fuzzer call them with bytes of their own, and
`tests/test_fuzz.py` with those that once broke a promise.
"""

from __future__ import annotations

import io
import json
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from traitlets import TraitError

from vgg_widget import FeatureExtractor, ImageError, LayerExplorer, WeightsError, load_image
from vgg_widget.layers import Vgg
from vgg_widget.weights import Arrays, resolve

FINDINGS = Path(__file__).parent / "findings"
"""Folders of files, one for each of `TARGETS`, that once broke a promise."""

# Of a network with two of VGG19's convolutions, so that a whole file of weights is small.
SMALL_SHAPES = {"block1_conv1": (3, 3, 3, 2), "block1_conv2": (3, 3, 2, 2)}
SUFFIXES = (".safetensors", ".h5", ".weights.h5", ".keras", ".npz", ".pth")


def check_sentence(error: Exception, begins: str) -> None:
    """Raise AssertionError if an error is not one line that names the argument and advises."""
    words = str(error)
    assert re.fullmatch(rf"{begins} .+: .+[.?]", words), words
    assert words.isprintable(), repr(words)


def check_image(source: object) -> None:
    """An image is RGB and the caller's own, or refused in a sentence; nothing is ever warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            loaded = load_image(source)
        except ImageError as error:
            check_sentence(error, "image")
            return
    assert loaded.dtype == np.uint8
    assert loaded.ndim == 3
    assert loaded.shape[2] == 3
    assert min(loaded.shape[:2]) >= 32
    assert loaded.flags.writeable
    assert loaded.flags.c_contiguous
    if isinstance(source, np.ndarray):
        assert not np.shares_memory(loaded, source)


def image(data: bytes) -> None:
    """Any bytes as a picture file."""
    check_image(data)


# Numbers in an array: more take NumPy seconds to repeat, before anything of ours sees them.
LARGEST = 64**3


def array(data: bytes) -> None:
    """Any bytes as an array: a line of dtype, one of sides and directions, then numbers."""
    dtype, _, rest = data.partition(b"\n")
    numbers, _, content = rest.partition(b"\n")
    try:
        kind = np.dtype(dtype.decode("ascii"))
        layout = [int(part) for part in numbers.split(b",")]
        shape, steps = layout[::2], layout[1::2]
        one = np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind)
        sides = [min(abs(side), 64) for side in shape]
        if math.prod(sides) > LARGEST:
            return
        whole = np.resize(one, sides)
    except Exception:  # It describes no array.
        return
    turned = whole[tuple(slice(None, None, -1 if step < 0 else 1) for step in steps[: whole.ndim])]
    check_image(turned)


# --- weights


@contextmanager
def small_network() -> Iterator[None]:
    """Let VGG19 have two convolutions, for those who read its weights."""
    with mock.patch.object(Vgg, "kernel_shapes", return_value=SMALL_SHAPES):
        yield


def read_weights(path: Path) -> Arrays | None:
    """Weights are finite numbers of the right shapes, or refused in a sentence; nothing warns."""
    with small_network(), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            arrays = resolve(path).arrays
        except WeightsError as error:
            check_sentence(error, "weights")
            return None
    for name, shape in SMALL_SHAPES.items():
        kernel, bias = arrays[name]
        for part, wanted in ((kernel, shape), (bias, shape[-1:])):
            assert part.dtype == np.float32
            assert part.shape == wanted
            assert np.isfinite(part).all()
    return arrays


def weights(data: bytes) -> None:
    """Any bytes as a file of weights, the first of which says of which kind; see `first_byte`."""
    if not data:
        return
    mend, kind = divmod(data[0], len(SUFFIXES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"w{SUFFIXES[kind]}"
        path.write_bytes(mended(data[1:]) if mend % 2 else data[1:])
        read_weights(path)


def first_byte(suffix: str, *, mend: bool) -> bytes:
    """Say of which kind a file of weights is, and whether to put its checksums right."""
    return bytes([SUFFIXES.index(suffix) + len(SUFFIXES) * mend])


def mended(data: bytes) -> bytes:
    """Put a zip archive's checksums right, so that what is wrong in its members is met."""
    members = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    member._expected_crc = None  # type: ignore[attr-defined]
                    members[info.filename] = member.read(1_000_000)
    except Exception:  # It is too damaged for that.
        return data
    return zipped(members)


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive that stores its members as they are."""
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()


# --- states

_kept: dict[str, Any] = {}


def _once(name: str, make: Callable[[], Any]) -> Any:
    if name not in _kept:
        _kept[name] = make()
    return _kept[name]


def untrained() -> FeatureExtractor:
    """VGG19 with random weights, always the same one."""
    extractor: FeatureExtractor = _once("extractor", lambda: FeatureExtractor("random", size=None))
    return extractor


def _first_state() -> dict[str, Any]:
    explorer = LayerExplorer(PICTURE, extractor=untrained())
    found = explorer.state()
    explorer.close()
    return found


PICTURE: npt.NDArray[np.uint8] = (np.arange(32 * 32 * 3) % 251).reshape(32, 32, 3).astype(np.uint8)


def check_names_key(error: Exception, given: object) -> None:
    """Raise AssertionError if an error does not say which key of a state is wrong."""
    keys = [key for key in given if key] if isinstance(given, dict) else []
    named = [key for key in keys if re.search(rf"(^|\W){re.escape(key)}\b", str(error))]
    assert named or str(error).startswith("state "), error


def check_state(given: object, *, figure: bool = True) -> None:
    """A state makes an explorer that works and has such a state, or is refused by its key.

    Without a figure there is nothing to do with it, which takes a twentieth of the time.
    """
    from ipywidgets.widgets.widget import _instances as widgets

    before = set(widgets)
    try:
        with ExitStack() as stack:
            if not figure:
                for part in ("_build", "_draw_picture", "_show_around", "_unfold", "show_error"):
                    stack.enter_context(mock.patch.object(LayerExplorer, part))
                activations = _once("activations", lambda: untrained()(PICTURE))
                patch = mock.patch.object(LayerExplorer, "_compute", return_value=activations)
                stack.enter_context(patch)
            explorer = LayerExplorer.from_state(PICTURE, given, extractor=untrained())  # type: ignore[arg-type]
    except (ValueError, TraitError) as error:
        check_names_key(error, given)
    else:
        shown = explorer.state()
        assert json.loads(json.dumps(shown)) == shown
        if figure:
            # What a person may do next.
            for before_relu in (not explorer.before_relu, explorer.before_relu):
                explorer.before_relu = before_relu
            explorer.layer = "block5_pool"
            explorer.reset()
        explorer.close()
    left = set(widgets) - before
    assert not left, f"{len(left)} widgets were left"


def state(data: bytes) -> None:
    """Any bytes as a state; see `described_state`."""
    check_state(described_state(data), figure=False)


def described_state(data: bytes) -> Any:
    """Return a good state with other values: lines of a key and, after "=", JSON or else text.

    A line without "=" that is JSON stands for the whole of it.
    """
    given: Any = dict(_once("state", _first_state))
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        key, equals, text = line.partition("=")
        try:
            value = json.loads(text if equals else key)
        except (ValueError, RecursionError):
            value = text
        if equals:
            given[key] = value
        elif value:
            return value
    return given


TARGETS: dict[str, Callable[[bytes], None]] = {
    "image": image,
    "array": array,
    "weights": weights,
    "state": state,
}

"""The promises about arbitrary input, as functions of bytes that raise if a promise is broken.

Each of `TARGETS` takes any bytes. The fuzzer and Hypothesis generate bytes for them, and
`tests/test_fuzz.py` also passes those that once broke a promise.
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
"""One folder for each of `TARGETS`, with files that once broke a promise."""

# A network with two of VGG19's convolutions, so that a weights file is small.
SMALL_SHAPES = {"block1_conv1": (3, 3, 3, 2), "block1_conv2": (3, 3, 2, 2)}
SUFFIXES = (".safetensors", ".h5", ".weights.h5", ".keras", ".npz", ".pth")


def check_sentence(error: Exception, begins: str) -> None:
    """Assert that an error's message is one line that names the argument and gives advice."""
    words = str(error)
    assert re.fullmatch(rf"{begins} .+: .+[.?]", words), words
    assert words.isprintable(), repr(words)


def check_image(source: object) -> None:
    """Assert that an image loads as a new RGB array or is refused in a sentence; no warnings."""
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
    """Check any bytes as a picture file."""
    check_image(data)


# The most numbers in an array: NumPy takes seconds to fill a larger one, before it is loaded.
LARGEST = 64**3


def array(data: bytes) -> None:
    """Check any bytes as an array: a line with its dtype, one with sides and steps, then data."""
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
    except Exception:  # The bytes describe no array.
        return
    turned = whole[tuple(slice(None, None, -1 if step < 0 else 1) for step in steps[: whole.ndim])]
    check_image(turned)


# --- weights


@contextmanager
def small_network() -> Iterator[None]:
    """Make the readers of weights expect a VGG19 with only two convolutions."""
    with mock.patch.object(Vgg, "kernel_shapes", return_value=SMALL_SHAPES):
        yield


def read_weights(path: Path) -> Arrays | None:
    """Read a weights file; assert that it is valid or refused in a sentence, without warnings."""
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
    """Check any bytes as a weights file; the first byte gives its kind, see `first_byte`."""
    if not data:
        return
    mend, kind = divmod(data[0], len(SUFFIXES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"w{SUFFIXES[kind]}"
        path.write_bytes(mended(data[1:]) if mend % 2 else data[1:])
        read_weights(path)


def first_byte(suffix: str, *, mend: bool) -> bytes:
    """Return a byte for the kind of a weights file and whether to repair its checksums."""
    return bytes([SUFFIXES.index(suffix) + len(SUFFIXES) * mend])


def mended(data: bytes) -> bytes:
    """Repair a zip archive's checksums, so that readers reach the errors in its members."""
    members = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    member._expected_crc = None  # type: ignore[attr-defined]
                    members[info.filename] = member.read(1_000_000)
    except Exception:  # The archive is too damaged to read.
        return data
    return zipped(members)


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip archive of uncompressed members."""
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
    """Return the one VGG19 with random weights that all checks share."""
    extractor: FeatureExtractor = _once("extractor", lambda: FeatureExtractor("random", size=None))
    return extractor


def _first_state() -> dict[str, Any]:
    explorer = LayerExplorer(PICTURE, extractor=untrained())
    found = explorer.state()
    explorer.close()
    return found


PICTURE: npt.NDArray[np.uint8] = (np.arange(32 * 32 * 3) % 251).reshape(32, 32, 3).astype(np.uint8)


def check_names_key(error: Exception, given: object) -> None:
    """Assert that an error says which key of a state is wrong."""
    keys = [key for key in given if key] if isinstance(given, dict) else []
    named = [key for key in keys if re.search(rf"(^|\W){re.escape(key)}\b", str(error))]
    assert named or str(error).startswith("state "), error


def check_state(given: object, *, figure: bool = True) -> None:
    """Assert that a state makes a working explorer, or that the error names the wrong key.

    Without a figure the explorer is made but not used, which takes a twentieth of the time.
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
            # Actions that a user may take next.
            for before_relu in (not explorer.before_relu, explorer.before_relu):
                explorer.before_relu = before_relu
            explorer.layer = "block5_pool"
            explorer.reset()
        explorer.close()
    left = set(widgets) - before
    assert not left, f"{len(left)} widgets were left open"


def state(data: bytes) -> None:
    """Check any bytes as a state; see `described_state`."""
    check_state(described_state(data), figure=False)


def described_state(data: bytes) -> Any:
    """Return a valid state, changed by lines of the form ``key=value``.

    A value is read as JSON if possible, else as text. A line without "=" that is JSON, and not
    empty or 0, replaces the whole state.
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

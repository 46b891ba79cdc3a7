"""Kernels and biases out of a Keras file of any age; nothing in the file is executed."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights.arrays import ADVICE, Arrays, Stored, WeightsError, checked
from vgg_widget.weights.classifier import (
    CLASSIFIER_ADVICE,
    CLASSIFIER_NAMES,
    Classifier,
    checked_classifier,
)

PREPROCESSING_ATTRIBUTE = "vgg_widget_preprocessing"
"""Where an exported file says what its numbers expect of the input, unless that is Keras's way."""

_NUMBERED = re.compile(
    r"((?:.*/)?(?:layers|_layer_checkpoint_dependencies))/conv2d_?(\d*)/vars/[^/]*"
)
_SAVE_AGAIN = "save the model with Keras again."
_LONGEST_CONFIGURATION = 10_000_000
# In numbers: as many as h5py itself puts in one where it may choose.
_SMALL_CHUNK = 1 << 20
HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
"""How a Keras file begins: HDF5, or a ``.keras`` file, which is a zip archive."""

INSIDE_KERAS = "model.weights.h5"
"""The member of a ``.keras`` file that holds its weights."""


def read_keras(path: Path) -> tuple[Arrays, str]:
    """Read the convolutions of a Keras file of any layout.

    The layers may lie inside other models, beside other layers. They are found by their names in
    Keras's VGG19; where a file has none of these names, by their order.

    Parameters
    ----------
    path : Path
        A ``.weights.h5`` file, a legacy ``.h5`` file of weights or of a whole model, or a
        ``.keras`` file, of which only the weights are read and never the configuration.

    Returns
    -------
    (Arrays, str)
        In network order, and their preprocessing: ``"caffe"`` unless the file says otherwise.

    Raises
    ------
    WeightsError
        If it cannot be read, or is not a VGG19; the sentence names the first layer that differs.
    """
    asked = f"weights {str(path)!r}"
    with _opened(asked, path) as file:
        said = file.attrs.get(PREPROCESSING_ATTRIBUTE, "caffe")
        return _arrays(asked, file), str(said)


def read_keras_classifier(path: Path) -> Classifier:
    """Read the dense layers of a file that `read_keras` takes, by their names in Keras's VGG19.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds no classifier of VGG19's making.
    """
    asked = f"weights {str(path)!r}"
    with _opened(asked, path) as file:
        found, _ = _collected(file, CLASSIFIER_NAMES)
        layers = [
            (name, *_pair(f"{asked}: layer {name!r}", found.get(name), CLASSIFIER_ADVICE))
            for name in CLASSIFIER_NAMES
        ]
        return checked_classifier(asked, layers, channels_first=False)


@contextmanager
def _opened(asked: str, path: Path) -> Iterator[Any]:
    """Open a Keras file as HDF5, and say in a sentence what is wrong with it."""
    import h5py

    try:
        with _hdf5_part(asked, path) as part, h5py.File(part, "r") as file:
            yield file
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # h5py and zipfile raise anything at all on damaged files.
        raise WeightsError(
            f"{asked} is cut short or damaged: choose a whole Keras file."
        ) from error


def prepares_its_input(path: Path) -> bool:
    """Tell whether a saved model has a layer that scales pixels, by its configuration's text."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as config:
                text = config.read(_LONGEST_CONFIGURATION).decode()
        else:
            with h5py.File(path, "r") as file:
                text = str(file.attrs.get("model_config", ""))
    except Exception:  # The weights are read, and the configuration of no use otherwise.
        return False
    return re.search(r'"class_name": ?"(Rescaling|Normalization)"', text) is not None


@contextmanager
def _hdf5_part(asked: str, path: Path) -> Iterator[Path | BinaryIO]:
    with path.open("rb") as whole:
        if whole.read(len(ZIP)) != ZIP:
            yield path
            return
        with zipfile.ZipFile(whole) as archive:
            member = archive.getinfo(INSIDE_KERAS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(
                f"{asked} has its weights compressed, which Keras does not do: {_SAVE_AGAIN}"
            )
        # The central directory does not say how long a member's own header is (APPNOTE 4.3.7).
        whole.seek(member.header_offset + 26)
        lengths = whole.read(4)
        header = 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        yield io.BufferedReader(_Piece(whole, member.header_offset + header, member.file_size))


class _Piece(io.RawIOBase):
    """A piece of an open file, as a file: a `.keras` file can be larger than the memory."""

    def __init__(self, whole: BinaryIO, start: int, length: int) -> None:
        self._whole, self._start, self._length, self._at = whole, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._whole.seek(self._start + self._at)
        left = max(0, self._length - self._at)
        count = self._whole.readinto(memoryview(buffer)[:left])  # type: ignore[attr-defined]
        self._at += count
        return int(count)


def _arrays(asked: str, file: Any) -> Arrays:
    shapes = vgg19_kernel_shapes()
    found, numbered = _collected(file, shapes)
    layers = found or _in_order(numbered, list(shapes.values()))
    arrays: Arrays = {}
    for name, shape in shapes.items():
        layer = f"{asked}: layer {name!r}"
        kernel, bias = _pair(layer, layers.get(name), ADVICE)
        arrays[name] = (
            checked(f"{layer} has a kernel", kernel, shape),
            checked(f"{layer} has a bias", bias, shape[-1:]),
        )
    return arrays


def _collected(
    file: Any, names: Collection[str]
) -> tuple[dict[str, list[Any]], dict[str, dict[int, list[Any]]]]:
    """Return the datasets of the layers with these names, and of numbered convolutions by model."""
    import h5py

    found: dict[str, list[Any]] = {}
    numbered: dict[str, dict[int, list[Any]]] = {}

    def visit(place: str, item: Any) -> None:
        parents = place.split("/")[:-1]
        if not isinstance(item, h5py.Dataset) or parents[:1] in (["optimizer_weights"], []):
            return
        # Keras 3 numbers its groups and keeps the layer's own name as an attribute; its first
        # versions kept the number only; before that the name is in the path.
        given = item.parent.attrs.get("name")
        name = next((part for part in (str(given), *parents) if part in names), None)
        if name is not None:
            found.setdefault(name, []).append(item)
        elif number := _NUMBERED.fullmatch(place):
            model = numbered.setdefault(number[1], {})
            model.setdefault(int(number[2] or 0), []).append(item)

    file.visititems(visit)  # This follows no link out of the file.
    return found, numbered


def _in_order(
    models: dict[str, dict[int, list[Any]]], shapes: list[tuple[int, ...]]
) -> dict[str, list[Any]]:
    """Name the convolutions of the nested model that is most like VGG19."""

    def alike(layers: list[list[Any]]) -> int:
        pairs = zip(layers, shapes, strict=False)
        return sum(any(item.shape == shape for item in items) for items, shape in pairs)

    ordered = [[model[number] for number in sorted(model)] for model in models.values()]
    best = max(ordered, key=alike, default=[])
    return dict(zip(vgg19_kernel_shapes(), best, strict=False))


def _pair(layer: str, items: list[Any] | None, advice: str) -> tuple[Stored, Stored]:
    """Tell kernel and bias apart, whose numbers must be in this file."""
    if items is None or len(items) != 2:
        count = f"has {len(items)} arrays, not a kernel and a bias" if items else "is missing"
        raise WeightsError(f"{layer} {count}: {advice}")
    # Files of every age name the two differently, but a kernel has more axes than a bias.
    kernel, bias = sorted(items, key=lambda item: -item.ndim)
    for part, item in (("kernel", kernel), ("bias", bias)):
        if item.external or item.is_virtual:
            raise WeightsError(
                f"{layer} has a {part} that is no array of the file's own: {_SAVE_AGAIN}"
            )
        # HDF5 unpacks a whole chunk, of up to 4 GB, for the one number of it that is wanted.
        if item.chunks is not None and math.prod(item.chunks) > max(item.size, _SMALL_CHUNK):
            raise WeightsError(
                f"{layer} has a {part} in chunks of {item.chunks}, larger than itself: "
                f"{_SAVE_AGAIN}"
            )
    return _stored(kernel), _stored(bias)


def _stored(item: Any) -> Stored:
    return Stored(item.shape, item.dtype, item.__array__, fresh=True)

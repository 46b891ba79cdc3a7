"""Formats of weights files: one class each, recognised by content.

File names are unreliable: PyTorch's files may be called ``.pth``, ``.pth.tar``, ``.ckpt``, ``.bin``
or ``.pkl``, or be renamed.
"""

from __future__ import annotations

import os
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vgg_widget.layers import VGG19, VGGS, Vgg
from vgg_widget.support.files import atomic_write
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.arrays import (
    PREPROCESSINGS,
    Arrays,
    Classifier,
    ResolvedWeights,
    StoredVgg,
    WeightsError,
    titled,
)
from vgg_widget.weights.keras_file import INSIDE_KERAS, ZIP, opened_keras, write_keras
from vgg_widget.weights.learned_weights import learned_vgg
from vgg_widget.weights.remote import HDF5, file_digest
from vgg_widget.weights.state_dicts import opened_safetensors, torch_vgg, write_safetensors


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of a file that identify its format: its first bytes and zip members, if any."""

    start: bytes
    members: Collection[str]


class WeightsFormat(ABC):
    """A format of weights files, registered with `register_format`."""

    name: str
    """The usual name of the format and its suffixes, such as ``"PyTorch (.pth, .pt)"``."""

    has_classifier = True
    """Whether such a file can also hold the dense layers."""

    networks: Collection[Vgg] = tuple(VGGS.values())
    """The networks that have files of this format."""

    exported = ""
    """The suffix of exported files; empty if `write` is not implemented."""

    @abstractmethod
    def tells(self, content: Content) -> bool:
        """Return whether a file has this format, by its content."""

    @abstractmethod
    def opened(self, what: str, path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
        """Open a file; `what` begins error messages."""

    def write(self, arrays: Arrays, preprocessing: str, path: Path) -> None:
        """Write the convolutions and their preprocessing."""
        raise NotImplementedError


FORMATS: list[WeightsFormat] = []
"""All registered formats, in the order in which they are tried."""

_Format = TypeVar("_Format", bound=type[WeightsFormat])


def register_format(kind: _Format) -> _Format:
    """Register a format for reading, export, the command line and error messages."""
    FORMATS.append(kind())
    return kind


@register_format
class _Keras(WeightsFormat):
    name = "Keras (.weights.h5, .h5, .keras)"
    exported = ".weights.h5"

    def tells(self, content: Content) -> bool:
        return content.start.startswith(HDF5) or INSIDE_KERAS in content.members

    def opened(self, what: str, path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
        return opened_keras(what, path, vgg)

    def write(self, arrays: Arrays, preprocessing: str, path: Path) -> None:
        write_keras(arrays, preprocessing, path)


KERAS_NAMES = _Keras.name


@register_format
class _Torch(WeightsFormat):
    name = "PyTorch (.pth, .pt)"

    def tells(self, content: Content) -> bool:
        if content.start.startswith(b"\x80"):
            # Before PyTorch 1.6: plain pickles, the first of which is this magic number.
            return b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in content.start[:32]
        names = {name.rpartition("/")[2] for name in content.members}
        # An archive with constants is TorchScript, which contains code.
        return "data.pkl" in names and "constants.pkl" not in names

    @contextmanager
    def opened(self, what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
        yield torch_vgg(what, path, vgg)


@register_format
class _Safetensors(WeightsFormat):
    name = "safetensors (.safetensors)"
    exported = ".safetensors"

    def tells(self, content: Content) -> bool:
        # The header's length in eight bytes, some of them zero, followed by JSON.
        return content.start[8:9] == b"{" and 0 in content.start[:8]

    def opened(self, what: str, path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
        return opened_safetensors(what, path, vgg)

    def write(self, arrays: Arrays, preprocessing: str, path: Path) -> None:
        write_safetensors(arrays, preprocessing, path)


@register_format
class _Learned(WeightsFormat):
    name = "learned filters (.npz)"
    has_classifier = False
    networks = (VGG19,)

    def tells(self, content: Content) -> bool:
        return "metadata.npy" in content.members

    @contextmanager
    def opened(self, what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
        yield learned_vgg(what, path, f"k-means filters {path.name}", vgg)


def format_names(vgg: Vgg = VGG19, *, with_classifier: bool = False) -> str:
    """Return the names of a network's file formats, as a list in a sentence."""
    of_network = (one for one in FORMATS if vgg in one.networks)
    names = [one.name for one in of_network if one.has_classifier or not with_classifier]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def format_of(path: Path) -> WeightsFormat:
    """Return the format of a file, or raise `WeightsError` describing the file, if recognised."""
    content = _content(path)
    for known in FORMATS:
        if known.tells(content):
            return known
    raise WeightsError(f"weights {str(path)!r} {_unsupported_reason(content)}.")


def check_is_keras(path: Path, title: str) -> None:
    """Raise `WeightsError` unless a file is a Keras file, by its content."""
    found = format_of(path)
    if not isinstance(found, _Keras):
        raise WeightsError(
            f"weights {str(path)!r} are a file of the format {found.name}, but {title} needs "
            f"{_Keras.name}: save the model's weights with Keras, or pass a PyTorch module with "
            "these weights as model=."
        )


def opened_weights(path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
    """Open a file of any format; raises `WeightsError`, now or while reading, for a bad file."""
    return format_of(path).opened(f"weights {str(path)!r}", path, vgg)


def read_weights(path: Path, vgg: Vgg) -> ResolvedWeights:
    """Read the convolutions of a file; raise `WeightsError` if that fails or they do not fit."""
    with opened_weights(path, vgg) as network:
        arrays = network.convolutions()
    if network.preprocessing not in PREPROCESSINGS:
        raise WeightsError(
            f"weights {str(path)!r} need the preprocessing {network.preprocessing!r}, which this "
            f"version does not support ({', '.join(map(repr, PREPROCESSINGS))} are supported): use "
            "a newer vgg_widget."
        )
    label = titled(vgg, network.label or f"weights file {path.name}")
    digest = network.digest or file_digest(path, "sha256")
    provenance = Provenance("file", label, str(path), digest, network.message, vgg.name)
    return ResolvedWeights(arrays, provenance, network.preprocessing)


def read_classifier(path: Path, vgg: Vgg = VGG19) -> Classifier:
    """Read the dense layers of a file; raise `WeightsError` if it has none that fit."""
    with opened_weights(path, vgg) as network:
        return network.classifier()


def exported_suffixes() -> tuple[str, ...]:
    """Return the suffixes of exported files."""
    return tuple(sorted(one.exported for one in FORMATS if one.exported))


def export_weights(arrays: Arrays, preprocessing: str, path: str | os.PathLike[str]) -> None:
    """Write the convolutions and their preprocessing to a file that `resolve` can read.

    The numbers are unchanged. Neither format has a field for the preprocessing, so it is written to
    the file's metadata, which other programs ignore.

    Parameters
    ----------
    arrays : Arrays
        The convolutions, with axes in Keras's order.
    preprocessing : str
        ``"caffe"`` or ``"torch"``.
    path : str or Path
        A ``.safetensors`` file is a torchvision state dict without the classifier, for
        ``load_state_dict(..., strict=False)``; a ``.weights.h5`` file is for
        ``keras.applications.VGG19(include_top=False).load_weights``, or VGG16's. Replaced
        atomically.

    Raises
    ------
    ValueError
        If the suffix is neither of these.
    WeightsError
        If it cannot be written, or the package safetensors is missing.
    OSError
        If the folder is missing or cannot be written.
    """
    name = os.fspath(path)
    kinds = (one for one in FORMATS if one.exported and name.lower().endswith(one.exported))
    kind = next(kinds, None)
    if kind is None:
        raise ValueError(
            f"path {name!r} does not end in {' or '.join(exported_suffixes())}: choose a name that "
            "does."
        )
    with atomic_write(path) as draft:
        try:
            kind.write(arrays, preprocessing, draft)
        except OSError as error:
            # HDF5's own messages have several lines.
            why = os.strerror(error.errno) if error.errno else error
            raise WeightsError(
                f"path {name!r} could not be written ({why}): free some space, or choose another "
                "folder."
            ) from error


def _content(path: Path) -> Content:
    what = f"weights {str(path)!r}"
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except (OSError, ValueError) as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
            raise WeightsError(
                f"{what} is a folder: pass the weights file in it; for a SavedModel, save the "
                "weights with model.save_weights('mine.weights.h5')."
            ) from error
        why = getattr(error, "strerror", error)
        raise WeightsError(f"{what} cannot be read ({why}): check the path.") from error
    if not start.startswith(ZIP):
        return Content(start, ())
    try:
        with zipfile.ZipFile(path) as archive:
            return Content(start, archive.namelist())
    except Exception as error:  # zipfile may raise any exception on damaged files.
        raise WeightsError(
            f"{what} is cut short or damaged (it begins as a zip archive, which Keras and PyTorch "
            "write): choose a whole file."
        ) from error


# The first bytes of other kinds of files, with messages.
_UNSUPPORTED = {
    rb"\Z": "is empty: download or save it again",
    rb"version https://git-lfs\.": (
        "is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository, or "
        "download the file from its page"
    ),
    rb"(\xef\xbb\xbf)?\s*<": (
        "is a web page (HTML or XML) saved instead of the file: download the file itself"
    ),
    # Pickle protocols of Python 3, and the beginnings of containers in older ones.
    rb"\x80[\x02-\x05]|[\]}]q.|\([dl]p?\d|c[\w.]+\n\w+\n": (
        "is a Python pickle, which could run code, and was not loaded: save the state dict with "
        "torch.save, or as .safetensors"
    ),
}


def _unsupported_reason(content: Content) -> str:
    """Return a description of an unsupported file, with advice."""
    for beginning, what in _UNSUPPORTED.items():
        if re.match(beginning, content.start, re.DOTALL):
            return what
    return (
        "is not a known kind of weights file: unpack an archive, save other models in a supported "
        f"format, and choose one of {format_names()}"
    )

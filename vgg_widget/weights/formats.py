"""The formats of weights files: one class each, told by a file's content.

A file's name says nothing: PyTorch's files are called ``.pth``, ``.pth.tar``, ``.ckpt``, ``.bin``
and ``.pkl``, and any of them may be renamed.
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
    """What a format is told by: how a file begins, and the names in it if it is a zip archive."""

    start: bytes
    members: Collection[str]


class WeightsFormat(ABC):
    """A format of weights files; `register_format` makes it known."""

    name: str
    """What it and its files are usually called, such as ``"PyTorch (.pth, .pt)"``."""

    has_classifier = True
    """Whether such a file can hold the dense layers too."""

    networks: Collection[Vgg] = tuple(VGGS.values())
    """Of which networks there are such files."""

    exported = ""
    """How the name of an exported file ends; empty where `write` is not there."""

    @abstractmethod
    def tells(self, content: Content) -> bool:
        """Tell a file of this format by its content."""

    @abstractmethod
    def opened(self, what: str, path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
        """Open a file; `what` is how an error begins."""

    def write(self, arrays: Arrays, preprocessing: str, path: Path) -> None:
        """Write the convolutions and what they expect of the input."""
        raise NotImplementedError


FORMATS: list[WeightsFormat] = []
"""All that are known, in the order in which a file is looked at."""

_Format = TypeVar("_Format", bound=type[WeightsFormat])


def register_format(kind: _Format) -> _Format:
    """Make a format known: to readers, export, the command line and the words of errors."""
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
            # Before PyTorch 1.6: bare pickles, the first of which is this number.
            return b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in content.start[:32]
        names = {name.rpartition("/")[2] for name in content.members}
        # An archive with constants is TorchScript, which is code.
        return "data.pkl" in names and "constants.pkl" not in names

    @contextmanager
    def opened(self, what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
        yield torch_vgg(what, path, vgg)


@register_format
class _Safetensors(WeightsFormat):
    name = "safetensors (.safetensors)"
    exported = ".safetensors"

    def tells(self, content: Content) -> bool:
        # The length of the header, in eight bytes of which some are zero, and then JSON.
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
    """Return what the formats of a network's files are called, as a list in a sentence."""
    of_network = (one for one in FORMATS if vgg in one.networks)
    names = [one.name for one in of_network if one.has_classifier or not with_classifier]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def format_of(path: Path) -> WeightsFormat:
    """Return the format of a file; `WeightsError` says what it is instead where that is known."""
    content = _content(path)
    for known in FORMATS:
        if known.tells(content):
            return known
    raise WeightsError(f"weights {str(path)!r} {_what_it_is(content)}.")


def check_is_keras(path: Path, title: str) -> None:
    """Raise `WeightsError` unless a file is one of Keras's, by its content."""
    found = format_of(path)
    if not isinstance(found, _Keras):
        raise WeightsError(
            f"weights {str(path)!r} are a file of {found.name}, and {title} takes one of "
            f"{_Keras.name}: save the model's weights with Keras, or pass a module of PyTorch with "
            "these weights as model=."
        )


def opened_weights(path: Path, vgg: Vgg) -> AbstractContextManager[StoredVgg]:
    """Open a file of any format; `WeightsError`, now or meanwhile, says what is wrong with it."""
    return format_of(path).opened(f"weights {str(path)!r}", path, vgg)


def read_weights(path: Path, vgg: Vgg) -> ResolvedWeights:
    """Read the convolutions of a file; `WeightsError` if it cannot be, or is another network's."""
    with opened_weights(path, vgg) as network:
        arrays = network.convolutions()
    if network.preprocessing not in PREPROCESSINGS:
        raise WeightsError(
            f"weights {str(path)!r} need the preprocessing {network.preprocessing!r}, which is not "
            f"known here ({', '.join(map(repr, PREPROCESSINGS))} are): use a newer vgg_widget."
        )
    label = titled(vgg, network.label or f"weights file {path.name}")
    digest = network.digest or file_digest(path, "sha256")
    provenance = Provenance("file", label, str(path), digest, network.message, vgg.name)
    return ResolvedWeights(arrays, provenance, network.preprocessing)


def read_classifier(path: Path, vgg: Vgg = VGG19) -> Classifier:
    """Read the dense layers of a file; `WeightsError` if it has none that fit."""
    with opened_weights(path, vgg) as network:
        return network.classifier()


def exported_suffixes() -> tuple[str, ...]:
    """Return how the name of an exported file can end."""
    return tuple(sorted(one.exported for one in FORMATS if one.exported))


def export_weights(arrays: Arrays, preprocessing: str, path: str | os.PathLike[str]) -> None:
    """Write the convolutions to a file that `resolve` reads back, preprocessing and all.

    The numbers are kept as they are. Neither layout has a place for what they expect of the
    input, so that is written into the file's metadata, where other programs do not look.

    Parameters
    ----------
    arrays : Arrays
        In Keras's order of axes.
    preprocessing : str
        ``"caffe"`` or ``"torch"``.
    path : str or Path
        ``.safetensors`` is a state dict of torchvision's without its classifier
        (``load_state_dict(..., strict=False)`` takes it); ``.weights.h5`` is for
        ``keras.applications.VGG19(include_top=False).load_weights``, or VGG16's. Replaced as a
        whole.

    Raises
    ------
    ValueError
        If the suffix is another.
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
            f"path {name!r} does not end in {' or '.join(exported_suffixes())}: name it so."
        )
    with atomic_write(path) as draft:
        try:
            kind.write(arrays, preprocessing, draft)
        except OSError as error:
            # HDF5's own words fill several lines.
            why = os.strerror(error.errno) if error.errno else error
            raise WeightsError(
                f"path {name!r} could not be written ({why}): make room, or choose another folder."
            ) from error


def _content(path: Path) -> Content:
    what = f"weights {str(path)!r}"
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except (OSError, ValueError) as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
            raise WeightsError(
                f"{what} is a folder: pass the file of weights in it; save the model of a "
                "SavedModel with model.save_weights('mine.weights.h5')."
            ) from error
        why = getattr(error, "strerror", error)
        raise WeightsError(f"{what} cannot be read ({why}): check the path.") from error
    if not start.startswith(ZIP):
        return Content(start, ())
    try:
        with zipfile.ZipFile(path) as archive:
            return Content(start, archive.namelist())
    except Exception as error:  # zipfile raises anything at all on damaged files.
        raise WeightsError(
            f"{what} is cut short or damaged (it begins as a zip archive, which Keras and PyTorch "
            "write): choose a whole file."
        ) from error


# How other files begin, and what to say of them.
_OTHERS = {
    rb"\Z": "is empty: download or save it again",
    rb"version https://git-lfs\.": (
        "is a pointer of Git LFS, not the file itself: run `git lfs pull` in the repository that "
        "it is from, or download the file from its page"
    ),
    rb"(\xef\xbb\xbf)?\s*<": (
        "is a web page (HTML or XML) that was saved in place of the file: download the file itself"
    ),
    # The protocols of Python 3, and how a container begins by those before.
    rb"\x80[\x02-\x05]|[\]}]q.|\([dl]p?\d|c[\w.]+\n\w+\n": (
        "is a Python pickle, which could run code, and was not loaded: save the state dict with "
        "torch.save, or as .safetensors"
    ),
}


def _what_it_is(content: Content) -> str:
    """Say what a file is that is of none of the formats, and what to do."""
    for beginning, what in _OTHERS.items():
        if re.match(beginning, content.start, re.DOTALL):
            return what
    return (
        "is no file of weights that is known here: unpack an archive, save a model of another kind "
        f"anew, and choose one of {format_names()}"
    )

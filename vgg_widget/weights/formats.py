"""The formats of weights files: what tells each by its content, and what reads it.

A file's name says nothing: PyTorch's files are called ``.pth``, ``.pth.tar``, ``.ckpt``, ``.bin``
and ``.pkl``, and any of them may be renamed.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.arrays import PREPROCESSINGS, Arrays, ResolvedWeights, WeightsError
from vgg_widget.weights.classifier import Classifier
from vgg_widget.weights.keras_file import (
    HDF5,
    INSIDE_KERAS,
    ZIP,
    preparation_inside,
    read_keras,
    read_keras_classifier,
)
from vgg_widget.weights.learned import read_learned
from vgg_widget.weights.remote import file_digest
from vgg_widget.weights.torchvision import (
    read_safetensors,
    read_safetensors_classifier,
    read_torch,
    read_torch_classifier,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a format is told by: how a file begins, and the names in it if it is a zip archive."""

    start: bytes
    members: Collection[str]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of weights files.

    Parameters
    ----------
    tells : callable
        Whether a file's content is of this format.
    read : callable
        From its path to the convolutions.
    read_classifier : callable or None
        From its path to the dense layers; None where such files never have any.
    """

    tells: Callable[[Content], bool]
    read: Callable[[Path], ResolvedWeights]
    read_classifier: Callable[[Path], Classifier] | None


def format_of(path: Path) -> Format:
    """Return the format of a file.

    Raises
    ------
    WeightsError
        If it cannot be read, or is of none; the sentence says what it is where that is known.
    """
    asked = f"weights {str(path)!r}"
    content = _content(asked, path)
    for known in _FORMATS:
        if known.tells(content):
            return known
    raise WeightsError(f"{asked} {_what_it_is(path, content)}.")


def is_checkpoint(path: Path) -> bool:
    """Tell whether a path is the prefix, or a part, of what TensorFlow calls a checkpoint."""
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", str(path))
    return os.path.isfile(f"{prefix}.index")  # noqa: PTH113 - Path's own can raise.


def _resolved(read: Callable[[Path], tuple[Arrays, str, str]], path: Path) -> ResolvedWeights:
    arrays, preprocessing, message = read(path)
    if preprocessing not in PREPROCESSINGS:
        raise WeightsError(
            f"weights {str(path)!r} need the preprocessing {preprocessing!r}, which is not known "
            f"here ({', '.join(map(repr, PREPROCESSINGS))} are): use a newer vgg_widget."
        )
    label, digest = f"weights file {path.name}", file_digest(path, "sha256")
    return ResolvedWeights(
        arrays, Provenance("file", label, str(path), digest, message), preprocessing
    )


def _read_keras(path: Path) -> tuple[Arrays, str, str]:
    arrays, preprocessing = read_keras(path)
    message = ""
    if inside := preparation_inside(path):
        message = (
            f"Another input: the model in {path.name} {inside}, and here they are prepared as "
            "ImageNet's are; to see the model as it is, load it with Keras and pass it as model=."
        )
    return arrays, preprocessing, message


def _is_torch(content: Content) -> bool:
    if content.start.startswith(b"\x80"):
        # Before PyTorch 1.6: bare pickles, the first of which is this number.
        return b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in content.start[:32]
    names = {name.rpartition("/")[2] for name in content.members}
    return "data.pkl" in names and _TORCHSCRIPT not in names


def _is_safetensors(content: Content) -> bool:
    # The length of the header, in eight bytes of which some are zero, and then JSON.
    return content.start[8:9] == b"{" and 0 in content.start[:8]


_FORMATS = (
    Format(
        lambda content: content.start.startswith(HDF5) or INSIDE_KERAS in content.members,
        lambda path: _resolved(_read_keras, path),
        read_keras_classifier,
    ),
    Format(_is_torch, lambda path: _resolved(read_torch, path), read_torch_classifier),
    Format(
        _is_safetensors,
        lambda path: _resolved(read_safetensors, path),
        read_safetensors_classifier,
    ),
    Format(
        lambda content: "metadata.npy" in content.members,
        lambda path: ResolvedWeights(*read_learned(path)),
        None,
    ),
)


def _content(asked: str, path: Path) -> Content:
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except (OSError, ValueError) as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own can raise.
            raise WeightsError(f"{asked} {_what_folder_it_is(path)}.") from error
        if is_checkpoint(path):
            raise WeightsError(f"{asked} {_CHECKPOINT}.") from error
        why = getattr(error, "strerror", error)
        raise WeightsError(f"{asked} cannot be read ({why}): check the path.") from error
    if not start.startswith(ZIP):
        return Content(start, ())
    try:
        with zipfile.ZipFile(path) as archive:
            return Content(start, archive.namelist())
    except Exception as error:  # zipfile raises anything at all on damaged files.
        raise WeightsError(
            f"{asked} is cut short or damaged (it begins as a zip archive, which Keras and PyTorch "
            "write): choose a whole file."
        ) from error


# What PyTorch knows a TorchScript archive by.
_TORCHSCRIPT = "constants.pkl"

_SAVE = "model.save_weights('mine.weights.h5'), and pass that file"
_CHECKPOINT = (
    "is a checkpoint of TensorFlow, which is not read: load it with load_weights of the model that "
    f"it was made of (by tf_keras), save it with {_SAVE}"
)
_SAVED_MODEL = (
    "is a SavedModel of TensorFlow, which is not read: save the Keras model that it was made of "
    f"with {_SAVE}"
)
_CONVERTED = f"which is not read: save the model that it was made of with {_SAVE}"

# How the content begins, and what to say.
_OTHERS = {
    rb"\Z": "is empty: download or save it again",
    rb"version https://git-lfs\.": (
        "is a pointer of Git LFS, not the file itself: run `git lfs pull` in the repository that "
        "it is from, or download the file from its page"
    ),
    rb"(\xef\xbb\xbf)?\s*<": (
        "is a web page (HTML or XML) that was saved in place of the file: download the file itself"
    ),
    rb"\x93NUMPY": (
        "is one array of NumPy (.npy): pass a state dict, with an array for the weight and the "
        "bias of each layer"
    ),
    # The protocols of Python 3, and how a container begins by those before.
    rb"\x80[\x02-\x05]|[\]}]q.|\([dl]p?\d|c[\w.]+\n\w+\n": (
        "is a Python pickle, which could run code, and was not loaded: save the state dict with "
        "torch.save, or as .safetensors"
    ),
    rb"\x08\x01\x12": _SAVED_MODEL,
    rb"\x08[\x02-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]": f"is an ONNX model, {_CONVERTED}",
    rb".{4}TFL3": f"is a TFLite model, {_CONVERTED}",
    rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar": (
        "is a packed archive (tar, gzip or the like): unpack it, and pass the file in it"
    ),
}


def _what_it_is(path: Path, content: Content) -> str:
    """Say what a file is that is of none of the formats, and what to do."""
    if is_checkpoint(path):
        return _CHECKPOINT
    for start, what in _OTHERS.items():
        if re.match(start, content.start, re.DOTALL):
            return what
    if any(name.rpartition("/")[2] == _TORCHSCRIPT for name in content.members):
        return (
            "is a TorchScript archive, whose code is not run: save its state dict, with "
            "torch.save(torch.jit.load('mine.pt').state_dict(), 'mine.pth'), and pass that file"
        )
    if any(name.endswith(".npy") for name in content.members):
        return (
            "is an .npz file of NumPy that learn_weights did not write: pass its arrays as a "
            "state dict, or a file of PyTorch, safetensors or Keras"
        )
    if content.members:
        return "is a zip archive of other files: unpack it, and pass the file in it"
    return (
        "is no file of weights that is known here: choose one of Keras (.weights.h5, .h5, .keras), "
        "PyTorch or safetensors, or filters that learn_weights wrote (.npz)"
    )


def _what_folder_it_is(path: Path) -> str:
    """Say what a folder is, and what to do."""
    names: list[str] = []
    with suppress(OSError):
        names = [each.name for each in path.iterdir()]
    if "saved_model.pb" in names:
        return _SAVED_MODEL
    if INSIDE_KERAS in names:
        return f"is an unpacked .keras file: pass the {INSIDE_KERAS} in it"
    if "data.pkl" in names:
        return "is an unpacked file of PyTorch: download it again, without unpacking it"
    if any(name.endswith(".index") for name in names):
        return _CHECKPOINT
    return "is a folder: pass the file of weights in it"

"""VGG19's top: three dense layers that turn the last pool into one number a class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vgg_widget.weights.arrays import Pair, Stored, WeightsError, checked

CLASSIFIER_INPUT = (7, 7, 512)
"""Rows, columns and channels of block5_pool on a picture of 224×224 pixels."""

CLASSIFIER_NAMES = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
"""Keras's name of each dense layer to torchvision's; a ReLU follows each but the last."""

CLASSIFIER_ADVICE = (
    "predictions need VGG19's classifier, so choose a file that holds it, or weights='imagenet'."
)

IMAGENET_CLASSES = 1000

# What may come out of each layer, so that no file can fill the memory: as many as VGG19 has, and as
# there are classes in all of ImageNet.
_WIDEST = (4096, 4096, 21_841)

Name = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """The dense layers of a VGG19, in order.

    Parameters
    ----------
    layers : tuple of (ndarray, ndarray)
        Kernel (in, out) and bias (out,) of each, float32 and read-only.
    channels_first : bool
        Whether the first of them takes the maps flattened as (channel, row, column), as PyTorch
        does, and not as (row, column, channel), as Keras does.
    """

    layers: tuple[Pair, ...] = field(repr=False)
    channels_first: bool

    @property
    def classes(self) -> int:
        """How many classes there are to choose from."""
        return int(self.layers[-1][1].size)


def checked_classifier(
    asked: str, stored: Sequence[tuple[str, Stored, Stored]], *, channels_first: bool
) -> Classifier:
    """Read a classifier whose layers fit on block5_pool and on each other.

    Parameters
    ----------
    asked : str
        How an error begins: the source.
    stored : sequence of (str, Stored, Stored)
        The three layers: name, kernel (in, out) and bias.
    channels_first : bool
        See `Classifier`.

    Raises
    ------
    WeightsError
        If one does not fit; the sentence names the first.
    """
    rows, columns, channels = CLASSIFIER_INPUT
    incoming, layers = rows * columns * channels, []
    for (name, kernel, bias), most in zip(stored, _WIDEST, strict=True):
        layer = f"{asked}: layer {name!r}"
        outgoing = kernel.shape[-1] if kernel.shape else 0
        if kernel.shape != (incoming, outgoing) or not 1 <= outgoing <= most:
            raise WeightsError(
                f"{layer} has weights of shape {kernel.shape} (in, out) where {incoming} go in and "
                f"at most {most} come out: {CLASSIFIER_ADVICE}"
            )
        if bias.shape != (outgoing,):
            raise WeightsError(
                f"{layer} has a bias of shape {bias.shape}, not {(outgoing,)}: {CLASSIFIER_ADVICE}"
            )
        layers.append(
            (
                checked(f"{layer} has weights", kernel, kernel.shape),
                checked(f"{layer} has a bias", bias, bias.shape),
            )
        )
        incoming = outgoing
    return Classifier(tuple(layers), channels_first)


def read_class_names(path: Path, command: str) -> tuple[Name, ...]:
    """Read Keras's list of ImageNet's classes.

    Parameters
    ----------
    path : Path
        JSON, such as ``{"0": ["n01440764", "tench"], ...}``.
    command : str
        What fetches the file, for an error.

    Returns
    -------
    tuple of (str, str)
        WordNet's number and the name of each class, in the order of the classifier's outputs.

    Raises
    ------
    WeightsError
        If it is anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_list(path, f"it is no JSON: {error}", command) from error
    names = []
    for number in range(IMAGENET_CLASSES):
        entry = content.get(str(number)) if isinstance(content, dict) else None
        if not (
            isinstance(entry, list)
            and len(entry) == 2
            and all(isinstance(part, str) for part in entry)
        ):
            raise _no_list(path, f"class {number} has no name in it", command)
        names.append((entry[0], entry[1]))
    return tuple(names)


def _no_list(path: Path, why: str, command: str) -> WeightsError:
    return WeightsError(
        f"the names of ImageNet's classes cannot be read from {path} ({why}): delete it and run "
        f"`{command}`."
    )

"""`LearnedWeights`: factorised convolution kernels, in memory and in one `.npz` file.

A kernel of 3×3 × incoming × outgoing numbers is ``projection @ centroids``, with rank at most the
number of the projection's columns. This is the form in which `vgg_widget.learning` finds it, at a
fraction of its size. Reading needs only NumPy.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.layers import VGG19, Vgg
from vgg_widget.support.files import atomic_write
from vgg_widget.support.messages import reason
from vgg_widget.support.safe_npz import check_suffix, opened_npz
from vgg_widget.weights.arrays import Stored, StoredLayer, StoredVgg, WeightsError, other_vgg

EMBEDDED = "vgg19_kmeans.npz"
"""The shipped file's name, in the folder ``vgg_widget/data``."""

FORMAT = "vgg_widget/factorised/1"
"""Format tag of the files; the number increases with incompatible changes."""

Storage: TypeAlias = Literal["int8", "float16"]

_Floats: TypeAlias = NDArray[np.float32]


def rounded(matrix: _Floats, storage: Storage = "int8") -> tuple[NDArray[Any], _Floats]:
    """Quantise a matrix: return small numbers and a scale factor per column.

    The error is at most 1/254 of the column's largest magnitude for int8, and 1/2048 of the value
    for float16.
    """
    top = np.abs(matrix).max(axis=0)
    scale = np.where(top > 0, top, 1).astype(np.float32)
    if storage == "float16":
        return (matrix / scale).astype(np.float16), scale
    scale /= np.float32(127)
    return np.rint(matrix / scale).astype(np.int8), scale


def unrounded(numbers: NDArray[Any], scale: _Floats) -> _Floats:
    """Return the float32 matrix from the result of `rounded`."""
    return numbers.astype(np.float32) * scale


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A convolution's factorised kernel and bias; the fields are the arrays in the file.

    `projection` and `centroids` are results of `rounded`, each with its scale.
    """

    projection: NDArray[Any]
    projection_scale: _Floats
    """The whitening matrix for flattened 3×3 patches, channels last: (9 * incoming, rank)."""
    centroids: NDArray[Any]
    centroids_scale: _Floats
    """The directions found by k-means, (rank, outgoing), scaled so that each response has a
    standard deviation of 1 on the training patches."""
    blind: _Floats
    """A patch, (9 * incoming,), to which no filter responds (see `without`), or zeros.

    It is removed from the projection after rounding, so that rounding does not reintroduce it."""
    bias: _Floats
    """Minus the response to the mean patch, minus the threshold; shape (outgoing,)."""

    def __post_init__(self) -> None:
        arrays = self.arrays()
        rows, rank, outgoing = self.blind.size, self.projection_scale.size, self.bias.size
        wanted = [(rows, rank), (rank,), (rank, outgoing), (outgoing,), (rows,), (outgoing,)]
        shapes = [array.shape for array in arrays.values()]
        if rows % 9 or shapes != wanted:
            raise ValueError(
                f"factors of shapes {', '.join(map(str, shapes))} do not form a 3×3 kernel: they "
                "must be (9 * incoming, rank), (rank,), (rank, outgoing), (outgoing,), (9 * "
                "incoming,) and (outgoing,)."
            )
        for name, array in arrays.items():
            small = name in ("projection", "centroids")
            if array.dtype not in ((np.int8, np.float16) if small else (np.float32,)):
                read = "int8 or float16" if small else "float32"
                raise ValueError(f"{name} has type {array.dtype}: it must be {read}.")
            array.flags.writeable = False

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the stored arrays by name, in order."""
        return {name: getattr(self, name) for name in self.__slots__}

    def kernel(self) -> _Floats:
        """Return the kernel in Keras's layout: (3, 3, incoming, outgoing), float32."""
        projection = np.ascontiguousarray(unrounded(self.projection, self.projection_scale).T)
        without(projection, self.blind)
        flat: _Floats = projection.T @ unrounded(self.centroids, self.centroids_scale)
        return flat.reshape(3, 3, -1, flat.shape[1])


def without(patches: _Floats, direction: _Floats) -> None:
    """Remove a direction from each of the nine positions of flattened 3×3 patches, in place.

    `patches` is (n, 9 * channels). `direction`, (9 * channels,), holds one direction per position,
    of any length; positions with zeros are left unchanged.
    """
    channels = len(direction) // 9
    for start in range(0, len(direction), channels):
        place = slice(start, start + channels)
        unit = direction[place] / max(float(np.linalg.norm(direction[place])), 1e-12)
        patches[:, place] -= np.outer(patches[:, place] @ unit, unit)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearnedWeights:
    """Factorised kernels of several convolutions, with metadata on how they were learned.

    Parameters
    ----------
    layers : mapping of str to Factors
        Factors by Keras's name of the convolution, in network order.
    metadata : mapping
        JSON-serialisable: the method and its parameters, seed, number of photographs, sources,
        version.
    """

    layers: Mapping[str, Factors]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<LearnedWeights of {len(self.layers)} convolutions>"

    def kernels(self) -> dict[str, tuple[_Floats, _Floats]]:
        """Return ``{name: (kernel, bias)}``, float32, each kernel (3, 3, incoming, outgoing)."""
        return {name: (part.kernel(), part.bias.copy()) for name, part in self.layers.items()}

    @property
    def digest(self) -> str:
        """``"sha256:hex"`` of the names, shapes and numbers, without the metadata."""
        total = hashlib.sha256()
        for name, part in self.layers.items():
            for key, array in part.arrays().items():
                total.update(f"{name}/{key} {array.dtype.str} {array.shape}\n".encode())
                total.update(np.ascontiguousarray(array).tobytes())
        return f"sha256:{total.hexdigest()}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an ``.npz`` file atomically; the same object gives the same bytes.

        Parameters
        ----------
        path : str or Path
            File to write; it must end in ``.npz``, and its folder must exist.

        Returns
        -------
        Path
            The path of the written file.

        Raises
        ------
        ValueError
            If the path has another suffix.
        OSError
            If the folder is missing or not writable.
        """
        target = Path(path).expanduser()
        check_suffix(path)
        about = {"format": FORMAT, "layers": list(self.layers), **self.metadata}
        arrays: dict[str, Any] = {
            f"{name}/{key}": array
            for name, part in self.layers.items()
            for key, array in part.arrays().items()
        }
        arrays["metadata"] = np.array(json.dumps(about, ensure_ascii=False))
        with atomic_write(target) as draft:
            # allow_pickle= is omitted, since NumPy 1 would store it as another array.
            np.savez_compressed(draft, **arrays)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` wrote.

        Parameters
        ----------
        path : str or Path
            An ``.npz`` file of learned weights.

        Returns
        -------
        LearnedWeights

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file has another or a newer format, or is damaged.
        """
        source = Path(path).expanduser()
        try:
            with opened_npz(source) as stored:
                about = json.loads(str(stored("metadata")))
                found = about.pop("format")
                names = about.pop("layers") if found == FORMAT else ()
                layers = {
                    name: Factors(*(stored(f"{name}/{key}") for key in Factors.__slots__))
                    for name in names
                }
        except FileNotFoundError:
            raise FileNotFoundError(
                f"path {str(path)!r} is not a file: give one that LearnedWeights.save wrote."
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # numpy, zipfile and json may raise anything on damaged files.
            raise ValueError(
                f"path {str(path)!r} holds no learned weights of format {FORMAT} "
                f"({reason(error)}): give a file that LearnedWeights.save wrote."
            ) from error
        if not layers:
            raise ValueError(
                f"path {str(path)!r} has format {found!r}, but this version reads {FORMAT}: "
                "install the version that wrote it."
            )
        return cls(layers, about)


def embedded_path() -> Path:
    """Return the path of the shipped filters."""
    return Path(str(resources.files("vgg_widget") / "data" / EMBEDDED))


def learned_vgg(what: str, path: Path, label: str, vgg: Vgg) -> StoredVgg:
    """Open a file that `LearnedWeights.save` wrote; `what` begins error messages."""
    if vgg is not VGG19:
        raise other_vgg(what, vgg, VGG19)
    try:
        learned = LearnedWeights.load(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{what} cannot be read: {error}") from error

    def layer(name: str) -> StoredLayer:
        if name not in learned.layers:
            raise WeightsError(f"{what} has no filters for layer {name!r}: learn all layers.")
        part = learned.layers[name]
        # The shape is checked before multiplying, since small factors can produce a huge matrix.
        shape = (3, 3, len(part.blind) // 9, len(part.bias))
        kernel = Stored(shape, np.dtype("f4"), part.kernel)
        return StoredLayer(f"{what}: layer {name!r}", kernel, Stored.of(part.bias))

    found = learned.metadata.get("photographs")
    count = found if isinstance(found, int) else "some"
    return StoredVgg(
        vgg,
        layer,
        label=f"{label} (learned without labels from {count} photographs)",
        digest=learned.digest,
        message=f"Practice filters, not ImageNet weights: they were learned without labels from "
        f"{count} photographs, and not trained to recognise anything.",
    )

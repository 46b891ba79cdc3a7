"""`LearnedWeights`: convolution kernels kept as two thin factors, in memory and in one `.npz` file.

A kernel of 3×3 × incoming × outgoing numbers is ``projection @ centroids``, of rank at most the
projection's columns: the form in which `vgg_widget.learning` finds it, and a fraction of its size.
Reading needs numpy alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgg_widget.support.files import written_whole
from vgg_widget.support.messages import reason
from vgg_widget.support.safe_npz import check_suffix, opened_npz

FORMAT = "vgg_widget/factorised/1"
"""What a file says of itself; the number rises when an older reader could not follow."""

Storage: TypeAlias = Literal["int8", "float16"]

_Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """A matrix in few bytes: small numbers, and a scale for each column.

    Parameters
    ----------
    numbers : (rows, columns) array of int8 or float16
        The matrix over its scale.
    scale : (columns,) float32 array
        What each column is multiplied by.
    """

    numbers: NDArray[Any]
    scale: _Floats

    def __post_init__(self) -> None:
        if self.numbers.ndim != 2 or self.scale.shape != self.numbers.shape[1:]:
            raise ValueError(
                f"a scale of shape {self.scale.shape} does not fit numbers of shape "
                f"{self.numbers.shape}: it takes one for each column."
            )
        if self.numbers.dtype not in (np.int8, np.float16) or self.scale.dtype != np.float32:
            raise ValueError(
                f"numbers of type {self.numbers.dtype} and a scale of type {self.scale.dtype} are "
                "not read: they must be int8 or float16, and float32."
            )
        self.numbers.flags.writeable = self.scale.flags.writeable = False

    @classmethod
    def of(cls, matrix: _Floats, storage: Storage = "int8") -> Self:
        """Round a matrix, column by column.

        Parameters
        ----------
        matrix : (rows, columns) array
            Finite numbers.
        storage : {"int8", "float16"}
            An int8 errs by at most 1/254 of its column's largest number, a float16 by 1/2048 of
            itself.
        """
        top = np.abs(matrix).max(axis=0)
        scale = np.where(top > 0, top, 1).astype(np.float32)
        if storage == "float16":
            return cls((matrix / scale).astype(np.float16), scale)
        scale /= np.float32(127)
        return cls(np.rint(matrix / scale).astype(np.int8), scale)

    def matrix(self) -> _Floats:
        """Return the matrix in float32, as rounded."""
        return self.numbers.astype(np.float32) * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """One convolution's kernel and bias, factorised.

    Parameters
    ----------
    projection : Rounded, (9 * incoming, rank)
        The whitening: a 3×3 patch, flattened row by row with its channels last, times this.
    centroids : Rounded, (rank, outgoing)
        The directions that k-means found, one a column, as long as makes the standard deviation
        of each response 1 on the patches learned from.
    blind : (9 * incoming,) float32 array
        A patch of which no filter sees anything, in any of its nine places (see `without`): the
        mean patch, or zeros for none. Taken out of the projection after rounding, so that
        rounding does not bring it back.
    bias : (outgoing,) float32 array
        Minus the response to the mean patch, minus the threshold.
    """

    projection: Rounded
    centroids: Rounded
    blind: _Floats
    bias: _Floats

    def __post_init__(self) -> None:
        rows, rank = self.projection.numbers.shape
        shapes = ((rows, rank), self.centroids.numbers.shape, self.blind.shape, self.bias.shape)
        if rows % 9 or shapes[1:] != ((rank, *self.bias.shape), (rows,), self.bias.shape[:1]):
            raise ValueError(
                f"factors of shapes {', '.join(map(str, shapes))} make no 3×3 kernel: they must be "
                "(9 * incoming, rank), (rank, outgoing), (9 * incoming,) and (outgoing,)."
            )
        self.blind.flags.writeable = self.bias.flags.writeable = False

    def whitening(self) -> _Floats:
        """Return the projection as it is used: (9 * incoming, rank) float32."""
        projection = np.ascontiguousarray(self.projection.matrix().T)
        without(projection, self.blind)
        return projection.T

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Of `kernel`, which is not computed for it."""
        return (3, 3, len(self.blind) // 9, len(self.bias))

    def kernel(self) -> _Floats:
        """Return the kernel as Keras wants it: (3, 3, incoming, outgoing) float32."""
        flat: _Floats = self.whitening() @ self.centroids.matrix()
        return flat.reshape(3, 3, -1, flat.shape[1])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored, by name and in order."""
        return {
            "projection": self.projection.numbers,
            "projection_scale": self.projection.scale,
            "centroids": self.centroids.numbers,
            "centroids_scale": self.centroids.scale,
            "blind": self.blind,
            "bias": self.bias,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the object again from `arrays`' result."""
        return cls(
            Rounded(arrays["projection"], arrays["projection_scale"]),
            Rounded(arrays["centroids"], arrays["centroids_scale"]),
            arrays["blind"],
            arrays["bias"],
        )


_STORED = ("projection", "projection_scale", "centroids", "centroids_scale", "blind", "bias")


def without(patches: _Floats, direction: _Floats) -> None:
    """Take a direction out of each of the nine places of flattened 3×3 patches, in place.

    Parameters
    ----------
    patches : (n, 9 * channels) float32 array
        Changed.
    direction : (9 * channels,) float32 array
        Nine directions, one a place, of any length; a place of zeros is left alone.
    """
    channels = len(direction) // 9
    for start in range(0, len(direction), channels):
        place = slice(start, start + channels)
        unit = direction[place] / max(float(np.linalg.norm(direction[place])), 1e-12)
        patches[:, place] -= np.outer(patches[:, place] @ unit, unit)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearnedWeights:
    """Factorised kernels of several convolutions, and how they came about.

    Parameters
    ----------
    layers : mapping of str to Factors
        By Keras's name of the convolution, in network order.
    metadata : mapping
        JSON-able: the method and its numbers, seed, number of photographs, sources, version.
    """

    layers: Mapping[str, Factors]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        known = ", ".join(
            f"{key}={self.metadata[key]!r}"
            for key in ("rank", "seed", "photographs")
            if key in self.metadata
        )
        return f"<LearnedWeights of {len(self.layers)} convolutions{known and ': ' + known}>"

    def kernels(self) -> dict[str, tuple[_Floats, _Floats]]:
        """Return ``{name: (kernel, bias)}``, float32, each kernel (3, 3, incoming, outgoing)."""
        return {name: (part.kernel(), part.bias.copy()) for name, part in self.layers.items()}

    @property
    def digest(self) -> str:
        """``"sha256:hex"`` over the names, shapes and numbers; the metadata take no part."""
        total = hashlib.sha256()
        for name, part in self.layers.items():
            for key, array in part.arrays().items():
                total.update(f"{name}/{key} {array.dtype.str} {array.shape}\n".encode())
                total.update(np.ascontiguousarray(array).tobytes())
        return f"sha256:{total.hexdigest()}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one ``.npz``, whole or not at all; the same object gives the same bytes.

        Parameters
        ----------
        path : str or Path
            Where to; it must end in ``.npz``, and its folder must exist.

        Returns
        -------
        Path
            Where it was written.

        Raises
        ------
        ValueError
            If the path ends otherwise.
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
        with written_whole(target) as draft:
            # Without allow_pickle=, which NumPy 1 would store as one more array.
            np.savez_compressed(draft, **arrays)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path
            An ``.npz`` of learned weights.

        Returns
        -------
        LearnedWeights

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is something else, damaged, or of a later format.
        """
        source = Path(path).expanduser()
        try:
            with opened_npz(source) as stored:
                about = json.loads(str(stored("metadata")))
                found = about.pop("format")
                names = about.pop("layers") if found == FORMAT else ()
                layers = {
                    name: Factors.of_arrays({key: stored(f"{name}/{key}") for key in _STORED})
                    for name in names
                }
        except FileNotFoundError:
            raise FileNotFoundError(
                f"path {str(path)!r} is no file: give one that LearnedWeights.save wrote."
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # numpy, zipfile and json raise anything on damaged files.
            raise ValueError(
                f"path {str(path)!r} holds no learned weights of format {FORMAT} "
                f"({reason(error)}): give a file that LearnedWeights.save wrote."
            ) from error
        if not layers:
            raise ValueError(
                f"path {str(path)!r} is of format {found!r}, but this version reads {FORMAT}: "
                "install the version that wrote it."
            )
        return cls(layers, about)

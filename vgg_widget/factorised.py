"""`LearnedWeights`: convolution kernels kept as two thin factors, in memory and in one `.npz` file.

A kernel of ``(3, 3, incoming, outgoing)`` numbers is ``projection @ centroids``, of rank at most
``projection.shape[1]``: the form in which `vgg_widget.learning` finds it, and a fraction of its
size. Reading needs numpy alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FORMAT = "vgg_widget/factorised/1"
"""What the file says of itself; the number rises when an older reader could not follow."""

_SIDE = 3


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """One convolution's kernel and bias, factorised.

    Parameters
    ----------
    projection : (9 * incoming, rank) float16 array
        The whitening: a 3×3 patch, flattened row by row with its channels last, times this.
    centroids : (rank, outgoing) float16 array
        The directions that k-means found, one a column, scaled so that each response has a
        standard deviation of 1 on the patches learned from.
    bias : (outgoing,) float32 array
        Minus the response to the mean patch, minus the threshold.
    """

    projection: NDArray[np.float16]
    centroids: NDArray[np.float16]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        rows, rank = self.projection.shape
        if rows % _SIDE**2 or self.centroids.shape != (rank, len(self.bias)):
            raise ValueError(
                f"factors of shapes {self.projection.shape}, {self.centroids.shape} and "
                f"{self.bias.shape} make no 3×3 kernel: they must be (9 * incoming, rank), "
                "(rank, outgoing) and (outgoing,)."
            )
        for array in (self.projection, self.centroids, self.bias):
            array.flags.writeable = False

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel as Keras wants it: (3, 3, incoming, outgoing) float32."""
        flat = self.projection.astype(np.float32) @ self.centroids.astype(np.float32)
        return flat.reshape(_SIDE, _SIDE, -1, flat.shape[1])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the three arrays by name, in the order in which they are stored."""
        return {"projection": self.projection, "centroids": self.centroids, "bias": self.bias}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearnedWeights:
    """Factorised kernels of several convolutions, and how they came about.

    Parameters
    ----------
    layers : mapping of str to Factors
        By Keras's name of the convolution, in network order.
    metadata : mapping
        JSON-able: method, rank, seed, number of photographs, their sources, version.
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

    def kernels(self) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return ``{name: (kernel, bias)}``, both float32, the kernel (3, 3, incoming, outgoing)."""
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
        """Write one ``.npz``, whole or not at all; the same numbers give the same bytes.

        Parameters
        ----------
        path : str or path-like
            Where to; the suffix must be ``.npz``, the folder must exist.

        Returns
        -------
        pathlib.Path
            Where it was written.

        Raises
        ------
        ValueError
            If the suffix is another.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise ValueError(f"path {str(path)!r} does not end in '.npz': learned weights need it.")
        about = {"format": FORMAT, "layers": list(self.layers), **self.metadata}
        arrays: dict[str, NDArray[Any]] = {
            f"{name}/{key}": array
            for name, part in self.layers.items()
            for key, array in part.arrays().items()
        }
        arrays["metadata"] = np.array(json.dumps(about, ensure_ascii=False))
        # In the same folder, because a rename is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(suffix=".npz", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez_compressed(stream, allow_pickle=False, **arrays)
            # `mkstemp` makes a file for its owner alone; this one is read by whoever may read here.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path-like
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
        try:
            with np.load(path, allow_pickle=False) as stored:
                about = json.loads(str(stored["metadata"]))
                found = about.pop("format", None) if isinstance(about, dict) else None
                if found != FORMAT:
                    raise ValueError(f"its format is {found!r}")
                layers = {
                    name: Factors(
                        *(stored[f"{name}/{key}"] for key in ("projection", "centroids", "bias"))
                    )
                    for name in about.pop("layers")
                }
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError,
                zipfile.BadZipFile) as error:
            raise ValueError(
                f"path {str(path)!r} holds no learned weights of format {FORMAT!r} ({error}): "
                "give a file that LearnedWeights.save wrote."
            ) from error
        return cls(layers, about)

"""A digest of a network's parameters, fast enough for every forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

# A prime, so that reordered numbers rarely have the same sums.
_COLUMNS = 1021


def parameters_digest(arrays: Iterable[npt.NDArray[Any]]) -> str:
    """Return ``"sums:hex"`` for arrays, or "" if there are none.

    The digest hashes sums of the numbers, read as 32-bit integers, in 1,021 columns, which takes a
    tenth of the time of hashing all of them. It detects accidental differences and training, not
    weights that someone constructed to collide.
    """
    digest, found = hashlib.sha256(), False
    for array in arrays:
        found = True
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        whole = numbers.size // (4 * _COLUMNS) * _COLUMNS
        rows = numbers[: 4 * whole].view(np.uint32).reshape(-1, _COLUMNS)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.add.reduce(rows, axis=0, dtype=np.uint32).data)
        digest.update(numbers[4 * whole :].data)
    return f"sums:{digest.hexdigest()[:32]}" if found else ""

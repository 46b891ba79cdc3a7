"""The ``.npz`` file that `TopActivations.save` writes and `TopActivations.load` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from vgg_widget.dataset.strongest import SeenImages, StrongestImages
from vgg_widget.dataset.summary import BINS
from vgg_widget.layers import LayerInfo
from vgg_widget.support.files import written_whole
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import opened_npz

_VERSION = 1

# A layer's arrays: dtype, and shape after that of the channels.
_PARTS: dict[str, tuple[type[np.generic], str]] = {
    "values": (np.float32, "k"),
    "images": (np.int32, "k"),
    "rows": (np.int32, "k"),
    "columns": (np.int32, "k"),
    "boxes": (np.int32, "k4"),
    "histogram": (np.int32, "b"),
    "mean": (np.float64, ""),
    "fraction_active": (np.float64, ""),
    "counted": (np.int32, ""),
}


@dataclass(frozen=True, slots=True, eq=False)
class SavedTop:
    """What is in a file; the fields are those of `TopActivations`."""

    strongest: Mapping[str, StrongestImages]
    seen: SeenImages
    weights: Provenance
    k: int
    statistic: str
    size: int | tuple[int, int] | None
    aliases: Mapping[str, str]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file, which replaces another as a whole."""
        header = {
            "version": _VERSION,
            "layers": {name: asdict(one.layer) for name, one in self.strongest.items()},
            "boxes": [name for name, one in self.strongest.items() if one.boxes is not None],
            "names": self.seen.names,
            "paths": self.seen.paths,
            "failed": dict(self.seen.failed),
            "weights": self.weights.to_dict(),
            "k": self.k,
            "statistic": self.statistic,
            "size": self.size,
            "aliases": dict(self.aliases),
        }
        arrays: dict[str, Any] = {"sizes": self.seen.sizes, "digests": self.seen.digests}
        for name, one in self.strongest.items():
            parts = {part: getattr(one, part) for part in _PARTS}
            arrays |= {
                f"{part}/{name}": array for part, array in parts.items() if array is not None
            }
        with written_whole(path) as draft:
            np.savez_compressed(draft, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file; `damage_told` turns what can go wrong into one sentence."""
        with opened_npz(path) as array:
            header = json.loads(str(array("header")))
            if header["version"] != _VERSION:
                raise ValueError(f"it is of version {header['version']}")
            names = tuple(map(str, header["names"]))
            seen = SeenImages(
                names,
                tuple(map(str, header["paths"])),
                _checked(array("sizes"), "sizes", np.int32, (len(names), 4)),
                _checked(array("digests"), "digests", np.uint8, (len(names), 32)),
                {str(name): str(words) for name, words in header["failed"].items()},
            )
            if len(seen.paths) != len(names):
                raise ValueError(f"it has {len(seen.paths)} paths of {len(names)} images")
            strongest = {}
            for name, described in header["layers"].items():
                info = LayerInfo(**described)
                columns = array(f"values/{name}").shape[-1]
                parts: dict[str, Any] = {"boxes": None}
                for part, (dtype, letters) in _PARTS.items():
                    if part == "boxes" and name not in header["boxes"]:
                        continue
                    lengths = {"k": columns, "4": 4, "b": BINS}
                    shape = (info.channels, *(lengths[letter] for letter in letters))
                    key = f"{part}/{name}"
                    parts[part] = _checked(array(key), key, dtype, shape)
                if not ((parts["images"] >= -1) & (parts["images"] < len(names))).all():
                    raise ValueError(f"layer {name!r} names images that there are not")
                strongest[str(name)] = StrongestImages(info, **parts)
        size = header["size"]
        return cls(
            strongest,
            seen,
            Provenance.from_dict(header["weights"]),
            int(header["k"]),
            str(header["statistic"]),
            tuple(size) if isinstance(size, list) else size,
            {str(alias): str(name) for alias, name in header["aliases"].items()},
        )


def _checked(array: Any, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> Any:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name!r} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} of {shape}"
        )
    return array

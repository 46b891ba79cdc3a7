"""The ``.npz`` file that `Activations.save` writes and `Activations.load` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vgg_widget.images import RGB8
from vgg_widget.layers import LayerInfo
from vgg_widget.support.files import written_whole
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import opened_npz

_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class SavedActivations:
    """What is in a file; the fields are the arguments of `Activations`."""

    layers: Sequence[LayerInfo]
    maps: Mapping[str, npt.NDArray[np.float32]]
    image: RGB8
    weights: Provenance
    before_relu: Collection[str]
    name: str

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file, which replaces another as a whole."""
        header = {
            "version": _VERSION,
            "layers": [asdict(info) for info in self.layers],
            "before_relu": sorted(self.before_relu),
            "weights": self.weights.to_dict(),
            "name": self.name,
        }
        arrays: dict[str, Any] = {f"maps/{name}": maps for name, maps in self.maps.items()}
        with written_whole(path) as draft:
            np.savez(draft, header=np.array(json.dumps(header)), image=self.image, **arrays)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file; `damage_told` turns what can go wrong into one sentence."""
        with opened_npz(path) as array:
            header = json.loads(str(array("header")))
            _check_version(header["version"])
            layers = [LayerInfo(**fields) for fields in header["layers"]]
            maps = {info.name: array(f"maps/{info.name}") for info in layers}
            image = array("image")
        _check_arrays(layers, maps, image)
        return cls(
            layers,
            maps,
            image,
            Provenance.from_dict(header["weights"]),
            tuple(header["before_relu"]),
            str(header.get("name", "")),
        )


def _check_version(version: object) -> None:
    if version != _VERSION:
        raise ValueError(f"it is of version {version}")


def _check_arrays(
    layers: Sequence[LayerInfo], maps: Mapping[str, npt.NDArray[Any]], image: npt.NDArray[Any]
) -> None:
    for info in layers:
        array = maps[info.name]
        if array.dtype != np.float32 or array.ndim != 3 or array.shape[-1] != info.channels:
            raise ValueError(
                f"layer {info.name!r} is {array.dtype} of shape {array.shape}, not float32 of "
                f"{info.channels} channels"
            )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"the image is {image.dtype} of shape {image.shape}, not uint8 RGB")

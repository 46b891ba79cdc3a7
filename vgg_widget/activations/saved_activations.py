"""The ``.npz`` file that `Activations.save` writes and `Activations.load` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.images import RGB8
from vgg_widget.layers import LayerInfo
from vgg_widget.support.files import atomic_write
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import opened_npz

_VERSION = 1


def write_activations(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[LayerInfo],
    maps: Mapping[str, npt.NDArray[np.float32]],
    image: RGB8,
    weights: Provenance,
    before_relu: Collection[str],
    name: str,
) -> None:
    """Write the arguments of `Activations` to a file, which replaces another as a whole."""
    header = {
        "version": _VERSION,
        "layers": [asdict(info) for info in layers],
        "before_relu": sorted(before_relu),
        "weights": weights.to_dict(),
        "name": name,
    }
    arrays: dict[str, Any] = {f"maps/{layer}": stored for layer, stored in maps.items()}
    with atomic_write(path) as draft:
        np.savez(draft, header=np.array(json.dumps(header)), image=image, **arrays)


def read_activations(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arguments of `Activations`; `damage_told` makes a sentence of what can go wrong."""
    with opened_npz(path) as array:
        header = json.loads(str(array("header")))
        if header["version"] != _VERSION:
            raise ValueError(f"it is of version {header['version']}")
        layers = [LayerInfo(**fields) for fields in header["layers"]]
        maps = {info.name: array(f"maps/{info.name}") for info in layers}
        image = array("image")
    for info in layers:
        stored = maps[info.name]
        if stored.dtype != np.float32 or stored.ndim != 3 or stored.shape[-1] != info.channels:
            raise ValueError(
                f"layer {info.name!r} is {stored.dtype} of shape {stored.shape}, not float32 of "
                f"{info.channels} channels"
            )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"the image is {image.dtype} of shape {image.shape}, not uint8 RGB")
    return {
        "layers": layers,
        "maps": maps,
        "image": image,
        "weights": Provenance.from_dict(header["weights"]),
        "before_relu": tuple(header["before_relu"]),
        "name": str(header.get("name", "")),
    }

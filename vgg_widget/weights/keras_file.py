"""Kernels and biases out of a Keras file of any age; nothing in the file is executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights.arrays import Arrays, Pair, WeightsError

_NUMBERED = re.compile(r"(?:.*/)?(?:layers|_layer_checkpoint_dependencies)/conv2d_?(\d*)/vars/.*")


def read_keras(path: Path) -> Arrays:
    """Read the convolutions of a Keras file of any layout, in network order."""
    import h5py

    asked, shapes = f"weights {str(path)!r}", vgg19_kernel_shapes()
    found: dict[str, list[Any]] = {}
    numbered: dict[int, list[Any]] = {}

    def visit(place: str, item: Any) -> None:
        parents = place.split("/")[:-1]
        if not isinstance(item, h5py.Dataset) or parents[:1] in (["optimizer_weights"], []):
            return
        # Keras 3 numbers its groups and keeps the layer's own name as an attribute; its first
        # versions kept the number only; before that the name is in the path.
        given = item.parent.attrs.get("name")
        name = next((part for part in (str(given), *parents) if part in shapes), None)
        number = _NUMBERED.fullmatch(place)
        if name is not None:
            found.setdefault(name, []).append(item)
        elif number is not None and given is None:
            numbered.setdefault(int(number[1] or 0), []).append(item)

    try:
        with path.open("rb") as stream:
            signature = stream.read(8)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise WeightsError(f"{asked} cannot be read ({why}): check the path.") from error
    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)  # This follows no link out of the file.
            in_order = (numbered[key] for key in sorted(numbered))
            layers = found or dict(zip(shapes, in_order, strict=False))
            return {name: _pair(asked, name, layers.get(name), shapes[name]) for name in shapes}
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        broken = "is cut short or damaged" if signature == b"\x89HDF\r\n\x1a\n" else "is not HDF5"
        problem = broken if signature else "is empty"
        raise WeightsError(f"{asked} {problem}: choose a whole Keras .h5 file.") from error


def _pair(asked: str, name: str, items: list[Any] | None, shape: tuple[int, ...]) -> Pair:
    """Read a layer's kernel and bias, checked first: no file can fill the memory."""
    layer, advice = f"{asked}: layer {name!r}", "choose a file with the weights of a VGG19."
    if items is None or len(items) != 2:
        count = f"has {len(items)} arrays, not a kernel and a bias" if items else "is missing"
        raise WeightsError(f"{layer} {count}: {advice}")
    # Files of every age name the two differently, but a kernel has more axes than a bias.
    kernel, bias = sorted(items, key=lambda item: -item.ndim)
    arrays = []
    for part, item, wanted in (("kernel", kernel, shape), ("bias", bias, shape[-1:])):
        if item.shape != wanted:
            raise WeightsError(
                f"{layer} has a {part} of shape {item.shape} where VGG19 has {wanted}: {advice}"
            )
        if item.dtype.kind != "f" or item.external or item.is_virtual:
            raise WeightsError(f"{layer} has a {part} that is no array of floats: {advice}")
        array = item[()].astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise WeightsError(f"{layer} has a {part} with NaN or infinite values: {advice}")
        array.flags.writeable = False
        arrays.append(array)
    return arrays[0], arrays[1]

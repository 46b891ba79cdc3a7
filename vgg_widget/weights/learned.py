"""Filters learned without labels: the ones that the package ships, and a person's own file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights.arrays import Arrays, WeightsError
from vgg_widget.weights.learned_weights import LearnedWeights

EMBEDDED = "vgg19_kmeans.npz"
"""The shipped file's name, in the folder ``vgg_widget/data``."""


def embedded_path() -> Path:
    """Return where the shipped filters lie."""
    return Path(str(resources.files("vgg_widget") / "data" / EMBEDDED))


def read_embedded() -> tuple[Arrays, Provenance]:
    """Return the shipped filters, and what they are in words."""
    return _read(embedded_path(), "kmeans", "k-means filters")


def read_learned(path: Path) -> tuple[Arrays, Provenance]:
    """Return the filters that `learn_weights` made and `LearnedWeights.save` wrote.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or does not hold all of VGG19's convolutions.
    """
    return _read(path, "file", f"k-means filters {path.name}")


def _read(path: Path, source: str, label: str) -> tuple[Arrays, Provenance]:
    asked = f"weights {str(path)!r}"
    try:
        learned = LearnedWeights.load(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{asked} cannot be read: {error}") from error
    # Before they are multiplied: two thin factors can make a matrix of any size.
    shapes = {name: part.kernel_shape for name, part in learned.layers.items()}
    for name, shape in vgg19_kernel_shapes().items():
        if shapes.get(name) != shape:
            came = shapes.get(name, "nothing")
            raise WeightsError(
                f"{asked} has {came} for layer {name!r} where VGG19 has {shape}: learn all layers."
            )
    needed = LearnedWeights({name: learned.layers[name] for name in vgg19_kernel_shapes()})
    # What overflows is refused as what is not finite.
    with np.errstate(all="ignore"):
        arrays = needed.kernels()
    for name, parts in arrays.items():
        if not all(np.isfinite(part).all() for part in parts):
            raise WeightsError(
                f"{asked} has NaN or infinite values in layer {name!r}: learn its layers anew."
            )
    found = learned.metadata.get("photographs")
    count = found if isinstance(found, int) else "some"
    message = (
        f"These filters were learned without labels from {count} photographs: they were not "
        "trained to recognise anything, and are not ImageNet weights."
    )
    full = f"{label} (learned without labels from {count} photographs)"
    return arrays, Provenance(source, full, str(path), learned.digest, message)

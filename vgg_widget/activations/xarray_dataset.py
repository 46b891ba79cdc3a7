"""Feature maps as an xarray Dataset, with image coordinates along their axes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import LayerInfo

if TYPE_CHECKING:
    import xarray


def as_dataset(
    layers: Sequence[LayerInfo],
    maps: Mapping[str, npt.NDArray[np.float32]],
    weights: str,
    image: str = "",
) -> xarray.Dataset:
    """Return a Dataset with one variable per layer; see `Activations.to_xarray`."""
    try:
        import xarray as xr
    except ImportError as error:
        raise ImportError(
            "to_xarray() needs xarray, which is not installed: "
            "run pip install 'vgg-widget[xarray]'."
        ) from error
    names = netcdf_names(info.name for info in layers)
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for info in layers:
        name = names[info.name]
        row, column, channel = (f"{name}_{axis}" for axis in _AXES)
        height, width, channels = maps[info.name].shape
        about = {
            "layer": info.name,
            "weights": weights,
            "kind": info.kind,
            "torch_name": info.torch_name,
            "stride": info.stride,
            "receptive_field": info.receptive_field,
        }
        variables[name] = (row, column, channel), maps[info.name], _given(about)
        center = "the receptive field" if info.receptive_field is not None else "the unit's place"
        pixels = {"units": "pixel", "long_name": f"centre of {center} in the input image"}
        coordinates |= {
            row: (row, [info.field_center(index, 0)[0] for index in range(height)], pixels),
            column: (column, [info.field_center(0, index)[1] for index in range(width)], pixels),
            channel: np.arange(channels),
        }
    return xr.Dataset(variables, coordinates, _given({"weights": weights, "image": image or None}))


_AXES = ("row", "column", "channel")

# Characters not allowed in a netCDF name: slashes (which separate groups) and control characters
# anywhere, most punctuation at the start, and spaces at the end.
_INVALID = re.compile(r"[/\x00-\x1f\x7f]|^(?=[^0-9A-Za-z_\x80-\U0010ffff]|$)|\s+$")


def netcdf_names(layers: Iterable[str]) -> dict[str, str]:
    """Return a valid netCDF variable name for each layer.

    Underscores replace characters that netCDF does not allow. Where two variables or dimensions
    would share a name, a number is appended to the second.
    """
    fit = {layer: _INVALID.sub("_", unicodedata.normalize("NFC", layer)) for layer in layers}
    names: dict[str, str] = {}
    taken: set[str] = set()
    # Valid names come first, so that a layer's own name is never given to another layer.
    for layer in sorted(fit, key=lambda layer: fit[layer] != layer):
        name, number = fit[layer], 1
        while not taken.isdisjoint(wanted := {name, *(f"{name}_{axis}" for axis in _AXES)}):
            number += 1
            name = f"{fit[layer]}_{number}"
        names[layer] = name
        taken |= wanted
    return names


def _given(attributes: dict[str, Any]) -> dict[str, Any]:
    # netCDF attributes cannot be None.
    return {name: value for name, value in attributes.items() if value is not None}

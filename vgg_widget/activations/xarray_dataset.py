"""Feature maps as an xarray Dataset: arrays whose axes know where in the image they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    name: str = "",
) -> xarray.Dataset:
    """Return one variable a layer; see `Activations.to_xarray`.

    Parameters
    ----------
    layers : sequence of LayerInfo
        In network order.
    maps : mapping of str to ndarray of float32, shape (H, W, C)
        By layer name.
    weights : str
        The label of the weights that computed them.
    name : str
        The image's path; empty where it has none.

    Raises
    ------
    ImportError
        If xarray is not installed.
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise ImportError(
            "to_xarray() needs xarray, which is not installed: "
            "run pip install 'vgg-widget[xarray]'."
        ) from error
    arrays = {info.name: _array(xr, info, maps[info.name], weights) for info in layers}
    return xr.Dataset(arrays, attrs=_known({"weights": weights, "image": name or None}))


def _array(
    xr: Any, info: LayerInfo, maps: npt.NDArray[np.float32], weights: str
) -> xarray.DataArray:
    height, width, channels = maps.shape
    row, column, channel = (f"{info.name}_{axis}" for axis in ("row", "column", "channel"))
    pixels = {"units": "pixel", "long_name": "centre of the receptive field in the input image"}
    if info.receptive_field is None:
        pixels["long_name"] = "centre of the unit's place in the input image"
    down = [info.field_center(index, 0)[0] for index in range(height)]
    across = [info.field_center(0, index)[1] for index in range(width)]
    array: xarray.DataArray = xr.DataArray(
        maps,
        dims=(row, column, channel),
        coords={
            row: (row, down, pixels),
            column: (column, across, pixels),
            channel: np.arange(channels),
        },
        attrs=_known(
            {
                "weights": weights,
                "kind": info.kind,
                "torch_name": info.torch_name,
                "stride": info.stride,
                "receptive_field": info.receptive_field,
            }
        ),
    )
    return array


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    # netCDF files hold no None.
    return {name: value for name, value in attributes.items() if value is not None}

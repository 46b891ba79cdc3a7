"""The positions of a layer's units on the input, for a page's scripts."""

from __future__ import annotations

from typing import Any

from vgg_widget.activations.mapping import Activations


def unit_places(activations: Activations, layer: str) -> dict[str, Any]:
    """Return a layer's units: their positions, what each sees, and the nearest one to a pixel.

    Parameters
    ----------
    activations : Activations
        The activations of an image.
    layer : str
        Any name of the layer.

    Returns
    -------
    dict
        ``placement``: left, top, and the steps along a row and down a column, in input pixels.
        ``fields``: first pixel and last pixel + 1 that each row and each column of units sees;
        empty if that is not defined. ``units``: the nearest row of units for each row of the
        input, and the nearest column for each column.
    """
    rows, columns, _ = activations.shape(layer)
    height, width = activations.image.shape[:2]
    info = activations.info(layer)
    fields: dict[str, Any] = {}
    if info.receptive_field is not None:
        down = [info.receptive_field_box(row, 0, (height, width)) for row in range(rows)]
        across = [info.receptive_field_box(0, at, (height, width)) for at in range(columns)]
        fields = {
            "rows": [[top, bottom] for top, _, bottom, _ in down],
            "columns": [[left, right] for _, left, _, right in across],
        }
    place = info.placement
    return {
        "placement": [place.left, place.top, place.column_step, place.row_step],
        "fields": fields,
        "units": info.units_along((height, width), (rows, columns)),
    }

"""`StrongestImages`, the top images of a layer's channels, and `SeenImages`, the whole set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.dataset.summary import Floats, Ints, Summary
from vgg_widget.layers import LayerInfo


@dataclass(frozen=True, slots=True, eq=False)
class SeenImages:
    """The images of a set, usable or not.

    Parameters
    ----------
    names : tuple of str
        The images' names, in order.
    paths : tuple of str
        Absolute paths of their files; empty for images in memory.
    sizes : ndarray of int32, shape (images, 4)
        Height and width as seen by the network, then original height and width; 0 for an unusable
        image.
    digests : ndarray of uint8, shape (images, 32)
        SHA-256 of each file, or of the pixels of an image in memory.
    failed : mapping of str to str
        The reasons why images are unusable, by name.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: Ints
    digests: npt.NDArray[np.uint8]
    failed: Mapping[str, str]

    def __post_init__(self) -> None:
        _make_read_only(self)


@dataclass(frozen=True, slots=True, eq=False)
class StrongestImages:
    """The strongest images of each channel of a layer, and statistics over the whole set.

    The statistic is one number per image and channel; see `TopActivations`. Arrays are read-only.

    Parameters
    ----------
    layer : LayerInfo
        Name and geometry.
    values : ndarray of float32, shape (C, n)
        The largest statistics in descending order; n is k or the number of usable images, if
        smaller. NaN where a channel has fewer finite values.
    images : ndarray of int32, shape (C, n)
        The images they belong to, as positions in ``top.images``; -1 where there is none.
    rows, columns : ndarray of int32, shape (C, n)
        Location of the map's maximum; of several equal maxima, the first in row-major order.
    boxes : ndarray of int32, shape (C, n, 4), or None
        The receptive field of that location: (top, left, bottom, right) in pixels of the network's
        input, half open. None where it is not defined.
    histogram : ndarray of int32, shape (C, bins)
        Number of images per bin of the statistic. ``top.histogram_edges`` are the inner bin edges;
        the first and last bins are open.
    mean : ndarray of float64, shape (C,)
        Mean of the statistic; NaN where no value is finite.
    fraction_active : ndarray of float64, shape (C,)
        Share of the counted images whose map is above 0 anywhere.
    counted : ndarray of int32, shape (C,)
        Number of images whose statistic is finite. Everything above refers to these images.
    """

    layer: LayerInfo
    values: Floats
    images: Ints
    rows: Ints
    columns: Ints
    boxes: Ints | None
    histogram: Ints
    mean: npt.NDArray[np.float64]
    fraction_active: npt.NDArray[np.float64]
    counted: Ints

    def __post_init__(self) -> None:
        _make_read_only(self)

    def places(self, channel: int) -> Ints:
        """Return a channel's strongest images as positions in ``top.images``, strongest first.

        Raises
        ------
        IndexError
            If there is no such channel.
        """
        integer = isinstance(channel, int | np.integer) and not isinstance(channel, bool)
        if not integer or not 0 <= channel < len(self.images):
            raise IndexError(
                f"channel {channel!r} is not in layer {self.layer.name!r}: choose a whole number "
                f"from 0 to {len(self.images) - 1}."
            )
        row: Ints = self.images[channel]
        return row[row >= 0]


def _make_read_only(owner: Any) -> None:
    for each in fields(owner):
        if isinstance(array := getattr(owner, each.name), np.ndarray):
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(owner, each.name, view)


def strongest_of(
    summary: Summary, channels: slice, info: LayerInfo, info_on: Callable[[Any], LayerInfo]
) -> StrongestImages:
    """Extract one layer, these channels, from a summary; `info_on` returns its geometry by size."""
    images = summary.images[channels]
    rows, columns = summary.rows[channels], summary.columns[channels]
    counted = summary.counted[channels]
    there = images >= 0
    with np.errstate(invalid="ignore"):
        mean = summary.total[channels] / counted
        active = summary.active[channels] / counted
    boxes = None
    if info.receptive_field is not None:
        boxes = np.zeros((*images.shape, 4), np.int32)
        # Many channels have their maximum at the same few locations, so compute each box once.
        units = [summary.sizes[images[there], :2], rows[there], columns[there]]
        each, which = np.unique(np.column_stack(units), axis=0, return_inverse=True)
        made = [
            info_on((height, width)).receptive_field_box(row, column, (height, width))
            for height, width, row, column in each.tolist()
        ]
        boxes[there] = np.array(made, np.int32).reshape(-1, 4)[which.ravel()]
    return StrongestImages(
        info,
        np.where(there, summary.values[channels], np.float32(np.nan)),
        images,
        rows,
        columns,
        boxes,
        summary.histogram[channels],
        mean,
        active,
        counted,
    )

"""VGG19's receptive fields, compared with the units that change with each pixel.

With kernels above 0 and no biases, a black image leaves every unit at 0, and lighting a pixel
changes exactly the units that see it: nothing cancels out, and no pool hides the change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgg_widget import FeatureExtractor, LayerInfo

Bools = npt.NDArray[np.bool_]
Size = tuple[int, int]

# The second is no multiple of 32, and its width is odd.
SIZES = [pytest.param((224, 224), marks=pytest.mark.slow), (100, 83)]
# Three corners, a pixel on a border, and two pixels that are on no layer's grid.
PIXELS = [(0, 0), (0, -1), (-1, 0), (0, 41), (37, 50), (98, 82)]


def positive_copy(network: Any, filters: int | None = None) -> Any:
    """Copy a network with absolute weights and no biases, or fewer filters and weights of 1."""
    import keras

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        if filters and "filters" in config:
            config["filters"] = filters
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=copied)
    for layer in copy.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            own = np.ones_like(kernel) if filters else np.abs(network.get_layer(layer.name).kernel)
            layer.set_weights([own, np.zeros_like(bias)])
    return copy


def changed_units(network: Any, images: npt.NDArray[np.float32]) -> list[Bools]:
    """Return which units are not 0: for each layer, (images, rows, columns)."""
    return [np.asarray(np.any(maps, axis=-1)) for maps in network(images)]


def spans(info: LayerInfo, units: Size, size: Size) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return first pixel and last pixel + 1 of each row's box, and of each column's."""
    rows = [info.receptive_field_box(row, 0, size)[::2] for row in range(units[0])]
    columns = [info.receptive_field_box(0, column, size)[1::2] for column in range(units[1])]
    return np.array(rows), np.array(columns)


@pytest.mark.parametrize("size", SIZES)
def test_each_box_has_exactly_the_pixels_that_change_the_unit(
    extractor: FeatureExtractor, size: Size
) -> None:
    thin = positive_copy(extractor.model, filters=1)
    for axis in (0, 1):
        # In image i, all of row (or column) i is lit.
        images = np.zeros((size[axis], *size, 3), np.float32)
        np.moveaxis(images, axis + 1, 1)[range(size[axis]), range(size[axis])] = 1
        parts = [changed_units(thin, part) for part in np.array_split(images, 7)]
        for info, *found in zip(extractor.layers, *parts, strict=True):
            moved = np.concatenate(found)
            units = moved.shape[1:]
            along = np.moveaxis(moved, axis + 1, 1)
            assert (along == along[..., :1]).all(), info.name  # the same along the lit line
            for index in range(units[axis]):
                seen = np.flatnonzero(along[:, index, 0])
                for other in {0, units[1 - axis] // 2, units[1 - axis] - 1}:
                    row, column = (index, other) if axis == 0 else (other, index)
                    box = info.receptive_field_box(row, column, size)
                    lit = np.arange(box[axis], box[axis + 2])
                    assert seen.tolist() == lit.tolist(), (info.name, row, column)


@pytest.mark.parametrize("size", SIZES)
def test_a_pixel_changes_the_units_whose_box_holds_it(
    extractor: FeatureExtractor, size: Size
) -> None:
    network = positive_copy(extractor.model)
    for y, x in PIXELS:
        image = np.zeros((1, *size, 3), np.float32)
        image[0, y, x] = 1
        y, x = y % size[0], x % size[1]  # noqa: PLW2901 - negative indices
        for info, (moved,) in zip(extractor.layers, changed_units(network, image), strict=True):
            rows, columns = spans(info, moved.shape, size)
            down = (rows[:, 0] <= y) & (y < rows[:, 1])
            across = (columns[:, 0] <= x) & (x < columns[:, 1])
            np.testing.assert_array_equal(moved, down[:, None] & across, err_msg=info.name)


@pytest.mark.parametrize("size", SIZES)
def test_the_nearest_unit_changes_with_the_pixel(extractor: FeatureExtractor, size: Size) -> None:
    thin = positive_copy(extractor.model, filters=1)
    for y, x in PIXELS[-2:]:
        image = np.zeros((1, *size, 3), np.float32)
        image[0, y, x] = 1
        for info, (moved,) in zip(extractor.layers, changed_units(thin, image), strict=True):
            rows, columns = np.nonzero(moved)
            # Every map covers these pixels, and fields that no border cuts are symmetric. So the
            # nearest unit is in the middle of those that change.
            row, column = info.unit_at(y, x, moved.shape)
            assert moved[row, column], info.name
            if rows.min() > 0 and rows.max() < moved.shape[0] - 1:
                assert abs(row - (rows.min() + rows.max()) / 2) <= 0.5, info.name
            if columns.min() > 0 and columns.max() < moved.shape[1] - 1:
                assert abs(column - (columns.min() + columns.max()) / 2) <= 0.5, info.name


@pytest.mark.parametrize("layer", ["block1_conv2", "block3_conv4", "block5_pool"])
def test_with_random_weights_no_pixel_outside_the_box_counts(
    extractor: FeatureExtractor, layer: str
) -> None:
    size = (100, 83)
    (info,) = (info for info in extractor.layers if info.name == layer)
    index = list(extractor.layers).index(info)
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(1, *size, 3)).astype(np.float32)
    units = (size[0] // info.stride, size[1] // info.stride)
    for row, column in {(0, 0), (units[0] // 2, units[1] // 2), (units[0] - 1, units[1] - 1)}:
        top, left, bottom, right = info.receptive_field_box(row, column, size)
        other = 100 * rng.normal(size=plain.shape).astype(np.float32)
        other[:, top:bottom, left:right] = plain[:, top:bottom, left:right]
        inside = plain.copy()
        inside[:, top:bottom, left:right] += 100
        values = [
            np.asarray(extractor._network.forward(image)[index])[0, row, column]  # type: ignore[attr-defined]
            for image in (plain, other, inside)
        ]
        scale = np.abs(values[0]).max()
        # Some algorithms for convolutions share rounding errors between neighbouring values.
        np.testing.assert_allclose(values[0], values[1], rtol=0, atol=1e-3 * scale)
        assert np.abs(values[0] - values[2]).max() > 0.1 * scale

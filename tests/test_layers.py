"""Tests of layer geometry against published values and a walk back through the layers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_widget import LayerInfo
from vgg_widget.layers import VGG19_LAYERS

# Name, torchvision's name, channels, stride, receptive field, centre of unit 0: as published.
FACTS = [
    ("block1_conv1", "features.0", 64, 1, 3, 0.0),
    ("block1_conv2", "features.2", 64, 1, 5, 0.0),
    ("block1_pool", "features.4", 64, 2, 6, 0.5),
    ("block2_conv1", "features.5", 128, 2, 10, 0.5),
    ("block2_conv2", "features.7", 128, 2, 14, 0.5),
    ("block2_pool", "features.9", 128, 4, 16, 1.5),
    ("block3_conv1", "features.10", 256, 4, 24, 1.5),
    ("block3_conv2", "features.12", 256, 4, 32, 1.5),
    ("block3_conv3", "features.14", 256, 4, 40, 1.5),
    ("block3_conv4", "features.16", 256, 4, 48, 1.5),
    ("block3_pool", "features.18", 256, 8, 52, 3.5),
    ("block4_conv1", "features.19", 512, 8, 68, 3.5),
    ("block4_conv2", "features.21", 512, 8, 84, 3.5),
    ("block4_conv3", "features.23", 512, 8, 100, 3.5),
    ("block4_conv4", "features.25", 512, 8, 116, 3.5),
    ("block4_pool", "features.27", 512, 16, 124, 7.5),
    ("block5_conv1", "features.28", 512, 16, 156, 7.5),
    ("block5_conv2", "features.30", 512, 16, 188, 7.5),
    ("block5_conv3", "features.32", 512, 16, 220, 7.5),
    ("block5_conv4", "features.34", 512, 16, 252, 7.5),
    ("block5_pool", "features.36", 512, 32, 268, 15.5),
]


def test_the_layers_are_vgg19s_in_network_order() -> None:
    found = [
        (info.name, info.torch_name, info.channels, info.stride, info.receptive_field, info.center)
        for info in VGG19_LAYERS
    ]
    assert found == FACTS
    assert [info.kind for info in VGG19_LAYERS] == [
        "pool" if name.endswith("pool") else "conv" for name, *_ in FACTS
    ]
    assert [info.block for info in VGG19_LAYERS] == [name.split("_")[0] for name, *_ in FACTS]


def reach_back(name: str, unit: int, pixels: int) -> tuple[int, int]:
    """Return the range of input pixels along one axis that reach a unit, layer by layer."""
    names = [fact[0] for fact in FACTS]
    walk = names[: names.index(name) + 1]
    lengths = [pixels]
    for step in walk:
        lengths.append(lengths[-1] // 2 if step.endswith("pool") else lengths[-1])
    reached = {unit}
    for step, length in zip(reversed(walk), reversed(lengths[:-1]), strict=True):
        offsets = (0, 1) if step.endswith("pool") else (-1, 0, 1)
        factor = 2 if step.endswith("pool") else 1
        wide = {factor * index + offset for index in reached for offset in offsets}
        # Positions beyond the border are padding, not pixels.
        reached = {index for index in wide if 0 <= index < length}
    return min(reached), max(reached) + 1


@given(st.data())
def test_receptive_field_box_holds_exactly_the_pixels_that_reach_the_unit(
    data: st.DataObject,
) -> None:
    info = data.draw(st.sampled_from(VGG19_LAYERS))
    height, width = data.draw(st.tuples(st.integers(32, 400), st.integers(32, 400)))
    row = data.draw(st.integers(0, height // info.stride - 1))
    column = data.draw(st.integers(0, width // info.stride - 1))
    top, bottom = reach_back(info.name, row, height)
    left, right = reach_back(info.name, column, width)
    assert info.receptive_field_box(row, column, (height, width)) == (top, left, bottom, right)


@pytest.mark.parametrize("size", [(224, 224), (64, 75), (255, 33)])
def test_receptive_field_box_of_the_units_in_the_corners(size: tuple[int, int]) -> None:
    for info in VGG19_LAYERS:
        last = (size[0] // info.stride - 1, size[1] // info.stride - 1)
        for row, column in ((0, 0), (0, last[1]), (last[0], 0), last):
            rows, columns = (
                reach_back(info.name, row, size[0]),
                reach_back(info.name, column, size[1]),
            )
            expected = (rows[0], columns[0], rows[1], columns[1])
            assert info.receptive_field_box(row, column, size) == expected, info.name


def test_a_map_covers_less_than_the_image_where_pools_round_down() -> None:
    pool = VGG19_LAYERS[-1]
    assert pool.covered(2, 2) == (64, 64)  # of an image of 64×75 pixels
    assert VGG19_LAYERS[0].covered(64, 75) == (64, 75)


@pytest.mark.parametrize(
    ("row", "column", "wrong"), [(16, 0, "row 16"), (0, 18, "column 18"), (-1, 0, "row -1")]
)
def test_a_unit_outside_the_map_is_refused(row: int, column: int, wrong: str) -> None:
    info = next(info for info in VGG19_LAYERS if info.name == "block3_conv1")
    with pytest.raises(ValueError, match=rf"{wrong} .*block3_conv1.*64×75.*0 to"):
        info.receptive_field_box(row, column, (64, 75))  # 16×18 units


@pytest.mark.parametrize("row", [0.5, 2.0, "3", True, None])
def test_a_unit_is_a_whole_number(row: Any) -> None:
    info = next(info for info in VGG19_LAYERS if info.name == "block3_conv1")
    with pytest.raises(ValueError, match=r"^row .* not one of the 16 units .* choose a whole"):
        info.receptive_field_box(row, 0, (64, 75))


def test_a_layer_without_a_receptive_field_says_so() -> None:
    info = LayerInfo("attention", None, "attention", 8, 4)
    with pytest.raises(ValueError, match=r"'attention' is not defined.*choose a layer"):
        info.receptive_field_box(0, 0, (64, 64))


# Beyond the border, and from the image to the map -------------------------------------------------


@given(st.data())
def test_the_whole_box_clipped_to_the_image_is_the_box(data: st.DataObject) -> None:
    info = data.draw(st.sampled_from(VGG19_LAYERS))
    height, width = data.draw(st.tuples(st.integers(32, 400), st.integers(32, 400)))
    row = data.draw(st.integers(0, height // info.stride - 1))
    column = data.draw(st.integers(0, width // info.stride - 1))
    whole = info.whole_box(row, column)
    assert whole is not None
    top, left, bottom, right = whole
    assert (bottom - top, right - left) == (info.receptive_field, info.receptive_field)
    assert info.field_center(row, column) == ((top + bottom - 1) / 2, (left + right - 1) / 2)
    clipped = (max(top, 0), max(left, 0), min(bottom, height), min(right, width))
    assert clipped == info.receptive_field_box(row, column, (height, width))


def test_the_whole_box_of_a_corner_reaches_beyond_the_image() -> None:
    info = next(info for info in VGG19_LAYERS if info.name == "block3_conv1")
    assert info.whole_box(0, 0) == (-10, -10, 14, 14)  # 24 pixels around 1.5
    assert info.whole_box(15, 2) == (50, -2, 74, 22)
    assert info.field_center(15, 2) == (61.5, 9.5)


@given(st.data())
def test_unit_at_is_the_unit_centred_nearest(data: st.DataObject) -> None:
    name, _, _, stride, _, center = data.draw(st.sampled_from(FACTS))
    info = next(info for info in VGG19_LAYERS if info.name == name)
    rows, columns = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    # Half pixels include every tie; points may lie far outside the image.
    y, x = (data.draw(st.integers(-400, 1400)) / 2 for _ in range(2))
    distances = {
        (row, column): (row * stride + center - y) ** 2 + (column * stride + center - x) ** 2
        for row in range(rows)
        for column in range(columns)
    }
    assert info.unit_at(y, x, (rows, columns)) == min(distances, key=distances.__getitem__)


def test_unit_at_a_units_centre_is_that_unit() -> None:
    for info in VGG19_LAYERS:
        for row, column in ((0, 0), (3, 5), (6, 6)):
            assert info.unit_at(*info.field_center(row, column), (7, 7)) == (row, column)


def test_without_a_receptive_field_the_units_position_is_used() -> None:
    info = LayerInfo("attention", None, "attention", 8, 4)
    assert info.whole_box(2, 3) is None
    assert info.field_center(2, 3) == (9.5, 13.5)  # units of 4 pixels, from the corner at -0.5
    assert info.unit_at(11.4, 11.6, (16, 16)) == (2, 3)
    assert info.unit_at(-20, 900, (16, 16)) == (0, 15)
    with pytest.raises(ValueError, match=r"shape \(0, 4\) has no units: pass the rows"):
        info.unit_at(0, 0, (0, 4))

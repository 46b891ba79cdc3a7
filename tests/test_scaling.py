"""Display ranges: normalisation, the top of a range, clipping, and the named scales."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vgg_widget.activations.channel_statistics import top_of
from vgg_widget.pictures.scaling import DisplayRange, Scale, as_scale, range_up_to

Floats = npt.NDArray[np.float32]

ACTIVATIONS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=8),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)
TOPS = st.floats(2**-60, 1e6, width=32)
GAMMAS = st.floats(0.125, 8, width=32)


@given(ACTIVATIONS, TOPS, GAMMAS, st.booleans())
def test_normalised_values_lie_in_the_colormap_and_keep_their_order(
    values: Floats, top: float, gamma: float, signed: bool
) -> None:
    kept = values.copy()
    unit = range_up_to(top, signed=signed, gamma=gamma).normalise(values)
    assert unit.dtype == np.float32
    assert unit.shape == values.shape
    assert ((unit >= 0) & (unit <= 1)).all()
    assert (np.diff(unit.ravel()[np.argsort(values, axis=None, kind="stable")]) >= 0).all()
    np.testing.assert_array_equal(values, kept)


@given(ACTIVATIONS, TOPS, GAMMAS)
def test_normalise_is_the_power_of_the_share_of_the_range(
    values: Floats, top: float, gamma: float
) -> None:
    share = np.clip(values.astype(np.float64) / top, 0, 1) ** gamma
    unit = DisplayRange(0.0, top, gamma).normalise(values)
    np.testing.assert_allclose(unit, share, rtol=1e-5, atol=1e-6)


@given(TOPS, GAMMAS)
def test_zero_is_the_middle_of_a_symmetric_range_and_the_bottom_of_one_from_zero(
    top: float, gamma: float
) -> None:
    zero = np.zeros(1, np.float32)
    assert range_up_to(top, signed=True, gamma=gamma).normalise(zero)[0] == 0.5
    assert range_up_to(top, signed=False, gamma=gamma).normalise(zero)[0] == 0.0


@given(st.floats(2**-7, 1, width=32), TOPS, GAMMAS)
def test_a_symmetric_range_treats_both_signs_alike(share: float, top: float, gamma: float) -> None:
    value = np.float32(share * top)
    limits = range_up_to(top, signed=True, gamma=gamma)
    up, down = limits.normalise(np.array([value, -value], np.float32))
    assert up - 0.5 == pytest.approx(0.5 - down, abs=1e-6)
    # The upper half has the same gamma curve as a range from 0 to the top.
    assert up == pytest.approx(0.5 + 0.5 * (value / top) ** gamma, abs=1e-4)


@pytest.mark.parametrize("level", [0.0, 3.0, -3.0])
def test_an_empty_range_gives_zeros_not_nan(level: float) -> None:
    values = np.array([[-1, 0], [1, 1e30]], np.float32)
    np.testing.assert_array_equal(DisplayRange(level, level).normalise(values), np.zeros((2, 2)))


@given(ACTIVATIONS, st.floats(0.1, 100))
def test_the_top_is_numpys_percentile_of_the_positive_values(
    values: Floats, percentile: float
) -> None:
    positive = [float(value) for value in values.ravel() if value > 0]
    expected = np.percentile(positive, percentile) if positive else 0.0
    assert top_of(values, percentile) == pytest.approx(expected, rel=1e-5)


def test_the_top_of_known_numbers() -> None:
    # The positive values are 1 to 5, whose 75th percentile is 4; zeros and the -7 do not count.
    values = np.array([0, 5, 0, 3, -7, 1, 2, 4, 0], np.float32)
    assert top_of(values, 75) == 4.0
    assert top_of(values, 100) == 5.0
    assert top_of(-np.abs(values), 100) == 0.0


def test_clipped_tells_which_ends_are_passed() -> None:
    limits = DisplayRange(-1.0, 1.0)
    assert limits.clipped(np.array([-1, 1], np.float32)) == (False, False)
    assert limits.clipped(np.array([-1.5, 1], np.float32)) == (True, False)
    assert limits.clipped(np.array([-1, 1.5], np.float32)) == (False, True)
    third = np.float32(1 / 3)
    assert DisplayRange(0.0, float(third)).clipped(np.array([third])) == (False, False)


def test_the_named_scales() -> None:
    assert as_scale("channel") == Scale("channel", percentile=100)
    for name in ("layer", "network"):
        assert as_scale(name).scope == name
        assert 99 <= as_scale(name).percentile < 100
        assert as_scale(name).gamma == 1
    own = Scale("network", 50, 0.5)
    assert as_scale(own) is own


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("chanel", r"scale 'chanel' .*did you mean 'channel'"),
        ("xyz", r"scale 'xyz' .*'channel', 'layer', 'network'"),
        (None, r"scale None .*'channel', 'layer', 'network'"),
        (3, r"scale 3 "),
    ],
)
def test_an_unknown_scale_is_named_with_the_nearest(scale: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_scale(scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("percentile", [0, -1, 100.5, math.nan])
def test_a_percentile_outside_its_domain_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match=r"percentile .*more than 0 and at most 100"):
        Scale("layer", percentile=percentile)


@pytest.mark.parametrize("gamma", [0, -1, math.inf, math.nan])
def test_a_gamma_outside_its_domain_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"gamma .*not positive"):
        Scale("layer", gamma=gamma)


def test_a_scope_outside_its_domain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale 'layers' .*'layer'"):
        Scale("layers")


@pytest.mark.parametrize("percentile", [0.001, 1, 50, 75, 99, 99.9, 99.999, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 1_000, 300_000])
def test_the_top_of_many_values_is_numpys_too(size: int, percentile: float) -> None:
    random = np.random.default_rng(size)
    normal = random.standard_normal(size).astype(np.float32)
    kinds = (normal, np.abs(normal), np.maximum(normal, 0) ** 4, np.round(normal * 2), -(normal**2))
    for values in kinds:
        positive = values[values > 0]
        expected = np.percentile(positive.astype(np.float64), percentile) if positive.size else 0
        assert top_of(values, percentile) == pytest.approx(expected, rel=1e-6)


def test_nan_hides_no_clipping() -> None:
    values = np.array([0, 5, np.nan], np.float32)
    assert DisplayRange(0.0, 1.0).clipped(values) == (False, True)
    assert top_of(np.zeros(0, np.float32), 99) == 0

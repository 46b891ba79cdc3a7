"""`Reach`: which input pixels the units of a map see along one axis, exactly.

Pure arithmetic. A `Reach` starts as the pixels themselves and is carried through one layer after
another; rows and columns are two of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Taps = Callable[[Ints], "tuple[Ints, npt.NDArray[np.bool_]]"]

# An interval that holds nothing: no pixel is so far away.
_NOWHERE = 1 << 40


@dataclass(frozen=True, eq=False)
class Reach:
    """Which input pixels each unit sees along one axis.

    Parameters
    ----------
    low, high : ndarray of int, shape (P,)
        First and last input coordinate that unit 0, 1, … P - 1 would see of an image without
        borders; unit ``i + P`` sees the same, `shift` pixels on. P is 1 unless something was
        enlarged on the way, after which neighbouring units may see the same pixels.
    shift : int
        Input pixels from unit ``i`` to unit ``i + P``.
    first, last : ndarray of int, shape (units,)
        First and last input pixel that each unit of this very map sees: borders, padding, cropping
        and what strides leave over at the end are taken into account. Where first > last a unit
        sees padding alone.

    Notes
    -----
    For a chain of convolutions and pools this is the arithmetic of Dumoulin & Visin
    (arXiv:1603.07285); for branches, that of Araujo, Norris & Sim, "Computing Receptive Fields of
    Convolutional Neural Networks" (Distill, 2019).
    """

    low: Ints
    high: Ints
    shift: int
    first: Ints
    last: Ints

    @classmethod
    def of_pixels(cls, count: int) -> Self:
        """Return what the input itself sees: each pixel is its own."""
        pixels = np.arange(count, dtype=np.int64)
        zero = np.zeros(1, np.int64)
        return cls(zero, zero, 1, pixels, pixels)

    @classmethod
    def union(cls, reaches: Sequence[Self]) -> Self | None:
        """Return what units see through several branches; None where their strides disagree."""
        one = reaches[0]
        if any(
            other.units != one.units or other.shift * len(one.low) != one.shift * len(other.low)
            for other in reaches
        ):
            return None
        period = math.lcm(*(len(reach.low) for reach in reaches))
        ends = [reach.beyond_borders(np.arange(period)) for reach in reaches]
        low = np.minimum.reduce([low for low, _ in ends])
        high = np.maximum.reduce([high for _, high in ends])
        first = np.minimum.reduce([reach.first for reach in reaches])
        last = np.maximum.reduce([reach.last for reach in reaches])
        shift = one.shift * period // len(one.low)
        return cls(*_shortest(low, high, shift), first, last)

    @property
    def units(self) -> int:
        """Number of units along the axis."""
        return len(self.first)

    @property
    def stride(self) -> float:
        """Input pixels from one unit to the next, on average; whole unless maps are enlarged."""
        return self.shift / len(self.low)

    @property
    def size(self) -> int:
        """Input pixels from the first to the last that a unit sees: the most, where they differ."""
        seen = self.high - self.low + 1
        return int(seen[self._sees()].max(initial=0))

    @property
    def center(self) -> float:
        """Input coordinate of the middle of what unit 0 sees, were there no border."""
        if not self._sees()[0]:
            return self.edge + self.stride / 2
        return float(self.low[0] + self.high[0]) / 2

    @property
    def edge(self) -> float:
        """Input coordinate at which the map begins when it is laid over the image."""
        middles = (self.low + self.high) / 2 - self.stride * np.arange(len(self.low))
        return float(middles[self._sees()].mean()) - self.stride / 2

    @property
    def spans(self) -> tuple[int, ...]:
        """First pixel and last pixel + 1 of each unit in turn; both 0 where it sees none."""
        sees = self.first <= self.last
        ends = np.stack([np.where(sees, self.first, 0), np.where(sees, self.last + 1, 0)], axis=-1)
        return tuple(ends.ravel().tolist())

    @property
    def whole(self) -> tuple[int, ...]:
        """The same of an image without borders, for as many units as differ."""
        ends = np.stack([np.where(self._sees(), end, 0) for end in (self.low, self.high + 1)], -1)
        return tuple(ends.ravel().tolist())

    def _sees(self) -> npt.NDArray[np.bool_]:
        return self.low <= self.high

    def window(
        self, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "valid"
    ) -> Self:
        """Carry it through a convolution or a pool.

        Parameters
        ----------
        kernel, stride, dilation : int
            Along this axis, in units.
        padding : str
            ``"valid"`` or ``"same"``. TensorFlow's ``"same"`` pads by what the number of units
            asks for, the odd one at the end, so that the result depends on the image's size.
        """
        wide = (kernel - 1) * dilation + 1
        before = 0
        units = (self.units - wide) // stride + 1
        if padding == "same":
            units = -(-self.units // stride)
            before = max((units - 1) * stride + wide - self.units, 0) // 2

        def taps(i: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
            return _all(i[:, None] * stride - before + dilation * np.arange(kernel))

        return self._through(taps, units, down=stride)

    def transposed(self, kernel: int, stride: int, dilation: int, padding: str, units: int) -> Self:
        """Carry it through a transposed convolution that makes this many units.

        A transposed convolution is a convolution's gradient: a unit sees the units that the
        convolution from its side would give its value to.
        """
        wide = (kernel - 1) * dilation + 1
        excess = (self.units - 1) * stride + wide - units
        before = max(excess, 0) // 2 if padding == "same" else 0

        def taps(i: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
            steps = i[:, None] + before - dilation * np.arange(kernel)
            return steps // stride, steps % stride == 0

        return self._through(taps, units, up=stride)

    def padded(self, before: int, after: int) -> Self:
        """Carry it through a border of zeros; negative numbers crop."""
        return self._through(lambda i: _all(i[:, None] - before), self.units + before + after)

    def resized(self, units: int, interpolation: str) -> Self:
        """Carry it through a resize to this many units, by ``"nearest"`` or ``"bilinear"``.

        Samples lie in the middle of units (half-pixel centres), without antialiasing, as in
        ``tf.image.resize``.
        """
        old, new = self.units, units

        def taps(i: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
            if interpolation == "nearest":
                return _all((2 * i[:, None] + 1) * old // (2 * new))
            place = (2 * i[:, None] + 1) * old - new
            # A sample that falls on a unit's middle takes nothing from its neighbour.
            both = np.concatenate([place // (2 * new), -(-place // (2 * new))], axis=1)
            return _all(both)

        return self._through(taps, units, down=old, up=new)

    def _through(self, taps: Taps, units: int, down: int = 1, up: int = 1) -> Self:
        """Carry it through a layer whose unit i sees the units ``taps(i)``, about i * down / up."""
        period = len(self.low) * up // math.gcd(down, len(self.low) * up)
        shift = self.shift * period * down // (up * len(self.low))
        low, high = _extremes(taps(np.arange(period)), self.beyond_borders)
        first, last = _extremes(taps(np.arange(max(0, units))), self._within_borders)
        return type(self)(*_shortest(low, high, shift), first, last)

    def beyond_borders(self, index: Ints) -> tuple[Ints, Ints]:
        """Return first and last input coordinates that units see of an image without borders."""
        turns, phase = np.divmod(index, len(self.low))
        return self.low[phase] + turns * self.shift, self.high[phase] + turns * self.shift

    def _within_borders(self, index: Ints) -> tuple[Ints, Ints]:
        inside = (index >= 0) & (index < self.units)
        index = np.where(inside, index, 0)
        first = np.where(inside, self.first[index], _NOWHERE)
        return first, np.where(inside, self.last[index], -_NOWHERE)


def _shortest(low: Ints, high: Ints, shift: int) -> tuple[Ints, Ints, int]:
    """Say the same with the shortest period, so that equal strides are seen to be equal."""
    period = len(low)
    index = np.arange(period)
    for short in range(1, period):
        if period % short or shift * short % period:
            continue
        step = shift * short // period
        turns = index // short * step
        if (low[index % short] + turns == low).all() and (
            high[index % short] + turns == high
        ).all():
            return low[:short], high[:short], step
    return low, high, shift


def _all(index: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    return index, np.ones(index.shape, bool)


def _extremes(
    taps: tuple[Ints, npt.NDArray[np.bool_]], look_up: Callable[[Ints], tuple[Ints, Ints]]
) -> tuple[Ints, Ints]:
    index, present = taps
    low, high = look_up(index)
    present = present & (low <= high)
    return (
        np.where(present, low, _NOWHERE).min(axis=1, initial=_NOWHERE),
        np.where(present, high, -_NOWHERE).max(axis=1, initial=-_NOWHERE),
    )

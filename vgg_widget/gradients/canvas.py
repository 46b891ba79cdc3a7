"""Images as sums of waves, optimised step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]

COLOR_COVARIANCE = np.array(
    [[3879.6, 3058.0, 2414.8], [3058.0, 3236.1, 3018.3], [2414.8, 3018.3, 3338.2]]
)
"""Covariance of red, green and blue over the pixels of photographs, in levels of 255.

The mean of the covariance matrices of five photographs: scikit-image's astronaut, coffee, chelsea
and rocket, and matplotlib's grace_hopper.
"""

RATE = 0.05
"""Default step length, in units of the waves' strengths, which start at 0.1."""

# Halfway from black to white.
_GREY = np.float32(127.5)
# Standard deviation of the initial strengths of waves, which gives a low-contrast image.
_START = 0.1
# Decay rates of the step's direction and length, by their names in Adam.
_BETA_1, _BETA_2 = 0.9, 0.9
# Avoids division by zero: without a gradient there is no step.
_TINY = np.float32(1e-30)


class Canvas:
    """Images of one size, parametrised by waves and by the colours of photographs.

    The parameters are the strengths of each wave in three colours that vary independently in
    photographs. A wave's amplitude is proportional to 1/f for frequency f, as in photographs (Field
    1987, "Relations between the statistics of natural images and the response properties of
    cortical cells"), so that a step changes large shapes more than fine grain. The optimiser is
    Adam (Kingma & Ba 2015, arXiv:1412.6980) with one step length for all of an image's waves: with
    a separate length for each, weak waves would grow as fast as strong ones.

    Parameters
    ----------
    seeds : sequence of sequence of int
        The seed of each initial image.
    size : (int, int)
        Height and width.
    rate : float
        Step length, in units of the waves' strengths.
    natural : bool
        Whether frequencies and colours follow photographs; otherwise pixels are independent.
    contrast : float or None
        Root mean square distance to grey, over `box` and the colours, before compression to the
        range from black to white. None leaves it free.
    box : (top, left, bottom, right) or None
        Half open; the whole image if None.
    """

    def __init__(
        self,
        seeds: Sequence[Sequence[int]],
        size: tuple[int, int],
        *,
        rate: float,
        natural: bool = True,
        contrast: float | None = None,
        box: Box | None = None,
    ) -> None:
        height, width = size
        across, down = np.fft.fftfreq(width), np.fft.fftfreq(height)[:, np.newaxis]
        # The mean colour, with frequency 0, is treated as the longest wave.
        frequency = np.maximum(np.hypot(across, down), 1 / max(size))
        amplitude = 1 / frequency if natural else np.ones(size)
        self._amplitude = (amplitude / np.sqrt(np.mean(amplitude**2))).astype(np.float32)
        values, vectors = np.linalg.eigh(COLOR_COVARIANCE)
        colors = vectors * np.sqrt(values) @ vectors.T
        if not natural:
            colors = np.eye(3) * np.sqrt(values.mean())
        self._colors = colors.astype(np.float32)
        top, left, bottom, right = box or (0, 0, *size)
        self._box = slice(None), slice(top, bottom), slice(left, right)
        self._contrast = contrast
        self._rate = rate
        self._strengths = np.stack(
            [np.random.default_rng(seed).normal(0, _START, (3, *size)) for seed in seeds]
        ).astype(np.float32)
        self._direction = np.zeros_like(self._strengths)
        self._length = np.zeros((len(seeds), 1, 1, 1), np.float32)
        self._steps = 0
        self._drawn: Floats | None = None

    def pictures(self) -> Floats:
        """Return the current images: RGB in 0–255, float32 of shape (N, H, W, 3)."""
        if self._drawn is None:
            planes = _hartley(self._strengths * self._amplitude)
            self._levels = np.moveaxis(planes, 1, -1) @ self._colors
            if self._contrast is not None:
                self._factor = np.float32(self._contrast) / _root_mean_square(
                    self._levels[self._box]
                )
                self._levels *= self._factor
            self._drawn = _GREY + _GREY * np.tanh(self._levels / _GREY)
        return self._drawn

    def step(self, gradients: Floats, share: float = 1.0) -> None:
        """Take a step, or a fraction of one, along the gradients with respect to the images."""
        along = gradients * (1 - np.square((self.pictures() - _GREY) / _GREY))
        if self._contrast is not None:
            # Remove the component of the gradient that only changes contrast.
            inside = self._levels[self._box]
            product = np.sum(along * self._levels, axis=(1, 2, 3), keepdims=True)
            along[self._box] -= inside * (
                product / np.sum(inside**2, axis=(1, 2, 3), keepdims=True)
            )
            along *= self._factor
        waves = _hartley(np.moveaxis(along @ self._colors.T, -1, 1)) * self._amplitude
        self._steps += 1
        square = np.mean(np.square(waves), axis=(1, 2, 3), keepdims=True)
        self._direction += np.float32(1 - _BETA_1) * (waves - self._direction)
        self._length += np.float32(1 - _BETA_2) * (square - self._length)
        # Correct the bias of both averages, which start at 0.
        direction = self._direction / np.float32(1 - _BETA_1**self._steps)
        length = np.sqrt(self._length / np.float32(1 - _BETA_2**self._steps))
        self._strengths += np.float32(share * self._rate) * direction / (length + _TINY)
        self._drawn = None


def _hartley(planes: Floats) -> Floats:
    """Transform planes to waves, or back: the Hartley transform, which is its own inverse.

    Unlike the Fourier transform it has only real numbers, and it is its own transpose, so it also
    transforms gradients.
    """
    found = np.fft.fft2(planes, norm="ortho")
    return (found.real - found.imag).astype(np.float32)


def _root_mean_square(levels: Floats) -> Floats:
    found: Floats = np.sqrt(np.mean(np.square(levels), axis=(1, 2, 3), keepdims=True))
    return found + _TINY


def total_variation_gradient(pictures: Floats) -> Floats:
    """Return the gradient of the total variation, computed for each colour separately.

    A difference of d levels between neighbours counts √(d² + 4), so differences below two levels
    hardly matter (Rudin, Osher & Fatemi 1992, "Nonlinear total variation based noise removal
    algorithms", smoothed at 0).
    """
    found = np.zeros_like(pictures)
    for axis in (1, 2):
        steps = np.diff(pictures, axis=axis)
        slope = steps / np.sqrt(np.square(steps) + np.float32(4))
        first, last = [slice(None)] * 4, [slice(None)] * 4
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        found[tuple(first)] -= slope
        found[tuple(last)] += slope
    return found

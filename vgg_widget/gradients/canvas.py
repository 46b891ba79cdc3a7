"""Pictures as sums of waves, which are changed step by step until they fit."""

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

The mean of the matrices of five: scikit-image's astronaut, coffee, chelsea and rocket, and
matplotlib's grace_hopper.
"""

RATE = 0.05
"""The usual length of a step, in strengths of waves that begin at 0.1."""

# Halfway from black to white.
_GREY = np.float32(127.5)
# The standard deviation of the waves' strengths at the beginning: a picture of little contrast.
_START = 0.1
# Of a step's direction and of its length, what is kept of those before; Adam's names for them.
_BETA_1, _BETA_2 = 0.9, 0.9
# No gradient at all is no step.
_TINY = np.float32(1e-30)


class Canvas:
    """Some pictures of one size, each made of waves and of colours as in photographs.

    What is changed is the strength of each wave, in each of three colours that vary independently
    in photographs. A wave's amplitude falls with its frequency f as 1/f, as in photographs (Field
    1987, "Relations between the statistics of natural images and the response properties of
    cortical cells"), so that a step changes large forms more than grain. All follow the gradient by
    steps of one length, as in Adam (Kingma & Ba 2015, arXiv:1412.6980) with one length for all of
    a picture's waves: with a length for each, weak waves would grow as fast as strong ones.

    Parameters
    ----------
    seeds : sequence of sequence of int
        For each picture that of its beginning.
    size : (int, int)
        Height and width.
    rate : float
        The length of a step, in the waves' strengths.
    natural : bool
        Whether frequencies and colours are those of photographs; if not, each pixel is by itself.
    contrast : float or None
        The root of the mean square, over `box` and the colours, of the distance to grey, before
        what would be beyond black and white is bent back. None leaves it free.
    box : (top, left, bottom, right) or None
        Half open; the whole picture if None.
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
        # The mean colour, of frequency 0, counts as the longest wave.
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
        """Return the pictures as they are: RGB in 0–255, float32 of shape (N, H, W, 3)."""
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
        """Go one step, or a share of one, along the gradients with respect to the pictures."""
        along = gradients * (1 - np.square((self.pictures() - _GREY) / _GREY))
        if self._contrast is not None:
            # A change that only adds contrast is none.
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
        # Both began at 0.
        direction = self._direction / np.float32(1 - _BETA_1**self._steps)
        length = np.sqrt(self._length / np.float32(1 - _BETA_2**self._steps))
        self._strengths += np.float32(share * self._rate) * direction / (length + _TINY)
        self._drawn = None


def _hartley(planes: Floats) -> Floats:
    """Give planes as waves, or waves as planes: Hartley's transform, which is its own inverse.

    Unlike Fourier's it is of real numbers alone, and a gradient goes through it by itself once
    more.
    """
    found = np.fft.fft2(planes, norm="ortho")
    return (found.real - found.imag).astype(np.float32)


def _root_mean_square(levels: Floats) -> Floats:
    found: Floats = np.sqrt(np.mean(np.square(levels), axis=(1, 2, 3), keepdims=True))
    return found + _TINY


def total_variation_gradient(pictures: Floats) -> Floats:
    """Return the gradient of the sum of the steps between neighbours, in each colour by itself.

    A step of d levels counts √(d² + 4): differences of less than two levels are none (Rudin, Osher
    & Fatemi 1992, "Nonlinear total variation based noise removal algorithms", smoothed at 0).
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

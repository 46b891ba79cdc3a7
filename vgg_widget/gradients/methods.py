"""Attribution methods for units, computed from a value and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vgg_widget.network.differentiable import ChannelFunction

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Tell = Callable[[int], object]
# Top, left, bottom, right.
Box = tuple[int, int, int, int]


def mean_gradient(
    function: ChannelFunction, pictures: Iterator[Floats], count: int, tell: Tell
) -> tuple[float, Doubles]:
    """Return the mean value and gradient over some images, each float32 of shape (h, w, 3).

    Images and gradient cover the function's crop.
    """
    value, total = 0.0, np.zeros(())
    for begin in range(0, count, function.most):
        batch = np.stack([next(pictures) for _ in range(min(function.most, count - begin))])
        values, gradients = function.gradients(batch)
        value += float(values.sum())
        total = total + gradients.sum(axis=0, dtype=np.float64)
        tell(len(batch))
    return value / count, total / count


def noisy(
    picture: Floats, size: tuple[int, int], corner: tuple[int, int], spread: float, seed: int
) -> Iterator[Floats]:
    """Yield copies of a crop of an image with normal noise.

    The noise is drawn for the whole image, so that it does not depend on the crop.
    """
    generator = np.random.default_rng(seed)
    top, left = corner
    bottom, right = top + picture.shape[0], left + picture.shape[1]
    while True:
        noise = generator.standard_normal((*size, 3), np.float32)[top:bottom, left:right]
        yield picture + np.float32(spread) * noise


def between(baseline: Floats, picture: Floats, count: int) -> Iterator[Floats]:
    """Yield images on the straight line from a baseline, at the midpoints of equal intervals."""
    for number in range(count):
        share = np.float32((number + 0.5) / count)
        yield baseline + share * (picture - baseline)


def occlusion(
    function: ChannelFunction,
    pictures: tuple[Floats, Floats],
    windows: Sequence[Box],
    value: float,
    tell: Tell,
) -> Doubles:
    """Return the decrease of the value, for each pixel averaged over the windows that hide it.

    `pictures` are the explained image and the baseline. They cover the function's crop, and the
    half-open windows are inside it.
    """
    picture, baseline = pictures
    lost = np.zeros(picture.shape[:2])
    times = np.zeros(picture.shape[:2])
    for begin in range(0, len(windows), function.most):
        some = windows[begin : begin + function.most]
        batch = np.repeat(picture[np.newaxis], len(some), axis=0)
        for hidden, (top, left, bottom, right) in zip(batch, some, strict=True):
            hidden[top:bottom, left:right] = baseline[top:bottom, left:right]
        for without, (top, left, bottom, right) in zip(function.values(batch), some, strict=True):
            lost[top:bottom, left:right] += value - without
            times[top:bottom, left:right] += 1
        tell(len(some))
    return lost / np.maximum(times, 1)


def windows_over(inside: tuple[slice, slice], window: int, step: int) -> list[Box]:
    """Return squares that cover a box from its top left corner, clipped at its end."""
    rows, columns = inside
    return [
        (top, left, min(top + window, rows.stop), min(left + window, columns.stop))
        for top in range(rows.start, rows.stop, step)
        for left in range(columns.start, columns.stop, step)
    ]

"""A colour for each channel number: as far from those of all smaller numbers as can be."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.scaling import Floats

# Levels of red, green and blue from which colours are taken.
_LEVELS = 16
# Colours are found this many at a time; there are far more channels than anyone tells apart.
_CHUNK = 512
# Lightness in thousandths: darker ones look like the black of no channel, paler ones like paper.
_DARKEST, _PALEST = 400, 950

# sRGB's linear light to cone responses, and those (their cube roots) to lightness and two
# opponent axes: Björn Ottosson, "A perceptual color space for image processing" (2020),
# https://bottosson.github.io/posts/oklab/
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def channel_colors(channels: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return a colour for each channel number, as uint8 of shape (K, 3), whatever the others are.

    They come from one fixed list: of some thousands of colours, the next is the one farthest, in
    the perceptual space OKLab, from all before it and from black and white. From number 3665 on it
    begins anew.
    """
    choices, _ = _choices()
    numbers = np.asarray(channels, np.intp) % len(choices)
    needed = int(numbers.max(initial=0)) // _CHUNK + 1
    return choices[_farthest_first(min(needed * _CHUNK, len(choices)))[numbers]]


@lru_cache(maxsize=1)
def _choices() -> tuple[npt.NDArray[np.uint8], Floats]:
    """Return colours that are neither dark nor pale, and their places in OKLab."""
    levels = np.linspace(0, 255, _LEVELS)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    places = _oklab(colors)
    seen = (places[:, 0] >= _DARKEST) & (places[:, 0] <= _PALEST)
    return colors[seen].astype(np.uint8), places[seen]


@lru_cache(maxsize=8)
def _farthest_first(count: int) -> npt.NDArray[np.intp]:
    _, places = _choices()
    # Black is where no channel wins, and white what is behind a picture.
    ends = _oklab(np.array([[0.0, 0, 0], [255, 255, 255]]))
    squares = (places**2).sum(axis=-1)

    def squared_distances(place: Floats) -> Floats:
        squared: Floats = squares - 2 * (places @ place) + place @ place
        return squared

    distance = np.minimum(*(squared_distances(end) for end in ends))
    found = np.empty(count, np.intp)
    for place in range(count):
        found[place] = distance.argmax()
        np.minimum(distance, squared_distances(places[found[place]]), out=distance)
    return found


def _oklab(colors: npt.NDArray[np.float64]) -> Floats:
    """Give RGB in 0–255 as lightness and the two opponent axes, in thousandths."""
    # Whole numbers, whose squares float32 holds exactly: the list is the same on every machine.
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: Floats = np.rint(1000 * np.cbrt(linear @ _CONES.T) @ _OPPONENTS.T).astype(np.float32)
    return lab

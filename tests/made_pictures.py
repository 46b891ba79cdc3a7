"""A few hundred small test pictures: shapes, gratings, plain colours and text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

RGB8 = npt.NDArray[np.uint8]
SIDES = (32, 40, 48, 64)

# For the fixtures `noisy_folder` and `noisy_top`: the file name of the noise, which opens markup, a
# comment and a formula; the layers; and the number of images kept for each channel.
HOSTILE = "<script>alert(1)<!--$x^{$.png"
LAYER, OTHER = "block2_conv1", "block3_conv1"
K = 4


def shape(number: int, height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(number)
    back, front = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
    image = Image.new("RGB", (width, height), back)
    draw = ImageDraw.Draw(image)
    left, top = (int(v) for v in rng.integers(0, 12, 2))
    box = (left, top, left + 16, top + 18)
    (draw.ellipse if number % 2 else draw.rectangle)(box, fill=front)
    return image


def grating(number: int, height: int, width: int) -> Image.Image:
    angle, period = number * 0.37, 3 + number % 7
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    grey = ((wave + 1) * 127.5).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey, np.roll(grey, number, axis=1)], axis=-1))


def colour(number: int, height: int, width: int) -> Image.Image:
    # Each colour occurs several times, so that images tie.
    value = (number % 5) * 60
    return Image.new("RGB", (width, height), (value, 255 - value, (number % 3) * 100))


def text(number: int, height: int, width: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((2, 4 + number % 9), f"n{number}", fill=(number % 200, 0, 0))
    return image


KINDS = (shape, grating, colour, text)


def picture(number: int) -> RGB8:
    """Return one of the pictures; its height and width are any two of `SIDES`."""
    height, width = SIDES[number // 4 % 4], SIDES[number // 16 % 4]
    return np.asarray(KINDS[number % 4](number, height, width))


def write_with_noise(folder: Path, count: int, name: str) -> None:
    """Write pictures as PNG files, and noise, which excites most channels, under a given name."""
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"{number:02}.png")
    noise = np.random.default_rng(0).integers(0, 256, (72, 56, 3), np.uint8)
    Image.fromarray(noise).save(folder / name)


def write_pictures(folder: Path, count: int) -> list[str]:
    """Write pictures as PNG files, half of them in a subfolder, and return the sorted names."""
    (folder / "more").mkdir(parents=True)
    names = []
    for number in range(count):
        name = f"{'more/' if number % 2 else ''}{number:03}.png"
        Image.fromarray(picture(number)).save(folder / name)
        names.append(name)
    return sorted(names)

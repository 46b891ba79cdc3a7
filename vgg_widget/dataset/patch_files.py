"""What channels' strongest units see, as small picture files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeAlias

from PIL import Image

from vgg_widget.dataset.result import TopActivations
from vgg_widget.images import RGB8, ImageError
from vgg_widget.network.streaming import READERS, begun_ahead

Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels of the network's input, half open."""

LARGEST_SIDE = 96
"""Pixels; what is larger is made smaller."""

# A page enlarges small patches until their pixels can be told apart, and JPEG would smear them.
_EXACT_SIDE = 24
_JPEG_QUALITY = 75


def cut_patches(
    top: TopActivations,
    wanted: Mapping[int, Iterable[Box | None]],
    tell: Callable[[int], object],
) -> tuple[dict[tuple[int, Box | None], bytes], dict[str, str]]:
    """Cut patches out of pictures, each of which is read once.

    Parameters
    ----------
    top : TopActivations
        Whose pictures.
    wanted : mapping of int to iterable of Box or None
        By the picture's place in ``top.images``, what to cut; None is the whole picture.
    tell : callable
        Called with a number of pictures, whenever so many more are done.

    Returns
    -------
    patches : dict
        By place and box, a PNG file of patches up to 24 pixels a side, and a JPEG file of larger
        ones.
    missing : dict of str to str
        Names of pictures that cannot be read any more, and why.
    """
    patches: dict[tuple[int, Box | None], bytes] = {}
    missing: dict[str, str] = {}

    def cut(place: int) -> list[tuple[Box | None, bytes]]:
        pixels = top._picture(place, original=False)  # noqa: SLF001 - of this room
        return [(box, _file(pixels, box)) for box in wanted[place]]

    with ThreadPoolExecutor(READERS, "vgg_widget-cut") as pool:

        def begin(_: int, place: int) -> tuple[int, Future[list[tuple[Box | None, bytes]]]]:
            return place, pool.submit(cut, place)

        with closing(begun_ahead(sorted(wanted), begin, 2 * READERS)) as begun:
            for place, future in begun:
                try:
                    found = future.result()
                except (ImageError, OSError) as error:
                    missing[top.images[place]] = str(error)
                else:
                    patches |= {(place, box): file for box, file in found}
                tell(1)
    return patches, missing


def _file(pixels: RGB8, box: Box | None) -> bytes:
    if box is not None:
        first_row, first_column, end_row, end_column = box
        pixels = pixels[first_row:end_row, first_column:end_column]
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if max(image.size) <= _EXACT_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()

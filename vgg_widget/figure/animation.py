"""Pictures one after another: through the channels of a layer or the layers of a network, as GIF.

Frames are made when they are asked for, so that 512 of them are never in memory together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from vgg_widget.activations.mapping import Activations
from vgg_widget.figure.sizes import DPI, FIGURE_INCHES
from vgg_widget.images import RGB8
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering, find_mode
from vgg_widget.pictures.rendering import (
    STRONGEST,
    asked_channels,
    choose_channels,
    nearest_channels,
    render,
)
from vgg_widget.support.files import atomic_write
from vgg_widget.support.messages import unknown_choice

if TYPE_CHECKING:
    from vgg_widget.figure.feature_figure import FeatureFigure

THROUGH = ("channels", "layers")
"""What `frames` can go through."""

DEFAULT_SECONDS = 0.2
DEFAULT_WIDTH = round(FIGURE_INCHES[0] * DPI)

Progress = Callable[[int, int], object]
"""Called with how many frames are done, and how many there are."""

# GIF counts hundredths of a second in 16 bits; browsers slow down what changes faster than 50 a
# second.
_SHORTEST, _LONGEST = 0.02, 655.35
_SMALLEST_WIDTH, _LARGEST_WIDTH = 200, 3000
# As many as tell the colours of modes without a colorbar, which has all of its own in each frame.
_SAMPLES = 6


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frames(Sequence[Rendering]):
    """Renderings one after another, each made when it is asked for; see `frames`.

    Parameters
    ----------
    activations : Activations
        Of what.
    steps : tuple of mapping
        What `render` is given for each, beside the activations.
    """

    activations: Activations
    steps: tuple[Mapping[str, Any], ...]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Frames(self.activations, self.steps[index])
        return render(self.activations, **self.steps[index])

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        return f"<Frames: {len(self)} pictures>"


def frames(
    activations: Activations,
    over: str = "channels",
    *,
    layer: str | None = None,
    mode: str = DEFAULT_MODE,
    channel: int | None = None,
    channels: Iterable[int] | str | None = None,
    layers: Iterable[str] | None = None,
    **as_render: Any,
) -> Frames:
    """Return the pictures of a walk through a layer's channels, or through the layers.

    Parameters
    ----------
    activations : Activations
        What `FeatureExtractor` gave for an image.
    over : {"channels", "layers"}
        What changes from frame to frame.
    layer : str, optional
        For ``"channels"``: whose. The network's first by default.
    mode : str
        For ``"channels"`` one that shows a single channel, such as ``"channel"``; for
        ``"layers"`` any.
    channel : int, optional
        For ``"layers"``, in a mode that shows one: which, 0 by default. A layer with fewer shows
        its last.
    channels : iterable of int, optional
        For ``"channels"``: those to show, in this order; all by default. For ``"layers"``: those
        that the mode is given, as far as a layer has them, or ``"strongest"``; see `render`.
    layers : iterable of str, optional
        For ``"layers"``: those to show, in this order, by any of their names; by default all in
        network order, after their ReLU.
    **as_render
        ``cmap``, ``scale`` and whatever else `render` takes.

    Returns
    -------
    Frames
        A sequence of `Rendering`; each is made when it is asked for.

    Raises
    ------
    ValueError
        If a name or channel does not exist, there is nothing to show, an argument is for the other
        walk, or the mode shows several channels at once and cannot go through them.
    """
    if over not in THROUGH:
        raise ValueError(unknown_choice("over", over, THROUGH))
    # A word serves in place of numbers where each layer has others.
    strongest = over == "layers" and isinstance(channels, str) and channels == STRONGEST
    numbers = None if strongest else channels
    for argument, given in (("channels", numbers), ("layers", layers)):
        if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
            raise ValueError(f"{argument} {given!r} is no list: write several in parentheses.")
    others = {"layer": layer} if over == "layers" else {"channel": channel, "layers": layers}
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"{name} {value!r} is not for a walk through {over}: leave it out, or give over="
                f"{THROUGH[over == 'channels']!r}."
            )
    registered = find_mode(mode)
    steps: list[dict[str, Any]]
    if over == "channels":
        if registered.takes != "one":
            raise ValueError(
                f"mode {mode!r} shows several channels at once: go through channels with mode "
                f"{DEFAULT_MODE!r}, or through layers."
            )
        layer = next(iter(activations)) if layer is None else layer
        whole: Iterable[Any] = (
            range(activations.info(layer).channels) if channels is None else channels
        )
        # All are checked before the first is drawn.
        steps = [
            {"layer": layer, "mode": mode, "channel": number}
            for one in whole
            for number in choose_channels(activations, layer, registered, channel=one)
        ]
    else:
        some, alone = asked_channels(registered, channel, numbers), registered.takes == "one"
        steps = []
        for name in activations if layers is None else layers:
            count = activations.info(name).channels
            one, kept = nearest_channels(registered, count, some[0] if some else 0, some)
            several = STRONGEST if strongest else kept
            shown: dict[str, Any] = {"channel": one} if alone else {"channels": several}
            choose_channels(activations, name, registered, **shown)
            steps.append({"layer": name, "mode": mode, **shown})
    if not steps:
        raise ValueError(f"{over} is empty: name at least one, or leave it out for all.")
    return Frames(activations, tuple({**step, **as_render} for step in steps))


@dataclass(eq=False, repr=False)
class FigureFrames(Sequence[RGB8]):
    """Renderings as the explorer shows them: input, map and colorbar on one figure.

    The figure is made once and updated in place; a frame is drawn when it is asked for.

    Parameters
    ----------
    frames : Frames
        What to draw.
    width : int
        Pixels across, from 200 to 3000; the height follows.

    Raises
    ------
    ValueError
        If `width` is out of range.
    """

    frames: Frames
    width: int = DEFAULT_WIDTH

    def __post_init__(self) -> None:
        if not _SMALLEST_WIDTH <= self.width <= _LARGEST_WIDTH:
            raise ValueError(
                f"width {self.width!r} is no size for a frame: choose whole pixels from "
                f"{_SMALLEST_WIDTH} to {_LARGEST_WIDTH}."
            )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return FigureFrames(self.frames[index], self.width)
        rendering, activations = self.frames[index], self.frames.activations
        view, place = self._view, activations.info(rendering.layer).placement
        # The line at the foot runs under the map, where repainting that side alone would cut it.
        view.figure.stale = True
        view.show(rendering, activations.image, place, source_line(activations, rendering))
        canvas: Any = view.figure.canvas
        pixels: RGB8 = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        if rendering.tiles is not None:
            # Another layer's grid is of another height, and the frames of a GIF are of one.
            from vgg_widget.figure.feature_figure import HIGHEST

            missing = max(0, math.ceil(HIGHEST * view.figure.dpi) - len(pixels))
            pixels = np.pad(pixels, ((0, missing), (0, 0), (0, 0)), constant_values=255)
        return pixels

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"<FigureFrames: {len(self)} pictures, {self.width} pixels wide>"

    @cached_property
    def _view(self) -> FeatureFigure:
        # matplotlib's figures take longer to import than the whole package.
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from vgg_widget.figure.feature_figure import FeatureFigure, new_figure

        figure = new_figure()
        inches = float(figure.get_size_inches()[0])
        dpi = self.width / inches
        # matplotlib 3.11.0 cuts 999.9999 pixels off at 999.
        figure.set_dpi(dpi if dpi * inches >= self.width else math.nextafter(dpi, math.inf))
        FigureCanvasAgg(figure)
        return FeatureFigure(figure)


def save_gif(
    path: str | os.PathLike[str],
    images: Sequence[RGB8],
    seconds: float = DEFAULT_SECONDS,
    *,
    progress: Progress | None = None,
) -> None:
    """Write pictures as an animated GIF that repeats for ever.

    Parameters
    ----------
    path : str or Path
        Ends in ``.gif``; replaced as a whole, so that a failure leaves what was there.
    images : sequence of ndarray of uint8, shape (H, W, 3)
        All of one size, such as `FigureFrames`. Each is asked for once, and a few of them once
        more, before, for their colours.
    seconds : float
        That each is shown, from 0.02 (browsers slow down what is faster) to 655.35, rounded to
        hundredths. Equal pictures in a row are one frame that is shown longer.
    progress : callable, optional
        Called with the number of frames done, and of all, after each.

    Raises
    ------
    ValueError
        If the suffix, `seconds` or `images` cannot be used.
    OSError
        If the folder is missing or cannot be written.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> activations = FeatureExtractor("random", size=64)(sample_image())
    >>> walk = frames(activations, "channels", layer="block3_conv1", channels=range(3))
    >>> walk[2].title
    'block3_conv1 · channel 2'
    >>> save_gif("channels.gif", FigureFrames(walk), 0.1)
    """
    if Path(path).suffix.lower() != ".gif":
        raise ValueError(f"path {os.fspath(path)!r} does not end in .gif: name it so.")
    with atomic_write(path) as draft, draft.open("wb") as stream:
        write_gif(stream, images, seconds, progress=progress)


def write_gif(
    stream: BinaryIO,
    images: Sequence[RGB8],
    seconds: float = DEFAULT_SECONDS,
    *,
    progress: Progress | None = None,
) -> None:
    """Write what `save_gif` writes to an open binary file, or to ``io.BytesIO``."""
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ValueError(
            f"seconds {seconds!r} is no time for a frame: choose from {_SHORTEST} to {_LONGEST}."
        )
    if not len(images):
        raise ValueError("images is empty: give at least one picture.")
    palette = _common_palette(images)

    def reduced() -> Iterator[Image.Image]:
        shape: tuple[int, ...] = ()
        # A loop over the pictures themselves would take an IndexError of a mode for their end.
        for index in range(len(images)):
            image = images[index]
            shape = shape or image.shape
            if image.shape != shape:
                raise ValueError(
                    f"images[{index}] has shape {image.shape}, and images[0] has {shape}: give "
                    "pictures of one size."
                )
            # Dithering would swarm.
            yield Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
            if progress is not None:
                progress(index + 1, len(images))

    each = reduced()
    next(each).save(
        stream,
        format="gif",
        save_all=True,
        append_images=each,
        duration=10 * round(100 * seconds),
        loop=0,
        # A palette put in another order for each frame would be no common one.
        optimize=False,
    )


def _common_palette(images: Sequence[RGB8]) -> Image.Image:
    """Return 256 colours that serve all of the pictures.

    With colours of its own for each, what stays the same from frame to frame would flicker. An
    octree keeps the colorbar and the photograph, where median cut has few colours left for a bar,
    which is small, and maximum coverage few for a sky.
    """
    count = len(images)
    places = {round(place) for place in np.linspace(0, count - 1, min(count, _SAMPLES))}
    pixels = np.concatenate([images[place].reshape(-1, 1, 3) for place in sorted(places)])
    return Image.fromarray(pixels).quantize(256, Image.Quantize.FASTOCTREE)

"""Animations through the channels of a layer or the layers of a network, as GIF.

Frames are made on demand, so that 512 of them are never in memory together.
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
    choose_channels,
    nearest_channels,
    render,
    requested_channels,
)
from vgg_widget.support.files import atomic_write
from vgg_widget.support.messages import unknown_choice

if TYPE_CHECKING:
    from vgg_widget.figure.feature_figure import FeatureFigure

THROUGH = ("channels", "layers")
"""The possible walks of `frames`."""

DEFAULT_SECONDS = 0.2
DEFAULT_WIDTH = round(FIGURE_INCHES[0] * DPI)

Progress = Callable[[int, int], object]
"""Called with the number of frames done, and the total."""

# GIF counts hundredths of a second in 16 bits; browsers slow down anything faster than 50 frames
# per second.
_SHORTEST, _LONGEST = 0.02, 655.35
_SMALLEST_WIDTH, _LARGEST_WIDTH = 200, 3000
# A colorbar has all colours in every frame; modes without one need several samples.
_SAMPLES = 6


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frames(Sequence[Rendering]):
    """A sequence of renderings, each made on demand; see `frames`.

    Parameters
    ----------
    activations : Activations
        The activations to render.
    steps : tuple of mapping
        The arguments of `render` for each frame, other than the activations.
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
        An image's activations from `FeatureExtractor`.
    over : {"channels", "layers"}
        What changes from frame to frame.
    layer : str, optional
        For ``"channels"``: their layer. The network's first by default.
    mode : str
        For ``"channels"`` a mode of a single channel, such as ``"channel"``; for ``"layers"``
        any mode.
    channel : int, optional
        For ``"layers"``, in a mode of a single channel: that channel, 0 by default. A layer with
        fewer channels shows its last.
    channels : iterable of int, optional
        For ``"channels"``: the channels to show, in this order; all by default. For ``"layers"``:
        the mode's channels, as far as a layer has them, or ``"strongest"``; see `render`.
    layers : iterable of str, optional
        For ``"layers"``: the layers to show, in this order, by any of their names; by default all
        in network order, after their ReLU.
    **as_render
        ``cmap``, ``scale`` and any other arguments of `render`.

    Returns
    -------
    Frames
        A sequence of `Rendering`, each made on demand.

    Raises
    ------
    ValueError
        If a name or channel does not exist, there is nothing to show, an argument belongs to the
        other walk, or the mode shows several channels at once and cannot step through them.
    """
    if over not in THROUGH:
        raise ValueError(unknown_choice("over", over, THROUGH))
    # A word is accepted instead of numbers, since each layer has other channels.
    strongest = over == "layers" and isinstance(channels, str) and channels == STRONGEST
    numbers = None if strongest else channels
    for argument, given in (("channels", numbers), ("layers", layers)):
        if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
            raise ValueError(f"{argument} {given!r} is not a list: pass several in parentheses.")
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
        some, alone = requested_channels(registered, channel, numbers), registered.takes == "one"
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
    """Renderings drawn like the explorer: input, map and colorbar on one figure.

    The figure is made once and updated in place; a frame is drawn on demand.

    Parameters
    ----------
    frames : Frames
        The renderings to draw.
    width : int
        Width in pixels, from 200 to 3000; the height follows.

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
                f"width {self.width!r} is not a frame width: choose whole pixels from "
                f"{_SMALLEST_WIDTH} to {_LARGEST_WIDTH}."
            )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return FigureFrames(self.frames[index], self.width)
        rendering, activations = self.frames[index], self.frames.activations
        view, place = self._view, activations.info(rendering.layer).placement
        # Repainting the map's side alone would cut off the line at the bottom, which runs under it.
        view.figure.stale = True
        view.show(rendering, activations.image, place, source_line(activations, rendering))
        canvas: Any = view.figure.canvas
        pixels: RGB8 = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        if rendering.tiles is not None:
            # Grids of other layers differ in height, but all frames of a GIF need the same one.
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
        # Importing matplotlib's figures takes longer than importing the whole package.
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from vgg_widget.figure.feature_figure import FeatureFigure, new_figure

        figure = new_figure()
        inches = float(figure.get_size_inches()[0])
        dpi = self.width / inches
        # matplotlib 3.11.0 rounds 999.9999 pixels down to 999.
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
    """Write pictures as an animated GIF that repeats forever.

    Parameters
    ----------
    path : str or Path
        Must end in ``.gif``; replaced atomically, so that a failure leaves an old file unchanged.
    images : sequence of ndarray of uint8, shape (H, W, 3)
        All of one size, such as `FigureFrames`. Each is requested once, and a few of them once
        more beforehand, for their colours.
    seconds : float
        How long each is shown, from 0.02 (browsers slow down anything faster) to 655.35, rounded
        to hundredths. Equal pictures in a row become one frame that is shown longer.
    progress : callable, optional
        Called after each frame with the number done so far and the total.

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
        raise ValueError(f"path {os.fspath(path)!r} does not end in .gif: change its suffix.")
    with atomic_write(path) as draft, draft.open("wb") as stream:
        write_gif(stream, images, seconds, progress=progress)


def write_gif(
    stream: BinaryIO,
    images: Sequence[RGB8],
    seconds: float = DEFAULT_SECONDS,
    *,
    progress: Progress | None = None,
) -> None:
    """Write the GIF of `save_gif` to an open binary file, or to ``io.BytesIO``."""
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ValueError(
            f"seconds {seconds!r} is not a frame duration: choose from {_SHORTEST} to {_LONGEST}."
        )
    if not len(images):
        raise ValueError("images is empty: give at least one picture.")
    palette = _common_palette(images)

    def reduced() -> Iterator[Image.Image]:
        shape: tuple[int, ...] = ()
        # Iterating over the pictures would treat a mode's IndexError as their end.
        for index in range(len(images)):
            image = images[index]
            shape = shape or image.shape
            if image.shape != shape:
                raise ValueError(
                    f"images[{index}] has shape {image.shape}, and images[0] has {shape}: give "
                    "pictures of one size."
                )
            # Dithering would flicker.
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
        # Reordering the palette for each frame would undo the common palette.
        optimize=False,
    )


def _common_palette(images: Sequence[RGB8]) -> Image.Image:
    """Return a palette of 256 colours for all of the pictures.

    With a palette for each frame, unchanged parts would flicker. An octree preserves both the
    colorbar and the photograph. Median cut leaves few colours for a bar, which is small, and
    maximum coverage few for a sky.
    """
    count = len(images)
    places = {round(place) for place in np.linspace(0, count - 1, min(count, _SAMPLES))}
    pixels = np.concatenate([images[place].reshape(-1, 1, 3) for place in sorted(places)])
    return Image.fromarray(pixels).quantize(256, Image.Quantize.FASTOCTREE)

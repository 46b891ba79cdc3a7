"""`visualize_channel`: an image optimised from noise to activate a channel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.gradients.arguments import check_finite, checked_channels, whole, whole_number
from vgg_widget.gradients.canvas import RATE, Canvas
from vgg_widget.gradients.synthetic_image import SyntheticImage
from vgg_widget.images import checked_size
from vgg_widget.layers import LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.synthesis import LayerAim
from vgg_widget.pictures.rendering import location_within
from vgg_widget.support.messages import briefly
from vgg_widget.support.progress import Progress, shown_progress

Floats = npt.NDArray[np.float32]
Location = tuple[int, int]
Size = tuple[int, int]

# Above the 59 levels of whole photographs, and below the contrast of their strongest patches.
CONTRAST = 80.0
# For one unit with a receptive field this small, which is nearly linear: its optimal image is its
# kernel, whose largest numbers would be compressed at a higher contrast.
_FEW, _CONTRAST_OF_FEW = 5, 32.0
# Largest default side, at which the deepest layers take minutes.
_LARGEST = 224
# Sides are multiples of this, so that pooling covers the whole image.
_MULTIPLE = 32
# The largest shift is the receptive field's side divided by this.
_JITTER = 16
_ANGLE = math.radians(5)
_ZOOM = 0.05
STILL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


@overload
def visualize_channel(
    extractor: FeatureExtractor,
    layer: str,
    channel: int,
    *,
    location: Location | None = None,
    steps: int = 256,
    size: int | Size | None = None,
    seed: int = 0,
    progress: Progress = True,
    diversity: None = None,
) -> SyntheticImage: ...
@overload
def visualize_channel(
    extractor: FeatureExtractor,
    layer: str,
    channel: int | Sequence[int],
    *,
    location: Location | None = None,
    steps: int = 256,
    size: int | Size | None = None,
    seed: int = 0,
    progress: Progress = True,
    diversity: int | None = None,
) -> SyntheticImage | tuple[SyntheticImage, ...]: ...
def visualize_channel(
    extractor: FeatureExtractor,
    layer: str,
    channel: int | Sequence[int],
    *,
    location: Location | None = None,
    steps: int = 256,
    size: int | Size | None = None,
    seed: int = 0,
    progress: Progress = True,
    diversity: int | None = None,
) -> SyntheticImage | tuple[SyntheticImage, ...]:
    """Compute an image that a channel responds to strongly: a hypothesis of what it looks for.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network. It is computed only up to the layer, and never changed.
    layer : str
        Any name of the layer. Values before its ReLU are used in any case, since a channel that is
        0 has no gradient.
    channel : int or sequence of int
        One channel, or several, which are computed together.
    location : (int, int), optional
        Row and column of one unit, in the channel's map for an image of that size; by default the
        whole map. Pixels outside the unit's receptive field are grey.
    steps : int
        Number of optimisation steps.
    size : int or (int, int), optional
        Side of the image, or its height and width, in pixels. By default about twice the receptive
        field, from 32 to 224.
    seed : int
        The same seed gives the same image.
    progress : bool or callable
        True shows a progress bar; a function is called with the number of finished steps and the
        total.
    diversity : int, optional
        Number of images per channel, each from a different initial image. If they differ, the
        channel looks for more than one thing.

    Returns
    -------
    SyntheticImage or tuple of SyntheticImage
        One image for a single channel; a tuple for several channels or with `diversity`, in the
        order of the channels and then of the initial images.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If an argument is invalid, the unit sees no pixel of the image, the layer has no gradient,
        or values or gradients are NaN or infinite.
    TypeError
        If `extractor` is not a FeatureExtractor, or `progress` is neither a bool nor a function.

    See Also
    --------
    channel_images : The same, with intermediate images.

    Notes
    -----
    Gradient ascent from noise: Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep
    Network"; Simonyan et al. 2013, arXiv:1312.6034; and, for the regularisation, Olah et al. 2017,
    "Feature Visualization", doi:10.23915/distill.00007:

    - The image is a sum of waves, whose amplitudes are proportional to 1/f, in colours that vary
      independently of one another in photographs.
    - At each step the image is randomly shifted by up to 1/16 of the receptive field, rotated by up
      to 5° and scaled by up to 5 %; for receptive fields below 16 pixels it is not.
    - The contrast is fixed: the root mean square distance to grey is 80 levels (59 in photographs),
      before a tanh compresses values to the range from black to white.
    - For one unit with a receptive field of at most 5 pixels a side, the contrast is 32 and pixels
      are independent, so that the optimal image of a unit in the first layer is its kernel, not
      the kernel's sign.

    The objective is the mean over the map, in which values below 0 have a weight of 0.1, or the
    value of one unit.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor
    >>> from vgg_widget.gradients import visualize_channel
    >>> extractor = FeatureExtractor("random")
    >>> made = visualize_channel(extractor, "block1_conv2", 3, steps=8, progress=False)
    >>> made.image.shape, made.steps, len(made.history)
    ((32, 32, 3), 8, 8)
    """
    count = whole("steps", steps, least=1)
    making = ChannelMaking(
        extractor,
        layer,
        channel,
        location=location,
        size=size,
        seed=seed,
        diversity=diversity,
    )
    with shown_progress(progress, count, "steps", "step") as tell:
        for _ in range(count):
            making.step()
            tell(1)
    found = making.images()
    return found[0] if diversity is None and not _are_several(channel) else found


def channel_images(
    extractor: FeatureExtractor,
    layer: str,
    channel: int | Sequence[int],
    *,
    location: Location | None = None,
    size: int | Size | None = None,
    seed: int = 0,
    diversity: int | None = None,
    steps: int | None = 256,
    every: int = 16,
) -> Iterator[tuple[SyntheticImage, ...]]:
    """Yield intermediate images of the optimisation in `visualize_channel`.

    Images are computed only when requested, so the iteration can be stopped at any time and resumed
    later.

    Parameters
    ----------
    extractor, layer, channel, location, size, seed, diversity
        As in `visualize_channel`.
    steps : int or None
        Number of optimisation steps; None continues as long as images are requested.
    every : int
        Number of steps between images; the last step also yields.

    Yields
    ------
    tuple of SyntheticImage
        All images, even if there is only one.

    Raises
    ------
    LayerNameError, ValueError, TypeError
        As in `visualize_channel`, raised immediately.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor
    >>> from vgg_widget.gradients import channel_images
    >>> extractor = FeatureExtractor("random")
    >>> made = channel_images(extractor, "block1_conv2", [3, 5], steps=24)
    >>> [[image.steps for image in images] for images in made]
    [[16, 16], [24, 24]]
    """
    count = whole_number("steps", steps, least=1)
    apart = whole("every", every, least=1)
    making = ChannelMaking(
        extractor,
        layer,
        channel,
        location=location,
        size=size,
        seed=seed,
        diversity=diversity,
    )
    return becoming_clear(making, count, apart)


def becoming_clear(making: Any, count: int | None, apart: int) -> Iterator[Any]:
    """Yield intermediate results every `apart` steps, and after the last of `count`."""
    while count is None or making.steps < count:
        making.step()
        if making.steps % apart == 0 or making.steps == count:
            yield making.images()


class ChannelMaking:
    """An optimisation in progress: `step` updates the images, and `images` returns them."""

    def __init__(
        self,
        extractor: FeatureExtractor,
        layer: str,
        channel: int | Sequence[int],
        *,
        location: Location | None = None,
        size: int | Size | None = None,
        seed: int = 0,
        diversity: int | None = None,
    ) -> None:
        check_extractor(extractor)
        network = extractor._network  # noqa: SLF001 - its geometry, before any image
        info = NamedLayers(network.layers_on(None), network.before_relu).info(layer)
        self._size = _checked_picture_size(size, network.input, info)
        numbers = checked_channels("channel", channel, layer, info.channels)
        variants = whole_number("diversity", diversity, least=1) or 1
        self._seed = whole("seed", seed, least=0)
        self._layer, self._weights = layer, extractor.weights
        self._info = next(one for one in network.layers_on(self._size) if one.name == info.name)
        self._aim = LayerAim(extractor, layer, self._size, "mean" if location is None else "unit")
        self._location, box = None, None
        if location is not None:
            # The map of a blank image of this size determines the valid locations.
            blank = np.full((1, *self._size, 3), 128, np.float32)
            (only,) = self._aim.values(blank, STILL, _targets([0], (0, 0)))
            self._location = location_within(location, layer, *only.shape)
            box = _box(self._info, self._location, self._size)
            check_seen(box, self._location, layer)
        seen = info.receptive_field or max(self._size)
        self._jitter = seen // _JITTER
        self._few = location is not None and seen <= _FEW
        self._contrast = _CONTRAST_OF_FEW if self._few else CONTRAST
        self._views = np.random.default_rng([self._seed, 1])
        wanted = [(number, variant) for number in numbers for variant in range(variants)]
        most = self._aim.most
        self._batches = [
            _Batch(wanted[begin : begin + most], self._seed, self._size, box, self._few)
            for begin in range(0, len(wanted), most)
        ]
        self.steps = 0

    def step(self) -> None:
        """Take one optimisation step for all images."""
        view = _view(self._views, self._jitter, self._size)
        for batch in self._batches:
            values, gradients = self._aim.gradients(
                batch.canvas.pictures(), view, self._targets(batch)
            )
            check_finite(self._layer, values, gradients, so="no step can be taken")
            batch.moved |= gradients.any(axis=(1, 2, 3))
            for history, response in zip(batch.histories, values, strict=True):
                history.append(
                    float(response.max() if self._location is None else response[self._location])
                )
            batch.canvas.step(gradients)
        self.steps += 1

    def images(self) -> tuple[SyntheticImage, ...]:
        """Return the current images."""
        return tuple(itertools.chain.from_iterable(map(self._finished, self._batches)))

    def _targets(self, batch: _Batch) -> tuple[npt.NDArray[Any], ...]:
        return _targets([channel for channel, _ in batch.wanted], self._location)

    def _finished(self, batch: _Batch) -> Iterator[SyntheticImage]:
        images = np.rint(batch.canvas.pictures()).astype(np.uint8)
        if batch.box is not None:
            images = framed(images, batch.box)
        values = self._aim.values(images.astype(np.float32), STILL, self._targets(batch))
        for image, response, history, moved, (channel, variant) in zip(
            images, values, batch.histories, batch.moved, batch.wanted, strict=True
        ):
            row, column = np.unravel_index(int(response.argmax()), response.shape)
            place = self._location or (int(row), int(column))
            image.flags.writeable = False
            yield SyntheticImage(
                image,
                activation=float(response[place]),
                history=tuple(history),
                layer=self._layer,
                channel=channel,
                location=place,
                box=_box(self._info, place, self._size),
                one_unit=self._location is not None,
                steps=self.steps,
                seed=self._seed,
                variant=variant,
                contrast=self._contrast,
                jitter=self._jitter,
                weights=self._weights,
                message="" if moved else _no_gradient_message(self._layer),
            )


@dataclass(eq=False)
class _Batch:
    """A batch of images that are computed together."""

    wanted: Sequence[tuple[int, int]]
    seed: int
    size: Size
    box: tuple[int, int, int, int] | None
    few: bool
    canvas: Canvas = field(init=False)
    histories: list[list[float]] = field(init=False)
    moved: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        seeds = [(self.seed, 0, variant) for _, variant in self.wanted]
        self.canvas = Canvas(
            seeds,
            self.size,
            rate=RATE,
            natural=not self.few,
            contrast=_CONTRAST_OF_FEW if self.few else CONTRAST,
            box=self.box,
        )
        self.histories = [[] for _ in self.wanted]
        self.moved = np.zeros(len(self.wanted), bool)


def _targets(channels: Sequence[int], location: Location | None) -> tuple[npt.NDArray[Any], ...]:
    """Return the parameters of the objective for `LayerAim.gradients`."""
    return np.array(channels, np.int32), *(np.array(place, np.int32) for place in location or ())


def check_extractor(extractor: object) -> None:
    """Raise TypeError unless `extractor` is a FeatureExtractor."""
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(
            f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor, such as "
            "explorer.extractor."
        )


def check_seen(box: tuple[int, int, int, int] | None, location: Location, layer: str) -> None:
    """Raise ValueError for a unit whose receptive field contains no pixel of the image."""
    if box is not None and (box[0] >= box[2] or box[1] >= box[3]):
        raise ValueError(
            f"location {location!r} of layer {layer!r} sees no pixel of the image, only padding: "
            "pass another location."
        )


def framed(images: npt.NDArray[np.uint8], box: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Return the images with grey outside of a box."""
    top, left, bottom, right = box
    found = np.full_like(images, 128)
    found[..., top:bottom, left:right, :] = images[..., top:bottom, left:right, :]
    return found


def _are_several(channel: object) -> bool:
    return not isinstance(channel, int | np.integer)


def _checked_picture_size(size: object, taken: Any, info: LayerInfo) -> Size:
    if size is None:
        if taken.fixed_size:
            fixed: Size = taken.fixed_size
            return fixed
        seen = info.receptive_field or _LARGEST
        side = min(_LARGEST, _MULTIPLE * math.ceil(2 * seen / _MULTIPLE))
        side = max(side, taken.minimum_side)
        return side, side
    checked = checked_size(size, taken.minimum_side)
    assert checked is not None
    wanted = checked if isinstance(checked, tuple) else (checked, checked)
    if taken.fixed_size not in (None, wanted):
        raise ValueError(
            f"size {briefly(size)} is not the {taken.fixed_size[0]}×{taken.fixed_size[1]} pixels "
            "that this model needs: leave it out."
        )
    return wanted


def _box(info: LayerInfo, place: Location, size: Size) -> tuple[int, int, int, int] | None:
    return None if info.receptive_field is None else info.receptive_field_box(*place, size)


def _view(generator: np.random.Generator, jitter: int, size: Size) -> Sequence[float]:
    """Return a random transformation of the images for one step; see `LayerAim.gradients`."""
    if not jitter:
        return STILL
    angle = generator.uniform(-_ANGLE, _ANGLE)
    zoom = 1 + generator.uniform(-_ZOOM, _ZOOM)
    down, across = generator.integers(-jitter, jitter, size=2, endpoint=True)
    cosine, sine = math.cos(angle) * zoom, math.sin(angle) * zoom
    # Rotate and scale about the centre.
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    return (
        *(cosine, -sine, x - cosine * x + sine * y + float(across)),
        *(sine, cosine, y - sine * x - cosine * y + float(down)),
        *(0.0, 0.0),
    )


def _no_gradient_message(layer: str) -> str:
    return (
        f"layer {layer!r} had no gradient at any step, so the image is still the initial noise: "
        "pass a layer before its ReLU, or another seed."
    )

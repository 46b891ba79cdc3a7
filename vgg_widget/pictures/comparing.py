"""Compare two images in one network: render both over one range, and their difference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from matplotlib.colors import Colormap

from vgg_widget.activations.channel_statistics import top_of
from vgg_widget.activations.mapping import Activations
from vgg_widget.images import RGB8, ImageReading, resize_exactly
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.colormaps import DIFFERENCE_CMAP, DISTANCE_CMAP, find_cmap
from vgg_widget.pictures.modes import (
    DEFAULT_MODE,
    ModeRequest,
    Picture,
    Rendering,
    as_rgba,
    tiled_picture,
)
from vgg_widget.pictures.rendering import RenderOptions, appearance, render_alike
from vgg_widget.pictures.scaling import (
    DEFAULT_SCALE,
    DisplayRange,
    Floats,
    Scale,
    as_scale,
    range_on,
    range_up_to,
)
from vgg_widget.pictures.tiles import gaps_between
from vgg_widget.support.provenance import weights_words

_SAME, _OTHER = (240, 240, 240), (178, 24, 43)
# Aspect ratios of cameras differ by far more; cropping by a pixel changes them by less.
_ASPECT_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One network's activations for two images of the same size; see `pair`.

    Parameters
    ----------
    first, second : Activations
        Each image's activations; their maps have the same shapes.
    pooled : Activations
        Both images' maps, the first's above the second's, for channel rankings, statistics and
        ranges over the pair. They share memory with `first` and `second`.
    note : str
        Describes any distortion of the second image; otherwise empty.
    """

    first: Activations
    second: Activations
    pooled: Activations
    note: str = ""
    _tops: dict[tuple[str | None, float], float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, first: Activations, second: Activations, note: str = "") -> Self:
        """Build a pair from activations that are already computed.

        Raises
        ------
        ValueError
            If the image sizes differ, or the networks differ in their layers, map shapes or
            weights.
        """
        for what, one, other in (
            ("set of layers", list(first), list(second)),
            ("image size", first.image.shape[:2], second.image.shape[:2]),
            ("set of weights", *weights_words(first.weights, second.weights)),
            # Last, since any difference above may be the cause.
            ("set of map shapes", *([one.shape(n) for n in one] for one in (first, second))),
        ):
            if one != other:
                raise ValueError(
                    f"second has another {what} than first, {other} instead of {one}: pass one "
                    "extractor's activations for two images of the same size."
                )
        return cls(*_stacked(first, second), note=note)

    def difference(self, layer: str) -> Floats:
        """Return the second image's activations minus the first's.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.

        Returns
        -------
        ndarray of float32, shape (H, W, C)
            NaN where both are infinite, or one is NaN.
        """
        return _minus(self.second[layer], self.first[layer])

    def largest_difference(self, layer: str | None, percentile: float = 100.0) -> float:
        """Return a percentile of the nonzero differences' magnitudes; the result is cached.

        Parameters
        ----------
        layer : str or None
            Layer whose channels are included; None for all layers.
        percentile : float
            0 < p ≤ 100.

        Returns
        -------
        float
            In activation units; 0.0 if the two are equal.
        """
        key = (None if layer is None else self.first.plain_name(layer), percentile)
        if key not in self._tops:
            names = list(self.first) if layer is None else [layer]
            sizes = [np.abs(self.difference(name)).ravel() for name in names]
            self._tops[key] = top_of(np.concatenate(sizes), percentile)
        return self._tops[key]


@dataclass(frozen=True, slots=True, eq=False)
class PairRendering:
    """Matching renderings of two images, and their difference; see `render_pair`.

    Parameters
    ----------
    first, second : Rendering
        Renderings of the same channels in the same order, with the same `vmin` and `vmax`.
    difference : Rendering
        The second minus the first, or a distance; its title says which. Its `mode` is
        ``"difference"``.
    """

    first: Rendering
    second: Rendering
    difference: Rendering

    @property
    def clipped(self) -> tuple[bool, bool]:
        """Whether either rendering has values below `vmin` and above `vmax`."""
        (low, high), (other_low, other_high) = self.first.clipped, self.second.clipped
        return low or other_low, high or other_high

    @property
    def both(self) -> Rendering:
        """Both renderings' values in one rendering, for the shared colorbar and histogram."""
        first, second = self.first, self.second
        if first.values is None or second.values is None or first.vmin is None:
            return first
        values = np.concatenate([first.values, second.values])
        if first.tiles is not None:
            # Tile positions do not apply to the combined array, so gaps become NaN, which is not
            # counted.
            values[np.tile(gaps_between(first.tiles), (2, 1))] = np.nan
        return replace(first, values=values, clipped=self.clipped, tiles=None)


def pair(extractor: FeatureExtractor, first: object, second: object) -> Pair:
    """Compute two images such that every location in one corresponds to one in the other.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network.
    first : object
        Anything that `load_image` takes, or an `ImageReading`; resized as the extractor does.
    second : object
        Likewise; resized to exactly the first image's size as seen by the network, regardless of
        aspect ratio.

    Returns
    -------
    Pair
        With a note if this distorts the second image and the first is not distorted in the same
        way.

    Raises
    ------
    ImageError
        If an image cannot be used.
    """
    readings = [
        image if isinstance(image, ImageReading) else extractor.read(image)
        for image in (first, second)
    ]
    one = extractor(readings[0])
    size = one.image.shape[:2]
    fitted = replace(readings[1], pixels=resize_exactly(readings[1].pixels, size))
    other = extractor(fitted)
    note = _stretch_note(readings[0], readings[1], size)
    return Pair.of(one, other, note)


def _stretch_note(first: ImageReading, second: ImageReading, size: tuple[int, int]) -> str:
    """Return a note if the second image is visibly distorted relative to the first; or ""."""
    own = second.pixels.shape[:2]
    stretch = _aspect(size) / _aspect(own)
    alike = _aspect(first.pixels.shape) / _aspect(own)
    if min(abs(stretch - 1), abs(alike - 1)) <= _ASPECT_TOLERANCE:
        return ""
    way = f"{stretch - 1:.0%} wider" if stretch > 1 else f"{1 - stretch:.0%} narrower"
    return (
        f"second image made {way} to have the first's shape: {own[0]} × {own[1]} became "
        f"{size[0]} × {size[1]}"
    )


def _aspect(shape: tuple[int, ...]) -> float:
    return shape[1] / shape[0]


def _stacked(
    first: Activations, second: Activations
) -> tuple[Activations, Activations, Activations]:
    """Return both images' activations as views of shared arrays, and the combined activations."""
    # Maps after a ReLU can be computed from the stored maps before it.
    stored = {name: first.before_relu(name) or name for name in first}
    before_relu = [name for name in first if first.before_relu(name)]
    whole = {
        name: np.concatenate([first[source], second[source]]) for name, source in stored.items()
    }
    upper = {name: both[: len(both) // 2] for name, both in whole.items()}
    lower = {name: both[len(both) // 2 :] for name, both in whole.items()}
    image = np.concatenate([first.image, second.image])

    def made(of: Activations, maps: dict[str, Floats], image: RGB8) -> Activations:
        return Activations(
            of.layers, maps, image, of.weights, before_relu=before_relu, name=of.name
        )

    one, other = made(first, upper, first.image), made(second, lower, second.image)
    return one, other, made(first, whole, image)


def render_pair(
    pair: Pair,
    layer: str,
    mode: str = DEFAULT_MODE,
    *,
    scale: str | Scale = DEFAULT_SCALE,
    **as_render: Any,
) -> PairRendering:
    """Render both images alike over one range, and render their difference.

    Parameters
    ----------
    pair : Pair
        The result of `pair`.
    layer, mode : str
        As for `render`. Channels chosen by a mode are the most informative over both images.
    scale : str or Scale
        As for `render`, with ranges taken over both images: ``"auto"`` and ``"channel"`` use the
        two displayed renderings (in a grid, the two tiles of a channel). A composite with
        ``"auto"`` is brightened by one factor for both, and ``argmax`` colours the channels that
        win most often in both together. The difference has its own range over the same scope,
        symmetric about 0.
    **as_render
        ``channel``, ``channels``, ``cmap`` and other arguments of `render`.

    Returns
    -------
    PairRendering
        For modes whose colours represent single values (``channel``, ``max``, ``mean``, ``grid``),
        the difference is the second rendering's value minus the first's, in activation units. For
        ``argmax`` it is 1 where another channel is strongest and 0 elsewhere. For other modes it is
        the Euclidean distance, at each location, between the images' activations of the displayed
        channels.

    Raises
    ------
    ValueError
        As for `render`.
    """
    policy = as_scale(scale)
    options = RenderOptions(mode, scale=policy, **as_render)
    first, second = (
        replace(one, range_words=_common_range(one))
        for one in render_alike((pair.first, pair.second), pair.pooled, layer, options)
    )
    if first.values_are == "channel":
        difference = _winner_mismatch(first, second)
    elif any(one.values is None for one in (first, second)) or (
        # The mode has its own colours, which do not represent single values.
        first.vmin is None and first.tiles is None
    ):
        difference = _distances(pair, first, policy)
    else:
        difference = _differences(pair, first, second, policy)
    return PairRendering(first, second, difference)


def _common_range(rendering: Rendering) -> str:
    """Return the words for a range taken over both renderings."""
    if rendering.range_words or rendering.scale not in ("auto", "channel"):
        return rendering.range_words
    if rendering.vmin is None:
        return "each channel over one range for both pictures"
    return "one range for both pictures"


def _difference(
    first: Rendering,
    picture: Picture,
    title: str,
    limits: DisplayRange | None = None,
    cmap: Colormap | None = None,
) -> Rendering:
    """Return the rendering of a difference."""
    assert picture.values is not None
    look = appearance(picture, limits, cmap)
    look["note"] = "" if picture.values.any() else "no difference"
    look["range_words"] = "" if limits is None else "the difference's own range"
    name = cmap.name if cmap else None
    return replace(first, **look, title=title, mode="difference", cmap=name, colormap=cmap)


def _differences(pair: Pair, first: Rendering, second: Rendering, policy: Scale) -> Rendering:
    assert first.values is not None
    assert second.values is not None
    values = _minus(second.values, first.values)

    def range_of(part: Floats) -> DisplayRange:
        found = range_on(policy, first.layer, part, pair.largest_difference, signed=True)
        # If nothing differs, 0 must still have the middle colour, not the lowest.
        top = found.vmax or first.vmax or 1.0
        return range_up_to(top, signed=True, gamma=policy.gamma)

    picture, cmap = Picture(values), find_cmap(DIFFERENCE_CMAP)
    if first.tiles is not None:
        request = ModeRequest(first.layer, first.channels, cmap, policy.scope, range_of)
        picture = tiled_picture(values, first.tiles, request)
    limits = range_of(values) if picture.rgba is None else None
    title = f"{first.title} · second − first"
    return _difference(first, replace(picture, values_are="difference"), title, limits, cmap)


def _distances(pair: Pair, first: Rendering, policy: Scale) -> Rendering:
    chosen = list(first.channels)
    delta = _minus(pair.second[first.layer][..., chosen], pair.first[first.layer][..., chosen])
    # The square of a large activation would overflow float32.
    values = np.linalg.norm(delta.astype(np.float64), axis=-1).astype(np.float32)
    limits = DisplayRange(0.0, top_of(values, policy.percentile), policy.gamma)
    # The titles of the two renderings beside it name the channels.
    over = f"{len(chosen)} channels" if len(chosen) > 1 else f"channel {chosen[0]}"
    title = f"{first.layer} · Euclidean distance over {over}"
    picture = Picture(values, values_are="distance")
    return _difference(first, picture, title, limits, find_cmap(DISTANCE_CMAP))


def _winner_mismatch(first: Rendering, second: Rendering) -> Rendering:
    assert first.values is not None
    assert second.values is not None
    other = first.values != second.values
    rgba = as_rgba(np.array([_SAME, _OTHER], np.uint8)[other.astype(int)])
    title = f"{first.layer} · strongest channel differs at {other.mean():.1%}"
    picture = Picture(other.astype(np.float32), rgba, values_are="mismatch")
    return _difference(first, picture, title)


def _minus(second: Floats, first: Floats) -> Floats:
    # A user's network may give infinite values, and infinity minus itself is NaN.
    with np.errstate(invalid="ignore", over="ignore"):
        return second - first

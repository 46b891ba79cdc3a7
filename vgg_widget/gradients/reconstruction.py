"""`reconstruct`: a picture of which a layer makes what it made of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.gradients.arguments import checked_channels, whole
from vgg_widget.gradients.canvas import RATE, Canvas, total_variation_gradient
from vgg_widget.gradients.style import gram
from vgg_widget.gradients.synthesis import STILL, becoming_clear, check_finite, check_seen, framed
from vgg_widget.gradients.synthetic_image import Reconstruction
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.synthesis import LayerAim
from vgg_widget.pictures.rendering import checked_location
from vgg_widget.support.messages import unknown_choice
from vgg_widget.support.progress import Progress, shown_progress

Floats = npt.NDArray[np.float32]
Location = tuple[int, int]
Prior = Literal["photographs", "none"]
Match = Literal["content", "style"]

PRIORS: tuple[Prior, ...] = ("photographs", "none")
"""What `reconstruct` can take for likely where the layer does not say."""

_MATCHES: tuple[Match, ...] = ("content", "style")
# What total variation counts beside the squared relative error, for a picture whose neighbours
# differ by 59 levels.
_VARIATION = 0.02
_LEVELS = 59.0


def reconstruct(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    *,
    channels: Sequence[int] | None = None,
    location: Location | None = None,
    prior: Prior = "photographs",
    match: Match = "content",
    steps: int = 200,
    seed: int = 0,
    progress: Progress = True,
) -> Reconstruction:
    """Make a picture of which a layer makes what it made of another: what is left of it there.

    Parameters
    ----------
    extractor : FeatureExtractor
        Whose network. It is run up to the layer and no further, and never changed.
    activations : Activations
        What it made of a picture. Of the picture nothing is used but its size, and what is told in
        the end.
    layer : str
        Any name of the layer; after its ReLU less is left than before.
    channels : sequence of int, optional
        The channels that are to be matched; all without them.
    location : (int, int), optional
        Row and column of the one place that is to be matched. What it does not see is grey.
    prior : {"photographs", "none"}
        What chooses among the pictures that fit. ``"photographs"``: waves whose amplitudes fall as
        1/f, in colours that vary independently in photographs, and little total variation.
        ``"none"``: each pixel by itself.
    match : {"content", "style"}
        Whether the maps are matched, or their Gram matrix (`gram`), which does not know where
        anything is.
    steps : int
        How many steps are taken.
    seed : int
        Of the beginning, a noise of little contrast. The same seed gives the same picture.
    progress : bool or callable
        True shows a bar; a function is called with the number of steps taken so far, and of all.

    Returns
    -------
    Reconstruction
        The picture, with the error at the layer and, for content, in pixels.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If an argument is not one of these, the maps are 0 where they are to be matched, the unit
        sees none of the picture, the layer has no gradient, or values or gradients are NaN or
        infinite.
    TypeError
        If `extractor` is none, or `progress` is neither a bool nor a function.

    See Also
    --------
    reconstructions : The same, with the pictures in between.

    Notes
    -----
    Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them",
    arXiv:1412.0035: the squared error over the squared length of what is given, and a prior, made
    small by steps that shorten to nothing. For style, Gatys et al. 2015, "Texture Synthesis Using
    Convolutional Neural Networks", arXiv:1505.07376.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> from vgg_widget.gradients import reconstruct
    >>> extractor = FeatureExtractor("random", size=32)
    >>> activations = extractor(sample_image())
    >>> made = reconstruct(extractor, activations, "block1_conv2", steps=30, progress=False)
    >>> made.image.shape, made.error < made.history[0], made.prior
    ((38, 32, 3), True, 'photographs')
    """
    count = whole("steps", steps, least=1)
    making = ReconstructionMaking(
        extractor,
        activations,
        layer,
        channels=channels,
        location=location,
        prior=prior,
        match=match,
        steps=count,
        seed=seed,
    )
    with shown_progress(progress, count, "steps", "step") as tell:
        for _ in range(count):
            making.step()
            tell(1)
    return making.images()


def reconstructions(
    extractor: FeatureExtractor,
    activations: Activations,
    layer: str,
    *,
    channels: Sequence[int] | None = None,
    location: Location | None = None,
    prior: Prior = "photographs",
    match: Match = "content",
    steps: int = 200,
    seed: int = 0,
    every: int = 16,
) -> Iterator[Reconstruction]:
    """Make a picture as `reconstruct` does, and give it as it becomes clear.

    Nothing is computed until the next one is asked for, so that it can be left at any time, and
    gone on with later.

    Parameters
    ----------
    extractor, activations, layer, channels, location, prior, match, steps, seed
        As in `reconstruct`.
    every : int
        After how many steps the picture is given; after the last one too.

    Yields
    ------
    Reconstruction

    Raises
    ------
    LayerNameError, ValueError, TypeError
        As in `reconstruct`, at once.

    Examples
    --------
    >>> from vgg_widget import FeatureExtractor, sample_image
    >>> from vgg_widget.gradients import reconstructions
    >>> extractor = FeatureExtractor("random", size=32)
    >>> activations = extractor(sample_image())
    >>> made = reconstructions(extractor, activations, "block1_conv1", steps=24)
    >>> [image.steps for image in made]
    [16, 24]
    """
    count = whole("steps", steps, least=1)
    apart = whole("every", every, least=1)
    making = ReconstructionMaking(
        extractor,
        activations,
        layer,
        channels=channels,
        location=location,
        prior=prior,
        match=match,
        steps=count,
        seed=seed,
    )
    return becoming_clear(making, count, apart)


class ReconstructionMaking:
    """A picture on the way: each `step` changes it, and `images` says what it is by now."""

    def __init__(
        self,
        extractor: FeatureExtractor,
        activations: Activations,
        layer: str,
        *,
        channels: Sequence[int] | None,
        location: Location | None,
        prior: Prior,
        match: Match,
        steps: int,
        seed: int,
    ) -> None:
        check_made_by(extractor, activations)
        if prior not in PRIORS:
            raise ValueError(unknown_choice("prior", prior, PRIORS))
        if match not in _MATCHES:
            raise ValueError(unknown_choice("match", match, _MATCHES))
        if match == "style" and location is not None:
            raise ValueError(
                f"location {location!r} has no style, which is of many places: leave it out, or "
                "pass match='content'."
            )
        info = activations.info(layer)
        self._numbers = (
            None
            if channels is None
            else checked_channels("channels", channels, layer, info.channels)
        )
        self._location = (
            None if location is None else checked_location(location, layer, activations)
        )
        self._given, self._layer = activations, layer
        self._prior, self._match, self._wanted_steps = prior, match, steps
        self._seed = whole("seed", seed, least=0)
        size = activations.image.shape[:2]
        self._box = (0, 0, *size)
        if self._location is not None and info.receptive_field is not None:
            self._box = info.receptive_field_box(*self._location, size)
            check_seen(self._box, self._location, layer)
        wanted = gram(activations, layer) if match == "style" else activations[layer]
        weights = self._weights(wanted.shape)
        length = float(np.sum(weights * np.square(wanted, dtype=np.float64)))
        if not np.isfinite(length):
            raise ValueError(
                f"layer {layer!r} has NaN or infinite values, which nothing can match: check the "
                "preprocess function, or the weights."
            )
        if not length > 0:
            raise ValueError(
                f"layer {layer!r} is 0 for all that is to be matched: choose other channels, "
                "another location or its name before the ReLU."
            )
        self._asked = wanted.astype(np.float32), (weights / length).astype(np.float32)
        self._aim = LayerAim(extractor, layer, size, match)
        self._canvas = Canvas([(self._seed, 0)], size, rate=RATE, natural=prior == "photographs")
        self._history: list[float] = []

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self._history)

    def step(self) -> None:
        """Change the picture once."""
        pictures = self._canvas.pictures()
        told, gradients = self._aim.gradients(pictures, STILL, self._asked)
        check_finite(self._layer, told, gradients)
        if not self.steps and not gradients.any() and told.any():
            raise ValueError(
                f"layer {self._layer!r} has no gradient at the noise that the picture begins with, "
                "usually because a ReLU makes all of its values 0: pass the name before the ReLU, "
                "other channels or another seed."
            )
        self._history.append(math.sqrt(float(told[0])))
        if self._prior == "photographs":
            counted = np.float32(_VARIATION / (_LEVELS * pictures[0].size))
            gradients = gradients - counted * total_variation_gradient(pictures)
        # The last steps are short, so that it comes to rest.
        share = (1 + math.cos(math.pi * (self.steps - 1) / self._wanted_steps)) / 2
        self._canvas.step(gradients, share)

    def images(self) -> Reconstruction:
        """Return the picture as it is."""
        image = np.rint(self._canvas.pictures()).astype(np.uint8)
        if self._location is not None:
            image = framed(image, self._box)
        told = self._aim.values(image.astype(np.float32), STILL, self._asked)
        top, left, bottom, right = self._box
        given = self._given.image[top:bottom, left:right].astype(np.float64)
        apart = float(np.sqrt(np.mean((image[0, top:bottom, left:right] - given) ** 2)))
        image.flags.writeable = False
        return Reconstruction(
            image[0],
            error=math.sqrt(float(told[0])),
            pixel_rms=apart if self._match == "content" else None,
            history=tuple(self._history),
            layer=self._layer,
            channels=self._numbers,
            location=self._location,
            box=self._box,
            match=self._match,
            prior=self._prior,
            steps=self.steps,
            seed=self._seed,
            weights=self._given.weights,
        )

    def _weights(self, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return 1 for each number that is to be matched, and 0 for others."""
        chosen = np.zeros(shape[-1])
        chosen[slice(None) if self._numbers is None else list(self._numbers)] = 1
        if self._match == "style":
            return np.outer(chosen, chosen)
        places = np.zeros((*shape[:2], 1))
        places[slice(None) if self._location is None else self._location] = 1
        found: npt.NDArray[np.float64] = places * chosen
        return found

"""`reconstruct`: an image with nearly the same maps at a layer as another image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.gradients.arguments import check_finite, checked_channels, whole
from vgg_widget.gradients.canvas import RATE, Canvas, total_variation_gradient
from vgg_widget.gradients.style import gram
from vgg_widget.gradients.synthesis import STILL, becoming_clear, check_seen, framed
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
"""The priors that `reconstruct` can use where the layer does not determine the image."""

_MATCHES: tuple[Match, ...] = ("content", "style")
# Weight of the total variation relative to the squared relative error, for an image whose
# neighbouring pixels differ by 59 levels.
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
    """Compute an image with nearly the same maps at a layer: what the layer retains of an image.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network. It is computed only up to the layer, and never changed.
    activations : Activations
        The extractor's result for an image. Of the image itself only the size is used, and the
        pixels for the final error.
    layer : str
        Any name of the layer; less is retained after its ReLU than before.
    channels : sequence of int, optional
        The channels to match; all by default.
    location : (int, int), optional
        Row and column of the single location to match. Pixels outside its receptive field are grey.
    prior : {"photographs", "none"}
        The criterion for choosing among matching images. ``"photographs"``: waves with amplitudes
        proportional to 1/f, in colours that vary independently in photographs, with low total
        variation. ``"none"``: independent pixels.
    match : {"content", "style"}
        Whether to match the maps, or their Gram matrix (`gram`), which ignores locations.
    steps : int
        Number of optimisation steps.
    seed : int
        Seed of the initial low-contrast noise. The same seed gives the same image.
    progress : bool or callable
        True shows a progress bar; a function is called with the number of finished steps and the
        total.

    Returns
    -------
    Reconstruction
        The image, with its error at the layer and, for content, in pixels.

    Raises
    ------
    LayerNameError
        If there is no such layer.
    ValueError
        If an argument is invalid, the maps to match are 0, the unit sees no pixel of the image, the
        layer has no gradient, or values or gradients are NaN or infinite.
    TypeError
        If `extractor` is not a FeatureExtractor, or `progress` is neither a bool nor a function.

    See Also
    --------
    reconstructions : The same, with intermediate images.

    Notes
    -----
    Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them",
    arXiv:1412.0035: minimises the squared relative error plus a prior, with step lengths that
    decrease to 0. For style, Gatys et al. 2015, "Texture Synthesis Using Convolutional Neural
    Networks", arXiv:1505.07376.

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
    """Yield intermediate images of the optimisation in `reconstruct`.

    Images are computed only when requested, so the iteration can be stopped at any time and resumed
    later.

    Parameters
    ----------
    extractor, activations, layer, channels, location, prior, match, steps, seed
        As in `reconstruct`.
    every : int
        Number of steps between images; the last step also yields.

    Yields
    ------
    Reconstruction

    Raises
    ------
    LayerNameError, ValueError, TypeError
        As in `reconstruct`, raised immediately.

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
    """An optimisation in progress: `step` updates the image, and `images` returns it."""

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
                f"location {location!r} has no style, which needs many locations: leave it out, or "
                "pass match='content'."
            )
        info = activations.info(layer)
        self._channels = (
            None
            if channels is None
            else checked_channels("channels", channels, layer, info.channels)
        )
        self._location = (
            None if location is None else checked_location(location, layer, activations)
        )
        self._activations, self._layer = activations, layer
        self._prior, self._match, self._wanted_steps = prior, match, steps
        self._seed = whole("seed", seed, least=0)
        size = activations.image.shape[:2]
        self._box = (0, 0, *size)
        if self._location is not None and info.receptive_field is not None:
            self._box = info.receptive_field_box(*self._location, size)
            check_seen(self._box, self._location, layer)
        wanted = gram(activations, layer) if match == "style" else activations[layer]
        if not np.isfinite(wanted).all():
            raise ValueError(
                f"layer {layer!r} has NaN or infinite values, which cannot be matched: check the "
                "preprocess function, or the weights."
            )
        weights = self._weights(wanted.shape)
        length = float(np.sum(weights * np.square(wanted, dtype=np.float64)))
        if not length > 0:
            raise ValueError(
                f"layer {layer!r} is 0 wherever it is to be matched: choose other channels, "
                "another location or its name before the ReLU."
            )
        self._targets = wanted.astype(np.float32), (weights / length).astype(np.float32)
        self._aim = LayerAim(extractor, layer, size, match)
        self._canvas = Canvas([(self._seed, 0)], size, rate=RATE, natural=prior == "photographs")
        self._history: list[float] = []

    @property
    def steps(self) -> int:
        """Number of finished steps."""
        return len(self._history)

    def step(self) -> None:
        """Take one optimisation step."""
        pictures = self._canvas.pictures()
        distances, gradients = self._aim.gradients(pictures, STILL, self._targets)
        check_finite(self._layer, distances, gradients, so="no step can be taken")
        if not self.steps and not gradients.any() and distances.any():
            raise ValueError(
                f"layer {self._layer!r} has no gradient for the initial noise, usually because a "
                "ReLU sets all of its values to 0: pass the name before the ReLU, other channels "
                "or another seed."
            )
        self._history.append(math.sqrt(float(distances[0])))
        if self._prior == "photographs":
            counted = np.float32(_VARIATION / (_LEVELS * pictures[0].size))
            gradients = gradients - counted * total_variation_gradient(pictures)
        # Step lengths decrease to 0, so that the image converges.
        share = (1 + math.cos(math.pi * (self.steps - 1) / self._wanted_steps)) / 2
        self._canvas.step(gradients, share)

    def images(self) -> Reconstruction:
        """Return the current image."""
        image = np.rint(self._canvas.pictures()).astype(np.uint8)
        if self._location is not None:
            image = framed(image, self._box)
        distances = self._aim.values(image.astype(np.float32), STILL, self._targets)
        top, left, bottom, right = self._box
        given = self._activations.image[top:bottom, left:right].astype(np.float64)
        rms = float(np.sqrt(np.mean((image[0, top:bottom, left:right] - given) ** 2)))
        image.flags.writeable = False
        return Reconstruction(
            image[0],
            error=math.sqrt(float(distances[0])),
            pixel_rms=rms if self._match == "content" else None,
            history=tuple(self._history),
            layer=self._layer,
            channels=self._channels,
            location=self._location,
            box=self._box,
            match=self._match,
            prior=self._prior,
            steps=self.steps,
            seed=self._seed,
            weights=self._activations.weights,
        )

    def _weights(self, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return 1 for each number to match, and 0 for others."""
        chosen = np.zeros(shape[-1])
        chosen[slice(None) if self._channels is None else list(self._channels)] = 1
        if self._match == "style":
            return np.outer(chosen, chosen)
        places = np.zeros((*shape[:2], 1))
        places[slice(None) if self._location is None else self._location] = 1
        found: npt.NDArray[np.float64] = places * chosen
        return found

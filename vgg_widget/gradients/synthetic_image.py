"""`SyntheticImage` and `Reconstruction`: optimised images, with their settings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vgg_widget.support.messages import percent, plain_number
from vgg_widget.support.provenance import Provenance

RGB8 = npt.NDArray[np.uint8]
Location = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticImage:
    """An image optimised to activate a channel; returned by `visualize_channel`.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The image; read-only. Grey outside `box` if it was optimised for one unit.
    activation : float
        The value before the ReLU of the unit at `location` for this image: the channel's largest,
        or that of the optimised unit.
    history : tuple of float
        The same value at the beginning of each step, for the image as rotated, shifted and scaled
        in that step.
    layer : str
        The layer, by the given name.
    channel : int
        Channel number.
    location : (int, int)
        Row and column of the unit in the channel's map.
    box : (top, left, bottom, right) or None
        The unit's receptive field, half open; None if undefined.
    one_unit : bool
        Whether the image was optimised for this unit only, not for the whole map.
    steps : int
        Number of optimisation steps.
    seed : int
        Seed of the initial image and of its rotations and shifts.
    variant : int
        Index of the initial image among those requested with `diversity`.
    contrast : float
        Root mean square distance to grey imposed on the image, in levels; for photographs it is 59.
    jitter : int
        Largest shift in pixels; 0 if the image was not shifted, rotated or scaled.
    weights : Provenance
        The network's weights.
    message : str
        A warning about the interpretation of the image; empty if there is none.
    """

    image: RGB8 = field(repr=False)
    activation: float
    history: tuple[float, ...] = field(repr=False)
    layer: str
    channel: int
    location: Location
    box: Box | None
    one_unit: bool
    steps: int
    seed: int
    variant: int
    contrast: float
    jitter: int
    weights: Provenance = field(repr=False)
    message: str = ""

    @property
    def caption(self) -> str:
        """A description in a few sentences, including that the image is a hypothesis."""
        aim = f"one unit, {self.location}" if self.one_unit else "the whole map"
        return (
            f"{self.layer}, channel {self.channel}: made in {self.steps} steps for {aim} "
            f"(seed {self.seed}, {self.weights.label}). It reaches "
            f"{plain_number(self.activation)} before a ReLU. An optimised picture is a hypothesis "
            "about what the channel looks for: compare it with the real patches to which the "
            "channel responds."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """An image with nearly the same maps at a layer as another; returned by `reconstruct`.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The image; read-only. Grey outside `box`.
    error : float
        Relative error of its maps: the norm of the difference divided by the norm of the given
        maps. With ``match="style"``, that of the Gram matrices.
    pixel_rms : float or None
        Root mean square difference from the original image, in levels of 255, over `box` and the
        colours; None with ``match="style"``, which ignores positions.
    history : tuple of float
        The error at the beginning of each step.
    layer : str
        The layer, by the given name.
    channels : tuple of int or None
        The matched channels; None for all.
    location : (int, int) or None
        Row and column of the single matched location; None for all.
    box : (top, left, bottom, right)
        The pixels that the matched values depend on, half open.
    match : str
        ``"content"`` or ``"style"``.
    prior : str
        The name of the prior, as in `reconstruct`.
    steps : int
        Number of optimisation steps.
    seed : int
        Seed of the initial image.
    weights : Provenance
        The network's weights.
    """

    image: RGB8 = field(repr=False)
    error: float
    pixel_rms: float | None
    history: tuple[float, ...] = field(repr=False)
    layer: str
    channels: tuple[int, ...] | None
    location: Location | None
    box: Box
    match: str
    prior: str
    steps: int
    seed: int
    weights: Provenance = field(repr=False)

    @property
    def caption(self) -> str:
        """A description with the error and the prior."""
        words = self.layer
        if self.channels is not None:
            words += f", {len(self.channels)} of its channels"
        if self.location is not None:
            words += f", location {self.location} alone"
        what = "maps" if self.match == "content" else "Gram matrix"
        words += (
            f": a picture made to match the {what}, {percent(self.error)} off after "
            f"{self.steps} steps (prior {self.prior!r}, seed {self.seed}, {self.weights.label})."
        )
        if self.pixel_rms is not None:
            words += f" Its pixels are {plain_number(self.pixel_rms)} of 255 levels off."
        return words + " Other pictures match as closely: the prior selected this one."

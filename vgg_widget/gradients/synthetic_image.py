"""`SyntheticImage` and `Reconstruction`: pictures that were made for a layer, and how."""

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
    """A picture that was made so that a channel is active; `visualize_channel` makes it.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture; read-only. Grey outside `box` where it was made for one unit.
    activation : float
        The value, before a ReLU, of the unit at `location` for this picture as it is: the channel's
        largest, or that of the unit it was made for.
    history : tuple of float
        The same at the beginning of each step, of the picture turned, moved and scaled as the
        network was shown it.
    layer : str
        The layer, by the name that was given.
    channel : int
        Its channel.
    location : (int, int)
        Row and column of that unit in the channel's map.
    box : (top, left, bottom, right) or None
        The pixels that it sees, half open; None where that is not defined.
    one_unit : bool
        Whether it was made for that unit alone, and not for the whole map.
    steps : int
        How many were taken.
    seed : int
        Of the beginning and of how the picture was turned and moved.
    variant : int
        Which of the beginnings that `diversity` asked for.
    contrast : float
        The root of the mean square of the distance to grey that was given to it, in levels; that of
        photographs is 59.
    jitter : int
        By how many pixels it was moved at most; 0 where it was not turned and scaled either.
    weights : Provenance
        The network's weights.
    message : str
        What a person must know before believing it, in a sentence; empty where there is nothing.
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
        """What it is, in a few sentences: that it is a hypothesis is one of them."""
        aim = f"one unit, {self.location}" if self.one_unit else "the whole map"
        return (
            f"{self.layer}, channel {self.channel}: made in {self.steps} steps for {aim} "
            f"(seed {self.seed}, {self.weights.label}). It reaches "
            f"{plain_number(self.activation)} before a ReLU. An optimised picture is a hypothesis "
            "about what the channel looks for: compare it with the real patches that it answers to."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """A picture of which a layer makes what it made of another; `reconstruct` makes it.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture; read-only. Grey outside `box`.
    error : float
        How far its maps are from those that were given: the length of the difference over the
        length of what was given, 0 for the same. With ``match="style"``, of Gram matrices.
    pixel_rms : float or None
        The root of the mean square of the difference to the picture that the maps were made of, in
        levels of 255, over `box` and the colours; None with ``match="style"``, which forgets where
        things are.
    history : tuple of float
        The error at the beginning of each step.
    layer : str
        The layer, by the name that was given.
    channels : tuple of int or None
        The channels that were to be matched; None for all.
    location : (int, int) or None
        Row and column of the one place that was to be matched; None for all.
    box : (top, left, bottom, right)
        The pixels on which these values depend, half open.
    match : str
        ``"content"`` or ``"style"``.
    prior : str
        The name of the prior, as in `reconstruct`.
    steps : int
        How many were taken.
    seed : int
        Of the beginning.
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
        """What it is, how near it comes, and which prior chose among pictures as near."""
        words = self.layer
        if self.channels is not None:
            words += f", {len(self.channels)} of its channels"
        if self.location is not None:
            words += f", place {self.location} alone"
        what = "maps" if self.match == "content" else "Gram matrix"
        words += (
            f": a picture with nearly the same {what}, {percent(self.error)} off, after "
            f"{self.steps} steps (prior {self.prior!r}, seed {self.seed}, {self.weights.label})."
        )
        if self.pixel_rms is not None:
            words += f" Its pixels are {plain_number(self.pixel_rms)} of 255 levels off."
        return words + " Other pictures come as near: the prior chose this one."

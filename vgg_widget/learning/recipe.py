"""`Recipe`: the numbers of the method."""

from __future__ import annotations

from dataclasses import dataclass

from vgg_widget.weights.learned_weights import Storage


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of the method, in the order of their use.

    Parameters
    ----------
    views : int
        How many pictures the patches are drawn from: photographs at random scales and places,
        half of them mirrored.
    canvas : int
        Side of a view, in pixels. A photograph that does not fill it goes on as in mirrors, so
        that units far from the frame see photograph and no zero padding.
    shorter : (int, int)
        The range of a photograph's shorter side in a view, in pixels; beyond 1.25 times its own
        size none is enlarged.
    patches : int
        At most so many 3×3 patches a layer.
    contrast : float
        Patches below this share of the median contrast take no part in the clustering.
    floor : float
        Share of the largest variance that is added to every one, so that whitening does not
        enlarge noise.
    surplus : float
        So many times the centroids that are needed are found; those most alike others are dropped.
    rounds : int
        Rounds of k-means.
    active : float
        Share of the patches to which a filter responds after the ReLU.
    storage : {"int8", "float16"}
        How the factors are rounded; later layers learn from what the rounded ones say.
    """

    views: int = 18
    canvas: int = 640
    shorter: tuple[int, int] = (192, 512)
    patches: int = 12_000
    contrast: float = 0.5
    floor: float = 0.001
    surplus: float = 1.5
    rounds: int = 15
    active: float = 0.35
    storage: Storage = "int8"

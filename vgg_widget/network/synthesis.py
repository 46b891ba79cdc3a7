"""The objectives of image optimisation at a layer, with their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.network.differentiable import colours_to_input
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.memory import check_memory, fitting
from vgg_widget.network.protocol import Aim, Floats, NoGradientError

# Memory for gradients and intermediate values in addition to the maps.
_OVERHEAD = 2
# Larger batches are hardly faster but take more memory.
_MOST_AT_ONCE = 4


class LayerAim:
    """An objective at a layer as a function of images, with its gradient.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network; its current weights are used at each call.
    layer : str
        Any of its names.
    size : (int, int)
        Height and width of the images.
    aim : str
        ``"mean"`` and ``"unit"``: the channels' values before the ReLU, over the map or at one
        location. ``"content"`` and ``"style"``: the squared distance to given maps, or to a Gram
        matrix.

    Attributes
    ----------
    most : int
        Number of images computed at a time.
    """

    def __init__(
        self, extractor: FeatureExtractor, layer: str, size: tuple[int, int], aim: Aim
    ) -> None:
        self._network = network = extractor._network  # noqa: SLF001 - same package
        named = NamedLayers(network.layers_on(size), network.before_relu)
        info = named.info(layer)
        rectified = aim in ("content", "style") and named.plain_name(layer) == info.name
        index = named.layers.index(info)
        check_memory(*size, _OVERHEAD * network.bytes_a_pixel)
        self.most = min(_MOST_AT_ONCE, fitting(*size, _OVERHEAD * network.bytes_a_pixel))
        self._layer = layer
        # Probe with random colours, so that preprocessing that depends on the image is detected and
        # refused.
        probe = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        self._values, self._gradients = network.aim_function(
            index, aim, colours_to_input(extractor, probe), rectified=rectified
        )

    def values(
        self, pictures: Floats, view: Sequence[float], targets: Sequence[npt.NDArray[Any]]
    ) -> Floats:
        """Return the first result of `gradients` only."""
        self._network.check_usable()
        return self._values(pictures, tuple(targets), np.array(view, np.float32))

    def gradients(
        self, pictures: Floats, view: Sequence[float], targets: Sequence[npt.NDArray[Any]]
    ) -> tuple[Floats, Floats]:
        """Return the values of some images, and the gradients of their objectives.

        Parameters
        ----------
        pictures : ndarray of float32, shape (N, h, w, 3)
            RGB in 0–255; at most `most`.
        view : sequence of 8 float
            Transformation of the images before the network: the value at (x, y) is taken from the
            point ``(v0 x + v1 y + v2, v3 x + v4 y + v5)``.
        targets : sequence of ndarray
            For ``"mean"``, the channel of each image; for ``"unit"``, also row and column. For
            ``"content"`` and ``"style"``, the target maps or Gram matrix, and the weight of each of
            its numbers.

        Returns
        -------
        values : ndarray of float32
            Each image's map of the channel, shape (N, H, W), or its distance, shape (N,).
        gradients : ndarray of float32, shape (N, h, w, 3)
            Direction of increasing values, or of decreasing distances.

        Raises
        ------
        NoGradientError
            If there is no gradient.
        """
        self._network.check_usable()
        try:
            return self._gradients(pictures, tuple(targets), np.array(view, np.float32))
        except (LookupError, NoGradientError) as error:
            raise NoGradientError(
                f"layer {self._layer!r} has no gradient, since its values are counts, rounded "
                "numbers or indices: pass a layer that it is computed from."
            ) from error

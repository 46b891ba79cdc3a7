"""Feature maps reduced inside the network, without returning the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.named_layers import LayerNameError, layer_names
from vgg_widget.images import RGB8
from vgg_widget.layers import LayerInfo
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.keras_network import KerasNetwork
from vgg_widget.network.memory import fitting
from vgg_widget.network.network_input import Floats, traced_for
from vgg_widget.support.messages import unknown_choice

Reduction = Callable[[Any, bool], Sequence[Any]]
"""A function from a layer's maps, a float32 tensor of shape (N, H, W, C), to tensors of shape (N,
C).

For PyTorch networks, it maps an array to arrays. The second argument is whether the reduction
applies to maps after a ReLU while those passed are before it.
"""


@dataclass(frozen=True, slots=True)
class ChosenLayer:
    """A requested layer: the network's output with that index.

    The name is Keras's, or torchvision's for maps before a ReLU, and `aliases` are other names of
    the same maps. `relu` is whether the ReLU must still be applied to the output.
    """

    name: str
    index: int
    relu: bool
    info: LayerInfo
    aliases: tuple[str, ...]


def chosen_layers(
    extractor: FeatureExtractor, names: str | Iterable[str] | None
) -> tuple[ChosenLayer, ...]:
    """Return the named layers, each once, in network order; all for None."""
    before_relu = extractor._network.before_relu  # noqa: SLF001 - same package
    infos = extractor.layers
    indices = {info.name: index for index, info in enumerate(infos)}
    known = layer_names(infos, before_relu)
    if names is None:
        names = indices
    wanted = [*names] if isinstance(names, Iterable) and not isinstance(names, str) else [names]
    if not wanted:
        raise ValueError("layers is empty: name at least one, or leave it out for all of them.")
    found = set()
    for name in wanted:
        if not isinstance(name, str) or name not in known:
            raise LayerNameError(unknown_choice("layers", name, known))
        maps = known[name]
        plain, info = maps.plain_name, maps.info
        same = (other for other, its in known.items() if its.plain_name == plain != other)
        found.add(ChosenLayer(plain, indices[info.name], maps.rectified, info, tuple(same)))
    return tuple(sorted(found, key=lambda one: (one.index, one.relu)))


class ReducedNetwork:
    """A network that returns a reduction of its maps; unused layers are not computed.

    Each tensor of the reduction is concatenated over the layers along channels.
    """

    def __init__(
        self, extractor: FeatureExtractor, layers: Sequence[ChosenLayer], reduction: Reduction
    ) -> None:
        self.extractor = extractor
        self._network = network = extractor._network  # noqa: SLF001 - same package
        self._compute: Callable[[Floats], list[Any]]

        def reduced(outputs: Sequence[Any], join: Callable[..., Any]) -> list[Any]:
            parts = [reduction(outputs[layer.index], layer.relu) for layer in layers]
            return [join(part, axis=-1) for part in zip(*parts, strict=True)]

        if not isinstance(network, KerasNetwork):
            self._compute = lambda inputs: reduced(network.run(inputs)[1], np.concatenate)
            return
        _, tf = keras_and_tensorflow()
        forward = network.forward
        self._compute = traced_for(
            lambda images: reduced(forward(images), tf.concat), network.input
        )

    def __call__(self, images: RGB8) -> list[npt.NDArray[Any]]:
        """Return the reduction for images of shape (N, H, W, 3)."""
        self._network.check_usable()
        inputs = self.extractor._network_inputs(images)  # noqa: SLF001 - same package
        try:
            return [np.asarray(made) for made in self._compute(inputs)]
        except Exception:
            # The network's own forward pass raises a clearer error for unsuitable images.
            self._network.run(inputs)
            raise

    def most(self, pixels: RGB8) -> int:
        """Return the number of images of this size that fit in memory at once."""
        height, width, _ = pixels.shape
        return fitting(height, width, self._network.bytes_a_pixel)

"""Layer names in three schemes (Keras, torchvision, the VGG papers), before and after a ReLU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from vgg_widget.layers import LayerInfo
from vgg_widget.support.messages import unknown_choice

_SCHEMES = ("keras", "torchvision", "paper")


class LayerNameError(KeyError, ValueError):
    """A layer name that this network does not have; the message suggests the nearest one."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        return str(self.args[0])


class NamedMaps(NamedTuple):
    """The feature maps that a layer name refers to."""

    info: LayerInfo
    plain_name: str
    """The canonical name of these maps: Keras's, or torchvision's before a ReLU."""
    rectified: bool
    """Whether these maps are after a ReLU while the stored maps are before it."""
    scheme: str


def layer_names(layers: Sequence[LayerInfo], before_relu: Collection[str]) -> dict[str, NamedMaps]:
    """Return the maps that every layer name refers to, scheme by scheme, in network order.

    Layers in `before_relu` have their maps stored before their ReLU. The papers' names are those of
    Simonyan & Zisserman's Caffe models and of later work that uses them, such as Gatys et al.,
    "Image style transfer using convolutional neural networks" (2016).
    """
    found: dict[str, NamedMaps] = {}
    for scheme in _SCHEMES:
        for info in layers:
            before = info.name in before_relu
            names = _names(scheme, info, before=before)
            for name in names:
                means_before = len(names) == 2 and name == names[0]
                plain = str(info.torch_name) if means_before else info.name
                rectified = before and not means_before
                found.setdefault(name, NamedMaps(info, plain, rectified, scheme))
    return found


def _names(scheme: str, info: LayerInfo, *, before: bool) -> list[str]:
    """Return a layer's names in a scheme: before and after its ReLU, or its only name."""
    if scheme == "keras":
        return [info.name]
    if info.torch_name is None:
        return []
    if scheme == "torchvision":
        if not before:
            return [info.torch_name]
        # In torchvision the ReLU is a separate module.
        module, _, index = info.torch_name.rpartition(".")
        return [info.torch_name, f"{module}.{int(index) + 1}"]
    # "block3_conv1" is the first convolution of the third block.
    block, _, place = info.name.removeprefix("block").partition("_")
    if info.kind == "pool":
        return [f"pool{block}"]
    number = f"{block}_{place.removeprefix('conv')}"
    return [f"conv{number}", f"relu{number}"] if before else [f"relu{number}"]


class NamedLayers:
    """Layers of a network, found by any of their names; see `layer_names`."""

    def __init__(self, layers: Sequence[LayerInfo], before_relu: Collection[str]) -> None:
        self._layers = tuple(layers)
        self._before_relu = frozenset(before_relu)
        self._named = layer_names(self._layers, self._before_relu)

    def _find(self, layer: str) -> NamedMaps:
        try:
            return self._named[layer]
        except (KeyError, TypeError):
            # An unhashable argument, such as a list, raises TypeError.
            raise LayerNameError(unknown_choice("layer", layer, self._named)) from None

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Names and geometry, in network order."""
        return self._layers

    def info(self, layer: str) -> LayerInfo:
        """Return the `LayerInfo` of a layer, by any of its names.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._find(layer).info

    def torch_names(self, layer: str) -> tuple[str, ...]:
        """Return a layer's torchvision names: before and after its ReLU, or its only name."""
        return self.names_in("torchvision", layer)

    def names_in(self, scheme: str, layer: str) -> tuple[str, ...]:
        """Return a layer's names in a naming scheme: before and after its ReLU, or its only name.

        Parameters
        ----------
        scheme : {"keras", "torchvision", "paper"}
            Keras has no names for maps before a ReLU. Your own models have Keras names only.
        layer : str
            Any name of the layer.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        info = self._find(layer).info
        return tuple(
            name
            for name, maps in self._named.items()
            if maps.info is info and maps.scheme == scheme
        )

    def scheme_of(self, layer: str) -> str:
        """Return the naming scheme of a layer name; see `names_in`.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._find(layer).scheme

    def plain_name(self, layer: str) -> str:
        """Return the canonical name of the same maps: Keras's, or torchvision's before a ReLU."""
        return self._find(layer).plain_name

    def before_relu(self, layer: str) -> str | None:
        """Return the name of the same maps before their ReLU.

        Parameters
        ----------
        layer : str
            Any name of the layer, before its ReLU or after it.

        Returns
        -------
        str or None
            The torchvision name, such as ``"features.10"``; None where these maps are not stored,
            as for pooling layers and your own models.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        info = self._find(layer).info
        return info.torch_name if info.name in self._before_relu else None

    def after_relu(self, layer: str) -> str:
        """Return Keras's name of a layer, which refers to its maps after the ReLU, if there is one.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._find(layer).info.name

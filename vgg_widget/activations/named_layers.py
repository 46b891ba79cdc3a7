"""The names of layers: Keras's, torchvision's and the VGG papers', before a ReLU and after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from vgg_widget.layers import LayerInfo
from vgg_widget.support.messages import unknown_choice

_SCHEMES = ("keras", "torchvision", "paper")


class LayerNameError(KeyError, ValueError):
    """A layer name that this network does not have; the message suggests the nearest one."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which is no sentence.
        return str(self.args[0])


class NamedMaps(NamedTuple):
    """What a name stands for."""

    info: LayerInfo
    plain_name: str
    """The one name of these maps: Keras's, or torchvision's before a ReLU."""
    rectified: bool
    """Whether they are after a ReLU, while the network gives the maps before it."""
    scheme: str


def layer_names(layers: Sequence[LayerInfo], before_relu: Collection[str]) -> dict[str, NamedMaps]:
    """Return what every name of every layer stands for, scheme by scheme, in network order.

    Layers in `before_relu` are those whose maps the network gives before their ReLU. The papers'
    names are those of Simonyan & Zisserman's own Caffe models, and of what was built on them, such
    as Gatys et al., "Image style transfer using convolutional neural networks" (2016).
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
    """Return a layer's names in a scheme: before its ReLU and after, or the one it has."""
    if scheme == "keras":
        return [info.name]
    if info.torch_name is None:
        return []
    if scheme == "torchvision":
        if not before:
            return [info.torch_name]
        # torchvision counts the ReLU as a module of its own.
        module, _, index = info.torch_name.rpartition(".")
        return [info.torch_name, f"{module}.{int(index) + 1}"]
    # "block3_conv1" is the first convolution of the third block.
    block, _, place = info.name.removeprefix("block").partition("_")
    if info.kind == "pool":
        return [f"pool{block}"]
    number = f"{block}_{place.removeprefix('conv')}"
    return [f"conv{number}", f"relu{number}"] if before else [f"relu{number}"]


class NamedLayers:
    """Layers of a network, by whichever name a person knows them; see `layer_names`."""

    def __init__(self, layers: Sequence[LayerInfo], before_relu: Collection[str]) -> None:
        self._layers = tuple(layers)
        self._before_relu = frozenset(before_relu)
        self._named = layer_names(self._layers, self._before_relu)

    def _find(self, layer: str) -> NamedMaps:
        try:
            return self._named[layer]
        except (KeyError, TypeError):
            # A list has no place in a dict.
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
        """Return torchvision's names of a layer: before its ReLU and after, or the one it has."""
        return self.names_in("torchvision", layer)

    def names_in(self, scheme: str, layer: str) -> tuple[str, ...]:
        """Return a layer's names in a naming scheme: before its ReLU and after, or the one it has.

        Parameters
        ----------
        scheme : {"keras", "torchvision", "paper"}
            Keras names no maps before a ReLU. A model of your own has Keras's names alone.
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
        """Return the scheme that a layer's name is of; see `names_in`.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._find(layer).scheme

    def plain_name(self, layer: str) -> str:
        """Return the one name of the same maps: Keras's, or torchvision's before a ReLU."""
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
            The one in torchvision, such as ``"features.10"``; None where they are not kept, as for
            pools and models of one's own.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        info = self._find(layer).info
        return info.torch_name if info.name in self._before_relu else None

    def after_relu(self, layer: str) -> str:
        """Return the name of the same maps after their ReLU, where they have one: Keras's.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._find(layer).info.name

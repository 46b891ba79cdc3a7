"""`NamedLayers`: layers by any of their names, before their ReLU and after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vgg_widget.layers import LayerInfo, other_names
from vgg_widget.support.messages import unknown_choice


class LayerNameError(KeyError, ValueError):
    """A layer name that this network does not have; the message suggests the nearest one."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which is no sentence.
        return str(self.args[0])


class NamedLayers:
    """Layers of a network, by whichever name a person knows them.

    Parameters
    ----------
    layers : sequence of LayerInfo
        Names and geometry, in network order.
    before_relu : collection of str
        Those whose map before the ReLU is known, and what is after it derived from that.
    """

    def __init__(self, layers: Sequence[LayerInfo], before_relu: Collection[str]) -> None:
        self._layers = tuple(layers)
        self._infos = {info.name: info for info in self._layers}
        self._before_relu = frozenset(before_relu)
        self._schemes = other_names(self._layers, self._before_relu)
        self._aliases = {
            alias: meant for names in self._schemes.values() for alias, meant in names.items()
        }

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Names and geometry, in network order."""
        return self._layers

    def _resolve(self, layer: str) -> tuple[str, bool]:
        # A list has no place in a dict.
        if isinstance(layer, str) and layer in self._infos:
            return layer, False
        if isinstance(layer, str) and layer in self._aliases:
            return self._aliases[layer]
        names = [*self._infos, *self._aliases]
        raise LayerNameError(unknown_choice("layer", layer, names))

    def info(self, layer: str) -> LayerInfo:
        """Return the `LayerInfo` of a layer, by any of its names.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._infos[self._resolve(layer)[0]]

    def _rectified(self, name: str, *, before: bool) -> bool:
        """Tell whether what is asked for is the stored map after a ReLU."""
        return name in self._before_relu and not before

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
        name = self._resolve(layer)[0]
        if scheme == "keras":
            return (name,)
        return tuple(alias for alias, (other, _) in self._schemes[scheme].items() if other == name)

    def scheme_of(self, layer: str) -> str:
        """Return the scheme that a layer's name is of; see `names_in`.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        self._resolve(layer)
        return next((name for name, names in self._schemes.items() if layer in names), "keras")

    def plain_name(self, layer: str) -> str:
        """Return the one name of the same maps: Keras's, or torchvision's before a ReLU."""
        name, before = self._resolve(layer)
        return str(self._infos[name].torch_name) if before else name

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
        name = self._resolve(layer)[0]
        return self._infos[name].torch_name if name in self._before_relu else None

    def after_relu(self, layer: str) -> str:
        """Return the name of the same maps after their ReLU, where they have one: Keras's.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        return self._resolve(layer)[0]

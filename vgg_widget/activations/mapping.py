"""`Activations`: an immutable mapping from layer names to one image's feature maps."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache, lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.channel_statistics import (
    ChannelStatistics,
    channel_statistics,
    spatial_entropy,
    strongest_first,
    top_of,
)
from vgg_widget.activations.from_arrays import read_arrays
from vgg_widget.activations.named_layers import NamedLayers
from vgg_widget.activations.xarray_dataset import as_dataset
from vgg_widget.images import RGB8, read_image
from vgg_widget.layers import LayerInfo, is_index
from vgg_widget.support.files import atomic_write
from vgg_widget.support.messages import counted, percent, unknown_choice
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import check_suffix, damage_told, opened_npz

if TYPE_CHECKING:
    import xarray

    from vgg_widget.page.document import WrittenDocument
    from vgg_widget.support.progress import Progress

Floats = npt.NDArray[np.float32]

_VERSION = 1
"""Version of the files that `Activations.save` writes."""

RANKINGS = ("index", "max", "mean", "std", "sparsity", "entropy")
"""The criteria that `Activations.rank` accepts."""

# Statistics of at most this many channels are computed without those of the whole layer.
_FEW = 4


class Activations(NamedLayers, Mapping[str, Floats]):
    """The feature maps of every layer for one image.

    ``activations["block3_conv1"]`` is a read-only float32 array of shape (H, W, C), after ReLU.
    torchvision's names work too: ``activations["features.10"]`` is the same convolution before
    its ReLU, ``activations["features.11"]`` after it. Iterating gives the names in network order.

    Parameters
    ----------
    layers : sequence of LayerInfo
        In network order.
    maps : mapping of str to ndarray of float32, shape (H, W, C)
        Maps by layer name; those of layers in `before_relu` are before their ReLU.
    image : ndarray of uint8, shape (H, W, 3)
        The image after resizing, as the network saw it.
    weights : Provenance
        The weights that computed the maps.
    before_relu : iterable of str
        Layers whose stored maps are before their ReLU; maps after it are computed from them.
    name : str
        The image's path, or its position in a stream, such as ``images[3]``.
    """

    def __init__(
        self,
        layers: Sequence[LayerInfo],
        maps: Mapping[str, Floats],
        image: RGB8,
        weights: Provenance,
        *,
        before_relu: Collection[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(layers, before_relu)
        self._stored = stored = {info.name: _frozen(maps[info.name]) for info in self._layers}
        self._image = _frozen(image)
        self._weights = weights
        self._name = name
        # Keeping every derived map would double the memory, and a person looks at one or two at a
        # time. The cache refers to `stored`, not to `self`, so that it does not keep `self` alive.
        self._after_relu = lru_cache(maxsize=2)(lambda name: _after_relu(stored[name]))
        self._tops: dict[tuple[str | None, float, bool], float] = {}
        self._statistics: dict[str, ChannelStatistics] = {}
        self._entropies: dict[str, npt.NDArray[np.float64]] = {}
        self._any_negative = cache(lambda name: bool((stored[name] < 0).any()))

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Any],
        image: object,
        channels_last: bool = True,
        *,
        label: str = "arrays",
    ) -> Activations:
        """Build activations from feature maps computed elsewhere, such as in JAX or ONNX Runtime.

        Everything that needs no network works with them. The position of a unit in the image is
        derived from the sizes of the maps; receptive fields are undefined.

        Parameters
        ----------
        arrays : mapping of str to array
            Maps by layer name, in network order: real numbers of any type, of shape (H, W, C) or
            (1, H, W, C). Layers may differ in size. The arrays are copied.
        image : object
            The image that the maps are drawn over: anything that `load_image` takes, of any size.
        channels_last : bool
            False for arrays of shape (C, H, W) or (1, C, H, W).
        label : str
            A short name for the source of the maps, shown in captions.

        Returns
        -------
        Activations
            Maps of float32. ``weights.message`` reports maps whose proportions differ from the
            image's.

        Raises
        ------
        ValueError
            If there are no layers, an array has another shape, or all arrays are channels first.
        TypeError
            If a name is not a str, or an array does not hold real numbers.
        ImageError
            If the image cannot be used.

        Warns
        -----
        UserWarning
            If values are NaN or infinite.

        Examples
        --------
        >>> import numpy as np
        >>> maps = {"early": np.ones((32, 32, 4)), "late": np.ones((8, 8, 16))}
        >>> Activations.from_arrays(maps, np.zeros((64, 64, 3), np.uint8), label="my model")
        <Activations of 2 layers, image 64×64, my model>
        """
        reading = read_image(image, 1)
        height, width = reading.pixels.shape[:2]
        layers, maps, message = read_arrays(arrays, (height, width), channels_last=channels_last)
        for name, one in maps.items():
            share = 1 - np.isfinite(one).mean()
            if share:
                warnings.warn(
                    f"{percent(share)} of the values of arrays[{name!r}] are NaN or infinite; "
                    "renderings show NaN as the lowest value: check the code that computed them.",
                    UserWarning,
                    stacklevel=2,
                )
        made_by = Provenance("arrays", str(label), message=message, network="")
        return cls(layers, maps, reading.pixels, made_by, name=reading.origin or reading.name)

    @property
    def image(self) -> RGB8:
        """The image as the network saw it: uint8, shape (H, W, 3), read-only."""
        return self._image

    @property
    def name(self) -> str:
        """The image's path, or its position in a stream; empty for a single image from memory."""
        return self._name

    @property
    def weights(self) -> Provenance:
        """The weights that computed the maps."""
        return self._weights

    @property
    def nbytes(self) -> int:
        """Size of the maps and the image in bytes, in memory and in the file that `save` writes."""
        return self._image.nbytes + sum(maps.nbytes for maps in self._stored.values())

    def __getitem__(self, layer: str) -> Floats:
        found = self._find(layer)
        name = found.info.name
        return self._after_relu(name) if found.rectified else self._stored[name]

    def of_channels(self, layer: str, channels: Sequence[int]) -> Floats:
        """Return the maps of some channels, computing only those where possible.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        channels : sequence of int
            Channel numbers, in any order.

        Returns
        -------
        ndarray of float32, shape (H, W, len(channels))
            Read-only; equal to ``activations[layer][..., channels]``.

        Raises
        ------
        LayerNameError, IndexError
            If there is no such layer or channel.
        """
        found = self._find(layer)
        stored = self._stored[found.info.name]
        # Most modes ask for all channels at every redraw.
        if list(channels) == list(range(stored.shape[-1])):
            return self[layer]
        some: Floats = stored[..., self._checked(layer, channels)]
        if found.rectified:
            np.maximum(some, np.float32(0), out=some)
        return _frozen(some)

    def _checked(self, layer: str, channels: Sequence[int]) -> list[int]:
        count = self.shape(layer)[-1]
        for number in channels:
            if not is_index(number, count):
                raise IndexError(
                    f"channels contains {number!r}, but layer {layer!r} has {count} channels: "
                    f"choose whole numbers 0 to {count - 1}."
                )
        return [int(number) for number in channels]

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (height, width, channels) of a layer's maps, without computing them.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        height, width, channels = self._stored[self._find(layer).info.name].shape
        return height, width, channels

    def signed(self, layer: str) -> bool:
        """Return whether any of a layer's activations are negative, as before a ReLU.

        Raises
        ------
        LayerNameError
            A KeyError and ValueError, if there is no such layer.
        """
        found = self._find(layer)
        return not found.rectified and self._any_negative(found.info.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._layers)

    # Activations are equal only if they are the same object: comparing 16 million numbers at every
    # trait change would be slow.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        # Derived values are not pickled. Rebuilding makes the arrays read-only again, which
        # pickling does not preserve.
        make = partial(type(self), before_relu=self._before_relu, name=self._name)
        return make, (self._layers, self._stored, self._image, self._weights)

    def __repr__(self) -> str:
        height, width = self._image.shape[:2]
        layers = counted(len(self), "layer")
        return f"<Activations of {layers}, image {height}×{width}, {self._weights.label}>"

    def at(self, layer: str, row: int, column: int) -> Floats:
        """Return the channel vector at a location.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        row, column : int
            Location in the feature map.

        Returns
        -------
        ndarray of float32, shape (C,)
            Read-only.

        Raises
        ------
        IndexError
            If the location is outside the map.
        """
        found = self._find(layer)
        maps = self._stored[found.info.name]
        for axis, index, count in (("row", row, maps.shape[0]), ("column", column, maps.shape[1])):
            if not is_index(index, count):
                raise IndexError(
                    f"{axis} {index!r} is outside layer {layer!r}, which has {count} {axis}s: "
                    f"choose whole numbers 0 to {count - 1}."
                )
        vector: Floats = maps[int(row), int(column)]
        return _after_relu(vector) if found.rectified else vector

    def statistics(self, layer: str, channels: Sequence[int] | None = None) -> ChannelStatistics:
        """Return min, max, mean, std and fraction active of each channel, or of some channels.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        channels : sequence of int, optional
            Return the statistics of these channels only, in this order.

        Returns
        -------
        ChannelStatistics
            Read-only arrays of float32, shape (C,) or (len(channels),); std is the population
            standard deviation (ddof 0).

        Raises
        ------
        LayerNameError, IndexError
            If there is no such layer or channel.
        """
        found = self._find(layer)
        if layer not in self._statistics:
            if channels is not None and 0 < len(channels) <= _FEW:
                # The first rendering of a layer usually needs one channel.
                return channel_statistics(self.of_channels(layer, channels))
            self._statistics[layer] = channel_statistics(
                self._stored[found.info.name], rectified=found.rectified
            )
        statistics = self._statistics[layer]
        return statistics if channels is None else statistics.of(self._checked(layer, channels))

    def rank(self, layer: str, by: str = "max") -> npt.NDArray[np.intp]:
        """Order the channels of a layer, strongest first.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        by : str
            ``"max"``, ``"mean"`` or ``"std"`` of the feature map; ``"sparsity"``, the share of
            locations that are not active; ``"entropy"``, the Shannon entropy in bits of the
            magnitude's distribution over locations (high where it is spread evenly); or
            ``"index"``, the network's order.

        Returns
        -------
        ndarray of int, shape (C,)
            Channel numbers. Ties keep the network's order. Dead channels (0 everywhere) come last,
            except with ``"index"``.

        Raises
        ------
        ValueError
            If `by` is not one of these.
        """
        if by not in RANKINGS:
            raise ValueError(unknown_choice("by", by, RANKINGS))
        statistics = self.statistics(layer)
        if by == "index":
            return np.arange(statistics.max.size)
        score: npt.NDArray[Any]
        if by == "entropy":
            if layer not in self._entropies:
                self._entropies[layer] = spatial_entropy(self[layer])
            score = self._entropies[layer]
        elif by == "sparsity":
            score = 1 - statistics.fraction_active
        else:
            score = getattr(statistics, by)
        return strongest_first(score, statistics.dead)

    def rank_at(self, layer: str, row: int, column: int) -> npt.NDArray[np.intp]:
        """Order the channels of a layer by their value at a location, strongest first.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        row, column : int
            Location in the feature map.

        Returns
        -------
        ndarray of int, shape (C,)
            Channel numbers. Ties keep the network's order. Channels that are NaN at the location
            come after all others, and dead channels (0 everywhere) come last.

        Raises
        ------
        IndexError
            If the location is outside the map.
        """
        return strongest_first(self.at(layer, row, column), self.statistics(layer).dead)

    def top(self, layer: str | None, percentile: float, *, signed: bool = False) -> float:
        """Return a percentile of the positive activations; the result is cached.

        Parameters
        ----------
        layer : str or None
            Layer whose channels are included; None for all layers.
        percentile : float
            0 < p ≤ 100.
        signed : bool
            Take the percentile of the magnitudes instead.

        Returns
        -------
        float
            In activation units; 0.0 where nothing is positive.
        """
        if layer is not None:
            layer = self._find(layer).info.name
        # The positive values are the same before and after a ReLU, so one entry serves both.
        key = (layer, percentile, signed and layer is not None)
        if key not in self._tops:
            names = [*self._stored] if layer is None else [layer]
            maps = [self._stored[name] for name in names]
            self._tops[key] = top_of([np.abs(one) for one in maps] if key[2] else maps, percentile)
        return self._tops[key]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the activations to a NumPy ``.npz`` file.

        Parameters
        ----------
        path : str or Path
            File to write. It is replaced atomically: a failed save leaves the previous file intact.

        Raises
        ------
        ValueError
            If the suffix is not ``.npz``.
        OSError
            If the folder is missing or cannot be written.
        """
        check_suffix(path)
        header = {
            "version": _VERSION,
            "layers": [asdict(info) for info in self._layers],
            "before_relu": sorted(self._before_relu),
            "weights": self._weights.to_dict(),
            "name": self._name,
        }
        arrays: dict[str, Any] = {f"maps/{layer}": maps for layer, maps in self._stored.items()}
        with atomic_write(path) as draft:
            np.savez(draft, header=np.array(json.dumps(header)), image=self._image, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Activations:
        """Read a file that `save` wrote. Nothing in the file is executed or unpickled.

        Raises
        ------
        ValueError
            If the file was not written by `save`, or is damaged.
        FileNotFoundError
            If there is no such file.
        """
        with damage_told(path, "saved activations", "Activations.save"):
            return cls._read(path)

    @classmethod
    def _read(cls, path: str | os.PathLike[str]) -> Activations:
        with opened_npz(path) as array:
            header = json.loads(str(array("header")))
            if header["version"] != _VERSION:
                raise ValueError(f"it has version {header['version']}")
            layers = [LayerInfo(**fields) for fields in header["layers"]]
            maps = {info.name: array(f"maps/{info.name}") for info in layers}
            image = array("image")
        for info in layers:
            stored = maps[info.name]
            if stored.dtype != np.float32 or stored.ndim != 3 or stored.shape[-1] != info.channels:
                raise ValueError(
                    f"layer {info.name!r} is {stored.dtype} of shape {stored.shape}, not float32 "
                    f"with {info.channels} channels"
                )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"the image is {image.dtype} of shape {image.shape}, not uint8 RGB")
        return cls(
            layers,
            maps,
            image,
            Provenance.from_dict(header["weights"]),
            before_relu=tuple(header["before_relu"]),
            name=str(header.get("name", "")),
        )

    def to_xarray(self) -> xarray.Dataset:
        """Return every layer's maps as an xarray Dataset, with coordinates.

        Returns
        -------
        xarray.Dataset
            One float32 variable per layer, with the dimensions ``"{layer}_row"``,
            ``"{layer}_column"`` and ``"{layer}_channel"``. Names are adapted so that ``to_netcdf``
            works: a layer ``"base/conv"`` becomes the variable ``"base_conv"``, with a number
            appended if that name is taken; the attribute ``layer`` holds the layer's own name. Row
            and column coordinates are the centres of the receptive fields in input pixels (or the
            positions of the units, where receptive fields are undefined); channel coordinates are
            channel numbers. Other attributes: the weights' label, and the layer's kind, torchvision
            name, stride and receptive field in pixels, where known. Maps after a ReLU are computed
            for the Dataset and take as much memory again as the stored maps.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        return as_dataset(self.layers, self, self._weights.label, self._name)

    @overload
    def to_html(
        self,
        path: None = None,
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        before_relu: bool = False,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> str: ...

    @overload
    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        before_relu: bool = False,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> WrittenDocument: ...

    def to_html(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        layers: str | Iterable[str] | None = None,
        title: str | None = None,
        before_relu: bool = False,
        max_megabytes: float | None = None,
        progress: Progress = False,
    ) -> str | WrittenDocument:
        """Write an interactive web page of the maps: one HTML file that needs no kernel.

        The page opens directly from disk, loads nothing and sends nothing. Its values are accurate
        to 1/508 of the channel's range.

        Parameters
        ----------
        path : str or Path, optional
            An ``.html`` file, replaced atomically. Without a path the page is returned as text.
        layers : str, iterable of str or None
            Layers to show, by any of their names; all by default.
        title : str, optional
            The page's heading; the image's file name by default.
        before_relu : bool
            Show the maps before their ReLU, where these are stored.
        max_megabytes : float, optional
            Size limit of the page. While the page exceeds it, the maps of the layer that takes the
            most space are halved: every second row and column is dropped, at most three times per
            layer. The page says so. By default 10, or 4 for at most five layers of different
            blocks.
        progress : bool or callable
            True shows a progress bar; a function is called with the number of finished layers and
            the total.

        Returns
        -------
        WrittenDocument or str
            The page's path, size and halved layers; or the page's text.

        Raises
        ------
        LayerNameError
            If there is no such layer.
        ValueError, TypeError
            If an argument is wrong.
        OSError
            If the folder is missing or cannot be written.

        Warns
        -----
        UserWarning
            Before writing, if the page will exceed `max_megabytes` even with halved maps, or a
            layer must be halved more than once.

        Examples
        --------
        >>> from vgg_widget import FeatureExtractor, sample_image
        >>> activations = FeatureExtractor("random", size=64)(sample_image())
        >>> activations.to_html(layers="block3_conv1", title="One layer")[:15]
        '<!doctype html>'
        """
        # Imported by name: an ordinary import would break the package's import order, in which
        # `page` depends on `activations`.
        writer = import_module("vgg_widget.page.document")
        choices: dict[str, Any] = {
            "layers": layers,
            "title": title,
            "before_relu": before_relu,
            "max_megabytes": max_megabytes,
            "progress": progress,
        }
        made: str | WrittenDocument
        if path is None:
            made = writer.document(self, **choices)
        else:
            made = writer.write_document(self, path, **choices)
        return made


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view, so that no rendering can change data that others share."""
    view = array.view()
    view.flags.writeable = False
    return view


def _after_relu(maps: Floats) -> Floats:
    return _frozen(np.maximum(maps, np.float32(0)))

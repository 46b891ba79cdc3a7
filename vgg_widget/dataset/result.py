"""`TopActivations`: each channel's strongest images and its statistics over the image set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.named_layers import LayerNameError
from vgg_widget.dataset.summary import BINS, HISTOGRAM_EDGES, Ints
from vgg_widget.dataset.top_images import SeenImages, StrongestImages
from vgg_widget.images import RGB8, ImageError, file_bytes, read_file_bytes, resize_exactly
from vgg_widget.layers import LayerInfo
from vgg_widget.support.files import atomic_write
from vgg_widget.support.messages import briefly, counted
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import check_suffix, damage_told, opened_npz

# The saved file's version; the dtype of each array of a layer, and its axes after the channels.
_VERSION = 1
_PARTS: dict[str, tuple[type[np.generic], str]] = {
    "values": (np.float32, "k"),
    "images": (np.int32, "k"),
    "rows": (np.int32, "k"),
    "columns": (np.int32, "k"),
    "boxes": (np.int32, "k4"),
    "histogram": (np.int32, "b"),
    "mean": (np.float64, ""),
    "fraction_active": (np.float64, ""),
    "counted": (np.int32, ""),
}

# In pixels of the network's input.
_READABLE_SIDE = 32


@dataclass(frozen=True, eq=False, repr=False)
class TopActivations(Mapping[str, StrongestImages]):
    """The strongest images of every channel of some layers, over a set of images.

    ``top["block3_conv1"]`` is a `StrongestImages`; torchvision's names work too. Iterating gives
    the names in network order. Returned by `top_activations`.

    Parameters
    ----------
    strongest : mapping of str to StrongestImages
        The strongest images by layer name.
    seen : SeenImages
        The image set.
    weights : Provenance
        The weights of the network that computed it.
    k : int
        Number of images requested per channel.
    statistic : str
        The measure of an image's strength: the ``"max"`` or ``"mean"`` of its map.
    size : int, (int, int) or None
        The size that images were resized to, as in `FeatureExtractor`.
    aliases : mapping of str to str
        Other names of the layers.
    """

    strongest: Mapping[str, StrongestImages]
    seen: SeenImages
    weights: Provenance
    k: int
    statistic: str
    size: int | tuple[int, int] | None
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> tuple[str, ...]:
        """The names of all images in order, including unusable ones."""
        return self.seen.names

    @property
    def failed(self) -> Mapping[str, str]:
        """The names of unusable images, with the reasons."""
        return self.seen.failed

    @property
    def histogram_edges(self) -> npt.NDArray[np.float32]:
        """The inner bin edges of every histogram, in activation units: float32, shape (130,).

        The edges are powers of √2, so that no range must be known in advance: 65 from 2⁻¹⁶ to 2¹⁶,
        and their negatives. Bin `i` counts values from ``histogram_edges[i - 1]`` up to but
        excluding ``histogram_edges[i]``. The first and last bins are open, and the middle bin
        contains 0.
        """
        return HISTOGRAM_EDGES

    @property
    def readable_layer(self) -> str:
        """The layer to look at first: the first one whose patches are large enough to recognise.

        These are patches of at least 32 pixels on a side, or whole images where the receptive field
        is undefined. If no layer has such patches, it is the first layer.
        """
        fields = {name: one.layer.receptive_field for name, one in self.strongest.items()}
        large = (name for name, field in fields.items() if field is None or field >= _READABLE_SIDE)
        return next(large, next(iter(fields)))

    def __getitem__(self, layer: str) -> StrongestImages:
        if isinstance(layer, str) and (name := self.aliases.get(layer, layer)) in self.strongest:
            return self.strongest[name]
        raise LayerNameError(
            f"layer {briefly(layer)} is not in this result ({', '.join(self)}): choose one of "
            "these, or compute it with top_activations."
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.strongest)

    def __len__(self) -> int:
        return len(self.strongest)

    # Equality is identity: comparing all numbers at every trait change would be slow.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        bad = f", {len(self.failed)} bad" if self.failed else ""
        return (
            f"<TopActivations of {counted(len(self), 'layer')}, {self.k} strongest by "
            f"{self.statistic} of {len(self.images)} images{bad}, {self.weights.label}>"
        )

    def boxes(self, layer: str, channel: int, *, original: bool = False) -> Ints:
        """Return the receptive fields of a channel's strongest units.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        channel : int
            Channel number.
        original : bool
            Use pixels of the original image instead of the network's resized input. Boxes are
            enlarged to whole pixels.

        Returns
        -------
        ndarray of int32, shape (images, 4)
            (top, left, bottom, right) of the receptive field of each map's maximum, half open,
            strongest image first.

        Raises
        ------
        LayerNameError, IndexError
            If there is no such layer or channel.
        ValueError
            If the layer's receptive field is not defined.
        """
        strongest = self[layer]
        kept = strongest.places(channel)
        if strongest.boxes is None:
            raise ValueError(
                f"the receptive field of layer {layer!r} is not defined: choose a layer built from "
                "convolutions and pooling only."
            )
        boxes: Ints = strongest.boxes[channel, : len(kept)]
        if not original:
            return boxes
        seen, own = self.seen.sizes[kept, :2], self.seen.sizes[kept, 2:]
        # Integer arithmetic avoids rounding twice: top and left round down, bottom and right up.
        first = boxes[:, :2] * own // seen
        end = -(-boxes[:, 2:] * own // seen)
        return np.concatenate([first, end], axis=1).astype(np.int32)

    def patches(self, layer: str, channel: int, *, original: bool = False) -> list[RGB8]:
        """Return the image patches in the receptive fields of a channel's strongest units.

        Parameters
        ----------
        layer, channel, original
            As in `boxes`; with `original`, patches are cut from the original image, not the resized
            one.

        Returns
        -------
        list of ndarray of uint8, shape (h, w, 3)
            Strongest first; smaller at an image's border.

        Raises
        ------
        LayerNameError, IndexError
            If there is no such layer or channel.
        ValueError
            If the layer's receptive field is not defined.
        ImageError
            If an image was given in memory, no longer exists, or has changed.
        """
        boxes = self.boxes(layer, channel, original=original)
        return [self.patch(layer, channel, rank, original=original) for rank, _ in enumerate(boxes)]

    def patch(self, layer: str, channel: int, rank: int, *, original: bool = False) -> RGB8:
        """Return one of `patches`, reading only its image.

        Parameters
        ----------
        layer, channel
            As in `patches`.
        rank : int
            0 for the strongest.
        original : bool
            As in `patches`.

        Returns
        -------
        ndarray of uint8, shape (h, w, 3)
            The patch; smaller at the image's border.

        Raises
        ------
        LayerNameError, IndexError, ValueError, ImageError
            As for `patches`.
        """
        top, left, bottom, right = self.boxes(layer, channel, original=original)[rank]
        place = int(self[layer].places(channel)[rank])
        picture = self._picture(place, original=original)
        return picture[top:bottom, left:right].copy()

    def _picture(self, place: int, *, original: bool) -> RGB8:
        name, path = self.seen.names[place], self.seen.paths[place]
        if not path:
            raise ImageError(
                f"image {name!r} was given in memory and is not stored: crop it yourself with "
                "boxes(..., original=True)."
            )
        # Read the file once, so that the bytes compared are the bytes shown.
        data = file_bytes(path)
        if hashlib.sha256(data).digest() != self.seen.digests[place].tobytes():
            raise ImageError(
                f"image {name!r} has changed ({path}): compute the set again, or restore the old "
                "file."
            )
        pixels = read_file_bytes(data, path, 1).pixels
        if original:
            return pixels
        height, width = (int(side) for side in self.seen.sizes[place, :2])
        return resize_exactly(pixels, (height, width))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything except the images to a NumPy ``.npz`` file.

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
            "layers": {name: asdict(one.layer) for name, one in self.strongest.items()},
            "boxes": [name for name, one in self.strongest.items() if one.boxes is not None],
            "names": self.seen.names,
            "paths": self.seen.paths,
            "failed": dict(self.seen.failed),
            "weights": self.weights.to_dict(),
            "k": self.k,
            "statistic": self.statistic,
            "size": self.size,
            "aliases": dict(self.aliases),
        }
        arrays: dict[str, Any] = {"sizes": self.seen.sizes, "digests": self.seen.digests}
        for name, one in self.strongest.items():
            for part in _PARTS:
                if (array := getattr(one, part)) is not None:
                    arrays[f"{part}/{name}"] = array
        with atomic_write(path) as draft:
            np.savez_compressed(draft, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TopActivations:
        """Read a file that `save` wrote. Nothing in the file is executed or unpickled.

        Raises
        ------
        ValueError
            If the file was not written by `save`, or is damaged.
        FileNotFoundError
            If there is no such file.
        """
        with (
            damage_told(path, "saved top activations", "TopActivations.save"),
            opened_npz(path) as array,
        ):
            header = json.loads(str(array("header")))
            if header["version"] != _VERSION:
                raise ValueError(f"it has version {header['version']}")
            names, paths = (tuple(map(str, header[part])) for part in ("names", "paths"))
            if len(paths) != len(names):
                raise ValueError(f"it has {len(paths)} paths for {len(names)} images")
            seen = SeenImages(
                names,
                paths,
                array("sizes", np.int32, (len(names), 4)),
                array("digests", np.uint8, (len(names), 32)),
                {str(name): str(words) for name, words in header["failed"].items()},
            )
            layers = {
                str(name): _read_layer(
                    array, name, LayerInfo(**fields), len(names), boxes=name in header["boxes"]
                )
                for name, fields in header["layers"].items()
            }
            size = header["size"]
            return cls(
                layers,
                seen,
                Provenance.from_dict(header["weights"]),
                int(header["k"]),
                str(header["statistic"]),
                tuple(size) if isinstance(size, list) else size,
                {str(alias): str(name) for alias, name in header["aliases"].items()},
            )


def _read_layer(
    array: Callable[..., Any], name: str, info: LayerInfo, images: int, *, boxes: bool
) -> StrongestImages:
    axes = {"k": array(f"values/{name}").shape[-1], "4": 4, "b": BINS}
    parts: dict[str, Any] = {
        part: array(f"{part}/{name}", dtype, (info.channels, *(axes[axis] for axis in shape)))
        for part, (dtype, shape) in _PARTS.items()
        if boxes or part != "boxes"
    }
    if not ((parts["images"] >= -1) & (parts["images"] < images)).all():
        raise ValueError(f"layer {name!r} refers to images that do not exist")
    return StrongestImages(info, **{"boxes": None, **parts})

"""`TopActivations`: the strongest images of every channel, and what the set does to it."""

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
from vgg_widget.support.messages import briefly
from vgg_widget.support.provenance import Provenance
from vgg_widget.support.safe_npz import check_suffix, damage_told, opened_npz

# The saved file's version, and of a layer's arrays dtype and axes after that of the channels.
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
    the names in network order. `top_activations` makes it.

    Parameters
    ----------
    strongest : mapping of str to StrongestImages
        By layer.
    seen : SeenImages
        The set.
    weights : Provenance
        The weights that computed it.
    k : int
        How many images were asked for.
    statistic : str
        What an image's strength is: the ``"max"`` of its map, or the ``"mean"``.
    size : int, (int, int) or None
        What images were brought to, as `FeatureExtractor` takes it.
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
        """The names of all images, bad ones included, in their order."""
        return self.seen.names

    @property
    def failed(self) -> Mapping[str, str]:
        """The names of bad images, and what is the matter with each."""
        return self.seen.failed

    @property
    def histogram_edges(self) -> npt.NDArray[np.float32]:
        """Where the bins of every histogram meet, in activation units: float32, shape (130,).

        Powers of √2, so that no range must be known beforehand: 65 from 2⁻¹⁶ to 2¹⁶, and as many
        below 0. Bin `i` counts what is at least ``histogram_edges[i - 1]`` and less than
        ``histogram_edges[i]``; the first and last are open, and that of 0 is the one in the middle.
        """
        return HISTOGRAM_EDGES

    @property
    def readable_layer(self) -> str:
        """The layer to look at first: the first on whose patches something is to be recognised.

        These are patches of 32 pixels a side or more, and whole pictures where the receptive field
        is not defined. Where no layer has such, it is the first of all.
        """
        fields = {name: one.layer.receptive_field for name, one in self.strongest.items()}
        large = (name for name, field in fields.items() if field is None or field >= _READABLE_SIDE)
        return next(large, next(iter(fields)))

    def __getitem__(self, layer: str) -> StrongestImages:
        if isinstance(layer, str) and (name := self.aliases.get(layer, layer)) in self.strongest:
            return self.strongest[name]
        raise LayerNameError(
            f"layer {briefly(layer)} is not among those of this result ({', '.join(self)}): choose "
            "one of these, or compute it with top_activations."
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.strongest)

    def __len__(self) -> int:
        return len(self.strongest)

    # Comparing all numbers where a trait changes would be a surprise.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        bad = f", {len(self.failed)} bad" if self.failed else ""
        return (
            f"<TopActivations of {len(self)} layers, {self.k} strongest by {self.statistic} of "
            f"{len(self.images)} images{bad}, {self.weights.label}>"
        )

    def boxes(self, layer: str, channel: int, *, original: bool = False) -> Ints:
        """Return what a channel's strongest units see.

        Parameters
        ----------
        layer : str
            Keras's or torchvision's name.
        channel : int
            Its number.
        original : bool
            In pixels of the picture itself instead of those of the network's input, which is the
            picture resized. Boxes grow to whole pixels.

        Returns
        -------
        ndarray of int32, shape (images, 4)
            (top, left, bottom, right) for each, half open, strongest first: the receptive field
            of the map's maximum.

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
                f"the receptive field of layer {layer!r} is not defined: choose a layer built of "
                "convolutions and pools only."
            )
        boxes: Ints = strongest.boxes[channel, : len(kept)]
        if not original:
            return boxes
        seen, own = self.seen.sizes[kept, :2], self.seen.sizes[kept, 2:]
        # Whole numbers, so that nothing is rounded twice: top and left down, bottom and right up.
        first = boxes[:, :2] * own // seen
        end = -(-boxes[:, 2:] * own // seen)
        return np.concatenate([first, end], axis=1).astype(np.int32)

    def patches(self, layer: str, channel: int, *, original: bool = False) -> list[RGB8]:
        """Return the pieces of pictures that a channel's strongest units see.

        Parameters
        ----------
        layer, channel, original
            As in `boxes`; with `original`, pixels of the picture itself and not as it was resized.

        Returns
        -------
        list of ndarray of uint8, shape (h, w, 3)
            Strongest first; smaller at a picture's border.

        Raises
        ------
        LayerNameError, IndexError
            If there is no such layer or channel.
        ValueError
            If the layer's receptive field is not defined.
        ImageError
            If a picture was given in memory, is not there any more, or has changed.
        """
        boxes = self.boxes(layer, channel, original=original)
        return [self.patch(layer, channel, rank, original=original) for rank, _ in enumerate(boxes)]

    def patch(self, layer: str, channel: int, rank: int, *, original: bool = False) -> RGB8:
        """Return one of `patches`; only its picture is read.

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
            Smaller at the picture's border.

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
                f"image {name!r} was given in memory and is not kept: crop your own with "
                "boxes(..., original=True)."
            )
        # Read once: what is compared is what is shown.
        data = file_bytes(path)
        if hashlib.sha256(data).digest() != self.seen.digests[place].tobytes():
            raise ImageError(
                f"image {name!r} has changed since ({path}): compute the set again, or bring the "
                "old file back."
            )
        pixels = read_file_bytes(data, path, 1).pixels
        if original:
            return pixels
        height, width = (int(side) for side in self.seen.sizes[place, :2])
        return resize_exactly(pixels, (height, width))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything but the pictures to a NumPy ``.npz`` file.

        Parameters
        ----------
        path : str or Path
            Replaced as a whole: a failed save leaves what was there.

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
        """Read what `save` wrote. Nothing in the file is executed or unpickled.

        Raises
        ------
        ValueError
            If the file is not one of these, or is damaged.
        FileNotFoundError
            If there is no such file.
        """
        with (
            damage_told(path, "saved top activations", "TopActivations.save"),
            opened_npz(path) as array,
        ):
            header = json.loads(str(array("header")))
            if header["version"] != _VERSION:
                raise ValueError(f"it is of version {header['version']}")
            names, paths = (tuple(map(str, header[part])) for part in ("names", "paths"))
            if len(paths) != len(names):
                raise ValueError(f"it has {len(paths)} paths of {len(names)} images")
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
        raise ValueError(f"layer {name!r} names images that there are not")
    return StrongestImages(info, **{"boxes": None, **parts})

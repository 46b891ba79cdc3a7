"""Cache of optimised images, as PNG files that record their settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pooch
from PIL import Image, PngImagePlugin

from vgg_widget.activations.mapping import Activations
from vgg_widget.gradients.synthetic_image import Reconstruction, SyntheticImage
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import digest_of, preprocessing_digest
from vgg_widget.support.files import atomic_write

# Increased with every change to the results.
_VERSION = 2
_TEXT = "vgg_widget"
_TUPLES = ("history", "location", "box", "channels")

# The exceptions that Pillow raises for damaged files.
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, SyntaxError, Image.DecompressionBombError)

MOST_BYTES = 200_000_000
"""Largest size of all cached reconstructions; beyond it, the oldest are removed."""

Size = int | tuple[int, int] | None
Key = list[Any]


def folder() -> Path:
    """Return the folder of `KeptImages` in the user's cache."""
    return Path(pooch.os_cache("vgg_widget")) / "channels"


def reconstructions_folder() -> Path:
    """Return the folder of `KeptReconstructions` in the user's cache."""
    return Path(pooch.os_cache("vgg_widget")) / "reconstructions"


class KeptImages:
    """Cached images of a network's channels, each optimised for a whole map.

    A network that cannot be identified uniquely is not cached.

    Parameters
    ----------
    extractor : FeatureExtractor
        The extractor, with its current weights and preprocessing.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._weights = extractor.weights
        self._network = _network(extractor)

    def find(
        self, layer: str, channel: int, *, steps: int, size: Size = None, seed: int = 0
    ) -> SyntheticImage | None:
        """Return the cached result for the same arguments, or None.

        A file that cannot be read is ignored.
        """
        if self._network is None:
            return None
        key = _key(self._network, layer, int(channel), (steps, size, seed))
        try:
            pixels, data = _read(_path(folder(), f"{layer}-{channel}", key), key, SyntheticImage)
            data["activation"] = float(data["activation"])
        except _READ_ERRORS:
            return None
        return SyntheticImage(image=pixels, weights=self._weights, **data)

    def keep(self, made: SyntheticImage, size: Size = None) -> Path | None:
        """Cache an image for `find`; return None if the cache cannot be written.

        `size` is the argument of `visualize_channel`.
        """
        if self._network is None or made.one_unit or made.variant:
            return None
        key = _key(self._network, made.layer, made.channel, (made.steps, size, made.seed))
        path = _path(folder(), f"{made.layer}-{made.channel}", key)
        return _write(path, key, made)


class KeptReconstructions:
    """Cached reconstructions from one image's maps.

    A network that cannot be identified uniquely is not cached.

    Parameters
    ----------
    extractor : FeatureExtractor
        The extractor, with its current weights and preprocessing.
    activations : Activations
        The extractor's result for the image.
    """

    def __init__(self, extractor: FeatureExtractor, activations: Activations) -> None:
        self._network = _network(extractor)
        self._activations = activations
        self._digests: dict[str, str] = {}

    def find(self, layer: str, **how: Any) -> Reconstruction | None:
        """Return the cached result for the same arguments, or None.

        A file that cannot be read is ignored. The arguments are those of `reconstruct`, except
        `progress`.
        """
        if self._network is None:
            return None
        key = self._key(layer, how)
        try:
            pixels, data = _read(_path(reconstructions_folder(), layer, key), key, Reconstruction)
            data["error"] = float(data["error"])
        except _READ_ERRORS:
            return None
        return Reconstruction(image=pixels, weights=self._activations.weights, **data)

    def keep(self, made: Reconstruction) -> Path | None:
        """Cache a reconstruction for `find`; return None if the cache cannot be written."""
        if self._network is None:
            return None
        names = ("channels", "location", "prior", "match", "steps", "seed")
        key = self._key(made.layer, {name: getattr(made, name) for name in names})
        path = _write(_path(reconstructions_folder(), made.layer, key), key, made)
        _remove_oldest(reconstructions_folder())
        return path

    def _key(self, layer: str, how: dict[str, Any]) -> Key:
        assert self._network is not None
        if layer not in self._digests:
            # The maps determine the result, and the image its reported error.
            digest = hashlib.sha256()
            for array in (self._activations.image, self._activations[layer]):
                digest.update(f"{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
            self._digests[layer] = digest.hexdigest()
        return _key(self._network, layer, self._digests[layer], sorted(how.items()))


def _network(extractor: FeatureExtractor) -> str | None:
    try:
        return f"{digest_of(extractor)} {preprocessing_digest(extractor)}"
    except ValueError:
        return None


def _key(*parts: Any) -> Key:
    # Normalised by a JSON round trip.
    key: Key = json.loads(json.dumps([_VERSION, *parts]))
    return key


def _path(where: Path, name: str, key: Key) -> Path:
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    plain = "".join(one if one.isalnum() or one in "._-" else "_" for one in name)[:66]
    return where / f"{plain}-{digest[:16]}.png"


def _read(path: Path, key: Key, kind: type) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Return a file's pixels and metadata, or raise one of `_READ_ERRORS`."""
    with Image.open(path) as opened:
        data = json.loads(getattr(opened, "text", {}).get(_TEXT, "null"))
        if data["key"] != key:
            raise ValueError(f"{path} holds something else")
        pixels = np.asarray(opened.convert("RGB")).copy()
    found = {name: data[name] for name in _metadata_fields(kind)}
    for name in found.keys() & set(_TUPLES):
        found[name] = None if found[name] is None else tuple(found[name])
    pixels.flags.writeable = False
    return pixels, found


def _write(path: Path, key: Key, made: SyntheticImage | Reconstruction) -> Path | None:
    info = PngImagePlugin.PngInfo()
    data = {name: getattr(made, name) for name in _metadata_fields(type(made))}
    info.add_text(_TEXT, json.dumps({**data, "key": key}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            Image.fromarray(np.asarray(made.image)).save(draft, "png", pnginfo=info)
    except OSError:
        # A full disk or a read-only home must not prevent showing the image.
        return None
    return path


def _metadata_fields(kind: type) -> list[str]:
    """Return the names of the fields stored as metadata; the weights are the extractor's."""
    return [one.name for one in fields(kind) if one.name not in ("image", "weights")]


def _remove_oldest(where: Path) -> None:
    """Remove the oldest files while the total size exceeds the limit."""
    try:
        found = [(each.stat(), each) for each in where.glob("*.png")]
        total = 0
        for stat, path in sorted(found, key=lambda pair: -pair[0].st_mtime_ns):
            total += stat.st_size
            if total > MOST_BYTES:
                path.unlink()
    except OSError:
        # Another process may be removing files too.
        return

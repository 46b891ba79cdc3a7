"""What `visualize_channel` made before, as PNG files in the cache that say how they were made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from PIL import Image, PngImagePlugin

from vgg_widget.gradients.synthetic_image import SyntheticImage
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import digest_of, preprocessing_digest
from vgg_widget.support.files import atomic_write

# Another number with every change of what is made.
_VERSION = 2
_TEXT = "vgg_widget"
# What a file says beside its pixels; the weights are those of the extractor.
_TOLD = tuple(one.name for one in fields(SyntheticImage) if one.name not in ("image", "weights"))
_TUPLES = ("history", "location", "box")

# Pillow's own errors of damaged files are of many kinds.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, SyntaxError, Image.DecompressionBombError)

Size = int | tuple[int, int] | None


def folder() -> Path:
    """Return the folder of these files: a person's cache."""
    return Path(pooch.os_cache("vgg_widget")) / "channels"


class KeptImages:
    """The pictures that were made of a network's channels, each for a whole map.

    A network whose computation cannot be told from another's has none.

    Parameters
    ----------
    extractor : FeatureExtractor
        With its weights and preprocessing as they are now.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._weights = extractor.weights
        self._network: str | None = None
        try:
            self._network = f"{digest_of(extractor)} {preprocessing_digest(extractor)}"
        except ValueError:
            return

    def find(
        self, layer: str, channel: int, *, steps: int, size: Size = None, seed: int = 0
    ) -> SyntheticImage | None:
        """Return what was made with the same arguments; None if nothing was.

        A file that cannot be read counts as none.
        """
        if self._network is None:
            return None
        key = self._key(layer, channel, steps, size, seed)
        try:
            with Image.open(folder() / _name(layer, channel, key)) as opened:
                told = json.loads(getattr(opened, "text", {}).get(_TEXT, "null"))
                if not isinstance(told, dict) or told.get("key") != key:
                    return None
                pixels = np.asarray(opened.convert("RGB")).copy()
            found = {name: told[name] for name in _TOLD}
            found |= {name: tuple(found[name]) for name in _TUPLES if found[name] is not None}
            found["activation"] = float(found["activation"])
        except _DAMAGED:
            return None
        pixels.flags.writeable = False
        return SyntheticImage(image=pixels, weights=self._weights, **found)

    def keep(self, made: SyntheticImage, size: Size = None) -> Path | None:
        """Keep a picture for `find`; None where the cache cannot be written.

        `size` is what `visualize_channel` was given.
        """
        if self._network is None or made.one_unit or made.variant:
            return None
        key = self._key(made.layer, made.channel, made.steps, size, made.seed)
        info = PngImagePlugin.PngInfo()
        told = {name: getattr(made, name) for name in _TOLD}
        info.add_text(_TEXT, json.dumps({**told, "key": key}))
        path = folder() / _name(made.layer, made.channel, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as draft:
                Image.fromarray(np.asarray(made.image)).save(draft, "png", pnginfo=info)
        except OSError:
            # A full disk or a read-only home is no reason not to show it.
            return None
        return path

    def _key(self, layer: str, channel: int, *how: Any) -> list[Any]:
        # As JSON gives it back.
        key: list[Any] = json.loads(json.dumps([_VERSION, self._network, layer, int(channel), how]))
        return key


def _name(layer: str, channel: int, key: list[Any]) -> str:
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    plain = "".join(one if one.isalnum() or one in "._-" else "_" for one in layer)[:60]
    return f"{plain}-{channel}-{digest[:16]}.png"

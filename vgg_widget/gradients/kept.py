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
from vgg_widget.network.portable import weights_digest
from vgg_widget.support.files import atomic_write

# Another number with every change of what is made.
_VERSION = 1
_TEXT = "vgg_widget"
# What a file says beside its pixels; the weights are those of the extractor.
_TOLD = tuple(one.name for one in fields(SyntheticImage) if one.name not in ("image", "weights"))


def folder() -> Path:
    """Return the folder of these files: a person's cache."""
    return Path(pooch.os_cache("vgg_widget")) / "channels"


def find_kept(
    extractor: FeatureExtractor,
    layer: str,
    channel: int,
    *,
    steps: int,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> SyntheticImage | None:
    """Return what was made of a channel with the same arguments and weights; None if nothing was.

    A file that cannot be read counts as none.
    """
    key = _key(extractor, layer, channel, steps=steps, size=size, seed=seed)
    try:
        with Image.open(folder() / _name(layer, channel, key)) as opened:
            told = json.loads(getattr(opened, "text", {}).get(_TEXT, "null"))
            if not isinstance(told, dict) or told.get("key") != json.loads(json.dumps(key)):
                return None
            pixels = np.asarray(opened.convert("RGB")).copy()
        found = {name: _as_tuple(told[name]) for name in _TOLD}
    # Pillow's own errors of damaged files are of both kinds.
    except (OSError, ValueError, KeyError, SyntaxError):
        return None
    pixels.flags.writeable = False
    return SyntheticImage(image=pixels, weights=extractor.weights, **found)


def keep(
    extractor: FeatureExtractor, made: SyntheticImage, size: int | tuple[int, int] | None = None
) -> Path | None:
    """Keep a picture for `find_kept`; None where the cache cannot be written.

    `size` is what `visualize_channel` was given.
    """
    key = _key(extractor, made.layer, made.channel, steps=made.steps, size=size, seed=made.seed)
    told = {name: getattr(made, name) for name in _TOLD}
    info = PngImagePlugin.PngInfo()
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


def _key(extractor: FeatureExtractor, layer: str, channel: int, **how: Any) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "weights": weights_digest(extractor),
        "layer": layer,
        "channel": int(channel),
        **how,
    }


def _name(layer: str, channel: int, key: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    plain = "".join(one if one.isalnum() or one in "._-" else "_" for one in layer)[:60]
    return f"{plain}-{channel}-{digest[:16]}.png"


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

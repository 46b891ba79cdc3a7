"""An explorer's picture in words: the state to make it again, and Python text without a widget."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from vgg_widget.activations import Activations
from vgg_widget.explorer_traits import CHOICES, LOOKS
from vgg_widget.images import ImageReading, sample_image
from vgg_widget.modes import find_mode
from vgg_widget.network import FeatureExtractor
from vgg_widget.scaling import Scale
from vgg_widget.scene import Choice

_STATE_VERSION = 1


def write_state(
    choice: Choice, looks: Mapping[str, str], extractor: FeatureExtractor
) -> dict[str, Any]:
    """Return what an explorer shows, and how, as a JSON-able dict."""
    weights = extractor.weights
    return {
        "version": _STATE_VERSION,
        **asdict(choice),
        "channels": list(choice.channels),
        "location": None if choice.location is None else list(choice.location),
        **looks,
        "size": extractor.size,
        "weights": weights.path if weights.source == "file" else weights.source,
    }


def read_state(state: object, more: dict[str, Any]) -> dict[str, Any]:
    """Return the explorer's arguments that a state stands for; `more` takes precedence.

    Raises
    ------
    ValueError
        If it is not what `write_state` returned.
    """
    if not isinstance(state, dict) or state.get("version") != _STATE_VERSION:
        version = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"state of version {version!r} is not known: pass what LayerExplorer.state() gave."
        )
    found = {name: state[name] for name in (*CHOICES, *LOOKS, "size", "weights") if name in state}
    if isinstance(found.get("size"), list):
        found["size"] = tuple(found["size"])
    if "extractor" in more:
        found.pop("weights", None)
        found.pop("size", None)
    elif found.get("weights") == "model":
        raise ValueError(
            "state is of a model of your own, which it cannot hold: pass extractor=... too."
        )
    elif found.get("weights") == "state_dict" and "weights" not in more:
        raise ValueError(
            "state is of weights from a state dict, which it cannot hold: pass weights=... too."
        )
    return {**found, **more}


def script(reading: ImageReading, activations: Activations, extractor: str, choice: Choice) -> str:
    """Write a short script that computes the same activations and makes the same picture.

    Parameters
    ----------
    reading : ImageReading
        The image on show; one without a path is written into the text as PNG.
    activations : Activations
        Of that image.
    extractor : str
        The expression that makes the extractor.
    choice : Choice
        What is on show.

    Returns
    -------
    str
        Python; it leaves the picture in ``rendering`` and a figure's axes in ``axes``.
    """
    arguments = choice.as_render()
    picture = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    layer = choice.layer_in(activations)
    imports, source = _image_code(reading)
    scale = (
        "from vgg_widget.scaling import Scale\n"
        if isinstance(arguments.get("scale"), Scale)
        else ""
    )
    own = (
        ""
        if find_mode(choice.mode).built_in
        else f"# Mode {choice.mode!r} must be registered first.\n"
    )
    names = sorted({"FeatureExtractor", "plot", "render", *imports})
    return (
        f"{'import base64' + chr(10) + chr(10) if 'base64' in source else ''}"
        f"from vgg_widget import {', '.join(names)}\n{scale}\n"
        f"{own}"
        f"image = {source}\n"
        f"extractor = {extractor}  # {_one_line(activations.weights.label)}\n"
        f"activations = extractor(image)\n"
        f"picture = dict({picture})\n"
        f"rendering = render(activations, {layer!r}, **picture)\n"
        f"axes = plot(activations, {layer!r}, **picture)\n"
    )


def _one_line(words: str) -> str:
    # A file's name may hold a line break, which would end the comment that it stands in.
    return "".join(letter if letter.isprintable() else " " for letter in words)


def _image_code(reading: ImageReading) -> tuple[set[str], str]:
    if reading.origin is not None:
        return {"load_image"}, f"load_image({reading.origin!r})"
    if np.array_equal(reading.pixels, sample_image()):
        return {"sample_image"}, "sample_image()"
    with io.BytesIO() as buffer:
        Image.fromarray(reading.pixels).save(buffer, "png", optimize=True)
        text = base64.b64encode(buffer.getvalue()).decode()
    return {"load_image"}, f'load_image(base64.b64decode("{text}"))'

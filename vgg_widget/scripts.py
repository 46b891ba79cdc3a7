"""Python text that makes an explorer's picture without a widget."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from vgg_widget.activations import Activations
from vgg_widget.controls import Choice
from vgg_widget.images import ImageReading, sample_image
from vgg_widget.modes import find_mode


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
    mode = find_mode(choice.mode)
    arguments: dict[str, Any] = {"mode": choice.mode}
    if mode.takes == "one":
        arguments["channel"] = choice.channel
    elif choice.channels:
        arguments["channels"] = choice.channels
    if mode.uses_cmap:
        arguments["cmap"] = choice.cmap
    if mode.uses_scale:
        arguments["scale"] = choice.scale
    picture = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    imports, source = _image_code(reading)
    own = "" if mode.built_in else f"# Mode {choice.mode!r} must be registered first.\n"
    names = sorted({"FeatureExtractor", "plot", "render", *imports})
    return (
        f"{'import base64' + chr(10) + chr(10) if 'base64' in source else ''}"
        f"from vgg_widget import {', '.join(names)}\n\n"
        f"{own}"
        f"image = {source}\n"
        f"extractor = {extractor}  # {activations.weights.label}\n"
        f"activations = extractor(image)\n"
        f"picture = dict({picture})\n"
        f"rendering = render(activations, {choice.layer!r}, **picture)\n"
        f"axes = plot(activations, {choice.layer!r}, **picture)\n"
    )


def _image_code(reading: ImageReading) -> tuple[set[str], str]:
    if reading.origin is not None:
        return {"load_image"}, f"load_image({reading.origin!r})"
    if np.array_equal(reading.pixels, sample_image()):
        return {"sample_image"}, "sample_image()"
    with io.BytesIO() as buffer:
        Image.fromarray(reading.pixels).save(buffer, "png", optimize=True)
        text = base64.b64encode(buffer.getvalue()).decode()
    return {"load_image"}, f'load_image(base64.b64decode("{text}"))'
